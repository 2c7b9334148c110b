"""A follow-up in words and groups, for the command line and the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from posologist.core.followup import Answered, ChangeKind, FollowUpState, StateName

HEADINGS: Mapping[ChangeKind, str] = {
    "advice": "Advice", "plan lost": "Plan lost", "plan gained": "Plan gained", "plan re-ranked": "New order",
    "dose changed": "New dose", "ruled out": "Ruled out", "no longer ruled out": "Allowed again",
    "finding new": "New finding", "finding gone": "Finding gone",
}  # fmt: skip
_URGENT: tuple[StateName, ...] = ("out of expectation", "overdue", "due", "missed", "open", "done")


def by_date(states: Iterable[FollowUpState]) -> list[tuple[date, StateName, list[FollowUpState]]]:
    """Everything of one date and one state together, by date, the most urgent first; without what has no date."""
    rows: dict[tuple[date, StateName], list[FollowUpState]] = {}
    for state in states:
        if state.item.due is not None:
            rows.setdefault((state.item.due, state.state), []).append(state)
    ordered = sorted(rows.items(), key=lambda row: (row[0][0], _URGENT.index(row[0][1])))
    return [(due, name, held) for (due, name), held in ordered]


def asked(states: Sequence[FollowUpState]) -> list[str]:
    """What is asked for, each part once: "serum potassium" and "potassium" are one."""
    named: dict[tuple[str, ...], str] = {}
    for state in states:
        for part in state.item.parts:
            named.setdefault(part.keys or (part.name,), part.name)
    return list(named.values())


def observed(states: Sequence[FollowUpState]) -> list[Answered]:
    """What answered them, each result once."""
    return list({(answer.key, answer.at): answer for state in states for answer in state.answered}.values())


def judged(states: Sequence[FollowUpState]) -> list[str]:
    """How a reading stands to what was expected of it, and a laboratory value to its bounds."""
    of_readings = [s.why for s in states if s.answered and s.item.expected is not None]
    return list(dict.fromkeys((*of_readings, *(one.text for s in states for one in s.judged))))


def missing(states: Sequence[FollowUpState]) -> list[str]:
    """Parts that are still missing where others are there."""
    parts = {part.name: part.keys for s in states for part in s.item.parts}
    return list({parts[name]: name for s in states if s.answered for name in s.missing}.values())
