"""A recommendation as one self-contained HTML file that a clinician would file."""

from __future__ import annotations

import re
from functools import lru_cache

from jinja2 import Environment
from markupsafe import Markup, escape

from posologist.core.evidence import Evidence
from posologist.core.genotype import ExpressedPhenotype
from posologist.core.recommendation import BannerFact, Finding, Option, Recommendation
from posologist.core.values import Contributions, Estimate, GeneSymbol, Series
from posologist.serve import words
from posologist.serve.charts import axis_scale, common_axis, curve, interval, interval_bar, number, part_bar
from posologist.serve.doors import Doors, anchor, count
from posologist.serve.style import content_policy, environment, stylesheet

_TABLE_ROWS = 13  # rows of a curve's table twin
_GENE_ORDER = ("matters", "abnormal", "uncertain", "normal", "untested")


def render_html(document: Recommendation) -> str:
    """HTML page of a recommendation: no script, no outside host, prints on A4."""
    changes = [option.effects[0].change for option in document.options if option.effects]
    lead = document.options[0] if document.options else None
    style = stylesheet("style.css")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            r=document,
            doors=Doors(document.evidence),
            style=Markup(style),
            policy=content_policy(style),
            axis=common_axis(changes) if changes else (-1.0, 1.0),
            facts={fact.name: fact for fact in document.patient.facts},
            pressure=_pressure_is_one_reading(document),
            renew=_renew(document),
            genes=_genes(document),
            untested=[(s, g) for s, g in document.profile.items() if words.gene_state(g) == "untested"],
            safety=[f for f in document.findings if f.severity in ("contraindicated", "serious")],
            notes=[f for f in document.findings if f.severity not in ("contraindicated", "serious")],
            lead=lead,
            sources=_sources(document, lead),
        )
    )


def _genes(document: Recommendation) -> list[tuple[GeneSymbol, ExpressedPhenotype, str]]:
    """Genes with their state of knowing; those that a finding rests on first, the untested last."""
    acting = _below(document.evidence, [key for f in document.findings for key in _because(f)])
    found = []
    for symbol, gene in document.profile.items():
        state = words.gene_state(gene)
        if state == "abnormal" and acting & {str(key) for key in gene.because}:
            state = "matters"
        found.append((symbol, gene, state))
    return sorted(found, key=lambda row: (_GENE_ORDER.index(row[2]), row[0]))


def _pressure_is_one_reading(document: Recommendation) -> bool:
    """Whether both pressures are there, of one day and of one freshness, so that they can be shown as one."""
    pair = [fact for fact in document.patient.facts if fact.name in ("sbp", "dbp") and fact.value is not None]
    return len(pair) == 2 and pair[0].at == pair[1].at and pair[0].stale == pair[1].stale


def _renew(document: Recommendation) -> dict[str, list[BannerFact]]:
    """Facts that are old, and facts that are missing, where that hinders a check; empty when there are none."""
    old = {fact.prevents: fact for fact in document.patient.facts if fact.stale}
    missing = {fact.prevents: fact for fact in document.patient.facts if fact.value is None and fact.prevents}
    return {"old": list(old.values()), "missing": list(missing.values())} if old or missing else {}


def _because(finding: Finding) -> tuple[str, ...]:
    return () if finding.severity == "information" else finding.because


def _below(evidence: dict[str, Evidence], keys: list[str]) -> set[str]:
    """Every key that these rest on."""
    found: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(evidence[key].because)
    return found


def _sources(document: Recommendation, lead: Option | None) -> list[str]:
    """Sources that the leading plan's reasons name, once each, for the printed page."""
    if lead is None:
        return []
    claims = [claim.because for claim in (*lead.reasons, *lead.cautions)]
    claims += [stop.because for stop in lead.plan.stop] + [item.because for item in lead.monitoring]
    entries = [document.evidence[key] for because in claims for key in because]
    titles = (e.source.partition(":")[2].strip() for e in entries if e.kind == "knowledge")
    return list(
        dict.fromkeys(short for title in titles if (short := title.partition("(")[0].partition(",")[0].strip()))
    )


def _table(series: Series) -> list[tuple[str, str, str, str]]:
    """Every so many points of a curve as text: time, value, low, high."""
    step = max(1, (len(series.x) - 1) // (_TABLE_ROWS - 1))
    rows = []
    for i in range(0, len(series.x), step):
        low = number(series.low[i]) if series.low else ""
        high = number(series.high[i]) if series.high else ""
        rows.append((number(series.x[i]), number(series.y[i]), low, high))
    return rows


def _bar(estimate: Estimate, axis: tuple[float, float]) -> Markup:
    return Markup(interval_bar(estimate, axis))


def _scale(axis: tuple[float, float]) -> Markup:
    return Markup(axis_scale(axis))


def _curve(series: Series, title: str) -> Markup:
    return Markup(curve(series, title))


def _part(value: float, contributions: Contributions) -> Markup:
    return Markup(part_bar(value, max((abs(part.value) for part in contributions.parts), default=1.0)))


def _fact(fact: BannerFact | None) -> str:
    """Value of a banner's fact; empty where it is missing."""
    return "" if fact is None or fact.value is None else number(fact.value.value)


def _plan(option: Option) -> Markup:
    """The plan's sentence with what it starts in bold."""
    text = str(escape(option.plan.text))
    for start in option.plan.start:
        name = re.escape(str(escape(start.drug)))
        text = re.sub(rf"\b({name}(?: [\d.]+ \w+)?)", r"<b>\1</b>", text, count=1, flags=re.IGNORECASE)
    return Markup(text)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = environment("report.html.j2", "parts.html.j2")
    made.filters |= {
        "number": number,
        "count": count,
        "interval": interval,
        "anchor": anchor,
        "unit": words.unit,
        "quantity": words.quantity,
        "level": words.level,
        "lower_first": words.lower_first,
        "phenotype": words.phenotype,
        "gene": words.gene_words,
        "gene_short": words.gene_short,
        "plan": _plan,
        "sentence": words.sentence,
        "by_rule": words.by_rule,
        "rule": words.rule_words,
    }
    made.globals |= {
        "bar": _bar,
        "scale": _scale,
        "curve": _curve,
        "part": _part,
        "table": _table,
        "fact": _fact,
    }
    made.globals |= {"severity": words.SEVERITY}
    return made
