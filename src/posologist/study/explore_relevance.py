"""What the network alone rests on (layer-wise relevance), beside the served engine's additive parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from posologist.core.exploration import RelevanceTable, Relevant
from posologist.learn.fit.mlp import NetworkClassifier, NetworkRegressor
from posologist.learn.fit.parts import masks_of
from posologist.learn.fit.relevance import relevance
from posologist.study.blocks import Block, Cohort, sub_seed
from posologist.study.explore_table import Table

_NETWORK: Mapping[str, Any] = {"hidden": (32, 32), "n_members": 4, "n_bins": 6, "dropout": 0.2, "batch_size": 64}
_EPOCHS, _QUICK_EPOCHS = 100, 60  # at most: the fit stops where patients held out no longer gain
_ENGINE_ROWS = 300


def relevance_table(table: Table, engine: Mapping[str, float], *, engine_rows: int, seed: int, quick: bool,
                    unit: str) -> RelevanceTable:  # fmt: skip
    """Mean absolute relevance of each feature (its columns summed) in a network fitted to the whole table.

    Parameters
    ----------
    engine
        Mean absolute part of each feature in the served engine, empty where there is none.
    """
    epochs = _QUICK_EPOCHS if quick else _EPOCHS
    settings = {**_NETWORK, "max_epochs": epochs, "masks": masks_of(table.encoder)}
    kind = NetworkClassifier if table.kind == "classification" else NetworkRegressor
    network = kind(**settings, random_state=sub_seed(seed, "network"))
    outcome = table.target.astype(np.int64) if table.kind == "classification" else table.target
    network.fit(table.matrix, outcome, groups=table.patient)
    columns = relevance(network.layers(), table.matrix).columns
    rows = [
        Relevant(
            name=name, text=table.text(name), relevance=float(np.abs(columns[:, places].sum(axis=1)).mean()),
            engine=engine.get(name),
        )
        for name, places in table.blocks().items()
    ]  # fmt: skip
    rows.sort(key=lambda row: -row.relevance)
    return RelevanceTable(unit=unit, basis="in-sample", engine_rows=engine_rows, rows=tuple(rows))


def engine_parts(block: Block, cohort: Cohort, *, seed: int, quick: bool) -> tuple[dict[str, float], int]:
    """Mean absolute part of each feature of the task's engine, fitted to the cohort, and over how many of its rows."""
    if block.serving is None:
        return {}, 0
    known = cohort.take(np.isfinite(cohort.target))
    fitted = block.serving.fit(known, seed=seed, quick=quick)
    rng = np.random.default_rng(sub_seed(seed, "engine rows"))
    rows = np.sort(rng.permutation(len(fitted.frame))[:_ENGINE_ROWS])
    return fitted.served.importance(fitted.frame.take(rows)), len(rows)
