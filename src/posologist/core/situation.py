"""Situation: the patient at one moment, as rules and models see it."""

from __future__ import annotations

from datetime import date

from posologist.core.values import DrugId, EvidenceKey, Many, Value


class KnownFact(Value):
    """A fact by its expression name, in canonical units, with its age and its reason."""

    value: float | bool | str
    unit: str = ""
    at: date | None = None
    stale: bool = False
    text: str = ""
    because: EvidenceKey


class CurrentDrug(Value):
    """A medicine taken at `as_of`. Amounts are None when the order does not say them."""

    drug: DrugId
    text: str
    since: date | None = None
    dose: float | None = None
    unit: str = ""
    per_day: float | None = None
    route: str = ""
    form: str = ""
    because: EvidenceKey

    @property
    def amount_per_day(self) -> float | None:
        """Amount per day in `unit`, if dose and frequency are known."""
        return None if self.dose is None or self.per_day is None else self.dose * self.per_day


class StoppedDrug(Value):
    """A medicine whose last day lies `hours_ago` before `as_of`; None: stopped, but the day is not known."""

    drug: DrugId
    hours_ago: float | None
    because: EvidenceKey


class Situation(Value):
    """The patient at `as_of`.

    `facts` holds observed and derived values by expression name. `conditions` holds each active condition with
    what it implies. The `*_given` flags say whether a list was there at all: without one, absence is unknown.
    """

    patient_id: str
    name: str = ""
    as_of: date
    facts: dict[str, KnownFact]
    conditions: dict[str, EvidenceKey]
    past_conditions: dict[str, EvidenceKey] = {}
    current: Many[CurrentDrug] = ()
    stopped: Many[StoppedDrug] = ()
    doubled: dict[DrugId, EvidenceKey] = {}
    allergies: dict[str, EvidenceKey] = {}
    tolerated: dict[str, EvidenceKey] = {}
    unresolved_medicines: Many[str] = ()
    unresolved_allergies: Many[str] = ()
    preferences_avoid: dict[str, EvidenceKey] = {}
    preferences_prefer: dict[str, EvidenceKey] = {}
    problem_list_given: bool
    medication_list_given: bool
    allergy_list_given: bool
