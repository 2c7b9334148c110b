"""What the report and the page both show of a recommendation: genes by state, what is old, sources, plan sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jinja2 import Environment
from markupsafe import Markup, escape

from posologist.core.evidence import Evidence
from posologist.core.genotype import ExpressedPhenotype
from posologist.core.recommendation import BannerFact, Finding, Option, Recommendation, Start
from posologist.core.values import Contributions, GeneSymbol, Series
from posologist.serve import words
from posologist.serve.charts import curve, interval, number, part_bar
from posologist.serve.doors import anchor, count
from posologist.serve.opinion_words import said_of

TABLE_ROWS = 13  # rows of a curve's table twin
GENE_ORDER = ("matters", "abnormal", "uncertain", "normal", "untested")
SEVERE = ("contraindicated", "serious")


def genes(document: Recommendation) -> list[tuple[GeneSymbol, ExpressedPhenotype, str]]:
    """Genes with their state of knowing; those that a finding rests on first, the untested last."""
    acting = reached(document.evidence, [key for f in document.findings for key in _because(f)])
    found = []
    for symbol, gene in document.profile.items():
        state = words.gene_state(gene)
        if state == "abnormal" and acting & {str(key) for key in gene.because}:
            state = "matters"
        found.append((symbol, gene, state))
    return sorted(found, key=lambda row: (GENE_ORDER.index(row[2]), row[0]))


def wanted_genes(document: Recommendation, options: Iterable[Option]) -> dict[GeneSymbol, tuple[str, ...]]:
    """Genes without a result that a check of a drug at hand needs (taken, or in one of these plans), with the drugs."""
    plans = [option.plan for option in options]
    at_hand = {
        *(str(current.drug) for current in document.current),
        *(str(start.drug) for plan in plans for start in plan.start),
        *(str(drug) for plan in plans for drug in plan.keep),
    }
    found: dict[GeneSymbol, tuple[str, ...]] = {}
    for symbol, gene in document.profile.items():
        open_points = [n for n in document.not_checked if re.search(rf"(?<![\w-]){symbol}(?![\w-])", n.would_need)]
        drugs = sorted(at_hand & {drug for point in open_points for drug in point.drugs})
        if drugs and words.gene_state(gene) == "untested":
            found[symbol] = tuple(drugs)
    return found


def pressure_is_one_reading(document: Recommendation) -> bool:
    """Whether both pressures are there, of one day and of one freshness, so that they can be shown as one."""
    pair = [fact for fact in document.patient.facts if fact.name in ("sbp", "dbp") and fact.value is not None]
    return len(pair) == 2 and pair[0].at == pair[1].at and pair[0].stale == pair[1].stale


def old_facts(document: Recommendation) -> tuple[BannerFact, ...]:
    """Facts that are old, one for each check that they hinder."""
    return tuple({fact.prevents: fact for fact in document.patient.facts if fact.stale}.values())


def missing_facts(document: Recommendation) -> tuple[BannerFact, ...]:
    """Facts that are missing where that hinders a check, one for each."""
    missing = (fact for fact in document.patient.facts if fact.value is None and fact.prevents)
    return tuple({fact.prevents: fact for fact in missing}.values())


def _because(finding: Finding) -> tuple[str, ...]:
    return () if finding.severity == "information" else finding.because


def reached(evidence: dict[str, Evidence], keys: Iterable[str]) -> set[str]:
    """Every key that these rest on, themselves included."""
    found: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(evidence[key].because)
    return found


def sources(document: Recommendation, option: Option | None) -> list[str]:
    """Sources that a plan's reasons name, once each, for the printed page."""
    if option is None:
        return []
    claims = [claim.because for claim in (*option.reasons, *option.cautions)]
    claims += [stop.because for stop in option.plan.stop] + [item.because for item in option.monitoring]
    entries = [document.evidence[key] for because in claims for key in because]
    titles = (e.source.partition(":")[2].strip() for e in entries if e.kind == "knowledge")
    return list(
        dict.fromkeys(short for title in titles if (short := title.partition("(")[0].partition(",")[0].strip()))
    )


def rows_of(series: Series) -> list[tuple[str, str, str, str]]:
    """Every so many points of a curve as text: time, value, low, high."""
    step = max(1, (len(series.x) - 1) // (TABLE_ROWS - 1))
    rows = []
    for i in range(0, len(series.x), step):
        low = number(series.low[i]) if series.low else ""
        high = number(series.high[i]) if series.high else ""
        rows.append((number(series.x[i]), number(series.y[i]), low, high))
    return rows


def plan_words(option: Option) -> Markup:
    """The plan's sentence with what it starts in bold."""
    text = str(escape(option.plan.text))
    for start in option.plan.start:
        text = re.sub(_start_words(start), r"<b>\1</b>", text, count=1, flags=re.IGNORECASE)
    return Markup(text)


def _start_words(start: Start) -> str:
    return rf"\b({re.escape(str(escape(start.drug)))}(?: [\d.]+ \w+)?)"


def fact_value(fact: BannerFact | None) -> str:
    """Value of a banner's fact; empty where it is missing."""
    return "" if fact is None or fact.value is None else number(fact.value.value)


def _curve(series: Series, title: str) -> Markup:
    return Markup(curve(series, title))


def _part(value: float, contributions: Contributions) -> Markup:
    return Markup(part_bar(value, max((abs(part.value) for part in contributions.parts), default=1.0)))


def share_words(made: Environment) -> Environment:
    """The filters and functions that the shared templates (`parts.html.j2`) and both pages use."""
    made.filters |= {
        "number": number, "count": count, "interval": interval, "anchor": anchor, "unit": words.unit,
        "quantity": words.quantity, "level": words.level, "lower_first": words.lower_first,
        "phenotype": words.phenotype, "gene": words.gene_words, "gene_short": words.gene_short, "plan": plan_words,
        "sentence": words.sentence, "by_rule": words.by_rule, "rule": words.rule_words,
        "said": said_of,
    }  # fmt: skip
    made.globals |= {"curve": _curve, "part": _part, "table": rows_of, "fact": fact_value, "severity": words.SEVERITY}
    return made
