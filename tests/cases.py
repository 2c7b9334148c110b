"""Clinical cases as FHIR bundles, and what to ask of the answers.

`record(...)` writes a bundle of codes, values, orders and allergies, which is read as any record is; `genome(...)`
writes an outside-call table. `advice(...)` and `order(...)` ask the two questions.
Nothing here describes a real person.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from patients import as_bytes, bundle, fhir_allergy, fhir_condition, fhir_observation, fhir_order, fhir_patient
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import Option, Recommendation, Screening
from posologist.core.settings import Settings
from posologist.genome.document import call_genome
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.recommend.order import screen_order
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient

AS_OF = date(2026, 11, 20)
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
NO_KNOWN_ALLERGY = "716186003"
LOINC = {
    "sbp": ("8480-6", "mm[Hg]"), "dbp": ("8462-4", "mm[Hg]"), "heart_rate": ("8867-4", "/min"),
    "weight": ("29463-7", "kg"), "height": ("8302-2", "cm"), "creatinine": ("2160-0", "mg/dL"),
    "potassium": ("2823-3", "mmol/L"), "sodium": ("2951-2", "mmol/L"), "uacr": ("14959-1", "mg/g"),
    "total_cholesterol": ("2093-3", "mg/dL"), "hdl": ("2085-9", "mg/dL"), "ldl": ("13457-7", "mg/dL"),
    "triglycerides": ("2571-8", "mg/dL"), "hba1c": ("4548-4", "%"), "lvef": ("10230-1", "%"),
    "uric_acid": ("3084-1", "mg/dL"), "egfr": ("33914-3", "mL/min/{1.73_m2}"), "qtc": ("8636-3", "ms"),
    "inr": ("6301-6", "{INR}"), "platelets": ("777-3", "10*3/uL"), "haemoglobin": ("718-7", "g/dL"),
    "alt": ("1742-6", "U/L"), "magnesium": ("19123-9", "mg/dL"),
}  # fmt: skip
HEALTHY = {
    "sbp": 156.0, "dbp": 96.0, "heart_rate": 74.0, "weight": 80.0, "height": 174.0, "creatinine": 0.95,
    "potassium": 4.2, "sodium": 140.0, "total_cholesterol": 205.0, "hdl": 48.0,
}  # fmt: skip
"""Values of an adult with raised pressure and otherwise ordinary laboratory results."""

Readings = Iterable[tuple[float, str]]


@cache
def knowledge() -> Knowledge:
    """The facts of the package, read once."""
    return load_knowledge()


def record(
    *,
    age: int = 58,
    sex: str = "male",
    problems: Iterable[str] = ("I10",),
    orders: Iterable[Mapping[str, Any]] = (),
    allergies: Iterable[Mapping[str, Any]] = (),
    lists_given: bool = True,
    more: Iterable[Mapping[str, Any]] = (),
    leave_out: Iterable[str] = (),
    **values: float,
) -> list[dict[str, Any]]:
    """Resources of one patient: ICD-10-CM problems, orders, allergies and `HEALTHY` values changed by `values`.

    With `lists_given` an empty allergy or medicine list is stated to be empty, as a good record does.
    """
    measured = {k: v for k, v in {**HEALTHY, **values}.items() if k not in set(leave_out)}
    taken, allergic = [dict(o) for o in orders], [dict(a) for a in allergies]
    lists: list[dict[str, Any]] = []
    if lists_given and not taken:
        lists.append(_empty_list("10160-0"))
    if lists_given and not allergic:
        lists.append(fhir_allergy("No known allergy", code=NO_KNOWN_ALLERGY))
    return [
        fhir_patient(gender=sex, born=f"{AS_OF.year - age}-01-02"),
        *(fhir_observation(*loinc_row(key, value)) for key, value in sorted(measured.items())),
        *(fhir_condition(code, system=ICD10) for code in problems),
        *taken,
        *allergic,
        *lists,
        *(dict(m) for m in more),
    ]


def loinc_row(key: str, value: float) -> tuple[str, float, str]:
    """LOINC code, value and UCUM unit of a measured value."""
    code, unit = LOINC[key]
    return code, value, unit


def _empty_list(loinc: str) -> dict[str, Any]:
    return {
        "resourceType": "List", "id": f"l-{loinc}", "status": "current", "mode": "snapshot",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "emptyReason": {"coding": [{"code": "nilknown"}]}, "subject": {"reference": "Patient/p1"},
    }  # fmt: skip


def an_order(text: str, dose: float, per_day: int, unit: str = "mg", *, since: str = "2026-08-18") -> dict[str, Any]:
    """An active order with its dose and how often a day."""
    return fhir_order(
        text,
        ordered=since,
        dosageInstruction=[
            {
                "timing": {"repeat": {"frequency": per_day, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": dose, "unit": unit}}],
                "route": {"text": "oral"},
            }
        ],
    )


def read(resources: Iterable[Mapping[str, Any]]) -> Patient:
    """The patient of these resources, read as any bundle is."""
    return read_patient(as_bytes(bundle(*resources)), knowledge=knowledge(), as_of=AS_OF, document="case.json")


def genome(**calls: str) -> GeneticProfile:
    """Outside calls, as `genome(CYP2D6="*4/*4")`."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "calls.tsv"
        table.write_text("".join(f"{gene}\t{call}\n" for gene, call in sorted(calls.items())), encoding="utf-8")
        return call_genome(None, outside_calls=table)


def settings(**chosen: Any) -> Settings:
    """Settings on the day of the cases."""
    return Settings(as_of=AS_OF, **chosen)


def advice(
    resources: Iterable[Mapping[str, Any]], indication: str = "hypertension", *, genes: GeneticProfile | None = None,
    **chosen: Any,
) -> Recommendation:  # fmt: skip
    """The recommendation for a record."""
    return recommend(read(resources), indication, genome=genes, knowledge=knowledge(), settings=settings(**chosen))


def order(
    resources: Iterable[Mapping[str, Any]], *orders: str, genes: GeneticProfile | None = None, **chosen: Any
) -> Screening:
    """Screening of orders for a record."""
    return screen_order(read(resources), orders, genome=genes, knowledge=knowledge(), settings=settings(**chosen))


def started(option: Option) -> tuple[str, ...]:
    """The drugs that a plan starts."""
    return tuple(start.drug for start in option.plan.start)


def offered(document: Recommendation) -> set[str]:
    """Every drug that some option starts (equivalents are not counted)."""
    return {drug for option in document.options for drug in started(option)}


def alone(document: Recommendation) -> set[str]:
    """Drugs that some option starts as the only one."""
    return {started(option)[0] for option in document.options if len(started(option)) == 1}


def members(*groups: str) -> set[str]:
    """Drugs of these groups; an unknown group is an error, so that no claim is empty."""
    return {str(drug) for group in groups for drug in knowledge().members[group]}


def best_rank(document: Recommendation, drugs: Iterable[str]) -> float:
    """Best rank at which one of these drugs is started; infinite if none is."""
    wanted = set(drugs)
    return min((o.rank for o in document.options if wanted & set(started(o))), default=float("inf"))


def daily_mg(option: Option, drug: str) -> float:
    """Amount per day of a started drug."""
    regimen = next(s.regimen for s in option.plan.start if s.drug == drug)
    return regimen.dose.value * 24.0 / regimen.interval.value


def severities(document: Recommendation | Screening, *drugs: str) -> set[str]:
    """Severities of the findings that name all of these drugs."""
    return {f.severity for f in document.findings if set(drugs) <= set(f.drugs)}


def told(document: Recommendation | Screening) -> str:
    """All that findings, rulings and open points say, in small letters."""
    lines = [f"{f.title} {f.detail}" for f in document.findings]
    lines += [f"{n.what} {n.why} {n.would_need}" for n in document.not_checked]
    if isinstance(document, Recommendation):
        lines += [f"{r.drug} {r.rule} {r.reason}" for r in document.ruled_out]
        lines += [c.text for o in document.options for c in (*o.cautions, *o.reasons)]
    return "\n".join(lines).lower()
