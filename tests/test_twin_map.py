"""Estimates of one patient against NONMEM, Monolix and mapbayr, and what must hold for any patient."""

import csv
import dataclasses
import json
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from posologist.core.errors import InputError
from posologist.twin.events import EventTable, Record
from posologist.twin.individual import carried_covariates, factor_of, individual
from posologist.twin.linear import predict as linear_predict
from posologist.twin.map import map_estimates
from posologist.twin.residual import error_model, log_normal_cdf, misfit, objective
from shared import shared_data
from twin_models import Carried, Effect, Error, PlainModel, closed_form, diagonal, table

ORAL = PlainModel(
    equations=lambda: {"CL": 4.0, "V1": 70.0, "KA": 1.0},
    random=(Effect("CL"), Effect("V1"), Effect("KA")),
    omega=diagonal(0.2, 0.2, 0.2),
    residual=(Error("proportional", proportional=0.05**0.5),),
    absorption="first-order",
)
CENSORED = PlainModel(
    equations=lambda: {"CL": 0.2, "V1": 2.0, "Q": 0.1, "V2": 0.5},
    random=(Effect("CL"), Effect("V1")),
    omega=diagonal(0.05, 0.02),
    residual=(Error("combined-variance", additive=0.5**0.5, proportional=0.1**0.5),),
    compartments=2,
)


def _reference(name):
    return json.loads(shared_data("pk", "reference", name).read_text())


def _case(name):
    return next(case for case in _reference("map_and_dose_posologyr.json")["cases"] if case["id"] == name)


def _one(model, rows, predict=None):
    (result,) = map_estimates(model, [rows], predict=predict)
    return result


def _nonmem_oral_table(patient):
    doses = [(d["time_h"] + k * d["ii_h"], d["amt_mg"], 0.0) for d in patient["doses"] for k in range(d["addl"] + 1)]
    return table(patient["id"], doses, [(o["time_h"], o["conc_mg_per_L"]) for o in patient["observations"]])


def test_etas_of_nonmem_are_met_to_1e_5():
    patients = _reference("map_nonmem_1cpt_oral.json")["patients"]

    results = map_estimates(ORAL, [_nonmem_oral_table(patient) for patient in patients])

    assert len(results) == 4
    for patient, result in zip(patients, results, strict=True):
        assert (result.subject, result.converged, result.problem) == (patient["id"], True, "")
        expected = [patient["expected"][name] for name in ("eta_CL", "eta_V", "eta_KA")]
        np.testing.assert_allclose(result.eta, expected, atol=1e-6)


def test_fifty_intravenous_patients_agree_with_nonmem_to_a_thousandth():
    rows = defaultdict(list)
    with shared_data("pk", "reference", "map_nonmem_1cpt_iv_pkpdmap.csv").open() as file:
        for row in csv.DictReader(file):
            rows[row["ID"]].append(row)
    model = PlainModel(
        equations=lambda: {"CL": 7.67, "V1": 97.7},
        random=(Effect("CL"), Effect("V1")),
        omega=((0.0406, 0.0623), (0.0623, 0.117)),
        residual=(Error("additive", additive=1.73e4**0.5),),
        scale=1000.0,
    )
    tables = [
        table(
            subject,
            [(float(r["TIME_h"]), float(r["AMT_mg"]), 0.0) for r in own if r["EVID"] == "1"],
            [(float(r["TIME_h"]), float(r["DV_ug_per_L"])) for r in own if r["EVID"] == "0" and r["MDV"] == "0"],
        )
        for subject, own in rows.items()
    ]

    results = map_estimates(model, tables)

    assert len(results) == 50
    assert all(result.converged for result in results)
    for (_, own), result in zip(rows.items(), results, strict=True):
        assert result.parameters["CL"] == pytest.approx(
            float(own[0]["NONMEM_CL_L_per_h"]), rel=1.2e-3
        )  # omega has 3 digits
        assert result.parameters["V1"] == pytest.approx(float(own[0]["NONMEM_V_L"]), rel=1e-3)


@pytest.mark.parametrize(("limits", "expected"), [({48: 1.0}, (-0.0427451, -0.122636)), ({}, (-0.0706898, -0.113914))])
def test_a_level_below_the_limit_enters_as_in_mapbayr(limits, expected):
    rows = table("1", [(0, 100, 1200)], [(1, 75), (6, 25), (24, 7), (48, 1)], limits=limits)

    result = _one(CENSORED, rows)

    np.testing.assert_allclose(result.eta, expected, rtol=1e-3)


def test_tobramycin_of_monolix_with_perfectly_correlated_effects():
    case = _case("tobramycin_map")
    ke, v = 0.08075, 0.01203
    model = PlainModel(
        equations=lambda CLCREAT, WT: {
            "CL": 0.21 * (CLCREAT / 67.8) ** 0.89 * (WT / 66.4) ** -1.09 * 19.8 * (WT / 66.4) ** 0.80,
            "V1": 19.8 * (WT / 66.4) ** 0.80,
            "Q": 0.041 * 19.8 * (WT / 66.4) ** 0.80,
            "V2": 0.041 / 0.12 * 19.8 * (WT / 66.4) ** 0.80,
        },
        random=(Effect("CL"), Effect("V1"), Effect("Q"), Effect("V2")),
        omega=((ke + v, v, v, v), (v, v, v, v), (v, v, v, v), (v, v, v, v)),
        residual=(Error("proportional", proportional=0.198),),
        covariates=(Carried("CLCREAT"), Carried("WT")),
        compartments=2,
    )
    rows = table("1", [(0, 500, 1000)], case["observations"], covariates={"CLCREAT": 80.0, "WT": 65.0})

    result = _one(model, rows)

    assert result.converged
    assert result.parameters["CL"] / result.parameters["V1"] == pytest.approx(case["expected"]["ke"], rel=1e-3)
    assert result.parameters["V1"] == pytest.approx(case["expected"]["V"], rel=0.01)


def test_covariates_that_change_over_time_as_in_nonmem():
    case = _case("run302_timevarying_map")
    columns = case["records"]
    rows = EventTable(
        "1",
        tuple(
            Record(
                t, evid=evid, amt=amt, rate=rate, cmt=2, dv=dv, mdv=int(dv is None), covariates={"BW": bw, "SEX": sex}
            )
            for t, evid, amt, rate, dv, bw, sex in zip(
                *(columns[name] for name in ("TIME", "EVID", "AMT", "RATE", "DV", "BW", "SEX")), strict=True
            )
        ),
    )
    model = dataclasses.replace(
        ORAL,
        equations=lambda BW, SEX: {"CL": 4.0 * (BW / 75) ** 1.5 * 0.75**SEX, "V1": 70.0, "KA": 1.0},
        covariates=(Carried("BW"), Carried("SEX")),
    )

    result = _one(model, rows)

    assert result.converged
    assert result.eta[0] == pytest.approx(case["expected"]["eta_Cl"], rel=1e-3)
    assert result.eta[1] == pytest.approx(case["expected"]["eta_Vc"], rel=0.01)
    assert result.eta[2] == pytest.approx(0.0, abs=1e-9)


def test_daptomycin_of_posologyr_leads_to_its_dose():
    case = _case("daptomycin_tdm_dose_conc")
    variances = [np.log(cv**2 + 1) ** 0.5 for cv in (0.306, 0.567, 0.191, 0.652)]
    model = PlainModel(
        equations=lambda SEX, WT, ClCr, TEMP: {
            "CL": (0.807 + 0.00514 * (ClCr - 91.2) + 0.14 * (TEMP - 37.2)) * 0.8**SEX,
            "V1": 4.80,
            "V2": (3.13 + 0.0458 * (WT - 75.1)) * 1.93,
            "Q": 3.46 + 0.0593 * (WT - 75.1),
        },
        random=(Effect("CL"), Effect("V1"), Effect("V2"), Effect("Q")),
        omega=diagonal(*variances),
        residual=(Error("additive", additive=4.72**0.5),),
        covariates=tuple(Carried(name) for name in case["covariates"]),
        compartments=2,
    )
    doses = [(d["time_h"], d["amt_mg"], d["amt_mg"] / d["dur_h"]) for d in case["doses"]]
    covariates = {name: float(value) for name, value in case["covariates"].items()}

    result = _one(model, table("1", doses, case["observations"], covariates=covariates))

    own = {name: np.array([value]) for name, value in result.parameters.items()}
    earlier = closed_form(model, [own], table("1", doses, [(105.0, 0.0)]))[0, -1]
    per_mg = closed_form(model, [own], table("1", [(104.0, 1.0, 1.0)], [(105.0, 0.0)]))[0, -1]
    assert result.converged
    assert (60.0 - earlier) / per_mg == pytest.approx(case["expected"]["dose_mg"], rel=0.01)


ERRORS = [
    Error("additive", additive=0.5),
    Error("proportional", proportional=0.2),
    Error("combined-sd", additive=0.3, proportional=0.15),
    Error("combined-variance", additive=0.3, proportional=0.15),
    Error("log", proportional=0.25),
]
DOSES = [(0.0, 1000.0, 0.0), (24.0, 1000.0, 0.0)]
LEVELS = [(2.0, 11.0), (12.0, 7.0), (23.5, 4.1), (47.0, 5.0)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.form)
@pytest.mark.parametrize("limits", [{}, {47.0: 5.0}], ids=["all quantified", "one below the limit"])
def test_a_general_minimiser_finds_nothing_better(error, limits):
    model = dataclasses.replace(ORAL, residual=(error,))
    rows = table("1", DOSES, LEVELS, limits=limits)
    seen = [i for i, r in enumerate(rows.records) if r.dv is not None]
    y = np.array([v for _, v in LEVELS])
    below = np.array([t in limits for t, _ in LEVELS])

    def badness(eta):
        values = individual(model, model.typical({}), eta)
        f = closed_form(model, [values], rows)[0, seen]
        sd = {
            "additive": error.additive + 0 * f,
            "proportional": error.proportional * f,
            "combined-sd": error.additive + error.proportional * f,
            "combined-variance": np.hypot(error.additive, error.proportional * f),
            "log": error.proportional + 0 * f,
        }[error.form]
        away = (np.log(y) - np.log(f) if error.form == "log" else y - f) / sd
        terms = np.where(below, -2 * log_normal_cdf(away), away**2 + 2 * np.log(sd))
        return terms.sum() + (eta**2 / 0.2).sum()

    best = minimize(
        badness, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    )
    result = _one(model, rows)

    assert result.converged
    assert result.objective == pytest.approx(best.fun, abs=1e-8)
    np.testing.assert_allclose(result.eta, best.x, atol=1e-5)


def test_the_hessian_is_that_of_half_the_objective():
    rows = table("1", DOSES, LEVELS)
    result = _one(ORAL, rows)
    at = [i for i, r in enumerate(rows.records) if r.dv is not None]
    error = error_model(ORAL.residual, ["concentration"] * 4)
    y, nothing = np.array([v for _, v in LEVELS]), np.zeros(4, dtype=bool)

    def half(eta):
        f = closed_form(ORAL, [individual(ORAL, ORAL.typical({}), eta)], rows)[0, at]
        return 0.5 * (float(objective(error, f, y, nothing)) + (eta**2 / 0.2).sum())

    h, unit = 1e-4, np.eye(3)
    expected = [
        [
            sum(a * b * half(result.eta + h * (a * unit[i] + b * unit[j])) for a in (-1, 1) for b in (-1, 1))
            / (4 * h * h)
            for j in range(3)
        ]
        for i in range(3)
    ]
    np.testing.assert_allclose(result.hessian, expected, rtol=2e-4, atol=1e-3)


@given(st.sampled_from(ERRORS), st.floats(0.1, 50.0), st.floats(-3.0, 3.0), st.booleans())
@settings(deadline=None)
def test_slopes_of_the_misfit_are_its_differences(error, f, z, below):
    model = error_model([error], ["concentration"])
    f, y = np.array([f]), np.array([f * np.exp(0.3 * z)])
    f, y, flag, h = model.on_scale(f), model.on_scale(y), np.array([below]), 1e-5
    up, down, here = misfit(model, f + h, y, flag), misfit(model, f - h, y, flag), misfit(model, f, y, flag)

    np.testing.assert_allclose((up.value - down.value) / (2 * h), here.slope, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((up.slope - down.slope) / (2 * h), here.curvature, rtol=1e-4, atol=1e-4)
    assert here.expected[0] >= 0


def test_the_logarithm_of_the_normal_distribution_keeps_its_digits_in_both_tails():
    mpmath = pytest.importorskip("mpmath")
    points = [-200.0, -40.0, -30.1, -29.9, -10.0, -1.0, 0.0, 1.0, 8.0, 20.0]
    with mpmath.workdps(120):
        expected = [float(mpmath.log(mpmath.ncdf(mpmath.mpf(u)))) for u in points]

    np.testing.assert_allclose(log_normal_cdf(np.array(points)), expected, rtol=1e-9, atol=1e-300)


PATIENTS = st.lists(
    st.lists(st.tuples(st.floats(0.5, 60.0), st.floats(0.2, 40.0)), max_size=5, unique_by=lambda level: level[0]),
    min_size=1,
    max_size=6,
)


@given(PATIENTS)
@settings(deadline=None, max_examples=25)
def test_a_patient_has_the_same_estimate_alone_and_among_others(levels):
    tables = [table(str(i), DOSES, own) for i, own in enumerate(levels)]

    together = map_estimates(ORAL, tables)

    assert [result.subject for result in together] == [str(i) for i in range(len(levels))]
    for rows, result in zip(tables, together, strict=True):
        assert result.converged, result.problem
        np.testing.assert_allclose(result.eta, _one(ORAL, rows, predict=linear_predict).eta, atol=1e-6)


def test_added_closed_forms_are_the_linear_predictions():
    model = dataclasses.replace(CENSORED, absorption="first-order", equations=lambda: {
        "CL": 3.0, "V1": 20.0, "Q": 2.0, "V2": 30.0, "KA": 0.7, "F": 0.6, "LAG": 0.4,
    })  # fmt: skip
    rows = EventTable("1", (
        Record(0.0, dv=1.0), Record(0.0, evid=1, amt=100.0, addl=2, ii=8.0, mdv=1), Record(0.0, dv=1.0),
        Record(1.0, evid=1, amt=50.0, cmt=2, rate=25.0, mdv=1), Record(2.5, dv=3.0), Record(8.0, dv=3.0),
        Record(9.0, evid=1, amt=80.0, cmt=2, mdv=1), Record(9.0, dv=3.0), Record(30.0, dv=0.4),
    ))  # fmt: skip

    quick, exact = _one(model, rows), _one(model, rows, predict=linear_predict)

    np.testing.assert_allclose(quick.predictions, exact.predictions, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(quick.eta, exact.eta, atol=1e-7)


def test_a_bad_patient_leaves_the_others_alone_and_says_why():
    model = dataclasses.replace(ORAL, equations=_typical_of_positive_weight, covariates=(Carried("WT"),))
    tables = [
        table("fine", DOSES, LEVELS, covariates={"WT": 70.0}),
        table("no weight", DOSES, LEVELS, covariates={"WT": -1.0}),
        table("before", DOSES, [(-1.0, 3.0)], covariates={"WT": 70.0}),
        table("also fine", DOSES, LEVELS[:2], covariates={"WT": 80.0}),
    ]

    fine, without, before, also = map_estimates(model, tables)

    assert (fine.converged, also.converged) == (True, True)
    assert not without.converged
    assert "weight" in without.problem
    assert not before.converged
    assert "-1 h has no likelihood" in before.problem


def _typical_of_positive_weight(WT):
    if WT <= 0:
        raise InputError("a weight must be positive", hint="correct it")
    return {"CL": 4.0 * WT / 70, "V1": WT, "KA": 1.0}


def test_effects_without_variance_stay_at_zero():
    model = dataclasses.replace(ORAL, omega=diagonal(0.2, 0.0, 0.2))
    smaller = dataclasses.replace(ORAL, random=(Effect("CL"), Effect("KA")), omega=diagonal(0.2, 0.2))

    result, expected = _one(model, table("1", DOSES, LEVELS)), _one(smaller, table("1", DOSES, LEVELS))

    assert result.eta[1] == 0.0
    np.testing.assert_allclose(result.eta[[0, 2]], expected.eta, atol=1e-8)


def test_without_levels_the_estimate_is_the_typical_patient():
    result = _one(ORAL, table("1", DOSES, []))

    assert result.converged
    assert result.parameters == {"CL": 4.0, "V1": 70.0, "KA": 1.0}
    assert result.objective == 0.0


@pytest.mark.parametrize(
    ("kind", "typical", "eta", "expected"),
    [
        ("log-normal", 4.0, 0.5, 4.0 * np.exp(0.5)),
        ("normal", 4.0, 0.5, 4.5),
        ("logit", 0.6, 0.5, 1 / (1 + 4 / 6 * np.exp(-0.5))),
    ],
)
def test_a_random_effect_moves_its_parameter_as_its_kind_says(kind, typical, eta, expected):
    model = dataclasses.replace(ORAL, random=(Effect("F", kind),), omega=((1.0,),))

    moved = individual(model, {"F": typical, "CL": 4.0}, [[eta], [0.0]])

    np.testing.assert_allclose(moved["F"], [expected, typical])
    np.testing.assert_allclose(moved["CL"], [4.0, 4.0])


def test_covariates_are_carried_as_the_model_states():
    records = [Record(t, covariates=c) for t, c in enumerate([{}, {"WT": 70.0, "CR": 1.0}, {"CR": 2.0}, {"WT": 80.0}])]
    model = dataclasses.replace(ORAL, covariates=(Carried("WT", "forward"), Carried("CR", "backward")))

    carried = carried_covariates(model, records)

    assert [held["WT"] for held in carried] == [70.0, 70.0, 70.0, 70.0]
    assert [held["CR"] for held in carried] == [1.0, 1.0, 2.0, 2.0]


def test_occasions_have_effects_of_their_own():
    model = dataclasses.replace(ORAL, occasion=diagonal(0.1, 0.0, 0.0))
    rows = table("1", DOSES, [(2.0, 11.0), (12.0, 7.0), (26.0, 14.0), (40.0, 5.0)])
    numbered = tuple(dataclasses.replace(r, covariates={"OCC": 1.0 if r.time < 24 else 2.0}) for r in rows.records)

    result = _one(model, EventTable("1", numbered))

    assert result.converged
    assert result.occasions.shape == (2, 3)
    assert result.hessian.shape == (9, 9)
    assert result.occasions[0, 0] != result.occasions[1, 0]
    assert np.all(result.occasions[:, 1:] == 0.0)
    assert result.occasions[:, 0].sum() * 0.2 == pytest.approx(result.eta[0] * 0.1)  # both have the same information
    missing = _one(model, rows)
    assert not missing.converged
    assert "OCC" in missing.problem


def test_a_factor_gives_its_covariance_back_and_leaves_out_what_does_not_vary():
    covariance = np.array([[0.2, 0.1, 0.0, 0.2], [0.1, 0.3, 0.0, 0.1], [0.0, 0.0, 0.0, 0.0], [0.2, 0.1, 0.0, 0.2]])

    factor = factor_of(covariance)

    assert factor.shape == (4, 2)
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-12)


def test_a_level_below_the_limit_before_the_first_dose_tells_nothing():
    before = table("1", DOSES, [(-1.0, 0.0), *LEVELS], limits={-1.0: 0.5})

    with_it, without = _one(ORAL, before), _one(ORAL, table("1", DOSES, LEVELS))

    assert with_it.converged
    np.testing.assert_allclose(with_it.eta, without.eta, atol=1e-9)


def test_a_level_within_the_typical_lag_shortens_the_lag():
    model = dataclasses.replace(
        ORAL,
        equations=lambda: {"CL": 4.0, "V1": 70.0, "KA": 1.0, "LAG": 0.5},
        random=(*ORAL.random, Effect("LAG")),
        omega=diagonal(0.2, 0.2, 0.2, 0.2),
    )

    result = _one(model, table("1", DOSES, [(0.45, 2.0), *LEVELS]))

    assert result.converged
    assert result.parameters["LAG"] < 0.45


def test_an_impossible_level_is_refused_with_its_time():
    model = dataclasses.replace(ORAL, residual=(Error("log", proportional=0.2),))

    result = _one(model, table("1", DOSES, [(2.0, 0.0)]))

    assert not result.converged
    assert "a level of 0.0 at 2 h is not possible" in result.problem


def test_a_level_of_one_of_several_outputs_says_which():
    two = (Error("additive", additive=0.5), Error("additive", additive=5.0, output="inr"))
    model = dataclasses.replace(ORAL, residual=two)
    rows = table("1", DOSES, LEVELS[:2])
    precise, vague = (
        EventTable("1", tuple(dataclasses.replace(r, covariates={"DVID": n}) for r in rows.records)) for n in (1.0, 2.0)
    )

    first, second, unsaid = (_one(model, own, predict=linear_predict) for own in (precise, vague, rows))

    assert np.abs(second.eta).max() < np.abs(first.eta).max()
    assert "DVID" in unsaid.problem
    assert "predicts no inr" in _one(model, vague).problem


def test_a_level_that_does_not_fit_lies_many_deviations_away():
    model = dataclasses.replace(ORAL, residual=(Error("additive", additive=0.5),))

    fitting = _one(model, table("1", DOSES, [(2.0, 11.5), (12.0, 8.0), (23.5, 4.2)]))
    wrong = _one(model, table("1", DOSES, [(2.0, 11.5), (12.0, 8.0), (23.5, 42.0)], limits={2.0: 12.0}))

    assert np.abs(fitting.deviations).max() < 2
    assert wrong.deviations[2] > 3
    assert np.isnan(wrong.deviations[0])
