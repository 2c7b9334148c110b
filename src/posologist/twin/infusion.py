"""How long a dose must run into a vein: the rules of a drug's file, for one dose in one patient.

The rules that are passed in are those whose `when` was found true for the patient. What no rule says is unknown, and
what is unknown is never allowed: a rate per kg without a weight leaves the duration open.
"""

from __future__ import annotations

from collections.abc import Sequence

from posologist.core.drug import InfusionRule
from posologist.core.values import Many, Status, Value

_RATES = {"mg/min": (60.0, False), "mg/h": (1.0, False), "mg/kg/min": (60.0, True), "mg/kg/h": (1.0, True)}
"""Unit of a rate -> (how many of it make one per hour, whether it is per kg)."""
_WEAKEST_FIRST: tuple[Status, ...] = ("to verify", "secondary", "verified")
_SLACK = 1e-9


class InfusionLimit(Value):
    """The shortest infusion of one dose (h), and the rules that set it.

    `hours` is None where it is not known: nothing is on file, or `missing` names what a rule needs. `at_least` is what
    the rules that can be told ask for. `status` is the weakest of the rules in `binding`.
    """

    hours: float | None = None
    at_least: float = 0.0
    binding: Many[InfusionRule] = ()
    status: Status | None = None
    on_file: bool = False
    missing: Many[str] = ()

    def allows(self, duration_h: float) -> bool | None:
        """Whether a dose may run this fast; None where that is not known, which is no permission."""
        if duration_h < self.at_least * (1.0 - _SLACK):
            return False
        return None if self.hours is None else True


def shortest_infusion_h(rules: Sequence[InfusionRule], dose_mg: float, *, weight_kg: float | None) -> InfusionLimit:
    """Shortest infusion of a dose under every rule: the longest of the durations that they ask for.

    Parameters
    ----------
    rules
        Rules of the drug's file that hold for the patient. One that only says that the infusion may be continuous
        limits nothing.
    dose_mg
        One dose, mg.
    weight_kg
        None where it is not known: a rate per kg is then in `missing`.
    """
    limiting = [rule for rule in rules if rule.min_duration_h is not None or rule.max_rate is not None]
    asked = [(rule, _duration(rule, dose_mg, weight_kg)) for rule in limiting]
    longest = max((hours for _, hours in asked), default=0.0)
    binding = tuple(rule for rule, hours in asked if hours >= longest * (1.0 - _SLACK))
    missing = tuple(sorted({need for rule in limiting for need in _missing(rule, weight_kg)}))
    return InfusionLimit(
        hours=longest if limiting and not missing else None,
        at_least=longest,
        binding=binding,
        status=min((rule.status for rule in binding), key=_WEAKEST_FIRST.index, default=None),
        on_file=bool(limiting),
        missing=missing,
    )


def continuous_allowed(rules: Sequence[InfusionRule]) -> bool:
    """Whether a rule that holds describes an infusion without end; where none does, it is not offered."""
    return any(rule.continuous for rule in rules)


def _missing(rule: InfusionRule, weight_kg: float | None) -> tuple[str, ...]:
    if rule.max_rate is None:
        return ()
    if rule.rate_unit not in _RATES:
        return (f"a rate in {' or '.join(_RATES)}",)
    return ("weight",) if _RATES[rule.rate_unit][1] and weight_kg is None else ()


def _duration(rule: InfusionRule, dose_mg: float, weight_kg: float | None) -> float:
    """What one rule asks for (h), as far as it can be told."""
    least = rule.min_duration_h or 0.0
    if rule.max_rate is None or _missing(rule, weight_kg):
        return least
    per_hour, per_kg = _RATES[rule.rate_unit]
    kilograms = weight_kg if per_kg and weight_kg is not None else 1.0
    return max(least, dose_mg / (rule.max_rate * per_hour * kilograms))
