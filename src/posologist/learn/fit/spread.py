"""How sure a prediction is: the size of residuals, or their quantiles, learned from cross-fitted residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from posologist.learn.features import Array, Index
from posologist.learn.fit.model import Extra
from posologist.learn.fit.parts import Matrix, Task, fit_part
from posologist.learn.fit.recipe import Interval

_FLOOR = 0.1  # of the median residual: no residual counts as smaller, since its logarithm would rule the fit
_KEPT = (0.01, 0.99)  # sizes are kept within these quantiles of the training patients'


@dataclass(frozen=True)
class Spread:
    """Extra outputs fitted on all rows, and by name their cross-fitted values (n,), standardised."""

    extras: tuple[Extra, ...] = ()
    crossed: dict[str, Array] = field(default_factory=dict)


def fitted_spread(wanted: Interval, matrix: Matrix, task: Task, margin: Array, fold: Index) -> Spread:
    """What the interval needs beside the margin; `margin` is cross-fitted and standardised, as the task's outcome."""
    residual = replace(task, outcome=task.outcome - margin, yes_no=False)
    if wanted.method == "normalised":
        size = np.abs(residual.outcome)
        logged = replace(residual, outcome=np.log(size + _FLOOR * float(np.median(size)) + 1e-12))
        return _crossed([lambda m, t: _size(wanted, m, t)], matrix, logged, fold)
    if wanted.method == "quantile":
        tail = (1.0 - wanted.level) / 2.0
        below: _Fit = lambda m, t: _offset(wanted, "lower", tail, m, t)  # noqa: E731
        above: _Fit = lambda m, t: _offset(wanted, "upper", 1.0 - tail, m, t)  # noqa: E731
        return _crossed([below, above], matrix, residual, fold)
    return Spread()


_Fit = Callable[[Matrix, Task], Extra]


def _crossed(fits: list[_Fit], matrix: Matrix, task: Task, fold: Index) -> Spread:
    extras = tuple(fit(matrix, task) for fit in fits)
    crossed = {extra.name: np.empty(len(matrix)) for extra in extras}
    for k in np.unique(fold):
        inside = fold == k
        for fit in fits:
            extra = fit(matrix[~inside], task.take(~inside))
            crossed[extra.name][inside] = extra.value(matrix[inside])
    return Spread(extras, crossed)


def _size(wanted: Interval, matrix: Matrix, task: Task) -> Extra:
    part = fit_part(wanted.part, matrix, task)
    low, high = np.quantile(part.margin(matrix), _KEPT)
    return Extra("spread", part, "size", float(low), float(high))


def _offset(wanted: Interval, name: str, quantile: float, matrix: Matrix, task: Task) -> Extra:
    return Extra(name, fit_part(wanted.part, matrix, replace(task, quantile=quantile)), "offset")
