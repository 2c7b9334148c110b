"""What the learned model of the pressure's response says of the plans that are shown, and what it moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from posologist.core.prediction import Prediction
from posologist.core.recommendation import LearnedShift, ModelPart, Opinion, Reason
from posologist.core.values import DrugId, Estimate, EvidenceKey, Quantity, rounded
from posologist.learn.tasks import pressure
from posologist.recommend.assess import dosed_plan, dosed_present
from posologist.recommend.case import Assessed, Case, Outcome
from posologist.recommend.effects import Dosed, Scale, Shift
from posologist.recommend.learned_effect import MEASURE, UNIT, Answer, Learned

LEARNED = "learned:"  # features of the parts that a shift added to a utility


class Asked(NamedTuple):
    """One drug beside the medicines of a shown plan, what the model says, and whether a plan starts it."""

    dosed: Dosed
    medicines: tuple[DrugId, ...]
    answer: Answer
    started: bool


def opinions_on_plans(
    learned: Learned, scale: Scale | None, plans: Sequence[tuple[Assessed, Outcome]]
) -> tuple[Opinion, ...]:
    """An opinion for each drug that a shown plan starts, and for each other one whose shift moved it.

    The model's own parts are told of the started ones.
    """
    if learned.refused:
        return (_unasked(learned, learned.refused),)
    if scale is None:
        return ()
    asked = _asked(learned, scale, plans)
    lacking = next((each.answer.lacking for each in asked if each.answer.lacking), ())
    if lacking:
        return (_unasked(learned, "the record lacks inputs", lacking),)
    rows = [each.answer.row for each in asked if each.started and each.answer.row is not None]
    told = iter(learned.served.predict(rows, ledger=learned.case.ledger))
    return tuple(
        _opinion(learned, scale, each, next(told) if each.started and each.answer.row is not None else None)
        for each in asked
    )


def learned_reasons(case: Case, outcome: Outcome) -> tuple[Reason, ...]:
    """What of a plan's utility was learned, and from whom."""
    parts = [part for part in outcome.parts if part.feature.startswith(LEARNED)]
    names = ", ".join(case.knowledge.drugs[DrugId(part.feature.removeprefix(LEARNED))].name for part in parts)
    if not parts:
        return ()
    labels = " and ".join(dict.fromkeys(outcome.learned))
    text = f"a model learned from {labels} moved the expected effect of {names}, within its limit"
    return (Reason(text=text, because=tuple(dict.fromkeys(key for part in parts for key in part.because))),)


def _asked(learned: Learned, scale: Scale, plans: Iterable[tuple[Assessed, Outcome]]) -> list[Asked]:
    """The drugs that are told, each once for the same question; those first that are started."""
    case = learned.case
    present = dosed_present(case, scale)
    found: dict[tuple[object, ...], Asked] = {}
    for plan, outcome in plans:
        moved = {part.feature for part in outcome.parts if part.feature.startswith(LEARNED)}
        after = dosed_plan(case, scale, plan.proposal, plan.regimens)
        for drugs in (after, present):
            medicines = tuple(d.drug for d in drugs)
            for dosed in drugs:
                started = dosed not in present
                if started or f"{LEARNED}{dosed.drug}" in moved:
                    answer = learned.answer(dosed, medicines)
                    question = (dosed, answer.why if answer.row is None else answer.row.values)
                    found.setdefault(question, Asked(dosed, medicines, answer, started))
    return sorted(found.values(), key=lambda each: not each.started)


def _unasked(learned: Learned, why: str, lacking: tuple[str, ...] = ()) -> Opinion:
    outcome = f"published effects on systolic pressure, not moved by a model learned from {learned.label}"
    return Opinion(task=pressure.TASK, outcome=outcome, unasked=why, lacking=lacking, parts=_parts(learned))


def _opinion(learned: Learned, scale: Scale, asked: Asked, prediction: Prediction | None) -> Opinion:
    name = learned.case.knowledge.drugs[asked.dosed.drug].name
    return Opinion(
        task=pressure.TASK,
        outcome=f"fall of systolic pressure by {name} beyond its published effect (learned from {learned.label})",
        model=prediction,
        unasked="" if asked.answer.change is not None or prediction is not None else asked.answer.why,
        drug=asked.dosed.drug,
        moves=_moves(learned, scale, asked),
        parts=_parts(learned),
    )


def _moves(learned: Learned, scale: Scale, asked: Asked) -> LearnedShift | None:
    dosed = asked.dosed
    effect = scale.effect(dosed, asked.medicines)
    if effect is None or effect.shift is None:
        return None
    because = effect.shift.because()
    return LearnedShift(
        drug=dosed.drug,
        label=learned.label,
        measure=MEASURE,
        amount=None if dosed.amount is None else Quantity(value=dosed.amount, unit="mg/day", because=because),
        published=Quantity(value=rounded(effect.centre[MEASURE]), unit=UNIT, because=effect.because),
        weight=Quantity(value=learned.weight, unit="1", because=(learned.weight_key,)),
        limit=Quantity(value=learned.ceiling.shift, unit=UNIT, because=(learned.limit_key,)),
        shift=_estimate(learned, effect.shift, asked.answer, because),
        because=because,
    )


def _estimate(learned: Learned, shift: Shift, answer: Answer, because: tuple[EvidenceKey, ...]) -> Estimate:
    assert answer.change is not None  # without it nothing is moved
    below, above = (learned.weight * (edge - answer.change) for edge in (answer.low, answer.high))
    return Estimate(
        value=shift.value, unit=UNIT, low=rounded(shift.value + below), high=rounded(shift.value + above),
        level=learned.served.manifest.interval.level, because=because,
    )  # fmt: skip


def _parts(learned: Learned) -> tuple[ModelPart, ...]:
    held = learned.served.manifest
    total = sum(held.weights)
    return tuple(
        ModelPart(name=name, weight=Quantity(value=rounded(weight / total), unit="1", because=(learned.model,)))
        for name, weight in zip(held.components, held.weights, strict=True)
    )
