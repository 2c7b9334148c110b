"""Records of one sample -> the two bases at each defining position of a gene."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from posologist.core.settings import Settings
from posologist.genome.build import Build
from posologist.genome.targets import DELETED, OTHER, REFERENCE, Indels, Reading, Target, indels_of, targets_of
from posologist.genome.vcf import Header, Record, Regions, merge_regions, plain_chromosome
from posologist.knowledge.genes import Gene, Position

Absent = Literal["missing", "reference"]
_LONG = 100  # bases; a longer record is a reference block or a large deletion


@dataclass(frozen=True, slots=True)
class Genotype:
    """The two alleles at a position, in the definition's spelling; None where a strand was not read.

    `block`: strands of positions with the same block belong together; None where both alleles are equal, or
    the order is not known. `assumed`: no record, taken as reference on request. `copies` is 1 where the file says
    that the person has one copy (men, X chromosome); then `second` is None. `suspect`: a record with another base
    than the reference's was there and may not be used.
    """

    position: Position
    first: str | None
    second: str | None
    block: str | None = None
    assumed: bool = False
    lines: tuple[int, ...] = ()
    findings: tuple[str, ...] = ()
    copies: int = 2
    suspect: bool = False

    @property
    def read(self) -> bool:
        """Whether at least one strand is known."""
        return self.first is not None or self.second is not None

    @property
    def complete(self) -> bool:
        """Whether every strand is known."""
        return self.first is not None and (self.second is not None or self.copies == 1)

    @property
    def heterozygous(self) -> bool:
        """Whether the two strands differ, or may differ."""
        return self.copies == 2 and self.first != self.second


class Listing(Protocol):
    """What a file says it covers."""

    @property
    def header(self) -> Header: ...
    @property
    def chromosomes(self) -> Collection[str]: ...


def absent_on(chromosome: str, absent: Absent, listing: Listing) -> Absent:
    """What absent positions are on a chromosome without any record.

    A file of one chromosome says nothing of the others, nor does one whose header leaves the contig out.
    """
    if absent == "missing" or chromosome in listing.chromosomes:
        return absent
    contigs = {plain_chromosome(name) for name in listing.header.contigs}
    several = len(listing.chromosomes) > 1
    return "reference" if several and (not contigs or chromosome in contigs) else "missing"


MARGIN = 60  # bases around a position in which another spelling of an indel may start


def regions_of(genes: Iterable[Gene], builds: Iterable[Build]) -> Regions:
    """Where the genes' positions are, in any of the builds, with a margin."""
    return merge_regions(
        [
            (plain_chromosome(gene.chromosome), p.at(build) - MARGIN, p.at(build) + len(p.ref) + MARGIN)
            for build in builds
            for gene in genes
            for p in (*gene.positions, *gene.extra_positions)
        ]
    )


def read_gene(
    gene: Gene, records: Sequence[Record], *, build: Build, absent: Absent, settings: Settings
) -> tuple[Genotype, ...]:
    """The genotype at every defining position of the gene.

    Parameters
    ----------
    records
        Of the gene's chromosome, any order.
    absent
        What a position without a record is: "missing", or "reference" (then marked as assumed).
    """
    return read_positions(gene.positions, _Index(records), gene, build=build, absent=absent, settings=settings)


def read_extra(
    gene: Gene, records: Sequence[Record], *, build: Build, absent: Absent, settings: Settings
) -> tuple[Genotype, ...]:
    """The genotype at positions that define no allele of the gene and that guidance asks for."""
    return read_positions(gene.extra_positions, _Index(records), gene, build=build, absent=absent, settings=settings)


def read_positions(
    positions: Sequence[Position], index: _Index, gene: Gene, *, build: Build, absent: Absent, settings: Settings
) -> tuple[Genotype, ...]:
    """As `read_gene`, for the positions given."""
    targets = targets_of(positions, build)
    indels = indels_of(targets)
    return settled(
        gene,
        targets,
        [read_position(t, indels, index.near(t), build=build, absent=absent, settings=settings) for t in targets],
    )


def unsettled(genotype: Genotype) -> bool:
    """Whether what the position says depends on the gene's other positions."""
    half = genotype.read and (genotype.copies == 1 or genotype.second is None)
    return half or DELETED in (genotype.first, genotype.second)


def settled(gene: Gene, targets: Sequence[Target], given: Sequence[Genotype]) -> tuple[Genotype, ...]:
    """The genotypes of one gene, with one view of deleted bases and of how many copies there are.

    A base that is deleted by a deletion that the gene documents, and that was found, counts as the reference's: the
    allele with that deletion says nothing of it. A single call where everyone has two copies is half a call. On the
    X chromosome it means one copy, unless other positions of the gene differ between two strands.
    """
    genotypes = _spanned(targets, given)
    read = [genotype for genotype in genotypes if genotype.read]
    if gene.one_copy_in_men and read and all(genotype.second is None for genotype in read):
        return tuple(replace(genotype, copies=1, block=None) for genotype in genotypes)
    if not any(genotype.copies == 1 and genotype.read for genotype in genotypes):
        return tuple(genotypes)
    if not gene.one_copy_in_men:
        return tuple(_half_read(genotype) for genotype in genotypes)
    if any(genotype.heterozygous for genotype in genotypes if genotype.copies == 2):
        return tuple(_doubled(genotype) for genotype in genotypes)
    return tuple(replace(genotype, second=None, block=None, copies=1) for genotype in genotypes)


def _spanned(targets: Sequence[Target], genotypes: Sequence[Genotype]) -> Sequence[Genotype]:
    """With the reference's base where a documented deletion, which was found, takes it away."""
    if not any(DELETED in (genotype.first, genotype.second) for genotype in genotypes):
        return genotypes
    gaps = [
        (edit.pos, edit.pos + len(edit.deleted))
        for target, genotype in zip(targets, genotypes, strict=True)
        for group, allele in target.edits
        for edit in group
        if allele in (genotype.first, genotype.second) and len(edit.deleted) > len(edit.inserted)
    ]
    return [
        _undeleted(genotype) if any(start <= target.pos < end for start, end in gaps) else genotype
        for target, genotype in zip(targets, genotypes, strict=True)
    ]


def _undeleted(genotype: Genotype) -> Genotype:
    base = genotype.position.ref
    first, second = (base if strand == DELETED else strand for strand in (genotype.first, genotype.second))
    return replace(genotype, first=first, second=second, block=genotype.block if first != second else None)


def _doubled(genotype: Genotype) -> Genotype:
    """A single call on the X chromosome of someone with two copies elsewhere on it: taken as both."""
    if genotype.copies == 2:
        return genotype
    text = f"{genotype.position.id}: one call where others are of two copies; taken for both"
    return replace(genotype, second=genotype.first, copies=2, findings=(*genotype.findings, text))


def _half_read(genotype: Genotype) -> Genotype:
    """A single call where everyone has two copies: one of them was not read."""
    if genotype.copies == 2:
        return genotype
    text = f"{genotype.position.id}: only one of two copies was read"
    return replace(genotype, copies=2, findings=(*genotype.findings, text))


class _Index:
    """Records by position: short ones found by bisection, long ones (reference blocks, deletions) one by one."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._short = sorted((r for r in records if r.end - r.pos < _LONG), key=lambda r: (r.pos, r.line))
        self._long = [r for r in records if r.end - r.pos >= _LONG]
        self._starts = [record.pos for record in self._short]

    def near(self, target: Target) -> list[Record]:
        """Records that can say something about the target."""
        low = bisect_left(self._starts, min(target.pos, target.start) - _LONG)
        high = bisect_right(self._starts, target.end)
        return [record for record in (*self._short[low:high], *self._long) if target.near(record)]


def read_position(
    target: Target,
    indels: Indels,
    records: Sequence[Record],
    *,
    build: Build,
    absent: Absent,
    settings: Settings,
) -> Genotype:
    """The genotype at one position, from the records near it."""
    position = target.position
    spoken = [(r, reading) for r in records if (reading := target.read(r, indels, settings)) is not None]
    readings = [reading for _, reading in spoken]
    base = position.reference(build)
    if not readings:
        if absent == "reference":
            return Genotype(position, base, base, assumed=True)
        return Genotype(position, None, None)
    copies = 1 if all(reading.copies == 1 for reading in readings) else 2
    contradict = len(spoken) > 1 and _contradict([(target.listed(r, indels), reading) for r, reading in spoken])
    strands, block, conflict = ((None, None), None, True) if contradict else _combine(readings, position)
    findings = [text for reading in readings for text in reading.findings]
    if conflict:
        findings.append(f"{position.id}: records contradict each other, so the position is not used")
    first, second = (base if strand == REFERENCE else strand for strand in strands)
    lines = tuple(dict.fromkeys(reading.line for reading in readings))
    return Genotype(
        position, first, None if copies == 1 else second, None if copies == 1 else block, lines=lines,
        findings=tuple(dict.fromkeys(findings)), copies=copies,
        suspect=first is None and any(reading.suspect for reading in readings),
    )  # fmt: skip


def _combine(readings: Sequence[Reading], position: Position) -> tuple[tuple[str | None, str | None], str | None, bool]:
    """One genotype from all records of a position: strands, block, and whether they contradict each other."""
    distinct = list(dict.fromkeys((r.strands, r.phased, r.phase_set) for r in readings))
    carrying = [item for item in distinct if any(s not in (REFERENCE, None) for s in item[0])]
    deciding = carrying or distinct
    phased = all(item[1] for item in deciding) and len({item[2] for item in deciding}) == 1
    if phased:
        strands, conflict = _strandwise([item[0] for item in distinct])
    else:
        strands, conflict = _unordered([item[0] for item in distinct])
    if conflict:
        return (None, None), None, True
    block = deciding[0][2] if phased and strands[0] != strands[1] else None
    return strands, block, False


def _contradict(spoken: Sequence[tuple[frozenset[str], Reading]]) -> bool:
    """Whether two records list the same allele and count it differently."""
    known = [(listed, reading.strands) for listed, reading in spoken if None not in reading.strands]
    alleles = set[str]().union(*(listed for listed, _ in known)) - {OTHER, DELETED, REFERENCE}
    return any(len({strands.count(allele) for listed, strands in known if allele in listed}) > 1 for allele in alleles)


def _strandwise(rows: Sequence[tuple[str | None, str | None]]) -> tuple[tuple[str | None, str | None], bool]:
    result: list[str | None] = []
    for side in (0, 1):
        values = {row[side] for row in rows}
        changed = values - {REFERENCE, None}
        if len(changed) > 1:
            return (None, None), True
        result.append(next(iter(changed)) if changed else (None if None in values else REFERENCE))
    return (result[0], result[1]), False


def _unordered(rows: Sequence[tuple[str | None, str | None]]) -> tuple[tuple[str | None, str | None], bool]:
    changed = [value for row in rows for value in row if value not in (REFERENCE, None)]
    if len(changed) > 2:
        return (None, None), True
    if len(changed) == 2:
        return (changed[0], changed[1]), False
    known = all(None not in row for row in rows)
    fill = REFERENCE if known else None
    if len(rows) == 1:
        return rows[0], False
    return (fill, changed[0] if changed else fill), False
