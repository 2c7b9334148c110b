"""Contextual rules: the level of each request of the HL7 PDDI-CDS guide, transcribed from the guide.

Source of every expected level: HL7 Potential Drug-Drug Interaction CDS 1.0.0 (hl7.org/fhir/uv/pddi; HL7/PDDI-CDS at
e530e67): the libraries WarfarinNSAIDsCDSLogic ("Get Base Indicator", "Get Card 2 Indicator" to "Get Card 4 Indicator")
and DigoxinCyclosporineCDSLogic ("Get Base Indicator", "Get Card 2 Indicator", "Get Card 3 Indicator"), with the
conditions of the PlanDefinitions (cards 2 to 4 of warfarin + NSAIDs not for topical diclofenac; card 2 of digoxin +
ciclosporin where digoxin is in the prefetch). The guide deals one card for each; a request's level is the most urgent.
"""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest

from hooks import Json, cards_of, indicators, knowledge, loudest, medicine, order_request, person, real_request
from posologist.core.errors import KnowledgeError
from posologist.knowledge.contextual import ContextualRule, checked, load_contextual
from posologist.serve.hooks.cards import Dealt

EXPECTED = {
    # f301: digoxin continued (197606 in prefetch) beside ciclosporin; digoxin 0.7 ng/mL, potassium 3.6 mEq/L, magnesium
    # 0.8 mmol/L, calcium 8.6 mg/dL, creatinine 0.7 mg/dL, no diuretic: base info, card 2 info, card 3 info
    "digoxin-cyclosporine-order-select-coordination.json": "info",
    "digoxin-cyclosporine-order-sign-no-coordination.json": "info",
    # f001, f101: ketorolac tablets beside warfarin, neither PPI nor misoprostol: card 2 critical
    "multi-update-draft-orders-1.json": "critical",
    "warfarin-nsaids-order-select-coordination.json": "critical",
    "warfarin-nsaids-order-sign-no-coordination.json": "critical",
    # scenario 1: ciclosporin new beside dispensed digoxin, level 2.3 ng/mL of 2018: card 2 critical
    "request-digoxin-cyclosporine-scenario-01.json": "critical",
    # scenario 1: topical diclofenac beside warfarin: base info, no further card
    "request-warfarin-nsaid-scenario-01.json": "info",
    # scenario 2: ibuprofen beside warfarin with rabeprazole: base warning, card 2 info
    "request-warfarin-nsaid-scenario-02.json": "warning",
}
WARFARIN = ("855295", "Warfarin Sodium 10 MG")
IBUPROFEN = ("197805", "Ibuprofen 400 MG Oral Tablet")
RABEPRAZOLE = ("854868", "Rabeprazole sodium 20 MG Delayed Release Oral Tablet")
DIGOXIN = ("197604", "Digoxin 0.125 MG Oral Tablet")
CYCLOSPORINE = ("835925", "cyclosporine, modified 50 MG Oral Capsule")


def rewrapped(document: Json) -> Json:
    """A retired request as order-sign, as the shared folder's README says."""
    context = dict(document["context"])
    fetched = {**context.pop("prefetch", {}), **{k: context.pop(k) for k in list(context) if k.startswith("item")}}
    context["draftOrders"] = context.pop("medications")
    return {**document, "hook": "order-sign", "context": context, "prefetch": fetched}


def of_rule(cards: tuple[Dealt, ...]) -> list[str]:
    """Levels of the cards whose source is the guide."""
    return [d.card.indicator for d in cards if d.card.source.label.startswith("HL7 PDDI-CDS guide")]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_request_of_the_guide_gets_the_level_of_the_guide(name: str) -> None:
    cards = cards_of(real_request(name))

    assert loudest(cards) == EXPECTED[name]
    assert of_rule(cards) == [EXPECTED[name]]


@pytest.mark.parametrize("name", [name for name in sorted(EXPECTED) if "scenario" in name])
def test_a_retired_request_and_the_same_one_rewrapped_get_the_same_cards(name: str) -> None:
    document = real_request(name)

    assert [d.card for d in cards_of(rewrapped(document))] == [d.card for d in cards_of(document)]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_level_does_not_depend_on_the_day_on_which_an_old_dated_request_is_replayed(name: str) -> None:
    document = real_request(name)

    assert loudest(cards_of(document, today=date(2031, 5, 1))) == EXPECTED[name]


TAKEN = {
    "MedicationRequest": {"status": "active", "intent": "order", "authoredOn": "2026-11-01"},
    "MedicationDispense": {"status": "completed", "whenHandedOver": "2026-11-01"},
    "MedicationAdministration": {"status": "completed", "effectiveDateTime": "2026-11-01"},
    "MedicationStatement": {"status": "active", "effectivePeriod": {"start": "2026-11-01"}},
}


@pytest.mark.parametrize("kind", sorted(TAKEN))
@pytest.mark.parametrize("dated", [True, False])
def test_warfarin_counts_alike_however_the_record_says_that_it_is_taken(kind: str, dated: bool) -> None:
    members = {k: v for k, v in TAKEN[kind].items() if dated or k in ("status", "intent")}

    cards = cards_of(order_request(medicine(*IBUPROFEN), person(), medicine(*WARFARIN, kind=kind, **members)))

    assert of_rule(cards) == ["critical"]


@pytest.mark.parametrize(
    "kind, members",
    [
        ("MedicationDispense", {"status": "completed", "whenHandedOver": "2025-01-01"}),
        ("MedicationDispense", {"status": "cancelled"}),
        ("MedicationAdministration", {"status": "completed", "effectiveDateTime": "2025-01-01"}),
        ("MedicationAdministration", {"status": "not-done", "effectiveDateTime": "2026-11-01"}),
        ("MedicationRequest", {"status": "stopped"}),
    ],
)
def test_warfarin_of_long_ago_or_not_given_is_no_interaction(kind: str, members: Json) -> None:
    cards = cards_of(order_request(medicine(*IBUPROFEN), person(), medicine(*WARFARIN, kind=kind, **members)))

    assert of_rule(cards) == []


GUIDE_ROWS: list[tuple[str, list[Json], str]] = [
    # the guide's scenarios 3 to 5 and the rows of its narrative table, each with one thing changed
    ("no protection", [], "critical"),
    ("a proton pump inhibitor", [medicine(*RABEPRAZOLE)], "warning"),
    ("misoprostol", [medicine("317128", "misoprostol 0.2 MG Oral Tablet")], "warning"),
    ("corticosteroid", [medicine("312617", "predniSONE 5 MG Oral Tablet")], "critical"),
    ("aldosterone antagonist", [medicine("313096", "spironolactone 25 MG Oral Tablet")], "critical"),
    (
        "corticosteroid under a proton pump inhibitor",
        [medicine("312617", "predniSONE 5 MG Oral Tablet"), medicine(*RABEPRAZOLE)],
        "warning",
    ),
]


@pytest.mark.parametrize("what, record, level", GUIDE_ROWS, ids=[row[0] for row in GUIDE_ROWS])
@pytest.mark.parametrize("born", ["1950-01-01", "1982-01-07"])
def test_an_nsaid_beside_warfarin_is_judged_by_its_context(
    what: str, record: list[Json], level: str, born: str
) -> None:
    cards = cards_of(order_request(medicine(*IBUPROFEN), person(born), medicine(*WARFARIN), *record))

    assert of_rule(cards) == [level]


@pytest.mark.parametrize(
    "display, level",
    [
        ("diclofenac sodium 0.01 MG/MG Topical Gel", "info"),
        ("diclofenac sodium 50 MG Delayed Release Oral Tablet", "critical"),
        ("diclofenac potassium 25 MG Oral Capsule softgel", "critical"),
    ],
)
def test_only_diclofenac_on_the_skin_is_without_precautions(display: str, level: str) -> None:
    cards = cards_of(order_request(medicine("0", display), person(), medicine(*WARFARIN)))

    assert of_rule(cards) == [level]


def test_a_bleeding_ulcer_that_is_over_is_told_on_the_card() -> None:
    ulcer = {
        "resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}, "clinicalStatus": "resolved",
        "verificationStatus": "confirmed", "onsetDateTime": "2017-08-05", "abatementDateTime": "2017-09-01",
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "89748001"}]},
    }  # fmt: skip

    with_ulcer = cards_of(order_request(medicine(*IBUPROFEN), person("1982-01-07"), medicine(*WARFARIN), ulcer))
    without = cards_of(order_request(medicine(*IBUPROFEN), person("1982-01-07"), medicine(*WARFARIN)))

    assert "the risk is higher" in str(with_ulcer[0].card.detail)
    assert "the risk is higher" not in str(without[0].card.detail)


def test_the_age_that_is_not_known_is_told_as_not_checked() -> None:
    cards = cards_of(order_request(medicine(*IBUPROFEN), medicine(*WARFARIN), medicine(*RABEPRAZOLE)))

    assert of_rule(cards) == ["warning"]
    assert "Above 65 years" in str(cards[-1].card.detail)


def test_a_proton_pump_inhibitor_added_to_the_same_orders_lowers_the_level() -> None:
    alone = order_request(medicine(*IBUPROFEN), person(), medicine(*WARFARIN))
    together = order_request([medicine(*IBUPROFEN), medicine(*RABEPRAZOLE)], person(), medicine(*WARFARIN))

    assert of_rule(cards_of(alone)) == ["critical"]
    assert of_rule(cards_of(together)) == ["warning"]


def measured(code: str, value: float, unit: str, on: str) -> Json:
    """A laboratory result."""
    return {
        "resourceType": "Observation", "id": f"o{code}", "status": "final", "subject": {"reference": "Patient/p"},
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "effectiveDateTime": on,
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }  # fmt: skip


NORMAL = {
    "digoxin": measured("10535-3", 0.7, "ng/mL", "2026-11-10"),
    "potassium": measured("75940-7", 4.0, "mmol/L", "2026-11-10"),
    "magnesium": measured("19123-9", 0.8, "mmol/L", "2026-11-10"),
    "calcium": measured("17861-6", 9.0, "mg/dL", "2026-11-10"),
    "creatinine": measured("2160-0", 0.9, "mg/dL", "2026-11-10"),
}
FUROSEMIDE = medicine("313988", "Furosemide 40 MG Oral Tablet")
DIGOXIN_ROWS: list[tuple[str, tuple[str, str], dict[str, Any], list[Json], str]] = [
    ("ciclosporin new, normal level", CYCLOSPORINE, {}, [medicine(*DIGOXIN)], "warning"),
    ("ciclosporin new, no level", CYCLOSPORINE, {"digoxin": None}, [medicine(*DIGOXIN)], "critical"),
    ("ciclosporin new, level at the limit", CYCLOSPORINE,
     {"digoxin": measured("10535-3", 0.9, "ng/mL", "2026-11-10")}, [medicine(*DIGOXIN)], "critical"),
    ("ciclosporin new, level of 31 days ago", CYCLOSPORINE,
     {"digoxin": measured("10535-3", 0.7, "ng/mL", "2026-10-20")}, [medicine(*DIGOXIN)], "critical"),
    ("ciclosporin new, level of 30 days ago", CYCLOSPORINE,
     {"digoxin": measured("10535-3", 0.7, "ng/mL", "2026-10-21")}, [medicine(*DIGOXIN)], "warning"),
    ("ciclosporin continued, no level", CYCLOSPORINE, {"digoxin": None},
     [medicine(*DIGOXIN), medicine(*CYCLOSPORINE)], "warning"),
    ("ciclosporin continued, all normal", CYCLOSPORINE, {}, [medicine(*DIGOXIN), medicine(*CYCLOSPORINE)], "info"),
    ("digoxin new", DIGOXIN, {}, [medicine(*CYCLOSPORINE)], "warning"),
    ("digoxin continued, all normal", DIGOXIN, {}, [medicine(*DIGOXIN), medicine(*CYCLOSPORINE)], "info"),
    ("digoxin continued, loop diuretic", DIGOXIN, {},
     [medicine(*DIGOXIN), medicine(*CYCLOSPORINE), FUROSEMIDE], "warning"),
    *((f"digoxin continued, no {what}", DIGOXIN, {what: None}, [medicine(*DIGOXIN), medicine(*CYCLOSPORINE)], "warning")
      for what in ("potassium", "magnesium", "calcium", "creatinine")),
    ("digoxin continued, potassium 3.5", DIGOXIN, {"potassium": measured("75940-7", 3.5, "mmol/L", "2026-11-10")},
     [medicine(*DIGOXIN), medicine(*CYCLOSPORINE)], "warning"),
    ("digoxin continued, creatinine 1.2", DIGOXIN, {"creatinine": measured("2160-0", 1.2, "mg/dL", "2026-11-10")},
     [medicine(*DIGOXIN), medicine(*CYCLOSPORINE)], "warning"),
    ("digoxin continued, calcium of two years ago", DIGOXIN,
     {"calcium": measured("17861-6", 9.0, "mg/dL", "2024-11-10")},
     [medicine(*DIGOXIN), medicine(*CYCLOSPORINE)], "warning"),
]  # fmt: skip


@pytest.mark.parametrize("what, order, changed, taken, level", DIGOXIN_ROWS, ids=[row[0] for row in DIGOXIN_ROWS])
def test_digoxin_with_ciclosporin_is_judged_by_its_context(
    what: str, order: tuple[str, str], changed: dict[str, Any], taken: list[Json], level: str
) -> None:
    results = [result for result in {**NORMAL, **changed}.values() if result is not None]

    cards = cards_of(order_request(medicine(*order), person(), *taken, *results))

    assert of_rule(cards) == [level]


_LEVEL = measured("10535-3", 2.3, "ng/mL", "")
OLD_LEVEL = {k: v for k, v in _LEVEL.items() if k != "effectiveDateTime"} | {"issued": "2018-08-04T14:34:00+01:00"}
FURTHER: list[tuple[str, tuple[str, str], list[Json], str]] = [
    # requests of the guide that are not among the shared files, by the description in its page on test data
    ("warfarin 3: dispensed, above 65, corticosteroid", IBUPROFEN,
     [medicine(*WARFARIN, kind="MedicationDispense", status="completed"), person("1948-05-10"),
      medicine("312617", "predniSONE 5 MG Oral Tablet")], "critical"),
    ("warfarin 4: administered, NSAID taken", IBUPROFEN,
     [medicine(*WARFARIN, kind="MedicationAdministration", status="completed", effectivePeriod={"extension": []}),
      person("1982-01-07"), medicine(*IBUPROFEN)], "critical"),
    ("warfarin 5: statement, aldosterone antagonist", IBUPROFEN,
     [medicine(*WARFARIN, kind="MedicationStatement"), person("1982-01-07"),
      medicine("313096", "spironolactone 25 MG Oral Tablet")], "critical"),
    ("digoxin 2: ciclosporin continued, potassium only", CYCLOSPORINE,
     [medicine(*DIGOXIN, kind="MedicationDispense", status="completed"), medicine(*CYCLOSPORINE), NORMAL["potassium"]],
     "warning"),
    ("digoxin 3: digoxin new, creatinine only", DIGOXIN, [medicine(*CYCLOSPORINE), NORMAL["creatinine"]], "warning"),
    ("digoxin 4: digoxin continued, old high level", DIGOXIN,
     [medicine(*CYCLOSPORINE), medicine(*DIGOXIN, kind="MedicationDispense", status="completed"), OLD_LEVEL],
     "warning"),
]  # fmt: skip


@pytest.mark.parametrize("what, order, record, level", FURTHER, ids=[row[0] for row in FURTHER])
def test_a_further_scenario_of_the_guide_gets_its_level(
    what: str, order: tuple[str, str], record: list[Json], level: str
) -> None:
    cards = cards_of(order_request({**medicine(*order), "id": "ordered"}, *record))

    assert of_rule(cards) == [level]


def test_an_order_of_another_patient_is_said_loudly_not_moved() -> None:
    order = medicine(*IBUPROFEN, patient="someone-else")

    cards = cards_of(order_request(order, person(), medicine(*WARFARIN), medicine(*DIGOXIN, patient="p")))

    assert cards[-1].card.indicator == "warning"
    assert "whose order it is" in str(cards[-1].card.detail)


def test_a_rule_that_names_what_does_not_exist_is_refused() -> None:
    rule = load_contextual(knowledge())[0]
    rows = [{"when": "on(nonsense)", "level": "info", "text": "x"}]
    wrong = copy.deepcopy(rule.model_dump()) | {"rows": rows}

    with pytest.raises(KnowledgeError, match="nonsense"):
        checked(ContextualRule.model_validate(wrong), knowledge(), "here")


def test_every_row_cites_the_guide_and_each_level_is_reached() -> None:
    rules = {rule.id: rule for rule in load_contextual(knowledge())}

    assert set(rules) == {"warfarin-nsaid", "digoxin-cyclosporine"}
    assert all(rule.source in knowledge().citations and rule.status == "verified" for rule in rules.values())
    assert {row.level for row in rules["warfarin-nsaid"].rows} == {"info", "warning", "critical"}


def test_a_warning_of_the_guide_is_no_second_warning_of_our_own() -> None:
    cards = cards_of(real_request("request-warfarin-nsaid-scenario-02.json"))

    assert indicators(cards).count("warning") == 1
