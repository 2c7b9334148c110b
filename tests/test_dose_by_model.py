"""`dose --model`: the dose from a population model and the patient's own levels, against published answers and laws."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patients import a_patient, as_bytes, bundle, fhir_condition, fhir_observation, fhir_patient
from posologist.core.errors import InputError, ModelError
from posologist.core.evidence import Evidence, Ledger
from posologist.core.genotype import ExpressedPhenotype, PhenotypeProfile
from posologist.core.patient import Source
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument
from posologist.core.situation import KnownFact, Situation
from posologist.core.values import EvidenceKey, GeneSymbol
from posologist.knowledge.load import load_knowledge
from posologist.knowledge.models import PkModel, load_models
from posologist.recommend.dose_by_model import Given, dose_by_models
from posologist.recommend.dosing import dose
from posologist.records.table import EventRow, LevelRow
from posologist.serve.cli import main
from posologist.twin.events import DOSE, Record
from posologist.twin.goals import Shape, area_between, dose_reaching, goal_of, levels_after, steady_curve
from posologist.twin.individual import individual
from posologist.twin.map import map_estimates
from posologist.twin.offers import EQUAL
from posologist.twin.patient_model import covariates_of
from shared import shared_data
from twin_models import Effect, Error, PlainModel, diagonal, table

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
NOW = datetime(2026, 11, 30, tzinfo=UTC)
SOURCE = Source(document="made.csv", place="line 2")
PLAIN = Settings(as_of=datetime(2026, 11, 20).date())
AREA, TROUGH = "auc24 400-600 h.mg/L", "trough 8-25 mg/L"


def model_named(name: str) -> PkModel:
    return next(model for model in load_models() if model.id == name)


def verified(model: PkModel) -> PkModel:
    """The model as if every fact of it had been read in its source."""
    rows = {
        name: tuple(row.model_copy(update={"status": "verified"}) for row in getattr(model, name))
        for name in ("parameters", "residual", "targets", "toxicity")
    }
    return model.model_copy(update={**rows, "status": "verified"})


GOTI = verified(model_named("vancomycin_goti2018"))


def reference(name: str) -> dict[str, Any]:
    path = shared_data("pk", "reference", "map_and_dose_posologyr.json")
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return next(case for case in cases if case["id"] == name)


def goti_patient(case: dict[str, Any]) -> dict[str, np.ndarray]:
    given_values = case["covariates"]
    typical = GOTI.typical(
        {"crcl": given_values["CLCREAT"], "weight": given_values["WT"], "dialysis": given_values["DIAL"]}
    )
    return individual(GOTI, typical, [[case["given_eta"][name] for name in ("Cl", "Vc", "Vp")]])


def infusions(dose: float, n: int, interval: float = 24.0) -> list[Record]:
    return [Record(interval * k, evid=DOSE, amt=dose, rate=dose / 2.0, mdv=1) for k in range(n)]


@pytest.mark.parametrize(
    ("name", "n", "start", "stop"),
    [("vanco_patient04_dose_auc_single", 1, 0.0, 24.0), ("vanco_patient04_dose_auc_repeated", 11, 216.0, 240.0)],
)
def test_dose_for_an_area_is_the_published_one(name: str, n: int, start: float, stop: float) -> None:
    case = reference(name)
    parameters = goti_patient(case)
    dose = dose_reaching(
        lambda amount: float(area_between(GOTI, parameters, infusions(amount, n), start, stop)[0]), 400.0, first=1000.0
    )
    assert dose == pytest.approx(case["expected"]["dose_mg"], rel=case["rel_tol"])


def test_interval_for_a_trough_is_the_published_one() -> None:
    case = reference("vanco_patient04_interval")
    parameters = goti_patient(case)

    def trough(interval: float) -> float:
        return float(levels_after(GOTI, parameters, infusions(2000.0, 11, interval), np.array([11 * interval]))[0, 0])

    assert trough(case["expected"]["interval_h"]) == pytest.approx(10.0, rel=0.01)


def test_map_then_dose_of_daptomycin_is_the_published_one() -> None:
    case = reference("daptomycin_tdm_dose_conc")
    known = case["covariates"]
    clearance = (0.807 + 0.00514 * (known["ClCr"] - 91.2) + 0.14 * (known["TEMP"] - 37.2)) * 0.8 ** known["SEX"]
    size = known["WT"] - 75.1
    typical = {
        "CL": clearance, "V1": 4.80, "V2": (3.13 + 0.0458 * size) * 1.93, "Q": 3.46 + 0.0593 * size
    }  # fmt: skip
    variances = [float(np.sqrt(np.log(cv**2 + 1))) for cv in (0.306, 0.567, 0.191, 0.652)]
    model = PlainModel(
        equations=lambda: typical, random=tuple(Effect(name) for name in ("CL", "V1", "V2", "Q")),
        omega=diagonal(*variances), residual=(Error("additive", additive=4.72**0.5),), compartments=2,
    )  # fmt: skip
    doses = [(d["time_h"], d["amt_mg"], d["amt_mg"] / d["dur_h"]) for d in case["doses"]]
    history = table("1", doses, [tuple(level) for level in case["observations"]])
    (found,) = map_estimates(model, [history])
    parameters = {name: np.array([value]) for name, value in found.parameters.items()}
    past = [record for record in history.records if record.is_dose]

    def level(amount: float) -> float:
        coming = Record(104.0, evid=DOSE, amt=amount, rate=amount, mdv=1)
        return float(levels_after(model, parameters, [*past, coming], np.array([105.0]))[0, 0])  # type: ignore[arg-type]

    assert dose_reaching(level, 60.0, first=100.0) == pytest.approx(case["expected"]["dose_mg"], rel=case["rel_tol"])


@given(
    clearance=st.floats(0.5, 20), volume=st.floats(5, 200), interval=st.sampled_from([6.0, 8.0, 12.0, 24.0, 48.0]),
    infusion=st.sampled_from([0.0, 0.5, 1.0, 2.0]), dose=st.floats(50, 5000),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_steady_state_area_is_dose_over_clearance(
    clearance: float, volume: float, interval: float, infusion: float, dose: float
) -> None:
    parameters = {n: np.array([v]) for n, v in {"CL": clearance, "V1": volume, "Q": 3.0, "V2": 30.0}.items()}
    curve = steady_curve(GOTI, parameters, Shape(interval, infusion, 0), dose)
    assert curve.auc24[0] == pytest.approx(dose * 24 / interval / clearance, rel=1e-5)
    assert curve.trough[0] <= curve.auc24[0] / 24 <= curve.peak[0] * (1 + 1e-9)
    bigger = steady_curve(GOTI, parameters, Shape(interval, infusion, 0), 1.5 * dose)
    assert bigger.trough[0] > curve.trough[0]
    assert bigger.peak[0] > curve.peak[0]


def test_time_above_a_concentration_of_one_exponential() -> None:
    plain = PlainModel(equations=dict, random=(), omega=(), residual=())
    parameters = {"CL": np.array([2.0]), "V1": np.array([20.0])}
    curve = steady_curve(plain, parameters, Shape(12.0, 0.0, 0), 100.0)  # type: ignore[arg-type]
    peak = 5.0 / (1 - np.exp(-1.2))
    goal = goal_of(GOTI, "time_above_3", 50.0, None, "%")
    assert goal is not None
    assert curve.value(goal)[0] == pytest.approx(100 * np.log(peak / 3.0) / 0.1 / 12.0, abs=0.2)


def given_doses(n: int = 4, amount: float = 1000.0) -> tuple[EventRow, ...]:
    return tuple(
        EventRow(
            at=START + timedelta(hours=12 * k), amount=amount, unit="mg", route="iv", duration_h=1.0, source=SOURCE
        )
        for k in range(n)
    )


def measured(*levels: tuple[float, float], unit: str = "mg/L", analyte: str = "vancomycin") -> tuple[LevelRow, ...]:
    return tuple(
        LevelRow(at=START + timedelta(hours=hours), value=value, unit=unit, analyte=analyte, source=SOURCE)
        for hours, value in levels
    )


def answer(*, model: PkModel = GOTI, drug: str = "vancomycin", **more: Any) -> DoseDocument:
    who = a_patient(age=62, weight=80.0, height=178.0, creatinine=1.0)
    given = {name: more.pop(name) for name in ("levels", "now", "covariates", "asked_at", "stored") if name in more}
    told = Given(**{"events": more.pop("events", given_doses()), "now": NOW, **given})
    asked = {"target": AREA, **more}
    return dose_by_models(who, drug, (model,), told, knowledge=load_knowledge(), settings=PLAIN, **asked)


def recommended_per_day(document: DoseDocument) -> float:
    if document.regimens:
        text = document.regimens[0].text
    else:
        assert document.binding_constraint is not None
        text = document.binding_constraint.nearest_regimen or ""
    every = 24.0 if "continuous" in text else float(text.rsplit("q", 1)[1].removesuffix("h"))
    return float(text.split()[0]) * 24 / every


@pytest.mark.parametrize("target", [AREA, TROUGH])
def test_a_high_level_lowers_the_dose_and_a_low_one_raises_it(target: str) -> None:
    low, middle, high = (
        answer(levels=measured((35.5, trough), (38.0, 2.0 * trough)), target=target) for trough in (6.0, 12.0, 24.0)
    )
    assert recommended_per_day(low) >= recommended_per_day(middle) >= recommended_per_day(high)
    assert recommended_per_day(low) > recommended_per_day(high)
    assert low.parameters["CL"].value > middle.parameters["CL"].value > high.parameters["CL"].value


def test_without_levels_the_answer_is_the_population() -> None:
    document = answer(levels=())
    assert document.individual is None
    assert "Population answer" in {finding.title for finding in document.findings}
    typical = GOTI.typical({"crcl": 86.7, "weight": 80.0, "dialysis": 0.0})
    assert document.parameters["CL"].value == pytest.approx(typical["CL"], rel=0.05)
    assert document.parameters["V1"].value == pytest.approx(typical["V1"], rel=0.02)


def test_levels_narrow_the_parameters_and_are_shown_with_their_prediction() -> None:
    before, after = answer(levels=()), answer(levels=measured((11.5, 9.0), (35.5, 12.0), (38.0, 27.0)))
    width = lambda document: document.parameters["CL"].high / document.parameters["CL"].low  # noqa: E731
    assert width(after) < width(before)
    assert after.individual is not None
    assert after.individual.converged
    assert after.individual.effective_sample_size >= 200
    assert set(after.individual.eta) == {"ETA1", "ETA2", "ETA3"}
    assert [level.observed.value for level in after.levels] == [9.0, 12.0, 27.0]
    assert all(level.predicted is not None for level in after.levels)
    assert after.next_sample is not None
    assert after.next_sample.time.value > 36.0


def test_regimens_are_ranked_by_the_probability_of_the_target_usual_intervals_first() -> None:
    document = answer(target=TROUGH, levels=measured((35.5, 12.0), (38.0, 27.0)))
    usual = [row for row in document.regimens if row.text.endswith(("q12h", "q8h"))]
    others = [row for row in document.regimens if row not in usual and "continuous" not in row.text]
    assert list(document.regimens).index(usual[0]) == 0
    for group in (usual, others):
        shares = [row.target_attainment.value for row in group if row.target_attainment]
        assert len(shares) == len(group)
        assert all(first >= second - EQUAL for first, second in pairwise(shares))
    assert all({"auc24", "trough", "peak"} <= set(regimen.exposure) for regimen in document.regimens)


def test_what_cannot_be_reached_names_its_constraint_and_the_nearest_regimen() -> None:
    document = answer(target="auc24 500-501 h.mg/L", levels=())
    assert not document.regimens
    assert document.binding_constraint is not None
    assert document.binding_constraint.nearest_regimen
    assert "No regimen qualifies" in {finding.title for finding in document.findings}


def test_no_regimen_runs_faster_than_the_label_of_vancomycin() -> None:
    document = answer(target=TROUGH, levels=measured((35.5, 12.0), (38.0, 27.0)))
    listed = [row.text for row in document.regimens if "over" in row.text]
    assert listed
    for text in listed:
        hours = float(text.split("over ")[1].split(" h")[0])
        assert hours >= max(1.0, float(text.split(" mg")[0]) / 600.0) - 1e-9
    assert not any(row.what == "rate of infusion of vancomycin" for row in document.not_checked)


def test_a_level_that_does_not_fit_is_flagged() -> None:
    document = answer(levels=measured((11.5, 9.0), (13.5, 25.0), (23.5, 11.0), (25.5, 27.0), (30.0, 160.0)))
    assert any(finding.title == "A level does not fit" and "160" in finding.detail for finding in document.findings)
    calm = answer(levels=measured((11.5, 9.0), (13.5, 25.0), (23.5, 11.0), (25.5, 27.0)))
    assert not any(finding.title == "A level does not fit" for finding in calm.findings)


def test_units_do_not_change_the_answer() -> None:
    mine = answer(levels=measured((35.5, 12.0), (38.0, 27.0)))
    other = answer(levels=measured((35.5, 12000.0), (38.0, 27000.0), unit="ug/L"))
    assert other.parameters["CL"].value == pytest.approx(mine.parameters["CL"].value, rel=1e-9)


def test_regimens_on_unverified_facts_are_listed_and_not_ranked() -> None:
    open_model = GOTI.model_copy(
        update={"residual": tuple(row.model_copy(update={"status": "to verify"}) for row in GOTI.residual)}
    )
    document, sure = answer(model=open_model, target=TROUGH), answer(target=TROUGH)
    assert sure.regimens
    assert not sure.unranked
    assert not document.regimens
    assert [row.text for row in document.unranked] == [row.text for row in sure.regimens]
    assert {row.rank for row in document.unranked} == {None}
    (row,) = [row for row in document.not_checked if row.what == "ranking of regimens of vancomycin"]
    assert "residual error (goti2018)" in row.why
    assert "The regimens rest on unverified facts" in {finding.title for finding in document.findings}


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"levels": measured((-1.0, 12.0))}, "not after the first dose"),
        ({"levels": measured((0.0, 12.0))}, "not after the first dose"),
        ({"levels": measured((5.0, 12.0)), "events": ()}, "not after the first dose"),
        ({"levels": measured((5.0, 12.0), analyte="gentamicin")}, "gentamicin"),
        ({"levels": measured((5.0, 12.0), analyte="moonlight")}, "moonlight"),
        ({"levels": measured((5.0, 12.0), unit="mmHg")}, "do not convert"),
        ({"levels": measured((5.0, 12.0), unit="umol/L")}, "do not convert"),
        ({"levels": measured((5.0, 12.0)), "now": START + timedelta(hours=1)}, "future"),
        ({"events": tuple(row.model_copy(update={"route": "oral"}) for row in given_doses())}, "vein"),
        ({"target": "inr 2-3 1"}, "inr"),
        ({"drug": "gentamicin"}, "gentamicin"),
    ],
)
def test_wrong_input_is_refused(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError) as refused:
        answer(**wrong)
    assert word in str(refused.value)


def test_a_missing_covariate_is_named() -> None:
    who = a_patient(age=62, weight=80.0)
    with pytest.raises(InputError, match="crcl"):
        dose_by_models(who, "vancomycin", (GOTI,), Given(now=NOW), knowledge=load_knowledge(), settings=PLAIN)


def test_a_model_that_lacks_something_gives_no_dose() -> None:
    partial = GOTI.model_copy(update={"missing": ("the residual error",)})
    with pytest.raises(ModelError, match="residual error"):
        answer(model=partial)


def test_a_covariate_outside_the_study_is_answered_with_a_finding() -> None:
    narrow = tuple(c.model_copy(update={"high": 75.0}) if c.name == "weight" else c for c in GOTI.covariates)
    document = answer(model=GOTI.model_copy(update={"covariates": narrow}))
    assert "weight is outside the studied range" in {finding.title for finding in document.findings}


def test_rows_of_another_drug_are_left_out_and_said() -> None:
    other = EventRow(at=START, amount=5.0, unit="mg", route="oral", drug="amlodipine", source=SOURCE)
    document = answer(events=(other, *given_doses()))
    assert "Rows of other drugs" in {finding.title for finding in document.findings}
    assert document.parameters == answer().parameters


def test_every_key_leads_to_a_leaf() -> None:
    document = answer(levels=measured((35.5, 12.0), (38.0, 27.0)))
    for estimate in (*document.parameters.values(), *(m for r in document.regimens for m in r.exposure.values())):
        assert leaves(estimate.because, document.evidence) >= {"patient", "model"}


def leaves(keys: Any, evidence: dict[str, Evidence]) -> set[str]:
    found = set()
    for key in keys:
        entry = evidence[key]
        found |= leaves(entry.because, evidence) if entry.because else {entry.kind}
    return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, int]]:
    def call(*arguments: str | Path) -> tuple[str, int]:
        monkeypatch.setattr(sys, "argv", ["posologist", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return capsys.readouterr().out, int(ended.value.code or 0)

    return call


@pytest.fixture
def files(tmp_path: Path) -> Path:
    record = bundle(
        fhir_patient(), fhir_observation("29463-7", 80, "kg"), fhir_observation("8302-2", 178, "cm"),
        fhir_observation("2160-0", 1.0, "mg/dL"), fhir_condition("59621000"),
    )  # fmt: skip
    (tmp_path / "bundle.json").write_bytes(as_bytes(record))
    doses = [f"2026-11-0{day}T{hour}:00,1,g,iv,1,vancomycin" for day in (2, 3) for hour in ("08", "20")]
    (tmp_path / "events.csv").write_text("\n".join(["time,amount,unit,route,duration_h,drug", *doses]) + "\n")
    levels = ["2026-11-03T19:30,12,mg/L,vancomycin", "2026-11-03T22:00,27,ug/mL,vancomycin"]
    (tmp_path / "levels.csv").write_text("\n".join(["time,value,unit,analyte", *levels]) + "\n")
    return tmp_path


def test_the_command_line_end_to_end(run: Callable[..., tuple[str, int]], files: Path) -> None:
    tables = ("--levels", files / "levels.csv", "--events", files / "events.csv")
    asked = ("dose", "vancomycin", "--patient", files / "bundle.json", *tables, "--model", GOTI.id, "--target", TROUGH)
    out, code = run(*asked, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "posologist/dose/1"
    assert document["model"] == GOTI.id
    assert document["individual"]["converged"]
    listed = document["regimens"] or document["unranked"]
    assert listed[0]["text"].startswith(tuple("123456789"))
    assert [level["time"]["value"] for level in document["levels"]] == [35.5, 38.0]
    again, _ = run(*asked, "--json")
    assert again == out
    shown, code = run(*asked)
    assert code == 0
    assert "Next level" in shown


def test_events_of_a_drug_without_a_model_are_refused(run: Callable[..., tuple[str, int]], files: Path) -> None:
    out, code = run("dose", "ramipril", "--patient", files / "bundle.json", "--events", files / "events.csv", "--json")
    assert code == 2
    assert json.loads(out)["error"]["where"] == "--events"


def test_without_a_named_model_those_of_the_drug_answer_together(
    run: Callable[..., tuple[str, int]], files: Path
) -> None:
    tables = ("--levels", files / "levels.csv", "--events", files / "events.csv")
    out, code = run("dose", "vancomycin", "--patient", files / "bundle.json", *tables, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["models"]
    assert sum(row["share"]["value"] for row in document["models"]) == pytest.approx(1.0, abs=1e-5)
    left_out = {row["what"] for row in document["not_checked"]}
    held = {model.id for model in load_models() if model.drug == "vancomycin" and model.complete}
    assert held == {row["model"] for row in document["models"]} | {
        name for name in held if f"the model {name}" in left_out
    }


def test_oral_doses_are_those_that_can_be_dispensed() -> None:
    document = answer(model=verified(model_named("digoxin_hirai2022")), drug="digoxin", events=(), target=None)
    offered = {row.text for row in (*document.regimens, *document.unranked)}
    assert offered
    assert all("orally" in text for text in offered)
    assert not any(row.what.startswith("rate of infusion") for row in document.not_checked)


def test_a_release_that_was_not_studied_is_not_dosed() -> None:
    document = answer(
        model=verified(model_named("theophylline_rovei1982")), drug="theophylline", events=(), target=None
    )
    assert not document.regimens
    assert not document.unranked
    assert any("describes immediate release" in finding.detail for finding in document.findings)


GENES = {
    "CYP2C9": ExpressedPhenotype(
        gene=GeneSymbol("CYP2C9"), diplotype="*1/*3", evidence_state="called", genetic="Intermediate Metabolizer",
        clinical="Intermediate Metabolizer", because=(EvidenceKey("patient:made"),),
    ),
    "CYP2C19": ExpressedPhenotype(
        gene=GeneSymbol("CYP2C19"), diplotype="*2/*2", evidence_state="called", genetic="Poor Metabolizer",
        clinical="Poor Metabolizer", because=(EvidenceKey("patient:made"),),
    ),
}  # fmt: skip


def genes(**diplotypes: str) -> PhenotypeProfile:
    changed = {
        gene: call.model_copy(update={"diplotype": diplotypes.get(gene, call.diplotype)})
        for gene, call in GENES.items()
    }
    return PhenotypeProfile(genes={GeneSymbol(gene): call for gene, call in changed.items()})


def told(name: str, profile: PhenotypeProfile | None) -> dict[str, float]:
    known: tuple[tuple[str, float | str, str], ...] = (
        ("age", 50.0, "a"), ("weight", 70.0, "kg"), ("albumin", 3.9, "g/dL"), ("sex", "male", "")
    )  # fmt: skip
    situation = Situation(
        patient_id="p1", as_of=NOW.date(), conditions={}, problem_list_given=True, medication_list_given=True,
        allergy_list_given=True,
        facts={
            fact: KnownFact(value=value, unit=unit, because=EvidenceKey("patient:made"))
            for fact, value, unit in known
        },
    )  # fmt: skip
    return covariates_of(model_named(name), situation, profile, molar_masses={}, ledger=Ledger()).values


def test_genes_and_units_reach_the_model() -> None:
    warfarin = told("warfarin_hamberg2010", genes())
    assert [warfarin[f"gene_cyp2c9_star{n}"] for n in (1, 2, 3)] == [1.0, 0.0, 1.0]
    assert told("escitalopram_liu2022", genes())["gene_cyp2c19_poor"] == 1.0
    assert told("valproate_guo2020", genes())["albumin"] == pytest.approx(39.0)


@pytest.mark.parametrize("profile", [None, genes(CYP2C9="*1/*8"), genes(CYP2C9="*1/?")])
def test_an_unknown_gene_is_named_not_guessed(profile: PhenotypeProfile | None) -> None:
    with pytest.raises(InputError, match="CYP2C9"):
        told("warfarin_hamberg2010", profile)


def test_a_stated_covariate_takes_the_place_of_the_record() -> None:
    usual, stated = answer(levels=()), answer(levels=(), covariates={"crcl": 40.0})
    ratio = (40.0 / 86.7) ** 0.8
    assert stated.parameters["CL"].value == pytest.approx(usual.parameters["CL"].value * ratio, rel=0.01)


@pytest.mark.parametrize(("name", "value"), [("weigth", 70.0), ("crcl", -5.0)])
def test_a_stated_covariate_that_is_unknown_or_impossible_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        answer(covariates={"weight": 70.0, name: value})


def test_a_fall_of_the_kidney_during_treatment_is_told_and_acts_on_what_comes() -> None:
    steady = a_patient(age=62, weight=80.0, height=178.0, creatinine=1.0)
    later = a_patient(age=62, weight=80.0, height=178.0, creatinine=2.5)
    rows = tuple(
        row.model_copy(update={"at": datetime(2026, 11, 10, 8, tzinfo=UTC)})
        for row in later.observations
        if row.key == "creatinine"
    )
    early = tuple(
        row.model_copy(update={"at": datetime(2026, 11, 1, 8, tzinfo=UTC)}) if row.at is not None else row
        for row in steady.observations
    )
    falling = steady.model_copy(update={"observations": (*early, *rows)})
    told = Given(now=NOW, events=given_doses(), levels=measured((35.5, 12.0), (38.0, 27.0)))
    documents = [
        dose_by_models(who, "vancomycin", (GOTI,), told, target=AREA, knowledge=load_knowledge(), settings=PLAIN)
        for who in (steady.model_copy(update={"observations": early}), falling)
    ]
    assert "crcl changed during treatment" in {finding.title for finding in documents[1].findings}
    etas = [document.individual.eta["ETA1"].value for document in documents if document.individual is not None]
    assert etas[0] == pytest.approx(etas[1], abs=1e-6)
    ratio = documents[1].parameters["CL"].value / documents[0].parameters["CL"].value
    assert ratio == pytest.approx(2.5**-0.8, rel=0.02)


def test_an_earlier_answer_is_gone_on_from() -> None:
    first = answer(levels=measured((35.5, 12.0)))
    assert first.twin is not None
    both = answer(levels=measured((35.5, 12.0), (38.0, 27.0)))
    again = answer(events=(), levels=measured((38.0, 27.0)), stored=first.twin)
    assert again.parameters["CL"].value == both.parameters["CL"].value
    assert [level.observed.value for level in again.levels] == [12.0, 27.0]


def test_the_unit_of_doses_and_the_order_of_rows_change_nothing() -> None:
    levels = measured((35.5, 12.0), (38.0, 27.0), (47.5, 10.0))
    mine = answer(levels=levels)
    grams = tuple(row.model_copy(update={"amount": row.amount / 1000.0, "unit": "g"}) for row in given_doses())
    other = answer(events=tuple(reversed(grams)), levels=(levels[2], levels[0], levels[1]))
    for name, estimate in mine.parameters.items():
        assert other.parameters[name].value == pytest.approx(estimate.value, rel=1e-9)
    assert [row.text for row in other.regimens] == [row.text for row in mine.regimens]
    assert [level.observed.value for level in other.levels] == [level.observed.value for level in mine.levels]


@given(shift=st.integers(min_value=-400, max_value=400))
@settings(max_examples=10, deadline=None)
def test_a_shift_of_all_times_changes_nothing(shift: int) -> None:
    def moved(row: Any) -> Any:
        return row.model_copy(update={"at": row.at + timedelta(days=shift)})

    levels = measured((35.5, 12.0), (38.0, 27.0))
    mine = answer(levels=levels, now=datetime(2028, 11, 30, tzinfo=UTC))
    other = answer(
        events=tuple(map(moved, given_doses())),
        levels=tuple(map(moved, levels)),
        now=datetime(2028, 11, 30, tzinfo=UTC),
    )
    assert {name: e.value for name, e in other.parameters.items()} == {
        name: e.value for name, e in mine.parameters.items()
    }


@pytest.mark.parametrize(
    ("drug", "target", "given", "where"),
    [
        ("warfarin", "inr 2-3", Given(now=NOW, covariates={"age": 80.0}), "--covariate"),
        ("warfarin", "inr 2-3", Given(now=NOW, mic=1.0), "--mic"),
        ("ramipril", None, Given(now=NOW, mic=1.0), "--mic"),
        ("ramipril", None, Given(now=NOW, covariates={"crcl": 40.0}), "--covariate"),
        ("vancomycin", AREA, Given(now=NOW, levels=measured((35.5, 12.0))), "--levels"),
    ],
)
def test_what_was_given_is_read_or_refused_and_never_passed_over(
    drug: str, target: str | None, given: Given, where: str
) -> None:
    who = a_patient(age=62, weight=80.0, height=178.0, creatinine=1.0)
    with pytest.raises(InputError) as refused:
        dose(who, drug, given, target=target, knowledge=load_knowledge(), settings=PLAIN)
    assert refused.value.where == where
