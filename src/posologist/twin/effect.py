"""What a concentration or exposure does: direct effects, effect compartment, indirect response, INR, blood pressure.

Parameters are numbers or arrays (n_draws,) given as arguments; nothing about a drug is written here
(`knowledge/effects.py` holds published parameters). A course is driven by a `Curve`, the concentration of every draw
at a time, and is integrated with error control (`twin/ode.py`); times in h, results of shape (n_draws, n_times).

References
----------
holford-sheiner-1981 (direct effects), sheiner-1979 (effect compartment), dayneka-1993 (indirect response),
hamberg-2007 and hamberg-2010 (INR by two transit chains), song-2013 (blood pressure by exposure)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError, NumericsError
from posologist.core.regimen import DoseEvent
from posologist.knowledge.effects import EffectModel
from posologist.twin.compartment import Absorption, Disposition, concentration
from posologist.twin.ode import STEP_LIMIT, Rate, solve

Array = npt.NDArray[np.float64]
Number = Array | float
Curve = Callable[[float], Array]
"""Concentration of every draw, shape (n_draws,), at a time (h)."""

Indirect = Literal["production-inhibited", "loss-inhibited", "production-stimulated", "loss-stimulated"]


def curve(model: Disposition, doses: Sequence[DoseEvent], *, absorbed: Absorption | None = None) -> Curve:
    """Concentration (mg/L) of a linear model after any doses, as a function of time.

    `concentration` of `twin/compartment.py`, with doses that differ in time and amount only taken together.
    """
    ordered = sorted(doses, key=lambda dose: (dose.route, dose.duration_h, dose.time_h))
    groups = [list(group) for _, group in groupby(ordered, key=lambda dose: (dose.route, dose.duration_h))]
    alike = [
        (
            group[0].model_copy(update={"time_h": 0.0, "amount_mg": 1.0}),
            np.array([dose.time_h for dose in group]),
            np.array([dose.amount_mg for dose in group]),
        )
        for group in groups
    ]
    n_draws = np.broadcast_shapes(model.rates[0].shape, absorbed.ka.shape if absorbed else (1, 1))[0]

    def at(time: float) -> Array:
        total = np.zeros(n_draws)
        for unit, times, amounts in alike:
            given = int(np.searchsorted(times, time, side="right"))
            if given:
                total = total + concentration(model, [unit], time - times[:given], absorbed=absorbed) @ amounts[:given]
        return total

    return at


def sigmoid_emax(level: Number, *, emax: Number, ec50: Number, gamma: Number = 1.0) -> Array:
    """Effect above baseline: emax c^gamma / (ec50^gamma + c^gamma); negative concentrations count as none.

    Raises
    ------
    NumericsError
        If ec50 or gamma is not positive.
    """
    c, half, power = np.maximum(np.asarray(level, float), 0.0), np.asarray(ec50, float), np.asarray(gamma, float)
    if np.any(~(half > 0)) or np.any(~(power > 0)):
        raise NumericsError("an effect needs EC50 and gamma above 0", hint="check the parameters")
    ratio = np.where(c == 0, 1.0, c) / half
    with np.errstate(over="ignore", divide="ignore"):  # far below EC50 the power overflows, and the effect is nought
        return np.asarray(np.where(c == 0, 0.0, emax / (1.0 + ratio**-power)))


def direct(level: Number, *, e0: Number, emax: Number, ec50: Number, gamma: Number = 1.0) -> Array:
    """Direct effect: e0 + emax c^gamma / (ec50^gamma + c^gamma); gamma 1 is the plain Emax model, emax < 0 lowers."""
    return np.asarray(e0 + sigmoid_emax(level, emax=emax, ec50=ec50, gamma=gamma))


def effect_compartment(
    level: Curve,
    times: npt.ArrayLike,
    *,
    ke0: Number,
    stops: Sequence[float] = (),
    rtol: float = 1e-8,
    atol: float = 1e-10,
    limit: int = STEP_LIMIT,
) -> Array:
    """Concentration at the site of effect: dCe/dt = ke0 (C - Ce), Ce = 0 at time 0.

    Parameters
    ----------
    level
        Concentration of every draw at a time.
    times
        Ascending from 0 (h).
    ke0
        Rate of equilibration, 1/h, > 0.
    stops
        Times at which the concentration jumps or bends (doses, ends of infusions).
    rtol, atol, limit
        As in `twin/ode.py: solve`.

    Raises
    ------
    NumericsError
        If ke0 is not positive, or the integration fails.
    """
    rate = _positive(ke0, "ke0")
    start = np.zeros((1, _draws(level, rate)))
    return _first_row(lambda t, y: rate * (level(t) - y), start, times, stops, (rtol, atol, limit))


def indirect_response(
    level: Curve,
    times: npt.ArrayLike,
    *,
    kind: Indirect,
    baseline: Number,
    kout: Number,
    maximum: Number,
    half: Number,
    gamma: Number = 1.0,
    stops: Sequence[float] = (),
    rtol: float = 1e-8,
    atol: float = 1e-10,
    limit: int = STEP_LIMIT,
) -> Array:
    """Response R with dR/dt = kin - kout R, of which the drug inhibits or stimulates the production or the loss.

    Without drug R stays at the baseline: kin = kout * baseline.

    Parameters
    ----------
    level, times, stops, rtol, atol, limit
        As in `effect_compartment`.
    kind
        What the drug does; inhibition multiplies by 1 - E, stimulation by 1 + E, E = `sigmoid_emax`.
    baseline
        Response without drug, in its own unit, > 0.
    kout
        Rate of loss, 1/h, > 0.
    maximum, half, gamma
        Largest E (at most 1 where it inhibits), concentration of half of it, steepness.

    Raises
    ------
    NumericsError
        If a parameter is out of its range, or the integration fails.
    """
    out, base = _positive(kout, "kout"), _positive(baseline, "baseline")
    inhibits = kind.endswith("inhibited")
    if np.any(~(np.asarray(maximum) >= 0)) or (inhibits and np.any(np.asarray(maximum) > 1)):
        raise NumericsError("the largest effect is below 0, or inhibits by more than all", hint="give 0 to 1")
    on_production, sign = kind.startswith("production"), -1.0 if inhibits else 1.0

    def slope(time: float, response: Array) -> Array:
        factor = 1.0 + sign * sigmoid_emax(level(time), emax=maximum, ec50=half, gamma=gamma)
        made, lost = out * base, out * response
        return np.asarray(made * factor - lost if on_production else made - lost * factor)

    start = np.broadcast_to(base, (1, _draws(level, out, base, maximum, half, gamma)))
    return _first_row(slope, start, times, stops, (rtol, atol, limit))


@dataclass(frozen=True)
class InrModel:
    """How S-warfarin raises the INR: inhibited production of clotting factors, seen through two transit chains.

    Attributes
    ----------
    emax, ec50, gamma
        Inhibition of production by the concentration of S-warfarin (mg/L); emax at most 1.
    chains
        Two chains: number of stages and mean transit time (h). Each stage is left at the rate stages / time.
    base, inr_max
        INR without drug, and the most that can be added to it.
    power
        Exponent of the loss of factors.
    joined
        "product": INR = base + inr_max (1 - A B)^power (hamberg-2007); "mean": (1 - (A + B) / 2)^power (hamberg-2010).
        A and B are the last stages, 1 without drug.
    """

    emax: Number
    ec50: Number
    gamma: Number
    chains: tuple[tuple[int, Number], tuple[int, Number]]
    base: Number
    inr_max: Number
    power: Number
    joined: Literal["product", "mean"]

    def inr(self, first: Array, second: Array) -> Array:
        """INR from the activity at the end of the two chains."""
        left = first * second if self.joined == "product" else (first + second) / 2.0
        return np.asarray(self.base + self.inr_max * np.maximum(1.0 - left, 0.0) ** np.asarray(self.power))

    def at_constant(self, level: Number) -> Array:
        """INR that a constant concentration of S-warfarin (mg/L) leads to."""
        left = 1.0 - sigmoid_emax(level, emax=self.emax, ec50=self.ec50, gamma=self.gamma)
        return self.inr(left, left)


def inr_model(effect: EffectModel, covariates: Mapping[str, float]) -> InrModel:
    """A published INR model for a patient with these covariates (as the model names them).

    Raises
    ------
    InputError
        If it is no INR model, or a covariate is missing or unknown.
    """
    if effect.structure == "pressure":
        raise InputError(f"{effect.id} is no model of the INR", hint="use one of knowledge/data/effects")
    return inr_model_of(effect, effect.typical(covariates))


def inr_model_of(effect: EffectModel, parameters: Mapping[str, Number]) -> InrModel:
    """The INR model with these parameters of its structure, numbers or arrays (n_draws,)."""
    p = parameters
    stages = [round(float(np.ravel(p[name])[0])) for name in ("STAGES1", "STAGES2")]
    return InrModel(
        emax=p["EMAX"],
        ec50=p["EC50"],
        gamma=p["GAMMA"],
        chains=((stages[0], p["MTT1"]), (stages[1], p["MTT2"])),
        base=p["BASE"],
        inr_max=p["INRMAX"],
        power=p["POWER"],
        joined="product" if effect.structure == "inr-product" else "mean",
    )


def inr_course(
    model: InrModel,
    level: Curve,
    times: npt.ArrayLike,
    *,
    stops: Sequence[float] = (),
    rtol: float = 1e-8,
    atol: float = 1e-10,
    limit: int = STEP_LIMIT,
) -> Array:
    """INR at `times` (h) from a state without drug at time 0.

    Parameters
    ----------
    model
        Parameters of the effect.
    level
        Concentration of S-warfarin (mg/L) of every draw; racemic warfarin is one half S-warfarin.
    times, stops, rtol, atol, limit
        As in `effect_compartment`.

    Raises
    ------
    NumericsError
        If a parameter is out of its range, or the integration fails.
    """
    (n1, time1), (n2, time2) = model.chains
    if n1 < 1 or n2 < 1 or np.any(~(np.asarray(model.emax) >= 0)) or np.any(np.asarray(model.emax) > 1):
        raise NumericsError("an INR model needs stages, and an emax of 0 to 1", hint="check the parameters")
    n_draws = _draws(level, model.emax, model.ec50, model.gamma, time1, time2, model.base, model.inr_max, model.power)
    leaving = np.empty((n1 + n2, n_draws))
    leaving[:n1], leaving[n1:] = n1 / _positive(time1, "a transit time"), n2 / _positive(time2, "a transit time")

    def slope(time: float, factors: Array) -> Array:
        entering = np.empty_like(factors)
        entering[1:] = factors[:-1]
        entering[0] = entering[n1] = 1.0 - sigmoid_emax(
            level(time), emax=model.emax, ec50=model.ec50, gamma=model.gamma
        )
        return np.asarray(leaving * (entering - factors))

    found = solve(slope, np.ones_like(leaving), times, stops=stops, rtol=rtol, atol=atol, limit=limit).states
    return model.inr(found[:, n1 - 1], found[:, -1]).T


@dataclass(frozen=True)
class PressureModel:
    """Change of blood pressure (mmHg, negative lowers) by steady-state exposure to one or several drugs.

    Attributes
    ----------
    placebo
        Change without drug.
    saturable
        Drug -> largest change, and the exposure (ng h/mL) of half of it.
    linear
        Drug -> change per 1000 ng h/mL.
    together
        Drugs that act together -> factor of the product of what each does alone (1/mmHg for two, 1/mmHg2 for three).
    """

    placebo: Number
    saturable: Mapping[str, tuple[Number, Number]]
    linear: Mapping[str, Number]
    together: Mapping[tuple[str, ...], Number]


def pressure_model(effect: EffectModel, covariates: Mapping[str, float]) -> PressureModel:
    """A published model of blood pressure by exposure for a patient with these covariates; errors as in `inr_model`."""
    if effect.structure != "pressure":
        raise InputError(f"{effect.id} is no model of blood pressure", hint="use one of knowledge/data/effects")
    p = effect.typical(covariates)
    split = {name: tuple(name.lower().split("_")[1:]) for name in p}
    return PressureModel(
        placebo=p["PLACEBO"],
        saturable={
            drug: (p[f"EMAX_{drug.upper()}"], p[f"EAUC50_{drug.upper()}"])
            for drug in effect.drugs
            if f"EMAX_{drug.upper()}" in p
        },
        linear={drug: p[f"SLOPE_{drug.upper()}"] for drug in effect.drugs if f"SLOPE_{drug.upper()}" in p},
        together={split[name]: value for name, value in p.items() if name.startswith("JOINT_")},
    )


class PressureChange(NamedTuple):
    """Parts of the change (mmHg): placebo, each drug alone, their interaction, and the sum of all."""

    placebo: Array
    alone: dict[str, Array]
    together: Array
    total: Array


def pressure_change(model: PressureModel, exposures: Mapping[str, Number]) -> PressureChange:
    """Change of blood pressure at steady state.

    Parameters
    ----------
    model
        Parameters, for this patient's covariates.
    exposures
        AUC over a dosing interval of 24 h at steady state (ng h/mL) of each drug taken, dose / (CL/F); a drug that is
        left out is not taken.

    Raises
    ------
    InputError
        If a drug is not in the model or an exposure is negative.
    """
    unknown = sorted(set(exposures) - set(model.saturable) - set(model.linear))
    if unknown:
        raise InputError(
            f"the model knows nothing of {', '.join(unknown)}",
            hint=f"use {', '.join(sorted({*model.saturable, *model.linear}))}",
        )
    if any(np.any(~(np.asarray(auc) >= 0)) for auc in exposures.values()):
        raise InputError("an exposure is negative or no number", hint="give the AUC in ng h/mL")
    alone = {
        drug: sigmoid_emax(auc, emax=model.saturable[drug][0], ec50=model.saturable[drug][1])
        if drug in model.saturable
        else np.asarray(model.linear[drug] * np.asarray(auc) / 1000.0)
        for drug, auc in exposures.items()
    }
    joint = np.zeros(())
    for drugs, factor in model.together.items():
        if all(drug in alone for drug in drugs):
            joint = joint + factor * np.prod(np.broadcast_arrays(*(alone[drug] for drug in drugs)), axis=0)
    placebo = np.asarray(model.placebo, dtype=np.float64)
    total = placebo + sum(alone.values(), start=np.zeros(())) + joint
    return PressureChange(placebo=placebo, alone=alone, together=np.asarray(joint), total=np.asarray(total))


def _positive(value: Number, name: str) -> Array:
    found = np.asarray(value, dtype=np.float64)
    if not np.all(np.isfinite(found)) or np.any(~(found > 0)):
        raise NumericsError(f"{name} must be positive", hint="check the parameters")
    return found


def _draws(level: Curve, *parameters: Number) -> int:
    return int(np.broadcast_shapes(np.shape(level(0.0)), *(np.shape(p) for p in parameters), (1,))[0])


def _first_row(
    slope: Rate, start: Array, times: npt.ArrayLike, stops: Sequence[float], tolerance: tuple[float, float, int]
) -> Array:
    rtol, atol, limit = tolerance
    return solve(slope, start, times, stops=stops, rtol=rtol, atol=atol, limit=limit).states[:, 0].T
