"""Levels, administrations and observations: checked on the way into the store, and as the engine takes them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from posologist.core.errors import InputError
from posologist.core.patient import Source
from posologist.knowledge.load import Knowledge
from posologist.records.table import EventRow, LevelRow, read_events, read_levels
from posologist.serve.asked import Noted, sha256
from posologist.serve.audit import canonical
from posologist.serve.rows import MeasuredKind, MeasuredRow

_ENTERED = "entered"
"""Name of the document that values are cited by which were entered one by one."""
_AHEAD = timedelta(minutes=5)  # how far another clock may be before ours


@dataclass(frozen=True)
class Measurement:
    """A level, an administration or an observation as it comes in; `at` is aware."""

    kind: MeasuredKind
    at: datetime
    what: str
    value: float
    unit: str
    route: str = ""
    duration_h: float = 0.0


def entered(
    patient_id: str, given: Sequence[Measurement], *, knowledge: Knowledge, now: datetime
) -> tuple[MeasuredRow, ...]:
    """Values that were entered one by one, checked by the same rules as those of a table.

    Raises
    ------
    InputError
        If a drug or key is not known, a unit does not fit, or a value is impossible or lies in the future.
    """
    rows: list[MeasuredRow] = []
    for number, one in enumerate(given, start=1):
        where = f"measured[{number}]"
        if one.at.tzinfo is None:
            raise InputError("the time has no offset", where=where, hint="write e.g. 2026-11-20T14:30:00Z")
        source = Source(document=_ENTERED, place=f"{one.at:%Y-%m-%d %H:%M} {one.kind}")
        if one.kind == "observation":
            _check_observation(one, knowledge, where)
            rows.append(_row(patient_id, one, source, now))
        elif one.kind == "level":
            read = read_levels(_table(("time", "value", "unit", "analyte"), one), document=where)
            rows += levels_in(patient_id, read, knowledge=knowledge, now=now, source=source)
        else:
            columns = ("time", "amount", "unit", "drug", "route", "duration_h")
            read_given = read_events(_table(columns, one), document=where)
            rows += events_in(patient_id, read_given, knowledge=knowledge, now=now, source=source)
    _check_times(rows, now)
    return tuple(rows)


def levels_in(
    patient_id: str, levels: Iterable[LevelRow], *, knowledge: Knowledge, now: datetime, source: Source | None = None
) -> tuple[MeasuredRow, ...]:
    """Levels of a table as rows of the store.

    Raises
    ------
    InputError
        If an analyte is no drug that is known, or a time lies in the future.
    """
    rows = []
    for level in levels:
        _check_drug(level.analyte, knowledge, source or level.source)
        one = Measurement("level", level.at, level.analyte, level.value, level.unit)
        rows.append(_row(patient_id, one, source or level.source, now))
    _check_times(rows, now)
    return tuple(rows)


def events_in(
    patient_id: str, events: Iterable[EventRow], *, knowledge: Knowledge, now: datetime, source: Source | None = None
) -> tuple[MeasuredRow, ...]:
    """Administrations of a table as rows of the store; errors as for `levels_in`."""
    rows = []
    for event in events:
        if event.drug:
            _check_drug(event.drug, knowledge, source or event.source)
        one = Measurement(
            "administration", event.at, event.drug, event.amount, event.unit, event.route, event.duration_h
        )
        rows.append(_row(patient_id, one, source or event.source, now))
    _check_times(rows, now)
    return tuple(rows)


def levels_out(rows: Iterable[MeasuredRow]) -> tuple[LevelRow, ...]:
    """The levels among stored rows, in the order of the table that they came from."""
    return tuple(
        LevelRow(at=row.at, value=row.value, unit=row.unit, analyte=row.what, source=_source(row))
        for row in rows
        if row.kind == "level"
    )


def events_out(rows: Iterable[MeasuredRow]) -> tuple[EventRow, ...]:
    """The administrations among stored rows."""
    return tuple(
        EventRow(
            at=row.at, amount=row.value, unit=row.unit, route=row.route, duration_h=row.duration_h, drug=row.what,
            source=_source(row),
        )
        for row in rows
        if row.kind == "administration"
    )  # fmt: skip


def noted_out(rows: Iterable[MeasuredRow]) -> tuple[Noted, ...]:
    """The observations among stored rows."""
    return tuple(
        Noted(key=row.what, at=row.at, value=row.value, unit=row.unit, source=_source(row))
        for row in rows
        if row.kind == "observation"
    )


def _row(patient_id: str, one: Measurement, source: Source, now: datetime) -> MeasuredRow:
    """A stored row; its id is its content, so that the same value twice is one value."""
    content = sha256(canonical({"patient": patient_id, **vars(one)}).encode("utf-8", "surrogatepass"))
    return MeasuredRow(
        id=content, patient_id=patient_id, document=source.document, place=source.place, created_at=now, **vars(one)
    )


def _source(row: MeasuredRow) -> Source:
    return Source(document=row.document, place=row.place)


def _table(columns: Sequence[str], one: Measurement) -> bytes:
    """A value as the one line of a table, so that it is read by the table's rules."""
    values = {
        "time": one.at.isoformat(), "value": repr(one.value), "amount": repr(one.value), "unit": one.unit,
        "analyte": one.what, "drug": one.what, "route": one.route, "duration_h": repr(one.duration_h),
    }  # fmt: skip
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerow([values[column] for column in columns])
    return text.getvalue().encode("utf-8", "replace")


def _check_drug(name: str, knowledge: Knowledge, source: Source) -> None:
    try:
        knowledge.drug(name)
    except InputError as error:
        raise InputError(error.message, where=str(source), hint=error.hint) from error


def _check_observation(one: Measurement, knowledge: Knowledge, where: str) -> None:
    analyte = knowledge.codes.analytes.get(one.what)
    if analyte is None:
        raise InputError("not one of our keys", where=f"{where} what", hint="write e.g. sbp, creatinine, potassium")
    if not one.unit and analyte.unit not in ("{INR}", "{score}"):
        raise InputError("no unit", where=f"{where} unit", hint=f"write e.g. {analyte.unit}")
    value = analyte.canonical(one.value, one.unit) if one.unit else one.value
    if not analyte.is_plausible(value):
        raise InputError(
            f"{analyte.name}: outside {analyte.low} to {analyte.high} {analyte.unit}", where=f"{where} value",
            hint="check value and unit",
        )  # fmt: skip


def _check_times(rows: Iterable[MeasuredRow], now: datetime) -> None:
    for row in rows:
        if row.at > now + _AHEAD:
            raise InputError("lies in the future", where=f"{row.document} {row.place}".strip(), hint="check the time")
