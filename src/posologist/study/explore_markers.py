"""Which markers go with the outcome, one at a time, and what the genome adds beside genomes dealt to other patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr
from sklearn.base import clone

from posologist.core.evaluation import Interval
from posologist.core.exploration import GenomeControl, Marker, MarkerTable
from posologist.learn.fit.biomarkers import adjusted, discover, gain_of_block
from posologist.learn.fit.models import GRIDS
from posologist.study.blocks import Array, Explored, IntArray, sub_seed
from posologist.study.bootstrap import interval, means, resamples
from posologist.study.explore_table import Table, is_mask, owner_of

RATE = 0.05
_FEWEST_KNOWN = 50
_FEWEST_OF_A_STATE = 10  # below it the tests' normal approximation does not hold; two more for each covariate
_PERMUTATIONS = 19
_EFFECT = {
    "regression": "partial correlation",
    "classification": "log odds per standard deviation of a number, or with the state against without",
}


@dataclass(frozen=True)
class _Tested:
    """A column that was tested: patients, effect and p-value."""

    column: str
    n: int
    effect: float
    p_value: float


def marker_tables(table: Table, explored: Explored, *, seed: int) -> tuple[tuple[MarkerTable, ...], tuple[str, ...]]:
    """Markers adjusted for nothing and for the clinical features and the site; and the columns that were not tested."""
    rows = table.one_row_each(np.random.default_rng(sub_seed(seed, "markers")))
    columns = [j for j in table.varying() if not is_mask(table.encoder.columns[j])]
    plain = [_tested(table, rows, j, None) for j in columns]
    clinical = [_tested(table, rows, j, explored) for j in columns]
    skipped = tuple(
        table.column_text(table.encoder.columns[j])
        for j, *found in zip(columns, plain, clinical, strict=True)
        if None in found
    )
    return (
        _marker_table(table, explored, plain, "nothing"),
        _marker_table(
            table, explored, clinical, "the other clinical features, what is not known of them, and the site"
        ),
    ), skipped


def _tested(table: Table, rows: IntArray, column: int, explored: Explored | None) -> _Tested | None:
    """One column tested where its feature is known; None where too few patients tell anything.

    With `explored` adjusted for all other clinical features and the site.
    """
    name = table.encoder.columns[column]
    owner = owner_of(name)
    known = rows[~np.isnan(table.frame.column(owner)[rows])]
    marker = table.matrix[known, column]
    rare = table.feature(owner).kind != "number" and min(marker.sum(), (1.0 - marker).sum()) < _FEWEST_OF_A_STATE
    covariates = None if explored is None else _clinical(table, known, owner, explored)
    room = 0 if covariates is None else 2 * covariates.shape[1]
    if rare or len(known) < _FEWEST_KNOWN + room or _rarer(table, known) < _FEWEST_OF_A_STATE + room:
        return None
    found = discover(marker[:, None], table.target[known], kind=table.kind, covariates=covariates)
    return _Tested(name, len(known), float(found.effect[0]), float(found.p_value[0]))


def _rarer(table: Table, rows: IntArray) -> float:
    """Rows with the rarer answer to a yes/no outcome; no bound for an amount that varies."""
    target = table.target[rows]
    if table.kind == "classification":
        return float(min(target.sum(), (1.0 - target).sum()))
    return float("inf") if np.ptp(target) > 0.0 else 0.0


def _clinical(table: Table, rows: IntArray, owner: str, explored: Explored) -> Array:
    """Columns of the clinical features but one, and of the site, none a combination of the others."""
    names = [name for name in table.frame.schema.names if name not in (*explored.genome, owner)]
    sites = np.unique(table.site)
    values = np.concatenate(
        [table.matrix[np.ix_(rows, table.columns_of(*names))], table.site[rows, None] == sites[None, :]], axis=1
    )
    centred = values - values.mean(axis=0)
    _, triangle, order = qr(centred, mode="economic", pivoting=True)
    size = np.abs(np.diag(triangle))
    kept = order[: int((size > 1e-8 * max(size.max(), 1e-300)).sum())] if size.size else order
    return np.asarray(values[:, np.sort(kept)])


def _marker_table(table: Table, explored: Explored, found: list[_Tested | None], adjusted_for: str) -> MarkerTable:
    tested = [one for one in found if one is not None]
    q_values = adjusted(np.array([one.p_value for one in tested]))
    rows = [
        Marker(
            name=one.column, text=table.column_text(one.column), genome=owner_of(one.column) in explored.genome,
            n=one.n, effect=None if np.isnan(one.effect) else one.effect, p_value=one.p_value, q_value=float(q),
            found=bool(q <= RATE),
        )
        for one, q in zip(tested, q_values, strict=True)
    ]  # fmt: skip
    rows.sort(key=lambda row: (not row.genome, row.p_value))
    return MarkerTable(
        adjusted_for=adjusted_for, effect_is=_EFFECT[table.kind], false_discovery_rate=RATE, basis="in-sample",
        rows=tuple(rows),
    )  # fmt: skip


def genome_control(
    table: Table, explored: Explored, *, n_resamples: int, seed: int, quick: bool
) -> GenomeControl | None:
    """Gain of the genome in LightGBM, and of genomes dealt to other patients; None where the table has no genome."""
    block = np.intersect1d(table.columns_of(*explored.genome), table.varying())
    if not block.size:
        return None
    estimator, settings = GRIDS[table.kind]["lightgbm"]
    middle = len(settings) // 2
    model = clone(estimator).set_params(**settings[middle - 1 if quick else middle])
    within = np.nan_to_num(table.frame.column(explored.within), nan=-1.0) if explored.within else None
    found = gain_of_block(
        model, table.matrix, table.target, block, groups=table.patient, within=within, n_permutations=_PERMUTATIONS,
        seed=sub_seed(seed, "genome"),
    )  # fmt: skip
    rng = np.random.default_rng(sub_seed(seed, "genome resamples"))
    gain, dealt = _over_patients(np.stack([found.own, found.dealt]), table.patient, n_resamples, rng)
    return GenomeControl(
        features=tuple(table.text(name) for name in explored.genome),
        within=table.text(explored.within) if explored.within else "",
        model="LightGBM",
        loss=table.loss,
        basis="held out",
        gain=gain,
        p_value=found.p_value,
        permutations=len(found.chance),
        dealt=dealt,
        vanishes=dealt.low is None or dealt.low <= 0.0,
    )


def _over_patients(rows: Array, patient: IntArray, n_resamples: int, rng: np.random.Generator) -> list[Interval]:
    """Means of rows (k, n) with their intervals over the same resamples of patients."""
    number = np.unique(patient, return_inverse=True)[1]
    counts = resamples(int(number.max()) + 1, n_resamples, rng)
    parts = means({str(k): values for k, values in enumerate(rows)}, number, counts)
    return [interval(values) for values in parts.values()]
