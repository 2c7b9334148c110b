"""What stands before every route: request ids, secure headers, limits of size, speed and rate, and the last defence.

An ASGI middleware, so that it also holds for the hooks and the page.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from posologist.serve.logs import place_of, tell
from posologist.serve.metrics import Metrics
from posologist.serve.problems import defect, of_error, problem
from posologist.serve.refused import TooMuchError

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_MOST_ADDRESSES = 10_000
CSP_DATA = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
CSP_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """Bounds of what is read, and how fast.

    Parameters
    ----------
    body_bytes
        Of a request to an address that `Guard` is given no other bound for.
    rate, burst
        Requests a second of one account, or refused ones of one address, and how many at once.
    refused_rate, refused_burst
        Refused passwords a second, of one account and from one address.
    chunk_s
        How long the next part of a request's body may take (s).
    """

    body_bytes: int = 2**20
    rate: float = 500.0
    burst: int = 1000
    refused_rate: float = 0.5
    refused_burst: int = 30
    chunk_s: float = 30.0


class Limiter:
    """How often each of many may: a bucket of `burst` that fills by `rate` a second."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, name: str) -> None:
        """Count one.

        Raises
        ------
        TooMuchError
            If there were too many.
        """
        now = time.monotonic()
        with self._lock:
            left, at = self._held.pop(name, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._rate)
            self._held[name] = (left - 1 if left >= 1 else left, now)
            while len(self._held) > _MOST_ADDRESSES:
                self._held.popitem(last=False)
        if left < 1:
            raise TooMuchError("too many requests", status=429, hint="wait a moment")

    def check(self, name: str) -> None:
        """Refuse who has none left, without counting; raises as `take` does."""
        with self._lock:
            left, at = self._held.get(name, (self._burst, time.monotonic()))
        if left + (time.monotonic() - at) * self._rate < 1:
            raise TooMuchError("too many refused requests", status=429, hint="wait a minute")


class Guard:
    """The middleware.

    Parameters
    ----------
    uploads
        Addresses whose requests may be larger: (regular expression of the path, bytes), from who is known.
    may_upload
        Whether somebody who is known asks, by the headers.
    open_bytes
        Addresses whose requests may be larger from anyone: the start of the path, and bytes.
    hosts
        Names under which the server may be addressed; empty: any. Guards development mode against DNS rebinding.
    https_only
        Whether browsers are told to come by https only, from now on.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        limits: Limits,
        uploads: Iterable[tuple[str, int]] = (),
        may_upload: Callable[[Headers], bool] = lambda headers: True,
        open_bytes: Mapping[str, int] | None = None,
        hosts: Iterable[str] = (),
        https_only: bool = False,
    ) -> None:
        self._app, self._metrics, self._limits = app, metrics, limits
        self._uploads = tuple((re.compile(path), most) for path, most in uploads)
        self._may_upload, self._open_bytes = may_upload, dict(open_bytes or {})
        self._hosts, self._https_only = frozenset(hosts), https_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; others (start, stop) pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id, self._https_only)
        began = time.perf_counter()
        self._metrics.begin()
        try:
            await self._serve(scope, headers, receive, answer)
        finally:
            taken = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.end(scope["method"] if scope["method"] in _METHODS else "other", route, answer.status, taken)
            tell(
                "request", request_id=request_id, method=scope["method"][:10], route=route, status=answer.status,
                ms=round(taken * 1000, 1), bytes=answer.bytes,
            )  # fmt: skip

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, answer: _Answer) -> None:
        request_id = answer.request_id
        try:
            if self._hosts and _host(headers.get("host", "")) not in self._hosts:
                refusal = problem(400, "not this server's name", request_id=request_id, where="Host")
                await refusal(scope, receive, answer)
                return
            most = await self._most(scope, headers)
            stated = headers.get("content-length", "0")
            if not stated.isdecimal() or int(stated) > most:
                raise _too_large(most)
            await self._app(scope, self._read(receive, most), answer)
        except TooMuchError as error:
            if not answer.begun:
                await of_error(error, request_id)(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - the last line of defence: a problem instead of a traceback
            tell("defect", level=logging.ERROR, request_id=request_id, error=place_of(error))
            if not answer.begun:
                await defect(request_id)(scope, receive, answer)

    async def _most(self, scope: Scope, headers: Headers) -> int:
        """How large this request's body may be: an upload only of who is known, before any of it is read."""
        path, usual = scope["path"], self._limits.body_bytes
        if scope["method"] == "POST":
            most = next((size for place, size in self._uploads if place.fullmatch(path)), None)
            if most is not None:
                return most if await run_in_threadpool(self._may_upload, headers) else min(usual, most)
        return next((size for start, size in self._open_bytes.items() if path.startswith(start)), usual)

    def _read(self, receive: Receive, most: int) -> Receive:
        """`receive` that waits only so long for the next part of a body, and reads only so much."""
        read, is_read = 0, False

        async def bounded() -> Message:
            nonlocal read, is_read
            if is_read:  # what comes next is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout(self._limits.chunk_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body comes too slowly") from None
            read += len(message.get("body", b""))
            if read > most:  # the framework's own error, which it passes on from within its parsers
                raise HTTPException(413, _too_large(most).message)
            is_read = not message.get("more_body", False)
            return message

        return bounded


def _too_large(most: int) -> TooMuchError:
    return TooMuchError(f"at most {most} bytes are read here", status=413, where="body", hint="send less")


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class _Answer:
    """`send` that adds headers and remembers the status."""

    def __init__(self, send: Send, request_id: str, https_only: bool) -> None:
        self._send, self.request_id, self._https_only = send, request_id, https_only
        self.status, self.bytes, self.begun = 500, 0, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            secure(MutableHeaders(scope=message), self.request_id, https_only=self._https_only)
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        await self._send(message)


def secure(headers: MutableHeaders, request_id: str, *, https_only: bool) -> None:
    """Add the secure headers; one that a route set stays."""
    headers["X-Request-Id"] = request_id
    is_page = headers.get("content-type", "").startswith("text/html")
    headers.setdefault("Content-Security-Policy", CSP_PAGE if is_page else CSP_DATA)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if https_only:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")


def _host(header: str) -> str:
    """The name in a Host header, without the port."""
    return header.partition("]")[0].lstrip("[") if header.startswith("[") else header.partition(":")[0].lower()
