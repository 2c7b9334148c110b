"""Levels at steady state for a dose search, against the closer integration; and the search for a dose itself."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posologist.core.errors import NumericsError
from posologist.twin.events import EventTable, Record
from posologist.twin.goals import Shape, dose_reaching, steady_curve, steady_curves
from posologist.twin.linear import predict as predict_linear
from posologist.twin.nonlinear import predict_nonlinear
from posologist.twin.steady_levels import ACCURACY, steady_levels
from twin_models import PlainModel

DRAWS = 40


def _model(**changed):
    fields = {"compartments": 1, "absorption": "first-order", "elimination": "michaelis-menten", **changed}
    return PlainModel(equations=dict, random=(), omega=(), residual=(), **fields)


def _drawn(n=DRAWS, seed=0, **typical):
    rng = np.random.default_rng(seed)
    return {name: value * np.exp(rng.normal(0, 0.25, n)) for name, value in typical.items()}


SATURABLE = {"VMAX": 20.0, "KM": 3.0, "V1": 40.0}
CASES = {
    "bolus": (_model(absorption="none"), SATURABLE, Shape(12.0, 0.0, 0), 60.0),
    "infusion": (_model(absorption="none"), SATURABLE, Shape(12.0, 2.0, 0), 100.0),
    "infusion longer than the interval": (_model(absorption="none"), SATURABLE, Shape(6.0, 8.0, 0), 40.0),
    "absorbed": (_model(), {**SATURABLE, "KA": 1.2}, Shape(24.0, 0.0, 0), 150.0),
    "transit": (_model(absorption="transit", transit=4), {**SATURABLE, "KTR": 2.0}, Shape(24.0, 0.0, 0), 150.0),
    "mixed, two compartments": (
        _model(compartments=2, elimination="mixed"),
        {**SATURABLE, "CL": 2.0, "KA": 0.9, "Q": 5.0, "V2": 60.0},
        Shape(8.0, 0.0, 0),
        100.0,
    ),
    "three compartments, into the second": (
        _model(compartments=3),
        {**SATURABLE, "KA": 1.0, "Q": 5.0, "V2": 60.0, "Q3": 1.0, "V3": 90.0},
        Shape(12.0, 1.0, 2),
        60.0,
    ),
    "close to saturation": (_model(), {**SATURABLE, "KA": 1.2}, Shape(24.0, 0.0, 0), 240.0),
}


def _closely(model, parameters, shape, dose, at):
    rate = dose / shape.infusion if shape.infusion else 0.0
    start = Record(0.0, evid=1, amt=dose, rate=rate, cmt=shape.cmt, ii=shape.interval, ss=1, mdv=1)
    records = (start, *(Record(float(t), mdv=1) for t in at))
    return predict_nonlinear(model, [parameters] * len(records), EventTable("1", records))[:, 1:]


def _away(found, expected):
    return np.max(np.abs(found - expected) / expected.max(axis=1, keepdims=True))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lag", [0.0, 1.3])
def test_levels_are_those_of_the_closer_integration(name, lag):
    model, typical, shape, dose = CASES[name]
    parameters = {**_drawn(**typical), "LAG": np.full(DRAWS, lag)}
    parameters["VMAX"] = np.maximum(parameters["VMAX"], dose / shape.interval / 0.95)
    at = np.linspace(0.0, shape.interval, 37)

    found = steady_levels(
        model, parameters, np.full(DRAWS, dose), at, interval=shape.interval, infusion=shape.infusion, cmt=shape.cmt
    )

    assert _away(found, _closely(model, parameters, shape, dose, at)) < ACCURACY


def test_draws_with_lags_of_their_own_have_the_levels_of_the_closer_integration():
    model, typical, shape, dose = CASES["absorbed"]
    parameters = _drawn(**typical, LAG=1.0)
    curve = steady_curve(model, parameters, shape, dose)

    assert _away(curve.points, _closely(model, parameters, shape, dose, curve.times)) < ACCURACY


@pytest.mark.parametrize("name", CASES)
def test_the_area_at_steady_state_balances_what_is_given(name):
    """What is eliminated over an interval is the dose: the integral of VMAX C / (KM + C) + CL C."""
    model, typical, shape, dose = CASES[name]
    parameters = {**_drawn(**typical), "F": np.full(DRAWS, 0.8)}
    given_dose = 0.8 * dose if shape.cmt < 2 else dose
    parameters["VMAX"] = np.maximum(parameters["VMAX"], dose / shape.interval / 0.95)
    times = np.unique(np.concatenate([np.linspace(0.0, shape.interval, 4001), np.linspace(0.0, 1.0, 2001)]))
    levels = steady_levels(
        model, parameters, np.full(DRAWS, dose), times, interval=shape.interval, infusion=shape.infusion, cmt=shape.cmt
    )
    lost = parameters["VMAX"][:, None] * levels / (parameters["KM"][:, None] + levels)
    lost += parameters.get("CL", np.zeros(DRAWS))[:, None] * levels

    np.testing.assert_allclose(np.trapezoid(lost, times, axis=1), given_dose, rtol=1e-4)


def test_doses_of_one_shape_together_are_each_alone():
    model, typical, shape, _ = CASES["absorbed"]
    cases = [(_drawn(seed=n, **typical), dose) for n, dose in enumerate((30.0, 90.0, 150.0))]

    for (parameters, dose), curve in zip(cases, steady_curves(model, shape, cases), strict=True):
        alone = steady_curve(model, parameters, shape, dose)
        assert _away(curve.points, alone.points) < ACCURACY
        np.testing.assert_allclose(curve.auc24, alone.auc24, rtol=ACCURACY)


def test_a_dose_without_a_steady_state_leaves_the_others_alone():
    model, typical, shape, _ = CASES["absorbed"]
    parameters = {name: np.full(3, value) for name, value in typical.items()}
    low, beyond, high = steady_curves(model, shape, [(parameters, dose) for dose in (100.0, 1000.0, 200.0)])

    assert isinstance(beyond, NumericsError)
    assert np.all(low.auc24 < high.auc24 / 2)


@given(
    goal=st.floats(0.5, 90.0),
    kind=st.sampled_from(["straight", "root", "saturating", "steep", "jump"]),
    first=st.sampled_from([1.0, 20.0]),
)
@settings(max_examples=100, deadline=None)
def test_a_search_ends_at_the_dose_that_reads_the_goal(goal, kind, first):
    asked = []
    answers = {
        "straight": lambda d: 0.3 * d,
        "root": lambda d: 2.0 * math.sqrt(d),
        "saturating": lambda d: 100.0 * d / (50.0 + d),
        "steep": lambda d: d / (1000.0 - d) if d < 999.0 else math.inf,
        "jump": lambda d: 0.0 if d < 77.0 else 95.0,
    }

    def read(dose):
        asked.append(dose)
        return answers[kind](dose)

    dose = dose_reaching(read, goal, first=first)

    assert dose is not None
    assert len(asked) <= (60 if kind == "jump" else 25)
    assert answers[kind](dose * (1 - 1e-5)) <= goal <= answers[kind](dose * (1 + 1e-5))


@pytest.mark.parametrize(
    ("read", "goal"),
    [(lambda d: 100.0 * d / (50.0 + d), 101.0), (lambda d: 5.0 + d, 4.0), (lambda d: 5.0, 4.0), (lambda d: 5.0, 6.0)],
)
def test_a_goal_that_no_dose_reads_has_no_answer(read, goal):
    assert dose_reaching(read, goal) is None


@pytest.mark.parametrize(
    ("absorption", "typical", "shape"),
    [
        ("none", {}, Shape(12.0, 0.0, 0)),
        ("none", {}, Shape(12.0, 2.0, 0)),
        ("none", {}, Shape(6.0, 15.0, 0)),
        ("first-order", {"KA": 1.1, "F": 0.7, "LAG": 0.8}, Shape(24.0, 0.0, 0)),
        ("first-order", {"KA": 1.1}, Shape(24.0, 1.0, 2)),
    ],
)
def test_the_curve_of_a_linear_model_is_that_of_its_records(absorption, typical, shape):
    model = _model(compartments=2, absorption=absorption, elimination="linear")
    parameters = _drawn(CL=4.0, V1=30.0, Q=5.0, V2=60.0, **typical)
    parameters |= {"F": np.minimum(parameters["F"], 1.0)} if "F" in parameters else {}
    curve = steady_curve(model, parameters, shape, 250.0)
    rate = 250.0 / shape.infusion if shape.infusion else 0.0
    dose = Record(0.0, evid=1, amt=250.0, rate=rate, cmt=shape.cmt, ii=shape.interval, ss=1, mdv=1)
    records = (dose, *(Record(float(t), mdv=1) for t in curve.times))
    expected = predict_linear(model, [parameters] * len(records), EventTable("1", records))[:, 1:]
    doubled = curve.scaled(2.0)

    np.testing.assert_allclose(curve.points, expected, rtol=1e-9)
    np.testing.assert_allclose(curve.trough, curve.points[:, -1], rtol=1e-12)
    bioavailable = 250.0 * parameters.get("F", np.ones(DRAWS)) if shape.cmt != 2 else np.full(DRAWS, 250.0)
    np.testing.assert_allclose(curve.auc24, bioavailable * 24 / shape.interval / parameters["CL"], rtol=1e-12)
    for values, twice in ((curve.points, doubled.points), (curve.peak, doubled.peak), (curve.auc24, doubled.auc24)):
        np.testing.assert_allclose(twice, 2.0 * values, rtol=1e-12)
