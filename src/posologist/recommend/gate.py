"""The gate: the last word on a dosed plan. Nothing learned comes after it and no setting opens it.

A plan passes only when no contraindication holds, each dose is within its limits and can be dispensed, the
therapeutic index exceeds k and the probability of toxic concentrations stays below p. What needs a window and
has none on file is not passed.
"""

from __future__ import annotations

from dataclasses import replace

from posologist.core.recommendation import RuledOut
from posologist.core.regimen import Regimen
from posologist.core.values import DrugId, Estimate
from posologist.recommend.case import NARROW, Assessed, Case
from posologist.recommend.exposed import exposure_of
from posologist.recommend.limits import amount_in
from posologist.twin.kinetics import MissingKinetics

_ROUNDING = 1.0 + 1e-9


def gate(case: Case, plan: Assessed) -> Assessed | tuple[RuledOut, ...]:
    """The plan with its therapeutic index and toxic probability, or why it may not be offered."""
    closed = [*_forbidden(plan), *_doses(case, plan)]
    index: Estimate | None = None
    toxic: Estimate | None = None
    for regimen in plan.regimens:
        this_index, this_toxic, reasons = _window(case, plan, regimen)
        closed.extend(reasons)
        index = _worse_index(index, this_index)
        toxic = _worse_probability(toxic, this_toxic)
    if closed:
        return tuple(closed)
    return replace(plan, therapeutic_index=index, toxic_probability=toxic)


def _forbidden(plan: Assessed) -> list[RuledOut]:
    return [
        RuledOut(drug=" + ".join(hit.drugs), rule=hit.statement.kind, reason=hit.statement.text, because=hit.because)
        for hit in plan.screened.hits
        if hit.truth is True and hit.statement.action == "contraindicated"
    ]


def _doses(case: Case, plan: Assessed) -> list[RuledOut]:
    found = []
    for regimen in plan.regimens:
        limits = plan.screened.limits[regimen.drug]
        bound = limits.max if limits.max is not None else limits.start
        amount = amount_in(case, regimen, limits.unit)
        if bound is None or amount is None or amount > bound * _ROUNDING:
            reason = (
                f"{regimen.text} of {case.knowledge.drugs[regimen.drug].name} is above its maximum for this patient"
            )
            key = case.ledger.add(
                "derived",
                f"{regimen.text} against a maximum of {bound} {limits.unit}",
                because=[*limits.reasons],  # type: ignore[list-item]
            )
            found.append(RuledOut(drug=regimen.drug, rule="maximum dose", reason=reason, because=(key,)))
    return found


def _window(case: Case, plan: Assessed, regimen: Regimen) -> tuple[Estimate | None, Estimate | None, list[RuledOut]]:
    """Therapeutic index and toxic probability of one regimen; reasons where either closes the gate."""
    drug = case.knowledge.drugs[regimen.drug]
    needs_window = NARROW in case.knowledge.groups_of(drug.id)
    if not any(w.toxic_above is not None for w in drug.window):
        why = f"no therapeutic window of {drug.name} is on file"
        return None, None, [_no_window(case, drug.id, why)] if needs_window else []
    settings = case.settings
    reached = exposure_of(case, plan.proposal.drugs, regimen)
    if isinstance(reached, MissingKinetics):
        why = f"concentrations of {drug.name}: {reached.why}"
        return None, None, [_no_window(case, drug.id, why)] if needs_window else []
    index, toxic = reached.therapeutic_index, reached.toxic_probability
    closed = []
    if toxic is None and needs_window:
        closed.append(_no_window(case, drug.id, f"probability of toxic concentrations of {drug.name} cannot be told"))
    if index is not None and index.value <= settings.min_therapeutic_index:
        closed.append(
            _closed(case, drug.id, "therapeutic index", f"therapeutic index of {drug.name} is too low", index)
        )
    if toxic is not None and toxic.value >= settings.max_toxic_probability:
        closed.append(
            _closed(
                case, drug.id, "toxic probability", f"{drug.name} would too often reach toxic concentrations", toxic
            )
        )
    return index, toxic, closed


def _closed(case: Case, drug: DrugId, rule: str, reason: str, estimate: Estimate) -> RuledOut:
    key = case.ledger.add("derived", f"{rule}: {estimate.value:.3g}", because=estimate.because)
    return RuledOut(drug=drug, rule=rule, reason=reason, because=(key,))


def _no_window(case: Case, drug: DrugId, reason: str) -> RuledOut:
    key = case.ledger.add("knowledge", reason, source=f"drug file {drug}")
    return RuledOut(drug=drug, rule="not checked", reason=reason, because=(key,))


def _worse_index(one: Estimate | None, two: Estimate | None) -> Estimate | None:
    if one is None or two is None:
        return one or two
    return min(one, two, key=lambda e: e.value)


def _worse_probability(one: Estimate | None, two: Estimate | None) -> Estimate | None:
    if one is None or two is None:
        return one or two
    return max(one, two, key=lambda e: e.value)
