"""Genes: positions, alleles, functions, rules and frequencies, one folder per gene in `knowledge/data/genes/`.

`definition.toml` holds where the gene is read and which bases make which allele (absent for genes that come as
an outside call only); `phenotype.toml` what an allele does and what two of them make; `frequencies.toml` how
common each allele is; `phenoconversion.toml` how medicines and organ function change what the genes give. Each file
states source, version, licence and retrieval date.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import rtoml
from pydantic import Field, ValidationError

from posologist.core.errors import KnowledgeError
from posologist.core.evidence import Citation
from posologist.core.values import CitationKey, GeneSymbol, Many, Status, Value

GENES_FOLDER = Path(__file__).parent / "data" / "genes"
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

    `everywhere`: defined at every position of the gene, so that no single position decides whether it was tested.
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


class PairRule(Value):
    """Two functions and the phenotype of a person who has both."""

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
    positions: Many[Position] = ()
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
    def bases(self) -> dict[str, tuple[frozenset[str], ...]]:
        """For each allele, the bases it may have at each position, in the order of `positions`."""
        return {
            allele.name: tuple(_bases(allele.defines.get(p.id, p.ref)) for p in self.positions)
            for allele in self.alleles
        }

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


def callable_genes(folder: Path | None = None) -> tuple[GeneSymbol, ...]:
    """Genes that are read from a VCF: those whose folder has a definition."""
    return _symbols(str(folder or GENES_FOLDER))[0]


def outside_genes(folder: Path | None = None) -> tuple[GeneSymbol, ...]:
    """Genes that come as an outside call only."""
    return _symbols(str(folder or GENES_FOLDER))[1]


@lru_cache(maxsize=16)
def _symbols(folder: str) -> tuple[tuple[GeneSymbol, ...], tuple[GeneSymbol, ...]]:
    places = sorted(path.parent for path in Path(folder).glob("*/phenotype.toml"))
    read = tuple(GeneSymbol(place.name) for place in places if (place / "definition.toml").is_file())
    return read, tuple(symbol for place in places if (symbol := GeneSymbol(place.name)) not in read)


def load_gene(symbol: str, folder: Path | None = None) -> Gene:
    """The facts of one gene, read once.

    Parameters
    ----------
    symbol
        HGNC symbol, e.g. "CYP2C19".
    folder
        Folder that holds one folder per gene; the package's own by default.

    Raises
    ------
    KnowledgeError
        If the gene is not held, or its files contradict each other.
    """
    return _load(symbol, str(folder or GENES_FOLDER))


@lru_cache(maxsize=256)
def _load(symbol: str, folder: str) -> Gene:
    place = Path(folder) / symbol
    if not (place / "phenotype.toml").is_file():
        raise KnowledgeError(f"no facts on gene {symbol}", where=str(place), hint="add a folder with phenotype.toml")
    definition = _read(place / "definition.toml")
    phenotype = _read(place / "phenotype.toml") or {}
    frequencies = _read(place / "frequencies.toml")
    conversion = _read(place / "phenoconversion.toml")
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
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=str(place), hint="see the other genes' files"
        ) from error
    _check(gene, str(place))
    return gene


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        table: dict[str, Any] = rtoml.load(path)
    except rtoml.TomlParsingError as error:
        raise KnowledgeError(f"not valid TOML: {error}", where=str(path)) from error
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
