"""The hooks called from a page of another origin in Chromium, as the CDS Hooks sandbox calls them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec

from hooks import Json, assert_valid_answer, medicine, real_request
from posologist.serve.api import create_app
from posologist.serve.hook_desk import hooks_in_development, hooks_of_site
from posologist.serve.hooks.routes import HooksSettings
from posologist.serve.service import Service
from posologist.serve.store import Store
from serving import knowledge
from stores import ANNA

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("POSOLOGIST_NO_SKIP"), reason="no Chromium here: apt-get install chromium"
)
ISS = "https://sandbox.cds-hooks.org"
PATIENT = "smart-1288992"
WARFARIN = medicine("855295", "Warfarin Sodium 10 MG", patient=PATIENT)
HYPERTENSION = {
    "resourceType": "Condition", "id": "c", "subject": {"reference": f"Patient/{PATIENT}"},
    "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "I10"}]},
}  # fmt: skip
IBUPROFEN = {**medicine("197805", "Ibuprofen 400 MG Oral Tablet", patient=PATIENT), "id": "request-123"}
PAGE = """<!doctype html><title>a client</title><link rel="icon" href="data:,"><main></main><script>
const text = new TextEncoder();
const signs = {'+': '-', '/': '_', '=': ''};
const base64 = bytes => btoa(String.fromCharCode(...bytes)).replace(/[+/=]/g, sign => signs[sign]);
const part = value => base64(text.encode(JSON.stringify(value)));
async function token(audience, key, kid) {
  const now = Math.round(Date.now() / 1000);
  const header = {alg: 'ES384', typ: 'JWT', kid, jku: 'ISS/.well-known/jwks.json'};
  const claims = {iss: 'ISS', aud: audience, exp: now + 300, iat: now, jti: crypto.randomUUID()};
  const said = part(header) + '.' + part(claims);
  const own = await crypto.subtle.importKey('jwk', key, {name: 'ECDSA', namedCurve: 'P-384'}, false, ['sign']);
  const signature = await crypto.subtle.sign({name: 'ECDSA', hash: 'SHA-384'}, own, text.encode(said));
  return said + '.' + base64(new Uint8Array(signature));
}
async function discovered(server) {
  const found = await fetch(server + '/cds-services', {headers: {Accept: 'application/json'}});
  return (await found.json()).services;
}
async function prefetched(service, patient) {
  const found = {};
  for (const [key, template] of Object.entries(service.prefetch)) {
    const answer = await fetch('/fhir/' + template.replace(/{{\\s*context\\.patientId\\s*}}/g, patient));
    found[key] = await answer.json();
  }
  return found;
}
async function posted(url, document, key, kid) {
  const headers = {Accept: 'application/json', 'Content-Type': 'application/json'};
  if (key) headers.Authorization = 'Bearer ' + await token(url, key, kid);
  const answer = await fetch(url, {method: 'POST', headers, body: JSON.stringify(document)});
  const told = await answer.json();
  for (const card of told.cards || []) {
    const shown = document_.createElement('section');
    shown.className = card.indicator;
    shown.textContent = card.summary;
    document_.querySelector('main').append(shown);
  }
  return {status: answer.status, told, id: answer.headers.get('X-Request-Id')};
}
const document_ = window.document;
</script>""".replace("ISS", ISS)


class Client(BaseHTTPRequestHandler):
    """The page and a FHIR server beside it, which knows one patient with hypertension, on warfarin."""

    def __init__(self, patient: Json, *given: Any) -> None:
        self.patient = patient
        super().__init__(*given)

    def do_GET(self) -> None:
        """The page, the patient, what is known, or a search that found nothing."""
        path = urlsplit(self.path).path
        if path == "/":
            self._told("text/html", PAGE)
            return
        kind = path.removeprefix("/fhir/").partition("/")[0]
        entries = [{"resource": one} for one in (WARFARIN, HYPERTENSION) if one["resourceType"] == kind]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
        self._told("application/fhir+json", json.dumps(self.patient if kind == "Patient" else bundle))

    def _told(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Origin of the client's page."""
    patient = real_request("patient-view.json", "captured-from-sandbox")["prefetch"]["patient"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Client, patient))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@dataclass
class Served:
    """A running server, its store, and the client's private key."""

    store: Store
    key: Json | None = None
    address: str = ""
    kid: str = "of-the-test"
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(served: Served, settings_at: Any) -> Iterator[Served]:
    """The server at an address that it is told before it starts."""
    config = uvicorn.Config("none", host="127.0.0.1", port=0, log_level="error", ws="none", lifespan="off")
    with config.bind_socket() as socket:
        served.address = f"http://127.0.0.1:{socket.getsockname()[1]}"
        settings: HooksSettings = settings_at(served.address)
        config = uvicorn.Config(
            create_app(Service(served.store, knowledge()), hooks=settings), log_level="error", ws="none", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield served
        server.should_exit = True
        thread.join(10)


def _store(folder: Path) -> Store:
    store = Store(f"sqlite:///{folder / 'hooks.db'}")
    store.migrate()
    return store


@pytest.fixture
def signed(tmp_path: Path, origin: str) -> Iterator[Served]:
    """A server that asks for signatures, with the file that docs/hooks.md names."""
    key = ec.generate_private_key(ec.SECP384R1())
    served = Served(_store(tmp_path), json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key)))
    public = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": served.kid, "use": "sig"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public]}))

    def settings(address: str) -> HooksSettings:
        (tmp_path / "hooks.toml").write_text(
            f'base_url = "{address}"\norigins = ["{origin}"]\nsigned_feedback = false\n'
            f'[[issuers]]\niss = "{ISS}"\njwks_file = "jwks.json"\n'
        )
        return hooks_of_site(tmp_path / "hooks.toml")

    with serving(served, settings) as running:
        yield running


@pytest.fixture
def developing(tmp_path: Path) -> Iterator[Served]:
    """A server in development mode."""
    with serving(Served(_store(tmp_path)), hooks_in_development) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    """The client's page; what its console says must be nothing."""
    made = browser.new_page()
    said: list[str] = []
    made.on("console", lambda message: said.append(message.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    made.goto(origin)
    yield made
    made.close()

    assert said == []


def call(page: Page, served: Served, hook: str, document: Json) -> Any:
    """What a hook answers to a document, posted from the page as the sandbox does, with what its templates fetch."""
    return page.evaluate(
        """async ([server, hook, document, key, kid]) => {
          const service = (await discovered(server)).find(one => one.hook === hook);
          document.prefetch = await prefetched(service, document.context.patientId);
          return await posted(`${server}/cds-services/${service.id}`, document, key, kid);
        }""",
        [served.address, hook, document, served.key, served.kid],
    )


def report(page: Page, served: Served, hook: str, body: Json) -> Any:
    """What the answer to feedback is, posted as the sandbox does: without a token."""
    url = f"{served.address}/cds-services/posologist-{hook}/feedback"
    return page.evaluate("([url, body]) => posted(url, body, null, null)", [url, body])


def captured(hook: str, order: Json | None = None) -> Json:
    """A request of the sandbox, with a medicine in its order where one is given."""
    document = real_request(f"{hook}.json", "captured-from-sandbox")
    document.pop("prefetch", None)
    if order is not None:
        document["context"]["draftOrders"]["entry"] = [{"resource": {**order, "status": "draft"}}]
    return document


@pytest.mark.parametrize("server", ["signed", "developing"])
@pytest.mark.parametrize("hook", ["patient-view", "order-select", "order-sign"])
def test_each_hook_answers_the_page_of_another_origin(
    page: Page, hook: str, server: str, request: pytest.FixtureRequest
) -> None:
    served: Served = request.getfixturevalue(server)

    found = call(page, served, hook, captured(hook))

    assert found["status"] == 200
    assert found["id"]
    assert_valid_answer(found["told"])
    assert found["told"]["cards"]
    assert page.locator("main section").count() == len(found["told"]["cards"])


@pytest.mark.parametrize("server", ["signed", "developing"])
def test_an_order_from_choosing_to_feedback(page: Page, server: str, request: pytest.FixtureRequest) -> None:
    served: Served = request.getfixturevalue(server)
    chosen = call(page, served, "order-select", captured("order-select", IBUPROFEN))["told"]["cards"]
    to_sign = call(page, served, "order-sign", captured("order-sign", IBUPROFEN))["told"]["cards"]
    overridden = real_request("feedback-overridden.json", "captured-from-sandbox")
    accepted = real_request("feedback-accepted.json", "captured-from-sandbox")
    now = time.strftime("%Y-%m-%dT%H:%M:%S.079Z", time.gmtime())
    overridden["feedback"][0] |= {"card": chosen[0]["uuid"], "outcomeTimestamp": now}
    accepted["feedback"][0] |= {
        "card": chosen[0]["uuid"], "outcomeTimestamp": now,
        "acceptedSuggestions": [{"id": chosen[0]["suggestions"][0]["uuid"]}],
    }  # fmt: skip

    told = [report(page, served, "order-select", body) for body in (overridden, accepted)]
    with served.store.work(ANNA) as work:
        decisions = work.decisions(PATIENT)

    assert chosen[0]["indicator"] == "critical"
    assert page.locator("main section.critical").count() == 1
    assert [card["indicator"] for card in to_sign] == ["info"]
    assert [one["status"] for one in told] == [200, 200]
    assert [one["told"]["feedback"][0]["known"] for one in told] == [True, True]
    assert [decision.action for decision in decisions] == ["accept"]


def test_what_the_browser_sends_is_what_the_sandbox_was_seen_to_send(page: Page, signed: Served) -> None:
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    call(page, signed, "order-sign", captured("order-sign"))
    headers = sent[0].all_headers()
    seen = real_request("http-headers.json", "captured-from-sandbox")
    made, captured_token = (h["Authorization" if "Authorization" in h else "authorization"] for h in (seen, headers))
    parts = [jwt.get_unverified_header(one.removeprefix("Bearer ")) for one in (made, captured_token)]
    claims = [
        jwt.decode(one.removeprefix("Bearer "), options={"verify_signature": False}) for one in (made, captured_token)
    ]

    assert {name.lower() for name in seen} <= set(headers)
    assert headers["content-type"] == seen["Content-Type"]
    assert headers["accept"] == seen["Accept"]
    assert set(parts[0]) == set(parts[1])
    assert set(claims[0]) == set(claims[1])


def test_a_page_of_an_origin_that_is_not_listed_gets_nothing(browser: Browser, origin: str, signed: Served) -> None:
    strange = browser.new_page()
    strange.goto(origin.replace("127.0.0.1", "localhost"))

    failed = strange.evaluate(
        """async ([server]) => {
          const url = `${server}/cds-services/posologist-order-sign`;
          const name = error => error.name;
          const simple = fetch(url, {method: 'POST', mode: 'no-cors', body: '{}'});
          return [await simple.catch(name), await posted(url, {}, null, null).catch(name)];
        }""",
        [signed.address],
    )
    strange.close()
    with signed.store.work(ANNA) as work:
        rows = work.audit_rows(limit=200)

    assert failed == ["TypeError", "TypeError"]
    assert [row.detail for row in rows if row.entity_type == "hook"] == ["the browser's origin is not on the list"]
