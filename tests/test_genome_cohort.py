"""All samples at once give what each sample gives alone; the Parquet file holds what the contract names."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import duckdb
import pytest

from genome_files import diplotype_rows, genes, reference_rows, write_vcf
from posologist.core.errors import InputError
from posologist.core.settings import Settings
from posologist.genome.cohort import Cohort
from posologist.genome.document import call_genome
from posologist.genome.vcf import open_lines, read_header
from posologist.knowledge.genes import Gene, callable_genes, load_gene
from posologist.serve.cohort_file import write_cohort
from shared import shared_data

_COLUMNS = ("sample", "gene", "called", "diplotype", "probability", "phenotype", "activity_score", "run")


def _rows(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = duckdb.connect().execute(f"SELECT * FROM '{path}'")
    names = [column[0] for column in found.description or ()]
    assert tuple(names) == _COLUMNS
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {(row["sample"], row["gene"]): row for row in rows}


def _assert_same(rows: dict[tuple[str, str], dict[str, Any]], path: Path, sample: str, absent: str) -> None:
    profile = call_genome(path, sample=sample, absent=absent)
    for symbol in callable_genes():
        call, row = profile.genes[symbol], rows[sample, symbol]
        assert (row["called"], row["diplotype"]) == (call.called, call.diplotype), (sample, symbol)
        assert (row["phenotype"], row["activity_score"]) == (call.phenotype, call.activity_score), (sample, symbol)
        assert row["probability"] == (call.candidates[0].probability if call.called else None)


@pytest.mark.parametrize("absent", ["missing", "reference"])
def test_a_real_panel_gives_what_each_of_its_people_gives_alone(tmp_path: Path, absent: Any) -> None:
    path = shared_data("pgx", "getrm", "genotypes.vcf.gz")
    count = write_cohort(path, tmp_path / "o.parquet", absent=absent)
    rows = _rows(tmp_path / "o.parquet")

    samples = read_header(path).samples
    assert count == len(rows) == len(samples) * len(callable_genes())
    for sample in random.Random(5).sample(samples, 12):
        _assert_same(rows, path, sample, absent)


@pytest.mark.parametrize("name", ["multisample.vcf", "100samples.vcf.bgz"])
def test_other_tools_files_of_many_samples_give_what_each_sample_gives_alone(tmp_path: Path, name: str) -> None:
    path = shared_data("pgx", "examples", name)
    write_cohort(path, tmp_path / "o.parquet")
    rows = _rows(tmp_path / "o.parquet")

    for sample in read_header(path).samples[:8]:
        _assert_same(rows, path, sample, "missing")


def _many(tmp_path: Path, number: int, form: str = "GT") -> Path:
    chooser = random.Random(number)
    table: dict[tuple[str, int, str, str], list[str]] = {}
    for _ in range(number):
        for gene in genes():
            names = [allele.name for allele in gene.alleles]
            rows = diplotype_rows(gene, chooser.choice(names), chooser.choice(names), phased=chooser.random() < 0.5)
            for row in rows:
                value = row[-1] if form == "GT" else f"{row[-1]}:{chooser.choice([5, 60])}"
                table.setdefault((row[0], int(row[1]), row[3], row[4]), []).append(value)
    lines = [[c, str(p), ".", ref, alt, ".", "PASS", ".", form, *calls] for (c, p, ref, alt), calls in table.items()]
    lines.sort(key=lambda line: (line[0], int(line[1])))
    return write_vcf(tmp_path / "many.vcf", lines, samples=[f"S{n}" for n in range(number)])


@pytest.mark.parametrize("form", ["GT", "GT:GQ"])
def test_made_up_people_give_what_each_gives_alone(tmp_path: Path, form: str) -> None:
    path = _many(tmp_path, 12, form)
    write_cohort(path, tmp_path / "o.parquet")
    rows = _rows(tmp_path / "o.parquet")

    for number in range(12):
        _assert_same(rows, path, f"S{number}", "missing")


def test_the_file_says_what_produced_it(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "v.vcf", reference_rows())
    write_cohort(path, tmp_path / "o.parquet")
    found = duckdb.connect().execute(f"SELECT key, value FROM parquet_kv_metadata('{tmp_path}/o.parquet')").fetchall()
    about = {key.decode(): value.decode() for key, value in found}
    runs = {row["run"] for row in _rows(tmp_path / "o.parquet").values()}

    assert runs == {about["run"]}
    assert about["run"] in json.loads(about["evidence"])
    assert json.loads(about["versions"])["definitions"]["CYP2C19"] == load_gene("CYP2C19").version


def test_equal_genotypes_are_called_once(tmp_path: Path) -> None:
    gene = load_gene("CYP2C19")
    rows = [[*row, *[row[-1]] * 999] for row in diplotype_rows(gene, "*1", "*2")]
    path = write_vcf(tmp_path / "v.vcf", rows, samples=[f"S{n}" for n in range(1000)])
    with open_lines(path) as lines:
        cohort = Cohort(lines, [gene], build="GRCh38", absent="missing", settings=Settings())
        (result,) = cohort.results()

    assert result.classes == 1
    assert len(result.of_sample) == 1000


def test_unsorted_file_is_refused(tmp_path: Path) -> None:
    rows = [r for s in ("CYP2C19", "TPMT") for r in diplotype_rows(load_gene(s), "*1", "*1")]
    path = write_vcf(tmp_path / "v.vcf", [*rows[:5], *rows[-5:], *rows[5:-5]])

    with pytest.raises(InputError, match="do not stand together"):
        write_cohort(path, tmp_path / "o.parquet")


def test_file_of_the_other_build_is_refused(tmp_path: Path) -> None:
    rows = [row for gene in genes()[:6] for row in _both_alternatives(gene)]
    path = write_vcf(tmp_path / "v.vcf", rows, build="GRCh38")

    with pytest.raises(InputError, match="stand where GRCh37 has them"):
        write_cohort(path, tmp_path / "o.parquet")


def _both_alternatives(gene: Gene) -> list[list[str]]:
    names = [allele.name for allele in gene.alleles]
    return diplotype_rows(gene, names[-1], names[0], build="GRCh37")


def test_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = write_vcf(tmp_path / "v.vcf", reference_rows())

    with pytest.raises(InputError, match="folder does not exist"):
        write_cohort(path, tmp_path / "nowhere" / "o.parquet")
