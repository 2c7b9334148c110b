"""What is published of the ten drugs, in the simulated patients: pressure, symptoms, contraindications, pairs.

Olmesartan, amlodipine and hydrochlorothiazide follow the exposure-response of Song 2013 by the twin's own function,
the other drugs the class rows of Law 2003 by dose. On both, what is published of renin, age, race, salt and secondary
disease is added by pathway. Every number is a cited fact of `hypertension.toml` or of the knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from posologist.core.values import DrugId
from posologist.knowledge.effects import EffectModel, load_effect
from posologist.study.clinic import Clinic, Flags, Floats
from posologist.study.clinic_draw import crcl_of, drawn, renin_centre
from posologist.study.facts import facts_of
from posologist.study.simulator_kinetics import DRUGS, folds, knowledge
from posologist.twin.effect import PressureModel, pressure_change

THIAZIDE, ACE, ARB = "thiazide or thiazide-like diuretic", "ACE inhibitor", "ARB"
CCB, BETA, MRA = "calcium channel blocker", "beta-blocker", "mineralocorticoid receptor antagonist"
LEVELS = (THIAZIDE, ACE, ARB, CCB, BETA, MRA)
"""The pathways, in the order of every fact that has one number for each."""
PATHWAYS = (THIAZIDE, THIAZIDE, ACE, ACE, ARB, ARB, CCB, CCB, BETA, MRA)
_VOLUME, _RENIN = "volume", "renin"
AXES = tuple(_VOLUME if pathway in (THIAZIDE, CCB, MRA) else _RENIN for pathway in PATHWAYS)
"""Drugs that act on volume and vessels, and drugs that act on the renin system (the AB/CD rule's two sides)."""
SONG = ("olmesartan", "amlodipine", "hydrochlorothiazide")
_STEPS = (0.5, 1.0, 2.0)  # doses of the class rows, over the standard dose
_PER_1000 = 1000.0


def structural_fall(clinic: Clinic) -> Floats:
    """Published fall of systolic pressure under each drug at its standard dose in these patients, (n, drugs), mmHg."""
    found = np.empty((len(clinic), len(DRUGS)))
    exposure = np.nan_to_num(folds(clinic), nan=1.0)
    for j, drug in enumerate(DRUGS):
        if drug in SONG:
            found[:, j] = song_fall(clinic, {drug: standard_dose(drug)})
        else:
            found[:, j] = _class_fall(drug, exposure[:, j]) * _baseline_factor(clinic)
    return found + _modified(clinic)


def song_fall(clinic: Clinic, doses: Mapping[str, float]) -> Floats:
    """Fall under olmesartan, amlodipine and hydrochlorothiazide, alone or together, by Song 2013, (n,).

    `doses` in mg a day; placebo's part is left out.
    """
    exposures = {drug: _PER_1000 * dose / song_clearance(clinic, drug) for drug, dose in doses.items()}
    change = pressure_change(_song(clinic), exposures)
    return np.asarray(np.broadcast_to(change.placebo - change.total, (len(clinic),)), dtype=np.float64)


def song_clearance(clinic: Clinic, drug: str) -> Floats:
    """CL/F by Song 2013, L/h, of a typical patient with these covariates."""
    numbers = facts_of("hypertension").numbers(f"kinetics_song_{drug}")
    if drug == "olmesartan":
        clearance, reference, power = numbers
        return np.asarray(clearance * (crcl_of(clinic) / reference) ** power)
    if drug == "hydrochlorothiazide":
        clearance, reference, power, age, age_power, female = numbers
        renal = (crcl_of(clinic) / reference) ** power
        return np.asarray(clearance * renal * (clinic.age / age) ** age_power * np.exp(female * clinic.female))
    clearance, age, age_power = numbers
    return np.asarray(clearance * (clinic.age / age) ** age_power)


def dose_shape(drug: str, dose: float) -> float:
    """Mean fall at a dose (over the standard dose) as a share of the mean fall at the standard dose."""
    if drug in SONG:
        middle = _typical()
        at, standard = (song_fall(middle, {drug: k * standard_dose(drug)}) for k in (dose, 1.0))
        return float(at[0] / standard[0])
    one = np.ones(1)
    return float(_class_fall(drug, one * dose)[0] / _class_fall(drug, one)[0])


def together(drugs: Sequence[str], alone: Sequence[Floats]) -> Floats:
    """Fall under several drugs from that under each: by Song's interaction for its drugs, else the trials' ratio."""
    total = np.asarray(sum(alone))
    if len(drugs) < 2:
        return total
    if set(drugs) <= set(SONG):
        joint = _song(_typical()).together
        for names, factor in joint.items():
            if set(names) <= set(drugs):
                product = np.prod([-alone[list(drugs).index(name)] for name in names], axis=0)
                total = total - float(factor) * product
        return total
    combination = knowledge().indication("hypertension").combination
    return total * (1.0 if combination is None else combination.observed_to_expected)


def class_symptoms(drug: str, dose: float) -> float:
    """Share of patients with symptoms by the drug at a dose over the standard dose; never below 0."""
    return float(_symptoms_at(_pathway(drug), np.array([dose]))[0])


def symptoms_of(clinic: Clinic, explained: float) -> Floats:
    """Probability of symptoms at the standard dose, (n, drugs): the class rate, moved by exposure and sex.

    What moves it counts by the root of `explained`: at 0 every patient has the rate of the class. Gynaecomastia on
    spironolactone is of men; no rate of what women have on its usual dose was found, so they have none.
    """
    facts = facts_of("hypertension")
    rate = np.array([class_symptoms(drug, 1.0) for drug in DRUGS])
    exposure = np.nan_to_num(folds(clinic), nan=1.0)
    moved = np.stack([_symptoms_at(pathway, exposure[:, j]) for j, pathway in enumerate(PATHWAYS)], axis=1)
    women, men = facts.numbers("harm_amlodipine_oedema_by_sex")
    share = facts.number("clinic_female")
    oedema = np.where(clinic.female, women, men) / (share * women + (1.0 - share) * men)
    breast = np.where(clinic.female, 0.0, 1.0 / (1.0 - share))
    for j, pathway in enumerate(PATHWAYS):
        moved[:, j] *= {CCB: oedema, MRA: breast}.get(pathway, 1.0)
    return np.asarray(np.clip(rate + np.sqrt(explained) * (moved - rate), 0.0, 1.0))


def net_of(fall: Floats, symptoms: Floats) -> Floats:
    """What a treatment is worth: the fall less the symptoms, in mmHg."""
    return fall - symptom_worth() * symptoms


@cache
def symptom_worth() -> float:
    """How many mmHg a certain symptom outweighs.

    The weight of a symptom against a cardiovascular event, over the events that 1 mmHg avoids at the rate of the
    trials' comparator arms; all three are those of the indication file.
    """
    held = knowledge().indication("hypertension")
    weight = next(w.weight for w in held.weights if w.event == "symptoms")
    ratio = next(c.value for c in held.constants if c.name == "rr10")
    risk = 1.0 - np.exp(-facts_of("hypertension").number("outside_comparator_rate"))
    return float((weight or 0.0) / (risk * -np.log(ratio) / 10.0))


def safe(clinic: Clinic) -> Flags:
    """Which drugs no contraindication of a label or of the European guidelines' table forbids, (n, drugs)."""
    high = np.round(clinic.potassium, 1) > facts_of("hypertension").number("clinic_hyperkalaemia")
    forbidden = {
        ACE: clinic.pregnant | high | clinic.renal_artery_stenosis | clinic.angioedema,
        ARB: clinic.pregnant | high | clinic.renal_artery_stenosis,
        MRA: clinic.pregnant | high,
        BETA: clinic.asthma | clinic.bradycardia,
        THIAZIDE: clinic.gout,
    }
    free = np.zeros(len(clinic), dtype=np.bool_)
    return np.stack([~forbidden.get(pathway, free) for pathway in PATHWAYS], axis=1)


def standard_dose(drug: str) -> float:
    """Standard dose of a drug, mg a day: that of the indication file, else a fact of the study."""
    held = next((s.dose for s in knowledge().indication("hypertension").standard_doses if s.drug == drug), None)
    return held if held is not None else facts_of("hypertension").number(f"effect_standard_dose_{drug}")


def _pathway(drug: str) -> str:
    return PATHWAYS[DRUGS.index(DrugId(drug))]


_NAMES = {
    THIAZIDE: "thiazide", ACE: "ace_inhibitor", ARB: "arb", CCB: "calcium_channel_blocker", BETA: "beta_blocker",
    MRA: "spironolactone",
}  # fmt: skip


def _between_rows(rows: npt.ArrayLike, dose: Floats) -> Floats:
    """Value at a dose (over the standard one) from rows of half, full and double: linear in log dose, flat beyond."""
    return np.asarray(np.interp(np.log(dose), np.log(_STEPS), np.asarray(rows, dtype=np.float64)))


def _symptoms_at(pathway: str, dose: Floats) -> Floats:
    """Share with symptoms at a dose over the standard dose; a negative excess over placebo counts as none."""
    facts = facts_of("hypertension")
    if pathway == MRA:  # men on drug less men on placebo, of all patients
        men, placebo = facts.numbers("harm_spironolactone_gynaecomastia")
        return np.full(len(dose), (men - placebo) / 100.0 * (1.0 - facts.number("clinic_female")))
    rows = np.maximum(facts.numbers(f"harm_{_NAMES[pathway]}"), 0.0)
    return _between_rows(rows / 100.0, dose)


def _class_fall(drug: str, dose: Floats) -> Floats:
    facts = facts_of("hypertension")
    if _pathway(drug) == MRA:
        standard, double = (-value for value in facts.numbers("effect_spironolactone_add_on"))
        return _between_rows((2.0 * standard - double, standard, double), dose)
    half, double = (-value for value in facts.numbers(f"effect_{_NAMES[_pathway(drug)]}_doses"))
    return _between_rows((half, -facts.number(f"effect_{_NAMES[_pathway(drug)]}"), double), dose)


def _baseline_factor(clinic: Clinic) -> Floats:
    """The fall is larger from a higher pressure: so many mmHg per 10 mmHg, over the mean fall (Law 2003)."""
    facts = facts_of("hypertension")
    extra, centre = -facts.number("modifier_sbp"), facts.numbers("modifier_sbp_centre")[0]
    mean = -facts.numbers("effect_average")[1]
    return np.asarray(1.0 + extra * (np.clip(clinic.sbp, 120.0, 190.0) - centre) / 10.0 / mean)


@cache
def _effect() -> EffectModel:
    return load_effect("systolic-pressure-song-2013")


def _song(clinic: Clinic) -> PressureModel:
    """The published model for many patients at once."""
    p = {parameter.name: parameter.value for parameter in _effect().parameters}
    pressure = clinic.sbp / 165.0
    olmesartan = p["olm_emax"] * pressure ** p["olm_sbp"] * (1.0 + p["olm_black"] * clinic.black)
    weight = (clinic.weight / 94.9) ** p["aml_weight"]
    amlodipine = p["aml_emax"] * pressure ** p["aml_sbp"] * weight * (1.0 + p["aml_female"] * clinic.female)
    joint = {
        ("olmesartan", "amlodipine"): p["olm_aml"], ("olmesartan", "hydrochlorothiazide"): p["olm_hctz"],
        ("amlodipine", "hydrochlorothiazide"): p["aml_hctz"],
        ("olmesartan", "amlodipine", "hydrochlorothiazide"): p["olm_aml_hctz"],
    }  # fmt: skip
    return PressureModel(
        placebo=0.0,
        saturable={"olmesartan": (olmesartan, p["olm_eauc50"]), "amlodipine": (amlodipine, p["aml_eauc50"])},
        linear={"hydrochlorothiazide": p["hctz_slope"] * pressure ** p["hctz_sbp"]},
        together=joint,
    )


def _modified(clinic: Clinic) -> Floats:
    """What renin, age, salt, race and secondary disease add to the fall by each pathway, (n, drugs), mmHg.

    Renin counts against the mean of patients of the same race and disease, since what is published of race holds the
    part that renin explains.
    """
    facts = facts_of("hypertension")
    age = (clinic.age - 55.0) / 10.0
    renin = (np.log(clinic.renin) - renin_centre(clinic)) / facts.number("renin_log_sd")
    sodium = (clinic.urine_sodium - np.where(clinic.female, *facts.numbers("sodium_mean"))) / 100.0
    total = np.zeros((len(clinic), len(DRUGS)))
    for j, (drug, pathway) in enumerate(zip(DRUGS, PATHWAYS, strict=True)):
        if pathway in _RENIN_SLOPES:
            total[:, j] -= facts.number(f"modifier_renin_{_RENIN_SLOPES[pathway]}") * renin
        if pathway in (ACE, ARB, BETA):
            total[:, j] -= facts.number("modifier_age_renin_angiotensin_or_beta_blocker") * age
        if pathway in (THIAZIDE, CCB):
            total[:, j] -= facts.number("modifier_age_thiazide_or_calcium_channel_blocker") * age
            total[:, j] -= facts.number("modifier_salt_thiazide_or_calcium_channel_blocker") * sodium
        if pathway in (ACE, ARB):
            total[:, j] -= facts.number("modifier_salt_renin_angiotensin_blocker") * sodium
        if pathway == MRA:
            aldosterone = facts.number("modifier_primary_aldosteronism_mineralocorticoid_antagonist")
            total[:, j] -= aldosterone * clinic.primary_aldosteronism
            total[:, j] -= facts.number("modifier_sleep_apnoea_mineralocorticoid_antagonist") * clinic.sleep_apnoea
        total[:, j] -= _of_race(drug, pathway) * clinic.black
    return total


_RENIN_SLOPES = {
    THIAZIDE: "thiazide", ACE: "ace_inhibitor", ARB: "arb", CCB: "calcium_channel_blocker", BETA: "beta_blocker",
    MRA: "mineralocorticoid_antagonist",
}  # fmt: skip


def _of_race(drug: str, pathway: str) -> float:
    """Change of pressure in Black patients less that in white ones, mmHg; Song's equations hold their own."""
    facts = facts_of("hypertension")
    if pathway == MRA or drug in ("olmesartan", "amlodipine"):
        return 0.0
    if pathway in (ACE, ARB):
        name = _NAMES[pathway]
        return (facts.number(f"modifier_race_{name}") - 1.0) * facts.number(f"effect_{name}")
    return facts.number(f"modifier_race_{_NAMES[pathway]}")


@cache
def _typical() -> Clinic:
    """A patient at the means of Song's trials: 165 mmHg, 54.8 years, 94.9 kg, creatinine clearance 115 mL/min."""
    one, ones, none = drawn(1, np.random.default_rng(0)), np.ones(1), np.zeros(1, dtype=np.bool_)
    return replace(
        one, sbp=165.0 * ones, age=54.8 * ones, weight=94.9 * ones, creatinine=0.977 * ones, female=none, black=none
    )
