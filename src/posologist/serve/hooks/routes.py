"""CDS Hooks over HTTP: a router for discovery, the three hooks, and feedback. Refusals are problem documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile
from posologist.core.recommendation import NotChecked
from posologist.core.settings import Settings
from posologist.knowledge.load import Knowledge
from posologist.records.rxnorm import RxNormMap
from posologist.serve.hooks.answers import Desk, answer
from posologist.serve.hooks.cards import Dealt, Place
from posologist.serve.hooks.discovery import PREFETCH, discovery, service_id
from posologist.serve.hooks.feedback import CardDecision, Scheduled, parse_feedback, scheduled
from posologist.serve.hooks.fhir_access import FhirAccess, Transport, fetch_missing, over_network
from posologist.serve.hooks.memory import DealtCards
from posologist.serve.hooks.requests import HOOKS, HookName, HookRequest, parse_request
from posologist.serve.hooks.schema import CARDS_SCHEMA, FEEDBACK_SCHEMA, request_schema
from posologist.serve.hooks.tokens import Caller, FetchKeys, Issuer, Seen, TokenRefused, verify
from posologist.serve.problems import status_of
from posologist.serve.refusals import StoreError
from posologist.serve.refused import TooMuchError

Body = Mapping[str, Any]
LOOPBACK = "this machine"
"""Among the origins: the pages that this machine serves, at any port."""


@dataclass(frozen=True)
class HooksSettings:
    """What a site sets. Without `issuers` nobody can sign; `signed` True then refuses every hook.

    `signed_feedback` False accepts feedback without a token too, on cards that were dealt lately and on no others: some
    clients sign their hooks only. `origins` are the browser origins that may call; `LOOPBACK` among them stands for the
    pages of one's own machine. `secret` goes into the uuids of cards: only who was dealt a card can name it.
    """

    base_url: str
    origins: frozenset[str] = frozenset()
    signed: bool = True
    signed_feedback: bool = True
    issuers: Mapping[str, Issuer] = field(default_factory=dict)
    access: FhirAccess = field(default_factory=FhirAccess)
    place: Place = field(default_factory=Place)
    advice: Settings = field(default_factory=Settings)
    most_bytes: int = 16_000_000
    secret: str = field(default="", repr=False)

    def lets_in(self, origin: str) -> bool:
        """Whether a browser may call from this origin."""
        return origin in self.origins or (LOOPBACK in self.origins and _is_own_machine(origin))


def _is_own_machine(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False


@dataclass(frozen=True)
class By:
    """On whose behalf: the client that signed, if it did, and the request's id."""

    caller: Caller | None = None
    request_id: str = ""

    @property
    def issuer(self) -> str:
        """The client's name; empty where nothing is signed."""
        return "" if self.caller is None else self.caller.iss


@dataclass(frozen=True)
class Genes:
    """The genes that are held of the patient of a request, or why those that are held were not used."""

    profile: GeneticProfile | None = None
    not_used: tuple[NotChecked, ...] = ()


def _no_genome(by: By, request: HookRequest) -> Genes:
    return Genes()


def _not_kept(by: By, request: HookRequest, asked: bytes, cards: Sequence[Dealt], document: bytes) -> None:
    return None


def _not_decided(by: By, decision: CardDecision, card: Dealt | None, steps: Sequence[Scheduled]) -> None:
    return None


def _not_refused(by: By, why: str) -> None:
    return None


def _unlimited(name: str) -> None:
    return None


@dataclass(frozen=True)
class HookCalls:
    """What the hooks need of the rest of the service. `seen` must remember token ids across restarts.

    `keep` stores an answer and `decided` a decision with what it schedules; both may raise, and the client then gets
    an error rather than an answer that is not on record. `refused` notes who was not let in; `limit` counts a request
    of a client or an address, and raises where there were too many.
    """

    knowledge: Knowledge
    seen: Seen
    genome: Callable[[By, HookRequest], Genes] = _no_genome
    keep: Callable[[By, HookRequest, bytes, Sequence[Dealt], bytes], None] = _not_kept
    decided: Callable[[By, CardDecision, Dealt | None, Sequence[Scheduled]], None] = _not_decided
    refused: Callable[[By, str], None] = _not_refused
    limit: Callable[[str], None] = _unlimited
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    today: Callable[[], date] = date.today
    transport: Transport = over_network
    fetch_keys: FetchKeys | None = None
    rxnorm: RxNormMap | None = None
    cards: DealtCards = field(default_factory=DealtCards)


def hooks_router(calls: HookCalls, settings: HooksSettings) -> APIRouter:
    """The routes under `/cds-services`."""
    router = APIRouter(tags=["CDS Hooks"])
    house = _House(calls, settings)

    @router.get("/cds-services/", include_in_schema=False)
    @router.get("/cds-services", summary="The services offered, with their prefetch templates")
    def services(request: Request) -> Response:
        return house.reply(request, 200, discovery())

    for hook in HOOKS:
        path = f"/cds-services/{service_id(hook)}"
        router.post(
            path,
            summary=f"Cards for {hook}",
            responses=_answers(CARDS_SCHEMA),
            openapi_extra=_body(request_schema(hook)),
        )(_posted(house, hook, house.cards, signed=settings.signed))
        router.post(
            f"{path}/feedback",
            summary=f"What became of cards of {hook}",
            responses=_answers({"type": "object", "required": ["feedback"]}),
            openapi_extra=_body(FEEDBACK_SCHEMA),
        )(_posted(house, hook, house.feedback, signed=settings.signed, or_none=not settings.signed_feedback))

    @router.post("/cds-services/{service:path}", include_in_schema=False)
    def unknown(service: str, request: Request) -> Response:
        return house.problem(request, 404, "There is no such service", "see GET /cds-services")

    @router.options("/cds-services", include_in_schema=False)
    @router.options("/cds-services/{path:path}", include_in_schema=False)
    def preflight(request: Request) -> Response:
        return house.preflight(request)

    return router


_PROBLEM: dict[str, Any] = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}


def _answers(schema: Body) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": {"application/json": {"schema": schema}}},
        400: {"description": "The request is not as CDS Hooks says", **_PROBLEM},
        401: {"description": "The request is not signed by a known client", **_PROBLEM},
        403: {"description": "The patient's consent, or the list of origins, does not cover it", **_PROBLEM},
        408: {"description": "The request comes too slowly", **_PROBLEM},
        413: {"description": "The request is too large", **_PROBLEM},
        422: {"description": "The answer cannot be held", **_PROBLEM},
        429: {"description": "Too many requests", **_PROBLEM},
        503: {"description": "The database cannot be used", **_PROBLEM},
    }


def _body(schema: Body) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_Do = Callable[[HookName, bytes, By], Body]


def _posted(
    house: _House, hook: HookName, do: _Do, *, signed: bool, or_none: bool = False
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def posted(request: Request) -> Response:
        needs = signed and not (or_none and "authorization" not in request.headers)
        return await house.serve(request, hook, do, signed=needs)

    return posted


class _Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.detail = detail


class _House:
    """One router's calls and settings, and the ways from a request to a response."""

    def __init__(self, calls: HookCalls, settings: HooksSettings) -> None:
        self._calls = calls
        self._settings = settings

    async def serve(self, request: Request, hook: HookName, do: _Do, *, signed: bool) -> Response:
        """Checks who calls, reads the body, and answers; every refusal is a problem document."""
        try:
            by = await run_in_threadpool(self._by, request, signed)
            body = await self._body(request)
            return self.reply(request, 200, await run_in_threadpool(do, hook, body, by))
        except _Refused as refused:
            return self.problem(request, refused.status, refused.title, refused.detail)
        except TooMuchError as error:
            return self.problem(request, error.status, "Too many requests", str(error))
        except StoreError as error:
            return self.problem(request, status_of(error), "The answer cannot be held", str(error))
        except InputError as error:
            return self.problem(request, 400, "The request is not as CDS Hooks says", str(error))
        except ClientDisconnect:
            return Response(status_code=400)

    def cards(self, hook: HookName, body: bytes, by: By) -> Body:
        """The cards of one request; kept before they are given out."""
        calls, settings = self._calls, self._settings
        request = parse_request(body, hook=hook)
        fetched = fetch_missing(request, PREFETCH, settings.access, calls.transport)
        completed = replace(request, prefetch=fetched.prefetch)
        now = calls.now()
        secret = "\n".join((settings.secret, by.issuer, request.user_id))  # another's cards are not this user's
        place = settings.place.model_copy(update={"secret": secret})
        desk = Desk(calls.knowledge, settings.advice, place, calls.today(), calls.rxnorm)
        genes = calls.genome(by, completed)
        dealt = answer(
            completed,
            desk,
            genome=genes.profile,
            missing=(*fetched.missing, *genes.not_used),
            shown=calls.cards.shown_before(request, now),
        )
        document = {"cards": [d.card.model_dump(mode="json", by_alias=True, exclude_none=True) for d in dealt]}
        calls.keep(by, completed, body, dealt, _bytes(document))
        calls.cards.keep(request, dealt, now, by.issuer)
        return document

    def feedback(self, hook: HookName, body: bytes, by: By) -> Body:
        """Decisions on cards, and what "will monitor" schedules."""
        calls, told = self._calls, []
        for decision in parse_feedback(body, calls.now()):
            card = calls.cards.find(decision.card, calls.now(), None if by.caller is None else by.issuer)
            steps = scheduled(decision, card) if card is not None else ()
            if card is not None or by.caller is not None or not self._settings.signed:
                calls.decided(by, decision, card, steps)
            told.append(
                {
                    "card": decision.card,
                    "known": card is not None,
                    "scheduled": [step.model_dump(mode="json", exclude_none=True) for step in steps],
                }
            )
        return {"feedback": told}

    def _by(self, request: Request, signed: bool) -> By:
        settings, calls = self._settings, self._calls
        nobody = By(request_id=getattr(request.state, "request_id", ""))
        address = f"address {request.client.host if request.client else 'unknown'}"
        origin = request.headers.get("origin")
        if origin is not None and not settings.lets_in(origin):  # also what a browser sends without asking first
            calls.limit(address)
            calls.refused(nobody, "the browser's origin is not on the list")
            raise _Refused(403, "Pages of this origin may not call", "the origin is not on the list of the site")
        if not signed:
            calls.limit(address)
            return nobody
        try:
            caller = verify(
                request.headers.get("authorization", ""),
                audience=settings.base_url.rstrip("/") + request.url.path.removeprefix(request.scope["root_path"]),
                issuers=settings.issuers,
                now=calls.now(),
                seen=calls.seen,
                fetch_keys=calls.fetch_keys,
            )
        except TokenRefused as refused:
            calls.limit(address)
            calls.refused(nobody, str(refused))
            raise _Refused(401, "The request is not signed by a known client", str(refused)) from refused
        calls.limit(f"hooks of {caller.iss}")
        return replace(nobody, caller=caller)

    async def _body(self, request: Request) -> bytes:
        read = bytearray()
        async for chunk in request.stream():
            read += chunk
            if len(read) > self._settings.most_bytes:
                raise _Refused(413, "The request is too large", f"at most {self._settings.most_bytes} bytes are read")
        return bytes(read)

    def reply(self, request: Request, status: int, content: Body) -> Response:
        """A JSON answer with the headers that a browser asks for."""
        return Response(
            _bytes(content), status_code=status, media_type="application/json", headers=self._headers(request)
        )

    def problem(self, request: Request, status: int, title: str, detail: str) -> Response:
        """A refusal as a problem document."""
        content = {"type": "about:blank", "title": title, "status": status, "detail": detail[:500]}
        headers = self._headers(request) | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})
        return Response(_bytes(content), status_code=status, media_type="application/problem+json", headers=headers)

    def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks whether it may call."""
        headers = self._headers(request)
        if "Access-Control-Allow-Origin" in headers:
            headers |= {
                "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
                "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
                "Access-Control-Max-Age": "600",
            }
            if request.headers.get("access-control-request-private-network") == "true":
                headers["Access-Control-Allow-Private-Network"] = "true"  # a page of the internet calls this machine
        return Response(status_code=204, headers=headers)

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"Cache-Control": "no-store", "Vary": "Origin"}
        origin = request.headers.get("origin", "")
        if origin and self._settings.lets_in(origin):
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = "X-Request-Id"
        return headers


def _bytes(content: Body) -> bytes:
    return json.dumps(content, ensure_ascii=True, allow_nan=False).encode()
