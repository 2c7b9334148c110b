"""Published scores and formulas, computed for a patient from their files in `knowledge/data/scores/`.

A score is a formula over facts (`age`, `creatinine` in mg/dL, `total_cholesterol` in mg/dL, `weight` in kg,
`height` in cm, ...) with a range in which its authors hold it valid. What is not known is not replaced: without a
fact that matters there is no value, and the missing names are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ConfigDict

from posologist.core.errors import KnowledgeError
from posologist.core.indication import Score, ScoreExample
from posologist.core.values import Value
from posologist.knowledge.expression import UNKNOWN, Expression, Scalar, Subject, expression


class ScoreResult(Value):
    """What a score says for one patient.

    Attributes
    ----------
    value
        Result in `unit` (an array where a fact was an array), or None where a fact is missing or the arithmetic
        leaves its domain.
    valid
        Whether the patient lies in the range for which the score was published; None where that is unknown.
        A value outside the range is still told, and must not be used without saying so.
    missing
        Facts that were asked for and are not known.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True)

    value: Any = None
    unit: str
    valid: bool | None
    missing: tuple[str, ...] = ()


class Given:
    """Subject made of plain facts, as worked examples print them.

    Keys are fact names (`age`) or questions as the language writes them (`dx(diabetes)`, `on(statin)`).
    A question that is not among the keys is unknown.
    """

    def __init__(self, facts: Mapping[str, Scalar]) -> None:
        self._facts = facts

    def fact(self, name: str) -> Scalar:
        """The given value, or UNKNOWN."""
        value = self._facts.get(name)
        return UNKNOWN if value is None else value

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """The given answer, or UNKNOWN."""
        return self.fact(f"{function}({', '.join(map(str, arguments))})")


class _Steps:
    """The patient's facts together with the results of the steps so far; remembers what was missing."""

    def __init__(self, score: Score, subject: Subject) -> None:
        self._subject = subject
        self._known: dict[str, Scalar] = dict(score.constants)
        self.missing: list[str] = []

    def fact(self, name: str) -> Scalar:
        if name in self._known:
            return self._known[name]
        value = self._subject.fact(name)
        return self._noted(name, value)

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        value = self._subject.query(function, arguments)
        return self._noted(f"{function}({', '.join(map(str, arguments))})", value)

    def define(self, name: str, value: Scalar) -> None:
        self._known[name] = value

    def _noted(self, name: str, value: Scalar) -> Scalar:
        if value is UNKNOWN:
            self.missing.append(name)
        return value


def compute(score: Score, subject: Subject) -> ScoreResult:
    """Value of a score for a subject, in the score's unit, with its validity and the facts that are missing.

    Facts may be NumPy arrays where the score's formula compares none of them (the continuous formulas do not):
    the value is then an array of their common shape.

    Parameters
    ----------
    score
        As read from its file.
    subject
        Answers facts and questions; see `posologist.knowledge.expression`.

    Raises
    ------
    KnowledgeError
        If the score's text is not in the language of expressions.
    """
    valid = expression(score.valid).match(subject)
    facts = _Steps(score, subject)
    with np.errstate(all="ignore"):
        for name, step in steps_of(score):
            facts.define(name, step.value(facts))
        result = expression(score.formula).value(facts)
    missing = tuple(dict.fromkeys((*facts.missing, *valid.missing)))
    return ScoreResult(value=_number(result), unit=score.unit, valid=valid.truth, missing=missing)


def steps_of(score: Score) -> tuple[tuple[str, Expression], ...]:
    """Intermediate results of a score as (name, expression), in order.

    Raises
    ------
    KnowledgeError
        If a step does not read `name = expression`.
    """
    found = []
    for step in score.steps:
        name, equals, text = step.partition("=")
        if not equals or not name.strip().isidentifier() or text.startswith("="):
            raise KnowledgeError(f"step '{step}' does not read 'name = expression'", where=f"score {score.id}")
        found.append((name.strip(), expression(text.strip())))
    return tuple(found)


def example_error(score: Score, example: ScoreExample) -> str | None:
    """What is wrong when a worked example is recomputed, or None where it agrees within its tolerance."""
    result = compute(score, Given(example.given))
    if result.value is None:
        return f"{score.id}: no value for {example.given}; missing {', '.join(result.missing) or 'nothing'}"
    if abs(float(result.value) - example.expect) > example.tolerance:
        return f"{score.id}: {result.value:g} for {example.given}, published {example.expect:g}"
    return None


def _number(result: Scalar) -> Any:
    if result is UNKNOWN:
        return None
    if isinstance(result, np.ndarray) and result.ndim:
        return result
    number = float(result)
    return number if np.isfinite(number) else None
