"""Made patients and models fitted to them, for the tests of what is learned. Nothing here describes a real person."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from posologist.core.evidence import Ledger
from posologist.learn.features import Feature, Formula, Frame, Known, Row, Schema, row_of
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.recipe import Interval, Kernel, Linear, Net, Recipe, Trees
from posologist.learn.fit.save import Facts

SCHEMA = Schema(
    task="made-dose",
    version="1",
    features=(
        Feature(name="age", group="demographics", label="age", unit="years", low=0, high=120),
        Feature(name="weight", group="demographics", label="weight", unit="kg", low=20, high=250),
        Feature(name="crp", group="labs and vitals", label="CRP", unit="mg/L", low=0, high=500, log=True),
        Feature(name="smoker", kind="flag", group="lifestyle", label="smoker", no="non-smoker"),
        Feature(name="gene", kind="category", group="genes", label="gene", levels=("normal", "slow", "none")),
    ),
    formulas=(
        Formula(
            name="rule", label="made rule", expression="6 - 0.02 * age + 0.01 * weight - 1.2 * gene_is_slow",
            source="made", status="to verify",
        ),
    ),
)  # fmt: skip
FACTS = Facts(
    name="made dose model", version="1", outcome="weekly dose", unit="mg/week", data="made patients", digest="0" * 64,
    licence="none needed", label="simulated patients", metrics={"mae_mg_per_week": 4.2},
)  # fmt: skip
SMALL_NET = Net(hidden=(8, 8), members=2, epochs=6)
PARTS = (Linear(), Trees(trees=20), SMALL_NET, Kernel(landmarks=30))


def made_rows(n: int, seed: int) -> tuple[Frame, np.ndarray, np.ndarray]:
    """Rows with values missing, a dose (mg/week) and a yes/no outcome that hang on them with an interaction."""
    rng = np.random.default_rng(seed)
    age, weight, crp = rng.uniform(30, 85, n), rng.normal(78, 14, n), rng.lognormal(1, 1, n)
    smoker, gene = (rng.random(n) < 0.3).astype(float), rng.choice([0.0, 1.0, 2.0], n, p=[0.6, 0.3, 0.1])
    root = 6 - 0.025 * age + 0.012 * weight - 0.9 * (gene == 1) - 1.6 * (gene == 2) + 0.4 * smoker * (age > 60)
    dose = np.maximum(root + rng.normal(0, 0.4, n), 0.5) ** 2
    yes = (rng.random(n) < 1 / (1 + np.exp(-(root - 4.5) * 1.5))).astype(float)
    values = np.stack([age, weight, crp, smoker, gene], axis=1)
    values[:, 2:] = np.where(rng.random((n, 3)) < 0.2, np.nan, values[:, 2:])
    return Frame(SCHEMA, values), dose, yes


@lru_cache(maxsize=2)
def a_dose_engine() -> FittedEngine:
    """A blend of all kinds of parts for the made dose."""
    frame, dose, _ = made_rows(500, 0)
    recipe = Recipe(
        parts=PARTS, link="sqrt", loss="absolute", folds=3, least=0.0, bounds=(0.1, 200.0),
        interval=Interval(method="normalised", by_features=("gene",)),
    )  # fmt: skip
    return fit_engine(frame, dose, kind="regression", group=np.arange(500), recipe=recipe, seed=1)


@lru_cache(maxsize=2)
def a_risk_engine(calibration: str = "isotonic") -> FittedEngine:
    """The same for the made yes/no outcome."""
    frame, _, yes = made_rows(500, 0)
    recipe = Recipe(parts=PARTS, link="logit", folds=3, least=0.0, calibration=calibration)  # type: ignore[arg-type]
    return fit_engine(frame, yes, kind="classification", group=np.arange(500), recipe=recipe, seed=1)


def a_row(ledger: Ledger, **values: float | bool | str) -> Row:
    """Row of these values, each with a leaf of evidence."""
    known = {
        name: Known(value, ledger.add("patient", f"{name}: {value}", source="test")) for name, value in values.items()
    }
    return row_of(SCHEMA, known)


def five_rows(ledger: Ledger) -> list[Row]:
    """Five different patients, some with values missing."""
    return [
        a_row(ledger, age=44.0, weight=71.0, crp=4.0, smoker=True, gene="slow"),
        a_row(ledger, age=71.0, weight=92.0, smoker=True, gene="none"),
        a_row(ledger, age=66.0, weight=60.0, crp=22.0, gene="normal"),
        a_row(ledger, age=58.0, weight=83.0),
        a_row(ledger, age=80.0, weight=77.0, crp=1.0, smoker=False, gene="slow"),
    ]
