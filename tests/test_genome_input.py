"""A VCF as it comes: what each kind of file and each odd genotype must come to, and never "normal" by silence."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pysam
import pytest

from genome_files import diplotype_rows, reference_rows, row, write_vcf
from one_position import (
    FROM,
    GENE,
    ID,
    POS,
    TO,
    Rows,
    around,
    assert_not_used,
    call_of,
    haploid,
    here,
    profile_of,
    says,
)
from posologist.core.errors import InputError
from posologist.genome.document import call_genome
from posologist.genome.vcf import read_header
from posologist.knowledge.genes import load_gene

# Which reference genome


@pytest.mark.parametrize(
    ("header", "build"),
    [
        ("##contig=<ID=chr10,length=133797422>", "GRCh38"),
        ("##contig=<ID=10,length=135534747>", "GRCh37"),
        ("##contig=<ID=chrM,length=16569>\n##contig=<ID=chr10,length=133797422>", "GRCh38"),
        ("##reference=file:///data/Homo_sapiens_assembly38/hg38.fa", "GRCh38"),
        ("##reference=human_g1k_v37.fasta", "GRCh37"),
        ("##reference=hs37d5.fa.gz", "GRCh37"),
        ("##contig=<ID=10,assembly=b37>", "GRCh37"),
        ("##contig=<ID=chr10,assembly=GRCh38.p13>", "GRCh38"),
        ("##assembly=GCA_000001405.15_GRCh38_no_alt", "GRCh38"),
    ],
)
def test_build_is_that_of_contig_lengths_or_of_the_words_of_the_header(tmp_path: Path, header: str, build: str) -> None:
    rows = diplotype_rows(GENE, "*1", "*3", build=build)
    profile = profile_of(tmp_path, rows, header=header)

    assert profile.build == build
    assert profile.genes[GENE.symbol].diplotype == "*1/*3"


@pytest.mark.parametrize(
    "header",
    [
        "##contig=<ID=chr10,length=133797422>\n##contig=<ID=chr1,length=249250621>",
        "##reference=hg19.fa\n##reference=hg38.fa",
        "##reference=hg19.fa\n##contig=<ID=chr10,length=133797422>",
    ],
)
def test_header_that_names_both_builds_is_refused_unless_one_is_said(tmp_path: Path, header: str) -> None:
    rows = diplotype_rows(GENE, "*1", "*3")

    with pytest.raises(InputError, match="two reference genomes"):
        profile_of(tmp_path, rows, header=header)
    assert call_of(tmp_path, rows, header=header, build="GRCh38").diplotype == "*1/*3"


def test_silent_header_and_one_variant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not clear"):
        profile_of(tmp_path, [here("0/1")], written="")


def test_build_said_against_the_variants_is_refused(tmp_path: Path) -> None:
    rows = diplotype_rows(GENE, "*1", "*3", build="GRCh37")

    with pytest.raises(InputError, match="GRCh37"):
        profile_of(tmp_path, rows, written="", build="GRCh38", absent="reference")


# Kinds of file


def test_variants_alone_are_not_called_unless_absent_is_said_to_be_reference(tmp_path: Path) -> None:
    rows = [here("0/1"), row("chr10", 94942290, "C", "T", "0/1")]
    silent, assumed = call_of(tmp_path, rows), call_of(tmp_path, rows, absent="reference")

    assert silent.phenotype is None
    assert silent.evidence_state == "partly called"
    assert len(silent.missing_positions) == len(GENE.positions) - 2
    assert assumed.diplotype == "*2/*3"
    assert assumed.evidence_state == "assumed reference"
    assert len(assumed.not_excluded) > 60


def test_gvcf_block_speaks_for_every_position_in_it_and_for_none_outside(tmp_path: Path) -> None:
    block = row("chr10", FROM, "A", "<NON_REF>", "0/0", info="END=94950000", format="GQ:MIN_DP", values="60:25")
    later = row("chr10", POS, "A", "C,<NON_REF>", "0/1", format="GQ:DP", values="99:30")
    call = call_of(tmp_path, [block, later])
    inside = {p.id for p in GENE.positions if p.grch38 <= 94950000}

    assert inside
    assert not inside & set(call.missing_positions)
    assert {p.id for p in GENE.positions if p.grch38 > 94950000} - {ID} <= set(call.missing_positions)


def test_gvcf_without_gaps_is_called_in_full(tmp_path: Path) -> None:
    spans = ((FROM, POS - 1), (POS + 1, TO))
    blocks = [
        row("chr10", a, "N", "<NON_REF>", "0/0", info=f"END={b}", format="GQ:MIN_DP", values="60:25") for a, b in spans
    ]
    call = call_of(tmp_path, [*blocks, here("0/1", alt="C,<NON_REF>", format="GQ:DP", values="99:30")])

    assert call.diplotype == "*1/*3"
    assert call.evidence_state == "called"
    assert call.phenotype == "Intermediate Metabolizer"


@pytest.mark.parametrize("values", ["5:25", "60:2"])
def test_block_of_low_quality_or_depth_is_not_reference_even_on_request(tmp_path: Path, values: str) -> None:
    good = row("chr10", FROM, "A", "<NON_REF>", "0/0", info=f"END={POS - 1}", format="GQ:MIN_DP", values="60:25")
    bad = row("chr10", POS, "A", "<NON_REF>", "0/0", info=f"END={TO}", format="GQ:MIN_DP", values=values)
    call = call_of(tmp_path, [good, bad], absent="reference")

    assert_not_used(call)
    assert "*3" in {item.allele for item in call.not_excluded}


def test_variant_inside_a_reference_block_counts(tmp_path: Path) -> None:
    block = row("chr10", FROM, "A", "<NON_REF>", "0/0", info=f"END={TO}", format="GQ:MIN_DP", values="60:25")

    assert call_of(tmp_path, [block, here("0/1", format="GQ:DP", values="99:30")]).diplotype == "*1/*3"


def test_all_sites_file_with_dots_is_called(tmp_path: Path) -> None:
    rows = [[*r[:4], ".", *r[5:]] if r[-1] == "0/0" else r for r in around(here("0/1"))]
    call = call_of(tmp_path, rows)

    assert call.evidence_state == "called"
    assert call.diplotype == "*1/*3"


def test_chip_with_few_positions_says_what_it_did_not_test(tmp_path: Path) -> None:
    chip = {"rs1799853", ID}
    rows = [r for r in diplotype_rows(GENE, "*1", "*1", phased=False) if r[2] in chip]
    call = call_of(tmp_path, rows)

    assert call.evidence_state == "partly called"
    assert set(call.missing_positions) == {p.id for p in GENE.positions} - chip
    open_ = {item.allele: item for item in call.not_excluded}
    assert {"*5", "*6", "*8", "*11"} <= open_.keys()
    assert not {"*2", "*3"} & open_.keys()
    assert open_["*8"].frequency
    assert open_["*6"].changes_guidance


def test_each_sample_of_a_file_is_its_own(tmp_path: Path) -> None:
    rows = [[*r, r[-1]] for r in around()] + [[*here("0/1"), "1/1"]]
    path = write_vcf(tmp_path / "v.vcf", rows, samples=("A", "B"))
    found = {name: call_genome(path, sample=name).genes[GENE.symbol].diplotype for name in read_header(path).samples}

    assert found == {"A": "*1/*3", "B": "*3/*3"}


def _indexed(path: Path, rows: Rows) -> Path:
    plain = write_vcf(path / "i.vcf", sorted(rows, key=lambda r: (r[0], int(r[1]))))
    return Path(pysam.tabix_index(str(plain), preset="vcf", force=True))


@pytest.mark.parametrize("kind", ["plain", "gzip", "bgzip", "tabix"])
def test_plain_and_compressed_and_indexed_files_read_the_same(tmp_path: Path, kind: str) -> None:
    rows = sorted([*reference_rows(skip=[GENE.symbol]), *around(here("0/1"))], key=lambda r: (r[0], int(r[1])))
    expected = call_genome(write_vcf(tmp_path / "a.vcf", rows))
    path = _indexed(tmp_path, rows)
    if kind == "plain":
        path = write_vcf(tmp_path / "b.vcf", rows)
    elif kind == "gzip":
        path = write_vcf(tmp_path / "b.vcf.gz", rows)
    elif kind == "bgzip":
        (tmp_path / "i.vcf.gz.tbi").unlink()
    found = call_genome(path)

    assert {s: (c.candidates, c.phenotype, c.findings) for s, c in found.genes.items()} == {
        s: (c.candidates, c.phenotype, c.findings) for s, c in expected.genes.items()
    }


def test_index_finds_the_blocks_that_start_before_a_position(tmp_path: Path) -> None:
    block = row("chr10", FROM, "A", "<NON_REF>", "0/0", info=f"END={POS - 1}", format="GQ:MIN_DP", values="60:25")
    rest = row("chr10", POS + 1, "N", "<NON_REF>", "0/0", info=f"END={TO}", format="GQ:MIN_DP", values="60:25")
    call = call_genome(_indexed(tmp_path, [block, here("0/1"), rest])).genes[GENE.symbol]

    assert call.diplotype == "*1/*3"
    assert call.evidence_state == "called"


def test_index_older_than_its_file_is_not_used(tmp_path: Path) -> None:
    path = _indexed(tmp_path, around(here("0/0")))
    index = path.with_name(path.name + ".tbi")
    old = index.read_bytes()
    path.unlink()
    newer = _indexed(tmp_path, [row("chr1", 5, "A", "C", "0/1"), *around(here("0/1"))])
    index.write_bytes(old)
    an_hour_ago = time.time() - 3600
    os.utime(index, (an_hour_ago, an_hour_ago))

    assert call_genome(newer).genes[GENE.symbol].diplotype == "*1/*3"


def test_index_without_a_chromosome_leaves_its_genes_uncalled(tmp_path: Path) -> None:
    profile = call_genome(_indexed(tmp_path, around(here("0/1"))), absent="reference")

    assert profile.genes[GENE.symbol].diplotype == "*1/*3"
    assert profile.genes["TPMT"].called is False  # type: ignore[index]
    assert profile.genes["TPMT"].phenotype is None  # type: ignore[index]


def test_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "v.vcf", around(here("0/1", format="GQ", values="50")))
    expected = call_genome(path).genes[GENE.symbol]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    found = call_genome(path)

    assert found.sample == "SAMPLE"
    assert found.genes[GENE.symbol].candidates == expected.candidates
    assert expected.diplotype == "*1/*3"


# Odd alleles


@pytest.mark.parametrize(
    "lines",
    [
        [here("1/2", alt="C,*")],
        [here("0/1", alt="*")],
        [row("chr10", POS - 500, "A", "<DEL>", "0/1", info=f"SVTYPE=DEL;END={POS + 500}")],
        [row("chr10", POS - 1, "TA", "T", "0/1")],
        [here("0/0"), row("chr10", FROM, "A", "<DEL>", "0/1", info=f"SVTYPE=DEL;END={TO}")],
        [row("chr10", FROM, "A", "<DEL>", "1/1", info=f"SVTYPE=DEL;END={TO}")],
        [here("0/1", alt="T")],
    ],
)
def test_deleted_or_unknown_base_is_not_reference_but_not_called(tmp_path: Path, lines: Rows) -> None:
    call = call_of(tmp_path, around(*lines), absent="reference")

    assert call.called is False
    assert call.phenotype is None
    assert says(call, "no allele has the base found", ID)


@pytest.mark.parametrize("alt", ["", ".", "<NON_REF>", "C,<NON_REF>", "<*>", "c", "C"])
def test_reference_genotype_is_reference_whatever_the_alternative(tmp_path: Path, alt: str) -> None:
    call = call_of(tmp_path, around(here("0/0", alt=alt)))

    assert call.diplotype == "*1/*1"
    assert call.evidence_state == "called"


@pytest.mark.parametrize(("ref", "alt"), [("a", "c"), ("A", "c"), ("a", "C")])
def test_lower_case_bases_are_bases(tmp_path: Path, ref: str, alt: str) -> None:
    assert call_of(tmp_path, around(here("0/1", ref=ref, alt=alt))).diplotype == "*1/*3"


@pytest.mark.parametrize(
    "lines",
    [
        [here("0/1", alt="C,T")],
        [here("0/2", alt="T,C")],
        [here("0/1"), here("0/0", alt="T")],
        [here("0/0", alt="T"), here("1/0")],
        [here("0/1"), here("0/1")],
        [here("0|1"), here("0|0", alt="T")],
        [row("chr10", POS - 1, "TA", "TC", "0/1")],
    ],
)
def test_joined_split_padded_and_repeated_lines_read_the_same(tmp_path: Path, lines: Rows) -> None:
    call = call_of(tmp_path, around(*lines))

    assert [c.diplotype for c in call.candidates] == ["*1/*3"]
    assert call.evidence_state == "called"


def test_lines_with_different_genotypes_of_one_variant_are_not_used(tmp_path: Path) -> None:
    call = call_of(tmp_path, around(here("0/1"), here("1/1")))

    assert_not_used(call)
    assert says(call, "contradict")


def test_line_without_the_samples_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="9 columns where the header has 10"):
        call_of(tmp_path, around(here("0/1")[:9]))


@pytest.mark.parametrize(
    ("pos", "ref", "alt", "diplotype"),
    [
        (233760233, "CAT", "CATAT", "*1/*28"),
        (233760233, "C", "CAT", "*1/*28"),
        (233760234, "A", "ATA", "*1/*28"),
        (233760233, "CATATAT", "CATATATAT", "*1/*28"),
        (233760233, "CAT", "C", "*1/*36"),
        (233760235, "TAT", "T", "*1/*36"),
        (233760233, "C", "CATAT", "*1/*37"),
        (233760233, "CAT", "CATATAT", "*1/*37"),
    ],
)
def test_ugt1a1_repeat_is_counted_in_any_spelling(tmp_path: Path, pos: int, ref: str, alt: str, diplotype: str) -> None:
    gene = load_gene("UGT1A1")
    rows = [r for r in diplotype_rows(gene, "*1", "*1", phased=False) if r[1] != "233760233"]
    call = call_of(tmp_path, [*rows, row("chr2", pos, ref, alt, "0/1")], "UGT1A1")

    assert call.diplotype == diplotype


def test_g6pd_deletions_are_found_in_a_shifted_spelling(tmp_path: Path) -> None:
    gene = load_gene("G6PD")
    deletions = [p for p in gene.positions if len(p.ref) > 1 and p.shift]
    checked = 0
    for position in deletions:
        name = next((a.name for a in gene.alleles if set(a.defines) == {position.id}), None)
        if name is None:
            continue
        rows = diplotype_rows(gene, name, name, phased=False)
        padded = [[r[0], str(int(r[1]) - 1), r[2], f"N{r[3]}", f"N{r[4]}", *r[5:]] for r in rows if r[2] == position.id]
        moved = [r for r in rows if r[2] != position.id] + padded
        assert call_of(tmp_path, rows, "G6PD").diplotype == f"{name}/{name}"
        assert call_of(tmp_path, moved, "G6PD").diplotype == f"{name}/{name}"
        checked += 1

    assert checked


# Men's X chromosome


@pytest.mark.parametrize("written", ["haploid", "diploid", "mixed", "variants only"])
def test_man_with_a_deficient_allele_is_deficient_however_it_is_written(tmp_path: Path, written: str) -> None:
    gene, name = load_gene("G6PD"), "A- 202A_376G"
    two = diplotype_rows(gene, name, name, phased=False)
    one = haploid(two)
    rows = {
        "haploid": one,
        "diploid": two,
        "mixed": [a if n % 2 else b for n, (a, b) in enumerate(zip(one, two, strict=True))],
        "variants only": [r for r in one if r[-1] != "0"],
    }[written]
    absent = "reference" if written == "variants only" else "missing"
    profile = profile_of(tmp_path, rows, absent=absent, header="##reference=GRCh38")

    assert profile.genes[gene.symbol].phenotype == "Deficient"
    assert profile.sex_from_genome == ("male" if written in ("haploid", "variants only") else None)


def test_woman_with_one_deficient_allele_is_variable_though_some_calls_are_single(tmp_path: Path) -> None:
    gene = load_gene("G6PD")
    rows = diplotype_rows(gene, "A- 202A_376G", gene.reference, phased=False)
    some = [haploid([r])[0] if r[-1] == "0/0" else r for r in rows]
    call = call_of(tmp_path, some, "G6PD")

    assert call.phenotype == "Variable"
    assert says(call, "taken for both")


# Phase


@pytest.mark.parametrize("sign", ["0/0", "0|0", "0"])
def test_reference_records_never_break_the_phase(tmp_path: Path, sign: str) -> None:
    tpmt = load_gene("TPMT")
    gts = {"rs1800460": "1|0", "rs1142345": "0|1"}
    rows = [
        row("chr6", p.grch38, p.ref, ",".join(p.alts), gts.get(p.id, "0/0" if sign == "0" else sign))
        for p in tpmt.positions
    ]
    call = call_of(tmp_path, rows, "TPMT")

    assert [c.diplotype for c in call.candidates] == ["*3B/*3C"]
    assert call.phased


def test_one_unphased_variant_leaves_only_its_own_place_open(tmp_path: Path) -> None:
    tpmt = load_gene("TPMT")
    rows = {"rs1800460": "1|0", "rs1142345": "0/1"}
    lines = [row("chr6", p.grch38, p.ref, ",".join(p.alts), rows.get(p.id, "0|0")) for p in tpmt.positions]
    call = call_of(tmp_path, lines, "TPMT")

    assert {c.diplotype for c in call.candidates} == {"*1/*3A", "*3B/*3C"}
    assert not call.phased


def test_empty_file_of_a_sample_calls_nothing(tmp_path: Path) -> None:
    path = tmp_path / "v.vcf.gz"
    path.write_bytes(gzip.compress(write_vcf(tmp_path / "v.vcf", []).read_bytes()))
    profile = call_genome(path, absent="reference")

    assert not any(call.called or call.phenotype for call in profile.genes.values())
