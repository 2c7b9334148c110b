"""Model card and data sheet, written from the run that made the model: nothing in them is typed by hand twice.

References
----------
mitchell-2019: M. Mitchell et al., Model cards for model reporting, doi 10.1145/3287560.3287596.
gebru-2021: T. Gebru et al., Datasheets for datasets, doi 10.1145/3458723.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from posologist.core.evaluation import EvaluationDocument, FairnessTable
from posologist.core.manifest import Manifest
from posologist.study.blocks import Block, Cohort
from posologist.study.report import shown


def model_card(block: Block, manifest: Manifest, document: EvaluationDocument) -> str:
    """What the model is, what it is for, how good it is and for whom, and where it must not be used."""
    serving = block.serving
    engine = next(row for row in document.rows if row.method == "engine")
    parts = [
        f"# Model card: {manifest.name} {manifest.version}",
        _list(
            [
                f"answers: {manifest.outcome}, in {manifest.unit or 'its own unit'}",
                f"form: {len(manifest.components)} parts ({', '.join(manifest.components)}) blended on the "
                f"{manifest.link} scale; graph {manifest.graph_digest[:12]}, features {manifest.features_digest[:12]}",
                f"learned from: {manifest.training.n} {manifest.training.label}; {manifest.training.data}; "
                f"digest {manifest.training.digest[:12]}; seed {manifest.training.seed}",
                f"licence of the data: {manifest.training.licence}",
                f"versions: {', '.join(f'{name} {held}' for name, held in sorted(manifest.versions.items()))}",
            ]
        ),
        "## For what",
        _list(() if serving is None else serving.use),
        "## How good",
        f"{document.split}; {document.test.n} patients, seed {document.seed}, 95 % intervals over patients.",
        _list(f"{name.replace('_', ' ')}: {shown(interval)}" for name, interval in engine.metrics.items()),
        _list(
            f"against {pair.against}, {pair.metric.replace('_', ' ')}: {shown(pair.difference)}"
            for pair in document.paired
            if pair.method == "engine"
        ),
        "## For whom",
        _list(_told(table) for table in document.fairness if table.method == "engine"),
        "## Limits",
        _list((*(() if serving is None else serving.limits), *document.findings)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def data_sheet(block: Block, cohort: Cohort, digest: str) -> str:
    """What the table is, who is in it, what is missing from it, and what may be done with it."""
    known = cohort.target[np.isfinite(cohort.target)]
    parts = [
        f"# Data sheet: {block.title}",
        _list(
            [
                f"source: {block.source}",
                f"licence: {block.licence}",
                f"label: {block.label}",
                f"file: {block.file}; SHA-256 {digest}",
                f"rows used: {len(cohort)}, of {len(np.unique(cohort.patient))} patients at "
                f"{len(np.unique(cohort.site))} sites",
                f"outcome known: {len(known)}; median {np.median(known):.4g}, from {known.min():.4g} to "
                f"{known.max():.4g}",
            ]
        ),
        "## Who is in it",
        *(_counts(name, labels) for name, labels in cohort.groups.items()),
        "## What is missing",
        _missing(block, cohort),
        "## How it was read",
        _list((*cohort.notes, *block.notes)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _told(table: FairnessTable) -> str:
    rows = "; ".join(
        f"{row.group}{' (few patients)' if row.small else ''} {shown(row.metrics[table.metric])}, n {row.n}"
        for row in table.rows
        if table.metric in row.metrics
    )
    worst = f"; worst: {table.worst}" if table.worst else ""
    apart = "" if table.difference is None else f", {shown(table.difference)} against all others"
    return f"{table.grouping}, {table.metric.replace('_', ' ')}: {rows}{worst}{apart}"


def _counts(name: str, labels: Iterable[str]) -> str:
    counted = Counter(label or "not known" for label in labels)
    return f"{name}: " + ", ".join(f"{label} {n}" for label, n in sorted(counted.items()))


def _missing(block: Block, cohort: Cohort) -> str:
    empty = {
        name: 100.0 * sum(row.get(name, "").strip() in ("", "NA") for row in cohort.rows) / max(len(cohort), 1)
        for name in block.columns
    }
    return _list(f"{name}: {share:.1f} % empty" for name, share in empty.items() if share > 0)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
