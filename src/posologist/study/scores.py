"""Metrics of predictions: of an amount, and of the probability of a yes/no outcome.

Each is either what every row adds to a mean, or a function of row weights (`blocks.Part`); both are evaluated over
whole batches of resamples. Rows without outcome or without prediction are not counted.

References
----------
vickers-2006: A. Vickers and E. Elkin, Decision curve analysis, Med Decis Making 26:565 (net benefit).
cox-1958: D. Cox, Two further applications of a model for binary regression, Biometrika 45:562 (calibration slope).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from posologist.study.blocks import Array, BoolArray, Part, Resampled, Scored

CLOSE = 0.2  # a predicted dose within 20 % of the outcome counts as close
LOGIT_BOUND = 1e-6  # probabilities are kept this far from 0 and 1 before their logit is taken
_NEWTON_STEPS = 12


def amount_metrics(target: Array, scored: Scored, unit: str) -> dict[str, Part]:
    """Metrics of a predicted amount; `unit` ends the names of those that have one.

    Absolute error, share within 20 % of the outcome, absolute percent error, squared error, coverage and width of the
    90 % interval where the method gives one, and slope and intercept of the outcome on the prediction.
    """
    error = scored.value - target
    size = np.abs(error)
    found: dict[str, Part] = {
        f"mae_{unit}": size,
        "within_20_percent": _percent(size <= CLOSE * target + 1e-9, size),
        "mape_percent": 100.0 * size / target,
        "mse": error**2,
    }
    if scored.low is not None and scored.high is not None:
        inside = (scored.low <= target) & (target <= scored.high)
        found["coverage_90_percent"] = _percent(inside, scored.high - scored.low + target)
        found[f"width_90_{unit}"] = np.where(np.isfinite(target), scored.high - scored.low, np.nan)
    slope, intercept = line(scored.value, target)
    return {**found, "calibration_slope": slope, f"calibration_intercept_{unit}": intercept}


def probability_metrics(
    target: Array, scored: Scored, thresholds: Sequence[float] = (), cut: float = 0.5
) -> dict[str, Part]:
    """Metrics of the probability of an outcome that is 1 or 0.

    The yes or no behind accuracy, precision, recall and F1 is `scored.decision` where the method has its own cut,
    else a probability of at least `cut`. `thresholds` are probabilities at which the net benefit is asked.
    """
    decision = scored.decision if scored.decision is not None else scored.value >= cut
    known = np.isfinite(target) & np.isfinite(scored.value)
    slope, intercept = logistic_line(scored.value, target)
    return {
        "auc": auc(scored.value, target),
        "brier": (scored.value - target) ** 2,
        "accuracy_percent": np.where(known, 100.0 * (decision == (target == 1)), np.nan),
        **decisions(decision, target, known),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        **{
            f"net_benefit_{100 * threshold:g}_percent": net_benefit(scored.value, target, threshold)
            for threshold in thresholds
        },
    }


def decisions(decision: BoolArray, target: Array, known: BoolArray) -> dict[str, Part]:
    """Balanced accuracy, precision and recall in percent, and F1, of yes/no decisions."""
    yes, positive = decision & known, (target == 1) & known
    negative = (target == 0) & known

    def balanced(weights: Array) -> Array:
        sensitivity = _ratio(weights, yes & positive, positive)
        return np.asarray(50.0 * (sensitivity + _ratio(weights, ~decision & negative, negative)))

    def f1(weights: Array) -> Array:
        return _share(
            2.0 * (weights @ (yes & positive)), weights @ yes.astype(float) + weights @ positive.astype(float)
        )

    return {
        "balanced_accuracy_percent": balanced,
        "precision_percent": lambda weights: 100.0 * _ratio(weights, yes & positive, yes),
        "recall_percent": lambda weights: 100.0 * _ratio(weights, yes & positive, positive),
        "f1": f1,
    }


def net_benefit(probability: Array, target: Array, threshold: float) -> Array:
    """What each row adds to the net benefit of treating at `threshold`, (n,) (vickers-2006)."""
    treated = probability >= threshold
    odds = threshold / (1.0 - threshold)
    worth = np.where(target == 1, 1.0, -odds)
    return np.where(np.isfinite(target) & np.isfinite(probability), treated * worth, np.nan)


def auc(score: Array, target: Array) -> Resampled:
    """Area under the ROC curve: how often a positive row has the higher score, ties as half."""
    known = np.flatnonzero(np.isfinite(target) & np.isfinite(score))
    order = known[np.argsort(score[known], kind="stable")]
    ordered = score[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if order.size else np.zeros(0, dtype=np.int64)
    positive = target[order] == 1

    def area(weights: Array) -> Array:
        if not starts.size:
            return np.full(len(weights), np.nan)
        own = weights[:, order]
        above = np.add.reduceat(own * positive, starts, axis=1)
        below = np.add.reduceat(own * ~positive, starts, axis=1)
        won = (above * (np.cumsum(below, axis=1) - 0.5 * below)).sum(axis=1)
        return _share(won, above.sum(axis=1) * below.sum(axis=1))

    return area


def line(predicted: Array, target: Array) -> tuple[Resampled, Resampled]:
    """Slope and intercept of the least-squares line of outcome on prediction; 1 and 0 for a calibrated method."""
    known = np.isfinite(predicted) & np.isfinite(target)
    x, y = np.where(known, predicted, 0.0), np.where(known, target, 0.0)
    sums = np.stack([known.astype(float), x, y, x * x, x * y], axis=1)

    def slope(weights: Array) -> Array:
        n, sx, sy, sxx, sxy = (weights @ sums).T
        return _share(n * sxy - sx * sy, n * sxx - sx * sx)

    def intercept(weights: Array) -> Array:
        n, sx, sy, _, _ = (weights @ sums).T
        return _share(sy - slope(weights) * sx, n)

    return slope, intercept


def logistic_line(probability: Array, target: Array) -> tuple[Resampled, Resampled]:
    """Calibration slope (of the outcome on the logit) and intercept at slope 1 (cox-1958)."""
    known = np.flatnonzero(np.isfinite(probability) & np.isfinite(target))
    bounded = np.clip(probability[known], LOGIT_BOUND, 1.0 - LOGIT_BOUND)
    logit, y = np.log(bounded / (1.0 - bounded)), target[known]

    def slope(weights: Array) -> Array:
        return _logistic(weights[:, known], logit, y)

    def intercept(weights: Array) -> Array:
        return _shift(weights[:, known], logit, y)

    return slope, intercept


def _logistic(weights: Array, x: Array, y: Array) -> Array:
    """Slope of a weighted logistic regression on one variable, in each resample, by Newton's method."""
    if x.size == 0 or np.ptp(x) == 0:
        return np.full(len(weights), np.nan)
    a, b = np.zeros(len(weights)), np.ones(len(weights))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(_NEWTON_STEPS):
            p = 1.0 / (1.0 + np.exp(-np.clip(a[:, None] + b[:, None] * x, -30.0, 30.0)))
            left, curve = weights * (y - p), weights * p * (1.0 - p)
            ga, gb = left.sum(axis=1), left @ x
            haa, hab, hbb = curve.sum(axis=1), curve @ x, curve @ (x * x)
            det = haa * hbb - hab * hab
            step_a, step_b = (hbb * ga - hab * gb) / det, (haa * gb - hab * ga) / det
            a, b = a + step_a, b + step_b
            if np.nanmax(np.abs(np.r_[step_a, step_b]), initial=0.0) < 1e-9:
                break
    return np.where(np.abs(b) < 1e3, b, np.nan)


def _shift(weights: Array, x: Array, y: Array) -> Array:
    """Intercept at slope 1 of a weighted logistic regression, in each resample, by Newton's method."""
    a = np.zeros(len(weights))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(_NEWTON_STEPS):
            p = 1.0 / (1.0 + np.exp(-np.clip(a[:, None] + x, -30.0, 30.0)))
            step = (weights * (y - p)).sum(axis=1) / (weights * p * (1.0 - p)).sum(axis=1)
            a = a + np.clip(step, -2.0, 2.0)
            if np.nanmax(np.abs(step), initial=0.0) < 1e-9:
                break
    return np.where(np.abs(a) < 20.0, a, np.nan)


def weighted_mean(values: Array) -> Callable[[Array], Array]:
    """Mean of the rows that have a value, in each resample."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    return lambda weights: _share(weights @ filled, weights @ known.astype(float))


def _percent(condition: BoolArray, known: Array) -> Array:
    """100 where true, 0 where false, nan where `known` is nan."""
    return np.where(np.isfinite(known), 100.0 * condition, np.nan)


def _ratio(weights: Array, part: BoolArray, whole: BoolArray) -> Array:
    return _share(weights @ part.astype(float), weights @ whole.astype(float))


def _share(part: Array, whole: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole != 0, part / whole, np.nan))
