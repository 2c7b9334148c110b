"""Genotypes in doubt: what may not be used is a finding, and nothing is "normal" by silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from genome_files import diplotype_rows
from one_position import (
    ID,
    around,
    assert_not_used,
    call_of,
    haploid,
    here,
    says,
)
from posologist.core.settings import Settings
from posologist.knowledge.genes import load_gene

# Genotypes that may not be used: each is a finding, and the position is not read


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (here("0/0", filter="LowQual"), ("failed the filter", "LowQual")),
        (here("0/0", filter="VQSRTrancheSNP99.80to100.00;q10"), ("failed the filter", "q10")),
        (here("0/0", format="GQ", values="19"), ("genotype quality 19 is below 20",)),
        (here("0/0", format="DP", values="7"), ("read depth 7 is below 8",)),
        (here("0/0/0"), ("3 copies",)),
        (here("."), ("no genotype",)),
        ([*here("0/0")[:8], "DP", "30"], ("no genotype",)),
        ([*here("0/0")[:9], ""], ("no genotype",)),
        (here("0/0", ref="G", alt="C"), ("has the reference G, the definition A",)),
        (here("./0"), ("only one of two copies",)),
        (here("0"), ("only one of two copies",)),
    ],
)
def test_genotype_that_may_not_be_used_is_missing_and_said(tmp_path: Path, line: list[str], words: tuple[str]) -> None:
    for absent in ("missing", "reference"):
        call = call_of(tmp_path, around(line), absent=absent)
        assert_not_used(call)
        assert says(call, ID, *words), call.findings


@pytest.mark.parametrize(("field", "at", "below"), [("GQ", "20", "19"), ("DP", "8", "7")])
def test_thresholds_are_those_of_the_settings(tmp_path: Path, field: str, at: str, below: str) -> None:
    stricter = Settings(min_genotype_quality=99, min_read_depth=100)
    kept = around(here("0/1", format=field, values=at))

    assert call_of(tmp_path, kept).diplotype == "*1/*3"
    assert_not_used(call_of(tmp_path, kept, settings=stricter))
    assert_not_used(call_of(tmp_path, around(here("0/1", format=field, values=below))))


@pytest.mark.parametrize("gt", ["0/1", "1/0", "0|1", "1|0"])
def test_passing_genotype_with_quality_is_used(tmp_path: Path, gt: str) -> None:
    call = call_of(tmp_path, around(here(gt, format="GQ:DP", values="99:40")))

    assert call.diplotype == "*1/*3"
    assert call.evidence_state == "called"


def test_half_call_leaves_both_alleles_open(tmp_path: Path) -> None:
    reference, altered = (call_of(tmp_path, around(here(gt))) for gt in ("0/.", "./1"))

    assert {c.diplotype for c in reference.candidates} == {"*1/*1", "*1/*3"}
    assert {"*1/*3", "*3/*3"} <= {c.diplotype for c in altered.candidates}
    assert "*1/*1" not in {c.diplotype for c in altered.candidates}


# What the file does not support is not stated


@pytest.mark.parametrize(
    ("symbol", "position"),
    [
        ("TPMT", "rs1142345"),
        ("TPMT", "rs1800460"),
        ("NUDT15", "rs116855232"),
        ("CYP2C9", "rs1057910"),
        ("CYP2C9", "rs1799853"),
        ("CYP3A5", "rs10264272"),
        ("UGT1A1", "rs4148323"),
        ("SLCO1B1", "rs4149056"),
    ],
)
def test_gene_is_not_normal_while_a_position_of_the_minimum_set_was_not_read(
    tmp_path: Path, symbol: str, position: str
) -> None:
    gene = load_gene(symbol)
    rows = [r for r in diplotype_rows(gene, gene.reference, gene.reference, phased=False) if r[2] != position]

    assert call_of(tmp_path, rows, symbol, header="##reference=GRCh38").phenotype is None


def test_cystic_fibrosis_gene_is_not_non_responsive_while_most_of_it_was_not_read(tmp_path: Path) -> None:
    gene = load_gene("CFTR")
    rows = diplotype_rows(gene, gene.reference, gene.reference, phased=False)[:1]

    assert call_of(tmp_path, rows, "CFTR", header="##reference=GRCh38").phenotype is None


@pytest.mark.parametrize(
    "line",
    [
        here("0/1", filter="LowQual"),
        here("0/1", format="GQ", values="12"),
        here("0/0/1"),
        here("0/3"),
        here("0/1", alt="."),
        here("0/2", alt="C,<NON_REF>"),
    ],
)
def test_variant_that_may_not_be_used_does_not_leave_a_normal_phenotype(tmp_path: Path, line: list[str]) -> None:
    assert call_of(tmp_path, around(line)).phenotype is None


@pytest.mark.parametrize(
    "line",
    [here("0/0", format="FT", values="LowGQ"), here("0/0", alt=".", format="RGQ", values="0")],
)
def test_filter_of_the_sample_and_quality_of_a_reference_call_count(tmp_path: Path, line: list[str]) -> None:
    assert_not_used(call_of(tmp_path, around(line)))


@pytest.mark.parametrize("gt", ["0/1", "1/1"])
def test_line_that_denies_the_variant_of_another_line_contradicts_it(tmp_path: Path, gt: str) -> None:
    call = call_of(tmp_path, around(here("0/0"), here(gt)))

    assert_not_used(call)
    assert says(call, "contradict")


def test_common_cyp2b6_allele_is_more_probable_than_two_rare_ones(tmp_path: Path) -> None:
    call = call_of(
        tmp_path, diplotype_rows(load_gene("CYP2B6"), "*1", "*6", phased=False), "CYP2B6", header="##reference=GRCh38"
    )

    assert {c.diplotype: c.probability for c in call.candidates}["*1/*6"] > 0.9


@pytest.mark.parametrize("sign", ["/.", "|."])
def test_man_whose_second_copy_is_written_as_missing_is_not_a_woman_with_two(tmp_path: Path, sign: str) -> None:
    gene = load_gene("G6PD")
    rows = haploid(diplotype_rows(gene, "A- 202A_376G", "A- 202A_376G", phased=False))
    call = call_of(tmp_path, [[*r[:-1], r[-1] + sign] for r in rows], "G6PD", header="##reference=GRCh38")

    assert call.phenotype in (None, "Deficient")
