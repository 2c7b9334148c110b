"""The parts of a served model, fitted: each answers from the matrix, and writes itself into a graph.

Matrices are of single precision, as the served graph reads them. Outcomes are standardised (mean 0, standard
deviation 1) for quantities; for a yes/no outcome a part answers log odds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from posologist.core.errors import ModelError
from posologist.learn.features import Array, Encoder, Index
from posologist.learn.fit.graph import Graph
from posologist.learn.fit.recipe import Crossed, Factorised, Hierarchical, Kernel, Linear, Loss, Net, Part, Trees

Matrix = npt.NDArray[np.float32]

_ROUNDS = 40  # of reweighting
_SMOOTH = 0.02  # residuals nearer than this count as square (standard deviations)


class FittedPart(Protocol):
    """A part that was fitted."""

    def margin(self, matrix: Matrix) -> Array:
        """Standardised margins (or log odds) of rows, (n,)."""

    def write(self, graph: Graph) -> str:
        """Writes itself; the name of its result (n, 1)."""


@dataclass(frozen=True)
class Task:
    """What a part is fitted to: outcome (n,), whole patients, weights, and the columns of the matrix.

    `quantile`: the quantile that is asked for in place of the centre. `masks`: column -> the column of its mask.
    """

    outcome: Array
    group: Index
    weight: Array
    columns: Sequence[str]
    masks: Mapping[int, int]
    yes_no: bool
    seed: int
    quantile: float | None = None

    def take(self, index: npt.ArrayLike) -> Task:
        """The same of some rows."""
        chosen = np.asarray(index)
        return Task(
            self.outcome[chosen], self.group[chosen], self.weight[chosen], self.columns, self.masks, self.yes_no,
            self.seed, self.quantile,
        )  # fmt: skip


def columns_of(features: Sequence[str], columns: Sequence[str]) -> Index:
    """Columns of some features (all where none is named)."""
    if not features:
        return np.arange(len(columns), dtype=np.int64)
    owners = [column.split("=")[0].removesuffix("?") for column in columns]
    strange = sorted(set(features) - set(owners))
    if strange:
        raise ModelError(f"no column is of {', '.join(strange)}", where="recipe", hint="name features of the schema")
    return np.array([j for j, owner in enumerate(owners) if owner in set(features)], dtype=np.int64)


def masks_of(encoder: Encoder) -> dict[int, int]:
    """Column of a number or flag -> the column that says that it was not known."""
    place = {column: j for j, column in enumerate(encoder.columns)}
    return {place[name]: place[f"{name}?"] for name in encoder.schema.names if name in place and f"{name}?" in place}


def fit_part(part: Part, matrix: Matrix, task: Task) -> FittedPart:
    """A part of a recipe, fitted to rows."""
    columns = columns_of(part.features, task.columns)
    return _FITS[type(part)](part, matrix, columns, task)


@dataclass(frozen=True)
class FittedLinear:
    """bias + matrix @ weight."""

    weight: Array
    bias: float

    def margin(self, matrix: Matrix) -> Array:
        """Margins of rows, (n,)."""
        return np.asarray(matrix.astype(np.float64) @ self.weight + self.bias)

    def write(self, graph: Graph) -> str:
        """Writes itself."""
        return graph.dense(graph.source, self.weight.reshape(-1, 1), [self.bias])


def _fit_linear(part: Linear, matrix: Matrix, columns: Index, task: Task) -> FittedLinear:
    rows = matrix[:, columns].astype(np.float64)
    if task.yes_no:
        weight, bias = logistic(rows, task.outcome, task.weight, part.penalty)
    else:
        weight, bias = _robust(rows, task, part.loss, part.penalty)
    whole = np.zeros(matrix.shape[1])
    whole[columns] = weight
    return FittedLinear(whole, bias)


def _ridge(rows: Array, outcome: Array, weight: Array, penalty: float) -> tuple[Array, float]:
    total = weight.sum()
    centre, middle = weight @ rows / total, float(weight @ outcome / total)
    moved = rows - centre
    left = (moved * weight[:, None]).T @ moved + penalty * np.eye(rows.shape[1])
    found = np.linalg.solve(left, moved.T @ (weight * (outcome - middle)))
    return found, middle - float(centre @ found)


def _robust(rows: Array, task: Task, loss: Loss, penalty: float) -> tuple[Array, float]:
    """Ridge; for the absolute loss, a quantile or Huber's loss by reweighting."""
    found = _ridge(rows, task.outcome, task.weight, penalty)
    if task.quantile is None and loss == "squared":
        return found
    tail = 0.5 if task.quantile is None else task.quantile
    huber = task.quantile is None and loss == "huber"
    for _ in range(_ROUNDS):
        residual = task.outcome - rows @ found[0] - found[1]
        size = np.abs(residual)
        if huber:
            factor = 1.0 / np.maximum(size, 1.0)
        else:
            factor = np.where(residual > 0, tail, 1.0 - tail) / np.maximum(size, _SMOOTH)
        found = _ridge(rows, task.outcome, task.weight * factor, penalty)
    return found


def logistic(rows: Array, outcome: Array, weight: Array, penalty: float) -> tuple[Array, float]:
    """Ridge logistic regression by Newton's steps, each halved until the penalised loss falls."""
    wide = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    ridge = np.full(wide.shape[1], penalty)
    ridge[-1] = 0.0
    beta = np.zeros(wide.shape[1])

    def loss(at: Array) -> float:
        margin = wide @ at
        return float(weight @ (np.logaddexp(0.0, margin) - outcome * margin) + 0.5 * ridge @ at**2)

    present = loss(beta)
    for _ in range(_ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(wide @ beta, -30.0, 30.0)))
        bend = weight * np.maximum(chance * (1.0 - chance), 1e-6)
        slope = wide.T @ (weight * (outcome - chance)) - ridge * beta
        step = np.linalg.solve((wide * bend[:, None]).T @ wide + np.diag(ridge + 1e-9), slope)
        length = 1.0
        while loss(beta + length * step) > present and length > 1e-4:
            length /= 2.0
        beta, before = beta + length * step, present
        present = loss(beta)
        if before - present < 1e-9 * abs(before):
            break
    return beta[:-1], float(beta[-1])


@dataclass(frozen=True)
class FittedTrees:
    """Boosted trees over some columns."""

    booster: Any
    columns: Index

    def margin(self, matrix: Matrix) -> Array:
        """Margins of rows, (n,)."""
        rows = np.ascontiguousarray(matrix[:, self.columns])
        return np.asarray(self.booster.predict(rows, raw_score=True, num_threads=1), dtype=np.float64)

    def write(self, graph: Graph) -> str:
        """Writes itself."""
        structures = [tree["tree_structure"] for tree in self.booster.dump_model()["tree_info"]]
        return graph.trees(structures, [int(c) for c in self.columns])


_OBJECTIVES = {"squared": "regression", "absolute": "regression_l1", "huber": "huber"}


def _fit_trees(part: Trees, matrix: Matrix, columns: Index, task: Task) -> FittedTrees:
    import lightgbm

    objective = "binary" if task.yes_no else "quantile" if task.quantile is not None else _OBJECTIVES[part.loss]
    settings = {
        "objective": objective, "learning_rate": part.learning_rate, "num_leaves": part.leaves,
        "min_data_in_leaf": part.min_leaf, "bagging_fraction": part.row_share, "bagging_freq": 1,
        "feature_fraction": part.column_share, "lambda_l2": part.l2, "seed": task.seed % 2**31, "deterministic": True,
        "force_row_wise": True, "num_threads": 1, "verbosity": -1, "alpha": task.quantile or 0.9,
    }  # fmt: skip
    rows = np.ascontiguousarray(matrix[:, columns])
    data = lightgbm.Dataset(rows, label=task.outcome, weight=task.weight, params={"verbosity": -1})
    return FittedTrees(lightgbm.train(settings, data, num_boost_round=part.trees), columns)


@dataclass(frozen=True)
class FittedNet:
    """A network over some columns; `network` is a `learn.fit.network.Network`."""

    network: Any
    columns: Index

    def margin(self, matrix: Matrix) -> Array:
        """Margins of rows, (n,)."""
        return np.asarray(self.network.margin(matrix[:, self.columns].astype(np.float64))[:, 0])

    def write(self, graph: Graph) -> str:
        """Writes itself: the encoding of the columns, then the layers."""
        encoding = self.network.encoding
        value = graph.node("Sub", graph.columns(self.columns[encoding.column].tolist()), graph.constant(encoding.low))
        value = graph.node("Div", value, graph.constant(encoding.width))
        value = graph.node("Clip", value, graph.constant(0.0), graph.constant(1.0))
        if (encoding.mask >= 0).any():
            value = self._hidden(graph, value)
        for layer in self.network.hidden:
            value = self._activated(graph, graph.dense(value, layer.weight, layer.bias))
        return graph.dense(value, self.network.output.weight, self.network.output.bias)

    def _hidden(self, graph: Graph, value: str) -> str:
        """The typical value where the mask says that nothing was known."""
        encoding = self.network.encoding
        masked = encoding.mask >= 0
        columns = self.columns[np.where(masked, encoding.mask, 0)].tolist()
        hidden = graph.node("Mul", graph.columns(columns), graph.constant(masked.astype(np.float32)))
        away = graph.node("Sub", graph.constant(encoding.centre), value)
        return graph.node("Add", value, graph.node("Mul", away, hidden))

    def _activated(self, graph: Graph, value: str) -> str:
        if self.network.activation == "silu":
            return graph.node("Mul", value, graph.node("Sigmoid", value))
        return graph.node({"relu": "Relu", "tanh": "Tanh"}[self.network.activation], value)


def _fit_net(part: Net, matrix: Matrix, columns: Index, task: Task) -> FittedNet:
    from posologist.learn.fit.mlp import NetworkClassifier, NetworkRegressor

    inside = {int(c): k for k, c in enumerate(columns)}
    shared: dict[str, Any] = {
        "hidden": part.hidden, "n_members": part.members, "n_bins": part.bins, "activation": part.activation,
        "dropout": part.dropout, "learning_rate": part.learning_rate, "weight_decay": part.decay,
        "max_epochs": part.epochs, "patience": part.patience, "random_state": task.seed % 2**31,
        "masks": {inside[c]: inside[m] for c, m in task.masks.items() if c in inside and m in inside},
    }  # fmt: skip
    if task.yes_no:
        estimator: Any = NetworkClassifier(**shared)
    elif task.quantile is not None:
        estimator = NetworkRegressor(loss="pinball", quantile=task.quantile, **shared)
    else:
        estimator = NetworkRegressor(loss=part.loss, **shared)
    estimator.fit(matrix[:, columns], task.outcome, sample_weight=task.weight, groups=task.group)
    return FittedNet(estimator.layers(), columns)


@dataclass(frozen=True)
class FittedKernel:
    """bias + sum of weight * exp(-|x - landmark|^2 * rate)."""

    landmarks: Array
    rate: float
    weight: Array
    bias: float
    columns: Index

    def similarity(self, rows: Array) -> Array:
        """Similarity of rows to the landmarks, (n, landmarks)."""
        square = (rows**2).sum(axis=1)[:, None] + (self.landmarks**2).sum(axis=1) - 2.0 * rows @ self.landmarks.T
        return np.exp(-self.rate * np.maximum(square, 0.0))

    def margin(self, matrix: Matrix) -> Array:
        """Margins of rows, (n,)."""
        return np.asarray(self.similarity(matrix[:, self.columns].astype(np.float64)) @ self.weight + self.bias)

    def write(self, graph: Graph) -> str:
        """Writes itself."""

        def wide(array: npt.ArrayLike) -> str:
            return graph.constant(array, np.float64)

        # in double precision: large weights of opposite sign cancel, and the rounding of single would remain
        rows = graph.node("Cast", graph.columns(self.columns.tolist()), to=TensorProto.DOUBLE)
        own = graph.node("MatMul", graph.node("Mul", rows, rows), wide(np.ones((len(self.columns), 1))))
        cross = graph.node("MatMul", rows, wide(-2.0 * self.landmarks.T))
        square = graph.node("Add", graph.node("Add", cross, own), wide((self.landmarks**2).sum(axis=1)))
        near = graph.node("Exp", graph.node("Mul", graph.node("Max", square, wide(0.0)), wide(-self.rate)))
        found = graph.node("Add", graph.node("MatMul", near, wide(self.weight.reshape(-1, 1))), wide([self.bias]))
        return graph.node("Cast", found, to=TensorProto.FLOAT)


def _fit_kernel(part: Kernel, matrix: Matrix, columns: Index, task: Task) -> FittedKernel:
    rows = matrix[:, columns].astype(np.float64)
    rng = np.random.Generator(np.random.PCG64(task.seed))
    chosen = np.sort(rng.permutation(len(rows))[: min(part.landmarks, len(rows))])
    landmarks = rows[chosen]
    apart = ((landmarks[:, None, :] - landmarks[None, :, :]) ** 2).sum(axis=2)
    middle = float(np.median(apart[np.triu_indices(len(landmarks), 1)])) or 1.0
    bare = FittedKernel(landmarks, 1.0 / (2.0 * part.width**2 * middle), np.zeros(len(landmarks)), 0.0, columns)
    similarity = bare.similarity(rows)
    values, vectors = np.linalg.eigh(similarity[chosen])
    kept = values > 1e-5 * values.max()
    whiten = vectors[:, kept] / np.sqrt(values[kept])
    if task.yes_no:
        weight, bias = logistic(similarity @ whiten, task.outcome, task.weight, part.penalty)
    else:
        weight, bias = _robust(similarity @ whiten, task, "squared", part.penalty)
    return FittedKernel(landmarks, bare.rate, whiten @ weight, bias, columns)


def _fit_crossed(part: Crossed, matrix: Matrix, columns: Index, task: Task) -> FittedPart:
    from posologist.learn.fit.bilinear import fitted_crossed

    return fitted_crossed(part, matrix, columns, task)


def _fit_factorised(part: Factorised, matrix: Matrix, columns: Index, task: Task) -> FittedPart:
    from posologist.learn.fit.bilinear import fitted_factorised

    return fitted_factorised(part, matrix, task)


def _fit_hierarchical(part: Hierarchical, matrix: Matrix, columns: Index, task: Task) -> FittedPart:
    from posologist.learn.fit.hierarchical import fitted_hierarchical

    return fitted_hierarchical(part, matrix, task)


_FITS: dict[type, Callable[[Any, Matrix, Index, Task], FittedPart]] = {
    Linear: _fit_linear,
    Trees: _fit_trees,
    Net: _fit_net,
    Kernel: _fit_kernel,
    Crossed: _fit_crossed,
    Factorised: _fit_factorised,
    Hierarchical: _fit_hierarchical,
}
