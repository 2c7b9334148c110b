"""One piece of work on the store: reads from a snapshot, then writes under the lock of the audit chain.

Reading takes no lock, so an answer may be computed between reading and writing. The access rows of what was read wait
in memory and are written, with everything else, when the work ends; work that fails still leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Result,
    Select,
    Table,
    bindparam,
    exists,
    func,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from posologist.serve.audit import row_hash
from posologist.serve.refusals import ConsentRefusedError, NotFoundError, StoreError
from posologist.serve.rows import UNASKED_PURPOSES, Actor, AuditAction, AuditRow, Head, Outcome
from posologist.serve.tables import audit, audit_head, consents, contents, patients

T = TypeVar("T")
MOST_ROWS = 200  # of a page


@dataclass(frozen=True)
class Deed:
    """What an audit row tells, before it has its place in the chain."""

    action: AuditAction
    entity_type: str
    entity_id: str
    patient_id: str = ""
    outcome: Outcome = "done"
    detail: str = ""


@dataclass(frozen=True)
class Engines:
    """One database, for reading a snapshot and for writing under the lock."""

    reader: Engine
    writer: Engine


class Transaction:
    """Connections, audit and consent of one piece of work; `work.py` adds what can be done in it."""

    def __init__(self, engines: Engines, actor: Actor, clock: Callable[[], datetime]) -> None:
        self.actor = actor
        self._engines, self._clock = engines, clock
        self._reading: Connection | None = None
        self._writing: Connection | None = None
        self._head: Head | None = None
        self._allowed: set[str] = set()  # whose consent was looked up, by what is read now
        self._waiting: list[Deed] = []
        self._to_tell: list[Deed] = []  # reads and refusals, which stay when the work fails

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self._finish()
            else:
                self._abandon()
        finally:
            self._close()

    @property
    def now(self) -> datetime:
        """The time of the store's clock, UTC."""
        return self._clock()

    @property
    def reader(self) -> Connection:
        """A connection to read on: the one that writes, once there is one."""
        if self._writing is not None:
            return self._writing
        if self._reading is None:
            self._reading = self._engines.reader.connect()
        return self._reading

    @property
    def connection(self) -> Connection:
        """The connection that writes; from now on no other work can write until this one ends."""
        return self._writing or self.take_lock()

    def take_lock(self) -> Connection:
        """Begin to write: the queue for the end of the audit chain; the connection that writes."""
        if self._writing is None:
            self._release_reader()
            opened = self._writing = self._engines.writer.connect()
            self._allowed.clear()
            found = opened.execute(_HEAD).one_or_none()
            if found is None:
                raise StoreError("the end of the audit chain is missing", where="audit_head", hint="restore a backup")
            self._head = Head(found.seq, found.hash)
            waiting, self._waiting = self._waiting, []
            self._append(waiting)
        return self._writing

    def rest(self) -> None:
        """Give the reading connection back while something is computed."""
        self._allowed.clear()
        self._release_reader()

    def record(
        self, action: AuditAction, entity_type: str, entity_id: str, *, patient_id: str = "", detail: str = ""
    ) -> None:
        """Append an audit row: at once where this work writes already, else when it first writes or ends.

        `detail` must not hold a name, a value or a free text of a patient.
        """
        deed = Deed(action, entity_type, entity_id, patient_id, detail=detail)
        if action == "R":
            self._to_tell.append(deed)
        self.record_refusal(deed)

    def record_refusal(self, deed: Deed) -> None:
        """Append an audit row of what was refused before any work began."""
        if self._writing is None:
            self._waiting.append(deed)
        else:
            self._append([deed])

    def refuse(self, error: T, deed: Deed) -> T:
        """Note a refusal, for the audit row that is written when the error ends this work."""
        self._to_tell.append(deed)
        return error

    def insert(self, table: Table, values: dict[str, Any] | Sequence[dict[str, Any]]) -> None:
        """Insert rows.

        Raises
        ------
        StoreError
            If a text holds what no database keeps (NUL, half of a character).
        """
        for row in [values] if isinstance(values, dict) else values:
            for name, value in row.items():
                if isinstance(value, str) and not is_storable(value):
                    raise StoreError("the text cannot be stored", where=f"{table.name}.{name}", hint="give plain text")
        self.connection.execute(insert(table), values)

    def read(self, query: Select[Any], **values: object) -> Result[Any]:
        """Rows of a query with `covered` in it, for this actor's purpose."""
        purpose = self.actor.purpose
        return self.reader.execute(query, {**values, "purpose": purpose, "unasked": purpose in UNASKED_PURPOSES})

    def check_patient(self, patient_id: str) -> None:
        """Refuse what concerns a patient who is not known, or whose consent does not cover the purpose.

        Raises
        ------
        NotFoundError
            If there is no such patient.
        ConsentRefusedError
            If the consent does not cover the actor's purpose.
        """
        if patient_id in self._allowed:
            return
        held = self.read(_CONSENT, patient=plain(patient_id)).scalar()
        if held is None:
            deed = Deed("R", "patient", patient_id, patient_id, "not found")
            raise self.refuse(NotFoundError("no such patient", where="patient", hint="add the record first"), deed)
        if not held:
            deed = Deed("R", "patient", patient_id, patient_id, "refused", f"consent: {self.actor.purpose}")
            raise self.refuse(
                ConsentRefusedError(
                    f"the patient's consent does not cover the purpose '{self.actor.purpose}'", where="patient",
                    hint="ask the patient; in an emergency state the purpose 'emergency', which is recorded",
                ), deed,
            )  # fmt: skip
        self._allowed.add(patient_id)

    def check_writable(self, patient_id: str) -> None:
        """The same, under the lock: what was allowed when this work read may be refused by now."""
        self.take_lock()
        self.check_patient(patient_id)

    def content(self, digest: str) -> bytes:
        """The document with this sha256."""
        return bytes(self.reader.execute(select(contents.c.body).where(contents.c.digest == digest)).scalar_one())

    def keep_content(self, digest: str, body: bytes) -> None:
        """Hold a document once."""
        if not self.connection.execute(select(exists().where(contents.c.digest == digest))).scalar():
            self.insert(contents, {"digest": digest, "body": body})

    def _append(self, deeds: Iterable[Deed]) -> None:
        head, rows = self._head, []
        assert head is not None
        assert self._writing is not None
        at = self.now
        for deed in deeds:
            row = AuditRow(
                seq=head.seq + 1, at=at, actor=self.actor.id, role=self.actor.role, purpose=self.actor.purpose,
                action=deed.action, entity_type=deed.entity_type, entity_id=plain(deed.entity_id),
                patient_id=plain(deed.patient_id), outcome=deed.outcome, request_id=plain(self.actor.request_id),
                detail=deed.detail, previous=head.hash, hash="",
            )  # fmt: skip
            digest = row_hash(row)
            rows.append({**vars(row), "hash": digest})
            head = Head(row.seq, digest)
        if rows:
            self._writing.execute(_APPEND, rows)
            self._head = head

    def _finish(self) -> None:
        if self._writing is None and not self._waiting:
            return
        connection, head = self.connection, self._head
        assert head is not None
        connection.execute(_TO_END, {"end": head.seq, "end_hash": head.hash})
        connection.commit()

    def _abandon(self) -> None:
        """Undo what was written, and leave the access rows and refusals all the same."""
        self._close()
        if self._to_tell:
            after = Transaction(self._engines, self.actor, self._clock)
            after._waiting = self._to_tell
            with after:
                pass

    def _release_reader(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _close(self) -> None:
        self._release_reader()
        if self._writing is not None:
            self._writing.close()
            self._writing = None


def covered(patient_id: Column[str]) -> ColumnElement[bool]:
    """The condition that the patient's newest consent covers the purpose that `Transaction.read` asks for."""
    newest = (
        select(consents.c.granted)
        .where(consents.c.patient_id == patient_id, consents.c.purpose == bindparam("purpose"))
        .order_by(consents.c.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(newest, bindparam("unasked", type_=Boolean))


_CONSENT = select(covered(patients.c.id)).where(patients.c.id == bindparam("patient"))
_HEAD = select(audit_head.c.seq, audit_head.c.hash).where(audit_head.c.id == 1).with_for_update()
_TO_END = (
    audit_head.update()
    .where(audit_head.c.id == 1, audit_head.c.seq < bindparam("end"))
    .values(seq=bindparam("end"), hash=bindparam("end_hash"))
)
_APPEND = insert(audit)


def is_storable(text: str) -> bool:
    """Whether both databases keep a text as it is."""
    return "\x00" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def plain(text: str) -> str:
    """A text without what no database keeps."""
    return text if is_storable(text) else "".join(sign if is_storable(sign) else "\ufffd" for sign in text)


def page_size(limit: int) -> int:
    """A page's size, checked.

    Raises
    ------
    StoreError
        If it is not from 1 to 200.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise StoreError(f"{limit} rows", where="limit", hint=f"ask for 1 to {MOST_ROWS}")
    return limit


def row_of(kind: type[T], found: Any) -> T:
    """A database row as its value."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: getattr(found, name) for name in names})


def without_data(error: SQLAlchemyError) -> StoreError:
    """A database's error without what it quotes, which may be a patient's."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None) or ""
    return StoreError(
        f"the database refused: {type(original).__name__} {code}".strip(), where="database", hint="see docs/store.md"
    )
