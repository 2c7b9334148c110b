"""An evaluation as Markdown: every table with its number of patients, intervals, seed, licence and label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from posologist.core.evaluation import EvaluationDocument, FairnessTable, GroupRow, Interval, MethodRow, Paired


def markdown(document: EvaluationDocument, plots: Iterable[str] = ()) -> str:
    """The whole report; `plots` are the names of the image files beside it."""
    title = document.title or f"{document.task} {document.part}".strip()
    blocks = [
        f"# {title}",
        _about(document),
        "## Methods",
        _table(document.rows, first="method"),
        *_differences(document.paired),
        *_groups(document.groups),
        *(_fairness(table) for table in document.fairness),
        *_controls(document),
        *_findings(document.findings),
        *(f"![{name}]({name})" for name in plots),
    ]
    return "\n\n".join(blocks) + "\n"


def name_of(document: EvaluationDocument) -> str:
    """The stem of the document's files."""
    return "-".join(part for part in (document.task, document.part) if part)


def shown(interval: Interval, digits: int = 4) -> str:
    """`8.06 (7.85 to 8.28)`."""
    value = _number(interval.value, digits)
    if interval.low is None or interval.high is None:
        return value
    return f"{value} ({_number(interval.low, digits)} to {_number(interval.high, digits)})"


def _number(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    return format(float(text), "f").rstrip("0").rstrip(".") if "e" in text else text


def _about(document: EvaluationDocument) -> str:
    quick = "; quick run" if document.quick else ""
    return "\n".join(
        [
            f"- label: {document.label}",
            f"- data: {document.source}; licence: {document.licence}",
            f"- split: {document.split}{quick}",
            f"- patients: {document.train.n} to learn from, {document.test.n} tested",
            f"- seed {document.seed}; intervals: 95 %, bootstrap over patients, {document.resamples} resamples",
            f"- posologist {document.versions.posologist}, knowledge {document.versions.knowledge}",
        ]
    )


def _table(rows: Sequence[MethodRow], *, first: str) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    lines = [
        f"| {first} | n | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for row in rows:
        cells = [shown(row.metrics[name]) if name in row.metrics else "" for name in names]
        lines.append(f"| {_label(row)} | {row.n} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _label(row: MethodRow) -> str:
    if isinstance(row, GroupRow):
        return f"{row.group}, {row.method}" + (" (few patients)" if row.small else "")
    return row.method


def _differences(paired: Sequence[Paired]) -> list[str]:
    if not paired:
        return []
    lines = ["| method | against | metric | difference |", "|---|---|---|---|"]
    lines += [
        f"| {pair.method} | {pair.against} | {pair.metric.replace('_', ' ')} | {shown(pair.difference)} |"
        for pair in paired
    ]
    return ["## Differences on the same patients", "\n".join(lines)]


def _groups(groups: Sequence[GroupRow]) -> list[str]:
    return ["## By group", _table(groups, first="group, method")] if groups else []


def _fairness(table: FairnessTable) -> str:
    worst = "every group is small, so none is called the worst"
    if table.worst:
        apart = "" if table.difference is None else f", {shown(table.difference)} against all other patients"
        worst = f"worst by {table.metric.replace('_', ' ')}: {table.worst}{apart}"
    head = f"## Fairness of {table.method} by {table.grouping}"
    return "\n\n".join([head, _table(table.rows, first="group, method"), worst[0].upper() + worst[1:] + "."])


def _controls(document: EvaluationDocument) -> list[str]:
    found = []
    for control in document.controls:
        found += [f"## Control: {control.name}", control.note] if control.note else [f"## Control: {control.name}"]
        found.append(_table(control.rows, first="method"))
        if control.paired:
            found.append(_differences(control.paired)[1])
        if control.groups:
            found.append(_table(control.groups, first="group, method"))
    return found


def _findings(findings: Sequence[str]) -> list[str]:
    return ["## To be said", "\n".join(f"- {finding}" for finding in findings)] if findings else []
