"""Order of the plans that passed the gate, and which of them are shown.

Guideline tier first, then utility. Of plans that start the same classes in the same way only the best is
shown; the others are its equivalents. Among at most five rows there is room for both one-drug and two-drug
plans when both exist in the leading tier, so that the prescriber sees the simpler choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from posologist.core.values import DrugId
from posologist.recommend.case import Assessed, Case


@dataclass(frozen=True)
class Row:
    """A plan to show, with the plans that it stands for."""

    plan: Assessed
    equivalents: tuple[Assessed, ...]


def order_key(case: Case, plan: Assessed) -> tuple[object, ...]:
    """Tier, utility, then fewer open questions, a known concentration curve, and the name."""
    curves = sum(not case.knowledge.drugs[d].kinetics.parameters for d in plan.proposal.start)
    return (
        plan.tier,
        -round(plan.worth.utility, 6),
        plan.worth.risk,
        len(plan.screened.not_checked),
        curves,
        plan.proposal.start,
        plan.proposal.stop,
    )


def rank(case: Case, plans: Sequence[Assessed]) -> tuple[Row, ...]:
    """At most `settings.max_options` rows, the best first."""
    ordered = sorted(plans, key=lambda p: order_key(case, p))
    groups: dict[tuple[object, ...], list[Assessed]] = {}
    for plan in ordered:
        groups.setdefault(_kind(case, plan), []).append(plan)
    rows = [Row(same[0], tuple(same[1:])) for same in groups.values()]
    return tuple(_choose(rows, case.settings.max_options))


def _kind(case: Case, plan: Assessed) -> tuple[object, ...]:
    classes = frozenset(pharmacological_class(case, d) for d in plan.proposal.start)
    return (plan.tier, classes, plan.proposal.stop, bool(plan.proposal.raises))


def pharmacological_class(case: Case, drug: DrugId) -> str:
    """The candidate group by which the indication knows the drug, else its own class."""
    groups = case.knowledge.groups_of(drug)
    for rule in case.indication.candidates:
        for name in rule.about:
            if name in groups and name != drug:
                return name
    return case.knowledge.drugs[drug].pharmacological_class


def _choose(rows: list[Row], most: int) -> list[Row]:
    """The best rows; the last two places go to the other intensity when the leading tier holds it too."""
    if len(rows) <= most:
        return rows
    shown = rows[:most]
    leading = rows[0].plan.tier
    intensity = {len(r.plan.proposal.start) for r in shown if r.plan.tier == leading}
    if len(intensity) > 1:
        return shown
    others = [r for r in rows[most:] if r.plan.tier == leading and len(r.plan.proposal.start) not in intensity][:2]
    return [*shown[: most - len(others)], *others]
