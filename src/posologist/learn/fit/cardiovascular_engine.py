"""The served model of ten-year cardiovascular risk: the Framingham score as published, a linear part and trees."""

from __future__ import annotations

from posologist.learn.features import Array, Frame, Index
from posologist.learn.fit.chosen import fit_chosen
from posologist.learn.fit.engine import FittedEngine
from posologist.learn.fit.recipe import Linear, Recipe, Trees

_PUBLISHED = Linear(penalty=1.0, features=("framingham",))
_STUMPS = Trees(trees=300, learning_rate=0.03, leaves=4, min_leaf=40, row_share=0.7, column_share=0.5, l2=5.0)
_TREES = Trees(trees=200, learning_rate=0.03, leaves=6, min_leaf=40, row_share=0.7, column_share=0.5, l2=5.0)

RECIPES = (
    Recipe(parts=(_PUBLISHED, Linear(penalty=30.0), _STUMPS), link="logit", masks=False),
    Recipe(parts=(_PUBLISHED, Linear(penalty=100.0), _TREES), link="logit", masks=False),
)
"""Tried in the training part; the one with the least cross-fitted log loss is kept. What is not known
tells the examination here, and nothing of the person: it has no columns."""


def fit(frame: Frame, target: Array, *, group: Index, seed: int, quick: bool = False) -> FittedEngine:
    """The engine of these training rows; `quick` takes the first recipe untried."""
    return fit_chosen(frame, target, recipes=RECIPES[:1] if quick else RECIPES, group=group, seed=seed)
