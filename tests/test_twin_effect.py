"""Effects: SciPy and closed forms agree, nothing moves without drug, more drug never does less, facts are whole."""

import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from posologist.core.errors import InputError, KnowledgeError, NumericsError
from posologist.core.regimen import DoseEvent
from posologist.knowledge.effects import EFFECTS_FOLDER, load_effect, load_effects
from posologist.twin.compartment import absorption, concentration, disposition
from posologist.twin.effect import (
    InrModel,
    PressureModel,
    curve,
    direct,
    effect_compartment,
    indirect_response,
    inr_course,
    inr_model,
    pressure_change,
    pressure_model,
    sigmoid_emax,
)

KINDS = ("production-inhibited", "loss-inhibited", "production-stimulated", "loss-stimulated")
INR_MODELS = ("warfarin-inr-hamberg-2007", "warfarin-inr-hamberg-2010")
TIMES = np.array([0.0, 3.0, 12.0, 30.0, 72.0, 200.0])


def _none(_):
    return np.zeros(2)


def _fading(t):
    return np.array([4.0, 0.7]) * np.exp(-np.array([0.05, 0.3]) * t)


def _warfarin(dose_mg, clearance=0.348, days=14, kinetics=None):
    """S-warfarin: half of each daily dose, one compartment of 14.3 L."""
    doses = [DoseEvent(time_h=24.0 * n, amount_mg=dose_mg / 2) for n in range(days)]
    model = disposition(np.atleast_1d(clearance), 14.3)
    return curve(model, doses, absorbed=absorption(2.0)), [dose.time_h for dose in doses]


# Direct effects


def test_half_the_effect_comes_at_ec50_and_none_without_drug():
    assert sigmoid_emax(2.5, emax=8.0, ec50=2.5, gamma=3.0) == pytest.approx(4.0, rel=1e-15)
    assert sigmoid_emax(0.0, emax=8.0, ec50=2.5, gamma=0.4) == 0.0
    assert direct(0.0, e0=120.0, emax=-30.0, ec50=2.0) == 120.0
    assert direct(6.0, e0=120.0, emax=-30.0, ec50=2.0) == pytest.approx(97.5, rel=1e-15)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(0.1, 15.0), st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_drug_never_has_less_effect(emax, ec50, gamma, one, two):
    low, high = (sigmoid_emax(c, emax=emax, ec50=ec50, gamma=gamma) for c in sorted((one, two)))

    assert 0 <= low <= high <= emax


def test_a_concentration_that_is_no_number_is_not_taken_for_none():
    assert np.isnan(sigmoid_emax(np.nan, emax=1.0, ec50=1.0))
    with pytest.raises(NumericsError, match="not finite"):
        effect_compartment(lambda _: np.array([np.nan]), [1.0], ke0=0.1)


@pytest.mark.parametrize("bad", [{"ec50": 0.0}, {"ec50": np.nan}, {"gamma": -1.0}])
def test_impossible_parameters_of_an_effect_are_refused(bad):
    with pytest.raises(NumericsError, match="above 0"):
        sigmoid_emax(1.0, **{"emax": 1.0, "ec50": 1.0, **bad})


# Curves and the effect compartment


def test_a_curve_is_the_concentration_after_the_same_doses():
    model = disposition([1.0, 3.0], [20.0, 30.0], peripheral=[([4.0, 2.0], [30.0, 10.0])])
    absorbed = absorption([1.0, 0.3], 0.8, [0.0, 1.0])
    doses = [
        DoseEvent(time_h=2.0, amount_mg=100.0),
        DoseEvent(time_h=9.0, amount_mg=50.0),
        DoseEvent(time_h=0.0, amount_mg=30.0, route="iv"),
        DoseEvent(time_h=5.0, amount_mg=30.0, route="iv", duration_h=3.0),
    ]
    times = np.array([0.0, 1.0, 2.0, 4.0, 6.0, 9.0, 25.0])

    found = np.array([curve(model, doses, absorbed=absorbed)(t) for t in times]).T

    np.testing.assert_allclose(found, concentration(model, doses, times, absorbed=absorbed), rtol=1e-12)


def test_the_effect_compartment_follows_the_closed_form():
    ke0, k, c0 = np.array([0.2, 1.5]), np.array([0.05, 0.3]), np.array([4.0, 0.7])

    found = effect_compartment(_fading, TIMES, ke0=ke0)

    expected = (c0 * ke0 / (ke0 - k))[:, None] * (np.exp(-np.outer(k, TIMES)) - np.exp(-np.outer(ke0, TIMES)))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_the_effect_compartment_reaches_a_constant_concentration():
    found = effect_compartment(lambda _: np.array([3.0]), [0.0, 500.0], ke0=0.1)

    np.testing.assert_allclose(found, [[0.0, 3.0]], rtol=1e-8)


# Indirect response


@pytest.mark.parametrize("kind", KINDS)
def test_an_indirect_response_is_that_of_scipy(kind):
    p = {"baseline": 10.0, "kout": 0.2, "maximum": 0.9, "half": 1.0, "gamma": 1.7}

    found = indirect_response(_fading, TIMES, kind=kind, **p)

    sign = -1 if kind.endswith("inhibited") else 1
    for n in range(2):

        def slope(t, r, n=n):
            c = _fading(t)[n]
            factor = 1 + sign * 0.9 * c**1.7 / (1 + c**1.7)
            made, lost = (factor, 1.0) if kind.startswith("production") else (1.0, factor)
            return 0.2 * 10.0 * made - 0.2 * lost * r

        oracle = solve_ivp(slope, (0, 200), [10.0], method="DOP853", rtol=1e-11, atol=1e-11, t_eval=TIMES)
        np.testing.assert_allclose(found[n], oracle.y[0], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_indirect_response_stays_at_its_baseline_without_drug(kind):
    found = indirect_response(_none, TIMES, kind=kind, baseline=[7.0, 9.0], kout=0.3, maximum=1.0, half=2.0)

    np.testing.assert_allclose(found, np.repeat([[7.0], [9.0]], TIMES.size, axis=1), rtol=1e-12)


@pytest.mark.parametrize("kind, expected", list(zip(KINDS, (0.5, 2.0, 1.5, 1 / 1.5), strict=True)))
def test_an_indirect_response_settles_where_production_meets_loss(kind, expected):
    found = indirect_response(
        lambda _: np.array([2.0]), [400.0], kind=kind, baseline=8.0, kout=0.2, maximum=1.0, half=2.0
    )

    assert found[0, 0] == pytest.approx(8.0 * expected, rel=1e-7)


@pytest.mark.parametrize("bad", [{"kout": 0.0}, {"baseline": -1.0}, {"maximum": 1.2}, {"maximum": -0.1}])
def test_impossible_indirect_responses_are_refused(bad):
    p = {"baseline": 8.0, "kout": 0.2, "maximum": 1.0, "half": 2.0, **bad}

    with pytest.raises(NumericsError):
        indirect_response(_none, TIMES, kind="production-inhibited", **p)


# INR


def _patient(alleles=1, base=1.1):
    return {"vkorc1_a": alleles, "inr_base": base}


@pytest.mark.parametrize("name", INR_MODELS)
def test_the_inr_stays_at_its_base_without_drug(name):
    found = inr_course(inr_model(load_effect(name), _patient()), _none, TIMES)

    np.testing.assert_array_equal(found, 1.1)


@pytest.mark.parametrize("name", INR_MODELS)
def test_the_inr_is_that_of_scipy(name):
    model = inr_model(load_effect(name), _patient())
    level, stops = _warfarin(5.0)
    times = np.array([12.0, 48.0, 100.0, 200.0, 336.0])
    (n1, t1), (n2, t2) = model.chains

    def slope(t, a):
        c = max(float(level(t)[0]), 1e-300)
        made = 1.0 - model.emax * c**model.gamma / (model.ec50**model.gamma + c**model.gamma)
        first, second = a[:n1], a[n1:]
        return [
            *(n1 / t1 * (np.array([made, *first[:-1]]) - first)),
            *(n2 / t2 * (np.array([made, *second[:-1]]) - second)),
        ]

    found = inr_course(model, level, times, stops=stops)

    oracle = solve_ivp(
        slope, (0, 336), np.ones(n1 + n2), method="DOP853", rtol=1e-10, atol=1e-11, t_eval=times, max_step=0.5
    ).y
    a, b = oracle[n1 - 1], oracle[-1]
    lost = 1 - a * b if model.joined == "product" else 1 - (a + b) / 2
    np.testing.assert_allclose(found[0], model.base + model.inr_max * lost**model.power, rtol=1e-6)


@pytest.mark.parametrize("name", INR_MODELS)
def test_a_constant_concentration_leads_to_the_closed_form(name):
    model = inr_model(load_effect(name), _patient())

    found = inr_course(model, lambda _: np.array([0.3, 1.5]), [4000.0])

    np.testing.assert_allclose(found[:, 0], model.at_constant(np.array([0.3, 1.5])), rtol=1e-6)


@pytest.mark.parametrize("name", INR_MODELS)
def test_more_warfarin_a_slower_clearance_or_more_a_alleles_raise_the_inr(name):
    def inr(dose=5.0, clearance=0.348, alleles=1):
        level, stops = _warfarin(dose, clearance)
        return inr_course(inr_model(load_effect(name), _patient(alleles)), level, [72.0, 336.0], stops=stops)[0]

    doses = [inr(dose=d) for d in (0.0, 2.5, 5.0, 10.0)]
    clearances = [inr(clearance=c) for c in (0.348, 0.216, 0.0844)]
    alleles = [inr(alleles=n) for n in (0, 1, 2)]

    for rising in (doses, clearances, alleles):
        assert np.all(np.diff(np.array(rising), axis=0) > 0)


def test_draws_of_clearance_and_sensitivity_go_together():
    level, stops = _warfarin(5.0, clearance=np.array([0.2, 0.4]))
    base = {"emax": 1.0, "gamma": 1.15, "chains": ((3, 28.6), (3, 118.3)), "base": 1.0, "inr_max": 20.0, "power": 1.0}

    both = inr_course(InrModel(ec50=np.array([2.0, 4.0]), joined="mean", **base), level, [100.0, 300.0], stops=stops)

    for n, (clearance, ec50) in enumerate([(0.2, 2.0), (0.4, 4.0)]):
        alone, _ = _warfarin(5.0, clearance=clearance)
        one = inr_course(InrModel(ec50=ec50, joined="mean", **base), alone, [100.0, 300.0], stops=stops)
        np.testing.assert_allclose(both[n], one[0], rtol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"emax": 1.5},
        {"emax": -0.1},
        {"ec50": 0.0},
        {"chains": ((0, 28.0), (3, 118.0))},
        {"chains": ((3, -1.0), (3, 1.0))},
    ],
)
def test_impossible_inr_models_are_refused(bad):
    p = {"emax": 1.0, "ec50": 2.0, "gamma": 1.0, "chains": ((3, 28.6), (3, 118.3)), "base": 1.0, "inr_max": 20.0}
    model = InrModel(**{**p, "power": 1.0, "joined": "mean", **bad})

    with pytest.raises(NumericsError):
        inr_course(model, lambda _: np.ones(1), [24.0])


def test_a_stiff_effect_ends_with_an_error_in_time():
    began = time.process_time()

    with pytest.raises(NumericsError, match="step limit"):
        effect_compartment(lambda t: np.array([2.0 + np.cos(t)]), [0.0, 1e4], ke0=1e8, limit=2000)

    assert time.process_time() - began < 10


# Blood pressure

TYPICAL = {"sbp": 165.0, "age": 54.8, "weight": 94.9, "female": 0, "black": 0, "hispanic": 0, "study": 1}
EXPOSED = {"olmesartan": 40e3 / 6.32, "amlodipine": 10e3 / 23.4, "hydrochlorothiazide": 25e3 / 20.3}


def _pressure(exposures, **covariates):
    return pressure_change(
        pressure_model(load_effect("systolic-pressure-song-2013"), {**TYPICAL, **covariates}), exposures
    )


def test_each_drug_alone_has_the_published_effect_in_the_typical_patient():
    olmesartan = _pressure({"olmesartan": 1590.0})
    amlodipine = _pressure({"amlodipine": 309.0})
    thiazide = _pressure({"hydrochlorothiazide": 1000.0})

    assert olmesartan.alone["olmesartan"] == pytest.approx(-9.4, rel=1e-12)
    assert amlodipine.alone["amlodipine"] == pytest.approx(-11.55, rel=1e-12)
    assert thiazide.alone["hydrochlorothiazide"] == pytest.approx(-9.38, rel=1e-12)
    assert olmesartan.total == pytest.approx(-9.4 - 4.20, rel=1e-12)


def test_interactions_are_the_products_of_what_each_drug_does_alone():
    found = _pressure(EXPOSED)

    o, a, h = (found.alone[drug] for drug in EXPOSED)
    expected = 0.0182 * o * a + 0.0195 * o * h + 0.0263 * a * h + 0.000736 * o * a * h
    assert found.together == pytest.approx(expected, rel=1e-12)
    assert found.total == pytest.approx(-4.20 + o + a + h + expected, rel=1e-12)


def test_combinations_lower_more_than_their_parts_but_less_than_their_sum():
    drugs = list(EXPOSED)
    alone = {d: _pressure({d: EXPOSED[d]}).total + 4.20 for d in drugs}
    for one, two in ((0, 1), (0, 2), (1, 2)):
        pair = _pressure({drugs[k]: EXPOSED[drugs[k]] for k in (one, two)}).total + 4.20

        assert alone[drugs[one]] + alone[drugs[two]] < pair < min(alone[drugs[one]], alone[drugs[two]])
    assert sum(alone.values()) < _pressure(EXPOSED).total + 4.20 < pair


@pytest.mark.parametrize(
    "covariates, drug, factor",
    [
        ({"black": 1}, "olmesartan", 1 - 0.393),
        ({"female": 1}, "amlodipine", 1.301),
        ({"weight": 60.0}, "amlodipine", (60 / 94.9) ** -0.586),
        ({"sbp": 150.0}, "olmesartan", (150 / 165) ** 1.96),
        ({"sbp": 150.0}, "amlodipine", (150 / 165) ** 3.65),
        ({"sbp": 150.0}, "hydrochlorothiazide", (150 / 165) ** 2.82),
    ],
)
def test_covariates_change_the_drug_that_they_concern(covariates, drug, factor):
    usual, other = _pressure(EXPOSED), _pressure(EXPOSED, **covariates)

    assert other.alone[drug] == pytest.approx(usual.alone[drug] * factor, rel=1e-12)


@pytest.mark.parametrize(
    "covariates, expected",
    [
        ({}, -4.20),
        ({"study": 2}, -3.45),
        ({"study": 3}, -5.26),
        ({"hispanic": 1}, -4.20 * 0.446),
        ({"hispanic": 1, "study": 2}, -3.45),
        ({"age": 70.0}, -4.20 * (70 / 54.8) ** -0.746),
        ({"sbp": 150.0}, -4.20 * (150 / 165) ** 4.08),
    ],
)
def test_without_drug_only_the_placebo_effect_is_left(covariates, expected):
    found = _pressure({}, **covariates)

    assert found.total == pytest.approx(expected, rel=1e-12)
    assert found.together == 0


@given(st.sampled_from(sorted(EXPOSED)), st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_exposure_to_one_drug_never_lowers_less(drug, one, two):
    low, high = sorted((one, two))

    assert _pressure({drug: high}).total <= _pressure({drug: low}).total


def test_exposures_of_many_draws_are_answered_at_once():
    aucs = np.array([0.0, 500.0, 5000.0])

    found = _pressure({"olmesartan": aucs, "amlodipine": 400.0}).total

    assert found.shape == (3,)
    for n, auc in enumerate(aucs):
        assert found[n] == pytest.approx(_pressure({"olmesartan": auc, "amlodipine": 400.0}).total, rel=1e-14)


def test_unknown_drugs_and_negative_exposures_are_refused():
    with pytest.raises(InputError, match="lisinopril"):
        _pressure({"lisinopril": 100.0})
    with pytest.raises(InputError, match="negative"):
        _pressure({"olmesartan": -1.0})
    with pytest.raises(InputError, match="negative"):
        pressure_change(PressureModel(0.0, {}, {"a": -1.0}, {}), {"a": np.nan})


# The files


@pytest.mark.parametrize("model", load_effects(), ids=lambda model: model.id)
def test_every_effect_model_is_whole_and_says_where_its_numbers_were_read(model):
    usual = {c.name: 1.0 for c in model.covariates} | ({} if model.structure != "pressure" else TYPICAL)

    assert all(np.isfinite(value) for value in model.typical(usual).values())
    assert all(p.status != "verified" for p in model.parameters)  # no paper was opened for these
    assert all(re.search(r"doi:10\.", c.where) for c in model.citations if c.kind == "paper")


def test_covariates_that_are_missing_or_unknown_are_refused_and_the_range_is_told():
    effect = load_effect("warfarin-inr-hamberg-2010")

    with pytest.raises(InputError, match="vkorc1_a"):
        effect.typical({"inr_base": 1.1})
    with pytest.raises(InputError, match="weight"):
        effect.typical({**_patient(), "weight": 70})
    with pytest.raises(InputError, match="inr_base"):
        effect.typical({"vkorc1_a": 1, "inr_base": float("nan")})
    assert [c.name for c in effect.outside(_patient(alleles=3))] == ["vkorc1_a"]
    assert effect.outside(_patient()) == ()


def test_impossible_covariates_give_an_error_not_a_number():
    with pytest.raises(InputError, match="no value"):
        load_effect("systolic-pressure-song-2013").typical({**TYPICAL, "age": 0.0})
    with pytest.raises(InputError, match="no value"):
        load_effect("systolic-pressure-song-2013").typical({**TYPICAL, "weight": -3.0})


def test_a_model_of_one_kind_is_not_used_as_the_other():
    with pytest.raises(InputError, match="no model of the INR"):
        inr_model(load_effect("systolic-pressure-song-2013"), TYPICAL)
    with pytest.raises(InputError, match="no model of blood pressure"):
        pressure_model(load_effect("warfarin-inr-hamberg-2010"), _patient())


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('id = "', 'id = "other-', "not the name of the file"),
        ('GAMMA = "gamma"', 'GAMMA = "gama"', "gama"),
        ('GAMMA = "gamma"', 'GAMMA = "1.15"', "no equation reads gamma"),
        ('POWER = "1"\n', "", "POWER"),
        ('name = "mtt2"', 'name = "mtt1"', "used twice"),
        ('key = "hamberg-2010"', 'key = "other"', "citation"),
        ('structure = "inr-mean"', 'structure = "inr"', "structure"),
        ("value = 1.15", "value = nan", "value"),
        ("[equations]", "[equations", "TOML"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, old, new, words):
    text = (EFFECTS_FOLDER / "warfarin-inr-hamberg-2010.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "warfarin-inr-hamberg-2010.toml").write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(KnowledgeError, match=words):
        load_effect("warfarin-inr-hamberg-2010", tmp_path)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('EAUC50_AMLODIPINE = "aml_eauc50"', 'EAUC50 = "aml_eauc50"', "AMLODIPINE"),
        ("\nPLACEBO =", "\nBASELINE =", "PLACEBO"),
        ("JOINT_OLMESARTAN_AMLODIPINE =", "JOINT_OLMESARTAN_LISINOPRIL =", "LISINOPRIL"),
    ],
)
def test_a_pressure_model_that_lacks_a_part_is_refused(tmp_path, old, new, words):
    text = (EFFECTS_FOLDER / "systolic-pressure-song-2013.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "systolic-pressure-song-2013.toml").write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(KnowledgeError, match=words):
        load_effect("systolic-pressure-song-2013", tmp_path)


def test_an_effect_model_that_is_not_there_is_refused():
    with pytest.raises(KnowledgeError, match="no effect model"):
        load_effect("none")
