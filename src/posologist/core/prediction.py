"""What a learned model is asked with (features) and what it answers (predictions).

A `Schema` names the features of one task. A model is served only with the schema that it was trained on: its digest
covers every name, unit, level and range.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from posologist.core.values import Because, Contributions, Estimate, Many, Status, Value

Share = Annotated[float, Field(ge=0, le=1, json_schema_extra={"number": "probability"})]
Label = Literal["real patients", "simulated patients", "agreement with practice"]
"""On whom a model was trained; it stands wherever the model's answer is shown."""

FeatureKind = Literal["number", "flag", "category"]
FeatureGroup = Literal[
    "demographics", "conditions", "comorbidity", "medication history", "labs and vitals", "family history", "genes",
    "pharmacokinetics", "lifestyle", "disease", "treatment",
]  # fmt: skip


class Feature(Value):
    """One input of a model.

    number: in `unit`, plausible from `low` to `high` (both inclusive). flag: true or false. category: one of `levels`;
    any other text is the further state "another". `log`: the number is read by the model on the scale log(1 + x).
    `text` says a known number or level in clinical words with `{value}` and `{unit}`; `yes` and `no` say a flag,
    `unknown` that nothing is known.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: FeatureKind = "number"
    group: FeatureGroup
    label: str = Field(min_length=1)
    unit: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False
    levels: Many[str] = ()
    text: str = "{label} {value} {unit}"
    yes: str = "{label}"
    no: str = "no {label}"
    unknown: str = "{label} not known"

    @model_validator(mode="after")
    def _of_its_kind(self) -> Feature:
        if (self.kind == "category") != bool(self.levels):
            raise ValueError(f"{self.name}: levels belong to a category, and a category needs them")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"{self.name}: a level stands twice")
        if self.kind == "number" and (self.low is None or self.high is None or not self.low < self.high):
            raise ValueError(f"{self.name}: a number needs its plausible range, low < high")
        if self.log and (self.low is None or self.low <= -1.0):
            raise ValueError(f"{self.name}: log(1 + x) needs a low above -1")
        return self

    @property
    def plausible(self) -> tuple[float, float]:
        """Lowest and highest plausible value of a number."""
        return (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)

    @property
    def another(self) -> float:
        """The number of the state "another level" of a category."""
        return float(len(self.levels))

    def say(self, value: float | None) -> str:
        """The value in clinical words; None is not known."""
        if value is None:
            return self.unknown.format(label=self.label)
        if self.kind == "flag":
            return (self.yes if value >= 0.5 else self.no).format(label=self.label)
        shown = f"{value:g}" if self.kind == "number" else (*self.levels, "another")[round(value)]
        return self.text.format(label=self.label, value=shown, unit=self.unit).strip()


_WORDS = {"label", "text", "yes", "no", "unknown", "group"}


class Formula(Value):
    """A published formula whose result is a column of its own (the margin that a model starts from).

    `expression` (see `knowledge.expression`, arithmetic and functions only) reads features by name (numbers and flags,
    imputed), `<feature>_missing` (1 where not known) and `<feature>_is_<level>` (1 where the category has this level;
    letters and digits of the level in lower case, all else "_").
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    expression: str
    source: str
    status: Status


class Schema(Value):
    """The features of one task in their order, and the published formulas over them."""

    task: str
    version: str
    features: Many[Feature]
    formulas: Many[Formula] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Schema:
        names = [f.name for f in self.features] + [f.name for f in self.formulas]
        if len(set(names)) != len(names):
            raise ValueError("a name stands twice in the schema")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in their order."""
        return tuple(feature.name for feature in self.features)

    @property
    def digest(self) -> str:
        """SHA-256 of all that makes the numbers of a row; the words about them may be improved without training."""
        numbers = self.model_dump_json(exclude={"features": {"__all__": _WORDS}, "formulas": {"__all__": {"label"}}})
        return hashlib.sha256(numbers.encode()).hexdigest()


def slug(level: str) -> str:
    """A level as it stands in names: lower case, letters and digits, all else "_"."""
    return re.sub(r"[^a-z0-9]+", "_", level.lower()).strip("_")


class Far(Value):
    """A feature that sets a patient apart from those a model was trained on."""

    feature: str
    text: str
    because: Because


class Coverage(Value):
    """How well the training population covers a patient.

    `nearer` is the share of training patients that lie nearer to their centre; beyond `limit` the model abstains.
    """

    nearer: Share
    limit: Share
    covered: bool
    far: Many[Far] = ()
    because: Because


class Remark(Value):
    """What must be said of an input: not known, implausible, or not among the levels that the model knows."""

    text: str
    because: Because


class Prediction(Value):
    """A model's answer for one patient.

    Where the model abstains (the patient lies outside its training population) `estimate` and `contributions` are
    None and `coverage` says why. The output of `contributions` is the estimate's value for a quantity; for a
    probability it is the margin before calibration (`explained` says so), since only that is additive. `assumed` names
    what was not known and taken as typical of the training patients.
    """

    task: str
    model: str
    label: Label
    estimate: Estimate | None
    contributions: Contributions | None
    explained: str
    coverage: Coverage
    assumed: Many[Remark] = ()
    remarks: Many[Remark] = ()
    because: Because

    @property
    def abstained(self) -> bool:
        """Whether the model gives no answer for this patient."""
        return self.estimate is None

    @model_validator(mode="after")
    def _whole(self) -> Prediction:
        if (self.estimate is None) != (self.contributions is None):
            raise ValueError("an answer comes with its contributions, and none without")
        if not self.coverage.covered and self.estimate is not None:
            raise ValueError("a patient outside the training population gets no estimate")
        return self
