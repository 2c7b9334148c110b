"""How fast it is: one table, the median of repeated runs.

    python benchmarks/run.py            # the table
    python benchmarks/run.py --json     # the same as JSON

Inputs are made here, so that the numbers can be had anywhere: the founding case as a bundle, the same bundle filled up
to 1 MB with readings, and a VCF with every position that the package reads. Nothing is compared with a limit here;
limits are in the column beside, for the reader.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from posologist.core.settings import Settings
from posologist.genome.document import call_genome
from posologist.knowledge.genes import callable_genes, load_gene
from posologist.knowledge.load import load_knowledge
from posologist.recommend.order import screen_order
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient

AS_OF = date(2026, 11, 20)
LOINC, ICD10, UCUM = "http://loinc.org", "http://hl7.org/fhir/sid/icd-10-cm", "http://unitsofmeasure.org"
READINGS = {
    "8480-6": (155, "mm[Hg]"), "8462-4": (98, "mm[Hg]"), "8867-4": (48, "/min"), "29463-7": (82, "kg"),
    "8302-2": (175, "cm"), "2160-0": (1.0, "mg/dL"), "2823-3": (4.3, "mmol/L"), "2951-2": (140, "mmol/L"),
    "2093-3": (205, "mg/dL"), "2085-9": (45, "mg/dL"),
}  # fmt: skip
ONE_MB = 1_000_000


class Row(NamedTuple):
    """One measurement: what, its limit in milliseconds where one is set, and every run in milliseconds."""

    what: str
    limit_ms: float | None
    runs_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """The middle run."""
        return statistics.median(self.runs_ms)


def observation(code: str, value: float, unit: str, day: date) -> dict[str, Any]:
    """A reading."""
    return {
        "resourceType": "Observation",
        "id": f"o{code}{day}",
        "status": "final",
        "effectiveDateTime": f"{day}T09:00:00Z",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": "Patient/p1"},
        "valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit},
    }


def bundle(days: int) -> bytes:
    """The founding case, with its readings on so many days."""
    subject = {"reference": "Patient/p1"}
    dosage = {
        "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
        "doseAndRate": [{"doseQuantity": {"value": 50, "unit": "mg"}}],
    }
    resources: list[dict[str, Any]] = [
        {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1964-03-02"},
        {
            "resourceType": "Condition", "id": "c1", "subject": subject, "onsetDateTime": "2026-01-01",
            "clinicalStatus": {"coding": [{"code": "active"}]}, "code": {"coding": [{"system": ICD10, "code": "I10"}]},
        },
        {
            "resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order", "subject": subject,
            "authoredOn": "2026-08-18", "medicationCodeableConcept": {"text": "metoprolol tartrate 50 mg oral tablet"},
            "dosageInstruction": [dosage],
        },
    ]  # fmt: skip
    resources += [
        observation(code, value, unit, AS_OF - timedelta(days=1 + day))
        for day in range(days)
        for code, (value, unit) in READINGS.items()
    ]
    entries = [{"fullUrl": f"urn:{r['resourceType']}:{r['id']}", "resource": r} for r in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


def large_bundle() -> bytes:
    """A bundle of 1 MB."""
    per_day = len(bundle(2)) - len(bundle(1))
    return bundle(ONE_MB // per_day)


def write_vcf(path: Path) -> Path:
    """A VCF of one sample with every position that is read, all reference."""
    genes = [load_gene(symbol) for symbol in callable_genes()]
    places = {(gene.chromosome, place.grch38, place.ref) for gene in genes for place in gene.positions}
    lines = ["##fileformat=VCFv4.2", "##contig=<ID=chr10,length=133797422>"]
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", "S1"]))
    lines += ["\t".join([c, str(p), ".", ref, ".", ".", "PASS", ".", "GT", "0/0"]) for c, p, ref in sorted(places)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def timed(what: str, limit_ms: float | None, run: Callable[[], object], *, times: int, warm_up: int = 1) -> Row:
    """`times` runs after `warm_up` that do not count."""
    for _ in range(warm_up):
        run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(1000 * (time.perf_counter() - start))
    return Row(what, limit_ms, tuple(found))


def command(*arguments: str) -> Callable[[], object]:
    """A run of the program in a process of its own."""

    def run() -> object:
        line = [sys.executable, "-c", "from posologist.serve.cli import main; main()", *arguments]
        done = subprocess.run(line, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace")[-500:] or f"exit code {done.returncode}")
        return done

    return run


def rows(folder: Path) -> Iterator[Row]:
    """Every measurement."""
    record, large = folder / "patient.json", folder / "large.json"
    record.write_bytes(bundle(3))
    large.write_bytes(large_bundle())
    calls = folder / "calls.tsv"
    calls.write_text("CYP2D6\t*4/*4\n", encoding="utf-8")
    vcf = write_vcf(folder / "genome.vcf")
    yield timed("posologist --help", 600, command("--help"), times=7)
    first = ("recommend", "--patient", str(record), "--for", "hypertension", "--outside-calls", str(calls), "--json")
    yield timed(
        "first recommendation, cold start, with a genome", 1500, command(*first, "--as-of", str(AS_OF)), times=7
    )
    yield timed("importing the package", None, _import, times=7)
    yield timed("reading the facts", None, load_knowledge, times=7)
    knowledge, chosen = load_knowledge(), Settings(as_of=AS_OF)
    genome = call_genome(None, outside_calls=calls)
    patient = read_patient(record, knowledge=knowledge, as_of=AS_OF)

    def advise() -> object:
        return recommend(patient, "hypertension", genome=genome, knowledge=knowledge, settings=chosen)

    def screen() -> object:
        return screen_order(patient, ["warfarin 5 mg po q24h"], genome=genome, knowledge=knowledge, settings=chosen)

    yield timed("one recommendation in process", 50, advise, times=40, warm_up=3)
    yield timed("screening one order in process", None, screen, times=40, warm_up=3)
    yield timed("the recommendation as JSON", None, lambda: advise().model_dump_json(), times=20)  # type: ignore[attr-defined]
    small = record.read_bytes()
    yield timed("reading the record", None, lambda: read_patient(small, knowledge=knowledge, as_of=AS_OF), times=20)
    yield timed(
        "reading a record of 1 MB", None, lambda: read_patient(large, knowledge=knowledge, as_of=AS_OF), times=7
    )
    yield timed("calling one genome", None, lambda: call_genome(vcf), times=10)


def _import() -> object:
    return subprocess.run([sys.executable, "-c", "import posologist"], check=True, capture_output=True)


def load_average() -> float | None:
    """Processes at work on this machine in the last minute, where the system tells."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def main() -> None:
    """Print the table, or JSON."""
    with tempfile.TemporaryDirectory() as name:
        found = list(rows(Path(name)))
    load = load_average()
    if "--json" in sys.argv[1:]:
        print(json.dumps({"load": load, "at": datetime.now().isoformat(), "rows": [r._asdict() for r in found]}))
        return
    print(f"{'':50} {'p50 ms':>9} {'fastest':>9} {'slowest':>9} {'limit':>7} {'runs':>5}")
    for row in found:
        limit = "" if row.limit_ms is None else f"{row.limit_ms:.0f}"
        print(
            f"{row.what:50} {row.median_ms:9.1f} {min(row.runs_ms):9.1f} {max(row.runs_ms):9.1f} {limit:>7}"
            f" {len(row.runs_ms):5}"
        )
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {load if load is None else round(load, 2)}")


if __name__ == "__main__":
    main()
