"""One table explored: what carries the outcome, what is redundant, which markers go with it, which patients are alike.

Nothing here chooses what is served. What is measured on rows held out says so, and what is not is in-sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from posologist.core.errors import InputError, PosologistError
from posologist.core.exploration import ExplorationDocument
from posologist.core.genotype import Versions
from posologist.study.blocks import Block, Cohort, Explored
from posologist.study.explore_markers import genome_control, marker_tables
from posologist.study.explore_relevance import engine_parts, relevance_table
from posologist.study.explore_selection import components_table, importance_tables, selection_table
from posologist.study.explore_strata import strata_table
from posologist.study.explore_table import Table, table_of
from posologist.study.measure import thinned
from posologist.study.nested import Settings
from posologist.study.pool import one_thread

T = TypeVar("T")
_SAID = (
    "exploratory: one table, and nothing in it selects what is served. Importance, components and the genome's gain "
    "are measured on rows held out (what is not known was filled in, and numbers scaled, over the whole table, without "
    "the outcome); LASSO, stability selection, markers, strata and relevance describe the rows in which they were "
    "found, and need other patients to be confirmed"
)


def explore(block: Block, cohort: Cohort, settings: Settings, *, versions: Versions) -> ExplorationDocument:
    """The document of one table.

    Raises
    ------
    InputError
        If the task is not explored, or the table has too few patients with a known outcome.
    """
    if block.explored is None:
        raise InputError(f"'{block.task}' is not explored", where="TASK", hint="use a task whose table has features")
    cohort = thinned(block, cohort, settings)
    with one_thread():
        return _explored(block, block.explored, cohort, settings, versions)


def _explored(
    block: Block, explored: Explored, cohort: Cohort, settings: Settings, versions: Versions
) -> ExplorationDocument:
    table = table_of(block, explored, cohort)
    seed, quick = settings.seed, settings.quick
    outcome, unit = (block.title, "") if block.serving is None else (block.serving.outcome, block.serving.unit)
    measure = "%" if table.kind == "classification" else unit
    findings = [_SAID, *cohort.notes, *_about(table, cohort)]

    def step(what: str, made: Callable[[], T]) -> T:
        settings.told(what, 0, 1)
        found = made()
        settings.told(what, 1, 1)
        return found

    importance = step("importance", lambda: importance_tables(table, seed=seed, quick=quick))
    selection = step("selection", lambda: selection_table(table, seed=seed, quick=quick))
    components = step("components", lambda: components_table(table, seed=seed))
    markers, skipped = step("markers", lambda: marker_tables(table, explored, seed=seed))
    genome = step(
        "permuted genome",
        lambda: genome_control(table, explored, n_resamples=settings.n_resamples, seed=seed, quick=quick),
    )
    strata = step(
        "strata",
        lambda: strata_table(
            table,
            outcome=f"{outcome} ({measure})" if measure else outcome,
            n_resamples=settings.n_resamples,
            seed=seed,
            quick=quick,
        ),
    )
    parts, engine_rows = step("engine", lambda: _engine(block, cohort, settings, findings))
    relevance = step(
        "relevance",
        lambda: relevance_table(
            table, parts, engine_rows=engine_rows, seed=seed, quick=quick,
            unit=unit if table.kind == "regression" else "log odds",
        ),
    )  # fmt: skip
    if skipped:
        findings.append(
            f"not tested as markers, or not with adjustment, known or present in too few patients: {', '.join(skipped)}"
        )
    if genome is None:
        findings.append("no feature of this table is of the genome: there is no permuted genome")
    return ExplorationDocument(
        schema="posologist/exploration/1", task=block.task, label=block.label, title=block.title, outcome=outcome,
        unit=unit, licence=block.licence, source=block.source, n=len(np.unique(table.patient)), rows=len(table.target),
        quick=quick, resamples=settings.n_resamples, seed=seed, importance=importance, selection=selection,
        components=components, markers=markers, genome=genome, strata=strata, relevance=relevance,
        findings=tuple(findings), versions=versions,
    )  # fmt: skip


def _about(table: Table, cohort: Cohort) -> list[str]:
    """Rows without outcome, values that were not plausible, and features that say nothing here."""
    found = []
    if len(cohort) > len(table.target):
        found.append(f"{len(cohort) - len(table.target)} of {len(cohort)} rows have no known outcome and are left out")
    found += [
        f"{count} values of {table.text(name)} were not plausible and count as not known"
        for name, count in table.frame.refused.items()
    ]
    flat = [table.text(name) for name in table.frame.schema.names if name not in table.blocks()]
    if flat:
        found.append(f"the same for everybody here, so nothing is said of: {', '.join(flat)}")
    return found


def _engine(block: Block, cohort: Cohort, settings: Settings, findings: list[str]) -> tuple[dict[str, float], int]:
    """The engine's parts; that they could not be had is said, and loses nothing else."""
    try:
        parts, rows = engine_parts(block, cohort, seed=settings.seed, quick=settings.quick)
    except PosologistError as error:
        findings.append(f"the engine's parts were not computed: {error}")
        return {}, 0
    if not rows:
        findings.append("the task has no served engine: relevance stands alone")
    return parts, rows
