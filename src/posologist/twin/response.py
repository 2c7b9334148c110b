"""Numbers behind a dose for a response: the INR of possible patients under a regimen, and how regimens compare.

Kinetics and effect are joined into one population model (`joined`), so that covariates, random effects and the
posterior are those of every other model. The transit chains of the INR are linear: the activity that has been lost at
their end is the inhibition so far, weighted by the density of the transit time. The weights depend on times only, so
one matrix product gives the INR of all draws at all times.

References
----------
hamberg-2010 (chains and INR); the density of a chain of n equal stages is that of Erlang.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from posologist.core.errors import NumericsError
from posologist.core.settings import Settings
from posologist.knowledge.effects import EffectModel
from posologist.knowledge.models import PkModel
from posologist.twin.effect import InrModel, inr_model_of, sigmoid_emax
from posologist.twin.events import EventTable, Record
from posologist.twin.goals import Goal, levels_after
from posologist.twin.individual import Array, factor_of, individual, typical_values
from posologist.twin.levels import levels_at
from posologist.twin.offers import EQUAL, Offer
from posologist.twin.posterior import posterior, resampled_rows
from posologist.twin.randomness import generator_for, normal_draws
from posologist.twin.residual import Flags
from posologist.twin.twin import People

INR_UNIT = "{INR}"
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)
_AFTER_DOSE_H = (0.5, 2.0, 6.0)  # panels of the quadrature end here: a concentration bends after a dose
_LONGEST_H = 12.0
_MEMORY = 12.0  # mean transit times after which what entered a chain has left it, to 1e-12; a dose counts twice as long
_POSTERIOR_DRAWS = 1000

Parameters = Mapping[str, Array]


def joined(kinetics: PkModel, effect: EffectModel) -> PkModel:
    """One population model of an INR: what the kinetics need, and what the effect needs, is needed of the patient.

    How patients differ and how a measurement scatters are those of the effect model; of the kinetics the typical
    parameters are taken, so that a file without its own variability serves.
    """
    known = {covariate.name for covariate in kinetics.covariates}
    return PkModel(
        **{name: getattr(kinetics, name) for name in PkModel.model_fields}
        | {
            "id": effect.id,
            "title": effect.title,
            "missing": (),
            "concentration_unit": INR_UNIT,
            "covariates": (*kinetics.covariates, *(c for c in effect.covariates if c.name not in known)),
            "parameters": (*kinetics.parameters, *effect.parameters),
            "equations": {**kinetics.equations, **effect.equations},
            "random": effect.random,
            "omega": effect.omega,
            "variability": effect.variability,
            "residual": effect.residual,
            "targets": (),
            "toxicity": effect.toxicity,
            "limits": {},
            "population": effect.population,
            "citations": (*kinetics.citations, *effect.citations),
        }
    )


@dataclass(frozen=True)
class Plan:
    """Instants of the quadrature and, for each chain, their weights (n_times, n_nodes) for the times asked for."""

    doses: tuple[Record, ...]
    nodes: Array
    chains: tuple[Array, Array]


def plan_of(model: InrModel, doses: Sequence[Record], times: Array) -> Plan:
    """How the INR at `times` (h) comes from the inhibition before them.

    Raises
    ------
    NumericsError
        If draws differ in a transit time: their chains have no common weights.
    """
    asked = np.asarray(times, dtype=np.float64)
    last = float(asked.max(initial=0.0))
    memory = _MEMORY * max(_common(mean) for _, mean in model.chains)
    start = max(0.0, float(asked[asked > 0].min(initial=last)) - memory)
    edges = {float(t) for t in asked if t > 0} | {start}
    given = tuple(dose for dose in doses if start - memory <= dose.time < last)
    for dose in given:
        edges |= {t for t in (dose.time, *(dose.time + after for after in _AFTER_DOSE_H)) if start <= t < last}
    nodes, weights = _quadrature(sorted(edges))
    chains = tuple(_weights(stages, _common(mean), nodes, weights, asked) for stages, mean in model.chains)
    return Plan(given, nodes, (chains[0], chains[1]))


def _quadrature(edges: Sequence[float]) -> tuple[Array, Array]:
    nodes, weights = [np.zeros(0)], [np.zeros(0)]
    for start, stop in pairwise(edges):
        parts = np.linspace(start, stop, math.ceil((stop - start) / _LONGEST_H) + 1)
        for low, high in pairwise(parts):
            nodes.append((low + high) / 2 + (high - low) / 2 * _NODES)
            weights.append((high - low) / 2 * _WEIGHTS)
    return np.concatenate(nodes), np.concatenate(weights)


def _common(value: Any) -> float:
    values = np.unique(np.asarray(value, dtype=np.float64))
    if len(values) != 1:
        raise NumericsError(
            "the transit times of an INR model differ between draws", hint="use a model with fixed ones"
        )
    return float(values[0])


def _weights(stages: int, mean: float, nodes: Array, weights: Array, times: Array) -> Array:
    """Weight of the inhibition at each node for the activity lost at the end of a chain."""
    rate = stages / mean
    since = np.maximum(times[:, None] - nodes, 0.0)
    density = rate**stages * since ** (stages - 1) * np.exp(-rate * since) / math.factorial(stages - 1)
    return np.asarray(np.where(nodes < times[:, None], density * weights, 0.0))


def inr_at(effect: EffectModel, model: PkModel, parameters: Parameters, plan: Plan) -> Array:
    """INR of every draw at the plan's times, (n_draws, n_times), from a state without drug at time 0."""
    inr = inr_model_of(effect, parameters)
    n_draws = len(next(iter(parameters.values())))
    level = (
        levels_after(model, parameters, plan.doses, plan.nodes) if plan.doses else np.zeros((n_draws, len(plan.nodes)))
    )
    emax, ec50, gamma = (np.reshape(p, (-1, 1)) for p in (inr.emax, inr.ec50, inr.gamma))
    inhibition = sigmoid_emax(np.maximum(level, 0.0), emax=emax, ec50=ec50, gamma=gamma)
    first, second = (1.0 - np.clip(weights @ inhibition.T, 0.0, 1.0) for weights in plan.chains)
    return np.asarray(inr.inr(first, second).T)


def inr_after(
    effect: EffectModel, model: PkModel, parameters: Parameters, doses: Sequence[Record], times: Array
) -> Array:
    """INR at `times` (h) after doses, (n_draws, n_times); as `effect.inr_course`, without integration."""
    return inr_at(effect, model, parameters, plan_of(inr_model_of(effect, parameters), doses, times))


def settled_inr(effect: EffectModel, parameters: Parameters, dose: float | Array, interval: float) -> Array:
    """INR that `dose` (dose unit) every `interval` h leads to, (n_draws,), at the average concentration.

    Over a day the concentration moves about its average; the INR of that differs by less than 1 %.
    """
    average = parameters.get("F", np.ones(1)) * dose / interval / parameters["CL"]
    return inr_model_of(effect, parameters).at_constant(average)


def predictor(effect: EffectModel, model: PkModel) -> Callable[..., Array]:
    """Prediction of the INR at the records that carry one (nan at others); the last mapping of parameters is used."""
    plans: dict[int, Plan] = {}

    def predict(_: Any, parameters: Sequence[Parameters], table: EventTable) -> Array:
        held, at = parameters[-1], levels_at(table)
        if id(table) not in plans:
            doses = [record for record in table.records if record.is_dose]
            times = np.array([table.records[i].time for i in at])
            plans[id(table)] = plan_of(inr_model_of(effect, held), doses, times)
        found = np.full((len(held["CL"]), len(table.records)), np.nan)
        found[:, list(at)] = inr_at(effect, model, held, plans[id(table)])
        return found

    return predict


def inr_people(
    effect: EffectModel, model: PkModel, table: EventTable, covariates: Mapping[str, float], settings: Settings
) -> People:
    """Possible patients: drawn from the posterior of the measured INRs, or from the population where there are none.

    Raises
    ------
    NumericsError
        If no estimate was found from the INRs.
    """
    chance = generator_for("dose", model.id, table.subject, str(settings.draws))
    if levels_at(table):
        found = posterior(model, table, n_draws=_POSTERIOR_DRAWS, rng=chance, predict=predictor(effect, model))
        rows = resampled_rows(found.weights, settings.draws, chance)
        values = {name: values[rows] for name, values in found.parameters.items()}
        return People(found.eta[rows], found.all_etas[rows], values, found)
    typical = typical_values(model, (Record(0.0, covariates=dict(covariates)),))[0]
    factor = factor_of(model.omega)
    etas = np.asarray(normal_draws(settings.draws, factor.shape[1], chance).T @ factor.T)
    return People(etas, etas, individual(model, typical, etas), None)


@dataclass(frozen=True)
class Reached:
    """A regimen with the response in each possible patient, (n_draws,).

    `known` is False where nothing is published on how patients differ in this response: then the values have no
    spread of their own, and there is no probability. `rises` is False where a larger dose lowers the response.
    """

    offer: Offer
    values: Array
    goal: Goal
    harm: Goal | None
    known: bool = True
    rises: bool = True

    @cached_property
    def middle(self) -> float:
        """Response of the middle patient."""
        return float(np.median(self.values))

    @cached_property
    def hits(self) -> Flags:
        """Whether each possible patient is inside the target."""
        return self.goal.hit(self.values)

    @cached_property
    def harmed(self) -> Flags:
        """Whether each possible patient is beyond the bound of harm; nobody where no bound is known."""
        if self.harm is None or self.harm.high is None:
            return np.zeros(len(self.values), dtype=bool)
        return np.asarray(self.values > self.harm.high)

    @property
    def fits(self) -> bool:
        """Whether the middle patient is inside the target."""
        return bool(self.goal.hit(np.array([self.middle]))[0])


def ordered(rows: Sequence[Reached], settings: Settings) -> list[Reached]:
    """Regimens that qualify, best first.

    A regimen qualifies when the middle patient is inside the target and the probability of harm is below the setting.
    The first are those with the highest probability of the target; probabilities that the draws cannot tell apart count
    as equal, and then the lower probability of harm and the smaller amount decide. Without probabilities, what lies
    nearest to the middle of the target comes first.
    """
    fit = [row for row in rows if row.fits and (not row.known or row.harmed.mean() < settings.max_toxic_probability)]
    most = max((float(row.hits.mean()) for row in fit), default=0.0)
    return sorted(fit, key=lambda row: _order(row, most))


def _order(row: Reached, most: float) -> tuple[float, ...]:
    if not row.known:
        return (abs(row.middle - row.goal.middle), row.offer.per_day)
    hit, harmed = float(row.hits.mean()), float(row.harmed.mean())
    return ((most - hit) // EQUAL, harmed // EQUAL, row.offer.per_day)


def binding(rows: Sequence[Reached], settings: Settings) -> tuple[str, Reached]:
    """What keeps every regimen from qualifying, and the nearest one that is not too harmful, if there is one."""
    limit = settings.max_toxic_probability
    safe = [row for row in rows if not row.known or row.harmed.mean() < limit]
    nearest = min(safe or rows, key=lambda row: (_distance(row), row.offer.per_day))
    if not safe:
        nearest = min(rows, key=lambda row: (float(row.harmed.mean()), row.offer.per_day))
    if any(row.fits for row in rows):
        what = "every regimen that brings the middle patient to the target has a probability of harm of"
        return f"{what} {100 * limit:g} % or more", nearest
    if rows and all(_side(row) < 0 for row in rows):
        return "the largest amount that can be given does not reach the target: the maximum dose binds", nearest
    if rows and all(_side(row) > 0 for row in rows):
        return "the smallest amount that can be given goes beyond the target", nearest
    return "the strengths on file step over the target", nearest


def _distance(row: Reached) -> float:
    low = -math.inf if row.goal.low is None else row.goal.low
    high = math.inf if row.goal.high is None else row.goal.high
    return max(low - row.middle, row.middle - high, 0.0)


def _side(row: Reached) -> int:
    """-1 where the dose does too little, 1 where it does too much."""
    up = 1 if row.rises else -1
    if row.goal.low is not None and row.middle < row.goal.low:
        return -up
    return up if row.goal.high is not None and row.middle > row.goal.high else 0
