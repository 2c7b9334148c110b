"""Metrics that are means over values, with bootstrap intervals over patients.

A patient's values stay together in a resample, since the levels of one patient are not independent. Every metric is a
function of sums over values, so a resample is a row of patient counts times each patient's sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from posologist.core.evaluation import Interval

Array = npt.NDArray[np.float64]

_TAIL = 0.025  # 95 % intervals
F_BOUNDS = {"f20_percent": 20.0, "f30_percent": 30.0}
"""Percent errors within which a prediction counts as close."""


def resamples(n_patients: int, n_resamples: int, rng: np.random.Generator) -> Array:
    """How often each patient is in each resample, (n_resamples, n_patients); the first row is the sample itself."""
    drawn = rng.multinomial(n_patients, np.full(n_patients, 1.0 / n_patients), size=n_resamples)
    return np.concatenate([np.ones((1, n_patients)), drawn.astype(np.float64)])


def interval(values: Array) -> Interval:
    """Interval of a metric in the sample (first) and its resamples."""
    usable = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(usable, (_TAIL, 1.0 - _TAIL)) if usable.size else (None, None)
    value = float(values[0])
    return Interval(value=value, low=None if low is None else float(low), high=None if high is None else float(high))


def errors(predicted: Array, observed: Array) -> dict[str, Array]:
    """Contribution of each value to the prediction metrics; the mean over values (its root for "rmse") is the metric.

    mpe_percent is the mean of 100 (predicted - observed) / observed, mape_percent of its absolute value; f20_percent
    and f30_percent count absolute values up to 20 and 30; rmse is in the unit of the levels.
    """
    percent = 100.0 * (predicted - observed) / observed
    size = np.abs(percent)
    close = {name: 100.0 * (size <= bound) for name, bound in F_BOUNDS.items()}
    return {"mpe_percent": percent, "mape_percent": size, "rmse": (predicted - observed) ** 2, **close}


def means(parts: Mapping[str, Array], patient: npt.NDArray[np.int64], counts: Array) -> dict[str, Array]:
    """Each metric in each resample, (n_resamples,): mean over the values of the resample's patients."""
    n_patients = counts.shape[1]
    number = counts @ np.bincount(patient, minlength=n_patients)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            name: counts @ np.bincount(patient, weights=values, minlength=n_patients) / number
            for name, values in parts.items()
        }
    return {name: _FINISH.get(name, np.asarray)(values) for name, values in found.items()}


_FINISH: dict[str, Callable[[Array], Array]] = {"rmse": np.sqrt}


def spread(values: Array, patient: npt.NDArray[np.int64], counts: Array) -> Array:
    """Standard deviation (n in the denominator) of the values in each resample, (n_resamples,)."""
    moments = means({"first": values, "second": values * values}, patient, counts)
    return np.asarray(np.sqrt(np.maximum(moments["second"] - moments["first"] ** 2, 0.0)))
