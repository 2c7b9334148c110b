"""A server over a store of its own, in process, with an account of each role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.serve.accounts import Accounts
from posologist.serve.api import create_app
from posologist.serve.receiving import Bounds
from posologist.serve.rows import Role
from posologist.serve.security import Limits
from posologist.serve.service import Service
from posologist.serve.store import Store

DEMO = Path(str(files("posologist.serve.demo")))
ROLES: tuple[Role, ...] = ("prescriber", "pharmacist", "informaticist", "auditor", "system")
PASSWORD = "a long pass phrase"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@cache
def knowledge() -> Knowledge:
    """Our knowledge, read once."""
    return load_knowledge()


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Served:
    """A server in process and who may ask it."""

    app: FastAPI
    store: Store
    accounts: Accounts
    clock: Clock
    client: TestClient
    tokens: dict[str, str]

    def ask(
        self, method: str, path: str, *, role: str = "prescriber", headers: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        """A request with the token of a role."""
        held = {"Authorization": f"Bearer {self.tokens[role]}", **(headers or {})}
        return self.client.request(method, f"/api/v1{path}", headers=held, **more)

    def add_patient(self, bundle: bytes, **query: str) -> str:
        """Add a record and give the patient's id."""
        done = self.ask(
            "POST", "/patients", content=bundle, headers={"Content-Type": "application/fhir+json"}, params=query
        )
        assert done.status_code == 201, done.text
        return str(done.json()["id"])


@cache
def _prepared() -> tuple[bytes, dict[str, str]]:
    """A database with one account of each role, whose id is the role, and their tokens; made once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prepared.db"
        store = Store(f"sqlite:///{path}", clock=Clock())
        store.migrate()
        accounts = Accounts(store)
        tokens = {}
        for role in ROLES:
            accounts.add(role, name=f"Test {role}", role=role, password=PASSWORD)
            tokens[role] = accounts.issue_token(role, lasts=timedelta(days=30)).token
        store.close()
        return path.read_bytes(), tokens


def a_server(folder: Path, *, limits: Limits | None = None, bounds: Bounds | None = None, **more: Any) -> Served:
    """A server over a store in this folder."""
    content, tokens = _prepared()
    (folder / "served.db").write_bytes(content)
    clock = Clock()
    store = Store(f"sqlite:///{folder / 'served.db'}", clock=clock)
    accounts = Accounts(store)
    app = create_app(Service(store, knowledge(), bounds=bounds), accounts=accounts, limits=limits, **more)
    client = TestClient(app, base_url="https://testserver", raise_server_exceptions=False)
    return Served(app, store, accounts, clock, client, tokens)
