"""Residual error: how far a measured level may lie from the prediction, and what a level below the limit tells.

All forms but one are a variance that is a quadratic of the prediction f, var = q0 + q1 f + q2 f^2:

=====================  ==================================================
additive               a^2
proportional           b^2 f^2
combined-sd            (a + b f)^2 (the standard deviations add up)
combined-variance      a^2 + b^2 f^2 (the variances add up)
log                    ln y is normal around ln f, with a constant variance
=====================  ==================================================

A level below the limit of quantification enters with the probability that it is below (method M3).

References
----------
beal-2001: S. L. Beal, Ways to fit a PK model with some data below the quantification limit, J Pharmacokinet
Pharmacodyn 28:481 (method M3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from posologist.core.errors import KnowledgeError

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_FAR_BELOW = -30.0  # standard deviations from which the asymptotic series of the tail is exact to 2e-10
_erfc = np.frompyfunc(math.erfc, 1, 1)


class Residual(Protocol):
    """Error of one output."""

    @property
    def output(self) -> str:
        """What is measured."""

    @property
    def form(self) -> str:
        """One of the five forms."""

    @property
    def additive(self) -> float:
        """Standard deviation in the unit of the level."""

    @property
    def proportional(self) -> float:
        """Standard deviation as a part of the prediction; of ln(level) for the form "log"."""


@dataclass(frozen=True)
class ErrorModel:
    """Variance q0 + q1 f + q2 f^2 of each level, each array (n_levels,); `logarithmic` where f and y enter as ln."""

    q0: Array
    q1: Array
    q2: Array
    logarithmic: Flags

    def on_scale(self, values: Array) -> Array:
        """Predictions or levels (..., n_levels) on the scale where their error is normal."""
        if not self.logarithmic.any():
            return values
        return np.asarray(np.where(self.logarithmic, np.log(np.where(self.logarithmic, values, 1.0)), values))

    def variance(self, f: Array) -> Array:
        """Variance at predictions `f` (..., n_levels) on that scale."""
        return np.asarray(self.q0 + f * (self.q1 + f * self.q2))


class Misfit(NamedTuple):
    """-2 log likelihood of each level without constants, and its first two derivatives by the prediction.

    `expected` is the second derivative that is expected before the level is known; it is never negative.
    """

    value: Array
    slope: Array
    curvature: Array
    expected: Array


def error_model(residuals: Sequence[Residual], outputs: Sequence[str]) -> ErrorModel:
    """Error of levels that measure these outputs, in order.

    Raises
    ------
    KnowledgeError
        If the model has no error for an output, or a form is unknown.
    """
    by_output = {residual.output: _coefficients(residual) for residual in residuals}
    missing = sorted(set(outputs) - set(by_output))
    if missing:
        raise KnowledgeError(f"the model states no residual error for {', '.join(missing)}", hint="add it to the model")
    rows = np.array([by_output[output] for output in outputs], dtype=np.float64).reshape(-1, 4)
    return ErrorModel(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] > 0)


def _coefficients(residual: Residual) -> tuple[float, float, float, float]:
    a, b = residual.additive, residual.proportional
    forms = {
        "additive": (a * a, 0.0, 0.0, 0.0),
        "proportional": (0.0, 0.0, b * b, 0.0),
        "combined-sd": (a * a, 2.0 * a * b, b * b, 0.0),
        "combined-variance": (a * a, 0.0, b * b, 0.0),
        "log": (b * b, 0.0, 0.0, 1.0),
    }
    if residual.form not in forms:
        raise KnowledgeError(f"residual error '{residual.form}' is not known", hint=f"use one of {', '.join(forms)}")
    return forms[residual.form]


def objective(error: ErrorModel, f: Array, y: Array, below: Flags) -> Array:
    """-2 log likelihood without constants, (...,), of levels `y` at predictions `f`, both on the error's scale.

    Where `below` is true, `y` is the limit under which the level lies.
    """
    variance = error.variance(f)
    residual = y - f
    terms = residual * residual / variance + np.log(variance)
    if below.any():
        terms = np.where(below, -2.0 * log_normal_cdf(np.where(below, residual / np.sqrt(variance), 0.0)), terms)
    return np.asarray(terms.sum(axis=-1))


def misfit(error: ErrorModel, f: Array, y: Array, below: Flags) -> Misfit:
    """Terms of `objective`, level by level, with their derivatives by the prediction."""
    variance = error.variance(f)
    slope_of_variance = error.q1 + 2.0 * error.q2 * f
    residual = y - f
    relative = slope_of_variance / variance
    square = residual * residual / variance
    seen = Misfit(
        value=square + np.log(variance),
        slope=-2.0 * residual / variance + (1.0 - square) * relative,
        curvature=2.0 / variance
        + 4.0 * residual * relative / variance
        + (2.0 * square - 1.0) * relative**2
        + (1.0 - square) * 2.0 * error.q2 / variance,
        expected=2.0 / variance + relative**2,
    )
    if not below.any():
        return seen
    hidden = _hidden(error, residual, variance, slope_of_variance)
    return Misfit(*(np.where(below, ours, other) for ours, other in zip(hidden, seen, strict=True)))


def _hidden(error: ErrorModel, residual: Array, variance: Array, slope_of_variance: Array) -> Misfit:
    """-2 log P(level < limit) with its derivatives; u = (limit - f) / sd.

    A prediction without any error, as before the first dose, lies below the limit with certainty.
    """
    certain = (variance == 0) & (residual > 0)
    sd = np.where(certain, 1.0, np.sqrt(variance))
    u = residual / sd
    slope_of_sd = slope_of_variance / (2.0 * sd)
    curve_of_sd = error.q2 / sd - slope_of_sd**2 / sd
    du = -(1.0 + u * slope_of_sd) / sd
    d2u = -(2.0 * du * slope_of_sd + u * curve_of_sd) / sd
    log_probability = log_normal_cdf(u)
    hazard = np.exp(-0.5 * u * u - _HALF_LOG_TWO_PI - log_probability)
    bend = 2.0 * hazard * (hazard + u) * du * du
    terms = (-2.0 * log_probability, -2.0 * hazard * du, bend - 2.0 * hazard * d2u, bend)
    return Misfit(*(np.where(certain, 0.0, term) for term in terms))


def log_normal_cdf(u: Array) -> Array:
    """ln P(Z < u) of a standard normal Z, exact in both tails."""
    near = np.maximum(u, _FAR_BELOW)
    tail = 0.5 * np.asarray(_erfc(np.abs(near) / math.sqrt(2.0)), dtype=np.float64)
    close = np.where(near > 0, np.log1p(-np.minimum(tail, 0.5)), np.log(tail + (near > 0)))
    far = np.minimum(u, _FAR_BELOW)
    square = 1.0 / (far * far)
    series = np.log1p(-square * (1.0 - 3.0 * square * (1.0 - 5.0 * square)))
    return np.asarray(np.where(u > _FAR_BELOW, close, -0.5 * far * far - np.log(-far) - _HALF_LOG_TWO_PI + series))
