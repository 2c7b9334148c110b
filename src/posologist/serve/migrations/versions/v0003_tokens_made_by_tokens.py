"""By which token a token was made, so that it ends with that one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    name = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
    op.add_column("tokens", sa.Column("made_by", name, nullable=False, server_default=""))
