"""What comes out of `fit`. CONTRACT of other programs; only ever extended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posologist.core.evidence import Evidence
from posologist.core.genotype import Versions
from posologist.core.values import Because, Count, Many, Value

FitNumber = Annotated[float, Field(json_schema_extra={"number": "fit"})]
"""A number of a fit: its unit is the model's, its evidence that of the subject."""


class SubjectFit(Value):
    """One subject's most probable parameters.

    `objective` is sum((y - f)^2 / var + ln var) + eta' Omega^-1 eta, smaller is better. `predictions` are in the order
    of the subject's observations, each in the model's unit of what it measures.
    """

    eta: dict[str, FitNumber]
    parameters: dict[str, FitNumber]
    objective: FitNumber | None
    converged: bool
    iterations: Count
    predictions: Many[FitNumber]
    findings: Many[str] = ()
    because: Because


class FitDocument(Value):
    """Document `posologist/fit/1`: one fit for each subject of an event table."""

    schema_: Literal["posologist/fit/1"] = Field(default="posologist/fit/1", alias="schema")
    model: str
    subjects: dict[str, SubjectFit]
    findings: Many[str] = ()
    evidence: dict[str, Evidence]
    versions: Versions
