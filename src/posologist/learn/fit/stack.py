"""Stacking: several models, weighed by how well their margins predict rows that they were not fitted on.

Margins (predicted numbers, or log odds) come from inner folds that keep groups together. `founding_stack` is logistic
regression + decision tree + support vector machine under a logistic regression. `best_stack` blends all plain models
with weights that are not negative, drawn a little towards equal shares.

References
----------
Wolpert. Stacked generalization. Neural Networks 1992;5:241-259.
Breiman. Stacked regressions. Machine Learning 1996;24:49-64 (weights that are not negative).
van der Laan, Polley, Hubbard. Super learner. Stat Appl Genet Mol Biol 2007;6:25.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from posologist.learn.fit.folds import fifths, fold_of, group_numbers
from posologist.learn.fit.models import (
    NAMES,
    Error,
    Kind,
    Name,
    TunedClassifier,
    TunedRegressor,
    fitted,
    margin_of,
    plain_model,
)
from posologist.learn.fit.network import Array, IntArray

Blender = Literal["free", "nonnegative"]
Loss = Literal["log", "squared", "absolute"]
Named = tuple[str, Any]

_FOUNDING: tuple[Name, ...] = ("linear", "tree", "svm")
_ROUNDING = 1e-3  # absolute loss is rounded off this close to 0, in standard deviations of the target


@dataclass(frozen=True)
class Blend:
    """margin = intercept + weights @ component margins."""

    intercept: float
    weights: tuple[float, ...]

    def __call__(self, margins: Array) -> Array:
        return np.asarray(self.intercept + margins @ np.array(self.weights))


def blend(
    margins: Array,
    target: Array,
    *,
    loss: Loss,
    blender: Blender = "nonnegative",
    shrink: float = 1.0,
    weight: Array | None = None,
) -> Blend:
    """Weights of least loss on margins of rows that the components were not fitted on.

    Parameters
    ----------
    margins
        Out-of-fold margins, shape (n_rows, n_components).
    target
        0 or 1 with the log loss, else a number.
    blender
        "nonnegative" holds every weight at 0 or more.
    shrink
        Pull of the weights towards equal shares, as a number of rows' worth; keeps nearly equal components stable.
    """
    n_components = margins.shape[1]
    weight = np.ones(len(target)) if weight is None else weight
    weight = weight / weight.sum()
    shift, scale = (0.0, 1.0) if loss == "log" else (float(weight @ target), float(target.std()) or 1.0)
    x, y = (margins - shift) / scale, (target - shift) / scale
    equal = 1.0 / n_components

    def total(beta: Array) -> tuple[float, Array]:
        value = beta[0] + x @ beta[1:]
        size, slope = _loss(loss, value, y)
        away = beta[1:] - equal
        slope = weight * slope
        pull = shrink / len(y)
        gradient = np.concatenate([[slope.sum()], x.T @ slope + 2.0 * pull * away])
        return float(weight @ size + pull * away @ away), gradient

    least = 0.0 if blender == "nonnegative" else None
    start = np.concatenate([[0.0], np.full(n_components, equal)])
    bounds = [(None, None)] + [(least, None)] * n_components
    beta = minimize(total, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 500}).x
    return Blend(float(beta[0] * scale + shift * (1.0 - beta[1:].sum())), tuple(float(w) for w in beta[1:]))


def _loss(loss: Loss, value: Array, target: Array) -> tuple[Array, Array]:
    """Loss of each row, and its slope in the value."""
    if loss == "log":
        return np.logaddexp(0.0, value) - target * value, expit(value) - target
    gap = value - target
    if loss == "squared":
        return gap**2, 2.0 * gap
    size = np.sqrt(gap**2 + _ROUNDING**2)
    return size, gap / size


class _Stack(BaseEstimator):
    """What the two stacks share; parameters as in `StackClassifier`."""

    def _stack(self, rows: Array, y: npt.NDArray[Any], stratum: IntArray, weight: Array | None, groups: Any) -> Array:
        """Fit the components on all rows; their margins of each row from a fit without its fold.

        A tuned component keeps in the folds the setting that all rows chose.
        """
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(2**31 - 1))
        fold = fold_of(group_numbers(groups, len(rows)), stratum, n_folds=self.n_folds, rng=rng)
        named = self._named()
        self.names_ = tuple(name for name, _ in named)
        self.estimators_ = [fitted(each, rows, y, weight=weight, groups=groups, seed=seed) for _, each in named]
        margins = np.empty((len(rows), len(named)))
        for number in range(self.n_folds):
            out = fold == number
            own_weight = None if weight is None else weight[~out]
            own_groups = None if groups is None else np.asarray(groups)[~out]
            for j, component in enumerate(self.estimators_):
                plain = component.estimator_ if isinstance(component, TunedClassifier | TunedRegressor) else component
                again = fitted(plain, rows[~out], y[~out], weight=own_weight, groups=own_groups, seed=seed)
                margins[out, j] = margin_of(again, rows[out])
        return margins

    def _named(self) -> Sequence[Named]:
        if self.estimators is not None:
            return list(self.estimators)
        return [(name, plain_model(name, self._kind, seed=0, quick=True)) for name in _FOUNDING]

    def component_margins(self, X: Any) -> Array:
        """Margins of the components, shape (n_rows, n_components), in the order of `names_`."""
        check_is_fitted(self, "blend_")
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        return np.stack([margin_of(each, rows) for each in self.estimators_], axis=1)

    def margin(self, X: Any) -> Array:
        """Margin of the blend, shape (n_rows,)."""
        margins = self.component_margins(X)
        return self.blend_(margins)


class StackClassifier(ClassifierMixin, _Stack):
    """A stack for a yes/no outcome.

    Parameters
    ----------
    estimators
        (name, classifier) of each component; None: the founding three, untuned.
    blender, shrink
        As in `blend`.
    n_folds
        Inner folds of the margins; rows of a group (given to `fit`) are never parted.

    Attributes
    ----------
    blend_ : Blend
    names_ : tuple of str
    estimators_ : list of fitted components
    """

    _kind: Kind = "classification"

    def __init__(
        self,
        estimators: Sequence[Named] | None = None,
        *,
        blender: Blender = "nonnegative",
        shrink: float = 1.0,
        n_folds: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimators = estimators
        self.blender = blender
        self.shrink = shrink
        self.n_folds = n_folds
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit components and blend."""
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, happened = np.unique(labels, return_inverse=True)
        if self.classes_.size != 2:
            found = "there is only one class" if self.classes_.size < 2 else f"y has {self.classes_.size} classes"
            raise ValueError(f"Only binary classification is supported: two classes are needed and {found}")
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, rows, dtype=np.float64)
        margins = self._stack(rows, happened, happened, weight, groups)
        self.blend_ = blend(
            margins, happened.astype(float), loss="log", blender=self.blender, shrink=self.shrink, weight=weight
        )
        return self

    def decision_function(self, X: Any) -> Array:
        """Log odds of the second class, shape (n_rows,)."""
        return self.margin(X)

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, shape (n_rows, 2)."""
        yes = expit(self.margin(X))
        return np.stack([1.0 - yes, yes], axis=1)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Most probable class of each row."""
        chosen = (self.margin(X) > 0.0).astype(np.int64)
        return np.asarray(self.classes_[chosen])


class StackRegressor(RegressorMixin, _Stack):
    """A stack for a number; `error` is what the blend makes least, the other parameters as in `StackClassifier`."""

    _kind: Kind = "regression"

    def __init__(
        self,
        estimators: Sequence[Named] | None = None,
        *,
        blender: Blender = "nonnegative",
        error: Error = "squared",
        shrink: float = 1.0,
        n_folds: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimators = estimators
        self.blender = blender
        self.error = error
        self.shrink = shrink
        self.n_folds = n_folds
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit components and blend."""
        rows, target = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        target = np.asarray(target, dtype=np.float64)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, rows, dtype=np.float64)
        margins = self._stack(rows, target, fifths(target), weight, groups)
        self.blend_ = blend(margins, target, loss=self.error, blender=self.blender, shrink=self.shrink, weight=weight)
        return self

    def predict(self, X: Any) -> Array:
        """Predicted numbers, shape (n_rows,)."""
        return self.margin(X)


def founding_stack(kind: Kind, *, seed: int, quick: bool = False) -> StackClassifier | StackRegressor:
    """The founding stack: a linear model, a tree and a support vector machine under a linear model."""
    named = [(name, plain_model(name, kind, seed=seed, quick=quick)) for name in _FOUNDING]
    if kind == "classification":
        return StackClassifier(named, blender="free", random_state=seed)
    return StackRegressor(named, blender="free", random_state=seed)


def best_stack(
    kind: Kind, *, seed: int, quick: bool = False, error: Error = "squared"
) -> StackClassifier | StackRegressor:
    """All plain models, tuned, under weights that are not negative; `quick` leaves out the forest and the tuning."""
    names = [name for name in NAMES if name != "tree" and not (quick and name == "forest")]
    named = [(name, plain_model(name, kind, seed=seed, quick=quick, error=error)) for name in names]
    if kind == "classification":
        return StackClassifier(named, random_state=seed)
    return StackRegressor(named, error=error, random_state=seed)
