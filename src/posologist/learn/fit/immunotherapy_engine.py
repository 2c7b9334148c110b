"""The served model of response to a checkpoint inhibitor: LORIS as published, a linear part and trees."""

from __future__ import annotations

from posologist.learn.features import Array, Frame, Index
from posologist.learn.fit.chosen import fit_chosen
from posologist.learn.fit.engine import FittedEngine
from posologist.learn.fit.recipe import Linear, Recipe, Trees

_LORIS = Linear(penalty=1.0, features=("loris",))
_SMALL = Trees(trees=250, learning_rate=0.02, leaves=6, min_leaf=20, row_share=0.7, column_share=0.35, l2=5.0)
_LARGER = Trees(trees=300, learning_rate=0.02, leaves=12, min_leaf=15, row_share=0.6, column_share=0.3, l2=10.0)

RECIPES = (
    Recipe(parts=(_LORIS, Linear(penalty=100.0), _LARGER), link="logit"),
    Recipe(parts=(_LORIS, Linear(penalty=30.0), _SMALL), link="logit"),
    Recipe(parts=(_LORIS, _LARGER), link="logit"),
)
"""Tried in the training part; the one with the least cross-fitted log loss is kept."""


def fit(frame: Frame, target: Array, *, group: Index, seed: int, quick: bool = False) -> FittedEngine:
    """The engine of these training rows; `quick` takes the first recipe untried."""
    return fit_chosen(frame, target, recipes=RECIPES[:1] if quick else RECIPES, group=group, seed=seed)
