"""From expected benefits to a choice: U = E[B | G, E] - lambda RS, and D* = argmax U subject to TI > k.

The gate is a plain function beside the learned numbers: whatever was learned, a treatment whose therapeutic index is
not above k is not chosen, and one whose index is not known is "not checked", never passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from posologist.core.errors import InputError

Array = npt.NDArray[np.float64]
Outcome = Literal["chosen", "not the best", "index too low", "not checked"]

LEAST_INDEX = 1.0  # of k: at TI = TD50 / ED50 = 1 half are harmed at the dose that helps half


@dataclass(frozen=True)
class Choice:
    """What was chosen for one patient.

    Parameters
    ----------
    treatment
        Number of the chosen treatment; None: none passed.
    ties
        Numbers of the treatments whose utility equals the chosen one's, itself included.
    utility
        U of each treatment, also of those that did not pass; nan where benefit or risk is not known.
    outcomes
        What became of each treatment.
    """

    treatment: int | None
    ties: tuple[int, ...]
    utility: Array
    outcomes: tuple[Outcome, ...]


def therapeutic_index(toxic_dose: npt.ArrayLike, effective_dose: npt.ArrayLike) -> Array:
    """TD50 / ED50; nan where either is not known or not above 0."""
    toxic, effective = (np.asarray(dose, dtype=np.float64) for dose in (toxic_dose, effective_dose))
    known = (toxic > 0) & (effective > 0)
    return np.divide(toxic, effective, out=np.full(np.broadcast(toxic, effective).shape, np.nan), where=known)


def utility(benefit: npt.ArrayLike, risk: npt.ArrayLike, *, weight: float) -> Array:
    """U = E[B] - weight x RS, benefit and risk on one scale; nan where either is not known."""
    if not (np.isfinite(weight) and weight >= 0.0):
        raise InputError(f"the weight of risk is {weight}", where="weight", hint="give a number of 0 or more")
    return np.asarray(benefit, dtype=np.float64) - weight * np.asarray(risk, dtype=np.float64)


def chosen(benefit: Any, risk: Any, index: Any, *, weight: float, least_index: float) -> Choice:
    """The treatment of greatest utility among those whose therapeutic index is above `least_index`.

    Parameters
    ----------
    benefit, risk, index
        Expected benefit, risk score and therapeutic index of each treatment for one patient, shape (n_treatments,);
        nan: not known.
    weight
        lambda: what a unit of risk costs in units of benefit.
    least_index
        k; not below 1.

    Raises
    ------
    InputError
        If lengths differ, or a setting is below its floor.
    """
    if not least_index >= LEAST_INDEX:
        raise InputError(
            f"k = {least_index} would pass treatments that harm before they help", where="least_index",
            hint=f"give at least {LEAST_INDEX:g}",
        )  # fmt: skip
    total = utility(benefit, risk, weight=weight)
    ratio = np.asarray(index, dtype=np.float64)
    if total.ndim != 1 or total.shape != ratio.shape:
        raise InputError(
            f"shapes {total.shape} and {ratio.shape} differ", where="index", hint="give one number for each treatment"
        )
    checked = np.isfinite(total) & np.isfinite(ratio)
    passed = checked & (ratio > least_index)
    best = np.flatnonzero(passed & (total == total[passed].max())) if passed.any() else np.zeros(0, dtype=np.int64)
    treatment = int(best[0]) if len(best) else None
    return Choice(treatment, tuple(best.tolist()), total, tuple(
        _outcome(place == treatment, bool(checked[place]), bool(passed[place])) for place in range(len(total))
    ))  # fmt: skip


def _outcome(is_chosen: bool, checked: bool, passed: bool) -> Outcome:
    if is_chosen:
        return "chosen"
    if not checked:
        return "not checked"
    return "not the best" if passed else "index too low"
