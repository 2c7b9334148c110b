"""The verb `evaluate`: how well what we predict, and what we learned, agrees with what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posologist.core.errors import InputError
from posologist.serve.cli_options import JsonOption, KnowledgeOption, print_json
from posologist.serve.output import emit

if TYPE_CHECKING:
    from posologist.core.evaluation import EvaluationDocument, Interval
    from posologist.knowledge.models import PkModel
    from posologist.serve.learning import Wanted
    from posologist.twin.events import EventTable

verbs = typer.Typer()
_SHOWN = ("mpe_percent", "mape_percent", "rmse", "f20_percent", "f30_percent")
_PREDICTIVE = ("coverage_90_percent", "npde_mean", "npde_sd")


@verbs.command(epilog="Example: posologist evaluate kinetics --model model.toml --data levels.csv --json")
def evaluate(
    task: Annotated[str, typer.Argument(help="kinetics, a learned task (warfarin, ...), or all learned tasks: all")],
    model: Annotated[
        str | None, typer.Option("--model", help="kinetics: a model file, or the id of one of ours.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="kinetics: event table, or a public data set. Else: folder of the data, or a table."
        ),
    ] = None,
    train: Annotated[Path | None, typer.Option("--train", help="Table to learn from, CSV as distributed.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Table of other patients to test on.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rows and less tuning: a check, not a result.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write JSON, Markdown and plots to this folder.")] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Folds that are fitted at a time.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of simulated patients and of the bootstrap.")] = 0,
    leave_one_out: Annotated[
        bool,
        typer.Option(
            "--leave-one-out",
            help="The model is a structure: each patient is predicted by a population estimated from the others.",
        ),
    ] = False,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, help="Patients that --leave-one-out leaves out at a time.")
    ] = 1,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the visual predictive check here.")] = None,
    knowledge: KnowledgeOption = None,
    as_json: JsonOption = False,
) -> None:
    """How good predictions are: of levels by a kinetic model, of outcomes by what was learned from other patients.

    kinetics: before a patient's levels are known, and after those before. A learned task: nested cross-validation on
    its public table (--data), or learned from one table and tested on another (--train, --test).
    """
    if task != "kinetics":
        from posologist.serve.learning import Wanted

        if model is not None or leave_one_out or svg is not None:
            raise InputError(f"an option of kinetics was given for '{task}'", where="TASK", hint="leave it out")
        _learned(Wanted(task, data, train, test, quick, seed, processes), out, as_json=as_json)
        return
    if train is not None or test is not None or quick or out is not None:
        raise InputError("an option of the learned tasks was given for kinetics", where="TASK", hint="leave it out")
    if model is None or data is None:
        raise InputError("a model and data are needed", where="--model and --data", hint="give both")
    if at_once > 1 and not leave_one_out:
        raise InputError("nobody is left out", where="--at-once", hint="give --leave-one-out as well")
    document = (
        _left_out(model, data, seed, knowledge, at_once) if leave_one_out else _kinetics(model, data, seed, knowledge)
    )
    if svg is not None:
        _write_plot(document, svg)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _learned(wanted: Wanted, out: Path | None, *, as_json: bool) -> None:
    """Prints the documents, writes them where asked (`all`: to ./evaluation), and ends with the first error's code."""
    from posologist.serve.cli_twin import versions
    from posologist.serve.learning import ALL, document_of, evaluated, write_files
    from posologist.study.report import markdown

    made_by = versions()
    done = evaluated(wanted, made_by)
    folder = Path("evaluation") if out is None and wanted.task == ALL else out
    written = () if folder is None else write_files(done.documents, folder)
    if as_json:
        print_json(document_of(wanted.task, done, made_by))
    else:
        for document in done.documents:
            emit(markdown(document))
        for finding in done.findings:
            emit(f"- {finding}")
        for path in written:
            emit(f"written: {path}")
    if done.error is not None:
        raise typer.Exit(done.error.code)


def _kinetics(name: str, data: Path, seed: int, knowledge: list[Path] | None) -> EvaluationDocument:
    from posologist.serve.cli_twin import versions
    from posologist.study.kinetics import evaluate_kinetics

    model, tables, notes = _read(name, data, knowledge)
    return evaluate_kinetics(model, tables, versions=versions(), seed=seed, findings=notes)


def _left_out(name: str, data: Path, seed: int, knowledge: list[Path] | None, at_once: int) -> EvaluationDocument:
    from posologist.serve.cli_twin import versions
    from posologist.study.leave_one_out import evaluate_left_out

    structure, tables, notes = _read(name, data, knowledge)
    return evaluate_left_out(structure, tables, at_once=at_once, versions=versions(), seed=seed, findings=notes)


def _read(
    name: str, data: Path, knowledge: list[Path] | None
) -> tuple[PkModel, tuple[EventTable, ...], tuple[str, ...]]:
    """The model, the patients' tables under its names, and what was assumed in reading them."""
    from posologist.serve.cli_twin import model_named
    from posologist.study.datasets import event_tables
    from posologist.twin.modelled import named_as

    try:
        text = data.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the file: {error}", where=str(data), hint="give a text file (CSV)") from error
    model = model_named(name, knowledge)
    given, notes = event_tables(text, source=data.name, model=model)
    return model, tuple(named_as(model, table) for table in given), notes


def _write_plot(document: EvaluationDocument, path: Path) -> None:
    from posologist.serve.charts import predictive_check

    try:
        path.write_text(predictive_check(document.check, document.concentration_unit), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error}", where=str(path), hint="give another place") from error


def _print(document: EvaluationDocument) -> None:
    emit(f"Model {document.model}, {document.test.n} patients, {document.test.levels} levels, {document.label}")
    if document.split:
        emit(f"{document.split}: each is predicted by a population of {document.train.n} others")
    for row in document.rows:
        emit(f"{row.method} ({row.n} patients, {row.levels} levels)")
        for name in (*_SHOWN, *_PREDICTIVE):
            if name in row.metrics:
                unit = f" {document.concentration_unit}" if name == "rmse" else ""
                emit(f"  {name:<20} {_shown(row.metrics[name])}{unit}")
    for pair in document.paired:
        emit(f"{pair.method} minus {pair.against}, {pair.metric}: {_shown(pair.difference)}")
    for finding in document.findings:
        emit(f"- {finding}")


def _shown(interval: Interval) -> str:
    from posologist.serve.charts import number

    if interval.low is None or interval.high is None:
        return number(interval.value)
    return f"{number(interval.value)} ({number(interval.low)} to {number(interval.high)})"
