"""What each feature adds to an output: Shapley's value against the training-typical patient, over the whole model.

A feature is told by giving the patient's value in place of the typical one, together with its mask, so both are one
part. With few features that differ all coalitions are computed and the value is exact; with more, each permutation
and its reverse (antithetic) are walked, and the parts still add up exactly, since each walk leads from the typical
patient to this one. Permutations are fixed by the schema: the same patient has the same parts in every run, alone or
beside others. All rows of all patients are one batch.

References
----------
shapley-1953; mitchell-2022 (permutations).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from posologist.learn.features import Array, Index
from posologist.twin.randomness import generator_for

EXACT = 6  # features that differ, up to which all coalitions are computed (64 rows)
ROWS = 240  # rows of one patient's walks: five patients stay within the time of one answer
_KEPT = 64  # permutations drawn for a schema, of which as many are walked as fit


@dataclass(frozen=True)
class Shares:
    """Output of the typical patient, and of each row its parts (n, p) and output (n,): base + parts = output."""

    base: float
    parts: Array
    output: Array


@dataclass(frozen=True)
class _Plan:
    """Coalitions (rows, p) of one patient, and the weight of each in each part (rows, p)."""

    told: npt.NDArray[np.bool_]
    weights: Array


def shapley(
    output: Callable[[Array], Array], rows: Array, typical: Array, *, differs: npt.NDArray[np.bool_], seed: str
) -> Shares:
    """Shapley values of the features of each row.

    Parameters
    ----------
    output
        From raw rows (n, p), NaN where not known, to the number explained (n,).
    rows, typical
        Patients (n, p) and the training-typical patient (p,).
    differs
        Which features of a row can change the output against the typical patient, (n, p).
    seed
        Text that fixes the permutations, such as the digest of the schema.
    """
    plans = [_plan(tuple(np.flatnonzero(row).tolist()), rows.shape[1], seed) for row in differs]
    batch = [np.where(plan.told, row, typical) for plan, row in zip(plans, rows, strict=True)]
    values = output(np.concatenate([typical.reshape(1, -1), *batch]))
    parts = np.zeros(rows.shape)
    outputs = np.empty(len(rows))
    start = 1
    for i, plan in enumerate(plans):
        told = values[start : start + len(plan.told)]
        parts[i] = plan.weights.T @ told
        outputs[i] = told[-1]
        start += len(plan.told)
    return Shares(float(values[0]), parts, outputs)


@lru_cache(maxsize=512)
def _plan(active: tuple[int, ...], width: int, seed: str) -> _Plan:
    """Coalitions of a patient whose features `active` differ; the last row tells all of them."""
    coalitions, weights = _exact(len(active)) if len(active) <= EXACT else _walks(active, width, seed)
    told = np.zeros((len(coalitions), width), dtype=bool)
    told[:, list(active)] = coalitions
    spread = np.zeros((len(coalitions), width))
    spread[:, list(active)] = weights
    return _Plan(told, spread)


def _exact(m: int) -> tuple[npt.NDArray[np.bool_], Array]:
    """All 2^m coalitions and Shapley's weights."""
    coalitions = (np.arange(2**m).reshape(-1, 1) >> np.arange(m)) & 1 == 1
    size = coalitions.sum(axis=1)
    joined = np.array([0.0] + [1.0 / (m * math.comb(m - 1, s - 1)) for s in range(1, m + 1)])[size]
    absent = np.array([-1.0 / (m * math.comb(m - 1, s)) for s in range(m)] + [0.0])[size]
    return coalitions, np.where(coalitions, joined[:, None], absent[:, None])


def _walks(active: tuple[int, ...], width: int, seed: str) -> tuple[npt.NDArray[np.bool_], Array]:
    """Coalitions along fixed permutations and their reverses, without repeats, and the mean steps' weights."""
    m = len(active)
    pairs = min(_KEPT, max(1, ROWS // (2 * (m - 1))))
    number: dict[bytes, int] = {}
    coalitions: list[npt.NDArray[np.bool_]] = []
    steps: list[tuple[int, int, int]] = []
    place = {feature: k for k, feature in enumerate(active)}
    for permutation in _permutations(width, seed)[:pairs]:
        order = [place[feature] for feature in permutation if feature in place]
        for walk in (order, order[::-1]):
            told = np.zeros(m, dtype=bool)
            before = _row(told, number, coalitions)
            for feature in walk:
                told[feature] = True
                after = _row(told, number, coalitions)
                steps.append((feature, before, after))
                before = after
    weights = np.zeros((len(coalitions), m))
    for feature, before, after in steps:
        weights[after, feature] += 1.0 / (2 * pairs)
        weights[before, feature] -= 1.0 / (2 * pairs)
    return _last(coalitions, weights, number[np.ones(m, dtype=bool).tobytes()])


def _row(told: npt.NDArray[np.bool_], number: dict[bytes, int], coalitions: list[npt.NDArray[np.bool_]]) -> int:
    key = told.tobytes()
    if key not in number:
        number[key] = len(coalitions)
        coalitions.append(told.copy())
    return number[key]


def _last(coalitions: list[npt.NDArray[np.bool_]], weights: Array, whole: int) -> tuple[npt.NDArray[np.bool_], Array]:
    """The same with the coalition of all features in the last row."""
    order = [k for k in range(len(coalitions)) if k != whole] + [whole]
    return np.array(coalitions)[order], weights[order]


@lru_cache(maxsize=32)
def _permutations(width: int, seed: str) -> tuple[tuple[int, ...], ...]:
    rng = generator_for("contributions", seed)
    return tuple(tuple(map(int, rng.permutation(width))) for _ in range(_KEPT))


def order_by_size(parts: Array) -> Index:
    """Features by the size of their part, the largest first; ties in the order of the schema."""
    return np.argsort(-np.abs(parts), kind="stable")
