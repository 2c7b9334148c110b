"""Calls against GeT-RM, the published genotypes of cell lines: every disagreement has a reason, nearly all computed.

`-s` prints the table of docs/genome-agreement.md and every disagreement behind it.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from getrm import COPIES, FINER, NO_RECORD, NOT_READ, OLD_NAMES, Person, bases_of, call, hgvs, people, today, truths
from posologist.genome.document import call_genome
from posologist.genome.outside import OutsideCall, understand
from posologist.genome.vcf import read_header
from posologist.knowledge.genes import load_gene
from shared import shared_data

# Alleles that the panel behind the genotypes cannot show: their positions are not in it, or were named later.
_NOT_IN_PANEL = {("HG01474", "TPMT"), ("HG03521", "TPMT"), ("NA12751", "TPMT")} | {
    (sample, "CYP3A4") for sample in ("HG00368", "HG01275", "NA19160")
}
_SAME_DEFINITION = ("CYP2C19", "CYP2C9", "CYP3A4", "CYP3A5", "TPMT", "VKORC1")
_OTHER_GENES = ("CYP2B6", "CYP2D6", "CYP4F2", "DPYD", "NAT2", "NUDT15", "SLCO1B1", "UGT1A1")
_AT_LEAST = {"CYP2B6": 14, "CYP2D6": 33, "CYP4F2": 21, "DPYD": 21, "NAT2": 18, "NUDT15": 5, "SLCO1B1": 14, "UGT1A1": 2}

# Disagreements that no rule explains, each looked at in the VCF.
_LOOKED_AT = {
    ("CYP2D6", "NA12156"): "the panel reads 1|1 at all six positions of *4, the study one copy; targeted sequencing of "
    "this cell line (tests of 0xTCG/aldy) has 443 unchanged and 258 changed reads at the splice site",
    ("NAT2", "NA11839"): "the panel reads 590G>A on one strand; to four others with these genotypes the study gives "
    "'*4/*5 or *5/*6'",
    ("NAT2", "NA20509"): "the panel reads 590G>A on one strand; to four others with these genotypes the study gives "
    "'*4/*5 or *5/*6'",
    ("SLCO1B1", "NA10855"): "the panel reads 388G and 463A (*14) on one strand; the study's *1/*1 has neither",
    ("SLCO1B1", "NA12753"): "the panel reads 388G and 463A (*14) on one strand; the study's *1/*1 has neither",
    ("UGT1A1", "NA20509"): "the panel reads one long repeat, (TA)7, and rs887829 on one strand; both *28 of the study "
    "stand in parentheses",
}
# Stated phenotypes that are not the published pair's and that no rule explains.
_OTHER_PHENOTYPE = {
    ("CYP2D6", "NA12156"),
    ("NAT2", "NA11839"),
    ("NAT2", "NA20509"),
    ("CYP2B6", "NA07029"),  # *27 stands in parentheses; the panel reads its position as the reference's
    ("CYP2B6", "NA07055"),  # likewise
    ("UGT1A1", "NA20509"),
}


@pytest.fixture(scope="module")
def panel() -> Path:
    """The genotypes of 104 people, phased."""
    return shared_data("pgx", "getrm", "genotypes.vcf.gz")


@pytest.fixture(scope="module")
def unphased(tmp_path_factory: pytest.TempPathFactory, panel: Path) -> Path:
    """The same without phase."""
    path = tmp_path_factory.mktemp("getrm") / "unphased.vcf"
    path.write_text(gzip.decompress(panel.read_bytes()).decode().replace("|", "/"))
    return path


def _named(symbol: str, diplotype: str) -> list[str]:
    """A diplotype in one nomenclature: *38 was *1, suffixes name suballeles, VKORC1 in bases of its own strand."""
    if symbol == "VKORC1":
        return sorted({"C": "G", "T": "A"}.get(name[-2] if ")" in name else "", name) for name in diplotype.split("/"))
    names = [("*1" if symbol == "CYP2C19" and name == "*38" else name) for name in diplotype.split("/")]
    if symbol == "TPMT":
        return sorted({"*1A": "*1", "*1S": "*1"}.get(name, name) for name in names)
    return sorted(re.sub(r"(?<=\d)[A-Z]$", "", name) for name in names)


@pytest.mark.parametrize("phased", [True, False])
def test_getrm_diplotypes_are_found_in_genes_whose_definition_did_not_change(
    phased: bool, panel: Path, unphased: Path
) -> None:
    agree: Counter[str] = Counter()
    misses = set()
    for symbol in _SAME_DEFINITION:
        for truth in truths(symbol):
            if not truth.plain:
                continue
            found = call(panel if phased else unphased, symbol, truth.sample).diplotype
            if found and _named(symbol, found) == _named(symbol, truth.plain):
                agree[symbol] += 1
            else:
                misses.add((truth.sample, symbol))
    print(f"GeT-RM, {'phased' if phased else 'phase removed'}:", dict(agree), "misses:", sorted(misses))

    assert misses <= _NOT_IN_PANEL
    assert agree.total() >= 292


@pytest.mark.parametrize("symbol", _OTHER_GENES)
def test_every_other_disagreement_has_a_reason(symbol: str, panel: Path) -> None:
    everyone = people(panel, symbol)
    agreeing = [person for person in everyone if person.agreed]
    reasons = {p.truth.sample: p.explain() for p in everyone if not p.agreed}
    unexplained = {sample for sample, reason in reasons.items() if not reason}
    _print(symbol, everyone, reasons)

    assert len(agreeing) >= _AT_LEAST[symbol]
    assert {(symbol, sample) for sample in unexplained} == {key for key in _LOOKED_AT if key[0] == symbol}


def _print(symbol: str, everyone: list[Person], reasons: dict[str, str]) -> None:
    counted = Counter(reason or "looked at" for reason in reasons.values())
    other = sum(_differs(person) for person in everyone)
    listed = ", ".join(f"{reason} {count}" for reason, count in counted.most_common())
    agree = len(everyone) - len(reasons)
    print(f"\n| {symbol} | {len(everyone)} | {agree} | {listed or '-'} | {other} |")
    for person in everyone:
        sample, raw = person.truth.sample, person.truth.raw
        if sample in reasons:
            reason = reasons[sample] or _LOOKED_AT.get((symbol, sample), "unexplained")
            print(f"    {sample}: published {raw}, called {person.best or 'not'}: {reason}")
        if _differs(person):
            print(f"    {sample}: published {person.phenotypes()}, stated {person.call.phenotype}")


def _differs(person: Person) -> bool:
    """Whether a phenotype is stated that the published pair does not have; copies are compared elsewhere."""
    known = person.phenotypes()
    return bool(known) and person.call.phenotype is not None and person.call.phenotype not in known


@pytest.mark.parametrize("symbol", _OTHER_GENES)
def test_a_phenotype_other_than_the_published_rests_on_a_record_or_is_listed_as_not_excluded(
    symbol: str, panel: Path
) -> None:
    for person in filter(_differs, people(panel, symbol)):
        reason, sample = person.explain(), person.truth.sample
        if (symbol, sample) in _OTHER_PHENOTYPE:
            continue
        assert reason, sample
        if NO_RECORD in reason:
            open_ = {item.allele for item in person.call.not_excluded if item.changes_guidance}
            missed = set(hgvs(person.truth.raw)) - set(hgvs(person.best))
            assert person.call.evidence_state == "assumed reference"
            assert all(any(name in allele for allele in open_) for name in missed), (sample, missed)
        else:
            assert FINER in reason
            assert _more_than_published(person) <= _recorded(person), sample


def _more_than_published(person: Person) -> set[str]:
    """Positions that our alleles rest on and that no allele published for the person does."""
    ours = {base for name in person.best.split("/") for found in bases_of(person.gene, name) for base in found}
    names = {name for pair in person.truth.pairs for side in pair for name in side.names}
    theirs = {b for n in names for t in today(person.gene, n) for found in bases_of(person.gene, t) for b in found}
    return {position for position, _ in ours - theirs}


def _recorded(person: Person) -> set[str]:
    return {g.position.id for g in person.genotypes if g.read and not g.assumed}


@pytest.mark.parametrize("symbol", ["CYP2B6", "CYP4F2", "NAT2", "SLCO1B1", "DPYD"])
def test_a_wrong_call_is_not_explained_away(symbol: str, panel: Path) -> None:
    everyone = [person for person in people(panel, symbol) if not person.call.missing_positions]
    reference = next(p for p in everyone if p.best == f"{p.gene.reference}/{p.gene.reference}" or p.best == "*4/*4")
    carriers = [p for p in everyone if p.agreed and p.best != reference.best]

    wrong = [replace(person, call=reference.call) for person in carriers]

    assert carriers
    assert not any(person.agreed for person in wrong)
    assert not [person.truth.sample for person in wrong if person.explain()]


def test_cyp2d6_has_a_phenotype_only_if_no_copy_works_and_it_is_the_published_one(panel: Path) -> None:
    gene = load_gene("CYP2D6")
    wrong = set()
    for person in people(panel, "CYP2D6"):
        found = person.call
        assert found.phenotype in (None, "Poor Metabolizer")
        assert found.phenotype is None or {c.activity_score for c in found.candidates} == {0.0}
        assert found.called is (found.phenotype is not None)
        if found.phenotype is None:
            continue
        given = OutsideCall(
            gene="CYP2D6", diplotype=person.truth.raw, phenotype=None, activity_score=None, where="truth.tsv"
        )
        published = understand(given, gene).translation.phenotype
        print(person.truth.sample, person.truth.raw, published, "stated", found.diplotype, found.phenotype)
        if published != found.phenotype:
            wrong.add(person.truth.sample)

    assert wrong == {"NA12156"}


def test_nobody_with_uncounted_copies_of_cyp2d6_has_a_working_phenotype(panel: Path) -> None:
    structural = [person for person in people(panel, "CYP2D6") if person.explain() == COPIES]

    assert len(structural) >= 24
    for person in structural:
        assert person.call.phenotype is None or not any(c.activity_score for c in person.call.candidates)
        assert person.call.phenotype or any("copies was not read" in text for text in person.call.findings)


@pytest.mark.parametrize("symbol", _OTHER_GENES)
def test_the_published_pair_stays_among_the_candidates_when_phase_is_removed(
    symbol: str, panel: Path, unphased: Path
) -> None:
    agreed = [person for person in people(panel, symbol) if person.agreed]
    lost = [
        person.truth.sample
        for person in agreed
        if not any(person.agrees(c.diplotype) for c in call(unphased, symbol, person.truth.sample).candidates)
    ]

    assert agreed
    assert not lost


def test_what_is_not_read_is_not_called(panel: Path) -> None:
    unread = [p for s in ("DPYD", "UGT1A1") for p in people(panel, s) if p.explain() == NOT_READ]

    assert len(unread) >= 30
    assert {person.call.phenotype for person in unread} == {None}


def test_a_real_unphased_genome_agrees_in_every_gene_it_covers() -> None:
    path = shared_data("pgx", "getrm", "wgs_unphased", "NA18526.preprocessed.vcf")
    profile = call_genome(path)
    found = {}
    for symbol in (*_SAME_DEFINITION, *_OTHER_GENES):
        published = next((t for t in truths(symbol) if t.sample == "NA18526" and t.plain), None)
        unread = set(profile.genes[symbol].missing_positions)  # type: ignore[index]
        if published is None or published.structural or unread == load_gene(symbol).by_id.keys():
            continue
        options = {tuple(_named(symbol, c.diplotype)) for c in profile.genes[symbol].candidates}  # type: ignore[index]
        names = [OLD_NAMES.get(symbol, {}).get(n, (n,)) for n in published.plain.split("/")]
        wanted = {tuple(_named(symbol, f"{a}/{b}")) for a in names[0] for b in names[1]}
        found[symbol] = bool(options & wanted)

    assert read_header(path).samples == ("NA18526",)
    assert all(found.values()), found
    assert len(found) >= 10
