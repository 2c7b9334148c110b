"""Regimens that can be given of a drug whose exposure a model tells, and their order for this patient.

Absorbed doses are those that can be dispensed (`search.regimens_for`); intravenous ones are multiples of half the
smallest vial up to four of the largest, every 6, 8, 12, 24 or 48 h (or as now) over 0.5, 1 or 2 h. A regimen
qualifies when it brings at least half of the possible patients to the target and its probability of toxicity stays
below the setting. Probabilities that differ by less than the draws can tell count as equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from posologist.core.drug import Drug
from posologist.core.errors import InputError, ModelError, NumericsError
from posologist.core.regimen import Limits
from posologist.core.settings import Settings
from posologist.core.units import convert
from posologist.core.values import rounded
from posologist.knowledge.models import PkModel
from posologist.twin.compartment import INTRAVENOUS, short_route
from posologist.twin.goals import Curve, Goal, Parameters, Shape, dose_reaching, steady_curve
from posologist.twin.patient_model import compartment_of
from posologist.twin.residual import Flags
from posologist.twin.search import regimen_text, regimens_for

INTERVALS_H = (6.0, 8.0, 12.0, 24.0, 48.0)
INFUSIONS_H = (0.5, 1.0, 2.0)
HALF = 0.5  # share of possible patients that a regimen must bring to the target
EQUAL = 0.05  # probabilities of the target are told apart in steps of this size
MOST_UNITS = 4.0  # of the largest strength in one dose
SATURATED = 0.95  # share of the capacity of elimination from which a dose is taken to saturate it
_LEAST_INTERVAL_H = 4.0  # a shorter interval in use is not offered as a regimen
_AROUND = 7  # multiples on each side of the dose that meets the target in the middle patient
_SLOW_DRAWS = 100  # draws where each dose has to be integrated
_UNITS_PER_DAY = 8.0  # of the largest strength, where no maximum is on file


@dataclass(frozen=True)
class Habit:
    """Interval and infusion time (h) in use, or else usual ones: regimens like these come first."""

    interval: float
    infusion: float

    @property
    def intervals(self) -> tuple[float, ...]:
        """The intervals to be tried."""
        own = float(round(self.interval))
        return tuple(sorted({*INTERVALS_H, own})) if own >= _LEAST_INTERVAL_H else INTERVALS_H

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
    """An offer with what it does in each possible patient."""

    offer: Offer
    curve: Curve
    hits: Flags | None
    toxic: Flags | None
    median: float

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
    """The regimens that were tried, and sentences on how they were chosen."""

    offers: tuple[Offer, ...]
    said: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


class Exposures:
    """Steady states of a model's draws; those of one shape are computed once where the model is linear."""

    def __init__(self, model: PkModel, parameters: Parameters) -> None:
        self._model = model
        few = slice(None) if model.elimination == "linear" else slice(_SLOW_DRAWS)
        self._parameters = {name: values[few] for name, values in parameters.items()}
        self._units: dict[Shape, Curve] = {}

    def curve(self, shape: Shape, dose: float) -> Curve | None:
        """Exposure of a dose; None where there is no steady state."""
        if self._model.elimination != "linear":
            try:
                return steady_curve(self._model, self._bounded(shape, dose), shape, dose)
            except NumericsError:
                return None
        if shape not in self._units:
            self._units[shape] = steady_curve(self._model, self._parameters, shape, 1.0)
        return self._units[shape].scaled(dose)

    def _bounded(self, shape: Shape, dose: float) -> Parameters:
        """Parameters where those whom the dose saturates keep a steady state, far above any target.

        With all elimination saturable there is none from dose rate = VMAX on; from `SATURATED` of it on the capacity is
        taken as just large enough for that share, so that the average is at least 19 KM.
        """
        if self._model.elimination != "michaelis-menten":
            return self._parameters
        rate = self._parameters.get("F", np.ones(1)) * dose / shape.interval
        return {**self._parameters, "VMAX": np.maximum(self._parameters["VMAX"], rate / SATURATED)}

    def middle(self, shape: Shape, dose: float, goal: Goal) -> float:
        """Median of the goal's measure; infinite where there is no steady state."""
        curve = self.curve(shape, dose)
        return math.inf if curve is None else float(np.median(curve.value(goal)))


def offers_of(
    model: PkModel,
    drug: Drug,
    limits: Limits | None,
    goal: Goal | None,
    exposures: Exposures,
    *,
    habit: Habit,
    route: str,
    weight_kg: float | None,
) -> Offers:
    """Every regimen to be tried."""
    if short_route(route) in INTRAVENOUS:
        return _intravenous(model, drug, limits, goal, exposures, habit)
    return _absorbed(model, drug, limits, route, weight_kg)


def _absorbed(model: PkModel, drug: Drug, limits: Limits | None, route: str, weight_kg: float | None) -> Offers:
    warned = []
    if limits is None or (limits.max is None and limits.usual_high is None):
        strengths = [
            (s, p.unit) for p in drug.products if short_route(p.route) == short_route(route) for s in p.strengths
        ]
        if not strengths:
            return Offers((), warned=(f"No {route} product of {drug.name} is on file.",))
        largest, unit = max(strengths)
        warned.append(f"No maximum dose of {drug.name} is on file for this use: it is not checked.")
        limits = Limits(drug=drug.id, unit=f"{unit}/day", max=_UNITS_PER_DAY * largest, doses_per_day=(1, 2))
    free = limits.model_copy(update={"start": None, "usual_low": None})
    found = []
    for regimen in regimens_for(drug, free, route=route, weight_kg=weight_kg):
        if regimen.unit in ("mg", "mcg", "g"):
            dose = _converted(regimen.dose, regimen.unit, model)
            found.append(Offer(regimen.text, dose, Shape(regimen.interval_h, 0.0, compartment_of(model, route))))
    return Offers(tuple(found), _saturation(model), tuple(warned))


def _converted(dose: float, unit: str, model: PkModel) -> float:
    try:
        return convert(dose, unit, model.dose_unit)
    except InputError as error:
        raise ModelError(
            f"doses in {unit} cannot be told to {model.id}, which counts in {model.dose_unit}",
            where="--model",
            hint="choose another model of the drug",
        ) from error


def _intravenous(
    model: PkModel, drug: Drug, limits: Limits | None, goal: Goal | None, exposures: Exposures, habit: Habit
) -> Offers:
    vials = [
        _converted(strength, product.unit, model)
        for product in drug.products
        if short_route(product.route) in INTRAVENOUS and product.unit in ("mg", "mcg", "g")
        for strength in product.strengths
    ]
    most, warned = _most_per_day(model, limits, drug.name)
    cmt = compartment_of(model, "iv")
    shapes = [Shape(interval, infusion, cmt) for interval in habit.intervals for infusion in INFUSIONS_H]
    if goal is None:
        shapes = [min(shapes, key=habit.away)]
    aims = [_aim(goal, exposures, shape) for shape in shapes]
    step = min(vials) / 2.0 if vials else _round_step(float(np.median([a for a in aims if a] or [0.0])) / 10.0)
    if not step:
        return Offers((), warned=(*warned, f"No vial of {drug.name} is on file, and no target gives a first dose."))
    source = "half of the smallest vial on file" if vials else "no vial is on file"
    said = (
        f"Intravenous doses are multiples of {step:g} {model.dose_unit} ({source}); infusion rates are not checked.",
    )
    found = [
        Offer(_text(model, dose, shape), dose, shape)
        for shape, aim in zip(shapes, aims, strict=True)
        for dose in _multiples(step, aim)
        if not vials or dose <= MOST_UNITS * max(vials)
        if most is None or dose * 24.0 / shape.interval <= most * (1 + 1e-9)
    ]
    return Offers(tuple(found), (*said, *_saturation(model)), warned)


def _saturation(model: PkModel) -> tuple[str, ...]:
    if model.elimination != "michaelis-menten":
        return ()
    share, times = 100 * SATURATED, SATURATED / (1 - SATURATED)
    return (
        f"Possible patients whose elimination a dose fills to {share:g} % or more have no usable steady state: they "
        f"are counted at an average of at least {times:.0f} KM, above every target.",
    )


def _aim(goal: Goal | None, exposures: Exposures, shape: Shape) -> float | None:
    if goal is None:
        return None
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


def _most_per_day(model: PkModel, limits: Limits | None, name: str) -> tuple[float | None, tuple[str, ...]]:
    unit, _, period = ("", "", "") if limits is None else limits.unit.partition("/")
    if limits is None or limits.max is None or unit not in ("mg", "mcg", "g") or period != "day":
        return None, (f"No maximum daily dose of {name} is on file for this use: it is not checked.",)
    return convert(limits.max, unit, model.dose_unit), ()


def _text(model: PkModel, dose: float, shape: Shape) -> str:
    return regimen_text(dose, model.dose_unit, shape.interval, route="iv", duration_h=shape.infusion)


def judged(offers: Sequence[Offer], exposures: Exposures, goal: Goal | None, toxic: Goal | None) -> tuple[Judged, ...]:
    """Offers with their exposure; those without a steady state are left out."""
    found = []
    for offer in offers:
        curve = exposures.curve(offer.shape, offer.dose)
        if curve is None:
            continue
        values = None if goal is None else curve.value(goal)
        above = None if toxic is None or toxic.high is None else np.asarray(curve.value(toxic) > toxic.high)
        found.append(
            Judged(
                offer,
                curve,
                None if goal is None or values is None else goal.hit(values),
                above,
                math.nan if values is None else float(np.median(values)),
            )
        )
    return tuple(found)


def ordered(candidates: Sequence[Judged], settings: Settings, *, habit: Habit, aimed: bool) -> list[Judged]:
    """Those that qualify, best first; without a target all, from the smallest amount per day up.

    Of equal probabilities the interval and the infusion closest to those in use come first.
    """
    if not aimed:
        return sorted(candidates, key=lambda c: (c.offer.per_day, habit.away(c.offer.shape)))
    fit = [c for c in candidates if c.attainment >= HALF and c.toxicity < settings.max_toxic_probability]
    most = max((c.attainment for c in fit), default=0.0)
    return sorted(fit, key=lambda c: _order(c, most, habit))


def _order(candidate: Judged, most: float, habit: Habit) -> tuple[float, ...]:
    """Steps below the highest probability of the target, then of toxicity; then what is closest to the habit."""
    return (
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
        safe or candidates, key=lambda c: (-round(c.attainment, 2), habit.away(c.offer.shape), c.toxicity, c.offer.text)
    )
    if not safe:
        nearest = min(candidates, key=lambda c: (c.toxicity, -c.attainment, c.offer.text))
    if any(c.attainment >= HALF for c in candidates) or not safe:
        limit = 100 * settings.max_toxic_probability
        return f"every regimen that reaches the target has a probability of toxicity of {limit:g} % or more", nearest
    if goal.low is not None and all(c.median < goal.low for c in candidates):
        return "the largest amount that can be given does not reach the target: the maximum dose binds", nearest
    if goal.high is not None and all(c.median > goal.high for c in candidates):
        return "the smallest amount that can be given exceeds the target", nearest
    if any(bool(goal.hit(np.array([c.median]))[0]) for c in candidates):
        return "possible patients differ too much for any regimen to bring half of them to the target", nearest
    return "the strengths and intervals on file step over the target", nearest
