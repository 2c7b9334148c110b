"""Requests varied from those of HL7 PDDI-CDS: how a medicine is recorded, when, by which code; each level by the guide.

Expected levels follow WarfarinNSAIDsCDSLogic and DigoxinCyclosporineCDSLogic 1.0.0 (github.com/HL7/PDDI-CDS,
input/cql): a medicine counts as taken by a request, statement, administration or dispense of the last 100 days. What
was stopped, cancelled or entered in error does not count here, and of several results the newest does.
"""

from __future__ import annotations

from typing import Any

import pytest

from hooks import Json, cards_of, medicine, order_request, person
from test_hooks_pddi import (
    CYCLOSPORINE,
    DIGOXIN,
    IBUPROFEN,
    NORMAL,
    RABEPRAZOLE,
    WARFARIN,
    measured,
    of_rule,
)

ORDERED = {**medicine(*IBUPROFEN), "id": "ordered"}
NEW_DIGOXIN = {**medicine(*DIGOXIN), "id": "ordered"}
NEW_CYCLOSPORINE = {**medicine(*CYCLOSPORINE), "id": "ordered"}
BOTH = [medicine(*DIGOXIN), medicine(*CYCLOSPORINE)]
RESULTS = list(NORMAL.values())
DAY = "2026-11-01"
LATELY: list[tuple[str, str, Json]] = [
    ("MedicationRequest", "completed", {"authoredOn": DAY}),
    ("MedicationStatement", "completed", {"effectiveDateTime": DAY}),
    ("MedicationStatement", "completed", {"effectivePeriod": {"start": "2026-01-01", "end": DAY}}),
    ("MedicationAdministration", "completed", {"effectiveDateTime": DAY}),
    ("MedicationDispense", "completed", {"whenHandedOver": DAY}),
    ("MedicationDispense", "unknown", {"whenHandedOver": DAY}),
]
_LATELY = pytest.mark.parametrize(
    "kind, status, dated", LATELY, ids=[f"{k} {s} {n}" for n, (k, s, _) in enumerate(LATELY)]
)


def level(order: Json, *record: Json) -> list[str]:
    """Levels of the rule's cards for one order."""
    return of_rule(cards_of(order_request(order, person(), *record)))


@_LATELY
def test_warfarin_of_the_last_hundred_days_counts_however_its_course_ended(kind: str, status: str, dated: Json) -> None:
    assert level(ORDERED, medicine(*WARFARIN, kind=kind, status=status, **dated)) == ["critical"]


@_LATELY
def test_a_proton_pump_inhibitor_of_the_last_hundred_days_protects(kind: str, status: str, dated: Json) -> None:
    protecting = medicine(*RABEPRAZOLE, kind=kind, status=status, **dated)

    assert level(ORDERED, medicine(*WARFARIN), protecting) == ["warning"]


@_LATELY
@pytest.mark.parametrize("drug", [("4603", "furosemide"), ("313096", "spironolactone 25 MG Oral Tablet")])
def test_a_diuretic_of_the_last_hundred_days_warns(kind: str, status: str, dated: Json, drug: tuple[str, str]) -> None:
    diuretic = medicine(*drug, kind=kind, status=status, **dated)

    assert level(NEW_DIGOXIN, *BOTH, *RESULTS, diuretic) == ["warning"]


@_LATELY
def test_a_continued_order_is_one_however_the_medicine_is_recorded(kind: str, status: str, dated: Json) -> None:
    taken = medicine(*CYCLOSPORINE, kind=kind, status=status, **dated)

    assert level(NEW_CYCLOSPORINE, medicine(*DIGOXIN), taken, *RESULTS) == ["info"]


@pytest.mark.parametrize(
    "kind, members",
    [
        ("MedicationRequest", {"status": "completed", "authoredOn": "2026-08-11"}),
        ("MedicationRequest", {"status": "completed"}),
        ("MedicationRequest", {"status": "cancelled", "authoredOn": DAY}),
        ("MedicationRequest", {"status": "entered-in-error", "authoredOn": DAY}),
        ("MedicationRequest", {"status": "active", "authoredOn": DAY, "doNotPerform": True}),
        ("MedicationRequest", {"status": "active", "authoredOn": DAY, "intent": "proposal"}),
        ("MedicationStatement", {"status": "not-taken", "effectiveDateTime": DAY}),
        ("MedicationStatement", {"status": "entered-in-error", "effectiveDateTime": DAY}),
        ("MedicationDispense", {"status": "declined", "whenHandedOver": DAY}),
    ],
)
def test_warfarin_that_is_not_taken_is_no_interaction(kind: str, members: Json) -> None:
    assert level(ORDERED, medicine(*WARFARIN, kind=kind, **members)) == []


@pytest.mark.parametrize(
    "code, display, expected",
    [
        ("140587", "celecoxib", "critical"), ("849574", "Naproxen sodium 220 MG Oral Tablet", "critical"),
        ("41493", "meloxicam", "critical"), ("0", "Voltaren 50 mg tablet", "critical"),
        ("0", "Voltaren 1 % gel", "info"),
        ("0", "diclofenac sodium 16 MG/ML Topical Solution", "info"),
    ],
)  # fmt: skip
def test_an_nsaid_is_known_by_ingredient_brand_and_product(code: str, display: str, expected: str) -> None:
    assert level({**medicine(code, display), "id": "o"}, medicine(*WARFARIN)) == [expected]


@pytest.mark.parametrize(
    "code, display",
    [("11289", "warfarin"), ("855334", "Warfarin Sodium 5 MG Oral Tablet [Coumadin]"), ("0", "Jantoven")],
)
def test_warfarin_is_known_by_ingredient_brand_and_product(code: str, display: str) -> None:
    assert level(ORDERED, medicine(code, display)) == ["critical"]


@pytest.mark.parametrize(
    "code, display, expected",
    [
        ("7646", "omeprazole", "warning"), ("0", "Nexium 40 mg", "warning"), ("42331", "misoprostol", "warning"),
        ("4278", "famotidine 20 MG Oral Tablet", "critical"), ("36437", "sertraline", "critical"),
    ],
)  # fmt: skip
def test_only_a_proton_pump_inhibitor_or_misoprostol_protects(code: str, display: str, expected: str) -> None:
    assert level(ORDERED, medicine(*WARFARIN), medicine(code, display)) == [expected]


def _without(order: Json) -> Json:
    return {key: value for key, value in order.items() if key != "medicationCodeableConcept"}


def _medication(of: Json, name: str) -> Json:
    return {"resourceType": "Medication", "id": name, "code": of["medicationCodeableConcept"]}


KINDS = ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["contained", "beside", "urn"])
def test_a_medicine_that_stands_in_a_resource_of_its_own_is_found(kind: str, how: str) -> None:
    whole = medicine(*WARFARIN, kind=kind, status="active" if kind in KINDS[:2] else "completed")
    pointer = {"contained": "#w", "beside": "Medication/w", "urn": "urn:uuid:5e9f0d1c"}[how]
    taken = {**_without(whole), "medicationReference": {"reference": pointer}}
    own = _medication(whole, "w")
    document = order_request(ORDERED, person(), taken | ({"contained": [own]} if how == "contained" else {}))
    if how != "contained":
        address = {"fullUrl": pointer} if how == "urn" else {}
        bare = {key: value for key, value in own.items() if key != "id" or how != "urn"}
        document["prefetch"]["record"]["entry"].append({**address, "resource": bare})

    assert of_rule(cards_of(document)) == ["critical"]


@pytest.mark.parametrize("pointer", ["Medication/i", "urn:uuid:5e9f0d1c"])
def test_the_medicine_of_an_order_is_found_among_the_drafts(pointer: str) -> None:
    order = {**_without(ORDERED), "medicationReference": {"reference": pointer}}
    document = order_request(order, person(), medicine(*WARFARIN))
    entry = {"fullUrl": "urn:uuid:5e9f0d1c", "resource": _medication(ORDERED, "i")}
    document["context"]["draftOrders"]["entry"].append(entry)

    assert of_rule(cards_of(document)) == ["critical"]


SNOMED, ICD = "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10-cm"


@pytest.mark.parametrize(
    "system, code",
    [
        (SNOMED, "61401005"),
        (SNOMED, "109558001"),
        (SNOMED, "62341002"),
        (ICD, "K25.4"),
        (ICD, "K28.4"),
        (ICD, "K31.82"),
    ],
)
@pytest.mark.parametrize("status", ["active", "resolved"])
def test_a_bleed_of_the_upper_gut_is_known_by_its_coding(system: str, code: str, status: str) -> None:
    bleed = {
        "resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"},
        "clinicalStatus": {"coding": [{"code": status}]}, "code": {"coding": [{"system": system, "code": code}]},
    }  # fmt: skip

    cards = cards_of(order_request(ORDERED, person(), medicine(*WARFARIN), medicine(*RABEPRAZOLE), bleed))

    assert "the risk is higher" in str(cards[0].card.detail)


@pytest.mark.parametrize("born, above", [("1960-11-20", True), ("1960-11-21", False), ("1961-11-20", False)])
def test_above_65_begins_with_the_66th_birthday(born: str, above: bool) -> None:
    cards = cards_of(order_request(ORDERED, person(born), medicine(*WARFARIN), medicine(*RABEPRAZOLE)))

    assert ("the risk is higher" in str(cards[0].card.detail)) is above


def _changed(name: str, *results: Json) -> list[Json]:
    return [*(found for key, found in NORMAL.items() if key != name), *results]


def _result(loinc: str, value: float, unit: str, on: str = "2026-11-10", **members: Any) -> Json:
    return {**measured(loinc, value, unit, on), **members}


RESULT_ROWS: list[tuple[str, str, list[Json], str]] = [
    ("magnesium at its lower limit", "magnesium", [_result("19123-9", 0.7, "mmol/L")], "warning"),
    ("magnesium at its upper limit", "magnesium", [_result("19123-9", 1.1, "mmol/L")], "warning"),
    ("magnesium just within", "magnesium", [_result("2601-3", 0.71, "mmol/L")], "info"),
    ("magnesium in mg/dL", "magnesium", [_result("19123-9", 2.0, "mg/dL")], "info"),
    ("potassium in mEq/L", "potassium", [_result("2823-3", 4.0, "meq/L")], "info"),
    ("potassium at its upper limit", "potassium", [_result("75940-7", 5.0, "mmol/L")], "warning"),
    ("calcium at its upper limit", "calcium", [_result("17861-6", 10.2, "mg/dL")], "warning"),
    ("creatinine in umol/L", "creatinine", [_result("14682-9", 80, "umol/L")], "info"),
    ("creatinine at its lower limit", "creatinine", [_result("2160-0", 0.6, "mg/dL")], "warning"),
    ("creatinine of a year ago", "creatinine", [_result("2160-0", 0.9, "mg/dL", "2025-11-20")], "info"),
    ("creatinine of a year and a day ago", "creatinine", [_result("2160-0", 0.9, "mg/dL", "2025-11-19")], "warning"),
    ("creatinine in error", "creatinine", [_result("2160-0", 0.9, "mg/dL", status="entered-in-error")], "warning"),
    ("creatinine that rose", "creatinine",
     [_result("2160-0", 0.9, "mg/dL", "2026-10-01"), _result("2160-0", 1.4, "mg/dL", id="later")], "warning"),
    ("creatinine that fell", "creatinine",
     [_result("2160-0", 1.4, "mg/dL", "2026-10-01"), _result("2160-0", 0.9, "mg/dL", id="later")], "info"),
    ("digoxin in nmol/L", "digoxin", [_result("10535-3", 1.0, "nmol/L")], "info"),
    ("digoxin of tomorrow", "digoxin", [_result("10535-3", 0.5, "ng/mL", "2026-11-21")], "warning"),
    ("digoxin that rose", "digoxin",
     [_result("10535-3", 0.7, "ng/mL", "2026-11-01"), _result("10535-3", 2.0, "ng/mL", id="later")], "warning"),
]  # fmt: skip


@pytest.mark.parametrize("what, name, results, expected", RESULT_ROWS, ids=[row[0] for row in RESULT_ROWS])
@pytest.mark.parametrize("turned", [False, True])
def test_the_newest_result_within_its_time_and_limits_decides(
    what: str, name: str, results: list[Json], expected: str, turned: bool
) -> None:
    listed = _changed(name, *(reversed(results) if turned else results))

    assert level(NEW_DIGOXIN, *BOTH, *listed) == [expected]


@pytest.mark.parametrize(
    "code, display, expected",
    [
        ("1808", "bumetanide", "warning"), ("38413", "torsemide", "warning"), ("298869", "eplerenone", "warning"),
        ("5487", "hydrochlorothiazide", "info"),
    ],
)  # fmt: skip
def test_only_loop_diuretics_and_aldosterone_antagonists_warn(code: str, display: str, expected: str) -> None:
    assert level(NEW_DIGOXIN, *BOTH, *RESULTS, medicine(code, display)) == [expected]


@pytest.mark.parametrize("brand", ["Neoral 100 MG", "Sandimmune", "Gengraf", "ciclosporin 50 mg"])
def test_ciclosporin_is_known_by_brand(brand: str) -> None:
    assert level({**medicine("0", brand), "id": "o"}, medicine(*DIGOXIN), *_changed("digoxin")) == ["critical"]


def test_ciclosporin_eye_drops_are_no_ciclosporin() -> None:
    drops = {**medicine("0", "cyclosporine 0.5 MG/ML Ophthalmic Suspension"), "id": "o"}

    assert level(drops, medicine(*DIGOXIN)) == []


# ---------------------------------------------------------------------------------- what is there and cannot be read


def _broken(resource: Any) -> Json:
    document = order_request(ORDERED, person(), medicine("7646", "omeprazole"))
    empty = {"resourceType": "Bundle", "type": "searchset", "total": 0}
    document["prefetch"] |= {"conditions": empty, "allergies": empty}
    if resource is not None:
        document["prefetch"]["record"]["entry"].append(resource)
    return document


UNTYPED = {"resource": {key: value for key, value in medicine(*WARFARIN).items() if key != "resourceType"}}


@pytest.mark.parametrize("entry", [UNTYPED, {"resource": None}, {"resource": "warfarin"}, "warfarin", 7, {"x": 1}])
def test_an_entry_that_is_no_resource_is_a_warning_and_not_passed_over(entry: Any) -> None:
    cards = cards_of(_broken(entry))

    assert cards[-1].card.indicator == "warning"
    assert "holds no FHIR resource" in str(cards[-1].card.detail)
    assert cards_of(_broken(None))[-1].card.indicator == "info"


@pytest.mark.parametrize(
    "members", [{"total": 40}, {"link": [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]}]
)
def test_one_page_of_a_longer_search_is_a_warning(members: Json) -> None:
    document = _broken(None)
    document["prefetch"]["record"] |= members

    cards = cards_of(document)

    assert cards[-1].card.indicator == "warning"
    assert "further pages" in str(cards[-1].card.detail)


@pytest.mark.parametrize("members", [{"total": 5}, {"link": [{"relation": "next", "url": "https://ehr.example/2"}]}])
def test_a_search_that_found_something_and_brings_nothing_is_no_empty_list(members: Json) -> None:
    document = order_request(ORDERED, person())
    document["prefetch"]["medications"] = {"resourceType": "Bundle", "type": "searchset", **members}

    cards = cards_of(document)

    assert cards[-1].card.indicator == "warning"
    assert "medication list" in str(cards[-1].card.detail)


def test_a_bundle_whose_entries_are_no_list_is_a_warning() -> None:
    document = _broken(None)
    document["prefetch"]["more"] = {"resourceType": "Bundle", "entry": {"0": {"resource": medicine(*WARFARIN)}}}

    assert cards_of(document)[-1].card.indicator == "warning"


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_entries_of_one_id_none_is_passed_over(turned: bool) -> None:
    same = [{**medicine(*WARFARIN), "id": "same"}, {**medicine("161", "acetaminophen"), "id": "same"}]

    cards = cards_of(order_request(ORDERED, person(), *(reversed(same) if turned else same)))

    assert of_rule(cards) == ["critical"]
    assert "MedicationRequest/same" in str(cards[-1].card.detail)


def test_of_two_dated_versions_of_one_entry_the_newer_counts() -> None:
    older = {**medicine(*WARFARIN), "id": "same", "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}}
    newer = {**older, "status": "stopped", "meta": {"lastUpdated": "2026-02-01T00:00:00Z"}}

    for versions in ([older, newer], [newer, older]):
        assert level(ORDERED, *versions) == []


def test_the_same_entry_twice_is_one() -> None:
    cards = cards_of(order_request(ORDERED, person(), medicine(*WARFARIN), medicine(*WARFARIN)))

    assert of_rule(cards) == ["critical"]
    assert "several times" not in str(cards)
