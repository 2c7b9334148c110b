"""Follow-up of an accepted plan: what to measure and when, what came of it, and what changed in the advice.

CONTRACT of other programs; only ever extended.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from posologist.core.evidence import Evidence
from posologist.core.genotype import Versions
from posologist.core.recommendation import Finding, NotChecked, Reason
from posologist.core.simulation import NextSample
from posologist.core.twin import TwinRecord
from posologist.core.values import Because, Count, DrugId, Estimate, Many, Quantity, Value

ItemKind = Literal["pressure", "laboratory", "level", "clinical"]
Verdict = Literal["as expected", "out of expectation", "not judged"]
StateName = Literal["open", "due", "overdue", "missed", "done", "out of expectation"]
ChangeKind = Literal[
    "advice", "plan lost", "plan gained", "plan re-ranked", "dose changed", "ruled out", "no longer ruled out",
    "finding new", "finding gone",
]  # fmt: skip
Frame = Literal["on the plan", "before the plan"]


class Asked(Value):
    """One part of what is to be measured; any of `keys` answers it, none: it has to be asked or examined."""

    name: str
    keys: Many[str] = ()


class Bound(Value):
    """Within what a laboratory value `key` is expected under the plan.

    `low` and `high` are still as expected, `below` is not reached; `rise` and `fall` are percent of the newest value
    from before the plan.
    """

    key: str
    text: str
    low: Quantity | None = None
    high: Quantity | None = None
    below: Quantity | None = None
    rise: Quantity | None = None
    fall: Quantity | None = None
    because: Because


class Judged(Value):
    """How a result stands to one bound, or why it was held against none; without a bound on file it is never fine."""

    key: str
    verdict: Verdict
    text: str
    because: Because


class FollowUpItem(Value):
    """Something to measure at one date.

    A result counts from `opens` on and until the day before `until` (None: no later date takes over); from the day
    after `due` the item is overdue. `due` None: the source names no date. `expected` is the interval of one reading of
    `measure`, for readings from `judged_from` on; without it `expected_note` says why nothing is expected. `bounds` are
    those of the laboratory values that it asks for.
    """

    id: str
    what: str
    kind: ItemKind
    parts: Many[Asked]
    opens: date | None = None
    due: date | None = None
    until: date | None = None
    measure: str = ""
    measure_name: str = ""
    expected: Estimate | None = None
    judged_from: date | None = None
    expected_note: str = ""
    bounds: Many[Bound] = ()
    why: str
    because: Because

    @model_validator(mode="after")
    def _in_order(self) -> FollowUpItem:
        if self.due is not None and self.opens is not None and self.opens > self.due:
            raise ValueError(f"{self.id} opens after it is due")
        return self


class FollowUpPlan(Value):
    """Document `posologist/follow-up/1`: the expected course of one accepted plan."""

    schema_: Literal["posologist/follow-up/1"] = Field(default="posologist/follow-up/1", alias="schema")
    patient: str
    indication: str
    rank: Count
    plan: Reason
    started_on: date
    items: Many[FollowUpItem]
    not_checked: Many[NotChecked] = ()
    evidence: dict[str, Evidence]
    versions: Versions


class Answered(Value):
    """A result that answers a part of an item: the median of that day's readings."""

    name: str
    key: str
    value: Quantity
    at: date


class FollowUpState(Value):
    """Where an item stands on one day, with the results that answered it and the parts that are still missing.

    `judged` says of each laboratory value how it stands to the bounds on file.
    """

    item: FollowUpItem
    state: StateName
    why: str
    answered: Many[Answered] = ()
    missing: Many[str] = ()
    judged: Many[Judged] = ()
    because: Because


class Learned(Value):
    """What one reading taught about the patient's own level of a measure; `after` None: nothing; `text` says why."""

    measure: str
    name: str
    reading: Quantity
    before: Estimate | None = None
    after: Estimate | None = None
    text: str
    because: Because


class ParameterChange(Value):
    """A parameter of the twin before and after a level."""

    name: str
    before: Estimate
    after: Estimate


class TwinChange(Value):
    """What a level changed in a drug's twin; `record` is the new twin as it is stored."""

    drug: DrugId
    model: str
    level: Quantity
    parameters: Many[ParameterChange]
    toxic_before: Estimate | None = None
    toxic_after: Estimate | None = None
    next_sample: NextSample | None = None
    record: TwinRecord
    findings: Many[Finding] = ()
    text: str
    because: Because


class Change(Value):
    """What was advised, what is advised now, and why: `because` names the observation or level that caused it."""

    kind: ChangeKind
    was: str
    now: str
    why: str
    drugs: Many[str] = ()
    because: Because


class FollowUpReport(Value):
    """Document `posologist/follow-up-report/1`: an accepted plan on one day.

    `frame` says from which treatment the plans were made again: the plan as taken, or the one before it, where no
    result yet tells how the plan works. `assumptions` say how the plan is taken to have been followed.
    """

    schema_: Literal["posologist/follow-up-report/1"] = Field(default="posologist/follow-up-report/1", alias="schema")
    as_of: date
    plan: FollowUpPlan
    states: Many[FollowUpState]
    learned: Many[Learned] = ()
    twins: Many[TwinChange] = ()
    frame: Frame | None = None
    frame_note: Reason | None = None
    changes: Many[Change] = ()
    advice: Reason
    findings: Many[Finding] = ()
    not_checked: Many[NotChecked] = ()
    assumptions: Many[Reason] = ()
    evidence: dict[str, Evidence]
    versions: Versions
