"""The store: the same promises on SQLite and PostgreSQL."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from posologist.core.errors import InputError
from posologist.serve.closing import Closing
from posologist.serve.refusals import ConflictError, ConsentRefusedError, NotFoundError, StoreError
from posologist.serve.refused import ForbiddenError
from posologist.serve.rows import Actor, Role
from posologist.serve.store import Store
from posologist.serve.store_copy import backup, restore
from posologist.serve.tables import GUARDED, metadata
from posologist.serve.work import Work
from stores import (
    AMBULANCE,
    ANNA,
    BEN,
    KINDS,
    NOW,
    RESEARCHER,
    Clock,
    a_decision,
    a_follow_up,
    a_level,
    a_store,
    a_url,
    execute,
    filled,
    put_answer,
    put_patient,
    with_patients,
)

KILLS = int(os.environ.get("POSOLOGIST_KILLS", "20"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    made = a_store(request.param, tmp_path, clock=clock)
    yield made
    made.close()


@pytest.fixture(params=KINDS[1:])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database that other processes reach."""
    made = a_store(request.param, tmp_path)
    yield made
    made.close()


# --- tables


def test_the_migrations_make_the_tables_that_the_code_uses(shared: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with create_engine(shared.url, poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)

    assert differences == []


def test_migrating_twice_and_from_anywhere_changes_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_patients(store)
    monkeypatch.chdir(tmp_path)

    store.migrate()

    with store.work(ANNA) as work:
        assert work.patient("p1").bundle == b"{}"


def test_several_may_migrate_at_once(tmp_path: Path) -> None:
    for kind in KINDS[1:]:
        url = a_url(kind, tmp_path)
        stores = [Store(url) for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(each.migrate) for each in stores]:
                done.result()

        assert stores[0].verify().whole
        for each in stores:
            each.close()


def test_a_database_of_a_later_version_is_refused(shared: Store) -> None:
    execute(shared, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreError, match="later version"):
        shared.migrate()


def test_a_database_file_is_read_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    Store(f"sqlite:///{path}").migrate()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_sqlite_waits_for_the_disk_and_keeps_its_log_apart(tmp_path: Path) -> None:
    store = with_patients(a_store("file", tmp_path))
    with store.work(ANNA) as work:
        pragma = {
            name: work.reader.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "nonsense secret", "postgresql+asyncpg://u:secret@h/d", ""])
def test_a_url_that_is_none_of_ours_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        Store(url)

    assert "secret" not in str(refused.value)


def test_a_password_in_a_url_is_not_shown() -> None:
    assert "secret" not in str(Store("postgresql://u:secret@localhost/d"))


def test_a_database_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    for store in (Store(f"sqlite:///{tmp_path / 'none.db'}"), Store("sqlite://")):
        with pytest.raises(StoreError, match=r"no database is there|none of our tables"):
            store.verify()
    assert not (tmp_path / "none.db").exists()


# --- what is put in comes out


def test_everything_that_is_put_in_comes_out_as_it_was(store: Store) -> None:
    answer = filled(store)

    with store.work(ANNA) as work:
        patient, genome = work.patient("p1"), work.genome("p1")
        assert (patient.name, patient.birth_date, patient.created_at) == ("Made Patient", date(1964, 1, 2), NOW)
        assert genome is not None
        assert (genome.profile, genome.sample) == (b"{}", "s1")
        assert work.measured("p1") == (a_level(),)
        assert work.answer(answer).document == b'{"a":1}'
        assert work.decisions("p1") == (a_decision(answer),)
        assert work.follow_ups("p1") == (a_follow_up("d1"),)
        assert [(row.purpose, row.granted) for row in work.consents("p1")] == [("research", True)]


def test_times_come_back_in_utc_whatever_zone_they_had(store: Store) -> None:
    with_patients(store)
    there = datetime(2026, 11, 20, 15, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with store.work(ANNA) as work:
        work.put_measured([a_level(at=there)])

    with store.work(ANNA) as work:
        at = work.measured("p1")[0].at
    assert (at, at.tzinfo) == (datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC), UTC)


def test_a_time_without_an_offset_is_refused(store: Store) -> None:
    with_patients(store)
    with pytest.raises(StoreError), store.work(ANNA) as work:
        work.put_measured([a_level(at=datetime(2026, 11, 20))])


def test_a_later_record_takes_the_place_and_the_earlier_one_stays_by_its_digest(store: Store) -> None:
    with_patients(store)
    with store.work(ANNA) as work:
        first = work.patient("p1").digest
        put_patient(work, bundle=b'{"new":1}')

    with store.work(ANNA) as work:
        assert work.patient("p1").bundle == b'{"new":1}'
        assert work.content(first) == b"{}"


def test_the_same_answer_is_stored_once_with_the_same_id(store: Store) -> None:
    with_patients(store)
    ids = []
    for _ in range(2):
        with store.work(ANNA) as work:
            ids.append(put_answer(work))

    with store.work(ANNA) as work:
        assert len(work.answers("p1")) == 1
    assert ids[0] == ids[1]


def test_answers_that_differ_in_one_byte_have_other_ids(store: Store) -> None:
    with_patients(store, "p1", "p2")
    with store.work(ANNA) as work:
        ids = {
            put_answer(work),
            put_answer(work, request=b"{ }"),
            put_answer(work, document=b""),
            put_answer(work, "p2"),
        }

    assert len(ids) == 4


def test_work_that_fails_leaves_nothing_but_its_access_rows(store: Store) -> None:
    with_patients(store)

    def fail(work: Work) -> None:
        work.patient("p1")
        put_answer(work)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), store.work(BEN) as work:
        fail(work)

    with store.work(ANNA) as work:
        assert work.answers("p1") == ()
        rows = [row for row in work.audit_rows(limit=200) if row.actor == "ben"]
    assert [(row.action, row.entity_type) for row in rows] == [("R", "patient")]
    assert store.verify().whole


def test_what_is_held_of_no_patient_is_refused(store: Store) -> None:
    with_patients(store)
    attempts: list[Callable[[Work], object]] = [
        lambda work: work.patient("nobody"),
        lambda work: work.genome("nobody"),
        lambda work: work.measured("nobody"),
        lambda work: work.put_measured([a_level(patient_id="nobody")]),
        lambda work: put_answer(work, "nobody"),
        lambda work: work.answer("0" * 64),
        lambda work: work.put_consent("nobody", "treatment", granted=False),
        lambda work: work.put_decision(a_decision("0" * 64)),
    ]
    for attempt in attempts:
        with pytest.raises(NotFoundError), store.work(ANNA) as work:
            attempt(work)

    with store.work(ANNA) as work:
        outcomes = [row.outcome for row in work.audit_rows(limit=200)]
    assert outcomes.count("not found") == len(attempts)


def test_an_id_that_cannot_be_held_is_refused(store: Store) -> None:
    for patient_id in ("", "x" * 129, "p\x001", "p\ud800"):
        for attempt in (put_patient, Work.patient, Work.answer):
            with pytest.raises(StoreError), store.work(ANNA) as work:
                attempt(work, patient_id)


# --- decisions and follow-ups


def test_an_override_needs_one_of_six_reasons(store: Store) -> None:
    answer = filled(store)
    for reason in (None, "because"):
        with pytest.raises(StoreError, match="reason"), store.work(ANNA) as work:
            work.put_decision(a_decision(answer, 2, action="override", reason=reason))

    with store.work(ANNA) as work:
        work.put_decision(a_decision(answer, 2, action="override", reason="benefit-outweighs"))


def test_a_decision_again_is_the_same_and_another_under_its_id_is_refused(store: Store) -> None:
    answer = filled(store)
    with store.work(ANNA) as work:
        again = work.put_decision(a_decision(answer, at=NOW + timedelta(hours=1)))
    with pytest.raises(ConflictError), store.work(ANNA) as work:
        work.put_decision(a_decision(answer, note="other"))

    assert again.at == NOW


def test_a_decision_is_on_an_answer_of_the_same_patient(store: Store) -> None:
    answer = filled(store)
    with_patients(store, "p2")
    with pytest.raises(NotFoundError), store.work(ANNA) as work:
        work.put_decision(a_decision(answer, 2, patient_id="p2"))


def test_a_follow_up_can_be_done_and_keeps_its_patient(store: Store) -> None:
    filled(store)
    with_patients(store, "p2")
    with store.work(ANNA) as work:
        work.put_follow_up(a_follow_up("d1", status="done", result="4.2 mmol/L"))
        scheduled_again = work.schedule(a_follow_up("d1"))
    with pytest.raises(ConflictError), store.work(ANNA) as work:
        work.put_follow_up(a_follow_up("d1", patient_id="p2"))

    assert scheduled_again.status == "done"
    with store.work(ANNA) as work:
        assert [row.status for row in work.follow_ups("p1")] == ["done"]
        assert work.follow_ups("p1", due_before=date(2026, 12, 1)) == ()


def test_a_follow_up_is_closed_once_and_the_same_again_changes_nothing(store: Store) -> None:
    filled(store)
    scheduled = a_follow_up("d1")
    with store.work(ANNA) as work:
        first = work.close_follow_up(scheduled.id, Closing("done", " 4.2 mmol/L "))
    with store.work(ANNA) as work:
        again = work.close_follow_up(scheduled.id, Closing("done", "4.2 mmol/L"))
    with pytest.raises(ConflictError), store.work(ANNA) as work:
        work.close_follow_up(scheduled.id, Closing("missed"))

    assert again == first
    assert (first.status, first.result) == ("done", "4.2 mmol/L")
    with store.work(ANNA) as work:
        made = [row for row in work.audit_rows(limit=200) if row.entity_id == scheduled.id]
        assert [(row.action, row.detail) for row in made] == [("C", "open"), ("U", "done")]
        assert work.follow_ups("p1", status="done") == (first,)
        assert work.follow_ups("p1", status="open") == ()


@pytest.mark.parametrize(
    "closing, role, kind",
    [
        (Closing("done"), "prescriber", InputError),
        (Closing("cancelled", " "), "prescriber", InputError),
        (Closing("cancelled", "stopped"), "pharmacist", ForbiddenError),
    ],
)
def test_closing_that_says_too_little_or_is_another_role_s_is_refused(
    store: Store, closing: Closing, role: Role, kind: type[Exception]
) -> None:
    filled(store)
    scheduled = a_follow_up("d1")
    with pytest.raises(kind), store.work(Actor("x", role)) as work:
        work.close_follow_up(scheduled.id, closing)

    with store.work(ANNA) as work:
        assert work.follow_ups("p1") == (scheduled,)


def test_pages_of_decisions_measured_values_and_consents_hold_each_once_in_the_order_of_the_whole(
    store: Store,
) -> None:
    answer = filled(store)
    for number in range(2, 9):
        with store.work(ANNA) as work:
            work.put_decision(a_decision(answer, number))
            work.put_measured([a_level(number, at=NOW - timedelta(hours=number % 3))])
            work.put_consent("p1", "research", granted=bool(number % 2))
    with store.work(ANNA) as work:
        decided, seen, said = work.decisions("p1"), work.measured("p1"), work.consents("p1")
        decided_pages, seen_pages = list(work.decisions("p1", limit=3)), list(work.measured("p1", limit=3))
        said_pages = list(work.consents("p1", limit=3))
        for _ in range(3):
            decided_pages += work.decisions("p1", after=decided_pages[-1].id, limit=3)
            seen_pages += work.measured("p1", after=seen_pages[-1].id, limit=3)
            said_pages += work.consents("p1", skip=len(said_pages), limit=3)

    assert len(decided) >= 7
    assert tuple(decided_pages) == decided
    assert tuple(seen_pages) == seen
    assert tuple(said_pages) == said


# --- triggers

CHANGES = {
    "answers": "document = document",
    "decisions": "note = 'other'",
    "audit": "actor = 'nobody'",
    "contents": "body = body",
    "consents": "granted = granted",
    "audit_head": "seq = 1",
}


def test_what_was_written_is_never_changed_or_deleted(shared: Store) -> None:
    filled(shared)
    for table, change in CHANGES.items():
        replace = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"
        last = replace if shared.is_sqlite else f"TRUNCATE {table} CASCADE"
        for statement in (f"UPDATE {table} SET {change}", f"DELETE FROM {table}", last):
            with pytest.raises(DBAPIError, match=r"never changed|only grows"):
                execute(shared, statement)
    assert shared.verify().whole


def test_every_guarded_table_is_among_those_tested() -> None:
    assert set(GUARDED) | {"audit_head"} == set(CHANGES)


# --- consent


READS: dict[str, Callable[[Work, str], object]] = {
    "patient": lambda work, answer: work.patient("p1"),
    "patients": lambda work, answer: work.patients(),
    "genome": lambda work, answer: work.genome("p1"),
    "measured": lambda work, answer: work.measured("p1"),
    "answer": lambda work, answer: work.answer(answer),
    "answers": lambda work, answer: work.answers("p1"),
    "decisions": lambda work, answer: work.decisions("p1"),
    "follow-ups": lambda work, answer: work.follow_ups("p1"),
    "all follow-ups": lambda work, answer: work.follow_ups(),
    "consents": lambda work, answer: work.consents("p1"),
}
LISTS_OF_ALL = ("patients", "all follow-ups")


def test_every_read_of_a_patient_leaves_an_access_row(store: Store) -> None:
    answer = filled(store)
    for name, read in READS.items():
        with store.work(Actor(name, "pharmacist", request_id=f"r-{name}")) as work:
            read(work, answer)

    with store.work(ANNA) as work:
        rows = work.audit_rows(limit=200)
    for name in READS:
        left = [(row.action, row.patient_id, row.outcome) for row in rows if row.request_id == f"r-{name}"]
        assert left == [("R", "p1", "done")], name


def test_a_refused_consent_keeps_every_read_from_the_data(store: Store) -> None:
    answer = filled(store)
    with store.work(ANNA) as work:
        work.put_consent("p1", "treatment", granted=False)

    for name in LISTS_OF_ALL:
        with store.work(ANNA) as work:
            assert READS[name](work, answer) == (), name
    single = READS.keys() - {*LISTS_OF_ALL, "consents"}
    for name in single:
        with pytest.raises(ConsentRefusedError, match="purpose 'treatment'"), store.work(BEN) as work:
            READS[name](work, answer)
    with store.work(ANNA) as work:
        refused = [(row.actor, row.patient_id) for row in work.audit_rows(limit=200) if row.outcome == "refused"]
    assert refused == [("ben", "p1")] * len(single)


def test_a_refused_consent_keeps_every_write_away(store: Store) -> None:
    answer = filled(store)
    with store.work(ANNA) as work:
        work.put_consent("p1", "treatment", granted=False)
    writes: list[Callable[[Work], object]] = [
        put_patient,
        put_answer,
        lambda work: work.put_genome("p1", profile=b"x", sample=""),
        lambda work: work.put_measured([a_level(2)]),
        lambda work: work.put_decision(a_decision(answer, 2)),
        lambda work: work.put_follow_up(a_follow_up("d1", 2)),
    ]
    for write in writes:
        with pytest.raises(ConsentRefusedError), store.work(ANNA) as work:
            write(work)


def test_the_newest_consent_counts_for_its_purpose_and_patient_only(store: Store) -> None:
    with_patients(store, "p1", "p2")
    for granted in (False, True, False):
        with store.work(ANNA) as work:
            work.put_consent("p1", "treatment", granted=granted)

    with pytest.raises(ConsentRefusedError), store.work(ANNA) as work:
        work.patient("p1")
    with store.work(ANNA) as work:
        assert work.patient("p2").id == "p2"
        assert [row.granted for row in work.consents("p1")] == [False, True, False]
        work.put_consent("p1", "treatment", granted=True)
    with store.work(ANNA) as work:
        assert work.patient("p1").id == "p1"


def test_treatment_and_emergency_need_no_consent_on_file_and_other_purposes_do(store: Store) -> None:
    with_patients(store)
    with store.work(AMBULANCE) as work:
        assert work.patient("p1").id == "p1"
    with pytest.raises(ConsentRefusedError), store.work(RESEARCHER) as work:
        work.patient("p1")
    with store.work(ANNA) as work:
        work.put_consent("p1", "research", granted=True)
    with store.work(RESEARCHER) as work:
        assert [row.id for row in work.patients()] == ["p1"]


def test_an_emergency_reads_past_a_refusal_of_treatment_and_is_recorded(store: Store) -> None:
    with_patients(store)
    with store.work(ANNA) as work:
        work.put_consent("p1", "treatment", granted=False)
    with store.work(AMBULANCE) as work:
        work.patient("p1")

    with store.work(BEN) as work:
        last = [row for row in work.audit_rows(limit=200) if row.actor == "eve"]
    assert [(row.purpose, row.patient_id) for row in last] == [("emergency", "p1")]


# --- pages


def test_pages_of_patients_hold_each_once_in_one_order(store: Store) -> None:
    ids = [f"{letter}{number}" for letter in "bAaÄ-_z" for number in (1, 10, 2)]
    with_patients(store, *ids)
    seen: list[str] = []
    after = None
    while True:
        with store.work(ANNA) as work:
            page = work.patients(after, 4)
        if not page:
            break
        seen += [row.id for row in page]
        after = page[-1].id
        with store.work(ANNA) as work:
            put_patient(work, seen[0] + "!")  # one that comes in before the page that is asked for next

    assert seen == sorted(ids, key=lambda text: text.encode())


def test_pages_of_answers_go_back_in_time_while_new_ones_arrive(store: Store) -> None:
    with_patients(store)
    made = []
    for number in range(7):
        with store.work(ANNA) as work:
            made.append(put_answer(work, request=str(number).encode()))
    seen: list[str] = []
    before = None
    while True:
        with store.work(ANNA) as work:
            page = work.answers("p1", before=before, limit=3)
            put_answer(work, request=f"new {len(seen)}".encode())
        if not page:
            break
        seen += [row.id for row in page]
        before = page[-1].seq

    assert seen == made[::-1]


def test_pages_of_follow_ups_hold_each_once(store: Store) -> None:
    filled(store)
    with store.work(ANNA) as work:
        for number in range(2, 9):
            work.put_follow_up(a_follow_up("d1", number, due=date(2026, 12, 1 + number % 2)))
    seen: list[str] = []
    after = None
    while True:
        with store.work(ANNA) as work:
            page = work.follow_ups(after=after, limit=3)
        if not page:
            break
        seen += [row.id for row in page]
        after = (page[-1].due, page[-1].id)

    assert seen == ["f1", "f2", "f4", "f6", "f8", "f3", "f5", "f7"]


def test_a_page_of_an_odd_size_is_refused(store: Store) -> None:
    for ask, limit in product((Work.patients, Work.follow_ups, Work.audit_rows), (0, -1, 201)):
        with pytest.raises(StoreError, match="1 to 200"), store.work(ANNA) as work:
            ask(work, limit=limit)


# --- requests


def test_the_same_key_and_body_give_the_response_that_was_kept(store: Store) -> None:
    with store.work(ANNA) as work:
        assert work.once("k1", "body") is None
    with store.work(ANNA) as work:
        work.keep("k1", "body", b"answer")

    with store.work(ANNA) as work:
        assert work.once("k1", "body") == b"answer"


def test_the_same_key_with_another_body_is_refused(store: Store) -> None:
    with store.work(ANNA) as work:
        work.once("k1", "body")
        work.keep("k1", "body", b"answer")

    with pytest.raises(ConflictError, match="another request"), store.work(ANNA) as work:
        work.once("k1", "other")


def test_a_key_belongs_to_its_actor(store: Store) -> None:
    with store.work(ANNA) as work:
        work.once("k1", "body")
        work.keep("k1", "body", b"anna's")

    with store.work(BEN) as work:
        assert work.once("k1", "body") is None


def test_a_request_that_is_being_answered_is_not_answered_twice(store: Store, clock: Clock) -> None:
    with store.work(ANNA) as work:
        work.once("k1", "body")
    with pytest.raises(ConflictError, match="still being answered"), store.work(ANNA) as work:
        work.once("k1", "body")

    clock.pass_by(minutes=2)
    with store.work(ANNA) as work:
        assert work.once("k1", "body") is None
        work.release("k1")
        assert work.once("k1", "body") is None


def test_a_response_is_kept_only_for_a_claimed_key(store: Store) -> None:
    with pytest.raises(ConflictError), store.work(ANNA) as work:
        work.keep("k1", "body", b"answer")


def test_a_kept_response_is_forgotten_after_a_day(store: Store, clock: Clock) -> None:
    with store.work(ANNA) as work:
        work.once("k1", "body")
        work.keep("k1", "body", b"answer")
    clock.pass_by(hours=25)

    with store.work(ANNA) as work:
        assert work.once("k1", "other") is None


def test_a_token_is_taken_once_and_an_expired_one_never(store: Store, clock: Clock) -> None:
    def seen(jti: str, minutes: int) -> bool:
        with store.work(ANNA) as work:
            return work.seen(jti, NOW + timedelta(minutes=minutes))

    assert [seen("iss a", 5), seen("iss a", 5), seen("iss b", 5), seen("iss c", 0)] == [False, True, False, True]
    clock.pass_by(minutes=6)
    assert seen("iss a", 5)
    with store.work(ANNA) as work:
        work.seen("iss d", NOW + timedelta(hours=1))
        held = work.connection.execute(text("SELECT count(*) FROM seen_tokens")).scalar()
    assert held == 1


# --- several at once


def test_others_write_while_an_answer_is_computed(store: Store) -> None:
    with_patients(store)
    with store.work(ANNA) as slow:
        slow.patient("p1")
        slow.rest()
        with store.work(BEN) as quick:
            put_answer(quick, request=b"quick")
        put_answer(slow, request=b"slow")

    with store.work(ANNA) as work:
        assert len(work.answers("p1")) == 2
    assert store.verify().whole


def test_a_consent_refused_while_an_answer_is_computed_keeps_it_from_being_held(shared: Store) -> None:
    with_patients(shared)

    def answer_while_refused(slow: Work) -> None:
        slow.patient("p1")
        with shared.work(BEN) as quick:
            quick.put_consent("p1", "treatment", granted=False)
        put_answer(slow)

    with pytest.raises(ConsentRefusedError), shared.work(ANNA) as work:
        answer_while_refused(work)


def test_threads_that_write_at_once_make_one_chain(store: Store) -> None:
    with_patients(store)
    failed: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for number in range(8):
                with store.work(Actor(name, "prescriber")) as work:
                    work.patient("p1")
                    put_answer(work, request=f"{name} {number}".encode())
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=write, args=(f"t{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    found = store.verify()
    assert (found.whole, found.rows) == (True, 1 + 6 * 8 * 2)


def _writer(store: Store, most: int | None = None) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(Path(__file__).with_name("writing_child.py"))]
    url = store.url.render_as_string(hide_password=False)
    return subprocess.Popen([*words, url, *([str(most)] if most else [])], stdout=subprocess.PIPE)


def test_two_processes_that_write_at_once_make_one_chain(shared: Store) -> None:
    with_patients(shared)
    writers = [_writer(shared, 25) for _ in range(2)]
    told = [line for writer in writers for line in writer.communicate()[0].decode().split()]

    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(set(told)) == 50
    found = shared.verify()
    assert (found.whole, found.rows) == (True, 1 + 50 * 2)


def _killed(store: Store, rng: random.Random) -> list[str]:
    """What a writer had acknowledged when it was killed at some moment."""
    writer = _writer(store)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(rng.uniform(0, 0.08))
    writer.kill()
    rest = writer.stdout.read()
    writer.stdout.close()
    writer.wait()
    return [line.decode() for line in (first + rest).split(b"\n")[:-1]]


def test_a_writer_killed_at_any_moment_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    store = with_patients(a_store("file", tmp_path))
    rng = random.Random(5)
    for _ in range(KILLS):
        told = _killed(store, rng)
        with store.work(ANNA) as work:
            held = {row.id for row in work.answers("p1", limit=200)}
            missing = [number for number in told if number not in held and work.answer(number).id != number]

        assert told
        assert missing == []
    assert store.verify().whole


def test_a_client_of_postgresql_killed_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    store = with_patients(a_store("postgresql", tmp_path))
    rng = random.Random(6)
    for _ in range(4):
        told = _killed(store, rng)
        with store.work(ANNA) as work:
            assert [work.answer(number).id for number in told] == told
    assert store.verify().whole
    store.close()


# --- what is said


def test_no_log_and_no_error_holds_what_is_of_a_patient(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ("p-secret", "Secretname", "secret-note", "bundle-secret")
    said: list[str] = []
    with store.work(ANNA) as work:
        work.put_patient(
            "p-secret", name="Secretname", sex="", birth_date=None, bundle=b"bundle-secret", document="made.json"
        )
        answer = put_answer(work, "p-secret")
        work.put_decision(a_decision(answer, patient_id="p-secret", note="secret-note"))
    wrong: list[Callable[[Work], object]] = [
        lambda work: work.insert(metadata.tables["patients"], {"id": "p-secret", "name": "Secretname"}),
        lambda work: work.connection.execute(text("INSERT INTO answers (id) VALUES ('p-secret')")),
        lambda work: work.put_decision(a_decision(answer, patient_id="p-secret", note="secret-note \x00", number=2)),
        lambda work: work.patient("p-secret-2"),
    ]
    for attempt in wrong:
        with pytest.raises(StoreError) as refused, store.work(ANNA) as work:
            attempt(work)
        said.append(str(refused.value))

    for secret in secrets:
        assert secret not in caplog.text + " ".join(said)


# --- backup


def test_a_backup_of_a_database_in_use_holds_one_moment_of_it(tmp_path: Path) -> None:
    store = with_patients(a_store("file", tmp_path))
    writer = _writer(store)
    assert writer.stdout is not None
    told = writer.stdout.readline().decode().strip()
    try:
        found = backup(store, tmp_path / "copy.db")
    finally:
        writer.kill()
        writer.communicate()
    again = Store(f"sqlite:///{tmp_path / 'again.db'}")
    restore(again, tmp_path / "copy.db")

    assert found.whole
    assert again.verify().last == found.last
    with again.work(ANNA) as work:
        assert work.answer(told).id == told
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("*copy*")) == ["copy.db"]


def test_neither_backup_nor_restore_writes_over_a_file(tmp_path: Path) -> None:
    store = a_store("file", tmp_path)
    there = tmp_path / "there.db"
    there.write_text("mine")
    with pytest.raises(StoreError, match="already"):
        backup(store, there)
    with pytest.raises(StoreError, match="already"):
        restore(Store(f"sqlite:///{there}"), Path(str(store.path)))

    assert there.read_text() == "mine"


def test_a_backup_that_is_none_damaged_or_tampered_with_is_not_restored(tmp_path: Path) -> None:
    store = a_store("file", tmp_path)
    filled(store)
    good, foreign, cut = tmp_path / "good.db", tmp_path / "foreign.db", tmp_path / "cut.db"
    backup(store, good)
    sqlite3.connect(foreign).execute("CREATE TABLE a (b)").connection.close()
    cut.write_bytes(good.read_bytes()[:20_000])
    (tmp_path / "text.db").write_text("no database " * 400)
    tampered = tmp_path / "tampered.db"
    tampered.write_bytes(good.read_bytes())
    execute(Store(f"sqlite:///{tampered}"), "DROP TRIGGER answers_no_update", "UPDATE answers SET document = 'other'")

    for source in (foreign, cut, tmp_path / "text.db", tampered, tmp_path / "none.db"):
        with pytest.raises(StoreError):
            restore(Store(f"sqlite:///{tmp_path / 'new.db'}"), source)
    assert not list(tmp_path.glob("new.db*"))


def test_postgresql_and_memory_say_how_they_are_copied(tmp_path: Path) -> None:
    for kind, hint in (("postgresql", "pg_dump"), ("memory", "nothing is kept")):
        store = a_store(kind, tmp_path)
        with pytest.raises(StoreError, match=hint):
            backup(store, tmp_path / "copy.db")
        store.close()
