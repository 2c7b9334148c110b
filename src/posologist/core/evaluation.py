"""What comes out of `evaluate`. CONTRACT of other programs; only ever extended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posologist.core.genotype import Versions
from posologist.core.values import Count, Many, Value

EvaluationNumber = Annotated[float, Field(json_schema_extra={"number": "evaluation"})]
"""A number of an evaluation: the name of its metric ends in its unit; it is computed from the data given."""


class Interval(Value):
    """A metric with its 95 % bootstrap interval over patients; None where the resamples have no value."""

    value: EvaluationNumber
    low: EvaluationNumber | None
    high: EvaluationNumber | None


class Sample(Value):
    """How many patients a method was trained or tested on, and on how many values."""

    n: Count
    levels: Count = 0


class MethodRow(Value):
    """One method: `n` patients and `levels` values behind its metrics."""

    method: str
    n: Count
    levels: Count = 0
    metrics: dict[str, Interval]


class Paired(Value):
    """Difference of a metric between two methods on the same values; negative: `method` has the smaller one."""

    method: str
    against: str
    metric: str
    difference: Interval


class GroupRow(MethodRow):
    """One method on the patients of one group, written `race=Black`; `small`: too few for a conclusion."""

    group: str
    small: bool = False


class FairnessTable(Value):
    """How one method treats the groups of one grouping.

    `worst` is the group with the worst value of `metric` among those that are not small ("" where all are), and
    `difference` that group minus all other patients.
    """

    method: str
    grouping: str
    rows: Many[GroupRow]
    metric: str
    worst: str = ""
    difference: Interval | None = None


class ControlTable(Value):
    """A further nested run: sites left out whole, or a table that was altered so that nothing can be learned."""

    name: str
    note: str
    rows: Many[MethodRow]
    paired: Many[Paired] = ()
    groups: Many[GroupRow] = ()


class Curve(Value):
    """A line of a plot: `y` is read over `x`; lines of one `kind` are drawn together."""

    kind: Literal[
        "calibration", "decision", "error", "convergence", "utility", "risk", "deviation", "levels", "gain", "agreement"
    ]
    method: str
    x_text: str
    y_text: str
    x: Many[EvaluationNumber] = ()
    labels: Many[str] = ()
    y: Many[EvaluationNumber]
    low: Many[EvaluationNumber] = ()
    high: Many[EvaluationNumber] = ()


class CheckBin(Value):
    """A time bin of the prediction-corrected visual predictive check.

    Times in h; percentiles in the model's unit of concentration. `observed` are the 5th, 50th and 95th percentile of
    the levels, `simulated` the median over simulated data sets of the same percentiles, `low` and `high` their 95 %
    interval over simulated data sets.
    """

    start: EvaluationNumber
    end: EvaluationNumber
    levels: Count
    observed: Many[EvaluationNumber]
    simulated: Many[EvaluationNumber]
    low: Many[EvaluationNumber]
    high: Many[EvaluationNumber]


class EvaluationDocument(Value):
    """Document `posologist/evaluation/1`.

    `split` says how many patients were left out where each is tested on what was learned from others of the same data
    (`train` counts these); it is empty where the method is one and the same for all. `part` tells the tables of one
    task apart; `licence` and `source` are those of the data.
    """

    schema_: Literal["posologist/evaluation/1"] = Field(default="posologist/evaluation/1", alias="schema")
    task: str
    label: Literal["real patients", "simulated patients", "agreement with practice"]
    part: str = ""
    title: str = ""
    licence: str = ""
    source: str = ""
    quick: bool = False
    resamples: Annotated[int, Field(json_schema_extra={"number": "setting"})] = 0
    model: str = ""
    split: str = ""
    concentration_unit: str = ""
    train: Sample
    test: Sample
    seed: Annotated[int, Field(json_schema_extra={"number": "setting"})]
    rows: Many[MethodRow]
    paired: Many[Paired] = ()
    groups: Many[GroupRow] = ()
    fairness: Many[FairnessTable] = ()
    controls: Many[ControlTable] = ()
    curves: Many[Curve] = ()
    check: Many[CheckBin] = ()
    findings: Many[str] = ()
    versions: Versions


class EvaluationsDocument(Value):
    """Document `posologist/evaluations/1`: what `evaluate all` writes, and `evaluate` of a task with several tables."""

    schema_: Literal["posologist/evaluations/1"] = Field(default="posologist/evaluations/1", alias="schema")
    task: str
    documents: Many[EvaluationDocument]
    findings: Many[str] = ()
    versions: Versions
