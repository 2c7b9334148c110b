"""Diplotypes of genes without counted copies, by the names that laboratories give their alleles.

An allele is known by its name, by a part of it (`c.1905+1G>A`, `*2A` and `c.1905+1G>A (*2A)` are one), by the rs
number of the one position that defines it, by its base where the gene has one position, and as a suballele. One-sided
calls are pairs for no gene but those of the X chromosome and of mitochondria.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from posologist.genome.notation import (
    MOST_OPTIONS,
    Named,
    Spelled,
    alternatives,
    clean,
    spelled,
    split_outside,
    star_order,
    unwrapped,
)
from posologist.genome.translate import INDETERMINATE, Translation, translate
from posologist.knowledge.genes import Gene

_HAPLOID = ("chrX", "chrM", "chrMT")
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
_NOTHING_FOUND = {
    "reference",
    "wt",
    "wild type",
    "wild-type",
    "wildtype",
    "no variants detected",
    "no variant detected",
}
_ALLELE_LIKE = re.compile(r"\*\d+[A-Z]*(?:\.\d+)?|[cmgp]\.[-*\d]\S*|[cmgp]\.[A-Z][a-z]{2}\d\S*", re.IGNORECASE)
_SUBALLELE = re.compile(r"^(\*\d+[A-Z]?)(?:\.\d+|[A-Z]{1,2})$")
_ZYGOSITY = re.compile(r"^(?P<name>.+?)[\s,(]+(?P<how>het|hom|heterozygous|homozygous)\)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Side:
    """One chromosome as it may be: its name and the alleles on it. `note` says what was done to read it."""

    name: str
    alleles: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def read_names(text: str, gene: Gene) -> Spelled:
    """A diplotype by allele names, or one allele of a gene that a person may have once."""
    plain, notes = clean(text, gene.symbol), list[str]()
    pairs = _pair(plain, gene, notes)
    while not pairs and (inside := unwrapped(plain)) is not None:
        notes.append(f"'{text}' stands in brackets: its caller is not certain of it")
        plain = inside
        pairs = _pair(plain, gene, notes)
    if not pairs:
        for part in alternatives(plain):
            found = _pair(part, gene, notes)
            if not found:
                return spelled(text, _listed(plain, gene, notes), notes)
            pairs.extend(found)
    return spelled(text, pairs, notes)


def _pair(text: str, gene: Gene, notes: list[str]) -> list[Named]:
    """Readings of `a/b`, or of `a` where one allele is a whole call."""
    if gene.chromosome in _HAPLOID and (known := _lookup(text, gene)):
        return [Named(name, ((name, _alone(gene, _Side(name, (name,)), notes)),)) for name in known]
    for first, second in _cuts(text, gene):
        return _named(gene, first, second, notes)
    single = _sides(text, gene)
    if single and gene.chromosome in _HAPLOID:
        return [Named(side.name, ((side.name, _alone(gene, side, notes)),)) for side in single]
    return []


def _cuts(text: str, gene: Gene) -> Iterable[tuple[list[_Side], list[_Side]]]:
    """Ways to cut the text at a slash so that both sides are understood."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if sign == "/" and depth == 0:
            first, second = _sides(text[:place].strip(), gene), _sides(text[place + 1 :].strip(), gene)
            if first and second:
                yield first, second
    bases = re.fullmatch(r"(?:rs\d+\s*|-?\d+\s*)?([ACGT])\s*/?\s*([ACGT])", text, re.IGNORECASE)
    if bases:
        found = [_base(bases[1].upper(), bases[2].upper(), gene), _base(bases[2].upper(), bases[1].upper(), gene)]
        if found[0] and found[1]:
            yield found[0], found[1]


def _base(base: str, other: str, gene: Gene) -> list[_Side]:
    """The allele with this base at a gene of one position, on the strand on which both bases are alleles."""
    named = {found[1]: name for name in gene.functions if (found := re.search(r"\(([ACGT])\)$", name))}
    here = {base, other} <= named.keys()
    turned = base.translate(_COMPLEMENT)
    there = not here and {turned, other.translate(_COMPLEMENT)} <= named.keys()
    name = named[base] if here else named[turned] if there else None
    return [_Side(name, (name,))] if name else []


def _named(gene: Gene, first: list[_Side], second: list[_Side], notes: list[str]) -> list[Named]:
    if len(first) * len(second) > MOST_OPTIONS:
        return []
    found = []
    for a in first:
        for b in second:
            notes.extend((*a.notes, *b.notes))
            left, right = sorted((a, b), key=lambda side: _order(side.name, gene))
            result = _translated(gene, left, right, notes)
            same_once = gene.chromosome in ("chrM", "chrMT") and left.name == right.name
            name = left.name if same_once else f"{left.name}/{right.name}"
            found.append(Named(name, ((name, result),)))
    return found


def _order(name: str, gene: Gene) -> tuple[bool, tuple[int, str]]:
    return (name != gene.reference or name.startswith("*"), star_order(name))


def _translated(gene: Gene, first: _Side, second: _Side, notes: list[str]) -> Translation:
    alleles = [_decisive(gene, side, notes) for side in (first, second)]
    unknown = [a for a in (*first.alleles, *second.alleles) if a not in gene.functions and gene.phenotypes]
    notes.extend(f"{allele} has no known function" for allele in unknown)
    if None in alleles:
        return Translation(phenotype=INDETERMINATE if gene.phenotypes else None)
    if gene.chromosome in ("chrM", "chrMT"):
        return translate(gene, str(alleles[0])) if alleles[0] == alleles[1] else Translation(phenotype=INDETERMINATE)
    result = translate(gene, str(alleles[0]), str(alleles[1]))
    if result.phenotype == INDETERMINATE:
        known = [allele for allele in (*first.alleles, *second.alleles) if allele in gene.functions]
        notes.extend(f"{a}: {gene.functions[a].function.lower()}" for a in known if _open(gene, a))
    return result


def _open(gene: Gene, allele: str) -> bool:
    """Whether nothing follows from the allele's function, even if it is there twice."""
    return translate(gene, allele, allele).phenotype in (None, INDETERMINATE)


def _alone(gene: Gene, side: _Side, notes: list[str]) -> Translation:
    allele = _decisive(gene, side, notes)
    if allele is None or allele not in gene.functions:
        notes.append(f"{side.name} has no known function")
        return Translation(phenotype=INDETERMINATE)
    return translate(gene, allele)


def _decisive(gene: Gene, side: _Side, notes: list[str]) -> str | None:
    """The allele that a chromosome counts as; None where several alleles on it have no rule."""
    if len(side.alleles) == 1:
        return side.alleles[0]
    if not gene.worst_first or any(allele not in gene.functions for allele in side.alleles):
        notes.append(f"{side.name}: the function of these variants together is not assigned")
        return None
    return min(side.alleles, key=lambda allele: _function_rank(gene, allele))


def _function_rank(gene: Gene, allele: str) -> int:
    """Place among the gene's functions, worst first; one that is not listed there counts as least harmful."""
    function = gene.functions[allele].function
    return gene.worst_first.index(function) if function in gene.worst_first else len(gene.worst_first)


def _listed(text: str, gene: Gene, notes: list[str]) -> list[Named]:
    """`a het, b het` of a gene whose lowest functions decide: the two worst, whatever chromosomes they are on."""
    if not gene.worst_first:
        return []
    alleles: list[str] = []
    for part in split_outside(text, r"\s*[,;]\s*"):
        how = _ZYGOSITY.match(part)
        name = how["name"].strip() if how else ""
        found = _lookup(name, gene) or ((name,) if _ALLELE_LIKE.fullmatch(name) else ())
        if not how or len(found) != 1:
            return []
        alleles.extend(found * (2 if how["how"].lower().startswith("hom") else 1))
    alleles = _without_parts(alleles)
    notes.append(f"'{text}' does not say which variants share a chromosome; the two of lowest function are used")
    unknown = [allele for allele in alleles if allele not in gene.functions]
    if unknown:
        notes.extend(f"{allele} has no known function" for allele in unknown)
        name = " + ".join(sorted(alleles, key=star_order))
        return [Named(name, ((name, Translation(phenotype=INDETERMINATE)),))]
    worst = sorted(alleles, key=lambda allele: _function_rank(gene, allele))
    first, second = (*worst, gene.reference)[:2]
    return _named(gene, [_Side(first, (first,))], [_Side(second, (second,))], notes)


def _without_parts(alleles: list[str]) -> list[str]:
    """The variants without those that are part of another one: of `a, b (HapB3)` and `a` the first remains."""
    left = list(alleles)
    for whole in alleles:
        parts = {part.split(" (")[0].strip() for part in whole.split(",")} - {whole}
        for part in parts & set(left):
            left.remove(part)
    return left


def _sides(text: str, gene: Gene) -> list[_Side]:
    """What one side may be; empty where it is not understood."""
    if not text:
        return []
    known = _lookup(text, gene)
    if known:
        return [_Side(name, (name,)) for name in known]
    inside = unwrapped(text)
    if inside is not None:
        mark = (f"'{text}' stands in brackets: its caller is not certain of it",) if text[0] == "(" else ()
        parts = split_outside(inside, r"\s*;\s*|\s+or\s+")
        found = [_sides(part, gene) for part in parts]
        return [_Side(s.name, s.alleles, (*s.notes, *mark)) for sides in found for s in sides] if all(found) else []
    either = re.fullmatch(r"(.+?)\s*\(([^()]+)\)", text)
    if either and _lookup(either[1], gene):
        if _lookup(either[2], gene) == _lookup(either[1], gene) or either[2].lower() in _NOTHING_FOUND:
            return _sides(either[1], gene)
        return [*_sides(either[1], gene), *_sides(f"({either[2]})", gene)]
    parts = split_outside(text, r"\s+\+\s+|\+(?=\*)|\s*,\s*")
    if len(parts) > 1:
        return _together([unwrapped(part) or part for part in parts], gene)
    return [_Side(text.upper() if text.startswith("*") else text, (text,))] if _ALLELE_LIKE.fullmatch(text) else []


def _together(parts: Sequence[str], gene: Gene) -> list[_Side]:
    """Several variants on one chromosome."""
    found = [_lookup(part, gene) or ((part,) if _ALLELE_LIKE.fullmatch(part) else ()) for part in parts]
    if not all(len(names) == 1 for names in found):
        return []
    alleles = tuple(sorted({names[0] for names in found}, key=star_order))
    return [_Side(alleles[0] if len(alleles) == 1 else f"[{' + '.join(alleles)}]", alleles)]


def _lookup(text: str, gene: Gene) -> tuple[str, ...]:
    """Alleles that go by this name."""
    index = _index(gene.symbol, gene.reference, gene.allele_names, _by_rsid(gene))
    found = index.get(_key(text), ())
    if found or not text.startswith("*"):
        return found
    shorter = _SUBALLELE.match(text.upper().replace(" ", ""))
    return index.get(_key(shorter[1]), ()) if shorter else ()


def _by_rsid(gene: Gene) -> tuple[tuple[str, str], ...]:
    """rs number of each position that alone defines one allele."""
    rsids = {position.id: position.rsid for position in gene.positions if position.rsid}
    found: dict[str, set[str]] = {}
    for allele in gene.alleles:
        if len(allele.defines) == 1 and not allele.everywhere:
            found.setdefault(rsids.get(next(iter(allele.defines)), ""), set()).add(allele.reported)
    return tuple((rsid, names.pop()) for rsid, names in found.items() if rsid and len(names) == 1)


def _key(text: str) -> str:
    return re.sub(r"\s+", "", text).lower()


@lru_cache(maxsize=256)
def _index(
    symbol: str, reference: str, names: frozenset[str], by_rsid: tuple[tuple[str, str], ...]
) -> dict[str, tuple[str, ...]]:
    """Every way to write each allele; a way that several share leads to all of them, unless it is one's own name."""
    found: dict[str, set[str]] = {}
    for name in names:
        for alias in _aliases(name):
            found.setdefault(_key(alias), set()).add(name)
    for rsid, name in by_rsid:
        found.setdefault(_key(rsid), set()).add(name)
    if not reference.startswith("*") and reference in names:
        for word in _NOTHING_FOUND if "reference" in reference.lower() else ():
            found.setdefault(_key(word), set()).add(reference)
        if any("(*" in name for name in names):
            found.setdefault("*1", set()).add(reference)
    own = {_key(name): (name,) for name in names}
    return {key: tuple(sorted(several, key=star_order)) for key, several in found.items()} | own


def _aliases(name: str) -> Iterable[str]:
    """The name, what stands before and inside its brackets, parts of a list, and each without its `c.` or `m.`."""
    bracket = re.fullmatch(r"(.+?)\s*\(([^()]+)\)", name)
    whole = [name]
    if bracket and not re.fullmatch(r"[ACGT]|reference", bracket[2]):
        whole += [bracket[1], bracket[2]]
        star = re.fullmatch(r"(\*\d+)[A-Z]", bracket[2])
        whole += [star[1]] if star else []
    elif bracket:
        whole.append(bracket[1])
    for text in whole:
        for part in {text, *(p.strip() for p in text.split(",") if p.strip())}:
            yield part
            if re.match(r"[cm]\.", part):
                yield part[2:]
            if "+" in part and part.startswith("*"):
                ways = (part.split("+"), part.split("+")[::-1])
                yield from ("+".join(way) for way in ways)
                yield from ("_".join(way).replace("_*", "_") for way in ways)
