"""The founding case: where its published outcome falls in what each plan was expected to reach.

The case was published with its outcome: on enalapril the pressure was 130 to 135 over 80 to 85 mmHg two months later.
Nothing here moves a recommendation; the comparison is made afterwards and told as it is.
"""

from __future__ import annotations

from typing import Literal

from posologist.core.evidence import Evidence, Ledger
from posologist.core.recommendation import Effect, Option, Recommendation
from posologist.core.values import Because, Count, Estimate, EvidenceKey, Many, Quantity, Value

SOURCE = "published report of the founding case"
Place = Literal["inside", "partly inside", "below", "above"]

_PUBLISHED = {
    "sbp": (130.0, 135.0, "130 to 135 mmHg systolic after two months on enalapril"),
    "dbp": (80.0, 85.0, "80 to 85 mmHg diastolic after two months on enalapril"),
}


class Comparison(Value):
    """One measure of one plan: the predicted interval, the published range, and where the range lies in it.

    `rank` 0 is the present plan. `predicted` is of the mean that is expected; `reading` of a single reading on top of
    that, where it is given.
    """

    rank: Count
    measure: str
    name: str
    predicted: Estimate
    place: Place
    reading: Estimate | None = None
    reading_place: Place | None = None
    published_low: Quantity
    published_high: Quantity
    because: Because


class FoundingComparison(Value):
    """Every plan of the founding case against the published outcome."""

    comparisons: Many[Comparison]
    evidence: dict[str, Evidence]


def compare_with_published(document: Recommendation) -> FoundingComparison:
    """Where the published outcome falls in the predicted interval of each option, and of changing nothing."""
    ledger = Ledger()
    ledger.merge({EvidenceKey(key): entry for key, entry in document.evidence.items()})
    plans = [*document.options, *([document.yardstick] if document.yardstick is not None else [])]
    found = [
        comparison
        for plan in plans
        for effect in plan.effects
        if effect.measure in _PUBLISHED and (comparison := _compared(plan, effect, ledger)) is not None
    ]
    keys = [key for c in found for key in (*c.because, *c.predicted.because, *(c.reading.because if c.reading else ()))]
    return FoundingComparison(comparisons=tuple(found), evidence=ledger.reachable(keys))


def _compared(option: Option, effect: Effect, ledger: Ledger) -> Comparison | None:
    if effect.expected is None:
        return None
    low, high, text = _PUBLISHED[effect.measure]
    key = ledger.add("knowledge", text, source=SOURCE, status="secondary")
    return Comparison(
        rank=option.rank,
        measure=effect.measure,
        name=effect.name,
        predicted=effect.expected,
        place=place(effect.expected, low, high),
        reading=effect.reading,
        reading_place=None if effect.reading is None else place(effect.reading, low, high),
        published_low=Quantity(value=low, unit="mmHg", because=(key,)),
        published_high=Quantity(value=high, unit="mmHg", because=(key,)),
        because=(key,),
    )


def place(predicted: Estimate, low: float, high: float) -> Place:
    """Where a published range lies in a predicted interval: inside, partly inside, wholly below, wholly above."""
    if high < predicted.low:
        return "below"
    if low > predicted.high:
        return "above"
    return "inside" if predicted.low <= low and high <= predicted.high else "partly inside"
