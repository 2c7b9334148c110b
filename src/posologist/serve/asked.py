"""What was asked, as a value that can be stored, and how it is answered: pure, the same bytes for the same question.

A question names the record and the phenotype document by their sha256 and holds everything else: measured values, the
day, the settings. With them and the knowledge of the same version the answer comes out again (`answered`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Code, Observation, Patient, Source
from posologist.core.recommendation import Recommendation, Screening
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument
from posologist.core.values import Many, Value
from posologist.knowledge.load import Knowledge
from posologist.recommend.opened import Opener, case_of
from posologist.records.fhir_in import read_patient
from posologist.records.medication import Resolver
from posologist.records.observations import deduplicated, measured
from posologist.records.quality import Findings
from posologist.records.reading import Reading
from posologist.records.rxnorm import RxNormMap
from posologist.records.table import EventRow, LevelRow

Document = Recommendation | Screening | DoseDocument


class Noted(Value):
    """An observation that was added to the record: `key` of our laboratory list, value and unit as given."""

    key: str
    at: datetime
    value: float
    unit: str
    source: Source


class Person(Value):
    """Whose record: sha256 and name of the document, the day that limits it (None: all of it counts)."""

    id: str
    record: str
    document: str
    as_of: date | None = None
    observations: Many[Noted] = ()


class _Question(Value):
    """What every question has. `settings.as_of` is the day of the question."""

    person: Person
    profile: str | None = None
    settings: Settings


class Recommend(_Question):
    """`recommend`: ranked plans."""

    kind: Literal["recommendation"] = "recommendation"
    indication: str
    levels: Many[LevelRow] = ()
    events: Many[EventRow] = ()


class Screen(_Question):
    """`screen`: safety of orders."""

    kind: Literal["screening"] = "screening"
    orders: Many[str]


class Dose(_Question):
    """`dose`: regimens of one drug. Nothing may lie after `now`; `asked_at` is the hour of the question, if known."""

    kind: Literal["dose"] = "dose"
    drug: str
    now: datetime
    asked_at: datetime | None = None
    model: str | None = None
    target: str | None = None
    indication: str | None = None
    covariates: dict[str, float] = {}
    mic: float | None = None
    levels: Many[LevelRow] = ()
    events: Many[EventRow] = ()


class Phenotype(Value):
    """`phenotype`: the genes of a VCF (sha256 and name; the file itself is not kept) or of a laboratory's calls."""

    kind: Literal["phenotype"] = "phenotype"
    patient_id: str
    vcf: str | None
    name: str
    outside_calls: str | None
    sample: str | None
    absent: Literal["missing", "reference"]
    build: Literal["auto", "GRCh37", "GRCh38"]
    settings: Settings


Question = Recommend | Screen | Dose
_READ: TypeAdapter[Question | Phenotype] = TypeAdapter(
    Annotated[Recommend | Screen | Dose | Phenotype, Field(discriminator="kind")]
)


def question_bytes(question: Question | Phenotype) -> bytes:
    """A question as canonical JSON."""
    return json.dumps(question.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


def read_question(stored: bytes) -> Question | Phenotype:
    """A stored question.

    Raises
    ------
    InputError
        If it was stored by a version whose questions have another form.
    """
    try:
        return _READ.validate_json(stored)
    except ValidationError as error:
        raise InputError(
            "the question cannot be read by this version", where="request", hint="use the version that stored it"
        ) from error


def read_person(person: Person, record: bytes, *, knowledge: Knowledge, rxnorm: RxNormMap | None = None) -> Patient:
    """The patient of a record, with the observations that were added to it.

    Raises
    ------
    InputError
        As `read_patient` does.
    """
    patient = read_patient(
        record, knowledge=knowledge, as_of=person.as_of, patient_id=person.id, document=person.document, rxnorm=rxnorm
    )
    return _with_observations(patient, person, knowledge, rxnorm) if person.observations else patient


def read_noted(noted: Sequence[Noted], as_of: date | None, *, knowledge: Knowledge) -> tuple[Observation, ...]:
    """Observations beside a record, as results of it; none after the day."""
    reading = Reading(knowledge.codes, Resolver(knowledge, None), Findings(), as_of)
    return deduplicated(_added(noted, reading), reading)


def _added(noted: Sequence[Noted], reading: Reading) -> list[Observation]:
    return [
        measured([Code(code=row.key)], row.value, row.unit, row.at, row.source, reading=reading)
        for row in noted
        if not reading.is_future(row.at.date(), "observation", row.source)
    ]


def _with_observations(patient: Patient, person: Person, knowledge: Knowledge, rxnorm: RxNormMap | None) -> Patient:
    reading = Reading(knowledge.codes, Resolver(knowledge, rxnorm), Findings(), person.as_of)
    added = _added(person.observations, reading)
    days = [row.at.date() for row in added if row.at is not None]
    return patient.model_copy(
        update={
            "observations": deduplicated((*patient.observations, *added), reading),
            "quality": reading.findings.merged(patient.quality),
            "latest_entry": max((*days, *filter(None, [patient.latest_entry])), default=None),
        }
    )


def answered(
    question: Question,
    patient: Patient,
    genome: GeneticProfile | None,
    *,
    knowledge: Knowledge,
    opened: Opener = case_of,
) -> Document:
    """The answer to a question about a patient.

    Parameters
    ----------
    opened
        Opens the case of a recommendation or a screening.

    Raises
    ------
    PosologistError
        As `recommend`, `screen_order` and `dose` do.
    """
    settings = question.settings
    if isinstance(question, Recommend):
        from posologist.recommend.pipeline import recommend

        return recommend(
            patient, question.indication, genome=genome, knowledge=knowledge, settings=settings,
            levels=question.levels, events=question.events, opened=opened,
        )  # fmt: skip
    if isinstance(question, Screen):
        from posologist.recommend.order import screen_order

        return screen_order(
            patient, question.orders, genome=genome, knowledge=knowledge, settings=settings, opened=opened
        )
    return _dosed(question, patient, genome, knowledge)


def _dosed(question: Dose, patient: Patient, genome: GeneticProfile | None, knowledge: Knowledge) -> DoseDocument:
    from posologist.knowledge.models import load_models
    from posologist.recommend.dose_by_model import Given
    from posologist.recommend.dosing import dose

    model = None
    if question.model is not None:
        held = {each.id: each for each in load_models(knowledge.model_folders)}
        model = held.get(question.model)
        if model is None:
            raise InputError(f"no model '{question.model}'", where="model", hint=f"one of {', '.join(held)}")
    given = Given(
        now=question.now, events=question.events, levels=question.levels, covariates=question.covariates,
        asked_at=question.asked_at, mic=question.mic,
    )  # fmt: skip
    return dose(
        patient, question.drug, given, model=model, indication=question.indication, target=question.target,
        genome=genome, knowledge=knowledge, settings=question.settings,
    )  # fmt: skip


def sha256(data: bytes) -> str:
    """The name of a content."""
    return hashlib.sha256(data).hexdigest()


def up_to(settings: Settings, rows: Sequence[LevelRow | EventRow]) -> Settings:
    """Settings whose day is not before the newest level or administration."""
    assert settings.as_of is not None
    return settings.model_copy(update={"as_of": max((settings.as_of, *(row.at.date() for row in rows)))})
