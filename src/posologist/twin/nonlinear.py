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
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError, NumericsError
from posologist.twin.ode import STEP_LIMIT, advance
from posologist.twin.timeline import (
    Compartments,
    Dose,
    Event,
    EventRecord,
    Events,
    Indices,
    Timeline,
    arrivals,
    doses,
    reset_times,
)

Array = npt.NDArray[np.float64]
Parameters = Mapping[str, npt.ArrayLike]

STEADY = 1e-7  # relative tolerance of a steady state, in amounts
_NEWTON_LIMIT = 60
_NUDGE = 1e-4  # part by which a state is moved to see how one interval answers


class Structure(Protocol):
    """What is read of a model."""

    @property
    def compartments(self) -> int: ...
    @property
    def absorption(self) -> str: ...
    @property
    def transit(self) -> int: ...
    @property
    def elimination(self) -> str: ...
    @property
    def scale(self) -> float: ...


class Course(NamedTuple):
    """Amounts (n_records, n_rows, n_draws) and concentrations (n_draws, n_records) at the records, and the steps.

    Rows: places of absorption, central, peripheral, and last what was eliminated since the start, a reset or SS.
    """

    amounts: Array
    concentrations: Array
    steps: int


@dataclass(frozen=True)
class _Rates:
    """Rate constants, each (n_draws,): `absorbed` 1/h, `linear` 1/h, `vmax` amount/h, `km` amount, pairs 1/h."""

    absorbed: Array | None
    linear: Array
    vmax: Array
    km: Array
    out: tuple[Array, ...]
    back: tuple[Array, ...]


@dataclass(frozen=True)
class _System:
    """The rows of a structure: `stages` places of absorption, central, `peripheral`, eliminated."""

    stages: int
    peripheral: int

    @property
    def rows(self) -> int:
        return self.stages + self.peripheral + 2

    def slope(self, amounts: Array, inputs: Array, k: _Rates) -> Array:
        """Time derivative of the amounts."""
        change = inputs.copy()
        c = self.stages
        central = amounts[c]
        gone = k.linear * central + k.vmax * central / (k.km + central)
        change[c] -= gone
        change[-1] += gone
        if k.absorbed is not None:
            moved = k.absorbed * amounts[:c]
            change[:c] -= moved
            change[1 : c + 1] += moved
        for n, (out, back) in enumerate(zip(k.out, k.back, strict=True), start=c + 1):
            exchange = out * central - back * amounts[n]
            change[c] -= exchange
            change[n] += exchange
        return change


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


def course(
    structure: Structure,
    parameters: Sequence[Parameters],
    table: Events,
    *,
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
    system = _system(structure)
    given = doses(table, drawn, _places(structure, system))
    largest = max((float(np.max(dose.amount, initial=0.0)) for dose in given), default=0.0) or 1.0
    run = _Run(system, structure, drawn, _Tolerance(rtol, atol * largest, limit))
    return run.through(Timeline.of(_events(run, given, table)), len(table.records))


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


def _system(structure: Structure) -> _System:
    if structure.elimination not in ("linear", "michaelis-menten", "mixed"):
        raise InputError(f"elimination '{structure.elimination}' is not known", hint="see docs/model-file.md")
    stages = {"none": 0, "zero-order": 0, "first-order": 1, "transit": structure.transit}.get(structure.absorption)
    if stages is None or (structure.absorption == "transit" and stages < 1):
        raise InputError(
            f"absorption '{structure.absorption}' ({structure.transit} stages) is not known",
            hint="see docs/model-file.md",
        )
    if structure.compartments not in (1, 2, 3):
        raise InputError(f"{structure.compartments} compartments are not possible here", hint="use 1, 2 or 3")
    return _System(stages=stages, peripheral=structure.compartments - 1)


def _places(structure: Structure, system: _System) -> Compartments:
    own = tuple(range(system.stages, system.stages + system.peripheral + 1))
    absorbed = structure.absorption != "none"
    first = (0 if system.stages else own[0],) if absorbed else ()
    return Compartments(rows=first + own, absorbed=absorbed, zero_order=structure.absorption == "zero-order")


def _rates(structure: Structure, p: Mapping[str, Array]) -> _Rates:
    """Rate constants of one set of parameters."""
    linear, saturable = structure.elimination != "michaelis-menten", structure.elimination != "linear"
    v1 = _positive(p, "V1")
    none = np.zeros_like(v1)
    pairs = [("Q", "V2"), ("Q3", "V3")][: structure.compartments - 1]
    absorbing = {"first-order": "KA", "transit": "KTR"}.get(structure.absorption)
    return _Rates(
        absorbed=_positive(p, absorbing) if absorbing else None,
        linear=_positive(p, "CL") / v1 if linear else none,
        vmax=_positive(p, "VMAX") if saturable else none,
        km=_positive(p, "KM") * v1 / structure.scale if saturable else none + 1.0,
        out=tuple(_positive(p, q) / v1 for q, _ in pairs),
        back=tuple(_positive(p, q) / _positive(p, v) for q, v in pairs),
    )


def _positive(p: Mapping[str, Array], name: str) -> Array:
    if name not in p:
        raise InputError(f"the parameter {name} is missing", hint="the structure needs it; see docs/model-file.md")
    if not np.all(np.isfinite(p[name])) or np.any(~(p[name] > 0)):
        raise InputError(f"{name} must be a positive number", hint="check the model's parameters")
    return p[name]


def _events(run: _Run, given: tuple[Dose, ...], table: Events) -> list[Event]:
    """All events, those at one time in the order in which they count."""
    forgets = reset_times(table)
    events: list[Event] = []
    for n, record in enumerate(table.records):
        time = np.full(run.n_draws, record.time)
        if record.evid in (3, 4):
            events.append(Event(time=time, start=(run.nothing(), run.nothing())))
        here = [dose for dose in given if dose.place == n]
        own = [dose for dose in here if dose.record == n and dose.time == record.time]
        for dose in own:
            until = _until(dose, forgets)
            if record.ss == 1:
                events.extend(_settled(run, dose, record, until))
            if not _endless(record):
                events.extend(arrivals(dose, until))
        events.append(Event(time=time, record=n))
        events.extend(event for dose in here if dose not in own for event in arrivals(dose, _until(dose, forgets)))
    return events


def _until(dose: Dose, forgets: Sequence[tuple[int, float]]) -> float:
    return min((time for n, time in forgets if n > dose.record), default=np.inf)


def _endless(record: EventRecord) -> bool:
    """Whether the record is an infusion from ever before until now: SS 1, a rate, no amount."""
    return record.ss == 1 and record.rate > 0 and record.amt == 0


class _Run:
    """One integration: what holds when, the tolerance, and the steps taken so far."""

    def __init__(
        self, system: _System, structure: Structure, parameters: Sequence[Mapping[str, Array]], tolerance: _Tolerance
    ) -> None:
        self.system = system
        self.tolerance = tolerance
        self.steps = 0
        self.structure = structure
        self._step: float | None = None
        unique = {id(mapping): mapping for mapping in parameters}
        places = {key: n for n, key in enumerate(unique)}
        self._set_of = np.array([places[id(mapping)] for mapping in parameters])
        self._sets = [_rates(structure, mapping) for mapping in unique.values()]
        self._volumes = np.array([mapping["V1"] for mapping in parameters])
        self.n_draws = self._volumes.shape[1]

    def nothing(self) -> Array:
        """No amounts, or no inputs."""
        return np.zeros((self.system.rows, self.n_draws))

    def rates(self, record: int) -> _Rates:
        """What holds until a record."""
        return self._sets[self._set_of[record]]

    def go(self, amounts: Array, inputs: Array, lengths: Array, k: _Rates) -> Array:
        """Amounts after `lengths` (h, each draw its own) of constant inputs."""
        longest = float(np.max(lengths))
        if not longest > 0:
            return amounts
        rtol, atol, limit = self.tolerance
        first = None if self._step is None else min(self._step / longest, 1.0)
        leg = advance(
            lambda _, y: lengths * self.system.slope(y, inputs, k),
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
        seen = np.empty((n_records, self.system.rows, self.n_draws))
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
        central = seen[:, self.system.stages]
        return Course(amounts=seen, concentrations=(self.structure.scale * central / self._volumes).T, steps=self.steps)

    def _between(self, amounts: Array, inputs: Array, before: Array, now: Array, record: Indices) -> Array:
        lengths = now - before
        if not np.any(lengths > 0):
            return amounts
        k = self._sets[0] if len(self._sets) == 1 else _picked(self._sets, self._set_of[record])
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


def _picked(sets: Sequence[_Rates], which: Indices) -> _Rates:
    """For each draw the rate constants of its own set."""
    draws = np.arange(which.size)

    def pick(values: Sequence[Array]) -> Array:
        return np.stack(values)[which, draws]

    absorbed = [k.absorbed for k in sets if k.absorbed is not None]
    return _Rates(
        absorbed=pick(absorbed) if absorbed else None,
        linear=pick([k.linear for k in sets]),
        vmax=pick([k.vmax for k in sets]),
        km=pick([k.km for k in sets]),
        out=tuple(pick(values) for values in zip(*(k.out for k in sets), strict=True)),
        back=tuple(pick(values) for values in zip(*(k.back for k in sets), strict=True)),
    )


def _tiled(k: _Rates, copies: int) -> _Rates:
    """The same rate constants for several copies of the draws."""
    return _Rates(
        absorbed=None if k.absorbed is None else np.tile(k.absorbed, copies),
        linear=np.tile(k.linear, copies),
        vmax=np.tile(k.vmax, copies),
        km=np.tile(k.km, copies),
        out=tuple(np.tile(values, copies) for values in k.out),
        back=tuple(np.tile(values, copies) for values in k.back),
    )


def _settled(run: _Run, dose: Dose, record: EventRecord, until: float) -> list[Event]:
    """The steady state at the time of a dose, before it arrives, with what of earlier doses is still to come."""
    time = np.full(run.n_draws, dose.time)
    k = run.rates(dose.record)
    if _endless(record):
        return [Event(time=time, start=(_equilibrium(run, dose.row, record.rate, k), run.nothing()))]
    cycle = _Cycle(run, dose, k)
    pending = dose.lag % dose.steady
    amounts = cycle.flow(cycle.fixed_point(), np.where(pending > 0, dose.steady - pending, 0.0))
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


def _equilibrium(run: _Run, row: int, rate: float, k: _Rates) -> Array:
    """Amounts under an endless infusion of `rate`: what goes in goes out of every compartment."""
    if np.any(k.vmax > 0) and np.any((k.linear == 0) & (rate >= k.vmax)):
        raise _no_steady_state(rate, k)
    b = k.linear * k.km + k.vmax - rate
    central = 2.0 * rate * k.km / (b + np.sqrt(b**2 + 4.0 * k.linear * rate * k.km))
    amounts = run.nothing()
    c = run.system.stages
    amounts[c] = central
    if k.absorbed is not None:
        amounts[row:c] = rate / k.absorbed
    for n, (out, back) in enumerate(zip(k.out, k.back, strict=True), start=c + 1):
        amounts[n] = out / back * central
    if row > c:
        amounts[row] += rate / k.back[row - c - 1]
    return amounts


def _no_steady_state(rate: float, k: _Rates) -> NumericsError:
    return NumericsError(
        f"there is no steady state: {rate:g} per hour is given and at most {np.min(k.vmax):g} per hour is eliminated",
        hint="give less, or give the doses one by one",
    )


class _Cycle:
    """One dosing interval at steady state."""

    def __init__(self, run: _Run, dose: Dose, k: _Rates) -> None:
        self.run, self.dose, self.k = run, dose, k
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
        copies = amounts.shape[1] // self.run.n_draws
        k = _tiled(self.k, copies) if copies > 1 else self.k
        base, more, rest = (np.tile(x, copies) for x in (self.whole * self.rate, self.rate, self.rest))
        upto = np.tile(hours, copies)
        inputs = np.zeros_like(amounts)
        after = amounts.copy()
        after[self.dose.row] += np.where(upto > 0, np.tile(self.at_once, copies), 0.0)
        inputs[self.dose.row] = base + more
        after = self.run.go(after, inputs, np.minimum(rest, upto), k)
        inputs[self.dose.row] = base
        return self.run.go(after, inputs, np.maximum(upto - rest, 0.0), k)

    def fixed_point(self) -> Array:
        """Amounts just before an arrival that one interval leaves as they are, by Newton's method from nothing."""
        n, held = self.run.n_draws, self.run.system.rows - 1
        interval = np.full(n, self.dose.steady)
        amounts = self.run.nothing()
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
