"""What pages share: the style sheet with its fonts inside, the policy under which only it works, the templates."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined

_FONT_WEIGHTS = (400, 600)  # the only ones in templates/fonts


@lru_cache(maxsize=4)
def stylesheet(name: str) -> str:
    """Fonts, colours and one style sheet of the templates: the page looks the same everywhere and asks no host."""
    folder = files("posologist.serve") / "templates"
    faces = "".join(
        f"@font-face{{font-family:Inter;font-weight:{weight};src:url(data:font/woff2;base64,"
        f"{base64.b64encode((folder / 'fonts' / f'inter-{weight}.woff2').read_bytes()).decode()})}}\n"
        for weight in _FONT_WEIGHTS
    )
    return faces + (folder / "tokens.css").read_text("utf-8") + (folder / name).read_text("utf-8")


def content_policy(style: str) -> str:
    """Policy under which the page works: nothing from outside, no script, this one style sheet with its fonts."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; font-src data:; base-uri 'none'; form-action 'none'"


def css_string(text: str) -> str:
    """Text inside quotes of a style sheet; all but plain letters, digits and blanks is escaped by its code point."""
    return "".join(c if c.isascii() and (c.isalnum() or c == " ") else f"\\{ord(c):06x} " for c in text)


def environment(*names: str) -> Environment:
    """Templates of the package that escape everything and refuse a name that is not given.

    Parameters
    ----------
    names
        Files in the folder of templates, e.g. "report.html.j2".
    """
    folder = files("posologist.serve") / "templates"
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=DictLoader({name: (folder / name).read_text("utf-8") for name in names}),
    )
