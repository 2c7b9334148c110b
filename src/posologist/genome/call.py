"""Genotypes -> every pair of alleles that explains them, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from posologist.genome.genotypes import DELETED, OTHER, Genotype
from posologist.knowledge.genes import Allele, Gene


@dataclass(frozen=True, slots=True)
class Pair:
    """Two alleles that explain the calls, with the probability among all pairs that do.

    `score` is the number of defined positions of both, the ranking of matchers that hold no frequencies.
    """

    first: str
    second: str
    probability: float
    score: int

    @property
    def diplotype(self) -> str:
        """The pair as written: "*1/*2"."""
        return f"{self.first}/{self.second}"


@dataclass(frozen=True, slots=True)
class Match:
    """Outcome for one gene. `reason` says why there is no pair."""

    pairs: tuple[Pair, ...]
    phased: bool
    untested: tuple[str, ...]
    reason: str = ""


def match_gene(gene: Gene, genotypes: Sequence[Genotype]) -> Match:
    """Every pair of the gene's alleles that explains the genotypes.

    A pair explains them if, for every group of positions whose phase is known together, one orientation fits.
    The probability of a pair is the product of its alleles' frequencies (doubled when they differ), over all
    pairs that explain the calls; frequencies as `Gene.weight`. Alleles none of whose defining positions was
    read are not tried: they are `untested`.
    """
    used = [_documented(gene, genotype) for genotype in genotypes]
    undocumented = [g.position.id for g in used if OTHER in (g.first, g.second) or DELETED in (g.first, g.second)]
    tested, untested = _tested(gene, used)
    read = [i for i, genotype in enumerate(used) if genotype.read]
    phased = _is_phased([used[i] for i in read])
    if not read:
        return Match((), False, untested, "none of its positions was read")
    if undocumented:
        return Match((), phased, untested, f"no allele has the base found at {', '.join(undocumented)}")
    pairs = _explaining(gene, tested, used, read)
    if not pairs:
        return Match((), phased, untested, "no pair of known alleles explains the calls")
    return Match(_ranked(gene, pairs), phased, untested)


def _documented(gene: Gene, genotype: Genotype) -> Genotype:
    """For genes in which an unknown base is read as reference: the genotype with it replaced."""
    if gene.undocumented != "reference" or OTHER not in (genotype.first, genotype.second):
        return genotype
    base = genotype.position.ref
    first, second = (base if strand == OTHER else strand for strand in (genotype.first, genotype.second))
    return Genotype(genotype.position, first, second, genotype.block if first != second else None, lines=genotype.lines)


def _tested(gene: Gene, genotypes: Sequence[Genotype]) -> tuple[list[Allele], tuple[str, ...]]:
    read = {genotype.position.id for genotype in genotypes if genotype.read}
    tested = [allele for allele in gene.alleles if allele.everywhere or read & allele.defines.keys()]
    names = {allele.reported for allele in tested}
    missing = (allele.reported for allele in gene.alleles if allele.reported not in names)
    return tested, tuple(dict.fromkeys(missing))


def _is_phased(genotypes: Sequence[Genotype]) -> bool:
    groups = {g.block if g.block is not None else id(g) for g in genotypes if g.heterozygous}
    return len(groups) <= 1


def _explaining(
    gene: Gene, tested: Sequence[Allele], genotypes: Sequence[Genotype], read: Sequence[int]
) -> list[tuple[Allele, Allele]]:
    bases = {allele.name: gene.bases[allele.name] for allele in tested}
    plausible = [allele for allele in tested if all(_on_a_strand(bases[allele.name][i], genotypes[i]) for i in read)]
    blocks: dict[object, list[int]] = {}
    for i in read:
        genotype = genotypes[i]
        blocks.setdefault(genotype.block if genotype.block is not None else i, []).append(i)
    return [
        (a, b)
        for n, a in enumerate(plausible)
        for b in plausible[n:]
        if all(_fits(bases[a.name], bases[b.name], genotypes, block) for block in blocks.values())
    ]


def _on_a_strand(bases: frozenset[str], genotype: Genotype) -> bool:
    return genotype.first is None or genotype.second is None or genotype.first in bases or genotype.second in bases


def _fits(
    a: tuple[frozenset[str], ...], b: tuple[frozenset[str], ...], genotypes: Sequence[Genotype], block: list[int]
) -> bool:
    return _oriented(a, b, genotypes, block) or _oriented(b, a, genotypes, block)


def _oriented(
    a: tuple[frozenset[str], ...], b: tuple[frozenset[str], ...], genotypes: Sequence[Genotype], block: list[int]
) -> bool:
    for i in block:
        first, second = genotypes[i].first, genotypes[i].second
        if (first is not None and first not in a[i]) or (second is not None and second not in b[i]):
            return False
    return True


def _ranked(gene: Gene, pairs: Sequence[tuple[Allele, Allele]]) -> tuple[Pair, ...]:
    weights: dict[tuple[str, str], float] = {}
    scores: dict[tuple[str, str], int] = {}
    order = {name: n for n, name in enumerate(dict.fromkeys(allele.reported for allele in gene.alleles))}
    for a, b in pairs:
        key = (a.reported, b.reported)
        if _place(key[0], order) > _place(key[1], order):
            key = (key[1], key[0])
        weights[key] = gene.weight(key[0]) * gene.weight(key[1]) * (1.0 if key[0] == key[1] else 2.0)
        scores[key] = max(scores.get(key, 0), _score(gene, a) + _score(gene, b))
    total = sum(weights.values())
    ranked = [Pair(*key, probability=round(weight / total, 6), score=scores[key]) for key, weight in weights.items()]
    return tuple(
        sorted(ranked, key=lambda p: (-p.probability, -p.score, _place(p.first, order), _place(p.second, order)))
    )


def _place(name: str, order: dict[str, int]) -> tuple[int, int]:
    """Star alleles by number, *1 before *38 although the latter is the genome's reference."""
    digits = "".join(c for c in name.lstrip("*").split("+")[0] if c.isdigit())
    return (int(digits) if name.startswith("*") and digits else 0, order[name])


def _score(gene: Gene, allele: Allele) -> int:
    return len(gene.positions) if allele.everywhere else len(allele.defines)
