"""A task's table as `explore` reads it: encoded once, with the clinical words of its columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from posologist.core.errors import InputError
from posologist.core.prediction import Feature
from posologist.learn.features import Encoder, Frame, prepared
from posologist.study.blocks import Array, Block, Cohort, Explored, IntArray
from posologist.study.classifiers import narrowed

FEWEST = 60  # patients below which nothing that is found would come again
_RAREST = 10  # patients with each answer to a yes/no outcome


@dataclass(frozen=True)
class Table:
    """Rows with a known outcome: features without published formulas, their matrix, and who is who.

    `frame` holds the values as read (nan: not known), `matrix` (n, columns) the encoded ones.
    """

    frame: Frame
    encoder: Encoder
    matrix: Array
    target: Array
    patient: IntArray
    site: IntArray
    kind: Literal["regression", "classification"]

    @property
    def loss(self) -> str:
        """What the models' error is, in words."""
        return "mean squared error" if self.kind == "regression" else "log loss"

    def feature(self, name: str) -> Feature:
        """A feature by its name."""
        return self.frame.schema.features[self.frame.schema.names.index(name)]

    def columns_of(self, *names: str) -> IntArray:
        """Places of all columns of these features, in the matrix."""
        owners = [owner_of(column) for column in self.encoder.columns]
        return np.array([j for j, owner in enumerate(owners) if owner in names], dtype=np.int64)

    def varying(self) -> IntArray:
        """Places of the columns that are not the same for everybody."""
        return np.flatnonzero(np.ptp(self.matrix, axis=0) > 0.0)

    def blocks(self) -> dict[str, IntArray]:
        """Each feature whose columns vary, with these columns: what is shuffled or summed together."""
        varying = self.varying()
        found = {name: np.intersect1d(self.columns_of(name), varying) for name in self.frame.schema.names}
        return {name: columns for name, columns in found.items() if columns.size}

    def text(self, name: str) -> str:
        """A feature in clinical words."""
        feature = self.feature(name)
        return feature.say(1.0) if feature.kind == "flag" else feature.label

    def column_text(self, column: str) -> str:
        """A column in clinical words: the feature, the state that it stands for, or that nothing is known."""
        feature = self.feature(owner_of(column))
        if is_mask(column):
            return feature.say(None)
        _, _, level = column.partition("=")
        if not level:
            return self.text(feature.name)
        return feature.say(float(feature.levels.index(level)) if level in feature.levels else feature.another)

    def one_row_each(self, rng: np.random.Generator) -> IntArray:
        """One row of each patient, drawn at random, in the table's order."""
        order = rng.permutation(len(self.patient))
        _, first = np.unique(self.patient[order], return_index=True)
        return np.sort(order[first])


def owner_of(column: str) -> str:
    """The feature that a column of the matrix belongs to."""
    return column.partition("=")[0].removesuffix("?")


def is_mask(column: str) -> bool:
    """Whether the column says that nothing is known."""
    return "=" not in column and column.endswith("?")


def table_of(block: Block, explored: Explored, cohort: Cohort) -> Table:
    """The rows of a cohort whose outcome is known, encoded.

    Raises
    ------
    InputError
        If they are too few, or the outcome is the same for (nearly) all.
    """
    known = cohort.take(np.isfinite(cohort.target))
    kind: Literal["regression", "classification"] = "classification" if block.kind == "probability" else "regression"
    _refuse_few(block, known, kind)
    read = explored.frame(known)
    frame = replace(narrowed(read, ()), refused=read.refused)
    encoder = Encoder(frame.schema, prepared(frame))
    matrix = encoder.matrix(frame.values).astype(np.float64)
    return Table(frame, encoder, matrix, known.target, known.patient, known.site, kind)


def _refuse_few(block: Block, cohort: Cohort, kind: str) -> None:
    people = len(np.unique(cohort.patient))
    if people < FEWEST:
        raise InputError(
            f"{people} patients with a known outcome are too few to explore",
            where=f"task {block.task}",
            hint=f"give a table with at least {FEWEST}",
        )
    if kind == "classification":
        rarest = min(int((cohort.target == answer).sum()) for answer in (0.0, 1.0))
        if rarest < _RAREST:
            raise InputError(
                f"only {rarest} rows have the rarer answer",
                where=f"task {block.task}",
                hint=f"give a table with at least {_RAREST} of both",
            )
    elif np.ptp(cohort.target) == 0.0:
        raise InputError("the outcome is the same for everybody", where=f"task {block.task}", hint="check the column")
