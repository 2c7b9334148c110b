"""Benefit and risk of a plan on one scale: events per 1,000 patients over the indication's horizon.

Benefit follows from the change of the treated measures against the present plan (published dose-response,
moved by what is known of this patient); risk is the weighted excess of harms. Draws carry the uncertainty of
the published effects and the spread between patients; the same drug has the same draws in every plan, so
that what two plans share cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posologist.core.errors import KnowledgeError
from posologist.core.indication import Constant, EffectPoint, EffectRule, HarmRule, Measure
from posologist.core.values import DrugId, EvidenceKey, rounded
from posologist.knowledge.expression import UNKNOWN, Scalar, expression
from posologist.recommend.case import Case, Outcome, Part, Triple, Worth
from posologist.twin.randomness import seed_for

Draws = NDArray[np.float64]
_Z95 = 3.919928  # width of a 95 % interval in standard deviations
PER_1000 = 10.0  # percent -> per 1,000


@dataclass(frozen=True)
class Dosed:
    """One drug at one amount per day (None: not stated in the record)."""

    drug: DrugId
    amount: float | None


@dataclass(frozen=True)
class DrugEffect:
    """Change of each measure by one drug against none: centre and draws; why."""

    centre: dict[str, float]
    draws: dict[str, Draws]
    because: tuple[EvidenceKey, ...]


@dataclass(frozen=True)
class Harm:
    """Weighted harm of one drug, per 1,000."""

    event: str
    text: str
    centre: float
    draws: Draws
    because: tuple[EvidenceKey, ...]


@dataclass(frozen=True)
class Scale:
    """What all plans of one case share: baseline risk, constants, draws; caches the effects of the drugs."""

    case: Case
    baseline: float
    baseline_key: EvidenceKey
    _effects: dict[tuple[Any, ...], DrugEffect | None] = field(default_factory=dict)
    _harms: dict[tuple[Any, ...], tuple[Harm, ...]] = field(default_factory=dict)
    _normals: dict[str, Draws] = field(default_factory=dict)
    unweighted: dict[str, str] = field(default_factory=dict)

    def normal(self, *names: str) -> Draws:
        """Standard normal draws that belong to these names, the same in every plan and every run."""
        label = "|".join(names)
        if label not in self._normals:
            seed = seed_for(self.case.situation.patient_id, *names)
            self._normals[label] = np.random.default_rng(seed).standard_normal(self.case.settings.draws)
        return self._normals[label]

    def effect(self, dosed: Dosed, medicines: tuple[DrugId, ...]) -> DrugEffect | None:
        """Effect of one drug on every measure of the indication; None when none is published on file."""
        key = (dosed, id(self.case.profile(medicines)))
        if key not in self._effects:
            self._effects[key] = _drug_effect(self, dosed, medicines)
        return self._effects[key]

    def harms(self, dosed: Dosed, medicines: tuple[DrugId, ...]) -> tuple[Harm, ...]:
        """Weighted harms of one drug; harms without a sourced weight are noted in `unweighted`."""
        key = (dosed, id(self.case.profile(medicines)))
        if key not in self._harms:
            self._harms[key] = tuple(_drug_harms(self, dosed, medicines))
        return self._harms[key]


def scale_of(case: Case) -> Scale | None:
    """The scale of the indication for this patient; None when no baseline risk can be computed."""
    constants = {c.name: c for c in case.indication.constants}
    subject = _FormulaSubject(case, {name: c.value for name, c in constants.items()})
    for baseline in case.indication.baselines:
        if case.patient.match(baseline.when).truth is not True:
            continue
        formula = expression(baseline.formula)
        value = formula.value(subject)
        if value is UNKNOWN:
            continue
        because = [case.knowledge_key(baseline.text, source=baseline.source, status=baseline.status)]
        for name in sorted(formula.names):
            if name in constants:
                because.append(_constant_key(case, constants[name]))
            elif name in case.situation.facts:
                because.append(case.situation.facts[name].because)
        key = case.ledger.add(
            "derived",
            f"risk without a change of treatment, over {case.indication.horizon}: {float(value):.4g}",
            because=because,
        )
        return Scale(case, float(value), key)
    return None


def _constant_key(case: Case, constant: Constant) -> EvidenceKey:
    return case.knowledge_key(f"{constant.text}: {constant.value:g}", source=constant.source, status=constant.status)


def _drug_effect(scale: Scale, dosed: Dosed, medicines: tuple[DrugId, ...]) -> DrugEffect | None:
    centre, draws, because = {}, {}, []
    for measure in scale.case.indication.measures:
        rule = effect_rule(scale.case, dosed.drug, measure.key, medicines)
        if rule is None:
            continue
        value, spread, keys = _rule_effect(scale, rule, dosed, measure, medicines)
        centre[measure.key], draws[measure.key] = value, spread
        because.extend(keys)
    return DrugEffect(centre, draws, tuple(dict.fromkeys(because))) if centre else None


def effect_rule(case: Case, drug: DrugId, measure: str, medicines: tuple[DrugId, ...]) -> EffectRule | None:
    """The rule that names the drug, else one that names a group of it; the first whose profile holds."""
    groups = case.knowledge.groups_of(drug)
    reaching = [r for r in case.indication.effects if r.measure == measure and groups & set(r.about)]
    reaching.sort(key=lambda r: drug not in r.about)
    subject = case.subject(drug, medicines)
    return next((r for r in reaching if r.when == "true" or subject.match(r.when).truth is True), None)


def _rule_effect(
    scale: Scale, rule: EffectRule, dosed: Dosed, measure: Measure, medicines: tuple[DrugId, ...]
) -> tuple[float, Draws, list[EvidenceKey]]:
    case = scale.case
    name = case.knowledge.drugs[dosed.drug].name
    dose, keys = _dose_of(case, rule.dose_basis, dosed)
    value, low, high = interpolate(rule.points, dose)
    keys.append(
        case.knowledge_key(
            f"{', '.join(rule.about)}: {measure.name} {value:.3g} {rule.unit} at this dose"
            + (f" ({low:.3g} to {high:.3g})" if low is not None and high is not None else ""),
            source=rule.source,
            status=rule.status,
        )
    )
    error = 0.0 if low is None or high is None else abs(high - low) / _Z95
    draws = value + error * scale.normal("effect", rule.source, *rule.about, rule.measure)
    subject = case.subject(dosed.drug, medicines)
    groups = case.knowledge.groups_of(dosed.drug)
    for modifier in case.indication.modifiers:
        if modifier.measure != measure.key or not groups & set(modifier.about):
            continue
        match = subject.match(modifier.when)
        factor, shift = expression(modifier.factor).value(subject), expression(modifier.shift).value(subject)
        if match.truth is not True or factor is UNKNOWN or shift is UNKNOWN:
            continue
        value, draws = value * factor + shift, draws * factor + shift
        keys += subject.because(match)
        keys.append(case.knowledge_key(f"{name}: {modifier.text}", source=modifier.source, status=modifier.status))
    if measure.spread_sd:
        draws = draws + measure.spread_sd * scale.normal("response", dosed.drug, measure.key)
    return value, draws, keys


def _dose_of(case: Case, basis: str, dosed: Dosed) -> tuple[float, list[EvidenceKey]]:
    """Dose on the basis of a rule; an amount that the record does not state counts as the standard dose."""
    if basis == "none":
        return 1.0, []
    standard = next((s for s in case.indication.standard_doses if s.drug == dosed.drug), None)
    name = case.knowledge.drugs[dosed.drug].name
    if standard is None:
        usual = next((r for r in case.knowledge.drugs[dosed.drug].doses if r.indication == case.indication.id), None)
        amount = None if usual is None else usual.usual_low or usual.start
        key = case.ledger.add(
            "assumption",
            f"no standard dose of {name} is published on file: the label's usual dose stands for it",
            because=[case.ledger.add("setting", "standard dose from the label's usual range", source="settings")],
        )
    else:
        amount = standard.dose
        key = case.knowledge_key(
            f"standard dose of {name}: {standard.dose:g} {standard.unit}",
            source=standard.source,
            status=standard.status,
        )
    if dosed.amount is None or not amount:
        stated = case.ledger.add(
            "assumption", f"the record does not state the dose of {name}: the standard dose is assumed", because=[key]
        )
        return (1.0 if basis == "relative" else amount or 1.0), [stated]
    return (dosed.amount / amount, [key]) if basis == "relative" else (dosed.amount, [])


def interpolate(points: Sequence[EffectPoint], dose: float) -> tuple[float, float | None, float | None]:
    """Value and 95 % limits at a dose: linear on log dose, flat outside the doses studied."""
    ordered = sorted(points, key=lambda p: p.dose)
    if len(ordered) == 1 or dose <= ordered[0].dose:
        first = ordered[0]
        return first.value, first.low, first.high
    if dose >= ordered[-1].dose:
        last = ordered[-1]
        return last.value, last.low, last.high
    upper = next(i for i, p in enumerate(ordered) if p.dose >= dose)
    below, above = ordered[upper - 1], ordered[upper]
    share = (math.log(dose) - math.log(below.dose)) / (math.log(above.dose) - math.log(below.dose))

    def between(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a + share * (b - a)

    return (
        below.value + share * (above.value - below.value),
        between(below.low, above.low),
        between(below.high, above.high),
    )


def _drug_harms(scale: Scale, dosed: Dosed, medicines: tuple[DrugId, ...]) -> Iterable[Harm]:
    case = scale.case
    groups = case.knowledge.groups_of(dosed.drug)
    subject = case.subject(dosed.drug, medicines)
    weights = {w.event: w for w in case.indication.weights}
    chosen: dict[str, HarmRule] = {}
    for rule in sorted(case.indication.harms, key=lambda r: dosed.drug not in r.about):
        if groups & set(rule.about) and rule.event not in chosen and subject.match(rule.when).truth is True:
            chosen[rule.event] = rule
    for event, rule in sorted(chosen.items()):
        weight = weights[event]
        if weight.weight is None:
            scale.unweighted[event] = weight.text
            continue
        percent = _percent(scale, rule, dosed, subject)
        if percent is None:
            continue
        value, low, high, keys = percent
        spread = scale.normal("harm", rule.source, *rule.about, event)
        error = 0.0 if low is None or high is None else abs(high - low) / _Z95
        factor = weight.weight * PER_1000
        keys += [
            *subject.because(subject.match(rule.when)),
            case.knowledge_key(
                f"{event.replace('_', ' ')}: {value:.3g} in 100 beyond no treatment; {rule.text}",
                source=rule.source,
                status=rule.status,
            ),
            case.knowledge_key(
                f"weight of {event.replace('_', ' ')}: {weight.weight:g}; {weight.text}",
                source=weight.source,
                status=weight.status or "to verify",
            ),
        ]
        yield Harm(event, rule.text, value * factor, (value + error * spread) * factor, tuple(dict.fromkeys(keys)))


def unweighted_harms(scale: Scale, drug: DrugId) -> tuple[HarmRule, ...]:
    """Harms of a drug that no published weight brings onto the scale: they count nothing in the ranking."""
    case = scale.case
    open_events = {w.event for w in case.indication.weights if w.weight is None}
    groups = case.knowledge.groups_of(drug)
    subject = case.subject(drug, case.present)
    found: dict[str, HarmRule] = {}
    for rule in sorted(case.indication.harms, key=lambda r: drug not in r.about):
        reaches = rule.event in open_events and groups & set(rule.about)
        if reaches and subject.match(rule.when).truth is True:
            found.setdefault(rule.event, rule)
    return tuple(found[event] for event in sorted(found))


def _percent(
    scale: Scale, rule: HarmRule, dosed: Dosed, subject: Any
) -> tuple[float, float | None, float | None, list[EvidenceKey]] | None:
    if rule.points:
        dose, keys = _dose_of(scale.case, "relative", dosed)
        return (*interpolate(rule.points, dose), keys)
    value = expression(rule.percent).value(subject)
    return None if value is UNKNOWN else (float(value), rule.low, rule.high, [])


class _FormulaSubject:
    """Names of a formula (changes, baseline, constants), then the patient's facts."""

    def __init__(self, case: Case, names: dict[str, Scalar]) -> None:
        self._names = names
        self._patient = case.patient

    def fact(self, name: str) -> Scalar:
        """A formula name, else a fact of the patient."""
        return self._names[name] if name in self._names else self._patient.fact(name)

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """Queries go to the patient."""
        return self._patient.query(function, arguments)


def worth_of(scale: Scale, plan: Sequence[Dosed], present: Sequence[Dosed]) -> Worth | None:
    """Central values of a plan against the present one; None when no effect of it is published on file."""
    after, before = _centre(scale, plan), _centre(scale, present)
    if after is None or before is None:
        return None
    benefit = _benefit(scale, {m: after.get(m, 0.0) - before.get(m, 0.0) for m in after | before})
    risk = _central_risk(scale, plan)
    return Worth(benefit, risk, rounded(benefit - scale.case.settings.harm_aversion * risk))


def outcome_of(scale: Scale, plan: Sequence[Dosed], present: Sequence[Dosed]) -> Outcome | None:
    """Benefit against the present plan, risk and utility of a plan with intervals and parts; None as `worth_of`.

    Parameters
    ----------
    plan, present
        The drugs that act on this indication or its harms, with their amounts per day.
    """
    case = scale.case
    after = _total(scale, plan)
    before = _total(scale, present)
    if after is None or before is None:
        return None
    changes = {m: after.centre.get(m, 0.0) - before.centre.get(m, 0.0) for m in after.centre | before.centre}
    draws = {m: after.draws.get(m, 0.0) - before.draws.get(m, 0.0) for m in changes}
    worth = worth_of(scale, plan, present)
    assert worth is not None  # the same effects were found above
    benefit, risk, utility = worth.benefit, worth.risk, worth.utility
    benefit_draws = np.broadcast_to(_benefit(scale, draws, drawn=True), (case.settings.draws,))
    risk_draws, risk_parts = _risk(scale, plan)
    aversion = case.settings.harm_aversion
    parts = (*_benefit_parts(scale, plan, present), *(_scaled(part, -aversion) for part in risk_parts))
    return Outcome(
        benefit=_triple(benefit, benefit_draws, case.settings.interval_level),
        risk=_triple(risk, risk_draws, case.settings.interval_level),
        utility=_triple(utility, benefit_draws - aversion * risk_draws, case.settings.interval_level),
        changes={m: _triple(changes[m], np.asarray(draws[m]), case.settings.interval_level) for m in sorted(changes)},
        parts=parts,
        benefit_because=(*after.because, *before.because, scale.baseline_key, *_formula_keys(case)),
        risk_because=tuple(k for p in risk_parts for k in p.because) or (_formula_keys(case)[0],),
        unweighted=tuple(sorted(scale.unweighted)),
    )


def _formula_keys(case: Case) -> tuple[EvidenceKey, ...]:
    """Evidence of the benefit formula and of the constants that it names."""
    indication = case.indication
    text = f"{indication.benefit_text}: {indication.benefit}"
    named = expression(indication.benefit).names
    return (
        case.ledger.add("knowledge", text, source=f"indication {indication.id}"),
        *(_constant_key(case, c) for c in indication.constants if c.name in named),
    )


def _total(scale: Scale, drugs: Sequence[Dosed]) -> DrugEffect | None:
    """Sum over the drugs, with the published ratio of observed to expected effect when there are several."""
    found = _effects(scale, drugs)
    if found is None:
        return None
    effects, ratio = found
    combination = scale.case.indication.combination
    keys = [k for e in effects for k in e.because]
    if combination is not None and len(effects) > 1:
        keys.append(
            scale.case.knowledge_key(
                f"observed over expected effect of two drugs: {combination.observed_to_expected:g}",
                source=combination.source,
                status=combination.status,
            )
        )
    centre = _centre(scale, drugs) or {}
    measures = tuple(centre)
    zero = np.zeros(scale.case.settings.draws)
    return DrugEffect(
        centre,
        {m: ratio * sum((e.draws.get(m, zero) for e in effects), zero) for m in measures},
        tuple(dict.fromkeys(keys)),
    )


def _effects(scale: Scale, drugs: Sequence[Dosed]) -> tuple[list[DrugEffect], float] | None:
    """Effects of the drugs and the ratio of observed to expected effect; None when none is on file."""
    medicines = tuple(d.drug for d in drugs)
    effects = [e for e in (scale.effect(d, medicines) for d in drugs) if e is not None]
    if drugs and not effects:
        return None
    combination = scale.case.indication.combination
    return effects, combination.observed_to_expected if combination is not None and len(effects) > 1 else 1.0


def _centre(scale: Scale, drugs: Sequence[Dosed]) -> dict[str, float] | None:
    found = _effects(scale, drugs)
    if found is None:
        return None
    effects, ratio = found
    return {m: ratio * math.fsum(e.centre.get(m, 0.0) for e in effects) for e0 in effects for m in e0.centre}


def _benefit(scale: Scale, changes: dict[str, Any], *, drawn: bool = False) -> Any:
    indication = scale.case.indication
    names: dict[str, Scalar] = {f"delta_{m.key}": changes.get(m.key, 0.0) for m in indication.measures}
    names["baseline"] = scale.baseline
    for constant in indication.constants:
        names[constant.name] = constant.value
        if drawn and constant.low is not None and constant.high is not None:
            error = (constant.high - constant.low) / _Z95
            names[constant.name] = constant.value + error * scale.normal("constant", indication.id, constant.name)
    value = expression(indication.benefit).value(_FormulaSubject(scale.case, names))
    if value is UNKNOWN:
        raise KnowledgeError(
            f"the benefit formula of {indication.id} needs facts that are not always known",
            where=f"indications/{indication.id}.toml benefit",
            hint="use only changes, baseline and constants",
        )
    return value if drawn else float(value)


def _plan_harms(scale: Scale, plan: Sequence[Dosed]) -> tuple[list[tuple[Dosed, Harm]], float, float]:
    """Harms of the plan with the coefficients a and b of the combination term (a counts for several drugs only)."""
    medicines = tuple(d.drug for d in plan)
    harms = [(d, h) for d in plan for h in scale.harms(d, medicines)]
    combination = scale.case.indication.combination
    if combination is None:
        return harms, 0.0, 1.0
    return harms, combination.harm_a if len({d.drug for d, _ in harms}) > 1 else 0.0, combination.harm_b


def _central_risk(scale: Scale, plan: Sequence[Dosed]) -> float:
    """R(x) = sum b_i x_i / (sum a_i x_i + 1), per 1,000; x_i in weighted events per patient."""
    harms, a, b = _plan_harms(scale, plan)
    total = math.fsum(h.centre for _, h in harms)
    return b * total / (1.0 + a * max(total, 0.0) / 1000.0)


def _risk(scale: Scale, plan: Sequence[Dosed]) -> tuple[Draws, tuple[Part, ...]]:
    """Draws of the combination risk, and its parts drug by drug and event by event."""
    harms, a, b = _plan_harms(scale, plan)
    total = math.fsum(h.centre for _, h in harms)
    draws = sum((h.draws for _, h in harms), np.zeros(scale.case.settings.draws))
    share = b / (1.0 + a * max(total, 0.0) / 1000.0)
    parts = tuple(
        Part(
            f"{d.drug}:{h.event}",
            f"{scale.case.knowledge.drugs[d.drug].name}: {h.event.replace('_', ' ')}",
            share * h.centre,
            h.because,
        )
        for d, h in harms
    )
    return b * draws / (1.0 + a * np.maximum(draws, 0.0) / 1000.0), parts


def _benefit_parts(scale: Scale, plan: Sequence[Dosed], present: Sequence[Dosed]) -> list[Part]:
    """Benefit taken apart drug by drug: first what is stopped, then what is started, in the plan's order."""
    parts: list[Part] = []
    kept = [d for d in present if d in plan]
    steps: list[tuple[Dosed, str]] = [(d, "without") for d in present if d not in plan]
    steps += [(d, "with") for d in plan if d not in present]
    state = list(present)
    value = 0.0
    base = _total(scale, present)
    for dosed, word in steps:
        state = [d for d in state if d != dosed] if word == "without" else [*state, dosed]
        now = _total(scale, state)
        if now is None or base is None:
            continue
        changes = {m: now.centre.get(m, 0.0) - base.centre.get(m, 0.0) for m in now.centre | base.centre}
        reached = _benefit(scale, changes)
        effect = scale.effect(dosed, tuple(d.drug for d in (*kept, dosed)))
        because = effect.because if effect is not None else (scale.baseline_key,)
        name = scale.case.knowledge.drugs[dosed.drug].name
        parts.append(Part(f"{word}:{dosed.drug}", f"effect {word} {name}", reached - value, because))
        value = reached
    return parts


def _scaled(part: Part, factor: float) -> Part:
    return Part(part.feature, part.text, part.value * factor, part.because)


def _triple(value: float, draws: Draws, level: float) -> Triple:
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, (tail, 1.0 - tail))
    value = rounded(float(value))
    return Triple(value, rounded(min(float(low), value)), rounded(max(float(high), value)))
