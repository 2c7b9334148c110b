"""Medicine names: what a text means, what stays unexplained, and how much is given."""

import csv
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.core.patient import Code
from posologist.core.values import DrugId
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.records.medication import Resolver, index_of
from posologist.records.names import NameIndex, name_index, read_phrase
from posologist.records.sig import amount, per_day_in_words, read_dosage, read_product
from shared import shared_data

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


@cache
def knowledge() -> Knowledge:
    """The knowledge base that ships."""
    return load_knowledge()


@cache
def index() -> NameIndex:
    """Its names."""
    return index_of(knowledge())


@pytest.mark.parametrize(
    ("text", "drugs"),
    [
        ("Simvistatin 10 MG", ["simvastatin"]),
        ("24 HR metoprolol succinate 100 MG Extended Release Oral Tablet [Toprol]", ["metoprolol"]),
        ("Hydrochlorothiazide 25 MG", ["hydrochlorothiazide"]),
        ("amLODIPine 5 MG / valsartan 160 MG Oral Tablet", ["amlodipine", "valsartan"]),
        ("lisinopril-hydrochlorothiazide 10-12.5 mg", ["hydrochlorothiazide", "lisinopril"]),
        ("Amoxicillin 250 MG / Clavulanate 125 MG Oral Tablet", ["amoxicillin-clavulanate"]),
        ("Sulfamethoxazole 800 MG / Trimethoprim 160 MG Oral Tablet", ["trimethoprim-sulfamethoxazole"]),
        ("Penicillin V Potassium 500 MG Oral Tablet", ["penicillin-v"]),
        ("losartan potassium 50 mg tab", ["losartan"]),
        ("potassium chloride 20 mEq ER tab", ["potassium-chloride"]),
        ("Lasix 40mg po bid", ["furosemide"]),
        ("ASA 81mg daily", ["aspirin"]),
        ("hydralzine 25 mg", ["hydralazine"]),
        ("Acetaminophen 325 MG / HYDROcodone Bitartrate 7.5 MG Oral Tablet", ["acetaminophen", "hydrocodone"]),
        ("NITROFURANTOIN, MACROCRYSTALS 50 MG Oral Capsule", ["nitrofurantoin"]),
        ("Lotrel 5-20 mg capsule", ["amlodipine", "benazepril"]),
        ("Exforge HCT 10/160/12.5 po daily", ["amlodipine", "hydrochlorothiazide", "valsartan"]),
        ("Diovan HCT 160/12.5", ["hydrochlorothiazide", "valsartan"]),
        ("Percocet 5/325 prn", ["acetaminophen", "oxycodone"]),
    ],
)
def test_a_display_means_these_drugs_and_nothing_is_left(text: str, drugs: list[str]) -> None:
    phrase = read_phrase(text, index())

    assert sorted(phrase.drugs) == drugs
    assert phrase.unresolved == ""


def test_a_brand_of_several_ingredients_says_what_it_was_read_as() -> None:
    assert read_phrase("Zestoretic 20-12.5", index()).corrected == (
        "zestoretic 20 12 5 read as lisinopril + hydrochlorothiazide",
    )
    assert read_phrase("Ziac", index()).corrected == ("ziac read as bisoprolol + hydrochlorothiazide (to verify)",)
    assert read_phrase("Lotrelle", index()).drugs == ()


TRAPS = name_index(
    {
        name: DrugId(name.replace(" ", "-"))
        for name in (
            "estradiol",
            "insulin glargine",
            "insulin",
            "potassium chloride",
            "digoxin",
            "lanoxin",
            "acetaminophen",
        )
    },
    brands=["lanoxin"],
)


@pytest.mark.parametrize(
    "text",
    [
        "168 HR Ethinyl Estradiol 0.00146 MG/HR / norelgestromin 0.00625 MG/HR Transdermal System",
        "insulin isophane, human 70 UNT/ML / insulin, regular, human 30 UNT/ML Injectable Suspension [Humulin]",
        "Potassium 20 mEq",
        "Penicillin V Potassium 500 MG Oral Tablet",
        "Camila 28 Day Pack",
        "lanolin",
        "Acetaminophen #3",
    ],
)
def test_a_near_name_is_no_drug_and_stays_in_view(text: str) -> None:
    phrase = read_phrase(text, TRAPS)

    assert phrase.drugs == ()
    assert phrase.unresolved


def test_the_unknown_part_of_a_combination_stays_in_view() -> None:
    phrase = read_phrase("Acetaminophen 21.7 MG/ML / Dextromethorphan Hydrobromide 1 MG/ML Oral Solution", TRAPS)

    assert phrase.drugs == ("acetaminophen",)
    assert "dextromethorphan" in phrase.unresolved


def test_four_of_eighteen_thousand_other_names_are_taken_for_a_misspelling() -> None:
    table = shared_data("safety", "rxnorm_unii_names.csv")
    with table.open(encoding="utf-8") as lines:
        names = [row["fda_preferred_term"] for row in csv.DictReader(lines)]
    corrected = {c.split(" read as ")[0] for name in names for c in read_phrase(name, index()).corrected}

    assert len(names) > 18_000
    assert corrected - SPELLING_VARIANTS <= {"adrenalone", "cocamine", "methanone", "protacine"}


SPELLING_VARIANTS = {
    "adrenalin", "alcohols", "amoxicilline", "azacytidine", "benzbromaron", "brivudin", "cyclosporin",
    "ethinyloestradiol", "flumazepil", "gancyclovir", "glybenclamide", "guafacine", "macrogols", "methanamine",
    "moclobemide", "pramipexol", "protamines", "tocopheryl",
}  # fmt: skip


@given(st.text(max_size=80))
def test_any_text_resolves_or_stays_in_view(text: str) -> None:
    found = Resolver(knowledge()).resolve([], text)

    assert found.drugs or found.unresolved


@given(st.sampled_from(sorted(load_knowledge().drugs)))
def test_every_drug_is_found_by_its_own_name(drug: DrugId) -> None:
    assert read_phrase(knowledge().drugs[drug].name, index()).drugs == (drug,)


def test_code_and_words_that_disagree_are_a_conflict_and_both_stay_in_view() -> None:
    resolver = Resolver(knowledge())
    rxcui = knowledge().drugs[DrugId("metoprolol")].rxcui
    found = resolver.resolve([Code(system=RXNORM, code=rxcui, display="lisinopril 10 MG")], "")

    assert found.drugs == ("metoprolol",)
    assert "lisinopril" in found.conflict
    assert found.unresolved


def test_an_ingredient_code_needs_no_words() -> None:
    rxcui = knowledge().drugs[DrugId("metoprolol")].rxcui
    found = Resolver(knowledge()).resolve([Code(system=RXNORM, code=rxcui)], "")

    assert found.drugs == ("metoprolol",)
    assert not found.by_name


def test_a_code_without_words_that_is_not_known_stays_in_view() -> None:
    found = Resolver(knowledge()).resolve([Code(system=RXNORM, code="999999999")], "")

    assert found.drugs == ()
    assert "999999999" in found.unresolved


@pytest.mark.parametrize(
    ("display", "strength", "form"),
    [
        ("Simvastatin 10 MG Oral Tablet", "10 mg", "tablet"),
        ("24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet", "500 mg", "extended-release tablet"),
        ("1 ML tacrolimus 5 MG/ML Injection", "5 mg/ml", "injection"),
        ("Amoxicillin 250 MG / Clavulanate 125 MG Oral Tablet", "250 mg / 125 mg", "tablet"),
        ("lisinopril-hydrochlorothiazide 10-12.5 mg tab", "10 mg / 12.5 mg", "tablet"),
        ("Levothyroxine 1,000 mcg capsule", "1000 mcg", "capsule"),
    ],
)
def test_strength_and_form_are_read(display: str, strength: str, form: str) -> None:
    product = read_product(display)

    assert (product.strength, product.form) == (strength, form)


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ("1 tablet twice daily", 2), ("q12h", 2), ("every 8 hours", 3), ("take one tab po qd", 1),
        ("tid with meals", 3),
        ("Inject 3 (three) times a day", 3),
        ("once weekly", 1 / 7), ("every other day", 0.5), ("at bedtime", 1), ("as directed", None), ("", None),
    ],
)  # fmt: skip
def test_frequency_in_words(words: str, times: float | None) -> None:
    assert per_day_in_words(words) == times


def test_a_bare_number_is_a_count_only_where_it_cannot_be_an_amount() -> None:
    tablet = read_product("lisinopril 10 MG Oral Tablet")

    assert amount(1, "", tablet)[:2] == (10, "mg")
    assert amount(10, "", tablet)[0] is None
    assert amount(5, "", tablet)[0] is None
    assert amount(1, "", read_product("Acetaminophen 325 MG / HYDROcodone 7.5 MG Tablet"))[0] is None
    assert amount(1, "", read_product("nothing stated"))[0] is None


def test_millilitres_become_an_amount_by_the_strength() -> None:
    assert amount(10, "mL", read_product("Nizatidine 15 MG/ML Oral Solution"))[:2] == (150, "mg")


@pytest.mark.parametrize(
    "text",
    [
        "2 tablets daily for 3 days then 1 tablet daily",
        "Take 2 tablets Mon/Wed/Fri and 1 tablet other days",
        "1 tablet in the morning and 2 tablets at night",
    ],
)
def test_dosage_that_changes_is_not_read_as_one_dose(text: str) -> None:
    steps = read_dosage([{"text": text}], read_product("prednisone 10 MG Oral Tablet"))

    assert (steps.dose, steps.per_day) == (None, None)
    assert steps.assumed
