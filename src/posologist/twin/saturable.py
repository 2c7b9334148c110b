"""The compartments of a model whose elimination may saturate: rows, rate constants and the slope of the amounts.

Rows: places of absorption (the depot, or the stages of a transit chain), central, peripheral, eliminated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True)
class Rates:
    """Rate constants, each (n_draws,): `absorbed` 1/h, `linear` 1/h, `vmax` amount/h, `km` amount, pairs 1/h."""

    absorbed: Array | None
    linear: Array
    vmax: Array
    km: Array
    out: tuple[Array, ...]
    back: tuple[Array, ...]

    def of(self, draws: Indices) -> Rates:
        """The rate constants of some draws, in this order; a draw may come more than once."""
        return Rates(
            absorbed=None if self.absorbed is None else self.absorbed[draws],
            linear=self.linear[draws],
            vmax=self.vmax[draws],
            km=self.km[draws],
            out=tuple(values[draws] for values in self.out),
            back=tuple(values[draws] for values in self.back),
        )


@dataclass(frozen=True)
class Rows:
    """The rows of a structure: `stages` places of absorption, central, `peripheral`, eliminated."""

    stages: int
    peripheral: int

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.stages + self.peripheral + 2

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
        for n, (out, back) in enumerate(zip(k.out, k.back, strict=True), start=c + 1):
            exchange = out * central - back * amounts[n]
            change[c] -= exchange
            change[n] += exchange
        return change


def rows_of(structure: Structure) -> Rows:
    """The rows of a structure; an InputError for one that is not known here."""
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
    return Rows(stages=stages, peripheral=structure.compartments - 1)


def places_of(structure: Structure, rows: Rows) -> Compartments:
    """The row of each compartment number."""
    own = tuple(range(rows.stages, rows.stages + rows.peripheral + 1))
    absorbed = structure.absorption != "none"
    first = (0 if rows.stages else own[0],) if absorbed else ()
    return Compartments(rows=first + own, absorbed=absorbed, zero_order=structure.absorption == "zero-order")


def rates_of(structure: Structure, p: Mapping[str, Array]) -> Rates:
    """Rate constants of one set of parameters."""
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
        )


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
    return Rates(
        absorbed=pick(absorbed) if absorbed else None,
        linear=pick([k.linear for k in sets]),
        vmax=pick([k.vmax for k in sets]),
        km=pick([k.km for k in sets]),
        out=tuple(pick(values) for values in zip(*(k.out for k in sets), strict=True)),
        back=tuple(pick(values) for values in zip(*(k.back for k in sets), strict=True)),
    )
