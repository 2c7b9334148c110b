"""Closed forms of linear compartment models: concentration after any doses, once or at steady state.

A mammillary model with one, two or three compartments answers a unit dose into the central compartment with a
sum of exponentials, `sum_j weight_j exp(-rate_j t)` (1/L). Every function here is that sum convolved with the
input: bolus, constant rate (infusion, zero-order absorption) or first-order absorption with bioavailability and
lag. Parameters are arrays of shape (n_draws,), times of shape (n_times,), concentrations (n_draws, n_times) in mg/L.

The forms are written without differences of nearly equal exponentials, so that ka = ke, a slow elimination over
a short interval, or a very short infusion keep their digits.

References
----------
gibaldi-1982, chapters 1-3 (exponential sums and their convolution with zero- and first-order input)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError, NumericsError
from posologist.core.regimen import DoseEvent

Array = npt.NDArray[np.float64]

INTRAVENOUS = frozenset({"iv", "intravenous"})
_ROUTES = {"intravenous": "iv", "subcutaneous": "sc", "intramuscular": "im", "po": "oral", "by mouth": "oral"}


def short_route(route: str) -> str:
    """One spelling for each route: "iv", "oral", "sc", "im"; any other as it is."""
    return _ROUTES.get(route.strip().lower(), route.strip().lower())


@dataclass(frozen=True)
class Disposition:
    """Response to a unit bolus: sum_j weights[j] exp(-rates[j] t); arrays (n_draws, 1), rates 1/h, weights 1/L."""

    rates: tuple[Array, ...]
    weights: tuple[Array, ...]


@dataclass(frozen=True)
class Absorption:
    """First-order input: `ka` 1/h, bioavailable fraction `f`, `lag` h; each array (n_draws, 1)."""

    ka: Array
    f: Array
    lag: Array


def column(value: npt.ArrayLike) -> Array:
    """Numbers or an array (n_draws,) as an array (n_draws, 1)."""
    return np.asarray(value, dtype=np.float64).reshape(-1, 1)


def absorption(ka: npt.ArrayLike, f: npt.ArrayLike = 1.0, lag: npt.ArrayLike = 0.0) -> Absorption:
    """First-order absorption with rate `ka` (1/h), bioavailable fraction `f` and lag (h).

    Raises
    ------
    NumericsError
        If a rate is not positive, or a fraction or lag is negative.
    """
    if np.any(~(column(ka) > 0)) or np.any(~(column(f) >= 0)) or np.any(~(column(lag) >= 0)):
        raise NumericsError("absorption needs ka > 0, F >= 0 and lag >= 0", hint="check the model's parameters")
    return Absorption(ka=column(ka), f=column(f), lag=column(lag))


def disposition(
    cl: npt.ArrayLike,
    v1: npt.ArrayLike,
    *,
    peripheral: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]] = (),
) -> Disposition:
    """Disposition of a model with clearance `cl` (L/h), central volume `v1` (L) and peripheral (Q L/h, V L) pairs.

    Raises
    ------
    NumericsError
        If a clearance or volume is not positive, or there are more than two peripheral compartments.
    """
    cl, v1 = column(cl), column(v1)
    pairs = [(column(q), column(v)) for q, v in peripheral]
    if any(np.any(~(value > 0)) for value in (cl, v1, *(x for pair in pairs for x in pair))):
        raise NumericsError("clearances and volumes must be positive", hint="check the model's parameters")
    if len(pairs) > 2:
        raise NumericsError("more than three compartments have no closed form here", hint="use at most two pairs")
    k10 = cl / v1
    k_out = [q / v1 for q, _ in pairs]
    k_back = [q / v for q, v in pairs]
    if not pairs:
        return Disposition(rates=(k10,), weights=(1.0 / v1,))
    rates = _two_rates(k10, k_out[0], k_back[0]) if len(pairs) == 1 else _three_rates(k10, k_out, k_back)
    return Disposition(rates=rates, weights=tuple(_share(rate, k_out, k_back) / v1 for rate in rates))


def _two_rates(k10: Array, k12: Array, k21: Array) -> tuple[Array, ...]:
    difference = k10 + k12 - k21
    root = np.sqrt(difference**2 + 4.0 * k12 * k21)
    alpha = (k10 + k12 + k21 + root) / 2.0
    return alpha, k10 * k21 / alpha  # the product of the rates is k10 k21: no cancellation in the slow one


def _three_rates(k10: Array, k_out: list[Array], k_back: list[Array]) -> tuple[Array, ...]:
    (k12, k13), (k21, k31) = k_out, k_back
    a2 = k10 + k12 + k13 + k21 + k31
    a1 = k10 * k21 + k10 * k31 + k21 * k31 + k12 * k31 + k13 * k21
    a0 = k10 * k21 * k31
    p, q = a1 - a2**2 / 3.0, a2 * a1 / 3.0 - 2.0 * a2**3 / 27.0 - a0
    scale = np.sqrt(np.maximum(-p / 3.0, 0.0))
    cosine = np.clip(-q / np.where(scale > 0, 2.0 * scale**3, 1.0), -1.0, 1.0)
    fast = a2 / 3.0 + 2.0 * scale * np.cos(np.arccos(cosine) / 3.0)
    for _ in range(3):  # polish: the trigonometric root loses digits where rates are far apart
        value = ((fast - a2) * fast + a1) * fast - a0
        slope = (3.0 * fast - 2.0 * a2) * fast + a1
        fast = fast - value / np.where(slope == 0, 1.0, slope)
    product = a0 / fast
    total = (a1 - product) / fast
    root = np.sqrt(np.maximum(total**2 - 4.0 * product, 0.0))
    middle = (total + root) / 2.0
    return fast, middle, product / middle


def _share(rate: Array, k_out: list[Array], k_back: list[Array]) -> Array:
    """Part of a unit bolus that leaves with this rate: 1 / (1 + sum_i k1i ki1 / (ki1 - rate)^2)."""
    total = np.ones_like(rate)
    with np.errstate(divide="ignore", over="ignore"):
        for out, back in zip(k_out, k_back, strict=True):
            total = total + out * back / (back - rate) ** 2
    return 1.0 / total


def _divided(rate: Array, ka: Array, t: Array) -> Array:
    """(exp(-rate t) - exp(-ka t)) / (ka - rate), with its limit t exp(-rate t) where the two meet; t >= 0."""
    x = np.abs(ka - rate) * t
    ratio = np.where(x > 0, -np.expm1(-x) / np.where(x > 0, x, 1.0), 1.0)
    return t * np.exp(-np.minimum(rate, ka) * t) * ratio


def _since(times: npt.ArrayLike) -> Array:
    """Times of all draws as (1, n_times), or of each draw as given, (n_draws, n_times)."""
    t = np.asarray(times, dtype=np.float64)
    return t if t.ndim == 2 else t.reshape(1, -1)


def after_bolus(model: Disposition, dose_mg: float, times: npt.ArrayLike) -> Array:
    """Concentration (mg/L) at `times` (h) after one bolus into the central compartment; 0 before it."""
    t = _since(times)
    later = np.maximum(t, 0.0)
    total = sum(w * np.exp(-rate * later) for rate, w in zip(model.rates, model.weights, strict=True))
    return np.where(t >= 0, dose_mg * total, 0.0)


def after_infusion(model: Disposition, dose_mg: float, duration_h: float | Array, times: npt.ArrayLike) -> Array:
    """Concentration (mg/L) at `times` (h) after the start of one infusion of `duration_h` (h, > 0).

    Durations may differ between times: an array that broadcasts with them.
    """
    return _at_constant_rate(model, dose_mg, duration_h, np.maximum(_since(times), 0.0))


def _at_constant_rate(model: Disposition, dose_mg: float, duration_h: float | Array, t: Array) -> Array:
    running, rest = np.minimum(t, duration_h), np.maximum(t - duration_h, 0.0)
    total = sum(
        w / rate * -np.expm1(-rate * running) * np.exp(-rate * rest)
        for rate, w in zip(model.rates, model.weights, strict=True)
    )
    return np.asarray(dose_mg / duration_h * total)


def after_absorbed(model: Disposition, dose_mg: float, times: npt.ArrayLike, *, absorbed: Absorption) -> Array:
    """Concentration (mg/L) at `times` (h) after one dose taken up by first-order absorption."""
    t = np.maximum(_since(times) - absorbed.lag, 0.0)
    total = sum(w * _divided(rate, absorbed.ka, t) for rate, w in zip(model.rates, model.weights, strict=True))
    return dose_mg * absorbed.f * absorbed.ka * total


def bolus_steady_state(model: Disposition, dose_mg: float, interval_h: float, times: npt.ArrayLike) -> Array:
    """Concentration (mg/L) at `times` (h, >= 0) after the last of endlessly many boluses, one every `interval_h`."""
    t = _since(times)
    total = sum(
        w * np.exp(-rate * t) / -np.expm1(-rate * interval_h)
        for rate, w in zip(model.rates, model.weights, strict=True)
    )
    return np.asarray(dose_mg * total)


def infusion_steady_state(
    model: Disposition, dose_mg: float, duration_h: float, interval_h: float, times: npt.ArrayLike
) -> Array:
    """As `bolus_steady_state`, each dose infused over `duration_h`; longer than the interval, they overlap."""
    t = _since(times)
    running, rest = np.minimum(t, duration_h), np.maximum(t - duration_h, 0.0)
    whole = int(np.ceil(duration_h / interval_h)) - 1  # earlier infusions that still run when the last one starts
    overlapping = sum(
        after_infusion(model, dose_mg, duration_h, t[0] + back * interval_h) for back in range(1, whole + 1)
    )
    first_ended = (whole + 1) * interval_h - duration_h  # age of the youngest ended infusion when the last one starts
    total = sum(
        w
        / rate
        * (
            -np.expm1(-rate * running) * np.exp(-rate * rest)
            + np.exp(-rate * (t + first_ended)) * np.expm1(-rate * duration_h) / np.expm1(-rate * interval_h)
        )
        for rate, w in zip(model.rates, model.weights, strict=True)
    )
    return np.asarray(dose_mg / duration_h * total + overlapping)


def absorbed_steady_state(
    model: Disposition, dose_mg: float, interval_h: float, times: npt.ArrayLike, *, absorbed: Absorption
) -> Array:
    """As `bolus_steady_state`, each dose absorbed by first order; until the lag ends, earlier doses show."""
    shifted = _since(times) - absorbed.lag
    t = np.where(shifted < 0, shifted + interval_h * np.ceil(-shifted / interval_h), shifted)
    inside, ka = t <= interval_h, absorbed.ka
    rest = np.abs(interval_h - t)
    total = np.zeros(())
    for rate, w in zip(model.rates, model.weights, strict=True):
        both = rate + ka
        tail = np.where(inside, np.exp(-both * t), -np.exp(-both * interval_h)) * _divided(rate, ka, rest)
        cycles = np.expm1(-rate * interval_h) * np.expm1(-ka * interval_h)
        total = total + w * (_divided(rate, ka, t) + tail) / cycles
    return np.asarray(dose_mg * absorbed.f * ka * total)


def absorbed_peak_time(model: Disposition, interval_h: float, *, absorbed: Absorption) -> Array:
    """Time of the steady-state peak (h after the dose), shape (n_draws, 1), of a one-compartment model.

    ln(ka (1 - exp(-k tau)) / (k (1 - exp(-ka tau)))) / (ka - k), after the lag.

    Raises
    ------
    NumericsError
        If the model has more than one compartment: its peak has no closed form.
    """
    if len(model.rates) != 1:
        raise NumericsError("the peak time of several compartments has no closed form", hint="evaluate the curve")
    (k,) = model.rates
    ka = np.where(np.abs(absorbed.ka - k) < 1e-6 * k, k * (1.0 + 1e-6), absorbed.ka)  # the peak is flat in ka there
    ratio = ka * np.expm1(-k * interval_h) / (k * np.expm1(-ka * interval_h))
    return np.asarray(np.clip(np.log(ratio) / (ka - k), 0.0, interval_h) + absorbed.lag)


def concentration(
    model: Disposition, doses: Sequence[DoseEvent], times: npt.ArrayLike, *, absorbed: Absorption | None = None
) -> Array:
    """Concentration (mg/L) at `times` (h) after any doses, by superposition.

    Intravenous doses enter the central compartment (over `duration_h` when it is > 0); any other route is
    absorbed by first order, or at constant rate over `duration_h` when it is > 0, with bioavailability and lag.

    Raises
    ------
    InputError
        If a dose is absorbed and no absorption is given.
    """
    t = np.asarray(times, dtype=np.float64)
    total = np.zeros((model.rates[0].shape[0], t.size))
    for dose in doses:
        total = total + _one_dose(model, dose, t - dose.time_h, absorbed)
    return total


def _one_dose(model: Disposition, dose: DoseEvent, since: Array, absorbed: Absorption | None) -> Array:
    if dose.route in INTRAVENOUS:
        if dose.duration_h > 0:
            return after_infusion(model, dose.amount_mg, dose.duration_h, since)
        return after_bolus(model, dose.amount_mg, since)
    taken_up = _needed(absorbed, dose)
    if dose.duration_h > 0:
        shifted = np.maximum(since.reshape(1, -1) - taken_up.lag, 0.0)
        return np.asarray(taken_up.f * _at_constant_rate(model, dose.amount_mg, dose.duration_h, shifted))
    return after_absorbed(model, dose.amount_mg, since, absorbed=taken_up)


def _needed(absorbed: Absorption | None, dose: DoseEvent) -> Absorption:
    if absorbed is None:
        raise InputError(
            f"a dose given '{dose.route}' is absorbed, and the model has no absorption",
            hint="give ka and F, or an intravenous dose",
        )
    return absorbed


def steady_state(
    model: Disposition,
    dose: DoseEvent,
    interval_h: float,
    times: npt.ArrayLike,
    *,
    absorbed: Absorption | None = None,
) -> Array:
    """Concentration (mg/L) at `times` (h, >= 0) after the last of endlessly many equal doses.

    Routes are read as in `concentration`. Zero-order absorption has no lag here.

    Raises
    ------
    InputError
        If the interval is not positive, or the dose is absorbed and no absorption is given.
    """
    if not interval_h > 0:
        raise InputError(f"an interval of {interval_h} h is not possible", hint="give a positive interval")
    if dose.route in INTRAVENOUS:
        if dose.duration_h > 0:
            return infusion_steady_state(model, dose.amount_mg, dose.duration_h, interval_h, times)
        return bolus_steady_state(model, dose.amount_mg, interval_h, times)
    taken_up = _needed(absorbed, dose)
    if dose.duration_h > 0:
        return np.asarray(taken_up.f * infusion_steady_state(model, dose.amount_mg, dose.duration_h, interval_h, times))
    return absorbed_steady_state(model, dose.amount_mg, interval_h, times, absorbed=taken_up)
