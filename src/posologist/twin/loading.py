"""A loading dose before a regimen: the label's or guideline's range, and what it does to the first day.

Offered only where a source gives a range and no dose has been given yet; nothing is extrapolated from the regimen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posologist.core.drug import LoadingRule
from posologist.core.units import convert
from posologist.core.values import rounded
from posologist.knowledge.models import PkModel
from posologist.twin.compartment import INTRAVENOUS, short_route
from posologist.twin.events import DOSE, Record
from posologist.twin.goals import Goal, quadrature
from posologist.twin.individual import Array
from posologist.twin.mixture import Member
from posologist.twin.offers import Asked, Offer

DAY_H = 24.0


@dataclass(frozen=True)
class Loading:
    """First doses of `dose` (the model's unit), `count` of them every `interval_h`, each over `infusion_h`.

    `first_day` and `without` are the average concentration over the first 24 h of each possible patient, with the
    loading dose and with the regimen alone.
    """

    rule: LoadingRule
    dose: float
    count: int
    interval_h: float
    infusion_h: float
    first_day: Array
    without: Array


def amounts(rule: LoadingRule, model: PkModel, weight_kg: float | None, step: float | None) -> tuple[float, ...]:
    """Doses of a rule (as the model counts them) that can be given: multiples of `step`, or its two ends without one.

    Empty where the rule is per kg and the weight is not known, or no multiple lies in the range.
    """
    mass, _, per = rule.unit.partition("/")
    if per == "kg" and weight_kg is None:
        return ()
    content = model.dose_content
    factor = convert(content, mass, model.dose_unit) * (weight_kg if per == "kg" and weight_kg is not None else 1.0)
    most = math.inf if rule.max is None else convert(rule.max * content, "mg", model.dose_unit)
    low, high = min(rule.low * factor, most), min(rule.high * factor, most)
    if not step:
        return tuple(dict.fromkeys((rounded(low), rounded(high))))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(rounded(step * n, 9) for n in range(max(first, 1), last + 1))


def loading_for(
    asked: Asked, offer: Offer, members: Sequence[Member], rules: Sequence[LoadingRule], step: float | None
) -> Loading | None:
    """The dose of the first rule whose first day comes closest to the target in the middle patient, or None.

    The first day is judged by its average concentration against the average of the target, or of the regimen's own
    steady state where the target is no area or average.
    """
    lead = members[0].model
    route = "iv" if short_route(asked.route) in INTRAVENOUS else "oral"
    rule = next((rule for rule in rules if rule.route == route), None)
    if rule is None or any(member.twin.doses for member in members):
        return None
    doses = amounts(rule, lead, asked.weight_kg, step)
    larger = [dose for dose in doses if dose > offer.dose]
    if not larger:
        return None
    interval = rule.interval_h or offer.shape.interval
    tried = [
        Loading(rule, dose, rule.doses, interval, hours, first_day(members, started(rule, dose, hours, offer)), without)
        for without in (first_day(members, regular(offer, 0.0)),)
        for dose in larger
        for hours in (max(asked.shortest_h(dose), offer.shape.infusion) if route == "iv" else 0.0,)
    ]
    aim = _aim(asked.goal, members, offer)
    return min(tried, key=lambda loading: abs(math.log(max(float(np.median(loading.first_day)), 1e-12) / aim)))


def started(rule: LoadingRule, dose: float, infusion_h: float, offer: Offer) -> list[Record]:
    """The loading doses, then the regimen, until the end of the first day."""
    interval = rule.interval_h or offer.shape.interval
    rate = dose / infusion_h if infusion_h else 0.0
    first = [Record(interval * n, evid=DOSE, amt=dose, rate=rate, mdv=1) for n in range(rule.doses)]
    return [*first, *regular(offer, interval * rule.doses)]


def regular(offer: Offer, start: float) -> list[Record]:
    """Doses of a regimen from `start` until the end of the first day."""
    shape = offer.shape
    rate = offer.dose / shape.infusion if shape.infusion else 0.0
    count = math.ceil(max(DAY_H - start, 0.0) / shape.interval - 1e-9)
    return [Record(start + shape.interval * n, evid=DOSE, amt=offer.dose, rate=rate, mdv=1) for n in range(count)]


def first_day(members: Sequence[Member], doses: Sequence[Record]) -> Array:
    """Average concentration over the first 24 h in the possible patients of the first member, (n_draws,)."""
    lead = members[0]
    placed = [_into(record, lead.compartment) for record in doses]
    ends = {record.time + (record.amt / record.rate if record.rate else 0.0) for record in placed}
    bends = np.array(sorted({0.0, DAY_H} | {t for t in {r.time for r in placed} | ends if 0.0 < t < DAY_H}))
    nodes, weights = quadrature(bends)
    return np.asarray(lead.twin.simulate(placed, nodes) @ weights / DAY_H)


def _into(record: Record, compartment: int) -> Record:
    return Record(record.time, evid=DOSE, amt=record.amt, rate=record.rate, cmt=compartment, mdv=1)


def _aim(goal: Goal | None, members: Sequence[Member], offer: Offer) -> float:
    """Average concentration that the first day should reach."""
    if goal is not None and goal.metric in ("auc24", "average"):
        return goal.middle / (DAY_H if goal.metric == "auc24" else 1.0)
    parameters = members[0].twin.people.parameters
    clearance = parameters.get("CL")
    share = float(np.median(parameters["F"])) if "F" in parameters else 1.0
    if clearance is None:
        return float(np.median(first_day(members, regular(offer, 0.0))))
    return members[0].model.scale * share * offer.per_day / DAY_H / float(np.median(clearance))
