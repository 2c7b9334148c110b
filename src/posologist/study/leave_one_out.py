"""Each patient predicted by a population that was estimated without that patient: leave one patient out, or several.

For data that no published model exists of. The structure (a model file) says which compartments, covariates, random
effects and form of the error; its numbers are only where the search begins, so it says in `missing` that it is none
that doses are made with. The population is estimated in two stages that are repeated until nothing moves (an EM
algorithm, the expectations by Laplace's approximation):

1. each patient's most probable random effects eta_i and their covariance C_i, given the present population;
2. the typical parameters move by the mean of eta_i; omega = covariance of eta_i (divisor m - 1) + mean of C_i, so that
   what a patient's own levels leave open is not taken for a difference between patients; the squared size of the error
   = sum of squared deviations / (number of levels - p - (1 - 1/m) sum of trace(I - omega^-1 C_i)), p parameters of the
   mean and what each patient's levels determined beyond it.

Where the model is linear in the random effects and all patients have the same times this is the restricted maximum
likelihood (a test holds it against the analysis of variance).

Only those elements of omega are estimated that are not zero in the structure. The population that predicts the
patient who was left out has omega (1 + 1/m), since the mean of m patients is uncertain as well.

References
----------
steimer-1984: J.-L. Steimer et al., Alternative approaches to estimation of population pharmacokinetic parameters:
comparison with the nonlinear mixed-effect model, Drug Metab Rev 15:265 (two-stage methods).
mentre-1995: F. Mentre and R. Gomeni, A two-step iterative algorithm for estimation in nonlinear mixed-effect models
with an evaluation in population pharmacokinetics, J Biopharm Stat 5:141.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError
from posologist.core.evaluation import EvaluationDocument, Sample
from posologist.core.genotype import Versions
from posologist.knowledge.model_check import check_model
from posologist.knowledge.models import PkModel
from posologist.study.kinetics import Label, document_of, levels_predicted_by, predictor
from posologist.twin.events import EventTable, Record
from posologist.twin.levels import is_below, is_level, levels_at
from posologist.twin.map import MapResult, map_estimates

Array = npt.NDArray[np.float64]

_STEPS = 1000
_CLOSE = 3e-4  # largest change of a step, in logarithms of parameters and in SDs of random effects, that ends it
_FEWEST = 3  # patients that a population can be estimated from


@dataclass(frozen=True)
class Population:
    """A population estimated from patients.

    `model` states it, without the addition for its own uncertainty; `unused` are patients for whom no estimate was
    found; `converged` is false where the last step still moved something.
    """

    model: PkModel
    patients: int
    steps: int
    converged: bool
    unused: tuple[str, ...] = ()

    @property
    def for_another(self) -> PkModel:
        """The model for a patient who is not one of them: omega (1 + 1/m)."""
        more = 1.0 + 1.0 / self.patients
        return _changed(self.model, omega=tuple(tuple(more * value for value in row) for row in self.model.omega))


class _Numbers(NamedTuple):
    """What is estimated: shift of the logarithms of the parameters, omega, and factor of the error's SD."""

    shift: Array
    omega: Array
    size: float


def evaluate_left_out(
    structure: PkModel,
    tables: Sequence[EventTable],
    *,
    versions: Versions,
    at_once: int = 1,
    label: Label = "real patients",
    seed: int = 0,
    draws: int = 1000,
    n_resamples: int = 2000,
    findings: Sequence[str] = (),
) -> EvaluationDocument:
    """Predictions of every patient's levels by the population of other patients, against what was measured.

    Parameters
    ----------
    structure
        Model whose form is used and whose numbers are estimated anew whenever patients are left out.
    at_once
        How many patients are left out at a time: more is faster, and learns from fewer.
    tables, versions, label, seed, draws, n_resamples, findings
        As in `evaluate_kinetics`.

    Raises
    ------
    InputError
        As `evaluate_kinetics` and `population_of`.
    """
    populations = populations_without(structure, tables, at_once=at_once)
    pairs = [(population.for_another, table) for population, table in zip(populations, tables, strict=True)]
    found = levels_predicted_by(pairs, seed=seed, draws=draws)
    split = "leave one patient out" if at_once == 1 else f"leave {at_once} patients out at a time"
    learned = max(population.patients + len(population.unused) for population in populations)
    said = (
        f"{split}: each patient is predicted by a population estimated from {learned} other patients of the same "
        "data; compartments, covariates and form of the error were chosen for these data, so this is no external check",
        *_complaints(populations, tables),
    )
    return document_of(
        structure,
        found,
        train=Sample(n=learned),
        versions=versions,
        label=label,
        seed=seed,
        n_resamples=n_resamples,
        findings=(*findings, *said),
    ).model_copy(update={"split": split})


def populations_without(
    structure: PkModel, tables: Sequence[EventTable], *, at_once: int = 1
) -> tuple[Population, ...]:
    """For each patient, in order, a population of patients without this one.

    With more than one left out `at_once` neighbours in the data part, as they may have had the same dose.
    """
    n_groups = math.ceil(len(tables) / at_once)
    found = [
        population_of(structure, [table for n, table in enumerate(tables) if n % n_groups != group])
        for group in range(n_groups)
    ]
    return tuple(found[n % n_groups] for n in range(len(tables)))


def population_of(structure: PkModel, tables: Sequence[EventTable]) -> Population:
    """The population that these patients are drawn from.

    Levels that are not positive are not learned from; one below its limit of quantification is (M3).

    Raises
    ------
    InputError
        If there are fewer than 3 patients with a level, if fewer have an estimate, or if the structure is not one
        that is estimated here: log-normal effects, none between occasions, one output.
    """
    begin = _complete(structure)
    usable = [clean for table in tables if levels_at(clean := _positive(table))]
    numbers = _Numbers(np.zeros(len(begin.random)), np.asarray(begin.omega, dtype=np.float64), 1.0)
    step, moved = 0, math.inf
    failed: tuple[str, ...] = ()
    while moved > _CLOSE and step < _STEPS:
        estimates, failed = _estimates(_stated(begin, numbers), usable)
        after = _updated(numbers, estimates, begin)
        numbers, moved, step = after, _distance(numbers, after), step + 1
    return Population(_stated(begin, numbers), len(usable) - len(failed), step, moved <= _CLOSE, failed)


def _complete(structure: PkModel) -> PkModel:
    """The structure as a model to begin with; one that nothing can be estimated for is refused."""
    wrong = [
        what
        for what, is_wrong in (
            ("no random effects", not structure.random),
            ("random effects that are not log-normal", any(e.kind != "log-normal" for e in structure.random)),
            ("variability between occasions", bool(structure.occasion)),
            ("several outputs", len(structure.residual) > 1),
        )
        if is_wrong
    ]
    if wrong:
        raise InputError(
            f"no population is estimated for {structure.id}, which has {' and '.join(wrong)}",
            where="--model",
            hint="see docs/kinetics-validation.md for what a structure is",
        )
    begin = _changed(structure, missing=())
    check_model(begin, structure.id)
    return begin


def _positive(table: EventTable) -> EventTable:
    records = tuple(replace(r, dv=None, mdv=1) if _is_empty(r) else r for r in table.records)
    return EventTable(table.subject, records)


def _is_empty(record: Record) -> bool:
    return is_level(record) and not is_below(record) and not (record.dv is not None and record.dv > 0)


def _estimates(model: PkModel, tables: Sequence[EventTable]) -> tuple[list[MapResult], tuple[str, ...]]:
    results = map_estimates(model, tables, predict=predictor(model))
    found = [result for result in results if result.converged]
    if len(found) < _FEWEST:
        raise InputError(
            f"{len(found)} patients are too few to estimate a population from",
            where="--data",
            hint=f"give at least {_FEWEST} with levels, besides the one who is left out",
        )
    return found, tuple(result.subject for result in results if not result.converged)


def _updated(numbers: _Numbers, estimates: Sequence[MapResult], structure: PkModel) -> _Numbers:
    """The second stage."""
    etas = np.array([estimate.eta for estimate in estimates])
    covariances = np.array([estimate.covariance for estimate in estimates])
    wanted = np.asarray(structure.omega, dtype=np.float64) != 0.0
    spread = np.atleast_2d(np.cov(etas, rowvar=False, ddof=1)) + covariances.mean(axis=0)
    deviations = np.concatenate([estimate.deviations for estimate in estimates])
    seen = np.isfinite(deviations)
    m, p = etas.shape
    inverse = np.linalg.pinv(numbers.omega)
    determined = m * p - sum(float(np.trace(inverse @ own)) for own in covariances)
    left = max(float(seen.sum()) - p - (1.0 - 1.0 / m) * determined, 1.0)
    size = math.sqrt(float((deviations[seen] ** 2).sum()) / left)
    return _Numbers(numbers.shift + etas.mean(axis=0), np.where(wanted, spread, 0.0), numbers.size * size)


def _distance(before: _Numbers, after: _Numbers) -> float:
    spread = np.sqrt(np.diag(after.omega)) - np.sqrt(np.diag(before.omega))
    return float(
        max(np.abs(after.shift - before.shift).max(), np.abs(spread).max(), abs(math.log(after.size / before.size)))
    )


def _stated(structure: PkModel, numbers: _Numbers) -> PkModel:
    """The structure with these numbers."""
    factor = {e.on: math.exp(shift) for e, shift in zip(structure.random, numbers.shift, strict=True)}
    equations = {
        name: f"({text}) * {factor[name]:.17g}" if name in factor else text
        for name, text in structure.equations.items()
    }
    residual = tuple(
        r.model_copy(update={"additive": r.additive * numbers.size, "proportional": r.proportional * numbers.size})
        for r in structure.residual
    )
    omega = tuple(tuple(float(value) for value in row) for row in numbers.omega)
    return _changed(structure, equations=equations, omega=omega, residual=residual)


def _changed(model: PkModel, **changes: object) -> PkModel:
    """A copy that has read nothing of its equations yet."""
    return PkModel.model_validate({name: getattr(model, name) for name in PkModel.model_fields} | changes)


def _complaints(populations: Sequence[Population], tables: Sequence[EventTable]) -> tuple[str, ...]:
    pairs = list(zip(populations, tables, strict=True))
    slow = [table.subject for population, table in pairs if not population.converged]
    unused = [f"{', '.join(p.unused)} (for {table.subject})" for p, table in pairs if p.unused]
    found = []
    if slow:
        found.append(f"the estimation had not settled after {_STEPS} steps without subject {', '.join(slow)}")
    if unused:
        found.append(f"not learned from, since no estimate was found: subject {'; '.join(unused)}")
    return tuple(found)
