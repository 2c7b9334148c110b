"""Saturable elimination: exact references, SciPy, mass balance, the linear limit, steady states, NONMEM's events."""

import csv
import json
import time
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from posologist.core.errors import InputError, NumericsError
from posologist.core.regimen import DoseEvent
from posologist.twin import compartment
from posologist.twin.nonlinear import course, predict_nonlinear
from shared import shared_data


@dataclass(frozen=True)
class Row:
    time: float
    evid: int = 0
    amt: float = 0.0
    rate: float = 0.0
    cmt: int = 0
    ii: float = 0.0
    addl: int = 0
    ss: int = 0


@dataclass(frozen=True)
class Table:
    records: tuple[Row, ...]


@dataclass(frozen=True)
class Model:
    compartments: int = 1
    absorption: str = "none"
    transit: int = 0
    elimination: str = "michaelis-menten"
    scale: float = 1.0


def _predict(model, p, *rows, **options):
    return predict_nonlinear(model, [p] * len(rows), Table(rows), **options)


def _course(model, p, *rows, **options):
    return course(model, [p] * len(rows), Table(rows), **options)


def _dose(at=0.0, amt=100.0, **fields):
    return Row(at, evid=1, amt=amt, **fields)


def _reference(name):
    extra = json.loads((shared_data("pk") / "reference" / "analytic_linear.json").read_text())["extra"]
    return next(case for case in extra if case["id"] == name)


TWO = {"V1": [20.0, 35.0, 50.0], "Q": [4.0, 2.0, 9.0], "V2": [40.0, 20.0, 70.0], "KA": [1.2, 0.4, 2.0]}
MIXED = {**TWO, "CL": [0.5, 1.0, 0.2], "VMAX": [8.0, 15.0, 30.0], "KM": [2.0, 4.0, 0.8]}


# Exact references


def test_a_bolus_is_the_lambert_w_solution():
    case = _reference("S-mm-bolus")
    p = {"V1": [case["V_L"]], "VMAX": [case["Vmax_mg_per_h"]], "KM": [case["Km_mg_per_L"]]}

    found = _predict(Model(), p, _dose(amt=case["dose_mg"]), *(Row(float(t)) for t in case["times_h"]))

    expected = [float(value) for value in case["conc_mg_per_L"]]
    np.testing.assert_allclose(found[0, 1:], expected, rtol=case["rel_tol"])


def test_an_endless_infusion_reaches_its_closed_form():
    case = _reference("S-mm-ss")
    p = {"V1": [30.0], "VMAX": [case["Vmax_mg_per_day"] / 24], "KM": [case["Km_mg_per_L"]]}

    found = _predict(Model(), p, Row(0.0, evid=1, rate=case["R_mg_per_day"] / 24, ss=1))

    assert found[0, 0] == pytest.approx(float(case["css_mg_per_L"]), rel=case["rel_tol"])


def test_repeated_infusions_without_gap_reach_the_same_steady_state():
    case = _reference("S-mm-ss")
    p = {"V1": [30.0], "VMAX": [case["Vmax_mg_per_day"] / 24], "KM": [case["Km_mg_per_L"]]}
    rate = case["R_mg_per_day"] / 24

    found = _predict(Model(), p, _dose(amt=8 * rate, rate=rate, ii=8.0, ss=1), Row(1.0), Row(7.5))

    np.testing.assert_allclose(found, float(case["css_mg_per_L"]), rtol=1e-7)


@pytest.mark.parametrize("name", ["S-erlang-3", "S-erlang-5"])
def test_a_transit_chain_is_the_erlang_solution(name):
    case = _reference(name)
    p = {"V1": [case["V_L"]], "CL": [case["CL_L_per_h"]], "KTR": [case["ktr_per_h"]]}
    model = Model(absorption="transit", transit=int(name[-1]), elimination="linear")

    found = _predict(model, p, _dose(amt=case["dose_mg"]), *(Row(float(t)) for t in case["times_h"]), rtol=1e-10)

    np.testing.assert_allclose(found[0, 1:], [float(v) for v in case["conc_mg_per_L"]], rtol=1e-8)


# SciPy


def _scipy(p, n, feeds, times):
    """Two compartments, mixed elimination; `feeds(t)` is the input into (depot, central)."""
    v1, q, v2, ka, cl, vmax, km = (p[name][n] for name in ("V1", "Q", "V2", "KA", "CL", "VMAX", "KM"))

    def slope(t, a):
        depot, central = feeds(t)
        c = a[1] / v1
        exchange = q * c - q / v2 * a[2]
        return [depot - ka * a[0], central + ka * a[0] - cl * c - vmax * c / (km + c) - exchange, exchange]

    found = solve_ivp(
        slope, (0, times[-1]), [100.0, 0, 0], method="LSODA", rtol=1e-11, atol=1e-11, t_eval=times, max_step=0.05
    )
    return found.y[1] / v1


def test_mixed_elimination_of_two_compartments_is_that_of_scipy():
    times = [0.5, 1.0, 2.0, 4.0, 7.0, 12.0]
    rows = (_dose(), _dose(amt=60.0, rate=30.0, cmt=2), *map(Row, times))

    found = _predict(Model(2, "first-order", elimination="mixed"), MIXED, *rows)

    for n in range(3):
        oracle = _scipy(MIXED, n, lambda t: (0.0, 30.0 if t <= 2 else 0.0), times)
        np.testing.assert_allclose(found[n, 2:], oracle, rtol=1e-6, atol=1e-6)


def test_a_lag_of_every_draw_is_its_own():
    lags = np.array([0.0, 0.7, 3.3])
    times = [0.5, 1.0, 3.5, 6.0]

    together = _predict(Model(2, "first-order", elimination="mixed"), {**MIXED, "LAG": lags}, _dose(), *map(Row, times))

    for n, lag in enumerate(lags):
        one = {name: values[n : n + 1] for name, values in MIXED.items()}
        moved = _predict(
            Model(2, "first-order", elimination="mixed"), one, _dose(), *(Row(t - lag) for t in times if t > lag)
        )
        late = [k for k, t in enumerate(times) if t > lag]
        np.testing.assert_allclose(together[n, 1:][late], moved[0, 1:], rtol=1e-6)
        np.testing.assert_array_equal(together[n, 1:][: late[0]], 0.0)


# The linear limit


def _linear_limit(v1, clearance):
    """VMAX and KM of an elimination that never saturates."""
    km = 1e9
    return {"VMAX": np.asarray(clearance) * km, "KM": np.full(np.shape(v1), km)}


def _closed(p, clearance, doses, times, absorbed=None):
    model = compartment.disposition(clearance, p["V1"], peripheral=[(p["Q"], p["V2"])])
    return compartment.concentration(model, doses, times, absorbed=absorbed)


def test_without_saturation_boluses_and_infusions_are_the_closed_form():
    clearance = np.array([1.0, 3.0, 8.0])
    p = {**TWO, **_linear_limit(TWO["V1"], clearance)}
    times = [1.0, 2.0, 8.0, 13.0, 30.0]
    rows = (_dose(), _dose(amt=50.0, rate=25.0), *map(Row, times[:3]), _dose(12.0, amt=70.0), *map(Row, times[3:]))

    found = _predict(Model(2), p, *rows)

    doses = [
        DoseEvent(time_h=0.0, amount_mg=100.0, route="iv"),
        DoseEvent(time_h=0.0, amount_mg=50.0, route="iv", duration_h=2.0),
        DoseEvent(time_h=12.0, amount_mg=70.0, route="iv"),
    ]
    np.testing.assert_allclose(found[:, [2, 3, 4, 6, 7]], _closed(p, clearance, doses, times), rtol=1e-6)


@pytest.mark.parametrize("absorption", ["first-order", "zero-order"])
def test_without_saturation_absorbed_doses_are_the_closed_form(absorption):
    clearance = np.array([1.0, 3.0, 8.0])
    f, lag = np.array([0.5, 0.9, 1.0]), np.array([0.0, 0.25, 1.5])
    p = {**TWO, **_linear_limit(TWO["V1"], clearance), "F": f, "LAG": lag, "D": np.full(3, 3.0)}
    times = [1.0, 2.0, 5.0, 9.0, 20.0]

    found = _predict(Model(2, absorption), p, _dose(ii=6.0, addl=1), *map(Row, times))

    absorbed = compartment.absorption(TWO["KA"], f, lag)
    duration = 3.0 if absorption == "zero-order" else 0.0
    doses = [DoseEvent(time_h=t, amount_mg=100.0, route="oral", duration_h=duration) for t in (0.0, 6.0)]
    np.testing.assert_allclose(found[:, 1:], _closed(p, clearance, doses, times, absorbed), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "dose, route, duration",
    [
        (_dose(ii=8.0, ss=1, cmt=2), "iv", 0.0),
        (_dose(ii=8.0, ss=1, cmt=2, rate=50.0), "iv", 2.0),
        (_dose(ii=8.0, ss=1, cmt=2, rate=5.0), "iv", 20.0),
        (_dose(ii=8.0, ss=1), "oral", 0.0),
    ],
    ids=["bolus", "infusion", "overlapping infusions", "absorbed after a lag"],
)
def test_without_saturation_the_steady_state_is_the_closed_form(dose, route, duration):
    clearance, lag = np.array([1.0, 3.0, 8.0]), np.array([0.0, 0.5, 3.0])
    p = {**TWO, **_linear_limit(TWO["V1"], clearance), "LAG": lag}
    times = np.array([0.25, 1.0, 3.5, 6.0])

    found = _predict(Model(2, "first-order"), p, dose, *map(Row, times), rtol=1e-9)

    model = compartment.disposition(clearance, p["V1"], peripheral=[(p["Q"], p["V2"])])
    event = DoseEvent(time_h=0.0, amount_mg=100.0, route=route, duration_h=duration)
    absorbed = compartment.absorption(p["KA"], 1.0, lag)
    expected = compartment.steady_state(model, event, 8.0, times, absorbed=absorbed)
    np.testing.assert_allclose(found[:, 1:], expected, rtol=1e-6)


# Steady state of what saturates


@pytest.mark.parametrize("lag", [0.0, 2.5, 9.0, 30.0])
@pytest.mark.parametrize("rate", [0.0, 20.0, 4.0], ids=["bolus", "infusion", "overlapping"])
def test_a_steady_state_repeats_itself(lag, rate):
    p = {**MIXED, "LAG": np.full(3, lag)}
    rows = (_dose(amt=60.0, rate=rate, ii=12.0, ss=1, addl=3), *(Row(12.0 * n + 1.0) for n in range(3)))

    found = _predict(Model(2, "first-order", elimination="mixed"), p, *rows)

    np.testing.assert_allclose(found[:, 2:], found[:, 1:2].repeat(2, axis=1), rtol=1e-6)


def test_a_steady_state_is_where_single_doses_lead():
    p = {"V1": [40.0], "VMAX": [20.0], "KM": [4.0], "KA": [0.8]}
    model = Model(absorption="first-order")

    steady = _predict(model, p, _dose(amt=120.0, ii=12.0, ss=1), Row(3.0))
    long = _predict(model, p, _dose(amt=120.0, ii=12.0, addl=80), Row(80 * 12.0 + 3.0))

    assert steady[0, 1] == pytest.approx(long[0, 1], rel=1e-6)


def test_close_to_saturation_the_steady_state_balances_what_is_given():
    p = {"V1": [40.0, 40.0], "VMAX": [10.05, 10.5], "KM": [4.0, 4.0]}
    rows = (_dose(amt=80.0, ii=8.0, ss=1), Row(8.0))

    found = _course(Model(), p, *rows, rtol=1e-10)

    np.testing.assert_allclose(found.amounts[1, -1], 80.0, rtol=1e-5)  # eliminated in one interval


@pytest.mark.parametrize("row", [_dose(amt=90.0, ii=8.0, ss=1), Row(0.0, evid=1, rate=11.0, ss=1)])
def test_doses_beyond_what_can_be_eliminated_have_no_steady_state(row):
    p = {"V1": [40.0, 40.0], "VMAX": [30.0, 10.0], "KM": [4.0, 4.0]}

    with pytest.raises(NumericsError, match="no steady state"):
        _predict(Model(), p, row)


def test_an_endless_infusion_far_beyond_saturation_leaves_by_the_linear_way():
    p = {"V1": [40.0, 40.0], "CL": [2.0, 1e-9], "VMAX": [10.0, 10.0], "KM": [1e-6, 4.0]}

    found = _predict(Model(elimination="mixed"), p, Row(0.0, evid=1, rate=1e6, ss=1))[:, 0]

    np.testing.assert_allclose(found, [(1e6 - 10.0) / 2.0, (1e6 - 10.0) / 1e-9], rtol=1e-9)


def test_an_endless_infusion_ends_at_its_record_and_keeps_every_compartment_full():
    p = {**MIXED, "VMAX": [20.0, 20.0, 20.0]}
    model = Model(2, "first-order", elimination="mixed")

    ended = _course(model, p, Row(0.0, evid=1, rate=5.0, ss=1), Row(0.0), Row(3.0))
    kept = _course(model, p, Row(0.0, evid=1, rate=5.0, ss=1), _dose(amt=50.0, rate=5.0), Row(3.0))

    np.testing.assert_allclose(kept.concentrations[:, 2], kept.concentrations[:, 0], rtol=1e-7)
    assert np.all(ended.concentrations[:, 2] < 0.999 * ended.concentrations[:, 0])


# Laws


@settings(max_examples=25, deadline=None)
@given(
    st.floats(1.0, 500.0), st.floats(0.5, 30.0), st.floats(0.1, 20.0), st.floats(0.0, 3.0), st.sampled_from([0.0, 25.0])
)
def test_what_was_given_is_there_or_eliminated(amount, vmax, km, lag, rate):
    p = {**MIXED, "VMAX": np.full(3, vmax), "KM": np.full(3, km), "LAG": np.full(3, lag), "F": [0.4, 0.8, 1.0]}
    rows = (_dose(amt=amount, rate=rate, ii=5.0, addl=2), Row(200.0))

    found = _course(Model(2, "first-order", elimination="mixed"), p, *rows)

    np.testing.assert_allclose(found.amounts[1].sum(axis=0), 3 * amount * np.array(p["F"]), rtol=1e-9)
    assert np.all(found.amounts[1] >= -1e-9 * amount)


def test_twice_the_dose_gives_more_than_twice_the_exposure():
    p = {"V1": [40.0], "VMAX": [10.0], "KM": [4.0]}
    rows = [Row(float(t)) for t in range(1, 30)]

    one, two = (_predict(Model(), p, _dose(amt=a), *rows)[0, 1:] for a in (200.0, 400.0))

    assert np.all(two > 2 * one)


def test_the_order_of_draws_and_their_company_change_nothing():
    rows = (_dose(), *map(Row, (1.0, 5.0, 24.0)))
    model = Model(2, "first-order", elimination="mixed")

    together = _predict(model, MIXED, *rows)

    for n in range(3):
        alone = _predict(model, {name: values[n : n + 1] for name, values in MIXED.items()}, *rows)
        np.testing.assert_allclose(together[n], alone[0], rtol=1e-6)


def test_another_unit_of_concentration_changes_only_the_numbers_shown():
    p = {"V1": [40.0], "VMAX": [10.0], "KM": [4.0]}
    rows = (_dose(), Row(5.0))

    mg, ug = _predict(Model(), p, *rows), _predict(Model(scale=1000.0), {**p, "KM": [4000.0]}, *rows)

    np.testing.assert_allclose(ug, 1000 * mg, rtol=1e-9)


def test_parameters_hold_until_their_record():
    slow, fast = ({"V1": [40.0], "VMAX": [v], "KM": [4.0]} for v in (5.0, 50.0))
    rows = (_dose(), Row(4.0), Row(8.0))

    found = predict_nonlinear(Model(), [slow, slow, fast], Table(rows))

    assert found[0, 1] == pytest.approx(_predict(Model(), slow, *rows)[0, 1], rel=1e-9)
    rest = _predict(Model(), fast, _dose(amt=40.0 * found[0, 1]), Row(4.0))
    assert found[0, 2] == pytest.approx(rest[0, 1], rel=1e-6)


@pytest.mark.parametrize("evid, amt", [(3, 0.0), (4, 30.0)])
def test_a_reset_forgets_what_was_given(evid, amt):
    p = {**MIXED, "LAG": np.full(3, 2.0)}
    model = Model(2, "first-order", elimination="mixed")
    later = (Row(0.0, evid=evid, amt=amt), Row(5.0), Row(30.0))

    found = _predict(model, p, _dose(ii=6.0, addl=9, rate=10.0), Row(11.0), *later)

    np.testing.assert_allclose(found[:, 2:], _predict(model, p, *later), rtol=1e-9)
    assert np.all(found[:, 1] > 0)


def test_a_steady_state_takes_the_place_of_what_was_given():
    p = {**MIXED, "LAG": np.full(3, 3.0)}
    model = Model(2, "first-order", elimination="mixed")
    steady = (_dose(10.0, ii=8.0, ss=1), Row(12.0), Row(25.0))

    found = _predict(model, p, _dose(8.0, amt=500.0, ii=1.0, addl=9), *steady)

    np.testing.assert_allclose(found[:, 1:], _predict(model, p, *steady), rtol=1e-7)


# NONMEM


def _nonmem_cases():
    """Scenarios of NONMEM 7.4.3 that dose the central compartment."""
    found = defaultdict(list)
    with (shared_data("pk") / "reference" / "events_nonmem743.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found[int(row["id"])].append(row)
    return {n: rows for n, rows in found.items() if all(r["cmt"] != "1" for r in rows if r["evid"] != "0")}


def test_the_events_of_nonmem_are_reproduced_where_a_steady_state_repeats_itself():
    compared = 0
    for number, rows in _nonmem_cases().items():
        records = tuple(
            Row(
                time=float(r["time"]),
                evid=int(r["evid"]),
                amt=float(r["amt"]),
                rate=float(r["rate"]),
                ii=float(r["ii"]),
                addl=int(r["addl"]),
                ss=int(r["ss"]),
            )
            for r in rows
        )
        lag = max(float(r["lagt"]) for r in rows)
        if any(r.ss and lag > r.ii for r in records):  # NONMEM's steady state does not repeat itself there
            continue
        p = [
            {"CL": [1.1], "V1": [20.0], "LAG": [float(r["lagt"])], "F": [float(r["bioav"])], "D": [float(r["dur2"])]}
            | {"R": [float(r["rat2"])]}
            for r in rows
        ]
        found = predict_nonlinear(Model(elimination="linear", scale=1000.0), p, Table(records))[0]
        seen = [n for n, r in enumerate(records) if r.evid == 0]
        expected = np.array([float(rows[n]["cp"]) for n in seen])
        np.testing.assert_allclose(found[seen], expected, rtol=1e-4, atol=1e-2, err_msg=f"scenario {number}")
        compared += 1
    assert compared >= 12


# What cannot be


P = {"V1": [40.0], "VMAX": [10.0], "KM": [4.0]}


@pytest.mark.parametrize(
    "model, p, row, words",
    [
        (Model(), P, Row(0.0, evid=7), "EVID"),
        (Model(), P, _dose(cmt=3), "CMT"),
        (Model(), P, _dose(amt=-1.0), "AMT"),
        (Model(), P, _dose(amt=float("nan")), "AMT"),
        (Model(), P, _dose(rate=-3.0), "RATE"),
        (Model(), P, _dose(rate=-2.0), "D1"),
        (Model(), P, _dose(ss=2, ii=8.0), "SS"),
        (Model(), P, _dose(addl=2), "interval"),
        (Model(), P, _dose(addl=-1, ii=8.0), "ADDL"),
        (Model(), {"V1": [40.0], "VMAX": [10.0]}, _dose(), "KM"),
        (Model(), {**P, "KM": [0.0]}, _dose(), "KM"),
        (Model(), {**P, "VMAX": [np.nan]}, _dose(), "VMAX"),
        (Model(), {**P, "LAG": [-1.0]}, _dose(), "LAG"),
        (Model(elimination="other"), P, _dose(), "elimination"),
        (Model(absorption="other"), P, _dose(), "absorption"),
        (Model(absorption="transit"), P, _dose(), "absorption"),
        (Model(compartments=4), P, _dose(), "compartments"),
    ],
)
def test_impossible_input_is_refused_with_its_reason(model, p, row, words):
    with pytest.raises(InputError, match=words):
        _predict(model, p, row, Row(100.0))


def test_records_that_go_back_and_empty_tables_are_refused():
    with pytest.raises(InputError, match="go back"):
        _predict(Model(), P, _dose(5.0), Row(4.0))
    with pytest.raises(InputError, match="no records"):
        _predict(Model(), P)
    with pytest.raises(InputError, match="sets of parameters"):
        predict_nonlinear(Model(), [P], Table((_dose(), Row(1.0))))


def test_a_stiff_model_ends_with_an_error_in_time():
    p = {"V1": [1.0], "VMAX": [1e6], "KM": [1e-6]}
    began = time.process_time()

    with pytest.raises(NumericsError, match="step limit"):
        _predict(Model(), p, _dose(amt=1.0, rate=0.01), Row(50.0), limit=2_000)

    assert time.process_time() - began < 20


def test_doses_after_the_last_record_change_nothing():
    rows = (_dose(ii=6.0, addl=1000), Row(7.0))

    found = _predict(Model(), P, *rows)

    fewer = (replace(rows[0], addl=1), rows[1])
    np.testing.assert_array_equal(found, _predict(Model(), P, *fewer))
