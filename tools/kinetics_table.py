"""Prints the table of docs/kinetics-validation.md: each data set with the models held for it.

Run as `python tools/kinetics_table.py FOLDER`, FOLDER with the CSV files as distributed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from posologist.core.evaluation import EvaluationDocument
from posologist.core.genotype import Versions
from posologist.core.version import VERSION
from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.study.datasets import event_tables
from posologist.study.kinetics import PRIOR, evaluate_kinetics

HEADER = (
    "| model, data | method | patients | levels | MPE % | MAPE % | RMSE mg/L | F20 % | F30 % | 90 % interval covers % "
    "| NPDE mean | NPDE SD |"
)
RUNS = (
    ("theophylline_rovei1982", "theophylline_oral_12.csv"),
    ("phenobarbital_grasela1985", "phenobarbital_neonates_59.csv"),
    ("phenobarbital_voeller2017", "phenobarbital_neonates_59.csv"),
    ("quinidine_fattinger1991", "quinidine_136.csv"),
)
_COLUMNS = (
    "mpe_percent", "mape_percent", "rmse", "f20_percent", "f30_percent", "coverage_90_percent", "npde_mean", "npde_sd",
)  # fmt: skip


def evaluated(model: str, data: Path) -> EvaluationDocument:
    """The evaluation of a model held on one data set."""
    held = load_model(MODELS_FOLDER / f"{model}.toml")
    tables, notes = event_tables(data.read_text(encoding="utf-8-sig"), source=data.name, model=held)
    return evaluate_kinetics(held, tables, versions=Versions(posologist=VERSION, knowledge=""), findings=notes)


def rows(document: EvaluationDocument, data: str) -> list[str]:
    """The table's rows of one evaluation."""
    found = []
    for row in document.rows:
        cells = [f"{document.model}, {data}" if row.method == PRIOR else "", row.method, str(row.n), str(row.levels)]
        for name in _COLUMNS:
            metric = row.metrics.get(name)
            digits = 2 if name in ("rmse", "npde_mean", "npde_sd") else 1
            cells.append(
                ""
                if metric is None or metric.low is None or metric.high is None
                else f"{metric.value:.{digits}f} ({metric.low:.{digits}f} to {metric.high:.{digits}f})"
            )
        found.append(f"| {' | '.join(cells)} |")
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(HEADER)
    print("|---" * (HEADER.count("|") - 1) + "|")
    for model, data in RUNS:
        print("\n".join(rows(evaluated(model, folder / data), data)))
