"""Concentrations of linear models after any events, exact, vectorised over draws.

A linear model is `dx/dt = A x + u`, x the amounts in the absorption chain, the central and the peripheral
compartments, u the running infusions. The rates of infusion are states too (they do not change between events), so
that one matrix exponential carries everything from one record to the next. What enters between two records is
carried to the later one by itself and added, so that draws may have lags and durations of their own.

Off-diagonal elements of `A` are never negative: after a shift by the largest loss, Taylor's series and the squarings
add no numbers of opposite sign, therefore coinciding rates (ka = ke), tiny and huge rates keep their digits. Complex
parameters (complex-step derivatives) pass through.

References
----------
nonmem-guide-vi, chapter V (event records); vanloan-1978 (integrals by the exponential of a larger matrix)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from posologist.core.errors import NumericsError
from posologist.twin.events import RESET, RESET_AND_DOSE, EventTable, Record
from posologist.twin.exponential import Array, Matrix, apply
from posologist.twin.flow import Flow, Request
from posologist.twin.inputs import Infusion, Jump, inputs_of
from posologist.twin.system import Parameters, Structure, System, WithMetabolite, system_of

_TIE = 1e-9  # an input within this time (h) of a record counts as at the record


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
    _check_number(parameters, table)
    return _answers(system_of(structure, parameters, table), parameters, table, 0.0)[0]


def predict_outputs(structure: WithMetabolite, parameters: Sequence[Parameters], table: EventTable) -> dict[str, Array]:
    """`predict` under "concentration" and, where the structure forms one, the metabolite's levels under "metabolite".

    The parameters are those of `predict` and CLM, VM, QM, VM2, FM, FP. The metabolite's levels are in the unit that
    `metabolite_scale` makes of the parent's dose unit per L.
    """
    _check_number(parameters, table)
    system = system_of(structure, parameters, table, metabolite=structure.metabolite_compartments)
    answers = _answers(system, parameters, table, structure.metabolite_scale)
    return dict(zip(("concentration", "metabolite"), answers, strict=False))


def _check_number(parameters: Sequence[Parameters], table: EventTable) -> None:
    if len(parameters) != len(table.records):
        raise NumericsError(
            f"{len(parameters)} mappings of parameters for {len(table.records)} records",
            where=table.subject,
            hint="give one mapping per record",
        )


def _answers(system: System, parameters: Sequence[Parameters], table: EventTable, scale: float) -> list[Array]:
    """Central concentrations and, where the system has it, the metabolite's levels, each (n_draws, n_records)."""
    flow = Flow(system, parameters)
    n_outputs = 2 if system.metabolite else 1
    parts = [_epoch(flow, parameters, table.records, first, last, scale) for first, last in _epochs(table.records)]
    nothing = np.zeros((n_outputs, system.draws, 0))
    return list(np.concatenate(parts, axis=2) if parts else nothing)


def _epochs(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Stretches of records [first, last) between resets: EVID 3, EVID 4 and SS 1 forget all that was before."""
    starts = [i for i, r in enumerate(records) if i == 0 or r.evid in (RESET, RESET_AND_DOSE) or r.ss == 1]
    return list(pairwise([*starts, len(records)]))


class _Arrivals:
    """What enters in an epoch, as parts that are carried to the first record at or after them.

    A part is amounts at a time or a rate between two times, both inside the interval that ends at the record; over
    whole intervals the rate of an infusion is a state. Nothing is ever taken away from an amount.
    """

    def __init__(self, flow: Flow, times: Array, first: int) -> None:
        self._flow, self._times, self._first = flow, times, first
        self._parts: list[tuple[Array, Array, dict[int, Array]]] = []
        self._requests: list[Request] = []
        self.switched: list[list[tuple[int, Array]]] = [[] for _ in times]

    def add(self, jump: Jump, source: int) -> None:
        """Amounts that enter at a time; not before record `source`, which causes them."""
        at = self._record(jump.time, source)
        self._part(at, jump.added, jump.time, jump.time)

    def add_infusion(self, infusion: Infusion, source: int) -> None:
        """A rate between two times."""
        start, end = np.broadcast_arrays(infusion.start, infusion.end)
        began, ended = self._record(start, source), self._record(end, source)
        target = self._flow.system.rate_state(infusion.state)
        rate = {target: infusion.rate}
        here = ended == began
        self._part(began, rate, start, np.where(here, end, self._time(began)))
        if np.all(here):
            return
        self._part(np.where(here, len(self._times), ended), rate, self._time(ended - 1), end)
        for k in range(int(np.min(began)), min(int(np.max(ended)), len(self._times))):
            change = ((began == k) & ~here) * 1.0 - ((ended - 1 == k) & ~here) * 1.0
            if np.any(change):
                self.switched[k].append((target, change * infusion.rate))

    def _record(self, time: Array, source: int) -> Array:
        return np.maximum(np.searchsorted(self._times, np.real(time) - _TIE), source)

    def _time(self, at: Array) -> Array:
        return np.asarray(self._times[np.clip(at, 0, len(self._times) - 1)])

    def _part(self, at: Array, added: dict[int, Array], start: Array, end: Array) -> None:
        """Amounts or rates from `start` to `end`, then carried to record `at`; no part where that is beyond all."""
        within = at < len(self._times)
        if not np.any(within):
            return
        record = np.minimum(at, len(self._times) - 1) + self._first
        self._parts.append((at, within, added))
        self._requests += [
            (record, np.where(within, _not_negative(end - start), 0.0)),
            (record, np.where(within, _not_negative(self._time(at) - end), 0.0)),
        ]

    def carried(self) -> tuple[list[list[tuple[Array, list[Array]]]], list[Matrix | None]]:
        """For each record the draws that a part reaches there and the amounts it then is; and all intervals."""
        n, times = len(self._times), self._times
        intervals = [(np.asarray([self._first + k]), times[k : k + 1] - times[max(k - 1, 0)]) for k in range(n)]
        matrices = self._flow.over([*intervals, *self._requests])
        return self._reached(matrices[n:]), matrices[:n]

    def _reached(self, carried: list[Matrix | None]) -> list[list[tuple[Array, list[Array]]]]:
        reached: list[list[tuple[Array, list[Array]]]] = [[] for _ in self._times]
        size, amounts = self._flow.system.size, self._flow.system.amounts
        for i, (at, within, added) in enumerate(self._parts):
            during, after = carried[2 * i : 2 * i + 2]
            vector: list[Array | None] = [added.get(state) for state in range(size)]
            vector = apply(during, vector)[:amounts] + [None] * (size - amounts)
            arrived = [np.zeros(1) if a is None else a for a in apply(after, vector)[:amounts]]
            for k in np.unique(at[within]):
                reached[k].append((at == k, arrived))
        return reached


def _not_negative(time: Array) -> Array:
    return np.asarray(np.where(np.real(time) < 0, time - np.real(time), time))


def _epoch(
    flow: Flow, parameters: Sequence[Parameters], records: Sequence[Record], first: int, last: int, scale: float
) -> Array:
    """Outputs at the records [first, last), which begin with nothing in the body; `scale` is the metabolite's."""
    system = flow.system
    times = np.asarray([record.time for record in records[first:last]])
    arrivals = _Arrivals(flow, times, first)
    for i in range(first, last):
        if records[i].is_dose:
            for entering in inputs_of(system, parameters[i], records[i], float(times[-1])):
                if isinstance(entering, Jump):
                    arrivals.add(entering, i - first)
                else:
                    arrivals.add_infusion(entering, i - first)
    parts, intervals = arrivals.carried()
    state: list[Array | None] = [None] * system.size
    answers = np.zeros((2 if system.metabolite else 1, system.draws, len(times)), dtype=system.dtype)
    for k in range(len(times)):
        state = [*apply(intervals[k], state)[: system.amounts], *state[system.amounts :]]
        for reached, arrived in parts[k]:
            for target, amount in enumerate(arrived):
                state[target] = _plus(state[target], amount, reached)
        for target, rate in arrivals.switched[k]:
            state[target] = _plus(state[target], rate, np.ones(1, dtype=bool))
        central = state[system.central]
        if central is not None:
            answers[0, :, k] = central * system.per_amount(parameters[first + k])
        formed = state[system.formed] if system.metabolite else None
        if formed is not None:
            answers[1, :, k] = formed * system.per_metabolite(parameters[first + k], scale)
    return answers


def _plus(value: Array | None, amount: Array, reached: Array) -> Array:
    added = amount if np.all(reached) else np.where(reached, amount, 0.0)
    return added if value is None else value + added
