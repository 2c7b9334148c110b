"""Prints the tables of docs/kinetics-validation.md: each data set with the models held for it, or leave-one-out.

Run as `python tools/kinetics_table.py FOLDER [SVGS [NAME ...]]`: FOLDER with the CSV files as distributed, SVGS where
the predictive checks are written, names of models or structures to do no more than these. All take about ten minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from posologist.core.evaluation import EvaluationDocument
from posologist.core.genotype import Versions
from posologist.core.version import VERSION
from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.serve.charts import predictive_check
from posologist.study.datasets import event_tables
from posologist.study.kinetics import PRIOR, evaluate_kinetics
from posologist.study.leave_one_out import evaluate_left_out, population_of

HEADER = (
    "| model, data | method | patients | levels | MPE % | MAPE % | RMSE | F20 % | F30 % | 90 % interval covers % "
    "| NPDE mean | NPDE SD |"
)
RUNS = (
    ("theophylline_rovei1982", "theophylline_oral_12.csv"),
    ("phenobarbital_grasela1985", "phenobarbital_neonates_59.csv"),
    ("phenobarbital_voeller2017", "phenobarbital_neonates_59.csv"),
    ("quinidine_fattinger1991", "quinidine_136.csv"),
)
LEFT_OUT = (
    ("indometacin_two_compartments", "indometacin_iv_6.csv"),
    ("cefamandole_two_compartments", "cefamandole_iv_6.csv"),
    ("warfarin_transit", "warfarin_pkpd_32.csv"),
    ("nimotuzumab_one_compartment", "nimotuzumab_iv.csv"),
    ("mavoglurant_two_compartments", "mavoglurant_oral_iv.csv"),
)
AT_ONCE = {"mavoglurant_two_compartments": 12}  # patients left out at a time, where each alone takes too long
STRUCTURES = Path(__file__).parents[1] / "examples" / "structures"
_COLUMNS = (
    "mpe_percent", "mape_percent", "rmse", "f20_percent", "f30_percent", "coverage_90_percent", "npde_mean", "npde_sd",
)  # fmt: skip


_VERSIONS = Versions(posologist=VERSION, knowledge="")


def evaluated(model: str, data: Path) -> EvaluationDocument:
    """The evaluation of a model held on one data set."""
    held = load_model(MODELS_FOLDER / f"{model}.toml")
    tables, notes = event_tables(data.read_text(encoding="utf-8-sig"), source=data.name, model=held)
    return evaluate_kinetics(held, tables, versions=_VERSIONS, findings=notes)


def left_out(structure: str, data: Path) -> EvaluationDocument:
    """Each patient of a data set predicted by others."""
    held = load_model(STRUCTURES / f"{structure}.toml")
    tables, notes = event_tables(data.read_text(encoding="utf-8-sig"), source=data.name, model=held)
    return evaluate_left_out(held, tables, at_once=AT_ONCE.get(structure, 1), versions=_VERSIONS, findings=notes)


def estimates(structure: str, data: Path) -> str:
    """What all patients of a data set together estimate: typical (SD of the logarithm), and the error."""
    held = load_model(STRUCTURES / f"{structure}.toml")
    tables, _ = event_tables(data.read_text(encoding="utf-8-sig"), source=data.name, model=held)
    found = population_of(held, tables).model
    typical = found.typical(found.reference)
    units = {name: theta.unit for name, theta in zip(found.equations, found.parameters, strict=True)}
    parts = [
        f"{effect.on} {typical[effect.on]:.3g} {units[effect.on]} ({found.omega[i][i] ** 0.5:.2f})"
        for i, effect in enumerate(found.random)
    ]
    error = found.residual[0]
    parts.append(f"error {error.form} " + " and ".join(f"{v:.2g}" for v in (error.additive, error.proportional) if v))
    return f"| {structure}, {data.name} | {', '.join(parts)} |"


def rows(document: EvaluationDocument, data: str) -> list[str]:
    """The table's rows of one evaluation."""
    found = []
    for row in document.rows:
        name = f"{document.model}{', left out' if document.split else ''}, {data}"
        cells = [name if row.method == PRIOR else "", row.method, str(row.n), str(row.levels)]
        for name in _COLUMNS:
            metric = row.metrics.get(name)
            digits = 2 if name in ("rmse", "npde_mean", "npde_sd") else 1
            unit = f" {document.concentration_unit}" if name == "rmse" else ""
            cells.append(
                ""
                if metric is None or metric.low is None or metric.high is None
                else f"{metric.value:.{digits}f} ({metric.low:.{digits}f} to {metric.high:.{digits}f}){unit}"
            )
        found.append(f"| {' | '.join(cells)} |")
    return found


def printed(document: EvaluationDocument, data: str, svgs: Path | None) -> None:
    """The rows, the difference that levels make, and what was found, with the plot beside it."""
    print("\n".join(rows(document, data)), flush=True)
    for pair in document.paired:
        found = pair.difference
        print(f"    {pair.metric} {pair.method} minus before: {found.value:.3g} ({found.low:.3g} to {found.high:.3g})")
    inside = [low <= y <= high for b in document.check for low, y, high in zip(b.low, b.observed, b.high, strict=True)]
    print(f"    {sum(inside)} of {len(inside)} percentiles of the levels lie in the simulated bands")
    print("\n".join(f"    - {finding}" for finding in document.findings), flush=True)
    if svgs is not None:
        plot = predictive_check(document.check, document.concentration_unit)
        (svgs / f"{document.model}-{Path(data).stem}.svg").write_text(plot, encoding="utf-8")


if __name__ == "__main__":
    folder, svgs = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None
    wanted = sys.argv[3:]
    print(HEADER)
    print("|---" * (HEADER.count("|") - 1) + "|")
    for model, data in RUNS:
        if not wanted or model in wanted:
            printed(evaluated(model, folder / data), data, svgs)
    for structure, data in LEFT_OUT:
        if not wanted or structure in wanted:
            printed(left_out(structure, folder / data), data, svgs)
            print(estimates(structure, folder / data), flush=True)
