"""A case as it is opened: the patient at the day of the question, ready for every stage."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Protocol

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneticProfile
from posologist.core.indication import Indication
from posologist.core.patient import Patient
from posologist.core.settings import Settings
from posologist.core.situation import Situation
from posologist.core.values import EvidenceKey
from posologist.knowledge.derive import situate
from posologist.knowledge.load import Knowledge
from posologist.recommend.case import Case

NO_INDICATION = Indication(
    id="none",
    name="no indication",
    condition_codes=(),
    guidelines=(),
    measures=(),
    horizon="none",
    benefit_unit="none",
    benefit="0",
    benefit_text="none",
    treat=(),
    targets=(),
    candidates=(),
    baselines=(),
    effects=(),
    harms=(),
    weights=(),
)
"""Stands where a question has no indication: an order to screen, a drug to dose."""


class Opener(Protocol):
    """How a case is opened: `case_of`, or one that gives a case that was opened before for the same arguments."""

    def __call__(
        self,
        patient: Patient,
        indication: Indication,
        *,
        genome: GeneticProfile | None,
        knowledge: Knowledge,
        settings: Settings,
    ) -> Case: ...


def situation_of(patient: Patient, *, knowledge: Knowledge, settings: Settings) -> Situation:
    """The patient at `settings.as_of`, as rules and models see it."""
    return case_of(patient, NO_INDICATION, genome=None, knowledge=knowledge, settings=settings).situation


def case_of(
    patient: Patient, indication: Indication, *, genome: GeneticProfile | None, knowledge: Knowledge, settings: Settings
) -> Case:
    """The patient at `settings.as_of`, ready for every stage."""
    as_of = _as_of(patient, settings)
    ledger = Ledger()
    if genome is not None:
        ledger.merge({EvidenceKey(k): e for k, e in genome.evidence.items()})
    case = Case(
        situation=situate(patient, as_of=as_of, knowledge=knowledge, settings=settings, ledger=ledger),
        genome=genome,
        indication=indication,
        knowledge=knowledge,
        settings=settings,
        ledger=ledger,
        preferences=patient.preferences,
    )
    return _with_derived_conditions(case)


def _with_derived_conditions(case: Case) -> Case:
    """The case with conditions that follow from the record though no code says so (resistant hypertension)."""
    found = dict(case.situation.conditions)
    for rule in case.indication.derives:
        match = case.patient.match(rule.when)
        if match.truth is True and rule.code not in found:
            leaf = case.knowledge_key(rule.text, source=rule.source, status=rule.status)
            found[rule.code] = case.ledger.add(
                "derived", f"{rule.code.replace('_', ' ')}, by definition", because=[*case.patient.because(match), leaf]
            )
    if found == case.situation.conditions:
        return case
    return replace(
        case, situation=case.situation.model_copy(update={"conditions": found}), _remembered={}, _profiles={}
    )


def _as_of(patient: Patient, settings: Settings) -> date:
    if settings.as_of is None:
        raise InputError("the day of the question is missing", where="settings.as_of", hint="give --as-of YYYY-MM-DD")
    if patient.birth_date is not None and settings.as_of < patient.birth_date:
        raise InputError(
            f"{settings.as_of} is before the patient's birth on {patient.birth_date}",
            where="settings.as_of",
            hint="give the day for which advice is asked",
        )
    if patient.deceased:
        raise InputError("the patient has died", where=str(patient.source), hint="check that this is the right record")
    return settings.as_of
