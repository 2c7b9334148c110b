"""The product's own gate for the simulated patients: what `recommend` would not start, whatever a model says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from functools import cache

import numpy as np

from posologist.core.settings import Settings
from posologist.core.values import DrugId
from posologist.recommend.assess import open_contraindication
from posologist.recommend.case import Case, Proposal
from posologist.recommend.opened import case_of
from posologist.recommend.screen import forbidden_here, screen
from posologist.records.fhir_in import read_patient
from posologist.study.clinic import Clinic, Flags
from posologist.study.clinic_draw import egfr_of
from posologist.study.simulator_fhir import bundle_of
from posologist.study.simulator_kinetics import DRUGS, knowledge

AS_OF = date(2026, 11, 20)
_STATES = (
    "female", "diabetes", "gout", "asthma", "angioedema", "pregnant", "bradycardia", "primary_aldosteronism",
    "renal_artery_stenosis", "paroxetine", "clarithromycin",
)  # fmt: skip
_EGFR = (15.0, 30.0, 45.0, 60.0)
_POTASSIUM = (3.0, 3.5, 5.0, 5.5, 6.0)
_AGE = (45.0, 65.0, 75.0, 85.0)
_States = tuple[float, ...]


def gate(clinic: Clinic, lacking: Mapping[str, Flags] | None = None) -> Flags:
    """Which drugs the product would start, (n, drugs); `lacking`: who lacks a measure in the record, as of a world.

    It is asked once for each set of states that its rules on these drugs tell apart, of one patient in them.
    """
    unknown = (lacking or {}).get("potassium", np.zeros(len(clinic), dtype=np.bool_))
    codes = np.column_stack([
        *(getattr(clinic, name) for name in _STATES), np.digitize(egfr_of(clinic), _EGFR),
        np.where(unknown, -1, np.digitize(np.round(clinic.potassium, 1), _POTASSIUM, right=True)),
        np.digitize(clinic.age, _AGE),
    ]).astype(np.float64)  # fmt: skip
    states, first, place = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    found = np.empty((len(states), len(DRUGS)), dtype=np.bool_)
    for k, i in enumerate(first):
        key = tuple(states[k].tolist())
        if key not in _asked():
            _asked()[key] = started(clinic, int(i), potassium=not unknown[i])
        found[k] = _asked()[key]
    return found[place.reshape(-1)]


def started(clinic: Clinic, i: int, *, potassium: bool = True) -> Flags:
    """Which drugs the product would start in one patient, asked through the record, with or without its potassium."""
    held = knowledge()
    bundle = bundle_of(clinic, i, measured={"potassium": potassium}, as_of=AS_OF, knowledge=held)
    patient = read_patient(json.dumps(bundle).encode(), knowledge=held)
    settings = Settings(as_of=AS_OF)
    case = case_of(patient, held.indication("hypertension"), genome=None, knowledge=held, settings=settings)
    return np.array([_would_start(case, drug) for drug in DRUGS])


def _would_start(case: Case, drug: DrugId) -> bool:
    """Whether nothing forbids the drug and nothing serious speaks, or may speak, against it where others are at hand.

    A contraindication that hangs on a measure which the record lacks makes a drug a second choice in `recommend`.
    """
    screened = screen(case, Proposal((), case.present, (drug,)))
    mine = [h for h in screened.hits if drug in h.drugs]
    against = [h for h in mine if (h.truth is True and h.statement.action == "avoid") or open_contraindication(h)]
    return not forbidden_here(case, drug) and not screened.blocks and not against


@cache
def _asked() -> dict[_States, Flags]:
    """What was asked before."""
    return {}
