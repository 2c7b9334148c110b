"""Many samples at once: how often each allele occurs among phased haplotypes."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

from posologist.genome.call import match_gene
from posologist.genome.calls import calls_of
from posologist.genome.genotypes import Genotype
from posologist.genome.targets import edits_of
from posologist.genome.variants import match_variants
from posologist.genome.vcf import plain_chromosome
from posologist.knowledge.genes import Gene, Position


def count_alleles(path: Path, gene: Gene) -> tuple[dict[str, int], int, int] | None:
    """Haplotypes with each allele in a phased GRCh38 panel, of how many, and how many fitted no allele.

    Absent positions are read as reference: a panel lists only positions that vary. A haplotype that fits several
    alleles counts for the one that states most positions; where variants are called one by one, for each that it
    carries. None if the panel has no record at any of the gene's positions.
    """
    strands = _strands(path, gene)
    if not any(strands):
        return None
    counts: Counter[str] = Counter()
    unmatched = 0
    for strand, number in Counter(strands).items():
        names = _alleles_of(gene, dict(strand))
        counts.update(dict.fromkeys(names, number))
        unmatched += number if not names else 0
    return dict(counts), len(strands), unmatched


def _alleles_of(gene: Gene, changed: dict[str, str]) -> list[str]:
    """The allele of one strand, or its variants where they are called one by one."""
    genotypes = [Genotype(p, changed.get(p.id, p.ref), changed.get(p.id, p.ref)) for p in gene.positions]
    calls = calls_of(gene, genotypes)
    match = match_variants(gene, calls) if gene.worst_first else match_gene(gene, calls)
    pairs = [pair for pair in match.pairs if pair.first == pair.second]
    if not pairs:
        return []
    best = max(pairs, key=lambda pair: pair.score).first
    return best[1:-1].split(" + ") if best.startswith("[") else [best]


def _strands(path: Path, gene: Gene) -> list[tuple[tuple[str, str], ...]]:
    """For each haplotype of the panel, what differs from the reference: (position id, allele)."""
    by_edit = {
        edit: (position, allele)
        for position in gene.positions
        for allele in position.alts
        for edit in edits_of(position.grch38, position.ref, allele)
    }
    changes: list[list[tuple[str, str]]] = []
    single = set[int]()
    with gzip.open(path, "rt") as stream:
        for line in stream:
            if line.startswith("#"):
                continue
            fields = line.rstrip("\n").split("\t")
            if not changes:
                changes = [[] for _ in range(2 * (len(fields) - 9))]
            if plain_chromosome(fields[0]) != plain_chromosome(gene.chromosome):
                continue
            wanted: dict[str, tuple[Position, str]] = {}
            for n, alt in enumerate(fields[4].split(","), start=1):
                for edit in edits_of(int(fields[1]), fields[3], alt):
                    if edit in by_edit:
                        wanted[str(n)] = by_edit[edit]
            if not wanted:
                continue
            for i, call in enumerate(fields[9:]):
                if gene.one_copy_in_men and "|" not in call:
                    single.add(2 * i + 1)
                for side, allele in enumerate(call.split(":")[0].split("|")):
                    if allele in wanted:
                        position, base = wanted[allele]
                        changes[2 * i + side].append((position.id, base))
    return [tuple(sorted(strand)) for n, strand in enumerate(changes) if n not in single]
