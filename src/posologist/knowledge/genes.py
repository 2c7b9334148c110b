"""Genes: positions, alleles, functions, rules and frequencies, one folder per gene in `knowledge/data/genes/`.

`definition.toml` holds where the gene is read and which bases make which allele (absent for genes that come as
an outside call only); `phenotype.toml` what an allele does and what two of them make; `frequencies.toml` how
common each allele is; `phenoconversion.toml` how medicines and organ function change what the genes give. Each file
states source, version, licence and retrieval date. Several folders may be given: a file of a later one takes the place
of the same file of an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import rtoml
from pydantic import Field, ValidationError

from posologist.core.errors import KnowledgeError
from posologist.core.evidence import Citation
from posologist.core.values import CitationKey, GeneSymbol, Many, Status, Value

GENES_FOLDER = Path(__file__).parent / "data" / "genes"
Folders = Path | tuple[Path, ...] | None
# IUPAC nucleotide codes: an allele with such a code is defined with either base.
_IUPAC = {"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT"}


class FileHeader(Value):
    """Where a file of facts comes from."""

    title: str
    source: CitationKey
    version: str
    licence: str
    retrieved: str
    note: str = ""


class Position(Value):
    """One position that defines alleles, in VCF space (1-based, left-aligned, parsimonious).

    `ref37` is the base that GRCh37 has there; it differs from `ref` where the reference genome changed.
    `shift` is how many bases to the right an insertion or deletion can be written with the same meaning.
    """

    id: str
    rsid: str = ""
    grch38: int
    grch37: int
    ref: str
    ref37: str
    alts: Many[str]
    shift: int = 0
    grch37_from_offset: bool = False

    def at(self, build: str) -> int:
        """POS in a build."""
        return self.grch37 if build == "GRCh37" else self.grch38

    def reference(self, build: str) -> str:
        """REF in a build."""
        return self.ref37 if build == "GRCh37" else self.ref


class Allele(Value):
    """A named allele: the bases that define it, by position id; where it says nothing it has the reference's.

    `everywhere`: the source states a base at every position of the gene.
    `reports_as`: the allele of which this is a suballele.
    """

    name: str
    defines: dict[str, str] = {}
    everywhere: bool = False
    reports_as: str = ""

    @property
    def reported(self) -> str:
        """Name under which the allele is reported."""
        return self.reports_as or self.name


class AlleleFunction(Value):
    """What an allele does. `activity` None: no value is assigned. `at_least`: more copies than were counted."""

    function: str
    activity: float | None = Field(default=None, ge=0)
    at_least: bool = False


class Proxy(Value):
    """A position that stands for another one, which it is inherited with, where that was not read."""

    position: str
    stands_for: str
    text: str


class Preference(Value):
    """Diplotypes that unphased calls cannot tell apart, and the one that the source reports for them."""

    of: Many[str]
    pick: str


class PairRule(Value):
    """Two functions and the phenotype of a person who has both; one function where there is one copy only."""

    functions: Many[str]
    phenotype: str


class ScoreRule(Value):
    """Activity score and its phenotype: exactly `equals`, or below `below`; with neither, every other score.

    Of a gene's rules the first that fits holds.
    """

    equals: float | None = None
    below: float | None = None
    phenotype: str

    def holds(self, score: float) -> bool:
        """Whether the score falls under this rule."""
        if self.equals is not None:
            return score == self.equals
        return self.below is None or score < self.below


@dataclass(frozen=True, slots=True)
class Pattern:
    """What an allele says about its gene's positions, by place: the bases that it may have there.

    `stated` has the bit of each such place, `altered` of those at which the reference's base does not fit;
    `reference` marks the allele that the reference genome carries, which no position has to show.
    """

    allele: Allele
    bases: Mapping[int, frozenset[str]]
    stated: int
    altered: int
    reference: bool

    @classmethod
    def of(cls, allele: Allele, gene: Gene) -> Pattern:
        """The pattern of an allele of the gene."""
        bases = {gene.place[name]: _bases(code) for name, code in allele.defines.items()}
        altered = sum(1 << n for n, allowed in bases.items() if gene.positions[n].ref not in allowed)
        return cls(allele, bases, sum(1 << n for n in bases), altered, allele.name == gene.reference)

    def at(self, place: int, reference: str) -> frozenset[str]:
        """The bases that the allele may have at a position."""
        return self.bases.get(place) or frozenset((reference,))


class Change(Value):
    """What one kind of medicine, or one state of the patient, does to what the genes give.

    Either `role` and `strength` name the medicine, or `when` is an expression over the patient's facts. `factor`
    multiplies the activity score; `becomes` maps phenotypes. With neither, the direction is known and its size is
    not: the text is shown and nothing is changed.
    """

    role: Literal["", "inhibitor", "inducer"] = ""
    strength: Literal["", "strong", "moderate"] = ""
    when: str = ""
    factor: float | None = Field(default=None, ge=0, le=1)
    becomes: dict[str, str] = {}
    text: str
    source: CitationKey
    status: Status


class Phenoconversion(Value):
    """How medicines and organ function change the gene's phenotype, as published.

    `enzymes`: names under which drugs list the enzyme, where they are not the gene's symbol. `ladder`: phenotypes
    from least to most active, for genes without activity score.
    """

    enzymes: Many[str] = ()
    ladder: Many[str] = ()
    changes: Many[Change]


class Gene(Value):
    """All that is held on one gene."""

    symbol: GeneSymbol
    chromosome: str
    reference: str = Field(description="allele that the reference genome GRCh38 carries")
    undocumented: Literal["not called", "reference"] = Field(
        default="not called", description="what a base that no allele documents makes of the gene"
    )
    fallback: str = Field(default="", description="position that alone gives a phenotype if no allele fits")
    required: Many[str] = Field(default=(), description="positions without which nothing is called")
    key_alleles: Many[str] = Field(
        default=(), description="alleles that no test of the gene may leave out (AMP tier 1)"
    )
    all_decide: bool = Field(default=False, description="no phenotype while any allele that changes it was not tested")
    preferences: Many[Preference] = ()
    proxies: Many[Proxy] = ()
    worst_first: Many[str] = Field(
        default=(), description="functions, worst first: variants are called singly, guidance rests on the two worst"
    )
    copies_vary: bool = Field(default=False, description="deletions and duplications are common; no VCF counts them")
    positions: Many[Position] = ()
    extra_positions: Many[Position] = Field(default=(), description="read for guidance; they define no allele")
    alleles: Many[Allele] = ()
    functions: dict[str, AlleleFunction]
    pair_rules: Many[PairRule] = ()
    score_rules: Many[ScoreRule] = ()
    phenotypes: Many[str]
    phenoconversion: Phenoconversion | None = None
    counts: dict[str, int] = Field(default={}, description="haplotypes seen with each allele, of `haplotypes`")
    haplotypes: int = 0
    definition: FileHeader | None = None
    phenotype: FileHeader
    frequencies: FileHeader | None = None
    conversion: FileHeader | None = None
    citations: Many[Citation]

    @property
    def scored(self) -> bool:
        """Whether the phenotype comes from an activity score."""
        return bool(self.score_rules)

    @property
    def version(self) -> str:
        """Version of the definitions, or of the functions where the gene is not read from a VCF."""
        return self.definition.version if self.definition else self.phenotype.version

    @cached_property
    def by_id(self) -> dict[str, Position]:
        """Positions by id."""
        return {position.id: position for position in self.positions}

    @cached_property
    def place(self) -> dict[str, int]:
        """Place of each position among `positions`, by id."""
        return {position.id: n for n, position in enumerate(self.positions)}

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """Each allele as what it says about the positions, in the order of `alleles`."""
        return tuple(Pattern.of(allele, self) for allele in self.alleles)

    @cached_property
    def reference_bases(self) -> tuple[frozenset[str], ...]:
        """The reference's base at each place."""
        return tuple(frozenset((position.ref,)) for position in self.positions)

    @cached_property
    def all_places(self) -> int:
        """The bits of all positions."""
        return (1 << len(self.positions)) - 1

    @cached_property
    def variant_names(self) -> Mapping[tuple[int, str], str]:
        """The allele that one base at one place makes, for alleles that rest on a single position."""
        singles = [(next(iter(p.bases.items())), p.allele.reported) for p in self.patterns if len(p.bases) == 1]
        return {(place, base): name for (place, bases), name in singles for base in bases}

    @property
    def one_copy_in_men(self) -> bool:
        """Whether men have one copy: genes on the X chromosome."""
        return self.chromosome.removeprefix("chr") == "X"

    @cached_property
    def allele_names(self) -> frozenset[str]:
        """Every allele that is defined or has a function."""
        return frozenset(allele.reported for allele in self.alleles) | frozenset(self.functions)

    def frequency(self, allele: str) -> float | None:
        """Share of haplotypes with the allele in the reference panel; None where it was not counted."""
        return self.counts[allele] / self.haplotypes if self.haplotypes and allele in self.counts else None

    def weight(self, allele: str) -> float:
        """Prior weight of an allele: its count plus one half (Jeffreys), over the haplotypes counted."""
        return (self.counts.get(allele, 0) + 0.5) / (self.haplotypes + 1.0)


def _bases(code: str) -> frozenset[str]:
    return frozenset(_IUPAC.get(code, (code,)))


def callable_genes(folder: Folders = None) -> tuple[GeneSymbol, ...]:
    """Genes that are read from a VCF: those whose folder has a definition."""
    return _symbols(_places(folder))[0]


def outside_genes(folder: Folders = None) -> tuple[GeneSymbol, ...]:
    """Genes that come as an outside call only."""
    return _symbols(_places(folder))[1]


def _places(folder: Folders) -> tuple[str, ...]:
    given = (GENES_FOLDER,) if folder is None else (folder,) if isinstance(folder, Path) else folder
    return tuple(map(str, given))


@lru_cache(maxsize=16)
def _symbols(folders: tuple[str, ...]) -> tuple[tuple[GeneSymbol, ...], tuple[GeneSymbol, ...]]:
    names = sorted({path.parent.name for folder in folders for path in Path(folder).glob("*/phenotype.toml")})
    defined = {path.parent.name for folder in folders for path in Path(folder).glob("*/definition.toml")}
    symbols = tuple(GeneSymbol(name) for name in names)
    return tuple(s for s in symbols if s in defined), tuple(s for s in symbols if s not in defined)


def load_gene(symbol: str, folder: Folders = None) -> Gene:
    """The facts of one gene, read once.

    Parameters
    ----------
    symbol
        HGNC symbol, e.g. "CYP2C19".
    folder
        Folders that hold one folder per gene, later ones first; the package's own by default.

    Raises
    ------
    KnowledgeError
        If the gene is not held, or its files contradict each other.
    """
    return _load(symbol, _places(folder))


@lru_cache(maxsize=256)
def _load(symbol: str, folders: tuple[str, ...]) -> Gene:
    where = str(Path(folders[-1]) / symbol)
    definition = _read(symbol, "definition", folders)
    phenotype = _read(symbol, "phenotype", folders)
    frequencies = _read(symbol, "frequencies", folders)
    conversion = _read(symbol, "phenoconversion", folders)
    if phenotype is None:
        raise KnowledgeError(f"no facts on gene {symbol}", where=where, hint="add a folder with phenotype.toml")
    parts = [part for part in (definition, phenotype, frequencies, conversion) if part]
    citations = {c["key"]: c for part in parts for c in part.pop("citations", [])}
    table: dict[str, Any] = {
        "symbol": symbol,
        "chromosome": phenotype.pop("chromosome"),
        "definition": definition.pop("about") if definition else None,
        "phenotype": phenotype.pop("about"),
        "frequencies": frequencies.pop("about") if frequencies else None,
        "conversion": conversion.pop("about") if conversion else None,
        "citations": list(citations.values()),
        **(definition or {}),
        **phenotype,
        **(frequencies or {}),
        **({"phenoconversion": conversion} if conversion else {}),
    }
    try:
        gene = Gene.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        raise KnowledgeError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=where, hint="see the other genes' files"
        ) from error
    _check(gene, where)
    return gene


def _read(symbol: str, part: str, folders: tuple[str, ...]) -> dict[str, Any] | None:
    held = [path for folder in folders if (path := Path(folder) / symbol / f"{part}.toml").is_file()]
    if not held:
        return None
    try:
        table: dict[str, Any] = rtoml.load(held[-1])
    except rtoml.TomlParsingError as error:
        raise KnowledgeError(f"not valid TOML: {error}", where=str(held[-1])) from error
    return table


def _check(gene: Gene, where: str) -> None:
    known = {str(citation.key) for citation in gene.citations}
    headers = [header for header in (gene.definition, gene.phenotype, gene.frequencies, gene.conversion) if header]
    for header in headers:
        if header.source not in known:
            raise KnowledgeError(f"citation {header.source} is not defined", where=where)
    if gene.positions and gene.reference not in {allele.name for allele in gene.alleles}:
        raise KnowledgeError(f"reference allele {gene.reference} is not among the alleles", where=where)
    if gene.phenoconversion:
        _check_conversion(gene, gene.phenoconversion, known, where)
    for allele in gene.alleles:
        for position, bases in allele.defines.items():
            if position not in gene.by_id:
                raise KnowledgeError(f"allele {allele.name} names the unknown position {position}", where=where)
            allowed = {gene.by_id[position].ref, *gene.by_id[position].alts}
            if not _bases(bases) <= allowed:
                raise KnowledgeError(f"allele {allele.name} has {bases} at {position}, not in {allowed}", where=where)
    named = {*gene.required, gene.fallback} | {id for p in gene.proxies for id in (p.position, p.stands_for)}
    if unknown := sorted(named - gene.by_id.keys() - {""}):
        raise KnowledgeError(f"unknown positions {unknown}", where=where)
    given = {rule.phenotype for rule in gene.pair_rules} | {rule.phenotype for rule in gene.score_rules}
    if not given <= set(gene.phenotypes):
        raise KnowledgeError(f"rules give unlisted phenotypes {sorted(given - set(gene.phenotypes))}", where=where)


def _check_conversion(gene: Gene, conversion: Phenoconversion, known: set[str], where: str) -> None:
    """Refuse a change that names an unknown phenotype, cites nothing, or raises activity without being an inducer."""
    ladder = conversion.ladder or tuple(rule.phenotype for rule in gene.score_rules)
    if not set(ladder) <= set(gene.phenotypes):
        raise KnowledgeError(
            f"the ladder has unlisted phenotypes {sorted(set(ladder) - set(gene.phenotypes))}", where=where
        )
    for change in conversion.changes:
        what = change.when or f"{change.strength} {change.role}"
        if bool(change.when) == bool(change.role) or bool(change.role) != bool(change.strength):
            raise KnowledgeError(f"change '{what}' needs a role with its strength, or a condition", where=where)
        if change.source not in known:
            raise KnowledgeError(f"citation {change.source} is not defined", where=where)
        if change.factor is not None and not gene.scored:
            raise KnowledgeError(f"change '{what}' has a factor, the gene has no activity score", where=where)
        if not {*change.becomes, *change.becomes.values()} <= set(ladder):
            raise KnowledgeError(f"change '{what}' names phenotypes that are not on the ladder", where=where)
        raised = [p for p, then in change.becomes.items() if ladder.index(then) > ladder.index(p)]
        if raised and change.role != "inducer":
            raise KnowledgeError(f"change '{what}' raises {', '.join(raised)}", where=where)
