"""Files about one position of one gene, CYP2C9*3, and what a call of them says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from genome_files import diplotype_rows, row, write_vcf
from posologist.core.genotype import GeneCall, GeneticProfile
from posologist.genome.document import call_genome
from posologist.knowledge.genes import load_gene

Rows = list[list[str]]

GENE = load_gene("CYP2C9")
ID, POS, REF, ALT = "rs1057910", 94981296, "A", "C"  # CYP2C9*3: decreased to none, by this position alone
FROM, TO = 94938000, 94990000  # around CYP2C9


def here(gt: str, alt: str = ALT, ref: str = REF, **more: str) -> list[str]:
    """A line at CYP2C9*3."""
    return row("chr10", POS, ref, alt, gt, **more)


def around(*lines: list[str]) -> Rows:
    """CYP2C9 as the reference has it, with these lines in place of the one at *3."""
    rows = diplotype_rows(GENE, "*1", "*1", phased=False)
    return [r for r in rows if r[1] != str(POS)] + [*lines]


def profile_of(path: Path, rows: Iterable[Sequence[str]], **options: object) -> GeneticProfile:
    """The profile of a file with these lines."""
    header = options.pop("header", None)
    build = str(options.pop("written", "GRCh38"))
    written = write_vcf(path / "v.vcf", rows, build=build, header=header)  # type: ignore[arg-type]
    return call_genome(written, **options)  # type: ignore[arg-type]


def call_of(path: Path, rows: Iterable[Sequence[str]], symbol: str = "CYP2C9", **options: object) -> GeneCall:
    """The call of one gene in a file with these lines."""
    return profile_of(path, rows, **options).genes[symbol]  # type: ignore[index]


def says(call: GeneCall, *words: str) -> bool:
    """Whether one finding has all the words."""
    return any(all(word in text for word in words) for text in call.findings)


def assert_not_used(call: GeneCall) -> None:
    """The position counts as not read, the call says why, and the allele is not excluded."""
    assert ID in call.missing_positions
    assert call.evidence_state != "called"
    assert says(call, ID)


def haploid(rows: Rows) -> Rows:
    """The lines with one call each."""
    return [[*r[:-1], r[-1].replace("|", "/").split("/")[0]] for r in rows]
