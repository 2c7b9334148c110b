"""The audit chain: whatever is changed, removed, moved or cut off is found, and told where."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from hypothesis import given
from hypothesis import strategies as st

from posologist.serve import cli
from posologist.serve.audit import GENESIS, audit_event, row_hash, verify_rows
from posologist.serve.rows import AuditRow, Head
from posologist.serve.store import Store
from stores import ANNA, KINDS, NOW, Clock, a_decision, a_store, execute, filled, put_answer, with_patients


def a_chain(length: int) -> list[AuditRow]:
    """A chain that holds."""
    rows: list[AuditRow] = []
    for number in range(1, length + 1):
        row = AuditRow(
            seq=number, at=NOW, actor="anna", role="prescriber", purpose="treatment", action="R",
            entity_type="patient", entity_id=f"p{number}", patient_id=f"p{number}", outcome="done", request_id="r",
            detail="", previous=rows[-1].hash if rows else GENESIS, hash="",
        )  # fmt: skip
        rows.append(replace(row, hash=row_hash(row)))
    return rows


def head_of(rows: list[AuditRow]) -> Head:
    """The end of a chain."""
    return Head(rows[-1].seq, rows[-1].hash) if rows else Head(0, GENESIS)


@given(length=st.integers(0, 12))
def test_a_chain_that_nobody_touched_holds(length: int) -> None:
    rows = a_chain(length)

    found = verify_rows(rows, head=head_of(rows), written_down=head_of(rows))

    assert (found.whole, found.rows, found.last) == (True, length, head_of(rows))


TEXTS = ("actor", "role", "purpose", "entity_type", "entity_id", "patient_id", "request_id", "detail")


@given(data=st.data(), field=st.sampled_from([*TEXTS, "at", "action", "outcome", "previous", "hash"]))
def test_any_changed_field_is_found_at_its_row(data: st.DataObject, field: str) -> None:
    rows = a_chain(8)
    at = data.draw(st.integers(0, 7))
    other = {"at": NOW.replace(microsecond=1), "action": "U", "outcome": "refused"}.get(field, "other")
    changed = [*rows[:at], replace(rows[at], **{field: other}), *rows[at + 1 :]]

    found = verify_rows(changed, head=head_of(rows))

    assert found.breaks[0].seq == at + 1


@given(at=st.integers(0, 6))
def test_a_row_rewritten_with_a_new_hash_is_found_at_the_next(at: int) -> None:
    rows = a_chain(8)
    forged = replace(rows[at], actor="nobody")
    forged = replace(forged, hash=row_hash(forged))

    found = verify_rows([*rows[:at], forged, *rows[at + 1 :]], head=head_of(rows))

    assert [(place.seq, place.what) for place in found.breaks] == [(at + 2, f"does not follow row {at + 1}")]


@given(at=st.integers(0, 6), many=st.integers(1, 3))
def test_removed_rows_are_named(at: int, many: int) -> None:
    rows = a_chain(12)

    found = verify_rows([*rows[:at], *rows[at + many :]], head=head_of(rows))

    assert [(place.seq, place.what) for place in found.breaks] == [
        (at + 1, f"rows {at + 1} to {at + many} are missing")
    ]


@given(data=st.data())
def test_two_rows_that_changed_places_are_found(data: st.DataObject) -> None:
    rows = a_chain(8)
    one, two = sorted(data.draw(st.lists(st.integers(0, 7), min_size=2, max_size=2, unique=True)))
    swapped = list(rows)
    swapped[one] = replace(rows[two], seq=one + 1)
    swapped[two] = replace(rows[one], seq=two + 1)

    found = verify_rows(swapped, head=head_of(rows))

    assert {one + 1, two + 1} <= {place.seq for place in found.breaks}


@given(left=st.integers(0, 7))
def test_a_tail_that_was_cut_off_is_found_by_the_stored_end(left: int) -> None:
    rows = a_chain(8)

    found = verify_rows(rows[:left], head=head_of(rows))

    assert [(place.seq, place.what) for place in found.breaks] == [
        (left + 1, f"rows {left + 1} to 8 are missing at the end")
    ]


@given(left=st.integers(0, 7), written=st.integers(1, 8))
def test_a_tail_cut_off_together_with_the_stored_end_is_found_by_the_one_written_down(left: int, written: int) -> None:
    rows = a_chain(8)

    found = verify_rows(rows[:left], head=head_of(rows[:left]), written_down=head_of(rows[:written]))

    assert found.whole == (written <= left)


def test_a_chain_that_was_made_anew_is_found_by_the_one_written_down() -> None:
    rows, other = a_chain(8), a_chain(8)
    forged = replace(other[2], actor="nobody", hash="")
    remade = [*other[:2], replace(forged, hash=row_hash(forged))]
    for row in other[3:]:
        following = replace(row, previous=remade[-1].hash, hash="")
        remade.append(replace(following, hash=row_hash(following)))

    alone = verify_rows(remade, head=head_of(remade))
    held = verify_rows(remade, head=head_of(remade), written_down=head_of(rows[:5]))

    assert alone.whole
    assert [place.seq for place in held.breaks] == [5]


# --- in the databases


@pytest.fixture(params=KINDS[1:])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = a_store(request.param, tmp_path, clock=Clock())
    filled(made)
    yield made
    made.close()


def _open(store: Store) -> None:
    """Take the triggers away, as an administrator of the database could."""
    if store.is_sqlite:
        names = [f"{table}_no_{what}" for table in ("audit", "answers", "decisions") for what in ("update", "delete")]
        execute(store, *[f"DROP TRIGGER {name}" for name in (*names, "audit_head_grows")])
    else:
        tables = ("audit", "answers", "decisions", "audit_head")
        execute(store, *[f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in tables])


TAMPERING = {
    "a field of a row": ("UPDATE audit SET actor = 'nobody' WHERE seq = 3", 3, "was changed"),
    "a row": ("DELETE FROM audit WHERE seq = 2", 2, "rows 2 to 2 are missing"),
    "the tail": ("DELETE FROM audit WHERE seq > 5", 6, "are missing at the end"),
    "everything": ("DELETE FROM audit", 1, "are missing at the end"),
    "the stored end": ("UPDATE audit_head SET seq = 3", 3, "the stored end of the chain is not its last row"),
    "an answer": ("UPDATE answers SET document = request", 4, "the answer that it tells of was changed"),
    "the patient of an answer": ("UPDATE answers SET kind = 'dose'", 4, "the answer that it tells of was changed"),
    "a decision": ("UPDATE decisions SET note = 'other'", 5, "the decision that it tells of was changed"),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_what_an_administrator_changes_is_found_and_told_where(store: Store, what: str) -> None:
    statement, seq, said = TAMPERING[what]
    assert store.verify().whole
    _open(store)

    execute(store, statement)

    first = store.verify().breaks[0]
    assert first.seq == seq
    assert said in first.what


def test_an_answer_that_was_taken_away_is_found(store: Store) -> None:
    _open(store)

    execute(store, "DELETE FROM follow_ups", "DELETE FROM decisions", "DELETE FROM answers")

    said = [place.what for place in store.verify().breaks]
    assert said[:2] == ["the answer that it tells of is not there", "the decision that it tells of is not there"]
    assert all(what.startswith("the trigger ") for what in said[2:])


def test_a_row_that_cannot_even_be_read_is_a_break_not_a_crash(tmp_path: Path) -> None:
    store = a_store("file", tmp_path)
    filled(store)
    _open(store)

    execute(store, "UPDATE audit SET at = 'yesterday' WHERE seq = 4")

    assert store.verify().breaks[0].what == "cannot be read"
    assert store.verify().breaks[0].seq == 4


_NOW = "'2026-11-20 12:00:00+00:00'"
UNTOLD = {
    "a decision more": (
        "INSERT INTO decisions SELECT 'x', answer_id, patient_id, rank, action, reason, will_monitor, note, "
        "order_text, by, at FROM decisions", "1 decision of which the chain does not tell",
    ),
    "an answer more": (
        "INSERT INTO answers SELECT 'x', 77, kind, patient_id, as_of, versions, request, document, created_at "
        "FROM answers", "1 answer of which the chain does not tell",
    ),
    "a consent more": (
        f"INSERT INTO consents (patient_id, purpose, granted, at) VALUES ('p1', 'research', true, {_NOW})",
        "1 consents are not as the chain tells",
    ),
    "another record": (
        "UPDATE patients SET digest = (SELECT digest FROM genomes)",
        "1 patients have another record than the chain tells",
    ),
    "another genome": (
        "UPDATE genomes SET digest = (SELECT digest FROM patients)",
        "1 patients have another genome than the chain tells",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNTOLD)
def test_what_was_written_beside_the_chain_is_found(store: Store, what: str) -> None:
    statement, said = UNTOLD[what]
    with store.work(ANNA) as work:
        work.put_genome("p1", profile=b"genes", sample="s")  # the record and the genome of `filled` are the same bytes
    assert store.verify().whole

    execute(store, statement)

    assert [place.what for place in store.verify().breaks] == [said]


def test_a_record_or_consent_that_an_administrator_changes_is_found(store: Store) -> None:
    with store.work(ANNA) as work:
        work.put_consent("p1", "treatment", granted=False)
    if store.is_sqlite:
        execute(store, "DROP TRIGGER contents_no_update", "DROP TRIGGER consents_no_delete")
    else:
        execute(store, *[f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in ("contents", "consents")])

    body = "x'00'" if store.is_sqlite else "'\\x00'"
    execute(store, f"UPDATE contents SET body = {body}", "DELETE FROM consents")

    said = [place.what for place in store.verify().breaks]
    assert "the record that it tells of was changed" in said
    assert "2 consents are not as the chain tells" in said
    assert "the trigger " in said[-1]


def test_a_row_is_not_replaced_by_its_hidden_number(tmp_path: Path) -> None:
    store = a_store("file", tmp_path)
    filled(store)
    columns = {
        "answers": "'x', 77, kind, patient_id, as_of, versions, request, document, created_at",
        "contents": "'x', body",
        "decisions": "'x', answer_id, patient_id, rank, action, reason, will_monitor, note, order_text, by, at",
    }
    with closing(sqlite3.connect(str(store.path))) as outside:  # without our pragmas
        for table, taken in columns.items():
            names = ", ".join(row[1] for row in outside.execute(f"PRAGMA table_info({table})"))
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                outside.execute(f"INSERT OR REPLACE INTO {table} (rowid, {names}) SELECT rowid, {taken} FROM {table}")


# --- the verb


def _verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["posologist", "audit", "verify", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_audit_verify_ends_with_1_where_the_chain_is_broken(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = store.url.render_as_string(hide_password=False)
    good = _verify(monkeypatch, capsys, "--database", url)
    _open(store)
    execute(store, "DELETE FROM audit WHERE seq = 2")
    bad = _verify(monkeypatch, capsys, "--database", url)
    as_json = _verify(monkeypatch, capsys, "--database", url, "--json")

    assert (good[0], bad[0], as_json[0]) == (0, 1, 1)
    assert "whole" in good[1]
    assert "row 2: rows 2 to 2 are missing" in bad[1]
    assert json.loads(as_json[1])["breaks"][0] == {"seq": 2, "what": "rows 2 to 2 are missing"}


def test_audit_verify_compares_with_the_end_that_was_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = a_store("file", tmp_path)
    filled(store)
    url, last = str(store.url), store.verify().last
    with store.work(ANNA) as work:
        work.patient("p1")

    held = _verify(monkeypatch, capsys, "--database", url, "--head", f"{last.seq}:{last.hash}")
    other = _verify(monkeypatch, capsys, "--database", url, "--head", f"{last.seq}:{'0' * 64}")
    wrong = _verify(monkeypatch, capsys, "--database", url, "--head", "nonsense")

    assert (held[0], other[0], wrong[0]) == (0, 1, 2)


def test_audit_verify_of_no_database_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database " * 400)
    for name in ("none.db", "empty.db", "text.db"):
        code, out, err = _verify(monkeypatch, capsys, "--database", f"sqlite:///{tmp_path / name}")

        assert (code, out, len(err.strip().splitlines())) == (2, "", 1), err


# --- FHIR


def test_every_row_is_a_fhir_audit_event(store: Store) -> None:
    with_patients(store, "p2")
    with store.work(ANNA) as work:
        put_answer(work, "p2")
        work.audit_rows(limit=10)
    with pytest.raises(Exception, match="no such"), store.work(ANNA) as work:
        work.put_decision(a_decision("0" * 64))
    with store.work(ANNA) as work:
        rows = work.audit_rows(limit=200)

    events = [AuditEvent.model_validate(audit_event(row)) for row in rows]

    assert {row.action for row in rows} >= {"C", "R"}
    assert [event.action for event in events] == [row.action for row in rows]
    assert {event.outcome for event in events} == {"0", "4"}
