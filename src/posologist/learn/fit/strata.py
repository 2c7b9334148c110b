"""Strata of patients by clustering mixed data, if there are any: "no stable clusters" is an answer.

Distances are Gower's, clusters are those of k medoids. A number of clusters counts only if every cluster comes back in
bootstrap resamples (Jaccard similarity, Hennig) and if the clusters are tighter than those found in reference data
of the same margins and correlations that have no clusters (in the manner of Hennig and Lin).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.stats import norm
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.preprocessing import PowerTransformer
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from posologist.learn.fit.network import Array, IntArray

_MOST_SWAPS = 100
_LEVEL = 0.05


def gower(rows: Array, others: Array, *, categorical: Sequence[int], width: Array) -> Array:
    """Gower's distance, shape (n_rows, n_others), in [0, 1] within the range of the data.

    The mean over columns of |difference| / width[j] for a number, at most 1, and of "differs" for a category.

    References
    ----------
    Gower. A general coefficient of similarity and some of its properties. Biometrics 1971;27:857-871.
    """
    total = np.zeros((len(rows), len(others)))
    for j in range(rows.shape[1]):
        gap = rows[:, j, None] - others[None, :, j]
        if j in set(categorical):
            total += gap != 0.0
        elif width[j] > 0.0:
            total += np.minimum(np.abs(gap) / width[j], 1.0)
    return total / rows.shape[1]


def k_medoids(distance: Array, n_clusters: int) -> IntArray:
    """Medoids (row numbers) of least total distance to their nearest: greedy start, then best swaps until none helps.

    References
    ----------
    Kaufman, Rousseeuw. Finding groups in data. Wiley 1990, chapter 2.
    Schubert, Rousseeuw. Fast and eager k-medoids clustering. Information Systems 2021;101:101804 (the swaps).
    """
    medoids = [int(distance.sum(axis=0).argmin())]
    while len(medoids) < n_clusters:
        nearest = distance[:, medoids].min(axis=1)
        medoids.append(int(np.minimum(distance, nearest[:, None]).sum(axis=0).argmin()))
    chosen = np.array(medoids)
    for _ in range(_MOST_SWAPS):
        change = _swap_changes(distance, chosen)
        which, candidate = np.unravel_index(int(change.argmin()), change.shape)
        if change[which, candidate] >= -1e-12:
            break
        chosen[which] = candidate
    return chosen


def _swap_changes(distance: Array, medoids: IntArray) -> Array:
    """Change of the total distance when a medoid is replaced by a row, shape (n_clusters, n_rows)."""
    to = distance[:, medoids]
    order = np.argsort(to, axis=1)
    own = order[:, 0]
    nearest = np.take_along_axis(to, order[:, :1], axis=1)
    second = np.take_along_axis(to, order[:, 1:2], axis=1) if len(medoids) > 1 else np.full_like(nearest, np.inf)
    gain = np.minimum(distance - nearest, 0.0)
    left = np.minimum(distance, second) - nearest - gain
    member = np.eye(len(medoids))[own]
    return np.asarray(gain.sum(axis=0)[None, :] + member.T @ left)


def silhouette(distance: Array, labels: IntArray) -> float:
    """Mean silhouette width of the clusters; 0 for a cluster of one.

    References
    ----------
    Rousseeuw. Silhouettes. J Comput Appl Math 1987;20:53-65.
    """
    member = np.eye(labels.max() + 1)[labels]
    size = member.sum(axis=0)
    total = distance @ member
    at = np.arange(len(labels))
    within = total[at, labels] / np.maximum(size[labels] - 1.0, 1.0)
    mean = total / size
    mean[at, labels] = np.inf
    between = mean.min(axis=1)
    width = np.where(size[labels] > 1.0, (between - within) / np.maximum(np.maximum(within, between), 1e-300), 0.0)
    return float(width.mean())


@dataclass(frozen=True)
class Stability:
    """One number of clusters: how surely each cluster comes back, how tight they are, and how tight chance makes them.

    `jaccard` is the mean similarity of each cluster with its like in the resamples; `silhouette` stands beside
    `by_chance`, those in the reference data.
    """

    n_clusters: int
    jaccard: tuple[float, ...]
    silhouette: float
    by_chance: tuple[float, ...]


class Strata(ClusterMixin, BaseEstimator):
    """As many clusters of patients as are stable and tighter than chance; one, if there are none.

    A number of clusters holds if every cluster has a mean Jaccard similarity of at least `least_jaccard` over bootstrap
    resamples and if the silhouette is above those of all reference data sets. Of those that hold, the one whose
    silhouette is furthest above the references' mean is taken.

    Parameters
    ----------
    categorical
        Columns that hold codes of categories; the others are numbers and are brought nearer to a normal form first
        (Yeo, Johnson. Biometrika 2000;87:954-959), so that a long tail is no cluster.
    most_clusters
        Greatest number of clusters tried.
    least_jaccard
        0.75: Hennig calls a cluster stable from there; below 0.6 it should not be trusted.
    n_resamples, n_references
        Bootstrap resamples, and reference data sets without clusters.
    most_rows
        Rows on which strata are sought, drawn at random if there are more; all rows are then assigned.

    Attributes
    ----------
    n_clusters_ : int
    labels_ : IntArray
    medoids_ : Array
        The typical patient of each cluster, as given.
    tried_ : tuple of Stability
    p_value_ : float
        Chance of silhouettes like these, over all numbers of clusters, in data without clusters.
    conclusion_ : str

    References
    ----------
    Hennig. Cluster-wise assessment of cluster stability. Comput Stat Data Anal 2007;52:258-271.
    Hennig, Lin. Flexible parametric bootstrap for testing homogeneity against clustering and assessing the number of
    clusters. Statistics and Computing 2015;25:821-833.
    """

    def __init__(
        self,
        categorical: Sequence[int] = (),
        *,
        most_clusters: int = 6,
        least_jaccard: float = 0.75,
        n_resamples: int = 50,
        n_references: int = 19,
        most_rows: int = 1000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.categorical = categorical
        self.most_clusters = most_clusters
        self.least_jaccard = least_jaccard
        self.n_resamples = n_resamples
        self.n_references = n_references
        self.most_rows = most_rows
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Seek strata."""
        given = validate_data(self, X, dtype=np.float64, ensure_min_samples=3)
        rng = check_random_state(self.random_state)
        self.scaler_ = _scaler(given, self._numbers(given.shape[1]))
        rows = self._scaled(given)
        self.width_ = np.ptp(rows, axis=0)
        drawn = np.sort(rng.permutation(len(rows))[: self.most_rows])
        sample = rows[drawn]
        numbers = range(2, min(self.most_clusters, len(sample) - 1) + 1)
        distance = self._distance(sample, sample)
        chance = self._chance(sample, numbers, rng)
        self.tried_ = tuple(self._try(distance, k, chance[:, i], rng) for i, k in enumerate(numbers))
        self.p_value_ = _p_value(np.array([one.silhouette for one in self.tried_]), chance)
        kept = [one for one in self.tried_ if self._holds(one)] if self.p_value_ <= _LEVEL else []
        self.n_clusters_ = max(kept, key=_beyond_chance).n_clusters if kept else 1
        medoids = k_medoids(distance, self.n_clusters_)
        self.medoids_, self._centres = given[drawn[medoids]], sample[medoids]
        self.labels_ = self._nearest(rows)
        self.conclusion_ = self._conclusion()
        return self

    def predict(self, X: Any) -> IntArray:
        """Number of the nearest stratum of each row."""
        check_is_fitted(self, "medoids_")
        given = validate_data(self, X, reset=False, dtype=np.float64)
        return self._nearest(self._scaled(given))

    def _numbers(self, n_columns: int) -> IntArray:
        return np.setdiff1d(np.arange(n_columns), np.asarray(list(self.categorical), dtype=np.int64))

    def _scaled(self, given: Array) -> Array:
        rows = given.copy()
        numbers = self._numbers(given.shape[1])
        if self.scaler_ is not None:
            rows[:, numbers] = self.scaler_.transform(given[:, numbers])
        return rows

    def _distance(self, rows: Array, others: Array) -> Array:
        return gower(rows, others, categorical=self.categorical, width=self.width_)

    def _nearest(self, rows: Array) -> IntArray:
        return np.asarray(self._distance(rows, self._centres).argmin(axis=1))

    def _chance(self, sample: Array, numbers: Sequence[int], rng: np.random.RandomState) -> Array:
        """Silhouettes in reference data, shape (n_references, n_numbers)."""
        found = np.empty((self.n_references, len(numbers)))
        for b in range(self.n_references):
            reference = _reference(sample, self.categorical, rng)
            width = np.ptp(reference, axis=0)
            distance = gower(reference, reference, categorical=self.categorical, width=width)
            for i, k in enumerate(numbers):
                found[b, i] = _tightness(distance, k)
        return found

    def _try(self, distance: Array, n_clusters: int, chance: Array, rng: np.random.RandomState) -> Stability:
        labels = distance[:, k_medoids(distance, n_clusters)].argmin(axis=1)
        jaccard = np.zeros(n_clusters)
        for _ in range(self.n_resamples):
            rows = np.unique(drawn := rng.randint(0, len(labels), size=len(labels)))
            medoids = drawn[k_medoids(distance[np.ix_(drawn, drawn)], n_clusters)]
            jaccard += _similarity(labels[rows], distance[np.ix_(rows, medoids)].argmin(axis=1), n_clusters)
        found = tuple(float(value) for value in jaccard / self.n_resamples)
        return Stability(n_clusters, found, silhouette(distance, labels), tuple(float(value) for value in chance))

    def _holds(self, one: Stability) -> bool:
        return min(one.jaccard) >= self.least_jaccard and one.silhouette > max(one.by_chance)

    def _conclusion(self) -> str:
        if self.n_clusters_ == 1:
            return "no stable clusters"
        own = next(one for one in self.tried_ if one.n_clusters == self.n_clusters_)
        return f"{self.n_clusters_} stable clusters (least Jaccard {min(own.jaccard):.2f}, p = {self.p_value_:.2f})"


def _beyond_chance(one: Stability) -> float:
    return one.silhouette - float(np.mean(one.by_chance))


def _scaler(given: Array, numbers: IntArray) -> PowerTransformer | None:
    return PowerTransformer().fit(given[:, numbers]) if numbers.size else None


def _tightness(distance: Array, n_clusters: int) -> float:
    labels = np.unique(distance[:, k_medoids(distance, n_clusters)].argmin(axis=1), return_inverse=True)[1]
    return silhouette(distance, labels) if labels.max() > 0 else 0.0


def _similarity(labels: IntArray, again: IntArray, n_clusters: int) -> Array:
    """Greatest Jaccard similarity of each cluster with any of the resample's; 0 for one that was not drawn."""
    one, other = np.eye(n_clusters)[labels], np.eye(n_clusters)[again]
    both = one.T @ other
    either = one.sum(axis=0)[:, None] + other.sum(axis=0)[None, :] - both
    return np.asarray((both / np.maximum(either, 1.0)).max(axis=1))


def _reference(sample: Array, categorical: Sequence[int], rng: np.random.RandomState) -> Array:
    """One normal cloud with the sample's correlations, categories cut from it in their shares: no clusters."""
    spread = sample.std(axis=0)
    scaled = (sample - sample.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    correlation = scaled.T @ scaled / len(sample)
    values, vectors = np.linalg.eigh(correlation)
    cloud = rng.standard_normal(sample.shape) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    made = sample.mean(axis=0) + cloud * spread
    for j in categorical:
        codes, counts = np.unique(sample[:, j], return_counts=True)
        cuts = norm.ppf(np.cumsum(counts)[:-1] / len(sample))
        made[:, j] = codes[np.searchsorted(cuts, cloud[:, j])]
    return made


def _p_value(found: Array, chance: Array) -> float:
    """Share of data sets, the real one among them, whose most outlying silhouette is at least that of the real one."""
    centre, spread = chance.mean(axis=0), np.maximum(chance.std(axis=0), 1e-9)
    own = ((found - centre) / spread).max()
    others = ((chance - centre) / spread).max(axis=1)
    return float((1 + (others >= own).sum()) / (1 + len(chance)))
