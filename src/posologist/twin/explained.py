"""Parts of a dose document that explain: contributions to the dose, loading doses, ways on after a missed dose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from posologist.core.drug import LoadingRule
from posologist.core.recommendation import NotChecked
from posologist.core.simulation import LoadingDose, MissedDose, WayOn
from posologist.core.values import Contribution, Contributions, EvidenceKey
from posologist.twin.contributions import Apart, Part, dose_apart
from posologist.twin.goals import Goal, Shape
from posologist.twin.loading import loading_for
from posologist.twin.missed import missed_dose
from posologist.twin.mixture import Member
from posologist.twin.offers import Asked, Habit, Judged
from posologist.twin.teller import Teller


def contributions_of(
    member: Member, goal: Goal | None, shape: Shape, teller: Teller
) -> tuple[Contributions | None, tuple[NotChecked, ...]]:
    """What each covariate, gene and level does to the daily dose for the middle of the target."""
    if goal is None:
        return None, ()
    apart = dose_apart(member, goal, shape)
    apart = None if apart is None else apart.times(member.model.labelled(1.0))
    if apart is None:
        what = f"what moves the dose of {teller.drug.name}"
        why = "no dose brings the reference patient, or this one, to the middle of the target"
        return None, (teller.open(what, why, "another target"),)
    unit = f"{member.model.dose_unit}/day"
    parts = tuple(_part(member, part, unit, teller) for part in apart.parts)
    text = f"{member.model.id}: {apart.output:.4g} {unit} meet the middle of the target in the most probable patient"
    key = teller.derived(f"{text}, {apart.base:.4g} {unit} in the reference patient of the model")
    return Contributions(
        base=apart.base, output=apart.output, rest=_rest(apart), unit=unit, parts=parts, because=(key,)
    ), ()  # fmt: skip


def _rest(apart: Apart) -> float:
    return apart.output - apart.base - sum(part.value for part in apart.parts)


def _part(member: Member, part: Part, unit: str, teller: Teller) -> Contribution:
    if part.level is not None:
        (text, key) = _level_text(member, part.level)
    else:
        (text, key) = _covariate_text(member, part.name)
    shown = teller.derived(f"{text}: {part.value:+.3g} {unit}", (*key, *teller.because))
    return Contribution(feature=part.name, text=text, value=part.value, because=(shown,))


def _level_text(member: Member, number: int) -> tuple[str, tuple[EvidenceKey, ...]]:
    levels = [r for r in member.twin.log if r.evid == 0 and not r.mdv]
    level, unit = levels[number], member.model.concentration_unit
    value = f"below {level.limit:.4g}" if level.limit is not None else f"{level.dv:.4g}"
    return f"level of {value} {unit} at {level.time:.4g} h", (member.history.level_keys[number],)


def _covariate_text(member: Member, name: str) -> tuple[str, tuple[EvidenceKey, ...]]:
    covariate = next(c for c in member.model.covariates if c.name == name)
    value = member.twin.present.get(name, covariate.default)
    reference = covariate.default if covariate.reference is None else covariate.reference
    unit = "" if covariate.unit == "1" else f" {covariate.unit}"
    key = member.told.by_name.get(name)
    return f"{covariate.meaning}: {value:.4g}{unit} instead of {reference:.4g}{unit}", () if key is None else (key,)


def loading_told(
    asked: Asked,
    row: Judged,
    members: Sequence[Member],
    rules: Sequence[LoadingRule],
    step: float | None,
    teller: Teller,
) -> LoadingDose | None:
    """A loading dose before the regimen, where a source gives its range and treatment has not begun."""
    found = loading_for(asked, row.offer, members, rules, step)
    if found is None:
        return None
    model, rule = members[0].model, found.rule
    over = f" over {found.infusion_h:.3g} h" if found.infusion_h else ""
    often = f"{found.count} times every {found.interval_h:g} h" if found.count > 1 else "once"
    labelled = model.labelled(found.dose)
    text = f"{labelled:g} {model.dose_unit}{over} {often}, then the regimen {found.interval_h:g} h later"
    printed = f"loading dose of {teller.drug.name}: {rule.low:g} to {rule.high:g} {rule.unit} {rule.text}"
    known = teller.ledger.add("knowledge", printed.strip(), source=str(rule.source), status=rule.status)
    key = teller.derived(f"loading dose {text}", (known, *teller.because))
    return LoadingDose(
        text=text,
        dose=teller.quantity(labelled, model.dose_unit, (key,)),
        first_day=teller.estimate(found.first_day, model.concentration_unit),
        without=teller.estimate(found.without, model.concentration_unit),
        because=(key,),
    )


def missed_told(
    member: Member, habit: Habit, toxic: Goal | None, now: datetime | None, teller: Teller
) -> MissedDose | None:
    """Ways to go on where the next dose is late at the time of the question."""
    origin = member.history.origin
    if now is None or origin is None:
        return None
    hours = (now - origin).total_seconds() / 3600.0
    found = missed_dose(member.twin, now=hours, interval=habit.interval)
    if found is None:
        return None
    unit = member.model.concentration_unit
    asked = teller.ledger.add("setting", f"time of the question: {hours:.4g} h after the first dose", source="--at")
    key = teller.derived(
        f"the dose is {found.late:.3g} h late, {found.number} missing at an interval of {habit.interval:g} h",
        (asked, *teller.because),
    )
    ways = tuple(
        WayOn(
            what=way.what,
            next_dose=teller.quantity(way.times[0], "h", (key,)),
            lowest=teller.estimate(way.lowest, unit),
            highest=teller.estimate(way.highest, unit),
            average=teller.estimate(way.average, unit),
            toxic_probability=None if toxic is None else teller.share(way.above(toxic)),
        )
        for way in found.ways
    )
    late = teller.quantity(found.late, "h", (key,))
    ahead = teller.quantity(found.hours, "h", (key,))
    return MissedDose(late=late, ahead=ahead, number=found.number, ways=ways, because=(key,))
