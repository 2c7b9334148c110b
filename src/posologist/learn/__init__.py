"""What populations teach."""
