"""What the CDS Hooks need of the service: genes, cards and decisions held, tokens seen; and what a site sets."""

from __future__ import annotations

import tomllib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile
from posologist.serve.deciding import Planned
from posologist.serve.hooks.cards import Dealt, Place
from posologist.serve.hooks.feedback import CardDecision, Scheduled
from posologist.serve.hooks.fhir_access import FhirAccess, over_network
from posologist.serve.hooks.requests import HookRequest
from posologist.serve.hooks.routes import HookCalls, HooksSettings
from posologist.serve.hooks.tokens import Caller, FetchedKeys, Issuer
from posologist.serve.problems import first_of
from posologist.serve.refusals import NotFoundError, StoreError
from posologist.serve.rows import Actor
from posologist.serve.service import Service

_MOST_CARDS = 20_000


class _IssuerIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    iss: str
    jwks_url: str = ""
    jwks: dict[str, Any] | None = None


class _SiteIn(BaseModel):
    """The file that POSOLOGIST_HOOKS names."""

    model_config = ConfigDict(extra="forbid", strict=True)
    base_url: str
    origins: list[str] = []
    servers: list[str] = []
    issuers: list[_IssuerIn] = []


def hooks_of_site(path: Path) -> HooksSettings:
    """What a site's file sets: every request must be signed.

    Raises
    ------
    InputError
        If the file cannot be read, or holds something else.
    """
    try:
        site = _SiteIn.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), hint="see docs/serve.md") from error
    except ValidationError as error:
        where, said = first_of(list(error.errors()))
        raise InputError(said, where=f"{path}: {where}", hint="see docs/serve.md") from None
    return HooksSettings(
        base_url=site.base_url, origins=frozenset(site.origins), access=FhirAccess(servers=frozenset(site.servers)),
        issuers={one.iss: Issuer(one.iss, jwks=one.jwks, jwks_url=one.jwks_url) for one in site.issuers},
        place=_place(site.base_url),
    )  # fmt: skip


def hooks_in_development(base_url: str) -> HooksSettings:
    """Hooks on one's own machine: any browser's origin, no signature."""
    return HooksSettings(base_url=base_url, origins=frozenset({"*"}), signed=False, place=_place(base_url))


def _place(base_url: str) -> Place:
    return Place(base_url=base_url, patient_page=f"{base_url.rstrip('/')}/patients/{{patient}}")


def hook_calls(service: Service) -> HookCalls:
    """The hooks' calls over one service."""
    desk = _Desk(service)
    return HookCalls(
        knowledge=service.knowledge, seen=desk.seen, genome=desk.genome, keep=desk.keep, decided=desk.decided,
        now=lambda: service.store.now, today=lambda: service.store.now.date(), fetch_keys=FetchedKeys(over_network),
        rxnorm=service.rxnorm,
    )  # fmt: skip


class _Desk:
    """Remembers which answer a card belongs to, so that feedback on it becomes a decision."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._answers: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def seen(self, jti: str, expires: datetime) -> bool:
        with self._service.store.work(_actor(None)) as work:
            return work.seen(jti, expires)

    def genome(self, patient_id: str) -> GeneticProfile | None:
        try:
            held = self._service.phenotype(_actor(None), patient_id)
        except NotFoundError:  # the record system knows more patients than we hold
            return None
        return None if held is None else GeneticProfile.model_validate_json(held)

    def keep(
        self, caller: Caller | None, request: HookRequest, asked: bytes, cards: Sequence[Dealt], document: bytes
    ) -> None:
        today, who = self._service.store.now.date(), _actor(caller)
        try:
            row = self._service.keep_cards(who, request.patient_id, asked, document, as_of=today)
        except StoreError:
            raise
        except InputError:  # nothing of the patient came: the card says so, and there is no record to hold it under
            with self._service.store.work(who) as work:
                work.record("E", "cards", "none", patient_id=request.patient_id, detail="the request held no record")
            return
        with self._lock:
            for dealt in cards:
                self._answers[dealt.card.uuid] = row.id
            while len(self._answers) > _MOST_CARDS:
                self._answers.popitem(last=False)

    def decided(
        self, caller: Caller | None, decision: CardDecision, card: Dealt | None, steps: Sequence[Scheduled]
    ) -> None:
        with self._lock:
            answer = self._answers.get(decision.card)
        if answer is None or (decision.action == "override" and decision.reason is None):
            said = "of a card that is not known" if answer is None else "without a coded reason"
            with self._service.store.work(_actor(caller)) as work:
                patient = "" if card is None else card.patient_id
                work.record("E", "card", decision.card, patient_id=patient, detail=f"{decision.action} {said}")
            return
        self._service.decide(
            _actor(caller), answer, decision.action, reason=decision.reason, will_monitor=decision.will_monitor,
            note=decision.note, order_text="" if card is None else card.order,
            planned=[_planned(step, decision.at.date()) for step in steps],
            key=f"card {decision.card} {decision.at.isoformat()}",
        )  # fmt: skip


def _planned(step: Scheduled, day: date) -> Planned:
    """A promised check; one for which no source states a day is due at once, so that somebody sets it."""
    return Planned(step.what, day) if step.due is None else Planned(step.what, step.due)


def _actor(caller: Caller | None) -> Actor:
    return Actor("hooks" if caller is None else f"hooks of {caller.iss}"[:120], "system")


def site_file(environment: Mapping[str, str]) -> Path | None:
    """The file that sets the hooks of a site; None where there is none, and no hook is then served."""
    return Path(environment["POSOLOGIST_HOOKS"]) if environment.get("POSOLOGIST_HOOKS") else None
