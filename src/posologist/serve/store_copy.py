"""Backup and restore of a SQLite database, while it is in use; PostgreSQL has its own tools."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from posologist.serve.audit import Verified
from posologist.serve.refusals import StoreError
from posologist.serve.store import Store

_PAGES = 1024  # copied at a time, so that writers get their turn


def backup(store: Store, to: Path) -> Verified:
    """Copy a database to a new file, as it is at one moment, and verify the copy.

    Raises
    ------
    StoreError
        If the file is there already, the database is not SQLite in a file, or the copy does not verify.
    """
    store.check_tables()
    return _copy(_file_of(store, f"pg_dump --format=custom --file={to}"), to)


def restore(store: Store, source: Path) -> Verified:
    """Make the database from a backup, which is verified first. An existing database is never written over.

    Raises
    ------
    StoreError
        If the backup is none, its audit chain is broken, or the database is there already.
    """
    return _copy(source, _file_of(store, f"pg_restore --dbname=NAME {source}"))


def _file_of(store: Store, instead: str) -> Path:
    if store.path is None:
        what = "in memory" if store.is_sqlite else "PostgreSQL"
        hint = "nothing is kept of it" if store.is_sqlite else f"use {instead}"
        raise StoreError(f"the database is {what}", where="--database", hint=hint)
    return store.path


def _copy(source: Path, to: Path) -> Verified:
    if not source.is_file():
        raise StoreError("file is not there", where=str(source), hint="check the path")
    taken = StoreError("is there already", where=str(to), hint="give another name, or move it away")
    if to.exists():
        raise taken
    part = to.with_name(to.name + ".part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600))
        readable = f"{source.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(readable, uri=True)) as held, closing(sqlite3.connect(part)) as copy:
            held.backup(copy, pages=_PAGES)
            sound = [row[0] for row in copy.execute("PRAGMA integrity_check(1)")]
        if sound != ["ok"]:
            raise StoreError("the file is damaged", where=str(source), hint="use another backup")
        found = _verified(part, source)
        with closing(sqlite3.connect(part)) as copy:
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, and reading it leaves none beside it
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # nobody else takes the name
        os.replace(part, to)
    except FileExistsError as error:
        raise taken from error
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        what = "is no SQLite database" if name == "SQLITE_NOTADB" else f"cannot be copied: {name}"
        raise StoreError(what, where=str(source), hint="give a file of `store backup`") from error
    except OSError as error:
        raise StoreError(f"cannot be written: {error.strerror}", where=str(to), hint="check the path") from error
    finally:
        for end in ("", "-wal", "-shm"):
            part.with_name(part.name + end).unlink(missing_ok=True)
    return found


def _verified(copy: Path, source: Path) -> Verified:
    """The verification of a copied file.

    Raises
    ------
    StoreError
        If it is no database of ours, or its chain is broken.
    """
    store = Store(URL.create("sqlite", database=str(copy)))
    try:
        found = store.verify()
    except StoreError as error:
        raise StoreError(error.message, where=str(source), hint="give a file of `store backup`") from error
    finally:
        store.close()
    if not found.whole:
        first = found.breaks[0]
        raise StoreError(f"audit row {first.seq} {first.what}", where=str(source), hint="use another backup")
    return found
