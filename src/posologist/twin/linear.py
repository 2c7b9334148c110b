"""Concentrations of linear models after any events, exact, vectorised over draws.

A linear model is `dx/dt = A x + u`, x the amounts in the absorption chain, the central and the peripheral
compartments, u the running infusions. The rates of infusion are states too (they do not change between events), so
that one matrix exponential carries everything from one event to the next. Off-diagonal elements of `A` are never
negative: after a shift by the largest loss, Taylor's series and the squarings add no numbers of opposite sign,
therefore coinciding rates (ka = ke), tiny and huge rates keep their digits. Complex parameters (complex-step
derivatives) pass through.

References
----------
nonmem-guide-vi, chapter V (event records); vanloan-1978 (integrals by the exponential of a larger matrix)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from posologist.core.errors import NumericsError
from posologist.twin.events import RESET, RESET_AND_DOSE, EventTable, Record
from posologist.twin.exponential import Array, Matrix, exponential
from posologist.twin.inputs import Jump, jumps_of
from posologist.twin.system import Parameters, Structure, System, system_of

_TIE_DIGITS = 9  # an input within 1e-9 h of a record's time counts as at that time
_CHUNK = 200_000  # exponentials computed at once: bounds the memory


def predict(structure: Structure, parameters: Sequence[Parameters], table: EventTable) -> Array:
    """Central concentrations (in `scale` units) at every record's time, shape (n_draws, n_records).

    At a record that gives a dose the concentration is the one after it; a dose that another record implies (ADDL,
    lag) for exactly this time has been given.

    Parameters
    ----------
    structure
        Compartments, absorption, transit stages, elimination and scale.
    parameters
        For each record a mapping of structural parameters (CL, V1, Q, V2, Q3, V3, KA, KTR, F, LAG, D; F2, LAG2, R1,
        D1 ... for single compartments) to arrays (n_draws,) or numbers. Mapping i holds over the interval that ends
        at record i, and for the doses that are given in it.
    table
        The subject's records.

    Raises
    ------
    InputError
        If a dose goes into a compartment that the model lacks, or its rate or duration is not given.
    ModelError
        If the model is not linear.
    NumericsError
        If a parameter is missing, not positive or not finite.
    """
    if len(parameters) != len(table.records):
        raise NumericsError(
            f"{len(parameters)} mappings of parameters for {len(table.records)} records",
            where=table.subject,
            hint="give one mapping per record",
        )
    system = system_of(structure, parameters, table)
    parts = [_epoch(system, parameters, table.records, first, last) for first, last in _epochs(table.records)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((system.draws, 0))


def _epochs(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Stretches of records [first, last) between resets: EVID 3, EVID 4 and SS 1 forget all that was before."""
    starts = [i for i, r in enumerate(records) if i == 0 or r.evid in (RESET, RESET_AND_DOSE) or r.ss == 1]
    return list(pairwise([*starts, len(records)]))


@dataclass(frozen=True)
class _Row:
    """A point on the time line: amounts that are added to states, or a record to be answered."""

    time: Array
    added: dict[int, Array]
    record: int


def _epoch(system: System, parameters: Sequence[Parameters], records: Sequence[Record], first: int, last: int) -> Array:
    rows: list[_Row] = []
    for i in range(first, last):
        if records[i].is_dose:
            jumps = jumps_of(system, parameters, records, i, last)
            rows += [_Row(jump.time, jump.added, -1) for jump in jumps if _in_time(jump, records[last - 1].time)]
        rows.append(_Row(np.asarray([records[i].time]), {}, i))
    times = np.stack(np.broadcast_arrays(*(row.time for row in rows)))
    order = np.argsort(np.round(np.real(times), _TIE_DIGITS), axis=0, kind="stable")
    if np.all(order == order[:, :1]):
        return _along(system, parameters, [rows[k] for k in order[:, 0]], times[order[:, 0]], last - first)
    return _each_its_own(system, parameters, rows, times, order, last - first)


def _in_time(jump: Jump, end: float) -> bool:
    return bool(np.min(np.real(jump.time)) <= end + 10.0**-_TIE_DIGITS)


def _steps(times: Array) -> Array:
    steps = np.diff(times, axis=0, prepend=times[:1])
    return np.asarray(np.where(np.real(steps) < 0, steps - np.real(steps), steps))


def _along(
    system: System, parameters: Sequence[Parameters], rows: Sequence[_Row], times: Array, n_records: int
) -> Array:
    """All draws meet the events in the same order."""
    following = _following(np.asarray([row.record for row in rows]).reshape(-1, 1))
    carry = _Carrier(system, parameters, _steps(times), following)
    state = system.zero(parameters)
    out = np.zeros((n_records, system.draws), dtype=system.dtype)
    first = min(row.record for row in rows if row.record >= 0)
    for k, row in enumerate(rows):
        state = carry(k, state)
        for target, amount in row.added.items():
            state[target] = state[target] + amount
        if row.record >= 0:
            out[row.record - first] = state[system.central] * system.per_amount(parameters[row.record])
    return out.T


def _each_its_own(
    system: System, parameters: Sequence[Parameters], rows: Sequence[_Row], times: Array, order: Array, n_records: int
) -> Array:
    """Lags or durations differ so much between draws that each meets the events in its own order."""
    draws, size = system.draws, system.size
    added = np.zeros((len(rows), size, draws), dtype=system.dtype)
    for k, row in enumerate(rows):
        for target, amount in row.added.items():
            added[k, target] = amount
    record = np.asarray([row.record for row in rows])[order]
    added = np.take_along_axis(added, order[:, None, :], axis=0)
    carry = _Carrier(system, parameters, _steps(np.take_along_axis(times, order, axis=0)), _following(record))
    state = system.zero(parameters)
    first = min(row.record for row in rows if row.record >= 0)
    amounts = np.zeros((n_records, draws), dtype=system.dtype)
    for k in range(len(rows)):
        state = [value + added[k, i] for i, value in enumerate(carry(k, state))]
        lanes = np.flatnonzero(record[k] >= 0)
        amounts[record[k, lanes] - first, lanes] = state[system.central][lanes]
    per_amount = np.stack([system.per_amount(parameters[first + i]) for i in range(n_records)])
    return np.asarray((amounts * per_amount).T)


def _following(record: Array) -> Array:
    """For each point the record at or after it, whose parameters hold in the interval that ends at the point."""
    largest = int(record.max())
    filled = np.where(record >= 0, record, largest)
    return np.asarray(np.minimum.accumulate(filled[::-1], axis=0)[::-1])


class _Carrier:
    """Carries the state over step k; exponentials of equal steps with equal parameters are computed once."""

    def __init__(self, system: System, parameters: Sequence[Parameters], steps: Array, following: Array) -> None:
        self._system = system
        self._groups, members = _distinct(system, parameters)
        self._steps, self._group = steps, members[following]
        self._shared = steps.shape[1] == 1 and self._group.shape[1] == 1
        self._where: dict[int, tuple[int, Matrix]] = {}
        if self._shared:
            self._once()

    def _once(self) -> None:
        pairs = list(zip(self._group[:, 0].tolist(), self._steps[:, 0].tolist(), strict=True))
        distinct = list(dict.fromkeys(pair for pair in pairs if pair[1] != 0))
        chunk = max(1, _CHUNK // self._system.draws)
        place: dict[tuple[int, complex], tuple[int, Matrix]] = {}
        for start in range(0, len(distinct), chunk):
            some = distinct[start : start + chunk]
            steps = np.asarray([[step] for _, step in some])
            matrix = exponential(self._rates(np.asarray([[group] for group, _ in some])), steps)
            place.update({pair: (i, matrix) for i, pair in enumerate(some)})
        self._where = {k: place[pair] for k, pair in enumerate(pairs) if pair in place}

    def _rates(self, group: Array) -> Matrix:
        """The rates of each pair (step, draw)."""
        if len(self._groups) == 1:
            return self._groups[0]
        lanes = np.arange(self._system.draws)
        pick = np.broadcast_to(group, (group.shape[0], self._system.draws))
        size = range(self._system.size)
        return [[_picked([g[i][j] for g in self._groups], pick, lanes) for j in size] for i in size]

    def _find(self, k: int) -> tuple[int, Matrix] | None:
        if self._shared:
            return self._where.get(k)
        if k not in self._where:
            chunk = max(1, _CHUNK // self._system.draws)
            matrix = exponential(self._rates(self._group[k : k + chunk]), self._steps[k : k + chunk])
            stop = min(k + chunk, len(self._steps))
            self._where = {step: (step - k, matrix) for step in range(k, stop)}
        return self._where[k]

    def __call__(self, k: int, state: list[Array]) -> list[Array]:
        found = self._find(k)
        if found is None:
            return list(state)
        row, matrix = found
        result = list(state)
        for i in range(self._system.amounts):
            result[i] = _sum(matrix[i], row, state)
        return result


def _picked(elements: Sequence[Array | None], pick: Array, lanes: Array) -> Array | None:
    """One element of the matrix, of each group, chosen for each pair (step, draw)."""
    present = [np.broadcast_to(element, lanes.shape) for element in elements if element is not None]
    return np.asarray(np.stack(present)[pick, lanes]) if present else None


def _sum(elements: Sequence[Array | None], row: int, state: Sequence[Array]) -> Array:
    total = None
    for element, value in zip(elements, state, strict=True):
        if element is not None:
            term = element[row] * value
            total = term if total is None else total + term
    return np.asarray(total)


def _distinct(system: System, parameters: Sequence[Parameters]) -> tuple[list[Matrix], Array]:
    """The distinct matrices of rates, and for each record which one holds."""
    matrices: list[Matrix] = []
    seen: dict[int, int] = {}
    members = []
    for mapping in parameters:
        if id(mapping) not in seen:
            seen[id(mapping)] = len(matrices)
            matrices.append(system.rates(mapping))
        members.append(seen[id(mapping)])
    return matrices, np.asarray(members)
