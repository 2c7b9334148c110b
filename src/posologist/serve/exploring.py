"""`explore`: which task, which table, progress, and the files that are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from posologist.core.errors import InputError
from posologist.serve.learning import Wanted, check_installed, settings_of, tables_of, told_on_stderr
from posologist.serve.output import json_text

if TYPE_CHECKING:
    from posologist.core.exploration import ExplorationDocument
    from posologist.core.genotype import Versions


def explored(wanted: Wanted, versions: Versions) -> ExplorationDocument:
    """The document of the task's table.

    Raises
    ------
    InputError
        If the task is not explored, the table is not there, or it has too few patients.
    ModelError
        If a library of the extra `train` is missing.
    """
    check_installed()
    from posologist.study.explore import explore
    from posologist.study.tasks import BLOCKS

    blocks = tuple(block for block in BLOCKS if block.task == wanted.task and block.explored is not None)
    if not blocks:
        names = ", ".join(dict.fromkeys(block.task for block in BLOCKS if block.explored is not None))
        raise InputError(f"'{wanted.task}' is not explored", where="TASK", hint=f"use one of {names}")
    block, path = next(iter(tables_of(wanted, blocks, [])))
    with told_on_stderr() as told:
        return explore(block, block.read(path), settings_of(wanted, block, told), versions=versions)


def write_files(document: ExplorationDocument, folder: Path) -> tuple[Path, ...]:
    """JSON, Markdown and plots.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    from posologist.study.explore_report import markdown, name_of, write_plots

    try:
        folder.mkdir(parents=True, exist_ok=True)
        plots = write_plots(document, folder)
        stem = folder / name_of(document)
        texts = {".json": json_text(document) + "\n", ".md": markdown(document, plots)}
        for suffix, text in texts.items():
            stem.with_suffix(suffix).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error}", where=str(folder), hint="give another folder") from error
    return (*(stem.with_suffix(suffix) for suffix in texts), *(folder / name for name in plots))
