"""Tables of practice as cohorts: what was known of a patient, and the set of drugs that was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from posologist.learn.tasks.imitation import DIABETES130, NHANES_HTN, Cells, Practice, amount, treated, with_past
from posologist.study.blocks import Cohort, IntArray, patient_numbers
from posologist.study.tables import read_rows

GIVEN = "given"
WEIGHT = "survey weight"
HIDDEN = (GIVEN,)

DIABETES_COLUMNS = (
    "encounter_id", "patient_nbr", "race", "gender", "age", "admission_type_id", "discharge_disposition_id",
    "admission_source_id", "time_in_hospital", "payer_code", "medical_specialty", "num_lab_procedures",
    "num_procedures", "num_medications", "number_outpatient", "number_emergency", "number_inpatient", "diag_1",
    "diag_2", "diag_3", "number_diagnoses", "max_glu_serum", "A1Cresult", *DIABETES130.labels, "change", "readmitted",
)  # fmt: skip
NHANES_COLUMNS = (
    "svy_id", "svy_weight_mec", "bp_med_use", *NHANES_HTN.labels, *NHANES_HTN.amounts, *NHANES_HTN.categories,
)  # fmt: skip
_SHOWN_AGES = ("under 50", "50 to 69", "70 and over")


def read_diabetes130(path: Path) -> Cohort:
    """Encounters that have an earlier one of the same patient, in the order of their number."""
    rows = read_rows(path, DIABETES_COLUMNS)
    found = with_past(rows)
    groups = {
        "race": tuple(row["race"] if row["race"] not in ("", "?") else "not stated" for row in found),
        "sex": tuple(row["gender"] if row["gender"] in ("Female", "Male") else "" for row in found),
        "age": tuple(_SHOWN_AGES[(int(row["age"]) >= 50) + (int(row["age"]) >= 70)] for row in found),
        "set": tuple(_changed(DIABETES130, found)),
    }
    note = f"{len(rows) - len(found)} first encounters of a patient are left out: nothing is known of their past"
    return _cohort(DIABETES130, found, groups, id_column="patient_nbr", notes=(note,))


def read_nhanes(path: Path) -> Cohort:
    """Participants who take drugs for pressure."""
    rows = read_rows(path, NHANES_COLUMNS)
    found = treated(rows)
    groups = {
        "race": tuple(row["demo_race"] for row in found),
        "sex": tuple(row["demo_gender"] for row in found),
        "age": tuple(_SHOWN_AGES[(_age(row) >= 50) + (_age(row) >= 70)] for row in found),
        "cycle": tuple(row["svy_year"] for row in found),
    }
    note = f"{len(rows) - len(found)} participants not known to take a drug for pressure are left out"
    cohort = _cohort(NHANES_HTN, found, groups, id_column="svy_id", notes=(note,))
    weight = np.array([amount(row, "svy_weight_mec") for row in found])
    site = np.unique(groups["cycle"], return_inverse=True)[1].astype(np.int64)
    return Cohort(
        rows=cohort.rows, target=cohort.target, patient=cohort.patient, site=site, groups=cohort.groups,
        extra={**cohort.extra, WEIGHT: weight}, notes=cohort.notes,
    )  # fmt: skip


def strata(cohort: Cohort) -> IntArray:
    """Number of drugs given: what the outer folds are balanced by."""
    return np.minimum(cohort.target, 3.0).astype(np.int64)


def _age(row: Cells) -> float:
    return amount(row, "demo_age_years")


def _changed(practice: Practice, rows: Sequence[Cells]) -> list[str]:
    from posologist.learn.tasks.imitation import BEFORE

    same = (practice.given(rows) == practice.given(rows, BEFORE)).all(axis=1)
    return ["as before" if one else "changed" for one in same]


def _cohort(
    practice: Practice, rows: tuple[Cells, ...], groups: dict[str, tuple[str, ...]], *, id_column: str,
    notes: tuple[str, ...],
) -> Cohort:  # fmt: skip
    given = practice.given(rows)
    return Cohort(
        rows=rows,
        target=given.sum(axis=1).astype(np.float64),
        patient=patient_numbers(rows, id_column=id_column),
        site=np.zeros(len(rows), dtype=np.int64),
        groups=groups,
        extra={GIVEN: given.astype(np.float64)},
        notes=notes,
    )
