"""Exposure under a regimen by population models: the same answer as by a drug's file, from the twins of its models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posologist.core.drug import Drug
from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.regimen import Regimen
from posologist.core.settings import Settings
from posologist.core.units import convert
from posologist.core.values import EvidenceKey, Series
from posologist.knowledge.models import PkModel
from posologist.twin.exposure import (
    Exposure,
    comparable_window,
    grid_of,
    no_index,
    series_of,
    summary,
    therapeutic_index,
    toxic_share,
)
from posologist.twin.goals import Shape, steady_curve
from posologist.twin.individual import Array, individual
from posologist.twin.mixture import Exposures, Member
from posologist.twin.standing import is_verified
from posologist.twin.teller import model_leaf


def can_answer(members: Sequence[Member], regimen: Regimen) -> bool:
    """Whether models may tell the exposure of a regimen: facts verified, patient inside what was studied, same release.

    The dose must be a mass that each model counts in.
    """
    return bool(members) and all(
        is_verified(member.model)
        and not member.told.findings
        and (regimen.release or "immediate") == member.model.release
        and _dose(member.model, regimen) is not None
        for member in members
    )


def _dose(model: PkModel, regimen: Regimen) -> float | None:
    """The dose in the model's unit; None where it cannot be told."""
    try:
        return convert(regimen.dose, regimen.unit, model.dose_unit) * model.dose_content
    except InputError:
        return None


def exposure_by_models(
    members: Sequence[Member], regimen: Regimen, *, drug: Drug, settings: Settings, ledger: Ledger
) -> Exposure | None:
    """Exposure at steady state of the possible patients of all members; None where there is no steady state.

    Units, toxicity and therapeutic index are those of `exposure.exposure`, against the window of the drug's file.
    """
    lead = members[0].model
    dose = _dose(lead, regimen)
    curve = None if dose is None else Exposures(members).curve(_shape(regimen), dose)
    if curve is None:
        return None
    because = (_key(members, regimen, ledger),)
    level, unit = settings.interval_level, lead.concentration_unit
    to_mass = convert(1.0, unit, "mg/L", molar_mass=lead.molar_mass)
    window, unheld = comparable_window(drug, ledger)
    measured: dict[str, Array | None] = {
        "auc24": curve.auc24 * to_mass, "peak": curve.peak * to_mass, "trough": curve.trough * to_mass,
    }  # fmt: skip
    toxic, refusals = toxic_share(window, measured, unheld, drug, level, because)
    typical = _typical_area(members[0], regimen)
    return Exposure(
        auc24=summary(curve.auc24 * to_mass, "h.mg/L", level=level, because=because),
        average=summary(curve.auc24 / 24.0, unit, level=level, because=because),
        peak=summary(curve.peak, unit, level=level, because=because),
        trough=summary(curve.trough, unit, level=level, because=because),
        ratio=None if typical is None else summary(curve.auc24 / typical, "1", level=level, because=because),
        toxic_probability=toxic,
        therapeutic_index=therapeutic_index(window, level=level),
        not_checked=(*refusals, *no_index(window, drug)),
        because=because,
    )


def curve_by_models(
    members: Sequence[Member], regimen: Regimen, *, settings: Settings, ledger: Ledger
) -> Series | None:
    """Concentration over 72 h (one interval, if longer) from the first dose: median and central band."""
    dose = _dose(members[0].model, regimen)
    if dose is None:
        return None
    times = grid_of(regimen.interval_h)
    values = Exposures(members).course(_shape(regimen), dose, times)
    key = _key(members, regimen, ledger)
    return series_of(times, values, members[0].model.concentration_unit, settings, key)


def _shape(regimen: Regimen) -> Shape:
    return Shape(regimen.interval_h, regimen.duration_h, 0)


def _key(members: Sequence[Member], regimen: Regimen, ledger: Ledger) -> EvidenceKey:
    """What the answer rests on: the models, what they were told, and the regimen."""
    leaves = [model_leaf(member.model, ledger) for member in members]
    told = [key for member in members for key in member.told.keys]
    names = ", ".join(member.model.id for member in members)
    return ledger.add("derived", f"{names} under {regimen.text}, for possible patients", because=[*leaves, *told])


def _typical_area(member: Member, regimen: Regimen) -> float | None:
    """AUC over 24 h of the model's reference patient under the same regimen; None where the file gives none."""
    model, dose = member.model, _dose(member.model, regimen)
    known = {c.name for c in model.covariates if c.reference is not None or c.default is not None}
    if dose is None or known != {c.name for c in model.covariates}:
        return None
    parameters = individual(model, model.typical(model.reference), np.zeros((1, len(model.random))))
    shape = Shape(regimen.interval_h, regimen.duration_h, member.compartment)
    return float(steady_curve(model, parameters, shape, dose).auc24[0])
