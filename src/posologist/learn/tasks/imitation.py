"""What prescribers did: the drugs of an encounter or of a survey visit, and what was known before they were given.

Practice, not benefit: a model of these tables learns what is usual. A feature is only what was known when the patient
came; every other column of the table is named in `left_out` with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from posologist.learn.tasks.cells import number

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Cells = Mapping[str, str]

MISSING = ("", "NA", "?", "None", "Unknown/Invalid")
BEFORE = "before: "
"""Prefix of a cell of the patient's previous encounter."""

SHARE = "share before: "
"""Prefix of the share of a patient's earlier encounters at which a drug was given."""

EARLIER = "encounters before"


@dataclass(frozen=True)
class Practice:
    """A table of practice: the drugs (or classes) that are predicted, and what they may be predicted from.

    Parameters
    ----------
    labels
        Columns of the drugs; `given` tells from a cell whether one was given.
    amounts, categories
        Cells that are read as numbers and as categories, by their name in the rows of the cohort.
    copied
        Whether the rows hold the previous set, so that it can be copied.
    left_out
        Column to why it is no feature (of the same encounter).
    """

    name: str
    labels: tuple[str, ...]
    not_given: tuple[str, ...]
    amounts: tuple[str, ...]
    categories: tuple[str, ...]
    copied: bool
    left_out: Mapping[str, str]

    def given(self, rows: Sequence[Cells], prefix: str = "") -> npt.NDArray[np.bool_]:
        """Whether each drug was given, (n, n_labels)."""
        return np.array([[row[prefix + label] not in self.not_given for label in self.labels] for row in rows])


def amount(row: Cells, column: str) -> float:
    """The number in a cell, nan where there is none.

    Raises
    ------
    InputError
        If the cell holds something else than a number.
    """
    value = number(row[column], where=column)
    return math.nan if value is None else value


_DIABETES_DRUGS = (
    "metformin", "repaglinide", "nateglinide", "chlorpropamide", "glimepiride", "acetohexamide", "glipizide",
    "glyburide", "tolbutamide", "pioglitazone", "rosiglitazone", "acarbose", "miglitol", "troglitazone", "tolazamide",
    "examide", "citoglipton", "insulin", "glyburide-metformin", "glipizide-metformin", "glimepiride-pioglitazone",
    "metformin-rosiglitazone", "metformin-pioglitazone",
)  # fmt: skip
_STAY = ("time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications", "number_diagnoses")
_YEAR_BEFORE = ("number_outpatient", "number_emergency", "number_inpatient")
_AT_ADMISSION = ("race", "gender", "admission_type_id", "admission_source_id", "medical_specialty", "payer_code")
_OF_STAY = ("discharge_disposition_id", "max_glu_serum", "A1Cresult", "change", "readmitted")
PRESENT_FINDINGS = ("max_glu_serum", "A1Cresult", "diabetes code", "main diagnosis")
"""Laboratory results and diagnoses of the present stay: known to the prescriber only in its course."""

_DURING = "summed up over the stay, or written at its end"

DIABETES130 = Practice(
    name="diabetes130",
    labels=_DIABETES_DRUGS,
    not_given=("No",),
    amounts=(
        "age", *_YEAR_BEFORE, EARLIER, *(BEFORE + column for column in (*_STAY, *_YEAR_BEFORE)),
        *(SHARE + drug for drug in _DIABETES_DRUGS),
    ),
    categories=(
        *_AT_ADMISSION, *(BEFORE + column for column in (*_OF_STAY, "diabetes code", "main diagnosis")),
        *(BEFORE + drug for drug in _DIABETES_DRUGS),
    ),
    copied=True,
    left_out={
        "encounter_id": "orders the encounters of a patient",
        "patient_nbr": "names the patient",
        "weight": "missing in 97 %",
        **dict.fromkeys(_STAY, _DURING),
        "discharge_disposition_id": _DURING,
        "readmitted": "comes after the stay",
        "change": "says whether the drugs that are to be predicted were changed",
        "diabetesMed": "says whether any of the drugs that are to be predicted was given",
        **dict.fromkeys(("diag_1", "diag_2", "diag_3"), "coded at discharge: told in a row of its own"),
        **dict.fromkeys(("max_glu_serum", "A1Cresult"), "measured in the course of the stay: told in a row of its own"),
    },
)  # fmt: skip
"""Strack 2014 (doi 10.1155/2014/781670): the next encounter's drugs from the earlier ones."""


_CLASSES = (
    "bp_med_ace", "bp_med_aldo", "bp_med_alpha", "bp_med_angioten", "bp_med_beta", "bp_med_central", "bp_med_ccb_dh",
    "bp_med_ccb_ndh", "bp_med_diur_Ksparing", "bp_med_diur_loop", "bp_med_diur_thz", "bp_med_renin_inhibitors",
    "bp_med_vasod",
)  # fmt: skip
_PRESSURE = ("bp_sys_mean", "bp_dia_mean")

NHANES_HTN = Practice(
    name="nhanes_htn",
    labels=_CLASSES,
    not_given=("No", ""),
    amounts=("demo_age_years", *_PRESSURE, "cc_acr", "cc_egfr", "cc_hba1c", "chol_total", "chol_hdl", "chol_trig"),
    categories=(
        "svy_year", "demo_race", "demo_gender", "demo_pregnant", "cc_smoke", "cc_bmi", "cc_diabetes", "cc_ckd",
        "cc_cvd_mi", "cc_cvd_chd", "cc_cvd_stroke", "cc_cvd_hf",
    ),
    copied=False,
    left_out={
        "bp_med_*": "the classes that are to be predicted, or counts of them",
        "bp_control_*, bp_uncontrolled_*, bp_cat_*": "cut from the pressures; some also from whether drugs are taken",
        "htn_*": "made from the drugs taken, the resistant ones from their number",
        "svy_id, svy_weight_mec, svy_psu, svy_strata, svy_subpop_*": "of the survey's design",
        "demo_age_cat, demo_race_black, cc_egfr_lt60, cc_acr_gteq30, cc_cvd_ascvd, cc_cvd_any": "cut from features",
        "chol_measured_*, chol_ldl*, chol_nonhdl*, chol_*_low, chol_*_gteq_*": "cut from features, or sparse",
        "chol_med_*, ascvd_risk_vh_ahaacc": "other drugs of the patient, or made from them",
    },
)  # fmt: skip
"""National Health and Nutrition Examination Survey 1999 to 2020: classes that people treated for pressure take."""


def _diabetes_code(row: Cells) -> str:
    """First digit after 250 of the first diabetes diagnosis; "" where none of the three is one."""
    codes = (row[f"diag_{k}"] for k in (1, 2, 3))
    own = next((code for code in codes if code.startswith("250")), "")
    return (own.partition(".")[2][:1] or "0") if own else ""


def _main_diagnosis(row: Cells) -> str:
    """Chapter of the main diagnosis (ICD-9), as its hundreds; letters keep their letter."""
    code = row["diag_1"]
    return (code[:1] if not code[:1].isdigit() else f"{int(float(code)) // 20 * 20}") if code not in MISSING else ""


def _with_codes(row: Cells) -> dict[str, str]:
    age = row["age"].strip("[)").partition("-")[0]
    return {**row, "age": age, "diabetes code": _diabetes_code(row), "main diagnosis": _main_diagnosis(row)}


def with_past(rows: Sequence[Cells]) -> tuple[Cells, ...]:
    """Each encounter that has an earlier one of the same patient, with what was known by then.

    The encounters of a patient stand in the order of their number. Cells of the previous encounter carry the prefix
    `BEFORE`; first encounters have nothing to be copied from and are left out.
    """
    ordered = sorted(rows, key=lambda row: (row["patient_nbr"], int(row["encounter_id"])))
    found: list[Cells] = []
    for _, own in groupby(ordered, key=lambda row: row["patient_nbr"]):
        seen = [_with_codes(row) for row in own]
        given = DIABETES130.given(seen).astype(np.float64)
        for k in range(1, len(seen)):
            shares = [float(share) for share in given[:k].mean(axis=0)]
            found.append(
                {
                    **seen[k],
                    **{BEFORE + column: text for column, text in seen[k - 1].items()},
                    **{SHARE + drug: f"{share:.4f}" for drug, share in zip(_DIABETES_DRUGS, shares, strict=True)},
                    EARLIER: str(k),
                }
            )
    return tuple(found)


def treated(rows: Sequence[Cells]) -> tuple[Cells, ...]:
    """The participants who say that they take drugs for pressure and have at least one class on record."""
    asked = (row for row in rows if row["bp_med_use"] == "Yes")
    return tuple(row for row in asked if NHANES_HTN.given([row]).any())
