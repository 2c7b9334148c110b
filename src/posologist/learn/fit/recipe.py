"""How a served model is fitted, as a frozen value that stands in its manifest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from posologist.core.manifest import Link
from posologist.core.values import Many, Value

Loss = Literal["squared", "absolute", "huber"]
"""Loss of a quantity on the margin's scale; a yes/no outcome always has the log loss."""


class Linear(Value):
    """Linear in the matrix, with a ridge penalty (on standardised columns, of a standardised margin).

    `features`: names whose columns it reads (formulas too); none: all.
    """

    kind: Literal["linear"] = "linear"
    loss: Loss = "squared"
    penalty: float = Field(default=10.0, gt=0)
    features: Many[str] = ()


class Trees(Value):
    """Boosted trees (LightGBM)."""

    kind: Literal["trees"] = "trees"
    loss: Loss = "squared"
    trees: int = Field(default=150, ge=1, le=600)
    learning_rate: float = Field(default=0.05, gt=0)
    leaves: int = Field(default=6, ge=2)
    min_leaf: int = Field(default=25, ge=1)
    row_share: float = Field(default=0.7, gt=0, le=1)
    column_share: float = Field(default=0.5, gt=0, le=1)
    l2: float = Field(default=5.0, ge=0)
    features: Many[str] = ()


class Net(Value):
    """Network (`learn.fit.mlp`); small, since each contribution asks it hundreds of times."""

    kind: Literal["net"] = "net"
    loss: Loss = "squared"
    hidden: Many[int] = (32, 32)
    members: int = Field(default=4, ge=1)
    bins: int = Field(default=6, ge=1)
    activation: Literal["relu", "silu", "tanh"] = "silu"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    decay: float = Field(default=1e-2, ge=0)
    epochs: int = Field(default=60, ge=1)
    patience: int = Field(default=8, ge=1)
    features: Many[str] = ()


class Kernel(Value):
    """Ridge on Gaussian similarities to `landmarks` training patients (Nystroem's form of a kernel machine).

    `width` is the distance at which similarity falls to exp(-1/2), in units of the median distance of the landmarks.
    """

    kind: Literal["kernel"] = "kernel"
    landmarks: int = Field(default=150, ge=2)
    width: float = Field(default=1.0, gt=0)
    penalty: float = Field(default=1.0, gt=0)
    features: Many[str] = ()


class Crossed(Value):
    """Ridge on columns and on the product of every column of `left` with every column of `right`.

    `penalty` is that of the columns (as in `Linear`), `product_penalty` that of the products, which are of centred
    columns and standardised. The columns of `features` (none: all), `left` and `right` enter alone. For a yes/no
    outcome it is logistic.
    """

    kind: Literal["crossed"] = "crossed"
    loss: Literal["squared", "huber"] = "squared"
    penalty: float = Field(default=10.0, gt=0)
    product_penalty: float = Field(default=100.0, gt=0)
    left: Many[str] = Field(min_length=1)
    right: Many[str] = Field(min_length=1)
    features: Many[str] = ()


class Factorised(Value):
    """Patients x treatments factorised (`learn.fit.factorise`), as it answers for a new patient.

    The columns of `left` are the patients' side information; the treatments are the states of `right` (features of few
    states), whose columns are their side information. Rows of one patient share factors where their `left` is the same.
    `ridge` is the penalty of the side information's slopes. For the squared loss of a quantity only.
    """

    kind: Literal["factorisation"] = "factorisation"
    rank: int = Field(default=3, ge=1)
    ridge: float = Field(default=30.0, gt=0)
    sweeps: int = Field(default=30, ge=1)
    left: Many[str] = Field(min_length=1)
    right: Many[str] = Field(min_length=1)

    @property
    def features(self) -> tuple[str, ...]:
        """Names whose columns it reads."""
        return (*self.left, *self.right)


class Hierarchical(Value):
    """Linear in columns and in the products of every column of `left` with every level of each feature of `right`.

    `curved`: each number of `left` also enters by its square (standardised, and cut at three standard deviations).

    How far the effect of a feature may differ between the levels of a feature of `right` is learned from the rows: one
    prior variance for the feature alone, and one for its products with each feature of `right` (empirical Bayes). So
    what matters under no treatment vanishes, and a drug's own slope is drawn towards that of its pathway as far as the
    rows ask for. For the squared loss of a quantity only.
    """

    kind: Literal["hierarchical"] = "hierarchical"
    rounds: int = Field(default=25, ge=1)
    curved: bool = True
    left: Many[str] = Field(min_length=1)
    right: Many[str] = Field(min_length=1)

    @property
    def features(self) -> tuple[str, ...]:
        """Names whose columns it reads."""
        return (*self.left, *self.right)


Part = Annotated[Linear | Trees | Net | Kernel | Crossed | Factorised | Hierarchical, Field(discriminator="kind")]


class Interval(Value):
    """How the interval of a quantity is made; see `learn.conformal`.

    normalised: `part` predicts the size of the residual. quantile: `part` predicts both quantiles (linear or trees).
    `by_features` and `by_bands` (cuts of the predicted outcome, in its unit) are Mondrian groups. `truth_cuts` (in its
    unit) are bands of the true outcome. Groups and bands are each calibrated to `asked_level`, all patients to `level`.
    """

    method: Literal["split", "normalised", "quantile"] = "split"
    level: float = Field(default=0.9, gt=0, lt=1)
    part: Annotated[Linear | Trees, Field(discriminator="kind")] = Linear()
    by_features: Many[str] = ()
    by_bands: Many[float] = ()
    truth_cuts: Many[float] = ()
    asked_level: float = Field(default=0.9, gt=0, lt=1)


class Recipe(Value):
    """A served model: its parts, blended on the margin with weights that are not negative.

    Weights are fitted on cross-fitted margins (`folds`, whole patients) under `loss`; parts that get less than `least`
    of the weight are left out. `cautious`: what the blend says beyond the first part counts only as far as cross-fitted
    rows show that it is no chance (1 - 1 / z^2 of it, z its slope over its standard error between patients, nothing
    below 1), so that where there is nothing to be learned the first part stands alone. `calibration` holds for a
    yes/no outcome only. `bounds` of the outcome. `masks`: columns say what is not known (`learn.features.prepared`).
    """

    parts: Many[Part] = Field(min_length=1)
    link: Link
    loss: Loss = "squared"
    folds: int = Field(default=5, ge=2)
    least: float = Field(default=0.02, ge=0, lt=1)
    cautious: bool = False
    calibration: Literal["none", "isotonic"] = "none"
    interval: Interval = Interval()
    abstain_beyond: float = Field(default=0.99, gt=0, le=1)
    bounds: tuple[float | None, float | None] = (None, None)
    masks: bool = True
