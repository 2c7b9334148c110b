"""Support vector machines with what a fair comparison needs: scaled inputs, probabilities, a bound on the rows."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from posologist.learn.fit.calibrate import fit_platt
from posologist.learn.fit.folds import fold_of, group_numbers
from posologist.learn.fit.network import Array, IntArray

_PLATT_FOLDS = 4


class _SupportVectors(BaseEstimator):
    """What the two machines share."""

    def _scaled(self, rows: Array) -> Array:
        self.scaler_ = StandardScaler().fit(rows)
        spread = self.scaler_.transform(rows).var()
        self.gamma_ = self.reach / (rows.shape[1] * spread) if spread > 0.0 else 1.0
        return np.asarray(self.scaler_.transform(rows))

    def _drawn(self, n_rows: int, rng: np.random.RandomState) -> IntArray:
        """The rows that are fitted: all, or `most_rows` of them drawn at random."""
        if n_rows <= self.most_rows:
            return np.arange(n_rows)
        return np.sort(rng.permutation(n_rows)[: self.most_rows])

    def _value(self, X: Any) -> Array:
        check_is_fitted(self, "machine_")
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        scaled = self.scaler_.transform(rows)
        machine = self.machine_
        return np.asarray(machine.decision_function(scaled) if isinstance(machine, SVC) else machine.predict(scaled))


class SupportVectorClassifier(ClassifierMixin, _SupportVectors):
    """Radial support vector machine for two classes; log odds by Platt from margins of folds that it was not fitted on.

    Parameters
    ----------
    C
        Cost of a row on the wrong side.
    reach
        The kernel's gamma times the number of columns; scikit-learn's "scale" is 1.
    most_rows
        More rows than these are thinned at random, since the time grows with the square of their number.
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        reach: float = 1.0,
        most_rows: int = 4000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.C = C
        self.reach = reach
        self.most_rows = most_rows
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit; rows of the same group are never parted by the folds of Platt's calibration."""
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, happened = np.unique(labels, return_inverse=True)
        if self.classes_.size != 2:
            found = "there is only one class" if self.classes_.size < 2 else f"y has {self.classes_.size} classes"
            raise ValueError(f"Only binary classification is supported: two classes are needed and {found}")
        rng = check_random_state(self.random_state)
        group = group_numbers(groups, len(rows))
        drawn = self._drawn(len(rows), rng)
        scaled, happened, group = self._scaled(rows[drawn]), happened[drawn], group[drawn]
        weight = _check_sample_weight(sample_weight, rows, dtype=np.float64)[drawn]
        margins = np.empty(len(scaled))
        fold = fold_of(group, happened, n_folds=min(_PLATT_FOLDS, np.unique(group).size), rng=rng)
        for number in np.unique(fold):
            out = fold == number
            if np.unique(happened[~out]).size < 2:
                raise ValueError("too few rows of one class: some fold leaves only one class to fit")
            margins[out] = self._machine(scaled[~out], happened[~out], weight[~out]).decision_function(scaled[out])
        self.platt_ = fit_platt(margins, happened, weight)
        self.machine_ = self._machine(scaled, happened, weight)
        return self

    def _machine(self, scaled: Array, happened: IntArray, weight: Array) -> SVC:
        return SVC(C=self.C, gamma=self.gamma_).fit(scaled, happened, sample_weight=weight)

    def decision_function(self, X: Any) -> Array:
        """Log odds of the second class, shape (n_rows,)."""
        value = self._value(X)
        return self.platt_.slope * value + self.platt_.intercept

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, shape (n_rows, 2)."""
        value = self._value(X)
        yes = self.platt_.probability(value)
        return np.stack([1.0 - yes, yes], axis=1)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Most probable class of each row."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[chosen])


class SupportVectorRegressor(RegressorMixin, _SupportVectors):
    """Radial support vector regression of the scaled target; parameters as in `SupportVectorClassifier`.

    `epsilon`, the error that costs nothing, is in standard deviations of the target.
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        reach: float = 1.0,
        epsilon: float = 0.1,
        most_rows: int = 4000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.C = C
        self.reach = reach
        self.epsilon = epsilon
        self.most_rows = most_rows
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit."""
        rows, target = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        drawn = self._drawn(len(rows), check_random_state(self.random_state))
        scaled, target = self._scaled(rows[drawn]), np.asarray(target, dtype=np.float64)[drawn]
        weight = _check_sample_weight(sample_weight, rows, dtype=np.float64)[drawn]
        self.shift_, self.spread_ = float(target.mean()), float(target.std()) or 1.0
        machine = SVR(C=self.C, gamma=self.gamma_, epsilon=self.epsilon)
        self.machine_ = machine.fit(scaled, (target - self.shift_) / self.spread_, sample_weight=weight)
        return self

    def predict(self, X: Any) -> Array:
        """Predicted numbers, shape (n_rows,)."""
        value = self._value(X)
        return value * self.spread_ + self.shift_
