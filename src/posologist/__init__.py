"""posologist: the right drug, at the right dose, for this patient, with the reasons.

The public names are loaded on first use; importing the package does nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "recommend_one": "posologist.recommend.pipeline",
    "recommend_many": "posologist.recommend.pipeline",
    "screen_order": "posologist.recommend.order",
    "dose": "posologist.recommend.dosing",
    "dose_for": "posologist.recommend.dose",
    "Twin": "posologist.twin.twin",
    "replayed": "posologist.twin.twin",
    "load_models": "posologist.knowledge.models",
    "simulate_for": "posologist.recommend.dose",
    "load_knowledge": "posologist.knowledge.load",
    "read_patient": "posologist.records.fhir_in",
    "read_patients": "posologist.records.fhir_in",
    "to_fhir": "posologist.records.fhir_out",
    "call_genome": "posologist.genome.document",
    "guidance_document": "posologist.genome.guidance",
    "render_html": "posologist.serve.report",
    "check_knowledge": "posologist.knowledge.check",
    "Knowledge": "posologist.knowledge.load",
    "Settings": "posologist.core.settings",
    "Patient": "posologist.core.patient",
    "GeneticProfile": "posologist.core.genotype",
    "Recommendation": "posologist.core.recommendation",
    "Screening": "posologist.core.recommendation",
    "PosologistError": "posologist.core.errors",
    "LocalEngine": "posologist.core.engine",
}

_INSIDE = {"recommend_one": "recommend"}  # `posologist.recommend` is the folder of the pipeline

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"posologist has no '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), _INSIDE.get(name, name))


def __dir__() -> list[str]:
    return list(__all__)
