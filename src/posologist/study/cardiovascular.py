"""T5: a first cardiovascular event within ten years (Framingham teaching data), beside the published score.

Every examination of a person free of coronary disease and stroke is a row: each of the three was followed for ten
years and more. A person's rows never part, and intervals resample persons. Of a row the outcome is known where the
event came within ten years, or the person was followed for ten years or died before without it; such a death means that
the event did not come. Persons lost earlier have no outcome, and the bounds of what that can change are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from posologist.learn.features import Encoder, Frame, frame_of, prepared
from posologist.learn.tasks.cardiovascular import SCHEMA, cells_of_csv
from posologist.learn.tasks.cells import number
from posologist.study.blocks import (
    Array,
    Block,
    Cells,
    Cohort,
    Explored,
    IntArray,
    Part,
    Plain,
    Scored,
    Serving,
    combined,
    patient_numbers,
)
from posologist.study.classifiers import Engine, Learned, Stacked, balanced_cut, calibrated
from posologist.study.scores import auc, probability_metrics
from posologist.study.tables import read_rows

if TYPE_CHECKING:
    from posologist.learn.fit.engine import FittedEngine

COLUMNS = (
    "RANDID", "SEX", "TOTCHOL", "AGE", "SYSBP", "DIABP", "CURSMOKE", "BMI", "DIABETES", "BPMEDS", "HEARTRTE", "GLUCOSE",
    "PREVCHD", "PREVSTRK", "PREVHYP", "TIME", "PERIOD", "HDLC", "LDLC", "DEATH", "ANYCHD", "CVD", "TIMECHD", "TIMECVD",
    "TIMEDTH",
)  # fmt: skip
TEN_YEARS = 3652.5  # days
THRESHOLDS = (0.075, 0.10, 0.20)


def read(path: Path) -> Cohort:
    """The examinations of persons free of coronary disease and stroke, with what came within ten years.

    Raises
    ------
    InputError
        If the table is not as it is distributed.
    """
    every = read_rows(path, COLUMNS)
    free = tuple(cells for cells in every if number(cells["PREVCHD"]) == 0 and number(cells["PREVSTRK"]) == 0)
    rows = tuple(cells for cells in free if _at(cells, "TIMECVD") > _at(cells, "TIME"))
    target = np.array([outcome(cells) for cells in rows])
    exam = np.array([int(_at(cells, "PERIOD")) for cells in rows], dtype=np.int64)
    died = sum(_before(cells, "DEATH", "TIMEDTH") and outcome(cells) == 0 for cells in rows)
    return Cohort(
        rows=rows,
        target=target,
        patient=patient_numbers(rows, id_column="RANDID", compared=("RANDID", "PERIOD")),
        site=exam,
        groups={
            "sex": tuple({1.0: "male", 2.0: "female"}.get(_at(cells, "SEX"), "") for cells in rows),
            "age": tuple(_age_band(_at(cells, "AGE")) for cells in rows),
            "exam": tuple(str(one) for one in exam),
        },
        extra={
            "features": frame_of(SCHEMA, [cells_of_csv(cells) for cells in rows]).values,
            "lost_as_events": np.where(np.isnan(target), 1.0, target),
            "with_angina": np.array([_with_angina(cells) for cells in rows]),
        },
        notes=(
            f"{len(every) - len(free)} of {len(every)} examinations were left out: coronary disease or stroke before; "
            f"{len(free) - len(rows)} more: event on the day itself",
            f"{int(np.isnan(target).sum())} of {len(rows)} examinations have no outcome (lost alive within ten years): "
            "auc_lost_as_events counts them all as events",
            f"{died} deaths of another cause within ten years count as no event: the risk is that of an event before "
            "such a death. The published score treats them as censored, and so predicts more",
        ),
    )


def outcome(cells: Cells) -> float:
    """1: event within ten years; 0: none, or death before; nan: lost before ten years."""
    if _before(cells, "CVD", "TIMECVD"):
        return 1.0
    followed = _at(cells, "TIMECVD") - _at(cells, "TIME") >= TEN_YEARS
    return 0.0 if followed or _before(cells, "DEATH", "TIMEDTH") else float("nan")


def _before(cells: Cells, event: str, time: str) -> bool:
    """Whether the event came within ten years of the examination."""
    return _at(cells, event) == 1 and _at(cells, time) - _at(cells, "TIME") <= TEN_YEARS


def _with_angina(cells: Cells) -> float:
    """The wider outcome, nearer to the published score's own: also angina and coronary insufficiency."""
    return 1.0 if _before(cells, "ANYCHD", "TIMECHD") else outcome(cells)


def frame(cohort: Cohort) -> Frame:
    """The rows under the task's schema, as they were read."""
    return Frame(SCHEMA, cohort.extra["features"])


def framingham(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """The general cardiovascular risk as published: with lipids where HDL is known, else with body mass index.

    A blank body mass index, cholesterol or treatment is what the training part typically has: the formula has no answer
    there. The formula is the schema's, which is that of the knowledge base (a test holds them together).
    """
    known, unseen = published_risks(train, test)
    return Scored(value=unseen, decision=unseen >= balanced_cut(*_known(known, train.target)))


def framingham_recalibrated(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """The same, moved by a line on the log odds to this outcome and population, learned in the training part."""
    known, unseen = (_log_odds(risk) for risk in published_risks(train, test))
    return calibrated(*_known(known, train.target), unseen)


def published_risks(train: Cohort, test: Cohort) -> tuple[Array, Array]:
    """Published risk of each row of both parts, (n,)."""
    encoder = Encoder(SCHEMA, prepared(frame(train)))
    hazards = [np.exp(encoder.formulas(frame(part).values)[:, 0]) for part in (train, test)]
    return 1.0 - np.exp(-hazards[0]), 1.0 - np.exp(-hazards[1])


def _known(score: Array, target: Array) -> tuple[Array, Array]:
    known = np.isfinite(target)
    return score[known], target[known]


def _log_odds(risk: Array) -> Array:
    return np.asarray(np.log(risk / (1.0 - risk)))


def metrics(target: Array, scored: Scored, cohort: Cohort) -> Mapping[str, Part]:
    """Discrimination, calibration and net benefit; and what the lost persons and a wider outcome would change."""
    return {
        **probability_metrics(target, scored, THRESHOLDS),
        "mean_predicted_percent": np.where(np.isfinite(target), 100.0 * scored.value, np.nan),
        "observed_percent": 100.0 * target,
        "auc_lost_as_events": auc(scored.value, cohort.extra["lost_as_events"]),
        "auc_with_angina": auc(scored.value, cohort.extra["with_angina"]),
    }


def fit_engine(frame: Frame, target: Array, *, group: IntArray, seed: int, quick: bool) -> FittedEngine:
    """The engine (libraries of training are imported only here)."""
    from posologist.learn.fit.cardiovascular_engine import fit

    return fit(frame, target, group=group, seed=seed, quick=quick)


ENGINE = Engine(fit_engine, frame)


def strata(cohort: Cohort) -> IntArray:
    """Folds are balanced by outcome, sex and examination."""
    return combined(np.nan_to_num(cohort.target), cohort.groups["sex"], cohort.site)


def _at(cells: Cells, name: str) -> float:
    value = number(cells[name])
    return float("nan") if value is None else value


def _age_band(age: float) -> str:
    return "under 50" if age < 50 else "50 to 64" if age < 65 else "65 and over"


BLOCK = Block(
    task="cardiovascular",
    title="First cardiovascular event within ten years",
    label="real patients",
    licence="teaching data of the NHLBI by way of an R package (GPL-3); altered to protect identity, read by path, not "
    "distributed",
    source="Framingham Heart Study, teaching data (CRAN riskCommunicator)",
    file="framingham_teaching/framingham.csv.gz",
    columns=COLUMNS,
    read=read,
    methods=(
        Learned("age-sex", "linear", frame, features=("age", "male")),
        Plain("framingham", framingham),
        Plain("framingham-recalibrated", framingham_recalibrated),
        Learned("logistic-regression", "linear", frame),
        Learned("lightgbm", "lightgbm", frame),
        Learned("mlp", "network", frame),
        Stacked("founding-stack", "founding", frame),
        Stacked("stack", "wide", frame),
        ENGINE,
    ),
    metrics=metrics,
    main="auc",
    paired=tuple(
        ("engine", against, metric)
        for against, chosen in (
            ("framingham", ("auc", "auc_with_angina", "brier", "net_benefit_7.5_percent", "net_benefit_10_percent",
                            "net_benefit_20_percent")),
            ("framingham-recalibrated", ("brier", "net_benefit_7.5_percent", "net_benefit_10_percent",
                                         "net_benefit_20_percent")),
            ("logistic-regression", ("auc", "brier")),
            ("age-sex", ("auc", "brier")),
        )
        for metric in chosen
    ),
    grouped=("framingham", "engine"),
    id_column="RANDID",
    compared=("RANDID", "PERIOD"),
    strata=strata,
    hidden=("lost_as_events", "with_angina"),
    fairness=("sex", "age"),
    kind="probability",
    notes=(
        "the published score (D'Agostino and others 2008) was fitted on Framingham participants, many of them these: "
        "its row is in part in-sample",
        "its outcome is wider (also angina, coronary insufficiency, heart failure, peripheral disease, transient "
        "attacks), so it predicts more than comes here; framingham-recalibrated is moved to this outcome",
        "PREVENT needs kidney function (eGFR), which the table does not have: it cannot be computed here",
        "HDL is known at the third examination only; before it the published score is the version with body mass index",
        "one white town, 1948 to 1972, without statins: absolute risks do not carry over to today's patients",
        "the engine's interval is the 90 % interval of the event rate among the training patients with the "
        "nearest margins: of a rate, not of one patient's outcome",
    ),
    quick_rows=1200,
    explored=Explored(frame),
    serving=Serving(
        name="ten-year cardiovascular risk",
        version="1",
        outcome="first myocardial infarction, fatal coronary disease or stroke within ten years",
        unit="probability",
        fit=ENGINE.fitted,
        use=("a second opinion beside the guideline's score, to show what in a patient moves the risk",),
        limits=(
            "learned in one white town between 1948 and 1972: its absolute risk is not today's, and no guideline's "
            "threshold belongs to it",
            "nobody in the table took a statin; treatment of pressure was rare",
            "not for patients who have had coronary disease or stroke",
        ),
    ),
)  # fmt: skip
