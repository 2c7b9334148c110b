"""Plain models and event tables for tests of estimation, and a predictor made of the closed forms."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from posologist.core.regimen import DoseEvent
from posologist.twin.compartment import absorption, concentration, disposition
from posologist.twin.events import EventTable, Record


class Effect(NamedTuple):
    on: str
    kind: str = "log-normal"


class Error(NamedTuple):
    form: str
    additive: float = 0.0
    proportional: float = 0.0
    output: str = "concentration"


class Carried(NamedTuple):
    name: str
    carry: str = "backward"


@dataclass(frozen=True)
class PlainModel:
    """The fields of a `PkModel` that estimation reads; `equations` makes the typical values."""

    equations: Any
    random: tuple[Effect, ...]
    omega: tuple[tuple[float, ...], ...]
    residual: tuple[Error, ...]
    covariates: tuple[Carried, ...] = ()
    occasion: tuple[tuple[float, ...], ...] = ()
    compartments: int = 1
    absorption: str = "none"
    transit: int = 0
    elimination: str = "linear"
    scale: float = 1.0

    @property
    def units(self):
        return {"concentration": "mg/L"}

    def typical(self, covariates):
        return dict(self.equations(**covariates))


def diagonal(*variances):
    return tuple(tuple(float(v) for v in row) for row in np.diag(variances))


def table(subject, doses, levels, *, covariates=None, limits=None, **dose_fields):
    """Records of doses (time, amount, rate) and levels (time, value), in order of time; doses first where they tie."""
    covariates, limits = covariates or {}, limits or {}
    rows = [Record(t, evid=1, amt=a, rate=r, mdv=1, covariates=covariates, **dose_fields) for t, a, r in doses]
    rows += [Record(t, dv=y, limit=limits.get(t), covariates=covariates) for t, y in levels]
    return EventTable(subject, tuple(sorted(rows, key=lambda row: (row.time, -row.evid))))


def closed_form(structure, parameters, rows):
    """Concentrations at every record by superposition of the closed forms; parameters do not change over time."""
    p = parameters[0]
    pairs = [(p[q], p[v]) for q, v in (("Q", "V2"), ("Q3", "V3"))[: structure.compartments - 1]]
    absorbed = absorption(p["KA"], p.get("F", 1.0), p.get("LAG", 0.0)) if structure.absorption != "none" else None
    doses = [
        DoseEvent(
            time_h=r.time + k * r.ii, amount_mg=r.amt, route="oral" if absorbed and (r.cmt or 1) == 1 else "iv",
            duration_h=r.amt / r.rate if r.rate else 0.0,
        )
        for r in rows.records if r.evid == 1 for k in range(r.addl + 1)
    ]  # fmt: skip
    times = [r.time for r in rows.records]
    return structure.scale * concentration(
        disposition(p["CL"], p["V1"], peripheral=pairs), doses, times, absorbed=absorbed
    )
