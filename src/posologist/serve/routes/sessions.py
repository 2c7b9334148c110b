"""Signing in and out, and bearer tokens of one's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from posologist.serve.access import API
from posologist.serve.accounts import SESSION_LASTS
from posologist.serve.refusals import NotFoundError
from posologist.serve.refused import UnauthorisedError
from posologist.serve.routes.asking import COOKIE, Asker, Here, address, described, json_body, reply
from posologist.serve.routes.shapes import SessionOut, SignIn, TokenIn, TokenOut

routes = APIRouter(prefix=API, tags=["sessions"])
TokenId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="A token's id, not the token.")]


def set_cookie(response: Response, cookie: str) -> None:
    """Set the session's cookie, out of reach of scripts and of other sites."""
    response.set_cookie(
        COOKIE, cookie, max_age=int(SESSION_LASTS.total_seconds()), path="/", secure=True, httponly=True,
        samesite="strict",
    )  # fmt: skip


def clear_cookie(response: Response) -> None:
    """Take the session's cookie back."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


@routes.post(
    "/sessions", status_code=201, response_model=SessionOut,
    openapi_extra=described(SignIn, {"account": "anna", "password": "a long pass phrase"}),
)  # fmt: skip
def sign_in(request: Request, who: Asker, here: Here, body: Annotated[SignIn, Depends(json_body(SignIn))]) -> Response:
    """Signs a browser in by a cookie; writes then need the header X-CSRF-Token."""
    origin = address(request)
    for name in (origin, f"account {body.account}"):
        here.refusing.check(name)
    try:
        found = here.accounts.sign_in(body.account, body.password, request_id=who.request_id)
    except UnauthorisedError:
        for name in (origin, f"account {body.account}"):
            here.refusing.take(name)
        raise
    account = found.account
    told = SessionOut(account=account.id, name=account.name, role=account.role, csrf=found.csrf)
    response = reply(told, 201)
    set_cookie(response, found.cookie)
    return response


@routes.get("/sessions/current", response_model=SessionOut)
def current_session(request: Request, who: Asker, here: Here) -> Response:
    """Who is signed in, with the token for writes; only of a session, not of a bearer token."""
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        raise NotFoundError("this request has no session", where="Cookie", hint="sign in first")
    session = here.accounts.session(cookie)
    account = session.account
    return reply(SessionOut(account=account.id, name=account.name, role=account.role, csrf=session.csrf))


@routes.delete("/sessions/current", status_code=204)
def sign_out(request: Request, who: Asker, here: Here) -> Response:
    """Ends this session."""
    here.accounts.sign_out(request.cookies.get(COOKIE, ""))
    response = Response(status_code=204)
    clear_cookie(response)
    return response


@routes.post("/tokens", status_code=201, response_model=TokenOut, openapi_extra=described(TokenIn, {"days": 30}))
def new_token(
    request: Request, who: Asker, here: Here, body: Annotated[TokenIn, Depends(json_body(TokenIn))]
) -> Response:
    """A new bearer token of the account that asks, told this once; one made by a token ends with that at the latest."""
    asking = request.headers.get("authorization", "").partition(" ")[2].strip()
    found = here.accounts.issue_token(who.id, lasts=timedelta(days=body.days), by=asking)
    return reply(TokenOut(id=found.id, token=found.token, expires=found.expires), 201)


@routes.delete("/tokens/{token_id}", status_code=204)
def revoke_token(who: Asker, here: Here, token_id: TokenId) -> Response:
    """Ends a token of the account that asks, and those that were made by it."""
    if not here.accounts.revoke_token(token_id, account=who.id):
        raise NotFoundError("no such token of this account", where="token", hint="check its id")
    return Response(status_code=204)
