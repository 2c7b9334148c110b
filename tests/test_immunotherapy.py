"""Response to checkpoint inhibitors: how the table is read, survival as an outcome, one row for table and patient."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patients import AS_OF, SOURCE, a_patient
from posologist.core.evidence import Ledger
from posologist.core.patient import Observation, Patient
from posologist.core.settings import Settings
from posologist.knowledge.derive import situate
from posologist.knowledge.load import load_knowledge
from posologist.learn.artefact import load
from posologist.learn.features import Row, frame_of, frame_of_rows
from posologist.learn.fit.save import UNSAVED
from posologist.learn.tasks.immunotherapy import SCHEMA, cells_of_csv, row_of_patient
from posologist.learn.tasks.missing import Missing
from posologist.study.classifiers import balanced_cut
from posologist.study.immunotherapy import BLOCK, COLUMNS, ENGINE, frame, one_row_each, read, within
from posologist.study.nested import folds_of
from posologist.study.survival import concordance, hazard_ratio, thirds

LINE = {
    "Cohort": "MSK1", "SAMPLE_ID": "1", "TMB": "8.4", "PDL1_TPS(%)": "", "Systemic_therapy_history": "1.0",
    "Albumin": "3.9", "CancerType": "NSCLC", "NLR": "4.0", "Age": "61.0", "FCNA": "0.2134", "Drug": "0.0", "Sex": "1",
    "MSI": "", "Stage": "1.0", "Platelets": "250.0", "HGB": "12.1", "BMI": "26.0", "PFS_Event": "1.0",
    "PFS_Months": "5.0", "OS_Event": "0.0", "OS_Months": "20.0", "Response": "0",
}  # fmt: skip


def a_table(folder: Path, lines: list[dict[str, str]]) -> Path:
    path = folder / "table.csv.gz"
    text = "\n".join([",".join(COLUMNS), *(",".join(line[name] for name in COLUMNS) for line in lines)]) + "\n"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def made_lines(n: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Invented patients of two cohorts whose response follows burden and albumin."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(n):
        burden, albumin = rng.lognormal(1.8, 0.8), rng.normal(3.8, 0.4)
        chance = 1 / (1 + np.exp(-(0.1 * burden + 1.5 * (albumin - 3.8) - 1.6)))
        haemoglobin = "" if i % 4 == 0 else f"{rng.normal(12, 1.5):.1f}"
        own = {
            "Cohort": "MSK1" if i % 2 else "Shim_NSCLC", "SAMPLE_ID": str(i), "TMB": f"{burden:.1f}",
            "Albumin": f"{albumin:.1f}", "FCNA": f"{rng.uniform(0.01, 0.9):.4f}",
            "NLR": f"{rng.lognormal(1.4, 0.5):.2f}",
            "Age": f"{rng.uniform(40, 85):.0f}", "Sex": str(i % 3 % 2), "HGB": haemoglobin,
            "CancerType": str(rng.choice(["NSCLC", "Melanoma", "Renal"])), "Response": str(int(rng.random() < chance)),
            "OS_Months": f"{rng.exponential(15):.2f}", "OS_Event": str(int(rng.random() < 0.6)),
            "PFS_Months": f"{rng.exponential(6):.2f}", "PFS_Event": "1.0",
        }  # fmt: skip
        lines.append(LINE | own)
    return lines


def test_a_patient_who_stands_in_two_cohorts_is_one_and_never_parts_between_folds(tmp_path: Path) -> None:
    copies = [LINE | {"Cohort": "Vanguri_NSCLC", "SAMPLE_ID": str(900 + i), "NLR": "7.1"} for i in range(3)]
    lines = made_lines(60)
    for copy, line in zip(copies, lines[:3], strict=True):
        copy.update({name: line[name] for name in ("Sex", "TMB", "Albumin", "FCNA")})

    cohort = read(a_table(tmp_path, [*lines, *copies]))
    fold = folds_of(BLOCK, cohort, 0)

    assert cohort.patient[60:].tolist() == cohort.patient[:3].tolist()
    assert len(np.unique(cohort.patient)) == 60
    assert fold[60:].tolist() == fold[:3].tolist()
    assert len(one_row_each(cohort, np.random.default_rng(0))) == 60


def test_patients_without_a_tumour_fingerprint_are_not_taken_for_each_other(tmp_path: Path) -> None:
    blank = [LINE | {"SAMPLE_ID": str(i), "FCNA": text} for i, text in enumerate(("", "", "0.0", "0.0"))]

    assert len(np.unique(read(a_table(tmp_path, blank)).patient)) == 4


def test_albumin_and_ratio_that_the_source_filled_in_count_as_not_known() -> None:
    assert cells_of_csv(LINE)["albumin"] == 3.9
    for cohort in ("Kato_panCancer", "Ravi_NSCLC"):
        cells = cells_of_csv(LINE | {"Cohort": cohort, "Albumin": "3.8", "NLR": "6.2"})

        assert cells["albumin"] is None
        assert cells["neutrophil_ratio"] is None


def test_survival_of_the_cohort_that_is_kept_in_days_is_read_as_months(tmp_path: Path) -> None:
    lines = [LINE | {"OS_Months": "365.25"}, LINE | {"Cohort": "Ravi_NSCLC", "SAMPLE_ID": "2", "OS_Months": "365.25"}]

    months = read(a_table(tmp_path, lines)).extra["os_months"]

    assert months == pytest.approx([365.25, 12.0])


def test_the_methods_do_not_see_survival_or_response_of_the_test_part(tmp_path: Path) -> None:
    blinded = read(a_table(tmp_path, made_lines(20))).blinded(BLOCK.hidden)

    assert np.isnan(blinded.target).all()
    assert all(np.isnan(blinded.extra[name]).all() for name in ("os_months", "os_event", "pfs_months", "pfs_event"))
    assert not {"os_months", "Response"} & set(SCHEMA.names)


def survival(n: int = 80) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(3)
    score = np.round(rng.normal(size=n), 1)
    time = np.round(rng.exponential(10 * np.exp(0.5 * score)), 0) + 1  # with ties
    return score, time, (rng.random(n) < 0.7).astype(float)


@pytest.mark.filterwarnings("ignore")
def test_concordance_is_that_of_lifelines() -> None:
    utils = pytest.importorskip("lifelines.utils")
    score, time, event = survival()

    ours = concordance(score, time, event)(np.ones((1, len(score))))[0]

    assert ours == pytest.approx(utils.concordance_index(time, score, event), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_the_hazard_ratio_is_that_of_lifelines() -> None:
    lifelines, pandas = pytest.importorskip("lifelines"), pytest.importorskip("pandas")
    score, time, event = survival()
    time = time + np.arange(len(time)) * 1e-4  # without ties, where the ways of breaking them would differ
    top, bottom = thirds(score)
    taken = top | bottom
    table = pandas.DataFrame({"time": time[taken], "event": event[taken], "top": top[taken].astype(float)})

    ours = hazard_ratio(top, bottom, time, event)(np.ones((1, len(score))))[0]

    fitted = lifelines.CoxPHFitter().fit(table, "time", "event")
    assert ours == pytest.approx(float(np.exp(fitted.params_["top"])), rel=1e-4)


def test_a_row_that_counts_twice_is_two_rows_for_survival() -> None:
    score, time, event = survival()
    twice = np.arange(len(score)) % 7 == 0
    again = [np.r_[values, values[twice]] for values in (score, time, event)]
    weights = 1.0 + twice[None, :]

    assert concordance(score, time, event)(weights) == pytest.approx(
        concordance(*again)(np.ones((1, len(again[0])))), abs=2e-3
    )  # a row is not paired with its own copy by weight, and ties with it there
    top, bottom = thirds(score)
    doubled = hazard_ratio(np.r_[top, top[twice]], np.r_[bottom, bottom[twice]], *again[1:])
    assert hazard_ratio(top, bottom, time, event)(weights) == pytest.approx(doubled(np.ones((1, len(again[0])))))


def test_the_auc_within_cohorts_does_not_reward_telling_the_cohorts_apart() -> None:
    site = np.repeat([0, 1], 50)
    target = np.where(site == 1, np.arange(100) % 5 > 0, np.arange(100) % 5 == 0).astype(float)

    assert within(site.astype(float), target, site)(np.ones((1, 100)))[0] == pytest.approx(0.5)


def test_the_cut_is_where_balanced_accuracy_is_best() -> None:
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.5])

    assert balanced_cut(score, np.array([0.0, 0.0, 1.0, 0.0, 1.0])) == pytest.approx(0.25)
    assert balanced_cut(score, np.array([0.0, 0.0, 0.0, 0.0, 1.0])) == pytest.approx(0.45)


def oncology_patient(**changed: Any) -> Patient:
    at = datetime(AS_OF.year, AS_OF.month, AS_OF.day - 5, 9, tzinfo=UTC)
    units = {
        "tumour_mutational_burden": "{mutations}/Mb", "albumin": "g/dL", "neutrophils": "10*3/uL",
        "lymphocytes": "10*3/uL", "platelets": "10*3/uL", "haemoglobin": "g/dL", "bmi": "kg/m2",
    }  # fmt: skip
    values = {
        "tumour_mutational_burden": 8.4, "albumin": 3.9, "neutrophils": 6.0, "lymphocytes": 1.5, "platelets": 250.0,
        "haemoglobin": 12.1, "bmi": 26.0, "prior_systemic_therapy": "yes",
    } | changed  # fmt: skip
    observations = tuple(
        Observation(key=key, text=value, at=at, source=SOURCE)
        if isinstance(value, str)
        else Observation(key=key, value=value, unit=units[key], at=at, source=SOURCE)
        for key, value in values.items()
        if value is not None
    )
    patient = a_patient(age=61, conditions=("nsclc",))
    return patient.model_copy(update={"observations": observations})


def asked(patient: Patient) -> Row | Missing:
    ledger = Ledger()
    situation = situate(patient, as_of=AS_OF, knowledge=load_knowledge(), settings=Settings(), ledger=ledger)
    return row_of_patient(situation, ("pembrolizumab",), ledger=ledger)  # type: ignore[arg-type]


def test_a_patient_gives_the_row_that_the_table_gives() -> None:
    row = asked(oncology_patient())
    line = LINE | {"FCNA": "", "Stage": ""}

    assert isinstance(row, Row)
    np.testing.assert_allclose(frame_of_rows(SCHEMA, [row]).values, frame_of(SCHEMA, [cells_of_csv(line)]).values)


@pytest.mark.parametrize(
    ("fact", "name"),
    [("tumour_mutational_burden", "tumour mutational burden"), ("prior_systemic_therapy", "chemotherapy")],
)
def test_an_input_that_the_record_lacks_is_named_and_never_invented(fact: str, name: str) -> None:
    found = asked(oncology_patient(**{fact: None}))

    assert isinstance(found, Missing)
    assert any(name in text for text in found.inputs)


def test_two_cancers_on_the_problem_list_leave_the_cancer_unknown() -> None:
    patient = oncology_patient()
    second = patient.conditions[0].model_copy(update={"codes": ("melanoma",)})

    found = asked(patient.model_copy(update={"conditions": (*patient.conditions, second)}))

    assert found == Missing("immunotherapy", ("cancer",))


def test_what_is_evaluated_as_engine_is_what_is_saved_and_served(tmp_path: Path) -> None:
    lines = made_lines(260)
    whole = read(a_table(tmp_path, lines))
    train, test = whole.take(np.arange(200)), whole.take(np.arange(200, 260))

    scored = ENGINE(train, test.blinded(BLOCK.hidden), seed=1, quick=True)
    ENGINE.fitted(train, seed=1, quick=True).save(tmp_path / "model", UNSAVED)
    answers = load(tmp_path / "model", schema=SCHEMA).answers(frame(test))

    np.testing.assert_allclose(answers.value, scored.value, atol=1e-9)
    assert scored.low is not None
    assert scored.high is not None
    assert ((scored.low <= scored.value) & (scored.value <= scored.high)).all()
    assert ((scored.value > 0) & (scored.value < 1)).all()
