"""What comes out: the documents of `recommend` and `screen`. CONTRACT of other programs; only ever extended."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from posologist.core.evidence import Evidence
from posologist.core.genotype import ExpressedPhenotype, Versions
from posologist.core.patient import QualityFinding
from posologist.core.prediction import Label, Prediction
from posologist.core.regimen import ProductCount
from posologist.core.settings import Settings
from posologist.core.statement import Severity
from posologist.core.values import (
    Because,
    Contributions,
    Count,
    DrugId,
    Estimate,
    EvidenceKey,
    GeneSymbol,
    Many,
    Quantity,
    Series,
    Value,
)

OldDays = Annotated[int, Field(ge=0, json_schema_extra={"number": "count"})]


class Reason(Value):
    """A sentence and what it rests on."""

    text: str
    because: Because


class BannerFact(Value):
    """A fact of the patient as the banner shows it; `value` None: missing, and `prevents` says what that hinders."""

    name: str
    label: str
    value: Quantity | None = None
    text: str = ""
    at: date | None = None
    stale: bool = False
    prevents: str = ""
    because: Because


class PatientSummary(Value):
    """Who it is."""

    id: str
    name: str = ""
    sex: str = ""
    facts: Many[BannerFact] = ()
    conditions: Many[Reason] = ()
    allergies: Many[Reason] = ()
    allergies_state: Literal["recorded", "none recorded", "not known"]


class CurrentTreatment(Value):
    """A present medicine and what the leading plan does with it."""

    drug: DrugId
    regimen: str
    action: Literal["keep", "stop", "taper", "change"]
    how: str
    because: Because


class Start(Value):
    """A drug as the plan starts it."""

    drug: DrugId
    regimen: StartRegimen
    exposure: Series | None = None
    exposure_measures: dict[str, Estimate] = {}
    exposure_note: str = ""
    because: Because


class StartRegimen(Value):
    """A regimen that can be dispensed."""

    text: str
    dose: Quantity
    interval: Quantity
    maximum: Quantity | None = None
    route: str
    form: str
    products: Many[ProductCount]


class Stop(Value):
    """A drug as the plan stops it."""

    drug: DrugId
    how: Literal["stop", "taper"]
    text: str
    because: Because


class PlanDocument(Value):
    """Stop, keep, start; `text` is the sentence that a colleague would say."""

    text: str
    stop: Many[Stop] = ()
    keep: Many[DrugId] = ()
    start: Many[Start] = ()


class Effect(Value):
    """Expected change of a measure against now, for this patient, and the value then expected.

    `expected` is the patient's true level; `reading` is a later reading, with its day-to-day variation.
    """

    measure: str
    name: str
    change: Estimate
    expected: Estimate | None = None
    reading: Estimate | None = None


class Monitoring(Value):
    """What to measure, and when."""

    what: str
    when: str
    days: Many[Count] = ()
    because: Because


class Option(Value):
    """One ranked plan. `equivalents` are plans of the same classes that differ by less than can be told."""

    rank: Count
    plan: PlanDocument
    benefit: Estimate
    risk: Estimate
    therapeutic_index: Estimate | None
    toxic_probability: Estimate | None
    utility: Estimate
    effects: Many[Effect] = ()
    ties_with: Many[Count] = ()
    equivalents: Many[Reason] = ()
    reasons: Many[Reason]
    contributions: Contributions | None
    cautions: Many[Reason] = ()
    monitoring: Many[Monitoring] = ()


class RuledOut(Value):
    """A drug or plan that is not offered, by which rule, at which value."""

    drug: str
    rule: str
    reason: str
    value: Quantity | None = None
    because: Because


class Finding(Value):
    """Something that the prescriber must know, with its severity."""

    severity: Severity
    title: str
    detail: str
    drugs: Many[str] = ()
    because: Because


class NotChecked(Value):
    """What could not be checked, why, and what would clear it. A visible state, never silence."""

    what: str
    why: str
    would_need: str
    drugs: Many[str] = ()


class GoalDocument(Value):
    """The target that applies, where the patient stands, and who says so."""

    text: str
    measure: str
    now: Quantity | None = None
    low: Quantity | None = None
    high: Quantity | None = None
    because: Because


class PublishedScore(Value):
    """A published score of this patient; `score` is its id on file, `note` says what it counts and how."""

    score: str
    text: str
    quantity: Quantity
    note: str = ""


class ModelPart(Value):
    """A component of a learned model, with its weight in the model's blend."""

    name: str
    weight: Quantity


class LearnedShift(Value):
    """How far a learned model moves the published effect of one drug on one measure, or its harm, at one amount a day.

    The figure that counts is `published` + `shift`; `shift` is `weight` times what the model says, at most `limit`
    either way. Of an effect both are changes of the measure: negative is a fall. Of a harm `measure` names its event.
    `label`: whom the model was learned from.
    """

    drug: DrugId
    label: Label
    kind: Literal["effect", "harm"] = "effect"
    measure: str
    amount: Quantity | None = None
    published: Quantity
    weight: Quantity
    limit: Quantity
    shift: Estimate
    because: Because


class Opinion(Value):
    """What populations teach about one outcome: published scores and rules, and a learned model beside them.

    `model` is None where none was asked; `unasked` says why, `lacking` names the inputs that the record lacks.
    `drug`: the drug that the opinion is about. `moves`: what the model's answer did to its effect or harm; None:
    nothing. `parts`: the components of the model.
    """

    task: str
    outcome: str
    published: Many[PublishedScore] = ()
    rules: Many[Reason] = ()
    model: Prediction | None = None
    unasked: str = ""
    lacking: Many[str] = ()
    drug: DrugId | None = None
    moves: LearnedShift | None = None
    parts: Many[ModelPart] = ()


class Recommendation(Value):
    """Document `posologist/recommendation/1`."""

    schema_: Literal["posologist/recommendation/1"] = Field(default="posologist/recommendation/1", alias="schema")
    as_of: date
    indication: str
    patient: PatientSummary
    profile: dict[GeneSymbol, ExpressedPhenotype]
    current: Many[CurrentTreatment]
    goal: GoalDocument | None = None
    yardstick: Option | None = None
    options: Many[Option]
    ruled_out: Many[RuledOut]
    findings: Many[Finding]
    not_checked: Many[NotChecked]
    assumptions: Many[Reason]
    opinions: Many[Opinion] = ()
    data_quality: Many[QualityFinding] = ()
    evidence: dict[str, Evidence]
    settings: Settings
    versions: Versions


class Screening(Value):
    """Document `posologist/screening/1`: findings about an order, or about the present medicines."""

    schema_: Literal["posologist/screening/1"] = Field(default="posologist/screening/1", alias="schema")
    as_of: date
    patient: PatientSummary
    orders: Many[str]
    drugs: Many[DrugId]
    findings: Many[Finding]
    not_checked: Many[NotChecked]
    opinions: Many[Opinion] = ()
    data_quality: Many[QualityFinding] = ()
    evidence: dict[str, Evidence]
    versions: Versions


def cited_keys(document: Value) -> tuple[EvidenceKey, ...]:
    """Every evidence key that any part of a document names, in document order."""
    found: list[EvidenceKey] = []
    _collect(document, found)
    return tuple(dict.fromkeys(found))


def _collect(value: object, found: list[EvidenceKey]) -> None:
    if isinstance(value, Value):
        for name in type(value).model_fields:
            content = getattr(value, name)
            if name == "because":
                found.extend(content if isinstance(content, tuple) else (content,))
            elif name != "evidence" and isinstance(content, (Value, tuple, dict)):
                _collect(content, found)
    elif isinstance(value, tuple):
        for item in value:
            _collect(item, found)
    elif isinstance(value, dict):
        for item in value.values():
            _collect(item, found)


Start.model_rebuild()
