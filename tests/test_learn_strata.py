"""Strata: planted clusters of mixed data are found, and none are found where there are none."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from posologist.learn.fit.strata import Strata, gower, k_medoids, silhouette

QUICK = {"most_clusters": 4, "n_resamples": 15, "random_state": 0}


@parametrize_with_checks([Strata(most_clusters=4, n_resamples=5, random_state=0)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def _mixed(rng, centres, n=60):
    """Patients around centres: three numbers and two categories each."""
    truth = np.repeat(np.arange(len(centres)), n)
    numbers = np.array(centres)[truth] + rng.normal(size=(truth.size, 3))
    first = np.where(rng.random(truth.size) < 0.85, truth, rng.integers(0, 3, truth.size))
    second = rng.integers(0, 2, truth.size)
    return np.c_[numbers, first, second], truth


def test_three_planted_strata_of_mixed_data_are_found():
    rows, truth = _mixed(np.random.default_rng(0), [(0, 0, 0), (5, 0, 3), (0, 6, -3)])

    strata = Strata((3, 4), **QUICK).fit(rows)

    assert strata.n_clusters_ == 3
    assert adjusted_rand_score(truth, strata.labels_) > 0.9
    assert strata.conclusion_.startswith("3 stable clusters")
    np.testing.assert_array_equal(strata.predict(rows), strata.labels_)


def test_two_planted_strata_are_not_cut_into_more():
    rows, truth = _mixed(np.random.default_rng(1), [(0, 0, 0), (5, 5, 5)])

    strata = Strata((3, 4), **QUICK).fit(rows)

    assert strata.n_clusters_ == 2
    assert adjusted_rand_score(truth, strata.labels_) > 0.8


def _one_cloud(rng, n):
    return rng.normal(size=(n, 4))


def _one_long_cloud(rng, n):
    rows = rng.normal(size=(n, 4))
    return rows + 2.0 * rng.normal(size=(n, 1))


def _long_tails(rng, n):
    return rng.exponential(size=(n, 4))


def _with_a_binary_column(rng, n):
    return np.c_[rng.normal(size=(n, 3)), rng.integers(0, 2, n)]


@pytest.mark.parametrize("make", [_one_cloud, _one_long_cloud, _long_tails, _with_a_binary_column])
def test_no_strata_are_found_where_there_are_none(make):
    rng = np.random.default_rng(2)
    categorical = (3,) if make is _with_a_binary_column else ()
    found = [Strata(categorical, **QUICK).fit(make(rng, 120)) for _ in range(6)]

    assert sum(strata.n_clusters_ > 1 for strata in found) <= 1
    assert "no stable clusters" in {strata.conclusion_ for strata in found}


def test_distances_are_gowers():
    rows = np.array([[1.0, 0.0], [3.0, 1.0], [5.0, 1.0]])

    found = gower(rows, rows, categorical=(1,), width=np.array([4.0, 1.0]))

    np.testing.assert_allclose(found, [[0.0, 0.75, 1.0], [0.75, 0.0, 0.25], [1.0, 0.25, 0.0]])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_no_single_swap_improves_the_medoids(seed):
    rows = np.random.default_rng(seed).normal(size=(14, 2))
    distance = np.abs(rows[:, None] - rows[None]).sum(axis=2)

    def total(medoids):
        return distance[:, list(medoids)].min(axis=1).sum()

    medoids = k_medoids(distance, 3)
    best = min(total([*(m for m in medoids if m != out), new]) for out in medoids for new in range(14))

    assert total(medoids) <= best + 1e-9


def test_two_medoids_of_a_small_table_are_the_best_of_all_pairs():
    rows = np.random.default_rng(3).normal(size=(20, 2)) + np.repeat([[0.0], [4.0]], 10, axis=0)
    distance = np.abs(rows[:, None] - rows[None]).sum(axis=2)
    best = min(combinations(range(20), 2), key=lambda pair: distance[:, list(pair)].min(axis=1).sum())

    assert sorted(k_medoids(distance, 2)) == list(best)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_silhouette_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, 2))
    distance = np.abs(rows[:, None] - rows[None]).sum(axis=2)
    labels = np.concatenate([[0, 1, 2], rng.integers(0, 3, 27)])

    assert silhouette(distance, labels) == pytest.approx(silhouette_score(distance, labels, metric="precomputed"))


def test_more_rows_than_are_searched_are_all_assigned():
    rows, truth = _mixed(np.random.default_rng(4), [(0, 0, 0), (6, 6, 6)], n=150)

    strata = Strata((3, 4), most_rows=120, **QUICK).fit(rows)

    assert len(strata.labels_) == 300
    assert adjusted_rand_score(truth, strata.labels_) > 0.9
