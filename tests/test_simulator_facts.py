"""The constants of the hypertension simulator: each has a value or a reason for none, and a source."""

import csv
import gzip
from importlib.resources import files
from math import exp, isfinite, log

import numpy as np
import pytest
import rtoml
from numpy.testing import assert_allclose

from shared import shared_data

FILE = rtoml.loads(files("posologist.study").joinpath("hypertension.toml").read_text(encoding="utf-8"))
FACTS = FILE["facts"]
VALUES = {fact["name"]: fact.get("value") for fact in FACTS}
KINDS = {citation["key"]: citation["kind"] for citation in FILE["citations"]}
GROUPS = {"clinic", "renin", "sodium", "prevalence", "modifier", "effect", "harm", "kinetics", "spread", "outside"}
QUARTILES = 1.349  # distance of the quartiles of a normal distribution, in SD


def numbers(fact: dict) -> list[float]:
    value = fact.get("value", [])
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact["name"])
def test_a_fact_has_a_value_or_says_why_it_has_none(fact):
    assert ("value" in fact) != ("blank" in fact)
    assert fact.get("blank", "said").strip()
    assert all(isfinite(number) for number in numbers(fact))
    assert fact["unit"].strip()
    assert fact["text"].strip()


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact["name"])
def test_the_status_of_a_fact_fits_its_source(fact):
    kind = KINDS[fact["source"]]
    if fact["status"] in ("verified", "secondary"):
        assert kind not in ("memory", "software", "assumption")
    elif fact["status"] == "assumption":
        assert kind == "assumption"
    else:
        assert fact["status"] == "to verify"
        assert kind in ("memory", "software") or "blank" in fact


def test_nothing_is_told_twice():
    names = [fact["name"] for fact in FACTS]
    keys = [citation["key"] for citation in FILE["citations"]]
    assert len(set(names)) == len(names)
    assert len(set(keys)) == len(keys)
    assert {name.split("_")[0] for name in names} == GROUPS


def test_every_citation_is_used_and_says_where_it_was_read():
    assert set(KINDS) == {fact["source"] for fact in FACTS}
    assert all(citation[part].strip() for citation in FILE["citations"] for part in ("title", "where", "retrieved"))


def test_shares_lie_between_none_and_all():
    for fact in FACTS:
        if fact["unit"] == "share":
            assert all(0 <= number <= 1 for number in numbers(fact)), fact["name"]
    assert_allclose(sum(VALUES["clinic_race"]), 1, atol=0.002)
    assert_allclose(sum(VALUES["renin_shares"]), 1)


def test_the_class_rows_average_to_what_the_abstract_prints():
    classes = ["thiazide", "beta_blocker", "ace_inhibitor", "arb", "calcium_channel_blocker"]
    half, standard = VALUES["effect_average"]
    assert_allclose(np.mean([VALUES[f"effect_{group}"] for group in classes]), standard, atol=0.05)
    assert_allclose(np.mean([VALUES[f"effect_{group}_doses"][0] for group in classes]), half, atol=0.05)
    for group in classes:
        low, high = VALUES[f"effect_{group}_doses"]
        assert high < VALUES[f"effect_{group}"] < low < 0


def test_what_is_reckoned_from_printed_figures_agrees_with_them():
    assert_allclose(VALUES["renin_log_sd"], log(0.87 / 0.29) / QUARTILES, atol=0.005)
    assert_allclose(VALUES["renin_log_sd_hypertension"], log(1.33 / 0.58) / QUARTILES, atol=0.01)
    assert_allclose(VALUES["sodium_log_sd"], log(4524 / 2308) / QUARTILES, atol=0.005)
    assert_allclose(VALUES["sodium_mean"], [3039 / 22.99, 4205 / 22.99], atol=0.05)
    assert_allclose(VALUES["clinic_creatinine"], [78.8 / 88.42, 14.6 / 88.42], atol=0.002)
    assert_allclose(VALUES["kinetics_metoprolol_ultrarapid"], 4.9 / 13, atol=0.005)
    assert_allclose(VALUES["kinetics_nifedipine_cv"], np.hypot(5.4 / 26.7, 0.13 / 0.52), atol=0.005)
    best_of_four = np.random.default_rng(4).normal(size=(200_000, 4)).max(axis=1).mean()
    assert_allclose(VALUES["spread_between_drugs"], VALUES["spread_personalising"] / best_of_four, atol=0.05)


def weighted(values: np.ndarray, weights: np.ndarray) -> list[float]:
    """Mean and SD."""
    mean = np.average(values, weights=weights)
    return [mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))]


def least_squares(outcome: np.ndarray, columns: list[np.ndarray], weights: np.ndarray) -> list[float]:
    """Intercept, slopes, residual SD."""
    design = np.column_stack([np.ones(len(outcome)), *columns])
    root = np.sqrt(weights)
    slopes = np.linalg.lstsq(design * root[:, None], outcome * root, rcond=None)[0]
    return [*slopes, float(np.sqrt(np.average((outcome - design @ slopes) ** 2, weights=weights)))]


@pytest.fixture(scope="module")
def untreated() -> dict[str, np.ndarray]:
    """Hypertensive adults of the surveys without medicine; nan where a number is missing."""
    with gzip.open(shared_data("ml", "nhanes_htn", "nhanes_htn.csv.gz"), "rt", encoding="utf-8") as text:
        rows = [
            row
            for row in csv.DictReader(text)
            if float(row["demo_age_years"]) >= 20
            and row["bp_med_use"] == "No"
            and row["demo_pregnant"] != "Yes"
            and (float(row["bp_sys_mean"] or 0) >= 140 or float(row["bp_dia_mean"] or 0) >= 90)
        ]
    numeric = {"weight": "svy_weight_mec", "age": "demo_age_years", "sbp": "bp_sys_mean", "dbp": "bp_dia_mean"}
    found = {name: np.array([float(row[column] or "nan") for row in rows]) for name, column in numeric.items()}
    found["egfr"] = np.array([float(row["cc_egfr"] or "nan") for row in rows])
    found["female"] = np.array([row["demo_gender"] == "Women" for row in rows], dtype=float)
    found["black"] = np.array([row["demo_race_black"] == "Yes" for row in rows], dtype=float)
    found["diabetes"] = np.array([row["cc_diabetes"] == "Yes" for row in rows], dtype=float)
    found["smoking"] = np.array([float(row["cc_smoke"] == "Current") if row["cc_smoke"] else np.nan for row in rows])
    return found


@pytest.mark.parametrize("name", ["age", "sbp", "dbp", "egfr"])
def test_the_means_of_the_clinic_are_those_of_the_survey(untreated, name):
    known = np.isfinite(untreated[name])
    assert_allclose(weighted(untreated[name][known], untreated["weight"][known]), VALUES[f"clinic_{name}"], atol=0.06)


@pytest.mark.parametrize("name", ["female", "black", "diabetes", "smoking"])
def test_the_shares_of_the_clinic_are_those_of_the_survey(untreated, name):
    known = np.isfinite(untreated[name])
    share = weighted(untreated[name][known], untreated["weight"][known])[0]
    assert_allclose(share, VALUES[f"clinic_{name}"], atol=0.0006)


def test_the_slopes_of_the_clinic_are_those_of_the_survey(untreated):
    people = untreated
    fitted = least_squares(people["sbp"], [people["age"], people["female"], people["black"]], people["weight"])
    assert_allclose(fitted, VALUES["clinic_sbp_regression"], rtol=0.015)
    for name, columns in (("dbp", ["age", "sbp"]), ("egfr", ["age"])):
        known = np.isfinite(people[name])
        fitted = least_squares(people[name][known], [people[c][known] for c in columns], people["weight"][known])
        assert_allclose(fitted, VALUES[f"clinic_{name}_regression"], rtol=0.006)


def test_a_log_normal_gives_the_printed_mean_of_sodium_from_its_median():
    overall = 3320 / 22.99 * exp(VALUES["sodium_log_sd"] ** 2 / 2)
    assert_allclose(overall, 3608 / 22.99, rtol=0.05)
