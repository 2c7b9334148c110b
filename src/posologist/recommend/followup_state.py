"""Where an accepted plan stands: what is open, due, overdue, done or out of expectation, and what a reading taught."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from statistics import NormalDist, median

from posologist.core.evidence import Ledger
from posologist.core.followup import Answered, FollowUpItem, FollowUpPlan, FollowUpState, Learned, StateName
from posologist.core.indication import Measure
from posologist.core.patient import Observation
from posologist.core.recommendation import Effect, Option
from posologist.core.units import ucum
from posologist.core.values import Estimate, EvidenceKey, Quantity, rounded
from posologist.knowledge.derive import cited_leaf
from posologist.knowledge.load import Knowledge
from posologist.recommend.followup_bounds import judged

ANSWERED: tuple[StateName, ...] = ("done", "out of expectation")


def state_of(
    plan: FollowUpPlan, observations: Iterable[Observation], *, today: date, ledger: Ledger
) -> tuple[FollowUpState, ...]:
    """Where each item of a plan stands today, in the order of the plan.

    Parameters
    ----------
    observations
        Results of the record, levels among them as `level_<drug>`; later ones than today are not seen. Their order
        does not matter.
    ledger
        Receives a leaf for each result that is used.
    """
    ledger.merge({EvidenceKey(key): entry for key, entry in plan.evidence.items()})
    seen = [o for o in observations if o.at is not None and o.value is not None and o.at.date() <= today]
    return tuple(_state(item, seen, today, plan.started_on, ledger) for item in plan.items)


def _state(
    item: FollowUpItem, seen: Sequence[Observation], today: date, started_on: date, ledger: Ledger
) -> FollowUpState:
    answered, missing = [], []
    for part in item.parts:
        found = _answer(item, part.name, part.keys, seen, ledger)
        answered += found
        if part.keys and not found:
            missing.append(part.name)
    asked = any(part.keys for part in item.parts)
    name, why = _placed(item, complete=asked and not missing, today=today)
    if name == "done" and item.expected is not None:
        verdict = _verdict(item, item.expected, answered)
        name, why = verdict if verdict is not None else (name, why)
    held = (
        ()
        if item.kind in ("pressure", "level")
        else tuple(
            one
            for answer in answered
            for one in judged(answer, item.bounds, seen, started_on=started_on, ledger=ledger)
        )
    )
    outside = [one.text for one in held if one.verdict == "out of expectation"]
    if outside:
        name, why = "out of expectation", "; ".join(outside)
    keys = (*item.because, *(k for a in answered for k in a.value.because), *(k for one in held for k in one.because))
    return FollowUpState(
        item=item, state=name, why=why, answered=tuple(answered), missing=tuple(missing), judged=held,
        because=tuple(dict.fromkeys(keys)),
    )  # fmt: skip


def _placed(item: FollowUpItem, *, complete: bool, today: date) -> tuple[StateName, str]:
    """The state by the item's own dates."""
    if complete:
        return "done", "measured"
    if item.due is None or item.opens is None:
        return "open", "no source on file names a date"
    if item.until is not None and today >= item.until:
        return "missed", "not measured in its time"
    if today > item.due:
        return "overdue", "not measured by its date"
    return ("due", "to be measured now") if today >= item.opens else ("open", "its time has not come")


def _answer(
    item: FollowUpItem, name: str, keys: Sequence[str], seen: Sequence[Observation], ledger: Ledger
) -> list[Answered]:
    """The newest day's results for each key of one part, within the item's time."""
    found = []
    for key in keys:
        own = [o for o in seen if o.key == key and o.at is not None and _counts(item, o.at.date())]
        if not own:
            continue
        day = max(o.at.date() for o in own if o.at is not None)
        found.append(_read(name, key, [o for o in own if o.at is not None and o.at.date() == day], day, ledger))
    return found


def _counts(item: FollowUpItem, day: date) -> bool:
    return item.opens is not None and day >= item.opens and (item.until is None or day < item.until)


def _read(name: str, key: str, own: Sequence[Observation], day: date, ledger: Ledger) -> Answered:
    leaves = sorted(
        {
            ledger.add("patient", f"{key}: {o.value:g} {o.unit} on {o.at:%Y-%m-%d}", source=str(o.source))
            for o in own
        }
    )  # fmt: skip
    value = rounded(float(median(o.value for o in own if o.value is not None)))
    if len(leaves) > 1:
        text = f"{key}: median {value:g} {own[0].unit} of {len(own)} readings on {day}"
        leaves = [ledger.add("derived", text, because=leaves)]
    quantity = Quantity(value=value, unit=own[0].unit, because=tuple(leaves))
    return Answered(name=name, key=key, value=quantity, at=day)


def _verdict(item: FollowUpItem, expected: Estimate, answered: Sequence[Answered]) -> tuple[StateName, str] | None:
    """Whether a reading lies outside the interval of one reading; None where it cannot be judged."""
    own = next((a for a in answered if a.key == item.measure), None)
    if own is None:
        return None
    if ucum(own.value.unit) != ucum(expected.unit):
        return "done", "measured; not judged: its unit is not that of the expectation"
    if item.judged_from is not None and own.at < item.judged_from:
        return "done", "measured; not judged: the whole effect is not there yet"
    if item.kind == "level":
        return "done", "measured; a level is judged by its twin, which knows when the doses were given"
    if expected.low <= own.value.value <= expected.high:
        return "done", "as expected"
    side = "below" if own.value.value < expected.low else "above"
    return "out of expectation", f"{side} what one reading is expected to show"


def learned_from(
    states: Iterable[FollowUpState], option: Option, *, knowledge: Knowledge, indication: str, ledger: Ledger
) -> tuple[Learned, ...]:
    """What the newest judged reading of each measure says of the patient's own level under the plan.

    The expected level (its interval holds what is not known of the effect, and the published spread between patients)
    is combined with the reading, whose variation is published, as normal distributions. Without a published spread
    between patients, or without the variation of a reading, nothing is learned and that is said.
    """
    measures = {m.key: m for m in knowledge.indication(indication).measures}
    effects = {e.measure: e for e in option.effects}
    newest: dict[str, tuple[Answered, FollowUpItem]] = {}
    for state in states:
        for answer in state.answered:
            known = newest.get(answer.key)
            if answer.key in effects and state.item.due is not None and (known is None or answer.at > known[0].at):
                newest[answer.key] = (answer, state.item)
    return tuple(
        _learned(measures[key], effects[key], *newest[key], knowledge=knowledge, ledger=ledger)
        for key in sorted(newest)
    )


def _learned(
    measure: Measure, effect: Effect, reading: Answered, item: FollowUpItem, *, knowledge: Knowledge, ledger: Ledger
) -> Learned:
    before, why = effect.expected, ""
    if measure.spread_sd is None:
        why = "no spread between patients is published on file"
    elif measure.reading_sd is None:
        why = "the variation of one reading is not published on file"
    elif before is None or ucum(reading.value.unit) != ucum(before.unit):
        why = "no level was expected in this unit"
    elif item.judged_from is None or reading.at < item.judged_from:
        why = "the whole effect is not there yet"
    if why or before is None or measure.reading_sd is None:
        text = f"nothing was learned from this reading: {why}; the advice is made again from the new value"
        key = ledger.add("derived", f"{measure.name}: {text}", because=reading.value.because)
        return Learned(
            measure=measure.key, name=measure.name, reading=reading.value, before=before, text=text, because=(key,)
        )
    noise = cited_leaf(
        ledger, knowledge, f"SD of an observed change of {measure.name}: {measure.reading_sd:g} {measure.unit}",
        source=measure.spread_source, status=measure.spread_status or "to verify",
    )  # fmt: skip
    after = _combined(before, reading.value.value, measure.reading_sd)
    text = (
        f"expected {measure.name} under the plan moved from {before.value:.4g} to {after[1]:.4g} {measure.unit}: "
        "one reading says little"
    )
    key = ledger.add(
        "derived", f"{text} (both as normal distributions)", because=[*before.because, *reading.value.because, noise]
    )
    moved = Estimate(
        value=after[1], low=after[0], high=after[2], unit=before.unit, level=before.level, because=(key,)
    )  # fmt: skip
    return Learned(
        measure=measure.key, name=measure.name, reading=reading.value, before=before, after=moved, text=text,
        because=(key,),
    )  # fmt: skip


def _combined(before: Estimate, reading: float, noise: float) -> tuple[float, float, float]:
    """Low, middle and high of the level after a reading with this SD."""
    z = NormalDist().inv_cdf((1 + before.level) / 2)
    spread = max((before.high - before.low) / (2 * z), 1e-9)
    weight = spread**2 / (spread**2 + noise**2)
    middle = before.value + weight * (reading - before.value)
    half = z * spread * (1 - weight) ** 0.5
    return rounded(middle - half), rounded(middle), rounded(middle + half)
