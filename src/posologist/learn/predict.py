"""A served model at work: margins from its ONNX graph, calibrated, with interval, contributions and coverage.

Only NumPy and ONNX Runtime are needed, and the latter is imported when a model is opened. One thread, no spinning: a
small model is answered in the caller's own time, and a service with many callers is not slowed by idle threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from posologist.core.errors import ModelError, NumericsError
from posologist.core.evidence import Ledger
from posologist.core.manifest import Calibration, Link, Manifest
from posologist.core.prediction import Coverage, Far, Prediction, Remark
from posologist.core.values import Contribution, Contributions, Estimate, EvidenceKey, rounded
from posologist.learn.conformal import interval
from posologist.learn.contributions import Shares, order_by_size, shapley
from posologist.learn.coverage import CoverageReader, Reading
from posologist.learn.features import Array, Encoder, Frame, Row, frame_of_rows

_NAMED = 3  # features that are named as setting a patient apart
_SMALL = 0.005  # parts below this share of all parts together go into the rest
_PROBABILITY_EDGE = 1e-9


def linked(outcome: Array, link: Link) -> Array:
    """Outcome on the margin's scale."""
    if link == "sqrt":
        return np.sqrt(outcome)
    if link == "log":
        return np.log(outcome)
    if link == "logit":
        inside = np.clip(outcome, _PROBABILITY_EDGE, 1.0 - _PROBABILITY_EDGE)
        return np.asarray(np.log(inside / (1.0 - inside)))
    return outcome


def unlinked(margin: Array, link: Link) -> Array:
    """Outcome of a margin; below zero on the square root's scale there is nothing, so it is zero."""
    if link == "sqrt":
        return np.asarray(np.maximum(margin, 0.0) ** 2)
    if link == "log":
        return np.exp(margin)
    if link == "logit":
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margin, -500.0, 500.0))))
    return margin


def calibrated(margin: Array, calibration: Calibration, link: Link) -> Array:
    """Outcome of a margin after calibration."""
    if calibration.method == "none":
        return unlinked(margin, link)
    return np.interp(margin, calibration.margin, calibration.value)


@dataclass(frozen=True)
class Answers:
    """Answers of a model for rows, (n,) each, in the unit of its outcome.

    They are given for every row; `abstained` marks those that lie outside the training population, where `predict`
    withholds them. `nearer` is the share of training patients that lie nearer.
    """

    value: Array
    low: Array
    high: Array
    margin: Array
    nearer: Array
    abstained: npt.NDArray[np.bool_]


class Served:
    """A model as it is served: a manifest and its graph."""

    def __init__(self, manifest: Manifest, graph: bytes) -> None:
        self.manifest = manifest
        self.encoder = Encoder(manifest.features, manifest.preparation)
        self._session = _session(graph, manifest.name)
        self._input = self._session.get_inputs()[0].name
        self._coverage = CoverageReader(manifest.coverage, self.encoder)
        self._weights = np.asarray(manifest.weights, dtype=np.float64)
        self._typical = np.asarray(manifest.typical, dtype=np.float64)
        self._tells_missing = self.encoder.tells_missing()
        self._check_width()

    def _check_width(self) -> None:
        found = self.outputs(self._typical.reshape(1, -1)).shape[1]
        named = len(self.manifest.components) + len(self.manifest.extra_outputs)
        if found != named:
            raise ModelError(
                f"the graph has {found} outputs, the manifest names {named}",
                where=self.manifest.name,
                hint="train the model again",
            )

    def outputs(self, values: Array) -> Array:
        """All outputs of the graph for raw rows, (n, components + extra outputs)."""
        matrix = self.encoder.matrix(values)
        return np.asarray(self._session.run(None, {self._input: matrix})[0], dtype=np.float64)

    def _margin(self, outputs: Array) -> Array:
        return np.asarray(self.manifest.intercept + outputs[:, : len(self._weights)] @ self._weights)

    def margin(self, values: Array) -> Array:
        """Margin of raw rows (n, p), before calibration."""
        return self._margin(self.outputs(values))

    def answers(self, frame: Frame) -> Answers:
        """Answers for a frame of the model's own schema.

        Raises
        ------
        ModelError
            If the frame is of another schema.
        """
        self._check_schema(frame)
        return self._answers(frame.values, self.outputs(frame.values), self._coverage.read(frame.values))

    def _check_schema(self, frame: Frame) -> None:
        if frame.schema is not self.manifest.features and frame.schema.digest != self.manifest.features_digest:
            raise ModelError(
                "the rows are of another schema than the model's",
                where=self.manifest.name,
                hint="build the rows with the task's present schema, or train the model again",
            )

    def _answers(self, values: Array, outputs: Array, reading: Reading) -> Answers:
        held = self.manifest
        margin = self._margin(outputs)
        if not np.all(np.isfinite(outputs)):
            raise NumericsError("the graph has no finite answer", where=held.name, hint="check the row's values")
        value = calibrated(margin, held.calibration, held.link)
        if held.kind == "classification":
            low, high = self._probability_interval(margin, value)
        else:
            low, high = self._conformal(values, outputs, margin)
        value, low, high = map(self._bounded, (value, low, high))
        return Answers(value, np.minimum(low, value), np.maximum(high, value), margin, reading.nearer, ~reading.covered)

    def _bounded(self, outcome: Array) -> Array:
        low, high = self.manifest.bounds
        return np.asarray(np.clip(outcome, -math.inf if low is None else low, math.inf if high is None else high))

    def _probability_interval(self, margin: Array, value: Array) -> tuple[Array, Array]:
        calibration = self.manifest.calibration
        if not calibration.low:
            return value, value
        low = np.interp(margin, calibration.margin, calibration.low)
        return low, np.interp(margin, calibration.margin, calibration.high)

    def _conformal(self, values: Array, outputs: Array, margin: Array) -> tuple[Array, Array]:
        held = self.manifest
        extra = {name: outputs[:, len(self._weights) + k] for k, name in enumerate(held.extra_outputs)}
        names = held.features.names
        wanted = {t.feature: values[:, names.index(t.feature)] for t in held.interval.taxonomies if t.feature}
        low, high = interval(held.interval, margin, extra, wanted)
        return unlinked(low, held.link), unlinked(high, held.link)

    def shares(self, values: Array) -> Shares:
        """Additive parts of each row's output: the value for a quantity, the margin for a probability."""
        known = ~np.isnan(values)
        differs = np.where(known, values != self._typical, self._tells_missing)
        return shapley(self._explained, values, self._typical, differs=differs, seed=self.manifest.features_digest)

    def _explained(self, values: Array) -> Array:
        margin = self.margin(values)
        if self.manifest.kind == "classification":
            return margin
        return self._bounded(unlinked(margin, self.manifest.link))

    def importance(self, frame: Frame) -> dict[str, float]:
        """Mean absolute part of each feature over rows, by name: how much the model moves with it in these patients."""
        parts = np.abs(self.shares(frame.values).parts).mean(axis=0)
        return dict(zip(self.manifest.features.names, map(float, parts), strict=True))

    def predict(self, rows: Sequence[Row], *, ledger: Ledger) -> tuple[Prediction, ...]:
        """Predictions for rows of the model's own schema, in their order.

        Parameters
        ----------
        ledger
            Receives the model's manifest as a leaf, and the run on each row.
        """
        if not rows:
            return ()
        frame = frame_of_rows(self.manifest.features, rows)
        reading = self._coverage.read(frame.values)
        answers = self._answers(frame.values, self.outputs(frame.values), reading)
        shares = self.shares(frame.values)
        model = self.leaf(ledger)
        return tuple(
            _Told(self, row, i, model, ledger).prediction(answers, shares, reading, self._coverage)
            for i, row in enumerate(rows)
        )

    def leaf(self, ledger: Ledger) -> EvidenceKey:
        """The model as a leaf: its name, and from whom it was learned."""
        held = self.manifest
        text = f"{held.name}: learned from {held.training.n} {held.training.label} ({held.training.data})"
        source = f"manifest, graph {held.graph_digest[:12]}"
        return ledger.add("model", text, source=source, version=held.version)

    def run(self, row: Row, model: EvidenceKey, ledger: Ledger) -> EvidenceKey:
        """The model's run on one row: it rests on the model and on what was known."""
        text = f"{self.manifest.name} for this patient"
        return ledger.add("derived", text, because=[model, *(k for k in row.because if k)])


@dataclass(frozen=True)
class _Told:
    """One row of a run, as it is told."""

    served: Served
    row: Row
    place: int
    model: EvidenceKey
    ledger: Ledger

    def prediction(self, answers: Answers, shares: Shares, reading: Reading, reader: CoverageReader) -> Prediction:
        held, i = self.served.manifest, self.place
        run = self.served.run(self.row, self.model, self.ledger)
        covered = not bool(answers.abstained[i])
        return Prediction(
            task=held.task,
            model=f"{held.name} {held.version}",
            label=held.training.label,
            estimate=self._estimate(answers, run) if covered else None,
            contributions=self._contributions(shares, run) if covered else None,
            explained=_EXPLAINED[held.kind].format(
                outcome=held.outcome, in_unit="" if held.unit == "1" else f" in {held.unit}"
            ),
            coverage=self._coverage(answers, reading, reader, run),
            assumed=self._assumed(),
            remarks=self.row.remarks,
            because=(run,),
        )

    def _estimate(self, answers: Answers, run: EvidenceKey) -> Estimate:
        i, held = self.place, self.served.manifest
        low, value, high = (rounded(float(found[i])) for found in (answers.low, answers.value, answers.high))
        return Estimate(
            value=value, unit=held.unit, low=min(low, value), high=max(high, value), level=held.interval.level,
            because=(run,),
        )  # fmt: skip

    def _contributions(self, shares: Shares, run: EvidenceKey) -> Contributions:
        held, parts = self.served.manifest, shares.parts[self.place]
        base, output = float(shares.base), float(shares.output[self.place])
        least = _SMALL * float(np.abs(parts).sum())
        shown = [int(j) for j in order_by_size(parts) if abs(parts[j]) > max(least, 1e-12)]
        told = tuple(self._part(j, float(parts[j])) for j in shown)
        rest = output - base - math.fsum(part.value for part in told)
        unit = "log odds" if held.kind == "classification" else held.unit
        return Contributions(base=base, output=output, rest=rest, unit=unit, parts=told, because=(run,))

    def _part(self, j: int, value: float) -> Contribution:
        feature = self.served.manifest.features.features[j]
        return Contribution(feature=feature.name, text=self._say(j), value=value, because=(self._key(j),))

    def _say(self, j: int) -> str:
        known = self.row.values[j]
        return self.served.manifest.features.features[j].say(None if math.isnan(known) else known)

    def _key(self, j: int) -> EvidenceKey:
        key = self.row.because[j]
        if key is not None:
            return key
        return self.ledger.add("assumption", f"{self._say(j)}{_TYPICAL}", because=[self.model])

    def _assumed(self) -> tuple[Remark, ...]:
        unknown = [j for j, key in enumerate(self.row.because) if key is None]
        return tuple(Remark(text=f"{self._say(j)}{_TYPICAL}", because=(self._key(j),)) for j in unknown)

    def _coverage(self, answers: Answers, reading: Reading, reader: CoverageReader, run: EvidenceKey) -> Coverage:
        i, held = self.place, self.served.manifest
        values, parts = np.asarray(self.row.values), reading.parts[i]
        unusual = reader.unusual(values, parts)
        if answers.abstained[i] and not unusual:
            unusual = [int(np.argmax(parts))]
        far = tuple(
            Far(feature=held.features.features[j].name, text=self._say(j), because=(self._key(j),))
            for j in unusual[:_NAMED]
        )
        nearer = rounded(float(answers.nearer[i]))
        covered = not bool(answers.abstained[i])
        return Coverage(nearer=nearer, limit=held.coverage.limit, covered=covered, far=far, because=(run,))


_TYPICAL = ": the model goes on what is typical of its training patients"
_EXPLAINED = {
    "regression": "parts of {outcome}{in_unit}",
    "classification": "parts of the log odds of {outcome}, before calibration",
}


def _session(graph: bytes, name: str) -> Any:
    import onnxruntime  # 90 ms, paid only where a model is opened

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"the graph cannot be opened: {error}", where=name, hint="train the model again") from error
