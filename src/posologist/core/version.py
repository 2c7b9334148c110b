"""The version of the code (semantic versioning); the knowledge has a version of its own, by date."""

VERSION = "0.1.0"
