"""What was measured and given: levels, administrations, observations."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from posologist.serve.access import API
from posologist.serve.measuring import Measurement
from posologist.serve.refusals import NotFoundError
from posologist.serve.routes.asking import Asker, Door, Here, Key, described, json_body, named, once, reply
from posologist.serve.routes.paging import Limit, RowCursor, next_of
from posologist.serve.routes.patients import PatientId
from posologist.serve.routes.shapes import (
    AddedOut,
    AdministrationsIn,
    LevelsIn,
    MeasuredListOut,
    MeasuredOut,
    ObservationsIn,
)
from posologist.serve.rows import Actor, MeasuredKind

routes = APIRouter(prefix=API, tags=["measured values"])
M = TypeVar("M", bound=BaseModel)
TableName = Annotated[
    str, Query(pattern="^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$", description="Name by which evidence cites a CSV.")
]
_AT = "2026-11-20T08:00:00Z"
_LEVELS = {"levels": [{"at": _AT, "analyte": "vancomycin", "value": 14.2, "unit": "mg/L"}]}
_GIVEN = {
    "administrations": [{"at": _AT, "drug": "vancomycin", "amount": 1000, "unit": "mg", "route": "iv", "duration_h": 1}]
}
_LEVELS_CSV = "time,value,unit,analyte\n2026-11-20T08:00,14.2,mg/L,vancomycin\n"
_GIVEN_CSV = "time,amount,unit,route,duration_h,drug\n2026-11-20T08:00,1000,mg,iv,1,vancomycin\n"
_OBSERVED = {"observations": [{"at": _AT, "key": "creatinine", "value": 1.4, "unit": "mg/dL"}]}


def json_or_csv(model: type[M]) -> Callable[[Request], Awaitable[M | bytes]]:
    """A dependency that reads JSON strictly, or a CSV table as it is."""
    read_json = json_body(model)

    async def read(request: Request) -> M | bytes:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/csv":
            return await read_json(request)
        raw = await request.body()
        request.state.body_digest = hashlib.sha256(raw).hexdigest()
        return raw

    return read


def _or_csv(words: dict[str, Any], example: str) -> dict[str, Any]:
    words["requestBody"]["content"]["text/csv"] = {"schema": {"type": "string"}, "example": example}
    return words


@routes.post(
    "/patients/{patient_id}/levels", status_code=201, response_model=AddedOut,
    openapi_extra=_or_csv(described(LevelsIn, _LEVELS), _LEVELS_CSV),
)  # fmt: skip
def add_levels(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    body: Annotated[LevelsIn | bytes, Depends(json_or_csv(LevelsIn))],
    key: Key = None,
    document: TableName = "levels.csv",
) -> Response:
    """Holds drug levels, as JSON or as the command line's CSV; one that is held already counts once."""

    def make() -> Response:
        _check(here, who, patient_id)
        if isinstance(body, bytes):
            return _told(here.service.add_levels(who, patient_id, body, document=document))
        rows = [Measurement("level", row.at, row.analyte, row.value, row.unit) for row in body.levels]
        return _of_drugs(here, who, patient_id, rows, "analyte")

    return once(request, who, key, make)


@routes.post(
    "/patients/{patient_id}/administrations", status_code=201, response_model=AddedOut,
    openapi_extra=_or_csv(described(AdministrationsIn, _GIVEN), _GIVEN_CSV),
)  # fmt: skip
def add_administrations(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    body: Annotated[AdministrationsIn | bytes, Depends(json_or_csv(AdministrationsIn))],
    key: Key = None,
    document: TableName = "events.csv",
) -> Response:
    """Holds doses that were given, as JSON or as the command line's CSV; one that is held already counts once."""

    def make() -> Response:
        _check(here, who, patient_id)
        if isinstance(body, bytes):
            return _told(here.service.add_events(who, patient_id, body, document=document))
        rows = [
            Measurement("administration", row.at, row.drug, row.amount, row.unit, row.route, row.duration_h)
            for row in body.administrations
        ]
        return _of_drugs(here, who, patient_id, rows, "drug")

    return once(request, who, key, make)


@routes.post(
    "/patients/{patient_id}/observations", status_code=201, response_model=AddedOut,
    openapi_extra=described(ObservationsIn, _OBSERVED),
)  # fmt: skip
def add_observations(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    body: Annotated[ObservationsIn, Depends(json_body(ObservationsIn))],
    key: Key = None,
) -> Response:
    """Holds measured values; one that is held already counts once."""

    def make() -> Response:
        _check(here, who, patient_id)
        for unknown in {row.key for row in body.observations} - set(here.service.knowledge.codes.analytes):
            raise NotFoundError(f"no key '{unknown}'", where="key", hint="write e.g. sbp, creatinine, potassium")
        rows = [Measurement("observation", row.at, row.key, row.value, row.unit) for row in body.observations]
        return _told(here.service.add_measured(who, patient_id, rows))

    return once(request, who, key, make)


@routes.get("/patients/{patient_id}/measured", response_model=MeasuredListOut)
def list_measured(
    who: Asker,
    here: Here,
    patient_id: PatientId,
    kind: MeasuredKind | None = None,
    limit: Limit = 50,
    cursor: RowCursor = None,
) -> Response:
    """What was measured and given, in the order of time."""
    with here.service.store.work(who) as work:
        rows = work.measured(patient_id, kind, after=cursor, limit=limit)
    following = next_of(rows, limit, rows[-1].id) if rows else None
    return reply(MeasuredListOut(measured=tuple(map(MeasuredOut.of, rows)), next=following))


def _check(here: Door, who: Actor, patient_id: str) -> None:
    with here.service.store.work(who) as work:
        work.check_patient(patient_id)


def _of_drugs(here: Door, who: Actor, patient_id: str, rows: Sequence[Measurement], where: str) -> Response:
    for drug in {row.what for row in rows}:
        named(here.service.knowledge.drug, drug, where)
    return _told(here.service.add_measured(who, patient_id, rows))


def _told(new: int) -> Response:
    return reply(AddedOut(new=new), 201)
