"""The verbs on the store: `audit verify`, `store backup`, `store restore`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posologist.core.errors import InputError
from posologist.serve.cli_options import JsonOption
from posologist.serve.output import emit
from posologist.serve.secret import secret

if TYPE_CHECKING:
    from posologist.serve.audit import Verified
    from posologist.serve.rows import Head
    from posologist.serve.store import Store

audit_verbs = typer.Typer(help="Who saw and did what.", no_args_is_help=True)
store_verbs = typer.Typer(help="The database of `posologist serve`.", no_args_is_help=True)
DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database", envvar="POSOLOGIST_DATABASE", show_envvar=True, show_default=False,
        help="sqlite:///FILE (default: sqlite:///posologist.db) or postgresql://USER@HOST/NAME.",
    ),
]  # fmt: skip
DATABASE = "sqlite:///posologist.db"


@audit_verbs.command(epilog="Example: posologist audit verify --database sqlite:///posologist.db")
def verify(
    database: DatabaseOption = DATABASE,
    head: Annotated[
        str | None, typer.Option("--head", help="End of the chain as written down earlier: NUMBER:HASH.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Walks the chain of audit rows, answers and decisions; exit code 1 if anything was changed, added or removed."""
    with closing(store_of(database)) as held:
        found = held.verify(None if head is None else _head(head))
    if as_json:
        emit(json.dumps(_document(found), indent=1))
    else:
        for place in found.breaks:
            emit(f"row {place.seq}: {place.what}")
        state = "whole" if found.whole else "BROKEN"
        emit(f"The audit chain is {state}: {found.rows} rows, end {found.last.seq}:{found.last.hash}")
    if not found.whole:
        raise typer.Exit(1)


@store_verbs.command(epilog="Example: posologist store backup backup.db --database sqlite:///posologist.db")
def backup(
    to: Annotated[Path, typer.Argument(help="New file of the copy.")],
    database: DatabaseOption = DATABASE,
) -> None:
    """Copies the database at one moment, also while it is served, and verifies the copy."""
    from posologist.serve.store_copy import backup as copy

    with closing(store_of(database)) as held:
        found = copy(held, to)
    emit(f"{to}: {found.rows} audit rows, end {found.last.seq}:{found.last.hash}")


@store_verbs.command(epilog="Example: posologist store restore held.db --database sqlite:///restored.db")
def restore(
    source: Annotated[Path, typer.Argument(help="File that `store backup` wrote.")],
    database: DatabaseOption = DATABASE,
) -> None:
    """Makes a database from a backup that verifies; never writes over one that is there."""
    from posologist.serve.store_copy import restore as copy

    with closing(store_of(database)) as held:
        found = copy(held, source)
    emit(f"{held}: {found.rows} audit rows, end {found.last.seq}:{found.last.hash}")


def store_of(database: str) -> Store:
    """The store of a URL.

    Raises
    ------
    InputError
        If the URL is none, or what the store needs is not installed.
    """
    try:
        from posologist.serve.store import Store
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("sqlalchemy", "alembic"):
            raise
        hint = "install it: pip install 'posologist[serve]'"
        raise InputError(f"{error.name} is not installed", where="--database", hint=hint) from error
    return Store((secret("POSOLOGIST_DATABASE") or database) if database == DATABASE else database)


def _head(text: str) -> Head:
    from posologist.serve.rows import Head

    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise InputError("not an end of the chain", where="--head", hint="give NUMBER:HASH as `audit verify` prints it")
    return Head(int(number), digest)


def _document(found: Verified) -> dict[str, object]:
    return {
        "schema": "posologist/audit-verification/1",
        "whole": found.whole,
        "rows": found.rows,
        "last": {"seq": found.last.seq, "hash": found.last.hash},
        "breaks": [{"seq": place.seq, "what": place.what} for place in found.breaks],
    }
