"""A part whose slopes differ between treatments as far as rows ask for it, and the caution with which it is blended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from posologist.core.errors import ModelError
from posologist.learn.artefact import load
from posologist.learn.features import Feature, Frame, Schema
from posologist.learn.fit.blend import shown
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.hierarchical import FittedHierarchical, fitted_hierarchical
from posologist.learn.fit.parts import Matrix, Task, fit_part
from posologist.learn.fit.recipe import Hierarchical, Linear, Recipe
from posologist.learn.fit.save import rows_to_try
from served_models import FACTS

LEVELS = ("diuretic", "inhibitor", "blocker")
PEOPLE = ("age", "renin", "egfr", "black")
SCHEMA = Schema(
    task="made-response",
    version="1",
    features=(
        Feature(name="pathway", kind="category", group="treatment", label="pathway", levels=LEVELS),
        Feature(name="age", group="demographics", label="age", unit="years", low=-9, high=9),
        Feature(name="renin", group="labs and vitals", label="renin", unit="ng/mL/h", low=-9, high=9),
        Feature(name="egfr", group="labs and vitals", label="eGFR", unit="mL/min", low=-9, high=9),
        Feature(name="black", kind="flag", group="demographics", label="black"),
    ),
)
ROWS = Hierarchical(left=PEOPLE, right=("pathway",))
SLOPES = np.array([[0.5, 0.5, 0.5], [1.5, -1.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""Of age, renin, eGFR and race under each pathway."""


def made_rows(n: int = 500, seed: int = 0) -> tuple[Frame, np.ndarray, np.ndarray]:
    """Rows with values missing; two to a patient."""
    rng = np.random.default_rng(seed)
    numbers, black = rng.normal(size=(n, 3)), (rng.random((n, 1)) < 0.3).astype(float)
    pathway = rng.integers(0, 3, n)
    own = np.concatenate([numbers, black], axis=1)
    outcome = (own * SLOPES[:, pathway].T).sum(axis=1) + np.array([0.0, 1.0, -1.0])[pathway] + rng.normal(0, 0.5, n)
    values = np.column_stack([pathway.astype(float), own])
    values[:, 3:] = np.where(rng.random((n, 2)) < 0.2, np.nan, values[:, 3:])
    return Frame(SCHEMA, values), outcome, np.arange(n) // 2


def engine_of(part: Hierarchical, *more: Linear) -> FittedEngine:
    frame, outcome, group = made_rows()
    recipe = Recipe(parts=(part, *more), link="identity", folds=3, least=0.0)
    return fit_engine(frame, outcome, kind="regression", group=group, recipe=recipe, seed=0)


STATES, NUMBERS = 4, tuple(f"n{j}" for j in range(8))
PART = Hierarchical(left=NUMBERS, right=("state",), curved=False)
COLUMNS = [*NUMBERS, *(f"state={k}" for k in range(STATES))]


def planted(n: int, *, seed: int = 0, states: int = STATES) -> tuple[Matrix, Task, np.ndarray]:
    """Eight numbers and a treatment: n0 acts alike under all, n1 and n2 by treatment, the others not at all."""
    rng = np.random.default_rng(seed)
    numbers, state = rng.normal(size=(n, 8)), rng.integers(0, states, n)
    slope = np.zeros((8, STATES))
    slope[0], slope[1], slope[2] = 0.6, (0.8, -0.8, 0.4, -0.4), (0.0, 0.0, 0.9, 0.0)
    truth = (numbers * slope[:, state].T).sum(axis=1) + np.array([0.3, -0.3, 0.5, 0.0])[state]
    task = Task(truth + rng.normal(0, 0.7, n), np.arange(n), np.ones(n), COLUMNS, {}, yes_no=False, seed=0)
    return np.column_stack([numbers, np.eye(STATES)[state]]).astype(np.float32), task, truth


def slope_of(fitted: FittedHierarchical, number: int, state: int) -> float:
    """By how much the margin rises with a number by 1 under a treatment."""
    rows = np.zeros((2, len(COLUMNS)), dtype=np.float32)
    rows[:, 8 + state] = 1.0
    rows[1, number] = 1.0
    low, high = fitted.margin(rows)
    return float(high - low)


def fitted_to(n: int, part: Hierarchical = PART, seed: int = 0) -> FittedHierarchical:
    matrix, task, _ = planted(n, seed=seed)
    return fitted_hierarchical(part, matrix, task)


# What is recovered


def test_planted_slopes_are_recovered_under_each_treatment() -> None:
    fitted = fitted_to(3000)

    for state, (one, two) in enumerate(zip((0.8, -0.8, 0.4, -0.4), (0.0, 0.0, 0.9, 0.0), strict=True)):
        assert slope_of(fitted, 0, state) == pytest.approx(0.6, abs=0.1)
        assert slope_of(fitted, 1, state) == pytest.approx(one, abs=0.1)
        assert slope_of(fitted, 2, state) == pytest.approx(two, abs=0.1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_new_rows_are_foretold_far_better_than_by_a_line(seed: int) -> None:
    matrix, task, truth = planted(2800, seed=seed)
    errors = []
    for part in (PART, Linear()):
        fitted = fit_part(part, matrix[:800], task.take(np.arange(800)))
        errors.append(float(np.sqrt(np.mean((fitted.margin(matrix[800:]) - truth[800:]) ** 2))))

    assert errors[0] < 0.25
    assert errors[1] > 3.0 * errors[0]


def test_numbers_of_no_meaning_vanish() -> None:
    fitted = fitted_to(2000)

    noise = [abs(slope_of(fitted, number, state)) for number in range(3, 8) for state in range(STATES)]
    assert max(noise) < 0.05
    assert np.mean(noise) < 0.02


def test_where_no_number_means_anything_nothing_is_said() -> None:
    matrix, task, _ = planted(600)
    chance = replace(task, outcome=np.random.default_rng(5).normal(size=600))

    assert fitted_hierarchical(PART, matrix, chance).margin(matrix).std() < 0.15


def test_a_number_that_acts_alike_under_all_treatments_is_learned_from_all_of_them() -> None:
    matrix, task, _ = planted(2000)
    rare = matrix[:, 8 + 3] == 0.0  # the fourth treatment is left with twenty rows
    kept = np.flatnonzero(rare | (np.cumsum(~rare) <= 20))

    fitted = fitted_hierarchical(PART, matrix[kept], task.take(kept))

    assert slope_of(fitted, 0, 3) == pytest.approx(0.6, abs=0.2)


def test_a_square_is_learned_where_it_is_asked_for() -> None:
    matrix, task, _ = planted(1500)
    bent = replace(task, outcome=task.outcome + 0.8 * matrix[:, 4].astype(np.float64) ** 2)
    left = []
    for curved in (True, False):
        fitted = fitted_hierarchical(PART.model_copy(update={"curved": curved}), matrix, bent)
        left.append(float(np.std(bent.outcome - fitted.margin(matrix))))

    assert left[0] < 0.8
    assert left[1] > 1.2


def test_a_flag_has_no_square() -> None:
    matrix, task, _ = planted(400)
    matrix[:, 5] = matrix[:, 5] > 0.0

    fitted = fitted_hierarchical(PART.model_copy(update={"curved": True}), matrix, task)

    assert fitted.columns.tolist() == [0, 1, 2, 3, 4, 6, 7]


def test_a_weight_of_two_counts_as_the_row_told_twice() -> None:
    matrix, task, _ = planted(300)
    heavy = np.arange(300) < 100
    twice = np.concatenate([np.arange(300), np.flatnonzero(heavy)])

    weighted = fitted_hierarchical(PART, matrix, replace(task, weight=np.where(heavy, 2.0, 1.0)))
    told = fitted_hierarchical(PART, matrix[twice], task.take(twice))

    np.testing.assert_allclose(weighted.margin(matrix), told.margin(matrix), atol=1e-6)


def test_a_row_of_no_weight_is_as_if_it_were_not_there() -> None:
    matrix, task, _ = planted(300)
    kept = np.arange(300) >= 100

    weighted = fitted_hierarchical(PART, matrix, replace(task, weight=kept.astype(float)))
    left_out = fitted_hierarchical(PART, matrix[kept], task.take(kept))

    np.testing.assert_allclose(weighted.margin(matrix), left_out.margin(matrix), atol=1e-6)


# Served


def test_the_graph_agrees_with_it_with_values_missing_and_treatments_never_seen(tmp_path: Path) -> None:
    engine = engine_of(ROWS)
    rows = rows_to_try(engine.frame)
    rows[::3, 0] = float(len(LEVELS))  # none of the levels

    assert np.isnan(rows[:, 0]).sum() > 50
    assert np.isnan(rows[:, 3:]).sum() > 200
    np.testing.assert_allclose(engine.served.outputs(rows), engine.model.outputs(rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("curved", [True, False])
def test_it_is_saved_and_loaded_and_answers_the_same(curved: bool, tmp_path: Path) -> None:
    part = ROWS.model_copy(update={"curved": curved})
    engine, later = engine_of(part, Linear()), made_rows(300, 7)[0]

    engine.save(tmp_path, FACTS)
    held = load(tmp_path, schema=SCHEMA)

    assert held.manifest.components == ("hierarchical-1", "linear-2")
    assert engine.weights["hierarchical-1"] > 0.7
    assert Recipe.model_validate(held.manifest.recipe, strict=False).parts[0] == part
    np.testing.assert_array_equal(held.answers(later).value, engine.predict(later).value)


def test_the_same_rows_give_the_same_part() -> None:
    assert engine_of(ROWS).served.manifest == engine_of(ROWS).served.manifest


# Poor tables, and what is refused


def test_constant_columns_add_nothing() -> None:
    matrix, task, _ = planted(300)
    still = matrix.copy()
    still[:, [3, 4]] = np.array([3.0, 0.0], dtype=np.float32)
    asked = still.copy()
    asked[:, [3, 4]] = np.array([9.0, 5.0], dtype=np.float32)

    for curved in (True, False):
        fitted = fitted_hierarchical(PART.model_copy(update={"curved": curved}), still, task)
        np.testing.assert_allclose(fitted.margin(asked), fitted.margin(still), atol=1e-6)


def test_one_treatment_is_a_line() -> None:
    matrix, task, _ = planted(1500, states=1)

    own, line = (fit_part(part, matrix, task).margin(matrix) for part in (PART, Linear(penalty=0.01)))

    assert np.all(np.isfinite(own))
    np.testing.assert_allclose(own, line, atol=0.15)
    assert np.corrcoef(own, line)[0, 1] > 0.995


def test_equal_outcomes_are_answered_with_themselves() -> None:
    matrix, task, _ = planted(200)

    fitted = fitted_hierarchical(PART, matrix, replace(task, outcome=np.full(200, 2.5)))

    np.testing.assert_allclose(fitted.margin(matrix), 2.5, atol=1e-6)


@pytest.mark.parametrize("changed", [{"yes_no": True}, {"quantile": 0.9}])
def test_a_quantile_and_a_yes_no_outcome_are_refused(changed: dict[str, object]) -> None:
    matrix, task, _ = planted(100)

    with pytest.raises(ModelError, match=r"recipe, hierarchical.*only the mean"):
        fit_part(PART, matrix, replace(task, **changed))  # type: ignore[arg-type]


def test_a_recipe_names_both_sides_and_only_features_that_there_are() -> None:
    matrix, task, _ = planted(100)

    with pytest.raises(ValidationError):
        Hierarchical(left=(), right=("state",))
    with pytest.raises(ModelError, match="no column is of drug"):
        fit_part(PART.model_copy(update={"right": ("drug",)}), matrix, task)


# How much of a prediction is shown to be no chance


def told(signal: float, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What a prediction adds, what was left of the outcome, weights and patients."""
    rng = np.random.default_rng(seed)
    beyond = rng.normal(size=n)
    return beyond, signal * beyond + rng.normal(size=n), np.ones(n), np.arange(n)


def test_a_strong_signal_counts_nearly_whole_and_its_opposite_not_at_all() -> None:
    beyond, left, weight, group = told(1.0)

    assert shown(beyond, left, weight, group) > 0.98
    assert shown(beyond, -left, weight, group) == 0.0


def test_noise_counts_for_little_on_average_and_mostly_for_nothing() -> None:
    shares = [shown(*told(0.0, seed=seed)) for seed in range(200)]

    assert np.mean([share == 0.0 for share in shares]) > 0.75  # z below 1: five in six
    assert np.mean(shares) < 0.12


def test_nothing_added_counts_for_nothing() -> None:
    _, left, weight, group = told(1.0)

    assert shown(np.zeros(400), left, weight, group) == 0.0


def test_a_patients_rows_told_twice_make_nothing_surer() -> None:
    beyond, left, weight, group = told(0.05)
    twice = [np.concatenate([each, each]) for each in (beyond, left, weight, group)]

    once = shown(beyond, left, weight, group)

    assert 0.0 < once < 0.95
    assert shown(*twice) == pytest.approx(once)  # type: ignore[arg-type]
    twice[3] = np.arange(800)
    assert shown(*twice) > once + 0.02  # type: ignore[arg-type]


@pytest.mark.parametrize("signal", [0.08, 0.15, 0.5])
def test_the_share_is_one_less_one_over_the_square_of_z(signal: float) -> None:
    beyond, left, weight, group = told(signal)
    slope = (beyond @ left) / (beyond @ beyond)
    error = np.sqrt(np.sum((beyond * (left - slope * beyond)) ** 2)) / (beyond @ beyond)

    assert shown(beyond, left, weight, group) == pytest.approx(max(0.0, 1.0 - (error / slope) ** 2))


# A cautious recipe


def cautiously(outcome: np.ndarray, frame: Frame, group: np.ndarray, *, cautious: bool) -> FittedEngine:
    recipe = Recipe(parts=(Linear(penalty=1e9), ROWS), link="identity", folds=3, least=0.0, cautious=cautious)
    return fit_engine(frame, outcome, kind="regression", group=group, recipe=recipe, seed=0)


@pytest.mark.parametrize("seed", range(3))
def test_where_there_is_nothing_to_be_learned_the_first_part_stands_alone(seed: int) -> None:
    frame, _, group = made_rows()
    chance = np.random.default_rng(seed).normal(3.0, 1.0, len(frame))
    cautious = cautiously(chance, frame, group, cautious=True).predict(frame).value

    np.testing.assert_allclose(cautious, chance.mean(), atol=0.1)  # the first part says one mean for all


def test_where_there_is_much_to_be_learned_caution_changes_little() -> None:
    frame, outcome, group = made_rows()
    later = made_rows(300, 7)[0]

    bold, cautious = (cautiously(outcome, frame, group, cautious=c).predict(later).value for c in (False, True))

    assert np.std(bold) > 1.0
    np.testing.assert_allclose(cautious, bold, atol=0.1)


def test_caution_takes_away_most_of_what_a_blend_makes_of_chance() -> None:
    frame, _, group = made_rows()
    widths = []
    for seed in range(12):
        chance = np.random.default_rng(seed + 50).normal(size=len(frame))
        widths.append([cautiously(chance, frame, group, cautious=c).predict(frame).value.std() for c in (False, True)])

    bold, careful = np.mean(widths, axis=0)
    assert careful < 0.5 * bold, (bold, careful)
