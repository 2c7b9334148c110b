"""Finds numbers without a reason: in schemas, in documents, in their prose, and in text that people see.

Each function returns what is wrong, one line each; nothing here uses the program's own checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from posologist.core.evidence import Evidence
from posologist.core.values import Estimate, Quantity, Series, Value
from posologist.serve.charts import number

LEAVES = {"patient", "knowledge", "setting", "model"}
KINDS = {"Estimate", "Quantity", "Series", "Contributions", "Contribution"}
TECHNICAL = {
    "Settings": "every number in it is a setting, shown as such",
    "ProductCount": "products that make up the dose; the dose itself is a Quantity beside it",
    "QualityFinding": "how often the same remark on the data was made",
    "TwinRecord": "the log as it is stored to compute the same again; never shown",
    "TwinEvent": "an entry of that log",
    "Target": "bounds that the user or a guideline gave, with their evidence keys in `reasons`",
}
NAMES = {
    "id", "name", "sample", "build", "model", "drug", "drugs", "gene", "genes", "diplotype", "allele", "statement",
    "unit", "x_unit", "measure", "feature", "rule", "kind", "indication", "schema_", "evidence_state", "form", "route",
    "level", "body", "guideline", "patient", "missing_positions", "lowest_function", "genetic", "clinical",
    "phenotype", "sex_from_genome", "posologist", "knowledge", "definitions", "models", "keep", "because", "orders",
}  # fmt: skip
NO_BECAUSE = {
    "NotChecked": "says what is not known; there is nothing that it could rest on",
    "QualityFinding": "quotes the record, with its place in `source`",
    "Source": "a place in the input",
    "Settings": "settings",
    "BindingConstraint": "names a regimen of the same document",
}
_TOKEN = re.compile(r"(?<![A-Za-z0-9*_.])[−-]?\d+(?:[.,]\d+)*(?![A-Za-z0-9])")
_NAME = re.compile(r"\*\d+(?:x\d+)?|\b[A-Za-z]+-?[A-Za-z]*\d[A-Za-z0-9]*\b|−\d+ [ACGT]{2}\b|-\d+ [ACGT]{2}\b")


def tokens(text: str) -> set[str]:
    """Numbers in a text, without those that belong to a name (CYP2D6, *4, -1639 AG)."""
    return {_plain(token) for token in _TOKEN.findall(_NAME.sub(" ", text))}


def _plain(token: str) -> str:
    digits = token.replace("−", "-").lstrip("-").replace(",", "")
    return f"{float(digits):g}" if digits.count(".") <= 1 else digits


def _known(text: str) -> set[str]:
    """Numbers of a text as written, and as they look once rounded for people."""
    found = {_plain(token) for token in re.findall(r"\d+(?:[.,]\d+)*", text)}
    return found | {_plain(number(float(t))) for t in found if t.count(".") <= 1}


def schema_faults(document: type[Value]) -> list[str]:
    """Numeric fields that are neither of the four kinds, nor declared, nor in a technical type."""
    schema = document.model_json_schema()
    parts = {document.__name__: schema, **schema.get("$defs", {})}
    return [
        f"{name}.{field} is a bare number"
        for name, part in parts.items()
        if name not in KINDS and name not in TECHNICAL
        for field, shape in part.get("properties", {}).items()
        if any("number" not in leaf and "const" not in leaf for leaf in _numeric(shape, shape))
    ]


def _numeric(shape: Any, above: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(shape, dict):
        if shape.get("type") in ("number", "integer"):
            yield shape if "number" in shape else {**shape, **{k: v for k, v in above.items() if k == "number"}}
        for value in shape.values():
            yield from _numeric(value, above)
    elif isinstance(shape, list):
        for value in shape:
            yield from _numeric(value, above)


def evidence_faults(document: Value) -> list[str]:
    """Empty or dangling `because`, evidence without leaves, evidence that rests on itself."""
    evidence: dict[str, Evidence] = document.evidence  # type: ignore[attr-defined]
    found = [fault for place, part in _parts(document, "") for fault in _because_faults(place, part, evidence)]
    sound: set[str] = set()
    for key in evidence:
        found.extend(_chain(evidence, key, (), sound))
    return found


def _because_faults(place: str, part: Value, evidence: dict[str, Evidence]) -> Iterator[str]:
    if "because" in type(part).model_fields and not isinstance(part, Evidence):
        keys = part.because  # type: ignore[attr-defined]
        if not keys:
            yield f"{place}: because is empty"
        for key in keys:
            if key not in evidence:
                yield f"{place}: {key} is not in the evidence"


def _chain(evidence: dict[str, Evidence], key: str, above: tuple[str, ...], sound: set[str]) -> Iterator[str]:
    if key in above:
        yield f"{key} rests on itself"
        return
    if key in sound:
        return
    entry = evidence.get(key)
    if entry is None:
        yield f"{above[-1]} rests on {key}, which is not in the evidence"
        return
    if not entry.because and (entry.kind not in LEAVES or not entry.source):
        yield f"{key} is no leaf and rests on nothing"
    for below in entry.because:
        yield from _chain(evidence, below, (*above, key), sound)
    sound.add(key)


def _parts(value: Any, place: str) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Value):
        yield place or "document", value
        for name in type(value).model_fields:
            if name != "evidence":
                yield from _parts(getattr(value, name), f"{place}.{name}".lstrip("."))
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _parts(item, f"{place}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(item, f"{place}.{key}")


def prose_faults(document: Value) -> list[str]:
    """Digits in prose that no evidence below it, and no number beside it, contains."""
    evidence: dict[str, Evidence] = document.evidence  # type: ignore[attr-defined]
    found = []
    for place, part in _parts(document, ""):
        if type(part).__name__ in NO_BECAUSE or isinstance(part, Evidence):
            continue
        prose = {n: t for n in type(part).model_fields if n not in NAMES for t in _texts(getattr(part, n))}
        wanted = {(name, token) for name, text in prose.items() for token in tokens(text)}
        if wanted:
            known = _reached(part, evidence)
            found += [f"{place}.{name}: {token} has no source" for name, token in sorted(wanted) if token not in known]
    return found


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, tuple) else []


def _reached(part: Value, evidence: dict[str, Evidence]) -> set[str]:
    """Numbers in the evidence below a part, and in the quantities inside it."""
    keys: list[str] = []
    known: set[str] = set()
    for _, inner in _parts(part, ""):
        keys.extend(getattr(inner, "because", ()) or ())
        if isinstance(inner, Quantity | Estimate):
            known |= _known(repr(inner.value))
        if isinstance(inner, Estimate):
            known |= _known(f"{inner.low!r} {inner.high!r}")
    seen: set[str] = set()
    while keys:
        key = keys.pop()
        if key not in seen:
            seen.add(key)
            entry = evidence[key]
            known |= _known(f"{entry.text} {entry.source}")
            keys.extend(entry.because)
    return known


def numbers_of(document: Value) -> set[str]:
    """Every number that a page of this document may print."""
    known: set[str] = set()
    for _, part in _parts(document, ""):
        for name in type(part).model_fields:
            known |= _printed(name, getattr(part, name), part)
    for key, entry in document.evidence.items():  # type: ignore[attr-defined]
        known |= _known(f"{key} {entry.text} {entry.source} {entry.version}")
    return known


def _printed(name: str, value: Any, part: Value) -> set[str]:
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int | float):
        shown = {_plain(number(value))}
        percent = name in ("level", "value") and isinstance(part, Estimate | Series)
        percent |= isinstance(part, Estimate | Quantity) and part.unit.startswith("probability")
        if percent or name in ("probability", "frequency"):
            shown.add(_plain(number(100 * value)))
        return shown
    if isinstance(value, tuple):
        return {token for item in value for token in _printed(name, item, part)}
    if isinstance(value, dict):
        return {token for k, item in value.items() for token in (*_known(str(k)), *_printed(name, item, part))}
    if isinstance(value, Value):
        return set()
    return _known(str(value))


def text_faults(text: str, document: Value) -> list[str]:
    """Numbers in a text shown to people that the document does not hold."""
    known = numbers_of(document)
    return [f"{token} is not in the document" for token in sorted(tokens(text)) if token not in known]


class _Reader(HTMLParser):
    """Text of a page without style, without scales of plots and without counts of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self._skipped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        css = (dict(attrs).get("class") or "").split()
        hidden = self._skipped or tag == "style" or "tick" in css or "k" in css
        if hidden and tag not in ("meta", "line", "circle", "rect", "path", "br"):
            self._skipped.append(tag)
        self.text.extend(str(value) for name, value in attrs if name in ("title", "aria-label") and value)

    def handle_endtag(self, tag: str) -> None:
        if self._skipped and self._skipped[-1] == tag:
            self._skipped.pop()

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.text.append(data)


def page_text(html: str) -> str:
    """What a person reads on a page."""
    reader = _Reader()
    reader.feed(html)
    return " | ".join(reader.text)
