"""Calls against other people's truth: PharmCAT's cases and examples, the reference genome itself."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from genome_files import diplotype_rows, haplotype, reference_rows, row, write_vcf
from posologist.core.errors import InputError
from posologist.core.genotype import GeneCall
from posologist.core.settings import Settings
from posologist.genome.call import match_gene
from posologist.genome.calls import calls_of
from posologist.genome.document import call_genome
from posologist.genome.genecall import outcome_of
from posologist.genome.genotypes import Genotype, read_gene
from posologist.genome.translate import translate
from posologist.genome.vcf import merge_regions, plain_chromosome, read_header, read_records
from posologist.knowledge.genes import Gene, callable_genes, load_gene
from shared import shared_data


def _cases() -> list[dict[str, Any]]:
    path = shared_data("pgx", "cases", "expected.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _pair(diplotype: str) -> frozenset[tuple[str, int]]:
    return frozenset(Counter(diplotype.split("/")).items())


def _agrees(expected: dict[str, Any], call: GeneCall) -> bool:
    """The set of diplotypes that the case asserts: all candidates, or the best where it asserts the best only."""
    wanted = expected.get("diplotypes", expected.get("printed", []))
    if expected["gene"] in ("DPYD", "RYR1"):
        return Counter(call.lowest_function or ()) == Counter(expected["recommendation_alleles"])
    if expected.get("called_by_matcher") is False and "printed" not in expected:
        return not call.called
    if "printed" in expected and not any("(" in text and "heterozygous" in text for text in expected["printed"]):
        wanted = expected["printed"]
    elif "recommendation_alleles" in expected:
        wanted = ["/".join(expected["recommendation_alleles"])]
    best = call.candidates[0].probability
    shown = call.candidates if expected.get("check") == "matcher_all" else call.candidates[:1]
    ties = [c for c in shown if expected.get("check") == "matcher_all" or c.probability == best]
    return {_pair(c.diplotype) for c in ties} == {_pair(d) for d in wanted}


def test_every_pharmcat_case_agrees() -> None:
    cases = _cases()
    disagreeing = []
    for case in cases:
        profile = call_genome(shared_data("pgx", "cases", str(case["vcf"])))
        for expected in case["genes"]:
            call = profile.genes[expected["gene"]]
            if not _agrees(expected, call):
                disagreeing.append((case["case"], expected["gene"], call.diplotype))
            phenotypes = {_pair(p["diplotype"]): p["phenotype"] for p in expected.get("phenotype_from_tables", ())}
            found = {_pair(c.diplotype): c.phenotype for c in call.candidates}
            if phenotypes and expected["gene"] not in ("DPYD", "RYR1"):
                assert {pair: found[pair] for pair in phenotypes} == phenotypes, case["case"]
    print(len(cases) - len(disagreeing), "of", len(cases), "cases agree")

    assert not disagreeing
    assert len(cases) == 20


def test_reference_genome_is_reference_everywhere_and_star_38_in_cyp2c19() -> None:
    profile = call_genome(shared_data("pgx", "positions", "pharmcat_positions.vcf"))

    for symbol in callable_genes():
        gene, call = load_gene(symbol), profile.genes[symbol]
        if gene.copies_vary:
            assert call.phenotype is None
            continue
        assert call.diplotype == f"{gene.reference}/{gene.reference}"
        assert call.evidence_state == "called"
    assert profile.genes["CYP2C19"].diplotype == "*38/*38"  # type: ignore[index]
    assert {s for s, c in profile.genes.items() if not c.called} == {"CYP2D6", "HLA-A", "HLA-B", "MT-RNR1"}


@pytest.mark.parametrize("name", ["pharmcat.example", "pharmcat.example2"])
def test_pharmcat_example_patients_get_pharmcats_diplotypes(name: str) -> None:
    profile = call_genome(shared_data("pgx", "examples", f"{name}.vcf.gz"))
    with gzip.open(shared_data("pgx", "examples", f"{name}.match.json.gz")) as stream:
        results = {r["gene"]: r for r in json.load(stream)["results"]}

    for symbol in callable_genes():
        if symbol not in results:
            assert symbol == "CYP2D6"
            continue
        expected = {d["name"] for d in results[symbol]["diplotypes"]}
        assert {c.diplotype for c in profile.genes[symbol].candidates} >= expected
        assert profile.genes[symbol].diplotype in expected


def test_absent_is_not_called_unless_asked_for(tmp_path: Path) -> None:
    cyp2c19 = load_gene("CYP2C19")
    path = write_vcf(tmp_path / "v.vcf", diplotype_rows(cyp2c19, "*1", "*2"))

    missing = call_genome(path)
    assumed = call_genome(path, absent="reference")

    assert missing.genes["CYP2C9"].called is False  # type: ignore[index]
    assert missing.genes["CYP2C9"].phenotype is None  # type: ignore[index]
    assert assumed.genes["CYP2C9"].diplotype == "*1/*1"  # type: ignore[index]
    assert assumed.genes["CYP2C9"].evidence_state == "assumed reference"  # type: ignore[index]
    assert assumed.genes["TPMT"].called is False  # type: ignore[index]
    assert "no record on chr6" in assumed.genes["TPMT"].findings[0]  # type: ignore[index]


def test_file_of_variants_on_several_chromosomes_is_read_as_reference_elsewhere(tmp_path: Path) -> None:
    rows = [r for s in ("CYP2C19", "TPMT") for r in diplotype_rows(load_gene(s), "*1", "*2") if "1" in r[-1]]
    listed = "##reference=GRCh38\n##contig=<ID=chr6>\n##contig=<ID=chr10>\n##contig=<ID=chr16>"
    both = call_genome(write_vcf(tmp_path / "a.vcf", rows, header="##reference=GRCh38"), absent="reference")
    part = call_genome(write_vcf(tmp_path / "b.vcf", rows, header=listed), absent="reference")

    assert both.genes["CYP3A5"].diplotype == "*1/*1"  # type: ignore[index]
    assert part.genes["VKORC1"].phenotype == "-1639 GG"  # type: ignore[index]
    assert part.genes["CYP3A5"].called is False  # type: ignore[index]


@pytest.mark.parametrize("name", ["multisample.vcf", "100samples.vcf.bgz"])
def test_every_sample_of_a_file_of_many_is_called(name: str) -> None:
    path = shared_data("pgx", "examples", name)
    for sample in read_header(path).samples[:20]:
        profile = call_genome(path, sample=sample)
        assert profile.sample == sample
        assert any(call.called for call in profile.genes.values())


def test_unknown_choice_is_refused() -> None:
    path = shared_data("pgx", "positions", "pharmcat_positions.vcf")

    with pytest.raises(InputError, match="maybe"):
        call_genome(path, absent="maybe")
    with pytest.raises(InputError, match="hg19"):
        call_genome(path, build="hg19")


def test_one_read_position_does_not_make_a_normal_metaboliser(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "v.vcf", [row("chr10", 94761900, "C", "T", "0/0", id="rs12248560")])

    call = call_genome(path).genes["CYP2C19"]  # type: ignore[index]

    assert call.evidence_state == "partly called"
    assert call.phenotype is None
    assert any("not tested" in finding for finding in call.findings)
    assert "*2" in {item.allele for item in call.not_excluded}


def test_undocumented_base_is_not_called_but_reference_in_a_toxicity_gene(tmp_path: Path) -> None:
    rows = reference_rows(skip=["TPMT", "CYP2C9"])
    cyp2c9, tpmt = load_gene("CYP2C9"), load_gene("TPMT")
    for gene, wrong in ((cyp2c9, "rs1799853"), (tpmt, "rs1800462")):
        for p in gene.positions:
            if p.id == wrong:
                rows.append(
                    row(gene.chromosome, p.grch38, p.ref, next(b for b in "ACGT" if b not in {p.ref, *p.alts}), "0/1")
                )
            else:
                rows.append(row(gene.chromosome, p.grch38, p.ref, ",".join(p.alts), "0/0"))
    profile = call_genome(write_vcf(tmp_path / "v.vcf", rows))

    assert profile.genes["CYP2C9"].called is False  # type: ignore[index]
    assert "rs1799853" in profile.genes["CYP2C9"].findings[-1]  # type: ignore[index]
    assert profile.genes["TPMT"].diplotype == "*1/*1"  # type: ignore[index]


def test_probability_follows_allele_frequency() -> None:
    tpmt = load_gene("TPMT")
    genotypes = [
        Genotype(p, p.ref, p.alts[0]) if p.id in ("rs1800460", "rs1142345") else Genotype(p, p.ref, p.ref)
        for p in tpmt.positions
    ]

    match = match_gene(tpmt, calls_of(tpmt, genotypes))

    assert [pair.diplotype for pair in match.pairs] == ["*1/*3A", "*3B/*3C"]
    assert match.pairs[0].probability > 0.99
    assert sum(pair.probability for pair in match.pairs) == pytest.approx(1.0)


def test_phase_sets_of_different_blocks_are_independent(tmp_path: Path) -> None:
    tpmt = load_gene("TPMT")
    chosen = {"rs1800460": ("1|0", "1"), "rs1142345": ("0|1", "2")}
    rows = []
    for p in tpmt.positions:
        gt, block = chosen.get(p.id, ("0/0", "."))
        rows.append(row("chr6", p.grch38, p.ref, ",".join(p.alts), gt, format="PS", values=block))
    two_blocks = call_genome(write_vcf(tmp_path / "two.vcf", rows)).genes["TPMT"]  # type: ignore[index]
    one = [[*r[:-1], r[-1].replace(":2", ":1")] for r in rows]
    one_block = call_genome(write_vcf(tmp_path / "one.vcf", one)).genes["TPMT"]  # type: ignore[index]

    assert {c.diplotype for c in two_blocks.candidates} == {"*1/*3A", "*3B/*3C"}
    assert not two_blocks.phased
    assert [c.diplotype for c in one_block.candidates] == ["*3B/*3C"]
    assert one_block.phased


_TABLES = {"CYP2D6": "older/CYP2D6.cpic.v2.15.4", "G6PD": "older/G6PD.cpic.v2.6.0", "RYR1": "older/RYR1.cpic.v2.8.3"}
_TABLES |= {"MT-RNR1": "MT_RNR1"}
_WITHOUT_TABLE = {"CYP4F2", "IFNL3"}  # no diplotype of theirs has a phenotype


@pytest.mark.parametrize("symbol", sorted({*callable_genes(), "MT-RNR1"} - _WITHOUT_TABLE))
def test_every_phenotype_table_row_of_the_source_is_reproduced(symbol: str) -> None:
    with gzip.open(shared_data("pgx", "phenotype", f"{_TABLES.get(symbol, symbol)}.json.gz")) as stream:
        table = json.load(stream)
    gene = load_gene(symbol)
    newer = {n for n, f in table["haplotypes"].items() if n not in gene.functions or _renewed(gene, n, f)}
    checked = 0
    for line in table["diplotypes"]:
        alleles = [a for a, count in line["diplotypekey"].items() for _ in range(count)]
        if newer & set(alleles):
            continue
        got = translate(gene, *alleles)
        score = (line.get("activityScore") or "n/a").lstrip("≥")
        assert got.phenotype == line.get("phenotype", line["lookupkey"]), (symbol, line["diplotype"])
        assert not gene.scored or score == "n/a" or got.activity_score == pytest.approx(float(score))
        checked += 1

    assert len(newer) <= (5 if symbol == "RYR1" else 0)
    assert checked > 0


def _renewed(gene: Gene, allele: str, function: str) -> bool:
    """Whether a newer release than the table gives the allele another function."""
    return gene.symbol == "RYR1" and gene.functions[allele].function != function


@pytest.mark.parametrize("symbol", callable_genes())
def test_every_pair_of_alleles_is_among_the_candidates_of_its_own_genotypes(symbol: str) -> None:
    gene = load_gene(symbol)
    bases = {allele.name: haplotype(gene, allele.name) for allele in gene.alleles}
    reported = {allele.name: allele.reported for allele in gene.alleles}
    lost = []
    for n, first in enumerate(bases):
        for second in list(bases)[n:]:
            pairs = zip(gene.positions, bases[first], bases[second], strict=True)
            genotypes = [Genotype(p, a, b, block="|" if a != b else None) for p, a, b in pairs]
            match = outcome_of(gene, calls_of(gene, genotypes)).match
            wanted = {reported[first], reported[second]}
            if wanted not in [{pair.first, pair.second} for pair in match.pairs]:
                lost.append((first, second))

    assert not lost


def test_reading_genotypes_does_not_depend_on_the_order_of_records() -> None:
    path = shared_data("pgx", "getrm", "genotypes.vcf.gz")
    gene = load_gene("SLCO1B1")
    regions = merge_regions([(plain_chromosome(gene.chromosome), p.grch38 - 5, p.grch38 + 5) for p in gene.positions])
    records = read_records(path, read_header(path).samples[0], regions).records["12"]

    forward = read_gene(gene, records, build="GRCh38", absent="reference", settings=Settings())
    backward = read_gene(gene, records[::-1], build="GRCh38", absent="reference", settings=Settings())

    assert [(g.first, g.second) for g in forward] == [(g.first, g.second) for g in backward]


def test_published_preference_among_unphased_diplotypes_is_kept() -> None:
    gene = load_gene("NAT2")
    for preference in gene.preferences:
        first, second = preference.pick.split("/")
        bases = zip(gene.positions, haplotype(gene, first), haplotype(gene, second), strict=True)
        match = match_gene(gene, calls_of(gene, [Genotype(p, a, b) for p, a, b in bases]))

        assert match.pairs[0].diplotype == preference.pick
        assert set(preference.of) <= {pair.diplotype for pair in match.pairs}
        likeliest = max(match.pairs, key=lambda pair: pair.probability)
        assert (likeliest == match.pairs[0]) != any("published preference" in text for text in match.findings)

    assert len(gene.preferences) == 29
