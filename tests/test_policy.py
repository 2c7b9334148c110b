"""Policies from randomised data: valued without bias, held back without a shown gain, and blind to what came later."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posologist.core.errors import InputError
from posologist.core.genotype import Versions
from posologist.learn.fit.policy import (
    MIN_MOVED,
    Drawn,
    Policy,
    arm_scores,
    best_single,
    cross_fitted_scores,
    fit_doubly_robust,
    fit_held_back,
    fit_plain,
    fit_single,
    folds_of,
    simultaneous_lower_bound,
)
from posologist.learn.tasks.policy import ACTG175, GUSTO1, IST, TRIALS
from posologist.study import policy as study
from posologist.study.measure import evaluate_nested, evaluate_split
from posologist.study.nested import Settings, out_of_fold
from posologist.study.policy_data import ARM, SCORE, SECOND_SCORE
from posologist.study.tables import header_of
from shared import shared_data
from synthetic_block import write_table

_FILES = {block.part: block.file for block in study.BLOCKS}
_FINITE = st.floats(-100.0, 100.0)
_THIRDS = np.full(3, 1 / 3)


def world(n, *, swapped, seed, noise=1.0):
    """A trial of three arms with known outcomes under each, (n, 3); `swapped` moves the best arm by a feature."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    under = x[:, [0]] + 0.5 * x[:, [1]] + np.array([0.0, 0.4, 0.1])
    under[:, 2] += swapped * x[:, 2]
    arm = rng.integers(0, 3, n)
    outcome = under[np.arange(n), arm] + noise * rng.normal(size=n)
    return Drawn(x, arm, outcome, _THIRDS), under


def true_value(policy, drawn, under):
    return under[np.arange(len(under)), policy.choose(drawn.features)].mean()


@settings(max_examples=60, deadline=None)
@given(arrays(float, (4, 3), elements=_FINITE), arrays(float, (4, 3), elements=_FINITE))
def test_over_the_draw_the_score_of_an_arm_is_the_outcome_under_it_whatever_was_expected(under, expected) -> None:
    probability = np.array([0.5, 0.3, 0.2])
    mean = np.zeros((4, 3))
    for a, p in enumerate(probability):
        drawn = Drawn(np.zeros((4, 1)), np.full(4, a), under[:, a], probability)
        mean += p * arm_scores(drawn, expected)

    np.testing.assert_allclose(mean, under, rtol=1e-9, atol=1e-9)


def test_the_value_of_each_arm_is_recovered_from_other_patients_outcomes_within_its_error() -> None:
    drawn, under = world(4000, swapped=1.0, seed=1)
    scores = cross_fitted_scores(drawn, folds_of(drawn, seed=0, n_folds=2), seed=0)
    error = scores.std(axis=0) / np.sqrt(len(scores))

    assert (np.abs(scores.mean(axis=0) - under.mean(axis=0)) < 4.0 * error).all()
    assert best_single(scores) == 1


def test_a_patients_own_outcome_has_no_part_in_what_is_expected_of_the_patient() -> None:
    drawn, _ = world(300, swapped=0.0, seed=2)
    fold = folds_of(drawn, seed=0)
    outcome = drawn.outcome.copy()
    outcome[7] += 50.0
    one, other = (cross_fitted_scores(d, fold, seed=0, quick=True) for d in (drawn, replace(drawn, outcome=outcome)))
    own = drawn.arm[7]

    assert other[7, own] - one[7, own] == pytest.approx(50.0 / _THIRDS[own])
    assert np.delete(other[7], own) == pytest.approx(np.delete(one[7], own))


def test_without_signal_everyone_gets_the_best_single_arm_and_nothing_is_lost() -> None:
    lost = []
    for seed in range(6):
        drawn, under = world(600, swapped=0.0, seed=seed)
        policy, single = (fit(drawn, seed=seed, quick=True) for fit in (fit_held_back, fit_single))
        lost.append(true_value(single, drawn, under) - true_value(policy, drawn, under))

    assert lost.count(0.0) >= 5
    assert max(lost) < 0.05


def test_without_signal_the_plain_learner_loses_what_the_held_back_one_keeps() -> None:
    drawn, under = world(900, swapped=0.0, seed=3, noise=2.0)
    plain, held = (fit(drawn, seed=3, quick=True) for fit in (fit_plain, fit_held_back))

    assert true_value(plain, drawn, under) < under[:, 1].mean() - 0.05
    assert true_value(held, drawn, under) == under[:, 1].mean()


def test_where_drugs_suit_different_patients_most_of_the_possible_gain_is_found() -> None:
    drawn, _ = world(1500, swapped=1.0, seed=4)
    fresh, under = world(4000, swapped=1.0, seed=5)
    possible = under.max(axis=1).mean() - under[:, 1].mean()

    for fit in (fit_doubly_robust, fit_held_back):
        gained = true_value(fit(drawn, seed=4, quick=True), fresh, under) - under[:, 1].mean()
        assert gained > 0.85 * possible


def test_a_policy_that_says_why_says_the_bound_it_rests_on() -> None:
    moved = fit_held_back(world(1500, swapped=1.0, seed=4)[0], seed=4, quick=True)
    kept = fit_held_back(world(900, swapped=0.0, seed=0)[0], seed=0, quick=True)

    assert moved.gain_bound > 0.0
    assert moved.family in moved.reason
    assert kept.gain_bound <= 0.0
    assert "everyone gets the best single arm" in kept.reason


def test_the_bound_of_one_policy_is_its_95_percent_interval_and_of_many_is_lower() -> None:
    rng = np.random.default_rng(0)
    gained = rng.normal(0.1, 1.0, size=(2000, 8))
    alone = simultaneous_lower_bound(gained[:, :1], np.random.default_rng(1))[0]
    error = gained[:, 0].std() / np.sqrt(2000)

    assert alone == pytest.approx(gained[:, 0].mean() - 1.96 * error, abs=0.2 * error)
    assert simultaneous_lower_bound(gained, np.random.default_rng(1))[0] < alone - 0.3 * error


def test_the_bound_of_a_policy_that_changes_nothing_is_zero() -> None:
    gained = np.zeros((100, 2))
    gained[:, 1] = 1.0 + np.arange(100)

    assert simultaneous_lower_bound(gained, np.random.default_rng(0))[0] == 0.0
    assert (simultaneous_lower_bound(np.zeros((100, 2)), np.random.default_rng(0)) == 0.0).all()


def test_a_gain_seen_in_a_handful_of_patients_moves_nobody() -> None:
    drawn, _ = world(400, swapped=0.0, seed=6)
    few = drawn.features[:, 5] > np.sort(drawn.features[:, 5])[-MIN_MOVED // 3]
    lucky = replace(drawn, outcome=drawn.outcome + 40.0 * (few & (drawn.arm == 2)))

    assert fit_held_back(lucky, seed=6, quick=True).family == ""


def test_same_seed_same_policy() -> None:
    drawn, _ = world(500, swapped=1.0, seed=7)
    one, again = (fit_held_back(drawn, seed=1, quick=True) for _ in range(2))

    np.testing.assert_array_equal(one.gain(drawn.features), again.gain(drawn.features))


def test_the_best_single_arm_is_kept_where_no_gain_is_above_zero() -> None:
    policy = Policy(best=2, n_arms=4)

    assert policy.choose(np.zeros((3, 2))).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "trial, columns",
    [
        (
            ACTG175,
            "age wtkg hemo homo drugs karnof oprior z30 preanti race gender str2 strat symptom cd40 cd80",
        ),
        (
            IST,
            "RDELAY RCONSC SEX AGE RSLEEP RATRIAL RCT RVISINF RHEP24 RASP3 RSBP RDEF1 RDEF2 RDEF3 RDEF4 RDEF5 RDEF6"
            " RDEF7 RDEF8 STYPE",
        ),
        (
            GUSTO1,
            "sho dia hyp hrt sex Killip age ste pulse sysbp ant height weight pmi htn smk pan fam prevcvd prevcabg",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_features_are_only_what_was_known_before_the_draw(trial, columns) -> None:
    assert trial.columns == frozenset(columns.split())
    assert not trial.columns & set(trial.left_out)
    assert sum(trial.probability) == 1.0


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_every_column_of_the_table_is_a_feature_or_left_out_with_a_reason(trial) -> None:
    header = set(header_of(shared_data("ml", *_FILES[trial.name].split("/"))))

    assert header == trial.columns | set(trial.left_out)


def actg_rows(n=400, seed=0, effect=0.0):
    """Synthetic patients in the columns of ACTG 175; `effect` swaps the best arm by age."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(n):
        age, arm = int(rng.integers(20, 60)), place % 4
        start = float(rng.integers(200, 500))
        gain = 15.0 * (arm == 1) + effect * (arm == 3) * np.sign(age - 40) + 30.0 * rng.normal()
        row = dict.fromkeys((*ACTG175.columns, *ACTG175.left_out), "0")
        row |= {"pidnum": str(seed * 100_000 + place), "age": str(age), "wtkg": f"{rng.normal(75, 10):.1f}"}
        row |= {"arms": str(arm), "cd40": f"{start:.0f}", "cd420": f"{start + gain:.0f}", "cens": str(place % 5 // 4)}
        rows.append(row)
    return rows


def actg_table(folder: Path, **settings) -> Path:
    rows = actg_rows(**settings)
    return write_table(folder / f"actg-{settings.get('seed', 0)}.csv", rows, columns=tuple(rows[0]))


def test_a_column_of_after_the_draw_changes_no_choice(tmp_path) -> None:
    rows = actg_rows()
    later = [{**row, **dict.fromkeys(ACTG175.left_out, "999")} for row in rows]

    np.testing.assert_array_equal(ACTG175.matrix(rows), ACTG175.matrix(later))


def test_no_method_reads_the_scores_that_it_is_measured_by(tmp_path) -> None:
    block = study.BLOCKS[0]
    cohort = block.read(actg_table(tmp_path))
    spoilt = replace(cohort, extra={**cohort.extra, SCORE: np.full((len(cohort), 4), 1e9)})
    one, other = (out_of_fold(block, c, Settings(quick=True)) for c in (cohort, spoilt))

    for name, scored in one.items():
        np.testing.assert_array_equal(scored.value, other[name].value)


def test_the_document_tells_value_and_difference_and_the_engine_is_not_worse(tmp_path) -> None:
    block = study.BLOCKS[0]
    cohort = block.read(actg_table(tmp_path))
    found = evaluate_nested(
        block, cohort, Settings(quick=True, n_resamples=200), versions=Versions(posologist="", knowledge="")
    )
    rows = {row.method: row.metrics for row in found.rows}

    assert list(rows) == ["best-single", "t-learner", "dr-learner", "engine"]
    assert rows["best-single"]["difference_to_best_single"].value == 0.0
    assert rows["engine"]["difference_to_best_single"].high >= 0.0
    assert rows["best-single"]["treated_differently_percent"].value == 0.0
    assert {"gain_claimed_high_third", "gain_seen_high_third"} <= set(rows["dr-learner"])
    assert any("cells/mm3" in finding for finding in found.findings)


def test_where_age_swaps_the_drugs_the_engine_gains_on_patients_it_never_saw(tmp_path) -> None:
    block = study.BLOCKS[0]
    train, test = (block.read(actg_table(tmp_path, n=600, seed=seed, effect=100.0)) for seed in (1, 2))
    found = evaluate_split(
        block, train, test, Settings(quick=True, n_resamples=200), versions=Versions(posologist="", knowledge="")
    )
    engine = next(row for row in found.rows if row.method == "engine")

    assert engine.metrics["difference_to_best_single"].low > 10.0


def test_exchanged_patients_keep_what_the_arms_are_worth_and_lose_whom_they_suit(tmp_path) -> None:
    cohort = study.BLOCKS[0].read(actg_table(tmp_path, effect=100.0))
    exchanged = study.exchanged(cohort, np.random.default_rng(0))
    older, older_now = (ACTG175.matrix(c.rows)[:, 0] >= 40 for c in (cohort, exchanged))
    gain = cohort.extra[SCORE][:, 3] - cohort.extra[SCORE][:, 1]

    np.testing.assert_array_equal(exchanged.extra[SCORE], cohort.extra[SCORE])
    assert gain[older].mean() - gain[~older].mean() > 150.0
    assert abs(gain[older_now].mean() - gain[~older_now].mean()) < 60.0


def test_the_second_outcome_is_scored_and_not_learned_from(tmp_path) -> None:
    cohort = study.BLOCKS[0].read(actg_table(tmp_path))

    assert cohort.extra[SECOND_SCORE].shape == cohort.extra[SCORE].shape == (len(cohort), 4)
    assert {ARM, SCORE, SECOND_SCORE} <= set(study.BLOCKS[0].hidden)


def test_heparin_h_of_the_pilot_is_the_medium_dose() -> None:
    arms = [IST.arms[IST.arm({"RXASP": "Y", "RXHEP": code})] for code in "NLMH"]

    assert arms == ["aspirin", "aspirin + low-dose heparin"] + ["aspirin + medium-dose heparin"] * 2


@pytest.mark.parametrize("trial, row", [(IST, {"RXASP": "Y", "RXHEP": "Q"}), (GUSTO1, {"tx": "UK"})])
def test_an_arm_that_the_trial_had_not_is_refused(trial, row) -> None:
    with pytest.raises(InputError, match="is no"):
        trial.arm(row)


def test_an_outcome_that_is_not_known_is_left_out_and_counted(tmp_path) -> None:
    rows = actg_rows()
    rows[0]["cd420"] = ""
    cohort = study.BLOCKS[0].read(write_table(tmp_path / "a.csv", rows, columns=tuple(rows[0])))

    assert len(cohort) == len(rows) - 1
    assert cohort.notes == ("1 patients without a known outcome are left out",)


def test_an_arm_with_too_few_patients_is_refused_by_its_name(tmp_path) -> None:
    rows = [row for row in actg_rows() if row["arms"] != "3"]

    with pytest.raises(InputError, match=r"0 patients .* 'didanosine'"):
        study.BLOCKS[0].read(write_table(tmp_path / "a.csv", rows, columns=tuple(rows[0])))


def test_on_actg175_the_engine_is_not_worse_than_the_best_single_arm() -> None:
    block = study.BLOCKS[0]
    cohort = block.read(shared_data("ml", *block.file.split("/")))
    scored = out_of_fold(replace(block, methods=block.methods[-1:]), cohort, Settings(quick=True))["engine"]
    gain = np.asarray(block.metrics(cohort.target, scored, cohort)["difference_to_best_single"])

    assert gain.mean() + 1.96 * gain.std() / np.sqrt(len(gain)) >= 0.0
