"""Simulation-based calibration: the true random effects of simulated patients rank uniformly among posterior draws.

A patient is drawn from the model, levels are simulated from the patient, and the posterior is made from the levels.
If all three are right, the rank of the truth among the posterior's draws is uniform (Talts et al., 2018,
arXiv:1804.06788). Levels are simulated here with the exact propagation and an own residual error, not with the code
that evaluates the posterior.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.twin.events import EventTable, Record
from posologist.twin.individual import individual
from posologist.twin.linear import predict
from posologist.twin.posterior import posterior, prior_draws

PATIENTS = 300
_DRAWS = 99  # ranks run from 0 to 99
_BINS = 10
_CHI_SQUARE_999 = 27.88  # 0.999 quantile of chi-square with 9 degrees of freedom


@dataclass(frozen=True)
class Case:
    """Doses (h, amount, rate) and times of levels (h) that a model's patients get."""

    model: str
    doses: tuple[tuple[float, float, float], ...]
    times: tuple[float, ...]


CASES = (
    Case("phenobarbital_grasela1985", ((0, 30, 0), (12, 4, 0), (24, 4, 0)), (2, 20, 60)),
    Case("vancomycin_goti2018", ((0, 1000, 1000), (12, 1000, 1000), (24, 1000, 1000)), (2, 11.5, 26, 35.5)),
    Case("theophylline_rovei1982", ((0, 320, 0),), (1, 4, 9, 24)),
)


def _scatter(model, f, rng):
    (error,) = model.residual
    a, b = error.additive, error.proportional
    sd = {"proportional": b * f, "additive": a, "combined-sd": a + b * f, "combined-variance": np.hypot(a, b * f)}
    if error.form == "log":
        return f * np.exp(b * rng.standard_normal(f.shape))
    return f + sd[error.form] * rng.standard_normal(f.shape)


def _patient(model, case, eta, rng):
    doses = [Record(t, evid=1, amt=amt, rate=rate, mdv=1, covariates=model.reference) for t, amt, rate in case.doses]
    asked = [Record(t, mdv=1, covariates=model.reference) for t in case.times]
    records = sorted([*doses, *asked], key=lambda r: (r.time, -r.evid))
    parameters = individual(model, model.typical(model.reference), eta)
    exact = predict(model, [parameters] * len(records), EventTable("1", tuple(records)))[0]
    levels = _scatter(model, exact, rng)
    return EventTable(
        "1",
        tuple(
            r if r.evid else Record(r.time, dv=float(y), covariates=r.covariates)
            for r, y in zip(records, levels, strict=True)
        ),
    )


@cache
def _ranks(case, narrowed=1.0):
    """Ranks (patients, n_eta); `narrowed` shrinks the variances that the posterior believes in."""
    model = load_model(MODELS_FOLDER / f"{case.model}.toml")
    believed = model.model_copy(update={"omega": tuple(tuple(v * narrowed for v in row) for row in model.omega)})
    rng = np.random.default_rng(20261120)
    truths = prior_draws(model, PATIENTS, rng)
    found = []
    for truth in truths:
        table = _patient(model, case, truth, rng)
        known = posterior(believed, table, n_draws=1000, rng=rng)
        assert known.enough
        found.append((known.resampled(_DRAWS, rng) < truth).sum(axis=0))
    return np.array(found)


def _chi_square(ranks):
    counts = np.bincount(ranks * _BINS // (_DRAWS + 1), minlength=_BINS)
    expected = len(ranks) / _BINS
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
def test_the_truth_ranks_uniformly_among_the_posterior_draws(case: Case) -> None:
    ranks = _ranks(case)

    assert max(_chi_square(column) for column in ranks.T) < _CHI_SQUARE_999


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.model)
def test_ninety_percent_intervals_cover_the_truth_in_ninety_percent(case: Case) -> None:
    ranks = _ranks(case)

    assert 0.87 <= np.mean((ranks >= 5) & (ranks <= 94)) <= 0.93


def test_a_posterior_that_is_too_sure_is_found_out() -> None:
    ranks = _ranks(CASES[0], narrowed=0.25)

    assert max(_chi_square(column) for column in ranks.T) > _CHI_SQUARE_999
