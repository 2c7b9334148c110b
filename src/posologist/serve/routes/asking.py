"""Who asks, what was sent, and answering a write once: what every route needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote

from fastapi import Depends, Header
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import Response

from posologist.core.errors import InputError
from posologist.serve.access import PUBLIC, RULES
from posologist.serve.accounts import Accounts, check_csrf
from posologist.serve.metrics import Metrics
from posologist.serve.problems import first_of
from posologist.serve.refusals import NotFoundError
from posologist.serve.refused import ForbiddenError, TooMuchError, UnauthorisedError
from posologist.serve.rows import AccountRow, Actor
from posologist.serve.security import Limiter
from posologist.serve.service import Service
from posologist.serve.work import Work

M = TypeVar("M", bound=BaseModel)
Mode = Literal["development", "production"]
COOKIE = "__Host-posologist"
Purpose = Literal["treatment", "emergency", "operations", "research"]
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Door:
    """What the routes of one server share."""

    service: Service
    accounts: Accounts
    metrics: Metrics
    asking: Limiter
    refusing: Limiter
    mode: Mode


def door(request: Request) -> Door:
    """The server's parts."""
    found: Door = request.app.state.door
    return found


def address(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else "unknown"


def actor(
    request: Request,
    used_for: Annotated[
        Purpose, Header(alias="X-Purpose", description="What the patient's data are used for; consent is held to it.")
    ] = "treatment",
) -> Actor:
    """Who asks, in which role; refuses who may not call this route.

    Raises
    ------
    UnauthorisedError
        If nobody who is known asks.
    ForbiddenError
        If the role may not, or a signed-in browser's request does not carry the form's token.
    TooMuchError
        If the account asks too often, or the address is refused too often.
    """
    route = request.scope["route"]
    allowed = RULES[(request.method, route.path)]
    here = door(request)
    request_id: str = request.state.request_id
    if allowed is PUBLIC:
        return Actor("anonymous", "system", purpose="operations", request_id=request_id)
    try:
        account = _account(request.headers, request.cookies, here.accounts)
    except UnauthorisedError as error:
        here.asking.take(f"address {address(request)}")
        if "authorization" in request.headers or COOKIE in request.cookies:
            here.accounts.note_refusal(None, error.message, request_id=request_id)
        raise
    here.asking.take(account.id)
    if request.method not in _SAFE and "authorization" not in request.headers:
        _check_form(request, account, here.accounts)
    if account.role not in allowed:
        here.accounts.note_refusal(account, f"role: {request.method} {route.path}", request_id=request_id)
        raise ForbiddenError(f"the role '{account.role}' may not do this", where="role", hint="ask who has the role")
    _check_query(request, route)
    asked = "audit" if account.role == "auditor" else used_for
    return Actor(account.id, account.role, purpose=asked, request_id=request_id)


def _check_form(request: Request, account: AccountRow, accounts: Accounts) -> None:
    try:
        check_csrf(accounts.session(request.cookies[COOKIE]), request.headers.get("x-csrf-token", ""))
    except ForbiddenError as error:
        accounts.note_refusal(account, error.message, request_id=request.state.request_id)
        raise


def _check_query(request: Request, route: APIRoute) -> None:
    """Refuse a parameter that is not known, which would be passed over in silence, or given twice."""
    known = _parameters(route.dependant)
    for name in request.query_params:
        if name not in known:
            hint = f"this address takes {', '.join(sorted(known)) or 'none'}"
            raise InputError("the parameter is not known", where=name[:100], hint=hint)
        if len(request.query_params.getlist(name)) > 1:
            raise InputError("the parameter is given twice", where=name, hint="give it once")


def _parameters(part: Dependant) -> set[str]:
    return {field.alias for field in part.query_params}.union(*map(_parameters, part.dependencies))


def is_known(headers: Headers, *, accounts: Accounts) -> bool:
    """Whether somebody who is known asks."""
    try:
        _account(headers, cookie_parser(headers.get("cookie", "")), accounts)
    except UnauthorisedError:
        return False
    return True


def _account(headers: Headers, cookies: Mapping[str, str], accounts: Accounts) -> AccountRow:
    given = headers.get("authorization")
    if given is None:
        if COOKIE not in cookies:
            raise UnauthorisedError(
                "nobody is signed in", where="Authorization", hint="send a bearer token, or sign in"
            )
        return accounts.session(cookies[COOKIE]).account
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthorisedError("only bearer tokens are read", where="Authorization", hint="send 'Bearer TOKEN'")
    return accounts.holder(token.strip())


Asker = Annotated[Actor, Depends(actor)]
Here = Annotated[Door, Depends(door)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255, pattern="^[!-~]+$",
        description="The same key with the same request gives the first response again, for a day.",
    ),
]  # fmt: skip


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """A dependency that reads the request's JSON strictly."""

    async def read(request: Request) -> M:
        check_media_type(request, "application/json")
        raw = await request.body()
        request.state.body_digest = hashlib.sha256(raw).hexdigest()
        try:
            return model.model_validate_json(raw)
        except ValidationError as error:
            where, said = first_of(list(error.errors(include_url=False, include_input=False, include_context=False)))
            raise InputError(said, where=where or "body", hint="see the OpenAPI document") from None

    return read


def check_media_type(request: Request, *accepted: str) -> None:
    """Refuse a body of another media type.

    Raises
    ------
    TooMuchError
        With status 415.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in accepted:
        hint = f"send {' or '.join(accepted)}"
        raise TooMuchError("the media type is not read here", status=415, where="Content-Type", hint=hint)


def once(request: Request, who: Actor, key: str | None, make: Callable[[], Response]) -> Response:
    """The response of a write: made now, or, for a key that was used for the same request, the first one again.

    What is given again is read again: the patient's consent is looked up, and a row of the access is left.

    Raises
    ------
    ConflictError
        If the key was used for another request, or its first request is still being answered.
    ConsentRefusedError
        If the patient's consent does not cover the purpose any more.
    """
    if key is None:
        return make()
    store, digest = door(request).service.store, _digest(request)
    with store.work(who) as work:
        kept = work.once(key, digest)
        if kept is not None:
            _give_again(work, request, kept)
    if kept is not None:
        return _again(kept)
    try:
        response = make()
    except BaseException:
        with store.work(who) as work:
            work.release(key)
        raise
    with store.work(who) as work:
        work.keep(key, digest, _as_kept(response))
    return response


def _give_again(work: Work, request: Request, kept: bytes) -> None:
    answer = request.path_params.get("answer_id")
    if answer is not None:
        work.answer(answer)
        return
    made = dict(json.loads(kept.partition(b"\n")[0])["headers"]).get("location", "")
    patient = request.path_params.get("patient_id") or unquote(made.rpartition("/")[2])
    if patient:
        work.check_patient(patient)
        work.record("R", "response", request.url.path.rpartition("/")[2], patient_id=patient, detail="given again")


def _digest(request: Request) -> str:
    parts = (request.method, request.url.path, request.url.query, getattr(request.state, "body_digest", ""))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _as_kept(response: Response) -> bytes:
    skipped = ("content-length",)
    headers = [(name, value) for name, value in response.headers.items() if name not in skipped]
    return json.dumps({"status": response.status_code, "headers": headers}).encode() + b"\n" + bytes(response.body)


def _again(kept: bytes) -> Response:
    head, _, body = kept.partition(b"\n")
    held = json.loads(head)
    response = Response(body, status_code=held["status"])
    for name, value in held["headers"]:
        response.headers[name] = value
    response.headers["Idempotent-Replayed"] = "true"
    return response


def reply(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value, a model or a row of the store, as a JSON response."""
    kind: Any = type(value)
    body = _adapter(kind).dump_json(value, by_alias=True)
    return Response(body, status_code=status, media_type="application/json", headers=headers)


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def is_unchanged(request: Request, etag: str) -> bool:
    """Whether the caller holds this version already (If-None-Match)."""
    given = request.headers.get("if-none-match", "")
    return etag in (part.strip().removeprefix("W/") for part in given.split(",")) or given.strip() == "*"


def named(look_up: Callable[[str], object], name: str, where: str) -> None:
    """Refuse a name that our knowledge does not hold.

    Raises
    ------
    NotFoundError
        With the nearest names.
    """
    try:
        look_up(name)
    except InputError as error:
        raise NotFoundError(error.message, where=where, hint=error.hint) from None


def described(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's words on a JSON body that `json_body` reads; `create_app` adds the model to the components."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}
