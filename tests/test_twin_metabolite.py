"""Parent and metabolite: SciPy and closed forms as oracles, mass balance, derivatives, steady states."""

from dataclasses import dataclass, replace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from posologist.core.errors import InputError, ModelError, NumericsError
from posologist.twin import linear, nonlinear
from posologist.twin.events import EventTable, Record

TIMES = (0.5, 1.0, 2.0, 4.0, 7.5, 12.0, 13.0, 20.0, 30.0, 48.0)
PARENT = {"CL": 6.0, "V1": 25.0, "Q": 4.0, "V2": 40.0, "Q3": 1.0, "V3": 60.0, "VMAX": 30.0, "KM": 1.5}
OWN = {"CLM": 2.0, "VM": 12.0, "QM": 3.0, "VM2": 20.0, "FM": 0.6}
BODY = {**PARENT, **OWN}


@dataclass(frozen=True)
class Model:
    compartments: int = 1
    absorption: str = "none"
    transit: int = 0
    elimination: str = "linear"
    scale: float = 1.0
    metabolite_compartments: int = 1
    metabolite_scale: float = 0.8


ORAL = Model(1, "first-order")


def _outputs(model, parameters, records):
    run = linear if model.elimination == "linear" else nonlinear
    mappings = [{name: np.atleast_1d(value) for name, value in parameters.items()}] * len(records)
    return run.predict_outputs(model, mappings, EventTable("1", tuple(records)))


def _answers(model, parameters, doses, times=TIMES):
    """Levels of parent and metabolite at times, by the engine; a dose comes before a level at its time."""
    rows = sorted([*doses, *(Record(t) for t in times)], key=lambda row: (row.time, -row.evid))
    found = _outputs(model, parameters, rows)
    at = [n for n, row in enumerate(rows) if row.evid == 0]
    return np.array([found["concentration"][0, at], found["metabolite"][0, at]])


def _slope(model, p, stages, y, inputs):
    """Rates of change of: stages of absorption, central, two peripheral, metabolite and its peripheral, eliminated."""
    a, (c, p1, p2, m, m2, _) = y[:stages], y[stages:]
    change = np.array(inputs, dtype=float)
    k_in = p.get("KA" if model.absorption == "first-order" else "KTR", 0.0)
    into_next, share = k_in * a, p.get("FP", 0.0)
    change[:stages] -= into_next
    change[1:stages] += into_next[:-1]
    arrives = into_next[-1] if stages else 0.0
    linear_part = p["CL"] / p["V1"] * c if model.elimination != "michaelis-menten" else 0.0
    level = c / p["V1"] * model.scale
    gone = linear_part + (p["VMAX"] * level / (p["KM"] + level) if model.elimination != "linear" else 0.0)
    to1 = p["Q"] * (c / p["V1"] - p1 / p["V2"]) if model.compartments > 1 else 0.0
    to2 = p["Q3"] * (c / p["V1"] - p2 / p["V3"]) if model.compartments > 2 else 0.0
    made, lost = p.get("FM", 1.0) * gone + share * arrives, p["CLM"] * m / p["VM"]
    to3 = p["QM"] * (m / p["VM"] - m2 / p["VM2"]) if model.metabolite_compartments > 1 else 0.0
    change[stages:] += [
        (1 - share) * arrives - gone - to1 - to2, to1, to2, made - lost - to3, to3, gone * (1 - p.get("FM", 1.0)) + lost
    ]  # fmt: skip
    return change


def _oracle(model, p, doses, times=TIMES):
    """The same by SciPy, dose by dose; `doses` are (time, state, amount, duration)."""
    stages = {"first-order": 1, "transit": model.transit}.get(model.absorption, 0)
    y, now, found = np.zeros(stages + 6), 0.0, []
    stops = {t for t, _, _, hours in doses for t in (t, t + hours)} | set(times) | {0.0}
    for stop in sorted(s for s in stops if s <= max(times)):
        inputs = np.zeros(stages + 6)
        for start, state, amount, hours in doses:
            if hours and start <= now < start + hours - 1e-12:
                inputs[state] += amount / hours
        if stop > now:
            done = solve_ivp(
                lambda _, y, inputs=inputs: _slope(model, p, stages, y, inputs), (now, stop), y, method="DOP853",
                rtol=1e-10, atol=1e-12,
            )  # fmt: skip
            y, now = done.y[:, -1].copy(), stop
        for start, state, amount, hours in doses:
            if start == stop and not hours:
                y[state] += amount
        if stop in times:
            found.append((model.scale * y[stages] / p["V1"], model.metabolite_scale * y[stages + 3] / p["VM"]))
    return np.array(found).T


# Oracles

CASES = {  # structure, parameters, records of doses, the same as (time, state, amount, duration)
    "bolus": (Model(), {}, [Record(0.0, 1, 100.0)], [(0.0, 0, 100.0, 0.0)]),
    "infusion": (
        Model(2, metabolite_compartments=2), {}, [Record(1.0, 1, 90.0, rate=30.0)], [(1.0, 0, 90.0, 3.0)],
    ),
    "three compartments": (Model(3), {}, [Record(0.0, 1, 50.0)], [(0.0, 0, 50.0, 0.0)]),
    "oral": (Model(2, "first-order"), {"KA": 1.3, "F": 0.7}, [Record(0.0, 1, 100.0)], [(0.0, 0, 70.0, 0.0)]),
    "first pass": (
        Model(1, "first-order", metabolite_compartments=2), {"KA": 0.9, "FP": 0.35}, [Record(0.0, 1, 100.0)],
        [(0.0, 0, 100.0, 0.0)],
    ),
    "transit": (Model(1, "transit", 3), {"KTR": 2.0, "FP": 0.2}, [Record(0.0, 1, 80.0)], [(0.0, 0, 80.0, 0.0)]),
    "zero order and lag": (
        Model(1, "zero-order"), {"D": 2.5, "LAG": 0.4}, [Record(0.0, 1, 60.0)], [(0.4, 0, 60.0, 2.5)],
    ),
    "lag, further doses, two routes": (
        Model(1, "first-order"), {"KA": 1.1, "LAG": 0.3, "FP": 0.5},
        [Record(0.0, 1, 100.0, ii=8.0, addl=2), Record(20.0, 1, 40.0, cmt=2)],
        [*((8.0 * k + 0.3, 0, 100.0, 0.0) for k in range(3)), (20.0, 1, 40.0, 0.0)],
    ),
}  # fmt: skip
SATURABLE = ("bolus", "infusion", "oral", "first pass", "transit", "lag, further doses, two routes")


@pytest.mark.parametrize("name", CASES)
def test_parent_and_metabolite_are_scipys(name):
    model, own, records, doses = CASES[name]

    found = _answers(model, {**BODY, **own}, records)

    np.testing.assert_allclose(found, _oracle(model, {**BODY, **own}, doses), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("elimination", ["michaelis-menten", "mixed"])
@pytest.mark.parametrize("name", SATURABLE)
def test_saturable_elimination_forms_the_metabolite_as_in_scipy(name, elimination):
    model, own, records, doses = CASES[name]
    model = replace(model, elimination=elimination)

    found = _answers(model, {**BODY, **own}, records)

    np.testing.assert_allclose(found, _oracle(model, {**BODY, **own}, doses), rtol=2e-7, atol=1e-8)


@pytest.mark.parametrize("elimination", ["linear", "mixed"])
@pytest.mark.parametrize(
    "record", [Record(0.0, 1, 60.0, ii=12.0, ss=1), Record(0.0, 1, 60.0, rate=20.0, ii=12.0, ss=1)]
)
def test_a_steady_state_is_where_a_long_run_in_leads(elimination, record):
    model = Model(2, elimination=elimination, metabolite_compartments=2)
    hours = record.amt / record.rate if record.rate else 0.0
    run_in, times = 80, (0.0, 1.0, 3.0, 5.0, 11.0)
    doses = [(12.0 * k, 0, 60.0, hours) for k in range(run_in + 1)]
    expected = _oracle(model, BODY, doses, tuple(12.0 * run_in + t for t in times))

    found = _answers(model, BODY, [record], times)

    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("elimination", ["linear", "mixed"])
def test_an_endless_infusion_keeps_the_metabolite_where_formation_is_loss(elimination):
    model = Model(2, "first-order", elimination=elimination)
    p = {**BODY, "KA": 1.0, "FP": 0.25}
    depot, central = (Record(0.0, 1, rate=5.0, ss=1, cmt=cmt) for cmt in (1, 2))

    oral, vein = (_answers(model, p, [record], (0.0,))[1, 0] for record in (depot, central))

    assert oral == pytest.approx(0.8 * 5.0 * (0.25 + 0.75 * p["FM"]) / p["CLM"], rel=1e-9)
    assert vein == pytest.approx(0.8 * 5.0 * p["FM"] / p["CLM"], rel=1e-9)


@pytest.mark.parametrize("elimination", ["linear", "mixed"])
def test_after_an_endless_infusion_levels_fall_as_after_a_very_long_one(elimination):
    model, times = Model(2, elimination=elimination, metabolite_compartments=2), (1.0, 6.0, 24.0)

    found = _answers(model, BODY, [Record(0.0, 1, rate=5.0, ss=1)], times)

    long = _oracle(model, BODY, [(0.0, 0, 5.0 * 1500, 1500.0)], tuple(1500.0 + t for t in times))
    np.testing.assert_allclose(found, long, rtol=1e-6)


def test_a_bolus_is_the_closed_form_of_two_exponentials():
    """A' = k FM dose (e^-kt - e^-mt) / (m - k), in 40 digits."""
    mpmath.mp.dps = 40
    k, m = mpmath.mpf(6) / 25, mpmath.mpf(2) / 12
    expected = [
        float(
            mpmath.mpf("0.8") * 100 * mpmath.mpf("0.6") * k / (m - k) * (mpmath.exp(-k * t) - mpmath.exp(-m * t)) / 12
        )
        for t in map(mpmath.mpf, TIMES)
    ]

    found = _answers(Model(), BODY, [Record(0.0, 1, 100.0)])[1]

    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_equal_rates_of_formation_and_loss_keep_their_digits():
    p = {**BODY, "CLM": 6.0 / 25.0 * 12.0}
    k = 6.0 / 25.0

    found = _answers(Model(), p, [Record(0.0, 1, 100.0)])[1]

    np.testing.assert_allclose(found, [0.8 * 60.0 * k * t * np.exp(-k * t) / 12.0 for t in TIMES], rtol=1e-12)


# Laws

positive = st.floats(0.2, 30.0)


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(("CL", "V1", "Q", "V2", "CLM", "VM", "QM", "VM2"), positive)),
    st.floats(0.0, 1.0), st.floats(0.1, 1.0), st.sampled_from(["first-order", "transit"]),
)  # fmt: skip
def test_what_was_given_leaves_as_parent_or_through_the_metabolite(p, first, f, absorption):
    """At steady state CLM times the area of the metabolite's curve over an interval is all that was bioavailable."""
    model = Model(2, absorption, 2 if absorption == "transit" else 0, metabolite_compartments=2, metabolite_scale=1.0)
    p = {**p, "KA" if absorption == "first-order" else "KTR": 1.0, "F": f, "FP": first}
    times = np.linspace(0.0, 12.0, 2001)

    _, metabolite = _answers(model, p, [Record(0.0, 1, 100.0, ii=12.0, ss=1)], times)

    area = np.sum((metabolite[1:] + metabolite[:-1]) / 2 * np.diff(times))
    assert p["CLM"] * area == pytest.approx(100.0 * f, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.floats(1.0, 40.0), st.floats(0.2, 5.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_amounts_of_a_saturable_model_add_up_to_the_dose(vmax, km, first, share):
    model = Model(2, "first-order", elimination="mixed", metabolite_compartments=2)
    p = {**BODY, "KA": 1.0, "VMAX": vmax, "KM": km, "FP": first, "FM": share}
    records = (Record(0.0, 1, 100.0), *(Record(t) for t in TIMES))
    mappings = [{name: np.atleast_1d(value) for name, value in p.items()}] * len(records)

    found = nonlinear.course(model, mappings, EventTable("1", records), metabolite=2)

    np.testing.assert_allclose(found.amounts.sum(axis=1), 100.0, rtol=1e-10)
    assert (found.amounts >= -1e-9).all()


@pytest.mark.parametrize("name", CASES)
def test_the_parent_is_the_same_with_and_without_its_metabolite(name):
    model, own, doses, _ = CASES[name]
    records = sorted([*doses, *(Record(t) for t in TIMES)], key=lambda row: row.time)
    mappings = [{**BODY, **own}] * len(records)
    table = EventTable("1", tuple(records))

    alone = linear.predict(model, mappings, table)

    np.testing.assert_allclose(linear.predict_outputs(model, mappings, table)["concentration"], alone, rtol=1e-13)


def test_without_saturation_both_ways_of_computing_agree():
    model, own, records, _ = CASES["first pass"]
    p = {**BODY, **own, "VMAX": 6.0 * 1e7, "KM": 1e7}

    exact = _answers(model, p, records)
    integrated = _answers(replace(model, elimination="michaelis-menten"), p, records)

    np.testing.assert_allclose(integrated, exact, rtol=1e-5)


def test_a_model_without_metabolite_answers_the_concentration_alone():
    for elimination in ("linear", "mixed"):
        model = Model(metabolite_compartments=0, elimination=elimination)
        assert set(_outputs(model, PARENT, [Record(0.0, 1, 10.0), Record(1.0)])) == {"concentration"}


def test_complex_steps_give_the_derivatives_of_the_metabolite():
    model, own, doses, _ = CASES["first pass"]
    p, step = {**BODY, **own}, 1e-5
    names = ("CL", "V1", "KA", "CLM", "VM", "QM", "VM2", "FM", "FP")

    for name in names:
        exact = _answers_complex(model, {**p, name: p[name] + 1e-30j}, doses).imag / 1e-30
        up, down = (_answers(model, {**p, name: p[name] * (1 + sign * step)}, doses)[1] for sign in (1, -1))
        np.testing.assert_allclose(exact, (up - down) / (2 * step * p[name]), rtol=1e-6, atol=1e-8)


def _answers_complex(model, p, doses):
    records = (*doses, *(Record(t) for t in TIMES))
    return linear.predict_outputs(model, [p] * len(records), EventTable("1", records))["metabolite"][0, len(doses) :]


@pytest.mark.parametrize("elimination", ["linear", "mixed"])
def test_parameters_of_the_metabolite_hold_until_their_record(elimination):
    rows = (Record(0.0, 1, 100.0), Record(4.0), Record(8.0))
    run = linear if elimination == "linear" else nonlinear
    fast, wide = {**BODY, "CLM": 20.0}, {**BODY, "CLM": 3 * BODY["CLM"], "VM": 3 * BODY["VM"]}

    changed, larger, same = (
        run.predict_outputs(Model(elimination=elimination), [BODY, BODY, last], EventTable("1", rows))["metabolite"][0]
        for last in (fast, wide, BODY)
    )

    assert changed[1] == pytest.approx(same[1], rel=1e-12)
    assert changed[2] < 0.5 * same[2]
    np.testing.assert_allclose(larger, same * [1.0, 1.0, 1 / 3], rtol=1e-7)


@pytest.mark.parametrize(
    ("model", "own", "error"),
    [
        (Model(), {"FP": 0.2}, ModelError),
        (Model(elimination="mixed"), {"FP": 0.2}, InputError),
        (ORAL, {"KA": 1.0, "FP": 1.2}, NumericsError),
        (replace(ORAL, elimination="mixed"), {"KA": 1.0, "FP": 1.2}, InputError),
        (Model(), {"VM": 0.0}, NumericsError),
        (Model(elimination="mixed"), {"FM": -0.1}, InputError),
    ],
)  # fmt: skip
def test_impossible_parameters_of_a_metabolite_are_refused(model, own, error):
    with pytest.raises(error):
        _answers(model, {**BODY, **own}, [Record(0.0, 1, 10.0)])


def test_a_dose_of_the_metabolite_itself_is_refused():
    with pytest.raises(InputError, match="the model has 1"):
        _answers(Model(), BODY, [Record(0.0, 1, 10.0, cmt=2)])
