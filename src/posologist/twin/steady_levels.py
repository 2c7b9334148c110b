"""Levels over one dosing interval at steady state where elimination saturates: what a search for a dose asks for often.

The equations are those of `twin/nonlinear.py`. All draws, and all doses of one shape, are one integration of one
interval, read by the continuous extension of its steps. The tolerance is one for dosing: levels agree with those of
`predict_nonlinear` within `ACCURACY` of the highest level of the interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from posologist.core.errors import NumericsError
from posologist.twin.events import DOSE, Record
from posologist.twin.ode import Leg, advance
from posologist.twin.saturable import Indices, Rates, Rows, Structure, places_of, rates_of, rows_of
from posologist.twin.steady import Cycle, correction
from posologist.twin.timeline import Dose, doses

Array = npt.NDArray[np.float64]

ACCURACY = 1e-4  # of the highest level of the interval; errors grow where a dose all but fills the elimination
_RTOL, _ATOL = 1e-6, 1e-8  # of the integration; the second as a part of the dose
_ROUGH = 2e-4  # tolerance of the first approach, in doses
_SETTLED, _LEAST = 1e-6, 0.1  # relative tolerance of the steady state, of amounts of at least this part of a dose
_CORRECTIONS = 20


def steady_levels(
    structure: Structure,
    parameters: Mapping[str, Array],
    amounts: Array,
    at: Array,
    *,
    interval: float,
    infusion: float,
    cmt: int,
) -> Array | None:
    """Concentrations `at` ascending hours after a dose at steady state, (n_draws, n_times); at 0 after the dose.

    None where draws have lags or durations of their own, and so no common clock: `predict_nonlinear` answers those.

    Parameters
    ----------
    parameters
        As in `nonlinear.course`, each (n_draws,).
    amounts
        Dose of each draw, (n_draws,), in the structure's unit, every `interval` h over `infusion` h (0: at once).
    at
        Within [0, interval].

    Raises
    ------
    NumericsError
        If there is no steady state, or the integration fails.
    """
    rows = rows_of(structure)
    drawn = {name: np.broadcast_to(np.asarray(v, dtype=np.float64).reshape(-1), amounts.shape) for name, v in
             parameters.items()}  # fmt: skip
    rate = 1.0 / infusion if infusion else 0.0
    record = Record(0.0, evid=DOSE, amt=1.0, rate=rate, cmt=cmt, ii=interval, ss=1, mdv=1)
    (one,) = doses((record,), (drawn,), places_of(structure, rows))
    if np.ptp(one.lag) or np.ptp(one.duration):
        return None
    scale = np.where(one.amount * amounts > 0, one.amount * amounts, 1.0)
    k = rates_of(structure, drawn)
    relative = replace(k, vmax=k.vmax / scale, km=k.km / scale)  # amounts in doses: one tolerance for all draws
    course = _Course(rows, replace(one, amount=one.amount * amounts / scale), relative)
    phase = at - one.lag[0] % interval
    phase[phase < 0] += interval
    order = np.argsort(phase, kind="stable")
    central = np.empty((at.size, amounts.size))
    central[order] = course.central(phase[order])
    return np.asarray((structure.scale * scale * central / drawn["V1"]).T)


class _Course:
    """One interval from the arrival of a dose on, at steady state, all draws on one clock."""

    def __init__(self, rows: Rows, dose: Dose, k: Rates) -> None:
        self.rows, self.dose, self.k = rows, dose, k
        self.cycle = Cycle(self._roughly, rows, dose, k, settled=_ROUGH, least=_LEAST)

    def central(self, phase: Array) -> Array:
        """Amounts in the central compartment at ascending hours after the arrival, (n_times, n_draws).

        A rough steady state first; then one exact interval from it, and the same from nudged amounts, whose
        differences correct what was seen as well as the state.
        """
        every = np.arange(self.dose.amount.size)
        held = self.cycle.fixed_point()[:-1]
        for _ in range(_CORRECTIONS):
            tried, nudge = self.cycle.nudged(held, every)
            after, seen = self._interval(tried, np.tile(every, len(held) + 1), phase)
            change = correction(held, after, nudge)
            size = np.abs(change) / np.maximum(held, _LEAST * self.dose.amount)
            if not np.max(size, initial=0.0) ** 2 > _SETTLED:
                nearby = seen.reshape(phase.size, len(held) + 1, every.size)
                moved = (nearby[:, 1:] - nearby[:, :1]) * (change / nudge)
                return np.asarray(np.maximum(nearby[:, 0] + moved.sum(axis=1), 0.0))
            held = np.maximum(held + change, 0.0)
        raise NumericsError(
            f"no steady state was found in {_CORRECTIONS} corrections", hint="give the doses one by one, or give less"
        )

    def _interval(self, before: Array, draws: Indices, phase: Array) -> tuple[Array, Array]:
        """Amounts after one interval from those just before an arrival, and the central ones in between."""
        row, cycle = self.dose.row, self.cycle
        base, k = np.zeros_like(before), self.k.of(draws)
        base[row] = (cycle.whole * cycle.rate)[draws]
        running, amounts = base.copy(), before.copy()
        running[row] += cycle.rate[draws]
        amounts[row] += cycle.at_once[draws]
        seen = np.empty((phase.size, draws.size))
        seen[phase == 0] = amounts[self.rows.stages]
        ends = float(cycle.rest[0])
        for start, stop, inputs in ((0.0, ends, running), (ends, self.dose.steady, base)):
            inside = (phase > start) & (phase <= stop)
            if stop > start:
                at = np.minimum(phase[inside] - start, stop - start)
                leg = self._leg(amounts, inputs, stop - start, k, (_RTOL, _ATOL), at)
                amounts, seen[inside] = leg.states, leg.samples[:, self.rows.stages]
        return amounts, seen

    def _roughly(self, amounts: Array, inputs: Array, hours: Array, k: Rates) -> Array:
        length = float(hours[0])
        return self._leg(amounts, inputs, length, k, (_ROUGH, _ROUGH)).states if length > 0 else amounts

    def _leg(
        self,
        amounts: Array,
        inputs: Array,
        length: float,
        k: Rates,
        tolerance: tuple[float, float],
        at: Array | None = None,
    ) -> Leg:
        rtol, atol = tolerance
        return advance(
            lambda _, y: self.rows.slope(y, inputs, k), (0.0, length), amounts, rtol=rtol, atol=atol, sampled=at
        )
