"""What a linear system does to its state over any time: exponentials, batched, each computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posologist.twin.exponential import Array, Matrix, exponential
from posologist.twin.system import Parameters, System

_CHUNK = 200_000  # exponentials computed at once: bounds the memory

Request = tuple[Array, Array]
"""Record whose parameters hold, and time (h); arrays over draws, of size 1 where all draws share them."""


class Flow:
    """Exponentials of the rates that hold in the interval that ends at a record."""

    def __init__(self, system: System, parameters: Sequence[Parameters]) -> None:
        self.system = system
        place: dict[int, int] = {}
        self._group = np.asarray([place.setdefault(id(mapping), len(place)) for mapping in parameters], dtype=np.intp)
        distinct = {id(mapping): mapping for mapping in parameters}
        self._rates = [system.rates(mapping) for mapping in distinct.values()]

    def over(self, requests: Sequence[Request]) -> list[Matrix | None]:
        """exp(rates * time) for each request; None where the time is 0 for all draws."""
        found: list[Matrix | None] = [None] * len(requests)
        keyed: dict[tuple[int, complex], list[int]] = {}
        own: list[list[int]] = []
        for i, (record, time) in enumerate(requests):
            if not np.any(time):
                continue
            if record.size == time.size == 1:
                keyed.setdefault((int(self._group[record.item()]), time.item()), []).append(i)
            else:
                own.append([i])
        for members, draws in ((list(keyed.values()), 1), (own, self.system.draws)):
            self._fill(found, requests, members, draws)
        return found

    def _fill(
        self, found: list[Matrix | None], requests: Sequence[Request], members: Sequence[Sequence[int]], draws: int
    ) -> None:
        chunk = max(1, _CHUNK // self.system.draws)
        for start in range(0, len(members), chunk):
            some = members[start : start + chunk]
            time = np.stack([np.broadcast_to(requests[same[0]][1], (draws,)) for same in some])
            group = np.stack([np.broadcast_to(self._group[requests[same[0]][0]], (draws,)) for same in some])
            matrix = exponential(self._matrix(group), time)
            for row, same in enumerate(some):
                one: Matrix = [[None if a is None else a[row] for a in line] for line in matrix]
                for i in same:
                    found[i] = one

    def _matrix(self, group: Array) -> Matrix:
        """The rates of each pair (request, draw)."""
        if len(self._rates) == 1:
            return self._rates[0]
        draws = self.system.draws
        pick, lanes = np.broadcast_to(group, (len(group), draws)), np.arange(draws)
        size = range(self.system.size)
        return [[_picked([rates[i][j] for rates in self._rates], pick, lanes) for j in size] for i in size]


def _picked(elements: Sequence[Array | None], pick: Array, lanes: Array) -> Array | None:
    present = [np.broadcast_to(element, lanes.shape) for element in elements if element is not None]
    return np.asarray(np.stack(present)[pick, lanes]) if present else None
