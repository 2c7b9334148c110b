"""Real-shaped records and genomes, whole and broken: an answer, a named reason, or one clear line of error."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cases import knowledge, offered, started
from patients import as_bytes, bundle, fhir_condition, fhir_order, fhir_patient
from posologist.core.errors import InputError, PosologistError
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import Recommendation, cited_keys
from posologist.core.settings import Settings
from posologist.genome.document import call_genome
from posologist.recommend.opened import case_of
from posologist.recommend.order import screen_order
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient, read_patients
from shared import shared_data

INDICATIONS = tuple(sorted(knowledge().indications))
SAMPLES = ("HG00111", "HG00129", "HG00139")


def synthea() -> list[Path]:
    """The bundles of twelve simulated adults."""
    return sorted(shared_data("ehr", "synthea-r4").glob("*.json"))


@cache
def genome_of(sample: str) -> GeneticProfile:
    """A sample of the reference collection, absent positions taken as the reference."""
    path = shared_data("pgx", "getrm", "genotypes.vcf.gz")
    return call_genome(path, sample=sample, absent="reference")


@cache
def patient_of(path: Path) -> Patient:
    """The patient of one bundle."""
    return read_patient(path, knowledge=knowledge())


@cache
def answer(path: Path, indication: str, sample: str | None) -> Recommendation:
    """The recommendation on the day of the record's newest entry."""
    patient = patient_of(path)
    return recommend(
        patient, indication, genome=None if sample is None else genome_of(sample), knowledge=knowledge(),
        settings=Settings(as_of=patient.latest_entry, draws=200),
    )  # fmt: skip


def test_every_adult_gets_an_option_or_a_named_clinical_reason() -> None:
    told = {path.name: answer(path, "hypertension", None) for path in synthea()}

    served = {
        name for name, document in told.items()
        if document.options or any("arget" in f.title or "threshold" in f.title for f in document.findings)
    }  # fmt: skip
    assert len(told) == 12
    assert len(served) >= 10
    assert all(document.options or document.findings for document in told.values())


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_adult_with_every_genome_and_indication_is_answered(sample: str) -> None:
    for path in synthea():
        for indication in INDICATIONS if sample == SAMPLES[0] else INDICATIONS[:2]:
            document = answer(path, indication, sample)
            assert document.options or document.findings
            assert set(cited_keys(document)) <= set(document.evidence)


def test_another_mans_genome_is_said_not_to_be_this_patients() -> None:
    document = answer(synthea()[0], "hypertension", SAMPLES[0])

    assert any(SAMPLES[0] in f.title + f.detail for f in document.findings)


def test_a_genome_of_the_other_sex_is_a_finding() -> None:
    profile = genome_of(SAMPLES[0]).model_copy(update={"sex_from_genome": "male"})
    path = next(p for p in synthea() if patient_of(p).sex == "female")
    patient = patient_of(path)

    document = recommend(
        patient, "hypertension", genome=profile, knowledge=knowledge(), settings=Settings(as_of=patient.latest_entry)
    )

    assert any("sex" in (f.title + f.detail).lower() for f in document.findings)


def test_no_plan_of_any_adult_starts_what_its_facts_forbid() -> None:
    """Every contraindication and pair rule is asked anew on the final plan."""
    for path in synthea():
        for indication in INDICATIONS:
            for complaint in forbidden_starts(patient_of(path), answer(path, indication, SAMPLES[0])):
                raise AssertionError(f"{path.name} {indication}: {complaint}")


def forbidden_starts(patient: Patient, document: Recommendation) -> Iterator[str]:
    """Contraindications that hold for a started drug under the plan's own medicines."""
    case = case_of(
        patient, knowledge().indication(document.indication), genome=None, knowledge=knowledge(),
        settings=document.settings,
    )  # fmt: skip
    for option in document.options:
        medicines = (*option.plan.keep, *(s.drug for s in option.plan.start))
        for drug in (s.drug for s in option.plan.start):
            subject = case.subject(drug, medicines)
            for rule in knowledge().own_statements(drug):
                own = not rule.indication or rule.indication == document.indication
                if own and rule.action == "contraindicated" and subject.match(rule.when).truth is True:
                    yield f"{option.plan.text}: {drug}: {rule.text}"
            for other in medicines:
                if other != drug:
                    for rule, swapped in knowledge().interactions_between(drug, other):
                        about = case.subject(other if swapped else drug, medicines)
                        if rule.action == "contraindicated" and about.match(rule.when).truth is True:
                            yield f"{option.plan.text}: {drug} with {other}: {rule.text}"


def test_no_plan_stops_what_another_problem_needs() -> None:
    """Rate control in atrial fibrillation, a beta-blocker in heart failure, are not stopped for pressure."""
    for path in synthea():
        document = answer(path, "hypertension", None)
        problems = {c.text for c in document.patient.conditions}
        for option in document.options:
            stopped = {s.drug for s in option.plan.stop}
            if "atrial fibrillation" in problems:
                assert not stopped & {"verapamil", "diltiazem", "metoprolol", "digoxin"}, path.name
            if "heart failure" in problems:
                assert not stopped & {"metoprolol", "carvedilol", "bisoprolol", "furosemide"}, path.name


def test_orders_for_every_adult_are_screened() -> None:
    for path in synthea():
        patient = patient_of(path)
        for text in ("warfarin 5 mg po q24h", "ibuprofen 600 mg po tid", "simvastatin 80 mg po daily", "zzyzzin 1 mg"):
            document = screen_order(
                patient, [text], genome=genome_of(SAMPLES[0]), knowledge=knowledge(),
                settings=Settings(as_of=patient.latest_entry),
            )  # fmt: skip
            assert document.findings or document.not_checked, (path.name, text)
            assert set(cited_keys(document)) <= set(document.evidence)


def test_the_thirteen_patients_of_the_bulk_export_are_answered() -> None:
    files = sorted(shared_data("ehr", "bulk-ndjson").glob("*.ndjson"))

    people = list(read_patients(files, knowledge=knowledge()))

    assert len(people) == 13
    for patient in people:
        day = patient.latest_entry or date(2021, 1, 1)
        living = patient.model_copy(update={"deceased": False})
        for indication in ("hypertension", "dyslipidaemia"):
            document = recommend(living, indication, knowledge=knowledge(), settings=Settings(as_of=day))
            assert document.options or document.findings


def test_a_patient_who_has_died_is_not_advised_on() -> None:
    patient = patient_of(synthea()[0]).model_copy(update={"deceased": True})

    with pytest.raises(InputError, match="died"):
        recommend(patient, "hypertension", knowledge=knowledge(), settings=Settings(as_of=date(2021, 1, 1)))


def test_single_resources_of_us_core_are_answered_or_refused_in_one_line() -> None:
    answered = 0
    for path in sorted(shared_data("ehr", "us-core").glob("*.json")):
        try:
            patient = read_patient(path, knowledge=knowledge())
        except InputError as error:
            assert_clear(error)
            continue
        recommend(patient, "hypertension", knowledge=knowledge(), settings=Settings(as_of=date(2024, 1, 1)))
        answered += 1

    assert answered >= 1


def test_us_core_resources_of_one_patient_make_one_record() -> None:
    resources = [json.loads(p.read_text("utf-8")) for p in sorted(shared_data("ehr", "us-core").glob("*.json"))]
    wanted = [r for r in resources if r.get("resourceType") in ("Condition", "Observation", "MedicationRequest")]
    people = [r for r in resources if r.get("resourceType") == "Patient" and r.get("id") == "example"]

    patient = read_patient(as_bytes(bundle(*people, *wanted)), knowledge=knowledge(), document="us-core.json")

    document = recommend(patient, "hypertension", knowledge=knowledge(), settings=Settings(as_of=date(2024, 1, 1)))
    assert document.patient.id == "example"


def assert_clear(error: PosologistError) -> None:
    """One line that says what is wrong, where or what to do, without the insides of the program."""
    text = str(error)
    assert 10 < len(text) < 600
    assert "\n" not in text
    assert not any(word in text for word in ("Traceback", "KeyError", "TypeError", "NoneType", "pydantic"))


def broken() -> dict[str, bytes]:
    """Inputs that are no record."""
    whole = as_bytes(bundle(fhir_patient(), fhir_condition("38341003"), fhir_order("lisinopril 10 mg tablet")))
    deep = b'{"resourceType": "Bundle", "entry": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    return {
        "empty": b"", "blank": b"  \n ", "null": b"null", "number": b"42", "text": b'"Bundle"', "list": b"[]",
        "object": b"{}", "truncated": whole[: len(whole) // 2], "binary": bytes(range(256)) * 40, "deep": deep,
        "gzip": gzip.compress(whole), "utf16": whole.decode().encode("utf-16"), "html": b"<html>401</html>",
        "nan": b'{"resourceType": NaN}', "no type": b'{"entry": []}', "no patient": as_bytes(bundle()),
        "null bundle": b'{"resourceType": "Bundle", "entry": null}',
        "two": as_bytes(bundle(fhir_patient("a"), fhir_patient("b"))),
        "outcome": b'{"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}', "xml": b"<Bundle/>",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(broken()))
def test_what_is_no_record_is_refused_in_one_clear_line(name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_patient(broken()[name], knowledge=knowledge(), document="input.json")

    assert_clear(caught.value)


def test_a_file_that_is_not_there_is_refused_in_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(InputError) as caught:
            read_patient(path, knowledge=knowledge())
        assert_clear(caught.value)


def _mutated(value: Any, random: Random, share: float) -> Any:
    if random.random() < share:
        return random.choice([None, 42, -1e308, "", "x" * 50, [], {}, [None], {"value": []}, True, "2026-13-45"])
    if isinstance(value, dict):
        return {k: _mutated(v, random, share) for k, v in value.items()}
    if isinstance(value, list):
        return [_mutated(v, random, share) for v in value]
    return value


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_record_is_answered_or_refused_but_never_crashes(seed: int) -> None:
    from cases import an_order, record

    random = Random(seed)
    rows = record(
        problems=["I10", "N18.31", "E11.9"], uacr=90.0, orders=[an_order("metoprolol tartrate 50 mg tablet", 50, 2)]
    )
    damaged = [_mutated(row, random, 0.04) for row in rows]

    try:
        patient = read_patient(as_bytes(bundle(*[r for r in damaged if isinstance(r, dict)])), knowledge=knowledge())
        document = recommend(
            patient, "hypertension", knowledge=knowledge(), settings=Settings(as_of=date(2026, 11, 20))
        )
    except InputError as error:
        assert_clear(error)
        return

    assert document.options or document.findings
    assert all(complaint is None for complaint in forbidden_starts(patient, document))


def test_a_wrong_genome_file_is_refused_in_one_clear_line(tmp_path: Path) -> None:
    for name, content in broken().items():
        path = tmp_path / "genome.vcf"
        path.write_bytes(content)
        try:
            call_genome(path)
        except InputError as error:
            assert_clear(error)
        else:
            raise AssertionError(f"{name} was taken for a genome")


def test_a_genome_of_many_samples_needs_a_name() -> None:
    with pytest.raises(InputError, match="sample"):
        call_genome(shared_data("pgx", "getrm", "genotypes.vcf.gz"))


def test_the_same_drug_under_another_name_is_the_same_advice() -> None:
    """Simvistatin stands in real data; "Lasix" is a brand."""
    texts = ("Simvistatin 10 MG Oral Tablet", "simvastatin 10 mg oral tablet")
    found = []
    for text in texts:
        row = fhir_order(text)
        row["id"] = "m1"
        patient = read_patient(
            as_bytes(bundle(fhir_patient(), fhir_condition("59621000"), row)), knowledge=knowledge(), document="a.json"
        )
        document = recommend(
            patient, "dyslipidaemia", knowledge=knowledge(), settings=Settings(as_of=date(2026, 11, 20))
        )
        found.append(
            ([c.drug for c in document.current], sorted(offered(document)), [started(o) for o in document.options])
        )

    assert found[0] == found[1]
