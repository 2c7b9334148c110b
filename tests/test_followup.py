"""Follow-up of an accepted plan: its dates, what a reading shows, what changed in the advice and why."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from patients import UNITS, a_medicine, a_patient
from posologist.core.errors import InputError, KnowledgeError, PosologistError
from posologist.core.evidence import Evidence, Ledger
from posologist.core.followup import FollowUpItem, FollowUpPlan, FollowUpReport, FollowUpState
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Observation, Patient, Source
from posologist.core.recommendation import Monitoring, Recommendation
from posologist.core.settings import Settings
from posologist.core.values import DrugId, Estimate, EvidenceKey
from posologist.genome.document import call_genome
from posologist.knowledge.courses import FollowUpFacts, LaboratoryBound, follow_up_facts
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.recommend.dose_by_model import Given, dose_by_models
from posologist.recommend.followup_advice import on_plan
from posologist.recommend.followup_changes import difference
from posologist.recommend.followup_levels import after_level
from posologist.recommend.followup_plan import expected_course
from posologist.recommend.followup_report import follow_up
from posologist.recommend.followup_state import state_of
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient
from posologist.records.table import EventRow, LevelRow
from posologist.serve.cli import app
from posologist.serve.demo import AS_OF, founding_recommendation
from posologist.serve.followup_table import print_follow_up
from tracing import evidence_faults, prose_faults, schema_faults, text_faults

STARTED = AS_OF + timedelta(days=1)
FOLDER = Path(str(files("posologist.serve.demo")))
SOURCE = Source(document="made.csv", place="line 2")


@lru_cache
def knowledge() -> Knowledge:
    return load_knowledge()


@lru_cache
def decision() -> Recommendation:
    return founding_recommendation(knowledge=knowledge())


@lru_cache
def record() -> Patient:
    return read_patient(FOLDER / "patient.json", knowledge=knowledge(), as_of=AS_OF)


@lru_cache
def genome() -> GeneticProfile:
    names = (record().id, *record().identifiers)
    calls = FOLDER / "outside-calls.tsv"
    return call_genome(
        FOLDER / "genome.vcf", identifiers=names, outside_calls=calls, settings=Settings(as_of=AS_OF)
    )  # fmt: skip


@lru_cache
def course(rank: int = 1) -> FollowUpPlan:
    return expected_course(decision(), rank, started_on=STARTED, knowledge=knowledge())


def result(key: str, value: float, day: int, *, hour: int = 9) -> Observation:
    at = datetime(STARTED.year, STARTED.month, STARTED.day, hour, tzinfo=UTC) + timedelta(days=day)
    source = Source(document="new.csv", place=f"{key} {day} {hour} {value}")
    return Observation(key=key, value=value, unit=UNITS[key], at=at, source=source)


def followed(*new: Observation, day: int, rank: int = 1, **more: Any) -> FollowUpReport:
    given_now: dict[str, Any] = {"patient": record(), "genome": genome(), **more}
    return follow_up(
        decision(), rank, observations=new, started_on=STARTED, today=STARTED + timedelta(days=day),
        knowledge=knowledge(), **given_now,
    )  # fmt: skip


LABS = (result("potassium", 4.4, 20), result("creatinine", 1.0, 20), result("sodium", 139, 20))


@lru_cache
def as_hoped() -> FollowUpReport:
    return followed(result("sbp", 147, 28), result("dbp", 92, 28), result("heart_rate", 66, 28), *LABS, day=28)


@lru_cache
def too_high() -> FollowUpReport:
    return followed(result("sbp", 175, 28), result("heart_rate", 66, 28), day=30)


@lru_cache
def hyperkalaemic(rank: int = 1) -> FollowUpReport:
    return followed(result("potassium", 5.8, 14), day=15, rank=rank)


def states(report: FollowUpReport) -> dict[str, FollowUpState]:
    return {state.item.id: state for state in report.states}


def pressure_item(plan: FollowUpPlan) -> FollowUpItem:
    return next(item for item in plan.items if item.expected is not None)


# The expected course.


def test_pressure_is_judged_four_weeks_after_the_start_by_the_interval_of_one_reading() -> None:
    first = pressure_item(course())
    effect = next(e for e in decision().options[0].effects if e.measure == "sbp")

    assert first.due == STARTED + timedelta(days=28)
    assert first.judged_from == STARTED + timedelta(days=28)
    assert first.expected == effect.reading
    assert effect.expected is not None
    assert first.expected is not None
    assert first.expected.high > effect.expected.high


def test_a_range_in_the_words_of_a_rule_is_one_window() -> None:
    item = next(i for i in course().items if i.what == "potassium and creatinine")

    assert (item.opens, item.due) == (STARTED + timedelta(days=14), STARTED + timedelta(days=28))
    assert [i.what for i in course().items].count("potassium and creatinine") == 1


def test_no_date_is_invented_where_no_source_names_one() -> None:
    undated = [item for item in course().items if item.due is None]

    assert [item.what for item in undated] == ["blood pressure"]
    assert any(entry.what == "when to measure: blood pressure" for entry in course().not_checked)


def test_without_a_published_time_course_no_reading_is_judged_and_that_is_said() -> None:
    words_only = FollowUpFacts(words=follow_up_facts().words)
    plan = expected_course(decision(), 1, started_on=STARTED, knowledge=knowledge(), facts=words_only)

    assert not any(item.expected for item in plan.items)
    assert any("not known when the effect is full" in item.expected_note for item in plan.items)
    assert any(entry.what == "whether systolic pressure comes out as expected" for entry in plan.not_checked)


def test_what_no_result_answers_is_named_as_to_be_asked() -> None:
    assert any("adherence" in entry.what for entry in course().not_checked)


def test_the_words_of_monitoring_mean_keys_that_are_on_file() -> None:
    keys = {key for found in follow_up_facts().words.values() for key in found}

    assert keys <= set(knowledge().codes.analytes)


@settings(max_examples=25, deadline=None)
@given(later=st.integers(0, 400), rank=st.integers(1, 5))
def test_no_date_lies_before_the_start(later: int, rank: int) -> None:
    began = AS_OF + timedelta(days=later)
    plan = expected_course(decision(), rank, started_on=began, knowledge=knowledge())

    assert all(item.due is None or item.due >= began for item in plan.items)
    assert all(item.opens is None or item.due is None or item.opens <= item.due for item in plan.items)


def with_days(when: str, *days: int) -> FollowUpPlan:
    """The course of plan 1 with one rule in place of its own."""
    first = decision().options[0]
    rule = Monitoring(what="potassium", when=when, days=days, because=first.monitoring[0].because)
    changed = first.model_copy(update={"monitoring": (rule,)})
    document = decision().model_copy(update={"options": (changed, *decision().options[1:])})
    return expected_course(document, 1, started_on=STARTED, knowledge=knowledge())


@settings(max_examples=60, deadline=None)
@given(
    days=st.lists(st.integers(0, 200), min_size=1, max_size=6, unique=True),
    when=st.sampled_from(["monthly", "two to four weeks after", "1-4 weeks, then 3 to 6 months", "5-14 days"]),
)
def test_a_result_of_one_day_counts_for_one_date_of_a_rule(days: list[int], when: str) -> None:
    plan = with_days(when, *days)
    later = [item for item in plan.items if item.due is not None and item.due > STARTED]

    assert [item.until for item in later] == [*(item.opens for item in later[1:]), *([None] if later else [])]
    for day in range(230):
        on = STARTED + timedelta(days=day)
        taken = [i for i in plan.items if i.opens and i.opens <= on and (i.until is None or on < i.until)]
        assert len(taken) <= 1


# Where it stands.


def test_nothing_is_asked_again_before_its_time() -> None:
    report = followed(day=3)

    assert {s.state for s in report.states if s.item.due is not None and s.item.due > STARTED} == {"open"}


def test_baseline_values_of_the_record_count_and_missing_ones_are_missed() -> None:
    found = {s.item.what: s.state for s in followed(day=3).states if s.item.due == STARTED}

    assert found["serum potassium"] == "done"
    assert found["uric acid, glucose"] == "missed"


def test_laboratory_values_that_did_not_come_are_overdue_the_day_after() -> None:
    last = next(i for i in course().items if i.what == "potassium and creatinine")
    assert last.due is not None
    on_time = followed(day=(last.due - STARTED).days)
    late = followed(day=(last.due - STARTED).days + 1)

    assert states(on_time)[last.id].state == "due"
    assert states(late)[last.id].state == "overdue"
    assert states(late)[last.id].missing == ("potassium", "creatinine")


def test_half_an_answer_is_no_answer() -> None:
    report = followed(result("potassium", 4.4, 20), day=40)
    found = next(s for s in report.states if s.item.what == "potassium and creatinine")

    assert (found.state, found.missing) == ("overdue", ("creatinine",))


def test_a_result_dated_after_today_is_not_seen() -> None:
    report = followed(*LABS, result("sbp", 175, 28), day=15)

    assert not any(answer.at > report.as_of for state in report.states for answer in state.answered)
    assert report.changes == ()


def test_a_reading_as_expected_is_done() -> None:
    item = pressure_item(as_hoped().plan)

    assert states(as_hoped())[item.id].state == "done"
    assert states(as_hoped())[item.id].why == "as expected"


def test_a_reading_beyond_the_interval_of_one_reading_is_out_of_expectation() -> None:
    found = states(too_high())[pressure_item(too_high().plan).id]

    assert found.state == "out of expectation"
    assert found.answered[0].value.value == 175


def test_a_reading_outside_the_interval_of_the_mean_is_no_alarm() -> None:
    effect = next(e for e in decision().options[0].effects if e.measure == "sbp")
    assert effect.expected is not None
    report = followed(result("sbp", effect.expected.high + 5, 28), day=28)

    assert "out of expectation" not in {s.state for s in report.states}


def test_a_reading_before_the_whole_effect_is_there_is_not_judged() -> None:
    report = followed(result("sbp", 190, 20), day=20)
    found = states(report)[pressure_item(report.plan).id]

    assert found.state == "done"
    assert "not judged" in found.why


def test_the_median_of_a_days_readings_is_judged() -> None:
    readings = [result("sbp", value, 28, hour=hour) for hour, value in ((8, 190), (9, 150), (10, 148))]
    found = states(followed(*readings, day=28))[pressure_item(course()).id]

    assert found.state == "done"
    assert found.answered[0].value.value == 150


expected_readings = st.floats(0, 1).map(
    lambda share: (lambda e: e.low + share * (e.high - e.low))(pressure_item(course()).expected)  # type: ignore[union-attr]
)


@settings(max_examples=50, deadline=None)
@given(value=expected_readings, day=st.integers(14, 60))
def test_an_expected_value_never_raises_an_alarm(value: float, day: int) -> None:
    found = state_of(
        course(), [result("sbp", value, day)], today=STARTED + timedelta(days=60), ledger=Ledger()
    )  # fmt: skip

    assert "out of expectation" not in {state.state for state in found}


results = st.builds(
    result,
    st.sampled_from(["sbp", "dbp", "potassium", "creatinine", "sodium", "heart_rate"]),
    st.floats(3, 200).map(lambda value: round(value, 1)),
    st.integers(-30, 120),
    hour=st.integers(0, 23),
)


@settings(max_examples=50, deadline=None)
@given(found=st.lists(results, max_size=12), day=st.integers(0, 120), seed=st.integers(0, 99))
def test_the_order_of_results_does_not_matter_for_the_states(found: list[Observation], day: int, seed: int) -> None:
    shuffled = random.Random(seed).sample(found, len(found))
    today = STARTED + timedelta(days=day)

    assert state_of(course(), found, today=today, ledger=Ledger()) == state_of(
        course(), shuffled, today=today, ledger=Ledger()
    )


# What a reading teaches.


def test_a_reading_moves_the_expected_level_a_little_towards_itself() -> None:
    learned = {row.measure: row for row in too_high().learned}
    before, after = learned["sbp"].before, learned["sbp"].after
    assert before is not None
    assert after is not None

    assert before.value < after.value < 175
    assert after.high - after.low < before.high - before.low
    assert after.value - before.value < 0.2 * (175 - before.value)  # a reading varies far more than people do


def test_without_a_published_variation_nothing_is_learned_and_that_is_said() -> None:
    learned = {row.measure: row for row in as_hoped().learned}

    assert learned["dbp"].after is None
    assert "nothing was learned" in learned["dbp"].text


# The advice made again.


def test_nothing_new_changes_nothing() -> None:
    report = followed(day=60)

    assert report.changes == ()
    assert report.frame is None
    assert report.advice.text == "nothing has come in since the decision: the advice stands"


def test_the_same_recommendation_differs_in_nothing() -> None:
    assert difference(decision(), decision(), ledger=Ledger()) == ()


def test_four_weeks_on_the_plan_the_next_step_goes_on_from_it() -> None:
    report = as_hoped()

    assert report.frame == "on the plan"
    assert report.advice.text.startswith("Add ")
    (advice,) = [c for c in report.changes if c.kind == "advice"]
    assert "sbp: 147" in advice.why


def test_at_target_no_change_is_advised() -> None:
    report = followed(result("sbp", 124, 29), result("dbp", 76, 29), result("heart_rate", 66, 29), *LABS, day=30)

    assert report.frame == "on the plan"
    assert report.advice.text.startswith("no change of plan: At target")


def test_a_recovered_heart_rate_takes_the_bradycardia_away_and_is_named_as_the_reason() -> None:
    gone = [c for c in as_hoped().changes if c.kind == "finding gone" and "severe bradycardia" in c.was]

    assert [c.why for c in gone] == ["heart_rate: 66 /min on 2026-12-19"]
    assert not any("bradycardia" in f.title for f in as_hoped().findings)


def test_while_it_is_tapered_a_drug_is_still_screened() -> None:
    during, after = (followed(result("potassium", 4.4, day), day=day) for day in (10, 20))

    assert any("metoprolol" in f.drugs for f in during.findings)
    assert not any("metoprolol" in f.drugs for f in after.findings)


@pytest.mark.parametrize("rank, drug", [(1, "valsartan"), (3, "lisinopril")])
def test_potassium_that_rules_the_plan_out_changes_it_with_finding_and_reason(rank: int, drug: str) -> None:
    report = hyperkalaemic(rank)
    lost = [c for c in report.changes if c.kind == "plan lost" and drug in c.drugs]

    assert lost
    assert all("potassium: 5.8" in c.why for c in lost)
    assert any(f.severity == "serious" and f.drugs == (drug,) for f in report.findings)
    assert drug not in report.advice.text
    assert report.frame == "before the plan"


def test_potassium_that_rules_the_plan_out_is_found_beside_a_late_pressure_as_well() -> None:
    report = followed(result("potassium", 5.8, 28), result("sbp", 147, 28), result("heart_rate", 66, 28), day=28)

    (finding,) = [f for f in report.findings if "of the accepted plan would not be started today" in f.title]
    assert report.frame == "on the plan"
    assert "new: potassium: 5.8 mmol/L on 2026-12-19." in finding.detail


def test_each_change_names_a_fact_that_the_decision_did_not_know() -> None:
    for report in (as_hoped(), too_high(), hyperkalaemic()):
        for change in report.changes:
            named = [report.evidence[key] for key in change.because]
            new = {entry.text for entry in named if entry.kind == "patient"}
            assert new, change
            assert change.why


def test_a_pressure_from_before_the_plan_is_not_taken_for_what_it_reached() -> None:
    report = followed(result("potassium", 4.4, 14), day=15)

    assert report.frame == "before the plan"
    assert report.advice.text.startswith("the accepted plan stands")


@pytest.mark.parametrize("value", [118, 150, 178])
def test_an_early_pressure_does_not_change_the_plans(value: float) -> None:
    readings = [result(key, value * share, 5, hour=h) for key, share in (("sbp", 1), ("dbp", 0.6)) for h in range(9)]
    report = followed(*readings, day=6)

    assert report.frame == "before the plan"
    assert report.advice.text.startswith("the accepted plan stands")
    assert "late enough" in (report.frame_note.text if report.frame_note else "")


def test_readings_from_before_the_plan_are_not_mixed_with_those_under_it() -> None:
    before = tuple(result(key, value, -1, hour=h) for key, value in (("sbp", 158), ("dbp", 98)) for h in range(6))
    who = record().model_copy(update={"observations": (*record().observations, *before)})
    report = followed(result("sbp", 124, 28), result("dbp", 76, 28), *LABS, day=28, patient=who)

    assert report.advice.text.startswith("no change of plan: At target")


def test_readings_before_the_whole_effect_are_not_mixed_with_later_ones() -> None:
    early = [result(key, value, 4, hour=h) for key, value in (("sbp", 158), ("dbp", 98)) for h in range(6)]
    report = followed(*early, result("sbp", 124, 28), result("dbp", 76, 28), *LABS, day=28)

    assert report.advice.text.startswith("no change of plan: At target")


def test_a_result_that_came_in_late_counts_as_new() -> None:
    report = followed(result("potassium", 5.8, -2), day=1)

    assert any(c.kind == "plan lost" for c in report.changes)


def test_the_order_of_results_does_not_matter_for_the_advice() -> None:
    new = (result("sbp", 147, 28), result("dbp", 92, 28), result("heart_rate", 66, 28), *LABS)

    assert followed(*reversed(new), day=28) == as_hoped()


def test_a_newer_record_says_the_same_as_new_results_beside_the_old_one() -> None:
    new = (result("sbp", 147, 28), result("dbp", 92, 28), result("heart_rate", 66, 28), *LABS)
    newer = record().model_copy(update={"observations": (*record().observations, *new)})

    assert followed(day=28, patient=newer).changes == as_hoped().changes


def test_a_changed_dose_is_told_with_what_changed_it() -> None:
    first = decision().options[0]
    start = first.plan.start[0]
    other = start.model_copy(update={"regimen": start.regimen.model_copy(update={"text": "40 mg orally once daily"})})
    moved = first.model_copy(update={"plan": first.plan.model_copy(update={"start": (other, *first.plan.start[1:])})})
    old = decision().model_copy(update={"options": (moved, *decision().options[1:])})

    assert [c.kind for c in difference(old, decision(), ledger=Ledger())] == ["dose changed"]


def an_old_patient(day: date, **chosen: Any) -> Recommendation:
    """Of somebody who turns 85 in the first days of 2027: the European target is then less strict."""
    who = a_patient(
        age=84, conditions=("hypertension", "type2_diabetes"), medicines=(a_medicine("amlodipine", 5.0),), sbp=134,
        dbp=75, weight=82, creatinine=1.0, potassium=4.3, sodium=140,
    )  # fmt: skip
    return recommend(who, "hypertension", knowledge=knowledge(), settings=Settings(as_of=day, **chosen))


def test_what_time_alone_changed_is_told_as_time() -> None:
    first, later = (an_old_patient(AS_OF + timedelta(days=n), guideline="ESC24") for n in (0, 60))
    found = difference(first, later, ledger=Ledger())

    assert {change.kind for change in found} == {"plan lost", "finding new"}
    assert {change.why for change in found} == {
        "no new fact of the patient: asked on 2027-01-19 instead of 2026-11-20"
    }  # fmt: skip


def test_what_a_setting_changed_is_not_put_down_to_the_patient() -> None:
    one, other = (an_old_patient(AS_OF, harm_aversion=weight) for weight in (1.0, 20.0))
    found = difference(one, other, ledger=Ledger())

    assert [change.kind for change in found] == ["plan re-ranked", "plan re-ranked"]
    assert all("settings have changed" in change.why for change in found)


def test_another_order_of_plans_is_told() -> None:
    first, second, *rest = decision().options
    swapped = (second.model_copy(update={"rank": 1}), first.model_copy(update={"rank": 2}), *rest)
    found = difference(decision().model_copy(update={"options": swapped}), decision(), ledger=Ledger())

    assert [c.kind for c in found] == ["plan re-ranked", "plan re-ranked"]


def test_medicines_that_the_record_holds_as_begun_are_not_begun_twice() -> None:
    option = decision().options[0]
    once = on_plan(record(), option, started_on=STARTED)

    assert on_plan(once, option, started_on=STARTED) == once


def test_a_result_that_cannot_be_used_is_said() -> None:
    unread = Observation(key="potassium", text="58 mmol/L: not usable", at=result("sbp", 1, 10).at, source=SOURCE)
    report = followed(unread, day=11)

    assert any(entry.what.startswith("potassium of") for entry in report.not_checked)
    assert not any(answer.value.value == 58 for s in report.states for answer in s.answered)


def test_a_plan_that_was_changed_since_is_said() -> None:
    option = decision().options[0]
    taken = on_plan(record(), option, started_on=STARTED)
    raised = tuple(
        m.model_copy(update={"end": STARTED + timedelta(days=10)}) if "valsartan" in m.drugs else m
        for m in taken.medications
    )
    report = followed(*LABS, day=21, patient=taken.model_copy(update={"medications": raised}))

    assert any(entry.what == "the expected course" for entry in report.not_checked)


# Levels.


def given_doses(n: int = 4, amount: float = 1000.0) -> tuple[EventRow, ...]:
    at = datetime(2026, 12, 2, 8, tzinfo=UTC)
    return tuple(
        EventRow(
            at=at + timedelta(hours=12 * k), amount=amount, unit="mg", route="iv", duration_h=2.0, drug="vancomycin",
            source=SOURCE,
        )
        for k in range(n)
    )  # fmt: skip


def levels_of(*rows: tuple[float, float]) -> tuple[LevelRow, ...]:
    at = datetime(2026, 12, 2, 8, tzinfo=UTC)
    return tuple(
        LevelRow(at=at + timedelta(hours=hours), value=value, unit="mg/L", analyte="vancomycin", source=SOURCE)
        for hours, value in rows
    )


@lru_cache
def with_levels() -> FollowUpReport:
    return followed(day=13, levels=levels_of((35.5, 30.0), (38.0, 45.0)), events=given_doses())


def test_high_levels_lower_the_clearance_of_the_twin_and_become_a_finding() -> None:
    (twin,) = with_levels().twins
    clearance = next(row for row in twin.parameters if row.name == "CL")

    assert clearance.after.high - clearance.after.low < clearance.before.high - clearance.before.low
    assert twin.toxic_after is not None
    assert twin.toxic_after.value > 0.9
    assert any(f.title.startswith("Levels of vancomycin: likely toxic") for f in with_levels().findings)
    assert any(c.kind == "finding new" and "level of vancomycin: 45" in c.why for c in with_levels().changes)


def test_levels_without_doses_are_listed_as_not_used() -> None:
    report = followed(day=13, levels=levels_of((35.5, 30.0)))

    assert report.twins == ()
    assert any(entry.what.startswith("levels of vancomycin") for entry in report.not_checked)


def test_the_order_of_levels_does_not_matter() -> None:
    rows = levels_of((35.5, 30.0), (38.0, 45.0))

    assert followed(day=13, levels=rows[::-1], events=given_doses()[::-1]) == with_levels()


def test_a_stored_twin_goes_on_from_its_log() -> None:
    who = a_patient(age=62, weight=80.0, height=178.0, creatinine=1.0, conditions=())
    chosen = Settings(as_of=date(2026, 12, 5))
    now = datetime(2026, 12, 5, tzinfo=UTC)
    model = knowledge().models("vancomycin")[:1]
    first, second = levels_of((35.5, 20.0), (38.0, 35.0))
    told = dose_by_models(
        who, "vancomycin", model, Given(now=now, events=given_doses(), levels=(first,)), knowledge=knowledge(),
        settings=chosen,
    )  # fmt: skip
    assert told.twin is not None

    ledger = Ledger()
    change = after_level(
        told.twin, second, patient=who, now=now, knowledge=knowledge(), settings=chosen, ledger=ledger
    )  # fmt: skip

    assert [e.value for e in change.record.events if e.kind == "level"] == [20.0, 35.0]
    assert {row.name: row.before.value for row in change.parameters} == {
        name: row.value for name, row in told.parameters.items()
    }
    assert change.next_sample is not None


def test_a_twin_of_another_model_is_refused() -> None:
    stored = with_levels().twins[0].record.model_copy(update={"model": "vancomycin_of_nobody"})

    with pytest.raises(InputError, match="not held"):
        after_level(
            stored, levels_of((40.0, 20.0))[0], patient=record(), now=datetime(2026, 12, 5, tzinfo=UTC),
            knowledge=knowledge(), settings=Settings(as_of=date(2026, 12, 5)), ledger=Ledger(),
        )  # fmt: skip


def digoxin_plan(*, by_model: bool, monitored: bool) -> FollowUpPlan:
    """Plan 1 with digoxin in the place of its first drug, its trough told by a model or by the drug's file."""
    first = decision().options[0]
    leaf = EvidenceKey("model:digoxin" if by_model else "knowledge:digoxin")
    entry = Evidence(kind="model" if by_model else "knowledge", text="digoxin at 0.9 ug/L", source="made")
    trough = Estimate(value=0.9, unit="ug/L", low=0.6, high=1.3, level=0.8, because=(leaf,))
    start = first.plan.start[0].model_copy(
        update={"drug": DrugId("digoxin"), "exposure_measures": {"trough": trough}}
    )  # fmt: skip
    rules = [
        Monitoring(what=rule.what, when=rule.when, days=rule.days, because=(leaf,))
        for rule in knowledge().drugs[DrugId("digoxin")].monitoring
        if "level" in rule.what
    ]
    option = first.model_copy(
        update={
            "plan": first.plan.model_copy(update={"start": (start,)}), "monitoring": tuple(rules) if monitored else (),
        }
    )  # fmt: skip
    document = decision().model_copy(
        update={"options": (option,), "evidence": {**decision().evidence, str(leaf): entry}}
    )  # fmt: skip
    return expected_course(document, 1, started_on=STARTED, knowledge=knowledge())


def test_a_drug_with_a_narrow_index_has_its_level_with_the_twins_trough() -> None:
    (item,) = digoxin_plan(by_model=True, monitored=True).items

    assert (item.kind, item.parts[0].keys) == ("level", ("level_digoxin",))
    assert (item.opens, item.due) == (STARTED + timedelta(days=5), STARTED + timedelta(days=14))
    assert item.expected is not None
    assert item.expected.value == 0.9


def test_without_a_population_model_no_trough_is_expected() -> None:
    (item,) = digoxin_plan(by_model=False, monitored=True).items

    assert item.expected is None
    assert item.expected_note == "no population model answers for this patient"


def test_a_level_that_no_rule_asks_for_is_asked_for_without_a_date() -> None:
    (item,) = digoxin_plan(by_model=True, monitored=False).items

    assert (item.kind, item.due) == ("level", None)


def test_a_level_answers_its_item_and_is_left_to_the_twin() -> None:
    plan = digoxin_plan(by_model=True, monitored=True)
    level = Observation(
        key="level_digoxin", value=2.9, unit="ug/L", at=result("sbp", 1, 7).at, source=SOURCE
    )  # fmt: skip
    (found,) = state_of(plan, [level], today=STARTED + timedelta(days=8), ledger=Ledger())

    assert found.state == "done"
    assert "judged by its twin" in found.why


# Other indications.


@pytest.mark.parametrize("indication", ["depression", "type-2-diabetes", "atrial-fibrillation-stroke-prevention"])
def test_every_indication_has_a_course_that_reaches_its_evidence(indication: str) -> None:
    who = a_patient(
        conditions=("type2_diabetes", "depression", "atrial_fibrillation"), weight=82, height=175, creatinine=1.0,
        sbp=140, dbp=85, total_cholesterol=205, hdl=45, ldl=132, hba1c=7.9, potassium=4.3, sodium=140,
    )  # fmt: skip
    document = recommend(who, indication, knowledge=knowledge(), settings=Settings(as_of=AS_OF))
    plan = expected_course(document, 1, started_on=STARTED, knowledge=knowledge())

    assert plan.items
    assert evidence_faults(plan) == []
    assert prose_faults(plan) == []


def test_a_value_that_takes_months_does_not_judge_the_plan_after_a_week() -> None:
    who = a_patient(
        conditions=("type2_diabetes",), weight=82, height=175, creatinine=1.0, sbp=140, dbp=85, hba1c=7.9,
        total_cholesterol=205, hdl=45,
    )  # fmt: skip
    document = recommend(who, "type-2-diabetes", knowledge=knowledge(), settings=Settings(as_of=AS_OF))

    def frame(day: int) -> str | None:
        return follow_up(
            document, 1, patient=who, observations=(result("hba1c", 7.8, day),), started_on=STARTED,
            today=STARTED + timedelta(days=day), knowledge=knowledge(),
        ).frame  # fmt: skip

    assert (frame(7), frame(91)) == ("before the plan", "on the plan")


# Laboratory values.


def judged_as(key: str, value: float, rank: int = 1, *, day: int = 20) -> set[tuple[str, str]]:
    """State and verdict of every item that this one value answers."""
    report = followed(result(key, value, day), day=day, rank=rank)
    return {
        (state.state if not state.missing else "half", one.verdict)
        for state in report.states
        for one in state.judged
        if one.key == key
    }


@pytest.mark.parametrize(
    "key, value, verdict",
    [
        ("potassium", 5.4, "as expected"), ("potassium", 5.5, "out of expectation"),
        ("creatinine", 1.2, "as expected"), ("creatinine", 1.4, "out of expectation"),
        ("egfr", 70.0, "not judged"),
    ],
)  # fmt: skip
def test_a_laboratory_value_is_held_against_the_bounds_on_file(key: str, value: float, verdict: str) -> None:
    found = judged_as(key, value)

    assert {one for _, one in found} == {verdict}
    assert ("out of expectation" in {state for state, _ in found}) == (verdict == "out of expectation")


def test_a_value_without_a_bound_on_file_is_never_told_as_expected() -> None:
    nothing = FollowUpFacts(words=follow_up_facts().words)
    report = followed(*LABS, day=28, facts=nothing)
    told = [one for state in report.states for one in state.judged]

    assert {one.key for one in told} >= {"potassium", "creatinine"}
    assert {one.verdict for one in told} == {"not judged"}
    assert all("no bound on file" in one.text for one in told)


def test_a_rise_without_a_value_from_before_the_plan_is_not_judged() -> None:
    before = tuple(o for o in record().observations if o.key not in ("creatinine", "egfr"))
    bare = record().model_copy(update={"observations": before})
    report = followed(result("creatinine", 4.0, 20), day=20, patient=bare)
    told = {one.text for state in report.states for one in state.judged if one.key == "creatinine"}

    assert told
    assert all("no value from before the plan" in text for text in told)


def test_a_value_from_before_the_plan_is_not_held_against_its_bounds() -> None:
    report = followed(day=1)

    assert any(state.answered for state in report.states)
    assert not any(state.judged for state in report.states)


def test_each_bound_names_its_rule_in_the_evidence() -> None:
    report = followed(result("potassium", 5.8, 20), day=20)
    found = [one for state in report.states for one in state.judged if one.verdict == "out of expectation"]
    sources = {report.evidence[key].source.split(":")[0] for one in found for key in one.because}

    assert "pmj-heart-failure-table-2" in sources


@pytest.mark.parametrize("low, unit", [(None, "mmol/L"), (3.0, "")])
def test_a_bound_without_a_value_or_a_unit_is_refused(low: float | None, unit: str) -> None:
    with pytest.raises(ValidationError):
        LaboratoryBound(
            key="potassium", on=("ARB",), unit=unit, low=low, text="made", source="memory", status="to verify"
        )


# The traceability rule.


@pytest.mark.parametrize("document", [FollowUpPlan, FollowUpReport], ids=lambda d: d.__name__)
def test_every_numeric_field_of_a_follow_up_knows_why_or_is_declared(document: type[Any]) -> None:
    assert schema_faults(document) == []


@pytest.mark.parametrize(
    "made", [course, as_hoped, too_high, hyperkalaemic, with_levels], ids=lambda made: made.__name__
)
def test_every_claim_of_a_follow_up_reaches_leaves(made: Any) -> None:
    assert evidence_faults(made()) == []
    assert [fault for fault in prose_faults(made()) if ".record." not in fault] == []  # the stored log is never shown


@pytest.mark.parametrize("made", [as_hoped, too_high, hyperkalaemic, with_levels], ids=lambda made: made.__name__)
def test_every_number_of_the_printed_follow_up_stands_in_the_document(
    made: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    print_follow_up(made())

    lines = [row for row in capsys.readouterr().out.splitlines() if not row.startswith(("Not checked (", "and "))]
    assert text_faults("\n".join(lines), made()) == []


def test_a_follow_up_survives_the_way_through_json() -> None:
    text = json.dumps(too_high().model_dump(mode="json", by_alias=True))

    assert FollowUpReport.model_validate_json(text) == too_high()


# Bad input.


def test_a_rank_that_the_decision_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="no plan 9"):
        expected_course(decision(), 9, started_on=STARTED, knowledge=knowledge())


def test_a_start_before_the_decision_is_refused() -> None:
    with pytest.raises(InputError, match="before the recommendation"):
        expected_course(decision(), 1, started_on=AS_OF - timedelta(days=1), knowledge=knowledge())


def test_a_day_before_the_start_is_refused() -> None:
    with pytest.raises(InputError, match="before the start"):
        followed(day=-1)


def test_a_decision_made_with_genes_is_not_made_again_without_them() -> None:
    with pytest.raises(InputError, match="CYP2D6"):
        followed(*LABS, day=21, genome=None)


def test_the_record_of_another_patient_is_refused() -> None:
    with pytest.raises(InputError, match="the decision is of patient"):
        followed(*LABS, day=21, patient=a_patient(sbp=150))


def test_facts_without_their_citation_are_refused(tmp_path: Path) -> None:
    row = '[[courses]]\nindication = "x"\nmeasure = "sbp"\nfull_from_days = 3\ntext = "t"\nsource = "nowhere"\n'
    (tmp_path / "x.toml").write_text(row + 'status = "verified"\n', encoding="utf-8")

    with pytest.raises(KnowledgeError, match="nowhere"):
        follow_up_facts(tmp_path)


# The command.


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("follow-up")
    written = json.dumps(decision().model_dump(mode="json", by_alias=True))
    (folder / "decision.json").write_text(written, encoding="utf-8")
    (folder / "new.csv").write_text(
        "key,value,unit,time\npotassium,5.8,mmol/L,2026-12-05T09:00\n", encoding="utf-8"
    )  # fmt: skip
    return [
        "follow-up", "--patient", str(FOLDER / "patient.json"), "--decision", str(folder / "decision.json"),
        "--started", STARTED.isoformat(), "--genome", str(FOLDER / "genome.vcf"),
        "--outside-calls", str(FOLDER / "outside-calls.tsv"), "--observations", str(folder / "new.csv"),
    ]  # fmt: skip


def test_the_command_says_what_the_functions_say(asked: list[str]) -> None:
    answer = CliRunner().invoke(app, [*asked, "--json"])
    report = FollowUpReport.model_validate_json(answer.stdout)

    assert report.as_of == date(2026, 12, 5)
    assert [(c.kind, c.was, c.now) for c in report.changes] == [
        (c.kind, c.was, c.now) for c in hyperkalaemic().changes if c.kind != "finding gone"
    ]


def test_the_command_prints_what_is_due_and_what_changed(asked: list[str]) -> None:
    text = CliRunner().invoke(app, asked).stdout

    assert "Accepted plan" in text
    assert "Plan lost" in text
    assert "because: potassium: 5.8 mmol/L on 2026-12-05" in text


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("key,value,unit\nsbp,1,mm[Hg]\n", "column time is missing"),
        ("value,unit,time\n1,mm[Hg],2026-12-05\n", "key or loinc"),
        ("key,value,unit,time\nmoonlight,1,mm[Hg],2026-12-05\n", "moonlight"),
        ("key,value,unit,time\nsbp,high,mm[Hg],2026-12-05\n", "not a number"),
        ("key,value,unit,time\nsbp,nan,mm[Hg],2026-12-05\n", "cannot be"),
        ("key,value,unit,time\nsbp,120,mm[Hg],soon\n", "not a time"),
        ("key,value,unit,time\nsbp,120,mm[Hg],2026-12-05,more\n", "more cells"),
    ],
)
def test_a_table_of_results_that_cannot_be_read_is_refused_with_its_place(
    asked: list[str], tmp_path: Path, content: str, wrong: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content, encoding="utf-8")
    error = CliRunner().invoke(app, [*asked[:-1], str(path)]).exception

    assert isinstance(error, PosologistError)
    assert wrong in str(error)
    assert "bad.csv" in str(error)


@pytest.mark.parametrize("content", ["not json", "{}", '{"schema": "posologist/screening/1"}'])
def test_what_is_no_recommendation_is_refused(asked: list[str], tmp_path: Path, content: str) -> None:
    path = tmp_path / "decision.json"
    path.write_text(content, encoding="utf-8")
    changed = [str(path) if word.endswith("decision.json") else word for word in asked]
    error = CliRunner().invoke(app, changed).exception

    assert isinstance(error, InputError)
    assert "not a recommendation" in str(error)
