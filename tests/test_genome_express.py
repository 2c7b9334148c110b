"""Co-medication changes what the genes give; what was not tested stays unknown."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from posologist.core.drug import Drug, Role
from posologist.core.evidence import Ledger
from posologist.core.genotype import ExpressedPhenotype, GeneticProfile
from posologist.genome.document import call_genome
from posologist.genome.express import TESTED, express
from shared import shared_data


def _drug(name: str, enzyme: str, role: str, strength: str) -> Drug:
    part = Role(enzyme=enzyme, role=role, strength=strength, source="test", status="to verify")  # type: ignore[arg-type]
    return Drug(id=name, name=name, pharmacological_class="test", depth="screening", roles=(part,))  # type: ignore[arg-type]


def _profile(tmp_path: Path, *lines: str) -> GeneticProfile:
    path = tmp_path / "outside.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return call_genome(None, outside_calls=path)


def _cyp2d6(profile: GeneticProfile | None, *drugs: Drug) -> ExpressedPhenotype:
    return express(profile, drugs, ledger=Ledger()).genes["CYP2D6"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("diplotype", "strength", "phenotype", "score"),
    [
        ("*1/*1", "strong", "Poor Metabolizer", 0.0),
        ("*1/*1x2", "strong", "Poor Metabolizer", 0.0),
        ("*1/*1", "moderate", "Intermediate Metabolizer", 1.0),
        ("*1/*1x2", "moderate", "Normal Metabolizer", 1.5),
        ("*4/*10", "moderate", "Intermediate Metabolizer", 0.125),
        ("*4/*4", "moderate", "Poor Metabolizer", 0.0),
        ("*1/*1", "weak", "Normal Metabolizer", 2.0),
    ],
)
def test_cyp2d6_inhibitors_lower_the_activity_score(
    tmp_path: Path, diplotype: str, strength: str, phenotype: str, score: float
) -> None:
    found = _cyp2d6(_profile(tmp_path, f"CYP2D6\t{diplotype}"), _drug("x", "CYP2D6", "inhibitor", strength))

    assert (found.clinical, found.clinical_score) == (phenotype, score)
    assert found.genetic_score != 0 or diplotype == "*4/*4"


def test_the_strongest_inhibitor_counts(tmp_path: Path) -> None:
    drugs = (_drug("a", "CYP2D6", "inhibitor", "moderate"), _drug("b", "CYP2D6", "inhibitor", "strong"))
    found = _cyp2d6(_profile(tmp_path, "CYP2D6\t*1/*1"), *drugs)

    assert found.clinical_score == 0
    assert "b is a strong CYP2D6 inhibitor" in found.reason
    assert found.genetic == "Normal Metabolizer"


def test_a_laboratorys_phenotype_without_score_is_converted_only_where_it_can_be(tmp_path: Path) -> None:
    profile = _profile(tmp_path, "CYP2D6\t\tNormal Metabolizer")

    assert _cyp2d6(profile, _drug("x", "CYP2D6", "inhibitor", "strong")).clinical == "Poor Metabolizer"
    assert _cyp2d6(profile, _drug("x", "CYP2D6", "inhibitor", "moderate")).clinical is None
    poor = _profile(tmp_path, "CYP2D6\t\tPoor Metabolizer")
    assert _cyp2d6(poor, _drug("x", "CYP2D6", "inhibitor", "moderate")).clinical == "Poor Metabolizer"


def test_ultrarapid_cyp2c19_on_omeprazole_keeps_the_genetic_phenotype_and_says_why(tmp_path: Path) -> None:
    profile = _profile(tmp_path, "CYP2C19\t*17/*17")
    found = express(profile, [_drug("omeprazole", "CYP2C19", "inhibitor", "moderate")], ledger=Ledger())

    gene = found.genes["CYP2C19"]  # type: ignore[index]
    assert gene.clinical == gene.genetic == "Ultrarapid Metabolizer"
    assert "no published rule" in gene.reason


def test_no_genome_is_not_tested_never_normal() -> None:
    found = express(None, [_drug("x", "CYP2D6", "inhibitor", "strong")], ledger=Ledger())

    assert all(gene.evidence_state == "not called" and gene.clinical is None for gene in found.genes.values())
    assert found.alleles[TESTED] == ()


def test_genes_with_a_result_are_listed_as_tested(tmp_path: Path) -> None:
    profile = _profile(tmp_path, "CYP2D6\t*1/*1", "CYP2C9\t*2/*3", "HLA-B\t*15:02/*57:01", "TPMT\t*1/*99")
    found = express(profile, [], ledger=Ledger())

    assert set(found.alleles[TESTED]) == {"CYP2D6", "CYP2C9", "HLA-B", "TPMT"}
    assert found.alleles["CYP2C9"] == ("*2", "*3", "*2/*3")  # type: ignore[index]


def test_reasons_rest_on_evidence(tmp_path: Path) -> None:
    ledger = Ledger()
    found = express(
        _profile(tmp_path, "CYP2D6\t*1/*1"), [_drug("paroxetine", "CYP2D6", "inhibitor", "strong")], ledger=ledger
    )

    reachable = ledger.reachable(found.genes["CYP2D6"].because).values()  # type: ignore[index]
    assert {"patient", "knowledge", "derived"} == {entry.kind for entry in reachable}


def test_expression_is_fast() -> None:
    profile = call_genome(shared_data("pgx", "getrm", "genotypes.vcf.gz"), sample="NA18526", absent="reference")
    drugs, ledger = [_drug("x", "CYP2D6", "inhibitor", "strong")], Ledger()
    express(profile, drugs, ledger=ledger)
    start = time.perf_counter()
    for _ in range(100):
        express(profile, drugs, ledger=ledger)

    assert (time.perf_counter() - start) / 100 < 0.002
