"""Small models of the pressure's response and of the symptoms under its drugs, fitted on made rows, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from patients import ICD10, as_bytes, bundle, fhir_condition, fhir_observation, fhir_patient, fhir_pressure
from posologist.core.prediction import Label, Schema
from posologist.learn.features import Cell, frame_of
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.recipe import Linear, Recipe
from posologist.learn.fit.save import Facts, with_facts
from posologist.learn.predict import Served
from posologist.learn.tasks import pressure

N = 600
_SLOPES = dict(zip(pressure.PATHWAYS, (3.0, -4.0, -2.0, 4.0, -3.0, 1.0), strict=True))
_EXCESS = dict(zip(pressure.PATHWAYS, (-0.02, 0.03, -0.03, -0.04, 0.02, 0.01), strict=True))


def facts(label: Label = "simulated patients", task: str = pressure.TASK) -> Facts:
    """What the toy of a task says of itself."""
    name, outcome, unit = {
        pressure.TASK: ("toy response", "further fall of systolic pressure", "mmHg"),
        pressure.SYMPTOMS_TASK: ("toy symptoms", "chance of a symptom beyond the published share", "1"),
    }[task]
    return Facts(
        name=name, version="1", outcome=outcome, unit=unit, data="made rows", digest="none", licence="none",
        label=label,
    )  # fmt: skip


@lru_cache(maxsize=2)
def toy_engine(gain: float = 1.0) -> FittedEngine:
    """Calcium channel blockers do more and ACE inhibitors less than published; more so with age; `gain` times."""
    return _fitted(pressure.SCHEMA, _SLOPES, 0.05, gain, 1.0)


@lru_cache(maxsize=2)
def toy_symptoms_engine(gain: float = 1.0) -> FittedEngine:
    """ACE inhibitors give more symptoms and calcium channel blockers fewer than published; `gain` times."""
    return _fitted(pressure.SYMPTOMS_SCHEMA, _EXCESS, 0.0002, gain, 0.01)


def _fitted(schema: Schema, slopes: Mapping[str, float], by_age: float, gain: float, noise: float) -> FittedEngine:
    rng = np.random.default_rng(0)
    cells: list[dict[str, Cell]] = []
    target = []
    for _ in range(N):
        pathway = pressure.PATHWAYS[int(rng.integers(6))]
        age, sbp = float(rng.uniform(30, 90)), float(rng.uniform(130, 190))
        row: dict[str, Cell] = {
            "drug": "another", "pathway": pathway, "age": age, "sbp": sbp, "male": bool(rng.random() < 0.5),
            "dbp": sbp - 60.0, "dose_ratio": float(rng.choice([0.25, 0.5, 1.0, 2.0])),
        }  # fmt: skip
        for name, low, high, known in (
            ("exposure_fold", 0.5, 2.0, 0.6), ("weight", 50, 120, 0.7), ("bmi", 18, 40, 0.6),
            ("heart_rate", 45, 95, 0.5), ("egfr", 30, 110, 0.6), ("potassium", 3.5, 5.2, 0.6), ("renin", 0.1, 8.0, 0.3),
            ("urine_sodium", 60, 260, 0.3), ("cyp2d6_score", 0, 3, 0.3), ("cyp2c9_score", 0, 2, 0.3),
        ):  # fmt: skip
            if rng.random() < known:
                row[name] = float(rng.uniform(low, high))
        for name, share, known in (
            ("black", 0.2, 0.5), ("has_diabetes", 0.2, 0.8), ("has_ckd", 0.2, 0.8), ("smoking_now", 0.2, 0.5),
            ("has_primary_aldosteronism", 0.1, 0.8), ("has_renal_artery_stenosis", 0.1, 0.8),
            ("has_sleep_apnoea", 0.1, 0.8), ("family_hypertension", 0.4, 0.5), ("cyp3a5_expresser", 0.3, 0.3),
        ):  # fmt: skip
            if rng.random() < known:
                row[name] = bool(rng.random() < share)
        cells.append(row)
        target.append(gain * (slopes[pathway] + by_age * (age - 60.0)) + noise * float(rng.normal(0, 1)))
    recipe = Recipe(parts=(Linear(penalty=1.0),), link="identity", folds=2)
    frame = frame_of(schema, cells)
    return fit_engine(frame, np.array(target), kind="regression", group=np.arange(N), recipe=recipe, seed=0)


@lru_cache(maxsize=8)
def toy_model(label: Label = "simulated patients", gain: float = 1.0) -> Served:
    """The toy of the response as it is served."""
    engine = toy_engine(gain)
    return Served(with_facts(engine.served.manifest, facts(label)), engine.model.graph())


@lru_cache(maxsize=8)
def toy_symptoms(label: Label = "simulated patients", gain: float = 1.0) -> Served:
    """The toy of the symptoms as it is served."""
    engine = toy_symptoms_engine(gain)
    named = facts(label, pressure.SYMPTOMS_TASK)
    return Served(with_facts(engine.served.manifest, named), engine.model.graph())


def a_record() -> bytes:
    """A bundle of a patient of whom the toy has something to say."""
    return as_bytes(
        bundle(
            fhir_patient(),
            fhir_pressure(155.0, 95.0),
            fhir_observation("2160-0", 1.0, "mg/dL"),
            fhir_observation("2823-3", 4.2, "mmol/L"),
            fhir_observation("8302-2", 175.0, "cm"),
            fhir_observation("29463-7", 82.0, "kg"),
            fhir_observation("2915-7", 1.5, "ng/mL/h"),
            fhir_observation("2956-1", 150.0, "mmol/(24.h)"),
            fhir_condition("I10", system=ICD10),
        )
    )
