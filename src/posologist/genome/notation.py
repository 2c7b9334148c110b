"""Diplotypes as callers and laboratories spell them, in the gene's own names.

A text may leave several readings open (`*1/*46;*43/*45`, `*1xN/*4`, `(*1/*4)xN`, `*2 (*35)/*9`); then every reading
is an `Option`, all with the same share, and a phenotype is stated only where all of them give it. A text that is not
understood gives a finding and nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from posologist.core.values import Value
from posologist.genome.translate import Translation

MOST_OPTIONS = 64  # a text that leaves more readings open than this is not understood
_NO_CALL = {
    "", "-", "--", ".", "?", "?/?", "./.", "none", "none/none", "na", "n/a", "nan", "no call", "no_call", "nocall",
    "no-call", "not called", "no result", "unknown", "unknown/unknown", "undetermined", "not available",
    "not determined", "indeterminate", "indeterminate/indeterminate", "fail", "failed",
}  # fmt: skip
"""Words by which callers say that they made no call."""
_SIGNS = str.maketrans(
    dict.fromkeys("∗⁎﹡✱٭⋆★", "*")
    | dict.fromkeys("×✕✖", "x")
    | dict.fromkeys("‐‑‒–—−", "-")
    | dict.fromkeys("⁄∕|", "/")
    | dict.fromkeys("“”„‟", '"')
    | dict.fromkeys("‘’‚′", "'")
    | {"≧": "≥", "⩾": "≥"}
)
_OPEN, _CLOSE = "([{", ")]}"


class Option(Value):
    """One reading of a call, with its share among the readings that the text allows."""

    diplotype: str
    phenotype: str | None
    activity_score: float | None = None
    at_least: bool = False
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Named:
    """One way to read a pair: its name as written and, for open copy numbers, everything it may stand for."""

    name: str
    results: tuple[tuple[str, Translation], ...]


@dataclass(frozen=True, slots=True)
class Spelled:
    """A text as understood. Without options it was not understood, and `findings` says so."""

    names: tuple[str, ...]
    options: tuple[Option, ...]
    findings: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """The call itself, normalised; the first where its text lists several."""
        return self.names[0] if self.names else None

    @property
    def translation(self) -> Translation:
        """What all options share; the score is a lower bound where only the number of copies is open."""
        return shared(self.options)


def said_no_call(text: str) -> bool:
    """Whether the text is a caller's word for "no call"."""
    return text.strip().strip("\"'").strip().lower() in _NO_CALL


def clean(text: str, symbol: str) -> str:
    """The text with plain signs, without the gene's name, quotes and brackets around the whole."""
    plain = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)
    plain = "".join(sign for sign in plain if unicodedata.category(sign) not in ("Cf", "Cc") or sign in "\t ")
    plain = plain.replace("\\*", "*").replace(">=", "≥").replace("=>", "≥").strip().strip("\"'").strip()
    plain = re.sub(rf"\b{re.escape(symbol)}[\s:_-]*(?=[*(\[])", "", plain, flags=re.IGNORECASE)
    plain = re.sub(rf"^{re.escape(symbol)}[\s:]+", "", plain, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", plain).strip()


def unwrapped(text: str) -> str | None:
    """The text inside one pair of brackets that holds all of it; None where there is none."""
    if len(text) < 2 or text[0] not in _OPEN:
        return None
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in _OPEN) - (sign in _CLOSE)
        if depth == 0:
            return text[1:-1].strip() if place == len(text) - 1 else None
    return None


def split_outside(text: str, pattern: str) -> list[str]:
    """Parts between matches of the pattern that stand outside all brackets."""
    masked, depth = [], 0
    for sign in text:
        depth -= sign in _CLOSE
        masked.append(sign if depth <= 0 else "\0")
        depth += sign in _OPEN
    parts, start = [], 0
    for found in re.finditer(pattern, "".join(masked), flags=re.IGNORECASE):
        parts.append(text[start : found.start()].strip())
        start = found.end()
    return [*parts, text[start:].strip()]


def alternatives(text: str) -> list[str]:
    """The readings that a caller lists itself: `a/b;c/d`, `a/b or c/d`, `a/b,c/d`."""
    return split_outside(text, r"\s*;\s*|\s+or\s+|\s*,\s*(?=[*(\[][^,]*/)")


def star_order(name: str) -> tuple[int, str]:
    """Sorting key: star number, else the position in a variant's name after all stars, then the name itself."""
    found = re.match(r"[(\[]?\*(\d{1,9})", name)
    if found:
        return (int(found[1]), name)
    place = re.match(r"\[?[cmg]\.-?(\d{1,9})", name)
    return (1_000_000_000 + int(place[1]) if place else 2_000_000_000, name)


def shared(options: Sequence[Option]) -> Translation:
    """What every option says: phenotype where all agree, score where there is one or only its upper end is open."""
    phenotypes = {option.phenotype for option in options}
    if len(phenotypes) != 1 or None in phenotypes:
        return Translation(phenotype=None)
    scores = {option.activity_score for option in options}
    lower_bound = any(option.at_least for option in options)
    if len(scores) == 1 or (lower_bound and None not in scores):
        lowest = min((score for score in scores if score is not None), default=None)
        return Translation(phenotype=phenotypes.pop(), activity_score=lowest, at_least=lower_bound)
    return Translation(phenotype=phenotypes.pop())


def spelled(text: str, pairs: Iterable[Named], notes: Iterable[str]) -> Spelled:
    """One answer from every way to read a text."""
    found = list(pairs)
    results = dict(result for pair in found for result in pair.results)
    if not results or len(results) > MOST_OPTIONS:
        why = "is not a pair of alleles" if not results else "leaves too many readings open"
        return Spelled((), (), (f"'{text}' {why}; no phenotype is given",))
    share = 1.0 / len(results)
    options = tuple(
        Option(
            diplotype=name,
            phenotype=result.phenotype,
            activity_score=result.activity_score,
            at_least=result.at_least,
            probability=share,
        )
        for name, result in results.items()
    )
    return Spelled(
        tuple(dict.fromkeys(pair.name for pair in found)), options, (*dict.fromkeys(notes), *_open(text, options))
    )


def _open(text: str, options: Sequence[Option]) -> tuple[str, ...]:
    """What several options leave open, in words."""
    if len(options) < 2:
        return ()
    result = shared(options)
    listed = ", ".join(f"{o.diplotype} {_outcome(o)}" for o in options[:6])
    more = f" and {len(options) - 6} more" if len(options) > 6 else ""
    if result.phenotype is None:
        phenotypes = ", ".join(sorted({option.phenotype or "open" for option in options}))
        return (f"'{text}' allows several phenotypes: {phenotypes}; each reading has the same share: {listed}{more}",)
    scores = {option.activity_score for option in options}
    if result.at_least:
        return (
            f"the number of copies in '{text}' is open: activity score at least {result.activity_score:g} "
            f"({listed}{more})",
        )
    if len(scores) > 1:
        return (f"'{text}' allows several activity scores; none is used ({listed}{more})",)
    return (f"'{text}' has several readings with the same result: {listed}{more}",)


def _outcome(option: Option) -> str:
    score = "" if option.activity_score is None else f" {'≥' if option.at_least else ''}{option.activity_score:g}"
    return f"{option.phenotype or 'open'}{score}"
