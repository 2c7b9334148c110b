"""The published scores that models are held against: external values, directions, and one set of numbers everywhere."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posologist.core.prediction import Schema
from posologist.knowledge.scores import Given, compute
from posologist.learn.features import Encoder, frame_of, prepared
from posologist.learn.tasks import cardiovascular, immunotherapy
from posologist.study.cardiovascular import COLUMNS, published_risks, read
from posologist.study.published import computed, published
from shared import shared_data

PERSON: dict[str, Any] = {
    "age": 55.0, "sex": "male", "bmi": 27.0, "sbp": 140.0, "total_cholesterol": 220.0, "hdl": 45.0,
    "smoking_status": "never", "on(antihypertensive)": False, "dx(diabetes)": False, "dx(cvd)": False,
    "dx(heart_failure)": False,
}  # fmt: skip
FRAMINGHAM = ("framingham_cvd_lipids_10y", "framingham_cvd_bmi_10y")


def value(score: str, **changed: Any) -> float:
    found = compute(published(score), Given(PERSON | changed)).value
    assert found is not None
    return float(found)


def formula(schema: Schema, row: dict[str, Any]) -> float:
    """The schema's published formula for a row."""
    frame = frame_of(schema, [row])
    return float(Encoder(schema, prepared(frame)).formulas(frame.values)[0, 0])


def tumour(cancer: str = "NSCLC", **changed: Any) -> dict[str, Any]:
    facts = {
        "age": 60.0, "albumin": 3.9, "tumour_mutational_burden": 8.0, "neutrophils": 4.0, "lymphocytes": 1.0,
        "prior_systemic_therapy": "yes", "dx(prior_systemic_cancer_therapy)": False,
    }  # fmt: skip
    return facts | {f"dx({code})": name == cancer for code, name in immunotherapy.CANCERS.items()} | changed


def test_loris_agrees_with_the_scores_that_its_authors_publish_for_589_patients() -> None:
    text = gzip.decompress(shared_data("ml", "loris_ici", "msk_non_ici.csv.gz").read_bytes()).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    facts = [
        tumour(
            row["CancerType"],
            age=float(row["Age"]),
            albumin=float(row["Albumin"]),
            tumour_mutational_burden=float(row["TMB"]),
            neutrophils=float(row["NLR"]),
            prior_systemic_therapy="yes" if float(row["Systemic_therapy_history"]) else "no",
        )
        for row in rows
    ]

    ours = computed("loris_pan_cancer", facts)

    assert len(rows) == 589
    assert np.abs(ours - [float(row["LORIS_published"]) for row in rows]).max() < 1e-3


def test_loris_has_the_same_numbers_in_the_schema_of_the_model_as_in_the_knowledge_base() -> None:
    rng = np.random.default_rng(1)
    for cancer in (*immunotherapy.CANCERS.values(), "another tumour"):
        facts = tumour(
            cancer,
            age=float(rng.uniform(20, 95)),
            albumin=float(rng.uniform(2, 5)),
            tumour_mutational_burden=float(rng.uniform(0, 80)),
            neutrophils=float(rng.uniform(0.5, 40)),
            prior_systemic_therapy=str(rng.choice(["yes", "no"])),
        )
        row = {
            "age": facts["age"], "albumin": facts["albumin"], "neutrophil_ratio": facts["neutrophils"],
            "cancer": cancer,
            "tumour_mutational_burden": facts["tumour_mutational_burden"],
            "prior_systemic_therapy": facts["prior_systemic_therapy"] == "yes",
        }  # fmt: skip

        odds = formula(immunotherapy.SCHEMA, row)

        assert 1 / (1 + np.exp(-odds)) == pytest.approx(computed("loris_pan_cancer", [facts])[0], abs=1e-9)


def test_loris_says_what_it_lacks_where_no_list_states_the_prior_therapy() -> None:
    result = compute(published("loris_pan_cancer"), Given(tumour(prior_systemic_therapy=None)))

    assert result.value is None
    assert "prior_systemic_therapy" in result.missing


@pytest.mark.parametrize("with_lipids", [True, False])
def test_framingham_has_the_same_numbers_in_the_schema_of_the_model_as_in_the_knowledge_base(with_lipids: bool) -> None:
    rng = np.random.default_rng(2)
    score = FRAMINGHAM[0] if with_lipids else FRAMINGHAM[1]
    for _ in range(20):
        flags = rng.integers(0, 2, 4).astype(bool)
        person = {
            "age": float(rng.uniform(32, 80)), "sbp": float(rng.uniform(90, 200)), "bmi": float(rng.uniform(18, 40)),
            "total_cholesterol": float(rng.uniform(120, 320)), "hdl": float(rng.uniform(25, 90)),
        }  # fmt: skip
        expected = value(
            score,
            **person,
            sex="male" if flags[0] else "female",
            smoking_status="current" if flags[1] else "never",
            **{"dx(diabetes)": bool(flags[2]), "on(antihypertensive)": bool(flags[3])},
        )
        named = dict(zip(("male", "smoker", "diabetes", "antihypertensive"), flags.tolist(), strict=True))
        row = person | named | ({} if with_lipids else {"hdl": None})

        hazard = np.exp(formula(cardiovascular.SCHEMA, row))

        assert 1 - np.exp(-hazard) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("score", FRAMINGHAM)
@pytest.mark.parametrize("sex", ["male", "female"])
def test_framingham_rises_with_each_risk_factor(score: str, sex: str) -> None:
    start = value(score, sex=sex)

    assert value(score, sex=sex, age=65.0) > start
    assert value(score, sex=sex, sbp=160.0) > start
    assert value(score, sex=sex, smoking_status="current") > start
    assert value(score, sex=sex, **{"dx(diabetes)": True}) > start
    assert value(score, sex=sex, **{"on(antihypertensive)": True}) > start  # the same pressure, reached under treatment


@pytest.mark.parametrize("score", FRAMINGHAM)
def test_framingham_is_not_valid_after_cardiovascular_disease_or_outside_its_ages(score: str) -> None:
    def valid(**changed: Any) -> bool | None:
        return compute(published(score), Given(PERSON | changed)).valid

    assert valid() is True
    assert valid(age=75.0) is False
    assert valid(**{"dx(cvd)": True}) is False
    assert valid(**{"dx(cvd)": None}) is None


def test_the_framingham_row_of_the_evaluation_is_the_knowledge_bases_score(tmp_path: Path) -> None:
    line = dict.fromkeys(COLUMNS, "0") | {
        "RANDID": "1", "SEX": "2", "AGE": "58", "SYSBP": "150", "BMI": "29", "CURSMOKE": "1", "TOTCHOL": "240",
        "BPMEDS": "1", "TIMECVD": "8766", "TIMECHD": "8766", "TIMEDTH": "8766", "PERIOD": "1", "HDLC": "", "LDLC": "",
        "DIABP": "90", "HEARTRTE": "70", "GLUCOSE": "",
    }  # fmt: skip
    lines = [line, line | {"RANDID": "2", "HDLC": "52", "SEX": "1"}]
    path = tmp_path / "table.csv"
    path.write_text("\n".join([",".join(COLUMNS), *(",".join(one[name] for name in COLUMNS) for one in lines)]) + "\n")
    cohort = read(path)

    risk = published_risks(cohort, cohort)[1]

    person = {"age": 58.0, "sbp": 150.0, "bmi": 29.0, "total_cholesterol": 240.0, "hdl": 52.0}
    treated = {"smoking_status": "current", "on(antihypertensive)": True}
    expected = [value(FRAMINGHAM[1], **person, **treated, sex="female"), value(FRAMINGHAM[0], **person, **treated)]
    assert risk == pytest.approx(expected, abs=1e-9)


def test_a_score_without_one_of_its_facts_has_no_value_in_a_table() -> None:
    complete, without = computed(FRAMINGHAM[0], [PERSON, {k: v for k, v in PERSON.items() if k != "hdl"}])

    assert 0 < complete < 1
    assert np.isnan(without)
