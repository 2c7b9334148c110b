"""Regimens that can be dispensed: from products and limits, the one to start with, and the best for a target.

One dose is one to four units of one strength; half units (0.5, 1.5) only of a scored product. Which doses per day and
which amounts are allowed is said by `Limits`; nothing outside of them is offered.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from posologist.core.drug import Drug, Product
from posologist.core.regimen import Limits, ProductCount, Regimen
from posologist.core.values import DrugId, Value, rounded
from posologist.twin.compartment import INTRAVENOUS, short_route

WHOLE_UNITS = (1.0, 2.0, 3.0, 4.0)
HALF_UNITS = (0.5, 1.5)
ABOVE_START = 1.10  # a start dose that cannot be made may be exceeded by so much, if nothing lies below it
_SINGLE_USE = ("pen", "patch", "syringe", "injector", "transdermal system")
_TO_MG = {"mg": 1.0, "mcg": 0.001, "g": 1000.0}
_LIMIT_UNIT = re.compile(r"(mg|mcg|g|units)(/kg)?(?:/(day|week|dose))?")


class NoRegimen(Value):
    """No regimen can be given: why, in a sentence."""

    drug: DrugId
    reason: str


class _Candidate(NamedTuple):
    """A dose that can be made from one product, not yet a Regimen."""

    product: Product
    strength: float
    units: float
    dose: float
    interval_h: float


class _Range(Value):
    """Limits brought to one product unit: amounts per `period_h` hours, and the intervals allowed."""

    unit: str
    period_h: float
    start: float | None
    low: float | None
    high: float | None
    intervals: tuple[float, ...]
    by_dose: bool = False

    @property
    def per(self) -> str:
        """Unit of the bounds in words."""
        period = "dose" if self.by_dose else "week" if self.period_h > 24.0 else "day"
        return f"{self.unit}/{period}"

    def amount(self, candidate: _Candidate) -> float:
        """What the bounds hold for: the amount per period, or the single dose where the interval exceeds a day."""
        return candidate.dose if self.by_dose else candidate.dose * self.period_h / candidate.interval_h


def regimens_for(
    drug: Drug, limits: Limits, *, route: str = "oral", weight_kg: float | None = None, duration_h: float = 0.0
) -> tuple[Regimen, ...]:
    """Every dispensable regimen between the start dose and the maximum, from the smallest amount per day up.

    Parameters
    ----------
    limits
        Amounts per day, per week or per dose ("mg/dose", "mg"), also per kg. `percent_of_usual` is applied here to
        start, range and maximum. Per dose, the smaller of usual range and maximum is the upper bound. An interval
        below `min_interval_h` is not offered; if none is left, `min_interval_h` is the interval and the bounds hold
        for the single dose.
    weight_kg
        Needed where the limits are per kg.
    duration_h
        Infusion time of intravenous doses.

    Returns
    -------
    tuple of Regimen
        Empty where nothing fits or no upper bound is known; `starting_regimen` says why.
    """
    bounds = _range(limits, weight_kg)
    if isinstance(bounds, NoRegimen) or bounds.high is None:
        return ()
    lowest = bounds.start if bounds.start is not None else bounds.low
    return tuple(
        _regimen(drug, candidate, bounds.unit, duration_h)
        for candidate in _candidates(drug, limits, bounds, route)
        if (lowest is None or bounds.amount(candidate) >= lowest * (1 - 1e-9))
        and bounds.amount(candidate) <= bounds.high * (1 + 1e-9)
    )


def starting_regimen(
    drug: Drug, limits: Limits, *, route: str = "oral", weight_kg: float | None = None, duration_h: float = 0.0
) -> Regimen | NoRegimen:
    """The regimen to start with: the largest that can be dispensed at or below the start dose.

    Where none lies below, one above it by at most 10 % is taken. Of equal amounts per day, the fewest doses per day
    and then the fewest units. The start is never above the maximum.
    """
    bounds = _range(limits, weight_kg)
    if isinstance(bounds, NoRegimen):
        return bounds
    if bounds.start is None:
        return NoRegimen(drug=drug.id, reason=f"no start dose of {drug.name} is on file for this use")
    wanted = bounds.start if bounds.high is None else min(bounds.start, bounds.high)
    candidates = _candidates(drug, limits, bounds, route)
    if not candidates:
        return NoRegimen(drug=drug.id, reason=_nothing_dispensable(drug, limits, bounds, route))
    below = [c for c in candidates if bounds.amount(c) <= wanted * (1 + 1e-9)]
    if below:
        largest = max(below, key=lambda c: (rounded(bounds.amount(c)), c.interval_h, -c.units))
        return _regimen(drug, largest, bounds.unit, duration_h)
    above = min(candidates, key=lambda c: (bounds.amount(c), -c.interval_h, c.units))
    smallest = _regimen(drug, above, bounds.unit, duration_h)
    highest = wanted * ABOVE_START if bounds.high is None else min(wanted * ABOVE_START, bounds.high)
    if bounds.amount(above) <= highest * (1 + 1e-9):
        return smallest
    return NoRegimen(
        drug=drug.id,
        reason=f"the start dose of {drug.name}, {_number(wanted)} {bounds.per}, cannot be made: the smallest regimen "
        f"that can be dispensed is {smallest.text}",
    )


def usual_route(drug: Drug, limits: Limits) -> str:
    """The route that the limits are meant for, as far as the file tells.

    The only route of the products that fit; of several, oral, unless the file says that the drug is not absorbed when
    swallowed, or no oral product can make the start dose and one of another route can.
    """
    fitting = {short_route(p.route) for p in drug.products if not limits.form or limits.form.lower() in p.form.lower()}
    routes = sorted(fitting or {short_route(p.route) for p in drug.products}, key=_route_rank)
    if _not_absorbed(drug):
        routes = [route for route in routes if route != "oral"] or routes
    for route in routes:
        if isinstance(starting_regimen(drug, limits, route=route, weight_kg=70.0), Regimen):
            return route
    return routes[0] if routes else "oral"


def _route_rank(route: str) -> tuple[int, str]:
    return (_ROUTE_ORDER.index(route) if route in _ROUTE_ORDER else len(_ROUTE_ORDER), route)


def _not_absorbed(drug: Drug) -> bool:
    held = drug.kinetics.parameters
    fraction = held.get("bioavailability_oral") or held.get("bioavailability")
    return fraction is not None and fraction.value is not None and fraction.value <= 0


def _range(limits: Limits, weight_kg: float | None) -> _Range | NoRegimen:
    match = _LIMIT_UNIT.fullmatch(limits.unit)
    if match is None:
        return NoRegimen(
            drug=limits.drug, reason=f"the dose is stated in {limits.unit}, which is no amount per dose, day or week"
        )
    unit, per_kg, period = match.groups()
    if per_kg and weight_kg is None:
        return NoRegimen(drug=limits.drug, reason="the dose is by weight, and the weight is not known")
    factor = (weight_kg or 1.0) if per_kg else 1.0
    factor *= 1.0 if limits.percent_of_usual is None else limits.percent_of_usual / 100.0
    period_h = 168.0 if period == "week" else 24.0
    usual = tuple(period_h / n for n in limits.doses_per_day if n > 0)
    least = limits.min_interval_h or 0.0
    kept = tuple(interval for interval in usual if interval >= least - 1e-9)
    per_dose = period in ("dose", None)
    uppers = [bound for bound in (limits.max, limits.usual_high) if bound is not None]
    highest = (min(uppers) if per_dose else uppers[0]) if uppers else None
    start, low, high = (
        None if bound is None else bound * factor for bound in (limits.start, limits.usual_low, highest)
    )
    return _Range(
        unit=unit, period_h=period_h, start=start, low=low, high=high, intervals=kept or (least,),
        by_dose=per_dose or (not kept and least > period_h),
    )  # fmt: skip


def _candidates(drug: Drug, limits: Limits, bounds: _Range, route: str) -> list[_Candidate]:
    """Everything dispensable, whatever its amount, smallest first; of equal doses the one with the fewest units."""
    best: dict[tuple[float, float], _Candidate] = {}
    for product in _products(drug, limits, route):
        for strength in product.strengths:
            for count in _counts(product):
                dose = _in_unit(strength * count, product.unit, bounds.unit)
                if dose is None:
                    continue
                for interval in bounds.intervals:
                    key = (dose, interval)
                    if key not in best or count < best[key].units:
                        best[key] = _Candidate(product, strength, count, dose, interval)
    return sorted(best.values(), key=lambda c: (rounded(c.dose * 24.0 / c.interval_h), -c.interval_h, c.product.form))


def _products(drug: Drug, limits: Limits, route: str) -> list[Product]:
    """Products of the route, form and release that the limits hold for; a free release means immediate, if there is."""
    found = [
        product
        for product in drug.products
        if short_route(product.route) == short_route(route) and _plain_unit(product.unit)
    ]
    if limits.form:
        exact = [product for product in found if product.form == limits.form]
        found = exact or [product for product in found if limits.form.lower() in product.form.lower()]
    if limits.release:
        return [product for product in found if product.release == limits.release]
    immediate = [product for product in found if product.release == "immediate"]
    return immediate or found


def _plain_unit(unit: str) -> bool:
    return unit in _TO_MG or unit == "units"


def _counts(product: Product) -> tuple[float, ...]:
    if any(word in product.form.lower() for word in _SINGLE_USE):
        return (1.0,)
    return (*HALF_UNITS, *WHOLE_UNITS) if product.scored else WHOLE_UNITS


def _in_unit(amount: float, source: str, target: str) -> float | None:
    if source == target:
        return rounded(amount, 9)
    if source in _TO_MG and target in _TO_MG:
        return rounded(amount * _TO_MG[source] / _TO_MG[target], 9)
    return None


def _regimen(drug: Drug, chosen: _Candidate, unit: str, duration: float) -> Regimen:
    product = chosen.product
    route = short_route(product.route)
    length = duration if route in INTRAVENOUS else 0.0
    return Regimen(
        drug=drug.id, dose=chosen.dose, unit=unit, interval_h=chosen.interval_h, route=route, form=product.form,
        release=product.release, duration_h=length,
        products=(
            ProductCount(form=product.form, strength=chosen.strength, unit=product.unit, count=chosen.units),
        ),
        text=regimen_text(
            chosen.dose, unit, chosen.interval_h, route=route, release=product.release, duration_h=length
        ),
    )  # fmt: skip


def _nothing_dispensable(drug: Drug, limits: Limits, bounds: _Range, route: str) -> str:
    of_route = [product for product in drug.products if short_route(product.route) == short_route(route)]
    if not of_route:
        return f"no {route} product of {drug.name} is on file"
    wanted = " ".join(part for part in (limits.release, limits.form or "product") if part)
    return (
        f"no {wanted} of {drug.name} with a strength in {bounds.unit} is on file for the {route} route "
        f"(held: {', '.join(sorted({f'{p.form} in {p.unit}' for p in of_route}))})"
    )


_ROUTE_ORDER = (
    "oral", "iv", "sc", "im", "transdermal", "rectal", "nasal", "sublingual", "buccal", "inhaled", "topical",
)  # fmt: skip
_ROUTE_WORDS = {
    "oral": "orally", "sc": "subcutaneously", "im": "intramuscularly", "transdermal": "transdermally",
    "rectal": "rectally", "nasal": "nasally", "sublingual": "sublingually", "topical": "topically",
    "inhaled": "by inhalation", "buccal": "buccally",
}  # fmt: skip
_FREQUENCY_WORDS = {
    24.0: "once daily", 12.0: "twice daily", 8.0: "three times daily", 6.0: "four times daily",
    4.8: "five times daily", 4.0: "six times daily", 168.0: "once weekly", 84.0: "twice weekly",
    48.0: "every other day",
}  # fmt: skip


def regimen_text(
    dose: float, unit: str, interval_h: float, *, route: str = "oral", release: str = "", duration_h: float = 0.0
) -> str:
    """A regimen in a prescriber's words: "5 mg orally once daily", "1000 mg iv over 1 h q12h"."""
    amount = f"{_number(dose)} {unit}"
    if route in INTRAVENOUS:
        over = f" over {_number(duration_h)} h" if duration_h else ""
        return f"{amount} iv{over} q{_number(interval_h)}h"
    how = _ROUTE_WORDS.get(route, f"by the {route} route")
    often = _FREQUENCY_WORDS.get(round(interval_h, 6), f"every {_number(interval_h)} hours")
    return f"{amount} {'extended-release ' if release == 'extended' else ''}{how} {often}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1e5 else f"{rounded(value):g}"
