"""Doses as jumps of the state: boluses, infusions, further doses, lag, bioavailability, steady state.

Steady state means an imagined endless series of doses before the record, each exactly like it, one every II.
Amounts left from earlier doses are `exp(A age) (I - exp(A II))^-1 x`, x the state after one dose; infusions that
still run, and doses whose lag has not passed at the record's time, follow as jumps of their own.

References
----------
nonmem-guide-vi, sections V.D to V.K
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posologist.core.errors import InputError, NumericsError
from posologist.twin.events import MODELLED_DURATION, MODELLED_RATE, Record
from posologist.twin.exponential import Array, Matrix, apply, exponential, solve
from posologist.twin.system import Parameters, System, compartment_of

_MOST_RUNNING = 10_000
_ENDLESS = "there is no steady state without elimination"


@dataclass(frozen=True)
class Jump:
    """Amounts (or rates of infusion) added to states at a time (h), arrays over draws."""

    time: Array
    added: dict[int, Array]


@dataclass(frozen=True)
class Entry:
    """How one dose enters: state, lag (h), amount after bioavailability, or rate over duration (h; None a bolus)."""

    state: int
    lag: Array
    amount: Array
    rate: Array
    duration: Array | None

    def jumps(self, system: System, time: Array, where: Array | float = 1.0) -> list[Jump]:
        """The dose that enters at `time`; `where` 0 for draws that do not get it."""
        if self.duration is None:
            return [Jump(time, {self.state: self.amount * where})]
        target = system.rate_state(self.state)
        return [Jump(time, {target: self.rate * where}), Jump(time + self.duration, {target: -self.rate * where})]


def jumps_of(
    system: System, parameters: Sequence[Parameters], records: Sequence[Record], i: int, last: int
) -> list[Jump]:
    """The jumps that record i causes until record `last` (exclusive): its dose, the further and the implied ones."""
    record = records[i]
    entry = _entry(system, parameters[i], record)
    if record.amt == 0:
        return _endless(system, parameters[i], record, entry)
    jumps = _steady(system, parameters[i], record, entry) if record.ss else []
    jumps += entry.jumps(system, record.time + entry.lag)
    place = i
    for k in range(1, record.addl + 1):
        time = record.time + k * record.ii
        while place < last and records[place].time < time:
            place += 1
        if place == last:
            break
        further = entry if parameters[place] is parameters[i] else _entry(system, parameters[place], record)
        jumps += further.jumps(system, time + further.lag)
    return jumps


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
    return apply(exponential(system.rates(mapping), time), vector)


def _unit(system: System, state: int, amount: Array) -> list[Array]:
    """A state vector with one element."""
    vector = [np.zeros(system.draws, dtype=system.dtype) for _ in range(system.size)]
    vector[state] = vector[state] + amount
    return vector


def _endless(system: System, mapping: Parameters, record: Record, entry: Entry) -> list[Jump]:
    """An endless infusion at steady state, which ends at the record."""
    rates = _top(system, system.rates(mapping))
    losses: Matrix = [[None if a is None else -a for a in row] for row in rates]
    right = _unit(system, entry.state, entry.rate)[: system.amounts]
    amounts = solve(losses, right, because=_ENDLESS)
    return [Jump(np.asarray([record.time]), dict(enumerate(amounts)))]


def _top(system: System, matrix: Matrix) -> Matrix:
    return [row[: system.amounts] for row in matrix[: system.amounts]]


def _steady(system: System, mapping: Parameters, record: Record, entry: Entry) -> list[Jump]:
    """What the imagined doses before the record leave at its time, and what of them is still to come."""
    interval, time = record.ii, np.asarray([record.time])
    waiting = np.floor(np.round(np.real(entry.lag) / interval, 9))  # doses given whose lag has not passed
    age = (waiting + 1.0) * interval - entry.lag  # since the youngest dose that entered before
    jumps: list[Jump] = []
    for back in range(int(np.max(waiting)), 0, -1):
        jumps += entry.jumps(system, time + entry.lag - back * interval, where=back <= waiting)
    if entry.duration is None:
        left = _series(system, mapping, interval, age, _unit(system, entry.state, entry.amount))
        return [Jump(time, dict(enumerate(left))), *jumps]
    return _steady_infusion(system, mapping, record, entry, age) + jumps


def _series(system: System, mapping: Parameters, interval: float, age: Array, vector: list[Array]) -> list[Array]:
    """The sum of a vector carried over age, age + interval, age + 2 intervals ...; amounts only."""
    matrix = _top(system, exponential(system.rates(mapping), np.asarray([interval])))
    rest: Matrix = [[None if a is None else -a for a in row] for row in matrix]
    for i in range(system.amounts):
        rest[i][i] = 1.0 - np.asarray(matrix[i][i])
    total = solve(rest, vector[: system.amounts], because=_ENDLESS)
    still = [np.zeros(system.draws, dtype=system.dtype) for _ in system.infused]
    return _carried(system, mapping, age, total + still)[: system.amounts]


def _steady_infusion(system: System, mapping: Parameters, record: Record, entry: Entry, age: Array) -> list[Jump]:
    """Infusions that have ended, as a series; those that still run, one by one."""
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
    jumps = []
    for back in range(int(np.max(running))):
        runs = back < running
        since = age + back * interval
        part = _carried(system, mapping, since, _unit(system, target, entry.rate * runs))
        state = [a + b for a, b in zip(state, part[: system.amounts], strict=True)]
        jumps.append(Jump(record.time + duration - since, {target: -entry.rate * runs}))
    rate = np.asarray(entry.rate * running)
    return [Jump(np.asarray([record.time]), {**dict(enumerate(state)), target: rate}), *jumps]
