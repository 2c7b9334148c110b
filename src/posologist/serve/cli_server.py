"""The verbs on the server: `serve`, and `account` for who may sign in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from posologist.core.errors import InputError
from posologist.serve.cli_options import KnowledgeOption
from posologist.serve.cli_serve import DATABASE, DatabaseOption, store_of
from posologist.serve.output import emit
from posologist.serve.secret import secret, secret_of

if TYPE_CHECKING:
    from posologist.serve.store import Store

verbs = typer.Typer()
account_verbs = typer.Typer(help="Who may sign in to `posologist serve`.", no_args_is_help=True)
PersonRole = Literal["prescriber", "pharmacist", "informaticist", "auditor", "system"]
AccountArgument = Annotated[str, typer.Argument(help="The account's id.")]
_PASSWORD = "POSOLOGIST_PASSWORD"


@verbs.command(epilog="Example: posologist serve --port 8000 --database sqlite:///posologist.db")
def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8000,
    database: DatabaseOption = DATABASE,
    knowledge: KnowledgeOption = None,
) -> None:
    """Serves the API, the hooks and the page, until it is told to stop (SIGTERM, Ctrl-C).

    While there is no account, it runs in development mode: on this machine only, with a user made for the occasion,
    whose password is printed once.
    """
    held = store_of(database)
    try:
        from posologist.serve.server import run
    except ModuleNotFoundError as error:
        hint = "install it: pip install 'posologist[serve]'"
        raise InputError(f"{error.name} is not installed", where="serve", hint=hint) from error
    run(held, host=host, port=port, knowledge=knowledge or ())


@account_verbs.command(epilog="Example: posologist account add bela --role pharmacist --password-file password.txt")
def add(
    account: AccountArgument,
    role: Annotated[PersonRole, typer.Option("--role", help="What the account may do.")],
    name: Annotated[str, typer.Option("--name", help="The person's name.")] = "",
    password_file: Annotated[Path | None, typer.Option("--password-file", help="File that holds the password.")] = None,
    database: DatabaseOption = DATABASE,
) -> None:
    """Holds a new account, with the password of a file, else of POSOLOGIST_PASSWORD or POSOLOGIST_PASSWORD_FILE.

    The first one ends development mode.
    """
    from posologist.serve.accounts import Accounts

    password = secret(_PASSWORD) if password_file is None else secret_of(password_file, "--password-file")
    if not password:
        raise InputError("no password", where=_PASSWORD, hint=f"set it, or {_PASSWORD}_FILE to a file that holds it")
    row = Accounts(_migrated(database)).add(account, name=name, role=role, password=password)
    emit(f"account {row.id}: {row.role}")


@account_verbs.command(epilog="Example: posologist account token anna --days 30")
def token(
    account: AccountArgument,
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="How long it is valid.")] = 30,
    database: DatabaseOption = DATABASE,
) -> None:
    """Prints a new bearer token of an account; only its hash is kept."""
    from datetime import timedelta

    from posologist.serve.accounts import Accounts

    made = Accounts(_migrated(database)).issue_token(account, lasts=timedelta(days=days))
    emit(made.token)
    typer.echo(f"token {made.id}, valid until {made.expires:%Y-%m-%d %H:%M} UTC", err=True)


@account_verbs.command(epilog="Example: posologist account revoke 0123456789abcdef")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN-ID", help="The id that was printed with the token.")],
    database: DatabaseOption = DATABASE,
) -> None:
    """Ends a token."""
    from posologist.serve.accounts import Accounts

    if not Accounts(_migrated(database)).revoke_token(token_id):
        raise InputError("no such token", where=token_id, hint="give the id, not the token")
    emit(f"token {token_id} is revoked")


@account_verbs.command(epilog="Example: posologist account disable anna")
def disable(account: AccountArgument, database: DatabaseOption = DATABASE) -> None:
    """Ends an account with its tokens and sessions."""
    from posologist.serve.accounts import Accounts

    Accounts(_migrated(database)).disable(account)
    emit(f"account {account} is disabled")


def _migrated(database: str) -> Store:
    held = store_of(database)
    held.migrate()
    return held
