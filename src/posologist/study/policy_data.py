"""Tables of randomised trials as cohorts, with the doubly robust score of each arm for every patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from posologist.core.errors import InputError
from posologist.learn.tasks.policy import ACTG175, GUSTO1, IST, Cells, Trial
from posologist.study.blocks import Array, Cohort, IntArray, bins, combined, patient_numbers
from posologist.study.tables import read_rows

SCORE = "score"
SECOND_SCORE = "second score"
ARM = "arm"
HIDDEN = (ARM, SCORE, SECOND_SCORE)
"""Arrays that no method may see of the patients it is tested on."""

_SEED = 6  # of the folds in which the scores are cross-fitted; no method sees these scores of its test part

FEWEST = 10
"""Patients with a known outcome that each arm needs, to be valued and learned from."""

Grouping = Callable[[Cells], str]

_NEEDED = {
    "actg175": ("arms", "cd40", "cd420", "cens", "pidnum"),
    "ist": ("RXASP", "RXHEP", "OCCODE", "COUNTRY"),
    "gusto1": ("tx", "day30", "regl"),
}
_ID = {"actg175": "pidnum"}
_SITE = {"ist": "COUNTRY", "gusto1": "regl"}


def _banded(column: str, *cuts: int) -> Grouping:
    def group(row: Cells) -> str:
        value = float(row[column])
        passed = sum(value >= cut for cut in cuts)
        if passed == 0:
            return f"under {cuts[0]}"
        return f"{cuts[passed - 1]} to {cuts[passed] - 1}" if passed < len(cuts) else f"{cuts[-1]} and over"

    return group


def _named(column: str, names: Mapping[str, str]) -> Grouping:
    return lambda row: names.get(row[column].strip(), "")


GROUPS: Mapping[str, Mapping[str, Grouping]] = {
    "actg175": {
        "age": _banded("age", 30, 40, 50),
        "sex": _named("gender", {"0": "female", "1": "male"}),
        "race": _named("race", {"0": "white", "1": "not white"}),
        "treated before": _named("str2", {"0": "no", "1": "yes"}),
    },
    "ist": {
        "age": _banded("AGE", 65, 75, 85),
        "sex": _named("SEX", {"F": "female", "M": "male"}),
        "consciousness": _named("RCONSC", {"F": "alert", "D": "drowsy", "U": "unconscious"}),
        "stroke": lambda row: row["STYPE"].strip(),
    },
    "gusto1": {
        "age": _banded("age", 55, 65, 75),
        "sex": lambda row: row["sex"].strip(),
        "Killip class": lambda row: row["Killip"].strip(),
        "infarct": _named("ant", {"0": "not anterior", "1": "anterior"}),
    },
}


def columns_of(trial: Trial) -> tuple[str, ...]:
    """What the header of the trial's table must hold."""
    return tuple(sorted({*trial.columns, *_NEEDED[trial.name]}))


def read_trial(trial: Trial, path: Path) -> Cohort:
    """The trial's table; patients without a known outcome are left out and counted."""
    rows = read_rows(path, columns_of(trial))
    outcome = np.array([trial.outcome(row) for row in rows])
    known = tuple(row for row, value in zip(rows, outcome, strict=True) if math.isfinite(value))
    count = np.bincount([trial.arm(row) for row in known], minlength=len(trial.arms))
    if count.min() < FEWEST:
        raise InputError(
            f"{count.min()} patients with a known outcome are too few in the arm '{trial.arms[int(count.argmin())]}'",
            where=str(path),
            hint=f"give a table with {FEWEST} or more in each arm",
        )
    return cohort_of(trial, known, left_out=len(rows) - len(known))


def cohort_of(trial: Trial, rows: Sequence[Cells], *, left_out: int = 0) -> Cohort:
    """The cohort of patients whose outcome is known."""
    arm = np.array([trial.arm(row) for row in rows], dtype=np.int64)
    outcome = np.array([trial.outcome(row) for row in rows])
    features = trial.matrix(rows)
    extra = {ARM: arm.astype(np.float64), SCORE: scores_of(trial, features, arm, outcome)}
    if trial.second is not None:
        second = np.array([trial.second(row) for row in rows])
        extra[SECOND_SCORE] = scores_of(trial, features, arm, second)
    site = _SITE.get(trial.name)
    return Cohort(
        rows=tuple(rows),
        target=outcome,
        patient=patient_numbers(rows, id_column=_ID.get(trial.name, "")),
        site=np.unique([row[site] for row in rows], return_inverse=True)[1].astype(np.int64)
        if site is not None
        else np.zeros(len(rows), dtype=np.int64),
        groups={name: tuple(group(row) for row in rows) for name, group in GROUPS[trial.name].items()},
        extra=extra,
        notes=(f"{left_out} patients without a known outcome are left out",) if left_out else (),
    )


def scores_of(trial: Trial, features: Array, arm: IntArray, outcome: Array) -> Array:
    """Doubly robust score of each arm for each patient, cross-fitted in five folds, (n, n_arms)."""
    from posologist.learn.fit.policy import Drawn, cross_fitted_scores, folds_of

    drawn = Drawn(features, arm, outcome, np.array(trial.probability))
    return cross_fitted_scores(drawn, folds_of(drawn, seed=_SEED), seed=_SEED)


def strata(cohort: Cohort) -> IntArray:
    """Arm by outcome: what the outer folds are balanced by."""
    return combined(cohort.extra[ARM], bins(cohort.target, 4))


def read_actg175(path: Path) -> Cohort:
    """ACTG 175 as distributed."""
    return read_trial(ACTG175, path)


def read_ist(path: Path) -> Cohort:
    """The International Stroke Trial as distributed."""
    return read_trial(IST, path)


def read_gusto1(path: Path) -> Cohort:
    """GUSTO-I as distributed."""
    return read_trial(GUSTO1, path)
