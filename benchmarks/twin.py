"""How fast a patient's own kinetics are found: CPU time, the median of repeated runs.

    python benchmarks/twin.py

Patients are made here. Limits are in the column beside, for the reader. For scale, as published elsewhere and not
measured here: Tucuxi's engine does an estimate in 0.56 ms and its percentiles in 1.1 CPU s; mapbayr (R) takes 66 ms
an estimate. The last row is `dose` as a whole process, from start to answer.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from posologist.core.regimen import Limits
from posologist.core.settings import Settings
from posologist.knowledge.load import load_knowledge
from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.twin.events import EventTable, Record
from posologist.twin.goals import goal_of
from posologist.twin.linear import predict
from posologist.twin.map import map_estimates
from posologist.twin.mixture import Exposures, Member
from posologist.twin.offers import Asked, Habit, judged, offers_of, ordered
from posologist.twin.patient_model import History, Told
from posologist.twin.posterior import posterior
from posologist.twin.twin import Twin

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


VANCOMYCIN = "vancomycin_goti2018"
PROFILES, POINTS = 10_000, 145


def profiles() -> Callable[[], Any]:
    """Ten thousand patients' courses of one week under twice-daily oral doses, at 145 points each."""
    rng = np.random.default_rng(2)
    own = {name: value * np.exp(rng.normal(0, 0.25, PROFILES)) for name, value in ORAL.values.items()}
    rows = [Record(12.0 * k, evid=1, amt=500.0, mdv=1) for k in range(12)]
    rows += [Record(float(t), mdv=1) for t in np.linspace(0.0, 144.0, POINTS)]
    table = EventTable("1", tuple(sorted(rows, key=lambda r: (r.time, -r.evid))))
    return lambda: predict(ORAL, [own] * len(table.records), table)


def _treated() -> EventTable:
    held = {"crcl": 86.0, "weight": 80.0, "dialysis": 0.0}
    rows = [Record(12.0 * k, evid=1, amt=1000.0, rate=1000.0, mdv=1, covariates=held) for k in range(4)]
    rows += [Record(t, dv=y, covariates=held) for t, y in ((35.5, 12.0), (38.0, 27.0))]
    return EventTable("1", tuple(sorted(rows, key=lambda r: r.time)))


def whole_answer(n_judged: int) -> Callable[[], tuple[int, int]]:
    """Estimate, 20,000 weighted draws, every vancomycin regimen judged in `n_judged` of them, and their order.

    How many regimens were judged, and how many qualify.
    """
    model, drug = load_model(MODELS_FOLDER / f"{VANCOMYCIN}.toml"), load_knowledge().drug("vancomycin")
    goal = goal_of(model, "auc24", 600.0, 800.0, "h.mg/L")
    toxic = goal_of(model, "auc24", None, 900.0, "h.mg/L")
    table, limits = _treated(), Limits(drug=drug.id, unit="mg/day", max=6000.0)
    held = table.records[0].covariates
    told, history = Told(held, {}), History(table, None)

    def run() -> tuple[int, int]:
        twin = Twin(model, "1", table.records, held, draws=n_judged, weighted=20_000)
        exposures = Exposures((Member(twin, told, history, "iv"),))
        asked = [Asked(drug, limits, goal, Habit(interval, 1.0), "iv", 80.0) for interval in (10.0, 18.0, 36.0)]
        tried = [offer for one in asked for offer in offers_of(one, exposures).offers]
        candidates = judged(tuple(dict.fromkeys(tried)), exposures, goal, toxic)
        return len(candidates), len(ordered(candidates, Settings(), habit=asked[0].habit, aimed=True))

    return run


def _observation(code: str, value: float, unit: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/1"}, "effectiveDateTime": "2026-11-01",
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }  # fmt: skip


def cold_dose(repeats: int = 5) -> tuple[float, float]:
    """Median CPU and wall time (ms) of `posologist dose` with a model, levels and administrations."""
    hypertension = {"system": "http://snomed.info/sct", "code": "59621000"}
    resources: list[dict[str, Any]] = [
        {"resourceType": "Patient", "id": "1", "gender": "male", "birthDate": "1964-05-01"},
        _observation("29463-7", 80, "kg"), _observation("8302-2", 178, "cm"), _observation("2160-0", 1.0, "mg/dL"),
        {"resourceType": "Condition", "code": {"coding": [hypertension]}, "subject": {"reference": "Patient/1"}},
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        record = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}
        (folder / "bundle.json").write_text(json.dumps(record))
        doses = [f"2026-11-0{day}T{hour}:00,1,g,iv,1,vancomycin" for day in (2, 3) for hour in ("08", "20")]
        (folder / "events.csv").write_text("\n".join(["time,amount,unit,route,duration_h,drug", *doses]))
        levels = ["2026-11-03T19:30,12,mg/L,vancomycin", "2026-11-03T22:00,27,mg/L,vancomycin"]
        (folder / "levels.csv").write_text("\n".join(["time,value,unit,analyte", *levels]))
        command = [
            sys.executable, "-c", "from posologist.serve.cli import main; main()", "dose", "vancomycin",
            "--patient", "bundle.json", "--levels", "levels.csv", "--events", "events.csv", "--model", VANCOMYCIN,
            "--as-of", "2026-11-20", "--json",
        ]  # fmt: skip
        compiled = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        spent = []
        for _ in range(repeats + 1):
            before, start = os.times(), time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, capture_output=True, env=compiled)
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            spent.append((1000.0 * used, 1000.0 * (time.perf_counter() - start)))
    cpu, wall = zip(*spent[1:], strict=True)
    return statistics.median(cpu), statistics.median(wall)


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
        (f"{PROFILES:,} profiles x {POINTS} points, oral", 500.0, profiles(), 3),
        (f"estimate, draws, {whole_answer(400)()[0]} regimens (400 draws)", 50.0, whole_answer(400), 10),
        (f"estimate, draws, {whole_answer(20_000)()[0]} regimens (20,000)", None, whole_answer(20_000), 3),
    ]  # fmt: skip
    for what, limit, run, repeats in rows:
        aim = "" if limit is None else f"aim {limit:g} ms"
        print(f"{what:45s} {median_ms(run, repeats):10.2f} ms CPU  {aim}")
    cpu, wall = cold_dose()
    print(f"{'dose, a whole process':45s} {cpu:10.2f} ms CPU  {wall:.0f} ms wall, aim 1000 ms")


if __name__ == "__main__":
    main()
