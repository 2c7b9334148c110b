"""Strata of patients, found without the outcome, and what tells them apart."""

from __future__ import annotations

import numpy as np

from posologist.core.evaluation import Interval
from posologist.core.exploration import StrataTable, Stratum, Trait, TriedClusters
from posologist.learn.fit.strata import Strata
from posologist.study.blocks import Array, IntArray, sub_seed
from posologist.study.bootstrap import interval, resamples
from posologist.study.explore_table import Table, is_mask, owner_of

_LEAST_KNOWN = 0.5  # share of patients in whom a feature must be known: what is imputed makes clusters of its own
_TRAITS = 8
_SAME = 0.95  # share of patients from which clusters are hardly more than one state
_WARNING = (
    "strata were found without the outcome: a difference of the outcome between them is described, not tested, and is "
    "no effect of belonging to one"
)
_QUICK = {"n_resamples": 20, "most_rows": 200, "most_clusters": 4}


def strata_table(table: Table, *, outcome: str, n_resamples: int, seed: int, quick: bool) -> StrataTable:
    """Clusters of patients over mixed features (one row of each patient), their outcome and traits."""
    rows = table.one_row_each(np.random.default_rng(sub_seed(seed, "strata rows")))
    values = table.frame.values[rows]
    filled = table.encoder.filled(values)
    kept = np.flatnonzero((~np.isnan(values)).mean(axis=0) >= _LEAST_KNOWN)
    kept = kept[np.ptp(filled[:, kept], axis=0) > 0.0]
    categorical = [i for i, j in enumerate(kept) if table.frame.schema.features[j].kind != "number"]
    model = Strata(categorical, random_state=sub_seed(seed, "strata"), **(_QUICK if quick else {})).fit(filled[:, kept])
    tried = tuple(
        TriedClusters(
            clusters=one.n_clusters, least_jaccard=min(one.jaccard), silhouette=one.silhouette,
            by_chance=max(one.by_chance),
        )
        for one in model.tried_
    )  # fmt: skip
    found: tuple[Stratum, ...] = ()
    same_as = ""
    if model.n_clusters_ > 1:
        rng = np.random.default_rng(sub_seed(seed, "strata outcome"))
        names = tuple(table.frame.schema.names[j] for j in kept)
        found = _described(table, rows, model.labels_, names, n_resamples, rng)
        same_as = _same_as(table, rows, model.labels_, names)
    return StrataTable(
        conclusion=model.conclusion_, warning=_WARNING, outcome=outcome, basis="in-sample", features=len(kept),
        tried=tried, strata=found, same_as=same_as,
    )  # fmt: skip


def _described(
    table: Table, rows: IntArray, labels: IntArray, names: tuple[str, ...], n_resamples: int, rng: np.random.Generator
) -> tuple[Stratum, ...]:
    """Each stratum with its outcome and the traits in which the strata differ most."""
    apart = _apart(table, rows, labels, names)
    percent = 100.0 if table.kind == "classification" else 1.0
    return tuple(
        Stratum(
            n=int((labels == label).sum()),
            outcome=_mean(percent * table.target[rows[labels == label]], n_resamples, rng),
            traits=tuple(_trait(table, rows[labels == label], column) for column in apart),
        )
        for label in np.unique(labels)
    )


def _mean(outcome: Array, n_resamples: int, rng: np.random.Generator) -> Interval:
    return interval(resamples(len(outcome), n_resamples, rng) @ outcome / len(outcome))


def _apart(table: Table, rows: IntArray, labels: IntArray, names: tuple[str, ...]) -> list[str]:
    """Columns with the widest gap between the means of strata, in standard deviations, known in each stratum."""
    gaps: dict[str, float] = {}
    for j in table.varying():
        column = table.encoder.columns[j]
        known = ~np.isnan(table.frame.column(owner_of(column))[rows])
        if is_mask(column) or owner_of(column) not in names or set(labels[known]) != set(labels):
            continue
        own = table.matrix[rows[known], j]
        means = [own[labels[known] == label].mean() for label in np.unique(labels)]
        gaps[column] = float((max(means) - min(means)) / max(own.std(), 1e-12))
    return sorted(gaps, key=lambda column: -gaps[column])[:_TRAITS]


def _same_as(table: Table, rows: IntArray, labels: IntArray, names: tuple[str, ...]) -> str:
    """The state that by itself parts the patients into the same two clusters, "" where there is none."""
    if labels.max() != 1:
        return ""
    for j in table.varying():
        column = table.encoder.columns[j]
        if table.feature(owner_of(column)).kind == "number" or is_mask(column) or owner_of(column) not in names:
            continue
        agreeing = float((table.matrix[rows, j] == labels).mean())
        if max(agreeing, 1.0 - agreeing) >= _SAME:
            return table.column_text(column)
    return ""


def _trait(table: Table, rows: IntArray, column: str) -> Trait:
    """Median of a number, or percentage of the patients in whom it is known."""
    feature = table.feature(owner_of(column))
    values = table.frame.column(feature.name)[rows]
    known = ~np.isnan(values)
    text = table.column_text(column)
    if feature.kind == "number":
        return Trait(name=column, text=f"{text}, median", value=float(np.median(values[known])), unit=feature.unit)
    share = table.matrix[rows[known], list(table.encoder.columns).index(column)].mean()
    return Trait(name=column, text=text, value=100.0 * float(share), unit="%")
