"""A sample's genes and their guidance as plain text for a terminal of 100 columns, and for a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from posologist.core.genotype import GeneticProfile
from posologist.core.guidance import GuidanceDocument, GuidanceItem
from posologist.serve.charts import number
from posologist.serve.console import PlainConsole
from posologist.serve.profile_view import DrugRow, GeneRow, drug_rows, gene_rows, reasons_for_silence
from posologist.serve.profile_words import (
    STATE,
    advice_words,
    alleles,
    deciding,
    detail,
    result,
    state_reason,
    strength,
)
from posologist.serve.words import listed, phenotype

_SHOWN = 3  # entries of a long list before "and n more"
_LABEL = 15  # columns of a label; a longer one wraps
_ALL_OF_IT = "all of it: --json or --html FILE"
_STYLE = {"contraindicated": "bold red", "serious": "bold yellow", "monitor": "bold", "information": "dim"}
_RESULT_STYLE = {"matters": "bold yellow", "differs": "", "uncertain": "yellow", "normal": "dim"}


def print_profile(document: GeneticProfile) -> None:
    """A sample's genes: diplotype, phenotype, how well it was read, and what the file could not exclude."""
    console = PlainConsole()
    console.print(Text(f"Sample {document.sample or 'not named'} · {document.build}", style="bold"))
    rows = gene_rows(document, None)
    table = _table("Gene", "Diplotype", "Phenotype", "Score", "State", "Missing", "Not excluded")
    for row in rows:
        table.add_row(*_gene_cells(row), style=_RESULT_STYLE.get(row.result, "red"))
    console.print(table)
    for row in rows:
        _print_notes(console, row)
    for text in document.findings:
        _line(console, "File", text, "yellow")


def _gene_cells(row: GeneRow) -> tuple[str, ...]:
    call = row.call
    if call is None or not call.called:
        return (row.symbol, STATE[row.state], "not known", "", "–", "", "")
    score = "" if call.activity_score is None else number(call.activity_score)
    shown = alleles(call.diplotype)
    if len(call.candidates) > 1:
        first, second = call.candidates[:2]
        tie = f", tie with {alleles(second.diplotype)}" if first.probability == second.probability else ""
        shown += f" ({number(100 * first.probability)} %{tie})"
    state = f"{STATE[row.state]}{', phased' if call.phased else ''}" if call.source == "vcf" else "Laboratory"
    changing = [entry.allele for entry in row.not_excluded if entry.changes_guidance]
    others = len(row.not_excluded) - len(changing)
    left = "; ".join(filter(None, (listed(changing, 2), f"{number(others)} others" if others else "")))
    missing = f"{number(row.missing)}/{number(row.positions)}" if row.missing else ""
    return (row.symbol, shown, _phenotype(row), score, state, missing, left or "–")


def _phenotype(row: GeneRow) -> str:
    stated = row.call.phenotype if row.call else None
    return row.no_phenotype if stated is None else phenotype(stated)


def _print_notes(console: Console, row: GeneRow) -> None:
    if row.call is None or not row.call.called:
        _line(console, row.symbol, f"{STATE[row.state]}: {state_reason(row.symbol, row.call)}", "red")
        return
    notes = [text.removeprefix(f"{row.symbol}: ") for text in row.call.findings]
    for text in notes[:_SHOWN]:
        _line(console, row.symbol, text, "yellow")
    if len(notes) > _SHOWN:
        _line(console, row.symbol, f"and {number(len(notes) - _SHOWN)} more notes; {_ALL_OF_IT}", "dim")


def print_guidance(document: GuidanceDocument) -> None:
    """What the guidelines ask for these genes: what needs attention first, then what is open, then what is usual."""
    console = PlainConsole()
    console.print(Text(f"Sample {document.sample or 'not named'}", style="bold"))
    _line(console, "Genes", " · ".join(result(symbol, document) for symbol in document.genes))
    rows = drug_rows(document)
    table = _table("Drug", "What to do", "Genes", "By")
    for row in rows:
        for place, item in enumerate(row.leading):
            name, genes = "" if place else row.drug, ", ".join(item.genes)
            table.add_row(name, f"{detail(item)}{_of(item)}", genes, strength(item), style=_STYLE[row.severity])
        if row.conflict:
            table.add_row("" if row.leading else row.drug, f"Bodies differ: {row.conflict}", "", "", style="bold red")
    if table.row_count:
        console.print(table)
    _print_open(console, rows)
    usual = [row.drug for row in rows if row.place == "usual"]
    if usual:
        _line(console, "No change", ", ".join(usual), "dim")
    for why, drugs in reasons_for_silence(document.no_guidance).items():
        _line(console, "Nothing to say", f"{why}: {', '.join(drugs)}", "red")


def _print_open(console: Console, rows: Iterable[DrugRow]) -> None:
    for row in rows:
        if row.open_points:
            asked = "; ".join(
                dict.fromkeys(
                    f"{advice_words(item)} ({strength(item)}{', ' if item.population else ''}{item.population})"
                    for item in row.open_points
                )
            )
            _line(console, "Undecided", f"{row.drug}: {asked}. Decided by: {', '.join(deciding(row.open_points))}")


def _of(item: GuidanceItem) -> str:
    return f" For: {item.population}." if item.population else ""


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _line(console: Console, label: str, text: str, style: str = "bold") -> None:
    """A label and its text, wrapped under itself."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_LABEL)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style=style), Text(text))
    console.print(grid)
