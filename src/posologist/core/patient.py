"""Patient: what the record says, each fact with its place in the source."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from posologist.core.statement import Severity
from posologist.core.values import Many, Value

Sex = Literal["male", "female"]


class Source(Value):
    """Where in the input a fact stands, e.g. `bundle.json Observation/123`."""

    document: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.document} {self.place}".strip()


class Code(Value):
    """A code as it came."""

    system: str = ""
    code: str = ""
    display: str = ""


class Observation(Value):
    """A measured value in the canonical unit of its key (`knowledge/data/laboratory.toml`), at a time (UTC).

    `value` None with `text` set: a coded or textual result. `key` is the canonical name ("sbp", "potassium",
    "creatinine", "smoking_status"); an unmapped code keeps `key` = "".
    """

    key: str
    value: float | None = None
    unit: str = ""
    text: str = ""
    at: datetime | None = None
    code: Code = Code()
    source: Source


class Condition(Value):
    """A problem, active unless it has ended. `codes` are our condition codes without what they imply."""

    codes: Many[str] = ()
    original: Code = Code()
    onset: date | None = None
    end: date | None = None
    status: Literal["active", "resolved", "refuted", "unknown"] = "active"
    source: Source


class Medication(Value):
    """An order, a statement or an administration of a medicine.

    `drugs` are the ingredients known to us (several for a combination); `unresolved` holds the text that
    could not be identified, wholly or in part. `how_resolved` says by which code or tokens.
    """

    drugs: Many[str] = ()
    unresolved: str = ""
    text: str = ""
    original: Code = Code()
    how_resolved: str = ""
    kind: Literal["order", "statement", "administration"] = "order"
    status: Literal["active", "stopped", "unknown"] = "active"
    start: date | None = None
    end: date | None = None
    dose: float | None = Field(default=None, description="amount per administration, in `dose_unit`")
    dose_unit: str = ""
    per_day: float | None = Field(default=None, description="administrations per day")
    strength: str = ""
    form: str = ""
    route: str = ""
    as_needed: bool = False
    source: Source


class Allergy(Value):
    """An allergy or intolerance; `groups` are drug ids and allergy groups that it concerns, if any."""

    groups: Many[str] = ()
    original: Code = Code()
    reactions: Many[str] = ()
    kind: Literal["allergy", "intolerance", "unknown"] = "unknown"
    severity: str = ""
    category: str = ""
    tolerated: bool = Field(default=False, description="refuted, or a later tolerated exposure is recorded")
    source: Source


class FamilyHistory(Value):
    """A condition of a relative."""

    relation: str
    codes: Many[str] = ()
    original: Code = Code()
    onset_age: float | None = None
    source: Source


class Procedure(Value):
    """A procedure done."""

    original: Code
    codes: Many[str] = ()
    at: date | None = None
    source: Source


QualityKind = Literal[
    "converted",
    "duplicate",
    "out of range",
    "conflict",
    "stale",
    "unmapped",
    "resolved by name",
    "left out",
    "missing",
    "identity",
    "version",
    "deceased",
    "future",
    "unreadable",
]


class QualityFinding(Value):
    """Something about the data that the reader must know: converted, doubled, implausible, missing, left out."""

    kind: QualityKind
    severity: Severity = "information"
    text: str
    count: int = 1
    source: Source


class Preference(Value):
    """What the patient wants or pays: avoid a drug or group, prefer a form, price per month."""

    about: str
    wish: Literal["avoid", "prefer"] = "prefer"
    points: float = Field(default=0.0, description="utility points, events per 1,000")
    cost_per_month: float | None = None
    source: Source


class Patient(Value):
    """One patient. `problem_list_given` is False when the record held no list of conditions at all.

    The `*_given` flags separate "the list is empty or has no such entry" from "there was no list": only the
    first may be read as "not recorded".
    """

    id: str
    identifiers: Many[str] = ()
    name: str = ""
    sex: Sex | None = None
    gender: str = ""
    birth_date: date | None = None
    deceased: bool = False
    deceased_on: date | None = None
    race: Many[str] = ()
    ethnicity: str = ""
    observations: Many[Observation] = ()
    conditions: Many[Condition] = ()
    medications: Many[Medication] = ()
    allergies: Many[Allergy] = ()
    procedures: Many[Procedure] = ()
    family_history: Many[FamilyHistory] = ()
    preferences: Many[Preference] = ()
    quality: Many[QualityFinding] = ()
    problem_list_given: bool = False
    medication_list_given: bool = False
    allergy_list_given: bool = False
    latest_entry: date | None = None
    source: Source
