"""Laws of the twin on linear models drawn at random: through `predict`, `map_estimates`, `posterior` and `fit`.

Superposition, dose linearity and the time shift of `linear.predict` itself are in `test_twin_events.py`.
"""

import dataclasses
import json
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posologist.serve.cli import main
from posologist.twin.events import EventTable, Record
from posologist.twin.map import map_estimates
from posologist.twin.modelled import predict
from posologist.twin.posterior import posterior
from twin_models import Effect, Error, PlainModel, diagonal

EXAMPLES = int(os.environ.get("POSOLOGIST_LAW_EXAMPLES", "25"))  # more by `make laws`
_TIMES = (1.0, 4.0, 9.0, 20.0, 30.0)


@st.composite
def linear_models(draw):
    """One to three compartments, every absorption, with bioavailability and lag or without."""
    compartments = draw(st.integers(1, 3))
    absorption = draw(st.sampled_from(["none", "first-order", "zero-order", "transit"]))
    typical = {"CL": draw(st.floats(0.5, 20.0)), "V1": draw(st.floats(5.0, 100.0))}
    for q, v in (("Q", "V2"), ("Q3", "V3"))[: compartments - 1]:
        typical |= {q: draw(st.floats(0.5, 10.0)), v: draw(st.floats(5.0, 100.0))}
    if absorption != "none":
        rates = {"first-order": ("KA", 0.2, 3.0), "zero-order": ("D", 0.5, 8.0), "transit": ("KTR", 0.5, 5.0)}
        name, low, high = rates[absorption]
        typical[name] = draw(st.floats(low, high))
    if absorption != "none" and draw(st.booleans()):
        typical |= {"F": draw(st.floats(0.2, 1.0)), "LAG": draw(st.floats(0.0, 3.0))}
    form = draw(st.sampled_from(["additive", "proportional", "combined-sd", "combined-variance"]))
    additive, proportional = (0.3 if form != "proportional" else 0.0), (0.15 if form != "additive" else 0.0)
    return PlainModel(
        equations=lambda: typical,
        random=(Effect("CL"), Effect("V1")),
        omega=diagonal(0.1, 0.06),
        residual=(Error(form, additive=additive, proportional=proportional),),
        compartments=compartments,
        absorption=absorption,
        transit=3 if absorption == "transit" else 0,
    )


doses = st.lists(st.tuples(st.sampled_from([0.0, 6.0, 12.0, 24.0]), st.floats(50.0, 1000.0)), min_size=1, max_size=3)


def _table(given_doses, levels=(), *, shift=0.0, factor=1.0):
    rows = [Record(shift + t, evid=1, amt=factor * amount, mdv=1) for t, amount in given_doses]
    rows += [Record(shift + t, dv=y) for t, y in levels]
    return EventTable("1", tuple(sorted(rows, key=lambda row: (row.time, -row.evid))))


def _curve(model, given_doses, **changed):
    rows = _table(given_doses, [(t, None) for t in _TIMES], **changed)
    at = [n for n, row in enumerate(rows.records) if not row.is_dose]
    typical = {name: np.array([value]) for name, value in model.typical({}).items()}
    return predict(model, [typical] * len(rows.records), rows)[0, at]


def _levels(model, given_doses):
    """Levels of somebody else than the typical patient, with some error."""
    other = dataclasses.replace(model, equations=lambda: {**model.typical({}), "CL": 0.8 * model.typical({})["CL"]})
    errors = (1.1, 0.9, 1.05, 0.93, 1.02)
    return [(t, float(y) * e + 0.01) for t, y, e in zip(_TIMES, _curve(other, given_doses), errors, strict=True)]


@given(model=linear_models(), given_doses=doses, factor=st.floats(0.1, 10.0))
@settings(max_examples=EXAMPLES, deadline=None)
def test_levels_are_proportional_to_the_doses(model, given_doses, factor):
    once, more = _curve(model, given_doses), _curve(model, given_doses, factor=factor)

    np.testing.assert_allclose(more, factor * once, rtol=1e-9, atol=1e-12 * factor)


@given(model=linear_models(), one=doses, two=doses)
@settings(max_examples=EXAMPLES, deadline=None)
def test_levels_of_two_courses_add_up(model, one, two):
    together = _curve(model, [*one, *two])

    np.testing.assert_allclose(together, _curve(model, one) + _curve(model, two), rtol=1e-9, atol=1e-12)


@given(model=linear_models(), dose=st.floats(10.0, 1000.0))
@settings(max_examples=EXAMPLES, deadline=None)
def test_what_is_eliminated_and_what_is_there_is_what_arrived(model, dose):
    """CL x area under the curve, by Gauss' rule until nothing is left, is F x dose."""
    p = model.typical({})
    half = 0.7 * (p["V1"] + p.get("V2", 0.0) + p.get("V3", 0.0)) / p["CL"]
    ends = [0.0, p.get("LAG", 0.0), p.get("LAG", 0.0) + p.get("D", 0.0)]
    end = max(60.0 * half, 60.0 * p.get("V2", 0.0) / p.get("Q", 1.0), 60.0 * p.get("V3", 0.0) / p.get("Q3", 1.0), 200.0)
    edges = np.unique([*ends, *(ends[-1] + end * 2.0 ** -np.arange(24.0))])
    nodes, weights = np.polynomial.legendre.leggauss(12)
    low, high = edges[:-1, None], edges[1:, None]
    times, areas = ((low + high) / 2 + (high - low) / 2 * nodes).ravel(), ((high - low) / 2 * weights).ravel()
    rows = EventTable("1", (Record(0.0, evid=1, amt=dose, mdv=1), *(Record(float(t), mdv=1) for t in times)))
    levels = predict(model, [{k: np.array([v]) for k, v in p.items()}] * len(rows.records), rows)[0, 1:]

    assert p["CL"] * float(levels @ areas) == pytest.approx(p.get("F", 1.0) * dose, rel=1e-5)


@given(model=linear_models(), given_doses=doses)
@settings(max_examples=EXAMPLES, deadline=None)
def test_without_levels_the_posterior_is_the_prior(model, given_doses):
    found = posterior(model, _table(given_doses), n_draws=4000, rng=np.random.default_rng(1))

    np.testing.assert_allclose(found.estimate.eta, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.estimate.covariance, model.omega, atol=1e-9)
    np.testing.assert_allclose(found.covariance(), model.omega, atol=0.015)


@given(model=linear_models(), given_doses=doses, n=st.integers(1, 5))
@settings(max_examples=EXAMPLES, deadline=None)
def test_in_a_linear_gaussian_model_each_level_narrows_every_direction(model, given_doses, n):
    """A theorem where levels are linear in normal effects with additive error: the precision only grows.

    With log-normal effects one unexpected level can widen a posterior; on average over patients it cannot, see
    `test_on_average_a_level_narrows_the_posterior`.
    """
    scale = Effect("F", "normal")
    linear = dataclasses.replace(
        model,
        equations=lambda: {**model.typical({}), "F": 5.0},  # F enters a level as a factor: levels are linear in it
        random=(scale,), omega=diagonal(0.04), residual=(Error("additive", additive=0.3),),
    )  # fmt: skip
    levels = _levels(linear, given_doses)
    (fewer,) = map_estimates(linear, [_table(given_doses, levels[: n - 1])])
    (more,) = map_estimates(linear, [_table(given_doses, levels[:n])])

    assert more.covariance[0, 0] <= fewer.covariance[0, 0] * (1 + 1e-7)
    assert fewer.covariance[0, 0] <= 0.04 * (1 + 1e-7)


def test_on_average_a_level_narrows_the_posterior():
    """E var(eta | y1, y2) <= E var(eta | y1) <= var(eta), over patients and levels of the model itself."""
    model = PlainModel(
        equations=lambda: {"CL": 4.0, "V1": 40.0}, random=(Effect("CL"), Effect("V1")), omega=diagonal(0.1, 0.06),
        residual=(Error("proportional", proportional=0.2),),
    )  # fmt: skip
    rng, spread = np.random.default_rng(3), np.zeros((3, 2))
    given_doses, times = [(0.0, 500.0)], (2.0, 16.0)
    for _ in range(150):
        own = {n: np.array([v * np.exp(rng.normal(0, sd))]) for (n, v), sd in
               zip(model.typical({}).items(), (0.1**0.5, 0.06**0.5), strict=True)}  # fmt: skip
        rows = _table(given_doses, [(t, None) for t in times])
        curve = predict(model, [own] * 3, rows)[0, 1:] * (1 + 0.2 * rng.standard_normal(2))
        levels = list(zip(times, curve, strict=True))
        for n in range(3):
            found = posterior(model, _table(given_doses, levels[:n]), n_draws=2000, rng=rng)
            spread[n] += np.diag(found.covariance()) / 150

    assert np.all(spread[1] < spread[0])
    assert np.all(spread[2] < spread[1])


@given(model=linear_models(), given_doses=doses, shift=st.sampled_from([-500.0, 24.0, 1000.0]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_origin_of_time_changes_no_estimate(model, given_doses, shift):
    levels = _levels(model, given_doses)
    now, later = map_estimates(model, [_table(given_doses, levels), _table(given_doses, levels, shift=shift)])

    np.testing.assert_allclose(later.eta, now.eta, atol=1e-7)
    np.testing.assert_allclose(later.hessian, now.hessian, rtol=1e-5, atol=1e-6)


@given(model=linear_models(), given_doses=doses, order=st.permutations(range(4)))
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_order_of_levels_of_one_time_changes_no_estimate(model, given_doses, order):
    levels = [(12.5, y) for _, y in _levels(model, given_doses)[:4]]
    one, other = map_estimates(
        model, [_table(given_doses, levels), _table(given_doses, [levels[n] for n in order])]
    )  # fmt: skip

    np.testing.assert_allclose(other.eta, one.eta, atol=1e-8)


@given(model=linear_models(), given_doses=doses, factor=st.sampled_from([1e-3, 1000.0, 2.9]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_unit_of_levels_changes_no_estimate(model, given_doses, factor):
    (error,) = model.residual
    other = dataclasses.replace(model, scale=factor, residual=(error._replace(additive=factor * error.additive),))
    levels = _levels(model, given_doses)
    (one,) = map_estimates(model, [_table(given_doses, levels)])
    (two,) = map_estimates(other, [_table(given_doses, [(t, factor * y) for t, y in levels])])

    np.testing.assert_allclose(two.eta, one.eta, atol=1e-6)


_MODEL = """
id = "m"
drug = "example"
title = "made"
compartments = 1
dose_unit = "{dose_unit}"
concentration_unit = "{unit}"
scale = {scale}
molar_mass = 500.0
parameters = [
  {{ name = "cl", value = 4.0, unit = "L/h", meaning = "clearance" }},
  {{ name = "v", value = 40.0, unit = "L", meaning = "volume" }},
]
random = [{{ eta = "ETA1", on = "CL" }}, {{ eta = "ETA2", on = "V1" }}]
residual = [{{ form = "combined-variance", additive = {additive}, proportional = 0.15 }}]
citations = [{{ key = "made", title = "made", kind = "example" }}]
[equations]
CL = "cl"
V1 = "v"
[omega]
convention = "variance"
values = {{ CL = 0.1, V1 = 0.06 }}
[about]
title = "made"
source = "made"
version = "1"
licence = "none"
retrieved = "2026-11-20"
"""


@pytest.mark.parametrize(
    ("dose_unit", "dose", "unit", "scale", "level"),
    [
        ("mg", 1.0, "ug/L", 1e3, 1e3),
        ("mg", 1.0, "umol/L", 2.0, 2.0),
        ("g", 1e-3, "mg/L", 1e3, 1.0),
        ("g", 1e-3, "ug/L", 1e6, 1e3),
    ],
)  # fmt: skip
def test_a_fit_in_other_units_is_the_same_fit(tmp_path, monkeypatch, capsys, dose_unit, dose, unit, scale, level):
    def fitted(dose_unit, dose, unit, scale, level):
        model, data = tmp_path / f"{dose_unit}{scale:g}.toml", tmp_path / "data.csv"
        model.write_text(_MODEL.format(dose_unit=dose_unit, unit=unit, scale=float(scale), additive=0.3 * level))
        levels = [f"1,{t},0,.,{level * y!r}" for t, y in ((2.0, 11.0), (8.0, 5.2), (20.0, 1.1))]
        data.write_text("\n".join(["ID,TIME,EVID,AMT,DV", f"1,0,1,{500.0 * dose!r},.", *levels]))
        monkeypatch.setattr(sys, "argv", ["posologist", "fit", "--model", str(model), "--data", str(data), "--json"])
        with pytest.raises(SystemExit):
            main()
        return json.loads(capsys.readouterr().out)["subjects"]["1"]

    plain, other = fitted("mg", 1.0, "mg/L", 1.0, 1.0), fitted(dose_unit, dose, unit, scale, level)

    assert other["eta"] == pytest.approx(plain["eta"], abs=1e-7)
    assert other["parameters"] == pytest.approx(plain["parameters"], rel=1e-7)
    assert other["predictions"] == pytest.approx([level * y for y in plain["predictions"]], rel=1e-7)
