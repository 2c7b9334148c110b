"""Plan: what the prescriber would do. "Change nothing" is a Plan and the yardstick."""

from __future__ import annotations

from typing import Literal

from posologist.core.regimen import Regimen
from posologist.core.values import DrugId, Many, Value


class StopStep(Value):
    """One present drug that the plan stops, and how."""

    drug: DrugId
    how: Literal["stop", "taper"]
    text: str


class Plan(Value):
    """Stop, keep, start. `start` holds one regimen per started drug; a two-drug start is one Plan."""

    stop: Many[StopStep] = ()
    keep: Many[DrugId] = ()
    start: Many[Regimen] = ()

    @property
    def drugs(self) -> tuple[DrugId, ...]:
        """What the patient takes under this plan, once stopped drugs are gone."""
        return (*self.keep, *(regimen.drug for regimen in self.start))

    @property
    def changes_nothing(self) -> bool:
        """Whether this is the present plan."""
        return not self.stop and not self.start
