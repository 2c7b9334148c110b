"""`dose --model`: one drug for one patient by a population model, with the doses given and the levels measured."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.patient import Patient
from posologist.core.recommendation import Finding, NotChecked, cited_keys
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument
from posologist.core.values import DrugId
from posologist.core.version import VERSION
from posologist.knowledge.load import Knowledge
from posologist.knowledge.models import PkModel
from posologist.recommend.case import Case
from posologist.recommend.dose import parse_target, screened
from posologist.recommend.limits import LimitOutcome, limits_for
from posologist.recommend.screen import findings_of, not_checked_of
from posologist.records.table import EventRow, LevelRow
from posologist.twin.individual_dose import individual_dose_document
from posologist.twin.patient_model import check_usable, covariates_of, history_of


def dose_by_model(
    patient: Patient,
    drug_name: str,
    model: PkModel,
    *,
    events: Sequence[EventRow] = (),
    levels: Sequence[LevelRow] = (),
    now: datetime,
    indication: str | None = None,
    target: str | None = None,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings,
) -> DoseDocument:
    """Regimens of one drug for this patient by its population model, learned from its levels.

    Parameters
    ----------
    model
        A complete model of the drug.
    now
        Nothing that was given or measured may lie after it.
    indication
        Whose dose limits apply; the first indication of the drug's file if absent.
    target
        e.g. "auc24 400-600 h.mg/L"; the model's own first target if absent.

    Raises
    ------
    InputError
        If a covariate is missing, a level or dose cannot be read for this model, or the model is of another drug.
    ModelError
        If the model is not complete, or the drug is contraindicated.
    NumericsError
        If no estimate was found from the levels.
    """
    drug = knowledge.drug(drug_name)
    check_usable(model, str(drug.id))
    aim = None if target is None else parse_target(target)
    case, medicines, subject, hits = screened(
        patient, drug, indication=indication, genome=genome, knowledge=knowledge, settings=settings
    )
    outcome = limits_for(case, drug, subject, hits)
    molar_masses = {key: a.molar_mass for key, a in knowledge.codes.analytes.items() if a.molar_mass is not None}
    told = covariates_of(
        model, case.situation, case.profile(medicines), molar_masses=molar_masses, ledger=case.ledger
    )  # fmt: skip
    names = {row.drug for row in events if row.drug} | {row.analyte for row in levels}
    history = history_of(
        model, events, levels, is_drug={name: _is(name, drug.id, knowledge) for name in names}, covariates=told.values,
        subject=patient.id, now=now, ledger=case.ledger,
    )  # fmt: skip
    weight = case.situation.facts.get("weight")
    document = individual_dose_document(
        model, drug, told, history, limits=outcome.limits, target=aim,
        weight_kg=None if weight is None or isinstance(weight.value, bool | str) else float(weight.value),
        settings=settings, ledger=case.ledger, versions=Versions(posologist=VERSION, knowledge=knowledge.version),
        patient=case.situation.patient_id,
    )  # fmt: skip
    document = document.model_copy(
        update={
            "computed": outcome.computed,
            "findings": (*document.findings, *_unverified(case, outcome, drug.id), *findings_of(case, hits)),
            "not_checked": (
                *document.not_checked, *_no_limits(outcome, drug.name, drug.id), *not_checked_of(case, hits),
                *outcome.not_checked,
            ),
        }
    )  # fmt: skip
    return document.model_copy(update={"evidence": case.ledger.reachable(cited_keys(document))})


def _is(name: str, drug: DrugId, knowledge: Knowledge) -> bool:
    """Whether a name in a table means this drug; one that is not known means another."""
    try:
        return knowledge.drug(name).id == drug
    except InputError:
        return False


def _no_limits(outcome: LimitOutcome, name: str, drug: DrugId) -> tuple[NotChecked, ...]:
    if outcome.limits is not None:
        return ()
    need = "a dose of this use on file; name another indication with --for"
    return (NotChecked(what=f"dose limits of {name}", why=outcome.problem, would_need=need, drugs=(str(drug),)),)


def _unverified(case: Case, outcome: LimitOutcome, drug: DrugId) -> tuple[Finding, ...]:
    if not outcome.unverified or not outcome.because:
        return ()
    detail = f"Not verified: {'; '.join(outcome.unverified)}. Reading the source would verify it."
    key = case.ledger.add("derived", detail, because=outcome.because)
    title = "Dose limits rest on unverified facts"
    return (Finding(severity="serious", title=title, detail=detail, drugs=(str(drug),), because=(key,)),)
