"""The service: the bytes of the command line, stored once, given again; bad input gives errors of ours."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from posologist.core.errors import InputError, KnowledgeError
from posologist.core.followup import FollowUpReport
from posologist.core.settings import Settings
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.serve import cli
from posologist.serve.deciding import Planned
from posologist.serve.measuring import Measurement
from posologist.serve.receiving import Bounds
from posologist.serve.refusals import ConflictError, ConsentRefusedError, NotFoundError, StoreError
from posologist.serve.service import Service
from posologist.serve.store import Store
from stores import AMBULANCE, ANNA, Clock, a_store

DEMO = Path(str(files("posologist.serve.demo")))
WHO = "founding-case"
DAY = date(2026, 11, 20)
EVENTS = b"""time,amount,unit,route,duration_h,drug
2026-11-18T08:00:00Z,300,mg,oral,0,theophylline
2026-11-18T20:00:00Z,300,mg,oral,0,theophylline
2026-11-19T08:00:00Z,300,mg,oral,0,theophylline
"""
LEVELS = b"""time,value,unit,analyte
2026-11-19T07:30:00Z,6.2,mg/L,theophylline
2026-11-19T10:00:00Z,9.0,mg/L,theophylline
"""

LATER_LEVELS = LEVELS.replace(b"11-19", b"12-18")


@lru_cache(maxsize=1)
def facts() -> Knowledge:
    """The knowledge, once for all tests."""
    return load_knowledge()


@lru_cache(maxsize=1)
def held() -> bytes:
    """A database that holds the founding case with its genome, to be copied."""
    with TemporaryDirectory() as folder:
        store = a_store("file", Path(folder), clock=Clock())
        service = Service(store, facts())
        service.add_patient(ANNA, (DEMO / "patient.json").read_bytes(), document="patient.json")
        service.add_genome(ANNA, WHO, DEMO / "genome.vcf")
        store.close()
        return Path(str(store.path)).read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = a_store("file", tmp_path, clock=Clock())
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Iterator[Service]:
    """A service over the founding case."""
    path = tmp_path / "held.db"
    path.write_bytes(held())
    made = Service(Store(f"sqlite:///{path}", clock=clock), facts())
    yield made
    made.store.close()


Printed = Callable[..., bytes]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Printed:
    """What the command line prints, through its real entry point."""

    def command(*words: str | Path) -> bytes:
        monkeypatch.setattr(sys, "argv", ["posologist", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsysbinary.readouterr()
        assert ended.value.code == 0, err
        return out

    return command


RECORD = ("--patient", DEMO / "patient.json", "--genome", DEMO / "genome.vcf")


# --- the same bytes


def test_recommend_gives_the_bytes_of_the_command_line(service: Service, printed: Printed) -> None:
    said = printed("recommend", *RECORD, "--for", "hypertension", "--as-of", "2026-11-20", "--json")
    undated = printed("recommend", *RECORD, "--for", "hypertension", "--guideline", "ESC24", "--json")

    assert service.recommend(ANNA, WHO, "hypertension", as_of=DAY).document == said
    assert service.recommend(ANNA, WHO, "hypertension", guideline="ESC24").document == undated


def test_screen_gives_the_bytes_of_the_command_line(service: Service, printed: Printed) -> None:
    orders = ("warfarin 5 mg po q24h", "ibuprofen 400 mg po q8h")
    said = printed("screen", *RECORD, *(word for order in orders for word in ("--order", order)), "--json")

    assert service.screen(ANNA, WHO, orders).document == said


def test_phenotype_gives_the_bytes_of_the_command_line(service: Service, printed: Printed) -> None:
    said = printed("phenotype", DEMO / "genome.vcf", "--json")

    assert service.phenotype(ANNA, WHO) == said
    with service.store.work(ANNA) as work:
        answer = work.answer(work.answers(WHO, kind="phenotype")[0].id)
    assert answer.document == said


def test_dose_gives_the_bytes_of_the_command_line(service: Service, printed: Printed) -> None:
    said = printed("dose", "amlodipine", *RECORD, "--as-of", "2026-11-20", "--json")

    assert service.dose(ANNA, WHO, "amlodipine", as_of=DAY).document == said


def test_levels_and_administrations_that_are_held_give_the_bytes_of_the_command_line(
    service: Service, printed: Printed, tmp_path: Path
) -> None:
    (tmp_path / "levels.csv").write_bytes(LEVELS)
    (tmp_path / "events.csv").write_bytes(EVENTS)
    given = ("--levels", tmp_path / "levels.csv", "--events", tmp_path / "events.csv")
    dosed = printed("dose", "theophylline", *RECORD, *given, "--as-of", "2026-11-20", "--json")
    advised = printed("recommend", *RECORD, *given, "--for", "hypertension", "--json")

    assert service.add_levels(ANNA, WHO, LEVELS) == 2
    assert service.add_events(ANNA, WHO, EVENTS) == 3

    assert service.dose(ANNA, WHO, "theophylline", as_of=DAY).document == dosed
    assert service.recommend(ANNA, WHO, "hypertension").document == advised


def test_a_patient_without_a_genome_gets_the_bytes_of_the_command_line(store: Store, printed: Printed) -> None:
    service = Service(store, facts())
    service.add_patient(ANNA, (DEMO / "patient.json").read_bytes(), document="patient.json")
    said = printed("screen", "--patient", DEMO / "patient.json", "--order", "clopidogrel 75 mg po daily", "--json")

    assert service.screen(ANNA, WHO, ["clopidogrel 75 mg po daily"]).document == said
    assert service.phenotype(ANNA, WHO) is None


# --- stored once, given again


def test_the_same_request_is_one_answer_with_one_id(service: Service) -> None:
    first = service.screen(ANNA, WHO, ["warfarin 5 mg po q24h"], as_of=DAY)
    again = service.screen(AMBULANCE, WHO, ["warfarin 5 mg po q24h"], as_of=DAY)
    other = service.screen(ANNA, WHO, ["warfarin 2 mg po q24h"], as_of=DAY)

    assert first == again
    assert other.id != first.id
    with service.store.work(ANNA) as work:
        assert len(work.answers(WHO, kind="screening")) == 2


def test_every_answer_that_can_be_computed_comes_out_again_after_the_record_changed(service: Service) -> None:
    service.add_levels(ANNA, WHO, LEVELS)
    service.add_events(ANNA, WHO, EVENTS)
    answers = [
        service.recommend(ANNA, WHO, "hypertension", as_of=DAY, harm_aversion=2.0),
        service.screen(ANNA, WHO, ["warfarin 5 mg po q24h"]),
        service.dose(ANNA, WHO, "theophylline", as_of=DAY),
    ]
    service.add_measured(ANNA, WHO, [_observation("potassium", 5.9, "mmol/L")])
    changed = json.loads((DEMO / "patient.json").read_text())
    changed["entry"] = [one for one in changed["entry"] if one["resource"]["resourceType"] != "Condition"]
    service.add_patient(ANNA, json.dumps(changed).encode(), document="patient.json")
    anew = Service(service.store, facts())

    for answer in answers:
        assert anew.replay(ANNA, answer.id).same is True
    assert anew.recommend(ANNA, WHO, "hypertension", as_of=DAY).document != answers[0].document


def test_an_answer_of_another_knowledge_is_said_not_computed(service: Service) -> None:
    answer = service.screen(ANNA, WHO, ["warfarin 5 mg po q24h"])
    later = Service(service.store, replace(facts(), version="2030-01-01+0"))

    found = later.replay(ANNA, answer.id)

    assert found.same is None
    assert facts().version in found.said
    assert "2030-01-01+0" in found.said


def test_bytes_that_come_out_otherwise_are_said(service: Service) -> None:
    answer = service.screen(ANNA, WHO, ["warfarin 5 mg po q24h"])
    with service.store.work(ANNA) as work:
        forged = work.put_answer(
            "screening", WHO, as_of=DAY, request=answer.request, versions=answer.versions,
            document=answer.document.replace(b"warfarin", b"aspirin"),
        )  # fmt: skip

    assert service.replay(ANNA, forged.id).same is False


def test_a_phenotype_says_that_its_vcf_is_not_kept(service: Service) -> None:
    with service.store.work(ANNA) as work:
        answer = work.answers(WHO, kind="phenotype")[0]

    assert service.replay(ANNA, answer.id).same is None


# --- measured values


def _observation(
    what: str, value: float, unit: str, at: datetime = datetime(2026, 11, 19, 8, tzinfo=UTC)
) -> Measurement:
    return Measurement("observation", at, what, value, unit)


def test_an_observation_takes_part_from_its_day_on(service: Service) -> None:
    before = service.screen(ANNA, WHO, ["spironolactone 25 mg po daily"], as_of=date(2026, 11, 18))
    service.add_measured(ANNA, WHO, [_observation("potassium", 6.1, "mmol/L")])
    still = service.screen(ANNA, WHO, ["spironolactone 25 mg po daily"], as_of=date(2026, 11, 18))
    now = service.screen(ANNA, WHO, ["spironolactone 25 mg po daily"], as_of=DAY)

    assert still.id == before.id
    assert "6.1" in _banner(now.document, "potassium")
    assert "6.1" not in _banner(before.document, "potassium")


def _banner(document: bytes, name: str) -> str:
    shown = [fact for fact in json.loads(document)["patient"]["facts"] if fact["name"] == name]
    return json.dumps(shown)


def test_the_same_value_twice_is_held_once(service: Service) -> None:
    level = Measurement("level", datetime(2026, 11, 19, 7, 30, tzinfo=UTC), "theophylline", 6.2, "mg/L")

    assert service.add_levels(ANNA, WHO, LEVELS) == 2
    assert service.add_levels(ANNA, WHO, LEVELS) == 0
    assert service.add_measured(ANNA, WHO, [level]) == 0


def test_levels_of_another_drug_do_not_disturb_a_dose(service: Service) -> None:
    plain = service.dose(ANNA, WHO, "amlodipine", as_of=DAY).document
    service.add_levels(ANNA, WHO, LEVELS)
    service.add_events(ANNA, WHO, EVENTS)

    assert service.dose(ANNA, WHO, "amlodipine", as_of=DAY).document == plain


AT = datetime(2026, 11, 19, 8, tzinfo=UTC)
BAD_MEASURED = {
    "a drug that is not known": Measurement("level", AT, "frobnicate", 5.0, "mg/L"),
    "a unit that is none": Measurement("level", AT, "vancomycin", 5.0, "furlong"),
    "a level below zero": Measurement("level", AT, "vancomycin", -1.0, "mg/L"),
    "no number": Measurement("level", AT, "vancomycin", float("nan"), "mg/L"),
    "an infinite amount": Measurement("administration", AT, "vancomycin", float("inf"), "mg", "iv"),
    "no route": Measurement("administration", AT, "vancomycin", 500.0, "mg"),
    "nothing given": Measurement("administration", AT, "vancomycin", 0.0, "mg", "iv"),
    "a key that is not known": Measurement("observation", AT, "humours", 5.0, "mg/L"),
    "an impossible value": Measurement("observation", AT, "potassium", 400.0, "mmol/L"),
    "an observation without a unit": Measurement("observation", AT, "potassium", 4.0, ""),
    "an observation that is no number": Measurement("observation", AT, "potassium", float("nan"), "mmol/L"),
    "the future": Measurement("observation", datetime(2026, 12, 1, tzinfo=UTC), "potassium", 4.0, "mmol/L"),
    "no offset": Measurement("level", datetime(2026, 11, 19), "vancomycin", 5.0, "mg/L"),
}


@pytest.mark.parametrize("what", BAD_MEASURED)
def test_a_measured_value_that_cannot_be_is_refused_and_nothing_is_held(service: Service, what: str) -> None:
    good = Measurement("level", AT, "vancomycin", 5.0, "mg/L")
    with pytest.raises(InputError) as refused:
        service.add_measured(ANNA, WHO, [good, BAD_MEASURED[what]])

    assert refused.value.where
    assert refused.value.hint
    with service.store.work(ANNA) as work:
        assert work.measured(WHO) == ()


# --- decisions


def test_an_accepted_plan_schedules_its_monitoring(service: Service) -> None:
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)
    option = json.loads(answer.document)["options"][0]
    asked = {(rule["what"], days) for rule in option["monitoring"] for days in rule["days"]}

    decided = service.decide(ANNA, answer.id, "accept", rank=1)

    made_of = {(row.what, (row.due - DAY).days) for row in decided.follow_ups}
    assert made_of == asked
    assert {row.status for row in decided.follow_ups} == {"open"}
    assert set(service.follow_ups(ANNA, WHO)) == set(decided.follow_ups)


def test_an_accepted_plan_is_followed_up_with_the_bytes_of_the_command_line(
    service: Service, clock: Clock, printed: Printed, tmp_path: Path
) -> None:
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)
    (tmp_path / "decision.json").write_bytes(answer.document)
    (tmp_path / "levels.csv").write_bytes(LATER_LEVELS)
    (tmp_path / "events.csv").write_bytes(EVENTS)
    words = ("follow-up", *RECORD, "--decision", tmp_path / "decision.json", "--started", str(DAY), "--json")

    assert service.follow_up(ANNA, WHO) is None
    service.decide(ANNA, answer.id, "accept", rank=1)
    assert service.follow_up(ANNA, WHO) == printed(*words, "--as-of", str(DAY))

    clock.pass_by(days=28)
    given = ("--levels", tmp_path / "levels.csv", "--events", tmp_path / "events.csv")
    service.add_levels(ANNA, WHO, LATER_LEVELS)
    service.add_events(ANNA, WHO, EVENTS)
    assert service.follow_up(ANNA, WHO) == printed(*words, *given, "--as-of", "2026-12-18")


def test_a_reading_after_four_weeks_moves_the_state_and_the_advice(service: Service, clock: Clock) -> None:
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)
    service.decide(ANNA, answer.id, "accept", rank=1)
    clock.pass_by(days=29)
    late = _followed(service)
    service.add_measured(ANNA, WHO, [_observation("sbp", 175, "mm[Hg]", datetime(2026, 12, 18, 9, tzinfo=UTC))])
    after = _followed(service)

    assert "overdue" in {state.state for state in late.states}
    assert not late.changes
    answered = {(a.key, a.value.value): state.state for state in after.states for a in state.answered}
    assert answered["sbp", 175] == "out of expectation"
    moved = next(change for change in after.changes if change.kind == "advice")
    assert moved.was == after.plan.plan.text
    assert moved.now == after.advice.text != moved.was
    assert "175" in moved.why
    with service.store.work(ANNA) as work:
        reads = {(row.entity_type, row.action) for row in work.audit_rows() if row.patient_id == WHO}
    assert {("patient", "R"), ("decision", "R"), ("answer", "R"), ("measured", "R")} <= reads


def test_only_a_plan_that_was_taken_is_followed_up_and_another_dose_is_told(service: Service) -> None:
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)
    service.decide(ANNA, answer.id, "override", rank=2, reason="patient-preference")
    assert service.follow_up(ANNA, WHO) is None

    service.decide(ANNA, answer.id, "modify", rank=2, order_text="half of it")
    report = _followed(service)

    assert report.plan.rank == 2
    assert "half of it" in report.not_checked[0].why
    with pytest.raises(InputError, match="before the start"):
        service.follow_up(ANNA, WHO, as_of=date(2026, 11, 19))


def _followed(service: Service) -> FollowUpReport:
    return FollowUpReport.model_validate_json(service.follow_up(ANNA, WHO) or b"")


def test_a_decision_with_the_same_key_is_one_decision(service: Service) -> None:
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)
    first = service.decide(ANNA, answer.id, "accept", rank=1, key="k1")
    again = service.decide(ANNA, answer.id, "accept", rank=1, key="k1")
    with pytest.raises(ConflictError):
        service.decide(ANNA, answer.id, "accept", rank=2, key="k1")

    assert first == again
    assert len(service.follow_ups(ANNA, WHO)) == len(first.follow_ups)


def test_an_override_that_will_monitor_says_what_and_when(service: Service) -> None:
    answer = service.screen(ANNA, WHO, ["warfarin 5 mg po q24h"])
    with pytest.raises(InputError, match="nothing to monitor"):
        service.decide(ANNA, answer.id, "override", reason="will-monitor", will_monitor=True)

    planned = Planned("INR", date(2026, 11, 23), "laboratory", 2.0, 3.0, "{INR}")
    decided = service.decide(ANNA, answer.id, "override", reason="will-monitor", will_monitor=True, planned=[planned])

    assert [(row.what, row.due, row.expected_high) for row in decided.follow_ups] == [("INR", date(2026, 11, 23), 3.0)]


def test_an_override_takes_no_plan_and_schedules_none(service: Service) -> None:
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)

    assert service.decide(ANNA, answer.id, "override", rank=1, reason="patient-preference").follow_ups == ()


@pytest.mark.parametrize(
    "asked", [{"action": "accept"}, {"action": "accept", "rank": 99}, {"action": "override", "rank": 1}], ids=str
)
def test_a_decision_that_says_too_little_is_refused(service: Service, asked: dict[str, Any]) -> None:
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)
    with pytest.raises(InputError):
        service.decide(ANNA, answer.id, **asked)

    with service.store.work(ANNA) as work:
        assert work.decisions(WHO) == ()


# --- bad input


BAD_RECORDS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"garbage",
    "bytes": bytes(range(256)),
    "no FHIR": b"{}",
    "null": b"null",
    "XML": b"<Bundle/>",
    "no patient": b'{"resourceType": "Bundle", "type": "collection", "entry": []}',
    "another release": b'{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "MedicationOrder"}}]}',
    "two patients": (
        b'{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient", "id": "a"}},'
        b' {"resource": {"resourceType": "Patient", "id": "b"}}]}'
    ),
    "deep": b"[" * 100_000,
    "an id that is too long": json.dumps({"resourceType": "Patient", "id": "x" * 200}).encode(),
    "an id with NUL": b'{"resourceType": "Patient", "id": "a\\u0000b"}',
    "an id of half a character": b'{"resourceType": "Patient", "id": "a\\ud800"}',
}


@pytest.mark.parametrize("what", BAD_RECORDS)
def test_a_record_that_is_none_is_refused_with_an_error_of_ours(store: Store, what: str) -> None:
    service = Service(store, facts())
    with pytest.raises(InputError) as refused:
        service.add_patient(ANNA, BAD_RECORDS[what])

    assert refused.value.hint
    with store.work(ANNA) as work:
        assert work.patients() == ()


def test_one_of_two_patients_can_be_chosen(store: Store) -> None:
    service = Service(store, facts())

    assert service.add_patient(ANNA, BAD_RECORDS["two patients"], patient_id="b").id == "b"


def test_a_name_that_no_database_keeps_is_kept_as_far_as_it_can_be(store: Store) -> None:
    service = Service(store, facts())
    record = json.dumps({"resourceType": "Patient", "id": "a", "name": [{"text": "A\x00\ud800<script>"}]}).encode()

    assert service.add_patient(ANNA, record).name == "A\ufffd\ufffd<script>"


def test_what_is_too_large_is_refused_before_it_is_read(service: Service, tmp_path: Path) -> None:
    small = Service(service.store, facts(), bounds=Bounds(bundle_bytes=10, vcf_bytes=10, table_bytes=10, rows=1))
    refused: list[Callable[[], object]] = [
        lambda: small.add_patient(ANNA, b"x" * 11),
        lambda: small.add_genome(ANNA, WHO, DEMO / "genome.vcf"),
        lambda: small.add_levels(ANNA, WHO, LEVELS),
        lambda: small.add_events(ANNA, WHO, EVENTS),
        lambda: small.add_measured(ANNA, WHO, [_observation("potassium", 4.0, "mmol/L")] * 2),
        lambda: small.screen(ANNA, WHO, ["x"] * 51),
        lambda: small.screen(ANNA, WHO, []),
        lambda: small.screen(ANNA, WHO, ["x" * 2001]),
        lambda: small.recommend(ANNA, WHO, "x" * 2001),
    ]
    for attempt in refused:
        with pytest.raises(InputError, match="give"):
            attempt()


def test_a_vcf_that_is_none_is_refused_and_the_genes_stay(service: Service, tmp_path: Path) -> None:
    before = service.phenotype(ANNA, WHO)
    (tmp_path / "text.vcf").write_text("no VCF")
    (tmp_path / "cut.vcf").write_bytes((DEMO / "genome.vcf").read_bytes()[:300])
    for name in ("text.vcf", "cut.vcf", "none.vcf"):
        with pytest.raises(InputError):
            service.add_genome(ANNA, WHO, tmp_path / name)

    assert service.phenotype(ANNA, WHO) == before


UNKNOWN: dict[str, Callable[[Service], object]] = {
    "patient to recommend for": lambda service: service.recommend(ANNA, "nobody", "hypertension"),
    "patient to screen for": lambda service: service.screen(ANNA, "nobody", ["aspirin"]),
    "patient to dose": lambda service: service.dose(ANNA, "nobody", "amlodipine"),
    "patient of a genome": lambda service: service.add_genome(ANNA, "nobody", DEMO / "genome.vcf"),
    "patient of levels": lambda service: service.add_levels(ANNA, "nobody", LEVELS),
    "answer to replay": lambda service: service.replay(ANNA, "0" * 64),
    "answer to decide on": lambda service: service.decide(ANNA, "0" * 64, "accept"),
    "indication": lambda service: service.recommend(ANNA, WHO, "happiness"),
    "drug": lambda service: service.dose(ANNA, WHO, "frobnicate"),
    "model": lambda service: service.dose(ANNA, WHO, "vancomycin", model="../../etc/passwd"),
    "guideline": lambda service: service.recommend(ANNA, WHO, "hypertension", guideline="XX"),
    "weight of harm": lambda service: service.recommend(ANNA, WHO, "hypertension", harm_aversion=0.0),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_known_is_an_error_of_ours(service: Service, what: str) -> None:
    with pytest.raises((InputError, KnowledgeError)) as refused:
        UNKNOWN[what](service)

    assert refused.value.hint


# --- cards


def _hook(patient_id: str) -> bytes:
    request = {
        "hook": "patient-view", "context": {"patientId": patient_id},
        "fhirAuthorization": {"access_token": "a-secret-token"},
        "prefetch": {"patient": {"resourceType": "Patient", "id": patient_id, "gender": "female"}},
    }  # fmt: skip
    return json.dumps(request).encode()


def test_cards_are_held_with_their_request_and_without_its_token(service: Service) -> None:
    answer = service.keep_cards(ANNA, "hooked", _hook("hooked"), b'{"cards": []}', as_of=DAY)

    with service.store.work(ANNA) as work:
        held, patient = work.answer(answer.id), work.patient("hooked")
    assert (held.kind, held.document, patient.sex) == ("cards", b'{"cards": []}', "female")
    assert b"patient-view" in held.request
    assert b"a-secret-token" not in held.request + patient.bundle
    assert service.replay(ANNA, answer.id).same is None


def test_what_a_hook_brings_never_replaces_a_record(service: Service) -> None:
    service.keep_cards(ANNA, WHO, _hook(WHO), b'{"cards": []}', as_of=DAY)

    with service.store.work(ANNA) as work:
        assert work.patient(WHO).bundle == (DEMO / "patient.json").read_bytes()


@pytest.mark.parametrize("request_", [b"", b"[]", b"{", b"[" * 100_000])
def test_a_request_of_no_hook_is_refused(service: Service, request_: bytes) -> None:
    with pytest.raises(InputError, match="CDS hook"):
        service.keep_cards(ANNA, WHO, request_, b"{}", as_of=DAY)


# --- who may, and what is told


def test_no_answer_is_given_past_a_refused_consent(service: Service) -> None:
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)
    with service.store.work(ANNA) as work:
        work.put_consent(WHO, "treatment", granted=False)
    attempts: list[Callable[[], object]] = [
        lambda: service.recommend(ANNA, WHO, "hypertension"),
        lambda: service.screen(ANNA, WHO, ["aspirin"]),
        lambda: service.dose(ANNA, WHO, "amlodipine"),
        lambda: service.phenotype(ANNA, WHO),
        lambda: service.add_levels(ANNA, WHO, LEVELS),
        lambda: service.replay(ANNA, answer.id),
        lambda: service.decide(ANNA, answer.id, "accept", rank=1),
        lambda: service.follow_ups(ANNA, WHO),
        lambda: service.follow_up(ANNA, WHO),
    ]

    for attempt in attempts:
        with pytest.raises(ConsentRefusedError):
            attempt()
    assert service.follow_ups(ANNA) == ()


def test_an_answer_leaves_rows_of_what_was_read_and_what_was_made(service: Service) -> None:
    with service.store.work(ANNA) as work:
        start = work.audit_rows(limit=200)[-1].seq + 1
    service.screen(ANNA, WHO, ["aspirin"])

    with service.store.work(ANNA) as work:
        rows = [(row.action, row.entity_type) for row in work.audit_rows(after=start, limit=200)]
    assert rows == [("R", "patient"), ("R", "genome"), ("R", "measured"), ("C", "answer")]


def test_a_question_that_fails_leaves_the_rows_of_what_was_read(service: Service) -> None:
    with service.store.work(ANNA) as work:
        start = work.audit_rows(limit=200)[-1].seq + 1
    with pytest.raises(InputError):
        service.recommend(ANNA, WHO, "happiness")

    with service.store.work(ANNA) as work:
        rows = [(row.action, row.entity_type) for row in work.audit_rows(after=start, limit=200)]
    assert rows == [("R", "patient"), ("R", "genome"), ("R", "measured")]


def test_no_log_holds_an_identifier(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = service.recommend(ANNA, WHO, "hypertension", as_of=DAY)
    service.decide(ANNA, answer.id, "accept", rank=1, note="a private note")
    with pytest.raises(NotFoundError):
        service.screen(ANNA, "nobody-at-all", ["aspirin"])

    for secret in (WHO, "Founding Case", "a private note", "nobody-at-all"):
        assert secret not in caplog.text


def test_the_settings_of_the_site_hold_where_the_request_chooses_none(store: Store, printed: Printed) -> None:
    service = Service(store, facts(), Settings(guideline="ESC24"))
    service.add_patient(ANNA, (DEMO / "patient.json").read_bytes(), document="patient.json")
    said = printed("recommend", *RECORD[:2], "--for", "hypertension", "--guideline", "ESC24", "--json")

    assert service.recommend(ANNA, WHO, "hypertension").document == said


def test_neither_the_command_line_nor_recommending_loads_the_database() -> None:
    import subprocess

    code = (
        "import sys, posologist.serve.cli; from posologist.recommend.pipeline import recommend;"
        "from posologist.serve import asked;"
        "print([m for m in ('sqlalchemy', 'alembic', 'psycopg') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_store_error_is_an_input_error_so_that_every_door_can_tell_it() -> None:
    assert issubclass(StoreError, InputError)
