"""Treatment policies from randomised data: what each arm is worth to a patient, and when to leave the best single arm.

With the probabilities of the draw known, the doubly robust score of an arm is unbiased for what the patient would have
had under it, whatever the model of the outcome (Athey and Wager 2021, doi 10.3982/ECTA15732). Everything
here rests on that score: the best single arm, the learned gains, and the rule that holds a policy back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posologist.learn.fit.gains import FAMILIES, Gains, Prognosis, fit_prognosis

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_FOLDS = 5
SHRINKAGE = (0.25, 0.5, 0.75, 1.0)
"""Share of a patient's learned departure from the mean gain that a policy believes."""

LEVEL = 0.975  # one-sided: the lower end of a 95 % interval
_DRAWS = 1000  # of the multiplier bootstrap over patients
N_SPLITS = 3
"""Times that the patients are split anew: a gain that hangs on one split is none."""

MIN_MOVED = 30
"""Patients treated differently below which a mean gain has no trustworthy interval."""


@dataclass(frozen=True)
class Drawn:
    """Patients of a trial: features (n, p) with nan where not recorded, arm, outcome (more is better)."""

    features: Array
    arm: IntArray
    outcome: Array
    probability: Array

    def take(self, index: npt.NDArray[np.bool_]) -> Drawn:
        return Drawn(self.features[index], self.arm[index], self.outcome[index], self.probability)


def arm_scores(drawn: Drawn, expected: Array) -> Array:
    """Doubly robust score of each arm, (n, n_arms): its mean over patients is the arm's mean outcome.

    expected + [the arm was drawn] (outcome - expected) / (probability of the arm). Unbiased for any `expected` that
    does not depend on the patient's own arm and outcome.
    """
    given = drawn.arm[:, None] == np.arange(len(drawn.probability))
    return expected + given * (drawn.outcome[:, None] - expected) / drawn.probability


def folds_of(drawn: Drawn, *, seed: int, n_folds: int = N_FOLDS) -> IntArray:
    """Fold of each patient, (n,): the arms and the outcome are spread evenly."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(drawn.arm))
    order = order[np.lexsort((drawn.outcome[order], drawn.arm[order]))]
    fold = np.empty(len(order), dtype=np.int64)
    fold[order] = np.arange(len(order)) % n_folds
    return fold


def cross_fitted_scores(drawn: Drawn, fold: IntArray, *, seed: int, quick: bool = False) -> Array:
    """Score of each arm with the model of the outcome fitted to the other folds, (n, n_arms)."""
    expected = np.empty((len(drawn.arm), len(drawn.probability)))
    for k in np.unique(fold):
        model = fit_prognosis(drawn.take(fold != k), seed=seed, quick=quick)
        expected[fold == k] = model.expected(drawn.features[fold == k])
    return arm_scores(drawn, expected)


def best_single(scores: Array) -> int:
    """The arm that is best if everyone gets the same one."""
    return int(np.argmax(scores.mean(axis=0)))


@dataclass(frozen=True)
class Policy:
    """Who gets what: the best single arm, unless the shrunken gain of another is larger.

    Parameters
    ----------
    best
        The best single arm of the training part.
    family
        Name of the model of the gains; "" where everyone gets the best single arm.
    shrinkage
        Share of each departure from the mean gain that is believed, 0 to 1.
    gain_bound
        Lower bound of the cross-fitted gain over the best single arm, of the policy that was chosen, in the outcome's
        unit; nan where no policy was tried.
    reason
        In words, for the report.
    """

    best: int
    n_arms: int
    family: str = ""
    shrinkage: float = 0.0
    gain_bound: float = float("nan")
    reason: str = ""
    gains: Gains | None = None

    def gain(self, features: Array) -> Array:
        """Learned gain of each arm over the best single one, (n, n_arms), as far as it is believed."""
        if self.gains is None:
            return np.zeros((len(features), self.n_arms))
        return over_best(self.gains.predict(features), self.gains.mean, self.best, self.shrinkage)

    def choose(self, features: Array) -> IntArray:
        """The arm of each patient, (n,)."""
        return chosen_arm(self.gain(features), self.best)


def over_best(worth: Array, mean: Array, best: int, shrinkage: float) -> Array:
    """Gain of each arm over the best single one with departures from the mean shrunken, (n, n_arms)."""
    believed = mean + shrinkage * (worth - mean)
    return np.asarray(believed - believed[:, [best]])


def chosen_arm(gain: Array, best: int) -> IntArray:
    """The arm of the largest gain, (n,); the best single one where none is above zero."""
    top = np.argmax(gain, axis=1)
    return np.where(gain.max(axis=1) > 0.0, top, best).astype(np.int64)


def fit_single(drawn: Drawn, *, seed: int, quick: bool = False) -> Policy:
    """Everyone gets the arm that is best for all."""
    scores = cross_fitted_scores(drawn, folds_of(drawn, seed=seed), seed=seed, quick=quick)
    return Policy(best_single(scores), scores.shape[1], reason="everyone gets the best single arm")


def fit_plain(drawn: Drawn, *, seed: int, quick: bool = False) -> Policy:
    """The arm with the best outcome by a model of its own (T-learner), with nothing held back."""
    single = fit_single(drawn, seed=seed, quick=quick)
    arms = [
        Prognosis.fit(drawn.features[drawn.arm == a], drawn.outcome[drawn.arm == a], seed=seed, quick=quick)
        for a in range(single.n_arms)
    ]

    def worth(features: Array) -> Array:
        return np.stack([model.predict(features) for model in arms], axis=1)

    gains = Gains(worth(drawn.features).mean(axis=0), worth)
    return Policy(single.best, single.n_arms, family="a model for each arm", shrinkage=1.0, gains=gains)


def fit_doubly_robust(drawn: Drawn, *, seed: int, quick: bool = False) -> Policy:
    """The policy of the linear gains on the scores, the penalty chosen inside (DR-learner)."""
    fold = folds_of(drawn, seed=seed)
    scores = cross_fitted_scores(drawn, fold, seed=seed, quick=quick)
    gains = FAMILIES["linear"](drawn.features, scores, fit_prognosis(drawn, seed=seed, quick=quick), seed)
    return Policy(best_single(scores), scores.shape[1], family="linear", shrinkage=1.0, gains=gains)


def fit_held_back(drawn: Drawn, *, seed: int, quick: bool = False, families: Sequence[str] = tuple(FAMILIES)) -> Policy:
    """The engine's policy: it leaves the best single arm only where that has been shown to pay.

    Each family of gains is learned on part of the patients and tried on the others, at each degree of shrinkage. The
    family and degree with the highest lower bound of the gain over the best single arm (itself chosen on the same
    part) are taken, and only if that bound is above zero. The bound holds for all the policies tried at once, and is
    the median over several splits of the patients. No signal: everyone gets the best single arm.
    """
    n_splits = 1 if quick else N_SPLITS
    scores = cross_fitted_scores(drawn, folds_of(drawn, seed=seed), seed=seed, quick=quick)
    best = best_single(scores)
    tried = [(family, degree) for family in families for degree in SHRINKAGE]
    bounds = [_bounds(drawn, families, seed=seed + split, quick=quick) for split in range(n_splits)]
    bound = np.median(bounds, axis=0)
    top = int(np.argmax(bound))
    family, degree = tried[top]
    if bound[top] <= 0.0:
        reason = f"none of {len(tried)} policies was shown to gain: everyone gets the best single arm"
        return Policy(best, scores.shape[1], gain_bound=float(bound[top]), reason=reason)
    gains = FAMILIES[family](drawn.features, scores, fit_prognosis(drawn, seed=seed, quick=quick), seed)
    reason = f"{family} gains, {100 * degree:.0f} % believed: at least {bound[top]:.3g} gained in cross-fitting"
    return Policy(best, scores.shape[1], family, degree, float(bound[top]), reason, gains)


def _bounds(drawn: Drawn, families: Sequence[str], *, seed: int, quick: bool) -> Array:
    """Lower bound of the gain of each policy tried, by one split; 0 where too few would be treated differently."""
    fold = folds_of(drawn, seed=seed)
    scores = cross_fitted_scores(drawn, fold, seed=seed, quick=quick)
    gained = _out_of_fold_gain(drawn, fold, scores, families, seed=seed, quick=quick)
    bound = simultaneous_lower_bound(gained, np.random.default_rng(seed))
    return np.where((gained != 0.0).sum(axis=0) >= MIN_MOVED, bound, np.minimum(bound, 0.0))


def simultaneous_lower_bound(gained: Array, rng: np.random.Generator) -> Array:
    """Lower bound of the mean of each column, holding for all columns at once at 97.5 %, (n_columns,).

    Multiplier bootstrap of the largest studentised mean. A column that is zero throughout has the bound zero.
    """
    n = len(gained)
    mean = gained.mean(axis=0)
    error = gained.std(axis=0) / np.sqrt(n)
    moving = error > 0.0
    if not moving.any():
        return mean
    studentised = (gained[:, moving] - mean[moving]) / (error[moving] * n)
    largest = (rng.standard_normal((_DRAWS, n)) @ studentised).max(axis=1)
    return np.asarray(mean - np.quantile(largest, LEVEL) * error)


def _out_of_fold_gain(
    drawn: Drawn, fold: IntArray, scores: Array, families: Sequence[str], *, seed: int, quick: bool
) -> Array:
    """What each policy tried gains for each patient that it was not learned from, (n, n_families * n_degrees).

    Scores, gains and the best single arm are all learned anew without the fold, so that a patient's outcome has no
    part in the policy it is tried with.
    """
    found = np.zeros((len(drawn.arm), len(families) * len(SHRINKAGE)))
    for k in np.unique(fold):
        rest, out = drawn.take(fold != k), fold == k
        learned = cross_fitted_scores(rest, fold[fold != k], seed=seed, quick=quick)
        best = best_single(learned)
        prognosis = fit_prognosis(rest, seed=seed, quick=quick)
        for j, family in enumerate(families):
            gains = FAMILIES[family](rest.features, learned, prognosis, seed)
            worth = gains.predict(drawn.features[out])
            for i, degree in enumerate(SHRINKAGE):
                arm = chosen_arm(over_best(worth, gains.mean, best, degree), best)
                own = scores[out]
                found[out, j * len(SHRINKAGE) + i] = own[np.arange(len(arm)), arm] - own[:, best]
    return found
