"""Allele names of genes without counted copies are understood as laboratories write them."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.genome.outside import OutsideCall, Reading, normalise, understand
from posologist.knowledge.genes import Gene, callable_genes, load_gene
from shared import shared_data

_ABOUT = {"title": "test", "source": "test", "version": "1", "licence": "CC0-1.0", "retrieved": "2026-11-20"}


def _gene(symbol: str, chromosome: str, reference: str, functions: dict[str, Any], **rules: Any) -> Gene:
    phenotypes = dict.fromkeys(rule["phenotype"] for several in rules.values() for rule in several)
    return Gene.model_validate(
        {
            "symbol": symbol,
            "chromosome": chromosome,
            "reference": reference,
            "functions": {n: f if isinstance(f, dict) else {"function": f} for n, f in functions.items()},
            "phenotypes": list(phenotypes),
            "phenotype": _ABOUT,
            "citations": [],
            **rules,
        }
    )


def _pairs(*rows: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"functions": list(row[:-1]), "phenotype": row[-1]} for row in rows]


def _score(function: str, activity: float) -> dict[str, Any]:
    return {"function": function, "activity": activity}


_NORMAL, _LESS, _NONE = (
    _score(*f) for f in (("Normal function", 1.0), ("Decreased function", 0.5), ("No function", 0.0))
)
_DPYD = _gene(
    "DPYD",
    "chr1",
    "Reference",
    {
        "Reference": _NORMAL,
        "c.85T>C (*9A)": _NORMAL,
        "c.2657G>A (*9B)": _NORMAL,
        "c.1627A>G (*5)": _NORMAL,
        "c.496A>G": _NORMAL,
        "c.1905+1G>A (*2A)": _NONE,
        "c.1679T>G (*13)": _NONE,
        "c.2846A>T": _LESS,
        "c.1129-5923C>G, c.1236G>A (HapB3)": _LESS,
    },
    score_rules=[
        {"below": 1.0, "phenotype": "Poor Metabolizer"},
        {"below": 2.0, "phenotype": "Intermediate Metabolizer"},
        {"phenotype": "Normal Metabolizer"},
    ],
)
_G6PD = _gene(
    "G6PD",
    "chrX",
    "B (reference)",
    {
        "B (reference)": "IV/Normal",
        "A": "IV/Normal",
        "A- 202A_376G": "III/Deficient",
        "Mediterranean, Dallas, Panama, Sassari, Cagliari, Birmingham": "II/Deficient",
        "Telti/Kobe": "II/Deficient",
    },
    pair_rules=_pairs(
        ("IV/Normal", "IV/Normal", "Normal"),
        ("III/Deficient", "IV/Normal", "Variable"),
        ("II/Deficient", "IV/Normal", "Variable"),
        ("III/Deficient", "III/Deficient", "Deficient"),
        ("II/Deficient", "II/Deficient", "Deficient"),
        ("II/Deficient", "III/Deficient", "Deficient"),
    ),
)
_RISK = "risk of aminoglycoside-induced hearing loss"
_MT = _gene(
    "MT-RNR1",
    "chrM",
    "Reference",
    {"Reference": "normal", "m.1555A>G": "increased", "m.827A>G": "normal", "m.961T>del+Cn": "uncertain"},
    pair_rules=_pairs(*((risk, f"{risk} {_RISK}") for risk in ("normal", "increased", "uncertain"))),
)
_UGT = _gene(
    "UGT1A1",
    "chr2",
    "*1",
    {"*1": "Normal function", "*80": "Normal function", "*28": "Decreased function", "*80+*28": "Decreased function"},
    pair_rules=_pairs(
        ("Normal function", "Normal function", "Normal Metabolizer"),
        ("Decreased function", "Normal function", "Intermediate Metabolizer"),
        ("Decreased function", "Decreased function", "Poor Metabolizer"),
    ),
)
_RYR1 = _gene(
    "RYR1",
    "chr19",
    "Reference",
    {
        "Reference": "Normal function",
        "c.103T>C": "Malignant Hyperthermia-associated",
        "c.1021G>C": "Uncertain function",
    },
    pair_rules=_pairs(
        ("Normal function", "Normal function", "Uncertain Susceptibility"),
        ("Normal function", "Uncertain function", "Uncertain Susceptibility"),
        ("Uncertain function", "Uncertain function", "Uncertain Susceptibility"),
        *(
            ("Malignant Hyperthermia-associated", other, "Malignant Hyperthermia Susceptibility")
            for other in ("Malignant Hyperthermia-associated", "Normal function", "Uncertain function")
        ),
    ),
)


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
        (_G6PD, "Telti/Kobe", "Telti/Kobe", "Deficient"),
        (_G6PD, "Telti/Kobe/A", "A/Telti/Kobe", "Variable"),
        (_G6PD, "Sassari", "Mediterranean, Dallas, Panama, Sassari, Cagliari, Birmingham", "Deficient"),
        (_MT, "1555A>G", "m.1555A>G", f"increased {_RISK}"),
        (_MT, "m.1555A>G/m.1555A>G", "m.1555A>G", f"increased {_RISK}"),
        (_MT, "m.961T>del+Cn", "m.961T>del+Cn", f"uncertain {_RISK}"),
        (_MT, "Reference", "Reference", f"normal {_RISK}"),
        (_UGT, "*28+*80/*1", "*1/*80+*28", "Intermediate Metabolizer"),
        (_UGT, "*28_80/*80", "*80/*80+*28", "Intermediate Metabolizer"),
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
        assert reading.findings or reading.translation.phenotype not in (None, "Indeterminate"), (symbol, cell)
        if not reading.options:
            not_understood.add((symbol, cell))

    assert len(cells) > 60
    assert not_understood <= {("CYP2C9", "*1/undefined")}


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
