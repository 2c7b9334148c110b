"""Inner splits of training rows, in which rows of one group (patient, site, exact duplicate) are never parted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_consistent_length

from posologist.learn.fit.network import Array, IntArray

BoolArray = npt.NDArray[np.bool_]

_SHARES = (0.2, 0.4, 0.6, 0.8)  # a number is stratified by its fifths


def group_numbers(groups: Any, n_rows: int) -> IntArray:
    """Groups numbered from 0; each row its own group where there are none."""
    if groups is None:
        return np.arange(n_rows)
    check_consistent_length(groups, np.empty(n_rows))
    return np.asarray(np.unique(np.asarray(groups), return_inverse=True)[1])


def fifths(target: Array) -> IntArray:
    """Stratum of a number: its fifth among the known values; -1 where it is not known."""
    known = np.isfinite(target)
    edges = np.quantile(target[known], _SHARES) if known.any() else np.zeros(0)
    return np.where(known, np.searchsorted(edges, np.where(known, target, 0.0)), -1)


def _ranked(groups: IntArray, stratum: IntArray, rng: np.random.RandomState) -> tuple[IntArray, list[IntArray]]:
    """Group number of each row, and the groups of each stratum (that of their first row) in random order."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    own = stratum[first]
    return group, [rng.permutation(np.flatnonzero(own == value)) for value in np.unique(own)]


def held_out(groups: IntArray, stratum: IntArray, *, fraction: float, rng: np.random.RandomState) -> BoolArray:
    """Rows held out of a fit: whole groups, about `fraction` of the groups of each stratum."""
    group, strata = _ranked(groups, stratum, rng)
    chosen = np.zeros(group.max() + 1, dtype=bool)
    for members in strata:
        chosen[members[: round(fraction * members.size)]] = True
    return np.asarray(chosen[group])


def fold_of(groups: IntArray, stratum: IntArray, *, n_folds: int, rng: np.random.RandomState) -> IntArray:
    """Number of the fold of each row, 0 to n_folds - 1: whole groups, each stratum spread evenly."""
    group, strata = _ranked(groups, stratum, rng)
    if group.max() + 1 < n_folds:
        raise ValueError(f"n_samples = {len(groups)} in {group.max() + 1} group(s): too few for {n_folds} folds")
    fold = np.empty(group.max() + 1, dtype=np.int64)
    order = np.concatenate(strata)
    fold[order] = np.arange(order.size) % n_folds
    return np.asarray(fold[group])
