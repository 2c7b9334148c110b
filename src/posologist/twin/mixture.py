"""Several population models of one drug as one answer: each model's twin has a share, exposures are those of a mixture.

With levels a model's share is its posterior probability: the probability density of the levels under it, all models
equally likely before. Without levels the shares are equal. Which models may take part is decided by the caller.

References
----------
hoeting-1999: J. A. Hoeting et al., Bayesian model averaging: a tutorial, Stat Sci 14:382.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from posologist.core.errors import NumericsError
from posologist.core.units import convert
from posologist.knowledge.models import PkModel
from posologist.twin.events import DOSE, Record
from posologist.twin.goals import Curve, Goal, Levels, Shape, levels_after, steady_curve, steady_curves
from posologist.twin.individual import Array
from posologist.twin.levels import is_below, levels_at
from posologist.twin.patient_model import History, Told, compartment_of
from posologist.twin.twin import Twin

LEAST_SHARE = 0.01  # a model with less takes no part in the answer
SATURATED = 0.95  # share of the capacity of elimination from which a dose is taken to saturate it
SLOW_DRAWS = 100  # possible patients where each dose has to be integrated


@dataclass(frozen=True)
class Member:
    """One model of a drug for this patient: its twin, what it was told, and its share in the answer."""

    twin: Twin
    told: Told
    history: History
    route: str
    share: float = 1.0

    @property
    def model(self) -> PkModel:
        """The population model."""
        return self.twin.model

    @property
    def compartment(self) -> int:
        """Compartment of coming doses."""
        return compartment_of(self.model, self.route)


def shared(members: Sequence[Member]) -> tuple[Member, ...]:
    """Members with their shares, the largest first; those below `LEAST_SHARE` are left out and the rest add up to 1.

    Raises
    ------
    NumericsError
        If no estimate is found from the levels with one of the models.
    """
    if len(members) == 1:
        return (replace(members[0], share=1.0),)
    scores = np.array([_log_evidence(member, members[0].model) for member in members])
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    kept = [(share, member) for share, member in zip(shares, members, strict=True) if share >= LEAST_SHARE]
    total = sum(share for share, _ in kept)
    ordered = sorted(kept, key=lambda pair: (-round(pair[0], 9), pair[1].model.id))
    return tuple(replace(member, share=float(share / total)) for share, member in ordered)


def _log_evidence(member: Member, unit_of: PkModel) -> float:
    """ln of the density of the levels under a model, in the concentration unit of another; 0 without levels."""
    found = member.twin.people.found
    if found is None:
        return 0.0
    table = member.twin.table
    quantified = sum(not is_below(table.records[i]) for i in levels_at(table))
    return found.log_evidence - quantified * math.log(_concentration_factor(member.model, unit_of))


def _concentration_factor(model: PkModel, lead: PkModel) -> float:
    molar_mass = model.molar_mass or lead.molar_mass
    return convert(1.0, model.concentration_unit, lead.concentration_unit, molar_mass=molar_mass)


@dataclass(frozen=True)
class _Part:
    """A member's possible patients; factors bring the lead's doses to the member, its concentrations to the lead."""

    model: PkModel
    parameters: Mapping[str, Array]
    compartment: int
    dose_factor: float
    concentration_factor: float


class Exposures:
    """Steady states of the possible patients of all members, in the units of the first.

    Those of one shape are computed once where a model is linear.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.lead = members[0].model
        self.linear = all(member.model.elimination == "linear" for member in members)
        size = members[0].twin.draws if self.linear else min(SLOW_DRAWS, members[0].twin.draws)
        counts = _counts([member.share for member in members], size)
        self._parts = [
            _Part(
                member.model,
                {name: values[:count] for name, values in member.twin.people.parameters.items()},
                member.compartment,
                convert(member.model.dose_content, self.lead.dose_unit, member.model.dose_unit)
                / self.lead.dose_content,
                _concentration_factor(member.model, self.lead),
            )
            for member, count in zip(members, counts, strict=True)
            if count
        ]
        self._units: dict[tuple[int, Shape], Curve] = {}

    def curve(self, shape: Shape, dose: float) -> Curve | None:
        """Exposure of a dose (the lead's unit); None where there is no steady state."""
        return self.curves(shape, (dose,))[0]

    def curves(self, shape: Shape, doses: Sequence[float]) -> list[Curve | None]:
        """`curve` of several doses of one shape, faster where they have to be integrated."""
        by_part = [
            self._of(number, part, replace(shape, cmt=part.compartment), [dose * part.dose_factor for dose in doses])
            for number, part in enumerate(self._parts)
        ]
        factors = [part.concentration_factor for part in self._parts]
        return [_joined(curves, factors) for curves in zip(*by_part, strict=True)]

    def _of(self, number: int, part: _Part, shape: Shape, doses: Sequence[float]) -> list[Curve | None]:
        if part.model.elimination != "linear":
            cases = [(bounded(part.model, part.parameters, shape, dose), dose) for dose in doses]
            found = steady_curves(part.model, shape, cases)
            return [None if isinstance(curve, NumericsError) else curve for curve in found]
        if (number, shape) not in self._units:
            self._units[number, shape] = steady_curve(part.model, part.parameters, shape, 1.0)
        return [self._units[number, shape].scaled(dose) for dose in doses]

    def course(self, shape: Shape, dose: float, times: Array) -> Array:
        """Concentrations from the first dose of a regimen on (the lead's units), (n_draws, n_times)."""
        found = []
        for part in self._parts:
            amount = dose * part.dose_factor
            rate = amount / shape.infusion if shape.infusion else 0.0
            given = [
                Record(float(t), evid=DOSE, amt=amount, rate=rate, cmt=part.compartment, mdv=1)
                for t in np.arange(0.0, float(times.max()) + 1e-9, shape.interval)
            ]
            found.append(levels_after(part.model, part.parameters, given, times) * part.concentration_factor)
        return np.concatenate(found)

    @property
    def half_life(self) -> float:
        """ln 2 times all volumes over clearance of the first model's middle patient (h); 0 without a clearance."""
        held = self._parts[0].parameters
        if "CL" not in held:
            return 0.0
        volume = np.sum([held[name] for name in ("V1", "V2", "V3") if name in held], axis=0)
        return math.log(2.0) * float(np.median(volume / held["CL"]))

    def middle(self, shape: Shape, dose: float, goal: Goal) -> float:
        """Median of the goal's measure; infinite where there is no steady state."""
        curve = self.curve(shape, dose)
        return math.inf if curve is None else float(np.median(curve.value(goal)))


def _joined(curves: Sequence[Curve | None], factors: Sequence[float]) -> Curve | None:
    """The curves of all members as one, each brought to the lead's unit of concentration."""
    told = [curve.scaled(factor) for curve, factor in zip(curves, factors, strict=True) if curve is not None]
    if len(told) < len(curves):
        return None
    if len(told) == 1:
        return told[0]
    return replace(
        told[0],
        auc24=np.concatenate([curve.auc24 for curve in told]),
        trough=np.concatenate([curve.trough for curve in told]),
        levels=Levels(lambda: np.concatenate([curve.points for curve in told])),
        factor=1.0,
    )


def bounded(model: PkModel, parameters: Mapping[str, Array], shape: Shape, dose: float) -> Mapping[str, Array]:
    """Parameters where those whom the dose saturates keep a steady state, far above any target.

    With all elimination saturable there is none from dose rate = VMAX on; from `SATURATED` of it on the capacity is
    taken as just large enough for that share, so that the average is at least 19 KM.
    """
    if model.elimination != "michaelis-menten":
        return parameters
    rate = parameters.get("F", np.ones(1)) * dose / shape.interval
    return {**parameters, "VMAX": np.maximum(parameters["VMAX"], rate / SATURATED)}


def _counts(shares: Sequence[float], size: int) -> list[int]:
    """Whole numbers in proportion to shares that add up to `size`: the largest remainders are rounded up."""
    exact = [share * size for share in shares]
    counts = [math.floor(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda n: (counts[n] - exact[n], n))
    for n in order[: size - sum(counts)]:
        counts[n] += 1
    return counts
