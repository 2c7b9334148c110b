"""Weights that are not negative for cross-fitted margins of parts, and calibration of a yes/no outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from posologist.core.manifest import Calibration
from posologist.learn.features import Array, Index
from posologist.learn.fit.recipe import Loss

_PULL = 0.01  # weight of the pull towards equal weights, against the mean loss
_SMOOTH = 0.02  # residuals nearer than this count as square under the absolute loss (standard deviations)
_SHARE = 15  # a probability's interval comes from the n / _SHARE patients with the nearest margins ...
_FEWEST = 50  # ... and from no fewer than these
_KNOTS = 41
_Z = 1.6448536269514722  # 95th percentile of the standard normal: a central interval of 90 %


@dataclass(frozen=True)
class Blend:
    """intercept + margins @ weights."""

    intercept: float
    weights: Array

    def __call__(self, margins: Array) -> Array:
        return np.asarray(self.intercept + margins @ self.weights)


def fitted_blend(margins: Array, outcome: Array, weight: Array, *, yes_no: bool, loss: Loss) -> Blend:
    """Blend of margins (n, parts) of least mean loss, with a slight pull towards equal weights that sum to one."""
    k = margins.shape[1]
    share = weight / weight.sum()
    function = _log_loss if yes_no else _LOSSES[loss]

    def objective(at: Array) -> tuple[float, Array]:
        value, slope = function(at[0] + margins @ at[1:], outcome)
        pull = at[1:] - 1.0 / k
        gradient = np.concatenate([[share @ slope], margins.T @ (share * slope) + 2.0 * _PULL * pull])
        return float(share @ value + _PULL * pull @ pull), gradient

    start = np.concatenate([[0.0], np.full(k, 1.0 / k)])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(None, None), *[(0.0, None)] * k])
    return Blend(float(found.x[0]), np.asarray(found.x[1:]))


def shown(beyond: Array, left: Array, weight: Array, group: Index) -> float:
    """Share of a prediction that rows show to be no chance, 0 to 1: 1 - 1 / z^2, and nothing below z = 1.

    Parameters
    ----------
    beyond
        What the prediction adds to a simpler one, on rows that neither was fitted on.
    left
        What the simpler one leaves of the outcome.
    group
        Patient of each row; the standard error of the slope of `left` on `beyond` is that between patients.
    """
    size = float(weight @ beyond**2)
    if size <= 0.0:
        return 0.0
    slope = float(weight @ (beyond * left)) / size
    if slope <= 0.0:
        return 0.0
    pulls = np.bincount(group, weight * beyond * (left - slope * beyond))
    error = float(np.sqrt((pulls**2).sum())) / size
    return max(0.0, 1.0 - (error / slope) ** 2)


def _log_loss(margin: Array, outcome: Array) -> tuple[Array, Array]:
    chance = 1.0 / (1.0 + np.exp(-np.clip(margin, -500.0, 500.0)))
    return np.logaddexp(0.0, margin) - outcome * margin, chance - outcome


def _squared(margin: Array, outcome: Array) -> tuple[Array, Array]:
    return 0.5 * (margin - outcome) ** 2, margin - outcome


def _absolute(margin: Array, outcome: Array) -> tuple[Array, Array]:
    size = np.sqrt((margin - outcome) ** 2 + _SMOOTH**2)
    return size, (margin - outcome) / size


def _huber(margin: Array, outcome: Array) -> tuple[Array, Array]:
    residual = margin - outcome
    near = np.abs(residual) <= 1.0
    return np.where(near, 0.5 * residual**2, np.abs(residual) - 0.5), np.clip(residual, -1.0, 1.0)


_LOSSES: dict[Loss, Callable[[Array, Array], tuple[Array, Array]]] = {
    "squared": _squared,
    "absolute": _absolute,
    "huber": _huber,
}


def fitted_calibration(margin: Array, outcome: Array, *, method: str) -> Calibration:
    """Calibration of a yes/no outcome on cross-fitted margins, with the interval of the observed rate."""
    knots = np.unique(np.quantile(margin, np.linspace(0.0, 1.0, _KNOTS)))
    chance = 1.0 / (1.0 + np.exp(-np.clip(knots, -500.0, 500.0)))
    if method == "isotonic":
        n = len(outcome)
        isotonic = IsotonicRegression(y_min=1.0 / (n + 2), y_max=1.0 - 1.0 / (n + 2), out_of_bounds="clip")
        isotonic.fit(margin, outcome)
        knots = np.unique(isotonic.X_thresholds_)
        chance = np.asarray(isotonic.predict(knots), dtype=np.float64)
    low, high = _observed(margin, outcome, knots)
    return Calibration(
        method="isotonic" if method == "isotonic" else "none",
        margin=tuple(map(float, knots)),
        value=tuple(map(float, chance)),
        low=tuple(map(float, np.minimum(low, chance))),
        high=tuple(map(float, np.maximum(high, chance))),
    )


def _observed(margin: Array, outcome: Array, knots: Array) -> tuple[Array, Array]:
    """Wilson interval (90 %) of the rate among the patients with the nearest margins, made to rise with the margin."""
    order = np.argsort(margin, kind="stable")
    ranked, hits = margin[order], np.concatenate([[0.0], np.cumsum(outcome[order])])
    n = len(ranked)
    size = min(n, max(_FEWEST, n // _SHARE))
    start: Index = np.clip(np.searchsorted(ranked, knots) - size // 2, 0, n - size)
    rate = (hits[start + size] - hits[start]) / size
    centre, width = rate + _Z**2 / (2 * size), _Z * np.sqrt(rate * (1 - rate) / size + _Z**2 / (4 * size**2))
    low, high = (centre - width) / (1 + _Z**2 / size), (centre + width) / (1 + _Z**2 / size)
    return np.maximum.accumulate(np.clip(low, 0, 1)), np.minimum.accumulate(np.clip(high, 0, 1)[::-1])[::-1]
