"""Reading made-up FHIR resources in tests: the patient, its quality findings, one value."""

from datetime import date
from functools import cache

from patients import as_bytes, bundle, fhir_patient
from posologist.core.patient import Patient
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.records.fhir_in import read_patient

AS_OF = date(2026, 11, 20)


@cache
def knowledge() -> Knowledge:
    """The knowledge base that ships."""
    return load_knowledge()


def read(*resources: dict, as_of: date | None = AS_OF) -> Patient:
    """A patient from a bundle of these resources and a Patient."""
    return read_patient(as_bytes(bundle(fhir_patient(), *resources)), knowledge=knowledge(), as_of=as_of)


def kinds(patient: Patient) -> set[str]:
    """Kinds of the patient's quality findings."""
    return {finding.kind for finding in patient.quality}


def value(patient: Patient, key: str) -> float | None:
    """The value of the one observation with this key."""
    (found,) = [o for o in patient.observations if o.key == key]
    return found.value
