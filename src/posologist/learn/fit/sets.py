"""Sets of drugs: models of each drug's probability, and the set that is expected to agree best with what was given."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from posologist.learn.tasks.imitation import MISSING, Cells, Practice, amount

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FEWEST = 50
"""Patients with a drug below which it is not learned, and never predicted."""

_CONSIDERED = 8  # most probable drugs of a row among which sets are compared
_RARE = 0.01  # a category below this share of the training part has no column of its own
_TREES = {
    "n_estimators": 120, "learning_rate": 0.05, "num_leaves": 8, "min_child_samples": 40, "subsample": 0.8,
    "subsample_freq": 1, "colsample_bytree": 0.5, "max_bin": 63,
    "n_jobs": 1, "verbose": -1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip
_QUICK_TREES = {**_TREES, "n_estimators": 30, "learning_rate": 0.15}


@dataclass(frozen=True)
class Encoder:
    """Rows to numbers: amounts as they are (nan: missing), a column for each category that is not rare."""

    amounts: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]

    @classmethod
    def fit(cls, practice: Practice, rows: Sequence[Cells], *, more: Sequence[str] = ()) -> Encoder:
        """`more` are categories beyond those of the practice."""
        levels = {}
        for column in (*practice.categories, *more):
            found, count = np.unique([row[column] for row in rows], return_counts=True)
            levels[column] = tuple(str(v) for v in found[count >= _RARE * len(rows)] if str(v) not in MISSING)
        return cls(practice.amounts, levels)

    def __call__(self, rows: Sequence[Cells]) -> Array:
        numbers = np.array([[amount(row, column) for column in self.amounts] for row in rows])
        flags = [
            np.array([row[column] for row in rows])[:, None] == np.array(levels)
            for column, levels in self.levels.items()
            if levels
        ]
        return np.concatenate([numbers, *flags], axis=1, dtype=np.float64)


class Learner(Protocol):
    """Features and yes/no of one drug to its probability for others."""

    def __call__(self, features: Array, yes: BoolArray, asked: Array, *, seed: int, quick: bool) -> Array: ...


def by_regression(features: Array, yes: BoolArray, asked: Array, *, seed: int, quick: bool) -> Array:
    """Logistic regression with medians in the gaps."""
    from sklearn.linear_model import LogisticRegression

    known = np.isfinite(features).any(axis=0)
    middle = np.zeros(features.shape[1])
    middle[known] = np.nanmedian(features[:, known], axis=0)
    filled = np.where(np.isnan(features), middle, features)
    spread = filled.std(axis=0)
    spread[spread == 0.0] = 1.0
    mean = filled.mean(axis=0)
    model = LogisticRegression(C=0.05, max_iter=500).fit((filled - mean) / spread, yes)
    new = (np.where(np.isnan(asked), middle, asked) - mean) / spread
    return np.asarray(model.predict_proba(new)[:, 1])


def by_trees(features: Array, yes: BoolArray, asked: Array, *, seed: int, quick: bool) -> Array:
    """Boosted trees."""
    from lightgbm import LGBMClassifier

    settings: dict[str, Any] = _QUICK_TREES if quick else _TREES
    model = LGBMClassifier(random_state=seed % (2**31), **settings).fit(features, yes)
    with warnings.catch_warnings():  # scikit-learn's note on names of columns, which an array has not
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(model.predict_proba(asked))[:, 1]


def probabilities(
    learner: Learner, features: Array, given: BoolArray, asked: Array, *, seed: int, quick: bool
) -> Array:
    """Probability of each drug for the asked, (n, n_labels); 0 for a drug that is too rare to be learned."""
    found = np.zeros((len(asked), given.shape[1]))
    for j in range(given.shape[1]):
        yes = int(given[:, j].sum())
        if yes == len(given):
            found[:, j] = 1.0
        elif yes >= FEWEST:
            found[:, j] = learner(features, given[:, j], asked, seed=seed + j, quick=quick)
    return found


def jaccard(first: BoolArray, second: BoolArray) -> Array:
    """Share of the drugs of either set that are in both, (n,); 1 where both are empty."""
    both = (first & second).sum(axis=1)
    either = (first | second).sum(axis=1)
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def f1(first: BoolArray, second: BoolArray) -> Array:
    """Twice the drugs in both over the drugs in each, (n,); 1 where both are empty."""
    both = (first & second).sum(axis=1)
    all_ = first.sum(axis=1) + second.sum(axis=1)
    return np.where(all_ > 0, 2.0 * both / np.maximum(all_, 1), 1.0)


def best_set(probability: Array, *, never_empty: bool = False) -> tuple[BoolArray, Array]:
    """The set of largest expected Jaccard index, (n, n_labels), and that expectation, (n,).

    Sets are the k most probable drugs, for each k. Drugs are taken as independent; with `never_empty`, as independent
    given that there is at least one.
    """
    n, n_labels = probability.shape
    width = min(_CONSIDERED, n_labels)
    order = np.argsort(-probability, axis=1, kind="stable")
    top = np.clip(np.take_along_axis(probability, order, axis=1)[:, :width], 1e-9, 1.0 - 1e-9)
    outcome = (np.arange(2**width)[:, None] >> np.arange(width)) & 1  # each row one set that may be given
    weight = np.exp(np.log(top) @ outcome.T + np.log(1.0 - top) @ (1 - outcome).T)
    if never_empty:
        weight[:, 0] = 0.0
        weight /= weight.sum(axis=1, keepdims=True)
    size = outcome.sum(axis=1)
    expected = np.empty((n, width + 1))
    for k in range(width + 1):
        both = outcome[:, :k].sum(axis=1)
        either = k + size - both
        expected[:, k] = weight @ np.where(either > 0, both / np.maximum(either, 1), 1.0)
    taken = expected.argmax(axis=1)
    rank = np.argsort(order, axis=1, kind="stable")
    return rank < taken[:, None], expected.max(axis=1)


@dataclass(frozen=True)
class Told:
    """What a model says of the asked: the set, and the Jaccard index that it expects of it."""

    chosen: BoolArray
    expected: Array


def from_one(learner: Learner, features: Array, given: BoolArray, asked: Array, *, seed: int, quick: bool) -> Told:
    """Each drug by a model of its own."""
    return _told(probabilities(learner, features, given, asked, seed=seed, quick=quick), given)


def from_blend(features: Array, given: BoolArray, asked: Array, *, seed: int, quick: bool) -> Told:
    """The engine: each drug by the blend of trees and regression that fits best (log loss).

    The share of the trees is chosen on a fifth of the training part that neither had seen; then both learn from all.
    """
    share = _QUICK_SHARE if quick else _share_of_trees(features, given, seed=seed)
    blend = [
        part * probabilities(learner, features, given, asked, seed=seed, quick=quick)
        for learner, part in ((by_regression, 1.0 - share), (by_trees, share))
        if part > 0.0
    ]
    return _told(np.sum(blend, axis=0), given)


_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_QUICK_SHARE = 0.75


def _told(probability: Array, given: BoolArray) -> Told:
    return Told(*best_set(probability, never_empty=bool(given.any(axis=1).all())))


def _share_of_trees(features: Array, given: BoolArray, *, seed: int) -> float:
    aside = np.random.default_rng(seed).random(len(features)) < 0.2
    regression, trees = (
        probabilities(learner, features[~aside], given[~aside], features[aside], seed=seed, quick=False)
        for learner in (by_regression, by_trees)
    )
    misfit = [_log_loss((1.0 - share) * regression + share * trees, given[aside]) for share in _SHARES]
    return _SHARES[int(np.argmin(misfit))]


def _log_loss(probability: Array, given: BoolArray) -> float:
    own = np.clip(np.where(given, probability, 1.0 - probability), 1e-4, 1.0)
    return float(-np.log(own).mean())
