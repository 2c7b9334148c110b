"""Gene guidance: every coded recommendation is reproduced, and what is undecided is shown as such."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import sys
from datetime import date
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from posologist.core.genotype import ExpressedPhenotype, GeneticProfile, PhenotypeProfile
from posologist.core.guidance import GuidanceDocument, GuidanceItem
from posologist.core.situation import CurrentDrug, Situation
from posologist.core.values import DrugId
from posologist.genome.document import call_genome
from posologist.genome.express import TESTED
from posologist.genome.guidance import GeneSubject, guidance_document
from posologist.knowledge.expression import expression
from posologist.knowledge.genes import callable_genes, load_gene, outside_genes
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.knowledge.statements import NOT_READABLE
from shared import shared_data


@lru_cache(maxsize=1)
def _knowledge() -> Knowledge:
    return load_knowledge()


@lru_cache(maxsize=1)
def _tool() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "restate_guidance.py"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location("restate_guidance", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["restate_guidance"] = module
    spec.loader.exec_module(module)
    return module


def _keys() -> ModuleType:
    return sys.modules[_tool().key_of.__module__]


def _profile(tmp_path: Path, *lines: str) -> GeneticProfile:
    path = tmp_path / "outside.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return call_genome(None, outside_calls=path)


def _situation(**changes: Any) -> Situation:
    base = Situation(
        patient_id="p",
        as_of=date(2026, 11, 20),
        facts={},
        conditions={},
        problem_list_given=True,
        medication_list_given=True,
        allergy_list_given=True,
    )
    return base.model_copy(update=changes)


def _document(profile: GeneticProfile, *drugs: str, situation: Situation | None = None) -> GuidanceDocument:
    names = tuple(DrugId(drug) for drug in drugs)
    return guidance_document(profile, names, knowledge=_knowledge(), situation=situation)


def _asked(document: GuidanceDocument, body: str, drug: str) -> set[str]:
    return {
        i.action for i in document.guidance if i.body == body and i.drug == drug and i.decision == "applies"
    }  # fmt: skip


class _Row(GeneSubject):
    """The person of one coded row; the facts of its population are true."""

    def __init__(self, profile: PhenotypeProfile, population: str) -> None:
        super().__init__(profile)
        self._population = population

    def fact(self, name: str) -> Any:
        if name == "age":
            return 10 if self._population == "pediatrics" else 40
        if name == "starting":
            return ">3" not in self._population
        if name == NOT_READABLE:
            return "no alternatives" in self._population or super().fact(name)
        return super().fact(name)

    def query(self, function: str, arguments: tuple[Any, ...]) -> Any:
        if function == "dx":
            shown = {"CVI ACS PCI": "acs", "CVI non-ACS non-PCI": "peripheral_vascular_disease", "NVI": "stroke"}
            return arguments[0] == shown.get(self._population, "acs")
        if function == "taken":
            return ">3" in self._population
        if function == "allergy":
            return False
        return super().query(function, arguments)


_PHENOTYPES = {
    "CYP2D6": ((0, "Poor"), (1, "Intermediate"), (2.25, "Normal"), (99, "Ultrarapid")),
    "CYP2C9": ((0.5, "Poor"), (1.5, "Intermediate"), (99, "Normal")),
    "DPYD": ((0.5, "Poor"), (1.5, "Intermediate"), (99, "Normal")),
}


def _expressed(tool: ModuleType, gene: str, key: str) -> tuple[ExpressedPhenotype, tuple[str, ...]]:
    score = _keys().score_of(key)
    clinical = None if key == "No Result" or key.endswith(("positive", "negative")) else key
    alleles: tuple[str, ...] = ()
    if score is not None:
        clinical = next(name for limit, name in _PHENOTYPES[gene] if score <= limit) + " Metabolizer"
    if key == "n/a":
        clinical = "Indeterminate"
    if key.startswith("diplotype"):
        diplotype = key.removeprefix("diplotype ")
        clinical = "Normal Metabolizer" if diplotype == "*1/*1" else "Intermediate Metabolizer"
        alleles = (*diplotype.split("/"), diplotype)
    if _keys().positive(key):
        alleles = tuple(key.split()[:-1:2])
    if _keys().OWN_SCORE.fullmatch(key):
        pair = _dpwg_dpyd()[key]
        score, clinical, alleles = float(key.split()[0]), None, (*pair.split("/"), pair)
    if key.endswith(" negative"):
        alleles = ("*07:02",)
    return (
        ExpressedPhenotype(
            gene=gene,  # type: ignore[arg-type]
            diplotype=None,
            evidence_state="called",
            genetic=clinical,
            clinical=clinical,
            clinical_score=score,
            because=("patient:x",),  # type: ignore[arg-type]
        ),
        alleles,
    )


@lru_cache(maxsize=1)
def _dpwg_dpyd() -> dict[str, str]:
    path = shared_data("pgx", "phenotype", "older", "DPYD.dpwg.v3.0.1.json.gz")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return {row["lookupkey"]: row["diplotype"] for row in json.load(stream)["diplotypes"]}


def _subject(tool: ModuleType, keys: dict[str, str], population: str) -> _Row:
    parts = {gene: _expressed(tool, gene, key) for gene, key in keys.items()}
    tested = tuple(gene for gene, key in keys.items() if key != "No Result")
    alleles: dict[Any, tuple[str, ...]] = {
        gene: alleles for gene, (_, alleles) in parts.items() if keys[gene] != "No Result"
    }
    profile = PhenotypeProfile(
        genes={gene: part for gene, (part, _) in parts.items() if keys[gene] != "No Result"},  # type: ignore[misc]
        alleles={**alleles, TESTED: tested},
    )
    return _Row(profile, population)


def test_every_coded_recommendation_is_reproduced_by_the_statements() -> None:
    tool, knowledge = _tool(), _knowledge()
    path = shared_data("pgx", "guidance", "guidelines_2024-05.jsonl.gz")
    checked = 0
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            document = json.loads(line)
            body = document["guideline"]["source"]
            for row in document["recommendations"]:
                text = tool.plain(row["text"]["html"])
                keys = {gene: tool.key_of(value) for gene, value in row["lookupKey"].items()}
                if text.startswith("xN is not"):
                    continue
                for chemical in row["relatedChemicals"]:
                    drug = str(knowledge.drug(chemical["name"]).id)
                    asked = _asked_for(tool, body, drug, keys, text)
                    wanted = {(o[0], o[1]) for o in asked if not o[4]}
                    found = _found(tool, knowledge, body, drug, keys, str(row["population"]))
                    assert wanted <= found, (drug, keys, row["population"], wanted, found)
                    allowed = {(o[0], o[1]) for o in asked}
                    if row["population"] == "CBZ-no alternatives":  # no record says so: the stricter row holds too
                        allowed |= {("contraindicated", None), ("avoid", None)}
                    if any(" and " in key for key in keys.values()):  # the rows of each allele alone hold too
                        allowed |= {("alternative", None), ("avoid", None)}
                    assert found <= allowed, (drug, keys, found, wanted)
                    checked += 1
    print(checked, "coded recommendations reproduced")

    assert checked == 2525


def _asked_for(tool: ModuleType, body: str, drug: str, keys: dict[str, str], text: str) -> list[Any]:
    """Outcomes of a row; of people intermediate for both genes of the thiopurines, as CPIC changed it in 2024."""
    both = {"Intermediate Metabolizer", "Possible Intermediate Metabolizer"}
    if body == "CPIC" and set(keys) == {"TPMT", "NUDT15"} and set(keys.values()) <= both:
        return [("start", 50.0, "percent", "", "")]
    return list(tool.outcomes(body, text))


def test_rows_of_the_release_of_2025_agree() -> None:
    tool, knowledge = _tool(), _knowledge()
    checked = 0
    with gzip.open(shared_data("pgx", "guidance", "guidance_v3.1_examples.jsonl.gz"), "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            body = row["source"].split()[0]
            if (body, row["drug"]) == ("CPIC", "metoprolol"):  # restated by hand
                continue
            for part in row["lookupKey"]:
                keys = {gene: tool.key_of(key) for gene, key in part.items()}
                drug = str(knowledge.drug(row["drug"]).id)
                found = _found(tool, knowledge, body, drug, keys, str(row["population"]))
                asked = _asked_for(tool, body, drug, keys, tool.plain(row["recommendation"]))
                wanted = {(o[0], o[1]) for o in asked if not o[4]}
                assert wanted <= found, (drug, keys, wanted, found)
                checked += 1
    print(checked, "rows of the later release reproduced")

    assert checked > 200


def _found(
    tool: ModuleType, knowledge: Knowledge, body: str, drug: str, keys: dict[str, str], population: str
) -> set[tuple[str, float | None]]:
    subject = _subject(tool, keys, population)
    genes = "-".join(sorted(keys, key=tool.GENES.index))
    found = set()
    for statement in knowledge.statements_about(drug, "gene"):  # type: ignore[arg-type]
        stem = f"{body.lower()}.{drug}.{genes}."
        if statement.id.startswith(stem) and expression(statement.when).match(subject).truth:
            found.add((statement.action, statement.value))
    return found


def test_every_gene_result_reaches_a_recommendation_or_a_stated_silence(tmp_path: Path) -> None:
    profile = call_genome(shared_data("pgx", "getrm", "genotypes.vcf.gz"), sample="NA18526", absent="reference")
    document = guidance_document(profile, knowledge=_knowledge(), situation=_situation())

    said = {item.drug for item in document.guidance}
    silent = {item.drug for item in document.no_guidance}
    named = {d for s in _knowledge().statements if s.kind == "gene" for d in s.about}
    assert said | silent == named


def test_every_result_of_every_gene_gets_a_row_or_a_stated_silence_from_each_guideline(tmp_path: Path) -> None:
    for symbol in (*callable_genes(), *outside_genes()):
        drugs = {d for s in _knowledge().statements if s.kind == "gene" and symbol in s.when for d in s.about}
        for phenotype in load_gene(symbol).phenotypes:
            document = _document(_profile(tmp_path, f"{symbol}\t\t{phenotype}"), *sorted(drugs))
            said = {(i.drug, i.body) for i in document.guidance}
            silent = {(n.drug, n.why.split(":")[0]) for n in document.no_guidance}
            sources = {(d, s.source) for d in drugs for s in _knowledge().statements_about(DrugId(d), "gene")}
            assert {(d, str(source).split("-")[0].upper()) for d, source in sources} <= said | silent


def test_gene_of_a_second_guideline_that_is_missing_is_said(tmp_path: Path) -> None:
    document = _document(_profile(tmp_path, "CYP2C19\t*2/*2"), "imipramine")

    assert "percent" in _asked(document, "DPWG", "imipramine")
    assert "DPWG: cannot be decided without CYP2D6" in {n.why for n in document.no_guidance}


def test_poor_cyp2c19_after_pci_avoids_clopidogrel_by_both_bodies(tmp_path: Path) -> None:
    profile = _profile(tmp_path, "CYP2C19\t*2/*2")
    situation = _situation(conditions={"acs": "patient:acs"})
    document = _document(profile, "clopidogrel", situation=situation)

    assert _asked(document, "CPIC", "clopidogrel") == {"avoid"}
    assert _asked(document, "DPWG", "clopidogrel") == {"avoid"}
    assert all(item.level == "Strong" for item in document.guidance if item.body == "CPIC")


def test_clopidogrel_rows_follow_the_patients_disease(tmp_path: Path) -> None:
    profile = _profile(tmp_path, "CYP2C19\t*1/*2")

    def cpic(**conditions: str) -> set[str]:
        situation = _situation(conditions=conditions)
        return _asked(
            _document(profile, "clopidogrel", situation=situation),
            "CPIC",
            "clopidogrel",
        )

    assert cpic(acs="patient:x") == {"avoid"}
    assert cpic(peripheral_vascular_disease="patient:x") == {"no recommendation"}
    assert cpic(stroke="patient:x") == {"alternative"}
    assert cpic() == {"avoid"}


def test_without_a_patient_every_population_row_is_undecided_and_shown(tmp_path: Path) -> None:
    document = _document(_profile(tmp_path, "CYP2C19\t*2/*2"), "clopidogrel")
    rows = [item for item in document.guidance if item.body == "CPIC"]

    assert len(rows) == 3
    assert all(item.decision == "undecided" and item.missing for item in rows)


def test_gene_that_was_not_called_gives_no_guidance_and_says_so(tmp_path: Path) -> None:
    document = _document(_profile(tmp_path, "CYP2D6\t*1/*1"), "clopidogrel", "lisinopril")

    assert not document.guidance
    assert {(str(n.drug), n.genes) for n in document.no_guidance} == {("clopidogrel", ("CYP2C19",)), ("lisinopril", ())}


def test_a_laboratorys_phenotype_alone_reaches_the_guidance(tmp_path: Path) -> None:
    document = _document(_profile(tmp_path, "CYP2D6\t\tPoor Metabolizer"), "codeine", "metoprolol")

    assert _asked(document, "CPIC", "codeine") == {"avoid"}
    assert _asked(document, "CPIC", "metoprolol") == {"alternative", "reduce"}


def test_thiopurines_on_tpmt_alone_are_decided_without_nudt15(tmp_path: Path) -> None:
    document = _document(_profile(tmp_path, "TPMT\t*3A/*3A"), "azathioprine")

    assert _asked(document, "CPIC", "azathioprine") == {"alternative", "start"}
    assert _asked(document, "DPWG", "azathioprine") == {"alternative", "start"}


def test_hla_alleles_forbid_abacavir_and_their_absence_allows_it(tmp_path: Path) -> None:
    carrier = _document(_profile(tmp_path, "HLA-B\t*57:01/*07:02"), "abacavir")
    other = _document(_profile(tmp_path, "HLA-B\t*08:01/*07:02"), "abacavir")
    untested = _document(_profile(tmp_path, "CYP2D6\t*1/*1"), "abacavir")

    assert _asked(carrier, "CPIC", "abacavir") == _asked(carrier, "DPWG", "abacavir") == {"contraindicated"}
    assert _asked(other, "CPIC", "abacavir") == {"standard"}
    assert not _asked(untested, "CPIC", "abacavir")
    assert {i.decision for i in untested.guidance} == {"undecided"}


def test_computable_values_are_those_of_the_guideline(tmp_path: Path) -> None:
    profile = _profile(tmp_path, "CYP2D6\t*4/*4", "SLCO1B1\t*5/*5", "CYP2C9\t*3/*3", "VKORC1\t\t-1639 AA")
    names = ("vortioxetine", "atorvastatin", "siponimod", "warfarin", "propafenone")
    document = _document(profile, *names)
    values = {
        (i.drug, i.body, i.action, i.value.value, i.value.unit) for i in document.guidance if i.value is not None
    }  # fmt: skip

    assert ("vortioxetine", "CPIC", "start", 50.0, "percent") in values
    assert ("vortioxetine", "CPIC", "cap", 10.0, "mg/day") in values
    assert ("atorvastatin", "CPIC", "cap", 20.0, "mg/day") in values
    assert ("warfarin", "DPWG", "start", 60.0, "percent") in values
    assert ("warfarin", "DPWG", "start", 20.0, "percent") in values
    assert ("propafenone", "DPWG", "percent", 30.0, "percent") in values
    assert _asked(document, "DPWG", "siponimod") == {"avoid"}


def test_bodies_that_differ_are_both_kept_and_named(tmp_path: Path) -> None:
    document = _document(_profile(tmp_path, "CYP2D6\t*4/*4", "CYP2C19\t*1/*1"), "amitriptyline")

    assert {i.body for i in document.guidance} == {"CPIC", "DPWG"}
    assert _asked(document, "CPIC", "amitriptyline") == {"avoid", "start"}


def test_co_medication_changes_the_guidance(tmp_path: Path) -> None:
    current = (CurrentDrug(drug="paroxetine", text="paroxetine 20 mg", because="patient:p"),)  # type: ignore[arg-type]
    profile = _profile(tmp_path, "CYP2D6\t*1/*1")
    alone = _document(profile, "codeine", situation=_situation())
    with_it = _document(profile, "codeine", situation=_situation(current=current))

    assert _asked(alone, "CPIC", "codeine") == {"standard"}
    assert _asked(with_it, "CPIC", "codeine") == {"avoid"}


def test_document_keeps_its_promises(tmp_path: Path) -> None:
    profile = call_genome(shared_data("pgx", "getrm", "genotypes.vcf.gz"), sample="NA18526", absent="reference")
    document = guidance_document(profile, knowledge=_knowledge(), situation=_situation())
    text = document.model_dump_json(by_alias=True)

    assert GuidanceDocument.model_validate_json(text) == document
    assert all(str(key) in document.evidence for item in document.guidance for key in item.because)
    assert all(_cited(item, document) for item in document.guidance)


def _cited(item: GuidanceItem, document: GuidanceDocument) -> bool:
    sources = {document.evidence[str(key)].source for key in item.because}
    return any(source in {str(c) for c in _knowledge().citations} for source in sources)


def test_no_sentence_of_a_source_is_copied() -> None:
    path = shared_data("pgx", "guidance", "guidelines_2024-05.jsonl.gz")
    tool = _tool()
    ours = {
        re.sub(r" \((CPIC|DPWG|FDA label|FDA table)\)$", "", s.text.split(": ", 1)[1])
        for s in _knowledge().statements
        if s.kind == "gene"
    }
    long_ones = {text for text in ours if len(text.split()) > 5}
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        source = " ".join(
            tool.plain(r["text"]["html"]) for line in stream for r in json.loads(line)["recommendations"] if r["text"]
        )

    assert not {text for text in long_ones if text.lower() in source.lower()}
