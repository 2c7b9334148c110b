"""Exposure of a drug that a plan starts: by the twins of its population models where they can answer, else its file."""

from __future__ import annotations

from datetime import UTC, datetime, time

from posologist.core.errors import PosologistError
from posologist.core.recommendation import NotChecked
from posologist.core.regimen import Regimen
from posologist.core.values import DrugId, Series
from posologist.recommend.case import Case
from posologist.recommend.dose_by_model import Given, members_of
from posologist.twin.compartment import INTRAVENOUS, short_route
from posologist.twin.exposure import Exposure, curve, exposure
from posologist.twin.kinetics import MissingKinetics
from posologist.twin.mixture import Member, shared
from posologist.twin.model_exposure import can_answer, curve_by_models, exposure_by_models


def exposure_of(case: Case, medicines: tuple[DrugId, ...], regimen: Regimen) -> Exposure | MissingKinetics:
    """Exposure at steady state beside `medicines`, computed once for each regimen."""

    def build() -> Exposure | MissingKinetics:
        drug = case.knowledge.drugs[regimen.drug]
        members = _members(case, medicines, regimen)
        if members:
            by_models = exposure_by_models(members, regimen, drug=drug, settings=case.settings, ledger=case.ledger)
            if by_models is not None:
                return by_models
        prior = case.prior(drug.id, medicines, route=regimen.route, release=regimen.release)
        if isinstance(prior, MissingKinetics):
            return prior
        return exposure(prior, regimen, drug=drug, settings=case.settings, ledger=case.ledger)

    return case.remember(("exposure", case.beside(regimen.drug, medicines), regimen), build)


def curve_of(case: Case, medicines: tuple[DrugId, ...], regimen: Regimen) -> Series | MissingKinetics:
    """The concentration curve from the first dose beside `medicines`, drawn once for each regimen."""

    def build() -> Series | MissingKinetics:
        members = _members(case, medicines, regimen)
        if members:
            by_models = curve_by_models(members, regimen, settings=case.settings, ledger=case.ledger)
            if by_models is not None:
                return by_models
        prior = case.prior(regimen.drug, medicines, route=regimen.route, release=regimen.release)
        if isinstance(prior, MissingKinetics):
            return prior
        return curve(prior, regimen, settings=case.settings, ledger=case.ledger)

    return case.remember(("curve", case.beside(regimen.drug, medicines), regimen), build)


def open_questions(case: Case, medicines: tuple[DrugId, ...], regimen: Regimen) -> tuple[NotChecked, ...]:
    """What the drug's file left open about the exposure; nothing where population models answer."""
    if _members(case, medicines, regimen):
        return ()
    prior = case.prior(regimen.drug, medicines, route=regimen.route, release=regimen.release)
    return (prior.not_checked(),) if isinstance(prior, MissingKinetics) else tuple(prior.not_checked)


def _members(case: Case, medicines: tuple[DrugId, ...], regimen: Regimen) -> tuple[Member, ...]:
    """Twins of the drug's models that may tell the exposure of this regimen; none where one of them may not."""
    route = "iv" if short_route(regimen.route) in INTRAVENOUS else "oral"

    def build() -> tuple[Member, ...]:
        models = case.knowledge.models(regimen.drug)
        given = Given(now=datetime.combine(case.situation.as_of, time.max, UTC))
        drug = case.knowledge.drugs[regimen.drug]
        if not models:
            return ()
        try:
            return shared(members_of(case, None, drug, models, given, medicines=medicines, route=route).members)
        except PosologistError:  # a covariate is missing, or the route is another: the drug's file answers
            return ()

    found = case.remember(("members", case.beside(regimen.drug, medicines), route), build)
    return found if can_answer(found, regimen) else ()
