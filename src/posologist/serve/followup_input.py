"""New results of a patient from a CSV: key or loinc, value, unit, time."""

from __future__ import annotations

import csv
from pathlib import Path

from posologist.core.errors import InputError
from posologist.core.patient import Code, Observation, Source
from posologist.knowledge.load import Knowledge
from posologist.records.json_tools import moment
from posologist.records.medication import Resolver
from posologist.records.observations import deduplicated, measured
from posologist.records.quality import Findings
from posologist.records.reading import Reading

_NEEDED = ("value", "unit", "time")


def read_observations(path: Path, *, knowledge: Knowledge) -> tuple[Observation, ...]:
    """Results of a CSV in time order; one that cannot be used stays in it without a value, and says why.

    Raises
    ------
    InputError
        With file, line and column, for a missing column or a cell that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError("not a text file", where=str(path), hint="give a CSV file in UTF-8") from error
    reader = csv.DictReader(lines)
    header = [name.strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    missing = [name for name in _NEEDED if name not in header]
    if missing or not {"key", "loinc"} & set(header):
        lacking = ", ".join([*missing, *(() if {"key", "loinc"} & set(header) else ("key or loinc",))])
        raise InputError(f"column {lacking} is missing", where=f"{path}:1", hint="key or loinc, value, unit, time")
    reading = Reading(knowledge.codes, Resolver(knowledge, None), Findings(), None)
    found = [_observation(row, path, number, reading) for number, row in enumerate(reader, start=2)]
    return deduplicated(found, reading)


def _observation(row: dict[str, str | None], path: Path, line: int, reading: Reading) -> Observation:
    where = f"{path}:{line}"
    if None in row:
        raise InputError("more cells than columns", where=where, hint="quote cells that hold a comma")
    cells = {name: (text or "").strip() for name, text in row.items()}
    at = moment(cells["time"])
    if at is None:
        raise InputError(f"time: '{cells['time']}' is not a time (ISO 8601)", where=where, hint="correct column time")
    key, loinc = cells.get("key", ""), cells.get("loinc", "")
    if (key and key not in reading.codes.analytes) or not (key or loinc):
        what = f"key: '{key}' is not known" if key else "neither key nor loinc is given"
        raise InputError(what, where=where, hint="write e.g. potassium, sbp, or give the LOINC code")
    try:
        value = float(cells["value"])
    except ValueError as error:
        what = f"value: '{cells['value']}' is not a number"
        raise InputError(what, where=where, hint="correct column value") from error
    if not abs(value) < 1e12:
        raise InputError(f"value: '{cells['value']}' cannot be", where=where, hint="correct column value")
    code = Code(code=key) if key else Code(system="http://loinc.org", code=loinc)
    source = Source(document=path.name, place=f"line {line}")
    return measured([code], value, cells["unit"], at, source, reading=reading)
