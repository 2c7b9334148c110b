"""Patients with hypertension whose truth is known: the effect of every drug, dose and pair in each of them.

What a drug does in a patient is what was published of its class and dose, of exposure, renin, age, race, salt and
secondary disease (`structural`), plus what nobody could have known. A dial sets how much of the difference between
the drugs *in one patient* the record explains: `explained` = 0.6 means that six tenths of its variance follow from the
features, whatever the published modifiers alone would give. The mean effect of each drug, what all drugs share in a
patient (a high pressure falls further), and the size of the individual effect do not depend on the dial.

    net of drug d in patient i = mean_d + shared_i + SD * (sqrt(explained) * known_id + sqrt(1 - explained) * hidden_id)

`known` and `hidden` have variance 1 over patients and drugs and sum to zero over the drugs. So the Bayes rule on the
features is exact: the first three terms with `known`, or its mean over what the record lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from posologist.core.values import DrugId
from posologist.study.clinic import Clinic, Flags, Floats
from posologist.study.clinic_draw import CAN_LACK, drawn, redrawn
from posologist.study.facts import facts_of
from posologist.study.simulator_effects import (
    AXES,
    PATHWAYS,
    class_symptoms,
    dose_shape,
    net_of,
    safe,
    structural_fall,
    symptom_worth,
    symptoms_of,
    together,
)
from posologist.study.simulator_kinetics import DRUGS

_REFERENCE = 20_000  # patients over whom means and scales are taken
_REDRAWS = 64  # of what a record lacks, for the Bayes rule


@dataclass(frozen=True)
class Dials:
    """How a world is made.

    Attributes
    ----------
    explained
        Share of the variance of the individual effect that the features explain, 0 to 1.
    confounding
        How strongly past treatment followed what the doctor expected of it, 0 (not at all) to 1.
    overlap
        Share of past treatments that were chosen by chance among those that are safe.
    missing
        Chance of each measure that a record may lack to be missing.
    """

    explained: float
    confounding: float = 0.0
    overlap: float = 1.0
    missing: float = 0.0


@dataclass(frozen=True)
class Scale:
    """Means of the drugs (drugs,) and the scale of the published individual differences."""

    mean: Floats
    spread: float


@dataclass(frozen=True)
class World:
    """Patients with their truth; arrays (n, drugs) are of one drug alone at its standard dose.

    Attributes
    ----------
    clinic : the patients.   lacking : names of `CAN_LACK` -> who lacks it, flags (n,).
    net : true fall of systolic pressure less the symptoms in mmHg, what a choice is worth.
    fall : true fall of systolic pressure, mmHg.   symptoms : probability of symptoms by the drug.
    allowed : not contraindicated.   dials : how it was made.
    """

    clinic: Clinic
    dials: Dials
    lacking: dict[str, Flags]
    net: Floats
    fall: Floats
    symptoms: Floats
    allowed: Flags

    def __len__(self) -> int:
        return len(self.clinic)


@cache
def reference() -> Scale:
    """Means and scale over a large clinic that is the same for all worlds."""
    clinic = drawn(_REFERENCE, np.random.default_rng(20_261_120))
    net = net_of(structural_fall(clinic), symptoms_of(clinic, 1.0))
    mean = net.mean(axis=0)
    return Scale(mean, float(_own(net - mean)[0].std()))


def world(n: int, dials: Dials, seed: int) -> World:
    """`n` patients of a world; the same seed gives the same patients whatever the dials."""
    people, hidden, gaps = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    clinic = drawn(n, people)
    share = facts_of("hypertension").number("spread_individual")
    unknown = share * np.sqrt(1.0 - dials.explained) * _hidden(n, hidden)
    net = expected(clinic, dials.explained) + unknown
    symptoms = symptoms_of(clinic, dials.explained)
    lacking = {name: gaps.random(n) < dials.missing for name in CAN_LACK}
    return World(clinic, dials, lacking, net, net + symptom_worth() * symptoms, symptoms, safe(clinic))


def expected(clinic: Clinic, explained: float) -> Floats:
    """Net effect that the features, all known, lead to expect, (n, drugs)."""
    scale = reference()
    own, shared = _own(net_of(structural_fall(clinic), symptoms_of(clinic, 1.0)) - scale.mean)
    size = facts_of("hypertension").number("spread_individual") * np.sqrt(explained) / scale.spread
    return np.asarray(scale.mean + shared[:, None] + size * own)


def bayes(made: World, seed: int) -> Floats:
    """Net effect that the record leads to expect, (n, drugs): the mean over what it lacks, given all the rest."""
    explained = made.dials.explained
    if not any(gap.any() for gap in made.lacking.values()):
        return expected(made.clinic, explained)
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[3])
    total = np.zeros_like(made.net)
    for _ in range(_REDRAWS):
        again = redrawn(made.clinic, CAN_LACK, rng)
        filled = {
            name: np.where(made.lacking[name], getattr(again, name), getattr(made.clinic, name)) for name in CAN_LACK
        }
        total += expected(replace(made.clinic, **filled), explained)
    return np.asarray(total / _REDRAWS)


def fall_under(made: World, doses: Mapping[str, float]) -> Floats:
    """True fall of systolic pressure under one or two drugs, (n,), mmHg.

    `doses`: drug -> dose over its standard dose. A patient's own response to a drug scales with its dose as the mean.
    """
    alone = [made.fall[:, DRUGS.index(DrugId(drug))] * dose_shape(drug, dose) for drug, dose in doses.items()]
    return together(tuple(doses), alone)


def symptoms_under(made: World, doses: Mapping[str, float]) -> Floats:
    """Probability of symptoms by one or two drugs, (n,): two act as if apart from each other."""
    free = np.ones(len(made))
    for drug, dose in doses.items():
        j = DRUGS.index(DrugId(drug))
        change = class_symptoms(drug, dose) - class_symptoms(drug, 1.0)
        free *= 1.0 - np.clip(made.symptoms[:, j] + change, 0.0, 1.0)
    return 1.0 - free


def _own(deviation: Floats) -> tuple[Floats, Floats]:
    """What belongs to the drug in the patient (n, drugs), and what all drugs share in the patient (n,)."""
    shared = deviation.mean(axis=1)
    return deviation - shared[:, None], shared


def _hidden(n: int, rng: np.random.Generator) -> Floats:
    """Individual effects that nothing of the record tells, (n, drugs): of axis, pathway and drug, variance 1."""
    facts = facts_of("hypertension")
    found = np.zeros((n, len(DRUGS)))
    for labels, share in zip((AXES, PATHWAYS, DRUGS), facts.numbers("spread_shares"), strict=True):
        names, place = np.unique(np.array(labels), return_inverse=True)
        found += np.sqrt(share) * rng.standard_normal((n, len(names)))[:, place]
    own = _own(found)[0]
    return own / _hidden_scale()


@cache
def _hidden_scale() -> float:
    """Standard deviation of the centred sum, in closed form: the mean variance left after centring."""
    facts = facts_of("hypertension")
    same = [np.equal.outer(np.array(labels), np.array(labels)) for labels in (AXES, PATHWAYS, DRUGS)]
    covariance = sum(share * alike for share, alike in zip(facts.numbers("spread_shares"), same, strict=True))
    centring = np.eye(len(DRUGS)) - 1.0 / len(DRUGS)
    return float(np.sqrt(np.trace(centring @ covariance @ centring) / len(DRUGS)))
