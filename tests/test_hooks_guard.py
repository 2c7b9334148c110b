"""Who a card belongs to, what feedback on it may do, and what is put on record of a call that was refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hooks import PLACE, Json, cards_of, client, medicine, order_request, person
from posologist.core.errors import InputError
from posologist.serve.hook_desk import hooks_of_site
from posologist.serve.hooks.cards import markdown, plain
from posologist.serve.hooks.routes import HooksSettings
from posologist.serve.hooks.tokens import Issuer
from posologist.serve.security import Limits
from serving import Served, a_server
from test_hooks_tokens import ISS, jwk, token

DIGOXIN = medicine("197604", "Digoxin 0.125 MG Oral Tablet")
CYCLOSPORINE = {**medicine("835925", "cyclosporine, modified 50 MG Oral Capsule"), "id": "o"}
SIGN, SELECT = "/cds-services/posologist-order-sign", "/cds-services/posologist-order-select"
OTHER = "https://other.example"


def order(hook: str = "order-sign", user: str = "Practitioner/1") -> Json:
    """Ciclosporin beside digoxin, by one user."""
    document = order_request(CYCLOSPORINE, person(), DIGOXIN, hook=hook)
    document["context"]["userId"] = user
    return document


def feedback(card: str, **members: Any) -> Json:
    """The promise to monitor."""
    entry = {
        "card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-20T11:00:00Z",
        "overrideReason": {"reason": {"code": "will-monitor"}}, **members,
    }  # fmt: skip
    return {"feedback": [entry]}


def signed_by_two(**members: Any) -> HooksSettings:
    """A house that knows two clients."""
    known = {iss: Issuer(iss, jwks={"keys": [jwk("p384")]}) for iss in (ISS, OTHER)}
    return HooksSettings(base_url="http://testserver", issuers=known, place=PLACE, **members)


def as_client(iss: str, jti: str, path: str = SIGN) -> dict[str, str]:
    """Headers of a call that a client signed."""
    return {"Authorization": token(iss=iss, jti=jti, aud=f"http://testserver{path}")}


# ------------------------------------------------------------------------------------------------- whose cards they are


def test_what_one_user_was_shown_is_no_repeat_for_another() -> None:
    door = client()
    door.post(SELECT, json=order("order-select"))

    own, another = (door.post(SIGN, json=order(user=user)).json()["cards"] for user in ("Practitioner/1", "Nurse/2"))

    assert [card["indicator"] for card in own] == ["info"]
    assert another[0]["indicator"] == "critical"


def test_what_one_client_was_shown_is_no_repeat_for_a_patient_of_the_same_id_at_another() -> None:
    door = client(signed_by_two())
    door.post(SELECT, json=order("order-select"), headers=as_client(ISS, "1", SELECT))

    own = door.post(SIGN, json=order(), headers=as_client(ISS, "2")).json()["cards"]
    another = door.post(SIGN, json=order(), headers=as_client(OTHER, "3")).json()["cards"]

    assert [card["indicator"] for card in own] == ["info"]
    assert another[0]["indicator"] == "critical"


def test_a_client_gives_no_feedback_on_the_card_of_another() -> None:
    told: list[Any] = []
    door = client(signed_by_two(), decided=lambda by, decision, card, steps: told.append((by.issuer, card)))
    card = door.post(SIGN, json=order(), headers=as_client(ISS, "1")).json()["cards"][0]["uuid"]
    path = f"{SIGN}/feedback"

    theirs = door.post(path, json=feedback(card), headers=as_client(OTHER, "2", path)).json()["feedback"][0]
    own = door.post(path, json=feedback(card), headers=as_client(ISS, "3", path)).json()["feedback"][0]

    assert (theirs["known"], theirs["scheduled"]) == (False, [])
    assert own["known"]
    assert [(issuer, card is not None) for issuer, card in told] == [(OTHER, False), (ISS, True)]


def test_who_was_not_dealt_a_card_cannot_name_it() -> None:
    uuids = [
        {card["uuid"] for card in client(HooksSettings("http://testserver", signed=False, place=PLACE, secret=secret))
         .post(SIGN, json=order()).json()["cards"]}
        for secret in ("one", "one", "two")
    ]  # fmt: skip
    computed = {d.card.uuid for d in cards_of(order())}

    assert uuids[0] == uuids[1]
    assert not uuids[0] & uuids[2]
    assert not (uuids[0] | uuids[2]) & computed


def test_the_secret_of_a_site_is_made_anew_at_each_start(tmp_path: Path) -> None:
    path = tmp_path / "hooks.toml"
    path.write_text('base_url = "https://cds.example.org"\n')

    made = {hooks_of_site(path).secret for _ in range(2)}

    assert len(made) == 2
    assert all(len(secret) == 64 for secret in made)


# ------------------------------------------------------------------------------------------------- the time of feedback


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59Z", "9999-12-31", "2026-11-22T12:00:00Z"])
def test_feedback_of_a_day_that_has_not_come_is_refused(at: str) -> None:
    door = client()
    card = door.post(SIGN, json=order()).json()["cards"][0]["uuid"]

    refused = door.post(f"{SIGN}/feedback", json=feedback(card, outcomeTimestamp=at))

    assert refused.status_code == 400
    assert "outcomeTimestamp" in refused.json()["detail"]


def test_what_feedback_schedules_is_never_due_before_its_card() -> None:
    door = client()
    card = door.post(SIGN, json=order()).json()["cards"][0]["uuid"]

    told = door.post(f"{SIGN}/feedback", json=feedback(card, outcomeTimestamp="0001-01-01T00:00:00Z")).json()

    assert told["feedback"][0]["scheduled"][0]["due"] == "2026-11-21"


# ------------------------------------------------------------------------------------------------ what is put on record


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return a_server(tmp_path, hooks=signed_by_two())


def rows_of(served: Served) -> list[Json]:
    """The audit chain."""
    return list(served.ask("GET", "/audit", role="auditor", params={"limit": 200}).json()["rows"])


def test_the_rows_of_a_hook_name_the_client_and_the_request(served: Served) -> None:
    headers = {**as_client(ISS, "1"), "X-Request-Id": "request-of-the-hook"}
    answered = TestClient(served.app, base_url="http://testserver").post(SIGN, json=order(), headers=headers)

    rows = [row for row in rows_of(served) if row["request_id"] == "request-of-the-hook"]

    assert answered.status_code == 200
    assert {row["actor"] for row in rows} == {f"hooks of {ISS}"}
    assert {row["entity_type"] for row in rows} >= {"patient", "answer"}


def test_a_call_that_was_refused_leaves_a_row_and_a_flood_of_them_does_not_fill_the_chain(tmp_path: Path) -> None:
    limits = Limits(refused_rate=0.001, refused_burst=3)
    served = a_server(tmp_path, hooks=signed_by_two(), limits=limits)

    statuses = {served.client.post(SIGN, json=order()).status_code for _ in range(20)}
    evil = served.client.post(SIGN, json=order(), headers={"Origin": "https://evil.example"})
    rows = [row for row in rows_of(served) if row["entity_type"] == "hook"]

    assert statuses == {401}
    assert evil.status_code == 403
    assert [(row["outcome"], row["detail"]) for row in rows] == [("refused", "there is no bearer token")] * 3
    assert served.ask("GET", "/audit/verification", role="auditor").json()["whole"]


def test_a_client_that_calls_too_often_is_told_to_wait(tmp_path: Path) -> None:
    served = a_server(tmp_path, hooks=signed_by_two(), limits=Limits(rate=0.001, burst=2))
    door = TestClient(served.app, base_url="http://testserver")

    statuses = [door.post(SIGN, json=order(), headers=as_client(ISS, str(n))).status_code for n in range(4)]
    other = door.post(SIGN, json=order(), headers=as_client(OTHER, "x")).status_code

    assert statuses == [200, 200, 429, 429]
    assert other == 200


# -------------------------------------------------------------------------------------------------------- a site's file


def test_a_sites_file_may_let_unsigned_feedback_in_and_name_a_file_of_keys(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [jwk("p384")]}))
    (tmp_path / "hooks.toml").write_text(
        'base_url = "http://testserver"\nsigned_feedback = false\n'
        f'[[issuers]]\niss = "{ISS}"\njwks_file = "keys.json"\n'
    )
    settings = hooks_of_site(tmp_path / "hooks.toml")
    door = client(settings)

    assert settings.signed
    card = door.post(SIGN, json=order(), headers=as_client(ISS, "1")).json()["cards"][0]["uuid"]
    assert door.post(SIGN, json=order()).status_code == 401
    assert door.post(f"{SIGN}/feedback", json=feedback(card)).json()["feedback"][0]["known"]


@pytest.mark.parametrize(
    "text",
    [
        'base_url = "cds.example.org"', 'base_url = "https://a.example"\norigins = ["*"]',
        'base_url = "https://a.example"\nservers = ["file:///etc"]',
        'base_url = "https://a.example"\n[[issuers]]\niss = "x"\njwks_file = "none.json"',
        'base_url = "https://a.example"\n[[issuers]]\niss = "x"\njwks_file = "hooks.toml"',
    ],
)  # fmt: skip
def test_a_sites_file_that_would_let_anyone_in_or_nobody_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "hooks.toml").write_text(text)

    with pytest.raises(InputError):
        hooks_of_site(tmp_path / "hooks.toml")


# ----------------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("hidden", ["\u2066", "\u2069", "\u061c", "\xad", "\u180e", "\U000e0041", "\x85", "\u2028"])
def test_signs_that_hide_or_turn_text_do_not_reach_a_card(hidden: str) -> None:
    assert hidden not in plain(f"a{hidden}b")
    assert hidden not in markdown(f"a{hidden}b")


def test_an_entity_or_an_address_in_a_name_is_no_link() -> None:
    assert markdown("http&colon;//evil.example me@evil.example") == r"http\&colon;//evil.example me\@evil.example"
