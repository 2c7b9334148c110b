"""A linear compartment model as a system of rates: its states, what flows between them, which are read.

States: the absorption chain, the central compartment, the peripheral ones, the metabolite's where it is asked for,
then one state for the rate of infusion into each compartment that is infused. The metabolite is counted in the
parent's dose unit, by what it was made of; nothing of it goes back, so the parent is the same with it and without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from posologist.core.errors import InputError, ModelError, NumericsError
from posologist.twin.events import EventTable, Record
from posologist.twin.exponential import Array, Matrix

Parameters = Mapping[str, Any]

_PERIPHERAL = (("Q", "V2"), ("Q3", "V3"))
_ABSORPTIONS = ("none", "first-order", "zero-order", "transit")


class Structure(Protocol):
    """What the engine needs to know about a model; `PkModel` has it."""

    @property
    def compartments(self) -> int:
        """1, 2 or 3."""

    @property
    def absorption(self) -> str:
        """none, first-order, zero-order or transit."""

    @property
    def transit(self) -> int:
        """Number of transit stages."""

    @property
    def elimination(self) -> str:
        """Must be linear here."""

    @property
    def scale(self) -> float:
        """Concentration shown = scale * amount / volume (L)."""


class WithMetabolite(Structure, Protocol):
    """A structure that may form a metabolite."""

    @property
    def metabolite_compartments(self) -> int:
        """0 (none), 1 or 2."""

    @property
    def metabolite_scale(self) -> float:
        """Level of the metabolite = metabolite_scale * amount / VM (L)."""


@dataclass(frozen=True)
class System:
    """States of a linear model for one table: absorption `chain`, central, peripheral, metabolite, rates of infusion.

    `metabolite` counts the metabolite's compartments, 0 where it is not asked for.
    """

    structure: Structure
    chain: int
    infused: tuple[int, ...]
    draws: int
    dtype: np.dtype[Any]
    metabolite: int = 0

    @property
    def central(self) -> int:
        """Index of the central compartment's amount."""
        return self.chain

    @property
    def amounts(self) -> int:
        """Number of states that are amounts."""
        return self.formed + self.metabolite

    @property
    def formed(self) -> int:
        """Index of the metabolite's amount, where there is one."""
        return self.chain + self.structure.compartments

    @property
    def size(self) -> int:
        """Number of all states."""
        return self.amounts + len(self.infused)

    def state_of(self, record: Record) -> int:
        """Index of the amount that a dose into the record's compartment reaches first."""
        last = self.structure.compartments + (self.structure.absorption != "none")
        number = compartment_of(record)
        if number > last:
            raise InputError(
                f"a dose into compartment {number}, and the model has {last}",
                where=record.where,
                hint=_NUMBERS[self.structure.absorption != "none"],
            )
        if self.structure.absorption == "none":
            return number - 1
        return 0 if number == 1 else self.chain + number - 2

    def rate_state(self, state: int) -> int:
        """Index of the rate of infusion into an amount."""
        return self.amounts + self.infused.index(state)

    def per_amount(self, mapping: Parameters) -> Array:
        """Concentration per amount in the central compartment."""
        return self.structure.scale / self._positive(mapping, "V1")

    def rates(self, mapping: Parameters) -> Matrix:
        """Rates of change (1/h): element [to][from]; losses on the diagonal; infusions flow at unit rate."""
        flows: dict[tuple[int, int], Array] = {}
        for start, end, rate in [*self._absorbed(mapping), *self._distributed(mapping)]:
            flows[start, start] = flows.get((start, start), 0.0) - rate
            if end >= 0:
                flows[end, start] = rate
        if "FP" in mapping:
            self._pass_first(flows, mapping)
        if self.metabolite:
            self._form(flows, mapping)
        flows.update({(state, self.rate_state(state)): np.ones(1) for state in self.infused})
        return [[flows.get((i, j)) for j in range(self.size)] for i in range(self.size)]

    def _absorbed(self, mapping: Parameters) -> list[tuple[int, int, Array]]:
        stages = self.structure.transit if self.structure.absorption == "transit" else 0
        chain = [(i, i + 1, self._positive(mapping, "KTR")) for i in range(stages)]
        return chain + [(i, i + 1, self._positive(mapping, "KA")) for i in range(stages, self.chain)]

    def _distributed(self, mapping: Parameters) -> list[tuple[int, int, Array]]:
        volume, central = self._positive(mapping, "V1"), self.central
        flows = [(central, -1, self._positive(mapping, "CL", zero=True) / volume)]
        for i, (q_name, v_name) in enumerate(_PERIPHERAL[: self.structure.compartments - 1], start=1):
            q, v = self._positive(mapping, q_name, zero=True), self._positive(mapping, v_name)
            flows += [(central, central + i, q / volume), (central + i, central, q / v)]
        return flows

    def _pass_first(self, flows: dict[tuple[int, int], Array], mapping: Parameters) -> None:
        """Take what is absorbed as metabolite from what reaches the central compartment."""
        share = first_pass(mapping)
        absorbed = flows[self.central, self.chain - 1]
        flows[self.central, self.chain - 1] = absorbed * (1.0 - share)
        if self.metabolite:
            flows[self.formed, self.chain - 1] = absorbed * share

    def _form(self, flows: dict[tuple[int, int], Array], mapping: Parameters) -> None:
        volume, formed = self._positive(mapping, "VM"), self.formed
        eliminated = self._positive(mapping, "CL", zero=True) / self._positive(mapping, "V1")
        share = self._positive(mapping, "FM", zero=True) if "FM" in mapping else np.ones(1)
        flows[formed, self.central] = eliminated * share
        lost = self._positive(mapping, "CLM", zero=True) / volume
        if self.metabolite > 1:
            q, v = self._positive(mapping, "QM", zero=True), self._positive(mapping, "VM2")
            flows |= {(formed + 1, formed): q / volume, (formed, formed + 1): q / v, (formed + 1, formed + 1): -q / v}
            lost = lost + q / volume
        flows[formed, formed] = -lost

    def per_metabolite(self, mapping: Parameters, scale: float) -> Array:
        """Level of the metabolite per amount in its first compartment."""
        return scale / self._positive(mapping, "VM")

    def _positive(self, mapping: Parameters, name: str, *, zero: bool = False) -> Array:
        if name not in mapping:
            raise NumericsError(f"the parameter {name} is missing", hint="the structure needs it")
        value = np.asarray(mapping[name])
        real = np.real(value)
        if not np.all(np.isfinite(real) & ((real >= 0) if zero else (real > 0))):
            raise NumericsError(f"the parameter {name} is not positive", hint="check the model's equations")
        return value


_NUMBERS = (
    "1 is the central compartment, 2 and 3 the peripheral ones",
    "1 is the depot, 2 the central compartment, 3 and 4 the peripheral ones",
)


def first_pass(mapping: Parameters) -> Array:
    """Share of an absorbed dose that reaches the body as metabolite.

    Raises
    ------
    NumericsError
        If it is not between 0 and 1.
    """
    share = np.asarray(mapping["FP"])
    if not np.all((np.real(share) >= 0) & (np.real(share) <= 1)):
        raise NumericsError("FP is not between 0 and 1", hint="check the model's equations")
    return share


def compartment_of(record: Record) -> int:
    """The compartment number of a dose; the first one where the record names none."""
    return record.cmt or 1


def system_of(
    structure: Structure, parameters: Sequence[Parameters], table: EventTable, *, metabolite: int = 0
) -> System:
    """The system of a structure for the doses of a table, with as many compartments of a metabolite.

    Raises
    ------
    InputError
        If a dose goes into a compartment that the model lacks.
    ModelError
        If the structure is not a linear one that is known here, or has a first pass without a place of absorption.
    """
    if structure.elimination != "linear" or structure.absorption not in _ABSORPTIONS:
        raise ModelError(
            f"{structure.elimination} elimination with {structure.absorption} absorption has no exact solution here",
            hint="integrate the model instead",
        )
    values = [np.asarray(value) for mapping in {id(m): m for m in parameters}.values() for value in mapping.values()]
    draws = max((value.size for value in values), default=1)
    stages = structure.transit if structure.absorption == "transit" else 0
    depot = structure.absorption == "first-order" or (stages > 0 and any("KA" in mapping for mapping in parameters[:1]))
    if not stages + depot and any("FP" in mapping for mapping in parameters):
        raise ModelError("FP needs first-order or transit absorption", hint="leave FP out")
    bare = System(structure, stages + depot, (), draws, np.result_type(np.float64, *values), metabolite)
    infused = {bare.state_of(r) for r in table.records if r.is_dose and (r.rate or _zero_order(structure, r))}
    return replace(bare, infused=tuple(sorted(infused)))


def _zero_order(structure: Structure, record: Record) -> bool:
    return structure.absorption == "zero-order" and compartment_of(record) == 1
