"""Indication: what is treated, who should be, with what, towards which target, and what it is worth.

One file per indication in `knowledge/data/indications/`. All `when` fields and formulas are expressions of
`knowledge/expression.py`; formulas see the constants of the file, the patient's facts, `score(...)` results
by their id (e.g. `prevent_total_cvd_10y`), and the names given below.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posologist.core.drug import Fact, MonitoringRule
from posologist.core.statement import Severity, Statement
from posologist.core.values import Many, Value

GuidelineKey = str


class Guideline(Fact):
    """A guideline edition whose rules the file holds; rules of different guidelines are never merged."""

    key: GuidelineKey
    name: str
    edition: str


class Rule(Fact):
    """A guideline's rule: `when` it holds, `text` says what to do. cor / loe: class and level as printed."""

    guideline: GuidelineKey
    when: str = "true"
    text: str
    cor: str = ""
    loe: str = ""
    title: str = ""
    severity: Severity = "information"


class TargetRule(Rule):
    """The measure to reach. The first rule of the chosen guideline whose `when` is true applies."""

    measure: str
    low: float | None = None
    high: float | None = None
    unit: str


class CandidateRule(Rule):
    """Drugs or groups in the guideline's order; `line` 1 is first. `alone` False: only as an add-on."""

    about: Many[str]
    line: int = Field(ge=1)
    alone: bool = True


class PairRule(Rule):
    """A guideline's two-drug start: one of `first` with one of `second`."""

    first: Many[str]
    second: Many[str]
    preferred: bool = False


class DeriveRule(Fact):
    """A condition that follows from the record though no code says so: `code` holds when `when` is true."""

    code: str
    when: str
    text: str


class KeepRule(Fact):
    """Present drugs of these groups serve another condition of the patient and are not stopped by a plan of ours."""

    about: Many[str]
    when: str
    text: str


class Constant(Fact):
    """A named number of a formula, with its 95 % interval where one is printed (normal on its own scale)."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    text: str


class EffectPoint(Value):
    """Effect at one dose. `dose` is relative to the standard dose, or an amount per day (see EffectRule)."""

    dose: float
    value: float
    low: float | None = None
    high: float | None = None


class EffectRule(Fact):
    """Change of `measure` by a drug or group against no treatment.

    `points` hold the dose-response, interpolated linearly on log dose and held flat outside.
    `dose_basis` "relative": doses are multiples of the drug's standard dose; "per_day": amount per day in the
    unit of the drug's dose rule; "none": one point, whatever the dose. Of the rules that reach a drug, one
    naming it wins over one naming a group; the first whose `when` is true is used. low / high are 95 %.
    """

    about: Many[str]
    measure: str
    when: str = "true"
    unit: str
    dose_basis: Literal["relative", "per_day", "none"] = "relative"
    points: Many[EffectPoint]
    text: str = ""


class EffectModifier(Fact):
    """Patient-specific change of an effect: value * factor + shift, both expressions."""

    about: Many[str]
    measure: str
    when: str = "true"
    factor: str = "1"
    shift: str = "0"
    text: str


class StandardDose(Fact):
    """Standard dose of a drug for relative dose-response, amount per day."""

    drug: str
    dose: float
    unit: str = "mg/day"


class Baseline(Fact):
    """Risk without this treatment change, as a probability over the horizon. First computable one is used.

    `borrowed`: it is the rate of others, not computed from this patient; the answer says so.
    """

    when: str = "true"
    formula: str
    borrowed: bool = False
    text: str


class HarmRule(Fact):
    """Patients harmed per 100 over the horizon by a drug or group, beyond no treatment.

    `percent` (expression) is the excess in percent; `points` give it by relative dose instead. `event` is a
    key of `weights`. `shared` harms of several drugs add by the combination rule of the file.
    """

    about: Many[str]
    event: str
    when: str = "true"
    percent: str = ""
    points: Many[EffectPoint] = ()
    low: float | None = None
    high: float | None = None
    text: str


class HarmWeight(Value):
    """Weight of an event against one event of benefit. None: no source supports one; it counts nothing."""

    event: str
    weight: float | None = None
    text: str
    source: str = ""
    status: str = ""


class Measure(Value):
    """A measured quantity that treatment moves; `spread_sd` is the between-patient SD of the response."""

    key: str
    name: str
    unit: str
    better: Literal["lower", "higher"]
    additive: bool = Field(default=True, description="effects of several drugs add")
    spread_sd: float | None = None
    reading_sd: float | None = Field(
        default=None, description="SD of an observed change: day-to-day variation included"
    )
    spread_text: str = ""
    spread_source: str = ""
    spread_status: str = ""


class Combination(Fact):
    """Effects and harms of several drugs together.

    `observed_to_expected`: observed effect of a pair over the sum of single effects. `harm_b`, `harm_a`:
    R(x) = sum(b_i x_i) / (sum(a_i x_i) + 1), the published combination term.
    """

    observed_to_expected: float = 1.0
    low: float | None = None
    high: float | None = None
    harm_a: float = 0.0
    harm_b: float = 1.0
    text: str = ""


class Indication(Value):
    """Everything about one indication that is not about one drug."""

    id: str
    name: str
    aliases: Many[str] = ()
    condition_codes: Many[str]
    guidelines: Many[Guideline]
    measures: Many[Measure]
    horizon: str
    benefit_unit: str
    benefit: str = Field(
        description="formula of the benefit per 1,000; sees delta_<measure> (change against the present plan), "
        "baseline, the constants and the patient's facts"
    )
    benefit_text: str
    treat: Many[Rule]
    targets: Many[TargetRule]
    candidates: Many[CandidateRule]
    pairs: Many[PairRule] = ()
    steps: Many[Rule] = ()
    preferences: Many[Statement] = ()
    keeps: Many[KeepRule] = ()
    derives: Many[DeriveRule] = ()
    min_age: float = Field(default=18.0, description="years; below it the guideline does not hold")
    definitions: Many[Rule] = ()
    work_up: Many[Rule] = ()
    constants: Many[Constant] = ()
    baselines: Many[Baseline]
    effects: Many[EffectRule]
    modifiers: Many[EffectModifier] = ()
    standard_doses: Many[StandardDose] = ()
    harms: Many[HarmRule]
    weights: Many[HarmWeight]
    combination: Combination | None = None
    monitoring: Many[MonitoringRule] = ()
    contradictions: Many[str] = ()


class Score(Fact):
    """A published score or formula: id, inputs (fact names) and expression(s)."""

    id: str
    name: str
    inputs: Many[str]
    valid: str = "true"
    constants: dict[str, float] = {}
    steps: Many[str] = Field(default=(), description="'name = expression', in order, before the formula")
    formula: str
    unit: str
    examples: Many[ScoreExample] = ()


class ScoreExample(Fact):
    """A worked example of a score."""

    given: dict[str, float | int | bool | str]
    expect: float
    tolerance: float


Score.model_rebuild()
