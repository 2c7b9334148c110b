"""The answer of `dose` as plain text: regimens, how sure they are, what moves the dose, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from posologist.core.simulation import DoseDocument, MissedDose, RankedRegimen
from posologist.core.values import Contributions, Estimate
from posologist.serve.charts import interval, number
from posologist.serve.console import PlainConsole
from posologist.serve.table import (
    line,
    print_assumptions,
    print_estimates,
    print_findings,
    print_not_checked,
    print_opinions,
    print_series,
)
from posologist.serve.words import SEVERITY, quantity, unit

if TYPE_CHECKING:
    from posologist.core.dosing import ComputedDose


_UNSEEN = 1e-3  # share of the dose below which a part is not printed


def print_dose(document: DoseDocument) -> None:
    """Regimens of one drug, the best first, with what they reach."""
    console = PlainConsole()
    console.print(Text(f"{document.drug} · {document.model}", style="bold"))
    if document.target is not None:
        line(console, "Target", document.target.text)
    if document.start is not None:
        by_genes = document.computed is not None and document.computed.genetic
        line(console, "Start" if by_genes else "Label start", document.start)
    if document.computed is not None:
        _print_computed(console, document.computed)
    for share in document.models[:0] if len(document.models) < 2 else document.models:
        line(console, "Model", f"{share.model}: share {number(share.share.value)}")
    print_estimates(console, "Parameter", document.parameters)
    if document.present is not None:
        shares = f"at target {_share(document.present.target_attainment)}, toxic "
        shares += _share(document.present.toxic_probability)
        line(console, "Now", f"{document.present.text}: {shares}")
    _print_regimens(console, document.regimens or document.unranked)
    if document.binding_constraint is not None:
        nearest = document.binding_constraint.nearest_regimen
        near = f"; nearest: {nearest}" if nearest else ""
        what = "Not reached" if nearest else "Not ranked"
        line(console, what, f"{document.binding_constraint.what}{near}", "bold red")
    for regimen in (*document.regimens, *document.unranked):
        if regimen.loading is not None:
            told = f"first day {interval(regimen.loading.first_day)}, without it {interval(regimen.loading.without)}"
            line(console, "Loading dose", f"{regimen.loading.text} (average of the {told})")
    for name, series in document.course.items():
        print_series(console, f"expected {name}", series)
    if document.next_sample is not None:
        line(console, "Next level", f"at {quantity(document.next_sample.time)}: {document.next_sample.reduces}")
    if document.missed is not None:
        _print_missed(console, document.missed)
    if document.contributions is not None:
        _print_contributions(console, document.contributions)
    print_opinions(console, document.opinions)
    print_findings(console, document.findings, tuple(SEVERITY))
    print_not_checked(console, document.not_checked)
    print_assumptions(console, document.assumptions)


def _print_regimens(console: Console, regimens: Sequence[RankedRegimen]) -> None:
    if not regimens:
        return
    measures = list(regimens[0].exposure)[:3]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    names = [f"{m.replace('_', ' ')}, {unit(regimens[0].exposure[m].unit)}" for m in measures]
    for name in ("", "Regimen", "At target", "Toxic", *names):
        table.add_column(name.rstrip(", "), overflow="fold")
    for regimen in regimens:
        shares = (_share(regimen.target_attainment), _share(regimen.toxic_probability))
        reached = [interval(regimen.exposure[m]) if m in regimen.exposure else "–" for m in measures]
        table.add_row("" if regimen.rank is None else number(regimen.rank), regimen.text, *shares, *reached)
    console.print(table)


def _print_missed(console: Console, missed: MissedDose) -> None:
    line(console, "Dose late", f"by {quantity(missed.late)}; what follows in {quantity(missed.ahead)}:", "bold yellow")
    for way in missed.ways:
        levels = f"lowest {interval(way.lowest)}, highest {interval(way.highest)} {unit(way.highest.unit)}"
        toxic = "" if way.toxic_probability is None else f", toxic {_share(way.toxic_probability)}"
        line(console, "", f"{way.what}: {levels}{toxic}")


def _print_contributions(console: Console, apart: Contributions) -> None:
    """The daily dose for the middle of the target: of the reference patient, what moves it, of this patient."""
    line(console, "Why this dose", f"{number(apart.base)} {unit(apart.unit)} in the model's reference patient")
    for part in apart.parts:
        if abs(part.value) < _UNSEEN * apart.output:
            continue
        sign = "+" if part.value >= 0 else "−"
        line(console, "", f"{sign}{number(abs(part.value))}: {part.text}")
    line(console, "", f"{number(apart.output)} {unit(apart.unit)} meet the middle of the target in this patient")


def _print_computed(console: Console, computed: ComputedDose) -> None:
    """The dose that the genes ask for, what each source comes to, and what stays open."""
    from posologist.recommend.computed import dose_words

    by = f" (by {computed.by})" if computed.by else ""
    regimen = f"; {computed.regimen.text}" if computed.regimen else ""
    line(console, "From genes", f"{dose_words(computed)}{by}{regimen}")
    for row in computed.rows:
        amount = ""
        if row.low is not None and row.high is not None:
            one = row.low.value == row.high.value
            amount = f"{number(row.low.value)}{'' if one else f' to {number(row.high.value)}'} {unit(row.low.unit)}: "
        needs = f" (needs {', '.join(row.needs)})" if row.needs else ""
        line(console, row.name, f"{amount}{row.text}{needs}", "bold" if row.decision == "used" else "")
        for step in row.steps:
            line(console, "", step.text, "")
    for bound in computed.open:
        line(console, "Open", bound.text)
    for said in (*computed.cautions, *computed.assumptions):
        line(console, "Note", said.text)


def _share(estimate: Estimate | None) -> str:
    return "not known" if estimate is None else f"{number(100 * estimate.value)} %"
