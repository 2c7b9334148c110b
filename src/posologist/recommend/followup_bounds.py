"""Laboratory values under an accepted plan against the bounds on file: as expected, out of expectation, not judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date

from posologist.core.evidence import Ledger
from posologist.core.followup import Answered, Asked, Bound, Judged, Verdict
from posologist.core.patient import Observation
from posologist.core.units import ucum
from posologist.core.values import EvidenceKey, Quantity, rounded
from posologist.knowledge.courses import FollowUpFacts, LaboratoryBound


def bounds_for(
    parts: Iterable[Asked], *, groups: Collection[str], indication: str, facts: FollowUpFacts, ledger: Ledger
) -> tuple[Bound, ...]:
    """Bounds on file of what is asked for, under a plan of these drugs and groups."""
    keys = dict.fromkeys(key for part in parts for key in part.keys)
    return tuple(
        _bound(held, facts.cited(ledger, held))
        for key in keys
        for held in facts.bounds_of(key, groups=groups, indication=indication)
    )


def _bound(held: LaboratoryBound, key: EvidenceKey) -> Bound:
    def quantity(value: float | None, unit: str) -> Quantity | None:
        return None if value is None else Quantity(value=value, unit=unit, because=(key,))

    low, high, below = (quantity(value, held.unit) for value in (held.low, held.high, held.below))
    rise, fall = (quantity(value, "%") for value in (held.rise_percent, held.fall_percent))
    text = _words(low, high, below, rise, fall) + (" (still to verify)" if held.status == "to verify" else "")
    return Bound(key=held.key, text=text, low=low, high=high, below=below, rise=rise, fall=fall, because=(key,))


def _words(
    low: Quantity | None, high: Quantity | None, below: Quantity | None, rise: Quantity | None, fall: Quantity | None
) -> str:
    named = (("at least", low), ("at most", high), ("below", below), ("a rise of at most", rise),
             ("a fall of at most", fall))  # fmt: skip
    return " and ".join(f"{word} {bound.value:g} {bound.unit}" for word, bound in named if bound is not None)


def judged(
    answer: Answered, bounds: Sequence[Bound], seen: Iterable[Observation], *, started_on: date, ledger: Ledger
) -> tuple[Judged, ...]:
    """How one result stands to the bounds of its kind; one that was measured before the plan is held against none.

    Where it is outside of one bound, that it keeps another is not told.

    Parameters
    ----------
    seen
        Results of the record, for the value from before the plan.
    """
    own = [bound for bound in bounds if bound.key == answer.key]
    name = answer.key.replace("_", " ")
    if answer.at <= started_on:
        return ()
    if not own:
        text = f"{name}: no bound on file, so it is not judged"
        return (Judged(key=answer.key, verdict="not judged", text=text, because=answer.value.because),)
    before = _before(answer, seen, started_on, ledger)
    told = [_against(answer, name, bound, before, ledger) for bound in own]
    outside = any(one.verdict == "out of expectation" for one in told)
    return tuple(one for one in told if not (outside and one.verdict == "as expected"))


def _before(answer: Answered, seen: Iterable[Observation], started_on: date, ledger: Ledger) -> Quantity | None:
    """The newest value of the same kind and unit from before the plan or its first day."""
    own = [
        o for o in seen
        if o.key == answer.key and o.value is not None and o.at is not None and o.at.date() <= started_on
        and ucum(o.unit) == ucum(answer.value.unit)
    ]  # fmt: skip
    if not own:
        return None
    newest = max(own, key=lambda o: (str(o.at), o.value or 0.0, str(o.source)))
    assert newest.value is not None
    text = f"{answer.key}: {newest.value:g} {newest.unit} on {newest.at:%Y-%m-%d}, before the plan"
    key = ledger.add("patient", text, source=str(newest.source))
    return Quantity(value=newest.value, unit=newest.unit, because=(key,))


def _against(answer: Answered, name: str, bound: Bound, before: Quantity | None, ledger: Ledger) -> Judged:
    value, because = answer.value.value, (*answer.value.because, *bound.because)
    absolute = [limit for limit in (bound.low, bound.high, bound.below) if limit is not None]
    if any(ucum(limit.unit) != ucum(answer.value.unit) for limit in absolute):
        text = f"{name}: not judged, its unit is not that of the bound ({bound.text})"
        return Judged(key=bound.key, verdict="not judged", text=text, because=because)
    relative = bound.rise is not None or bound.fall is not None
    if relative and (before is None or before.value <= 0):
        text = f"{name}: not judged, no value from before the plan to compare with ({bound.text})"
        return Judged(key=bound.key, verdict="not judged", text=text, because=because)
    change, told = 0.0, ""
    if relative and before is not None:
        change = rounded(100.0 * (value - before.value) / before.value)
        told = f"; {change:+.0f} % against {before.value:g} {before.unit} before the plan"
        because = (*because, ledger.add("derived", f"{name}{told}", because=(*answer.value.because, *before.because)))
    outside = (
        (bound.low is not None and value < bound.low.value)
        or (bound.high is not None and value > bound.high.value)
        or (bound.below is not None and value >= bound.below.value)
        or (bound.rise is not None and change > bound.rise.value)
        or (bound.fall is not None and -change > bound.fall.value)
    )
    verdict: Verdict = "out of expectation" if outside else "as expected"
    text = f"{name}: {verdict}, which is {bound.text}{told}"
    return Judged(key=bound.key, verdict=verdict, text=text, because=tuple(dict.fromkeys(because)))
