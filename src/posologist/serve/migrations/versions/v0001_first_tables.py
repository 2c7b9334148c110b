"""The first tables, and the triggers that keep answers, decisions and the audit chain as they were written."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEYS = {
    "answers": ("id", "seq"),
    "decisions": ("id",),
    "audit": ("seq",),
    "contents": ("digest",),
    "consents": ("number",),
}
_TIME = sa.DateTime(timezone=True)
_GENESIS = "0" * 64


def _id(length: int = 128) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    _make_records()
    _make_answers()
    _make_requests()
    _make_accounts()
    _make_audit()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def _make_records() -> None:
    op.create_table(
        "contents",
        sa.Column("digest", _id(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_contents"),
    )
    op.create_table(
        "patients",
        sa.Column("id", _id(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sex", sa.String(16), nullable=False),
        sa.Column("birth_date", sa.Date),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("digest", _id(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_patients"),
        sa.ForeignKeyConstraint(["digest"], ["contents.digest"], name="fk_patients_digest"),
    )
    op.create_table(
        "genomes",
        sa.Column("patient_id", _id(), nullable=False),
        sa.Column("sample", sa.Text, nullable=False),
        sa.Column("digest", _id(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("patient_id", name="pk_genomes"),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name="fk_genomes_patient_id"),
        sa.ForeignKeyConstraint(["digest"], ["contents.digest"], name="fk_genomes_digest"),
    )
    op.create_table(
        "measured",
        sa.Column("number", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("id", _id(64), nullable=False),
        sa.Column("patient_id", _id(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("duration_h", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_measured"),
        sa.UniqueConstraint("id", name="uq_measured_id"),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name="fk_measured_patient_id"),
    )
    op.create_index("ix_measured_patient_id_at", "measured", ["patient_id", "at"])
    op.create_table(
        "consents",
        sa.Column("number", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("patient_id", _id(), nullable=False),
        sa.Column("purpose", _id(), nullable=False),
        sa.Column("granted", sa.Boolean, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_consents"),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name="fk_consents_patient_id"),
    )
    op.create_index("ix_consents_patient_id_purpose", "consents", ["patient_id", "purpose"])


def _make_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("id", _id(64), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("patient_id", _id(), nullable=False),
        sa.Column("as_of", sa.Date),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_answers"),
        sa.UniqueConstraint("seq", name="uq_answers_seq"),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name="fk_answers_patient_id"),
    )
    op.create_index("ix_answers_patient_id_seq", "answers", ["patient_id", "seq"])
    op.create_table(
        "decisions",
        sa.Column("id", _id(64), nullable=False),
        sa.Column("answer_id", _id(64), nullable=False),
        sa.Column("patient_id", _id(), nullable=False),
        sa.Column("rank", sa.Integer),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("will_monitor", sa.Boolean, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("order_text", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["answer_id"], ["answers.id"], name="fk_decisions_answer_id"),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name="fk_decisions_patient_id"),
    )
    op.create_index("ix_decisions_patient_id_at", "decisions", ["patient_id", "at"])
    op.create_table(
        "follow_ups",
        sa.Column("id", _id(64), nullable=False),
        sa.Column("decision_id", _id(64), nullable=False),
        sa.Column("patient_id", _id(), nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("due", sa.Date, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("expected_low", sa.Float),
        sa.Column("expected_high", sa.Float),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_follow_ups"),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name="fk_follow_ups_decision_id"),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name="fk_follow_ups_patient_id"),
    )
    op.create_index("ix_follow_ups_patient_id_due", "follow_ups", ["patient_id", "due"])
    op.create_index("ix_follow_ups_due_id", "follow_ups", ["due", "id"])


def _make_requests() -> None:
    op.create_table(
        "kept_responses",
        sa.Column("actor", _id(), nullable=False),
        sa.Column("key", _id(64), nullable=False),
        sa.Column("digest", _id(64), nullable=False),
        sa.Column("response", sa.LargeBinary),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name="pk_kept_responses"),
    )
    op.create_table(
        "seen_tokens",
        sa.Column("jti", _id(64), nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("jti", name="pk_seen_tokens"),
    )
    op.create_index("ix_seen_tokens_expires", "seen_tokens", ["expires"])


def _make_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", _id(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", _id(), nullable=False),
        sa.Column("account", _id(), nullable=False),
        sa.Column("hash", _id(64), nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("hash", name="uq_tokens_hash"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_tokens_account"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", _id(64), nullable=False),
        sa.Column("account", _id(), nullable=False),
        sa.Column("csrf", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_sessions_account"),
    )
    op.create_index("ix_sessions_expires", "sessions", ["expires"])


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("action", sa.String(1), nullable=False),
        sa.Column("entity_type", sa.String(32), nullable=False),
        sa.Column("entity_id", sa.Text, nullable=False),
        sa.Column("patient_id", _id(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", _id(64), nullable=False),
        sa.Column("hash", _id(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
    )
    op.create_index("ix_audit_patient_id_seq", "audit", ["patient_id", "seq"])
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", _id(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": _GENESIS}])


def _guard_sqlite() -> None:
    """Refuse changes; also INSERT OR REPLACE, which takes the old row away without firing DELETE triggers."""
    for table, keys in _KEYS.items():
        same = " OR ".join(f"{key} = NEW.{key}" for key in keys)
        stop = f"BEGIN SELECT RAISE(ABORT, '{table}: rows are never changed or deleted'); END"
        op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {stop}")
        op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {stop}")
        held = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"
        op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {held} {stop}")
    stop = "BEGIN SELECT RAISE(ABORT, 'audit_head: the chain only grows'); END"
    op.execute(
        "CREATE TRIGGER audit_head_grows BEFORE UPDATE ON audit_head "
        f"WHEN NEW.seq <= OLD.seq OR NEW.id <> OLD.id {stop}"
    )
    op.execute(f"CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head {stop}")
    op.execute(f"CREATE TRIGGER audit_head_one BEFORE INSERT ON audit_head {stop}")


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION posologist_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION '%: rows are never changed or deleted', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE FUNCTION posologist_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.seq <= OLD.seq OR NEW.id <> OLD.id THEN "
        "RAISE EXCEPTION 'audit_head: the chain only grows'; END IF; RETURN NEW; END $$"
    )
    for table in _KEYS:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION posologist_refuse()"
        )
    op.execute(
        "CREATE TRIGGER audit_head_grows BEFORE UPDATE ON audit_head "
        "FOR EACH ROW EXECUTE FUNCTION posologist_only_grows()"
    )
    op.execute(
        "CREATE TRIGGER audit_head_no_change BEFORE INSERT OR DELETE ON audit_head "
        "FOR EACH ROW EXECUTE FUNCTION posologist_refuse()"
    )
    for table in (*_KEYS, "audit_head"):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION posologist_refuse()"
        )
