"""The models that the package ships: from the present constants, small, labelled, and replaced by a site's own."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from posologist.core.errors import InputError
from posologist.core.genotype import Versions
from posologist.knowledge.load import load_knowledge
from posologist.learn.artefact import DEFAULTS, load, read_manifest
from posologist.learn.tasks import pressure
from posologist.recommend.learned import SCHEMAS, model_of
from posologist.serve.learning import Wanted, trained
from posologist.study.hypertension_default import TASKS, lacking, train_default
from posologist.study.simulator import Dials, world
from posologist.study.simulator_data import frame_of_periods, published_fall
from posologist.study.simulator_kinetics import DRUGS
from reading import knowledge
from toy_pressure import facts, toy_engine

SMALL = 500_000  # bytes


@pytest.mark.parametrize("task", TASKS)
def test_a_default_model_is_of_the_present_constants_and_features(task: str) -> None:
    constants = files("posologist.study").joinpath("hypertension.toml").read_bytes()

    manifest = load(DEFAULTS / task, schema=SCHEMAS[task]).manifest

    assert manifest.training.digest == hashlib.sha256(constants).hexdigest()
    assert manifest.training.label == "simulated patients"
    assert sum(path.stat().st_size for path in (DEFAULTS / task).iterdir()) < SMALL
    assert "simulated patients" in (DEFAULTS / task / "model-card.md").read_text(encoding="utf-8")


def test_a_site_replaces_the_default_by_a_folder(tmp_path: Path) -> None:
    toy_engine().save(tmp_path / "learned" / "ours", facts("real patients"))

    own, default = (model_of(held, pressure.TASK) for held in (load_knowledge(tmp_path), knowledge()))

    assert own is not None
    assert default is not None
    assert own.manifest.training.label == "real patients"
    assert default.manifest.training.label == "simulated patients"


def test_the_default_tells_drugs_apart_in_new_simulated_patients() -> None:
    """It explains at least a third of what the published effects leave of the differences between the drugs."""
    new = world(300, Dials(0.6), 20_260_101)
    patient, drug = np.divmod(np.arange(len(new) * len(DRUGS)), len(DRUGS))
    rows = lacking(frame_of_periods(new, patient, drug), 1)
    model = model_of(knowledge(), pressure.TASK)
    assert model is not None

    found = model.answers(rows).value.reshape(len(new), len(DRUGS))

    beyond = new.fall - published_fall(new.clinic)
    assert ((beyond - found) ** 2).mean() < 0.67 * (beyond**2).mean()


def test_the_recorded_command_makes_the_same_model_twice(tmp_path: Path) -> None:
    once, again = (train_default(pressure.TASK, tmp_path / name, seed=3, quick=True) for name in "ab")

    assert once.digest == again.digest
    assert read_manifest(tmp_path / "a").digest == once.digest


def test_a_table_is_refused_where_patients_are_simulated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="makes its own patients"):
        trained(Wanted(pressure.TASK, tmp_path, quick=True), tmp_path / "out", Versions(posologist="x", knowledge="x"))
