"""Calibration: scikit-learn and the truth of simulated probabilities as referees."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from posologist.learn.fit.calibrate import (
    Platt,
    calibration_line,
    expected_calibration_error,
    fit_beta,
    fit_isotonic,
    fit_platt,
    from_data,
    to_data,
)

FITS = [fit_platt, fit_isotonic, fit_beta]


def _overconfident(seed=0, n=4000):
    """Margins twice as far out as the truth, and outcomes."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1.0, 1.0, n)
    return 2.0 * truth, rng.random(n) < expit(truth)


@pytest.mark.parametrize("fit", FITS)
def test_calibration_mends_margins_that_are_too_sure(fit):
    margin, happened = _overconfident(0)
    unseen, outcome = _overconfident(1)

    before = calibration_line(expit(unseen), outcome)
    after = calibration_line(fit(margin, happened).probability(unseen), outcome)

    assert before.slope == pytest.approx(0.5, abs=0.06)
    assert after.slope == pytest.approx(1.0, abs=0.12)
    assert abs(after.in_the_large) < 0.12


def test_platt_is_the_logistic_regression_of_the_smoothed_targets():
    margin, happened = _overconfident()
    n_yes, n_no = happened.sum(), (~happened).sum()
    target = np.where(happened, (n_yes + 1) / (n_yes + 2), 1 / (n_no + 2))
    twice = np.concatenate([margin, margin])[:, None]
    referee = LogisticRegression(C=np.inf, tol=1e-10).fit(
        twice, np.repeat([1, 0], margin.size), sample_weight=np.concatenate([target, 1.0 - target])
    )

    found = fit_platt(margin, happened)

    assert found.slope == pytest.approx(referee.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(referee.intercept_[0], rel=1e-4)


def test_isotonic_is_that_of_scikit_learn_away_from_the_ends():
    margin, happened = _overconfident()
    referee = IsotonicRegression(out_of_bounds="clip").fit(margin, happened).predict(margin)

    np.testing.assert_allclose(fit_isotonic(margin, happened).probability(margin), referee, atol=1.0 / margin.size)


def test_beta_finds_the_parameters_that_made_the_outcomes():
    rng = np.random.default_rng(3)
    q = rng.uniform(0.02, 0.98, 40_000)
    happened = rng.random(q.size) < expit(0.7 * np.log(q) - 1.6 * np.log1p(-q) - 0.4)

    found = fit_beta(np.log(q / (1.0 - q)), happened)

    assert (found.a, found.b, found.c) == pytest.approx((0.7, 1.6, -0.4), abs=0.08)


@pytest.mark.parametrize("fit", FITS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_higher_margin_never_has_a_lower_probability(fit, seed):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=60)
    happened = np.concatenate([[0.0, 1.0], rng.random(58) < expit(2.0 * truth[2:])])
    calibration = fit(truth, happened)
    rising = calibration.probability(np.linspace(-4.0, 4.0, 200))

    assert ((rising > 0.0) & (rising < 1.0)).all()
    if not isinstance(calibration, Platt) or calibration.slope >= 0.0:
        assert (np.diff(rising) >= -1e-12).all()


@pytest.mark.parametrize("fit", FITS)
def test_a_calibration_survives_json(fit):
    calibration = fit(*_overconfident(n=300))

    assert from_data(json.loads(json.dumps(to_data(calibration)))) == calibration


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="calibration kind 'spline'"):
        from_data({"kind": "spline"})


@pytest.mark.parametrize("fit", FITS)
def test_a_row_of_weight_two_is_two_rows(fit):
    margin, happened = _overconfident(n=400)
    weight = 1.0 + (np.arange(400) % 3 == 0)
    twice = np.repeat(np.arange(400), weight.astype(int))

    weighted = fit(margin, happened, weight).probability(margin)
    repeated = fit(margin[twice], happened[twice]).probability(margin)

    np.testing.assert_allclose(weighted, repeated, atol=2e-3)


@pytest.mark.parametrize("fit", FITS)
def test_one_class_cannot_be_calibrated(fit):
    with pytest.raises(ValueError, match="only one class"):
        fit(np.arange(5.0), np.ones(5))


def test_true_probabilities_have_slope_one_and_no_shift():
    rng = np.random.default_rng(4)
    odds = rng.normal(-2.0, 1.2, 30_000)
    line = calibration_line(expit(odds), rng.random(odds.size) < expit(odds))

    assert (line.slope, line.intercept, line.in_the_large) == pytest.approx((1.0, 0.0, 0.0), abs=0.06)


def test_predictions_that_are_all_too_high_show_in_the_large():
    rng = np.random.default_rng(5)
    odds = rng.normal(-1.0, 1.0, 20_000)
    line = calibration_line(expit(odds + 0.5), rng.random(odds.size) < expit(odds))

    assert line.in_the_large == pytest.approx(-0.5, abs=0.06)
    assert line.slope == pytest.approx(1.0, abs=0.06)


def test_the_calibration_error_is_that_of_scikit_learns_curve():
    margin, happened = _overconfident(n=5000)
    probability = expit(margin)
    observed, predicted = calibration_curve(happened, probability, n_bins=10, strategy="quantile")

    assert expected_calibration_error(probability, happened) == pytest.approx(
        np.abs(observed - predicted).mean(), abs=1e-3
    )


def test_rows_with_the_same_probability_share_a_bin():
    happened = np.arange(1000) % 2 == 0

    assert expected_calibration_error(np.full(1000, 0.5), happened) == pytest.approx(0.0)
