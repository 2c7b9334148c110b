"""Seeds from content, and draws that are spread evenly: same inputs, same numbers, on every machine."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt


def seed_for(*texts: str) -> int:
    """Seed (64 bits) of these texts: the same texts in the same order, the same seed."""
    digest = hashlib.sha256("\x1f".join(texts).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def generator_for(*texts: str) -> np.random.Generator:
    """Random generator seeded by the content of these texts."""
    return np.random.Generator(np.random.PCG64(seed_for(*texts)))


@lru_cache(maxsize=32)
def _scores(n: int) -> npt.NDArray[np.float64]:
    normal = NormalDist()
    scores = np.array([normal.inv_cdf((i + 0.5) / n) for i in range(n)])
    scores /= np.sqrt(np.mean(scores**2))  # the midpoints alone have a variance a little below 1
    scores.setflags(write=False)
    return scores


def normal_draws(n: int, dimensions: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Standard normal draws, shape (dimensions, n): one draw from each of n equally likely slices, shuffled.

    Stratified draws (a Latin hypercube) give the median and the quantiles of each parameter almost exactly, where
    independent ones of this number would move them by some percent.
    """
    scores = _scores(n)
    return np.stack([scores[rng.permutation(n)] for _ in range(dimensions)])
