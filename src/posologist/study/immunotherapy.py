"""T4: response to immune checkpoint inhibitors in nine public cohorts, beside LORIS and the mutational burden rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from posologist.learn.features import Frame, frame_of
from posologist.learn.tasks.cells import number
from posologist.learn.tasks.immunotherapy import CANCERS, SCHEMA, cells_of_csv
from posologist.study.blocks import (
    Array,
    Block,
    Cells,
    Cohort,
    Control,
    Explored,
    IntArray,
    Part,
    Plain,
    Resampled,
    Scored,
    Serving,
    combined,
    patient_numbers,
)
from posologist.study.classifiers import Engine, Learned, Stacked, balanced_cut
from posologist.study.published import computed
from posologist.study.scores import auc, probability_metrics
from posologist.study.survival import concordance, hazard_ratio, thirds
from posologist.study.tables import read_rows

if TYPE_CHECKING:
    from posologist.learn.fit.engine import FittedEngine

COLUMNS = (
    "Cohort", "SAMPLE_ID", "TMB", "PDL1_TPS(%)", "Systemic_therapy_history", "Albumin", "CancerType", "NLR", "Age",
    "FCNA", "Drug", "Sex", "MSI", "Stage", "Platelets", "HGB", "BMI", "PFS_Event", "PFS_Months", "OS_Event",
    "OS_Months", "Response",
)  # fmt: skip
TMB_RULE = 10.0  # mutations/Mb: the tissue-agnostic cut of pembrolizumab's US label
LORIS_TRAINED_ON = "Chowell_train"
IN_DAYS = "Ravi_NSCLC"  # its "months" reach 2,109: they are days
_DAYS_PER_MONTH = 30.4375
_KEY = "patient key"


def read(path: Path) -> Cohort:
    """The cohorts of the LORIS repository, with the patients who stand in two of them known as one.

    Raises
    ------
    InputError
        If the table is not as it is distributed.
    """
    rows = tuple({**cells, _KEY: patient_key(cells)} for cells in read_rows(path, COLUMNS))
    patient = patient_numbers(rows, compared=(_KEY,))
    cohort = np.array([cells["Cohort"] for cells in rows])
    target = _column(rows, "Response")
    twice = len(rows) - len(np.unique(patient))
    return Cohort(
        rows=rows,
        target=target,
        patient=patient,
        site=np.unique(cohort, return_inverse=True)[1].astype(np.int64),
        groups={
            "cohort": tuple(cohort.tolist()),
            "LORIS": tuple("fitted on" if name == LORIS_TRAINED_ON else "not fitted on" for name in cohort),
            "cancer": tuple(_cancer_group(cells["CancerType"]) for cells in rows),
            "sex": tuple({"1": "male", "0": "female"}.get(_plain(cells["Sex"]), "") for cells in rows),
            "age": tuple(_age_band(number(cells["Age"])) for cells in rows),
        },
        extra={"seen_by_loris": np.isin(patient, patient[cohort == LORIS_TRAINED_ON]).astype(float), **_survival(rows)},
        notes=(
            f"{twice} of {len(rows)} rows are a second copy of a patient of another cohort (same sex, mutational "
            "burden, albumin and copy-number fraction to four places): they stay together in every split",
            f"survival of {IN_DAYS} is read as days",
        ),
    )


def patient_key(cells: Cells) -> str:
    """Equal for rows that are the same patient: tumour fingerprint where there is one, else the row's own name.

    The copies' ages are rounded and their neutrophil ratios were measured on other days, so neither is compared.
    """
    altered, burden, albumin = (number(cells[name]) for name in ("FCNA", "TMB", "Albumin"))
    if not altered or burden is None or albumin is None:
        return f"{cells['Cohort']} {cells['SAMPLE_ID']}"
    return f"{_plain(cells['Sex'])} {burden:.1f} {albumin:.1f} {altered:.4f}"


def frame(cohort: Cohort) -> Frame:
    """The rows under the task's schema."""
    return frame_of(SCHEMA, [cells_of_csv(cells) for cells in cohort.rows])


def always_no(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """Nobody responds; the probability is the training part's rate."""
    rate = float(np.nanmean(train.target))
    return Scored(value=np.full(len(test), rate), decision=np.zeros(len(test), dtype=bool))


def burden_rule(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """A burden of 10 mutations/Mb or more responds; probabilities are the rates on both sides in the training part."""
    high, unseen = (_column(part.rows, "TMB") >= TMB_RULE for part in (train, test))
    rates = [float(np.nanmean(train.target[high == side])) for side in (False, True)]
    return Scored(value=np.where(unseen, rates[1], rates[0]), decision=unseen)


def loris(train: Cohort, test: Cohort, *, seed: int, quick: bool) -> Scored:
    """LORIS as published; its cut is the best for balanced accuracy in the training part.

    Where albumin, neutrophil ratio or history is blank it takes the median of the training part: the published
    formula has no answer there. It is given what the table holds, also where the source filled it in.
    """
    fills = {name: float(np.nanmedian(_column(train.rows, name))) for name in _LORIS_INPUTS}
    known = np.isfinite(train.target)
    cut = balanced_cut(loris_scores(train, fills)[known], train.target[known])
    value = loris_scores(test, fills)
    return Scored(value=value, decision=value >= cut)


_LORIS_INPUTS = ("Age", "Albumin", "TMB", "NLR", "Systemic_therapy_history")


def loris_scores(cohort: Cohort, fills: Mapping[str, float]) -> Array:
    """LORIS of each row, (n,), from the knowledge base's own file."""
    columns = {name: _column(cohort.rows, name) for name in _LORIS_INPUTS}
    filled = {name: np.where(np.isnan(values), fills[name], values) for name, values in columns.items()}
    return computed("loris_pan_cancer", [_loris_facts(cells, filled, i) for i, cells in enumerate(cohort.rows)])


def _loris_facts(cells: Cells, filled: Mapping[str, Array], place: int) -> dict[str, float | bool | str]:
    own = {name: float(values[place]) for name, values in filled.items()}
    return {
        "age": own["Age"], "albumin": own["Albumin"], "tumour_mutational_burden": own["TMB"],
        "neutrophils": own["NLR"], "lymphocytes": 1.0, "dx(prior_systemic_cancer_therapy)": False,
        "prior_systemic_therapy": "yes" if own["Systemic_therapy_history"] >= 0.5 else "no",
        **{f"dx({code})": cells["CancerType"] == name for code, name in CANCERS.items()},
    }  # fmt: skip


def metrics(target: Array, scored: Scored, cohort: Cohort) -> Mapping[str, Part]:
    """Response and, as the second outcome, survival: the score's order against who lived, or went, longer."""
    top, bottom = thirds(scored.value)
    unseen = np.where(cohort.extra["seen_by_loris"] == 0, target, np.nan)
    found = {
        **probability_metrics(target, scored),
        "accuracy_at_half_percent": np.where(np.isfinite(target), 100.0 * ((scored.value >= 0.5) == target), np.nan),
        "auc_not_fitted_on_by_loris": auc(scored.value, unseen),
        "auc_within_cohorts": within(scored.value, target, cohort.site),
    }
    for name in ("os", "pfs"):
        time, event = cohort.extra[f"{name}_months"], cohort.extra[f"{name}_event"]
        found[f"c_index_{name}"] = concordance(scored.value, time, event)
        found[f"hazard_ratio_{name}_top_against_bottom_third"] = hazard_ratio(top, bottom, time, event)
    return found


def within(score: Array, target: Array, site: IntArray) -> Resampled:
    """Mean of the cohorts' own AUCs by their number of rows: what is left when cohorts are not told apart."""
    areas = [(auc(score, np.where(site == one, target, np.nan)), site == one) for one in np.unique(site)]

    def mean(weights: Array) -> Array:
        own = np.stack([area(weights) for area, _ in areas])
        share = np.stack([weights @ rows.astype(float) for _, rows in areas]) * np.isfinite(own)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((np.nan_to_num(own) * share).sum(axis=0) / share.sum(axis=0))

    return mean


def fit_engine(frame: Frame, target: Array, *, group: IntArray, seed: int, quick: bool) -> FittedEngine:
    """The engine (libraries of training are imported only here)."""
    from posologist.learn.fit.immunotherapy_engine import fit

    return fit(frame, target, group=group, seed=seed, quick=quick)


ENGINE = Engine(fit_engine, frame)


def one_row_each(cohort: Cohort, rng: np.random.Generator) -> Cohort:
    """The first row of each patient, so that no cohort that is left out has a patient among the others."""
    first = np.unique(cohort.patient, return_index=True)[1]
    return cohort.take(np.sort(first))


def strata(cohort: Cohort) -> IntArray:
    """Folds are balanced by cohort and response."""
    return combined(cohort.site, cohort.target)


def _survival(rows: tuple[Cells, ...]) -> dict[str, Array]:
    days = np.array([cells["Cohort"] == IN_DAYS for cells in rows])
    found = {}
    for name in ("OS", "PFS"):
        months = _column(rows, f"{name}_Months")
        found[f"{name.lower()}_months"] = np.where(days, months / _DAYS_PER_MONTH, months)
        found[f"{name.lower()}_event"] = _column(rows, f"{name}_Event")
    return found


def _column(rows: tuple[Cells, ...], name: str) -> Array:
    values = [number(cells[name]) for cells in rows]
    return np.array([np.nan if value is None else value for value in values])


def _plain(text: str) -> str:
    value = number(text)
    return "" if value is None else f"{value:g}"


def _cancer_group(name: str) -> str:
    return name if name in ("NSCLC", "Melanoma", "Renal", "Head & Neck", "Bladder") else "other"


def _age_band(age: float | None) -> str:
    if age is None:
        return ""
    return "under 55" if age < 55 else "55 to 69" if age < 70 else "70 and over"


BLOCK = Block(
    task="immunotherapy",
    title="Response to immune checkpoint inhibitors",
    label="real patients",
    licence="GPL-3.0 (read by path, not distributed)",
    source="nine cohorts of the LORIS repository (Chang and others 2024, Nature Cancer 5:1158)",
    file="loris_ici/loris_ici.csv.gz",
    columns=COLUMNS,
    read=read,
    methods=(
        Plain("always-no", always_no),
        Plain("tmb-10", burden_rule),
        Plain("loris", loris),
        Learned("logistic-regression", "linear", frame),
        Learned("lightgbm", "lightgbm", frame),
        Learned("mlp", "network", frame),
        Stacked("founding-stack", "founding", frame),
        Stacked("stack", "wide", frame),
        ENGINE,
    ),
    metrics=metrics,
    main="auc",
    paired=tuple(
        ("engine", against, metric)
        for against in ("loris", "lightgbm")
        for metric in ("auc", "auc_not_fitted_on_by_loris", "auc_within_cohorts", "brier", "balanced_accuracy_percent",
                       "c_index_os", "c_index_pfs")
    ),
    grouped=("loris", "engine"),
    compared=(_KEY,),
    strata=strata,
    hidden=("os_months", "os_event", "pfs_months", "pfs_event"),
    controls=(
        Control(
            name="each cohort left out",
            methods=("loris", "lightgbm", "engine"),
            alter=one_row_each,
            leave_out="site",
            by="cohort",
            note="Each cohort is predicted by what was learned from the others; one row of each patient. LORIS was "
            "fitted on Chowell_train, so its row there is in-sample.",
            quick=False,
        ),
    ),
    fairness=("sex", "age"),
    kind="probability",
    notes=(
        "LORIS was fitted on Chowell_train, so its figures on the whole table are in part in-sample; "
        "auc_not_fitted_on_by_loris counts only patients of whom no row stands in Chowell_train",
        "LORIS is no probability (its authors weighted responders up), so its Brier score and calibration say nothing "
        "against its order of patients",
        "published accuracies (80 % against 60 %) mean little here: saying no to everybody is right for seven in ten. "
        "Balanced accuracy gives 50 % to that, and its cut is chosen in the training part",
        "survival is in part how ill somebody is: LORIS orders it in patients who never had a checkpoint inhibitor too "
        "(docs/learn-immunotherapy.md), so its order says less of the drug than the response does",
        "which cohort a patient is from tells much of the response rate (14 to 66 %), and what was measured tells the "
        "cohort: auc_within_cohorts and the control that leaves each cohort out are free of that",
        "the engine's interval is the 90 % interval of the response rate among the training patients with the "
        "nearest margins: of a rate, not of one patient's outcome",
    ),
    quick_rows=700,
    explored=Explored(
        frame, genome=("tumour_mutational_burden", "fraction_copy_number_altered", "msi_high"), within="cancer"
    ),
    serving=Serving(
        name="response to immune checkpoint inhibitors",
        version="1",
        outcome="objective response (complete or partial) to an immune checkpoint inhibitor",
        unit="probability",
        fit=ENGINE.fitted,
        use=("an estimate of the chance that the tumour shrinks, for adults with an advanced solid tumour of the kinds "
             "in the table, beside the guideline's biomarkers",),
        limits=(
            "no patient is denied treatment by it: a low chance is not none, and survival can gain without a response",
            "the cohorts were treated from 2014 to 2019, mostly with one inhibitor alone and most of them after "
            "chemotherapy; combinations with chemotherapy are not among them",
            "the response rate differs between cohorts more than the inputs explain: at another hospital the chance "
            "itself may be off, the order of patients less so (see the control that leaves each cohort out)",
        ),
    ),
)  # fmt: skip
