"""What is refused: the wrong person, role, token, form, size, speed; and what is never told or logged."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from patients import as_bytes, bundle, fhir_patient, fhir_pressure
from posologist.serve.access import PUBLIC, RULES
from posologist.serve.accounts import DEVELOPER, Accounts, hash_password, is_password
from posologist.serve.api import check_access, routes_of
from posologist.serve.logs import JsonLines
from posologist.serve.receiving import Bounds
from posologist.serve.refused import UnauthorisedError
from posologist.serve.routes.asking import COOKIE
from posologist.serve.security import Limits
from posologist.serve.server import is_loopback
from posologist.serve.store import Store
from serving import DEMO, PASSWORD, ROLES, Served, a_server

FHIR = {"Content-Type": "application/fhir+json"}
SCRIPT = '<script>alert("x")</script>'
CLOSED = sorted(rule for rule, roles in RULES.items() if roles is not PUBLIC)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return a_server(tmp_path_factory.mktemp("security"), limits=Limits(rate=1e6, burst=10**6))


@pytest.fixture
def fresh(tmp_path: Path) -> Served:
    return a_server(tmp_path)


@pytest.fixture(scope="module")
def refused_tokens(served: Served) -> dict[str, str]:
    """Tokens that were good once, and some that never were."""
    accounts = served.accounts
    accounts.add("gone", name="", role="prescriber", password=PASSWORD)
    found = {
        "wrong": "psl_" + "A" * 43, "nothing": "", "odd": "psl_\u00e9", "an id": "prescriber",
        "disabled": accounts.issue_token("gone", lasts=timedelta(days=1)).token,
        "expired": accounts.issue_token("prescriber", lasts=timedelta(seconds=30)).token,
    }  # fmt: skip
    revoked = accounts.issue_token("prescriber", lasts=timedelta(days=1))
    accounts.revoke_token(revoked.id)
    accounts.disable("gone")
    served.clock.now += timedelta(minutes=1)
    return found | {"revoked": revoked.token}


def _address(path: str) -> str:
    """A route's address with something in each place."""
    filled = {
        "patient_id": "p1", "answer_id": "0" * 64, "follow_up_id": "0" * 64, "token_id": "0" * 16,
        "purpose": "treatment",
    }  # fmt: skip
    return re.sub(r"{(\w+)}", lambda place: filled[place.group(1)], path)


def _call(served: Served, rule: tuple[str, str], headers: Mapping[Any, Any] | None = None) -> Any:
    method, path = rule
    # Another client each time: no cookie of an earlier call.
    client = TestClient(served.app, base_url="https://testserver", raise_server_exceptions=False)
    return client.request(method, _address(path), headers=headers)


def test_the_table_of_roles_is_the_list_of_routes(served: Served) -> None:
    assert sorted(routes_of(served.app)) == sorted(RULES)


def test_a_route_that_is_not_in_the_table_keeps_the_server_from_starting(fresh: Served) -> None:
    fresh.app.add_api_route("/api/v1/forgotten", lambda: None)

    with pytest.raises(LookupError, match="forgotten"):
        check_access(fresh.app)


def test_only_signing_in_and_health_are_public() -> None:
    public = {path for (_, path), roles in RULES.items() if roles is PUBLIC}

    assert public == {"/api/v1/sessions", "/api/v1/health/live", "/api/v1/health/ready"}


@pytest.mark.parametrize("rule", CLOSED, ids=" ".join)
def test_a_route_without_a_token_is_refused(served: Served, rule: tuple[str, str]) -> None:
    for headers in ({}, {"Authorization": "Basic dXNlcjpwYXNz"}, {"Cookie": f"{COOKIE}=guessed"}):
        refused = _call(served, rule, headers)

        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["code"] == "unauthorised"


@pytest.mark.parametrize("rule", CLOSED, ids=" ".join)
def test_a_route_with_a_bad_token_is_refused(
    served: Served, rule: tuple[str, str], refused_tokens: dict[str, str]
) -> None:
    for kind, token in refused_tokens.items():
        header = {b"Authorization": f"Bearer {token}".encode("latin-1")}

        assert _call(served, rule, header).status_code == 401, kind


@pytest.mark.parametrize(
    ("rule", "role"),
    [(rule, role) for rule in CLOSED for role in ROLES if role not in RULES[rule]],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_route_with_another_role_is_refused(served: Served, rule: tuple[str, str], role: str) -> None:
    refused = _call(served, rule, {"Authorization": f"Bearer {served.tokens[role]}"})

    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("rule", CLOSED, ids=" ".join)
def test_a_route_with_the_right_role_is_not_refused(served: Served, rule: tuple[str, str]) -> None:
    for role in RULES[rule]:
        answered = _call(served, rule, {"Authorization": f"Bearer {served.tokens[role]}"})

        assert answered.status_code not in (401, 403, 500), answered.text


_OPEN_PAGES = ("/sign-in", "/static/", "/cds-services")


def test_no_page_is_shown_to_who_is_not_signed_in(fresh: Served) -> None:
    pages = [
        (method, context.path)
        for context in iter_route_contexts(fresh.app.routes)
        if context.path is not None and not context.path.startswith(("/api/v1", *_OPEN_PAGES))
        for method in context.methods or ()
    ]
    for method, path in pages:
        for cookie in ({}, {"Cookie": f"{COOKIE}=guessed"}):
            form = {"csrf": "guessed", "action": "accept", "rank": "1", "indication": "hypertension"}
            told = fresh.client.request(
                method, re.sub(r"{\w+}", "x", path), headers=cookie, follow_redirects=False,
                data=form if method == "POST" else None,
            )  # fmt: skip

            led_away = told.status_code == 303 and told.headers["location"].startswith(("/sign-in", "/patients"))
            assert led_away or told.status_code in (401, 403, 422), (method, path, told.status_code)
            assert method == "GET" or not led_away, path

    assert len(pages) > 10


def _signed_in(served: Served, account: str = "prescriber") -> tuple[TestClient, str]:
    client = TestClient(served.app, base_url="https://testserver", raise_server_exceptions=False)
    done = client.post("/api/v1/sessions", json={"account": account, "password": PASSWORD})
    assert done.status_code == 201, done.text
    return client, done.json()["csrf"]


def test_a_session_is_a_cookie_out_of_reach_of_scripts_and_other_sites(served: Served) -> None:
    done = served.client.post("/api/v1/sessions", json={"account": "prescriber", "password": PASSWORD})
    served.client.cookies.clear()
    cookie = done.headers["set-cookie"].lower()

    assert cookie.startswith("__host-")
    for flag in ("httponly", "secure", "samesite=strict", "path=/"):
        assert flag in cookie
    assert "domain" not in cookie


def test_a_write_of_a_session_needs_the_forms_token(served: Served) -> None:
    client, csrf = _signed_in(served)
    given = as_bytes(bundle(fhir_patient("csrf"), fhir_pressure(150, 95)))
    statuses = [
        client.post("/api/v1/patients", content=given, headers=FHIR | more).status_code
        for more in ({}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": csrf})
    ]

    assert statuses == [403, 403, 201]
    assert client.get("/api/v1/patients").status_code == 200


def test_a_session_ends_when_it_is_signed_out(served: Served) -> None:
    client, csrf = _signed_in(served)
    cookie = client.cookies[COOKIE]
    done = client.delete("/api/v1/sessions/current", headers={"X-CSRF-Token": csrf})
    replayed = served.client.get("/api/v1/patients", headers={"Cookie": f"{COOKIE}={cookie}"})

    assert (done.status_code, replayed.status_code) == (204, 401)


def test_a_session_ends_by_itself(fresh: Served) -> None:
    client, _ = _signed_in(fresh)
    fresh.clock.now += timedelta(hours=9)

    assert client.get("/api/v1/patients").status_code == 401


def test_which_of_account_and_password_is_wrong_is_not_told(fresh: Served) -> None:
    told = [
        fresh.client.post("/api/v1/sessions", json={"account": account, "password": "not the password"}).json()[
            "detail"
        ]
        for account in ("prescriber", "nobody")
    ]

    assert told[0] == told[1]


def test_a_token_of_ones_own_can_be_made_and_ended(served: Served) -> None:
    made = served.ask("POST", "/tokens", json={"days": 1}).json()
    header = {"Authorization": f"Bearer {made['token']}"}
    before = served.client.get("/api/v1/patients", headers=header).status_code
    another = served.ask("DELETE", f"/tokens/{made['id']}", role="pharmacist").status_code
    ended = served.ask("DELETE", f"/tokens/{made['id']}").status_code

    assert (before, another, ended) == (200, 404, 204)
    assert served.client.get("/api/v1/patients", headers=header).status_code == 401


def test_no_password_token_or_cookie_is_held_as_it_is(fresh: Served) -> None:
    client, _ = _signed_in(fresh)
    path = fresh.store.path
    assert path is not None
    fresh.store.close()
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())

    for secret in (PASSWORD, client.cookies[COOKIE], *fresh.tokens.values()):
        assert secret.encode() not in held


def test_two_hashes_of_one_password_differ_and_both_hold(fresh: Served) -> None:
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)

    assert first != second
    assert is_password(PASSWORD, first)
    assert not is_password(PASSWORD + " ", first)


def test_guessing_passwords_is_slowed_down(tmp_path: Path) -> None:
    served = a_server(tmp_path, limits=Limits(refused_rate=0.001, refused_burst=2))
    wrong = {"account": "prescriber", "password": "not the password"}
    statuses = [served.client.post("/api/v1/sessions", json=wrong).status_code for _ in range(4)]
    right = served.client.post("/api/v1/sessions", json={"account": "prescriber", "password": PASSWORD})

    assert statuses == [401, 401, 429, 429]
    assert right.status_code == 429
    assert served.ask("GET", "/patients").status_code == 200


def test_guessing_tokens_is_slowed_down(tmp_path: Path) -> None:
    served = a_server(tmp_path, limits=Limits(rate=0.001, burst=2))
    statuses = [served.client.get("/api/v1/patients").status_code for _ in range(4)]

    assert statuses == [401, 401, 429, 429]


def test_an_address_tells_every_method_that_it_takes(served: Served) -> None:
    told = served.client.options("/api/v1/sessions/current")

    assert (told.status_code, told.headers["allow"]) == (405, "DELETE, GET")


def test_an_account_that_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    served = a_server(tmp_path, limits=Limits(rate=0.001, burst=3))
    answers = [served.ask("GET", "/patients") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["retry-after"]
    assert served.ask("GET", "/patients", role="pharmacist").status_code == 200


_FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def _in_parts(size: int, head: bytes = b"") -> Iterator[bytes]:
    yield head
    for _ in range(size // 1000):
        yield b" " * 1000


@pytest.mark.parametrize("path", ["/patients", "/patients/p1/genome", "/patients/p1/recommend", "/sessions"])
def test_a_body_beyond_its_bound_is_refused_announced_or_not(tmp_path: Path, path: str) -> None:
    bounds = Bounds(bundle_bytes=20_000, vcf_bytes=30_000)
    served = a_server(tmp_path, limits=Limits(body_bytes=10_000), bounds=bounds)
    headers = {"Content-Type": "application/json" if "genome" not in path else "text/plain"}
    for content in (b" " * 40_000, _in_parts(40_000)):
        refused = served.ask("POST", path, content=content, headers=headers)

        assert (refused.status_code, refused.json()["code"]) == (413, "too-large")


def test_a_body_that_comes_too_slowly_is_given_up(tmp_path: Path) -> None:
    served = a_server(tmp_path, limits=Limits(chunk_s=0.05))
    told: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(5)

    async def send(message: Any) -> None:
        told.append(message)

    headers = [
        (b"authorization", f"Bearer {served.tokens['prescriber']}".encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {
        "type": "http", "method": "POST", "path": "/api/v1/patients/p1/screen", "query_string": b"", "headers": headers,
        "http_version": "1.1", "scheme": "https", "server": ("testserver", 443), "client": ("here", 1), "root_path": "",
    }  # fmt: skip
    asyncio.run(served.app(scope, receive, send))

    assert told[0]["status"] == 408


@pytest.mark.parametrize("path", ["/api/v1/patients/p1/genome", "/api/v1/patients", "/patients", "/patients/p1/genome"])
def test_nobody_uploads_without_being_known(fresh: Served, path: str) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for who in ({}, {"Authorization": "Bearer psl_guessed"}, {"Cookie": f"{COOKIE}=guessed"}):
        announced = fresh.client.post(path, content=b" " * 2_000_000, headers=who)
        in_parts = fresh.client.post(path, content=_in_parts(2_000_000, _FORM), headers=who | form)

        assert announced.status_code == 413
        assert in_parts.status_code == (401 if path.startswith("/api") else 413)


def test_an_upload_leaves_nothing_on_disk(fresh: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    name = fresh.add_patient((DEMO / "patient.json").read_bytes())
    for content in ((DEMO / "genome.vcf").read_bytes(), b"no vcf"):
        fresh.ask("POST", f"/patients/{name}/genome", content=content, headers={"Content-Type": "text/plain"})

    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("name", ["../up.vcf", "/etc/x", ".hidden", "a b", "x" * 101])
def test_a_name_that_is_no_plain_file_name_is_refused(served: Served, name: str) -> None:
    refused = served.ask(
        "POST", "/patients/p1/genome", content=b"x", headers={"Content-Type": "text/plain"}, params={"name": name}
    )

    assert refused.status_code == 422


def test_script_in_names_and_notes_comes_back_as_inert_json(fresh: Served) -> None:
    record = fhir_patient("script") | {"name": [{"family": SCRIPT, "given": [SCRIPT]}]}
    fresh.add_patient(as_bytes(bundle(record, fhir_pressure(150, 95))))
    answer = fresh.ask("POST", "/patients/script/screen", json={"orders": ["warfarin 5 mg po q24h", SCRIPT]})
    body = {"action": "override", "reason": "benefit-outweighs", "note": SCRIPT, "order_text": SCRIPT}
    decided = fresh.ask("POST", f"/answers/{answer.headers['answer-id']}/decisions", json=body)
    shown = fresh.ask("GET", "/patients/script")

    assert SCRIPT in shown.json()["name"]
    assert decided.json()["decision"]["note"] == SCRIPT
    for told in (answer, decided, shown):
        assert told.headers["content-type"] == "application/json"
        assert told.headers["x-content-type-options"] == "nosniff"
        assert told.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", ["/api/v1/health/live", "/api/v1/patients", "/nowhere", "/api/v1/openapi.json"])
def test_every_response_has_the_secure_headers(served: Served, path: str) -> None:
    headers = served.client.get(path).headers

    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "strict-transport-security" in headers
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])


@pytest.mark.parametrize("given", ["short", "with space in it", "x" * 65, 'quote"quote"', "new\tline\tinside"])
def test_a_request_id_that_could_forge_a_log_line_is_replaced(served: Served, given: str) -> None:
    told = served.client.get("/api/v1/health/live", headers={"X-Request-Id": given})

    assert re.fullmatch("[0-9a-f]{32}", told.headers["x-request-id"])


def test_only_this_servers_name_is_answered(tmp_path: Path) -> None:
    served = a_server(tmp_path, hosts=("localhost",))
    statuses = [
        served.client.get("/api/v1/health/live", headers={"Host": host}).status_code
        for host in ("localhost:8000", "evil.example", "localhost.evil.example")
    ]

    assert statuses == [200, 400, 400]


def test_a_defect_tells_and_logs_no_text_of_the_error(
    fresh: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*given: object, **named: object) -> None:
        raise RuntimeError("Jane Doe, born 1964")

    monkeypatch.setattr(type(fresh.app.state.door.service), "recommend", broken)
    with caplog.at_level(logging.INFO):
        told = fresh.ask("POST", "/patients/p1/recommend", json={"indication": "hypertension"})

    assert (told.status_code, told.json()["code"]) == (500, "defect")
    assert "Jane" not in told.text + _lines(caplog)
    assert "RuntimeError at test_api_security.py" in _lines(caplog)


def _lines(caplog: pytest.LogCaptureFixture) -> str:
    """The log as `posologist serve` writes it."""
    return "\n".join(JsonLines().format(record) for record in caplog.records)


def test_no_identifier_and_no_token_is_logged(fresh: Served, caplog: pytest.LogCaptureFixture) -> None:
    record = fhir_patient("mrn-4711") | {"name": [{"family": "Doe", "given": ["Jane"]}]}
    with caplog.at_level(logging.DEBUG):
        fresh.add_patient(as_bytes(bundle(record, fhir_pressure(150, 95))))
        fresh.ask("POST", "/patients/mrn-4711/screen", json={"orders": ["warfarin 5 mg po q24h"]})
        fresh.ask("GET", "/patients/mrn-4711?secret=Doe")
        fresh.ask("GET", "/patients/mrn-4712")
        _, csrf = _signed_in(fresh)
    text = _lines(caplog)

    for identifier in ("mrn-4711", "mrn-4712", "Doe", "Jane", "warfarin", "prescriber", csrf, *fresh.tokens.values()):
        assert identifier not in text
    assert '"route": "/api/v1/patients/{patient_id}/screen"' in text


def test_what_a_library_logs_is_not_repeated() -> None:
    record = logging.LogRecord("sqlalchemy.engine", logging.WARNING, "x.py", 1, "SELECT %s", ("Jane Doe",), None)
    line = json.loads(JsonLines().format(record))

    assert "Jane" not in json.dumps(line)
    assert line["logger"] == "sqlalchemy.engine"


@pytest.mark.parametrize(
    ("host", "is_own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)]
)
def test_loopback_is_known(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


_PROGRAM = [sys.executable, "-c", "from posologist.serve.cli import main; main()"]


def _ran(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_PROGRAM, *words], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_development_mode_is_for_this_machine_only(tmp_path: Path) -> None:
    done = _ran(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")

    assert done.returncode == 2
    assert "this machine only" in done.stderr


def test_an_account_is_added_with_the_password_of_a_file_and_ends_development_mode(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    done = _ran(
        tmp_path, "account", "add", "anna", "--role", "auditor", POSOLOGIST_PASSWORD_FILE=str(tmp_path / "password")
    )
    accounts = Accounts(Store(f"sqlite:///{tmp_path / 'posologist.db'}"))

    assert (done.returncode, done.stdout) == (0, "account anna: auditor\n")
    assert not accounts.is_development()
    assert accounts.sign_in("anna", PASSWORD).account.role == "auditor"


def test_the_first_account_closes_the_generated_one(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'first.db'}")
    store.migrate()
    accounts = Accounts(store)
    password = accounts.new_developer()
    token = accounts.issue_token(DEVELOPER, lasts=timedelta(days=1)).token
    accounts.add("anna", name="", role="prescriber", password=PASSWORD)

    with pytest.raises(UnauthorisedError):
        accounts.sign_in(DEVELOPER, password)
    with pytest.raises(UnauthorisedError):
        accounts.holder(token)


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _ran(tmp_path, "serve", "--port", str(taken.getsockname()[1]))

    assert done.returncode == 2
    assert "could not start" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_process_starts_answers_and_stops_cleanly(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as stream:
        running = subprocess.Popen([*_PROGRAM, "serve", "--port", str(port)], cwd=tmp_path, stderr=stream)
    try:
        health = _health_of(port)
        password = next(line.split()[-1] for line in log.read_text().splitlines() if "password:" in line)
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v1/sessions", method="POST", headers={"Content-Type": "application/json"},
            data=json.dumps({"account": "development", "password": password}).encode(),
        )  # fmt: skip
        with urllib.request.urlopen(asked) as signed_in:
            status = signed_in.status
    finally:
        running.send_signal(signal.SIGTERM)
        ended = running.wait(timeout=30)

    assert health["mode"] == "development"
    assert status == 201
    assert ended == 0
    assert "DEVELOPMENT MODE" in log.read_text()
    assert "Traceback" not in log.read_text()


def _health_of(port: int) -> Any:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/health/ready") as answered:
                return json.loads(answered.read())
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
