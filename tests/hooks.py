"""CDS Hooks for the tests: the shared requests, the services that they call, and what an answer must look like."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.testclient import TestClient

from posologist.core.settings import Settings
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.serve.hooks.answers import Desk, answer
from posologist.serve.hooks.cards import Dealt, Place
from posologist.serve.hooks.requests import HookName, parse_request
from posologist.serve.hooks.routes import HookCalls, HooksSettings, hooks_router
from shared import shared_data

Json = dict[str, Any]
TODAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
PLACE = Place(base_url="https://example.org", patient_page="https://example.org/patients/{patient}")


@lru_cache(maxsize=1)
def knowledge() -> Knowledge:
    """The facts of the package, read once."""
    return load_knowledge()


def desk(today: date = TODAY) -> Desk:
    """What an answer needs beside the request."""
    return Desk(knowledge(), Settings(), PLACE, today)


def real_request(name: str, folder: str = "pddi-cds") -> Json:
    """A request of the shared files, as it stands there."""
    found: Json = json.loads(shared_data("ehr", "cds-hooks", folder, name).read_text(encoding="utf-8"))
    return found


def real_files() -> list[Path]:
    """Every request of the shared files, whatever its hook; none where the folder is not there."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data" / "ehr" / "cds-hooks"
    names = [*sorted((root / "pddi-cds").glob("*.json")), *sorted((root / "captured-from-sandbox").glob("*.json"))]
    return [path for path in names if path.stem.split("-")[0] not in ("feedback", "http", "jwks")]


def hook_of_file(document: Json) -> HookName:
    """The hook that a file is for; the retired one is read as order-sign."""
    named = document["hook"]
    return "order-sign" if named == "medication-prescribe" else named


def cards_of(document: Json, *, today: date = TODAY, **given: Any) -> tuple[Dealt, ...]:
    """Cards of a request, by the pure path."""
    return answer(parse_request(json.dumps(document).encode(), hook=hook_of_file(document)), desk(today), **given)


def indicators(cards: tuple[Dealt, ...]) -> list[str]:
    """The indicators of cards."""
    return [d.card.indicator for d in cards]


def loudest(cards: tuple[Dealt, ...]) -> str:
    """The most urgent indicator."""
    return max(indicators(cards), key=["info", "warning", "critical"].index)


def medicine(code: str, display: str, *, kind: str = "MedicationRequest", patient: str = "p", **members: Any) -> Json:
    """A medicine of a record, or an order."""
    concept = {"coding": [{"system": RXNORM, "code": code, "display": display}]}
    subject = {"reference": f"Patient/{patient}"}
    found = {"resourceType": kind, "id": f"m{code}", "status": "active", "subject": subject}
    return {**found, "medicationCodeableConcept": concept, **members}


def order_request(order: Json | list[Json], *record: Json, hook: str = "order-sign", **members: Any) -> Json:
    """A request of an order hook for patient `p`, with what the record holds."""
    orders = order if isinstance(order, list) else [order]
    context: Json = {
        "patientId": "p",
        "userId": "Practitioner/1",
        "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": {"status": "draft", **o}} for o in orders]},
    }
    if hook == "order-select":
        context["selections"] = [f"{o['resourceType']}/{o['id']}" for o in orders]
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in record]}
    return {
        "hook": hook,
        "hookInstance": str(uuid.uuid4()),
        "context": context,
        "prefetch": {"record": bundle},
        **members,
    }


def person(born: str = "1970-01-01", **members: Any) -> Json:
    """The patient `p`."""
    return {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": born, **members}


def client(settings: HooksSettings | None = None, **calls: Any) -> TestClient:
    """A client of the routes; unsigned unless the settings say otherwise."""
    app = FastAPI()
    given = {"knowledge": knowledge(), "seen": lambda token, expires: False, "now": lambda: NOW, "today": lambda: TODAY}
    open_house = HooksSettings(base_url="http://testserver", signed=False, place=PLACE)
    app.include_router(hooks_router(HookCalls(**{**given, **calls}), settings or open_house))
    return TestClient(app)


def posted(door: TestClient, document: Any, hook: str = "order-sign") -> Any:
    """The response to a document posted to the service of a hook."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return door.post(f"/cds-services/posologist-{hook}", content=body)


# ------------------------------------------------------------------------------- the shape that the specification asks

_CARD = {
    "uuid",
    "summary",
    "detail",
    "indicator",
    "source",
    "suggestions",
    "selectionBehavior",
    "overrideReasons",
    "links",
}


def assert_valid_answer(document: Any) -> None:
    """A response as CDS Hooks 2.0 describes it (specification, "CDS Service Response" and "Card Attributes")."""
    assert isinstance(document, dict)
    assert set(document) <= {"cards", "systemActions", "extension"}
    assert isinstance(document["cards"], list)
    uuids = [_assert_valid_card(card) for card in document["cards"]]
    assert len(set(uuids)) == len(uuids)


def _assert_valid_card(card: Mapping[str, Any]) -> str:
    assert set(card) <= _CARD, set(card) - _CARD
    assert 0 < len(card["summary"]) < 140
    assert card["indicator"] in ("info", "warning", "critical")
    assert isinstance(card["source"]["label"], str)
    assert card["source"]["label"]
    _assert_url(card["source"].get("url"))
    assert "suggestions" not in card or card["selectionBehavior"] in ("at-most-one", "any")
    for suggestion in card.get("suggestions", ()):
        assert suggestion["label"]
        uuid.UUID(suggestion["uuid"])
        assert suggestion["actions"]
        for action in suggestion["actions"]:
            _assert_valid_action(action)
    for reason in card.get("overrideReasons", ()):
        assert reason["code"]
        assert reason["display"]
    for link in card.get("links", ()):
        assert link["label"]
        assert link["type"] == "absolute"
        _assert_url(link["url"])
    return str(uuid.UUID(card["uuid"]))


def _assert_valid_action(action: Mapping[str, Any]) -> None:
    assert action["description"]
    assert action["type"] in ("create", "update", "delete")
    if action["type"] == "delete":
        assert "/" in action["resourceId"]
    else:
        assert action["resource"]["resourceType"]


def _assert_url(url: str | None) -> None:
    assert url is None or (urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc)
