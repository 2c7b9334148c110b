"""What a request's orders give to say, and how loudly: findings of the engine, tiered, and contextual rules.

Tiers: critical only for what is contraindicated or what a contextual rule's guide calls so; warning for what is serious
and new; info for the rest. What is serious but was already so before this order (a renewal) does not interrupt again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import Finding, NotChecked, Screening
from posologist.core.settings import Settings
from posologist.core.statement import SEVERITY_ORDER
from posologist.core.values import DrugId
from posologist.knowledge.contextual import (
    LEVELS,
    Answer,
    ContextualRule,
    Level,
    MonitoringStep,
    Pair,
    SuggestedAction,
    judge,
    pairs_of,
)
from posologist.knowledge.load import Knowledge
from posologist.recommend.case import Case
from posologist.recommend.opened import NO_INDICATION, case_of
from posologist.recommend.order import screen_order
from posologist.serve.hooks.context import Asked, Draft, medicine_orders, other_orders

_NOT_NEW = "serious, but not new with this order"
INTERRUPTIVE: tuple[Level, ...] = ("warning", "critical")


@dataclass(frozen=True)
class Notice:
    """One thing to say about an order: how loudly, what, why, on whose word, and what may be done about it.

    `weight` orders notices of one level, the gravest (0) first.
    """

    level: Level
    title: str
    detail: tuple[str, ...]
    drugs: tuple[str, ...]
    source: str
    url: str = ""
    weight: int = 0
    draft: Draft | None = None
    suggestions: tuple[SuggestedAction, ...] = ()
    monitoring: tuple[MonitoringStep, ...] = ()


@dataclass(frozen=True)
class Advice:
    """All that there is to say about the orders of one request.

    `unread`: an order was not understood, the record is in doubt, or there was no list of medicines.
    """

    notices: tuple[Notice, ...]
    open_points: tuple[NotChecked, ...]
    unread: bool
    drugs: tuple[str, ...]


def advice_on(
    asked: Asked,
    *,
    rules: Iterable[ContextualRule],
    genome: GeneticProfile | None,
    knowledge: Knowledge,
    settings: Settings,
) -> Advice:
    """Notices about the selected orders, the most urgent first, and what could not be checked.

    Raises
    ------
    InputError
        If the record cannot be screened at all (the patient has died, or was born after the day of the order).
    """
    drafts = medicine_orders(asked.drafts)
    dated = settings.model_copy(update={"as_of": asked.as_of})
    screening = screen_order(
        asked.patient, [d.words for d in drafts if d.words], genome=genome, knowledge=knowledge, settings=dated
    )
    case = case_of(asked.patient, NO_INDICATION, genome=genome, knowledge=knowledge, settings=dated)
    chosen = tuple(d for d in drafts if d.selected)
    contextual, covered, undecided = _contextual(asked, chosen, drafts, case, tuple(rules))
    own = frozenset(str(drug) for draft in chosen for drug in draft.drugs)
    before = _known_before(asked.patient, chosen, case)
    found = [n for f in screening.findings if (n := _tiered(f, chosen, case, screening, covered, before)) is not None]
    notices = sorted([*contextual, *found], key=lambda n: (-LEVELS.index(n.level), n.weight, n.title))
    others = [draft for draft in other_orders(asked.drafts) if draft.selected]
    nameless = [_nameless(draft) for draft in chosen if not draft.words]
    nameless += [_no_order(draft) for draft in others]
    points = (*asked.open_points, *nameless, *undecided, *(p for p in screening.not_checked if _concerns(p, own)))
    return Advice(
        notices=tuple(notices),
        open_points=tuple(dict.fromkeys(points)),
        unread=any(not d.drugs for d in chosen)
        or bool(others)
        or asked.doubtful
        or not (asked.record_given and asked.patient.medication_list_given),
        drugs=tuple(sorted(own)),
    )


def _known_before(patient: Patient, chosen: tuple[Draft, ...], case: Case) -> frozenset[str]:
    """Titles of what was so before these orders: findings on the drugs that go on, whatever dose is ordered now."""
    going_on = [d for draft in chosen for d in draft.drugs if draft.standing or d in case.present]
    if not going_on:
        return frozenset()
    names = [case.knowledge.drugs[drug].name for drug in dict.fromkeys(going_on)]
    screening = screen_order(patient, names, genome=case.genome, knowledge=case.knowledge, settings=case.settings)
    return frozenset(f.title for f in screening.findings)


def _concerns(point: NotChecked, own: frozenset[str]) -> bool:
    return not point.drugs or bool(own & set(point.drugs))


def _nameless(draft: Draft) -> NotChecked:
    return NotChecked(
        what=f"the order {draft.reference or draft.display}: every check",
        why="it names no medicine",
        would_need="the medicine, by RxNorm code or name",
    )


def _no_order(draft: Draft) -> NotChecked:
    return NotChecked(
        what=f"the order {draft.reference or draft.display}: every check",
        why="it is no MedicationRequest",
        would_need="a draft MedicationRequest",
    )


def _contextual(
    asked: Asked, chosen: tuple[Draft, ...], drafts: tuple[Draft, ...], case: Case, rules: tuple[ContextualRule, ...]
) -> tuple[list[Notice], frozenset[frozenset[str]], list[NotChecked]]:
    """Notices of contextual rules, the pairs that they speak for, and what they could not decide."""
    notices: list[Notice] = []
    points: list[NotChecked] = []
    covered: set[frozenset[str]] = set()
    ordered = [d for draft in drafts for d in draft.drugs]
    medicines = tuple(dict.fromkeys((*case.present, *ordered)))
    for draft in chosen:
        for drug in draft.drugs:
            for rule in rules:
                for other in pairs_of(rule, drug, medicines, case.knowledge):
                    pair = Pair(drug, other, draft.local_form, drug in case.present or draft.standing)
                    subject = case.subject(drug, medicines)
                    answer = judge(rule, pair, subject, asked.patient, case.situation)
                    covered.add(frozenset((str(drug), str(other))))
                    notices.append(_of_rule(rule, pair, draft, answer, case.knowledge))
                    points += [_undecided(rule, pair, *point) for point in answer.open_points]
    return notices, frozenset(covered), points


def _of_rule(rule: ContextualRule, pair: Pair, draft: Draft, answer: Answer, knowledge: Knowledge) -> Notice:
    names = [knowledge.drugs[d].name for d in (pair.ordered, pair.beside)]
    first = answer.reasons[0] if answer.level == "info" else _leading(rule, answer)
    steps = (*rule.monitoring, *monitoring_of((pair.ordered, pair.beside), knowledge))
    return Notice(
        level=answer.level,
        title=f"{names[0]} with {names[1]}: {first}",
        detail=(rule.harm, *answer.reasons, rule.advice),
        drugs=(str(pair.ordered), str(pair.beside)),
        source=knowledge.citations[rule.source].title.partition(" (")[0],
        url=rule.url,
        draft=draft,
        suggestions=rule.suggestions if answer.level != "info" else (),
        monitoring=steps,
    )


def _leading(rule: ContextualRule, answer: Answer) -> str:
    """The words of the first row that made the level."""
    return next(r.text for r in rule.rows if r.level == answer.level and r.text in answer.reasons)


def _undecided(rule: ContextualRule, pair: Pair, text: str, missing: str) -> NotChecked:
    return NotChecked(
        what=f"{rule.name}: {text}",
        why=f"not known: {missing}",
        would_need=missing,
        drugs=(str(pair.ordered), str(pair.beside)),
    )


def _tiered(
    finding: Finding,
    chosen: tuple[Draft, ...],
    case: Case,
    screening: Screening,
    covered: frozenset[frozenset[str]],
    before: frozenset[str],
) -> Notice | None:
    """A finding of the engine about the chosen orders, with its level; None when it is about something else."""
    concerned = [d for d in chosen if set(d.drugs) & set(finding.drugs)]
    if finding.drugs and not concerned:
        return None
    if frozenset(finding.drugs) in covered and finding.severity != "contraindicated":
        return None  # the contextual rule speaks for this pair
    drugs = tuple(DrugId(d) for d in finding.drugs)
    quiet = finding.title in before
    level: Level = "info"
    if finding.severity == "contraindicated":
        level = "critical"
    elif finding.severity == "serious" and concerned and not quiet:
        level = "warning"
    return Notice(
        level=level,
        title=finding.title,
        detail=(finding.detail, _NOT_NEW) if finding.severity == "serious" and level == "info" else (finding.detail,),
        drugs=tuple(finding.drugs),
        source=_source_of(finding, screening),
        weight=SEVERITY_ORDER[finding.severity],
        draft=concerned[0] if concerned else None,
        suggestions=(SuggestedAction(label="Remove this order", action="delete order"),) if level != "info" else (),
        monitoring=monitoring_of(drugs, case.knowledge) if level != "info" else (),
    )


def _source_of(finding: Finding, screening: Screening) -> str:
    """Where the finding's rule was read, as far as the evidence says."""
    waiting = list(finding.because)
    while waiting:
        entry = screening.evidence[waiting.pop()]
        if entry.kind == "knowledge" and entry.source:
            return entry.source.partition(": ")[2] or entry.source
        waiting.extend(entry.because)
    return "the patient's record"


def monitoring_of(drugs: Iterable[DrugId], knowledge: Knowledge) -> tuple[MonitoringStep, ...]:
    """What the drugs' files say to measure, with the day where one is stated; for every patient."""
    found = []
    for drug in drugs:
        for rule in knowledge.drugs[drug].monitoring if drug in knowledge.drugs else ():
            if rule.condition == "true" and rule.status != "to verify":
                days = rule.days or (None,)
                found += [MonitoringStep(what=rule.what, days=day, basis=f"{drug}: {rule.when}") for day in days]
    return tuple(found)
