"""A served model of a yes/no outcome whose recipe is chosen inside its training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posologist.learn.features import Array, Frame, Index
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.recipe import Recipe


def fit_chosen(frame: Frame, target: Array, *, recipes: Sequence[Recipe], group: Index, seed: int) -> FittedEngine:
    """The engine whose cross-fitted margins have the least log loss; the first of equals."""
    fitted = [
        fit_engine(frame, target, kind="classification", group=group, recipe=recipe, seed=seed) for recipe in recipes
    ]
    return min(fitted, key=lambda engine: log_loss(engine.crossed, target))


def log_loss(margin: Array, target: Array) -> float:
    """Mean log loss of log odds."""
    return float(np.mean(np.logaddexp(0.0, margin) - target * margin))
