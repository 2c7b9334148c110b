"""The published figures of a drug that a learned model may move: its effect on systolic pressure, its risk of symptoms.

What differs between the two stands here; how they are moved, and within which bounds, is the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from posologist.core.prediction import Label, Schema
from posologist.learn.tasks import pressure

INDICATION = "hypertension"


class Ceiling(NamedTuple):
    """The largest weight of a model's answer, and the largest shift either way in the unit of the figure."""

    weight: float
    shift: float


@dataclass(frozen=True)
class Figure:
    """A published figure of a drug, the task of the model that may move it, and how this is told.

    Attributes
    ----------
    key
        A measure, or the event of a harm.
    unit, answer_unit
        Of the figure, and of the model's answer; times `scale` the answer is a change of the figure.
    least
        The figure is not moved below it; None: there is no such bound.
    ceilings
        By whom a model was learned from. One that was learned from practice says nothing of benefit or harm and has
        none.
    part
        Beginning of the names of the parts that a shift adds to a utility.
    style
        How a shift is written in the evidence.
    """

    task: str
    schema: Schema
    kind: Literal["effect", "harm"]
    key: str
    unit: str
    answer_unit: str
    scale: float
    least: float | None
    ceilings: Mapping[Label, Ceiling]
    part: str
    style: str
    moved: str
    unmoved: str
    outcome: str
    reason: str
    shift: str
    practice: str
    nothing: str


EFFECT = Figure(
    task=pressure.TASK,
    schema=pressure.SCHEMA,
    kind="effect",
    key="sbp",
    unit="mmHg",
    answer_unit="mmHg",
    scale=-1.0,
    least=None,
    ceilings=MappingProxyType({"real patients": Ceiling(1.0, 10.0), "simulated patients": Ceiling(0.25, 3.0)}),
    part="learned:",
    style=".3g",
    moved="an effect",
    unmoved="published effects on systolic pressure",
    outcome="fall of systolic pressure by {drug} beyond its published effect",
    reason="the expected effect of",
    shift="learned shift of {drug}",
    practice="benefit",
    nothing="no effect of {drug} on systolic pressure is published here: there is nothing to move",
)
"""The answer is a further fall, the published effect a change: negative is a fall."""
RISK = Figure(
    task=pressure.SYMPTOMS_TASK,
    schema=pressure.SYMPTOMS_SCHEMA,
    kind="harm",
    key="symptoms",
    unit="in 100",
    answer_unit="1",
    scale=100.0,
    least=0.0,
    ceilings=MappingProxyType({"real patients": Ceiling(1.0, 15.0), "simulated patients": Ceiling(0.25, 3.0)}),
    part="learned-risk:",
    style="+.3g",
    moved="a risk of symptoms",
    unmoved="published shares of patients with symptoms due to a drug",
    outcome="chance of a symptom due to {drug} beyond the published share",
    reason="the expected risk of symptoms of",
    shift="learned shift of symptoms due to {drug}",
    practice="harm",
    nothing="no share of patients with symptoms due to {drug} is published here: there is nothing to move",
)
"""The answer is a share (0.02: 2 in 100 more), the published figure how many in 100 have symptoms due to the drug."""
FIGURES = (EFFECT, RISK)
