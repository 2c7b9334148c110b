"""The compartments of a model whose elimination may saturate: rows, rate constants and the slope of the amounts.

Rows: places of absorption (the depot, or the stages of a transit chain), central, peripheral, those of a metabolite
where it is asked for, eliminated. FM is the share of all elimination, linear and saturable, that forms the metabolite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError
from posologist.twin.timeline import Compartments

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


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


class WithMetabolite(Structure, Protocol):
    """A structure that may form a metabolite of 1 or 2 compartments (0: none)."""

    @property
    def metabolite_compartments(self) -> int: ...
    @property
    def metabolite_scale(self) -> float: ...


class Metabolite(NamedTuple):
    """Share of the elimination that forms it and its rate constants (1/h), each (n_draws,)."""

    share: Array
    lost: Array
    out: Array
    back: Array


@dataclass(frozen=True)
class Rates:
    """Rate constants, each (n_draws,): `absorbed` 1/h, `linear` 1/h, `vmax` amount/h, `km` amount, pairs 1/h.

    `first_pass` is the share of what is absorbed that comes as metabolite.
    """

    absorbed: Array | None
    linear: Array
    vmax: Array
    km: Array
    out: tuple[Array, ...]
    back: tuple[Array, ...]
    first_pass: Array | None = None
    metabolite: Metabolite | None = None

    def of(self, draws: Indices) -> Rates:
        """The rate constants of some draws, in this order; a draw may come more than once."""
        return Rates(
            absorbed=None if self.absorbed is None else self.absorbed[draws],
            linear=self.linear[draws],
            vmax=self.vmax[draws],
            km=self.km[draws],
            out=tuple(values[draws] for values in self.out),
            back=tuple(values[draws] for values in self.back),
            first_pass=None if self.first_pass is None else self.first_pass[draws],
            metabolite=None if self.metabolite is None else Metabolite(*(values[draws] for values in self.metabolite)),
        )


@dataclass(frozen=True)
class Rows:
    """The rows of a structure: `stages` places of absorption, central, `peripheral`, `metabolite`, eliminated."""

    stages: int
    peripheral: int
    metabolite: int = 0

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.formed + self.metabolite + 1

    @property
    def formed(self) -> int:
        """Row of the metabolite, where there is one."""
        return self.stages + self.peripheral + 1

    def slope(self, amounts: Array, inputs: Array, k: Rates) -> Array:
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
            if k.first_pass is not None:
                past = k.first_pass * moved[-1]
                change[c] -= past
                change[self.formed if self.metabolite else -1] += past
        for n, (out, back) in enumerate(zip(k.out, k.back, strict=True), start=c + 1):
            exchange = out * central - back * amounts[n]
            change[c] -= exchange
            change[n] += exchange
        if k.metabolite is not None:
            self._form(change, amounts, k.metabolite.share * gone, k.metabolite)
        return change

    def _form(self, change: Array, amounts: Array, made: Array, k: Metabolite) -> None:
        m = self.formed
        lost = k.lost * amounts[m]
        change[m] += made - lost
        change[-1] += lost - made
        if self.metabolite > 1:
            exchange = k.out * amounts[m] - k.back * amounts[m + 1]
            change[m] -= exchange
            change[m + 1] += exchange


def rows_of(structure: Structure, metabolite: int = 0) -> Rows:
    """The rows of a structure and of a metabolite's compartments; an InputError for one that is not known here."""
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
    return Rows(stages=stages, peripheral=structure.compartments - 1, metabolite=metabolite)


def places_of(structure: Structure, rows: Rows) -> Compartments:
    """The row of each compartment number."""
    own = tuple(range(rows.stages, rows.stages + rows.peripheral + 1))
    absorbed = structure.absorption != "none"
    first = (0 if rows.stages else own[0],) if absorbed else ()
    return Compartments(rows=first + own, absorbed=absorbed, zero_order=structure.absorption == "zero-order")


def rates_of(structure: Structure, p: Mapping[str, Array], metabolite: int = 0) -> Rates:
    """Rate constants of one set of parameters and of a metabolite's compartments."""
    linear, saturable = structure.elimination != "michaelis-menten", structure.elimination != "linear"
    v1 = _positive(p, "V1")
    none = np.zeros_like(v1)
    pairs = [("Q", "V2"), ("Q3", "V3")][: structure.compartments - 1]
    absorbing = {"first-order": "KA", "transit": "KTR"}.get(structure.absorption)
    with np.errstate(over="ignore"):  # a rate that is not finite ends the integration with an error
        return Rates(
            absorbed=_positive(p, absorbing) if absorbing else None,
            linear=_positive(p, "CL") / v1 if linear else none,
            vmax=_positive(p, "VMAX") if saturable else none,
            km=_positive(p, "KM") * v1 / structure.scale if saturable else none + 1.0,
            out=tuple(_positive(p, q) / v1 for q, _ in pairs),
            back=tuple(_positive(p, q) / _positive(p, v) for q, v in pairs),
            first_pass=_first_pass(structure, p) if "FP" in p else None,
            metabolite=_metabolite(p, metabolite) if metabolite else None,
        )


def _first_pass(structure: Structure, p: Mapping[str, Array]) -> Array:
    if structure.absorption not in ("first-order", "transit"):
        raise InputError("FP needs first-order or transit absorption", hint="leave FP out")
    if np.any(p["FP"] > 1):
        raise InputError("FP must not be above 1", hint="check the model's parameters")
    return _not_negative(p, "FP")


def _metabolite(p: Mapping[str, Array], compartments: int) -> Metabolite:
    volume = _positive(p, "VM")
    none = np.zeros_like(volume)
    exchanged = compartments > 1
    return Metabolite(
        share=_not_negative(p, "FM") if "FM" in p else none + 1.0,
        lost=_positive(p, "CLM") / volume,
        out=_positive(p, "QM") / volume if exchanged else none,
        back=_positive(p, "QM") / _positive(p, "VM2") if exchanged else none + 1.0,
    )


def _not_negative(p: Mapping[str, Array], name: str) -> Array:
    if not np.all((p[name] >= 0) & np.isfinite(p[name])):
        raise InputError(f"{name} must be a number that is not negative", hint="check the model's parameters")
    return p[name]


def _positive(p: Mapping[str, Array], name: str) -> Array:
    if name not in p:
        raise InputError(f"the parameter {name} is missing", hint="the structure needs it; see docs/model-file.md")
    if not np.all(np.isfinite(p[name])) or np.any(~(p[name] > 0)):
        raise InputError(f"{name} must be a positive number", hint="check the model's parameters")
    return p[name]


def picked(sets: Sequence[Rates], which: Indices) -> Rates:
    """For each draw the rate constants of its own set."""
    draws = np.arange(which.size)

    def pick(values: Iterable[Array]) -> Array:
        return np.asarray(np.stack(list(values))[which, draws])

    absorbed = [k.absorbed for k in sets if k.absorbed is not None]
    past = [k.first_pass for k in sets if k.first_pass is not None]
    formed = [k.metabolite for k in sets if k.metabolite is not None]
    return Rates(
        absorbed=pick(absorbed) if absorbed else None,
        linear=pick([k.linear for k in sets]),
        vmax=pick([k.vmax for k in sets]),
        km=pick([k.km for k in sets]),
        out=tuple(pick(values) for values in zip(*(k.out for k in sets), strict=True)),
        back=tuple(pick(values) for values in zip(*(k.back for k in sets), strict=True)),
        first_pass=pick(past) if past else None,
        metabolite=Metabolite(*(pick(values) for values in zip(*formed, strict=True))) if formed else None,
    )
