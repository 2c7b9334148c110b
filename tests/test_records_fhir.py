"""Reading FHIR R4: what a record says arrives, what cannot be read is counted, and order does not matter."""

from datetime import UTC, date, datetime

import pytest

from patients import (
    LOINC,
    RXNORM,
    SNOMED,
    as_bytes,
    bundle,
    fhir_allergy,
    fhir_condition,
    fhir_observation,
    fhir_order,
    fhir_patient,
    fhir_pressure,
)
from posologist.core.errors import InputError
from posologist.records.fhir_administration import read_administrations
from posologist.records.fhir_in import read_patient
from reading import AS_OF, kinds, knowledge, read, value


@pytest.mark.parametrize("panel", ["55284-4", "85354-9"])
def test_blood_pressure_is_read_from_the_components_of_both_panels(panel: str) -> None:
    patient = read(fhir_pressure(151, 96, panel=panel))

    assert (value(patient, "sbp"), value(patient, "dbp")) == (151, 96)


@pytest.mark.parametrize(
    ("loinc", "number", "unit", "key", "canonical"),
    [
        ("2160-0", 88.42, "umol/L", "creatinine", 1.0002),
        ("14682-9", 106.0, "umol/L", "creatinine", 1.1991),
        ("2823-3", 4.2, "meq/L", "potassium", 4.2),
        ("29463-7", 176.37, "[lb_av]", "weight", 80.0),
        ("8302-2", 70.866, "[in_i]", "height", 180.0),
        ("8310-5", 98.6, "[degF]", "temperature", 37.0),
        ("59261-8", 53.0, "mmol/mol", "hba1c", 7.0),
        ("14959-1", 30.0, "mg/mmol", "uacr", 265.2),
        ("2093-3", 5.0, "mmol/L", "total_cholesterol", 193.3),
        ("14749-6", 7.0, "mmol/L", "glucose", 126.1),
        ("19123-9", 2.0, "meq/L", "magnesium", 2.4305),
        ("33914-3", 58.0, "mL/min", "egfr", 58.0),
    ],
)
def test_units_become_canonical(loinc: str, number: float, unit: str, key: str, canonical: float) -> None:
    patient = read(fhir_observation(loinc, number, unit))

    assert value(patient, key) == pytest.approx(canonical, rel=2e-3)


def test_a_value_without_a_unit_is_left_out_and_counted() -> None:
    bare = fhir_observation("2160-0", 1.1, "mg/dL")
    bare["valueQuantity"] = {"value": 1.1}
    patient = read(bare)

    assert [o.value for o in patient.observations] == [None], "kept as words, so that an older value is not today's"
    assert [f.count for f in patient.quality if f.kind == "missing" and "without a unit" in f.text] == [1]


def test_a_value_that_cannot_be_is_left_out_with_a_finding() -> None:
    patient = read(fhir_observation("2823-3", 42.0, "mmol/L"))

    assert [o.value for o in patient.observations] == [None]
    assert "out of range" in kinds(patient)


def test_a_unit_of_another_kind_is_left_out_with_a_finding() -> None:
    patient = read(fhir_observation("2160-0", 1.1, "kg"))

    assert [o.value for o in patient.observations] == [None]
    assert any(f.kind == "left out" and "kg" in f.text for f in patient.quality)


def test_a_value_with_a_comparator_is_kept_as_words_and_is_no_number() -> None:
    above = fhir_observation("33914-3", 90, "mL/min/{1.73_m2}")
    above["valueQuantity"]["comparator"] = ">"
    (observation,) = read(above).observations

    assert observation.value is None
    assert observation.text.startswith(">90")


def test_the_same_value_twice_is_kept_once_and_counted() -> None:
    first = fhir_observation("2823-3", 4.2, "mmol/L")
    second = {**first, "id": "another"}
    patient = read(first, second)

    assert len(patient.observations) == 1
    assert "duplicate" in kinds(patient)


def test_two_values_at_the_same_time_are_a_conflict() -> None:
    patient = read(fhir_observation("2823-3", 4.2, "mmol/L"), fhir_observation("2823-3", 5.9, "mmol/L"))

    assert len(patient.observations) == 2
    assert "conflict" in kinds(patient)


def test_entries_after_the_day_asked_for_are_ignored_and_counted() -> None:
    later = fhir_observation("2823-3", 5.9, "mmol/L", "2027-01-01")
    patient = read(
        later, fhir_condition("90560007", onsetDateTime="2027-02-01"), fhir_order("Aspirin 81 MG", ordered="2027-03-01")
    )

    assert not patient.observations
    assert not patient.conditions
    assert not patient.medications
    assert sum(f.count for f in patient.quality if f.kind == "future") == 3


def test_times_are_utc() -> None:
    patient = read(fhir_observation("2823-3", 4.2, "mmol/L", "2026-10-01T23:30:00-04:00"))

    assert patient.observations[0].at == datetime(2026, 10, 2, 3, 30, tzinfo=UTC)


def test_entered_in_error_is_never_used() -> None:
    wrong = {"coding": [{"code": "entered-in-error"}]}
    patient = read(
        fhir_condition("90560007", verificationStatus=wrong),
        fhir_allergy("Penicillin", verificationStatus=wrong),
        {**fhir_observation("2823-3", 5.9, "mmol/L"), "status": "entered-in-error"},
        fhir_order("Warfarin 5 MG", status="entered-in-error"),
    )

    assert (patient.conditions, patient.allergies, patient.observations, patient.medications) == ((), (), (), ())
    assert sum(f.count for f in patient.quality if f.kind == "left out") == 4


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, "active"),
        ({"clinicalStatus": {"coding": [{"code": "resolved"}]}}, "resolved"),
        ({"clinicalStatus": {"coding": [{"code": "remission"}]}}, "resolved"),
        ({"abatementDateTime": "2021-01-01"}, "resolved"),
        ({"verificationStatus": {"coding": [{"code": "refuted"}]}}, "refuted"),
        ({"clinicalStatus": {}}, "unknown"),
    ],
)
def test_clinical_and_verification_status_are_respected(more: dict, status: str) -> None:
    (condition,) = read(fhir_condition("90560007", **more)).conditions

    assert condition.status == status


def test_a_problem_that_ended_after_the_day_asked_for_was_still_there() -> None:
    ended = fhir_condition("72892002", clinical="resolved", abatementDateTime="2020-11-01")
    (condition,) = read(ended, as_of=date(2020, 6, 1)).conditions

    assert (condition.status, condition.end) == ("active", None)


def test_the_display_of_a_condition_is_never_mapped() -> None:
    patient = read(fhir_condition("999999", display="Gout"))

    assert patient.conditions[0].codes == ()
    assert any(f.kind == "unmapped" and "Gout" in f.text for f in patient.quality)


def test_icd_10_subcodes_are_read_by_their_category() -> None:
    (condition,) = read(fhir_condition("M10.071", system="http://hl7.org/fhir/sid/icd-10-cm")).conditions

    assert condition.codes == ("gout",)


def test_a_record_without_lists_says_that_they_were_not_given() -> None:
    patient = read()

    assert not any((patient.problem_list_given, patient.medication_list_given, patient.allergy_list_given))


def test_a_problem_list_in_local_codes_is_no_list_to_rely_on() -> None:
    patient = read(fhir_condition("X1", system="http://hospital.example/codes", display="Something"))

    assert not patient.problem_list_given
    assert "unmapped" in kinds(patient)


@pytest.mark.parametrize("code", ["716186003", "409137002"])
def test_no_known_allergy_is_a_list_without_entries(code: str) -> None:
    patient = read(fhir_allergy("No known allergy", code=code))

    assert patient.allergy_list_given
    assert patient.allergies == ()


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("Allergy to penicillin (finding)", "penicillin"),
        ("Product containing sulfonamide (product)", "antibacterial sulfonamide"),
        ("ACE inhibitors", "ACE inhibitor"),
        ("Lisinopril", "lisinopril"),
        ("Aspirin", "aspirin"),
        ("NSAIDs", "NSAID"),
        ("Statins", "statin"),
        ("Lisinopril (cough)", "lisinopril"),
        ("Sulfa (Sulfonamide Antibiotics)", "antibacterial sulfonamide"),
        ("Sulfonamide diuretics", "non-antibacterial sulfonamide"),
        ("Opioids", "morphine"),
        ("Thiazides", "hydrochlorothiazide"),
    ],
)
def test_drug_allergies_reach_their_drug_or_group(text: str, group: str) -> None:
    (allergy,) = read(fhir_allergy(text)).allergies

    assert group in allergy.groups


@pytest.mark.parametrize("text", ["Latex allergy", "Allergy to grass pollen", "Shellfish allergy", "Cat dander"])
def test_allergies_to_other_things_concern_no_drug(text: str) -> None:
    patient = read(fhir_allergy(text, category="food"))

    assert patient.allergies[0].groups == ()
    assert patient.allergies[0].category in ("food", "environment")
    assert not any(f.kind == "unmapped" for f in patient.quality)


def test_a_drug_counts_even_where_the_record_says_food() -> None:
    (allergy,) = read(fhir_allergy("Aspirin", category="food")).allergies

    assert (allergy.groups, allergy.category) == (("aspirin",), "medication")


@pytest.mark.parametrize("text", ["Peanuts", "Latex, natural rubber"])
def test_what_is_plainly_no_drug_is_none_even_where_the_record_says_medication(text: str) -> None:
    patient = read(fhir_allergy(text, category="medication"))

    assert patient.allergies[0].category in ("food", "environment")
    assert "unmapped" not in kinds(patient)


def test_an_unknown_drug_allergy_is_kept_and_said_loudly() -> None:
    patient = read(fhir_allergy("Zzyxomycin"))

    assert patient.allergies[0].groups == ()
    assert any(f.kind == "unmapped" and f.severity == "serious" for f in patient.quality)


@pytest.mark.parametrize(
    ("said", "word"),
    [("Angioedema of lips", "angioedema"), ("anaphylactic shock", "anaphylaxis"), ("dry cough", "cough")],
)
def test_reactions_become_words_that_rules_know(said: str, word: str) -> None:
    (allergy,) = read(fhir_allergy("Enalapril", reaction=said)).allergies

    assert word in allergy.reactions


def test_a_refuted_allergy_is_tolerance() -> None:
    refuted = fhir_allergy("Penicillin", verificationStatus={"coding": [{"code": "refuted"}]})

    assert read(refuted).allergies[0].tolerated


def test_pregnancy_and_smoking_come_as_words() -> None:
    pregnant = fhir_observation(
        "82810-3", None, "", valueCodeableConcept={"coding": [{"system": SNOMED, "code": "77386006"}]}
    )
    smoker = fhir_observation(
        "72166-2", None, "", valueCodeableConcept={"coding": [{"system": SNOMED, "code": "449868002"}]}
    )
    words = {o.key: o.text for o in read(pregnant, smoker).observations}

    assert words == {"pregnancy_status": "pregnant", "smoking_status": "current"}


def test_results_inside_a_diagnostic_report_are_read() -> None:
    inside = fhir_observation("2823-3", 4.2, "mmol/L")
    report = {
        "resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": LOINC, "code": "51990-0"}]}, "contained": [inside],
    }  # fmt: skip

    assert value(read(report), "potassium") == 4.2


def test_no_current_medications_is_a_list_without_entries() -> None:
    patient = read(fhir_order("No current medications"))

    assert patient.medication_list_given
    assert patient.medications == ()


def test_a_medication_is_found_behind_a_reference_or_inside_the_order() -> None:
    product = {
        "resourceType": "Medication",
        "id": "x",
        "code": {"coding": [{"system": RXNORM, "code": "1", "display": "lisinopril 10 MG Oral Tablet"}]},
    }
    order = {k: v for k, v in fhir_order("?").items() if k != "medicationCodeableConcept"}
    referring = {**order, "id": "m1", "medicationReference": {"reference": "Medication/x"}}
    containing = {**order, "id": "m2", "contained": [product], "medicationReference": {"reference": "#x"}}
    absolute = {**order, "id": "m3", "medicationReference": {"reference": "http://example.org/fhir/Medication/x"}}
    patient = read(product, referring, containing, absolute)

    assert [m.drugs for m in patient.medications] == [("lisinopril",)] * 3


def test_proposals_drafts_and_orders_not_to_give_are_no_medicines() -> None:
    patient = read(
        fhir_order("Aspirin 81 MG", status="draft"),
        {**fhir_order("Lisinopril 10 MG"), "intent": "proposal"},
        {**fhir_order("Warfarin 5 MG"), "doNotPerform": True},
    )

    assert patient.medications == ()
    assert sum(f.count for f in patient.quality if f.kind == "left out") == 3


@pytest.mark.parametrize("text", ["NKDA", "No Known Allergies", "No known drug allergies.", "none known"])
def test_no_known_allergy_in_words_is_a_list_without_entries(text: str) -> None:
    patient = read(fhir_allergy(text))

    assert patient.allergy_list_given
    assert patient.allergies == ()


def test_no_known_food_allergy_says_nothing_of_drugs() -> None:
    assert not read(fhir_allergy("No known food allergy", code="429625007")).allergy_list_given


def test_no_known_allergy_beside_an_allergy_is_a_conflict_and_the_allergy_counts() -> None:
    patient = read(fhir_allergy("No known allergy", code="716186003"), fhir_allergy("Penicillin"))

    assert [a.groups for a in patient.allergies] == [("penicillin",)]
    assert "conflict" in kinds(patient)


def test_a_supply_that_ran_out_is_said_and_ends_nothing() -> None:
    supply = {"expectedSupplyDuration": {"value": 30, "code": "d"}, "numberOfRepeatsAllowed": 1}
    patient = read(fhir_order("Lisinopril 10 MG", ordered="2026-01-01", dispenseRequest=supply))

    assert (patient.medications[0].status, patient.medications[0].end) == ("active", None)
    assert any(f.kind == "stale" and "60 days" in f.text for f in patient.quality)


def test_administrations_are_events_with_time_amount_and_duration() -> None:
    dose = {"dose": {"value": 1, "unit": "g"}, "route": {"text": "intravenous"}}
    infusion = {
        "resourceType": "MedicationAdministration", "id": "g", "status": "completed", "dosage": dose,
        "subject": {"reference": "Patient/p1"}, "medicationCodeableConcept": {"text": "vancomycin"},
        "effectivePeriod": {"start": "2026-01-01T10:00:00Z", "end": "2026-01-01T11:30:00Z"},
    }  # fmt: skip
    undosed = {**infusion, "id": "h", "dosage": {}}
    document = as_bytes(bundle(fhir_patient(), undosed, infusion))
    events, findings = read_administrations(document, knowledge=knowledge(), patient_id="p1")

    assert [(e.amount, e.unit, e.duration_h, e.drug, e.route) for e in events] == [
        (1000, "mg", 1.5, "vancomycin", "iv")
    ]
    assert any(f.kind == "missing" and "without a dose" in f.text for f in findings)


def test_a_deleted_entry_is_counted_and_not_read() -> None:
    document = bundle(fhir_patient(), fhir_condition("90560007"))
    document["entry"][1]["request"] = {"method": "DELETE", "url": "Condition/c-90560007"}
    patient = read_patient(as_bytes(document), knowledge=knowledge())

    assert patient.conditions == ()
    assert any(f.kind == "left out" and "without a resource" in f.text for f in patient.quality)


def test_an_unmapped_problem_that_looks_like_one_of_ours_is_pointed_out() -> None:
    patient = read(fhir_condition("999999", display="Gout of left foot"))

    assert patient.conditions[0].codes == ()
    assert any("looks like Gout" in f.text and f.severity == "monitor" for f in patient.quality)


def test_a_resolved_allergy_still_counts_and_is_said() -> None:
    patient = read(fhir_allergy("Penicillin", clinicalStatus={"coding": [{"code": "resolved"}]}))

    assert patient.allergies[0].groups == ("penicillin",)
    assert "stale" in kinds(patient)


@pytest.mark.parametrize("born", ["2030-01-01", "1899-01-01", "yesterday", ""])
def test_a_birth_date_that_cannot_be_gives_no_age(born: str) -> None:
    patient = read_patient(as_bytes(bundle(fhir_patient(born=born))), knowledge=knowledge(), as_of=AS_OF)

    assert patient.birth_date is None
    assert any("birth date" in f.text and f.severity == "serious" for f in patient.quality)


def test_a_date_that_cannot_be_read_is_said_and_the_rest_is_kept() -> None:
    patient = read(fhir_condition("90560007", onsetDateTime="last spring"))

    assert patient.conditions[0].codes == ("gout",)
    assert any(f.kind == "unreadable" and "onsetDateTime" in f.text for f in patient.quality)


@pytest.mark.parametrize("text", ["/no/such/file.json", "{" * 5000, "a\0b"])
def test_a_text_that_is_no_path_is_a_clear_error(text: str) -> None:
    with pytest.raises(InputError):
        read_patient(text, knowledge=knowledge())
