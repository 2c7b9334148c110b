"""What one drug's dose may be in this patient: the label's range narrowed by kidney, liver, age, genes, other drugs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from posologist.core.dosing import ComputedDose
from posologist.core.drug import DoseRule, Drug
from posologist.core.recommendation import NotChecked
from posologist.core.regimen import Limits, Regimen
from posologist.core.statement import Statement
from posologist.core.values import EvidenceKey
from posologist.knowledge.match import PatientSubject
from posologist.recommend.case import Case, Hit
from posologist.recommend.computed import computed_for, reasons_of, start_by_genes, weaker_rows

_MASS = {"mg": 1.0, "mcg": 0.001, "g": 1000.0}
ADULT = 18.0  # years
_AGE_BELOW = re.compile(r"\bage <=? (\d+(?:\.\d+)?)")
NARROWING = frozenset({"start", "cap", "percent", "interval"})


@dataclass(frozen=True)
class LimitOutcome:
    """Limits, or the reason why there are none; plus what could not be checked on the way.

    `before_reduction` are the limits without a reduction that kidney or liver ask for and no source sizes: a population
    model that knows the organ's function sizes it.
    """

    limits: Limits | None
    problem: str = ""
    because: tuple[EvidenceKey, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    unverified: tuple[str, ...] = ()
    computed: ComputedDose | None = None
    before_reduction: Limits | None = None


def limits_for(case: Case, drug: Drug, subject: PatientSubject, hits: tuple[Hit, ...]) -> LimitOutcome:
    """Limits of `drug` for the case's indication, from its dose rule and every narrowing statement that holds.

    Where a published algorithm gives the start from the patient's genes, that start is used and the gene statements,
    which speak of the same genes, do not narrow it again.
    """
    rules = _for_age(case, [r for r in drug.doses if r.indication == case.indication.id])
    rule, reasons, undecided = _rule(case, rules, subject)
    computed = computed_for(case, drug, subject, rule)
    if rule is None or rule.start is None:
        problem = f"no complete dose of {drug.name} for {case.indication.name} is on file"
        return LimitOutcome(None, problem=problem, computed=computed)
    by_genes = start_by_genes(drug, computed, rule)
    base = case.knowledge_key(_describe(drug, rule), source=rule.source, status=rule.status)
    because = (base, *reasons, *(reasons_of(computed) if by_genes is not None and computed is not None else ()))
    limits = Limits(
        drug=drug.id,
        unit=rule.unit,
        start=rule.start if by_genes is None else by_genes,
        usual_low=rule.usual_low,
        usual_high=rule.usual_high,
        max=rule.max,
        doses_per_day=rule.doses_per_day,
        form=rule.form,
        release=rule.release,
        reasons=tuple(map(str, because)),
    )
    outcome = _narrowed(limits, drug, _applied(hits, drug, genes=by_genes is None))
    found = [f"dose of {drug.name}"] if rule.status == "to verify" else []
    return replace(outcome, not_checked=undecided, unverified=(*found, *outcome.unverified), computed=computed)


def _applied(hits: tuple[Hit, ...], drug: Drug, *, genes: bool) -> tuple[Hit, ...]:
    """Hits that hold for the drug; of gene statements the strictest body's, or none where genes gave the start."""
    weaker = weaker_rows(hits, drug.id)
    held = [hit for hit in hits if hit.truth is True and hit.about == drug.id and hit.statement.id not in weaker]
    return tuple(hit for hit in held if genes or hit.statement.kind != "gene")


def _narrowed(limits: Limits, drug: Drug, hits: tuple[Hit, ...]) -> LimitOutcome:
    """Limits under every narrowing statement, or why they cannot be applied."""
    unverified = []
    for hit in hits:
        if hit.statement.action not in NARROWING:
            continue
        narrowed = _narrow(limits, hit.statement)
        if narrowed is None:
            problem = f"'{hit.statement.text}' limits {drug.name} in a unit that cannot be applied"
            return LimitOutcome(None, problem=problem, because=hit.because)
        limits = narrowed.model_copy(update={"reasons": (*narrowed.reasons, *map(str, hit.because))})
        if hit.statement.status == "to verify":
            unverified.append(f"limit of {drug.name}: {hit.statement.text}")
    unsized = next((h for h in hits if _lacks_size(h, drug)), None)
    if unsized is not None:
        problem = f"{drug.name} is to be lowered, and no size is on file: {unsized.statement.text}"
        return LimitOutcome(
            None, problem=problem, because=unsized.because, unverified=tuple(unverified), before_reduction=limits
        )
    if limits.max is not None and limits.start is not None and limits.start > limits.max:
        limits = limits.model_copy(update={"start": limits.max})
    return LimitOutcome(limits, unverified=tuple(unverified))


def _for_age(case: Case, rules: list[DoseRule]) -> list[DoseRule]:
    """Dose rules that may be used: below 18 years only those written for an age below that."""
    age = case.situation.facts.get("age")
    if age is None or not isinstance(age.value, float) or age.value >= ADULT:
        return rules
    return [r for r in rules if (bound := _AGE_BELOW.search(r.when)) is not None and float(bound[1]) <= ADULT]


def _lacks_size(hit: Hit, drug: Drug) -> bool:
    """Whether kidney or liver ask for a lower dose and no source says by how much."""
    statement = hit.statement
    asks = statement.action == "reduce" and statement.kind in ("renal", "hepatic") and statement.value is None
    return asks and hit.truth is True and hit.about == drug.id


def _rule(
    case: Case, rules: list[DoseRule], subject: PatientSubject
) -> tuple[DoseRule | None, tuple[EvidenceKey, ...], tuple[NotChecked, ...]]:
    """The first rule that holds; an undecided rule with a lower start takes precedence over it."""
    undecided: list[tuple[DoseRule, tuple[str, ...]]] = []
    chosen: DoseRule | None = None
    reasons: tuple[EvidenceKey, ...] = ()
    for rule in rules:
        match = subject.match(rule.when)
        if match.truth is None:
            undecided.append((rule, match.missing))
        elif match.truth:
            chosen, reasons = rule, subject.because(match)
            break
    notes: tuple[NotChecked, ...] = ()
    for rule, missing in undecided:
        lower = chosen is None or ((rule.start or 0) < (chosen.start or 0) and rule.unit == chosen.unit)
        notes += (
            NotChecked(
                what=f"which dose rule holds ({rule.when})",
                why=f"not known: {', '.join(missing)}",
                would_need=", ".join(missing),
            ),
        )
        if lower and rule.start is not None:
            chosen, reasons = rule, ()
    return chosen, reasons, notes


def _describe(drug: Drug, rule: DoseRule) -> str:
    parts = [f"{drug.name}{' ' + rule.form if rule.form else ''}: start {rule.start:g}"]
    if rule.usual_low is not None and rule.usual_high is not None:
        parts.append(f"usual {rule.usual_low:g} to {rule.usual_high:g}")
    parts.append(f"maximum {rule.max:g} {rule.unit}" if rule.max is not None else f"no maximum on file ({rule.unit})")
    return ", ".join(parts) + (f" when {rule.when}" if rule.when != "true" else "")


def _narrow(limits: Limits, statement: Statement) -> Limits | None:
    """Limits under one narrowing statement; None when its unit cannot be applied."""
    value, unit, action = statement.value, statement.unit, statement.action
    if value is None:
        return limits  # "start low" without a size: stays a caution
    if action == "interval":
        hours = {"h": 1.0, "day": 24.0, "d": 24.0}.get(unit)
        return None if hours is None else limits.model_copy(update={"min_interval_h": value * hours})
    if unit in ("percent", "%"):
        share = value / 100.0
        changed = {"start": _times(limits.start, share)}
        if action in ("percent", "cap"):
            changed |= {"max": _times(limits.max, share), "usual_high": _times(limits.usual_high, share)}
        return limits.model_copy(update=changed)
    per_day = _per_day(value, unit, limits)
    if per_day is None:
        return None
    if action == "start":
        return limits.model_copy(update={"start": _least(limits.start, per_day)})
    return limits.model_copy(
        update={
            "max": _least(limits.max, per_day),
            "start": _least(limits.start, per_day),
            "usual_low": _least(limits.usual_low, per_day),
            "usual_high": _least(limits.usual_high, per_day),
        }
    )


def _per_day(value: float, unit: str, limits: Limits) -> float | None:
    if unit == limits.unit:
        return value
    if unit == limits.unit.replace("/day", "/dose"):
        return value * max(limits.doses_per_day)
    return None


def _times(value: float | None, share: float) -> float | None:
    return None if value is None else value * share


def _least(value: float | None, other: float) -> float:
    return other if value is None else min(value, other)


def amount_in(case: Case, regimen: Regimen, unit: str) -> float | None:
    """Amount of an order in a limit's unit (mg/day, mcg/day, mg/week, mg/dose, mg/kg/day); None: cannot be told."""
    mass, *per = unit.split("/")
    if mass not in _MASS or regimen.unit not in _MASS:
        return None if mass != regimen.unit else regimen.per_day if per == ["day"] else None
    dose = regimen.dose * _MASS[regimen.unit] / _MASS[mass]
    if per[:1] == ["kg"]:
        weight = case.situation.facts.get("weight")
        if weight is None or not isinstance(weight.value, float):
            return None
        dose, per = dose / weight.value, per[1:]
    if per in ([], ["dose"]):
        return dose
    return dose * {"day": 24.0, "week": 168.0}[per[0]] / regimen.interval_h if per[0] in ("day", "week") else None
