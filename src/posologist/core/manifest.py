"""The manifest of a served model: everything beside its ONNX graph, as one readable JSON document.

Nothing in it is code: breakpoints, quantiles, fills and weights are numbers, the schema names the inputs.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field, model_validator

from posologist.core.prediction import Label, Schema
from posologist.core.values import Many, Value

FORMAT = 1
Link = Literal["identity", "sqrt", "log", "logit"]
"""The scale of the margin: margin = link(outcome). `logit` belongs to a yes/no outcome."""


class Fill(Value):
    """How one feature enters the matrix: value taken where it is not known, centre and scale, and its columns.

    `masked`: a column says where it was not known (training had such patients). `levels` are the levels of a category
    with a column of their own; `another`: a column says that the level was none that the schema names.
    """

    feature: str
    fill: float
    centre: float = 0.0
    scale: float = Field(default=1.0, gt=0)
    masked: bool = False
    levels: Many[int] = ()
    another: bool = False


class Preparation(Value):
    """Imputing and masking as fitted on training rows; `formulas` centre and scale the published formulas' columns."""

    fills: Many[Fill]
    formulas: dict[str, tuple[float, float]] = {}


class State(Value):
    """Shares of training patients in each state of a feature: not known, then each level (a flag: false, true)."""

    feature: str
    missing: float
    levels: Many[float] = ()


class CoverageRule(Value):
    """How far a patient lies from the training patients, and how far each of these lies from the others.

    Distance is z' P z over the standardised numbers (P the inverse of their shrunken correlation) plus
    -2 log(share of the state) over what is not known, flags and levels. `quantiles` are the training patients'
    distances at equal steps of probability from 0 to 1. Beyond the share `limit` the model abstains.
    """

    numbers: Many[str]
    precision: Many[Many[float]]
    states: Many[State]
    quantiles: Many[float] = Field(min_length=2)
    limit: float = Field(gt=0, le=1)


class Calibration(Value):
    """Breakpoints of the calibrated outcome over the margin, linear between them and flat outside.

    `low` and `high` bound a probability at the same margins: the interval of the rate that was observed among training
    patients with a similar margin. They are empty for a quantity, whose interval is conformal. `none`: the blend is
    calibrated as it is (its weights and intercept were fitted on cross-fitted margins).
    """

    method: Literal["none", "isotonic"]
    margin: Many[float] = ()
    value: Many[float] = ()
    low: Many[float] = ()
    high: Many[float] = ()

    @model_validator(mode="after")
    def _equal_lengths(self) -> Calibration:
        if len(self.margin) != len(self.value) or any(
            len(b) not in (0, len(self.margin)) for b in (self.low, self.high)
        ):
            raise ValueError("calibration needs arrays of equal length")
        if list(self.margin) != sorted(self.margin):
            raise ValueError("calibration needs margins in ascending order")
        return self


class Taxonomy(Value):
    """Groups with conformal quantiles of their own: levels of a feature, or bands of the predicted outcome.

    `feature` empty: bands of the prediction, cut at `cuts`. `below` and `above` are the quantiles of each group (for
    a feature: not known, then each state); None where the group was too small, and that of all patients is used.
    """

    feature: str = ""
    cuts: Many[float] = ()
    below: Many[float | None]
    above: Many[float | None]


class TruthBands(Value):
    """Bands of the outcome itself (cut on the margin's scale), each with quantiles of its own patients' scores.

    An outcome is held by the interval if it is held by the quantiles of the band that it lies in; the interval is the
    hull of such outcomes. So every band of the true outcome is covered, though nobody's band is known beforehand.
    """

    cuts: Many[float]
    below: Many[float]
    above: Many[float]

    @model_validator(mode="after")
    def _one_more_band_than_cuts(self) -> TruthBands:
        if not len(self.below) == len(self.above) == len(self.cuts) + 1 or list(self.cuts) != sorted(self.cuts):
            raise ValueError("bands need ascending cuts and one more pair of quantiles than cuts")
        return self


class IntervalRule(Value):
    """Conformal interval on the margin: from centre - below * spread to centre + above * spread.

    split: the centre is the margin, the spread 1. normalised: the spread is the graph's output `spread`. quantile: the
    centres are the margin plus the graph's outputs `lower` and `upper`. Of several taxonomies the widest side counts,
    so that the coverage holds in the groups of each; with `truth` the interval also holds that of the bands.
    """

    method: Literal["none", "split", "normalised", "quantile"]
    level: float = Field(default=0.9, gt=0, lt=1)
    below: float = 0.0
    above: float = 0.0
    taxonomies: Many[Taxonomy] = ()
    truth: TruthBands | None = None


class Training(Value):
    """On what the model was trained."""

    data: str
    digest: str
    licence: str
    n: int = Field(ge=1)
    seed: int
    label: Label


class Manifest(Value):
    """Everything about a served model but its graph (document `posologist/model/1`).

    `components` names the graph's outputs that are blended, `weights` and `intercept` how: the margin is intercept +
    sum of weight * component. `graph_digest` is the SHA-256 of the ONNX file. `typical` is the training-typical
    patient (one value per feature) that contributions start from. `metrics` are those of the run that made it.
    `digest` is the SHA-256 of everything else in the manifest, given when it is saved.
    """

    schema_: Literal["posologist/model/1"] = Field(default="posologist/model/1", alias="schema")
    format: int = FORMAT
    task: str
    name: str
    version: str
    outcome: str
    unit: str
    kind: Literal["regression", "classification"]
    training: Training
    features: Schema
    features_digest: str
    preparation: Preparation
    link: Link
    components: Many[str]
    weights: Many[float]
    intercept: float
    extra_outputs: Many[str] = ()
    calibration: Calibration
    interval: IntervalRule
    coverage: CoverageRule
    typical: Many[float]
    bounds: tuple[float | None, float | None] = (None, None)
    graph_digest: str
    metrics: dict[str, float] = {}
    recipe: dict[str, object] = {}
    versions: dict[str, str]
    digest: str = ""

    @property
    def content_digest(self) -> str:
        """SHA-256 of everything but the digest itself."""
        return hashlib.sha256(self.model_dump_json(by_alias=True, exclude={"digest"}).encode()).hexdigest()

    @model_validator(mode="after")
    def _fits_together(self) -> Manifest:
        if len(self.weights) != len(self.components):
            raise ValueError("each component needs a weight")
        if len(self.typical) != len(self.features.features):
            raise ValueError("the typical patient needs a value per feature")
        if self.kind == "classification" and self.link != "logit":
            raise ValueError("a yes/no outcome has the link logit")
        return self
