"""The database, step by step, from nothing to the tables of this version (alembic)."""
