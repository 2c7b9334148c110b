"""Cells of a public table as numbers."""

from __future__ import annotations

import math

from posologist.core.errors import InputError

_BLANK = frozenset({"", "na", "nan", "null", ".", "?"})


def number(text: str, *, where: str = "a cell of the table") -> float | None:
    """A cell's number; None where it is blank, whatever wrote the table.

    Raises
    ------
    InputError
        If the cell holds something else.
    """
    bare = text.strip()
    if bare.lower() in _BLANK:
        return None
    try:
        value = float(bare)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"'{bare}' is not a number", where=where, hint="give the table as distributed")
    return value
