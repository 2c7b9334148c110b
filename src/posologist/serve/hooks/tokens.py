"""Signed requests: the JSON Web Token by which a CDS client proves who it is.

The algorithm comes from our side: a P-384 key verifies ES384 and nothing else, an RSA key RS384 and nothing else. The
issuer is on a list, the audience is the very address that was called, and no token is accepted twice.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from time import monotonic
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from posologist.serve.hooks.fhir_access import Transport

SMALLEST_RSA = 2048
_KEYS_TIMEOUT_S = 2.0
_MOST_KEY_BYTES = 65_536
Seen = Callable[[str, datetime], bool]
"""Whether a token id was seen before; remembers it until the time given."""
FetchKeys = Callable[[str], Mapping[str, Any]]
"""The JWKS at an address that the site configured."""


class FetchedKeys:
    """Fetches the JWKS of a configured address over `transport`, and keeps it for a while.

    A failure is kept too, for a short while: tokens that anyone can write do not make us ask again and again.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Callable[[], float] = monotonic,
        keeps_s: float = 300.0,
        fails_s: float = 10.0,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._keeps_s = keeps_s
        self._fails_s = fails_s
        self._held: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._failed: dict[str, float] = {}

    def __call__(self, url: str) -> Mapping[str, Any]:
        """The key set. Raises OSError or ValueError when none can be had."""
        held = self._held.get(url)
        if held is not None and self._clock() - held[0] < self._keeps_s:
            return held[1]
        if self._clock() - self._failed.get(url, -self._fails_s) < self._fails_s:
            raise ValueError("no key set a moment ago")
        self._failed[url] = self._clock()
        found = self._fetched(url)
        self._held[url] = (self._clock(), found)
        del self._failed[url]
        return found

    def _fetched(self, url: str) -> dict[str, Any]:
        status, body = self._transport(url, {"Accept": "application/json"}, _KEYS_TIMEOUT_S, _MOST_KEY_BYTES)
        found = json.loads(body) if status == 200 and len(body) <= _MOST_KEY_BYTES else None
        if not isinstance(found, dict):
            raise ValueError("no key set")
        return found


class TokenRefused(Exception):
    """Why a request is not let in. The words name no secret and are safe to log."""


@dataclass(frozen=True)
class Issuer:
    """A client that may call: its `iss`, and its keys as a JWKS, or the one address where they are."""

    iss: str
    jwks: Mapping[str, Any] | None = None
    jwks_url: str = ""


@dataclass(frozen=True)
class Caller:
    """Who called, by a token that was verified."""

    iss: str
    jti: str
    expires: datetime


@dataclass(frozen=True)
class _Key:
    algorithm: str
    public: Any


def verify(
    authorization: str,
    *,
    audience: str,
    issuers: Mapping[str, Issuer],
    now: datetime,
    seen: Seen,
    fetch_keys: FetchKeys | None = None,
    leeway: timedelta = timedelta(seconds=30),
    longest: timedelta = timedelta(minutes=10),
) -> Caller:
    """The caller that an `Authorization` header proves.

    Raises
    ------
    TokenRefused
        If anything about the token is missing, wrong, too old, too new, or was used before.
    """
    token = _bearer(authorization)
    header, claims = _unverified(token)
    issuer = issuers.get(claims["iss"]) if isinstance(claims.get("iss"), str) else None
    if issuer is None:
        raise TokenRefused("the issuer is not on the list")
    if header.get("crit") is not None:
        raise TokenRefused("a critical header is not understood")
    if header.get("jku") is not None and issuer.jwks_url and header["jku"] != issuer.jwks_url:
        raise TokenRefused("its keys are said to be where this issuer does not keep them")
    key = _key(_keys(issuer, fetch_keys), header)
    try:
        claims = jwt.decode(token, key.public, algorithms=[key.algorithm], options=_UNTIMED)
    except jwt.PyJWTError as error:
        raise TokenRefused("the signature does not verify") from error
    expires = _times(claims, now, leeway, longest)
    if claims.get("iss") != issuer.iss:
        raise TokenRefused("the issuer is not on the list")
    if claims.get("aud") != audience:
        raise TokenRefused("it is meant for another address")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= 256:
        raise TokenRefused("it has no id")
    if seen(f"{issuer.iss} {jti}", expires + leeway):
        raise TokenRefused("it was used before")
    return Caller(issuer.iss, jti, expires)


_UNTIMED: Any = {
    "verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False,
    "verify_iss": False, "verify_sub": False, "verify_jti": False,
}  # fmt: skip


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or len(token) > 8192:
        raise TokenRefused("there is no bearer token")
    return token.strip()


def _unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    try:
        whole = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise TokenRefused("it is no JSON Web Token") from error
    return whole["header"], whole["payload"]


def _keys(issuer: Issuer, fetch_keys: FetchKeys | None) -> list[Mapping[str, Any]]:
    held = issuer.jwks
    if held is None and issuer.jwks_url and fetch_keys is not None:
        try:
            held = fetch_keys(issuer.jwks_url)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            raise TokenRefused("the issuer's keys could not be fetched") from error
    listed = held.get("keys") if isinstance(held, Mapping) else None
    if not isinstance(listed, list):
        raise TokenRefused("the issuer's keys are not at hand")
    return [k for k in listed if isinstance(k, Mapping) and k.get("use", "sig") == "sig"]


def _key(keys: list[Mapping[str, Any]], header: Mapping[str, Any]) -> _Key:
    kid = header.get("kid")
    named = [k for k in keys if isinstance(kid, str) and k.get("kid") == kid]
    if len(named) != 1:
        raise TokenRefused("its key is not one of the issuer's")
    key = _public(named[0])
    if header.get("alg") != key.algorithm or named[0].get("alg", key.algorithm) != key.algorithm:
        raise TokenRefused(f"its algorithm is not the one of its key ({key.algorithm})")
    return key


def _public(jwk: Mapping[str, Any]) -> _Key:
    algorithm = {"EC": "ES384", "RSA": "RS384"}.get(str(jwk.get("kty")))
    if algorithm is None or "d" in jwk:
        raise TokenRefused("its key is of a kind that is not accepted")
    try:
        public = jwt.PyJWK({**jwk, "alg": algorithm}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, binascii.Error, UnsupportedAlgorithm) as error:
        raise TokenRefused("its key cannot be read") from error
    strong = (isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP384R1)) or (
        isinstance(public, RSAPublicKey) and public.key_size >= SMALLEST_RSA
    )
    if not strong:
        raise TokenRefused("its key is of a kind that is not accepted")
    return _Key(algorithm, public)


def _times(claims: Mapping[str, Any], now: datetime, leeway: timedelta, longest: timedelta) -> datetime:
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if now >= expires + leeway:
        raise TokenRefused("it has expired")
    if issued > now + leeway or ("nbf" in claims and _time(claims, "nbf") > now + leeway):
        raise TokenRefused("it is not valid yet")
    if expires - issued > longest or expires <= issued:
        raise TokenRefused("it is valid for too long")
    return expires


def _time(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"it says no {name}")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise TokenRefused(f"its {name} is no time") from error
