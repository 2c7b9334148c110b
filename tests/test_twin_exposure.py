"""Exposure and curves of a twin, and how they stand to a therapeutic window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from posologist.core.drug import Window
from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.regimen import DoseEvent, Regimen
from posologist.core.settings import Settings
from posologist.core.values import DrugId, Series
from posologist.twin.exposure import Exposure, curve, curve_after, exposure
from posologist.twin.kinetics import MissingKinetics
from posologist.twin.population import prior_of
from twin_drugs import SOURCE, made_drug, patient, phenotypes, shipped_drug

SETTINGS = Settings()
PLAIN = {"clearance": 10.0, "volume": 60.0, "bioavailability": 0.5, "tmax": 1.5}


def regimen(dose, interval=12.0, drug="madeupril", **kwargs):
    return Regimen(drug=DrugId(drug), dose=dose, interval_h=interval, text=f"{dose} mg q{interval}h", **kwargs)


def window(**kwargs):
    return Window(source=SOURCE, status="verified", **kwargs)


def twin_of(drug, ledger, **kwargs):
    return prior_of(drug, None, None, settings=SETTINGS, ledger=ledger, **kwargs)


def exposure_of(drug, given_regimen, ledger=None, **kwargs):
    ledger = ledger or Ledger()
    prior = twin_of(drug, ledger, **kwargs)
    answer = exposure(prior, given_regimen, drug=drug, settings=SETTINGS, ledger=ledger)
    assert isinstance(answer, Exposure)
    return answer


def curve_of(drug, given_regimen, **kwargs):
    ledger = Ledger()
    answer = curve(twin_of(drug, ledger), given_regimen, settings=SETTINGS, ledger=ledger, **kwargs)
    assert isinstance(answer, Series)
    return answer


def test_daily_area_is_dose_times_bioavailability_over_clearance():
    assert exposure_of(made_drug(**PLAIN), regimen(100.0)).auc24.value == pytest.approx(10.0, rel=2e-3)


def test_interval_of_the_area_is_that_of_clearance():
    answer = exposure_of(made_drug(**PLAIN), regimen(100.0)).auc24
    spread = np.exp(np.sqrt(np.log(1.16)) * 1.2816)

    assert answer.high == pytest.approx(10.0 * spread, rel=0.01)
    assert answer.low == pytest.approx(10.0 / spread, rel=0.01)


@trials(max_examples=30, deadline=None)
@given(dose=st.floats(1.0, 1000.0), factor=st.floats(0.1, 10.0), interval=st.sampled_from([6.0, 8.0, 12.0, 24.0]))
def test_exposure_is_proportional_to_dose(dose, factor, interval):
    one = exposure_of(made_drug(**PLAIN), regimen(dose, interval)).measures()
    other = exposure_of(made_drug(**PLAIN), regimen(dose * factor, interval)).measures()

    for name in ("auc24", "average", "peak", "trough"):
        assert other[name].value == pytest.approx(factor * one[name].value, rel=1e-4)


@trials(max_examples=30, deadline=None)
@given(cl=st.floats(1.0, 50.0), less=st.floats(0.2, 0.8))  # each drug draws people of its own: a few percent of noise
def test_trough_rises_when_clearance_falls(cl, less):
    fast = exposure_of(made_drug(**{**PLAIN, "clearance": cl}), regimen(100.0))
    slow = exposure_of(made_drug(**{**PLAIN, "clearance": cl * less}), regimen(100.0))

    assert slow.trough.value > fast.trough.value
    assert slow.auc24.value > fast.auc24.value


def test_trough_average_and_peak_are_in_order():
    answer = exposure_of(made_drug(**PLAIN), regimen(100.0))

    assert answer.trough.value < answer.average.value < answer.peak.value


def test_steady_state_curve_lies_between_trough_and_peak():
    drug = made_drug(**PLAIN)
    answer, line = exposure_of(drug, regimen(100.0)), curve_of(drug, regimen(100.0), when="steady state")

    assert min(line.y) == pytest.approx(answer.trough.value, rel=1e-4)
    assert max(line.y) <= answer.peak.value * 1.001


def test_first_doses_rise_to_the_steady_state():
    drug = made_drug(**PLAIN)
    first, steady = curve_of(drug, regimen(100.0)), curve_of(drug, regimen(100.0), when="steady state")

    assert first.y[0] == 0.0
    assert first.y[-1] == pytest.approx(steady.y[-1], rel=0.02)
    assert len(first.x) == 73
    assert first.x[-1] == 72.0


def test_stacked_doses_equal_doses_given_one_by_one():
    drug, ledger = made_drug(**PLAIN), Ledger()
    prior = twin_of(drug, ledger)
    doses = [DoseEvent(time_h=12.0 * k, amount_mg=100.0) for k in range(7)]
    line = curve(prior, regimen(100.0), settings=SETTINGS, ledger=ledger)
    apart = curve_after(prior, doses, line.x, settings=SETTINGS, ledger=ledger)

    np.testing.assert_allclose(line.y, apart.y, rtol=1e-5)


def test_odd_intervals_and_own_times_are_superposed_exactly():
    drug, ledger = made_drug(**PLAIN), Ledger()
    prior = twin_of(drug, ledger)
    times = (0.0, 0.7, 7.6, 20.0)
    doses = [DoseEvent(time_h=7.5 * k, amount_mg=100.0) for k in range(3)]
    line = curve(prior, regimen(100.0, 7.5), settings=SETTINGS, ledger=ledger, times=times)

    assert line.y == curve_after(prior, doses, times, settings=SETTINGS, ledger=ledger).y


def test_a_loading_dose_starts_higher():
    drug = made_drug(**PLAIN)

    assert curve_of(drug, regimen(100.0, loading=200.0)).y[1] == pytest.approx(
        2 * curve_of(drug, regimen(100.0)).y[1], rel=1e-4
    )


def test_a_weekly_dose_is_shown_over_its_week():
    assert curve_of(made_drug(**PLAIN), regimen(100.0, 168.0)).x[-1] == 168.0


def test_extended_release_has_an_area_but_no_peak_and_no_curve():
    drug, ledger = made_drug(**PLAIN), Ledger()
    prior = twin_of(drug, ledger, release="extended")
    answer = exposure(prior, regimen(100.0), drug=drug, settings=SETTINGS, ledger=ledger)
    line = curve(prior, regimen(100.0), settings=SETTINGS, ledger=ledger)

    assert answer.auc24.value == pytest.approx(10.0, rel=2e-3)
    assert answer.peak is None
    assert isinstance(line, MissingKinetics)
    assert "release profile not known" in line.why
    assert any("release profile not known" in row.why for row in answer.not_checked)


def test_an_infusion_peaks_at_its_end():
    drug, ledger = made_drug(clearance=5.0, volume=50.0), Ledger()
    given_regimen = regimen(500.0, route="iv", duration_h=1.5)
    prior = twin_of(drug, ledger, route="iv")
    peak = exposure(prior, given_regimen, drug=drug, settings=SETTINGS, ledger=ledger).peak.value
    line = curve(
        prior, given_regimen, settings=SETTINGS, ledger=ledger, when="steady state", times=(1.0, 1.4, 1.5, 1.6, 3.0)
    )

    assert line.y[2] == pytest.approx(peak, rel=1e-5)
    assert max(line.y) == line.y[2]


@pytest.mark.parametrize("other", [{"drug": "another"}, {"route": "iv"}, {"release": "extended"}])
def test_a_regimen_of_another_drug_route_or_release_is_refused(other):
    drug, ledger = made_drug(**PLAIN), Ledger()

    with pytest.raises(InputError, match="model is of"):
        exposure(twin_of(drug, ledger), regimen(10.0, **other), drug=drug, settings=SETTINGS, ledger=ledger)


def test_metoprolol_lies_near_the_published_levels_in_normal_metabolizers():
    ledger = Ledger()  # 50 mg twice daily: peak 104, trough 20 ng/mL printed (metoprolol-P4)
    drug, person = shipped_drug("metoprolol"), patient(ledger, weight=80.0, crcl=80.0)
    prior = prior_of(drug, person, phenotypes(ledger, CYP2D6="Normal Metabolizer"), settings=SETTINGS, ledger=ledger)
    answer = exposure(prior, regimen(50.0, drug="metoprolol"), drug=drug, settings=SETTINGS, ledger=ledger)

    assert answer.peak.unit == "ug/L"
    assert answer.peak.low < 104 < answer.peak.high
    assert answer.trough.low < 20 < answer.trough.high


@pytest.mark.parametrize(
    ("name", "dose_mg", "published"),  # mg h/L, one dose or one interval, as printed beside the parameters' sources
    [
        ("empagliflozin", 10.0, 1870 * 450.9e-6),
        ("linezolid", 600.0, 138.0),
        ("nifedipine", 10.0, 0.187),
        ("pitavastatin", 2.0, 0.1212),
        ("rivaroxaban", 10.0, 1.247),
        ("siponimod", 2.0, 0.558),
    ],
)
def test_average_exposure_lies_within_a_fifth_of_published_areas(name, dose_mg, published):
    prior = prior_of(shipped_drug(name), None, None, settings=SETTINGS, ledger=Ledger())

    assert prior.exposure_per_mg * dose_mg == pytest.approx(published, rel=0.2)


def test_metoprolol_ratio_to_typical_is_five_fold_in_a_poor_metabolizer():
    ledger = Ledger()
    drug, person = shipped_drug("metoprolol"), patient(ledger, weight=80.0, crcl=80.0)
    prior = prior_of(drug, person, phenotypes(ledger, CYP2D6="Poor Metabolizer"), settings=SETTINGS, ledger=ledger)

    assert exposure(
        prior, regimen(50.0, drug="metoprolol"), drug=drug, settings=SETTINGS, ledger=ledger
    ).ratio.value == pytest.approx(4.9)


def test_probability_of_toxicity_is_the_share_above_the_threshold():
    drug = made_drug(
        window=(window(low=0.1, high=0.5, toxic_above=10 / 24, unit="mg/L", matrix="plasma trough"),), **PLAIN
    )
    answer = exposure_of(drug, regimen(100.0))
    ledger = Ledger()
    prior = twin_of(drug, ledger)
    draws = prior.draw(SETTINGS.draws)
    ke = draws.cl / draws.v
    trough = (
        50
        * draws.ka
        / draws.v
        / (draws.ka - ke)
        * (np.exp(-12 * ke) / (1 - np.exp(-12 * ke)) - np.exp(-12 * draws.ka) / (1 - np.exp(-12 * draws.ka)))
    )

    assert answer.toxic_probability.value == pytest.approx(np.mean(trough > 10 / 24), abs=1e-9)


def test_probability_of_toxicity_never_falls_with_the_dose():
    drug = made_drug(window=(window(low=0.1, toxic_above=0.8, unit="ug/mL", matrix="serum"),), **PLAIN)
    shares = [exposure_of(drug, regimen(dose)).toxic_probability.value for dose in (20.0, 50.0, 100.0, 200.0, 500.0)]

    assert shares == sorted(shares)
    assert shares[0] < 0.05 < 0.95 < shares[-1]


def test_therapeutic_index_is_toxic_over_effective():
    drug = made_drug(window=(window(low=10.0, high=20.0, toxic_above=20.0, unit="ng/mL"),), **PLAIN)

    assert exposure_of(drug, regimen(10.0)).therapeutic_index.value == pytest.approx(2.0)


def test_a_window_without_a_toxic_threshold_is_not_checked_never_passed():
    answer = exposure_of(made_drug(window=(window(low=10.0, high=20.0, unit="ng/mL"),), **PLAIN), regimen(10.0))

    assert answer.therapeutic_index is None
    assert answer.toxic_probability is None
    assert {row.what.split(" of ")[0] for row in answer.not_checked} == {"probability", "therapeutic index"}


@pytest.mark.parametrize(
    ("unit", "matrix"),
    [
        ("INR", "blood"),
        ("ng/mL", "plasma trough, with nortriptyline"),
        ("mg/dL", "serum urate (target)"),
        ("mEq/L", "serum"),
    ],
)
def test_a_window_of_something_else_is_not_held_against_the_concentration(unit, matrix):
    drug = made_drug(window=(window(low=1.0, high=2.0, toxic_above=3.0, unit=unit, matrix=matrix),), **PLAIN)
    answer = exposure_of(drug, regimen(10.0))

    assert answer.therapeutic_index is None
    assert answer.toxic_probability is None


def test_no_window_is_said():
    assert any(row.why == "no window on file" for row in exposure_of(made_drug(**PLAIN), regimen(10.0)).not_checked)


def test_a_dose_that_is_no_mass_is_not_answered():
    drug, ledger = made_drug(**PLAIN), Ledger()
    units = regimen(10.0, unit="units")

    assert isinstance(
        exposure(twin_of(drug, ledger), units, drug=drug, settings=SETTINGS, ledger=ledger), MissingKinetics
    )


def test_same_question_same_answer():
    drug = made_drug(**PLAIN)

    assert exposure_of(drug, regimen(100.0)) == exposure_of(drug, regimen(100.0))
    assert curve_of(drug, regimen(100.0)) == curve_of(drug, regimen(100.0))
