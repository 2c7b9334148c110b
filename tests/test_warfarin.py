"""Warfarin: the same row from a table and from a patient, published doses, and the model that is served."""

import json
import sys
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneCall, GeneticProfile, Versions
from posologist.core.situation import CurrentDrug, KnownFact, Situation
from posologist.core.values import DrugId, GeneSymbol
from posologist.learn.features import Encoder, frame_of, prepared
from posologist.learn.tasks.warfarin import (
    CYP2C9_LEVELS,
    DOSE,
    SCHEMA,
    SITE,
    STABLE,
    ancestry,
    cells_of_csv,
    row_of_patient,
    vkorc1,
)
from posologist.serve.cli import main
from posologist.study.blocks import sub_seed
from posologist.study.measure import evaluate_split
from posologist.study.nested import Settings
from posologist.study.warfarin import BLOCK, ID, band, dose_class, permuted_genome, read
from posologist.study.warfarin_methods import (
    Body,
    PlainInterval,
    engine,
    fitted,
    frame,
    published_doses,
    without_genes,
)
from shared import shared_data
from synthetic_block import write_table
from warfarin_table import EMPTY, GENOTYPES, distributed, synthetic_table


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return read(write_table(tmp_path_factory.mktemp("t") / "t.csv", synthetic_table(), columns=tuple(EMPTY)))


def test_the_cohort_is_the_usual_one_and_says_how_many_rows_are_left(tmp_path) -> None:
    changes = (
        {ID: "a"}, {ID: "b", STABLE: "0.0"}, {ID: "c", DOSE: ""}, {ID: "d", "Age": ""}, {ID: "e", DOSE: "315.0"},
        {ID: "f", STABLE: ""}, {ID: "g", DOSE: "NA"}, {ID: "h", "Age": "NA"},
    )  # fmt: skip
    table = [distributed(**change) for change in changes]
    found = read(write_table(tmp_path / "t.csv", table, columns=tuple(EMPTY)))

    assert [row[ID] for row in found.rows] == ["a"]
    assert found.notes[0].startswith("1 of 8 rows")


@pytest.mark.parametrize(
    "column", [DOSE, STABLE, SITE, "INR on Reported Therapeutic Dose of Warfarin", "Target INR", ID]
)
def test_no_feature_comes_from_the_outcome_or_the_hospital(column) -> None:
    assert cells_of_csv(distributed(**{column: "3.0"})) == cells_of_csv(distributed(**{column: "2.0"}))


@pytest.mark.parametrize(
    ("race", "cells", "expected"),
    [
        ("White", {"VKORC1 -1639 consensus": "A/G", "VKORC1 1173 consensus": "C/C"}, "AG"),
        ("White", {"VKORC1 2255 consensus": "T/T", "VKORC1 1173 consensus": "C/C"}, "AA"),
        ("Black or African American", {"VKORC1 2255 consensus": "T/T"}, None),
        ("Black or African American", {"VKORC1 2255 consensus": "T/T", "VKORC1 1173 consensus": "C/T"}, "AG"),
        ("Unknown", {"VKORC1 1173 consensus": "C/C"}, "GG"),
        ("Asian", {"VKORC1 1542 consensus": "C/G"}, "AG"),
        ("Unknown", {"VKORC1 1542 consensus": "C/G"}, None),
        ("White", {}, None),
    ],
)
def test_vkorc1_is_inferred_from_linked_positions_in_the_published_order(race, cells, expected) -> None:
    assert vkorc1(distributed(**{"Race (OMB)": race, **cells})) == expected


_cells = st.fixed_dictionaries(
    {
        "Age": st.sampled_from([f"{d}0 - {d}9" for d in range(2, 9)] + ["90+"]),
        "Height (cm)": st.integers(140, 200).map(str),
        "Weight (kg)": st.integers(40, 160).map(str),
        "Race (OMB)": st.sampled_from(["White", "Asian", "Black or African American", "Unknown"]),
        "CYP2C9 consensus": st.sampled_from([*CYP2C9_LEVELS, "*1/*5", "*1/*11", ""]),
        "VKORC1 -1639 consensus": st.sampled_from([*GENOTYPES, ""]),
        **{
            name: st.sampled_from(["0.0", "1.0", ""])
            for name in ("Amiodarone (Cordarone)", "Carbamazepine (Tegretol)", "Phenytoin (Dilantin)")
        },
    }
)


@settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(_cells, min_size=12, max_size=12))
def test_the_column_of_the_iwpc_formula_is_the_algorithm_of_the_knowledge_base(table) -> None:
    rows = [distributed(**cells) for cells in table]
    own = frame_of(SCHEMA, [cells_of_csv(row) for row in rows])
    encoder = Encoder(SCHEMA, prepared(own))
    published = published_doses("iwpc_pharmacogenetic", rows, Body({}))
    column = encoder.formulas(own.values)[:, 0] ** 2
    same = np.isfinite(published)

    assert column[same] == pytest.approx(published[same], rel=1e-9)
    assert column[~same] == pytest.approx(0.0)  # the algorithm comes to nought: no dose


def test_the_published_dose_is_the_published_one() -> None:
    row = distributed(**{"CYP2C9 consensus": "*1/*1", "VKORC1 -1639 consensus": "G/G"})

    assert published_doses("iwpc_pharmacogenetic", [row], Body({}))[0] == pytest.approx(41.1, abs=0.05)


def test_missing_height_is_inferred_and_lies_near_that_of_the_same_sex(cohort) -> None:
    body = Body.fitted(synthetic_table())
    height, weight = body.completed(cells_of_csv(distributed(**{"Height (cm)": ""})))

    assert height == pytest.approx(170.0, abs=0.5)  # all heights of the synthetic table
    assert weight == 70.0


def _call(gene, diplotype, phenotype=None):
    return GeneCall(called=True, diplotype=diplotype, phenotype=phenotype, evidence_state="called", because=(gene,))


def _situation(**changes):
    facts = {
        "age": KnownFact(value=66.0, because="k1"), "height": KnownFact(value=170.0, because="k2"),
        "weight": KnownFact(value=70.0, because="k3"), "sex": KnownFact(value="male", because="k4"),
        "race_group": KnownFact(value="White", because="k5"),
        "smoking_status": KnownFact(value="never", because="k6"),
    }  # fmt: skip
    given = {
        "patient_id": "x", "as_of": date(2026, 1, 1), "facts": facts,
        "conditions": {"atrial_fibrillation": "k7", "hypertension": "k8"},
        "current": (CurrentDrug(drug=DrugId("amiodarone"), text="amiodarone 200 mg", because="k9"),),
        "problem_list_given": True, "medication_list_given": True, "allergy_list_given": True,
    }  # fmt: skip
    return Situation(**{**given, **changes})


def _genome():
    genes = {
        GeneSymbol("VKORC1"): _call("g1", None, "-1639 AG"), GeneSymbol("CYP2C9"): _call("g2", "*1/*2"),
    }  # fmt: skip
    return GeneticProfile(
        schema="posologist/phenotype/1", sample="x", build="GRCh38", genes=genes, evidence={},
        versions=Versions(posologist="test", knowledge=""),
    )  # fmt: skip


def test_a_patient_and_the_same_row_of_the_table_have_the_same_features() -> None:
    row = distributed(
        **{
            "Current Smoker": "0.0", "Indication for Warfarin Treatment": "3",
            "Medications": "amiodarone", "Comorbidities": "Hypertension",
            "VKORC1 -1639 consensus": "A/G", "CYP2C9 consensus": "*1/*2",
        }
    )  # fmt: skip
    table = dict(zip(SCHEMA.names, frame_of(SCHEMA, [cells_of_csv(row)]).values[0], strict=True))
    patient = row_of_patient(_situation(), _genome(), ledger=Ledger())
    own = dict(zip(SCHEMA.names, patient.values, strict=True))
    skipped = {"diabetes", "heart_failure", "valve_replaced", "herbal"} | {n for n in own if n.startswith("for_")}

    for name in set(own) - skipped:
        assert own[name] == pytest.approx(table[name], nan_ok=True), name
    assert own["for_fibrillation"] == table["for_fibrillation"] == 1.0


def test_a_patient_without_lists_or_genes_has_no_invented_value() -> None:
    bare = _situation(facts={}, conditions={}, current=(), problem_list_given=False, medication_list_given=False)
    row = row_of_patient(bare, None, ledger=Ledger())

    assert np.isnan(row.values).all()
    assert set(row.because) == {None}


def test_every_known_value_of_a_patient_has_a_reason() -> None:
    row = row_of_patient(_situation(), _genome(), ledger=Ledger(), races=("Japanese",))

    for value, because in zip(row.values, row.because, strict=True):
        assert np.isnan(value) == (because is None)


def test_ancestry_is_read_from_the_recorded_race() -> None:
    assert ancestry(("Han Chinese",)) == "Chinese"
    assert ancestry(("American Indian or Alaska Native",)) is None
    assert ancestry(("White",)) is None


def test_dose_groups_are_those_of_the_iwpc() -> None:
    assert [band(dose) for dose in (21.0, 21.1, 48.9, 49.0)] == ["low (<= 21)", "middle", "middle", "high (>= 49)"]
    assert dose_class(np.array([21.0, 21.1, 48.9, 49.0])).tolist() == [0, 1, 1, 2]


def test_a_permuted_genome_moves_all_genes_of_a_patient_together_within_the_race(cohort) -> None:
    moved = permuted_genome(cohort, np.random.default_rng(0))
    genes = ("VKORC1 -1639 consensus", "CYP2C9 consensus")

    def pairs(table):
        return sorted((row["Race (OMB)"], *(row[name] for name in genes)) for row in table.rows)

    assert pairs(moved) == pairs(cohort)
    assert any(a[genes[0]] != b[genes[0]] for a, b in zip(moved.rows, cohort.rows, strict=True))
    assert all(a["Age"] == b["Age"] and a[DOSE] == b[DOSE] for a, b in zip(moved.rows, cohort.rows, strict=True))


def test_without_genes_no_gene_is_a_feature(cohort) -> None:
    own = frame(without_genes(cohort))

    assert np.isnan(own.column("vkorc1")).all()
    assert np.isnan(own.column("cyp2c9")).all()
    assert not np.isnan(own.column("age_decade")).any()


def test_the_saved_and_loaded_model_gives_the_numbers_of_the_engine_row(cohort, tmp_path) -> None:
    from posologist.learn.artefact import load
    from posologist.learn.fit.save import UNSAVED

    train, test = cohort.take(np.arange(240)), cohort.take(np.arange(240, 300))
    row = engine(train, test.blinded(), seed=sub_seed(0, "x"), quick=True)
    fitted(train, seed=sub_seed(0, "x"), quick=True).save(tmp_path / "m", UNSAVED)
    served = load(tmp_path / "m", schema=SCHEMA)
    answers = served.answers(frame(test))

    assert answers.value == pytest.approx(row.value, rel=1e-9)
    assert answers.low == pytest.approx(row.low, rel=1e-9)
    assert answers.high == pytest.approx(row.high, rel=1e-9)
    predictions = served.predict([row_of_patient(_situation(), _genome(), ledger=Ledger())], ledger=Ledger())
    assert predictions[0].task == "warfarin"


def test_a_plain_conformal_interval_covers_nine_in_ten(cohort) -> None:
    train, test = cohort.take(np.arange(200)), cohort.take(np.arange(200, 300))
    scored = PlainInterval("ridge", "linear")(train, test.blinded(), seed=0, quick=True)
    inside = (scored.low <= test.target) & (test.target <= scored.high)

    assert 0.8 <= inside.mean() <= 1.0
    assert (scored.low >= 0).all()


def test_train_saves_a_model_with_its_card_and_the_data_sheet(tmp_path, monkeypatch, capsys) -> None:
    table = write_table(tmp_path / "t.csv", synthetic_table(150), columns=tuple(EMPTY))
    out = tmp_path / "model"
    arguments = ["train", "warfarin", "--data", str(table), "--out", str(out), "--quick", "--processes", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["posologist", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    manifest = json.loads(capsys.readouterr().out)

    assert not stopped.value.code
    assert {path.name for path in out.iterdir()} == {"manifest.json", "graph.onnx", "model-card.md", "data-sheet.md"}
    assert manifest["training"]["n"] == 150
    assert manifest["metrics"]["mae_mg_per_week"] > 0
    card = (out / "model-card.md").read_text(encoding="utf-8")
    for wanted in ("## For what", "## How good", "## For whom", "worst:", "## Limits", "licence of the data"):
        assert wanted in card


def test_on_unseen_real_patients_the_engine_is_better_than_the_published_algorithm() -> None:
    whole = read(shared_data("ml", "iwpc_warfarin", "iwpc_warfarin.csv.gz"))
    chosen = np.random.default_rng(0).permutation(len(whole))
    train, test = whole.take(np.sort(chosen[:2200])), whole.take(np.sort(chosen[2200:]))

    wanted = ("fixed", "iwpc-pharmacogenetic", "engine")
    block = replace(BLOCK, methods=tuple(m for m in BLOCK.methods if m.name in wanted), grouped=("engine",))
    found = evaluate_split(
        block, train, test, Settings(n_resamples=500), versions=Versions(posologist="test", knowledge="")
    )
    mae = {row.method: row.metrics["mae_mg_per_week"].value for row in found.rows}
    (pair,) = [p for p in found.paired if p.against == "iwpc-pharmacogenetic" and p.metric == "mae_mg_per_week"]

    assert len(whole) == 3765
    assert 8.0 < mae["iwpc-pharmacogenetic"] < 8.8
    assert mae["fixed"] > 12.5
    assert pair.difference.high < 0.05
    assert pair.difference.value < 0
    for row in found.groups:
        if row.group.startswith(("race=", "dose band=")) and not row.small:
            assert row.metrics["coverage_90_percent"].value > 84.0, row.group


@pytest.mark.parametrize("column", ["Weight (kg)", "Height (cm)"])
def test_a_cell_that_is_no_number_is_refused_by_its_column(column) -> None:
    with pytest.raises(InputError, match="'heavy' is not a number") as refused:
        cells_of_csv({**dict.fromkeys(BLOCK.columns, ""), column: "heavy"})
    assert refused.value.where == column
