"""The verb `train`: a task's model, fitted to the whole of its table and saved as it is served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from posologist.serve.cli_options import JsonOption, print_json
from posologist.serve.output import emit

verbs = typer.Typer()


@verbs.command(epilog="Example: posologist train warfarin --data iwpc_warfarin.csv.gz --out models/warfarin --quick")
def train(
    task: Annotated[str, typer.Argument(help="A learned task: warfarin, ...")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model; it is made.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The task's table, or the folder that holds it; none for simulated patients."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less tuning: to try the verb, not to serve.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of folds, fits and bootstrap.")] = 0,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Folds that are fitted at a time.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Fits and saves a model (ONNX graph and manifest) with its card, and a data sheet of the table.

    The figures of the card come from a nested cross-validation on the same table; pressure-response and
    pressure-symptoms, the defaults of the package, are learned from patients that are simulated here.
    """
    from posologist.serve.cli_twin import versions
    from posologist.serve.learning import Wanted, trained

    done = trained(Wanted(task, data, quick=quick, seed=seed, processes=processes), out, versions())
    if as_json:
        print_json(done.manifest)
        return
    emit(f"{done.manifest.name} {done.manifest.version}: {done.manifest.training.n} {done.manifest.training.label}")
    for name, value in done.manifest.metrics.items():
        emit(f"  {name.replace('_', ' '):<34} {value:.4g}")
    for path in done.files:
        emit(f"written: {path}")
