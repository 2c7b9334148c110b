"""`evaluate` and `train` of the learned tasks: which blocks, which tables, progress, and the files that are written."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from posologist.core.errors import InputError, ModelError, PosologistError
from posologist.serve.output import json_text

if TYPE_CHECKING:
    from posologist.core.evaluation import EvaluationDocument, EvaluationsDocument
    from posologist.core.genotype import Versions
    from posologist.core.manifest import Manifest
    from posologist.study.blocks import Block
    from posologist.study.experiment import Experiment, Used
    from posologist.study.nested import Settings, Told

_NEEDED = ("sklearn", "lightgbm", "torch", "onnx", "threadpoolctl", "matplotlib")
ALL = "all"
_KINETICS = "levels are measured model by model: posologist evaluate kinetics --model MODEL --data TABLE"


@dataclass(frozen=True)
class Wanted:
    """What was asked of `evaluate`: a task, its data or its two tables, and how to run."""

    task: str
    data: Path | None = None
    train: Path | None = None
    test: Path | None = None
    quick: bool = False
    seed: int = 0
    processes: int = 1


@dataclass(frozen=True)
class Done:
    """The documents of a run, what could not be computed, and the first error behind that."""

    documents: tuple[EvaluationDocument, ...]
    findings: tuple[str, ...] = ()
    error: PosologistError | None = None


def tasks() -> tuple[str, ...]:
    """The learned tasks, in their order."""
    from posologist.study.tasks import BLOCKS

    return tuple(dict.fromkeys(block.task for block in BLOCKS))


def experiments() -> tuple[Experiment, ...]:
    """The tasks that make their own patients and need no data."""
    from posologist.study.tasks import EXPERIMENTS

    return EXPERIMENTS


def check_installed() -> None:
    """Refuses to begin where a library of the extra `train` is missing.

    Raises
    ------
    ModelError
        If one is.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"models cannot be fitted without {', '.join(missing)}",
            where="extra 'train'",
            hint="install it: pip install 'posologist[train]'",
        )


def evaluated(wanted: Wanted, versions: Versions) -> Done:
    """The wanted blocks, measured: nested on one table, or trained on one and tested on another; and experiments."""
    check_installed()
    if wanted.task in (each.task for each in experiments()):
        return Done(tuple(_experimented(wanted, [e for e in experiments() if e.task == wanted.task], versions)))
    chosen = [each for each in experiments() if wanted.task == ALL and (wanted.quick or not each.long)]
    blocks = _blocks(wanted.task)
    if wanted.train is not None or wanted.test is not None:
        return Done((_split(wanted, blocks, versions),))
    if wanted.data is None:
        raise InputError(
            "data are needed",
            where="--data",
            hint="give the folder of the data, or --train and --test with a table each",
        )
    done = _nested(wanted, blocks, versions)
    if not chosen:
        return done
    alone = [each.task for each in experiments() if each.long and each not in chosen]
    told = tuple(f"{task} takes long and is run alone: posologist evaluate {task}" for task in alone)
    documents = (*done.documents, *_experimented(wanted, chosen, versions))
    return replace(done, documents=documents, findings=(*done.findings, *told))


def _experimented(wanted: Wanted, chosen: Sequence[Experiment], versions: Versions) -> list[EvaluationDocument]:
    from posologist.study.experiment import Run

    if wanted.task != ALL and (wanted.data, wanted.train, wanted.test) != (None, None, None):
        raise InputError(
            f"'{wanted.task}' makes its own patients", where="--data, --train, --test", hint="leave them out"
        )
    with told_on_stderr() as told:
        return [each.run(Run(wanted.seed, wanted.quick, versions, _used, told, wanted.processes)) for each in chosen]


def _used() -> Used:
    """What this process has used so far."""
    from posologist.study.experiment import Used

    peak = None
    if find_spec("resource") is not None:
        from resource import RUSAGE_SELF, getrusage

        peak = getrusage(RUSAGE_SELF).ru_maxrss / (1024.0**2 if sys.platform == "darwin" else 1024.0)
    return Used(time.perf_counter(), time.process_time(), peak)


def _blocks(task: str) -> tuple[Block, ...]:
    from posologist.study.tasks import BLOCKS

    chosen = BLOCKS if task == ALL else tuple(block for block in BLOCKS if block.task == task)
    if not chosen:
        known = ", ".join(("kinetics", *tasks(), *(each.task for each in experiments()), ALL))
        raise InputError(f"the task '{task}' is not in this version", where="TASK", hint=f"use one of {known}")
    return chosen


def _split(wanted: Wanted, blocks: Sequence[Block], versions: Versions) -> EvaluationDocument:
    from posologist.study.measure import evaluate_split

    if wanted.task == ALL or wanted.data is not None:
        raise InputError(
            "two tables belong to one task", where="--train and --test", hint="name the task, and leave out --data"
        )
    if wanted.train is None or wanted.test is None:
        raise InputError("one of two tables is missing", where="--train and --test", hint="give both")
    block = block_of(blocks, wanted.train)
    train, test = block.read(wanted.train), block.read(wanted.test)
    with told_on_stderr() as told:
        return evaluate_split(block, train, test, settings_of(wanted, block, told), versions=versions)


def _nested(wanted: Wanted, blocks: Sequence[Block], versions: Versions) -> Done:
    from posologist.study.measure import evaluate_nested

    documents: list[EvaluationDocument] = []
    findings = [_KINETICS] if wanted.task == ALL else []
    first: PosologistError | None = None
    with told_on_stderr() as told:
        for block, path in tables_of(wanted, blocks, findings):
            try:
                settings = settings_of(wanted, block, told)
                documents.append(evaluate_nested(block, block.read(path), settings, versions=versions))
            except PosologistError as error:
                if wanted.task != ALL:
                    raise
                first = first or error
                findings.append(f"{_named(block)} was not computed: {error}")
    return Done(tuple(documents), tuple(findings), first)


def tables_of(wanted: Wanted, blocks: Sequence[Block], findings: list[str]) -> Iterator[tuple[Block, Path]]:
    """Each block whose table is there; what is not there is noted, and refused where nothing is."""
    from posologist.study.tables import find_table

    assert wanted.data is not None
    if wanted.data.is_file():
        yield block_of(blocks, wanted.data), wanted.data
        return
    found = [(block, find_table(wanted.data, block)) for block in blocks]
    findings += [f"{_named(block)} was not computed: no table {block.file}" for block, path in found if path is None]
    if all(path is None for _, path in found):
        raise InputError(
            f"none of {', '.join(block.file for block in blocks)} is there",
            where=str(wanted.data),
            hint="give the folder that holds them, or the table itself",
        )
    yield from ((block, path) for block, path in found if path is not None)


def block_of(blocks: Sequence[Block], path: Path) -> Block:
    """The block that a table belongs to, by the columns of its header.

    Raises
    ------
    InputError
        If it is none of them: the columns that the nearest one lacks are named.
    """
    from posologist.study.tables import header_of, read_rows

    header = set(header_of(path))
    for block in blocks:
        if set(block.columns) <= header:
            return block
    nearest = max(blocks, key=lambda block: len(set(block.columns) & header) / len(block.columns))
    read_rows(path, nearest.columns)
    return nearest


def settings_of(wanted: Wanted, block: Block, told: Told) -> Settings:
    """How a run is made, and its progress under the name of the block."""
    from posologist.study.nested import Settings

    def named(what: str, done: int, of: int) -> None:
        told(f"{_named(block)}: {what}", done, of)

    n_resamples = 400 if wanted.quick else 2000
    return Settings(wanted.seed, wanted.quick, wanted.processes, n_resamples, named)


def _named(block: Block) -> str:
    return " ".join(part for part in (block.task, block.part) if part)


@contextmanager
def told_on_stderr() -> Iterator[Told]:
    """Progress bars on standard error, where somebody looks at it."""
    if not sys.stderr.isatty():
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars: dict[str, object] = {}

        def told(what: str, done: int, of: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=of)
            progress.update(bars[what], completed=done)  # type: ignore[arg-type]

        yield told


def document_of(task: str, done: Done, versions: Versions) -> EvaluationDocument | EvaluationsDocument:
    """One table's document, or that of several; what was not computed is said in it."""
    from posologist.core.evaluation import EvaluationsDocument

    if task != ALL and len(done.documents) == 1:
        (document,) = done.documents
        return document.model_copy(update={"findings": (*document.findings, *done.findings)})
    return EvaluationsDocument(
        schema="posologist/evaluations/1", task=task, documents=done.documents, findings=done.findings,
        versions=versions,
    )  # fmt: skip


def write_files(documents: Sequence[EvaluationDocument], folder: Path) -> tuple[Path, ...]:
    """JSON, Markdown and plots of each document.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    from posologist.study.plots import write_plots
    from posologist.study.report import markdown, name_of

    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for document in documents:
            plots = write_plots(document, folder)
            stem = folder / name_of(document)
            for suffix, text in ((".json", json_text(document) + "\n"), (".md", markdown(document, plots))):
                stem.with_suffix(suffix).write_text(text, encoding="utf-8")
                written.append(stem.with_suffix(suffix))
            written += [folder / name for name in plots]
    except OSError as error:
        raise InputError(f"cannot be written: {error}", where=str(folder), hint="give another folder") from error
    return tuple(written)


@dataclass(frozen=True)
class Trained:
    """A saved model: its manifest, its folder, and the files that were written."""

    manifest: Manifest
    folder: Path
    files: tuple[Path, ...]


def trained(wanted: Wanted, folder: Path, versions: Versions) -> Trained:
    """The task's model fitted to the whole table and saved, with its card and the table's data sheet.

    Its metrics are those of a nested run on the same table, beside the methods that it is compared with.

    Raises
    ------
    InputError
        If the task has no model to serve, or the folder cannot be written to.
    ModelError
        If the saved form does not agree with the fitted one.
    """
    import numpy as np

    from posologist.learn.fit.save import Facts
    from posologist.study.cards import data_sheet, model_card
    from posologist.study.hypertension_default import TASKS
    from posologist.study.measure import evaluate_nested

    check_installed()
    if wanted.task in TASKS:
        return _simulated(wanted, folder)
    block, path = _to_train(wanted)
    serving = block.serving
    assert serving is not None
    cohort = block.read(path)
    compared = {"engine"} | {against for method, against, _ in block.paired if method == "engine"}
    lean = replace(block, methods=tuple(m for m in block.methods if m.name in compared), controls=())
    with told_on_stderr() as told:
        document = evaluate_nested(lean, cohort, settings_of(wanted, lean, told), versions=versions)
    known = cohort.take(np.isfinite(cohort.target))
    fitted = serving.fit(known, seed=wanted.seed, quick=wanted.quick)
    engine = next(row for row in document.rows if row.method == "engine")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = Facts(
        name=serving.name, version=serving.version, outcome=serving.outcome, unit=serving.unit, data=block.source,
        digest=digest, licence=block.licence, label=block.label,
        metrics={name: interval.value for name, interval in engine.metrics.items()},
    )  # fmt: skip
    try:
        manifest = fitted.save(folder, facts)
        cards = {
            "model-card.md": model_card(block, manifest, document),
            "data-sheet.md": data_sheet(block, known, digest),
        }
        for name, text in cards.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error}", where=str(folder), hint="give another folder") from error
    return Trained(manifest, folder, tuple(sorted(folder.iterdir())))


def _simulated(wanted: Wanted, folder: Path) -> Trained:
    """A default model, from patients that it makes itself."""
    from posologist.study.hypertension_default import train_default

    if wanted.data is not None:
        raise InputError(f"'{wanted.task}' makes its own patients", where="--data", hint="leave it out")
    try:
        manifest = train_default(wanted.task, folder, seed=wanted.seed, quick=wanted.quick)
    except OSError as error:
        raise InputError(f"cannot be written: {error}", where=str(folder), hint="give another folder") from error
    return Trained(manifest, folder, tuple(sorted(folder.iterdir())))


def _to_train(wanted: Wanted) -> tuple[Block, Path]:
    blocks = tuple(block for block in _blocks(wanted.task) if block.serving is not None)
    if not blocks or wanted.task == ALL:
        names = ", ".join(task for task in tasks() if any(b.serving for b in _blocks(task)))
        raise InputError(f"'{wanted.task}' has no model to save", where="TASK", hint=f"use one of {names}")
    if wanted.data is None:
        raise InputError("a table is needed", where="--data", hint="give the task's table, or the folder that holds it")
    tables = list(tables_of(wanted, blocks, []))
    return tables[0]
