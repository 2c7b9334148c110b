"""Order of the plans that passed the gate, and which of them are shown.

Guideline tier first, then utility. Of plans that start the same classes in the same way one is shown, the best
known member; the others are its equivalents. What cannot be told apart from the leader is shown in the guideline's
order of classes, one-drug and two-drug plans both, so that the prescriber sees the simpler choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from posologist.core.drug import Drug
from posologist.core.evidence import Ledger
from posologist.core.regimen import Regimen
from posologist.core.statement import Statement
from posologist.core.values import DrugId
from posologist.recommend.assess import DISCOURAGED, FIRST_LINE, LATER_LINE, throws_away
from posologist.recommend.candidates import applies
from posologist.recommend.case import Assessed, Case
from posologist.recommend.effects import effect_rule
from posologist.twin.kinetics import MissingKinetics, kinetic_model

ENOUGH = 3  # rows of the leading tiers from which later lines are no longer shown


@dataclass(frozen=True)
class Row:
    """A plan to show, with the plans that it stands for."""

    plan: Assessed
    equivalents: tuple[Assessed, ...]


def order_key(case: Case, plan: Assessed) -> tuple[object, ...]:
    """Tier, utility, then the lower risk and the name."""
    return (plan.tier, -round(plan.worth.utility, 6), plan.worth.risk, plan.proposal.start, plan.proposal.stop)


def member_key(case: Case, plan: Assessed) -> tuple[object, ...]:
    """Order of plans that start the same classes: their effects are known for the class, not for the member.

    Fewer cautions and open questions first, then a concentration curve that can be shown, then the members on which
    more is verified. Utility does not enter: within a class it differs only by how high the label starts.
    """
    drugs = [case.knowledge.drugs[d] for d in plan.proposal.start]
    cautions = sum(h.truth is True and not _is_plain(h.statement) for h in plan.screened.hits)
    return (
        plan.tier,
        cautions,
        sum(not _has_curve(case, r) for r in plan.regimens),
        sum(24.0 / r.interval_h for r in plan.regimens),
        -sum(_verified_facts(case, d) for d in drugs),
        plan.proposal.start,
    )


def _is_plain(statement: Statement) -> bool:
    """Whether a statement is no reason for another member: it asks for nothing, or is the guideline's first dose."""
    return statement.action in ("standard", "prefer") or (
        statement.kind == "preference" and statement.action == "start"
    )


def _has_curve(case: Case, regimen: Regimen) -> bool:
    """Whether the drug's file gives a concentration curve of this release."""
    drug = case.knowledge.drugs[regimen.drug]
    release = regimen.release or "immediate"

    def told() -> bool:
        model = kinetic_model(drug, route=regimen.route, release=release, ledger=Ledger())
        return not isinstance(model, MissingKinetics) and not model.no_curve

    return case.knowledge.remember(("curve", drug.id, regimen.route, release), told)


def _verified_facts(case: Case, drug: Drug) -> int:
    """How many facts of the drug's file were read in a source."""

    def count() -> int:
        lists = (drug.products, drug.doses, drug.renal, drug.contraindications, drug.adverse, drug.efficacy)
        return sum(fact.status == "verified" for facts in lists for fact in facts)

    return case.knowledge.remember(("verified", drug.id), count)


def rank(
    case: Case,
    plans: Sequence[Assessed],
    ties: Callable[[Assessed, Assessed], bool],
    *,
    needed: bool,
    weigh: Callable[[Sequence[Assessed]], Sequence[Assessed]] = tuple,
    chosen_first: bool = False,
) -> tuple[Row, ...]:
    """At most `settings.max_options` rows, the best first.

    Parameters
    ----------
    ties
        Whether the utilities of two plans cannot be told apart.
    needed
        Whether treatment is called for beyond doubt; only then may discouraged plans fill an empty list.
    weigh
        Weighs the plans that stand for their kinds once more, all at once.
    chosen_first
        What is shown is chosen before that, so that weighing changes only the order of what is shown.
    """
    if not needed:
        plans = [p for p in plans if p.tier < DISCOURAGED]
    groups: dict[tuple[object, ...], list[Assessed]] = {}
    for plan in plans:
        groups.setdefault(_kind(case, plan), []).append(plan)
    kinds = [sorted(same, key=lambda p: member_key(case, p)) for same in groups.values()]
    rows = [Row(members[0], tuple(members[1:])) for members in kinds]
    if chosen_first:
        return tuple(_weighed(case, _choose(case, _ordered(case, rows), ties), weigh))
    return tuple(_choose(case, _weighed(case, rows, weigh), ties))


def _ordered(case: Case, rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: order_key(case, r.plan))


def _weighed(case: Case, rows: Sequence[Row], weigh: Callable[[Sequence[Assessed]], Sequence[Assessed]]) -> list[Row]:
    plans = weigh([row.plan for row in rows])
    return _ordered(case, [Row(plan, row.equivalents) for plan, row in zip(plans, rows, strict=True)])


def _kind(case: Case, plan: Assessed) -> tuple[object, ...]:
    """Plans of one kind cannot be told apart by their effects: the same rules of effect, stopped and started alike."""
    medicines = plan.proposal.drugs
    effects = frozenset(
        tuple(
            None if (rule := effect_rule(case, drug, measure.key, medicines)) is None else (rule.about, rule.when)
            for measure in case.indication.measures
        )
        for drug in plan.proposal.start
    )
    return (effects, len(plan.proposal.start), plan.proposal.stop, bool(plan.proposal.raises))


def pharmacological_class(case: Case, drug: DrugId) -> str:
    """The candidate group by which the indication knows the drug, else its own class."""
    groups = case.knowledge.groups_of(drug)
    for rule in case.indication.candidates:
        for name in rule.about:
            if name in groups and name != drug:
                return name
    return case.knowledge.drugs[drug].pharmacological_class


def _choose(case: Case, rows: list[Row], ties: Callable[[Assessed, Assessed], bool]) -> list[Row]:
    """The leader and what ties with it in the guideline's order of classes; so again for the other intensity.

    Two-drug and one-drug plans of the leading tiers each get their share of the rows. Second choices fill the list only
    where the leading tiers leave fewer than `ENOUGH` rows; later lines and discouraged plans only where there is
    nothing else.
    """
    most = case.settings.max_options
    sound = [r for r in rows if r.plan.tier < DISCOURAGED] or rows
    leading = [r for r in sound if r.plan.tier % DISCOURAGED <= FIRST_LINE]
    second = [r for r in sound if r.plan.tier % DISCOURAGED == LATER_LINE]
    if leading:
        second = [r for r in second if not throws_away(case, r.plan.proposal)]
    offered = leading if len(leading) >= ENOUGH else leading + second
    offered = offered or [r for r in sound if r.plan.tier == sound[0].plan.tier]
    intensity = len(offered[0].plan.proposal.start) if offered else 0
    alike = _led(case, [r for r in offered if len(r.plan.proposal.start) == intensity], ties)
    other = _led(case, [r for r in offered if len(r.plan.proposal.start) != intensity], ties)
    share = min(len(other), max(most // 2, most - len(alike)))
    return _ordered(case, [*alike[: most - share], *other[:share]])


def _led(case: Case, rows: list[Row], ties: Callable[[Assessed, Assessed], bool]) -> list[Row]:
    """The best row, then those of its tier that tie with it in the guideline's order, then the others as they rank."""
    if not rows:
        return []
    tied = [r for r in rows[1:] if r.plan.tier == rows[0].plan.tier and ties(rows[0].plan, r.plan)]
    tied.sort(key=lambda r: guideline_order(case, r.plan))
    return [rows[0], *tied, *(r for r in rows[1:] if r not in tied)]


def guideline_order(case: Case, plan: Assessed) -> tuple[int, ...]:
    """Places of the started classes in the guideline's list of candidates."""
    rules = sorted((r for r in case.indication.candidates if applies(case, r.guideline)), key=lambda r: r.line)
    listed = list(dict.fromkeys(name for rule in rules for name in rule.about))
    classes = (pharmacological_class(case, d) for d in plan.proposal.start)
    return tuple(sorted(listed.index(c) if c in listed else len(listed) for c in classes))
