"""A stranger adds a drug: copy the template, fill it, and a recommendation includes it. No line of code changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cases import AS_OF, read, record
from posologist.core.errors import KnowledgeError
from posologist.core.settings import Settings
from posologist.knowledge.check import check_folders, check_knowledge
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.recommend.order import screen_order
from posologist.recommend.pipeline import recommend
from posologist.study.cases import run_cases

TEMPLATE = Path(__file__).resolve().parents[1] / "docs" / "template-drug.toml"
DRUG = "strangopril"


def filled(text: str) -> str:
    """The template as a stranger would fill it for an invented ACE inhibitor."""
    text = text.replace("examplol", DRUG).replace("Exampla", "Strango").replace("exampalol", "strangoprill")
    changes = {
        r'^name = .*$': f'name = "{DRUG}"',
        r"^synonyms = .*$": f'synonyms = ["{DRUG} maleate"]',
        r"^pharmacological_class = .*$": 'pharmacological_class = "ACE inhibitor"',
        r"^classes = .*$": 'classes = ["antihypertensive", "ACE inhibitor", "RAAS blocker"]',
        r"^allergy_groups = .*$": 'allergy_groups = ["ACE inhibitor"]',
        r"^boxed_warnings = .*$": 'boxed_warnings = ["fetal_toxicity"]',
    }  # fmt: skip
    for pattern, line in changes.items():
        text, count = re.subn(pattern, line, text, count=1, flags=re.MULTILINE)
        assert count == 1, pattern
    text = re.sub(r"^contraindications = \[.*?^\]", CONTRAINDICATIONS, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^pregnancy = .*$", PREGNANCY, text, flags=re.MULTILINE)
    text = re.sub(r"^roles = \[.*?^\]", "roles = []", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^gene_effects = \[.*?^\]", "gene_effects = []", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^stopping = .*$", "", text, flags=re.MULTILINE)
    return text.replace('{ name = "asthma"', '{ name = "angioedema"').replace(
        'dx = ["asthma"]', 'dx = ["angioedema_history"]'
    )


CONTRAINDICATIONS = (
    'contraindications = [\n  { code = "angioedema_history", when = "dx(angioedema_history)", level = "absolute", '
    f'text = "angioedema", source = "{DRUG}-label", status = "verified" }},\n]'
)
PREGNANCY = (
    f'pregnancy = {{ when = "pregnant", action = "contraindicated", '
    f'text = "harms the unborn child", source = "{DRUG}-label", status = "verified" }}'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of facts with the stranger's drug."""
    (tmp_path / "drugs").mkdir()
    (tmp_path / "drugs" / f"{DRUG}.toml").write_text(filled(TEMPLATE.read_text(encoding="utf-8")), encoding="utf-8")
    return tmp_path


@pytest.fixture
def with_stranger(folder: Path) -> Knowledge:
    """The facts of the package with the stranger's drug."""
    return load_knowledge(folder)


def test_the_filled_template_passes_the_check(folder: Path) -> None:
    found = [p for p in check_folders(folder) if DRUG in str(p)]

    assert [str(p) for p in found if p.severity == "error"] == []


def test_the_stranger_leaves_the_rest_as_it_was(with_stranger: Knowledge) -> None:
    before = {str(p) for p in check_knowledge(load_knowledge())}

    assert {str(p) for p in check_knowledge(with_stranger) if p.severity == "error"} <= before


def test_its_worked_cases_agree(with_stranger: Knowledge) -> None:
    results = list(run_cases(with_stranger, [with_stranger.drug(DRUG)]))

    assert results
    assert all(r.agrees for r in results), [r for r in results if not r.agrees]


def test_a_recommendation_includes_it(with_stranger: Knowledge) -> None:
    document = recommend(read(record()), "hypertension", knowledge=with_stranger, settings=Settings(as_of=AS_OF))

    shown = {s.drug for o in document.options for s in o.plan.start}
    equal = " ".join(e.text for o in document.options for e in o.equivalents)
    assert DRUG in shown or DRUG in equal


def test_its_contraindication_holds_it_back(with_stranger: Knowledge) -> None:
    document = recommend(
        read(record(problems=["I10", "T78.3XXA"])), "hypertension", knowledge=with_stranger,
        settings=Settings(as_of=AS_OF),
    )  # fmt: skip

    assert DRUG in {r.drug for r in document.ruled_out}


def test_rules_about_its_class_reach_it(with_stranger: Knowledge) -> None:
    """Never an ACE inhibitor with an ARB, though no file names this pair."""
    document = screen_order(
        read(record()), [f"{DRUG} 5 mg po daily", "losartan 50 mg po daily"], knowledge=with_stranger,
        settings=Settings(as_of=AS_OF),
    )  # fmt: skip

    assert any(
        {DRUG, "losartan"} <= set(f.drugs) and f.severity in ("serious", "contraindicated") for f in document.findings
    )


def test_its_brand_and_its_salt_are_recognised(with_stranger: Knowledge) -> None:
    for name in ("Strango 5 mg po daily", f"{DRUG} maleate 5 mg po daily", "strangoprill 5 mg po daily"):
        document = screen_order(read(record()), [name], knowledge=with_stranger, settings=Settings(as_of=AS_OF))
        assert document.drugs == (DRUG,)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('status = "verified"', 'status = "surely"'),
        ("start = 5,", "start = 50,"),
        ('indication = "hypertension"', 'inication = "hypertension"'),
        (f'source = "{DRUG}-label"', 'source = "nowhere"'),
        ("dx(angioedema_history)", "dx(angioedema_histry)"),
        ("crcl >= 10", "crcl >= "),
    ],
)
def test_a_mistake_of_the_stranger_is_named(folder: Path, old: str, new: str) -> None:
    path = folder / "drugs" / f"{DRUG}.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")

    problems = [p for p in check_folders(folder) if p.severity == "error"]

    assert any(DRUG in str(p) for p in problems)


def test_a_file_that_is_no_toml_is_refused_by_name(folder: Path) -> None:
    (folder / "drugs" / f"{DRUG}.toml").write_text("id = [", encoding="utf-8")

    with pytest.raises(KnowledgeError, match=DRUG):
        load_knowledge(folder)
