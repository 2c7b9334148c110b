"""What the discovery endpoint says: our three services with their prefetch templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posologist.serve.hooks.requests import HOOKS, HookName

_P = "{{context.patientId}}"
PREFETCH: Mapping[str, str] = {
    "patient": f"Patient/{_P}",
    "conditions": f"Condition?patient={_P}&_count=200",
    "medications": f"MedicationRequest?patient={_P}&_count=200",
    "statements": f"MedicationStatement?patient={_P}&_count=200",
    "dispenses": f"MedicationDispense?patient={_P}&_count=200",
    "administrations": f"MedicationAdministration?patient={_P}&_count=200",
    "allergies": f"AllergyIntolerance?patient={_P}&_count=200",
    "observations": f"Observation?patient={_P}&category=laboratory,vital-signs&_sort=-date&_count=200",
}
"""The same for all hooks, so that a client may fetch once."""
_WORDS: Mapping[HookName, tuple[str, str]] = {
    "patient-view": ("Medicines of this patient", "What is dangerous now, and the leading plan for each indication."),
    "order-select": ("Check of the selected order", "Interactions, contraindications, dose, genes, duplicates."),
    "order-sign": ("Check of the order to sign", "Interactions, contraindications, dose, genes, duplicates."),
}


def service_id(hook: HookName) -> str:
    """Id of the service of a hook."""
    return f"posologist-{hook}"


def discovery() -> dict[str, Any]:
    """The document of `GET /cds-services`."""
    return {
        "services": [
            {
                "hook": hook,
                "id": service_id(hook),
                "title": _WORDS[hook][0],
                "description": _WORDS[hook][1],
                "prefetch": dict(PREFETCH),
                "usageRequirements": "What is neither prefetched nor readable from an agreed FHIR server is not "
                "checked, and a card says so.",
            }
            for hook in HOOKS
        ]
    }
