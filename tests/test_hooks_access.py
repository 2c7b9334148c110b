"""Around the hooks: feedback, the FHIR server of a request, discovery, and browsers of other origins."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hooks import (
    NOW,
    Json,
    cards_of,
    client,
    medicine,
    order_request,
    person,
    posted,
    real_request,
)
from posologist.serve.hook_desk import hooks_in_development
from posologist.serve.hooks.discovery import PREFETCH, service_id
from posologist.serve.hooks.feedback import parse_feedback, scheduled
from posologist.serve.hooks.fhir_access import Fetched, FhirAccess, fetch_missing, over_network
from posologist.serve.hooks.requests import HOOKS, parse_request
from posologist.serve.hooks.routes import HooksSettings
from shared import shared_data

WARFARIN = medicine("855295", "Warfarin Sodium 10 MG")
IBUPROFEN = medicine("197805", "Ibuprofen 400 MG Oral Tablet")


# ----------------------------------------------------------------------------------------------------------- feedback

ONES = "11111111-1111-4111-8111-111111111111"


def test_the_feedback_of_the_sandbox_is_read() -> None:
    root = shared_data("ehr", "cds-hooks", "captured-from-sandbox")

    (accepted,) = parse_feedback((root / "feedback-accepted.json").read_bytes(), NOW)
    (overridden,) = parse_feedback((root / "feedback-overridden.json").read_bytes(), NOW)

    assert (accepted.action, accepted.suggestions) == ("accept", ("22222222-2222-4222-8222-222222222222",))
    assert (overridden.action, overridden.reason, overridden.will_monitor) == ("override", None, False)
    assert accepted.at.isoformat() == "2026-11-20T06:16:20.079000+00:00"


def override(card: str, code: str, **members: Any) -> Json:
    """Feedback that overrides a card with a reason."""
    reason = {"reason": {"code": code}, **members}
    entry = {
        "card": card,
        "outcome": "overridden",
        "overrideReason": reason,
        "outcomeTimestamp": "2026-11-20T10:00:00Z",
    }
    return {"feedback": [entry]}


def test_will_monitor_returns_what_to_schedule_with_its_day() -> None:
    told: list[Any] = []
    door = client(decided=lambda caller, decision, card, steps: told.append((decision, card, steps)))
    cyclosporine = medicine("835925", "cyclosporine, modified 50 MG Oral Capsule")
    digoxin = medicine("197604", "Digoxin 0.125 MG Oral Tablet")
    card = posted(door, order_request(cyclosporine, person(), digoxin)).json()["cards"][0]

    response = door.post(
        "/cds-services/posologist-order-sign/feedback", json=override(card["uuid"], "will-monitor", userComment="ok")
    )

    (answer,) = response.json()["feedback"]
    assert answer["scheduled"][0]["what"] == "digoxin level (trough)"
    assert answer["scheduled"][0]["due"] == "2026-11-21"
    assert told[0][0].will_monitor
    assert told[0][0].note == "ok"
    assert told[0][1].drugs == ("cyclosporine", "digoxin")
    assert told[0][2][0].what == "digoxin level (trough)"


def test_another_reason_schedules_nothing_and_a_foreign_reason_is_kept_as_words() -> None:
    (own,) = parse_feedback(json.dumps(override(ONES, "patient-preference")).encode(), NOW)
    (foreign,) = parse_feedback(json.dumps(override(ONES, "d7ecf885")).encode(), NOW)
    card = cards_of(order_request(IBUPROFEN, person(), WARFARIN))[0]

    assert own.reason == "patient-preference"
    assert scheduled(own, card) == ()
    assert (foreign.reason, foreign.note) == (None, "[d7ecf885]")


def test_will_monitor_without_a_stated_day_schedules_without_inventing_one() -> None:
    (decision,) = parse_feedback(json.dumps(override(ONES, "will-monitor")).encode(), NOW)
    card = cards_of(order_request(IBUPROFEN, person(), WARFARIN))[-1]

    assert [step.due for step in scheduled(decision, card)] == [None]


_OK = {"card": "11111111-1111-4111-8111-111111111111", "outcome": "overridden", "outcomeTimestamp": "2026-11-20"}
BROKEN_FEEDBACK: list[Any] = [
    {}, [], {"feedback": {}}, {"feedback": []}, {"feedback": [1]}, {"feedback": [{**_OK, "card": "x"}]},
    {"feedback": [{**_OK, "card": 1}]}, {"feedback": [{**_OK, "outcome": "ignored"}]},
    {"feedback": [{**_OK, "outcome": "accepted"}]}, {"feedback": [{**_OK, "outcomeTimestamp": "soon"}]},
    {"feedback": [{**_OK, "outcomeTimestamp": None}]}, {"feedback": [{**_OK, "overrideReason": "x"}]},
    {"feedback": [{**_OK, "overrideReason": {"reason": "x"}}]}, {"feedback": [_OK] * 101},
    {"feedback": [{**_OK, "outcome": "accepted", "acceptedSuggestions": [{"id": "x"}]}]},
]  # fmt: skip


@pytest.mark.parametrize("document", BROKEN_FEEDBACK, ids=range(len(BROKEN_FEEDBACK)))
def test_broken_feedback_is_a_problem(document: Any) -> None:
    response = client().post("/cds-services/posologist-order-sign/feedback", json=document)

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"


# -------------------------------------------------------------------------------------------------------- FHIR access


class Server:
    """A FHIR server of the test: answers by address, and keeps what it was asked."""

    def __init__(self, pages: Mapping[str, Any]) -> None:
        self.pages = pages
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    def __call__(self, url: str, headers: Mapping[str, str], timeout_s: float, most_bytes: int) -> tuple[int, bytes]:
        self.asked.append((url, headers))
        found = self.pages.get(url)
        if isinstance(found, Exception):
            raise found
        return (404, b"") if found is None else (200, json.dumps(found).encode())


HERE = "https://ehr.example/fhir"
TEMPLATES = {"medications": PREFETCH["medications"]}
FIRST = f"{HERE}/MedicationRequest?patient=p&_count=200"


def fetched(server: Server, *, base: str = HERE, allowed: str = HERE, clock: Any = lambda: 0.0) -> Fetched:
    """What is fetched for an order of patient `p` without prefetch."""
    document = order_request(IBUPROFEN, fhirServer=base, fhirAuthorization={"access_token": "secret"})
    request = parse_request(json.dumps({**document, "prefetch": {}}).encode(), hook="order-sign")
    return fetch_missing(request, TEMPLATES, FhirAccess(servers=frozenset({allowed})), server, clock)


def page(*resources: Json, following: str = "") -> Json:
    """One page of a search."""
    link = [{"relation": "next", "url": following}] if following else []
    return {"resourceType": "Bundle", "link": link, "entry": [{"resource": r} for r in resources]}


def test_what_the_prefetch_lacks_is_fetched_page_by_page_with_the_token() -> None:
    server = Server({FIRST: page(WARFARIN, following=f"{HERE}?page=2"), f"{HERE}?page=2": page(IBUPROFEN)})

    found = fetched(server)

    assert found.missing == ()
    assert found.prefetch["medications"] == [server.pages[FIRST], server.pages[f"{HERE}?page=2"]]
    assert [headers["Authorization"] for _, headers in server.asked] == ["Bearer secret", "Bearer secret"]


@pytest.mark.parametrize(
    "base",
    [
        "https://evil.example/fhir", "http://ehr.example/fhir", "https://ehr.example/fhir2", "https://ehr.example:8443/fhir",
        "https://ehr.example@evil.example/fhir", "file:///etc/passwd", "https://ehr.example/fhir/../admin",
    ],
)  # fmt: skip
def test_a_server_that_is_not_on_the_list_is_never_called(base: str) -> None:
    server = Server({})

    found = fetched(server, base=base)

    assert server.asked == []
    assert "allow-list" in found.missing[0].what


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example/fhir?page=2", f"{HERE}/../admin", "//evil.example/fhir", f"{HERE}2/x",
        f"{HERE}/%2e%2e/admin", f"{HERE}/%252e%252e/admin",
    ],
)  # fmt: skip
def test_a_next_page_elsewhere_is_not_followed(following: str) -> None:
    server = Server({FIRST: page(WARFARIN, following=following)})

    found = fetched(server)

    assert len(server.asked) == 1
    assert "another server" in found.missing[0].why
    assert "medications" not in found.prefetch


@pytest.mark.parametrize(
    "answer", [TimeoutError(), OSError(), {"resourceType": "OperationOutcome"}, [], {"a": 1}, None]
)
def test_a_server_that_fails_is_told_as_not_checked(answer: Any) -> None:
    found = fetched(Server({FIRST: answer}))

    assert "medications" not in found.prefetch
    assert "could not be fetched" in found.missing[0].why


def test_endless_pages_and_a_slow_server_end() -> None:
    ticks = iter(range(0, 1000, 3))
    endless = Server({FIRST: page(following=FIRST)})

    assert "more than 10 pages" in fetched(endless).missing[0].why
    assert (
        "no time was left" in fetched(Server({FIRST: page(following=FIRST)}), clock=lambda: next(ticks)).missing[0].why
    )


def test_the_pddi_requests_reach_no_network_and_still_get_their_cards() -> None:
    server = Server({})

    response = posted(client(transport=server), real_request("warfarin-nsaids-order-sign-no-coordination.json"))

    assert server.asked == []
    assert response.json()["cards"][0]["indicator"] == "critical"


def test_a_record_from_an_allowed_server_is_screened() -> None:
    server = Server({FIRST: page(WARFARIN)})
    house = HooksSettings(base_url="http://testserver", signed=False, access=FhirAccess(servers=frozenset({HERE})))
    document = {**order_request(IBUPROFEN, fhirServer=HERE), "prefetch": None}

    cards = posted(client(house, transport=server), document).json()["cards"]

    assert cards[0]["summary"].startswith("ibuprofen with warfarin")
    assert "conditions: everything that rests on it" in cards[-1]["detail"]


class Slow(BaseHTTPRequestHandler):
    """A server on this machine that redirects, or drips its answer."""

    def do_GET(self) -> None:
        """Answers by path."""
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(20 if self.path == "/drip" else 1):
                self.wfile.write(b"{}" + b" " * 1000)
                time.sleep(0.05 if self.path == "/drip" else 0)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def slow() -> Iterator[str]:
    """Address of a `Slow` server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_network_is_read_with_a_limit_of_time_and_size_and_without_redirects(slow: str) -> None:
    assert over_network(f"{slow}/x", {}, 2.0, 10_000)[0] == 200
    assert len(over_network(f"{slow}/x", {}, 2.0, 10)[1]) > 10
    assert over_network(f"{slow}/redirect", {}, 2.0, 10_000)[0] == 302
    with pytest.raises(OSError):
        over_network(f"{slow}/drip", {}, 0.2, 100_000)
    with pytest.raises(OSError):
        over_network("file:///etc/hostname", {}, 2.0, 100)


# ------------------------------------------------------------------------------------------------- discovery and CORS


def test_discovery_offers_the_three_hooks_with_templates_that_name_the_patient() -> None:
    services = client().get("/cds-services").json()["services"]

    assert [service["hook"] for service in services] == list(HOOKS)
    assert [service["id"] for service in services] == [service_id(hook) for hook in HOOKS]
    for service in services:
        assert service["description"]
        assert all("{{context.patientId}}" in template for template in service["prefetch"].values())


def test_discovery_answers_with_a_slash_too_without_leading_elsewhere() -> None:
    door = client()

    found = door.get("/cds-services/", follow_redirects=False)

    assert found.status_code == 200
    assert found.content == door.get("/cds-services").content


def test_only_a_listed_origin_may_call_from_a_browser() -> None:
    house = HooksSettings(base_url="http://testserver", signed=False, origins=frozenset({"https://sandbox.example"}))
    door = client(house)

    ours = door.options("/cds-services/posologist-order-sign", headers={"Origin": "https://sandbox.example"})
    theirs = door.options("/cds-services/posologist-order-sign", headers={"Origin": "https://evil.example"})
    refused = door.post("/cds-services/x", content=b"", headers={"Origin": "https://sandbox.example"})

    assert ours.headers["Access-Control-Allow-Origin"] == "https://sandbox.example"
    assert "Authorization" in ours.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Origin" not in theirs.headers
    assert refused.headers["Access-Control-Allow-Origin"] == "https://sandbox.example"


@pytest.mark.parametrize(
    "origin, listed",
    [
        ("http://127.0.0.1:8099", True), ("http://localhost:3000", True), ("http://[::1]:80", True),
        ("https://sandbox.cds-hooks.org", True), ("https://evil.example", False), ("null", False),
        ("http://localhost.evil.example", False), ("http://127.0.0.1.evil.example", False), ("http://[", False),
    ],
)  # fmt: skip
def test_in_development_only_pages_of_this_machine_and_the_sandbox_may_call(origin: str, listed: bool) -> None:
    door = client(hooks_in_development("http://127.0.0.1:8000"))
    kept: list[Any] = []
    watched = client(hooks_in_development("http://127.0.0.1:8000"), keep=lambda *given: kept.append(given))
    order = json.dumps(order_request(IBUPROFEN, person(), WARFARIN))

    asked = door.get("/cds-services", headers={"Origin": origin})
    simple = {"Origin": origin, "Content-Type": "text/plain"}  # a browser sends it without asking first
    sent = watched.post("/cds-services/posologist-order-sign", content=order, headers=simple)

    assert asked.headers.get("Access-Control-Allow-Origin") == (origin if listed else None)
    assert (sent.status_code, len(kept)) == ((200, 1) if listed else (403, 0))


def test_an_answer_that_cannot_be_kept_is_not_given() -> None:
    def full(*args: Any) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        posted(client(keep=full), order_request(IBUPROFEN, person(), WARFARIN))
