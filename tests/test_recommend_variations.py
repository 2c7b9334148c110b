"""Variations on treated and untreated hypertension, each with a right answer that is clear from its source.

US25 is the 2025 AHA/ACC guideline for high blood pressure in adults; "label" the US prescribing information.
"""

from __future__ import annotations

import pytest

from cases import (
    advice,
    an_order,
    daily_mg,
    knowledge,
    members,
    offered,
    order,
    read,
    record,
    settings,
    severities,
    started,
    told,
)  # fmt: skip
from patients import fhir_observation, fhir_order, fhir_patient
from posologist.core.values import DrugId
from posologist.recommend.dose import dose_for
from posologist.twin.orders import parse_regimen

ACE = members("ACE inhibitor")
ARB = members("ARB")
THIAZIDE = members("thiazide or thiazide-like diuretic")
DHP = members("dihydropyridine CCB")
BETA = members("beta-blocker")

# --- limits of what may be answered ---------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [9, 16])
def test_a_child_gets_no_adult_plan(age: int) -> None:
    """US25, title and scope: adults."""
    document = advice(record(age=age, weight=30.0 if age < 10 else 58.0, height=140.0, creatinine=0.5))

    assert not document.options
    assert any("adult" in (f.title + f.detail).lower() for f in document.findings)


def test_without_a_pressure_no_drug_is_ranked() -> None:
    document = advice(record(leave_out=["sbp", "dbp"]))

    assert not document.options
    assert any("pressure" in f"{f.title} {f.detail}".lower() for f in document.findings)


def test_an_empty_record_gets_no_drug() -> None:
    assert not advice([fhir_patient()]).options


def test_normal_pressure_is_not_treated() -> None:
    """US25, 5.1: drugs from 140/90, or from 130/80 at raised risk."""
    document = advice(record(sbp=118.0, dbp=72.0))

    assert not document.options
    assert document.findings


def test_pressure_too_low_on_treatment_is_not_called_at_target() -> None:
    """Labels of all antihypertensives: symptomatic hypotension."""
    document = advice(
        record(
            sbp=84.0,
            dbp=50.0,
            orders=[an_order("amlodipine 10 mg tablet", 10, 1), an_order("lisinopril 40 mg tablet", 40, 1)],
        )
    )

    assert any(f.severity in ("serious", "contraindicated") for f in document.findings)
    assert not any(len(started(o)) and not o.plan.stop for o in document.options)


def test_severe_hypertension_is_a_serious_finding() -> None:
    """US25, section on severe hypertension: above 180/120, look for acute organ damage."""
    document = advice(record(sbp=225.0, dbp=132.0))

    assert any(f.severity == "serious" and "180" in f.title + f.detail for f in document.findings)


def test_unknown_risk_in_stage_1_is_told_as_an_open_question() -> None:
    """US25, 5.1: stage 1 is treated from a PREVENT risk of 7.5 %, of which smoking is an input."""
    document = advice(record(age=48, sbp=134.0, dbp=84.0))

    assert "smok" in told(document)


@pytest.mark.parametrize("age", [24, 48])
def test_no_benefit_is_promised_from_the_risk_of_other_people(age: int) -> None:
    """PREVENT holds from 30 to 79 years; the risk of trial participants of 65 is not this patient's."""
    document = advice(record(age=age))

    said = " ".join([told(document), *(a.text.lower() for a in document.assumptions)])
    assert all(o.benefit.value < 45 for o in document.options) or "trial" in said


# --- what is taken already ------------------------------------------------------------------------------------------


def test_a_working_drug_is_added_to_before_it_is_replaced() -> None:
    """US25, 5.2: add a first-line class or raise the dose."""
    document = advice(record(orders=[an_order("lisinopril 10 mg tablet", 10, 1)]))

    first = document.options[0]
    assert not first.plan.stop
    assert set(started(first)) & (THIAZIDE | DHP | {"lisinopril"})


def test_resistant_hypertension_gets_a_mineralocorticoid_blocker() -> None:
    """US25, resistant hypertension; PATHWAY-2, doi 10.1016/S0140-6736(15)00257-3: spironolactone as fourth drug."""
    document = advice(
        record(
            sbp=162.0, dbp=94.0,
            orders=[
                an_order("amlodipine 10 mg tablet", 10, 1), an_order("lisinopril 40 mg tablet", 40, 1),
                an_order("chlorthalidone 25 mg tablet", 25, 1),
            ],
        )
    )  # fmt: skip

    assert set(started(document.options[0])) & {"spironolactone", "eplerenone"}


def test_an_ace_inhibitor_and_an_arb_taken_together_are_parted_by_every_plan() -> None:
    """US25, 5.2, class 3 harm."""
    document = advice(
        record(orders=[an_order("lisinopril 20 mg tablet", 20, 1), an_order("losartan 100 mg tablet", 100, 1)])
    )

    assert severities(document, "lisinopril", "losartan") & {"serious", "contraindicated"}
    for option in document.options:
        after = {*option.plan.keep, *started(option)}
        assert not (after & ACE and after & ARB)


def test_nothing_is_raised_beyond_the_usual_dose() -> None:
    document = advice(
        record(orders=[an_order("lisinopril 40 mg tablet", 40, 1), an_order("amlodipine 10 mg tablet", 10, 1)])
    )

    assert all(daily_mg(o, "lisinopril") <= 40 for o in document.options if "lisinopril" in started(o))
    assert not any("amlodipine" in started(o) for o in document.options)


def test_a_medicine_to_carry_for_emergencies_changes_no_order() -> None:
    """An adrenaline pen speaks for no antihypertensive, and against a non-selective beta-blocker (labels)."""
    plain = advice(record(sbp=172.0))
    pen = advice(record(sbp=172.0, orders=[an_order("epinephrine 0.3 mg auto-injector", 0.3, 1)]))

    assert started(pen.options[0]) == started(plain.options[0])
    assert not offered(pen) & {"propranolol", "nadolol"}


@pytest.mark.parametrize(
    ("taken", "dose", "kept_away"),
    [
        ("lithium carbonate 300 mg capsule", 300, THIAZIDE | ACE | ARB),
        ("dofetilide 0.25 mg capsule", 0.25, {"hydrochlorothiazide", "chlorthalidone", "verapamil"}),
        ("sacubitril 49 mg / valsartan 51 mg tablet", 1, ACE | ARB | {"aliskiren"}),
        ("verapamil 240 mg extended release tablet", 240, BETA),
        ("ivabradine 5 mg tablet", 5, {"verapamil", "diltiazem"}),
    ],
)  # fmt: skip
def test_what_is_taken_keeps_the_lead_free_of(taken: str, dose: float, kept_away: set[str]) -> None:
    """Labels: lithium with diuretics, ACE inhibitors, ARBs; dofetilide; sacubitril-valsartan; verapamil; ivabradine."""
    document = advice(record(orders=[an_order(taken, dose, 1)]))

    assert document.options
    assert not set(started(document.options[0])) & kept_away


@pytest.mark.parametrize(
    ("problem", "facts", "kept_away"),
    [
        ("J45.909", {}, {"propranolol", "nadolol", "carvedilol", "labetalol", "pindolol"}),
        ("I44.2", {}, BETA | {"verapamil", "diltiazem"}),
        ("I49.5", {}, BETA | {"verapamil", "diltiazem"}),
        ("I50.22", {}, {"verapamil", "diltiazem"}),
        ("I10", {"potassium": 6.0}, ACE | ARB | {"spironolactone", "eplerenone", "amiloride", "triamterene"}),
        ("I10", {"potassium": 3.0}, THIAZIDE | members("loop diuretic")),
        ("Z99.2", {"creatinine": 8.0}, THIAZIDE),
        ("I10", {"heart_rate": 44.0}, BETA | {"verapamil", "diltiazem", "clonidine"}),
    ],
)  # fmt: skip
def test_a_problem_keeps_the_lead_free_of(problem: str, facts: dict[str, float], kept_away: set[str]) -> None:
    """Labels, section 4; US25, 5.3 and table of oral drugs; thiazides have no effect in anuria (labels)."""
    document = advice(record(problems=["I10", problem], **facts))

    assert document.options
    assert not set(started(document.options[0])) & kept_away


@pytest.mark.parametrize(
    ("problem", "facts", "expected"),
    [
        ("I50.22", {"heart_rate": 82.0}, ACE | ARB | {"carvedilol", "metoprolol", "bisoprolol"}),
        ("I25.2", {"heart_rate": 78.0}, ACE | ARB | BETA),
        ("E26.09", {"potassium": 3.6}, {"spironolactone", "eplerenone"}),
        ("I63.9", {}, THIAZIDE | ACE | ARB),
    ],
)  # fmt: skip
def test_a_problem_is_led_by(problem: str, facts: dict[str, float], expected: set[str]) -> None:
    """US25, 5.3: heart failure, after infarction, primary aldosteronism, after stroke."""
    document = advice(record(problems=["I10", problem], **facts))

    assert set(started(document.options[0])) & expected


def test_black_adults_are_not_led_with_an_ace_inhibitor_alone() -> None:
    """US25, 5.3: thiazide-type diuretic or calcium channel blocker, without heart failure or kidney disease."""
    rows = record()
    rows[0]["extension"] = [
        {
            "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
            "extension": [
                {"url": "ombCategory", "valueCoding": {"code": "2054-5", "display": "Black or African American"}},
                {"url": "text", "valueString": "Black or African American"},
            ],
        }
    ]

    assert set(started(advice(rows).options[0])) & (THIAZIDE | DHP)


def test_simvastatin_of_40_mg_is_minded_before_amlodipine() -> None:
    """Label of simvastatin: at most 20 mg a day with amlodipine."""
    taken = record(orders=[an_order("simvastatin 40 mg tablet", 40, 1)])

    assert "amlodipine" not in offered(advice(taken))
    assert "serious" in severities(order(taken, "amlodipine 5 mg po daily"), "amlodipine", "simvastatin")


@pytest.mark.parametrize("problems", [["I10"], []])
def test_nobody_without_diabetes_or_depression_is_given_drugs_for_it(problems: list[str]) -> None:
    rows = record(problems=[*problems, "M10.9"])

    for indication in ("type-2-diabetes", "depression", "atrial-fibrillation-stroke-prevention"):
        document = advice(rows, indication)
        assert not document.options, indication
        assert document.findings


def test_a_young_adult_without_lipids_is_promised_nothing_by_a_statin() -> None:
    """PREVENT holds from 30 years and needs cholesterol."""
    document = advice(record(age=26, leave_out=["total_cholesterol", "hdl"]), "dyslipidaemia")

    assert not document.options or any("risk" in c.text.lower() for o in document.options for c in o.cautions)


# --- values of the record ---------------------------------------------------------------------------------------------


def test_kidney_values_that_contradict_each_other_are_told_and_the_worse_one_counts() -> None:
    """Label of eplerenone, hypertension: contraindicated below 50 mL/min."""
    document = advice(record(age=67, sex="female", creatinine=0.62, egfr=26.7, weight=68.0))

    assert "eplerenone" not in offered(document)
    assert any("kidney" in (f.title + f.detail).lower() for f in document.findings)


@pytest.mark.parametrize("months", [10, 36])
def test_an_old_pregnancy_test_says_nothing_of_today(months: int) -> None:
    """A result of last year is not known to hold: unknown, so no renin-angiotensin blocker leads."""
    year, month = divmod(2026 * 12 + 10 - months, 12)
    old = {
        "resourceType": "Observation",
        "id": "preg",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "82810-3"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": f"{year}-{month + 1:02d}-03",
        "valueCodeableConcept": {
            "coding": [{"system": "http://snomed.info/sct", "code": "60001007", "display": "Not pregnant"}],
            "text": "Not pregnant",
        },
    }

    document = advice(record(age=31, sex="female", more=[old]))

    assert not set(started(document.options[0])) & (ACE | ARB)


def test_a_stale_laboratory_value_is_told_to_be_old() -> None:
    rows = record()
    for row in rows:
        if row.get("code", {}).get("coding", [{}])[0].get("code") == "2823-3":
            row["effectiveDateTime"] = "2022-01-05T08:00:00Z"

    document = advice(rows)

    facts = {f.name: f for f in document.patient.facts}
    assert facts["potassium"].stale
    assert "potassium" in told(document)


def test_an_impossible_value_is_left_out_and_told() -> None:
    document = advice(record(potassium=42.0))

    assert {f.name: f for f in document.patient.facts}["potassium"].value is None
    assert any(q.kind == "out of range" for q in document.data_quality)


def test_a_low_systolic_pressure_is_minded_before_more_is_added() -> None:
    """Labels of all antihypertensives: hypotension; the systolic pressure stands at 108 already."""
    document = advice(record(age=78, sbp=108.0, dbp=86.0, orders=[an_order("amlodipine 5 mg tablet", 5, 1)]))

    lines = " ".join(c.text.lower() for o in document.options for c in o.cautions)
    said = " ".join([lines, *(f"{f.title} {f.detail}".lower() for f in document.findings)])
    assert not document.options or "systolic" in said or "hypotension" in said


def test_two_members_of_one_class_are_not_two_options() -> None:
    document = advice(record(orders=[an_order("hydrochlorothiazide 25 mg tablet", 25, 1)], age=53))

    added = [started(o)[0] for o in document.options if not o.plan.stop and len(started(o)) == 1]
    assert len([d for d in added if d in DHP]) <= 1
    assert len([d for d in added if d in ARB]) <= 1


def test_a_blocker_offered_with_pregnancy_unknown_says_so_on_the_plan() -> None:
    """Boxed warning of ACE inhibitors and ARBs."""
    document = advice(record(age=26, sex="female", orders=[an_order("hydrochlorothiazide 25 mg tablet", 25, 1)]))

    for option in document.options:
        if set(started(option)) & (ACE | ARB):
            assert "pregnan" in " ".join(c.text.lower() for c in (*option.cautions, *option.reasons))


@pytest.mark.parametrize(("sign", "value"), [(">", 6.2), ("<", 2.5)])
def test_a_newer_result_that_is_no_number_does_not_leave_the_older_one_standing(sign: str, value: float) -> None:
    """A potassium above 6.2 today is not the 4.2 of last month."""
    newer = fhir_observation("2823-3", value, "mmol/L", at="2026-11-18T08:00:00Z")
    newer["valueQuantity"]["comparator"] = sign

    document = advice(record(more=[newer]))

    shown = {f.name: f for f in document.patient.facts}["potassium"].value
    assert shown is None or shown.value == value
    assert any("potassium" in q.text.lower() for q in document.data_quality) or "potassium" in told(document)


@pytest.mark.parametrize(
    "text", ["Lotrel 5-20 capsule", "Zestoretic 20-12.5 mg tablet", "Diovan HCT 160/12.5", "Zzyzx 5"]
)
def test_a_brand_is_recognised_or_every_plan_says_that_it_is_not(text: str) -> None:
    """Lotrel holds benazepril: an ARB beside it would be two blockers (US25, 5.2)."""
    document = advice(record(orders=[fhir_order(text)]))

    known = {str(c.drug) for c in document.current}
    if known:
        for option in document.options:
            after = {*option.plan.keep, *started(option)}
            assert not (after & ACE and after & ARB)
        return
    assert any(f.severity == "serious" for f in document.findings)
    assert all(text.split()[0].lower() in " ".join(c.text.lower() for c in o.cautions) for o in document.options)


def test_two_orders_of_one_ingredient_are_told() -> None:
    """Duplicate therapy."""
    document = advice(
        record(
            orders=[
                an_order("metoprolol tartrate 25 mg tablet", 25, 2),
                an_order("metoprolol succinate 100 mg extended release tablet", 100, 1),
            ]
        )
    )

    said = [f"{f.title} {f.detail}".lower() for f in document.findings] + [
        q.text.lower() for q in document.data_quality
    ]
    assert any("metoprolol" in line and ("two" in line or "twice" in line or "second" in line) for line in said)


@pytest.mark.parametrize("text", ["bisoprolol 5 mg / hydrochlorothiazide 6.25 mg tablet", "atenolol 50 mg tablet"])
def test_adding_to_a_beta_blocker_that_does_no_harm_is_among_the_options(text: str) -> None:
    """US25, 5.2: add a first-line class; a beta-blocker is not stopped without a reason."""
    document = advice(record(orders=[fhir_order(text)]))

    assert any(not o.plan.stop and set(started(o)) & (ACE | ARB | DHP | THIAZIDE) for o in document.options)


# --- heart failure ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drug", "most"),
    [("lisinopril", 5.0), ("valsartan", 80.0), ("bisoprolol", 1.25), ("carvedilol", 6.25), ("candesartan", 8.0)],
)
def test_heart_failure_lowers_the_first_dose(drug: str, most: float) -> None:
    """ACCF/AHA 2009, table 6: initial daily doses with a low ejection fraction."""
    failing = read(record(problems=["I10", "I50.20"]))
    document = dose_for(failing, drug, indication="hypertension", knowledge=knowledge(), settings=settings())

    assert document.start is not None
    assert parse_regimen(document.start, drug=DrugId(drug)).per_day <= most


def test_with_a_low_ejection_fraction_only_drugs_with_a_dose_for_it_are_favoured() -> None:
    document = advice(record(problems=["I10", "I50.20"]))

    assert document.options
    for option in document.options:
        for start in option.plan.start:
            assert start.drug not in {"atenolol", "propranolol", "verapamil", "diltiazem", "azilsartan", "benazepril"}
            if start.drug == "lisinopril":
                assert start.regimen.dose.value <= 5.0
    assert any("bisoprolol" in started(o) or "carvedilol" in started(o) for o in document.options)


def test_a_dose_too_small_for_any_published_effect_says_so() -> None:
    document = advice(record(problems=["I10", "I50.20"]))

    for option in document.options:
        if "bisoprolol" in started(option):
            assert any("not published" in c.text for c in option.cautions)


@pytest.mark.parametrize("guideline", ["US25", "ESC24"])
@pytest.mark.parametrize(
    ("problem", "partners"),
    [("I50.20", frozenset({"bisoprolol", "carvedilol"})), ("I25.2", members("beta-blocker"))],
)
def test_a_compelling_indication_joins_a_beta_blocker_to_a_renin_angiotensin_blocker(
    guideline: str, problem: str, partners: frozenset[str]
) -> None:
    """ACCF/AHA 2013, heart failure; ESC 2024, 8.3: beta-blocker with another first-line class."""
    document = advice(record(problems=["I10", problem]), guideline=guideline)

    blockers = members("ACE inhibitor", "ARB")
    assert any(set(started(o)) & partners and set(started(o)) & blockers for o in document.options)
