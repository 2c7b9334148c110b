"""Intervals hold what they promise: in all, by group, and in bands that only the outcome shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posologist.core.errors import ModelError
from posologist.core.manifest import IntervalRule, TruthBands
from posologist.learn.conformal import (
    SMALL_GROUP,
    Scores,
    bands,
    by_bands,
    by_state,
    coverage_by,
    fitted,
    fitted_bands,
    hull,
    interval,
    quantile,
)

NUMBERS = st.floats(-1e3, 1e3)


def made(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prediction, outcome and group; group 1 (a fifth) is three times as uncertain as group 0."""
    rng = np.random.default_rng(seed)
    group = (rng.random(n) < 0.2).astype(np.int64)
    prediction = rng.normal(size=n)
    return prediction, prediction + rng.normal(size=n) * (1 + 2 * group), group


def scored(prediction: np.ndarray, outcome: np.ndarray) -> Scores:
    return Scores.of(outcome, prediction, prediction, np.ones(len(outcome)))


def share_inside(rule: IntervalRule, prediction: np.ndarray, outcome: np.ndarray, group: np.ndarray) -> np.ndarray:
    low, high = interval(rule, prediction, {}, {"group": group.astype(float)})
    return np.array([share for _, _, share in coverage_by(low, high, outcome, group)])


@pytest.mark.parametrize(
    ("n", "tail", "place"), [(19, 0.05, 19), (39, 0.05, 38), (99, 0.1, 90), (9, 0.1, 9), (100, 0.1, 91)]
)
def test_the_quantile_has_the_correction_for_a_finite_sample(n: int, tail: float, place: int) -> None:
    assert quantile(np.arange(1.0, n + 1), tail) == place  # ceil((n + 1) (1 - tail)), counted by hand


def test_too_few_scores_bound_nothing() -> None:
    assert quantile(np.arange(18.0), 0.05) == math.inf
    with pytest.raises(ModelError, match="18 patients are too few"):
        fitted(Scores(np.arange(18.0), np.arange(18.0)), method="split", level=0.9)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, 40, elements=NUMBERS, unique=True), st.randoms(use_true_random=False))
def test_a_new_patient_is_missed_no_more_often_than_asked(scores: np.ndarray, random: object) -> None:
    # each of 40 exchangeable scores is equally often the new one: leave one out, count how often it is above
    missed = [scores[i] > quantile(np.delete(scores, i), 0.1) for i in range(40)]

    assert np.mean(missed) <= 0.1


def test_coverage_over_many_samples_is_that_of_the_level() -> None:
    shares = []
    for seed in range(60):
        prediction, outcome, group = made(1100, seed)
        rule = fitted(scored(prediction[:100], outcome[:100]), method="split", level=0.9)
        low, high = interval(rule, prediction[100:], {}, {"group": group[100:].astype(float)})
        shares.append(np.mean((outcome[100:] >= low) & (outcome[100:] <= high)))

    assert np.mean(shares) == pytest.approx(0.9 + 0.01, abs=0.015)  # two tails of 1 / (n + 1) above at most


def test_one_quantile_for_all_fails_the_uncertain_group_and_mondrian_does_not() -> None:
    prediction, outcome, group = made(4000, 1)
    later = made(8000, 2)
    scores = scored(prediction, outcome)

    plain = fitted(scores, method="split", level=0.9)
    grouped = fitted(scores, method="split", level=0.9, groupings=[by_state("group", group.astype(float), 2)])

    assert share_inside(plain, *later)[1] < 0.75
    np.testing.assert_allclose(share_inside(grouped, *later), 0.9, atol=0.02)


def test_the_normalised_interval_covers_both_groups_by_their_spread() -> None:
    prediction, outcome, group = made(4000, 3)
    spread = 1.0 + 2.0 * group
    rule = fitted(Scores.of(outcome, prediction, prediction, spread), method="normalised", level=0.9)
    p, y, g = made(8000, 4)

    low, high = interval(rule, p, {"spread": 1.0 + 2.0 * g}, {})

    assert [share for _, _, share in coverage_by(low, high, y, g)] == pytest.approx([0.9, 0.9], abs=0.02)
    assert np.mean((high - low)[g == 1]) == pytest.approx(3 * np.mean((high - low)[g == 0]))


def test_conformalised_quantiles_mend_quantiles_that_are_too_narrow() -> None:
    prediction, outcome, group = made(4000, 5)
    narrow = 0.5 * (1 + 2 * group)
    rule = fitted(
        Scores.of(outcome, prediction - narrow, prediction + narrow, np.ones(4000)), method="quantile", level=0.9,
        groupings=[by_state("group", group.astype(float), 2)],
    )  # fmt: skip
    p, y, g = made(8000, 6)

    width = 0.5 * (1 + 2 * g)
    low, high = interval(rule, p, {"lower": -width, "upper": width}, {"group": g.astype(float)})

    assert [share for _, _, share in coverage_by(low, high, y, g)] == pytest.approx([0.9, 0.9], abs=0.02)


def test_a_small_group_takes_the_quantile_of_all() -> None:
    prediction, outcome, _ = made(1000, 7)
    group = np.zeros(1000)
    group[: SMALL_GROUP - 1] = 1.0

    rule = fitted(
        scored(prediction, outcome), method="split", level=0.9, groupings=[by_state("group", group, 2)]
    ).taxonomies[0]

    assert rule.below[2] is None
    assert rule.below[1] is not None
    assert rule.below[0] is None  # nobody's group was unknown


def test_a_state_that_was_never_seen_takes_the_quantile_of_all() -> None:
    prediction, outcome, group = made(1000, 8)
    rule = fitted(
        scored(prediction, outcome), method="split", level=0.9, groupings=[by_state("group", group.astype(float), 2)]
    )

    low, high = interval(rule, np.zeros(1), {}, {"group": np.array([np.nan])})

    assert (low[0], high[0]) == pytest.approx((-rule.below, rule.above))


def test_of_two_taxonomies_the_wider_side_counts() -> None:
    prediction, outcome, group = made(2000, 9)
    scores, state, band = (
        scored(prediction, outcome),
        by_state("group", group.astype(float), 2),
        by_bands(prediction, (0.0,)),
    )
    values = {"group": group.astype(float)}

    both = fitted(scores, method="split", level=0.9, groupings=[state, band])
    singles = [fitted(scores, method="split", level=0.9, groupings=[one]) for one in (state, band)]

    low, high = interval(both, prediction, {}, values)
    lows, highs = zip(*(interval(one, prediction, {}, values) for one in singles), strict=True)
    np.testing.assert_allclose(low, np.minimum(*lows))
    np.testing.assert_allclose(high, np.maximum(*highs))


def test_each_band_of_the_true_outcome_is_covered_though_nobody_s_band_is_known() -> None:
    prediction, outcome, _ = made(4000, 10)
    p, y, _ = made(8000, 11)
    cuts = (-2.0, 2.0)
    plain = fitted(scored(prediction, outcome), method="split", level=0.9)
    truth = fitted_bands(outcome, prediction, prediction, np.ones(4000), cuts=cuts, level=0.9)

    shares = [
        [share for _, _, share in coverage_by(*interval(rule, p, {}, {}), y, bands(y, cuts))]
        for rule in (plain, plain.model_copy(update={"truth": truth}))
    ]

    assert min(shares[0]) < 0.82
    assert min(shares[1]) > 0.88


def test_groups_stay_covered_where_bands_are_asked_for_as_well() -> None:
    prediction, outcome, group = made(4000, 14)
    later = made(8000, 15)
    rule = fitted(
        scored(prediction, outcome), method="split", level=0.9, groupings=[by_state("group", group.astype(float), 2)]
    )
    truth = fitted_bands(outcome, prediction, prediction, np.ones(4000), cuts=(-2.0, 2.0), level=0.7)

    alone = rule.model_copy(update={"taxonomies": (), "below": 0.0, "above": 0.0, "truth": truth})

    assert min(share_inside(alone, *later)) < 0.85
    assert min(share_inside(rule.model_copy(update={"truth": truth}), *later)) > 0.88


def test_bands_cover_at_their_level_over_many_samples() -> None:
    cuts, worst = (-1.5, 1.5), []
    for seed in range(40):
        prediction, outcome, _ = made(900, 100 + seed)
        p, y, _ = made(2000, 500 + seed)
        truth = fitted_bands(outcome, prediction, prediction, np.ones(900), cuts=cuts, level=0.9)
        low, high = hull(truth, p, p, np.ones(2000))
        worst.append([share for _, _, share in coverage_by(low, high, y, bands(y, cuts))])

    first, middle, last = np.mean(worst, axis=0)
    assert 0.885 < min(first, last) <= max(first, last) < 0.93
    assert middle > 0.885  # the hull of its neighbours' holds more of it than asked


def test_an_outcome_is_held_exactly_if_its_own_band_holds_it_or_lies_between_such() -> None:
    truth = TruthBands(cuts=(0.0,), below=(1.0, 0.5), above=(0.2, 3.0))

    low, high = hull(truth, np.array([-2.0, 0.4, 5.0]), np.array([-2.0, 0.4, 5.0]), np.ones(3))

    np.testing.assert_allclose(low, [-3.0, -0.6, 4.5])
    np.testing.assert_allclose(high, [1.0, 3.4, 8.0])


def test_a_group_can_be_calibrated_to_a_level_of_its_own() -> None:
    prediction, outcome, group = made(4000, 12)
    later = made(8000, 13)
    rule = fitted(
        scored(prediction, outcome), method="split", level=0.8, group_level=0.95,
        groupings=[by_state("group", group.astype(float), 2)],
    )  # fmt: skip

    np.testing.assert_allclose(share_inside(rule, *later), 0.95, atol=0.025)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, 30, elements=NUMBERS), hnp.arrays(np.float64, 30, elements=NUMBERS))
def test_an_interval_always_holds_its_prediction(scores: np.ndarray, margin: np.ndarray) -> None:
    rule = fitted(Scores(scores - 500.0, -scores - 500.0), method="split", level=0.9)

    low, high = interval(rule, margin, {}, {})

    assert np.all((low <= margin) & (margin <= high))
