"""Ten-year risk of a first cardiovascular event: the model's inputs, from the public table and from a patient alike.

The outcome is a first myocardial infarction, fatal coronary disease or stroke within ten years of the examination, in
somebody free of coronary disease and stroke then. Death of another cause before it means that the event did not come.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from posologist.core.evidence import Ledger
from posologist.core.prediction import Feature, Formula, Schema
from posologist.core.situation import Situation
from posologist.core.values import EvidenceKey
from posologist.knowledge.derive import condition_state
from posologist.knowledge.load import Knowledge
from posologist.learn.features import Cell, Known, Row, row_of
from posologist.learn.tasks.cells import number
from posologist.learn.tasks.missing import Missing

TASK = "cardiovascular"

_FEATURES = (
    Feature(name="age", group="demographics", label="age", unit="years", low=18, high=100, log=True),
    Feature(name="male", kind="flag", group="demographics", label="male sex", yes="male", no="female"),
    Feature(name="sbp", group="labs and vitals", label="systolic pressure", unit="mmHg", low=50, high=300, log=True),
    Feature(name="dbp", group="labs and vitals", label="diastolic pressure", unit="mmHg", low=20, high=200),
    Feature(name="heart_rate", group="labs and vitals", label="heart rate", unit="per minute", low=20, high=250),
    Feature(name="total_cholesterol", group="labs and vitals", label="total cholesterol", unit="mg/dL",
            low=30, high=1000, log=True),
    Feature(name="hdl", group="labs and vitals", label="HDL cholesterol", unit="mg/dL", low=5, high=250, log=True),
    Feature(name="ldl", group="labs and vitals", label="LDL cholesterol", unit="mg/dL", low=5, high=800),
    Feature(name="glucose", group="labs and vitals", label="glucose", unit="mg/dL", low=20, high=1000, log=True),
    Feature(name="bmi", group="labs and vitals", label="body mass index", unit="kg/m2", low=8, high=90, log=True),
    Feature(name="smoker", kind="flag", group="lifestyle", label="smoking now", yes="smokes", no="does not smoke"),
    Feature(name="diabetes", kind="flag", group="conditions", label="diabetes"),
    Feature(name="hypertension", kind="flag", group="conditions", label="hypertension"),
    Feature(name="antihypertensive", kind="flag", group="medication history", label="antihypertensive treatment"),
)  # fmt: skip

_WITH_LIPIDS = (
    "(1 - male) * (2.32888 * log(age) + 1.20904 * log(total_cholesterol) - 0.70833 * log(hdl)"
    " + (2.76157 + 0.06106 * antihypertensive) * log(sbp) + 0.52873 * smoker + 0.69154 * diabetes - 26.1931"
    " + log(-log(0.95012)))"
    " + male * (3.06117 * log(age) + 1.1237 * log(total_cholesterol) - 0.93263 * log(hdl)"
    " + (1.93303 + 0.06578 * antihypertensive) * log(sbp) + 0.65451 * smoker + 0.57367 * diabetes - 23.9802"
    " + log(-log(0.88936)))"
)
_WITH_BMI = (
    "(1 - male) * (2.72107 * log(age) + 0.51125 * log(bmi)"
    " + (2.81291 + 0.06976 * antihypertensive) * log(sbp) + 0.61868 * smoker + 0.77763 * diabetes - 26.0145"
    " + log(-log(0.94833)))"
    " + male * (3.11296 * log(age) + 0.79277 * log(bmi)"
    " + (1.85508 + 0.07164 * antihypertensive) * log(sbp) + 0.70953 * smoker + 0.5316 * diabetes - 23.9388"
    " + log(-log(0.88431)))"
)
"""Logarithms of the ten-year hazards of D'Agostino and others 2008, from which the risk is 1 - exp(-exp(.))."""

SCHEMA = Schema(
    task=TASK,
    version="1",
    features=_FEATURES,
    formulas=(
        Formula(
            name="framingham", label="Framingham general cardiovascular hazard (log)", status="secondary",
            expression=f"(1 - hdl_missing) * ({_WITH_LIPIDS}) + hdl_missing * ({_WITH_BMI})",
            source="framingham-general-cvd-page",
        ),
    ),
)  # fmt: skip
REQUIRED = ("age", "male", "sbp", "smoker", "diabetes", "antihypertensive")
"""Without these the model is not asked: the published scores need them too."""

_NUMBERS = MappingProxyType({
    "age": "AGE", "sbp": "SYSBP", "dbp": "DIABP", "heart_rate": "HEARTRTE", "total_cholesterol": "TOTCHOL",
    "hdl": "HDLC", "ldl": "LDLC", "glucose": "GLUCOSE", "bmi": "BMI",
})  # fmt: skip
_FLAGS = MappingProxyType({
    "smoker": "CURSMOKE", "diabetes": "DIABETES", "hypertension": "PREVHYP", "antihypertensive": "BPMEDS",
})  # fmt: skip
_SMOKING = MappingProxyType({"current": True, "former": False, "never": False})


def cells_of_csv(cells: Mapping[str, str]) -> dict[str, Cell]:
    """Values of the features from a line of the public table, as it is distributed (SEX: 1 male, 2 female)."""
    row: dict[str, Cell] = {name: number(cells.get(column, "")) for name, column in (_NUMBERS | _FLAGS).items()}
    sex = number(cells.get("SEX", ""))
    row["male"] = None if sex is None else sex == 1
    return row


def row_of_patient(situation: Situation, knowledge: Knowledge, *, ledger: Ledger) -> Row | Missing:
    """The same values from a patient, or what the record lacks for the model to be asked.

    Conditions and treatment count as absent only where a problem list and a medication list were given; a value that
    has gone stale counts as not known. A patient with cardiovascular disease has had the event, and gets no row.

    Raises
    ------
    InputError
        If a fact is not of its kind.
    """
    known: dict[str, Known] = {}
    for name in _NUMBERS:
        fact = situation.facts.get(name)
        if fact is not None and not fact.stale and not isinstance(fact.value, str | bool):
            known[name] = Known(fact.value, fact.because)
    sex, smoking = situation.facts.get("sex"), situation.facts.get("smoking_status")
    if sex is not None:
        known["male"] = Known(sex.value == "male", sex.because)
    if smoking is not None and smoking.value in _SMOKING:
        known["smoker"] = Known(_SMOKING[str(smoking.value)], smoking.because)
    known |= _conditions(situation, ledger) | _treatment(situation, knowledge, ledger)
    lacking = [feature.label for feature in _FEATURES if feature.name in REQUIRED and feature.name not in known]
    if condition_state(situation, "cvd") is not False:
        lacking.append("a problem list without cardiovascular disease")
    return Missing(TASK, tuple(lacking)) if lacking else row_of(SCHEMA, known)


def _conditions(situation: Situation, ledger: Ledger) -> dict[str, Known]:
    """Conditions: true where recorded, false where a problem list was given without them."""
    found: dict[str, Known] = {}
    for code in ("diabetes", "hypertension"):
        if code in situation.conditions:
            found[code] = Known(True, situation.conditions[code])
        elif situation.problem_list_given:
            found[code] = Known(False, _absent(f"{code} is not on the problem list", situation, ledger))
    return found


def _treatment(situation: Situation, knowledge: Knowledge, ledger: Ledger) -> dict[str, Known]:
    """Treatment with an antihypertensive: false only where a medication list was given without one."""
    taken = [drug for drug in situation.current if "antihypertensive" in knowledge.groups_of(drug.drug)]
    if taken:
        return {"antihypertensive": Known(True, taken[0].because)}
    if not situation.medication_list_given:
        return {}
    return {"antihypertensive": Known(False, _absent("no antihypertensive among the medicines", situation, ledger))}


def _absent(text: str, situation: Situation, ledger: Ledger) -> EvidenceKey:
    return ledger.add("patient", text, source=f"record of patient {situation.patient_id}")
