"""Doses computed from genes, joined to dosing, screening and recommending: a regimen in tablets, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from posologist.core.dosing import ComputedDose
from posologist.core.drug import DoseRule, Drug
from posologist.core.recommendation import Finding, Reason
from posologist.core.regimen import Limits, Regimen
from posologist.core.statement import Statement
from posologist.core.values import DrugId, EvidenceKey, rounded
from posologist.genome.dosing import computed_dose
from posologist.knowledge.match import PatientSubject
from posologist.recommend.candidates import candidate_rules
from posologist.recommend.case import Case, Hit
from posologist.twin.search import ABOVE_START, regimens_for

_LEAST = 0.5  # of a single computed dose: the smallest share that tablets may come to
_ROUNDING = 0.1  # of a single computed dose: what an order may differ by, being rounded to what can be dispensed
_SHARES = ("start", "percent", "cap")
_WEEK = 7.0  # days


def computed_for(case: Case, drug: Drug, subject: PatientSubject, rule: DoseRule | None) -> ComputedDose | None:
    """The dose that this patient's genes ask for, with the regimen in tablets that comes nearest."""
    found = computed_dose(
        drug, case.situation, subject.profile, case.knowledge, case.ledger,
        usual=rule, indication=case.indication.id, patient=subject, genome=case.genome,
    )  # fmt: skip
    if found is None:
        return None
    regimen = nearest_regimen(drug, found, rule)
    if regimen is None:
        return found
    text = f"{regimen.text}: of what can be dispensed the nearest to {dose_words(found)}"
    key = case.ledger.add("derived", text, because=reasons_of(found))
    return found.model_copy(update={"regimen": Reason(text=regimen.text, because=(key,))})


def nearest_regimen(drug: Drug, computed: ComputedDose, rule: DoseRule | None) -> Regimen | None:
    """The dispensable regimen nearest to the computed amount a day, within its range; None where none is."""
    low, high, used = computed.low, computed.high, computed.used
    if low is None or high is None or used is None or used.schedule or low.unit != "mg/day":
        return None
    wanted = computed.dose.value if computed.dose is not None else (low.value + high.value) / 2
    single = low.value == high.value
    limits = Limits(
        drug=drug.id, unit=low.unit, start=wanted * _LEAST if single else low.value,
        max=wanted * ABOVE_START if single else high.value, doses_per_day=(1,) if rule is None else rule.doses_per_day,
        form="" if rule is None else rule.form, release="" if rule is None else rule.release,
    )  # fmt: skip
    candidates = regimens_for(drug, limits)
    return min(candidates, key=lambda r: (abs(r.per_day - wanted), r.per_day, -r.interval_h, r.text), default=None)


def start_by_genes(drug: Drug, computed: ComputedDose | None, rule: DoseRule) -> float | None:
    """Amount a day to start with, where a published algorithm gives it from this patient's genes; else None.

    Shares of the usual start are narrowed by their statements instead.
    """
    if computed is None or not computed.ranked or not computed.genetic:
        return None
    regimen = nearest_regimen(drug, computed, rule)
    used = computed.used
    return None if regimen is None or used is None or used.kind != "algorithm" else regimen.per_day


def reasons_of(computed: ComputedDose) -> tuple[EvidenceKey, ...]:
    """Evidence of the row that a computed dose rests on."""
    return () if computed.used is None else computed.used.because


def weaker_rows(hits: tuple[Hit, ...], drug: DrugId) -> frozenset[str]:
    """Ids of gene statements with a share of the dose that a stricter body's shares make superfluous.

    Two bodies that ask for half the dose for the same genes ask for half, not for a quarter. A row that also lowers the
    maximum is superfluous only where the strictest body lowers it as much.
    """
    rows: dict[str, list[Statement]] = {}
    for hit in hits:
        statement = hit.statement
        shared = statement.kind == "gene" and statement.action in _SHARES and statement.unit in ("percent", "%")
        if hit.truth is True and hit.about == drug and shared and statement.value is not None:
            rows.setdefault(str(statement.source).split("-")[0], []).append(statement)
    starts = {body: _share(held) for body, held in rows.items()}
    tops = {body: _share([s for s in held if s.action != "start"]) for body, held in rows.items()}
    kept = min(rows, key=lambda body: (starts[body], tops[body], body), default=None)
    return frozenset(
        row.id
        for body, held in rows.items()
        for row in held
        if body != kept and kept is not None and (row.action == "start" or tops[kept] <= tops[body])
    )


def _share(rows: Sequence[Statement]) -> float:
    return prod((row.value or 0.0) / 100.0 for row in rows)


def computed_findings(case: Case) -> list[Finding]:
    """What a candidate's genes say of its start, for candidates with such a table and a tested gene."""
    found = []
    for drug_id in candidate_rules(case):
        drug = case.knowledge.drugs[drug_id]
        if case.knowledge.dosing_of(drug_id) is None:
            continue
        rule = next((r for r in drug.doses if r.indication == case.indication.id), None)
        computed = computed_for(case, drug, case.subject(drug_id, (*case.present, drug_id)), rule)
        if computed is None or not computed.genes or computed.low is None:
            continue
        key = case.ledger.add("derived", f"{drug.name}: {dose_words(computed)}", because=reasons_of(computed))
        regimen = () if computed.regimen is None else computed.regimen.because
        found.append(
            Finding(
                severity="information",
                title=f"{drug.name}, should it be chosen: {dose_words(computed)}",
                detail=f"by {computed.by}" + (f"; {computed.regimen.text}" if computed.regimen else ""),
                drugs=(drug_id,),
                because=(key, *regimen),
            )
        )
    return found


def dose_words(computed: ComputedDose) -> str:
    """The computed amount with its range, in words; what is missing where there is none."""
    low, high, dose = computed.low, computed.high, computed.dose
    if low is None or high is None:
        return f"cannot be computed: needs {', '.join(computed.needs)}" if computed.needs else "no dose is computed"
    schedule = f" {computed.used.schedule}" if computed.used is not None and computed.used.schedule else ""
    if dose is not None and low.value == high.value:
        return f"{_shown(dose.value)} {dose.unit}{schedule}"
    around = "" if dose is None else f"{_shown(dose.value)} {dose.unit}, "
    return f"{around}{_shown(low.value)} to {_shown(high.value)} {low.unit}{schedule}"


def _shown(value: float) -> str:
    """A number to three significant digits."""
    return f"{rounded(value, 3):g}"


class _Judged(NamedTuple):
    """A computed range in one unit, and the order's amount in it."""

    amount: float
    low: float
    high: float
    computed: ComputedDose


def off_computed(case: Case, drug: Drug, ordered: Mapping[str, float], found: Sequence[ComputedDose]) -> list[Finding]:
    """A finding where an order lies outside the range that the patient's genes ask for, in every use on file.

    `ordered` holds the order's amount by unit. Above a guideline's share, or above everything that was computed, is
    serious; the rest is to be watched.
    """
    judged = [
        _Judged(ordered[c.low.unit], c.low.value, c.high.value, c)
        for c in found
        if c.genes and c.genetic and c.low is not None and c.high is not None and c.low.unit in ordered
    ]
    if not judged or any(_inside(j) for j in judged):
        return []
    nearest = min(judged, key=lambda j: abs(j.amount - (j.high if j.amount > j.high else j.low)))
    computed, above = nearest.computed, nearest.amount > nearest.high
    asked = f"the genes ask for {dose_words(computed)} (by {computed.by})"
    text = f"ordered {nearest.amount:g} {computed.low.unit if computed.low else ''}; {asked}"
    return [
        Finding(
            severity="serious" if above and _above_all(nearest) else "monitor",
            title=f"{drug.name}: the ordered dose is {'above' if above else 'below'} the range computed from the genes",
            detail=text,
            drugs=(drug.id,),
            because=(case.ledger.add("derived", text, because=reasons_of(computed)),),
        )
    ]


def _inside(judged: _Judged) -> bool:
    """Whether an order lies in the computed range, or near enough to a single dose."""
    slack = _ROUNDING if judged.low == judged.high else 1e-9
    return judged.low * (1 - slack) <= judged.amount <= judged.high * (1 + slack)


def _above_all(judged: _Judged) -> bool:
    """Whether no algorithm with genotype and no label table comes to the ordered amount.

    A guideline's share is never to be exceeded.
    """
    used = judged.computed.used
    if used is None or used.kind != "algorithm":
        return True
    joint = [row for row in judged.computed.rows if row.genetic and row.kind in ("algorithm", "label table")]
    highs = [row.high for row in joint if row.high is not None]
    return judged.amount > max(high.value / (_WEEK if high.unit == "mg/week" else 1.0) for high in highs)
