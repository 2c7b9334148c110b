"""A linear part whose slopes may differ between treatments, as far as the rows ask for it (empirical Bayes).

    margin = bias + sum_j x_j (a_j + sum over features t of `right`: b_{j,t,level of t})

with a_j ~ N(0, v_j) and b_{j,t,.} ~ N(0, v_{j,t}). The variances and that of the noise maximise the probability of the
rows (MacKay's fixed point); a slope that the rows do not need gets a variance near zero and with it vanishes. Row
weights count as numbers of equal rows.

References
----------
MacKay. Bayesian interpolation. Neural Computation 1992;4:415-447.
Neal. Bayesian Learning for Neural Networks. Springer 1996 (automatic relevance determination).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from scipy.linalg import cho_factor, cho_solve

from posologist.core.errors import ModelError
from posologist.learn.features import Array, Index
from posologist.learn.fit.bilinear import FittedBilinear, wide
from posologist.learn.fit.graph import Graph
from posologist.learn.fit.parts import Matrix, Task, columns_of
from posologist.learn.fit.recipe import Hierarchical

_LEAST_VARIANCE = 1e-7  # of a slope, in standardised units: it is then none
_SETTLED = 1e-3  # the largest relative change of the noise and of the sum of the variances at which the rounds end
_STATES = 12  # different values up to which a column is a flag or a count, and has no square
_CUT = 3.0  # standard deviations beyond which a square stays


@dataclass(frozen=True)
class FittedHierarchical:
    """The bilinear form over the columns and the squares of some of them."""

    columns: Index
    centre: Array
    scale: Array
    form: FittedBilinear

    def margin(self, matrix: Matrix) -> Array:
        """Margins of rows, (n,)."""
        return self.form.margin(self.widened(matrix))

    def widened(self, matrix: npt.NDArray[np.floating]) -> Array:
        """The columns, then the squares."""
        rows = matrix.astype(np.float64)
        away = np.clip((rows[:, self.columns] - self.centre) / self.scale, -_CUT, _CUT)
        return np.concatenate([rows, away**2 - 1.0], axis=1)

    def write(self, graph: Graph) -> str:
        """Writes itself."""
        rows = graph.node("Cast", graph.source, to=TensorProto.DOUBLE)
        if not len(self.columns):
            return self.form.write(graph, rows)
        own = graph.node("Gather", rows, graph.constant(self.columns, np.int64), axis=1)
        away = graph.node("Div", graph.node("Sub", own, wide(graph, self.centre)), wide(graph, self.scale))
        away = graph.node("Min", graph.node("Max", away, wide(graph, -_CUT)), wide(graph, _CUT))
        square = graph.node("Sub", graph.node("Mul", away, away), wide(graph, 1.0))
        return self.form.write(graph, graph.node("Concat", rows, square, axis=1))


@dataclass(frozen=True)
class _Terms:
    """The terms of the model: their values on rows, and the number of the variance that each has, (n_terms,)."""

    values: Array
    group: Index


def fitted_hierarchical(part: Hierarchical, matrix: Matrix, task: Task) -> FittedHierarchical:
    """The part fitted to rows.

    Raises
    ------
    ModelError
        If a quantile or a yes/no outcome is asked for.
    """
    if task.quantile is not None or task.yes_no:
        raise ModelError(
            "only the mean of a quantity is learned by it", where="recipe, hierarchical", hint="use crossed or trees"
        )
    left = columns_of(part.left, task.columns)
    right = [columns_of((name,), task.columns) for name in part.right]
    bare = _squares(matrix, left if part.curved else left[:0], task)
    rows, width = bare.widened(matrix), matrix.shape[1]
    owners = [task.columns[j].split("=")[0].removesuffix("?") for j in left]
    owners += [f"square of {task.columns[j]}" for j in bare.columns]
    columns = np.concatenate([left, width + np.arange(len(bare.columns))])
    middle = (task.weight / task.weight.sum()) @ rows[:, columns]
    terms = _terms(rows[:, columns] - middle, rows, owners, right)
    form = _form(columns, np.concatenate(right), middle, rows.shape[1], *_most_probable(terms, task, part.rounds))
    return FittedHierarchical(bare.columns, bare.centre, bare.scale, form)


def _squares(matrix: Matrix, left: Index, task: Task) -> FittedHierarchical:
    """Which columns have a square, with their centre and scale; the form is still empty."""
    curved = [int(j) for j in left if len(np.unique(matrix[:, j])) > _STATES]
    index = np.array(curved, dtype=np.int64)
    share = task.weight / task.weight.sum()
    own = matrix[:, index].astype(np.float64)
    centre = share @ own
    scale = np.sqrt(share @ (own - centre) ** 2)
    empty = np.zeros((0, 0))
    return FittedHierarchical(index, centre, scale, FittedBilinear(empty, empty.ravel(), empty, empty.ravel()))


def _form(columns: Index, levels: Index, middle: Array, width: int, slope: Array, bias: float) -> FittedBilinear:
    """One map: for each level its sum over columns, then what acts alone; the other map: the levels, then 1."""
    number = len(columns)
    alone, own = slope[:number], slope[number : number * (len(levels) + 1)].reshape(len(levels), number)
    of_level = slope[number * (len(levels) + 1) :]
    size = len(levels) + 1
    first, second = np.zeros((width, size)), np.zeros((width, size))
    first[columns, :-1], first[columns, -1] = own.T, alone
    second[levels, np.arange(len(levels))] = 1.0
    first_bias = np.append(of_level - own @ middle, bias - middle @ alone)
    return FittedBilinear(first, first_bias, second, np.append(np.zeros(size - 1), 1.0))


def _terms(moved: Array, rows: Array, owners: list[str], right: list[Index]) -> _Terms:
    """Left columns alone, their products with every level, the levels alone; columns of a feature share a variance."""
    _, feature = np.unique(owners, return_inverse=True)
    number = int(feature.max()) + 1
    blocks, groups = [moved], [feature]
    for k, columns in enumerate(right):
        for level in columns:
            blocks.append(moved * rows[:, [level]])
            groups.append(feature + number * (k + 1))
    for k, columns in enumerate(right):
        blocks.append(rows[:, columns])
        groups.append(np.full(len(columns), number * (len(right) + 1) + k))
    return _Terms(np.concatenate(blocks, axis=1), np.concatenate(groups).astype(np.int64))


def _most_probable(terms: _Terms, task: Task, rounds: int) -> tuple[Array, float]:
    """Slopes and bias under the variances that make the rows most probable."""
    weight, n = task.weight, float(task.weight.sum())
    centre, mean = weight @ terms.values / n, float(weight @ task.outcome / n)
    moved, outcome = terms.values - centre, task.outcome - mean
    normal, pull = (moved * weight[:, None]).T @ moved, moved.T @ (weight * outcome)
    total = float(weight @ outcome**2)
    noise = max(total / n, 1e-12)
    _, group = np.unique(terms.group, return_inverse=True)
    variance = np.full(int(group.max()) + 1, noise / 16.0)
    slope, identity = np.zeros(len(pull)), np.eye(len(pull))
    for _ in range(rounds):
        precision = 1.0 / variance[group]
        spread = cho_solve(cho_factor(normal / noise + np.diag(precision)), identity)
        slope = spread @ pull / noise
        known = np.clip(1.0 - np.diag(spread) * precision, 0.0, 1.0)  # share that the rows tell of each slope
        before = noise, variance.sum()
        size, told = np.bincount(group, slope**2), np.bincount(group, known)
        variance = np.maximum(size / np.maximum(told, 1e-9), _LEAST_VARIANCE)
        rest = total - 2.0 * slope @ pull + slope @ normal @ slope
        noise = max(rest / max(n - float(known.sum()), 1.0), 1e-9)
        if max(abs(noise / before[0] - 1.0), abs(variance.sum() / before[1] - 1.0)) < _SETTLED:
            break
    return slope, mean - float(centre @ slope)
