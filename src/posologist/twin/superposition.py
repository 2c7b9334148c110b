"""Levels of linear models whose parameters do not change: every dose's closed form, added up.

Many patients at once, each with doses and levels at times of their own. It answers what `linear.predict` answers for
boluses, infusions and first-order absorption, without steady states and resets, in fewer operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from posologist.twin.compartment import (
    Array,
    absorption,
    after_absorbed,
    after_bolus,
    after_infusion,
    disposition,
)
from posologist.twin.system import Structure

Kind = Literal["bolus", "infusion", "absorbed"]

_TIE_H = 1e-9  # a level this close to a dose is at its time
PERIPHERAL = (("Q", "V2"), ("Q3", "V3"))
_MOST_PAIRS = 10_000_000  # numbers beyond which the pairs are not written out
_NOT_YET = -1.0  # hours since a dose that a level does not show


@dataclass(frozen=True)
class Doses:
    """Doses of one kind, as pairs of a dose and a level that may show it.

    Hours since the dose at the level and duration of the dose (h; 1 where there is none), each (n_patients, n_pairs);
    amounts (n_patients, n_pairs); the level of each pair, as an indicator (n_pairs, n_levels).
    """

    since: Array
    amount: Array
    duration: Array
    level: Array


@dataclass(frozen=True)
class Schedule:
    """Doses of patients by kind."""

    structure: Structure
    n_levels: int
    doses: Mapping[Kind, Doses]

    def levels(self, parameters: Mapping[str, Array], owner: Any) -> Array:
        """Concentrations (in `scale` units) at the levels, (n_draws, n_levels), of draws of the patients `owner`."""
        pairs = [(parameters[q], parameters[v]) for q, v in PERIPHERAL[: self.structure.compartments - 1]]
        body = disposition(parameters["CL"], parameters["V1"], peripheral=pairs)
        total = np.zeros((len(parameters["CL"]), self.n_levels))
        for kind, doses in self.doses.items():
            alone = len(doses.amount) == 1
            since, amount, duration = (
                part if alone else part[owner] for part in (doses.since, doses.amount, doses.duration)
            )
            if kind == "bolus":
                answer = after_bolus(body, 1.0, since)
            elif kind == "infusion":
                answer = after_infusion(body, 1.0, duration, since)
            else:
                taken_up = absorption(parameters["KA"], parameters.get("F", 1.0), parameters.get("LAG", 0.0))
                answer = after_absorbed(body, 1.0, since, absorbed=taken_up)
            total += (answer * amount) @ doses.level
        return np.asarray(self.structure.scale * total)


def kinds_of(structure: Any, records: Sequence[Any], names: Sequence[str]) -> tuple[Kind, ...] | None:
    """Kinds of dose of a patient in order of their name, or None where superposition does not hold.

    `names` are those of the parameters: bioavailability and lag are known for absorbed doses only.
    """
    absorbing = structure.absorption == "first-order"
    known = {"CL", "V1", "Q", "V2", "Q3", "V3"} | ({"KA", "F", "LAG"} if absorbing else set())
    if structure.elimination != "linear" or structure.absorption not in ("none", "first-order") or set(names) - known:
        return None
    if _pairs(records) > _MOST_PAIRS:
        return None
    kinds: set[Kind] = set()
    for record in records:
        if record.evid == 1:
            central = (record.cmt or 1) == (2 if absorbing else 1)
            depot = absorbing and (record.cmt or 1) == 1 and record.rate == 0
            if record.ss or record.rate < 0 or not (central or depot):
                return None
            kinds.add(_kind(record, depot))
        elif record.evid not in (0, 2):
            return None
    return tuple(sorted(kinds))


def _pairs(records: Sequence[Any]) -> int:
    """Numbers that the pairs of doses and levels hold at most."""
    levels = sum(record.evid == 0 for record in records)
    return int(sum(record.addl + 1 for record in records if record.evid == 1) * levels**2)


def _kind(record: Any, depot: bool) -> Kind:
    if depot:
        return "absorbed"
    return "infusion" if record.rate > 0 else "bolus"


def schedule_of(
    structure: Structure, kinds: Sequence[Kind], patients: Sequence[tuple[Sequence[Any], Sequence[int]]]
) -> Schedule:
    """Schedule of patients, each as records and the positions of its levels, equally many."""
    absorbing = structure.absorption == "first-order"
    n_levels = len(patients[0][1])
    doses = {kind: _doses(kind, absorbing, patients) for kind in kinds}
    return Schedule(structure, n_levels, doses)


def _given(records: Sequence[Any], kind: Kind, absorbing: bool) -> Iterator[tuple[int, float, float, float]]:
    """Position of the record, time, amount and duration of each dose of a kind; implied doses have position -1."""
    for i, record in enumerate(records):
        if record.evid == 1 and _kind(record, absorbing and (record.cmt or 1) == 1) == kind:
            duration = record.amt / record.rate if record.rate > 0 else 1.0
            for k in range(record.addl + 1):
                yield (i if k == 0 else -1), record.time + k * record.ii, record.amt, duration


def _doses(kind: Kind, absorbing: bool, patients: Sequence[tuple[Sequence[Any], Sequence[int]]]) -> Doses:
    given = [list(_given(records, kind, absorbing)) for records, _ in patients]
    most = max(len(own) for own in given)
    since = np.full((len(patients), most, len(patients[0][1])), _NOT_YET)
    amount, duration = np.zeros(since.shape), np.ones(since.shape)
    for p, (own, (records, at)) in enumerate(zip(given, patients, strict=True)):
        times = np.array([records[i].time for i in at])
        place, start, dose, hours = (np.array(column) for column in zip(*own, strict=True))
        elapsed = times - start[:, None]
        elapsed[np.abs(elapsed) < _TIE_H] = 0.0
        elapsed[place[:, None] > np.array(at)] = _NOT_YET
        since[p, : len(own)], amount[p, : len(own)], duration[p, : len(own)] = elapsed, dose[:, None], hours[:, None]
    shown = (since >= 0).any(axis=0)
    level = np.eye(since.shape[2])[np.nonzero(shown)[1]]
    return Doses(since[:, shown], amount[:, shown], duration[:, shown], level)
