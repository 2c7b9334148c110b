"""Cards: their shape, their tiers on a cohort, no repeats between the hooks of one order, and suggestions that work."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any

import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhir.resources.R4B.servicerequest import ServiceRequest

from hooks import (
    NOW,
    PLACE,
    TODAY,
    Json,
    assert_valid_answer,
    cards_of,
    client,
    indicators,
    loudest,
    medicine,
    order_request,
    person,
    real_request,
)
from posologist.core.recommendation import NotChecked
from posologist.serve.hooks.cards import REASONS, SUMMARY_LENGTH, Dealt, markdown, plain, short
from posologist.serve.hooks.memory import DealtCards
from posologist.serve.hooks.requests import parse_request
from posologist.serve.hooks.rules import INTERRUPTIVE
from shared import shared_data

WARFARIN = medicine("855295", "Warfarin Sodium 10 MG", intent="order")
IBUPROFEN = medicine("197805", "Ibuprofen 400 MG Oral Tablet", intent="order")
VERAPAMIL = medicine("897722", "verapamil hydrochloride 40 MG Oral Tablet", intent="order")
DIGOXIN = medicine("197604", "Digoxin 0.125 MG Oral Tablet", intent="order")
RABEPRAZOLE = medicine("854868", "Rabeprazole sodium 20 MG Delayed Release Oral Tablet", intent="order")
KETOROLAC = medicine("834022", "Ketorolac Tromethamine 10 MG Oral Tablet", intent="order")


# ------------------------------------------------------------------------------------------------- tiers on the cohort


@lru_cache(maxsize=1)
def cohort() -> tuple[Json, ...]:
    """An order-sign for each active MedicationRequest of the twelve Synthea patients, with the record as prefetch."""
    found = []
    for path in sorted(shared_data("ehr", "synthea-r4").glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        person_id = next(e["resource"]["id"] for e in document["entry"] if e["resource"]["resourceType"] == "Patient")
        text = json.dumps(document).replace(f"urn:uuid:{person_id}", f"Patient/{person_id}")
        resources = [entry["resource"] for entry in json.loads(text)["entry"]]
        found += [_signing(order, person_id, resources) for order in resources if _is_active_order(order)]
    return tuple(found)


@lru_cache(maxsize=1)
def dealt_to_cohort() -> tuple[tuple[Dealt, ...], ...]:
    """The cards of each order of the cohort."""
    return tuple(cards_of(request) for request in cohort())


def _is_active_order(resource: Json) -> bool:
    return resource["resourceType"] == "MedicationRequest" and resource["status"] == "active"


def _signing(order: Json, patient_id: str, resources: list[Json]) -> Json:
    kinds: dict[str, list[Json]] = {}
    for resource in resources:
        kinds.setdefault(resource["resourceType"], []).append({"resource": resource})
    bundle = {"resourceType": "Bundle", "entry": [{"resource": order}]}
    return {
        "hook": "order-sign",
        "hookInstance": "cohort",
        "context": {"patientId": patient_id, "userId": "Practitioner/1", "draftOrders": bundle},
        "prefetch": {k: {"resourceType": "Bundle", "type": "searchset", "entry": e} for k, e in kinds.items()},
    }


def test_at_most_one_interruptive_card_is_dealt_for_twenty_orders_of_the_cohort() -> None:
    dealt = dealt_to_cohort()

    interruptive = [d for cards in dealt for d in cards if d.card.indicator in INTERRUPTIVE]

    assert len(dealt) == 44
    assert len(interruptive) <= len(dealt) / 20
    assert [d.drugs for d in interruptive] == [("naproxen", "warfarin")]


def test_every_order_of_the_cohort_gets_few_cards_of_the_right_shape() -> None:
    dealt = dealt_to_cohort()

    assert all(1 <= len(cards) <= 4 for cards in dealt)
    for cards in dealt:
        assert_valid_answer({"cards": [_json(d) for d in cards]})


def test_no_allergy_to_pollen_raises_a_drug_alert() -> None:
    of_reyna = [
        cards
        for request, cards in zip(cohort(), dealt_to_cohort(), strict=True)
        if "diphenhydrAMINE" in json.dumps(request["context"])
    ]

    assert of_reyna
    assert all(loudest(cards) == "info" for cards in of_reyna)


def _json(dealt: Dealt) -> Json:
    found: Json = dealt.card.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


# --------------------------------------------------------------------------------------------------------------- tiers


def test_what_is_contraindicated_is_critical_and_only_that_or_what_the_guide_says() -> None:
    ulcer = {
        "resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "K25.4"}]},
    }  # fmt: skip

    with_ulcer = cards_of(order_request(KETOROLAC, person(), ulcer))
    without = cards_of(order_request(IBUPROFEN, person(), DIGOXIN))

    assert with_ulcer[0].card.indicator == "critical"
    assert "ulcer" in with_ulcer[0].card.summary
    assert "critical" not in indicators(without)


def test_a_serious_interaction_warns_for_a_new_order_and_not_for_a_renewal() -> None:
    new = cards_of(order_request({**VERAPAMIL, "id": "new"}, person(), DIGOXIN))
    renewed = cards_of(order_request({**VERAPAMIL, "id": "new"}, person(), DIGOXIN, {**VERAPAMIL, "id": "old"}))

    assert loudest(new) == "warning"
    assert loudest(renewed) == "info"
    assert "Digoxin rises" in renewed[0].card.summary
    assert "serious, but not new" in str(renewed[0].card.detail)


def test_a_renewal_at_a_dose_that_is_too_high_interrupts() -> None:
    once = {"timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}}
    unit = {"unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}

    def lisinopril(mg: float, name: str) -> Json:
        dose = [{"doseQuantity": {"value": mg, **unit}}]
        dosage = {**once, "doseAndRate": dose, "route": {"text": "oral"}}
        return {**medicine("314076", "lisinopril 10 MG Oral Tablet"), "id": name, "dosageInstruction": [dosage]}

    usual = cards_of(order_request(lisinopril(10, "new"), person(), lisinopril(10, "old")))
    high = cards_of(order_request(lisinopril(400, "new"), person(), lisinopril(10, "old")))

    assert loudest(usual) == "info"
    assert high[0].card.indicator == "warning"
    assert "above the maximum" in high[0].card.summary


def test_several_reasons_against_one_order_interrupt_once() -> None:
    cards = cards_of(real_request("multi-update-draft-orders-1.json"))

    assert indicators(cards).count("critical") == 2
    assert [d.card.source.label[:3] for d in cards if d.card.indicator == "critical"] == ["HL7", "pos"]


def test_what_could_not_be_checked_says_what_why_and_what_would_clear_it() -> None:
    card = cards_of(order_request(IBUPROFEN, WARFARIN))[-1].card

    assert card.summary.startswith("Could not check")
    assert "Would clear it" in str(card.detail)
    assert "allergy list" in str(card.detail)


def test_a_record_that_could_not_be_had_is_a_warning_not_a_clean_bill() -> None:
    missing = NotChecked(what="the record", why="the server is not allowed", would_need="prefetch")
    document = {**order_request(IBUPROFEN), "prefetch": {}}

    cards = cards_of(document, missing=(missing,))

    assert loudest(cards) == "warning"
    assert "the server is not allowed" in str(cards[-1].card.detail)


# -------------------------------------------------------------------------------------------- identity and no repeats


def test_the_same_request_gets_the_same_uuids_and_another_patient_others() -> None:
    document = order_request(IBUPROFEN, person(), WARFARIN)
    other = json.loads(json.dumps(document).replace("Patient/p", "Patient/q").replace('"p"', '"q"'))

    once, again, elsewhere = ({d.card.uuid for d in cards_of(r)} for r in (document, document, other))

    assert once == again
    assert not once & elsewhere


def test_order_sign_does_not_repeat_what_order_select_showed_and_says_so() -> None:
    door = client()
    select = order_request(IBUPROFEN, person(), WARFARIN, hook="order-select")
    sign = order_request(IBUPROFEN, person(), WARFARIN)

    first = door.post("/cds-services/posologist-order-select", json=select).json()["cards"]
    second = door.post("/cds-services/posologist-order-sign", json=sign).json()["cards"]

    assert first[0]["indicator"] == "critical"
    assert [card["indicator"] for card in second] == ["info"]
    assert second[0]["summary"] == f"{len(first)} shown when this order was selected, unchanged"
    assert "ibuprofen with warfarin" in second[0]["detail"]


def test_what_is_new_at_signing_is_shown() -> None:
    door = client()
    door.post("/cds-services/posologist-order-select", json=order_request(IBUPROFEN, person(), hook="order-select"))

    cards = door.post("/cds-services/posologist-order-sign", json=order_request(IBUPROFEN, person(), WARFARIN)).json()

    assert cards["cards"][0]["indicator"] == "critical"


def test_an_order_that_could_not_be_checked_is_told_at_both_hooks() -> None:
    door = client()
    documents = [real_request(f"{hook}.json", "captured-from-sandbox") for hook in ("order-select", "order-sign")]

    answers = [door.post(f"/cds-services/posologist-{d['hook']}", json=d).json()["cards"] for d in documents]

    assert [[card["indicator"] for card in cards] for cards in answers] == [["warning"], ["warning"]]


def test_the_cards_of_one_patient_do_not_silence_those_of_another() -> None:
    door = client()
    select = order_request(IBUPROFEN, person(), WARFARIN, hook="order-select")
    other = json.loads(json.dumps(order_request(IBUPROFEN, person(), WARFARIN)).replace('"p"', '"q"'))
    other = json.loads(json.dumps(other).replace("Patient/p", "Patient/q"))

    door.post("/cds-services/posologist-order-select", json=select)
    cards = door.post("/cds-services/posologist-order-sign", json=other).json()["cards"]

    assert cards[0]["indicator"] == "critical"


def test_a_client_that_asks_for_repeats_gets_them() -> None:
    door = client()
    select = order_request(IBUPROFEN, person(), WARFARIN, hook="order-select")
    asked = {"extension": {"pddi-configuration-items": {"filter-out-repeated-alerts": False}}}

    door.post("/cds-services/posologist-order-select", json=select)
    cards = door.post(
        "/cds-services/posologist-order-sign", json=order_request(IBUPROFEN, person(), WARFARIN, **asked)
    ).json()["cards"]

    assert cards[0]["indicator"] == "critical"


def test_signing_twice_shows_the_cards_twice() -> None:
    door = client()
    sign = order_request(IBUPROFEN, person(), WARFARIN)

    answers = [door.post("/cds-services/posologist-order-sign", json=sign).json() for _ in range(2)]

    assert answers[0] == answers[1]


def test_remembered_cards_are_bounded_in_time_and_number() -> None:
    memory = DealtCards(most=2, keeps=timedelta(hours=1))
    document = order_request(IBUPROFEN, person(), WARFARIN, hook="order-select")
    request = parse_request(json.dumps(document).encode(), hook="order-select")
    cards = cards_of(document)

    memory.keep(request, cards, NOW)

    assert len(cards) > 2
    assert [memory.find(d.card.uuid, NOW) is not None for d in cards].count(True) == 2
    assert memory.find(cards[-1].card.uuid, NOW + timedelta(hours=2)) is None


# --------------------------------------------------------------------------------------------------------- suggestions


def suggestions(cards: tuple[Dealt, ...]) -> Iterator[tuple[str, Any]]:
    """Label and actions of every suggestion."""
    for d in cards:
        for suggestion in d.card.suggestions or ():
            yield suggestion.label, suggestion.actions


def test_suggestions_are_ready_fhir_that_an_oracle_reads() -> None:
    cyclosporine = medicine("835925", "cyclosporine, modified 50 MG Oral Capsule", intent="order")
    documents = [
        order_request(IBUPROFEN, person(), WARFARIN),
        order_request(cyclosporine, person(), DIGOXIN),
        order_request(VERAPAMIL, person(), DIGOXIN),
        order_request(IBUPROFEN, person(), WARFARIN, RABEPRAZOLE),
    ]
    actions = [action for r in documents for _, listed in suggestions(cards_of(r)) for action in listed]

    assert Counter(action.type for action in actions) >= Counter({"delete": 3, "create": 2, "update": 1})
    for action in actions:
        if action.type == "delete":
            assert action.resource_id in (
                "MedicationRequest/m197805",
                "MedicationRequest/m835925",
                "MedicationRequest/m897722",
            )
        else:
            kind = {"MedicationRequest": MedicationRequest, "ServiceRequest": ServiceRequest}
            assert action.resource is not None
            kind[action.resource["resourceType"]].model_validate(action.resource)


def test_replacing_the_nsaid_removes_it_and_orders_acetaminophen_for_the_same_patient() -> None:
    found = dict(suggestions(cards_of(order_request(IBUPROFEN, person(), WARFARIN))))

    remove, create = found["Replace the NSAID by acetaminophen 325 mg tablets"]

    assert (remove.type, remove.resource_id) == ("delete", "MedicationRequest/m197805")
    assert create.resource["medicationCodeableConcept"]["coding"][0]["code"] == "313782"
    assert create.resource["subject"] == {"reference": "Patient/p"}
    assert create.resource["status"] == "draft"


def test_an_order_without_an_id_gets_no_suggestion_that_would_only_add() -> None:
    order = {k: v for k, v in IBUPROFEN.items() if k != "id"}

    assert list(suggestions(cards_of(order_request(order, person(), WARFARIN)))) == []


def test_a_contraindicated_order_is_not_kept_with_one_click() -> None:
    labels = [label for label, _ in suggestions(cards_of(real_request("multi-update-draft-orders-1.json")))]

    assert labels
    assert not any("Keep" in label for label in labels)


def test_interruptive_cards_offer_the_six_reasons_and_a_link_to_our_page() -> None:
    cards = cards_of(order_request(IBUPROFEN, person(), WARFARIN))

    reasons = cards[0].card.override_reasons or ()
    assert [reason.code for reason in reasons] == list(REASONS)
    assert len(REASONS) == 6
    assert cards[0].card.links is not None
    assert cards[0].card.links[0].url == "https://example.org/patients/p"
    assert cards[-1].card.override_reasons is None


# ---------------------------------------------------------------------------------------------------------------- text


NASTY = ["<script>alert(1)</script>", "[x](https://evil.example)", "![x](https://evil.example/x.png)", "a\u202eb\x00c"]


@pytest.mark.parametrize("nasty", NASTY, ids=["script", "link", "image", "hidden"])
def test_names_in_a_record_are_inert_on_a_card(nasty: str) -> None:
    order = medicine("99999999", nasty)
    allergy = {
        "resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/p"}, "code": {"text": nasty},
    }  # fmt: skip

    cards = cards_of(order_request(order, person(), WARFARIN, allergy))

    assert cards
    for d in cards:
        shown = f"{d.card.summary}\n{d.card.detail}"
        assert "<" not in shown
        assert "](" not in shown
        assert "://" not in str(d.card.detail)
        assert "\u202e" not in shown
        assert "\x00" not in shown


def test_a_patient_id_that_is_no_id_does_not_reach_a_link() -> None:
    document = order_request(IBUPROFEN, WARFARIN)
    document["context"]["patientId"] = "p/../../admin?x"

    links = [link.url for d in cards_of(document) for link in d.card.links or ()]

    assert set(links) == {PLACE.patient_page.replace("{patient}", "")}


def test_summaries_are_cut_at_a_word_below_140_characters() -> None:
    assert len(short("word " * 100)) <= SUMMARY_LENGTH
    assert short("word " * 100).endswith("word …")
    assert short("short") == "short"
    assert len(short("x" * 500)) <= SUMMARY_LENGTH
    assert plain("a\n b\t<i>") == "a b ‹i›"
    assert markdown("*a* [b](c)") == r"\*a\* (b)(c)"


# -------------------------------------------------------------------------------------------------------- patient-view


def viewing(*record: Json) -> Json:
    """A patient-view of patient `p`."""
    document = order_request(IBUPROFEN, *record)
    return {**document, "hook": "patient-view", "context": {"patientId": "p", "userId": "Practitioner/1"}}


def problem(code: str) -> Json:
    """A problem by its ICD-10 code."""
    return {
        "resourceType": "Condition", "id": code, "subject": {"reference": "Patient/p"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]},
    }  # fmt: skip


def test_patient_view_tells_what_is_dangerous_and_the_leading_plan_in_two_cards() -> None:
    cards = cards_of(viewing(person("1960-01-01"), problem("I10"), problem("I48.0"), WARFARIN, IBUPROFEN))

    assert len(cards) == 2
    assert "ibuprofen and warfarin" in cards[0].card.summary or "warfarin and ibuprofen" in cards[0].card.summary
    assert cards[1].card.summary.startswith("Leading plans: ")
    assert "ypertension" in str(cards[1].card.detail)
    assert "brillation" in str(cards[1].card.detail)


def test_patient_view_of_a_bare_patient_says_that_nothing_could_be_checked() -> None:
    cards = cards_of(real_request("patient-view.json", "captured-from-sandbox"))

    assert [d.card.indicator for d in cards] == ["warning"]
    assert "Could not check" in cards[0].card.summary


def test_patient_view_never_stops_the_opening_of_a_chart() -> None:
    cards = cards_of(viewing(person("1960-01-01"), problem("K25.4"), WARFARIN, KETOROLAC))

    assert "critical" not in indicators(cards)
    assert cards[0].card.indicator == "warning"


def test_answers_do_not_change_the_request() -> None:
    document = order_request(IBUPROFEN, person(), WARFARIN)
    before = copy.deepcopy(document)

    cards_of(document)

    assert document == before
    assert TODAY.year == 2026


def test_patient_view_of_a_record_that_is_partly_unreadable_is_a_warning() -> None:
    document = viewing(person("1960-01-01"), WARFARIN)
    whole = cards_of(document)
    document["prefetch"]["record"]["entry"].append({"resource": {"id": "w"}})

    assert indicators(whole) == ["info"]
    assert indicators(cards_of(document)) == ["warning"]
