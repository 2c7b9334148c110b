"""Questions that a screening must answer, each through an order for a patient, with its source.

Most are label facts where memory or a simple rule goes wrong: both directions, both sides of a limit, the exception.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from cases import advice, an_order, members, offered, order, record
from patients import fhir_allergy, fhir_condition, fhir_order
from posologist.core.recommendation import Screening

GRAVE = {"serious", "contraindicated"}


def taking(*drugs: str, **facts: Any) -> list[dict[str, Any]]:
    """A record with these active orders."""
    return record(orders=[fhir_order(text) for text in drugs], **facts)


def grave(document: Screening, *drugs: str) -> bool:
    """Whether a serious or contraindicated finding names all of these drugs."""
    return any(f.severity in GRAVE and set(drugs) <= set(f.drugs) for f in document.findings)


def forbidden(document: Screening, *drugs: str) -> bool:
    """Whether a contraindicated finding names all of these drugs."""
    return any(f.severity == "contraindicated" and set(drugs) <= set(f.drugs) for f in document.findings)


def said(document: Screening) -> str:
    """Titles and details of the findings."""
    return " ".join(f"{f.title} {f.detail}" for f in document.findings).lower()


def test_sacubitril_within_36_hours_of_an_ace_inhibitor_is_forbidden_both_ways() -> None:
    """Label of sacubitril-valsartan: not within 36 hours of switching from or to an ACE inhibitor."""
    one = order(taking("lisinopril 10 mg oral tablet"), "sacubitril-valsartan 49/51 mg po bid")
    other = order(taking("sacubitril 49 mg / valsartan 51 mg oral tablet"), "lisinopril 10 mg po daily")

    assert forbidden(one, "sacubitril-valsartan", "lisinopril")
    assert forbidden(other, "sacubitril-valsartan", "lisinopril")
    assert "36" in said(one)


def test_ace_inhibitor_stopped_yesterday_still_forbids_sacubitril() -> None:
    """The same 36 hours, counted from the end of the order."""
    stopped = fhir_order("lisinopril 10 mg oral tablet", status="completed")
    stopped |= {"resourceType": "MedicationStatement", "effectivePeriod": {"start": "2026-06-01", "end": "2026-11-19"}}

    document = order(record(orders=[stopped]), "sacubitril-valsartan 49/51 mg po bid")

    assert grave(document, "sacubitril-valsartan")


def test_a_stop_without_a_date_leaves_the_36_hours_open() -> None:
    """Unknown is not long ago."""
    stopped = fhir_order("lisinopril 10 mg oral tablet", status="stopped")

    document = order(record(orders=[stopped]), "sacubitril-valsartan 49/51 mg po bid")

    assert grave(document, "sacubitril-valsartan") or any("lisinopril" in n.what + n.why for n in document.not_checked)


@pytest.mark.parametrize("blocker", ["lisinopril", "losartan"])
def test_aliskiren_with_a_blocker_is_forbidden_in_diabetes(blocker: str) -> None:
    """Label of aliskiren: contraindicated with an ACE inhibitor or ARB in diabetes."""
    patient = taking(f"{blocker} 50 mg oral tablet", problems=["I10", "E11.9"])

    assert forbidden(order(patient, "aliskiren 150 mg po daily"))


@pytest.mark.parametrize(("egfr", "warned"), [(59.0, True), (60.0, False)])
def test_aliskiren_with_a_blocker_turns_at_an_egfr_of_60(egfr: float, warned: bool) -> None:
    """Label of aliskiren: avoid with an ACE inhibitor or ARB at a GFR below 60; routine combination never advised."""
    patient = taking("losartan 50 mg oral tablet", egfr=egfr, leave_out=["creatinine"])

    document = order(patient, "aliskiren 150 mg po daily")

    assert grave(document, "aliskiren") or not warned
    assert any("aliskiren" in f.drugs and "losartan" in f.drugs for f in document.findings)


@pytest.mark.parametrize(("potassium", "no"), [(5.5, False), (5.6, True)])
def test_eplerenone_turns_above_a_potassium_of_5_5(potassium: float, no: bool) -> None:
    """Label of eplerenone: contraindicated with a serum potassium above 5.5 mEq/L."""
    document = order(record(potassium=potassium), "eplerenone 50 mg po daily")

    assert forbidden(document, "eplerenone") is no


@pytest.mark.parametrize(("creatinine", "no"), [(2.92, False), (3.05, True)])
def test_eplerenone_turns_at_a_clearance_of_30(creatinine: float, no: bool) -> None:
    """Label of eplerenone, any use: contraindicated at 30 mL/min or less; (140 - 58) 78 / (72 x 2.92) is 30.4."""
    patient = record(problems=["I50.22"], weight=78.0, creatinine=creatinine)

    document = order(patient, "eplerenone 25 mg po daily")

    assert any("30" in f.title for f in document.findings if f.severity == "contraindicated") is no


def test_eplerenone_for_pressure_is_forbidden_in_diabetes_with_albuminuria() -> None:
    """Label of eplerenone, hypertension: contraindicated in type 2 diabetes with microalbuminuria."""
    document = advice(record(problems=["I10", "E11.9"], uacr=120.0))

    assert "eplerenone" not in offered(document)
    assert any(r.drug == "eplerenone" for r in document.ruled_out)


@pytest.mark.parametrize(
    ("other", "cap"),
    [
        ("amlodipine", 20),
        ("amiodarone", 20),
        ("ranolazine", 20),
        ("diltiazem", 10),
        ("verapamil", 10),
        ("dronedarone", 10),
    ],
)
def test_simvastatin_is_capped_beside(other: str, cap: int) -> None:
    """Label of simvastatin: 20 mg with the first three, 10 mg with the others."""
    over = order(taking(f"{other} oral tablet"), "simvastatin 40 mg po daily")
    within = order(taking(f"{other} oral tablet"), f"simvastatin {cap} mg po daily")

    assert grave(over, "simvastatin")
    assert str(cap) in said(over)
    assert not forbidden(within, "simvastatin")


@pytest.mark.parametrize("other", ["clarithromycin", "itraconazole", "ketoconazole", "gemfibrozil", "cyclosporine"])
def test_simvastatin_is_forbidden_beside(other: str) -> None:
    """Label of simvastatin: contraindicated with strong CYP3A4 inhibitors, gemfibrozil, cyclosporine, danazol."""
    assert forbidden(order(taking(f"{other} oral"), "simvastatin 20 mg po daily"), "simvastatin", other)


def test_triple_whammy_is_grave_by_mouth_and_not_on_the_skin() -> None:
    """Labels of NSAIDs, ACE inhibitors and diuretics: kidney failure with all three; topical exposure is about 6 %."""
    taken = ("lisinopril 20 mg oral tablet", "hydrochlorothiazide 25 mg oral tablet")

    oral = order(taking(*taken), "ibuprofen 400 mg po tid")
    topical = order(taking(*taken), "diclofenac 1 % gel topical qid")

    assert grave(oral, "ibuprofen")
    assert "kidney" in said(oral) or "renal" in said(oral)
    assert not grave(topical, "diclofenac")


def test_clonidine_beside_a_beta_blocker_is_warned_of_with_the_order_of_stopping() -> None:
    """Label of clonidine: withdraw the beta-blocker several days before clonidine is stopped."""
    document = order(taking("metoprolol succinate 50 mg oral tablet"), "clonidine 0.1 mg po bid")

    assert any({"clonidine", "metoprolol"} <= set(f.drugs) for f in document.findings)
    assert "stop" in said(document) or "withdraw" in said(document)


def test_omeprazole_twelve_hours_apart_still_weakens_clopidogrel() -> None:
    """Label of clopidogrel: the effect of omeprazole is the same 12 hours apart."""
    patient = taking("clopidogrel 75 mg oral tablet")

    assert grave(order(patient, "omeprazole 20 mg po every evening"), "omeprazole", "clopidogrel")
    assert grave(order(patient, "esomeprazole 40 mg po daily"), "esomeprazole", "clopidogrel")
    assert not grave(order(patient, "pantoprazole 40 mg po daily"), "pantoprazole", "clopidogrel")


def test_apixaban_at_its_lowest_dose_is_avoided_with_a_strong_dual_inhibitor() -> None:
    """Label of apixaban: halve 5 or 10 mg; on 2.5 mg twice daily avoid ketoconazole, itraconazole, ritonavir."""
    patient = taking("ketoconazole 200 mg oral tablet", problems=["I48.91"])

    lowest = order(patient, "apixaban 2.5 mg po bid")
    usual = order(patient, "apixaban 5 mg po bid")

    assert grave(lowest, "apixaban", "ketoconazole")
    assert any({"apixaban", "ketoconazole"} <= set(f.drugs) for f in usual.findings)
    assert "avoid" in said(lowest)


@pytest.mark.parametrize(("age", "warned"), [(74, False), (75, True)])
def test_prasugrel_turns_at_75_years(age: int, warned: bool) -> None:
    """Label of prasugrel: generally not recommended at 75 years or more."""
    document = order(record(age=age, problems=["I24.9"], weight=80), "prasugrel 10 mg po daily")

    assert grave(document, "prasugrel") is warned


@pytest.mark.parametrize(("weight", "warned"), [(59.0, True), (60.0, False)])
def test_prasugrel_turns_at_60_kilograms(weight: float, warned: bool) -> None:
    """Label of prasugrel: consider 5 mg below 60 kg."""
    document = order(record(weight=weight, problems=["I21.4"]), "prasugrel 10 mg po daily")

    assert any("prasugrel" in f.drugs and re.search(r"\b5 mg", f.title + f.detail) for f in document.findings) is warned


@pytest.mark.parametrize("problem", ["G45.9", "I63.9", "Z86.73"])
def test_prasugrel_is_forbidden_after_stroke_or_tia(problem: str) -> None:
    """Label of prasugrel: contraindicated."""
    assert forbidden(order(record(problems=["I21.4", problem]), "prasugrel 10 mg po daily"), "prasugrel")


def test_edoxaban_is_not_for_a_clearance_above_95() -> None:
    """Label of edoxaban, boxed warning: reduced efficacy in atrial fibrillation at CrCl above 95 mL/min."""
    fast = record(age=50, weight=95.0, creatinine=0.8, problems=["I48.91"])
    ordinary = record(age=70, weight=75.0, creatinine=1.0, problems=["I48.91"])

    assert grave(order(fast, "edoxaban 60 mg po daily"), "edoxaban")
    assert not grave(order(ordinary, "edoxaban 60 mg po daily"), "edoxaban")
    assert "edoxaban" not in offered(advice(fast, "atrial-fibrillation-stroke-prevention"))


def test_aspirin_above_100_mg_weakens_ticagrelor() -> None:
    """Label of ticagrelor, boxed warning: maintenance aspirin above 100 mg a day."""
    patient = taking("ticagrelor 90 mg oral tablet", problems=["I21.4"])

    assert grave(order(patient, "aspirin 325 mg po daily"), "aspirin", "ticagrelor")
    assert not forbidden(order(patient, "aspirin 81 mg po daily"), "aspirin", "ticagrelor")


def test_aspirin_of_81_mg_with_ticagrelor_is_not_told_to_be_too_much() -> None:
    patient = taking("ticagrelor 90 mg oral tablet", problems=["I21.4"])

    assert "100 mg" not in " ".join(
        f.title for f in order(patient, "aspirin 81 mg po daily").findings if f.severity in GRAVE
    )


@pytest.mark.parametrize(
    "patient",
    [record(age=66), taking("omeprazole 20 mg oral capsule", age=45), taking("cimetidine 400 mg oral tablet", age=45)],
    ids=["over 60", "omeprazole", "cimetidine"],
)
def test_citalopram_is_capped_at_20_mg(patient: list[dict[str, Any]]) -> None:
    """Label of citalopram: at most 20 mg over 60 years, in CYP2C19 poor metabolisers, or with a CYP2C19 inhibitor."""
    high, low = order(patient, "citalopram 40 mg po daily"), order(patient, "citalopram 20 mg po daily")

    assert grave(high, "citalopram")
    assert "20" in said(high)
    assert not any("above the maximum" in f.title for f in low.findings)


def test_daily_methotrexate_is_found() -> None:
    """Label of methotrexate, boxed warning: daily instead of weekly dosing has killed."""
    daily = order(record(), "methotrexate 15 mg po daily")
    weekly = order(record(), "methotrexate 15 mg po once weekly")

    assert grave(daily, "methotrexate")
    assert "week" in said(daily)
    assert not any("week" in f.title.lower() for f in weekly.findings if f.severity in GRAVE)


@pytest.mark.parametrize("drug", ["piperacillin-tazobactam", "amoxicillin", "ampicillin"])
def test_penicillin_allergy_reaches(drug: str) -> None:
    """Labels: contraindicated with a serious reaction to any penicillin."""
    patient = record(allergies=[fhir_allergy("penicillin", reaction="anaphylaxis")])

    assert forbidden(order(patient, f"{drug} 1 g iv q8h"), drug)


def test_penicillin_allergy_does_not_reach_azithromycin() -> None:
    patient = record(allergies=[fhir_allergy("penicillin", reaction="anaphylaxis")])

    assert not [f for f in order(patient, "azithromycin 500 mg po daily").findings if "allergy" in f.title.lower()]


def test_ketorolac_is_limited_to_five_days_over_all_routes() -> None:
    """Label of ketorolac, boxed warning: not beyond five days, injection and tablets together."""
    document = order(taking("ketorolac 30 mg/mL injection"), "ketorolac 10 mg po q6h")

    assert any("ketorolac" in f.drugs for f in document.findings)
    assert re.search(r"(5|five)[ -]days?", said(document))


def test_chlorthalidone_is_not_ruled_out_at_an_egfr_of_20() -> None:
    """Agarwal 2021 (CLICK), doi 10.1056/NEJMoa2110730: it lowers pressure at eGFR 15 to 30."""
    patient = record(age=66, creatinine=3.1, problems=["I10", "N18.4"])

    document = advice(patient)

    assert not [r for r in document.ruled_out if r.drug == "chlorthalidone"]
    assert not forbidden(order(patient, "chlorthalidone 12.5 mg po daily"), "chlorthalidone")


def test_lisinopril_starts_at_5_mg_at_a_clearance_of_20() -> None:
    """Label of lisinopril, hypertension: 5 mg at creatinine clearance 10 to 30 mL/min, 10 mg above."""
    patient = record(age=66, creatinine=3.8, weight=80, problems=["I10", "N18.4"], potassium=4.0)

    document = order(patient, "lisinopril 10 mg po daily")

    assert any("lisinopril" in f.drugs and "5" in f.title + f.detail for f in document.findings)


def test_waiting_for_a_kidney_is_not_having_one() -> None:
    """ICD-10-CM Z76.82 awaiting transplant against Z94.0 transplanted kidney."""
    waiting = advice(record(problems=["I10", "Z76.82"]))
    transplanted = advice(record(problems=["I10", "Z94.0"]))

    assert "kidney transplant" not in {c.text for c in waiting.patient.conditions}
    assert "kidney transplant" in {c.text for c in transplanted.patient.conditions}


@pytest.mark.parametrize("name", ["zzyzzoprilate 10 mg po daily", "experimental compound BX-77", "塩酸テスト 5 mg"])
def test_an_unknown_drug_is_not_checked(name: str) -> None:
    document = order(record(), name)

    assert not document.drugs
    assert any(name.split()[0].lower() in n.what.lower() for n in document.not_checked)


def test_an_unknown_present_medicine_is_not_checked() -> None:
    document = order(taking("zzyzzoprilate 10 mg oral tablet"), "warfarin 5 mg po daily")

    assert any("zzyzzoprilate" in n.what for n in document.not_checked)


def test_an_unknown_half_of_a_combination_is_not_checked() -> None:
    document = order(record(), "lisinopril 10 mg / zzyzzopril 5 mg oral tablet")

    assert "lisinopril" in document.drugs
    assert any("zzyzzopril" in n.what for n in document.not_checked)


def test_an_unknown_allergy_is_not_checked() -> None:
    document = order(record(allergies=[fhir_allergy("zzyzzin")]), "warfarin 5 mg po daily")

    assert any("zzyzzin" in n.what for n in document.not_checked)


def test_no_lists_are_not_empty_lists() -> None:
    document = order(record(lists_given=False), "warfarin 5 mg po daily")

    assert {"medication list", "allergy list"} <= {n.what.split(":")[0] for n in document.not_checked}


@pytest.mark.parametrize(
    ("taken", "ordered", "pair"),
    [
        ("warfarin 5 mg tablet", "trimethoprim-sulfamethoxazole 160 mg po bid", ("warfarin",)),
        ("warfarin 5 mg tablet", "fluconazole 200 mg po daily", ("warfarin", "fluconazole")),
        ("lithium carbonate 300 mg capsule", "hydrochlorothiazide 25 mg po daily", ("lithium", "hydrochlorothiazide")),
        ("lithium carbonate 300 mg capsule", "lisinopril 10 mg po daily", ("lithium", "lisinopril")),
        ("spironolactone 25 mg tablet", "potassium chloride 20 meq po daily", ("spironolactone",)),
        ("verapamil 240 mg tablet", "metoprolol tartrate 50 mg po bid", ("verapamil", "metoprolol")),
        ("sertraline 50 mg tablet", "phenelzine 15 mg po tid", ("sertraline", "phenelzine")),
        ("sildenafil 50 mg tablet", "nitroglycerin 0.4 mg sublingual prn", ("sildenafil", "nitroglycerin")),
        ("methotrexate 15 mg tablet", "trimethoprim 100 mg po bid", ("methotrexate", "trimethoprim")),
        ("azathioprine 100 mg tablet", "allopurinol 300 mg po daily", ("azathioprine", "allopurinol")),
        ("azathioprine 100 mg tablet", "febuxostat 40 mg po daily", ("azathioprine", "febuxostat")),
        ("colchicine 0.6 mg tablet", "clarithromycin 500 mg po bid", ("colchicine", "clarithromycin")),
        ("digoxin 0.25 mg tablet", "amiodarone 200 mg po daily", ("digoxin", "amiodarone")),
        ("tramadol 50 mg tablet", "fluoxetine 20 mg po daily", ("tramadol", "fluoxetine")),
        ("rivaroxaban 20 mg tablet", "rifampin 600 mg po daily", ("rivaroxaban",)),
        ("alprazolam 1 mg tablet", "oxycodone 10 mg po q6h", ("alprazolam", "oxycodone")),
        ("tizanidine 4 mg tablet", "ciprofloxacin 500 mg po bid", ("tizanidine", "ciprofloxacin")),
        ("isotretinoin 20 mg capsule", "doxycycline 100 mg po bid", ("isotretinoin", "doxycycline")),
        ("carbamazepine 200 mg tablet", "apixaban 5 mg po bid", ("carbamazepine", "apixaban")),
        ("ivabradine 5 mg tablet", "diltiazem 120 mg po daily", ("ivabradine", "diltiazem")),
    ],
)
def test_a_known_dangerous_pair_is_grave_whichever_is_ordered(taken: str, ordered: str, pair: tuple[str, ...]) -> None:
    """Labels of either drug (contraindications, boxed warnings, or "avoid")."""
    one = order(taking(taken), ordered)
    other = order(taking(ordered.split(" po ")[0].split(" sublingual")[0]), taken.rsplit(" ", 1)[0] + " po daily")

    assert grave(one, *pair)
    assert grave(other, *pair)


@pytest.mark.parametrize(
    ("problems", "facts", "ordered", "drug"),
    [
        (["J45.909"], {}, "propranolol 40 mg po bid", "propranolol"),
        (["I44.2"], {}, "diltiazem 120 mg po daily", "diltiazem"),
        (["I50.22"], {}, "verapamil 240 mg po daily", "verapamil"),
        (["I50.22"], {}, "pioglitazone 30 mg po daily", "pioglitazone"),
        (["K70.30"], {}, "methotrexate 15 mg po once weekly", "methotrexate"),
        (["I10"], {"creatinine": 3.5}, "metformin 500 mg po bid", "metformin"),
        (["G40.909"], {}, "bupropion 150 mg po daily", "bupropion"),
        (["I25.2"], {}, "sumatriptan 50 mg po daily", "sumatriptan"),
        (["I10", "N18.6", "Z99.2"], {"creatinine": 7.0}, "dabigatran 150 mg po bid", "dabigatran"),
        (["K92.2"], {}, "apixaban 5 mg po bid", "apixaban"),
    ],
)
def test_a_contraindication_of_the_record_is_grave(
    problems: list[str], facts: dict[str, float], ordered: str, drug: str
) -> None:
    """Labels of the drugs ordered, section 4 or boxed warning."""
    assert grave(order(record(problems=problems, **facts), ordered), drug)


@pytest.mark.parametrize(
    "drug", ["lisinopril", "losartan", "atorvastatin", "warfarin", "methotrexate", "valproate", "isotretinoin"]
)
def test_pregnancy_makes_harmful_drugs_grave_and_unknown_pregnancy_open(drug: str) -> None:
    """Boxed warnings and section 8.1 of the labels."""
    known = order(record(age=30, sex="female", problems=["Z33.1"]), f"{drug} 10 mg po daily")
    unknown = order(record(age=30, sex="female"), f"{drug} 10 mg po daily")

    assert any(drug in f.drugs and f.severity != "information" for f in known.findings)
    assert any("pregnan" in (n.why + n.would_need) for n in unknown.not_checked)


def test_a_dose_above_the_maximum_is_found() -> None:
    """Label of lisinopril: 80 mg a day at most; amlodipine 10 mg."""
    assert grave(order(record(), "amlodipine 20 mg po daily"), "amlodipine")
    assert grave(order(record(), "lisinopril 120 mg po daily"), "lisinopril")
    assert not grave(order(record(), "amlodipine 10 mg po daily"), "amlodipine")


def test_two_of_one_class_are_found() -> None:
    """Duplicate therapy."""
    assert grave(order(taking("atenolol 50 mg tablet"), "bisoprolol 5 mg po daily"), "atenolol", "bisoprolol")
    assert grave(order(taking("ibuprofen 400 mg tablet"), "naproxen 500 mg po bid"), "ibuprofen", "naproxen")
    assert grave(order(taking("lisinopril 10 mg tablet"), "lisinopril 20 mg po daily"), "lisinopril")


def test_a_refuted_problem_is_no_contraindication_and_inactive_asthma_still_is() -> None:
    """Asthma does not end: an inactive one can be provoked by a beta-blocker (label of propranolol)."""
    past = fhir_condition("J45.909", system="http://hl7.org/fhir/sid/icd-10-cm", clinical="inactive")
    refuted = fhir_condition("J45.909", system="http://hl7.org/fhir/sid/icd-10-cm")
    refuted["verificationStatus"] = {"coding": [{"code": "refuted"}]}

    assert not forbidden(order(record(more=[refuted]), "propranolol 40 mg po bid"), "propranolol")
    assert forbidden(order(record(more=[past]), "propranolol 40 mg po bid"), "propranolol")


def test_an_order_by_a_brand_or_a_misspelt_name_says_what_it_was_read_as() -> None:
    for text, drug in (("Zestoretic 20-12.5 po daily", "lisinopril"), ("simvistatim 20 mg po daily", "simvastatin")):
        document = order(record(), text)
        assert drug in document.drugs
        assert any("read as" in entry.what and drug in entry.what for entry in document.not_checked), text


def test_an_ace_inhibitor_is_never_planned_beside_an_arb() -> None:
    """US25, 5.2: never together."""
    document = advice(record(orders=[an_order("losartan 50 mg tablet", 50, 1)]))

    for option in document.options:
        after = {*option.plan.keep, *(s.drug for s in option.plan.start)}
        assert not (after & members("ACE inhibitor") and after & members("ARB"))
