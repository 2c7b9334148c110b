"""A recommendation as one self-contained HTML file that a clinician would file."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment
from markupsafe import Markup

from posologist.core.recommendation import BannerFact, Recommendation
from posologist.core.values import Estimate
from posologist.serve import blocks
from posologist.serve.charts import axis_scale, common_axis, interval_bar
from posologist.serve.doors import Doors
from posologist.serve.style import content_policy, environment, stylesheet


def render_html(document: Recommendation) -> str:
    """HTML page of a recommendation: no script, no outside host, prints on A4."""
    changes = [option.effects[0].change for option in document.options if option.effects]
    lead = document.options[0] if document.options else None
    style = stylesheet("style.css")
    genes = blocks.genes(document)
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
            pressure=blocks.pressure_is_one_reading(document),
            renew=_renew(document),
            genes=genes,
            untested=[(symbol, gene) for symbol, gene, state in genes if state == "untested"],
            safety=[f for f in document.findings if f.severity in blocks.SEVERE],
            notes=[f for f in document.findings if f.severity not in blocks.SEVERE],
            lead=lead,
            sources=blocks.sources(document, lead),
        )
    )


def _renew(document: Recommendation) -> dict[str, tuple[BannerFact, ...]]:
    """Facts that are old, and facts that are missing, where that hinders a check; empty when there are none."""
    old, missing = blocks.old_facts(document), blocks.missing_facts(document)
    return {"old": old, "missing": missing} if old or missing else {}


def _bar(estimate: Estimate, axis: tuple[float, float]) -> Markup:
    return Markup(interval_bar(estimate, axis))


def _scale(axis: tuple[float, float]) -> Markup:
    return Markup(axis_scale(axis))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = blocks.share_words(environment("report.html.j2", "parts.html.j2"))
    made.globals |= {"bar": _bar, "scale": _scale}
    return made
