"""The posterior of a patient: what it must be without levels, with more of them, in other units and other orders."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import lognorm, norm

from posologist.core.errors import NumericsError
from posologist.twin.levels import problem_of
from posologist.twin.map import map_estimates, minimise
from posologist.twin.modes import summits
from posologist.twin.posterior import ENOUGH, posterior, prior_draws, resampled_rows
from twin_models import Effect, Error, PlainModel, closed_form, diagonal, table

MODEL = PlainModel(
    equations=lambda: {"CL": 4.0, "V1": 70.0, "KA": 1.0},
    random=(Effect("CL"), Effect("V1"), Effect("KA")),
    omega=((0.2, 0.05, 0.0), (0.05, 0.1, 0.02), (0.0, 0.02, 0.3)),
    residual=(Error("combined-sd", additive=0.2, proportional=0.1),),
    absorption="first-order",
)
DOSES = [(0.0, 1000.0, 0.0), (24.0, 1000.0, 0.0)]
LEVELS = [(2.0, 11.0), (12.0, 7.0), (23.5, 4.1), (26.0, 14.0), (47.0, 5.0)]


def _posterior(rows, *, model=MODEL, n_draws=20_000, seed=1, **options):
    rng = np.random.default_rng(seed)
    return posterior(model, rows, n_draws=n_draws, rng=rng, **options)


def test_without_levels_the_posterior_is_the_prior():
    found = _posterior(table("1", DOSES, []))

    np.testing.assert_allclose(found.estimate.eta, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.mean(), 0.0, atol=0.02)
    np.testing.assert_allclose(found.covariance(), MODEL.omega, atol=0.01)
    np.testing.assert_allclose(found.estimate.covariance, MODEL.omega, atol=1e-9)


@pytest.mark.parametrize("effect", [0, 1, 2])
def test_more_levels_never_widen_a_margin(effect):
    widths = [_posterior(table("1", DOSES, LEVELS[:n])).sd()[effect] for n in range(len(LEVELS) + 1)]

    assert all(after < before * 1.03 for before, after in itertools.pairwise(widths))
    assert widths[-1] < widths[0]


@pytest.mark.parametrize("form", ["proportional", "log"])
def test_weighted_draws_and_the_evidence_agree_with_a_fine_grid(form):
    model = dataclasses.replace(
        MODEL, random=(Effect("CL"),), omega=((0.2,),), residual=(Error(form, proportional=0.3),)
    )
    rows, levels = table("1", DOSES, LEVELS[:2]), [11.0, 7.0]
    grid = np.linspace(-3, 3, 4001)
    f = closed_form(model, [{"CL": 4.0 * np.exp(grid), "V1": np.full(4001, 70.0), "KA": np.full(4001, 1.0)}], rows)
    of_level = [norm(p, 0.3 * p).pdf(y) if form == "proportional" else lognorm(0.3, scale=p).pdf(y)
                for y, p in zip(levels, f[:, [1, 2]].T, strict=True)]  # fmt: skip
    density = of_level[0] * of_level[1] * norm(0, 0.2**0.5).pdf(grid)
    evidence = density.sum() * (grid[1] - grid[0])
    mean = (density * grid).sum() / density.sum()
    sd = np.sqrt((density * (grid - mean) ** 2).sum() / density.sum())

    found = _posterior(rows, model=model, n_draws=40_000)

    assert found.mean()[0] == pytest.approx(mean, abs=0.02 * sd)
    assert found.sd()[0] == pytest.approx(sd, rel=0.02)
    assert found.estimate.eta[0] == pytest.approx(grid[np.argmax(density)], abs=0.002)
    assert found.log_evidence == pytest.approx(np.log(evidence), abs=0.02)


def test_the_order_of_levels_of_one_time_changes_nothing():
    one = table("1", DOSES, [(2.0, 11.0), (2.0, 9.0), (12.0, 7.0)])
    other = table("1", DOSES, [(2.0, 9.0), (2.0, 11.0), (12.0, 7.0)])

    first, second = _posterior(one, n_draws=500), _posterior(other, n_draws=500)

    np.testing.assert_allclose(first.estimate.eta, second.estimate.eta, atol=1e-9)
    np.testing.assert_allclose(first.mean(), second.mean(), atol=1e-7)


def test_another_unit_of_the_levels_changes_nothing():
    in_micrograms = dataclasses.replace(
        MODEL, scale=1000.0, residual=(Error("combined-sd", additive=200.0, proportional=0.1),)
    )

    first = _posterior(table("1", DOSES, LEVELS), n_draws=500)
    second = _posterior(table("1", DOSES, [(t, 1000 * y) for t, y in LEVELS]), model=in_micrograms, n_draws=500)

    np.testing.assert_allclose(first.estimate.eta, second.estimate.eta, atol=1e-9)
    np.testing.assert_allclose(first.weights, second.weights, rtol=1e-5)


def test_the_same_seed_gives_the_same_draws_and_another_seed_others():
    rows = table("1", DOSES, LEVELS)

    assert np.array_equal(_posterior(rows, n_draws=300).eta, _posterior(rows, n_draws=300).eta)
    assert not np.array_equal(_posterior(rows, n_draws=300).eta, _posterior(rows, n_draws=300, seed=2).eta)


def test_few_draws_are_followed_by_more_until_there_are_enough():
    found = _posterior(table("1", DOSES, LEVELS), n_draws=100)

    assert len(found.weights) > 100
    assert found.enough
    assert found.effective >= ENOUGH


def test_too_few_draws_are_flagged_where_no_more_are_allowed():
    found = _posterior(table("1", DOSES, LEVELS), n_draws=100, most_draws=100)

    assert len(found.weights) == 100
    assert not found.enough


def test_resampled_draws_keep_mean_and_spread():
    found = _posterior(table("1", DOSES, LEVELS))

    draws = found.resampled(20_000, np.random.default_rng(3))

    np.testing.assert_allclose(draws.mean(axis=0), found.mean(), atol=0.01)
    np.testing.assert_allclose(draws.std(axis=0), found.sd(), rtol=0.03)
    assert set(resampled_rows(np.array([0.0, 1.0, 0.0]), 50, np.random.default_rng(1))) == {1}


def test_prior_draws_have_the_covariance_of_the_model():
    draws = prior_draws(MODEL, 200_000, np.random.default_rng(5))

    np.testing.assert_allclose(np.cov(draws.T), MODEL.omega, atol=0.003)


def test_a_patient_without_random_effects_has_one_answer():
    fixed = dataclasses.replace(MODEL, omega=diagonal(0.0, 0.0, 0.0))

    found = _posterior(table("1", DOSES, LEVELS), model=fixed, n_draws=300)

    assert np.all(found.eta == 0.0)
    assert found.effective == pytest.approx(300)


def test_a_level_before_the_first_dose_is_refused_with_its_time():
    proportional = dataclasses.replace(MODEL, residual=(Error("proportional", proportional=0.2),))
    rows = table("1", DOSES, [(-1.0, 2.0)])

    with pytest.raises(NumericsError, match="-1 h has no likelihood"):
        _posterior(rows, model=proportional)
    assert not map_estimates(proportional, [rows])[0].converged


def test_with_many_levels_laplace_and_the_weighted_draws_agree():
    times = np.arange(1.0, 47.0, 1.5)
    f = closed_form(MODEL, [{"CL": np.array([4.4]), "V1": np.array([66.0]), "KA": np.array([1.2])}], table(
        "1", DOSES, [(float(t), 0.0) for t in times]
    ))[0]  # fmt: skip
    at = [i for i, r in enumerate(table("1", DOSES, [(float(t), 0.0) for t in times]).records) if not r.is_dose]

    found = _posterior(table("1", DOSES, list(zip(times.tolist(), f[at].tolist(), strict=True))))

    np.testing.assert_allclose(found.covariance()[:2, :2], found.estimate.covariance[:2, :2], rtol=0.1, atol=1e-4)
    assert found.effective > 0.5 * len(found.weights)


FLIP_FLOP = dataclasses.replace(
    MODEL,
    equations=lambda: {"CL": 4.0, "V1": 20.0, "KA": 0.25},
    random=(Effect("V1"), Effect("KA")),
    omega=diagonal(0.5, 1.5),
    residual=(Error("proportional", proportional=0.15),),
)  # fast absorption with slow elimination and the reverse explain the same levels
FLIPPED = [(1.0, 3.0), (12.0, 5.0), (24.0, 2.5)]


def test_both_explanations_of_the_levels_get_their_probability():
    axes = [np.linspace(-5, 5, 801) * variance**0.5 for variance in (0.5, 1.5)]
    volume, absorption = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    k, ka = 4.0 / (20.0 * np.exp(volume)), 0.25 * np.exp(absorption)
    log_density = -0.5 * (volume**2 / 0.5 + absorption**2 / 1.5)
    for t, y in FLIPPED:
        f = 1000.0 * k / 4.0 * ka / (ka - k) * (np.exp(-k * t) - np.exp(-ka * t))
        log_density += norm(f, 0.15 * f).logpdf(y)
    density = np.exp(log_density - log_density.max())
    absorbed_faster = density[ka > k].sum() / density.sum()

    found = _posterior(table("1", DOSES[:1], FLIPPED), model=FLIP_FLOP)
    ours = found.weights[found.parameters["KA"] > 4.0 / found.parameters["V1"]].sum()

    assert 0.1 < absorbed_faster < 0.5
    assert ours == pytest.approx(absorbed_faster, abs=0.02)
    np.testing.assert_allclose(found.mean(), [density @ volume, density @ absorption] / density.sum(), atol=0.02)


def test_the_estimate_is_the_highest_summit_even_where_the_typical_patient_is_below_another():
    model = dataclasses.replace(
        FLIP_FLOP,
        random=(Effect("CL"), Effect("V1"), Effect("KA")),
        omega=diagonal(0.5, 0.5, 1.5),
        residual=(Error("proportional", proportional=0.1),),
    )
    rows = table("1", DOSES[:1], FLIPPED)

    estimate = _posterior(rows, model=model, n_draws=500).estimate

    assert estimate.objective < map_estimates(model, [rows])[0].objective - 1.0
    assert estimate.gradient < 1e-5


def test_levels_with_one_explanation_have_one_summit():
    problem = problem_of(MODEL, [table("1", DOSES, LEVELS)], predict=None)

    found = summits(problem, minimise(problem))

    assert found.scores.shape == (1, 3)
