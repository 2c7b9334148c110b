"""What a hospital would have recorded of the simulated patients: past treatment periods and the rows of models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from posologist.knowledge.expression import UNKNOWN, Scalar, expression
from posologist.learn.features import Frame
from posologist.learn.tasks import pressure
from posologist.learn.tasks.pressure import SCHEMA
from posologist.recommend.effects import interpolate
from posologist.study.clinic import Clinic, Flags, Floats, Indices
from posologist.study.clinic_draw import egfr_of
from posologist.study.facts import facts_of
from posologist.study.simulator import World, expected
from posologist.study.simulator_effects import PATHWAYS, net_of, standard_dose
from posologist.study.simulator_kinetics import DRUGS, folds, genes_of, knowledge, poor_cyp2d6

GENOME = ("cyp2d6_score", "cyp2c9_score", "cyp3a5_expresser")
KINETICS = ("exposure_fold",)
_KIDNEY = 60.0  # eGFR below which chronic kidney disease counts, mL/min/1.73 m2
_DOCTOR_BELIEVES = 0.3  # ours: doctors follow published differences of this size where the record explains less
_DOCTOR_FOLLOWS = 3.0  # ours: log odds by which full confounding prefers a drug for each SD of what is expected of it
_TAKEN = (0.3, 1.3)  # ours: least and most of the effect that is taken
_LACKED_BY = {
    "renin": "renin", "urine_sodium": "urine_sodium", "potassium": "potassium", "cyp2d6": "cyp2d6_score",
    "cyp2c9": "cyp2c9_score", "cyp3a5": "cyp3a5_expresser",
}  # fmt: skip


@dataclass(frozen=True)
class Periods:
    """Past treatment periods with one drug at its standard dose, arrays (m,).

    `fall` is the measured fall of systolic pressure, mmHg; `symptoms` whether any were reported.
    """

    patient: Indices
    drug: Indices
    fall: Floats
    symptoms: Flags

    @property
    def net(self) -> Floats:
        """The measured fall less the symptoms, mmHg."""
        return net_of(self.fall, self.symptoms.astype(np.float64))


def periods(made: World, seed: int) -> Periods:
    """One to three past periods of each patient, each with another drug, none of them contraindicated.

    A share `overlap` of the choices is by chance. The others are the doctor's: the more `confounding`, the more they
    follow what this patient may expect of each drug, part of which no record holds.
    """
    facts = facts_of("hypertension")
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(5)[4])
    n, dials = len(made), made.dials
    believed = expected(made.clinic, max(dials.explained, _DOCTOR_BELIEVES))
    sensed = believed + facts.number("clinic_doctor_senses") * made.net
    sensed = (sensed - sensed.mean()) / sensed.std()
    chosen = np.where(rng.random(n)[:, None] < dials.overlap, 0.0, dials.confounding * sensed * _DOCTOR_FOLLOWS)
    race = chosen + rng.gumbel(size=chosen.shape)
    order = np.argsort(-np.where(made.allowed, race, -np.inf), axis=1)
    number = 1 + rng.choice(3, size=n, p=facts.numbers("clinic_doctor_periods"))
    patient = np.repeat(np.arange(n), number)
    place = np.concatenate([np.arange(k) for k in number])
    drug = order[patient, place]
    dose_taken = np.clip(rng.normal(1.0, facts.number("spread_adherence"), n), *_TAKEN)
    fall = made.fall[patient, drug] * dose_taken[patient]
    fall = fall + facts.number("spread_fall") * rng.standard_normal(len(patient))
    symptoms = rng.random(len(patient)) < made.symptoms[patient, drug]
    return Periods(patient, drug, fall, symptoms)


def frame_of_periods(
    made: World, patient: Indices, drug: Indices, dose: Floats | float = 1.0, *, without: tuple[str, ...] = ()
) -> Frame:
    """Rows of the task `pressure-response` for these patients, drugs and doses; features `without` are not known."""
    clinic = made.clinic
    people = _people(made)
    values = np.full((len(patient), len(SCHEMA.features)), np.nan)
    place = {name: k for k, name in enumerate(SCHEMA.names)}
    for name, column in people.items():
        values[:, place[name]] = column[patient]
    values[:, place["drug"]] = np.array([pressure.DRUGS.index(name) for name in DRUGS])[drug]
    values[:, place["pathway"]] = np.array([pressure.PATHWAYS.index(pathway) for pathway in PATHWAYS])[drug]
    values[:, place["dose_ratio"]] = dose
    values[:, place["exposure_fold"]] = folds(clinic)[patient, drug]
    for name in without:
        values[:, place[name]] = np.nan
    return Frame(SCHEMA, values)


def _people(made: World) -> dict[str, Floats]:
    clinic, genes = made.clinic, genes_of(made.clinic)
    egfr = egfr_of(clinic)
    told: dict[str, Any] = {
        "age": np.floor(clinic.age), "male": ~clinic.female, "black": clinic.black, "weight": clinic.weight,
        "bmi": clinic.weight / (clinic.height / 100.0) ** 2, "sbp": clinic.sbp, "dbp": clinic.dbp,
        "heart_rate": clinic.heart_rate, "egfr": egfr, "potassium": clinic.potassium, "renin": clinic.renin,
        "urine_sodium": clinic.urine_sodium, "has_diabetes": clinic.diabetes, "has_ckd": egfr < _KIDNEY,
        "has_primary_aldosteronism": clinic.primary_aldosteronism,
        "has_renal_artery_stenosis": clinic.renal_artery_stenosis, "has_sleep_apnoea": clinic.sleep_apnoea,
        "family_hypertension": clinic.family_hypertension, "smoking_now": clinic.smoker,
        "cyp2d6_score": genes.cyp2d6_score, "cyp2c9_score": genes.cyp2c9_score,
        "cyp3a5_expresser": genes.cyp3a5_expresser,
    }  # fmt: skip
    found = {name: np.asarray(column, dtype=np.float64).copy() for name, column in told.items()}
    for name, gap in made.lacking.items():
        found[_LACKED_BY[name]][gap] = np.nan
    return found


def published_fall(clinic: Clinic, dose: float = 1.0) -> Floats:
    """The fall that `recommend` expects without any learned model, (n, drugs), mmHg, at a dose over the standard one.

    The rules of the indication's file, evaluated once for each pressure (whole mmHg), race and CYP2D6 state.
    """
    pressure, poor = np.rint(clinic.sbp).astype(np.int64), poor_cyp2d6(clinic)
    code = pressure * 4 + 2 * clinic.black + poor
    found = np.empty((len(clinic), len(DRUGS)))
    for value in np.unique(code).tolist():
        here = code == value
        for j, drug in enumerate(DRUGS):
            found[here, j] = -_published(drug, dose, value // 4, bool(value // 2 % 2), bool(value % 2))
    return found


def published_net(clinic: Clinic) -> Floats:
    """The same less the symptoms that the file expects of each drug."""
    return net_of(published_fall(clinic), published_symptoms())


def published_symptoms(dose: float = 1.0) -> Floats:
    """The share with symptoms that the indication's file expects of each drug at a dose over the standard, (drugs,)."""
    return np.array([_published_symptoms(drug, dose) for drug in DRUGS])


@cache
def _published(drug: str, ratio: float, pressure: int, black: bool, poor: bool) -> float:
    indication, subject = knowledge().indication("hypertension"), _Known(pressure, black, poor)
    groups = knowledge().groups_of(DRUGS[DRUGS.index(drug)])
    rules = [r for r in indication.effects if r.measure == "sbp" and groups & set(r.about) and r.when == "true"]
    rule = min(rules, key=lambda r: drug not in r.about)
    dose = {"none": 1.0, "relative": ratio}.get(rule.dose_basis, ratio * standard_dose(drug))
    value = interpolate(rule.points, dose)[0]
    for modifier in indication.modifiers:
        if modifier.measure != "sbp" or not groups & set(modifier.about):
            continue
        if expression(modifier.when).value(subject) is not True:
            continue
        factor, shift = expression(modifier.factor).value(subject), expression(modifier.shift).value(subject)
        if factor is not UNKNOWN and shift is not UNKNOWN:
            value = value * float(factor) + float(shift)
    return value


@cache
def _published_symptoms(drug: str, dose: float) -> float:
    groups = knowledge().groups_of(DRUGS[DRUGS.index(drug)])
    rules = knowledge().indication("hypertension").harms
    rule = next((rule for rule in rules if rule.event == "symptoms" and groups & set(rule.about)), None)
    return 0.0 if rule is None else interpolate(rule.points, dose)[0] / 100.0


@dataclass(frozen=True)
class _Known:
    """The facts that the file's modifiers of the fall read."""

    sbp: int
    black: bool
    poor: bool

    def fact(self, name: str) -> Scalar:
        """A fact of the patient; any other is not known."""
        return {"sbp": float(self.sbp), "black": self.black}.get(name, UNKNOWN)

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """The phenotype of CYP2D6; nothing else is asked."""
        if (function, arguments) == ("gene", ("CYP2D6",)):
            return "Poor Metabolizer" if self.poor else "Normal Metabolizer"
        return UNKNOWN
