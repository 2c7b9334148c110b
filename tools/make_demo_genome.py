"""Writes the demo's genome: every position that the callable genes are read from, with chosen ordinary diplotypes.

Run from the repository: `python tools/make_demo_genome.py src/posologist/serve/demo/genome.vcf`. The file names the
alleles; the bases come from the gene folders of the knowledge base, so the two cannot drift apart unnoticed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from posologist.knowledge.genes import Allele, Gene, Position, callable_genes, load_gene

DIPLOTYPES = {
    "CYP2C19": ("*1", "*17"),
    "CYP3A5": ("*3", "*3"),
    "VKORC1": ("rs9923231 reference (C)", "rs9923231 variant (T)"),
}
"""Genes that differ from two copies of *1 (or of the reference, where no allele is called *1)."""
CHROMOSOME_LENGTHS = {
    "chr1": 248956422, "chr2": 242193529, "chr3": 198295559, "chr4": 190214555, "chr5": 181538259,
    "chr6": 170805979, "chr7": 159345973, "chr8": 145138636, "chr9": 138394717, "chr10": 133797422,
    "chr11": 135086622, "chr12": 133275309, "chr13": 114364328, "chr14": 107043718, "chr15": 101991189,
    "chr16": 90338345, "chr17": 83257441, "chr18": 80373285, "chr19": 58617616, "chr20": 64444167,
    "chr21": 46709983, "chr22": 50818468, "chrX": 156040895,
}  # fmt: skip
"""GRCh38, from the sequence report of the Genome Reference Consortium."""
READ_DEPTH, GENOTYPE_QUALITY = 34, 99
_FIRST = dict(zip("RYSWKMBDH", "ACCAGACAA", strict=True))  # a base of an ambiguous nucleotide code


def _bases(allele: Allele, position: Position) -> str:
    """Base or sequence that the allele has at the position."""
    text = allele.defines.get(position.id, position.ref)
    return text if text in (position.ref, *position.alts) else _FIRST[text]


def _rows(gene: Gene) -> list[tuple[str, int, str]]:
    alleles = {allele.name: allele for allele in gene.alleles}
    usual = "*1" if "*1" in alleles else gene.reference
    pair = [alleles[name] for name in DIPLOTYPES.get(gene.symbol, (usual, usual))]
    by_place: dict[tuple[int, str], list[Position]] = {}
    for position in gene.positions:
        by_place.setdefault((position.grch38, position.ref), []).append(position)
    rows = []
    for (place, ref), positions in by_place.items():
        alts = list(dict.fromkeys(alt for position in positions for alt in position.alts))
        codes = []
        for allele in pair:
            found = {_bases(allele, position) for position in positions} - {ref}
            codes.append(0 if not found else 1 + alts.index(found.pop()))
        name = next((p.rsid for p in positions if p.rsid), ".")
        genotype = "/".join(str(code) for code in sorted(codes))
        line = f"{gene.chromosome}\t{place}\t{name}\t{ref}\t{','.join(alts)}\t.\tPASS\t.\tGT:DP:GQ"
        rows.append((gene.chromosome, place, f"{line}\t{genotype}:{READ_DEPTH}:{GENOTYPE_QUALITY}"))
    return rows


def vcf_text() -> str:
    """The whole VCF."""
    order = {name: place for place, name in enumerate(CHROMOSOME_LENGTHS)}
    rows = [row for symbol in callable_genes() for row in _rows(load_gene(symbol))]
    rows.sort(key=lambda row: (order[row[0]], row[1]))
    used = sorted({row[0] for row in rows}, key=order.__getitem__)
    header = [
        "##fileformat=VCFv4.2",
        "##source=posologist example; made, not sequenced",
        "##reference=GRCh38",
        *(f"##contig=<ID={name},length={CHROMOSOME_LENGTHS[name]},assembly=GRCh38>" for name in used),
        '##FILTER=<ID=PASS,Description="All filters passed">',
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Read depth">',
        '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="Genotype quality">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tEXAMPLE-1",
    ]
    return "\n".join([*header, *(row[2] for row in rows)]) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(vcf_text(), encoding="utf-8")
