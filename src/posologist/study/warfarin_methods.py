"""The rows of the warfarin table: published algorithms, single learners, a plain stack, and what is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from posologist.core.dosing import GenotypeDose
from posologist.core.errors import KnowledgeError
from posologist.core.values import DrugId
from posologist.knowledge.dosing import AsGiven, GivenDiplotypes, formula_dose
from posologist.learn.features import Encoder, Frame, frame_of, prepared
from posologist.learn.tasks.warfarin import SCHEMA, cells_of_csv
from posologist.study.blocks import Array, Cells, Cohort, Method, Plain, Scored, outer_folds

if TYPE_CHECKING:
    from posologist.learn.fit.engine import FittedEngine
    from posologist.learn.fit.models import Name

FIXED = 35.0  # mg/week: 5 mg a day
_YOUNGEST, _OLDEST = 18.0, 95.0  # years that stand for the youngest and the oldest band
_LEVEL = 0.9


def frame(cohort: Cohort) -> Frame:
    """The features of a cohort's rows."""
    return frame_of(SCHEMA, [cells_of_csv(row) for row in cohort.rows])


def _fixed(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    return Scored(np.full(len(test), FIXED))


@dataclass(frozen=True)
class Published:
    """A published algorithm, as our knowledge base states it."""

    name: str
    formula: str

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        body = Body.fitted(train.rows)
        return Scored(published_doses(self.formula, test.rows, body))


@dataclass(frozen=True)
class Body:
    """Height and weight inferred from sex, race and the other of the two, by least squares."""

    weights: Mapping[tuple[str, bool], Array]

    @classmethod
    def fitted(cls, rows: Sequence[Cells]) -> Body:
        """From the rows that have both."""
        told = [cells_of_csv(row) for row in rows]
        both = [cells for cells in told if cells["height"] is not None and cells["weight"] is not None]
        found = {}
        for name, other in (("height", "weight"), ("weight", "height")):
            outcome = np.array([cells[name] for cells in both], dtype=np.float64)
            for known in (True, False):
                design = np.array([_body_row(cells, other if known else "") for cells in both])
                found[name, known] = np.linalg.lstsq(design, outcome, rcond=None)[0]
        return cls(found)

    def completed(self, cells: Mapping[str, Any]) -> tuple[float, float]:
        """Height (cm) and weight (kg) of a row."""
        height, weight = cells["height"], cells["weight"]
        if height is None:
            height = (
                _body_row(cells, "weight" if weight is not None else "") @ self.weights["height", weight is not None]
            )
        if weight is None:
            known = cells["height"] is not None
            weight = _body_row(cells, "height" if known else "") @ self.weights["weight", known]
        return float(height), float(weight)


def _body_row(cells: Mapping[str, Any], other: str) -> Array:
    sex = {True: 1.0, False: -1.0, None: 0.0}[cells["male"]]
    race = [float(cells["race"] == name) for name in ("White", "Asian", "Black")]
    return np.array([1.0, sex, *race, *([cells[other]] if other else [])], dtype=np.float64)


@lru_cache(maxsize=1)
def _table() -> GenotypeDose:
    from posologist.knowledge.load import load_knowledge

    table = load_knowledge().dosing_of(DrugId("warfarin"))
    if table is None:
        raise KnowledgeError("the dose table of warfarin is missing", where="dosing/warfarin.toml")
    return table


def published_doses(formula: str, rows: Sequence[Cells], body: Body) -> Array:
    """Doses (mg/week) of an algorithm of the knowledge base for rows of the table, nan where it gives none."""
    table = _table()
    asked = next(one for one in table.formulas if one.id == formula)
    found = []
    for row in rows:
        given = _given(row, body)
        value = formula_dose(table, asked, AsGiven(given), GivenDiplotypes(given)).value
        found.append(np.nan if value is None else value)
    return np.array(found, dtype=np.float64)


def _given(row: Cells, body: Body) -> dict[str, Any]:
    """The facts of a row under the names that the algorithms read."""
    cells = cells_of_csv(row)
    height, weight = body.completed(cells)
    decade = cells["age_decade"]
    given: dict[str, Any] = {
        "age": None if decade is None else min(max(10.0 * float(decade) + 5.0, _YOUNGEST), _OLDEST),
        "height": height,
        "weight": weight,
        "race_group": cells["race"] or "other",
        "black": cells["race"] == "Black",
        "indication": "atrial-fibrillation-stroke-prevention",
        "smoking_status": {True: "current", False: "never", None: None}[cells["smoker"]],  # type: ignore[index]
        **{f"on({drug})": bool(cells[drug]) for drug in ("carbamazepine", "phenytoin", "rifampin", "amiodarone")},
    }
    if cells["vkorc1"] is not None:
        given["gene(VKORC1)"] = f"-1639 {cells['vkorc1']}"
    if cells["cyp2c9"] is not None:
        given["CYP2C9"] = row["CYP2C9 consensus"].strip()
    return {name: value for name, value in given.items() if value is not None}


def _refitted(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """The published formula's variables, its form (square root of the dose), weights learned in the training part."""
    body = Body.fitted(train.rows)
    rows, outcome = _iwpc_design(train, body), np.sqrt(train.target)
    weights = np.linalg.lstsq(rows, outcome, rcond=None)[0]
    return Scored(np.maximum(_iwpc_design(test, body) @ weights, 0.0) ** 2)


def _iwpc_design(cohort: Cohort, body: Body) -> Array:
    rows = []
    for row in cohort.rows:
        cells = cells_of_csv(row)
        states = [
            *(cells["vkorc1"] == name for name in ("AG", "AA", None)),
            *(cells["cyp2c9"] == name for name in ("*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3", None)),
            *(cells["race"] == name for name in ("Asian", "Black", None)),
            any(cells[drug] for drug in ("carbamazepine", "phenytoin", "rifampin")),
            bool(cells["amiodarone"]),
        ]
        rows.append([1.0, float(cells["age_decade"] or 0.0), *body.completed(cells), *map(float, states)])
    return np.array(rows)


@dataclass(frozen=True)
class Single:
    """A plain model, tuned inside the training part, of the square root of the dose."""

    name: str
    model: Name

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        from posologist.learn.fit.models import plain_model

        matrix, unseen = matrices(train, test)
        learner = plain_model(self.model, "regression", seed=seed, quick=quick, error="absolute")
        learner.fit(matrix, np.sqrt(train.target), groups=train.patient)
        return Scored(np.maximum(learner.predict(unseen), 0.0) ** 2)


@dataclass(frozen=True)
class PlainInterval:
    """A plain model with the plain conformal interval: the same width for everybody, from inner folds."""

    name: str
    model: Name

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        place = Single(self.name, self.model)
        held = np.empty(len(train))
        fold = outer_folds(train.patient, np.zeros(len(train), dtype=np.int64), seed=seed)
        for k in np.unique(fold):
            inner = place(train.take(fold != k), train.take(fold == k), seed=seed, quick=quick)
            held[fold == k] = np.abs(inner.value - train.target[fold == k])
        reach = np.sort(held)[min(int(np.ceil(_LEVEL * (len(held) + 1))), len(held)) - 1]
        dose = place(train, test, seed=seed, quick=quick).value
        return Scored(dose, low=np.maximum(dose - reach, 0.0), high=dose + reach)


def matrices(train: Cohort, test: Cohort) -> tuple[Array, Array]:
    """Encoded features, with fills and scales of the training part, and the published formula's column."""
    own = frame(train)
    encoder = Encoder(SCHEMA, prepared(own))
    return encoder.matrix(own.values).astype(np.float64), encoder.matrix(frame(test).values).astype(np.float64)


def stack(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """The founding stack: a linear model, a tree and support vectors under a linear model."""
    from posologist.learn.fit.stack import founding_stack

    matrix, unseen = matrices(train, test)
    learner = founding_stack("regression", seed=seed, quick=quick)
    learner.fit(matrix, np.sqrt(train.target), groups=train.patient)
    return Scored(np.maximum(learner.predict(unseen), 0.0) ** 2)


def fitted(train: Cohort, *, seed: int, quick: bool) -> FittedEngine:
    """The model that is served, fitted to a cohort."""
    from posologist.learn.fit.warfarin_engine import fit

    return fit(frame(train), train.target, group=train.patient, seed=seed, quick=quick)


def engine(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """What is served: fitted on the training part, asked as a saved model is."""
    answers = fitted(train, seed=seed, quick=quick).predict(frame(test))
    return Scored(answers.value, low=answers.low, high=answers.high, abstained=answers.abstained)


def without_genes(cohort: Cohort) -> Cohort:
    """The cohort as if no gene had been read."""
    rows = tuple(
        {name: "" if "CYP2C9" in name.upper() or "VKORC1" in name else text for name, text in row.items()}
        for row in cohort.rows
    )
    return replace(cohort, rows=rows)


def engine_without_genes(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """The engine, fitted and asked without genes."""
    return engine(without_genes(train), without_genes(test), seed=seed, quick=quick)


METHODS: tuple[Method, ...] = (
    Plain("fixed", _fixed),
    Published("iwpc-clinical", "iwpc_clinical"),
    Published("gage", "gage_pharmacogenetic"),
    Published("iwpc-pharmacogenetic", "iwpc_pharmacogenetic"),
    Plain("iwpc-refitted", _refitted),
    PlainInterval("ridge", "linear"),
    Single("lightgbm", "lightgbm"),
    Single("mlp", "network"),
    Plain("stack", stack),
    Plain("engine-without-genes", engine_without_genes),
    Plain("engine", engine),
)
