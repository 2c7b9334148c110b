# ruff: noqa: E501 (a planted fault reads best on one line)
"""Each kind of fault is found when it is planted, and the shipped drug files hold none."""

from __future__ import annotations

from pathlib import Path

import pytest

from posologist.core.drug import Drug
from posologist.knowledge.check import Problem, can_be_made, check_folders, check_knowledge, facts_by_status
from posologist.knowledge.load import Knowledge, load_knowledge

SOUND = """
id = "examplol"
name = "examplol"
pharmacological_class = "beta-blocker"
classes = ["beta-blocker"]
depth = "rankable"
products = [{ form = "tablet", strengths = [5, 10], source = "own", status = "verified" }]
doses = [
{ indication = "hypertension", start = 5, usual_low = 5, usual_high = 10, max = 20, source = "own", status = "verified" },
]
renal = [
  { when = "crcl < 30", action = "cap", value = 10, unit = "mg/day", source = "own", status = "verified" },
]
contraindications = [
  { code = "asthma", when = "dx(asthma)", level = "absolute", text = "asthma", source = "own", status = "verified" },
]
cases = [
  { name = "usual", given = { age = 50 }, expect = { start = 5 }, source = "own", status = "verified" },
]
citations = [{ key = "own", title = "Label of examplol", kind = "label" }]
"""


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return load_knowledge()


def problems_of(tmp_path: Path, text: str, name: str = "drugs/examplol.toml") -> tuple[Problem, ...]:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return tuple(p for p in check_folders(tmp_path, inside=tmp_path) if str(tmp_path) in p.file)


INFUSED = """
infusion = [{ min_duration_h = 1, max_rate = 10, rate_unit = "mg/min", when = "age >= 18", source = "own", status = "verified" }]
loading = [{ low = 400, high = 500, unit = "mg", max = 600, doses = 2, interval_h = 12, source = "own", status = "verified" }]
"""
VIAL = '{ form = "vial", route = "iv", strengths = [50], source = "own", status = "verified" }'


def infused(text: str = INFUSED) -> str:
    """The sound drug with a vial, and with these rows of infusion and loading."""
    return SOUND.replace("renal = [", f"{text}renal = [").replace("products = [", f"products = [{VIAL}, ")


def test_a_sound_drug_has_no_problem(tmp_path: Path) -> None:
    assert problems_of(tmp_path, SOUND) == ()


PLANTED = [
    ("a dangling citation", 'text = "asthma", source = "own"', 'text = "asthma", source = "lost"', "'lost'"),
    ("a condition that no record can show", "dx(asthma)", "dx(asthmatic)", "'asthmatic'"),
    ("a fact that no patient has", "crcl < 30", "creatnine < 30", "'creatnine'"),
    ("an expression that cannot be read", '"crcl < 30"', '"crcl <"', "cannot be read"),
    ("a function that is not in the language", "dx(asthma)", "open(asthma)", "no function"),
    ("a group that reaches nothing", "dx(asthma)", "on(betablocker)", "'betablocker'"),
    ("an allergy group that is not known", "dx(asthma)", "allergy(pollen)", "'pollen'"),
    ("a negative dose", "start = 5,", "start = -5,", "not possible"),
    ("a start above the maximum", "max = 20", "max = 4", "above max"),
    ("a start above the usual range", "start = 5, usual_low", "start = 15, usual_low", "above the usual range"),
    ("a usual range that is upside down", "usual_low = 5, usual_high = 10", "usual_low = 11, usual_high = 10", "above usual_high"),
    ("no dose a day", "max = 20,", "max = 20, doses_per_day = [0],", "doses a day"),
    ("strengths out of order", "[5, 10]", "[10, 5]", "must rise"),
    ("a strength of nothing", "[5, 10]", "[0, 5, 10]", "above 0"),
    ("a start that no tablet gives", "start = 5,", "start = 3,", "cannot be made"),
    ("a renal cap above the maximum", "value = 10, unit", "value = 50, unit", "above the maximum"),
    ("a negative limit", "value = 10, unit", "value = -1, unit", "below 0"),
    ("a cap without a value", "value = 10, ", "", "needs a value"),
    ("a percentage that is no reduction", 'action = "cap", value = 10, unit = "mg/day"', 'action = "percent", value = 150', "not a reduction"),
    ("no worked case", "cases = [\n", "cases = []\nnotes = [] # [\n", "needs a worked case"),
    ("a case about a fact that no patient has", "age = 50", "aeg = 50", "'aeg'"),
    ("a case about a condition that is not known", "age = 50", 'dx = ["asthmatic"]', "'asthmatic'"),
    ("a case that expects what cannot be asked", "expect = { start = 5 }", "expect = { colour = 5 }", "'colour'"),
    ("a case whose answer is of the wrong kind", "expect = { start = 5 }", "expect = { start = true, avoid = 1 }", "not an answer"),
    ("a case that was never read", 'start = 5 }, source = "own", status = "verified"', 'start = 5 }, source = "own", status = "to verify"', "must have been read"),
    ("a recalled fact called verified", 'text = "asthma", source = "own"', 'text = "asthma", source = "memory"', "recalled"),
    ("a page of a language model called verified", 'kind = "label"', 'kind = "machine"', "language model"),
    ("a review called verified", 'kind = "label"', 'kind = "review"', "secondary"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "sound", "planted", "said"), PLANTED, ids=[row[0] for row in PLANTED])
def test_a_planted_fault_is_found(tmp_path: Path, fault: str, sound: str, planted: str, said: str) -> None:
    text = SOUND.replace(sound, planted, 1)
    if fault == "no worked case":
        text = SOUND[: SOUND.index("cases = [")] + SOUND[SOUND.index("citations = [") :]

    found = problems_of(tmp_path, text)

    assert text != SOUND
    assert any(said in problem.what for problem in found), [str(p) for p in found]


INFUSION_FAULTS = [
    ("a dangling citation", 'when = "age >= 18", source = "own"', 'source = "lost"', "'lost'"),
    ("a fact that no patient has", "age >= 18", "aeg >= 18", "'aeg'"),
    ("minutes in the place of hours", "min_duration_h = 1,", "min_duration_h = 60,", "minutes?"),
    ("hours in the place of minutes", "min_duration_h = 1,", "min_duration_h = 0.001,", "less than a minute"),
    ("a negative duration", "min_duration_h = 1,", "min_duration_h = -1,", "min_duration_h"),
    ("a rate of nothing", "max_rate = 10", "max_rate = 0", "max_rate"),
    ("a unit of rate that is not known", '"mg/min"', '"mg/s"', "'mg/s'"),
    ("a rate without a unit", 'rate_unit = "mg/min", ', "", "go together"),
    ("a unit without a rate", "max_rate = 10, ", "", "go together"),
    ("a row that limits nothing", 'min_duration_h = 1, max_rate = 10, rate_unit = "mg/min", ', "", "says neither"),
    ("a loading dose upside down", "low = 400", "low = 550", "above high"),
    ("a loading dose above its maximum", "max = 600", "max = 450", "above max"),
    ("a loading dose of nothing", "low = 400", "low = 0", "low"),
    ("a unit of loading that is not known", 'unit = "mg", max', 'unit = "mg/m2", max', "'mg/m2'"),
    ("several loading doses without an interval", "interval_h = 12, ", "", "interval"),
    ("an interval of one loading dose", "doses = 2, ", "", "interval"),
    ("a recalled rate called verified", 'when = "age >= 18", source = "own"', 'source = "memory"', "recalled"),
]  # fmt: skip


def test_sound_rows_of_infusion_and_loading_have_no_problem(tmp_path: Path) -> None:
    assert problems_of(tmp_path, infused()) == ()


@pytest.mark.parametrize(("fault", "sound", "planted", "said"), INFUSION_FAULTS, ids=[f[0] for f in INFUSION_FAULTS])
def test_a_planted_fault_of_infusion_or_loading_is_found(
    tmp_path: Path, fault: str, sound: str, planted: str, said: str
) -> None:
    assert INFUSED.count(sound) == 1
    path = tmp_path / "drugs" / "examplol.toml"
    path.parent.mkdir()
    path.write_text(infused(INFUSED.replace(sound, planted)), encoding="utf-8")

    found = [str(problem) for problem in check_folders(tmp_path)]

    assert any(said in text and str(path.name) in text for text in found), fault


def test_an_infusion_without_a_product_for_a_vein_is_found(tmp_path: Path) -> None:
    found = problems_of(tmp_path, infused().replace(f"{VIAL}, ", ""))

    assert [p.where for p in found] == ["infusion"]


def test_rows_of_infusion_and_loading_are_counted_by_status(tmp_path: Path, knowledge: Knowledge) -> None:
    path = tmp_path / "drugs" / "examplol.toml"
    path.parent.mkdir()
    path.write_text(infused(), encoding="utf-8")
    with_rows = facts_by_status(load_knowledge(tmp_path))["verified"]
    path.write_text(infused(""), encoding="utf-8")

    assert with_rows == facts_by_status(load_knowledge(tmp_path))["verified"] + 2


def test_a_brand_of_another_drug_is_found(tmp_path: Path) -> None:
    text = SOUND.replace("examplol", "zexamplol").replace("classes", 'brands = ["Lopressor"]\nclasses')

    found = problems_of(tmp_path, text, "drugs/zexamplol.toml")

    assert any("also a name of metoprolol" in problem.what for problem in found)


def test_a_citation_described_in_two_ways_is_found(tmp_path: Path) -> None:
    problems_of(tmp_path, '[[citations]]\nkey = "own"\ntitle = "Another label"\n', "citations-more.toml")

    problems_of(tmp_path, SOUND)
    found = check_folders(tmp_path, inside=tmp_path)

    assert any("two ways" in problem.what for problem in found)


KINETICS = """
[kinetics.parameters]
half_life = { value = %s, unit = "h", source = "own", status = "verified" }
clearance = { value = 10, unit = "L/h", source = "own", status = "verified" }
volume = { value = 100, unit = "L", source = "own", status = "verified" }
bioavailability = { value = %s, unit = "fraction", source = "own", status = "verified" }
"""


@pytest.mark.parametrize(
    ("half_life", "bioavailability", "said"),
    [
        ("70", "0.5", "ln 2 V / CL"),
        ("0", "0.5", "not possible"),
        ("7", "1.5", "above 1"),
        ("-1", "0.5", "not possible"),
    ],
)
def test_impossible_kinetics_are_found(tmp_path: Path, half_life: str, bioavailability: str, said: str) -> None:
    found = problems_of(tmp_path, SOUND + KINETICS % (half_life, bioavailability))

    assert any(said in problem.what for problem in found)


def test_kinetics_that_belong_together_pass(tmp_path: Path) -> None:
    assert problems_of(tmp_path, SOUND + KINETICS % ("7", "0.5")) == ()


def test_kinetics_that_are_noted_as_not_to_combine_pass(tmp_path: Path) -> None:
    text = SOUND.replace("citations", 'notes = ["half-life is terminal; do not combine"]\ncitations')

    assert problems_of(tmp_path, text + KINETICS % ("70", "0.5")) == ()


def test_more_than_all_patients_cannot_have_an_effect(tmp_path: Path) -> None:
    effect = 'adverse = [{ event = "cough", percent = 120, source = "own", status = "verified" }]\n'

    found = problems_of(tmp_path, SOUND.replace("cases", effect + "cases", 1))

    assert any("120 percent" in problem.what for problem in found)


def test_a_window_upside_down_is_found(tmp_path: Path) -> None:
    window = 'window = [{ low = 20, high = 10, source = "own", status = "verified" }]\n'

    found = problems_of(tmp_path, SOUND.replace("cases", window + "cases", 1))

    assert any(problem.where == "window[0].low" for problem in found)


def test_a_statement_about_an_unknown_group_is_found(tmp_path: Path) -> None:
    text = (
        '[[statements]]\nid = "mine.one"\nkind = "interaction"\nabout = ["beta-blockr"]\nother = ["NSAID"]\n'
        'action = "monitor"\nseverity = "monitor"\ntext = "x"\nsource = "lost"\nstatus = "verified"\n'
    )

    found = problems_of(tmp_path, text, "interactions/mine.toml")

    assert {problem.where for problem in found} == {"about", "source"}


def test_a_file_that_cannot_be_loaded_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    found = problems_of(tmp_path, SOUND + 'colour = "blue"\n')

    assert [problem.where for problem in found] == ["file"]


def test_a_dose_is_made_of_whole_units_or_of_halves_of_scored_ones(knowledge: Knowledge) -> None:
    tablets = [p for p in knowledge.drug("enalapril").products if p.unit == "mg"]

    assert can_be_made(20, (1, 2), tablets)
    assert not can_be_made(1.25, (1,), [p.model_copy(update={"scored": False}) for p in tablets])
    assert can_be_made(1.25, (1,), [p.model_copy(update={"scored": True}) for p in tablets])


def test_the_shipped_drug_files_hold_no_error(knowledge: Knowledge) -> None:
    found = [p for p in check_knowledge(knowledge) if p.file.startswith("drugs/") and p.severity == "error"]

    assert [str(problem) for problem in found] == []


def test_facts_are_counted_by_what_is_known_of_their_source(knowledge: Knowledge) -> None:
    counts = facts_by_status(knowledge)

    assert counts["verified"] > 3000
    assert set(counts) == {"verified", "secondary", "to verify"}


def test_the_template_is_a_sound_drug_file(tmp_path: Path) -> None:
    template = Path(__file__).parents[1] / "docs" / "template-drug.toml"

    assert problems_of(tmp_path, template.read_text(encoding="utf-8")) == ()


def test_the_template_shows_every_field() -> None:
    template = (Path(__file__).parents[1] / "docs" / "template-drug.toml").read_text(encoding="utf-8")

    assert [name for name in Drug.model_fields if f"\n{name} =" not in template and f"[{name}]" not in template] == []
