"""Survival as an outcome of a score: concordance and hazard ratio, over batches of resamples.

References
----------
harrell-1982: F. Harrell and others, Evaluating the yield of medical tests, JAMA 247:2543 (concordance).
breslow-1974: N. Breslow, Covariance analysis of censored survival data, Biometrics 30:89 (ties of times).
"""

from __future__ import annotations

import numpy as np

from posologist.study.blocks import Array, BoolArray, Resampled

_NEWTON_STEPS = 8


def concordance(score: Array, time: Array, event: Array) -> Resampled:
    """How often, of two patients of whom one is known to have lived longer, the higher score is that one's.

    Ties of the score count half. A pair counts where the shorter time ended in the event, or where the times are equal
    and one of them did (harrell-1982). `event` is 1 or 0; rows with something unknown take no part.
    """
    known = np.flatnonzero(np.isfinite(score) & np.isfinite(time) & np.isfinite(event))
    s, t, died = score[known], time[known], event[known] == 1
    earlier = died[:, None] & ((t[:, None] < t) | ((t[:, None] == t) & ~died))
    pairs = earlier.astype(np.float32)
    won = (earlier * (0.5 + 0.5 * np.sign(s - s[:, None]))).astype(np.float32)

    def share(weights: Array) -> Array:
        own = weights[:, known].astype(np.float32)
        counted = np.einsum("rj,rj->r", own @ pairs, own)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.einsum("rj,rj->r", own @ won, own) / counted, dtype=np.float64)

    return share


def hazard_ratio(exposed: BoolArray, compared: BoolArray, time: Array, event: Array) -> Resampled:
    """Hazard of the exposed over that of the others compared, by Cox regression on this one flag (breslow-1974)."""
    taken = np.flatnonzero((exposed | compared) & np.isfinite(time) & np.isfinite(event))
    order = taken[np.argsort(-time[taken], kind="stable")]  # latest first: those at risk are those before
    flag, died, ordered = exposed[order].astype(float), event[order] == 1, time[order]
    last_of_tie = np.searchsorted(-ordered, -ordered, side="right") - 1

    def ratio(weights: Array) -> Array:
        own = weights[:, order]
        risk_exposed = np.cumsum(own * flag, axis=1)[:, last_of_tie]
        risk_others = np.cumsum(own * (1.0 - flag), axis=1)[:, last_of_tie]
        deaths = own * died
        return np.exp(_log_hazard(risk_exposed, risk_others, deaths, deaths @ flag))

    return ratio


def _log_hazard(risk_exposed: Array, risk_others: Array, deaths: Array, exposed_deaths: Array) -> Array:
    """Newton's method on the partial likelihood of one flag, in each resample."""
    beta = np.zeros(len(deaths))
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(_NEWTON_STEPS):
            at_risk = np.exp(beta)[:, None] * risk_exposed
            share = at_risk / (at_risk + risk_others)
            share = np.where(deaths > 0, share, 0.0)
            slope = exposed_deaths - np.einsum("ri,ri->r", deaths, share)
            curve = np.einsum("ri,ri->r", deaths, share * (1.0 - share))
            step = np.clip(slope / curve, -2.0, 2.0)
            beta = beta + np.where(np.isfinite(step), step, np.nan)
            if np.nanmax(np.abs(step), initial=0.0) < 1e-8:
                break
    return np.where(np.abs(beta) < 8.0, beta, np.nan)


def thirds(score: Array) -> tuple[BoolArray, BoolArray]:
    """The rows in the highest and in the lowest third of the score; ties at an edge go outward."""
    low, high = np.nanquantile(score, (1.0 / 3.0, 2.0 / 3.0))
    if low == high:
        return np.zeros(len(score), dtype=bool), np.zeros(len(score), dtype=bool)
    return score >= high, score <= low
