"""The audit chain: each row's hash covers the row and the hash before it, so that no row can be changed unseen.

hash = sha256(previous + canonical JSON of the row without `previous` and `hash`), in hexadecimal; the first row's
`previous` is `GENESIS`. The end of the chain is also held in a row of its own (`Head`), and may be written down
elsewhere: a tail that was cut off is found by either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from posologist.core.version import VERSION
from posologist.serve.rows import AuditRow, DecisionRow, Head

GENESIS = "0" * 64
START = Head(0, GENESIS)
_MOST_BREAKS = 100
_PURPOSES = {
    "treatment": ("TREAT", "treatment"),
    "emergency": ("ETREAT", "emergency treatment"),
    "operations": ("HOPERAT", "healthcare operations"),
    "research": ("HRESCH", "healthcare research"),
    "audit": ("HCOMPL", "health compliance"),
}
_OUTCOMES = {"done": "0", "refused": "4", "not found": "4"}
_SUBTYPES = {"C": "create", "R": "read", "U": "update", "E": "operation"}


def canonical(values: dict[str, Any]) -> str:
    """JSON with sorted keys and no spaces; times in UTC to the microsecond."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_text)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value)


def row_hash(row: AuditRow) -> str:
    """The hash that a row must have."""
    values = {name: value for name, value in vars(row).items() if name not in ("previous", "hash")}
    return hashlib.sha256((row.previous + canonical(values)).encode("utf-8", "surrogatepass")).hexdigest()


def answer_id(kind: str, patient_id: str, *, versions: str, request: bytes, document: bytes) -> str:
    """The id of an answer: a hash of all that it is."""
    digests = [hashlib.sha256(part).hexdigest() for part in (request, document)]
    text = canonical({"kind": kind, "patient": patient_id, "versions": versions, "parts": digests})
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def decision_digest(row: DecisionRow) -> str:
    """A hash of a decision, held in the audit row of its making."""
    return hashlib.sha256(canonical(dict(vars(row))).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Break:
    """A place where the chain does not hold: the row's number (or of the first missing one) and what is wrong."""

    seq: int
    what: str


@dataclass(frozen=True)
class Verified:
    """Outcome of walking a chain: rows read, the last row, and where it breaks (the first hundred places)."""

    rows: int
    last: Head
    breaks: tuple[Break, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing was changed, removed or added."""
        return not self.breaks

    def with_breaks(self, more: Iterable[Break]) -> Verified:
        """The same with further places."""
        return replace(self, breaks=(*self.breaks, *more)[:_MOST_BREAKS])


def verify_rows(
    rows: Iterable[AuditRow],
    *,
    head: Head,
    written_down: Head | None = None,
    holds: Callable[[AuditRow], str] = lambda row: "",
) -> Verified:
    """Walk a chain in the order of `seq` and say where it breaks.

    Parameters
    ----------
    head
        The stored end of the chain.
    written_down
        An earlier end of the chain that was kept elsewhere, if there is one.
    holds
        What is wrong with the thing that a row tells of; "" when it is as the row says.
    """
    breaks: list[Break] = []
    last, count, missed_mark = START, 0, written_down is not None and written_down.seq > 0
    for row in _readable(rows, breaks):
        count += 1
        breaks += _breaks_at(row, last, holds)
        if written_down is not None and row.seq == written_down.seq:
            missed_mark = False
            if row.hash != written_down.hash:
                breaks.append(Break(row.seq, "is not the row that was written down"))
        last = Head(row.seq, row.hash)
    if head.seq > last.seq:
        breaks.append(Break(last.seq + 1, f"rows {last.seq + 1} to {head.seq} are missing at the end"))
    elif head != last:
        breaks.append(Break(head.seq, f"the stored end of the chain is not its last row ({last.seq})"))
    if missed_mark and written_down is not None and written_down.seq > last.seq:
        breaks.append(Break(written_down.seq, "the row that was written down is not there"))
    return Verified(count, last, tuple(breaks[:_MOST_BREAKS]))


def _readable(rows: Iterable[AuditRow], breaks: list[Break]) -> Iterator[AuditRow]:
    """The rows up to one that cannot be read as one."""
    seq = 0
    try:
        for row in rows:
            seq = row.seq
            yield row
    except (ValueError, TypeError):
        breaks.append(Break(seq + 1, "cannot be read"))


def _breaks_at(row: AuditRow, last: Head, holds: Callable[[AuditRow], str]) -> list[Break]:
    found = []
    if row.seq != last.seq + 1:
        gap = f"rows {last.seq + 1} to {row.seq - 1} are missing" if row.seq > last.seq + 1 else "stands twice"
        found.append(Break(last.seq + 1 if row.seq > last.seq else row.seq, gap))
    elif row.previous != last.hash:
        found.append(Break(row.seq, f"does not follow row {last.seq}"))
    if row.hash != row_hash(row):
        found.append(Break(row.seq, "was changed"))
    elif wrong := holds(row):
        found.append(Break(row.seq, wrong))
    return found


def audit_event(row: AuditRow) -> dict[str, Any]:
    """A row as a FHIR R4 AuditEvent; its number and hashes stand in `entity.detail`."""
    code, words = _PURPOSES.get(row.purpose, ("", row.purpose))
    purpose: dict[str, Any] = {"text": words}
    if code:
        purpose["coding"] = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": code}]
    entity: dict[str, Any] = {
        "what": {"identifier": {"value": row.entity_id or "-"}, "display": row.entity_type},
        "detail": [
            {"type": name, "valueString": value}
            for name, value in (
                ("seq", str(row.seq)), ("previous", row.previous), ("hash", row.hash), ("detail", row.detail),
                ("request", row.request_id),
            ) if value
        ],
    }  # fmt: skip
    entities = [entity]
    if row.patient_id:
        entities.append(
            {
                "what": {"identifier": {"value": row.patient_id}, "type": "Patient"},
                "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "1"},
                "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "1"},
            }
        )
    return {
        "resourceType": "AuditEvent",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": _SUBTYPES[row.action]}],
        "action": row.action,
        "recorded": row.at.isoformat(timespec="microseconds"),
        "outcome": _OUTCOMES[row.outcome],
        "outcomeDesc": row.outcome,
        "purposeOfEvent": [purpose],
        "agent": [{"who": {"identifier": {"value": row.actor}}, "role": [{"text": row.role}], "requestor": True}],
        "source": {"observer": {"display": f"posologist {VERSION}"}},
        "entity": entities,
    }
