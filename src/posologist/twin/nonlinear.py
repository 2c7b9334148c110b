"""Concentrations where elimination saturates: Michaelis-Menten or mixed, one to three compartments.

    dA1/dt = input - CL/V1 A1 - VMAX C/(KM + C) + exchange with the peripheral compartments,   C = scale A1/V1

A linear model has no VMAX, a Michaelis-Menten model no CL, a mixed model both. There is no closed form, so the
amounts are integrated (`twin/ode.py`), every draw on its own clock (`twin/timeline.py`): arrivals, ends of infusions
and records are reached exactly. A steady state is the fixed point of one dosing interval, found by Newton's method
to a relative tolerance; where the doses exceed what can be eliminated there is none, and that is an error.

References
----------
gibaldi-1982, chapter 7 (capacity-limited elimination and its steady state)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError, NumericsError
from posologist.twin.ode import STEP_LIMIT, advance
from posologist.twin.saturable import Rates, Rows, Structure, WithMetabolite, picked, places_of, rates_of, rows_of
from posologist.twin.steady import Cycle, equilibrium
from posologist.twin.timeline import (
    Dose,
    Event,
    EventRecord,
    Events,
    Indices,
    Timeline,
    arrivals,
    doses,
    occasions,
)

Array = npt.NDArray[np.float64]
Parameters = Mapping[str, npt.ArrayLike]


class Course(NamedTuple):
    """Amounts (n_records, n_rows, n_draws) and concentrations (n_draws, n_records) at the records, and the steps.

    Rows: places of absorption, central, peripheral, those of a metabolite where it is asked for, and last what was
    eliminated since the last reset or SS.
    """

    amounts: Array
    concentrations: Array
    steps: int


def predict_nonlinear(
    structure: Structure,
    parameters: Sequence[Parameters],
    table: Events,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-12,
    limit: int = STEP_LIMIT,
) -> Array:
    """Concentrations at every record, shape (n_draws, n_records), in the structure's unit of concentration.

    Arguments, tolerances and errors as in `course`.
    """
    return course(structure, parameters, table, rtol=rtol, atol=atol, limit=limit).concentrations


def predict_outputs(structure: WithMetabolite, parameters: Sequence[Parameters], table: Events) -> dict[str, Array]:
    """Central concentrations and, where the structure forms a metabolite, its levels, each (n_draws, n_records).

    The parameters are those of `course` and CLM, VM, QM, VM2, FM, FP.
    """
    compartments = structure.metabolite_compartments
    found = course(structure, parameters, table, metabolite=compartments)
    if not compartments:
        return {"concentration": found.concentrations}
    row = rows_of(structure, compartments).formed
    volumes = np.array([np.broadcast_to(mapping["VM"], found.amounts.shape[2]) for mapping in parameters])
    levels = structure.metabolite_scale * found.amounts[:, row] / volumes
    return {"concentration": found.concentrations, "metabolite": levels.T}


def course(
    structure: Structure,
    parameters: Sequence[Parameters],
    table: Events,
    *,
    metabolite: int = 0,
    rtol: float = 1e-8,
    atol: float = 1e-12,
    limit: int = STEP_LIMIT,
) -> Course:
    """Amounts and concentrations at every record.

    Parameters
    ----------
    structure
        1 to 3 compartments; elimination "linear", "michaelis-menten" or "mixed"; absorption "none", "first-order",
        "zero-order" or "transit" with its number of stages, all left at the rate KTR.
    parameters
        One mapping per record, each name an array (n_draws,): CL, V1, Q, V2, Q3, V3 (L/h, L), KA, KTR (1/h), F, LAG,
        D (h), VMAX (amount/h), KM (concentration). Mapping i holds from record i-1 until record i.
    table
        One subject's records. Doses are in the structure's dose unit.
    metabolite
        Compartments of a metabolite that are followed too; it needs CLM (L/h), VM (L), with two QM and VM2, and may
        have FM (share of the elimination) and FP (share of what is absorbed).
    rtol, atol
        Tolerances of the integration; `atol` as a part of the largest dose.
    limit
        Steps that may be attempted altogether.

    Raises
    ------
    InputError
        If a record or parameter is missing or impossible, see `twin/timeline.py`.
    NumericsError
        If there is no steady state, or the integration fails or needs more steps than `limit`.
    """
    if len(parameters) != len(table.records):
        raise InputError(
            f"{len(parameters)} sets of parameters for {len(table.records)} records", hint="give one per record"
        )
    if not table.records:
        raise InputError("the table has no records", hint="give doses and times")
    drawn = _drawn(parameters)
    rows = rows_of(structure, metabolite)
    where = places_of(structure, rows)
    done: list[Course] = []
    for part in occasions(table.records):
        records, own = table.records[part], drawn[part]
        given = doses(records, own, where)
        largest = max((float(np.max(dose.amount, initial=0.0)) for dose in given), default=0.0) or 1.0
        run = _Run(rows, structure, own, _Tolerance(rtol, atol * largest, limit - sum(c.steps for c in done)))
        done.append(run.through(Timeline.of(_events(run, given, records)), len(records)))
    return Course(
        amounts=np.concatenate([c.amounts for c in done]),
        concentrations=np.concatenate([c.concentrations for c in done], axis=1),
        steps=sum(c.steps for c in done),
    )


class _Tolerance(NamedTuple):
    rtol: float
    atol: float
    limit: int


def _drawn(parameters: Sequence[Parameters]) -> list[dict[str, Array]]:
    """Every parameter as an array (n_draws,); equal mappings stay one object."""
    size = max(np.size(value) for mapping in parameters for value in mapping.values())
    seen: dict[int, dict[str, Array]] = {}
    for mapping in parameters:
        if id(mapping) not in seen:
            seen[id(mapping)] = {
                name: np.broadcast_to(np.asarray(value, dtype=np.float64).reshape(-1), (size,))
                for name, value in mapping.items()
            }
    return [seen[id(mapping)] for mapping in parameters]


def _events(run: _Run, given: tuple[Dose, ...], records: Sequence[EventRecord]) -> list[Event]:
    """All events of an occasion, those at one time in the order in which they count."""
    settles = [(n, record.time) for n, record in enumerate(records) if record.evid in (1, 4) and record.ss == 1]
    events: list[Event] = []
    for n, record in enumerate(records):
        here = [dose for dose in given if dose.place == n]
        own = [dose for dose in here if dose.record == n and dose.time == record.time]
        for dose in own:
            until = _until(dose, settles)
            if record.ss == 1:
                events.extend(_settled(run, dose, record, until))
            if not _endless(record):
                events.extend(arrivals(dose, until))
        events.append(Event(time=np.full(run.n_draws, record.time), record=n))
        events.extend(event for dose in here if dose not in own for event in arrivals(dose, _until(dose, settles)))
    return events


def _until(dose: Dose, settles: Sequence[tuple[int, float]]) -> float:
    """When a later steady state takes the place of whatever was given."""
    return min((time for n, time in settles if n > dose.record), default=np.inf)


def _endless(record: EventRecord) -> bool:
    """Whether the record is an infusion from ever before until now: SS 1, a rate, no amount."""
    return record.ss == 1 and record.rate > 0 and record.amt == 0


class _Run:
    """One integration: what holds when, the tolerance, and the steps taken so far."""

    def __init__(
        self, rows: Rows, structure: Structure, parameters: Sequence[Mapping[str, Array]], tolerance: _Tolerance
    ) -> None:
        self.rows = rows
        self.tolerance = tolerance
        self.steps = 0
        self.structure = structure
        self._step: float | None = None
        unique = {id(mapping): mapping for mapping in parameters}
        places = {key: n for n, key in enumerate(unique)}
        self._set_of = np.array([places[id(mapping)] for mapping in parameters])
        self._sets = [rates_of(structure, mapping, rows.metabolite) for mapping in unique.values()]
        self._volumes = np.array([mapping["V1"] for mapping in parameters])
        self.n_draws = self._volumes.shape[1]

    def nothing(self) -> Array:
        """No amounts, or no inputs."""
        return np.zeros((self.rows.count, self.n_draws))

    def rates(self, record: int) -> Rates:
        """What holds until a record."""
        return self._sets[int(self._set_of[record])]

    def go(self, amounts: Array, inputs: Array, lengths: Array, k: Rates) -> Array:
        """Amounts after `lengths` (h, each draw its own) of constant inputs."""
        longest = float(np.max(lengths))
        if not longest > 0:
            return amounts
        rtol, atol, limit = self.tolerance
        first = None if self._step is None else min(self._step / longest, 1.0)
        leg = advance(
            lambda _, y: lengths * self.rows.slope(y, inputs, k),
            (0.0, 1.0),
            amounts,
            rtol=rtol,
            atol=atol,
            step=first,
            limit=limit - self.steps,
        )
        self.steps += leg.steps
        self._step = leg.step * longest
        return leg.states

    def through(self, timeline: Timeline, n_records: int) -> Course:
        """Amounts and concentrations at the records."""
        amounts, inputs = self.nothing(), self.nothing()
        seen = np.empty((n_records, self.rows.count, self.n_draws))
        record = np.zeros(self.n_draws, dtype=np.intp)
        for n, (times, order) in enumerate(zip(timeline.times, timeline.order, strict=True)):
            if n:
                amounts = self._between(amounts, inputs, timeline.times[n - 1], times, record)
            for which in np.unique(order):
                event, those = timeline.events[which], order == which
                amounts, inputs = _applied(event, those, amounts, inputs)
                if event.record >= 0:
                    seen[event.record][:, those] = amounts[:, those]
                    record[those] = min(event.record + 1, n_records - 1)
        central = seen[:, self.rows.stages]
        return Course(amounts=seen, concentrations=(self.structure.scale * central / self._volumes).T, steps=self.steps)

    def _between(self, amounts: Array, inputs: Array, before: Array, now: Array, record: Indices) -> Array:
        lengths = now - before
        if not np.any(lengths > 0):
            return amounts
        k = self._sets[0] if len(self._sets) == 1 else picked(self._sets, self._set_of[record])
        try:
            return self.go(amounts, inputs, lengths, k)
        except NumericsError as error:
            raise NumericsError(
                f"between {np.min(before):g} and {np.max(now):g} h (as a part of it): {error.message}", hint=error.hint
            ) from error


def _applied(event: Event, those: npt.NDArray[np.bool_], amounts: Array, inputs: Array) -> tuple[Array, Array]:
    """Amounts and inputs of the draws that the event concerns, after it."""
    if event.start is not None:
        return np.where(those, event.start[0], amounts), np.where(those, event.start[1], inputs)
    if event.add is not None:
        amounts = amounts.copy()
        amounts[event.row] += np.where(those, event.add, 0.0)
    if event.change is not None:
        inputs = inputs.copy()
        inputs[event.row] += np.where(those, event.change, 0.0)
    return amounts, inputs


def _settled(run: _Run, dose: Dose, record: EventRecord, until: float) -> list[Event]:
    """The steady state at the time of a dose, before it arrives, with what of earlier doses is still to come."""
    time = np.full(run.n_draws, dose.time)
    k = run.rates(dose.record)
    if _endless(record):
        return [Event(time=time, start=(equilibrium(run.rows, dose.row, record.rate, k), run.nothing()))]
    cycle = Cycle(run.go, run.rows, dose, k)
    amounts = cycle.until_next(dose.lag % dose.steady)
    amounts[-1] = 0.0
    inputs = run.nothing()
    later: list[Event] = []
    for back in range(1, int(np.ceil(np.max((dose.duration + dose.lag) / dose.steady))) + 1):
        came = dose.lag - back * dose.steady
        runs = (came < 0) & (came + dose.duration > 0)
        inputs[dose.row] += np.where(runs, cycle.rate, 0.0)
        ends = time + came + dose.duration
        later.append(Event(time=ends, row=dose.row, change=np.where(runs & (ends < until), -cycle.rate, 0.0)))
        held = replace(dose, time=dose.time - back * dose.steady, amount=np.where(came >= 0, dose.amount, 0.0))
        later.extend(arrivals(held, until) if np.any(came >= 0) else ())
    return [Event(time=time, start=(amounts, inputs)), *later]
