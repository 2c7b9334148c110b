"""The verb `explore`: what one public table says about a task's outcome, for research."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from posologist.serve.cli_options import JsonOption, print_json
from posologist.serve.output import emit

verbs = typer.Typer()


@verbs.command(epilog="Example: posologist explore warfarin --data iwpc_warfarin.csv.gz --out exploration --quick")
def explore(
    task: Annotated[str, typer.Argument(help="warfarin, immunotherapy or cardiovascular.")],
    data: Annotated[Path, typer.Option("--data", help="The task's table, or the folder that holds it.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write JSON, Markdown and plots to this folder.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rows and resamples: a check, not a result.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of folds, fits, permutations and bootstrap.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """What carries the outcome: importance, selection, components, markers, strata of patients, network relevance.

    Exploratory: one table is read, nothing is selected for serving, and each part says whether it was held out.
    """
    from posologist.serve.cli_twin import versions
    from posologist.serve.exploring import explored, write_files
    from posologist.serve.learning import Wanted

    document = explored(Wanted(task, data, quick=quick, seed=seed), versions())
    written = () if out is None else write_files(document, out)
    if as_json:
        print_json(document)
        return
    if out is None:
        from posologist.study.explore_report import markdown

        emit(markdown(document))
    for path in written:
        emit(f"written: {path}")
