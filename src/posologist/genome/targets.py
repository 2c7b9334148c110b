"""What a record says of a defining position.

Works on edits (what is deleted and inserted where) and not on strings, so that padded, split, joined or shifted
spellings of a variant read the same. What was not read is None, never the reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from posologist.core.settings import Settings
from posologist.genome.build import Build
from posologist.genome.vcf import Record
from posologist.knowledge.genes import Position

OTHER = "other"
"""A base that no allele of the gene documents."""
DELETED = "*"
"""The position lies inside a deletion on this strand."""
REFERENCE = "ref"
_ALLELE_NUMBER = re.compile(r"[0-9]{1,4}")
_BLOCK_ALTS = frozenset({"<NON_REF>", "<*>"})


class Edit(NamedTuple):
    """`deleted` at `pos` is replaced by `inserted`; common ends are trimmed away."""

    pos: int
    deleted: str
    inserted: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One record's two strands at one position: REFERENCE, an allele of the definition, OTHER, DELETED or None."""

    strands: tuple[str | None, str | None]
    phased: bool
    phase_set: str
    line: int
    findings: tuple[str, ...] = ()
    copies: int = 2
    suspect: bool = False


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

    def read(self, record: Record, indels: Indels, settings: Settings) -> Reading | None:
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
            return Reading((None, None), False, "", record.line, (text,), suspect=suspect)
        copies = len(calls)
        first = self._strand(record, calls[0], indels)
        strands = (first, self._strand(record, calls[1], indels) if copies == 2 else first)
        findings: tuple[str, ...] = ()
        if copies == 2 and (strands[0] is None) != (strands[1] is None):
            findings = (f"{label}: only one of two copies was read ({record.gt})",)
        return Reading(strands, phased, record.phase_set or "|", record.line, findings, copies)

    def listed(self, record: Record, indels: Indels) -> frozenset[str]:
        """The alleles of the position that a record lists, called or not."""
        return frozenset(str(self._strand(record, str(n), indels)) for n in range(1, len(record.alts) + 1))

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
    return ours == theirs or (
        len(ours) == len(theirs) and all(a == b or "N" in (a, b) for a, b in zip(ours, theirs, strict=True))
    )


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
