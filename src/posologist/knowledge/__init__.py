"""Facts as data, and how they are read, matched and derived from."""
