"""`dose` by population models: one drug for one patient, with the doses given and the levels measured.

A model that is named answers alone. Otherwise every complete model of the drug that can answer for this patient takes
part: one outside whose studied range the patient lies, or with unverified facts, only where there is no better one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from posologist.core.drug import Drug
from posologist.core.errors import InputError, PosologistError
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.patient import Patient
from posologist.core.recommendation import Finding, NotChecked, cited_keys
from posologist.core.regimen import Limits
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument
from posologist.core.twin import TwinRecord
from posologist.core.values import DrugId
from posologist.core.version import VERSION
from posologist.knowledge.load import Knowledge
from posologist.knowledge.match import PatientSubject
from posologist.knowledge.models import PkModel
from posologist.recommend.case import NARROW, Case
from posologist.recommend.course import course_of, course_told
from posologist.recommend.dose import parse_target, screened
from posologist.recommend.limits import LimitOutcome, limits_for
from posologist.recommend.screen import findings_of, not_checked_of
from posologist.records.table import EventRow, LevelRow
from posologist.twin.compartment import INTRAVENOUS, short_route
from posologist.twin.individual_dose import Question, individual_dose_document
from posologist.twin.mixture import Member
from posologist.twin.patient_model import (
    CENTRAL_OF_ABSORBED,
    Before,
    Since,
    check_usable,
    compartment_of,
    covariates_of,
    history_of,
)
from posologist.twin.search import usual_route
from posologist.twin.standing import is_verified
from posologist.twin.twin import Twin


@dataclass(frozen=True)
class Given:
    """What was given and measured, and what the user states.

    `covariates` take the place of the record's, by the models' names; `asked_at` is the time of the question where it
    is known to the hour, `mic` the minimal inhibitory concentration (mg/L). `stored` is a twin
    whose log is gone on from. Nothing may lie after `now`.
    """

    now: datetime
    events: tuple[EventRow, ...] = ()
    levels: tuple[LevelRow, ...] = ()
    covariates: Mapping[str, float] = field(default_factory=dict)
    asked_at: datetime | None = None
    mic: float | None = None
    stored: TwinRecord | None = None


@dataclass(frozen=True)
class Sought:
    """The drug's twins that take part, and the models that do not, with the reason."""

    members: tuple[Member, ...]
    left_out: tuple[NotChecked, ...]
    findings: tuple[Finding, ...]


def dose_by_models(
    patient: Patient,
    drug_name: str,
    models: Sequence[PkModel],
    given: Given,
    *,
    indication: str | None = None,
    target: str | None = None,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings,
) -> DoseDocument:
    """Regimens of one drug for this patient by its population models, learned from its levels.

    Parameters
    ----------
    models
        One complete model of the drug, which then has to answer; or several, of which those answer that can.
    indication
        Whose dose limits apply; the first indication of the drug's file if absent.
    target
        e.g. "auc24 400-600 h.mg/L"; the first model's own first target if absent.

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
    for model in models:
        check_usable(model, str(drug.id))
    _check_stated(models, given.covariates)
    aim = None if target is None else parse_target(target)
    case, medicines, subject, hits = screened(
        patient, drug, indication=indication, genome=genome, knowledge=knowledge, settings=settings
    )
    outcome = limits_for(case, drug, subject, hits)
    route = _route(drug, models, given, outcome, knowledge)
    sought = members_of(case, patient, drug, models, given, medicines=medicines, route=route)
    weight = case.situation.facts.get("weight")
    question = Question(
        drug=drug, limits=outcome.limits or _sized_by_model(outcome, sought.members), target=aim,
        weight_kg=None if weight is None or isinstance(weight.value, bool | str) else float(weight.value),
        infusion=tuple(rule for rule in drug.infusion if subject.match(rule.when).truth is not False),
        loading=tuple(rule for rule in drug.loading if subject.match(rule.when).truth is True),
        unverified=outcome.unverified, narrow=NARROW in knowledge.groups_of(drug.id), now=given.asked_at,
        mic=given.mic,
    )  # fmt: skip
    document = individual_dose_document(
        sought.members, question, settings=settings, ledger=case.ledger,
        versions=Versions(posologist=VERSION, knowledge=knowledge.version), patient=case.situation.patient_id,
    )  # fmt: skip
    no_limits = () if question.limits is not None else _no_limits(outcome, drug.name, drug.id)
    document = document.model_copy(
        update={
            "computed": outcome.computed,
            "findings": (*document.findings, *sought.findings, *findings_of(case, hits)),
            "not_checked": (
                *document.not_checked, *sought.left_out, *_open_loading(drug, subject), *no_limits,
                *not_checked_of(case, hits), *outcome.not_checked,
            ),
        }
    )  # fmt: skip
    return document.model_copy(update={"evidence": case.ledger.reachable(cited_keys(document))})


_KIDNEY = frozenset({"crcl", "egfr", "creatinine", "dialysis"})


def _sized_by_model(outcome: LimitOutcome, members: Sequence[Member]) -> Limits | None:
    """Limits before a reduction that no source sizes, where every model reads how the kidney works."""
    reads = all(any(c.fact in _KIDNEY for c in member.model.covariates) for member in members)
    return outcome.before_reduction if reads else None


def members_of(
    case: Case,
    patient: Patient | None,
    drug: Drug,
    models: Sequence[PkModel],
    given: Given,
    *,
    medicines: tuple[DrugId, ...],
    route: str,
) -> Sought:
    """The twins of a drug's models for this patient by one route ("iv", "oral"), with equal shares.

    Parameters
    ----------
    patient
        The record, for changes of covariates during treatment; None where nothing was given yet.

    Raises
    ------
    PosologistError
        If none can answer: what is wrong with doses or levels, else what the first model lacks.
    """
    found: list[Member] = []
    findings: list[Finding] = []
    left_out: list[NotChecked] = []
    refused: list[PosologistError] = []
    for model in models:
        try:
            member, said = _member(case, patient, drug, model, given, medicines=medicines, route=route)
        except PosologistError as error:
            refused.append(error)
            left_out.append(_left_out(drug, model, error.message, error.hint or "another model"))
            continue
        found.append(member)
        findings += said
    if not found:
        raise next((error for error in refused if error.where != "--patient"), refused[0])
    inside = [member for member in found if not member.told.findings] or found
    best = [member for member in inside if is_verified(member.model)] or inside
    for member in found:
        if member not in inside:
            why = "; ".join(finding.detail for finding in member.told.findings)
            left_out.append(_left_out(drug, member.model, why, "nothing: another model covers this patient"))
        elif member not in best:
            why = "its facts are not verified, and those of another model are"
            left_out.append(_left_out(drug, member.model, why, "reading its source"))
    return Sought(tuple(best), tuple(left_out), tuple(dict.fromkeys(findings)))


def _left_out(drug: Drug, model: PkModel, why: str, need: str) -> NotChecked:
    return NotChecked(what=f"the model {model.id}", why=why, would_need=need, drugs=(str(drug.id),))


def _route(drug: Drug, models: Sequence[PkModel], given: Given, outcome: LimitOutcome, knowledge: Knowledge) -> str:
    """The route in use; without doses that of a single model, or the drug's usual one."""
    own = [row for row in given.events if not row.drug or is_of(row.drug, drug.id, knowledge)]
    if own:
        last = max(own, key=lambda row: row.at)
        return "iv" if short_route(last.route) in INTRAVENOUS else "oral"
    stored = [] if given.stored is None else [event for event in given.stored.events if event.kind == "dose"]
    if stored and stored[-1].compartment == CENTRAL_OF_ABSORBED:
        return "iv"
    routes = {"iv" if model.absorption == "none" else "oral" for model in models}
    if len(routes) == 1 or outcome.limits is None:
        return sorted(routes)[0]
    return "iv" if usual_route(drug, outcome.limits) in INTRAVENOUS else "oral"


def _member(
    case: Case,
    patient: Patient | None,
    drug: Drug,
    model: PkModel,
    given: Given,
    *,
    medicines: tuple[DrugId, ...],
    route: str,
) -> tuple[Member, tuple[Finding, ...]]:
    knowledge, subject = case.knowledge, case.situation.patient_id
    compartment_of(model, route, "--model")
    masses = {key: a.molar_mass for key, a in knowledge.codes.analytes.items() if a.molar_mass is not None}
    profile = case.profile(medicines)
    told = covariates_of(
        model, case.situation, profile, molar_masses=masses, ledger=case.ledger,
        given={c.name: given.covariates[c.name] for c in model.covariates if c.name in given.covariates},
    )  # fmt: skip
    course = [Since(None, told.values)]
    if patient is not None and given.events:
        course = course_of(case, patient, model, told, given.events, profile=profile, molar_masses=masses)
    names = {row.drug for row in given.events if row.drug} | {row.analyte for row in given.levels}
    history = history_of(
        model, given.events, given.levels, is_drug={name: is_of(name, drug.id, knowledge) for name in names},
        course=course, subject=subject, now=given.now, ledger=case.ledger,
        before=None if given.stored is None else Before.of(given.stored, model),
    )  # fmt: skip
    twin = Twin(model, subject, history.table.records, told.values, draws=case.settings.draws)
    return Member(twin, told, history, route), course_told(model, course, told, case)


def _check_stated(models: Sequence[PkModel], covariates: Mapping[str, float]) -> None:
    """Refuse stated covariates that no model has, and amounts below zero."""
    known = {covariate.name for model in models for covariate in model.covariates}
    if strange := sorted(set(covariates) - known):
        raise InputError(
            f"no model of the drug has a covariate {', '.join(strange)}",
            where="--covariate",
            hint=f"they have {', '.join(sorted(known)) or 'none'}",
        )
    if below := sorted(name for name, value in covariates.items() if value < 0):
        raise InputError(f"{', '.join(below)} is below zero", where="--covariate", hint="give a possible value")


def is_of(name: str, drug: DrugId, knowledge: Knowledge) -> bool:
    """Whether a name in a table means this drug; one that is not known means another."""
    try:
        return knowledge.drug(name).id == drug
    except InputError:
        return False


def _open_loading(drug: Drug, subject: PatientSubject) -> tuple[NotChecked, ...]:
    return tuple(
        NotChecked(
            what=f"loading dose of {drug.name} ({rule.when})", why="not known whether the rule holds",
            would_need=", ".join(subject.match(rule.when).missing), drugs=(str(drug.id),),
        )
        for rule in drug.loading
        if subject.match(rule.when).truth is None
    )  # fmt: skip


def _no_limits(outcome: LimitOutcome, name: str, drug: DrugId) -> tuple[NotChecked, ...]:
    if outcome.limits is not None:
        return ()
    need = "a dose of this use on file; name another indication with --for"
    return (NotChecked(what=f"dose limits of {name}", why=outcome.problem, would_need=need, drugs=(str(drug),)),)
