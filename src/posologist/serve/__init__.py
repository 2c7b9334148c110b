"""People and systems: command line, reports."""
