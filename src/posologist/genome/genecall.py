"""One gene's match as a call with its evidence: phenotype or doubt, what was read, what could not be excluded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from posologist.core.evidence import Ledger
from posologist.core.genotype import DiplotypeCandidate, EvidenceState, GeneCall, NotExcluded
from posologist.core.values import EvidenceKey
from posologist.genome.build import Build
from posologist.genome.call import Match, Pair, match_gene
from posologist.genome.calls import Calls, calls_of
from posologist.genome.genotypes import Genotype
from posologist.genome.translate import Translation, translate
from posologist.genome.variants import match_variants, worst_of
from posologist.knowledge.genes import FileHeader, Gene

_CERTAIN = 0.9  # a phenotype is stated if the diplotypes that have it reach this probability
_SHOWN = 6  # names in a finding before "and n more"
_UNSEEN = 0.01  # ... and if alleles that were not tested change it with less than this probability


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the calls of one gene come to, without evidence: the part that many samples share."""

    match: Match
    translations: tuple[Translation, ...]
    phenotype: str | None
    activity_score: float | None
    notes: tuple[str, ...]
    stated: bool = True

    @property
    def called(self) -> bool:
        """Whether a diplotype is stated."""
        return bool(self.match.pairs) and self.stated


def outcome_of(gene: Gene, calls: Calls) -> Outcome:
    """Diplotypes, phenotype and doubts from a gene's calls.

    The phenotype is stated if the diplotypes that have it reach a probability of 0.9, no variant that would change
    it was called and set aside, no allele that a test may not leave out was left out, and other alleles that were
    not tested change it with a probability below 0.01. Where variants are called one by one it is that of `lowest`.
    """
    match = match_variants(gene, calls) if gene.worst_first else match_gene(gene, calls)
    if not match.pairs:
        return Outcome(match, (), None, None, ())
    if match.lowest is not None:
        first, second = match.lowest
        translations = tuple(translate_pair(gene, pair) for pair in match.pairs)
        result = translate(gene, first, second)
        unseen, note = _unseen_note(gene, match, calls, Pair(first, second, 1.0))
        phenotype = None if unseen else result.phenotype
        return Outcome(match, translations, phenotype, None if unseen else result.activity_score, note)
    if gene.copies_vary:
        return _uncounted(gene, match, calls)
    translations = tuple(translate(gene, pair.first, pair.second) for pair in match.pairs)
    phenotype, notes = _phenotype(gene, translations, match, calls)
    score = translations[0].activity_score if phenotype else None
    return Outcome(match, translations, phenotype, score, notes)


def _uncounted(gene: Gene, match: Match, calls: Calls) -> Outcome:
    """A gene whose copies differ between people, of which the calls show bases only.

    Every plausible number and arrangement of copies is a candidate. A phenotype is stated only if no copy of any of
    them works; anything else stays open, because a missing or repeated copy looks like a plain genotype.
    """
    from posologist.genome.copies import copy_range
    from posologist.knowledge.copies import load_copies

    pairs = [(pair.first, pair.second, pair.probability) for pair in match.pairs]
    heterozygous = any(varied.first != varied.second for varied in calls.varied)
    found = copy_range(gene, pairs, load_copies(gene.symbol), heterozygous=heterozygous)
    options = found.options
    translations = tuple(Translation(phenotype=o.phenotype, activity_score=o.activity_score) for o in options)
    sides = (option.diplotype.split("/") for option in options)
    candidates = tuple(Pair(a, b, round(o.probability, 6)) for (a, b), o in zip(sides, options, strict=True))
    nothing_works = found.low == found.high == 0.0 and not found.at_least
    phenotype = found.phenotype if nothing_works and not match.untested else None
    score = 0.0 if phenotype else None
    *before, said = found.findings
    if phenotype is not None:
        text = "this rests on small variants, whatever the number of copies; confirm it by a test that counts them"
        before, said = [*before, said], f"{gene.symbol}: {text}"
    else:
        text = said.removeprefix(f"{gene.symbol}: ")
        said = f"{gene.symbol} is not called: {text}; give an outside call that counts them"
    notes = (*before, said)
    return Outcome(
        replace(match, pairs=candidates), translations, phenotype, score, notes, stated=phenotype is not None
    )


def translate_pair(gene: Gene, pair: Pair) -> Translation:
    """Phenotype of a pair of strands that may carry several variants each: by the worst of each strand."""
    return translate(gene, *(worst_of(gene, side) for side in (pair.first, pair.second)))


def _phenotype(
    gene: Gene, translations: Sequence[Translation], match: Match, calls: Calls
) -> tuple[str | None, tuple[str, ...]]:
    """The phenotype if the calls leave no serious doubt, with the doubts in words."""
    shares: dict[str | None, float] = {}
    for pair, translation in zip(match.pairs, translations, strict=True):
        shares[translation.phenotype] = shares.get(translation.phenotype, 0.0) + pair.probability
    notes: list[str] = []
    best = translations[0].phenotype
    if len(shares) > 1:
        ordered = sorted(shares.items(), key=lambda item: -item[1])
        listing = ", ".join(f"{p or 'none'} {share:.3g}" for p, share in ordered)
        notes.append(f"{gene.symbol}: the calls fit {len(shares)} phenotypes (probability: {listing})")
        if shares[best] < _CERTAIN:
            return None, tuple(notes)
    unseen, note = _unseen_note(gene, match, calls, match.pairs[0])
    return (None if unseen else best), (*notes, *note)


def _unseen_note(gene: Gene, match: Match, calls: Calls, best: Pair) -> tuple[bool, tuple[str, ...]]:
    """Whether what was not read forbids a phenotype, and why."""
    for reason in (_suspected(gene, calls, best), _untested_keys(gene, match, best), _unseen(gene, match, best)):
        if reason:
            return True, (f"{gene.symbol}: {reason}; no phenotype is stated",)
    return False, ()


def _suspected(gene: Gene, calls: Calls, best: Pair) -> str:
    """A variant was called where the record may not be used, and it would change the phenotype."""
    if not calls.suspect:
        return ""
    places = [n for n in range(len(gene.positions)) if calls.suspect >> n & 1]
    decisive = [
        gene.positions[n].id
        for n in places
        if any(n in p.bases and changes(gene, best, p.allele.reported) for p in gene.patterns)
    ]
    return f"a variant was called at {', '.join(decisive)} and may not be used" if decisive else ""


def _untested_keys(gene: Gene, match: Match, best: Pair) -> str:
    """Alleles that no test may leave out were left out."""
    wanted = match.untested if gene.all_decide else [name for name in match.untested if name in gene.key_alleles]
    names = [name for name in wanted if changes(gene, best, name)]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"{shown} would change the phenotype and was not tested for" if names else ""


def _unseen(gene: Gene, match: Match, best: Pair) -> str:
    """Untested alleles change the phenotype of the best pair with a probability that counts.

    Of a gene without frequencies only the alleles that no test may leave out count, or all where none is named.
    """
    if not gene.haplotypes:
        open_ = not gene.key_alleles and any(changes(gene, best, name) for name in match.untested)
        return "alleles that were not tested for would change the phenotype" if open_ else ""
    share = sum(gene.weight(name) for name in match.untested if changes(gene, best, name))
    unseen = 1.0 - (1.0 - min(share, 1.0)) ** 2
    if unseen < _UNSEEN:
        return ""
    return f"alleles that were not tested for change the phenotype with probability {unseen:.2g}"


def changes(gene: Gene, pair: Pair, allele: str) -> bool:
    """Whether the phenotype or the activity score would differ if one of the pair were this allele."""
    now = translate(gene, pair.first, pair.second)
    if not pair.second:
        return translate(gene, allele) != now
    return any(translate(gene, kept, allele) != now for kept in {pair.first, pair.second})


def gene_call(gene: Gene, genotypes: Sequence[Genotype], evidence: Evidence) -> GeneCall:
    """The gene's call with its evidence; not called, and why, where nothing explains the genotypes."""
    outcome = outcome_of(gene, calls_of(gene, genotypes))
    keys = evidence.keys(gene, genotypes)
    missing = tuple(g.position.id for g in genotypes if not g.complete)
    read = tuple(text for genotype in genotypes for text in genotype.findings)
    findings = (*evidence.notes, *read, *outcome.match.findings, *outcome.notes)
    if outcome.match.pairs:
        return _called(gene, outcome, genotypes, missing, findings, keys, evidence.ledger)
    fallback = _fallback(gene, genotypes, outcome.match, missing, findings, keys, evidence.ledger)
    if fallback is not None:
        return fallback
    text = f"{gene.symbol} is not called: {outcome.match.reason}"
    return GeneCall(
        called=False,
        diplotype=None,
        phenotype=None,
        evidence_state="not called",
        not_excluded=not_excluded(gene, genotypes, None),
        missing_positions=missing,
        findings=(*findings, text),
        because=(evidence.ledger.add("derived", text, because=keys),),
    )


def _called(
    gene: Gene,
    outcome: Outcome,
    genotypes: Sequence[Genotype],
    missing: tuple[str, ...],
    findings: tuple[str, ...],
    keys: list[EvidenceKey],
    ledger: Ledger,
) -> GeneCall:
    pairs = outcome.match.pairs
    candidates = tuple(
        DiplotypeCandidate(
            diplotype=pair.diplotype,
            probability=pair.probability,
            phenotype=translation.phenotype,
            activity_score=translation.activity_score,
        )
        for pair, translation in zip(pairs, outcome.translations, strict=True)
    )
    keys = [*keys, ledger_entry(ledger, f"{gene.symbol} functions and phenotypes", gene.phenotype)]
    if len(candidates) > 1 and gene.frequencies:
        keys.append(ledger_entry(ledger, f"{gene.symbol} allele frequencies", gene.frequencies))
    said = outcome.phenotype or "no phenotype stated"
    return GeneCall(
        called=outcome.called,
        diplotype=candidates[0].diplotype if outcome.called else None,
        candidates=candidates,
        phenotype=outcome.phenotype,
        activity_score=outcome.activity_score,
        phased=outcome.match.phased,
        evidence_state="partly called" if gene.copies_vary else state_of(genotypes),
        not_excluded=not_excluded(gene, genotypes, _known(outcome.match)),
        missing_positions=missing,
        lowest_function=outcome.match.lowest,
        source="vcf",
        findings=findings,
        because=(ledger.add("derived", f"{gene.symbol} {candidates[0].diplotype}: {said}", because=keys),),
    )


def _known(match: Match) -> Pair:
    """The pair that untested alleles are compared with."""
    return match.pairs[0] if match.lowest is None else Pair(match.lowest[0], match.lowest[1], 1.0)


def ledger_entry(ledger: Ledger, text: str, header: FileHeader) -> EvidenceKey:
    """Cites a gene file."""
    return ledger.add("knowledge", text, source=header.source, version=header.version, status="secondary")


def state_of(genotypes: Sequence[Genotype]) -> EvidenceState:
    """Whether all positions were read, some were, or some were taken as reference."""
    if any(not g.complete for g in genotypes):
        return "partly called"
    return "assumed reference" if any(g.assumed for g in genotypes) else "called"


def not_excluded(gene: Gene, genotypes: Sequence[Genotype], best: Pair | None) -> tuple[NotExcluded, ...]:
    """Alleles none of whose defining positions has a record, the most common first."""
    read = {gene.place[g.position.id] for g in genotypes if g.read and not g.assumed}
    seen = {p.allele.reported for p in gene.patterns if p.reference or read & p.bases.keys()}
    shown = {best.first, best.second} if best else set[str]()
    names = dict.fromkeys(p.allele.reported for p in gene.patterns if p.allele.reported not in seen | shown)
    found = [
        NotExcluded(
            allele=name,
            frequency=None if (f := gene.frequency(name)) is None else round(f, 6),
            changes_guidance=changes(gene, best, name) if best and gene.phenotypes else None,
        )
        for name in names
    ]
    return tuple(sorted(found, key=lambda item: -(item.frequency or 0.0)))


def _fallback(
    gene: Gene,
    genotypes: Sequence[Genotype],
    match: Match,
    missing: tuple[str, ...],
    findings: tuple[str, ...],
    keys: list[EvidenceKey],
    ledger: Ledger,
) -> GeneCall | None:
    """Where no pair of alleles fits, the phenotype from the gene's one decisive position."""
    found = [g for g in genotypes if g.position.id == gene.fallback and g.complete]
    if not found:
        return None
    genotype = found[0]
    known = {p: a.name for a in gene.alleles for p in a.defines.values() if set(a.defines) == {gene.fallback}}
    known[genotype.position.ref] = "*1" if "*1" in gene.functions else gene.reference
    bases = sorted((str(genotype.first), str(genotype.second)))
    if not set(bases) <= known.keys():
        return None
    alleles = (known[bases[0]], known[bases[1]])
    translation = translate(gene, *alleles)
    diplotype = "/".join(f"{gene.fallback} {base}" for base in bases)
    note = f"{gene.symbol}: {match.reason}; the phenotype rests on {gene.fallback} alone"
    return GeneCall(
        called=True,
        diplotype=diplotype,
        candidates=(DiplotypeCandidate(diplotype=diplotype, probability=1.0, phenotype=translation.phenotype),),
        phenotype=translation.phenotype,
        evidence_state="partly called",
        not_excluded=not_excluded(gene, genotypes, None),
        missing_positions=missing,
        source="vcf",
        findings=(*findings, note),
        because=(ledger.add("derived", note, because=keys),),
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Writes into the ledger what was read of a gene in one file. `notes`: what concerns all of its positions."""

    ledger: Ledger
    source: str
    build: Build
    notes: tuple[str, ...] = ()

    def keys(self, gene: Gene, genotypes: Sequence[Genotype]) -> list[EvidenceKey]:
        """Variants that were read, references that were read, what was assumed, and the definitions."""
        keys = [ledger_entry(self.ledger, f"{gene.symbol} allele definitions", gene.definition or gene.phenotype)]
        reference = [g for g in genotypes if _plain(g)]
        for g in genotypes:
            if g.read and not g.assumed and not _plain(g):
                keys.append(self._variant(gene, g))
        if reference:
            text = f"{gene.symbol}: {len(reference)} positions read as {gene.reference} has them"
            keys.append(self.ledger.add("patient", text, source=self.source))
        assumed = sum(g.assumed for g in genotypes)
        if assumed:
            setting = self.ledger.add("setting", "absent positions are reference", source="--absent reference")
            text = f"{gene.symbol}: {assumed} positions without a record are taken as reference"
            keys.append(self.ledger.add("assumption", text, because=(setting,)))
        unread = sum(not g.read for g in genotypes)
        if unread:
            text = f"{gene.symbol}: {unread} of {len(genotypes)} positions were not read"
            keys.append(self.ledger.add("patient", text, source=self.source))
        return keys

    def _variant(self, gene: Gene, g: Genotype) -> EvidenceKey:
        place = f"{gene.chromosome}:{g.position.at(self.build)} {self.build}"
        sign = "|" if g.block is not None else "/"
        called = f"{g.first or '.'}" + ("" if g.copies == 1 else f"{sign}{g.second or '.'}")
        lines = ", ".join(str(line) for line in g.lines if line)
        source = f"{self.source} line {lines}" if lines else self.source
        return self.ledger.add("patient", f"{g.position.id} {place} is {called}", source=source)


def _plain(g: Genotype) -> bool:
    """Whether the position was read and is the reference's."""
    same = g.first == g.position.ref and (g.second == g.first or g.copies == 1)
    return g.read and not g.assumed and same
