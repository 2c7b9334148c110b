"""What a patient may expect without regard to the arm, and three ways to learn how the arms differ between patients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_PENALTIES = np.logspace(0, 6, 13)
_TREES: dict[str, Any] = {
    "n_estimators": 80,
    "learning_rate": 0.06,
    "num_leaves": 12,
    "subsample": 0.8,
    "subsample_freq": 1,
}
_GAIN_TREES: dict[str, Any] = {
    "n_estimators": 30,
    "learning_rate": 0.05,
    "num_leaves": 4,
    "subsample": 0.8,
    "subsample_freq": 1,
}
_LIGHT: dict[str, Any] = {"n_jobs": 1, "verbose": -1, "deterministic": True, "force_row_wise": True}


class Randomised(Protocol):
    """Patients of a trial; see `posologist.learn.fit.policy.Drawn`."""

    @property
    def features(self) -> Array: ...
    @property
    def arm(self) -> IntArray: ...
    @property
    def outcome(self) -> Array: ...
    @property
    def probability(self) -> Array: ...


@dataclass(frozen=True)
class Filled:
    """Features with medians of the training part in the gaps, standardised."""

    median: Array
    mean: Array
    spread: Array

    @classmethod
    def fit(cls, features: Array) -> Filled:
        known = np.isfinite(features).any(axis=0)
        median = np.zeros(features.shape[1])
        median[known] = np.nanmedian(features[:, known], axis=0)
        filled = np.where(np.isnan(features), median, features)
        spread = filled.std(axis=0)
        return cls(median, filled.mean(axis=0), np.where(spread > 0.0, spread, 1.0))

    def __call__(self, features: Array) -> Array:
        filled = np.where(np.isnan(features), self.median, features)
        return np.asarray((filled - self.mean) / self.spread)


@dataclass(frozen=True)
class Prognosis:
    """Expected outcome of a patient: the mean of a ridge regression and of boosted trees."""

    fill: Filled
    linear: Any
    trees: Any | None

    @classmethod
    def fit(cls, features: Array, outcome: Array, *, seed: int, quick: bool = False) -> Prognosis:
        fill = Filled.fit(features)
        trees = None if quick else _boosted(features, outcome, seed=seed, **_TREES)
        return cls(fill, _ridge(fill(features), outcome), trees)

    def predict(self, features: Array) -> Array:
        linear = np.asarray(self.linear.predict(self.fill(features)))
        return linear if self.trees is None else 0.5 * (linear + self.trees(features))


@dataclass(frozen=True)
class Expected:
    """Expected outcome under each arm: one prognosis for all, moved by each arm's mean difference."""

    prognosis: Prognosis
    moved: Array

    def expected(self, features: Array) -> Array:
        return np.asarray(self.prognosis.predict(features)[:, None] + self.moved)


def fit_prognosis(drawn: Randomised, *, seed: int, quick: bool = False) -> Expected:
    """One model for all arms: it learns the outcome from every patient, and leaves the differences to the gains."""
    n_arms = len(drawn.probability)
    own_mean = np.array([drawn.outcome[drawn.arm == a].mean() for a in range(n_arms)])
    level = own_mean - own_mean @ drawn.probability
    prognosis = Prognosis.fit(drawn.features, drawn.outcome - level[drawn.arm], seed=seed, quick=quick)
    return Expected(prognosis, level)


@dataclass(frozen=True)
class Gains:
    """Worth of each arm for a patient, up to what is common to all arms; `mean` is its mean in the training part."""

    mean: Array
    predict: Callable[[Array], Array]


Learner = Callable[[Array, Array, Expected, int], Gains]
"""Features, scores of the arms, expected outcome, seed."""


def _linear(features: Array, scores: Array, expected: Expected, seed: int) -> Gains:
    """Each feature moves each arm's worth, one penalty for all, chosen by leave-one-out error."""
    fill = Filled.fit(features)
    own, mean = _centred(scores)
    model = _ridge(fill(features), own - mean)
    return Gains(mean, lambda asked: mean + np.asarray(model.predict(fill(asked))))


def _by_prognosis(features: Array, scores: Array, expected: Expected, seed: int) -> Gains:
    """The gain is a parabola of the patient's expected outcome: who is worse off may gain more."""

    def basis(asked: Array) -> Array:
        outlook = expected.prognosis.predict(asked)
        return np.stack([outlook, outlook**2], axis=1)

    known = basis(features)
    fill = Filled.fit(known)
    own, mean = _centred(scores)
    model = _ridge(fill(known), own - mean)
    return Gains(mean, lambda asked: mean + np.asarray(model.predict(fill(basis(asked)))))


def _by_trees(features: Array, scores: Array, expected: Expected, seed: int) -> Gains:
    """Small boosted trees for each arm, slow and with large leaves."""
    own, mean = _centred(scores)
    leaf = max(20, len(features) // 40)
    models = [
        _boosted(features, column, seed=seed, min_child_samples=leaf, reg_lambda=10.0, **_GAIN_TREES)
        for column in (own - mean).T
    ]
    return Gains(mean, lambda asked: mean + np.stack([model(asked) for model in models], axis=1))


FAMILIES: Mapping[str, Learner] = {"linear": _linear, "prognosis": _by_prognosis, "trees": _by_trees}
"""Ways to learn gains, from the stiffest to the most pliable within each kind."""


def _centred(scores: Array) -> tuple[Array, Array]:
    """Scores less what is common to a patient's arms, and their mean by arm."""
    own = scores - scores.mean(axis=1, keepdims=True)
    return own, own.mean(axis=0)


def _ridge(features: Array, target: Array) -> Any:
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=_PENALTIES).fit(features, target)


def _boosted(features: Array, target: Array, *, seed: int, **settings: Any) -> Callable[[Array], Array]:
    from lightgbm import LGBMRegressor

    model = LGBMRegressor(random_state=seed % (2**31), **_LIGHT, **settings).fit(features, target)

    def predict(asked: Array) -> Array:
        with warnings.catch_warnings():  # scikit-learn's note on names of columns, which an array has not
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return np.asarray(model.predict(asked))

    return predict
