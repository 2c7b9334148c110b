"""What a network's answer rests on: layer-wise relevance propagation, and pictures of global importance.

For research: the served explanation is the additive contributions of `learn.contributions`. Relevance answers for one
network, layer by layer, and keeps its sum on the way down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posologist.learn.fit.network import ACTIVATIONS, Array, Dense, Network

_EPSILON = 1e-3  # of the layer's mean absolute value: keeps a vanishing sum from making vast relevances


@dataclass(frozen=True)
class Relevance:
    """Relevance of each column for one margin: columns.sum(axis=1) + rest = margin.

    `rest`, shape (n_rows,), went to biases (the answer for the typical patient is among them) and to the stabiliser.
    """

    columns: Array
    rest: Array
    margin: Array


def relevance(network: Network, rows: Any, *, output: int = 0) -> Relevance:
    """Relevance by the epsilon rule, from the difference of each row to the typical encoded patient.

    A layer's output z_j = sum_i a_i w_ij + b_j hands its relevance R_j down in proportion to its terms,
    a_i w_ij / (z_j + epsilon sign(z_j)); activations hand theirs on unchanged.

    Parameters
    ----------
    rows
        Shape (n_rows, n_columns), imputed and masked.
    output
        Number of the margin.

    References
    ----------
    Bach et al. On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation.
    PLoS ONE 2015;10:e0130140.
    Montavon et al. Layer-wise relevance propagation: an overview. LNCS 11700, 2019, 193-209.
    """
    x = np.asarray(rows, dtype=np.float64)
    layers = _about_the_typical(network)
    inputs = [network.encoding(x) - network.encoding.centre]
    for layer in layers[:-1]:
        inputs.append(ACTIVATIONS[network.activation](inputs[-1] @ layer.weight + layer.bias))
    last = Dense(layers[-1].weight[:, [output]], layers[-1].bias[[output]])
    margin = inputs[-1] @ last.weight + last.bias
    passed, rest = margin, np.zeros(len(x))
    for value, layer in zip(reversed(inputs), (last, *reversed(layers[:-1])), strict=True):
        passed, lost = _handed_down(value, layer, passed)
        rest = rest + lost
    columns = np.zeros_like(x)
    np.add.at(columns.T, network.encoding.column, passed.T)
    return Relevance(columns, rest, margin[:, 0])


def _about_the_typical(network: Network) -> list[Dense]:
    """The layers, the first taking the encoded values' difference to their centre."""
    first, *others = (*network.hidden, network.output)
    return [Dense(first.weight, first.bias + network.encoding.centre @ first.weight), *others]


def _handed_down(value: Array, layer: Dense, passed: Array) -> tuple[Array, Array]:
    """Relevance of a layer's inputs, and what its biases and the stabiliser keep."""
    total = value @ layer.weight + layer.bias
    epsilon = _EPSILON * max(float(np.abs(total).mean()), 1e-12) * np.where(total >= 0.0, 1.0, -1.0)
    share = passed / (total + epsilon)
    kept = share @ layer.bias + (share * epsilon).sum(axis=1)
    return value * (share @ layer.weight.T), kept


def global_relevance(network: Network, rows: Any, *, output: int = 0) -> Array:
    """Mean absolute relevance of each column over rows, shape (n_columns,)."""
    return np.asarray(np.abs(relevance(network, rows, output=output).columns).mean(axis=0))


def importance_plot(
    names: Sequence[str],
    importance: Array,
    path: Path,
    *,
    label: str,
    low: Array | None = None,
    high: Array | None = None,
    most: int = 20,
) -> None:
    """Write an SVG of the `most` important columns, with intervals where they are given.

    The same numbers give the same file.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    order = np.argsort(-np.asarray(importance), kind="stable")[:most][::-1]
    figure = Figure(figsize=(7.0, 0.9 + 0.28 * len(order)), layout="constrained")
    axes = figure.add_subplot()
    error = None if low is None or high is None else np.stack([importance - low, high - importance])[:, order]
    axes.barh([names[j] for j in order], importance[order], xerr=error, color="#4477aa", ecolor="#222222")
    axes.axvline(0.0, color="#222222", linewidth=0.8)
    axes.set_xlabel(label, loc="right")  # a long label has room below the names
    axes.spines[["top", "right", "left"]].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "posologist", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})
