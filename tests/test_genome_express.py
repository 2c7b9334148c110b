"""Co-medication changes what the genes give; what was not tested stays unknown."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.core.drug import Drug, Role
from posologist.core.errors import KnowledgeError
from posologist.core.evidence import Ledger
from posologist.core.genotype import DiplotypeCandidate, ExpressedPhenotype, GeneCall, GeneticProfile, Versions
from posologist.core.situation import KnownFact, Situation
from posologist.genome.document import call_genome
from posologist.genome.express import TESTED, express
from posologist.knowledge.genes import GENES_FOLDER, _load, load_gene
from reading import knowledge


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


def test_a_laboratorys_phenotype_without_score_is_converted_where_every_score_of_it_gives_the_same(
    tmp_path: Path,
) -> None:
    def under(strength: str, phenotype: str) -> str | None:
        profile = _profile(tmp_path, f"CYP2D6\t\t{phenotype}")
        return _cyp2d6(profile, _drug("x", "CYP2D6", "inhibitor", strength)).clinical

    assert under("strong", "Normal Metabolizer") == "Poor Metabolizer"
    assert under("moderate", "Normal Metabolizer") == "Intermediate Metabolizer"
    assert under("moderate", "Intermediate Metabolizer") == "Intermediate Metabolizer"
    assert under("moderate", "Poor Metabolizer") == "Poor Metabolizer"
    assert under("moderate", "Ultrarapid Metabolizer") is None
    assert under("strong", "Indeterminate") == "Poor Metabolizer"
    assert under("moderate", "Indeterminate") == "Indeterminate"


@pytest.mark.parametrize(
    ("line", "enzyme", "role", "strength", "clinical"),
    [
        ("CYP2D6\t*1/*4", "CYP2D6", "inhibitor", "strong", "Poor Metabolizer"),  # paroxetine
        ("CYP2D6\t*1/*1", "CYP2D6", "inhibitor", "moderate", "Intermediate Metabolizer"),  # duloxetine
        ("CYP2D6\t*1xN/*4", "CYP2D6", "inhibitor", "strong", "Poor Metabolizer"),  # open, and poor in any case
        ("CYP2D6\t*1xN/*4", "CYP2D6", "inhibitor", "moderate", None),
        ("CYP2D6\t*1x≥3/*1", "CYP2D6", "inhibitor", "moderate", None),  # 2 or more
        ("CYP2D6\t*1/*22", "CYP2D6", "inhibitor", "moderate", "Indeterminate"),
        ("CYP2D6\t*1/*1", "CYP2D6", "inducer", "strong", "Normal Metabolizer"),
        ("CYP2C19\t*17/*17", "CYP2C19", "inhibitor", "strong", "Poor Metabolizer"),  # fluvoxamine
        ("CYP2C19\t*17/*17", "CYP2C19", "inhibitor", "moderate", "Rapid Metabolizer"),
        ("CYP2C19\t*1/*17", "CYP2C19", "inhibitor", "moderate", "Normal Metabolizer"),
        ("CYP2C19\t*1/*1", "CYP2C19", "inhibitor", "moderate", "Intermediate Metabolizer"),
        ("CYP2C19\t*1/*2", "CYP2C19", "inhibitor", "moderate", "Poor Metabolizer"),
        ("CYP2C19\t*1/*1", "CYP2C19", "inhibitor", "weak", "Normal Metabolizer"),
        ("CYP2C19\t*1/*12", "CYP2C19", "inhibitor", "moderate", "Indeterminate"),
        ("CYP2C19\t*1/*1 or *2/*2", "CYP2C19", "inhibitor", "strong", "Poor Metabolizer"),
        ("CYP2C19\t*1/*1 or *2/*2", "CYP2C19", "inhibitor", "moderate", None),
        ("CYP2C19\t*2/*2", "CYP2C19", "inducer", "strong", "Poor Metabolizer"),
        ("CYP2C9\t*1/*1", "CYP2C9", "inhibitor", "moderate", "Intermediate Metabolizer"),  # fluconazole
        ("CYP2C9\t*1/*3", "CYP2C9", "inhibitor", "moderate", "Poor Metabolizer"),
        ("CYP3A4\t*1/*1", "CYP3A4", "inhibitor", "strong", "Poor Metabolizer"),
        ("CYP3A5\t*1/*3", "CYP3A4", "inhibitor", "strong", "Intermediate Metabolizer"),
    ],
)
def test_published_conversions(
    tmp_path: Path, line: str, enzyme: str, role: str, strength: str, clinical: str | None
) -> None:
    gene = line.split("\t")[0]
    found = express(_profile(tmp_path, line), [_drug("x", enzyme, role, strength)], ledger=Ledger())
    shown = found.genes[gene]  # type: ignore[index]

    assert shown.clinical == clinical
    assert strength == "weak" or f"x is a {strength} {enzyme} {role}" in shown.reason


def test_inducers_are_named_and_their_size_is_not_invented(tmp_path: Path) -> None:
    found = express(
        _profile(tmp_path, "CYP2C19\t*1/*2"), [_drug("rifampicin", "CYP2C19", "inducer", "strong")], ledger=Ledger()
    )
    gene = found.genes["CYP2C19"]  # type: ignore[index]

    assert gene.clinical == gene.genetic == "Intermediate Metabolizer"
    assert "not agreed on" in gene.reason


def test_an_inhibitor_outweighs_an_inducer_and_both_are_named(tmp_path: Path) -> None:
    drugs = [
        _drug("rifampicin", "CYP2C19", "inducer", "strong"),
        _drug("fluvoxamine", "CYP2C19", "inhibitor", "strong"),
    ]
    gene = express(_profile(tmp_path, "CYP2C19\t*1/*1"), drugs, ledger=Ledger()).genes["CYP2C19"]  # type: ignore[index]

    assert gene.clinical == "Poor Metabolizer"
    assert "fluvoxamine" in gene.reason
    assert "rifampicin" in gene.reason


def test_genes_without_a_rule_keep_the_genetic_phenotype_and_say_why(tmp_path: Path) -> None:
    drug = _drug("x", "TPMT", "inhibitor", "strong")
    gene = express(_profile(tmp_path, "TPMT\t*1/*3A"), [drug], ledger=Ledger()).genes["TPMT"]  # type: ignore[index]

    assert gene.clinical == gene.genetic == "Intermediate Metabolizer"
    assert "no published rule" in gene.reason


def _patient(ledger: Ledger, facts: dict[str, float | bool | str], conditions: tuple[str, ...]) -> Situation:
    key = ledger.add("patient", "a fact of the record", source="test")
    return Situation(
        patient_id="test",
        as_of=date(2026, 11, 20),
        facts={name: KnownFact(value=value, because=key) for name, value in facts.items()},
        conditions=dict.fromkeys(conditions, key),
        problem_list_given=True,
        medication_list_given=True,
        allergy_list_given=True,
    )


def _in(
    facts: dict[str, float | bool | str], conditions: tuple[str, ...], tmp_path: Path, line: str, *drugs: Drug
) -> ExpressedPhenotype:
    ledger = Ledger()
    patient = _patient(ledger, facts, conditions)
    shown = express(_profile(tmp_path, line), drugs, ledger=ledger, knowledge=knowledge(), situation=patient)
    return shown.genes[line.split("\t")[0]]  # type: ignore[index]


@pytest.mark.parametrize(
    ("line", "facts", "conditions", "clinical", "score", "said"),
    [
        ("CYP2D6\t*1/*1", {"child_pugh": "C"}, ("liver_cirrhosis",), "Intermediate Metabolizer", 0.54, "73 %"),
        ("CYP2D6\t*4/*4", {"child_pugh": "C"}, ("liver_cirrhosis",), "Poor Metabolizer", 0.0, "73 %"),
        ("CYP2D6\t*1/*1", {"child_pugh": "B"}, ("liver_cirrhosis",), "Normal Metabolizer", 2.0, "no size is agreed on"),
        ("CYP2D6\t*1/*1", {}, ("liver_cirrhosis",), "Normal Metabolizer", 2.0, "child_pugh is not known"),
        ("CYP2D6\t*1/*1", {"child_pugh": "C"}, (), "Normal Metabolizer", 2.0, ""),
        ("CYP2D6\t*1/*1", {"pregnant": True}, (), "Normal Metabolizer", 2.0, "48 %"),
        ("CYP2D6\t*1/*1", {"egfr": 25.0}, (), "Normal Metabolizer", 2.0, "kidney"),
        ("CYP2D6\t*1/*1", {"egfr": 90.0}, (), "Normal Metabolizer", 2.0, ""),
        ("CYP2C19\t*1/*17", {"child_pugh": "C"}, ("liver_cirrhosis",), "Poor Metabolizer", None, "92 %"),
        ("CYP2C9\t*1/*1", {"child_pugh": "C"}, ("liver_cirrhosis",), "Normal Metabolizer", 2.0, "unchanged"),
    ],
)
def test_organ_function_changes_what_has_a_number_and_is_named_where_it_has_none(
    tmp_path: Path,
    line: str,
    facts: dict[str, float | bool | str],
    conditions: tuple[str, ...],
    clinical: str,
    score: float | None,
    said: str,
) -> None:
    shown = _in(facts, conditions, tmp_path, line)

    assert (shown.clinical, shown.clinical_score) == (clinical, score if score is None else pytest.approx(score))
    assert said in shown.reason
    assert bool(said) == bool(shown.reason)


def test_the_deepest_change_decides_and_they_are_not_multiplied(tmp_path: Path) -> None:
    drug = _drug("x", "CYP2D6", "inhibitor", "moderate")
    shown = _in({"child_pugh": "C"}, ("liver_cirrhosis",), tmp_path, "CYP2D6\t*1/*1", drug)

    assert shown.clinical_score == pytest.approx(0.54)
    assert "x is a moderate CYP2D6 inhibitor" in shown.reason


_LINES = st.sampled_from(
    [
        *(f"CYP2D6\t{d}" for d in ("*1/*1", "*1/*4", "*1/*1x2", "*10/*41", "*4/*4", "*1xN/*4", "*1/*22")),
        *(f"CYP2C19\t{d}" for d in ("*1/*1", "*17/*17", "*1/*17", "*1/*2", "*2/*2", "*1/*9", "*1/*12")),
        *(f"CYP2C9\t{d}" for d in ("*1/*1", "*1/*2", "*2/*3")),
        *(f"CYP3A4\t{d}" for d in ("*1/*1", "*1/*22")),
    ]
)
_ACTING = st.lists(
    st.tuples(
        st.sampled_from(["CYP2D6", "CYP2C19", "CYP2C9", "CYP3A4"]),
        st.sampled_from(["inhibitor", "inducer"]),
        st.sampled_from(["strong", "moderate", "weak"]),
    ),
    max_size=4,
)


@given(_LINES, _ACTING, st.randoms(use_true_random=False))
def test_medicines_never_raise_and_their_order_does_not_matter(
    line: str, acting: list[tuple[str, str, str]], draw: Random
) -> None:
    gene = line.split("\t")[0]
    drugs = [_drug(f"drug-{n}", *role) for n, role in enumerate(acting)]
    with TemporaryDirectory() as folder:
        profile = _profile(Path(folder), line)
    mixed = list(drugs)
    draw.shuffle(mixed)
    shown = express(profile, drugs, ledger=Ledger()).genes[gene]  # type: ignore[index]
    facts = load_gene(gene)
    ladder = (facts.phenoconversion and facts.phenoconversion.ladder) or tuple(r.phenotype for r in facts.score_rules)

    assert shown == express(profile, mixed, ledger=Ledger()).genes[gene]  # type: ignore[index]
    if shown.genetic in ladder and shown.clinical in ladder:
        assert ladder.index(shown.clinical) <= ladder.index(shown.genetic)
    if not any(enzyme == gene and strength != "weak" for enzyme, _, strength in acting):
        assert (shown.clinical, shown.reason) == (shown.genetic, "")


@pytest.mark.parametrize("gene", ["CYP2D6", "CYP2C19", "CYP2C9", "CYP3A4", "CYP2B6"])
def test_what_was_not_called_stays_not_called(tmp_path: Path, gene: str) -> None:
    profile = _profile(tmp_path, f"{gene}\tNone", "TPMT\t*1/*1")
    shown = express(profile, [_drug("x", gene, "inhibitor", "strong")], ledger=Ledger()).genes.get(gene)  # type: ignore[call-overload]

    assert shown is None or shown.clinical is None


def test_alleles_of_some_candidates_only_are_unknown() -> None:
    def candidate(diplotype: str, share: float) -> DiplotypeCandidate:
        return DiplotypeCandidate(diplotype=diplotype, probability=share, phenotype="Intermediate Metabolizer")

    call = GeneCall(
        called=True,
        diplotype="*1/*2",
        candidates=(candidate("*1/*2", 0.6), candidate("*1/*3", 0.35), candidate("*2/*3", 0.05)),
        phenotype="Intermediate Metabolizer",
        evidence_state="called",
        because=("patient:test",),  # type: ignore[arg-type]
    )
    versions = Versions(posologist="test", knowledge="test")
    profile = GeneticProfile(sample="", build="", genes={"CYP2C9": call}, evidence={}, versions=versions)  # type: ignore[dict-item]
    shown = express(profile, [], ledger=Ledger())
    known = {allele: shown.carries("CYP2C9", allele) for allele in ("*1", "*2", "*3", "*5", "*2/*3")}  # type: ignore[arg-type]

    assert known == {"*1": True, "*2": None, "*3": None, "*5": False, "*2/*3": False}


def test_rules_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "CYP2D6"
    shutil.copytree(GENES_FOLDER / "CYP2D6", place)
    text = (place / "phenoconversion.toml").read_text(encoding="utf-8")
    wrong = {
        "needs a role": text.replace('strength = "strong", factor = 0.0', "factor = 0.0", 1),
        "is not defined": text.replace('source = "wadelius-1997"', 'source = "nobody-1900"', 1),
        "less than or equal to 1": text.replace("factor = 0.5", "factor = 1.5", 1),
        "raises": text.replace("factor = 0.5", 'becomes = { "Poor Metabolizer" = "Normal Metabolizer" }', 1),
        "not on the ladder": text.replace("factor = 0.5", 'becomes = { "Poor Metabolizer" = "Very Poor" }', 1),
    }
    for message, changed in wrong.items():
        (place / "phenoconversion.toml").write_text(changed, encoding="utf-8")
        _load.cache_clear()
        with pytest.raises(KnowledgeError, match=message):
            load_gene("CYP2D6", tmp_path)

    assert all(changed != text for changed in wrong.values())


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
