"""Public tables as they are distributed: CSV, plain or gzipped, known by the columns of their header."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

from posologist.core.errors import InputError
from posologist.study.blocks import Block, Cells


def header_of(path: Path) -> tuple[str, ...]:
    """The columns of a CSV or CSV.gz.

    Raises
    ------
    InputError
        If the file cannot be read or is empty.
    """
    return tuple(next(csv.reader(io.StringIO(_text(path))), ()))


def read_rows(path: Path, columns: Sequence[str]) -> tuple[Cells, ...]:
    """The rows of a table, each column to its text.

    Raises
    ------
    InputError
        If the file cannot be read, a column is missing, or a line has another number of cells than the header.
    """
    lines = csv.reader(io.StringIO(_text(path)))
    header = next(lines, [])
    missing = [name for name in columns if name not in header]
    if missing:
        shown = ", ".join(f"'{name}'" for name in missing[:6]) + (", ..." if len(missing) > 6 else "")
        raise InputError(
            f"the header lacks {len(missing)} of {len(columns)} columns: {shown}",
            where=str(path),
            hint="give the table as it is distributed",
        )
    rows = []
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(header):
            raise InputError(
                f"{len(cells)} cells where the header has {len(header)}",
                where=f"{path}:{number}",
                hint="correct the line",
            )
        rows.append(dict(zip(header, cells, strict=True)))
    if not rows:
        raise InputError("the table has no rows", where=str(path), hint="give a table with patients")
    return tuple(rows)


def find_table(data: Path, block: Block) -> Path | None:
    """Where the block's table stands in the folder of the data (or is the file itself), None: it is not there."""
    if data.is_file():
        return data
    name = Path(block.file)
    places = (data / "ml" / name, data / name, data / name.name)
    return next((place for place in places if place.is_file()), None)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the table: {error}", where=str(path), hint="give a CSV or CSV.gz") from error
