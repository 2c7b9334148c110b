"""What became of a follow-up: done with its result, missed, or cancelled; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, get_args

from posologist.core.errors import InputError
from posologist.serve.refusals import ConflictError
from posologist.serve.refused import ForbiddenError
from posologist.serve.rows import Actor, FollowUpRow, Role

ClosedStatus = Literal["done", "missed", "cancelled"]
OUTCOMES: tuple[ClosedStatus, ...] = get_args(ClosedStatus)
CANCELS: frozenset[Role] = frozenset({"prescriber"})
"""Who may cancel what a decision scheduled: who may decide."""
_NEEDED = {
    "done": ("nothing says what came of it", "write the result, e.g. INR 2.4"),
    "cancelled": ("a cancelled follow-up has no reason", "write why it is not needed any more"),
}


@dataclass(frozen=True)
class Closing:
    """How a follow-up ends; `result` is what was found, or why it was missed or cancelled."""

    status: ClosedStatus
    result: str = ""


def closed(row: FollowUpRow, outcome: Closing, actor: Actor, at: datetime) -> FollowUpRow:
    """The follow-up with its outcome; one that has this outcome already is given back as it is.

    Raises
    ------
    InputError
        If it is done without a result or cancelled without a reason.
    ForbiddenError
        If the role may not cancel.
    ConflictError
        If it is closed with another outcome.
    """
    result = outcome.result.strip()
    if not result and outcome.status in _NEEDED:
        what, hint = _NEEDED[outcome.status]
        raise InputError(what, where="result", hint=hint)
    if outcome.status == "cancelled" and actor.role not in CANCELS:
        raise ForbiddenError(f"the role '{actor.role}' may not cancel", where="status", hint="ask a prescriber")
    if (row.status, row.result) == (outcome.status, result):
        return row
    if row.status != "open":
        hint = "schedule another one with a decision"
        raise ConflictError(f"the follow-up is closed already: {row.status}", where="follow-up", hint=hint)
    return replace(row, status=outcome.status, result=result, at=at)
