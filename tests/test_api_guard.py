"""What is given again, put on record and refused at the API: consent of replays, rows of refusals, ids in headers."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from patients import as_bytes, bundle, fhir_patient, fhir_pressure
from posologist.core.errors import InputError
from posologist.serve.routes.asking import COOKIE
from posologist.serve.rows import Actor
from serving import PASSWORD, Served, a_server

KEY = {"Idempotency-Key": "one"}
ASKED = {"indication": "hypertension"}
_SYSTEM = Actor("test", "system", purpose="operations")


@pytest.fixture
def served(tmp_path: Path) -> Served:
    found = a_server(tmp_path)
    found.add_patient(as_bytes(bundle(fhir_patient("p1"), fhir_pressure(150, 95))))
    return found


def rows_of(served: Served, **query: str) -> list[dict[str, Any]]:
    """The audit chain."""
    told = served.ask("GET", "/audit", role="auditor", params={"limit": "200", **query})
    return list(told.json()["rows"])


def refuse(served: Served) -> None:
    """The patient takes the consent to treatment back."""
    assert served.ask("PUT", "/patients/p1/consents/treatment", json={"granted": False}).status_code == 200


# -------------------------------------------------------------------------------------------------- what is given again


def test_what_is_given_again_leaves_a_row_of_the_access(served: Served) -> None:
    served.ask("POST", "/patients/p1/recommend", json=ASKED, headers=KEY)
    before = rows_of(served, patient_id="p1")

    again = served.ask("POST", "/patients/p1/recommend", json=ASKED, headers=KEY)
    new = rows_of(served, patient_id="p1")[len(before) + 1 :]  # the first new row is of reading the chain itself

    assert again.headers["idempotent-replayed"] == "true"
    assert [(row["action"], row["entity_type"], row["detail"]) for row in new] == [("R", "response", "given again")]


def test_a_refused_consent_also_holds_for_what_was_answered_under_a_key(served: Served) -> None:
    record = as_bytes(bundle(fhir_patient("p1"), fhir_pressure(150, 95)))
    fhir = {"Content-Type": "application/fhir+json"}
    first = [
        served.ask("POST", "/patients/p1/recommend", json=ASKED, headers=KEY),
        served.ask("POST", "/patients", content=record, headers={"Idempotency-Key": "two"} | fhir),
    ]
    override = {"action": "override", "reason": "patient-preference"}
    path = f"/answers/{first[0].headers['answer-id']}/decisions"
    first.append(served.ask("POST", path, json=override, headers={"Idempotency-Key": "three"}))
    refuse(served)

    again = [
        served.ask("POST", "/patients/p1/recommend", json=ASKED, headers=KEY),
        served.ask("POST", "/patients", content=record, headers={"Idempotency-Key": "two"} | fhir),
        served.ask("POST", path, json=override, headers={"Idempotency-Key": "three"}),
    ]
    in_need = served.ask("POST", "/patients/p1/recommend", json=ASKED, headers=KEY | {"X-Purpose": "emergency"})

    assert [one.status_code for one in first] == [200, 201, 201]
    assert [(one.status_code, one.json()["code"]) for one in again] == [(403, "consent")] * 3
    assert in_need.content == first[0].content


# ------------------------------------------------------------------------------------------------ what is put on record


def _refusals(served: Served) -> list[tuple[str, str]]:
    return [
        (row["actor"], row["detail"])
        for row in rows_of(served)
        if (row["entity_type"], row["outcome"]) == ("request", "refused")
    ]


def test_a_call_that_the_role_does_not_cover_is_on_record(served: Served) -> None:
    served.ask("GET", "/patients/p1/decisions", role="informaticist")
    client = TestClient(served.app, base_url="https://testserver")
    client.post("/api/v1/sessions", json={"account": "auditor", "password": PASSWORD})
    page = client.get("/patients/p1")

    assert page.status_code == 403
    assert _refusals(served) == [
        ("informaticist", "role: GET /api/v1/patients/{patient_id}/decisions"),
        ("auditor", "role: page /patients/{patient_id}"),
    ]


def test_a_bad_token_and_a_form_without_its_token_are_on_record_and_a_flood_is_not(served: Served) -> None:
    client = TestClient(served.app, base_url="https://testserver")
    client.get("/api/v1/patients")  # nobody asks: no row
    client.post("/api/v1/sessions", json={"account": "prescriber", "password": PASSWORD})
    client.post("/api/v1/patients/p1/recommend", json=ASKED)
    client.cookies.clear()
    for _ in range(100):
        client.get("/api/v1/patients", headers={"Authorization": "Bearer psl_guessed"})
    client.get("/api/v1/patients", headers={"Cookie": f"{COOKIE}=guessed"})

    found = _refusals(served)

    assert found[0] == ("prescriber", "the form's token is missing or wrong")
    assert set(found[1:]) == {("anonymous", "the token is not valid")}
    assert 30 <= len(found[1:]) <= 40


# ------------------------------------------------------------------------------------------------------------------ ids


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "a\x00", "a\u2028b"])
def test_an_id_that_could_end_a_header_is_refused(served: Served, name: str) -> None:
    record = json.dumps({"resourceType": "Patient", "id": name, "gender": "male", "birthDate": "1960-01-01"})
    done = served.ask("POST", "/patients", content=record, headers={"Content-Type": "application/fhir+ndjson"})

    assert done.status_code == 422
    assert "x-evil" not in done.headers


@pytest.mark.parametrize("name", ["\u03c0", "a/b", "../x", "%2e%2e"])
def test_an_odd_id_stands_in_the_location_as_what_it_is(served: Served, name: str) -> None:
    record = json.dumps({"resourceType": "Patient", "id": name, "gender": "male", "birthDate": "1960-01-01"})
    done = served.ask("POST", "/patients", content=record, headers={"Content-Type": "application/fhir+ndjson"})

    assert done.status_code == 201
    assert done.json()["id"] == name
    assert done.headers["location"].count("/") == 4


@pytest.mark.parametrize(
    "name", ["hooks", "hooks of https://ehr.example", "accounts", "anonymous", "development", " anna"]
)
def test_no_account_takes_the_name_of_a_part_of_the_system(served: Served, name: str) -> None:
    with pytest.raises(InputError):
        served.accounts.add(name, name="", role="prescriber", password=PASSWORD)


def test_a_token_that_a_token_made_ends_with_it(served: Served) -> None:
    def status(token: str) -> int:
        held = {"Authorization": f"Bearer {token}"}
        return int(TestClient(served.app).get("/api/v1/patients", headers=held).status_code)

    def made(by: str, days: int) -> dict[str, Any]:
        held = {"Authorization": f"Bearer {by}"}
        return dict(TestClient(served.app).post("/api/v1/tokens", json={"days": days}, headers=held).json())

    parent = served.accounts.issue_token("prescriber", lasts=timedelta(days=2))
    child = made(parent.token, 365)
    grandchild = made(child["token"], 1)
    before = [status(one) for one in (parent.token, child["token"], grandchild["token"])]
    served.accounts.revoke_token(parent.id)
    after = [status(one) for one in (parent.token, child["token"], grandchild["token"], served.tokens["prescriber"])]

    assert child["expires"] == parent.expires.isoformat().replace("+00:00", "Z")
    assert before == [200, 200, 200]
    assert after == [401, 401, 401, 200]


@pytest.mark.parametrize("path", ["/api/v1/patients/", "/cds-services/x/", "/patients/"])
def test_no_address_leads_to_where_the_host_header_says(served: Served, path: str) -> None:
    client = TestClient(served.app, base_url="https://testserver")
    told = client.get(path, headers={"Host": "evil.example"}, follow_redirects=False)

    assert told.status_code == 404
    assert "location" not in told.headers


def test_sessions_that_are_over_are_not_kept(served: Served) -> None:
    def held() -> int:
        with served.store.work(_SYSTEM) as work:
            return len(work.reader.exec_driver_sql("SELECT id FROM sessions").all())

    for _ in range(3):
        served.accounts.sign_in("prescriber", PASSWORD)
    before = held()
    served.clock.now += timedelta(hours=9)
    served.accounts.sign_in("prescriber", PASSWORD)

    assert (before, held()) == (3, 1)


def test_of_requests_at_once_with_one_key_one_is_made_and_none_twice(served: Served) -> None:
    asked = served.ask("POST", "/patients/p1/recommend", json=ASKED)
    path = f"/answers/{asked.headers['answer-id']}/decisions"
    override = {"action": "override", "reason": "patient-preference"}
    before = threading.Barrier(6)
    told: list[Any] = []

    def send() -> None:
        before.wait()
        told.append(served.ask("POST", path, json=override, headers=KEY))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decisions = served.ask("GET", "/patients/p1/decisions").json()["decisions"]
    made = [one for one in told if one.status_code == 201 and "idempotent-replayed" not in one.headers]

    assert {one.status_code for one in told} <= {201, 409}
    assert len(made) == 1
    assert len(decisions) == 1
