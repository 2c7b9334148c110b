"""The other dihydropyridine: amlodipine, whose published kinetics are complete (Song 2013), in the same patients.

Tablets are missed at random and nobody is told: the engine believes that all were taken. Levels are drawn before the
tablet of the days of the first two visits. The exposure aimed at lies between what 2.5 and 10 mg a day give in the
model's typical adult, in the middle as a factor: that of 5 mg.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from posologist.knowledge.models import MODELS_FOLDER, Covariate, PkModel, load_model
from posologist.study.blocks import sub_seed
from posologist.study.clinic import Flags, Floats
from posologist.study.facts import facts_of
from posologist.study.nifedipine_world import DAY_H, SCALE, Known, Window, world
from posologist.twin.events import DOSE, EventTable, Record
from posologist.twin.individual import factor_of, individual
from posologist.twin.map import map_estimates
from posologist.twin.modelled import predict

TOLD = "told of missed tablets"
DILTIAZEM = 2  # place in `INHIBITORS` from which on the inhibitor is diltiazem


@dataclass(frozen=True)
class OnAmlodipine:
    """Patients with their levels, (n, 2), and the truth.

    `dose` (mg/day) is the label's first one; `taken` (n, n_days) whether each day's tablet was.
    """

    known: Known
    dose: Floats
    taken: Flags
    level: Floats
    clearance: Floats
    right: Floats


@cache
def model() -> PkModel:
    """The published model with the label's folds of exposure (diltiazem, liver) on its clearance."""
    base = load_model(MODELS_FOLDER / "amlodipine_song2013.toml")
    changed = {
        "id": "amlodipine_song2013_folded",
        "covariates": (*base.covariates, Covariate(name="fold", unit="1", meaning="fold of exposure", default=1.0)),
        "equations": {**base.equations, "CL": f"({base.equations['CL']}) / fold"},
    }
    return PkModel(**{name: getattr(base, name) for name in PkModel.model_fields} | changed)


@cache
def window() -> Window:
    """The exposure aimed at, as an average (ng/mL)."""
    facts = facts_of("nifedipine")
    tablets = facts.numbers("amlodipine_tablets")
    clearance = model().typical(model().reference)["CL"]
    low, high = (SCALE * dose / (DAY_H * clearance) for dose in (tablets[0], tablets[-1]))
    return Window(low, high, facts.numbers("amlodipine_start_max")[2], tablets)


def on_amlodipine(n: int, seed: int) -> OnAmlodipine:
    """`n` patients of the clinic after four weeks on the label's first dose."""
    facts, rng = facts_of("nifedipine"), np.random.default_rng(sub_seed(seed, "amlodipine"))
    known = world(n, seed).seen.known
    typical = [model().typical(own) for own in covariates(known)]
    etas = rng.standard_normal((n, len(model().random))) @ factor_of(model().omega).T
    parameters = individual(model(), {name: np.array([t[name] for t in typical]) for name in typical[0]}, etas)
    start, careful, _ = facts.numbers("amlodipine_start_max")
    fragile = (known.age >= facts.number("elderly_age")) | known.cirrhosis
    dose = np.where(fragile, careful, start)
    days = _days()
    share, together = facts.number("adherence_mean"), facts.number("adherence_concentration")
    habit = rng.beta(share * together, (1.0 - share) * together, n)
    taken = rng.random((n, days[-1])) < habit[:, None]
    after_one = _after_one_mg(parameters, days[-1])
    shown = [(after_one[:, :day][:, ::-1] * taken[:, :day]).sum(axis=1) * dose for day in days]
    error = model().residual[0].proportional
    level = np.stack(shown, axis=1) * (1.0 + error * np.clip(rng.standard_normal((n, len(days))), -4.0, 4.0))
    clearance = parameters["CL"]
    return OnAmlodipine(known, dose, taken, np.maximum(level, 0.0), clearance, window().dose(clearance))


def _days() -> list[int]:
    return [round(hour / DAY_H) for hour in facts_of("nifedipine").numbers("visit_h")[:2]]


def _after_one_mg(parameters: dict[str, Floats], n_days: int) -> Floats:
    """Concentration (ng/mL) one, two ... days after 1 mg, (n, n_days)."""
    records = (Record(0.0, evid=DOSE, amt=1.0, mdv=1), *(Record(DAY_H * (k + 1), mdv=1) for k in range(n_days)))
    return np.real(predict(model(), [parameters] * len(records), EventTable("unit", records)))[:, 1:]


def covariates(known: Known) -> list[dict[str, float]]:
    """What the model reads of each patient."""
    facts = facts_of("nifedipine")
    liver = np.where(known.cirrhosis, facts.number("amlodipine_liver_fold"), 1.0)
    fold = liver * np.where(known.inhibitor >= DILTIAZEM, facts.number("amlodipine_diltiazem_fold"), 1.0)
    rows = zip(known.age.tolist(), known.weight.tolist(), fold.tolist(), strict=True)
    return [{"age": age, "weight": weight, "fold": own} for age, weight, own in rows]


def tables(patients: OnAmlodipine, n_levels: int, *, missed_told: bool = False) -> list[EventTable]:
    """Daily doses and the first levels of each patient; doses that were missed are left out only where told."""
    days, found, least = _days()[:n_levels], [], facts_of("nifedipine").number("amlodipine_quantified")
    for i, own in enumerate(covariates(patients.known)):
        given = patients.taken[i] if missed_told else np.ones_like(patients.taken[i])
        doses = [
            Record(DAY_H * k, evid=DOSE, amt=float(patients.dose[i]), mdv=1, covariates=own)
            for k in np.flatnonzero(given[: days[-1]]).tolist()
        ]
        levels = [
            Record(DAY_H * day, dv=float(value), covariates=own)
            for day, value in zip(days, patients.level[i], strict=False)
            if value >= least
        ]
        records = sorted([*doses, *levels], key=lambda record: (record.time, record.is_dose))
        found.append(EventTable(str(i), tuple(records)))
    return found


@dataclass(frozen=True)
class Answer:
    """Daily doses (mg), and for whom levels were used: a priori where none counts or no estimate was found."""

    dose: Floats
    used: Flags


def answers(patients: OnAmlodipine) -> dict[str, Answer]:
    """Daily doses by each way of finding one."""
    facts, nobody = facts_of("nifedipine"), np.zeros(len(patients.known), dtype=bool)
    everybody = np.full(len(patients.known), facts.numbers("amlodipine_start_max")[0])
    return {
        "label: 5 mg for everybody": Answer(everybody, nobody),
        "label: first dose by age and liver": Answer(patients.dose, nobody),
        "engine, a priori": Answer(window().dose(_expected(patients)), nobody),
        "engine, one level": _after_levels(patients, 1),
        "engine, two levels": _after_levels(patients, 2),
        f"engine, one level, {TOLD}": _after_levels(patients, 1, missed_told=True),
        f"engine, two levels, {TOLD}": _after_levels(patients, 2, missed_told=True),
        "oracle": Answer(patients.right, nobody),
    }


def _expected(patients: OnAmlodipine) -> Floats:
    return np.array([model().typical(own)["CL"] for own in covariates(patients.known)])


def _after_levels(patients: OnAmlodipine, n_levels: int, *, missed_told: bool = False) -> Answer:
    clearance, asked = _expected(patients), tables(patients, n_levels, missed_told=missed_told)
    used = np.array([any(record.is_level for record in table.records) for table in asked])
    measured = np.flatnonzero(used).tolist()
    for i, found in zip(measured, map_estimates(model(), [asked[i] for i in measured]), strict=True):
        used[i] = not found.problem
        clearance[i] = found.parameters["CL"] if used[i] else clearance[i]
    return Answer(window().dose(clearance), used)
