"""Ten-year cardiovascular risk and heart disease: who counts with what outcome, and one row for table and patient."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patients import AS_OF, SOURCE, a_medicine, a_patient
from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.patient import Observation, Patient
from posologist.core.settings import Settings
from posologist.knowledge.derive import situate
from posologist.knowledge.load import load_knowledge
from posologist.learn.artefact import load
from posologist.learn.features import Row, frame_of, frame_of_rows
from posologist.learn.fit.save import UNSAVED
from posologist.learn.tasks.cardiovascular import SCHEMA, cells_of_csv, row_of_patient
from posologist.learn.tasks.cells import number
from posologist.learn.tasks.missing import Missing
from posologist.study import heart_disease
from posologist.study.cardiovascular import (
    BLOCK,
    COLUMNS,
    ENGINE,
    TEN_YEARS,
    frame,
    framingham,
    framingham_recalibrated,
    outcome,
    read,
)
from posologist.study.nested import folds_of

LINE = {
    "RANDID": "1", "SEX": "1", "TOTCHOL": "220", "AGE": "55", "SYSBP": "140", "DIABP": "85", "CURSMOKE": "1",
    "BMI": "27", "DIABETES": "0", "BPMEDS": "0", "HEARTRTE": "72", "GLUCOSE": "90", "PREVCHD": "0", "PREVSTRK": "0",
    "PREVHYP": "1", "TIME": "0", "PERIOD": "1", "HDLC": "", "LDLC": "", "DEATH": "0", "ANYCHD": "0", "CVD": "0",
    "TIMECHD": "8766", "TIMECVD": "8766", "TIMEDTH": "8766",
}  # fmt: skip


def a_table(folder: Path, lines: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / "table.csv"
    path.write_text(
        "\n".join([",".join(columns), *(",".join(line[name] for name in columns) for line in lines)]) + "\n"
    )
    return path


def made_lines(n: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Invented persons with two examinations each; events follow age and pressure."""
    rng = np.random.default_rng(seed)
    lines = []
    for person in range(n):
        age, pressure = rng.uniform(35, 65), rng.normal(135, 20)
        event = rng.random() < 1 / (1 + np.exp(-(0.1 * (age - 60) + 0.03 * (pressure - 140))))
        own = {
            "RANDID": str(person + 1), "SEX": str(1 + person % 2), "CVD": str(int(event)), "SYSBP": f"{pressure:.0f}",
            "TIMECVD": "5000" if event else "8766", "CURSMOKE": str(person % 3 % 2), "BMI": f"{rng.normal(26, 4):.1f}",
            "BPMEDS": "" if person % 11 == 0 else str(int(pressure > 165)),
        }  # fmt: skip
        lines.append(LINE | own | {"AGE": f"{age:.0f}"})
        lines.append(
            LINE | own | {"AGE": f"{age + 6:.0f}", "TIME": "2190", "PERIOD": "2", "HDLC": f"{rng.normal(50, 12):.0f}"}
        )
    return lines


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 0.0),
        ({"CVD": "1", "TIMECVD": "3652"}, 1.0),
        ({"CVD": "1", "TIMECVD": "3653"}, 0.0),
        ({"CVD": "1", "TIMECVD": "5000", "TIME": "2000"}, 1.0),
        ({"DEATH": "1", "TIMEDTH": "2000", "TIMECVD": "2000"}, 0.0),
        ({"TIMECVD": "2000"}, np.nan),
        ({"DEATH": "1", "TIMEDTH": "6000", "TIMECVD": "2000"}, np.nan),
    ],
)
def test_the_outcome_is_an_event_within_ten_years_and_unknown_only_for_the_lost(
    changed: dict[str, str], expected: float
) -> None:
    np.testing.assert_equal(outcome(LINE | changed), expected)


def test_who_had_the_disease_before_is_left_out_and_counted(tmp_path: Path) -> None:
    sick = [{"PREVCHD": "1"}, {"PREVSTRK": "1"}, {"CVD": "1", "TIMECVD": "0"}]
    lines = [LINE, *(LINE | {"RANDID": str(2 + i)} | one for i, one in enumerate(sick))]

    cohort = read(a_table(tmp_path, lines))

    assert len(cohort) == 1
    assert "2 of 4 examinations were left out" in cohort.notes[0]
    assert "1 more" in cohort.notes[0]


def test_every_examination_can_be_followed_for_ten_years() -> None:
    last_examination, end = 4816, 8766  # days, of the table's data sheet

    assert end - last_examination > TEN_YEARS


def test_the_examinations_of_a_person_never_part(tmp_path: Path) -> None:
    cohort = read(a_table(tmp_path, made_lines(60)))
    fold = folds_of(BLOCK, cohort, 0)

    assert fold[0::2].tolist() == fold[1::2].tolist()
    assert len(np.unique(cohort.patient)) == 60


def test_the_published_score_takes_lipids_where_hdl_is_known_and_answers_for_everybody(tmp_path: Path) -> None:
    cohort = read(a_table(tmp_path, made_lines(80)))

    scored = framingham(cohort, cohort.blinded(BLOCK.hidden), seed=0, quick=True)
    moved = framingham_recalibrated(cohort, cohort.blinded(BLOCK.hidden), seed=0, quick=True)

    assert np.isfinite(scored.value).all()
    assert (np.argsort(scored.value, kind="stable") == np.argsort(moved.value, kind="stable")).mean() > 0.95
    assert abs(moved.value.mean() - cohort.target.mean()) < abs(scored.value.mean() - cohort.target.mean()) + 1e-9


def test_no_method_sees_what_came_later(tmp_path: Path) -> None:
    blinded = read(a_table(tmp_path, made_lines(20))).blinded(BLOCK.hidden)

    assert np.isnan(blinded.target).all()
    assert all(np.isnan(blinded.extra[name]).all() for name in ("lost_as_events", "with_angina"))
    later = {"CVD", "DEATH", "ANYCHD", "TIMECVD", "TIMECHD", "TIMEDTH"}
    assert cells_of_csv(LINE) == cells_of_csv(LINE | dict.fromkeys(later, "1"))


def a_person(**changed: Any) -> Patient:
    values = {"sbp": 140, "dbp": 85, "heart_rate": 72, "total_cholesterol": 220, "glucose": 90} | changed
    patient = a_patient(age=55, conditions=("hypertension",), **{k: v for k, v in values.items() if v is not None})
    at = patient.observations[0].at
    smoking = Observation(key="smoking_status", text="current", at=at, source=SOURCE)
    body = Observation(key="bmi", value=27.0, unit="kg/m2", at=at, source=SOURCE)
    return patient.model_copy(update={"observations": (*patient.observations, smoking, body)})


def asked(patient: Patient) -> Row | Missing:
    knowledge, ledger = load_knowledge(), Ledger()
    situation = situate(patient, as_of=AS_OF, knowledge=knowledge, settings=Settings(), ledger=ledger)
    return row_of_patient(situation, knowledge, ledger=ledger)


def test_a_patient_gives_the_row_that_the_table_gives() -> None:
    row = asked(a_person())

    assert isinstance(row, Row)
    np.testing.assert_allclose(frame_of_rows(SCHEMA, [row]).values, frame_of(SCHEMA, [cells_of_csv(LINE)]).values)
    known = ~np.isnan(np.array(row.values))
    assert all((key is not None) == here for key, here in zip(row.because, known, strict=True))


def test_a_present_antihypertensive_is_treatment() -> None:
    row = asked(a_person().model_copy(update={"medications": (a_medicine("enalapril", 10),)}))

    assert isinstance(row, Row)
    assert row.values[SCHEMA.names.index("antihypertensive")] == 1.0


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"problem_list_given": False}, "diabetes"),
        ({"medication_list_given": False}, "antihypertensive treatment"),
        ({"sex": None}, "male sex"),
    ],
)
def test_absence_is_read_only_from_a_list_that_was_given(changed: dict[str, Any], name: str) -> None:
    found = asked(a_person().model_copy(update=changed))

    assert isinstance(found, Missing)
    assert name in found.inputs


def test_a_pressure_that_has_gone_stale_is_not_used() -> None:
    patient = a_person()
    old = tuple(
        one.model_copy(update={"at": one.at - timedelta(days=2000)}) if one.key == "sbp" and one.at else one
        for one in patient.observations
    )

    assert asked(patient.model_copy(update={"observations": old})) == Missing("cardiovascular", ("systolic pressure",))


def test_a_patient_with_cardiovascular_disease_gets_no_ten_year_risk() -> None:
    patient = a_person()
    stroke = patient.conditions[0].model_copy(update={"codes": ("stroke",)})

    found = asked(patient.model_copy(update={"conditions": (stroke,)}))

    assert found == Missing("cardiovascular", ("a problem list without cardiovascular disease",))


def test_what_is_evaluated_as_engine_is_what_is_saved_and_served(tmp_path: Path) -> None:
    whole = read(a_table(tmp_path, made_lines(250)))
    train, test = whole.take(np.arange(400)), whole.take(np.arange(400, 500))

    scored = ENGINE(train, test.blinded(BLOCK.hidden), seed=1, quick=True)
    ENGINE.fitted(train, seed=1, quick=True).save(tmp_path / "model", UNSAVED)
    answers = load(tmp_path / "model", schema=SCHEMA).answers(frame(test))

    np.testing.assert_allclose(answers.value, scored.value, atol=1e-9)
    assert ((scored.value > 0) & (scored.value < 1)).all()


def test_a_blank_is_a_blank_whatever_wrote_the_table_and_a_word_is_refused() -> None:
    assert [number(text) for text in ("", "NA", "nan", " . ", "1.5")] == [None, None, None, None, 1.5]
    for text in ("tall", "inf"):
        with pytest.raises(InputError, match="not a number"):
            number(text)


def test_a_cholesterol_of_zero_is_blank_and_disease_is_any_grade(tmp_path: Path) -> None:
    line = dict.fromkeys(heart_disease.COLUMNS, "1") | {"site": "cleveland", "age": "60", "thalach": "150"}
    lines = [line | {"chol": "0", "num": "3"}, line | {"chol": "220", "num": "0", "site": "va"}]

    cohort = heart_disease.read(a_table(tmp_path, lines, heart_disease.COLUMNS))

    assert [heart_disease.cells_of_csv(row)["chol"] for row in cohort.rows] == [None, 220.0]
    assert cohort.target.tolist() == [1.0, 0.0]
    assert cohort.site.tolist() == [0, 1]
