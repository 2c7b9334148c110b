"""How well a population model predicts levels that were measured: before the patient's levels are known, and after.

A priori a level is predicted from the patient's covariates alone; a posteriori level k is predicted from the most
probable parameters given levels 1 to k - 1 (rolling), from the second level on. Both are also compared on the same
levels. Nothing is fitted on the population.

References
----------
sheiner-beal-1981: L. B. Sheiner and S. L. Beal, Some suggestions for measuring predictive performance, J
Pharmacokinet Biopharm 9:503.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError, PosologistError
from posologist.core.evaluation import EvaluationDocument, MethodRow, Paired, Sample
from posologist.core.genotype import Versions
from posologist.knowledge.models import PkModel
from posologist.study import bootstrap, predictive
from posologist.twin.events import EventTable, Record
from posologist.twin.levels import Predict, Problem, is_below, levels_at, predict_measured, problem_of
from posologist.twin.map import MapResult, map_estimates
from posologist.twin.randomness import generator_for

Array = npt.NDArray[np.float64]
Label = Literal["real patients", "simulated patients", "agreement with practice"]

PRIOR, PRIOR_LATER, POSTERIOR = "a priori", "a priori, from the second level", "a posteriori"
_DIFFERENCES = ("mape_percent", "rmse", "f20_percent", "f30_percent")


@dataclass(frozen=True)
class Predicted:
    """Levels of all patients in a row, each array (n_levels,); `simulated` is (n_draws, n_levels).

    `patient` numbers the patients from 0; `posterior` is nan for a first level and where there was no estimate.
    """

    patient: npt.NDArray[np.int64]
    time: Array
    observed: Array
    prior: Array
    posterior: Array
    simulated: Array
    npde: Array
    subjects: tuple[str, ...]
    findings: tuple[str, ...] = ()


def evaluate_kinetics(
    model: PkModel,
    tables: Sequence[EventTable],
    *,
    versions: Versions,
    label: Label = "real patients",
    seed: int = 0,
    draws: int = 1000,
    n_resamples: int = 2000,
    findings: Sequence[str] = (),
) -> EvaluationDocument:
    """The model's predictions of every level of the tables, against what was measured.

    Parameters
    ----------
    tables
        One event table for each patient, in the model's units.
    seed
        Of the bootstrap and of the simulated patients: the same seed, the same document.
    draws
        Simulated patients behind coverage, NPDE and the predictive check.
    n_resamples
        Bootstrap resamples of patients.
    findings
        What the reader of the data has to say; it stands first in the document's findings.

    Raises
    ------
    InputError
        If the model is not complete, lacks variability or error of a level, a covariate is missing, or no level can
        be judged.
    """
    _check(model)
    found = predicted_levels(model, tables, seed=seed, draws=draws)
    return document_of(
        model,
        found,
        train=Sample(n=0),
        versions=versions,
        label=label,
        seed=seed,
        n_resamples=n_resamples,
        findings=(*findings, *_outside(model, tables)),
    )


def document_of(
    model: PkModel,
    found: Predicted,
    *,
    train: Sample,
    versions: Versions,
    label: Label,
    seed: int,
    n_resamples: int,
    findings: Sequence[str],
) -> EvaluationDocument:
    """Metrics of predicted levels with their bootstrap intervals; the findings stand before those of `found`."""
    counts = bootstrap.resamples(len(found.subjects), n_resamples, np.random.default_rng(seed))
    later = np.isfinite(found.posterior)
    before = _metrics(found, found.prior, np.ones(len(found.patient), dtype=bool), counts)
    rows = [_row(PRIOR, before | _predictive_metrics(found, counts), found.patient)]
    paired: tuple[Paired, ...] = ()
    if later.any():
        again = _metrics(found, found.prior, later, counts)
        after = _metrics(found, found.posterior, later, counts)
        rows += [_row(PRIOR_LATER, again, found.patient[later]), _row(POSTERIOR, after, found.patient[later])]
        paired = tuple(
            Paired(
                method=POSTERIOR, against=PRIOR_LATER, metric=name,
                difference=bootstrap.interval(after[name] - again[name]),
            )
            for name in _DIFFERENCES
        )  # fmt: skip
    return EvaluationDocument(
        schema="posologist/evaluation/1",
        task="kinetics",
        label=label,
        model=model.id,
        concentration_unit=model.concentration_unit,
        train=train,
        test=Sample(n=len(found.subjects), levels=len(found.patient)),
        seed=seed,
        rows=tuple(rows),
        paired=paired,
        check=predictive.predictive_check(found.time, found.observed, found.prior, found.simulated),
        findings=(*findings, *found.findings),
        versions=versions,
    )


def _check(model: PkModel) -> None:
    if model.missing:
        raise InputError(
            f"the model {model.id} is not complete: {'; '.join(model.missing)}",
            where="--model",
            hint="give a complete model",
        )
    if not model.random or not model.residual:
        raise InputError(
            f"the model {model.id} states no variability between patients, or no error of a level",
            where="--model",
            hint="both are needed to predict from levels",
        )


def _outside(model: PkModel, tables: Sequence[EventTable]) -> tuple[str, ...]:
    """How many patients lie outside what was studied, by covariate."""
    names = [
        name
        for table in tables
        for name in {c.name for record in table.records for c in model.outside(record.covariates)}
    ]
    return tuple(
        f"{name} lies outside the studied range in {names.count(name)} of {len(tables)} patients"
        for name in dict.fromkeys(names)
    )


def _row(method: str, metrics: dict[str, Array], patient: npt.NDArray[np.int64]) -> MethodRow:
    return MethodRow(
        method=method,
        n=len(np.unique(patient)),
        levels=len(patient),
        metrics={name: bootstrap.interval(values) for name, values in metrics.items()},
    )


def _metrics(found: Predicted, predicted: Array, rows: npt.NDArray[np.bool_], counts: Array) -> dict[str, Array]:
    parts = bootstrap.errors(predicted[rows], found.observed[rows])
    return bootstrap.means(parts, found.patient[rows], counts)


def _predictive_metrics(found: Predicted, counts: Array) -> dict[str, Array]:
    inside = np.where(predictive.covered(found.simulated, found.observed), 100.0, 0.0)
    values = bootstrap.means({"coverage_90_percent": inside, "npde_mean": found.npde}, found.patient, counts)
    return values | {"npde_sd": bootstrap.spread(found.npde, found.patient, counts)}


def predicted_levels(model: PkModel, tables: Sequence[EventTable], *, seed: int, draws: int) -> Predicted:
    """A priori and rolling a posteriori predictions of every level that can be judged, and simulations of it.

    Raises
    ------
    InputError
        If a covariate is missing, or no level can be judged.
    """
    return levels_predicted_by([(model, table) for table in tables], seed=seed, draws=draws)


def levels_predicted_by(pairs: Sequence[tuple[PkModel, EventTable]], *, seed: int, draws: int) -> Predicted:
    """`predicted_levels` where each patient comes with the model to be used.

    Raises
    ------
    InputError
        If a covariate is missing, or no level can be judged.
    """
    parts: list[_Before] = []
    judged: list[tuple[PkModel, EventTable]] = []
    left_out: dict[str, list[str]] = {}
    for model, table in pairs:
        run = predictor(model)
        clean = _judged(model, table, run, left_out)
        if levels_at(clean):
            judged.append((model, clean))
            parts.append(_before(model, clean, run, seed, draws))
    if not parts:
        raise InputError("no level can be judged", where="--data", hint="give positive levels after a dose")
    posterior, failed = _after(judged)
    patient = np.concatenate([np.full(len(p.observed), n) for n, p in enumerate(parts)])
    return Predicted(
        patient=patient,
        time=np.concatenate([p.time for p in parts]),
        observed=np.concatenate([p.observed for p in parts]),
        prior=np.concatenate([p.prior for p in parts]),
        posterior=posterior,
        simulated=np.concatenate([p.simulated for p in parts], axis=1),
        npde=np.concatenate([predictive.npde(p.simulated, p.observed) for p in parts]),
        subjects=tuple(table.subject for _, table in judged),
        findings=(*_left_out(left_out), *failed),
    )


def predictor(model: PkModel) -> Predict | None:
    """What predicts the model's levels; None: the closed forms of linear models."""
    return None if model.elimination == "linear" else cast(Predict, predict_measured)


def _judged(model: PkModel, table: EventTable, run: Predict | None, left_out: dict[str, list[str]]) -> EventTable:
    """The table without levels that no percent error is defined for; `left_out` takes them, by reason."""
    if not levels_at(table):
        left_out.setdefault("no level", []).append(f"subject {table.subject}")
        return table
    positive = _without(table, {place: _unusable(table.records[place]) for place in levels_at(table)}, left_out)
    problem = _problem(model, positive, run)
    typical = problem.predictions(np.array([0]), np.zeros((1, problem.effects.n_scores)))[0]
    absent = {
        place: "" if value > 0 else "the model predicts no drug there"
        for place, value in zip(levels_at(positive), typical, strict=True)
    }
    return _without(positive, absent, left_out)


def _without(table: EventTable, why: dict[int, str], left_out: dict[str, list[str]]) -> EventTable:
    """The table without the levels at places that have a reason to leave them out."""
    records = list(table.records)
    for place, reason in why.items():
        if reason:
            left_out.setdefault(reason, []).append(f"subject {table.subject} at {records[place].time:g} h")
            records[place] = replace(records[place], dv=None, mdv=1, limit=None)
    return EventTable(table.subject, tuple(records))


def _unusable(record: Record) -> str:
    if is_below(record):
        return "below the limit of quantification"
    return "the level is not positive" if record.dv is None or record.dv <= 0 else ""


def _left_out(found: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(f"{len(who)} not judged, {why}: {', '.join(who)}" for why, who in found.items())


def _problem(model: PkModel, table: EventTable, run: Predict | None) -> Problem:
    try:
        return problem_of(model, [table], predict=run)
    except PosologistError as error:
        raise InputError(
            f"subject {table.subject}: {error.message}", where=error.where or table.subject, hint=error.hint or ""
        ) from error


@dataclass(frozen=True)
class _Before:
    time: Array
    observed: Array
    prior: Array
    simulated: Array


def _before(model: PkModel, table: EventTable, run: Predict | None, seed: int, draws: int) -> _Before:
    """A priori predictions of a patient's levels, and levels of simulated patients like this one."""
    problem = _problem(model, table, run)
    rng = generator_for("evaluate", model.id, table.subject, str(seed))
    scores = rng.standard_normal((draws, problem.effects.n_scores))
    drawn = problem.on_scale(np.zeros(draws, dtype=int), scores)
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    with np.errstate(invalid="ignore"):
        noisy = drawn + np.sqrt(problem.error.variance(drawn)) * rng.standard_normal(drawn.shape)
    noisy = np.where(np.isfinite(drawn), noisy, drawn)
    records = [table.records[i] for i in levels_at(table)]
    return _Before(
        time=np.array([record.time for record in records]),
        observed=np.array([record.dv for record in records], dtype=np.float64),
        prior=problem.predictions(np.array([0]), np.zeros((1, problem.effects.n_scores)))[0],
        simulated=np.where(problem.error.logarithmic, np.exp(noisy), noisy),
    )


def _after(pairs: Sequence[tuple[PkModel, EventTable]]) -> tuple[Array, list[str]]:
    """Rolling predictions of all levels in a row, nan for first levels, and what could not be estimated."""
    values, said = [], []
    for _, group in groupby(pairs, key=lambda pair: id(pair[0])):
        members = list(group)
        model, run = members[0][0], predictor(members[0][0])
        rolling = [cut for _, table in members for cut in _cuts(table)]
        results = iter(map_estimates(model, [known for known, _ in rolling if known is not None], predict=run))
        for before, until in rolling:
            if before is None:
                values.append(np.nan)
                continue
            result = next(results)
            values.append(_next_level(model, until, result, run) if result.converged else np.nan)
            if not result.converged:
                time = until.records[-1].time
                said.append(f"subject {until.subject}: no estimate before the level at {time:g} h ({result.problem})")
    return np.array(values, dtype=np.float64), said


def _cuts(table: EventTable) -> list[tuple[EventTable | None, EventTable]]:
    """For each level the table up to it: without its value (None where nothing is left to learn from), and with it."""
    found: list[tuple[EventTable | None, EventTable]] = []
    for n, place in enumerate(levels_at(table)):
        until = table.records[: place + 1]
        hidden = (*until[:-1], replace(until[-1], dv=None, mdv=1))
        found.append((EventTable(table.subject, hidden) if n else None, EventTable(table.subject, until)))
    return found


def _next_level(model: PkModel, until: EventTable, result: MapResult, run: Predict | None) -> float:
    """The last level of the table, predicted with an estimate made without it."""
    problem = problem_of(model, [until], predict=run)
    etas = np.concatenate([result.eta, result.occasions.ravel()])
    scores = np.linalg.pinv(problem.effects.factor) @ etas
    return float(problem.predictions(np.array([0]), scores[None, :])[0, -1])
