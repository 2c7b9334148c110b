"""The case study and the benchmark of factorisation: formulas by hand, gradients, rivals, generator, documents."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from posologist.core.evaluation import EvaluationDocument
from posologist.core.genotype import Versions
from posologist.study import factorisation, factorisation_case
from posologist.study.experiment import Run, Used
from posologist.study.factorisation import generated
from posologist.study.factorisation_case import Patients, Sigmoid, drawn, fitted, gradients, loss, risk
from posologist.study.factorisation_compared import METHODS, compared, small_world
from posologist.study.factorisation_index import index_rows, world
from posologist.study.factorisation_rivals import column_means, item_neighbourhood, plain_svd, user_neighbourhood
from posologist.study.plots import write_plots
from posologist.study.report import markdown


def a_run(*, quick=True):
    return Run(
        seed=0, quick=quick, versions=Versions(posologist="1", knowledge=""), used=lambda: Used(0.0, 0.0, None),
        told=lambda what, done, of: None,
    )  # fmt: skip


# The case by hand


def test_the_response_is_half_its_height_at_its_middle():
    curve = Sigmoid(height=0.8, steepness=6.0, middle=0.4)

    assert curve(np.array([0.4]))[0] == pytest.approx(0.4)
    assert curve(np.array([0.7]))[0] == pytest.approx(0.8 / (1.0 + np.exp(-1.8)))


def test_the_loss_by_hand():
    patients = Patients(np.array([0.5, 0.3]), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    curve = Sigmoid(height=1.0, steepness=1.0, middle=0.5)

    found = loss(patients, np.array([0.2, 0.6, 0.1]), curve)

    second = 0.2 * 0.3 - 0.1 - 1.0 / (1.0 + np.exp(0.2))
    assert found == pytest.approx((0.2 * 0.5 + 0.6 - 0.5) ** 2 + second**2)


def test_risk_rises_with_dose_and_saturates():
    doses = np.array([0.0, 0.3, 0.5, 0.7, 0.9, 1e9])

    found = risk(doses)

    assert found[0] == 0.0
    assert found[2] == pytest.approx(0.5 * 0.5 / (1.0 * 0.5 + 1.0))
    assert (np.diff(found) > 0.0).all()
    assert found[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("place", range(6))
def test_the_gradients_of_the_case_are_those_of_its_loss(place):
    patients, weights, curve = drawn(0), np.array([0.4, -0.3, 0.7]), np.array([0.9, 5.0, 0.45])

    def at(by):
        moved = np.concatenate([weights, curve])
        moved[place] += by
        return loss(patients, moved[:3], Sigmoid(*moved[3:]))

    found = np.concatenate(gradients(patients, weights, Sigmoid(*curve)))
    assert found[place] == pytest.approx((at(1e-6) - at(-1e-6)) / 2e-6, rel=1e-5, abs=1e-7)


def test_descent_ends_where_least_squares_is():
    patients, curve = drawn(0), Sigmoid()

    found = fitted(patients, curve, steps=5000)

    best = np.linalg.lstsq(patients.columns, curve(patients.dose), rcond=None)[0]
    np.testing.assert_allclose(found.weights, best, atol=1e-6)
    assert (np.diff(found.history) <= 1e-15).all()


def test_a_response_that_is_fitted_as_well_makes_the_loss_meaningless():
    patients = drawn(0)

    held, free = (fitted(patients, Sigmoid(), steps=4000, free_curve=own) for own in (False, True))

    assert free.history[-1] < 0.01 * held.history[-1]
    assert abs(free.weights[0]) < 0.1 * abs(held.weights[0])


def test_twenty_patients_stand_five_on_each_dose():
    doses, counts = np.unique(drawn(3).dose, return_counts=True)

    np.testing.assert_array_equal(doses, [0.3, 0.5, 0.7, 0.9])
    np.testing.assert_array_equal(counts, 5)


# Rivals


def test_plain_svd_gives_back_a_full_matrix_of_its_rank():
    rng = np.random.default_rng(0)
    full = rng.normal(size=(9, 2)) @ rng.normal(size=(2, 5))

    np.testing.assert_allclose(plain_svd(full - full.mean(axis=0), rank=2), full - full.mean(axis=0), atol=1e-10)


def test_item_neighbourhood_by_hand():
    seen = np.array([[1.0, 1.0, np.nan], [-1.0, -1.0, -1.0], [0.0, 0.0, 1.0]])

    found = item_neighbourhood(seen)

    means = column_means(seen)
    assert found[0, 2] > means[2]
    assert found[1, 2] < means[2]


def test_user_neighbourhood_follows_the_patient_who_is_most_alike():
    seen = np.array([[1.0, 0.0, np.nan], [1.0, 0.0, 0.9], [0.0, 1.0, 0.1], [1.0, 0.1, 0.8], [0.1, 1.0, 0.2]])
    nearest = NearestNeighbors(n_neighbors=1).fit(seen[1:, :2]).kneighbors(seen[:1, :2])[1][0, 0] + 1

    found = user_neighbourhood(seen)

    assert nearest == 1
    assert found[0, 2] == pytest.approx(seen[nearest, 2], abs=0.25)
    assert found[0, 2] > column_means(seen)[2] + 0.1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_every_cell_and_never_sees_the_hidden_ones(name):
    given = small_world(1, 20)
    altered = replace(given, truth=given.truth + np.isnan(given.seen) * 99.0)

    found = METHODS[name](given)

    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, METHODS[name](altered))


def test_a_comparison_can_be_rerun_to_the_same_numbers():
    one, two = (compared(5, n_patients=20, n_worlds=3) for _ in range(2))

    assert one.rows == two.rows


def test_side_information_beats_treatment_means_where_it_matters():
    found = compared(0, n_patients=60, n_worlds=4).rmse

    assert found["factorisation with side information"].mean() < 0.7 * found["treatment means"].mean()


# The benchmark's matrix


def test_the_first_numbers_of_the_generator_are_pinned():
    matrix = generated(n_patients=1000, n_treatments=50, n_cells=5000, n_cold=20)

    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(matrix.side, rng.normal(size=(1000, 12)).astype(np.float32))
    np.testing.assert_allclose(matrix.side[0, :3], [0.12573022, -0.13210486, 0.64042264], rtol=1e-6)
    np.testing.assert_array_equal(matrix.pairs[:3], [[437, 40], [90, 40], [316, 3]])
    np.testing.assert_allclose(matrix.outcome[:3], [1.065352, -0.649194, -0.938485], rtol=1e-4)
    assert (int(matrix.train.sum()), int(matrix.warm.sum()), int(matrix.cold.sum())) == (4254, 495, 91)


def test_no_hidden_cell_is_learned_from():
    matrix = generated(n_patients=500, n_treatments=20, n_cells=3000, n_cold=50)

    hidden = {tuple(pair) for pair in matrix.pairs[matrix.warm | matrix.cold].tolist()}
    assert not hidden & {tuple(pair) for pair in matrix.pairs[matrix.train].tolist()}
    assert not set(matrix.pairs[matrix.cold, 0].tolist()) & set(matrix.pairs[matrix.train, 0].tolist())
    assert not (matrix.warm & matrix.cold).any()


# The index


def test_only_the_gate_lets_no_unsafe_treatment_through():
    rows = {row.method: row.metrics for row in index_rows(0, quick=True)}

    for name, metrics in rows.items():
        unsafe, unchecked = (metrics[each].value for each in ("unsafe_picks_percent", "unchecked_picks_percent"))
        assert (unsafe, unchecked) == (0.0, 0.0) if name.endswith(", gate") else unsafe > 0.0


def test_some_cells_of_an_index_world_are_unsafe_and_some_unknown():
    made = world(0)

    assert 0.1 < (made.index <= 2.0).mean() < 0.5
    assert 0.02 < np.isnan(made.known_index).mean() < 0.08


# Documents


def test_the_benchmark_holds_what_other_programs_read(monkeypatch):
    monkeypatch.setattr(factorisation, "generated", lambda seed, **_: generated(
        seed, n_patients=1500, n_treatments=40, n_cells=15_000, n_cold=100))  # fmt: skip
    document = factorisation.evaluate_factorisation(a_run())

    engine = document.rows[0]
    assert engine.method == "engine"
    assert {"fit_seconds", "rmse_warm", "rmse_cold"} <= set(engine.metrics)
    assert engine.metrics["rmse_cold"].value < document.rows[-1].metrics["rmse_cold"].value
    assert document.label == "simulated patients"
    assert EvaluationDocument.model_validate_json(document.model_dump_json(by_alias=True)) == document


def test_the_case_has_three_subplots_a_table_and_what_it_cannot_show(tmp_path):
    document = factorisation_case.evaluate_case(a_run())

    plots = write_plots(document, tmp_path)
    text = markdown(document, plots)
    assert plots == ("factorisation-case-subplots.svg",)
    assert {curve.kind for curve in document.curves} == {"convergence", "utility", "risk"}
    assert {row.method for row in document.rows} == set(METHODS)
    assert "parameter analysis" in text
    assert any("cannot" in finding or "no table" in finding for finding in document.findings)
    svg = (tmp_path / plots[0]).read_text(encoding="utf-8")
    assert all(label in svg for label in ("loss", "response S(x)", "risk R(x)"))


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["factorisation-case", "--quick", "--json"], 0, None),
        (["factorisation", "--data", "."], 2, "makes its own patients"),
        (["factorisations"], 2, "factorisation-case"),
    ],
)  # fmt: skip
def test_the_command_runs_experiments_without_data(arguments, code, says):
    done = subprocess.run(
        [sys.executable, "-c", "from posologist.serve.cli import main; main()", "evaluate", *arguments],
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == code, done.stderr
    if says is None:
        assert json.loads(done.stdout)["task"] == "factorisation-case"
    else:
        assert says in done.stderr
