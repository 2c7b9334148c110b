"""Errors as problem details (RFC 9457): what, where, what to do, and the request's id; never a traceback.

The kinds of `posologist.core.errors` keep their names in `code`.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from posologist.core.errors import KnowledgeError, NumericsError, PosologistError
from posologist.serve.access import methods_at
from posologist.serve.refusals import ConflictError, ConsentRefusedError, NotFoundError, StoreError
from posologist.serve.refused import ForbiddenError, TooMuchError, UnauthorisedError

MEDIA_TYPE = "application/problem+json"
_STATUS: tuple[tuple[type[PosologistError], int], ...] = (
    (UnauthorisedError, 401),
    (ForbiddenError, 403),
    (ConsentRefusedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (KnowledgeError, 500),
    (NumericsError, 422),
)
_CODES = {400: "input", 401: "unauthorised", 403: "forbidden", 404: "not-found", 405: "method", 409: "conflict"}
_LIMITS = {408: "slow", 413: "too-large", 415: "media-type", 429: "too-often", 503: "not-ready"}


class Problem(BaseModel):
    """An error, RFC 9457."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "input",
         "detail": "indication: no indication 'gout'", "where": "indication", "hint": "there are: hypertension, ...",
         "request_id": "3b0f6f0d5f7c4e3f8e8f5a1b2c3d4e5f"}
    ]})  # fmt: skip

    type: str = Field(description="about:blank: the title says what the status means")
    title: str
    status: int
    code: str = Field(description="kind of error: input, knowledge, model, numerics, defect, not-found, conflict, ...")
    detail: str
    where: str = ""
    hint: str = Field(default="", description="what to do")
    request_id: str


def status_of(error: PosologistError) -> int:
    """The status of an error: 422 where what was given cannot be answered."""
    if isinstance(error, TooMuchError):
        return error.status
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    if isinstance(error, StoreError) and error.where in ("database", "audit_head"):
        return 503
    return 500 if error.code == 1 else 422


def problem(status: int, detail: str, *, request_id: str, code: str = "", where: str = "", hint: str = "") -> Response:
    """A response that tells an error."""
    name = code or _CODES.get(status) or _LIMITS.get(status) or "input"
    held = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": name, "detail": detail,
        "where": where, "hint": hint, "request_id": request_id,
    }  # fmt: skip
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "1"}}
    return Response(
        json.dumps(held).encode("ascii"), status_code=status, media_type=MEDIA_TYPE, headers=headers.get(status)
    )


def of_error(error: PosologistError, request_id: str) -> Response:
    """The response to one of our own errors; a defect tells nothing but its kind."""
    status = status_of(error)
    if status == 500:
        return defect(request_id, code=error.kind)
    own = _CODES.get(status) or _LIMITS.get(status) or error.kind
    return problem(
        status, error.message, request_id=request_id, code="consent" if isinstance(error, ConsentRefusedError) else own,
        where=error.where, hint=error.hint,
    )  # fmt: skip


def defect(request_id: str, code: str = "defect") -> Response:
    """The response to an error that is not the caller's."""
    return problem(
        500, "an error in posologist; nothing was answered", request_id=request_id, code=code,
        hint="tell this request's id to who runs the system",
    )  # fmt: skip


async def on_own(request: Request, error: Exception) -> Response:
    """Handler of our own errors."""
    assert isinstance(error, PosologistError)
    return of_error(error, request.state.request_id)


async def on_http(request: Request, error: Exception) -> Response:
    """Handler of what the framework refuses: an unknown address, a method that is not there."""
    assert isinstance(error, HTTPException)
    found = problem(error.status_code, str(error.detail), request_id=request.state.request_id)
    found.headers.update(error.headers or {})
    methods = methods_at(request.url.path)
    if error.status_code == 405 and methods:
        found.headers["Allow"] = ", ".join(methods)
    return found


async def on_invalid(request: Request, error: Exception) -> Response:
    """Handler of parameters that do not fit; what was given is not repeated."""
    assert isinstance(error, RequestValidationError)
    where, said = first_of(list(error.errors()))
    return problem(422, said, request_id=request.state.request_id, where=where, hint="see the OpenAPI document")


def first_of(errors: list[Any]) -> tuple[str, str]:
    """Where the first of pydantic's errors is, and what it is, without the value."""
    place = ".".join(str(part) for part in errors[0]["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return place, f"{errors[0]['msg']}{more}"
