"""The posterior by importance sampling against a No-U-Turn sampler whose likelihood is written by hand.

The referee has nothing of `posologist.twin`: predictions are textbook closed forms (of a patient's own parameters),
the residual error and the probability of a level below its limit are written out, the prior is a multivariate normal
in the etas, gradients are complex steps. Of the model files it takes typical values, omega and the size of the error.

Both answers are random; they must agree within `TOLERANCE` standard errors of both together (`referee.differences`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_ndtr

from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.twin.events import EventTable, Record
from posologist.twin.map import map_estimates
from posologist.twin.posterior import posterior
from referee import differences, pairs_of, sampled
from twin_models import Effect, Error, PlainModel, diagonal, table

TOLERANCE = 4.0  # standard errors: chance passes it once in 16,000 comparisons
_DRAWS = 40_000
_EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "models"


@dataclass(frozen=True)
class Case:
    """A patient, and the model as the referee knows it.

    `parameters` makes named parameters of etas (rows, n); `levels` predicts with them, (rows, n_levels). `columns` are
    those of `Posterior.all_etas` that vary; `told` the parameters that are compared beside the etas.
    """

    model: object
    table: EventTable
    covariance: np.ndarray
    parameters: Callable
    levels: Callable
    told: tuple[str, ...]
    columns: tuple[int, ...]

    @property
    def names(self):
        return [f"eta {i}" for i in self.columns]


def _log_density(case):
    """ln of prior times likelihood, without constants, at complex etas (rows, n)."""
    (error,) = case.model.residual
    a, b = error.additive, error.proportional
    sd = {
        "additive": lambda f: a + 0.0 * f,
        "proportional": lambda f: b * f,
        "combined-sd": lambda f: a + b * f,
        "combined-variance": lambda f: np.sqrt(a * a + b * b * f * f),
    }[error.form]
    precision = np.linalg.inv(case.covariance)
    measured = [r for r in case.table.records if r.evid == 0]
    below = np.array([r.limit is not None for r in measured])
    y = np.array([r.dv if r.limit is None else r.limit for r in measured])

    def log_density(etas):
        f = case.levels(case.parameters(etas))
        s = sd(f)
        u = (y - f) / s
        terms = -0.5 * u * u - np.log(s)
        if below.any():
            terms[:, below] = log_ndtr(u[:, below])
        return terms.sum(axis=1) - 0.5 * ((etas @ precision) * etas).sum(axis=1)

    return log_density


def _column(x):
    return np.asarray(x)[..., None]


def _doses(rows):
    """(time, amount, duration) of every dose."""
    return [
        (r.time + k * r.ii, r.amt, r.amt / r.rate if r.rate else 0.0)
        for r in rows.records if r.evid == 1 for k in range(r.addl + 1)
    ]  # fmt: skip


def _sampled_at(rows):
    return np.array([r.time for r in rows.records if r.evid == 0])


def _after_oral_doses(rows):
    """Bateman's function, summed over the doses, for parameters CL, V1, KA and, where they are there, F and LAG."""
    doses, times = _doses(rows), _sampled_at(rows)

    def levels(p):
        k, ka = _column(p["CL"] / p["V1"]), _column(p["KA"])
        total = 0.0
        for start, amount, _ in doses:
            t = np.maximum(times - start - p.get("LAG", 0.0), 0.0)
            total = total + amount * (np.exp(-k * t) - np.exp(-ka * t))
        return _column(p.get("F", 1.0) / p["V1"]) * ka / (ka - k) * total

    return levels


def _after_boluses(rows):
    """Bolus doses into one compartment."""
    doses, times = _doses(rows), _sampled_at(rows)

    def levels(p):
        k = _column(p["CL"] / p["V1"])
        return sum(a * np.exp(-k * (times - start)) * (times >= start) for start, a, _ in doses) / _column(p["V1"])

    return levels


def _after_infusions(rows):
    """Two compartments (CL, V1, Q, V2): the biexponential response to infusions."""
    doses, times = _doses(rows), _sampled_at(rows)

    def levels(p):
        k10, k12, k21 = _column(p["CL"] / p["V1"]), _column(p["Q"] / p["V1"]), _column(p["Q"] / p["V2"])
        sum_, product = k10 + k12 + k21, k10 * k21
        root = np.sqrt(sum_ * sum_ - 4.0 * product)
        alpha, beta = (sum_ + root) / 2.0, (sum_ - root) / 2.0
        total = 0.0
        for start, amount, duration in doses:
            since = np.maximum(times - start, 0.0)
            after = np.maximum(since - duration, 0.0)
            for rate, other in ((alpha, beta), (beta, alpha)):
                share = (k21 - rate) / (other - rate) / rate
                total = total + amount / duration * share * (np.exp(-rate * after) - np.exp(-rate * since))
        return total / _column(p["V1"])

    return levels


def _by_occasions(rows):
    """One compartment, bolus doses: the clearance of a record's occasion (CL1, CL2 ...) holds since the one before."""

    def levels(p):
        amount, before, found = 0.0, 0.0, []
        for r in rows.records:
            amount = amount * np.exp(-p[f"CL{r.covariates['OCC']:.0f}"] / p["V1"] * (r.time - before)) + r.amt
            before = r.time
            if r.evid == 0:
                found.append(amount / p["V1"])
        return np.stack(found, axis=-1)

    return levels


def _saturable(rows):
    """One compartment, bolus doses, Michaelis-Menten elimination.

    Between doses x + ln x falls linearly, x = C / KM, so that u = ln x solves u + exp u = L (Newton).
    """
    doses = {time: amount for time, amount, _ in _doses(rows)}

    def levels(p):
        x, before, found = 0.0 * p["KM"], 0.0, []
        for r in rows.records:
            if r.time > before:
                start = x + np.log(x) - p["VMAX"] / (p["V1"] * p["KM"]) * (r.time - before)
                u = np.where(start.real > 1.0, np.log(np.where(start.real > 1.0, start, 1.0)), start)
                for _ in range(5):
                    u = u - (u + np.exp(u) - start) / (1.0 + np.exp(u))
                x, before = np.exp(u), r.time
            if r.evid == 1:
                x = x + doses[r.time] / (p["V1"] * p["KM"])
            else:
                found.append(x * p["KM"])
        return np.stack(found, axis=-1)

    return levels


def _log_normal(typical, names):
    """Typical values of which these are multiplied by exp(eta)."""
    return lambda etas: {**typical, **{name: typical[name] * np.exp(etas[:, i]) for i, name in enumerate(names)}}


def _plain(typical, omega, residual, **structure):
    effects = tuple(Effect(name) for name in list(typical)[: len(omega)])
    return PlainModel(equations=lambda: typical, random=effects, omega=omega, residual=(residual,), **structure)


def _case(model, rows, levels, *, told=("CL", "V1"), typical=None):
    names = [effect.on for effect in model.random]
    typical = typical or model.typical({})
    return Case(
        model, rows, np.array(model.omega), _log_normal(typical, names), levels(rows), told, tuple(range(len(names)))
    )


_ORAL = {"CL": 4.0, "V1": 70.0, "KA": 1.0}


def _two_levels_by_mouth():
    omega = ((0.4, 0.1, 0.0), (0.1, 0.3, 0.1), (0.0, 0.1, 0.8))
    model = _plain(_ORAL, omega, Error("combined-sd", additive=0.2, proportional=0.1), absorption="first-order")
    rows = table("1", [(0.0, 1000.0, 0.0), (24.0, 1000.0, 0.0)], [(2.0, 4.0), (30.0, 14.0)])
    return _case(model, rows, _after_oral_doses)


def _vancomycin(*levels):
    model = load_model(MODELS_FOLDER / "vancomycin_goti2018.toml")
    doses = [(12.0 * i, 1000.0, 1000.0) for i in range(4)]
    rows = table("1", doses, levels, covariates=model.reference)
    return _case(model, rows, _after_infusions, told=("CL", "V1", "V2"), typical=model.typical(model.reference))


def _below_the_limit():
    model = load_model(_EXAMPLES / "censored_levels.toml")
    rows = table("1", [(0.0, 100.0, 0.0)], [(1.0, 3.2), (8.0, 0.4), (16.0, None)], limits={16.0: 0.1})
    return _case(model, rows, _after_boluses, typical=model.typical({}))


def _outlier():
    model = _plain(
        _ORAL, diagonal(0.2, 0.1, 0.3), Error("combined-variance", additive=0.3, proportional=0.15),
        absorption="first-order",
    )  # fmt: skip
    rows = table("1", [(0.0, 1000.0, 0.0)], [(1.0, 8.0), (6.0, 30.0), (24.0, 3.0)])
    return _case(model, rows, _after_oral_doses)


def _occasions():
    typical = {"CL": 4.0, "V1": 30.0}
    model = _plain(typical, diagonal(0.16, 0.09), Error("proportional", proportional=0.15))
    model = replace(model, occasion=diagonal(0.09, 0.0))
    rows = [
        Record(48.0 * (i - 1) + t, evid=int(dv is None), amt=0.0 if dv else 300.0, mdv=int(dv is None), dv=dv,
               covariates={"OCC": float(i)})
        for i, levels in ((1, (8.0, 1.1)), (2, (11.0, 4.0)), (3, (9.0, 0.6)))
        for t, dv in ((0.0, None), (1.0, levels[0]), (20.0, levels[1]))
    ]  # fmt: skip
    events = EventTable("1", tuple(rows))

    def parameters(etas):
        by_occasion = {f"CL{i}": 4.0 * np.exp(etas[:, 0] + etas[:, 1 + i]) for i in (1, 2, 3)}
        return {**by_occasion, "CL": by_occasion["CL3"], "V1": 30.0 * np.exp(etas[:, 1])}

    covariance = np.diag([0.16, 0.09, 0.09, 0.09, 0.09])
    return Case(model, events, covariance, parameters, _by_occasions(events), ("CL", "V1"), (0, 1, 2, 4, 6))


def _logit():
    model = load_model(_EXAMPLES / "first_order_lag.toml")
    typical = model.typical({"weight": 70.0})
    rows = table(
        "1", [(0.0, 250.0, 0.0), (12.0, 250.0, 0.0)], [(1.0, 1.2), (6.0, 1.9), (23.0, 0.5)], covariates={"weight": 70.0}
    )

    def parameters(etas):
        odds = typical["F"] / (1.0 - typical["F"]) * np.exp(etas[:, 2])
        return {**_log_normal(typical, ("CL", "KA"))(etas), "F": odds / (1.0 + odds)}

    return Case(model, rows, np.array(model.omega), parameters, _after_oral_doses(rows), ("CL", "F"), (0, 1, 2))


def _michaelis_menten():
    model = load_model(_EXAMPLES / "michaelis_menten.toml").model_copy(update={"absorption": "none"})
    doses = [(12.0 * i, 150.0, 0.0) for i in range(4)]
    rows = table("1", doses, [(11.0, 1.5), (25.0, 6.0), (47.0, 3.3)], covariates={"weight": 70.0})
    return _case(model, rows, _saturable, told=("VMAX", "KM"), typical=model.typical({"weight": 70.0}))


CASES = {
    "two levels by mouth and wide effects: far from normal": _two_levels_by_mouth,
    "vancomycin, one level: little but the prior": lambda: _vancomycin((47.5, 3.0)),
    "vancomycin, three levels: the levels against a wide prior": lambda: _vancomycin(
        (2.0, 24.0), (11.5, 9.0), (35.5, 17.0)
    ),
    "a level below the limit: only its probability is known": _below_the_limit,
    "a level far from the others: a combined error gives way": _outlier,
    "three occasions: what varies within the patient": _occasions,
    "bioavailability on the logit: an effect that is no factor": _logit,
    "Michaelis-Menten: integrated here, Lambert's function there": _michaelis_menten,
}

PLANTED = {
    "omega halved": lambda model: _changed(model, omega=_times(0.5, model.omega), occasion=_times(0.5, model.occasion)),
    "residual error doubled": lambda model: _changed(model, residual=tuple(_doubled(e) for e in model.residual)),
}


def _changed(model, **fields):
    return replace(model, **fields) if isinstance(model, PlainModel) else model.model_copy(update=fields)


def _times(factor, matrix):
    return tuple(tuple(factor * v for v in row) for row in matrix)


def _doubled(error):
    return Error(error.form, 2.0 * error.additive, 2.0 * error.proportional)


@cache
def _made(name):
    case = CASES[name]()
    return case, sampled(_log_density(case), np.sqrt(np.diag(case.covariance)))


def _posterior(model, rows):
    return posterior(model, rows, n_draws=_DRAWS, rng=np.random.default_rng(20261120))


def _quantities(case, etas, parameters):
    """Etas by name (etas in the last axis), then the parameters that are told."""
    named = {name: etas[..., i] for i, name in enumerate(case.names)}
    return named | {name: np.reshape(parameters[name], etas.shape[:-1]) for name in case.told}


def _apart(name, etas, parameters, weights):
    """Largest difference first, between the referee and weighted draws of the etas of `Posterior.all_etas`."""
    case, referee = _made(name)
    by_hand = case.parameters(referee.draws.reshape(-1, len(case.columns)))
    found = differences(
        _quantities(case, referee.draws, by_hand), _quantities(case, etas, parameters), weights, pairs_of(case.told)
    )
    return sorted(found, key=lambda difference: -difference.errors)


def _apart_from(name, found):
    case, _ = _made(name)
    return _apart(name, found.all_etas[:, case.columns], found.parameters, found.weights)


@pytest.mark.parametrize("name", CASES)
def test_the_referee_is_sound(name):
    _, referee = _made(name)

    assert referee.divergent == 0
    assert referee.worst_rhat < 1.01
    assert referee.least_effective > 2000


@pytest.mark.parametrize("name", CASES)
def test_the_estimate_is_a_summit_of_the_density_by_hand(name):
    case, _ = _made(name)
    estimate = map_estimates(case.model, [case.table])[0]
    etas = np.concatenate([estimate.eta, estimate.occasions.ravel()])[list(case.columns)]
    sd = np.sqrt(np.diag(case.covariance))

    slopes = _log_density(case)(etas + 1e-30j * np.diag(sd)).imag / 1e-30

    np.testing.assert_allclose(slopes, 0.0, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_posterior_agrees_with_the_referee(name):
    case, _ = _made(name)

    worst = _apart_from(name, _posterior(case.model, case.table))[0]

    assert worst.errors < TOLERANCE, worst


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("name", CASES)
def test_a_planted_error_is_caught(name, planted):
    case, _ = _made(name)

    worst = _apart_from(name, _posterior(PLANTED[planted](case.model), case.table))[0]

    assert worst.errors > 2.0 * TOLERANCE, worst


@pytest.mark.parametrize("name", [name for name in CASES if "far from normal" in name or "wide prior" in name])
def test_the_normal_approximation_alone_is_caught(name):
    case, _ = _made(name)
    estimate = map_estimates(case.model, [case.table])[0]
    etas = np.random.default_rng(1).multivariate_normal(estimate.eta, estimate.covariance, size=_DRAWS)

    worst = _apart(name, etas, case.parameters(etas), np.full(_DRAWS, 1.0 / _DRAWS))[0]

    assert worst.errors > 2.0 * TOLERANCE, worst


def test_a_level_below_the_limit_that_is_read_as_the_limit_is_caught():
    (name,) = (name for name in CASES if "below the limit" in name)
    case, _ = _made(name)
    rows = [r if r.limit is None else replace(r, dv=r.limit, limit=None) for r in case.table.records]

    worst = _apart_from(name, _posterior(case.model, EventTable("1", tuple(rows))))[0]

    assert worst.errors > 2.0 * TOLERANCE, worst
