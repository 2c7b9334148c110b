"""Patients: records in, the list, one, and their consent."""

from __future__ import annotations

import hashlib
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from posologist.serve.access import API
from posologist.serve.routes.asking import (
    Asker,
    Here,
    Key,
    Purpose,
    check_media_type,
    described,
    is_unchanged,
    json_body,
    once,
    reply,
)
from posologist.serve.routes.paging import IdCursor, Limit, NumberCursor, id_after, id_cursor, next_of
from posologist.serve.routes.record_shape import BUNDLE, check_bundle
from posologist.serve.routes.shapes import ConsentIn, ConsentsOut, PatientOut, PatientsOut
from posologist.serve.rows import ConsentRow

routes = APIRouter(prefix=API, tags=["patients"])
PatientId = Annotated[str, Path(min_length=1, max_length=128, description="The Patient resource's id.")]
_BUNDLE_TYPES = ("application/fhir+json", "application/json", "application/fhir+ndjson", "application/x-ndjson")


async def bundle(request: Request) -> bytes:
    """The record as it was sent."""
    check_media_type(request, *_BUNDLE_TYPES)
    raw = await request.body()
    request.state.body_digest = hashlib.sha256(raw).hexdigest()
    return raw


@routes.post("/patients", status_code=201, response_model=PatientOut, openapi_extra=BUNDLE)
def add_patient(
    request: Request,
    who: Asker,
    here: Here,
    raw: Annotated[bytes, Depends(bundle)],
    key: Key = None,
    document: Annotated[
        str, Query(pattern="^[A-Za-z0-9._-]{1,100}$", description="Name by which evidence cites the record.")
    ] = "bundle.json",
    patient_id: Annotated[
        str | None, Query(min_length=1, max_length=128, description="Which patient, when the record holds several.")
    ] = None,
) -> Response:
    """Holds a patient's record; a later one takes the place of the earlier one, which answers keep naming."""

    def make() -> Response:
        if "ndjson" not in request.headers["content-type"]:
            check_bundle(raw, patient_id=patient_id, document=document)
        row = here.service.add_patient(who, raw, document=document, patient_id=patient_id)
        headers = {"Location": f"{API}/patients/{quote(row.id, safe='')}", "ETag": f'"{row.digest}"'}
        return reply(PatientOut.of(row), 201, headers)

    return once(request, who, key, make)


@routes.get("/patients", response_model=PatientsOut)
def list_patients(who: Asker, here: Here, limit: Limit = 50, cursor: IdCursor = None) -> Response:
    """Patients by id; one whose consent does not cover the purpose is not among them."""
    with here.service.store.work(who) as work:
        rows = work.patients(id_after(cursor), limit)
    following = next_of(rows, limit, id_cursor(rows[-1].id)) if rows else None
    return reply(PatientsOut(patients=tuple(map(PatientOut.of, rows)), next=following))


@routes.get("/patients/{patient_id}", response_model=PatientOut, responses={304: {"description": "not changed"}})
def one_patient(request: Request, who: Asker, here: Here, patient_id: PatientId) -> Response:
    """One patient; the ETag is the record's sha256."""
    with here.service.store.work(who) as work:
        row = work.patient(patient_id)
    etag = f'"{row.digest}"'
    if is_unchanged(request, etag):
        return Response(status_code=304, headers={"ETag": etag})
    return reply(PatientOut.of(row), headers={"ETag": etag})


@routes.get("/patients/{patient_id}/consents", response_model=ConsentsOut)
def list_consents(
    who: Asker, here: Here, patient_id: PatientId, limit: Limit = 50, cursor: NumberCursor = None
) -> Response:
    """Consents of a patient, oldest first; can be read whatever they say."""
    skip = int(cursor or 0)
    with here.service.store.work(who) as work:
        rows = work.consents(patient_id, skip=skip, limit=limit)
    following = next_of(rows, limit, str(skip + len(rows)))
    return reply(ConsentsOut(consents=rows, next=following))


@routes.put(
    "/patients/{patient_id}/consents/{purpose}", response_model=ConsentRow,
    openapi_extra=described(ConsentIn, {"granted": False}),
)  # fmt: skip
def put_consent(
    who: Asker,
    here: Here,
    patient_id: PatientId,
    purpose: Purpose,
    body: Annotated[ConsentIn, Depends(json_body(ConsentIn))],
) -> Response:
    """Consent as the patient gave or refused it now; it counts from the next request on."""
    with here.service.store.work(who) as work:
        row = work.put_consent(patient_id, purpose, granted=body.granted)
    return reply(row)
