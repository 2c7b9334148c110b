"""Reads the records of a VCF that matter, as they come: plain or compressed, one sample or many, any chromosome names.

Only the lines of wanted regions are taken apart. A file that is broken, cut off or not a VCF is refused.
"""

from __future__ import annotations

import gzip
import re
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple, cast

from posologist.core.errors import InputError

Regions = Mapping[str, tuple[tuple[int, int], ...]]
"""Per chromosome (without "chr"): sorted, disjoint intervals, 1-based, both ends included."""

_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_MAX_HEADER_LINES = 200_000
_LONGEST_LINE = 64 * 2**20  # of half a million samples; a small compressed file can hold one without end
_CHROMOSOMES = frozenset([*map(str, range(1, 23)), "X", "Y", "MT"])
_REFSEQ = re.compile(r"NC_0000(\d\d)\.\d+$")
_END = re.compile(rb"(?:^|;)END=(\d{1,12})(?:;|$)")


@dataclass(frozen=True, slots=True)
class Header:
    """Samples in file order, contigs with their lengths (None if not stated), and the lines that name the build."""

    samples: tuple[str, ...]
    contigs: Mapping[str, int | None]
    reference_lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One line for one sample. `gt` as written; numbers are None where the file does not say them."""

    line: int
    chromosome: str
    pos: int
    id: str
    ref: str
    alts: tuple[str, ...]
    filter: str
    gt: str | None
    phase_set: str | None
    quality: float | None
    depth: float | None
    end: int

    @property
    def where(self) -> str:
        """The line's number, or the position where lines were not counted."""
        return f"line {self.line}" if self.line else f"{self.chromosome}:{self.pos}"


@dataclass(frozen=True, slots=True)
class SampleRecords:
    """What one sample's file says in the wanted regions, and which chromosomes have any record at all."""

    header: Header
    sample: str
    records: Mapping[str, tuple[Record, ...]]
    chromosomes: frozenset[str]
    lines: int


@lru_cache(maxsize=4096)
def plain_chromosome(name: str) -> str:
    """Chromosome without prefix: "chr10", "10" and "NC_000010.11" are "10"; other contigs keep their name."""
    found = _REFSEQ.match(name)
    if found:
        number = int(found[1])
        return {23: "X", 24: "Y"}.get(number, str(number))
    short = name[3:] if name[:3].lower() == "chr" else name
    return "MT" if short == "M" else short


def merge_regions(wanted: Collection[tuple[str, int, int]]) -> Regions:
    """Disjoint sorted regions per chromosome that cover all the wanted ones."""
    result: dict[str, list[tuple[int, int]]] = {}
    for chromosome, start, end in sorted(wanted):
        spans = result.setdefault(chromosome, [])
        if spans and start <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return {chromosome: tuple(spans) for chromosome, spans in result.items()}


def with_regions(regions: Regions, more: Collection[tuple[str, int, int]]) -> Regions:
    """The regions with others added."""
    spans = [(chromosome, *span) for chromosome, found in regions.items() for span in found]
    return merge_regions([*spans, *more])


def read_header(path: Path) -> Header:
    """Header of a VCF.

    Raises
    ------
    InputError
        If the file cannot be read or is not a VCF.
    """
    with _open(path) as stream:
        return _header(path, _numbered(path, stream))


def read_records(path: Path, sample: str, regions: Regions) -> SampleRecords:
    """The sample's records that overlap the regions; by the file's index where it has one that is up to date.

    Raises
    ------
    InputError
        If the file cannot be read, is cut off, has lines that are no VCF lines, or does not have the sample.
    """
    with open_lines(path) as lines:
        header = lines.header
        if sample not in header.samples:
            raise InputError(f"no sample '{sample}'", where=str(path), hint=f"samples are {_listing(header.samples)}")
        column = 9 + header.samples.index(sample)
        width = 9 + len(header.samples)
        found: dict[str, list[Record]] = {}
        for wanted in lines.within(regions):
            found.setdefault(wanted.chromosome, []).append(_record(path, wanted, column, width))
        return SampleRecords(
            header=header,
            sample=sample,
            records={chromosome: tuple(records) for chromosome, records in found.items()},
            chromosomes=frozenset(lines.chromosomes),
            lines=lines.count,
        )


class Line(NamedTuple):
    """A line of the file that overlaps a wanted region. `number` 0: reached by the index, which counts no lines."""

    number: int
    chromosome: str
    pos: int
    text: bytes


class Lines:
    """The lines of an open VCF. `chromosomes` and `count` are complete when `within` has been read to its end."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self._numbered = _numbered(path, stream)
        self.header = _header(path, self._numbered)
        self.chromosomes: set[str] = set()
        self.count = 0

    def within(self, regions: Regions) -> Iterator[Line]:
        """Lines that overlap the regions."""
        index = _index_of(self.path)
        return self._every(regions) if index is None else self._indexed(regions, index)

    def _indexed(self, regions: Regions, index: Path) -> Iterator[Line]:
        from pysam import TabixFile

        with TabixFile(str(self.path), index=str(index)) as table:
            names = {name: plain_chromosome(name) for name in table.contigs}
            self.chromosomes |= set(names.values())
            self.count = len(names)
            for name, chromosome in names.items():
                seen = set[str]()
                for start, end in regions.get(chromosome, ()):
                    for text in table.fetch(name, max(0, start - 1), end):
                        if text not in seen:
                            seen.add(text)
                            yield Line(0, chromosome, int(text.split("\t", 2)[1]), text.encode())

    def _every(self, regions: Regions) -> Iterator[Line]:
        starts = {chromosome: [start for start, _ in spans] for chromosome, spans in regions.items()}
        names: dict[bytes, str] = {}
        last = b""
        for number, line in self._numbered:
            head = line.split(b"\t", 2)
            if len(head) < 3:
                if not line.strip():
                    continue
                raise _not_a_line(self.path, number, "fewer columns than a VCF line has")
            self.count += 1
            chromosome = names.get(head[0])
            if chromosome is None:
                chromosome = names[head[0]] = plain_chromosome(head[0].decode("utf-8", "replace"))
                self.chromosomes.add(chromosome)
            last = line
            spans = regions.get(chromosome)
            if spans is None:
                continue
            if not head[1].isdigit() or len(head[1]) > 12:
                raise _not_a_line(self.path, number, f"position {head[1][:20]!r} is not a number")
            pos = int(head[1])
            before = bisect_right(starts[chromosome], pos) - 1
            if (before >= 0 and pos <= spans[before][1]) or _reaches(line, pos, spans, before):
                yield Line(number, chromosome, pos, line)
        width = 9 + len(self.header.samples)
        if self.count and last.count(b"\t") + 1 != width:
            columns = last.count(b"\t") + 1
            raise _not_a_line(self.path, number, f"the last line has {columns} of {width} columns")


@contextmanager
def open_lines(path: Path) -> Iterator[Lines]:
    """An open VCF.

    Raises
    ------
    InputError
        If the file cannot be read or is not a VCF.
    """
    with _open(path) as stream:
        yield Lines(path, stream)


def _index_of(path: Path) -> Path | None:
    """The file's index, if there is one that is not older than the file: an old one may miss records."""
    for suffix in (".tbi", ".csi"):
        index = path.with_name(path.name + suffix)
        if index.is_file() and index.stat().st_mtime >= path.stat().st_mtime and find_spec("pysam"):
            return index
    return None


def _reaches(line: bytes, pos: int, spans: tuple[tuple[int, int], ...], before: int) -> bool:
    """Whether a record that starts outside the regions extends into one."""
    if before + 1 >= len(spans):
        return False
    start = spans[before + 1][0]
    fields = line.split(b"\t", 8)
    if len(fields) < 8:
        return False
    found = _END.search(fields[7])
    end = int(found[1]) if found else pos + len(fields[3]) - 1
    return end >= start


def _record(path: Path, line: Line, column: int, width: int) -> Record:
    fields = line.text.rstrip(b"\r\n").split(b"\t")
    if len(fields) != width:
        raise _not_a_line(path, line.number or line.pos, f"{len(fields)} columns where the header has {width}")
    return record_of(path, line, fields[:9], fields[column])


def record_of(path: Path, line: Line, fields: Sequence[bytes], sample: bytes) -> Record:
    """The record that one sample's field makes of a line; `fields` are the nine columns before the samples."""
    text = [fields[i].decode("utf-8", "replace") for i in (2, 3, 4, 6)]
    values = dict(zip(fields[8].split(b":"), sample.split(b":"), strict=False))
    found = _END.search(fields[7])
    ref = text[1].upper()
    if not ref or not ref.isalpha():
        raise _not_a_line(path, line.number or line.pos, f"reference allele {text[1][:20]!r} is not a sequence")
    return Record(
        line=line.number,
        chromosome=line.chromosome,
        pos=line.pos,
        id="" if text[0] == "." else text[0],
        ref=ref,
        alts=() if text[2] in (".", "") else tuple(a if a.startswith("<") else a.upper() for a in text[2].split(",")),
        filter=_failed(text[3]) or _failed(_text(values.get(b"FT")) or "."),
        gt=_text(values.get(b"GT")),
        phase_set=_text(values.get(b"PS")),
        quality=_number(values.get(b"GQ") or values.get(b"RGQ")),
        depth=_number(values.get(b"DP") or values.get(b"MIN_DP")),
        end=int(found[1]) if found else line.pos + len(ref) - 1,
    )


def _failed(filters: str) -> str:
    """The filters that a line or genotype failed; empty if it passed or none was applied."""
    return "" if filters in (".", "PASS", "") else filters


def _text(value: bytes | None) -> str | None:
    return None if value is None or value in (b"", b".") else value.decode("utf-8", "replace")


def _number(value: bytes | None) -> float | None:
    try:
        return None if value is None or value == b"." else float(value)
    except ValueError:
        return None


def _header(path: Path, lines: Iterator[tuple[int, bytes]]) -> Header:
    contigs: dict[str, int | None] = {}
    reference: list[str] = []
    for number, line in lines:
        if number == 1 and not line.startswith(b"##fileformat=VCF"):
            raise InputError("not a VCF (no '##fileformat=VCF' in its first line)", where=str(path), hint="give a VCF")
        if number > _MAX_HEADER_LINES:
            break
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith("##contig="):
            name = re.search(r"[<,]ID=([^,>]+)", text)
            length = re.search(r"[<,]length=(\d{1,12})\b", text)
            if name:
                contigs[name[1]] = int(length[1]) if length else None
            reference.extend(re.findall(r"assembly=[^,>]+", text))
        elif text.startswith(("##reference=", "##assembly=", "##genome")):
            reference.append(text)
        elif text.startswith("#CHROM"):
            return Header(_samples(path, text), contigs, tuple(dict.fromkeys(reference)))
        elif not text.startswith("#"):
            break
    raise InputError("the header has no '#CHROM' line", where=str(path), hint="give a complete VCF")


def _samples(path: Path, line: str) -> tuple[str, ...]:
    columns = line.split("\t")
    if columns[:5] != ["#CHROM", "POS", "ID", "REF", "ALT"]:
        raise InputError(
            "the '#CHROM' line is not tab-separated", where=str(path), hint="give a VCF as written by a caller"
        )
    if len(columns) < 10:
        raise InputError("the VCF has no sample, only sites", where=str(path), hint="give a VCF with genotypes")
    samples = tuple(columns[9:])
    if len(set(samples)) != len(samples):
        raise InputError("two samples have the same name", where=str(path), hint="rename them")
    return samples


def _open(path: Path) -> IO[bytes]:
    try:
        with path.open("rb") as stream:
            start = stream.read(18)
            if start[:2] != b"\x1f\x8b":
                return path.open("rb")
            if start[12:14] == b"BC":
                stream.seek(-28, 2)
                if stream.read(28) != _BGZF_END:
                    raise InputError(
                        "the file is cut off (bgzip end block missing)", where=str(path), hint="copy it again"
                    )
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint="check the path") from error
    return cast(IO[bytes], gzip.open(path, "rb"))


def _numbered(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    try:
        for number, line in enumerate(iter(partial(stream.readline, _LONGEST_LINE), b""), start=1):
            if len(line) == _LONGEST_LINE:
                raise _not_a_line(path, number, f"the line is longer than {_LONGEST_LINE} bytes")
            yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"the compressed file is broken: {error}", where=str(path), hint="copy it again") from error


def _not_a_line(path: Path, number: int, problem: str) -> InputError:
    return InputError(problem, where=f"{path}:{number}", hint="the file is damaged; make it again")


def _listing(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def choose_sample(path: Path, header: Header, *, sample: str | None, identifiers: Collection[str] = ()) -> str:
    """The sample asked for, the only one, or the one that is named like an identifier of the patient.

    Raises
    ------
    InputError
        If there are several and none is named, or the named one is not there.
    """
    if sample is not None:
        if sample not in header.samples:
            raise InputError(f"no sample '{sample}'", where=str(path), hint=f"samples are {_listing(header.samples)}")
        return sample
    if len(header.samples) == 1:
        return header.samples[0]
    matching = [name for name in header.samples if name in set(identifiers)]
    if len(matching) == 1:
        return matching[0]
    raise InputError(
        f"{len(header.samples)} samples and none named",
        where=str(path),
        hint=f"name one with --sample: {_listing(header.samples)}",
    )
