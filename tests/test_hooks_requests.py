"""CDS Hooks requests: what clients were seen to send is read, anything else is a clear problem."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hooks import (
    NOW,
    Json,
    assert_valid_answer,
    cards_of,
    client,
    hook_of_file,
    medicine,
    order_request,
    person,
    posted,
    real_files,
    real_request,
)
from posologist.core.errors import InputError
from posologist.serve.hooks.requests import HOOKS, parse_request
from posologist.serve.hooks.routes import HooksSettings

WARFARIN = medicine("855295", "Warfarin Sodium 10 MG")
IBUPROFEN = medicine("197805", "Ibuprofen 400 MG Oral Tablet")


# ------------------------------------------------------------------------------------------------------- real traffic


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.stem)
def test_every_real_request_is_answered_with_valid_cards_and_never_with_none(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))

    response = posted(client(), document, hook_of_file(document))

    assert response.status_code == 200
    assert_valid_answer(response.json())
    assert response.json()["cards"]


SPEC_REQUESTS = ("examples-L0010-request", "spec-L0168-request", "quickstart-L0116-request")
SPEC_CONTEXTS = {
    "order-select-L0046-context": "order-select",
    "order-sign-L0047-context": "order-sign",
    "order-review-L0031-context": "order-sign",
    "medication-prescribe-L0032-context": "order-sign",
    "medication-prescribe-L0177-context": "order-sign",
}


@pytest.mark.parametrize("name", SPEC_REQUESTS)
def test_a_request_of_the_specification_is_answered(name: str) -> None:
    document = real_request(f"{name}.json", "spec")

    response = posted(client(), document, hook_of_file(document))

    assert response.status_code == 200
    assert_valid_answer(response.json())
    assert response.json()["cards"]


@pytest.mark.parametrize("name", sorted(SPEC_CONTEXTS))
def test_a_context_of_the_specification_is_answered(name: str) -> None:
    document = {"hook": SPEC_CONTEXTS[name], "hookInstance": "x", **real_request(f"{name}.json", "spec")}

    response = posted(client(), document, SPEC_CONTEXTS[name])

    assert response.status_code == 200
    assert_valid_answer(response.json())
    assert response.json()["cards"]


def test_a_request_without_what_the_hook_requires_is_refused() -> None:
    response = posted(client(), real_request("spec-L1066-request.json", "spec"), "patient-view")

    assert response.status_code == 400
    assert "patientId" in response.json()["detail"]


def test_the_sandbox_order_that_names_no_medicine_is_told_as_not_checked() -> None:
    cards = cards_of(real_request("order-sign.json", "captured-from-sandbox"))

    assert [d.card.indicator for d in cards] == ["warning"]
    assert cards[0].card.summary.startswith("Could not check")
    assert "names no medicine" in str(cards[0].card.detail)


# ---------------------------------------------------------------------------------------------------- broken requests

BROKEN: list[tuple[str, Any, str]] = [
    ("nothing", b"", "not JSON"),
    ("no JSON", b"{", "not JSON"),
    ("no UTF-8", b'{"hook": "\xff"}', "UTF-8"),
    ("a list", [], "object"),
    ("not a number", b'{"hook": NaN}', "JSON"),
    ("more than any number", b'{"hook": 1e999}', "too large a number"),
    ("a member twice", b'{"hook": "order-sign", "hook": "order-sign"}', "stands twice"),
    ("nested", b"[" * 100_000, "deep"),
    ("nested objects", b'{"a":' * 90 + b"1" + b"}" * 90, "deep"),
    ("no hook", {"hookInstance": "x", "context": {}}, "hook"),
    ("unknown hook", {"hook": "appointment-book", "hookInstance": "x", "context": {}}, "not served"),
    ("another hook", {"hook": "patient-view", "hookInstance": "x", "context": {"patientId": "p"}}, "not served"),
    ("no instance", {"hook": "order-sign", "context": {"patientId": "p"}}, "hookInstance"),
    ("no context", {"hook": "order-sign", "hookInstance": "x"}, "context"),
    ("context is a list", {"hook": "order-sign", "hookInstance": "x", "context": []}, "context"),
    ("no patient", {"hook": "order-sign", "hookInstance": "x", "context": {"draftOrders": {}}}, "patientId"),
    ("patient is a number", {"hook": "order-sign", "hookInstance": "x", "context": {"patientId": 1}}, "patientId"),
    ("patient is empty", {"hook": "order-sign", "hookInstance": "x", "context": {"patientId": "Patient/"}}, "empty"),
    ("no orders", {"hook": "order-sign", "hookInstance": "x", "context": {"patientId": "p"}}, "draftOrders"),
    *(
        (f"orders are {orders!r}"[:40], {"hook": "order-sign", "hookInstance": "x",
         "context": {"patientId": "p", "draftOrders": orders}}, "draftOrders")
        for orders in (1, "x", {"entry": {}}, {"entry": [1]}, {"entry": [{"resource": {}}]}, [None], [{}] * 101)
    ),
    ("prefetch is a list", order_request(IBUPROFEN, prefetch=[]), "prefetch"),
    ("prefetch without a type", order_request(IBUPROFEN, prefetch={"a": {"b": 1}}), "prefetch.a"),
    ("server is a number", order_request(IBUPROFEN, fhirServer=1), "fhirServer"),
    ("token is a list", order_request(IBUPROFEN, fhirAuthorization={"access_token": []}), "access_token"),
]  # fmt: skip


@pytest.mark.parametrize("what, document, told", BROKEN, ids=[row[0] for row in BROKEN])
def test_a_broken_request_is_a_problem_that_says_where(what: str, document: Any, told: str) -> None:
    response = posted(client(), document)

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert told in response.json()["detail"]


def test_order_select_without_selections_is_refused() -> None:
    document = order_request(IBUPROFEN, hook="order-select")
    del document["context"]["selections"]

    assert posted(client(), document, "order-select").status_code == 400


def test_an_unknown_service_is_not_found_and_a_large_body_is_refused() -> None:
    small = HooksSettings(base_url="http://testserver", signed=False, most_bytes=100)

    assert client().post("/cds-services/other", content=b"{}").status_code == 404
    assert posted(client(small), order_request(IBUPROFEN)).status_code == 413


@pytest.mark.parametrize("orders", [{}, {"resourceType": "Bundle", "entry": []}, []])
def test_a_request_without_an_order_is_told_as_not_checked(orders: Any) -> None:
    document = order_request(IBUPROFEN, person(), WARFARIN)
    document["context"]["draftOrders"] = orders

    cards = cards_of(document)

    assert [d.card.indicator for d in cards] == ["warning"]
    assert "no medicine" in cards[0].card.summary


def test_an_order_that_is_no_medicine_is_told_as_not_checked() -> None:
    imaging = {"resourceType": "ServiceRequest", "id": "s", "status": "draft", "subject": {"reference": "Patient/p"}}

    cards = cards_of(order_request(imaging, person(), WARFARIN))

    assert "ServiceRequest" in cards[0].card.summary


@pytest.mark.parametrize("kind", ["MedicationStatement", "medicationrequest", "MedicationUsage", "RequestGroup"])
def test_a_draft_that_is_no_order_but_may_hide_a_medicine_is_a_warning(kind: str) -> None:
    hidden = {**WARFARIN, "resourceType": kind, "id": "hidden"}
    document = order_request([IBUPROFEN, hidden], person(), medicine("161", "acetaminophen"))
    alone = order_request(IBUPROFEN, person(), medicine("161", "acetaminophen"))

    cards = cards_of(document)

    assert cards[-1].card.indicator == "warning"
    assert f"{kind}/hidden" in str(cards[-1].card.detail)
    assert cards_of(alone)[-1].card.indicator == "info"


def test_an_order_of_something_else_beside_a_medicine_is_no_warning() -> None:
    imaging = {"resourceType": "ServiceRequest", "id": "s", "subject": {"reference": "Patient/p"}}

    cards = cards_of(order_request([IBUPROFEN, imaging], person(), medicine("161", "acetaminophen")))

    assert "warning" not in [d.card.indicator for d in cards]


def test_a_medicine_that_nobody_knows_is_told_as_not_checked() -> None:
    cards = cards_of(order_request(medicine("99999999", "Xyzzyline 5 MG Oral Tablet"), person(), WARFARIN))

    assert cards[-1].card.indicator == "warning"
    assert "Xyzzyline" in str(cards[-1].card.detail)


def test_a_record_in_another_release_is_told_and_the_rest_is_read() -> None:
    newer = {"resourceType": "MedicationUsage", "id": "u", "subject": {"reference": "Patient/p"}}

    cards = cards_of(order_request(IBUPROFEN, person(), WARFARIN, newer))

    assert cards[0].card.summary.startswith("ibuprofen with warfarin")
    assert "MedicationUsage" in str(cards[-1].card.detail)


def test_a_patient_who_has_died_is_not_screened_in_silence() -> None:
    cards = cards_of(order_request(IBUPROFEN, person(deceasedBoolean=True), WARFARIN))

    assert [d.card.indicator for d in cards] == ["warning"]
    assert "died" in str(cards[0].card.detail)


def test_the_record_of_another_patient_is_not_read_as_this_one() -> None:
    other = medicine("855295", "Warfarin Sodium 10 MG", patient="q")

    cards = cards_of(order_request({**IBUPROFEN, "subject": {"reference": "Patient/p"}}, person(), other))

    assert not any("warfarin" in d.card.summary for d in cards)


def test_a_record_that_is_partly_unreadable_is_a_warning() -> None:
    broken = {**WARFARIN, "medicationCodeableConcept": "warfarin"}

    cards = cards_of(order_request(IBUPROFEN, person(), broken))

    assert cards[-1].card.indicator == "warning"
    assert "MedicationRequest: not in the shape of FHIR R4" in str(cards[-1].card.detail)


def test_only_the_selected_orders_are_judged_and_the_others_count_as_taken() -> None:
    warfarin = {**WARFARIN, "id": "w"}
    document = order_request([{**IBUPROFEN, "id": "i"}, warfarin], person(), hook="order-select")
    document["context"]["selections"] = ["MedicationRequest/i"]

    cards = cards_of(document)

    assert cards[0].card.summary.startswith("ibuprofen with warfarin")
    assert not any(d.card.summary.startswith("warfarin") for d in cards)


def test_a_selected_order_that_is_no_medicine_is_told_beside_drafts_that_are() -> None:
    imaging = {"resourceType": "ServiceRequest", "id": "s", "subject": {"reference": "Patient/p"}}
    document = order_request([imaging, IBUPROFEN], person(), WARFARIN, hook="order-select")
    document["context"]["selections"] = ["https://ehr.example/fhir/ServiceRequest/s"]

    cards = cards_of(document)

    assert [d.card.summary[:34] for d in cards] == ["Could not check: the request holds"]


def test_an_empty_search_is_a_list_that_is_empty() -> None:
    document = order_request(IBUPROFEN, person(), WARFARIN)
    without = cards_of(document)[-1].card.detail
    empty = {"resourceType": "Bundle", "type": "searchset", "total": 0}

    document["prefetch"] |= {"conditions": empty, "allergies": empty}

    assert "problem list" in str(without)
    assert "problem list" not in str(cards_of(document)[-1].card.detail)
    assert "allergy list" not in str(cards_of(document)[-1].card.detail)


# --------------------------------------------------------------------------------------------------------------- fuzz

_WRONG: list[Any] = [
    None, True, 0, -1, 1e308, "", "x", "\ud800", "\x00", "2026-13-45", "9" * 5000, "<script>alert(1)</script>", [], {},
    [[]], [None], ["MedicationRequest/x"], {"a": None}, {"resourceType": "Bundle"}, {"resourceType": 1},
]  # fmt: skip


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _mutated(document: Json, place: tuple[Any, ...], what: Any) -> None:
    holder: Any = document
    for key in place[:-1]:
        holder = holder[key]
    if what == "remove":
        del holder[place[-1]]
    else:
        holder[place[-1]] = copy.deepcopy(what)


@st.composite
def mutated_requests(draw: st.DrawFn) -> Json:
    """A real request with one to four members replaced or removed."""
    path = draw(st.sampled_from(real_files()))
    document: Json = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(document))
        _mutated(document, draw(st.sampled_from(places)), draw(st.sampled_from([*_WRONG, "remove"])))
    return document


_DOOR: list[TestClient] = []


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated_requests())
def test_a_mutated_request_is_answered_with_cards_or_refused_never_an_error_and_never_silence(document: Json) -> None:
    if not _DOOR:
        _DOOR.append(client())
    named = document.get("hook")
    hook = {"medication-prescribe": "order-sign"}.get(str(named), named)

    response = posted(_DOOR[0], document, hook if hook in HOOKS else "order-sign")

    assert response.status_code in (200, 400)
    if response.status_code == 200:
        assert_valid_answer(response.json())
        assert response.json()["cards"]
        assert b"<script" not in json.dumps([{**c, "suggestions": []} for c in response.json()["cards"]]).encode()
    else:
        assert response.headers["content-type"] == "application/problem+json"


def test_no_single_break_of_the_record_turns_a_grave_interaction_into_a_quiet_nothing() -> None:
    document = order_request(IBUPROFEN, person(), {**WARFARIN, "intent": "order"})
    quiet = []
    for place in list(_places(document["prefetch"])):
        for what in (None, 0, "x", [], {}, "remove"):
            broken = copy.deepcopy(document)
            _mutated(broken["prefetch"], place, what)
            try:
                cards = cards_of(broken)
            except InputError:
                continue
            if all(d.card.indicator == "info" for d in cards):
                quiet.append((place, what, "could not be identified" in str(cards[-1].card.detail)))

    stopped = [(place, what) for place, what, told in quiet if not told]
    assert quiet
    assert stopped == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(InputError):
        parse_request(body, hook="order-sign")


def test_an_order_dated_in_the_future_is_judged_today() -> None:
    old = {**WARFARIN, "authoredOn": "2019-01-01"}

    cards = cards_of(order_request({**IBUPROFEN, "authoredOn": "2026-11-21"}, person(), old))

    assert {d.on for d in cards} == {date(2026, 11, 20)}


def test_a_record_without_a_list_of_medicines_is_a_warning_and_an_empty_list_is_none() -> None:
    document = order_request(IBUPROFEN, person())
    listed = {**document, "prefetch": {**document["prefetch"], "medications": {"resourceType": "Bundle", "total": 0}}}

    without, empty = cards_of(document), cards_of(listed)

    assert without[-1].card.indicator == "warning"
    assert "medication list" in str(without[-1].card.detail)
    assert "medication list" not in str(empty[-1].card.detail)


def test_the_day_of_an_undated_order_is_today() -> None:
    cards = cards_of(order_request(IBUPROFEN, person(), WARFARIN), today=date(2027, 1, 2))

    assert {d.on for d in cards} == {date(2027, 1, 2)}
    assert NOW.year == 2026
