"""The server: `create_app(service, ...)` puts the routes, the limits and the errors together.

The routes stand in `routes/`, who may call them in `access.py`, what stands before them in `security.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from posologist.core.errors import PosologistError
from posologist.core.version import VERSION
from posologist.serve.access import API, PUBLIC, RULES
from posologist.serve.accounts import Accounts
from posologist.serve.hook_desk import hook_calls
from posologist.serve.hooks.routes import HooksSettings, hooks_router
from posologist.serve.metrics import Metrics
from posologist.serve.page.routes import page_router
from posologist.serve.page.routes import uploads as page_uploads
from posologist.serve.problems import MEDIA_TYPE, Problem, on_http, on_invalid, on_own
from posologist.serve.receiving import Bounds
from posologist.serve.routes import answers, decisions, genomes, measured, operations, patients, sessions
from posologist.serve.routes.asking import COOKIE, Door, Mode, actor, is_known
from posologist.serve.routes.shapes import BODIES
from posologist.serve.security import Guard, Limiter, Limits
from posologist.serve.service import Service

_ROUTES = (sessions, patients, genomes, measured, answers, decisions, operations)
_ALWAYS = {"400": "not readable", "422": "cannot be answered as it was asked", "429": "too often"}
_SIGNED_IN = {"401": "nobody who is known asks", "403": "the role or the consent does not cover it"}


def create_app(
    service: Service,
    *,
    accounts: Accounts | None = None,
    mode: Mode = "production",
    limits: Limits | None = None,
    hosts: Iterable[str] = (),
    hooks: HooksSettings | None = None,
) -> FastAPI:
    """The application over one service.

    Parameters
    ----------
    mode
        In production browsers are told to come by https only.
    hosts
        Names under which the server may be addressed; empty: any.
    hooks
        What the site sets for CDS Hooks; None: no hook is served.

    Raises
    ------
    LookupError
        If a route of the API is not in the table of `access.py`.
    """
    bounds, metrics = limits or Limits(), Metrics()
    app = FastAPI(
        title="posologist", version=VERSION, summary="The right drug, at the right dose, for this patient, with why.",
        openapi_url=f"{API}/openapi.json", docs_url=None, redoc_url=None, redirect_slashes=False,
        exception_handlers={
            PosologistError: on_own, HTTPException: on_http, RequestValidationError: on_invalid,
        },
    )  # fmt: skip
    here = app.state.door = Door(
        service=service, accounts=accounts or Accounts(service.store), metrics=metrics,
        asking=Limiter(bounds.rate, bounds.burst), refusing=Limiter(bounds.refused_rate, bounds.refused_burst),
        mode=mode,
    )  # fmt: skip
    for subject in _ROUTES:
        app.include_router(subject.routes, dependencies=[Depends(actor)])
    check_access(app)
    app.include_router(page_router(service, here.accounts, asking=here.asking, refusing=here.refusing))
    if hooks is not None:
        app.include_router(hooks_router(hook_calls(service, here.asking, here.refusing), hooks))
    app.add_middleware(
        Guard, metrics=metrics, limits=bounds, uploads=_uploads(service.bounds),
        may_upload=partial(is_known, accounts=here.accounts),
        open_bytes={"/cds-services/": hooks.most_bytes} if hooks is not None else {}, hosts=tuple(hosts),
        https_only=mode == "production",
    )  # fmt: skip
    made = app.openapi
    app.openapi = lambda: app.openapi_schema or _completed(made())  # type: ignore[method-assign]
    return app


def _uploads(bounds: Bounds) -> tuple[tuple[str, int], ...]:
    records, genomes = f"{API}/patients", f"{API}/patients/[^/]+/genome"
    return (records, bounds.bundle_bytes), (genomes, bounds.vcf_bytes), *page_uploads(bounds)


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Method and address of every route of the API."""
    return [
        (method, path)
        for context in iter_route_contexts(app.routes)
        if (path := context.path or "").startswith(API) and path != app.openapi_url
        for method in sorted(context.methods or ())
    ]


def check_access(app: FastAPI) -> None:
    """Refuse to serve a route that the table of roles does not know, or a table that knows one that is not there.

    Raises
    ------
    LookupError
        With the routes.
    """
    differing = set(routes_of(app)) ^ set(RULES)
    if differing:
        raise LookupError(f"routes and the table of roles differ: {sorted(differing)}")


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with the bodies that are read strictly, the problems and how to sign in."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    wanted = [(model, "validation") for model in BODIES] + [(Problem, "serialization")]
    _, made = models_json_schema(wanted, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas.update(made["$defs"])
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if (method.upper(), path) not in RULES:
                continue
            public = RULES[(method.upper(), path)] is PUBLIC
            operation["security"] = [] if public else [{"token": []}, {"session": []}]
            told = _ALWAYS if public else _ALWAYS | _SIGNED_IN
            if path.endswith("/sessions"):
                told = told | {"401": "account or password is wrong"}
            if "{" in path or "current" in path or (method, path) == ("post", f"{API}/patients"):
                told = told | {"404": "there is none"}
            if "requestBody" in operation:
                told = told | {"408": "too slow", "413": "too large", "415": "another media type"}
            if method == "post":
                told = told | {"409": "the key was used for another request"}
            if "health" in path:
                told = told | {"503": "not ready"}
            for status, words in told.items():
                operation["responses"][status] = {"description": words, **problem}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document
