"""The Runge-Kutta solver: SciPy agrees, the order is five, stops are reached, the hopeless ends with an error."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.integrate._ivp.rk import RK45

from posologist.core.errors import NumericsError
from posologist.twin import ode
from posologist.twin.ode import one_step, solve


def _oscillator(mu):
    def rate(_, y):
        return np.array([y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]])

    return rate


@pytest.mark.parametrize("method", ["DOP853", "LSODA"])
def test_states_are_those_of_scipy(method):
    times = np.linspace(0.0, 12.0, 41)

    found = solve(_oscillator(1.5), np.array([[2.0, -1.0], [0.0, 0.5]]), times, rtol=1e-9, atol=1e-11).states

    for draw, start in enumerate(([2.0, 0.0], [-1.0, 0.5])):
        oracle = solve_ivp(_oscillator(1.5), (0, 12), start, method=method, rtol=1e-11, atol=1e-12, t_eval=times)
        np.testing.assert_allclose(found[:, :, draw].T, oracle.y, rtol=1e-6, atol=1e-6)


def test_coefficients_are_those_of_the_pair():
    np.testing.assert_allclose(ode._DENSE, RK45.P, rtol=1e-14)
    np.testing.assert_allclose(np.abs(ode._ERROR), np.abs(RK45.E), rtol=1e-14)
    for row, node in zip(ode._STAGES, ode._NODES, strict=True):
        assert row.sum() == pytest.approx(node, abs=1e-15)


def _error_of_fixed_steps(count):
    y = np.array([[1.0], [0.0]])
    for n in range(count):
        y = one_step(lambda t, y: np.array([y[1], -np.sin(y[0]) + 0.1 * np.cos(t)]), 4.0 * n / count, y, 4.0 / count)
        y = y.states
    exact = solve_ivp(
        lambda t, y: [y[1], -np.sin(y[0]) + 0.1 * np.cos(t)], (0, 4), [1, 0], method="DOP853", rtol=1e-13, atol=1e-13
    )
    return np.abs(y[:, 0] - exact.y[:, -1]).max()


def test_the_order_is_five():
    order = np.log2(_error_of_fixed_steps(16) / _error_of_fixed_steps(32))

    assert 4.6 < order < 5.6


def test_a_tighter_tolerance_gives_a_smaller_error_and_more_steps():
    exact = np.exp(-np.linspace(0, 5, 6))
    results = [solve(lambda _, y: -y, [[1.0]], np.linspace(0, 5, 6), rtol=tol, atol=tol) for tol in (1e-5, 1e-8, 1e-11)]
    errors = [np.abs(r.states[:, 0, 0] - exact).max() for r in results]

    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-10
    assert results[0].steps < results[1].steps < results[2].steps


def test_every_draw_meets_the_tolerance_of_the_worst():
    speeds = np.array([0.01, 1.0, 40.0])

    found = solve(lambda _, y: -speeds * y, np.ones((1, 3)), [0.1, 1.0, 3.0], rtol=1e-9, atol=1e-12).states

    exact = np.exp(-np.outer([0.1, 1.0, 3.0], speeds))
    np.testing.assert_allclose(found[:, 0], exact, rtol=1e-6, atol=1e-10)


def test_a_jump_of_the_input_is_reached_exactly():
    times = np.array([0.5, 1.0, 1.0 + 1e-9, 2.0])

    found = solve(lambda t, _: np.array([[5.0 if t <= 1.0 else 0.0]]), [[0.0]], times, stops=[1.0, 7.0]).states

    np.testing.assert_allclose(found[:3, 0, 0], [2.5, 5.0, 5.0], rtol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=6).map(sorted))
def test_what_is_asked_does_not_change_what_is_found(times):
    asked = solve(_oscillator(1.0), [[1.0], [0.0]], times, rtol=1e-9, atol=1e-10).states

    for n, moment in enumerate(times):
        alone = solve(_oscillator(1.0), [[1.0], [0.0]], [moment], rtol=1e-9, atol=1e-10).states[0]
        np.testing.assert_allclose(asked[n], alone, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "rate, words",
    [
        (lambda _, y: y**2, "diverges"),
        (lambda t, y: -1e9 * (y - np.cos(t)), "step limit"),
        (lambda t, y: y * np.nan if t > 1 else -y, "not finite"),
        (lambda _, y: y * np.inf, "not finite"),
    ],
    ids=["blow-up", "stiff", "not a number later", "infinite"],
)
def test_a_hopeless_system_ends_with_an_error_in_time(rate, words):
    began = time.process_time()

    with pytest.raises(NumericsError, match=words):
        solve(rate, np.ones((1, 2)), [0.0, 1000.0])

    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "arguments",
    [
        {"times": [1.0, 0.5]},
        {"times": [-1.0]},
        {"times": [np.nan]},
        {"times": [1.0], "rtol": 0.0},
        {"times": [1.0], "atol": -1.0},
        {"times": [1.0], "initial": [1.0]},
        {"times": [1.0], "initial": [[np.nan]]},
    ],
)
def test_impossible_requests_are_refused(arguments):
    given = {"initial": [[1.0]], **arguments}

    with pytest.raises(NumericsError):
        solve(lambda _, y: -y, given.pop("initial"), given.pop("times"), **given)


def test_no_times_and_the_start_itself_need_no_step():
    assert solve(lambda _, y: -y, [[1.0]], []).states.shape == (0, 1, 1)
    assert solve(lambda _, y: -y, [[3.0]], [0.0]).states[0, 0, 0] == 3.0
