"""Calls made elsewhere are understood as callers and laboratories write them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneCall
from posologist.genome.document import call_genome
from posologist.genome.express import express
from posologist.genome.outside import (
    OutsideCall,
    Reading,
    normalise,
    read_outside_calls,
    read_profile,
    understand,
)
from posologist.genome.translate import from_score
from posologist.knowledge.genes import load_gene
from shared import shared_data


def _call(tmp_path: Path, line: str) -> GeneCall:
    path = tmp_path / "outside.tsv"
    path.write_text(line + "\n", encoding="utf-8")
    gene = line.split("\t")[0]
    return call_genome(None, outside_calls=path).genes[gene]  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "diplotype", "phenotype", "score"),
    [
        ("*1/*1", "*1/*1", "Normal Metabolizer", 2.0),
        ("*4/*1", "*1/*4", "Intermediate Metabolizer", 1.0),
        ("*4/*5", "*4/*5", "Poor Metabolizer", 0.0),
        ("*1x2/*4", "*1x2/*4", "Normal Metabolizer", 2.0),
        ("*1x2/*1", "*1/*1x2", "Ultrarapid Metabolizer", 3.0),
        ("*36+*10/*41", "*36+*10/*41", "Intermediate Metabolizer", 0.5),
        ("*36-*10/*1", "*1/*36+*10", "Normal Metabolizer", 1.25),
        ("*4+*68/*1", "*1/*68+*4", "Intermediate Metabolizer", 1.0),
        ("*10/*10", "*10/*10", "Intermediate Metabolizer", 0.5),
        ("*1x≥3/*1", "*1/*1x≥3", "Ultrarapid Metabolizer", 4.0),
        ("*1x>=3/*4", "*1x≥3/*4", "Ultrarapid Metabolizer", 3.0),
        ("(*1xN)/*2", "*1xN/*2", "Ultrarapid Metabolizer", 3.0),
        ("*4xN/*5", "*4xN/*5", "Poor Metabolizer", 0.0),
        ("*2A/*4.001", "*2/*4", "Intermediate Metabolizer", 1.0),
        ("*2 (*35)/*41", "*2/*41", "Normal Metabolizer", 1.25),
        ("*1/(*68)+*4", "*1/*68+*4", "Intermediate Metabolizer", 1.0),
        ("*1/*4N+*4", "*1/*4x2", "Intermediate Metabolizer", 1.0),
        ("*1/*36x2+*10", "*1/*36x2+*10", "Normal Metabolizer", 1.25),
        ("CYP2D6*1/CYP2D6*4", "*1/*4", "Intermediate Metabolizer", 1.0),
        ("*1/*4;*2/*4", "*1/*4", "Intermediate Metabolizer", 1.0),
        ("*4.013+*4/*1", "*1/*4x2", "Intermediate Metabolizer", 1.0),  # Cyrius, PharmVar's *4.013
        ("*1+*1/*4", "*1x2/*4", "Normal Metabolizer", 2.0),  # Cyrius, Aldy
        ("*1_*1_*13", "*1/*13+*1", "Normal Metabolizer", 2.0),  # Cyrius: copies not assigned to chromosomes
        ("*1/*2;*27/*35", "*1/*2", "Normal Metabolizer", 2.0),  # Cyrius: more than one possible genotype
        ("*10/*36.ALDY+*10", "*10/*36+*10", "Intermediate Metabolizer", 0.5),  # Aldy
        ("*4.021X/*68+*4", "*4/*68+*4", "Poor Metabolizer", 0.0),  # Aldy
        ("*2/*68:2", "*2/*68", "Intermediate Metabolizer", 1.0),  # Aldy
        ("*4x2/[*68x2 + *4]", "*4x2/*68x2+*4", "Poor Metabolizer", 0.0),  # pb-StarPhase
        ("[*71/*1]", "*1/*71", "Indeterminate", None),  # StellarPGx: possible novel allele
        ("*35/*4x16", "*4x16/*35", "Intermediate Metabolizer", 1.0),  # StellarPGx
        ("*1\u2265 3/*4", "*1x≥3/*4", "Ultrarapid Metabolizer", 3.0),  # PharmCAT's documentation
        ("*5/*36x2+*10x2", "*5/*36x2+*10x2", "Intermediate Metabolizer", 0.5),
        ("*1/*13+*2", "*1/*13+*2", "Normal Metabolizer", 2.0),
        ("*1/*1 (CN=1)", "*1/*5", "Intermediate Metabolizer", 1.0),
        ("*1/*5, 3 copies", "*1x3/*5", "Ultrarapid Metabolizer", 3.0),
        ("*17/*29x2", "*17/*29x2", "Normal Metabolizer", 1.5),
        ("\u22171\u2215\u22174", "*1/*4", "Intermediate Metabolizer", 1.0),
        ("\uff0a1/\uff0a4", "*1/*4", "Intermediate Metabolizer", 1.0),
        ("\u201c*1/*4\u201d", "*1/*4", "Intermediate Metabolizer", 1.0),
        ("*1\u00a0/\u200b *2\u00d72", "*1/*2x2", "Ultrarapid Metabolizer", 3.0),
        ("cyp2d6*1/cyp2d6*4a", "*1/*4", "Intermediate Metabolizer", 1.0),
        ("CYP2D6 *1|*4", "*1/*4", "Intermediate Metabolizer", 1.0),
    ],
)
def test_cyp2d6_is_read_in_any_callers_spelling(
    tmp_path: Path, text: str, diplotype: str, phenotype: str, score: float
) -> None:
    call = _call(tmp_path, f"CYP2D6\t{text}")

    assert (call.diplotype, call.phenotype, call.activity_score) == (diplotype, phenotype, score)


@pytest.mark.parametrize(
    ("text", "phenotype"),
    [
        ("*1xN/*4", None),
        ("*1 (*4)/*1", None),
        ("*1/*1;*4/*4", None),
        ("*1/*1 or *1/*4", None),
        ("*1/*22", "Indeterminate"),
        ("*1/*999", "Indeterminate"),
        ("*2/*41+rs368858603", "Indeterminate"),
        ("*2DUP/*41", None),
        ("(*1/*4)xN", None),
        ("*1/*4, DUP", None),
        ("*1/*41xN", None),
        ("*1/*2 (*2xN)", None),
        ("*1x1-2/*4", None),
        ("*1/*4 (3 copies)", None),
        ("*1/*4 (CN=1)", None),
        ("*1", None),
        ("?/?", None),
        ("None", None),
        ("No_call", None),
        ("*1/*2/*4", None),
        ("*1x0/*4", None),
        ("lorem ipsum", None),
    ],
)
def test_what_is_open_is_never_normal(tmp_path: Path, text: str, phenotype: str | None) -> None:
    call = _call(tmp_path, f"CYP2D6\t{text}")

    assert call.phenotype == phenotype
    assert call.findings


def _read(text: str, gene: str = "CYP2D6", *more: str) -> Reading:
    lines = [
        OutsideCall(gene=gene, diplotype=each, phenotype=None, activity_score=None, where=f"table:{number}")
        for number, each in enumerate((text, *more), start=1)
    ]
    return understand(lines[0].model_copy(update={"more": tuple(lines[1:])}), load_gene(gene))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("*1xN/*4", {"*1x2/*4": 2.0, "*1x≥3/*4": 3.0}),
        ("(*1/*4)xN", {"*1x2/*4": 2.0, "*1x≥3/*4": 3.0, "*1/*4xN": 1.0}),
        ("(*1/*4)x2", {"*1x2/*4": 2.0, "*1/*4x2": 1.0}),
        ("*1/*2 (*2xN)", {"*1/*2": 2.0, "*1/*2x2": 3.0, "*1/*2x≥3": 4.0}),
        ("*1x2-3/*4", {"*1x2/*4": 2.0, "*1x3/*4": 3.0}),
        ("*1/*46;*10/*45", {"*1/*46": 2.0, "*10/*45": 1.25}),
        ("*2 (*4)/*9", {"*2/*9": 1.25, "*4/*9": 0.25}),
        ("*1/*4 CN 3", {"*1x2/*4": 2.0, "*1/*4x2": 1.0}),
        ("*1/*4", {"*1/*4": 1.0}),
    ],
)
def test_every_reading_stays_as_an_option_with_the_same_share(text: str, options: dict[str, float]) -> None:
    reading = _read(text)

    assert {o.diplotype: o.activity_score for o in reading.options} == options
    assert {round(o.probability, 9) for o in reading.options} == {round(1 / len(options), 9)}
    assert len(options) == 1 or reading.findings


def test_no_options_are_given_for_what_was_not_understood() -> None:
    assert _read("lorem ipsum").options == _read("None").options == ()
    assert "made no call" in _read("None").findings[0]
    assert "not a pair of alleles" in _read("*1").findings[0]


def test_copies_that_are_named_by_cpic_have_its_activity() -> None:
    gene = load_gene("CYP2D6")
    named = {name: f.activity for name, f in gene.functions.items() if "x" in name and f.activity is not None}
    for name, activity in named.items():
        assert _read(f"{name}/*5").translation.activity_score == activity, name

    assert len(named) > 15


_GENE = load_gene("CYP2D6")
_STARS = sorted(name for name in _GENE.functions if "x" not in name)
_KNOWN = [name for name in _STARS if _GENE.functions[name].activity is not None]
_UNITS = st.builds(
    "{}{}".format, st.sampled_from(_STARS), st.sampled_from(["", "", "x2", "x3", "xN", "x≥3", "x2-3", ".001", "A"])
)
_ROWS = st.lists(_UNITS, min_size=1, max_size=3)


@given(_ROWS, _ROWS)
def test_normalising_twice_is_normalising_once(first: list[str], second: list[str]) -> None:
    once = normalise(f"{'+'.join(first)}/{'+'.join(second)}", _GENE)

    assert once is not None
    assert normalise(once, _GENE) == once


@given(_ROWS, _ROWS, st.randoms(use_true_random=False))
def test_the_order_of_sides_and_of_copies_changes_nothing(first: list[str], second: list[str], draw: Random) -> None:
    sides = [list(first), list(second)]
    for side in sides:
        draw.shuffle(side)
    draw.shuffle(sides)
    plain, mixed = _read(f"{'+'.join(first)}/{'+'.join(second)}"), _read("/".join("+".join(side) for side in sides))

    assert plain.diplotype == mixed.diplotype
    assert plain.translation == mixed.translation
    assert {o.diplotype for o in plain.options} == {o.diplotype for o in mixed.options}


_COUNTED = st.lists(st.tuples(st.sampled_from(_KNOWN), st.integers(1, 4)), min_size=1, max_size=3)


@given(_COUNTED, _COUNTED)
def test_the_score_is_the_sum_over_all_copies(first: list[tuple[str, int]], second: list[tuple[str, int]]) -> None:
    text = "/".join("+".join(f"{name}x{n}" for name, n in row) for row in (first, second))
    expected = sum(_GENE.functions[name].activity * n for name, n in (*first, *second))  # type: ignore[operator]
    found = _read(text).translation

    assert found.activity_score == pytest.approx(expected)
    assert found.phenotype == from_score(_GENE, expected).phenotype


_PIECES = st.sampled_from(
    ["*1", "*4", "*36", "x", "N", "2", "≥", "/", "+", "-", "(", ")", "[", "]", ";", " or ", ",", "_"]
)
_JUNK = st.one_of(st.text(max_size=40), st.lists(_PIECES, max_size=14).map("".join))


@settings(max_examples=300)
@given(_JUNK, st.sampled_from(["CYP2D6", "CYP2C19", "CYP2C9", "VKORC1", "NUDT15", "HLA-B", "MADE-UP"]))
def test_junk_is_a_finding_never_an_exception_and_never_normal(text: str, symbol: str) -> None:
    gene = None if symbol in ("HLA-B", "MADE-UP") else load_gene(symbol)
    call = OutsideCall(gene=symbol, diplotype=text, phenotype=None, activity_score=None, where="table:1")
    reading = understand(call, gene)

    assert reading.options or (reading.findings and reading.translation.phenotype is None)
    assert not reading.options or sum(o.probability for o in reading.options) == pytest.approx(1)


@settings(max_examples=200)
@given(_JUNK, st.sampled_from(["phenotype", "activity_score"]))
def test_junk_in_the_other_columns_is_refused_in_words(text: str, column: str) -> None:
    fields = {"diplotype": None, "phenotype": None, "activity_score": None, column: text}
    call = OutsideCall(gene="CYP2D6", where="table:1", **fields)  # type: ignore[arg-type]
    where, phenotype = "table:1", None
    try:
        phenotype = understand(call, _GENE).translation.phenotype
    except InputError as error:
        where = error.where

    assert where == "table:1"
    assert phenotype in (None, "Indeterminate", *_GENE.phenotypes)


@given(st.text(max_size=200))
def test_any_file_is_read_or_refused_in_words(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "outside.tsv"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        calls, where = (), "outside.tsv"
        try:
            calls = read_outside_calls(path)
        except InputError as error:
            where = error.where

    assert "outside.tsv" in where
    assert len({call.gene for call in calls}) == len(calls)


def test_several_lines_of_one_gene_are_kept_and_compared(tmp_path: Path) -> None:
    same = _read("*1/*2", "CYP2D6", "*2/*1")
    alike = _read("*1/*2", "CYP2D6", "*1/*35")
    apart = _read("*1/*2", "CYP2D6", "*4/*4")

    assert (same.diplotype, same.translation.phenotype, same.findings) == ("*1/*2", "Normal Metabolizer", ())
    assert (alike.translation.phenotype, alike.translation.activity_score) == ("Normal Metabolizer", 2.0)
    assert "*1/*2 and *1/*35" in alike.findings[0]
    assert apart.translation.phenotype is None
    assert {o.diplotype: o.probability for o in apart.options} == {"*1/*2": 0.5, "*4/*4": 0.5}
    assert "table:1, table:2" in apart.findings[0]
    assert _call(tmp_path, "CYP2D6\t*1/*1\nCYP2D6\t*4/*4").phenotype is None


def test_a_line_without_call_leaves_the_other_line_alone() -> None:
    reading = _read("None", "CYP2D6", "*1/*4")

    assert (reading.diplotype, reading.translation.phenotype) == ("*1/*4", "Intermediate Metabolizer")


@pytest.mark.parametrize(
    ("line", "phenotype", "score"),
    [
        ("CYP2D6\t\tPoor Metabolizer", "Poor Metabolizer", None),
        ("CYP2D6\t\tCYP2D6 Ultrarapid Metabolizers (UM)", "Ultrarapid Metabolizer", None),
        ("CYP2D6\t\tIntermediate Metaboliser", "Intermediate Metabolizer", None),
        ("CYP2D6\t\tultra-rapid", "Ultrarapid Metabolizer", None),
        ("CYP2D6\t\tExtensive Metabolizer", "Normal Metabolizer", None),
        ("CYP2D6\t\tIndeterminate", "Indeterminate", None),
        ("CYP2D6\t\tPoor to Normal Metabolizer", None, None),
        ("CYP2D6\t\tIM or NM", None, None),
        ("CYP2C19\t\tlikely cyp2c19 poor metaboliser", "Likely Poor Metabolizer", None),
        ("CYP2C19\t\tRM", "Rapid Metabolizer", None),
        ("SLCO1B1\t\tpoor function", "Poor Function", None),
        ("CYP2D6\t\t\t1,25", "Normal Metabolizer", 1.25),
        ("CYP2D6\t\t\t3+", "Ultrarapid Metabolizer", 3.0),
        ("CYP2D6\t\t\t>2.25", "Ultrarapid Metabolizer", 2.5),
        ("CYP2D6\t\t\t≥2", None, None),
        ("CYP2D6\t\t\t1.25-2", "Normal Metabolizer", None),
        ("CYP2D6\t\t\t1 to 2", None, None),
        ("CYP2D6\t*1/*4\tN/A\t-", "Intermediate Metabolizer", 1.0),
        ("CYP2D6\t\tpoor metaboliser", "Poor Metabolizer", None),
        ("CYP2D6\t\tUM", "Ultrarapid Metabolizer", None),
        ("CYP2D6\t\t\t0.25", "Intermediate Metabolizer", 0.25),
        ("CYP2D6\t\t\t≥3", "Ultrarapid Metabolizer", 3.0),
        ("CYP2D6\t*1/*1\t\t0", "Poor Metabolizer", 0.0),
        ("CYP2D6\t*1/*4\tIntermediate Metabolizer", "Intermediate Metabolizer", 1.0),
        ("CYP2D6\t\tNormal Metabolizer\t0.5", "Intermediate Metabolizer", 0.5),
    ],
)
def test_score_counts_more_than_phenotype_and_phenotype_more_than_diplotype(
    tmp_path: Path, line: str, phenotype: str, score: float | None
) -> None:
    call = _call(tmp_path, line)

    assert (call.phenotype, call.activity_score) == (phenotype, score)


@pytest.mark.parametrize(
    ("line", "diplotype", "phenotype"),
    [
        ("SLCO1B1\t*5/*1a", "*1/*5", "Decreased Function"),
        ("cyp2c19\t*2/*1", "*1/*2", "Intermediate Metabolizer"),
        ("TPMT\t*3A/*1", "*1/*3A", "Intermediate Metabolizer"),
        ("TPMT\t*1/*3a", "*1/*3A", "Intermediate Metabolizer"),
        ("CYP2C9\t*3/*2", "*2/*3", "Poor Metabolizer"),
        ("CYP3A5\t*1/*99", "*1/*99", "Indeterminate"),
    ],
)
def test_other_genes_are_read_by_name(tmp_path: Path, line: str, diplotype: str, phenotype: str) -> None:
    path = tmp_path / "outside.tsv"
    path.write_text(line + "\n", encoding="utf-8")
    call = call_genome(None, outside_calls=path).genes[line.split("\t")[0].upper()]  # type: ignore[index]

    assert (call.diplotype, call.phenotype) == (diplotype, phenotype)
    assert (phenotype == "Indeterminate") == bool(call.findings)


def test_open_score_inside_one_phenotype_keeps_the_phenotype(tmp_path: Path) -> None:
    call = _call(tmp_path, "CYP2D6\t*1/*1;*1/*41")

    assert (call.phenotype, call.activity_score) == ("Normal Metabolizer", None)
    assert "several activity scores" in call.findings[0]


def test_every_cyp2d6_cell_of_getrm_is_understood_or_said_to_be_open(tmp_path: Path) -> None:
    gene = load_gene("CYP2D6")
    with shared_data("pgx", "getrm", "truth.tsv").open(encoding="utf-8") as stream:
        cells = {r["raw"] for r in csv.DictReader(stream, delimiter="\t") if r["gene"] == "CYP2D6"}
    for cell in cells:
        call = OutsideCall(gene="CYP2D6", diplotype=cell, phenotype=None, activity_score=None, where="truth.tsv")
        reading = understand(call, gene)
        if reading.translation.phenotype in (None, "Indeterminate"):
            assert reading.findings, cell
        else:
            assert reading.translation.activity_score is not None, cell

    assert len(cells) > 50


def test_disagreement_inside_a_line_is_a_finding(tmp_path: Path) -> None:
    assert "disagree" in _call(tmp_path, "CYP2D6\t\tNormal Metabolizer\t0.5").findings[0]
    assert "laboratory states" in _call(tmp_path, "CYP2D6\t*1/*1\tPoor Metabolizer").findings[0]


@pytest.mark.parametrize(
    "line",
    ["CYP2D6", "CYP2D6\t\tVery Fast", "CYP2D6\t\t\tmany", "CYP2D6\t\t\t-1", "CYP2D6\t\t\t1-2-3", "CYP2D6\t\t\t99"],
)
def test_wrong_lines_are_refused_with_their_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError) as caught:
        _call(tmp_path, line)
    assert "outside.tsv:" in caught.value.where


def test_pharmcats_example_of_outside_calls_is_read(tmp_path: Path) -> None:
    packed = shared_data("pgx", "examples", "pharmcat.example.outsideCall.tsv.gz")
    path = tmp_path / "outside.tsv"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    profile = call_genome(None, outside_calls=path)

    found = {symbol: call.diplotype for symbol, call in profile.genes.items() if call.called}
    assert found == {"CYP2D6": "*1/*3", "HLA-B": "*15:02/*57:01", "MT-RNR1": "m.1555A>G"}
    assert profile.genes["CYP2D6"].phenotype == "Intermediate Metabolizer"  # type: ignore[index]


def test_genes_without_facts_are_kept_as_given(tmp_path: Path) -> None:
    path = tmp_path / "outside.tsv"
    path.write_text("# from the laboratory\nHLA-B\t*15:02/*57:01\nMT-RNR1\t1555A>G\n", encoding="utf-8")
    profile = call_genome(None, outside_calls=path)

    assert profile.genes["HLA-B"].diplotype == "*15:02/*57:01"  # type: ignore[index]
    assert profile.genes["HLA-B"].phenotype is None  # type: ignore[index]
    assert profile.genes["CYP2C19"].called is False  # type: ignore[index]


@pytest.mark.parametrize(
    ("texts", "name", "carried"),
    [
        (["*57:01/*07:02"], "*57:01/*07:02", {"*57:01": True, "*15:02": False}),
        (["*58:01/*58:01"], "*58:01/*58:01", {"*58:01": True, "*15:02": False}),
        (["HLA-B*57:01:01G, HLA-B*15:02P"], "*57:01/*15:02", {"*57:01": True, "*58:01": False}),
        (["*57:01 positive"], "*57:01/?", {"*57:01": True, "*15:02": None}),
        (["HLA-B*15:02 not detected"], "not *15:02/?", {"*15:02": False, "*57:01": None}),
        (
            ["*57:01 positive; *15:02 negative"],
            "*57:01/not *15:02/?",
            {"*57:01": True, "*15:02": False, "*58:01": None},
        ),
        (["*57:01", "*15:02"], "*57:01/*15:02", {"*57:01": True, "*15:02": True, "*58:01": False}),
        (["*24:09N/*07:02"], "*24:09N/*07:02", {"*24:09": False}),
        (["*57/*15"], None, {"*57:01": None}),
        (["negative"], None, {"*57:01": None}),
        (["A*31:01/A*02:01"], None, {"*31:01": None}),
    ],
)
def test_hla_alleles_not_stated_stay_unknown(
    tmp_path: Path, texts: list[str], name: str | None, carried: dict[str, bool | None]
) -> None:
    path = tmp_path / "outside.tsv"
    path.write_text("".join(f"HLA-B\t{text}\n" for text in texts), encoding="utf-8")
    profile = call_genome(None, outside_calls=path)
    expressed = express(profile, [], ledger=Ledger())

    assert profile.genes["HLA-B"].diplotype == name  # type: ignore[index]
    assert {allele: expressed.carries("HLA-B", allele) for allele in carried} == carried  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["*57:01/*07:02", "HLA-B*57:01:01/HLA-B*07:02:01:127", "57:01/07:02", "B*57:01:01:02/B*07:02"]
)
def test_hla_alleles_are_read_to_two_fields(tmp_path: Path, text: str) -> None:
    assert _call(tmp_path, f"HLA-B\t{text}").diplotype == "*57:01/*07:02"


def test_outside_call_replaces_the_vcf(tmp_path: Path) -> None:
    path = tmp_path / "outside.tsv"
    path.write_text("CYP2C19\t*2/*2\n", encoding="utf-8")
    profile = call_genome(
        shared_data("pgx", "getrm", "genotypes.vcf.gz"), sample="NA18526", absent="reference", outside_calls=path
    )

    assert profile.genes["CYP2C19"].source == "outside call"  # type: ignore[index]
    assert profile.genes["CYP2C19"].phenotype == "Poor Metabolizer"  # type: ignore[index]


def test_profile_survives_json(tmp_path: Path) -> None:
    profile = call_genome(shared_data("pgx", "getrm", "genotypes.vcf.gz"), sample="NA18526", absent="reference")
    path = tmp_path / "profile.json"
    path.write_text(profile.model_dump_json(by_alias=True), encoding="utf-8")

    assert read_profile(path) == profile
    assert '"schema":"posologist/phenotype/1"' in path.read_text()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": "posologist/phenotype/2"}'])
def test_other_documents_are_no_profile(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match="not a phenotype document"):
        read_profile(path)


def test_every_because_is_in_the_evidence_and_rests_on_leaves() -> None:
    profile = call_genome(shared_data("pgx", "getrm", "genotypes.vcf.gz"), sample="NA18526", absent="reference")

    for call in profile.genes.values():
        waiting = [str(key) for key in call.because]
        while waiting:
            entry = profile.evidence[waiting.pop()]
            assert entry.because or (entry.kind in {"patient", "knowledge", "setting"} and entry.source)
            waiting.extend(map(str, entry.because))
