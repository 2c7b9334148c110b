"""Simulated patients on extended-release nifedipine: what a record tells of them, what visits show, and the truth.

The truth is each patient's oral clearance: that of healthy young men, divided by the published folds of exposure (age,
cirrhosis, verapamil, diltiazem, phenytoin; they multiply), times what nobody can foresee. The tablet delivers evenly
over a day, so that at a visit the concentration lies on its plateau: dose / (24 h x oral clearance). A level is drawn
on a day on which the tablet was taken; a pressure is read whether it was or not, and the record does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from posologist.study.clinic import Flags, Floats, Indices
from posologist.study.clinic_draw import drawn
from posologist.study.facts import Facts, facts_of

DAY_H = 24.0
SCALE = 1000.0  # mg/L to ng/mL
INHIBITORS = ("none", "verapamil 180 mg", "diltiazem 180 mg", "diltiazem 270 mg")
N_VISITS = 3
_SPARE = 20  # people drawn beyond those needed


@dataclass(frozen=True)
class Known:
    """What the record holds; each (n,). `inhibitor` is a place in `INHIBITORS`; `sbp` a reading before treatment."""

    age: Floats
    female: Flags
    weight: Floats
    cirrhosis: Flags
    inhibitor: Indices
    phenytoin: Flags
    sbp: Floats

    def __len__(self) -> int:
        return len(self.age)

    def take(self, chosen: Flags | Indices) -> Self:
        """Some of the patients."""
        return replace(self, **{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True)
class Visits:
    """Three visits under the label's way; each (n, 3): daily dose (mg), level (ng/mL), systolic pressure (mmHg)."""

    dose: Floats
    level: Floats
    pressure: Floats


@dataclass(frozen=True)
class Seen:
    """All that a method may use."""

    known: Known
    visits: Visits


@dataclass(frozen=True)
class Patients:
    """What is seen, and the truth: oral clearance (L/h) and the right daily dose (mg), each (n,)."""

    seen: Seen
    clearance: Floats
    right: Floats


@dataclass(frozen=True)
class Window:
    """Average concentrations aimed at (ng/mL), and the doses that there are (mg/day)."""

    low: float
    high: float
    largest: float
    tablets: tuple[float, ...]

    @property
    def middle(self) -> float:
        """As many times above the lower end as below the upper one: exposure differs between patients by factors."""
        return float(np.sqrt(self.low * self.high))

    def dose(self, clearance: Floats) -> Floats:
        """Daily dose (mg) that brings the average to the middle, at most the label's largest."""
        return np.minimum(self.middle * DAY_H * clearance / SCALE, self.largest)

    def tablet(self, dose: Floats) -> Floats:
        """The dose of whole tablets that is nearest as a factor."""
        given = np.array(self.tablets)
        away = np.abs(np.log(given) - np.log(dose)[:, None])
        return np.asarray(given[away.argmin(axis=1)])


@dataclass(frozen=True)
class Readings:
    """SDs of systolic pressure, mmHg: of the change under the drug between patients, and of one reading."""

    between: float
    within: float


def usual_readings() -> Readings:
    """As in the trials of other antihypertensive drugs."""
    return Readings(*facts_of("nifedipine").numbers("pressure_between_within"))


def closer_readings() -> Readings:
    """As the hypertension simulator has them: patients differ less, and a fall is measured at several visits."""
    facts = facts_of("hypertension")
    return Readings(facts.number("spread_individual"), facts.number("spread_fall") / np.sqrt(2.0))


def window_of(facts: Facts) -> Window:
    """From the least effective concentration to what the label's largest dose gives in a healthy young adult."""
    largest = facts.numbers("dose_start_step_max")[2]
    high = average(np.array([largest]), np.array([healthy_clearance(facts)]))[0]
    return Window(facts.number("window_low"), float(high), largest, facts.numbers("tablets"))


def healthy_clearance(facts: Facts) -> float:
    """Oral clearance of a healthy young adult, L/h."""
    return facts.number("clearance") / facts.number("bioavailability")


def average(dose: Floats, clearance: Floats) -> Floats:
    """Average concentration at steady state, ng/mL, of a daily dose (mg) and an oral clearance (L/h)."""
    return np.asarray(SCALE * dose / (DAY_H * clearance))


def cirrhosis_fold(facts: Facts) -> float:
    """Exposure by mouth in cirrhosis over that in health: slower clearance and less first pass."""
    (healthy, ill), (before, after) = facts.numbers("cirrhosis_clearance"), facts.numbers("cirrhosis_bioavailability")
    return healthy / ill * after / before


def inhibitor_folds(facts: Facts) -> Floats:
    """Exposure with each of `INHIBITORS` over that without."""
    alone, verapamil, diltiazem = facts.numbers("auc_alone_verapamil_diltiazem")
    placebo, more = facts.numbers("auc_placebo_diltiazem_270")
    return np.array([1.0, verapamil / alone, diltiazem / alone, more / placebo])


def exposure_fold(known: Known, facts: Facts) -> Floats:
    """Exposure that is expected of a patient over that of a healthy young adult on the same dose."""
    elderly = np.where(known.age >= facts.number("elderly_age"), facts.number("elderly_fold"), 1.0)
    liver = np.where(known.cirrhosis, cirrhosis_fold(facts), 1.0)
    induced = np.where(known.phenytoin, facts.number("phenytoin_fold"), 1.0)
    return np.asarray(elderly * liver * inhibitor_folds(facts)[known.inhibitor] * induced)


def sd_of(cv: float) -> float:
    """Standard deviation of the logarithm of what varies log-normally with this coefficient of variation."""
    return float(np.sqrt(np.log1p(cv * cv)))


def level_sd(facts: Facts) -> float:
    """SD of ln of one level around the patient's average: from day to day, assay and hour of drawing."""
    return float(np.hypot(sd_of(facts.number("within_cv")), sd_of(facts.number("level_cv"))))


def world(
    n: int, seed: int, *, between_cv: float | None = None, misses: bool = True, readings: Readings | None = None
) -> Patients:
    """`n` patients after three visits.

    Parameters
    ----------
    between_cv
        What age, liver and medicines leave unexplained; by default the published figure.
    misses
        False: every tablet is taken.
    readings
        How pressures scatter; by default `usual_readings`.
    """
    facts, rng = facts_of("nifedipine"), np.random.default_rng(seed)
    scatter = readings or usual_readings()
    known, sbp = _record(n, facts, scatter, rng)
    spread = sd_of(facts.number("between_cv") if between_cv is None else between_cv)
    clearance = healthy_clearance(facts) / exposure_fold(known, facts) * np.exp(spread * rng.standard_normal(n))
    share, together = facts.number("adherence_mean"), facts.number("adherence_concentration")
    taken = rng.beta(share * together, (1.0 - share) * together, n)
    visits = _visits(clearance, sbp, taken if misses else np.ones(n), scatter, rng)
    return Patients(Seen(known, visits), clearance, window_of(facts).dose(clearance))


def _visits(clearance: Floats, sbp: Floats, taken: Floats, readings: Readings, rng: np.random.Generator) -> Visits:
    """The label's way: up one step where a pressure reaches the goal's bound, until the largest dose."""
    facts, n = facts_of("nifedipine"), len(clearance)
    start, step, largest = facts.numbers("dose_start_step_max")
    emax, ec50 = facts.numbers("pressure_emax_ec50")
    of_day, of_level = sd_of(facts.number("within_cv")), sd_of(facts.number("level_cv"))
    without = sbp + readings.between * rng.standard_normal(n)
    dose, level, pressure = (np.zeros((n, N_VISITS)) for _ in range(3))
    now = np.full(n, start)
    for k in range(N_VISITS):
        true = average(now, clearance) * np.exp(of_day * rng.standard_normal(n))
        acting = np.where(rng.random(n) < taken, true, 0.0)
        dose[:, k] = now
        level[:, k] = true * np.exp(of_level * rng.standard_normal(n))
        pressure[:, k] = without + emax * acting / (ec50 + acting) + readings.within * rng.standard_normal(n)
        now = np.where(pressure[:, k] >= facts.number("goal"), np.minimum(now + step, largest), now)
    return Visits(dose, level, pressure)


def _record(n: int, facts: Facts, readings: Readings, rng: np.random.Generator) -> tuple[Known, Floats]:
    """The record, and the true pressure without treatment; pregnant patients are left to another study."""
    clinic = drawn(n + n // 5 + _SPARE, rng)
    clinic = clinic.take(np.flatnonzero(~clinic.pregnant)[:n])
    inhibited = rng.random(n) < facts.number("share_inhibited")
    inhibitor = np.where(inhibited, rng.integers(1, len(INHIBITORS), n), 0)
    phenytoin = (rng.random(n) < facts.number("share_induced")) & ~inhibited
    cirrhosis = rng.random(n) < facts.number("share_cirrhosis")
    read = clinic.sbp + readings.within * rng.standard_normal(n)
    return Known(clinic.age, clinic.female, clinic.weight, cirrhosis, inhibitor, phenytoin, read), clinic.sbp
