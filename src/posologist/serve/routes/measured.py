"""What was measured and given: levels, administrations, observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from posologist.serve.access import API
from posologist.serve.measuring import Measurement
from posologist.serve.routes.asking import Asker, Door, Here, Key, described, json_body, once, reply
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
_AT = "2026-11-20T08:00:00Z"
_LEVELS = {"levels": [{"at": _AT, "analyte": "vancomycin", "value": 14.2, "unit": "mg/L"}]}
_GIVEN = {
    "administrations": [{"at": _AT, "drug": "vancomycin", "amount": 1000, "unit": "mg", "route": "iv", "duration_h": 1}]
}
_OBSERVED = {"observations": [{"at": _AT, "key": "creatinine", "value": 1.4, "unit": "mg/dL"}]}


@routes.post(
    "/patients/{patient_id}/levels", status_code=201, response_model=AddedOut,
    openapi_extra=described(LevelsIn, _LEVELS),
)  # fmt: skip
def add_levels(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    body: Annotated[LevelsIn, Depends(json_body(LevelsIn))],
    key: Key = None,
) -> Response:
    """Holds drug levels; one that is held already counts once."""
    rows = [Measurement("level", row.at, row.analyte, row.value, row.unit) for row in body.levels]
    return once(request, who, key, lambda: _added(here, who, patient_id, rows))


@routes.post(
    "/patients/{patient_id}/administrations", status_code=201, response_model=AddedOut,
    openapi_extra=described(AdministrationsIn, _GIVEN),
)  # fmt: skip
def add_administrations(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    body: Annotated[AdministrationsIn, Depends(json_body(AdministrationsIn))],
    key: Key = None,
) -> Response:
    """Holds doses that were given; one that is held already counts once."""
    rows = [
        Measurement("administration", row.at, row.drug, row.amount, row.unit, row.route, row.duration_h)
        for row in body.administrations
    ]
    return once(request, who, key, lambda: _added(here, who, patient_id, rows))


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
    rows = [Measurement("observation", row.at, row.key, row.value, row.unit) for row in body.observations]
    return once(request, who, key, lambda: _added(here, who, patient_id, rows))


@routes.get("/patients/{patient_id}/measured", response_model=MeasuredListOut)
def list_measured(who: Asker, here: Here, patient_id: PatientId, kind: MeasuredKind | None = None) -> Response:
    """What was measured and given, in the order of time."""
    with here.service.store.work(who) as work:
        rows = work.measured(patient_id, kind)
    return reply(MeasuredListOut(measured=tuple(map(MeasuredOut.of, rows))))


def _added(here: Door, who: Actor, patient_id: str, rows: Sequence[Measurement]) -> Response:
    new = here.service.add_measured(who, patient_id, rows)
    return reply(AddedOut(given=len(rows), new=new), 201)
