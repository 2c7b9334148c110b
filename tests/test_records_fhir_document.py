"""Reading FHIR R4 documents: whose record it is, what is no record, and that order does not matter."""

import json
import random
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patients import (
    as_bytes,
    as_ndjson,
    bundle,
    fhir_allergy,
    fhir_condition,
    fhir_observation,
    fhir_order,
    fhir_patient,
    fhir_pressure,
)
from posologist.core.errors import InputError
from posologist.records.fhir_in import read_patient, read_patients
from reading import AS_OF, kinds, knowledge, read, value


def test_a_deceased_patient_is_said() -> None:
    document = bundle(fhir_patient(deceasedDateTime="2020-01-01"))
    patient = read_patient(as_bytes(document), knowledge=knowledge(), as_of=AS_OF)

    assert patient.deceased
    assert "deceased" in kinds(patient)


def test_before_the_death_the_patient_was_alive() -> None:
    document = bundle(fhir_patient(deceasedDateTime="2020-01-01"))
    patient = read_patient(as_bytes(document), knowledge=knowledge(), as_of=date(2019, 1, 1))

    assert not patient.deceased


def test_two_patients_need_a_choice() -> None:
    document = as_bytes(bundle(fhir_patient("p1"), fhir_patient("p2")))

    with pytest.raises(InputError, match=r"2 patients.*p1, p2"):
        read_patient(document, knowledge=knowledge())
    assert read_patient(document, knowledge=knowledge(), patient_id="p2").id == "p2"
    assert [p.id for p in read_patients(document, knowledge=knowledge())] == ["p1", "p2"]


def test_of_two_dated_versions_of_a_patient_the_newest_is_read() -> None:
    old = fhir_patient(born="1950-01-01", meta={"lastUpdated": "2020-01-01T00:00:00Z"})
    new = fhir_patient(born="1960-01-01", meta={"lastUpdated": "2024-01-01T00:00:00Z"})

    assert read_patient(as_bytes(bundle(new, old)), knowledge=knowledge()).birth_date == date(1960, 1, 1)


def test_two_undated_versions_of_a_patient_are_not_chosen_between() -> None:
    document = as_bytes(bundle(fhir_patient(born="1950-01-01"), fhir_patient(born="1960-01-01")))

    with pytest.raises(InputError, match="2 patients"):
        read_patient(document, knowledge=knowledge())


def test_without_a_patient_resource_a_named_patient_has_no_age_and_no_sex() -> None:
    document = as_bytes(bundle(fhir_condition("90560007")))
    patient = read_patient(document, knowledge=knowledge(), patient_id="p1")

    assert (patient.id, patient.sex, patient.birth_date) == ("p1", None, None)
    assert patient.conditions[0].codes == ("gout",)
    assert sum(f.severity == "serious" for f in patient.quality) == 2


@given(st.floats(min_value=0.2, max_value=20))
def test_the_unit_of_a_value_does_not_change_what_is_read(creatinine: float) -> None:
    one = value(read(fhir_observation("2160-0", creatinine, "mg/dL")), "creatinine")
    other = value(read(fhir_observation("2160-0", creatinine / 113.12 * 1e4, "umol/L")), "creatinine")

    assert other == pytest.approx(one, rel=1e-8)


def test_reading_all_patients_gives_each_as_if_alone() -> None:
    mine = [fhir_patient("p1"), fhir_pressure(150, 95), fhir_allergy("Penicillin")]
    others = [fhir_patient("p2"), {**fhir_condition("90560007"), "subject": {"reference": "Patient/p2"}}]
    document = as_bytes(bundle(*mine, *others))
    together = read_patients(document, knowledge=knowledge())

    assert [p.id for p in together] == ["p1", "p2"]
    for patient in together:
        assert patient == read_patient(document, knowledge=knowledge(), patient_id=patient.id)
    assert not together[0].conditions
    assert not together[1].allergies


def test_entries_about_another_patient_are_never_mixed_in() -> None:
    foreign = fhir_condition("90560007", subject={"reference": "Patient/somebody-else"})
    patient = read(foreign)

    assert patient.conditions == ()
    assert any(f.kind == "identity" and f.severity == "serious" for f in patient.quality)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b'{"resourceType": "Bundle", "entry": [', "broken JSON"),
        (b"<Bundle/>", "XML"),
        (b'{"hello": 1}', "resourceType"),
        (b"[1, 2]", "not a FHIR resource"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'{"resourceType": "Observation"}', "no Patient"),
        (b"[" * 100_000, "nested|broken"),
        (b'{"resourceType": "Patient", "id": "a", "x": ' + b"[" * 980 + b"]" * 980 + b"}", "nested"),
        (b'{"resourceType": "Bundle", "entry": 5}', "not a list"),
        (b'{"resourceType": "Patient", "id": "a", "multipleBirthInteger": ' + b"9" * 5000 + b"}", "number"),
    ],
)
def test_what_is_no_record_is_a_clear_error(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_patient(data, knowledge=knowledge())


def test_broken_json_names_line_and_column() -> None:
    with pytest.raises(InputError) as caught:
        read_patient(b'{\n "resourceType": "Bundle",\n "entry": [}\n', knowledge=knowledge(), document="x.json")

    assert "x.json:3 column 12" in str(caught.value)


def test_a_broken_line_of_ndjson_is_named(tmp_path: Path) -> None:
    path = tmp_path / "all.ndjson"
    path.write_bytes(as_ndjson(fhir_patient()) + b"{broken\n")

    with pytest.raises(InputError, match=r"all.ndjson:2"):
        read_patient(path, knowledge=knowledge())


@pytest.mark.parametrize(
    ("resource", "release"),
    [
        ({"resourceType": "MedicationOrder", "id": "m", "patient": {"reference": "Patient/p1"}}, "DSTU2"),
        ({"resourceType": "AllergyIntolerance", "id": "a", "substance": {"text": "x"}}, "DSTU2"),
        ({"resourceType": "MedicationRequest", "id": "m", "medication": {"concept": {"text": "aspirin"}}}, "R5"),
        ({"resourceType": "Observation", "id": "o", "meta": {"profile": ["http://hl7.org/fhir/5.0/x"]}}, "R5"),
    ],
)
def test_other_releases_are_refused_by_name(resource: dict, release: str) -> None:
    with pytest.raises(InputError, match=f"FHIR {release}, not R4"):
        read(resource)


def test_stu3_shape_is_read_as_far_as_it_coincides_and_said() -> None:
    patient = read({**fhir_condition("90560007"), "clinicalStatus": "resolved"})

    assert patient.conditions[0].status == "resolved"
    assert "version" in kinds(patient)


def test_a_resource_in_a_wrong_shape_is_left_out_and_counted() -> None:
    patient = read({**fhir_condition("90560007"), "verificationStatus": 7}, fhir_pressure(150, 90))

    assert patient.conditions == ()
    assert value(patient, "sbp") == 150
    assert any(f.kind == "unreadable" and f.severity == "serious" for f in patient.quality)


def test_types_that_are_not_read_are_counted() -> None:
    claims = [{"resourceType": "Claim", "id": str(n)} for n in range(3)]

    assert [f.count for f in read(*claims).quality if "Claim" in f.text] == [3]


def test_ndjson_and_bundle_give_the_same_facts() -> None:
    resources = [
        fhir_patient(),
        fhir_pressure(150, 95),
        fhir_condition("38341003"),
        fhir_order("Lisinopril 10 MG Oral Tablet"),
    ]
    one = read_patient(as_bytes(bundle(*resources)), knowledge=knowledge(), document="d")
    other = read_patient(as_ndjson(*resources), knowledge=knowledge(), document="d")

    assert one == other


def test_a_line_separator_inside_a_text_does_not_cut_a_line() -> None:
    resources = [fhir_patient(), fhir_condition("90560007", note=[{"text": "a\u2028b"}])]
    data = "\n".join(json.dumps(r, ensure_ascii=False) for r in resources).encode()

    assert read_patient(data, knowledge=knowledge()).conditions[0].codes == ("gout",)


def test_order_of_entries_does_not_matter() -> None:
    path = next(_synthea().glob("Karena*"))
    document = json.loads(path.read_text())
    shuffled = {**document, "entry": random.Random(4).sample(document["entry"], len(document["entry"]))}
    one = read_patient(path, knowledge=knowledge())
    other = read_patient(as_bytes(shuffled), knowledge=knowledge(), document=path.name)

    assert one == other


def _synthea() -> Path:
    from shared import shared_data

    return shared_data("ehr", "synthea-r4")
