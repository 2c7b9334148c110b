"""The tables. `migrations/` makes them; a test holds the two equal.

Answers, decisions, contents, consents and audit rows are never changed or deleted: triggers refuse it (`GUARDED`).
Patients' documents lie once in `contents` under their sha256; patients, genomes and answers name them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

GUARDED = ("answers", "decisions", "audit", "contents", "consents")
"""Tables whose rows are never changed or deleted, by trigger on both databases."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time: `timestamptz` on PostgreSQL, UTC text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time in UTC; one without an offset is refused."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without an offset cannot be stored")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """The time in UTC, aware."""
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _id(length: int = 128) -> String:
    """An id: compared byte by byte on both databases, so that pages have one order."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

contents = Table(
    "contents",
    metadata,
    Column("digest", _id(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

patients = Table(
    "patients",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("sex", String(16), nullable=False),
    Column("birth_date", Date),
    Column("document", Text, nullable=False),
    Column("digest", _id(64), ForeignKey("contents.digest"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

genomes = Table(
    "genomes",
    metadata,
    Column("patient_id", _id(), ForeignKey("patients.id"), primary_key=True),
    Column("sample", Text, nullable=False),
    Column("digest", _id(64), ForeignKey("contents.digest"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

measured = Table(
    "measured",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", _id(64), nullable=False, unique=True),
    Column("patient_id", _id(), ForeignKey("patients.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("what", Text, nullable=False),
    Column("value", Float, nullable=False),
    Column("unit", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("duration_h", Float, nullable=False),
    Column("document", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "patient_id", "at"),
)

answers = Table(
    "answers",
    metadata,
    Column("id", _id(64), primary_key=True),
    Column("seq", Integer, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("patient_id", _id(), ForeignKey("patients.id"), nullable=False),
    Column("as_of", Date),
    Column("versions", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "patient_id", "seq"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", _id(64), primary_key=True),
    Column("answer_id", _id(64), ForeignKey("answers.id"), nullable=False),
    Column("patient_id", _id(), ForeignKey("patients.id"), nullable=False),
    Column("rank", Integer),
    Column("action", String(16), nullable=False),
    Column("reason", String(32)),
    Column("will_monitor", Boolean, nullable=False),
    Column("note", Text, nullable=False),
    Column("order_text", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index(None, "patient_id", "at"),
)

follow_ups = Table(
    "follow_ups",
    metadata,
    Column("id", _id(64), primary_key=True),
    Column("decision_id", _id(64), ForeignKey("decisions.id"), nullable=False),
    Column("patient_id", _id(), ForeignKey("patients.id"), nullable=False),
    Column("what", Text, nullable=False),
    Column("due", Date, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("expected_low", Float),
    Column("expected_high", Float),
    Column("unit", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index(None, "patient_id", "due"),
    Index(None, "due", "id"),
)

consents = Table(
    "consents",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("patient_id", _id(), ForeignKey("patients.id"), nullable=False),
    Column("purpose", _id(), nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index(None, "patient_id", "purpose"),
)

kept_responses = Table(
    "kept_responses",
    metadata,
    Column("actor", _id(), primary_key=True),
    Column("key", _id(64), primary_key=True),
    Column("digest", _id(64), nullable=False),
    Column("response", LargeBinary),
    Column("created_at", UtcDateTime, nullable=False),
)

seen_tokens = Table(
    "seen_tokens",
    metadata,
    Column("jti", _id(64), primary_key=True),
    Column("expires", UtcDateTime, nullable=False, index=True),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("account", _id(), ForeignKey("accounts.id"), nullable=False),
    Column("hash", _id(64), nullable=False, unique=True),
    Column("expires", UtcDateTime, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("made_by", _id(), nullable=False, server_default=""),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", _id(64), primary_key=True),
    Column("account", _id(), ForeignKey("accounts.id"), nullable=False),
    Column("csrf", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False, index=True),
    Column("revoked", Boolean, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("action", String(1), nullable=False),
    Column("entity_type", String(32), nullable=False),
    Column("entity_id", Text, nullable=False),
    Column("patient_id", _id(), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", _id(64), nullable=False),
    Column("hash", _id(64), nullable=False),
    Index(None, "patient_id", "seq"),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("hash", _id(64), nullable=False),
)
