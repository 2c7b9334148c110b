"""Saving a model: refused unless its graph answers what the fitted parts answer, with values missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from posologist.core.errors import ModelError
from posologist.core.manifest import Manifest, Training
from posologist.core.prediction import Label
from posologist.learn.artefact import write
from posologist.learn.features import Array, Frame
from posologist.learn.fit.model import FittedModel
from posologist.learn.predict import Served

AGREEMENT = 1e-5  # largest difference, relative to the larger of 1 and the fitted answer
_ROWS = 500
_BLANKED = 0.2  # share of values hidden in the second half of the rows, so that every mask is tried


@dataclass(frozen=True)
class Facts:
    """What a manifest says beside what was fitted; `label`: whom the training rows are of."""

    name: str
    version: str
    outcome: str
    unit: str
    data: str
    digest: str
    licence: str
    label: Label
    metrics: Mapping[str, float] = field(default_factory=dict)


UNSAVED = Facts(
    name="model not saved", version="0", outcome="outcome", unit="", data="not stated", digest="not stated",
    licence="not stated", label="simulated patients",
)  # fmt: skip
"""Stands until a model is saved; a model of unknown origin counts as trained on simulated patients."""


def with_facts(manifest: Manifest, facts: Facts) -> Manifest:
    """The manifest with what is to be said beside what was fitted."""
    training = Training(
        data=facts.data, digest=facts.digest, licence=facts.licence, n=manifest.training.n, seed=manifest.training.seed,
        label=facts.label,
    )  # fmt: skip
    told = {
        "name": facts.name, "version": facts.version, "outcome": facts.outcome, "unit": facts.unit,
        "training": training, "metrics": {name: float(value) for name, value in facts.metrics.items()},
    }  # fmt: skip
    return manifest.model_copy(update=told)


def saved(manifest: Manifest, model: FittedModel, frame: Frame, folder: Path) -> Manifest:
    """Writes a model to a folder and gives its manifest.

    Raises
    ------
    ModelError
        Unless the written graph agrees with the fitted parts to `AGREEMENT` on rows of `frame`, half of them with
        further values hidden.
    """
    graph = model.graph()
    check_agreement(Served(manifest, graph), model, frame, where=str(folder))
    return write(folder, manifest, graph)


def check_agreement(served: Served, model: FittedModel, frame: Frame, *, where: str) -> None:
    """Refuses a graph that answers otherwise than the fitted parts."""
    rows = rows_to_try(frame)
    found, wanted = served.outputs(rows), model.outputs(rows)
    apart = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    if not np.all(apart <= AGREEMENT):
        place = np.unravel_index(int(np.nanargmax(np.where(np.isfinite(apart), apart, np.inf))), apart.shape)
        names = (*served.manifest.components, *served.manifest.extra_outputs)
        raise ModelError(
            f"the graph's {names[int(place[1])]} answers {found[place]:.8g}, the fitted one {wanted[place]:.8g}",
            where=where,
            hint="the model is not saved; another recipe, or a smaller penalty of rounding, may be written exactly",
        )


def rows_to_try(frame: Frame) -> Array:
    """Training rows, first those with values missing, and the same rows with further values hidden."""
    order = np.argsort(~np.isnan(frame.values).any(axis=1), kind="stable")[:_ROWS]
    rows = frame.values[order]
    rng = np.random.Generator(np.random.PCG64(0))
    hidden = np.where(rng.random(rows.shape) < _BLANKED, np.nan, rows)
    return np.concatenate([rows, hidden])
