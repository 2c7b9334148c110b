"""A follow-up as plain text: what is due, what came of it, what was learned, what changed and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from posologist.core.followup import Change, ChangeKind, FollowUpReport, FollowUpState, TwinChange
from posologist.serve.charts import interval, number
from posologist.serve.console import PlainConsole
from posologist.serve.followup_words import HEADINGS, asked, by_date, judged, missing, observed
from posologist.serve.table import line, print_assumptions, print_findings, print_not_checked
from posologist.serve.words import SEVERITY, level, quantity, unit

_STYLE = {"out of expectation": "bold red", "overdue": "bold red", "due": "bold yellow", "missed": "yellow"}


def print_follow_up(report: FollowUpReport) -> None:
    """An accepted plan on one day, the most urgent first, then its course, the changes and what is open."""
    console = PlainConsole()
    plan = report.plan
    who = f"{plan.patient} · {plan.indication.replace('-', ' ')} · as of {report.as_of}"
    console.print(Text(who, style="bold"))
    line(console, "Accepted plan", f"{plan.plan.text} (plan {plan.rank}, since {plan.started_on})")
    _print_expected(console, report)
    _print_states(console, report.states)
    for learned in report.learned:
        line(console, "Learned", f"{learned.name} {quantity(learned.reading)}: {learned.text}")
    for twin in report.twins:
        _print_twin(console, twin)
    line(console, "Advice now", report.advice.text, "bold green")
    if report.frame_note is not None:
        line(console, "", report.frame_note.text)
    if report.findings:
        print_findings(console, report.findings, tuple(SEVERITY))
    _print_changes(console, report.changes)
    print_not_checked(console, report.not_checked)
    print_assumptions(console, report.assumptions)


def _print_expected(console: Console, report: FollowUpReport) -> None:
    """What one reading is expected to show, told once for each measure."""
    told = set()
    for item in report.plan.items:
        if item.expected is not None and item.measure not in told:
            told.add(item.measure)
            since = f" from {item.judged_from} on" if item.judged_from is not None else ""
            span = f"{number(item.expected.low)} to {number(item.expected.high)} {unit(item.expected.unit)}"
            what = f"one reading of {item.measure_name}: {span} ({level(item.expected)}){since}"
            line(console, "Expected", what)


def _print_states(console: Console, states: Sequence[FollowUpState]) -> None:
    """The course by date: everything of one date and one state in one row; later dates after the next one are short."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in ("By", "State", "What", "Result"):
        table.add_column(name, overflow="fold")
    for due, name, held in by_date(states):
        told = Text(name, style=_STYLE.get(name, ""))
        table.add_row(str(due), told, ", ".join(asked(held)), "; ".join(_results(held)))
    console.print(table)
    undated = dict.fromkeys(f"{s.item.what} ({s.item.why})" for s in states if s.item.due is None)
    if undated:
        line(console, "Without a date", "; ".join(undated))


def _results(states: Sequence[FollowUpState]) -> list[str]:
    found = [f"{one.key.replace('_', ' ')} {quantity(one.value)} on {one.at}" for one in observed(states)]
    return [*found, *judged(states), *(f"missing: {name}" for name in missing(states))]


def _print_twin(console: Console, twin: TwinChange) -> None:
    line(console, "Level", f"{twin.text}, by {twin.model}")
    for moved in twin.parameters:
        line(console, "", f"{moved.name}: {interval(moved.before)} → {interval(moved.after)} {unit(moved.after.unit)}")
    if twin.toxic_after is not None:
        was = "not known" if twin.toxic_before is None else f"{number(100 * twin.toxic_before.value)} %"
        line(console, "", f"toxic exposure under the regimen in use: {was} → {number(100 * twin.toxic_after.value)} %")
    if twin.next_sample is not None:
        line(
            console, "Next level", f"{quantity(twin.next_sample.time)} after the first dose: {twin.next_sample.reduces}"
        )
    for finding in twin.findings:
        line(console, "Level", finding.detail, "bold yellow")


def _print_changes(console: Console, changes: Sequence[Change]) -> None:
    """What changed, those of one cause together."""
    groups: dict[tuple[ChangeKind, str, str], list[Change]] = {}
    for change in changes:
        told = change.now if change.kind == "ruled out" else ""
        groups.setdefault((change.kind, change.why, told), []).append(change)
    for (kind, why, _), held in groups.items():
        line(console, HEADINGS[kind], "; ".join(dict.fromkeys(_said(change) for change in held)))
        line(console, "", f"because: {why}")


def _said(change: Change) -> str:
    if change.kind in ("ruled out", "no longer ruled out"):
        return f"{', '.join(change.drugs)}: {change.now or change.was}"
    return " → ".join(part for part in (change.was, change.now) if part)
