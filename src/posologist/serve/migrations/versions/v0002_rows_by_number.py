"""On SQLite INSERT OR REPLACE is refused also where it names the hidden number of a row that is there."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEYS = {"answers": ("id", "seq"), "decisions": ("id",), "contents": ("digest",)}


def upgrade() -> None:
    """Make the triggers of the tables whose key is not that number."""
    if op.get_bind().dialect.name != "sqlite":
        return
    for table, keys in _KEYS.items():
        same = " OR ".join(f"{key} = NEW.{key}" for key in ("rowid", *keys))
        op.execute(f"DROP TRIGGER IF EXISTS {table}_no_replace")
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
            f"BEGIN SELECT RAISE(ABORT, '{table}: rows are never changed or deleted'); END"
        )
