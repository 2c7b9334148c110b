"""The served model of warfarin's maintenance dose: a blend on the square root of the dose."""

from __future__ import annotations

import numpy.typing as npt

from posologist.learn.features import Array, Frame
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.recipe import Interval, Kernel, Linear, Net, Recipe, Trees

LOW, HIGH = 21.0, 49.0  # mg/week: bounds of the low and the high dose group of iwpc-2009

RECIPE = Recipe(
    parts=(
        Linear(loss="absolute", penalty=100.0),
        Linear(loss="squared", penalty=100.0),
        Trees(loss="absolute", trees=150, learning_rate=0.06, leaves=8, min_leaf=30, column_share=0.4),
        Kernel(landmarks=150, width=1.0, penalty=3.0),
        Net(hidden=(32, 32), members=2),
    ),
    link="sqrt",
    loss="absolute",
    interval=Interval(
        method="normalised",
        part=Linear(penalty=100.0),
        by_features=("race",),
        truth_cuts=(LOW, HIGH),
        truth_features=("race",),
        asked_level=0.9,
    ),
    bounds=(3.5, 140.0),
    masks=False,
)


def fit(frame: Frame, target: Array, *, group: npt.ArrayLike, seed: int, quick: bool = False) -> FittedEngine:
    """The engine fitted to rows of `learn.tasks.warfarin` and their stable doses (mg/week)."""
    recipe = RECIPE.model_copy(update={"parts": RECIPE.parts[:4]}) if quick else RECIPE
    return fit_engine(frame, target, kind="regression", group=group, recipe=recipe, seed=seed)
