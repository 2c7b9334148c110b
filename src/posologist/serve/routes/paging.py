"""Cursors of pages: opaque to the caller; any that fits its pattern is a place in the list."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import date
from typing import Annotated, TypeVar

from fastapi import Query

from posologist.serve.transaction import plain

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=200, description="Most rows of the page.")]
IdCursor = Annotated[str | None, Query(pattern="^[A-Za-z0-9_-]{1,700}$", description="`next` of the page before.")]
NumberCursor = Annotated[str | None, Query(pattern="^[0-9]{1,15}$", description="`next` of the page before.")]
RowCursor = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="`next` of the page before.")]
DAY_CURSOR = "^[0-9]{1,6}[.][0-9a-f]{1,64}$"
DayCursor = Annotated[str | None, Query(pattern=DAY_CURSOR, description="`next` of the page before.")]


def next_of(rows: Sequence[T], limit: int, cursor: str) -> str | None:
    """The cursor of the next page; None where this one is not full."""
    return cursor if len(rows) == limit else None


def id_cursor(name: str) -> str:
    """The cursor after an id."""
    return base64.urlsafe_b64encode(name.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")


def id_after(cursor: str | None) -> str | None:
    """The id of a cursor."""
    if cursor is None:
        return None
    whole = cursor[: len(cursor) - (len(cursor) % 4 == 1)]
    return plain(base64.urlsafe_b64decode(whole + "=" * (-len(whole) % 4)).decode("utf-8", "replace"))


def day_cursor(due: date, name: str) -> str:
    """The cursor after a day and an id."""
    return f"{due.toordinal()}.{name}"


def day_after(cursor: str | None) -> tuple[date, str] | None:
    """The day and the id of a cursor."""
    if cursor is None:
        return None
    day, _, name = cursor.partition(".")
    return date.fromordinal(min(max(int(day), 1), date.max.toordinal())), name
