"""Settings: one frozen value; safety floors cannot be lowered by anyone."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field

from posologist.core.values import Value


class Settings(Value):
    """What a site or a user may choose. Bounds are floors and ceilings of safety, not tastes."""

    as_of: date | None = None
    guideline: Literal["US25", "ESC24"] = "US25"
    harm_aversion: float = Field(default=1.0, ge=0.25, le=20, description="lambda: weight of harm against benefit")
    interval_level: float = Field(default=0.8, ge=0.5, le=0.99)
    draws: int = Field(default=400, ge=200, le=20_000)
    max_options: int = Field(default=5, ge=1, le=5)
    min_therapeutic_index: float = Field(default=2.0, ge=1.5, description="k of the gate TI > k")
    max_toxic_probability: float = Field(default=0.1, gt=0, le=0.2, description="p of P(C > toxic) < p")
    unpublished_variability_cv: float = Field(
        default=0.4, ge=0.3, le=1.5, description="CV of clearance where no study prints one"
    )
    default_weight_kg: float = Field(default=70.0, ge=40, le=120)
    stale_blood_pressure_days: int = Field(default=180, ge=1, le=400)
    stale_laboratory_days: int = Field(default=365, ge=1, le=400)
    stale_body_size_days: int = Field(default=730, ge=1, le=1500)
    medication_lookback_days: int = Field(
        default=365, ge=90, le=3650, description="an order without an end counts as current for so long"
    )
    min_genotype_quality: int = Field(default=20, ge=10, le=99)
    min_read_depth: int = Field(default=8, ge=4, le=100)
    cost_weight: float = Field(default=0.0, ge=0, le=10)
    learned_weight: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="weight of what a learned model says of an effect or a risk; 0: none is asked",
    )
