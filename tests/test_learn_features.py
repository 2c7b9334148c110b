"""Rows: the same for training and use, whatever the order of the record; nothing unknown becomes a number unseen."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from patients import AS_OF, SOURCE, a_medicine, a_patient
from posologist.core.errors import InputError, ModelError, NumericsError
from posologist.core.evidence import LEAF_KINDS, Ledger
from posologist.core.patient import FamilyHistory, Observation, Patient, Source
from posologist.core.regimen import Regimen
from posologist.core.settings import Settings
from posologist.core.values import DrugId
from posologist.genome.express import express
from posologist.knowledge.derive import situate
from posologist.knowledge.load import load_knowledge
from posologist.learn.coverage import CoverageReader, fitted_coverage
from posologist.learn.features import Encoder, Feature, Formula, Frame, Known, Row, Schema, frame_of, prepared, row_of
from posologist.learn.general import Subject, general_row, general_schema
from posologist.twin.exposure import Exposure, exposure
from posologist.twin.kinetics import MissingKinetics
from posologist.twin.population import prior_of

SCHEMA = Schema(
    task="made",
    version="1",
    features=(
        Feature(name="age", group="demographics", label="age", unit="years", low=0, high=120),
        Feature(name="crp", group="labs and vitals", label="CRP", unit="mg/L", low=0, high=500, log=True),
        Feature(name="smoker", kind="flag", group="lifestyle", label="smoker", no="non-smoker"),
        Feature(name="race", kind="category", group="demographics", label="race", levels=("A", "B", "C")),
    ),
    formulas=(
        Formula(
            name="rule", label="made rule", expression="1 + 0.5 * age - 2 * race_is_b + 3 * crp_missing",
            source="made", status="to verify",
        ),
    ),
)  # fmt: skip


def a_frame(n: int = 400, seed: int = 0) -> Frame:
    """Frame of made patients; CRP is missing in a third."""
    rng = np.random.default_rng(seed)
    values = np.stack(
        [
            rng.uniform(30, 80, n),
            np.where(rng.random(n) < 1 / 3, np.nan, rng.lognormal(1, 1, n)),
            (rng.random(n) < 0.3).astype(float),
            rng.choice([0.0, 1.0, 2.0], n, p=[0.6, 0.3, 0.1]),
        ],
        axis=1,
    )
    return Frame(SCHEMA, values)


def test_a_row_and_a_training_cell_give_the_same_numbers() -> None:
    ledger = Ledger()
    cells: dict[str, float | bool | str | None] = {"age": 61.0, "smoker": True, "race": "C"}
    key = ledger.add("patient", "as told", source="test")

    row = row_of(SCHEMA, {name: Known(value, key) for name, value in cells.items() if value is not None})
    frame = frame_of(SCHEMA, [cells])

    np.testing.assert_array_equal(np.array(row.values), frame.values[0])
    assert row.because == (key, None, key, key)


def test_an_implausible_value_is_not_used_and_said() -> None:
    key = Ledger().add("patient", "age: 430", source="test")

    row = row_of(SCHEMA, {"age": Known(430.0, key)})

    assert math.isnan(row.values[0])
    assert row.because[0] is None
    assert [remark.text for remark in row.remarks] == ["age 430 years is not plausible (0 to 120): not used"]
    assert frame_of(SCHEMA, [{"age": 430.0}]).refused == {"age": 1}


def test_an_unknown_level_is_a_state_of_its_own_neither_missing_nor_the_most_frequent() -> None:
    key = Ledger().add("patient", "race: D", source="test")

    row = row_of(SCHEMA, {"race": Known("D", key)})

    assert row.values[3] == 3.0
    assert row.remarks[0].text == "race: 'D' is none of the levels that the model knows"
    encoder = Encoder(SCHEMA, prepared(a_frame()))
    at = [encoder.columns.index(f"race={level}") for level in "ABC"]
    assert not encoder.matrix(np.array([row.values]))[0, at].any()


def test_a_name_outside_the_schema_is_refused() -> None:
    with pytest.raises(ModelError, match="no feature is called heigth"):
        frame_of(SCHEMA, [{"heigth": 1.0}])


@pytest.mark.parametrize("cell", [{"race": 1.0}, {"age": "sixty"}, {"smoker": 0.5}])
def test_a_value_of_the_wrong_kind_is_refused(cell: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        frame_of(SCHEMA, [cell])


def test_what_makes_numbers_changes_the_digest_and_words_do_not() -> None:
    first, *others = SCHEMA.features
    worded = SCHEMA.model_copy(update={"features": (first.model_copy(update={"label": "years of age"}), *others)})
    widened = SCHEMA.model_copy(update={"features": (first.model_copy(update={"high": 130.0}), *others)})

    assert worded.digest == SCHEMA.digest
    assert widened.digest != SCHEMA.digest
    assert Schema.model_validate_json(SCHEMA.model_dump_json()).digest == SCHEMA.digest


def test_imputing_is_fitted_on_training_rows_alone() -> None:
    train = a_frame()
    fills = {fill.feature: fill for fill in prepared(train).fills}

    assert fills["crp"].fill == float(np.nanmedian(train.column("crp")))
    assert fills["crp"].masked
    assert not fills["age"].masked
    assert fills["race"].fill == 0.0


def test_a_value_not_known_is_the_fill_and_says_so_in_its_mask() -> None:
    encoder = Encoder(SCHEMA, prepared(a_frame()))
    unknown, typical = (
        np.array([[50.0, np.nan, 0.0, 0.0]]),
        np.array([[50.0, encoder.filled(np.full((1, 4), np.nan))[0, 1], 0.0, 0.0]]),
    )

    one, two = encoder.matrix(unknown)[0], encoder.matrix(typical)[0]

    differing = {encoder.columns[j] for j in np.flatnonzero(one != two)}
    assert differing == {"crp?", "rule"}  # the made rule reads the mask too
    assert np.isfinite(one).all()


def test_a_formula_reads_values_levels_and_masks() -> None:
    encoder = Encoder(SCHEMA, prepared(a_frame()))
    rows = np.array([[40.0, 5.0, 0.0, 1.0], [60.0, np.nan, 1.0, 2.0]])

    np.testing.assert_allclose(encoder.formulas(rows)[:, 0], [1 + 20 - 2, 1 + 30 + 3])


def test_a_formula_that_reads_no_feature_is_refused() -> None:
    wrong = SCHEMA.formulas[0].model_copy(update={"expression": "1 + heigth"})
    schema = SCHEMA.model_copy(update={"formulas": (wrong,)})

    with pytest.raises(ModelError, match="heigth"):
        prepared(Frame(schema, a_frame().values))


@pytest.mark.parametrize("told", ["1 if age > 60 else 0", "smoker and age", "(age > 3) * 2"])
def test_a_formula_that_decides_is_refused(told: str) -> None:
    schema = SCHEMA.model_copy(update={"formulas": (SCHEMA.formulas[0].model_copy(update={"expression": told}),)})

    with pytest.raises(ModelError, match="compares or decides"):
        prepared(Frame(schema, a_frame().values))


def test_a_formula_without_a_finite_result_is_refused() -> None:
    schema = SCHEMA.model_copy(
        update={"formulas": (SCHEMA.formulas[0].model_copy(update={"expression": "log(-age)"}),)}
    )

    with pytest.raises(NumericsError, match="no finite result"):
        prepared(Frame(schema, a_frame().values))


def test_rare_states_get_no_column_of_their_own() -> None:
    frame = a_frame()
    values = frame.values.copy()
    values[:, 3] = 0.0
    values[:3, 3] = 2.0

    encoder = Encoder(SCHEMA, prepared(Frame(SCHEMA, values)))

    assert "race=C" not in encoder.columns
    assert "race=A" in encoder.columns


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, (6, 4), elements=st.one_of(st.just(np.nan), st.floats(0, 1))))
def test_the_matrix_never_holds_nan_and_each_row_stands_for_itself(values: np.ndarray) -> None:
    encoder = Encoder(SCHEMA, prepared(a_frame()))
    values[:, 2:] = np.where(np.isnan(values[:, 2:]), np.nan, np.round(values[:, 2:]))

    whole = encoder.matrix(values)

    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole[2], encoder.matrix(values[2:3])[0])


def _reader(frame: Frame) -> tuple[CoverageReader, Encoder]:
    encoder = Encoder(SCHEMA, prepared(frame))
    return CoverageReader(fitted_coverage(encoder, frame), encoder), encoder


def test_new_patients_of_the_same_population_are_covered_as_often_as_the_limit_says() -> None:
    reader, _ = _reader(a_frame(2000))

    covered = reader.read(a_frame(4000, seed=1).values).covered

    assert np.mean(covered) == pytest.approx(0.99, abs=0.006)


def test_a_patient_unlike_all_is_not_covered_and_the_feature_is_named() -> None:
    reader, _ = _reader(a_frame(2000))
    strange = np.array([[0.5, 3.0, 0.0, 0.0]])

    reading = reader.read(strange)

    assert not reading.covered[0]
    assert SCHEMA.names[reader.unusual(strange[0], reading.parts[0])[0]] == "age"


def test_the_distance_is_twice_the_negative_log_likelihood_of_states_plus_the_numbers() -> None:
    frame = a_frame(2000)
    reader, encoder = _reader(frame)
    rows = np.array([[55.0, np.nan, 1.0, 2.0], [70.0, 3.0, 0.0, 0.0]])
    known = ~np.isnan(frame.column("crp"))
    z = encoder.standard(encoder.filled(frame.values))
    precision = np.linalg.inv(0.9 * z.T @ z / 2000 + 0.1 * np.eye(2))

    parts = reader.parts(rows)

    moved = encoder.standard(encoder.filled(rows))
    quadratic = np.sum(moved * (moved @ precision), axis=1)
    shares = [
        [1 - np.mean(known), np.mean(frame.column("smoker") == 1), np.mean(frame.column("race") == 2)],
        [np.mean(known), np.mean(frame.column("smoker") == 0), np.mean(frame.column("race") == 0)],
    ]
    np.testing.assert_allclose(parts.sum(axis=1), quadratic - 2 * np.log(shares).sum(axis=1), rtol=0.01)


def test_a_level_that_no_training_patient_had_is_named() -> None:
    reader, _ = _reader(a_frame(2000))
    row = np.array([[55.0, 3.0, 0.0, 3.0]])

    named = [SCHEMA.names[j] for j in reader.unusual(row[0], reader.read(row).parts[0])]

    assert named == ["race"]


def test_a_value_that_was_never_missing_in_training_counts_against_coverage_when_it_is() -> None:
    reader, _ = _reader(a_frame(2000))
    known, unknown = np.array([[55.0, 3.0, 0.0, 0.0]]), np.array([[np.nan, 3.0, 0.0, 0.0]])

    assert reader.read(unknown).nearer[0] > reader.read(known).nearer[0]
    assert [SCHEMA.names[j] for j in reader.unusual(unknown[0], reader.read(unknown).parts[0])] == ["age"]


# --- the general row: one patient and one drug -----------------------------------------------------------------------

KNOWLEDGE = load_knowledge()


def a_reading(key: str, value: float, on: date, place: str) -> Observation:
    at = datetime(on.year, on.month, on.day, 9, tzinfo=UTC)
    unit = KNOWLEDGE.codes.analytes[key].unit
    return Observation(key=key, value=value, unit=unit, at=at, source=Source(document="made.json", place=place))


def a_long_record() -> Patient:
    patient = a_patient(
        age=62,
        conditions=("hypertension", "type2_diabetes", "gout"),
        medicines=(
            a_medicine("atorvastatin", 20, start=date(2025, 1, 1)),
            a_medicine("amlodipine", 5, start=date(2025, 6, 1)),
        ),
        sbp=150, dbp=92, creatinine=1.2, potassium=4.4, weight=88, height=175, hba1c=7.9,
    )  # fmt: skip
    older = (
        a_reading("hba1c", 6.9, date(2025, 11, 13), "Observation/old1"),
        a_reading("hba1c", 7.4, date(2026, 5, 14), "Observation/old2"),
        a_reading("potassium", 4.6, date(2026, 11, 12), "Observation/old3"),
    )
    family = (
        FamilyHistory(
            relation="father", codes=("myocardial_infarction",), source=Source(document="made.json", place="F/1")
        ),
        FamilyHistory(relation="mother", codes=("type2_diabetes",), source=Source(document="made.json", place="F/2")),
    )
    return patient.model_copy(update={"observations": (*patient.observations, *older), "family_history": family})


def a_row(patient: Patient, drug: str = "enalapril", ledger: Ledger | None = None) -> dict[str, float]:
    row, names = the_row(patient, drug, ledger or Ledger())
    return dict(zip(names, row.values, strict=True))


def the_row(patient: Patient, drug: str, ledger: Ledger) -> tuple[Row, tuple[str, ...]]:
    told = Settings(as_of=AS_OF)
    situation = situate(patient, as_of=AS_OF, knowledge=KNOWLEDGE, settings=told, ledger=ledger)
    medicines = tuple(c.drug for c in situation.current)
    taken = [KNOWLEDGE.drugs[m] for m in medicines]
    profile = express(None, taken, ledger=ledger, knowledge=KNOWLEDGE, situation=situation)
    one = KNOWLEDGE.drugs[DrugId(drug)]
    prior = prior_of(one, situation, profile, settings=told, ledger=ledger)
    regimen = Regimen(drug=one.id, dose=10.0, interval_h=24.0, text="10 mg once daily")
    shown: Exposure | None = None
    if not isinstance(prior, MissingKinetics):
        found = exposure(prior, regimen, drug=one, settings=told, ledger=ledger)
        shown = None if isinstance(found, MissingKinetics) else found
    subject = Subject(
        patient=patient, situation=situation, drug=one, medicines=medicines, profile=profile,
        prior=None if isinstance(prior, MissingKinetics) else prior, exposure=shown, regimen=regimen,
    )  # fmt: skip
    return general_row(subject, knowledge=KNOWLEDGE, ledger=ledger), general_schema(KNOWLEDGE).names


def test_the_general_row_holds_every_group_of_the_founding_list() -> None:
    groups = {feature.group for feature in general_schema(KNOWLEDGE).features}

    assert groups >= {
        "demographics", "conditions", "comorbidity", "medication history", "labs and vitals", "family history", "genes",
        "pharmacokinetics", "lifestyle",
    }  # fmt: skip


def test_the_general_row_tells_what_the_record_holds() -> None:
    row = a_row(a_long_record())

    assert row["age"] == 62
    assert row["male"] == 1
    assert row["sbp"] == 150
    assert row["has_diabetes"] == 1
    assert row["has_asthma"] == 0
    assert row["comorbidities"] == 3  # type 2 diabetes implies diabetes, which is not counted again
    assert row["takes_statin"] == 1
    assert row["takes_opioid"] == 0
    assert row["is_ace_inhibitor"] == 1
    assert row["is_statin"] == 0
    assert row["medicines"] == 2
    assert row["family_cvd"] == 1
    assert row["family_stroke"] == 0
    assert row["dose"] == 10


def test_medicines_that_were_stopped_are_history() -> None:
    stopped = a_medicine("enalapril", 10, start=date(2024, 1, 1)).model_copy(
        update={"status": "stopped", "end": date(2024, 6, 1)}
    )
    patient = a_long_record()
    patient = patient.model_copy(update={"medications": (*patient.medications, stopped)})

    row, other = a_row(patient), a_row(patient, "metoprolol")

    assert (row["took_it"], row["takes_it"], row["past_medicines"]) == (1, 0, 1)
    assert other["took_it"] == 0


def test_the_trend_is_the_least_squares_slope_per_year() -> None:
    row = a_row(a_long_record())
    days, values = np.array([0.0, 182.0, 365.0]), np.array([6.9, 7.4, 7.9])

    assert row["hba1c_trend"] == pytest.approx(np.polyfit(days / 365.25, values, 1)[0], rel=1e-4)


def test_readings_of_one_day_make_no_trend() -> None:
    assert math.isnan(a_row(a_long_record())["potassium_trend"])  # two readings a day apart


def test_kinetics_come_from_the_twin() -> None:
    row = a_row(a_long_record())

    assert row["clearance"] > 0
    assert row["auc24"] == pytest.approx(row["bioavailability"] * 10.0 / row["clearance"], rel=0.05)


def test_without_lists_nothing_is_absent() -> None:
    row = a_row(a_patient(problem_list_given=False, medication_list_given=False, conditions=()))

    assert math.isnan(row["has_asthma"])
    assert math.isnan(row["comorbidities"])
    assert math.isnan(row["takes_statin"])
    assert math.isnan(row["takes_it"])
    assert math.isnan(row["took_it"])
    assert math.isnan(row["family_cvd"])


def test_a_stale_result_is_not_used_and_said() -> None:
    patient = a_patient(sbp=150)
    old = a_reading("potassium", 4.1, date(2024, 1, 5), "Observation/old")
    patient = patient.model_copy(update={"observations": (*patient.observations, old)})

    row, names = the_row(patient, "enalapril", Ledger())

    assert math.isnan(row.values[names.index("potassium")])
    assert [remark.text for remark in row.remarks] == ["potassium of 2024-01-05: too old, not used by the model"]


def test_every_known_value_of_the_general_row_reaches_its_leaves() -> None:
    ledger = Ledger()
    row, _ = the_row(a_long_record(), "enalapril", ledger)

    for value, key in zip(row.values, row.because, strict=True):
        assert math.isnan(value) == (key is None)
    reached = ledger.reachable(key for key in row.because if key is not None)
    assert {e.kind for e in reached.values() if not e.because} <= LEAF_KINDS
    assert SOURCE.document in " ".join(e.source for e in reached.values())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_general_row_does_not_depend_on_the_order_of_the_record(seed: int) -> None:
    patient, rng = a_long_record(), random.Random(seed)
    shuffled = {
        name: tuple(rng.sample(getattr(patient, name), len(getattr(patient, name))))
        for name in ("observations", "conditions", "medications", "family_history")
    }

    one, _ = the_row(patient, "metoprolol", Ledger())
    two, _ = the_row(patient.model_copy(update=shuffled), "metoprolol", Ledger())

    np.testing.assert_array_equal(np.array(one.values), np.array(two.values))
    assert one.because == two.because
