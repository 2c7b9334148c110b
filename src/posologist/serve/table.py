"""Documents as plain text for a terminal of 100 columns, and for a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from posologist.core.recommendation import (
    Finding,
    NotChecked,
    Opinion,
    Option,
    PatientSummary,
    Reason,
    Recommendation,
    RuledOut,
    Screening,
)
from posologist.core.simulation import SimulationDocument
from posologist.core.values import Estimate, Series
from posologist.serve.charts import interval, number
from posologist.serve.console import PlainConsole
from posologist.serve.opinion_words import said_of
from posologist.serve.words import (
    SEVERITY,
    banner_words,
    by_rule,
    finding_words,
    gene_state,
    gene_words,
    harm_words,
    level,
    quantity,
    rank_words,
    rule_words,
    unit,
)

if TYPE_CHECKING:
    from posologist.study.founding import FoundingComparison

_LABEL = 15  # columns of a label; a longer one wraps
_SHOWN = 5  # entries of a long list before "and n more"
_REASONS_SHOWN = 3  # distinct reasons of one rule that are told in the table
_CURVE_ROWS = 13
_STYLE = {"contraindicated": "bold red", "serious": "bold yellow", "monitor": "bold", "information": "dim"}
_ALL_OF_IT = "all of them: --json or --html FILE"


def print_table(document: Recommendation) -> None:
    """A recommendation: who, genes, dangers, ranked plans, what to do and watch, what was ruled out or not checked."""
    console = PlainConsole()
    _print_who(console, document.patient, f"as of {document.as_of}")
    _print_genes(console, document)
    _print_current(console, document)
    print_findings(console, document.findings, ("contraindicated", "serious"))
    if document.options:
        _print_plans(console, document)
        _print_lead(console, document.options[0])
    else:
        line(console, "No plan", "nothing is recommended; the findings above and below say why", "bold red")
    print_opinions(console, document.opinions)
    _print_ruled_out(console, document)
    print_findings(console, document.findings, ("monitor", "information"))
    print_not_checked(console, document.not_checked)
    versions = document.versions
    console.print(
        f"\nposologist {versions.posologist}, knowledge {versions.knowledge}, guideline {document.settings.guideline}."
        " Not a medical device; the prescriber decides.",
        style="dim",
    )


def line(console: Console, label: str, text: str, style: str = "bold") -> None:
    """A label and its text, wrapped under itself."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_LABEL)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style=style), Text(text))
    console.print(grid)


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _print_who(console: Console, patient: PatientSummary, day: str) -> None:
    name = patient.name or patient.id
    console.print(Text(" · ".join(part for part in (name, patient.sex, day) if part), style="bold"))
    console.print(" · ".join(banner_words(fact) for fact in patient.facts))
    allergies = ", ".join(a.text for a in patient.allergies) or patient.allergies_state
    problems = ", ".join(c.text for c in patient.conditions) or "none recorded"
    console.print(f"Problems: {problems} · Allergies: {allergies}")


def _print_genes(console: Console, document: Recommendation) -> None:
    parts = [f"{symbol} {gene_words(gene)}" for symbol, gene in document.profile.items() if gene.clinical]
    untested = [symbol for symbol, gene in document.profile.items() if gene_state(gene) == "untested"]
    unsure = [f"{s} {gene_words(g)}" for s, g in document.profile.items() if gene_state(g) == "uncertain"]
    if untested:
        unsure.append(f"not tested: {', '.join(untested)}")
    if not document.profile:
        unsure.append("no genome was given: nothing is tested")
    line(console, "Genes", " · ".join([*parts, *unsure]))


def _print_current(console: Console, document: Recommendation) -> None:
    if document.goal is not None:
        now = f"; now {quantity(document.goal.now)}" if document.goal.now else ""
        line(console, "Target", f"{document.goal.text.rstrip('.')}{now}")
    for current in document.current:
        line(console, "Now", f"{current.regimen}: {current.action}, {current.how}")


def print_opinions(console: Console, opinions: Iterable[Opinion]) -> None:
    """What populations teach: published scores and rules, and a learned model beside them."""
    for opinion in opinions:
        _heading(console, f"{opinion.outcome[:1].upper()}{opinion.outcome[1:]}")
        for said in said_of(opinion):
            line(console, "", f"{said.what}: {said.says}" if said.what else said.says)


def print_findings(console: Console, findings: Iterable[Finding], severities: Sequence[str]) -> None:
    chosen = [f for f in findings if f.severity in severities]
    for finding in chosen:
        line(console, SEVERITY[finding.severity], finding_words(finding), _STYLE[finding.severity])
    if not chosen and "serious" in severities:
        line(console, "Safety", "no contraindicated or serious finding among what could be checked")


def _print_plans(console: Console, document: Recommendation) -> None:
    lead = document.options[0]
    _heading(console, f"Plans for {document.indication.replace('-', ' ')}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    measure = lead.effects[0].name.capitalize() if lead.effects else "Main measure"
    change_unit = unit(lead.effects[0].change.unit) if lead.effects else ""
    table.add_column("", no_wrap=True)
    table.add_column("Plan", min_width=20)
    table.add_column(f"{measure}, change in {change_unit} ({level(lead.benefit)})", min_width=12, max_width=23)
    for name in ("Benefit", "Harm", "Utility"):
        table.add_column(name, justify="right", no_wrap=True)
    for option in document.options:
        table.add_row(*_plan_row(option, rank_words(option)))
    if document.yardstick is not None:
        table.add_row("–", *_plan_row(document.yardstick, "")[1:])
    console.print(table)
    tied = [number(option.rank) for option in document.options if option.ties_with]
    note = f" Plans {', '.join(tied)} cannot be told apart: their intervals overlap." if tied else ""
    console.print(f"Benefit, harm and utility: {lead.benefit.unit}.{note}", style="dim")


def _plan_row(option: Option, rank: str) -> tuple[str, ...]:
    change = interval(option.effects[0].change) if option.effects else "not computed"
    text = option.plan.text if rank else f"{option.plan.text} (the yardstick)"
    change = change if rank else number(0)
    return (rank, text, change, number(option.benefit.value), harm_words(option.risk), number(option.utility.value))


def _print_lead(console: Console, lead: Option) -> None:
    _heading(console, f"Plan {number(lead.rank)}: {lead.plan.text}")
    for effect in lead.effects:
        if effect.expected is not None:
            line(console, "Expect", _effect_words(effect.name, effect.expected))
    for stop in lead.plan.stop:
        line(console, f"{stop.how.capitalize()} {stop.drug}", stop.text)
    for reason in lead.reasons:
        line(console, "Because", reason.text)
    for caution in lead.cautions:
        line(console, "Caution", caution.text, _STYLE["serious"])
    for item in lead.monitoring:
        line(console, "Follow up", f"{item.what}: {item.when}")
    for equivalent in lead.equivalents[:_SHOWN]:
        line(console, "Much the same", equivalent.text, "dim")


def _effect_words(name: str, estimate: Estimate) -> str:
    value = f"{name} {interval(estimate)} {unit(estimate.unit)}".rstrip()
    return f"{value}, {level(estimate)} interval"


def _print_ruled_out(console: Console, document: Recommendation) -> None:
    if not document.ruled_out:
        return
    _heading(console, f"Ruled out ({number(len(document.ruled_out))})")
    for rule, entries in by_rule(document.ruled_out).items():
        for words in _exclusions(entries):
            line(console, rule_words(rule), words)


def _exclusions(entries: Sequence[RuledOut]) -> list[str]:
    """Drugs by their common reason; the names alone where almost each has its own (the page holds those)."""
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        reason = entry.reason.replace(f"{entry.drug}: ", "", 1).rstrip(".")
        reasons.setdefault(reason, []).append(entry.drug)
    if len(reasons) <= _REASONS_SHOWN:
        return [f"{', '.join(dict.fromkeys(drugs))}: {reason}" for reason, drugs in reasons.items()]
    return [", ".join(dict.fromkeys(entry.drug for entry in entries))]


def print_not_checked(console: Console, entries: Sequence[NotChecked]) -> None:
    if not entries:
        return
    _heading(console, f"Not checked ({number(len(entries))})")
    for entry in entries[:_SHOWN]:
        line(console, "Not checked", f"{entry.what}: {entry.why}. Would clear it: {entry.would_need}", "red")
    if len(entries) > _SHOWN:
        console.print(f"and {number(len(entries) - _SHOWN)} more; {_ALL_OF_IT}", style="dim")


def print_assumptions(console: Console, assumptions: Sequence[Reason]) -> None:
    for assumption in assumptions[:_SHOWN]:
        line(console, "Assumed", assumption.text, "dim")
    if len(assumptions) > _SHOWN:
        console.print(f"and {number(len(assumptions) - _SHOWN)} more assumptions; {_ALL_OF_IT}", style="dim")


def print_outcome(document: FoundingComparison) -> None:
    """One line a plan: where the published outcome of the founding case falls in what was predicted."""
    console = PlainConsole()
    _heading(console, "The published outcome against what was predicted")
    for one in document.comparisons:
        plan = f"Plan {number(one.rank)}" if one.rank else "No change"
        published = f"{number(one.published_low.value)} to {quantity(one.published_high)}"
        text = f"{one.name} {published}: {one.place} the expected mean, {_span(one.predicted)}"
        if one.reading is not None and one.reading_place is not None:
            text += f"; {one.reading_place} a single reading, {_span(one.reading)}"
        line(console, plan, text)


def _span(estimate: Estimate) -> str:
    return f"{number(estimate.low)} to {number(estimate.high)} ({level(estimate)})"


def print_screening(document: Screening) -> None:
    """Findings about an order, the most severe first, and what could not be checked."""
    console = PlainConsole()
    _print_who(console, document.patient, f"as of {document.as_of}")
    line(console, "Order", "; ".join(document.orders) or "the present medicines")
    line(console, "Checked", ", ".join(document.drugs) or "no drug could be identified")
    print_opinions(console, document.opinions)
    print_findings(console, document.findings, tuple(SEVERITY))
    print_not_checked(console, document.not_checked)


def print_estimates(console: Console, label: str, estimates: dict[str, Estimate]) -> None:
    for name, estimate in estimates.items():
        line(console, label, _effect_words(name.replace("_", " "), estimate))


def print_simulation(document: SimulationDocument) -> None:
    """A curve as a table of its points, with the exposure that it comes to."""
    console = PlainConsole()
    console.print(
        Text(" · ".join(p for p in (str(document.drug), document.regimen, document.model) if p), style="bold")
    )
    for name, series in document.outputs.items():
        print_series(console, name, series)
    if not document.outputs:
        line(console, "No curve", "; ".join(entry.why for entry in document.not_checked), "bold red")
    print_estimates(console, "Exposure", document.exposure)
    print_estimates(console, "Parameter", document.parameters)
    print_findings(console, document.findings, tuple(SEVERITY) if document.findings else ("monitor",))
    print_not_checked(console, document.not_checked)
    print_assumptions(console, document.assumptions)


def print_series(console: Console, name: str, series: Series) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    band = f"{number(100 * series.level)} % " if series.level else ""
    for heading in (
        f"Time, {series.x_unit}",
        f"{name.replace('_', ' ').capitalize()}, {unit(series.unit)}",
        f"{band}low",
        f"{band}high",
    ):
        table.add_column(heading, justify="right")
    step = max(1, (len(series.x) - 1) // (_CURVE_ROWS - 1))
    for i in range(0, len(series.x), step):
        low = number(series.low[i]) if series.low else "–"
        high = number(series.high[i]) if series.high else "–"
        table.add_row(number(series.x[i]), number(series.y[i]), low, high)
    console.print(table)
