"""Parts in which columns act through each other: what they recover, what they serve, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from posologist.core.errors import ModelError
from posologist.learn.artefact import load
from posologist.learn.features import Feature, Frame, Schema
from posologist.learn.fit.bilinear import FittedBilinear
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.factorise import Factorisation
from posologist.learn.fit.parts import Matrix, Task, fit_part
from posologist.learn.fit.recipe import Crossed, Factorised, Linear, Part, Recipe
from posologist.learn.fit.save import rows_to_try
from served_models import FACTS, made_rows

LEVELS = ("diuretic", "inhibitor", "blocker", "antagonist")
PEOPLE = ("age", "renin", "egfr", "black")
SCHEMA_OF_DRUGS = Schema(
    task="made-response",
    version="1",
    features=(
        Feature(name="pathway", kind="category", group="treatment", label="pathway", levels=LEVELS),
        Feature(name="dose", group="treatment", label="dose", unit="mg", low=0, high=20),
        *(Feature(name=name, group="labs and vitals", label=name, unit="mL", low=-9, high=9) for name in PEOPLE[:-1]),
        Feature(name="black", kind="flag", group="demographics", label="black"),
    ),
)
CROSSED = Crossed(left=PEOPLE, right=("pathway", "dose"))
FACTORISED = Factorised(left=(*PEOPLE, "dose"), right=("pathway",), rank=1)
SLOPES = np.array([[1.5, -1.5, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0], [0.0] * 4, [0.0] * 4])


def made_responses(n: int = 600, seed: int = 0, people: int = 400) -> tuple[Frame, np.ndarray, np.ndarray]:
    """Rows of patients under treatments, values missing; what a patient's numbers do depends on the treatment."""
    rng = np.random.default_rng(seed)
    numbers, black = rng.normal(size=(people, 3)), (rng.random((people, 1)) < 0.3).astype(float)
    group, pathway = rng.integers(0, people, n), rng.integers(0, 4, n)
    own = np.concatenate([numbers, black], axis=1)[group]
    outcome = (own * SLOPES[:, pathway].T).sum(axis=1) + rng.normal(0, 0.5, n)
    values = np.column_stack([pathway.astype(float), rng.uniform(0, 10, n), own])
    hidden = np.where(rng.random(values.shape) < 0.15, np.nan, values)
    hidden[:, :4] = values[:, :4]
    return Frame(SCHEMA_OF_DRUGS, hidden), outcome, group


def engine_of(*parts: Part, n: int = 600, seed: int = 0) -> FittedEngine:
    frame, outcome, group = made_responses(n, seed)
    recipe = Recipe(parts=parts, link="identity", folds=3, least=0.0)
    return fit_engine(frame, outcome, kind="regression", group=group, recipe=recipe, seed=seed)


def low_rank(n: int, *, seed: int = 0, rank: int = 2, states: int = 6) -> tuple[Matrix, Task, np.ndarray]:
    """A matrix of 20 numbers and the states of a treatment; the truth is bilinear of this rank, plus a bias."""
    rng = np.random.default_rng(seed)
    numbers, state = rng.normal(size=(n, 20)), rng.integers(0, states, n)
    slopes = rng.normal(size=(20, rank)) @ rng.normal(size=(rank, states)) / np.sqrt(20.0)
    truth = (numbers * slopes[:, state].T).sum(axis=1) + rng.normal(0, 0.5, states)[state]
    truth = (truth - truth.mean()) / truth.std()
    columns = [*(f"n{j}" for j in range(20)), *(f"state={k}" for k in range(states))]
    task = Task(truth + rng.normal(0, 0.7, n), np.arange(n), np.ones(n), columns, {}, yes_no=False, seed=0)
    return np.column_stack([numbers, np.eye(states)[state]]).astype(np.float32), task, truth


NUMBERS = tuple(f"n{j}" for j in range(20))
CROSSED_STATES = Crossed(left=NUMBERS, right=("state",))
FACTORISED_STATES = Factorised(left=NUMBERS, right=("state",), rank=2)


def error(part: Part, n: int, seed: int = 0) -> float:
    """Error of new rows against the truth, whose standard deviation is 1."""
    matrix, task, truth = low_rank(n + 2000, seed=seed)
    fitted = fit_part(part, matrix[:n], task.take(np.arange(n)))
    return float(np.sqrt(np.mean((fitted.margin(matrix[n:]) - truth[n:]) ** 2)))


def a_factorisation(part: Factorised, matrix: Matrix, task: Task, side: np.ndarray) -> Factorisation:
    """The estimator told the same, where row r is of patient r, and further patients without cells."""
    states, treatment = np.unique(matrix[:, 20:], axis=0, return_inverse=True)
    model = Factorisation(part.rank, ridge=part.ridge, sweeps=part.sweeps, random_state=task.seed)
    pairs = np.column_stack([np.arange(len(matrix)), treatment.reshape(-1)])
    everyone = np.concatenate([matrix[:, :20], side]).astype(np.float64)
    return model.fit(pairs, task.outcome, patient_side=everyone, treatment_side=states.astype(np.float64))


# What is recovered


@pytest.mark.parametrize(
    "part", [CROSSED_STATES, CROSSED_STATES.model_copy(update={"loss": "huber"}), FACTORISED_STATES]
)
def test_what_acts_through_the_treatment_is_recovered_far_better_than_by_a_line(part: Part) -> None:
    assert error(Linear(), 2000) > 0.7
    assert error(part, 2000) < 0.25


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_few_rows_of_a_low_rank_are_recovered_better_by_factors_than_by_products(seed: int) -> None:
    assert error(FACTORISED_STATES, 300, seed) < 0.9 * error(CROSSED_STATES, 300, seed)


def test_products_that_are_penalised_away_leave_the_line() -> None:
    matrix, task, _ = low_rank(400)
    for loss in ("squared", "huber"):
        crossed = fit_part(CROSSED_STATES.model_copy(update={"loss": loss, "product_penalty": 1e12}), matrix, task)
        linear = fit_part(Linear(loss=loss), matrix, task)  # type: ignore[arg-type]

        np.testing.assert_allclose(crossed.margin(matrix), linear.margin(matrix), atol=1e-6)


def test_a_crossed_part_says_the_same_wherever_the_zero_of_a_column_lies() -> None:
    matrix, task, _ = low_rank(400)
    moved = matrix + np.float32(2.0) * (np.arange(matrix.shape[1]) == 3)

    one, other = fit_part(CROSSED_STATES, matrix, task), fit_part(CROSSED_STATES, moved.astype(np.float32), task)

    np.testing.assert_allclose(one.margin(matrix), other.margin(moved.astype(np.float32)), atol=1e-5)


def test_a_crossed_part_is_right_on_average_where_columns_go_together() -> None:
    matrix, task, _ = low_rank(400)
    curved = replace(task, outcome=task.outcome + matrix[:, 0].astype(np.float64) ** 2)

    fitted = fit_part(Crossed(left=("n0", "n1"), right=("n0",)), matrix, curved)

    assert np.mean(curved.outcome - fitted.margin(matrix)) == pytest.approx(0.0, abs=1e-9)


def test_outliers_move_huber_less_than_squares() -> None:
    matrix, task, truth = low_rank(1500)
    wild = replace(task, outcome=task.outcome + 30.0 * (np.arange(1500) % 50 == 0))
    huber = fit_part(CROSSED_STATES.model_copy(update={"loss": "huber"}), matrix, wild)
    squared = fit_part(CROSSED_STATES, matrix, wild)

    errors = [np.sqrt(np.mean((part.margin(matrix) - truth) ** 2)) for part in (huber, squared)]

    assert errors[0] < 0.5 * errors[1]


def test_a_weight_of_two_counts_as_the_row_told_twice() -> None:
    matrix, task, _ = low_rank(300)
    heavy = np.arange(300) < 100
    twice = np.concatenate([np.arange(300), np.flatnonzero(heavy)])

    weighted = fit_part(CROSSED_STATES, matrix, replace(task, weight=np.where(heavy, 2.0, 1.0)))
    told = fit_part(CROSSED_STATES, matrix[twice], task.take(twice))

    np.testing.assert_allclose(weighted.margin(matrix), told.margin(matrix), atol=1e-8)


@pytest.mark.parametrize("part", [CROSSED_STATES, FACTORISED_STATES])
def test_rows_of_little_weight_mislead_little(part: Part) -> None:
    matrix, task, truth = low_rank(1200)
    wrong = np.arange(1200) < 400
    misled = replace(task, outcome=np.where(wrong, -2.0 * task.outcome, task.outcome))

    said = [
        fit_part(part, matrix, replace(misled, weight=np.where(wrong, weight, 1.0))).margin(matrix)
        for weight in (1.0, 0.01)
    ]

    errors = [np.sqrt(np.mean((margin - truth) ** 2)) for margin in said]
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("part", [CROSSED_STATES, FACTORISED_STATES])
def test_a_row_of_no_weight_is_as_if_it_were_not_there(part: Part) -> None:
    matrix, task, _ = low_rank(300)
    kept = np.arange(300) >= 100

    weighted = fit_part(part, matrix, replace(task, weight=kept.astype(float)))
    left_out = fit_part(part, matrix[kept], task.take(kept))

    np.testing.assert_allclose(weighted.margin(matrix), left_out.margin(matrix), atol=1e-8)


def test_the_size_of_all_weights_together_does_not_matter_to_a_factorisation() -> None:
    matrix, task, _ = low_rank(300)

    one, ten = (fit_part(FACTORISED_STATES, matrix, replace(task, weight=np.full(300, w))) for w in (1.0, 10.0))

    np.testing.assert_allclose(one.margin(matrix), ten.margin(matrix), atol=1e-8)


# The factorisation as it answers for a new patient


def test_what_is_served_is_the_answer_of_the_factorisation_for_new_patients() -> None:
    matrix, task, _ = low_rank(250)
    strangers = low_rank(40, seed=9)[0]
    model = a_factorisation(FACTORISED_STATES, matrix, task, np.zeros((0, 20)))
    fitted = fit_part(FACTORISED_STATES, matrix, task)
    states = np.unique(matrix[:, 20:], axis=0)

    wanted = model.predict_new_patients(strangers[:, :20].astype(np.float64))

    for k, state in enumerate(states):
        asked = np.concatenate([strangers[:, :20], np.tile(state, (40, 1))], axis=1)
        np.testing.assert_allclose(fitted.margin(asked), wanted[:, k], atol=1e-10)


def test_the_lines_of_a_factorisation_are_its_answer_for_patients_without_cells() -> None:
    matrix, task, _ = low_rank(250)
    side = low_rank(30, seed=9)[0][:, :20]
    model = a_factorisation(FACTORISED_STATES, matrix, task, side)
    (of_patient, at_patient), _ = model.lines()

    patients = side.astype(np.float64) @ of_patient + at_patient
    treatments = model.treatments_.value
    said = model.mean_ + patients[:, -1:] + treatments[:, -1] + patients[:, :-1] @ treatments[:, :-1].T

    pairs = np.array([(250 + i, k) for i in range(30) for k in range(6)])
    np.testing.assert_allclose(said.reshape(-1), model.predict(pairs), atol=1e-10)


def test_a_treatment_that_was_never_seen_is_answered_by_its_side_information() -> None:
    matrix, task, _ = low_rank(250)
    unknown = np.where(np.arange(26) < 20, matrix[:5], np.float32(0.5)).astype(np.float32)
    model = a_factorisation(FACTORISED_STATES, matrix, task, np.zeros((0, 20)))
    (of_patient, at_patient), (of_treatment, at_treatment) = model.lines()

    patients = unknown[:, :20].astype(np.float64) @ of_patient + at_patient
    treatments = unknown[:, 20:].astype(np.float64) @ of_treatment + at_treatment
    wanted = model.mean_ + patients[:, -1] + treatments[:, -1] + (patients * treatments)[:, :-1].sum(axis=1)

    np.testing.assert_allclose(fit_part(FACTORISED_STATES, matrix, task).margin(unknown), wanted, atol=1e-10)


def test_rows_of_one_patient_share_factors() -> None:
    matrix, task, _ = low_rank(200)
    repeated = np.concatenate([matrix, matrix])
    repeated[200:, 20:] = np.roll(matrix[:, 20:], 1, axis=0)
    both = np.concatenate([task.outcome, task.outcome])
    weight, columns = np.ones(400), task.columns
    one = Task(both, np.tile(np.arange(200), 2), weight, columns, {}, yes_no=False, seed=0)

    together = fit_part(FACTORISED_STATES, repeated, one).margin(matrix)
    apart = fit_part(FACTORISED_STATES, repeated, replace(one, group=np.arange(400))).margin(matrix)

    assert np.abs(together - apart).max() > 1e-3


# Served


@pytest.mark.parametrize("part", [CROSSED, CROSSED.model_copy(update={"loss": "huber"}), FACTORISED])
def test_the_graph_agrees_with_it_with_values_missing_and_treatments_never_seen(part: Part) -> None:
    engine = engine_of(part)

    rows = rows_to_try(engine.frame)
    rows[::3, 0] = 4.0  # none of the levels
    assert np.isnan(rows[:, 0]).sum() > 50
    np.testing.assert_allclose(engine.served.outputs(rows), engine.model.outputs(rows), rtol=1e-6, atol=1e-6)


def test_a_yes_no_outcome_is_served_by_the_crossed_part() -> None:
    frame, _, yes = made_rows(400, 2)
    part = Crossed(left=("age", "crp"), right=("gene", "smoker"))
    recipe = Recipe(parts=(part,), link="logit", folds=2)

    engine = fit_engine(frame, yes, kind="classification", group=np.arange(400), recipe=recipe, seed=0)

    assert np.corrcoef(engine.crossed, yes)[0, 1] > 0.3
    rows = rows_to_try(frame)
    np.testing.assert_allclose(engine.served.outputs(rows), engine.model.outputs(rows), rtol=1e-6, atol=1e-6)


def test_both_are_blended_saved_and_loaded_under_their_names(tmp_path: Path) -> None:
    engine = engine_of(CROSSED, FACTORISED, Linear())
    later, outcome, _ = made_responses(1000, 7)

    engine.save(tmp_path, FACTS)
    held = load(tmp_path, schema=SCHEMA_OF_DRUGS)

    assert held.manifest.components == ("crossed-1", "factorisation-2", "linear-3")
    assert engine.weights["crossed-1"] + engine.weights["factorisation-2"] > 0.8
    assert Recipe.model_validate(held.manifest.recipe, strict=False).parts[:2] == (CROSSED, FACTORISED)
    np.testing.assert_array_equal(held.answers(later).value, engine.predict(later).value)
    alone = engine_of(Linear()).predict(later).value
    assert np.std(held.answers(later).value - outcome) < 0.75 * np.std(alone - outcome)


def test_the_same_rows_give_the_same_parts() -> None:
    assert engine_of(CROSSED, FACTORISED).served.manifest == engine_of(CROSSED, FACTORISED).served.manifest


# Poor tables, and what is refused


@pytest.mark.parametrize("part", [CROSSED_STATES, FACTORISED_STATES])
def test_constant_columns_add_nothing(part: Part) -> None:
    matrix, task, _ = low_rank(200)
    still = matrix.copy()
    still[:, [1, 2]] = np.array([3.0, 0.0], dtype=np.float32)
    asked = still.copy()
    asked[:, [1, 2]] = np.array([9.0, 5.0], dtype=np.float32)

    fitted = fit_part(part, still, task)

    np.testing.assert_allclose(fitted.margin(asked), fitted.margin(still), atol=1e-8)


def test_one_treatment_is_a_line_to_the_crossed_part() -> None:
    matrix, task, _ = low_rank(200, states=1)

    crossed, linear = (fit_part(part, matrix, task).margin(matrix) for part in (CROSSED_STATES, Linear()))

    np.testing.assert_allclose(crossed, linear, atol=1e-8)


def test_a_single_patient_is_learned_from_by_the_crossed_part() -> None:
    matrix, task, _ = low_rank(200)
    matrix[:, :20] = matrix[0, :20]

    fitted = fit_part(CROSSED_STATES, matrix, replace(task, group=np.zeros(200, dtype=np.int64)))

    assert np.all(np.isfinite(fitted.margin(matrix)))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"yes_no": True}, "yes/no"),
        ({"quantile": 0.1}, "quantile"),
        ({"group": np.zeros(200, dtype=np.int64)}, "of one patient"),
        ({"outcome": np.zeros(200)}, "all outcomes are equal"),
    ],
)
def test_what_a_factorisation_cannot_learn_from_is_refused(changed: dict[str, object], says: str) -> None:
    matrix, task, _ = low_rank(200)

    with pytest.raises(ModelError, match=rf"recipe, factorisation.*{says}"):
        fit_part(FACTORISED_STATES, matrix, replace(task, **changed))  # type: ignore[arg-type]


def test_treatments_that_are_one_or_measurements_are_refused() -> None:
    matrix, task, _ = low_rank(400, states=1)

    with pytest.raises(ModelError, match="one state of state"):
        fit_part(FACTORISED_STATES, matrix, task)
    with pytest.raises(ModelError, match="400 states of n0"):
        fit_part(FACTORISED_STATES.model_copy(update={"right": ("n0",)}), matrix, task)


def test_a_quantile_is_refused_by_the_crossed_part() -> None:
    matrix, task, _ = low_rank(100)

    with pytest.raises(ModelError, match=r"recipe, crossed.*quantile"):
        fit_part(CROSSED_STATES, matrix, replace(task, quantile=0.9))


@pytest.mark.parametrize("kind", [Crossed, Factorised])
def test_a_recipe_names_both_sides(kind: type[Crossed] | type[Factorised]) -> None:
    with pytest.raises(ValidationError):
        kind(left=(), right=("pathway",))
    with pytest.raises(ValidationError):
        kind(left=("age",))  # type: ignore[call-arg]


def test_a_side_that_no_column_is_of_is_refused() -> None:
    matrix, task, _ = low_rank(100)

    for part in (CROSSED_STATES, FACTORISED_STATES):
        with pytest.raises(ModelError, match="no column is of drug"):
            fit_part(part.model_copy(update={"right": ("drug",)}), matrix, task)


def test_it_is_served_as_two_maps_of_few_columns() -> None:
    matrix, task, _ = low_rank(200)

    crossed, factors = (fit_part(part, matrix, task) for part in (CROSSED_STATES, FACTORISED_STATES))

    assert isinstance(crossed, FittedBilinear)
    assert isinstance(factors, FittedBilinear)
    assert crossed.left.shape == (26, 7)  # a map for each state, and one for the columns alone
    assert factors.left.shape == (26, 4)  # rank 2, and the biases of both sides
