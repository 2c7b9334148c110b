"""Estimates of one patient against NONMEM, Monolix and mapbayr, and what must hold for any patient."""

import csv
import json
from collections import defaultdict

import numpy as np
import pytest

from posologist.twin.map import map_estimates
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


def _one(model, rows, predict=closed_form):
    (result,) = map_estimates(model, [rows], predict=predict)
    return result


def _nonmem_oral_table(patient):
    doses = [(d["time_h"] + k * d["ii_h"], d["amt_mg"], 0.0) for d in patient["doses"] for k in range(d["addl"] + 1)]
    return table(patient["id"], doses, [(o["time_h"], o["conc_mg_per_L"]) for o in patient["observations"]])


def test_etas_of_nonmem_are_met_to_1e_5():
    patients = _reference("map_nonmem_1cpt_oral.json")["patients"]

    results = map_estimates(ORAL, [_nonmem_oral_table(patient) for patient in patients], predict=closed_form)

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

    results = map_estimates(model, tables, predict=closed_form)

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
