"""What a learned model of the response or of the symptoms says of the plans that are shown, and what it moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from posologist.core.prediction import Prediction
from posologist.core.recommendation import LearnedShift, ModelPart, Opinion, Reason
from posologist.core.values import DrugId, Estimate, EvidenceKey, Quantity, rounded
from posologist.recommend.assess import dosed_plan, dosed_present
from posologist.recommend.case import Assessed, Case, Outcome
from posologist.recommend.effects import Dosed, Scale, Shift
from posologist.recommend.learned_effect import Answer, Learned
from posologist.recommend.learned_figures import FIGURES


class Asked(NamedTuple):
    """One drug beside the medicines of a shown plan, what the model says, and whether a plan starts it.

    `explained`: the leading plan starts it, so that the model's own parts are told too.
    """

    dosed: Dosed
    medicines: tuple[DrugId, ...]
    answer: Answer
    started: bool
    explained: bool


class Published(NamedTuple):
    """A figure of one drug as published, why, and what a learned model adds to it."""

    value: float
    because: tuple[EvidenceKey, ...]
    shift: Shift | None


def opinions_on_plans(
    learned: Learned, scale: Scale | None, plans: Sequence[tuple[Assessed, Outcome]]
) -> tuple[Opinion, ...]:
    """An opinion for each drug that a shown plan starts, and for each other one whose shift moved it.

    The model's own parts are told of those that the leading plan starts.
    """
    if learned.refused:
        return (_unasked(learned, learned.refused),)
    if scale is None:
        return ()
    asked = _asked(learned, scale, plans)
    lacking = next((each.answer.lacking for each in asked if each.answer.lacking), ())
    if lacking:
        return (_unasked(learned, "the record lacks inputs", lacking),)
    rows = [each.answer.row for each in asked if each.explained and each.answer.row is not None]
    told = iter(learned.served.predict(rows, ledger=learned.case.ledger))
    return tuple(
        _opinion(learned, scale, each, next(told) if each.explained and each.answer.row is not None else None)
        for each in asked
    )


def learned_reasons(case: Case, outcome: Outcome) -> tuple[Reason, ...]:
    """What of a plan's utility was learned, and from whom."""
    found = []
    for figure in FIGURES:
        parts = [part for part in outcome.parts if part.feature.startswith(figure.part)]
        if parts:
            names = ", ".join(case.knowledge.drugs[DrugId(p.feature.removeprefix(figure.part))].name for p in parts)
            text = f"a model learned from {outcome.learned[figure.key]} moved {figure.reason} {names}, within its limit"
            found.append(Reason(text=text, because=tuple(dict.fromkeys(key for part in parts for key in part.because))))
    return tuple(found)


def _asked(learned: Learned, scale: Scale, plans: Iterable[tuple[Assessed, Outcome]]) -> list[Asked]:
    """The drugs that are told, each once for the same question; those first that are started."""
    case, prefix = learned.case, learned.figure.part
    present = dosed_present(case, scale)
    found: dict[tuple[object, ...], Asked] = {}
    for place, (plan, outcome) in enumerate(plans):
        moved = {part.feature for part in outcome.parts if part.feature.startswith(prefix)}
        after = dosed_plan(case, scale, plan.proposal, plan.regimens)
        for drugs in (after, present):
            medicines = tuple(d.drug for d in drugs)
            for dosed in drugs:
                started = dosed not in present
                if started or f"{prefix}{dosed.drug}" in moved:
                    answer = _answer(learned, scale, dosed, medicines)
                    question = (dosed, answer.why if answer.row is None else answer.row.values)
                    explained = started and place == 0
                    found.setdefault(question, Asked(dosed, medicines, answer, started, explained))
    return sorted(found.values(), key=lambda each: not each.started)


def _answer(learned: Learned, scale: Scale, dosed: Dosed, medicines: tuple[DrugId, ...]) -> Answer:
    """What the model says of a drug; nothing where nothing is published that it could move."""
    if _published(learned, scale, dosed, medicines) is None:
        name = learned.case.knowledge.drugs[dosed.drug].name
        return Answer(None, why=learned.figure.nothing.format(drug=name))
    return learned.answer(dosed, medicines)


def _published(learned: Learned, scale: Scale, dosed: Dosed, medicines: tuple[DrugId, ...]) -> Published | None:
    """The figure of a drug as published, its evidence and its shift; None where none is published."""
    key = learned.figure.key
    if learned.figure.kind == "harm":
        harm = next((each for each in scale.harms(dosed, medicines) if each.event == key), None)
        return None if harm is None else Published(harm.percent, harm.because, harm.shift)
    effect = scale.effect(dosed, medicines)
    if effect is None or key not in effect.centre:
        return None
    return Published(effect.centre[key], effect.because, effect.shift)


def _unasked(learned: Learned, why: str, lacking: tuple[str, ...] = ()) -> Opinion:
    outcome = f"{learned.figure.unmoved}, not moved by a model learned from {learned.label}"
    return Opinion(task=learned.figure.task, outcome=outcome, unasked=why, lacking=lacking, parts=_parts(learned))


def _opinion(learned: Learned, scale: Scale, asked: Asked, prediction: Prediction | None) -> Opinion:
    name = learned.case.knowledge.drugs[asked.dosed.drug].name
    return Opinion(
        task=learned.figure.task,
        outcome=f"{learned.figure.outcome.format(drug=name)} (learned from {learned.label})",
        model=prediction,
        unasked="" if asked.answer.change is not None or prediction is not None else asked.answer.why,
        drug=asked.dosed.drug,
        moves=_moves(learned, scale, asked),
        parts=_parts(learned),
    )


def _moves(learned: Learned, scale: Scale, asked: Asked) -> LearnedShift | None:
    dosed, figure = asked.dosed, learned.figure
    published = _published(learned, scale, dosed, asked.medicines)
    if published is None or published.shift is None:
        return None
    because = published.shift.because()
    return LearnedShift(
        drug=dosed.drug,
        label=learned.label,
        kind=figure.kind,
        measure=figure.key,
        amount=None if dosed.amount is None else Quantity(value=dosed.amount, unit="mg/day", because=because),
        published=Quantity(value=rounded(published.value), unit=figure.unit, because=published.because),
        weight=Quantity(value=learned.weight, unit="1", because=(learned.weight_key,)),
        limit=Quantity(value=learned.ceiling.shift, unit=figure.unit, because=(learned.limit_key,)),
        shift=_estimate(learned, published.shift, asked.answer, because),
        because=because,
    )


def _estimate(learned: Learned, shift: Shift, answer: Answer, because: tuple[EvidenceKey, ...]) -> Estimate:
    assert answer.change is not None  # without it nothing is moved
    low, high = (rounded(shift.value + learned.weight * (e - answer.change)) for e in (answer.low, answer.high))
    return Estimate(
        value=shift.value, unit=learned.figure.unit, low=low, high=high,
        level=learned.served.manifest.interval.level, because=because,
    )  # fmt: skip


def _parts(learned: Learned) -> tuple[ModelPart, ...]:
    held = learned.served.manifest
    total = sum(held.weights)
    return tuple(
        ModelPart(name=name, weight=Quantity(value=rounded(weight / total), unit="1", because=(learned.model,)))
        for name, weight in zip(held.components, held.weights, strict=True)
    )
