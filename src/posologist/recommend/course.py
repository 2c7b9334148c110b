"""Covariates of a patient over a treatment: what the record said on each day, so that a change of kidney counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time

from posologist.core.genotype import PhenotypeProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import Finding
from posologist.knowledge.derive import situate
from posologist.knowledge.models import PkModel
from posologist.recommend.case import Case
from posologist.records.table import EventRow
from posologist.twin.patient_model import Since, Told, known_covariates

CHANGED = 0.2  # relative change of a covariate from which the reader is told to look at it


def course_of(
    case: Case,
    patient: Patient,
    model: PkModel,
    told: Told,
    events: Sequence[EventRow],
    *,
    profile: PhenotypeProfile,
    molar_masses: Mapping[str, float],
) -> list[Since]:
    """Covariates from the first dose on, with each day on which the record changed one of them.

    A covariate that was not known on an early day has the value that is known now. Genes and stated values do not
    change.
    """
    first = min(row.at for row in events)
    stated = {name: value for name, value in told.values.items() if case.ledger[told.by_name[name]].kind == "setting"}
    course: list[Since] = []
    for day in _days(patient, first.date(), case.situation.as_of):
        known = _known_on(day, case, patient, model, profile, molar_masses)
        values = {**told.values, **known, **stated}
        if not course:
            course.append(Since(None, values))
        elif values != course[-1].values:
            course.append(Since(datetime.combine(day, time.min, UTC), values))
    if course[-1].values != told.values:
        course.append(Since(datetime.combine(case.situation.as_of, time.min, UTC), told.values))
    return course


def _days(patient: Patient, first: date, last: date) -> list[date]:
    """The first day of treatment, and each later day with an observation."""
    seen = {o.at.date() for o in patient.observations if o.at is not None and o.key}
    return [min(first, last), *sorted(day for day in seen if first < day <= last)]


def _known_on(
    day: date,
    case: Case,
    patient: Patient,
    model: PkModel,
    profile: PhenotypeProfile,
    molar_masses: Mapping[str, float],
) -> dict[str, float]:
    situation = situate(patient, as_of=day, knowledge=case.knowledge, settings=case.settings, ledger=case.ledger)
    known = known_covariates(model, situation, profile, molar_masses=molar_masses, ledger=case.ledger)
    return {name: value for name, (value, _) in known.items()}


def course_told(model: PkModel, course: Sequence[Since], told: Told, case: Case) -> tuple[Finding, ...]:
    """A finding for each covariate that changed during treatment by `CHANGED` or more."""
    found = []
    for covariate in model.covariates:
        values = [since.values[covariate.name] for since in course if covariate.name in since.values]
        if len(values) < 2 or covariate.name not in told.by_name:
            continue
        before, now = values[0], values[-1]
        if abs(now - before) < CHANGED * max(abs(before), 1e-12):
            continue
        detail = (
            f"{covariate.meaning} went from {before:.4g} to {now:.4g} {covariate.unit} during treatment. Doses given "
            "are read with the values of their days, coming ones with the newest: a level after the change makes the "
            "estimate surer."
        )
        key = case.ledger.add("derived", detail, because=(told.by_name[covariate.name],))
        title = f"{covariate.name} changed during treatment"
        found.append(Finding(severity="monitor", title=title, detail=detail, drugs=(str(model.drug),), because=(key,)))
    return tuple(found)
