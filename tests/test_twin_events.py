"""Event tables: NONMEM's own answers, exact values, and the laws that linear kinetics obey."""

import csv
import json
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from posologist.core.errors import InputError, ModelError, NumericsError
from posologist.twin.events import EventTable, Record, parse_events, read_events
from posologist.twin.exponential import exponential
from posologist.twin.linear import predict
from shared import shared_data


@dataclass(frozen=True)
class Model:
    """A structure as `predict` takes it."""

    compartments: int = 1
    absorption: str = "none"
    transit: int = 0
    elimination: str = "linear"
    scale: float = 1.0


def _answers(model, parameters, *records):
    """Concentrations of all draws at the records, parameters constant."""
    return predict(model, [parameters] * len(records), EventTable("1", tuple(records)))


def _curve(model, parameters, doses, times):
    """Concentrations of the first draw at `times`, all after the doses' own records."""
    records = sorted([*doses, *(Record(time=t) for t in times)], key=lambda record: record.time)
    answers = _answers(model, parameters, *records)[0]
    return answers[[i for i, record in enumerate(records) if not record.is_dose and record.evid == 0]]


# --- NONMEM 7.4.3 -----------------------------------------------------------------------------------------------


def _nonmem():
    path = shared_data("pk", "reference", "events_nonmem743.csv")
    with path.open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return {int(subject): list(group) for subject, group in groupby(rows, key=lambda row: row["id"])}


def _nonmem_record(row):
    whole = {name: int(row[name]) for name in ("evid", "cmt", "addl", "ss")}
    return Record(time=row["time"], amt=row["amt"], rate=row["rate"], ii=row["ii"], **whole)


def _nonmem_parameters(row):
    modelled = {"LAG2": row["lagt"], "F2": row["bioav"], "R2": row["rat2"], "D2": row["dur2"]}
    return {"CL": 1.1, "V1": 20.0, "KA": 1.5, **modelled}


def test_every_nonmem_scenario_is_met_to_its_five_printed_digits():
    model = Model(absorption="first-order", scale=1000.0)
    scenarios = _nonmem()
    assert len(scenarios) == 20
    for subject, rows in scenarios.items():
        table = EventTable(str(subject), tuple(_nonmem_record(row) for row in rows))

        answers = predict(model, [_nonmem_parameters(row) for row in rows], table)[0]

        np.testing.assert_allclose(answers, [row["cp"] for row in rows], rtol=5.1e-5, atol=1e-3, err_msg=str(subject))


# --- exact values -----------------------------------------------------------------------------------------------


def _exact():
    return json.loads(shared_data("pk", "reference", "analytic_linear.json").read_text())


def _exact_dose(dose):
    rate = dose["amt"] / dose["dur"] if "dur" in dose else 0.0
    return Record(
        time=dose["time"], evid=1, amt=dose["amt"], rate=rate, ss=int(dose.get("ss", False)), ii=dose.get("ii", 0.0)
    )


def test_exact_values_of_linear_models_are_met_to_1e_8():
    names = {"Ka": "KA", "Tlag": "LAG", "Q2": "Q"}
    seen = 0
    for case in _exact()["cases"]:
        oral = case["doses"][0]["route"] == "oral"
        model = Model(compartments=case["n_compartments"], absorption="first-order" if oral else "none")
        parameters = {names.get(name, name): value for name, value in case["params"].items()}

        answers = _curve(model, parameters, [_exact_dose(dose) for dose in case["doses"]], case["times_h"])

        expected = [float(value) for value in case["conc_mg_per_L"]]
        np.testing.assert_allclose(answers, expected, rtol=1e-8, atol=1e-12, err_msg=case["id"])
        seen += len(expected)
    assert seen == 990


@pytest.mark.parametrize("stages", [3, 5])
def test_exact_values_of_transit_absorption_are_met_to_1e_8(stages):
    (case,) = [case for case in _exact()["extra"] if case["id"] == f"S-erlang-{stages}"]
    parameters = {"CL": case["CL_L_per_h"], "V1": case["V_L"], "KTR": case["ktr_per_h"]}

    answers = _curve(
        Model(absorption="transit", transit=stages),
        parameters,
        [Record(time=0.0, evid=1, amt=case["dose_mg"])],
        case["times_h"],
    )

    np.testing.assert_allclose(answers, [float(value) for value in case["conc_mg_per_L"]], rtol=1e-8, atol=1e-12)


# --- laws -------------------------------------------------------------------------------------------------------

PARAMETERS = st.fixed_dictionaries(
    {
        "CL": st.floats(0.5, 20.0), "V1": st.floats(5.0, 80.0), "Q": st.floats(0.1, 20.0), "V2": st.floats(5.0, 200.0),
        "Q3": st.floats(0.1, 5.0), "V3": st.floats(5.0, 200.0), "KA": st.floats(0.1, 3.0), "LAG": st.floats(0.0, 5.0),
        "F": st.floats(0.1, 1.0), "D1": st.floats(0.2, 20.0), "R1": st.floats(2.0, 200.0), "KTR": st.floats(0.5, 6.0),
    }
)  # fmt: skip
MODELS = st.builds(
    lambda compartments, absorption: Model(compartments, absorption, 3 if absorption == "transit" else 0),
    st.integers(1, 3),
    st.sampled_from(["none", "first-order", "transit"]),
)
DOSES = st.builds(
    Record,
    time=st.floats(0.0, 40.0),
    evid=st.just(1),
    amt=st.floats(1.0, 500.0),
    rate=st.sampled_from([0.0, 0.0, 30.0, -1.0, -2.0]),
    cmt=st.sampled_from([0, 1]),
    ii=st.floats(4.0, 24.0),
    addl=st.integers(0, 4),
)
TIMES = np.linspace(0.0, 120.0, 37) + 0.01
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@settings(max_examples=40, deadline=None)
@given(MODELS, PARAMETERS, DOSES, DOSES)
def test_two_doses_add_up(model, parameters, one, two):
    together = _curve(model, parameters, [one, two], TIMES)

    apart = _curve(model, parameters, [one], TIMES) + _curve(model, parameters, [two], TIMES)
    np.testing.assert_allclose(together, apart, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(MODELS, PARAMETERS, DOSES, st.floats(0.1, 10.0))
def test_a_dose_times_a_factor_gives_concentrations_times_the_factor(model, parameters, dose, factor):
    assume(dose.rate != -1.0)  # a modelled rate makes a larger dose a longer infusion
    rate = dose.rate * factor if dose.rate > 0 else dose.rate
    larger = _curve(model, parameters, [replace(dose, amt=dose.amt * factor, rate=rate)], TIMES)

    np.testing.assert_allclose(larger, factor * _curve(model, parameters, [dose], TIMES), **CLOSE)


@settings(max_examples=40, deadline=None)
@given(MODELS, PARAMETERS, DOSES, st.floats(-50.0, 200.0))
def test_a_shift_in_time_shifts_the_curve(model, parameters, dose, shift):
    later = _curve(model, parameters, [replace(dose, time=dose.time + shift)], TIMES + shift)

    expected = _curve(model, parameters, [dose], TIMES)
    near = np.max(expected) * 1e-6
    np.testing.assert_allclose(later[1:], expected[1:], rtol=1e-6, atol=near)


@settings(max_examples=40, deadline=None)
@given(MODELS, PARAMETERS, DOSES)
def test_further_doses_are_the_doses_written_out(model, parameters, dose):
    written = [replace(dose, time=dose.time + k * dose.ii, addl=0, ii=0.0) for k in range(dose.addl + 1)]

    np.testing.assert_allclose(
        _curve(model, parameters, [dose], TIMES), _curve(model, parameters, written, TIMES), **CLOSE
    )


@settings(max_examples=15, deadline=None)
@given(MODELS, PARAMETERS, DOSES)
def test_steady_state_is_what_many_doses_lead_to(model, parameters, dose):
    parameters = {**parameters, "LAG": min(parameters["LAG"], dose.ii)}
    start, many = replace(dose, time=0.0, addl=0, ss=1), 3000
    volumes = parameters["V1"] + parameters["V2"] + parameters["V3"]
    slow = volumes / parameters["CL"] + parameters["V2"] / parameters["Q"] + parameters["V3"] / parameters["Q3"]
    assume(many * dose.ii > 25 * (slow + 1 / parameters["KA"]))
    times = np.linspace(0.01, 3 * dose.ii, 20)

    steady = _curve(model, parameters, [start], times)

    history = replace(dose, time=-many * dose.ii, addl=many)
    np.testing.assert_allclose(steady, _curve(model, parameters, [history], times), rtol=1e-6, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(MODELS, PARAMETERS, DOSES)
def test_added_steady_state_is_steady_state_plus_what_was_there(model, parameters, dose):
    before = Record(time=0.0, evid=1, amt=70.0, rate=5.0, ii=9.0, addl=6)
    late = replace(dose, time=33.0)
    times = TIMES[TIMES > 33.0]

    both = _curve(model, parameters, [before, replace(late, ss=2)], times)

    apart = _curve(model, parameters, [before], times) + _curve(model, parameters, [replace(late, ss=1)], times)
    np.testing.assert_allclose(both, apart, **CLOSE)


@settings(max_examples=25, deadline=None)
@given(MODELS, PARAMETERS, DOSES, st.sampled_from(["reset", "reset and dose", "steady state"]))
def test_a_reset_forgets_all_that_was_before(model, parameters, dose, kind):
    after = {
        "reset": [Record(time=50.0, evid=3), Record(time=60.0, evid=1, amt=10.0)],
        "reset and dose": [Record(time=50.0, evid=4, amt=10.0)],
        "steady state": [Record(time=50.0, evid=1, amt=10.0, ii=8.0, ss=1)],
    }[kind]
    times = TIMES[TIMES > 50.0]

    with_history = _curve(model, parameters, [replace(dose, addl=30), *after], times)

    np.testing.assert_array_equal(with_history, _curve(model, parameters, after, times))


@settings(max_examples=25, deadline=None)
@given(MODELS, PARAMETERS, DOSES)
def test_what_is_eliminated_is_what_was_bioavailable(model, parameters, dose):
    """Clearance times the area under the curve over one interval at steady state is F times the dose."""
    times = np.linspace(0.0, dose.ii, 8001)
    steady = replace(dose, time=0.0, addl=0, ss=1)

    curve = _curve(model, {**parameters, "LAG": 0.0}, [steady], times)

    area = np.sum((curve[:-1] + curve[1:]) / 2 * np.diff(times))
    assert parameters["CL"] * area == pytest.approx(parameters["F"] * dose.amt, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), PARAMETERS)
def test_amounts_only_leave_by_elimination(compartments, parameters):
    """Without clearance the central concentration tends to the dose over all volumes: nothing is lost."""
    parameters = {**parameters, "CL": 0.0, "F": 1.0, "LAG": 0.0}
    volume = sum(parameters[name] for name in ("V1", "V2", "V3")[:compartments])

    (level,) = _curve(Model(compartments, "first-order"), parameters, [Record(0.0, 1, 100.0)], [1e5])

    assert level == pytest.approx(100.0 / volume, rel=1e-9)


# --- time-varying parameters, draws, derivatives ------------------------------------------------------------------


def test_parameters_hold_over_the_interval_that_ends_at_their_record():
    slow, fast = {"CL": 1.0, "V1": 10.0}, {"CL": 5.0, "V1": 10.0}
    table = EventTable("1", (Record(0.0, 1, 100.0), Record(4.0), Record(9.0)))

    levels = predict(Model(), [slow, fast, slow], table)[0]

    np.testing.assert_allclose(levels, [10.0, 10.0 * np.exp(-2.0), 10.0 * np.exp(-2.5)], rtol=1e-12)


def test_an_infusion_goes_on_while_the_parameters_change():
    """SciPy's solver is the oracle: clearance that changes at a record, infusion and further doses throughout."""
    clearances = [2.0, 2.0, 6.0, 1.0, 3.0]
    times = [0.0, 3.0, 8.0, 20.0, 31.0]
    records = [Record(0.0, 1, 120.0, rate=10.0, ii=14.0, addl=1), *(Record(t) for t in times[1:])]
    shared = {"V1": 12.0, "Q": 3.0, "V2": 30.0}

    levels = predict(Model(2), [{"CL": cl, **shared} for cl in clearances], EventTable("1", tuple(records)))[0]

    def change(t, x, cl):
        flow = 3.0 * (x[0] / 12.0 - x[1] / 30.0)
        given_now = 10.0 * ((0 <= t < 12) or (14 <= t < 26))
        return [given_now - cl * x[0] / 12.0 - flow, flow]

    state, expected = [0.0, 0.0], [0.0]
    marks = sorted({*times, 12.0, 14.0, 26.0})
    for start, end in pairwise(marks):
        cl = clearances[next(i for i, t in enumerate(times) if t >= end)]
        middle = (start + end) / 2
        solved = solve_ivp(
            lambda _, x, m=middle, c=cl: change(m, x, c), (start, end), state, rtol=1e-11, atol=1e-13, method="DOP853"
        )
        state = solved.y[:, -1]
        if end in times:
            expected.append(state[0] / 12.0)
    np.testing.assert_allclose(levels, expected, rtol=1e-8)


def test_draws_with_their_own_lag_and_duration_are_as_if_alone():
    rng = np.random.default_rng(3)
    draws = {
        "CL": rng.uniform(1, 5, 50), "V1": rng.uniform(10, 40, 50), "KA": rng.uniform(0.2, 2, 50),
        "LAG": rng.uniform(0, 9, 50), "D1": rng.uniform(1, 30, 50), "F": rng.uniform(0.3, 1, 50),
    }  # fmt: skip
    model = Model(absorption="first-order")
    dose = Record(0.0, 1, 100.0, rate=-2.0, ii=8.0, addl=5, ss=1)
    records = [dose, Record(3.0, 1, 20.0), *(Record(float(t)) for t in range(4, 60, 3))]

    together = _answers(model, draws, *records)

    alone = [_answers(model, {name: value[[i]] for name, value in draws.items()}, *records)[0] for i in range(50)]
    np.testing.assert_allclose(together, alone, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["CL", "V1", "Q", "V2", "KA", "F", "LAG", "D1"])
@pytest.mark.parametrize("steady", [0, 1])
def test_complex_steps_give_the_derivatives(name, steady):
    parameters = {"CL": 3.0, "V1": 20.0, "Q": 4.0, "V2": 50.0, "KA": 0.7, "F": 0.6, "LAG": 0.4, "D1": 13.0}
    rate = -2.0 if name == "D1" else 0.0
    records = [Record(0.0, 1, 100.0, rate=rate, ii=8.0, addl=3, ss=steady), *(Record(t) for t in (1.0, 5.5, 19.0))]
    model = Model(2, "first-order")

    def at(value):
        return _answers(model, {**parameters, name: np.asarray([value])}, *records)[0]

    step = 1e-5 * parameters[name]
    central = (at(parameters[name] + step) - at(parameters[name] - step)) / (2 * step)
    np.testing.assert_allclose(
        np.imag(at(parameters[name] + 1e-30j)) / 1e-30, central, rtol=1e-6, atol=1e-7 * np.max(np.abs(central))
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-6, 1e3), min_size=6, max_size=6), st.floats(1e-6, 200.0))
def test_the_exponential_of_rates_is_scipys(rates, time):
    matrix = np.array([[0.0, rates[0], rates[1]], [rates[2], 0.0, rates[3]], [rates[4], rates[5], 0.0]])
    matrix -= np.diag(matrix.sum(axis=0))
    elements = [[np.asarray([value]) for value in row] for row in matrix]

    found = np.array(exponential(elements, np.asarray([time])))[..., 0]

    np.testing.assert_allclose(found.sum(axis=0), 1.0, rtol=1e-9)  # nothing is lost
    if np.max(np.abs(matrix)) * time < 50:
        np.testing.assert_allclose(found, expm(matrix * time), rtol=1e-10, atol=1e-13)


# --- zero-order absorption, several doses at once, what is refused -------------------------------------------------


def test_zero_order_absorption_is_an_infusion_over_the_models_duration():
    parameters = {"CL": 2.0, "V1": 10.0, "D": 4.0, "F": 0.5, "LAG": 1.0}

    absorbed = _curve(Model(absorption="zero-order"), parameters, [Record(0.0, 1, 80.0)], TIMES)

    infused = _curve(Model(), {"CL": 2.0, "V1": 10.0}, [Record(1.0, 1, 40.0, rate=10.0)], TIMES)
    np.testing.assert_allclose(absorbed, infused, **CLOSE)


def test_a_level_before_the_dose_at_the_same_time_is_a_trough():
    records = [Record(0.0, 1, 100.0), Record(6.0), Record(6.0, 1, 100.0), Record(6.0)]

    levels = _answers(Model(), {"CL": 1.0, "V1": 10.0}, *records)[0]

    trough = 10.0 * np.exp(-0.6)
    np.testing.assert_allclose(levels, [10.0, trough, trough + 10.0, trough + 10.0], rtol=1e-12)


def test_a_rate_is_found_in_the_records_columns():
    dose = Record(0.0, 1, 100.0, rate=-2.0, covariates={"D1": 5.0})

    levels = _curve(Model(), {"CL": 1.0, "V1": 10.0}, [dose], TIMES)

    given = _curve(Model(), {"CL": 1.0, "V1": 10.0}, [Record(0.0, 1, 100.0, rate=20.0)], TIMES)
    np.testing.assert_allclose(levels, given, **CLOSE)


def test_a_dose_into_a_compartment_that_the_model_lacks_is_refused_with_its_line():
    (table,) = parse_events("ID,TIME,AMT,CMT,DV\n1,0,100,3,.\n1,5,.,1,2.0\n", source="doses.csv")

    with pytest.raises(InputError, match=r"doses\.csv:2.*compartment 3, and the model has 2"):
        predict(Model(absorption="first-order"), [{"CL": 1.0, "V1": 10.0, "KA": 1.0}] * 2, table)


def test_steady_state_without_elimination_is_refused():
    with pytest.raises(NumericsError, match="no steady state"):
        _answers(Model(), {"CL": 0.0, "V1": 10.0}, Record(0.0, 1, 100.0, ii=12.0, ss=1))


def test_nonlinear_elimination_is_refused():
    with pytest.raises(ModelError, match="no exact solution"):
        _answers(Model(elimination="michaelis-menten"), {"V1": 10.0}, Record(0.0, 1, 100.0))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"CL": 1.0}, "V1 is missing"),
        ({"CL": 1.0, "V1": -3.0}, "V1 is not positive"),
        ({"CL": np.nan, "V1": 3.0}, "CL is not positive"),
        ({"CL": 1.0, "V1": 3.0, "LAG": -1.0}, "lag is negative"),
    ],
)
def test_parameters_outside_their_domain_are_refused(parameters, message):
    with pytest.raises(NumericsError, match=message):
        _answers(Model(), parameters, Record(0.0, 1, 100.0), Record(1.0))


HEAD = "ID,TIME,DV,AMT,RATE,EVID,CMT,II,ADDL,SS\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,DV,AMT\n1,2,3\n", r"t\.csv:1: column TIME is missing"),
        ("ID,TIME,WT\n1,2,3\n", r"t\.csv:1: column AMT or DV is missing"),
        ("ID,TIME,AMT,amt\n1,2,3,4\n", r"t\.csv:1: column AMT stands twice"),
        ("ID,TIME,AMT\n1,2\n", r"t\.csv:2: 2 fields where the header has 3"),
        ("ID,TIME,AMT\n1,.,5\n", r"t\.csv:2:TIME: the time is missing"),
        ("", "has no rows|is missing"),
        ("ID,TIME,AMT\n", "has no rows"),
        ("ID,TIME,AMT\n1,0,5\n2,0,5\n1,4,.\n", r"t\.csv:4:ID: the rows of subject 1 stand in two places"),
        (HEAD + "1,0,.,ten,0,1,1,0,0,0\n", r"t\.csv:2:AMT: 'ten' is not a finite number"),
        (HEAD + "1,0,.,-10,0,1,1,0,0,0\n", r"t\.csv:2: AMT -10 is negative"),
        (HEAD + "1,0,.,10,0,7,1,0,0,0\n", r"t\.csv:2: EVID 7 is unknown"),
        (HEAD + "1,0,.,10,0,1,1,0,3,0\n", r"t\.csv:2: ADDL 3 without II"),
        (HEAD + "1,0,.,10,0,1,1,0,0,1\n", r"t\.csv:2: SS 1 without II"),
        (HEAD + "1,0,.,10,-3,1,1,0,0,0\n", r"t\.csv:2: RATE -3 is unknown"),
        (HEAD + "1,0,.,0,0,1,1,0,0,0\n", r"t\.csv:2: a dose has no amount"),
        (HEAD + "1,0,.,10,0,1,-1,0,0,0\n", r"t\.csv:2: CMT -1 would switch"),
        (HEAD + "1,0,.,10,0,1,1,8,1.5,0\n", r"t\.csv:2:ADDL: 1.5 is not a whole number"),
        (HEAD + "1,0,.,10,0,0,1,0,0,0\n", r"t\.csv:2: a record of EVID 0 carries AMT"),
        (HEAD + "1,0,.,10,0,1,1,8,1,3\n", r"t\.csv:2: SS 3 is unknown"),
        (HEAD + "1,5,.,10,0,1,1,0,0,0\n1,4,2,.,.,0,1,.,.,.\n", r"t\.csv:3: time goes back from 5 h to 4 h"),
        (HEAD + "1,inf,.,10,0,1,1,0,0,0\n", r"t\.csv:2:TIME: 'inf' is not a finite number"),
    ],
)
def test_a_wrong_table_is_refused_with_file_line_and_advice(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_events(text, source="t.csv")
    assert caught.value.hint


def test_a_table_is_read_with_covariates_missing_values_and_limits(tmp_path):
    path = tmp_path / "levels.csv"
    path.write_text(
        "Id,Time,dv,amt,wt,LLOQ\nA,0,.,250,70,NA\nA,8,3.5,.,71,0.1\nB,0,.,100,.,.\nB,9,.,.,50,0.1\nB,30,0.05,.,50,0.1\n"
    )

    first, second = read_events(path)

    assert (first.subject, second.subject) == ("A", "B")
    assert [record.evid for record in first.records] == [1, 0]
    assert first.records[1].dv == 3.5
    assert first.records[1].is_level
    assert first.records[1].covariates == {"wt": 71.0}
    assert second.records[0].covariates == {}
    assert first.records[1].limit is None
    assert not second.records[1].is_level
    assert second.records[2].limit == 0.1


def test_a_censored_level_is_known_by_its_column():
    (table,) = parse_events("ID,TIME,DV,AMT,CENS,LLOQ\n1,0,.,9,0,.\n1,1,.,.,1,0.2\n1,2,0.3,.,1,.\n1,3,0.1,.,0,0.2\n")

    assert [(record.dv, record.limit) for record in table.records[1:]] == [(0.2, 0.2), (0.3, 0.3), (0.1, None)]
    assert all(record.is_level for record in table.records[1:])


def test_a_censored_level_without_a_limit_is_refused():
    with pytest.raises(InputError, match="t:2:CENS"):
        parse_events("ID,TIME,DV,AMT,CENS\n1,1,.,.,1\n", source="t")


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('IDTMEAVSR,1.-0\n\r\t;"x\0_e'), max_size=60))
def test_any_text_gives_tables_or_says_what_is_wrong(text):
    try:
        found = parse_events("ID,TIME,AMT,EVID\n" + text, source="t")
    except InputError as error:
        found = (error.where, error.hint)

    assert found
    assert all(found)


def test_a_far_tail_of_an_infusion_keeps_its_digits():
    parameters = {"CL": 10.0, "V1": 10.0}

    (level,) = _curve(Model(), parameters, [Record(0.0, 1, 100.0, rate=100.0)], [60.0])

    assert level == pytest.approx(10.0 * np.expm1(1.0) * np.exp(-60.0), rel=1e-11)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the file"):
        read_events(tmp_path / "none.csv")


def test_a_new_occasion_may_begin_at_an_earlier_time():
    records = [Record(0.0, 1, 100.0), Record(50.0), Record(0.0, 4, 100.0), Record(50.0)]

    levels = _answers(Model(), {"CL": 1.0, "V1": 10.0}, *records)[0]

    np.testing.assert_array_equal(levels[:2], levels[2:])
