"""Records of one sample -> the two bases at each defining position of a gene.

Works on edits (what is deleted and inserted where) and not on strings, so that padded, split, joined or shifted
spellings of a variant read the same. What was not read is None, never the reference.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from posologist.core.settings import Settings
from posologist.genome.build import Build
from posologist.genome.vcf import Header, Record, Regions, merge_regions, plain_chromosome
from posologist.knowledge.genes import Gene, Position

Absent = Literal["missing", "reference"]
OTHER = "other"
"""A base that no allele of the gene documents."""
DELETED = "*"
"""The position lies inside a deletion on this strand."""
REFERENCE = "ref"
_LONG = 100  # bases; a longer record is a reference block or a large deletion
_ALLELE_NUMBER = re.compile(r"[0-9]{1,4}")
_BLOCK_ALTS = frozenset({"<NON_REF>", "<*>"})


class Edit(NamedTuple):
    """`deleted` at `pos` is replaced by `inserted`; common ends are trimmed away."""

    pos: int
    deleted: str
    inserted: str


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


@dataclass(frozen=True, slots=True)
class _Reading:
    """One record's two strands at one position: REFERENCE, an allele of the definition, OTHER, DELETED or None."""

    strands: tuple[str | None, str | None]
    phased: bool
    phase_set: str
    line: int
    findings: tuple[str, ...] = ()
    copies: int = 2
    suspect: bool = False
    listed: frozenset[str] = frozenset()


def edits_of(pos: int, ref: str, alt: str) -> tuple[Edit, ...]:
    """What `alt` changes: one edit per base for substitutions, else one trimmed edit.

    Examples
    --------
    >>> edits_of(10, "CAT", "C")
    (Edit(pos=11, deleted='AT', inserted=''),)
    >>> edits_of(10, "CAT", "GAC")
    (Edit(pos=10, deleted='C', inserted='G'), Edit(pos=12, deleted='T', inserted='C'))
    """
    if len(ref) == len(alt):
        return tuple(Edit(pos + i, a, b) for i, (a, b) in enumerate(zip(ref, alt, strict=True)) if a != b)
    tail = 0
    while tail < min(len(ref), len(alt)) and ref[-1 - tail] == alt[-1 - tail]:
        tail += 1
    ref, alt = ref[: len(ref) - tail], alt[: len(alt) - tail]
    head = 0
    while head < min(len(ref), len(alt)) and ref[head] == alt[head]:
        head += 1
    return (Edit(pos + head, ref[head:], alt[head:]),)


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
    readings = [reading for record in records if (reading := target.read(record, indels, settings)) is not None]
    base = position.reference(build)
    if not readings:
        if absent == "reference":
            return Genotype(position, base, base, assumed=True)
        return Genotype(position, None, None)
    copies = 1 if all(reading.copies == 1 for reading in readings) else 2
    strands, block, conflict = _combine(readings, position)
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


def targets_of(positions: Sequence[Position], build: Build) -> tuple[Target, ...]:
    """The positions as they stand in a build."""
    return tuple(Target.of(position, build) for position in positions)


Indels = Mapping[Edit, tuple[str, Edit]]
"""Documented insertions and deletions, in every place where they may be written: position id, and the leftmost form."""


def indels_of(targets: Sequence[Target]) -> Indels:
    """The insertions and deletions that the positions document."""
    return {
        Edit(edit.pos + move, _rotated(edit.deleted, move), _rotated(edit.inserted, move)): (target.position.id, edit)
        for target in targets
        for group, _ in target.edits
        for edit in group
        if len(group) == 1 and len(edit.deleted) != len(edit.inserted)
        for move in range(target.position.shift + 1)
    }


@dataclass(frozen=True, slots=True)
class Target:
    """A position in one build, with the edits that make each documented allele."""

    position: Position
    pos: int
    ref: str
    edits: tuple[tuple[tuple[Edit, ...], str], ...]
    indel: bool
    start: int
    end: int

    @classmethod
    def of(cls, position: Position, build: Build) -> Target:
        pos, ref = position.at(build), position.reference(build)
        others = [allele for allele in (position.ref, *position.alts) if allele != ref]
        edits = tuple((edits_of(pos, ref, allele), allele) for allele in others)
        indel = any(len(edit.deleted) != len(edit.inserted) for group, _ in edits for edit in group)
        start = min(edit.pos for group, _ in edits for edit in group)
        end = max(edit.pos + max(len(edit.deleted), 1) - 1 for group, _ in edits for edit in group)
        return cls(position, pos, ref, edits, indel, start, end + position.shift)

    def near(self, record: Record) -> bool:
        """Whether the record can say something about the position."""
        return record.pos <= self.end and record.end >= min(self.pos, self.start)

    def read(self, record: Record, indels: Indels, settings: Settings) -> _Reading | None:
        """The record's two strands here; None if it says nothing about the position."""
        if not self._speaks(record):
            return None
        label = self.position.id
        problem = self._problem(record, settings)
        calls, phased = _split_genotype(record.gt or ".")
        if not problem and len(calls) > 2:
            problem = f"genotype {record.gt} has {len(calls)} copies"
        if problem:
            text = f"{label}: {problem}; the position is not used"
            suspect = any(call not in (None, "0") for call in calls)
            return _Reading((None, None), False, "", record.line, (text,), suspect=suspect)
        copies = len(calls)
        first = self._strand(record, calls[0], indels)
        strands = (first, self._strand(record, calls[1], indels) if copies == 2 else first)
        findings: tuple[str, ...] = ()
        if copies == 2 and (strands[0] is None) != (strands[1] is None):
            findings = (f"{label}: only one of two copies was read ({record.gt})",)
        listed = frozenset(str(self._strand(record, str(n), indels)) for n in range(1, len(record.alts) + 1))
        return _Reading(strands, phased, record.phase_set or "|", record.line, findings, copies, listed=listed)

    def _speaks(self, record: Record) -> bool:
        """An SNV needs a record over it; an indel one that lists an indel here, or says that all is reference."""
        covers = record.pos <= self.pos <= record.end
        if not self.indel:
            return record.pos <= self.start <= record.end and (covers or len(record.ref) > 1)
        plain = all(alt in _BLOCK_ALTS for alt in record.alts)
        if plain:
            return covers
        touched = any(
            self._touches(edit)
            for alt in record.alts
            if not alt.startswith("<") and alt.isalpha()
            for edit in edits_of(record.pos, record.ref, alt)
            if len(edit.deleted) != len(edit.inserted)
        )
        return touched or ("*" in record.alts and covers) or (covers and record.ref == self.ref and len(self.ref) > 1)

    def _problem(self, record: Record, settings: Settings) -> str:
        if record.filter:
            return f"{record.where} failed the filter {record.filter}"
        if record.quality is not None and record.quality < settings.min_genotype_quality:
            return f"genotype quality {record.quality:g} is below {settings.min_genotype_quality}"
        if record.depth is not None and record.depth < settings.min_read_depth:
            return f"read depth {record.depth:g} is below {settings.min_read_depth}"
        if record.gt is None:
            return f"{record.where} has no genotype"
        block = record.end > record.pos + len(record.ref) - 1
        ours = self.ref[: record.pos + len(record.ref) - self.pos] if record.pos <= self.pos else ""
        theirs = record.ref[self.pos - record.pos : self.pos - record.pos + len(ours)] if ours else ""
        if ours and not _agree(ours, theirs) and not (block and not theirs):
            return f"{record.where} has the reference {theirs}, the definition {ours}"
        return ""

    def _strand(self, record: Record, call: str | None, indels: Indels) -> str | None:
        if call is None or call == ".":
            return None
        index = int(call)
        if index == 0:
            return REFERENCE
        if index > len(record.alts) or record.alts[index - 1] in _BLOCK_ALTS:
            return OTHER
        alt = record.alts[index - 1]
        if alt == "*" or alt.startswith("<DEL"):
            return DELETED
        if not alt.isalpha():
            return None
        return self._meaning(edits_of(record.pos, record.ref, alt), indels)

    def _meaning(self, found: tuple[Edit, ...], indels: Indels) -> str:
        """What the edits make of the position; those that another position documents say nothing of this one."""
        owned = [(edit, *indels.get(edit, ("", edit))) for edit in found]
        mine = (leftmost for _, owner, leftmost in owned if owner in ("", self.position.id))
        here = tuple(edit for edit in mine if self._touches(edit))
        if not here:
            return REFERENCE
        for wanted, allele in self.edits:
            if len(wanted) == len(here) and all(self._same(a, b) for a, b in zip(wanted, here, strict=True)):
                return allele
        inside = any(edit.pos <= self.start < edit.pos + len(edit.deleted) for edit in here if not edit.inserted)
        return DELETED if inside and not self.indel else OTHER

    def _touches(self, edit: Edit) -> bool:
        indel = len(edit.deleted) != len(edit.inserted)
        if not edit.deleted:
            return self.indel and self.start <= edit.pos <= self.end
        last = edit.pos + len(edit.deleted) - 1
        if self.indel and not indel:
            deletes = any(group[0].deleted for group, _ in self.edits)
            return deletes and self.start <= edit.pos <= self.end - self.position.shift
        return edit.pos <= self.end and last >= self.start

    def _same(self, wanted: Edit, found: Edit) -> bool:
        move = found.pos - wanted.pos
        if not 0 <= move <= self.position.shift:
            return False
        return _rotated(wanted.deleted, move) == found.deleted and _rotated(wanted.inserted, move) == found.inserted


def _agree(ours: str, theirs: str) -> bool:
    """Whether two reference sequences are the same; N is any base."""
    return len(ours) == len(theirs) and all(a == b or "N" in (a, b) for a, b in zip(ours, theirs, strict=True))


def _rotated(bases: str, move: int) -> str:
    if not bases:
        return bases
    k = move % len(bases)
    return bases[k:] + bases[:k]


def _split_genotype(gt: str) -> tuple[tuple[str | None, ...], bool]:
    """Allele numbers, and whether the order is that of the strands."""
    body = gt.lstrip("|/")
    phased = "|" in body and "/" not in body
    calls = body.replace("|", "/").split("/")
    return tuple(call if _ALLELE_NUMBER.fullmatch(call) else None for call in calls), phased


def _combine(
    readings: Sequence[_Reading], position: Position
) -> tuple[tuple[str | None, str | None], str | None, bool]:
    """One genotype from all records of a position: strands, block, and whether they contradict each other."""
    if _contradict(readings):
        return (None, None), None, True
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


def _contradict(readings: Sequence[_Reading]) -> bool:
    """Whether two records list the same allele and count it differently."""
    known = [reading for reading in readings if None not in reading.strands]
    alleles = set[str]().union(*(reading.listed for reading in known)) - {OTHER, DELETED, REFERENCE}
    return any(
        len({reading.strands.count(allele) for reading in known if allele in reading.listed}) > 1 for allele in alleles
    )


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
