"""All fitted parts of a model together: what they answer, and the graph that is written from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from posologist.learn.features import Array, Encoder
from posologist.learn.fit.graph import Graph
from posologist.learn.fit.parts import FittedPart, Matrix


@dataclass(frozen=True)
class Extra:
    """An output beside the blend: scale * f (offset), or scale * exp(f) with f kept between `low` and `high` (size)."""

    name: str
    part: FittedPart
    form: Literal["offset", "size"]
    low: float = 0.0
    high: float = 0.0

    def value(self, matrix: Matrix) -> Array:
        """Standardised values, (n,)."""
        margin = self.part.margin(matrix)
        return margin if self.form == "offset" else np.exp(np.clip(margin, self.low, self.high))

    def write(self, graph: Graph, scale: float) -> str:
        """Writes itself, in the unit of the margin."""
        name = self.part.write(graph)
        if self.form == "size":
            name = graph.node("Exp", graph.node("Clip", name, graph.constant(self.low), graph.constant(self.high)))
        return graph.node("Mul", name, graph.constant(scale))


@dataclass(frozen=True)
class FittedModel:
    """Encoder, blended parts and extra outputs; `scale` is the standard deviation of the linked outcome."""

    encoder: Encoder
    parts: tuple[FittedPart, ...]
    extras: tuple[Extra, ...]
    scale: float

    def outputs(self, values: Array) -> Array:
        """What the graph must answer for raw rows, (n, parts + extras), by the fitted parts themselves."""
        matrix = self.encoder.matrix(values)
        columns = [part.margin(matrix) for part in self.parts]
        columns += [extra.value(matrix) * self.scale for extra in self.extras]
        return np.stack(columns, axis=1)

    def graph(self) -> bytes:
        """The ONNX model."""
        graph = Graph(len(self.encoder.columns))
        names = [part.write(graph) for part in self.parts]
        names += [extra.write(graph, self.scale) for extra in self.extras]
        return graph.written(names)
