"""How fast a learned model is fitted, opened and asked: CPU time, the median of repeated runs.

    python benchmarks/learn.py

Patients are made here: 4,000 rows of 40 features, a fifth of the values missing. The model is a blend of two linear
parts, trees, a network and a kernel with an interval that is normalised. An answer is an estimate with its interval,
its contributions and its coverage. Limits are in the column beside, for the reader. The last row is a process of its
own that opens the model and answers five options.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from posologist.core.evidence import Ledger
from posologist.learn.artefact import load
from posologist.learn.features import Feature, Frame, Row, Schema
from posologist.learn.fit.engine import FittedEngine, fit_engine
from posologist.learn.fit.recipe import Interval, Kernel, Linear, Net, Recipe, Trees
from posologist.learn.fit.save import Facts
from posologist.learn.predict import Served

PATIENTS, NUMBERS, FLAGS, CATEGORIES, OPTIONS = 4000, 25, 10, 5, 5
FACTS = Facts("benchmark", "1", "dose", "mg", "made patients", "none", "none", "simulated patients")
RECIPE = Recipe(
    parts=(Linear(), Linear(loss="absolute"), Trees(), Net(), Kernel()),
    link="identity",
    least=0.0,
    interval=Interval(method="normalised", by_features=("c0",)),
)


def made() -> tuple[Frame, np.ndarray]:
    """Frame and outcome of made patients."""
    features = [
        *(
            Feature(name=f"x{k}", group="labs and vitals", label=f"lab {k}", unit="mg/L", low=-9, high=9)
            for k in range(NUMBERS)
        ),
        *(Feature(name=f"f{k}", kind="flag", group="conditions", label=f"condition {k}") for k in range(FLAGS)),
        *(
            Feature(name=f"c{k}", kind="category", group="genes", label=f"gene {k}", levels=("a", "b", "c"))
            for k in range(CATEGORIES)
        ),
    ]
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.normal(size=(PATIENTS, NUMBERS)),
            (rng.random((PATIENTS, FLAGS)) < 0.3).astype(float),
            rng.integers(0, 3, (PATIENTS, CATEGORIES)).astype(float),
        ],
        axis=1,
    )
    outcome = values[:, :8].sum(axis=1) + values[:, 0] * values[:, 25] * 2 + (values[:, 35] == 1) * 3
    outcome = outcome + rng.normal(size=PATIENTS)
    values[rng.random(values.shape) < 0.2] = np.nan
    return Frame(Schema(task="benchmark", version="1", features=tuple(features)), values), outcome


def options_of(frame: Frame, ledger: Ledger) -> list[Row]:
    """Five options of one patient: rows that differ in three features."""
    rng = np.random.default_rng(1)
    rows = np.repeat(frame.values[:1], OPTIONS, axis=0)
    rows[:, [0, 26, 36]] = np.stack(
        [rng.normal(size=OPTIONS), np.arange(OPTIONS) % 2.0, np.arange(OPTIONS) % 3.0], axis=1
    )
    key = ledger.add("patient", "made", source="benchmark")
    return [Row(frame.schema, tuple(row), tuple(None if np.isnan(v) else key for v in row)) for row in rows]


def median_ms(run: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median CPU and wall time (ms) of a call, after one call that is not counted."""
    run()
    cpu, wall = [], []
    for _ in range(repeats):
        started, at = time.process_time(), time.perf_counter()
        run()
        cpu.append(1000.0 * (time.process_time() - started))
        wall.append(1000.0 * (time.perf_counter() - at))
    return statistics.median(cpu), statistics.median(wall)


def cold(folder: Path) -> tuple[float, float]:
    """A process that opens the model and answers: its whole time, and that of Python alone beside it."""
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); from pathlib import Path;"
        "from posologist.learn.artefact import load; from posologist.core.evidence import Ledger;"
        f"served = load(Path({str(folder)!r})); from posologist.learn.features import row_of;"
        "served.predict([row_of(served.manifest.features, {})] * 5, ledger=Ledger())"
    )
    return tuple(  # type: ignore[return-value]
        median_ms(lambda code=told: subprocess.run([sys.executable, "-c", code], check=True), 3)[1]
        for told in (code, "pass")
    )


def main() -> None:
    """Print the table."""
    frame, outcome = made()
    started = time.process_time()
    engine: FittedEngine = fit_engine(
        frame, outcome, kind="regression", group=np.arange(PATIENTS), recipe=RECIPE, seed=0
    )
    print(f"{'fit, 5 inner folds':45s} {time.process_time() - started:10.1f} s CPU   aim 60 s")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        engine.save(folder, FACTS)
        served: Served = load(folder)
        ledger = Ledger()
        rows = options_of(frame, ledger)
        told: list[tuple[str, float | None, Callable[[], Any], int]] = [
            ("open a saved model", 100.0, lambda: load(folder), 20),
            ("one option, with contributions", 10.0, lambda: served.predict(rows[:1], ledger=ledger), 200),
            ("five options, with contributions", 10.0, lambda: served.predict(rows, ledger=ledger), 200),
            ("4,000 values and intervals", None, lambda: served.answers(frame), 10),
        ]
        for what, limit, run, repeats in told:
            cpu, wall = median_ms(run, repeats)
            aim = "" if limit is None else f"  aim {limit:g} ms"
            print(f"{what:45s} {cpu:10.2f} ms CPU  {wall:8.2f} ms wall{aim}")
        whole, bare = cold(folder)
        print(f"{'a process that opens and answers':45s} {whole:10.0f} ms wall, {bare:.0f} of them Python's own start")


if __name__ == "__main__":
    main()
