"""Scores: worked examples, independent oracles and laws."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import rtoml
from hypothesis import given, settings
from hypothesis import strategies as st

from posologist.core.errors import KnowledgeError
from posologist.core.indication import Score
from posologist.knowledge import scores as scores_module
from posologist.knowledge.expression import expression
from posologist.knowledge.scores import Given, compute, example_error, steps_of
from shared import shared_data

FOLDER = Path(scores_module.__file__).parent / "data" / "scores"


@lru_cache
def scores() -> dict[str, Score]:
    found = [Score.model_validate(rtoml.load(path)) for path in sorted(FOLDER.glob("*.toml"))]
    return {score.id: score for score in found}


def value(score_id: str, **facts: Any) -> Any:
    return compute(scores()[score_id], Given(facts)).value


PREVENT_CASE: dict[str, Any] = {
    "age": 50, "sex": "female", "sbp": 160, "total_cholesterol": 200, "hdl": 45, "bmi": 35, "egfr": 90,
    "smoking_status": "never", "dx(diabetes)": True, "on(antihypertensive)": True, "on(statin)": False,
    "dx(cvd)": False, "dx(heart_failure)": False,
}  # fmt: skip


def test_there_is_a_file_for_each_score_named_by_its_id() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(scores())
    assert set(scores()) >= {
        "ckd_epi_2021_cr", "cockcroft_gault", "bmi", "bsa", "prevent_total_cvd_10y", "prevent_ascvd_10y",
        "prevent_heart_failure_10y", "cha2ds2_vasc", "cha2ds2_va", "has_bled", "qtc_fridericia",
    }  # fmt: skip


@pytest.mark.parametrize("score_id", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_every_worked_example_is_reproduced(score_id: str) -> None:
    score = scores()[score_id]

    assert score.examples, f"{score_id} has no worked example"
    assert [error for example in score.examples if (error := example_error(score, example))] == []


@pytest.mark.parametrize("score_id", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_every_name_of_a_score_is_an_input_a_step_or_a_constant(score_id: str) -> None:
    score = scores()[score_id]
    known = {*score.inputs, *score.constants, *(name for name, _ in steps_of(score))}
    extra = {"dialysis", "ttr", "age", "triglycerides"}  # read in `valid` or where they decide

    for formula in (expression(score.formula), *(step for _, step in steps_of(score))):
        assert formula.names <= known | extra


def test_prevent_agrees_with_its_coefficients_in_other_arithmetic() -> None:
    formulas = json.loads(shared_data("indications", "_formulas.json").read_text())["formulas"]
    model = next(f for f in formulas if f["id"] == "prevent_base_10yr")
    mpmath.mp.dps = 40
    for sex in ("female", "male"):
        for key, score_id in (
            ("total_cvd", "prevent_total_cvd_10y"), ("ascvd", "prevent_ascvd_10y"),
            ("heart_failure", "prevent_heart_failure_10y"),
        ):  # fmt: skip
            coefficients = model["coefficients"][f"{sex}_{key}"]
            for case in ({}, {"age": 71, "sbp": 104, "bmi": 24, "egfr": 48, "smoking_status": "current"}):
                facts = PREVENT_CASE | {"sex": sex} | case
                expected = _prevent_by_mpmath(coefficients, facts)

                assert value(score_id, **facts) == pytest.approx(float(expected), rel=1e-12)


def _prevent_by_mpmath(coefficients: list[float], p: dict[str, Any]) -> mpmath.mpf:
    m = mpmath.mpf
    age = (m(p["age"]) - 55) / 10
    lipid = (m(p["total_cholesterol"]) - p["hdl"]) * m("0.02586") - m("3.5")
    hdl = (m(p["hdl"]) * m("0.02586") - m("1.3")) / m("0.3")
    low, high = (min(m(p["sbp"]), 110) - 110) / 20, (max(m(p["sbp"]), 110) - 130) / 20
    diabetes, smoker = int(p["dx(diabetes)"]), int(p["smoking_status"] == "current")
    lean, obese = (min(m(p["bmi"]), 30) - 25) / 5, (max(m(p["bmi"]), 30) - 30) / 5
    kidney, filtering = (min(m(p["egfr"]), 60) - 60) / -15, (max(m(p["egfr"]), 60) - 90) / -15
    treated, statin = int(p["on(antihypertensive)"]), int(p["on(statin)"])
    terms = [
        age, lipid, hdl, low, high, diabetes, smoker, lean, obese, kidney, filtering, treated, statin, treated * high,
        statin * lipid, age * lipid, age * hdl, age * high, age * diabetes, age * smoker, age * obese, age * kidney, 1,
    ]  # fmt: skip
    z = mpmath.fsum(m(str(c)) * t for c, t in zip(coefficients, terms, strict=True))
    return mpmath.exp(z) / (1 + mpmath.exp(z))


def test_prevent_is_not_valid_with_cardiovascular_disease_or_outside_its_ages() -> None:
    score = scores()["prevent_total_cvd_10y"]

    assert compute(score, Given(PREVENT_CASE)).valid is True
    assert compute(score, Given(PREVENT_CASE | {"dx(cvd)": True})).valid is False
    assert compute(score, Given(PREVENT_CASE | {"age": 29})).valid is False
    assert compute(score, Given(PREVENT_CASE | {"age": 80})).valid is False
    assert compute(score, Given(PREVENT_CASE | {"smoking_status": "unknown"})).valid is False
    assert compute(score, Given(PREVENT_CASE | {"dx(cvd)": None})).valid is None


def test_a_missing_fact_gives_no_value_and_is_named() -> None:
    result = compute(scores()["prevent_total_cvd_10y"], Given(PREVENT_CASE | {"hdl": None, "on(statin)": None}))

    assert result.value is None
    assert {"hdl", "on(statin)"} <= set(result.missing)


def test_unknown_condition_is_not_counted_as_absent() -> None:
    facts = dict(scores()["cha2ds2_vasc"].examples[0].given)
    facts.pop("dx(stroke)")

    assert value("cha2ds2_vasc", **facts) is None


def test_warfarin_without_time_in_range_leaves_has_bled_open() -> None:
    facts = dict(scores()["has_bled"].examples[0].given) | {"on(warfarin)": True}

    result = compute(scores()["has_bled"], Given(facts))

    assert result.value is None
    assert "ttr" in result.missing


@given(creatinine=st.floats(0.2, 12), age=st.integers(18, 100), sex=st.sampled_from(["male", "female"]))
def test_egfr_falls_with_creatinine_and_age(creatinine: float, age: int, sex: str) -> None:
    now = value("ckd_epi_2021_cr", creatinine=creatinine, age=age, sex=sex)

    assert value("ckd_epi_2021_cr", creatinine=creatinine * 1.01, age=age, sex=sex) < now
    assert value("ckd_epi_2021_cr", creatinine=creatinine, age=age + 1, sex=sex) < now


@given(st.integers(30, 79), st.sampled_from(["male", "female"]), st.floats(111, 180))
@settings(max_examples=50)
def test_risk_rises_with_pressure_and_stays_a_probability(age: int, sex: str, sbp: float) -> None:
    facts = PREVENT_CASE | {"age": age, "sex": sex, "on(antihypertensive)": False}

    low, high = (value("prevent_total_cvd_10y", **facts | {"sbp": x}) for x in (sbp, sbp + 10))

    assert 0 < low < high < 1


@given(st.floats(40, 120), st.floats(350, 550))
def test_fridericia_lies_between_no_correction_and_bazett(rate: float, qt: float) -> None:
    corrected = value("qtc_fridericia", qt=qt, heart_rate=rate)
    bazett = qt / math.sqrt(60 / rate)

    assert min(qt, bazett) - 1e-9 <= corrected <= max(qt, bazett) + 1e-9


def test_continuous_scores_take_arrays() -> None:
    creatinine = np.array([0.5, 0.9, 1.0, 2.5])
    one_by_one = [value("ckd_epi_2021_cr", creatinine=float(c), age=50, sex="male") for c in creatinine]

    together = value("ckd_epi_2021_cr", creatinine=creatinine, age=50, sex="male")

    np.testing.assert_allclose(together, one_by_one, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        value("prevent_ascvd_10y", **PREVENT_CASE | {"sbp": np.array([100.0, 160.0])})[1],
        value("prevent_ascvd_10y", **PREVENT_CASE),
        rtol=1e-12, atol=1e-12,
    )  # fmt: skip


def test_zero_creatinine_gives_no_value_instead_of_infinity() -> None:
    assert value("cockcroft_gault", age=60, sex="male", weight=70, creatinine=0) is None
    assert value("cockcroft_gault", age=60, sex="male", weight=np.float64(70), creatinine=np.float64(0)) is None


def test_a_step_without_a_name_is_refused() -> None:
    score = scores()["bsa"].model_copy(update={"steps": ("height * weight",)})

    with pytest.raises(KnowledgeError, match="name = expression"):
        compute(score, Given({"height": 170, "weight": 70}))


def test_a_wrong_example_is_told() -> None:
    score = scores()["bsa"]
    wrong = score.examples[0].model_copy(update={"expect": 2.0})
    unknown = score.examples[0].model_copy(update={"given": {"height": 170}})

    assert "published 2" in (example_error(score, wrong) or "")
    assert "missing weight" in (example_error(score, unknown) or "")
