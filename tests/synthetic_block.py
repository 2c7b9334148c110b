"""A small synthetic block: patients whose outcome follows from one column, and methods that are easy to predict."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posologist.study.blocks import Block, Cohort, Control, Scored, patient_numbers
from posologist.study.scores import amount_metrics
from posologist.study.tables import read_rows

COLUMNS = ("id", "x", "race", "site", "y")


def rows(n=120, seed=0, start=0):
    rng = np.random.default_rng(seed)
    found = []
    for place in range(n):
        x = float(np.round(rng.normal(), 3))
        race = "A" if place % 4 else "B"
        y = 10.0 + 2.0 * x + rng.normal() * (2.0 if race == "B" else 0.5)
        found.append(
            {"id": f"p{start + place}", "x": f"{x}", "race": race, "site": str(place % 3), "y": f"{max(y, 1.0):.4f}"}
        )
    return found


def write_table(path: Path, table, columns=COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    return path


def read(path: Path) -> Cohort:
    return cohort_of(read_rows(path, COLUMNS))


def cohort_of(table) -> Cohort:
    return Cohort(
        rows=tuple(table),
        target=np.array([float(row["y"]) for row in table]),
        patient=patient_numbers(table, id_column="id"),
        site=np.array([int(row["site"]) for row in table]),
        groups={"race": tuple(row["race"] for row in table)},
    )


def _x(cohort):
    return np.array([float(row["x"]) for row in cohort.rows])


@dataclass(frozen=True)
class Mean:
    name: str = "mean"

    def __call__(self, train, test, *, seed, quick):
        assert np.isnan(test.target).all()
        return Scored(np.full(len(test), train.target.mean()))


@dataclass(frozen=True)
class Line:
    name: str = "engine"

    def __call__(self, train, test, *, seed, quick):
        slope, intercept = np.polyfit(_x(train), train.target, 1)
        value = intercept + slope * _x(test)
        return Scored(value, low=value - 2.0, high=value + 2.0, abstained=np.abs(_x(test)) > 2.0)


@dataclass(frozen=True)
class Silent:
    """Answers only where x is positive."""

    name: str = "silent"

    def __call__(self, train, test, *, seed, quick):
        return Scored(np.where(_x(test) > 0, train.target.mean(), np.nan))


def shuffled(cohort, rng):
    order = rng.permutation(len(cohort))
    table = [dict(row, x=cohort.rows[i]["x"]) for row, i in zip(cohort.rows, order, strict=True)]
    return Cohort(tuple(table), cohort.target, cohort.patient, cohort.site, cohort.groups)


def metrics(target, scored, cohort):
    return amount_metrics(target, scored, "u")


BLOCK = Block(
    task="synthetic", title="Synthetic", label="simulated patients", licence="none", source="tests",
    file="synthetic/synthetic.csv", columns=COLUMNS, read=read, methods=(Mean(), Silent(), Line()), metrics=metrics,
    main="mae_u", paired=(("engine", "mean", "mae_u"), ("engine", "silent", "mae_u")), id_column="id",
    fairness=("race",),
    controls=(
        Control("shuffled", ("mean", "engine"), alter=shuffled, note="x says nothing"),
        Control("leave-site-out", ("engine",), leave_out="site", by="race", quick=False),
    ),
)  # fmt: skip
