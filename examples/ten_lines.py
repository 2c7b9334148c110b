"""Ten lines of Python: a record and a genome in, ranked plans out."""

from datetime import date
from pathlib import Path

from posologist import Settings, call_genome, load_knowledge, read_patient
from posologist.recommend.pipeline import recommend

folder = Path(__file__).parent.parent / "src" / "posologist" / "serve" / "demo"
knowledge, settings = load_knowledge(), Settings(as_of=date(2026, 11, 20))
patient = read_patient(folder / "patient.json", knowledge=knowledge, as_of=settings.as_of)
genome = call_genome(folder / "genome.vcf", outside_calls=folder / "outside-calls.tsv")

document = recommend(patient, "hypertension", genome=genome, knowledge=knowledge, settings=settings)
for option in document.options:
    print(option.rank, option.plan.text, option.utility.value, option.ties_with)
