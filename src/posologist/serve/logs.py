"""Logs as JSON, one object a line. No patient, account, token, address or free text is written, of us or of others.

What another library logs keeps its logger and level; its message stays only where it is one of uvicorn's own, which
speak of the process. Of an exception, the kind and the place in the code are told, never its text.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

log = logging.getLogger("posologist.serve")
_FIELDS = "posologist_fields"


def tell(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with fields that identify nobody."""
    log.log(level, event, extra={_FIELDS: fields})


def place_of(error: BaseException) -> str:
    """The kind of an error and where in the code it was raised."""
    return f"{type(error).__name__} at {_last(error.__traceback__)}"


def _last(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        speaks = record.name in (log.name, "uvicorn.error") and not record.exc_info
        held: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage() if speaks else "error" if record.exc_info else "message of a library",
        }
        held |= getattr(record, _FIELDS, {})
        if record.exc_info and record.exc_info[1] is not None:
            held["error"] = place_of(record.exc_info[1])
        return json.dumps(held, ensure_ascii=True)


def write_to_stderr() -> None:
    """Send every logger of this process, as JSON lines, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    logging.captureWarnings(True)
