"""The general row: one patient and one drug, from the same values that a recommendation is made of.

Nothing is guessed: what the record does not hold, holds twice with different results, or holds in a form that is too
old is not known to the row. A condition, a medicine or a relative's disease is absent only where its list was given.
The row does not depend on the order of the record, and each of its values has its evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from posologist.core.drug import Drug
from posologist.core.evidence import Ledger
from posologist.core.genotype import ExpressedPhenotype, PhenotypeProfile
from posologist.core.patient import Patient
from posologist.core.prediction import Feature, FeatureGroup, Remark, Schema, slug
from posologist.core.regimen import Regimen
from posologist.core.situation import Situation
from posologist.core.units import convert
from posologist.core.values import DrugId, EvidenceKey, GeneSymbol, rounded
from posologist.knowledge.derive import condition_state
from posologist.knowledge.expression import UNKNOWN
from posologist.knowledge.load import Knowledge
from posologist.learn.features import Known, Row, row_of
from posologist.twin.compartment import disposition
from posologist.twin.exposure import Exposure
from posologist.twin.population import Prior

VERSION = "1"
CONDITIONS = (
    "hypertension", "diabetes", "ckd", "heart_failure", "atrial_fibrillation", "coronary_artery_disease",
    "myocardial_infarction", "stroke", "peripheral_vascular_disease", "dyslipidaemia", "asthma", "copd", "gout",
    "liver_disease", "depression", "epilepsy", "cancer", "obesity", "osteoporosis", "peptic_ulcer", "dementia",
    "sleep_apnoea", "thyrotoxicosis",
)  # fmt: skip
GROUPS = (
    "ACE inhibitor", "ARB", "beta-blocker", "calcium channel blocker", "diuretic", "statin", "anticoagulant",
    "antiplatelet", "antidiabetic", "NSAID", "corticosteroid", "antidepressant", "antipsychotic", "antiepileptic",
    "opioid", "strong CYP3A4 inhibitor", "strong CYP3A4 inducer", "strong CYP2D6 inhibitor", "P-gp inhibitor",
)  # fmt: skip
"""Groups of medicines; the row says whether the patient takes one, and whether the drug in question is one."""
MEASURES = (
    "sbp", "dbp", "heart_rate", "creatinine", "egfr", "potassium", "sodium", "alt", "albumin", "haemoglobin",
    "platelets", "hba1c", "glucose", "total_cholesterol", "hdl", "ldl", "triglycerides", "uric_acid", "uacr", "inr",
    "lvef", "qtc",
)  # fmt: skip
TRENDS = ("sbp", "dbp", "heart_rate", "weight", "egfr", "creatinine", "potassium", "hba1c", "ldl", "haemoglobin")
SKEWED = frozenset({"creatinine", "alt", "triglycerides", "uacr", "platelets", "inr"})
FAMILY = ("cvd", "stroke", "diabetes", "hypertension", "cancer")
METABOLISERS = ("CYP2B6", "CYP2C19", "CYP2C9", "CYP2D6", "CYP3A4", "CYP3A5", "DPYD", "NUDT15", "TPMT", "UGT1A1")
TRANSPORTERS = ("ABCG2", "SLCO1B1")
_ACTIVITY = (
    "Poor Metabolizer", "Likely Poor Metabolizer", "Intermediate Metabolizer", "Likely Intermediate Metabolizer",
    "Possible Intermediate Metabolizer", "Normal Metabolizer", "Rapid Metabolizer", "Ultrarapid Metabolizer",
)  # fmt: skip
_FUNCTION = (
    "Poor Function", "Decreased Function", "Possible Decreased Function", "Normal Function", "Increased Function",
)  # fmt: skip
_RACES = ("White", "Black", "Asian", "mixed", "other")
_SMOKING = ("never", "former", "current")
_ALCOHOL = "alcohol_use_disorder"
_TREND_WINDOW = timedelta(days=730)
_TREND_SPAN = timedelta(days=30)  # readings closer together tell the day, not the course
_YEAR = 365.25


@dataclass(frozen=True)
class Subject:
    """One patient and one drug, as the stages before know them.

    `profile` is as expressed under `medicines`, which the patient takes beside the drug in question; `prior` and
    `exposure` are the drug's kinetics in this patient, the latter under `regimen`; None: not known.
    """

    patient: Patient
    situation: Situation
    drug: Drug
    medicines: tuple[DrugId, ...] = ()
    profile: PhenotypeProfile | None = None
    prior: Prior | None = None
    exposure: Exposure | None = None
    regimen: Regimen | None = None


def general_schema(knowledge: Knowledge) -> Schema:
    """The schema of the general row; ranges and units of measures are those of the laboratory's file."""
    return knowledge.remember("learn.general_schema", lambda: _schema(knowledge))


def _schema(knowledge: Knowledge) -> Schema:
    features = (
        *_about_the_person(knowledge), *_about_conditions(knowledge), *_about_medicines(), *_about_measures(knowledge),
        *_about_the_family(knowledge), *_about_genes(), *_about_kinetics(),
        Feature(name="smoking", kind="category", group="lifestyle", label="smoking", levels=_SMOKING),
        Feature(name="alcohol", kind="flag", group="lifestyle", label="alcohol use disorder"),
    )  # fmt: skip
    return Schema(task="general", version=VERSION, features=features)


def _about_the_person(knowledge: Knowledge) -> Iterable[Feature]:
    yield Feature(name="age", group="demographics", label="age", unit="years", low=0.0, high=120.0)
    yield Feature(name="male", kind="flag", group="demographics", label="male sex", no="female sex")
    yield Feature(name="race_group", kind="category", group="demographics", label="race as recorded", levels=_RACES)
    for key in ("weight", "height", "bmi"):
        yield _measure(key, knowledge, "demographics")


def _measure(key: str, knowledge: Knowledge, group: FeatureGroup = "labs and vitals") -> Feature:
    analyte = knowledge.codes.analytes[key]
    return Feature(
        name=key, group=group, label=analyte.name, unit=analyte.unit, low=analyte.low, high=analyte.high,
        log=key in SKEWED,
    )  # fmt: skip


def _about_conditions(knowledge: Knowledge) -> Iterable[Feature]:
    for code in CONDITIONS:
        name = knowledge.codes.conditions[code].name
        yield Feature(name=f"has_{code}", kind="flag", group="conditions", label=name)
    label = "number of active conditions"
    yield Feature(name="comorbidities", group="comorbidity", label=label, low=0.0, high=100.0)


def _about_medicines() -> Iterable[Feature]:
    yield Feature(name="medicines", group="medication history", label="number of other medicines", low=0.0, high=60.0)
    yield Feature(
        name="classes", group="medication history", label="groups of the other medicines", low=0.0, high=400.0
    )
    yield Feature(name="takes_it", kind="flag", group="medication history", label="takes this drug already")
    yield Feature(name="took_it", kind="flag", group="medication history", label="took this drug before")
    yield Feature(name="past_medicines", group="medication history", label="medicines stopped", low=0.0, high=400.0)
    yield Feature(
        name="days_taken", group="medication history", label="taken for", unit="days", low=0.0, high=36525.0, log=True
    )
    for name in GROUPS:
        yield Feature(
            name=f"takes_{slug(name)}",
            kind="flag",
            group="medication history",
            label=f"takes: {name}",
            no=f"takes no {name}",
        )
        yield Feature(
            name=f"is_{slug(name)}", kind="flag", group="treatment", label=f"the drug: {name}", no=f"no {name}"
        )
    yield Feature(name="dose", group="treatment", label="dose", unit="mg/day", low=0.0, high=1e5, log=True)


def _about_measures(knowledge: Knowledge) -> Iterable[Feature]:
    for key in MEASURES:
        yield _measure(key, knowledge)
    for key in TRENDS:
        analyte = knowledge.codes.analytes[key]
        most = (analyte.high or 1.0) - (analyte.low or 0.0)
        yield Feature(
            name=f"{key}_trend", group="labs and vitals", label=f"{analyte.name}, change",
            unit=f"{analyte.unit} a year", low=-12.0 * most, high=12.0 * most,
        )  # fmt: skip


def _about_the_family(knowledge: Knowledge) -> Iterable[Feature]:
    for code in FAMILY:
        name = knowledge.codes.conditions[code].name
        label, no = f"{name} in the family", f"no {name} recorded in the family"
        yield Feature(name=f"family_{code}", kind="flag", group="family history", label=label, no=no)


def _about_genes() -> Iterable[Feature]:
    for gene in (*METABOLISERS, *TRANSPORTERS):
        levels = _ACTIVITY if gene in METABOLISERS else _FUNCTION
        yield Feature(name=f"{gene.lower()}", kind="category", group="genes", label=gene, levels=levels)
        if gene in METABOLISERS:
            for kind, label in (("", "activity score"), ("_genetic", "activity score without other medicines")):
                yield Feature(
                    name=f"{gene.lower()}{kind}_score", group="genes", label=f"{gene} {label}", low=0.0, high=20.0
                )
            label, no = f"{gene} changed by other medicines", f"{gene} not changed by other medicines"
            yield Feature(name=f"{gene.lower()}_converted", kind="flag", group="genes", label=label, no=no)


def _about_kinetics() -> Iterable[Feature]:
    told = (
        ("clearance", "clearance", "L/h", 1e4), ("volume", "volume of distribution", "L", 1e5),
        ("half_life", "half-life", "h", 1e4), ("auc24", "AUC over a day", "h.mg/L", 1e6),
        ("cmax", "peak concentration", "mg/L", 1e5), ("trough", "trough concentration", "mg/L", 1e5),
        ("exposure_fold", "exposure against a typical adult", "fold", 1e3),
    )  # fmt: skip
    for name, label, unit, high in told:
        yield Feature(name=name, group="pharmacokinetics", label=label, unit=unit, low=0.0, high=high, log=True)
    yield Feature(name="bioavailability", group="pharmacokinetics", label="bioavailability", low=0.0, high=1.0)


@dataclass
class _Collected:
    """Values of a row as they are found."""

    subject: Subject
    knowledge: Knowledge
    ledger: Ledger
    known: dict[str, Known] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    def put(self, name: str, value: float | bool | str, because: EvidenceKey) -> None:
        self.known[name] = Known(value, because)

    def derived(self, text: str, keys: Iterable[EvidenceKey]) -> EvidenceKey:
        """A value that follows from facts; a statement on the whole record where no fact is concerned."""
        rests_on = tuple(dict.fromkeys(keys))
        if rests_on:
            return self.ledger.add("derived", text, because=rests_on)
        return self.ledger.add("patient", text, source=str(self.subject.patient.source))


def general_row(subject: Subject, *, knowledge: Knowledge, ledger: Ledger) -> Row:
    """The row of one patient and one drug, with what had to be left out among its remarks."""
    told = _Collected(subject, knowledge, ledger)
    _put_facts(told)
    _put_trends(told)
    _put_conditions(told)
    _put_medicines(told)
    _put_family(told)
    _put_genes(told)
    _put_kinetics(told)
    row = row_of(general_schema(knowledge), told.known)
    return replace(row, remarks=(*told.remarks, *row.remarks))


def _put_facts(told: _Collected) -> None:
    facts = told.subject.situation.facts
    for name in ("age", "race_group", "weight", "height", "bmi", *MEASURES):
        fact = facts.get(name)
        if fact is None or isinstance(fact.value, bool):
            continue
        if fact.stale:
            text = f"{name} of {fact.at}: too old, not used by the model"
            told.remarks.append(Remark(text=text, because=(fact.because,)))
        else:
            told.put(name, fact.value, fact.because)
    if "sex" in facts:
        told.put("male", facts["sex"].value == "male", facts["sex"].because)
    smoking = facts.get("smoking_status")
    if smoking is not None and smoking.value in _SMOKING and not smoking.stale:
        told.put("smoking", smoking.value, smoking.because)


def _put_trends(told: _Collected) -> None:
    for key in TRENDS:
        readings = _readings(told.subject, key) if key in told.known else []
        if len(readings) < 2 or readings[-1].at - readings[0].at < _TREND_SPAN:
            continue
        days = np.array([(reading.at - readings[0].at).total_seconds() / 86400.0 for reading in readings])
        values = np.array([reading.value for reading in readings])
        centred = days - days.mean()
        slope = rounded(float(centred @ (values - values.mean()) / (centred @ centred)) * _YEAR)
        unit = readings[0].unit
        leaves = [
            told.ledger.add("patient", f"{key}: {r.value:g} {unit} on {r.at:%Y-%m-%d}", source=r.source)
            for r in readings
        ]
        text = f"{key}: {slope:g} {unit} a year over {len(readings)} readings in {days[-1]:.0f} days"
        told.put(f"{key}_trend", slope, told.derived(text, leaves))


class _Reading(NamedTuple):
    """A number that was measured."""

    at: datetime
    value: float
    source: str
    unit: str


def _readings(subject: Subject, key: str) -> list[_Reading]:
    """Numbers of the last two years up to the day of the question, in the order of time, none twice."""
    last = subject.situation.as_of
    found: dict[tuple[datetime, float], _Reading] = {}
    for o in sorted(subject.patient.observations, key=lambda o: str(o.source)):
        if o.key != key or o.value is None or o.at is None:
            continue
        if last - _TREND_WINDOW <= o.at.date() <= last:
            found.setdefault((o.at, o.value), _Reading(o.at, o.value, str(o.source), o.unit))
    return sorted(found.values())


def _put_conditions(told: _Collected) -> None:
    situation = told.subject.situation
    for code in (*CONDITIONS, _ALCOHOL):
        state = condition_state(situation, code)
        if state is UNKNOWN:
            continue
        key = situation.conditions.get(code) or told.derived(f"no {code.replace('_', ' ')} on the problem list", ())
        told.put("alcohol" if code == _ALCOHOL else f"has_{code}", bool(state), key)
    if situation.problem_list_given:
        implied = {other for code in situation.conditions for other in told.knowledge.codes.implied(code)}
        counted = sorted(set(situation.conditions) - implied)
        text = f"{len(counted)} active conditions on the problem list"
        told.put("comorbidities", float(len(counted)), told.derived(text, (situation.conditions[c] for c in counted)))


def _put_medicines(told: _Collected) -> None:
    subject, situation = told.subject, told.subject.situation
    drug, knowledge = subject.drug.id, told.knowledge
    held = {current.drug: current.because for current in situation.current}
    whole = situation.medication_list_given and not situation.unresolved_medicines
    own = told.ledger.add("knowledge", f"groups of {subject.drug.name}", source=f"drug file {drug}")
    others = tuple(sorted(medicine for medicine in subject.medicines if medicine != drug))
    for name in GROUPS:
        takers = [m for m in others if name in knowledge.groups_of(m)]
        if takers:
            keys = [held[m] for m in takers if m in held]
            told.put(f"takes_{slug(name)}", True, told.derived(f"takes {', '.join(takers)}: {name}", keys))
        elif whole:
            told.put(f"takes_{slug(name)}", False, told.derived(f"no {name} among the medicines", ()))
        told.put(f"is_{slug(name)}", name in knowledge.groups_of(drug), own)
    if whole:
        keys = [held[m] for m in others if m in held]
        told.put("medicines", float(len(others)), told.derived(f"{len(others)} other medicines", keys))
        groups = {group for m in others for group in knowledge.groups_of(m)}
        told.put("classes", float(len(groups)), told.derived(f"{len(groups)} groups of other medicines", keys))
    _put_past(told, whole=situation.medication_list_given)
    _put_course(told)


def _put_past(told: _Collected, *, whole: bool) -> None:
    """Medicines that were stopped: how many, and whether the drug in question was one."""
    subject, as_of = told.subject, told.subject.situation.as_of
    taken = {current.drug for current in subject.situation.current}
    ended = [
        medication
        for medication in sorted(subject.patient.medications, key=lambda m: str(m.source))
        if (medication.start is None or medication.start <= as_of)
        and (medication.status == "stopped" or (medication.end is not None and medication.end < as_of))
    ]
    leaf = {
        DrugId(drug): told.ledger.add("patient", f"took {medication.text}", source=str(medication.source))
        for medication in ended
        for drug in medication.drugs
    }
    past = sorted(set(leaf) - taken)
    own = leaf.get(subject.drug.id)
    if own is not None:
        told.put("took_it", True, own)
    elif whole:
        told.put("took_it", False, told.derived(f"no {subject.drug.name} among the medicines stopped", ()))
    if whole:
        keys = [leaf[drug] for drug in past]
        told.put("past_medicines", float(len(past)), told.derived(f"{len(past)} medicines stopped", keys))


def _put_course(told: _Collected) -> None:
    """Whether and since when the drug is taken, and the dose in question."""
    subject, situation = told.subject, told.subject.situation
    present = next((c for c in situation.current if c.drug == subject.drug.id), None)
    if present is not None:
        told.put("takes_it", True, present.because)
        if present.since is not None:
            told.put("days_taken", float((situation.as_of - present.since).days), present.because)
    elif situation.medication_list_given and not situation.unresolved_medicines:
        told.put("takes_it", False, told.derived(f"no {subject.drug.name} among the medicines", ()))
    regimen = subject.regimen
    if regimen is not None and regimen.unit in ("mg", "mcg", "g"):
        key = told.ledger.add("setting", f"the dose in question: {regimen.text}", source="plan")
        told.put("dose", regimen.dose_mg * 24.0 / regimen.interval_h, key)


def _put_family(told: _Collected) -> None:
    history = sorted(told.subject.patient.family_history, key=lambda relative: str(relative.source))
    if not history:
        return
    implied = told.knowledge.codes.implied
    for code in FAMILY:
        found = [h for h in history if code in h.codes or any(code in implied(held) for held in h.codes)]
        words = code.replace("_", " ")
        text = f"{words} in the family" if found else f"no {words} in the family history"
        leaves = [told.ledger.add("patient", f"{h.relation}: {words}", source=str(h.source)) for h in found]
        told.put(f"family_{code}", bool(found), told.derived(text, leaves))


def _put_genes(told: _Collected) -> None:
    profile = told.subject.profile
    for gene in (*METABOLISERS, *TRANSPORTERS):
        expressed = None if profile is None else profile.genes.get(GeneSymbol(gene))
        if expressed is None or expressed.clinical is None or expressed.clinical == "Indeterminate":
            continue
        _put_gene(told, gene.lower(), expressed)


def _put_gene(told: _Collected, name: str, expressed: ExpressedPhenotype) -> None:
    key = told.derived(f"{expressed.gene} {expressed.diplotype or ''}: {expressed.clinical}", expressed.because)
    told.put(name, str(expressed.clinical), key)
    if str(expressed.gene) in TRANSPORTERS:
        return
    if expressed.clinical_score is not None:
        told.put(f"{name}_score", expressed.clinical_score, key)
    if expressed.genetic_score is not None:
        told.put(f"{name}_genetic_score", expressed.genetic_score, key)
    if expressed.genetic is not None:
        told.put(f"{name}_converted", expressed.clinical != expressed.genetic, key)


def _put_kinetics(told: _Collected) -> None:
    prior, exposure = told.subject.prior, told.subject.exposure
    if prior is not None:
        key = told.derived(f"kinetics of {prior.name} expected in this patient", prior.because)
        values = {name: parameter.value for name, parameter in prior.parameters.items()}
        told.put("clearance", values["CL"], key)
        told.put("bioavailability", values["F"], key)
        if "V" in values:
            told.put("volume", values["V"], key)
            peripheral = ((values["Q"], values["V2"]),) if "Q" in values else ()
            rates = disposition(values["CL"], values["V"], peripheral=peripheral).rates
            told.put("half_life", math.log(2.0) / min(float(rate[0, 0]) for rate in rates), key)
    if exposure is None:
        return
    measured = (
        ("auc24", exposure.auc24, "h.mg/L"), ("cmax", exposure.peak, "mg/L"), ("trough", exposure.trough, "mg/L"),
        ("exposure_fold", exposure.ratio, "1"),
    )  # fmt: skip
    for name, estimate, unit in measured:
        if estimate is not None:
            told.put(name, convert(estimate.value, estimate.unit, unit), estimate.because[0])
