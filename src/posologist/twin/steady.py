"""Steady states of models whose elimination may saturate: of repeated doses, and of an endless infusion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from posologist.core.errors import NumericsError
from posologist.twin.saturable import Rates, Rows, tiled
from posologist.twin.timeline import Dose

Array = npt.NDArray[np.float64]
Go = Callable[[Array, Array, Array, Rates], Array]
"""(amounts, input rates, hours of each draw, rate constants) -> amounts after those hours."""

STEADY = 1e-7  # relative tolerance of a steady state, in amounts
_NEWTON_LIMIT = 60
_NUDGE = 1e-4  # part by which a state is moved to see how one interval answers


class Cycle:
    """One dosing interval at steady state."""

    def __init__(self, go: Go, rows: Rows, dose: Dose, k: Rates) -> None:
        self.go, self.rows, self.dose, self.k = go, rows, dose, k
        self.n_draws = dose.amount.size
        bolus = dose.duration == 0
        self.rate = np.where(bolus, 0.0, dose.amount / np.where(bolus, 1.0, dose.duration))
        self.at_once = np.where(bolus, dose.amount, 0.0)
        self.whole = np.floor(dose.duration / dose.steady)
        self.rest = dose.duration - self.whole * dose.steady
        mean = dose.amount / dose.steady
        if np.any((k.linear == 0) & (mean >= k.vmax)):
            raise _no_steady_state(float(np.max(mean)), k)

    def flow(self, amounts: Array, hours: Array) -> Array:
        """Amounts `hours` (0 to the interval) after an arrival, from those just before it; 0 is before it."""
        copies = amounts.shape[1] // self.n_draws
        k = tiled(self.k, copies) if copies > 1 else self.k
        base, more, rest = (np.tile(x, copies) for x in (self.whole * self.rate, self.rate, self.rest))
        upto = np.tile(hours, copies)
        inputs = np.zeros_like(amounts)
        after = amounts.copy()
        after[self.dose.row] += np.where(upto > 0, np.tile(self.at_once, copies), 0.0)
        inputs[self.dose.row] = base + more
        after = self.go(after, inputs, np.minimum(rest, upto), k)
        inputs[self.dose.row] = base
        return self.go(after, inputs, np.maximum(upto - rest, 0.0), k)

    def fixed_point(self) -> Array:
        """Amounts just before an arrival that one interval leaves as they are, by Newton's method from nothing."""
        n, held = self.n_draws, self.rows.count - 1
        interval = np.full(n, self.dose.steady)
        amounts = np.zeros((self.rows.count, n))
        for _ in range(_NEWTON_LIMIT):
            nudge = _NUDGE * np.maximum(amounts[:held], self.dose.amount)
            nudge = np.where(nudge > 0, nudge, 1.0)
            tried = np.tile(amounts, held + 1)
            tried[-1] = 0.0
            for row in range(held):
                tried[row, (row + 1) * n : (row + 2) * n] += nudge[row]
            answers = self.flow(tried, interval)[:held].reshape(held, held + 1, n)
            gap = answers[:, 0] - amounts[:held]
            answer = (answers[:, 1:] - answers[:, :1]) / nudge
            matrix = np.eye(held) - np.moveaxis(answer, -1, 0)
            change = np.linalg.solve(matrix, gap.T[..., None])[..., 0].T
            amounts[:held] = np.maximum(amounts[:held] + change, 0.0)
            if np.all(np.abs(change) <= STEADY * np.maximum(amounts[:held], STEADY * self.dose.amount)):
                return amounts
        raise NumericsError(
            f"no steady state was found in {_NEWTON_LIMIT} corrections", hint="give the doses one by one, or give less"
        )


def equilibrium(rows: Rows, row: int, rate: float, k: Rates) -> Array:
    """Amounts under an endless infusion of `rate`: what goes in goes out of every compartment."""
    if np.any(k.vmax > 0) and np.any((k.linear == 0) & (rate >= k.vmax)):
        raise _no_steady_state(rate, k)
    b = k.linear * k.km + k.vmax - rate
    central = 2.0 * rate * k.km / (b + np.sqrt(b**2 + 4.0 * k.linear * rate * k.km))
    c = rows.stages
    amounts = np.zeros((rows.count, central.size))
    amounts[c] = central
    if k.absorbed is not None:
        amounts[row:c] = rate / k.absorbed
    for n, (out, back) in enumerate(zip(k.out, k.back, strict=True), start=c + 1):
        amounts[n] = out / back * central
    if row > c:
        amounts[row] += rate / k.back[row - c - 1]
    return amounts


def _no_steady_state(rate: float, k: Rates) -> NumericsError:
    return NumericsError(
        f"there is no steady state: {rate:g} per hour is given and at most {np.min(k.vmax):g} per hour is eliminated",
        hint="give less, or give the doses one by one",
    )
