"""From a proposal to a dosed plan with its worth: regimen within the limits, guideline tier, utility."""

from __future__ import annotations

import math
from dataclasses import replace

from posologist.core.drug import Drug
from posologist.core.recommendation import RuledOut
from posologist.core.regimen import Limits, Regimen
from posologist.core.values import DrugId, EvidenceKey, rounded
from posologist.knowledge.statements import NOT_READABLE
from posologist.recommend.candidates import candidate_rules, needs
from posologist.recommend.case import Assessed, Case, Hit, Part, Proposal, Screened, Worth
from posologist.recommend.effects import Dosed, Scale, acts
from posologist.recommend.screen import screen, troubled
from posologist.recommend.utility import learned_keys, worth_of
from posologist.twin.search import NoRegimen, regimens_for, starting_regimen

FAVOURED, FIRST_LINE, LATER_LINE = 0, 1, 2
DISCOURAGED = 100  # added to the line of a plan that something serious speaks against


def assess(case: Case, scale: Scale, proposal: Proposal) -> Assessed | tuple[RuledOut, ...]:
    """The dosed plan with its tier and worth, or why it cannot be dosed.

    The regimen is the label's start within this patient's limits; a raised present drug gets the next step.
    """
    screened = screen(case, proposal)
    if screened.blocks:
        return screened.blocks
    regimens = []
    for drug_id in proposal.start:
        drug, limits = case.knowledge.drugs[drug_id], screened.limits[drug_id]
        regimen = _raised(case, drug, limits) if drug_id in proposal.raises else _start(case, drug, limits)
        if isinstance(regimen, NoRegimen):
            return (_not_dispensable(case, drug, limits, regimen),)
        regimens.append(regimen)
    if any("dose_per_day" in hit.missing for hit in screened.hits):
        screened = screen(case, proposal, {r.drug: r.per_day for r in regimens})
        if screened.blocks:
            return screened.blocks
    worth = worth_of(scale, dosed_plan(case, scale, proposal, tuple(regimens)), dosed_present(case, scale))
    if worth is None:
        return tuple(_no_effect(case, d) for d in proposal.start)
    tier, reasons = _tier(case, proposal, screened)
    if not troubled(case) & set(proposal.stop):
        if worth.benefit <= 0:
            return tuple(_no_gain(case, d) for d in proposal.start)
        if throws_away(case, proposal):
            tier = max(tier, LATER_LINE)  # a drug that works is given up where the guideline adds to it
    wishes = wishes_of(case, proposal)
    return Assessed(proposal, tuple(regimens), screened, tier, reasons, _with_wishes(worth, wishes), wishes)


def moved(case: Case, scale: Scale, plan: Assessed) -> Assessed:
    """The plan with its worth on a scale of moved effects; one that then promises no benefit is no first choice."""
    drugs, present = dosed_plan(case, scale, plan.proposal, plan.regimens), dosed_present(case, scale)
    worth = worth_of(scale, drugs, present, risk=plan.worth.risk)
    assert worth is not None  # its effects were found when it was assessed
    weighed = replace(plan, worth=_with_wishes(worth, plan.wishes))
    if worth.benefit > 0 or plan.tier >= LATER_LINE or troubled(case) & set(plan.proposal.stop):
        return weighed
    keys = (*plan.tier_reasons, *learned_keys(scale, drugs, present))
    return replace(weighed, tier=LATER_LINE, tier_reasons=tuple(dict.fromkeys(keys)))


def _with_wishes(worth: Worth, wishes: tuple[Part, ...]) -> Worth:
    return replace(worth, utility=rounded(worth.utility + math.fsum(w.value for w in wishes)))


def wishes_of(case: Case, proposal: Proposal) -> tuple[Part, ...]:
    """What the patient wishes and pays, in points of the same scale, for the drugs that a plan starts."""
    found = []
    for drug_id in proposal.start:
        drug, groups = case.knowledge.drugs[drug_id], case.knowledge.groups_of(drug_id)
        for wish in case.preferences:
            if wish.about not in groups:
                continue
            cost = case.settings.cost_weight * (wish.cost_per_month or 0.0)
            points = (wish.points if wish.wish == "prefer" else -wish.points) - cost
            key = case.ledger.add(
                "patient",
                f"the patient wishes to {wish.wish} {wish.about}: {wish.points:g} points"
                + (f", {wish.cost_per_month:g} a month" if wish.cost_per_month is not None else ""),
                source=str(wish.source),
            )
            found.append(Part(f"wish:{drug_id}", f"stated wish about {drug.name}", points, (key,)))
    return tuple(found)


def dosed_present(case: Case, scale: Scale) -> tuple[Dosed, ...]:
    """Present medicines that move a measure or carry a harm of this indication, with their amounts."""
    return tuple(
        Dosed(c.drug, c.amount_per_day if c.unit in ("", "mg") else None)
        for c in case.situation.current
        if acts(case, c.drug)
    )


def dosed_plan(case: Case, scale: Scale, proposal: Proposal, regimens: tuple[Regimen, ...]) -> tuple[Dosed, ...]:
    """The plan's drugs that act on this indication, kept ones at their present amounts."""
    kept = tuple(d for d in dosed_present(case, scale) if d.drug in proposal.keep)
    return (*kept, *(Dosed(r.drug, r.per_day) for r in regimens))


def _start(case: Case, drug: Drug, limits: Limits) -> Regimen | NoRegimen:
    """The label's start within the limits: of these alone unless by weight, so found once for all patients."""
    bounds = tuple(getattr(limits, name) for name in Limits.model_fields if name != "reasons")
    if "kg" not in limits.unit:
        return case.knowledge.remember(("start", *bounds), lambda: starting_regimen(drug, limits))
    weight = case.situation.facts.get("weight")
    weight_kg = float(weight.value) if weight is not None else None
    return case.remember(("start", *bounds), lambda: starting_regimen(drug, limits, weight_kg=weight_kg))


def _raised(case: Case, drug: Drug, limits: Limits) -> Regimen | NoRegimen:
    """The next dispensable amount above the present one."""
    current = next(c for c in case.situation.current if c.drug == drug.id)
    now = current.amount_per_day
    if now is None:
        return NoRegimen(drug=drug.id, reason=f"the present dose of {drug.name} is not stated")
    usual = limits.usual_high if limits.usual_high is not None else limits.max
    higher = [
        r
        for r in regimens_for(drug, limits)
        if r.per_day > now * 1.01
        and (usual is None or r.per_day <= usual * 1.001)
        and all(product.count in (1.0, 2.0) for product in r.products)
    ]
    if not higher:
        return NoRegimen(drug=drug.id, reason=f"{drug.name} is at the top of its usual range for this patient")
    return min(higher, key=lambda r: (r.per_day, -r.interval_h, r.text))


def _not_dispensable(case: Case, drug: Drug, limits: Limits, refused: NoRegimen) -> RuledOut:
    key = case.ledger.add("derived", refused.reason, because=[EvidenceKey(r) for r in limits.reasons])
    return RuledOut(drug=drug.id, rule="products", reason=refused.reason, because=(key,))


def _no_gain(case: Case, drug: DrugId) -> RuledOut:
    reason = f"{case.knowledge.drugs[drug].name} promises no benefit over the present treatment"
    key = case.ledger.add("knowledge", reason, source=f"effects on file for {case.indication.id}")
    return RuledOut(drug=drug, rule="no benefit", reason=reason, because=(key,))


def _no_effect(case: Case, drug: DrugId) -> RuledOut:
    reason = f"no published effect of {case.knowledge.drugs[drug].name} on {case.indication.name} is on file"
    key = case.ledger.add("knowledge", reason, source=f"indication {case.indication.id}")
    return RuledOut(drug=drug, rule="no effect on file", reason=reason, because=(key,))


def _tier(case: Case, proposal: Proposal, screened: Screened) -> tuple[int, tuple[EvidenceKey, ...]]:
    """Guideline tier of the plan (favoured for this patient, first line, later line), raised when discouraged."""
    held = [h for h in screened.hits if h.truth is True]
    line, reasons = _line(case, proposal, screened, held)
    against = [h for h in held if h.statement.action == "avoid" and _could_be_helped(case, proposal, h)]
    if against:
        return DISCOURAGED + line, tuple(dict.fromkeys(k for h in against for k in h.because))
    return line, reasons


def throws_away(case: Case, proposal: Proposal) -> bool:
    """Whether only drugs that nothing speaks against are stopped, where the guideline adds to them instead."""
    added_to = bool(case.indication.pairs) and case.indication.measures[0].additive
    return added_to and bool(proposal.stop) and not troubled(case) & set(proposal.stop)


def _could_be_helped(case: Case, proposal: Proposal, hit: Hit) -> bool:
    """Whether another plan does without what speaks against this one: a started drug, or a troubled one not needed."""
    return any(d in proposal.start or (d in troubled(case) and not needs(case, d)) for d in hit.drugs)


def _line(case: Case, proposal: Proposal, screened: Screened, held: list[Hit]) -> tuple[int, tuple[EvidenceKey, ...]]:
    rules = candidate_rules(case)
    named = [d for d in proposal.start if d in rules]
    beside = [d for d in proposal.keep if d in rules]
    line = max((rules[d].line for d in named), default=1)
    alone = all(rules[d].alone for d in named) or len(named) + len(beside) > 1
    keys = tuple(
        dict.fromkeys(case.knowledge_key(rules[d].text, source=rules[d].source, status=rules[d].status) for d in named)
    )
    unwanted = [w for w in case.preferences if w.wish == "avoid" and _starts_any(case, proposal, w.about)]
    if unwanted:
        return max(line, LATER_LINE), (*(k for w in wishes_of(case, proposal) for k in w.because), *keys)
    second = [h for h in held if h.statement.action == "alternative" and _could_be_helped(case, proposal, h)]
    second += [h for h in screened.hits if open_contraindication(h) and set(h.drugs) & set(proposal.start)]
    if second:
        return max(line, LATER_LINE), (*dict.fromkeys(k for h in second for k in h.because), *keys)
    favouring = [h for h in held if _is_favour(h)]
    if favouring and alone:
        return FAVOURED, (*dict.fromkeys(k for h in favouring for k in h.because), *keys)
    return (FIRST_LINE if line == 1 and alone else max(line, LATER_LINE)), keys


def _is_favour(hit: Hit) -> bool:
    """Whether the guideline itself favours the drug for a condition of this patient, by a rule that was read."""
    statement = hit.statement
    return statement.kind == "preference" and statement.action == "prefer" and statement.status != "to verify"


def open_contraindication(hit: Hit) -> bool:
    """Whether a contraindication hangs on a fact that could be known (pregnancy, a laboratory value) and is not."""
    obtainable = all("(" not in name and name != NOT_READABLE for name in hit.missing)
    return hit.truth is None and hit.statement.action == "contraindicated" and obtainable


def _starts_any(case: Case, proposal: Proposal, group: str) -> bool:
    return any(group in case.knowledge.groups_of(drug) for drug in proposal.start)
