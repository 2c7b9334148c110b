"""Doors: links from each claim on the page to its evidence, and from the evidence back to each claim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from posologist.core.evidence import Evidence
from posologist.serve.charts import number

_WORDS = {
    "patient": "record",
    "derived": "computed",
    "setting": "setting",
    "model": "model",
    "assumption": "assumption",
}
_SHOWN = 3  # links beside a claim before "+ n"


def anchor(key: str) -> str:
    """Id of an evidence entry on the page."""
    return "e-" + key.replace(":", "-")


def count(things: int) -> Markup:
    """How many of something the page lists; marked, so that it cannot be taken for a measured number."""
    return Markup('<span class="k">{}</span>').format(number(things))


def short_source(entry: Evidence) -> str:
    """What a link to an entry says: "record", "computed", or the short name of the source."""
    if entry.kind != "knowledge":
        return _WORDS[entry.kind]
    name = entry.source.partition(":")[0].strip()
    if name.startswith(("drug file", "indication")):
        return name
    return name.replace("-", " ") or "source"


class Doors:
    """Makes the links of one page and remembers them, so that each evidence entry can lead back."""

    def __init__(self, evidence: Mapping[str, Evidence]) -> None:
        self._evidence = evidence
        self._claims: dict[str, list[str]] = defaultdict(list)
        self._above: dict[str, list[str]] = defaultdict(list)
        self._made = 0
        for key, entry in evidence.items():
            for below in dict.fromkeys(entry.because):
                self._above[below].append(key)

    def sources(self, keys: Sequence[str]) -> Markup:
        """Links to the evidence of a claim: the first few names, each once, the rest folded."""
        named = {key: short_source(self._evidence[key]) for key in dict.fromkeys(keys)}
        firsts = {name: key for key, name in reversed(named.items())}
        shown = [key for key, name in named.items() if firsts[name] == key][:_SHOWN]
        links = Markup(" ").join(self._link(key, named[key]) for key in shown)
        rest = [(key, name) for key, name in named.items() if key not in shown]
        return Markup('<span class="src">{}{}</span>').format(links, self._folded(rest))

    def why(self, keys: Sequence[str]) -> Markup:
        """One short link for a claim in a tight place; further reasons are folded."""
        distinct = list(dict.fromkeys(keys))
        first = self._link(distinct[0], "why")
        rest = [(key, short_source(self._evidence[key])) for key in distinct[1:]]
        return Markup('<span class="src">{}{}</span>').format(first, self._folded(rest))

    def _folded(self, rest: Sequence[tuple[str, str]]) -> Markup:
        if not rest:
            return Markup("")
        links = Markup(" ").join(self._link(key, name) for key, name in rest)
        return Markup(' <details class="more"><summary>+{}</summary> {}</details>').format(count(len(rest)), links)

    def number(self, text: str, keys: Sequence[str]) -> Markup:
        """A number as the link to its first reason."""
        return self._link(keys[0], text, css="n")

    def claims(self, key: str) -> list[str]:
        """Ids of the links on the page that lead to an evidence entry."""
        return self._claims[key]

    def above(self, key: str) -> list[str]:
        """Evidence that rests on this entry."""
        return self._above[key]

    def _link(self, key: str, text: str, css: str = "") -> Markup:
        self._made += 1
        place = f"r{self._made}"
        self._claims[key].append(place)
        what = Markup(' class="{}"').format(css) if css else Markup("")
        title = self._evidence[key].text
        return Markup('<a id="{}"{} href="#{}" title="{}">{}</a>').format(place, what, anchor(key), title, text)
