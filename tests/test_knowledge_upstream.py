"""A newer release of gene tables is read into a folder of the user's own, and what differs is said."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from genome_files import diplotype_rows, write_vcf
from posologist.core.errors import InputError, KnowledgeError
from posologist.genome.document import call_genome
from posologist.knowledge.genes import GENES_FOLDER, load_gene
from posologist.knowledge.upstream import import_release
from shared import shared_data


def _json(*parts: str) -> Any:
    with gzip.open(shared_data("pgx", *parts)) as stream:
        return json.load(stream)


def _release(tmp_path: Path, definition: Any, phenotype: Any) -> Path:
    gene = definition["gene"]
    for folder in ("definition/alleles", "phenotype"):
        (tmp_path / "release" / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / f"release/definition/alleles/{gene}_translation.json").write_text(json.dumps(definition))
    (tmp_path / f"release/phenotype/{gene}.json").write_text(json.dumps(phenotype))
    return tmp_path / "release"


def _cyp3a5() -> tuple[Any, Any]:
    return _json("definition", "CYP3A5_translation.json.gz"), _json("phenotype", "CYP3A5.json.gz")


def test_the_release_that_is_held_makes_no_difference(tmp_path: Path) -> None:
    (change,) = import_release(_release(tmp_path, *_cyp3a5()), tmp_path / "mine", retrieved="2026-01-02")

    assert change.text().endswith("no difference")


def test_what_a_newer_release_changes_is_said_and_used(tmp_path: Path) -> None:
    definition, phenotype = _cyp3a5()
    star_7 = next(a for a in definition["namedAlleles"] if a["name"] == "*7")
    definition["namedAlleles"].append({**star_7, "name": "*99"})
    definition["namedAlleles"].remove(star_7)
    definition["version"] = "2099-01-01"
    mine = tmp_path / "mine"
    (change,) = import_release(_release(tmp_path, definition, phenotype), mine, retrieved="2099-01-02")
    rows = diplotype_rows(load_gene("CYP3A5"), "*1", "*7")
    path = write_vcf(tmp_path / "v.vcf", rows, header="##reference=GRCh38")
    call = call_genome(path, genes_folder=(GENES_FOLDER, mine / "genes")).genes["CYP3A5"]  # type: ignore[index]

    assert (change.added, change.removed) == (("*99",), ("*7",))
    assert change.after == "2099-01-01"
    assert call.diplotype == "*1/*99"
    assert call.phenotype == "Indeterminate"


def test_a_changed_function_is_said(tmp_path: Path) -> None:
    definition, phenotype = _cyp3a5()
    row = next(a for a in phenotype["namedAlleles"] if a["name"] == "*6")
    row["functionValue"] = "Uncertain function"
    phenotype["diplotypes"] = [d for d in phenotype["diplotypes"] if "*6" not in d["diplotypekey"]]
    (change,) = import_release(_release(tmp_path, definition, phenotype), tmp_path / "mine", retrieved="2099-01-02")

    assert change.functions == ("*6: No function -> Uncertain function",)


def test_rules_that_no_longer_give_the_phenotypes_are_refused(tmp_path: Path) -> None:
    definition, phenotype = _cyp3a5()
    row = next(d for d in phenotype["diplotypes"] if d["diplotype"] == "*1/*3")
    row["phenotype"] = "Ultrarapid Metabolizer"
    release = _release(tmp_path, definition, phenotype)

    with pytest.raises(KnowledgeError, match="functions do not decide"):
        import_release(release, tmp_path / "mine", retrieved="2099-01-02")


def test_a_gene_that_was_not_held_is_called_from_grch38(tmp_path: Path) -> None:
    definition, phenotype = _cyp3a5()
    definition["gene"] = phenotype["gene"] = "CYP3A99"
    mine = tmp_path / "mine"
    (change,) = import_release(_release(tmp_path, definition, phenotype), mine, retrieved="2099-01-02")
    rows = diplotype_rows(load_gene("CYP3A5"), "*1", "*3")
    path = write_vcf(tmp_path / "v.vcf", rows, header="##reference=GRCh38")

    assert change.new
    assert "GRCh38 files only" in " ".join(change.notes)
    assert call_genome(path, genes_folder=(GENES_FOLDER, mine / "genes")).genes["CYP3A99"].diplotype == "*1/*3"  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no GENE_translation.json"), ("{", "cannot be read as JSON"), ("[]", "no JSON object")],
)
def test_what_is_no_release_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "X_translation.json").write_text(content)

    with pytest.raises(InputError, match=message):
        import_release(tmp_path, tmp_path / "mine", retrieved="2099-01-02")
