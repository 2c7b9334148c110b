"""From documents to what the page shows: frozen values, one for each block. Pure; no HTTP and no store.

Numbers stay what they are in the document (`Estimate`, `Quantity`, `Series`) until a template prints them through
the one filter `number`, each as a link to its evidence (`Doors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import urlencode

from posologist.core.evidence import Evidence
from posologist.core.genotype import ExpressedPhenotype
from posologist.core.recommendation import BannerFact, Finding, Monitoring, NotChecked, Option, Recommendation
from posologist.core.values import Estimate, GeneSymbol
from posologist.serve import blocks, words
from posologist.serve.charts import common_axis, number
from posologist.serve.page.course_view import CourseView
from posologist.serve.page.dose_view import DoseView
from posologist.serve.rows import REASON_CODES, DecisionRow, FollowUpRow, ReasonCode

REASONS: Mapping[ReasonCode, str] = {
    "will-monitor": "Will monitor",
    "benefit-outweighs": "Benefit outweighs the risk",
    "patient-preference": "Patient’s preference",
    "not-clinically-significant": "Not clinically significant",
    "inaccurate-data": "Data are inaccurate",
    "alternative-not-available": "Alternative not available",
}
MOST_PLANS = 5
_DATED = ("egfr", "potassium", "sbp")  # facts whose day is always shown
_ACTIONS = {"accept": "Accepted", "modify": "Accepted with another dose", "override": "Overridden"}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the page: name and role as shown, and the token that each form carries."""

    name: str
    role: str
    csrf: str


@dataclass(frozen=True, slots=True)
class BannerView:
    """Who it is: facts with the second pressure apart, allergies, and what is old or missing with what it prevents."""

    facts: tuple[BannerFact, ...]
    diastolic: BannerFact | None
    dated: frozenset[str]
    old: tuple[BannerFact, ...]
    missing: tuple[BannerFact, ...]


@dataclass(frozen=True, slots=True)
class GeneChip:
    """One gene with its state of knowing."""

    symbol: GeneSymbol
    gene: ExpressedPhenotype
    state: str


@dataclass(frozen=True, slots=True)
class GenesView:
    """Genes by how much they say: those that matter or differ one by one, normal and untested ones together.

    `wanted` are untested ones that a drug at hand is checked by, each with these drugs: they are never folded.
    """

    telling: tuple[GeneChip, ...]
    wanted: tuple[tuple[GeneChip, str], ...]
    normal: tuple[GeneChip, ...]
    untested: tuple[GeneChip, ...]


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One ranked plan; `key` is the digit that brings it into focus."""

    option: Option
    key: str
    href: str
    in_focus: bool


@dataclass(frozen=True, slots=True)
class PlansView:
    """The ranked plans on one axis; `scale` says what it counts, `ties` which ranks cannot be told apart."""

    rows: tuple[PlanRow, ...]
    yardstick: Option | None
    axis: tuple[float, float]
    scale: str
    ties: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SafetyView:
    """What is dangerous, what was not checked, and what else there is to know."""

    severe: tuple[Finding, ...]
    notes: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Grounds:
    """On what kind of evidence a plan rests: how many facts of each status, and which learned models took part.

    `moved_by` says of whom it was learned what moved the ranking; empty where nothing did.
    """

    verified: int
    secondary: int
    unverified: int
    assumed: int
    models: tuple[str, ...]
    moved_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A day of the follow-up that accepting the plan would order."""

    day: date
    after_days: int
    items: tuple[Monitoring, ...]


@dataclass(frozen=True, slots=True)
class TimelineView:
    """Follow-up: what is scheduled, else what accepting would schedule; and what was decided so far.

    `course` is that of the patient's accepted plan, `no_course` why it cannot be told; of what is scheduled it leaves
    what it does not tell itself; `closable` is everything that is still open.
    """

    decisions: tuple[tuple[DecisionRow, str, str], ...]
    scheduled: tuple[FollowUpRow, ...]
    closable: tuple[FollowUpRow, ...]
    planned: tuple[Planned, ...]
    undated: tuple[Monitoring, ...]
    today: date
    course: CourseView | None
    no_course: NotChecked | None


@dataclass(frozen=True, slots=True)
class AnswerView:
    """The whole page of one recommendation."""

    answer_id: str
    document: Recommendation
    banner: BannerView
    genes: GenesView
    plans: PlansView
    safety: SafetyView
    focus: Option | None
    dose: DoseView | None
    grounds: Grounds | None
    timeline: TimelineView
    sources: tuple[str, ...]
    evidence: Mapping[str, Evidence]
    notice: str


def answer_view(
    document: Recommendation,
    *,
    answer_id: str,
    rank: int | None = None,
    dose: DoseView | None = None,
    decisions: Sequence[DecisionRow] = (),
    scheduled: Sequence[FollowUpRow] = (),
    closable: Sequence[FollowUpRow] = (),
    today: date,
    course: CourseView | None = None,
    no_course: NotChecked | None = None,
    notice: str = "",
) -> AnswerView:
    """The page of a recommendation with one plan in focus.

    Parameters
    ----------
    scheduled
        Of this recommendation's decisions, without what `course` tells.
    closable
        Of this recommendation's decisions, what is still open.
    rank
        Of the plan in focus; the first one where there is none of this rank.
    """
    focus = focused(document, rank)
    return AnswerView(
        answer_id=answer_id,
        document=document,
        banner=_banner(document),
        genes=_genes(document),
        plans=_plans(document, focus),
        safety=SafetyView(
            severe=tuple(f for f in document.findings if f.severity in blocks.SEVERE),
            notes=tuple(f for f in document.findings if f.severity not in blocks.SEVERE),
        ),
        focus=focus,
        dose=dose,
        grounds=None if focus is None else _grounds(document, focus),
        timeline=_timeline(document, focus, decisions, scheduled, closable, today, course, no_course),
        sources=tuple(blocks.sources(document, focus)),
        evidence={
            **document.evidence,
            **(dose.evidence if dose else {}),
            **(course.report.evidence if course else {}),
        },
        notice=notice,
    )


def focused(document: Recommendation, rank: int | None) -> Option | None:
    """The plan of a rank, else the first; None where nothing is recommended."""
    chosen = next((option for option in document.options if option.rank == rank), None)
    return chosen or (document.options[0] if document.options else None)


def _banner(document: Recommendation) -> BannerView:
    facts = document.patient.facts
    joined = blocks.pressure_is_one_reading(document)
    return BannerView(
        facts=tuple(fact for fact in facts if fact.name != "age" and not (joined and fact.name == "dbp")),
        diastolic=next((fact for fact in facts if fact.name == "dbp"), None) if joined else None,
        dated=frozenset(_DATED),
        old=blocks.old_facts(document),
        missing=blocks.missing_facts(document),
    )


def _genes(document: Recommendation) -> GenesView:
    chips = [GeneChip(symbol, gene, state) for symbol, gene, state in blocks.genes(document)]
    wanted = blocks.wanted_genes(document, document.options[:MOST_PLANS])
    return GenesView(
        wanted=tuple((chip, ", ".join(wanted[chip.symbol])) for chip in chips if chip.symbol in wanted),
        telling=tuple(chip for chip in chips if chip.state not in ("normal", "untested")),
        normal=tuple(chip for chip in chips if chip.state == "normal"),
        untested=tuple(chip for chip in chips if chip.state == "untested" and chip.symbol not in wanted),
    )


def _plans(document: Recommendation, focus: Option | None) -> PlansView:
    options = document.options[:MOST_PLANS]
    shown = (*options, *((document.yardstick,) if document.yardstick else ()))
    estimates: list[Estimate] = [e for option in shown for e in (option.benefit, option.risk)]
    ties = (options[0].rank, *options[0].ties_with) if options and options[0].ties_with else ()
    return PlansView(
        rows=tuple(
            PlanRow(option, str(place), f"?{urlencode({'plan': option.rank})}", option is focus)
            for place, option in enumerate(options, start=1)
        ),
        yardstick=document.yardstick,
        axis=common_axis(estimates) if estimates else (-1.0, 1.0),
        scale=scale_words(shown[0].benefit.unit, shown[0].risk.unit) if shown else "",
        ties=tuple(sorted(ties)),
    )


def scale_words(benefit: str, harm: str) -> str:
    """What benefit and harm count, with what they share said once: "Per 1,000 patients: benefit = ..., harm = ...."."""
    one, _, per_one = benefit.partition(" per ")
    other, _, per_other = harm.partition(" per ")
    if per_one and per_one == per_other:
        return f"Per {per_one}: benefit = {one}, harm = {other}."
    return f"Benefit: {benefit}. Harm: {harm}."


def _grounds(document: Recommendation, focus: Option) -> Grounds:
    """Facts below a plan's reasons, its effects and its doses."""
    keys = [key for claims in (focus.reasons, focus.cautions, focus.monitoring) for c in claims for key in c.because]
    keys += [key for effect in focus.effects for key in effect.change.because]
    keys += [key for start in focus.plan.start for key in (*start.because, *start.regimen.dose.because)]
    keys += [*focus.benefit.because, *focus.risk.because, *focus.utility.because]
    below = [document.evidence[key] for key in blocks.reached(document.evidence, keys)]
    known = [entry.status for entry in below if entry.kind in ("knowledge", "model")]
    return Grounds(
        verified=known.count("verified"),
        secondary=known.count("secondary"),
        unverified=known.count("to verify"),
        assumed=sum(entry.kind == "assumption" for entry in below),
        models=tuple(document.versions.models.values()),
        moved_by=tuple(dict.fromkeys(o.moves.label for o in document.opinions if o.moves is not None)),
    )


def _timeline(
    document: Recommendation,
    focus: Option | None,
    decisions: Sequence[DecisionRow],
    scheduled: Sequence[FollowUpRow],
    closable: Sequence[FollowUpRow],
    today: date,
    course: CourseView | None,
    no_course: NotChecked | None,
) -> TimelineView:
    monitoring = focus.monitoring if focus else ()
    days = sorted({day for item in monitoring for day in item.days})
    return TimelineView(
        decisions=tuple((row, _ACTIONS[row.action], REASONS[row.reason] if row.reason else "") for row in decisions),
        scheduled=tuple(sorted(scheduled, key=lambda row: (row.due, row.what))),
        closable=tuple(sorted(closable, key=lambda row: (row.due, row.what))),
        planned=tuple(
            Planned(document.as_of + timedelta(days=day), day, tuple(item for item in monitoring if day in item.days))
            for day in days
        ),
        undated=tuple(item for item in monitoring if not item.days),
        today=today,
        course=course,
        no_course=no_course,
    )


def follow_up_state(row: FollowUpRow, today: date) -> str:
    """Where a scheduled item stands, in a word."""
    if row.status != "open":
        return row.status
    return "overdue" if row.due < today else "due" if row.due == today else "open"


def expected_words(row: FollowUpRow) -> str:
    """What is expected at a scheduled item; empty where nothing is."""
    if row.expected_low is None or row.expected_high is None:
        return ""
    return f"{number(row.expected_low)} to {number(row.expected_high)} {words.unit(row.unit)}".strip()


def briefly(rows: Sequence[FollowUpRow], today: date) -> tuple[tuple[date, str, str], ...]:
    """Scheduled items for paper, those of one day and state together: the day, the state, what each is with its result.

    Of "potassium: two weeks after the start" the part before the colon is told.
    """
    found: dict[tuple[date, str], list[str]] = {}
    for row in rows:
        expected = expected_words(row)
        parts = (row.what.partition(": ")[0], expected and f"expected {expected}", row.result)
        found.setdefault((row.due, follow_up_state(row, today)), []).append(": ".join(part for part in parts if part))
    return tuple((day, state, "; ".join(dict.fromkeys(held))) for (day, state), held in found.items())


def reason_choices() -> tuple[tuple[ReasonCode, str], ...]:
    """The coded reasons to override, at most six, in the order in which they are offered."""
    return tuple((code, REASONS[code]) for code in REASON_CODES)
