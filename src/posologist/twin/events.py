"""Event tables in NONMEM's columns: what was given to a subject, when, and what was measured.

Columns (any order, any case): ID, TIME (h), DV, AMT, RATE, EVID, MDV, CMT, II (h), ADDL, SS; LLOQ (the limit of
quantification) and CENS (1: the level lies below LLOQ, or below DV where LLOQ is missing). Without CENS a level is
censored where DV < LLOQ. Every other column is a covariate or a parameter of the record.
`.`, `NA` and an empty field mean missing. Without EVID a row with an amount is a dose; without CMT the model's own
compartments are meant (doses into the first, levels from the central one).

References
----------
nonmem-guide-vi, chapter V (event records)
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from posologist.core.errors import InputError

OBSERVATION, DOSE, OTHER, RESET, RESET_AND_DOSE = 0, 1, 2, 3, 4
MODELLED_RATE, MODELLED_DURATION = -1.0, -2.0

MOST_DOSES = 4_000  # doses of a subject, eleven years of one a day; and records
_KNOWN = ("ID", "TIME", "DV", "AMT", "RATE", "EVID", "MDV", "CMT", "II", "ADDL", "SS", "LLOQ", "CENS")
_MISSING = {"", ".", "NA", "NAN", "N/A"}


@dataclass(frozen=True)
class Record:
    """One event of a subject.

    `time` and `ii` in h, `amt` in the model's dose unit, `rate` in dose unit per h (-1: the parameter R1, R2 ...
    of the compartment is the rate; -2: the parameter D1, D2 ... is the duration, h). `cmt` 0 is the model's own.
    `evid` 0 observation, 1 dose, 2 other, 3 reset, 4 reset and dose. `ss` 1 steady state that replaces, 2 that is
    added. `dv` is None where nothing was measured; `limit` is what a censored level lies below, else None.
    """

    time: float
    evid: int = OBSERVATION
    amt: float = 0.0
    rate: float = 0.0
    cmt: int = 0
    ii: float = 0.0
    addl: int = 0
    ss: int = 0
    dv: float | None = None
    mdv: int = 0
    covariates: dict[str, float] = field(default_factory=dict)
    limit: float | None = None
    where: str = ""

    @property
    def is_dose(self) -> bool:
        """True for EVID 1 and 4."""
        return self.evid in (DOSE, RESET_AND_DOSE)

    @property
    def is_level(self) -> bool:
        """True for an observation with a value."""
        return self.evid == OBSERVATION and not self.mdv and self.dv is not None


@dataclass(frozen=True)
class EventTable:
    """The records of one subject in the order of time."""

    subject: str
    records: tuple[Record, ...]

    def __post_init__(self) -> None:
        """Check each record and their order."""
        for record in self.records:
            _check(record)
        _check_order(self.records)


def _check_order(records: tuple[Record, ...]) -> None:
    for before, after in pairwise(records):
        if after.time < before.time and after.evid not in (RESET, RESET_AND_DOSE):
            raise InputError(
                f"time goes back from {before.time:g} h to {after.time:g} h",
                where=after.where,
                hint="sort the subject's rows by TIME, or begin a new occasion with EVID 3 or 4",
            )


def _check(record: Record) -> None:
    """Raise an InputError for a record that means nothing."""
    for problem, advice in _problems(record):
        raise InputError(problem, where=record.where, hint=advice)


def _problems(record: Record) -> Iterable[tuple[str, str]]:
    numbers = (record.time, record.amt, record.rate, record.ii)
    if not all(math.isfinite(number) for number in numbers):
        yield "TIME, AMT, RATE and II must be finite numbers", "correct the value"
    if record.evid not in (0, 1, 2, 3, 4):
        yield f"EVID {record.evid} is unknown", "use 0 observation, 1 dose, 2 other, 3 reset or 4 reset and dose"
    if record.amt < 0:
        yield f"AMT {record.amt:g} is negative", "give a positive amount"
    if record.cmt < 0:
        yield f"CMT {record.cmt} would switch a compartment off", "use compartments 1, 2, ...; 0 means the model's own"
    if record.ss not in (0, 1, 2):
        yield f"SS {record.ss} is unknown", "use 0, 1 (replaces what was there) or 2 (is added to it)"
    if record.addl > MOST_DOSES:
        yield f"ADDL {record.addl} is more than {MOST_DOSES} further doses", "give fewer, or SS 1 for a long history"
    if record.addl < 0 or record.ii < 0:
        yield "ADDL and II cannot be negative", "give the number of further doses and the interval in h"
    if record.is_dose:
        yield from _dose_problems(record)
    elif record.amt or record.rate or record.ss or record.addl:
        yield f"a record of EVID {record.evid} carries AMT, RATE, SS or ADDL", "use EVID 1 for a dose, or clear them"


def _dose_problems(record: Record) -> Iterable[tuple[str, str]]:
    if record.rate < 0 and record.rate not in (MODELLED_RATE, MODELLED_DURATION):
        yield f"RATE {record.rate:g} is unknown", "use a positive rate, -1 (modelled rate) or -2 (modelled duration)"
    endless = record.amt == 0 and record.ss > 0 and (record.rate > 0 or record.rate == MODELLED_RATE)
    if record.amt == 0 and not endless:
        yield "a dose has no amount", "give AMT > 0, or SS 1 with RATE > 0 and II 0 for an endless infusion"
    if endless and (record.ii or record.addl):
        yield "an endless infusion at steady state has II or ADDL", "give AMT, or clear II and ADDL"
    if record.addl and not record.ii > 0:
        yield f"ADDL {record.addl} without II", "give the interval between the doses in the column II (h)"
    if record.ss and not endless and not record.ii > 0:
        yield f"SS {record.ss} without II", "give the interval between the doses in the column II (h)"


def read_events(path: Path | str) -> tuple[EventTable, ...]:
    """The event tables of a file, one per ID, in the order of first appearance.

    Raises
    ------
    InputError
        With file, line and column: a missing column, a value that is not a number, time that goes back, ADDL or SS
        without II, an unknown EVID, a negative amount, the rows of one subject in two places, more than `MOST_DOSES`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the file: {error}", where=str(path), hint="give a text file (CSV)") from None
    return parse_events(text, source=Path(path).name)


def parse_events(text: str, *, source: str = "events") -> tuple[EventTable, ...]:
    """As `read_events`, from the text itself; `source` names it in messages."""
    rows = iter(_split(text, source))
    header = [name.strip() for name in next(rows, [])]
    columns = _columns(header, source)
    subjects: dict[str, list[Record]] = {}
    last = None
    for line, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        place = _Row(source=source, line=line, cells=_cells(row, header, source, line), columns=columns)
        subject = place.text("ID")
        if subject in subjects and subject != last:
            raise InputError(
                f"the rows of subject {subject} stand in two places",
                where=f"{source}:{line}:ID",
                hint="keep each subject's rows together, or give another ID",
            )
        subjects.setdefault(subject, []).append(place.record())
        last = subject
    if not subjects:
        raise InputError("the table has no rows", where=source, hint="give a header line and one line per event")
    for subject, records in subjects.items():
        _check_size(subject, records, source)
    return tuple(EventTable(subject=subject, records=tuple(records)) for subject, records in subjects.items())


def _check_size(subject: str, records: Sequence[Record], source: str) -> None:
    doses = sum(record.addl + 1 for record in records if record.is_dose)
    if max(doses, len(records)) > MOST_DOSES:
        raise InputError(
            f"subject {subject} has {len(records)} records and {doses} doses, more than {MOST_DOSES}",
            where=source,
            hint="give fewer, or SS 1 for a long history",
        )


def _split(text: str, source: str) -> list[list[str]]:
    try:
        return list(csv.reader(text.splitlines(), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise InputError(f"not a table: {error}", where=source, hint="give a text file (CSV)") from None


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return next((mark for mark in (",", "\t", ";") if mark in first), ",")


def _columns(header: list[str], source: str) -> dict[str, str]:
    """Known names of the columns: upper case as in NONMEM -> as written in the file."""
    upper = [name.upper() for name in header]
    twice = sorted({name for name in upper if upper.count(name) > 1})
    if twice:
        raise InputError(f"column {', '.join(twice)} stands twice", where=f"{source}:1", hint="keep one of them")
    missing = [name for name in ("ID", "TIME") if name not in upper]
    if missing or not {"AMT", "DV"} & set(upper):
        needed = ", ".join(missing or ["AMT or DV"])
        raise InputError(f"column {needed} is missing", where=f"{source}:1", hint="give the columns ID, TIME, AMT, DV")
    return {name.upper(): name for name in header if name.upper() in _KNOWN}


def _cells(row: list[str], header: list[str], source: str, line: int) -> dict[str, str]:
    if len(row) != len(header):
        raise InputError(
            f"{len(row)} fields where the header has {len(header)}",
            where=f"{source}:{line}",
            hint="write . for a missing value",
        )
    return {name: cell.strip() for name, cell in zip(header, row, strict=True)}


def _as_number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in cell else None


@dataclass(frozen=True)
class _Row:
    source: str
    line: int
    cells: Mapping[str, str]
    columns: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.cells[self.columns[name]]

    def number(self, column: str) -> float | None:
        """The number in a column as written in the file; None where it is missing."""
        cell = self.cells[column]
        if cell.upper() in _MISSING:
            return None
        value = _as_number(cell)
        if value is None:
            raise InputError(
                f"'{cell}' is not a finite number",
                where=f"{self.source}:{self.line}:{column}",
                hint="give a number with a point, or . where it is missing",
            )
        return value

    def known(self, name: str) -> float | None:
        return self.number(self.columns[name]) if name in self.columns else None

    def whole(self, name: str) -> int:
        value = self.known(name) or 0.0
        if not value.is_integer():
            raise InputError(
                f"{value:g} is not a whole number",
                where=f"{self.source}:{self.line}:{self.columns[name]}",
                hint=f"give {name} as a whole number",
            )
        return int(value)

    def record(self) -> Record:
        time = self.known("TIME")
        where = f"{self.source}:{self.line}"
        if time is None:
            raise InputError("the time is missing", where=f"{where}:{self.columns['TIME']}", hint="give hours")
        amt, limit = self.known("AMT") or 0.0, self._limit()
        dv = limit if self.known("DV") is None else self.known("DV")
        record = Record(
            time=time,
            evid=self._evid(amt),
            amt=amt,
            rate=self.known("RATE") or 0.0,
            cmt=self.whole("CMT"),
            ii=self.known("II") or 0.0,
            addl=self.whole("ADDL"),
            ss=self.whole("SS"),
            dv=dv,
            mdv=self.whole("MDV") if self.known("MDV") is not None else int(dv is None),
            covariates=self._covariates(),
            limit=limit,
            where=where,
        )
        _check(record)
        return record

    def _limit(self) -> float | None:
        """The limit that a censored level lies below; None where the level is not censored."""
        dv, limit = self.known("DV"), self.known("LLOQ")
        if "CENS" not in self.columns:
            return limit if dv is not None and limit is not None and dv < limit else None
        if self.whole("CENS") not in (0, 1) or (self.whole("CENS") and limit is None and dv is None):
            raise InputError(
                "CENS must be 0, or 1 with the limit in LLOQ or DV",
                where=f"{self.source}:{self.line}:{self.columns['CENS']}",
                hint="give 1 for a level below the limit of quantification",
            )
        return (dv if limit is None else limit) if self.whole("CENS") else None

    def _evid(self, amt: float) -> int:
        if self.known("EVID") is not None:
            return self.whole("EVID")
        endless = (self.known("SS") or 0) > 0 and bool(self.known("RATE") or 0)
        return DOSE if amt != 0 or endless else OBSERVATION

    def _covariates(self) -> dict[str, float]:
        named = {name: self.number(name) for name in self.cells if name.upper() not in _KNOWN}
        return {name: value for name, value in named.items() if value is not None}
