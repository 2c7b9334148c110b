"""FHIR that leaves the house is valid R4, is a proposal, and loses no warning."""

import json
from datetime import date

import pytest
from fhir.resources.R4B.bundle import Bundle

from posologist.core.evidence import Ledger
from posologist.core.genotype import Versions
from posologist.core.recommendation import (
    Finding,
    NotChecked,
    Option,
    PatientSummary,
    PlanDocument,
    Reason,
    Recommendation,
    RuledOut,
    Start,
    StartRegimen,
    Stop,
)
from posologist.core.regimen import ProductCount
from posologist.core.settings import Settings
from posologist.core.values import DrugId, Estimate, Quantity
from posologist.knowledge.load import load_knowledge
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient
from posologist.records.fhir_out import to_fhir
from shared import shared_data


def _recommendation(options: int = 1) -> Recommendation:
    ledger = Ledger()
    leaf = ledger.add("knowledge", "a fact of a label", source="label-2020", status="verified")
    why = (leaf,)
    amount = Estimate(value=1.0, unit="per 1,000", low=0.5, high=1.5, level=0.8, because=why)
    regimen = StartRegimen(
        text="5 mg orally once daily",
        dose=Quantity(value=5.0, unit="mg", because=why),
        interval=Quantity(value=24.0, unit="h", because=why),
        maximum=Quantity(value=40.0, unit="mg/day", because=why),
        route="oral",
        form="tablet",
        products=(ProductCount(form="tablet", strength=5.0, unit="mg", count=1.0),),
    )
    plan = PlanDocument(
        text="Taper metoprolol, start enalapril",
        stop=(Stop(drug=DrugId("metoprolol"), how="taper", text="halve weekly", because=why),),
        start=(Start(drug=DrugId("enalapril"), regimen=regimen, because=why),),
    )
    option = Option(
        rank=1, plan=plan, benefit=amount, risk=amount, therapeutic_index=None, toxic_probability=None,
        utility=amount, reasons=(Reason(text="lowers pressure", because=why),), contributions=None,
        cautions=(Reason(text="check potassium", because=why),),
    )  # fmt: skip
    return Recommendation(
        as_of=date(2026, 11, 20), indication="hypertension",
        patient=PatientSummary(id="p1", name="Made Patient", allergies_state="not known"),
        profile={}, current=(), options=(option,) * options,
        ruled_out=(RuledOut(drug="verapamil", rule="interaction", reason="with a beta-blocker", because=why),),
        findings=(Finding(severity="serious", title="Cough", detail="ask", drugs=("enalapril",), because=why),),
        not_checked=(NotChecked(what="allergies", why="no list", would_need="an allergy list"),),
        assumptions=(), evidence=ledger.entries(), settings=Settings(),
        versions=Versions(posologist="0", knowledge="0"),
    )  # fmt: skip


def _resources(bundle: dict, kind: str) -> list[dict]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def test_bundle_is_valid_r4() -> None:
    document = to_fhir(_recommendation(), rxcui={"enalapril": "3827"})

    Bundle.model_validate_json(json.dumps(document))


def test_nothing_is_ordered_only_proposed() -> None:
    requests = _resources(to_fhir(_recommendation()), "MedicationRequest")

    assert {(r["status"], r["intent"]) for r in requests} == {("draft", "proposal")}


def test_a_stopped_drug_is_a_request_not_to_give_with_its_taper() -> None:
    requests = _resources(to_fhir(_recommendation()), "MedicationRequest")
    stopped = [r for r in requests if r.get("doNotPerform")]

    assert [r["medicationCodeableConcept"]["text"] for r in stopped] == ["metoprolol"]
    assert any("taper" in note["text"] for note in stopped[0]["note"])


def test_dose_interval_and_maximum_are_those_of_the_regimen() -> None:
    request = next(r for r in _resources(to_fhir(_recommendation()), "MedicationRequest") if "dosageInstruction" in r)
    dosage = request["dosageInstruction"][0]

    assert dosage["doseAndRate"][0]["doseQuantity"]["value"] == 5.0
    assert dosage["timing"]["repeat"] == {"frequency": 1, "period": 24.0, "periodUnit": "h"}
    assert dosage["maxDosePerPeriod"]["numerator"]["value"] == 40.0


@pytest.mark.parametrize("title", ["Cough", "verapamil is ruled out: interaction", "Not checked: allergies"])
def test_every_warning_becomes_a_detected_issue(title: str) -> None:
    issues = _resources(to_fhir(_recommendation()), "DetectedIssue")

    assert title in {issue["code"]["text"] for issue in issues}


def test_a_finding_points_to_the_proposal_that_it_concerns() -> None:
    document = to_fhir(_recommendation())
    proposal = next(e["fullUrl"] for e in document["entry"] if "dosageInstruction" in e["resource"])
    cough = next(i for i in _resources(document, "DetectedIssue") if i["code"]["text"] == "Cough")

    assert cough["implicated"] == [{"reference": proposal}]


def test_provenance_names_every_resource_and_every_source() -> None:
    document = to_fhir(_recommendation())
    provenance = _resources(document, "Provenance")[0]

    others = {e["fullUrl"] for e in document["entry"] if e["resource"]["resourceType"] != "Provenance"}
    assert {t["reference"] for t in provenance["target"]} == others
    assert provenance["entity"][0]["what"]["display"] == "label-2020"


def test_same_recommendation_gives_the_same_bytes() -> None:
    assert json.dumps(to_fhir(_recommendation())) == json.dumps(to_fhir(_recommendation()))


def test_a_recommendation_without_options_still_says_why() -> None:
    document = to_fhir(_recommendation(options=0))

    assert _resources(document, "MedicationRequest") == []
    assert len(_resources(document, "DetectedIssue")) == 3
    Bundle.model_validate_json(json.dumps(document))


def test_a_recommendation_for_a_real_record_is_valid_r4() -> None:
    (path,) = shared_data("ehr", "synthea-r4").glob("Derek_Becker*.json")
    knowledge = load_knowledge()
    patient = read_patient(path, knowledge=knowledge)
    document = to_fhir(
        recommend(patient, "hypertension", knowledge=knowledge, settings=Settings(as_of=date(2021, 1, 1)))
    )

    Bundle.model_validate_json(json.dumps(document))
    assert _resources(document, "DetectedIssue")
