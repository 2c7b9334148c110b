"""Requests and feedback broken at every place and in every way: cards or a refusal, never an error or silence.

`POSOLOGIST_MUTATIONS` says how many of each (`make fuzz` asks for ten thousand).
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from hooks import Json, assert_valid_answer, hook_of_file, medicine, order_request, person, real_files
from posologist.serve.hook_desk import hooks_in_development
from posologist.serve.security import Limits
from serving import Served, a_server
from test_hooks_pddi import CYCLOSPORINE, DIGOXIN, IBUPROFEN, NORMAL, WARFARIN

MUTATIONS = int(os.environ.get("POSOLOGIST_MUTATIONS", "150"))
SEED = 20261120
SIGN = "/cds-services/posologist-order-sign"
NASTY = '"\\u202e<img src=x onerror=alert(1)>[a](javascript:x)"'
RAW = [
    "1e999", "-1e999", "1e308", "-0", "9" * 300, "9" * 4000, "0.1e-400", "NaN", "Infinity", '{"a": 1, "a": 2}',
    '"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"', "true", "null", '""', "[]", "{}", '"x"', '"2026-13-45"',
    '"9999-12-31"', '"0001-01-01"', '"2026-11-20T25:00:00Z"', '"-0001-01-01"', '{"reference": "#"}',
    '{"reference": "urn:uuid:q"}', '{"coding": {}}', '{"coding": [null]}', f'"{"a" * 3000}"',
    '{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Bundle"}}]}', '{"value": "5", "unit": 5}',
    '{"value": -1e300, "unit": "mg"}', NASTY, "[" * 60 + "]" * 60, '{"a":' * 40 + "1" + "}" * 40,
]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    limits = Limits(rate=1e9, burst=10**9)
    folder = tmp_path_factory.mktemp("mutations")
    return a_server(folder, hooks=hooks_in_development("http://127.0.0.1:8000"), limits=limits)


def requests() -> list[Json]:
    """Requests of others, and our own with everything that a rule reads."""
    results = list(NORMAL.values())
    ours = [
        order_request({**medicine(*IBUPROFEN), "id": "o"}, person(), medicine(*WARFARIN), *results),
        order_request({**medicine(*CYCLOSPORINE), "id": "o"}, person(), medicine(*DIGOXIN), *results),
        order_request({**medicine(*IBUPROFEN), "id": "o"}, person(), medicine(*WARFARIN), hook="order-select"),
    ]
    return [*(json.loads(path.read_text(encoding="utf-8")) for path in real_files()), *ours]


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inner:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


def _held(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def _mutated(document: Json, rng: random.Random) -> str:
    """The text of a document with one to five places removed, copied elsewhere, repeated or replaced."""
    raw: dict[str, str] = {}
    for number in range(rng.choice((1, 1, 1, 2, 3, 5))):
        places = list(_places(document))
        if not places:
            break
        place, how = rng.choice(places), rng.random()
        holder = _held(document, place[:-1])
        if how < 0.15:
            del holder[place[-1]]
        elif how < 0.3:
            holder[place[-1]] = copy.deepcopy(_held(document, rng.choice(places)))
        elif how < 0.4:
            holder[place[-1]] = [copy.deepcopy(holder[place[-1]])] * 3
        else:
            holder[place[-1]] = f"@@{number}@@"
            raw[f'"@@{number}@@"'] = rng.choice(RAW)
    text = json.dumps(document)
    for mark, written in raw.items():
        text = text.replace(mark, written)
    return text


def _sent(text: str, rng: random.Random) -> tuple[bytes, dict[str, str]]:
    """The bytes on the wire and their headers, now and then in another encoding, cut off or damaged."""
    body, headers = text.encode("utf-8", "surrogatepass"), {"Content-Type": "application/json"}
    how = rng.random()
    if how < 0.02:
        return b"\xef\xbb\xbf" + body, headers
    if how < 0.03:
        return text.encode("utf-16", "surrogatepass"), headers
    if how < 0.04:
        return gzip.compress(body), headers | {"Content-Encoding": "gzip"}
    if how < 0.06:
        return body, {}
    if how < 0.08:
        return body[: rng.randrange(len(body))], headers
    if how < 0.1:
        at = rng.randrange(len(body))
        return body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :], headers
    return body, headers


def _assert_refused(response: Any) -> None:
    assert response.status_code in (400, 409, 413, 422), response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_no_mutation_of_a_request_is_an_error_or_an_empty_answer(served: Served) -> None:
    rng, known = random.Random(SEED), requests()
    for number in range(MUTATIONS):
        document = copy.deepcopy(rng.choice(known))
        hook = hook_of_file(document)
        body, headers = _sent(_mutated(document, rng), rng)

        response = served.client.post(f"/cds-services/posologist-{hook}", content=body, headers=headers)

        if response.status_code != 200:
            _assert_refused(response)
            continue
        answer = response.json()
        assert_valid_answer(answer)
        assert answer["cards"], (number, hook)
        shown = json.dumps([{**card, "suggestions": []} for card in answer["cards"]])
        assert "<img" not in shown
        assert "](" not in shown

    assert served.store.verify().whole


def test_no_mutation_of_feedback_is_an_error(served: Served) -> None:
    rng = random.Random(SEED + 1)
    order = order_request({**medicine(*CYCLOSPORINE), "id": "o"}, person(), medicine(*DIGOXIN))
    card = served.client.post(SIGN, json=order).json()["cards"][0]
    reason = {"reason": card["overrideReasons"][0], "userComment": "seen"}
    entry = {"card": card["uuid"], "outcomeTimestamp": "2026-11-20T11:00:00.079Z"}
    suggestion = {"id": card["suggestions"][0]["uuid"]}
    known = [
        {"feedback": [{**entry, "outcome": "overridden", "overrideReason": reason}]},
        {"feedback": [{**entry, "outcome": "accepted", "acceptedSuggestions": [suggestion]}]},
    ]
    for _ in range(MUTATIONS):
        body, headers = _sent(_mutated(copy.deepcopy(rng.choice(known)), rng), rng)

        response = served.client.post(f"{SIGN}/feedback", content=body, headers=headers)

        if response.status_code == 200:
            assert response.json()["feedback"]
        else:
            _assert_refused(response)

    assert served.store.verify().whole


def test_the_mutations_reach_both_answers_and_refusals(served: Served) -> None:
    rng, statuses = random.Random(SEED), set()
    for document in requests()[-3:] * 10:
        body, headers = _sent(_mutated(copy.deepcopy(document), rng), rng)
        hook = hook_of_file(document)
        statuses.add(served.client.post(f"/cds-services/posologist-{hook}", content=body, headers=headers).status_code)

    assert {200, 400} <= statuses
