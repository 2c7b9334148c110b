"""From the decision that took a plan to its follow-up: read in a transaction, then computed without the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pydantic import ValidationError

from posologist.core.errors import InputError
from posologist.core.followup import FollowUpReport
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import NotChecked, Recommendation
from posologist.knowledge.load import Knowledge
from posologist.serve.asked import Noted, Recommend, read_noted, read_question
from posologist.serve.measuring import events_out, levels_out, noted_out
from posologist.serve.rows import AnswerRow, DecisionRow, MeasuredRow
from posologist.serve.work import Work


@dataclass(frozen=True)
class Taken:
    """A decision that took a plan, with the recommendation that it was taken from."""

    decision: DecisionRow
    rank: int
    answer: AnswerRow
    document: Recommendation

    @property
    def started_on(self) -> date:
        """First day on the plan: that of the decision, never before the day of the advice."""
        return max(self.decision.at.date(), self.document.as_of)

    @property
    def known(self) -> tuple[Noted, ...]:
        """Observations beside the record that the advice was made with."""
        question = read_question(self.answer.request)
        assert isinstance(question, Recommend)
        return question.person.observations


@dataclass(frozen=True)
class Followed:
    """Where the plan of a decision stands on one day."""

    decision: DecisionRow
    report: FollowUpReport


def newest_taken(work: Work, patient_id: str) -> Taken | None:
    """The newest decision that took a plan of a recommendation as it is or with another dose.

    Raises
    ------
    InputError
        If the recommendation was stored in a form that this version cannot read.
    """
    for decision in work.decisions(patient_id):
        if decision.action == "override" or decision.rank is None:
            continue
        answer = work.answer(decision.answer_id)
        if answer.kind == "recommendation":
            return Taken(decision, decision.rank, answer, _document(answer))
    return None


def followed_up(
    taken: Taken,
    patient: Patient,
    genome: GeneticProfile | None,
    rows: Sequence[MeasuredRow],
    *,
    today: date,
    knowledge: Knowledge,
) -> FollowUpReport:
    """The follow-up of a plan that was taken.

    Parameters
    ----------
    patient
        The record now, with the observations beside it that the advice was made with.
    rows
        What is held beside the record, up to the day.

    Raises
    ------
    PosologistError
        As `recommend.followup_report.follow_up` does.
    """
    from posologist.recommend.followup_report import follow_up

    known = frozenset(taken.known)
    new = tuple(one for one in noted_out(rows) if one not in known)
    report = follow_up(
        taken.document, taken.rank, patient=patient, observations=read_noted(new, today, knowledge=knowledge),
        started_on=taken.started_on, today=today, genome=genome, knowledge=knowledge, levels=levels_out(rows),
        events=events_out(rows),
    )  # fmt: skip
    if taken.decision.action != "modify":
        return report
    said = NotChecked(
        what="the expected course and the advice under the dose that is taken",
        why=f"the plan was accepted with another dose: {taken.decision.order_text or 'which one is not on file'}",
        would_need="a course of the plan with that dose; what is told is of the dose as it was advised",
    )
    return report.model_copy(update={"not_checked": (said, *report.not_checked)})


def _document(answer: AnswerRow) -> Recommendation:
    try:
        return Recommendation.model_validate_json(answer.document)
    except ValidationError as error:
        raise InputError(
            "the accepted recommendation cannot be read by this version", where="answer",
            hint="use the version that stored it",
        ) from error  # fmt: skip
