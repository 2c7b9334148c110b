"""Clinical cases with different right answers, and variations whose right answer is clear; genes: the file beside.

Each case is a FHIR bundle and, where genes matter, a table of outside calls. The source of the expected answer stands
in the docstring of the case or of the test. Sources named more than once:

US25    2025 AHA/ACC and others, guideline for high blood pressure in adults (sections 5.2 to 5.5)
KDIGO   KDIGO 2021, blood pressure in chronic kidney disease, chapter 3
CPIC-BB CPIC 2024, beta-blockers, doi 10.1002/cpt.3351
label   the US prescribing information of the drug named
"""

from __future__ import annotations

from typing import Any

import pytest

from cases import (
    advice,
    alone,
    an_order,
    daily_mg,
    genome,
    members,
    offered,
    record,
    severities,
    started,
    told,
)
from patients import fhir_allergy, fhir_observation
from posologist.core.recommendation import Recommendation
from posologist.study.founding import compare_with_published

ACE = members("ACE inhibitor")
ARB = members("ARB")
THIAZIDE = members("thiazide or thiazide-like diuretic")
DHP = members("dihydropyridine CCB") | {"amlodipine", "felodipine", "nifedipine", "nisoldipine"}
BETA = members("beta-blocker")
RENIN_SYSTEM = ACE | ARB | members("direct renin inhibitor") | members("ARNI")
BY_CYP2D6 = {"metoprolol", "carvedilol", "propranolol", "nebivolol", "timolol", "labetalol"}
PREGNANCY_HARM = RENIN_SYSTEM | members("mineralocorticoid receptor antagonist") | {"atenolol"}


def founding(*, gene: str | None = "*4/*4", **changes: Any) -> Recommendation:
    """A 62-year-old man, poor metaboliser, three months on metoprolol, 150-160 / 95-100 mmHg, 48 beats a minute."""
    values: dict[str, Any] = {
        "age": 62, "sbp": 155.0, "dbp": 98.0, "heart_rate": 48.0, "weight": 82.0, "height": 175.0, "creatinine": 1.0,
        "orders": [an_order("metoprolol tartrate 50 mg oral tablet", 50, 2)],
    } | changes  # fmt: skip
    return advice(record(**values), genes=None if gene is None else genome(CYP2D6=gene))


def test_founding_case_tells_that_exposure_is_about_five_fold() -> None:
    """Blake 2013, PMC3818912: area under the curve 4.9-fold in poor against extensive metabolisers."""
    document = founding()

    folds = [f.title for f in document.findings if "metoprolol" in f.drugs and "fold" in f.title]
    assert len(folds) == 1
    assert 4.0 <= float(folds[0].split("about ")[1].split("-fold")[0]) <= 6.0


def test_founding_case_never_just_stops_metoprolol() -> None:
    """Label of metoprolol, boxed warning: reduce over one to two weeks."""
    document = founding()

    stopping = [o for o in document.options if any(s.drug == "metoprolol" for s in o.plan.stop)]
    assert stopping
    assert {s.how for o in stopping for s in o.plan.stop} == {"taper"}
    assert all("week" in s.text for o in stopping for s in o.plan.stop)


def test_founding_case_offers_no_beta_blocker_that_cyp2d6_clears() -> None:
    """CPIC-BB: another beta-blocker if any; and a rate of 48 excludes the class (labels: sinus bradycardia)."""
    document = founding()

    assert not offered(document) & (BY_CYP2D6 | BETA)


def test_founding_case_offers_an_ace_inhibitor_alone_and_in_a_two_drug_start() -> None:
    """US25, 5.2: first-line classes; stage 2: two first-line classes together."""
    document = founding()

    assert alone(document) & ACE
    assert any(len(started(o)) == 2 and set(started(o)) & ACE for o in document.options)


def test_founding_case_puts_bradycardia_on_the_risk_side_of_the_present_plan() -> None:
    document = founding()
    present = document.yardstick

    assert present is not None
    assert present.contributions is not None
    parts = {p.text: p.value for p in present.contributions.parts if "bradycardia" in p.text}
    assert parts
    assert all(value < 0 for value in parts.values())
    assert all(present.risk.value > option.risk.value for option in document.options)


def test_a_medicine_beside_the_plan_that_stops_cyp2d6_makes_metoprolol_as_risky_as_the_gene_does() -> None:
    """Paroxetine inhibits CYP2D6 strongly: a normal metaboliser on it counts as a poor one (CPIC's convention)."""
    metoprolol = an_order("metoprolol tartrate 50 mg oral tablet", 50, 2)
    orders = [metoprolol, an_order("paroxetine 20 mg oral tablet", 20, 1)]

    def bradycardia(document: Recommendation) -> float:
        present = document.yardstick
        assert present is not None
        assert present.contributions is not None
        return sum(p.value for p in present.contributions.parts if "bradycardia" in p.text)

    inhibited = bradycardia(founding(gene="*1/*1", heart_rate=66.0, orders=orders))

    assert inhibited == pytest.approx(bradycardia(founding(gene="*4/*4", heart_rate=66.0)))
    assert inhibited < bradycardia(founding(gene="*1/*1", heart_rate=66.0)) < 0


def test_founding_case_tells_where_the_published_outcome_lies() -> None:
    """Published case: 130-135 / 80-85 mmHg two months later."""
    document = founding()

    found = compare_with_published(document)

    assert {c.rank for c in found.comparisons} >= {o.rank for o in document.options}
    assert {c.measure for c in found.comparisons} == {"sbp", "dbp"}
    assert {c.place for c in found.comparisons} <= {"inside", "partly inside", "below", "above"}


@pytest.mark.parametrize(("creatinine", "most_mg"), [(1.0, 10.0), (3.4, 5.0)])
def test_founding_case_fits_the_ace_inhibitor_to_the_kidney(creatinine: float, most_mg: float) -> None:
    """Label of lisinopril: start 10 mg; 5 mg at creatinine clearance 10 to 30 mL/min; enalapril 5 and 2.5 mg."""
    document = founding(creatinine=creatinine)

    doses = {d: daily_mg(o, d) for o in document.options for d in started(o) if d in {"lisinopril", "enalapril"}}
    assert all(dose <= (most_mg if drug == "lisinopril" else most_mg / 2) for drug, dose in doses.items())
    assert doses or creatinine > 3


def test_without_a_genome_exposure_is_not_called_normal() -> None:
    document = founding(gene=None)

    assert not any("fold" in f.title for f in document.findings)
    assert "cyp2d6" in told(document)


def test_normal_metaboliser_gets_no_finding_of_exposure() -> None:
    """CPIC-BB: normal metaboliser, standard dosing."""
    document = founding(gene="*1/*1")

    assert not any("fold" in f.title for f in document.findings)


def test_ultrarapid_metaboliser_is_not_told_of_too_much_metoprolol() -> None:
    """PMC3818912: exposure is lower in ultrarapid metabolisers."""
    document = founding(gene="*1/*1x3", heart_rate=70)

    high = [
        f for f in document.findings if "fold that" in f.title and float(f.title.split("about ")[1].split("-")[0]) > 1
    ]
    assert not high


def test_paroxetine_makes_a_normal_metaboliser_poor() -> None:
    """CPIC: a strong CYP2D6 inhibitor sets the activity score to zero; label of metoprolol: raised levels."""
    document = founding(
        gene="*1/*1",
        heart_rate=58,
        orders=[an_order("metoprolol tartrate 50 mg oral tablet", 50, 2), an_order("paroxetine 20 mg tablet", 20, 1)],
    )

    assert document.profile["CYP2D6"].clinical == "Poor Metabolizer"
    assert document.profile["CYP2D6"].genetic == "Normal Metabolizer"
    assert "serious" in severities(document, "metoprolol") | severities(document, "metoprolol", "paroxetine")


@pytest.mark.parametrize("creatinine", [0.8, 1.6, 2.6, 4.5])
@pytest.mark.parametrize("sex", ["male", "female"])
def test_every_dose_stays_within_its_maximum_in_any_kidney(creatinine: float, sex: str) -> None:
    document = founding(creatinine=creatinine, sex=sex, age=70)

    for option in document.options:
        for start in option.plan.start:
            assert start.regimen.maximum is not None
            per_day = start.regimen.dose.value * 24 / start.regimen.interval.value
            assert per_day <= start.regimen.maximum.value * 1.000001


def test_metoprolol_in_heart_failure_is_not_replaced() -> None:
    """US25, 5.3.2: in heart failure with reduced ejection fraction a beta-blocker is part of the treatment."""
    document = founding(
        gene="*1/*1", heart_rate=72, problems=["I10", "I50.22"],
        orders=[an_order("metoprolol succinate 100 mg extended release tablet", 100, 1)],
    )  # fmt: skip

    assert all(s.drug != "metoprolol" for o in document.options for s in o.plan.stop)


@pytest.mark.parametrize(
    "drug", ["verapamil 240 mg extended release tablet", "diltiazem 240 mg extended release capsule"]
)
def test_rate_control_of_atrial_fibrillation_is_not_stopped_for_pressure(drug: str) -> None:
    """US 2023 atrial fibrillation guideline, rate control: beta-blocker, diltiazem or verapamil."""
    document = advice(record(problems=["I10", "I48.91"], age=70, orders=[an_order(drug, 240, 1)], heart_rate=72))

    assert all(not o.plan.stop for o in document.options)


# --- chronic kidney disease with albuminuria ------------------------------------------------------------------------


def kidney(**changes: Any) -> Recommendation:
    """A 61-year-old man, eGFR 53, urine albumin 420 mg/g (KDIGO G3a A3): ACE inhibitor or ARB, KDIGO 3.2.1 (1B)."""
    values: dict[str, Any] = {
        "age": 61, "problems": ["I10", "N18.31"], "creatinine": 1.5, "uacr": 420.0, "potassium": 4.6,
    } | changes  # fmt: skip
    return advice(record(**values))


def test_albuminuria_is_treated_with_a_renin_angiotensin_blocker() -> None:
    document = kidney()

    assert document.options
    assert all(set(started(o)) & (ACE | ARB) for o in document.options if o.rank <= 3)
    assert set(started(document.options[0])) & (ACE | ARB)


def test_albuminuria_with_diabetes_is_treated_so_too() -> None:
    """KDIGO 3.2.3 (1B): G1 to G4, A2 and A3, with diabetes."""
    document = kidney(problems=["I10", "N18.31", "E11.9"], uacr=90.0)

    assert set(started(document.options[0])) & (ACE | ARB)


def test_normal_albumin_does_not_favour_the_class() -> None:
    document = kidney(problems=["I10"], uacr=8.0, creatinine=0.9)

    assert document.options
    assert any(not set(started(o)) & (ACE | ARB) for o in document.options)


@pytest.mark.parametrize("potassium", [5.8, 6.4])
def test_high_potassium_keeps_blockers_of_aldosterone_away(potassium: float) -> None:
    """Label of eplerenone: contraindicated above 5.5 mmol/L; spironolactone: hyperkalaemia."""
    document = kidney(potassium=potassium)

    assert not offered(document) & {"eplerenone", "spironolactone", "amiloride", "triamterene", "finerenone"}


@pytest.mark.parametrize("potassium", [5.8, 6.4])
def test_no_renin_angiotensin_blocker_is_started_at_high_potassium(potassium: float) -> None:
    """US25, table of oral drugs: ACE inhibitors and ARBs raise potassium, above all in kidney disease; KDIGO 3.2.5."""
    document = kidney(potassium=potassium)

    assert document.options
    assert not offered(document) & RENIN_SYSTEM
    assert any(r.drug in RENIN_SYSTEM and "mmol/L" in r.reason for r in document.ruled_out), "and it says why"


def test_missing_potassium_is_named_before_a_renin_angiotensin_blocker() -> None:
    document = kidney(leave_out=["potassium"])

    assert "potassium" in told(document)
    assert any("potassium" in (n.what + n.why + n.would_need).lower() for n in document.not_checked)


def test_ace_inhibitor_and_arb_are_never_joined() -> None:
    """US25, 5.2, class 3 harm; ONTARGET, doi 10.1056/NEJMoa0801317."""
    document = kidney(orders=[an_order("lisinopril 20 mg tablet", 20, 1)])

    for option in document.options:
        after = set(option.plan.keep) | set(started(option))
        assert not (after & ACE and after & ARB)


def test_severe_kidney_disease_rules_out_eplerenone_and_caps_doses() -> None:
    """Label of eplerenone, hypertension: contraindicated below 50 mL/min."""
    document = kidney(creatinine=4.2, problems=["I10", "N18.4"], uacr=900.0)

    assert "eplerenone" not in offered(document)
    assert any(r.drug == "eplerenone" for r in document.ruled_out)


def test_renal_artery_stenosis_keeps_the_class_away() -> None:
    """Labels of ACE inhibitors and ARBs: renal failure in stenosis of both arteries; US25, 5.3.3."""
    document = kidney(problems=["I10", "N18.31", "I70.1"])

    assert not document.options or not set(started(document.options[0])) & RENIN_SYSTEM


def test_albumin_in_mg_per_mmol_gives_the_same_advice() -> None:
    """1 mg/mmol is 8.84 mg/g (molar mass of creatinine 113.12)."""
    rows = record(age=61, problems=["I10", "N18.31"], creatinine=1.5, uacr=420.0)
    other = record(age=61, problems=["I10", "N18.31"], creatinine=1.5, leave_out=["uacr"])
    other.append(fhir_observation("14959-1", 420.0 / 8.84, "mg/mmol"))

    assert [o.plan.text for o in advice(rows).options] == [o.plan.text for o in advice(other).options]


def test_beside_an_nsaid_and_a_diuretic_no_renin_angiotensin_blocker_is_added_unsaid() -> None:
    """Label of NSAIDs and lisinopril: kidney failure with diuretics (the triple whammy)."""
    document = kidney(
        uacr=20.0,
        orders=[an_order("ibuprofen 600 mg tablet", 600, 3), an_order("hydrochlorothiazide 25 mg tablet", 25, 1)],
    )

    joined = [o for o in document.options if set(started(o)) & (ACE | ARB) and "ibuprofen" in o.plan.keep]
    said = [" ".join(c.text.lower() for c in option.cautions) for option in joined]
    assert document.options
    assert all("kidney" in text or "renal" in text or "nsaid" in text for text in said)
    assert any({"hydrochlorothiazide", "ibuprofen"} <= set(f.drugs) for f in document.findings)


# --- pregnancy ------------------------------------------------------------------------------------------------------


def expecting(**changes: Any) -> Recommendation:
    """A pregnant woman of 31, 156/96 mmHg: labetalol or nifedipine; never a renin-angiotensin blocker (US25, 5.5)."""
    values: dict[str, Any] = {"age": 31, "sex": "female", "problems": ["I10", "Z33.1"], "creatinine": 0.6} | changes
    return advice(record(**values))


def test_pregnancy_is_treated_with_labetalol_or_nifedipine_first() -> None:
    document = expecting()

    assert started(document.options[0])[0] in {"labetalol", "nifedipine"}
    assert {"labetalol", "nifedipine"} <= offered(document)


def test_pregnancy_target_is_below_140_over_90() -> None:
    document = expecting()

    assert document.goal is not None
    assert document.goal.high is not None
    assert document.goal.high.value == 140


def test_pregnancy_rules_out_what_harms_the_child() -> None:
    document = expecting()

    assert not offered(document) & PREGNANCY_HARM
    assert {"lisinopril", "losartan", "atenolol"} <= {r.drug for r in document.ruled_out}


def test_pregnancy_stops_an_ace_inhibitor_at_once() -> None:
    document = expecting(orders=[an_order("lisinopril 10 mg tablet", 10, 1)])

    assert severities(document, "lisinopril") >= {"contraindicated"}
    assert all(any(s.drug == "lisinopril" for s in o.plan.stop) for o in document.options)


def test_pregnancy_at_target_still_takes_the_ace_inhibitor_away() -> None:
    document = expecting(sbp=124.0, dbp=76.0, orders=[an_order("lisinopril 10 mg tablet", 10, 1)])

    assert severities(document, "lisinopril") >= {"contraindicated"}
    assert document.options
    assert all(any(s.drug == "lisinopril" for s in o.plan.stop) for o in document.options)


@pytest.mark.parametrize("problem", ["Z33.1", "O10.011", "Z34.90"])
def test_pregnancy_is_seen_under_any_of_its_codes(problem: str) -> None:
    assert not offered(expecting(problems=["I10", problem])) & PREGNANCY_HARM


def test_unknown_pregnancy_lets_no_renin_angiotensin_blocker_lead() -> None:
    """Labels of ACE inhibitors and ARBs, boxed warning: unknown is not "not pregnant"."""
    document = expecting(problems=["I10"])

    assert not set(started(document.options[0])) & PREGNANCY_HARM
    assert "pregnant" in told(document)


def test_unknown_pregnancy_with_a_bad_kept_drug_lets_no_blocker_lead_either() -> None:
    document = expecting(problems=["I10"], orders=[an_order("epinephrine 0.3 mg auto-injector", 0.3, 1)], dbp=106.0)

    assert document.options
    assert not set(started(document.options[0])) & PREGNANCY_HARM


def test_a_man_is_not_asked_about_pregnancy() -> None:
    document = advice(record(age=31, sex="male"))

    assert "known: pregnant" not in told(document)


def test_a_woman_of_seventy_is_not_asked_about_pregnancy() -> None:
    document = advice(record(age=70, sex="female"))

    assert "known: pregnant" not in told(document)
    assert set(offered(document)) & (ACE | ARB)


def test_asthma_in_pregnancy_leaves_nifedipine_in_the_lead() -> None:
    """Label of labetalol: contraindicated in bronchial asthma."""
    document = expecting(problems=["I10", "Z33.1", "J45.909"])

    assert "labetalol" not in offered(document)
    assert started(document.options[0]) == ("nifedipine",)


# --- angioedema on an ACE inhibitor ---------------------------------------------------------------------------------


def swollen(**changes: Any) -> Recommendation:
    """Angioedema under lisinopril, which is still taken.

    Labels: no ACE inhibitor, sacubitril or aliskiren afterwards. US25 table of oral drugs: an ARB not before six weeks.
    """
    values: dict[str, Any] = {
        "age": 55,
        "orders": [an_order("lisinopril 10 mg tablet", 10, 1)],
        "allergies": [fhir_allergy("lisinopril", reaction="angioedema")],
    } | changes
    return advice(record(**values))


def test_angioedema_stops_the_drug_and_rules_out_its_class() -> None:
    document = swollen()

    assert severities(document, "lisinopril") >= {"contraindicated"}
    assert all(any(s.drug == "lisinopril" for s in o.plan.stop) for o in document.options)
    assert not offered(document) & ACE


def test_angioedema_lets_no_other_renin_angiotensin_blocker_lead() -> None:
    document = swollen()

    assert document.options
    assert not set(started(document.options[0])) & RENIN_SYSTEM
    assert set(started(document.options[0])) <= THIAZIDE | DHP


def test_after_angioedema_plans_without_a_renin_angiotensin_blocker_fill_the_list() -> None:
    document = swollen()

    assert document.options
    assert not offered(document) & RENIN_SYSTEM


@pytest.mark.parametrize("culprit", ["enalapril", "ramipril", "ACE inhibitor", "quinapril"])
def test_angioedema_under_any_member_rules_out_the_class(culprit: str) -> None:
    document = swollen(orders=[], allergies=[fhir_allergy(culprit, reaction="angioedema")])

    assert not offered(document) & (ACE | {"sacubitril-valsartan"})
    assert "lisinopril" in {r.drug for r in document.ruled_out}


def test_angioedema_on_the_problem_list_rules_out_ace_inhibitors_too() -> None:
    """Labels of ACE inhibitors: hereditary or idiopathic angioedema."""
    document = swollen(orders=[], allergies=[], problems=["I10", "T78.3XXA"])

    assert not offered(document) & ACE


def test_cough_on_an_ace_inhibitor_is_answered_with_an_arb_or_another_class() -> None:
    """US25 table of oral drugs: cough is a class effect of ACE inhibitors; an ARB is the alternative."""
    document = swollen(allergies=[fhir_allergy("lisinopril", reaction="cough")], orders=[])

    assert document.options
    assert not set(started(document.options[0])) & ACE


def test_penicillin_allergy_changes_nothing() -> None:
    plain = advice(record(age=55))
    allergic = advice(record(age=55, allergies=[fhir_allergy("penicillin", reaction="rash")]))

    assert [o.plan.text for o in plain.options] == [o.plan.text for o in allergic.options]


# --- gout with hyponatraemia ----------------------------------------------------------------------------------------


def gouty(**changes: Any) -> Recommendation:
    """Gout, sodium 131: no thiazide or loop diuretic; losartan or a calcium channel blocker.

    EULAR 2016 gout recommendations (doi 10.1136/annrheumdis-2016-209707) and US25, 5.3; thiazide labels: hyponatraemia.
    """
    values: dict[str, Any] = {
        "age": 66, "problems": ["I10", "M10.9", "E87.1"], "sodium": 131.0, "uric_acid": 9.1,
    } | changes  # fmt: skip
    return advice(record(**values))


def test_gout_and_low_sodium_get_no_diuretic() -> None:
    assert not offered(gouty()) & (THIAZIDE | members("loop diuretic"))


def test_gout_is_led_by_losartan_or_a_calcium_channel_blocker() -> None:
    assert set(started(gouty().options[0])) & ({"losartan"} | DHP)


def test_gout_alone_lets_no_thiazide_lead() -> None:
    document = gouty(problems=["I10", "M10.9"], sodium=140.0)

    assert not set(started(document.options[0])) & THIAZIDE


def test_low_sodium_alone_lets_no_thiazide_lead() -> None:
    document = gouty(problems=["I10"], sodium=129.0)

    assert not set(started(document.options[0])) & THIAZIDE


def test_a_thiazide_already_taken_is_found_harmful() -> None:
    document = gouty(orders=[an_order("hydrochlorothiazide 25 mg tablet", 25, 1)])

    assert severities(document, "hydrochlorothiazide") & {"serious", "contraindicated"}
    assert any(any(s.drug == "hydrochlorothiazide" for s in o.plan.stop) for o in document.options)


def test_missing_sodium_is_named_before_a_thiazide() -> None:
    document = gouty(problems=["I10"], leave_out=["sodium"])

    if offered(document) & THIAZIDE:
        assert any("sodium" in (n.what + n.why + n.would_need).lower() for n in document.not_checked)
