"""The document of `dose` from population models: a patient's own kinetics, and the regimens that suit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

import numpy as np

from posologist.core.drug import Drug, InfusionRule, LoadingRule
from posologist.core.evidence import Ledger
from posologist.core.genotype import Versions
from posologist.core.recommendation import Finding, NotChecked
from posologist.core.regimen import Limits, Target
from posologist.core.settings import Settings
from posologist.core.simulation import (
    BindingConstraint,
    DoseDocument,
    Individual,
    ModelShare,
    NextSample,
    RankedRegimen,
)
from posologist.core.twin import TwinRecord
from posologist.core.units import convert
from posologist.core.values import DrugId, Estimate, EvidenceKey
from posologist.knowledge.models import PkModel
from posologist.twin.explained import contributions_of, loading_told, missed_told
from posologist.twin.goals import Shape, area_unit
from posologist.twin.infusion import continuous_allowed, shortest_infusion_h
from posologist.twin.level_fit import about_levels, levels_told, next_sample
from posologist.twin.mixture import Exposures, Member, shared
from posologist.twin.modelled import UNITS
from posologist.twin.offers import Asked, Habit, Judged, Offer, Offers, binding, judged, offers_of, ordered
from posologist.twin.search import regimen_text
from posologist.twin.standing import Standing, standing_of, therapeutic_index
from posologist.twin.teller import Teller, model_leaf

MOST_RANKED = 20
_FIRST_INTERVAL_H, _FIRST_INFUSION_H = 12.0, 1.0


@dataclass(frozen=True)
class Question:
    """What is asked of a drug for one patient, beside the models.

    `infusion` and `loading` are the rules of the drug's file that hold for the patient. `unverified` names limits that
    are not verified; `narrow` says that the drug may be given only with a toxic bound. `now` is the time of the
    question where it is known to the hour, `mic` the minimal inhibitory concentration (mg/L).
    """

    drug: Drug
    limits: Limits | None
    target: Target | None
    weight_kg: float | None
    infusion: tuple[InfusionRule, ...] = ()
    loading: tuple[LoadingRule, ...] = ()
    unverified: tuple[str, ...] = ()
    narrow: bool = False
    now: datetime | None = None
    mic: float | None = None


@dataclass(frozen=True)
class _Answer:
    """What stands once the regimens are tried: all of them judged, the best in order, what closes the gate."""

    members: tuple[Member, ...]
    asked: Asked
    standing: Standing
    tried: Offers
    candidates: tuple[Judged, ...]
    best: list[Judged]
    index: Estimate | None
    closed: str


def individual_dose_document(
    members: Sequence[Member],
    question: Question,
    *,
    settings: Settings,
    ledger: Ledger,
    versions: Versions,
    patient: str,
) -> DoseDocument:
    """Regimens of one drug for one patient, from population models and what was given and measured.

    The evidence of the document is left to the caller, who knows what else it names.

    Parameters
    ----------
    members
        Twins of the drug's models that may take part; their shares are computed here.

    Raises
    ------
    InputError
        If the target asked for cannot be told by the model.
    NumericsError
        If no estimate was found from the levels.
    """
    mixed = shared(members)
    teller = _teller(mixed, question, settings, ledger)
    lead = mixed[0]
    standing = standing_of(mixed, question.target, teller, mic=question.mic)
    exposures = Exposures(mixed)
    asked = _asked(question, lead, standing)
    answer, open_index = _tried(mixed, question, asked, standing, exposures, teller)
    unlimited = () if answer.tried.limited else (f"no maximum dose of {question.drug.name} is on file for this use",)
    unverified = (*standing.unverified, *question.unverified, *unlimited)
    bound, nearest, why = _bound(answer, unverified, teller)
    levels, misfits = levels_told(lead, teller)
    shown = answer.best[: 1 if not unverified else MOST_RANKED] or [row for row in (nearest,) if row is not None]
    rows = tuple(
        _ranked(answer, None if unverified else rank, row, question, teller, first=rank == 1)
        for rank, row in enumerate(answer.best[:MOST_RANKED], start=1)
    )
    missed = missed_told(lead, asked.habit, standing.toxic, question.now, teller)
    apart, open_apart = contributions_of(lead, standing.goal, _habitual(asked), teller)
    document = DoseDocument(
        drug=DrugId(question.drug.id), model=_named(mixed), patient=patient,
        parameters=_parameters(lead, teller), individual=_individual(lead, teller), target=standing.target,
        models=tuple(_share_of(member, teller) for member in mixed), therapeutic_index=answer.index,
        regimens=() if unverified else rows,
        unranked=rows if unverified else _near(answer, nearest, question, teller),
        present=_present(answer, exposures, question, teller), binding_constraint=bound, contributions=apart,
        missed=missed, twin=_record(lead, versions), next_sample=_next_sample(answer, shown, teller), levels=levels,
        not_checked=(
            *standing.open, *open_index, *open_apart,
            *_rate_open(question, lead.model, answer.best[:MOST_RANKED] or shown, teller),
            *_to_verify(unverified, question, teller),
        ),
        evidence={}, versions=versions,
    )  # fmt: skip
    said = (*about_levels(lead, teller), *misfits, *why, *_narrow_index(answer, settings, teller))
    return _with_remarks(document, answer, said, teller)


def _record(lead: Member, versions: Versions) -> TwinRecord:
    origin = lead.history.origin
    return lead.twin.record(origin=None if origin is None else origin.isoformat(), versions=versions)


def _with_remarks(document: DoseDocument, answer: _Answer, said: Sequence[Finding], teller: Teller) -> DoseDocument:
    """The document with what has to be said of the models, the levels and the regimens tried."""
    members, lead = answer.members, answer.members[0]
    findings = (
        *(finding for member in members for finding in member.told.findings), *lead.history.findings, *said,
        *(teller.finding("monitor", "Not limited by a label", sentence) for sentence in answer.tried.warned),
    )  # fmt: skip
    assumptions = (
        *(reason for member in members for reason in member.told.assumptions), *lead.history.assumptions,
        *(teller.said(sentence) for sentence in answer.tried.said),
    )  # fmt: skip
    return document.model_copy(update={"findings": findings, "assumptions": assumptions})


def unit_of(model: PkModel, name: str) -> str:
    """Unit of a structural parameter."""
    own = {"VMAX": f"{model.dose_unit}/h", "KM": model.concentration_unit, "F": "1"}
    return own.get(name) or UNITS.get(name, "")


def _teller(members: Sequence[Member], question: Question, settings: Settings, ledger: Ledger) -> Teller:
    known = [model_leaf(member.model, ledger) for member in members]
    told = [key for member in members for key in (*member.told.keys, *member.history.keys, *member.history.level_keys)]
    text = f"{_named(members)}: parameters and exposure of this patient"
    because: tuple[EvidenceKey, ...] = (ledger.add("derived", text, because=[*known, *told]),)
    return Teller(question.drug, settings, ledger, because)


def _named(members: Sequence[Member]) -> str:
    if len(members) == 1:
        return members[0].model.id
    return "average of " + ", ".join(member.model.id for member in members)


def _asked(question: Question, lead: Member, standing: Standing) -> Asked:
    per_mg = lead.model.labelled(convert(1.0, lead.model.dose_unit, "mg"))

    def shortest(dose: float) -> float:
        return shortest_infusion_h(question.infusion, dose * per_mg, weight_kg=question.weight_kg).at_least

    return Asked(
        drug=question.drug, limits=question.limits, goal=standing.goal, habit=_habit(question, lead), route=lead.route,
        weight_kg=question.weight_kg, shortest_h=shortest, continuous=continuous_allowed(question.infusion),
    )  # fmt: skip


def _habit(question: Question, lead: Member) -> Habit:
    """Interval and infusion time in use, else the longest usual interval of the drug's file."""
    doses, limits = lead.twin.doses, question.limits
    gaps = [b.time - a.time for a, b in pairwise(doses) if b.time > a.time]
    infusions = [dose.amt / dose.rate for dose in doses if dose.rate > 0]
    per_day = (limits.doses_per_day if limits is not None else ()) or (
        question.drug.doses[0].doses_per_day if question.drug.doses else ()
    )
    usual = 24.0 / min(per_day) if per_day and min(per_day) > 0 else _FIRST_INTERVAL_H
    intervals = tuple(sorted(24.0 / count for count in per_day if count > 0))
    interval = float(np.median(gaps)) if gaps else usual
    return Habit(interval, infusions[-1] if infusions else _FIRST_INFUSION_H, intervals)


def _habitual(asked: Asked) -> Shape:
    infusion = asked.habit.infusion if asked.route == "iv" else 0.0
    return Shape(asked.habit.interval, min(infusion, asked.habit.interval), 0)


def _tried(
    members: tuple[Member, ...],
    question: Question,
    asked: Asked,
    standing: Standing,
    exposures: Exposures,
    teller: Teller,
) -> tuple[_Answer, tuple[NotChecked, ...]]:
    tried = offers_of(asked, exposures)
    candidates = judged(tried.offers, exposures, standing.goal, standing.toxic)
    best = ordered(candidates, teller.settings, habit=asked.habit, aimed=standing.goal is not None)
    index, unknown = therapeutic_index(exposures, standing, best[0].offer.shape if best else _habitual(asked), teller)
    closed = _closed(members[0].model, question, standing, index, teller.settings)
    answer = _Answer(members, asked, standing, tried, candidates, [] if closed else best, index, closed)
    return answer, () if unknown is None else (unknown,)


def _closed(model: PkModel, question: Question, standing: Standing, index: Estimate | None, settings: Settings) -> str:
    """Why the gate is closed for the drug as a whole: no toxic bound where one is needed, or too narrow a window.

    A window narrower than the setting allows is passed only by models that learn from levels: with a level after each
    change of dose the probability of toxicity, which is the other half of the gate, is that of this patient.
    """
    if question.narrow and standing.toxic is None:
        return f"{question.drug.name} is given only with a toxic bound, and none is on file"
    if index is not None and index.value <= settings.min_therapeutic_index and not _learns(model):
        least = settings.min_therapeutic_index
        return f"the therapeutic index of {index.value:.2g} is not above {least:g}, and no level can steer the dose"
    return ""


def _learns(model: PkModel) -> bool:
    return bool(model.random and model.residual)


def _narrow_index(answer: _Answer, settings: Settings, teller: Teller) -> tuple[Finding, ...]:
    index = answer.index
    if index is None or answer.closed or index.value > settings.min_therapeutic_index:
        return ()
    detail = (
        f"The therapeutic index is {index.value:.2g}, not above {settings.min_therapeutic_index:g}: the dose that "
        "harms is near the dose that helps. The regimens hold only with a level after each change of dose."
    )
    return (teller.finding("serious", "Narrow therapeutic index", detail, index.because),)


def _parameters(member: Member, teller: Teller) -> dict[str, Estimate]:
    return {
        name: teller.estimate(values, unit_of(member.model, name))
        for name, values in member.twin.people.parameters.items()
    }


def _share_of(member: Member, teller: Teller) -> ModelShare:
    key = teller.derived(f"{member.model.id} has a share of {member.share:.3g} in the answer")
    return ModelShare(
        model=member.model.id, share=teller.quantity(member.share, "1", (key,)), parameters=_parameters(member, teller)
    )


def _individual(member: Member, teller: Teller) -> Individual | None:
    people = member.twin.people
    if people.found is None:
        return None
    estimate = people.found.estimate
    etas = {
        effect.eta: teller.estimate(people.etas[:, n], "1", float(estimate.eta[n]))
        for n, effect in enumerate(member.model.random)
    }
    return Individual(
        eta=etas, converged=bool(estimate.converged), effective_sample_size=int(people.found.effective)
    )  # fmt: skip


def _rate_open(question: Question, model: PkModel, listed: Sequence[Judged], teller: Teller) -> tuple[NotChecked, ...]:
    """What is open about how fast the listed doses run: the fastest is named where no verified rule limits it."""
    infused = [row.offer for row in listed if row.offer.shape.infusion]
    if not infused:
        return ()
    fastest = max(infused, key=lambda offer: offer.dose / offer.shape.infusion)
    dose_mg = convert(model.labelled(fastest.dose), model.dose_unit, "mg")
    limit = shortest_infusion_h(question.infusion, dose_mg, weight_kg=question.weight_kg)
    if limit.on_file and not limit.missing and limit.status != "to verify":
        return ()
    why = (
        f"a rule on file needs {', '.join(limit.missing)}" if limit.missing
        else "the rule on file is not verified" if limit.on_file
        else "no maximum rate is on file"
    )  # fmt: skip
    need = "the maximum rate of the label: infuse no faster than it"
    why = f"{why}; the fastest infusion listed is {fastest.text}"
    return (teller.open(f"rate of infusion of {question.drug.name}", why, need),)


def _to_verify(unverified: Sequence[str], question: Question, teller: Teller) -> tuple[NotChecked, ...]:
    if not unverified:
        return ()
    need = "reading the named sources and setting the status in the files"
    return (
        teller.open(f"ranking of regimens of {question.drug.name}", f"not verified: {'; '.join(unverified)}", need),
    )


def _ranked(
    answer: _Answer, rank: int | None, row: Judged, question: Question, teller: Teller, *, first: bool = False
) -> RankedRegimen:
    """A regimen as it is shown; the first one with a loading dose."""
    return RankedRegimen(
        rank=rank,
        text=row.offer.text,
        target_attainment=teller.share(row.hits),
        toxic_probability=teller.share(row.toxic),
        exposure=_exposure(answer, row, teller),
        loading=loading_told(answer.asked, row, answer.members, question.loading, answer.tried.step, teller)
        if first
        else None,
    )


def _near(answer: _Answer, nearest: Judged | None, question: Question, teller: Teller) -> tuple[RankedRegimen, ...]:
    """The regimen that comes nearest, where none is ranked."""
    return () if nearest is None else (_ranked(answer, None, nearest, question, teller, first=True),)


def _present(answer: _Answer, exposures: Exposures, question: Question, teller: Teller) -> RankedRegimen | None:
    """The regimen in use, as the last dose and the usual interval tell it; None without at least two doses."""
    lead, habit = answer.members[0], answer.asked.habit
    doses = lead.twin.doses
    if len(doses) < 2:
        return None
    last = doses[-1]
    shape = Shape(habit.interval, last.amt / last.rate if last.rate > 0 else 0.0, 0)
    text = regimen_text(
        lead.model.labelled(last.amt), lead.model.dose_unit, shape.interval, route=lead.route, duration_h=shape.infusion
    )
    found = judged((Offer(text, last.amt, shape),), exposures, answer.standing.goal, answer.standing.toxic)
    return _ranked(answer, None, found[0], question, teller) if found else None


def _exposure(answer: _Answer, row: Judged, teller: Teller) -> dict[str, Estimate]:
    model, goal = answer.members[0].model, answer.standing.goal
    unit = model.concentration_unit
    told = {
        "auc24": teller.estimate(row.curve.auc24, area_unit(model)),
        "trough": teller.estimate(row.curve.trough, unit),
        "peak": teller.estimate(row.curve.peak, unit),
    }
    if goal is not None and goal.metric not in told:
        told[goal.metric] = teller.estimate(row.curve.value(goal), goal.unit)
    return told


def _bound(
    answer: _Answer, unverified: Sequence[str], teller: Teller
) -> tuple[BindingConstraint | None, Judged | None, tuple[Finding, ...]]:
    """What keeps regimens from being ranked, the nearest one, and the finding that says so."""
    if answer.best and unverified:
        detail = (
            f"The regimens are listed and not ranked: {'; '.join(unverified)}. Reading the named source and setting "
            "the status in the file would verify it; until then judge every regimen yourself."
        )
        finding = teller.finding("serious", "The regimens rest on unverified facts", detail)
        return (
            BindingConstraint(what="facts behind the ranking are not verified", nearest_regimen=None),
            None,
            (finding,),
        )
    if answer.best:
        return None, None, ()
    goal = answer.standing.goal
    if goal is None or not answer.candidates:
        what = answer.closed or "no regimen that can be given is on file"
        detail = f"Nothing is ranked: {what}."
        finding = teller.finding("serious", "No regimen qualifies", detail)
        return BindingConstraint(what=what, nearest_regimen=None), None, (finding,)
    what, nearest = binding(answer.candidates, goal, teller.settings, habit=answer.asked.habit)
    what = answer.closed or what
    detail = (
        f"Nothing is ranked: {what}. The nearest regimen, {nearest.offer.text}, brings "
        f"{100 * nearest.attainment:.0f} % of possible patients to the target, "
        f"{100 * nearest.toxicity:.0f} % above the toxic bound."
    )
    finding = teller.finding("serious", "No regimen qualifies", detail)
    return BindingConstraint(what=what, nearest_regimen=nearest.offer.text), nearest, (finding,)


def _next_sample(answer: _Answer, shown: Sequence[Judged], teller: Teller) -> NextSample | None:
    if not shown:
        return None
    lead = answer.members[0]
    own = Exposures((replace(lead, share=1.0),)).curve(shown[0].offer.shape, shown[0].offer.dose)
    if own is None:
        return None
    return next_sample(lead, replace(shown[0], curve=own), answer.standing.goal, answer.asked.habit, teller)
