"""The base of every value, and the four kinds of number that may be shown.

A number shown to a person is an `Estimate`, a `Quantity`, a `Series` or `Contributions` and knows why:
`because` holds keys of the document's `evidence`. What is neither (a rank, a count, a version, a setting, a
probability inside a table of candidates) is declared `Count`, `Version` or `Setting` in its field.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NewType, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(strict=False)]

DrugId = NewType("DrugId", str)
GeneSymbol = NewType("GeneSymbol", str)
CitationKey = NewType("CitationKey", str)
EvidenceKey = NewType("EvidenceKey", str)

Because = Annotated[tuple[EvidenceKey, ...], Field(strict=False, min_length=1)]

Count = Annotated[int, Field(json_schema_extra={"number": "count"})]
SettingNumber = Annotated[float, Field(json_schema_extra={"number": "setting"})]

Status = Literal["verified", "secondary", "to verify"]
"""verified: read in a label, guideline or paper. secondary: read in a page that restates one. to verify: recalled."""


class Value(BaseModel):
    """A frozen, strict value without unknown fields and without NaN."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Quantity(Value):
    """A fact with its unit; no interval is invented for it."""

    value: float
    unit: str
    because: Because


class Estimate(Value):
    """A model's output: value between `low` and `high`, an interval of probability `level`."""

    value: float
    unit: str
    low: float
    high: float
    level: float = Field(gt=0, lt=1)
    because: Because

    @model_validator(mode="after")
    def _ordered(self) -> Estimate:
        slack = 1e-9 * max(1.0, abs(self.value))
        if not self.low - slack <= self.value <= self.high + slack:
            raise ValueError(f"interval {self.low} to {self.high} does not hold the value {self.value}")
        return self


class Series(Value):
    """A curve: equal-length arrays in one unit over `x` (`x_unit`), with an optional band."""

    unit: str
    because: Because
    x_unit: str = "h"
    x: Many[float]
    y: Many[float]
    low: Many[float] = ()
    high: Many[float] = ()
    level: float | None = None

    @model_validator(mode="after")
    def _equal_lengths(self) -> Series:
        lengths = {len(self.x), len(self.y)} | {len(band) for band in (self.low, self.high) if band}
        if len(lengths) != 1:
            raise ValueError("a series needs arrays of equal length")
        return self


class Contribution(Value):
    """One additive part of an output, in clinical words."""

    feature: str
    text: str
    value: float
    because: Because


class Contributions(Value):
    """Additive explanation: base + parts + rest = output, within 1e-6."""

    base: float
    output: float
    rest: float
    unit: str = ""
    parts: Many[Contribution]
    because: Because

    @model_validator(mode="after")
    def _adds_up(self) -> Contributions:
        total = self.base + math.fsum(part.value for part in self.parts) + self.rest
        if abs(total - self.output) > 1e-6:
            raise ValueError(f"contributions add up to {total}, not to {self.output}")
        return self


def rounded(value: float, digits: int = 6) -> float:
    """Value to `digits` significant digits, so that ranking does not depend on the last bit."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def dump(value: BaseModel) -> dict[str, Any]:
    """JSON-ready dictionary of a document."""
    return value.model_dump(mode="json")
