"""What the CDS Hooks need of the service: genes, cards and decisions held, tokens seen; and what a site sets."""

from __future__ import annotations

import json
import secrets
import tomllib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile
from posologist.core.recommendation import NotChecked
from posologist.records.json_tools import string
from posologist.serve.deciding import Planned
from posologist.serve.hooks.bundles import unpack
from posologist.serve.hooks.cards import Dealt, Place
from posologist.serve.hooks.feedback import CardDecision, Scheduled
from posologist.serve.hooks.fhir_access import FhirAccess, over_network
from posologist.serve.hooks.requests import HookRequest
from posologist.serve.hooks.routes import LOOPBACK, By, Genes, HookCalls, HooksSettings
from posologist.serve.hooks.tokens import FetchedKeys, Issuer
from posologist.serve.problems import first_of
from posologist.serve.refusals import NotFoundError, StoreError
from posologist.serve.refused import TooMuchError
from posologist.serve.rows import Actor
from posologist.serve.security import Limiter
from posologist.serve.service import Service
from posologist.serve.transaction import Deed

_MOST_CARDS = 20_000
SANDBOX = "https://sandbox.cds-hooks.org"
"""Origin of the public CDS Hooks sandbox."""


class _IssuerIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    iss: str
    jwks_url: str = ""
    jwks_file: str = ""
    jwks: dict[str, Any] | None = None


class _SiteIn(BaseModel):
    """The file that POSOLOGIST_HOOKS names."""

    model_config = ConfigDict(extra="forbid", strict=True)
    base_url: str
    origins: list[str] = []
    servers: list[str] = []
    signed_feedback: bool = True
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
    for address in (site.base_url, *site.origins, *site.servers):
        _check_address(address, path)
    return HooksSettings(
        base_url=site.base_url, origins=frozenset(site.origins), access=FhirAccess(servers=frozenset(site.servers)),
        issuers={one.iss: Issuer(one.iss, jwks=_keys_of(one, path), jwks_url=one.jwks_url) for one in site.issuers},
        place=_place(site.base_url), signed_feedback=site.signed_feedback, secret=secrets.token_hex(32),
    )  # fmt: skip


def _check_address(address: str, path: Path) -> None:
    """Refuse what is no address of a server: "*" is every page of the internet."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
    except ValueError:
        good = False
    if not good:
        raise InputError(f"'{address}' is no address", where=str(path), hint="write e.g. https://ehr.example.org")


def _keys_of(issuer: _IssuerIn, path: Path) -> dict[str, Any] | None:
    """An issuer's keys as the file holds them, or the file that it names, which lies beside it."""
    if not issuer.jwks_file:
        return issuer.jwks
    place = path.parent / issuer.jwks_file
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("cannot be read", where=str(place), hint="give a JSON Web Key Set") from error
    if not isinstance(found, dict):
        raise InputError("is no key set", where=str(place), hint="give a JSON Web Key Set")
    return found


def hooks_in_development(base_url: str) -> HooksSettings:
    """Hooks on one's own machine: its own pages and the public sandbox may call, without a signature."""
    return HooksSettings(
        base_url=base_url, origins=frozenset({LOOPBACK, SANDBOX}), signed=False, place=_place(base_url),
        secret=secrets.token_hex(32),
    )  # fmt: skip


def _place(base_url: str) -> Place:
    return Place(base_url=base_url, patient_page=f"{base_url.rstrip('/')}/patients/{{patient}}")


def hook_calls(service: Service, asking: Limiter | None = None, refusing: Limiter | None = None) -> HookCalls:
    """The hooks' calls over one service.

    Parameters
    ----------
    asking, refusing
        How often one client may call, and how many refusals of one address are put on record.
    """
    desk = _Desk(service, refusing or Limiter(0.5, 30))
    return HookCalls(
        knowledge=service.knowledge, seen=desk.seen, genome=desk.genome, keep=desk.keep, decided=desk.decided,
        now=lambda: service.store.now, today=lambda: service.store.now.date(), fetch_keys=FetchedKeys(over_network),
        rxnorm=service.rxnorm, refused=desk.refused, limit=(asking or Limiter(500.0, 1000)).take,
    )  # fmt: skip


class _Desk:
    """Remembers which answer a card belongs to, so that feedback on it becomes a decision."""

    def __init__(self, service: Service, refusing: Limiter) -> None:
        self._service, self._refusing = service, refusing
        self._answers: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def seen(self, jti: str, expires: datetime) -> bool:
        with self._service.store.work(_actor(By())) as work:
            return work.seen(jti, expires)

    def refused(self, by: By, why: str) -> None:
        """A row of who was not let in; beyond the limit nothing is written, so that nobody fills the chain."""
        try:
            self._refusing.take("hooks refused")
        except TooMuchError:
            return
        with self._service.store.work(_actor(by)) as work:
            work.record_refusal(Deed("E", "hook", "", outcome="refused", detail=why[:200]))

    def genome(self, by: By, request: HookRequest) -> Genes:
        """The genes of the patient of this id, unless the request says that it is somebody else."""
        try:
            held = self._service.phenotype(_actor(by), request.patient_id)
        except NotFoundError:  # the record system knows more patients than we hold
            return Genes()
        if held is None:
            return Genes()
        with self._service.store.work(_actor(by)) as work:
            born = work.patient(request.patient_id).birth_date
        stated = _birth_dates(request)
        if born is not None and stated and born.isoformat() not in stated:
            return Genes(not_used=(_OTHER_PERSON,))
        return Genes(GeneticProfile.model_validate_json(held))

    def keep(self, by: By, request: HookRequest, asked: bytes, cards: Sequence[Dealt], document: bytes) -> None:
        today, who = self._service.store.now.date(), _actor(by)
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

    def decided(self, by: By, decision: CardDecision, card: Dealt | None, steps: Sequence[Scheduled]) -> None:
        with self._lock:
            answer = None if card is None else self._answers.get(decision.card)
        if card is None or answer is None or (decision.action == "override" and decision.reason is None):
            said = "of a card that is not known" if answer is None else "without a coded reason"
            with self._service.store.work(_actor(by)) as work:
                patient = "" if card is None else card.patient_id
                work.record("E", "card", decision.card, patient_id=patient, detail=f"{decision.action} {said}")
            return
        self._service.decide(
            _actor(by), answer, decision.action, reason=decision.reason, will_monitor=decision.will_monitor,
            note=decision.note, order_text=card.order,
            planned=[_planned(step, self._service.store.now.date()) for step in steps],
            key=f"card {decision.card} {decision.at.isoformat()}",
        )  # fmt: skip


_OTHER_PERSON = NotChecked(
    what="genes: those that are held under this patient's id",
    why="the request states another birth date than the record that they belong to",
    would_need="the same birth date in both",
)


def _birth_dates(request: HookRequest) -> frozenset[str]:
    """Full birth dates that the request states of its patient."""
    resources = [one for content in request.prefetch.values() for one in unpack(content).resources]
    stated = (
        string(one, "birthDate")
        for one in resources
        if one["resourceType"] == "Patient" and one.get("id") == request.patient_id
    )
    return frozenset(text for text in stated if len(text) == len("YYYY-MM-DD"))


def _planned(step: Scheduled, today: date) -> Planned:
    """A promised check; one for which no source states a day is due at once, so that somebody sets it."""
    return Planned(step.what, today) if step.due is None else Planned(step.what, step.due)


def _actor(by: By) -> Actor:
    name = f"hooks of {by.issuer}"[:120] if by.issuer else "hooks"
    return Actor(name, "system", request_id=by.request_id)


def site_file(environment: Mapping[str, str]) -> Path | None:
    """The file that sets the hooks of a site; None where there is none, and no hook is then served."""
    return Path(environment["POSOLOGIST_HOOKS"]) if environment.get("POSOLOGIST_HOOKS") else None
