"""HLA alleles to two fields, the resolution of guidance."""

from __future__ import annotations

import re
from collections.abc import Sequence

from posologist.genome.notation import clean, said_no_call

NOT_STATED = "?"
"""Stands for an allele that a call does not name; presence of every other allele is then unknown."""
_ALLELE = re.compile(
    r"(?:HLA-?)?(?P<locus>[A-Z][A-Z0-9]*)?\*?\s*(?P<two>\d{2,3}:\d{2,4})(?::\d{2,4}){0,2}(?P<suffix>[NLSCAQ])?[GP]?"
    r"(?![\d:])(?:\s*[:=]?\s*(?P<said>positive|negative|pos|neg|present|absent|not detected|detected"
    r"|carrier|non-carrier))?",
    re.IGNORECASE,
)
_ABSENT = {"negative", "neg", "absent", "not detected", "non-carrier"}


def read_hla(gene: str, texts: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The two alleles, and what was noticed.

    An allele that is not named stands as "?"; one that is stated to be absent as "not *57:01".

    Returns
    -------
    tuple
        Name as `*57:01/*07:02`, None where no allele was found; findings.
    """
    present: list[str] = []
    absent: list[str] = []
    findings: list[str] = []
    given = [text for text in texts if not said_no_call(text)]
    for text in given:
        found = [m for m in _ALLELE.finditer(clean(text, gene)) if _of(gene, m["locus"])]
        rest = re.sub(r"[\s/,;|+*\"'()\[\]~^]|\band\b", "", _ALLELE.sub("", clean(text, gene)), flags=re.IGNORECASE)
        if not found or rest:
            findings.append(
                f"'{text}' names no allele of {gene} to two fields"
                if not found
                else f"in '{text}', '{rest}' is not understood"
            )
        for match in found:
            name = f"*{match['two']}{(match['suffix'] or '').upper()}"
            (absent if (match["said"] or "").lower() in _ABSENT else present).append(name)
    both = sorted(set(present) & set(absent))
    if both:
        findings.append(f"{', '.join(both)} is stated as present and as absent; taken as present")
    return _name(gene, given, present, [a for a in dict.fromkeys(absent) if a not in present], findings)


def _of(gene: str, locus: str | None) -> bool:
    return not locus or locus.upper() == gene.removeprefix("HLA-")


def _name(
    gene: str, given: Sequence[str], present: list[str], absent: list[str], findings: list[str]
) -> tuple[str | None, tuple[str, ...]]:
    distinct = list(dict.fromkeys(present))
    if not distinct and not absent:
        return None, tuple(findings) or (f"no alleles of {gene} were called",)
    if len(distinct) > 2:
        findings.append(f"{len(distinct)} alleles of {gene} are named, a person has two: {', '.join(distinct)}")
        return "/".join([*distinct, NOT_STATED]), tuple(findings)
    whole = len(distinct) == 2 or (len(present) == 2 and len(given) == 1)
    if whole:
        return "/".join(distinct if len(distinct) == 2 else present), tuple(findings)
    if len(distinct) < 2:
        findings.append(f"not all alleles of {gene} are stated; presence of others is unknown")
    return "/".join([*distinct, *(f"not {name}" for name in absent), NOT_STATED]), tuple(findings)
