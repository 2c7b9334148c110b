"""Small synthetic patients and FHIR documents, built by functions.

`a_patient(...)` gives a `Patient` value; the `fhir_*` functions give FHIR R4 resources as dictionaries, `bundle` joins
them, `as_bytes` writes them. Nothing here describes a real person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from posologist.core.patient import (
    Allergy,
    Condition,
    Medication,
    Observation,
    Patient,
    Sex,
    Source,
)

AS_OF = date(2026, 11, 20)
SOURCE = Source(document="made.json", place="Patient/p1")
SNOMED, ICD10 = "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10-cm"
LOINC, RXNORM, UCUM = "http://loinc.org", "http://www.nlm.nih.gov/research/umls/rxnorm", "http://unitsofmeasure.org"
UNITS = {
    "sbp": "mm[Hg]", "dbp": "mm[Hg]", "heart_rate": "/min", "weight": "kg", "height": "cm", "creatinine": "mg/dL",
    "potassium": "mmol/L", "sodium": "mmol/L", "egfr": "mL/min/{1.73_m2}", "uacr": "mg/g", "total_cholesterol": "mg/dL",
    "hdl": "mg/dL", "ldl": "mg/dL", "glucose": "mg/dL", "hba1c": "%", "inr": "{INR}", "qtc": "ms", "lvef": "%",
    "alt": "U/L", "uric_acid": "mg/dL", "triglycerides": "mg/dL", "platelets": "10*3/uL", "haemoglobin": "g/dL",
}  # fmt: skip


def a_patient(
    *,
    age: int = 62,
    sex: Sex | None = "male",
    as_of: date = AS_OF,
    conditions: Iterable[str] = ("hypertension",),
    medicines: Iterable[Medication] = (),
    allergies: Iterable[Allergy] = (),
    problem_list_given: bool = True,
    medication_list_given: bool = True,
    allergy_list_given: bool = True,
    **measured: float,
) -> Patient:
    """A patient with our own condition codes and these values, as in `a_patient(sbp=155, dbp=97, creatinine=1.0)`.

    Values are in the canonical units of `UNITS`, measured a week before `as_of`.
    """
    at = datetime(as_of.year, as_of.month, as_of.day, 9, tzinfo=UTC) - timedelta(days=7)
    return Patient(
        id="p1",
        name="Made Patient",
        sex=sex,
        gender=sex or "unknown",
        birth_date=date(as_of.year - age, 1, 2),
        observations=tuple(
            Observation(key=key, value=float(value), unit=UNITS[key], at=at, source=_source("Observation", key))
            for key, value in sorted(measured.items())
        ),
        conditions=tuple(
            Condition(codes=(code,), onset=as_of - timedelta(days=400), source=_source("Condition", code))
            for code in conditions
        ),
        medications=tuple(medicines),
        allergies=tuple(allergies),
        problem_list_given=problem_list_given,
        medication_list_given=medication_list_given,
        allergy_list_given=allergy_list_given,
        latest_entry=as_of - timedelta(days=7),
        source=SOURCE,
    )


def a_medicine(
    drug: str, dose: float | None = None, unit: str = "mg", per_day: float = 1.0, *, start: date | None = None
) -> Medication:
    """An active order of one drug."""
    amount = f" {dose:g} {unit}" if dose is not None else ""
    return Medication(
        drugs=(drug,),
        text=f"{drug}{amount}",
        how_resolved="by made code",
        start=start or AS_OF - timedelta(days=90),
        dose=dose,
        dose_unit=unit if dose is not None else "",
        per_day=per_day,
        route="oral",
        source=_source("MedicationRequest", drug),
    )


def an_allergy(group: str, *reactions: str, tolerated: bool = False) -> Allergy:
    """An allergy to a drug id or an allergy group."""
    return Allergy(
        groups=(group,), reactions=reactions, kind="allergy", category="medication", tolerated=tolerated,
        source=_source("AllergyIntolerance", group),
    )  # fmt: skip


def _source(kind: str, name: str) -> Source:
    return Source(document="made.json", place=f"{kind}/{name}")


def fhir_patient(
    patient_id: str = "p1", *, gender: str = "male", born: str = "1964-01-02", **more: Any
) -> dict[str, Any]:
    """A Patient resource."""
    name = [{"use": "official", "given": ["Made"], "family": "Patient"}]
    return {"resourceType": "Patient", "id": patient_id, "gender": gender, "birthDate": born, "name": name, **more}


def fhir_observation(
    loinc: str,
    value: float | None,
    unit: str,
    at: str = "2026-11-01T08:00:00Z",
    *,
    patient_id: str = "p1",
    **more: Any,
) -> dict[str, Any]:
    """A numeric Observation; `unit` is written as UCUM code and text."""
    quantity = (
        {"valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit}} if value is not None else {}
    )
    return {
        "resourceType": "Observation", "id": f"o-{loinc}-{at[:10]}-{value}", "status": "final",
        "code": {"coding": [{"system": LOINC, "code": loinc}]}, "subject": {"reference": f"Patient/{patient_id}"},
        "effectiveDateTime": at, **quantity, **more,
    }  # fmt: skip


def fhir_pressure(
    sbp: float, dbp: float, at: str = "2026-11-01T08:00:00Z", *, panel: str = "85354-9"
) -> dict[str, Any]:
    """A blood pressure panel with its two components."""
    parts = [
        {
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "valueQuantity": {"value": value, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"},
        }
        for code, value in (("8480-6", sbp), ("8462-4", dbp))
    ]
    return {
        "resourceType": "Observation", "id": f"bp-{at}", "status": "final", "component": parts,
        "code": {"coding": [{"system": LOINC, "code": panel}]}, "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": at,
    }  # fmt: skip


def fhir_condition(
    code: str, *, system: str = SNOMED, display: str = "", clinical: str = "active", **more: Any
) -> dict[str, Any]:
    """A Condition with a clinical status."""
    return {
        "resourceType": "Condition", "id": f"c-{code}",
        "clinicalStatus": {"coding": [{"code": clinical}]}, "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "code": {"coding": [{"system": system, "code": code, "display": display}]},
        "subject": {"reference": "Patient/p1"}, "onsetDateTime": "2020-03-01", **more,
    }  # fmt: skip


def fhir_order(
    display: str, *, rxcui: str = "", status: str = "active", ordered: str = "2026-09-01", **more: Any
) -> dict[str, Any]:
    """A MedicationRequest by display and, if given, RxNorm code."""
    coding = [{"system": RXNORM, "code": rxcui, "display": display}] if rxcui else []
    return {
        "resourceType": "MedicationRequest", "id": f"m-{display[:20].replace(' ', '-')}", "status": status,
        "intent": "order", "medicationCodeableConcept": {"coding": coding, "text": display},
        "subject": {"reference": "Patient/p1"}, "authoredOn": ordered, **more,
    }  # fmt: skip


def fhir_allergy(
    text: str, *, code: str = "", category: str = "medication", reaction: str = "", **more: Any
) -> dict[str, Any]:
    """An AllergyIntolerance by text and, if given, SNOMED CT code."""
    coding = [{"system": SNOMED, "code": code, "display": text}] if code else []
    manifested = [{"manifestation": [{"text": reaction}]}] if reaction else []
    return {
        "resourceType": "AllergyIntolerance", "id": f"a-{text[:20].replace(' ', '-')}", "category": [category],
        "clinicalStatus": {"coding": [{"code": "active"}]}, "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "code": {"coding": coding, "text": text}, "patient": {"reference": "Patient/p1"},
        "recordedDate": "2021-05-05", "reaction": manifested, **more,
    }  # fmt: skip


def bundle(*resources: Mapping[str, Any]) -> dict[str, Any]:
    """A collection bundle."""
    entries = [
        {"fullUrl": f"http://example.org/fhir/{r.get('resourceType')}/{r.get('id')}", "resource": r} for r in resources
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def as_bytes(document: Any) -> bytes:
    """A document as JSON bytes."""
    return json.dumps(document).encode()


def as_ndjson(*resources: Mapping[str, Any]) -> bytes:
    """Resources as NDJSON bytes."""
    return b"\n".join(as_bytes(resource) for resource in resources) + b"\n"
