"""Small VCFs made for tests."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

from posologist.knowledge.genes import Gene, Position, callable_genes, load_gene

HEADERS = {
    "GRCh38": "##contig=<ID=chr10,length=133797422>",
    "GRCh37": "##contig=<ID=10,length=135534747>",
    "": "##contig=<ID=chr10>",
}


def genes() -> tuple[Gene, ...]:
    """The genes that are read from a VCF."""
    return tuple(load_gene(symbol) for symbol in callable_genes())


def write_vcf(
    path: Path,
    rows: Iterable[Sequence[str]],
    *,
    build: str = "GRCh38",
    samples: Sequence[str] = ("SAMPLE",),
    header: str | None = None,
) -> Path:
    """A VCF with these rows (each a full line as columns)."""
    lines = ["##fileformat=VCFv4.2", HEADERS[build] if header is None else header]
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]))
    lines += ["\t".join(row) for row in rows]
    text = "\n".join(line for line in lines if line) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def row(chromosome: str, pos: int, ref: str, alt: str, gt: str, **more: str) -> list[str]:
    """One line of one sample; `filter`, `format` and `values` may be given."""
    form = ":".join(["GT", *([more["format"]] if more.get("format") else [])])
    values = ":".join([gt, *([more["values"]] if more.get("values") else [])])
    info = more.get("info", ".")
    return [chromosome, str(pos), more.get("id", "."), ref, alt, ".", more.get("filter", "PASS"), info, form, values]


def haplotype(gene: Gene, name: str) -> list[str]:
    """The base at each position of the gene for one allele: what it states, first of several, else the reference's."""
    pattern = next(p for p in gene.patterns if p.allele.name == name)
    places = enumerate(gene.positions)
    return [p.ref if p.ref in pattern.at(n, p.ref) else min(pattern.at(n, p.ref)) for n, p in places]


def position_row(
    gene: Gene, position: Position, bases: tuple[str, str], *, build: str = "GRCh38", phased: bool = True
) -> list[str]:
    """One line for a position with the two bases given."""
    ref = position.reference(build)
    alts = [a for a in (position.ref, *position.alts) if a != ref]
    alleles = [ref, *alts]
    sign = "|" if phased else "/"
    gt = sign.join(str(alleles.index(base)) for base in bases)
    name = gene.chromosome if build == "GRCh38" else gene.chromosome.removeprefix("chr")
    return row(name, position.at(build), ref, ",".join(alts), gt, id=position.rsid or ".")


def diplotype_rows(
    gene: Gene, first: str, second: str, *, build: str = "GRCh38", phased: bool = True
) -> list[list[str]]:
    """All positions of a gene for a pair of alleles."""
    pairs = zip(haplotype(gene, first), haplotype(gene, second), strict=True)
    return [
        position_row(gene, position, pair, build=build, phased=phased)
        for position, pair in zip(gene.positions, pairs, strict=True)
    ]


def reference_rows(*, build: str = "GRCh38", skip: Iterable[str] = ()) -> list[list[str]]:
    """All positions of all genes, as GRCh38 has them."""
    left_out = set(skip)
    return [
        position_row(gene, p, (p.ref, p.ref), build=build, phased=False)
        for gene in genes()
        if gene.symbol not in left_out
        for p in gene.positions
    ]
