"""The advice made again: the same recommendation on a later day, with the plan taken and what came in since."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.followup import Change, FollowUpPlan, Frame
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Medication, Observation, Patient, Source
from posologist.core.recommendation import Finding, Option, Reason, Recommendation, Start, Stop
from posologist.core.values import Because, EvidenceKey
from posologist.knowledge.courses import FollowUpFacts
from posologist.knowledge.load import Knowledge
from posologist.recommend.followup_changes import Compared, difference, finding_changes
from posologist.recommend.followup_plan import option_of_rank, plan_keys
from posologist.recommend.pipeline import recommend
from posologist.records.table import EventRow, LevelRow

_OVER = re.compile(r"\bover (?:about )?(?:\d+ to )?(\d+) (day|week)s?\b")
_DAYS = {"day": 1, "week": 7}


@dataclass(frozen=True)
class Again:
    """The advice made again: for the patient as treated now, and instead of the plan, from the treatment before it.

    `frame` says which of the two gives the plans.
    """

    on_plan: Recommendation
    instead: Recommendation
    frame: Frame
    note: str
    because: tuple[EvidenceKey, ...]

    @property
    def document(self) -> Recommendation:
        """The one whose plans are advised."""
        return self.on_plan if self.frame == "on the plan" else self.instead


def with_observations(patient: Patient, new: Iterable[Observation]) -> Patient:
    """The record with further results; one that it already holds is not taken twice, and the order does not matter."""
    held = {_same(o): o for o in (*patient.observations, *new)}
    ordered = sorted(held.values(), key=lambda o: (str(o.at), o.key, o.value or 0.0, o.text, str(o.source)))
    days = [o.at.date() for o in ordered if o.at is not None]
    newest = max([d for d in (patient.latest_entry, *days) if d is not None], default=None)
    return patient.model_copy(update={"observations": tuple(ordered), "latest_entry": newest})


def without_observations(patient: Patient, left_out: Iterable[Observation]) -> Patient:
    """The record without some results."""
    dropped = {_same(o) for o in left_out}
    return patient.model_copy(
        update={"observations": tuple(o for o in patient.observations if _same(o) not in dropped)}
    )


def _same(observation: Observation) -> tuple[object, ...]:
    code = observation.key or observation.code
    return code, observation.at, observation.value, observation.unit, observation.text


def on_plan(patient: Patient, option: Option, *, started_on: date) -> Patient:
    """The patient as treated since the plan was started: what it starts is taken, what it stops is not.

    A drug that the record already holds as begun or ended since is left as it is there. A taper ends after the longest
    time that its rule names; without one the drug counts as stopped.
    """
    medicines = [_stopped(m, option.plan.stop, started_on) for m in patient.medications]
    for start in option.plan.start:
        raised = [m for m in medicines if _is_current(m, start.drug) and len(m.drugs) == 1]
        if any(m.start is not None and m.start >= started_on for m in raised):
            continue
        medicines = [_ended(m, started_on - timedelta(days=1)) if m in raised else m for m in medicines]
        medicines.append(_begun(start, started_on))
    return patient.model_copy(update={"medications": tuple(medicines), "medication_list_given": True})


def taken_to_be_followed(
    record: Patient, option: Option, *, started_on: date, because: Because, ledger: Ledger
) -> tuple[Reason, ...]:
    """How the plan counts as followed where the record itself does not say it."""
    treated, found = on_plan(record, option, started_on=started_on), []
    for medicine in treated.medications:
        if medicine in record.medications:
            continue
        name = ", ".join(medicine.drugs)
        if medicine.end is None:
            text = f"{name} counts as taken as ordered since {medicine.start}"
        else:
            text = f"{name} as it was before the plan counts as taken until {medicine.end}"
        found.append(Reason(text=text, because=(ledger.add("assumption", text, because=because),)))
    return tuple(found)


def before_plan(patient: Patient, option: Option, *, started_on: date) -> Patient:
    """The patient as treated before the plan, with everything measured since."""
    begun = {str(start.drug) for start in option.plan.start}
    ended = {str(stop.drug) for stop in option.plan.stop} | begun
    kept = [
        m for m in patient.medications if not (set(m.drugs) & begun and m.start is not None and m.start >= started_on)
    ]
    back = [
        m.model_copy(update={"end": None, "status": "active"})
        if set(m.drugs) & ended and m.end is not None and m.end >= started_on - timedelta(days=1)
        else m
        for m in kept
    ]
    return patient.model_copy(update={"medications": tuple(back)})


def _is_current(medication: Medication, drug: str) -> bool:
    return drug in medication.drugs and medication.status != "stopped" and medication.end is None


def _ended(medication: Medication, day: date) -> Medication:
    return medication.model_copy(update={"end": day})


def _stopped(medication: Medication, stops: Sequence[Stop], started_on: date) -> Medication:
    stop = next((s for s in stops if _is_current(medication, s.drug)), None)
    if stop is None or (medication.start is not None and medication.start >= started_on):
        return medication
    time = _OVER.search(stop.text) if stop.how == "taper" else None
    days = int(time[1]) * _DAYS[time[2]] if time else -1
    return _ended(medication, started_on + timedelta(days=days))


def _begun(start: Start, started_on: date) -> Medication:
    regimen = start.regimen
    return Medication(
        drugs=(str(start.drug),), text=f"{start.drug} {regimen.text}", how_resolved="the accepted plan", kind="order",
        start=started_on, dose=regimen.dose.value, dose_unit=regimen.dose.unit,
        per_day=24.0 / regimen.interval.value, form=regimen.form, route=regimen.route,
        source=Source(document="accepted plan", place=f"start of {start.drug}"),
    )  # fmt: skip


def advised_again(
    before: Patient,
    decision: Recommendation,
    plan: FollowUpPlan,
    observations: Sequence[Observation],
    *,
    today: date,
    facts: FollowUpFacts,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    levels: Sequence[LevelRow] = (),
    events: Sequence[EventRow] = (),
) -> Again:
    """The same recommendation today, with what came in since.

    The plans are made again from the treatment as it is now only once the treated measure was read late enough to tell
    what the plan reached: by the published time course, else on the guideline's first date. Until then they are made
    again from the treatment before the plan, without readings of the treated measures under it; the findings are of
    the treatment now in any case.

    Parameters
    ----------
    before
        The record as the decision knew it, or a newer one.
    plan
        The expected course of the accepted plan.
    observations
        What came in since.

    Raises
    ------
    InputError
        If the decision was made with a genome and none is given, or is of another patient.
    """
    _check(before, decision, genome)
    option, started_on = option_of_rank(decision, plan.rank), plan.started_on
    settings = decision.settings.model_copy(update={"as_of": today})
    now = with_observations(before, observations)

    def made(patient: Patient) -> Recommendation:
        return recommend(
            patient, decision.indication, genome=genome, knowledge=knowledge, settings=settings, levels=levels,
            events=events,
        )  # fmt: skip

    measures = {m.key for m in knowledge.indication(decision.indication).measures}
    measures |= set() if decision.goal is None else {decision.goal.measure}
    early = [o for o in observations if o.key in measures and o.at is not None and o.at.date() >= started_on]
    earlier = without_observations(now, early)
    frame, note = _frame(decision, plan, observations, today, facts)
    treated = on_plan(_under_plan(now, measures, plan, today, facts), option, started_on=started_on)
    return Again(
        on_plan=made(treated), instead=made(before_plan(earlier, option, started_on=started_on)), frame=frame,
        note=note, because=plan.plan.because,
    )  # fmt: skip


def _under_plan(patient: Patient, measures: set[str], plan: FollowUpPlan, today: date, facts: FollowUpFacts) -> Patient:
    """The record without readings of treated measures from before the plan, or before it could show, if later ones are.

    Readings of one month are taken together: those from before would be mixed with what the plan reached.
    """
    kept = patient
    for measure in sorted(measures):
        held = [o for o in patient.observations if o.key == measure and o.at is not None and o.at.date() <= today]
        cuts = (_told_from(plan, measure, facts), plan.started_on + timedelta(days=1))
        usable = [o.at.date() for o in held if o.at is not None and o.value is not None]
        cut = next((day for day in cuts if day is not None and any(found >= day for found in usable)), None)
        if cut is not None:
            kept = without_observations(kept, [o for o in held if o.at is not None and o.at.date() < cut])
    return kept


def _check(before: Patient, decision: Recommendation, genome: GeneticProfile | None) -> None:
    if before.id != decision.patient.id:
        raise InputError(
            f"the decision is of patient {decision.patient.id}, the record of {before.id}", where="--patient",
            hint="give the record of the same patient",
        )  # fmt: skip
    tested = sorted(gene for gene, row in decision.profile.items() if row.evidence_state != "not called")
    if tested and genome is None:
        raise InputError(
            f"the decision was made with genes ({', '.join(tested)}), and none are given now", where="--genome",
            hint="give the same genome, or the profile made of it",
        )  # fmt: skip


def _frame(
    decision: Recommendation,
    plan: FollowUpPlan,
    observations: Sequence[Observation],
    today: date,
    facts: FollowUpFacts,
) -> tuple[Frame, str]:
    """From which treatment the plans are made again, and why."""
    measure = decision.goal.measure if decision.goal is not None else ""
    since = [o for o in observations if o.key == measure and o.value is not None and o.at is not None]
    days = [o.at.date() for o in since if o.at is not None and plan.started_on <= o.at.date() <= today]
    if not days:
        why = "no reading yet tells how the plan works"
    else:
        full = _told_from(plan, measure, facts)
        if full is not None and max(days) >= full:
            return "on the plan", "the plan's effect was read: the plans go on from it"
        when = "it is not known when a reading" if full is None else "no reading so far is late enough that it"
        why = f"{when} tells how the plan works"
    return "before the plan", f"{why}: the plans start from the treatment before it, in its place"


def _told_from(plan: FollowUpPlan, measure: str, facts: FollowUpFacts) -> date | None:
    """First day on which a reading tells what the plan reached: by its time course, else the guideline's first date."""
    course = facts.course(plan.indication, measure)
    if course is not None:
        return plan.started_on + timedelta(days=course.full_from_days)
    asked = [item for item in plan.items if any(measure in part.keys for part in item.parts)]
    return min((item.due for item in asked if item.due is not None and item.due > plan.started_on), default=None)


def changes_of(decision: Recommendation, option: Option, again: Again, *, ledger: Ledger) -> tuple[Change, ...]:
    """What changed in the advice and why; on the plan, the advice as a whole and the findings."""
    if again.frame == "before the plan":
        plans = difference(decision, again.document, ledger=ledger)
        found = [c for c in plans if not c.kind.startswith("finding")]
        return (*found, *finding_changes(decision, again.on_plan, ledger=ledger))
    both = Compared(decision, again.document, ledger)
    told, keys = advice_text(again.document)
    causes, why = both.because(both.causes(keys))
    moved = Change(
        kind="advice", was=option.plan.text, now=told, why=why,
        drugs=tuple(str(s.drug) for o in again.document.options[:1] for s in o.plan.start),
        because=tuple(dict.fromkeys((*causes, *keys, *(k for s in option.plan.start for k in s.because)))),
    )  # fmt: skip
    return (moved, *finding_changes(decision, again.document, ledger=ledger))


def standing_advice(again: Again, option: Option) -> tuple[str, tuple[EvidenceKey, ...]]:
    """What is advised today: the accepted plan where it is still offered in its place, else the first plan."""
    if again.frame == "before the plan":
        same = next((o for o in again.document.options if o.plan.text == option.plan.text), None)
        if same is not None:
            place = "" if same.rank == 1 else f", now in place {same.rank}"
            return f"the accepted plan stands{place}", _both_keys(same)
    return advice_text(again.document)


def no_longer_offered(decision: Recommendation, option: Option, again: Again, *, ledger: Ledger) -> tuple[Finding, ...]:
    """A finding where a drug of the accepted plan would be ruled out today: it is being taken."""
    both = Compared(decision, again.instead, ledger)
    begun = {str(start.drug) for start in option.plan.start}
    found = []
    for entry in again.instead.ruled_out:
        if entry.drug in begun:
            causes, why = both.because(both.causes(entry.because))
            found.append(
                Finding(
                    severity="serious", title=f"{entry.drug} of the accepted plan would not be started today",
                    detail=f"{entry.reason}; new: {why}. Decide whether it is stopped or lowered.",
                    drugs=(entry.drug,), because=tuple(dict.fromkeys((*causes, *entry.because))),
                )
            )  # fmt: skip
    return tuple(found)


def advice_text(document: Recommendation) -> tuple[str, tuple[EvidenceKey, ...]]:
    """The first plan of a recommendation, or the finding that says why there is none; with what it rests on."""
    if document.options:
        first = document.options[0]
        return first.plan.text, _both_keys(first)
    why = next((f for f in document.findings if f.title.startswith(("At target", "No plan", "Below"))), None)
    if why is None and document.findings:
        why = document.findings[0]
    if why is None:
        return "no plan is offered", tuple(document.goal.because) if document.goal is not None else ()
    return f"no change of plan: {why.title}", why.because


def _both_keys(option: Option) -> tuple[EvidenceKey, ...]:
    """What the doses of a plan and its place among the others rest on."""
    return tuple(dict.fromkeys((*plan_keys(option), *option.utility.because)))
