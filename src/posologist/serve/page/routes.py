"""The page's addresses: `page_router(service, accounts)`. Every form posts, is checked, and redirects (303)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime
from importlib.resources import as_file, files
from typing import Annotated, cast, get_args
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Query, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from posologist.core.errors import InputError, PosologistError
from posologist.knowledge.genes import callable_genes
from posologist.serve import demo
from posologist.serve.accounts import Accounts
from posologist.serve.closing import ClosedStatus, Closing
from posologist.serve.measuring import Measurement
from posologist.serve.page.answering import Answers, fhir_part
from posologist.serve.page.dose_view import DoseAsked, Levels
from posologist.serve.page.guard import (
    CARE,
    DATA,
    PRESCRIBER,
    Failure,
    Guest,
    PageRoute,
    came_from,
    check_form,
    check_origin,
    failure_of,
    guest,
    shown,
)
from posologist.serve.page.html import answer_html, page_html, static_digest, static_files
from posologist.serve.page.received import received
from posologist.serve.problems import status_of
from posologist.serve.receiving import Bounds
from posologist.serve.refusals import NotFoundError
from posologist.serve.refused import UnauthorisedError
from posologist.serve.report import render_html
from posologist.serve.routes.asking import COOKIE
from posologist.serve.routes.paging import DAY_CURSOR, day_after, day_cursor, next_of
from posologist.serve.routes.sessions import clear_cookie, set_cookie
from posologist.serve.rows import DecisionAction, FollowUpStatus, MeasuredKind, PatientBrief, ReasonCode, Role
from posologist.serve.security import Limiter
from posologist.serve.service import Service
from posologist.serve.style import content_policy, stylesheet

_PAGE_ROWS = 50
EXAMPLE = "founding-case"
"""Id of the worked example's patient."""
Id = Annotated[str, Path(max_length=200)]
Text = Annotated[str, Form(max_length=2000)]
Token = Annotated[str, Form(max_length=200)]


def uploads(bounds: Bounds) -> tuple[tuple[str, int], ...]:
    """Addresses of the page whose forms may be large: (regular expression of the path, bytes)."""
    return ("/patients", bounds.bundle_bytes), ("/patients/[^/]+/genome", bounds.vcf_bytes)


def page_router(
    service: Service, accounts: Accounts, *, asking: Limiter | None = None, refusing: Limiter | None = None
) -> APIRouter:
    """Every page over one service.

    Parameters
    ----------
    asking, refusing
        How often one account may ask, and how often one address may fail to sign in.
    """
    pages = _Pages(service, accounts, asking or Limiter(50.0, 200), refusing or Limiter(0.5, 30))
    router = APIRouter(route_class=PageRoute, include_in_schema=False)
    for method, path, endpoint in (
        ("GET", "/", pages.home),
        ("GET", "/static/{digest}/{name:path}", pages.static),
        ("GET", "/sign-in", pages.gate),
        ("POST", "/sign-in", pages.sign_in),
        ("POST", "/sign-out", pages.sign_out),
        ("GET", "/patients", pages.patients),
        ("POST", "/patients", pages.add_patient),
        ("POST", "/patients/example", pages.add_example),
        ("GET", "/patients/{patient_id}", pages.patient),
        ("POST", "/patients/{patient_id}/genome", pages.add_genome),
        ("POST", "/patients/{patient_id}/recommend", pages.recommend),
        ("GET", "/follow-ups", pages.follow_ups),
        ("POST", "/follow-ups", pages.close_follow_up),
        ("GET", "/answers/{answer_id}", pages.answer),
        ("POST", "/answers/{answer_id}/decision", pages.decide),
        ("POST", "/answers/{answer_id}/measured", pages.measured),
        ("GET", "/answers/{answer_id}/medication-request.json", pages.medication_request),
        ("GET", "/answers/{answer_id}/detected-issues.json", pages.detected_issues),
        ("GET", "/answers/{answer_id}/recommendation.json", pages.recommendation),
        ("GET", "/answers/{answer_id}/report.html", pages.report),
    ):
        router.add_api_route(path, endpoint, methods=[method], response_model=None, response_class=HTMLResponse)
    return router


class _Pages:
    """What each address answers."""

    def __init__(self, service: Service, accounts: Accounts, asking: Limiter, refusing: Limiter) -> None:
        self._service, self._accounts = service, accounts
        self._asking, self._refusing = asking, refusing
        self._answers = Answers(service)

    def home(self) -> Response:
        return RedirectResponse("/patients", 303)

    def static(self, digest: str, name: str) -> Response:
        found = static_files().get(name) if digest == static_digest() else None
        if found is None:
            raise NotFoundError("no such file", where=name[:100], hint="load the page again")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(found[0], media_type=found[1], headers=headers)

    def gate(self, back: Annotated[str, Query(max_length=200)] = "") -> Response:
        return _page("sign_in.html.j2", visitor=None, wrong=False, name="", back=came_from(back))

    def sign_in(
        self, request: Request, name: Text, password: Text, back: Annotated[str, Form(max_length=200)] = ""
    ) -> Response:
        check_origin(request)
        origins = (request.client.host if request.client else "unknown", f"account {name}")
        for origin in origins:
            self._refusing.check(origin)
        try:
            found = self._accounts.sign_in(name, password, request_id=getattr(request.state, "request_id", ""))
        except UnauthorisedError:
            for origin in origins:
                self._refusing.take(origin)
            return _page("sign_in.html.j2", 401, visitor=None, wrong=True, name=name, back=came_from(back))
        response = RedirectResponse(came_from(back), 303)
        set_cookie(response, found.cookie)
        return response

    def sign_out(self, request: Request, csrf: Token) -> Response:
        check_form(request, self._accounts, csrf)
        self._accounts.sign_out(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/sign-in", 303)
        clear_cookie(response)
        return response

    def patients(self, request: Request, after: Annotated[str | None, Query(max_length=200)] = None) -> Response:
        return self._list(self._guest(request, DATA), after=after)

    def add_patient(self, request: Request, csrf: Token, bundle: UploadFile) -> Response:
        who = self._writer(request, csrf, DATA)
        name = bundle.filename or "bundle.json"
        try:
            row = self._service.add_patient(who.actor, bundle.file.read(), document=name.rpartition("/")[2][:100])
        except PosologistError as error:
            return self._list(who, problem=failure_of(error), status=status_of(error))
        return RedirectResponse(f"/patients/{_quoted(row.id)}", 303)

    def add_example(self, request: Request, csrf: Token) -> Response:
        who = self._writer(request, csrf, CARE)
        with self._service.store.work(who.actor) as work:
            if not _may_hold_example(work.patients(None, 2)):
                hint = "use it on a server without patients"
                raise InputError("the example is not mixed with patients", where="example", hint=hint)
        with as_file(files(demo)) as folder:
            row = self._service.add_patient(who.actor, (folder / "patient.json").read_bytes(), document="patient.json")
            calls = folder / "outside-calls.tsv"
            self._service.add_genome(who.actor, row.id, folder / "genome.vcf", outside_calls=calls)
        answer = self._service.recommend(who.actor, row.id, demo.INDICATION, as_of=demo.AS_OF)
        return RedirectResponse(f"/answers/{answer.id}", 303)

    def patient(self, request: Request, patient_id: Id) -> Response:
        return self._record(self._guest(request, DATA), patient_id)

    def add_genome(self, request: Request, patient_id: Id, csrf: Token, vcf: UploadFile, sample: Text = "") -> Response:
        who = self._writer(request, csrf, DATA)
        try:
            with received(vcf) as path:
                self._service.add_genome(who.actor, patient_id, path, sample=sample.strip() or None)
        except PosologistError as error:
            return self._record(who, patient_id, problem=failure_of(error), status=status_of(error))
        return RedirectResponse(f"/patients/{_quoted(patient_id)}", 303)

    def recommend(self, request: Request, patient_id: Id, csrf: Token, indication: Text, as_of: Text = "") -> Response:
        who = self._writer(request, csrf, CARE)
        try:
            answer = self._service.recommend(who.actor, patient_id, indication, as_of=_day(as_of))
        except PosologistError as error:
            return self._record(
                who, patient_id, problem=failure_of(error), status=status_of(error), indication=indication, as_of=as_of
            )
        return RedirectResponse(f"/answers/{answer.id}", 303)

    def follow_ups(
        self,
        request: Request,
        state: Annotated[FollowUpStatus, Query()] = "open",
        after: Annotated[str | None, Query(pattern=DAY_CURSOR)] = None,
        held: Annotated[str, Query(max_length=20)] = "",
    ) -> Response:
        who = self._guest(request, CARE)
        rows = self._service.follow_ups(who.actor, status=state, after=day_after(after), limit=_PAGE_ROWS)
        more = next_of(rows, _PAGE_ROWS, day_cursor(rows[-1].due, rows[-1].id)) if rows else None
        return _page(
            "follow_ups.html.j2", visitor=who.visitor, here="follow-ups", rows=rows, more=more, state=state,
            states=get_args(FollowUpStatus), today=self._service.store.now.date(),
            notice="The follow-up is closed." if held == "closed" else "",
        )  # fmt: skip

    def close_follow_up(
        self,
        request: Request,
        csrf: Token,
        follow_up: Annotated[str, Form(pattern="^[0-9a-f]{64}$")],
        status: Annotated[ClosedStatus, Form()],
        result: Text = "",
        back: Annotated[str, Form(max_length=200)] = "/follow-ups",
    ) -> Response:
        who = self._writer(request, csrf, CARE)
        with self._service.store.work(who.actor) as work:
            work.close_follow_up(follow_up, Closing(status, result))
        return RedirectResponse(f"{came_from(back)}?held=closed#follow-up", 303)

    def answer(
        self,
        request: Request,
        answer_id: Id,
        plan: Annotated[int | None, Query(ge=0, le=99)] = None,
        drug: Annotated[str, Query(max_length=200)] = "",
        dose: Annotated[str, Query(max_length=200)] = "",
        levels: Annotated[Levels, Query()] = "before",
        held: Annotated[str, Query(max_length=20)] = "",
    ) -> Response:
        who = self._guest(request, CARE)
        found = self._answers.held(who.actor, answer_id)
        asked = DoseAsked(drug=drug, regimen=dose, levels=levels)
        view = self._answers.view(who.actor, found, rank=plan, asked=asked, notice=held)
        return shown(
            answer_html(
                view, visitor=who.visitor, once=secrets.token_hex(8), measurable=self._answers.measurable(found)
            )
        )

    def decide(
        self,
        request: Request,
        answer_id: Id,
        csrf: Token,
        action: Annotated[DecisionAction, Form()],
        once: Annotated[str, Form(max_length=40)] = "",
        rank: Annotated[str, Form(pattern="^[0-9]{0,2}$")] = "",
        reason: Annotated[ReasonCode | None, Form()] = None,
        note: Text = "",
        order_text: Text = "",
    ) -> Response:
        who = self._writer(request, csrf, PRESCRIBER)
        found = self._answers.held(who.actor, answer_id)
        chosen = int(rank) if rank else None
        if action == "modify":
            order_text = self._answers.order_of(who.actor, found, chosen or 0, order_text)
        monitors = reason == "will-monitor"
        self._service.decide(
            who.actor, answer_id, action, rank=chosen, reason=reason, will_monitor=monitors, note=note.strip(),
            order_text=order_text.strip(), planned=self._answers.planned(found, chosen) if monitors else (),
            key="\n".join((answer_id, once, action, rank, reason or "", order_text, note)) if once else "",
        )  # fmt: skip
        plan = f"plan={chosen}&" if chosen else ""
        return RedirectResponse(f"/answers/{answer_id}?{plan}held={action}#follow-up", 303)

    def measured(
        self, request: Request, answer_id: Id, csrf: Token, what: Text, value: Text, unit: Text, at: Text
    ) -> Response:
        who = self._writer(request, csrf, CARE)
        found = self._answers.held(who.actor, answer_id)
        kind, _, name = what.partition(" ")
        if what not in self._answers.measurable(found):
            raise InputError("this cannot be entered here", where="what", hint="choose one of the list")
        row = Measurement(cast("MeasuredKind", kind), _moment(at), name, _amount(value), unit.strip())
        self._service.add_measured(who.actor, found.row.patient_id, [row])
        again = self._service.recommend(who.actor, found.row.patient_id, found.document.indication)
        return RedirectResponse(f"/answers/{again.id}?held=measured", 303)

    def medication_request(self, request: Request, answer_id: Id, plan: Annotated[int, Query(ge=0)] = 1) -> Response:
        return self._file(request, answer_id, "medication-request.json", plan)

    def detected_issues(self, request: Request, answer_id: Id) -> Response:
        return self._file(request, answer_id, "detected-issues.json")

    def recommendation(self, request: Request, answer_id: Id) -> Response:
        return self._file(request, answer_id, "recommendation.json")

    def report(self, request: Request, answer_id: Id) -> Response:
        held = self._answers.held(self._guest(request, CARE).actor, answer_id)
        headers = {"Content-Security-Policy": content_policy(stylesheet("style.css"))}
        return HTMLResponse(render_html(held.document), headers=headers)

    def _file(self, request: Request, answer_id: str, name: str, rank: int | None = None) -> Response:
        held = self._answers.held(self._guest(request, CARE).actor, answer_id)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        if name == "recommendation.json":
            return Response(held.row.document, media_type="application/json", headers=headers)
        kind = "MedicationRequest" if rank is not None else "DetectedIssue"
        return Response(fhir_part(held, kind, rank=rank), media_type="application/fhir+json", headers=headers)

    def _guest(self, request: Request, allowed: frozenset[Role]) -> Guest:
        return guest(request, self._accounts, self._asking, allowed)

    def _writer(self, request: Request, csrf: str, allowed: frozenset[Role]) -> Guest:
        who = self._guest(request, allowed)
        check_form(request, self._accounts, csrf)
        return who

    def _list(
        self, who: Guest, *, after: str | None = None, problem: Failure | None = None, status: int = 200
    ) -> Response:
        with self._service.store.work(who.actor) as work:
            rows = work.patients(after, _PAGE_ROWS)
        return _page(
            "patients.html.j2", status, visitor=who.visitor, here="patients", patients=rows, problem=problem,
            example=after is None and _may_hold_example(rows),
            more=rows[-1].id if len(rows) == _PAGE_ROWS else "", bundle_mb=self._service.bounds.bundle_bytes // 2**20,
        )  # fmt: skip

    def _record(
        self,
        who: Guest,
        patient_id: str,
        *,
        problem: Failure | None = None,
        status: int = 200,
        indication: str = "",
        as_of: str = "",
    ) -> Response:
        with self._service.store.work(who.actor) as work:
            row, genome = work.patient(patient_id), work.genome(patient_id)
            answers = work.answers(patient_id, kind="recommendation", limit=10)
        knowledge = self._service.knowledge
        choices = sorted((held.id, held.name[:1].upper() + held.name[1:]) for held in knowledge.indications.values())
        return _page(
            "patient.html.j2", status, visitor=who.visitor, here="patients", patient=row, genome=genome,
            answers=answers, indications=choices, indication=indication, as_of=as_of, problem=problem,
            gene_count=len(callable_genes()),
        )  # fmt: skip


def _page(template: str, status: int = 200, **values: object) -> Response:
    return shown(page_html(template, **values), status)  # type: ignore[arg-type]


def _may_hold_example(rows: Sequence[PatientBrief]) -> bool:
    """Whether nobody but the example is held: a made-up patient never stands among real ones."""
    return all(row.id == EXAMPLE for row in rows)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError as error:
        raise InputError("not a day", where="as of", hint="write e.g. 2026-11-20") from error


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InputError("not a day and time", where="day and time", hint="write e.g. 2026-11-20T14:30") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _amount(text: str) -> float:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError as error:
        raise InputError("not a number", where="value", hint="write e.g. 4.3") from error


def _quoted(text: str) -> str:
    return quote(text, safe="")
