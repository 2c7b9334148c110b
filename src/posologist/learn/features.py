"""Rows for models: read in one place for training and for use, imputed and masked in one place.

A row holds one number per feature of its schema: a flag is 0 or 1, a category the number of its level, and NaN is not
known. `Encoder` turns rows into the matrix that the components of a served model read; what it takes for a value that
is not known, and where it says so in a column of its own, was fitted on training rows only (`prepared`).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError, ModelError, NumericsError
from posologist.core.manifest import Fill, Preparation
from posologist.core.prediction import Feature, FeatureGroup, FeatureKind, Formula, Remark, Schema, slug
from posologist.core.values import EvidenceKey
from posologist.knowledge.expression import Values, expression

__all__ = [
    "Array", "Encoder", "Feature", "FeatureGroup", "FeatureKind", "Formula", "Frame", "Known", "Row", "Schema",
    "frame_of", "frame_of_rows", "prepared", "replaced", "row_of", "slug",
]  # fmt: skip

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Cell = float | int | bool | str | None

_DECIDING = (ast.Compare, ast.IfExp, ast.BoolOp, ast.Not)  # a formula is computed for many rows at once
MIN_ROWS = 10  # training patients below which a state gets no column: its weight would rest on chance


class Known(NamedTuple):
    """A value of a feature (a number, a flag, or a level's name) and the evidence that it rests on."""

    value: float | bool | str
    because: EvidenceKey


@dataclass(frozen=True)
class Row:
    """One patient (and drug) under a schema; `because` is None where nothing is known."""

    schema: Schema
    values: tuple[float, ...]
    because: tuple[EvidenceKey | None, ...]
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Frame:
    """Rows of one schema as an array (n, p); `refused` counts the values per feature that were not plausible."""

    schema: Schema
    values: Array
    refused: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.schema.features):
            raise ModelError(
                f"rows of shape {self.values.shape} do not hold {len(self.schema.features)} features",
                where=f"task {self.schema.task}",
                hint="build the rows with the task's own schema",
            )

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: npt.ArrayLike) -> Frame:
        """The rows at these places (or where a mask is true)."""
        return Frame(self.schema, self.values[np.asarray(index)])

    def column(self, name: str) -> Array:
        """Values of one feature, (n,)."""
        return self.values[:, self.schema.names.index(name)]


def row_of(schema: Schema, known: Mapping[str, Known]) -> Row:
    """Row of these values; what is not plausible is not used, and said.

    Raises
    ------
    ModelError
        If a name is not a feature of the schema.
    """
    _check_names(schema, known)
    values, keys, remarks = [], [], []
    for feature in schema.features:
        entry = known.get(feature.name)
        number, fault = (math.nan, "") if entry is None else _number(feature, entry.value)
        values.append(number)
        keys.append(None if entry is None or math.isnan(number) else entry.because)
        if entry is not None and fault:
            remarks.append(Remark(text=fault, because=(entry.because,)))
    return Row(schema, tuple(values), tuple(keys), tuple(remarks))


def replaced(row: Row, known: Mapping[str, Known]) -> Row:
    """The row with these values in place of its own, by the same rules as `row_of`."""
    _check_names(row.schema, known)
    values, keys, remarks = list(row.values), list(row.because), list(row.remarks)
    for name, entry in known.items():
        place = row.schema.names.index(name)
        number, fault = _number(row.schema.features[place], entry.value)
        values[place], keys[place] = number, None if math.isnan(number) else entry.because
        if fault:
            remarks.append(Remark(text=fault, because=(entry.because,)))
    return Row(row.schema, tuple(values), tuple(keys), tuple(remarks))


def frame_of(schema: Schema, cells: Sequence[Mapping[str, Cell]]) -> Frame:
    """Frame of training cells (feature name -> value; None, NaN or absent: not known), by the same rules as a row."""
    values = np.full((len(cells), len(schema.features)), math.nan)
    refused: dict[str, int] = {}
    for i, row in enumerate(cells):
        _check_names(schema, row)
        for j, feature in enumerate(schema.features):
            cell = row.get(feature.name)
            if cell is None or (isinstance(cell, float) and math.isnan(cell)):
                continue
            values[i, j], fault = _number(feature, cell)
            if fault and math.isnan(values[i, j]):
                refused[feature.name] = refused.get(feature.name, 0) + 1
    return Frame(schema, values, refused)


def frame_of_rows(schema: Schema, rows: Sequence[Row]) -> Frame:
    """Frame of rows.

    Raises
    ------
    ModelError
        If a row is of another schema.
    """
    for other in {id(row.schema): row.schema for row in rows if row.schema is not schema}.values():
        if other.digest != schema.digest:
            raise ModelError(
                f"a row is of another schema ({other.task} {other.version})",
                where=f"task {schema.task}",
                hint="build the row with the task's present schema, or train the model again",
            )
    values = np.array([row.values for row in rows], dtype=np.float64)
    return Frame(schema, values.reshape(len(rows), len(schema.features)))


def _check_names(schema: Schema, known: Mapping[str, object]) -> None:
    strange = sorted(set(known) - set(schema.names))
    if strange:
        raise ModelError(
            f"no feature is called {', '.join(strange)}", where=f"task {schema.task}", hint="name those of the schema"
        )


def _number(feature: Feature, value: float | bool | str) -> tuple[float, str]:
    """The number that stands for a value, NaN where it is not usable, and what must be said of it."""
    if feature.kind == "category":
        if not isinstance(value, str):
            raise InputError(
                f"{feature.name} needs the name of a level", where=repr(value), hint=", ".join(feature.levels)
            )
        if value in feature.levels:
            return float(feature.levels.index(value)), ""
        return feature.another, f"{feature.label}: '{value}' is none of the levels that the model knows"
    if isinstance(value, str):
        raise InputError(
            f"{feature.name} needs a number", where=repr(value), hint=f"give it in {feature.unit or 'its unit'}"
        )
    if feature.kind == "flag":
        if value not in (0, 1):
            raise InputError(f"{feature.name} is true or false", where=repr(value), hint="give a flag")
        return float(value), ""
    low, high = feature.plausible
    if low <= value <= high:
        return float(value), ""
    return math.nan, f"{feature.label} {value:.6g} {feature.unit} is not plausible ({low:g} to {high:g}): not used"


def prepared(frame: Frame, *, min_rows: int = MIN_ROWS, masks: bool = True) -> Preparation:
    """Fills, masks, columns and scales, fitted on training rows.

    Numbers: median, with mean and standard deviation of the filled (and, where said, logarithmic) values. Flags and
    categories: the most frequent state. A mask or a level gets a column where at least `min_rows` rows have it;
    without `masks` none says what is not known (where that tells the hospital, and nothing of the patient).

    Raises
    ------
    ModelError
        If there is no row.
    """
    if not len(frame):
        raise ModelError("no training rows", where=f"task {frame.schema.task}", hint="give the training table")
    schema = frame.schema
    fills = tuple(_fill(f, frame.values[:, j], min_rows, masks) for j, f in enumerate(schema.features))
    bare = Preparation(fills=fills, formulas={formula.name: (0.0, 1.0) for formula in schema.formulas})
    computed = Encoder(schema, bare).formulas(frame.values)
    scales = {f.name: _centre_scale(computed[:, k]) for k, f in enumerate(schema.formulas)}
    return Preparation(fills=fills, formulas=scales)


def _fill(feature: Feature, values: Array, min_rows: int, masks: bool) -> Fill:
    missing = np.isnan(values)
    masked = masks and int(missing.sum()) >= min_rows and int((~missing).sum()) >= min_rows
    present = values[~missing]
    if feature.kind == "number":
        fill = float(np.median(present)) if present.size else float(feature.low or 0.0)
        filled = np.where(missing, fill, values)
        centre, scale = _centre_scale(np.log1p(filled) if feature.log else filled)
        return Fill(feature=feature.name, fill=fill, centre=centre, scale=scale, masked=masked)
    states = int(feature.another) + 1 if feature.kind == "category" else 2
    counts = np.bincount(present.astype(np.int64), minlength=states)
    fill = float(np.argmax(counts))
    if feature.kind == "flag":
        return Fill(feature=feature.name, fill=fill, masked=masked)
    levels = tuple(k for k in range(len(feature.levels)) if counts[k] >= min_rows)
    another = bool(counts[-1] >= min_rows)
    return Fill(feature=feature.name, fill=fill, masked=masked, levels=levels, another=another)


def _centre_scale(values: Array) -> tuple[float, float]:
    scale = float(np.std(values)) if values.size else 1.0
    return (float(np.mean(values)) if values.size else 0.0, scale if scale > 1e-12 else 1.0)


class Encoder:
    """The matrix (float32) of rows: numbers standardised, flags and levels 0 or 1, masks, published formulas.

    `columns` are their names in order: the feature's, `<feature>=<level>`, `<feature>=another`, `<feature>?` (not
    known), and the formula's.
    """

    def __init__(self, schema: Schema, preparation: Preparation) -> None:
        if tuple(fill.feature for fill in preparation.fills) != schema.names:
            raise ModelError(
                "the preparation is of other features", where=f"task {schema.task}", hint="fit the model again"
            )
        self.schema, fills = schema, preparation.fills
        kinds = [feature.kind for feature in schema.features]
        self._fill = np.array([fill.fill for fill in fills], dtype=np.float64)
        self.numbers = np.array([j for j, kind in enumerate(kinds) if kind == "number"], dtype=np.int64)
        self._log = np.array([schema.features[j].log for j in self.numbers], dtype=bool)
        self._centre = np.array([fills[j].centre for j in self.numbers])
        self._scale = np.array([fills[j].scale for j in self.numbers])
        self._flags = np.array([j for j, kind in enumerate(kinds) if kind == "flag"], dtype=np.int64)
        onehot = [(j, k) for j, fill in enumerate(fills) for k in fill.levels]
        onehot += [(j, int(schema.features[j].another)) for j, fill in enumerate(fills) if fill.another]
        self._level_of = np.array([j for j, _ in onehot], dtype=np.int64)
        self._level = np.array([k for _, k in onehot], dtype=np.float64)
        self._masks = np.array([j for j, fill in enumerate(fills) if fill.masked], dtype=np.int64)
        self._expressions = [expression(formula.expression) for formula in schema.formulas]
        self._sources = self._read()
        moved = [preparation.formulas[formula.name] for formula in schema.formulas]
        self._formula_centre = np.array([centre for centre, _ in moved])
        self._formula_scale = np.array([scale for _, scale in moved])
        self.columns = self._names(onehot)

    def _read(self) -> dict[str, _Source]:
        """What the formulas read, by name."""
        known, read = _sources(self.schema), {name for formula in self._expressions for name in formula.names}
        where = f"task {self.schema.task}"
        if strange := sorted(read - set(known)):
            raise ModelError(f"a formula reads {', '.join(strange)}", where=where, hint="name a feature")
        for formula in self.schema.formulas:
            if any(isinstance(node, _DECIDING) for node in ast.walk(ast.parse(formula.expression, mode="eval"))):
                hint = "multiply by <feature>_is_<level> or <feature>_missing instead"
                raise ModelError(f"the formula {formula.name} compares or decides", where=where, hint=hint)
        return {name: known[name] for name in sorted(read)}

    def _names(self, onehot: Sequence[tuple[int, int]]) -> tuple[str, ...]:
        features = self.schema.features
        return (
            *(features[j].name for j in (*self.numbers, *self._flags)),
            *(f"{features[j].name}={(*features[j].levels, 'another')[k]}" for j, k in onehot),
            *(f"{features[j].name}?" for j in self._masks),
            *(formula.name for formula in self.schema.formulas),
        )

    def filled(self, values: Array) -> Array:
        """Rows with the fill where nothing is known."""
        return np.where(np.isnan(values), self._fill, values)

    def standard(self, filled: Array) -> Array:
        """The numbers of filled rows, on the model's scale: centred, in standard deviations."""
        numbers = filled[:, self.numbers]
        if self._log.any():
            numbers[:, self._log] = np.log1p(numbers[:, self._log])
        return np.asarray((numbers - self._centre) / self._scale)

    def formulas(self, values: Array) -> Array:
        """Results of the published formulas, (n, formulas), in their own unit.

        Raises
        ------
        NumericsError
            If one has no finite result for a row.
        """
        filled, missing = self.filled(values), np.isnan(values)
        facts = {name: source.read(filled, missing) for name, source in self._sources.items()}
        found = np.empty((len(values), len(self._expressions)))
        with np.errstate(all="ignore"):  # what is not finite is refused below
            for k, formula in enumerate(self._expressions):
                found[:, k] = formula.value(Values(facts))
        if not np.all(np.isfinite(found)):
            raise NumericsError(
                "a published formula has no finite result",
                where=f"task {self.schema.task}",
                hint="narrow the plausible ranges of its inputs",
            )
        return found

    def matrix(self, values: Array) -> npt.NDArray[np.float32]:
        """The matrix of rows (n, columns); no NaN is in it."""
        filled = self.filled(values)
        blocks = [
            self.standard(filled),
            filled[:, self._flags],
            filled[:, self._level_of] == self._level,
            np.isnan(values[:, self._masks]),
        ]
        if self._expressions:
            blocks.append((self.formulas(values) - self._formula_centre) / self._formula_scale)
        return np.concatenate(blocks, axis=1, dtype=np.float32, casting="unsafe")

    def tells_missing(self) -> npt.NDArray[np.bool_]:
        """Of each feature, whether the matrix shows that it is not known."""
        found = np.zeros(len(self.schema.features), dtype=bool)
        found[self._masks] = True
        found[[source.feature for source in self._sources.values() if source.of != "value"]] = True
        return found


class _Source(NamedTuple):
    """What a name of a formula stands for: a feature's value, whether it is not known, or whether it is one level."""

    of: Literal["value", "missing", "level"]
    feature: int
    level: int = 0

    def read(self, filled: Array, missing: npt.NDArray[np.bool_]) -> Array:
        """Its values for rows, (n,)."""
        if self.of == "value":
            return filled[:, self.feature]
        gone = missing[:, self.feature]
        if self.of == "missing":
            return gone.astype(np.float64)
        return np.asarray((filled[:, self.feature] == self.level) & ~gone, dtype=np.float64)


def _sources(schema: Schema) -> dict[str, _Source]:
    """Every name that a formula of this schema may read."""
    found: dict[str, _Source] = {}
    for j, feature in enumerate(schema.features):
        found[feature.name] = _Source("value", j)
        found[f"{feature.name}_missing"] = _Source("missing", j)
        for k, level in enumerate(feature.levels):
            found[f"{feature.name}_is_{slug(level)}"] = _Source("level", j, k)
    return found
