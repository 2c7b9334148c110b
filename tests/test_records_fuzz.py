"""Whatever a file holds: a patient with findings, or an error of ours; never another exception."""

import contextlib
import copy
import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patients import (
    as_bytes,
    bundle,
    fhir_allergy,
    fhir_condition,
    fhir_observation,
    fhir_order,
    fhir_patient,
    fhir_pressure,
)
from posologist.core.errors import InputError, PosologistError
from posologist.core.patient import Patient
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.records.fhir_in import read_patient
from shared import shared_data

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.just([]), st.just({}),
    st.just("\ud800"),
    st.just([[]]), st.just({"coding": 3}), st.just({"coding": [None, 4, {"code": 7}]}), st.just("9999-99-99"),
    st.just("0001-01-01"), st.just(1e308), st.just({"value": "7", "unit": 8}), st.just([{"resourceType": "Patient"}]),
)  # fmt: skip


@cache
def knowledge() -> Knowledge:
    """The knowledge base that ships."""
    return load_knowledge()


def made() -> dict[str, Any]:
    """A small record with one resource of each kind that is read."""
    dosage = {
        "text": "1 tablet twice daily", "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
        "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet"}}], "route": {"coding": [{"code": "26643006"}]},
    }  # fmt: skip
    family = {
        "resourceType": "FamilyMemberHistory", "id": "f", "status": "completed", "patient": {"reference": "Patient/p1"},
        "relationship": {"text": "father"},
        "condition": [{"code": {"coding": [{"code": "709044004"}]}, "onsetAge": {"value": 60}}],
    }  # fmt: skip
    procedure = {
        "resourceType": "Procedure", "id": "q", "status": "completed", "subject": {"reference": "Patient/p1"},
        "code": {"text": "ECG"}, "performedPeriod": {"start": "2020-01-01"},
    }  # fmt: skip
    given_dose = {
        "resourceType": "MedicationAdministration", "id": "g", "status": "completed",
        "subject": {"reference": "Patient/p1"}, "medicationCodeableConcept": {"text": "vancomycin 1000 mg"},
        "effectiveDateTime": "2026-01-01T10:00:00Z",
        "dosage": {"dose": {"value": 1, "unit": "g"}, "route": {"text": "intravenous"}},
    }  # fmt: skip
    return bundle(
        fhir_patient(), fhir_pressure(150, 95), fhir_observation("2160-0", 1.1, "mg/dL"), fhir_condition("38341003"),
        fhir_order("Lisinopril 10 MG Oral Tablet", dosageInstruction=[dosage]),
        fhir_allergy("Penicillin", reaction="rash"),
        family, procedure, given_dose,
    )  # fmt: skip


def paths(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [here, *(path for key, child in inside for path in paths(child, (*here, key)))]


def changed(document: Any, path: tuple[Any, ...], junk: Any, *, delete: bool) -> Any:
    """The document with one node replaced or deleted."""
    if not path:
        return junk
    copied = copy.deepcopy(document)
    node = copied
    for key in path[:-1]:
        node = node[key]
    if delete:
        del node[path[-1]]
    else:
        node[path[-1]] = junk
    return copied


def outcome(document: Any) -> Patient | PosologistError:
    """What reading gives; anything but a patient or our own error is raised."""
    try:
        return read_patient(json.dumps(document).encode(), knowledge=knowledge(), as_of=date(2026, 11, 20))
    except PosologistError as error:
        return error


MADE = made()
PLACES = paths(MADE)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(PLACES), junk=JUNK, delete=st.booleans())
def test_a_record_with_one_node_spoilt_never_breaks_the_reader(place: tuple[Any, ...], junk: Any, delete: bool) -> None:
    found = outcome(changed(MADE, place, junk, delete=delete))

    assert isinstance(found, Patient) or found.code == 2


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_record_with_many_nodes_spoilt_never_breaks_the_reader(data: st.DataObject) -> None:
    document: Any = MADE
    for _ in range(data.draw(st.integers(2, 8))):
        places = paths(document)
        document = changed(
            document, data.draw(st.sampled_from(places[1:] or places)), data.draw(JUNK), delete=data.draw(st.booleans())
        )
        if not isinstance(document, dict):
            break

    found = outcome(document)

    assert isinstance(found, Patient) or found.code == 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_real_record_with_nodes_spoilt_never_breaks_the_reader(data: st.DataObject) -> None:
    document: Any = real()
    for _ in range(10):
        entry = data.draw(st.integers(0, len(document["entry"]) - 1))
        places = paths(document["entry"][entry])
        place = data.draw(st.sampled_from(places[1:]))
        spoilt = changed(document["entry"][entry], place, data.draw(JUNK), delete=False)
        document = {**document, "entry": [*document["entry"][:entry], spoilt, *document["entry"][entry + 1 :]]}

    found = outcome(document)

    assert isinstance(found, Patient) or found.code == 2


@cache
def real() -> dict[str, Any]:
    """The smallest Synthea bundle."""
    path: Path = min(shared_data("ehr", "synthea-r4").iterdir(), key=lambda p: p.stat().st_size)
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_any_bytes_are_a_patient_or_an_error_of_ours(data: bytes) -> None:
    with contextlib.suppress(InputError):
        read_patient(data, knowledge=knowledge())


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(9)))
def test_order_of_entries_never_matters(order: list[int]) -> None:
    shuffled = {**MADE, "entry": [MADE["entry"][i] for i in order]}

    assert read_patient(as_bytes(shuffled), knowledge=knowledge()) == read_patient(
        as_bytes(MADE), knowledge=knowledge()
    )


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 8)))
def test_every_entry_is_a_fact_or_is_counted(kept: set[int]) -> None:
    document = {**MADE, "entry": [MADE["entry"][0], *(MADE["entry"][i] for i in sorted(kept))]}
    patient = read_patient(as_bytes(document), knowledge=knowledge())
    facts = {
        f.source.place
        for group in (
            patient.observations, patient.conditions, patient.medications, patient.allergies, patient.procedures,
            patient.family_history,
        )
        for f in group
    }  # fmt: skip

    assert len(facts) == len(kept)
