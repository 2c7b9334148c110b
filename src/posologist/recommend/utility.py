"""Benefit and risk of a plan on one scale: events per 1,000 patients over the indication's horizon.

Benefit follows from the change of the treated measures against the present plan; risk is the weighted excess of
harms. Both rest on the effects and harms of the single drugs (`effects.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from posologist.core.errors import KnowledgeError
from posologist.core.values import DrugId, EvidenceKey, rounded
from posologist.knowledge.expression import UNKNOWN, Scalar, expression
from posologist.recommend.case import Case, Outcome, Part, Triple, Worth
from posologist.recommend.effects import (
    WIDTH_95,
    Dosed,
    Draws,
    DrugEffect,
    FormulaSubject,
    Harm,
    Scale,
    Shift,
    constant_key,
)

_NOTHING = 1e-9  # per 1,000: the rounding of sums


def worth_of(
    scale: Scale, plan: Sequence[Dosed], present: Sequence[Dosed], *, risk: float | None = None
) -> Worth | None:
    """Central values of a plan against the present one; None when no effect of it is published on file.

    `risk`: that of the plan as published, where it is known.
    """
    after, before = _centre(scale, plan), _centre(scale, present)
    if after is None or before is None:
        return None
    benefit = _benefit(scale, _difference(after, before))
    risk = _central_risk(scale, plan) if risk is None or _moves_harms(scale) else risk
    return Worth(benefit, risk, rounded(benefit - scale.case.settings.harm_aversion * risk))


def _moves_harms(scale: Scale) -> bool:
    return scale.mover is not None and any(w.event in scale.mover.figures for w in scale.case.indication.weights)


def learned_keys(scale: Scale, plan: Sequence[Dosed], present: Sequence[Dosed]) -> tuple[EvidenceKey, ...]:
    """Evidence of what was learned about the effects of the drugs of these plans."""
    return tuple(k for shifts in _shifts(scale, present, plan).values() for s in shifts for k in s.because())


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
    changes = _difference(after.centre, before.centre)
    draws = {m: after.draws(m) - before.draws(m) for m in changes}
    worth = worth_of(scale, plan, present)
    assert worth is not None  # the same effects were found above
    benefit, risk, utility = worth.benefit, worth.risk, worth.utility
    benefit_draws = np.broadcast_to(_benefit(scale, draws, drawn=True), (case.settings.draws,))
    risk_draws, risk_parts = _risk(scale, plan)
    aversion = case.settings.harm_aversion
    parts = (*_benefit_parts(scale, plan, present), *(_scaled(part, -aversion) for part in risk_parts))
    measures = sorted(changes)
    told = _triples(
        (benefit, risk, utility, *(changes[m] for m in measures)),
        (benefit_draws, risk_draws, benefit_draws - aversion * risk_draws, *(draws[m] for m in measures)),
        case.settings.interval_level,
    )
    return Outcome(
        benefit=told[0],
        risk=told[1],
        utility=told[2],
        changes=dict(zip(measures, told[3:], strict=True)),
        parts=parts,
        benefit_because=(*after.because, *before.because, scale.baseline_key, *_formula_keys(case)),
        risk_because=tuple(k for p in risk_parts for k in p.because) or (_formula_keys(case)[0],),
        unweighted=tuple(sorted(scale.unweighted)),
        learned=_labels(scale, plan, present),
    )


def _formula_keys(case: Case) -> tuple[EvidenceKey, ...]:
    """Evidence of the benefit formula and of the constants that it names."""
    indication = case.indication
    text = f"{indication.benefit_text}: {indication.benefit}"
    named = expression(indication.benefit).names
    return (
        case.ledger.add("knowledge", text, source=f"indication {indication.id}"),
        *(constant_key(case, c) for c in indication.constants if c.name in named),
    )


def _total(scale: Scale, drugs: Sequence[Dosed]) -> DrugEffect | None:
    """Sum over the drugs, with the published ratio of observed to expected effect when there are several."""
    found = _effects(scale, drugs)
    if found is None:
        return None
    effects, ratio = found
    combination = scale.case.indication.combination
    keys = [k for e in effects for k in (*e.because, *(e.shift.because() if e.shift is not None else ()))]
    if combination is not None and len(effects) > 1:
        keys.append(
            scale.case.knowledge_key(
                f"observed over expected effect of two drugs: {combination.observed_to_expected:g}",
                source=combination.source,
                status=combination.status,
            )
        )
    centre = _centre(scale, drugs) or {}
    draw = {measure: partial(_drawn, scale, effects, ratio, measure) for measure in centre}
    return DrugEffect(centre, draw, tuple(dict.fromkeys(keys)))


def _drawn(scale: Scale, effects: Sequence[DrugEffect], ratio: float, measure: str) -> Draws:
    """Draws of the change of a measure by several drugs together."""
    if not _additive(scale)[measure]:
        return np.asarray(_strongest(effects, measure).draws(measure))
    return np.asarray(ratio * sum((e.draws(measure) for e in effects), np.zeros(scale.case.settings.draws)))


def _additive(scale: Scale) -> dict[str, bool]:
    return {m.key: m.additive for m in scale.case.indication.measures}


def _strongest(effects: Sequence[DrugEffect], measure: str) -> DrugEffect:
    """Of several drugs on a measure that does not add up, the one with the larger effect."""
    return max((e for e in effects if measure in e.centre), key=lambda e: abs(e.centre[measure]))


def _effects(scale: Scale, drugs: Sequence[Dosed]) -> tuple[list[DrugEffect], float] | None:
    """Effects of the drugs and the ratio of observed to expected effect; None when none is on file."""
    medicines = tuple(d.drug for d in drugs)
    effects = [e for e in (scale.effect(d, medicines) for d in drugs) if e is not None]
    if drugs and not effects:
        return None
    combination = scale.case.indication.combination
    return effects, combination.observed_to_expected if combination is not None and len(effects) > 1 else 1.0


def _centre(scale: Scale, drugs: Sequence[Dosed]) -> dict[str, float] | None:
    return scale.centre(tuple(drugs), lambda: _summed(scale, drugs))


def _summed(scale: Scale, drugs: Sequence[Dosed], unmoved: frozenset[DrugId] = frozenset()) -> dict[str, float] | None:
    """Central change of each measure by the drugs together; of those in `unmoved` as it is published."""
    found = _effects(scale, drugs)
    if found is None:
        return None
    effects, ratio = found
    return {
        measure: ratio * math.fsum(e.expected(measure, unmoved) for e in effects)
        if additive
        else _strongest(effects, measure).centre[measure]
        for measure, additive in _additive(scale).items()
        if any(measure in e.centre for e in effects)
    }


def _benefit(scale: Scale, changes: dict[str, Any], *, drawn: bool = False) -> Any:
    indication = scale.case.indication
    names: dict[str, Scalar] = {f"delta_{m.key}": changes.get(m.key, 0.0) for m in indication.measures}
    names["baseline"] = scale.baseline
    for constant in indication.constants:
        names[constant.name] = constant.value
        if drawn and constant.low is not None and constant.high is not None:
            error = (constant.high - constant.low) / WIDTH_95
            names[constant.name] = constant.value + error * scale.normal("constant", indication.id, constant.name)
    value = expression(indication.benefit).value(FormulaSubject(scale.case, names))
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


def _central_risk(scale: Scale, plan: Sequence[Dosed], unmoved: frozenset[DrugId] = frozenset()) -> float:
    """R(x) = sum b_i x_i / (sum a_i x_i + 1), per 1,000; x_i in weighted events per patient.

    Of the drugs in `unmoved` as it is published.
    """
    harms, a, b = _plan_harms(scale, plan)
    total = math.fsum(h.expected(unmoved) for _, h in harms)
    return b * total / (1.0 + a * max(total, 0.0) / 1000.0)


def _risk(scale: Scale, plan: Sequence[Dosed]) -> tuple[Draws, tuple[Part, ...]]:
    """Draws of the combination risk, and its parts: drug by drug and event by event, then what is learned.

    The first are as published; each learned part is what one drug's shift adds to that.
    """
    harms, a, b = _plan_harms(scale, plan)
    unmoved = frozenset(h.shift.drug for _, h in harms if h.shift is not None)
    total = math.fsum(h.expected(unmoved) for _, h in harms)
    draws = sum((h.draw() for _, h in harms), np.zeros(scale.case.settings.draws))
    share = b / (1.0 + a * max(total, 0.0) / 1000.0)
    parts = [
        Part(
            f"{d.drug}:{h.event}",
            f"{scale.case.knowledge.drugs[d.drug].name}: {h.event.replace('_', ' ')}",
            share * h.expected(unmoved),
            h.because,
        )
        for d, h in harms
    ]
    parts += _learned_risk(scale, plan, [(h, h.shift) for _, h in harms if h.shift is not None], unmoved)
    return b * draws / (1.0 + a * np.maximum(draws, 0.0) / 1000.0), tuple(parts)


def _learned_risk(
    scale: Scale, plan: Sequence[Dosed], moved: Sequence[tuple[Harm, Shift]], unmoved: frozenset[DrugId]
) -> list[Part]:
    """What each drug's shift adds to the risk, one after the other."""
    parts: list[Part] = []
    value = _central_risk(scale, plan, unmoved)
    for harm, shift in moved:
        unmoved -= {shift.drug}
        reached = _central_risk(scale, plan, unmoved)
        if abs(reached - value) > _NOTHING:
            name = scale.case.knowledge.drugs[shift.drug].name
            text = f"learned from {shift.label}: {harm.event.replace('_', ' ')} due to {name}"
            parts.append(Part(f"learned-risk:{shift.drug}", text, reached - value, shift.because()))
        value = reached
    return parts


def _benefit_parts(scale: Scale, plan: Sequence[Dosed], present: Sequence[Dosed]) -> list[Part]:
    """Benefit taken apart drug by drug: what is stopped, what is started in the plan's order, then what is learned.

    The first two are as published; each learned part is what one drug's shift adds to that.
    """
    moving = _shifts(scale, present, plan)
    unmoved = frozenset(moving)
    parts: list[Part] = []
    kept = [d for d in present if d in plan]
    steps: list[tuple[Dosed, str]] = [(d, "without") for d in present if d not in plan]
    steps += [(d, "with") for d in plan if d not in present]
    state = list(present)
    value = 0.0
    base = _summed(scale, present, unmoved)
    for dosed, word in steps:
        state = [d for d in state if d != dosed] if word == "without" else [*state, dosed]
        now = _summed(scale, state, unmoved)
        if now is None or base is None:
            continue
        reached = _benefit(scale, _difference(now, base))
        effect = scale.effect(dosed, tuple(d.drug for d in (*kept, dosed)))
        because = effect.because if effect is not None else (scale.baseline_key,)
        name = scale.case.knowledge.drugs[dosed.drug].name
        parts.append(Part(f"{word}:{dosed.drug}", f"effect {word} {name}", reached - value, because))
        value = reached
    for drug, shifts in moving.items():
        unmoved -= {drug}
        after, before = _summed(scale, plan, unmoved), _summed(scale, present, unmoved)
        if after is None or before is None:
            continue
        reached = _benefit(scale, _difference(after, before))
        if abs(reached - value) > _NOTHING:
            text = f"learned from {shifts[0].label}: response to {scale.case.knowledge.drugs[drug].name}"
            because = tuple(dict.fromkeys(key for shift in shifts for key in shift.because()))
            parts.append(Part(f"learned:{drug}", text, reached - value, because))
        value = reached
    return parts


def _shifts(scale: Scale, *plans: Sequence[Dosed]) -> dict[DrugId, list[Shift]]:
    """The shifts of the drugs of these plans, drug by drug in their order."""
    found: dict[DrugId, list[Shift]] = {}
    for drugs in plans:
        for effect in (_effects(scale, drugs) or ((), 1.0))[0]:
            if effect.shift is not None:
                found.setdefault(effect.shift.drug, []).append(effect.shift)
    return found


def _labels(scale: Scale, plan: Sequence[Dosed], present: Sequence[Dosed]) -> dict[str, str]:
    """Of whom it was learned what moves the effects of these plans and the harms of the first; empty: nothing does."""
    effects = (shift for shifts in _shifts(scale, present, plan).values() for shift in shifts)
    harms = (harm.shift for _, harm in _plan_harms(scale, plan)[0] if harm.shift is not None)
    return {shift.moves: shift.label for shift in (*effects, *harms)}


def _difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    return {m: after.get(m, 0.0) - before.get(m, 0.0) for m in after | before}


def _scaled(part: Part, factor: float) -> Part:
    return Part(part.feature, part.text, part.value * factor, part.because)


def _triples(values: Sequence[float], draws: Sequence[Any], level: float) -> list[Triple]:
    """Each value with the interval of its draws; draws that are one number have none."""
    tail = (1.0 - level) / 2.0
    lows, highs = np.quantile(np.array(np.broadcast_arrays(*draws)), (tail, 1.0 - tail), axis=1)
    found = []
    for each, low, high in zip(values, lows.tolist(), highs.tolist(), strict=True):
        value = 0.0 if abs(each) < 1e-9 else rounded(float(each))
        found.append(Triple(value, rounded(min(low, value)), rounded(max(high, value))))
    return found
