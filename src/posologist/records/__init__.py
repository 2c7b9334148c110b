"""Patient data in and out."""
