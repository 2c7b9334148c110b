"""How fast a patient's own kinetics are found: CPU time, the median of repeated runs.

    python benchmarks/twin.py

Patients are made here. Limits are in the column beside, for the reader.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from posologist.twin.events import EventTable, Record
from posologist.twin.linear import predict
from posologist.twin.map import map_estimates
from posologist.twin.posterior import posterior

TIMES = (1.0, 6.0, 11.5, 25.0, 35.5)
DOSES = (0.0, 12.0, 24.0)


class Effect(NamedTuple):
    """A random effect."""

    on: str
    kind: str = "log-normal"


class Error(NamedTuple):
    """A residual error."""

    output: str = "concentration"
    form: str = "combined-variance"
    additive: float = 0.3
    proportional: float = 0.15


@dataclass(frozen=True)
class Model:
    """One compartment, intravenous or by first-order absorption."""

    values: dict[str, float]
    omega: tuple[tuple[float, ...], ...]
    absorption: str = "none"
    random: tuple[Effect, ...] = (Effect("CL"), Effect("V1"))
    residual: tuple[Error, ...] = (Error(),)
    covariates: tuple[Any, ...] = ()
    occasion: tuple[tuple[float, ...], ...] = ()
    compartments: int = 1
    transit: int = 0
    elimination: str = "linear"
    scale: float = 1.0

    def typical(self, covariates: Mapping[str, float]) -> dict[str, float]:
        """The same for every patient."""
        return dict(self.values)


INTRAVENOUS = Model({"CL": 4.0, "V1": 40.0}, ((0.1, 0.03), (0.03, 0.06)))
ORAL = Model(
    {"CL": 4.0, "V1": 40.0, "KA": 0.8},
    ((0.1, 0.0, 0.0), (0.0, 0.06, 0.0), (0.0, 0.0, 0.3)),
    absorption="first-order",
    random=(Effect("CL"), Effect("V1"), Effect("KA")),
)


def patients(model: Model, n: int, *, same_times: bool = True) -> list[EventTable]:
    """Patients with three doses and five levels each, simulated; at their own times unless `same_times`."""
    rng = np.random.default_rng(7)
    tables = []
    for i in range(n):
        shift = np.zeros(5) if same_times else rng.uniform(-0.4, 0.4, 5)
        rows = [Record(t, evid=1, amt=500.0, rate=0.0 if model.absorption != "none" else 500.0, mdv=1) for t in DOSES]
        rows += [Record(float(t)) for t in np.array(TIMES) + shift]
        empty = EventTable(str(i), tuple(sorted(rows, key=lambda r: r.time)))
        own = {name: value * np.exp(rng.normal(0, 0.25, 1)) for name, value in model.values.items()}
        curve = predict(model, [own] * len(rows), empty)[0]
        levels = np.maximum(curve * (1 + 0.1 * rng.standard_normal(len(rows))), 0.01)
        filled = [r if r.evid else Record(r.time, dv=float(y)) for r, y in zip(empty.records, levels, strict=True)]
        tables.append(EventTable(str(i), tuple(filled)))
    return tables


def median_ms(run: Callable[[], Any], repeats: int) -> float:
    """Median CPU time (ms) of a call, after one call that is not counted."""
    run()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        spent.append(1000.0 * (time.process_time() - start))
    return statistics.median(spent)


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(1)
    one, oral = patients(INTRAVENOUS, 1), patients(ORAL, 1)
    many, differing = patients(INTRAVENOUS, 1000), patients(INTRAVENOUS, 1000, same_times=False)
    rows: list[tuple[str, float | None, Callable[[], Any], int]] = [
        ("estimate of one patient, intravenous", 1.0, lambda: map_estimates(INTRAVENOUS, one), 200),
        ("estimate of one patient, oral", 1.0, lambda: map_estimates(ORAL, oral), 200),
        ("1,000 estimates, the same times", 150.0, lambda: map_estimates(INTRAVENOUS, many), 5),
        ("1,000 estimates, times of their own", 150.0, lambda: map_estimates(INTRAVENOUS, differing), 1),
        (
            "estimate and 20,000 weighted draws, oral",
            None,
            lambda: posterior(ORAL, oral[0], n_draws=20_000, rng=rng),
            5,
        ),
    ]  # fmt: skip
    for what, limit, run, repeats in rows:
        aim = "" if limit is None else f"aim {limit:g} ms"
        print(f"{what:45s} {median_ms(run, repeats):10.2f} ms CPU  {aim}")


if __name__ == "__main__":
    main()
