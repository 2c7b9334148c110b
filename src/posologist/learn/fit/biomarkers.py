"""Which markers go with the outcome, at a stated false-discovery rate, and what the genome adds at all.

Two safeguards: p-values adjusted for covariates under Benjamini and Hochberg's control, and a negative control in which
the genomes are dealt to other patients, all else fixed: then the gain of the genome must vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from posologist.learn.fit.calibrate import logistic
from posologist.learn.fit.folds import fifths, fold_of, group_numbers
from posologist.learn.fit.models import Kind, fitted, margin_of
from posologist.learn.fit.network import Array, IntArray

BoolArray = npt.NDArray[np.bool_]

_FLAT = 1e-10  # share of a marker's sum of squares left by the covariates below which there is nothing to test


@dataclass(frozen=True)
class Discovery:
    """Effect size, p-value and adjusted p-value of each marker, and which are found.

    `effect` is the partial correlation for a number, the score statistic's log odds per unit for a yes/no outcome; nan
    with p-value 1 where a marker does not vary beyond the covariates.
    """

    effect: Array
    p_value: Array
    q_value: Array
    found: BoolArray


def adjusted(p_value: Array) -> Array:
    """Benjamini and Hochberg's adjusted p-values: found at false-discovery rate q are those up to q.

    Holds for independent and for positively dependent tests (Benjamini, Yekutieli. Ann Stat 2001;29:1165-1188).

    References
    ----------
    Benjamini, Hochberg. Controlling the false discovery rate. J R Stat Soc B 1995;57:289-300.
    """
    order = np.argsort(p_value)
    n = len(p_value)
    raw = p_value[order] * n / np.arange(1, n + 1)
    found = np.empty(n)
    found[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return found


def discover(
    markers: Any, outcome: Any, *, kind: Kind, covariates: Any = None, false_discovery_rate: float = 0.1
) -> Discovery:
    """Markers that go with the outcome beyond the covariates.

    A number is tested by its partial correlation with each marker, a yes/no outcome (0 or 1) by the score test of
    logistic regression. One row per patient: rows of one patient are not independent.

    Parameters
    ----------
    markers
        Shape (n_rows, n_markers), without missing values.
    covariates
        Shape (n_rows, n_covariates): age, sex, ancestry, site; None: only the mean.
    """
    x = np.asarray(markers, dtype=np.float64)
    y = np.asarray(outcome, dtype=np.float64)
    one = np.ones((len(y), 1))
    z = one if covariates is None else np.concatenate([one, np.asarray(covariates, dtype=np.float64)], axis=1)
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(z).all()):
        raise ValueError("markers, outcome and covariates must be known: impute or leave rows out first")
    effect, p_value = _correlations(x, y, z) if kind == "regression" else _scores(x, y, z)
    q_value = adjusted(p_value)
    return Discovery(effect, p_value, q_value, q_value <= false_discovery_rate)


def _left(values: Array, covariates: Array) -> Array:
    """What the covariates do not explain."""
    basis, _ = np.linalg.qr(covariates)
    return values - basis @ (basis.T @ values)


def _correlations(x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    own, target = _left(x, z), _left(y, z)
    size = (own**2).sum(axis=0)
    flat = size <= _FLAT * np.maximum((x**2).sum(axis=0), 1e-300)
    degrees = len(y) - np.linalg.matrix_rank(z) - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.clip(target @ own / np.sqrt(size * (target @ target)), -1.0, 1.0)
        p = 2.0 * student.sf(np.abs(r) * np.sqrt(degrees / (1.0 - r**2)), degrees)
    return np.where(flat, np.nan, r), np.where(flat | np.isnan(r), 1.0, p)


def _scores(x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    p = expit(z @ logistic(z, y, np.ones(len(y))))
    root = np.sqrt(p * (1.0 - p))[:, None]
    own = _left(x * root, z * root)
    score, variance = (y - p) @ x, (own**2).sum(axis=0)
    flat = variance <= _FLAT * np.maximum((x**2).sum(axis=0), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = score / np.sqrt(variance)
        effect = score / variance
    return np.where(flat, np.nan, effect), np.where(flat, 1.0, 2.0 * norm.sf(np.abs(statistic)))


def dealt_anew(rows: Array, block: Any, *, rng: np.random.RandomState, groups: Any = None, within: Any = None) -> Array:
    """Rows with the block of columns (the genome) dealt to other patients as a whole; all other columns stay.

    Parameters
    ----------
    block
        Columns that move together.
    groups
        Patient of each row; the rows of a patient get the same genome, that of another patient's first row.
    within
        Stratum of each row (ancestry, site): genomes are dealt within it, so that what is left is what the genome says
        beyond the stratum. None: over all patients.
    """
    group = group_numbers(groups, len(rows))
    _, first = np.unique(group, return_index=True)
    stratum = np.zeros(len(rows), dtype=np.int64) if within is None else group_numbers(within, len(rows))
    giver = np.arange(first.size)
    for value in np.unique(stratum[first]):
        own = np.flatnonzero(stratum[first] == value)
        giver[own] = rng.permutation(own)
    moved = rows.copy()
    columns = np.asarray(block)
    moved[:, columns] = rows[first[giver[group]]][:, columns]
    return moved


@dataclass(frozen=True)
class BlockGain:
    """What a block of columns adds: the fall of the loss on rows held out.

    `chance` are the gains of blocks dealt anew; `p_value` the share of gains, the real one among them, that are at
    least as great as the real one. `own` and `dealt`, shape (n_rows,), are each row's gain and its mean over the deals:
    their means are `gain` and that of `chance`.
    """

    gain: float
    chance: tuple[float, ...]
    p_value: float
    own: Array
    dealt: Array


def gain_of_block(
    estimator: Any,
    rows: Any,
    y: Any,
    block: Any,
    *,
    groups: Any = None,
    within: Any = None,
    n_permutations: int = 19,
    n_folds: int = 5,
    seed: int = 0,
) -> BlockGain:
    """Gain of a block in an estimator, beside its gain when dealt to other patients (the negative control).

    Loss is log loss (outcome 0 or 1) or mean squared error, on folds that keep groups together.
    """
    x, target = np.asarray(rows, dtype=np.float64), np.asarray(y, dtype=np.float64)
    rng = check_random_state(seed)
    group = group_numbers(groups, len(x))
    stratum = target.astype(np.int64) if is_classifier(estimator) else fifths(target)
    fold = fold_of(group, stratum, n_folds=n_folds, rng=rng)
    others = np.setdiff1d(np.arange(x.shape[1]), np.asarray(block))
    without = _held_out_losses(estimator, x[:, others], target, group, fold, seed)
    own = without - _held_out_losses(estimator, x, target, group, fold, seed)
    gain, chance, dealt = float(own.mean()), [], np.zeros(len(x))
    for _ in range(n_permutations):
        moved = dealt_anew(x, block, rng=rng, groups=group, within=within)
        gains = without - _held_out_losses(estimator, moved, target, group, fold, seed)
        chance.append(float(gains.mean()))
        dealt += gains / n_permutations
    at_least = sum(value >= gain for value in chance)
    return BlockGain(gain, tuple(chance), (1 + at_least) / (1 + n_permutations), own, dealt)


def _held_out_losses(estimator: Any, x: Array, y: Array, group: IntArray, fold: IntArray, seed: int) -> Array:
    """Loss of each row by the model of the other folds."""
    found = np.empty(len(y))
    for number in np.unique(fold):
        out = fold == number
        margin = margin_of(fitted(estimator, x[~out], y[~out], weight=None, groups=group[~out], seed=seed), x[out])
        if is_classifier(estimator):
            found[out] = np.logaddexp(0.0, margin) - y[out] * margin
        else:
            found[out] = (margin - y[out]) ** 2
    return found
