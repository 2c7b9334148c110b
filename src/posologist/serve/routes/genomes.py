"""Genomes: a VCF streamed to disk, its genes held for the patient; the file itself is not kept."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile
from posologist.serve.access import API
from posologist.serve.refusals import NotFoundError
from posologist.serve.routes.answers import Document, document
from posologist.serve.routes.asking import Asker, Here, Key, check_media_type, once
from posologist.serve.routes.patients import PatientId

routes = APIRouter(prefix=API, tags=["genomes"])
_TYPES = ("application/octet-stream", "application/gzip", "application/x-gzip", "text/plain", "text/x-vcf")
_BODY = {
    "requestBody": {
        "required": True, "description": "A VCF, plain or bgzipped.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}  # fmt: skip
VcfName = Annotated[
    str, Query(pattern="^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$", description="Name by which evidence cites the file.")
]


async def uploaded(request: Request, name: VcfName = "genome.vcf") -> AsyncIterator[Path]:
    """The file that was sent, on disk for the time of the request, readable by this process only."""
    check_media_type(request, *_TYPES)
    folder = Path(await run_in_threadpool(tempfile.mkdtemp, prefix="posologist-"))
    try:
        path, digest = folder / name, hashlib.sha256()
        with path.open("wb") as file:
            async for part in request.stream():
                digest.update(part)
                await run_in_threadpool(file.write, part)
        request.state.body_digest = digest.hexdigest()
        yield path
    finally:
        await run_in_threadpool(shutil.rmtree, folder)


@routes.post(
    "/patients/{patient_id}/genome", status_code=201, response_model=GeneticProfile, openapi_extra=_BODY,
)  # fmt: skip
def add_genome(
    request: Request,
    who: Asker,
    here: Here,
    patient_id: PatientId,
    vcf: Annotated[Path, Depends(uploaded)],
    key: Key = None,
    sample: Annotated[str | None, Query(min_length=1, max_length=200, description="Which of several samples.")] = None,
    absent: Literal["missing", "reference"] = "missing",
    build: Literal["auto", "GRCh37", "GRCh38"] = "auto",
) -> Response:
    """Calls the genes and holds them for the patient; the bytes of `posologist phenotype --json`."""

    def make() -> Response:
        try:
            row = here.service.add_genome(who, patient_id, vcf, sample=sample, absent=absent, build=build)
        except InputError as error:
            error.where = error.where.replace(f"{vcf.parent}/", "")  # where it lies here is not the caller's matter
            raise
        return document(row, status=201)

    return once(request, who, key, make)


@routes.get("/patients/{patient_id}/phenotype", response_model=GeneticProfile)
def phenotype(who: Asker, here: Here, patient_id: PatientId) -> Response:
    """The patient's genes as `posologist phenotype --json` prints them."""
    found = here.service.phenotype(who, patient_id)
    if found is None:
        raise NotFoundError("no genes are held of this patient", where="phenotype", hint="add a VCF first")
    return Document(found)
