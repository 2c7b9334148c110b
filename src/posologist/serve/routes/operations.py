"""Audit, health, metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from posologist.core.version import VERSION
from posologist.serve.access import API
from posologist.serve.metrics import MEDIA_TYPE
from posologist.serve.routes.asking import Asker, Door, Here, reply
from posologist.serve.routes.paging import Limit, NumberCursor, next_of
from posologist.serve.routes.shapes import AuditPageOut, BreakOut, HealthOut, VerificationOut

routes = APIRouter(prefix=API, tags=["operations"])


@routes.get("/audit", response_model=AuditPageOut)
def audit(
    who: Asker,
    here: Here,
    limit: Limit = 50,
    cursor: NumberCursor = None,
    patient_id: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
) -> Response:
    """Who saw and did what, oldest first."""
    with here.service.store.work(who) as work:
        rows = work.audit_rows(after=int(cursor or 0), limit=limit, patient_id=patient_id)
    following = next_of(rows, limit, str(rows[-1].seq)) if rows else None
    return reply(AuditPageOut(rows=rows, next=following))


@routes.get("/audit/verification", response_model=VerificationOut)
def verification(who: Asker, here: Here) -> Response:
    """Walks the whole chain and says where it breaks."""
    found = here.service.store.verify()
    told = VerificationOut(
        whole=found.whole, rows=found.rows, last_seq=found.last.seq, last_hash=found.last.hash,
        breaks=tuple(BreakOut(seq=place.seq, what=place.what) for place in found.breaks),
    )  # fmt: skip
    return reply(told)


@routes.get("/health/live", response_model=HealthOut)
def live(who: Asker, here: Here) -> Response:
    """Whether the process answers."""
    return reply(_health(here))


@routes.get("/health/ready", response_model=HealthOut)
def ready(who: Asker, here: Here) -> Response:
    """Whether database and knowledge are there; 503 where not."""
    here.service.store.check_tables()
    return reply(_health(here))


@routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(who: Asker, here: Here) -> Response:
    """Counters in Prometheus' text format."""
    return Response(here.metrics.text(), media_type=MEDIA_TYPE)


def _health(here: Door) -> HealthOut:
    return HealthOut(version=VERSION, knowledge=here.service.knowledge.version, mode=here.mode)
