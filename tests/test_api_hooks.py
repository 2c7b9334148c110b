"""The hooks over the store: cards are answers, feedback is a decision, "will monitor" is a follow-up."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hooks import medicine, order_request, real_request
from posologist.core.errors import InputError
from posologist.serve.hook_desk import hook_calls, hooks_in_development, hooks_of_site
from posologist.serve.service import Service
from posologist.serve.store import Store
from serving import DEMO, Clock, Served, a_server, knowledge

ORDER = "warfarin-nsaids-order-sign-no-coordination.json"
NOW = "2026-11-20T12:00:00Z"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return a_server(tmp_path, hooks=hooks_in_development("http://127.0.0.1:8000"))


@pytest.fixture
def order() -> dict[str, Any]:
    return real_request(ORDER)


def _cards(served: Served, order: dict[str, Any]) -> list[Any]:
    answered = served.client.post("/cds-services/posologist-order-sign", json=order)
    assert answered.status_code == 200, answered.text
    return list(answered.json()["cards"])


def _feedback(served: Served, card: str, reason: dict[str, Any] | None) -> Any:
    given: dict[str, Any] = {"card": card, "outcome": "overridden", "outcomeTimestamp": NOW}
    if reason is not None:
        given["overrideReason"] = {"reason": reason, "userComment": "seen"}
    return served.client.post("/cds-services/posologist-order-sign/feedback", json={"feedback": [given]})


def test_cards_are_held_as_an_answer_of_their_patient(served: Served, order: dict[str, Any]) -> None:
    cards = _cards(served, order)
    patient = order["context"]["patientId"]
    held = served.ask("GET", f"/patients/{patient}/answers").json()["answers"]

    assert cards
    assert [row["kind"] for row in held] == ["cards"]
    assert served.ask("GET", f"/answers/{held[0]['id']}").json()["cards"] == cards


def test_will_monitor_on_a_card_is_a_decision_and_a_follow_up(served: Served, order: dict[str, Any]) -> None:
    card = _cards(served, order)[0]
    reason = next(one for one in card["overrideReasons"] if one["code"] == "will-monitor")
    told = _feedback(served, card["uuid"], reason)
    patient = order["context"]["patientId"]

    assert told.status_code == 200, told.text
    decision = served.ask("GET", f"/patients/{patient}/decisions").json()["decisions"][0]
    assert (decision["action"], decision["reason"], decision["will_monitor"]) == ("override", "will-monitor", True)
    assert served.ask("GET", f"/patients/{patient}/follow-ups").json()["follow_ups"]


def test_an_override_without_a_reason_leaves_an_audit_row(served: Served, order: dict[str, Any]) -> None:
    card = _cards(served, order)[0]
    told = _feedback(served, card["uuid"], None)
    rows = served.ask("GET", "/audit", role="auditor", params={"limit": 200}).json()["rows"]

    assert told.status_code == 200, told.text
    assert [row["detail"] for row in rows if row["entity_type"] == "card"] == ["override without a coded reason"]


def test_a_request_without_any_record_is_told_that_nothing_was_checked(served: Served) -> None:
    asked = {"hook": "patient-view", "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
             "context": {"userId": "Practitioner/1", "patientId": "unheard-of"}}  # fmt: skip
    answered = served.client.post("/cds-services/posologist-patient-view", json=asked)
    rows = served.ask("GET", "/audit", role="auditor", params={"limit": 200}).json()["rows"]

    assert answered.status_code == 200, answered.text
    assert answered.json()["cards"]
    assert [row["patient_id"] for row in rows if row["entity_type"] == "cards"] == ["unheard-of"]


def test_refused_consent_is_told_to_a_hook(served: Served, order: dict[str, Any]) -> None:
    _cards(served, order)
    patient = order["context"]["patientId"]
    served.ask("PUT", f"/patients/{patient}/consents/treatment", json={"granted": False})
    refused = served.client.post("/cds-services/posologist-order-sign", json=order)

    assert refused.status_code == 403
    assert "consent" in refused.json()["detail"]


def test_a_token_is_seen_once_also_after_a_restart(tmp_path: Path) -> None:
    first = a_server(tmp_path)
    until = first.store.now + timedelta(minutes=5)
    before = hook_calls(first.app.state.door.service).seen("issuer token-1", until)
    first.store.close()
    again = Service(Store(f"sqlite:///{tmp_path / 'served.db'}", clock=Clock()), knowledge())

    assert (before, hook_calls(again).seen("issuer token-1", until)) == (False, True)


def test_without_settings_no_hook_is_served(tmp_path: Path) -> None:
    assert a_server(tmp_path).client.get("/cds-services").status_code == 404


def test_a_sites_file_asks_for_signatures(tmp_path: Path) -> None:
    path = tmp_path / "hooks.toml"
    path.write_text('base_url = "https://cds.example.org"\n[[issuers]]\niss = "https://ehr.example.org"\n')
    settings = hooks_of_site(path)
    served = a_server(tmp_path, hooks=settings)

    assert settings.signed
    assert served.client.get("/cds-services").status_code == 200
    assert served.client.post("/cds-services/posologist-order-sign", json={}).status_code == 401


@pytest.mark.parametrize("text", ["", "base_url = 3", 'base_url = "x"\nunsigned = true', "not toml"])
def test_a_sites_file_with_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "hooks.toml").write_text(text)

    with pytest.raises(InputError, match="hooks"):
        hooks_of_site(tmp_path / "hooks.toml")


@pytest.mark.parametrize(("born", "used"), [("1964-05-02", True), ("1990-01-01", False), ("1964", True)])
def test_genes_are_not_those_of_somebody_else_of_the_same_id(served: Served, born: str, used: bool) -> None:
    record = json.loads((DEMO / "patient.json").read_text())
    person = next(e["resource"] for e in record["entry"] if e["resource"]["resourceType"] == "Patient")
    person["birthDate"] = "1964-05-02"
    name = served.add_patient(json.dumps(record).encode())
    genome = (DEMO / "genome.vcf").read_bytes()
    done = served.ask("POST", f"/patients/{name}/genome", content=genome, headers={"Content-Type": "text/plain"})
    order = medicine("0", "clopidogrel 75 MG Oral Tablet", patient=name)
    asked = order_request(order, {"resourceType": "Patient", "id": name, "gender": "male", "birthDate": born})
    asked["context"]["patientId"] = name

    cards = served.client.post("/cds-services/posologist-order-sign", json=asked).json()["cards"]

    assert done.status_code == 201
    assert ("states another birth date" in str(cards)) is not used
