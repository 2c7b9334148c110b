"""Simulated patients: the posterior holds the truth as often as it says (simulation-based calibration)."""

import dataclasses

import numpy as np
import pytest

from posologist.twin.events import EventTable
from posologist.twin.individual import individual
from posologist.twin.linear import predict
from posologist.twin.posterior import posterior, prior_draws
from twin_models import Effect, Error, PlainModel, diagonal, table

N_PATIENTS = 400
MODELS = {
    "one compartment, oral, levels on the log scale": PlainModel(
        equations=lambda: {"CL": 4.0, "V1": 40.0, "KA": 0.8},
        random=(Effect("CL"), Effect("V1"), Effect("KA")),
        omega=((0.15, 0.05, 0.0), (0.05, 0.1, 0.0), (0.0, 0.0, 0.3)),
        residual=(Error("log", proportional=0.2),),
        absorption="first-order",
    ),
    "two compartments, infused, combined error": PlainModel(
        equations=lambda: {"CL": 4.0, "V1": 20.0, "Q": 3.0, "V2": 25.0},
        random=(Effect("CL"), Effect("V1"), Effect("V2")),
        omega=diagonal(0.15, 0.1, 0.2),
        residual=(Error("combined-sd", additive=0.3, proportional=0.12),),
        compartments=2,
    ),
    "one compartment, infused, wide, additive error": PlainModel(
        equations=lambda: {"CL": 4.0, "V1": 40.0},
        random=(Effect("CL"), Effect("V1")),
        omega=((0.5, 0.2), (0.2, 0.4)),
        residual=(Error("additive", additive=0.7),),
    ),
}
SPREAD = {
    "log": lambda e, f: e.proportional + 0 * f,
    "combined-sd": lambda e, f: e.additive + e.proportional * f,
    "additive": lambda e, f: e.additive + 0 * f,
}


def _simulated(model, eta, rng):
    rate = 0.0 if model.absorption != "none" else 500.0
    empty = table("1", [(t, 500.0, rate) for t in (0.0, 12.0, 24.0)], [(t, 1.0) for t in (2.0, 11.5, 27.0)])
    own = individual(model, model.typical({}), eta)
    f = predict(model, [own] * len(empty.records), empty)[0]
    (error,) = model.residual
    noise = SPREAD[error.form](error, f) * rng.standard_normal(len(f))
    levels = f * np.exp(noise) if error.form == "log" else f + noise
    rows = [r if r.is_dose else dataclasses.replace(r, dv=float(y)) for r, y in zip(empty.records, levels, strict=True)]
    return EventTable("1", tuple(rows))


@pytest.mark.parametrize("name", MODELS)
def test_ninety_percent_intervals_hold_the_truth_in_87_to_93_percent(name):
    model, rng = MODELS[name], np.random.default_rng(20)
    places = []
    for eta in prior_draws(model, N_PATIENTS, rng):
        found = posterior(model, _simulated(model, eta, rng), n_draws=600, rng=rng)
        assert found.enough
        places.append(found.weights @ (found.eta < eta))

    places = np.array(places)
    assert 0.87 <= np.mean((places > 0.05) & (places < 0.95)) <= 0.93
    counts = np.stack([np.histogram(column, bins=10, range=(0, 1))[0] for column in places.T])
    expected = N_PATIENTS / 10
    assert np.all(((counts - expected) ** 2 / expected).sum(axis=1) < 27.9)  # chi square, 9 df, p = 0.001
