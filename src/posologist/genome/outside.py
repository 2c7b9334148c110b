"""Calls made elsewhere: a laboratory's table, or a profile that was written before.

The table is tab-separated: gene, diplotype, phenotype, activity score (PharmCAT's outside-call format); lines that
start with "#" are comments. Of what is given, the activity score counts more than the phenotype, and that more
than the diplotype. CYP2D6 is accepted as callers write it: `*1x2/*4`, `*36+*10/*41`, `*4+*68/*1`, `(*1xN)/*2`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile
from posologist.core.values import Value
from posologist.genome.translate import INDETERMINATE, Translation, from_score, translate
from posologist.knowledge.genes import Gene

_SUBALLELE = re.compile(r"^(\*\d+)(?:\.\d+|[A-Z]{1,2})$")
_COPIES = re.compile(r"^(\*\d+(?:\.\d+)?[A-W]{0,2})\s*(?:x\s*(N|(?:≥|>=)?\s*\d{1,2})|(DUP))?$", re.IGNORECASE)
_HLA = re.compile(r"\*?(\d{2,3}:\d{2,3})")
_PHENOTYPE_WORDS = {"um": "Ultrarapid Metabolizer", "rm": "Rapid Metabolizer", "nm": "Normal Metabolizer"} | {
    "im": "Intermediate Metabolizer",
    "pm": "Poor Metabolizer",
    "em": "Normal Metabolizer",
    "extensive metabolizer": "Normal Metabolizer",
}


class OutsideCall(Value):
    """One line of the table. Empty fields are None."""

    gene: str
    diplotype: str | None
    phenotype: str | None
    activity_score: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Reading:
    """An outside call as understood: normalised diplotype, phenotype, score, and what was noticed."""

    diplotype: str | None
    translation: Translation
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Haplotype:
    text: str
    activity: float | None
    at_least: bool
    known: bool


def read_outside_calls(path: Path) -> tuple[OutsideCall, ...]:
    """The calls of an outside-call table, in file order.

    Raises
    ------
    InputError
        If the file cannot be read, a line has no call, or a gene comes twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"outside calls cannot be read: {error}", where=str(path), hint="give a text file") from error
    calls: dict[str, OutsideCall] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() or None for field in line.split("\t")] + [None] * 3
        gene = fields[0] and fields[0].upper()
        where = f"{path.name}:{number}"
        if gene is None or (gene == "GENE" and not calls):
            continue
        if not any(fields[1:4]):
            raise InputError(
                f"no call for {gene}", where=where, hint="give a diplotype, a phenotype or an activity score"
            )
        if gene in calls:
            raise InputError(f"two calls for {gene}", where=where, hint="keep one")
        calls[gene] = OutsideCall(
            gene=gene, diplotype=fields[1], phenotype=fields[2], activity_score=fields[3], where=where
        )
    return tuple(calls.values())


def understand(call: OutsideCall, gene: Gene | None) -> Reading:
    """The call in the gene's own terms; for a gene without facts, as it was given.

    Raises
    ------
    InputError
        If the activity score is not a number, or the phenotype is not one of the gene's.
    """
    if gene is None:
        return Reading(_two_fields(call), Translation(phenotype=call.phenotype))
    diplotype, translated, findings = call.diplotype, Translation(phenotype=None), list[str]()
    if call.diplotype:
        diplotype, translated, findings = _diplotype(call.diplotype, gene)
    stated: Translation | None = None
    if call.activity_score:
        score, at_least = _score(call)
        stated = from_score(gene, score, at_least=at_least)
        if call.phenotype and stated.phenotype and _phenotype(call, gene) != stated.phenotype:
            findings.append(
                f"stated phenotype {call.phenotype} and stated activity score {score:g} disagree; score used"
            )
    elif call.phenotype:
        stated = Translation(phenotype=_phenotype(call, gene))
    if stated is None:
        return Reading(diplotype, translated, tuple(findings))
    if translated.phenotype not in (None, INDETERMINATE, stated.phenotype):
        findings.append(
            f"{diplotype} gives {translated.phenotype}, the laboratory states {stated.phenotype}; that is used"
        )
    if stated.activity_score is None and translated.phenotype == stated.phenotype:
        stated = translated
    return Reading(diplotype, stated, tuple(findings))


def _two_fields(call: OutsideCall) -> str | None:
    """The diplotype; HLA alleles at the resolution of guidance: `HLA-B*57:01:01:02` is `*57:01`."""
    if call.diplotype is None or not call.gene.startswith("HLA-"):
        return call.diplotype
    alleles = [_HLA.search(part) for part in call.diplotype.split("/")]
    return "/".join(f"*{found[1]}" for found in alleles if found) if all(alleles) else call.diplotype


def _score(call: OutsideCall) -> tuple[float, bool]:
    text = str(call.activity_score).replace("≥", ">=").strip()
    at_least = text.startswith((">=", ">"))
    try:
        score = float(text.lstrip(">= "))
    except ValueError:
        score = -1.0
    if not 0 <= score <= 20:
        raise InputError(
            f"activity score '{call.activity_score}' of {call.gene} is not a number from 0 to 20",
            where=call.where,
            hint="write it as 0.25, or >=3",
        )
    return score, at_least


def _phenotype(call: OutsideCall, gene: Gene) -> str:
    given = str(call.phenotype).strip()
    words = given.lower().replace("metaboliser", "metabolizer").replace("ultra-rapid", "ultrarapid")
    words = words.removeprefix(f"{gene.symbol.lower()} ")
    words = _PHENOTYPE_WORDS.get(words, words)
    for phenotype in gene.phenotypes:
        if phenotype.lower() == words.lower():
            return phenotype
    raise InputError(
        f"'{given}' is not a phenotype of {gene.symbol}",
        where=call.where,
        hint=f"use one of {', '.join(gene.phenotypes)}",
    )


def _diplotype(text: str, gene: Gene) -> tuple[str, Translation, list[str]]:
    """Normalised name, what it makes, and findings. `a/b;c/d` and `a/b or c/d` are open between two pairs."""
    plain = re.sub(rf"\b{re.escape(gene.symbol)}\s*(?=\*)", "", text, flags=re.IGNORECASE)
    names: list[str] = []
    results: list[Translation] = []
    findings: list[str] = []
    for part in re.split(r"\s*;\s*|\s+or\s+", plain):
        sides = [side.strip() for side in _split_sides(part)]
        if len(sides) != 2 or not all(sides):
            unknown = Translation(phenotype=INDETERMINATE)
            return text, unknown, [f"'{text}' is not a pair of alleles; no phenotype is given"]
        name, found, notes = _pair(sides, gene)
        names.append(name)
        results.extend(found)
        findings.extend(notes)
    combined, note = _combined(text, results)
    return names[0], combined, [*findings, *note]


def _pair(sides: list[str], gene: Gene) -> tuple[str, list[Translation], list[str]]:
    """Name of a pair, everything it may make, and alleles without a known activity."""
    if not gene.scored:
        first, second = sorted((_plain(side, gene) for side in sides), key=_star_number)
        unknown = [f"{name} has no known function" for name in (first, second) if name not in gene.functions]
        return f"{first}/{second}", [translate(gene, first, second)], unknown
    options = [_alternatives(side, gene) for side in sides]
    name = "/".join(sorted((choice[0].text for choice in options), key=_star_number))
    unknown = [f"{h.text} has no known activity" for choice in options for h in choice if not h.known]
    return name, [_sum(gene, a, b) for a in options[0] for b in options[1]], unknown


def _combined(text: str, results: list[Translation]) -> tuple[Translation, list[str]]:
    """One answer from all readings of a call: what they share."""
    phenotypes = {result.phenotype for result in results}
    scores = {result.activity_score for result in results}
    if len(phenotypes) > 1:
        listed = ", ".join(sorted(phenotype or "open" for phenotype in phenotypes))
        return Translation(phenotype=None), [f"'{text}' allows several phenotypes: {listed}"]
    best = results[0]
    if len(scores) > 1:
        note = f"'{text}' allows several activity scores; none is used"
        return Translation(phenotype=best.phenotype), [note]
    if best.phenotype is None:
        note = f"the number of copies in '{text}' is open: activity score at least {best.activity_score:g}"
        return best, [note]
    return best, []


def _split_sides(text: str) -> list[str]:
    """Split at the slash, not inside parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "/" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _alternatives(side: str, gene: Gene) -> list[_Haplotype]:
    """`*2 (*35)` is either of two, `(*68)+*4` may lack the part in parentheses; `(*1xN)` is one in parentheses."""
    either = re.fullmatch(r"\s*([^()]+?)\s*\(([^()]+)\)\s*", side)
    bare = re.sub(r"[()]", "", side).strip()
    without = re.sub(r"\([^()]*\)\s*\+\s*|\s*\+\s*\([^()]*\)", "", side).strip()
    if either and "+" not in side.replace(either[1], ""):
        texts = [either[1], either[2]]
    else:
        texts = list(dict.fromkeys([bare, without if without and "(" not in without else bare]))
    return [_haplotype(text.strip(), gene) for text in texts]


def _haplotype(text: str, gene: Gene) -> _Haplotype:
    parts = re.split(r"\s*\+\s*|-(?=\*)", text)
    units = [_unit(part.strip(), gene) for part in parts]
    if any(unit is None for unit in units):
        return _Haplotype(text, None, False, False)
    known = [unit for unit in units if unit is not None]
    activity = sum(unit[1] for unit in known)
    name = "+".join(unit[0] for unit in known)
    return _Haplotype(name, activity, any(unit[2] for unit in known), True)


def _unit(text: str, gene: Gene) -> tuple[str, float, bool] | None:
    """Name, activity and whether there may be more copies; None if the activity is not known."""
    found = _COPIES.match(text)
    if not found:
        return None
    base = _plain(found[1].upper(), gene)
    function = gene.functions.get(base)
    if function is None or function.activity is None:
        return None
    count = "2" if found[3] else (found[2] or "1").replace(" ", "").replace(">=", "≥").upper()
    at_least = count in ("N",) or count.startswith("≥")
    number = 2 if count == "N" else int(count.lstrip("≥"))
    name = base if count == "1" else f"{base}x{count}"
    return name, function.activity * number, at_least and function.activity > 0


def _plain(name: str, gene: Gene) -> str:
    """Allele name without suballele suffix, where only the main allele is known."""
    if name in gene.allele_names:
        return name
    name = name.upper() if name.startswith("*") else name
    found = None if name in gene.allele_names else _SUBALLELE.match(name)
    return found[1] if found and found[1] in gene.allele_names else name


def _sum(gene: Gene, a: _Haplotype, b: _Haplotype) -> Translation:
    if a.activity is None or b.activity is None:
        return Translation(phenotype=INDETERMINATE)
    return from_score(gene, a.activity + b.activity, at_least=a.at_least or b.at_least)


def _star_number(name: str) -> tuple[int, str]:
    found = re.match(r"\*(\d+)", name)
    return (int(found[1]) if found else 10_000, name)


def read_profile(path: Path) -> GeneticProfile:
    """A profile as `posologist phenotype --json` writes it.

    Raises
    ------
    InputError
        If the file cannot be read or is not such a document.
    """
    try:
        return GeneticProfile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint="check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"not a phenotype document: {'.'.join(map(str, first['loc']))} {first['msg']}",
            where=str(path),
            hint="make one with 'posologist phenotype VCF --json'",
        ) from error
