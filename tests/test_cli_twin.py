"""`simulate --model` and `fit` on published references, as another program would call them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posologist.serve.cli import main
from shared import shared_data

Run = Callable[..., Any]

_MODEL = """
id = "oral-one"
drug = "example"
title = "One compartment, first-order absorption"
compartments = 1
absorption = "first-order"
dose_unit = "mg"
concentration_unit = "mg/L"
population = "made for a test"
parameters = [
  {{ name = "cl_pop", value = {cl}, unit = "L/h", meaning = "clearance", source = "made", status = "verified" }},
  {{ name = "v_pop", value = {v}, unit = "L", meaning = "volume", source = "made", status = "verified" }},
  {{ name = "ka_pop", value = {ka}, unit = "1/h", meaning = "absorption", source = "made", status = "verified" }},
]
random = [{{ eta = "ETA1", on = "CL" }}, {{ eta = "ETA2", on = "V1" }}, {{ eta = "ETA3", on = "KA" }}]
residual = [{{ form = "proportional", proportional = {sd} }}]
citations = [{{ key = "made", title = "made for a test", where = "here", kind = "paper" }}]

[equations]
CL = "cl_pop"
V1 = "v_pop"
KA = "ka_pop"

[omega]
convention = "variance"
lower = [[0.2], [0.0, 0.2], [0.0, 0.0, 0.2]]

[about]
title = "made"
source = "made"
version = "1"
licence = "none"
retrieved = "2026-11-20"
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a verb with --json and gives its document and exit code."""

    def call(*arguments: str) -> tuple[Any, int]:
        monkeypatch.setattr(sys, "argv", ["posologist", *arguments, "--json"])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        return json.loads(capsys.readouterr().out), int(code) if isinstance(code, int) else 0

    return call


def _model(tmp_path: Path, **values: float) -> Path:
    path = tmp_path / "model.toml"
    path.write_text(_MODEL.format(**{"cl": 4.0, "v": 70.0, "ka": 1.0, "sd": 0.05**0.5, **values}), encoding="utf-8")
    return path


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    names = ["ID", "TIME", "EVID", "MDV", "AMT", "CMT", "II", "ADDL", "DV"]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names, restval="0")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_fit_gives_nonmems_estimates(run: Run, tmp_path: Path) -> None:
    reference = json.loads(shared_data("pk", "reference", "map_nonmem_1cpt_oral.json").read_text())
    rows = []
    for patient in reference["patients"]:
        events = [
            {"ID": patient["id"], "TIME": d["time_h"], "EVID": 1, "MDV": 1, "AMT": d["amt_mg"], "CMT": 1,
             "II": d["ii_h"], "ADDL": d["addl"], "DV": "."}
            for d in patient["doses"]
        ] + [
            {"ID": patient["id"], "TIME": o["time_h"], "CMT": 2, "DV": o["conc_mg_per_L"]}
            for o in patient["observations"]
        ]  # fmt: skip
        rows += sorted(events, key=lambda row: (row["TIME"], -row.get("EVID", 0)))
    data = _write(tmp_path / "data.csv", rows)
    document, code = run("fit", "--model", str(_model(tmp_path)), "--data", str(data))

    assert code == 0
    assert document["schema"] == "posologist/fit/1"
    for patient in reference["patients"]:
        found, expected = document["subjects"][patient["id"]], patient["expected"]
        assert found["converged"]
        for name, eta in zip(("CL", "V", "KA"), ("ETA1", "ETA2", "ETA3"), strict=True):
            assert found["eta"][eta] == pytest.approx(expected[f"eta_{name}"], abs=1e-5)
        assert found["because"][0] in document["evidence"]


def test_simulate_answers_at_the_tables_own_records_or_on_a_grid(run: Run, tmp_path: Path) -> None:
    rows = [{"ID": 1, "TIME": 0, "EVID": 1, "MDV": 1, "AMT": 100, "CMT": 1, "DV": "."}, {"ID": 1, "TIME": 4, "CMT": 2}]
    events = str(_write(tmp_path / "e.csv", rows))
    given = tmp_path / "p.json"
    given.write_text('{"CL": 4.0, "V1": 70.0, "KA": 1.0}')
    model = str(_model(tmp_path))
    own, _ = run("simulate", "--model", model, "--events", events, "--parameters", str(given))
    grid, _ = run("simulate", "--model", model, "--events", events, "--times", "0:8:2")

    expected = 100 / 70 * 1 / (1 - 4 / 70) * (2.718281828459045 ** (-4 / 70 * 4) - 2.718281828459045**-4)
    assert own["outputs"]["concentration"]["x"] == [4.0]
    assert own["outputs"]["concentration"]["y"][0] == pytest.approx(expected, rel=1e-12)
    assert grid["outputs"]["concentration"]["x"] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert grid["outputs"]["concentration"]["y"][2] == pytest.approx(expected, rel=1e-12)
    assert grid["outputs"]["concentration"]["low"][2] < expected < grid["outputs"]["concentration"]["high"][2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simulate", "--model", "nowhere"), "is needed with --model"),
        (("simulate", "amlodipine", "--model", "x"), "give one of them"),
        (("fit", "--model", "nowhere", "--data", "nothing.csv"), "no model 'nowhere'"),
    ],
)
def test_what_is_wrong_is_said(run: Run, arguments: tuple[str, ...], message: str) -> None:
    document, code = run(*arguments)

    assert code == 2
    assert message in document["error"]["message"] + document["error"]["where"]


def test_parameters_that_do_not_fit_the_structure_are_refused(run: Run, tmp_path: Path) -> None:
    rows = [{"ID": 1, "TIME": 0, "EVID": 1, "MDV": 1, "AMT": 100, "CMT": 1, "DV": "."}, {"ID": 1, "TIME": 4, "CMT": 2}]
    events = str(_write(tmp_path / "e.csv", rows))
    given = tmp_path / "p.json"
    given.write_text('{"CL": 4.0, "V2": 70.0}')
    document, code = run("simulate", "--model", str(_model(tmp_path)), "--events", events, "--parameters", str(given))

    assert code == 2
    assert "KA, V1 is missing" in document["error"]["message"]
    assert "V2 is not one of the model's" in document["error"]["message"]
