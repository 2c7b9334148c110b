"""One sample's genes as a document: the VCF's calls and calls made elsewhere, each with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.genotype import DiplotypeCandidate, GeneCall, GeneticProfile, Versions
from posologist.core.settings import Settings
from posologist.core.values import GeneSymbol
from posologist.core.version import VERSION
from posologist.genome.build import (
    BUILDS,
    Build,
    build_from_header,
    build_from_variants,
    check_build,
    stated_build,
)
from posologist.genome.genecall import Evidence, gene_call
from posologist.genome.genotypes import Absent, Genotype, absent_on, read_extra, read_gene, regions_of
from posologist.genome.variants import worst_of
from posologist.genome.vcf import (
    SampleRecords,
    choose_sample,
    plain_chromosome,
    read_header,
    read_records,
    with_regions,
)
from posologist.knowledge.genes import GENES_FOLDER, Folders, Gene, callable_genes, load_gene, outside_genes

if TYPE_CHECKING:
    from posologist.genome.outside import OutsideCall, Reading

# G6PD and around it in GRCh38 and in GRCh37, both outside the pseudoautosomal regions.
_SEX_REGIONS = (("X", 154_400_000, 154_700_000), ("X", 153_600_000, 153_900_000))


def call_genome(
    path: Path | None,
    *,
    sample: str | None = None,
    identifiers: Collection[str] = (),
    absent: str = "missing",
    build: str = "auto",
    outside_calls: Path | None = None,
    genes_folder: Folders = None,
    settings: Settings | None = None,
) -> GeneticProfile:
    """The genes of one sample.

    Parameters
    ----------
    path
        VCF, plain or compressed; None when there are outside calls only.
    sample
        Name of the sample; needed for several samples unless exactly one is named like an identifier.
    identifiers
        Identifiers of the patient.
    absent
        What a position without a record is: "missing" (not called), or "reference", for files that list
        variants only; then the result says "assumed reference".
    build
        "auto" finds it from the header or from known variants.
    outside_calls
        Table of calls made elsewhere; they replace the VCF's.
    genes_folder
        Folders with a folder per gene, each later one in place of the earlier; the package's own by default.

    Raises
    ------
    InputError
        If a file is wrong, the sample is not clear, or the build is not.
    """
    rule = _absent(absent)
    folder = genes_folder or (GENES_FOLDER,)
    genes = tuple(load_gene(symbol, folder) for symbol in callable_genes(folder))
    ledger, calls, findings = Ledger(), dict[GeneSymbol, GeneCall](), list[str]()
    name, used_build, sex = sample or "", "not read", None
    if path is not None:
        data, used_build = read_sample(path, genes, sample, identifiers, build)
        name, sex = data.sample, _sex(data)
        caller = _Caller(path, data, used_build, rule, settings or Settings(), ledger)
        calls = {gene.symbol: caller.call(gene) for gene in genes}
        findings = caller.findings
    elif outside_calls is None:
        raise InputError("no genome was given", hint="give a VCF or outside calls")
    if outside_calls is not None:
        calls |= _outside_calls(outside_calls, folder, ledger)
    for symbol in (*callable_genes(folder), *outside_genes(folder)):
        if symbol not in calls:
            calls[symbol] = _not_called(symbol, symbol in outside_genes(folder), ledger)
    return GeneticProfile(
        schema="posologist/phenotype/1",
        sample=name,
        build=used_build,
        sex_from_genome=sex,
        genes=dict(sorted(calls.items())),
        findings=tuple(findings),
        evidence=ledger.entries(),
        versions=_versions(calls, folder),
    )


def _absent(choice: str) -> Absent:
    if choice not in ("missing", "reference"):
        raise InputError(f"'{choice}' is not a choice", where="--absent", hint="use one of missing, reference")
    return "reference" if choice == "reference" else "missing"


def read_sample(
    path: Path, genes: Sequence[Gene], sample: str | None, identifiers: Collection[str], build: str
) -> tuple[SampleRecords, Build]:
    """The sample's records in the genes' regions, and the build of the file.

    Raises
    ------
    InputError
        If the file is wrong, the sample is not clear, or the build is not.
    """
    header = read_header(path)
    chosen = choose_sample(path, header, sample=sample, identifiers=identifiers)
    decided = stated_build(build) or build_from_header(path, header)
    wanted = regions_of(genes, BUILDS)
    data = read_records(path, chosen, with_regions(wanted, _SEX_REGIONS))
    if decided is None:
        decided = build_from_variants(data.records, genes)
    if decided is None:
        raise InputError(
            "the reference genome is not clear from the header",
            where=str(path),
            hint="say which with --build GRCh37 or --build GRCh38",
        )
    check_build(path, data.records, genes, decided)
    return data, decided


def _sex(data: SampleRecords) -> Literal["male", "female"] | None:
    """Sex from genotypes on X outside the pseudoautosomal regions: haploid is male, heterozygous female."""
    calls = [record.gt for record in data.records.get("X", ()) if record.gt]
    split = [call.replace("|", "/").split("/") for call in calls]
    if any(len(c) == 2 and c[0] != c[1] and "." not in c for c in split):
        return "female"
    return "male" if split and all(len(c) == 1 for c in split) else None


class _Caller:
    """Calls the genes of one file; collects what concerns the file as a whole."""

    def __init__(
        self, path: Path, data: SampleRecords, build: Build, absent: Absent, settings: Settings, ledger: Ledger
    ) -> None:
        self._data, self._build, self._absent = data, build, absent
        self._settings, self._ledger = settings, ledger
        self._source = f"{path.name} sample {data.sample}"
        self.findings: list[str] = [] if data.lines else ["the VCF has no records; nothing was called"]

    def call(self, gene: Gene) -> GeneCall:
        """One gene's call."""
        genotypes, notes = self.genotypes(gene)
        evidence = Evidence(self._ledger, self._source, self._build, notes)
        call = gene_call(gene, genotypes, evidence)
        if not gene.extra_positions:
            return call
        extra = self._genotypes(gene, read_extra, "missing")
        found = {g.position.id: "/".join(filter(None, (g.first, g.second))) for g in extra if g.complete}
        return call.model_copy(update={"other_variants": found})

    def genotypes(self, gene: Gene) -> tuple[tuple[Genotype, ...], tuple[str, ...]]:
        """The gene's genotypes, and what was noted of its chromosome."""
        chromosome = plain_chromosome(gene.chromosome)
        absent, notes = self._absent, tuple[str, ...]()
        if absent == "reference" and chromosome not in self._data.chromosomes:
            absent = absent_on(chromosome, absent, self._data)
            said = "taken as reference" if absent == "reference" else "not read as reference"
            notes = (f"the file has no record on {gene.chromosome}; absent positions there are {said}",)
        return self._genotypes(gene, read_gene, absent), notes

    def _genotypes(self, gene: Gene, read: Callable[..., tuple[Genotype, ...]], absent: Absent) -> tuple[Genotype, ...]:
        records = self._data.records.get(plain_chromosome(gene.chromosome), ())
        return read(gene, records, build=self._build, absent=absent, settings=self._settings)


def _outside_calls(path: Path, folder: Folders, ledger: Ledger) -> dict[GeneSymbol, GeneCall]:
    """Every call of a table, as the gene's call."""
    from posologist.genome.outside import read_outside_calls, understand

    held = {*callable_genes(folder), *outside_genes(folder)}
    calls = {}
    for call in read_outside_calls(path):
        gene = load_gene(call.gene, folder) if call.gene in held else None
        gene = gene if gene is not None and gene.functions else None
        calls[GeneSymbol(call.gene)] = _outside(call, gene, understand(call, gene), ledger)
    return calls


def _outside(call: OutsideCall, gene: Gene | None, reading: Reading, ledger: Ledger) -> GeneCall:
    given = " ".join(filter(None, (call.diplotype, call.phenotype, call.activity_score)))
    keys = [ledger.add("patient", f"{call.gene} {given} as reported", source=call.where)]
    if gene is not None:
        rules = gene.phenotype
        text = f"{gene.symbol} functions and phenotypes"
        keys.append(ledger.add("knowledge", text, source=rules.source, version=rules.version, status="secondary"))
    result = reading.translation
    candidates = tuple(
        DiplotypeCandidate(
            diplotype=option.diplotype,
            probability=option.probability,
            phenotype=option.phenotype,
            activity_score=option.activity_score,
        )
        for option in reading.options
    )
    said = f"{call.gene} {reading.diplotype or ''} {result.phenotype or ''}".strip()
    called = bool(candidates)
    return GeneCall(
        called=called,
        diplotype=reading.diplotype if called else None,
        candidates=candidates,
        phenotype=result.phenotype if called else None,
        activity_score=result.activity_score if called else None,
        lowest_function=_lowest(reading.diplotype, gene) if called else None,
        evidence_state="called" if called else "not called",
        source="outside call",
        findings=tuple(f"{call.gene}: {text}" for text in reading.findings),
        because=(ledger.add("derived", said, because=keys),),
    )


def _lowest(diplotype: str | None, gene: Gene | None) -> tuple[str, str] | None:
    """Of a call whose strands carry several variants each, the two that guidance goes by."""
    if gene is None or not gene.worst_first or diplotype is None or diplotype.count("/") != 1:
        return None
    first, second = (worst_of(gene, strand) for strand in diplotype.split("/"))
    return first, second


def _not_called(symbol: GeneSymbol, outside: bool, ledger: Ledger) -> GeneCall:
    reason = "it is not read from a VCF; give an outside call" if outside else "no genotypes were given"
    key = ledger.add("patient", f"{symbol} is not called: {reason}", source="genome")
    return GeneCall(
        called=False,
        diplotype=None,
        phenotype=None,
        evidence_state="not called",
        findings=(f"{symbol} is not called: {reason}",),
        because=(key,),
    )


def _versions(calls: Mapping[GeneSymbol, GeneCall], folder: Folders) -> Versions:
    held = [
        load_gene(symbol, folder) for symbol in (*callable_genes(folder), *outside_genes(folder)) if symbol in calls
    ]
    return Versions(
        posologist=VERSION,
        knowledge=max((gene.phenotype.retrieved for gene in held), default=""),
        definitions={str(gene.symbol): gene.version for gene in held},
    )
