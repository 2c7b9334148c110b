"""The plain models in one place, each tuned on inner folds that keep groups together.

`plain_model("svm", "classification", seed=0)` is an estimator whose `fit(X, y, groups=...)` tries a small grid of
settings on inner folds and keeps the one with the least log loss (classes) or mean squared or absolute error
(numbers). With `quick` the middle of the grid is taken untried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from lightgbm import LGBMClassifier, LGBMRegressor
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from posologist.learn.fit.folds import fifths, fold_of, group_numbers
from posologist.learn.fit.mlp import NetworkClassifier, NetworkRegressor
from posologist.learn.fit.network import Array, IntArray
from posologist.learn.fit.svm import SupportVectorClassifier, SupportVectorRegressor

Kind = Literal["regression", "classification"]
Name = Literal["linear", "tree", "svm", "forest", "lightgbm", "network"]
NAMES: tuple[Name, ...] = ("linear", "tree", "svm", "forest", "lightgbm", "network")
Error = Literal["squared", "absolute"]
Settings = Mapping[str, Any]

_LEAST_PROBABILITY = 1e-3  # a tree's leaf of one class is no certainty: its log odds end here


def fitted(estimator: Any, rows: Array, y: Any, *, weight: Array | None, groups: Any, seed: int) -> Any:
    """A fitted copy of an estimator, given the weights, groups and seed that it can use."""
    copy = clone(estimator)
    unseeded = [name for name, value in copy.get_params().items() if name.endswith("random_state") and value is None]
    copy.set_params(**dict.fromkeys(unseeded, seed))
    last = copy.steps[-1][1] if isinstance(copy, Pipeline) else copy
    prefix = f"{copy.steps[-1][0]}__" if isinstance(copy, Pipeline) else ""
    offered = {"sample_weight": weight, "groups": groups}
    known = signature(last.fit).parameters
    if weight is not None and "sample_weight" not in known:
        raise ValueError(f"{type(last).__name__} cannot weigh rows; fit it without sample_weight")
    taken = {prefix + name: value for name, value in offered.items() if value is not None and name in known}
    return copy.fit(rows, y, **taken)


def margin_of(estimator: Any, rows: Array) -> Array:
    """Margin of a fitted estimator: predicted number, or log odds of the second of two classes."""
    if not is_classifier(estimator):
        return np.asarray(estimator.predict(rows), dtype=np.float64)
    probability = np.clip(estimator.predict_proba(rows)[:, 1], _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    return np.asarray(logit(probability))


class _Tuned(BaseEstimator):
    """What the two tuned estimators share."""

    def _tune(self, rows: Array, y: npt.NDArray[Any], stratum: IntArray, weight: Array | None, groups: Any) -> None:
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(2**31 - 1))
        start = self.estimator if self.estimator is not None else self._plain()
        settings = [dict(one) for one in self.settings] or [{}]
        self.losses_ = np.zeros(len(settings))
        if len(settings) > 1:
            fold = fold_of(group_numbers(groups, len(rows)), stratum, n_folds=self.n_folds, rng=rng)
            for number in range(self.n_folds):
                self.losses_ += self._losses(start, settings, rows, y, weight, groups, fold == number, seed)
            self.losses_ /= len(rows)
        self.settings_ = settings[int(self.losses_.argmin())]
        chosen = clone(start).set_params(**self.settings_)
        self.estimator_ = fitted(chosen, rows, y, weight=weight, groups=groups, seed=seed)

    def _losses(
        self,
        start: Any,
        settings: Sequence[Settings],
        rows: Array,
        y: npt.NDArray[Any],
        weight: Array | None,
        groups: Any,
        out: npt.NDArray[np.bool_],
        seed: int,
    ) -> Array:
        """Loss on the rows held out, summed over them, of each setting."""
        own_weight = None if weight is None else weight[~out]
        own_groups = None if groups is None else np.asarray(groups)[~out]
        found = []
        for one in settings:
            trial = clone(start).set_params(**one)
            trial = fitted(trial, rows[~out], y[~out], weight=own_weight, groups=own_groups, seed=seed)
            loss = self._loss(trial, rows[out], y[out])
            found.append(loss.sum() if weight is None else loss @ weight[out])
        return np.array(found)

    def _rows(self, X: Any) -> Array:
        check_is_fitted(self, "estimator_")
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float64))


class TunedClassifier(ClassifierMixin, _Tuned):
    """A classifier with the setting of least log loss on inner folds.

    Parameters
    ----------
    estimator
        What is tuned; None: logistic regression.
    settings
        Settings to try, each a mapping of the estimator's parameters; a single one is taken untried.
    n_folds
        Inner folds; rows of a group (given to `fit`) are never parted.

    Attributes
    ----------
    estimator_ : the estimator with the setting kept, fitted on all rows
    settings_ : dict
    losses_ : Array
        Mean loss of each setting on the rows held out.
    """

    def __init__(
        self,
        estimator: Any = None,
        settings: Sequence[Settings] = (),
        *,
        n_folds: int = 4,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.settings = settings
        self.n_folds = n_folds
        self.random_state = random_state

    def _plain(self) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression())

    def _loss(self, trial: Any, rows: Array, y: npt.NDArray[Any]) -> Array:
        probability = np.full((len(rows), self.classes_.size), _LEAST_PROBABILITY)
        at = np.searchsorted(self.classes_, trial.classes_)
        probability[:, at] = np.clip(trial.predict_proba(rows), _LEAST_PROBABILITY, 1.0)
        return -np.log(probability[np.arange(len(rows)), np.searchsorted(self.classes_, y)])

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Choose the setting on inner folds, then fit it on all rows."""
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, stratum = np.unique(labels, return_inverse=True)
        if self.classes_.size < 2:
            raise ValueError("TunedClassifier needs two classes in y; there is only one class")
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, rows, dtype=np.float64)
        self._tune(rows, labels, stratum, weight, groups)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, shape (n_rows, n_classes)."""
        rows = self._rows(X)
        return np.asarray(self.estimator_.predict_proba(rows))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Most probable class of each row."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[chosen])


class TunedRegressor(RegressorMixin, _Tuned):
    """A regressor with the setting of least mean `error` on inner folds; else as `TunedClassifier`."""

    def __init__(
        self,
        estimator: Any = None,
        settings: Sequence[Settings] = (),
        *,
        error: Error = "squared",
        n_folds: int = 4,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.settings = settings
        self.error = error
        self.n_folds = n_folds
        self.random_state = random_state

    def _plain(self) -> Any:
        return make_pipeline(StandardScaler(), Ridge())

    def _loss(self, trial: Any, rows: Array, y: npt.NDArray[Any]) -> Array:
        gap = np.abs(trial.predict(rows) - y)
        return gap**2 if self.error == "squared" else gap

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Choose the setting on inner folds, then fit it on all rows."""
        rows, target = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        target = np.asarray(target, dtype=np.float64)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, rows, dtype=np.float64)
        self._tune(rows, target, fifths(target), weight, groups)
        return self

    def predict(self, X: Any) -> Array:
        """Predicted numbers, shape (n_rows,)."""
        rows = self._rows(X)
        return np.asarray(self.estimator_.predict(rows), dtype=np.float64)


_BOOSTING: dict[str, Any] = {
    "learning_rate": 0.05,
    "min_child_samples": 20,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
    "reg_lambda": 1.0,
    "n_jobs": 1,
    "verbose": -1,
    "deterministic": True,
    "force_col_wise": True,
}
_NETWORKS: tuple[Settings, ...] = (
    {"hidden": (32, 32), "dropout": 0.1},
    {"hidden": (64, 64), "dropout": 0.2},
    {"hidden": (64, 64), "dropout": 0.4, "weight_decay": 0.1},
    {"hidden": (96,), "dropout": 0.2, "activation": "relu"},
)
_LEAVES: tuple[Settings, ...] = tuple({"min_samples_leaf": leaf, "max_depth": 8} for leaf in (100, 50, 25, 12))
_FORESTS: tuple[Settings, ...] = tuple(
    {"min_samples_leaf": leaf, "max_features": share} for leaf in (3, 10) for share in ("sqrt", 0.4)
)
_BOOSTS: tuple[Settings, ...] = tuple(
    {"num_leaves": leaves, "n_estimators": trees} for leaves in (4, 8, 16) for trees in (80, 200)
)
GRIDS: Mapping[Kind, Mapping[Name, tuple[Any, tuple[Settings, ...]]]] = MappingProxyType(
    {
        "classification": {
            "linear": (
                make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
                tuple({"logisticregression__C": c} for c in (0.003, 0.03, 0.3, 3.0)),
            ),
            "tree": (DecisionTreeClassifier(), _LEAVES),
            "svm": (SupportVectorClassifier(), tuple({"C": c, "reach": g} for c in (0.3, 3.0) for g in (0.3, 1.0))),
            "forest": (RandomForestClassifier(n_estimators=150, n_jobs=1), _FORESTS),
            "lightgbm": (LGBMClassifier(**_BOOSTING), _BOOSTS),
            "network": (NetworkClassifier(), _NETWORKS),
        },
        "regression": {
            "linear": (
                make_pipeline(StandardScaler(), Ridge()),
                tuple({"ridge__alpha": alpha} for alpha in (1.0, 10.0, 100.0, 1000.0)),
            ),
            "tree": (DecisionTreeRegressor(), _LEAVES),
            "svm": (SupportVectorRegressor(), tuple({"C": c, "reach": g} for c in (0.3, 3.0) for g in (0.3, 1.0))),
            "forest": (RandomForestRegressor(n_estimators=150, n_jobs=1), _FORESTS),
            "lightgbm": (LGBMRegressor(**_BOOSTING), _BOOSTS),
            "network": (NetworkRegressor(), _NETWORKS),
        },
    }
)
"""Estimator and settings to try of each plain model."""


def plain_model(
    name: Name, kind: Kind, *, seed: int, quick: bool = False, error: Error = "squared", n_folds: int = 4
) -> TunedClassifier | TunedRegressor:
    """An unfitted plain model with its inner tuning.

    Parameters
    ----------
    quick
        The middle setting of the grid, untried.
    error
        What a regression is tuned for; "absolute" also makes LightGBM and the network fit the median.
    """
    estimator, settings = GRIDS[kind][name]
    tried = (settings[len(settings) // 2],) if quick else settings
    if kind == "classification":
        return TunedClassifier(clone(estimator), tried, n_folds=n_folds, random_state=seed)
    estimator = clone(estimator)
    if error == "absolute" and name == "lightgbm":
        estimator.set_params(objective="mae")
    if error == "absolute" and name == "network":
        estimator.set_params(loss="absolute")
    return TunedRegressor(estimator, tried, error=error, n_folds=n_folds, random_state=seed)
