"""T3: the maintenance dose of warfarin on the IWPC's patients, beside the published algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from posologist.learn.tasks.cells import number
from posologist.learn.tasks.warfarin import DOSE, OUTCOME, RACE, SITE, STABLE, UNIT
from posologist.study.blocks import (
    Array,
    Block,
    Cells,
    Cohort,
    Control,
    Explored,
    IntArray,
    Part,
    Scored,
    Serving,
    bins,
    combined,
    patient_numbers,
)
from posologist.study.scores import amount_metrics
from posologist.study.tables import read_rows
from posologist.study.warfarin_methods import METHODS, fitted, frame

ID = "PharmGKB Subject ID"
OUTLIER = 300.0  # mg/week; the table holds one dose of 315, which its users leave out
LOW, HIGH = 21.0, 49.0  # mg/week: bounds of the low and the high dose group of iwpc-2009
GENES = ("CYP2C9", "Cyp2C9", "VKORC1")  # how the columns of the genome begin, or what they hold
COLUMNS = (
    ID, SITE, "Gender", RACE, "Race (Reported)", "Age", "Height (cm)", "Weight (kg)",
    "Indication for Warfarin Treatment", "Comorbidities", "Diabetes",
    "Congestive Heart Failure and/or Cardiomyopathy", "Valve Replacement", "Medications", "Aspirin",
    "Amiodarone (Cordarone)", "Carbamazepine (Tegretol)", "Phenytoin (Dilantin)", "Rifampin or Rifampicin",
    STABLE, DOSE, "Current Smoker", "CYP2C9 consensus", "VKORC1 -1639 consensus", "VKORC1 1173 consensus",
    "VKORC1 1542 consensus", "VKORC1 2255 consensus",
)  # fmt: skip
_RACES = {"White": "White", "Asian": "Asian", "Black or African American": "Black"}


def read(path: Path) -> Cohort:
    """The usual analysis cohort: stable dose reached, dose and age known, without the one outlier."""
    rows = tuple(
        {name: "" if text.strip() == "NA" else text for name, text in row.items()} for row in read_rows(path, COLUMNS)
    )
    doses = np.array([number(row[DOSE], where=DOSE) for row in rows], dtype=np.float64)  # None: nan
    stable = np.array([row[STABLE].strip() in ("1", "1.0") for row in rows])
    aged = np.array([row["Age"].strip()[:1].isdigit() for row in rows])
    kept = np.flatnonzero(stable & np.isfinite(doses) & aged & (doses > 0) & (doses < OUTLIER))
    chosen = tuple(rows[i] for i in kept)
    note = (
        f"{len(kept)} of {len(rows)} rows: stable dose reached, dose and age known, dose below {OUTLIER:g} {UNIT} "
        "(one dose of 315 is the table's outlier)"
    )
    return Cohort(
        rows=chosen,
        target=doses[kept],
        patient=patient_numbers(chosen, id_column=ID),
        site=np.array([int(number(row[SITE], where=SITE) or 0) for row in chosen], dtype=np.int64),
        groups={
            "race": tuple(_RACES.get(row[RACE], "Unknown") for row in chosen),
            "dose band": tuple(band(dose) for dose in doses[kept].tolist()),
            "sex": tuple(row["Gender"] for row in chosen),
            "age": tuple(_age_group(row) for row in chosen),
        },
        notes=(note,),
    )


def band(dose: float) -> str:
    """Dose group of iwpc-2009: at most 21, 21 to 49, at least 49 mg/week."""
    return "low (<= 21)" if dose <= LOW else "high (>= 49)" if dose >= HIGH else "middle"


def metrics(target: Array, scored: Scored, cohort: Cohort) -> Mapping[str, Part]:
    """Those of an amount, and how often the dose falls in another dose group than the stable dose."""
    wrong = dose_class(scored.value) != dose_class(target)
    return {
        **amount_metrics(target, scored, "mg_per_week"),
        "wrong_dose_class_percent": np.where(np.isfinite(scored.value), 100.0 * wrong, np.nan),
        "over_20_percent_too_high_percent": np.where(
            np.isfinite(scored.value), 100.0 * (scored.value > 1.2 * target), np.nan
        ),
    }


def dose_class(dose: Array) -> IntArray:
    """0 at most 21, 2 at least 49, else 1 (mg/week)."""
    return (dose > LOW).astype(np.int64) + (dose >= HIGH)


def permuted_genome(cohort: Cohort, rng: np.random.Generator) -> Cohort:
    """Each patient gets the genome of another of the same race: what it tells beyond race is gone."""
    own = np.arange(len(cohort))
    races = np.array([row[RACE] for row in cohort.rows])
    for race in np.unique(races):
        places = np.flatnonzero(races == race)
        own[places] = rng.permutation(places)
    rows = []
    for row, other in zip(cohort.rows, own, strict=True):
        given = cohort.rows[other]
        rows.append({name: given[name] if _genetic(name) else text for name, text in row.items()})
    return Cohort(
        rows=tuple(rows), target=cohort.target, patient=cohort.patient, site=cohort.site, groups=cohort.groups,
        extra=cohort.extra, notes=cohort.notes,
    )  # fmt: skip


def _genetic(column: str) -> bool:
    return any(word in column for word in GENES)


def _strata(cohort: Cohort) -> IntArray:
    return combined([row[RACE] for row in cohort.rows], bins(cohort.target, 5))


def _age_group(row: Cells) -> str:
    decade = int(row["Age"].strip()[0])
    return "under 50" if decade < 5 else "50 to 69" if decade < 7 else "70 and over"


_MAE, _CLOSE = "mae_mg_per_week", "within_20_percent"
_PG = "iwpc-pharmacogenetic"

BLOCK = Block(
    task="warfarin",
    title="Warfarin maintenance dose (IWPC)",
    label="real patients",
    licence="CC BY-SA 4.0 as PharmGKB/ClinPGx states for its content (believed, not read again)",
    source="IWPC, PharmGKB submission 553247439 (N Engl J Med 2009;360:753)",
    file="iwpc_warfarin/iwpc_warfarin.csv.gz",
    columns=COLUMNS,
    read=read,
    methods=METHODS,
    metrics=metrics,
    main=_MAE,
    paired=(
        *(("engine", against, metric) for against in (_PG, "stack", "iwpc-refitted") for metric in (_MAE, _CLOSE)),
        ("engine", "engine-without-genes", _MAE),
        ("engine", "ridge", _MAE),
        ("engine", "lightgbm", _MAE),
        ("engine", "mlp", _MAE),
    ),
    grouped=("engine", _PG),
    id_column=ID,
    strata=_strata,
    controls=(
        Control(
            name="leave-site-out",
            methods=(_PG, "iwpc-refitted", "ridge", "engine"),
            leave_out="site",
            by="race",
            quick=False,
            note="Each site is predicted by what was learned at the others. The published formula was fitted on most "
            "of these patients at all sites; iwpc-refitted has its variables and learned at the other sites only.",
        ),
        Control(
            name="permuted genome",
            methods=("engine", "engine-without-genes"),
            alter=permuted_genome,
            note="Each patient has the genotypes of another of the same race, in training and test: they must add "
            "nothing to what is learned without genes.",
        ),
    ),
    fairness=("sex", "age", "race"),
    kind="amount",
    quick_rows=1200,
    serving=Serving(
        name="warfarin maintenance dose",
        version="1",
        outcome=OUTCOME,
        unit=UNIT,
        fit=fitted,
        use=(
            "a starting estimate of the maintenance dose for a target INR of 2 to 3 in adults, beside the guideline's "
            "algorithm; the INR decides what is given",
        ),
        limits=(
            "patients whose dose never became stable are not in the table, nor is anybody without a known age",
            "CYP4F2, rs12777823 and CYP2C9 *5, *6, *8 and *11 (rare here) are not features: the guideline's steps for "
            "them apply to its algorithm, not to this model",
            "21 hospitals: at another one the error is larger (see leave-site-out in the evaluation); what is not "
            "known counts as it does at the hospitals that did not record it, which is seen in the explanation",
        ),
    ),
    explored=Explored(frame, genome=("vkorc1", "cyp2c9", "cyp2c9_other"), within="race"),
    notes=(
        "the IWPC formulas were fitted on 4,043 patients of this very table, so that their rows are mostly in-sample, "
        "which favours them; Gage's formula was fitted on other patients",
        "the age is known by decade: Gage's formula gets the middle of it (18 years for the youngest)",
        "height and weight that are missing are inferred for the formulas from sex, race and the other of the two, "
        "learned in the training part; VKORC1 -1639 is inferred from linked positions as the IWPC did",
        "dose classes are those of the IWPC: at most 21, between, and at least 49 mg/week; wrong_dose_class_percent "
        "counts predictions in another class than the stable dose",
        "Gage's formula (pharmacogenetic) is computed for a target INR of 2.5 and no thrombosis; its clinical form "
        "is not on file",
    ),
)
