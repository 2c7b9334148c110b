"""Which regimens bring this patient to a target, and what stands in the way when none does.

Regimens are ranked by the share of possible patients that they bring to the target. One whose median misses the
target, or whose probability of toxicity is too high, does not qualify; when none does, the binding constraint and the
nearest regimen are named.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posologist.core.drug import Drug
from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.recommendation import NotChecked
from posologist.core.regimen import Regimen, Target
from posologist.core.settings import Settings
from posologist.core.simulation import BindingConstraint, RankedRegimen
from posologist.core.units import convert, ucum
from posologist.core.values import Estimate, Many, Value, rounded
from posologist.twin.exposure import Exposure, Measure, exposure, share_estimate, values_of
from posologist.twin.parameters import MissingKinetics
from posologist.twin.population import Draws, Prior

MOST_RANKED = 20
_MEASURES: dict[str, Measure] = {
    "auc24": "auc24", "auc": "auc24", "average": "average", "css": "average", "cav": "average", "trough": "trough",
    "peak": "peak",
}  # fmt: skip


class Ranking(Value):
    """Regimens that qualify, best first; empty with a binding constraint when none does."""

    regimens: Many[RankedRegimen]
    binding_constraint: BindingConstraint | None = None
    not_checked: Many[NotChecked] = ()


class _Candidate(Value):
    regimen: Regimen
    exposure: Exposure
    attainment: Estimate
    median: float


def best_regimens(
    prior: Prior,
    candidates: Sequence[Regimen],
    target: Target,
    *,
    drug: Drug,
    settings: Settings,
    ledger: Ledger,
    draws: Draws | None = None,
) -> Ranking:
    """The candidates that qualify for a target, by the share of possible patients whom they bring to it.

    Parameters
    ----------
    candidates
        Regimens that can be dispensed, as `regimens_for` gives them.
    target
        Measure "auc24" (mg h/L), "average", "trough" or "peak" (a concentration) between `low` and `high`.

    Raises
    ------
    InputError
        If the measure is another one, or the target has no bound.
    """
    measure, low, high = _bounds(target)
    chosen = draws or prior.draw(settings.draws)
    judged = [
        candidate
        for regimen in candidates
        if (candidate := _judge(prior, regimen, measure, low, high, drug, settings, ledger, chosen)) is not None
    ]
    if not judged:
        what = "no regimen that can be dispensed lies within the limits" if not candidates else _untold(prior, measure)
        return Ranking(regimens=(), binding_constraint=BindingConstraint(what=what, nearest_regimen=None))
    qualified = [c for c in judged if _within(c.median, low, high) and not _toxic(c, settings)]
    ordered = sorted(
        qualified,
        key=lambda c: (-rounded(c.attainment.value), -c.regimen.interval_h, c.regimen.per_day, c.regimen.text),
    )
    unsure = ordered[0].exposure.not_checked if ordered else judged[0].exposure.not_checked
    return Ranking(
        regimens=tuple(_ranked(rank, c) for rank, c in enumerate(ordered[:MOST_RANKED], start=1)),
        binding_constraint=None if ordered else _binding(judged, low, high, settings),
        not_checked=unsure,
    )


def _bounds(target: Target) -> tuple[Measure, float | None, float | None]:
    measure = _MEASURES.get(target.measure.lower())
    if measure is None:
        raise InputError(
            f"'{target.measure}' is no target that this model can reach",
            where="target",
            hint="use auc24, average, trough or peak",
        )
    if target.low is None and target.high is None:
        raise InputError(f"the target '{target.text}' has no bound", where="target", hint="give low or high")
    unit = "h.mg/L" if measure == "auc24" else "mg/L"
    low, high = (
        None if bound is None else convert(bound, ucum(target.unit), unit) for bound in (target.low, target.high)
    )
    return measure, low, high


def _judge(
    prior: Prior,
    regimen: Regimen,
    measure: Measure,
    low: float | None,
    high: float | None,
    drug: Drug,
    settings: Settings,
    ledger: Ledger,
    draws: Draws,
) -> _Candidate | None:
    answer = exposure(prior, regimen, drug=drug, settings=settings, ledger=ledger, draws=draws)
    values = values_of(prior, draws, regimen, measure)
    if isinstance(answer, MissingKinetics) or values is None:
        return None
    hit = np.ones(values.size, dtype=bool)
    hit &= True if low is None else values >= low
    hit &= True if high is None else values <= high
    share = share_estimate(hit, level=settings.interval_level, because=answer.because)
    return _Candidate(regimen=regimen, exposure=answer, attainment=share, median=float(np.median(values)))


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _toxic(candidate: _Candidate, settings: Settings) -> bool:
    probability = candidate.exposure.toxic_probability
    return probability is not None and probability.value >= settings.max_toxic_probability


def _ranked(rank: int, candidate: _Candidate) -> RankedRegimen:
    return RankedRegimen(
        rank=rank,
        text=candidate.regimen.text,
        target_attainment=candidate.attainment,
        toxic_probability=candidate.exposure.toxic_probability,
        exposure=candidate.exposure.measures(),
    )


def _untold(prior: Prior, measure: str) -> str:
    return f"the {measure} of {prior.name} cannot be told: {prior.model.no_curve or 'the dose is not a mass'}"


def _binding(
    judged: Sequence[_Candidate], low: float | None, high: float | None, settings: Settings
) -> BindingConstraint:
    """What keeps all of them from the target, and the one that comes nearest (by ratio to the missed bound)."""

    def miss(candidate: _Candidate) -> float:
        value = max(candidate.median, 1e-300)
        return max(0.0 if low is None else np.log(low / value), 0.0 if high is None else np.log(value / high), 0.0)

    nearest = min(judged, key=lambda c: (miss(c), -c.attainment.value, c.regimen.text))
    if low is not None and all(c.median < low for c in judged):
        what = "the largest amount allowed does not reach the target in the typical patient: the maximum dose binds"
    elif high is not None and all(c.median > high for c in judged):
        what = "the smallest amount that can be dispensed exceeds the target in the typical patient"
    elif any(_within(c.median, low, high) for c in judged):
        limit = 100 * settings.max_toxic_probability
        what = f"every regimen that reaches the target has a probability of toxicity of {limit:g} % or more"
    else:
        what = "the strengths and intervals on file step over the target"
    return BindingConstraint(what=what, nearest_regimen=nearest.regimen.text)
