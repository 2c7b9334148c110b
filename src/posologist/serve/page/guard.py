"""Who looks at the page: sessions by cookie, roles, the token of each form, and errors as pages instead of JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from posologist.core.errors import PosologistError
from posologist.serve.accounts import Accounts, check_csrf
from posologist.serve.page.html import POLICY, page_html
from posologist.serve.page.views import Visitor
from posologist.serve.problems import first_of, status_of
from posologist.serve.refused import ForbiddenError, UnauthorisedError
from posologist.serve.routes.asking import COOKIE
from posologist.serve.rows import Actor, Role
from posologist.serve.security import Limiter

CARE: frozenset[Role] = frozenset({"prescriber", "pharmacist"})
DATA: frozenset[Role] = frozenset({"prescriber", "pharmacist", "informaticist"})
PRESCRIBER: frozenset[Role] = frozenset({"prescriber"})
_BACK = re.compile(r"/(answers|patients|follow-ups)(/[A-Za-z0-9._~-]{1,100})?")
UNCHECKED = "Interactions, genes, kidney, allergies and doses: no check has run for this request"


@dataclass(frozen=True)
class Guest:
    """Somebody who is signed in: as the store names them, and as the page shows them."""

    actor: Actor
    visitor: Visitor


@dataclass(frozen=True)
class Failure:
    """What went wrong, where, what to do, and what was therefore not checked."""

    title: str
    what: str
    where: str = ""
    hint: str = ""
    unchecked: str = UNCHECKED


def guest(request: Request, accounts: Accounts, asking: Limiter, allowed: frozenset[Role]) -> Guest:
    """Who asks by the session's cookie; refuses who may not see this page.

    Raises
    ------
    UnauthorisedError
        If nobody is signed in.
    ForbiddenError
        If the role may not.
    TooMuchError
        If the account asks too often.
    """
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        raise UnauthorisedError("nobody is signed in", hint="sign in")
    session = accounts.session(cookie)
    account = session.account
    found = Guest(
        Actor(account.id, account.role, request_id=getattr(request.state, "request_id", "")),
        Visitor(name=account.name, role=account.role, csrf=session.csrf),
    )
    request.state.visitor = found.visitor
    asking.take(account.id)
    if account.role not in allowed:
        accounts.note_refusal(account, f"role: page {request.scope['route'].path}", request_id=found.actor.request_id)
        raise ForbiddenError(
            f"the role '{account.role}' may not do this", where="role", hint="ask a colleague who has the role"
        )
    return found


def check_form(request: Request, accounts: Accounts, csrf: str) -> None:
    """Refuse a form that does not carry the session's token, or that comes from another site.

    Raises
    ------
    ForbiddenError
        With what to do.
    """
    check_origin(request)
    check_csrf(accounts.session(request.cookies.get(COOKIE, "")), csrf)


def check_origin(request: Request) -> None:
    """Refuse a form that a browser says comes from another site.

    Raises
    ------
    ForbiddenError
        With what to do.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ForbiddenError("the form came from another site", where="form", hint="open this page directly")


def came_from(path: str) -> str:
    """Where to go after signing in: one of our own pages, else the patients."""
    return path if _BACK.fullmatch(path) else "/patients"


def failure_of(error: PosologistError) -> Failure:
    """An error in the page's words."""
    titles = {401: "You are not signed in", 403: "You may not do this", 404: "Nothing is held here"}
    return Failure(titles.get(status_of(error), "This could not be answered"), error.message, error.where, error.hint)


def failed(request: Request, failure: Failure, status: int) -> Response:
    """The page of a failure."""
    visitor = getattr(request.state, "visitor", None)
    back = "/patients" if visitor else "/sign-in"
    return shown(page_html("problem.html.j2", visitor=visitor, problem=failure, back=back), status)


def shown(html: str, status: int = 200) -> Response:
    """A page with the policy under which it works."""
    return HTMLResponse(html, status_code=status, headers={"Content-Security-Policy": POLICY})


class PageRoute(APIRoute):
    """A route whose errors are pages; who is not signed in is led to the door."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with errors answered."""
        original = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await original(request)
            except UnauthorisedError as error:
                if request.method == "GET":
                    came = request.url.path
                    return RedirectResponse(f"/sign-in?back={came}" if _BACK.fullmatch(came) else "/sign-in", 303)
                return failed(request, failure_of(error), HTTPStatus.UNAUTHORIZED)
            except PosologistError as error:
                return failed(request, failure_of(error), status_of(error))
            except RequestValidationError as error:
                where, said = first_of(list(error.errors()))
                return failed(request, Failure("The form cannot be read", said, where, "go back and fill it in"), 422)

        return handle
