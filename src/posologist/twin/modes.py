"""The summits of a patient's posterior: levels may have more than one explanation.

Slow absorption with fast elimination and the reverse ("flip-flop") can fit the same levels. A descent from the typical
patient finds one of them, and not always the likelier one; draws around it alone would miss the other and look precise.
Here the descent is repeated from a few patients spread over the population.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from posologist.twin.individual import Array
from posologist.twin.levels import Problem
from posologist.twin.map import Local, Optimum, minimise_from
from posologist.twin.randomness import generator_for, normal_draws

_STARTS = 8  # patients from which the descent is repeated
_SPREAD = 1.5  # their standard deviation, in that of the population
_SAME = 1e-6  # difference of the objective that is no difference
_APART = 1.0  # distance (local standard deviations) from which a summit counts as another one
_RELEVANT = 20.0  # a summit whose objective is higher by more (a density below 1/20,000 of the best) is left out


def summits(problem: Problem, first: Optimum) -> Optimum:
    """Distinct summits of one patient's posterior, the highest first, `first` among them where it is relevant.

    Parameters
    ----------
    problem
        One patient.
    first
        Where the descent from the typical patient ended.
    """
    n_scores = first.scores.shape[1]
    if not n_scores:
        return first
    starts = _starts(n_scores)
    found = _joined(first, minimise_from(problem, np.zeros(len(starts), dtype=int), starts))
    values = np.where(found.converged & np.isfinite(found.local.value), found.local.value, np.inf)
    if values[0] <= values.min() + _SAME:
        values[0] = -np.inf
    lowest = float(found.local.value[np.argmin(values)])
    kept: list[int] = []
    for i in np.argsort(values, kind="stable"):
        if values[i] <= lowest + _RELEVANT and all(_are_apart(found, int(i), k) for k in kept):
            kept.append(int(i))
    return found.where(np.array(kept))


@lru_cache(maxsize=32)
def _starts(n_scores: int) -> Array:
    return _SPREAD * normal_draws(_STARTS, n_scores, generator_for("summits")).T


def _are_apart(found: Optimum, i: int, k: int) -> bool:
    away = found.scores[i] - found.scores[k]
    return bool(away @ found.local.expected[k] @ away > 2.0 * _APART**2)


def _joined(one: Optimum, other: Optimum) -> Optimum:
    return Optimum(
        np.concatenate([one.scores, other.scores]),
        Local(*(np.concatenate(pair) for pair in zip(one.local, other.local, strict=True))),
        np.concatenate([one.iterations, other.iterations]),
        np.concatenate([one.converged, other.converged]),
    )
