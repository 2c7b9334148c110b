"""From a stored answer to its page: read what is held, tell the dose that is asked, build the view. No HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from posologist.core.errors import InputError, PosologistError
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import NotChecked, Option, Recommendation
from posologist.core.simulation import DoseDocument, SimulationDocument
from posologist.core.values import DrugId
from posologist.knowledge.load import Knowledge
from posologist.recommend.dose_by_model import is_of
from posologist.records.fhir_out import to_fhir
from posologist.serve.asked import Dose, Recommend, answered, read_person, read_question
from posologist.serve.deciding import Planned
from posologist.serve.following import Followed
from posologist.serve.page.course_view import course_view, told_elsewhere
from posologist.serve.page.dose_view import DoseAsked, DoseView, dose_view, start_of
from posologist.serve.page.views import AnswerView, answer_view, focused
from posologist.serve.page.what_if import levels_of, what_if
from posologist.serve.refusals import StoreError
from posologist.serve.remembering import Remembered
from posologist.serve.rows import Actor, AnswerRow, DecisionRow, FollowUpRow
from posologist.serve.service import Service

_READINGS = ("sbp", "dbp", "heart_rate", "creatinine", "potassium", "sodium", "weight", "inr")
_HELD = {
    "accept": "Accepted. The follow-up is scheduled below.",
    "modify": "Accepted with another dose. The follow-up is scheduled below.",
    "override": "Overridden, with its reason.",
    "closed": "The follow-up is closed; what was found stands below.",
    "measured": "The value is held, and the advice was made again with it.",
}


@dataclass(frozen=True)
class Held:
    """A recommendation as it is held, with its question and what was done about it."""

    row: AnswerRow
    document: Recommendation
    question: Recommend
    decisions: tuple[DecisionRow, ...]
    scheduled: tuple[FollowUpRow, ...]


@dataclass(frozen=True)
class Record:
    """The record and the genes that a question was asked about."""

    patient: Patient
    genome: GeneticProfile | None


class Answers:
    """Pages of the recommendations that one service holds."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._records: Remembered[Record] = Remembered(64)

    def held(self, actor: Actor, answer_id: str) -> Held:
        """A recommendation with its decisions and follow-ups.

        Raises
        ------
        InputError
            If the answer is of another kind; `NotFoundError`, `ConsentRefusedError` as the store does.
        """
        with self.service.store.work(actor) as work:
            row = work.answer(answer_id)
            if row.kind != "recommendation":
                raise InputError("this answer holds no plans", where=row.kind, hint="ask for plans from the patient")
            decisions = tuple(one for one in work.decisions(row.patient_id) if one.answer_id == row.id)
            made = {one.id for one in decisions}
            follow_ups = tuple(one for one in work.follow_ups(row.patient_id) if one.decision_id in made)
        question = read_question(row.request)
        assert isinstance(question, Recommend)
        return Held(row, Recommendation.model_validate_json(row.document), question, decisions, follow_ups)

    def view(self, actor: Actor, held: Held, *, rank: int | None, asked: DoseAsked, notice: str = "") -> AnswerView:
        """The page of a recommendation, with one plan in focus and one dose of it told."""
        option = focused(held.document, rank)
        dose = None if option is None else self._dose(actor, held, option, asked)
        followed, no_course = self._followed(actor, held.row.patient_id)
        scheduled = held.scheduled if followed is None else told_elsewhere(followed, held.document, held.scheduled)
        return answer_view(
            held.document, answer_id=held.row.id, rank=rank, dose=dose, decisions=held.decisions,
            scheduled=scheduled, closable=[one for one in held.scheduled if one.status == "open"],
            today=self.service.store.now.date(), no_course=no_course,
            course=None if followed is None else course_view(followed.report), notice=_HELD.get(notice, ""),
        )  # fmt: skip

    def _followed(self, actor: Actor, patient_id: str) -> tuple[Followed | None, NotChecked | None]:
        """The course of the patient's accepted plan, or why it cannot be told; neither where none was accepted."""
        try:
            return self.service.followed(actor, patient_id), None
        except StoreError:
            raise
        except PosologistError as error:
            what, need = "the course of the accepted plan", error.hint or "another record"
            return None, NotChecked(what=what, why=error.message, would_need=need)

    def order_of(self, actor: Actor, held: Held, rank: int, order_text: str) -> str:
        """The order that a changed dose makes: one of those that the control offers for the plan, else it is refused.

        Raises
        ------
        InputError
            If the dose is not between start and maximum of a drug that the plan starts.
        """
        option = focused(held.document, rank)
        for start in () if option is None else option.plan.start:
            assert option is not None
            view = self._dose(actor, held, option, DoseAsked(drug=start.drug))
            if view and order_text in {f"{start.drug} {choice.text}" for choice in view.choices}:
                return order_text
        raise InputError(
            "this dose is not offered for the plan", where="dose", hint="choose one between start and maximum"
        )

    def planned(self, held: Held, rank: int | None) -> tuple[Planned, ...]:
        """What "will monitor" schedules: the monitoring of what goes on, else of the plan that was overridden."""
        option, kept = focused(held.document, rank), held.document.yardstick
        rules = (kept.monitoring if kept else ()) or (option.monitoring if option else ())
        today = self.service.store.now.date()
        return tuple(
            Planned(f"{rule.what}: {rule.when}", today + timedelta(days=day)) for rule in rules for day in rule.days
        )

    def measurable(self, held: Held) -> Mapping[str, str]:
        """What can be entered: levels of the drugs at hand, and readings."""
        document, known = held.document, self.service.knowledge
        taken = [current.drug for current in document.current]
        started = [start.drug for option in document.options for start in option.plan.start]
        drugs = {f"level {drug}": f"{drug.capitalize()} level" for drug in dict.fromkeys([*taken, *started])}
        analytes = known.codes.analytes
        readings = {f"observation {key}": analytes[key].name.capitalize() for key in _READINGS if key in analytes}
        return {**readings, **drugs}

    def _dose(self, actor: Actor, held: Held, option: Option, asked: DoseAsked) -> DoseView | None:
        start = start_of(option, asked.drug)
        if start is None:
            return None
        record = self._record(actor, held)
        knowledge = self.service.knowledge
        known, why = _known_doses(held.question, record, start.drug, asked.levels == "after", knowledge)
        count = levels_of(held.question, start.drug, knowledge)
        plain = dose_view(option, asked, known=known, levels_held=count)
        assert plain is not None
        simulated, problem = None, None
        if plain.changed or (asked.levels == "after" and count):
            simulated, problem = _told(held.question, record, option, plain, knowledge)
        elif why is not None and len(plain.choices) == 1:
            problem = None if plain.series else why
        return dose_view(option, asked, known=known, simulated=simulated, levels_held=count, problem=problem)

    def _record(self, actor: Actor, held: Held) -> Record:
        person, profile = held.question.person, held.question.profile

        def read() -> Record:
            with self.service.store.work(actor) as work:
                work.patient(held.row.patient_id)
                bundle = work.content(person.record)
                genes = None if profile is None else work.content(profile)
            patient = read_person(person, bundle, knowledge=self.service.knowledge, rxnorm=self.service.rxnorm)
            return Record(patient, None if genes is None else GeneticProfile.model_validate_json(genes))

        return self._records.get((person, profile), read)


def _known_doses(
    question: Recommend, record: Record, drug: DrugId, after_levels: bool, knowledge: Knowledge
) -> tuple[DoseDocument | None, NotChecked | None]:
    """Doses within this patient's limits, or why they cannot be told."""
    day = question.settings.as_of or date.min
    levels = tuple(row for row in question.levels if after_levels and is_of(row.analyte, drug, knowledge))
    events = tuple(row for row in question.events if levels and (not row.drug or is_of(row.drug, drug, knowledge)))
    asked = Dose(
        person=question.person, profile=question.profile, settings=question.settings, drug=drug,
        now=datetime.combine(day, time.max, UTC), indication=question.indication, levels=levels, events=events,
    )  # fmt: skip
    try:
        document = answered(asked, record.patient, record.genome, knowledge=knowledge)
    except PosologistError as error:
        return None, _refusal(drug, error)
    assert isinstance(document, DoseDocument)
    return document, None


def _told(
    question: Recommend, record: Record, option: Option, view: DoseView, knowledge: Knowledge
) -> tuple[SimulationDocument | None, NotChecked | None]:
    try:
        found = what_if(
            question, record.patient, record.genome, option, view.chosen, drug=view.drug,
            after_levels=view.levels == "after", knowledge=knowledge,
        )  # fmt: skip
    except PosologistError as error:
        return None, _refusal(view.drug, error)
    return found, None


def _refusal(drug: DrugId, error: PosologistError) -> NotChecked:
    return NotChecked(
        what=f"concentration of {drug}", why=error.message, would_need=error.hint or "another dose", drugs=(str(drug),)
    )


def fhir_part(held: Held, kind: str, *, rank: int | None = None) -> bytes:
    """The resources of one kind (MedicationRequest of one plan, DetectedIssue) as a FHIR bundle of drafts."""
    whole = to_fhir(held.document, recorded=held.row.created_at)
    group = None if rank is None else {"value": f"option {rank}"}
    entries = [entry for entry in whole["entry"] if _is_wanted(entry["resource"], kind, group)]
    return json.dumps({**whole, "entry": entries}, indent=1, ensure_ascii=False).encode()


def _is_wanted(resource: Mapping[str, Any], kind: str, group: Mapping[str, str] | None) -> bool:
    return resource["resourceType"] == kind and (group is None or resource.get("groupIdentifier") == group)
