"""A dose that was not given: ways to go on, compared in the same possible patients.

A dose counts as missed when it is late by more than a tenth of its interval. What a label says about missed doses is
not held; the concentrations of each way are told, and the choice is left to the prescriber.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from posologist.twin.events import Record
from posologist.twin.goals import Goal
from posologist.twin.individual import Array
from posologist.twin.residual import Flags
from posologist.twin.twin import Twin

LATE = 0.1  # share of the interval from which a dose is late
LEAST_HOURS = 48.0  # what is looked at after the question, at least
_POINTS = 97


@dataclass(frozen=True)
class WayOn:
    """A way to go on: when the next doses are given (h of the log), and what follows, each array (n_draws,)."""

    what: str
    times: tuple[float, ...]
    lowest: Array
    highest: Array
    average: Array

    def above(self, toxic: Goal) -> Flags | None:
        """Who comes above a toxic bound; None where the bound is of something else."""
        told = {"trough": self.lowest, "peak": self.highest, "average": self.average, "auc24": 24.0 * self.average}
        values = told.get(toxic.metric)
        return None if values is None or toxic.high is None else np.asarray(values > toxic.high)


@dataclass(frozen=True)
class Missed:
    """How late the dose is (h), how many are missing, how long was looked ahead (h), and the ways to go on."""

    late: float
    number: int
    hours: float
    ways: tuple[WayOn, ...]


def missed_dose(twin: Twin, *, now: float, interval: float) -> Missed | None:
    """Ways to go on where the dose after the last one given is late; None where it is not.

    Parameters
    ----------
    now
        Time of the question, in hours of the log.
    interval
        Interval between doses in use (h).
    """
    doses = twin.doses
    if not doses:
        return None
    last = doses[-1]
    due = last.time + interval
    late = now - due
    if late <= LATE * interval:
        return None
    number = math.floor(late / interval + 1e-9) + 1
    usual = due + number * interval
    hours = max(LEAST_HOURS, 2.0 * interval)
    every = np.arange(0.0, hours, interval)
    plans = {
        "give the dose now, then go on at the usual times": np.concatenate([[now], usual + every]),
        "leave it out and go on at the next usual time": usual + every,
        "give the dose now and count the interval from now": now + every,
    }
    times = np.linspace(now, now + hours, _POINTS)
    given = {what: [_at(last, float(t)) for t in at if t < now + hours] for what, at in plans.items()}
    curves = twin.compare(given, times)
    ways = tuple(
        WayOn(
            what, tuple(dose.time for dose in given[what]), curve.min(axis=1), curve.max(axis=1),
            np.asarray(np.trapezoid(curve, times, axis=1) / hours),
        )
        for what, curve in curves.items()
    )  # fmt: skip
    return Missed(late, number, hours, ways)


def _at(dose: Record, time: float) -> Record:
    return replace(dose, time=time, addl=0, ii=0.0, ss=0)
