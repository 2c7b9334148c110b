"""The recommendation as one self-contained HTML file that a clinician would file."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from posologist.core.recommendation import Option, Recommendation
from posologist.core.values import Estimate, Series
from posologist.serve.charts import common_axis, curve, interval, interval_bar, number

_TABLE_ROWS = 13  # rows of a curve's table twin
_WORDS = {"contraindicated": "Contraindicated", "serious": "Serious", "monitor": "Monitor", "information": "Note"}


def render_html(document: Recommendation) -> str:
    """HTML page of a recommendation: no script, no outside host, prints on A4."""
    main = [o.effects[0].change for o in document.options if o.effects]
    axis = common_axis(main) if main else (-1.0, 1.0)
    return (
        _environment()
        .get_template("report")
        .render(
            r=document,
            axis=axis,
            words=_WORDS,
            safety=[f for f in document.findings if f.severity in ("contraindicated", "serious")],
            notes=[f for f in document.findings if f.severity not in ("contraindicated", "serious")],
            lead=document.options[0] if document.options else None,
        )
    )


def _anchor(key: str) -> str:
    return "e-" + key.replace(":", "-")


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


def _curve(series: Series, title: str) -> Markup:
    return Markup(curve(series, title))


def _ties(option: Option) -> str:
    return "tie" if option.ties_with else ""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=None
    )
    folder = files("posologist.serve") / "templates"
    sources = {
        "report": (folder / "report.html.j2").read_text("utf-8"),
        "style": (folder / "style.css").read_text("utf-8"),
    }
    environment.loader = _loader(sources)
    environment.filters |= {"number": number, "interval": interval, "anchor": _anchor, "ties": _ties}
    environment.globals |= {"bar": _bar, "curve": _curve, "table": _table, "style": Markup(sources["style"])}
    return environment


def _loader(sources: dict[str, str]):  # type: ignore[no-untyped-def]
    from jinja2 import DictLoader

    return DictLoader(sources)
