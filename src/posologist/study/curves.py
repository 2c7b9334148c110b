"""Lines for the plots of an evaluation: calibration, decision curve, error by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from posologist.core.evaluation import Curve, GroupRow
from posologist.study.blocks import Array, Block, Cohort, Scored
from posologist.study.scores import net_benefit

_BINS = 10
_THRESHOLDS = np.round(np.arange(0.02, 0.51, 0.02), 2)


def curves(block: Block, cohort: Cohort, scored: Mapping[str, Scored], groups: Sequence[GroupRow]) -> tuple[Curve, ...]:
    """The lines that the block's kind of outcome has."""
    found = []
    if block.kind in ("amount", "probability"):
        found += [_calibration(name, own, cohort.target) for name, own in scored.items() if name in block.grouped]
    if block.kind == "probability":
        found += [_decision(name, own, cohort.target) for name, own in scored.items()]
        found.append(_treat_all(cohort.target))
    return (*found, *_errors(block, groups))


def _calibration(name: str, scored: Scored, target: Array) -> Curve:
    """Mean outcome over mean prediction in tenths of the prediction, with 1.96 standard errors of the mean."""
    known = np.flatnonzero(np.isfinite(target) & np.isfinite(scored.value))
    order = known[np.argsort(scored.value[known], kind="stable")]
    parts = [part for part in np.array_split(order, _BINS) if part.size]
    mean = [float(target[part].mean()) for part in parts]
    spread = [1.96 * float(target[part].std()) / np.sqrt(len(part)) for part in parts]
    return Curve(
        kind="calibration", method=name, x_text="predicted (mean of a tenth of the patients)", y_text="observed (mean)",
        x=tuple(float(scored.value[part].mean()) for part in parts), y=tuple(mean),
        low=tuple(m - s for m, s in zip(mean, spread, strict=True)),
        high=tuple(m + s for m, s in zip(mean, spread, strict=True)),
    )  # fmt: skip


def _decision(name: str, scored: Scored, target: Array) -> Curve:
    gains = [float(np.nanmean(net_benefit(scored.value, target, t))) for t in _THRESHOLDS]
    return _over_thresholds(name, gains)


def _treat_all(target: Array) -> Curve:
    share = float(np.nanmean(target))
    return _over_thresholds("treat all", [share - (1.0 - share) * t / (1.0 - t) for t in _THRESHOLDS.tolist()])


def _over_thresholds(name: str, gains: Sequence[float]) -> Curve:
    return Curve(
        kind="decision", method=name, x_text="probability at which one would treat", y_text="net benefit",
        x=tuple(_THRESHOLDS.tolist()), y=tuple(gains),
    )  # fmt: skip


def _errors(block: Block, groups: Sequence[GroupRow]) -> list[Curve]:
    """The main metric of each group, one line for each method that has groups."""
    found = []
    for method in dict.fromkeys(row.method for row in groups):
        rows = [row for row in groups if row.method == method and block.main in row.metrics]
        own = [row.metrics[block.main] for row in rows]
        if own:
            found.append(
                Curve(
                    kind="error",
                    method=method,
                    x_text="group",
                    y_text=block.main.replace("_", " "),
                    labels=tuple(row.group for row in rows),
                    y=tuple(one.value for one in own),
                    low=tuple(one.value if one.low is None else one.low for one in own),
                    high=tuple(one.value if one.high is None else one.high for one in own),
                )
            )
    return found
