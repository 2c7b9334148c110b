"""The page over a store in memory, to test it and to look at it: `python tests/page_app.py` serves it on 8001."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from posologist.knowledge.load import load_knowledge
from posologist.serve.accounts import Accounts
from posologist.serve.metrics import Metrics
from posologist.serve.page.routes import page_router, uploads
from posologist.serve.security import Guard, Limits
from posologist.serve.service import Service
from posologist.serve.store import Store

PASSWORD = "a long pass phrase"


def page_app(url: str = "sqlite://", **more: Any) -> FastAPI:
    """The page alone, behind the same guard as the server; anna prescribes, paul is a pharmacist, ada an auditor."""
    store = Store(url, **more)
    store.migrate()
    service, accounts = Service(store, load_knowledge()), Accounts(store)
    accounts.add("anna", name="Dr Anna Weber", role="prescriber", password=PASSWORD)
    accounts.add("paul", name="Paul Okafor", role="pharmacist", password=PASSWORD)
    accounts.add("ada", name="Ada", role="auditor", password=PASSWORD)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(page_router(service, accounts))
    app.add_middleware(Guard, metrics=Metrics(), limits=Limits(), uploads=uploads(service.bounds))
    app.state.service = service
    return app


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(page_app(), host="127.0.0.1", port=8001, log_level="warning")
