"""Regimen: what is given. Canonical units: mg, h, mg/L, L/h, L, kg."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posologist.core.values import DrugId, Many, Value


class DoseEvent(Value):
    """One administration: `amount_mg` at `time_h` after the origin; `duration_h` > 0 for an infusion."""

    time_h: float
    amount_mg: float = Field(ge=0)
    route: str = "oral"
    duration_h: float = Field(default=0.0, ge=0)
    drug: DrugId | None = None


class ProductCount(Value):
    """How many units of which product make one dose."""

    form: str
    strength: float
    unit: str
    count: float


class Regimen(Value):
    """A constant dose every interval. `dose` is in `unit` (mg, mcg, g, units); `dose_mg` in mg where it is a mass."""

    drug: DrugId
    dose: float = Field(gt=0)
    unit: str = "mg"
    interval_h: float = Field(gt=0)
    route: str = "oral"
    form: str = ""
    release: Literal["", "immediate", "extended"] = ""
    duration_h: float = Field(default=0.0, ge=0)
    loading: float | None = None
    products: Many[ProductCount] = ()
    text: str

    @property
    def dose_mg(self) -> float:
        """Dose in mg. Raises ValueError for units that are not a mass."""
        return self.dose * {"mg": 1.0, "mcg": 0.001, "g": 1000.0}[self.unit]

    @property
    def per_day(self) -> float:
        """Amount per day, in `unit`."""
        return self.dose * 24.0 / self.interval_h


class Limits(Value):
    """What screening allows for one drug in one patient, as amount per day in `unit`."""

    drug: DrugId
    unit: str = "mg/day"
    start: float | None = None
    usual_low: float | None = None
    usual_high: float | None = None
    max: float | None = None
    doses_per_day: Many[int] = (1,)
    form: str = ""
    release: Literal["", "immediate", "extended"] = ""
    percent_of_usual: float | None = None
    min_interval_h: float | None = None
    reasons: Many[str] = Field(default=(), description="evidence keys")


class Target(Value):
    """What is aimed at: a measure between low and high."""

    measure: str
    low: float | None = None
    high: float | None = None
    unit: str
    text: str
    reasons: Many[str] = ()
