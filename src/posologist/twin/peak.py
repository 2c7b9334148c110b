"""Time of the peak after one absorbed dose, and the absorption rate that puts it where it was seen.

Both ask when dC/dt = sum_j w_j ka / (ka - k_j) (k_j exp(-k_j t) - ka exp(-ka t)) changes its sign, for a disposition
sum_j w_j exp(-k_j t) (`terms`: pairs of rate in 1/h and weight).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

Terms = tuple[tuple[float, float], ...]

FASTEST = 30.0  # ka times tmax above which a peak is as good as immediate
_STEPS = 60


def terms_of(cl: float, v1: float, q: float = 0.0, v2: float = 0.0) -> Terms:
    """Rates and weights of a one- or (with q and v2) two-compartment disposition; clearances L/h, volumes L."""
    k10 = cl / v1
    if q <= 0 or v2 <= 0:
        return ((k10, 1.0),)
    k12, k21 = q / v1, q / v2
    root = math.sqrt((k10 + k12 - k21) ** 2 + 4.0 * k12 * k21)
    alpha = (k10 + k12 + k21 + root) / 2.0
    beta = k10 * k21 / alpha
    return tuple((rate, 1.0 / (1.0 + k12 * k21 / (k21 - rate) ** 2)) for rate in (beta, alpha))


def _slope(t: float, ka: float, terms: Terms) -> float:
    total = 0.0
    for rate, weight in terms:
        k = rate if abs(ka - rate) > 1e-7 * rate else rate * (1.0 - 1e-7)
        total += weight * ka / (ka - k) * (ka * math.exp(-ka * t) - k * math.exp(-k * t))
    return total


def _falling_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function falls through zero, between two positive numbers, by bisection of the logarithm."""
    a, b = math.log(low), math.log(high)
    for _ in range(_STEPS):
        middle = (a + b) / 2.0
        if function(math.exp(middle)) > 0:
            a = middle
        else:
            b = middle
    return math.exp((a + b) / 2.0)


def peak_time(ka: float, terms: Terms) -> float:
    """Time of the peak (h) after a single dose absorbed with rate `ka` (1/h)."""
    slowest = min(ka, *(rate for rate, _ in terms))
    fastest = max(ka, *(rate for rate, _ in terms))
    return _falling_root(lambda t: _slope(t, ka, terms), 1e-3 / fastest, 100.0 / slowest)


@lru_cache(maxsize=4096)
def ka_for_peak(tmax_h: float, terms: Terms) -> float:
    """Absorption rate (1/h) that puts the peak of one dose at `tmax_h`.

    Between the slowest disposition rate and 30 / tmax: absorption is taken as no slower than elimination. A peak too
    late for that is not reached; the slowest rate is then answered.
    """
    slowest = min(rate for rate, _ in terms)
    return _falling_root(lambda ka: _slope(tmax_h, ka, terms), slowest, max(FASTEST / tmax_h, 2.0 * slowest))
