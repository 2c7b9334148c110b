"""Doses of an event table as inputs to compartments, each draw on a clock of its own.

Lag and duration of absorption may differ between draws, so the same dose arrives at different times. A `Timeline`
therefore holds every event with one time per draw, sorted for each draw alone; the k-th interval of one draw may be
another than that of its neighbour, and all are integrated together.

Columns as in NONMEM: EVID 0 observation, 1 dose, 2 other, 3 reset, 4 reset and dose; RATE 0 bolus, > 0 amount per
hour, -1 the rate and -2 the duration that the model gives (R1, D1; R and D are those of CMT 1); ADDL further doses
every II hours; SS 1 steady state (2 is refused here: without linearity nothing can be superposed). Records at one
time count in the order of the file; an additional dose that falls on the time of a record comes after it. Where the
lag is longer than II, a steady state here is the one that repeats itself; NONMEM starts from less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_DOSES, _RESETS, _KNOWN = (1, 4), (3, 4), (0, 1, 2, 3, 4)
_SAME_TIME = 1e-9  # times that differ by less than this part (or hours) are one time


class EventRecord(Protocol):
    """What is read of a record; times in h, `amt` in the dose's unit."""

    @property
    def time(self) -> float: ...
    @property
    def evid(self) -> int: ...
    @property
    def amt(self) -> float: ...
    @property
    def rate(self) -> float: ...
    @property
    def cmt(self) -> int: ...
    @property
    def ii(self) -> float: ...
    @property
    def addl(self) -> int: ...
    @property
    def ss(self) -> int: ...


class Events(Protocol):
    """One subject's records, ascending in time from each reset on."""

    @property
    def records(self) -> Sequence[EventRecord]: ...


class Compartments(NamedTuple):
    """Where a dose goes: the row of CMT 1, 2, ...; `absorbed` says whether CMT 1 is a place of absorption."""

    rows: tuple[int, ...]
    absorbed: bool
    zero_order: bool


@dataclass(frozen=True, eq=False)
class Dose:
    """One administration: `amount` that arrives, over `duration` (h, 0 = at once), `lag` h after `time`; per draw.

    `record` gives it, `place` is the last record that counts before or with it, `steady` the interval (h) of the
    steady state that it belongs to (0 for none).
    """

    record: int
    place: int
    time: float
    row: int
    amount: Array
    duration: Array
    lag: Array
    steady: float = 0.0


@dataclass(frozen=True, eq=False)
class Event:
    """What happens to a draw at its own time: `add` to the amount or `change` of the input rate of a row.

    `record` >= 0 marks the time of that record; `start` puts amounts and rates in the place of what there is.
    """

    time: Array
    row: int = 0
    add: Array | None = None
    change: Array | None = None
    record: int = -1
    start: tuple[Array, Array] | None = None


def doses(
    records: Sequence[EventRecord], parameters: Sequence[Mapping[str, Array]], where: Compartments
) -> tuple[Dose, ...]:
    """Every administration of one occasion, additional ones included, in order of time and file.

    Parameters
    ----------
    records
        Of one occasion, ascending in time.
    parameters
        One mapping per record; F, LAG and D of a dose and its repetitions are those of the dose's record.
    where
        Rows of the compartment numbers.

    Raises
    ------
    InputError
        If times go back, an EVID, SS, RATE or CMT is not known here, or an amount or interval is not possible.
    """
    times = np.array([record.time for record in records], dtype=np.float64)
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) < 0):
        raise InputError("the records' times must be numbers that never go back", hint="sort the records by time")
    found = [dose for n, record in enumerate(records) for dose in _of(record, n, times, parameters, where)]
    return tuple(sorted(found, key=lambda dose: (dose.time, dose.place)))


def _of(
    record: EventRecord, n: int, times: Array, parameters: Sequence[Mapping[str, Array]], where: Compartments
) -> Iterator[Dose]:
    _check(record, n, where)
    if record.evid not in _DOSES:
        return
    for repeat in range(record.addl + 1):
        time = float(record.time + repeat * record.ii)
        if time > times[-1]:
            return
        near = np.flatnonzero(np.abs(times - time) <= _SAME_TIME * max(1.0, abs(time)))
        time = float(times[near[0]]) if near.size else time
        place = n if repeat == 0 else int(np.searchsorted(times, time, side="right")) - 1
        dose = _dose(record, parameters[n], where)
        steady = record.ii if record.ss == 1 and repeat == 0 else 0.0
        yield replace(dose, record=n, place=place, time=time, steady=steady)


def _check(record: EventRecord, n: int, where: Compartments) -> None:
    line = f"record {n + 1} (time {record.time:g} h)"
    if record.evid not in _KNOWN:
        raise InputError(f"EVID {record.evid} is not known", where=line, hint="use 0 to 4")
    if record.evid not in _DOSES:
        return
    if not 0 <= record.cmt <= len(where.rows):
        raise InputError(f"CMT {record.cmt} is not in the model", where=line, hint=f"use 1 to {len(where.rows)}")
    if not record.amt >= 0 or not np.isfinite(record.amt):
        raise InputError(f"AMT {record.amt} is not an amount", where=line, hint="give a number, 0 or more")
    if record.rate < 0 and record.rate not in (-1, -2):
        raise InputError(f"RATE {record.rate:g} is not possible", where=line, hint="use 0, a rate, -1 or -2")
    if record.ss not in (0, 1):
        raise InputError(
            f"SS {record.ss} is not possible without linear elimination", where=line, hint="use SS 1, or single doses"
        )
    endless = record.ss == 1 and record.rate > 0 and record.amt == 0
    if (record.addl or record.ss) and not record.ii > 0 and not endless:
        raise InputError(f"an interval II of {record.ii:g} h is not possible", where=line, hint="give II above 0")
    if record.addl < 0:
        raise InputError(f"ADDL {record.addl} is not a number of doses", where=line, hint="give 0 or more")


def _dose(record: EventRecord, parameters: Mapping[str, Array], where: Compartments) -> Dose:
    cmt = record.cmt or 1
    drawn = next(iter(parameters.values())).shape
    f = _own(parameters, "F", cmt, np.ones(drawn))
    lag = _own(parameters, "LAG", cmt, np.zeros(drawn))
    amount = record.amt * f
    zero_order = where.zero_order and cmt == 1
    if zero_order and record.rate not in (0, -2):
        raise InputError("a rate into zero-order absorption has no meaning", hint="leave RATE 0, or give CMT 2")
    if zero_order or record.rate == -2:
        duration = _own(parameters, "D", cmt)
    elif record.rate == -1:
        duration = amount / _own(parameters, "R", cmt)
    else:
        duration = amount / record.rate if record.rate > 0 else np.zeros(drawn)
    if not all(np.all(np.isfinite(x)) and np.all(x >= 0) for x in (f, lag, duration)):
        raise InputError("F, LAG and D must not be negative, and R must be positive", hint="check the parameters")
    return Dose(record=0, place=0, time=0.0, row=where.rows[cmt - 1], amount=amount, duration=duration, lag=lag)


def _own(parameters: Mapping[str, Array], name: str, cmt: int, otherwise: Array | None = None) -> Array:
    """F2, LAG2 ... of a compartment; without a number they are those of the first."""
    names = (f"{name}{cmt}", name) if cmt == 1 else (f"{name}{cmt}",)
    found = next((parameters[key] for key in names if key in parameters), otherwise)
    if found is None:
        raise InputError(f"a dose needs the parameter {names[0]}", hint="give it, or another RATE")
    return found


def occasions(records: Sequence[EventRecord]) -> tuple[slice, ...]:
    """The records from one reset (EVID 3 or 4) to the next: nothing of an earlier occasion is left in a later one."""
    begins = [n for n, record in enumerate(records) if record.evid in _RESETS or n == 0]
    return tuple(slice(a, b) for a, b in zip(begins, [*begins[1:], len(records)], strict=True))


def arrivals(dose: Dose, until: float) -> Iterator[Event]:
    """What a dose does: an amount at once, or an input rate that starts and ends; nothing at or after `until` h."""
    starts = dose.time + dose.lag
    ends = starts + dose.duration
    bolus = dose.duration == 0
    came = starts < until
    rate = np.where(bolus, 0.0, dose.amount / np.where(bolus, 1.0, dose.duration))
    if np.any(bolus):
        yield Event(time=starts, row=dose.row, add=np.where(bolus & came, dose.amount, 0.0))
    if not np.all(bolus):
        yield Event(time=starts, row=dose.row, change=np.where(came, rate, 0.0))
        yield Event(time=ends, row=dose.row, change=np.where(came & (ends < until), -rate, 0.0))


@dataclass(frozen=True)
class Timeline:
    """Events sorted for every draw: `times` and `order`, both (n_events, n_draws); `order` points into `events`."""

    events: tuple[Event, ...]
    times: Array
    order: Indices

    @classmethod
    def of(cls, events: Sequence[Event]) -> Timeline:
        """Events at one time keep the order in which they are given."""
        times = np.array([event.time for event in events])
        order = np.argsort(times, axis=0, kind="stable")
        return cls(events=tuple(events), times=np.take_along_axis(times, order, axis=0), order=order)
