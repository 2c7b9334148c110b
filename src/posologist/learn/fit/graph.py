"""Writing ONNX graphs by hand: few standard operators, so that what runs is what was fitted and nothing else.

Converters that guess from an estimator turn some models silently wrong (DESIGN.md); here each part writes itself, and
saving compares the graph with the fitted parts on real rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, ML_OPSET, IR = 17, 3, 8  # old enough for every ONNX Runtime since 1.14
INPUT, OUTPUT = "rows", "outputs"


class Graph:
    """A graph under construction; its input is the matrix of rows (n, width)."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.source = INPUT
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, array: npt.ArrayLike, kind: type = np.float32) -> str:
        """Name of a constant tensor."""
        name = f"k{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(array, dtype=kind)), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Name of the result of an operator."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def columns(self, index: Sequence[int]) -> str:
        """Some columns of the input, in this order."""
        if list(index) == list(range(self.width)):
            return self.source
        return self.node("Gather", self.source, self.constant(index, np.int64), axis=1)

    def dense(self, source: str, weight: npt.ArrayLike, bias: npt.ArrayLike) -> str:
        """source @ weight + bias."""
        return self.node("Add", self.node("MatMul", source, self.constant(weight)), self.constant(bias))

    def trees(self, structures: Sequence[dict[str, Any]], columns: Sequence[int]) -> str:
        """Sum of LightGBM's trees (of `dump_model`) whose features are numbered by `columns`."""
        table = _TreeTable(columns)
        for number, structure in enumerate(structures):
            table.add(structure, number, [0])
        return self._append_trees(table)

    def _append_trees(self, table: _TreeTable) -> str:
        name = f"v{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(
                "TreeEnsembleRegressor", [self.source], [name], domain="ai.onnx.ml", n_targets=1,
                aggregate_function="SUM", post_transform="NONE", **table.attributes(),
            )
        )  # fmt: skip
        return name

    def written(self, outputs: Sequence[str]) -> bytes:
        """The model with these (n, 1) results side by side as its only output."""
        joined = self.node("Concat", *outputs, axis=1)
        self._nodes.append(helper.make_node("Identity", [joined], [OUTPUT]))
        rows = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, self.width])
        out = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, len(outputs)])
        graph = helper.make_graph(self._nodes, "served", [rows], [out], self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="posologist")
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


class _TreeTable:
    """Nodes of trees as the attributes of ONNX's TreeEnsembleRegressor."""

    def __init__(self, columns: Sequence[int]) -> None:
        self._columns = list(columns)
        self._nodes: list[tuple[int, int, int, str, float, int, int]] = []
        self._leaves: list[tuple[int, int, float]] = []

    def add(self, node: dict[str, Any], tree: int, counter: list[int]) -> int:
        """Adds a node with all below it; its number within the tree."""
        number = counter[0]
        counter[0] += 1
        if "leaf_value" in node:
            self._nodes.append((tree, number, 0, "LEAF", 0.0, 0, 0))
            self._leaves.append((tree, number, float(node["leaf_value"])))
            return number
        if node["decision_type"] != "<=":
            raise ValueError(f"a tree decides by '{node['decision_type']}', which is not written")
        place = len(self._nodes)
        self._nodes.append((tree, number, 0, "", 0.0, 0, 0))
        yes = self.add(node["left_child"], tree, counter)
        no = self.add(node["right_child"], tree, counter)
        column = self._columns[node["split_feature"]]
        self._nodes[place] = (tree, number, column, "BRANCH_LEQ", single(node["threshold"]), yes, no)
        return number

    def attributes(self) -> dict[str, Any]:
        trees, numbers, columns, modes, values, yes, no = (list(part) for part in zip(*self._nodes, strict=True))
        leaf_trees, leaf_numbers, weights = (list(part) for part in zip(*self._leaves, strict=True))
        return {
            "nodes_treeids": trees, "nodes_nodeids": numbers, "nodes_featureids": columns, "nodes_modes": modes,
            "nodes_values": values, "nodes_truenodeids": yes, "nodes_falsenodeids": no,
            "nodes_hitrates": [1.0] * len(trees), "nodes_missing_value_tracks_true": [0] * len(trees),
            "target_treeids": leaf_trees, "target_nodeids": leaf_numbers, "target_ids": [0] * len(weights),
            "target_weights": weights,
        }  # fmt: skip


def single(threshold: float) -> float:
    """The largest number of single precision that is not above a threshold.

    For rows of single precision, x <= threshold and x <= single(threshold) are the same question.
    """
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))
