"""The course of the accepted plan as the page shows it: by date with its states, and the changed advice; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from posologist.core.followup import (
    Answered,
    Change,
    ChangeKind,
    FollowUpItem,
    FollowUpReport,
    FollowUpState,
    StateName,
)
from posologist.core.recommendation import Recommendation
from posologist.core.values import EvidenceKey
from posologist.serve import followup_words
from posologist.serve.following import Followed
from posologist.serve.rows import FollowUpRow

_OF_DRUGS: tuple[ChangeKind, ...] = ("ruled out", "no longer ruled out")


@dataclass(frozen=True, slots=True)
class DueView:
    """Everything of one date that stands alike: what is asked, what is expected of a reading, what was observed."""

    due: date | None
    state: StateName
    look: str
    asked: tuple[str, ...]
    expected: tuple[FollowUpItem, ...]
    observed: tuple[Answered, ...]
    judged: tuple[str, ...]
    missing: tuple[str, ...]
    because: tuple[EvidenceKey, ...]


@dataclass(frozen=True, slots=True)
class ChangeView:
    """Changes of one kind and one reason: pairs of what was advised and what is advised now."""

    heading: str
    pairs: tuple[tuple[str, str], ...]
    why: str
    because: tuple[EvidenceKey, ...]


@dataclass(frozen=True, slots=True)
class CourseView:
    """Where the accepted plan stands, the most urgent of a date first; `gone` are findings that no longer hold."""

    report: FollowUpReport
    due: tuple[DueView, ...]
    undated: tuple[FollowUpState, ...]
    changes: tuple[ChangeView, ...]
    gone: tuple[ChangeView, ...]


def course_view(report: FollowUpReport) -> CourseView:
    """The view of a follow-up."""
    due: list[DueView] = []
    for day, state, held in followup_words.by_date(report.states):
        told = frozenset(item.measure for row in due for item in row.expected)
        due.append(_due(day, state, held, told))
    return CourseView(
        report=report,
        due=tuple(due),
        undated=tuple(state for state in report.states if state.item.due is None),
        changes=_changes(change for change in report.changes if change.kind != "finding gone"),
        gone=_changes(change for change in report.changes if change.kind == "finding gone"),
    )


def told_elsewhere(
    followed: Followed, document: Recommendation, scheduled: Iterable[FollowUpRow]
) -> tuple[FollowUpRow, ...]:
    """Of what is scheduled, what the course does not tell: not the monitoring that accepting the plan scheduled.

    Parameters
    ----------
    document
        The recommendation whose decisions scheduled it.
    """
    plan, decision = followed.report.plan, followed.decision
    option = next((one for one in document.options if one.rank == plan.rank), None)
    told = {item.what for item in plan.items}
    own = {
        (rule.what, decision.at.date() + timedelta(days=day))
        for rule in (option.monitoring if option else ())
        for day in rule.days
        if rule.what in told
    }
    return tuple(
        row for row in scheduled
        if row.decision_id != decision.id or row.status != "open" or row.result or row.expected_low is not None
        or row.expected_high is not None or (row.what, row.due) not in own
    )  # fmt: skip


def _due(due: date, state: StateName, held: Sequence[FollowUpState], told: frozenset[str]) -> DueView:
    """One row; what is expected of a measure is told once, in the first row that asks for it."""
    expected = {one.item.measure: one.item for one in held if one.item.expected is not None}
    return DueView(
        due=due,
        state=state,
        look=state.replace(" ", "-"),
        asked=tuple(followup_words.asked(held)),
        expected=tuple(item for measure, item in expected.items() if measure not in told),
        observed=tuple(followup_words.observed(held)),
        judged=tuple(followup_words.judged(held)),
        missing=tuple(followup_words.missing(held)),
        because=tuple(dict.fromkeys(key for one in held for key in one.item.because)),
    )


def _changes(changes: Iterable[Change]) -> tuple[ChangeView, ...]:
    groups: dict[tuple[ChangeKind, str, str], list[Change]] = {}
    for change in changes:
        told = f"{change.was} {change.now}" if change.kind in _OF_DRUGS else ""
        groups.setdefault((change.kind, change.why, told), []).append(change)
    return tuple(_changed(held) for held in groups.values())


def _changed(held: Sequence[Change]) -> ChangeView:
    """Changes for one reason; where whole drugs are ruled out or allowed again, they are named together."""
    first = held[0]
    pairs = tuple(dict.fromkeys((change.was, change.now) for change in held))
    if first.kind in _OF_DRUGS:
        drugs = ", ".join(dict.fromkeys(drug for change in held for drug in change.drugs))
        pairs = tuple((was and f"{drugs}: {was}", now and f"{drugs}: {now}") for was, now in pairs)
    return ChangeView(
        heading=followup_words.HEADINGS[first.kind], pairs=pairs, why=first.why,
        because=tuple(dict.fromkeys(key for change in held for key in change.because)),
    )  # fmt: skip
