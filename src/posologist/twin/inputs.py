"""Doses as what enters the system, and when: boluses, infusions, further doses, lag, steady state.

Steady state means an imagined endless series of doses before the record, each exactly like it, one every II.
Amounts left from earlier doses are `exp(A age) (I - exp(A II))^-1 x`, x the state after one dose; infusions that
still run go on. The lag holds for the imagined doses too: at the record the
youngest has been in the system for II - lag.

A lag longer than II is treated as NONMEM 7.4.3 does: the steady state that holds when the last imagined dose enters,
at lag - II after the record, is followed back to the record. Between these times the levels are an extrapolation,
not what doses given one by one would have left.

References
----------
nonmem-guide-vi, sections V.D to V.K
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posologist.core.errors import InputError, NumericsError
from posologist.twin.events import MODELLED_DURATION, MODELLED_RATE, Record
from posologist.twin.exponential import Array, Matrix, apply, exponential, solve
from posologist.twin.system import Parameters, System, compartment_of

_MOST_RUNNING = 10_000
_TIE = 1e-9  # h
_ENDLESS = "there is no steady state without elimination"
_TOO_LATE = "a steady state with a lag this much longer than its interval cannot be followed back"


@dataclass(frozen=True)
class Jump:
    """Amounts added to states at a time (h), arrays over draws."""

    time: Array
    added: dict[int, Array]


@dataclass(frozen=True)
class Infusion:
    """A constant rate (amount/h) into a state from one time (h) to another, arrays over draws."""

    start: Array
    end: Array
    state: int
    rate: Array


@dataclass(frozen=True)
class Entry:
    """How one dose enters: state, lag (h), amount after bioavailability, or rate over duration (h; None a bolus)."""

    state: int
    lag: Array
    amount: Array
    rate: Array
    duration: Array | None

    def at(self, time: float) -> Jump | Infusion:
        """The dose that is given at `time`."""
        enters = time + self.lag
        if self.duration is None:
            return Jump(enters, {self.state: self.amount})
        return Infusion(enters, enters + self.duration, self.state, self.rate)


def inputs_of(system: System, mapping: Parameters, record: Record, until: float) -> list[Jump | Infusion]:
    """What a dose record causes until a time (h): its dose, the further ones, and those that it implies.

    Lag, bioavailability, rate and duration of the further doses are those of the record, as in NONMEM.
    """
    entry = _entry(system, mapping, record)
    if record.amt == 0:
        return [_endless(system, mapping, record, entry)]
    before = _steady(system, mapping, record, entry) if record.ss else []
    times = (record.time + k * record.ii for k in range(record.addl + 1))
    return before + [entry.at(time) for time in times if time <= until + _TIE]


def _entry(system: System, mapping: Parameters, record: Record) -> Entry:
    number, state = compartment_of(record), system.state_of(record)
    fraction = _of_compartment(mapping, "F", number, 1.0)
    lag = _of_compartment(mapping, "LAG", number, 0.0)
    if np.any(np.real(fraction) < 0) or np.any(np.real(lag) < 0):
        raise NumericsError("a bioavailability or lag is negative", where=record.where, hint="check F and LAG")
    amount = fraction * record.amt
    rate, duration = _rate(system, mapping, record, amount)
    return Entry(state, np.atleast_1d(lag), np.atleast_1d(amount), rate, duration)


def _of_compartment(mapping: Parameters, name: str, number: int, otherwise: float) -> Array:
    """F2, LAG2 ... of a compartment; F and LAG without a number are those of the first."""
    if f"{name}{number}" in mapping:
        return np.asarray(mapping[f"{name}{number}"])
    return np.asarray(mapping[name] if number == 1 and name in mapping else otherwise)


def _rate(system: System, mapping: Parameters, record: Record, amount: Array) -> tuple[Array, Array | None]:
    number = compartment_of(record)
    modelled = record.rate
    if system.structure.absorption == "zero-order" and number == 1:
        if record.rate not in (0.0, MODELLED_DURATION):
            raise InputError(
                "a rate into the depot of a model with zero-order absorption",
                where=record.where,
                hint="leave RATE 0 (the model's duration D holds), or infuse into the central compartment, CMT 2",
            )
        modelled = MODELLED_DURATION
    if modelled == MODELLED_DURATION:
        duration = np.atleast_1d(_given(mapping, record, "D", number))
        return np.asarray(amount / duration), duration
    if modelled == 0:
        return np.zeros(1), None
    rate = np.atleast_1d(_given(mapping, record, "R", number) if modelled == MODELLED_RATE else record.rate)
    return rate, np.asarray(amount / rate)


def _given(mapping: Parameters, record: Record, name: str, number: int) -> Array:
    """R1, D1 ...: from the parameters, else from the record's columns."""
    names = [f"{name}{number}"] + ([name] if number == 1 else [])
    found = [source[key] for source in (mapping, record.covariates) for key in names if key in source]
    if not found:
        raise InputError(
            f"RATE {record.rate:g} needs {names[0]}",
            where=record.where,
            hint=f"give {names[0]} as a parameter of the model or as a column",
        )
    value = np.asarray(found[0])
    if not np.all(np.real(value) > 0):
        raise NumericsError(f"{names[0]} is not positive", where=record.where, hint="give a positive value")
    return value


def _carried(system: System, mapping: Parameters, time: Array | float, vector: list[Array]) -> list[Array]:
    time = np.atleast_1d(time)
    carried = apply(exponential(system.rates(mapping), time), vector)
    return [np.zeros(system.draws) if a is None else a for a in carried]


def _unit(system: System, state: int, amount: Array) -> list[Array]:
    """A state vector with one element."""
    vector = [np.zeros(system.draws, dtype=system.dtype) for _ in range(system.size)]
    vector[state] = vector[state] + amount
    return vector


def _endless(system: System, mapping: Parameters, record: Record, entry: Entry) -> Jump:
    """An endless infusion at steady state, which ends at the record."""
    rates = _top(system, system.rates(mapping))
    losses: Matrix = [[None if a is None else -a for a in row] for row in rates]
    right = _unit(system, entry.state, entry.rate)[: system.amounts]
    amounts = solve(losses, right, because=_ENDLESS)
    return Jump(np.asarray([record.time]), dict(enumerate(amounts)))


def _top(system: System, matrix: Matrix) -> Matrix:
    return [row[: system.amounts] for row in matrix[: system.amounts]]


def _steady(system: System, mapping: Parameters, record: Record, entry: Entry) -> list[Jump | Infusion]:
    """What the imagined doses before the record leave at its time, and how their infusions end."""
    interval = record.ii
    late = np.real(entry.lag) > interval
    over = np.where(late, entry.lag - interval, 0.0)
    running: list[Infusion] = []
    age = np.where(late, 0.0, interval - entry.lag)  # of the youngest imagined dose
    if entry.duration is None:
        left = _series(system, mapping, interval, age, _unit(system, entry.state, entry.amount))
        state = [*left, *_no_infusion(system)]
    else:
        state, running = _steady_infusion(system, mapping, record, entry, age, over)
    if np.any(late):
        state = solve(exponential(system.rates(mapping), over), state, because=_TOO_LATE)
    return [Jump(np.asarray([record.time]), dict(enumerate(state[: system.amounts]))), *running]


def _no_infusion(system: System) -> list[Array]:
    return [np.zeros(system.draws, dtype=system.dtype) for _ in system.infused]


def _series(system: System, mapping: Parameters, interval: float, age: Array, vector: list[Array]) -> list[Array]:
    """The sum of a vector carried over age, age + interval, age + 2 intervals ...; amounts only."""
    matrix = _top(system, exponential(system.rates(mapping), np.asarray([interval])))
    rest: Matrix = [[None if a is None else -a for a in row] for row in matrix]
    for i in range(system.amounts):
        rest[i][i] = 1.0 - np.asarray(matrix[i][i])
    total = solve(rest, vector[: system.amounts], because=_ENDLESS)
    return _carried(system, mapping, age, total + _no_infusion(system))[: system.amounts]


def _steady_infusion(
    system: System, mapping: Parameters, record: Record, entry: Entry, age: Array, over: Array
) -> tuple[list[Array], list[Infusion]]:
    """The state that infusions leave which have ended, as a series, or still run, one by one; and these."""
    interval, duration, target = record.ii, np.asarray(entry.duration), system.rate_state(entry.state)
    running = np.maximum(np.ceil(np.round(np.real(duration - age) / interval, 9)), 0.0)
    if np.max(running) > _MOST_RUNNING:
        raise NumericsError(
            f"{int(np.max(running))} infusions of a steady state run at once",
            where=record.where,
            hint="give an infusion that ends within its interval, or an endless one (AMT 0, RATE > 0, II 0)",
        )
    one = _carried(system, mapping, duration, _unit(system, target, entry.rate))
    youngest = age + running * interval - duration
    youngest = np.where(np.real(youngest) < 0, youngest - np.real(youngest), youngest)
    state = _series(system, mapping, interval, youngest, one)
    still: list[Infusion] = []
    start = np.asarray([record.time])
    for back in range(int(np.max(running))):
        runs, since = back < running, age + back * interval
        part = _carried(system, mapping, since, _unit(system, target, entry.rate * runs))
        state = [a + b for a, b in zip(state, part[: system.amounts], strict=True)]
        end = np.where(runs, record.time + over + duration - since, record.time)
        still.append(Infusion(start, end, entry.state, entry.rate * runs))
    rates = _no_infusion(system)
    rates[target - system.amounts] = rates[target - system.amounts] + entry.rate * running
    return [*state, *rates], still
