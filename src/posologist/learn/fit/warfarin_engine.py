"""The served model of warfarin's maintenance dose: a blend on the square root of the dose."""

from __future__ import annotations

import numpy.typing as npt

from posologist.learn.features import Array, Frame
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.recipe import Interval, Kernel, Linear, Net, Recipe, Trees

LOW, HIGH = 21.0, 49.0  # mg/week: bounds of the low and the high dose group of iwpc-2009

_TREES = Trees(loss="absolute", trees=300, learning_rate=0.03, leaves=8, min_leaf=20, column_share=0.3)
RECIPE = Recipe(
    parts=(
        Linear(loss="absolute", penalty=30.0),
        Linear(loss="huber", penalty=10.0),
        _TREES,
        _TREES.model_copy(update={"loss": "huber"}),
        Kernel(landmarks=200, width=1.5, penalty=0.3),
        Kernel(landmarks=200, width=1.0, penalty=0.3),
        Net(hidden=(32,), members=2, bins=1, dropout=0.2),
    ),
    link="sqrt",
    loss="absolute",
    interval=Interval(
        method="normalised",
        part=Linear(penalty=100.0),
        by_features=("race",),
        truth_cuts=(LOW, HIGH),
        asked_level=0.91,  # a group of some hundred patients then stays above 88 % on others but for chance
    ),
    bounds=(3.5, 140.0),
)
_QUICK = (RECIPE.parts[0], Trees(loss="absolute", trees=80, learning_rate=0.1, leaves=8), RECIPE.parts[4])


def fit(frame: Frame, target: Array, *, group: npt.ArrayLike, seed: int, quick: bool = False) -> FittedEngine:
    """The engine fitted to rows of `learn.tasks.warfarin` and their stable doses (mg/week)."""
    recipe = RECIPE.model_copy(update={"parts": _QUICK}) if quick else RECIPE
    return fit_engine(frame, target, kind="regression", group=group, recipe=recipe, seed=seed)
