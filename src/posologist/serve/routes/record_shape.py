"""The shape of a FHIR bundle that is taken in: what the OpenAPI document states and what is checked are the same."""

from __future__ import annotations

import json
import re
from typing import Any

from posologist.core.errors import InputError
from posologist.serve.refusals import NotFoundError

TYPES = (
    "document", "message", "transaction", "transaction-response", "batch", "batch-response", "history", "searchset",
    "collection",
)  # fmt: skip
_NAME, _ID = "^[A-Z][A-Za-z]{2,40}$", "^[A-Za-z0-9.-]{1,64}$"
_RESOURCE = {
    "type": "object", "required": ["resourceType"],
    "properties": {"resourceType": {"type": "string", "pattern": _NAME}},
}  # fmt: skip
_PATIENT = {
    "type": "object", "required": ["resourceType", "id"],
    "properties": {"resourceType": {"const": "Patient"}, "id": {"type": "string", "pattern": _ID}},
}  # fmt: skip
_EXAMPLE = {
    "resourceType": "Bundle", "type": "collection",
    "entry": [{"resource": {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1958-04-01"}}],
}  # fmt: skip
_SCHEMA = {
    "type": "object", "required": ["resourceType", "type", "entry"], "description": "FHIR R4 Bundle of one patient",
    "properties": {
        "resourceType": {"const": "Bundle"}, "type": {"enum": list(TYPES)},
        "entry": {
            "type": "array", "minItems": 1,
            "items": {"type": "object", "required": ["resource"], "properties": {"resource": _RESOURCE}},
            "contains": {"type": "object", "required": ["resource"], "properties": {"resource": _PATIENT}},
        },
    },
}  # fmt: skip
BUNDLE = {
    "requestBody": {
        "required": True, "description": "A FHIR R4 Bundle, or resources as NDJSON, of one patient, in any order.",
        "content": {"application/fhir+json": {"schema": _SCHEMA, "example": _EXAMPLE}},
    }
}  # fmt: skip


def check_bundle(raw: bytes, *, patient_id: str | None, document: str) -> None:
    """Refuse a body that is not a bundle of resources with a patient, or that does not name the patient asked for.

    Raises
    ------
    InputError
        With the FHIR path.
    NotFoundError
        If `patient_id` is nowhere in it.
    """
    try:
        bundle = json.loads(raw)
    except (ValueError, RecursionError):
        raise InputError("not JSON", where=document, hint="give a FHIR R4 Bundle") from None
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise InputError("not a FHIR Bundle", where=document, hint="give a FHIR R4 Bundle")
    if bundle.get("type") not in TYPES:
        raise InputError("not a type of bundle", where=f"{document}: Bundle.type", hint="write e.g. collection")
    entries = bundle.get("entry")
    if not isinstance(entries, list) or not entries:
        raise InputError("no entry", where=f"{document}: Bundle.entry", hint="give the patient and the record")
    patients = [_patient(entry, f"{document}: Bundle.entry[{number}]") for number, entry in enumerate(entries)]
    named = {name for name in patients if name is not None}
    if not named:
        raise InputError("no patient", where=f"{document}: Bundle.entry", hint="give a Patient with an id")
    if patient_id is not None and patient_id not in named:
        raise NotFoundError("the record holds no such patient", where="patient_id", hint="give the id of its Patient")


def _patient(entry: Any, where: str) -> str | None:
    """The id of a patient's entry; None for another resource."""
    resource = entry.get("resource") if isinstance(entry, dict) else None
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(resource, dict) or not isinstance(kind, str) or not re.fullmatch(_NAME[1:-1], kind):
        raise InputError("no resource", where=f"{where}.resource", hint="give a resource with its resourceType")
    if kind != "Patient":
        return None
    name = resource.get("id")
    if not isinstance(name, str) or not re.fullmatch(_ID[1:-1], name):
        raise InputError("not a FHIR id", where=f"{where}.resource.id", hint="letters, digits, '-' and '.', up to 64")
    return name
