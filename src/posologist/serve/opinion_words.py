"""Opinions in words, for the table, the report and the page: published scores first, the learned model beside them."""

from __future__ import annotations

from typing import NamedTuple

from posologist.core.prediction import Prediction
from posologist.core.recommendation import LearnedShift, Opinion, PublishedScore
from posologist.core.values import EvidenceKey
from posologist.serve.charts import number
from posologist.serve.words import estimate, quantity

_PARTS = 6  # contributions that are told; the others are in the document


class Said(NamedTuple):
    """One line of an opinion: what it is, what it says, and why."""

    what: str
    says: str
    because: tuple[EvidenceKey, ...] = ()


def said_of(opinion: Opinion) -> tuple[Said, ...]:
    """The lines of an opinion."""
    lines = [line for score in opinion.published for line in _of_score(score)]
    lines += [Said("Rule", rule.text, rule.because) for rule in opinion.rules]
    if opinion.moves is not None:
        lines += _of_shift(opinion.moves)
    if opinion.model is not None:
        lines += _of_model(opinion.model)
    elif opinion.lacking:
        lines.append(Said("Model not asked", f"the record lacks {', '.join(opinion.lacking)}"))
    elif opinion.unasked:
        lines.append(Said("Model not asked", opinion.unasked))
    if opinion.parts:
        told = "; ".join(f"{part.name} {number(part.weight.value)}" for part in opinion.parts)
        lines.append(Said("Weights of the model's parts", told, opinion.parts[0].weight.because))
    return tuple(lines)


def _of_score(score: PublishedScore) -> list[Said]:
    """A published score, and what it counts: scores that count other events are not the same risk."""
    lines = [Said(score.text, quantity(score.quantity), score.quantity.because)]
    return [*lines, Said("", score.note)] if score.note else lines


def _of_shift(moves: LearnedShift) -> list[Said]:
    """The published effect or harm, and how far and with which weight it was moved."""
    how = f"weight {number(moves.weight.value)}, at most {quantity(moves.limit)}"
    if moves.kind == "harm":
        how += ", no share below zero"
    return [
        Said(f"Published {moves.kind}", quantity(moves.published), moves.published.because),
        Said("Moved by", f"{estimate(moves.shift)} (learned from {moves.label}; {how})", moves.because),
    ]


def _of_model(prediction: Prediction) -> list[Said]:
    name = f"Learned model {prediction.model} ({prediction.label})"
    if prediction.estimate is None:
        far = "; ".join(each.text for each in prediction.coverage.far)
        return [Said(name, f"gives no answer: the patient lies outside its training population ({far})",
                     prediction.because)]  # fmt: skip
    lines = [
        Said(name, estimate(prediction.estimate), prediction.estimate.because),
        Said("Population match", _match(prediction), prediction.coverage.because),
        *(Said("Input not used", remark.text, remark.because) for remark in prediction.remarks),
    ]
    return lines + _contributions(prediction)


def _match(prediction: Prediction) -> str:
    coverage = prediction.coverage
    unusual = "; unusual: " + "; ".join(each.text for each in coverage.far) if coverage.far else ""
    return f"a share of {number(coverage.nearer)} of its training patients lies nearer to their centre{unusual}"


def _contributions(prediction: Prediction) -> list[Said]:
    apart = prediction.contributions
    if apart is None:
        return []
    parts = [f"{part.text} {'+' if part.value >= 0 else '−'}{number(abs(part.value))}" for part in apart.parts[:_PARTS]]
    more = f"; {len(apart.parts) - _PARTS} smaller ones" if len(apart.parts) > _PARTS else ""
    told = f"{number(apart.base)} for a typical patient; {'; '.join(parts)}{more}: {number(apart.output)}"
    return [Said("", f"{prediction.explained}: {told}", apart.because)]
