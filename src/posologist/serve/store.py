"""The store: one database, SQLite by default or PostgreSQL by URL, with the same tables and the same code.

store = Store("sqlite:///posologist.db")
store.migrate()
with store.work(Actor("anna", "prescriber")) as work:
    work.patient("p1")
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from sqlite3 import SQLITE_BUSY, OperationalError
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from posologist.serve.audit import Verified, verify_rows
from posologist.serve.refusals import StoreError
from posologist.serve.rows import Actor, AuditRow, Head
from posologist.serve.tables import audit, audit_head
from posologist.serve.transaction import Engines, row_of, without_data
from posologist.serve.verifying import Witness
from posologist.serve.work import Work

_WAIT_S = 30  # for a connection, and for the lock of another writer
_MIGRATION_LOCK = 0x706F736F  # PostgreSQL advisory lock: one process migrates at a time
_ON_CONNECT = (
    f"PRAGMA busy_timeout = {_WAIT_S * 1000}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",
)


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


class Store:
    """A database of patients, answers and decisions, and of who did what.

    Parameters
    ----------
    url
        "sqlite:///FILE", "sqlite://" (in memory), or "postgresql://USER@HOST/NAME".
    clock
        What the time is, aware.

    Raises
    ------
    StoreError
        If the URL is none of these.
    """

    def __init__(self, url: str | URL, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.url = database_url(url)
        self._clock = clock
        self._engines = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database; None in memory and for PostgreSQL."""
        name = self.url.database
        return Path(name) if self.is_sqlite and name and name != ":memory:" else None

    @property
    def now(self) -> datetime:
        """The time of the store's clock."""
        return self._clock()

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def work(self, actor: Actor) -> Iterator[Work]:
        """One piece of work: all of it is held when this ends, or none; the access rows in either case.

        What was read may be shown only after the work has ended, when its access rows are held.

        Raises
        ------
        StoreError
            If the database refuses; the message holds no patient's data.
        """
        try:
            with Work(self._engines, actor, self._clock) as work:
                yield work
        except SQLAlchemyError as error:
            raise without_data(error) from None

    def migrate(self) -> None:
        """Bring the tables to this version; does nothing where they are. Several processes may do so at once.

        Raises
        ------
        StoreError
            If the database cannot be opened, or is of a later version.
        """
        try:
            if self.path is not None:
                _make_private(self.path)
            with self._engines.writer.begin() as connection:
                if not self.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                _upgrade(connection)
        except SQLAlchemyError as error:
            raise without_data(error) from None

    def verify(self, written_down: Head | None = None) -> Verified:
        """Walk the audit chain, and compare what is held with what the chain says of it.

        Parameters
        ----------
        written_down
            The end of the chain as it was kept elsewhere.
        """
        self.check_tables()
        try:
            with self._engines.reader.connect() as connection:
                found = connection.execute(select(audit_head.c.seq, audit_head.c.hash)).one_or_none()
                head = Head(0, "missing") if found is None else Head(found.seq, found.hash)
                rows = connection.execution_options(yield_per=1000).execute(select(audit).order_by(audit.c.seq))
                witness = Witness(connection)
                walked = verify_rows(
                    (row_of(AuditRow, row) for row in rows), head=head, written_down=written_down, holds=witness.holds
                )
                return walked.with_breaks(witness.at_end(walked.last.seq))
        except SQLAlchemyError as error:
            raise without_data(error) from None

    def check_tables(self) -> None:
        """Refuse a database that is not there or has not our tables.

        Raises
        ------
        StoreError
            With what to do.
        """
        if self.path is not None and not self.path.is_file():
            raise StoreError("no database is there", where=str(self.path), hint="give its URL with --database")
        try:
            with self._engines.reader.connect() as connection:
                held = inspect(connection).has_table("audit_head")
        except SQLAlchemyError as error:
            raise without_data(error) from None
        if not held:
            raise StoreError("the database has none of our tables", where=str(self), hint="run `posologist serve` once")

    def close(self) -> None:
        """Close every connection."""
        self._engines.reader.dispose()
        if self._engines.writer is not self._engines.reader:
            self._engines.writer.dispose()


def database_url(given: str | URL) -> URL:
    """A database's URL, checked; PostgreSQL is reached by psycopg.

    Raises
    ------
    StoreError
        If it is neither SQLite nor PostgreSQL. The message does not repeat it: it may hold a password.
    """
    hint = "write sqlite:///FILE or postgresql://USER@HOST/NAME"
    try:
        url = make_url(given)
    except (ArgumentError, ValueError) as error:
        raise StoreError("not a database's URL", where="--database", hint=hint) from error
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return url
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    raise StoreError(f"databases of the kind '{url.drivername}' are not known", where="--database", hint=hint)


def _sqlite(url: URL) -> Engines:
    in_memory = not url.database or url.database == ":memory:"
    pool: dict[str, Any] = {"pool_size": 1, "max_overflow": 0} if in_memory else {"pool_size": 16, "max_overflow": 48}
    engine = create_engine(
        url, poolclass=QueuePool, pool_timeout=_WAIT_S, connect_args={"check_same_thread": False},
        hide_parameters=True, **pool,
    )  # fmt: skip

    def connected(connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions are begun by `begun`, never by the driver
        for pragma in _ON_CONNECT:
            _set(connection, pragma)

    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return Engines(engine, engine.execution_options(writes=True))


def _set(connection: Any, pragma: str) -> None:
    """Set a pragma; two that switch a new file to WAL at the same moment get SQLITE_BUSY at once, not after a wait."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.execute(pragma)
            return
        except OperationalError as error:
            if error.sqlite_errorcode != SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _postgresql(url: URL) -> Engines:
    engine = create_engine(
        url, pool_size=16, max_overflow=48, pool_timeout=_WAIT_S, pool_pre_ping=True, hide_parameters=True
    )

    def connected(connection: Any, record: object) -> None:
        connection.execute(f"SET lock_timeout = '{_WAIT_S}s'")  # as long as for a connection of the pool
        connection.commit()

    event.listen(engine, "connect", connected)
    return Engines(engine.execution_options(isolation_level="REPEATABLE READ"), engine)


def _make_private(path: Path) -> None:
    """Make the file, so that only its owner can read it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"cannot be opened: {error.strerror}", where=str(path), hint="check the path") from error


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(files("posologist.serve.migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    ours = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if not set(MigrationContext.configure(connection).get_current_heads()) <= ours:
        raise StoreError("the database is of a later version", where="database", hint="update posologist")
    command.upgrade(config, "head")
