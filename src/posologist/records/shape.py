"""The JSON types that the members we read must have; a resource that breaks them is left out, never half read."""

from __future__ import annotations

from posologist.records.json_tools import Resource

_OBJECTS = (
    "subject", "patient", "code", "medicationCodeableConcept", "medicationReference",
    "valueQuantity", "valueCodeableConcept", "effectivePeriod", "abatementPeriod", "onsetPeriod", "performedPeriod",
    "relationship", "meta", "dataAbsentReason",
)  # fmt: skip
_LISTS = (
    "identifier", "name", "extension", "component", "dosageInstruction", "reaction", "contained", "condition", "entry",
)  # fmt: skip
_TEXTS = (
    "id", "status", "intent", "birthDate", "gender", "authoredOn", "effectiveDateTime", "effectiveInstant",
    "onsetDateTime", "abatementDateTime", "recordedDate", "performedDateTime", "deceasedDateTime", "issued",
    "valueString", "criticality",
)  # fmt: skip
_FLAGS = ("doNotPerform", "deceasedBoolean", "active", "notDone", "abatementBoolean")


def misshapen(resource: Resource) -> str:
    """Name of the first member that has the wrong JSON type, or ""."""
    for name, value in resource.items():
        if (
            (name in _OBJECTS and not isinstance(value, dict))
            or (name in _LISTS and not isinstance(value, list))
            or (name in _TEXTS and not isinstance(value, str))
            or (name in _FLAGS and not isinstance(value, bool))
        ):
            return name
    statuses = ("clinicalStatus", "verificationStatus")  # a bare code in STU3
    return next((name for name in statuses if not isinstance(resource.get(name, ""), dict | str)), "")
