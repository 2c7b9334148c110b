"""Calls made elsewhere are understood as callers and laboratories write them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from posologist.core.errors import InputError
from posologist.core.genotype import GeneCall
from posologist.genome.document import call_genome
from posologist.genome.outside import OutsideCall, read_profile, understand
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
        ("*4+*68/*1", "*1/*4+*68", "Intermediate Metabolizer", 1.0),
        ("*10/*10", "*10/*10", "Intermediate Metabolizer", 0.5),
        ("*1x≥3/*1", "*1/*1x≥3", "Ultrarapid Metabolizer", 4.0),
        ("*1x>=3/*4", "*1x≥3/*4", "Ultrarapid Metabolizer", 3.0),
        ("(*1xN)/*2", "*1xN/*2", "Ultrarapid Metabolizer", 3.0),
        ("*4xN/*5", "*4xN/*5", "Poor Metabolizer", 0.0),
        ("*2A/*4.001", "*2/*4", "Intermediate Metabolizer", 1.0),
        ("*2DUP/*41", "*2x2/*41", "Normal Metabolizer", 2.25),
        ("*2 (*35)/*41", "*2/*41", "Normal Metabolizer", 1.25),
        ("*1/(*68)+*4", "*1/*68+*4", "Intermediate Metabolizer", 1.0),
        ("*1/*4N+*4", "*1/*4+*4", "Intermediate Metabolizer", 1.0),
        ("*1/*36x2+*10", "*1/*36x2+*10", "Normal Metabolizer", 1.25),
        ("CYP2D6*1/CYP2D6*4", "*1/*4", "Intermediate Metabolizer", 1.0),
        ("*1/*4;*2/*4", "*1/*4", "Intermediate Metabolizer", 1.0),
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
        ("*1", "Indeterminate"),
        ("?/?", "Indeterminate"),
    ],
)
def test_what_is_open_is_never_normal(tmp_path: Path, text: str, phenotype: str | None) -> None:
    call = _call(tmp_path, f"CYP2D6\t{text}")

    assert call.phenotype == phenotype
    assert call.findings


@pytest.mark.parametrize(
    ("line", "phenotype", "score"),
    [
        ("CYP2D6\t\tPoor Metabolizer", "Poor Metabolizer", None),
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
    ["CYP2D6", "CYP2D6\t\tVery Fast", "CYP2D6\t\t\tmany", "CYP2D6\t\t\t-1", "CYP2D6\t*1/*1\nCYP2D6\t*1/*2"],
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
    assert found == {"CYP2D6": "*1/*3", "HLA-B": "*15:02/*57:01", "MT-RNR1": "1555A>G"}
    assert profile.genes["CYP2D6"].phenotype == "Intermediate Metabolizer"  # type: ignore[index]


def test_genes_without_facts_are_kept_as_given(tmp_path: Path) -> None:
    path = tmp_path / "outside.tsv"
    path.write_text("# from the laboratory\nHLA-B\t*15:02/*57:01\nMT-RNR1\t1555A>G\n", encoding="utf-8")
    profile = call_genome(None, outside_calls=path)

    assert profile.genes["HLA-B"].diplotype == "*15:02/*57:01"  # type: ignore[index]
    assert profile.genes["HLA-B"].phenotype is None  # type: ignore[index]
    assert profile.genes["CYP2C19"].called is False  # type: ignore[index]


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
