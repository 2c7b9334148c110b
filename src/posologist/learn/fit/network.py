"""A fitted network as frozen numpy values: what is written to ONNX, and what relevance is read from.

Nothing here needs PyTorch. A `Network` is a piecewise-linear encoding followed by plain dense layers, so its served
form needs Gather, Sub, Div, Clip, MatMul, Add and the activation only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Activation = Literal["relu", "silu", "tanh"]


def _silu(value: Array) -> Array:
    return np.asarray(value * 0.5 * (1.0 + np.tanh(0.5 * value)))


def _relu(value: Array) -> Array:
    return np.maximum(value, 0.0)


ACTIVATIONS: Mapping[Activation, Callable[[Array], Array]] = MappingProxyType(
    {"relu": _relu, "silu": _silu, "tanh": np.tanh}
)
"""Activation functions by name; "silu" is value x sigmoid(value)."""


@dataclass(frozen=True)
class Encoding:
    """Piecewise-linear encoding of numeric columns: how far a value has come through each quantile bin.

    Encoded column j is clip((x[column[j]] - low[j]) / width[j], 0, 1), so outside the training range a value counts
    as the end of the range. Where x[mask[j]] is 1 the value was not measured and the encoded column is centre[j];
    mask[j] is -1 for a column without a mask.

    References
    ----------
    Gorishniy, Rubachev, Babenko. On embeddings for numerical features in tabular deep learning. NeurIPS 2022,
    arXiv:2203.05556, section 3.1.
    """

    column: IntArray
    low: Array
    width: Array
    centre: Array
    mask: IntArray

    def __call__(self, rows: Array) -> Array:
        """Encoded rows, shape (n_rows, n_encoded)."""
        encoded: Array = np.clip((rows[:, self.column] - self.low) / self.width, 0.0, 1.0)
        masked = np.flatnonzero(self.mask >= 0)
        if masked.size:
            hidden = rows[:, self.mask[masked]]
            encoded[:, masked] += (self.centre[masked] - encoded[:, masked]) * hidden
        return encoded


def encoding(rows: Array, *, n_bins: int, masks: Mapping[int, int]) -> Encoding:
    """Encoding with quantile bins of the measured values of each column; a constant column is left out.

    Parameters
    ----------
    rows
        Training rows, shape (n_rows, n_columns), without missing values.
    n_bins
        Bins of a column with enough different values; one bin is the scaled value itself.
    masks
        Column -> the column that is 1 where its value was not measured.
    """
    column: list[int] = []
    edges: list[Array] = []
    for j in range(rows.shape[1]):
        values = rows[rows[:, masks[j]] < 0.5, j] if j in masks else rows[:, j]
        if values.size and values.min() < values.max():
            found = np.unique(np.quantile(values, np.linspace(0.0, 1.0, n_bins + 1)))
            usable = found[np.concatenate([[True], np.diff(found) > 1e-12 * np.abs(found).max()])]
            if usable.size > 1:
                column.extend([j] * (usable.size - 1))
                edges.append(usable)
    which = np.array(column, dtype=np.int64)
    low = np.concatenate([e[:-1] for e in edges]) if edges else np.zeros(0)
    width = np.concatenate([np.diff(e) for e in edges]) if edges else np.ones(0)
    mask = np.array([masks.get(j, -1) for j in column], dtype=np.int64)
    unmasked = Encoding(which, low, width, np.zeros(which.size), np.full(which.size, -1))
    measured = np.where(mask >= 0, 1.0 - rows[:, mask], 1.0)
    centre = (unmasked(rows) * measured).sum(axis=0) / np.maximum(measured.sum(axis=0), 1.0)
    return Encoding(which, low, width, centre, mask)


@dataclass(frozen=True)
class Dense:
    """One dense layer: output = input @ weight + bias; weight has shape (n_in, n_out)."""

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Network:
    """A fitted network: encoding, hidden layers each followed by the activation, and a linear output layer.

    The output is a margin: the value in the target's unit for a regression output, log odds for a yes/no output,
    unnormalised log probabilities for the classes of an output with more than two.
    """

    encoding: Encoding
    hidden: tuple[Dense, ...]
    output: Dense
    activation: Activation

    def margin(self, rows: Array) -> Array:
        """Margins of rows, shape (n_rows, n_outputs)."""
        value = self.encoding(rows)
        function = ACTIVATIONS[self.activation]
        for layer in self.hidden:
            value = function(value @ layer.weight + layer.bias)
        return np.asarray(value @ self.output.weight + self.output.bias)
