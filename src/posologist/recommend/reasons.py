"""A plan in words and numbers: the document that the prescriber reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

from posologist.core.drug import Drug
from posologist.core.indication import Indication, Measure
from posologist.core.recommendation import (
    Effect,
    NotChecked,
    Option,
    PlanDocument,
    Reason,
    Start,
    StartRegimen,
    Stop,
)
from posologist.core.regimen import Regimen
from posologist.core.units import ucum
from posologist.core.values import (
    Contribution,
    Contributions,
    DrugId,
    Estimate,
    EvidenceKey,
    Quantity,
    rounded,
)
from posologist.recommend.assess import (
    DISCOURAGED,
    FAVOURED,
    FIRST_LINE,
    LATER_LINE,
    dosed_plan,
    dosed_present,
)
from posologist.recommend.case import NARROW, Assessed, Case, Outcome, Proposal, Triple
from posologist.recommend.cautions import cautions_of
from posologist.recommend.effects import Scale
from posologist.recommend.exposed import curve_of, exposure_of, open_questions
from posologist.recommend.followup import monitoring_of
from posologist.recommend.learned_opinions import learned_reasons
from posologist.recommend.rank import Row
from posologist.recommend.utility import outcome_of
from posologist.twin.kinetics import MissingKinetics


def option_of(case: Case, scale: Scale, row: Row, rank: int) -> tuple[Option, tuple[NotChecked, ...]]:
    """One shown option with everything that it rests on, and what could not be computed for it."""
    plan = row.plan
    outcome = outcome_for(case, scale, plan)
    starts, missing = _starts(case, plan)
    document = Option(
        rank=rank,
        plan=PlanDocument(
            text=plan_text(case, plan.proposal, plan.regimens),
            stop=tuple(stop_of(case, d, plan.proposal.start) for d in plan.proposal.stop),
            keep=plan.proposal.keep,
            start=starts,
        ),
        therapeutic_index=plan.therapeutic_index,
        toxic_probability=plan.toxic_probability,
        equivalents=_equivalents(case, row),
        reasons=_reasons(case, plan, outcome),
        cautions=cautions_of(case, scale, plan, outcome),
        monitoring=monitoring_of(case, plan),
        **_numbers(case, scale, outcome),  # type: ignore[arg-type]
    )
    return document, missing


def outcome_for(case: Case, scale: Scale, plan: Assessed) -> Outcome:
    """Benefit, risk and utility of an assessed plan with their intervals, computed once."""
    moved = () if scale.mover is None else scale.mover.identity
    name = ("outcome", plan.proposal.stop, plan.proposal.start, plan.proposal.raises, moved)

    def compute() -> Outcome:
        outcome = outcome_of(scale, dosed_plan(case, scale, plan.proposal, plan.regimens), dosed_present(case, scale))
        assert outcome is not None  # the same effects were found when the plan was assessed
        stated = math.fsum(w.value for w in plan.wishes)
        moved = Triple(*(rounded(part + stated) for part in outcome.utility))
        return replace(outcome, utility=moved, parts=(*outcome.parts, *plan.wishes))

    return case.remember(name, compute)


def yardstick_of(case: Case, scale: Scale) -> Option | None:
    """The present plan: "change nothing"."""
    present = dosed_present(case, scale)
    outcome = outcome_of(scale, present, present)
    if outcome is None:
        return None
    key = case.ledger.add(
        "derived",
        "the present plan is the yardstick: its own change is nothing by definition",
        because=[scale.baseline_key],
    )
    return Option(
        rank=0,
        plan=PlanDocument(text="Change nothing", keep=case.present),
        therapeutic_index=None,
        toxic_probability=None,
        reasons=(Reason(text="the yardstick: every benefit is measured against it", because=(key,)),),
        **_numbers(case, scale, outcome),  # type: ignore[arg-type]
    )


def _numbers(case: Case, scale: Scale, outcome: Outcome) -> dict[str, object]:
    """Benefit, risk, utility, effects and contributions of an outcome."""
    indication, level = case.indication, case.settings.interval_level
    benefit_key = case.ledger.add(
        "derived", f"benefit {outcome.benefit.value:.4g} {indication.benefit_unit}", because=outcome.benefit_because
    )
    risk_key = case.ledger.add(
        "derived", f"weighted harm {outcome.risk.value:.4g} {_weighed(indication)}", because=outcome.risk_because
    )
    aversion = case.ledger.add(
        "setting", f"harm aversion lambda = {case.settings.harm_aversion:g}", source="settings.harm_aversion"
    )
    utility_key = case.ledger.add(
        "derived",
        f"utility {outcome.utility.value:.4g} = benefit - lambda x harm",
        because=[benefit_key, risk_key, aversion],
    )
    parts = tuple(
        Contribution(feature=p.feature, text=p.text, value=rounded(p.value, 9), because=p.because or (utility_key,))
        for p in outcome.parts
    )
    value = outcome.utility.value
    return {
        "benefit": _estimate(outcome.benefit, indication.benefit_unit, level, benefit_key),
        "risk": _estimate(outcome.risk, _weighed(indication), level, risk_key),
        "utility": _estimate(outcome.utility, _points(indication), level, utility_key),
        "effects": _effects(case, scale, outcome),
        "contributions": Contributions(
            base=0.0,
            output=value,
            rest=value - sum(p.value for p in parts),
            unit=_points(indication),
            parts=parts,
            because=(utility_key,),
        ),
    }


def _weighed(indication: Indication) -> str:
    """Unit of harm: harms counted in the events of the benefit by their weights."""
    return f"weighted harms per 1,000 patients over {indication.horizon}"


def _points(indication: Indication) -> str:
    """Unit of utility: benefit less weighted harm."""
    return f"utility points per 1,000 patients over {indication.horizon}"


def _estimate(triple: Triple, unit: str, level: float, key: EvidenceKey) -> Estimate:
    return Estimate(value=triple.value, unit=unit, low=triple.low, high=triple.high, level=level, because=(key,))


def _effects(case: Case, scale: Scale, outcome: Outcome) -> tuple[Effect, ...]:
    """Change of each measure, the level then expected, and a later reading where its variation is published."""
    found = []
    for measure in case.indication.measures:
        change = outcome.changes.get(measure.key)
        if change is None or change.low == change.high:
            continue  # no change, or an effect that was published without an interval
        level = case.settings.interval_level
        key = case.ledger.add(
            "derived",
            f"expected change of {measure.name}: {change.value:.3g} {measure.unit}",
            because=outcome.benefit_because,
        )
        now = case.situation.facts.get(measure.key)
        expected = reading = None
        if now is not None and isinstance(now.value, float) and ucum(now.unit) == ucum(measure.unit):
            then = Triple(*(rounded(now.value + part) for part in change))
            reached = case.ledger.add(
                "derived", f"expected {measure.name}: {then.value:.4g} {measure.unit}", because=[key, now.because]
            )
            expected = _estimate(then, measure.unit, level, reached)
            reading = _reading(case, measure, then, reached)
        found.append(
            Effect(
                measure=measure.key,
                name=measure.name,
                expected=expected,
                reading=reading,
                change=_estimate(change, measure.unit, level, key),
            )
        )
    return tuple(found)


def _reading(case: Case, measure: Measure, then: Triple, reached: EvidenceKey) -> Estimate | None:
    """Interval of a later reading: the level's own, widened by the published SD of observed changes."""
    if measure.reading_sd is None:
        return None
    level = case.settings.interval_level
    noise = NormalDist().inv_cdf((1 + level) / 2) * measure.reading_sd
    key = case.knowledge_key(
        f"SD of an observed change of {measure.name}: {measure.reading_sd:g} {measure.unit}",
        source=measure.spread_source,
        status=measure.spread_status or "to verify",
    )
    return Estimate(
        value=then.value,
        unit=measure.unit,
        low=rounded(then.value - math.hypot(then.value - then.low, noise)),
        high=rounded(then.value + math.hypot(then.high - then.value, noise)),
        level=level,
        because=(reached, key),
    )


def plan_text(case: Case, proposal: Proposal, regimens: Sequence[Regimen]) -> str:
    """The sentence that a colleague would say: "Taper metoprolol; start enalapril 5 mg orally once daily"."""
    sentences = []
    for drug in proposal.stop:
        verb = "taper" if _tapers(case.knowledge.drugs[drug]) else "stop"
        sentences.append(f"{verb} {case.knowledge.drugs[drug].name}")
    doses = [f"{case.knowledge.drugs[r.drug].name} {r.text}" for r in regimens]
    if proposal.raises:
        sentences.append("raise " + " and ".join(doses))
    elif doses:
        verb = "add" if any(_treats(case, d) for d in proposal.keep) else "start"
        sentences.append(f"{verb} " + " and ".join(doses))
    text = "; ".join(sentences)
    return text[:1].upper() + text[1:]


def _treats(case: Case, drug: DrugId) -> bool:
    return any(r.indication == case.indication.id for r in case.knowledge.drugs[drug].doses)


def _tapers(drug: Drug) -> bool:
    return drug.stopping is not None and not drug.stopping.abrupt_allowed


def stop_of(case: Case, drug_id: DrugId, started: Sequence[DrugId] = ()) -> Stop:
    """How one present drug is stopped: by the published taper where one is known, or in exchange for its like."""
    drug = case.knowledge.drugs[drug_id]
    if drug.stopping is None:
        key = case.ledger.add(
            "knowledge", f"no withdrawal rule for {drug.name} is on file", source=f"drug file {drug_id}"
        )
        return Stop(drug=drug_id, how="stop", text=f"stop {drug.name}", because=(key,))
    rule = drug.stopping
    key = case.knowledge_key(f"stopping {drug.name}: {rule.text}", source=rule.source, status=rule.status)
    how = "stop" if rule.abrupt_allowed else "taper"
    heirs = [case.knowledge.drugs[d] for d in started]
    likes = [heir.name for heir in heirs if set(heir.classes) & set(drug.classes) & _EXCHANGED]
    text = f"replaced by {likes[0]}: {rule.text}" if likes else rule.text
    return Stop(drug=drug_id, how=how, text=text, because=(key,))  # type: ignore[arg-type]


def _starts(case: Case, plan: Assessed) -> tuple[tuple[Start, ...], tuple[NotChecked, ...]]:
    starts: list[Start] = []
    missing: list[NotChecked] = []
    for regimen in plan.regimens:
        drug = case.knowledge.drugs[regimen.drug]
        limits = plan.screened.limits[regimen.drug]
        reasons = tuple(EvidenceKey(r) for r in limits.reasons)
        regimen_key = case.ledger.add(
            "derived", f"{drug.name} {regimen.text}, within this patient's limits", because=reasons
        )
        series, measures, note = None, {}, ""
        keys = [regimen_key]
        missing.extend(n for n in open_questions(case, plan.proposal.drugs, regimen) if n not in missing)
        drawn = curve_of(case, plan.proposal.drugs, regimen)
        if isinstance(drawn, MissingKinetics):
            note = drawn.why
            keys.append(case.ledger.add("knowledge", note, source=f"drug file {drug.id}"))
        else:
            series = drawn
        reached = exposure_of(case, plan.proposal.drugs, regimen)
        if not isinstance(reached, MissingKinetics):
            measures = reached.measures()
            if NARROW in case.knowledge.groups_of(drug.id):
                missing.extend(n for n in reached.not_checked if n not in missing)
        starts.append(
            Start(
                drug=drug.id,
                regimen=StartRegimen(
                    text=regimen.text,
                    dose=Quantity(value=regimen.dose, unit=regimen.unit, because=(regimen_key,)),
                    interval=Quantity(value=regimen.interval_h, unit="h", because=(regimen_key,)),
                    maximum=None
                    if limits.max is None
                    else Quantity(value=limits.max, unit=limits.unit, because=reasons),
                    route=regimen.route,
                    form=regimen.form,
                    products=regimen.products,
                ),
                exposure=series,
                exposure_measures=measures,
                exposure_note=note,
                because=tuple(keys),
            )
        )
    return tuple(starts), tuple(missing)


_EXCHANGED = frozenset({"P2Y12 inhibitor", "anticoagulant"})  # one takes over from the other: no gap in protection
_TIER_WORDS = {
    FAVOURED: "favoured for this patient by the guideline",
    FIRST_LINE: "first line by the guideline",
    LATER_LINE: "not a first choice for this patient",
}


def _standing(tier: int) -> str:
    if tier >= DISCOURAGED:
        return "something serious speaks against it; no plan without that was found"
    return _TIER_WORDS[min(tier, LATER_LINE)]


def _reasons(case: Case, plan: Assessed, outcome: Outcome) -> tuple[Reason, ...]:
    """Why this plan: guideline standing, genes, dose, expected effect."""
    found = []
    if plan.tier_reasons:
        found.append(Reason(text=_standing(plan.tier), because=plan.tier_reasons))
    for regimen in plan.regimens:
        found.append(_gene_reason(case, regimen.drug, plan))
        limits = plan.screened.limits[regimen.drug]
        name = case.knowledge.drugs[regimen.drug].name
        found.append(
            Reason(
                text=f"the dose of {name} is the label's start within this patient's limits",
                because=tuple(EvidenceKey(r) for r in limits.reasons),
            )
        )
    found.append(Reason(text=f"expected effect on {case.indication.measures[0].name}", because=outcome.benefit_because))
    return (*found, *learned_reasons(case, outcome))


def _gene_reason(case: Case, drug_id: DrugId, plan: Assessed) -> Reason:
    """What the genes say about this drug, including that they say nothing."""
    drug = case.knowledge.drugs[drug_id]
    hits = [h for h in plan.screened.hits if h.truth is True and h.statement.kind == "gene" and drug_id in h.drugs]
    if hits:
        text = "; ".join(dict.fromkeys(h.statement.text for h in hits))
        return Reason(text=text, because=tuple(dict.fromkeys(k for h in hits for k in h.because)))
    profile = case.profile(plan.proposal.drugs)
    enzymes = {r.enzyme for r in drug.roles if r.role == "substrate"}
    idle = {
        gene: expressed
        for gene, expressed in sorted(profile.genes.items())
        if gene not in enzymes and expressed.clinical not in (None, "Normal Metabolizer", "Normal Function")
    }
    if idle:
        names = ", ".join(idle)
        key = case.ledger.add(
            "knowledge", f"not among the enzymes on file for {drug.name}: {names}", source=f"drug file {drug_id}"
        )
        return Reason(
            text=f"not on file as acting on {drug.name}: {names}",
            because=(*dict.fromkeys(k for expressed in idle.values() for k in expressed.because), key),
        )
    key = case.ledger.add(
        "knowledge", f"no gene statement on file applies to {drug.name}", source=f"drug file {drug_id}"
    )
    return Reason(text=f"no gene guidance on file changes {drug.name} for this patient", because=(key,))


def _equivalents(case: Case, row: Row) -> tuple[Reason, ...]:
    """Plans of the same classes, by their sentence."""
    found = []
    for plan in row.equivalents[:12]:
        text = plan_text(case, plan.proposal, plan.regimens)
        limits = [EvidenceKey(k) for limits in plan.screened.limits.values() for k in limits.reasons]
        key = case.ledger.add("derived", f"{text}, within this patient's limits", because=limits)
        found.append(Reason(text=text, because=(key,)))
    return tuple(found)
