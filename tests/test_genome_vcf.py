"""Any ordinary VCF is read, in whatever spelling; a wrong one is refused with a reason."""

from __future__ import annotations

import contextlib
import gzip
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genome_files import diplotype_rows, reference_rows, row, write_vcf
from posologist.core.errors import InputError
from posologist.genome.document import call_genome
from posologist.genome.targets import edits_of
from posologist.genome.vcf import plain_chromosome
from posologist.knowledge.genes import load_gene
from shared import shared_data

_QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _cyp2c19(path: Path, **options: object) -> str | None:
    return call_genome(path, **options).genes["CYP2C19"].diplotype  # type: ignore[arg-type, index]


def test_grch37_and_grch38_files_of_one_person_agree(tmp_path: Path) -> None:
    for symbol, first, second in (("CYP2C19", "*2", "*17"), ("CYP3A5", "*1", "*7"), ("CYP2C9", "*1", "*6")):
        gene = load_gene(symbol)
        new = write_vcf(tmp_path / "38.vcf", diplotype_rows(gene, first, second))
        old = write_vcf(tmp_path / "37.vcf", diplotype_rows(gene, first, second, build="GRCh37"), build="GRCh37")

        a, b = call_genome(new), call_genome(old)

        assert b.build == "GRCh37"
        assert a.genes[gene.symbol].diplotype == b.genes[gene.symbol].diplotype == f"{first}/{second}"


def test_assumed_reference_is_that_of_the_files_own_build(tmp_path: Path) -> None:
    rows = [row("10", 96541616, "G", "A", "0/0", id="rs4244285"), row("7", 99262835, "C", "T", "0/0")]
    profile = call_genome(write_vcf(tmp_path / "v.vcf", rows, build="GRCh37"), absent="reference")

    assert profile.genes["CYP2C19"].diplotype == "*1/*1"  # type: ignore[index]
    assert profile.genes["CYP3A5"].diplotype == "*3/*3"  # type: ignore[index]


def test_chromosome_prefix_does_not_matter(tmp_path: Path) -> None:
    rows = diplotype_rows(load_gene("CYP2C19"), "*1", "*2")
    for name in ("10", "chr10", "Chr10", "NC_000010.11"):
        renamed = [[name, *r[1:]] for r in rows]
        assert _cyp2c19(write_vcf(tmp_path / "v.vcf", renamed)) == "*1/*2"


def test_compressed_and_plain_files_read_the_same(tmp_path: Path) -> None:
    rows = diplotype_rows(load_gene("CYP2C19"), "*1", "*2")

    assert _cyp2c19(write_vcf(tmp_path / "v.vcf.gz", rows)) == _cyp2c19(write_vcf(tmp_path / "v.vcf", rows)) == "*1/*2"


def test_build_is_found_from_known_variants_when_the_header_is_silent(tmp_path: Path) -> None:
    gene = load_gene("CYP2C19")
    for build in ("GRCh37", "GRCh38"):
        path = write_vcf(tmp_path / "v.vcf", diplotype_rows(gene, "*1", "*2", build=build), build="")
        assert call_genome(path).build == build


def test_unclear_build_is_refused_unless_it_is_said(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "v.vcf", diplotype_rows(load_gene("VKORC1"), *["rs9923231 variant (T)"] * 2), build="")

    with pytest.raises(InputError, match="--build"):
        call_genome(path)
    assert call_genome(path, build="GRCh38").genes["VKORC1"].phenotype == "-1639 AA"  # type: ignore[index]


def test_header_of_another_build_is_noticed_by_its_variants(tmp_path: Path) -> None:
    rows = diplotype_rows(load_gene("CYP2C9"), "*1", "*2", build="GRCh37")
    path = write_vcf(tmp_path / "v.vcf", rows, header="##reference=GRCh38")

    with pytest.raises(InputError, match="where GRCh37 has them"):
        call_genome(path, absent="reference")


def test_wrong_reference_bases_are_noticed(tmp_path: Path) -> None:
    rows = diplotype_rows(load_gene("CYP2C9"), "*1", "*2")
    wrong = [[*r[:3], {"A": "C", "C": "G", "G": "T", "T": "A"}[r[3]], "N", *r[5:]] for r in rows if len(r[3]) == 1]

    with pytest.raises(InputError, match="reference bases"):
        call_genome(write_vcf(tmp_path / "v.vcf", wrong))


@pytest.mark.parametrize(
    "header", ["##contig=<ID=chr10,length=130694993>", "##reference=GRCm39.fa", "##reference=T2T-CHM13v2.0.fa"]
)
def test_other_genomes_are_refused(tmp_path: Path, header: str) -> None:
    path = write_vcf(tmp_path / "v.vcf", [row("chr10", 94761900, "C", "T", "0/1")], header=header)

    with pytest.raises(InputError, match="GRCh37"):
        call_genome(path)


def test_two_builds_in_one_header_are_refused(tmp_path: Path) -> None:
    header = "##reference=GRCh37.fa\n##contig=<ID=chr10,length=133797422>"
    path = write_vcf(tmp_path / "v.vcf", [row("chr10", 94761900, "C", "T", "0/1")], header=header)

    with pytest.raises(InputError, match="two reference genomes"):
        call_genome(path)


def test_several_samples_need_a_name_or_an_identifier() -> None:
    path = shared_data("pgx", "getrm", "genotypes.vcf.gz")

    with pytest.raises(InputError, match="104 samples"):
        call_genome(path)
    with pytest.raises(InputError, match="no sample 'nobody'"):
        call_genome(path, sample="nobody")
    assert call_genome(path, identifiers=["mrn-1", "NA18526"], absent="reference").sample == "NA18526"


def test_empty_vcf_calls_nothing_even_when_absent_is_reference(tmp_path: Path) -> None:
    profile = call_genome(write_vcf(tmp_path / "v.vcf", []), absent="reference")

    assert not any(call.called or call.phenotype for call in profile.genes.values())
    assert "no records" in profile.findings[0]


def _broken() -> dict[str, bytes]:
    good = shared_data("pgx", "getrm", "genotypes.vcf.gz").read_bytes()
    text = gzip.decompress(good)
    return {
        "cut off": good[: len(good) // 2],
        "end block missing": good[:-28],
        "half a plain file": text[: len(text) // 2 + 7],
        "not a vcf": b"hello\nworld\n",
        "nothing": b"",
        "no header line": b"##fileformat=VCFv4.2\nchr10\t1\t.\tA\tC\n",
        "sites only": b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n",
        "spaces": b"##fileformat=VCFv4.2\n#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT S\n",
        "position is no number": text.replace(b"94761900", b"94x61900", 1),
        "columns missing": text.replace(b"\tC\tT\t", b"\tCT\t"),
    }


@pytest.mark.parametrize("name", sorted(["cut off", "end block missing", "half a plain file", "not a vcf", "nothing",
    "no header line", "sites only", "spaces", "position is no number", "columns missing"]))  # fmt: skip
def test_broken_files_are_refused_with_a_place_and_advice(tmp_path: Path, name: str) -> None:
    path = tmp_path / "broken.vcf"
    path.write_bytes(_broken()[name])

    with pytest.raises(InputError) as caught:
        call_genome(path, sample="NA18526")
    assert str(path) in caught.value.where or caught.value.where.startswith(str(path))
    assert caught.value.hint


def test_missing_file_and_missing_genome_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        call_genome(tmp_path / "none.vcf")
    with pytest.raises(InputError, match="no genome"):
        call_genome(None)


def test_filtered_and_low_quality_genotypes_are_missing_and_said(tmp_path: Path) -> None:
    rows = reference_rows()
    place = next(i for i, r in enumerate(rows) if r[1] == "94781859")
    for change in (
        {"filter": "LowQual"},
        {"format": "GQ", "values": "5"},
        {"format": "DP", "values": "2"},
    ):
        changed = [*rows]
        changed[place] = row("chr10", 94781859, "G", "A", "0/0", **change)
        call = call_genome(write_vcf(tmp_path / "v.vcf", changed), absent="reference").genes["CYP2C19"]  # type: ignore[index]
        assert "rs4244285" in call.missing_positions
        assert any("rs4244285" in finding for finding in call.findings)


def test_half_call_keeps_both_possibilities(tmp_path: Path) -> None:
    rows = diplotype_rows(load_gene("CYP2C19"), "*1", "*1", phased=False)
    changed = [[*r[:-1], "0/."] if r[1] == "94842866" else r for r in rows]
    for gt, expected in (("1/.", {"*1/*1", "*1/*38"}), ("0/.", {"*1/*38", "*38/*38"}), ("./1", {"*1/*1", "*1/*38"})):
        changed = [[*r[:-1], gt] if r[1] == "94842866" else r for r in rows]
        call = call_genome(write_vcf(tmp_path / "v.vcf", changed)).genes["CYP2C19"]  # type: ignore[index]
        assert {c.diplotype for c in call.candidates} == expected
        assert "rs3758581" in call.missing_positions


def test_genotype_without_calls_is_missing(tmp_path: Path) -> None:
    rows = [[*r[:-1], "./."] for r in diplotype_rows(load_gene("CYP2C19"), "*1", "*2")]

    assert call_genome(write_vcf(tmp_path / "v.vcf", rows), absent="reference").genes["CYP2C19"].called is False  # type: ignore[index]


def test_gvcf_blocks_are_read_as_reference(tmp_path: Path) -> None:
    block = row("chr10", 94700000, "A", "<NON_REF>", "0/0", info="END=94999999", format="GQ:MIN_DP", values="50:20")
    variants = [
        row("chr10", pos, ref, f"{alt},<NON_REF>", gt, format="GQ:DP", values="99:30")
        for pos, ref, alt, gt in (
            (94775367, "A", "G", "0/1"),
            (94781859, "G", "A", "0/1"),
            (94842866, "A", "G", "1/1"),
        )
    ]
    call = call_genome(write_vcf(tmp_path / "v.vcf", [block, *variants])).genes["CYP2C19"]  # type: ignore[index]

    assert call.evidence_state == "called"
    assert call.diplotype == "*1/*2"


def test_low_quality_block_is_missing_not_reference(tmp_path: Path) -> None:
    block = row("chr10", 94700000, "A", "<NON_REF>", "0/0", info="END=94999999", format="GQ:MIN_DP", values="3:1")
    call = call_genome(write_vcf(tmp_path / "v.vcf", [block]), absent="reference").genes["CYP2C19"]  # type: ignore[index]

    assert call.called is False


def test_deletion_over_a_position_is_not_reference(tmp_path: Path) -> None:
    rows = diplotype_rows(load_gene("CYP2C19"), "*1", "*1", phased=False)
    rows = [r for r in rows if r[1] != "94781859"]
    rows.append(row("chr10", 94781856, "CCCGG", "C", "0/1"))
    rows.append(row("chr10", 94781859, "G", "*,A", "0/1"))
    call = call_genome(write_vcf(tmp_path / "v.vcf", rows)).genes["CYP2C19"]  # type: ignore[index]

    assert call.called is False
    assert call.phenotype is None


@pytest.mark.parametrize(
    ("pos", "ref", "alt"),
    [
        (94949281, "GA", "G"),
        (94949282, "AA", "A"),
        (94949281, "GAA", "GA"),
        (94949280, "CGA", "CG"),
        (94949283, "AG", "G"),
    ],
)
def test_cyp2c9_star_6_is_found_in_any_spelling(tmp_path: Path, pos: int, ref: str, alt: str) -> None:
    gene = load_gene("CYP2C9")
    rows = [r for r in diplotype_rows(gene, "*1", "*1", phased=False) if r[1] != "94949281"]
    rows.append(row("chr10", pos, ref, alt, "0/1"))

    assert call_genome(write_vcf(tmp_path / "v.vcf", rows)).genes["CYP2C9"].diplotype == "*1/*6"  # type: ignore[index]


@pytest.mark.parametrize(("pos", "ref", "alt"), [(99652770, "T", "TA"), (99652771, "A", "AA"), (99652769, "CT", "CTA")])
def test_cyp3a5_star_7_is_found_in_any_spelling(tmp_path: Path, pos: int, ref: str, alt: str) -> None:
    gene = load_gene("CYP3A5")
    rows = [r for r in diplotype_rows(gene, "*1", "*1", phased=False) if r[1] != "99652770"]
    rows.append(row("chr7", pos, ref, alt, "0/1"))

    assert call_genome(write_vcf(tmp_path / "v.vcf", rows)).genes["CYP3A5"].diplotype == "*1/*7"  # type: ignore[index]


@pytest.mark.parametrize(
    ("pos", "ref", "alt", "diplotype"),
    [
        (48037782, "AGGAGTC", "A", "*1/*9"),
        (48037783, "GGAGTCG", "G", "*1/*9"),
        (48037795, "GGAGTCG", "G", "*1/*9"),
        (48037782, "AGGAGTC", "AGGAGTCGGAGTC", "*1/*6"),
        (48037782, "A", "AGGAGTC", "*1/*6"),
        (48037801, "G", "GGAGTCG", "*1/*6"),
    ],
)
def test_nudt15_repeat_is_counted_in_any_spelling(tmp_path: Path, pos: int, ref: str, alt: str, diplotype: str) -> None:
    gene = load_gene("NUDT15")
    rows = [r for r in diplotype_rows(gene, "*1", "*1", phased=False) if r[1] != "48037782"]
    rows.append(row("chr13", pos, ref, alt, "0/1"))

    assert call_genome(write_vcf(tmp_path / "v.vcf", rows)).genes["NUDT15"].diplotype == diplotype  # type: ignore[index]


def test_repeat_in_two_lines_with_different_reference_is_one_genotype(tmp_path: Path) -> None:
    gene = load_gene("NUDT15")
    rows = [r for r in diplotype_rows(gene, "*1", "*1", phased=False) if r[1] != "48037782"]
    rows += [row("chr13", 48037782, "AGGAGTC", "A", "0/1"), row("chr13", 48037782, "A", "AGGAGTC", "1/0")]

    assert call_genome(write_vcf(tmp_path / "v.vcf", rows)).genes["NUDT15"].diplotype == "*6/*9"  # type: ignore[index]


def test_two_variants_written_as_one_are_taken_apart(tmp_path: Path) -> None:
    gene = load_gene("CYP2C19")
    rows = [r for r in diplotype_rows(gene, "*1", "*1", phased=False) if r[1] not in ("94781858", "94781859")]
    rows.append(row("chr10", 94781858, "CG", "CA", "0/1"))
    candidates = call_genome(write_vcf(tmp_path / "v.vcf", rows)).genes["CYP2C19"].candidates  # type: ignore[index]

    assert not candidates or "*1/*2" in {c.diplotype for c in candidates}
    assert edits_of(1, "CG", "TA") == edits_of(1, "C", "T") + edits_of(2, "G", "A")


def test_multi_allelic_line_and_its_split_lines_agree(tmp_path: Path) -> None:
    gene = load_gene("TPMT")
    whole = [r for r in diplotype_rows(gene, "*1", "*1", phased=False) if r[1] != "18130687"]
    spellings = [
        [row("chr6", 18130687, "T", "C,G", "1/2")],
        [row("chr6", 18130687, "T", "C", "0/1"), row("chr6", 18130687, "T", "G", "0/1")],
        [row("chr6", 18130687, "T", "C", "1/0"), row("chr6", 18130687, "T", "G", "0/1")],
        [row("chr6", 18130687, "T", "C", "1/."), row("chr6", 18130687, "T", "G", "./1")],
        [row("chr6", 18130687, "T", "C", "1|0"), row("chr6", 18130687, "T", "G", "0|1")],
    ]
    called = [
        {c.diplotype for c in call_genome(write_vcf(tmp_path / "v.vcf", whole + s)).genes["TPMT"].candidates}  # type: ignore[index]
        for s in spellings
    ]

    assert called[0]
    assert all(found == called[0] for found in called)


def test_contradicting_lines_are_not_used(tmp_path: Path) -> None:
    rows = diplotype_rows(load_gene("CYP2C19"), "*1", "*1", phased=False)
    rows += [row("chr10", 94781859, "G", "A", "1/1")]
    rows = [r if r[1] != "94781859" or r[-1] == "1/1" else [*r[:-1], "0/1"] for r in rows]
    call = call_genome(write_vcf(tmp_path / "v.vcf", rows)).genes["CYP2C19"]  # type: ignore[index]

    assert any("contradict" in finding for finding in call.findings)
    assert "rs4244285" in call.missing_positions


def test_sex_is_read_from_x(tmp_path: Path) -> None:
    base = diplotype_rows(load_gene("CYP2C19"), "*1", "*1")
    male = call_genome(write_vcf(tmp_path / "m.vcf", [*base, row("chrX", 154535277, "T", "C", "1")]))
    female = call_genome(write_vcf(tmp_path / "f.vcf", [*base, row("chrX", 154535277, "T", "C", "0/1")]))

    assert (male.sex_from_genome, female.sex_from_genome) == ("male", "female")


@_QUIET
@given(data=st.data())
def test_splitting_shuffling_and_adding_reference_lines_changes_no_call(tmp_path: Path, data: st.DataObject) -> None:
    symbol = data.draw(st.sampled_from(["CYP2C19", "CYP2C9", "SLCO1B1", "TPMT"]))
    gene = load_gene(symbol)
    names = st.sampled_from([a.name for a in gene.alleles])
    rows = diplotype_rows(gene, data.draw(names), data.draw(names), phased=data.draw(st.booleans()))
    expected = call_genome(write_vcf(tmp_path / "a.vcf", rows)).genes[gene.symbol]

    changed = [split for r in rows for split in _split(r)]
    changed += [row(gene.chromosome, p.grch38 + 3, "N", ".", "0/0") for p in gene.positions[:5]]
    changed += [
        row(gene.chromosome, p.grch38, p.ref, ".", "0/0") for p in gene.positions[:5] if _is_reference(rows, p.grch38)
    ]
    random.Random(data.draw(st.integers(0, 99))).shuffle(changed)
    found = call_genome(write_vcf(tmp_path / "b.vcf", changed)).genes[gene.symbol]

    assert found.candidates == expected.candidates
    assert found.phenotype == expected.phenotype


def _is_reference(rows: list[list[str]], pos: int) -> bool:
    return all(r[-1].replace("|", "/") == "0/0" for r in rows if r[1] == str(pos))


def _split(line: list[str]) -> list[list[str]]:
    alts = line[4].split(",")
    result = []
    for n, alt in enumerate(alts, start=1):
        sign = "|" if "|" in line[-1] else "/"
        gt = sign.join("1" if call == str(n) else "0" for call in line[-1].replace("|", "/").split("/"))
        result.append([*line[:4], alt, *line[5:-1], gt])
    return result


@_QUIET
@given(data=st.data())
def test_removing_phase_only_widens_and_swapping_strands_changes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    gene = load_gene(data.draw(st.sampled_from(["CYP2C19", "CYP2C9", "SLCO1B1", "TPMT", "CYP3A5"])))
    names = st.sampled_from([a.name for a in gene.alleles])
    first, second = data.draw(names), data.draw(names)

    def candidates(rows: list[list[str]]) -> set[str]:
        calls = call_genome(write_vcf(tmp_path / "v.vcf", rows)).genes[gene.symbol].candidates
        return {c.diplotype for c in calls}

    phased = candidates(diplotype_rows(gene, first, second))
    swapped = candidates(diplotype_rows(gene, second, first))
    unphased = candidates(diplotype_rows(gene, first, second, phased=False))

    assert phased
    assert phased == swapped
    assert phased <= unphased


@_QUIET
@given(st.binary(max_size=60), st.integers(0, 5000), st.booleans())
def test_damaged_files_never_crash(tmp_path: Path, noise: bytes, place: int, drop: bool) -> None:
    text = bytearray(gzip.decompress(shared_data("pgx", "examples", "pharmcat.example.vcf.gz").read_bytes()))
    start = text.index(b"#CHROM") + place * 7 % (len(text) - 2000)
    if drop:
        del text[start : start + len(noise)]
    else:
        text[start : start + len(noise)] = noise
    path = tmp_path / "v.vcf"
    path.write_bytes(bytes(text))

    with contextlib.suppress(InputError):
        call_genome(path)


def test_chromosome_names_are_understood() -> None:
    assert [plain_chromosome(n) for n in ("chr1", "1", "CHRX", "NC_000023.10", "chrM", "GL000192.1")] == [
        "1", "1", "X", "X", "MT", "GL000192.1",
    ]  # fmt: skip


def test_a_small_file_that_unpacks_to_one_endless_line_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "v.vcf.gz", diplotype_rows(load_gene("CYP2C19"), "*1", "*2"))
    with gzip.open(path, "rb") as stream:
        whole = stream.read()
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(whole + b"chr10\t1\t.\t")
        for _ in range(66):
            stream.write(b"A" * 2**20)

    with pytest.raises(InputError, match="longer than"):
        call_genome(path)
