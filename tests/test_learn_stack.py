"""Stacks and the plain models beneath them: scikit-learn estimators, honest folds, weights that are not negative."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from posologist.learn.fit.folds import fold_of
from posologist.learn.fit.models import GRIDS, NAMES, TunedClassifier, TunedRegressor, plain_model
from posologist.learn.fit.stack import StackClassifier, StackRegressor, best_stack, blend, founding_stack
from posologist.learn.fit.svm import SupportVectorClassifier, SupportVectorRegressor

_WEIGHTED = "the folds and the scaling count rows, so a row of weight two is not two rows"


def _planned(estimator: object) -> dict[str, str]:
    if isinstance(estimator, TunedClassifier):
        return {}
    kinds = ("dense", "sparse")
    return {f"check_sample_weight_equivalence_on_{kind}_data": _WEIGHTED for kind in kinds}


_CLASSIFIERS = [("linear", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3))]
_REGRESSORS = [("linear", LinearRegression()), ("tree", DecisionTreeRegressor(max_depth=3))]


@parametrize_with_checks(
    [
        SupportVectorClassifier(random_state=0),
        SupportVectorRegressor(random_state=0),
        TunedClassifier(LogisticRegression(), [{"C": 0.1}, {"C": 10.0}], n_folds=2, random_state=0),
        TunedRegressor(Ridge(), [{"alpha": 0.1}, {"alpha": 10.0}], n_folds=2, random_state=0),
        StackClassifier(_CLASSIFIERS, n_folds=2, random_state=0),
        StackRegressor(_REGRESSORS, n_folds=2, random_state=0),
    ],
    expected_failed_checks=_planned,
)
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def _rows(rng, n=400, columns=5):
    return rng.normal(size=(n, columns))


class _Remembers(RegressorMixin, BaseEstimator):
    """Says how many of the rows it is asked about it was fitted on (by their first column)."""

    def fit(self, X, y):
        self.seen_ = set(X[:, 0])
        return self

    def predict(self, X):
        return np.array([float(value in self.seen_) for value in X[:, 0]])


def test_margins_come_from_fits_without_the_groups_of_their_rows():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 40, 200)
    rows = np.c_[group.astype(float), _rows(rng, 200)]
    y = rng.normal(size=200)
    stack = StackRegressor([("remembers", _Remembers()), ("linear", LinearRegression())], shrink=0.0, random_state=0)

    parted = stack._stack(rows, y, np.zeros(200, dtype=int), None, group)

    assert parted[:, 0].max() == 0.0
    assert stack._stack(rows, y, np.zeros(200, dtype=int), None, None)[:, 0].mean() > 0.9


def test_a_stack_is_not_worse_than_its_best_component_and_leaves_out_the_useless():
    rng = np.random.default_rng(1)
    rows, unseen = _rows(rng, 1200), _rows(rng, 1200)

    def truth(x):
        return x[:, 0] + x[:, 3] + 2.0 * (x[:, 1] > 0.0) * (x[:, 2] > 0.0)

    named = [("linear", Ridge()), ("tree", DecisionTreeRegressor(max_depth=5)), ("nothing", _Remembers())]
    stack = StackRegressor(named, random_state=0).fit(rows, truth(rows) + 0.5 * rng.normal(size=1200))
    error = ((stack.component_margins(unseen) - truth(unseen)[:, None]) ** 2).mean(axis=0)

    assert ((stack.predict(unseen) - truth(unseen)) ** 2).mean() < 0.9 * error.min()
    assert min(stack.blend_.weights) >= 0.0


def test_squared_weights_that_are_not_negative_are_those_of_nnls():
    rng = np.random.default_rng(2)
    margins = rng.normal(size=(300, 4))
    y = margins @ [0.7, 0.5, -0.4, 0.0] + 0.1 * rng.normal(size=300)
    free_of_mean = np.c_[margins, np.ones(300), -np.ones(300)]

    found = blend(margins, y, loss="squared", shrink=0.0)

    np.testing.assert_allclose(found.weights, nnls(free_of_mean, y)[0][:4], atol=1e-4)
    assert found.weights[2] == 0.0


def test_free_logistic_weights_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    margins = rng.normal(size=(2000, 3))
    happened = rng.random(2000) < expit(margins @ [1.2, -0.6, 0.0] + 0.3)
    referee = LogisticRegression(C=np.inf, tol=1e-8).fit(margins, happened)

    found = blend(margins, happened.astype(float), loss="log", blender="free", shrink=0.0)

    np.testing.assert_allclose(found.weights, referee.coef_[0], atol=2e-3)
    assert found.intercept == pytest.approx(referee.intercept_[0], abs=2e-3)


def test_the_absolute_loss_is_not_drawn_by_a_few_wild_targets():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=600)
    margins = np.c_[truth, rng.normal(size=600)]
    y = 10.0 + truth + np.where(np.arange(600) % 20 == 0, 100.0 * margins[:, 1] ** 2, 0.0)

    found = blend(margins, y, loss="absolute", shrink=0.0)

    assert found.weights == pytest.approx((1.0, 0.0), abs=0.05)
    assert found.intercept == pytest.approx(10.0, abs=0.1)


@given(seed=st.integers(0, 10_000), loss=st.sampled_from(["log", "squared", "absolute"]))
@settings(max_examples=20, deadline=None)
def test_a_strong_pull_gives_equal_shares(seed, loss):
    rng = np.random.default_rng(seed)
    margins, happened = rng.normal(size=(50, 4)), (rng.random(50) < 0.5).astype(float)

    np.testing.assert_allclose(blend(margins, happened, loss=loss, shrink=1e6).weights, 0.25, atol=1e-2)


@given(seed=st.integers(0, 10_000), n_folds=st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_folds_never_part_a_group_and_are_even_in_each_stratum(seed, n_folds):
    rng = np.random.RandomState(seed)
    groups = rng.randint(0, 50, size=150)
    stratum = groups % 2

    fold = fold_of(groups, stratum, n_folds=n_folds, rng=rng)

    assert all(np.unique(fold[groups == group]).size == 1 for group in groups)
    for value in (0, 1):
        per_fold = [np.unique(groups[(fold == k) & (stratum == value)]).size for k in range(n_folds)]
        assert max(per_fold) - min(per_fold) <= 1


def test_too_few_groups_for_the_folds_are_refused():
    with pytest.raises(ValueError, match="too few for 4 folds"):
        fold_of(np.array([0, 0, 1, 1]), np.zeros(4, dtype=int), n_folds=4, rng=np.random.RandomState(0))


def test_tuning_keeps_the_setting_that_predicts_unseen_groups():
    """Rows of a group are near copies: only groups kept together show that one neighbour is too few."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(60), 6)
    rows = np.repeat(_rows(rng, 60, 3), 6, axis=0) + 1e-3 * rng.normal(size=(360, 3))
    y = np.repeat(rng.normal(size=60), 6) + rows[:, 0]
    settings = [{"min_samples_leaf": 1}, {"min_samples_leaf": 60}]

    parted = TunedRegressor(DecisionTreeRegressor(random_state=0), settings, random_state=0).fit(rows, y)
    kept = TunedRegressor(DecisionTreeRegressor(random_state=0), settings, random_state=0).fit(rows, y, groups=group)

    assert parted.settings_ == {"min_samples_leaf": 1}
    assert kept.settings_ == {"min_samples_leaf": 60}


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("name", NAMES)
def test_every_plain_model_learns_a_plain_signal(name, kind):
    rng = np.random.default_rng(6)
    rows, unseen = _rows(rng, 300, 3), _rows(rng, 300, 3)
    model = plain_model(name, kind, seed=0, quick=True)
    if kind == "regression":
        assert model.fit(rows, 3.0 * rows[:, 0] + rng.normal(size=300)).score(unseen, 3.0 * unseen[:, 0]) > 0.7
    else:
        model.fit(rows, rows[:, 0] + 0.3 * rng.normal(size=300) > 0.0)
        assert model.score(unseen, unseen[:, 0] > 0.0) > 0.85


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_every_setting_of_every_grid_is_one_that_the_model_has(kind):
    for estimator, tried in GRIDS[kind].values():
        for one in tried:
            estimator.set_params(**one)
        assert len(tried) >= 4


def test_weights_that_a_model_cannot_use_are_refused():
    model = TunedRegressor(_Remembers())

    with pytest.raises(ValueError, match="_Remembers cannot weigh rows"):
        model.fit(np.eye(8), np.arange(8.0), sample_weight=np.ones(8))


@pytest.mark.parametrize("stack", [founding_stack, best_stack])
def test_both_stacks_give_better_log_loss_than_the_prevalence(stack):
    rng = np.random.default_rng(7)
    rows, unseen = _rows(rng, 250), _rows(rng, 250)
    y, outcome = (rng.random(250) < expit(2.0 * x[:, 0] + x[:, 1] * x[:, 2]) for x in (rows, unseen))

    fitted = stack("classification", seed=0, quick=True).fit(rows, y)

    assert log_loss(outcome, fitted.predict_proba(unseen)) < 0.85 * log_loss(outcome, np.full(250, y.mean()))
    assert fitted.names_[0] == "linear"


class _Flat(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile([0.0, 1.0], (len(X), 1))


def test_a_component_that_is_certain_has_a_finite_margin():
    rng = np.random.default_rng(8)
    rows = _rows(rng, 100)

    stack = StackClassifier([("flat", _Flat()), ("linear", LogisticRegression())], random_state=0)
    stack.fit(rows, rows[:, 0] > 0.0)

    assert np.isfinite(stack.component_margins(rows)).all()
