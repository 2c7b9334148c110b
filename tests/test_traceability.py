"""Every number and every claim of every document reaches its leaves; planted violations are caught."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import Field

from patients import AS_OF, a_medicine, a_patient
from posologist.core.evaluation import EvaluationDocument
from posologist.core.evidence import Evidence
from posologist.core.exploration import ExplorationDocument
from posologist.core.fit import FitDocument
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.guidance import GuidanceDocument
from posologist.core.recommendation import Reason, Recommendation, Screening
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument, SimulationDocument
from posologist.core.values import Count, EvidenceKey, Value
from posologist.genome.document import call_genome
from posologist.genome.guidance import guidance_document
from posologist.knowledge.genes import callable_genes, load_gene, outside_genes
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.knowledge.models import load_model
from posologist.recommend.dose import dose_for, simulate_for
from posologist.recommend.order import screen_order
from posologist.recommend.pipeline import recommend
from posologist.serve.demo import founding_recommendation
from posologist.serve.explain import fault_below
from posologist.serve.profile_page import render_profile
from posologist.serve.report import render_html
from posologist.serve.table import print_screening, print_table
from posologist.study.founding import FoundingComparison, compare_with_published
from posologist.twin.events import parse_events
from posologist.twin.modelled import fit_document
from shared import shared_data
from tracing import evidence_faults, page_text, prose_faults, schema_faults, text_faults, tokens

DOCUMENTS = [
    Recommendation, Screening, GeneticProfile, GuidanceDocument, SimulationDocument, DoseDocument, FoundingComparison,
    FitDocument, EvaluationDocument, ExplorationDocument,
]  # fmt: skip
SETTINGS = Settings(as_of=AS_OF)
INDICATIONS = [
    "hypertension", "depression", "atrial-fibrillation-stroke-prevention", "acs-pci-antiplatelet", "dyslipidaemia",
    "type-2-diabetes",
]  # fmt: skip


@lru_cache
def knowledge() -> Knowledge:
    return load_knowledge()


@lru_cache
def founding() -> Recommendation:
    return founding_recommendation(knowledge=knowledge())


@lru_cache
def recommended(indication: str) -> Recommendation:
    patient = a_patient(
        conditions=("hypertension", "type2_diabetes", "depression", "atrial_fibrillation"),
        medicines=(a_medicine("metoprolol", 50.0, per_day=2.0), a_medicine("omeprazole", 20.0)),
        sbp=155, dbp=97, heart_rate=70, weight=82, height=175, creatinine=1.0, potassium=4.3, sodium=140,
        total_cholesterol=205, hdl=45, ldl=132, hba1c=7.9,
    )  # fmt: skip
    return recommend(patient, indication, knowledge=knowledge(), settings=SETTINGS)


@lru_cache
def screened() -> Screening:
    patient = a_patient(medicines=(a_medicine("lisinopril", 10.0),), creatinine=2.4, potassium=5.3, weight=70)
    orders = ("spironolactone 25 mg once daily", "ibuprofen 400 mg three times daily", "frobnicate 3 mg")
    return screen_order(patient, orders, knowledge=knowledge(), settings=SETTINGS)


def fitted() -> FitDocument:
    model = load_model(Path(__file__).parents[1] / "examples" / "models" / "one_compartment.toml")
    tables = parse_events("ID,TIME,AMT,DV,WEIGHT\nA,0,100,.,130\nA,2,.,2.1,130\nA,9,.,1.0,130\n")
    return fit_document(model, tables, versions=Versions(posologist="1", knowledge=""))


def documents() -> list[Value]:
    patient = a_patient(weight=82, creatinine=1.0)
    return [
        founding(),
        screened(),
        dose_for(patient, "amlodipine", knowledge=knowledge(), settings=SETTINGS),
        simulate_for("amlodipine", regimen="5 mg orally once daily", knowledge=knowledge(), settings=SETTINGS),
        compare_with_published(founding()),
        fitted(),
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.__name__)
def test_every_numeric_field_of_a_schema_knows_why_or_is_declared(document: type[Value]) -> None:
    assert schema_faults(document) == []


@pytest.mark.parametrize("indication", INDICATIONS)
def test_every_claim_of_a_recommendation_reaches_leaves(indication: str) -> None:
    document = recommended(indication)

    assert evidence_faults(document) == []
    assert prose_faults(document) == []


def test_every_claim_of_every_kind_of_document_reaches_leaves() -> None:
    assert {type(d).__name__: evidence_faults(d) for d in documents() if evidence_faults(d)} == {}


def test_every_digit_in_prose_stands_in_its_evidence() -> None:
    assert {type(d).__name__: prose_faults(d) for d in documents() if prose_faults(d)} == {}


def test_every_number_on_the_page_stands_in_the_document() -> None:
    assert text_faults(page_text(render_html(founding())), founding()) == []


@pytest.mark.parametrize("indication", INDICATIONS)
def test_every_number_on_the_page_of_any_indication_stands_in_the_document(indication: str) -> None:
    document = recommended(indication)

    assert text_faults(page_text(render_html(document)), document) == []


def _demo_profile() -> GeneticProfile:
    folder = Path(str(files("posologist.serve.demo")))
    return call_genome(folder / "genome.vcf", outside_calls=folder / "outside-calls.tsv")


@lru_cache
def guided() -> tuple[GeneticProfile, GuidanceDocument]:
    profile = _demo_profile()
    return profile, guidance_document(profile, knowledge=knowledge())


def _report_faults(html: str, profile: GeneticProfile, guidance: GuidanceDocument) -> list[str]:
    """Numbers of a report's text that neither its documents nor the sources of their evidence hold."""
    named = {entry.source for entry in (*profile.evidence.values(), *guidance.evidence.values())}
    genes = [load_gene(symbol) for symbol in (*callable_genes(), *outside_genes())]
    held = [*knowledge().citations.values(), *(citation for gene in genes for citation in gene.citations)]
    cited = tokens(" ".join(f"{c.title} {c.where} {c.version} {c.licence}" for c in held if c.key in named))
    text = page_text(html)
    found = set(text_faults(text, profile)) & set(text_faults(text, guidance))
    return sorted(fault for fault in found if fault.split()[0] not in cited)


def test_every_number_on_the_report_of_a_profile_stands_in_its_documents() -> None:
    profile, guidance = guided()

    assert evidence_faults(profile) + evidence_faults(guidance) == []
    assert _report_faults(render_profile(profile, guidance, citations=knowledge().citations), profile, guidance) == []


@pytest.mark.parametrize("absent", ["missing", "reference"])
@pytest.mark.parametrize("sample", ["HG00111", "HG00436", "NA06991"])
def test_every_number_on_the_report_of_a_real_genome_stands_in_its_documents(sample: str, absent: str) -> None:
    vcf = shared_data("pgx", "getrm", "genotypes.vcf.gz")
    profile = call_genome(vcf, sample=sample, absent=absent)
    guidance = guidance_document(profile, knowledge=knowledge())

    assert _report_faults(render_profile(profile, guidance, citations=knowledge().citations), profile, guidance) == []


def test_a_free_digit_on_a_report_is_seen() -> None:
    profile, guidance = guided()
    html = render_profile(profile, guidance).replace("</main>", "<p>about 37.25 % improve</p></main>")

    assert _report_faults(html, profile, guidance) == ["37.25 is not in the document"]


def test_every_number_in_the_table_stands_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(founding())

    assert _without_counts(capsys.readouterr().out, founding()) == []


def test_every_number_in_a_screening_table_stands_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_screening(screened())

    assert _without_counts(capsys.readouterr().out, screened()) == []


def _without_counts(text: str, document: Value) -> list[str]:
    """Faults of a table's text, without the lengths of its lists: "Ruled out (21)", "and 8 more"."""
    lines = [line for line in text.splitlines() if not line.startswith(("Ruled out (", "Not checked (", "and "))]
    return text_faults("\n".join(lines), document)


_KEY = re.compile(r"\b[a-z]+(?:-[a-z]+)*-(?:(?:19|20)\d\d(?:-[a-z]+)?|guide-[ivx]+)\b")


def _cited(text: str) -> set[str]:
    """Keys under "References" in the docstrings of a module."""
    blocks = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, _DOCUMENTED)]
    return {key for block in blocks for key in _KEY.findall(block.partition("References\n")[2])}


_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef


@pytest.mark.parametrize("folder", ["twin", "study", "learn"])
def test_every_reference_of_a_docstring_is_defined(folder: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in Path(str(files("posologist"))).glob(f"{folder}/*.py")]
    cited = set().union(*map(_cited, texts))

    assert cited
    assert sorted(cited - set(knowledge().citations)) == []


def test_a_reference_without_definition_is_seen() -> None:
    assert _cited('"""One.\n\nReferences\n----------\nnobody-1900, page 3; nobody-1901-there\n"""') == {
        "nobody-1900", "nobody-1901-there",
    }  # fmt: skip


# Planted violations: each is seen.


class _WithBareNumber(Value):
    rank: Count
    reading: float


class _WithNestedBareNumber(Value):
    readings: dict[str, tuple[_WithBareNumber, ...]] = Field(default={})


def test_a_bare_number_in_a_schema_is_seen() -> None:
    assert schema_faults(_WithBareNumber) == ["_WithBareNumber.reading is a bare number"]
    assert schema_faults(_WithNestedBareNumber) == ["_WithBareNumber.reading is a bare number"]


def _planted(**changed: object) -> Recommendation:
    return founding().model_copy(update=changed)


def test_an_empty_because_is_seen() -> None:
    reason = Reason.model_construct(text="because I say so", because=())

    assert evidence_faults(_planted(assumptions=(reason,))) == ["assumptions[0]: because is empty"]


def test_a_dangling_key_is_seen() -> None:
    reason = Reason(text="a claim", because=(EvidenceKey("knowledge:nowhere"),))

    assert evidence_faults(_planted(assumptions=(reason,))) == [
        "assumptions[0]: knowledge:nowhere is not in the evidence"
    ]


def _with_evidence(**entries: Evidence) -> Recommendation:
    return _planted(evidence={**founding().evidence, **entries})


def test_evidence_that_rests_on_itself_is_seen() -> None:
    one = Evidence(kind="derived", text="one", because=(EvidenceKey("two"),))
    two = Evidence(kind="derived", text="two", because=(EvidenceKey("one"),))
    document = _with_evidence(one=one, two=two)

    assert "one rests on itself" in evidence_faults(document)
    assert fault_below(document.evidence, "one") == "'one' rests on itself"


def test_evidence_without_a_leaf_is_seen() -> None:
    document = _with_evidence(loose=Evidence(kind="derived", text="out of thin air"))

    assert evidence_faults(document) == ["loose is no leaf and rests on nothing"]
    assert fault_below(document.evidence, "loose") == "'loose' (derived) rests on nothing"


def test_a_leaf_without_a_source_is_seen() -> None:
    document = _with_evidence(mute=Evidence(kind="knowledge", text="everyone knows"))

    assert evidence_faults(document) == ["mute is no leaf and rests on nothing"]


def test_a_free_digit_in_prose_is_seen() -> None:
    first = founding().findings[0]
    changed = first.model_copy(update={"detail": "about 37.25 percent of patients improve"})

    assert "findings[0].detail: 37.25 has no source" in prose_faults(_planted(findings=(changed,)))


def test_a_free_digit_on_the_page_is_seen() -> None:
    html = render_html(founding()).replace("</main>", "<p>about 37.25 % improve</p></main>")

    assert text_faults(page_text(html), founding()) == ["37.25 is not in the document"]


def test_a_free_digit_in_the_table_is_seen() -> None:
    assert text_faults("Plan 1 works in 37.25 % of patients", founding()) == ["37.25 is not in the document"]


@pytest.mark.parametrize(
    "text, found",
    [
        ("CYP2D6 *4/*4, HLA-B, SLCO1B1 and -1639 AG are names", set()),
        ("give 5 mg, at most 1,000 mg", {"5", "1000"}),
        ("−6.47 (−11.9 to −0.37)", {"6.47", "11.9", "0.37"}),
        ("after 2-4 weeks", {"2", "4"}),
    ],
)
def test_numbers_are_told_from_names(text: str, found: set[str]) -> None:
    assert tokens(text) == found
