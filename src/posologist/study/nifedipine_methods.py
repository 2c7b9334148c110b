"""Who names a daily dose of nifedipine: the label, what is learned from other patients, the engine.

Every method gets what is seen of the patients who teach and of those who are asked, never the truth. What is learned
is the exposure per mg that later levels of the patients who teach showed; the dose follows from it as everybody's does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from posologist.knowledge.models import PkModel
from posologist.study.clinic import Floats
from posologist.study.facts import facts_of
from posologist.study.nifedipine_engine import (
    clearance_after_levels,
    clearance_after_pressures,
    other_model,
)
from posologist.study.nifedipine_limits import six_men
from posologist.study.nifedipine_world import DAY_H, INHIBITORS, SCALE, Readings, Seen, window_of

Learner = Literal["linear regression", "support vectors", "random forest"]
Dose = Callable[[Seen, Seen, int], Floats]
"""Daily doses (mg) for the second patients, having learned from the first; the number is a seed."""

LEARNERS: tuple[Learner, ...] = ("linear regression", "support vectors", "random forest")
_TREES, _LEAF = 200, 5


@dataclass(frozen=True)
class Learned:
    """A learner of ln(exposure per mg) from the record and the first levels."""

    learner: Learner
    n_levels: int

    def __call__(self, train: Seen, test: Seen, seed: int) -> Floats:
        model = _estimator(self.learner, seed)
        model.fit(features(train, self.n_levels), later_exposure(train, self.n_levels))
        per_mg = np.exp(model.predict(features(test, self.n_levels)))
        return _dose(SCALE / (DAY_H * per_mg))


def features(seen: Seen, n_levels: int) -> Floats:
    """Record and ln(level / dose) of the first levels, (n, n_features)."""
    known, visits = seen.known, seen.visits
    columns = [known.age, known.female, known.weight, known.sbp, known.cirrhosis, known.phenytoin]
    columns += [known.inhibitor == k for k in range(1, len(INHIBITORS))]
    shown = np.log(visits.level[:, :n_levels] / visits.dose[:, :n_levels])
    return np.column_stack([*(np.asarray(column, dtype=np.float64) for column in columns), shown])


def later_exposure(seen: Seen, n_levels: int) -> Floats:
    """Mean ln(level / dose) of the levels after the first `n_levels`, (n,)."""
    visits = seen.visits
    return np.asarray(np.log(visits.level[:, n_levels:] / visits.dose[:, n_levels:]).mean(axis=1))


def _estimator(learner: Learner, seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    if learner == "linear regression":
        return LinearRegression()
    if learner == "support vectors":
        return make_pipeline(StandardScaler(), SVR())
    return RandomForestRegressor(_TREES, min_samples_leaf=_LEAF, random_state=seed)


def _dose(clearance: Floats) -> Floats:
    return window_of(facts_of("nifedipine")).dose(clearance)


def _label_start(train: Seen, test: Seen, seed: int) -> Floats:
    return test.visits.dose[:, 0]


def _label_titrated(train: Seen, test: Seen, seed: int) -> Floats:
    return test.visits.dose[:, 2]


@dataclass(frozen=True)
class EngineLevels:
    """The engine after the first levels; with another prior, or (`told` False) without the record."""

    n_levels: int
    model: PkModel | None = None
    told: bool = True

    def __call__(self, train: Seen, test: Seen, seed: int) -> Floats:
        return _dose(clearance_after_levels(test, self.n_levels, model=self.model, told=self.told))


@dataclass(frozen=True)
class EnginePressures:
    """The engine after the first pressures on treatment."""

    n_pressures: int
    readings: Readings | None = None

    def __call__(self, train: Seen, test: Seen, seed: int) -> Floats:
        return _dose(clearance_after_pressures(test, self.n_pressures, readings=self.readings))


def _levels_words(n: int) -> str:
    return ("no level", "one level", "two levels", "three levels")[n]


PRESSURES = ("engine, a priori", "engine, one pressure", "engine, two pressures")
METHODS: dict[str, Dose] = {
    "label: 30 mg for everybody": _label_start,
    "label: two steps by pressure": _label_titrated,
    **{f"{learner}, {_levels_words(n)}": Learned(learner, n) for n in range(3) for learner in LEARNERS},
    PRESSURES[0]: EngineLevels(0),
    PRESSURES[1]: EnginePressures(1),
    PRESSURES[2]: EnginePressures(2),
    "engine, one level": EngineLevels(1),
    "engine, two levels": EngineLevels(2),
}


def by_pressures(readings: Readings) -> dict[str, Dose]:
    """The engine after no, one and two pressures that scatter like this."""
    return {PRESSURES[0]: EngineLevels(0), **{PRESSURES[n]: EnginePressures(n, readings) for n in (1, 2)}}


def other_priors() -> dict[str, Dose]:
    """The engine where its prior is not the truth of the world, after no, one and two levels."""
    facts = facts_of("nifedipine")
    changed = {
        "prior of the world": EngineLevels(0),
        "clearance 40 % too high": EngineLevels(0, other_model(clearance_factor=1.4)),
        "spread of six men": EngineLevels(0, other_model(between_sd=six_men(facts))),
        "record held back": EngineLevels(0, told=False),
    }
    return {
        f"{name}, {_levels_words(n)}": replace(engine, n_levels=n) for name, engine in changed.items() for n in range(3)
    }
