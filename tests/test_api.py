"""The REST API: the command line's bytes, idempotent writes, pages, problems, decisions and follow-ups."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from genome_files import reference_rows, write_vcf
from patients import as_bytes, bundle, fhir_observation, fhir_patient, fhir_pressure
from posologist.serve import cli
from serving import DEMO, Served, a_server

FHIR = {"Content-Type": "application/fhir+json"}
VCF = {"Content-Type": "text/plain"}
ASKED = {"indication": "hypertension", "as_of": "2026-11-20"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return a_server(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def patient(served: Served) -> str:
    """The demo's patient with genes."""
    name = served.add_patient((DEMO / "patient.json").read_bytes(), document="patient.json")
    added = served.ask(
        "POST", f"/patients/{name}/genome", content=(DEMO / "genome.vcf").read_bytes(), headers=VCF,
        params={"name": "genome.vcf"},
    )  # fmt: skip
    assert added.status_code == 201, added.text
    return name


@pytest.fixture(scope="module")
def answer(served: Served, patient: str) -> str:
    """The id of a recommendation."""
    return str(served.ask("POST", f"/patients/{patient}/recommend", json=ASKED).headers["answer-id"])


def _record(name: str, *more: dict[str, Any]) -> bytes:
    return as_bytes(bundle(fhir_patient(name), fhir_pressure(150, 95), *more))


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    """What the command line prints, through its real entry point."""

    def run(*words: str | Path) -> bytes:
        monkeypatch.setattr(sys, "argv", ["posologist", *map(str, words), "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfdbinary.readouterr()
        assert not ended.value.code, err
        return out

    return run


_RECORD = ("--patient", DEMO / "patient.json", "--genome", DEMO / "genome.vcf")


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("recommend", ASKED, ("recommend", "--for", "hypertension", "--as-of", "2026-11-20", *_RECORD)),
        ("recommend", {"indication": "hypertension"}, ("recommend", "--for", "hypertension", *_RECORD)),
        (
            "recommend", ASKED | {"guideline": "ESC24", "harm_aversion": 2.0},
            ("recommend", "--for", "hypertension", "--as-of", "2026-11-20", "--guideline", "ESC24",
             "--harm-aversion", "2.0", *_RECORD),
        ),
        ("screen", {"orders": ["warfarin 5 mg po q24h"]}, ("screen", "--order", "warfarin 5 mg po q24h", *_RECORD)),
        (
            "dose", {"drug": "amlodipine", "as_of": "2026-11-20"},
            ("dose", "amlodipine", "--as-of", "2026-11-20", *_RECORD),
        ),
    ],
)  # fmt: skip
def test_an_answer_is_byte_for_byte_what_the_command_line_prints(
    served: Served, patient: str, printed: Any, route: str, body: dict[str, Any], words: tuple[str, ...]
) -> None:
    answered = served.ask("POST", f"/patients/{patient}/{route}", json=body)

    assert answered.status_code == 200
    assert answered.content == printed(*words)


def test_the_phenotype_is_byte_for_byte_what_the_command_line_prints(
    served: Served, patient: str, printed: Any
) -> None:
    held = served.ask("GET", f"/patients/{patient}/phenotype")

    assert held.content == printed("phenotype", DEMO / "genome.vcf")


def test_a_dose_from_levels_in_csv_is_what_the_command_line_prints(
    served: Served, printed: Any, tmp_path: Path
) -> None:
    levels, events, record = tmp_path / "levels.csv", tmp_path / "events.csv", tmp_path / "record.json"
    levels.write_text("time,value,unit,analyte\n2026-11-19T19:30:00,14.2,mg/L,vancomycin\n")
    events.write_text(
        "time,amount,unit,route,duration_h,drug\n2026-11-18T08:00:00,1000,mg,iv,1,vancomycin\n"
        "2026-11-18T20:00:00,1000,mg,iv,1,vancomycin\n2026-11-19T08:00:00,1000,mg,iv,1,vancomycin\n"
    )
    measured = [
        fhir_observation(loinc, value, unit, patient_id="levels")
        for loinc, value, unit in (("29463-7", 80, "kg"), ("2160-0", 1.1, "mg/dL"))
    ]
    record.write_bytes(_record("levels", *measured))
    name = served.add_patient(record.read_bytes(), document="record.json")
    for kind, path in (("levels", levels), ("administrations", events)):
        added = served.ask(
            "POST", f"/patients/{name}/{kind}", content=path.read_bytes(), headers={"Content-Type": "text/csv"}
        )
        assert added.status_code == 201, added.text
    body = {"drug": "vancomycin", "at": "2026-11-20T08:00:00Z", "as_of": "2026-11-20"}
    answered = served.ask("POST", f"/patients/{name}/dose", json=body)

    assert answered.status_code == 200, answered.text
    assert answered.content == printed(
        "dose", "vancomycin", "--patient", record, "--levels", levels, "--events", events, "--at",
        "2026-11-20T08:00:00Z", "--as-of", "2026-11-20",
    )  # fmt: skip


def test_the_same_key_gives_the_first_response_again_and_writes_once(served: Served) -> None:
    name = served.add_patient(_record("twice"))
    body = {"observations": [{"at": "2026-11-19T08:00:00Z", "key": "potassium", "value": 4.4, "unit": "mmol/L"}]}
    first, again = (
        served.ask("POST", f"/patients/{name}/observations", json=body, headers={"Idempotency-Key": "key-1"})
        for _ in range(2)
    )

    assert first.status_code == 201, first.text
    assert first.json() == {"new": 1}
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(served.ask("GET", f"/patients/{name}/measured").json()["measured"]) == 1


def test_the_same_key_for_another_request_is_a_conflict(served: Served, patient: str) -> None:
    for orders, status in ((["warfarin 5 mg po q24h"], 200), (["aspirin 100 mg po q24h"], 409)):
        done = served.ask(
            "POST", f"/patients/{patient}/screen", json={"orders": orders}, headers={"Idempotency-Key": "key-2"}
        )

        assert done.status_code == status


def test_a_key_whose_request_failed_may_be_used_again(served: Served, patient: str) -> None:
    key = {"Idempotency-Key": "key-3"}
    failed = served.ask("POST", f"/patients/{patient}/dose", json={"drug": "no such drug"}, headers=key)
    again = served.ask("POST", f"/patients/{patient}/dose", json={"drug": "no such drug"}, headers=key)

    assert (failed.status_code, again.status_code) == (404, 404)
    assert failed.json()["detail"] == again.json()["detail"]


def test_pages_hold_every_patient_once(served: Served) -> None:
    for number in range(5):
        served.add_patient(_record(f"paged-{number}"))
    found, cursor = [], None
    while True:
        page = served.ask("GET", "/patients", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [row["id"] for row in page["patients"]]
        cursor = page["next"]
        if cursor is None:
            break

    assert found == sorted(set(found))
    assert {f"paged-{number}" for number in range(5)} <= set(found)


def test_answers_come_newest_first_in_pages(served: Served, patient: str) -> None:
    for drug in ("warfarin", "aspirin"):
        served.ask("POST", f"/patients/{patient}/screen", json={"orders": [f"{drug} 5 mg po q24h"]})
    first = served.ask("GET", f"/patients/{patient}/answers", params={"limit": 1}).json()
    second = served.ask("GET", f"/patients/{patient}/answers", params={"limit": 1, "cursor": first["next"]}).json()

    assert first["answers"][0]["kind"] == "screening"
    assert first["answers"][0]["id"] != second["answers"][0]["id"]


def test_a_record_that_is_held_already_is_not_sent_again(served: Served, patient: str) -> None:
    etag = served.ask("GET", f"/patients/{patient}").headers["etag"]
    again = served.ask("GET", f"/patients/{patient}", headers={"If-None-Match": etag})

    assert (again.status_code, again.content) == (304, b"")


def test_an_answer_can_be_read_again_and_comes_out_again(served: Served, patient: str) -> None:
    given = served.ask("POST", f"/patients/{patient}/recommend", json=ASKED)
    number = given.headers["answer-id"]

    assert served.ask("GET", f"/answers/{number}").content == given.content
    assert served.ask("POST", f"/answers/{number}/replay").json()["same"] is True


def test_an_override_with_will_monitor_schedules_the_follow_up(served: Served, answer: str, patient: str) -> None:
    body = {
        "action": "override", "reason": "will-monitor", "will_monitor": True,
        "planned": [{"what": "potassium", "due": "2026-11-27", "expected_high": 5.0, "unit": "mmol/L"}],
    }  # fmt: skip
    decided = served.ask("POST", f"/answers/{answer}/decisions", json=body)
    due = served.ask("GET", "/follow-ups", params={"due_before": "2026-11-28"}).json()["follow_ups"]

    assert decided.status_code == 201
    assert decided.json()["decision"]["by"] == "prescriber"
    assert [row["what"] for row in due if row["patient_id"] == patient] == ["potassium"]
    assert served.ask("GET", f"/patients/{patient}/follow-ups").json()["follow_ups"] == due


def test_a_follow_up_is_closed_with_its_result_and_a_pharmacist_cancels_none(served: Served, answer: str) -> None:
    body = {"action": "override", "reason": "will-monitor", "will_monitor": True,
            "planned": [{"what": name, "due": "2026-11-28"} for name in ("sodium", "INR")]}  # fmt: skip
    planned = served.ask("POST", f"/answers/{answer}/decisions", json=body).json()["follow_ups"]
    first, other = (f"/follow-ups/{row['id']}/outcome" for row in planned)
    done = served.ask("POST", first, role="pharmacist", json={"status": "done", "result": "138 mmol/L"})
    again = served.ask("POST", first, json={"status": "done", "result": "138 mmol/L"})
    otherwise = served.ask("POST", first, json={"status": "missed"})
    refused = served.ask("POST", other, role="pharmacist", json={"status": "cancelled", "result": "not needed"})
    unsaid = served.ask("POST", other, json={"status": "done"})
    nobody = served.ask("POST", f"/follow-ups/{'0' * 64}/outcome", json={"status": "missed"})
    listed = served.ask("GET", "/follow-ups", params={"status": "done"}).json()["follow_ups"]

    assert (done.status_code, done.json()["status"], done.json()["result"]) == (200, "done", "138 mmol/L")
    assert again.json() == done.json()
    assert [each.status_code for each in (otherwise, refused, unsaid, nobody)] == [409, 403, 422, 404]
    assert done.json() in listed
    assert {row["status"] for row in listed} == {"done"}


def test_consents_measured_values_and_decisions_come_in_pages(served: Served) -> None:
    name = served.add_patient(DEMO.joinpath("patient.json").read_bytes().replace(b"founding-case", b"paged-case"))
    number = served.ask("POST", f"/patients/{name}/screen", json={"orders": ["warfarin 5 mg po q24h"]})
    for value in (80.0, 81.0, 82.0):
        row = {"at": "2026-11-19T08:00:00Z", "key": "heart_rate", "value": value, "unit": "/min"}
        served.ask("POST", f"/patients/{name}/observations", json={"observations": [row]})
        served.ask("PUT", f"/patients/{name}/consents/research", json={"granted": value > 80})
        said = {"action": "override", "reason": "patient-preference", "note": str(value)}
        served.ask("POST", f"/answers/{number.headers['answer-id']}/decisions", json=said)
    for what in ("consents", "measured", "decisions"):
        whole = served.ask("GET", f"/patients/{name}/{what}").json()
        pages, cursor = [], {}
        while cursor is not None:
            page = served.ask("GET", f"/patients/{name}/{what}", params={"limit": 2, **cursor}).json()
            pages.append(page[what])
            cursor = None if page["next"] is None else {"cursor": page["next"]}

        assert [len(page) for page in pages] == [2, 1]
        assert [row for page in pages for row in page] == whole[what]
        assert whole["next"] is None


def test_accepting_a_plan_schedules_its_monitoring(served: Served, answer: str) -> None:
    decided = served.ask("POST", f"/answers/{answer}/decisions", json={"action": "accept", "rank": 1}).json()

    assert decided["decision"]["rank"] == 1
    assert all(row["status"] == "open" and row["due"] >= "2026-11-20" for row in decided["follow_ups"])
    assert decided["follow_ups"]


def test_an_accepted_plan_is_followed_up_after_four_weeks(tmp_path: Path) -> None:
    served = a_server(tmp_path)
    name = served.add_patient((DEMO / "patient.json").read_bytes(), document="patient.json")
    number = served.ask("POST", f"/patients/{name}/recommend", json=ASKED).headers["answer-id"]
    none = served.ask("GET", f"/patients/{name}/follow-up")
    served.ask("POST", f"/answers/{number}/decisions", json={"action": "accept", "rank": 1})
    served.clock.now += timedelta(days=29)
    reading = {"key": "sbp", "value": 175.0, "unit": "mm[Hg]", "at": "2026-12-18T09:00:00Z"}
    added = served.ask("POST", f"/patients/{name}/observations", json={"observations": [reading]})
    told = served.ask("GET", f"/patients/{name}/follow-up")
    before = served.ask("GET", f"/patients/{name}/follow-up", params={"as_of": "2026-12-17"}).json()

    assert (none.status_code, none.json()["code"]) == (404, "not-found")
    assert added.status_code == 201, added.text
    assert told.status_code == 200
    assert "out of expectation" in {state["state"] for state in told.json()["states"]}
    assert "advice" in {change["kind"] for change in told.json()["changes"]}
    assert before["changes"] == []
    assert served.ask("GET", f"/patients/{name}/follow-up", role="informaticist").status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"action": "override"},
        {"action": "override", "reason": "because I say so"},
        {"action": "override", "will_monitor": True, "reason": "will-monitor"},
        {"action": "accept", "rank": 900},
        {"action": "accept"},
    ],
)
def test_a_decision_that_says_too_little_is_refused(served: Served, answer: str, body: dict[str, Any]) -> None:
    assert served.ask("POST", f"/answers/{answer}/decisions", json=body).status_code == 422


def test_refused_consent_closes_the_record_for_that_purpose_only(served: Served) -> None:
    name = served.add_patient(_record("consenting"))
    said = served.ask("PUT", f"/patients/{name}/consents/treatment", json={"granted": False})
    refused = served.ask("GET", f"/patients/{name}")
    emergency = served.ask("GET", f"/patients/{name}", headers={"X-Purpose": "emergency"})
    listed = served.ask("GET", "/patients", params={"limit": 200}).json()["patients"]

    assert said.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (403, "consent")
    assert emergency.status_code == 200
    assert name not in {row["id"] for row in listed}


def test_research_needs_consent_on_file(served: Served, patient: str) -> None:
    for route in ("", "/answers", "/measured", "/decisions"):
        asked = served.ask("GET", f"/patients/{patient}{route}", headers={"X-Purpose": "research"})

        assert asked.status_code == 403


def test_a_vcf_of_several_samples_needs_the_name_of_one(served: Served, tmp_path: Path) -> None:
    name = served.add_patient(_record("sampled"))
    rows = [[*row, row[-1]] for row in reference_rows()]
    content = write_vcf(tmp_path / "two.vcf", rows, samples=("FIRST", "SECOND")).read_bytes()
    unnamed = served.ask("POST", f"/patients/{name}/genome", content=content, headers=VCF)
    named = served.ask("POST", f"/patients/{name}/genome", content=content, headers=VCF, params={"sample": "SECOND"})

    assert unnamed.status_code == 422
    assert "sample" in unnamed.text
    assert (named.status_code, named.json()["sample"]) == (201, "SECOND")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b'{"indication": 3}', "indication"),
        (b'{"indication": "hypertension", "more": 1}', "more"),
        (b'{"indication": "hypertension", "harm_aversion": "2"}', "harm_aversion"),
        (b'{"indication": "hypertension", "harm_aversion": NaN}', "harm_aversion"),
        (b'{"indication": "hypertension", "as_of": 20261120}', "as_of"),
        (b'{"indication": "hyper\\u0000tension"}', "indication"),
        (b'{"indication": "\\ud800"}', "body"),
        (b'{"indication": "' + b"x" * 3000 + b'"}', "indication"),
    ],
)
def test_a_body_that_is_not_as_written_down_is_a_problem(served: Served, patient: str, body: bytes, where: str) -> None:
    refused = served.ask(
        "POST", f"/patients/{patient}/recommend", content=body, headers={"Content-Type": "application/json"}
    )
    told = refused.json()

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert told["where"] == where
    assert told["request_id"] == refused.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/patients/nobody", 404),
        ("GET", "/answers/" + "0" * 64, 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/patients", 405),
        ("GET", "/patients?limit=0", 422),
        ("POST", "/patients", 415),
        ("GET", "/patients/nobody/phenotype", 404),
        ("GET", "/patients/nobody/follow-up", 404),
        ("POST", "/patients/nobody/recommend", 415),
    ],
)
def test_what_is_not_there_is_a_problem(served: Served, method: str, path: str, status: int) -> None:
    told = served.ask(method, path)

    assert told.status_code == status
    assert told.headers["content-type"] == "application/problem+json"
    assert set(told.json()) == {"type", "title", "status", "code", "detail", "where", "hint", "request_id"}


def test_a_bundle_that_is_none_is_refused(served: Served) -> None:
    for content in (b"", b"{}", b"not json", b'{"resourceType": "Bundle"}', as_bytes(bundle())):
        refused = served.ask("POST", "/patients", content=content, headers=FHIR)

        assert refused.status_code == 422


def test_a_file_that_is_no_vcf_is_refused(served: Served, patient: str) -> None:
    for content in (b"", b"not a vcf", b"\x1f\x8b\x08\x00broken"):
        refused = served.ask("POST", f"/patients/{patient}/genome", content=content, headers=VCF)

        assert refused.status_code == 422


def test_a_request_id_is_taken_up_and_told_in_the_audit(served: Served, patient: str) -> None:
    served.ask("GET", f"/patients/{patient}", headers={"X-Request-Id": "trace-0001"})
    rows = []
    cursor = "0"
    while cursor is not None:
        page = served.ask("GET", "/audit", role="auditor", params={"limit": 200, "cursor": cursor}).json()
        rows += page["rows"]
        cursor = page["next"]

    assert [row["entity_id"] for row in rows if row["request_id"] == "trace-0001"] == [patient]
    assert served.ask("GET", "/audit/verification", role="auditor").json()["whole"] is True


def test_health_tells_database_and_knowledge(served: Served) -> None:
    ready = served.client.get("/api/v1/health/ready")

    assert ready.status_code == 200
    assert ready.json()["knowledge"].startswith("2026")


def test_metrics_count_by_route_and_never_by_patient(served: Served, patient: str) -> None:
    served.ask("GET", f"/patients/{patient}")
    text = served.ask("GET", "/metrics", role="system").text

    assert 'posologist_requests_total{method="GET",route="/api/v1/patients/{patient_id}",status="200"}' in text
    assert patient not in text


def test_every_operation_of_the_openapi_document_tells_its_problems(served: Served) -> None:
    document = served.client.get("/api/v1/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert "422" in operation["responses"], (method, path)
            for media in operation.get("requestBody", {}).get("content", {}).values():
                assert "example" in media or media["schema"].get("format") == "binary", (method, path)
