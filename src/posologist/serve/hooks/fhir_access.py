"""Fetches what the prefetch lacks, from FHIR servers on the allow-list only; nothing else is ever called."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from time import monotonic
from typing import IO, Any, Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

from posologist.core.recommendation import NotChecked
from posologist.records.json_tools import children, string
from posologist.serve.hooks.requests import HookRequest, Resource

_TOKEN = "{{context.patientId}}"
_CHUNK = 65_536


class Transport(Protocol):
    """Gets one address; given as an argument, so that tests use none."""

    def __call__(self, url: str, headers: Mapping[str, str], timeout_s: float, most_bytes: int) -> tuple[int, bytes]:
        """Status and body. Raises OSError when nothing came in time."""


@dataclass(frozen=True)
class FhirAccess:
    """Which servers may be read, and how much. `servers` are base addresses, compared exactly."""

    servers: frozenset[str] = frozenset()
    timeout_s: float = 2.0
    whole_s: float = 5.0
    most_pages: int = 10
    most_bytes: int = 8_000_000


@dataclass(frozen=True)
class Fetched:
    """What came, by prefetch key, and what did not."""

    prefetch: Mapping[str, Resource | list[Any]]
    missing: tuple[NotChecked, ...]


class _Failed(Exception):
    """Why one fetch gave nothing; never leaves this module."""


def fetch_missing(
    request: HookRequest,
    templates: Mapping[str, str],
    access: FhirAccess,
    transport: Transport,
    clock: Callable[[], float] = monotonic,
) -> Fetched:
    """The prefetch of the request, completed from its FHIR server where that is allowed."""
    lacking = {key: template for key, template in templates.items() if key not in request.prefetch}
    base = request.fhir_server.rstrip("/")
    if not lacking or not base:
        return Fetched(request.prefetch, ())
    if base not in {server.rstrip("/") for server in access.servers}:
        return Fetched(request.prefetch, _refused(request))
    deadline = clock() + access.whole_s
    found: dict[str, Resource | list[Any]] = dict(request.prefetch)
    missing = []
    for key, template in lacking.items():
        try:
            url = f"{base}/{template.replace(_TOKEN, quote(request.patient_id, safe=''))}"
            found[key] = list(_pages(url, base, request.access_token, access, transport, clock, deadline))
        except _Failed as error:
            missing.append(_not_fetched(key, str(error)))
    return Fetched(found, tuple(missing))


def _refused(request: HookRequest) -> tuple[NotChecked, ...]:
    """Told only where the request brought no record at all: prefetch under a client's own keys is a record too."""
    if request.prefetch:
        return ()
    what = "the record: the request brings no prefetch, and its FHIR server is not on the allow-list"
    return (
        NotChecked(what=what, why="no other server is ever called", would_need="prefetch, or the server on the list"),
    )


def _not_fetched(key: str, why: str) -> NotChecked:
    return NotChecked(
        what=f"{key}: everything that rests on it", why=f"could not be fetched: {why}", would_need=f"prefetch of {key}"
    )


def _pages(
    url: str,
    base: str,
    token: str,
    access: FhirAccess,
    transport: Transport,
    clock: Callable[[], float],
    deadline: float,
) -> Iterator[Resource]:
    """Bundles (or the one resource) of a search, page by page, never beyond the server's own base."""
    headers = {"Accept": "application/fhir+json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    for _ in range(access.most_pages):
        left = deadline - clock()
        if left <= 0:
            raise _Failed("no time was left")
        page = _get(url, headers, min(access.timeout_s, left), access.most_bytes, transport)
        yield page
        following = next((string(x, "url") for x in children(page, "link") if string(x, "relation") == "next"), "")
        if not following:
            return
        url = urljoin(url, following)
        if not _within(url, base):
            raise _Failed("its next page lies on another server")
    raise _Failed(f"it has more than {access.most_pages} pages")


def _within(url: str, base: str) -> bool:
    there, here = urlsplit(url), urlsplit(base)
    if (there.scheme, there.netloc) != (here.scheme, here.netloc) or ".." in unquote(unquote(there.path)):
        return False
    return there.path == here.path or there.path.startswith(f"{here.path.rstrip('/')}/")


def _get(url: str, headers: Mapping[str, str], timeout_s: float, most: int, transport: Transport) -> Resource:
    try:
        status, body = transport(url, headers, timeout_s, most)
        content = json.loads(body) if status == 200 and len(body) <= most else None
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        raise _Failed(f"no usable answer ({type(error).__name__})") from error
    if status != 200:
        raise _Failed(f"the server answered {status}")
    if not isinstance(content, dict) or not isinstance(content.get("resourceType"), str):
        raise _Failed("the answer is no FHIR resource, or too large")
    if content["resourceType"] == "OperationOutcome":
        raise _Failed("the server answered with an OperationOutcome")
    return content


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect may lead anywhere, with the token: it is not followed."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def over_network(url: str, headers: Mapping[str, str], timeout_s: float, most_bytes: int) -> tuple[int, bytes]:
    """One GET over http(s), without proxies and redirects."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise OSError("only http and https are read")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    deadline, body = monotonic() + timeout_s, bytearray()
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=timeout_s) as reply:
            while len(body) <= most_bytes and (chunk := reply.read1(_CHUNK)):
                body += chunk
                if monotonic() > deadline:
                    raise TimeoutError("the answer came too slowly")
            return int(reply.status), bytes(body)
    except urllib.error.HTTPError as error:
        return error.code, b""
