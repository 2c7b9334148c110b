"""What a database holds against what its audit chain tells: answers, decisions, consents, records, and the triggers."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict

from sqlalchemy import Connection, Table, func, select, text

from posologist.serve.audit import Break, answer_id, decision_digest
from posologist.serve.rows import AuditRow, DecisionRow
from posologist.serve.tables import GUARDED, answers, consents, contents, decisions, genomes, patients
from posologist.serve.transaction import row_of

_TABLES = {"answer": answers, "decision": decisions}
_RECORD = "record "
_SQLITE_TRIGGERS = (
    *(f"{table}_no_{what}" for table in GUARDED for what in ("update", "delete", "replace")),
    "audit_head_grows", "audit_head_no_delete", "audit_head_one",
)  # fmt: skip
_POSTGRESQL_TRIGGERS = (
    *(f"{table}_no_{what}" for table in GUARDED for what in ("change", "truncate")),
    "audit_head_grows", "audit_head_no_change", "audit_head_no_truncate",
)  # fmt: skip


class Witness:
    """Reads the chain along with whoever walks it, and compares what it tells with what is held."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told: Counter[str] = Counter()
        self._consents: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self._records: dict[str, str] = {}
        self._genomes: dict[str, str] = {}
        self._sound: set[str] = set()

    def holds(self, row: AuditRow) -> str:
        """What is wrong with the thing that a row tells of; "" when it is as the row says."""
        if row.action not in ("C", "U") or row.outcome != "done":
            return ""
        if row.entity_type in _TABLES and row.action == "C":
            self._told[row.entity_type] += 1
            return self._made(row)
        if row.entity_type == "consent":
            self._consents[row.patient_id, row.entity_id].append(row.detail == "granted")
        if row.entity_type == "patient" and row.detail.startswith(_RECORD):
            digest = self._records[row.patient_id] = row.detail.removeprefix(_RECORD)
            return self._content(digest, "record")
        if row.entity_type == "genome":
            self._genomes[row.patient_id] = row.entity_id
            return self._content(row.entity_id, "genome")
        return ""

    def at_end(self, seq: int) -> list[Break]:
        """What is held and was never told, or is held otherwise than it was told last; after the whole chain."""
        found = [
            f"{more} {kind}{'s' if more > 1 else ''} of which the chain does not tell"
            for kind, table in _TABLES.items()
            if (more := self._count(table) - self._told[kind]) > 0
        ]
        found += self._other_consents()
        found += self._other_documents(patients, patients.c.id, self._records, "record")
        found += self._other_documents(genomes, genomes.c.patient_id, self._genomes, "genome")
        found += [f"the trigger {name} is not there" for name in self._missing_triggers()]
        return [Break(seq, what) for what in found]

    def _made(self, row: AuditRow) -> str:
        table = _TABLES[row.entity_type]
        found = self._connection.execute(select(table).where(table.c.id == row.entity_id)).one_or_none()
        if found is None:
            return f"the {row.entity_type} that it tells of is not there"
        if row.entity_type == "answer":
            made = answer_id(
                str(found.kind), str(found.patient_id), versions=str(found.versions),
                request=_as_bytes(found.request), document=_as_bytes(found.document),
            )  # fmt: skip
            same = made == row.entity_id and found.patient_id == row.patient_id
        else:
            same = decision_digest(row_of(DecisionRow, found)) == row.detail
        return "" if same else f"the {row.entity_type} that it tells of was changed"

    def _content(self, digest: str, what: str) -> str:
        if digest in self._sound:
            return ""
        body = self._connection.execute(select(contents.c.body).where(contents.c.digest == digest)).scalar()
        if body is None:
            return f"the {what} that it tells of is not there"
        if hashlib.sha256(_as_bytes(body)).hexdigest() != digest:
            return f"the {what} that it tells of was changed"
        self._sound.add(digest)
        return ""

    def _count(self, table: Table) -> int:
        return int(self._connection.execute(select(func.count()).select_from(table)).scalar_one())

    def _other_consents(self) -> list[str]:
        held: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for row in self._connection.execute(select(consents).order_by(consents.c.number)):
            held[row.patient_id, row.purpose].append(bool(row.granted))
        differing = sum(held.get(key) != self._consents.get(key) for key in {*held, *self._consents})
        return [f"{differing} consents are not as the chain tells"] if differing else []

    def _other_documents(self, table: Table, owner: object, told: dict[str, str], what: str) -> list[str]:
        rows = self._connection.execute(select(owner, table.c.digest))  # type: ignore[call-overload]
        differing = sum(told.get(patient) != digest for patient, digest in rows)
        return [f"{differing} patients have another {what} than the chain tells"] if differing else []

    def _missing_triggers(self) -> list[str]:
        if self._connection.dialect.name == "sqlite":
            expected, query = _SQLITE_TRIGGERS, "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        else:
            expected, query = (
                _POSTGRESQL_TRIGGERS,
                (
                    "SELECT tgname FROM pg_trigger JOIN pg_class ON tgrelid = pg_class.oid "
                    "WHERE relnamespace = current_schema()::regnamespace AND tgenabled <> 'D'"
                ),
            )
        held = set(self._connection.execute(text(query)).scalars())
        return [name for name in expected if name not in held]


def _as_bytes(found: object) -> bytes:
    """A column of bytes, which somebody may have written a text into."""
    return found if isinstance(found, bytes) else str(found).encode("utf-8", "surrogatepass")
