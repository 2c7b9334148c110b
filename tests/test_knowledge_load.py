"""The knowledge base loads whole and fast, finds drugs by every name, and refuses what is wrong, saying where."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posologist.core.errors import InputError, KnowledgeError
from posologist.core.values import DrugId
from posologist.knowledge.load import Knowledge, load_knowledge

DRUG = """
id = "examplol"
name = "examplol"
pharmacological_class = "beta-blocker"
classes = ["beta-blocker"]
depth = "known"
"""


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return load_knowledge()


def folder(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return tmp_path


def test_its_version_names_a_date_and_the_content(knowledge: Knowledge) -> None:
    date, _, digest = knowledge.version.partition("+")

    assert len(date) == 10
    assert len(digest) == 10
    assert knowledge.version == load_knowledge().version


def test_a_users_folder_changes_the_version(knowledge: Knowledge, tmp_path: Path) -> None:
    more = load_knowledge(folder(tmp_path, "drugs/examplol.toml", DRUG))

    assert more.version != knowledge.version


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Simvistatin", "simvastatin"),
        ("Lopressor", "metoprolol"),
        ("metoprolol succinate", "metoprolol"),
        ("paracetamol", "acetaminophen"),
        ("PENICILLIN V", "penicillin-v"),
        ("  Enalapril ", "enalapril"),
    ],
)
def test_a_drug_is_found_by_each_of_its_names(knowledge: Knowledge, text: str, expected: str) -> None:
    assert knowledge.drug(text).id == expected


def test_an_unknown_drug_is_an_error_with_the_nearest_names(knowledge: Knowledge) -> None:
    with pytest.raises(InputError) as caught:
        knowledge.drug("metoprolool")

    assert "metoprolol" in caught.value.hint


def test_an_unknown_indication_lists_what_there_is(knowledge: Knowledge) -> None:
    with pytest.raises(InputError) as caught:
        knowledge.indication("baldness")

    assert all(key in caught.value.hint for key in knowledge.indications)


@settings(deadline=None)
@given(st.data())
def test_every_name_leads_to_a_drug_that_bears_it(data: st.DataObject) -> None:
    known = load_knowledge_once()
    name = data.draw(st.sampled_from(sorted(known.names)))

    drug = known.drugs[known.names[name]]

    own = {drug.id, drug.name, drug.id.replace("-", " "), *drug.synonyms, *drug.brands, *drug.misspellings}
    assert name in {text.lower() for text in own}


_ONCE: list[Knowledge] = []


def load_knowledge_once() -> Knowledge:
    if not _ONCE:
        _ONCE.append(load_knowledge())
    return _ONCE[0]


@given(st.data())
def test_members_and_groups_are_two_views_of_one_relation(data: st.DataObject) -> None:
    known = load_knowledge_once()
    drug = data.draw(st.sampled_from(sorted(known.drugs)))

    groups = known.groups_of(DrugId(drug))

    assert all(drug in known.members[group] for group in groups)


@given(st.data())
def test_an_interaction_is_found_from_both_sides(data: st.DataObject) -> None:
    known = load_knowledge_once()
    one, two = (DrugId(data.draw(st.sampled_from(sorted(known.drugs)))) for _ in range(2))

    forward = {s.id for s, _ in known.interactions_between(one, two)}
    backward = {s.id for s, _ in known.interactions_between(two, one)}

    assert forward == backward


def test_a_wider_group_reaches_the_members_of_the_narrower_one(knowledge: Knowledge) -> None:
    assert knowledge.members["loop diuretic"] < knowledge.members["diuretic"]
    assert "chlorthalidone" in knowledge.members["diuretic"]


def test_enzyme_roles_are_groups(knowledge: Knowledge) -> None:
    assert "clarithromycin" in knowledge.members["strong CYP3A4 inhibitor"]
    assert "paroxetine" in knowledge.members["strong CYP2D6 inhibitor"]
    assert "metoprolol" in knowledge.members["CYP2D6 substrate"]


def test_a_penicillin_allergy_reaches_piperacillin_and_warns_of_cephalosporins(knowledge: Knowledge) -> None:
    reached = {name: cross for name, _, cross in knowledge.allergy_names(knowledge.drug("piperacillin-tazobactam"))}
    cephalosporin = {name: cross for name, _, cross in knowledge.allergy_names(knowledge.drug("ceftriaxone"))}

    assert reached["penicillin"] is False
    assert reached["amoxicillin"] is False
    assert cephalosporin["penicillin"] is True


def test_a_users_file_adds_a_drug(tmp_path: Path) -> None:
    known = load_knowledge(folder(tmp_path, "drugs/examplol.toml", DRUG))

    assert known.drug("examplol").pharmacological_class == "beta-blocker"
    assert "examplol" in known.members["beta-blocker"]


def test_a_users_file_replaces_a_drug(tmp_path: Path) -> None:
    text = DRUG.replace("examplol", "metoprolol")

    known = load_knowledge(folder(tmp_path, "drugs/metoprolol.toml", text))

    assert known.drug("metoprolol").doses == ()


def test_a_citation_may_stand_in_the_file_that_uses_it(tmp_path: Path) -> None:
    text = DRUG + '\n[[citations]]\nkey = "own-label"\ntitle = "A label"\n'

    known = load_knowledge(folder(tmp_path, "drugs/examplol.toml", text))

    assert known.citations["own-label"].title == "A label"  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "said", "advice"),
    [
        (DRUG + 'colour = "blue"\n', "colour", "remove the field"),
        (DRUG.replace('depth = "known"', ""), "depth", "add the field"),
        (DRUG.replace('"known"', '"famous"'), "depth", "correct the value"),
        (DRUG + "renal = [{ when = 3 }]\n", "renal", "template"),
        (DRUG + "oops\n", "not TOML", "correct the line"),
        (DRUG.replace('id = "examplol"', ""), "no 'id'", "add id"),
    ],
)
def test_a_wrong_file_is_refused_with_file_field_and_advice(tmp_path: Path, text: str, said: str, advice: str) -> None:
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(folder(tmp_path, "drugs/examplol.toml", text))

    assert said in caught.value.message
    assert "examplol.toml" in caught.value.where
    assert advice in caught.value.hint


def test_a_misspelt_table_is_refused_and_not_skipped(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(folder(tmp_path, "interactions/mine.toml", '[[statement]]\nid = "a"\n'))

    assert "statement" in caught.value.message


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, "drugs/examplol.toml", DRUG)
    folder(tmp_path, "drugs/other.toml", DRUG.replace('"known"', '"screening"'))

    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(tmp_path)

    assert "twice" in caught.value.message


def test_a_file_in_a_misspelt_folder_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(folder(tmp_path, "drug/examplol.toml", DRUG))

    assert "drugs" in caught.value.hint


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError):
        load_knowledge(tmp_path / "nowhere")


def test_a_screening_drug_is_recognised_and_reaches_its_groups(tmp_path: Path) -> None:
    text = (
        '[[drugs]]\nid = "exampline"\nname = "exampline"\nsynonyms = ["exampline hydrochloride"]\n'
        'classes = ["NSAID"]\nroles = [{ enzyme = "CYP3A4", role = "inhibitor", strength = "strong" }]\n'
        'source = "memory"\nstatus = "to verify"\n'
    )

    known = load_knowledge(folder(tmp_path, "screening/mine.toml", text))

    assert known.drug("exampline hydrochloride").depth == "screening"
    assert {"NSAID", "strong CYP3A4 inhibitor"} <= known.groups_of(DrugId("exampline"))


def test_a_copy_of_the_package_data_loads_as_a_users_folder(knowledge: Knowledge, tmp_path: Path) -> None:
    shutil.copytree(knowledge.folder / "drugs", tmp_path / "drugs")

    again = load_knowledge(tmp_path)

    assert again.drugs == knowledge.drugs
