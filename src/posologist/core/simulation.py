"""What comes out of `simulate` and `dose`. CONTRACT of other programs; only ever extended."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posologist.core.dosing import ComputedDose
from posologist.core.evidence import Evidence
from posologist.core.genotype import Versions
from posologist.core.recommendation import Finding, NotChecked, Opinion, Reason
from posologist.core.regimen import Target
from posologist.core.twin import TwinRecord
from posologist.core.values import Because, Contributions, Count, DrugId, Estimate, Many, Quantity, Series, Value


class Level(Value):
    """A measured concentration, `time_h` hours after the origin of the dose times."""

    time_h: float
    value: float = Field(ge=0)
    unit: str
    analyte: str = ""


class SimulationDocument(Value):
    """Document `posologist/simulation/1`: curves of one regimen, or of given doses, for one patient.

    `outputs` is empty where no curve can be told; `not_checked` then says why.
    """

    schema_: Literal["posologist/simulation/1"] = Field(default="posologist/simulation/1", alias="schema")
    drug: DrugId
    model: str
    patient: str = ""
    regimen: str = ""
    outputs: dict[str, Series]
    parameters: dict[str, Estimate]
    exposure: dict[str, Estimate] = {}
    findings: Many[Finding] = ()
    not_checked: Many[NotChecked] = ()
    assumptions: Many[Reason] = ()
    evidence: dict[str, Evidence]
    versions: Versions


class Individual(Value):
    """How the patient's levels moved the model: one eta per parameter."""

    eta: dict[str, Estimate]
    converged: bool
    effective_sample_size: Count


class LoadingDose(Value):
    """First doses before a regimen; `first_day` and `without` are the average over 24 h with and without them."""

    text: str
    dose: Quantity
    first_day: Estimate
    without: Estimate
    because: Because


class RankedRegimen(Value):
    """A regimen that can be given, with the share of possible patients whom it brings to the target.

    `rank` is None where nothing is ranked because a fact behind it is not verified, and of the regimen in use.
    """

    rank: Count | None
    text: str
    target_attainment: Estimate | None
    toxic_probability: Estimate | None
    exposure: dict[str, Estimate]
    loading: LoadingDose | None = None


class BindingConstraint(Value):
    """What keeps every regimen from the target, and the regimen that comes nearest."""

    what: str
    nearest_regimen: str | None


class ModelShare(Value):
    """One of the models behind the answer: its share, and what it says of the patient alone."""

    model: str
    share: Quantity
    parameters: dict[str, Estimate]


class WayOn(Value):
    """A way to go on after a missed dose, and the concentrations that follow in the time looked ahead."""

    what: str
    next_dose: Quantity
    lowest: Estimate
    highest: Estimate
    average: Estimate
    toxic_probability: Estimate | None


class MissedDose(Value):
    """A dose that is late: by how much, how far was looked ahead, and the ways to go on."""

    late: Quantity
    ahead: Quantity
    number: Count
    ways: Many[WayOn]
    because: Because


class NextSample(Value):
    """When a level tells most, and what it would make surer."""

    time: Quantity
    reduces: str


class LevelDocument(Value):
    """A level as measured, and as the model expects it; None where it was not used."""

    time: Quantity
    observed: Quantity
    predicted: Estimate | None = None


class DoseDocument(Value):
    """Document `posologist/dose/1`. `individual` is None while no level has been used.

    `computed` is the starting dose that the patient's genes ask for, where a published algorithm or table gives it.
    `present` is the regimen in use, judged like the others. `models` are the population models behind the answer;
    `model`, `parameters` and `individual` are of the first.
    `unranked` holds the regimens where a fact behind them is not verified, or the nearest one where none qualifies;
    `regimens` is then empty. `contributions`
    take apart the daily dose that brings the most probable patient to the middle of the target. `twin` is what is to be
    stored of the first model's twin, to go on from it later. `course` holds what is
    expected of a response (INR) over the first days of the regimen that is listed first.
    """

    schema_: Literal["posologist/dose/1"] = Field(default="posologist/dose/1", alias="schema")
    drug: DrugId
    model: str
    patient: str = ""
    parameters: dict[str, Estimate]
    individual: Individual | None = None
    target: Target | None = None
    start: str | None = None
    computed: ComputedDose | None = None
    regimens: Many[RankedRegimen]
    unranked: Many[RankedRegimen] = ()
    present: RankedRegimen | None = None
    models: Many[ModelShare] = ()
    therapeutic_index: Estimate | None = None
    contributions: Contributions | None = None
    missed: MissedDose | None = None
    twin: TwinRecord | None = None
    binding_constraint: BindingConstraint | None = None
    next_sample: NextSample | None = None
    levels: Many[LevelDocument] = ()
    course: dict[str, Series] = {}
    findings: Many[Finding] = ()
    not_checked: Many[NotChecked] = ()
    assumptions: Many[Reason] = ()
    opinions: Many[Opinion] = ()
    evidence: dict[str, Evidence]
    versions: Versions
