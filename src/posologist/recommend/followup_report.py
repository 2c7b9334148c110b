"""The follow-up of one accepted plan on one day: where it stands, what was learned, what changed and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import TypeVar

from posologist.core.errors import InputError, PosologistError
from posologist.core.evidence import Ledger
from posologist.core.followup import Change, FollowUpPlan, FollowUpReport, TwinChange
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.patient import Observation, Patient
from posologist.core.recommendation import Finding, NotChecked, Option, Reason, Recommendation, cited_keys
from posologist.core.values import DrugId, EvidenceKey
from posologist.core.version import VERSION
from posologist.knowledge.courses import FollowUpFacts, follow_up_facts
from posologist.knowledge.load import Knowledge
from posologist.recommend.dose_by_model import is_of
from posologist.recommend.followup_advice import (
    Again,
    advised_again,
    changes_of,
    no_longer_offered,
    on_plan,
    standing_advice,
    taken_to_be_followed,
    with_observations,
)
from posologist.recommend.followup_levels import newest_level
from posologist.recommend.followup_plan import expected_course, option_of_rank
from posologist.recommend.followup_state import learned_from, state_of
from posologist.records.table import EventRow, LevelRow

Row = TypeVar("Row", LevelRow, EventRow)


def follow_up(
    decision: Recommendation,
    rank: int,
    *,
    patient: Patient,
    observations: Sequence[Observation] = (),
    started_on: date,
    today: date,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    levels: Sequence[LevelRow] = (),
    events: Sequence[EventRow] = (),
    facts: FollowUpFacts | None = None,
) -> FollowUpReport:
    """Where an accepted plan stands today, and the advice made again from what came in since.

    Parameters
    ----------
    decision
        The recommendation whose plan of this rank was accepted.
    patient
        The record: as the decision knew it, or a newer one.
    observations, levels, events
        What came in beside the record. Results dated after the decision count as new wherever they stand.

    Raises
    ------
    InputError
        If there is no such plan, the dates contradict each other, the record is of another patient, or the decision
        was made with a genome and none is given.
    """
    if today < started_on:
        raise InputError(f"{today} is before the start on {started_on}", where="--as-of", hint="give a later day")
    facts = facts or follow_up_facts()
    option = option_of_rank(decision, rank)
    levels = _until(today, levels)
    events = _until(today, events)
    plan = expected_course(decision, rank, started_on=started_on, knowledge=knowledge, facts=facts)
    ledger = Ledger()
    record = with_observations(patient, observations)
    measured = (*record.observations, *_as_observations(levels, knowledge))
    states = state_of(plan, measured, today=today, ledger=ledger)
    learned = learned_from(states, option, knowledge=knowledge, indication=decision.indication, ledger=ledger)
    new = _new(patient, observations, decision, today)
    taken = on_plan(record, option, started_on=started_on)
    twins, unused = _twins(taken, levels, events, today, decision, genome, knowledge, ledger)
    again: Again | None = None
    if new or _has_new_entry(patient, decision, today) or levels:
        again = advised_again(
            patient, decision, plan, new, today=today, facts=facts, genome=genome, knowledge=knowledge, levels=levels,
            events=events,
        )  # fmt: skip
    unused = (*_other_facts(decision, knowledge), *_altered(record, option, started_on), *_unusable(new), *unused)
    versions = Versions(posologist=VERSION, knowledge=knowledge.version)
    followed = taken_to_be_followed(record, option, started_on=started_on, because=plan.plan.because, ledger=ledger)
    return _report(
        decision, option, plan, again, ledger, today, unused, versions, states=states, learned=learned, twins=twins,
        assumptions=followed if again is not None else (),
    )  # fmt: skip


def _report(
    decision: Recommendation,
    option: Option,
    plan: FollowUpPlan,
    again: Again | None,
    ledger: Ledger,
    today: date,
    unused: Sequence[NotChecked],
    versions: Versions,
    **parts: object,
) -> FollowUpReport:
    """The document, with the evidence that it names."""
    changes: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()
    advice = Reason(text="nothing has come in since the decision: the advice stands", because=plan.plan.because)
    frame_note: Reason | None = None
    missing = [*plan.not_checked, *unused]
    if again is not None:
        changes = changes_of(decision, option, again, ledger=ledger)
        findings = (
            *no_longer_offered(decision, option, again, ledger=ledger),
            *(f for f in again.on_plan.findings if f.severity != "information"),
        )
        text, keys = standing_advice(again, option)
        advice = Reason(text=text, because=keys or plan.plan.because)
        frame_note = Reason(text=again.note, because=again.because)
        missing += [row for row in again.on_plan.not_checked if row not in missing]
        for document in (again.instead, again.on_plan):
            ledger.merge({EvidenceKey(key): entry for key, entry in document.evidence.items()})
    report = FollowUpReport.model_validate(
        {
            "as_of": today, "plan": plan, "frame": None if again is None else again.frame, "frame_note": frame_note,
            "changes": changes, "advice": advice, "findings": findings, "not_checked": tuple(dict.fromkeys(missing)),
            "evidence": {}, "versions": versions, **parts,
        }
    )  # fmt: skip
    return report.model_copy(update={"evidence": ledger.reachable(cited_keys(report))})


def _new(
    patient: Patient, observations: Sequence[Observation], decision: Recommendation, today: date
) -> tuple[Observation, ...]:
    """Results that the decision did not know: given beside the record, or dated after it."""
    held = set(patient.observations)
    later = [o for o in patient.observations if o.at is not None and o.at.date() > decision.as_of]
    beside = [o for o in observations if o not in held]
    found = {o: None for o in (*later, *beside) if o.at is not None and o.at.date() <= today}
    return tuple(sorted(found, key=lambda o: (str(o.at), o.key, o.value or 0.0, o.text, str(o.source))))


def _until(today: date, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Levels or administrations up to a day, in an order of their own."""
    return tuple(sorted((row for row in rows if row.at.date() <= today), key=lambda row: (row.at, repr(row))))


def _other_facts(decision: Recommendation, knowledge: Knowledge) -> tuple[NotChecked, ...]:
    """That the decision was made with other facts on file, which then may be behind a change."""
    then, now = decision.versions, Versions(posologist=VERSION, knowledge=knowledge.version)
    if (then.posologist, then.knowledge) == (now.posologist, now.knowledge):
        return ()
    what = "whether changes come from the patient alone"
    why = "the decision was made with another version of the program or of its facts"
    return (NotChecked(what=what, why=why, would_need="the decision made again with this version"),)


def _altered(record: Patient, option: Option, started_on: date) -> tuple[NotChecked, ...]:
    """That the record shows a change of the plan since it was started, so that its expected course no longer holds."""
    begun = {str(start.drug) for start in option.plan.start}
    altered = sorted(
        drug
        for medicine in record.medications
        for drug in begun & set(medicine.drugs)
        if (medicine.start is not None and medicine.start > started_on)
        or (medicine.end is not None and medicine.end > started_on)
    )
    if not altered:
        return ()
    names = ", ".join(dict.fromkeys(altered))
    what, why = "the expected course", f"the record shows that the plan was changed since: {names}"
    return (NotChecked(what=what, why=why, would_need="a follow-up of the plan as it is now", drugs=tuple(altered)),)


def _unusable(new: Sequence[Observation]) -> tuple[NotChecked, ...]:
    """Results that came in and are no number that can be used."""
    return tuple(
        NotChecked(
            what=f"{o.key or o.code.display or o.code.code or 'result'} of {o.at:%Y-%m-%d}",
            why=o.text if o.key else "the code is not known here",
            would_need="the result with its unit, under a known code",
        )
        for o in new
        if o.at is not None and (not o.key or (o.value is None and "not usable" in o.text))
    )


def _has_new_entry(patient: Patient, decision: Recommendation, today: date) -> bool:
    """Whether the record holds a problem or a medicine that is younger than the decision."""
    days = [c.onset for c in patient.conditions] + [m.start for m in patient.medications]
    days += [m.end for m in patient.medications]
    return any(day is not None and decision.as_of < day <= today for day in days)


def _as_observations(levels: Sequence[LevelRow], knowledge: Knowledge) -> tuple[Observation, ...]:
    """Levels as results named `level_<drug>`; one of an unknown drug answers nothing."""
    found = []
    for row in levels:
        try:
            drug = knowledge.drug(row.analyte).id
        except InputError:
            continue
        found.append(Observation(key=f"level_{drug}", value=row.value, unit=row.unit, at=row.at, source=row.source))
    return tuple(found)


def _twins(
    patient: Patient,
    levels: Sequence[LevelRow],
    events: Sequence[EventRow],
    today: date,
    decision: Recommendation,
    genome: GeneticProfile | None,
    knowledge: Knowledge,
    ledger: Ledger,
) -> tuple[tuple[TwinChange, ...], tuple[NotChecked, ...]]:
    """What the newest level of each drug changed in its twin, and the levels that no twin could be made of."""
    drugs = {DrugId(o.key.removeprefix("level_")) for o in _as_observations(levels, knowledge)}
    found, unused = [], []
    for drug in sorted(drugs):
        own = [row for row in levels if is_of(row.analyte, drug, knowledge)]
        given = tuple(r for r in events if r.drug and is_of(r.drug, drug, knowledge))
        settings = decision.settings.model_copy(update={"as_of": today})
        try:
            change = newest_level(
                drug, own, given, patient=patient, now=datetime.combine(today, time.max, UTC), genome=genome,
                knowledge=knowledge, settings=settings, ledger=ledger,
            )  # fmt: skip
        except PosologistError as error:
            name = knowledge.drugs[drug].name
            need = error.hint or "a model of the drug"
            unused.append(NotChecked(what=f"levels of {name}", why=error.message, would_need=need, drugs=(str(drug),)))
            continue
        found.append(change)
    return tuple(found), tuple(unused)
