"""The case study's rivals: who was treated alike, which doses act alike, and a plain singular value decomposition.

All of them see the observed cells of a patients x treatments matrix (nan: not observed) and say every cell.

References
----------
sarwar-2001: B. Sarwar et al., Item-based collaborative filtering recommendation algorithms, WWW:285.
koren-2009: Y. Koren et al., Matrix factorization techniques for recommender systems, Computer 42(8):30.
"""

from __future__ import annotations

import numpy as np

from posologist.study.blocks import Array

_NEIGHBOURS = 5
_SHRINK = 2.0  # common cells that a similarity is drawn to 0 by


def column_means(seen: Array) -> Array:
    """Each treatment's mean over the patients who had it; the mean of all where nobody did."""
    number = np.isfinite(seen).sum(axis=0)
    total = np.nansum(seen, axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nanmean(seen))


def user_neighbourhood(seen: Array) -> Array:
    """A patient's own level, plus what the most similar patients had above theirs (Pearson, shrunken)."""
    above, level = _above_own_level(seen)
    like = _similarity(above)
    found = np.empty(seen.shape)
    for treatment in range(seen.shape[1]):
        had = np.isfinite(seen[:, treatment])
        weight = np.where(had, like, 0.0)
        nearest = np.argsort(-weight, axis=1, kind="stable")[:, :_NEIGHBOURS]
        own = np.maximum(np.take_along_axis(weight, nearest, axis=1), 0.0)
        value = np.where(had, above[:, treatment], 0.0)[nearest]
        total = own.sum(axis=1)
        fallback = value[had].mean() if had.any() else 0.0
        found[:, treatment] = level + np.where(
            total > 0.0, (own * value).sum(axis=1) / np.maximum(total, 1e-12), fallback
        )
    return found


def item_neighbourhood(seen: Array) -> Array:
    """A treatment's mean, plus how the patient did above the mean under similar treatments."""
    means = column_means(seen)
    away = seen - means
    like = np.maximum(_similarity(np.where(np.isfinite(away), away, np.nan).T), 0.0)
    np.fill_diagonal(like, 0.0)
    had = np.isfinite(away)
    weight = had.astype(np.float64) @ like
    total = np.where(had, away, 0.0) @ like
    return np.asarray(means + np.divide(total, weight, out=np.zeros(seen.shape), where=weight > 0.0))


def plain_svd(seen: Array, rank: int = 2) -> Array:
    """Singular value decomposition of the matrix whose empty cells are filled with the treatments' means."""
    means = column_means(seen)
    left, size, right = np.linalg.svd(np.where(np.isfinite(seen), seen - means, 0.0), full_matrices=False)
    kept = min(rank, len(size))
    return np.asarray(means + (left[:, :kept] * size[:kept]) @ right[:kept])


def _above_own_level(seen: Array) -> tuple[Array, Array]:
    """Cells less the treatment's mean and the patient's level (nan: not observed), and that level for each patient."""
    means = column_means(seen)
    away = seen - means
    number = np.isfinite(away).sum(axis=1)
    own = np.nansum(away, axis=1) / np.maximum(number, 1)
    return seen - means.mean() - own[:, None], means.mean() + own


def _similarity(rows: Array) -> Array:
    """Cosine of rows over the cells that both have, drawn towards 0 where these are few; nan: not observed."""
    had = np.isfinite(rows).astype(np.float64)
    value = np.where(np.isfinite(rows), rows, 0.0)
    size = np.sqrt(np.maximum((value**2) @ had.T, 1e-12))
    common = had @ had.T
    return np.asarray((value @ value.T) / (size * size.T) * common / (common + _SHRINK))
