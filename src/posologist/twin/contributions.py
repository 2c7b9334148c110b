"""What each covariate, gene and level does to the dose: the daily dose that meets the target, taken apart.

The dose is that of the most probable patient for the middle of the target. It starts from the model's reference
patient. Covariates share the way to this patient by Shapley's value (the mean over every order in which they could be
told; in the order of the model file where they are more than `MOST_SHAPLEY`). Then each level adds what the estimate
changed when it came, in the order of time. The parts add up exactly.

References
----------
shapley-1953: L. S. Shapley, A value for n-person games, in Contributions to the theory of games II.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from posologist.core.errors import NumericsError
from posologist.knowledge.models import Covariate, PkModel
from posologist.twin.events import EventTable
from posologist.twin.goals import Curve, Goal, Shape, steady_curve
from posologist.twin.individual import Array, individual
from posologist.twin.levels import levels_at
from posologist.twin.map import map_estimates
from posologist.twin.mixture import Member, bounded
from posologist.twin.modelled import predict

MOST_SHAPLEY = 8
_HALVINGS = 50
_SIZES = frozenset({"CL", "V1", "Q", "V2", "Q3", "V3", "VMAX"})  # parameters in proportion to the size of the body
_FIRST, _LAST = 1e-3, 1e6


@dataclass(frozen=True)
class Part:
    """What one covariate or level adds to the daily dose; `name` of the covariate, or the place of the level."""

    name: str
    value: float
    level: int | None = None


@dataclass(frozen=True)
class Apart:
    """The daily dose (the model's unit) of the reference patient, the parts, and that of this patient."""

    base: float
    parts: tuple[Part, ...]
    output: float

    def times(self, factor: float) -> Apart:
        """The same in another unit."""
        parts = tuple(replace(part, value=part.value * factor) for part in self.parts)
        return Apart(self.base * factor, parts, self.output * factor)


def dose_apart(member: Member, goal: Goal, shape: Shape) -> Apart | None:
    """The daily dose for the middle of a target, taken apart; None where some step has no such dose."""
    told = [c for c in member.model.covariates if _reference(c) is not None and _reference(c) != _value(member, c)]
    rows, weights = _orders(len(told))
    present = {name: value for name, value in member.twin.present.items() if name not in {c.name for c in told}}
    typical = [_typical(member, told, present, row) for row in rows]
    levels = _by_level(member)
    parameters = _stacked(member.model, [*typical, *levels])
    shape = replace(shape, cmt=member.compartment)
    doses = _daily_doses(member.model, parameters, shape, goal)
    if doses is None:
        return None
    by_subset = dict(zip(rows, doses[: len(rows)], strict=True))
    parts = [Part(c.name, _share(by_subset, weights, n)) for n, c in enumerate(told)]
    whole = by_subset[tuple(True for _ in told)]
    steps = [whole, *doses[len(rows) :]]
    parts += [Part("level", after - before, level=n) for n, (before, after) in enumerate(pairwise(steps))]
    return Apart(float(by_subset[tuple(False for _ in told)]), tuple(parts), float(steps[-1]))


def _reference(covariate: Covariate) -> float | None:
    return covariate.default if covariate.reference is None else covariate.reference


def _value(member: Member, covariate: Covariate) -> float | None:
    return member.twin.present.get(covariate.name, covariate.default)


Subset = tuple[bool, ...]


def _orders(n: int) -> tuple[list[Subset], bool]:
    """The subsets of told covariates that are needed, and whether they are all (Shapley) or one order's."""
    if n > MOST_SHAPLEY:
        return [tuple(i < k for i in range(n)) for k in range(n + 1)], False
    return [tuple(bool(number >> i & 1) for i in range(n)) for number in range(2**n)], True


def _share(doses: Mapping[Subset, float], shapley: bool, i: int) -> float:
    """What covariate i adds: its mean step over all orders, or its step in the one order that there is."""
    n = len(next(iter(doses)))
    if not shapley:
        before, after = tuple(k < i for k in range(n)), tuple(k <= i for k in range(n))
        return float(doses[after] - doses[before])
    total = 0.0
    for subset, dose in doses.items():
        size = sum(subset)
        if subset[i]:
            total += dose / (n * math.comb(n - 1, size - 1))
        else:
            total -= dose / (n * math.comb(n - 1, size))
    return total


def _typical(member: Member, told: Sequence[Covariate], present: Mapping[str, float], row: Subset) -> dict[str, Array]:
    values = {c.name: _value(member, c) if known else _reference(c) for c, known in zip(told, row, strict=True)}
    covariates = {**present, **{name: value for name, value in values.items() if value is not None}}
    etas = np.zeros((1, len(member.model.random)))
    return individual(member.model, member.model.typical(covariates), etas)


def _by_level(member: Member) -> list[dict[str, Array]]:
    """Most probable parameters, for what is to come, after the first level, the first two, ... all.

    With all levels it is the estimate of the posterior, whose draws the dose is searched with.
    """
    table, posterior = member.twin.table, member.twin.people.found
    if posterior is None:
        return []
    at = levels_at(table)
    tables = []
    for count in range(1, len(at)):
        hidden = set(at[count:])
        records = tuple(
            replace(r, dv=None, limit=None, mdv=1) if i in hidden else r for i, r in enumerate(table.records)
        )
        tables.append(EventTable(table.subject, records))
    run = None if member.model.elimination == "linear" else predict
    found = (*map_estimates(member.model, tables, predict=run), posterior.estimate)
    return [member.twin.moved_by(result) for result in found]


def _stacked(model: PkModel, rows: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _daily_doses(model: PkModel, parameters: dict[str, Array], shape: Shape, goal: Goal) -> Array | None:
    """Amount per day with which each row of parameters comes to the middle of the goal."""
    first = 100.0

    def curve(doses: Array) -> Curve:
        """Each row under its own dose: k times the dose in a body k times smaller gives the same concentrations."""
        scaled = {name: v * first / doses if name in _SIZES else v for name, v in parameters.items()}
        return steady_curve(model, bounded(model, scaled, shape, first), shape, first)

    size = len(next(iter(parameters.values())))
    if model.elimination == "linear" and goal.metric != "time_above":
        per_dose = curve(np.full(size, first)).value(goal) / first
        return _finite(goal.middle / per_dose * 24.0 / shape.interval)
    low, high = np.full(size, math.log(_FIRST)), np.full(size, math.log(_LAST))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        try:
            below = curve(np.exp(middle)).value(goal) < goal.middle
        except NumericsError:
            return None
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return _finite(np.exp((low + high) / 2.0) * 24.0 / shape.interval)


def _finite(doses: Array) -> Array | None:
    inside = np.all(np.isfinite(doses)) and np.all(doses > 0) and np.all(doses < _LAST)
    return np.asarray(doses) if inside else None
