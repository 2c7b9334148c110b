"""Where a request becomes a document: for the API, the hooks and the page. No HTTP, no globals.

The bytes of an answer are those that the command line prints for the same request. An answer is stored once, with its
question, and can be given again (`replay`). What is read of a patient is read before computing, without a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from posologist.core.errors import InputError
from posologist.core.followup import FollowUpReport
from posologist.core.genotype import Versions
from posologist.core.settings import Settings
from posologist.core.version import VERSION
from posologist.knowledge.load import Knowledge
from posologist.records.fhir_in import read_patient
from posologist.records.rxnorm import RxNormMap
from posologist.records.table import EventRow, LevelRow, read_events, read_levels
from posologist.serve.asked import (
    Dose,
    Person,
    Phenotype,
    Question,
    Recommend,
    Screen,
    answered,
    question_bytes,
    read_question,
    sha256,
    up_to,
)
from posologist.serve.deciding import Decided, Planned, decision_of, follow_ups_of, monitoring_of
from posologist.serve.following import Followed, followed_up, newest_taken
from posologist.serve.inputs import settings_of
from posologist.serve.measuring import Measurement, entered, events_in, events_out, levels_in, levels_out, noted_out
from posologist.serve.output import json_bytes
from posologist.serve.receiving import Bounds, file_digest, size_of, without_token
from posologist.serve.remembering import Memory, Remembered
from posologist.serve.rows import (
    Actor,
    AnswerRow,
    DecisionAction,
    FollowUpRow,
    FollowUpStatus,
    MeasuredRow,
    PatientRow,
    ReasonCode,
)
from posologist.serve.store import Store
from posologist.serve.transaction import plain

R = TypeVar("R", LevelRow, EventRow)


@dataclass(frozen=True)
class Replayed:
    """Whether an answer comes out again: `same` is None where it was not computed, and `said` tells why."""

    answer: AnswerRow
    same: bool | None
    said: str


class _Held(NamedTuple):
    """What a question is made of: whose record, which genes, what was measured."""

    person: Person
    profile: str | None
    rows: tuple[MeasuredRow, ...]


class Service:
    """Answers requests over one store and one knowledge base.

    Parameters
    ----------
    settings
        Of the site; a request may choose the guideline and the weight of harm.
    rxnorm
        The site's map of drug codes, if it imported one.
    """

    def __init__(
        self,
        store: Store,
        knowledge: Knowledge,
        settings: Settings | None = None,
        *,
        rxnorm: RxNormMap | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.store, self.knowledge, self.rxnorm = store, knowledge, rxnorm
        self.settings, self.bounds = settings or Settings(), bounds or Bounds()
        self._memory = Memory(knowledge, rxnorm)
        self._followed: Remembered[FollowUpReport] = Remembered(32)

    def add_patient(
        self, actor: Actor, bundle: bytes, *, document: str = "bundle.json", patient_id: str | None = None
    ) -> PatientRow:
        """Hold the one patient of a FHIR R4 document.

        Parameters
        ----------
        document
            The name by which evidence cites it: a file name, without folders.
        patient_id
            Which patient, when the document holds several.

        Raises
        ------
        InputError
            If it is too large, no FHIR R4 JSON, or holds no patient or several and none was chosen.
        """
        self.bounds.check_size("bundle_bytes", len(bundle), document)
        who = read_patient(
            bundle, knowledge=self.knowledge, patient_id=patient_id, document=document, rxnorm=self.rxnorm
        )
        with self.store.work(actor) as work:
            return work.put_patient(
                who.id, name=plain(who.name), sex=who.sex or "", birth_date=who.birth_date, bundle=bundle,
                document=document,
            )  # fmt: skip

    def add_genome(
        self,
        actor: Actor,
        patient_id: str,
        vcf: Path | None,
        *,
        sample: str | None = None,
        absent: Literal["missing", "reference"] = "missing",
        build: Literal["auto", "GRCh37", "GRCh38"] = "auto",
        outside_calls: Path | None = None,
    ) -> AnswerRow:
        """Call the genes of a VCF, hold them for the patient, and answer as `phenotype --json`.

        Raises
        ------
        InputError
            If a file is too large or wrong, or the sample is not clear.
        """
        from posologist.genome.document import call_genome

        if vcf is not None:
            self.bounds.check_size("vcf_bytes", size_of(vcf), vcf.name)
        if outside_calls is not None:
            self.bounds.check_size("table_bytes", size_of(outside_calls), outside_calls.name)
        with self.store.work(actor) as work:
            row = work.patient(patient_id)
        who = self._memory.patient(_person(row, (), None), row.bundle)
        profile = call_genome(
            vcf, sample=sample, identifiers=(who.id, *who.identifiers), absent=absent, build=build,
            outside_calls=outside_calls, genes_folder=self.knowledge.gene_folders, settings=self.settings,
        )  # fmt: skip
        document = json_bytes(profile)
        question = Phenotype(
            patient_id=patient_id, vcf=file_digest(vcf), name="" if vcf is None else vcf.name,
            outside_calls=file_digest(outside_calls), sample=sample, absent=absent, build=build,
            settings=self.settings,
        )  # fmt: skip
        with self.store.work(actor) as work:
            work.put_genome(patient_id, profile=document, sample=plain(profile.sample))
            return work.put_answer(
                "phenotype", patient_id, as_of=None, request=question_bytes(question), document=document,
                versions=_versions(profile.versions),
            )  # fmt: skip

    def phenotype(self, actor: Actor, patient_id: str) -> bytes | None:
        """The patient's genes as `phenotype --json` prints them; None where none were given."""
        with self.store.work(actor) as work:
            held = work.genome(patient_id)
        return None if held is None else held.profile

    def recommend(
        self,
        actor: Actor,
        patient_id: str,
        indication: str,
        *,
        as_of: date | None = None,
        guideline: str | None = None,
        harm_aversion: float | None = None,
    ) -> AnswerRow:
        """Ranked plans, as `recommend --json`; levels and administrations that are held take part.

        Raises
        ------
        PosologistError
            As `recommend` does; `ConsentRefusedError`, `NotFoundError` as the store does.
        """
        self.bounds.check_text(indication, "indication")
        chosen = settings_of(None, guideline=guideline, harm_aversion=harm_aversion)
        settings = self.settings.model_copy(update={name: getattr(chosen, name) for name in chosen.model_fields_set})

        def question(held: _Held, settings: Settings) -> Recommend:
            levels, events = levels_out(held.rows), events_out(held.rows)
            return Recommend(
                person=held.person, profile=held.profile, indication=indication, levels=levels, events=events,
                settings=settings if as_of is not None else up_to(settings, (*levels, *events)),
            )  # fmt: skip

        return self._answer(actor, patient_id, question, as_of=as_of, settings=settings)

    def screen(self, actor: Actor, patient_id: str, orders: Sequence[str], *, as_of: date | None = None) -> AnswerRow:
        """Safety of orders, as `screen --json`.

        Raises
        ------
        InputError
            If there is no order, or too many or too long ones.
        """
        if not 0 < len(orders) <= self.bounds.orders:
            raise InputError(f"{len(orders)} orders", where="orders", hint=f"give 1 to {self.bounds.orders}")
        for order in orders:
            self.bounds.check_text(order, "orders")

        def question(held: _Held, settings: Settings) -> Screen:
            return Screen(person=held.person, profile=held.profile, settings=settings, orders=tuple(orders))

        return self._answer(actor, patient_id, question, as_of=as_of, settings=self.settings)

    def dose(
        self,
        actor: Actor,
        patient_id: str,
        drug: str,
        *,
        as_of: date | None = None,
        at: datetime | None = None,
        model: str | None = None,
        target: str | None = None,
        indication: str | None = None,
        covariates: Mapping[str, float] | None = None,
        mic: float | None = None,
    ) -> AnswerRow:
        """Regimens of one drug, as `dose --json`, from the levels and administrations of this drug that are held.

        Raises
        ------
        PosologistError
            As `dose` does.
        """
        for name, text in (("drug", drug), ("target", target), ("indication", indication), ("model", model)):
            self.bounds.check_text(text or "", name)
        now = at or datetime.combine(as_of or self.store.now.date(), time.max, UTC)

        def question(held: _Held, settings: Settings) -> Dose:
            rows = [row for row in held.rows if row.at <= now]
            return Dose(
                person=held.person, profile=held.profile, settings=settings, drug=drug, now=now, asked_at=at,
                model=model, target=target, indication=indication, covariates=dict(covariates or {}), mic=mic,
                levels=self._own(levels_out(rows), drug), events=self._own(events_out(rows), drug),
            )  # fmt: skip

        return self._answer(actor, patient_id, question, as_of=as_of, settings=self.settings)

    def add_measured(self, actor: Actor, patient_id: str, given: Sequence[Measurement]) -> int:
        """Hold levels, administrations and observations; how many were new.

        Raises
        ------
        InputError
            As `entered` does, or if there are too many.
        """
        self.bounds.check_rows(len(given))
        rows = entered(patient_id, given, knowledge=self.knowledge, now=self.store.now)
        return self._put_measured(actor, rows)

    def add_levels(self, actor: Actor, patient_id: str, table: bytes, *, document: str = "levels.csv") -> int:
        """Hold the levels of a CSV (time, value, unit, analyte); how many were new."""
        self.bounds.check_size("table_bytes", len(table), document)
        levels = read_levels(table, document=document)
        self.bounds.check_rows(len(levels))
        return self._put_measured(actor, levels_in(patient_id, levels, knowledge=self.knowledge, now=self.store.now))

    def add_events(self, actor: Actor, patient_id: str, table: bytes, *, document: str = "events.csv") -> int:
        """Hold the administrations of a CSV (time, amount, unit, route, duration_h, drug); how many were new."""
        self.bounds.check_size("table_bytes", len(table), document)
        events = read_events(table, document=document)
        self.bounds.check_rows(len(events))
        return self._put_measured(actor, events_in(patient_id, events, knowledge=self.knowledge, now=self.store.now))

    def decide(
        self,
        actor: Actor,
        answer_id: str,
        action: DecisionAction,
        *,
        rank: int | None = None,
        reason: ReasonCode | None = None,
        will_monitor: bool = False,
        note: str = "",
        order_text: str = "",
        planned: Sequence[Planned] = (),
        key: str = "",
    ) -> Decided:
        """Hold what the prescriber did with an answer, and schedule what is to be looked at.

        Parameters
        ----------
        planned
            What is to be looked at; where it is empty, the monitoring of the option of this rank.
        key
            The request's idempotency key: the same key again gives back the same decision.

        Raises
        ------
        InputError
            If the rank is not in the answer, an override has no reason, or "will monitor" says neither what nor when.
        """
        self.bounds.check_text(note, "note")
        self.bounds.check_text(order_text, "order")
        with self.store.work(actor) as work:
            answer = work.answer(answer_id)
            row = decision_of(
                answer, actor, work.now, action=action, rank=rank, reason=reason, will_monitor=will_monitor,
                note=note, order_text=order_text, key=key,
            )  # fmt: skip
            plan = tuple(planned) or monitoring_of(answer, row)
            if (will_monitor or reason == "will-monitor") and not plan:
                raise InputError("nothing to monitor", where="planned", hint="say what is looked at, and on which day")
            held = work.put_decision(row)
            return Decided(held, tuple(work.schedule(each) for each in follow_ups_of(held, plan)))

    def keep_cards(
        self, actor: Actor, patient_id: str, request: bytes, cards: bytes, *, as_of: date, document: str = "hook.json"
    ) -> AnswerRow:
        """Hold the cards that a hook gave, with its request but without the access token in it.

        A patient who is not known is held by what the request brought; a record that is held is never replaced by it.

        Raises
        ------
        InputError
            If the request is no JSON object, or too large.
        """
        self.bounds.check_size("bundle_bytes", len(request), document)
        kept = without_token(request, document)
        with self.store.work(actor) as work:
            if not work.knows(patient_id):
                who = self._memory.patient(_person_of(patient_id, kept, document), kept)
                work.put_patient(
                    patient_id, name=plain(who.name), sex=who.sex or "", birth_date=who.birth_date, bundle=kept,
                    document=document,
                )  # fmt: skip
            return work.put_answer(
                "cards", patient_id, as_of=as_of, request=kept, document=cards, versions=_versions(self.versions)
            )

    def follow_ups(
        self,
        actor: Actor,
        patient_id: str | None = None,
        *,
        status: FollowUpStatus | None = None,
        due_before: date | None = None,
        after: tuple[date, str] | None = None,
        limit: int = 200,
    ) -> tuple[FollowUpRow, ...]:
        """What is to be looked at, by day; parameters as for `Work.follow_ups`."""
        with self.store.work(actor) as work:
            return work.follow_ups(patient_id, status=status, due_before=due_before, after=after, limit=limit)

    def follow_up(self, actor: Actor, patient_id: str, *, as_of: date | None = None) -> bytes | None:
        """The newest accepted plan as `follow-up --json`; None where none was accepted. Parameters: `followed`."""
        found = self.followed(actor, patient_id, as_of=as_of)
        return None if found is None else json_bytes(found.report)

    def followed(self, actor: Actor, patient_id: str, *, as_of: date | None = None) -> Followed | None:
        """Where the newest accepted plan stands, and the advice made again from what came in since.

        Parameters
        ----------
        as_of
            The day; without one it is today, so that what nobody measured becomes overdue.

        Raises
        ------
        PosologistError
            As `recommend.followup_report.follow_up` does; `ConsentRefusedError`, `NotFoundError` as the store does.
        """
        with self.store.work(actor) as work:
            row, taken = work.patient(patient_id), newest_taken(work, patient_id)
            if taken is None:
                return None
            genes, rows, now = work.genome(patient_id), work.measured(patient_id), work.now.date()
        day = as_of or max(now, taken.started_on)
        rows = tuple(one for one in rows if one.at.date() <= day)
        person = Person(id=row.id, record=row.digest, document=row.document, as_of=day, observations=taken.known)

        genome = None if genes is None else self._memory.genome(genes.digest, genes.profile)

        def report() -> FollowUpReport:
            patient = self._memory.patient(person, row.bundle)
            return followed_up(taken, patient, genome, rows, today=day, knowledge=self.knowledge)

        held = (taken.decision.id, person, None if genes is None else genes.digest, rows)
        return Followed(taken.decision, self._followed.get(held, report))

    def replay(self, actor: Actor, answer_id: str) -> Replayed:
        """Compute an answer again from its stored question, and say whether the same bytes come out.

        Raises
        ------
        StoreError
            If there is no such answer, or the consent does not cover the purpose.
        """
        with self.store.work(actor) as work:
            answer = work.answer(answer_id)
            if answer.kind in ("cards", "phenotype"):
                lacking = "the VCF is not kept" if answer.kind == "phenotype" else "cards are made by the hooks"
                return Replayed(answer, None, f"not computed: {lacking}; the stored bytes are what was answered")
            held, here = Versions.model_validate_json(answer.versions), self.versions
            if (held.posologist, held.knowledge) != (here.posologist, here.knowledge):
                said = f"made with posologist {held.posologist}, knowledge {held.knowledge}"
                return Replayed(
                    answer, None,
                    f"not computed: {said}; this is posologist {here.posologist}, knowledge {here.knowledge}",
                )  # fmt: skip
            question = read_question(answer.request)
            assert not isinstance(question, Phenotype)
            record = work.content(question.person.record)
            profile = None if question.profile is None else work.content(question.profile)
        patient = self._memory.patient(question.person, record)
        genome = None if profile is None else self._memory.genome(str(question.profile), profile)
        again = json_bytes(answered(question, patient, genome, knowledge=self.knowledge))
        same = again == answer.document
        return Replayed(answer, same, "the same bytes" if same else "other bytes than were answered")

    def _answer(
        self,
        actor: Actor,
        patient_id: str,
        ask: Callable[[_Held, Settings], Question],
        *,
        as_of: date | None,
        settings: Settings,
    ) -> AnswerRow:
        with self.store.work(actor) as work:
            row, genes, rows = work.patient(patient_id), work.genome(patient_id), work.measured(patient_id)
            work.rest()
            rows = tuple(one for one in rows if as_of is None or one.at.date() <= as_of)
            held = _Held(_person(row, rows, as_of), None if genes is None else genes.digest, rows)
            patient = self._memory.patient(held.person, row.bundle)
            genome = None if genes is None else self._memory.genome(genes.digest, genes.profile)
            day = as_of or patient.latest_entry or work.now.date()
            question = ask(held, settings.model_copy(update={"as_of": day}))
            asked = question_bytes(question)
            document, versions = self._memory.document(asked, question, patient, genome)
            return work.put_answer(
                question.kind, patient_id, as_of=question.settings.as_of, request=asked, document=document,
                versions=_versions(versions),
            )  # fmt: skip

    def _put_measured(self, actor: Actor, rows: Sequence[MeasuredRow]) -> int:
        with self.store.work(actor) as work:
            return work.put_measured(rows)

    def _own(self, rows: tuple[R, ...], drug: str) -> tuple[R, ...]:
        """Rows of one drug, those that do not name theirs, and those whose name is not known any more."""
        from posologist.recommend.dose_by_model import is_of

        asked = self.knowledge.drug(drug).id
        named = {row.analyte if isinstance(row, LevelRow) else row.drug for row in rows}
        other = {name for name in named if name and self._is_known(name) and not is_of(name, asked, self.knowledge)}
        return tuple(row for row in rows if (row.analyte if isinstance(row, LevelRow) else row.drug) not in other)

    def _is_known(self, name: str) -> bool:
        try:
            self.knowledge.drug(name)
        except InputError:
            return False
        return True

    @property
    def versions(self) -> Versions:
        """Of the code and the knowledge that answer now."""
        return Versions(posologist=VERSION, knowledge=self.knowledge.version)


def _person(row: PatientRow, rows: Sequence[MeasuredRow], as_of: date | None) -> Person:
    return Person(id=row.id, record=row.digest, document=row.document, as_of=as_of, observations=noted_out(rows))


def _person_of(patient_id: str, record: bytes, document: str) -> Person:
    return Person(id=patient_id, record=sha256(record), document=document)


def _versions(versions: Versions) -> str:
    return versions.model_dump_json()
