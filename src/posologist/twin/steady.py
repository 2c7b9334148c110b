"""Steady states of models whose elimination may saturate: of repeated doses, and of an endless infusion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from posologist.core.errors import NumericsError
from posologist.twin.saturable import Indices, Rates, Rows
from posologist.twin.timeline import Dose

Array = npt.NDArray[np.float64]
Go = Callable[[Array, Array, Array, Rates], Array]
"""(amounts, input rates, hours of each draw, rate constants) -> amounts after those hours."""

STEADY = 1e-7  # relative tolerance of a steady state, in amounts
_NEWTON_LIMIT = 60
_LEAST = 1e-4  # part of the dose below which an amount is small
_TINY = 1e-300
_NUDGE = 1e-4  # part by which a state is moved to see how one interval answers


class Cycle:
    """One dosing interval at steady state."""

    def __init__(
        self, go: Go, rows: Rows, dose: Dose, k: Rates, *, settled: float = STEADY, least: float = _LEAST
    ) -> None:
        self.go, self.rows, self.dose, self.k = go, rows, dose, k
        self.settled, self._small = settled, np.maximum(least * dose.amount, _TINY)
        bolus = dose.duration == 0
        self.rate = np.where(bolus, 0.0, dose.amount / np.where(bolus, 1.0, dose.duration))
        self.at_once = np.where(bolus, dose.amount, 0.0)
        self.whole = np.floor(dose.duration / dose.steady)
        self.rest = dose.duration - self.whole * dose.steady

    def flow(self, amounts: Array, hours: Array, draws: Indices) -> Array:
        """Amounts of these draws `hours` (0 to the interval) after an arrival, from those just before it."""
        row, k = self.dose.row, self.k.of(draws)
        base, rest = (self.whole * self.rate)[draws], self.rest[draws]
        inputs = np.zeros_like(amounts)
        after = amounts.copy()
        after[row] += np.where(hours > 0, self.at_once[draws], 0.0)
        inputs[row] = base + self.rate[draws]
        after = self.go(after, inputs, np.minimum(rest, hours), k)
        inputs[row] = base
        return self.go(after, inputs, np.maximum(hours - rest, 0.0), k)

    def until_next(self, hours: Array) -> Array:
        """Amounts at steady state, `hours` (each draw its own, less than the interval) before the next arrival."""
        every = np.arange(self.dose.amount.size)
        return self.flow(self.fixed_point(), np.where(hours > 0, self.dose.steady - hours, 0.0), every)

    def fixed_point(self) -> Array:
        """Amounts just before an arrival that one interval leaves as they are.

        Newton's method, from what an endless infusion of the same mean rate leaves; each draw until the correction
        that would follow, of this one as this one is of the last, is below the tolerance.
        """
        mean = self.dose.amount / self.dose.steady
        amounts = equilibrium(self.rows, self.dose.row, mean, self.k)
        open_draws = np.arange(mean.size)
        last = np.ones(mean.size)
        for _ in range(_NEWTON_LIMIT):
            held = amounts[:-1, open_draws]
            change = self._correction(held, open_draws)
            found = np.maximum(held + change, 0.0)
            amounts[:-1, open_draws] = found
            size = np.max(np.abs(change) / np.maximum(found, self._small[open_draws]), axis=0, initial=0.0)
            unsettled = size * np.minimum(size / last, 1.0) > self.settled
            open_draws, last = open_draws[unsettled], size[unsettled]
            if not open_draws.size:
                return amounts
        raise NumericsError(
            f"no steady state was found in {_NEWTON_LIMIT} corrections", hint="give the doses one by one, or give less"
        )

    def _correction(self, held: Array, draws: Indices) -> Array:
        """Newton's correction of the amounts (without the eliminated) of these draws."""
        tried, nudge = self.nudged(held, draws)
        copies = np.tile(draws, len(held) + 1)
        return correction(held, self.flow(tried, np.full(copies.size, self.dose.steady), copies), nudge)

    def nudged(self, held: Array, draws: Indices) -> tuple[Array, Array]:
        """Amounts of these draws, then the same with each row moved a little; and how far, (n_rows, n_draws)."""
        count, n = held.shape
        nudge = _NUDGE * np.maximum(held, np.maximum(self.dose.amount[draws], _LEAST))
        tried = np.zeros((count + 1, count + 1, n))
        tried[:count] = held[:, None]
        tried[np.arange(count), np.arange(1, count + 1)] += nudge
        return tried.reshape(count + 1, -1), nudge


def correction(held: Array, after: Array, nudge: Array) -> Array:
    """Newton's correction of amounts, from what one interval makes of them and of the nudged ones."""
    count, n = held.shape
    answers = after[:count].reshape(count, count + 1, n)
    answer = (answers[:, 1:] - answers[:, :1]) / nudge
    gap = answers[:, 0] - held
    return np.asarray(np.linalg.solve(np.eye(count) - np.moveaxis(answer, -1, 0), gap.T[..., None])[..., 0].T)


def equilibrium(rows: Rows, row: int, rate: Array | float, k: Rates) -> Array:
    """Amounts under an endless infusion of `rate`: what goes in goes out of every compartment."""
    c = rows.stages
    past = k.first_pass * rate if k.first_pass is not None and row < c else 0.0 * k.linear
    reaches = rate - past
    if np.any(beyond := (k.linear == 0) & (reaches >= k.vmax)):
        raise _no_steady_state(float(np.max(np.where(beyond, reaches, 0.0))), float(np.min(k.vmax[beyond])))
    b = k.linear * k.km + k.vmax - reaches  # central is the positive root of linear x^2 + b x = reaches km
    root = np.sqrt(b**2 + 4.0 * k.linear * reaches * k.km)
    with np.errstate(divide="ignore", invalid="ignore"):  # the form that does not subtract equal numbers
        central = np.where(b > 0, 2.0 * reaches * k.km / (b + root), (root - b) / (2.0 * k.linear))
    amounts = np.zeros((rows.count, central.size))
    amounts[c] = central
    if k.absorbed is not None:
        amounts[row:c] = rate / k.absorbed
    for n, (out, back) in enumerate(zip(k.out, k.back, strict=True), start=c + 1):
        amounts[n] = out / back * central
    if row > c:
        amounts[row] += rate / k.back[row - c - 1]
    if k.metabolite is not None:
        m, share = rows.formed, k.metabolite.share
        amounts[m] = (share * reaches + past) / k.metabolite.lost
        amounts[m + 1 : -1] = k.metabolite.out / k.metabolite.back * amounts[m]
    return amounts


def _no_steady_state(rate: float, vmax: float) -> NumericsError:
    return NumericsError(
        f"there is no steady state: {rate:g} per hour is given and at most {vmax:g} per hour is eliminated",
        hint="give less, or give the doses one by one",
    )
