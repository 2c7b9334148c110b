"""Cases of the other indications, and doses of single drugs, with the outside source of each answer.

US23AF  2023 ACC/AHA guideline for atrial fibrillation; ADA25 Standards of Care in Diabetes 2025; CANMAT23 depression.
label   the US prescribing information of the drug named; CPIC where a gene decides.
"""

from __future__ import annotations

from typing import Any

import pytest

from cases import (
    advice,
    an_order,
    best_rank,
    daily_mg,
    genome,
    knowledge,
    members,
    offered,
    order,
    read,
    record,
    settings,
    started,
)
from posologist.core.errors import ModelError
from posologist.core.recommendation import Recommendation
from posologist.core.simulation import DoseDocument
from posologist.recommend.dose import dose_for

DOAC = {"apixaban", "rivaroxaban", "dabigatran", "edoxaban"}
SSRI = members("SSRI")
STATINS = {"atorvastatin", "rosuvastatin", "simvastatin", "pravastatin", "pitavastatin", "lovastatin", "fluvastatin"}


def fibrillating(**changes: Any) -> Recommendation:
    """Atrial fibrillation at 76 with hypertension: CHA2DS2-VASc 3, anticoagulate (US23AF, 6.3)."""
    values: dict[str, Any] = {"age": 76, "problems": ["I48.91", "I10"]} | changes
    return advice(record(**values), "atrial-fibrillation-stroke-prevention")


def test_atrial_fibrillation_at_risk_is_anticoagulated() -> None:
    assert offered(fibrillating()) & DOAC


def test_atrial_fibrillation_without_a_risk_factor_is_not_anticoagulated() -> None:
    """US23AF, 6.3: no risk factor, class 3, no benefit."""
    document = fibrillating(age=40, problems=["I48.91"], sbp=118.0, dbp=72.0)

    assert not document.options
    assert document.findings


def test_two_of_age_weight_and_creatinine_halve_apixaban() -> None:
    """Label of apixaban: 2.5 mg twice daily with two of 80 years, 60 kg, creatinine 1.5 mg/dL."""
    two = fibrillating(age=82, weight=55.0, creatinine=1.2)
    one = fibrillating(age=82, weight=75.0, creatinine=1.2)

    assert {daily_mg(o, "apixaban") for o in two.options if "apixaban" in started(o)} == {5.0}
    assert {daily_mg(o, "apixaban") for o in one.options if "apixaban" in started(o)} == {10.0}


def test_rivaroxaban_is_lowered_at_a_clearance_of_fifty_or_less() -> None:
    """Label of rivaroxaban, atrial fibrillation: 15 mg with the evening meal at CrCl 50 mL/min or less."""
    document = fibrillating(creatinine=1.6, weight=70.0)

    assert all(daily_mg(o, "rivaroxaban") <= 15 for o in document.options if "rivaroxaban" in started(o))


def test_a_mechanical_valve_gets_no_direct_anticoagulant() -> None:
    """Labels of dabigatran (contraindicated) and the factor Xa inhibitors (not recommended); US23AF."""
    document = fibrillating(problems=["I48.91", "Z95.2"])

    assert not offered(document) & DOAC
    assert document.findings


def test_rifampicin_lets_no_direct_anticoagulant_pass_unsaid() -> None:
    """Labels of all four: avoid with rifampin."""
    document = fibrillating(orders=[an_order("rifampin 300 mg capsule", 300, 2)])

    for option in document.options:
        assert "serious" in option.reasons[0].text or any("rifamp" in c.text.lower() for c in option.cautions)


@pytest.mark.parametrize("problem", ["K92.2", "Z33.1"])
def test_bleeding_and_pregnancy_get_no_direct_anticoagulant(problem: str) -> None:
    """Labels: active pathological bleeding; pregnancy."""
    changes = {"sex": "female", "age": 33} if problem == "Z33.1" else {}

    assert not offered(fibrillating(problems=["I48.91", "I10", problem], **changes)) & DOAC


def diabetic(**changes: Any) -> Recommendation:
    """Type 2 diabetes, HbA1c 8.4 %, untreated."""
    values: dict[str, Any] = {"problems": ["E11.9"], "hba1c": 8.4} | changes
    return advice(record(**values), "type-2-diabetes")


def test_type_2_diabetes_is_led_by_metformin() -> None:
    """ADA25, section 9."""
    assert started(diabetic().options[0]) == ("metformin",)


def test_diabetes_with_heart_failure_or_albuminuria_is_led_by_an_sglt2_inhibitor() -> None:
    """ADA25, section 9: heart failure; kidney disease, eGFR 20 to 60 or albuminuria."""
    for document in (
        diabetic(problems=["E11.9", "I50.22"]),
        diabetic(problems=["E11.9", "N18.31"], creatinine=1.7, uacr=200),
    ):
        assert set(started(document.options[0])) & members("SGLT2 inhibitor")


@pytest.mark.parametrize("creatinine", [2.6, 4.0])
def test_metformin_is_not_started_in_severe_kidney_disease(creatinine: float) -> None:
    """Label of metformin: contraindicated below an eGFR of 30; do not start from 30 to 45."""
    assert "metformin" not in offered(diabetic(creatinine=creatinine))


def test_pioglitazone_is_not_given_in_heart_failure() -> None:
    """Label of pioglitazone, boxed warning."""
    assert "pioglitazone" not in offered(diabetic(problems=["E11.9", "I50.22"]))


def test_type_1_diabetes_is_not_treated_by_the_rules_of_type_2() -> None:
    """ADA25, section 9: type 1 needs insulin; label of metformin: not for type 1."""
    document = diabetic(problems=["E10.9"], age=28)

    assert not document.options
    assert document.findings


def test_metformin_that_works_is_not_stopped() -> None:
    document = diabetic(orders=[an_order("metformin 1000 mg tablet", 1000, 2)])

    assert not document.options[0].plan.stop


def test_diabetes_at_its_goal_is_left_alone() -> None:
    document = diabetic(hba1c=6.3, orders=[an_order("metformin 1000 mg tablet", 1000, 2)])

    assert not document.options


def lipids(*, genes: dict[str, str] | None = None, **changes: Any) -> Recommendation:
    """After an infarction, LDL 140 mg/dL: a statin of high intensity."""
    values: dict[str, Any] = {"problems": ["I25.2", "E78.5"], "ldl": 140.0} | changes
    return advice(record(**values), "dyslipidaemia", genes=genome(**genes) if genes else None)


def test_atherosclerotic_disease_gets_a_high_intensity_statin() -> None:
    """US 2018 and 2026 cholesterol guidelines: atorvastatin 40 to 80 or rosuvastatin 20 to 40 mg."""
    first = lipids().options[0]

    assert set(started(first)) & {"atorvastatin", "rosuvastatin"}
    assert "atorvastatin" not in started(first) or daily_mg(first, "atorvastatin") >= 40
    assert "rosuvastatin" not in started(first) or daily_mg(first, "rosuvastatin") >= 20


def test_poor_transport_by_slco1b1_keeps_simvastatin_low_or_away() -> None:
    """CPIC 2022, statins: poor function: another statin than simvastatin."""
    document = lipids(genes={"SLCO1B1": "*5/*5"})

    assert "simvastatin" not in offered(document)


def test_pregnancy_gets_no_statin() -> None:
    """Labels of the statins: discontinue when pregnancy is recognised."""
    assert not offered(lipids(age=30, sex="female", problems=["E78.5", "Z33.1"])) & STATINS


@pytest.mark.parametrize("other", ["clarithromycin 500 mg tablet", "cyclosporine 100 mg capsule"])
def test_simvastatin_and_lovastatin_are_never_started_beside(other: str) -> None:
    """Labels: contraindicated."""
    document = lipids(orders=[an_order(other, 100, 2)])

    assert not offered(document) & {"simvastatin", "lovastatin"}


def low(*, genes: dict[str, str] | None = None, **changes: Any) -> Recommendation:
    """Depression at 41, otherwise well."""
    values: dict[str, Any] = {"age": 41, "problems": ["F33.1"], "sbp": 122.0, "dbp": 76.0} | changes
    return advice(record(**values), "depression", genes=genome(**genes) if genes else None)


def test_depression_is_led_by_a_first_line_drug() -> None:
    """CANMAT23: SSRI, SNRI, bupropion, mirtazapine, vortioxetine."""
    assert set(started(low().options[0])) <= SSRI | members("SNRI") | {"bupropion", "mirtazapine", "vortioxetine"}


def test_bipolar_depression_gets_no_antidepressant_alone() -> None:
    """CANMAT and ISBD 2018: antidepressant monotherapy is not recommended in bipolar I; labels: screen for bipolar."""
    assert not low(problems=["F33.1", "F31.9"]).options


def test_paroxetine_is_not_led_with_in_pregnancy() -> None:
    """Label of paroxetine: cardiac malformations after first-trimester exposure."""
    assert best_rank(low(age=30, sex="female", problems=["F33.1", "Z33.1"]), ["paroxetine"]) > 1


def test_an_adolescent_gets_no_adult_plan() -> None:
    """CANMAT23, scope: adults; boxed warning of the class below 25 years."""
    assert not low(age=15).options


# --- the dose of one drug ---------------------------------------------------------------------------------------------


def dosed(drug: str, *, genes: dict[str, str] | None = None, **facts: Any) -> DoseDocument:
    """Regimens of one drug."""
    return dose_for(
        read(record(**facts)),
        drug,
        genome=genome(**genes) if genes else None,
        knowledge=knowledge(),
        settings=settings(),
    )


@pytest.mark.parametrize("drug", ["apixaban", "warfarin", "vancomycin", "lisinopril", "digoxin"])
def test_a_child_gets_no_adult_dose(drug: str) -> None:
    """Labels: doses for children go by weight, or are not established."""
    with pytest.raises(ModelError):
        dosed(drug, age=7, weight=22.0, height=120.0, creatinine=0.4)


def test_vancomycin_is_not_given_in_full_to_failing_kidneys() -> None:
    """Label of vancomycin: about 15 times the GFR in mL/min as mg a day; never 2 g a day at 15 mL/min."""
    with pytest.raises(ModelError, match="lowered"):
        dosed("vancomycin", age=78, weight=55.0, creatinine=2.6)


def test_simvastatin_is_refused_beside_clarithromycin() -> None:
    """Label of simvastatin: contraindicated."""
    with pytest.raises(ModelError, match="contraindicated"):
        dosed("simvastatin", orders=[an_order("clarithromycin 500 mg tablet", 500, 2)])


def test_a_cap_for_one_drug_of_a_pair_does_not_cap_the_other() -> None:
    """Label of ticagrelor: aspirin at most 100 mg a day; ticagrelor stays at 90 mg twice daily."""
    document = dosed("ticagrelor", problems=["I24.9"], orders=[an_order("aspirin 81 mg tablet", 81, 1)])

    assert document.start is not None
    assert "90 mg" in document.start


def test_azathioprine_is_cut_in_a_poor_tpmt_metaboliser() -> None:
    """CPIC 2018, thiopurines: another drug, or a tenth of the dose, in poor metabolisers."""
    document = order(record(weight=70.0), "azathioprine 100 mg po daily", genes=genome(TPMT="*3A/*3A"))

    assert any("TPMT" in f.title for f in document.findings if f.severity in ("contraindicated", "serious"))


def test_a_dose_names_the_day_and_rests_on_evidence() -> None:
    document = dosed("lisinopril")

    assert document.start == "10 mg orally once daily"
    assert document.evidence
