"""A twin as it is stored: what happened, and with what the rest is computed again. No result is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posologist.core.genotype import Versions
from posologist.core.values import Count, DrugId, Many, Value


class TwinEvent(Value):
    """A dose, a level or a change of covariates, `time_h` hours after the twin's origin.

    Amounts and values are in the model's units; `rate` (amount per h) is 0 for a dose at once. `limit` is what a
    censored level lies below. `covariates` hold from here on. `where` is the place in the input.
    """

    kind: Literal["dose", "level", "change"]
    time_h: float
    amount: float = Field(default=0.0, ge=0)
    rate: float = Field(default=0.0, ge=0)
    compartment: Count = 0
    value: float | None = None
    limit: float | None = None
    covariates: dict[str, float] = {}
    where: str = ""


class TwinRecord(Value):
    """Document `posologist/twin/1`: from it the same twin is computed again, on the same version of the model.

    `model_digest` is of the model's whole content; `origin` is the time (ISO 8601, UTC) from which hours count.
    """

    schema_: Literal["posologist/twin/1"] = Field(default="posologist/twin/1", alias="schema")
    drug: DrugId
    model: str
    model_version: str
    model_digest: str
    patient: str
    origin: str | None
    events: Many[TwinEvent]
    present: dict[str, float]
    draws: Count
    weighted: Count
    seed: str
    versions: Versions
