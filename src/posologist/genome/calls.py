"""A gene's genotypes as bits, one bit a position: what matching works on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from posologist.genome.genotypes import Genotype
from posologist.knowledge.genes import Gene


class Varied(NamedTuple):
    """A position that is not plainly the reference's: its two strands (None: not read) and their phase block."""

    place: int
    first: str | None
    second: str | None
    block: str | None


@dataclass(frozen=True, slots=True)
class Calls:
    """Bits of the positions that were read, read on every strand, and read as the reference's; and all others.

    `one_copy`: the person has one copy of the gene; then `second` is None everywhere. `suspect`: bits of positions
    where a variant was called and may not be used.
    """

    read: int
    complete: int
    reference: int
    varied: tuple[Varied, ...]
    one_copy: bool = False
    suspect: int = 0

    def everything(self) -> int:
        """Bits of the positions that are not plainly the reference's."""
        return sum(1 << varied.place for varied in self.varied)

    def blocks(self) -> tuple[int, ...]:
        """Bits whose strands belong together, one number for each group whose phase to the others is not known."""
        if self.one_copy:
            return ()
        found: dict[object, int] = {}
        for place, first, second, block in self.varied:
            if first != second:
                key = block if block is not None else place
                found[key] = found.get(key, 0) | 1 << place
        return tuple(found.values())


def calls_of(gene: Gene, genotypes: Sequence[Genotype]) -> Calls:
    """The genotypes, in the order of the gene's positions, as bits."""
    copies = {genotype.copies for genotype in genotypes if genotype.read}
    parts = (part_of(n, genotype) for n, genotype in enumerate(genotypes))
    return joined(parts, one_copy=gene.one_copy_in_men and copies == {1})


Part = tuple[int, int, int, int, Varied | None]


def part_of(place: int, genotype: Genotype) -> Part:
    """One position's share of the calls: read, complete, reference, suspect, and what varies."""
    bit = 1 << place
    if not genotype.read:
        return (0, 0, 0, bit if genotype.suspect else 0, None)
    complete = bit if genotype.complete else 0
    ref = genotype.position.ref
    if complete and genotype.first == ref and (genotype.copies == 1 or genotype.second == ref):
        return (bit, bit, bit, 0, None)
    return (bit, complete, 0, 0, Varied(place, genotype.first, genotype.second, genotype.block))


def joined(parts: Iterable[Part], *, one_copy: bool) -> Calls:
    """The calls of a gene from the shares of its positions."""
    read = complete = reference = suspect = 0
    varied = list[Varied]()
    for a, b, c, d, one in parts:
        read |= a
        complete |= b
        reference |= c
        suspect |= d
        if one is not None:
            varied.append(one)
    return Calls(read, complete, reference, tuple(varied), one_copy, suspect)
