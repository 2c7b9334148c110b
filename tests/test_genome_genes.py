"""Gene folders: what is wrong in one is refused with its place, and a new gene needs no code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from genome_files import row, write_vcf
from posologist.core.errors import KnowledgeError
from posologist.genome.document import call_genome
from posologist.genome.translate import translate
from posologist.knowledge.genes import GENES_FOLDER, callable_genes, load_gene, outside_genes

_ABOUT = """
[about]
title = "made for a test"
source = "made"
version = "1"
licence = "none"
retrieved = "2026-11-20"
"""
_CITATION = 'citations = [{ key = "made", title = "made", where = "here", kind = "paper" }]\n'
_DEFINITION = (
    'reference = "G"\npositions = [{ id = "rs2231142", rsid = "rs2231142", grch38 = 88131171, grch37 = 89052323, '
    'ref = "G", ref37 = "G", alts = ["T"] }]\n'
    'alleles = [{ name = "G", everywhere = true }, { name = "T", defines = { rs2231142 = "T" } }]\n'
    + _CITATION
    + _ABOUT
)
_PHENOTYPE = (
    'chromosome = "chr4"\nphenotypes = ["Normal Function", "Decreased Function", "Poor Function"]\npair_rules = [\n'
    '  { functions = ["Normal function", "Normal function"], phenotype = "Normal Function" },\n'
    '  { functions = ["Decreased function", "Normal function"], phenotype = "Decreased Function" },\n'
    '  { functions = ["Decreased function", "Decreased function"], phenotype = "Poor Function" },\n]\n'
    + _CITATION
    + _ABOUT
    + '[functions]\n"G" = { function = "Normal function" }\n"T" = { function = "Decreased function" }\n'
)


def _folder(tmp_path: Path, definition: str = _DEFINITION, phenotype: str = _PHENOTYPE) -> Path:
    place = tmp_path / "genes" / "ABCG2"
    place.mkdir(parents=True)
    (place / "definition.toml").write_text(definition, encoding="utf-8")
    (place / "phenotype.toml").write_text(phenotype, encoding="utf-8")
    return tmp_path / "genes"


def test_a_new_gene_is_a_folder_and_no_code(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    shutil.copytree(GENES_FOLDER / "CYP2C19", folder / "CYP2C19")
    rows = [
        row("chr4", 88131171, "G", "T", "0/1", id="rs2231142"),
        row("chr10", 94781859, "G", "A", "0/0", id="rs4244285"),
    ]
    path = write_vcf(tmp_path / "v.vcf", rows)
    profile = call_genome(path, genes_folder=folder)

    assert profile.genes["ABCG2"].diplotype == "G/T"  # type: ignore[index]
    assert profile.genes["ABCG2"].phenotype == "Decreased Function"  # type: ignore[index]
    assert set(profile.genes) == {"ABCG2", "CYP2C19"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "made"', 'source = "elsewhere"', "citation elsewhere is not defined"),
        ('reference = "G"', 'reference = "A"', "reference allele A"),
        ("{ rs2231142 = ", "{ rs1 = ", "unknown position rs1"),
        ('rs2231142 = "T"', 'rs2231142 = "C"', "has C at rs2231142"),
        ("grch38 = 88131171", 'grch38 = "x"', "grch38"),
        ('id = "rs2231142"', 'name = "rs2231142"', "positions"),
        ("reference = ", "reference == ", "not valid TOML"),
    ],
)
def test_wrong_definitions_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = _folder(tmp_path, _DEFINITION.replace(old, new))

    with pytest.raises(KnowledgeError, match=message) as caught:
        load_gene("ABCG2", folder)
    assert "ABCG2" in caught.value.where


def test_rules_give_only_listed_phenotypes(tmp_path: Path) -> None:
    folder = _folder(tmp_path, phenotype=_PHENOTYPE.replace(', "Poor Function"]', "]"))

    with pytest.raises(KnowledgeError, match="unlisted"):
        load_gene("ABCG2", folder)


def test_a_gene_that_is_not_held_is_named(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="no facts on gene CYP9Z9"):
        load_gene("CYP9Z9")


def test_every_gene_of_the_package_loads_and_says_its_sources() -> None:
    symbols = (*callable_genes(), *outside_genes())

    assert {"CYP2C19", "CYP2C9", "CYP3A5", "SLCO1B1", "TPMT", "VKORC1", "CYP2D6"} <= set(symbols)
    for symbol in symbols:
        gene = load_gene(symbol)
        headers = [header for header in (gene.definition, gene.phenotype, gene.frequencies) if header]
        assert all(header.licence and header.version and header.retrieved for header in headers)
        assert gene.haplotypes >= (
            max(gene.counts.values(), default=0) if gene.worst_first else sum(gene.counts.values())
        )
        assert set(gene.counts) <= gene.allele_names


def test_every_allele_that_can_be_called_has_a_function_or_is_indeterminate() -> None:
    for symbol in callable_genes():
        gene = load_gene(symbol)
        for allele in gene.alleles:
            phenotype = translate(gene, allele.reported, allele.reported).phenotype
            assert phenotype in (gene.phenotypes or (None,))
            assert allele.reported in gene.functions or phenotype in (None, "Indeterminate")
