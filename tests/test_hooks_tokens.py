"""Signed requests: who may call, by the captured token of the sandbox and by tokens made to be refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http.client import BadStatusLine
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hooks import NOW, PLACE, client, medicine, order_request, person
from posologist.serve.hooks.routes import HooksSettings
from posologist.serve.hooks.tokens import Caller, FetchedKeys, Issuer, TokenRefused, verify
from shared import shared_data

AUDIENCE = "http://testserver/cds-services/posologist-order-sign"
ISS = "https://ehr.example"


@lru_cache(maxsize=1)
def keys() -> dict[str, Any]:
    """Private keys of the tests, by id."""
    return {
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "weak": rsa.generate_private_key(public_exponent=65537, key_size=1024),
        "stranger": ec.generate_private_key(ec.SECP384R1()),
    }


def jwk(kid: str, **members: Any) -> dict[str, Any]:
    """The public half of a key."""
    public = keys()[kid].public_key()
    algorithm = jwt.algorithms.RSAAlgorithm if "rsa" in kid or kid == "weak" else jwt.algorithms.ECAlgorithm
    return {**json.loads(algorithm.to_jwk(public)), "kid": kid, **members}


def issuers(*kids: str, **members: Any) -> dict[str, Issuer]:
    """Our list: one issuer with these keys."""
    listed = [jwk(kid, **members) for kid in kids or ("p384", "rsa")]
    return {ISS: Issuer(ISS, jwks={"keys": listed})}


def token(
    kid: str = "p384", alg: str = "ES384", *, header: dict[str, Any] | None = None, sign_with: str = "", **claims: Any
) -> str:
    """An `Authorization` header; a claim of None is left out."""
    at = int(NOW.timestamp())
    said = {"iss": ISS, "aud": AUDIENCE, "iat": at - 5, "exp": at + 295, "jti": "one", **claims}
    body = {key: value for key, value in said.items() if value is not None}
    signed = jwt.encode(body, keys()[sign_with or kid], algorithm=alg, headers={"kid": kid, **(header or {})})
    return f"Bearer {signed}"


def checked(authorization: str, known: dict[str, Issuer] | None = None, **given: Any) -> Caller:
    """Who the header proves, as of `NOW`."""
    asked = {"audience": AUDIENCE, "issuers": known or issuers(), "now": NOW, "seen": lambda jti, expires: False}
    return verify(authorization, **{**asked, **given})


# --------------------------------------------------------------------------------------------- the token of the sandbox


def captured() -> tuple[str, dict[str, Issuer]]:
    """The header that the official sandbox sent, and its issuer with the captured keys."""
    root = shared_data("ehr", "cds-hooks", "captured-from-sandbox")
    header = json.loads((root / "http-headers.json").read_text(encoding="utf-8"))["Authorization"]
    jwks = json.loads((root / "jwks.json").read_text(encoding="utf-8"))
    iss = "https://sandbox.cds-hooks.org"
    return header, {iss: Issuer(iss, jwks=jwks, jwks_url=f"{iss}/.well-known/jwks.json")}


SANDBOX_AUDIENCE = "http://127.0.0.1:8099/cds-services/pv"
ISSUED = datetime.fromtimestamp(1795155290, UTC)


def test_the_captured_token_of_the_sandbox_is_accepted_at_its_time() -> None:
    header, known = captured()

    caller = checked(header, known, audience=SANDBOX_AUDIENCE, now=ISSUED + timedelta(seconds=1))

    assert caller.iss == "https://sandbox.cds-hooks.org"
    assert caller.jti == "f4d8b080-ae52-48cd-babc-87ccafd95dd1"


@pytest.mark.parametrize(
    "after, told", [(timedelta(seconds=331), "expired"), (timedelta(seconds=-31), "not valid yet")]
)
def test_the_captured_token_is_refused_at_another_time(after: timedelta, told: str) -> None:
    header, known = captured()

    with pytest.raises(TokenRefused, match=told):
        checked(header, known, audience=SANDBOX_AUDIENCE, now=ISSUED + after)


def test_the_captured_token_is_refused_elsewhere_and_when_changed() -> None:
    header, known = captured()

    with pytest.raises(TokenRefused, match="another address"):
        checked(header, known, audience=SANDBOX_AUDIENCE + "/", now=ISSUED)
    with pytest.raises(TokenRefused, match="signature"):
        checked(header[:-4] + "AAAA", known, audience=SANDBOX_AUDIENCE, now=ISSUED)


# --------------------------------------------------------------------------------------------------------- made tokens


@pytest.mark.parametrize("kid, alg", [("p384", "ES384"), ("rsa", "RS384")])
def test_both_algorithms_are_accepted_each_with_its_own_key(kid: str, alg: str) -> None:
    assert checked(token(kid, alg)).iss == ISS


SECONDS = int(NOW.timestamp())
WRONG_CLAIMS: list[tuple[str, dict[str, Any], str]] = [
    ("issuer of another", {"iss": "https://evil.example"}, "issuer"),
    ("issuer is no text", {"iss": [ISS]}, "issuer"),
    ("no issuer", {"iss": None}, "issuer"),
    ("audience of another service", {"aud": AUDIENCE.replace("sign", "select")}, "another address"),
    ("audience begins alike", {"aud": AUDIENCE + "/feedback"}, "another address"),
    ("several audiences", {"aud": [AUDIENCE, "https://evil.example"]}, "another address"),
    ("no audience", {"aud": None}, "another address"),
    ("expired", {"exp": SECONDS - 31, "iat": SECONDS - 331}, "expired"),
    ("no expiry", {"exp": None}, "no exp"),
    ("expiry is a text", {"exp": "tomorrow"}, "no exp"),
    ("expiry is no time", {"exp": 1e300}, "no time"),
    ("issued later", {"iat": SECONDS + 60}, "not valid yet"),
    ("not before later", {"nbf": SECONDS + 60}, "not valid yet"),
    ("not before is a text", {"nbf": "now"}, "no nbf"),
    ("no time of issue", {"iat": None}, "no iat"),
    ("valid for an hour", {"exp": SECONDS + 3600}, "too long"),
    ("no id", {"jti": None}, "no id"),
    ("empty id", {"jti": ""}, "no id"),
    ("id is a number", {"jti": 7}, "no id"),
    ("id without end", {"jti": "x" * 300}, "no id"),
]


@pytest.mark.parametrize("what, claims, told", WRONG_CLAIMS, ids=[row[0] for row in WRONG_CLAIMS])
def test_a_token_with_a_wrong_claim_is_refused(what: str, claims: dict[str, Any], told: str) -> None:
    try:
        made = token(**claims)
    except TypeError:  # PyJWT does not write such a claim itself
        made = "Bearer " + jwt.api_jws.encode(
            json.dumps({"iss": ISS, "aud": AUDIENCE, "iat": SECONDS, "exp": SECONDS + 9, **claims}).encode(),
            keys()["p384"], algorithm="ES384", headers={"kid": "p384"},
        )  # fmt: skip

    with pytest.raises(TokenRefused, match=told):
        checked(made)


def test_a_token_signed_by_a_stranger_under_our_key_id_is_refused() -> None:
    with pytest.raises(TokenRefused, match="signature"):
        checked(token("p384", sign_with="stranger"))


@pytest.mark.parametrize(
    "kid, alg, told",
    [
        ("rsa", "RS256", "algorithm"), ("rsa", "PS384", "algorithm"), ("rsa", "RS512", "algorithm"),
        ("p256", "ES256", "not accepted"), ("weak", "RS384", "not accepted"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*RSA key is 1024.*")
def test_another_algorithm_or_a_weak_key_is_refused(kid: str, alg: str, told: str) -> None:
    with pytest.raises(TokenRefused, match=told):
        checked(token(kid, alg), issuers("p384", "rsa", "p256", "weak"))


@pytest.mark.parametrize("alg", ["none", "HS384"])
def test_an_unsigned_token_and_one_signed_with_the_public_key_as_a_secret_are_refused(alg: str) -> None:
    claims = {"iss": ISS, "aud": AUDIENCE, "iat": SECONDS, "exp": SECONDS + 9, "jti": "x"}
    secret = None if alg == "none" else str(jwk("p384")["x"])
    made = jwt.encode(claims, secret, algorithm=alg, headers={"kid": "p384"})

    with pytest.raises(TokenRefused, match="algorithm"):
        checked(f"Bearer {made}")


@pytest.mark.parametrize(
    "header, told",
    [
        ({"kid": "unknown"}, "not one of the issuer's"),
        ({"crit": ["exp"]}, "critical|no JSON Web Token"),
    ],
)
def test_a_header_that_points_elsewhere_is_refused(header: dict[str, Any], told: str) -> None:
    with pytest.raises(TokenRefused, match=told):
        checked(token(header=header))


def test_keys_are_fetched_only_from_the_configured_address() -> None:
    asked: list[str] = []

    def fetch(url: str) -> dict[str, Any]:
        asked.append(url)
        return {"keys": [jwk("p384")]}

    known = {ISS: Issuer(ISS, jwks_url=f"{ISS}/jwks.json")}

    assert checked(token(), known, fetch_keys=fetch).jti == "one"
    with pytest.raises(TokenRefused, match="does not keep them"):
        checked(token(header={"jku": "https://evil.example/jwks.json"}), known, fetch_keys=fetch)
    assert asked == [f"{ISS}/jwks.json"]


def test_fetched_keys_are_kept_for_a_while_and_a_failure_lets_nobody_in() -> None:
    asked: list[str] = []
    clock = [0.0]

    def transport(url: str, headers: Any, timeout_s: float, most_bytes: int) -> tuple[int, bytes]:
        asked.append(url)
        return (200, json.dumps({"keys": [jwk("p384")]}).encode()) if len(asked) < 3 else (500, b"")

    fetch = FetchedKeys(transport, clock=lambda: clock[0], keeps_s=300)
    known = {ISS: Issuer(ISS, jwks_url=f"{ISS}/jwks.json")}

    for at in (0.0, 299.0, 301.0):
        clock[0] = at
        assert checked(token(), known, fetch_keys=fetch).iss == ISS
    clock[0] = 700.0

    assert len(asked) == 2
    for _ in range(5):  # a failure is kept for a moment: forged tokens do not make us ask again and again
        with pytest.raises(TokenRefused, match="could not be fetched"):
            checked(token(), known, fetch_keys=fetch)
    assert len(asked) == 3
    clock[0] = 711.0
    with pytest.raises(TokenRefused, match="could not be fetched"):
        checked(token(), known, fetch_keys=fetch)
    assert len(asked) == 4


def test_a_key_server_that_speaks_no_http_lets_nobody_in() -> None:
    def garbled(url: str) -> dict[str, Any]:
        raise BadStatusLine("x")

    with pytest.raises(TokenRefused, match="could not be fetched"):
        checked(token(), {ISS: Issuer(ISS, jwks_url=f"{ISS}/jwks.json")}, fetch_keys=garbled)


@pytest.mark.parametrize(
    "jwks", [None, {}, {"keys": {}}, {"keys": [1]}, {"keys": [{"kid": "p384", "kty": "EC"}]},
             {"keys": [{"kid": "p384", "kty": "oct", "k": "AAAA"}]}],
)  # fmt: skip
def test_a_key_set_that_is_none_lets_nobody_in(jwks: Any) -> None:
    with pytest.raises(TokenRefused):
        checked(token(), {ISS: Issuer(ISS, jwks=jwks)})


def test_two_keys_of_one_id_and_a_private_key_in_the_set_let_nobody_in() -> None:
    twice = {ISS: Issuer(ISS, jwks={"keys": [jwk("p384"), jwk("p384")]})}
    private = {ISS: Issuer(ISS, jwks={"keys": [jwk("p384", d="AAAA")]})}

    for known in (twice, private):
        with pytest.raises(TokenRefused):
            checked(token(), known)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c", "Bearer x", "Bearer " + "x" * 9000]
)
def test_what_is_no_bearer_token_is_refused(header: str) -> None:
    with pytest.raises(TokenRefused):
        checked(header)


def test_a_token_is_accepted_once() -> None:
    used: set[str] = set()

    def seen(jti: str, expires: datetime) -> bool:
        known = jti in used
        used.add(jti)
        return known

    checked(token(), seen=seen)

    with pytest.raises(TokenRefused, match="used before"):
        checked(token(), seen=seen)
    assert checked(token(jti="two"), seen=seen).jti == "two"


def test_a_token_that_fails_for_another_reason_does_not_use_up_its_id() -> None:
    used: list[str] = []

    with pytest.raises(TokenRefused, match="another address"):
        checked(token(aud="x"), seen=lambda jti, expires: bool(used.append(jti)))

    assert used == []


# ---------------------------------------------------------------------------------------------------------- the routes


def signed_house(**members: Any) -> HooksSettings:
    """A house that asks for signatures."""
    return HooksSettings(base_url="http://testserver", issuers=issuers(), place=PLACE, **members)


def test_a_hook_without_a_token_is_refused_and_with_one_answered() -> None:
    door = client(signed_house())
    request = order_request(medicine("197805", "Ibuprofen 400 MG Oral Tablet"), person())
    path = "/cds-services/posologist-order-sign"

    without = door.post(path, json=request)
    wrong = door.post(path, json=request, headers={"Authorization": token(sign_with="stranger")})
    right = door.post(path, json=request, headers={"Authorization": token()})

    assert (without.status_code, wrong.status_code, right.status_code) == (401, 401, 200)
    assert without.headers["content-type"] == "application/problem+json"
    assert without.headers["www-authenticate"] == "Bearer"
    assert door.get("/cds-services").status_code == 200


def test_feedback_asks_for_a_token_of_its_own_address() -> None:
    door = client(signed_house())
    entry = {"card": "11111111-1111-4111-8111-111111111111", "outcome": "overridden", "outcomeTimestamp": "2026-11-20"}
    path = "/cds-services/posologist-order-sign/feedback"

    of_the_hook = door.post(path, json={"feedback": [entry]}, headers={"Authorization": token()})
    own = door.post(path, json={"feedback": [entry]}, headers={"Authorization": token(aud=f"http://testserver{path}")})

    assert (of_the_hook.status_code, own.status_code) == (401, 200)


def test_unsigned_feedback_is_taken_only_where_the_site_says_so_and_only_on_a_card_that_was_dealt() -> None:
    decided: list[Any] = []
    door = client(signed_house(signed_feedback=False), decided=lambda *given: decided.append(given))
    request = order_request(medicine("197805", "Ibuprofen 400 MG Oral Tablet"), person())
    path = "/cds-services/posologist-order-sign"
    card = door.post(path, json=request, headers={"Authorization": token()}).json()["cards"][0]["uuid"]
    entry = {"outcome": "overridden", "outcomeTimestamp": "2026-11-20"}

    ours = door.post(f"{path}/feedback", json={"feedback": [{"card": card, **entry}]})
    made_up = door.post(f"{path}/feedback", json={"feedback": [{"card": "1" * 32, **entry}]})
    forged = door.post(f"{path}/feedback", json={"feedback": [entry]}, headers={"Authorization": token(aud="x")})

    assert (ours.status_code, made_up.status_code, forged.status_code) == (200, 200, 401)
    assert made_up.json()["feedback"][0]["known"] is False
    assert [given[1].card for given in decided] == [card]


def test_a_house_without_issuers_that_asks_for_signatures_lets_nobody_in() -> None:
    door = client(HooksSettings(base_url="http://testserver"))

    assert door.post("/cds-services/posologist-order-sign", headers={"Authorization": token()}).status_code == 401


def test_the_clock_of_the_tests_is_frozen() -> None:
    with pytest.raises(TokenRefused, match="expired"):
        checked(token(), now=NOW + timedelta(hours=1))
