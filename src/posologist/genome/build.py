"""Which reference genome a VCF was written against: from contig lengths, from its header, or from known variants."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from posologist.core.errors import InputError
from posologist.genome.vcf import Header, Record, plain_chromosome
from posologist.knowledge.genes import Gene, Position

Build = Literal["GRCh37", "GRCh38"]

# Lengths of the primary assemblies (bases), as in their sequence reports: GCA_000001405.1 and GCA_000001405.15.
_NAMES = (*map(str, range(1, 23)), "X", "Y")
_LENGTHS: Mapping[Build, tuple[int, ...]] = {
    "GRCh37": (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431, 135534747,
        135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248, 59128983, 63025520,
        48129895, 51304566, 155270560, 59373566,
    ),
    "GRCh38": (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717, 133797422,
        135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616, 64444167,
        46709983, 50818468, 156040895, 57227415,
    ),
}  # fmt: skip
_SPELLINGS: Mapping[Build, re.Pattern[str]] = {
    "GRCh37": re.compile(r"GRCh37|hg19|hs37d5|g1k_v37|\bb37\b|GCA_000001405\.(?:[1-9]|1[0-4])\b", re.IGNORECASE),
    "GRCh38": re.compile(r"GRCh38|hg38|hs38|\bb38\b|GCA_000001405\.(?:1[5-9]|2\d)\b", re.IGNORECASE),
}
_OTHER = re.compile(r"T2T|CHM13|hs1\b|hg18|NCBI36|GRCm|mm10|mm39", re.IGNORECASE)


BUILDS: tuple[Build, ...] = ("GRCh37", "GRCh38")


def stated_build(choice: str) -> Build | None:
    """The build that a user names; None for "auto".

    Raises
    ------
    InputError
        If it is neither.
    """
    if choice not in ("auto", *BUILDS):
        raise InputError(f"'{choice}' is not a choice", where="--build", hint="use one of auto, GRCh37, GRCh38")
    return next((build for build in BUILDS if build == choice), None)


def build_from_header(path: Path, header: Header) -> Build | None:
    """The build that contig lengths or the reference lines name, None if they name none.

    Raises
    ------
    InputError
        If they name another genome, or two builds at once.
    """
    by_length = _by_length(header)
    text = " ".join(header.reference_lines)
    named: set[Build] = {build for build, spelling in _SPELLINGS.items() if spelling.search(text)}
    found = by_length or named
    if len(by_length) > 1 or len(found) > 1 or (by_length and named and not by_length & named):
        raise InputError(
            "the header names two reference genomes", where=str(path), hint="say which with --build GRCh37 or GRCh38"
        )
    if not found and (_OTHER.search(text) or _foreign(header)):
        raise InputError(
            "the contigs are not those of human GRCh37 or GRCh38",
            where=str(path),
            hint="give a VCF against one of them",
        )
    return next(iter(found), None)


def _by_length(header: Header) -> set[Build]:
    found: set[Build] = set()
    for name, length in header.contigs.items():
        short = plain_chromosome(name)
        if length is not None and short in _NAMES:
            index = _NAMES.index(short)
            found |= {build for build, lengths in _LENGTHS.items() if lengths[index] == length}
    return found


def _foreign(header: Header) -> bool:
    """Whether contig lengths are stated, and none of them is a human chromosome's."""
    stated = [length for length in header.contigs.values() if length is not None]
    return bool(stated) and not _by_length(header)


def build_votes(records: Mapping[str, Iterable[Record]], genes: Iterable[Gene]) -> dict[Build, int]:
    """How many records stand where a known variant is in each build, with its reference base and its alternative."""
    votes: dict[Build, int] = {"GRCh37": 0, "GRCh38": 0}
    for gene in genes:
        found = {record.pos: record for record in records.get(plain_chromosome(gene.chromosome), ())}
        for position in gene.positions:
            for build in votes:
                record = found.get(position.at(build))
                votes[build] += record is not None and _is_known(position, record, build)
    return votes


def _is_known(position: Position, record: Record, build: Build) -> bool:
    documented = {position.ref, *position.alts} - {position.reference(build)}
    same_id = bool(position.rsid) and record.id == position.rsid
    return record.ref == position.reference(build) and (same_id or bool(documented & set(record.alts)))


def build_from_variants(records: Mapping[str, Iterable[Record]], genes: Iterable[Gene]) -> Build | None:
    """The build in which at least two known variants are found, when none is found in the other."""
    votes = build_votes(records, genes)
    decided = [build for build, count in votes.items() if count >= 2]
    return decided[0] if len(decided) == 1 and min(votes.values()) == 0 else None


def check_build(path: Path, records: Mapping[str, Iterable[Record]], genes: Sequence[Gene], build: Build) -> None:
    """Refuses a file whose variants or reference bases are those of the other build.

    Raises
    ------
    InputError
        If they are.
    """
    votes = build_votes(records, genes)
    other: Build = "GRCh37" if build == "GRCh38" else "GRCh38"
    agree = differ = 0
    for gene in genes:
        expected = {p.at(build): p.reference(build) for p in gene.positions if len(p.ref) == 1}
        for record in records.get(plain_chromosome(gene.chromosome), ()):
            if record.pos in expected and len(record.ref) == 1:
                agree += record.ref == expected[record.pos]
                differ += record.ref != expected[record.pos]
    wrong_place = votes[other] >= 2 and votes[build] == 0
    if wrong_place or (differ >= 2 and differ > agree):
        raise InputError(
            f"the variants stand where {other} has them, not {build}"
            if wrong_place
            else f"{differ} of {agree + differ} reference bases are not those of {build}",
            where=str(path),
            hint="check the reference genome of the file, or say it with --build",
        )
