"""What a regimen is judged by: exposure at steady state, computed by the model for each possible patient.

Areas are integrals of the predicted concentration by Gauss' rule between the instants where the curve bends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Literal

import numpy as np

from posologist.core.errors import InputError, NumericsError
from posologist.core.regimen import DoseEvent
from posologist.core.units import convert, ucum
from posologist.knowledge.models import PkModel
from posologist.twin.compartment import absorption, disposition, steady_state
from posologist.twin.events import DOSE, EventTable, Record
from posologist.twin.individual import Array
from posologist.twin.modelled import predict
from posologist.twin.residual import Flags
from posologist.twin.steady_levels import steady_levels
from posologist.twin.superposition import PERIPHERAL, kinds_of

Metric = Literal["auc24", "average", "trough", "peak", "time_above", "level"]

_NAMES: dict[str, Metric] = {
    "auc24": "auc24", "auc24/mic": "auc24", "average": "average", "css": "average", "cav": "average",
    "trough": "trough", "peak": "peak", "peak/mic": "peak", "%ft>mic": "time_above",
}  # fmt: skip
_ABOVE = re.compile(r"(?:time_above|tmic)_?(\d+(?:\.\d+)?)")
_LEVEL = re.compile(r"(?:trough|level)[ _](\d+(?:\.\d+)?) ?h")
_HOUR = re.compile(r"^h[.*·]|[.*·]h(?=/|$)")
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_PANELS = 6  # geometric panels of one stretch: short where the curve is steep
_PEAK_POINTS = 48
_STEPS = 40
_CLOSE, _NEAR = 1e-9, 1e-6
_SMALLEST, _LARGEST = 1e-3, 1e6

Parameters = Mapping[str, Array]


@dataclass(frozen=True)
class Goal:
    """A measure of exposure between bounds, in the model's units (`time_above`: % of the interval; h.X for areas).

    `at` is the concentration that `time_above` counts from, or the hours after the dose of `level`.
    """

    metric: Metric
    low: float | None
    high: float | None
    unit: str
    at: float = 0.0
    text: str = ""

    def hit(self, values: Array) -> Flags:
        """Whether each value lies within the bounds."""
        low = -np.inf if self.low is None else self.low * (1.0 - _CLOSE)
        high = np.inf if self.high is None else self.high * (1.0 + _CLOSE)
        return np.asarray((values >= low) & (values <= high))

    @property
    def middle(self) -> float:
        """What to aim at: the geometric middle, or the only bound."""
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        return float(np.sqrt(bounds[0] * bounds[1])) if len(bounds) == 2 and bounds[0] > 0 else bounds[-1]


def area_unit(model: PkModel) -> str:
    """Unit of the model's areas under the curve."""
    return f"h.{model.concentration_unit}"


def goal_of(
    model: PkModel,
    measure: str,
    low: float | None,
    high: float | None,
    unit: str,
    text: str = "",
    *,
    mic: float | None = None,
    unbound: float | None = None,
) -> Goal | None:
    """A target or bound in the model's units; None where the model cannot tell the measure.

    Parameters
    ----------
    mic
        Minimal inhibitory concentration (mg/L); without it AUC/MIC is read at 1 mg/L, and peak/MIC and the time above
        the MIC cannot be told.
    unbound
        Free fraction, for the time that the free concentration is above the MIC.

    Raises
    ------
    InputError
        If the unit does not convert, or there is no bound.
    """
    name = measure.strip().lower()
    if name in ("peak/mic", "%ft>mic") and (mic is None or (name == "%ft>mic" and unbound is None)):
        return None
    above, level = _ABOVE.fullmatch(name), _LEVEL.fullmatch(name)
    metric = "time_above" if above else "level" if level else _NAMES.get(name)
    if metric is None:
        return None
    if low is None and high is None:
        raise InputError(f"the target '{text or measure}' has no bound", where="target", hint="give low or high")
    own, written = model.concentration_unit, "mg/L" if name == "peak/mic" else unit
    if name in ("peak/mic", "auc24/mic"):
        low, high = (None if bound is None else bound * (mic or 1.0) for bound in (low, high))
    if metric == "time_above":
        own, shown = "%", "%"
    elif metric == "auc24":
        written = "mg/L" if name.endswith("/mic") else _HOUR.sub("", unit)
        shown = area_unit(model)
    else:
        shown = own
    if written == unit and metric == "auc24":
        raise InputError(f"'{unit}' is no unit of an area", where="target", hint=f"use {area_unit(model)}")
    lowest, highest = (None if bound is None else _converted(bound, written, own, model) for bound in (low, high))
    found = above or level
    at = float(found[1]) if found else 0.0
    if name == "%ft>mic" and mic is not None and unbound is not None:
        at = _converted(mic, "mg/L", model.concentration_unit, model) / unbound
    return Goal(metric, lowest, highest, unit=shown, at=at, text=text or measure)


def _converted(value: float, source: str, target: str, model: PkModel) -> float:
    return convert(value, ucum(source), target, molar_mass=model.molar_mass)


@dataclass(frozen=True)
class Shape:
    """How a dose is given: every `interval` h, over `infusion` h (0: at once, or absorbed), into `cmt`."""

    interval: float
    infusion: float
    cmt: int


class Levels:
    """Levels of one interval at steady state, (n_draws, n_times), computed when they are first asked for."""

    def __init__(self, read: Callable[[], Array]) -> None:
        self._read = read

    @cached_property
    def values(self) -> Array:
        """All of them."""
        return self._read()

    @cached_property
    def highest(self) -> Array:
        """The highest of each draw, (n_draws,)."""
        return np.asarray(self.values.max(axis=1))


@dataclass(frozen=True)
class Curve:
    """Exposure at steady state of one regimen, each (n_draws,); `levels` at `times` are those of dose / `factor`."""

    shape: Shape
    auc24: Array
    trough: Array
    times: Array
    levels: Levels
    factor: float = 1.0

    def scaled(self, factor: float) -> Curve:
        """The same of another dose, where the model is linear."""
        return replace(self, auc24=self.auc24 * factor, trough=self.trough * factor, factor=self.factor * factor)

    @property
    def points(self) -> Array:
        """Levels at `times`, (n_draws, n_times)."""
        return np.asarray(self.levels.values * self.factor)

    @property
    def peak(self) -> Array:
        """Highest concentration of the interval."""
        return np.asarray(self.levels.highest * self.factor)

    def value(self, goal: Goal) -> Array:
        """What the goal measures, each (n_draws,)."""
        if goal.metric == "auc24":
            return self.auc24
        if goal.metric == "average":
            return np.asarray(self.auc24 / 24.0)
        if goal.metric == "trough":
            return self.trough
        if goal.metric == "peak":
            return self.peak
        if goal.metric == "time_above":
            return _time_above(self.times, self.points, goal.at)
        return _level_after(self, goal.at)


def _time_above(times: Array, points: Array, least: float) -> Array:
    """Percent of the interval above a concentration, linear between points."""
    over = points - least
    before, after = over[:, :-1], over[:, 1:]
    rise = np.where(before == after, 1.0, np.abs(after - before))
    share = np.where(
        (before >= 0) & (after >= 0), 1.0, np.where((before < 0) & (after < 0), 0.0, np.maximum(before, after) / rise)
    )
    return np.asarray(100.0 * (share * np.diff(times)).sum(axis=1) / (times[-1] - times[0]))


def _level_after(curve: Curve, hours: float) -> Array:
    """Level some hours after the dose, linear between points."""
    if hours > curve.shape.interval + 1e-9:
        return np.full(len(curve.auc24), np.nan)
    after = min(max(int(np.searchsorted(curve.times, hours)), 1), len(curve.times) - 1)
    before, then = curve.times[after - 1 : after + 1]
    part = min(max((hours - before) / (then - before), 0.0), 1.0)
    points = curve.levels.values
    return np.asarray(curve.factor * ((1.0 - part) * points[:, after - 1] + part * points[:, after]))


def steady_curve(model: PkModel, parameters: Parameters, shape: Shape, dose: float) -> Curve:
    """Exposure of one regimen at steady state; where elimination saturates, to `steady_levels.ACCURACY`.

    Raises
    ------
    NumericsError
        If there is no steady state (elimination that saturates below the dose).
    """
    (curve,) = _steady_curves(model, shape, [(parameters, dose)])
    return curve


def steady_curves(
    model: PkModel, shape: Shape, cases: Sequence[tuple[Parameters, float]]
) -> tuple[Curve | NumericsError, ...]:
    """Exposure of several doses of one shape, each with the parameters of its draws; or why there is none.

    As `steady_curve` of each, faster where doses have to be integrated.
    """
    try:
        return _steady_curves(model, shape, cases)
    except NumericsError as error:
        if len(cases) == 1:
            return (error,)
    return tuple(one for case in cases for one in steady_curves(model, shape, [case]))


def _steady_curves(model: PkModel, shape: Shape, cases: Sequence[tuple[Parameters, float]]) -> tuple[Curve, ...]:
    closed = [_closed_curve(model, shape, parameters, dose) for parameters, dose in cases]
    found = tuple(curve for curve in closed if curve is not None)
    if len(found) == len(cases):
        return found
    bends, grid = _bends(shape), _grid(shape)
    nodes, weights = quadrature(bends)
    at = np.unique(np.concatenate([nodes, grid]))
    curves = []
    for values in _levels_of(model, shape, cases, at):
        if not np.all(np.isfinite(values)):
            raise NumericsError(
                "the steady state is not finite", where=model.id, hint="the dose exceeds the elimination"
            )
        area = values[:, np.searchsorted(at, nodes)] @ weights
        auc24 = np.asarray(area * 24.0 / shape.interval)
        levels = Levels(partial(np.take, values, np.searchsorted(at, grid), axis=1))
        curves.append(Curve(shape, auc24, values[:, -1], grid, levels))
    return tuple(curves)


def _closed_curve(model: PkModel, shape: Shape, parameters: Parameters, dose: float) -> Curve | None:
    """By the closed form of a steady state; None where there is none."""
    given = Record(0.0, evid=DOSE, amt=dose, rate=dose / shape.infusion if shape.infusion else 0.0, cmt=shape.cmt)
    kinds = kinds_of(model, (given,), tuple(parameters))
    if not kinds:
        return None
    pairs = [(parameters[q], parameters[v]) for q, v in PERIPHERAL[: model.compartments - 1]]
    body = disposition(parameters["CL"], parameters["V1"], peripheral=pairs)
    taken_up = (
        absorption(parameters["KA"], parameters.get("F", 1.0), parameters.get("LAG", 0.0))
        if kinds[0] == "absorbed"
        else None
    )
    event = DoseEvent(time_h=0.0, amount_mg=dose, route="oral" if taken_up else "iv", duration_h=shape.infusion)

    def at(times: Array) -> Array:
        return np.asarray(model.scale * steady_state(body, event, shape.interval, times, absorbed=taken_up))

    trough = at(np.array([shape.interval]))[:, 0]
    bioavailable = dose if taken_up is None else dose * taken_up.f[:, 0]
    auc24 = model.scale * bioavailable * 24.0 / shape.interval / np.broadcast_to(parameters["CL"], trough.shape)
    grid = _grid(shape)
    return Curve(shape, np.asarray(auc24), trough, grid, Levels(partial(at, grid)))


def _grid(shape: Shape) -> Array:
    return np.unique(np.concatenate([_bends(shape), np.linspace(0.0, shape.interval, _PEAK_POINTS)]))


def _levels_of(model: PkModel, shape: Shape, cases: Sequence[tuple[Parameters, float]], at: Array) -> list[Array]:
    """Levels of each case `at` hours after a dose at steady state, (n_draws, n_times)."""
    if model.elimination != "linear":
        sizes = [max(np.size(value) for value in parameters.values()) for parameters, _ in cases]
        drawn = {name: np.concatenate([np.broadcast_to(parameters[name], (size,)) for (parameters, _), size in
                 zip(cases, sizes, strict=True)]) for name in cases[0][0]}  # fmt: skip
        amounts = np.repeat([dose for _, dose in cases], sizes)
        found = steady_levels(
            model, drawn, amounts, at, interval=shape.interval, infusion=shape.infusion, cmt=shape.cmt
        )
        if found is not None:
            return np.split(found, np.cumsum(sizes)[:-1])
    return [_predicted(model, shape, parameters, dose, at) for parameters, dose in cases]


def _predicted(model: PkModel, shape: Shape, parameters: Parameters, dose: float, at: Array) -> Array:
    rate = dose / shape.infusion if shape.infusion else 0.0
    start = Record(0.0, evid=DOSE, amt=dose, rate=rate, cmt=shape.cmt, ii=shape.interval, ss=1, mdv=1)
    records = (start, *(Record(float(t), mdv=1) for t in at))
    return np.real(predict(model, [parameters] * len(records), EventTable("steady state", records)))[:, 1:]


def _bends(shape: Shape) -> Array:
    return np.unique(np.array([0.0, min(shape.infusion, shape.interval), shape.interval]))


def quadrature(bends: Array) -> tuple[Array, Array]:
    """Instants and weights (h) of an integral over the stretches between bends."""
    nodes, weights = [], []
    for start, stop in pairwise(bends):
        edges = start + (stop - start) * np.concatenate([[0.0], 2.0 ** -np.arange(_PANELS - 1, -1, -1.0)])
        for low, high in pairwise(edges):
            nodes.append((low + high) / 2 + (high - low) / 2 * _NODES)
            weights.append((high - low) / 2 * _WEIGHTS)
    return np.concatenate(nodes), np.concatenate(weights)


def area_between(
    model: PkModel, parameters: Sequence[Parameters] | Parameters, doses: Sequence[Record], start: float, stop: float
) -> Array:
    """Area under the curve (concentration_unit h) between two times after the first dose, (n_draws,)."""
    instants = {start, stop} | {t for d in doses for t in (d.time, d.time + _length(d)) if start < t < stop}
    nodes, weights = quadrature(np.array(sorted(instants)))
    return np.asarray(levels_after(model, parameters, doses, nodes) @ weights)


def levels_after(
    model: PkModel, parameters: Sequence[Parameters] | Parameters, doses: Sequence[Record], times: Array
) -> Array:
    """Concentrations at times after given doses, (n_draws, n_times); doses at a time come before it."""
    rows = [(d.time, 0, n, d) for n, d in enumerate(doses)]
    rows += [(float(t), 1, n, Record(float(t), mdv=1)) for n, t in enumerate(times)]
    rows.sort(key=lambda row: row[:3])
    records = tuple(row[3] for row in rows)
    held: Parameters = parameters if isinstance(parameters, Mapping) else parameters[-1]
    values = np.real(predict(model, [held] * len(records), EventTable("doses", records)))
    where = {row[2]: n for n, row in enumerate(rows) if row[1] == 1}
    return np.asarray(values[:, [where[n] for n in range(len(times))]])


def dose_reaching(read: Callable[[float], float], goal: float, *, first: float = 1.0) -> float | None:
    """Dose at which a reading that never falls with the dose comes to `goal`; None where no dose does.

    A reading that is a straight line of the dose, as in linear models, is answered exactly; others to 1e-6 of the
    goal, or of the dose where the reading jumps.
    """
    a, b = read(first), read(2.0 * first)
    if b > a:
        dose = first + (goal - a) / (b - a) * first
        if dose > 0 and abs(read(dose) - goal) <= _CLOSE * abs(goal):
            return dose
    bracket = _bracket(read, goal, (first, a), (2.0 * first, b))
    return None if bracket is None else _between(read, goal, *bracket)


_Reading = tuple[float, float]  # a dose and what it reads


def _bracket(
    read: Callable[[float], float], goal: float, low: _Reading, high: _Reading
) -> tuple[_Reading, _Reading] | None:
    """Doses on both sides of the goal, found by ever larger strides; None beyond the largest and the smallest."""
    smallest, largest, stride = low[0] * _SMALLEST, low[0] * _LARGEST, 2.0
    while low[1] >= goal:
        if low[0] <= smallest:
            return None if low[1] > goal else (low, high)
        dose = max(low[0] / stride, smallest)
        low, high, stride = (dose, read(dose)), low, stride**2
    while not high[1] >= goal:
        if high[0] >= largest:
            return None
        dose = min(high[0] * stride, largest)
        low, high, stride = high, (dose, read(dose)), stride**2
    return low, high


def _between(read: Callable[[float], float], goal: float, low: _Reading, high: _Reading) -> float:
    """Dose between two, by the Illinois rule on logarithms of doses; by halving where the rule has no use."""
    left, right, last = low[1] - goal, high[1] - goal, 0
    start, stop = np.log(low[0]), np.log(high[0])
    for step in range(_STEPS):
        if stop - start <= _NEAR:
            break
        straight = np.isfinite(right) and right > 0 > left and step % 4 != 3
        place = (start * right - stop * left) / (right - left) if straight else (start + stop) / 2.0
        found = read(float(np.exp(place))) - goal
        if 0 < abs(found) <= _NEAR * abs(goal):
            return float(np.exp(place))
        side = -1 if found < 0 else 1
        if side < 0:
            start, left, right = place, found, right / 2.0 if last == side else right
        else:
            stop, right, left = place, found, left / 2.0 if last == side else left
        last = side
    return float(np.exp((start + stop) / 2.0))


def _length(dose: Record) -> float:
    return dose.amt / dose.rate if dose.rate > 0 else 0.0
