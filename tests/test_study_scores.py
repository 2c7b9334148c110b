"""Metrics by hand and against scikit-learn; the bootstrap against what statistics says of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posologist.study.blocks import Scored
from posologist.study.compare import Asked, difference, intervals, resampled
from posologist.study.scores import (
    amount_metrics,
    auc,
    decisions,
    line,
    logistic_line,
    net_benefit,
    probability_metrics,
)

_ONE = np.ones((1, 4))


def _values(parts, n):
    weights = np.ones((1, n))
    return {
        name: float(part(weights)[0]) if callable(part) else float(np.nanmean(part)) for name, part in parts.items()
    }


def _outcomes(seed=0, n=300):
    rng = np.random.default_rng(seed)
    margin = rng.normal(size=n)
    outcome = (rng.random(n) < 1.0 / (1.0 + np.exp(-1.3 * margin - 0.4))).astype(float)
    return 1.0 / (1.0 + np.exp(-margin)), outcome


def test_metrics_of_an_amount_are_those_computed_by_hand() -> None:
    target = np.array([10.0, 20.0, 40.0])
    scored = Scored(np.array([12.0, 25.0, 30.0]), low=np.array([8.0, 21.0, 20.0]), high=np.array([15.0, 30.0, 50.0]))

    found = _values(amount_metrics(target, scored, "mg"), 3)

    assert found["mae_mg"] == pytest.approx((2 + 5 + 10) / 3)
    assert found["within_20_percent"] == pytest.approx(100 / 3)  # 12 for 10 is within, 25 for 20 and 30 for 40 not
    assert found["mape_percent"] == pytest.approx((20 + 25 + 25) / 3)
    assert found["mse"] == pytest.approx((4 + 25 + 100) / 3)
    assert found["coverage_90_percent"] == pytest.approx(200 / 3)
    assert found["width_90_mg"] == pytest.approx((7 + 9 + 30) / 3)


def test_a_row_without_prediction_or_outcome_is_not_counted() -> None:
    target = np.array([10.0, np.nan, 40.0])
    found = amount_metrics(target, Scored(np.array([12.0, 5.0, np.nan])), "mg")

    assert _values(found, 3)["mae_mg"] == pytest.approx(2.0)
    assert _values(found, 3)["within_20_percent"] == pytest.approx(100.0)


def test_metrics_of_a_probability_agree_with_scikit_learn() -> None:
    from sklearn import metrics

    probability, outcome = _outcomes()
    found = _values(probability_metrics(outcome, Scored(probability), (0.2,)), len(outcome))
    said = probability >= 0.5

    assert found["auc"] == pytest.approx(metrics.roc_auc_score(outcome, probability))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(outcome, probability))
    assert found["accuracy_percent"] == pytest.approx(100 * metrics.accuracy_score(outcome, said))
    assert found["balanced_accuracy_percent"] == pytest.approx(100 * metrics.balanced_accuracy_score(outcome, said))
    assert found["precision_percent"] == pytest.approx(100 * metrics.precision_score(outcome, said))
    assert found["recall_percent"] == pytest.approx(100 * metrics.recall_score(outcome, said))
    assert found["f1"] == pytest.approx(metrics.f1_score(outcome, said))


def test_calibration_slope_is_that_of_an_unpenalised_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    probability, outcome = _outcomes(1)
    logit = np.log(probability / (1 - probability))
    referee = LogisticRegression(C=np.inf, tol=1e-10).fit(logit[:, None], outcome)
    slope, intercept = logistic_line(probability, outcome)
    weights = np.ones((1, len(outcome)))

    assert slope(weights)[0] == pytest.approx(referee.coef_[0, 0], rel=1e-5)
    # the intercept at slope 1 makes expected and observed events equal
    shifted = 1.0 / (1.0 + np.exp(-(logit + intercept(weights)[0])))
    assert shifted.sum() == pytest.approx(outcome.sum(), rel=1e-8)


def test_the_line_of_a_calibrated_amount_is_the_diagonal() -> None:
    predicted = np.array([1.0, 2.0, 3.0, 4.0])
    slope, intercept = line(predicted, 2.0 * predicted + 1.0)

    assert slope(_ONE)[0] == pytest.approx(2.0)
    assert intercept(_ONE)[0] == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=25).filter(
        lambda rows: {True, False} <= {y for _, y, w in rows if w}
    )
)
def test_a_weight_counts_as_that_many_equal_rows(rows) -> None:
    from sklearn.metrics import roc_auc_score

    score = np.array([s for s, _, _ in rows], dtype=float)
    outcome = np.array([y for _, y, _ in rows], dtype=float)
    weight = np.array([w for _, _, w in rows])
    known = weight > 0

    found = auc(score, outcome)(weight[None, :].astype(float))[0]

    assert found == pytest.approx(
        roc_auc_score(np.repeat(outcome[known], weight[known]), np.repeat(score[known], weight[known]))
    )


def test_auc_without_one_of_the_outcomes_has_no_value() -> None:
    assert np.isnan(auc(np.array([0.1, 0.2]), np.array([1.0, 1.0]))(np.ones((1, 2)))[0])


def test_net_benefit_of_treating_all_is_prevalence_minus_weighed_harm() -> None:
    outcome = np.array([1.0, 0.0, 0.0, 0.0])

    assert net_benefit(np.ones(4), outcome, 0.2).mean() == pytest.approx(0.25 - 0.75 * 0.25)
    assert net_benefit(np.zeros(4), outcome, 0.2).mean() == 0.0


def test_a_decision_of_its_own_replaces_the_cut() -> None:
    outcome, everybody = np.array([1.0, 0.0]), np.array([True, True])
    found = _values(probability_metrics(outcome, Scored(np.array([0.1, 0.2]), decision=everybody)), 2)

    assert found["recall_percent"] == 100.0
    assert found["accuracy_percent"] == 50.0


def test_precision_without_a_positive_has_no_value() -> None:
    found = decisions(np.zeros(3, dtype=bool), np.array([1.0, 0.0, 1.0]), np.ones(3, dtype=bool))

    assert np.isnan(found["precision_percent"](np.ones((1, 3)))[0])
    assert found["recall_percent"](np.ones((1, 3)))[0] == 0.0


def test_intervals_of_a_mean_and_of_an_auc_are_as_wide_as_theory_says() -> None:
    rng = np.random.default_rng(3)
    outcome = (rng.random(400) < 0.4).astype(float)
    score = outcome + rng.normal(size=400)
    asked = [Asked("x", {"mean": score, "auc": auc(score, outcome)}, np.arange(400))]
    found = intervals(resampled(asked, n_resamples=1500, seed=1)["x"])

    half = 1.96 * score.std() / np.sqrt(400)
    assert found["mean"].high - found["mean"].value == pytest.approx(half, rel=0.12)
    a, n1, n0 = found["auc"].value, outcome.sum(), (1 - outcome).sum()  # Hanley and McNeil 1982
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    se = np.sqrt((a * (1 - a) + (n1 - 1) * (q1 - a * a) + (n0 - 1) * (q2 - a * a)) / (n1 * n0))
    assert found["auc"].high - found["auc"].low == pytest.approx(2 * 1.96 * se, rel=0.15)


def test_the_rows_of_a_patient_are_drawn_together() -> None:
    values = np.repeat([0.0, 1.0], 50)
    asked = [
        Asked("two patients", {"m": values}, np.repeat([0, 1], 50)),
        Asked("many", {"m": values}, np.arange(100)),
    ]
    found = resampled(asked, n_resamples=400, seed=0)

    assert (
        set(np.unique(found["two patients"]["m"])) <= {0.0, 0.5, 1.0} | {np.nan}
        or np.isnan(found["two patients"]["m"]).any()
    )
    assert found["many"]["m"].std() < 0.1


def test_paired_differences_are_narrower_than_those_of_strangers() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=500) * 5
    asked = [
        Asked(name, {"m": shared + rng.normal(size=500) * 0.1 + shift}, np.arange(500))
        for name, shift in (("a", 0.2), ("b", 0.0))
    ]
    found = resampled(asked, n_resamples=800, seed=0)
    apart = difference(found["a"], found["b"], "m")

    assert apart.low > 0.15
    assert apart.high < 0.25
    assert difference(found["a"], found["b"], "other") is None


def test_resamples_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch) -> None:
    asked = [Asked("x", {"m": np.arange(50.0)}, np.arange(50))]
    whole = resampled(asked, n_resamples=60, seed=5)["x"]["m"]
    monkeypatch.setattr("posologist.study.compare._CELLS", 350)

    assert resampled(asked, n_resamples=60, seed=5)["x"]["m"] == pytest.approx(whole)
