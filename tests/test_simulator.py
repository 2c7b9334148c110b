"""The simulated world of hypertension beside what was published: trials, labels, surveys, and its own dials.

Numbers from outside stand in the tests with their source; `hypertension.toml` says how far each was verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from posologist.core.values import DrugId
from posologist.knowledge.effects import load_effect
from posologist.study.clinic import Clinic, Floats
from posologist.study.clinic_draw import (
    crcl_of,
    drawn,
)
from posologist.study.simulator import (
    Dials,
    World,
    fall_under,
    symptoms_under,
    world,
)
from posologist.study.simulator_data import periods
from posologist.study.simulator_effects import (
    SONG,
    dose_shape,
    net_of,
    song_clearance,
    song_fall,
    structural_fall,
    symptom_worth,
)
from posologist.study.simulator_kinetics import DRUGS
from posologist.twin.effect import pressure_change, pressure_model

N = 6000
OLM, AML, HCTZ = "olmesartan", "amlodipine", "hydrochlorothiazide"
CLASS_DRUGS = ("chlorthalidone", "metoprolol", "lisinopril", "losartan", "nifedipine")
"""One drug of each of Law's five classes, of those that follow the class rows."""
PLACEBO = {"CS8635": -4.20, "CS8663": -3.45}
"""Placebo effect (mmHg at 165 mmHg) by trial; its exponent of baseline pressure is 4.08: Song 2013, Table S7."""


def of(values: Floats, drug: str) -> Floats:
    return np.asarray(values[..., DRUGS.index(DrugId(drug))])


@cache
def clinic() -> Clinic:
    return drawn(N, np.random.default_rng(11))


@cache
def made(explained: float) -> World:
    return world(N, Dials(explained), 3)


def at(people: Clinic, pressure: float) -> Clinic:
    return replace(people, sbp=np.full(len(people), pressure))


@cache
def trial_population(pressure: float) -> Clinic:
    """People as in Song's three trials: 54.8 (SD 11) years, 94.9 (SD 22) kg, 25 % Black; the sexes in equal number."""
    n, rng = 4000, np.random.default_rng(2)
    some = drawn(n, rng)
    female = np.arange(n) % 2 == 0
    return replace(
        some, sbp=np.full(n, pressure), female=female, black=np.arange(n) % 4 == 1,
        age=np.clip(rng.normal(54.8, 11.0, n), 25.0, 85.0), weight=np.clip(rng.normal(94.9, 22.0, n), 50.0, 170.0),
        creatinine=np.where(female, 0.8, 1.0),
    )  # fmt: skip


def change(pressure: float, doses: Mapping[str, float], trial: str = "") -> float:
    """Mean change in such people, mmHg; with the placebo's part of a trial, or without any."""
    placebo = PLACEBO[trial] * (pressure / 165.0) ** 4.08 if trial else 0.0
    return placebo - float(song_fall(trial_population(pressure), doses).mean())


# Song 2013: the arms of the trials that the equations were made from


FACTORIAL = [
    ({OLM: 10.0}, -12.0), ({OLM: 20.0}, -14.0), ({OLM: 40.0}, -16.0), ({AML: 5.0}, -15.0), ({AML: 10.0}, -20.0),
    ({OLM: 10.0, AML: 10.0}, -25.0), ({OLM: 20.0, AML: 5.0}, -24.0), ({OLM: 20.0, AML: 10.0}, -29.0),
    ({OLM: 40.0, AML: 5.0}, -25.0), ({OLM: 40.0, AML: 10.0}, -30.0),
]  # fmt: skip
"""Change from baseline after 8 weeks, baseline 162 to 166 mmHg: Chrysant 2008 in Drug Safety 2015;38:33, table 5."""


def test_the_trials_people_have_the_kidneys_that_the_model_was_centred_on() -> None:
    assert crcl_of(trial_population(165.0)).mean() == pytest.approx(115.0, abs=2.0)


@pytest.mark.parametrize(("doses", "printed"), FACTORIAL, ids=lambda value: str(value))
def test_arms_of_olmesartan_and_amlodipine_fall_as_printed(doses: dict[str, float], printed: float) -> None:
    # 3 mmHg: with an SD of 15.2 (14.0 and 6.02) twice the error of an arm of 160 is 2.4; printed without tenths
    assert change(164.0, doses, "CS8663") == pytest.approx(printed, abs=3.0)


def test_the_lowest_pair_was_printed_as_low_as_that_with_twice_the_olmesartan_and_is_missed_by_it() -> None:
    # printed -24 for 10+5 as for 20+5: no dose-response can give both
    assert 2.5 < change(164.0, {OLM: 10.0, AML: 5.0}, "CS8663") - -24.0 < 3.5


def test_the_arms_of_olmesartan_and_amlodipine_together_are_missed_by_little() -> None:
    misses = [change(164.0, doses, "CS8663") - printed for doses, printed in FACTORIAL]

    assert abs(np.mean(misses)) < 1.5  # the standard error of the placebo arm, which all share, is 1.2


@pytest.mark.parametrize(
    ("doses", "pressure", "printed"), [({OLM: 40.0}, 152.9, -16.0), ({HCTZ: 25.0}, 155.9, -17.1)], ids=[OLM, HCTZ]
)
def test_olmesartan_and_hydrochlorothiazide_alone_fall_as_printed_beyond_placebo(
    doses: dict[str, float], pressure: float, printed: float
) -> None:
    # placebo -3.3 in the same trial: Chrysant 2004, table 1 of omicsonline 2155-9880-6-384; 3 mmHg as above
    assert change(pressure, doses) == pytest.approx(printed + 3.3, abs=3.0)


def test_olmesartan_with_hydrochlorothiazide_falls_some_three_mmhg_less_than_that_trial_printed() -> None:
    # printed -26.8 on both and -3.3 on placebo; TRINITY's pairs, fitted with it, do not show the gap (next tests)
    gap = change(153.6, {OLM: 40.0, HCTZ: 25.0}) - (-26.8 + 3.3)

    assert 2.0 < gap < 4.0


def test_the_triple_falls_as_trinity_printed() -> None:
    # -37.1 from baseline at 12 weeks: report of TRINITY, 10 May 2010; baseline that of the model's population
    assert change(165.0, {OLM: 40.0, AML: 10.0, HCTZ: 25.0}, "CS8635") == pytest.approx(-37.1, abs=3.0)


def test_the_pairs_of_trinity_lie_where_the_least_and_the_most_were_printed() -> None:
    # -27.5 and -30.0, which pair has which was not printed; some 600 patients to an arm, so twice the error is 1.2
    pairs = ({OLM: 40.0, AML: 10.0}, {OLM: 40.0, HCTZ: 25.0}, {AML: 10.0, HCTZ: 25.0})
    found = sorted(change(165.0, pair, "CS8635") for pair in pairs)

    assert found[-1] == pytest.approx(-27.5, abs=1.5)
    assert found[0] == pytest.approx(-30.0, abs=1.5)


@pytest.mark.parametrize("i", range(6))
def test_many_patients_at_once_fall_as_the_twin_says_of_each(i: int) -> None:
    doses = {OLM: 20.0, AML: 10.0, HCTZ: 12.5}
    chosen = [*range(5), int(np.flatnonzero(clinic().black & clinic().female)[0])][i]
    one = clinic().take([chosen])
    covariates = {
        "sbp": float(one.sbp[0]), "age": float(one.age[0]), "weight": float(one.weight[0]), "hispanic": 0.0,
        "female": float(one.female[0]), "black": float(one.black[0]), "study": 1.0,
    }  # fmt: skip
    model = pressure_model(load_effect("systolic-pressure-song-2013"), covariates)

    for taken in ({OLM: 20.0}, {AML: 10.0}, {HCTZ: 12.5}, {OLM: 20.0, HCTZ: 12.5}, doses):
        exposures = {drug: 1000.0 * dose / float(song_clearance(one, drug)[0]) for drug, dose in taken.items()}
        said = pressure_change(model, exposures)
        assert song_fall(one, taken)[0] == pytest.approx(float(said.placebo - said.total), abs=1e-9)


# Law 2003: classes, doses, baseline


LAW = {
    "chlorthalidone": (7.4, 8.8, 10.3), "lisinopril": (6.9, 8.5, 10.0), "enalapril": (6.9, 8.5, 10.0),
    "losartan": (7.8, 10.3, 12.3), "nifedipine": (5.9, 8.8, 11.7), "metoprolol": (7.4, 9.2, 11.1),
}  # fmt: skip
"""Fall (mmHg) at half, standard and double dose at 154 mmHg: Law 2003 BMJ 326:1427, table 2, as programs restate it."""


def law_population(*, women: bool) -> Clinic:
    """Patients at 154 mmHg with nothing by which trials tell patients apart."""
    usual = ~clinic().black & ~clinic().secondary & ~clinic().paroxetine & (clinic().female == women)
    return at(clinic().take(usual), 154.0)


@pytest.mark.parametrize("drug", LAW)
@pytest.mark.parametrize("women", [True, False], ids=["women", "men"])
def test_drugs_of_a_class_fall_as_laws_row_of_the_class_and_dose(drug: str, women: bool) -> None:
    fall = float(of(structural_fall(law_population(women=women)), drug).mean())

    for dose, printed in zip((0.5, 1.0, 2.0), LAW[drug], strict=True):
        assert fall * dose_shape(drug, dose) == pytest.approx(printed, abs=0.5)


def test_the_five_classes_average_to_what_laws_abstract_prints() -> None:
    fall = structural_fall(law_population(women=False))
    half = [float(of(fall, drug).mean()) * dose_shape(drug, 0.5) for drug in CLASS_DRUGS]

    assert np.mean([of(fall, drug).mean() for drug in CLASS_DRUGS]) == pytest.approx(9.1, abs=0.3)
    assert np.mean(half) == pytest.approx(7.1, abs=0.3)


def test_the_fall_grows_by_one_mmhg_for_ten_of_baseline() -> None:
    # Law 2003, abstract: 1.0 mmHg systolic per 10 mmHg
    low, high = (structural_fall(at(clinic(), pressure)).mean(axis=0) for pressure in (150.0, 170.0))

    slopes = [float(of((high - low) / 2.0, drug)) for drug in CLASS_DRUGS]
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.05)


def test_hydrochlorothiazide_by_song_lies_between_cochranes_fall_and_that_of_its_own_trial() -> None:
    # 8 mmHg at 25 mg: Musini 2014, CD003824. 17.1 less the placebo's 3.3: Chrysant 2004, at 155.9 mmHg.
    fall = float(of(structural_fall(at(clinic(), 155.9)), HCTZ).mean())

    assert 8.0 + 3.0 < fall < 17.1 - 3.3


def test_women_fall_further_than_men_on_amlodipine_and_on_hydrochlorothiazide_only() -> None:
    # effect of amlodipine in women x 1.301, clearance of hydrochlorothiazide in women x exp(-0.219): Song 2013
    women, men = (structural_fall(law_population(women=who)).mean(axis=0) for who in (True, False))

    further = {drug for drug in DRUGS if of(women, drug) > of(men, drug) + 1.0}
    assert further == {AML, HCTZ}


@pytest.mark.parametrize("drug", DRUGS)
def test_a_larger_dose_never_does_less(drug: str) -> None:
    people = world(50, Dials(0.6), 1)
    doses = (0.25, 0.5, 1.0, 2.0, 4.0)

    shape = [dose_shape(drug, dose) for dose in doses]
    symptoms = np.stack([symptoms_under(people, {drug: dose}) for dose in doses])

    assert shape == sorted(shape)
    assert shape[1] < shape[2] == 1.0 < shape[3]
    assert np.all(np.diff(symptoms, axis=0) >= -1e-12)


# Pairs


def test_two_drugs_together_fall_by_their_sum_as_the_trials_found_it() -> None:
    # observed over expected 1.01 for two classes: Wald 2009 Am J Med 122:290
    people = made(0.6)

    for one, two in (("lisinopril", "chlorthalidone"), ("losartan", AML), ("metoprolol", HCTZ)):
        total = of(people.fall, one) + of(people.fall, two)
        np.testing.assert_allclose(fall_under(people, {one: 1.0, two: 1.0}), 1.01 * total)


@pytest.mark.parametrize(
    ("one", "two", "factor"), [(OLM, AML, 0.0182), (OLM, HCTZ, 0.0195), (AML, HCTZ, 0.0263)]
)  # fmt: skip
def test_two_of_songs_drugs_together_have_songs_interaction(one: str, two: str, factor: float) -> None:
    # Song 2013, Table S7, 1/mmHg
    people = made(0.6)
    first, second = of(people.fall, one), of(people.fall, two)

    np.testing.assert_allclose(fall_under(people, {one: 1.0, two: 1.0}), first + second - factor * first * second)


def test_a_half_dose_of_each_of_two_drugs_takes_the_part_of_each() -> None:
    people = made(0.6)
    parts = [of(people.fall, drug) * dose_shape(drug, 0.5) for drug in ("lisinopril", "nifedipine")]

    np.testing.assert_allclose(fall_under(people, {"lisinopril": 0.5, "nifedipine": 0.5}), 1.01 * (parts[0] + parts[1]))


def test_symptoms_of_two_drugs_are_less_than_their_sum_and_more_than_either() -> None:
    # less than additive: Law 2003
    people = made(0.6)
    one, two = (symptoms_under(people, {drug: 1.0}) for drug in ("chlorthalidone", "nifedipine"))
    both = symptoms_under(people, {"chlorthalidone": 1.0, "nifedipine": 1.0})

    assert np.all(both < one + two)
    assert np.all(both > np.maximum(one, two))


# Symptoms


RATES = {
    "chlorthalidone": 9.9, "hydrochlorothiazide": 9.9, "lisinopril": 3.9, "enalapril": 3.9, "losartan": 0.0,
    "olmesartan": 0.0, "amlodipine": 8.3, "nifedipine": 8.3, "metoprolol": 7.5,
}  # fmt: skip
"""Percent with a symptom at the standard dose, treated less placebo: Law 2003, table 5 (PMC162261)."""


@pytest.mark.parametrize("explained", [0.0, 0.6])
def test_patients_report_symptoms_as_often_as_in_the_trials(explained: float) -> None:
    people = world(15_000, Dials(explained), 8)
    past = periods(people, 9)

    for drug, percent in RATES.items():
        mine = past.symptoms[past.drug == DRUGS.index(DrugId(drug))]
        error = np.sqrt(max(percent / 100.0 * (1.0 - percent / 100.0), 1e-4) / len(mine))
        of_exposure = 0.002 * (explained > 0.0)  # those who clear a drug slowly have symptoms a little more often
        assert mine.mean() == pytest.approx(percent / 100.0, abs=4.0 * error + of_exposure)


def test_gynaecomastia_on_spironolactone_is_of_men_at_the_trials_rate() -> None:
    # 10 % of men on a mean of 26 mg, 1 % on placebo: RALES in Am J Health Syst Pharm 2006;63
    people = made(1.0)
    share = of(people.symptoms, "spironolactone")

    assert np.all(share[people.clinic.female] == 0.0)
    np.testing.assert_allclose(share[~people.clinic.female], 0.09, atol=1e-9)


def test_women_have_oedema_on_amlodipine_more_often_than_men_as_the_label_has_it() -> None:
    # 14.6 % of women, 5.6 % of men: amlodipine label
    people = made(1.0)
    share = of(people.symptoms, AML)

    ratio = share[people.clinic.female].mean() / share[~people.clinic.female].mean()
    assert ratio == pytest.approx(14.6 / 5.6, rel=0.01)
    assert share.mean() == pytest.approx(0.083, abs=0.005)


def test_net_is_the_fall_less_the_symptoms_at_their_worth() -> None:
    people = made(0.6)

    np.testing.assert_allclose(people.net, net_of(people.fall, people.symptoms))
    assert symptom_worth() > 0.0
    assert np.all((people.symptoms >= 0.0) & (people.symptoms <= 1.0))


def test_songs_drugs_are_those_of_the_model() -> None:
    assert set(SONG) == set(load_effect("systolic-pressure-song-2013").drugs)
