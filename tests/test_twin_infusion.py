"""The shortest infusion of a dose follows from the rules on file, and what they leave open is never allowed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.core.drug import InfusionRule
from posologist.core.values import CitationKey
from posologist.knowledge.load import load_knowledge
from posologist.twin.infusion import continuous_allowed, shortest_infusion_h


def rule(**said: Any) -> InfusionRule:
    """A rule of a label; `status` verified unless said."""
    return InfusionRule(**({"source": CitationKey("label"), "status": "verified"} | said))


HOUR_AND_RATE = rule(min_duration_h=1, max_rate=10, rate_unit="mg/min")


@pytest.mark.parametrize(("dose_mg", "hours"), [(500, 1.0), (600, 1.0), (1000, 100 / 60), (2000, 200 / 60)])
def test_vancomycin_runs_for_an_hour_and_no_faster_than_10_mg_a_minute(dose_mg: float, hours: float) -> None:
    """Label of vancomycin: at most 10 mg/min or over at least 60 minutes, whichever is longer."""
    limit = shortest_infusion_h([HOUR_AND_RATE], dose_mg, weight_kg=70)

    assert limit.hours == pytest.approx(hours)
    assert limit.binding == (HOUR_AND_RATE,)
    assert limit.allows(hours) is True
    assert limit.allows(hours * 0.99) is False


@pytest.mark.parametrize(
    ("max_rate", "unit", "hours"),
    [(3, "mg/kg/h", 2.0), (0.05, "mg/kg/min", 2.0), (420, "mg/h", 1.0), (7, "mg/min", 1.0)],
)
def test_every_unit_of_rate_gives_the_duration_of_420_mg_at_70_kg(max_rate: float, unit: str, hours: float) -> None:
    limit = shortest_infusion_h([rule(max_rate=max_rate, rate_unit=unit)], 420, weight_kg=70)

    assert limit.hours == pytest.approx(hours)


def test_the_rule_that_asks_for_longest_binds_and_is_named() -> None:
    short, long = rule(min_duration_h=0.5), rule(min_duration_h=1, status="secondary")

    limit = shortest_infusion_h([short, long], 100, weight_kg=None)

    assert (limit.hours, limit.binding, limit.status) == (1, (long,), "secondary")


def test_of_rules_that_bind_together_the_weakest_status_is_told() -> None:
    rules = [rule(min_duration_h=1), rule(min_duration_h=1, status="to verify")]

    limit = shortest_infusion_h(rules, 100, weight_kg=None)

    assert limit.binding == tuple(rules)
    assert limit.status == "to verify"


def test_a_rate_by_weight_without_a_weight_is_unknown_and_not_allowed() -> None:
    by_weight = rule(min_duration_h=1, max_rate=3, rate_unit="mg/kg/h")

    limit = shortest_infusion_h([by_weight], 420, weight_kg=None)

    assert limit.hours is None
    assert limit.missing == ("weight",)
    assert limit.allows(0.9) is False
    assert limit.allows(5.0) is None


def test_a_known_rule_never_hides_that_another_is_unknown() -> None:
    rules = [rule(min_duration_h=2), rule(max_rate=3, rate_unit="mg/kg/h")]

    limit = shortest_infusion_h(rules, 420, weight_kg=None)

    assert (limit.hours, limit.at_least) == (None, 2)


def test_a_rate_in_a_unit_that_is_not_known_is_unknown() -> None:
    limit = shortest_infusion_h([rule(min_duration_h=1, max_rate=10, rate_unit="mg/s")], 100, weight_kg=70)

    assert limit.hours is None
    assert limit.missing
    assert limit.allows(5.0) is None


@pytest.mark.parametrize("rules", [[], [rule(continuous=True)]], ids=["no rule", "continuous only"])
def test_without_a_rule_nothing_is_allowed(rules: list[InfusionRule]) -> None:
    limit = shortest_infusion_h(rules, 100, weight_kg=70)

    assert not limit.on_file
    assert limit.hours is None
    assert limit.status is None
    assert limit.allows(24.0) is None


def test_a_bolus_on_file_allows_a_dose_at_once() -> None:
    limit = shortest_infusion_h([rule(min_duration_h=0)], 100, weight_kg=None)

    assert limit.on_file
    assert limit.allows(0.0) is True


def test_a_continuous_infusion_is_offered_only_where_a_source_describes_it() -> None:
    assert continuous_allowed([HOUR_AND_RATE, rule(continuous=True)])
    assert not continuous_allowed([HOUR_AND_RATE])
    assert not continuous_allowed([])


RULES = st.lists(
    st.builds(
        rule,
        min_duration_h=st.none() | st.floats(0.05, 24),
        max_rate=st.floats(0.1, 1000),
        rate_unit=st.sampled_from(["mg/min", "mg/h", "mg/kg/min", "mg/kg/h"]),
    ),
    min_size=1,
    max_size=4,
)


@given(rules=RULES, dose=st.floats(1, 10_000), more=st.floats(1, 5), weight=st.none() | st.floats(2, 200))
def test_a_larger_dose_never_runs_for_less_and_a_rule_more_never_shortens(
    rules: list[InfusionRule], dose: float, more: float, weight: float | None
) -> None:
    limit = shortest_infusion_h(rules, dose, weight_kg=weight)

    assert shortest_infusion_h(rules, dose * more, weight_kg=weight).at_least >= limit.at_least
    assert shortest_infusion_h(rules[1:], dose, weight_kg=weight).at_least <= limit.at_least
    assert limit.allows(limit.at_least) is (None if limit.missing else True)


def test_every_rule_on_file_can_be_told_for_a_person_of_known_weight() -> None:
    for drug in load_knowledge().drugs.values():
        for held in drug.infusion:
            limit = shortest_infusion_h([held], 100, weight_kg=70)
            assert held.continuous or limit.hours is not None, drug.id
