"""Many samples of one VCF: each distinct combination of genotypes of a gene is called once.

The file is read once, line by line. Of a line, each distinct sample field is taken apart once; the samples keep a
number for it. When a gene is passed, samples with the same numbers throughout form a class, and a class is called
like a single sample. Memory grows with samples x lines of the genes in hand, not with the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError
from posologist.core.settings import Settings
from posologist.genome.build import BUILDS, Build, check_build
from posologist.genome.calls import Calls, Part, calls_of, joined, part_of
from posologist.genome.genecall import Outcome, outcome_of
from posologist.genome.genotypes import (
    Absent,
    Genotype,
    absent_on,
    read_position,
    regions_of,
    settled,
    unsettled,
)
from posologist.genome.targets import Target, indels_of, targets_of
from posologist.genome.vcf import Line, Lines, Record, Regions, record_of
from posologist.knowledge.genes import Gene

Numbers = npt.NDArray[np.uint32]
_CHANCE = 0x9E3779B97F4A7C15  # seed of the numbers that stand for lines in a class's fingerprint


@dataclass(frozen=True, slots=True)
class GeneResult:
    """One gene of all samples: the distinct outcomes, and for each sample the number of its own."""

    gene: Gene
    outcomes: tuple[Outcome, ...]
    of_sample: npt.NDArray[np.int32]
    classes: int
    findings: tuple[str, ...]


class _Fields(dict[bytes, int]):
    """Sample field -> number of its record; fields that mean the same share it."""

    def __init__(self, path: Path, line: Line, columns: Sequence[bytes]) -> None:
        super().__init__()
        self._path, self._line, self._columns = path, line, columns
        self._numbers: dict[Record, int] = {}
        self.records: list[Record] = []

    def __missing__(self, raw: bytes) -> int:
        record = record_of(self._path, self._line, self._columns, raw)
        number = self._numbers.setdefault(record, len(self.records))
        if number == len(self.records):
            self.records.append(record)
        self[raw] = number
        return number


@dataclass(frozen=True, slots=True)
class _Column:
    """One line: its distinct records, and the number of each sample's."""

    records: tuple[Record, ...]
    of_sample: Numbers | npt.NDArray[np.uint8]


@dataclass(slots=True)
class _Gathering:
    """The lines of one gene while the file passes it."""

    gene: Gene
    chromosome: str
    regions: Regions
    end: int
    columns: list[_Column] = field(default_factory=list)
    closed: bool = False

    @classmethod
    def of(cls, gene: Gene, build: Build) -> _Gathering:
        """An empty one."""
        regions = regions_of([gene], (build,))
        ((chromosome, spans),) = regions.items()
        return cls(gene, chromosome, regions, spans[-1][1])

    def wants(self, line: Line, end: int) -> bool:
        """Whether a line may say something about the gene."""
        return line.chromosome == self.chromosome and any(
            line.pos <= high and end >= low for low, high in self.regions[self.chromosome]
        )


class Cohort:
    """All samples of an open VCF.

    Parameters
    ----------
    build
        Reference genome of the file.
    absent
        What a position without a record is, as for a single sample.
    """

    def __init__(
        self, lines: Lines, genes: Sequence[Gene], *, build: Build, absent: Absent, settings: Settings
    ) -> None:
        self._lines, self._genes, self._build = lines, tuple(genes), build
        self._caller = _ClassCaller(build, absent, settings, len(lines.header.samples))
        self._sites: dict[str, list[Record]] = {}

    def results(self) -> Iterator[GeneResult]:
        """Each gene, in the order in which the file passes them.

        Raises
        ------
        InputError
            If a line is damaged, the lines of a gene do not stand together (then the file is not sorted), or, at
            the end, the variants are those of the other build.
        """
        gatherings = [_Gathering.of(gene, self._build) for gene in self._genes]
        for line in self._lines.within(regions_of(self._genes, BUILDS)):
            for gathering in [g for g in gatherings if g.columns and not g.closed and _passed(g, line)]:
                yield _close(gathering, self._caller)
            self._give(line, gatherings)
        check_build(self._lines.path, self._sites, self._genes, self._build)
        for gathering in gatherings:
            if not gathering.closed:
                absent = absent_on(gathering.chromosome, self._caller.absent, self._lines)
                yield _close(gathering, replace(self._caller, absent=absent))

    def _give(self, line: Line, gatherings: Sequence[_Gathering]) -> None:
        """Puts a line where it is wanted."""
        wanting = [gathering for gathering in gatherings if gathering.wants(line, _end_of(line))]
        if not wanting:  # a place of the other build: its variants tell a wrong one
            fields = line.text.rstrip(b"\r\n").split(b"\t", 10)
            if len(fields) > 9:
                site = record_of(self._lines.path, line, fields[:9], fields[9])
                self._sites.setdefault(line.chromosome, []).append(site)
            return
        late = next((gathering for gathering in wanting if gathering.closed), None)
        if late is not None:
            raise InputError(
                f"records of {late.gene.symbol} do not stand together",
                where=f"{self._lines.path}:{line.number or line.pos}",
                hint="sort the file by position",
            )
        column = _column(self._lines, line)
        self._sites.setdefault(line.chromosome, []).append(column.records[0])
        for gathering in wanting:
            gathering.columns.append(column)


def _passed(gathering: _Gathering, line: Line) -> bool:
    return line.chromosome != gathering.chromosome or line.pos > gathering.end


def _close(gathering: _Gathering, caller: _ClassCaller) -> GeneResult:
    result = caller.call(gathering.gene, gathering.columns)
    gathering.columns = []
    gathering.closed = True
    return result


def _end_of(line: Line) -> int:
    """Last base of a line, from its reference allele or its END."""
    fields = line.text.split(b"\t", 8)
    if len(fields) < 9:
        return line.pos
    at = fields[7].find(b"END=")
    if at in (0,) or (at > 0 and fields[7][at - 1 : at] == b";"):
        digits = fields[7][at + 4 :].split(b";", 1)[0]
        if digits.isdigit():
            return int(digits)
    return line.pos + len(fields[3]) - 1


def _column(lines: Lines, line: Line) -> _Column:
    fields = line.text.rstrip(b"\r\n").split(b"\t")
    samples = len(lines.header.samples)
    if len(fields) != 9 + samples:
        raise InputError(
            f"{len(fields)} columns where the header has {9 + samples}",
            where=f"{lines.path}:{line.number or line.pos}",
            hint="the file is damaged; make it again",
        )
    table = _Fields(lines.path, line, fields[:9])
    numbers = np.fromiter(map(table.__getitem__, fields[9:]), dtype=np.uint32, count=samples)
    small = numbers.astype(np.uint8) if len(table.records) <= 256 else numbers
    return _Column(tuple(table.records), small)


@dataclass(frozen=True, slots=True)
class _ClassCaller:
    """Calls the classes of a gene's samples."""

    build: Build
    absent: Absent
    settings: Settings
    samples: int

    def call(self, gene: Gene, columns: Sequence[_Column]) -> GeneResult:
        """The gene of every sample."""
        first, class_of = _classes(columns, self.samples)
        reader = _Reader(gene, columns, self.build, self.absent, self.settings)
        outcomes: dict[Calls, int] = {}
        found: list[Outcome] = []
        numbers = np.empty(len(first), dtype=np.int32)
        table = [column.of_sample[first].tolist() for column in columns]
        for n, codes in enumerate(zip(*table, strict=True) if table else [()] * len(first)):
            calls = reader.calls(codes)
            number = outcomes.setdefault(calls, len(found))
            if number == len(found):
                found.append(outcome_of(gene, calls))
            numbers[n] = number
        return GeneResult(gene, tuple(found), numbers[class_of], len(first), reader.findings())


def _classes(columns: Sequence[_Column], samples: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First sample of each class, and each sample's class; samples of a class have equal numbers in every column."""
    if not columns:
        return np.zeros(1, dtype=np.intp), np.zeros(samples, dtype=np.intp)
    weights = np.random.default_rng(_CHANCE).integers(1, 2**63, size=len(columns), dtype=np.uint64) | np.uint64(1)
    mark = np.zeros(samples, dtype=np.uint64)
    for column, weight in zip(columns, weights, strict=True):
        mark += (column.of_sample.astype(np.uint64) + np.uint64(1)) * weight
    _, first, class_of = np.unique(mark, return_index=True, return_inverse=True)
    if all(np.array_equal(c.of_sample[first][class_of], c.of_sample) for c in columns):
        return first, class_of
    rows = np.column_stack([column.of_sample for column in columns])
    _, first, class_of = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, class_of.reshape(-1)


class _Reader:
    """Turns the numbers of a class into the gene's calls; what a position says is worked out once per combination."""

    def __init__(
        self, gene: Gene, columns: Sequence[_Column], build: Build, absent: Absent, settings: Settings
    ) -> None:
        self._gene, self._columns = gene, columns
        self._build: Build = build
        self._absent: Absent = absent
        self._settings = settings
        self._targets = targets_of(gene.positions, build)
        self._indels = indels_of(self._targets)
        self._near = [self._columns_near(target) for target in self._targets]
        self._known: list[dict[tuple[int, ...], tuple[Genotype, Part, bool]]] = [{} for _ in self._targets]
        self._findings: dict[str, int] = {}

    def _columns_near(self, target: Target) -> tuple[int, ...]:
        return tuple(n for n, column in enumerate(self._columns) if target.near(column.records[0]))

    def calls(self, codes: Sequence[int]) -> Calls:
        """The calls of a class."""
        entries = [
            known.get(key) or self._read(place, key)
            for place, (known, near) in enumerate(zip(self._known, self._near, strict=True))
            for key in (tuple(codes[n] for n in near),)
        ]
        if any(alone for _, _, alone in entries):
            return calls_of(self._gene, settled(self._gene, self._targets, [entry[0] for entry in entries]))
        return joined((part for _, part, _ in entries), one_copy=False)

    def _read(self, place: int, key: tuple[int, ...]) -> tuple[Genotype, Part, bool]:
        records = [self._columns[n].records[code] for n, code in zip(self._near[place], key, strict=True)]
        genotype = read_position(
            self._targets[place], self._indels, records,
            build=self._build, absent=self._absent, settings=self._settings,
        )  # fmt: skip
        for text in genotype.findings:
            self._findings[text] = self._findings.get(text, 0) + 1
        entry = (genotype, part_of(place, genotype), unsettled(genotype))
        self._known[place][key] = entry
        return entry

    def findings(self) -> tuple[str, ...]:
        """What was noted at the positions, each text once."""
        return tuple(self._findings)
