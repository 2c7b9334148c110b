"""Allele names of genes without counted copies are understood as laboratories write them."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.genome.outside import OutsideCall, Reading, normalise, understand
from posologist.knowledge.genes import Gene, callable_genes, load_gene
from shared import shared_data

_RISK = "risk of aminoglycoside-induced hearing loss"
_DPYD, _G6PD, _MT, _RYR1, _UGT = (load_gene(symbol) for symbol in ("DPYD", "G6PD", "MT-RNR1", "RYR1", "UGT1A1"))


def _read(text: str, gene: Gene) -> Reading:
    call = OutsideCall(gene=gene.symbol, diplotype=text, phenotype=None, activity_score=None, where="table:1")
    return understand(call, gene)


@pytest.mark.parametrize(
    ("gene", "text", "diplotype", "phenotype"),
    [
        (_DPYD, "Reference/c.2846A>T", "Reference/c.2846A>T", "Intermediate Metabolizer"),
        (_DPYD, "c.1905+1G>A (*2A)/Reference", "Reference/c.1905+1G>A (*2A)", "Intermediate Metabolizer"),
        (_DPYD, "DPYD *1/*2A", "Reference/c.1905+1G>A (*2A)", "Intermediate Metabolizer"),
        (_DPYD, "c.1905+1G>A / no variants detected", "Reference/c.1905+1G>A (*2A)", "Intermediate Metabolizer"),
        (_DPYD, "2846A>T/WT", "Reference/c.2846A>T", "Intermediate Metabolizer"),
        (_DPYD, "HapB3/*13", "c.1129-5923C>G, c.1236G>A (HapB3)/c.1679T>G (*13)", "Poor Metabolizer"),
        (_DPYD, "c.1236G>A/Reference", "Reference/c.1129-5923C>G, c.1236G>A (HapB3)", "Intermediate Metabolizer"),
        (_DPYD, "*1/*9", "Reference/c.85T>C (*9A)", "Normal Metabolizer"),
        (_DPYD, "[c.496A>G + c.2846A>T]/Reference", "Reference/[c.496A>G + c.2846A>T]", "Intermediate Metabolizer"),
        (
            _DPYD,
            "c.496A>G, c.1679T>G/ no variants detected",
            "Reference/[c.496A>G + c.1679T>G (*13)]",
            "Intermediate Metabolizer",
        ),
        (_DPYD, "c.1627A>G het, c.1905+1G>A het", "c.1627A>G (*5)/c.1905+1G>A (*2A)", "Intermediate Metabolizer"),
        (_DPYD, "c.2846A>T hom", "c.2846A>T/c.2846A>T", "Intermediate Metabolizer"),
        (_DPYD, "c.2846A>T het", "Reference/c.2846A>T", "Intermediate Metabolizer"),
        (_DPYD, "c.2846A>T", None, None),
        (
            _DPYD,
            "c.85T>C het, c.1129-5923C>G het, c.1236G>A het, c.2194G>A het",
            "c.85T>C (*9A)/c.1129-5923C>G, c.1236G>A (HapB3)",
            "Intermediate Metabolizer",
        ),
        (_DPYD, "c.1905+1G>A het, c.9999A>G het", "c.1905+1G>A (*2A) + c.9999A>G", "Indeterminate"),
        (_DPYD, "rs3918290/Reference", "Reference/c.1905+1G>A (*2A)", "Intermediate Metabolizer"),
        (_DPYD, "c.9999A>G/Reference", "Reference/c.9999A>G", "Indeterminate"),
        (_RYR1, "c.103T>C het, c.1021G>C het", "c.103T>C/c.1021G>C", "Malignant Hyperthermia Susceptibility"),
        (
            _RYR1,
            "[c.103T>C + c.1021G>C]/WT",
            "Reference/[c.103T>C + c.1021G>C]",
            "Malignant Hyperthermia Susceptibility",
        ),
        (_G6PD, "A- 202A_376G", "A- 202A_376G", "Deficient"),
        (_G6PD, "B (wildtype)/B (wildtype)", "B (reference)/B (reference)", "Normal"),
        (_G6PD, "b/a- 202A_376G", "B (reference)/A- 202A_376G", "Variable"),
        (_G6PD, "Telti/Kobe", "Telti/Kobe", "Deficient with CNSHA"),
        (_G6PD, "Kobe/A", "A/Telti, Kobe", "Variable"),
        (_G6PD, "Sassari", "Mediterranean, Dallas, Panama, Sassari, Cagliari, Birmingham", "Deficient"),
        (_MT, "1555A>G", "m.1555A>G", f"increased {_RISK}"),
        (_MT, "m.1555A>G/m.1555A>G", "m.1555A>G", f"increased {_RISK}"),
        (_MT, "m.961T>del+Cn", "m.961T>del+Cn", f"uncertain {_RISK}"),
        (_MT, "Reference", "Reference", f"normal {_RISK}"),
        (_UGT, "*28+*80/*1", "*1/*80+*28", "Intermediate Metabolizer"),
        (_UGT, "*28_80/*1", "*1/*80+*28", "Intermediate Metabolizer"),
        (_UGT, "[*80 + *28]/[*80+*28]", "*80+*28/*80+*28", "Poor Metabolizer"),
        (_UGT, "(*28 + *60)/*28", "*28/[*28 + *60]", "Indeterminate"),
    ],
)
def test_names_are_understood(gene: Gene, text: str, diplotype: str | None, phenotype: str | None) -> None:
    reading = _read(text, gene)

    assert (reading.diplotype, reading.translation.phenotype) == (diplotype, phenotype)
    assert reading.findings or phenotype not in (None, "Indeterminate")


@pytest.mark.parametrize(
    ("symbol", "text", "phenotype"),
    [
        ("VKORC1", "GA", "-1639 AG"),
        ("VKORC1", "-1639 A/A", "-1639 AA"),
        ("VKORC1", "C/T", "-1639 AG"),
        ("VKORC1", "rs9923231 CC", "-1639 GG"),
        ("ABCG2", "G/T", "Decreased Function"),
        ("ABCG2", "A/A", "Poor Function"),
        ("ABCG2", "G/A", None),
        ("CYP2C9", "*1/undefined", None),
        ("CYP2C9", "*1/*2 or *3/*3", None),
        ("CYP2C19", "*1/*38", "Normal Metabolizer"),
        ("CYP2C19", "*2.001/*17", "Intermediate Metabolizer"),
        ("CYP2C19", "[*2]/(*17)", "Intermediate Metabolizer"),
        ("CYP3A4", "*1B/*1B (*15)", None),
        ("CYP2C9", "*1/[*2 + *3]", "Indeterminate"),
        ("TPMT", "*3c/*1", "Intermediate Metabolizer"),
        ("CYP2C9", "*2", None),
    ],
)
def test_genes_that_ship_are_read_as_written(symbol: str, text: str, phenotype: str | None) -> None:
    reading = _read(text, load_gene(symbol))

    assert reading.translation.phenotype == phenotype
    assert reading.findings or phenotype not in (None, "Indeterminate")


def test_every_cell_of_getrm_is_understood_or_said_to_be_open() -> None:
    genes = {symbol: load_gene(symbol) for symbol in callable_genes()}
    with shared_data("pgx", "getrm", "truth.tsv").open(encoding="utf-8") as stream:
        cells = {(r["gene"], r["raw"]) for r in csv.DictReader(stream, delimiter="\t") if r["gene"] in genes}
    not_understood = set()
    for symbol, cell in cells:
        reading = _read(cell, genes[symbol])
        clear = reading.translation.phenotype not in (None, "Indeterminate") or not genes[symbol].phenotypes
        assert clear or reading.findings, (symbol, cell)
        if not reading.options:
            not_understood.add((symbol, cell))

    assert len(cells) > 60
    assert not_understood <= {("CYP2C9", "*1/undefined"), ("CYP2B6", "*1(*5) or *1(*22)")}


_PAIRS = st.sampled_from([_DPYD, _G6PD, _UGT, _RYR1]).flatmap(
    lambda gene: st.tuples(st.just(gene), *[st.sampled_from(sorted(gene.functions))] * 2)
)


@given(_PAIRS)
def test_order_does_not_matter_and_normalising_is_done_once(case: tuple[Gene, str, str]) -> None:
    gene, first, second = case
    one, other = _read(f"{first}/{second}", gene), _read(f"{second}/{first}", gene)

    assert one == other
    assert one.options
    assert normalise(str(one.diplotype), gene) == one.diplotype
