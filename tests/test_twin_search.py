"""Regimens that can be dispensed, and orders as prescribers type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.core.drug import Product
from posologist.core.errors import InputError
from posologist.core.regimen import Limits, Regimen
from posologist.core.values import DrugId
from posologist.twin.orders import parse_regimen
from posologist.twin.search import NoRegimen, regimen_text, regimens_for, starting_regimen, usual_route
from twin_drugs import SOURCE, made_drug, shipped_drug

ID = DrugId("madeupril")


def tablets(*strengths, **kwargs):
    fields = {"form": "tablet", "unit": "mg", **kwargs}
    return Product(strengths=strengths, source=SOURCE, status="verified", **fields)


def drug_of(*products):
    return made_drug(products=products)


def texts(regimens):
    return [regimen.text for regimen in regimens]


def test_every_regimen_between_start_and_maximum_is_offered():
    found = regimens_for(drug_of(tablets(5.0, 20.0)), Limits(drug=ID, start=5, max=20))

    assert texts(found) == [f"{dose} mg orally once daily" for dose in (5, 10, 15, 20)]


def test_half_tablets_only_when_scored():
    limits = Limits(drug=ID, start=5, max=15)

    assert 5.0 not in {r.dose for r in regimens_for(drug_of(tablets(10.0)), limits)}
    assert {r.dose for r in regimens_for(drug_of(tablets(10.0, scored=True)), limits)} == {5.0, 10.0, 15.0}


def test_the_fewest_units_make_a_dose():
    (ten,) = regimens_for(drug_of(tablets(2.5, 5.0, 10.0)), Limits(drug=ID, start=10, max=10))

    assert (ten.products[0].strength, ten.products[0].count) == (10.0, 1.0)


def test_more_than_four_units_are_not_dispensed():
    assert regimens_for(drug_of(tablets(1.0)), Limits(drug=ID, start=5, max=10)) == ()


@given(
    strengths=st.sets(st.sampled_from([1.0, 2.5, 5.0, 10.0, 20.0, 40.0]), min_size=1),
    start=st.floats(1.0, 50.0),
    spread=st.floats(1.0, 8.0),
    per_day=st.sets(st.sampled_from([1, 2, 3, 4]), min_size=1),
)
def test_nothing_outside_of_the_limits_is_offered(strengths, start, spread, per_day):
    drug = drug_of(tablets(*sorted(strengths), scored=True))
    limits = Limits(drug=ID, start=start, max=start * spread, doses_per_day=tuple(sorted(per_day)))

    for regimen in regimens_for(drug, limits):
        made = sum(p.strength * p.count for p in regimen.products)
        assert start * 0.999 <= regimen.per_day <= start * spread * 1.001
        assert made == pytest.approx(regimen.dose)
        assert round(24 / regimen.interval_h) in per_day
    first = starting_regimen(drug, limits)
    if isinstance(first, Regimen):
        assert first.per_day <= min(start * 1.1, start * spread) * 1.001


def test_the_start_is_the_nearest_at_or_below():
    drug = drug_of(tablets(5.0, 20.0))

    assert starting_regimen(drug, Limits(drug=ID, start=7.5, max=20)).dose == 5.0


def test_a_start_above_is_taken_only_within_ten_percent():
    drug = drug_of(tablets(10.0))

    assert starting_regimen(drug, Limits(drug=ID, start=9.5, max=20)).dose == 10.0
    refused = starting_regimen(drug, Limits(drug=ID, start=5, max=20))
    assert isinstance(refused, NoRegimen)
    assert "10 mg orally once daily" in refused.reason


def test_the_start_never_exceeds_a_lower_maximum():
    assert starting_regimen(drug_of(tablets(5.0, 10.0)), Limits(drug=ID, start=10, max=5)).dose == 5.0


def test_a_percentage_lowers_start_and_maximum():
    limits = Limits(drug=ID, start=20, max=40, percent_of_usual=50.0)
    drug = drug_of(tablets(5.0, 10.0))

    assert starting_regimen(drug, limits).dose == 10.0
    assert max(r.dose for r in regimens_for(drug, limits)) == 20.0


def test_a_longer_interval_is_kept_and_the_single_dose_stays_within_the_limits():
    limits = Limits(drug=ID, start=25, max=50, min_interval_h=48.0)
    found = regimens_for(drug_of(tablets(25.0, 50.0)), limits)

    assert texts(found) == ["25 mg orally every other day", "50 mg orally every other day"]


def test_extended_release_limits_take_extended_release_products_only():
    drug = drug_of(tablets(50.0), tablets(100.0, form="er tablet", release="extended"))
    extended = regimens_for(drug, Limits(drug=ID, start=50, max=100, release="extended"))

    assert texts(extended) == ["100 mg extended-release orally once daily"]
    assert {r.release for r in regimens_for(drug, Limits(drug=ID, start=50, max=100))} == {"immediate"}


def test_microgram_limits_and_milligram_tablets_meet():
    drug = drug_of(tablets(0.125, 0.25))

    assert (
        starting_regimen(drug, Limits(drug=ID, unit="mcg/day", start=125, max=250)).text == "125 mcg orally once daily"
    )


def test_weekly_limits_give_weekly_doses():
    drug = shipped_drug("semaglutide")
    limits = Limits(drug=drug.id, unit="mg/week", start=0.25, max=2)

    assert starting_regimen(drug, limits, route="sc").text == "0.25 mg subcutaneously once weekly"


@pytest.mark.parametrize(
    ("name", "limits", "route"),
    [
        ("enalapril", {"start": 5, "max": 40}, "oral"),
        ("semaglutide", {"unit": "mg/week", "start": 0.25, "max": 2}, "sc"),
        ("vancomycin", {"start": 2000, "usual_high": 2000, "doses_per_day": (2, 4)}, "iv"),
        ("metoprolol", {"start": 100, "max": 400, "doses_per_day": (1, 2)}, "oral"),
    ],
)
def test_the_usual_route_is_that_of_the_products_that_fit(name, limits, route):
    drug = shipped_drug(name)

    assert usual_route(drug, Limits(drug=drug.id, **limits)) == route


def test_doses_by_weight_need_the_weight():
    drug = drug_of(tablets(100.0, 250.0))
    limits = Limits(drug=ID, unit="mg/kg/day", start=10, max=20, doses_per_day=(2,))

    assert isinstance(starting_regimen(drug, limits), NoRegimen)
    assert starting_regimen(drug, limits, weight_kg=50.0).text == "250 mg orally twice daily"


def test_doses_per_intake_bind_each_intake():
    limits = Limits(drug=ID, unit="mg/dose", start=125, usual_high=125, max=500, doses_per_day=(4,))

    assert texts(regimens_for(drug_of(tablets(125.0, 250.0)), limits)) == ["125 mg orally four times daily"]


def test_what_cannot_be_dispensed_says_why():
    solution = drug_of(tablets(1.0, form="solution", unit="mg/mL"))

    assert "mg/mL" in starting_regimen(solution, Limits(drug=ID, start=5, max=10)).reason
    assert "no iv product" in starting_regimen(solution, Limits(drug=ID, start=5, max=10), route="iv").reason
    assert "is on file" in starting_regimen(solution, Limits(drug=ID, max=10)).reason


def test_enalapril_starts_with_five_milligrams_once_daily():
    drug = shipped_drug("enalapril")

    assert starting_regimen(drug, Limits(drug=drug.id, start=5, max=40, doses_per_day=(1, 2))).text == (
        "5 mg orally once daily"
    )


@pytest.mark.parametrize(
    ("text", "drug", "dose", "unit", "interval", "route", "hours"),
    [
        ("warfarin 5 mg po q24h", "warfarin", 5, "mg", 24, "oral", 0),
        ("1000 mg iv over 1 h q12h", "madeupril", 1000, "mg", 12, "iv", 1),
        ("vancomycin 1.5 g IV over 90 min every 12 hours", "vancomycin", 1.5, "g", 12, "iv", 1.5),
        ("5 mg once daily", "madeupril", 5, "mg", 24, "oral", 0),
        ("levothyroxine 75 µg orally every morning", "levothyroxine", 75, "mcg", 24, "oral", 0),
        ("semaglutide 0.25 mg subcutaneously once weekly", "semaglutide", 0.25, "mg", 168, "sc", 0),
        ("insulin glargine 20 units sc qhs", "insulin glargine", 20, "units", 24, "sc", 0),
        ("amoxicillin 1,000 mg tid", "amoxicillin", 1000, "mg", 8, "oral", 0),
        ("Take lisinopril 10 mg tablet by mouth daily", "lisinopril", 10, "mg", 24, "oral", 0),
        ("metoprolol 50 mg b.i.d.", "metoprolol", 50, "mg", 12, "oral", 0),
        ("methotrexate 15 mg po weekly", "methotrexate", 15, "mg", 168, "oral", 0),
        ("amiodarone 200 mg every other day", "amiodarone", 200, "mg", 48, "oral", 0),
        ("200 mg iv q21d", "madeupril", 200, "mg", 504, "iv", 0),
        ("400 mg iv q6w", "madeupril", 400, "mg", 1008, "iv", 0),
        ("40 mg sc every 2 weeks", "madeupril", 40, "mg", 336, "sc", 0),
        ("10 mg sc every three weeks", "madeupril", 10, "mg", 504, "sc", 0),
    ],
)
def test_an_order_is_read_as_it_is_meant(text, drug, dose, unit, interval, route, hours):
    read = parse_regimen(text, drug=ID if drug == "madeupril" else None)

    assert (read.drug, read.dose, read.unit) == (drug, dose, unit)
    assert (read.interval_h, read.route, read.duration_h) == (interval, route, hours)


def test_extended_release_is_read_from_the_name():
    read = parse_regimen("metoprolol succinate ER 100 mg daily")

    assert (read.drug, read.release) == ("metoprolol succinate", "extended")


def test_a_salt_after_the_drugs_name_is_still_that_drug():
    assert parse_regimen("metoprolol succinate ER 100 mg daily", drug=DrugId("metoprolol")).drug == "metoprolol"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5-10 mg daily", "range"),
        ("2,5 mg daily", "comma"),
        ("5 mg/kg q8h", "not a dose"),
        ("2 tablets of 5 mg bid", "not clear"),
        ("ibuprofen 400 mg prn", "as needed"),
        ("warfarin 5 mg", "no frequency"),
        ("warfarin daily", "no dose"),
        ("warfarin 5 mg q12h daily q8h", "more than one frequency"),
        ("warfarin 5 mg then 2 mg daily", "two doses"),
        ("5 mg daily", "no drug"),
        ("warfarin 0 mg daily", "dose of 0"),
        ("warfarin 5 mg po over 1 h daily", "without the iv route"),
        ("warfarin 5 mg po iv daily", "two routes"),
    ],
)
def test_an_unclear_order_is_refused(text, problem):
    with pytest.raises(InputError, match=problem):
        parse_regimen(text)


def test_an_order_of_another_drug_is_refused():
    with pytest.raises(InputError, match="not of madeupril"):
        parse_regimen("warfarin 5 mg daily", drug=ID)


@given(
    dose=st.sampled_from([0.25, 1.0, 2.5, 12.5, 100.0, 1000.0]),
    unit=st.sampled_from(["mg", "mcg", "g", "units"]),
    interval=st.sampled_from([4.0, 4.8, 6.0, 8.0, 12.0, 18.0, 24.0, 36.0, 48.0, 72.0, 84.0, 168.0]),
    route=st.sampled_from(["oral", "iv", "sc", "im", "transdermal", "rectal", "nasal", "sublingual", "inhaled"]),
    release=st.sampled_from(["", "extended"]),
)
def test_a_regimens_own_words_are_read_back(dose, unit, interval, route, release):
    release = "" if route == "iv" else release
    duration = 1.5 if route == "iv" else 0.0
    text = regimen_text(dose, unit, interval, route=route, release=release, duration_h=duration)
    read = parse_regimen(text, drug=ID)

    assert (read.dose, read.unit, read.interval_h, read.route) == (dose, unit, interval, route)
    assert (read.release, read.duration_h, read.text) == (release, duration, text)
