"""An exploration as Markdown and as plots: every table with its basis, in clinical words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from posologist.core.exploration import (
    ComponentsTable,
    ExplorationDocument,
    GenomeControl,
    ImportanceTable,
    MarkerTable,
    RelevanceTable,
    SelectionTable,
    StrataTable,
)
from posologist.study.blocks import Array
from posologist.study.report import shown

_MOST = 20  # rows of a table that are printed; the document holds all


def markdown(document: ExplorationDocument, plots: Iterable[str] = ()) -> str:
    """The whole report; `plots` are the names of the image files beside it."""
    blocks = [
        f"# Exploration: {document.title}",
        _about(document),
        *_importance(document.importance),
        *_selection(document.selection),
        *_components(document.components),
        *(part for table in document.markers for part in _markers(table)),
        *([] if document.genome is None else _genome(document.genome)),
        *_strata(document.strata),
        *_relevance(document.relevance),
        "## To be said",
        "\n".join(f"- {finding}" for finding in document.findings),
        *(f"![{name}]({name})" for name in plots),
    ]
    return "\n\n".join(blocks) + "\n"


def name_of(document: ExplorationDocument) -> str:
    """The stem of the document's files."""
    return f"{document.task}-exploration"


def _about(document: ExplorationDocument) -> str:
    quick = " (quick run: fewer rows and resamples)" if document.quick else ""
    return "\n".join(
        [
            f"- label: {document.label}",
            f"- data: {document.source}; licence: {document.licence}",
            f"- outcome: {document.outcome}" + (f" ({document.unit})" if document.unit else ""),
            f"- patients: {document.n}, rows: {document.rows}{quick}",
            f"- seed {document.seed}",
            f"- posologist {document.versions.posologist}",
        ]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _more(rows: Sequence[object]) -> list[str]:
    return [f"{len(rows) - _MOST} more stand in the document (JSON)."] if len(rows) > _MOST else []


def _importance(tables: Sequence[ImportanceTable]) -> list[str]:
    first = tables[0]
    by_model = [{row.name: row for row in table.rows} for table in tables]
    rows = [[row.text, *(shown(own[row.name].rise, 3) for own in by_model)] for row in first.rows[:_MOST]]
    return [
        f"## Importance ({first.basis})",
        f"Rise of the {first.loss} on rows that the model was not fitted on, when the feature is dealt to other rows "
        "there; 95 % interval over five folds. Near zero or below: the model does not need it.",
        _table(["feature", *(table.model for table in tables)], rows),
        *_more(first.rows),
    ]  # fmt: skip


def _selection(table: SelectionTable) -> list[str]:
    rows = [
        [row.text, f"{100 * row.share:.0f} %", "selected" if row.selected else "", str(row.entered or ""),
         _number(row.coefficient) if row.coefficient else ""]
        for row in table.rows[:_MOST]
    ]  # fmt: skip
    return [
        f"## Selection ({table.basis})",
        f"LASSO keeps {table.chosen} of {table.columns} columns at the penalty of least squared error on inner folds. "
        f"Stability selection: the first {table.taken} columns in each of {table.halves} halves of the patients; "
        f"selected in at least {100 * table.threshold:.0f} % of them, at most {table.wrong_at_most:.2g} columns are "
        "expected to be selected wrongly (if columns without an effect are exchangeable, which cannot be tested).",
        _table(["column", "share of halves", "stability selection", "enters the path", "coefficient per SD"], rows),
        *_more(table.rows),
    ]


def _components(table: ComponentsTable) -> list[str]:
    rows = [
        ["no components" if row.share == 1.0 else f"components that keep {100 * row.share:.0f} %",
         _number(row.held_out_loss)]
        for row in table.rows
    ]  # fmt: skip
    losses = {row.share: row.held_out_loss for row in table.rows}
    fall = 100.0 * (1.0 - losses[table.kept] / losses[1.0])
    verdict = (
        f"least with those that keep {100 * table.kept:.0f} %, by {fall:.1f} %" if table.help else "not helped by them"
    )
    return [
        f"## Principal components ({table.basis}: inner folds)",
        f"Linear model, {table.loss}: {verdict}. These are figures of one set of folds, without an interval.",
        _table(["linear model on", table.loss], rows),
    ]


def _markers(table: MarkerTable) -> list[str]:
    rows = [
        [("genome: " if row.genome else "") + row.text, str(row.n), _number(row.effect), f"{row.p_value:.2g}",
         f"{row.q_value:.2g}", "found" if row.found else ""]
        for row in table.rows[: 2 * _MOST]
    ]  # fmt: skip
    found = sum(row.found for row in table.rows)
    return [
        f"## Markers, adjusted for {table.adjusted_for} ({table.basis})",
        f"{found} of {len(table.rows)} found at a false-discovery rate of {100 * table.false_discovery_rate:.0f} % "
        f"(Benjamini, Hochberg); one row of each patient, where the marker is known. Effect: {table.effect_is}; blank "
        "where the marker says no more than what it is adjusted for.",
        _table(["marker", "n", "effect", "p", "adjusted p", ""], rows),
    ]


def _genome(control: GenomeControl) -> list[str]:
    verdict = "dealt genomes give no gain, as it must be" if control.vanishes else (
        "DEALT GENOMES GIVE A GAIN: something leaks, and the gain of the genome cannot be believed"
    )  # fmt: skip
    least = " (the least that so many deals can give)" if control.p_value * (control.permutations + 1) < 1.5 else ""
    within = f" among patients of the same {control.within}" if control.within else ""
    return [
        f"## Permuted genome ({control.basis})",
        f"Fall of the {control.loss} of {control.model} on rows held out, with {', '.join(control.features)}.",
        _table(
            ["genome", "gain"],
            [
                ["their own", f"{shown(control.gain, 3)}, p = {control.p_value:.2g}{least}"],
                [f"dealt to other patients{within}, {control.permutations} times", shown(control.dealt, 3)],
            ],
        ),
        f"{verdict[0].upper()}{verdict[1:]}. 95 % intervals over patients.",
    ]


def _strata(table: StrataTable) -> list[str]:
    tried = [
        [str(one.clusters), f"{one.least_jaccard:.2f}", f"{one.silhouette:.3f}", f"{one.by_chance:.3f}"]
        for one in table.tried
    ]
    blocks = [
        f"## Strata ({table.basis})",
        f"{table.conclusion[0].upper()}{table.conclusion[1:]}, over {table.features} features."
        + (f" They are hardly more than one feature: {table.same_as}." if table.same_as else ""),
        _table(["clusters", "least Jaccard (stable: 0.75)", "silhouette", "silhouette by chance, at most"], tried),
    ]
    if not table.strata:
        return blocks
    names = [f"stratum {number} (n = {one.n})" for number, one in enumerate(table.strata, start=1)]
    rows = [[table.outcome, *(shown(one.outcome, 3) for one in table.strata)]]
    for traits in zip(*(one.traits for one in table.strata), strict=True):
        rows.append([traits[0].text, *(f"{_number(trait.value)} {trait.unit}".strip() for trait in traits)])
    return [*blocks, _table(["", *names], rows), f"Note: {table.warning}."]


def _relevance(table: RelevanceTable) -> list[str]:
    beside = bool(table.engine_rows)
    head = ["feature", "network: mean absolute relevance", *(["engine: mean absolute part"] if beside else [])]
    rows = [
        [row.text, _number(row.relevance), *([_number(row.engine)] if beside else [])] for row in table.rows[:_MOST]
    ]
    over = f", beside Shapley parts of the served engine over {table.engine_rows} rows" if beside else ""
    return [
        f"## Layer-wise relevance ({table.basis})",
        f"The network alone, fitted to this table{over}; unit: {table.unit}.",
        _table(head, rows),
        *_more(table.rows),
    ]


def write_plots(document: ExplorationDocument, folder: Path) -> tuple[str, ...]:
    """Importance by each model, selection share, and relevance as SVG; returns their names."""
    from posologist.learn.fit.relevance import importance_plot

    stem, names = name_of(document), []

    def plot(
        suffix: str, texts: list[str], values: list[float], label: str, *ends: Array,
    ) -> None:  # fmt: skip
        names.append(f"{stem}-{suffix}.svg")
        low, high = ends or (None, None)
        importance_plot(texts, np.array(values), folder / names[-1], label=label, low=low, high=high)

    for table in document.importance:
        rises = [row.rise for row in table.rows]
        low = np.array([rise.value if rise.low is None else rise.low for rise in rises])
        high = np.array([rise.value if rise.high is None else rise.high for rise in rises])
        plot(
            table.model.lower().replace(" ", "-"), [row.text for row in table.rows], [rise.value for rise in rises],
            f"rise of the {table.loss}, {table.model}, {table.basis} (n = {document.n})", low, high,
        )  # fmt: skip
    selection = document.selection.rows
    plot("stability", [row.text for row in selection], [row.share for row in selection], "share of halves (in-sample)")
    relevant = document.relevance
    plot(
        "relevance", [row.text for row in relevant.rows], [row.relevance for row in relevant.rows],
        f"mean absolute relevance in the network, {relevant.unit} (in-sample)",
    )  # fmt: skip
    return tuple(names)
