"""Targets of the guideline in force for this patient, and whether they are met."""

from __future__ import annotations

from posologist.core.recommendation import GoalDocument
from posologist.core.values import Quantity
from posologist.recommend.candidates import applies
from posologist.recommend.case import Case


def goals_of(case: Case) -> tuple[GoalDocument, ...]:
    """Targets of the guideline in force for this patient, one for each measure, with the present values."""
    found: dict[str, GoalDocument] = {}
    for rule in case.indication.targets:
        if (
            rule.measure in found
            or not applies(case, rule.guideline)
            or case.patient.match(rule.when).truth is not True
        ):
            continue
        key = case.knowledge_key(f"target ({rule.guideline}): {rule.text}", source=rule.source, status=rule.status)
        now = case.situation.facts.get(rule.measure)
        found[rule.measure] = GoalDocument(
            text=rule.text,
            measure=rule.measure,
            now=Quantity(value=now.value, unit=now.unit, because=(now.because,))
            if now is not None and isinstance(now.value, float)
            else None,
            low=None if rule.low is None else Quantity(value=rule.low, unit=rule.unit, because=(key,)),
            high=None if rule.high is None else Quantity(value=rule.high, unit=rule.unit, because=(key,)),
            because=(key,),
        )
    return tuple(found.values())


def is_met(goal: GoalDocument) -> bool:
    """Whether the present value is known and below the target's upper bound."""
    return goal.now is not None and goal.high is not None and goal.now.value < goal.high.value


def shown_goal(goals: tuple[GoalDocument, ...]) -> GoalDocument | None:
    """The target to show: the first that is not met, else the first."""
    return next((g for g in goals if not is_met(g)), goals[0] if goals else None)
