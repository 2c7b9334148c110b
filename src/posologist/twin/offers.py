"""Regimens that can be given of a drug whose exposure a model tells, and their order for this patient.

Absorbed doses are those that can be dispensed (`search.regimens_for`); intravenous ones are multiples of half the
smallest vial (less for small doses) up to four of the largest, every 6, 8, 12, 24 h (48 h of what leaves slowly, or as
now), no faster than the drug's file allows, or as a continuous infusion where a source describes one. A regimen
qualifies when it brings the middle patient, or at least half of the possible ones, to the target and its probability of
toxicity stays below the setting. Probabilities that differ by less than the draws can tell count as equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from posologist.core.drug import Drug
from posologist.core.errors import InputError, ModelError
from posologist.core.regimen import Limits
from posologist.core.settings import Settings
from posologist.core.units import convert
from posologist.core.values import rounded
from posologist.knowledge.models import PkModel
from posologist.twin.compartment import INTRAVENOUS, short_route
from posologist.twin.goals import Curve, Goal, Shape, dose_reaching
from posologist.twin.mixture import SATURATED, Exposures
from posologist.twin.residual import Flags
from posologist.twin.search import regimen_text, regimens_for

INTERVALS_H = (6.0, 8.0, 12.0, 24.0, 48.0)
INFUSIONS_H = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
EXTENDED_H = (3.0, 4.0)  # tried as well where the time above a concentration counts
HALF = 0.5  # share of possible patients that a regimen must bring to the target
EQUAL = 0.05  # probabilities of the target are told apart in steps of this size
MOST_UNITS = 4.0  # of the largest strength in one dose
_LEAST_INTERVAL_H = 4.0  # a shorter interval in use is not offered as a regimen
_AROUND = 7  # multiples on each side of the dose that meets the target in the middle patient
_PER_INTERVAL = 5  # doses listed of one interval
_STEPS = 3.0  # steps that a dose should count at least
_MOST_TIMES = 3  # infusion times tried of one dose
_DAY_H = 24.0
_LONG = 2.0  # half-lives up to which an interval of more than a day is tried
_UNITS_PER_DAY = 8.0  # of the largest strength, where no maximum is on file


@dataclass(frozen=True)
class Habit:
    """Interval and infusion time (h) in use, or else usual ones: regimens like these come first.

    `usual` are the intervals that the dose rule on file names; empty where it names none.
    """

    interval: float
    infusion: float
    usual: tuple[float, ...] = ()

    @property
    def intervals(self) -> tuple[float, ...]:
        """The intervals to be tried."""
        own = float(round(self.interval))
        return tuple(sorted({*INTERVALS_H, own})) if own >= _LEAST_INTERVAL_H else INTERVALS_H

    def unusual(self, shape: Shape) -> bool:
        """Whether an interval is neither in use nor one of the rule's; a continuous infusion is none."""
        own = (*self.usual, float(round(self.interval)))
        return bool(self.usual) and shape.infusion < shape.interval and shape.interval not in own

    def away(self, shape: Shape) -> tuple[float, float]:
        """How far a shape is from the habit."""
        return abs(math.log(shape.interval / self.interval)), abs(shape.infusion - self.infusion)


@dataclass(frozen=True)
class Offer:
    """A regimen that can be given: `dose` in the model's unit."""

    text: str
    dose: float
    shape: Shape

    @property
    def per_day(self) -> float:
        """Amount per day, in the model's unit."""
        return self.dose * 24.0 / self.shape.interval


@dataclass(frozen=True)
class Judged:
    """An offer with what it does in each possible patient; `centred`: the median of the measure is at the target."""

    offer: Offer
    curve: Curve
    hits: Flags | None
    toxic: Flags | None
    median: float
    centred: bool = False

    @property
    def reaches(self) -> bool:
        """Whether the middle patient, or half of the possible ones, are at the target."""
        return self.centred or self.attainment >= HALF

    @cached_property
    def attainment(self) -> float:
        """Share of possible patients at the target."""
        return 0.0 if self.hits is None else float(self.hits.mean())

    @cached_property
    def toxicity(self) -> float:
        """Share of possible patients above the toxic bound; 0 where no bound is known."""
        return 0.0 if self.toxic is None else float(self.toxic.mean())


@dataclass(frozen=True)
class Offers:
    """The regimens that were tried, and sentences on how they were chosen; `limited` by a maximum dose on file."""

    offers: tuple[Offer, ...]
    said: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    step: float | None = None
    limited: bool = True


@dataclass(frozen=True)
class Asked:
    """What regimens are looked for.

    `shortest_h` tells how long a dose (the model's unit) into a vein must run at least; `continuous` whether an
    infusion without end is described by a source.
    """

    drug: Drug
    limits: Limits | None
    goal: Goal | None
    habit: Habit
    route: str
    weight_kg: float | None
    shortest_h: Callable[[float], float] = lambda dose: 0.0
    continuous: bool = False


def offers_of(asked: Asked, exposures: Exposures) -> Offers:
    """Every regimen to be tried."""
    if short_route(asked.route) in INTRAVENOUS:
        return _intravenous(asked, exposures)
    return absorbed(asked, exposures.lead)


def absorbed(asked: Asked, model: PkModel) -> Offers:
    """Regimens that can be dispensed, of the release that the model describes."""
    drug, limits, route = asked.drug, asked.limits, asked.route
    warned, limited = [], True
    if limits is None or (limits.max is None and limits.usual_high is None):
        strengths = [
            (s, p.unit) for p in drug.products if short_route(p.route) == short_route(route) for s in p.strengths
        ]
        if not strengths:
            return Offers((), warned=(f"No {route} product of {drug.name} is on file.",))
        largest, unit = max(strengths)
        warned.append(f"No maximum dose of {drug.name} is on file for this use: it is not checked.")
        limited = False
        limits = Limits(drug=drug.id, unit=f"{unit}/day", max=_UNITS_PER_DAY * largest, doses_per_day=(1, 2))
    free = limits.model_copy(update={"start": None, "usual_low": None})
    found, other = [], 0
    for regimen in regimens_for(drug, free, route=route, weight_kg=asked.weight_kg):
        if (regimen.release or "immediate") != model.release:
            other += 1
        elif regimen.unit in ("mg", "mcg", "g"):
            dose = _converted(regimen.dose, regimen.unit, model)
            found.append(Offer(regimen.text, dose, Shape(regimen.interval_h, 0.0, 0)))
    if other:
        release = "extended" if model.release == "immediate" else "immediate"
        warned.append(
            f"Regimens of {release} release that are on file are left out: {model.id} describes {model.release} "
            "release."
        )
    return Offers(tuple(found), _saturation(model), tuple(warned), limited=limited)


def _converted(dose: float, unit: str, model: PkModel) -> float:
    try:
        return convert(dose, unit, model.dose_unit) * model.dose_content
    except InputError as error:
        raise ModelError(
            f"doses in {unit} cannot be told to {model.id}, which counts in {model.dose_unit}",
            where="--model",
            hint="choose another model of the drug",
        ) from error


def _intravenous(asked: Asked, exposures: Exposures) -> Offers:
    model, drug = exposures.lead, asked.drug
    vials = [
        _converted(strength, product.unit, model)
        for product in drug.products
        if short_route(product.route) in INTRAVENOUS and product.unit in ("mg", "mcg", "g")
        for strength in product.strengths
    ]
    most, warned = _most_per_day(model, asked.limits, drug.name, asked.weight_kg)
    intervals = [asked.habit.interval]
    if asked.goal is not None:
        longest = max(_DAY_H, asked.habit.interval, _LONG * exposures.half_life, *asked.habit.usual)
        least = 0.0 if asked.limits is None else asked.limits.min_interval_h or 0.0
        longest = max(longest, least)
        intervals = [i for i in sorted({*asked.habit.intervals, least}) if max(least, 1e-9) <= i <= longest]
    aims = {interval: _aim(asked, exposures, interval) for interval in intervals}
    step, source = _step(vials, [aim for aim in aims.values() if aim])
    if not step:
        return Offers((), warned=(*warned, f"No vial of {drug.name} is on file, and no target gives a first dose."))
    found = [
        Offer(_text(model, dose, shape), dose, shape)
        for interval in intervals
        for dose in _multiples(step, aims[interval])
        if not vials or dose <= MOST_UNITS * max(vials)
        if most is None or max(dose, dose * 24.0 / interval) <= most * (1 + 1e-9)
        for shape in _shapes(asked, interval, dose)
    ]
    said = f"Intravenous doses are multiples of {model.labelled(step):g} {model.dose_unit} ({source})."
    return Offers(tuple(found), (said, *_saturation(model)), warned, step, limited=most is not None)


def _step(vials: Sequence[float], aims: Sequence[float]) -> tuple[float, str]:
    """Step between doses and where it comes from: half of the smallest vial, or less of it where doses are small."""
    middle = float(np.median(aims)) if aims else 0.0
    if not vials:
        return _round_step(middle / 10.0), "no vial is on file"
    parts = next((n for n in (2, 4, 8) if middle * n >= _STEPS * min(vials)), 8 if aims else 2)
    return min(vials) / parts, f"1/{parts} of the smallest vial on file"


def _shapes(asked: Asked, interval: float, dose: float) -> list[Shape]:
    """How a dose may run in: the shortest usual times that are allowed, longer ones where time above counts."""
    shortest = asked.shortest_h(dose)
    own = asked.habit.infusion
    usual = [hours for hours in INFUSIONS_H if shortest * (1 - 1e-9) <= hours <= interval / 2]
    near = usual[:_MOST_TIMES]
    if asked.goal is not None and asked.goal.metric == "time_above":
        near += [hours for hours in EXTENDED_H if hours in usual and hours not in near]
    if shortest * (1 - 1e-9) <= own <= interval and own not in near:
        near.append(own)
    flat = asked.goal is not None and asked.goal.metric in ("auc24", "average", "time_above")
    if asked.continuous and flat and interval == _DAY_H:
        near.append(_DAY_H)
    if asked.goal is None:
        near = [min(near, key=lambda hours: abs(hours - own))] if near else []
    return [Shape(interval, hours, 0) for hours in near]


def _saturation(model: PkModel) -> tuple[str, ...]:
    if model.elimination != "michaelis-menten":
        return ()
    share, times = 100 * SATURATED, SATURATED / (1 - SATURATED)
    return (
        f"Possible patients whose elimination a dose fills to {share:g} % or more have no usable steady state: they "
        f"are counted at an average of at least {times:.0f} KM, above every target.",
    )


def _aim(asked: Asked, exposures: Exposures, interval: float) -> float | None:
    goal = asked.goal
    if goal is None:
        return None
    shape = Shape(interval, min(asked.habit.infusion, interval), 0)
    return dose_reaching(lambda dose: exposures.middle(shape, dose, goal), goal.middle, first=100.0)


def _multiples(step: float, aim: float | None) -> list[float]:
    """Doses around the one that is aimed at; without one, the smallest."""
    nearest = 0 if aim is None else round(aim / step)
    first = max(1, nearest - _AROUND)
    return [rounded(step * n, 9) for n in range(first, max(nearest, 1) + _AROUND + 1)]


def _round_step(value: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is not above a value."""
    if value <= 0:
        return 0.0
    ten = 10.0 ** math.floor(math.log10(value))
    return max(k * ten for k in (1.0, 2.0, 5.0) if k * ten <= value * (1 + 1e-9))


def _most_per_day(
    model: PkModel, limits: Limits | None, name: str, weight_kg: float | None
) -> tuple[float | None, tuple[str, ...]]:
    """The largest amount per day (the model's unit), or why it is not known."""
    unit, *per = [""] if limits is None else limits.unit.split("/")
    by_weight = per[:1] == ["kg"]
    daily = per[-1:] == ["day"] and unit in ("mg", "mcg", "g") and (len(per) == 1 or (by_weight and len(per) == 2))
    if limits is None or limits.max is None or not daily:
        return None, (f"No maximum daily dose of {name} is on file for this use: it is not checked.",)
    if by_weight and weight_kg is None:
        return None, (f"The maximum dose of {name} is per kg and the weight is not known: it is not checked.",)
    kilograms = weight_kg if by_weight and weight_kg is not None else 1.0
    return _converted(limits.max * kilograms, unit, model), ()


def _text(model: PkModel, dose: float, shape: Shape) -> str:
    if shape.infusion == shape.interval == _DAY_H:
        return f"{model.labelled(dose):g} {model.dose_unit} iv per 24 h as a continuous infusion"
    return regimen_text(model.labelled(dose), model.dose_unit, shape.interval, route="iv", duration_h=shape.infusion)


def judged(offers: Sequence[Offer], exposures: Exposures, goal: Goal | None, toxic: Goal | None) -> tuple[Judged, ...]:
    """Offers with their exposure; those without a steady state are left out."""
    by_shape: dict[Shape, list[float]] = {}
    for offer in offers:
        by_shape.setdefault(offer.shape, []).append(offer.dose)
    curves = {
        (shape, dose): curve
        for shape, doses in by_shape.items()
        for dose, curve in zip(doses, exposures.curves(shape, doses), strict=True)
    }
    told = [(offer, curves[offer.shape, offer.dose]) for offer in offers]
    return tuple(_judged(offer, curve, goal, toxic) for offer, curve in told if curve is not None)


def _judged(offer: Offer, curve: Curve, goal: Goal | None, toxic: Goal | None) -> Judged:
    above = None if toxic is None or toxic.high is None else np.asarray(curve.value(toxic) > toxic.high)
    if goal is None:
        return Judged(offer, curve, None, above, math.nan)
    values = curve.value(goal)
    median = float(np.median(values))
    return Judged(offer, curve, goal.hit(values), above, median, bool(goal.hit(np.array([median]))[0]))


def ordered(candidates: Sequence[Judged], settings: Settings, *, habit: Habit, aimed: bool) -> list[Judged]:
    """Those that qualify, best first; without a target all, from the smallest amount per day up.

    Of equal probabilities the interval and the infusion closest to those in use come first. Of one
    dose and interval the best infusion time is listed, of one interval the best few doses.
    """
    if not aimed:
        return sorted(candidates, key=lambda c: (c.offer.per_day, habit.away(c.offer.shape)))
    fit = [c for c in candidates if c.reaches and c.toxicity < settings.max_toxic_probability]
    most = max((c.attainment for c in fit), default=0.0)
    kept: dict[tuple[float, float, bool], Judged] = {}
    count: dict[tuple[float, bool], int] = {}
    for candidate in sorted(fit, key=lambda c: _order(c, most, habit)):
        shape = candidate.offer.shape
        group = (shape.interval, shape.infusion == shape.interval)
        if (candidate.offer.dose, *group) not in kept and count.get(group, 0) < _PER_INTERVAL:
            kept[candidate.offer.dose, *group] = candidate
            count[group] = count.get(group, 0) + 1
    return list(kept.values())


def _order(candidate: Judged, most: float, habit: Habit) -> tuple[float, ...]:
    """Usual intervals first; steps below the highest probability of the target, then of toxicity; then the habit."""
    return (
        habit.unusual(candidate.offer.shape),
        (most - candidate.attainment) // EQUAL,
        candidate.toxicity // EQUAL,
        *habit.away(candidate.offer.shape),
        -candidate.attainment,
        candidate.offer.per_day,
    )


def binding(candidates: Sequence[Judged], goal: Goal, settings: Settings, *, habit: Habit) -> tuple[str, Judged]:
    """What keeps every candidate from qualifying, and the nearest one."""
    safe = [c for c in candidates if c.toxicity < settings.max_toxic_probability]
    nearest = min(
        safe or candidates,
        key=lambda c: (
            habit.unusual(c.offer.shape),
            -round(c.attainment, 2),
            habit.away(c.offer.shape),
            c.toxicity,
            c.offer.text,
        ),
    )
    if not safe:
        nearest = min(candidates, key=lambda c: (c.toxicity, -c.attainment, c.offer.text))
    if any(c.reaches for c in candidates) or not safe:
        limit = 100 * settings.max_toxic_probability
        return f"every regimen that reaches the target has a probability of toxicity of {limit:g} % or more", nearest
    if goal.low is not None and all(c.median < goal.low for c in candidates):
        return "the largest amount that can be given does not reach the target: the maximum dose binds", nearest
    if goal.high is not None and all(c.median > goal.high for c in candidates):
        return "the smallest amount that can be given exceeds the target", nearest
    return "the strengths and intervals on file step over the target", nearest
