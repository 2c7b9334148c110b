"""Agreement with practice: sets of drugs from what was known before they were given, beside copying the last set."""

from dataclasses import replace
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posologist.core.errors import InputError
from posologist.core.genotype import Versions
from posologist.learn.fit.sets import Encoder, best_set, f1, jaccard, probabilities
from posologist.learn.tasks.imitation import (
    BEFORE,
    DIABETES130,
    EARLIER,
    NHANES_HTN,
    PRESENT_FINDINGS,
    SHARE,
    amount,
    treated,
    with_past,
)
from posologist.study import imitation as study
from posologist.study.imitation_data import DIABETES_COLUMNS, GIVEN, NHANES_COLUMNS
from posologist.study.measure import evaluate_nested
from posologist.study.nested import Settings
from posologist.study.tables import header_of
from shared import shared_data
from synthetic_block import write_table

_DIABETES, _NHANES = study.BLOCKS
_SETS = arrays(bool, (6, 5))


def encounter(patient, number, **cells):
    row = dict.fromkeys(DIABETES_COLUMNS, "1") | dict.fromkeys(DIABETES130.labels, "No")
    row |= {"patient_nbr": str(patient), "encounter_id": str(number), "age": "[60-70)", "race": "Caucasian"}
    return row | {"gender": "Female", "diag_1": "250.02", "change": "No", "readmitted": "NO"} | cells


def diabetes_rows(n_patients=220, seed=0):
    """Patients with three encounters: insulin stays; metformin is begun where it was not, and stays."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(n_patients):
        insulin = "Steady" if rng.random() < 0.5 else "No"
        for k in range(3):
            metformin = "Steady" if k > 0 and rng.random() < 0.9 else "No"
            cells = {"insulin": insulin, "metformin": metformin, "number_inpatient": str(rng.integers(0, 5))}
            rows.append(encounter(seed * 10_000 + patient, 10 * patient + k, **cells))
    return [rows[i] for i in rng.permutation(len(rows))]


def nhanes_rows(n=420, seed=0):
    """Treated participants: with heart failure a beta blocker, else an ACE inhibitor."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(n):
        failing = rng.random() < 0.5
        row = dict.fromkeys(NHANES_COLUMNS, "") | dict.fromkeys(NHANES_HTN.labels, "No")
        row |= {"svy_id": str(place), "svy_weight_mec": f"{rng.integers(1, 9)}.0", "bp_med_use": "Yes"}
        row |= {"demo_age_years": f"{rng.integers(30, 80)}.0", "demo_race": "Other", "demo_gender": "Men"}
        row |= {"svy_year": "2013-2014", "cc_cvd_hf": "Yes" if failing else "No"}
        row["bp_med_beta" if failing == (rng.random() < 0.9) else "bp_med_ace"] = "Yes"
        rows.append(row)
    return rows


def diabetes_table(folder: Path) -> Path:
    return write_table(folder / "diabetes.csv", diabetes_rows(), columns=DIABETES_COLUMNS)


@settings(max_examples=80, deadline=None)
@given(_SETS, _SETS)
def test_agreement_is_symmetric_between_0_and_1_and_1_only_for_equal_sets(one, other) -> None:
    for index in (jaccard, f1):
        found = index(one, other)

        np.testing.assert_array_equal(found, index(other, one))
        assert ((found >= 0.0) & (found <= 1.0)).all()
        assert ((found == 1.0) == (one == other).all(axis=1)).all()
    assert (f1(one, other) >= jaccard(one, other)).all()


def expected_jaccard(chosen, probability, *, never_empty):
    """By enumeration of every set that may be given."""
    total, mass = 0.0, 0.0
    for outcome in product((False, True), repeat=len(probability)):
        taken = np.array(outcome)
        weight = float(np.prod(np.where(taken, probability, 1.0 - probability)))
        if not (never_empty and not taken.any()):
            total += weight * jaccard(chosen[None], taken[None])[0]
            mass += weight
    return total / mass


@settings(max_examples=25, deadline=None)
@given(arrays(float, 4, elements=st.floats(0.01, 0.99)), st.booleans())
def test_the_set_told_is_the_best_of_all_sets_and_its_expectation_is_exact(probability, never_empty) -> None:
    chosen, expected = best_set(probability[None], never_empty=never_empty)
    every = [
        expected_jaccard(np.array(outcome), probability, never_empty=never_empty)
        for outcome in product((False, True), repeat=4)
    ]

    assert expected[0] == pytest.approx(expected_jaccard(chosen[0], probability, never_empty=never_empty), abs=1e-6)
    assert expected[0] == pytest.approx(max(every), abs=1e-6)


def test_a_population_that_always_takes_something_is_never_told_nothing() -> None:
    probability = np.array([[0.2, 0.1, 0.05]])

    assert not best_set(probability)[0].any()
    assert best_set(probability, never_empty=True)[0].tolist() == [[True, False, False]]


def test_a_drug_that_too_few_have_is_never_predicted_and_one_that_all_have_always_is() -> None:
    yes = np.zeros((200, 2), dtype=bool)
    yes[:20, 0] = True
    yes[:, 1] = True
    found = probabilities(_refused, np.zeros((200, 1)), yes, np.zeros((3, 1)), seed=0, quick=True)

    assert found.tolist() == [[0.0, 1.0]] * 3


def _refused(*args, **settings):
    raise AssertionError("nothing is to be learned here")


def test_an_encounter_is_joined_to_the_one_before_it_in_the_order_of_their_numbers() -> None:
    rows = [
        encounter("a", 9, insulin="Up", num_medications="30"),
        encounter("b", 1, insulin="No"),
        encounter("a", 10, insulin="No", num_medications="40"),
        encounter("a", 2, insulin="Steady", num_medications="20"),
    ]
    found = with_past(rows)

    assert [(row["encounter_id"], row[BEFORE + "encounter_id"], row[EARLIER]) for row in found] == [
        ("9", "2", "1"),
        ("10", "9", "2"),
    ]
    assert [row[BEFORE + "insulin"] for row in found] == ["Steady", "Up"]
    assert [row[BEFORE + "num_medications"] for row in found] == ["20", "30"]
    assert [float(row[SHARE + "insulin"]) for row in found] == [1.0, 1.0]


def test_the_order_of_the_rows_in_the_table_does_not_matter() -> None:
    rows = diabetes_rows(20)

    assert with_past(rows) == with_past(rows[::-1])


def test_no_feature_of_the_next_encounter_is_a_column_of_its_stay() -> None:
    features = {*DIABETES130.amounts, *DIABETES130.categories}

    assert not features & set(DIABETES130.left_out)
    assert not features & set(DIABETES130.labels)
    assert {"change", "diabetesMed", "num_medications", "time_in_hospital", "readmitted"} <= set(DIABETES130.left_out)
    assert not features & set(PRESENT_FINDINGS)


def test_every_column_of_diabetes130_is_a_feature_a_drug_or_left_out_with_a_reason() -> None:
    header = set(header_of(shared_data("ml", *_DIABETES.file.split("/"))))
    own = {name for name in (*DIABETES130.amounts, *DIABETES130.categories) if name in header}

    assert header == own | set(DIABETES130.labels) | set(DIABETES130.left_out)


def test_every_column_of_nhanes_is_a_feature_or_left_out_with_a_reason() -> None:
    header = header_of(shared_data("ml", *_NHANES.file.split("/")))
    features = {*NHANES_HTN.amounts, *NHANES_HTN.categories}
    patterns = [pattern for group in NHANES_HTN.left_out for pattern in group.split(", ")]

    unjudged = {c for c in header if c not in features and not any(fnmatch(c, p) for p in patterns)}
    assert unjudged == set()
    assert not {f for f in features if any(fnmatch(f, p) for p in patterns)}


@pytest.mark.parametrize("place", range(len(_DIABETES.methods)), ids=[m.name for m in _DIABETES.methods])
def test_what_happens_in_the_stay_changes_no_prediction(tmp_path, place) -> None:
    cohort = _DIABETES.read(diabetes_table(tmp_path))
    train, test = cohort.take(np.arange(0, 300)), cohort.take(np.arange(300, 440)).blinded(_DIABETES.hidden)
    method = _DIABETES.methods[place]
    later = dict.fromkeys((*DIABETES130.left_out, *DIABETES130.labels), "99")
    told, altered = (
        method(train, replace(test, rows=rows), seed=0, quick=True)
        for rows in (test.rows, tuple({**row, **later} for row in test.rows))
    )

    np.testing.assert_array_equal(told.extra["set"], altered.extra["set"])


def test_copying_is_the_yardstick_and_a_rule_of_practice_beats_it(tmp_path) -> None:
    cohort = _DIABETES.read(diabetes_table(tmp_path))
    found = evaluate_nested(
        _DIABETES, cohort, Settings(quick=True, n_resamples=200), versions=Versions(posologist="", knowledge="")
    )
    rows = {row.method: row.metrics for row in found.rows}
    beaten = next(p for p in found.paired if (p.method, p.metric) == ("engine", "jaccard"))

    assert found.label == "agreement with practice"
    assert beaten.against == "copy-last"
    assert beaten.difference.low > 0.05
    assert rows["majority"]["jaccard"].value < rows["engine"]["jaccard"].value
    assert {"jaccard", "f1", "f1_micro", "exact_percent"} <= set(rows["copy-last"])


def test_weighted_agreement_weighs_participants_by_the_survey(tmp_path) -> None:
    cohort = _NHANES.read(write_table(tmp_path / "nhanes.csv", nhanes_rows(), columns=NHANES_COLUMNS))
    method = next(m for m in _NHANES.methods if m.name == "majority")
    scored = method(cohort, cohort.blinded(_NHANES.hidden), seed=0, quick=True)
    parts = _NHANES.metrics(cohort.target, scored, cohort)
    weight = np.array([float(row["svy_weight_mec"]) for row in cohort.rows])

    weighted = parts["jaccard_weighted"](np.ones((1, len(cohort))))[0]
    assert weighted == pytest.approx(np.average(parts["jaccard"], weights=weight))


def test_classes_follow_the_illness_that_they_are_given_for(tmp_path) -> None:
    cohort = _NHANES.read(write_table(tmp_path / "nhanes.csv", nhanes_rows(), columns=NHANES_COLUMNS))
    engine = next(m for m in _NHANES.methods if m.name == "engine")
    scored = engine(cohort.take(np.arange(320)), cohort.take(np.arange(320, 420)), seed=0, quick=True)
    truth = cohort.extra[GIVEN][320:] > 0.5

    assert jaccard(scored.extra["set"] > 0.5, truth).mean() > 0.8


def test_who_takes_nothing_for_pressure_is_not_in_the_cohort() -> None:
    rows = nhanes_rows(5)
    rows[0]["bp_med_use"] = "No"
    rows[1] |= dict.fromkeys(NHANES_HTN.labels, "")

    assert [row["svy_id"] for row in treated(rows)] == ["2", "3", "4"]


def test_a_category_unseen_in_training_has_no_column() -> None:
    rows = with_past(diabetes_rows(60))
    encoder = Encoder.fit(DIABETES130, rows)
    other = encoder([{**rows[0], "race": "Other"}])

    assert other.shape[1] == encoder(rows).shape[1]
    assert encoder.levels["race"] == ("Caucasian",)


def test_a_cell_that_is_no_number_is_refused_by_its_column() -> None:
    with pytest.raises(InputError, match="is not a number") as error:
        amount({"cc_egfr": "high"}, "cc_egfr")
    assert error.value.where == "cc_egfr"


def test_copying_the_last_set_agrees_as_in_the_earlier_study() -> None:
    cohort = _DIABETES.read(shared_data("ml", *_DIABETES.file.split("/")))
    copied = next(m for m in _DIABETES.methods if m.name == "copy-last")
    scored = copied(cohort, cohort.blinded(_DIABETES.hidden), seed=0, quick=True)

    agreed = np.asarray(_DIABETES.metrics(cohort.target, scored, cohort)["jaccard"])
    assert agreed.mean() == pytest.approx(0.638, abs=0.005)
