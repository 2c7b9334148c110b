"""The example models: each is simulated and fitted on its own events through the command line, and documented."""

import csv
import json
import sys
from pathlib import Path

import pytest

from posologist.knowledge.models import Covariate, PkModel, RandomEffect, Residual, Target, Theta, load_model
from posologist.serve.cli import main

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples" / "models").glob("*.toml"))
DOCUMENT = (ROOT / "docs" / "model-file.md").read_text(encoding="utf-8")
SHAPES = {  # what is shown: the columns and values by which its events are known
    "two_compartments": ("OCC", {"1", "2"}),
    "censored_levels": ("CENS", {"0", "1"}),
    "two_routes": ("CMT", {"1", "2"}),
    "steady_state": ("SS", {"1"}),
    "metabolite": ("DVID", {"1", "2"}),
    "metabolite_prodrug": ("DVID", {"1", "2"}),
    "metabolite_saturable": ("DVID", {"1", "2"}),
}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a verb with --json and gives its document."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["posologist", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as stopped:
            main()
        out = capsys.readouterr().out
        assert not stopped.value.code, out
        return json.loads(out)

    return call


def _rows(path):
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_simulated_with_a_band_for_each_of_its_outputs(path, run):
    model = load_model(path)

    document = run("simulate", "--model", path, "--events", path.with_suffix(".csv"), "--times", "0:24:2")

    assert {name: series["unit"] for name, series in document["outputs"].items()} == model.units
    for series in document["outputs"].values():
        assert series["x"] == [float(t) for t in range(0, 25, 2)]
        assert all(0 <= low <= high for low, high in zip(series["low"], series["high"], strict=True))
        assert max(series["y"]) > 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_fitted_to_its_levels(path, run):
    model, levels = load_model(path), [row for row in _rows(path) if row["EVID"] == "0"]

    (found,) = run("fit", "--model", path, "--data", path.with_suffix(".csv"))["subjects"].values()

    assert found["converged"]
    assert list(found["eta"]) == [effect.eta for effect in model.random]
    assert 0.01 < max(map(abs, found["eta"].values())) < 1.5
    assert len(found["predictions"]) == len(levels)
    for row, predicted in zip(levels, found["predictions"], strict=True):
        if row.get("CENS") == "1":
            assert predicted < float(row["LLOQ"])
        else:
            assert predicted == pytest.approx(float(row["DV"]), rel=0.35), row


@pytest.mark.parametrize("name", SHAPES)
def test_the_events_show_what_the_example_is_for(name):
    column, values = SHAPES[name]

    rows = _rows(ROOT / "examples" / "models" / f"{name}.toml")

    assert values <= {row[column] for row in rows}


def test_covariates_of_the_example_change_over_time():
    rows = _rows(ROOT / "examples" / "models" / "time_varying.toml")

    assert {covariate.carry for covariate in load_model(ROOT / "examples/models/time_varying.toml").covariates} == {
        "forward", "backward",
    }  # fmt: skip
    assert all(len({row[name] for row in rows}) > 1 for name in ("crcl", "weight"))


def test_every_example_stands_in_the_document():
    assert [path.stem for path in EXAMPLES if f"`{path.stem}`" not in DOCUMENT] == []


def test_every_key_and_structural_parameter_stands_in_the_document():
    parts = (PkModel, Covariate, Theta, RandomEffect, Residual, Target)
    keys = {key for part in parts for key in part.model_fields} - {"variability"}  # it is made of [omega]
    models = [load_model(path) for path in EXAMPLES]
    parameters = {name for model in models for name in (*model.structural, *model.optional)}

    assert {key for key in keys if f"`{key}`" not in DOCUMENT} == set()
    words = set(DOCUMENT.replace(",", " ").replace(";", " ").split())
    assert parameters - words == set()
