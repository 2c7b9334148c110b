"""Conformal intervals: finite-sample valid bounds on the margin, by group, and by bands of the outcome itself.

A score says by how many spreads an outcome lies outside its centre, below and above on their own. For exchangeable
patients the k-th smallest of n scores, k = ceil((n + 1) (1 - a)), is exceeded by a new patient's with probability at
most a. Scores must come from predictions that the patient had no part in. With one split the guarantee is exact. Here
they are cross-fitted, those of all folds pooled around the model that was fitted to all: as in the jackknife, unlike
the jackknife+ and CV+ (which would need the models of all folds at the bedside), coverage then rests on the fit being
stable. It is measured on patients left out by each evaluation.

Mondrian: the same within each group; a group too small for its own quantile takes that of all. A band of the outcome
(a high dose) is a group that nobody can be put into beforehand. There the outcome itself is tried: it is held if the
quantiles of its own band hold it (label-conditional validity), and the interval is the hull of what is held.

References
----------
vovk-2005, vovk-2013 (conditional validity); lei-2018 (split, and locally weighted); romano-2019 (quantiles);
barber-2021 (jackknife+, CV+).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posologist.core.errors import ModelError
from posologist.core.manifest import IntervalRule, Taxonomy, TruthBands
from posologist.learn.features import Array, Index

SMALL_GROUP = 60  # patients below which a group's own quantile is not used: its tail would be a single patient
_SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # shares of a band's miss that may lie below the interval


def quantile(scores: Array, tail: float) -> float:
    """The score that a new patient's exceeds with probability at most `tail`; infinite where n is too small."""
    n = len(scores)
    k = math.ceil((n + 1) * (1.0 - tail) - 1e-9)
    return math.inf if k > n else float(np.sort(scores)[k - 1])


@dataclass(frozen=True)
class Scores:
    """Scores of calibration patients: how far the outcome lies below and above its centre, in spreads."""

    below: Array
    above: Array

    @classmethod
    def of(cls, outcome: Array, lower: Array, upper: Array, spread: Array) -> Scores:
        """Scores of outcomes (on the margin's scale) against the centres of both sides."""
        return cls((lower - outcome) / spread, (outcome - upper) / spread)

    def take(self, index: npt.ArrayLike) -> Scores:
        """Those of some patients."""
        chosen = np.asarray(index)
        return Scores(self.below[chosen], self.above[chosen])


@dataclass(frozen=True)
class Grouping:
    """A taxonomy that quantiles are fitted by: `groups` numbers each calibration patient's group from 0."""

    groups: Index
    count: int
    feature: str = ""
    cuts: tuple[float, ...] = ()


def by_bands(prediction: Array, cuts: Sequence[float]) -> Grouping:
    """Bands of the predicted margin."""
    return Grouping(bands(prediction, cuts), len(cuts) + 1, cuts=tuple(map(float, cuts)))


def by_state(feature: str, values: Array, states: int) -> Grouping:
    """States of a flag or category: 0 is not known, then each state."""
    return Grouping(states_of(values), states + 1, feature=feature)


def bands(margin: Array, cuts: Sequence[float]) -> Index:
    """Band of each margin: the number of cuts below it."""
    return np.searchsorted(np.asarray(cuts, dtype=np.float64), margin, side="left").astype(np.int64)


def states_of(values: Array) -> Index:
    """State of each value: 0 where it is not known, else the value plus one."""
    return np.where(np.isnan(values), 0.0, np.nan_to_num(values) + 1.0).astype(np.int64)


def fitted(
    scores: Scores,
    *,
    method: str,
    level: float,
    groupings: Sequence[Grouping] = (),
    group_level: float | None = None,
) -> IntervalRule:
    """Interval rule from scores of cross-fitted predictions.

    Parameters
    ----------
    group_level
        Level of the quantiles of each group; None: that of all.

    Raises
    ------
    ModelError
        If there are too few patients for the level.
    """
    tail = (1.0 - level) / 2.0
    pooled = quantile(scores.below, tail), quantile(scores.above, tail)
    if not all(map(math.isfinite, pooled)):
        raise ModelError(
            f"{len(scores.below)} patients are too few for an interval of {level:g}",
            where="conformal",
            hint="give more patients or a lower level",
        )
    own = (1.0 - (group_level or level)) / 2.0
    taxonomies = tuple(_taxonomy(scores, grouping, own) for grouping in groupings)
    return IntervalRule(method=method, level=level, below=pooled[0], above=pooled[1], taxonomies=taxonomies)  # type: ignore[arg-type]


def _taxonomy(scores: Scores, grouping: Grouping, tail: float) -> Taxonomy:
    sides: tuple[list[float | None], list[float | None]] = ([], [])
    for group in range(grouping.count):
        chosen = scores.take(grouping.groups == group)
        for side, values in zip(sides, (chosen.below, chosen.above), strict=True):
            bound = quantile(values, tail) if len(values) >= SMALL_GROUP else math.inf
            side.append(bound if math.isfinite(bound) else None)
    return Taxonomy(feature=grouping.feature, cuts=grouping.cuts, below=tuple(sides[0]), above=tuple(sides[1]))


def fitted_bands(
    outcome: Array, lower: Array, upper: Array, spread: Array, *, cuts: Sequence[float], level: float
) -> TruthBands:
    """Quantiles of each band of the outcome, from the scores of the patients in it.

    How a band's miss is shared between its two sides is free; of a few shares that which makes the hull narrowest on
    the calibration patients is taken, one band after the other. A band of fewer than `SMALL_GROUP` patients takes the
    quantiles of all.
    """
    band, scores = bands(outcome, cuts), Scores.of(outcome, lower, upper, spread)
    own = [scores.take(band == k) for k in range(len(cuts) + 1)]
    own = [scores if len(held.below) < SMALL_GROUP else held for held in own]

    def made(shares: Sequence[float]) -> TruthBands:
        miss = 1.0 - level
        below = tuple(quantile(held.below, miss * share) for held, share in zip(own, shares, strict=True))
        above = tuple(quantile(held.above, miss * (1 - share)) for held, share in zip(own, shares, strict=True))
        return TruthBands.model_construct(cuts=tuple(map(float, cuts)), below=below, above=above)

    def width(shares: Sequence[float]) -> float:
        truth = made(shares)
        if not all(map(math.isfinite, (*truth.below, *truth.above))):
            return math.inf
        low, high = hull(truth, lower, upper, spread)
        return float(np.mean(np.maximum(high - low, 0.0)))

    best = [0.5] * len(own)
    for k in (*range(len(own)), *range(len(own))):
        tried = [[*best[:k], share, *best[k + 1 :]] for share in _SHARES]
        best = min(tried, key=width)
    found = made(best)
    if not all(map(math.isfinite, (*found.below, *found.above))):
        raise ModelError(
            f"a band of the outcome has too few patients for an interval of {level:g}",
            where="conformal",
            hint="give fewer cuts or more patients",
        )
    return TruthBands(cuts=found.cuts, below=found.below, above=found.above)


def hull(truth: TruthBands, lower: Array, upper: Array, spread: Array) -> tuple[Array, Array]:
    """Lowest and highest outcome that its own band holds, (n,) each; infinite and crossed where none is held."""
    edges = [-math.inf, *truth.cuts, math.inf]
    low, high = np.full(len(lower), math.inf), np.full(len(lower), -math.inf)
    for k, (below, above) in enumerate(zip(truth.below, truth.above, strict=True)):
        least = np.maximum(lower - below * spread, edges[k])
        most = np.minimum(upper + above * spread, edges[k + 1])
        held = least <= most
        low, high = np.where(held, np.minimum(low, least), low), np.where(held, np.maximum(high, most), high)
    return low, high


def sides(rule: IntervalRule, groups: Sequence[Index], n: int) -> tuple[Array, Array]:
    """Quantiles below and above of each patient: the widest over the taxonomies of its groups, (n,) each."""
    below, above = np.full(n, -math.inf), np.full(n, -math.inf)
    for taxonomy, codes in zip(rule.taxonomies, groups, strict=True):
        for side, held, pooled in ((below, taxonomy.below, rule.below), (above, taxonomy.above, rule.above)):
            own = np.array([pooled if bound is None else bound for bound in held])
            np.maximum(side, own[np.clip(codes, 0, len(own) - 1)], out=side)
    if not rule.taxonomies:
        return np.full(n, rule.below), np.full(n, rule.above)
    return below, above


def groups_of(rule: IntervalRule, margin: Array, features: Mapping[str, Array]) -> list[Index]:
    """Group of each patient in each taxonomy of a rule."""
    return [
        states_of(features[taxonomy.feature]) if taxonomy.feature else bands(margin, taxonomy.cuts)
        for taxonomy in rule.taxonomies
    ]


def interval(
    rule: IntervalRule, margin: Array, extra: Mapping[str, Array], features: Mapping[str, Array]
) -> tuple[Array, Array]:
    """Low and high on the margin's scale, (n,) each; they always hold the margin itself."""
    below, above = sides(rule, groups_of(rule, margin, features), len(margin))
    zero = np.zeros_like(margin)
    lower, upper = margin + extra.get("lower", zero), margin + extra.get("upper", zero)
    spread = extra.get("spread", zero + 1.0)
    low, high = lower - below * spread, upper + above * spread
    if rule.truth is not None:
        least, most = hull(rule.truth, lower, upper, spread)
        low, high = np.minimum(low, least), np.maximum(high, most)
    return np.minimum(low, margin), np.maximum(high, margin)


def coverage_by(low: Array, high: Array, outcome: Array, codes: Index) -> Iterator[tuple[int, int, float]]:
    """Group, its number of patients and the share of them inside the interval."""
    inside = (outcome >= low) & (outcome <= high)
    for group in np.unique(codes):
        chosen = codes == group
        yield int(group), int(chosen.sum()), float(np.mean(inside[chosen]))
