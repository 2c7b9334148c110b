"""GeT-RM's published genotypes beside our calls: what each cell can mean, and why a call differs from it."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from posologist.core.genotype import GeneCall, GeneticProfile
from posologist.core.settings import Settings
from posologist.genome.document import call_genome
from posologist.genome.genotypes import OTHER, Genotype, read_gene, regions_of
from posologist.genome.translate import translate
from posologist.genome.variants import worst_of
from posologist.genome.vcf import plain_chromosome, read_records
from posologist.knowledge.genes import Gene, load_gene
from shared import shared_data

# What an allele's old name covers in the present definitions.
# NAT2: legacy groups by signature variant (341C, 590A, 857A, 191A); *12 is 803G alone, today's *1; *13 is 282T alone,
#   which no present allele rests on (nat.mbg.duth.gr, Human NAT2 alleles; table 1 of PMC1434721).
# SLCO1B1: *1A and *1B differ at 388A>G, *1 without a letter leaves that open; *17 and *21 are *15 and *1B with
#   g.-11187G>A, which is no position of the present definition (Pasanen 2006, PMID 16758257; *21 from memory).
# UGT1A1: *60 is no allele any more. DPYD: star names of today's variants.
OLD_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "NAT2": {"*5": ("*5", "*16"), "*12": ("*1",), "*13": ("*4",), "*14": ("*14", "*46")},
    "SLCO1B1": {"*1A": ("*1",), "*1B": ("*37",), "*1": ("*1", "*37"), "*17": ("*15",), "*21": ("*37",)},
    "UGT1A1": {"*60": ("*1",), "*28+*60": ("*28",), "*36+*60": ("*36",)},
    "DPYD": {"*1": ("Reference",), "*9": ("c.85T>C (*9A)",), "*4": ("c.1601G>A (*4)",)},
}

SAME, RENAMED, OPEN = "same", "renamed", "the cell leaves it open"
NO_RECORD, NOT_READ, FINER = "no record", "not read", "finer"
STRANDS, DOUBTED, GONE = "other strands", "in parentheses only", "no such allele today"
COPIES, UNDOCUMENTED = "copies", "undocumented base"
_COST = {SAME: 0, RENAMED: 1, OPEN: 1, NO_RECORD: 2, FINER: 3, STRANDS: 4, DOUBTED: 6, GONE: 8}

Bases = frozenset[tuple[str, str]]
"""The bases of an allele that are not the reference's: position id and IUPAC code."""


@dataclass(frozen=True)
class Side:
    """One allele of a published pair; several names where the cell leaves it open, `doubted` if in parentheses."""

    names: tuple[str, ...]
    doubted: bool


@dataclass(frozen=True)
class Truth:
    """A published cell."""

    sample: str
    studies: frozenset[str]
    raw: str
    plain: str
    structural: bool

    @property
    def pairs(self) -> tuple[tuple[Side, Side], ...]:
        """The pairs that the cell can be read as; none where it lists variants or counts copies."""
        return () if self.lists_variants or self.structural else _pairs(self.raw)

    @property
    def lists_variants(self) -> bool:
        """Whether the cell is a list of variants (DPYD)."""
        return "c." in self.raw


def _side(text: str) -> Side:
    text = text.strip()
    if found := re.fullmatch(r"\(([^()]*)\)", text):
        return Side(tuple(re.sub(r"\s", "", name) for name in found[1].split(";")), True)
    if found := re.fullmatch(r"(\S+?)\s*\(([^()]*)\)", text):
        return Side((found[1], found[2]), False)
    return Side((re.sub(r"\s", "", text),), False)


@cache
def _pairs(raw: str) -> tuple[tuple[Side, Side], ...]:
    if found := re.fullmatch(r"\(([^()]+)/([^()]+)\)", raw):
        return ((Side((found[1],), True), Side((found[2],), True)),)
    options = raw.split(" or ")
    split = [options] if "/" not in raw else [option.split("/") for option in options]
    assert all(len(sides) == 2 for sides in split), raw
    return tuple((_side(first), _side(second)) for first, second in split)


def _rows(symbol: str) -> Iterator[dict[str, str]]:
    with shared_data("pgx", "getrm", "truth.tsv").open(encoding="utf-8") as stream:
        yield from (row for row in csv.DictReader(stream, delimiter="\t") if row["gene"] == symbol)


@cache
def truths(symbol: str) -> tuple[Truth, ...]:
    """Every cell of the gene."""
    return tuple(
        Truth(
            sample=row["sample"],
            studies=frozenset(row["getrm_study_refs"].split(",")),
            raw=row["raw"],
            plain=row["diplotype"],
            structural=row["cyp2d6_2a6_structural"] == "1",
        )
        for row in _rows(symbol)
    )


@cache
def _profile(path: Path, sample: str) -> GeneticProfile:
    return call_genome(path, sample=sample, absent="reference")


def call(path: Path, symbol: str, sample: str) -> GeneCall:
    """Our call; absent positions are reference, since the panel lists variant sites only."""
    return _profile(path, sample).genes[symbol]  # type: ignore[index]


@cache
def _genotypes(path: Path, symbol: str, sample: str) -> tuple[Genotype, ...]:
    gene = load_gene(symbol)
    data = read_records(path, sample, regions_of([gene], ["GRCh38"]))
    records = data.records.get(plain_chromosome(gene.chromosome), ())
    return read_gene(gene, records, build="GRCh38", absent="reference", settings=Settings())


@cache
def _lines(path: Path) -> tuple[tuple[str, ...], ...]:
    text = gzip.decompress(path.read_bytes()).decode().splitlines()
    return tuple(tuple(line.split("\t", 5)[:5]) for line in text if not line.startswith("#"))


@cache
def _shown(path: Path, symbol: str) -> Bases:
    """The bases that the panel could show: an SNV that is a record's alternative, an indel whose position has one."""
    gene = load_gene(symbol)
    with shared_data("pgx", "getrm", "positions_absent.tsv").open(encoding="utf-8") as stream:
        absent = {int(row["pos"]) for row in csv.DictReader(stream, delimiter="\t") if row["gene"] == symbol}
    listed = {(int(line[1]), alt) for line in _lines(path) if line[0] == gene.chromosome for alt in line[4].split(",")}
    return frozenset(
        (position.id, alt)
        for position in gene.positions
        for alt in position.alts
        if ((position.grch38, alt) in listed if len(position.ref) == len(alt) == 1 else position.grch38 not in absent)
    )


def today(gene: Gene, name: str) -> tuple[str, ...]:
    """The present alleles that a published name may mean."""
    return OLD_NAMES.get(gene.symbol, {}).get(name, (name,))


def _parts(strand: str) -> list[str]:
    return strand[1:-1].split(" + ") if strand.startswith("[") else [strand]


def bases_of(gene: Gene, strand: str) -> list[Bases]:
    """What the allele, or each of its suballeles, changes; all that a strand with several variants changes."""
    found = []
    for patterns in product(*([p for p in gene.patterns if p.allele.reported == part] for part in _parts(strand))):
        names = [(p, gene.positions[at].id) for p in patterns for at in p.bases if p.altered >> at & 1]
        found.append(frozenset((name, p.allele.defines[name]) for p, name in names))
    return found


def _free(gene: Gene, strand: str) -> set[str]:
    """Positions at which the allele is defined with the reference's base or another."""
    patterns = [p for p in gene.patterns if p.allele.reported in _parts(strand)]
    return {gene.positions[at].id for p in patterns for at in p.bases if not p.altered >> at & 1}


def hgvs(text: str) -> list[str]:
    """The variants named in a text."""
    return re.findall(r"c\.[\d+_-]+\w+>?\w*", text)


@cache
def _named(symbol: str, studies: frozenset[str]) -> frozenset[str]:
    """Alleles that these studies name for anyone, without parentheses: what their assays looked for."""
    gene = load_gene(symbol)
    sides = [side for truth in truths(symbol) if truth.studies & studies for pair in truth.pairs for side in pair]
    return frozenset(name for side in sides if not side.doubted for name in today(gene, side.names[0]))


@dataclass(frozen=True)
class Person:
    """One person and gene: what was published, what is called, and what the file says."""

    truth: Truth
    gene: Gene
    call: GeneCall
    genotypes: tuple[Genotype, ...]
    shown: Bases

    @property
    def best(self) -> str:
        """The most probable pair of alleles that small variants define, one copy each; "" if there is none."""
        defined = {allele.reported for allele in self.gene.alleles}
        pairs = (c.diplotype for c in self.call.candidates)
        if not self.gene.copies_vary:
            return next(pairs, "")
        return next((pair for pair in pairs if set(pair.split("/")) <= defined), "")

    @property
    def agreed(self) -> bool:
        """Whether every position was read or may be assumed, and the best pair is what was published."""
        return bool(self.best) and not self.call.missing_positions and self.agrees(self.best)

    def agrees(self, diplotype: str) -> bool:
        """Whether the pair is what was published, name by name."""
        if self.truth.lists_variants:
            ours, published = ([Counter(hgvs(s)) for s in text.split("/")] for text in (diplotype, self.truth.raw))
            return sum(ours, Counter()) == sum(published, Counter()) and (len(published) == 1 or ours[0] in published)
        names = self.truth.plain.split("/")
        if self.gene.worst_first:
            names = [today(self.gene, name)[0] for name in names]
        return sorted(names) == sorted(diplotype.split("/"))

    def explain(self) -> str:
        """Why the call is not what was published; "" if that is not known."""
        if self.truth.structural:
            return COPIES
        if self.call.missing_positions:
            return NOT_READ
        if self.truth.lists_variants:
            return self._missing_variants()
        if not self.best:
            return next(filter(None, map(self._not_called, self.truth.pairs)), "")
        found = [reasons for pair in self.truth.pairs for reasons in self._pair(pair)]
        best = min(found, key=lambda reasons: sum(map(_COST.__getitem__, reasons)), default=set[str]())
        return " + ".join(sorted(best - {SAME})) or (OPEN if best else "")

    def phenotypes(self) -> set[str | None]:
        """What the published cell makes of the person, by the present tables."""
        if self.truth.lists_variants:
            return {translate(self.gene, *self._two_worst()).phenotype}
        known = self.gene.functions.keys()
        return {
            translate(self.gene, one, two).phenotype
            for pair in self.truth.pairs
            for one, two in product(*([n for name in side.names for n in today(self.gene, name)] for side in pair))
            if {one, two} <= known
        }

    def _two_worst(self) -> tuple[str, str]:
        sides = [self._variants(side) for side in self.truth.raw.split("/")]
        if len(sides) == 1:
            sides = [[name] for name in sides[0]] or [[]]
        worst = [worst_of(self.gene, f"[{' + '.join(side or [self.gene.reference])}]") for side in sides]
        ranked = sorted([*worst, self.gene.reference][: max(2, len(worst))], key=self._activity)
        return ranked[0], ranked[1]

    def _activity(self, name: str) -> float:
        value = self.gene.functions[name].activity
        return 1.0 if value is None else value

    def _variants(self, text: str) -> list[str]:
        """The gene's alleles that rest on the variants named."""
        wanted = hgvs(text)
        return [a.name for a in self.gene.alleles if hgvs(a.name) and set(hgvs(a.name)) <= set(wanted)]

    def _unreadable(self, base: tuple[str, str]) -> bool:
        """Whether the panel has no record of the base, or the position was not read in this person."""
        return base not in self.shown or not self.genotypes[self.gene.place[base[0]]].complete

    def _pair(self, pair: tuple[Side, Side]) -> Iterator[set[str]]:
        """Reasons for which the pair that was published may be called as ours."""
        first, second = self.best.split("/")
        for one, two in ((first, second), (second, first)):
            sides = (self._same_side(pair[0], one), self._same_side(pair[1], two))
            if all(sides):
                yield set(sides)
        ours = [Counter(one) + Counter(two) for one, two in product(*(bases_of(self.gene, n) for n in (first, second)))]
        if any(total in ours for total in self._readable(pair)):
            yield {STRANDS}

    def _same_side(self, side: Side, ours: str) -> str:
        found = [
            self._said(reason, name, ours, first=n == 0)
            for n, name in enumerate(side.names)
            for present in today(self.gene, name)
            for published in bases_of(self.gene, present)
            for called in bases_of(self.gene, ours)
            if (reason := self._compare(published, called, ours, doubted=side.doubted))
        ]
        if not any(bases_of(self.gene, present) for name in side.names for present in today(self.gene, name)):
            found.append(GONE)
        return min(found, key=_COST.__getitem__, default="")

    def _said(self, reason: str, name: str, ours: str, *, first: bool) -> str:
        if reason != SAME or name == ours:
            return reason if first or reason != SAME else OPEN
        return RENAMED if first else OPEN

    def _compare(self, published: Bases, called: Bases, ours: str, *, doubted: bool) -> str:
        free = _free(self.gene, ours)
        lost = {base for base in published - called if base[0] not in free}
        more = called - published
        if not lost and not more:
            return SAME
        if lost and not more and all(map(self._unreadable, lost)):
            return NO_RECORD
        if not lost and all(map(self._read_here, more)) and not self._looked_for(ours, more):
            return FINER
        return DOUBTED if doubted and not called and not any(map(self._read_here, published)) else ""

    def _read_here(self, base: tuple[str, str]) -> bool:
        """Whether a record of the person has the base."""
        genotype = self.genotypes[self.gene.place[base[0]]]
        return not genotype.assumed and base[1] in (genotype.first, genotype.second)

    def _looked_for(self, ours: str, more: Bases) -> bool:
        """Whether the study names our allele (DPYD: what our strand has more) for anyone, so would have seen it."""
        named = _named(self.gene.symbol, self.truth.studies)
        if self.gene.worst_first:
            return any(more & bases for name in named for bases in bases_of(self.gene, name))
        return ours in named

    def _readable(self, pair: tuple[Side, Side]) -> list[Counter[tuple[str, str]]]:
        """The changed bases of both alleles together, those that the panel can show."""
        names = [[present for name in side.names for present in today(self.gene, name)] for side in pair]
        sides = [[bases for name in options for bases in bases_of(self.gene, name)] for options in names]
        return [
            Counter({base: n for base, n in (Counter(one) + Counter(two)).items() if not self._unreadable(base)})
            for one, two in product(*sides)
        ]

    def _not_called(self, pair: tuple[Side, Side]) -> str:
        if any(OTHER in (g.first, g.second) for g in self.genotypes):
            return UNDOCUMENTED
        read = Counter((g.position.id, base) for g in self.genotypes for base in (g.first, g.second) if base)
        names = {present for side in pair for name in side.names for present in today(self.gene, name)}
        hidden = any(self._unreadable(base) for name in names for bases in bases_of(self.gene, name) for base in bases)
        if any(not total - read for total in self._readable(pair)):
            return NO_RECORD if hidden else STRANDS
        return ""

    def _missing_variants(self) -> str:
        """Where variants are listed: why ours lacks some of them."""
        published, called = Counter(hgvs(self.truth.raw)), Counter(hgvs(self.best))
        reasons = set()
        for name in published - called:
            groups = [bases_of(self.gene, a.name) for a in self.gene.alleles if name in hgvs(a.name)]
            bases = [base for group in groups for found in group for base in found]
            if bases and not all(map(self._unreadable, bases)):
                return ""
            reasons.add(NO_RECORD if bases else GONE)
        return "" if called - published else " + ".join(sorted(reasons))


def people(path: Path, symbol: str) -> list[Person]:
    """Everyone with a published cell for the gene."""
    gene, shown = load_gene(symbol), _shown(path, symbol)
    return [
        Person(truth, gene, call(path, symbol, truth.sample), _genotypes(path, symbol, truth.sample), shown)
        for truth in truths(symbol)
    ]
