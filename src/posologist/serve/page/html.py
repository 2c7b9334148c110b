"""Views to HTML: the templates of the page over those that it shares with the report, and the files they ask for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, Environment
from markupsafe import Markup

from posologist.core.values import Estimate, Series
from posologist.serve import blocks
from posologist.serve.charts import PAIR_WIDTH, Aim, axis_scale, curve, pair_bar
from posologist.serve.doors import Doors
from posologist.serve.page.views import AnswerView, Visitor, briefly, expected_words, follow_up_state, reason_choices
from posologist.serve.style import environment

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The content policy under which every page works: nothing inline, nothing from outside."""
_KINDS = {
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
    ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip


def answer_html(
    view: AnswerView, *, visitor: Visitor | None, once: str = "", measurable: Mapping[str, str] | None = None
) -> str:
    """The page of one recommendation.

    Parameters
    ----------
    once
        A word made for this showing, so that a form that is sent twice counts once.
    measurable
        What can be entered, by key: levels of drugs and observations.
    """
    return page_html(
        "answer.html.j2", visitor=visitor, notice=view.notice, v=view, doors=Doors(view.evidence), once=once,
        reasons=reason_choices(), measurable=(measurable or {}).items(),
    )  # fmt: skip


def page_html(template: str, *, visitor: Visitor | None, notice: str = "", here: str = "", **values: Any) -> str:
    """One page, escaped; a name that the template needs and that is not given is an error."""
    frame = {"visitor": visitor, "notice": notice, "here": here, "static": f"/static/{static_digest()}/"}
    return _environment().get_template(template).render(**frame, **values)


@lru_cache(maxsize=1)
def static_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of every file that a page asks for, by its path below the static folder."""
    own = _read(files(__package__) / "static", "")
    own["tokens.css"] = (files("posologist.serve") / "templates" / "tokens.css").read_bytes()
    return {name: (content, _KINDS["." + name.rpartition(".")[2]]) for name, content in sorted(own.items())}


@lru_cache(maxsize=1)
def static_digest() -> str:
    """Hash of all static files: a browser may keep them for good under it."""
    whole = hashlib.sha256()
    for name, (content, _) in static_files().items():
        whole.update(f"{name} {len(content)} ".encode() + content)
    return whole.hexdigest()[:16]


def _read(folder: Traversable, above: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in folder.iterdir():
        if item.is_dir():
            found |= _read(item, f"{above}{item.name}/")
        else:
            found[above + item.name] = item.read_bytes()
    return found


def _points(series: Series, other: Series | None, aim: Aim | None) -> str:
    """A curve for the script that draws it: the numbers of the document, as JSON."""
    drawn = {
        "x": series.x, "y": series.y, "low": series.low or None, "high": series.high or None,
        "other": None if other is None else other.y, "aim": None if aim is None else (aim.low, aim.high),
    }  # fmt: skip
    return json.dumps(drawn, separators=(",", ":"))


def _pair(benefit: Estimate, harm: Estimate, axis: tuple[float, float]) -> Markup:
    return Markup(pair_bar(benefit, harm, axis))


def _scale(axis: tuple[float, float]) -> Markup:
    return Markup(axis_scale(axis, PAIR_WIDTH))


def _curve_with(series: Series, title: str, other: Series | None, aim: Aim | None) -> Markup:
    return Markup(curve(series, title, other=other, aim=aim))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = blocks.share_words(environment("parts.html.j2"))
    folder = files(__package__) / "templates"
    own = {item.name: item.read_text("utf-8") for item in folder.iterdir() if item.name.endswith(".j2")}
    assert made.loader is not None
    made.loader = ChoiceLoader([DictLoader(own), made.loader])
    made.filters |= {"state": follow_up_state, "expected": expected_words, "briefly": briefly}
    made.globals |= {"pair": _pair, "scale": _scale, "curve_with": _curve_with, "points": _points}
    return made
