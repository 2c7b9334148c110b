"""Public kinetic data sets as event tables: each is known by its header line, and each states what was assumed.

The data themselves are not part of the program. Times become hours, doses mg, levels mg/L unless said otherwise;
covariates get the names that models use (weight kg, age a).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from posologist.core.errors import InputError
from posologist.knowledge.models import PkModel
from posologist.twin.events import DOSE, OBSERVATION, OTHER, RESET_AND_DOSE, EventTable, Record, parse_events

_MISSING = ("", "NA", ".")
_CLEARANCE_OF_CLASS = {"< 50": 33.5, ">= 50": 75.0}  # mL/min: middles of 17 to 50 and 50 to 100


@dataclass(frozen=True)
class _Row:
    """A row of a data set; `where` names it in messages."""

    cells: dict[str, str]
    where: str

    def has(self, column: str) -> bool:
        return self.cells[column] not in _MISSING

    def number(self, column: str) -> float:
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"'{self.cells[column]}' is not a number", where=f"{self.where}:{column}", hint="correct the value"
            )
        return value

    def dose(self, time: float, amount: float, *, duration: float = 0.0, **covariates: float) -> Record:
        rate = amount / duration if duration else 0.0
        return Record(time, evid=DOSE, amt=amount, rate=rate, mdv=1, covariates=covariates, where=self.where)

    def level(self, time: float, value: float, **covariates: float) -> Record:
        return Record(time, evid=OBSERVATION, dv=value, covariates=covariates, where=self.where)


Rows = Sequence[_Row]


@dataclass(frozen=True)
class DataSet:
    """A public data set: its header, how a subject's rows become records, and what has to be said about it.

    `drug` and `unit` are what was measured; `subject` is the column of the subject.
    """

    name: str
    drug: str
    header: tuple[str, ...]
    notes: tuple[str, ...]
    records: Callable[[Rows], list[Record]]
    subject: str = "Subject"
    unit: str = "mg/L"


def _theophylline(rows: Rows) -> list[Record]:
    weight = rows[0].number("Wt")
    dose = rows[0].dose(0.0, rows[0].number("Dose") * weight, weight=weight)
    levels = [row.level(row.number("Time"), row.number("conc"), weight=weight) for row in rows]
    return [*(r for r in levels if r.time < 0), dose, *(r for r in levels if r.time >= 0)]


def _indometacin(rows: Rows) -> list[Record]:
    return [rows[0].dose(0.0, 25.0), *(row.level(row.number("time"), row.number("conc")) for row in rows)]


def _cefamandole(rows: Rows) -> list[Record]:
    dose = rows[0].dose(0.0, 15.0, duration=1.0 / 6.0)
    return [dose, *(row.level(row.number("Time") / 60.0, row.number("conc")) for row in rows)]


def _phenobarbital(rows: Rows) -> list[Record]:
    found = []
    for row in rows:
        weight = row.number("Wt")
        body = {
            "weight": weight, "birth_weight": weight, "apgar": row.number("Apgar"),
            "age_days": row.number("time") / 24.0,
        }  # fmt: skip
        if row.has("dose"):
            found.append(row.dose(row.number("time"), row.number("dose"), **body))
        if row.has("conc"):
            found.append(row.level(row.number("time"), row.number("conc"), **body))
    return found


def _quinidine(rows: Rows) -> list[Record]:
    found = []
    for row in rows:
        body = {
            "age": row.number("Age"), "weight": row.number("Weight"), "glycoprotein": row.number("glyco"),
            "crcl": _clearance(row), "severe_failure": float(row.cells["Heart"] == "Severe"),
        }  # fmt: skip
        if row.has("dose"):
            dose = row.dose(row.number("time"), row.number("dose"), **body)
            found.append(replace(dose, ss=1, ii=row.number("interval")) if row.has("interval") else dose)
        if row.has("conc"):
            found.append(row.level(row.number("time"), row.number("conc"), **body))
        if not row.has("dose") and not row.has("conc"):
            found.append(Record(row.number("time"), evid=OTHER, mdv=1, covariates=body, where=row.where))
    return found


def _clearance(row: _Row) -> float:
    known = _CLEARANCE_OF_CLASS.get(row.cells["Creatinine"])
    if known is None:
        raise InputError(
            f"'{row.cells['Creatinine']}' is no class of creatinine clearance",
            where=f"{row.where}:Creatinine",
            hint=f"use one of {', '.join(_CLEARANCE_OF_CLASS)}",
        )
    return known


def _warfarin(rows: Rows) -> list[Record]:
    found = []
    for row in rows:
        body = {"weight": row.number("wt"), "age": row.number("age"), "male": float(row.cells["sex"] == "male")}
        if row.cells["evid"] == "1":
            found.append(row.dose(row.number("time"), row.number("amt"), **body))
        elif row.cells["dvid"] == "cp":
            found.append(row.level(row.number("time"), row.number("dv"), **body))
    return found


def _mavoglurant(rows: Rows) -> list[Record]:
    found: list[Record] = []
    for row in rows:
        body = {
            "weight": row.number("WT"), "height": row.number("HT"), "age": row.number("AGE"), "OCC": row.number("OCC"),
        }  # fmt: skip
        time = row.number("TIME")
        if row.cells["EVID"] == "1":
            amount = row.number("AMT")
            dose = row.dose(time, amount, duration=amount / row.number("RATE"), **body)
            back = bool(found) and time < found[-1].time
            found.append(replace(dose, evid=RESET_AND_DOSE) if back else dose)
        else:
            found.append(row.level(time, row.number("DV"), **body))
    return found


def _nimotuzumab(rows: Rows) -> list[Record]:
    found = []
    for row in rows:
        body = {
            "weight": row.number("WGT"), "height": row.number("HGT"), "age": row.number("AGE"),
            "bsa": row.number("BSA"),
        }  # fmt: skip
        time = row.number("TIME")
        if row.cells["EVID"] == "1":
            amount = row.number("AMT")
            found.append(row.dose(time, amount, duration=amount / row.number("RATE"), **body))
        else:
            found.append(row.level(time, math.exp(row.number("DV")), **body))
    return found


def _split(header: str) -> tuple[str, ...]:
    return tuple(header.split(","))


DATASETS = (
    DataSet(
        "theophylline", "theophylline", _split("Subject,Wt,Dose,Time,conc"), ("one oral dose at 0 h, Dose in mg/kg",),
        records=_theophylline,
    ),
    DataSet(
        "indometacin", "indometacin", _split("Subject,time,conc"),
        (
            "the file gives no dose; 25 mg as a bolus at 0 h, as the tests of the R package NonCompart take it; the R "
            "package medicaldata says 50 mg, which would double clearances and volumes and leave predictions alone",
        ),
        records=_indometacin,
    ),
    DataSet(
        "cefamandole", "cefamandole", _split("Subject,Time,conc"),
        ("times from minutes; 15 mg/kg over 10 min: doses and models in mg/kg and L/kg",),
        records=_cefamandole,
    ),
    DataSet(
        "phenobarbital in neonates", "phenobarbital", _split("Subject,Wt,Apgar,ApgarInd,time,dose,conc"),
        (
            "doses are read as mg in all (the data's description says ug/kg, which the levels contradict), as a bolus "
            "into a vein",
            "the weight is that at birth and stands for both; age counts from the first dose, since it is not told",
        ),
        records=_phenobarbital,
    ),
    DataSet(
        "quinidine", "quinidine",
        _split("Subject,time,conc,dose,interval,Age,Height,Weight,Race,Smoke,Ethanol,Heart,Creatinine,glyco"),
        (
            "a dose with an interval is one at steady state; doses are mg of base, the salt is not told",
            "creatinine clearance is only told as a class: 33.5 mL/min stands for < 50 and 75 for >= 50",
            "severe heart failure is the data's own class 'Severe'",
        ),
        records=_quinidine,
    ),
    DataSet(
        "warfarin", "warfarin", _split("id,time,amt,dv,dvid,evid,wt,age,sex"),
        ("only concentrations (cp) are read, not the prothrombin activity (pca)",),
        subject="id", records=_warfarin,
    ),
    DataSet(
        "mavoglurant", "mavoglurant", _split("ID,CMT,EVID,MDV,DV,AMT,TIME,DOSE,OCC,RATE,AGE,SEX,WT,HT"),
        (
            "doses mg by infusion into a vein, levels ug/L",
            "each occasion begins at 0 h with nothing left of the one before (EVID 4)",
        ),
        subject="ID", unit="ug/L", records=_mavoglurant,
    ),
    DataSet(
        "nimotuzumab", "nimotuzumab", _split("ID,TIME,AMT,RATE,DV,TAD,OCC,MDV,EVID,WGT,BSA,AGE,HGT,DOS"),
        (
            "doses mg by infusion into a vein",
            "the levels are written as natural logarithms of mg/L, as the model that comes with the data takes them "
            "(nlmixr, nimo.Rmd)",
        ),
        subject="ID", records=_nimotuzumab,
    ),
)  # fmt: skip
"""The data sets that are known by their header."""


def recognised(text: str) -> DataSet | None:
    """The data set whose header the text has; None: it is not one of ours."""
    header = tuple(next(csv.reader(text.splitlines()[:1]), []))
    return next((data for data in DATASETS if data.header == header), None)


def event_tables(text: str, *, source: str, model: PkModel) -> tuple[tuple[EventTable, ...], tuple[str, ...]]:
    """Event tables of a CSV text, and what was assumed in reading it.

    Parameters
    ----------
    text
        One of the public data sets as distributed, or an event table in NONMEM's columns.
    source
        Names the file in messages.
    model
        Model that the tables are for: a known data set of another drug or unit is refused.

    Raises
    ------
    InputError
        As `parse_events`; for a value of a data set that is not a number; for another drug or unit than the model's.
    """
    data = recognised(text)
    if data is None:
        return parse_events(text, source=source), ()
    _check(data, model, source)
    notes = tuple(f"read as the data set {data.name}: {note}" for note in data.notes)
    subjects: dict[str, list[_Row]] = {}
    for line, cells in enumerate(csv.DictReader(text.splitlines()), start=2):
        if None in cells or None in cells.values():
            raise InputError("the row does not match the header", where=f"{source}:{line}", hint="check the commas")
        row = _Row({name: value.strip() for name, value in cells.items()}, f"{source}:{line}")
        subjects.setdefault(row.cells[data.subject], []).append(row)
    return tuple(EventTable(subject, tuple(data.records(rows))) for subject, rows in subjects.items()), notes


def _check(data: DataSet, model: PkModel, source: str) -> None:
    for what, theirs, ours in (
        ("drug", data.drug, model.drug),
        ("unit of levels", data.unit, model.concentration_unit),
    ):
        if theirs != ours:
            raise InputError(
                f"the {what} is {theirs}, that of the model {model.id} is {ours}",
                where=source,
                hint="give a model and data that belong together",
            )
