"""A dose for a systolic pressure: the present pressure and what another dose is expected to change of it.

The effect model speaks of the change from the pressure before treatment. Where that is not known, the present pressure
stands for it and no probability is given: nothing is published on how patients differ in the change from one treatment
to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from posologist.core.errors import InputError
from posologist.core.genotype import Versions
from posologist.core.recommendation import Finding, NotChecked, Reason
from posologist.core.simulation import DoseDocument
from posologist.core.situation import CurrentDrug, KnownFact
from posologist.core.values import Because, DrugId
from posologist.core.version import VERSION
from posologist.knowledge.effects import EffectModel
from posologist.knowledge.expression import expression
from posologist.knowledge.models import PkModel
from posologist.recommend.response_case import Asked, goal_for, lowest_status, ranking
from posologist.twin.effect import PressureModel, pressure_change, pressure_model
from posologist.twin.events import EventTable
from posologist.twin.individual import Array, factor_of
from posologist.twin.mixture import Exposures, Member
from posologist.twin.patient_model import History, Told, check_usable, covariates_of
from posologist.twin.randomness import generator_for, normal_draws
from posologist.twin.response import Reached
from posologist.twin.twin import Twin

MEASURE = "systolic"
UNIT = "mm[Hg]"
_FACT = "sbp"
_USE = "hypertension"  # a medicine with a dose for it counts as a treatment of the pressure
_TO_MG = {"mg": 1.0, "mcg": 0.001, "g": 1000.0}


@dataclass(frozen=True)
class _Present:
    """The pressure now, the treatment that it is under, and the drug's own amount per day (mg) in it."""

    pressure: float
    fact: KnownFact
    treated: tuple[DrugId, ...]
    untreated: bool
    amount: float


def pressure_dose(
    asked: Asked, effect: EffectModel, kinetics: PkModel, *, measured: int, medicines: tuple[DrugId, ...]
) -> DoseDocument:
    """Regimens by the systolic pressure that is expected under them.

    Parameters
    ----------
    measured
        How many measurements were given after the start: they teach nothing here, which is said.

    Raises
    ------
    InputError
        If no pressure is on record, the drug's present dose is not stated, or a covariate is not known.
    """
    if asked.aim.low is None or asked.aim.high is None:
        raise InputError(f"'{asked.aim.text}' has one bound", where="--target", hint="give both, e.g. 120-130 mmHg")
    check_usable(kinetics, str(asked.drug.id))
    case = asked.case
    present = _present(asked)
    told = _told(asked, effect, kinetics, medicines)
    rests = (
        asked.leaf(effect, lowest_status(effect)), asked.leaf(kinetics, lowest_status(kinetics)), present.fact.because,
        *told.keys,
    )  # fmt: skip
    because: Because = (case.ledger.add("derived", f"{effect.id}: pressure of this patient", because=rests),)
    patient = case.situation.patient_id
    twin = Twin(kinetics, patient, (), told.values, draws=asked.settings.draws)
    exposures = Exposures((Member(twin, told, History(EventTable(patient, ()), None), "oral"),))
    typical = pressure_model(effect, _effect_covariates(effect, told.values, present))
    tried = asked.offered(kinetics)
    spread = _spread(asked, effect) if present.untreated else np.zeros(asked.settings.draws)
    rows, goal = [], goal_for(asked, UNIT)
    for offer in tried.offers:
        curve = exposures.curve(offer.shape, offer.dose)
        if curve is not None:
            now = _alone(typical, asked.drug.id, curve.auc24 * (present.amount / offer.per_day))
            values = present.pressure + _alone(typical, asked.drug.id, curve.auc24) - now + spread
            rows.append(Reached(offer, values, goal, None, known=present.untreated, rises=False))
    ranks = ranking(asked, rows, MEASURE, UNIT, because)
    return DoseDocument(
        drug=DrugId(asked.drug.id), model=effect.id, patient=case.situation.patient_id,
        parameters={"CL": asked.estimate(twin.people.parameters["CL"], "L/h", because)}, target=asked.aim,
        regimens=ranks.regimens, binding_constraint=ranks.binding,
        findings=(
            *told.findings, *_stale(asked, present), *ranks.findings,
            *_taught(asked, measured, because),
        ),
        not_checked=_open(asked, effect, present),
        assumptions=(*told.assumptions, *_assumed(asked, effect, present, because)),
        evidence={}, versions=Versions(posologist=VERSION, knowledge=case.knowledge.version),
    )  # fmt: skip


def _present(asked: Asked) -> _Present:
    situation = asked.case.situation
    fact = situation.facts.get(_FACT)
    if fact is None or not isinstance(fact.value, float):
        raise InputError("no systolic pressure is on record", where="--patient", hint="record one, with its date")
    drugs = asked.case.knowledge.drugs
    treated = tuple(
        current.drug
        for current in situation.current
        if current.drug in drugs and any(rule.indication == _USE for rule in drugs[current.drug].doses)
    )
    own = [current for current in situation.current if current.drug == asked.drug.id]
    known = situation.medication_list_given and not situation.unresolved_medicines
    return _Present(fact.value, fact, treated, known and not treated, sum(_per_day(current) for current in own))


def _per_day(current: CurrentDrug) -> float:
    amount = current.amount_per_day
    if amount is None or current.unit not in _TO_MG:
        raise InputError(
            f"the present dose of {current.drug} is not stated: '{current.text}'", where="--patient",
            hint="record dose, unit and doses per day",
        )  # fmt: skip
    return amount * _TO_MG[current.unit]


def _read(effect: EffectModel, drug: str) -> set[str]:
    """Covariates that the effect of one drug reads."""
    names = {name for name in effect.equations if name.isupper() and name.split("_")[1:] == [drug.upper()]}
    for left, text in reversed(effect.equations.items()):
        if left in names:
            names |= expression(text).names
    return names & {covariate.name for covariate in effect.covariates}


def _told(asked: Asked, effect: EffectModel, kinetics: PkModel, medicines: tuple[DrugId, ...]) -> Told:
    own = {covariate.name for covariate in kinetics.covariates}
    read = _read(effect, str(asked.drug.id)) - own
    needed = (*kinetics.covariates, *(c for c in effect.covariates if c.name in read))
    case = asked.case
    return covariates_of(
        kinetics.model_copy(update={"covariates": needed}), case.situation, case.profile(medicines), molar_masses={},
        ledger=case.ledger,
    )  # fmt: skip


def _effect_covariates(effect: EffectModel, told: Mapping[str, float], present: _Present) -> dict[str, float]:
    """Covariates of the effect; the reference stands for those that the drug's effect does not read."""
    given = {**told, "sbp": present.pressure}
    return {c.name: given.get(c.name, 0.0 if c.reference is None else c.reference) for c in effect.covariates}


def _alone(model: PressureModel, drug: str, exposure: Array) -> Array:
    """Change by one drug alone (mmHg), without the placebo effect of the trials."""
    return pressure_change(model, {drug: exposure}).alone[drug]


def _spread(asked: Asked, effect: EffectModel) -> Array:
    """How far the change of possible patients lies from the typical one (mmHg), (n_draws,)."""
    factor = factor_of(effect.omega)
    chance = generator_for("response", effect.id, asked.case.situation.patient_id, str(asked.settings.draws))
    return np.asarray((normal_draws(asked.settings.draws, factor.shape[1], chance).T @ factor.T).sum(axis=1))


def _stale(asked: Asked, present: _Present) -> tuple[Finding, ...]:
    if not present.fact.stale:
        return ()
    detail = f"The systolic pressure of {present.pressure:g} mmHg is of {present.fact.at}: measure it again."
    return (asked.finding("serious", "The pressure is old", detail, (present.fact.because,)),)


def _taught(asked: Asked, measured: int, because: Because) -> tuple[Finding, ...]:
    if not measured:
        return ()
    detail = (
        f"{measured} measurements were given with --levels and not used: a pressure teaches this model nothing of the "
        "patient. The pressure of the record is what the answer starts from."
    )
    return (asked.finding("information", "Measurements not used", detail, because),)


def _open(asked: Asked, effect: EffectModel, present: _Present) -> tuple[NotChecked, ...]:
    name = asked.drug.name
    found = [
        asked.open(
            f"low pressure under {name}", f"{effect.id} holds no bound below which harm is expected",
            "measure the pressure, standing as well",
        )
    ]  # fmt: skip
    others = [drug for drug in present.treated if drug != asked.drug.id]
    if others:
        found.append(
            asked.open(
                f"{name} together with {', '.join(others)}",
                "drugs together lower the pressure by less than the sum of each alone, and their exposure is not known",
                "expect less than is said, and measure",
            )
        )
    if not present.untreated:
        found.append(
            asked.open(
                f"probability of the target under {name}",
                f"{effect.id} says how patients differ in the change from the untreated pressure, not known here",
                "a pressure without treatment, and a list of medicines",
            )
        )
    return tuple(found)


def _assumed(asked: Asked, effect: EffectModel, present: _Present, because: Because) -> tuple[Reason, ...]:
    told = [
        f"The pressure that is expected is the present {present.pressure:g} mmHg and the change by {asked.drug.name} "
        f"against now ({present.amount:g} mg a day); the placebo effect of the trials is left out.",
        f"{effect.id} was studied in {effect.population}.",
    ]
    if not present.untreated:
        told.append(
            "The pressure before treatment is not known: the present one stands for it. The interval is that of the "
            f"exposure to {asked.drug.name} alone."
        )
    else:
        told.append(f"How patients differ in the change: {effect.variability}. A single reading scatters more.")
    return tuple(asked.assumed(text, because) for text in told)
