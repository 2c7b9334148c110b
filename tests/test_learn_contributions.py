"""Contributions add up exactly, agree with another program's Shapley values, and speak in clinical words."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posologist.core.evidence import LEAF_KINDS, Ledger
from posologist.learn.contributions import EXACT, shapley
from posologist.learn.features import Array, frame_of_rows
from served_models import SCHEMA, a_dose_engine, a_risk_engine, a_row, five_rows, made_rows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # shap's plots use what Matplotlib is about to retire
    import shap


def tangled(values: Array) -> Array:
    """A function in which every feature acts with others."""
    weights = np.linspace(-1.0, 2.0, values.shape[1])
    return np.asarray(
        values @ weights + np.prod(1.0 + 0.1 * values, axis=1) + np.maximum(values[:, 0], values[:, -1]) * values[:, 1]
    )


def by_definition(function: Callable[[Array], Array], row: Array, typical: Array) -> Array:
    """Shapley's values as the mean step over every order in which the features could be told."""
    parts = np.zeros(len(row))
    orders = list(permutations(range(len(row))))
    for order in orders:
        present = typical.copy()
        before = function(present.reshape(1, -1))[0]
        for j in order:
            present[j] = row[j]
            after = function(present.reshape(1, -1))[0]
            parts[j] += (after - before) / len(orders)
            before = after
    return parts


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float64, 5, elements=st.floats(-2, 2)), hnp.arrays(np.float64, 5, elements=st.floats(-2, 2)))
def test_with_few_features_the_value_is_that_of_the_definition(row: Array, typical: Array) -> None:
    found = shapley(tangled, row.reshape(1, -1), typical, differs=(row != typical).reshape(1, -1), seed="s")

    np.testing.assert_allclose(found.parts[0], by_definition(tangled, row, typical), rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float64, (3, 20), elements=st.floats(-2, 2)))
def test_base_and_parts_add_up_to_the_output_with_many_features(rows: Array) -> None:
    typical = np.zeros(20)

    found = shapley(tangled, rows, typical, differs=rows != 0.0, seed="s")

    np.testing.assert_allclose(found.base + found.parts.sum(axis=1), tangled(rows), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found.parts[rows == 0.0], 0.0)


def test_a_sum_of_single_effects_is_taken_apart_exactly_by_any_permutation() -> None:
    rng = np.random.default_rng(0)
    rows, typical, weights = rng.normal(size=(4, 30)), rng.normal(size=30), rng.normal(size=30)

    found = shapley(lambda v: np.asarray(v @ weights), rows, typical, differs=np.ones((4, 30), dtype=bool), seed="s")

    np.testing.assert_allclose(found.parts, (rows - typical) * weights, rtol=1e-9, atol=1e-9)


def test_effects_of_two_features_together_are_halved_exactly_by_permutations_and_their_reverses() -> None:
    rng = np.random.default_rng(3)
    pairs, rows = rng.normal(size=(20, 20)), rng.normal(size=(2, 20))

    found = shapley(
        lambda v: np.einsum("ni,ij,nj->n", v, pairs, v),
        rows,
        np.zeros(20),
        differs=np.ones((2, 20), dtype=bool),
        seed="s",
    )

    both = rows[:, :, None] * pairs * rows[:, None, :]
    np.testing.assert_allclose(found.parts, (both.sum(axis=1) + both.sum(axis=2)) / 2.0, rtol=1e-8, atol=1e-8)


def test_a_patient_has_the_same_parts_alone_and_beside_others() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(5, 25))
    told = np.ones((5, 25), dtype=bool)

    together = shapley(tangled, rows, np.zeros(25), differs=told, seed="s").parts[3]
    alone = shapley(tangled, rows[3:4], np.zeros(25), differs=told[:1], seed="s").parts[0]

    np.testing.assert_array_equal(together, alone)


def test_exact_values_agree_with_shap() -> None:
    engine = a_dose_engine().served
    rows = frame_of_rows(SCHEMA, five_rows(Ledger())).values
    typical = np.asarray(engine.manifest.typical)
    assert rows.shape[1] <= EXACT

    def from_told(row: Array) -> Callable[[Array], Array]:
        """Dose where the features marked 1 are told; shap knows no value that is missing."""
        return lambda told: engine._explained(np.where(told > 0.5, row, typical))

    for row, parts in zip(rows, engine.shares(rows).parts, strict=True):
        referee = shap.explainers.Exact(from_told(row), np.zeros((1, rows.shape[1])))
        values = referee(np.ones((1, rows.shape[1]))).values[0]
        np.testing.assert_allclose(parts, values, rtol=1e-6, atol=1e-6)


def test_sampled_values_agree_with_shap_within_its_own_sampling() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(3, 9))
    exact = shap.explainers.Exact(tangled, np.zeros((1, 9)))(rows).values

    found = shapley(tangled, rows, np.zeros(9), differs=np.ones((3, 9), dtype=bool), seed="s").parts

    size = np.abs(exact).sum(axis=1, keepdims=True)
    assert np.max(np.abs(found - exact) / size) < 0.05


def test_the_parts_of_a_served_dose_lead_from_the_typical_patient_to_the_estimate() -> None:
    ledger = Ledger()
    for prediction in a_dose_engine().served.predict(five_rows(ledger), ledger=ledger):
        told, estimate = prediction.contributions, prediction.estimate
        assert told is not None
        assert estimate is not None
        assert told.base + math.fsum(p.value for p in told.parts) + told.rest == pytest.approx(told.output, abs=1e-6)
        assert told.output == pytest.approx(estimate.value, rel=1e-5)
        assert abs(told.rest) <= 0.05 * sum(abs(part.value) for part in told.parts)


def test_the_parts_of_a_risk_are_on_the_margin_before_calibration() -> None:
    ledger = Ledger()
    served = a_risk_engine().served
    rows = five_rows(ledger)

    for prediction, margin in zip(
        served.predict(rows, ledger=ledger), served.margin(frame_of_rows(SCHEMA, rows).values), strict=True
    ):
        assert prediction.contributions is not None
        assert prediction.contributions.output == pytest.approx(margin, abs=1e-6)
        assert prediction.contributions.unit == "log odds"
        assert "before calibration" in prediction.explained


def test_a_feature_that_moves_nothing_has_no_importance() -> None:
    engine = a_dose_engine()
    frame, _, _ = made_rows(60, 11)

    importance = engine.served.importance(frame)

    assert set(importance) == set(SCHEMA.names)
    assert importance["gene"] > 3 * importance["crp"]  # the made dose hangs on the gene, and on CRP not at all


def test_parts_are_told_in_clinical_words_a_feature_and_its_mask_as_one() -> None:
    ledger = Ledger()
    rows = [a_row(ledger, age=44.0, weight=71.0, gene="slow")]

    told = a_dose_engine().served.predict(rows, ledger=ledger)[0].contributions

    assert told is not None
    texts = {part.feature: part.text for part in told.parts}
    assert texts["age"] == "age 44 years"
    assert texts["gene"] == "gene slow"
    assert texts.get("smoker", "smoker not known") == "smoker not known"
    assert len(texts) == len(told.parts)


def test_each_part_reaches_the_patient_or_the_model() -> None:
    ledger = Ledger()
    for prediction in a_dose_engine().served.predict(five_rows(ledger), ledger=ledger):
        assert prediction.contributions is not None
        for part in prediction.contributions.parts:
            reached = ledger.reachable(part.because)
            assert {e.kind for e in reached.values() if not e.because} <= LEAF_KINDS
            known = part.text.endswith("not known")
            assert any(e.kind == ("model" if known else "patient") for e in reached.values())
