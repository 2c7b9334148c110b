"""How well a model says which drugs were prescribed: agreement with practice, never benefit.

The yardstick is to copy the patient's last set. A model that does no better than that has learned nothing about
prescribing; one that does better has learned habits, good and bad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posologist.learn.tasks.imitation import BEFORE, DIABETES130, NHANES_HTN, PRESENT_FINDINGS, Practice
from posologist.study.blocks import Array, Block, BoolArray, Cohort, Part, Resampled, Scored
from posologist.study.imitation_data import (
    DIABETES_COLUMNS,
    GIVEN,
    HIDDEN,
    NHANES_COLUMNS,
    WEIGHT,
    read_diabetes130,
    read_nhanes,
    strata,
)

PRACTICES: tuple[Practice, ...] = (DIABETES130, NHANES_HTN)
_LEARNED = ("logistic-regression", "lightgbm", "engine")
_SET = "set"


@dataclass(frozen=True)
class Imitation:
    """A way to say which drugs are given; `practice` is its name, so that another process can be given it.

    `more` are categories that the method sees beyond those of the practice.
    """

    name: str
    practice: str
    more: tuple[str, ...] = ()

    def __call__(self, train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
        practice = next(p for p in PRACTICES if p.name == self.practice)
        given = train.extra[GIVEN] > 0.5
        if self.name == "copy-last":
            return _scored(practice.given(test.rows, BEFORE))
        if self.name == "majority":
            return _scored(np.tile(most_frequent(given), (len(test), 1)))
        return self._learned(practice, train, test, given, seed=seed, quick=quick)

    def _learned(
        self, practice: Practice, train: Cohort, test: Cohort, given: BoolArray, *, seed: int, quick: bool
    ) -> Scored:
        from posologist.learn.fit import sets

        encoder = sets.Encoder.fit(practice, train.rows, more=self.more)
        known, asked = encoder(train.rows), encoder(test.rows)
        if self.name.startswith("engine"):
            told = sets.from_blend(known, given, asked, seed=seed, quick=quick)
        else:
            learner = sets.by_trees if self.name == "lightgbm" else sets.by_regression
            told = sets.from_one(learner, known, given, asked, seed=seed, quick=quick)
        return _scored(told.chosen, told.expected)


def most_frequent(given: BoolArray) -> BoolArray:
    """The set that is given most often, (n_labels,)."""
    found, count = np.unique(given, axis=0, return_counts=True)
    return np.asarray(found[count.argmax()], dtype=bool)


def _scored(chosen: BoolArray, expected: Array | None = None) -> Scored:
    """`value` is the number of drugs in the set; "expected" the Jaccard index that the method expects of it."""
    expectation = np.full(len(chosen), np.nan) if expected is None else expected
    extra = {_SET: chosen.astype(np.float64), "expected": expectation}
    return Scored(value=chosen.sum(axis=1).astype(np.float64), extra=extra)


def metrics(target: Array, scored: Scored, cohort: Cohort) -> Mapping[str, Part]:
    """Agreement of the predicted with the given set.

    `jaccard` and `f1` are means over encounters (or participants), 1 where both sets are empty; `f1_micro` counts
    drugs over all of them; `..._weighted` are means under the survey's weights.
    """
    from posologist.learn.fit.sets import f1, jaccard

    given, chosen = cohort.extra[GIVEN] > 0.5, scored.extra[_SET] > 0.5
    parts: dict[str, Part] = {
        "jaccard": jaccard(given, chosen),
        "f1": f1(given, chosen),
        "f1_micro": _micro(given, chosen),
        "exact_percent": 100.0 * (given == chosen).all(axis=1),
    }
    if np.isfinite(scored.extra["expected"]).any():
        parts["jaccard_expected"] = scored.extra["expected"]
    if WEIGHT in cohort.extra:
        weight = cohort.extra[WEIGHT]
        parts["jaccard_weighted"] = _weighted(jaccard(given, chosen), weight)
        parts["f1_weighted"] = _weighted(f1(given, chosen), weight)
    return parts


def _micro(given: BoolArray, chosen: BoolArray) -> Resampled:
    both = (given & chosen).sum(axis=1).astype(np.float64)
    all_ = (given.sum(axis=1) + chosen.sum(axis=1)).astype(np.float64)

    def value(counts: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(2.0 * (counts @ both) / (counts @ all_))

    return value


def _weighted(values: Array, weight: Array) -> Resampled:
    def value(counts: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((counts @ (weight * values)) / (counts @ weight))

    return value


def _against(names: tuple[str, ...], yardstick: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((name, yardstick, metric) for name in names for metric in ("jaccard", "f1"))


_DIABETES_METHODS = (
    *(Imitation(name, DIABETES130.name) for name in ("majority", "copy-last", *_LEARNED)),
    Imitation("engine-with-present-findings", DIABETES130.name, more=PRESENT_FINDINGS),
)
_NHANES_METHODS = tuple(Imitation(name, NHANES_HTN.name) for name in ("majority", *_LEARNED))


def _block(
    practice: Practice, read: Callable[[Path], Cohort], methods: tuple[Imitation, ...], *, title: str, licence: str,
    source: str, file: str, columns: tuple[str, ...], id_column: str, yardstick: str, notes: tuple[str, ...],
    fairness: tuple[str, ...],
) -> Block:  # fmt: skip
    learned = tuple(m.name for m in methods if m.name not in ("majority", "copy-last"))
    return Block(
        task="imitation", part=practice.name, title=title, label="agreement with practice", licence=licence,
        source=source, file=file, columns=columns, read=read, methods=methods, metrics=metrics, main="jaccard",
        paired=_against(learned, yardstick), id_column=id_column, strata=strata, hidden=HIDDEN, fairness=fairness,
        kind="other", quick_rows=5000,
        notes=(
            "agreement with practice: what was prescribed, not what was best",
            "jaccard and f1 are means over rows, 1 where both sets are empty; f1_micro counts drugs over all rows",
            *notes,
        ),
    )  # fmt: skip


BLOCKS: tuple[Block, ...] = (
    _block(
        DIABETES130, read_diabetes130, _DIABETES_METHODS,
        title="drugs for diabetes at the next hospital encounter, from the earlier ones",
        licence="CC BY 4.0 (as stated at the UCI repository)",
        source="Strack 2014, doi 10.1155/2014/781670; UCI id 296",
        file="diabetes130/diabetic_data.csv.gz", columns=DIABETES_COLUMNS, id_column="patient_nbr",
        yardstick="copy-last", fairness=("race", "sex", "age"),
        notes=(
            "an encounter is predicted from the same patient's earlier ones and from what is known at admission",
            "`change`, `diabetesMed`, `num_medications` and every other sum over the same stay are no features",
            "engine-with-present-findings also sees the diagnoses, A1c and glucose of the same stay, which are "
            "written down in its course: it tells what they add",
            "a drug that fewer than 50 training encounters have is never predicted",
        ),
    ),
    _block(
        NHANES_HTN, read_nhanes, _NHANES_METHODS,
        title="classes of drugs for pressure taken by treated participants",
        licence="NHANES: work of the US government, public domain; derived table GPL (>= 3)",
        source="cardioStatsUSA, NHANES 1999-2000 to 2017-2020",
        file="nhanes_htn/nhanes_htn.csv.gz", columns=NHANES_COLUMNS, id_column="svy_id",
        yardstick="majority", fairness=("race", "sex", "age"),
        notes=(
            "cross-sectional: nothing can be copied, and pressures and laboratory results are those under treatment",
            "learned and measured without weights; `..._weighted` use the examination weights of the participants as "
            "distributed (cycles not rescaled), and no interval accounts for strata and sampling units",
        ),
    ),
)  # fmt: skip
