"""The engine's two models of antihypertensives: how much further the pressure falls, and who gets symptoms.

Both learn what is left when the published effect is taken away, so that without rows they say nothing.
"""

from __future__ import annotations

import numpy as np

from posologist.learn.features import Frame
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.recipe import Factorised, Hierarchical, Linear, Net, Part, Recipe, Trees
from posologist.learn.tasks.pressure import BOUNDS, SCHEMA, SYMPTOMS_SCHEMA
from posologist.study.clinic import Floats, Indices

PEOPLE = tuple(name for name in SCHEMA.names if name not in ("drug", "pathway", "dose_ratio"))
"""Features of the patient, and of the patient on the drug."""
_DRUG = ("pathway", "drug")
PARTS: tuple[Part, ...] = (
    Linear(penalty=30.0),  # every drug has one effect for all: the others count as far as the rows show more
    Hierarchical(left=PEOPLE, right=_DRUG),
    Factorised(left=PEOPLE, right=_DRUG, rank=4),
    Trees(trees=250, learning_rate=0.05, leaves=8, min_leaf=30),
    Net(hidden=(32,), members=2, bins=4, epochs=25, patience=5),
)
_SYMPTOM_BOUNDS = (-0.3, 0.3)
_FOLDS = 3


def benefit(
    rows: Frame, beyond: Floats, patient: Indices, *, seed: int, leave_out: str = "", best_alone: bool = False
) -> FittedEngine:
    """The model of the fall (mmHg) beyond the published effect.

    Parameters
    ----------
    leave_out
        Kind of a part that is not used.
    best_alone
        The part with the largest weight alone, unblended.
    """
    recipe = Recipe(
        parts=tuple(part for part in PARTS if part.kind != leave_out), link="identity", folds=_FOLDS, bounds=BOUNDS,
        cautious=True, least=0.99 if best_alone else 0.02,
    )  # fmt: skip
    return fit_engine(rows, beyond, kind="regression", group=patient, recipe=recipe, seed=seed)


def symptoms(rows: Frame, beyond: Floats, patient: Indices, *, seed: int) -> FittedEngine:
    """The model of the chance of symptoms beyond the published share; the outcome of a row is 0 or 1 less that."""
    frame = Frame(SYMPTOMS_SCHEMA, rows.values)
    recipe = Recipe(parts=PARTS[:2], link="identity", folds=2, bounds=_SYMPTOM_BOUNDS, cautious=True)
    return fit_engine(frame, np.asarray(beyond), kind="regression", group=patient, recipe=recipe, seed=seed)
