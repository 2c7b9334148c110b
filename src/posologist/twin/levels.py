"""Patients with their levels as one array problem: scores of random effects in, predictions of the levels out.

Patients whose tables have one shape share a problem: the same times, doses and measured records, or, where closed
forms can be added up (`superposition`), only equally many levels. Covariates, levels and limits may differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from posologist.core.errors import InputError, ModelError
from posologist.knowledge.models import CONCENTRATION
from posologist.twin import individual as parts
from posologist.twin import linear, nonlinear
from posologist.twin.individual import Array, Effects, individual
from posologist.twin.residual import ErrorModel, Flags, Residual, error_model
from posologist.twin.superposition import Kind, Schedule, kinds_of, schedule_of
from posologist.twin.system import Structure

_MAY_BE_ZERO = ("F", "LAG", "D")  # bioavailability, lag and duration, also F2, LAG2 ...; all others are positive


class Model(parts.Model, Protocol):
    """A model with residual error; `PkModel` has it. The predictor reads its structure."""

    @property
    def residual(self) -> Sequence[Residual]:
        """Error of each output."""

    @property
    def units(self) -> Mapping[str, str]:
        """The outputs that the structure predicts; asked for where one is measured that is no concentration."""


class Record(parts.Record, Protocol):
    """A record of an event table."""

    @property
    def time(self) -> float:
        """Time (h)."""

    @property
    def evid(self) -> int:
        """Kind of event; 0 for a level."""

    @property
    def amt(self) -> float:
        """Amount in the model's dose unit."""

    @property
    def rate(self) -> float:
        """Rate of an infusion (amount/h)."""

    @property
    def cmt(self) -> int:
        """Compartment."""

    @property
    def ii(self) -> float:
        """Interval of repeated doses (h)."""

    @property
    def addl(self) -> int:
        """Number of doses that follow."""

    @property
    def ss(self) -> int:
        """Steady-state flag."""

    @property
    def dv(self) -> float | None:
        """Level in the model's unit."""

    @property
    def mdv(self) -> int:
        """1 where there is no level."""

    @property
    def limit(self) -> float | None:
        """Limit under which a censored level lies, in the model's unit; None for a level that was quantified."""


class Table(Protocol):
    """A patient's event table."""

    @property
    def subject(self) -> str:
        """Identifier of the patient."""

    @property
    def records(self) -> Sequence[Any]:
        """Records in order of time, each a `Record`."""


class Predict(Protocol):
    """Prediction at every record, (n_draws, n_records), of one mapping of parameters for each record."""

    def __call__(self, structure: Any, parameters: Sequence[Mapping[str, Array]], table: Any, /) -> Array: ...


def is_level(record: Record) -> bool:
    """Whether a record carries a level, quantified or below its limit."""
    return record.evid == 0 and record.mdv == 0 and (record.dv is not None or record.limit is not None)


def is_below(record: Record) -> bool:
    """Whether a level lies below the limit of quantification that its record states."""
    return record.limit is not None


def output_of(model: Model, record: Record) -> str:
    """What a record measures: the model's only output, or the one that the column DVID counts (from 1).

    Raises
    ------
    InputError
        If the model has several outputs and the record does not say which, or it names one that the model lacks.
    """
    number = record.covariates.get("DVID", record.covariates.get("dvid"))
    if number is None and len(model.residual) == 1:
        return model.residual[0].output
    if number is None or number not in range(1, len(model.residual) + 1):
        outputs = ", ".join(residual.output for residual in model.residual)
        found = "does not say what it measures" if number is None else f"has DVID {number:g}"
        raise InputError(
            f"the level at {record.time:g} h {found}",
            hint=f"give DVID, 1 to {len(model.residual)}, for {outputs}",
        )
    return model.residual[int(number) - 1].output


def predict_measured(model: Model, parameters: Sequence[Mapping[str, Array]], table: Table) -> Array:
    """At every record with a level a prediction of what it measures, elsewhere the central concentration.

    Raises
    ------
    InputError
        If a level does not say what it measures.
    ModelError
        If the structure does not predict it.
    """
    run: Any = linear if cast(Structure, model).elimination == "linear" else nonlinear
    answers: dict[str, Array] = run.predict_outputs(model, parameters, table)
    predicted = np.array(answers[CONCENTRATION])
    for i in levels_at(table):
        output = output_of(model, table.records[i])
        if output not in answers:
            raise _not_predicted((output,))
        predicted[:, i] = answers[output][:, i]
    return predicted


def _not_predicted(outputs: Sequence[str]) -> ModelError:
    return ModelError(f"the model predicts no {', '.join(outputs)}", hint="give a predictor of that output")


def levels_at(table: Table) -> tuple[int, ...]:
    """Positions of the records that carry a level."""
    return tuple(i for i, record in enumerate(table.records) if is_level(record))


class Shape(NamedTuple):
    """What tables have in common that share a problem; `kinds` where closed forms are added up, else None."""

    outputs: tuple[str, ...]
    kinds: tuple[Kind, ...] | None
    rest: tuple[Any, ...] = ()


def shape_of(model: Model, table: Table, predict: Predict | None) -> Shape:
    """Shape of a table: times, doses and levels; by closed forms only the number of levels and the kinds of dose.

    Raises
    ------
    InputError
        If a level does not say what it measures.
    ModelError
        If it measures something that the structure does not predict, and no predictor is given that answers it.
    """
    outputs = tuple(output_of(model, table.records[i]) for i in levels_at(table))
    others = set(outputs) - {CONCENTRATION}
    if predict is None and (unknown := sorted(others - set(model.units)) if others else []):
        raise _not_predicted(unknown)
    if predict is None and not others and _is_constant(model, table):
        names = tuple(parts.typical_values(model, table.records[:1])[0])
        kinds = kinds_of(model, table.records, names)
        if kinds is not None:
            return Shape(outputs, kinds)
    rest = tuple(
        (r.time, r.evid, r.amt, r.rate, r.cmt, r.ii, r.addl, r.ss, is_level(r), r.covariates.get(parts.OCCASION))
        for r in table.records
    )
    return Shape(outputs, None, rest)


def _is_constant(model: Model, table: Table) -> bool:
    """Whether the parameters hold all the time: no occasions, and each covariate has one value, on every record."""
    if len(model.occasion) or not table.records:
        return False
    first = table.records[0].covariates
    return all(
        record.covariates.get(covariate.name) == first.get(covariate.name)
        for covariate in model.covariates
        for record in table.records
    )


@dataclass(frozen=True)
class Problem:
    """Patients with tables of one shape.

    `typical` has one mapping for each record (one in all where closed forms are added up, by `schedule`), values
    (n_patients,); `levels` and `below` are (n_patients, n_levels), on the scale of the error.
    """

    model: Model
    predict: Predict
    tables: Sequence[Table]
    typical: tuple[Mapping[str, Array], ...]
    effects: Effects
    at: tuple[int, ...]
    error: ErrorModel
    levels: Array
    below: Flags
    schedule: Schedule | None

    def parameters(self, owner: Any, scores: Array) -> tuple[dict[str, Array], ...]:
        """Parameters over the interval that ends at each record, for draws of the patients `owner` (n_draws,)."""
        etas = self.effects.all_etas(scores)
        known: dict[tuple[int, int], dict[str, Array]] = {}
        result = []
        for typical, occasion in zip(self.typical, self.effects.occasion_of, strict=True):
            key = (id(typical), occasion)
            if key not in known:
                of_owner = {name: values[owner] for name, values in typical.items()}
                known[key] = individual(self.model, of_owner, self.effects.eta_in(etas, occasion))
            result.append(known[key])
        return tuple(result)

    def predictions(self, owner: Any, scores: Array) -> Array:
        """Predicted levels, (n_draws, n_levels), in the unit of the levels; nan where parameters are impossible."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            parameters = self.parameters(owner, scores)
            impossible = _impossible(parameters)
            if impossible is not None:
                parameters = _replaced(parameters, impossible)
            if self.schedule is not None:
                predicted = self.schedule.levels(parameters[0], owner)
            else:
                predicted = self.predict(self.model, parameters, self.tables[0])[:, self.at]
        if impossible is not None:
            predicted = np.where(impossible[:, None], np.nan, predicted)
        return np.asarray(predicted)

    def on_scale(self, owner: Any, scores: Array) -> Array:
        """`predictions` on the scale of the error."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.error.on_scale(self.predictions(owner, scores))


def _distinct(parameters: Sequence[dict[str, Array]]) -> list[dict[str, Array]]:
    return list({id(mapping): mapping for mapping in parameters}.values())


def _impossible(parameters: Sequence[dict[str, Array]]) -> Flags | None:
    """Draws with a parameter that no body can have, or None."""
    found: Flags | None = None
    for mapping in _distinct(parameters):
        for name, values in mapping.items():
            from_zero = name.startswith(_MAY_BE_ZERO)
            lowest = values.min()
            if not ((lowest >= 0 if from_zero else lowest > 0) and values.max() < np.inf):
                bad = ~((values >= 0 if from_zero else values > 0) & (values < np.inf))
                found = bad if found is None else found | bad
    return found


def _replaced(parameters: tuple[dict[str, Array], ...], impossible: Flags) -> tuple[dict[str, Array], ...]:
    """Harmless values in the draws that are discarded afterwards, so that the others can be computed."""
    known = {
        id(mapping): {name: np.where(impossible, 1.0, values) for name, values in mapping.items()}
        for mapping in _distinct(parameters)
    }
    return tuple(known[id(mapping)] for mapping in parameters)


def problem_of(model: Model, tables: Sequence[Table], *, predict: Predict | None) -> Problem:
    """One problem of tables that have one shape.

    Raises
    ------
    PosologistError
        If a covariate is missing, a level cannot be assigned to an output, or its value is impossible.
    """
    shape = shape_of(model, tables[0], predict)
    at = [levels_at(table) for table in tables]
    error = error_model(model.residual, shape.outputs)
    measured = [[table.records[i] for i in own] for table, own in zip(tables, at, strict=True)]
    written = [[_level(r, bool(ln)) for r, ln in zip(own, error.logarithmic, strict=True)] for own in measured]
    records = [table.records[:1] if shape.kinds is not None else table.records for table in tables]
    schedule = None
    if shape.kinds is not None:
        patients = [(table.records, own) for table, own in zip(tables, at, strict=True)]
        schedule = schedule_of(cast(Structure, model), shape.kinds, patients)
    size = (len(tables), len(at[0]))
    return Problem(
        model=model,
        predict=predict or _predictor(model, shape.outputs),
        tables=tables,
        typical=_stacked([parts.typical_values(model, own) for own in records]),
        effects=parts.effects_of(model, records[0]),
        at=at[0],
        error=error,
        levels=error.on_scale(np.array(written, dtype=np.float64).reshape(size)),
        below=np.array([[is_below(r) for r in own] for own in measured], dtype=bool).reshape(size),
        schedule=schedule,
    )


def _predictor(model: Model, outputs: Sequence[str]) -> Predict:
    """What predicts these outputs, of the central concentration alone where nothing else is measured."""
    if set(outputs) - {CONCENTRATION}:
        return predict_measured
    is_linear = cast(Structure, model).elimination == "linear"
    return cast(Predict, linear.predict if is_linear else nonlinear.predict_nonlinear)


def _level(record: Record, logarithmic: bool) -> float:
    value = record.limit if is_below(record) else record.dv
    if value is None or not np.isfinite(value) or (logarithmic and value <= 0):
        raise InputError(
            f"a level of {value} at {record.time:g} h is not possible",
            hint="give a positive number, or the limit of quantification if it lies below",
        )
    return float(value)


def _stacked(typical: Sequence[tuple[dict[str, float], ...]]) -> tuple[dict[str, Array], ...]:
    """Mappings of one number for each patient; records that share a mapping in all patients go on sharing it."""
    known: dict[tuple[int, ...], dict[str, Array]] = {}
    result = []
    for mappings in zip(*typical, strict=True):
        key = tuple(id(mapping) for mapping in mappings)
        if key not in known:
            known[key] = {name: np.array([m[name] for m in mappings], dtype=np.float64) for name in mappings[0]}
        result.append(known[key])
    return tuple(result)
