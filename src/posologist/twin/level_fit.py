"""Levels beside their predictions, those that do not fit, and the time at which the next one tells most."""

from __future__ import annotations

import numpy as np

from posologist.core.recommendation import Finding
from posologist.core.simulation import LevelDocument, NextSample
from posologist.core.values import EvidenceKey
from posologist.twin.events import DOSE, Record
from posologist.twin.goals import Goal
from posologist.twin.individual import Array
from posologist.twin.levels import is_below, levels_at
from posologist.twin.mixture import Member
from posologist.twin.offers import Habit, Judged
from posologist.twin.posterior import ENOUGH
from posologist.twin.residual import error_model
from posologist.twin.teller import Teller

MISFIT = 3.0  # weighted residual from which a level is said not to fit
_SAMPLE_TIMES = 24


def levels_told(member: Member, teller: Teller) -> tuple[tuple[LevelDocument, ...], tuple[Finding, ...]]:
    """Each level with its prediction, and those that do not fit."""
    found, twin = member.twin.people.found, member.twin
    if found is None:
        return (), ()
    at, unit = levels_at(twin.table), member.model.concentration_unit
    times = np.array([twin.table.records[i].time for i in at])
    values = _before_doses(member, times)
    rows, misfits = [], []
    keys = member.history.level_keys
    for n, (i, key) in enumerate(zip(at, keys, strict=True)):
        record, expected = twin.table.records[i], float(found.estimate.predictions[n])
        measured = float(record.limit or 0.0) if is_below(record) else float(record.dv or 0.0)
        rows.append(
            LevelDocument(
                time=teller.quantity(record.time, "h", (key,)),
                observed=teller.quantity(measured, unit, (key,)),
                predicted=teller.estimate(values[:, n], unit, expected),
            )
        )
        away = float(found.estimate.deviations[n])
        if abs(away) > MISFIT:
            detail = (
                f"The level of {measured:g} {unit} at {record.time:g} h lies {abs(away):.1f} standard deviations from "
                f"the model's {expected:.3g} {unit}: check the time of the sample, the doses and the assay before the "
                "answer is used."
            )
            misfits.append(teller.finding("serious", "A level does not fit", detail, (key, *teller.because)))
    return tuple(rows), tuple(misfits)


def _before_doses(member: Member, times: Array) -> Array:
    """Concentrations of the log at the times of its levels; a level at the time of a dose was drawn before it."""
    dosed = {dose.time for dose in member.twin.doses}
    earlier = np.array([np.nextafter(t, -np.inf) if t in dosed else t for t in times])
    return member.twin.simulate((), earlier)


def about_levels(member: Member, teller: Teller) -> tuple[Finding, ...]:
    """What must be said of the estimate: that there are no levels, or that the posterior is poorly sampled."""
    found = member.twin.people.found
    if found is None:
        detail = "No levels were given: the answer is that of the studied population with this patient's covariates."
        return (teller.finding("information", "Population answer", detail),)
    if found.enough:
        return ()
    detail = (
        f"The posterior is worth {int(found.effective)} equal draws, fewer than {ENOUGH}: the intervals and "
        "probabilities are rough."
    )
    return (teller.finding("serious", "The posterior is poorly sampled", detail),)


def next_sample(member: Member, row: Judged, goal: Goal | None, habit: Habit, teller: Teller) -> NextSample | None:
    """Time in the interval after the next dose whose level makes the measure surest.

    The variance of the measure falls by cov(measure, level)^2 / (var(level) + error), in the regression of one on the
    other over the possible patients of the first model.
    """
    model, doses = member.model, member.twin.doses
    if not model.random or not model.residual:
        return None
    shape = row.offer.shape
    start = doses[-1].time + habit.interval if doses else 0.0
    rate = row.offer.dose / shape.infusion if shape.infusion else 0.0
    coming = Record(start, evid=DOSE, amt=row.offer.dose, rate=rate, cmt=member.compartment, mdv=1)
    first = min(shape.infusion, shape.interval / 2) + min(0.5, shape.interval / 10)
    times = start + np.linspace(first, shape.interval, _SAMPLE_TIMES)
    error = error_model(model.residual[:1], [model.residual[0].output] * len(times))
    levels = error.on_scale(np.maximum(member.twin.simulate((coming,), times), 1e-12))
    measure = row.curve.auc24 if goal is None else row.curve.value(goal)
    n = min(len(measure), len(levels))
    measure, levels = measure[:n], levels[:n]
    away, apart = measure - measure.mean(), levels - levels.mean(axis=0)
    spread = float((away**2).mean())
    if spread <= 0:
        return None
    noise = (apart**2).mean(axis=0) + error.variance(levels).mean(axis=0)
    shrink = (away @ apart / n) ** 2 / noise / spread
    best = int(np.argmax(shrink))
    name = "auc24" if goal is None else goal.metric
    text = f"the variance of {name} falls by about {100 * shrink[best]:.0f} %"
    time = float(f"{times[best]:.4g}")
    key: EvidenceKey = teller.derived(f"a level at {time:g} h, after {row.offer.text} at {start:g} h: {text}")
    return NextSample(time=teller.quantity(time, "h", (key,)), reduces=text)
