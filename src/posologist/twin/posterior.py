"""What is known of a patient's parameters after the levels: Laplace's approximation, corrected by importance sampling.

The posterior near its mode is normal with the inverse Hessian of half the objective as covariance. Draws come from a
heavier-tailed proposal around it (a multivariate t; one around each mode where there are several, `twin/modes.py`),
mixed with draws from the prior so that no weight can explode, and each is weighted with posterior / proposal. The
effective sample size 1 / sum(weight^2) tells how many equal draws they are worth; when it is small the proposal is
fitted again to the weighted draws, more are made, and a posterior that stays small says so.

References
----------
kish-1965 (effective sample size); owen-2013: A. B. Owen, Monte Carlo theory, methods and examples, chapter 9
(importance sampling with a defensive mixture).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from posologist.core.errors import NumericsError
from posologist.twin.individual import Array, factor_of
from posologist.twin.levels import Model, Predict, Problem, Table, problem_of
from posologist.twin.map import MapResult, Optimum, map_results, minimise
from posologist.twin.modes import summits
from posologist.twin.residual import objective

ENOUGH = 200  # effective draws below which an answer is flagged
_FREEDOM = 5.0  # degrees of freedom of the proposal's t
_DEFENSIVE = 0.1  # part of the draws that come from the prior
_EVEN = 0.2  # part of the others that all modes share evenly
_TOO_LITTLE = 1e-3  # probability below which a mode stays what it was
_ROUNDS = 6  # each makes twice as many draws as the one before


@dataclass(frozen=True)
class Posterior:
    """Weighted draws of a patient's random effects.

    `eta` (n_draws, n_eta) between patients, `all_etas` (n_draws, n_eta (1 + n_occasions)) with those of each occasion
    behind them; `weights` (n_draws,) add up to 1; `effective` is the effective sample size, `enough` whether it
    reaches `ENOUGH`; `log_evidence` is ln of the probability density of the levels under the model, in the model's
    unit of concentration (to compare models in different units, convert); `estimate` is the most probable point;
    `parameters` belong to the last record, each (n_draws,).
    """

    subject: str
    eta: Array
    all_etas: Array
    weights: Array
    effective: float
    log_evidence: float
    estimate: MapResult
    parameters: dict[str, Array]

    @property
    def enough(self) -> bool:
        """Whether the draws are worth at least `ENOUGH` equal ones."""
        return self.effective >= ENOUGH

    def mean(self) -> Array:
        """Posterior mean of the etas, (n_eta,)."""
        return np.asarray(self.weights @ self.eta)

    def covariance(self) -> Array:
        """Posterior covariance of the etas, (n_eta, n_eta)."""
        away = self.eta - self.mean()
        return np.asarray((away * self.weights[:, None]).T @ away)

    def sd(self) -> Array:
        """Posterior standard deviation of each eta, (n_eta,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance())))

    def resampled(self, n_draws: int, rng: np.random.Generator) -> Array:
        """Equally likely draws of the etas, (n_draws, n_eta), by systematic resampling in random order."""
        return np.asarray(self.eta[resampled_rows(self.weights, n_draws, rng)])


def resampled_rows(weights: Array, n_draws: int, rng: np.random.Generator) -> Any:
    """Rows drawn in proportion to `weights`, (n_draws,): one from each equal slice of the cumulated weights."""
    ends = np.cumsum(weights)
    places = (np.arange(n_draws) + rng.random()) / n_draws * ends[-1]
    rows = np.minimum(np.searchsorted(ends, places, side="right"), len(weights) - 1)
    return rng.permutation(rows)


def prior_draws(model: Model, n_draws: int, rng: np.random.Generator) -> Array:
    """Draws of the etas of a patient without levels, (n_draws, n_eta): normal with covariance Omega."""
    factor = factor_of(model.omega)
    return np.asarray(rng.standard_normal((n_draws, factor.shape[1])) @ factor.T)


def posterior(
    model: Model,
    table: Table,
    *,
    n_draws: int,
    rng: np.random.Generator,
    predict: Predict | None = None,
    most_draws: int | None = None,
) -> Posterior:
    """Posterior of one patient.

    Parameters
    ----------
    n_draws
        Draws of the first round; more follow while the effective sample size is below `ENOUGH`.
    most_draws
        Limit of all draws; by default 32 times `n_draws`.
    predict
        As in `map_estimates`.

    Raises
    ------
    PosologistError
        If the table does not fit the model.
    NumericsError
        If no estimate was found: then there is nothing to draw around.
    """
    problem = problem_of(model, [table], predict=predict)
    first = minimise(problem)
    (estimate,) = map_results(problem, first, [table])
    if not estimate.converged:
        raise NumericsError(estimate.problem, where=f"subject {estimate.subject}", hint="check doses, levels and units")
    found = summits(problem, first)
    (estimate,) = map_results(problem, found.where([0]), [table])
    sample = _sample(problem, found, n_draws, rng, most_draws or 32 * n_draws)
    all_etas = problem.effects.all_etas(sample.scores)
    owner = np.zeros(len(sample.scores), dtype=int)
    return Posterior(
        subject=estimate.subject,
        eta=all_etas[:, : problem.effects.n_eta],
        all_etas=all_etas,
        weights=sample.weights,
        effective=sample.effective,
        log_evidence=sample.log_mean + _constant(problem),
        estimate=estimate,
        parameters=problem.parameters(owner, sample.scores)[-1] if problem.typical else {},
    )


def _constant(problem: Problem) -> float:
    """What the objective leaves out of ln likelihood: the normal constant, and the change of variable to ln."""
    seen = ~problem.below[0]
    logarithms = problem.levels[0][seen & problem.error.logarithmic]
    return float(-0.5 * math.log(2.0 * math.pi) * seen.sum() - logarithms.sum())


class _Sample(NamedTuple):
    """Scores (n_draws, n_scores), their weights, and ln of the mean of the weights before they were made to add up."""

    scores: Array
    weights: Array
    log_mean: float

    @property
    def effective(self) -> float:
        return float(1.0 / (self.weights**2).sum())


class _Proposal(NamedTuple):
    """Mixture of t distributions, `shares` (n_modes,) of them around `centres` with scale `root` root', and the prior.

    `centres` (n_modes, n_scores), `roots` (n_modes, n_scores, n_scores).
    """

    shares: Array
    centres: Array
    roots: Array

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        normal = rng.standard_normal((n, self.centres.shape[1]))
        stretch = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, n))[:, None]
        from_prior = round(_DEFENSIVE * n)
        places = (np.arange(n) - from_prior + 0.5) / max(n - from_prior, 1)
        mode = np.minimum(np.searchsorted(np.cumsum(self.shares), places), len(self.shares) - 1)
        drawn = normal
        for i, (centre, root) in enumerate(zip(self.centres, self.roots, strict=True)):
            chosen = (mode == i) & (np.arange(n) >= from_prior)
            drawn = np.where(chosen[:, None], centre + stretch * (normal @ root.T), drawn)
        return np.asarray(drawn)

    def of_modes(self, scores: Array) -> Array:
        """ln of share times density of each t, (n_modes, n_draws), without (2 pi)^(-size/2), as the prior is."""
        half, size = _FREEDOM / 2.0, self.centres.shape[1]
        constant = math.lgamma(half + size / 2.0) - math.lgamma(half) - size / 2.0 * math.log(half)
        found = []
        for share, centre, root in zip(self.shares, self.centres, self.roots, strict=True):
            away = np.linalg.solve(root, (scores - centre).T)
            scale = constant - np.log(np.diag(root)).sum() + math.log(share)
            found.append(scale - (half + size / 2.0) * np.log1p((away * away).sum(axis=0) / _FREEDOM))
        return np.array(found)

    def log_density(self, scores: Array) -> Array:
        """ln of the density, without the constant (2 pi)^(-size/2) that the prior shares."""
        of_t = np.logaddexp.reduce(self.of_modes(scores), axis=0)
        of_prior = -0.5 * (scores * scores).sum(axis=1)
        return np.asarray(np.logaddexp(math.log(1.0 - _DEFENSIVE) + of_t, math.log(_DEFENSIVE) + of_prior))


def _sample(problem: Problem, modes: Optimum, n_draws: int, rng: np.random.Generator, most: int) -> _Sample:
    size = modes.scores.shape[1]
    if not size:
        return _Sample(np.zeros((n_draws, 0)), np.full(n_draws, 1.0 / n_draws), -0.5 * float(modes.local.value[0]))
    proposal = _around(modes)
    scores, log_weights = np.zeros((0, size)), np.zeros(0)
    n, sample = min(n_draws, most), None
    for _ in range(_ROUNDS):
        fresh = proposal.draw(n, rng)
        scores = np.concatenate([scores, fresh])
        log_weights = np.concatenate([log_weights, _log_posterior(problem, fresh) - proposal.log_density(fresh)])
        sample = _weighted(scores, log_weights)
        n = min(2 * n, most - len(scores))
        if sample.effective >= ENOUGH or n <= 0:
            break
        proposal = _refitted(proposal, sample)
    if sample is None:
        raise NumericsError("a posterior needs draws", hint="ask for at least one")
    return sample


def _around(modes: Optimum) -> _Proposal:
    """A t around each mode; Laplace's approximation of its probability makes its share."""
    roots = np.array([_root(np.linalg.inv(_convex(modes, i) / 2.0)) for i in range(len(modes.scores))])
    log_mass = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1) - 0.5 * modes.local.value
    return _Proposal(_shares(np.exp(log_mass - log_mass.max())), modes.scores, roots)


def _shares(masses: Array) -> Array:
    """Shares in proportion to masses, none of them small: a mode may be wider than it looks."""
    return np.asarray((1.0 - _EVEN) * masses / masses.sum() + _EVEN / len(masses))


def _convex(modes: Optimum, i: int) -> Array:
    """Hessian at a mode; the expected one where a flat direction spoils the true one."""
    hessian = modes.local.hessian[i]
    return np.asarray(hessian if np.linalg.eigvalsh(hessian)[0] > 0 else modes.local.expected[i])


def _root(covariance: Any) -> Array:
    return np.asarray(np.linalg.cholesky((covariance + covariance.T) / 2.0))


def _weighted(scores: Array, log_weights: Array) -> _Sample:
    largest = float(log_weights.max())
    raw = np.exp(log_weights - largest)
    return _Sample(scores, raw / raw.sum(), largest + math.log(raw.mean()))


def _refitted(proposal: _Proposal, sample: _Sample) -> _Proposal:
    """Each mode with the mean and covariance of the weighted draws that are its own, shrunk a little to what it was."""
    of_modes = proposal.of_modes(sample.scores)
    own = sample.weights * np.exp(of_modes - np.logaddexp.reduce(of_modes, axis=0))
    masses = own.sum(axis=1)
    centres, roots = proposal.centres.copy(), proposal.roots.copy()
    for i in np.flatnonzero(masses > _TOO_LITTLE):
        weights = own[i] / masses[i]
        centres[i] = weights @ sample.scores
        away = sample.scores - centres[i]
        covariance = (away * weights[:, None]).T @ away
        roots[i] = _root(np.asarray(0.9 * covariance + 0.1 * roots[i] @ roots[i].T))
    return _Proposal(_shares(masses), centres, roots)


def _log_posterior(problem: Problem, scores: Array) -> Array:
    """ln of likelihood times prior without constants; minus infinity where a prediction does not exist."""
    rows = np.zeros(len(scores), dtype=int)
    with np.errstate(all="ignore"):
        predicted = problem.on_scale(rows, scores)
        misfits = objective(problem.error, predicted, problem.levels[0], problem.below[0])
    value = -0.5 * (misfits + (scores * scores).sum(axis=1))
    return np.asarray(np.where(np.isfinite(value), value, -np.inf))
