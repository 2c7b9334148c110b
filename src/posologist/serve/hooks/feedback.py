"""What a client reports back on cards: accepted or overridden, as decisions; and what "will monitor" schedules."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, get_args

from posologist.core.errors import InputError
from posologist.core.values import Many, Value
from posologist.serve.hooks.cards import REASON_SYSTEM, REASONS, Dealt
from posologist.serve.hooks.requests import parse_json

ReasonCode = Literal[
    "will-monitor", "benefit-outweighs", "patient-preference", "not-clinically-significant", "inaccurate-data",
    "alternative-not-available",
]  # fmt: skip
WILL_MONITOR: ReasonCode = "will-monitor"
_MOST = 100
_LONGEST = 2000
_AHEAD = timedelta(days=1)


class CardDecision(Value):
    """One outcome of a card. `reason` None: the client named none of ours; its own words stand in `note`."""

    card: str
    action: Literal["accept", "override"]
    suggestions: Many[str] = ()
    reason: ReasonCode | None = None
    will_monitor: bool = False
    note: str = ""
    at: datetime


class Scheduled(Value):
    """A check that "will monitor" promises; `due` None: the sources state no day."""

    what: str
    due: date | None
    basis: str


def parse_feedback(body: bytes, now: datetime) -> tuple[CardDecision, ...]:
    """The decisions of one post.

    Raises
    ------
    InputError
        If it is not the feedback of CDS Hooks 2.0: card, outcome, and a time for each that has come.
    """
    listed = parse_json(body).get("feedback")
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST:
        raise InputError(f"is no list of 1 to {_MOST} entries", where="feedback", hint="see the CDS Hooks feedback")
    return tuple(_decision(entry, f"feedback[{n}]", now) for n, entry in enumerate(listed))


def _decision(entry: Any, where: str, now: datetime) -> CardDecision:
    if not isinstance(entry, dict):
        raise InputError("is no object", where=where, hint="see the CDS Hooks feedback")
    outcome = entry.get("outcome")
    if outcome not in ("accepted", "overridden"):
        raise InputError("is neither accepted nor overridden", where=f"{where}.outcome", hint="send one of the two")
    accepted = _accepted(entry.get("acceptedSuggestions"), where, needed=outcome == "accepted")
    reason, note = _reason(entry.get("overrideReason"), where)
    return CardDecision(
        card=_uuid(entry.get("card"), f"{where}.card"),
        action="accept" if outcome == "accepted" else "override",
        suggestions=accepted,
        reason=reason,
        will_monitor=reason == WILL_MONITOR,
        note=note,
        at=_moment(entry.get("outcomeTimestamp"), f"{where}.outcomeTimestamp", now),
    )


def _uuid(value: Any, where: str) -> str:
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else _no_uuid(where)
    except ValueError:
        return _no_uuid(where)


def _no_uuid(where: str) -> str:
    raise InputError("is no uuid", where=where, hint="send the uuid of the card or suggestion as it was dealt")


def _accepted(listed: Any, where: str, *, needed: bool) -> tuple[str, ...]:
    where = f"{where}.acceptedSuggestions"
    if listed is None and not needed:
        return ()
    if not isinstance(listed, list) or len(listed) > _MOST or (needed and not listed):
        raise InputError("names no accepted suggestion", where=where, hint="list the id of each")
    return tuple(
        _uuid(item.get("id") if isinstance(item, dict) else None, f"{where}[{n}].id") for n, item in enumerate(listed)
    )


def _reason(given: Any, where: str) -> tuple[ReasonCode | None, str]:
    if given is None:
        return None, ""
    where = f"{where}.overrideReason"
    if not isinstance(given, dict):
        raise InputError("is no object", where=where, hint="send reason and userComment")
    reason = given.get("reason")
    comment = given.get("userComment")
    if not (reason is None or isinstance(reason, dict)) or not (comment is None or isinstance(comment, str)):
        raise InputError("has members of the wrong type", where=where, hint="reason is a Coding, userComment a text")
    note = (comment or "")[:_LONGEST]
    coding = reason or {}
    code, system = coding.get("code"), coding.get("system")
    own = next((r for r in get_args(ReasonCode) if r == code and system in (None, "", REASON_SYSTEM)), None)
    if own is None and code is not None:
        note = f"[{str(coding.get('display') or code)[:120]}] {note}".strip()
    return own, note


def _moment(value: Any, where: str, now: datetime) -> datetime:
    """When the action was taken; a clock that is ahead of ours is not believed."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        moment = found and (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is not None and moment > now + _AHEAD:
        raise InputError("has not come yet", where=where, hint="send when the action was taken")
    if moment is not None:
        return moment
    raise InputError("is no ISO time", where=where, hint="send when the action was taken, e.g. 2026-11-20T06:16:20Z")


def scheduled(decision: CardDecision, dealt: Dealt) -> tuple[Scheduled, ...]:
    """What "will monitor" on a card schedules, from the day of the decision, never before the day of the card."""
    if not decision.will_monitor:
        return ()
    start = max(decision.at.date(), dealt.on)
    steps = [
        Scheduled(
            what=step.what, due=None if step.days is None else start + timedelta(days=step.days), basis=step.basis
        )
        for step in dealt.monitoring
    ]
    if steps:
        return tuple(dict.fromkeys(steps))
    what = f"what was announced on the card: {dealt.card.summary}"
    return (Scheduled(what=what, due=None, basis="no source states what to measure, or when: to be set by hand"),)


assert set(REASONS) == set(get_args(ReasonCode))
