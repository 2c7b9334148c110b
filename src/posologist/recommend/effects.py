"""Effects and harms of one drug in this patient, with draws; the scale that all plans of a case share.

Published dose-response, moved by what is known of the patient. Draws carry the uncertainty of the published
effects and the spread between patients; the same drug has the same draws in every plan, so that what two plans
share cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from posologist.core.indication import Constant, EffectPoint, EffectRule, HarmRule, Measure
from posologist.core.values import DrugId, EvidenceKey
from posologist.knowledge.expression import UNKNOWN, Scalar, expression
from posologist.recommend.case import Case
from posologist.twin.randomness import seed_for

Draws = NDArray[np.float64]
WIDTH_95 = 3.919928  # width of a 95 % interval in standard deviations
PER_1000 = 10.0  # percent -> per 1,000


@dataclass(frozen=True)
class Dosed:
    """One drug at one amount per day (None: not stated in the record)."""

    drug: DrugId
    amount: float | None


@dataclass(frozen=True)
class Shift:
    """What a learned model adds to one published figure of a drug, and its standard deviation.

    `moves`: a measure, or the event of a harm (in 100 patients).
    """

    drug: DrugId
    moves: str
    value: float
    sd: float
    label: str
    because: Callable[[], tuple[EvidenceKey, ...]]


class Mover(Protocol):
    """Moves published effects and harms of drugs; `identity` tells one mover from another."""

    @property
    def identity(self) -> tuple[str, ...]:
        """What its answers follow from beside the case."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Measures and events of harms that it moves."""

    def ask(self, plans: Iterable[Sequence[Dosed]]) -> None:
        """Asks about the drugs of these plans at once; the answers are kept."""

    def beside(self, drug: DrugId, medicines: tuple[DrugId, ...]) -> tuple[DrugId, ...]:
        """What the answer on a drug depends on, of what is taken with it."""

    def shift(self, dosed: Dosed, medicines: tuple[DrugId, ...], moves: str, published: float) -> Shift | None:
        """The shift of a published figure of a drug beside these medicines; None where it is not moved."""


@dataclass(frozen=True)
class DrugEffect:
    """Change of each measure by one drug against none: centre as published, how it is drawn, and why.

    Most plans are ranked by their centres; only those that are shown or tie with one are drawn. `shift` is what a
    learned model adds; it is in the draws.
    """

    centre: dict[str, float]
    draw: Mapping[str, Callable[[], Draws]]
    because: tuple[EvidenceKey, ...]
    shift: Shift | None = None

    def expected(self, measure: str, unmoved: frozenset[DrugId] = frozenset()) -> float:
        """Centre of the change of a measure, with the shift unless the drug is among `unmoved`."""
        published, shift = self.centre.get(measure, 0.0), self.shift
        if shift is None or shift.moves != measure or shift.drug in unmoved:
            return published
        return published + shift.value

    def draws(self, measure: str) -> Draws | float:
        """Draws of the change of a measure; 0 for one that the drug does not change."""
        return self.draw[measure]() if measure in self.draw else 0.0


@dataclass(frozen=True)
class Harm:
    """Weighted harm of one drug, per 1,000: `percent` of the patients as published, each counting `factor`.

    `shift` is what a learned model adds to the percent; it is in the draws.
    """

    event: str
    text: str
    percent: float
    factor: float
    draw: Callable[[], Draws]
    because: tuple[EvidenceKey, ...]
    shift: Shift | None = None

    def expected(self, unmoved: frozenset[DrugId] = frozenset()) -> float:
        """Centre, with the shift unless the drug is among `unmoved`."""
        if self.shift is None or self.shift.drug in unmoved:
            return self.percent * self.factor
        return (self.percent + self.shift.value) * self.factor


@dataclass(frozen=True)
class Scale:
    """What all plans of one case share: baseline risk, constants, draws; caches the effects of the drugs.

    `mover` moves the effects and harms, `published` is then the scale on which they stand as published.
    """

    case: Case
    baseline: float
    baseline_key: EvidenceKey
    borrowed: str = ""
    mover: Mover | None = None
    published: Scale | None = None
    _effects: dict[tuple[Any, ...], DrugEffect | None] = field(default_factory=dict)
    _harms: dict[tuple[Any, ...], tuple[Harm, ...]] = field(default_factory=dict)
    _normals: dict[str, Draws] = field(default_factory=dict)
    _centres: dict[tuple[Dosed, ...], dict[str, float] | None] = field(default_factory=dict)
    unweighted: dict[str, str] = field(default_factory=dict)

    def normal(self, *names: str) -> Draws:
        """Standard normal draws that belong to these names, the same in every plan and every run."""
        label = "|".join(names)
        if label not in self._normals:
            seed = seed_for(self.case.situation.patient_id, *names)
            self._normals[label] = np.random.default_rng(seed).standard_normal(self.case.settings.draws)
        return self._normals[label]

    def centre(
        self, drugs: tuple[Dosed, ...], compute: Callable[[], dict[str, float] | None]
    ) -> dict[str, float] | None:
        """Central change of each measure by these drugs together, computed once."""
        if drugs not in self._centres:
            self._centres[drugs] = compute()
        return self._centres[drugs]

    def effect(self, dosed: Dosed, medicines: tuple[DrugId, ...]) -> DrugEffect | None:
        """Effect of one drug on every measure of the indication; None when none is published on file."""
        key = self._asked(dosed, medicines)
        if key not in self._effects:
            published = self.published
            self._effects[key] = (
                _drug_effect(self, dosed, self._with_others(medicines))
                if published is None
                else _moved(self, published.effect(dosed, medicines), dosed, medicines)
            )
        return self._effects[key]

    def moved_by(self, mover: Mover) -> Scale:
        """The same scale with its effects and harms moved; `published` of it is this one."""
        return replace(self, mover=mover, published=self, _effects={}, _harms={}, _centres={})

    def harms(self, dosed: Dosed, medicines: tuple[DrugId, ...]) -> tuple[Harm, ...]:
        """Weighted harms of one drug; harms without a sourced weight are noted in `unweighted`."""
        key = self._asked(dosed, medicines)
        if key not in self._harms:
            published = self.published
            self._harms[key] = (
                tuple(_drug_harms(self, dosed, self._with_others(medicines)))
                if published is None
                else tuple(_moved_harm(self, harm, dosed, medicines) for harm in published.harms(dosed, medicines))
            )
        return self._harms[key]

    def _asked(self, dosed: Dosed, medicines: tuple[DrugId, ...]) -> tuple[Any, ...]:
        profile = self.case.profile(self._with_others(medicines))
        return (dosed, id(profile), self.mover and self.mover.beside(dosed.drug, medicines))

    def _with_others(self, medicines: tuple[DrugId, ...]) -> tuple[DrugId, ...]:
        """A plan's medicines and those that no plan here touches: they too change what the genes give."""
        return (*medicines, *medicines_of_no_effect(self.case))


def medicines_of_no_effect(case: Case) -> tuple[DrugId, ...]:
    """Present medicines that do not act on this indication: no plan stops or counts them."""
    return case.remember("medicines of no effect", lambda: tuple(d for d in case.present if not acts(case, d)))


def acts(case: Case, drug: DrugId) -> bool:
    """Whether an effect on this indication is on file for a drug or a group of it."""
    groups = case.knowledge.groups_of(drug)
    return any(groups & set(rule.about) for rule in case.indication.effects)


def scale_of(case: Case) -> Scale | None:
    """The scale of the indication for this patient; None when no baseline risk can be computed."""
    constants = {c.name: c for c in case.indication.constants}
    subject = FormulaSubject(case, {name: c.value for name, c in constants.items()})
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
                because.append(constant_key(case, constants[name]))
            elif name in case.situation.facts:
                because.append(case.situation.facts[name].because)
        key = case.ledger.add(
            "derived",
            f"risk without a change of treatment, over {case.indication.horizon}: {float(value):.4g}",
            because=because,
        )
        return Scale(case, float(value), key, baseline.text if baseline.borrowed else "")
    return None


def constant_key(case: Case, constant: Constant) -> EvidenceKey:
    return case.knowledge_key(f"{constant.text}: {constant.value:g}", source=constant.source, status=constant.status)


def _drug_effect(scale: Scale, dosed: Dosed, medicines: tuple[DrugId, ...]) -> DrugEffect | None:
    centre, draw, because = {}, {}, []
    for measure in scale.case.indication.measures:
        rule = effect_rule(scale.case, dosed.drug, measure.key, medicines)
        if rule is None:
            continue
        centre[measure.key], draw[measure.key], keys = _rule_effect(scale, rule, dosed, measure, medicines)
        because.extend(keys)
    return DrugEffect(centre, draw, tuple(dict.fromkeys(because))) if centre else None


def _moved(scale: Scale, effect: DrugEffect | None, dosed: Dosed, medicines: tuple[DrugId, ...]) -> DrugEffect | None:
    """The effect with its shift; the model's own uncertainty is independent of the others and widens the draws."""
    mover = scale.mover
    if effect is None or mover is None:
        return effect
    asked = (mover.shift(dosed, medicines, key, value) for key, value in effect.centre.items() if key in mover.figures)
    shift = next((each for each in asked if each is not None), None)
    if shift is None:
        return effect
    published = effect.draw[shift.moves]
    measure = next(m for m in scale.case.indication.measures if m.key == shift.moves)
    text = f"{scale.case.knowledge.drugs[dosed.drug].name}: published {effect.centre[shift.moves]:.3g} {measure.unit}"
    key = scale.case.ledger.add(
        "derived", f"{text}, {measure.name}, at this dose in this patient", because=effect.because
    )

    def drawn() -> Draws:
        return published() + shift.value + shift.sd * scale.normal("learned", shift.drug, shift.moves)

    return replace(effect, draw={**effect.draw, shift.moves: drawn}, because=(key, *effect.because), shift=shift)


def _moved_harm(scale: Scale, harm: Harm, dosed: Dosed, medicines: tuple[DrugId, ...]) -> Harm:
    """The harm with its shift, as an effect with its own."""
    mover = scale.mover
    if mover is None or harm.event not in mover.figures:
        return harm
    shift = mover.shift(dosed, medicines, harm.event, harm.percent)
    if shift is None:
        return harm
    text = f"{scale.case.knowledge.drugs[dosed.drug].name}: published {harm.percent:.3g} in 100"
    key = scale.case.ledger.add(
        "derived", f"{text}, {harm.event.replace('_', ' ')}, at this dose in this patient", because=harm.because
    )

    def drawn() -> Draws:
        beyond = shift.value + shift.sd * scale.normal("learned", shift.drug, shift.moves)
        return harm.draw() + beyond * harm.factor

    bounded = replace(shift, because=lambda: (*shift.because(), key))  # the share that it may not pass
    return replace(harm, draw=drawn, because=(key, *harm.because), shift=bounded)


def effect_rule(case: Case, drug: DrugId, measure: str, medicines: tuple[DrugId, ...]) -> EffectRule | None:
    """The rule that names the drug, else one that names a group of it; the first whose profile holds."""

    def find() -> list[EffectRule]:
        groups = case.knowledge.groups_of(drug)
        named = [r for r in case.indication.effects if r.measure == measure and groups & set(r.about)]
        return sorted(named, key=lambda r: drug not in r.about)

    reaching = case.knowledge.remember(("effect rules", case.indication.id, case.indication.name, drug, measure), find)
    subject = case.subject(drug, medicines)
    return next((r for r in reaching if r.when == "true" or subject.match(r.when).truth is True), None)


def _rule_effect(
    scale: Scale, rule: EffectRule, dosed: Dosed, measure: Measure, medicines: tuple[DrugId, ...]
) -> tuple[float, Callable[[], Draws], list[EvidenceKey]]:
    case = scale.case
    name = case.knowledge.drugs[dosed.drug].name
    dose, keys = dose_of(case, rule.dose_basis, dosed)
    value, low, high = interpolate(rule.points, dose)
    keys.append(
        case.knowledge_key(
            f"{', '.join(rule.about)}: {measure.name} {value:.3g} {rule.unit} at this dose"
            + (f" ({low:.3g} to {high:.3g})" if low is not None and high is not None else ""),
            source=rule.source,
            status=rule.status,
        )
    )
    error = 0.0 if low is None or high is None else abs(high - low) / WIDTH_95
    published = value
    changes: list[tuple[float, float]] = []
    subject = case.subject(dosed.drug, medicines)
    groups = case.knowledge.groups_of(dosed.drug)
    for modifier in case.indication.modifiers:
        if modifier.measure != measure.key or not groups & set(modifier.about):
            continue
        match = subject.match(modifier.when)
        if match.truth is not True:
            continue
        factor, shift = expression(modifier.factor).value(subject), expression(modifier.shift).value(subject)
        if factor is UNKNOWN or shift is UNKNOWN:
            continue
        value = value * factor + shift
        changes.append((factor, shift))
        keys += subject.because(match)
        keys.append(case.knowledge_key(f"{name}: {modifier.text}", source=modifier.source, status=modifier.status))

    def drawn() -> Draws:
        draws = published + error * scale.normal("effect", rule.source, *rule.about, rule.measure)
        for factor, shift in changes:
            draws = draws * factor + shift
        if measure.spread_sd:
            draws = draws + measure.spread_sd * scale.normal("response", dosed.drug, measure.key)
        return draws

    return value, drawn, keys


def dose_of(case: Case, basis: str, dosed: Dosed) -> tuple[float, list[EvidenceKey]]:
    """Dose on the basis of a rule; an amount that the record does not state counts as the standard dose."""
    if basis == "none":
        return 1.0, []
    amount, key = standard_dose(case, dosed.drug)
    name = case.knowledge.drugs[dosed.drug].name
    if dosed.amount is None or not amount:
        stated = case.ledger.add(
            "assumption", f"the record does not state the dose of {name}: the standard dose is assumed", because=[key]
        )
        return (1.0 if basis == "relative" else amount or 1.0), [stated]
    return (dosed.amount / amount, [key]) if basis == "relative" else (dosed.amount, [])


def standard_dose(case: Case, drug: DrugId) -> tuple[float | None, EvidenceKey]:
    """The standard dose of a drug, mg/day, where none is published the label's usual dose; None: neither is on file."""
    standard = next((s for s in case.indication.standard_doses if s.drug == drug), None)
    held = case.knowledge.drugs[drug]
    if standard is not None:
        text = f"standard dose of {held.name}: {standard.dose:g} {standard.unit}"
        return standard.dose, case.knowledge_key(text, source=standard.source, status=standard.status)
    usual = next((r for r in held.doses if r.indication == case.indication.id), None)
    key = case.ledger.add(
        "assumption",
        f"no standard dose of {held.name} is published on file: the label's usual dose stands for it",
        because=[case.ledger.add("setting", "standard dose from the label's usual range", source="settings")],
    )
    return (None if usual is None else usual.usual_low or usual.start), key


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
        error = 0.0 if low is None or high is None else abs(high - low) / WIDTH_95
        factor = weight.weight * PER_1000
        draw = partial(_drawn_harm, scale, rule, value, error, factor)
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
        yield Harm(event, rule.text, value, factor, draw, tuple(dict.fromkeys(keys)))


def _drawn_harm(scale: Scale, rule: HarmRule, value: float, error: float, factor: float) -> Draws:
    return (value + error * scale.normal("harm", rule.source, *rule.about, rule.event)) * factor


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
        dose, keys = dose_of(scale.case, "relative", dosed)
        return (*interpolate(rule.points, dose), keys)
    value = expression(rule.percent).value(subject)
    return None if value is UNKNOWN else (float(value), rule.low, rule.high, [])


class FormulaSubject:
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
