"""The default models of benefit and harm of antihypertensives that the package ships: learned from simulated patients.

They learn the true effects of the simulator, not measured ones: their interval is that of what no record tells.
They count little (`recommend.learned_figures` bounds their weight) and are labelled wherever they show. A hospital's
own models of the same tasks replace them by a path. What a real record often lacks is missing here as `_LACKED`
says, and one treatment in five is known by its pathway alone, so that drugs which were not simulated are answered too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from posologist.core.manifest import Manifest
from posologist.learn.features import Frame
from posologist.learn.fit.engine import FittedEngine
from posologist.learn.fit.save import Facts
from posologist.learn.tasks.pressure import DRUGS as KNOWN
from posologist.learn.tasks.pressure import SCHEMA, SYMPTOMS_SCHEMA, SYMPTOMS_TASK, TASK
from posologist.recommend.learned_figures import EFFECT
from posologist.study.blocks import sub_seed
from posologist.study.clinic import Floats, Indices
from posologist.study.hypertension_engine import benefit, symptoms
from posologist.study.simulator import Dials, World, bayes, reference, world
from posologist.study.simulator_data import frame_of_periods, published_fall, published_net, published_symptoms
from posologist.study.simulator_effects import class_symptoms, dose_shape, net_of
from posologist.study.simulator_kinetics import DRUGS

TASKS = (TASK, SYMPTOMS_TASK)
_DIALS = Dials(0.6)
_PATIENTS, _QUICK_PATIENTS, _NEW = 24_000, 1200, 3000
_DOSES = (0.5, 1.0, 2.0)
_BY_PATHWAY = 0.2  # share of rows whose drug is known by its pathway alone
_LACKED: Mapping[str, float] = {
    "renin": 0.7, "urine_sodium": 0.7, "cyp2d6_score": 0.7, "cyp2c9_score": 0.7, "cyp3a5_expresser": 0.7,
    "potassium": 0.2, "egfr": 0.2, "dbp": 0.1, "heart_rate": 0.3, "weight": 0.2, "bmi": 0.3, "black": 0.3,
    "smoking_now": 0.4, "family_hypertension": 0.6, "has_diabetes": 0.1, "has_ckd": 0.1,
    "has_primary_aldosteronism": 0.1, "has_renal_artery_stenosis": 0.1, "has_sleep_apnoea": 0.1, "dose_ratio": 0.1,
    "exposure_fold": 0.2,
}  # fmt: skip


def train_default(task: str, folder: Path, *, seed: int, quick: bool) -> Manifest:
    """Fits and saves one of the default models, with figures from new simulated patients.

    Raises
    ------
    ModelError
        If the saved form does not agree with the fitted one.
    """
    made = world(_QUICK_PATIENTS if quick else _PATIENTS, _DIALS, sub_seed(seed, "default", "train"))
    told = _treatments(made, sub_seed(seed, "default", "treatments"))
    rows = lacking(frame_of_periods(made, told.patient, told.drug, told.dose), sub_seed(seed, "default", "lack"))
    fitted = _fitted(task, made, told, rows, seed)
    digest = hashlib.sha256(files("posologist.study").joinpath("hypertension.toml").read_bytes()).hexdigest()
    facts = Facts(
        name=_NAMES[task], version="1", outcome=_OUTCOMES[task], unit="mmHg" if task == TASK else "1",
        data="simulated patients with hypertension, from the cited constants of study/hypertension.toml",
        digest=digest, licence="none needed", label="simulated patients",
        metrics=_metrics(task, fitted, seed),
    )  # fmt: skip
    manifest = fitted.save(folder, facts)
    (folder / "model-card.md").write_text(_card(manifest, len(rows)), encoding="utf-8")
    return manifest


def lacking(rows: Frame, seed: int) -> Frame:
    """The rows with values missing as in real records, and one drug in five known by its pathway alone."""
    rng = np.random.default_rng(seed)
    values = rows.values.copy()
    for name, share in _LACKED.items():
        values[rng.random(len(values)) < share, rows.schema.names.index(name)] = np.nan
    values[rng.random(len(values)) < _BY_PATHWAY, rows.schema.names.index("drug")] = float(len(KNOWN))
    return Frame(rows.schema, values)


class _Treatments(NamedTuple):
    """Patients, drugs and doses (over the standard dose) that the models learn from, (m,)."""

    patient: Indices
    drug: Indices
    dose: Floats
    step: Indices


def _treatments(made: World, seed: int) -> _Treatments:
    """Each patient under one drug at one of the doses, both by chance."""
    rng = np.random.default_rng(seed)
    drug, step = rng.integers(0, len(DRUGS), len(made)), rng.integers(0, len(_DOSES), len(made))
    return _Treatments(np.arange(len(made)), drug, np.array(_DOSES)[step], step)


def _fitted(task: str, made: World, told: _Treatments, rows: Frame, seed: int) -> FittedEngine:
    patient, drug, step = told.patient, told.drug, told.step
    if task == TASK:
        shape = np.array([[dose_shape(name, dose) for name in DRUGS] for dose in _DOSES])
        expected = np.stack([published_fall(made.clinic, dose) for dose in _DOSES])
        beyond = made.fall[patient, drug] * shape[step, drug] - expected[step, patient, drug]
        return benefit(rows, beyond, patient, seed=seed, leave_out="net")
    more = np.array([[class_symptoms(name, dose) - class_symptoms(name, 1.0) for name in DRUGS] for dose in _DOSES])
    share = np.stack([published_symptoms(dose) for dose in _DOSES])
    return symptoms(rows, made.symptoms[patient, drug] + more[step, drug] - share[step, drug], patient, seed=seed)


def _metrics(task: str, fitted: FittedEngine, seed: int) -> dict[str, float]:
    """On new simulated patients whose records lack as much: error, and what the bounded shift is worth."""
    new = world(_NEW, _DIALS, sub_seed(seed, "default", "test"))
    patient, drug = np.divmod(np.arange(len(new) * len(DRUGS)), len(DRUGS))
    rows = lacking(frame_of_periods(new, patient, drug), sub_seed(seed, "default", "test", "lack"))
    schema = SCHEMA if task == TASK else SYMPTOMS_SCHEMA
    found = fitted.predict(Frame(schema, rows.values)).value.reshape(len(new), len(DRUGS))
    if task != TASK:
        error = new.symptoms - published_symptoms()
        return {"rmse_share": float(np.sqrt(((found - error) ** 2).mean())), "spread_share": float(error.std())}
    ceiling = EFFECT.ceilings["simulated patients"]
    beyond = new.fall - published_fall(new.clinic)
    moved = published_fall(new.clinic) + np.clip(ceiling.weight * found, -ceiling.shift, ceiling.shift)
    return {
        "rmse_true_mmhg": float(np.sqrt(((found - beyond) ** 2).mean())), "spread_true_mmhg": float(beyond.std()),
        "value_percent_published_alone": _value(new, published_net(new.clinic), seed),
        "value_percent_with_bounded_shift": _value(new, net_of(moved, published_symptoms()), seed),
    }  # fmt: skip


def _value(new: World, score: Floats, seed: int) -> float:
    """Gain over the best single drug, as a share of what the Bayes rule gains with every measure known, in percent."""

    def net(given: Floats) -> float:
        choice = np.where(new.allowed, given, -np.inf).argmax(axis=1)
        return float(new.net[np.arange(len(new)), choice].mean())

    single = net(np.broadcast_to(reference().mean, new.net.shape))
    return 100.0 * (net(score) - single) / (net(bayes(new, seed)) - single)


_NAMES = {TASK: "antihypertensives, benefit (default)", SYMPTOMS_TASK: "antihypertensives, symptoms (default)"}
_OUTCOMES = {
    TASK: "fall of systolic pressure beyond the published effect",
    SYMPTOMS_TASK: "chance of a symptom due to the drug beyond the published share",
}


def _card(manifest: Manifest, rows: int) -> str:
    figures = "\n".join(f"- {name.replace('_', ' ')}: {value:.4g}" for name, value in manifest.metrics.items())
    total = sum(manifest.weights)
    shares = zip(manifest.components, manifest.weights, strict=True)
    parts = ", ".join(f"{name} {weight / total:.2f}" for name, weight in shares)
    return f"""# {manifest.name} {manifest.version}

Learned from {rows} **{manifest.training.label}**, each under one drug at one dose. It is no evidence about real
patients: it shows where a model of this form enters, and moves a published effect by at most a quarter of what it says,
within narrow limits. A hospital's own model of the task `{manifest.task}` replaces it.

Outcome: {manifest.outcome} ({manifest.unit}). Blend: {parts}.

On new simulated patients whose records lack as much:

{figures}

Made by `posologist train {manifest.task} --out FOLDER --seed {manifest.training.seed}`.
"""
