"""Patients x treatments factorised: solvers against each other, planted matrices, intervals, edges, the index."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from posologist.core.errors import InputError, ModelError
from posologist.learn.fit.factorise import Factorisation, pairs_of
from posologist.learn.fit.factorise_cells import cells_of
from posologist.learn.fit.factorise_choice import chosen, therapeutic_index
from posologist.learn.fit.factorise_descent import (
    Terms,
    descend,
    gradients,
    objective,
    published_step,
    slope_gradients,
)
from posologist.learn.fit.factorise_side import inverted, packed, side_of
from posologist.learn.fit.factorise_solve import alternate, balanced, started

FIXED = {"lambda1": 0.5, "lambda2": 0.8, "lambda_bias": 0.6}


def planted(seed=0, n=400, m=12, rank=2, share=0.5, noise=0.1, slope=0.5):
    """A low-rank matrix with biases and side information, some of its cells seen with noise."""
    rng = np.random.default_rng(seed)
    side = rng.normal(size=(n, 3))
    patients = side @ (slope * rng.normal(size=(3, rank))) + 0.5 * rng.normal(size=(n, rank))
    about = rng.normal(size=(m, 2))
    treatments = about @ rng.normal(size=(2, rank)) + 0.3 * rng.normal(size=(m, rank))
    truth = 4.0 + 0.3 * rng.normal(size=m) + patients @ treatments.T
    pairs = np.argwhere(rng.random((n, m)) < share)
    outcome = truth[pairs[:, 0], pairs[:, 1]] + noise * rng.normal(size=len(pairs))
    return {"side": side, "about": about, "truth": truth, "pairs": pairs, "outcome": outcome, "rng": rng}


def random_terms(seed=1, *, background=0.0, unsafe=False, n=7, m=5, rank=2):
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((n, m)) < 0.7)
    cells = cells_of(
        pairs, rng.normal(size=len(pairs)), (n, m), weight=rng.uniform(1.0, 2.0, len(pairs)), background=background
    )
    bad = np.argwhere(rng.random((n, m)) < 0.4)
    return Terms(
        cells, side_of(rng.normal(size=(n, 2)), n, float), side_of(rng.normal(size=(m, 3)), m, float),
        np.diag([0.7, 0.7, 0.4]), np.diag([0.9, 0.9, 0.3]), np.array([0.5, 0.5, 0.2]), np.array([0.3, 0.3, 0.6]),
        unsafe=cells_of(bad, np.zeros(len(bad)), (n, m), weight=np.full(len(bad), 1.7)) if unsafe else None,
        floor=-0.1,
    )  # fmt: skip


def random_halves(terms, seed=2, rank=2):
    rng = np.random.default_rng(seed)
    return tuple(
        replace(half, value=rng.normal(size=half.value.shape), slope=rng.normal(size=half.slope.shape))
        for half in started(terms, rank, rng)
    )


def rmse(left, right):
    return float(np.sqrt(np.mean((left - right) ** 2)))


# The objective and its gradients


@pytest.mark.parametrize("background, unsafe", [(0.0, False), (1.0, False), (0.0, True)])
@pytest.mark.parametrize("which, name", [(0, "value"), (1, "value"), (0, "slope"), (1, "slope")])
def test_gradients_are_the_slopes_of_the_objective(background, unsafe, which, name):
    terms = random_terms(background=background, unsafe=unsafe)
    halves = random_halves(terms)
    found = (gradients if name == "value" else slope_gradients)(terms, *halves)[which]

    def moved(place, by):
        array = getattr(halves[which], name).copy()
        array[place] += by
        new = list(halves)
        new[which] = replace(halves[which], **{name: array})
        return objective(terms, *new)

    numeric = np.array([(moved(place, 1e-5) - moved(place, -1e-5)) / 2e-5 for place in np.ndindex(found.shape)])
    np.testing.assert_allclose(found.reshape(-1), numeric, rtol=1e-5, atol=1e-6)


def test_the_published_step_goes_down_the_gradient_of_the_objective():
    terms = replace(random_terms(), patients=side_of(None, 7, float), treatments=side_of(None, 5, float), biases=False)
    terms = replace(terms, cells=replace(terms.cells, weight=np.ones_like(terms.cells.weight)))
    patients, treatments = (replace(half, value=np.where([1, 1, 0], half.value, 0.0)) for half in random_halves(terms))
    errors = np.zeros((7, 5))
    cells = terms.cells
    errors[cells.patient, cells.treatment] = cells.pull - cells.expected(patients, treatments)

    left, right = published_step(
        patients.value[:, :2], treatments.value[:, :2], errors, rate=0.03, lambda1=0.7, lambda2=0.9
    )

    of_patients, of_treatments = gradients(terms, patients, treatments)
    np.testing.assert_allclose(left, (patients.value - 0.03 * of_patients)[:, :2], atol=1e-12)
    np.testing.assert_allclose(right, (treatments.value - 0.03 * of_treatments)[:, :2], atol=1e-12)


def test_a_published_step_by_hand():
    left, right = published_step(
        np.array([[1.0], [2.0]]), np.array([[3.0]]), np.array([[0.5], [-1.0]]), rate=0.1, lambda1=0.2, lambda2=0.4
    )

    np.testing.assert_allclose(left, [[1.0 + 0.1 * (1.5 - 0.2)], [2.0 + 0.1 * (-3.0 - 0.4)]])
    np.testing.assert_allclose(right, [[3.0 + 0.1 * ((0.5 - 2.0) - 1.2)]])


# Solvers


@pytest.mark.parametrize("sides", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_descent_and_alternating_solution_reach_the_same_optimum(sides, biases):
    data = planted(n=40, m=9)
    given = {"patient_side": data["side"], "treatment_side": data["about"]} if sides else {"shape": (40, 9)}
    common = dict(rank=2, biases=biases, tolerance=1e-12, **FIXED)
    fast = Factorisation(solver="alternating", sweeps=2000, **common)
    slow = Factorisation(solver="descent", sweeps=40_000, rate=0.01, **common)

    fast.fit(data["pairs"], data["outcome"], **given)
    slow.fit(data["pairs"], data["outcome"], **given)

    everything = np.argwhere(np.ones((40, 9)))
    assert fast.history_[-1] == pytest.approx(slow.history_[-1], rel=1e-6)
    np.testing.assert_allclose(fast.predict(everything), slow.predict(everything), atol=2e-3)


@pytest.mark.parametrize("kind", ["implicit", "unsafe"])
def test_both_solvers_agree_on_implicit_feedback_and_on_unsafe_cells(kind):
    data = planted(n=30, m=8)
    bad = np.argwhere(data["rng"].random((30, 8)) < 0.3)
    feedback = {"feedback": "implicit", "confidence": 3.0} if kind == "implicit" else {"penalty": 2.0, "floor": 4.0}
    outcome = np.maximum(np.round(data["outcome"] - 3.0), 0.0) if kind == "implicit" else data["outcome"]
    common = dict(rank=2, tolerance=1e-11, **FIXED, **feedback)

    fast, slow = (
        Factorisation(solver=solver, sweeps=sweeps, rate=0.005, **common).fit(
            data["pairs"], outcome, shape=(30, 8), unsafe=bad if kind == "unsafe" else None
        )
        for solver, sweeps in (("alternating", 2000), ("descent", 40_000))
    )

    assert fast.history_[-1] == pytest.approx(slow.history_[-1], rel=1e-6)


@pytest.mark.parametrize("unsafe", [False, True])
def test_no_sweep_and_no_step_raises_the_objective(unsafe):
    terms = random_terms(unsafe=unsafe)
    start = random_halves(terms)

    _, _, sweeps = alternate(terms, *start, most_sweeps=30, tolerance=0.0)
    steps = descend(terms, *start, rate=1.0, most_steps=30, tolerance=0.0)

    assert (np.diff(sweeps) <= 1e-9 * sweeps[0]).all()
    assert (np.diff(steps.history) <= 0.0).all()
    assert steps.n_halved > 0


def test_balancing_changes_no_expected_outcome_and_never_raises_the_objective():
    terms = random_terms()
    before = random_halves(terms)

    after = balanced(terms, *before)

    np.testing.assert_allclose(terms.cells.expected(*after), terms.cells.expected(*before), atol=1e-10)
    assert objective(terms, *after) < objective(terms, *before)


def test_every_row_of_an_alternating_solution_is_where_its_gradient_is_zero():
    terms = random_terms()
    patients, treatments, _ = alternate(terms, *random_halves(terms), most_sweeps=3000, tolerance=0.0)

    for found in (*gradients(terms, patients, treatments), *slope_gradients(terms, patients, treatments)):
        np.testing.assert_allclose(found, 0.0, atol=1e-5)


# What is planted is found


def test_a_planted_low_rank_matrix_is_recovered():
    data = planted(noise=0.1)
    model = Factorisation(rank=2).fit(
        data["pairs"], data["outcome"], patient_side=data["side"], treatment_side=data["about"]
    )

    everything = np.argwhere(np.ones(data["truth"].shape))
    assert rmse(model.predict(everything), data["truth"].reshape(-1)) < 0.1
    assert model.noise_ == pytest.approx(0.01, rel=0.15)


def test_alternating_solution_recovers_it_without_side_information():
    data = planted(noise=0.05, share=0.8)
    model = Factorisation(rank=2, solver="alternating", lambda1=0.01, lambda2=0.01, lambda_bias=0.01, tolerance=1e-7)
    model.fit(data["pairs"], data["outcome"])

    everything = np.argwhere(np.ones(data["truth"].shape))
    assert rmse(model.predict(everything), data["truth"].reshape(-1)) < 0.08


def test_side_information_answers_for_a_new_patient_and_a_new_treatment():
    data = planted(seed=3, n=600, m=60, noise=0.1)
    known = (data["pairs"][:, 0] < 500) & (data["pairs"][:, 1] < 50)
    model = Factorisation(rank=2).fit(
        data["pairs"][known], data["outcome"][known], patient_side=data["side"][:500], treatment_side=data["about"][:50]
    )
    truth = data["truth"]

    patients = model.new_patients(data["side"][500:]).value
    treatments = model.new_treatments(data["about"][50:]).value

    means = truth[:500, :50].mean(axis=0)
    assert patients.shape == (100, 50)
    assert rmse(patients, truth[500:, :50]) < 0.8 * rmse(np.broadcast_to(means, (100, 50)), truth[500:, :50])
    assert treatments.shape == (10, 500)
    assert rmse(treatments, truth[:500, 50:].T) < 0.8 * rmse(np.full((10, 500), means.mean()), truth[:500, 50:].T)


def test_own_outcomes_of_a_new_patient_sharpen_the_answer():
    data = planted(seed=4, noise=0.1)
    known = data["pairs"][:, 0] < 300
    model = Factorisation(rank=2).fit(data["pairs"][known], data["outcome"][known], patient_side=data["side"][:300])
    new = ~known
    own = data["pairs"][new] - [300, 0]

    without = model.new_patients(data["side"][300:])
    with_own = model.new_patients(data["side"][300:], X=own, y=data["outcome"][new])

    truth = data["truth"][300:]
    assert rmse(with_own.value, truth) < 0.5 * rmse(without.value, truth)
    assert np.mean(with_own.high - with_own.low) < np.mean(without.high - without.low)


def test_a_patient_asked_as_new_with_the_same_cells_gets_the_same_answer():
    data = planted(seed=5)
    model = Factorisation(rank=2, tolerance=1e-9, sweeps=500).fit(
        data["pairs"], data["outcome"], patient_side=data["side"]
    )
    own = data["pairs"][:, 0] == 7

    again = model.new_patients(data["side"][7:8], X=data["pairs"][own] - [7, 0], y=data["outcome"][own])

    everything = np.stack([np.full(12, 7), np.arange(12)], axis=1)
    np.testing.assert_allclose(again.value[0], model.interval(everything).value, atol=1e-3)
    np.testing.assert_allclose(again.low[0], model.interval(everything).low, atol=2e-3)


def test_implicit_feedback_ranks_what_similar_patients_were_given():
    rng = np.random.default_rng(6)
    likes = rng.random((200, 1)) < 0.5
    chance = np.where(likes, [[0.7] * 5 + [0.05] * 5], [[0.05] * 5 + [0.7] * 5])
    counts = rng.random((200, 10)) < chance
    held = rng.random((200, 10)) < 0.2
    pairs = np.argwhere(counts & ~held)
    model = Factorisation(rank=2, solver="alternating", feedback="implicit", confidence=5.0, lambda1=1.0, lambda2=1.0)
    model.fit(pairs, np.ones(len(pairs)), shape=(200, 10))

    asked = np.argwhere(held)
    score = model.predict(asked)
    given_later = counts[held]
    better = np.mean(score[given_later][:, None] > score[~given_later][None, :])
    assert better > 0.75
    with pytest.raises(ModelError, match="interval would be invented"):
        model.interval(asked)


@pytest.mark.parametrize("feedback", ["explicit", "implicit"])
def test_a_new_patient_with_a_known_patients_cells_is_where_the_known_one_is(feedback):
    data = planted(seed=11, n=60, m=8)
    outcome = np.maximum(np.round(data["outcome"] - 3.0), 0.0)
    model = Factorisation(
        rank=2, solver="alternating", feedback=feedback, confidence=3.0, sweeps=3000, tolerance=0.0
    ).fit(data["pairs"], outcome, patient_side=data["side"])
    own = data["pairs"][:, 0] == 5

    again = model.predict_new_patients(data["side"][5:6], X=data["pairs"][own] - [5, 0], y=outcome[own])
    column = data["pairs"][:, 1] == 2
    under = model.predict_new_treatments(X=np.stack([np.zeros(column.sum(), int), data["pairs"][column, 0]], 1),
                                         y=outcome[column])  # fmt: skip

    np.testing.assert_allclose(again[0], model.predict([[5, i] for i in range(8)]), atol=1e-4)
    np.testing.assert_allclose(under[0], model.predict([[p, 2] for p in range(60)]), atol=1e-4)


def test_a_fitted_model_does_not_hold_the_outcomes_it_learned_from():
    data = planted(n=40, m=6)
    model = Factorisation(rank=2).fit(data["pairs"], data["outcome"])

    held = pickle.dumps(model)
    assert not any(value.tobytes() in held for value in (data["outcome"] - model.mean_, data["outcome"]))


# Intervals


@pytest.mark.parametrize("n, share", [(60, 0.6), (400, 0.3)])
def test_intervals_hold_nine_outcomes_in_ten(n, share):
    found = {"known": [], "new": []}
    for seed in range(6):
        data = planted(seed=10 + seed, n=n + 100, m=15, share=1.0, noise=0.3)
        rng = data["rng"]
        seen = (data["pairs"][:, 0] < n) & (rng.random(len(data["pairs"])) < share)
        model = Factorisation(rank=2).fit(data["pairs"][seen], data["outcome"][seen], patient_side=data["side"][:n])
        unseen = (data["pairs"][:, 0] < n) & ~seen
        known = model.interval(data["pairs"][unseen])
        new = model.new_patients(data["side"][n:])
        outcome = data["outcome"][data["pairs"][:, 0] >= n].reshape(100, 15)
        found["known"] += ((known.low <= data["outcome"][unseen]) & (data["outcome"][unseen] <= known.high)).tolist()
        found["new"] += ((new.low <= outcome) & (outcome <= new.high)).reshape(-1).tolist()

    assert np.mean(found["known"]) == pytest.approx(0.9, abs=0.03)
    assert np.mean(found["new"]) == pytest.approx(0.9, abs=0.04)


@pytest.mark.parametrize("scale, shift", [(0.01, 0.0), (30.0, 120.0)])
def test_the_unit_of_the_outcomes_does_not_matter(scale, shift):
    data = planted(seed=12, n=80, m=10)
    sides = {"patient_side": data["side"], "treatment_side": data["about"]}
    one, other = (
        Factorisation(rank=2).fit(data["pairs"], outcome, **sides)
        for outcome in (data["outcome"], scale * data["outcome"] + shift)
    )

    new = np.array([[0.5, -1.0, 2.0]])
    before, after = one.new_patients(new), other.new_patients(new)
    np.testing.assert_allclose(after.value, scale * before.value + shift, rtol=1e-6)
    np.testing.assert_allclose(after.high, scale * before.high + shift, rtol=1e-6)


def test_intervals_of_new_treatments_hold_nine_outcomes_in_ten():
    inside = []
    for seed in range(12):
        data = planted(seed=40 + seed, n=200, m=70, noise=0.3)
        known = data["pairs"][:, 1] < 50
        model = Factorisation(rank=2).fit(
            data["pairs"][known], data["outcome"][known], patient_side=data["side"], treatment_side=data["about"][:50]
        )
        asked = model.new_treatments(data["about"][50:])
        treatment, patient = data["pairs"][~known, 1] - 50, data["pairs"][~known, 0]
        low, high = asked.low[treatment, patient], asked.high[treatment, patient]
        inside += ((low <= data["outcome"][~known]) & (data["outcome"][~known] <= high)).tolist()

    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)


def test_an_interval_is_wider_where_less_is_known():
    data = planted(seed=7)
    pairs = data["pairs"][data["pairs"][:, 0] != 3]
    outcome = data["outcome"][data["pairs"][:, 0] != 3]
    model = Factorisation(rank=2).fit(pairs, outcome, shape=(400, 12))

    widths = [
        (lambda a: float(np.mean(a.high - a.low)))(model.interval([[who, i] for i in range(12)])) for who in (3, 4)
    ]

    assert widths[0] > 1.5 * widths[1]


# Edges: answered, or refused clearly


def test_an_empty_row_and_an_empty_column_are_answered_by_means():
    data = planted(seed=8, n=60, m=9)
    pairs, outcome = data["pairs"], data["outcome"]
    keep = (pairs[:, 0] != 5) & (pairs[:, 1] != 2)
    model = Factorisation(rank=2).fit(pairs[keep], outcome[keep], shape=(60, 9))

    empty_row = model.predict([[5, i] for i in (0, 4)])
    empty_column = model.predict([[1, 2]])

    means = model.mean_ + model.treatments_.bias[[0, 4]]
    np.testing.assert_allclose(empty_row, means, atol=1e-6)
    np.testing.assert_allclose(empty_column, model.mean_ + model.patients_.bias[1], atol=1e-6)


@pytest.mark.parametrize("solver", ["alternating", "descent"])
def test_a_constant_matrix_is_answered_by_its_constant_and_has_no_interval(solver):
    pairs = np.argwhere(np.ones((5, 4)))
    model = Factorisation(rank=2, solver=solver).fit(pairs, np.full(20, 3.25))

    np.testing.assert_allclose(model.predict(pairs), 3.25)
    with pytest.raises(ModelError, match="noise of these outcomes is not known"):
        model.interval(pairs)


@pytest.mark.parametrize(
    "pairs, reason",
    [
        ([[0, 0], [0, 1], [0, 2]], "one patient"),
        ([[0, 0], [1, 0], [2, 0]], "one treatment"),
        ([[0, 0]], "all outcomes are equal"),
    ],
)
def test_too_little_to_tell_noise_from_effects_is_refused_with_what_to_do(pairs, reason):
    outcome = np.arange(len(pairs), dtype=float)

    with pytest.raises(ModelError, match=f"{reason}.*solver='alternating'"):
        Factorisation().fit(pairs, outcome)
    answered = Factorisation(solver="alternating").fit(pairs, outcome).predict(pairs)

    assert np.isfinite(answered).all()


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda m: m.fit([[0, 0.5]], [1.0]), "X: a number of a patient or treatment is not whole"),
        (lambda m: m.fit([[0, np.nan]], [1.0]), "X: a number of a patient or treatment is not whole"),
        (lambda m: m.fit([[0, -1]], [1.0]), "below 0"),
        (lambda m: m.fit([0, 1], [1.0]), "is no list of cells"),
        (lambda m: m.fit(np.zeros((0, 2), int), []), "no observed cell"),
        (lambda m: m.fit([[0, 0], [1, 1]], [1.0, np.nan]), "y: 1 numbers are not known; leave those cells out"),
        (lambda m: m.fit([[0, 0], [1, 1]], [1.0]), "numbers for 2 cells"),
        (lambda m: m.fit([[0, 0], [1, 1]], [1.0, 2.0], shape=(1, 2)), "outside the 1 x 2"),
        (lambda m: m.fit([[0, 0], [1, 1]], [1.0, 2.0], patient_side=[[np.nan], [1.0]]), "patient_side: some side"),
        (lambda m: m.fit([[0, 0], [1, 1]], [1.0, 2.0], patient_side=[[1.0]], shape=(2, 2)), "1 rows for 2"),
        (lambda m: m.set_params(lambda1=0.0).fit([[0, 0]], [1.0]), "lambda1: 0.0 is not above 0"),
        (lambda m: m.set_params(feedback="implicit").fit([[0, 0]], [-1.0]), "less than never"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_with_place_and_advice(call, says):
    with pytest.raises(InputError, match=says) as caught:
        call(Factorisation(solver="alternating"))

    assert caught.value.where
    assert caught.value.hint


def test_a_new_patient_needs_the_side_information_of_the_fit():
    data = planted(n=40, m=6)
    model = Factorisation(rank=2).fit(data["pairs"], data["outcome"], patient_side=data["side"])

    with pytest.raises(InputError, match="side information is missing"):
        model.new_patients()
    with pytest.raises(InputError, match="2 columns where the fit had 3"):
        model.new_patients(data["side"][:1, :2])
    with pytest.raises(InputError, match="ask for a new patient"):
        model.predict([[40, 0]])


def test_what_variational_bayes_cannot_learn_from_is_refused():
    pairs, outcome = np.argwhere(np.ones((4, 3))), np.arange(12.0)

    with pytest.raises(ModelError, match="a penalty is no outcome"):
        Factorisation(rank=1).fit(pairs, outcome, unsafe=[[0, 0]])
    with pytest.raises(ModelError, match="implicit feedback has no noise"):
        Factorisation(rank=1, feedback="implicit").fit(pairs, outcome)


def test_it_is_an_estimator_of_scikit_learn_and_fits_again_to_the_same_numbers():
    data = planted(n=40, m=6)
    model = Factorisation(rank=2, random_state=3).fit(data["pairs"], data["outcome"])

    again = clone(model).fit(data["pairs"], data["outcome"])

    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.predict(data["pairs"]), model.predict(data["pairs"]))
    assert model.score(data["pairs"], data["outcome"]) > 0.8


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_cells_does_not_matter(seed):
    data = planted(n=25, m=6)
    order = np.random.default_rng(seed).permutation(len(data["pairs"]))
    one, two = (
        Factorisation(rank=2, solver="alternating").fit(data["pairs"][at], data["outcome"][at])
        for at in (slice(None), order)
    )

    np.testing.assert_allclose(one.predict(data["pairs"]), two.predict(data["pairs"]), atol=1e-7)


def test_a_repeated_cell_counts_as_two_observations():
    pairs = [[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]]
    outcome = [1.0, 2.0, 0.5, 2.5, 1.5]
    fit = Factorisation(rank=1, solver="alternating", tolerance=1e-10)

    twice = clone(fit).fit([*pairs, [0, 0]], [*outcome, 1.0]).predict(pairs)
    weighted = clone(fit).fit(pairs, outcome, sample_weight=[2.0, 1.0, 1.0, 1.0, 1.0]).predict(pairs)

    np.testing.assert_allclose(twice, weighted, atol=1e-6)


def test_numbers_are_taken_from_floats_only_when_whole():
    np.testing.assert_array_equal(pairs_of([[1.0, 2.0]]), [[1, 2]])


def test_small_matrices_are_inverted_as_by_lapack():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(3000, 5, 9))
    gram = whole @ whole.transpose(0, 2, 1)

    np.testing.assert_allclose(
        inverted(packed(gram), 0.3 * np.eye(5)), np.linalg.inv(gram + 0.3 * np.eye(5)), rtol=1e-6, atol=1e-9
    )


# The choice on its output


def test_the_best_utility_among_those_with_an_index_above_k_is_chosen():
    found = chosen([10.0, 9.0, 8.0], [0.0, 1.0, 1.0], [1.5, 5.0, 6.0], weight=2.0, least_index=2.0)

    assert found.treatment == 1
    assert found.outcomes == ("index too low", "chosen", "not the best")
    np.testing.assert_allclose(found.utility, [10.0, 7.0, 6.0])


def test_an_unknown_index_is_not_checked_and_never_passes():
    found = chosen([10.0, 1.0], [0.0, 0.0], [np.nan, 3.0], weight=1.0, least_index=2.0)
    none = chosen([10.0, 5.0], [0.0, 0.0], [np.nan, np.inf], weight=1.0, least_index=2.0)

    assert found.treatment == 1
    assert found.outcomes[0] == "not checked"
    assert none.treatment is None
    assert none.outcomes == ("not checked", "not checked")


def test_an_unknown_benefit_or_risk_is_not_checked():
    found = chosen([np.nan, 4.0, 3.0], [0.0, np.nan, 0.0], [9.0, 9.0, 9.0], weight=1.0, least_index=2.0)

    assert found.treatment == 2
    assert found.outcomes == ("not checked", "not checked", "chosen")


def test_an_index_of_exactly_k_does_not_pass_and_ties_are_told():
    found = chosen([5.0, 5.0, 9.0], [0.0, 0.0, 0.0], [3.0, 4.0, 2.0], weight=1.0, least_index=2.0)

    assert found.ties == (0, 1)
    assert found.outcomes[2] == "index too low"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.floats(0, 5), st.one_of(st.just(np.nan), st.floats(0.1, 9))), min_size=1,
        max_size=8,
    ),
    st.floats(0, 3), st.floats(1, 5),
)  # fmt: skip
def test_nothing_is_ever_chosen_below_k(rows, weight, least_index):
    benefit, risk, index = (np.array(column) for column in zip(*rows, strict=True))

    found = chosen(benefit, risk, index, weight=weight, least_index=least_index)

    passed = [place for place in range(len(rows)) if index[place] > least_index]
    assert (found.treatment is None) == (not passed)
    assert set(found.ties) <= set(passed)
    assert all(found.utility[found.treatment] >= found.utility[place] for place in passed)


@pytest.mark.parametrize("setting", [{"least_index": 0.5}, {"weight": -1.0}, {"least_index": np.nan}])
def test_a_setting_below_its_floor_is_refused(setting):
    with pytest.raises(InputError):
        chosen([1.0], [0.0], [5.0], **{"weight": 1.0, "least_index": 2.0, **setting})


def test_the_index_is_toxic_over_effective_dose_and_unknown_without_either():
    np.testing.assert_array_equal(
        therapeutic_index([10.0, np.nan, 5.0, 4.0], [2.0, 2.0, np.nan, 0.0]), [5.0, np.nan, np.nan, np.nan]
    )


def test_the_index_inside_the_objective_takes_outcomes_from_unsafe_cells_but_gives_no_promise():
    data = planted(seed=9, n=120, m=10)
    bad = np.argwhere(data["rng"].random((120, 10)) < 0.3)
    floor = float(data["outcome"].min())
    fit = Factorisation(rank=2, solver="alternating", lambda1=0.1, lambda2=0.1, floor=floor)

    said = [
        clone(fit).set_params(penalty=penalty).fit(data["pairs"], data["outcome"], shape=(120, 10), unsafe=bad)
        .predict(bad) for penalty in (0.0, 0.3, 3.0)
    ]  # fmt: skip

    above = [float(np.maximum(each - floor, 0.0).mean()) for each in said]
    assert above[0] > 1.3 * above[1] > 1.3 * above[2]
    assert above[2] > 0.0
