"""The founding case as data: a record, a genome and a laboratory's call, read through the front door.

What the published case states, and what was chosen for this example, is said in `examples/founding-case.md`.
"""

from __future__ import annotations

from datetime import date
from importlib.resources import as_file, files

from posologist.core.recommendation import Recommendation
from posologist.core.settings import Settings
from posologist.genome.document import call_genome
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient

AS_OF = date(2026, 11, 20)  # the day of the question in the example
INDICATION = "hypertension"


def founding_recommendation(*, knowledge: Knowledge | None = None) -> Recommendation:
    """Recommendation for the founding case, by the same functions as for any other patient."""
    facts = knowledge or load_knowledge()
    settings = Settings(as_of=AS_OF)
    with as_file(files(__name__)) as folder:
        patient = read_patient(folder / "patient.json", knowledge=facts, as_of=AS_OF)
        genome = call_genome(
            folder / "genome.vcf",
            identifiers=(patient.id, *patient.identifiers),
            outside_calls=folder / "outside-calls.tsv",
            settings=settings,
        )
    return recommend(patient, INDICATION, genome=genome, knowledge=facts, settings=settings)
