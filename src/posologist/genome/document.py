"""One sample's genes as a document: the VCF's calls and calls made elsewhere, each with its evidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.genotype import (
    DiplotypeCandidate,
    EvidenceState,
    GeneCall,
    GeneticProfile,
    NotExcluded,
    Versions,
)
from posologist.core.settings import Settings
from posologist.core.values import EvidenceKey, GeneSymbol
from posologist.core.version import VERSION
from posologist.genome.build import Build, build_from_header, build_from_variants, build_votes
from posologist.genome.call import Match, Pair, match_gene
from posologist.genome.genotypes import Absent, Genotype, read_gene
from posologist.genome.outside import OutsideCall, read_outside_calls, understand
from posologist.genome.translate import translate
from posologist.genome.vcf import (
    Record,
    SampleRecords,
    choose_sample,
    merge_regions,
    plain_chromosome,
    read_header,
    read_records,
)
from posologist.knowledge.genes import GENES_FOLDER, Gene, callable_genes, load_gene, outside_genes

_MARGIN = 60  # bases around a position in which another spelling of an indel may start
_SEX_REGION = ("X", 154_400_000, 154_700_000)  # G6PD and around it in GRCh38; 153.7 Mb in GRCh37, both outside the PAR
_SEX_REGION_37 = ("X", 153_600_000, 153_900_000)
_BUILDS: tuple[Build, ...] = ("GRCh37", "GRCh38")
_CERTAIN = 0.9  # a phenotype is stated if the diplotypes that have it reach this probability
_UNSEEN = 0.1  # ... and if alleles that were not tested change it with less than this probability


def call_genome(
    path: Path | None,
    *,
    sample: str | None = None,
    identifiers: Collection[str] = (),
    absent: str = "missing",
    build: str = "auto",
    outside_calls: Path | None = None,
    genes_folder: Path | None = None,
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

    Raises
    ------
    InputError
        If a file is wrong, the sample is not clear, or the build is not.
    """
    _one_of("absent", absent, ("missing", "reference"))
    _one_of("build", build, ("auto", *_BUILDS))
    folder = genes_folder or GENES_FOLDER
    genes = tuple(load_gene(symbol, folder) for symbol in callable_genes(folder))
    ledger, calls, findings = Ledger(), dict[GeneSymbol, GeneCall](), list[str]()
    name, used_build, sex = sample or "", "not read", None
    if path is not None:
        data, used_build = _read(path, genes, sample, identifiers, build)
        name, sex = data.sample, _sex(data)
        rule: Absent = "reference" if absent == "reference" else "missing"
        caller = _Caller(path, data, used_build, rule, settings or Settings(), ledger)
        calls = {gene.symbol: caller.call(gene) for gene in genes}
        findings = caller.findings
    elif outside_calls is None:
        raise InputError("no genome was given", hint="give a VCF or outside calls")
    outside = read_outside_calls(outside_calls) if outside_calls else ()
    for call in outside:
        calls[GeneSymbol(call.gene)] = _outside(call, folder, ledger)
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


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"'{value}' is not a choice", where=f"--{name}", hint=f"use one of {', '.join(allowed)}")


def _read(
    path: Path, genes: Sequence[Gene], sample: str | None, identifiers: Collection[str], build: str
) -> tuple[SampleRecords, Build]:
    header = read_header(path)
    chosen = choose_sample(path, header, sample=sample, identifiers=identifiers)
    stated: Build | None = next((b for b in _BUILDS if b == build), None)
    decided = stated or build_from_header(path, header)
    wanted = [
        (plain_chromosome(gene.chromosome), p.at(b) - _MARGIN, p.at(b) + len(p.ref) + _MARGIN)
        for gene in genes
        for p in gene.positions
        for b in _BUILDS
    ]
    data = read_records(path, chosen, merge_regions([*wanted, _SEX_REGION, _SEX_REGION_37]))
    if decided is None:
        decided = build_from_variants(data.records, genes)
    if decided is None:
        raise InputError(
            "the reference genome is not clear from the header",
            where=str(path),
            hint="say which with --build GRCh37 or --build GRCh38",
        )
    _check_build(path, data, genes, decided)
    return data, decided


def _check_build(path: Path, data: SampleRecords, genes: Sequence[Gene], build: Build) -> None:
    """Refuse a file whose variants or reference bases are those of the other build."""
    votes = build_votes(data.records, genes)
    other: Build = "GRCh37" if build == "GRCh38" else "GRCh38"
    agree = differ = 0
    for gene in genes:
        expected = {p.at(build): p.reference(build) for p in gene.positions if len(p.ref) == 1}
        for record in data.records.get(plain_chromosome(gene.chromosome), ()):
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
        chromosome = plain_chromosome(gene.chromosome)
        records: tuple[Record, ...] = self._data.records.get(chromosome, ())
        absent: Absent = self._absent
        findings: list[str] = []
        if absent == "reference" and chromosome not in self._data.chromosomes:
            absent = self._where_nothing_is_listed(chromosome)
            said = "taken as reference" if absent == "reference" else "not read as reference"
            findings.append(f"the file has no record on {gene.chromosome}; absent positions there are {said}")
        genotypes = read_gene(gene, records, build=self._build, absent=absent, settings=self._settings)
        findings.extend(text for genotype in genotypes for text in genotype.findings)
        match = match_gene(gene, genotypes)
        keys = self._evidence(gene, genotypes)
        missing = tuple(g.position.id for g in genotypes if not g.complete)
        if match.pairs:
            return _called(gene, match, genotypes, missing, findings, keys, self._ledger)
        fallback = _fallback(gene, genotypes, match, missing, findings, keys, self._ledger)
        if fallback is not None:
            return fallback
        text = f"{gene.symbol} is not called: {match.reason}"
        return GeneCall(
            called=False,
            diplotype=None,
            phenotype=None,
            evidence_state="not called",
            not_excluded=_not_excluded(gene, genotypes, None),
            missing_positions=missing,
            findings=(*findings, text),
            because=(self._ledger.add("derived", text, because=keys),),
        )

    def _where_nothing_is_listed(self, chromosome: str) -> Absent:
        """A file of one chromosome says nothing of the others, nor does one whose header leaves the contig out."""
        contigs = {plain_chromosome(name) for name in self._data.header.contigs}
        several = len(self._data.chromosomes) > 1
        return "reference" if several and (not contigs or chromosome in contigs) else "missing"

    def _evidence(self, gene: Gene, genotypes: Sequence[Genotype]) -> list[EvidenceKey]:
        """Variants that were read, references that were read, what was assumed, and the definitions."""
        header = gene.definition or gene.phenotype
        keys = [
            self._ledger.add(
                "knowledge",
                f"{gene.symbol} allele definitions",
                source=header.source,
                version=header.version,
                status="secondary",
            )
        ]
        reference = 0
        for g in genotypes:
            if g.assumed or not g.read:
                continue
            if g.first == g.second == g.position.ref:
                reference += 1
                continue
            place = f"{gene.chromosome}:{g.position.at(self._build)} {self._build}"
            sign = "|" if g.block is not None else "/"
            text = f"{g.position.id} {place} is {g.first or '.'}{sign}{g.second or '.'}"
            lines = ", ".join(map(str, g.lines))
            keys.append(self._ledger.add("patient", text, source=f"{self._source} line {lines}"))
        if reference:
            text = f"{gene.symbol}: {reference} positions read as {gene.reference} has them"
            keys.append(self._ledger.add("patient", text, source=self._source))
        assumed = sum(g.assumed for g in genotypes)
        if assumed:
            setting = self._ledger.add("setting", "absent positions are reference", source="--absent reference")
            text = f"{gene.symbol}: {assumed} positions without a record are taken as reference"
            keys.append(self._ledger.add("assumption", text, because=(setting,)))
        unread = sum(not g.read for g in genotypes)
        if unread:
            text = f"{gene.symbol}: {unread} of {len(genotypes)} positions were not read"
            keys.append(self._ledger.add("patient", text, source=self._source))
        return keys


def _called(
    gene: Gene,
    match: Match,
    genotypes: Sequence[Genotype],
    missing: tuple[str, ...],
    findings: list[str],
    keys: list[EvidenceKey],
    ledger: Ledger,
) -> GeneCall:
    translations = [translate(gene, pair.first, pair.second) for pair in match.pairs]
    candidates = tuple(
        DiplotypeCandidate(
            diplotype=pair.diplotype,
            probability=pair.probability,
            phenotype=translation.phenotype,
            activity_score=translation.activity_score,
        )
        for pair, translation in zip(match.pairs, translations, strict=True)
    )
    rules = gene.phenotype
    keys = [
        *keys,
        ledger.add(
            "knowledge",
            f"{gene.symbol} functions and phenotypes",
            source=rules.source,
            version=rules.version,
            status="secondary",
        ),
    ]
    if len(candidates) > 1 and gene.frequencies:
        text = f"{gene.symbol} allele frequencies"
        keys.append(ledger.add("knowledge", text, source=gene.frequencies.source, status="secondary"))
    phenotype, notes = _phenotype(gene, candidates, match)
    best = candidates[0]
    said = phenotype or "no phenotype stated"
    return GeneCall(
        called=True,
        diplotype=best.diplotype,
        candidates=candidates,
        phenotype=phenotype,
        activity_score=best.activity_score if phenotype else None,
        phased=match.phased,
        evidence_state=_state(genotypes),
        not_excluded=_not_excluded(gene, genotypes, match.pairs[0]),
        missing_positions=missing,
        source="vcf",
        findings=(*findings, *notes),
        because=(ledger.add("derived", f"{gene.symbol} {best.diplotype}: {said}", because=keys),),
    )


def _phenotype(
    gene: Gene, candidates: Sequence[DiplotypeCandidate], match: Match
) -> tuple[str | None, tuple[str, ...]]:
    """The phenotype if the calls leave no serious doubt, with the doubts in words."""
    shares: dict[str | None, float] = {}
    for candidate in candidates:
        shares[candidate.phenotype] = shares.get(candidate.phenotype, 0.0) + candidate.probability
    notes: list[str] = []
    best = candidates[0].phenotype
    if len(shares) > 1:
        ordered = sorted(shares.items(), key=lambda item: -item[1])
        listing = ", ".join(f"{p or 'none'} {share:.3f}" for p, share in ordered if share >= 0.0005)
        notes.append(f"{gene.symbol}: the calls fit {len(shares)} phenotypes (probability: {listing})")
        if shares[best] < _CERTAIN:
            return None, tuple(notes)
    unseen = _unseen(gene, match)
    if unseen >= _UNSEEN:
        notes.append(
            f"{gene.symbol}: alleles that were not tested change the phenotype with probability {unseen:.2g}; "
            "no phenotype is stated"
        )
        return None, tuple(notes)
    return best, tuple(notes)


def _unseen(gene: Gene, match: Match) -> float:
    """Probability that an untested allele is there and changes the phenotype of the best pair.

    Without frequencies nothing can be said: 1 if any untested allele would change it.
    """
    best = match.pairs[0]
    if not gene.haplotypes:
        return 1.0 if any(_changes(gene, best, name) for name in match.untested) else 0.0
    share = sum(gene.frequency(name) or 0.0 for name in match.untested if _changes(gene, best, name))
    return float(1.0 - (1.0 - min(share, 1.0)) ** 2)


def _changes(gene: Gene, pair: Pair, allele: str) -> bool:
    """Whether the phenotype would differ if one of the pair were this allele."""
    now = translate(gene, pair.first, pair.second).phenotype
    return any(translate(gene, kept, allele).phenotype != now for kept in {pair.first, pair.second})


def _state(genotypes: Sequence[Genotype]) -> EvidenceState:
    if any(not g.complete for g in genotypes):
        return "partly called"
    return "assumed reference" if any(g.assumed for g in genotypes) else "called"


def _not_excluded(gene: Gene, genotypes: Sequence[Genotype], best: Pair | None) -> tuple[NotExcluded, ...]:
    """Alleles none of whose defining positions has a record."""
    read = {g.position.id for g in genotypes if g.read and not g.assumed}
    seen = {a.reported for a in gene.alleles if a.everywhere or read & a.defines.keys()}
    shown = {best.first, best.second} if best else set[str]()
    names = dict.fromkeys(a.reported for a in gene.alleles if a.reported not in seen | shown)
    found = [
        NotExcluded(
            allele=name,
            frequency=None if (f := gene.frequency(name)) is None else round(f, 6),
            changes_guidance=_changes(gene, best, name) if best else None,
        )
        for name in names
    ]
    return tuple(sorted(found, key=lambda item: -(item.frequency or 0.0)))


def _fallback(
    gene: Gene,
    genotypes: Sequence[Genotype],
    match: Match,
    missing: tuple[str, ...],
    findings: list[str],
    keys: list[EvidenceKey],
    ledger: Ledger,
) -> GeneCall | None:
    """Where no pair of alleles fits, the phenotype from the gene's one decisive position."""
    found = [g for g in genotypes if g.position.id == gene.fallback and g.complete]
    if not found:
        return None
    genotype = found[0]
    known = {p: a.name for a in gene.alleles for p in a.defines.values() if set(a.defines) == {gene.fallback}}
    known[genotype.position.ref] = gene.reference
    bases = (str(genotype.first), str(genotype.second))
    if not set(bases) <= known.keys():
        return None
    translation = translate(gene, known[bases[0]], known[bases[1]])
    diplotype = "/".join(f"{gene.fallback} {base}" for base in sorted(bases))
    note = f"{gene.symbol}: {match.reason}; the phenotype rests on {gene.fallback} alone"
    return GeneCall(
        called=True,
        diplotype=diplotype,
        candidates=(DiplotypeCandidate(diplotype=diplotype, probability=1.0, phenotype=translation.phenotype),),
        phenotype=translation.phenotype,
        evidence_state="partly called",
        not_excluded=_not_excluded(gene, genotypes, None),
        missing_positions=missing,
        source="vcf",
        findings=(*findings, note),
        because=(ledger.add("derived", note, because=keys),),
    )


def _outside(call: OutsideCall, folder: Path, ledger: Ledger) -> GeneCall:
    held = {*callable_genes(folder), *outside_genes(folder)}
    gene = load_gene(call.gene, folder) if call.gene in held else None
    reading = understand(call, gene)
    given = " ".join(filter(None, (call.diplotype, call.phenotype, call.activity_score)))
    keys = [ledger.add("patient", f"{call.gene} {given} as reported", source=call.where)]
    if gene is not None:
        rules = gene.phenotype
        text = f"{gene.symbol} functions and phenotypes"
        keys.append(ledger.add("knowledge", text, source=rules.source, version=rules.version, status="secondary"))
    result = reading.translation
    candidate = DiplotypeCandidate(
        diplotype=reading.diplotype or "not stated",
        probability=1.0,
        phenotype=result.phenotype,
        activity_score=result.activity_score,
    )
    said = f"{call.gene} {reading.diplotype or ''} {result.phenotype or ''}".strip()
    return GeneCall(
        called=True,
        diplotype=reading.diplotype,
        candidates=(candidate,),
        phenotype=result.phenotype,
        activity_score=result.activity_score,
        evidence_state="called",
        source="outside call",
        findings=tuple(f"{call.gene}: {text}" for text in reading.findings),
        because=(ledger.add("derived", said, because=keys),),
    )


def _not_called(symbol: GeneSymbol, outside: bool, ledger: Ledger) -> GeneCall:
    reason = "its copies cannot be counted from a VCF; give an outside call" if outside else "no genotypes were given"
    key = ledger.add("patient", f"{symbol} is not called: {reason}", source="genome")
    return GeneCall(
        called=False,
        diplotype=None,
        phenotype=None,
        evidence_state="not called",
        findings=(f"{symbol} is not called: {reason}",),
        because=(key,),
    )


def _versions(calls: Mapping[GeneSymbol, GeneCall], folder: Path) -> Versions:
    held = [
        load_gene(symbol, folder) for symbol in (*callable_genes(folder), *outside_genes(folder)) if symbol in calls
    ]
    return Versions(
        posologist=VERSION,
        knowledge=max((gene.phenotype.retrieved for gene in held), default=""),
        definitions={str(gene.symbol): gene.version for gene in held},
    )
