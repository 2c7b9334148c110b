"""What a regimen is judged by: exposure at steady state, computed by the model for each possible patient.

Areas are integrals of the predicted concentration by Gauss' rule between the instants where the curve bends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from posologist.core.errors import InputError, NumericsError
from posologist.core.units import convert, ucum
from posologist.knowledge.models import PkModel
from posologist.twin.events import DOSE, EventTable, Record
from posologist.twin.individual import Array
from posologist.twin.modelled import predict
from posologist.twin.residual import Flags

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
_CLOSE = 1e-9
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


@dataclass(frozen=True)
class Curve:
    """Exposure at steady state of one regimen, each (n_draws,); `points` (n_draws, n) at `times` for other measures."""

    shape: Shape
    auc24: Array
    trough: Array
    times: Array
    points: Array

    def scaled(self, factor: float) -> Curve:
        """The same of another dose, where the model is linear."""
        return replace(self, auc24=self.auc24 * factor, trough=self.trough * factor, points=self.points * factor)

    @property
    def peak(self) -> Array:
        """Highest concentration of the interval."""
        return np.asarray(self.points.max(axis=1))

    def value(self, goal: Goal) -> Array:
        """What the goal measures, each (n_draws,)."""
        if goal.metric == "time_above":
            return _time_above(self.times, self.points, goal.at)
        if goal.metric == "level":
            return _level_after(self, goal.at)
        named = {"auc24": self.auc24, "average": self.auc24 / 24.0, "trough": self.trough, "peak": self.peak}
        return named[goal.metric]


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
    if hours > curve.shape.interval + 1e-9:
        return np.full(len(curve.points), np.nan)
    return np.array([np.interp(hours, curve.times, row) for row in curve.points])


def steady_curve(model: PkModel, parameters: Parameters, shape: Shape, dose: float) -> Curve:
    """Exposure of one regimen at steady state.

    Raises
    ------
    NumericsError
        If there is no steady state (elimination that saturates below the dose).
    """
    rate = dose / shape.infusion if shape.infusion else 0.0
    start = Record(0.0, evid=DOSE, amt=dose, rate=rate, cmt=shape.cmt, ii=shape.interval, ss=1, mdv=1)
    bends = _bends(shape)
    nodes, weights = quadrature(bends)
    grid = np.unique(np.concatenate([bends, np.linspace(0.0, shape.interval, _PEAK_POINTS)]))
    at = np.unique(np.concatenate([nodes, grid]))
    records = (start, *(Record(float(t), mdv=1) for t in at))
    values = np.real(predict(model, [parameters] * len(records), EventTable("steady state", records)))[:, 1:]
    if not np.all(np.isfinite(values)):
        raise NumericsError("the steady state is not finite", where=model.id, hint="the dose exceeds the elimination")
    area = values[:, np.searchsorted(at, nodes)] @ weights
    return Curve(
        shape, np.asarray(area * 24.0 / shape.interval), values[:, -1], grid, values[:, np.searchsorted(at, grid)]
    )


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
    """Dose at which a reading that rises with the dose comes to `goal`; None where no dose does.

    A reading that is a straight line of the dose, as in linear models, is answered exactly.
    """
    a, b = read(first), read(2.0 * first)
    if b > a:
        dose = first + (goal - a) / (b - a) * first
        if dose > 0 and abs(read(dose) - goal) <= _CLOSE * abs(goal):
            return dose
    low, high = first * _SMALLEST, first * _LARGEST
    if not read(low) <= goal <= read(high):
        return None
    for _ in range(_STEPS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if read(middle) < goal else (low, middle)
    return float(np.sqrt(low * high))


def _length(dose: Record) -> float:
    return dose.amt / dose.rate if dose.rate > 0 else 0.0
