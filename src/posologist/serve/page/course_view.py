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
    """What was advised, what is advised now, and why; what is ruled out for one reason stands together."""

    heading: str
    was: str
    now: str
    why: str
    because: tuple[EvidenceKey, ...]


@dataclass(frozen=True, slots=True)
class CourseView:
    """Where the accepted plan stands, the most urgent of a date first."""

    report: FollowUpReport
    due: tuple[DueView, ...]
    undated: tuple[FollowUpState, ...]
    changes: tuple[ChangeView, ...]


def course_view(report: FollowUpReport) -> CourseView:
    """The view of a follow-up."""
    rows = followup_words.by_date(report.states)
    return CourseView(
        report=report,
        due=tuple(_due(due, state, held) for due, state, held in rows),
        undated=tuple(state for state in report.states if state.item.due is None),
        changes=_changes(report.changes),
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


def _due(due: date, state: StateName, held: Sequence[FollowUpState]) -> DueView:
    return DueView(
        due=due,
        state=state,
        look=state.replace(" ", "-"),
        asked=tuple(followup_words.asked(held)),
        expected=tuple({one.item.measure: one.item for one in held if one.item.expected is not None}.values()),
        observed=tuple(followup_words.observed(held)),
        judged=tuple(followup_words.judged(held)),
        missing=tuple(followup_words.missing(held)),
        because=tuple(dict.fromkeys(key for one in held for key in one.item.because)),
    )


def _changes(changes: Iterable[Change]) -> tuple[ChangeView, ...]:
    groups: dict[tuple[ChangeKind, str, str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.kind, change.was, change.now, change.why), []).append(change)
    return tuple(_changed(held) for held in groups.values())


def _changed(held: Sequence[Change]) -> ChangeView:
    """One line of changes that read alike; where whole drugs are ruled out or allowed again, it names them."""
    first = held[0]
    was, now = first.was, first.now
    if first.kind in ("ruled out", "no longer ruled out"):
        drugs = ", ".join(dict.fromkeys(drug for change in held for drug in change.drugs))
        was, now = (f"{drugs}: {text}" if text else "" for text in (was, now))
    return ChangeView(
        heading=followup_words.HEADINGS[first.kind], was=was, now=now, why=first.why,
        because=tuple(dict.fromkeys(key for change in held for key in change.because)),
    )  # fmt: skip
