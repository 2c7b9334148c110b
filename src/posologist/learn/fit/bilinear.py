"""Parts of a served model in which columns act through each other: products of columns, and a factorisation.

Both are one form once they are fitted: two linear maps of a row, multiplied and summed. It is kept and written in
double precision, since terms of opposite sign cancel in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from scipy.linalg import cho_factor, cho_solve

from posologist.core.errors import ModelError
from posologist.learn.features import Array, Index
from posologist.learn.fit.factorise import Factorisation
from posologist.learn.fit.graph import Graph
from posologist.learn.fit.parts import Matrix, Task, columns_of, logistic
from posologist.learn.fit.recipe import Crossed, Factorised

_LEAST_SPREAD = 0.1  # a product that varies less (of a state rarer than 1 %) is not magnified to the size of the others
_ROUNDS = 200  # of Huber's loss
_SETTLED = 1e-9  # the largest change of a margin at which they end (standard deviations)
_MOST_STATES = 200  # of treatments; more are measurements, and would be learned by heart


@dataclass(frozen=True)
class States:
    """What rows with one of these states of some columns add to the second map: (n_states, n_columns), (.., size)."""

    columns: Index
    state: Matrix
    more: Array

    def value(self, matrix: npt.NDArray[Any]) -> Array:
        """What is added for rows, (n, size)."""
        same = (matrix[:, None, self.columns] == self.state).all(axis=2)
        return np.asarray(same.astype(np.float64) @ self.more)

    def write(self, graph: Graph) -> str:
        """Writes itself."""
        rows = graph.node("Unsqueeze", graph.columns(self.columns.tolist()), graph.constant([1], np.int64))
        away = graph.node("Abs", graph.node("Sub", rows, graph.constant(self.state)))
        same = graph.node("Equal", graph.node("ReduceMax", away, axes=[2], keepdims=0), graph.constant(0.0))
        return graph.node("MatMul", graph.node("Cast", same, to=TensorProto.DOUBLE), wide(graph, self.more))


@dataclass(frozen=True)
class FittedBilinear:
    """Sum over k of (matrix @ left + left_bias)[k] * (matrix @ right + right_bias + what its state adds)[k]."""

    left: Array
    left_bias: Array
    right: Array
    right_bias: Array
    states: States | None = field(default=None)

    def margin(self, matrix: npt.NDArray[Any]) -> Array:
        """Margins of rows, (n,)."""
        rows = matrix.astype(np.float64)
        second = rows @ self.right + self.right_bias
        if self.states is not None:
            second = second + self.states.value(matrix)
        return np.asarray(np.einsum("nk,nk->n", rows @ self.left + self.left_bias, second))

    def write(self, graph: Graph, rows: str = "") -> str:
        """Writes itself; `rows` is a matrix of double precision, none: the graph's input."""
        rows = rows or graph.node("Cast", graph.source, to=TensorProto.DOUBLE)
        first, second = (
            graph.node("Add", graph.node("MatMul", rows, wide(graph, weight)), wide(graph, bias))
            for weight, bias in ((self.left, self.left_bias), (self.right, self.right_bias))
        )
        if self.states is not None:
            second = graph.node("Add", second, self.states.write(graph))
        product = graph.node("Mul", first, second)
        found = graph.node("ReduceSum", product, graph.constant([1], np.int64), keepdims=1)
        return graph.node("Cast", found, to=TensorProto.FLOAT)


def wide(graph: Graph, array: npt.ArrayLike) -> str:
    """A constant of double precision."""
    return graph.constant(array, np.float64)


def fitted_crossed(part: Crossed, matrix: Matrix, columns: Index, task: Task) -> FittedBilinear:
    """Ridge on columns and products; the products are scaled so that one penalty serves both.

    Raises
    ------
    ModelError
        If a quantile is asked for.
    """
    _check_centre(part, task)
    left, right = columns_of(part.left, task.columns), columns_of(part.right, task.columns)
    main = np.union1d(columns, np.union1d(left, right))
    rows = matrix.astype(np.float64)
    share = task.weight / task.weight.sum()
    middle = share @ rows
    moved = rows - middle
    products = (moved[:, left, None] * moved[:, None, right]).reshape(len(rows), -1)
    centre = share @ products
    products -= centre
    unit = np.sqrt(part.penalty / part.product_penalty) / np.maximum(np.sqrt(share @ products**2), _LEAST_SPREAD)
    design = np.concatenate([moved[:, main], products * unit], axis=1)
    if task.yes_no:
        found, bias = logistic(design, task.outcome, task.weight, part.penalty)
    else:
        found, bias = _ridge(design, task, part)
    alone, each = np.zeros(rows.shape[1]), found[len(main) :] * unit
    alone[main] = found[: len(main)]
    # one map: for each right column its sum over left columns, then what acts alone; the other: right columns, then 1
    size = len(right) + 1
    first, second = np.zeros((rows.shape[1], size)), np.zeros((rows.shape[1], size))
    first[left, :-1] = each.reshape(len(left), len(right))
    second[right, np.arange(len(right))] = 1.0
    first_bias, second_bias = -middle @ first, np.append(-middle[right], 1.0)
    first[:, -1], first_bias[-1] = alone, bias - middle @ alone - centre @ each
    return FittedBilinear(first, first_bias, second, second_bias)


def _ridge(design: Array, task: Task, part: Crossed) -> tuple[Array, float]:
    """Ridge on centred columns; Huber's loss by the same normal matrix, whose square touches it from above."""
    share = task.weight / task.weight.sum()
    normal = cho_factor((design * task.weight[:, None]).T @ design + part.penalty * np.eye(design.shape[1]))
    bias = float(share @ task.outcome)
    found = np.asarray(cho_solve(normal, design.T @ (task.weight * (task.outcome - bias))))
    if part.loss == "squared":
        return found, bias
    residual = task.outcome - bias - design @ found
    for _ in range(_ROUNDS):
        pull = np.clip(residual, -1.0, 1.0)
        step = cho_solve(normal, design.T @ (task.weight * pull) - part.penalty * found)
        rise = float(share @ pull)
        change = design @ step + rise
        found, bias, residual = found + step, bias + rise, residual - change
        if np.abs(change).max() < _SETTLED:
            break
    return found, bias


def fitted_factorised(part: Factorised, matrix: Matrix, task: Task) -> FittedBilinear:
    """The factorisation of patients x treatments, as it answers for a new patient.

    Raises
    ------
    ModelError
        If it cannot be learned from these rows: a yes/no outcome, a quantile, one patient, one treatment,
        treatments whose states are too many, or equal outcomes.
    """
    _check_centre(part, task)
    if task.yes_no:
        raise _refused(part, "a yes/no outcome is not factorised", "use crossed, trees or another part")
    left, right = columns_of(part.left, task.columns), columns_of(part.right, task.columns)
    seen = task.weight > 0
    weight, group = task.weight[seen], task.group[seen].astype(np.float64)
    state, treatment = np.unique(matrix[np.ix_(seen, right)], axis=0, return_inverse=True)
    own = np.column_stack([group, matrix[np.ix_(seen, left)].astype(np.float64)])
    people, patient = np.unique(own, axis=0, return_inverse=True)
    _check_learnable(part, len(state), len(np.unique(group)), task.outcome[seen])
    model = Factorisation(part.rank, ridge=part.ridge, sweeps=part.sweeps, random_state=task.seed % 2**31).fit(
        np.column_stack([patient.reshape(-1), treatment.reshape(-1)]), task.outcome[seen], weight / weight.mean(),
        patient_side=people[:, 1:], treatment_side=state.astype(np.float64),
    )  # fmt: skip
    return _served(model, left, right, state, matrix.shape[1])


def _served(model: Factorisation, left: Index, right: Index, state: Matrix, width: int) -> FittedBilinear:
    """Factors of the patient, 1 and bias (with the mean), times factors of the treatment, bias and 1."""
    (of_patient, at_patient), (of_treatment, at_treatment) = model.lines()
    size = len(at_patient) + 1
    first, second = np.zeros((width, size)), np.zeros((width, size))
    of_first = [*range(size - 2), size - 1]  # the place before the last is 1 in the first map, the last in the second
    first[np.ix_(left, of_first)], second[right, : size - 1] = of_patient, of_treatment
    first_bias, second_bias = np.ones(size), np.ones(size)
    first_bias[of_first], second_bias[: size - 1] = at_patient, at_treatment
    first_bias[-1] += model.mean_
    known = model.treatments_.value.astype(np.float64)
    more = np.zeros((len(state), size))
    more[:, : size - 1] = known - (state.astype(np.float64) @ of_treatment + at_treatment)
    return FittedBilinear(first, first_bias, second, second_bias, States(right, state, more))


def _check_centre(part: Crossed | Factorised, task: Task) -> None:
    if task.quantile is not None:
        raise _refused(part, "a quantile cannot be learned by it", "use linear or trees for quantiles")


def _check_learnable(part: Factorised, states: int, people: int, outcome: Array) -> None:
    told = ", ".join(part.right)
    if states > _MOST_STATES:
        raise _refused(
            part,
            f"{states} states of {told} are no list of treatments",
            "name categories there, and numbers on the left",
        )
    if states < 2:
        raise _refused(part, f"the rows have one state of {told}", "give rows of two treatments, or leave it out")
    if people < 2:
        raise _refused(part, "the rows are of one patient", "give rows of more patients, or leave it out")
    if np.ptp(outcome) == 0.0:
        raise _refused(part, "all outcomes are equal", "check the outcome, or leave it out")


def _refused(part: Crossed | Factorised, what: str, hint: str) -> ModelError:
    return ModelError(what, where=f"recipe, {part.kind}", hint=hint)
