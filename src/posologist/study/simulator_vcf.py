"""Planted diplotypes as a laboratory hands them over: a VCF against GRCh38, and a table of what no VCF can hold.

Every position that defines an allele of the gene is written, reference or variant, with its phase. Copies are counted
in the table only (`outside_calls_of`): a chromosome without the gene shows nothing in a VCF, so that the other one is
seen twice, and a repeated copy looks like a single one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from posologist.core.errors import InputError
from posologist.knowledge.copies import load_copies
from posologist.knowledge.genes import Gene, Position, load_gene

_COUNT = re.compile(r"x\d+$")
_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT")
_HEADER = (
    "##fileformat=VCFv4.2",
    "##reference=GRCh38",
    '##FILTER=<ID=PASS,Description="All filters passed">',
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
)


def vcf_of(diplotypes: Mapping[str, tuple[str, str]], sample: str) -> str:
    """The text of a VCF in which the genes have these diplotypes.

    Parameters
    ----------
    diplotypes
        Two alleles for each gene, e.g. `{"CYP2C9": ("*1", "*3")}`; the copies of `"*4x2"` or `"*5"` are not in it.
    sample
        Name of the sample.

    Raises
    ------
    InputError
        If an allele has no definition.
    KnowledgeError
        If a gene is not held.
    """
    genes = [(load_gene(symbol), pair) for symbol, pair in diplotypes.items()]
    places = [
        (_number(gene.chromosome), position.grch38, "\t".join(line))
        for gene, (first, second) in genes
        for position, line in _lines(gene, _shown(gene, first), _shown(gene, second))
    ]
    contigs = dict.fromkeys(gene.chromosome for gene, _ in sorted(genes, key=lambda held: _number(held[0].chromosome)))
    header = [*_HEADER, *(f"##contig=<ID={name},assembly=GRCh38>" for name in contigs)]
    return "\n".join([*header, "\t".join((*_COLUMNS, sample)), *(line for *_, line in sorted(places))]) + "\n"


def outside_calls_of(diplotypes: Mapping[str, tuple[str, str]]) -> str:
    """The table of outside calls for the genes whose copies no VCF counts; empty text where there is none."""
    counted = [symbol for symbol in diplotypes if load_gene(symbol).copies_vary]
    return "".join(f"{symbol}\t{'/'.join(diplotypes[symbol])}\n" for symbol in counted)


def _shown(gene: Gene, name: str) -> str | None:
    """The allele that small variants show of a chromosome; None where it has no gene.

    Raises
    ------
    InputError
        If that allele has no definition.
    """
    shown: str | None = name
    if gene.copies_vary:
        seen = {chromosome.name: chromosome.seen_as or None for chromosome in load_copies(gene.symbol).chromosomes}
        shown = seen.get(name, _COUNT.sub("", name))
    if shown is not None and shown not in {allele.name for allele in gene.alleles}:
        raise InputError(f"{gene.symbol} {name} has no definition", where=str(gene.symbol), hint="name another allele")
    return shown


def _lines(gene: Gene, first: str | None, second: str | None) -> list[tuple[Position, tuple[str, ...]]]:
    """The columns of each position's line."""
    strands = [_bases(gene, name) for name in (first or second, second or first) if name is not None]
    found: list[tuple[Position, tuple[str, ...]]] = []
    for place, position in enumerate(gene.positions):
        alleles = (position.ref, *position.alts)
        genotype = "|".join(str(alleles.index(strand[place])) for strand in strands) or "./."
        line = (gene.chromosome, str(position.grch38), position.rsid or ".", position.ref, ",".join(position.alts))
        found.append((position, (*line, ".", "PASS", ".", "GT", genotype)))
    return found


def _bases(gene: Gene, name: str) -> list[str]:
    """The allele's base at each position: the reference's where the allele allows it."""
    pattern = next(pattern for pattern in gene.patterns if pattern.allele.name == name)
    allowed = [(position.ref, pattern.at(place, position.ref)) for place, position in enumerate(gene.positions)]
    return [ref if ref in bases else min(bases) for ref, bases in allowed]


def _number(chromosome: str) -> int:
    """Place of an autosome in the order of a VCF."""
    return int(chromosome.removeprefix("chr"))
