"""What was learned from simulated patients says so in every output that it touches."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

import pytest

from hooks import PLACE, order_request, person
from page_cases import shown
from patients import AS_OF, a_patient
from posologist.core.patient import Observation
from posologist.core.recommendation import Recommendation
from posologist.core.settings import Settings
from posologist.knowledge.load import load_knowledge
from posologist.learn.tasks import cardiovascular, pressure
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient
from posologist.records.fhir_out import to_fhir
from posologist.serve.charts import number
from posologist.serve.hooks.answers import Desk, answer
from posologist.serve.hooks.requests import parse_request
from posologist.serve.opinion_words import said_of
from posologist.serve.report import render_html
from posologist.serve.table import print_table
from toy_pressure import a_record, facts, toy_engine, toy_model, toy_symptoms, toy_symptoms_engine
from tracing import evidence_faults, page_text, prose_faults, text_faults

LABEL = "simulated patients"


HELD = {
    "response": (pressure.TASK,),
    "symptoms": (pressure.SYMPTOMS_TASK,),
    "both": (pressure.TASK, pressure.SYMPTOMS_TASK),
    "none": (),
}
of_each = pytest.mark.parametrize("held", ["response", "symptoms", "both"])


@lru_cache(maxsize=4)
def document(held: str = "response") -> Recommendation:
    who = read_patient(a_record(), knowledge=load_knowledge(), as_of=AS_OF)
    toys = {pressure.TASK: toy_model, pressure.SYMPTOMS_TASK: toy_symptoms}
    models = {task: toys[task]() for task in HELD[held]}
    return recommend(who, "hypertension", knowledge=load_knowledge(), settings=Settings(as_of=AS_OF), models=models)


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@of_each
def test_the_document_says_it_in_reasons_parts_opinions_evidence_and_versions(held: str) -> None:
    told = document(held)

    assert LABEL not in document("none").model_dump_json()
    for option in told.options:
        assert any(LABEL in reason.text for reason in option.reasons)
        assert option.contributions is not None
        assert any(LABEL in part.text for part in option.contributions.parts)
    assert any(entry.kind == "model" and LABEL in entry.text for entry in told.evidence.values())
    assert all(LABEL in told.versions.models[task] for task in HELD[held])


def test_the_table_says_it_with_the_weight_and_the_models_parts(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(document())

    printed = " ".join(capsys.readouterr().out.split())
    assert f"learned from {LABEL}" in printed
    assert "weight 0.25, at most 3 mmHg" in printed
    assert "Weights of the model's parts: linear-1" in printed
    assert "Published effect: −" in printed


def test_the_table_tells_a_moved_risk_beside_its_published_share(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(document("symptoms"))

    printed = " ".join(capsys.readouterr().out.split())
    assert "weight 0.25, at most 3 in 100, no share below zero" in printed
    assert "parts of chance of a symptom beyond the published share:" in printed
    assert re.search(r"Published harm: [\d.]+ in 100", printed)
    assert f"learned from {LABEL} moved the expected risk of symptoms of" in printed


@of_each
def test_the_report_says_it(held: str) -> None:
    assert LABEL in text_of(render_html(document(held)))
    assert LABEL not in text_of(render_html(document("none")))


@of_each
def test_the_fhir_proposals_say_it(held: str) -> None:
    requests = [e["resource"] for e in to_fhir(document(held))["entry"] if e["resource"].get("intent") == "proposal"]

    assert requests
    assert all(LABEL in json.dumps(r["note"]) for r in requests if "doNotPerform" not in r)


@of_each
def test_the_page_says_it_where_it_told_that_no_model_moved_the_ranking(held: str) -> None:
    with_model, without = (text_of(shown(document(which))) for which in (held, "none"))

    assert f"A model learned from {LABEL} moved this ranking" in with_model
    assert "No model learned from patients moved this ranking" not in with_model
    assert "No model learned from patients moved this ranking" in without


@of_each
def test_the_card_with_the_leading_plan_says_it(held: str, tmp_path: Path) -> None:
    engines = {pressure.TASK: toy_engine, pressure.SYMPTOMS_TASK: toy_symptoms_engine}
    for task in HELD[held]:
        engines[task]().save(tmp_path / "learned" / task, facts(task=task))
    record = [entry["resource"] | {"subject": {"reference": "Patient/p"}} for entry in json.loads(a_record())["entry"]]
    asked = order_request([], person("1964-01-02"), *(r for r in record if r["resourceType"] != "Patient"))
    view = {**asked, "hook": "patient-view", "context": {"patientId": "p", "userId": "Practitioner/1"}}
    request = parse_request(json.dumps(view).encode(), hook="patient-view")

    cards = answer(request, Desk(load_knowledge(tmp_path), Settings(), PLACE, AS_OF))

    plans = [dealt.card.detail for dealt in cards if dealt.card.summary.startswith("Leading plans")]
    assert len(plans) == 1
    assert f"learned from {LABEL}" in str(plans[0])


@of_each
def test_no_output_prints_a_number_that_the_document_does_not_hold(
    held: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = document(held)
    print_table(told)

    assert text_faults(capsys.readouterr().out, told) == []
    assert text_faults(page_text(render_html(told)), told) == []
    assert evidence_faults(told) == []
    assert prose_faults(told) == []


def test_a_published_risk_is_told_in_percent_with_what_it_counts() -> None:
    (opinion,) = (o for o in scored().opinions if o.task == cardiovascular.TASK)

    told = {said.what: said.says for said in said_of(opinion)}
    notes = [said.says for said in said_of(opinion) if not said.what]
    risk = next(s for s in opinion.published if s.score == "prevent_total_cvd_10y").quantity.value
    assert told["PREVENT 10-year risk of cardiovascular disease"] == f"{number(100 * risk)} % over 10 years"
    assert any("heart failure" in note and "angina" not in note for note in notes)
    assert any("angina" in note for note in notes)


def scored() -> Recommendation:
    """A patient of whom PREVENT and Framingham can be computed."""
    who = a_patient(sbp=155, dbp=95, creatinine=1.0, total_cholesterol=210, hdl=45, height=175, weight=82)
    smoker = Observation(key="smoking_status", text="current", at=who.observations[0].at, source=who.source)
    who = who.model_copy(update={"observations": (*who.observations, smoker)})
    return recommend(who, "hypertension", knowledge=load_knowledge(), settings=Settings(as_of=AS_OF), models={})
