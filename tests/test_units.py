"""Units: pint agrees, round trips return, and what does not convert says so."""

from functools import cache

import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.core.errors import InputError
from posologist.core.units import _SPELLINGS, _TABLE, convert, dimension, is_known, ucum
from posologist.knowledge.load import load_knowledge

# UCUM code -> the same unit in pint's words; activities, counts and percentages are ratios of one kind
PINT = {
    "kg": "kg", "g": "g", "mg": "mg", "ug": "ug", "ng": "ng", "[lb_av]": "lb", "[oz_av]": "oz",
    "m": "m", "cm": "cm", "mm": "mm", "[in_i]": "inch", "[ft_i]": "foot",
    "s": "s", "min": "minute", "h": "hour", "d": "day", "wk": "week", "a": "julian_year", "ms": "ms",
    "L": "L", "dL": "dL", "mL": "mL", "uL": "uL",
    "g/L": "g/L", "g/dL": "g/dL", "mg/dL": "mg/dL", "mg/L": "mg/L", "ug/mL": "ug/mL", "ug/L": "ug/L", "ng/mL": "ng/mL",
    "ug/dL": "ug/dL", "pg/mL": "pg/mL", "ng/L": "ng/L", "mg/mL": "mg/mL", "ng/dL": "ng/dL", "kg/m3": "kg/m**3",
    "mol/L": "mol/L", "mmol/L": "mmol/L", "umol/L": "umol/L", "nmol/L": "nmol/L", "pmol/L": "pmol/L",
    "mmol/mL": "mmol/mL",
    "mm[Hg]": "mmHg", "kPa": "kPa", "cm[H2O]": "cmH2O", "/min": "1/minute", "/s": "1/s", "Hz": "1/s",
    "mL/min": "mL/minute", "L/h": "L/hour", "mL/s": "mL/s", "L/min": "L/minute",
    "mg/g": "mg/g", "ug/mg": "ug/mg", "g/g": "g/g", "mg/mmol": "mg/mmol", "g/mol": "g/mol",
    "10*3/uL": "1e3/uL", "10*9/L": "1e9/L", "/uL": "1/uL", "10*6/uL": "1e6/uL", "10*12/L": "1e12/L",
    "ng/mL/h": "ng/mL/hour", "ug/L/h": "ug/L/hour", "mmol/(24.h)": "mmol/(24*hour)", "mmol/d": "mmol/day",
    "h.mg/L": "hour*mg/L", "h.ng/mL": "hour*ng/mL", "h.ug/L": "hour*ug/L",
}  # fmt: skip
AMOUNTS = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False)
CODES = sorted(_TABLE)
PAIRS = [(a, b) for a in CODES for b in CODES if _TABLE[a][0] == _TABLE[b][0]]


@cache
def registry() -> pint.UnitRegistry:
    """Pint's own definitions."""
    return pint.UnitRegistry()


@pytest.mark.parametrize(("source", "target"), [(a, b) for a, b in PAIRS if a in PINT and b in PINT and a != b])
def test_pint_agrees(source: str, target: str) -> None:
    expected = registry()(PINT[source]).to(registry()(PINT[target]).units) / registry()(PINT[target])

    assert convert(1.0, source, target) == pytest.approx(float(expected.magnitude), rel=1e-6)


def test_the_oracle_covers_every_unit_that_it_knows() -> None:
    own = {
        "mo",
        "meq/L",
        "mL/min/{1.73_m2}",
        "%",
        "1",
        "mmol/mol",
        "Cel",
        "[degF]",
        "U/L",
        "[iU]/L",
        "ukat/L",
        "m[iU]/L",
    }
    own |= {"u[iU]/mL", "kg/m2", "m2", "{INR}", "{score}", "{mutations}/Mb", "1/1000000{Base}"}

    assert set(CODES) - set(PINT) - own == set()


@given(AMOUNTS, st.sampled_from(PAIRS))
def test_there_and_back_is_the_same_value(value: float, pair: tuple[str, str]) -> None:
    source, target = pair

    assert convert(convert(value, source, target), target, source) == pytest.approx(value, rel=1e-12)


@given(AMOUNTS, AMOUNTS, st.sampled_from(PAIRS))
def test_conversion_is_linear(one: float, two: float, pair: tuple[str, str]) -> None:
    source, target = pair
    together = convert(one + two, source, target)

    assert together == pytest.approx(convert(one, source, target) + convert(two, source, target), rel=1e-9)


@given(AMOUNTS, st.floats(min_value=10, max_value=2000))
def test_mass_and_molar_concentrations_round_trip(value: float, molar_mass: float) -> None:
    molar = convert(value, "mg/dL", "umol/L", molar_mass=molar_mass)

    assert convert(molar, "umol/L", "mg/dL", molar_mass=molar_mass) == pytest.approx(value, rel=1e-12)


@given(AMOUNTS, st.integers(1, 3))
def test_equivalents_round_trip(value: float, valence: int) -> None:
    molar = convert(value, "meq/L", "mmol/L", valence=valence)

    assert molar == pytest.approx(value / valence, rel=1e-12)
    assert convert(molar, "mmol/L", "meq/L", valence=valence) == pytest.approx(value, rel=1e-12)


@given(st.floats(min_value=-50, max_value=150))
def test_temperatures_agree_with_pint(value: float) -> None:
    expected = registry().Quantity(value, "degF").to("degC").magnitude

    assert convert(value, "[degF]", "Cel") == pytest.approx(expected, abs=1e-9)
    assert convert(convert(value, "[degF]", "Cel"), "Cel", "[degF]") == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "source", "target", "molar_mass", "expected"),
    [
        (1.0, "mg/dL", "umol/L", 113.12, 88.40),  # creatinine
        (100.0, "mg/dL", "mmol/L", 180.156, 5.551),  # glucose
        (200.0, "mg/dL", "mmol/L", 386.65, 5.172),  # cholesterol
        (3.0, "mg/mmol", "mg/g", 113.12, 26.5),  # albumin/creatinine
        (53.0, "mmol/mol", "%", None, 7.0),  # HbA1c, NGSP master equation
    ],
)
def test_published_conversions(
    value: float, source: str, target: str, molar_mass: float | None, expected: float
) -> None:
    assert convert(value, source, target, molar_mass=molar_mass) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("written", "code"), sorted(_SPELLINGS.items()))
def test_every_spelling_means_a_unit_of_the_table(written: str, code: str) -> None:
    assert code in _TABLE
    assert ucum(f" {written} ") == code


@given(st.sampled_from([(a, b) for a in CODES for b in CODES if _TABLE[a][0] != _TABLE[b][0]]))
def test_units_of_different_kinds_do_not_convert_without_being_told_how(pair: tuple[str, str]) -> None:
    told = {
        ("temperature F", "temperature C"), ("temperature C", "temperature F"), ("ifcc fraction", "fraction"),
        ("fraction", "ifcc fraction"), ("equivalents/volume", "moles/volume"), ("moles/volume", "equivalents/volume"),
    }  # fmt: skip
    if (dimension(pair[0]), dimension(pair[1])) in told:
        return

    with pytest.raises(InputError, match="do not convert"):
        convert(1.0, *pair)


@given(st.text(max_size=10).filter(lambda text: not is_known(text)))
def test_an_unknown_unit_is_a_clear_error(text: str) -> None:
    with pytest.raises(InputError, match="is not known"):
        convert(1.0, text, "mg")


def test_every_analyte_takes_its_own_unit_and_refuses_a_length() -> None:
    for analyte in load_knowledge().codes.analytes.values():
        if analyte.unit:
            assert analyte.canonical(1.0, analyte.unit) == 1.0
            if analyte.key != "height":
                with pytest.raises(InputError):
                    analyte.canonical(1.0, "cm")
