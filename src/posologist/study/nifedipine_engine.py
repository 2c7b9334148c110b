"""The engine on nifedipine: our Bayesian machinery, with a prior made of the published kinetics.

`nifedipine_kleinbloesem1984` is not complete: nothing is published on how the tablet's uptake, the differences between
patients and the scatter of a level look as a population model estimates them. The average concentration needs less, and
this is added here from the study's cited facts: even delivery over a day, the spread of AUC between people and within
one, and the folds of exposure by age, liver and medicines. Doses and levels then go through `map_estimates` as any
model's do; a pressure is predicted from the concentration and joined with its own random effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from posologist.core.errors import NumericsError
from posologist.core.values import CitationKey
from posologist.knowledge.models import MODELS_FOLDER, Covariate, PkModel, RandomEffect, Residual, Theta, load_model
from posologist.study.clinic import Floats
from posologist.study.facts import Facts, facts_of
from posologist.study.nifedipine_world import (
    DAY_H,
    Readings,
    Seen,
    average,
    exposure_fold,
    healthy_clearance,
    level_sd,
    sd_of,
    usual_readings,
)
from posologist.twin.events import DOSE, EventTable, Record
from posologist.twin.levels import levels_at
from posologist.twin.map import map_estimates

_SYSTOLIC = "systolic"
_ORAL = "oral_clearance"
_SOURCE = CitationKey("ours")


@cache
def level_model() -> PkModel:
    """Average concentration of extended-release nifedipine as a population model, complete for steady states."""
    facts, base = facts_of("nifedipine"), load_model(MODELS_FOLDER / "nifedipine_kleinbloesem1984.toml")
    changed = {
        "id": "nifedipine_average_exposure",
        "title": "Nifedipine, average exposure to the once-daily tablet",
        "missing": (),
        "absorption": "none",
        "apparent": True,
        "release": "extended",
        "covariates": (*base.covariates, Covariate(name="fold", unit="1", meaning="expected fold of exposure")),
        "parameters": (*base.parameters, *_folded(facts)),
        "equations": {"CL": f"{_ORAL} / fold", "V1": "v_per_kg * weight / f_slow"},
        "random": (RandomEffect(eta="ETA1", on="CL"),),
        "omega": ((sd_of(facts.number("between_cv")) ** 2,),),
        "residual": (Residual(form="log", proportional=level_sd(facts), source=_SOURCE),),
    }
    return PkModel(**{name: getattr(base, name) for name in PkModel.model_fields} | changed)


def other_model(*, clearance_factor: float = 1.0, between_sd: float | None = None) -> PkModel:
    """The same with a prior that is not the truth of the world."""
    base = level_model()
    parameters = tuple(
        theta.model_copy(update={"value": theta.value * clearance_factor}) if theta.name == _ORAL else theta
        for theta in base.parameters
    )
    omega = base.omega if between_sd is None else ((between_sd**2,),)
    changed = {"parameters": parameters, "omega": omega}
    return PkModel(**{name: getattr(base, name) for name in PkModel.model_fields} | changed)


@cache
def pressure_model(readings: Readings) -> PkModel:
    """The same with a systolic pressure as what is measured.

    Without drug it lies around the reading before treatment, by that reading's error and the patient's own change.
    """
    base = level_model()
    changed = {
        "id": "nifedipine_pressure",
        "covariates": (*base.covariates, Covariate(name="sbp", unit="mm[Hg]", meaning="reading before treatment")),
        "equations": {**base.equations, "BASE": "sbp"},
        "random": (*base.random, RandomEffect(eta="ETA2", on="BASE", kind="normal")),
        "omega": ((base.omega[0][0], 0.0), (0.0, readings.between**2 + readings.within**2)),
        "residual": (Residual(output=_SYSTOLIC, form="additive", additive=readings.within, source=_SOURCE),),
    }
    return PkModel(**{name: getattr(base, name) for name in PkModel.model_fields} | changed)


def _folded(facts: Facts) -> tuple[Theta, ...]:
    clearance = healthy_clearance(facts)
    meaning = "clearance over bioavailability of the slow-release tablet"
    return (Theta(name=_ORAL, value=clearance, unit="L/h", meaning=meaning, source=_SOURCE, status="to verify"),)


def clearance_after_levels(seen: Seen, n_levels: int, *, model: PkModel | None = None, told: bool = True) -> Floats:
    """Most probable oral clearance (L/h) after the first levels; without a level that of the prior.

    Parameters
    ----------
    model
        Another prior.
    told
        False: the record's age, liver and medicines are held back.
    """
    used = model or level_model()
    if n_levels == 0:
        return np.array([used.typical(own)["CL"] for own in _covariates(seen, told=told)])
    tables = level_tables(seen, n_levels, told=told)
    return np.array([_clearance(found) for found in map_estimates(used, tables)])


def level_tables(seen: Seen, n_levels: int, *, told: bool = True) -> list[EventTable]:
    """Doses and the first levels of each patient."""
    return _tables(seen, seen.visits.level, n_levels, _covariates(seen, told=told))


def clearance_after_pressures(seen: Seen, n_pressures: int, *, readings: Readings | None = None) -> Floats:
    """Most probable oral clearance (L/h) after the first pressures on treatment, the reading before it known."""
    model = pressure_model(readings or usual_readings())
    tables = _tables(seen, seen.visits.pressure, n_pressures, _covariates(seen, told=True))
    found = map_estimates(model, tables, predict=predicted_pressure(tables))
    return np.array([_clearance(one) for one in found])


def predicted_pressure(tables: Sequence[EventTable]) -> Callable[..., Floats]:
    """Prediction of the systolic pressure at the records that carry one, from the dose in force."""
    emax, ec50 = facts_of("nifedipine").numbers("pressure_emax_ec50")

    def predict(_: Any, parameters: Sequence[Mapping[str, Floats]], table: EventTable) -> Floats:
        held, dose = parameters[-1], 0.0
        found = np.full((len(held["CL"]), len(table.records)), np.nan)
        measured = set(levels_at(table))
        for k, record in enumerate(table.records):
            if record.is_dose:
                dose = record.amt
            elif k in measured:
                level = average(np.full(len(held["CL"]), dose), held["CL"])
                found[:, k] = held["BASE"] + emax * level / (ec50 + level)
        return found

    return predict


def _covariates(seen: Seen, *, told: bool) -> list[dict[str, float]]:
    known = seen.known
    fold = exposure_fold(known, facts_of("nifedipine")) if told else np.ones(len(known))
    return [
        {"fold": f, "weight": w, "sbp": s}
        for f, w, s in zip(fold.tolist(), known.weight.tolist(), known.sbp.tolist(), strict=True)
    ]


def _tables(seen: Seen, measured: Floats, n: int, covariates: Sequence[dict[str, float]]) -> list[EventTable]:
    facts = facts_of("nifedipine")
    visits, release = facts.numbers("visit_h")[:n], facts.number("release_h")
    tables = []
    for i, own in enumerate(covariates):
        records, since = [], 0.0
        for k, until in enumerate(visits):
            dose = float(seen.visits.dose[i, k])
            further = round((until - since) / DAY_H) - 1
            records += [
                Record(since, evid=DOSE, amt=dose, rate=dose / release, ii=DAY_H, addl=further, mdv=1, covariates=own),
                Record(until, dv=float(measured[i, k]), covariates=own),
            ]
            since = until
        tables.append(EventTable(str(i), tuple(records)))
    return tables


def _clearance(found: Any) -> float:
    if found.problem:
        raise NumericsError(found.problem, where=f"patient {found.subject}", hint="look at the simulated levels")
    return float(found.parameters["CL"])
