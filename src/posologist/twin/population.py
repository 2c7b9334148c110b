"""Before any level, from the drug's file alone: what is expected of this patient on this drug, and how sure that is.

Clearance, volume and absorption rate are log-normal around a typical value. The typical value is that of the drug's
file, moved by weight (where the file prints per kilogram), by renal function (where the file says how much leaves
unchanged) and by at most one observed fold of exposure: that of a phenotype, or of a medicine taken alongside. Folds
are never multiplied: each was seen alone. Phenoconversion is already in the phenotypes that are passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posologist.core.drug import Drug
from posologist.core.evidence import Ledger
from posologist.core.genotype import PhenotypeProfile
from posologist.core.recommendation import NotChecked, Reason
from posologist.core.settings import Settings
from posologist.core.situation import KnownFact, Situation
from posologist.core.units import convert, dimension, is_known
from posologist.core.values import DrugId, EvidenceKey, Many, Value, rounded
from posologist.twin.compartment import Absorption, Array, Disposition, absorption, disposition
from posologist.twin.folds import Fold, decisive_fold
from posologist.twin.kinetics import KineticModel, kinetic_model
from posologist.twin.parameters import REFERENCE_WEIGHT_KG, MissingKinetics, Parameter
from posologist.twin.randomness import generator_for, normal_draws

NORMAL_CRCL = 100.0  # mL/min : clearance of creatinine at which the file's clearance is taken to hold
SUBSTANTIAL_RENAL_SHARE = 0.3  # FDA guidance on renal impairment (2024): "substantially renally eliminated"
REDUCED_CRCL = 60.0  # mL/min : below it a share of unknown meaning is no longer passed over
ADULT_AGE = 18.0


@dataclass(frozen=True)
class Draws:
    """Parameters of `n` patients who could be this one; each array (n,). `v` None: no volume is held.

    `peripheral` holds intercompartmental clearance (L/h) and peripheral volume (L), the same in every draw.
    """

    cl: Array
    f: Array
    v: Array | None
    ka: Array | None
    lag: float
    peripheral: tuple[float, float] | None = None

    def disposition(self) -> Disposition | None:
        """The disposition of each draw, or None without a volume."""
        if self.v is None:
            return None
        return disposition(self.cl, self.v, peripheral=() if self.peripheral is None else (self.peripheral,))

    def absorption(self) -> Absorption | None:
        """First-order absorption of each draw, or None."""
        return None if self.ka is None else absorption(self.ka, self.f, self.lag)


class Prior(Value):
    """This patient on this drug.

    `parameters` are medians for this patient with the coefficient of variation between such patients: CL (L/h),
    F (fraction), and where held V (L), Q (L/h), V2 (L), ka (1/h), lag (h), release (h). `typical` are the medians of a
    typical adult, before weight, kidney, genes and other medicines. `fold` is the change of exposure that was applied.
    `unit` is the unit in which concentrations of this drug are shown.
    """

    drug: DrugId
    name: str
    model: KineticModel
    parameters: dict[str, Parameter]
    typical: dict[str, float]
    fold: float = 1.0
    unit: str = "mg/L"
    assumptions: Many[Reason] = ()
    not_checked: Many[NotChecked] = ()

    @property
    def because(self) -> tuple[EvidenceKey, ...]:
        """What it rests on."""
        used = (key for parameter in self.parameters.values() for key in parameter.because)
        assumed = (key for reason in self.assumptions for key in reason.because)
        return tuple(dict.fromkeys((*used, *assumed)))

    @property
    def exposure_per_mg(self) -> float:
        """Median AUC of 1 mg, mg h/L."""
        return self.parameters["F"].value / self.parameters["CL"].value

    def seed_text(self) -> str:
        """What seeds the draws: drug, route and parameters, not the regimen, so that regimens compare."""
        values = (f"{name}={rounded(p.value):.6g}/{p.cv}" for name, p in sorted(self.parameters.items()))
        return f"{self.drug}|{self.model.route}|{self.model.release}|" + "|".join(values)

    def draw(self, n: int, rng: np.random.Generator | None = None) -> Draws:
        """Parameters of `n` possible patients; without a generator, that of the content.

        Log-normal: median times exp(s z), s^2 = ln(1 + CV^2). Parameters are independent; F, lag, Q and V2 do not vary.
        """
        z = normal_draws(n, 3, rng or generator_for("prior", self.seed_text()))
        return Draws(
            cl=_log_normal(self.parameters["CL"], z[0]),
            f=np.full(n, self.parameters["F"].value),
            v=_log_normal(self.parameters["V"], z[1]) if "V" in self.parameters else None,
            ka=_log_normal(self.parameters["ka"], z[2]) if "ka" in self.parameters else None,
            lag=self.parameters["lag"].value if "lag" in self.parameters else 0.0,
            peripheral=(self.parameters["Q"].value, self.parameters["V2"].value) if "Q" in self.parameters else None,
        )


def _log_normal(parameter: Parameter, z: Array) -> Array:
    return parameter.value * np.exp(math.sqrt(math.log1p((parameter.cv or 0.0) ** 2)) * z)


class _Patient:
    """The facts that kinetics ask for, and what is noted on the way."""

    def __init__(self, drug: Drug, situation: Situation | None, settings: Settings, ledger: Ledger) -> None:
        self.drug, self.situation, self.settings, self.ledger = drug, situation, settings, ledger
        self.assumptions: list[Reason] = []
        self.not_checked: list[NotChecked] = []

    def fact(self, name: str) -> KnownFact | None:
        return None if self.situation is None else self.situation.facts.get(name)

    def number(self, name: str) -> tuple[float, EvidenceKey] | None:
        known = self.fact(name)
        if known is None or isinstance(known.value, bool | str):
            return None
        if known.stale:
            self.assume(f"The last known {name}, of {known.at or 'an unknown date'}, is still used.", known.because)
        return float(known.value), known.because

    def assume(self, text: str, *because: EvidenceKey) -> EvidenceKey:
        key = self.ledger.add("assumption", text, because=because)
        self.assumptions.append(Reason(text=text, because=(key,)))
        return key

    def unanswered(self, what: str, why: str, would_need: str) -> None:
        self.not_checked.append(NotChecked(what=what, why=why, would_need=would_need, drugs=(str(self.drug.id),)))

    def missing(self, why: str, would_need: str) -> MissingKinetics:
        return MissingKinetics(what=f"exposure to {self.drug.name}", why=why, would_need=would_need, drug=self.drug.id)


def prior_of(
    drug: Drug,
    situation: Situation | None,
    profile: PhenotypeProfile | None,
    *,
    settings: Settings,
    ledger: Ledger,
    route: str = "oral",
    release: str = "immediate",
    alongside: Sequence[Drug] | None = None,
    model: KineticModel | MissingKinetics | None = None,
) -> Prior | MissingKinetics:
    """What is expected of this patient on a drug by the drug's file alone, or why nothing can be told.

    Parameters
    ----------
    drug
        Its kinetics, gene effects and enzyme roles are read.
    situation
        The patient; facts `weight` (kg), `crcl` (mL/min), `age` (years), `dialysis`, `pregnant`. None: a typical adult.
    profile
        Phenotypes as expressed under the medicines of the plan (phenoconversion included). None: nothing is known.
    alongside
        Medicines that the patient will take with it; None: those of `situation.current`, of which only what
        the drug's own file says is then read.
    ledger
        The run's evidence; it must hold the keys of the situation's facts.
    model
        What `kinetic_model` says of the file, where it was asked before; `ledger` must hold its keys.
    """
    model = kinetic_model(drug, route=route, release=release, ledger=ledger) if model is None else model
    if isinstance(model, MissingKinetics):
        return model
    patient = _Patient(drug, situation, settings, ledger)
    if refused := _outside_of_adults(patient):
        return refused
    renal = _renal_factor(patient, model)
    if isinstance(renal, MissingKinetics):
        return renal
    taken = [] if situation is None else [current.drug for current in situation.current]
    fold = decisive_fold(
        drug, profile, taken, alongside, ledger=ledger, assume=patient.assume, unanswered=patient.unanswered
    )
    parameters = _individual(patient, model, renal, fold)
    return Prior(
        drug=drug.id,
        name=drug.name,
        model=model,
        parameters=parameters,
        typical=_typical(model),
        fold=1.0 if fold is None else fold.value,
        unit=_shown_unit(drug, model),
        assumptions=(*model.assumptions, *patient.assumptions),
        not_checked=tuple(patient.not_checked),
    )


def _shown_unit(drug: Drug, model: KineticModel) -> str:
    """Unit of concentration for this drug: mg/L or ug/L, as its window is written; else by a typical level.

    The level is the average of a typical adult on one unit of the largest strength a day: below 0.1 mg/L, ug/L.
    """
    for window in drug.window:
        if is_known(window.unit) and dimension(window.unit) == "mass/volume":
            return "mg/L" if convert(1.0, window.unit, "mg/L") >= 1.0 else "ug/L"
    strengths = [strength for product in drug.products if product.unit == "mg" for strength in product.strengths]
    if not strengths:
        return "mg/L"
    typical = _typical(model)
    return "mg/L" if max(strengths) * typical["F"] / typical["CL"] / 24.0 >= 0.1 else "ug/L"


def _typical(model: KineticModel) -> dict[str, float]:
    held = {"CL": model.clearance, "V": model.volume, "ka": model.ka}
    typical = {name: parameter.value for name, parameter in held.items() if parameter is not None}
    return typical | {"F": model.bioavailability.value if model.bioavailability else 1.0}


def _outside_of_adults(patient: _Patient) -> MissingKinetics | None:
    age, dialysis, pregnant = patient.number("age"), patient.fact("dialysis"), patient.fact("pregnant")
    if age is not None and age[0] < ADULT_AGE:
        return patient.missing(f"the kinetics on file are of adults; the patient is {age[0]:g}", "a paediatric model")
    if dialysis is not None and dialysis.value is True:
        return patient.missing("the patient is on dialysis, which is not in this model", "a model with dialysis")
    if pregnant is not None and pregnant.value is True:
        patient.assume("Changes of kinetics in pregnancy are not in this model.", pregnant.because)
    return None


def _renal_factor(patient: _Patient, model: KineticModel) -> tuple[float, tuple[EvidenceKey, ...]] | MissingKinetics:
    """Factor of the clearance, with its reasons.

    fe * CrCl / 100 + 1 - fe, CrCl at most 100 mL/min, where fe is known; 1 otherwise. Not answered where a large
    share leaves by the kidney and renal function is unknown, or low while it is unclear what that share is of.
    """
    crcl = patient.number("crcl")
    name = patient.drug.name
    if model.renal.unchanged is not None:
        fe = model.renal.unchanged.value
        if crcl is None:
            return _without_crcl(patient, model, fe, f"{100 * fe:.0f} % of {name} is excreted unchanged by the kidney")
        factor = fe * min(crcl[0], NORMAL_CRCL) / NORMAL_CRCL + 1.0 - fe
        key = patient.ledger.add(
            "derived",
            f"Clearance of {name} is {factor:.3g} of normal: {100 * fe:.0f} % leaves unchanged by the kidney, "
            f"creatinine clearance is {crcl[0]:.0f} mL/min (100 counts as normal, more is not counted)",
            because=(*model.renal.unchanged.because, crcl[1]),
        )
        return factor, (key,)
    if model.renal.state == "metabolites" or model.renal.share is None:
        return 1.0, ()
    share = model.renal.share
    if share < SUBSTANTIAL_RENAL_SHARE:
        return 1.0, ()
    part = f"{100 * model.renal.share:g} % of {name} is found in urine, and the file does not say whether unchanged"
    if crcl is None:
        return _without_crcl(patient, model, share, part)
    if crcl[0] < REDUCED_CRCL:
        return patient.missing(f"{part}; creatinine clearance is {crcl[0]:.0f} mL/min", "the share excreted unchanged")
    patient.assume(f"Clearance is not moved by renal function: {part}.", *model.renal.because, crcl[1])
    return 1.0, ()


def _without_crcl(
    patient: _Patient, model: KineticModel, share: float, part: str
) -> tuple[float, tuple[EvidenceKey, ...]] | MissingKinetics:
    if patient.situation is None:
        patient.assume("A typical adult with normal renal function is described.", *model.renal.because)
    elif share >= SUBSTANTIAL_RENAL_SHARE:
        return patient.missing(f"{part}; renal function is not known", "creatinine, age, sex and weight")
    else:
        patient.assume(f"Renal function is not known; clearance is not moved by it: {part}.", *model.renal.because)
    return 1.0, ()


def _individual(
    patient: _Patient, model: KineticModel, renal: tuple[float, tuple[EvidenceKey, ...]], fold: Fold | None
) -> dict[str, Parameter]:
    """The typical parameters moved by weight, kidney and the decisive fold."""
    weight, weighed = _weight(patient, model)
    f0 = model.bioavailability.value if model.bioavailability else 1.0
    cl_fold, f_fold, v_fold, why = _split(patient, model, fold, f0)
    default_cv = _default_cv(patient, model)

    def moved(parameter: Parameter, factor: float, because: tuple[EvidenceKey, ...]) -> Parameter:
        scaled = parameter.value * factor * (weight / REFERENCE_WEIGHT_KG if parameter.per_kg else 1.0)
        reasons = (*parameter.because, *because, *(weighed if parameter.per_kg else ()))
        cv = parameter.cv if parameter.cv is not None else default_cv[0]
        reasons = reasons if parameter.cv is not None else (*reasons, *default_cv[1])
        return parameter.model_copy(update={"value": scaled, "cv": cv, "because": tuple(dict.fromkeys(reasons))})

    result = {"CL": moved(model.clearance, renal[0] / cl_fold, (*renal[1], *why))}
    if model.volume is not None:
        result["V"] = moved(model.volume, v_fold, why if v_fold != 1.0 else ())
    for outer in model.peripheral or ():
        result[outer.name] = moved(outer, v_fold, why if v_fold != 1.0 else ()).model_copy(update={"cv": 0.0})
    if model.ka is not None:
        result["ka"] = moved(model.ka, 1.0, ())
    fixed = Parameter(name="F", value=1.0, unit="1", because=model.because)
    fraction = model.bioavailability or fixed
    because = (*fraction.because, *(why if f_fold != 1.0 else ()))
    result["F"] = fraction.model_copy(update={"value": f0 * f_fold, "cv": 0.0, "because": because})
    for name, parameter in (("lag", model.lag), ("release", model.release_h)):
        if parameter is not None:
            result[name] = parameter.model_copy(update={"cv": 0.0})
    return result


def _weight(patient: _Patient, model: KineticModel) -> tuple[float, tuple[EvidenceKey, ...]]:
    per_kg = model.clearance.per_kg or (model.volume is not None and model.volume.per_kg)
    known = patient.number("weight")
    if known is not None:
        return known[0], (known[1],)
    weight = patient.settings.default_weight_kg
    if not per_kg:
        return weight, ()
    setting = patient.ledger.add("setting", f"default weight {weight:g} kg", source="settings.default_weight_kg")
    return weight, (patient.assume(f"Weight is not known; {weight:g} kg is assumed.", setting),)


def _default_cv(patient: _Patient, model: KineticModel) -> tuple[float, tuple[EvidenceKey, ...]]:
    cv = patient.settings.unpublished_variability_cv
    varying = [p for p in (model.clearance, model.volume, model.ka) if p is not None and p.cv is None]
    if not varying:
        return cv, ()
    setting = patient.ledger.add(
        "setting", f"coefficient of variation {100 * cv:g} %", source="settings.unpublished_variability_cv"
    )
    names = ", ".join(p.name for p in varying)
    text = f"Variability between patients is not published on file for {names}: {100 * cv:g} % is assumed."
    return cv, (patient.assume(text, setting),)


def _split(
    patient: _Patient, model: KineticModel, fold: Fold | None, f0: float
) -> tuple[float, float, float, tuple[EvidenceKey, ...]]:
    """How a fold of exposure divides over clearance, bioavailability and (apparent) volume.

    Where the file also prints how the half-life changed, only that part is clearance; the rest is first pass: F rises
    (at most to 1), or with apparent parameters V/F falls. Otherwise clearance takes it all.
    """
    if fold is None:
        return 1.0, 1.0, 1.0, ()
    if fold.half_life is None or model.route == "iv":
        return fold.value, 1.0, 1.0, (fold.because,)
    first_pass = fold.value / fold.half_life
    if first_pass <= 1.0:
        return fold.value, 1.0, 1.0, (fold.because,)
    if model.apparent:
        key = patient.assume(
            f"The volume V/F is divided by {first_pass:.3g}: less is lost in first pass.", fold.because
        )
        return fold.value, 1.0, 1.0 / first_pass, (fold.because, key)
    rise = min(first_pass, 1.0 / f0)
    slower = fold.value / rise
    percent = 100.0 * f0 * rise
    text = (
        f"Of the {fold.value:g}-fold exposure, {rise:.2g}-fold is less first-pass loss (F {percent:.0f} %) and "
        f"{slower:.2g}-fold slower clearance: the half-life changes {fold.half_life:.2g}-fold."
    )
    key = patient.assume(text, fold.because)
    return slower, rise, 1.0, (fold.because, key)
