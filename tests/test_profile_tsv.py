"""The TSV: a pipeline that reads PharmCAT's calls-only table reads ours, and no gene is lost or made normal."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from posologist.core.genotype import DiplotypeCandidate, GeneCall, GeneticProfile, Versions
from posologist.core.values import EvidenceKey, GeneSymbol
from posologist.genome.document import call_genome
from posologist.serve.profile_tsv import COLUMNS, profile_tsv
from shared import shared_data

KEY = (EvidenceKey("setting:0"),)
EXAMPLES = ("example", "example2")


def read_calls(text: str) -> dict[str, dict[str, str]]:
    """Rows by gene, as readers of PharmCAT's table take it: a first line "PharmCAT ..." is skipped."""
    lines = text.splitlines()
    start = 1 if lines[0].startswith("PharmCAT") else 0
    assert lines[start].startswith("Gene\t")
    names = lines[start].split("\t")
    rows = [line.split("\t") for line in lines[start + 1 :]]
    assert {len(row) for row in rows} == {len(names)}
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def reference(name: str) -> dict[str, dict[str, str]]:
    """PharmCAT's own table for a worked patient."""
    table = shared_data("pgx", "examples", f"pharmcat.{name}.report.tsv.gz")
    return read_calls(gzip.decompress(table.read_bytes()).decode())


def called(name: str, folder: Path) -> GeneticProfile:
    """Our document for the same patient, with the same outside calls."""
    outside = None
    packed = shared_data("pgx", "examples") / f"pharmcat.{name}.outsideCall.tsv.gz"
    if packed.is_file():
        outside = folder / "outside.tsv"
        outside.write_bytes(gzip.decompress(packed.read_bytes()))
    return call_genome(shared_data("pgx", "examples", f"pharmcat.{name}.vcf.gz"), outside_calls=outside)


def meaning(cell: str) -> str:
    """A cell without the two ways in which PharmCAT prints that there is nothing: `null` and a blank."""
    return "" if cell.strip() in ("", "null") else cell


@pytest.mark.parametrize("name", EXAMPLES)
def test_columns_are_those_of_the_reference_in_their_order(name: str) -> None:
    first = next(iter(reference(name).values()))

    assert tuple(first) == COLUMNS


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_cell_of_a_gene_that_both_call_is_the_same(name: str, tmp_path: Path) -> None:
    ours, theirs = read_calls(profile_tsv(called(name, tmp_path))), reference(name)
    both = [gene for gene in theirs if ours.get(gene, {}).get("Source Diplotype", "no call") != "no call"]

    assert len(both) >= 19
    for gene in both:
        assert {c: meaning(v) for c, v in ours[gene].items()} == {c: meaning(v) for c, v in theirs[gene].items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_gene_of_the_document_has_its_row(name: str, tmp_path: Path) -> None:
    document = called(name, tmp_path)

    assert list(read_calls(profile_tsv(document))) == list(document.genes)


@pytest.mark.parametrize("absent", ["missing", "reference"])
def test_rows_of_real_people_say_what_their_documents_say(absent: str) -> None:
    vcf = shared_data("pgx", "getrm", "genotypes.vcf.gz")
    for sample in ("HG00111", "HG00436", "HG00463"):
        document = call_genome(vcf, sample=sample, absent=absent)
        for symbol, row in read_calls(profile_tsv(document)).items():
            call = document.genes[GeneSymbol(symbol)]
            assert row["Source Diplotype"].split(" OR ")[0] == (call.diplotype if call.called else "no call")
            assert row["Recommendation Lookup Phenotype"] == (call.phenotype or "")
            assert row["Missing positions"] == ("no" if call.evidence_state == "called" else "yes")


def a_profile(**calls: GeneCall) -> GeneticProfile:
    genes = {GeneSymbol(name.replace("_", "-")): call for name, call in calls.items()}
    versions = Versions(posologist="0", knowledge="0")
    return GeneticProfile(
        schema="posologist/phenotype/1", sample="s", build="GRCh38", genes=genes, evidence={}, versions=versions
    )


def a_call(*candidates: tuple[str, float, str | None], **more: object) -> GeneCall:
    found = tuple(DiplotypeCandidate(diplotype=d, probability=p, phenotype=f) for d, p, f in candidates)
    fields: dict[str, object] = {
        "called": True, "diplotype": found[0].diplotype, "candidates": found, "phenotype": found[0].phenotype,
        "evidence_state": "called", "source": "vcf", "because": KEY,
    }  # fmt: skip
    return GeneCall.model_validate({**fields, **more})


def row_of(call: GeneCall, gene: str = "CYP2C19") -> dict[str, str]:
    return read_calls(profile_tsv(a_profile(**{gene.replace("-", "_"): call})))[gene]


def test_a_gene_that_was_not_called_is_a_row_with_no_call_and_nothing_else() -> None:
    call = GeneCall(called=False, diplotype=None, phenotype=None, evidence_state="not called", because=KEY)

    row = row_of(call)

    assert row["Source Diplotype"] == "no call"
    assert {c for c, v in row.items() if v} == {"Gene", "Source Diplotype", "Outside Call", "Missing positions"}
    assert (row["Outside Call"], row["Missing positions"]) == ("no", "yes")


def test_diplotypes_of_which_none_is_certain_are_joined_and_name_no_haplotype() -> None:
    call = a_call(("*1/*2", 0.6, "Intermediate Metabolizer"), ("*2/*35", 0.4, "Poor Metabolizer"), phenotype=None)

    row = row_of(call)

    assert row["Source Diplotype"] == "*1/*2 OR *2/*35"
    assert row["Phenotype"] == "Intermediate Metabolizer / Poor Metabolizer"
    assert row["Match Score"] == "38 / 5"  # *1 is defined at 35 positions, *2 at 3 and *35 at 2
    assert [row[c] for c in COLUMNS[4:10] + COLUMNS[13:]] == [""] * 9


def test_the_most_probable_diplotype_stands_alone_and_a_tie_does_not() -> None:
    alone = a_call(("*1/*6", 0.8, "Intermediate Metabolizer"), ("*4/*9", 0.2, "Intermediate Metabolizer"))
    tie = a_call(("*1/*4", 0.5, "Intermediate Metabolizer"), ("*4/*38", 0.5, "Intermediate Metabolizer"))

    assert row_of(alone)["Source Diplotype"] == "*1/*6"
    assert row_of(tie)["Source Diplotype"] == "*1/*4 OR *4/*38"
    assert row_of(tie)["Recommendation Lookup Diplotype"] == ""
    assert row_of(tie)["Recommendation Lookup Phenotype"] == "Intermediate Metabolizer"


def test_guidance_is_looked_up_with_the_two_alleles_of_lowest_function() -> None:
    call = a_call(
        ("c.85T>C (*9A)/c.1905+1G>A (*2A)", 1.0, "Intermediate Metabolizer"),
        lowest_function=("Reference", "c.1905+1G>A (*2A)"),
        phased=True,
    )

    assert row_of(call, "DPYD")["Recommendation Lookup Diplotype"] == "Reference/c.1905+1G>A (*2A)"


def test_variants_that_are_not_phased_are_listed_and_name_no_haplotype() -> None:
    both = "c.1627A>G (*5)"
    call = a_call(
        (f"{both}/[c.85T>C (*9A) + {both}]", 1.0, "Normal Metabolizer"), lowest_function=(both, both), phased=False
    )

    row = row_of(call, "DPYD")

    assert row["Source Diplotype"] == f"c.85T>C (*9A) AND {both}/{both}"
    assert (row["Haplotype 1"], row["Phenotype"], row["Match Score"]) == ("", "", "")
    assert row["Recommendation Lookup Diplotype"] == f"{both}/{both}"
    assert row["Recommendation Lookup Phenotype"] == "Normal Metabolizer"


def test_a_worked_case_of_variants_that_are_not_phased() -> None:
    vcf = shared_data("pgx", "cases", "vcf", "pipe_Ryr1_cacna1sMissing_ryr1Het4.vcf")

    row = read_calls(profile_tsv(call_genome(vcf)))["RYR1"]

    assert row["Source Diplotype"] == "c.97A>G AND c.152C>A AND c.418G>A AND c.14918C>T"
    assert row["Recommendation Lookup Diplotype"] == "c.97A>G/c.14918C>T"


def test_a_haploid_call_and_a_phenotype_alone_are_written_as_given() -> None:
    haploid = row_of(a_call(("1555A>G", 1.0, None), source="outside call"), "MT-RNR1")
    alone = a_call(("not stated", 1.0, "Poor Metabolizer"), diplotype=None, source="outside call")

    assert [haploid[c] for c in ("Source Diplotype", "Haplotype 1", "Haplotype 2")] == ["1555A>G", "1555A>G", ""]
    assert row_of(alone, "CYP2D6")["Source Diplotype"] == ""
    assert row_of(alone, "CYP2D6")["Phenotype"] == "Poor Metabolizer"


def test_a_phenotype_that_is_not_stated_is_not_written() -> None:
    row = row_of(a_call(("*1/*1", 1.0, "Normal Metabolizer"), phenotype=None))

    assert "Normal Metabolizer" not in row.values()


def test_no_text_ends_a_row_or_a_column() -> None:
    row = row_of(a_call(("*1\t*2/\n*3", 1.0, None), source="outside call"), "HLA-B")

    assert row["Source Diplotype"] == "*1 *2/ *3"
