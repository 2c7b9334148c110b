"""How well the training population covers a patient, and which features set the patient apart.

The distance adds a shrunken Mahalanobis distance over the numbers and -2 log(share) of each state (not known, flag,
level): twice the negative log-likelihood of a simple model of the training patients, up to a constant. It is read as
the share of training patients that lie nearer, each of whom was measured by a model of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from posologist.core.manifest import CoverageRule, State
from posologist.learn.features import Array, Encoder, Frame

LIMIT = 0.99  # share of training patients within which the model answers
RARE = 0.01  # a state that fewer than one training patient in a hundred has is named
FAR_SD = 3.0  # a number so many standard deviations away is named
_SHRINKAGE = 0.1  # weight of the identity in the correlation: dependent numbers stay invertible
_STEPS = 400
_FOLDS = 5


def fitted_coverage(encoder: Encoder, frame: Frame, *, limit: float = LIMIT) -> CoverageRule:
    """Rule fitted on the training rows; distances of these are cross-fitted over five folds."""
    rule = _rule(encoder, frame, limit, (0.0, 1.0))
    if len(frame) < 4 * _FOLDS:
        distances = CoverageReader(rule, encoder).distances(frame.values)
    else:
        distances = np.empty(len(frame))
        fold = np.arange(len(frame)) % _FOLDS
        for k in range(_FOLDS):
            others = _rule(encoder, frame.take(fold != k), limit, (0.0, 1.0))
            distances[fold == k] = CoverageReader(others, encoder).distances(frame.values[fold == k])
    steps = np.quantile(distances, np.linspace(0.0, 1.0, _STEPS + 1))
    return rule.model_copy(update={"quantiles": tuple(map(float, steps))})


def _rule(encoder: Encoder, frame: Frame, limit: float, quantiles: tuple[float, ...]) -> CoverageRule:
    z = encoder.standard(encoder.filled(frame.values))
    features = encoder.schema.features
    if z.shape[1]:
        second = (z.T @ z) / max(len(z), 1)
        shrunken = (1.0 - _SHRINKAGE) * second + _SHRINKAGE * np.eye(z.shape[1])
        precision = np.linalg.inv(shrunken)
    else:
        precision = np.zeros((0, 0))
    return CoverageRule(
        numbers=tuple(features[j].name for j in encoder.numbers),
        precision=tuple(tuple(map(float, row)) for row in precision),
        states=tuple(_state(frame, j) for j in range(len(features))),
        quantiles=quantiles,
        limit=limit,
    )


def _state(frame: Frame, j: int) -> State:
    """Shares of the states, each with half a patient added so that none is impossible."""
    feature, values = frame.schema.features[j], frame.values[:, j]
    n, missing = len(values), np.isnan(values)
    levels: tuple[float, ...] = ()
    if feature.kind != "number":
        states = 2 if feature.kind == "flag" else int(feature.another) + 1
        counts = np.bincount(values[~missing].astype(np.int64), minlength=states)
        levels = tuple(float(c) for c in (counts + 0.5) / (counts.sum() + 0.5 * states))
    return State(feature=feature.name, missing=float((missing.sum() + 0.5) / (n + 1.0)), levels=levels)


@dataclass(frozen=True)
class Reading:
    """Of each row: the share of training patients nearer, and each feature's part of the distance (n, p)."""

    nearer: Array
    covered: np.ndarray[tuple[int], np.dtype[np.bool_]]
    parts: Array


class CoverageReader:
    """Reads rows against a coverage rule."""

    def __init__(self, rule: CoverageRule, encoder: Encoder) -> None:
        self._rule, self._encoder = rule, encoder
        self._precision = np.asarray(rule.precision, dtype=np.float64).reshape(len(rule.numbers), len(rule.numbers))
        self._quantiles = np.asarray(rule.quantiles)
        widest = max([2, *(len(state.levels) for state in rule.states)])
        self._shares = np.ones((len(rule.states), widest + 1))  # column 0: not known, then each state
        for j, state in enumerate(rule.states):
            self._shares[j, 0] = state.missing
            self._shares[j, 1 : 1 + len(state.levels)] = [(1.0 - state.missing) * share for share in state.levels]
            if not state.levels:
                self._shares[j, 1:] = 1.0 - state.missing
        self._is_number = np.array([not state.levels for state in rule.states], dtype=bool)

    def shares(self, values: Array) -> Array:
        """Share of training patients in the state of each value, (n, p)."""
        missing = np.isnan(values)
        codes = np.where(missing, 0, np.where(self._is_number, 0, np.nan_to_num(values)) + 1).astype(np.int64)
        return np.asarray(self._shares[np.arange(values.shape[1]), codes])

    def parts(self, values: Array) -> Array:
        """Each feature's part of the distance, (n, p); they add up to it."""
        found = -2.0 * np.log(self.shares(values))
        z = self._encoder.standard(self._encoder.filled(values))
        found[:, self._encoder.numbers] += z * (z @ self._precision)
        return found

    def distances(self, values: Array) -> Array:
        """Distance of each row, (n,)."""
        return np.asarray(self.parts(values).sum(axis=1))

    def read(self, values: Array) -> Reading:
        """Where each row lies among the training patients."""
        parts = self.parts(values)
        grid = np.linspace(0.0, 1.0, len(self._quantiles))
        nearer = np.interp(parts.sum(axis=1), self._quantiles, grid)
        return Reading(nearer, nearer <= self._rule.limit, parts)

    def unusual(self, values: Array, parts: Array) -> list[int]:
        """Features that set one row (p,) apart, the farthest first."""
        shares = self.shares(values.reshape(1, -1))[0]
        z = np.zeros(len(values))
        z[self._encoder.numbers] = self._encoder.standard(self._encoder.filled(values.reshape(1, -1)))[0]
        named = [j for j in range(len(values)) if shares[j] < RARE or abs(z[j]) > FAR_SD]
        return sorted(named, key=lambda j: (-parts[j] if math.isfinite(parts[j]) else -math.inf, j))
