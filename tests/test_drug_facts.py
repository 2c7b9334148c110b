"""Facts of labels and guidelines that drug files must hold: doses, caps, organ limits, contraindications.

Each is asked of the data with a made-up patient: what a file states is evaluated by the language of expressions.
The cases in the drug files are asked the same way, as far as they rest on the drug's own file.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from posologist.core.drug import Drug, InfusionRule
from posologist.core.values import DrugId
from posologist.knowledge.expression import UNKNOWN, expression
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.twin.infusion import continuous_allowed, shortest_infusion_h
from shared import shared_data

KNOWLEDGE = load_knowledge()


class Made:
    """Subject of given facts; what is not given is unknown, and what is not listed in dx, on, allergy is absent."""

    def __init__(self, knowledge: Knowledge, given: Mapping[str, Any]) -> None:
        self._knowledge = knowledge
        self._given = {"starting": True, "dialysis": False, "pregnant": False, "breastfeeding": False, **given}

    def fact(self, name: str) -> Any:
        return self._given.get(name, UNKNOWN)

    def query(self, function: str, arguments: tuple[Any, ...]) -> Any:
        name = str(arguments[0])
        if function == "dx":
            codes = set(self._given.get("dx", ()))
            return name in codes | {c for code in codes for c in self._knowledge.codes.implied(code)}
        if function in ("on", "recent"):
            return any(name in self._knowledge.groups_of(DrugId(d)) for d in self._given.get("on", ()))
        if function == "allergy":
            return name in self._given.get("allergy", ())
        found = self._given.get("gene", {}).get(name)
        return UNKNOWN if found is None else found


def holds(when: str, given: Mapping[str, Any]) -> bool | None:
    """Three-valued truth of an expression for a made-up patient."""
    return expression(when).match(Made(KNOWLEDGE, given)).truth


def answer(drug: Drug, indication: str, given: Mapping[str, Any]) -> dict[str, float | bool | None]:
    """Start and maximum per day, and whether the drug's own file forbids it or advises against it."""
    rules = [r for r in drug.doses if r.indication == indication and holds(r.when, given)]
    start, most = (rules[0].start, rules[0].max) if rules else (None, None)
    met = [c for c in drug.contraindications if c.when and c.indication in ("", indication) and holds(c.when, given)]
    forbidden = any(c.level == "absolute" for c in met)
    advised_against = bool(met)
    for rule in (*drug.renal, *drug.hepatic, *drug.age, *filter(None, (drug.pregnancy, drug.lactation))):
        if rule.indication not in ("", indication) or holds(rule.when, given) is not True:
            continue
        forbidden |= rule.action == "contraindicated"
        advised_against |= rule.action in ("avoid", "contraindicated")
        if rule.value is not None and start is not None:
            share = rule.value / 100
            if rule.action == "start":
                start = min(start, rule.value)
            if rule.action == "cap":
                start, most = min(start, rule.value), min(most or rule.value, rule.value)
            if rule.action == "percent":
                start, most = start * share, most * share if most else most
    return {"start": start, "max": most, "contraindicated": forbidden, "avoid": advised_against or forbidden}


HTN, AF, ACS, MDD = "hypertension", "atrial-fibrillation-stroke-prevention", "acs-pci-antiplatelet", "depression"

FACTS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("enalapril", HTN, {"crcl": 30}, {"start": 2.5, "max": 40}),
    ("enalapril", HTN, {"crcl": 31}, {"start": 5}),
    ("enalapril", HTN, {"crcl": 90, "dx": ["angioedema_history"]}, {"contraindicated": True}),
    ("lisinopril", HTN, {"crcl": 31}, {"start": 10}),
    ("lisinopril", HTN, {"crcl": 20}, {"start": 5, "max": 40}),
    ("lisinopril", HTN, {"crcl": 8}, {"start": 2.5}),
    ("lisinopril", HTN, {"crcl": 90, "pregnant": True}, {"contraindicated": True}),
    ("ramipril", HTN, {"crcl": 39}, {"start": 1.25, "max": 5}),
    ("ramipril", HTN, {"crcl": 40}, {"start": 2.5, "max": 20}),
    ("lisinopril", HTN, {"crcl": 90, "on": ["sacubitril-valsartan"]}, {"contraindicated": True}),
    ("sacubitril-valsartan", "heart-failure", {"on": ["enalapril"]}, {"contraindicated": True}),
    (
        "aliskiren",
        HTN,
        {"egfr": 80, "crcl": 80, "dx": ["type2_diabetes"], "on": ["losartan"]},
        {"contraindicated": True},
    ),
    ("aliskiren", HTN, {"egfr": 80, "crcl": 80, "dx": ["type2_diabetes"]}, {"contraindicated": False}),
    ("aliskiren", HTN, {"egfr": 59, "crcl": 59, "on": ["losartan"]}, {"contraindicated": False, "avoid": True}),
    ("aliskiren", HTN, {"egfr": 60, "crcl": 60, "on": ["losartan"]}, {"avoid": False}),
    ("losartan", HTN, {"crcl": 80, "dx": ["diabetes_type1"], "on": ["aliskiren"]}, {"contraindicated": True}),
    ("eplerenone", "heart-failure", {"potassium": 5.5, "crcl": 31}, {"contraindicated": False}),
    ("eplerenone", "heart-failure", {"potassium": 5.6, "crcl": 60}, {"contraindicated": True}),
    ("eplerenone", "heart-failure", {"potassium": 4.5, "crcl": 30}, {"contraindicated": True}),
    ("eplerenone", HTN, {"potassium": 4.5, "crcl": 49}, {"contraindicated": True}),
    (
        "eplerenone",
        HTN,
        {"potassium": 4.5, "crcl": 80, "dx": ["type2_diabetes"], "uacr": 45},
        {"contraindicated": True},
    ),
    (
        "eplerenone",
        HTN,
        {"potassium": 4.5, "crcl": 80, "dx": ["type2_diabetes"], "uacr": 12},
        {"contraindicated": False},
    ),
    ("eplerenone", HTN, {"potassium": 4.5, "crcl": 80, "on": ["clarithromycin"]}, {"contraindicated": True}),
    ("chlorthalidone", HTN, {"egfr": 20, "crcl": 22}, {"contraindicated": False, "avoid": False, "start": 12.5}),
    ("metoprolol", HTN, {"dx": ["av_block_2_3"]}, {"contraindicated": True}),
    ("carvedilol", HTN, {"dx": ["asthma"]}, {"contraindicated": True}),
    ("verapamil", HTN, {"dx": ["heart_failure_reduced_ef"]}, {"contraindicated": True}),
    ("apixaban", AF, {"age": 82, "weight": 58, "creatinine": 1.0, "crcl": 40}, {"max": 5}),
    ("apixaban", AF, {"age": 82, "weight": 80, "creatinine": 1.0, "crcl": 50}, {"max": 10}),
    ("edoxaban", AF, {"crcl": 96}, {"avoid": True}),
    ("edoxaban", AF, {"crcl": 95}, {"avoid": False, "max": 60}),
    ("edoxaban", AF, {"crcl": 50}, {"max": 30}),
    ("rivaroxaban", AF, {"crcl": 50}, {"max": 15}),
    ("rivaroxaban", AF, {"crcl": 51}, {"max": 20}),
    ("dabigatran", AF, {"crcl": 20, "dx": []}, {"max": 150}),
    ("dabigatran", AF, {"crcl": 80, "dx": ["mechanical_valve"]}, {"contraindicated": True}),
    ("prasugrel", ACS, {"age": 60, "weight": 80, "dx": ["tia"]}, {"contraindicated": True}),
    ("prasugrel", ACS, {"age": 60, "weight": 80, "dx": ["haemorrhagic_stroke"]}, {"contraindicated": True}),
    ("prasugrel", ACS, {"age": 75, "weight": 80}, {"avoid": True, "contraindicated": False}),
    ("prasugrel", ACS, {"age": 75, "weight": 80, "dx": ["type2_diabetes"]}, {"avoid": False}),
    ("prasugrel", ACS, {"age": 60, "weight": 59}, {"max": 5}),
    ("prasugrel", ACS, {"age": 60, "weight": 60}, {"max": 10}),
    ("citalopram", MDD, {"age": 61}, {"max": 20}),
    ("citalopram", MDD, {"age": 60}, {"max": 40}),
    ("escitalopram", MDD, {"age": 70}, {"max": 10}),
    ("metformin", "type-2-diabetes", {"egfr": 29}, {"contraindicated": True}),
    ("atorvastatin", "dyslipidaemia", {"crcl": 80, "dx": ["masld"]}, {"contraindicated": False, "start": 10}),
    (
        "atorvastatin",
        "dyslipidaemia",
        {"crcl": 80, "dx": ["liver_cirrhosis"], "child_pugh": "C"},
        {"contraindicated": True},
    ),
    ("simvastatin", "dyslipidaemia", {"crcl": 25, "on": ["clarithromycin"]}, {"contraindicated": True}),
]


@pytest.mark.parametrize(("name", "indication", "given", "expected"), FACTS)
def test_the_file_states_the_fact(name: str, indication: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    found = answer(KNOWLEDGE.drug(name), indication, given)

    assert {key: found[key] for key in expected} == expected


def test_all_ingredients_of_the_facts_load() -> None:
    names = {path.stem for path in shared_data("drugs").glob("[a-z]*.json")}

    assert len(names) == 217
    assert names <= {str(key) for key, drug in KNOWLEDGE.drugs.items() if drug.depth != "screening"}


def test_restating_the_facts_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    tool = Path(__file__).parents[1] / "tools" / "restate_drugs.py"
    written = []
    for run in ("one", "two"):
        out = tmp_path / run
        shutil.copytree(KNOWLEDGE.folder, out, ignore=shutil.ignore_patterns("drugs", "genes", "*.tsv"))
        subprocess.run([sys.executable, str(tool), str(shared_data()), str(out)], check=True, capture_output=True)
        written.append({p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*.toml"))})

    assert written[0] == written[1]
    assert len([path for path in written[0] if path.parts[0] == "drugs"]) == 217


def test_no_contraindication_of_the_facts_is_lost() -> None:
    lost = []
    for path in sorted(shared_data("drugs").glob("[a-z]*.json")):
        source = json.loads(path.read_text(encoding="utf-8"))
        drug = KNOWLEDGE.drugs[DrugId(path.stem)]
        absolute = [c for c in source["contraindications"] if c["level"] == "absolute"]
        if absolute and not drug.contraindications:
            lost.append(path.stem)

    assert lost == []


def test_methotrexate_is_never_dosed_by_the_day() -> None:
    assert {rule.unit for rule in KNOWLEDGE.drug("methotrexate").doses} <= {"mg/week", "mg/m2/week"}


def test_semaglutide_injections_are_dosed_by_the_week() -> None:
    weekly = [r for r in KNOWLEDGE.drug("semaglutide").doses if "pen" in r.form or r.unit == "mg/week"]

    assert weekly
    assert {rule.unit for rule in weekly} == {"mg/week"}


def test_piperacillin_shares_the_penicillin_allergy() -> None:
    names = {name for name, _, _ in KNOWLEDGE.allergy_names(KNOWLEDGE.drug("piperacillin-tazobactam"))}

    assert {"penicillin", "amoxicillin", "penicillin-v"} <= names


def test_ketorolac_names_its_limit_of_five_days() -> None:
    assert "five_day_limit" in KNOWLEDGE.drug("ketorolac").boxed_warnings


@pytest.mark.parametrize("name", ["metoprolol", "atenolol", "propranolol", "bisoprolol", "clonidine", "paroxetine"])
def test_drugs_that_must_not_stop_abruptly_say_so(name: str) -> None:
    stopping = KNOWLEDGE.drug(name).stopping

    assert stopping is not None
    assert not stopping.abrupt_allowed


@pytest.mark.parametrize("name", ["warfarin", "digoxin", "lithium", "phenytoin", "tacrolimus", "nortriptyline"])
def test_drugs_of_narrow_index_are_known_as_such(name: str) -> None:
    assert "narrow therapeutic index" in KNOWLEDGE.groups_of(DrugId(name))


def test_a_recalled_window_is_used_for_no_drug_of_wide_index() -> None:
    used = [
        drug.id
        for drug in KNOWLEDGE.drugs.values()
        if "narrow therapeutic index" not in KNOWLEDGE.groups_of(drug.id)
        for window in drug.window
        if window.status == "to verify"
    ]

    assert used == []


FIRST_LINE = (
    "ACE inhibitor",
    "ARB",
    "dihydropyridine CCB",
    "thiazide or thiazide-like diuretic",
)


@pytest.mark.parametrize("group", FIRST_LINE)
def test_every_first_line_class_has_several_rankable_members(group: str) -> None:
    members = [KNOWLEDGE.drugs[key] for key in KNOWLEDGE.members[group]]
    rankable = [d.id for d in members if d.depth == "rankable" and any(r.indication == HTN for r in d.doses)]

    assert len(rankable) >= 4


def test_fifty_antihypertensives_have_a_dose() -> None:
    dosed = [d.id for d in KNOWLEDGE.drugs.values() if any(r.indication == HTN for r in d.doses)]

    assert len(dosed) >= 50


def test_no_rule_for_dialysis_fires_without_dialysis() -> None:
    fired = [
        (drug.id, rule.when)
        for drug in KNOWLEDGE.drugs.values()
        for rule in drug.renal
        if rule.when == "dialysis" and holds(rule.when, {"crcl": 5, "egfr": 5})
    ]

    assert fired == []


def test_not_studied_is_not_read_as_no_adjustment() -> None:
    simvastatin = [rule for rule in KNOWLEDGE.drug("simvastatin").renal if holds(rule.when, {"crcl": 10, "egfr": 10})]

    assert [rule.action for rule in simvastatin] == [None]


OWN_FILE = [
    (drug, case)
    for drug in KNOWLEDGE.drugs.values()
    for case in drug.cases
    if not case.given.keys() & {"gene", "on"}  # interactions and genes are stated elsewhere
]


@pytest.mark.parametrize(("drug", "case"), OWN_FILE, ids=[f"{d.id}: {c.name}" for d, c in OWN_FILE])
def test_a_worked_case_agrees_with_the_drugs_own_file(drug: Drug, case: Any) -> None:
    found = answer(drug, case.indication, case.given)

    assert {key: found[key] for key in case.expect} == case.expect


def test_worked_cases_come_from_sources_that_were_read() -> None:
    kinds = {KNOWLEDGE.citations[case.source].kind for drug in KNOWLEDGE.drugs.values() for case in drug.cases}

    assert "memory" not in kinds


def infusion_rules(drug: str, **given: Any) -> list[InfusionRule]:
    """Rows of a drug's file that hold for a made-up patient."""
    return [rule for rule in KNOWLEDGE.drug(drug).infusion if holds(rule.when, given)]


@pytest.mark.parametrize(
    ("drug", "dose_mg", "age", "hours"),
    [
        ("vancomycin", 500, 50, 1.0),
        ("vancomycin", 2000, 50, 200 / 60),
        ("voriconazole", 420, 50, 2.0),
        ("phenytoin", 1000, 50, 20 / 60),
        ("phenytoin", 1000, 15, 20 / 60),
        ("daptomycin", 420, 50, 2 / 60),
        ("daptomycin", 420, 10, 0.5),
        ("daptomycin", 420, 4, 1.0),
        ("amikacin", 1000, 50, 0.5),
        ("amikacin", 100, 0.5, 1.0),
        ("tobramycin", 300, 50, 20 / 60),
        ("meropenem", 1000, 50, 0.25),
        ("piperacillin-tazobactam", 4500, 50, 0.5),
        ("cefepime", 2000, 50, 0.5),
        ("infliximab", 350, 50, 2.0),
        ("busulfan", 56, 50, 2.0),
        ("tacrolimus", 2, 50, 24.0),
        ("phenobarbital", 1200, 50, 20 / 60),
        ("valproate", 1800, 50, 1.5),
        ("digoxin", 0.5, 50, 5 / 60),
    ],
)
def test_a_dose_of_a_70_kg_person_runs_no_faster_than_its_label_allows(
    drug: str, dose_mg: float, age: float, hours: float
) -> None:
    """Labels and monographs cited in the rows: 10 mg/min, 3 mg/kg/h, 50 mg/min, 60 mg/min, 20 mg/min, durations."""
    limit = shortest_infusion_h(infusion_rules(drug, age=age, weight=70.0), dose_mg, weight_kg=70.0)

    assert limit.hours == pytest.approx(hours, rel=1e-4)
    assert limit.status in ("verified", "secondary")


@pytest.mark.parametrize(
    ("drug", "described"),
    [
        ("vancomycin", True), ("meropenem", True), ("cefepime", True), ("piperacillin-tazobactam", True),
        ("tacrolimus", True), ("gentamicin", False), ("tobramycin", False), ("amikacin", False), ("infliximab", False),
        ("busulfan", False), ("daptomycin", False),
    ],
)  # fmt: skip
def test_continuous_infusion_stands_only_where_a_source_describes_it(drug: str, described: bool) -> None:
    assert continuous_allowed(infusion_rules(drug, age=50.0, weight=70.0)) is described


def test_every_drug_with_a_model_that_is_given_into_a_vein_has_a_rule_of_infusion_and_a_vial() -> None:
    infused = {
        "amikacin", "busulfan", "cefepime", "cyclosporine", "daptomycin", "digoxin", "fluorouracil", "gentamicin",
        "infliximab", "irinotecan", "meropenem", "methotrexate", "phenobarbital", "phenytoin",
        "piperacillin-tazobactam", "tacrolimus", "theophylline", "tobramycin", "valproate", "vancomycin",
        "voriconazole",
    }  # fmt: skip

    for drug in map(KNOWLEDGE.drug, infused):
        assert any(rule.min_duration_h is not None or rule.max_rate is not None for rule in drug.infusion), drug.id
        vials = [p for p in drug.products if p.route == "iv" and p.unit in ("mg", "mcg") and p.status != "to verify"]
        assert vials, drug.id
