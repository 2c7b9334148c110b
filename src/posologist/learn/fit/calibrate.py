"""Calibration of margins to probabilities, as a few numbers that serialise; and how well probabilities are calibrated.

A margin is log odds before calibration. Each method gives a frozen value with `probability(margin)`; `to_data` and
`from_data` turn it into plain numbers for a manifest and back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

Array = npt.NDArray[np.float64]

_MOST_STEPS = 100  # Newton steps of a logistic fit; it needs fewer than 20
_FAR = 30.0  # log odds beyond which a probability is no longer told from 0 or 1


@dataclass(frozen=True)
class Platt:
    """log odds = slope x margin + intercept.

    References
    ----------
    Platt. Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods.
    In: Advances in large margin classifiers, MIT Press 1999.
    """

    slope: float
    intercept: float

    def probability(self, margin: Array) -> Array:
        return np.asarray(expit(self.slope * np.asarray(margin) + self.intercept))


@dataclass(frozen=True)
class Isotonic:
    """Probability that never falls when the margin rises, linear between breakpoints, constant outside them.

    References
    ----------
    Zadrozny, Elkan. Transforming classifier scores into accurate multiclass probability estimates. KDD 2002.
    """

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]

    def probability(self, margin: Array) -> Array:
        return np.asarray(np.interp(margin, self.margins, self.probabilities))


@dataclass(frozen=True)
class Beta:
    """log odds = a ln q - b ln(1 - q) + c, where q is the uncalibrated probability; a and b are not negative.

    References
    ----------
    Kull, Silva Filho, Flach. Beta calibration: a well-founded and easily implemented improvement on logistic
    calibration for binary classifiers. AISTATS 2017, PMLR 54:623-631.
    """

    a: float
    b: float
    c: float

    def probability(self, margin: Array) -> Array:
        low, high = _logs(np.asarray(margin))
        return np.asarray(expit(self.a * low - self.b * high + self.c))


Calibration = Platt | Isotonic | Beta
_KINDS: Mapping[str, Callable[..., Calibration]] = {"platt": Platt, "isotonic": Isotonic, "beta": Beta}


def to_data(calibration: Calibration) -> dict[str, Any]:
    """Plain numbers of a calibration, with its kind."""
    return {"kind": type(calibration).__name__.lower(), **asdict(calibration)}


def from_data(data: Mapping[str, Any]) -> Calibration:
    """Calibration from its plain numbers."""
    kind = str(data.get("kind"))
    if kind not in _KINDS:
        raise ValueError(f"calibration kind {kind!r}: must be one of {sorted(_KINDS)}")
    numbers = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in data.items() if k != "kind"}
    return _KINDS[kind](**numbers)


def _logs(margin: Array) -> tuple[Array, Array]:
    """ln q and ln(1 - q) of q = expit(margin)."""
    return -np.logaddexp(0.0, -margin), -np.logaddexp(0.0, margin)


def _checked(margin: Any, happened: Any, weight: Any) -> tuple[Array, Array, Array]:
    margin, happened = np.asarray(margin, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    weight = np.ones(margin.size) if weight is None else np.asarray(weight, dtype=np.float64)
    if not margin.shape == happened.shape == weight.shape or margin.ndim != 1:
        raise ValueError("margin, outcome and weight must be one-dimensional and of equal length")
    if not np.isfinite(margin).all() or not np.isin(happened, (0.0, 1.0)).all():
        raise ValueError("margins must be finite and outcomes 0 or 1")
    if np.unique(happened[weight > 0.0]).size < 2:
        raise ValueError("calibration needs rows with the outcome and rows without; there is only one class")
    return np.clip(margin, -_FAR, _FAR), happened, weight


def _smoothed(happened: Array, weight: Array) -> Array:
    """Platt's targets, (n + 1) / (n + 2) and 1 / (n + 2), which keep a fit to well-parted classes finite."""
    n_yes, n_no = weight[happened == 1.0].sum(), weight[happened == 0.0].sum()
    return np.where(happened == 1.0, (n_yes + 1.0) / (n_yes + 2.0), 1.0 / (n_no + 2.0))


def fit_platt(margin: Any, happened: Any, weight: Any = None) -> Platt:
    """Platt's calibration, with his smoothed targets."""
    margin, happened, weight = _checked(margin, happened, weight)
    design = np.stack([np.ones(margin.size), margin], axis=1)
    intercept, slope = logistic(design, _smoothed(happened, weight), weight)
    return Platt(slope=float(slope), intercept=float(intercept))


def fit_isotonic(margin: Any, happened: Any, weight: Any = None) -> Isotonic:
    """Isotonic calibration; probabilities stay 1 / (n + 2) away from 0 and 1, since n rows cannot show certainty."""
    margin, happened, weight = _checked(margin, happened, weight)
    edge = 1.0 / (margin.size + 2.0)
    fitted = IsotonicRegression(y_min=edge, y_max=1.0 - edge).fit(margin, happened, sample_weight=weight)
    return Isotonic(tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_)))


def fit_beta(margin: Any, happened: Any, weight: Any = None) -> Beta:
    """Beta calibration by maximum likelihood with a, b >= 0, to Platt's smoothed targets."""
    margin, happened, weight = _checked(margin, happened, weight)
    low, high = _logs(margin)
    design = np.stack([low, -high, np.ones(margin.size)], axis=1)
    target, total = _smoothed(happened, weight), weight.sum()

    def loss(beta: Array) -> tuple[float, Array]:
        value = design @ beta
        gap = weight * (expit(value) - target)
        return float(weight @ (np.logaddexp(0.0, value) - target * value)) / total, design.T @ gap / total

    found = minimize(loss, np.array([1.0, 1.0, 0.0]), jac=True, bounds=[(0.0, None), (0.0, None), (None, None)])
    a, b, c = (float(value) for value in found.x)
    return Beta(a, b, c)


def logistic(design: Array, target: Array, weight: Array) -> Array:
    """Coefficients of a logistic regression without penalty, by Newton steps that are halved until the loss falls."""

    def loss(beta: Array) -> float:
        value = design @ beta
        return float(weight @ (np.logaddexp(0.0, value) - target * value))

    beta = np.zeros(design.shape[1])
    for _ in range(_MOST_STEPS):
        p = expit(design @ beta)
        gradient = design.T @ (weight * (p - target))
        curvature = (design * (weight * p * (1.0 - p))[:, None]).T @ design
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        while loss(beta - step) > loss(beta) + 1e-12 and np.abs(step).max() > 1e-12:
            step = step / 2.0
        beta = beta - step
        if np.abs(step).max() < 1e-10:
            break
    return beta


@dataclass(frozen=True)
class CalibrationLine:
    """Slope and intercept of the outcome's log odds on those predicted; 1 and 0 are ideal.

    `in_the_large`, calibration in the large, is the intercept when the slope is held at 1.

    References
    ----------
    Van Calster et al. Calibration: the Achilles heel of predictive analytics. BMC Medicine 2019;17:230.
    """

    slope: float
    intercept: float
    in_the_large: float


def calibration_line(probability: Any, happened: Any, weight: Any = None) -> CalibrationLine:
    """Calibration slope and intercept of predicted probabilities."""
    with np.errstate(divide="ignore"):
        odds = np.clip(logit(np.asarray(probability, dtype=np.float64)), -_FAR, _FAR)
    odds, happened, weight = _checked(odds, happened, weight)
    intercept, slope = logistic(np.stack([np.ones(odds.size), odds], axis=1), happened, weight)
    return CalibrationLine(float(slope), float(intercept), _in_the_large(odds, happened, weight))


def _in_the_large(odds: Array, happened: Array, weight: Array) -> float:
    shift = 0.0
    for _ in range(_MOST_STEPS):
        p = expit(odds + shift)
        step = float(weight @ (p - happened)) / max(float(weight @ (p * (1.0 - p))), 1e-12)
        shift -= float(np.clip(step, -2.0, 2.0))
        if abs(step) < 1e-10:
            break
    return shift


def expected_calibration_error(probability: Any, happened: Any, *, n_bins: int = 10) -> float:
    """Mean distance of the predicted from the observed frequency over bins of equally many rows.

    Rows with the same probability share a bin. Positive even for perfect probabilities, by chance, and grows with
    `n_bins`: compare models on the same rows and bins only.

    References
    ----------
    Naeini, Cooper, Hauskrecht. Obtaining well calibrated probabilities using Bayesian binning. AAAI 2015.
    """
    probability, happened = np.asarray(probability, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    edges = np.quantile(probability, np.linspace(0.0, 1.0, n_bins + 1)[1:-1])
    which = np.searchsorted(edges, probability)
    gap = np.bincount(which, weights=probability - happened, minlength=n_bins)
    return float(np.abs(gap).sum() / probability.size)
