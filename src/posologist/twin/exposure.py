"""Exposure by a drug's file under a regimen: steady state, curves, and how it stands to the therapeutic window.

Everything is computed from draws of possible patients, so every number has its interval: the median and the central
`settings.interval_level` of the draws. Average exposure needs clearance and bioavailability only; peak, trough and
curves need volume and absorption as well, and say so where these are not held.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from posologist.core.drug import Drug, Window
from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.recommendation import NotChecked
from posologist.core.regimen import DoseEvent, Regimen
from posologist.core.settings import Settings
from posologist.core.units import convert, dimension, is_known
from posologist.core.values import Because, DrugId, Estimate, EvidenceKey, Many, Series, Value, rounded
from posologist.twin.compartment import (
    INTRAVENOUS,
    Absorption,
    Array,
    Disposition,
    absorbed_peak_time,
    concentration,
    short_route,
    steady_state,
)
from posologist.twin.parameters import MissingKinetics
from posologist.twin.population import Draws, Prior

CURVE_HOURS = 72.0
CURVE_STEPS = 72
_MASS = frozenset({"mg", "mcg", "g"})

When = Literal["first dose", "steady state"]
Measure = Literal["auc24", "average", "trough", "peak"]


class Exposure(Value):
    """Steady-state exposure under one regimen.

    `auc24` in mg h/L, `average`, `peak` and `trough` in `unit` of concentration; peak and trough are None where the
    shape of the curve is not known. `ratio` is the AUC against that of a typical adult on the same regimen, as a fold.
    """

    auc24: Estimate
    average: Estimate
    peak: Estimate | None
    trough: Estimate | None
    ratio: Estimate | None
    toxic_probability: Estimate | None
    therapeutic_index: Estimate | None
    not_checked: Many[NotChecked] = ()
    because: Because

    def measures(self) -> dict[str, Estimate]:
        """The measures that could be told, by name."""
        held = {
            "auc24": self.auc24,
            "average": self.average,
            "peak": self.peak,
            "trough": self.trough,
            "ratio_to_typical": self.ratio,
        }
        return {name: estimate for name, estimate in held.items() if estimate is not None}


class Comparable(Value):
    """A therapeutic window brought to this model's units: bounds in `unit` of `measure`."""

    measure: Literal["auc24", "trough", "peak"]
    low: float | None
    high: float | None
    toxic_above: float | None
    unit: str
    because: EvidenceKey


def summary(values: Array, unit: str, *, level: float, because: tuple[EvidenceKey, ...]) -> Estimate:
    """Median and central interval of draws, shape (n,), as an Estimate of six significant digits."""
    low, mid, high = _quantiles(values.reshape(1, -1), level)[:, 0]
    return Estimate(value=rounded(mid), unit=unit, low=rounded(low), high=rounded(high), level=level, because=because)


def _quantiles(values: Array, level: float) -> Array:
    """Low, median and high quantiles of the last axis, shape (3, rows); linear interpolation between draws."""
    n = values.shape[-1]
    places = np.array([(1.0 - level) / 2.0, 0.5, (1.0 + level) / 2.0]) * (n - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, n - 1)
    ordered = np.sort(values, axis=-1)  # vectorised in NumPy, and faster here than a partition
    share = (places - below)[:, None]
    return np.asarray(ordered[:, below].T * (1.0 - share) + ordered[:, above].T * share)


def exposure(
    prior: Prior,
    regimen: Regimen,
    *,
    drug: Drug,
    settings: Settings,
    ledger: Ledger,
    draws: Draws | None = None,
) -> Exposure | MissingKinetics:
    """Exposure at steady state, with the probability of toxicity and the therapeutic index where a window is held.

    Parameters
    ----------
    draws
        Draws of this prior, to share between regimens; None: `settings.draws` of its own.
    """
    if refused := _not_a_mass(prior, regimen):
        return refused
    chosen = draws or prior.draw(settings.draws)
    because = (_model_key(prior, regimen, ledger),)
    level, per_mg = settings.interval_level, chosen.f / chosen.cl
    auc24 = per_mg * regimen.dose_mg * 24.0 / regimen.interval_h
    unit, factor = prior.unit, convert(1.0, "mg/L", prior.unit)
    peak, trough = _extremes(prior, chosen, regimen)
    window, unheld = comparable_window(drug, ledger)
    toxic, refusals = toxic_share(
        window, {"auc24": auc24, "peak": peak, "trough": trough}, unheld, drug, level, because
    )
    shape = [] if peak is not None else [_no_curve(prior).not_checked()]
    typical = prior.typical["F"] / prior.typical["CL"]
    return Exposure(
        auc24=summary(auc24, "h.mg/L", level=level, because=because),
        average=summary(auc24 / 24.0 * factor, unit, level=level, because=because),
        peak=None if peak is None else summary(peak * factor, unit, level=level, because=because),
        trough=None if trough is None else summary(trough * factor, unit, level=level, because=because),
        ratio=summary(per_mg / typical, "1", level=level, because=because),
        toxic_probability=toxic,
        therapeutic_index=therapeutic_index(window, level=level),
        not_checked=(*shape, *refusals, *no_index(window, drug)),
        because=because,
    )


def _model_key(prior: Prior, regimen: Regimen, ledger: Ledger) -> EvidenceKey:
    return ledger.add(
        "derived",
        f"{prior.model.compartments}-compartment model of {prior.name} under {regimen.text}, for possible patients "
        "drawn around this one",
        because=prior.because,
    )


def _not_a_mass(prior: Prior, regimen: Regimen) -> MissingKinetics | None:
    """Why a regimen's dose cannot be simulated. Raises InputError for a regimen of another drug, route or release."""
    _refuse_other(prior, str(regimen.drug), regimen.route, regimen.release)
    if regimen.unit in _MASS:
        return None
    return MissingKinetics(
        what=f"exposure to {prior.name}",
        why=f"the dose is in {regimen.unit}, which is not a mass",
        would_need="the dose in mg",
        drug=prior.drug,
    )


def _refuse_other(prior: Prior, drug: str, route: str, release: str = "") -> None:
    held = (str(prior.drug), prior.model.route, prior.model.release)
    asked = (drug, short_route(route), release or prior.model.release)
    if asked != held:
        raise InputError(
            f"the model is of {held[0]} {held[1]} {held[2]} release, the doses are of {asked[0]} {asked[1]} {asked[2]}",
            where="regimen",
            hint="make a prior for this drug, route and release",
        )


def _no_curve(prior: Prior) -> MissingKinetics:
    return MissingKinetics(
        what=f"concentration curve of {prior.name}",
        why=prior.model.no_curve or "the shape of the curve is not known",
        would_need="volume, and absorption of this form",
        drug=prior.drug,
    )


def _dose(prior: Prior, regimen: Regimen, *, time_h: float = 0.0) -> DoseEvent:
    release = prior.parameters.get("release")
    duration = release.value if release is not None else regimen.duration_h
    return DoseEvent(
        time_h=time_h, amount_mg=regimen.dose_mg, route=prior.model.route, duration_h=duration, drug=DrugId(prior.drug)
    )


def _parts(prior: Prior, draws: Draws) -> tuple[Disposition, Absorption | None] | None:
    """Disposition and absorption, or None where the shape of the curve is not known."""
    if prior.model.no_curve:
        return None
    model = draws.disposition()
    if model is None:
        return None
    if prior.model.route in INTRAVENOUS:
        return model, None
    taken_up = draws.absorption()
    if taken_up is None and "release" in prior.parameters:
        taken_up = Absorption(ka=np.ones((1, 1)), f=draws.f.reshape(-1, 1), lag=np.zeros((1, 1)))
    return None if taken_up is None else (model, taken_up)


def _extremes(prior: Prior, draws: Draws, regimen: Regimen) -> tuple[Array | None, Array | None]:
    """Peak and trough at steady state, mg/L, shape (n,); the trough is the level just before the next dose."""
    parts = _parts(prior, draws)
    if parts is None:
        return None, None
    model, taken_up = parts
    dose, interval = _dose(prior, regimen), regimen.interval_h
    trough = steady_state(model, dose, interval, [interval], absorbed=taken_up)[:, 0]
    if taken_up is None or dose.duration_h > 0:
        at = [min(dose.duration_h, interval)]
        return steady_state(model, dose, interval, at, absorbed=taken_up)[:, 0], trough
    if len(model.rates) == 1:
        times = absorbed_peak_time(model, interval, absorbed=taken_up)
    else:
        times = interval * (np.arange(1, 97).reshape(1, -1) / 96.0) ** 2  # denser early, where the peak is
    return steady_state(model, dose, interval, times, absorbed=taken_up).max(axis=1), trough


def curve(
    prior: Prior,
    regimen: Regimen,
    *,
    settings: Settings,
    ledger: Ledger,
    when: When = "first dose",
    times: Sequence[float] = (),
    draws: Draws | None = None,
) -> Series | MissingKinetics:
    """Concentration over 72 h (one interval, if longer) in 73 points, or at `times`: median and central band.

    From the first dose, or at steady state from a dose on. A loading dose of the regimen is given first.
    """
    if refused := _not_a_mass(prior, regimen):
        return refused
    chosen = draws or prior.draw(settings.draws)
    parts = _parts(prior, chosen)
    if parts is None:
        return _no_curve(prior)
    grid = np.asarray(times, dtype=float) if len(times) else grid_of(regimen.interval_h)
    values = _over_time(prior, parts, regimen, grid, when)
    return _series(prior, grid, values, settings, _model_key(prior, regimen, ledger))


def curve_after(
    prior: Prior,
    events: Sequence[DoseEvent],
    times: Sequence[float],
    *,
    settings: Settings,
    ledger: Ledger,
    draws: Draws | None = None,
) -> Series | MissingKinetics:
    """Concentration at `times` (h) after any doses of its drug and route: median and band.

    Raises InputError for doses of another drug or by another route.
    """
    for event in events:
        _refuse_other(prior, str(event.drug or prior.drug), event.route)
    chosen = draws or prior.draw(settings.draws)
    parts = _parts(prior, chosen)
    if parts is None:
        return _no_curve(prior)
    doses = [_as_modelled(prior, event) for event in events]
    grid = np.asarray(times, dtype=float)
    values = concentration(parts[0], doses, grid, absorbed=parts[1])
    given = f"{len(events)} doses of {sum(event.amount_mg for event in events):g} mg in all"
    key = ledger.add(
        "derived", f"{prior.model.compartments}-compartment model of {prior.name} after {given}", because=prior.because
    )
    return _series(prior, grid, values, settings, key)


def _as_modelled(prior: Prior, event: DoseEvent) -> DoseEvent:
    release = prior.parameters.get("release")
    duration = event.duration_h if release is None else release.value
    return event.model_copy(update={"route": prior.model.route, "duration_h": duration})


def grid_of(interval_h: float) -> Array:
    """Times (h) at which a curve is drawn."""
    return np.linspace(0.0, max(CURVE_HOURS, interval_h), CURVE_STEPS + 1)


def series_of(times: Array, values: Array, unit: str, settings: Settings, because: EvidenceKey) -> Series:
    """Median and central band of concentrations (n_draws, n_times), in `unit`."""
    low, mid, high = (_significant(row) for row in _quantiles(np.ascontiguousarray(values.T), settings.interval_level))
    return Series(
        unit=unit, because=(because,), x=tuple(np.round(times, 6).tolist()), y=mid, low=low, high=high,
        level=settings.interval_level,
    )  # fmt: skip


def _series(prior: Prior, times: Array, values: Array, settings: Settings, because: EvidenceKey) -> Series:
    return series_of(times, values * convert(1.0, "mg/L", prior.unit), prior.unit, settings, because)


def _over_time(
    prior: Prior, parts: tuple[Disposition, Absorption | None], regimen: Regimen, times: Array, when: When
) -> Array:
    model, taken_up = parts
    interval, dose = regimen.interval_h, _dose(prior, regimen)
    if when == "steady state":
        cycle, place = np.unique(np.round(np.mod(times, interval), 9), return_inverse=True)
        return steady_state(model, dose, interval, cycle, absorbed=taken_up)[:, place]
    if not _fits(times, interval):
        count = int(times.max() // interval) + 1
        doses = [_dose(prior, regimen, time_h=k * interval) for k in range(count)]
        total = concentration(model, doses, times, absorbed=taken_up)
    else:
        every = round(interval / (times[1] - times[0]))
        total = _stacked(concentration(model, [dose], times, absorbed=taken_up), every)
    if regimen.loading is not None and regimen.loading > regimen.dose:
        extra = dose.model_copy(update={"amount_mg": dose.amount_mg * (regimen.loading / regimen.dose - 1.0)})
        total = total + concentration(model, [extra], times, absorbed=taken_up)
    return total


def _fits(times: Array, interval: float) -> bool:
    """Whether the times are a regular grid from 0 on which every dose falls."""
    if times.size < 2 or times[0] != 0.0:
        return False
    step = times[1] - times[0]
    regular = bool(np.allclose(np.diff(times), step, rtol=1e-9, atol=1e-12))
    return regular and abs(interval / step - round(interval / step)) < 1e-9


def _stacked(one: Array, every: int) -> Array:
    """Superposition of one dose's curve, repeated each `every` points of its regular grid."""
    total = one.copy()
    for start in range(every, one.shape[1], every):
        total[:, start:] += one[:, : one.shape[1] - start]
    return total


def _significant(values: Array, digits: int = 6) -> tuple[float, ...]:
    """Values to `digits` significant digits, as floats."""
    sizes = np.where(values > 0, values, 1.0)
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(sizes)))
    return tuple((np.round(values * scale) / scale).tolist())


def values_of(prior: Prior, draws: Draws, regimen: Regimen, measure: Measure) -> Array | None:
    """One measure of steady state for every draw, shape (n,): mg h/L for the AUC, mg/L otherwise; None if not known."""
    if regimen.unit not in _MASS:
        return None
    if measure in ("auc24", "average"):
        auc24 = draws.f / draws.cl * regimen.dose_mg * 24.0 / regimen.interval_h
        return auc24 if measure == "auc24" else auc24 / 24.0
    peak, trough = _extremes(prior, draws, regimen)
    return peak if measure == "peak" else trough


def share_estimate(hits: npt.NDArray[np.bool_], *, level: float, because: tuple[EvidenceKey, ...]) -> Estimate:
    """Share of draws that hit, with its Wilson interval."""
    share, n = float(np.mean(hits)), hits.size
    low, high = _wilson(share, n, level)
    return Estimate(value=rounded(share), unit="1", low=low, high=high, level=level, because=because)


def comparable_window(drug: Drug, ledger: Ledger) -> tuple[Comparable | None, str]:
    """The first window that a parent-drug concentration can be held against, or None and why."""
    reason = "no window on file"
    for window in drug.window:
        measure, why = _measure(window)
        if measure is None:
            reason = why
            continue
        target = "h.mg/L" if measure == "auc24" else "mg/L"
        unit = _spelled(window.unit)
        bounds = [
            None if b is None else convert(b, unit, target) for b in (window.low, window.high, window.toxic_above)
        ]
        low, high, toxic = bounds
        text = f"{drug.name}: window {_range(window)} {window.unit}, {window.matrix or 'matrix not stated'}"
        key = ledger.add("knowledge", text, source=str(window.source), status=window.status)
        return Comparable(measure=measure, low=low, high=high, toxic_above=toxic, unit=target, because=key), ""
    return None, reason


def _range(window: Window) -> str:
    toxic = "" if window.toxic_above is None else f", toxic above {window.toxic_above:g}"
    sides = ["" if bound is None else f"{bound:g}" for bound in (window.low, window.high)]
    return f"{sides[0]} to {sides[1]}{toxic}"


def _spelled(unit: str) -> str:
    return {"mg*h/L": "h.mg/L", "mcg/mL": "ug/mL"}.get(unit, unit)


def _measure(window: Window) -> tuple[Literal["auc24", "trough", "peak"] | None, str]:
    matrix, unit = window.matrix.lower(), _spelled(window.unit)
    kind = dimension(unit) if is_known(unit) else ""
    if kind == "auc":
        daily = "auc24" in matrix.replace("-", "")
        return ("auc24", "") if daily else (None, f"its window is of {window.matrix}, not of a day")
    if kind != "mass/volume":
        return None, f"its window is in {window.unit} ({window.matrix}), which needs a model of the effect"
    if any(word in matrix for word in ("urate", "red cell", "potassium", "tsh")):
        return None, f"its window is of {window.matrix}"
    if any(word in matrix for word in ("with ", "+", "hydroxy", "mhd", "phenytoin")):
        return None, f"its window counts a metabolite ({window.matrix}), which this model does not hold"
    late = "trough" in matrix or re.search(r">=\s*\d+ h after", matrix)
    return ("trough", "") if late else ("peak", "")


def toxic_share(
    window: Comparable | None,
    values: dict[str, Array | None],
    why_not: str,
    drug: Drug,
    level: float,
    because: tuple[EvidenceKey, ...],
) -> tuple[Estimate | None, list[NotChecked]]:
    """Share of possible patients above the toxic threshold (a window that names no time is held against the peak)."""
    what = f"probability of a toxic concentration of {drug.name}"
    if window is None or window.toxic_above is None:
        why = why_not or "no toxic threshold on file"
        return None, [NotChecked(what=what, why=why, would_need="a toxic threshold", drugs=(str(drug.id),))]
    measured = values[window.measure]
    if measured is None:
        why = f"the {window.measure} is not known: the shape of the curve is not"
        return None, [NotChecked(what=what, why=why, would_need="volume and absorption", drugs=(str(drug.id),))]
    return share_estimate(measured > window.toxic_above, level=level, because=(*because, window.because)), []


def _wilson(share: float, n: int, level: float) -> tuple[float, float]:
    """Wilson interval of a share seen in n draws."""
    z = NormalDist().inv_cdf((1.0 + level) / 2.0)
    centre, width = share + z * z / (2 * n), z * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    low, high = (centre - width) / (1 + z * z / n), (centre + width) / (1 + z * z / n)
    return min(max(rounded(low), 0.0), share), max(min(rounded(high), 1.0), share)


def therapeutic_index(window: Comparable | None, *, level: float) -> Estimate | None:
    """TI = TD50 / ED50, read as the toxic threshold over the lower bound of the window; None where one is not held.

    With linear kinetics the doses for the two concentrations stand in the same ratio, so clearance cancels out.
    """
    if window is None or not window.low or window.toxic_above is None:
        return None
    value = rounded(window.toxic_above / window.low)
    return Estimate(value=value, unit="1", low=value, high=value, level=level, because=(window.because,))


def no_index(window: Comparable | None, drug: Drug) -> list[NotChecked]:
    if window is not None and window.low and window.toxic_above is not None:
        return []
    why = "no window on file" if window is None else "the window on file lacks a lower bound or a toxic threshold"
    return [
        NotChecked(
            what=f"therapeutic index of {drug.name}",
            why=why,
            would_need="an effective and a toxic concentration",
            drugs=(str(drug.id),),
        )
    ]
