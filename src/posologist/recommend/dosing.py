"""`dose`: one drug for one patient, by an effect model, by population models, or by the drug's file."""

from __future__ import annotations

from collections.abc import Sequence

from posologist.core.errors import InputError, PosologistError
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import NotChecked, cited_keys
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument, Level
from posologist.core.values import EvidenceKey
from posologist.knowledge.load import Knowledge
from posologist.knowledge.models import PkModel
from posologist.recommend.dose import dose_for
from posologist.recommend.dose_by_model import Given, dose_by_models
from posologist.recommend.dose_by_response import dose_by_response, is_response
from posologist.recommend.learned import Models, has_opinions, opinions_on_drugs
from posologist.recommend.opened import NO_INDICATION, case_of


def dose(
    patient: Patient,
    drug_name: str,
    given: Given,
    *,
    model: PkModel | None = None,
    indication: str | None = None,
    target: str | None = None,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings,
    learned: Models | None = None,
) -> DoseDocument:
    """Regimens of one drug for this patient.

    A target of a response (INR, pressure) is answered by an effect model. With doses or levels the population models
    answer, and what keeps them from it is an error. Without, they answer where there is a target, asked for or their
    own; otherwise, and where they cannot, the drug's file answers and says so.

    Parameters
    ----------
    model
        The one that has to answer; None: those of the drug that can.
    learned
        Served models by their task: what they say stands beside the regimens, among the opinions; None: those of the
        knowledge.

    Raises
    ------
    InputError
        If doses or stated covariates are given and no model of the drug is held.
    PosologistError
        As `dose_by_models` and `dose_for` do.
    """

    document = _regimens(
        patient, drug_name, given, model=model, indication=indication, target=target, genome=genome,
        knowledge=knowledge, settings=settings,
    )  # fmt: skip
    if not has_opinions((document.drug,)):
        return document
    case = case_of(patient, NO_INDICATION, genome=genome, knowledge=knowledge, settings=settings)
    opinions = opinions_on_drugs(case, (document.drug,), learned, races=patient.race)
    document = document.model_copy(update={"opinions": opinions})
    case.ledger.merge({EvidenceKey(key): entry for key, entry in document.evidence.items()})
    return document.model_copy(update={"evidence": case.ledger.reachable(cited_keys(document))})


def _regimens(
    patient: Patient,
    drug_name: str,
    given: Given,
    *,
    model: PkModel | None,
    indication: str | None,
    target: str | None,
    genome: GeneticProfile | None,
    knowledge: Knowledge,
    settings: Settings,
) -> DoseDocument:
    def by_models(chosen: Sequence[PkModel]) -> DoseDocument:
        return dose_by_models(
            patient, drug_name, chosen, given, indication=indication, target=target, genome=genome,
            knowledge=knowledge, settings=settings,
        )  # fmt: skip

    if model is not None:
        return by_models((model,))
    if target is not None and is_response(target):
        _refuse_unread(given)
        return dose_by_response(
            patient, drug_name, target=target, events=given.events, levels=given.levels, now=given.now,
            indication=indication, genome=genome, knowledge=knowledge, settings=settings,
        )  # fmt: skip
    models = knowledge.models(knowledge.drug(drug_name).id)
    why: PosologistError | None = None
    if models and (given.levels or _for_models(given)):
        return by_models(models)
    if models and (target is not None or any(held.targets for held in models)):
        try:
            return by_models(models)
        except PosologistError as error:
            why = error
    if unread := _for_models(given):
        raise InputError(
            f"no complete population model of {drug_name} is held, or none can answer"
            + ("" if why is None else f": {why.message}"),
            where=unread, hint="give a model file with --model",
        )  # fmt: skip
    document = dose_for(
        patient, drug_name, indication=indication, target=target, genome=genome, knowledge=knowledge,
        settings=settings, levels=_levels(given),
    )  # fmt: skip
    return document if why is None else _with_reason(document, why)


def _for_models(given: Given) -> str:
    """The first of what was given that only population models read; empty where there is nothing."""
    told = {
        "--events": given.events, "--twin": given.stored, "--covariate": given.covariates, "--mic": given.mic,
        "--at": given.asked_at,
    }  # fmt: skip
    return next((name for name, value in told.items() if value), "")


def _refuse_unread(given: Given) -> None:
    """Refuse what an effect model does not read, rather than pass over it."""
    told = {"--twin": given.stored, "--covariate": given.covariates, "--mic": given.mic}
    if unread := next((name for name, value in told.items() if value), ""):
        raise InputError(
            "is not read for a target of the INR or the pressure", where=unread,
            hint="leave it out, or record the value for the patient",
        )  # fmt: skip


def _levels(given: Given) -> tuple[Level, ...]:
    rows = given.levels
    return tuple(
        Level(time_h=(row.at - rows[0].at).total_seconds() / 3600, value=row.value, unit=row.unit, analyte=row.analyte)
        for row in rows
    )


def _with_reason(document: DoseDocument, why: PosologistError) -> DoseDocument:
    """The drug file's answer with why no population model gave it."""
    entry = NotChecked(
        what=f"population models of {document.drug}", why=why.message, would_need=why.hint or "another model",
        drugs=(str(document.drug),),
    )  # fmt: skip
    return document.model_copy(update={"not_checked": (entry, *document.not_checked)})
