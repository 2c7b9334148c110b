"""Response to an immune checkpoint inhibitor: the model's inputs, read from the public table and from a patient alike.

The outcome is an objective response (complete or partial). Inputs that only one or two cohorts of the table have
(HLA, smoking, performance status, histology) are no features: that they are known would tell the cohort, not the
patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from posologist.core.evidence import Ledger
from posologist.core.prediction import Feature, Formula, Schema
from posologist.core.situation import Situation
from posologist.core.values import DrugId
from posologist.learn.features import Cell, Known, Row, row_of
from posologist.learn.tasks.cells import number
from posologist.learn.tasks.missing import Missing

TASK = "immunotherapy"

CANCERS = MappingProxyType({
    "bladder_cancer": "Bladder", "breast_cancer": "Breast", "cns_tumour": "CNS", "colorectal_cancer": "Colorectal",
    "endometrial_cancer": "Endometrial", "oesophageal_cancer": "Esophageal", "gastric_cancer": "Gastric",
    "head_neck_cancer": "Head & Neck", "hepatobiliary_cancer": "Hepatobiliary", "melanoma": "Melanoma",
    "mesothelioma": "Mesothelioma", "nsclc": "NSCLC", "ovarian_cancer": "Ovarian", "pancreatic_cancer": "Pancreatic",
    "renal_cancer": "Renal", "sarcoma": "Sarcoma", "sclc": "SCLC", "cancer_unknown_primary": "Unknown primary",
})  # fmt: skip
"""Our condition codes of cancers and how the public table writes them."""

_PD1, _COMBINED, _CTLA4 = "PD-1 or PD-L1", "PD-(L)1 with CTLA-4", "CTLA-4"
_DRUGS = MappingProxyType({"0": _PD1, "1": _COMBINED, "2": _CTLA4})  # codes of the table
PD1_INHIBITORS = frozenset({
    "nivolumab", "pembrolizumab", "cemiplimab", "atezolizumab", "durvalumab", "avelumab", "dostarlimab",
})  # fmt: skip
CTLA4_INHIBITORS = frozenset({"ipilimumab", "tremelimumab"})

IMPUTED_BY_SOURCE = frozenset({"Kato_panCancer", "Ravi_NSCLC"})
"""Cohorts whose albumin and neutrophil ratio are one and the same number for every patient (3.8 and 6.2): the source
filled them in, so they count as not known."""

_FEATURES = (
    Feature(name="age", group="demographics", label="age", unit="years", low=0, high=120),
    Feature(name="male", kind="flag", group="demographics", label="male sex", yes="male", no="female"),
    Feature(name="cancer", kind="category", group="disease", label="cancer", levels=tuple(CANCERS.values()),
            text="{label}: {value}"),
    Feature(name="tumour_mutational_burden", group="disease", label="tumour mutational burden",
            unit="mutations/Mb", low=0, high=1000, log=True),
    Feature(name="fraction_copy_number_altered", group="disease", low=0, high=1,
            label="fraction of the genome with altered copy number"),
    Feature(name="msi_high", kind="flag", group="disease", label="microsatellite instability"),
    Feature(name="stage_4", kind="flag", group="disease", label="stage IV disease"),
    Feature(name="pd_l1_tps", group="disease", label="PD-L1 tumour proportion score", unit="%", low=0, high=100),
    Feature(name="drug", kind="category", group="treatment", label="checkpoint inhibitor",
            levels=(_PD1, _COMBINED, _CTLA4), text="{label}: {value}"),
    Feature(name="prior_systemic_therapy", kind="flag", group="medication history",
            label="chemotherapy or targeted therapy before"),
    Feature(name="albumin", group="labs and vitals", label="albumin", unit="g/dL", low=0.5, high=7),
    Feature(name="neutrophil_ratio", group="labs and vitals", label="neutrophil-to-lymphocyte ratio", low=0, high=500,
            log=True),
    Feature(name="haemoglobin", group="labs and vitals", label="haemoglobin", unit="g/dL", low=2, high=25),
    Feature(name="platelets", group="labs and vitals", label="platelets", unit="10^9/L", low=1, high=3000, log=True),
    Feature(name="bmi", group="labs and vitals", label="body mass index", unit="kg/m2", low=8, high=90),
)  # fmt: skip

_LORIS_ORGANS = MappingProxyType({
    "bladder": -0.3323, "breast": -0.3323, "colorectal": -0.102, "endometrial": -0.0079, "esophageal": 0.55,
    "gastric": 0.2306, "head_neck": 0.0678, "hepatobiliary": -0.1189, "melanoma": -0.0086, "mesothelioma": 0.1255,
    "nsclc": 0.0008, "ovarian": -0.052, "pancreatic": -1.1169, "renal": 0.5451, "sarcoma": 0.0542, "sclc": -0.0033,
})  # fmt: skip
_LORIS = (
    "0.0371 * min(tumour_mutational_burden, 50) - 0.8775 * prior_systemic_therapy + 0.5382 * albumin"
    " - 0.033 * min(neutrophil_ratio, 25) + 0.0049 * min(age, 85) - 2.0886"
    + "".join(f" + {weight} * cancer_is_{organ}" for organ, weight in _LORIS_ORGANS.items())
)

SCHEMA = Schema(
    task=TASK,
    version="1",
    features=_FEATURES,
    formulas=(
        Formula(
            name="loris", label="LORIS (log odds)", expression=_LORIS, source="chang-2024-loris", status="secondary"
        ),
    ),
)
REQUIRED = ("age", "cancer", "tumour_mutational_burden", "prior_systemic_therapy")
"""Without these the model is not asked: nearly every patient that it learned from had them."""

_NUMBERS = MappingProxyType({
    "age": "Age", "tumour_mutational_burden": "TMB", "fraction_copy_number_altered": "FCNA",
    "pd_l1_tps": "PDL1_TPS(%)", "albumin": "Albumin", "neutrophil_ratio": "NLR", "haemoglobin": "HGB",
    "platelets": "Platelets", "bmi": "BMI",
})  # fmt: skip
_FLAGS = MappingProxyType({
    "male": "Sex", "msi_high": "MSI", "stage_4": "Stage", "prior_systemic_therapy": "Systemic_therapy_history",
})  # fmt: skip
_FACTS = ("age", "tumour_mutational_burden", "pd_l1_tps", "albumin", "haemoglobin", "platelets", "bmi")
_OF_THE_TUMOUR = frozenset({"tumour_mutational_burden", "pd_l1_tps"})  # measured once: these do not go stale


def cells_of_csv(cells: Mapping[str, str]) -> dict[str, Cell]:
    """Values of the features from a line of the public table, as it is distributed."""
    row: dict[str, Cell] = {name: number(cells.get(column, "")) for name, column in _NUMBERS.items()}
    row |= {name: number(cells.get(column, "")) for name, column in _FLAGS.items()}
    row["cancer"] = cells.get("CancerType") or None
    code = number(cells.get("Drug", ""))
    row["drug"] = None if code is None else _DRUGS.get(f"{code:g}")
    if cells.get("Cohort") in IMPUTED_BY_SOURCE:
        row["albumin"] = row["neutrophil_ratio"] = None
    return row


def row_of_patient(situation: Situation, drugs: Sequence[DrugId] = (), *, ledger: Ledger) -> Row | Missing:
    """The same values from a patient who is to get `drugs`, or the inputs that the record lacks.

    A laboratory value that has gone stale counts as not known.

    Raises
    ------
    InputError
        If a fact is not of its kind.
    """
    known: dict[str, Known] = {}
    for name in _FACTS:
        fact = situation.facts.get(name)
        if fact is not None and not isinstance(fact.value, str | bool) and (name in _OF_THE_TUMOUR or not fact.stale):
            known[name] = Known(fact.value, fact.because)
    known |= _history(situation) | _ratio(situation, ledger)
    sex = situation.facts.get("sex")
    if sex is not None:
        known["male"] = Known(sex.value == "male", sex.because)
    cancers = [code for code in CANCERS if code in situation.conditions]
    if len(cancers) == 1:
        known["cancer"] = Known(CANCERS[cancers[0]], situation.conditions[cancers[0]])
    kind = drug_kind(drugs)
    if kind is not None:
        known["drug"] = Known(kind, ledger.add("setting", f"plan under review: {', '.join(drugs)}", source="plan"))
    lacking = tuple(feature.label for feature in _FEATURES if feature.name in REQUIRED and feature.name not in known)
    return Missing(TASK, lacking) if lacking else row_of(SCHEMA, known)


def drug_kind(drugs: Sequence[DrugId]) -> str | None:
    """The kind of checkpoint inhibitor among these drugs; None: there is none."""
    blocked = bool(PD1_INHIBITORS & set(drugs)), bool(CTLA4_INHIBITORS & set(drugs))
    return {(True, False): _PD1, (True, True): _COMBINED, (False, True): _CTLA4}.get(blocked)


def _history(situation: Situation) -> dict[str, Known]:
    """Prior therapy where the record states it; that no list names one does not say that there was none."""
    code = "prior_systemic_cancer_therapy"
    evidence = situation.conditions.get(code) or situation.past_conditions.get(code)
    if evidence is not None:
        return {"prior_systemic_therapy": Known(True, evidence)}
    stated = situation.facts.get("prior_systemic_therapy")
    if stated is None or stated.value not in ("yes", "no"):
        return {}
    return {"prior_systemic_therapy": Known(stated.value == "yes", stated.because)}


def _ratio(situation: Situation, ledger: Ledger) -> dict[str, Known]:
    """Neutrophils over lymphocytes of the same day."""
    above, below = situation.facts.get("neutrophils"), situation.facts.get("lymphocytes")
    if above is None or below is None or above.at != below.at or above.stale:
        return {}
    if not isinstance(above.value, float) or not isinstance(below.value, float) or below.value <= 0:
        return {}
    ratio = above.value / below.value
    key = ledger.add("derived", f"neutrophils / lymphocytes: {ratio:.4g}", because=[above.because, below.because])
    return {"neutrophil_ratio": Known(ratio, key)}
