"""Which columns carry the prediction: importance on rows held out, the LASSO path, stability selection, components.

Everything here belongs inside the training part of a fold. Impurity importance is not offered: it favours columns with
many values and is read off the training rows (Strobl et al. BMC Bioinformatics 2007;8:25).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectorMixin
from sklearn.linear_model import LogisticRegression, Ridge, lasso_path
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from posologist.learn.fit.folds import fifths, fold_of, group_numbers
from posologist.learn.fit.models import (
    GRIDS,
    Kind,
    Settings,
    TunedClassifier,
    TunedRegressor,
    fitted,
    margin_of,
)
from posologist.learn.fit.network import Array, IntArray

BoolArray = npt.NDArray[np.bool_]

_STEPS, _STRIDE = 60, 6  # penalties of the LASSO path, and how many are solved at a time
_LEAST_PENALTY = 0.02  # the last penalty, as a share of the first


@dataclass(frozen=True)
class Importance:
    """Rise of the loss on rows held out when a block of columns is shuffled there.

    `rise` has shape (n_folds, n_blocks); `mean` is over the folds. Near zero, or below: the model does not need it.
    """

    rise: Array

    @property
    def mean(self) -> Array:
        return np.asarray(self.rise.mean(axis=0))


def held_out_importance(
    name: Literal["forest", "lightgbm"],
    kind: Kind,
    rows: Any,
    y: Any,
    *,
    blocks: Sequence[Sequence[int]] | None = None,
    groups: Any = None,
    n_folds: int = 5,
    n_repeats: int = 3,
    seed: int = 0,
) -> Importance:
    """Permutation importance of a forest or of LightGBM, each fold's model on the rows it was not fitted on.

    Parameters
    ----------
    y
        0 or 1 for classification, else a number.
    blocks
        Columns that are shuffled together (those of one coded variable); None: each column by itself.

    References
    ----------
    Breiman. Random forests. Machine Learning 2001;45:5-32, section 10.
    """
    x, target = np.asarray(rows, dtype=np.float64), np.asarray(y, dtype=np.float64)
    rng = check_random_state(seed)
    together = [[j] for j in range(x.shape[1])] if blocks is None else [list(block) for block in blocks]
    estimator, settings = GRIDS[kind][name]
    start = clone(estimator).set_params(**settings[len(settings) // 2])
    group = group_numbers(groups, len(x))
    stratum = target.astype(np.int64) if kind == "classification" else fifths(target)
    fold = fold_of(group, stratum, n_folds=n_folds, rng=rng)
    rise = np.zeros((n_folds, len(together)))
    for number in range(n_folds):
        out = fold == number
        model = fitted(start, x[~out], target[~out], weight=None, groups=None, seed=seed)
        whole = _loss(model, x[out], target[out])
        for j, block in enumerate(together):
            for _ in range(n_repeats):
                shuffled = x[out]
                shuffled[:, block] = shuffled[rng.permutation(len(shuffled))][:, block]
                rise[number, j] += (_loss(model, shuffled, target[out]) - whole) / n_repeats
    return Importance(rise)


def _loss(model: Any, x: Array, y: Array) -> float:
    margin = margin_of(model, x)
    if is_classifier(model):
        return float((np.logaddexp(0.0, margin) - y * margin).mean())
    return float(((margin - y) ** 2).mean())


@dataclass(frozen=True)
class LassoPath:
    """Columns in the order in which they enter the LASSO as its penalty falls; coefficients per standard deviation.

    `order` lists the columns that enter at all; `penalties` has shape (n_penalties,), falling; `coefficients` has shape
    (n_columns, n_penalties).

    References
    ----------
    Tibshirani. Regression shrinkage and selection via the lasso. J R Stat Soc B 1996;58:267-288.
    """

    order: IntArray
    penalties: Array
    coefficients: Array


def lasso(rows: Any, y: Any, *, at_least: int | None = None) -> LassoPath:
    """LASSO path of a number or a 0/1 outcome (by squared error) on standardised columns; flat columns never enter.

    With `at_least` the path ends once so many columns have entered.
    """
    x, target = np.asarray(rows, dtype=np.float64), np.asarray(y, dtype=np.float64)
    spread = x.std(axis=0)
    scaled = np.where(spread > 0.0, (x - x.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0), 0.0)
    centred = target - target.mean()
    most = np.abs(scaled.T @ centred).max() / len(x)
    if not most > 1e-12 * max(target.std(), 1e-300):
        return LassoPath(np.zeros(0, dtype=np.int64), np.zeros(1), np.zeros((x.shape[1], 1)))
    penalties = np.geomspace(most, _LEAST_PENALTY * most, _STEPS)
    gram, moment = scaled.T @ scaled, scaled.T @ centred
    parts: list[Array] = []
    for some in np.split(penalties, _STEPS // _STRIDE):
        start = parts[-1][:, -1] if parts else None
        options = {"precompute": gram, "Xy": moment, "coef_init": start, "max_iter": 5000}
        parts.append(lasso_path(scaled, centred, alphas=some, **options)[1])
        if at_least is not None and (parts[-1][:, -1] != 0.0).sum() >= at_least:
            break
    coefficients = np.concatenate(parts, axis=1)
    penalties = penalties[: coefficients.shape[1]]
    entered = np.abs(coefficients) > 0.0
    first = np.where(entered.any(axis=1), entered.argmax(axis=1), len(penalties))
    size = np.abs(coefficients[np.arange(x.shape[1]), np.minimum(first, len(penalties) - 1)])
    order = np.lexsort((-size, first))
    return LassoPath(order[: int((first < len(penalties)).sum())], penalties, coefficients)


class StabilitySelection(SelectorMixin, BaseEstimator):
    """Columns that are among the first to enter the LASSO in most random halves of the patients.

    With q columns taken in each half, p columns in all and threshold pi > 1/2, at most q^2 / ((2 pi - 1) p) columns are
    expected to be selected wrongly (theorem 1 below, whose exchangeability assumption is not testable); q is the
    greatest for which this is at most `false_selections`.

    Parameters
    ----------
    false_selections
        Bound of the expected number of columns selected wrongly.
    threshold
        Share of the halves in which a selected column is taken.
    n_resamples
        Random halves; taken in pairs, each with its complement.

    Attributes
    ----------
    probability_ : Array
        Share of the halves in which each column was taken.
    n_taken_ : int
        q.
    bound_ : float
        Bound of the expected number of columns selected wrongly, at q.

    References
    ----------
    Meinshausen, Buehlmann. Stability selection. J R Stat Soc B 2010;72:417-473, theorem 1.
    Shah, Samworth. Variable selection with error control. J R Stat Soc B 2013;75:55-80 (complementary pairs).
    """

    def __init__(
        self,
        *,
        false_selections: float = 1.0,
        threshold: float = 0.75,
        n_resamples: int = 50,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.false_selections = false_selections
        self.threshold = threshold
        self.n_resamples = n_resamples
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Select; y is a number or 0/1; a half holds whole groups."""
        if not 0.5 < self.threshold <= 1.0:
            raise ValueError(f"threshold={self.threshold!r}: must be above 0.5 and at most 1")
        rows, target = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=4)
        target = np.asarray(target, dtype=np.float64)
        n_columns = rows.shape[1]
        room = self.false_selections * (2.0 * self.threshold - 1.0) * n_columns
        self.n_taken_ = int(np.clip(np.floor(np.sqrt(room)), 1, n_columns))
        self.bound_ = float(self.n_taken_**2 / ((2.0 * self.threshold - 1.0) * n_columns))
        rng = check_random_state(self.random_state)
        group = group_numbers(groups, len(rows))
        taken = np.zeros(n_columns)
        n_pairs = -(-self.n_resamples // 2)
        for _ in range(n_pairs):
            half = fold_of(group, np.zeros(len(rows), dtype=np.int64), n_folds=2, rng=rng)
            for number in (0, 1):
                path = lasso(rows[half == number], target[half == number], at_least=self.n_taken_)
                taken[path.order[: self.n_taken_]] += 1.0
        self.probability_ = taken / (2 * n_pairs)
        return self

    def _get_support_mask(self) -> BoolArray:
        check_is_fitted(self, "probability_")
        return np.asarray(self.probability_ >= self.threshold)


_COMPONENTS: tuple[Settings, ...] = (
    {"components": "passthrough"},
    *({"components": PCA(share)} for share in (0.6, 0.8, 0.95)),
)


def linear_on_components(kind: Kind, *, seed: int, n_folds: int = 4) -> TunedClassifier | TunedRegressor:
    """Linear model on principal components where they help: inner folds choose the share of variance kept, or no cut.

    The setting kept is `settings_`; "passthrough" says that components did not help.
    """
    last = LogisticRegression(max_iter=1000) if kind == "classification" else Ridge()
    steps = Pipeline([("scale", StandardScaler()), ("components", PCA()), ("linear", last)])
    tuned = TunedClassifier if kind == "classification" else TunedRegressor
    return tuned(steps, _COMPONENTS, n_folds=n_folds, random_state=seed)
