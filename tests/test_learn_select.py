"""Selection and biomarkers: planted signals are found, false ones stay within their rate, a null gives nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import false_discovery_control, linregress, pearsonr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from posologist.learn.fit.biomarkers import adjusted, dealt_anew, discover, gain_of_block
from posologist.learn.fit.select import StabilitySelection, held_out_importance, lasso, linear_on_components


@parametrize_with_checks([StabilitySelection(n_resamples=4, false_selections=5.0, random_state=0)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def _correlated(rng, n, p, rho=0.5):
    """Columns of which each is correlated with the next."""
    rows = rng.normal(size=(n, p))
    for j in range(1, p):
        rows[:, j] = rho * rows[:, j - 1] + np.sqrt(1.0 - rho**2) * rows[:, j]
    return rows


@given(values=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_adjusted_p_values_are_those_of_scipy(values):
    np.testing.assert_allclose(adjusted(np.array(values)), false_discovery_control(values, method="bh"), atol=1e-12)


def _shares(seed, kind, *, planted, n_sets=300, n=200, p=50):
    """Over simulated sets: mean share of false discoveries, share of planted ones found, share with any found."""
    rng = np.random.default_rng(seed)
    false, power, some = [], [], []
    for _ in range(n_sets):
        sex = rng.integers(0, 2, n)
        markers = rng.binomial(2, 0.3, (n, p)) + 0.3 * sex[:, None]
        signal = 0.7 * markers[:, :planted].sum(axis=1) + 1.5 * sex
        if kind == "regression":
            y = signal + rng.normal(size=n)
        else:
            y = (rng.random(n) < expit(1.6 * (signal - signal.mean()))).astype(float)
        found = discover(markers, y, kind=kind, covariates=sex[:, None], false_discovery_rate=0.1).found
        false.append(found[planted:].sum() / max(found.sum(), 1))
        power.append(found[:planted].mean() if planted else 0.0)
        some.append(found.any())
    return np.mean(false), np.mean(power), np.mean(some)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_planted_markers_are_found_within_the_false_discovery_rate(kind):
    false, power, _ = _shares(0, kind, planted=5, n=200 if kind == "regression" else 400)

    assert false <= 0.1 + 0.015
    assert power > 0.9


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_without_a_signal_markers_are_hardly_ever_found(kind):
    _, _, some = _shares(1, kind, planted=0)

    assert some <= 0.1 + 2.5 * np.sqrt(0.1 * 0.9 / 300)


def test_a_marker_of_ancestry_alone_is_found_only_without_the_covariate():
    rng = np.random.default_rng(2)
    ancestry = rng.integers(0, 2, 600)
    markers = np.c_[rng.binomial(2, 0.1 + 0.5 * ancestry), rng.binomial(2, 0.3, (600, 9)).reshape(600, 9)]
    y = 2.0 * ancestry + rng.normal(size=600)

    assert discover(markers, y, kind="regression").found[0]
    assert not discover(markers, y, kind="regression", covariates=ancestry[:, None]).found[0]


def test_p_values_of_a_number_are_those_of_its_correlation():
    rng = np.random.default_rng(3)
    markers = rng.normal(size=(80, 4))
    y = 0.3 * markers[:, 0] + rng.normal(size=80)

    found = discover(markers, y, kind="regression")

    np.testing.assert_allclose(found.p_value, [pearsonr(m, y).pvalue for m in markers.T], rtol=1e-8)
    np.testing.assert_allclose(found.p_value, [linregress(m, y).pvalue for m in markers.T], rtol=1e-8)


def test_the_score_statistics_effect_is_near_the_logistic_coefficient():
    rng = np.random.default_rng(4)
    markers = rng.normal(size=(20_000, 1))
    y = (rng.random(20_000) < expit(0.2 * markers[:, 0] - 1.0)).astype(float)
    referee = LogisticRegression(C=np.inf).fit(markers, y).coef_[0]

    np.testing.assert_allclose(discover(markers, y, kind="classification").effect, referee, atol=0.01)


def test_a_marker_that_the_covariates_explain_is_not_tested():
    rng = np.random.default_rng(5)
    markers = rng.normal(size=(50, 3))
    markers[:, 1] = 7.0

    found = discover(markers, markers[:, 0], kind="regression", covariates=2.0 * markers[:, [2]])

    assert np.isnan(found.effect[1:]).all()
    assert list(found.p_value[1:]) == [1.0, 1.0]


def test_unknown_markers_are_refused():
    with pytest.raises(ValueError, match="must be known"):
        discover(np.array([[1.0], [np.nan], [0.0]]), np.arange(3.0), kind="regression")


def test_a_genome_is_dealt_whole_within_its_stratum_and_nothing_else_moves():
    rng = np.random.RandomState(0)
    patient = np.repeat(np.arange(30), 2)
    rows = np.c_[np.arange(60.0), patient, patient + 100.0, patient % 3]

    moved = dealt_anew(rows, [1, 2], rng=rng, groups=patient, within=patient % 3)

    np.testing.assert_array_equal(moved[:, [0, 3]], rows[:, [0, 3]])
    np.testing.assert_array_equal(moved[:, 2] - moved[:, 1], 100.0)
    np.testing.assert_array_equal(moved[::2, 1], moved[1::2, 1])
    np.testing.assert_array_equal(moved[:, 1] % 3, rows[:, 3])
    assert sorted(moved[::2, 1]) == sorted(rows[::2, 1])
    assert (moved[:, 1] != rows[:, 1]).mean() > 0.6


def test_a_real_genome_gains_and_a_dealt_one_does_not():
    rng = np.random.default_rng(6)
    rows = np.c_[rng.normal(size=(300, 3)), rng.binomial(2, 0.4, (300, 3))]
    y = rows[:, 0] + rows[:, 3] + rng.normal(size=300)

    found = gain_of_block(Ridge(), rows, y, [3, 4, 5])

    assert found.gain > 0.3
    assert found.p_value == pytest.approx(0.05)
    assert np.mean(found.chance) < 0.0


def test_a_genome_of_noise_gains_nothing_more_often_than_chance():
    rng = np.random.default_rng(7)
    p_values = []
    for _ in range(40):
        rows = rng.normal(size=(80, 5))
        y = rows[:, 0] + rng.normal(size=80)
        p_values.append(gain_of_block(Ridge(), rows, y, [3, 4], n_permutations=9, n_folds=3).p_value)

    assert np.mean(np.array(p_values) <= 0.1) <= 0.1 + 2.5 * np.sqrt(0.09 / 40)
    assert np.mean(p_values) == pytest.approx(0.55, abs=0.12)


def test_the_gain_of_a_genome_for_a_yes_no_outcome_is_one_of_log_loss():
    rng = np.random.default_rng(16)
    rows = np.c_[rng.normal(size=300), rng.binomial(2, 0.4, 300)]
    y = (rng.random(300) < expit(2.0 * (rows[:, 1] - 0.8))).astype(float)

    found = gain_of_block(LogisticRegression(), rows, y, [1], n_permutations=4, n_folds=3)

    assert 0.05 < found.gain < np.log(2.0)
    assert max(found.chance) < 0.02


@pytest.mark.parametrize("name", ["forest", "lightgbm"])
def test_importance_finds_the_interaction_and_not_the_many_valued_noise(name):
    rng = np.random.default_rng(8)
    rows = np.c_[rng.integers(0, 2, (400, 2)), rng.normal(size=(400, 2))].astype(float)
    y = 2.0 * (rows[:, 0] == rows[:, 1]) + 0.5 * rng.normal(size=400)

    found = held_out_importance(name, "regression", rows, y, n_repeats=1, n_folds=2)

    assert found.mean[:2].min() > 0.5
    assert np.abs(found.mean[2:]).max() < 0.1


def test_columns_of_one_coded_variable_are_shuffled_together():
    rng = np.random.default_rng(9)
    level = rng.integers(0, 3, 300)
    rows = np.c_[np.eye(3)[level], rng.normal(size=300)]

    found = held_out_importance(
        "lightgbm", "classification", rows, level == 1, blocks=[[0, 1, 2], [3]], n_repeats=1, n_folds=2
    )

    assert found.rise.shape == (2, 2)
    assert found.mean[0] > 10.0 * abs(found.mean[1])


def test_the_lasso_takes_the_stronger_column_first():
    rng = np.random.default_rng(10)
    rows = rng.normal(size=(200, 6))
    rows[:, 5] = 3.0
    path = lasso(rows, 2.0 * rows[:, 3] + rows[:, 1] + 0.1 * rng.normal(size=200))

    assert list(path.order[:2]) == [3, 1]
    assert 5 not in path.order
    assert (np.diff(path.penalties) < 0.0).all()


def test_the_lasso_of_a_constant_takes_nothing():
    assert lasso(np.random.default_rng(11).normal(size=(20, 3)), np.ones(20)).order.size == 0


def test_stability_selection_finds_planted_columns_among_many_correlated_ones():
    rng = np.random.default_rng(12)
    rows = _correlated(rng, 300, 100)
    y = rows[:, 10] - rows[:, 40] + 0.8 * rows[:, 70] + rng.normal(size=300)

    found = StabilitySelection(random_state=0).fit(rows, y)

    assert set(np.flatnonzero(found.get_support())) == {10, 40, 70}
    assert found.bound_ <= 1.0


def test_without_a_signal_stability_selection_stays_below_its_bound():
    rng = np.random.default_rng(13)
    wrong = []
    for seed in range(25):
        rows = _correlated(rng, 100, 60)
        found = StabilitySelection(n_resamples=20, random_state=seed).fit(rows, rng.normal(size=100))
        wrong.append(found.get_support().sum())

    assert np.mean(wrong) <= 1.0


def test_components_are_kept_where_they_help_and_only_there():
    rng = np.random.default_rng(14)
    hidden = rng.normal(size=(60, 2))
    many = hidden @ rng.normal(size=(2, 80)) + rng.normal(size=(60, 80))
    few = rng.normal(size=(200, 4)) * [1.0, 1.0, 1.0, 1.0]

    helped = linear_on_components("regression", seed=0).fit(many, hidden[:, 0] + 0.3 * rng.normal(size=60))
    not_helped = linear_on_components("regression", seed=0).fit(few, few @ [1.0, -1.0, 1.0, -1.0])

    assert helped.settings_["components"] != "passthrough"
    assert not_helped.settings_["components"] == "passthrough"
