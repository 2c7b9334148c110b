"""What another dose of a plan's drug would do in this patient: the plan's curve, at the dose that is asked."""

from __future__ import annotations

from datetime import UTC, datetime, time

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.patient import Patient
from posologist.core.recommendation import NotChecked, Option, cited_keys
from posologist.core.regimen import Regimen
from posologist.core.simulation import SimulationDocument
from posologist.core.values import DrugId, Series
from posologist.core.version import VERSION
from posologist.knowledge.load import Knowledge
from posologist.recommend.case import Case
from posologist.recommend.dose_by_model import Given, is_of, members_of
from posologist.recommend.exposed import curve_of, exposure_of
from posologist.recommend.opened import NO_INDICATION, case_of
from posologist.serve.asked import Recommend
from posologist.twin.compartment import INTRAVENOUS, short_route
from posologist.twin.exposure import Exposure
from posologist.twin.kinetics import MissingKinetics
from posologist.twin.mixture import shared
from posologist.twin.model_exposure import curve_by_models, exposure_by_models
from posologist.twin.orders import parse_regimen


def what_if(
    question: Recommend,
    patient: Patient,
    genome: GeneticProfile | None,
    option: Option,
    regimen: str,
    *,
    drug: DrugId,
    after_levels: bool,
    knowledge: Knowledge,
) -> SimulationDocument:
    """Concentration and exposure of one drug of a plan at another dose, beside what the plan keeps and starts.

    Parameters
    ----------
    question
        The one that the plan answers: its day, levels and administrations count here too.
    after_levels
        Whether the levels of this drug are used; without any an error says so.

    Raises
    ------
    PosologistError
        If the regimen cannot be read, or no model of the drug can use the levels.
    """
    case = case_of(patient, NO_INDICATION, genome=genome, knowledge=knowledge, settings=question.settings)
    others = [*option.plan.keep, *(start.drug for start in option.plan.start)]
    medicines: tuple[DrugId, ...] = (*(d for d in dict.fromkeys(others) if d != drug), drug)
    parsed = parse_regimen(regimen, drug=drug)
    model, curve, told = (
        _by_levels(case, question, patient, parsed, medicines)
        if after_levels
        else ("", curve_of(case, medicines, parsed), exposure_of(case, medicines, parsed))
    )
    document = SimulationDocument(
        drug=drug, model=model, patient=patient.id, regimen=parsed.text,
        outputs={} if isinstance(curve, MissingKinetics) else {"concentration": curve}, parameters={},
        exposure={} if isinstance(told, MissingKinetics) else told.measures(),
        not_checked=tuple(dict.fromkeys(_refused(curve, told))), evidence={},
        versions=Versions(posologist=VERSION, knowledge=knowledge.version),
    )  # fmt: skip
    return document.model_copy(update={"evidence": case.ledger.reachable(cited_keys(document))})


def levels_of(question: Recommend, drug: DrugId, knowledge: Knowledge) -> int:
    """How many levels of a drug the question holds."""
    return sum(is_of(row.analyte, drug, knowledge) for row in question.levels)


def _refused(*answers: Series | Exposure | MissingKinetics) -> list[NotChecked]:
    return [answer.not_checked() for answer in answers if isinstance(answer, MissingKinetics)]


def _by_levels(
    case: Case, question: Recommend, patient: Patient, regimen: Regimen, medicines: tuple[DrugId, ...]
) -> tuple[str, Series, Exposure]:
    drug = case.knowledge.drugs[regimen.drug]
    models = case.knowledge.models(drug.id)
    levels = tuple(row for row in question.levels if is_of(row.analyte, drug.id, case.knowledge))
    events = tuple(row for row in question.events if not row.drug or is_of(row.drug, drug.id, case.knowledge))
    if not (models and levels and events):
        need = "a model of the drug" if not models else "levels and the doses before them"
        raise InputError(f"levels of {drug.name} cannot be used", where="levels", hint=f"it needs {need}")
    given = Given(now=datetime.combine(case.situation.as_of, time.max, UTC), levels=levels, events=events)
    route = "iv" if short_route(regimen.route) in INTRAVENOUS else "oral"
    members = shared(members_of(case, patient, drug, models, given, medicines=medicines, route=route).members)
    told = exposure_by_models(members, regimen, drug=drug, settings=case.settings, ledger=case.ledger)
    curve = curve_by_models(members, regimen, settings=case.settings, ledger=case.ledger)
    if told is None or curve is None:
        raise InputError(f"{regimen.text} cannot be told from the levels", where="levels", hint="choose another dose")
    return ", ".join(member.model.id for member in members), curve, told
