"""The process of `posologist serve`: database, knowledge, application, and an orderly stop."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from posologist.core.errors import InputError
from posologist.recommend.learned import models_of
from posologist.serve.accounts import DEVELOPER, Accounts
from posologist.serve.api import create_app
from posologist.serve.hook_desk import hooks_in_development, hooks_of_site, site_file
from posologist.serve.hooks.routes import HooksSettings
from posologist.serve.inputs import knowledge_of
from posologist.serve.logs import tell, write_to_stderr
from posologist.serve.service import Service
from posologist.serve.store import Store

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MOST_CONNECTIONS = 512
_STOPS_WITHIN_S = 20
_COLLECT_AFTER = (20_000, 20, 50)  # Python's own (700, 10, 10) search all that was ever read in the midst of answers


def run(store: Store, *, host: str, port: int, knowledge: Sequence[Path] = ()) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first.

    Raises
    ------
    InputError
        If development mode would be reachable from other machines, or the address cannot be listened on.
    """
    from posologist.records.rxnorm import load_rxnorm

    store.migrate()
    accounts = Accounts(store)
    develops = accounts.is_development()
    if develops and not is_loopback(host):
        raise InputError(
            "development mode is for this machine only", where="--host",
            hint="add an account first (posologist account add), or listen on 127.0.0.1",
        )  # fmt: skip
    if not develops:
        accounts.end_development()
    rxnorm = next((found for folder in knowledge if (found := load_rxnorm(folder)) is not None), None)
    service = Service(store, knowledge_of(knowledge), rxnorm=rxnorm)
    models_of(service.knowledge)  # one that cannot be asked ends the start, not a prescriber's question
    app = create_app(
        service, accounts=accounts, mode="development" if develops else "production", hosts=_hosts(develops),
        hooks=_hooks(develops, f"http://{f'[{host}]' if ':' in host else host}:{port}"),
    )  # fmt: skip
    write_to_stderr()
    if develops:
        password = accounts.new_developer()
        _warn(password, accounts.issue_token(DEVELOPER, lasts=timedelta(days=1)).token)
    for stop in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again when it has stopped: that is the end
        signal.signal(stop, lambda number, frame: None)
    _settle()
    try:
        _Server(_config(app, host, port)).run()
    except SystemExit:
        hint = "is the port taken? see the log"
        raise InputError("the server could not start", where=f"{host}:{port}", hint=hint) from None
    finally:
        store.close()
    tell("stopped")


def _settle() -> None:
    """What was read at the start stays for good and is not searched for garbage again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _hosts(develops: bool) -> tuple[str, ...]:
    named = os.environ.get("POSOLOGIST_HOSTS", "").lower().replace(" ", "").split(",")
    return _LOOPBACK if develops else tuple(filter(None, named))


def _hooks(develops: bool, own: str) -> HooksSettings | None:
    site = site_file(os.environ)
    if site is not None:
        return hooks_of_site(site)
    return hooks_in_development(own) if develops else None


def _config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    proxies = os.environ.get("POSOLOGIST_PROXIES", "")
    return uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, server_header=False,
        proxy_headers=bool(proxies), forwarded_allow_ips=proxies or None, limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=10, timeout_graceful_shutdown=_STOPS_WITHIN_S,
    )  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(uvicorn.Server):
    """uvicorn's server, which tells in the log where it listens."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Listen, and tell it."""
        await super().startup()
        for server in self.servers:
            for socket in server.sockets:
                tell("listening", address=socket.getsockname()[0], port=socket.getsockname()[1])


def _warn(password: str, token: str) -> None:
    rule = "!" * 78
    lines = (
        rule, "DEVELOPMENT MODE: no account is held, so anyone on this machine with the password below may sign in.",
        "Not for patients' data. `posologist account add` ends this mode.",
        f"  account:  {DEVELOPER}", f"  password: {password}",
        f"  token:    {token}  (bearer, one day)", "They are shown this once; the next start makes others.",
        rule,
    )  # fmt: skip
    print("\n".join(lines), file=sys.stderr, flush=True)
