"""Levels against simulated patients: coverage, normalised prediction distribution errors, predictive check.

References
----------
brendel-2006: K. Brendel et al., Metrics for external model evaluation with an application to the population
pharmacokinetics of gliclazide, Pharm Res 23:2036 (NPDE).
bergstrand-2011: M. Bergstrand et al., Prediction-corrected visual predictive checks for diagnosing nonlinear
mixed-effects models, AAPS J 13:143.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from posologist.core.errors import NumericsError
from posologist.core.evaluation import CheckBin

Array = npt.NDArray[np.float64]

PERCENTILES = (5.0, 50.0, 95.0)
_MOST_BINS, _LEVELS_PER_BIN = 8, 12
_JITTER = 1e-12  # share of the variance added where simulated levels of a patient are fully correlated
_normal_score = np.frompyfunc(NormalDist().inv_cdf, 1, 1)


def covered(simulated: Array, observed: Array, level: float = 0.9) -> npt.NDArray[np.bool_]:
    """Whether each observed level, (n_levels,), lies in the central interval of its simulations, (n, n_levels)."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(simulated, (tail, 1.0 - tail), axis=0)
    return np.asarray((observed >= low) & (observed <= high))


def npde(simulated: Array, observed: Array) -> Array:
    """Normalised prediction distribution errors of one patient's levels, (n_levels,); standard normal if all is right.

    Levels and simulations, (n_draws, n_levels), are decorrelated with the simulations' mean and covariance; the share
    of simulations below each level, kept off 0 and 1 by half a draw, becomes a normal score.

    Raises
    ------
    NumericsError
        If a level is the same in all simulations.
    """
    mean = simulated.mean(axis=0)
    covariance = np.atleast_2d(np.cov(simulated, rowvar=False))
    try:
        root = np.linalg.cholesky(covariance + np.diag(_JITTER * np.diag(covariance)))
    except np.linalg.LinAlgError as error:
        raise NumericsError("simulated levels do not vary", hint="check the model's residual error") from error
    own = np.linalg.solve(root, observed - mean)
    others = np.linalg.solve(root, (simulated - mean).T).T
    n = simulated.shape[0]
    share = np.clip((others < own).mean(axis=0), 0.5 / n, 1.0 - 0.5 / n)
    return np.asarray(_normal_score(share), dtype=np.float64)


def predictive_check(times: Array, observed: Array, typical: Array, simulated: Array) -> tuple[CheckBin, ...]:
    """Prediction-corrected percentiles in bins of about equally many levels.

    Each level and simulation is multiplied with the median of the typical predictions in its bin over its own typical
    prediction, so that doses and covariates do not blur the bin.

    Parameters
    ----------
    times
        Of the levels (h), (n_levels,).
    simulated
        Simulated data sets, (n_draws, n_levels).
    """
    found = []
    for rows in _bins(times):
        factor = np.median(typical[rows]) / typical[rows]
        own = np.percentile(observed[rows] * factor, PERCENTILES)
        drawn = np.percentile(simulated[:, rows] * factor, PERCENTILES, axis=1)
        low, middle, high = np.percentile(drawn, (2.5, 50.0, 97.5), axis=1)
        found.append(
            CheckBin(
                start=float(times[rows].min()), end=float(times[rows].max()), levels=len(rows),
                observed=_floats(own), simulated=_floats(middle), low=_floats(low), high=_floats(high),
            )
        )  # fmt: skip
    return tuple(found)


def _bins(times: Array) -> list[npt.NDArray[np.intp]]:
    """Rows of each bin; equal times share a bin."""
    wanted = max(1, min(_MOST_BINS, len(times) // _LEVELS_PER_BIN))
    edges = np.unique(np.quantile(times, np.arange(1, wanted) / wanted))
    place = np.searchsorted(edges, times, side="left")
    return [rows for n in range(len(edges) + 1) if (rows := np.flatnonzero(place == n)).size]


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
