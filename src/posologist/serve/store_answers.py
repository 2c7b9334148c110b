"""Work on answers, decisions and follow-ups."""

from __future__ import annotations

from datetime import date

from sqlalchemy import and_, bindparam, exists, or_, select, tuple_

from posologist.serve.audit import answer_id, decision_digest
from posologist.serve.closing import Closing, closed
from posologist.serve.refusals import ConflictError, NotFoundError, StoreError
from posologist.serve.rows import (
    REASON_CODES,
    AnswerBrief,
    AnswerKind,
    AnswerRow,
    DecisionRow,
    FollowUpRow,
    FollowUpStatus,
)
from posologist.serve.tables import answers, decisions, follow_ups
from posologist.serve.transaction import Deed, Transaction, covered, page_size, plain, row_of

_ANSWER = select(answers).where(answers.c.id == bindparam("number"))
_BRIEF = [column for column in answers.c if column.name not in ("request", "document")]


class Answers(Transaction):
    """What was answered, what was decided on it, and what is to be followed up."""

    def put_answer(
        self,
        kind: AnswerKind,
        patient_id: str,
        *,
        as_of: date | None,
        request: bytes,
        document: bytes,
        versions: str,
    ) -> AnswerRow:
        """Hold an answer once: the same content has the same id and is not stored again."""
        self.check_writable(patient_id)
        number = answer_id(kind, patient_id, versions=versions, request=request, document=document)
        known = self.connection.execute(_ANSWER, {"number": number}).one_or_none()
        if known is not None:
            self.record("E", "answer", number, patient_id=patient_id, detail=f"{kind}, given before")
            return row_of(AnswerRow, known)
        self.record("C", "answer", number, patient_id=patient_id, detail=kind)
        assert self._head is not None
        row = AnswerRow(
            id=number, seq=self._head.seq, kind=kind, patient_id=patient_id, as_of=as_of, versions=versions,
            created_at=self.now, request=request, document=document,
        )  # fmt: skip
        self.insert(answers, dict(vars(row)))
        return row

    def answer(self, number: str) -> AnswerRow:
        """An answer by its id.

        Raises
        ------
        NotFoundError
            If there is none.
        ConsentRefusedError
            If the consent of its patient does not cover the actor's purpose.
        """
        number = plain(number)
        found = self.read(_ANSWER.where(covered(answers.c.patient_id)), number=number).one_or_none()
        if found is None:
            owner = self.reader.execute(select(answers.c.patient_id).where(answers.c.id == number)).scalar()
            if owner is not None:
                self.check_patient(owner)
            raise self.refuse(
                NotFoundError("no such answer", where="answer", hint="list the patient's answers"),
                Deed("R", "answer", number, outcome="not found"),
            )
        self.record("R", "answer", number, patient_id=found.patient_id)
        return row_of(AnswerRow, found)

    def answers(
        self, patient_id: str, *, kind: AnswerKind | None = None, before: int | None = None, limit: int = 50
    ) -> tuple[AnswerBrief, ...]:
        """A patient's answers, newest first, those before a `seq`."""
        self.check_patient(patient_id)
        query = select(*_BRIEF).where(answers.c.patient_id == patient_id, covered(answers.c.patient_id))
        if kind is not None:
            query = query.where(answers.c.kind == kind)
        if before is not None:
            query = query.where(answers.c.seq < before)
        ordered = query.order_by(answers.c.seq.desc()).limit(page_size(limit))
        found = tuple(row_of(AnswerBrief, row) for row in self.read(ordered))
        self.record("R", "answer", "all", patient_id=patient_id, detail=f"{len(found)} in a list")
        return found

    def put_decision(self, row: DecisionRow) -> DecisionRow:
        """Hold a decision on an answer; the same id again gives back what is held.

        Raises
        ------
        StoreError
            If an override has no reason, or the reason is not one of the six.
        NotFoundError
            If there is no such answer of this patient.
        ConflictError
            If the id is held with another content.
        """
        if row.reason is not None and row.reason not in REASON_CODES:
            raise StoreError("the reason is not coded", where="reason", hint=f"one of {', '.join(REASON_CODES)}")
        if row.action == "override" and row.reason is None:
            raise StoreError("an override has no reason", where="reason", hint=f"one of {', '.join(REASON_CODES)}")
        self.check_writable(row.patient_id)
        of_patient = exists().where(answers.c.id == row.answer_id, answers.c.patient_id == row.patient_id)
        if not self.connection.execute(select(of_patient)).scalar():
            raise self.refuse(
                NotFoundError("no such answer of this patient", where="answer", hint="list the patient's answers"),
                Deed("C", "decision", row.id, row.patient_id, "not found"),
            )
        known = self.connection.execute(select(decisions).where(decisions.c.id == row.id)).one_or_none()
        if known is not None:
            held = row_of(DecisionRow, known)
            if vars(held) | {"at": None} != vars(row) | {"at": None}:
                raise ConflictError("the decision is held with another content", where="decision", hint="use a new key")
            return held
        self.insert(decisions, dict(vars(row)))
        self.record("C", "decision", row.id, patient_id=row.patient_id, detail=decision_digest(row))
        return row

    def decisions(
        self, patient_id: str, *, after: str | None = None, limit: int | None = None
    ) -> tuple[DecisionRow, ...]:
        """A patient's decisions, newest first.

        Parameters
        ----------
        after
            Id of the last one of the page before.
        limit
            Most rows; None: all.
        """
        self.check_patient(patient_id)
        query = select(decisions).where(decisions.c.patient_id == patient_id, covered(decisions.c.patient_id))
        if after is not None:
            last = select(decisions.c.at).where(decisions.c.id == after).scalar_subquery()
            query = query.where(or_(decisions.c.at < last, and_(decisions.c.at == last, decisions.c.id > after)))
        ordered = query.order_by(decisions.c.at.desc(), decisions.c.id).limit(
            None if limit is None else page_size(limit)
        )
        found = tuple(row_of(DecisionRow, row) for row in self.read(ordered))
        self.record("R", "decision", "all", patient_id=patient_id, detail=f"{len(found)} rows")
        return found

    def put_follow_up(self, row: FollowUpRow) -> FollowUpRow:
        """Hold a follow-up, or what became of it."""
        self.check_writable(row.patient_id)
        this = follow_ups.c.id == row.id
        known = self.connection.execute(select(follow_ups).where(this)).one_or_none()
        if known is None:
            self.insert(follow_ups, dict(vars(row)))
        elif (known.patient_id, known.decision_id) != (row.patient_id, row.decision_id):
            raise ConflictError("the follow-up is another one's", where="follow-up", hint="use its own id")
        else:
            self.connection.execute(follow_ups.update().where(this).values(vars(row)))
        self.record("C" if known is None else "U", "follow-up", row.id, patient_id=row.patient_id, detail=row.status)
        return row

    def schedule(self, row: FollowUpRow) -> FollowUpRow:
        """Hold a follow-up; one that is held already stays as it is now."""
        known = self.connection.execute(select(follow_ups).where(follow_ups.c.id == row.id)).one_or_none()
        return self.put_follow_up(row) if known is None else row_of(FollowUpRow, known)

    def close_follow_up(self, number: str, outcome: Closing) -> FollowUpRow:
        """Close a follow-up; the same outcome again changes nothing.

        Raises
        ------
        NotFoundError
            If there is no such follow-up.
        ConsentRefusedError
            If the consent of its patient does not cover the actor's purpose.
        ConflictError
            If it is closed already with another outcome.
        """
        self.take_lock()
        found = self.connection.execute(select(follow_ups).where(follow_ups.c.id == plain(number))).one_or_none()
        if found is None:
            raise self.refuse(
                NotFoundError("no such follow-up", where="follow-up", hint="list the follow-ups"),
                Deed("U", "follow-up", number, outcome="not found"),
            )
        self.check_patient(found.patient_id)
        held = row_of(FollowUpRow, found)
        row = closed(held, outcome, self.actor, self.now)
        return held if row == held else self.put_follow_up(row)

    def follow_ups(
        self,
        patient_id: str | None = None,
        *,
        status: FollowUpStatus | None = None,
        due_before: date | None = None,
        after: tuple[date, str] | None = None,
        limit: int = 200,
    ) -> tuple[FollowUpRow, ...]:
        """Follow-ups by day and id: of one patient, or of all whose consent covers the purpose.

        Parameters
        ----------
        due_before
            Only those due before this day.
        after
            `(due, id)` of the last one of the page before.
        """
        query = select(follow_ups).where(covered(follow_ups.c.patient_id))
        if patient_id is not None:
            self.check_patient(patient_id)
            query = query.where(follow_ups.c.patient_id == patient_id)
        if status is not None:
            query = query.where(follow_ups.c.status == status)
        if due_before is not None:
            query = query.where(follow_ups.c.due < due_before)
        if after is not None:
            query = query.where(tuple_(follow_ups.c.due, follow_ups.c.id) > after)
        ordered = query.order_by(follow_ups.c.due, follow_ups.c.id).limit(page_size(limit))
        found = tuple(row_of(FollowUpRow, row) for row in self.read(ordered))
        for patient in dict.fromkeys(row.patient_id for row in found) or [patient_id or ""]:
            self.record("R", "follow-up", "all", patient_id=patient)
        return found
