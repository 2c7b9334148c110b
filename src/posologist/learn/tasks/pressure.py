"""How much further one drug at one dose lowers systolic pressure in a patient than its published effect says.

The outcome of a row is the fall of systolic pressure beyond the published effect of the drug at the dose in such a
patient, in mmHg: positive where the patient gains more. The model knows the drug by its pathway and its exposure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from posologist.core.evidence import Ledger
from posologist.core.genotype import ExpressedPhenotype, PhenotypeProfile
from posologist.core.patient import FamilyHistory
from posologist.core.prediction import Feature, FeatureGroup, Schema
from posologist.core.situation import Situation
from posologist.core.values import EvidenceKey, GeneSymbol
from posologist.knowledge.derive import condition_state
from posologist.knowledge.expression import UNKNOWN
from posologist.knowledge.load import Knowledge
from posologist.learn.features import Known, Row, replaced, row_of
from posologist.learn.tasks.missing import Missing

TASK = "pressure-response"
PATHWAYS = (
    "thiazide or thiazide-like diuretic", "ACE inhibitor", "ARB", "calcium channel blocker", "beta-blocker",
    "mineralocorticoid receptor antagonist",
)  # fmt: skip
"""Groups of knowledge by which a model knows a drug that it was not trained on."""
DRUGS = (
    "acebutolol", "amlodipine", "atenolol", "azilsartan", "benazepril", "betaxolol", "bisoprolol", "candesartan",
    "captopril", "carvedilol", "chlorthalidone", "diltiazem", "enalapril", "eplerenone", "eprosartan", "felodipine",
    "fosinopril", "hydrochlorothiazide", "indapamide", "irbesartan", "isradipine", "labetalol", "lisinopril",
    "losartan", "metolazone", "metoprolol", "moexipril", "nadolol", "nebivolol", "nicardipine", "nifedipine",
    "nisoldipine", "olmesartan", "perindopril", "pindolol", "propranolol", "quinapril", "ramipril", "spironolactone",
    "telmisartan", "trandolapril", "valsartan", "verapamil",
)  # fmt: skip
"""Drugs that a model may know by name; one that it met too rarely, or not at all, it knows by its pathway."""
BOUNDS = (-15.0, 15.0)
"""mmHg; what a model of this task may answer."""

_VITALS: FeatureGroup = "labs and vitals"
_FEATURES = (
    Feature(name="drug", kind="category", group="treatment", label="drug", levels=DRUGS, text="{value}"),
    Feature(name="pathway", kind="category", group="treatment", label="pathway", levels=PATHWAYS, text="{value}"),
    Feature(name="dose_ratio", group="treatment", label="dose", unit="times the standard dose",
            low=0, high=8, log=True),
    Feature(name="exposure_fold", group="pharmacokinetics", label="exposure", unit="times that of a typical adult",
            low=0, high=50, log=True),
    Feature(name="age", group="demographics", label="age", unit="years", low=18, high=110),
    Feature(name="male", kind="flag", group="demographics", label="male sex", yes="male", no="female"),
    Feature(name="black", kind="flag", group="demographics", label="race recorded as Black",
            no="race recorded as other than Black"),
    Feature(name="weight", group="demographics", label="weight", unit="kg", low=25, high=400),
    Feature(name="bmi", group="demographics", label="body mass index", unit="kg/m2", low=10, high=100),
    Feature(name="sbp", group=_VITALS, label="systolic pressure", unit="mmHg", low=50, high=300),
    Feature(name="dbp", group=_VITALS, label="diastolic pressure", unit="mmHg", low=20, high=200),
    Feature(name="heart_rate", group=_VITALS, label="heart rate", unit="per minute", low=20, high=250),
    Feature(name="egfr", group=_VITALS, label="eGFR", unit="mL/min/1.73 m2", low=1, high=200),
    Feature(name="potassium", group=_VITALS, label="potassium", unit="mmol/L", low=1.5, high=10),
    Feature(name="renin", group=_VITALS, label="plasma renin activity", unit="ng/mL/h", low=0, high=100, log=True),
    Feature(name="urine_sodium", group=_VITALS, label="sodium in 24-hour urine", unit="mmol/24 h", low=0, high=1000),
    Feature(name="has_diabetes", kind="flag", group="conditions", label="diabetes"),
    Feature(name="has_ckd", kind="flag", group="conditions", label="chronic kidney disease"),
    Feature(name="has_primary_aldosteronism", kind="flag", group="conditions", label="primary aldosteronism"),
    Feature(name="has_renal_artery_stenosis", kind="flag", group="conditions", label="renal artery stenosis"),
    Feature(name="has_sleep_apnoea", kind="flag", group="conditions", label="sleep apnoea"),
    Feature(name="family_hypertension", kind="flag", group="family history", label="hypertension in the family",
            no="no hypertension recorded in the family"),
    Feature(name="smoking_now", kind="flag", group="lifestyle", label="smoking now", yes="smokes", no="does not smoke"),
    Feature(name="cyp2d6_score", group="genes", label="CYP2D6 activity score", low=0, high=10),
    Feature(name="cyp2c9_score", group="genes", label="CYP2C9 activity score", low=0, high=4),
    Feature(name="cyp3a5_expresser", kind="flag", group="genes", label="CYP3A5 expresser",
            no="no functional CYP3A5 allele"),
)  # fmt: skip
SCHEMA = Schema(task=TASK, version="1", features=_FEATURES)
SYMPTOMS_TASK = "pressure-symptoms"
SYMPTOMS_SCHEMA = Schema(task=SYMPTOMS_TASK, version="1", features=_FEATURES)
"""The same row asked by how much the chance of a symptom due to the drug exceeds the published share."""
REQUIRED = ("age", "male", "sbp", "pathway")
"""Without these the model is not asked."""

_NUMBERS = ("age", "weight", "bmi", "sbp", "dbp", "heart_rate", "egfr", "potassium", "renin", "urine_sodium")
_CONDITIONS = ("diabetes", "ckd", "primary_aldosteronism", "renal_artery_stenosis", "sleep_apnoea")
_SMOKING = MappingProxyType({"current": True, "former": False, "never": False})
_SCORED = MappingProxyType({"CYP2D6": "cyp2d6_score", "CYP2C9": "cyp2c9_score"})
_EXPRESSING = MappingProxyType({
    "Normal Metabolizer": True, "Intermediate Metabolizer": True, "Possible Intermediate Metabolizer": True,
    "Poor Metabolizer": False,
})  # fmt: skip


def row_of_patient(
    person: Row | Missing, *, drug: Known, pathway: Known, dose_ratio: Known | None, exposure_fold: Known | None
) -> Row | Missing:
    """The row of one patient and one drug, or what the record lacks for the model to be asked.

    Parameters
    ----------
    person
        As `row_of_person` gives it: the same for all drugs beside the same medicines.
    drug
        Its id; a model that does not know it goes by the pathway.
    pathway
        One of `PATHWAYS`.
    dose_ratio
        Dose over the standard dose; None: not stated.
    exposure_fold
        AUC over that of a typical adult on the same dose; None: the drug's file gives no kinetics.
    """
    if isinstance(person, Missing):
        return person
    treatment = {"drug": drug, "pathway": pathway, "dose_ratio": dose_ratio, "exposure_fold": exposure_fold}
    return replaced(person, {name: entry for name, entry in treatment.items() if entry is not None})


def row_of_person(person: Mapping[str, Known], genes: Mapping[str, Known]) -> Row | Missing:
    """The row before a drug is named, of what `about_person` and `about_genes` know; or what the record lacks."""
    row = row_of(SCHEMA, {**person, **genes})
    lacking = [
        feature.label
        for feature, key in zip(_FEATURES, row.because, strict=True)
        if feature.name in REQUIRED and feature.name != "pathway" and key is None
    ]
    return Missing(TASK, tuple(lacking)) if lacking else row


def about_person(
    situation: Situation, knowledge: Knowledge, *, family: Sequence[FamilyHistory], ledger: Ledger
) -> dict[str, Known]:
    """What is known of the patient whatever the drug.

    A value that has gone stale is not known. A condition is absent only where a problem list was given, a relative's
    disease only where a family history was.
    """
    known: dict[str, Known] = {}
    for name in _NUMBERS:
        fact = situation.facts.get(name)
        if fact is not None and not fact.stale and not isinstance(fact.value, str | bool):
            known[name] = Known(fact.value, fact.because)
    sex, black, smoking = (situation.facts.get(name) for name in ("sex", "black", "smoking_status"))
    if sex is not None:
        known["male"] = Known(sex.value == "male", sex.because)
    if black is not None:
        known["black"] = Known(bool(black.value), black.because)
    if smoking is not None and not smoking.stale and smoking.value in _SMOKING:
        known["smoking_now"] = Known(_SMOKING[str(smoking.value)], smoking.because)
    return known | _conditions(situation, ledger) | _relatives(situation, knowledge, family, ledger)


def about_genes(profile: PhenotypeProfile, *, ledger: Ledger) -> dict[str, Known]:
    """What is known of the enzymes, as expressed beside the medicines of a plan."""
    known: dict[str, Known] = {}
    for gene, name in _SCORED.items():
        expressed = profile.genes.get(GeneSymbol(gene))
        if expressed is not None and expressed.clinical_score is not None:
            known[name] = Known(float(expressed.clinical_score), _gene_key(expressed, ledger))
    expresser = profile.genes.get(GeneSymbol("CYP3A5"))
    if expresser is not None and expresser.clinical in _EXPRESSING:
        known["cyp3a5_expresser"] = Known(_EXPRESSING[str(expresser.clinical)], _gene_key(expresser, ledger))
    return known


def _gene_key(expressed: ExpressedPhenotype, ledger: Ledger) -> EvidenceKey:
    score = "" if expressed.clinical_score is None else f", activity score {expressed.clinical_score:g}"
    text = f"{expressed.gene} {expressed.diplotype or ''}: {expressed.clinical}{score}"
    return ledger.add("derived", text, because=expressed.because)


def _conditions(situation: Situation, ledger: Ledger) -> dict[str, Known]:
    found: dict[str, Known] = {}
    for code in _CONDITIONS:
        state = condition_state(situation, code)
        if state is not UNKNOWN:
            text = f"{code.replace('_', ' ')} is not on the problem list"
            key = situation.conditions.get(code) or _whole_record(text, situation, ledger)
            found[f"has_{code}"] = Known(bool(state), key)
    return found


def _relatives(
    situation: Situation, knowledge: Knowledge, family: Sequence[FamilyHistory], ledger: Ledger
) -> dict[str, Known]:
    if not family:
        return {}
    implied = knowledge.codes.implied
    for relative in sorted(family, key=lambda each: str(each.source)):
        if any(code == "hypertension" or "hypertension" in implied(code) for code in relative.codes):
            key = ledger.add("patient", f"{relative.relation}: hypertension", source=str(relative.source))
            return {"family_hypertension": Known(True, key)}
    return {"family_hypertension": Known(False, _whole_record("no hypertension in the family", situation, ledger))}


def _whole_record(text: str, situation: Situation, ledger: Ledger) -> EvidenceKey:
    return ledger.add("patient", text, source=f"record of patient {situation.patient_id}")
