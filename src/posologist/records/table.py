"""Patients, levels and dose events from CSV.

Layout of a patient's folder (a lone `patient.csv` is enough; columns in any order, optional ones in brackets):

=================  ===================================================================================
patient.csv        id, birth_date, sex [, name, race, ethnicity, deceased_on]
observations.csv   key or loinc, value, unit, time [, text]
conditions.csv     code [, system, display, onset, end, status]
medications.csv    text or rxcui [, dose, unit, per_day, start, end, status, route]
allergies.csv      text or code [, system, category, reaction, type]; text "none" says that there is none
=================  ===================================================================================

`code` without a `system` is one of our condition codes. With several patients, the other files carry `patient_id`.
Times are ISO 8601; without an offset they are UTC. A list file that is there, even empty, is a list that was given.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from posologist.core.errors import InputError
from posologist.core.patient import Allergy, Code, Condition, Medication, Observation, Patient, Sex, Source
from posologist.core.units import is_known
from posologist.core.values import Value
from posologist.knowledge.codes import system_name, written_unit
from posologist.knowledge.load import Knowledge
from posologist.records.allergies import AllergyGroups, reaction_words, says_none, substance
from posologist.records.json_tools import last_day, moment
from posologist.records.medication import Resolver
from posologist.records.observations import answered, deduplicated, measured
from posologist.records.problems import note_unmapped
from posologist.records.quality import Findings
from posologist.records.reading import Reading
from posologist.records.rxnorm import RxNormMap
from posologist.records.sig import amount, read_product

T = TypeVar("T")

_COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {  # of each group of names one column must be there
    "patient.csv": (("id",), ("birth_date",), ("sex",)),
    "observations.csv": (("key", "loinc"), ("value", "text"), ("unit",), ("time",)),
    "conditions.csv": (("code",),),
    "medications.csv": (("text", "rxcui"),),
    "allergies.csv": (("text", "code"),),
    "levels": (("time",), ("value",), ("unit",), ("analyte",)),
    "events": (("time",), ("amount",), ("unit",), ("route",)),
}
_LISTS = ("observations.csv", "conditions.csv", "medications.csv", "allergies.csv")
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "patient.csv": ("name", "race", "ethnicity", "deceased_on"),
    "observations.csv": ("key", "loinc", "value", "text", "patient_id"),
    "conditions.csv": ("system", "display", "onset", "end", "status", "patient_id"),
    "medications.csv": (
        "text", "rxcui", "dose", "unit", "per_day", "start", "end", "status", "route", "patient_id", "as_needed",
    ),
    "allergies.csv": ("text", "code", "system", "category", "reaction", "type", "patient_id"),
    "levels": ("comment",),
    "events": ("duration_h", "drug", "comment"),
}  # fmt: skip


class LevelRow(Value):
    """A measured concentration: `value` in `unit` of `analyte` (a drug's name as written) at `at` (UTC)."""

    at: datetime
    value: float = Field(ge=0)
    unit: str
    analyte: str
    source: Source


class EventRow(Value):
    """An administration: `amount` in `unit` at `at` (UTC), over `duration_h` hours (0: at once)."""

    at: datetime
    amount: float = Field(gt=0)
    unit: str
    route: str
    duration_h: float = Field(default=0.0, ge=0)
    drug: str = ""
    source: Source


@dataclass(frozen=True)
class _Row:
    """One line of a table with its place."""

    cells: dict[str, str]
    document: str
    line: int

    @property
    def source(self) -> Source:
        return Source(document=self.document, place=f"line {self.line}")

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def wrong(self, column: str, expected: str) -> InputError:
        return InputError(
            f"{column}: '{self.text(column)}' is not {expected}",
            where=f"{self.document}:{self.line}",
            hint=f"correct column {column}",
        )

    def number(self, column: str) -> float | None:
        if not self.text(column):
            return None
        try:
            value = float(self.text(column))
        except ValueError as error:
            raise self.wrong(column, "a number") from error
        if not abs(value) < 1e12:
            raise self.wrong(column, "a number that can be")
        return value

    def day(self, column: str) -> date | None:
        if not self.text(column):
            return None
        found = last_day(self.text(column)) if column == "end" else _day(self.text(column))
        if found is None:
            raise self.wrong(column, "a date (YYYY-MM-DD)")
        return found

    def time(self, column: str) -> datetime:
        found = moment(self.text(column))
        if found is None:
            raise self.wrong(column, "a time (ISO 8601)")
        return found


def _day(text: str) -> date | None:
    found = moment(text)
    return found.date() if found else None


def read_csv_patient(
    source: Path | str,
    *,
    knowledge: Knowledge,
    as_of: date | None = None,
    patient_id: str | None = None,
    rxnorm: RxNormMap | None = None,
) -> Patient:
    """The patient of a CSV folder, or of its `patient.csv`; the layout stands at the top of this module.

    Raises
    ------
    InputError
        With file, line and column, if a column is missing or a cell cannot be read; if several patients are in
        the folder and none was chosen.
    """
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    people = _read(folder / "patient.csv", "patient.csv") if (folder / "patient.csv").exists() else None
    if people is None:
        raise InputError("patient.csv is not there", where=str(folder), hint="see the CSV layout in the docs")
    wanted = [row for row in people if patient_id is None or row.text("id") == patient_id]
    if len(wanted) != 1:
        listed = ", ".join(row.text("id") for row in people) or "none"
        what = f"no patient '{patient_id}'" if patient_id and not wanted else f"{len(wanted)} patients"
        raise InputError(f"{what} in patient.csv: {listed}", where=str(folder), hint="choose one by its id")
    reading = Reading(knowledge.codes, Resolver(knowledge, rxnorm), Findings(), as_of)
    tables = {name: _own(folder / name, name, wanted[0].text("id"), len(people) == 1) for name in _LISTS}
    return _patient(wanted[0], tables, reading, AllergyGroups(knowledge))


def read_levels(source: Path | str | bytes, *, document: str = "levels.csv") -> tuple[LevelRow, ...]:
    """Levels of a CSV with the columns time, value, unit, analyte; in time order.

    Raises
    ------
    InputError
        With file, line and column, for a missing column, a cell that cannot be read, or an unknown unit.
    """
    return tuple(sorted((_level(row) for row in _table(source, "levels", document)), key=lambda r: (r.at, r.analyte)))


def read_events(source: Path | str | bytes, *, document: str = "events.csv") -> tuple[EventRow, ...]:
    """Administrations of a CSV with the columns time, amount, unit, route, and optionally duration_h, drug.

    Raises
    ------
    InputError
        As for `read_levels`.
    """
    return tuple(sorted((_event(row) for row in _table(source, "events", document)), key=lambda r: (r.at, r.drug)))


def _table(source: Path | str | bytes, kind: str, document: str) -> list[_Row]:
    if isinstance(source, bytes):
        return list(_rows(source, kind, document))
    return _read(Path(source), kind)


def _level(row: _Row) -> LevelRow:
    value = row.number("value")
    if value is None or value < 0:
        raise row.wrong("value", "a concentration")
    if not is_known(written_unit(row.text("unit"))):
        raise row.wrong("unit", "a known unit, e.g. mg/L")
    if not row.text("analyte"):
        raise row.wrong("analyte", "the name of what was measured")
    return LevelRow(
        at=row.time("time"),
        value=value,
        unit=written_unit(row.text("unit")),
        analyte=row.text("analyte"),
        source=row.source,
    )


def _event(row: _Row) -> EventRow:
    given = row.number("amount")
    if given is None or given <= 0:
        raise row.wrong("amount", "an amount above zero")
    if row.text("unit").lower() not in ("mg", "mcg", "ug", "g", "units", "[iu]", "iu"):
        raise row.wrong("unit", "mg, mcg, g or units")
    duration = row.number("duration_h") or 0.0
    if duration < 0:
        raise row.wrong("duration_h", "a duration in hours")
    if not row.text("route"):
        raise row.wrong("route", "a route, e.g. oral, iv")
    return EventRow(
        at=row.time("time"), amount=given, unit=row.text("unit").lower(), route=row.text("route").lower(),
        duration_h=duration, drug=row.text("drug"), source=row.source,
    )  # fmt: skip


def _own(path: Path, name: str, patient: str, alone: bool) -> list[_Row] | None:
    """Rows of one patient; None when there is no such file."""
    if not path.exists():
        return None
    rows = _read(path, name)
    if not alone and rows and "patient_id" not in rows[0].cells:
        raise InputError("column patient_id is missing", where=str(path), hint="name the patient in every line")
    return [row for row in rows if "patient_id" not in row.cells or row.text("patient_id") == patient]


def _read(path: Path, kind: str) -> list[_Row]:
    try:
        return list(_rows(path.read_bytes(), kind, path.name))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint="check the path") from error


def _rows(data: bytes, kind: str, document: str) -> Iterator[_Row]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text at byte {error.start}", where=document, hint="save as UTF-8 CSV") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(header, kind, document)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                text = f"{len(cells)} cells, {len(header)} columns"
                raise InputError(text, where=f"{document}:{reader.line_num}", hint="quote cells that hold a comma")
            values = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            yield _Row(values, document, reader.line_num)
    except csv.Error as error:
        raise InputError(f"not CSV: {error}", where=f"{document}:{reader.line_num}", hint="save as CSV") from error


def _check_header(header: list[str], kind: str, document: str) -> None:
    where = f"{document}:1"
    for group in _COLUMNS[kind]:
        if not set(group) & set(header):
            raise InputError(
                f"column {' or '.join(group)} is missing", where=where, hint=f"it has: {', '.join(header)}"
            )
    known = {name for group in _COLUMNS[kind] for name in group} | set(_OPTIONAL[kind])
    unknown = sorted(set(header) - known)
    if unknown:
        raise InputError(
            f"column {', '.join(unknown)} is not known", where=where, hint=f"use {', '.join(sorted(known))}"
        )
    if len(set(header)) != len(header):
        raise InputError("a column is there twice", where=where, hint="keep one of them")


def _patient(person: _Row, tables: dict[str, list[_Row] | None], reading: Reading, groups: AllergyGroups) -> Patient:
    sexes: dict[str, Sex | None] = {"male": "male", "m": "male", "female": "female", "f": "female", "": None}
    if person.text("sex").lower() not in sexes:
        raise person.wrong("sex", "male or female (or empty)")
    died = person.day("deceased_on")
    if died is not None and (reading.as_of is None or died <= reading.as_of):
        text = f"the record says that the patient died on {died}"
        reading.findings.add("deceased", text, person.source, severity="serious")
    for column in ("birth_date", "sex"):
        if not person.text(column):
            reading.findings.add("missing", f"{column} is not given", person.source, severity="serious")
    observations = deduplicated(_each(tables["observations.csv"], reading, _observation), reading)
    conditions = _each(tables["conditions.csv"], reading, _condition)
    medications = _each(tables["medications.csv"], reading, _medication)
    allergies = _each(tables["allergies.csv"], reading, lambda row, r: _allergy(row, r, groups))
    days = [o.at.date() for o in observations if o.at] + [d for c in conditions if (d := c.onset)]
    days += [d for m in medications if (d := m.start)]
    members: dict[str, Any] = {
        "sex": sexes[person.text("sex").lower()],
        "race": tuple(part.strip() for part in person.text("race").split(";") if part.strip()),
    }
    return Patient(
        id=person.text("id"),
        name=person.text("name"),
        gender=person.text("sex").lower(),
        birth_date=person.day("birth_date"),
        ethnicity=person.text("ethnicity"),
        deceased=died is not None and (reading.as_of is None or died <= reading.as_of),
        deceased_on=died,
        observations=observations,
        conditions=conditions,
        medications=medications,
        allergies=allergies,
        quality=reading.findings.merged(),
        problem_list_given=tables["conditions.csv"] is not None,
        medication_list_given=tables["medications.csv"] is not None,
        allergy_list_given=tables["allergies.csv"] is not None,
        latest_entry=max(days, default=None),
        source=person.source,
        **members,
    )


def _each(rows: list[_Row] | None, reading: Reading, read: Callable[[_Row, Reading], T | None]) -> tuple[T, ...]:
    found = [read(row, reading) for row in rows or []]
    return tuple(item for item in found if item is not None)


def _observation(row: _Row, reading: Reading) -> Observation | None:
    at = row.time("time")
    if reading.is_future(at.date(), "observation", row.source):
        return None
    key, loinc = row.text("key"), row.text("loinc")
    if key and key not in reading.codes.analytes:
        raise row.wrong("key", "a known key, e.g. creatinine, sbp (or give its LOINC code)")
    if not key and not loinc:
        raise row.wrong("loinc" if "loinc" in row.cells else "key", "the name of what was measured")
    codes = [Code(code=key) if key else Code(system="http://loinc.org", code=loinc)]
    value = row.number("value")
    if value is None:
        return answered(codes, [Code(code=row.text("text"))], row.text("text"), at, row.source, reading=reading)
    if row.text("unit") and key and not _fits(row, reading):
        raise row.wrong("unit", f"a unit of {key}; canonical is {reading.codes.analytes[key].unit}")
    return measured(codes, value, row.text("unit"), at, row.source, reading=reading)


def _fits(row: _Row, reading: Reading) -> bool:
    try:
        reading.codes.analytes[row.text("key")].canonical(1.0, row.text("unit"))
    except InputError:
        return False
    return True


def _condition(row: _Row, reading: Reading) -> Condition | None:
    system, code, onset, end = row.text("system"), row.text("code"), row.day("onset"), row.day("end")
    if system and not system_name(system) and not system.startswith(("http", "urn")):
        raise row.wrong("system", "SNOMED, ICD-10-CM or empty (our own codes)")
    meant = reading.codes.meaning(system, code)
    if meant is None and not system:
        raise row.wrong("code", "one of our condition codes (or give its system)")
    if reading.is_future(onset, "condition", row.source):
        return None
    if meant is None:
        note_unmapped(Code(system=system, code=code, display=row.text("display")), row.source, reading)
    status = row.text("status").lower() or "active"
    if status not in ("active", "resolved", "refuted", "unknown"):
        raise row.wrong("status", "active, resolved, refuted or unknown")
    over = end is not None and (reading.as_of is None or end <= reading.as_of)
    return Condition(
        codes=meant or (),
        original=Code(system=system, code=code, display=row.text("display")),
        onset=onset,
        end=end if over else None,
        status="resolved" if over and status == "active" else status,  # type: ignore[arg-type]
        source=row.source,
    )


def _medication(row: _Row, reading: Reading) -> Medication | None:
    start, end = row.day("start"), row.day("end")
    if reading.is_future(start, "medication", row.source):
        return None
    text, rxcui = row.text("text"), row.text("rxcui")
    if not text and not rxcui:
        raise row.wrong("text" if "text" in row.cells else "rxcui", "a medicine")
    codes = [Code(system="RxNorm", code=rxcui, display=text)] if rxcui else []
    found = reading.resolver.resolve(codes, text)
    product = read_product(text)
    value, dose, unit = row.number("dose"), None, ""
    if value is not None:
        dose, unit, note = amount(value, row.text("unit"), product)
        if note:
            reading.findings.add("missing" if dose is None else "converted", f"'{text}': {note}", row.source)
    if found.by_name:
        reading.findings.add("resolved by name", f"'{text}' is {', '.join(found.drugs)}", row.source)
    if found.unresolved:
        note = f"'{text or rxcui}': '{found.unresolved}' is no known drug and is not checked"
        reading.findings.add("unmapped", note, row.source, severity="monitor")
    status = row.text("status").lower() or "active"
    if status not in ("active", "stopped", "unknown"):
        raise row.wrong("status", "active, stopped or unknown")
    over = end is not None and (reading.as_of is None or end <= reading.as_of)
    return Medication(
        drugs=tuple(str(drug) for drug in found.drugs),
        unresolved=found.unresolved,
        text=text or rxcui,
        original=codes[0] if codes else Code(display=text),
        how_resolved=found.how,
        status="stopped" if over and status == "active" else status,  # type: ignore[arg-type]
        start=start,
        end=end,
        dose=dose,
        dose_unit=unit,
        per_day=row.number("per_day"),
        strength=product.strength,
        form=product.form,
        route=row.text("route").lower() or product.route,
        as_needed=row.text("as_needed").lower() in ("1", "yes", "true"),
        source=row.source,
    )


def _allergy(row: _Row, reading: Reading, groups: AllergyGroups) -> Allergy | None:
    text, code = row.text("text"), row.text("code")
    if says_none([code], [text]):
        return None
    if not text and not code:
        raise row.wrong("text" if "text" in row.cells else "code", "a substance")
    codes = [Code(system=row.text("system") or "RxNorm", code=code, display=text)] if code else []
    found = substance(codes, text, row.text("category").lower(), resolver=reading.resolver, groups=groups)
    if not found.groups and found.category not in ("food", "environment"):
        note = f"allergy '{text or code}' is to no known drug or group: it is not checked"
        reading.findings.add("unmapped", note, row.source, severity="serious")
    kind = row.text("type").lower()
    return Allergy(
        groups=found.groups,
        original=codes[0] if codes else Code(display=text),
        reactions=reaction_words([], row.text("reaction")) if row.text("reaction") else (),
        kind="allergy" if kind == "allergy" else "intolerance" if kind == "intolerance" else "unknown",
        category=found.category,
        source=row.source,
    )
