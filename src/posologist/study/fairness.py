"""Whether a method serves every group of patients alike: error, coverage and how often it answers.

Every group's metrics come with bootstrap intervals over patients; the worst group is named and held against all other
patients on the same resamples. A group with few patients is shown and marked, and is not called the worst: its figure
says little either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from posologist.core.evaluation import FairnessTable, GroupRow
from posologist.study.blocks import Array, Block, BoolArray, Cohort, Part, Scored
from posologist.study.bootstrap import interval
from posologist.study.compare import Asked, intervals, resampled

SMALL = 50  # patients; with fewer, a share of 90 % has an interval of 17 points and more
_BETTER_WHEN_HIGH = (
    "auc",
    "coverage",
    "accuracy",
    "f1",
    "jaccard",
    "within",
    "value",
    "precision",
    "recall",
    "best_single",
)


def higher_is_better(metric: str) -> bool:
    """Whether a metric is the better the higher it is; errors are not."""
    return any(word in metric for word in _BETTER_WHEN_HIGH)


def recommended(scored: Scored) -> Array:
    """100 where the method recommends something, 0 where it abstains or has no answer, (n,)."""
    silent = ~np.isfinite(scored.value)
    if scored.abstained is not None:
        silent = silent | scored.abstained
    return np.where(silent, 0.0, 100.0)


def fairness_tables(
    block: Block, cohort: Cohort, scored: Mapping[str, Scored], *, n_resamples: int, seed: int
) -> tuple[FairnessTable, ...]:
    """A table for each grouping of the block and each method that it compares by groups."""
    found = []
    for method in block.grouped:
        for grouping in block.fairness:
            if method in scored and grouping in cohort.groups:
                found.append(
                    _table(block, cohort, method, scored[method], grouping, n_resamples=n_resamples, seed=seed)
                )
    return tuple(found)


def _table(
    block: Block, cohort: Cohort, method: str, scored: Scored, grouping: str, *, n_resamples: int, seed: int
) -> FairnessTable:
    labels = np.array(cohort.groups[grouping])
    names = sorted(set(labels.tolist()) - {""})
    masks = {name: labels == name for name in names}
    asked = [_asked(block, cohort, scored, mask, (name, True)) for name, mask in masks.items()]
    asked += [_asked(block, cohort, scored, (labels != "") & ~mask, (name, False)) for name, mask in masks.items()]
    values = resampled(asked, n_resamples=n_resamples, seed=seed)
    rows = [_row(cohort, method, grouping, name, masks[name], values[name, True]) for name in names]
    worst = _worst(rows, block.main)
    apart = None
    if worst is not None and len(names) > 1:
        name = worst.group.partition("=")[2]
        apart = values[name, True][block.main] - values[name, False][block.main]
    return FairnessTable(
        method=method,
        grouping=grouping,
        rows=tuple(rows),
        metric=block.main,
        worst="" if worst is None else worst.group,
        difference=None if apart is None or not np.isfinite(apart[0]) else interval(apart),
    )


def _asked(block: Block, cohort: Cohort, scored: Scored, mask: BoolArray, key: tuple[str, bool]) -> Asked:
    part, own = cohort.take(mask), scored.take(mask)
    parts: dict[str, Part] = {"recommendation_rate_percent": recommended(own)}
    parts |= block.metrics(part.target, own, part)
    return Asked(key, parts, part.patient)


def _row(
    cohort: Cohort, method: str, grouping: str, name: str, mask: BoolArray, values: Mapping[str, Array]
) -> GroupRow:
    n = len(np.unique(cohort.patient[mask]))
    return GroupRow(method=method, group=f"{grouping}={name}", n=n, small=n < SMALL, metrics=intervals(values))


def _worst(rows: Sequence[GroupRow], metric: str) -> GroupRow | None:
    sized = [row for row in rows if not row.small and metric in row.metrics]
    if not sized:
        return None
    sign = -1.0 if higher_is_better(metric) else 1.0
    return max(sized, key=lambda row: sign * row.metrics[metric].value)
