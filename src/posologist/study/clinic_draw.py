"""How the people of the simulated clinic are drawn; every constant is a cited fact of `hypertension.toml`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from posologist.knowledge.genes import load_gene
from posologist.study.clinic import Clinic, Flags, Floats, Indices
from posologist.study.facts import Facts, facts_of

GENES = {
    "CYP2D6": ("*1", "*2", "*4", "*10", "*17", "*41", "*29"),
    "CYP2C9": ("*1", "*2", "*3", "*5", "*8", "*11"),
    "CYP3A5": ("*1", "*3", "*6", "*7"),
}
"""Alleles that the simulated people carry: the frequent ones; the rare ones are left out."""
DIPLOTYPES = {
    gene: tuple((one, two) for k, one in enumerate(alleles) for two in alleles[k:]) for gene, alleles in GENES.items()
}
CAN_LACK = ("renin", "urine_sodium", "potassium", "cyp2d6", "cyp2c9", "cyp3a5")
"""What a record may lack; nothing else of a patient depends on it."""


def drawn(n: int, rng: np.random.Generator) -> Clinic:
    """`n` patients with hypertension who take nothing for it yet."""
    facts = facts_of("hypertension")
    age = _age(facts, n, rng)
    young, older = age < 45.0, age >= 65.0

    def by_age(name: str) -> Flags:
        return _chance(rng, np.select([young, older], np.array(facts.numbers(name))[[0, 2]], facts.numbers(name)[1]))

    female, black, diabetes = (
        by_age("clinic_female_by_age"),
        by_age("clinic_black_by_age"),
        by_age("clinic_diabetes_by_age"),
    )
    tall, spread = (np.where(female, *facts.numbers(name)) for name in ("clinic_height", "clinic_height_sd"))
    height = tall + spread * rng.standard_normal(n)
    median, spread = np.where(
        female, *np.array([facts.numbers(f"clinic_bmi_{who}") for who in ("women", "men")])[..., None]
    )
    bmi = median * np.exp(spread * rng.standard_normal(n))
    sbp = _systolic(facts, age, female, black, rng)
    conditions = _conditions(facts, age, female, sbp, rng)
    bare = Clinic(
        age=age, female=female, black=black, height=height, weight=bmi * (height / 100.0) ** 2, sbp=sbp,
        dbp=_diastolic(facts, age, sbp, rng), heart_rate=_heart_rate(facts, conditions["bradycardia"], rng),
        creatinine=creatinine_of(_egfr(facts, age, rng), age, female),
        potassium=np.zeros(n), renin=np.ones(n), urine_sodium=np.zeros(n),
        smoker=by_age("clinic_smoking_by_age"), diabetes=diabetes,
        cyp2d6=np.zeros(n, np.int64), cyp2c9=np.zeros(n, np.int64), cyp3a5=np.zeros(n, np.int64),
        **conditions,
    )  # fmt: skip
    return redrawn(bare, CAN_LACK, rng)


def redrawn(clinic: Clinic, names: Iterable[str], rng: np.random.Generator) -> Clinic:
    """The same patients with these of `CAN_LACK` drawn again, given all the rest."""
    facts = facts_of("hypertension")
    wanted, n = set(names), len(clinic)
    found: dict[str, Any] = {}
    if "renin" in wanted:
        log = renin_centre(clinic) + facts.number("renin_log_sd_hypertension") * rng.standard_normal(n)
        found["renin"] = np.clip(np.exp(log), 0.05, 60.0)
    if "urine_sodium" in wanted:
        spread = facts.number("sodium_log_sd")
        mean = np.where(clinic.female, *facts.numbers("sodium_mean"))
        log_sodium = np.log(mean) - 0.5 * spread**2 + spread * rng.standard_normal(n)
        found["urine_sodium"] = np.clip(np.exp(log_sodium), 20.0, 600.0)
    if "potassium" in wanted:
        usual, low = facts.numbers("clinic_potassium"), facts.numbers("clinic_potassium_primary_aldosteronism")
        centre, width = (np.where(clinic.primary_aldosteronism, low[k], usual[k]) for k in (0, 1))
        found["potassium"] = np.clip(centre + width * rng.standard_normal(n), 2.8, 6.2)
    for gene in GENES:
        if gene.lower() in wanted:
            found[gene.lower()] = _diplotypes(gene, n, rng)
    return replace(clinic, **found)


def renin_centre(clinic: Clinic) -> Floats:
    """Mean logarithm of plasma renin activity (ng/mL/h) of patients of this age, race and secondary disease."""
    facts = facts_of("hypertension")
    log = np.log(facts.number("renin_median")) + np.log(facts.number("renin_per_decade")) * (clinic.age - 62.0) / 10.0
    for name, who in (
        ("renin_black", clinic.black), ("renin_primary_aldosteronism", clinic.primary_aldosteronism),
        ("renin_renal_artery_stenosis", clinic.renal_artery_stenosis),
    ):  # fmt: skip
        log = log + np.log(facts.number(name)) * who
    return np.asarray(log)


def egfr_of(clinic: Clinic) -> Floats:
    """eGFR by CKD-EPI 2021 (creatinine, age, sex), mL/min/1.73 m2; source: inker-2021."""
    kappa, alpha, factor = _ckd_epi(clinic.female)
    ratio = clinic.creatinine / kappa
    shape = np.where(ratio <= 1.0, ratio**alpha, ratio**-1.2)
    return np.asarray(142.0 * shape * 0.9938**clinic.age * factor)


def crcl_of(clinic: Clinic) -> Floats:
    """Creatinine clearance by Cockcroft and Gault, mL/min, with body weight; source: cockcroft-gault-1976."""
    raw = (140.0 - clinic.age) * clinic.weight / (72.0 * clinic.creatinine)
    return np.asarray(np.where(clinic.female, 0.85 * raw, raw))


def creatinine_of(egfr: Floats, age: Floats, female: Flags) -> Floats:
    """The creatinine (mg/dL) from which CKD-EPI 2021 computes this eGFR."""
    kappa, alpha, factor = _ckd_epi(female)
    share = egfr / (142.0 * 0.9938**age * factor)
    return np.asarray(kappa * np.where(share >= 1.0, share ** (1.0 / alpha), share ** (-1.0 / 1.2)))


def _ckd_epi(female: Flags) -> tuple[Floats, Floats, Floats]:
    return np.where(female, 0.7, 0.9), np.where(female, -0.241, -0.302), np.where(female, 1.012, 1.0)


def _chance(rng: np.random.Generator, share: npt.NDArray[Any]) -> Flags:
    return np.asarray(rng.random(len(share)) < share)


def _age(facts: Facts, n: int, rng: np.random.Generator) -> Floats:
    """Normal, between 20 and 90 years."""
    mean, spread = facts.numbers("clinic_age")
    found = mean + spread * rng.standard_normal(n)
    while (outside := (found < 20.0) | (found > 90.0)).any():
        found[outside] = mean + spread * rng.standard_normal(int(outside.sum()))
    return found


def _egfr(facts: Facts, age: Floats, rng: np.random.Generator) -> Floats:
    start, per_year, spread = facts.numbers("clinic_egfr_regression")
    return np.clip(start + per_year * age + spread * rng.standard_normal(len(age)), 20.0, 140.0)


def _systolic(facts: Facts, age: Floats, female: Flags, black: Flags, rng: np.random.Generator) -> Floats:
    start, per_year, women, of_black, spread = facts.numbers("clinic_sbp_regression")
    centre = start + per_year * age + women * female + of_black * black
    return np.asarray(np.clip(centre + spread * rng.standard_normal(len(age)), 130.0, 210.0))


def _diastolic(facts: Facts, age: Floats, sbp: Floats, rng: np.random.Generator) -> Floats:
    start, per_year, per_mmhg, spread = facts.numbers("clinic_dbp_regression")
    centre = start + per_year * age + per_mmhg * sbp
    return np.asarray(np.clip(centre + spread * rng.standard_normal(len(age)), 50.0, sbp - 25.0))


def _heart_rate(facts: Facts, bradycardia: Flags, rng: np.random.Generator) -> Floats:
    mean, spread = facts.numbers("clinic_heart_rate")
    usual = np.clip(mean + spread * rng.standard_normal(len(bradycardia)), 55.0, 115.0)
    return np.where(bradycardia, rng.uniform(42.0, 48.0, len(bradycardia)), usual)


def _conditions(facts: Facts, age: Floats, female: Flags, sbp: Floats, rng: np.random.Generator) -> dict[str, Flags]:
    every = np.ones(len(age))
    constant = {
        "asthma": "prevalence_asthma", "angioedema": "prevalence_angioedema", "bradycardia": "clinic_bradycardia",
        "renal_artery_stenosis": "prevalence_renal_artery_stenosis", "sleep_apnoea": "prevalence_sleep_apnoea",
        "family_hypertension": "prevalence_family_hypertension", "paroxetine": "prevalence_paroxetine",
        "clarithromycin": "prevalence_clarithromycin",
    }  # fmt: skip
    found = {name: _chance(rng, facts.number(fact) * every) for name, fact in constant.items()}
    found["gout"] = _chance(rng, np.where(female, *facts.numbers("prevalence_gout")))
    stages = facts.numbers("prevalence_primary_aldosteronism_by_stage")
    found["primary_aldosteronism"] = _chance(rng, np.select([sbp < 160.0, sbp < 180.0], stages[:2], stages[2]))
    fertile = female & (age < 45.0)
    found["pregnant"] = _chance(rng, facts.number("prevalence_pregnancy") * fertile)
    return found


def _diplotypes(gene: str, n: int, rng: np.random.Generator) -> Indices:
    """Diplotypes in Hardy-Weinberg proportion, from the allele counts on file."""
    counts = load_gene(gene).counts
    frequency = np.array([counts[allele] for allele in GENES[gene]], dtype=np.float64)
    frequency /= frequency.sum()
    place = {allele: k for k, allele in enumerate(GENES[gene])}
    chance = np.array(
        [frequency[place[a]] * frequency[place[b]] * (1.0 if a == b else 2.0) for a, b in DIPLOTYPES[gene]]
    )
    return np.asarray(rng.choice(len(chance), size=n, p=chance / chance.sum()), dtype=np.int64)
