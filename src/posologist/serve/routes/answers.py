"""Answers: recommend, screen, dose; what was answered before; whether it comes out again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from posologist.core.recommendation import Recommendation, Screening
from posologist.core.simulation import DoseDocument
from posologist.serve.access import API
from posologist.serve.routes.asking import Asker, Here, Key, described, is_unchanged, json_body, named, once, reply
from posologist.serve.routes.paging import Limit, NumberCursor, next_of
from posologist.serve.routes.patients import PatientId
from posologist.serve.routes.shapes import AnswerOut, AnswersOut, DoseIn, RecommendIn, ReplayOut, ScreenIn
from posologist.serve.rows import AnswerKind, AnswerRow

routes = APIRouter(prefix=API, tags=["answers"])
AnswerPath = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="An answer's id: the hash of its content.")]
_EXAMPLES: dict[str, dict[str, Any]] = {
    "recommend": {"indication": "hypertension", "as_of": "2026-11-20"},
    "screen": {"orders": ["warfarin 5 mg po q24h"]},
    "dose": {"drug": "amlodipine", "as_of": "2026-11-20"},
}


class Document(Response):
    """A document, byte for byte as the command line prints it."""

    media_type = "application/json"


def document(row: AnswerRow, *, status: int = 200) -> Document:
    """An answer's document; its id is told in the headers."""
    headers = {"Answer-Id": row.id, "ETag": f'"{row.id}"', "Content-Location": f"{API}/answers/{row.id}"}
    return Document(row.document, status_code=status, headers=headers)


@routes.post(
    "/patients/{patient_id}/recommend", response_model=Recommendation,
    openapi_extra=described(RecommendIn, _EXAMPLES["recommend"]),
)  # fmt: skip
def recommend(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    body: Annotated[RecommendIn, Depends(json_body(RecommendIn))],
    key: Key = None,
) -> Response:
    """Ranked plans; the bytes of `posologist recommend --json`."""

    def make() -> Response:
        named(here.service.knowledge.indication, body.indication, "indication")
        row = here.service.recommend(
            who, patient_id, body.indication, as_of=body.as_of, guideline=body.guideline,
            harm_aversion=body.harm_aversion,
        )  # fmt: skip
        return document(row)

    return once(request, who, key, make)


@routes.post(
    "/patients/{patient_id}/screen", response_model=Screening,
    openapi_extra=described(ScreenIn, _EXAMPLES["screen"]),
)  # fmt: skip
def screen(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    body: Annotated[ScreenIn, Depends(json_body(ScreenIn))],
    key: Key = None,
) -> Response:
    """Safety of orders; the bytes of `posologist screen --json`."""
    return once(
        request, who, key, lambda: document(here.service.screen(who, patient_id, body.orders, as_of=body.as_of))
    )


@routes.post(
    "/patients/{patient_id}/dose", response_model=DoseDocument,
    openapi_extra=described(DoseIn, _EXAMPLES["dose"]),
)  # fmt: skip
def dose(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    body: Annotated[DoseIn, Depends(json_body(DoseIn))],
    key: Key = None,
) -> Response:
    """Regimens of one drug, with the levels and doses that are held; the bytes of `posologist dose --json`."""

    def make() -> Response:
        named(here.service.knowledge.drug, body.drug, "drug")
        if body.indication is not None:
            named(here.service.knowledge.indication, body.indication, "indication")
        row = here.service.dose(
            who, patient_id, body.drug, as_of=body.as_of, at=body.at, model=body.model, target=body.target,
            indication=body.indication, covariates=body.covariates, mic=body.mic,
        )  # fmt: skip
        return document(row)

    return once(request, who, key, make)


@routes.get("/patients/{patient_id}/answers", response_model=AnswersOut)
def list_answers(
    who: Asker,
    here: Here,
    patient_id: PatientId,
    kind: AnswerKind | None = None,
    limit: Limit = 50,
    cursor: NumberCursor = None,
) -> Response:
    """What was answered about a patient, newest first."""
    before = None if cursor is None else int(cursor)
    with here.service.store.work(who) as work:
        rows = work.answers(patient_id, kind=kind, before=before, limit=limit)
    following = next_of(rows, limit, str(rows[-1].seq)) if rows else None
    return reply(AnswersOut(answers=tuple(map(AnswerOut.of, rows)), next=following))


@routes.get(
    "/answers/{answer_id}", response_model=Recommendation | Screening | DoseDocument,
    responses={304: {"description": "not changed"}},
)  # fmt: skip
def one_answer(request: Request, who: Asker, here: Here, answer_id: AnswerPath) -> Response:
    """An answer's document, as it was given."""
    with here.service.store.work(who) as work:
        row = work.answer(answer_id)
    if is_unchanged(request, f'"{row.id}"'):
        return Response(status_code=304, headers={"ETag": f'"{row.id}"'})
    return document(row)


@routes.post("/answers/{answer_id}/replay", response_model=ReplayOut)
def replay(who: Asker, here: Here, answer_id: AnswerPath) -> Response:
    """Computes an answer again from its stored question, and says whether the same bytes come out."""
    found = here.service.replay(who, answer_id)
    return reply(ReplayOut(answer_id=found.answer.id, same=found.same, said=found.said))
