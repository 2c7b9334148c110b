"""`dose --target "inr 2-3"` and `"systolic 120-130 mmHg"`: one drug for one patient by what it does.

The target is a response, not a concentration: a published effect model, driven by the kinetics that it names, tells
the response of each regimen that can be dispensed. Screening and the limits of the drug's file come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from posologist.core.drug import Drug
from posologist.core.errors import InputError, ModelError
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import Finding, cited_keys
from posologist.core.regimen import Regimen, Target
from posologist.core.settings import Settings
from posologist.core.simulation import BindingConstraint, DoseDocument
from posologist.core.units import convert, ucum
from posologist.core.values import EvidenceKey
from posologist.knowledge.effects import EffectModel, load_effects
from posologist.knowledge.load import Knowledge
from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.recommend.dose import parse_target, screened
from posologist.recommend.dose_by_model import is_of
from posologist.recommend.inr_dose import inr_dose
from posologist.recommend.limits import limits_for
from posologist.recommend.pressure_dose import pressure_dose
from posologist.recommend.response_case import Asked, unverified_facts
from posologist.recommend.screen import findings_of, not_checked_of
from posologist.records.table import EventRow, LevelRow
from posologist.twin.search import starting_regimen

_INR, _SYSTOLIC = "inr", "systolic"
_UNITS = {_INR: "{INR}", _SYSTOLIC: "mm[Hg]"}
_NAMES = {"inr": _INR, "systolic": _SYSTOLIC, "sbp": _SYSTOLIC}


def is_response(target: str | None) -> bool:
    """Whether a target is one of a response, not of a concentration; a target that cannot be read is none."""
    try:
        return target is not None and parse_target(target).measure in _NAMES
    except InputError:
        return False


def dose_by_response(
    patient: Patient,
    drug_name: str,
    *,
    target: str,
    events: Sequence[EventRow] = (),
    levels: Sequence[LevelRow] = (),
    now: datetime,
    indication: str | None = None,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings,
) -> DoseDocument:
    """Regimens of one drug for this patient by the response that they lead to.

    Parameters
    ----------
    target
        "inr 2-3", or a systolic pressure such as "systolic 120-130 mmHg".
    events, levels
        Doses given and INRs measured; they move the possible patients.
    now
        Nothing that was given or measured may lie after it.
    indication
        Whose dose limits apply; the first indication of the drug's file if absent.

    Raises
    ------
    InputError
        If the target, a covariate, a dose or a measurement cannot be read.
    ModelError
        If no effect model tells this response of the drug, no limits are on file, or the drug is contraindicated.
    NumericsError
        If no estimate was found from the INRs.
    """
    drug = knowledge.drug(drug_name)
    aim = _target(target)
    effect = _effect(drug, aim.measure)
    kinetics = load_model(MODELS_FOLDER / f"{effect.kinetics}.toml")
    case, medicines, subject, hits = screened(
        patient, drug, indication=indication, genome=genome, knowledge=knowledge, settings=settings
    )
    outcome = limits_for(case, drug, subject, hits)
    if outcome.limits is None:
        raise ModelError(outcome.problem, where=drug.id, hint="name another indication with --for")
    asked = Asked(case, drug, aim, outcome.limits)
    if aim.measure == _INR:
        named = {row.drug: is_of(row.drug, drug.id, knowledge) for row in events if row.drug}
        document = inr_dose(
            asked, effect, kinetics, events=events, levels=levels, is_drug=named, medicines=medicines, now=now
        )
    else:
        document = pressure_dose(asked, effect, kinetics, measured=len(levels), medicines=medicines)
    fresh = not events and drug.id not in case.present
    start = starting_regimen(drug, asked.limits) if fresh else None
    begins = start if isinstance(start, Regimen) else None
    document = _verified_only(document, asked, (*unverified_facts((effect, kinetics)), *outcome.unverified))
    document = document.model_copy(
        update={
            "computed": outcome.computed,
            "start": None if begins is None else begins.text,
            "findings": (
                *_maintenance(asked, begins),
                *document.findings,
                *findings_of(case, hits),
            ),
            "not_checked": (*document.not_checked, *not_checked_of(case, hits), *outcome.not_checked),
        }
    )
    return document.model_copy(update={"evidence": case.ledger.reachable(cited_keys(document))})


def _target(text: str) -> Target:
    """The target with its bounds in the unit that the models use."""
    aim = parse_target(text)
    measure = _NAMES.get(aim.measure)
    if measure is None:
        raise InputError(f"'{aim.measure}' is no response", where="--target", hint="use inr or systolic")
    unit = _UNITS[measure]
    written = unit if measure == _INR and aim.unit == "1" else ucum(aim.unit)
    try:
        low, high = (None if bound is None else convert(bound, written, unit) for bound in (aim.low, aim.high))
    except InputError as error:
        raise InputError(error.message, where="--target", hint=error.hint) from error
    return aim.model_copy(
        update={"measure": measure, "low": low, "high": high, "unit": "1" if measure == _INR else unit}
    )


def _effect(drug: Drug, measure: str) -> EffectModel:
    """The effect model of this response that names its kinetics.

    Raises
    ------
    ModelError
        If there is none of this drug.
    """
    found = [
        model
        for model in load_effects()
        if drug.id in model.drugs and model.kinetics and (model.structure == "pressure") == (measure == _SYSTOLIC)
    ]
    usable = [model for model in found if load_model(MODELS_FOLDER / f"{model.kinetics}.toml").drug == drug.id]
    if usable:
        return usable[0]
    why = "its exposure has no kinetic model on file" if found else "no effect model of it is on file"
    raise ModelError(
        f"the {measure} response to {drug.name} cannot be told: {why}", where=drug.id,
        hint="ask for a concentration, or without --target",
    )  # fmt: skip


def _maintenance(asked: Asked, start: Regimen | None) -> tuple[Finding, ...]:
    """That the regimens are not the first dose, for a drug that is not taken yet."""
    if start is None:
        return ()
    detail = (
        f"The regimens are what to keep on with once it is reached. {asked.drug.name.capitalize()} is started with "
        f"{start.text}, and changed as its label says."
    )
    rests = tuple(EvidenceKey(key) for key in asked.limits.reasons)
    return (asked.finding("monitor", "Maintenance, not the first dose", detail, rests),)


def _verified_only(document: DoseDocument, asked: Asked, unverified: Sequence[str]) -> DoseDocument:
    """The document with its regimens unranked where a fact behind them is not verified."""
    if not unverified or not document.regimens:
        return document
    facts = "; ".join(unverified)
    detail = (
        f"The regimens are listed and not ranked: {facts}. Reading the named source and setting the status in the file "
        "would verify it; until then judge every regimen yourself."
    )
    rests = tuple(EvidenceKey(key) for key in asked.limits.reasons)
    finding = asked.finding("serious", "The regimens rest on unverified facts", detail, rests)
    need = "reading the named sources and setting the status in the files"
    return document.model_copy(
        update={
            "regimens": (),
            "unranked": tuple(row.model_copy(update={"rank": None}) for row in document.regimens),
            "binding_constraint": BindingConstraint(
                what="facts behind the ranking are not verified", nearest_regimen=None
            ),
            "findings": (*document.findings, finding),
            "not_checked": (
                asked.open(f"ranking of regimens of {asked.drug.name}", f"not verified: {facts}", need),
                *document.not_checked,
            ),
        }
    )
