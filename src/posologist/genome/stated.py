"""Phenotypes and activity scores as laboratories state them."""

from __future__ import annotations

import re

from posologist.core.errors import InputError
from posologist.genome.translate import Translation, from_score
from posologist.knowledge.genes import Gene

_ABBREVIATIONS = {
    "um": "ultrarapid",
    "urm": "ultrarapid",
    "rm": "rapid",
    "nm": "normal",
    "em": "normal",
    "im": "intermediate",
    "pm": "poor",
    "lim": "likely intermediate",
    "lpm": "likely poor",
    "nf": "normal",
    "df": "decreased",
    "pf": "poor",
}
_SAME_WORD = {"extensive": "normal", "slow": "poor", "possible": "likely", "ultra": "ultrarapid"}
_NOUNS = re.compile(
    r"\b(metaboli[sz]ers?|metabolism|functions?|transporters?|acetylators?|activity|phenotype|status|predicted)\b"
)
_HIGHEST = 20.0


def stated_phenotypes(text: str, gene: Gene, where: str) -> tuple[str, ...]:
    """The gene's phenotypes that a text names: one, or several where it states a range.

    Raises
    ------
    InputError
        If the text names none of them.
    """
    whole = _phenotype(text, gene)
    if whole is not None:
        return (whole,)
    ends = [_phenotype(part, gene) for part in re.split(r"\s+(?:to|or)\s+|\s*/\s*|\s*[-–]\s*", text.strip())]
    if len(ends) > 1 and all(ends):
        return _between([str(end) for end in ends], gene) if not re.search(r"\bor\b|/", text) else _several(ends)
    raise InputError(
        f"'{text.strip()}' is not a phenotype of {gene.symbol}",
        where=where,
        hint=f"use one of {', '.join(gene.phenotypes)}",
    )


def _several(found: list[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(each) for each in found))


def _between(ends: list[str], gene: Gene) -> tuple[str, ...]:
    """`Poor to Normal` with what lies between, where the gene's phenotypes have an order."""
    ladder = list(dict.fromkeys(rule.phenotype for rule in gene.score_rules))
    if not set(ends) <= set(ladder):
        return _several(list(ends))
    places = sorted(ladder.index(end) for end in ends)
    return tuple(ladder[places[0] : places[-1] + 1])


def _phenotype(text: str, gene: Gene) -> str | None:
    stems = {_stem(phenotype, gene): phenotype for phenotype in gene.phenotypes}
    exact = {phenotype.lower(): phenotype for phenotype in gene.phenotypes}
    given = re.sub(r"\s+", " ", text.strip().strip("\"'").lower())
    return exact.get(given) or stems.get(_stem(given, gene)) or stems.get(_stem(re.sub(r"\([^()]*\)", "", given), gene))


def _stem(text: str, gene: Gene) -> str:
    """The words that tell phenotypes apart: "CYP2D6 Poor Metaboliser (PM)" is "poor"."""
    plain = text.lower().replace(gene.symbol.lower(), " ").replace("ultra-rapid", "ultrarapid")
    plain = plain.replace("ultra rapid", "ultrarapid")
    kept = _NOUNS.sub(" ", plain)
    words = [_ABBREVIATIONS.get(word, _SAME_WORD.get(word, word)) for word in re.findall(r"[^\s:;,.()\[\]]+", kept)]
    return " ".join(dict.fromkeys(" ".join(words).split()))


def stated_scores(text: str, gene: Gene, where: str) -> tuple[Translation, ...]:
    """What a stated activity score makes: one result, or several where a range crosses phenotypes.

    `≥3`, `>=3`, `3+` and `>2.25` are lower bounds; `1-1.25`, `1 to 2` and `1 or 2` are ranges.

    Raises
    ------
    InputError
        If the text is not a number from 0 to 20.
    """
    plain = text.replace("≥", ">=").replace("–", "-").strip().strip("\"'")
    plain = re.sub(r"(?<=\d),(?=\d)", ".", plain)
    parts = [part for part in re.split(r"\s*(?:\bto\b|\bor\b|-|/)\s*", plain) if part]
    numbers = [re.fullmatch(r"(>=|>)?\s*(\d{1,3}(?:\.\d{1,6})?)\s*(\+)?", part) for part in parts]
    found = [number for number in numbers if number]
    if plain.startswith("-") or not 1 <= len(found) <= 2 or len(found) < len(parts):
        raise _no_score(text, gene, where)
    values = sorted(float(number[2]) for number in found)
    if values[-1] > _HIGHEST:
        raise _no_score(text, gene, where)
    if len(found) == 2:
        return _range(values[0], values[1], gene)
    above = _step(gene) if found[0][1] == ">" else 0.0
    return (from_score(gene, values[0] + above, at_least=bool(found[0][1] or found[0][3])),)


def _step(gene: Gene) -> float:
    """The least by which two scores differ: the smallest activity that an allele has."""
    return min((f.activity for f in gene.functions.values() if f.activity), default=0.0)


def _no_score(text: str, gene: Gene, where: str) -> InputError:
    return InputError(
        f"activity score '{text}' of {gene.symbol} is not a number from 0 to 20",
        where=where,
        hint="write it as 0.25, >=3 or 1-2",
    )


def _range(low: float, high: float, gene: Gene) -> tuple[Translation, ...]:
    """One result for each phenotype between two scores; a score only where it is one of the ends."""
    limits = [rule.below for rule in gene.score_rules if rule.below is not None and low < rule.below < high]
    found: dict[str | None, Translation] = {}
    for score in (low, high, *limits):
        result = from_score(gene, score)
        kept = result if low == high else result.model_copy(update={"activity_score": None})
        found.setdefault(result.phenotype, kept)
    return tuple(found.values())
