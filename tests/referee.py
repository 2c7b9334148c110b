"""A referee of posteriors: a No-U-Turn sampler (nutpie) on a log density, and its comparison with weighted draws.

Nothing here is of posologist. Gradients are complex steps: the imaginary part of the density at x + i h, divided by h,
is the derivative to the last digit, so a density must be written in analytic functions of complex arrays.

References
----------
M. D. Hoffman, A. Gelman, The No-U-Turn sampler, J Mach Learn Res 15:1593 (2014).
W. Squire, G. Trapp, Using complex variables to estimate derivatives of real functions, SIAM Rev 40:110 (1998).
A. Vehtari et al., Rank-normalization, folding, and localization: an improved R-hat, Bayesian Anal 16:667 (2021).
"""

import itertools
import warnings
from dataclasses import dataclass

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # arviz announces a major version, once a day
    import arviz
    import nutpie
from nutpie.compiled_pyfunc import from_pyfunc

CHAINS, TUNE, DRAWS = 4, 300, 1750
QUANTILES = (0.05, 0.5, 0.95)
_STEP = 1e-30


@dataclass(frozen=True)
class Sampled:
    """Draws (chains, draws, n) of a No-U-Turn sampler, and how many of its paths diverged after tuning."""

    draws: np.ndarray
    divergent: int

    @property
    def worst_rhat(self):
        """Largest rank-normalised R-hat of the dimensions."""
        return max(arviz.rhat(column) for column in np.moveaxis(self.draws, 2, 0))

    @property
    def least_effective(self):
        """Smallest effective sample size of the dimensions, of bulk and tails."""
        columns = np.moveaxis(self.draws, 2, 0)
        return min(arviz.ess(column, method=method) for column in columns for method in ("bulk", "tail"))


def sampled(log_density, sd, *, seed=20261120):
    """Draws from `log_density`, of complex (rows, n) to (rows,); chains start at normal draws of these `sd` (n,)."""
    n = len(sd)
    steps = 1j * _STEP * np.eye(n)

    def value_and_gradient(scaled):
        with np.errstate(all="ignore"):
            values = log_density(sd * (scaled + steps))
        return float(values[0].real), values.imag / _STEP

    model = from_pyfunc(
        n, lambda: value_and_gradient, lambda *_: lambda scaled: {"x": sd * scaled}, [np.dtype(float)], [(n,)], ["x"],
        make_initial_point_fn=lambda seed: np.random.default_rng(seed).standard_normal(n),
    )  # fmt: skip
    trace = nutpie.sample(
        model, draws=DRAWS, tune=TUNE, chains=CHAINS, cores=1, seed=seed, progress_bar=False, save_warmup=False,
        low_rank_modified_mass_matrix=True, target_accept=0.95,
    )  # fmt: skip
    return Sampled(trace.posterior["x"].to_numpy(), int(trace.sample_stats["diverging"].sum()))


@dataclass(frozen=True)
class Difference:
    """A statistic by the referee and by the weighted draws, and its Monte Carlo error in each."""

    name: str
    referee: float
    weighted: float
    error_of_referee: float
    error_of_weighted: float

    @property
    def errors(self):
        """How many standard errors of both they are apart."""
        return abs(self.referee - self.weighted) / np.hypot(self.error_of_referee, self.error_of_weighted)


def differences(referee, weighted, weights, pairs):
    """Mean, SD and quantiles of each quantity and the correlation of each pair, by both.

    `referee` maps names to (chains, draws), `weighted` to (n_draws,) with `weights`. A quantile is compared as the
    probability of lying below the referee's, which needs no density. The Monte Carlo error is that of the mean of the
    statistic's influence function: by its effective sample size in the chains, by the weights in the weighted draws.
    """
    found = []

    def add(name, statistic):
        (ours, influence), (theirs, in_chains) = statistic(weighted, weights), statistic(referee, None)
        spread = np.sqrt((weights**2 * influence**2).sum())
        error = in_chains.std() / np.sqrt(arviz.ess(in_chains, method="mean"))
        found.append(Difference(name, float(theirs), float(ours), float(error), float(spread)))

    for name in referee:
        add(f"mean of {name}", lambda x, w, name=name: _mean(x[name], w))
        add(f"SD of {name}", lambda x, w, name=name: _sd(x[name], w))
        for share in QUANTILES:
            limit = np.quantile(referee[name], share)
            add(f"P({name} < its {share:.0%} quantile)", lambda x, w, name=name, q=limit: _mean(1.0 * (x[name] < q), w))
    for one, other in pairs:
        add(f"correlation of {one} and {other}", lambda x, w, a=one, b=other: _correlation(x[a], x[b], w))
    return found


def _average(x, weights):
    return x.mean() if weights is None else weights @ x


def _mean(x, weights):
    mean = _average(x, weights)
    return mean, x - mean


def _sd(x, weights):
    away = x - _average(x, weights)
    sd = np.sqrt(_average(away**2, weights))
    return sd, (away**2 - sd**2) / (2.0 * sd)


def _correlation(x, y, weights):
    u, v = ((a - _average(a, weights)) / _sd(a, weights)[0] for a in (x, y))
    r = _average(u * v, weights)
    return r, u * v - r * (u**2 + v**2) / 2.0


def pairs_of(names):
    """Every two names."""
    return tuple(itertools.combinations(names, 2))
