"""The closed forms against exact values, an ODE solver, and the laws that linear kinetics obey."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from posologist.core.errors import InputError, NumericsError
from posologist.core.regimen import DoseEvent
from posologist.twin.compartment import absorbed_peak_time, absorption, concentration, disposition, steady_state
from shared import shared_data

CL = st.floats(0.05, 100.0)
V = st.floats(1.0, 1000.0)
KA = st.floats(0.05, 5.0)
PAIR = st.tuples(st.floats(0.05, 100.0), st.floats(1.0, 500.0))
PERIPHERAL = st.lists(PAIR, max_size=2)
ROUTES = st.sampled_from([("oral", 0.0), ("iv", 0.0), ("iv", 1.5)])
TIMES = np.array([0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 11.0, 23.0, 47.0])


def _case_values(case):
    p = case["params"]
    model = disposition(p["CL"], p["V1"], peripheral=[(p[f"Q{i}"], p[f"V{i}"]) for i in (2, 3) if f"Q{i}" in p])
    absorbed = absorption(p["Ka"], p.get("F", 1.0), p.get("Tlag", 0.0)) if "Ka" in p else None
    doses = [
        DoseEvent(
            time_h=d["time"], amount_mg=d["amt"], route="oral" if d["route"] == "oral" else "iv",
            duration_h=d.get("dur", 0.0),
        )
        for d in case["doses"]
    ]  # fmt: skip
    if case["doses"][0].get("ss"):
        return steady_state(model, doses[0], case["doses"][0]["ii"], case["times_h"], absorbed=absorbed)[0]
    return concentration(model, doses, case["times_h"], absorbed=absorbed)[0]


def test_all_90_exact_reference_cases_agree_to_1e_9():
    cases = json.loads(shared_data("pk", "reference", "analytic_linear.json").read_text())["cases"]

    assert len(cases) == 90
    for case in cases:
        expected = np.array([float(text) for text in case["conc_mg_per_L"]])
        np.testing.assert_allclose(_case_values(case), expected, rtol=1e-9, atol=1e-13, err_msg=case["id"])


@pytest.mark.parametrize(("route", "duration"), [("oral", 0.0), ("iv", 0.0), ("iv", 3.0), ("oral", 4.0)])
@pytest.mark.parametrize("peripheral", [[], [(3.0, 40.0)], [(3.0, 40.0), (0.5, 90.0)]])
def test_closed_forms_agree_with_an_ode_solver(route, duration, peripheral):
    cl, v, ka, f, dose = 4.0, 20.0, 0.9, 0.7, 250.0
    k_out = [q / v for q, _ in peripheral]
    k_back = [q / vp for q, vp in peripheral]

    def slopes(t, y):
        depot, central, *outer = y
        rate = dose / duration * (t < duration) * (f if route == "oral" else 1.0) if duration else 0.0
        back = [k * x for k, x in zip(k_back, outer, strict=True)]
        flow = [k * central - b for k, b in zip(k_out, back, strict=True)]
        return [-ka * depot, ka * depot + rate - cl / v * central - sum(flow), *flow]

    start = [0.0, 0.0, *([0.0] * len(peripheral))]
    if not duration:
        start[0 if route == "oral" else 1] = dose * (f if route == "oral" else 1.0)
    times = np.array([0.5, 2.0, 2.9, 5.0, 12.0, 30.0])
    solved = solve_ivp(slopes, (0, 30), start, t_eval=times, rtol=1e-10, atol=1e-12, max_step=0.05, method="DOP853")
    event = DoseEvent(time_h=0.0, amount_mg=dose, route=route, duration_h=duration)
    answer = concentration(disposition(cl, v, peripheral=peripheral), [event], times, absorbed=absorption(ka, f))

    np.testing.assert_allclose(answer[0], solved.y[1] / v, rtol=2e-5)


@settings(max_examples=60, deadline=None)
@given(cl=CL, v=V, ka=KA, peripheral=PERIPHERAL, how=ROUTES, factor=st.floats(0.01, 100.0))
def test_concentration_is_proportional_to_dose(cl, v, ka, peripheral, how, factor):
    model, absorbed = disposition(cl, v, peripheral=peripheral), absorption(ka)
    one = DoseEvent(time_h=0.0, amount_mg=10.0, route=how[0], duration_h=how[1])
    many = one.model_copy(update={"amount_mg": 10.0 * factor})

    single = concentration(model, [one], TIMES, absorbed=absorbed)
    np.testing.assert_allclose(concentration(model, [many], TIMES, absorbed=absorbed), factor * single, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    cl=CL, v=V, ka=KA, peripheral=PERIPHERAL, how=ROUTES, gaps=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=6)
)
def test_doses_superpose_in_any_order(cl, v, ka, peripheral, how, gaps):
    model, absorbed = disposition(cl, v, peripheral=peripheral), absorption(ka, 0.6, 0.3)
    doses = [
        DoseEvent(time_h=t, amount_mg=5.0 + i, route=how[0], duration_h=how[1]) for i, t in enumerate(np.cumsum(gaps))
    ]

    together = concentration(model, doses, TIMES, absorbed=absorbed)
    backwards = concentration(model, doses[::-1], TIMES, absorbed=absorbed)
    apart = sum(concentration(model, [dose], TIMES, absorbed=absorbed) for dose in doses)
    np.testing.assert_allclose(together, apart, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(together, backwards, rtol=1e-12, atol=1e-300)


@settings(max_examples=60, deadline=None)
@given(v=V, ke=st.floats(0.05, 3.0), ka=KA, how=ROUTES, interval=st.floats(4.0, 48.0), lag=st.floats(0.0, 3.0))
def test_steady_state_is_the_limit_of_many_doses(v, ke, ka, how, interval, lag):
    model, absorbed = disposition(ke * v, v), absorption(ka, 0.8, lag if how[0] == "oral" else 0.0)
    dose = DoseEvent(time_h=0.0, amount_mg=100.0, route=how[0], duration_h=how[1])
    n = int(40.0 / (min(ke, ka) * interval)) + 3
    train = [dose.model_copy(update={"time_h": -k * interval}) for k in range(n)]
    times = interval * np.array([0.0, 0.03, 0.2, 0.5, 0.9, 1.0])

    limit = concentration(model, train, times, absorbed=absorbed)
    np.testing.assert_allclose(steady_state(model, dose, interval, times, absorbed=absorbed), limit, rtol=1e-9)


def test_infusions_longer_than_the_interval_overlap():
    model = disposition(3.0, 30.0, peripheral=[(2.0, 20.0)])
    dose = DoseEvent(time_h=0.0, amount_mg=100.0, route="iv", duration_h=20.0)
    train = [dose.model_copy(update={"time_h": -8.0 * k}) for k in range(200)]
    times = np.array([0.0, 1.0, 4.0, 7.9])

    limit = concentration(model, train, times)
    np.testing.assert_allclose(steady_state(model, dose, 8.0, times), limit, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(cl=CL, v=V, ka=KA, f=st.floats(0.05, 1.0), interval=st.floats(2.0, 48.0))
def test_area_over_one_interval_at_steady_state_is_dose_over_clearance(cl, v, ka, f, interval):
    dose = DoseEvent(time_h=0.0, amount_mg=100.0)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    pieces = interval * np.geomspace(1e-6, 1.0, 40)
    edges = np.concatenate([[0.0], pieces])
    model, absorbed = disposition(cl, v), absorption(ka, f)
    area = 0.0
    for low, high in itertools.pairwise(edges):
        times = (high - low) / 2 * nodes + (high + low) / 2
        area += (high - low) / 2 * float(weights @ steady_state(model, dose, interval, times, absorbed=absorbed)[0])

    assert area == pytest.approx(100.0 * f / cl, rel=1e-8)


@settings(max_examples=60, deadline=None)
@given(ke=st.floats(0.01, 3.0), nudge=st.floats(-1e-7, 1e-7), t=st.floats(0.01, 50.0))
def test_equal_rates_are_no_singularity(ke, nudge, t):
    exact = disposition(ke * 10.0, 10.0)
    dose = [DoseEvent(time_h=0.0, amount_mg=10.0)]

    near = concentration(exact, dose, [t], absorbed=absorption(ke * (1.0 + nudge)))[0, 0]
    assert near == pytest.approx(ke * t * np.exp(-ke * t), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(v=V, ke=st.floats(0.02, 2.0), ka=KA, interval=st.floats(4.0, 48.0))
def test_no_time_has_more_than_the_peak(v, ke, ka, interval):
    model, absorbed = disposition(ke * v, v), absorption(ka)
    dose = DoseEvent(time_h=0.0, amount_mg=10.0)
    peak = steady_state(
        model, dose, interval, absorbed_peak_time(model, interval, absorbed=absorbed), absorbed=absorbed
    )
    curve = steady_state(model, dose, interval, np.linspace(0.0, interval, 400), absorbed=absorbed)

    assert curve.max() <= peak[0, 0] * (1 + 1e-9)
    assert curve.max() >= peak[0, 0] * 0.98


def test_draws_are_answered_together_as_one_by_one():
    cl, v, ka = np.array([1.0, 5.0, 9.0]), np.array([20.0, 30.0, 80.0]), np.array([0.4, 1.0, 2.0])
    doses = [DoseEvent(time_h=0.0, amount_mg=50.0), DoseEvent(time_h=12.0, amount_mg=50.0)]
    together = concentration(disposition(cl, v), doses, TIMES, absorbed=absorption(ka, 0.5, 0.2))

    for i in range(3):
        alone = concentration(disposition(cl[i], v[i]), doses, TIMES, absorbed=absorption(ka[i], 0.5, 0.2))
        np.testing.assert_array_equal(together[i], alone[0])


def test_nothing_is_there_before_the_first_dose():
    model = disposition(5.0, 40.0)
    doses = [DoseEvent(time_h=4.0, amount_mg=10.0, route="iv"), DoseEvent(time_h=6.0, amount_mg=10.0)]

    assert not concentration(model, doses, [0.0, 3.9], absorbed=absorption(1.0)).any()


def test_impossible_parameters_are_refused():
    with pytest.raises(NumericsError, match="positive"):
        disposition(0.0, 10.0)
    with pytest.raises(NumericsError, match="ka > 0"):
        absorption(-1.0)
    with pytest.raises(InputError, match="no absorption"):
        concentration(disposition(1.0, 10.0), [DoseEvent(time_h=0.0, amount_mg=1.0)], [1.0])
    with pytest.raises(InputError, match="interval"):
        steady_state(disposition(1.0, 10.0), DoseEvent(time_h=0.0, amount_mg=1.0, route="iv"), 0.0, [1.0])
