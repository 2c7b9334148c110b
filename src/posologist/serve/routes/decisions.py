"""Decisions on answers, and the follow-ups that they schedule."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from posologist.core.followup import FollowUpReport
from posologist.serve.access import API
from posologist.serve.closing import Closing
from posologist.serve.deciding import Planned
from posologist.serve.refusals import NotFoundError
from posologist.serve.routes.answers import AnswerPath, Document
from posologist.serve.routes.asking import Asker, Door, Here, Key, described, json_body, once, reply
from posologist.serve.routes.paging import DayCursor, Limit, RowCursor, day_after, day_cursor, next_of
from posologist.serve.routes.patients import PatientId
from posologist.serve.routes.shapes import (
    ClosingIn,
    Day,
    DecidedOut,
    DecisionIn,
    DecisionsOut,
    FollowUpsOut,
)
from posologist.serve.rows import Actor, FollowUpRow, FollowUpStatus

routes = APIRouter(prefix=API, tags=["decisions"])
DueBefore = Annotated[Day | None, Query(description="Only what is due before this day.")]
Status = Annotated[FollowUpStatus | None, Query(description="Only what is open, done, missed or cancelled.")]
FollowUpPath = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="A follow-up's id.")]
AsOf = Annotated[Day | None, Query(description="The day of the follow-up; today where none is given.")]
_EXAMPLE = {
    "action": "override", "reason": "will-monitor", "will_monitor": True, "note": "INR in three days",
    "planned": [{"what": "INR", "due": "2026-11-23", "expected_low": 2, "expected_high": 3, "unit": "{INR}"}],
}  # fmt: skip


@routes.post(
    "/answers/{answer_id}/decisions", status_code=201, response_model=DecidedOut,
    openapi_extra=described(DecisionIn, _EXAMPLE),
)  # fmt: skip
def decide(
    request: Request,
    who: Asker,
    here: Here,
    answer_id: AnswerPath,
    body: Annotated[DecisionIn, Depends(json_body(DecisionIn))],
    key: Key = None,
) -> Response:
    """Holds what the prescriber did with an answer, and schedules what is to be looked at."""

    def make() -> Response:
        planned = [Planned(**vars(one)) for one in body.planned]
        found = here.service.decide(
            who, answer_id, body.action, rank=body.rank, reason=body.reason, will_monitor=body.will_monitor,
            note=body.note, order_text=body.order_text, planned=planned, key=key or "",
        )  # fmt: skip
        return reply(DecidedOut(decision=found.decision, follow_ups=found.follow_ups), 201)

    return once(request, who, key, make)


@routes.get("/patients/{patient_id}/decisions", response_model=DecisionsOut)
def list_decisions(
    who: Asker, here: Here, patient_id: PatientId, limit: Limit = 50, cursor: RowCursor = None
) -> Response:
    """A patient's decisions, newest first."""
    with here.service.store.work(who) as work:
        rows = work.decisions(patient_id, after=cursor, limit=limit)
    following = next_of(rows, limit, rows[-1].id) if rows else None
    return reply(DecisionsOut(decisions=rows, next=following))


@routes.get("/patients/{patient_id}/follow-up", response_model=FollowUpReport)
def follow_up(who: Asker, here: Here, patient_id: PatientId, as_of: AsOf = None) -> Response:
    """Where the newest accepted plan stands, what changed in the advice and why; as `posologist follow-up --json`."""
    found = here.service.follow_up(who, patient_id, as_of=as_of)
    if found is None:
        raise NotFoundError("no plan was accepted for this patient", where="follow-up", hint="accept a plan first")
    return Document(found)


@routes.get("/patients/{patient_id}/follow-ups", response_model=FollowUpsOut)
def follow_ups_of_patient(
    who: Asker,
    here: Here,
    patient_id: PatientId,
    status: Status = None,
    due_before: DueBefore = None,
    limit: Limit = 50,
    cursor: DayCursor = None,
) -> Response:
    """What is to be looked at in one patient, by day."""
    return _follow_ups(here, who, patient_id, status, due_before, limit, cursor)


@routes.get("/follow-ups", response_model=FollowUpsOut)
def follow_ups_of_all(
    who: Asker,
    here: Here,
    status: Status = None,
    due_before: DueBefore = None,
    limit: Limit = 50,
    cursor: DayCursor = None,
) -> Response:
    """What is to be looked at in all patients, by day."""
    return _follow_ups(here, who, None, status, due_before, limit, cursor)


@routes.post(
    "/follow-ups/{follow_up_id}/outcome", response_model=FollowUpRow,
    openapi_extra=described(ClosingIn, {"status": "done", "result": "INR 2.4"}),
)  # fmt: skip
def close_follow_up(
    request: Request,
    who: Asker,
    here: Here,
    follow_up_id: FollowUpPath,
    body: Annotated[ClosingIn, Depends(json_body(ClosingIn))],
    key: Key = None,
) -> Response:
    """Closes a follow-up: done with its result, missed, or cancelled by a prescriber; once, however often sent."""

    def make() -> Response:
        with here.service.store.work(who) as work:
            row = work.close_follow_up(follow_up_id, Closing(body.status, body.result))
        return reply(row)

    return once(request, who, key, make)


def _follow_ups(
    here: Door,
    who: Actor,
    patient_id: str | None,
    status: FollowUpStatus | None,
    due_before: date | None,
    limit: int,
    cursor: str | None,
) -> Response:
    rows = here.service.follow_ups(
        who, patient_id, status=status, due_before=due_before, after=day_after(cursor), limit=limit
    )
    following = next_of(rows, limit, day_cursor(rows[-1].due, rows[-1].id)) if rows else None
    return reply(FollowUpsOut(follow_ups=rows, next=following))
