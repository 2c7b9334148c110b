"""Which features carry the outcome: importance on rows held out, LASSO, stability selection, principal components."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import t as student
from sklearn.linear_model import LassoCV

from posologist.core.evaluation import Interval
from posologist.core.exploration import (
    Components,
    ComponentsTable,
    ImportanceTable,
    Ranked,
    SelectedColumn,
    SelectionTable,
)
from posologist.learn.fit.folds import fifths, fold_of
from posologist.learn.fit.select import StabilitySelection, held_out_importance, lasso, linear_on_components
from posologist.study.blocks import Array, sub_seed
from posologist.study.explore_table import Table

_FOLDS = 5
_MODELS: tuple[tuple[Literal["forest", "lightgbm"], Literal["random forest", "LightGBM"]], ...] = (
    ("forest", "random forest"),
    ("lightgbm", "LightGBM"),
)
_NOTHING = 1e-9  # coefficient per standard deviation of the outcome that is the solver's rounding
_HALVES, _QUICK_HALVES = 100, 50
_REPEATS, _QUICK_REPEATS = 3, 1


def importance_tables(table: Table, *, seed: int, quick: bool) -> tuple[ImportanceTable, ...]:
    """Rise of the loss on rows held out when a feature (with its mask and levels) is dealt to other rows."""
    blocks = table.blocks()
    found = []
    for name, model in _MODELS:
        importance = held_out_importance(
            name, table.kind, table.matrix, table.target, blocks=[columns.tolist() for columns in blocks.values()],
            groups=table.patient, n_folds=_FOLDS, n_repeats=_QUICK_REPEATS if quick else _REPEATS,
            seed=sub_seed(seed, "importance", name),
        )  # fmt: skip
        rises = over_folds(importance.rise)
        rows = [Ranked(name=own, text=table.text(own), rise=rise) for own, rise in zip(blocks, rises, strict=True)]
        rows.sort(key=lambda row: -row.rise.value)
        found.append(ImportanceTable(model=model, loss=table.loss, basis="held out", rows=tuple(rows)))
    return tuple(found)


def over_folds(values: Array) -> list[Interval]:
    """Mean over folds of each column of (n_folds, n), with a 95 % interval.

    The folds' training parts overlap, so their variance is raised from 1/k to 1/k + 1/(k - 1).

    References
    ----------
    Nadeau, Bengio. Inference for the generalization error. Machine Learning 2003;52:239-281.
    """
    folds = len(values)
    mean = values.mean(axis=0)
    raised = 1.0 / folds + 1.0 / (folds - 1)
    reach = student.ppf(0.975, folds - 1) * values.std(axis=0, ddof=1) * np.sqrt(raised)
    return [Interval(value=float(m), low=float(m - r), high=float(m + r)) for m, r in zip(mean, reach, strict=True)]


def selection_table(table: Table, *, seed: int, quick: bool) -> SelectionTable:
    """The LASSO's path with its penalty of least error on inner folds, and stability selection."""
    path = lasso(table.matrix, table.target)
    coefficients = _chosen_coefficients(table, path.penalties, seed)
    stable = StabilitySelection(
        n_resamples=_QUICK_HALVES if quick else _HALVES, random_state=sub_seed(seed, "stability")
    ).fit(table.matrix, table.target, groups=table.patient)
    place = {int(column): number for number, column in enumerate(path.order, start=1)}
    rows = [
        SelectedColumn(
            name=column, text=table.column_text(column), entered=place.get(j, 0), coefficient=float(coefficients[j]),
            share=float(stable.probability_[j]), selected=bool(stable.probability_[j] >= stable.threshold),
        )
        for j, column in enumerate(table.encoder.columns)
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row.share, row.entered or len(rows) + 1))
    return SelectionTable(
        basis="in-sample",
        columns=len(rows),
        chosen=int((coefficients != 0.0).sum()),
        taken=stable.n_taken_,
        halves=2 * -(-stable.n_resamples // 2),
        threshold=stable.threshold,
        wrong_at_most=stable.bound_,
        rows=tuple(rows),
    )


def _chosen_coefficients(table: Table, penalties: Array, seed: int) -> Array:
    """Coefficients per standard deviation at the penalty of the path with the least squared error on inner folds."""
    spread = table.matrix.std(axis=0)
    scaled = (table.matrix - table.matrix.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    stratum = table.target.astype(np.int64) if table.kind == "classification" else fifths(table.target)
    rng = np.random.RandomState(sub_seed(seed, "lasso"))
    fold = fold_of(table.patient, stratum, n_folds=_FOLDS, rng=rng)
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(_FOLDS)]
    model = LassoCV(alphas=penalties, cv=splits, max_iter=5000).fit(scaled, table.target)
    found = np.asarray(model.coef_, dtype=np.float64)
    return np.where(np.abs(found) > _NOTHING * table.target.std(), found, 0.0)


def components_table(table: Table, *, seed: int) -> ComponentsTable:
    """A linear model on the columns and on principal components of them, on inner folds that keep patients whole."""
    model = linear_on_components(table.kind, seed=sub_seed(seed, "components"))
    outcome = table.target.astype(np.int64) if table.kind == "classification" else table.target
    model.fit(table.matrix, outcome, groups=table.patient)
    rows = tuple(
        Components(share=_share(one["components"]), held_out_loss=float(loss))
        for one, loss in zip(model.settings, model.losses_, strict=True)
    )
    kept = _share(model.settings_["components"])
    return ComponentsTable(loss=table.loss, basis="held out", help=kept < 1.0, kept=kept, rows=rows)


def _share(components: object) -> float:
    """Share of the variance that is kept; 1 without a cut."""
    return 1.0 if isinstance(components, str) else float(components.n_components)  # type: ignore[attr-defined]
