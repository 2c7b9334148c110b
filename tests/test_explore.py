"""`explore` on made tables: what is planted is found, what is not is not, and each part says on which rows it rests."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from posologist.core.exploration import ExplorationDocument
from posologist.core.genotype import Versions
from posologist.learn.features import Feature, Schema, frame_of
from posologist.serve import learning
from posologist.serve.cli import main
from posologist.study.blocks import Explored
from posologist.study.explore import explore
from posologist.study.explore_report import markdown
from posologist.study.explore_selection import over_folds
from posologist.study.nested import Settings
from posologist.study.tables import read_rows
from synthetic_block import BLOCK, cohort_of, write_table

COLUMNS = ("id", "weight", "albumin", "noise", "ward", "gene", "rare", "race", "site", "y")
SCHEMA = Schema(
    task="made",
    version="1",
    features=(
        Feature(name="weight", group="demographics", label="body weight", unit="kg", low=20, high=200),
        Feature(name="albumin", group="labs and vitals", label="albumin", unit="g/L", low=5, high=70),
        Feature(name="noise", group="labs and vitals", label="sodium", unit="mmol/L", low=-1000, high=1000),
        Feature(name="ward", kind="flag", group="conditions", label="ward", yes="on a ward", no="at home"),
        Feature(name="gene", kind="category", group="genes", label="GENE1", levels=("AA", "AG", "GG")),
        Feature(name="rare", kind="flag", group="conditions", label="rare illness"),
    ),
)


def cells_of(row):
    numbers = {name: float(row[name]) if row[name] else None for name in ("weight", "albumin", "noise")}
    flags = {name: float(row[name]) if row[name] else None for name in ("ward", "rare")}
    return {**numbers, **flags, "gene": row["gene"] or None}


def frame(cohort):
    return frame_of(SCHEMA, [cells_of(row) for row in cohort.rows])


def table(n=240, seed=0, yes_no=False):
    """The outcome follows body weight and the gene; albumin is partly unknown, three patients have a rare illness."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(n):
        weight, gene = rng.normal(75, 12), int(rng.integers(0, 3))
        y = 0.15 * (weight - 75) + 2.0 * (gene - 1) + rng.normal()
        found.append({
            "id": f"p{place}", "weight": f"{weight:.1f}", "albumin": f"{rng.normal(40, 4):.1f}" if place % 5 else "",
            "noise": f"{rng.normal(140, 3):.1f}", "ward": str(int(rng.random() < 0.4)),
            "gene": ("AA", "AG", "GG")[gene], "rare": str(int(place < 3)), "race": "A" if place % 3 else "B",
            "site": str(place % 2), "y": f"{float(y > 0):g}" if yes_no else f"{30 + 3 * y:.3f}",
        })  # fmt: skip
    return found


def read(path):
    return cohort_of(read_rows(path, COLUMNS))


AMOUNT = replace(
    BLOCK, task="made", file="made/made.csv", columns=COLUMNS, read=read, title="Made dose",
    explored=Explored(frame, genome=("gene",), within="ward"),
)  # fmt: skip
YES_NO = replace(AMOUNT, kind="probability", explored=Explored(frame))


def explored(block, rows, seed=0):
    settings = Settings(seed, quick=True, n_resamples=200)
    return explore(block, cohort_of(rows), settings, versions=Versions(posologist="1", knowledge=""))


@pytest.fixture(scope="module")
def amount():
    return explored(AMOUNT, table())


@pytest.fixture(scope="module")
def yes_no():
    return explored(YES_NO, table(yes_no=True))


def test_planted_features_are_the_most_important_on_rows_held_out(amount) -> None:
    assert [one.model for one in amount.importance] == ["random forest", "LightGBM"]
    for one in amount.importance:
        assert one.basis == "held out"
        assert {row.text for row in one.rows[:2]} == {"body weight", "GENE1"}
        assert all(row.rise.low > 0.0 for row in one.rows[:2])
        assert all(row.rise.low <= 0.0 for row in one.rows[2:])


def test_stability_selection_takes_what_is_planted_and_states_its_bound(amount) -> None:
    selected = {row.text for row in amount.selection.rows if row.selected}

    assert "body weight" in selected
    assert selected <= {"body weight", "GENE1 AA", "GENE1 AG", "GENE1 GG"}
    assert 0.0 < amount.selection.wrong_at_most <= 1.0
    assert amount.selection.chosen == sum(row.coefficient != 0.0 for row in amount.selection.rows)


def test_components_are_kept_only_where_their_loss_is_least(amount) -> None:
    best = min(amount.components.rows, key=lambda row: row.held_out_loss)

    assert amount.components.kept == best.share
    assert amount.components.help == (best.share < 1.0)


def test_markers_of_the_genome_come_first_and_noise_is_not_found(amount) -> None:
    for one in amount.markers:
        assert [row.genome for row in one.rows[:3]] == [True] * 3
        assert {row.text for row in one.rows if row.found} == {"GENE1 AA", "GENE1 GG", "body weight"}


def test_a_marker_is_tested_where_it_is_known_and_a_mask_never(amount) -> None:
    for one in amount.markers:
        known = {row.text: row.n for row in one.rows}
        assert known["albumin"] == 192
        assert not any("not known" in text for text in known)


def test_what_too_few_patients_have_is_not_tested_and_said(amount) -> None:
    assert not any(row.text == "rare illness" for one in amount.markers for row in one.rows)
    assert any("rare illness" in finding and "too few" in finding for finding in amount.findings)


def test_the_genome_gains_and_dealt_genomes_do_not(amount) -> None:
    assert amount.genome.gain.low > 0.0
    assert amount.genome.p_value == pytest.approx(0.05)
    assert amount.genome.vanishes
    assert amount.genome.dealt.high < amount.genome.gain.low


def test_an_outcome_that_ignores_the_genome_gives_it_no_gain() -> None:
    rows = table()
    other = np.random.default_rng(5).permutation(len(rows))
    found = explored(AMOUNT, [{**row, "gene": rows[i]["gene"]} for row, i in zip(rows, other, strict=True)])

    assert found.genome.gain.low <= 0.0
    assert not any(row.genome and row.found for one in found.markers for row in one.rows)


def test_a_cloud_has_no_stable_clusters(amount) -> None:
    assert amount.strata.conclusion == "no stable clusters"
    assert amount.strata.strata == ()


def test_planted_strata_are_found_described_and_recognised_as_one_feature() -> None:
    rows = table(n=200)
    for place, row in enumerate(rows):
        if place % 2:
            row.update(weight=f"{float(row['weight']) + 90:.1f}", noise=f"{float(row['noise']) + 60:.1f}", ward="1")
        else:
            row.update(ward="0")
    found = explored(AMOUNT, rows).strata
    medians = sorted(trait.value for one in found.strata for trait in one.traits if trait.name == "weight")

    assert sorted(one.n for one in found.strata) == [100, 100]
    assert found.same_as == "on a ward"
    assert medians[1] - medians[0] > 60
    assert all(one.outcome.low < one.outcome.value < one.outcome.high for one in found.strata)
    assert "without the outcome" in found.warning


def test_relevance_of_the_network_puts_the_planted_features_first(amount, yes_no) -> None:
    for one in (amount, yes_no):
        assert {row.text for row in one.relevance.rows[:2]} == {"body weight", "GENE1"}
        assert one.relevance.basis == "in-sample"
    assert yes_no.relevance.unit == "log odds"


def test_what_a_table_cannot_tell_is_said(yes_no) -> None:
    assert yes_no.genome is None
    assert any("no permuted genome" in finding for finding in yes_no.findings)
    assert any("no served engine" in finding for finding in yes_no.findings)


def test_the_same_seed_gives_the_same_document(amount) -> None:
    assert explored(AMOUNT, table()) == amount


def test_rows_without_outcome_are_left_out_and_counted() -> None:
    cohort = cohort_of(table())
    cohort.target[:7] = np.nan
    found = explore(
        AMOUNT, cohort, Settings(0, quick=True, n_resamples=50), versions=Versions(posologist="1", knowledge="")
    )

    assert found.rows == 233
    assert "7 of 240 rows have no known outcome and are left out" in found.findings


def test_the_report_tells_each_part_its_basis_in_clinical_words(amount) -> None:
    text = markdown(amount)

    assert "## Importance (held out)" in text
    assert "## Layer-wise relevance (in-sample)" in text
    assert "| genome: GENE1 AA |" in text
    assert "exploratory" in text
    assert "nan" not in text


def test_the_interval_over_folds_allows_for_overlapping_training_parts() -> None:
    (found,) = over_folds(np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]))

    assert found.value == pytest.approx(3.0)
    assert found.high - found.value == pytest.approx(2.776445 * np.sqrt(2.5) * np.sqrt(0.2 + 0.25), rel=1e-5)


def test_what_is_dealt_and_within_what_are_features_of_the_tasks() -> None:
    from posologist.learn.tasks import cardiovascular, immunotherapy, warfarin
    from posologist.study.tasks import BLOCKS

    schemas = {one.TASK: one.SCHEMA for one in (warfarin, immunotherapy, cardiovascular)}
    looked = {block.task: block.explored for block in BLOCKS if block.explored is not None}

    assert looked.keys() == schemas.keys()
    for task, own in looked.items():
        assert {*own.genome, *filter(None, [own.within])} <= set(schemas[task].names)


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.setattr("posologist.study.tasks.BLOCKS", (BLOCK, AMOUNT))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["posologist", "explore", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        told = capsys.readouterr()
        return told.out, told.err, int(stopped.value.code or 0)

    return call


def test_the_verb_prints_its_document_and_writes_json_markdown_and_plots(run, tmp_path) -> None:
    data = write_table(tmp_path / "made.csv", table(90), COLUMNS)
    out, err, code = run("made", "--data", data, "--out", tmp_path / "o", "--quick", "--seed", 3, "--json")
    stem = "made-exploration"

    assert (code, err) == (0, "")
    document = ExplorationDocument.model_validate_json(out)
    assert (document.seed, document.n, document.quick) == (3, 90, True)
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        f"{stem}.json", f"{stem}.md", f"{stem}-random-forest.svg", f"{stem}-lightgbm.svg", f"{stem}-stability.svg",
        f"{stem}-relevance.svg",
    }  # fmt: skip
    assert ExplorationDocument.model_validate_json((tmp_path / "o" / f"{stem}.json").read_text()) == document


@pytest.mark.parametrize(
    ("task", "n", "said"),
    [("nothing", 0, "is not explored"), ("synthetic", 0, "is not explored"), ("made", 30, "too few to explore")],
)
def test_what_cannot_be_explored_is_refused_in_one_line(run, tmp_path, task, n, said) -> None:
    data = write_table(tmp_path / "made.csv", table(n), COLUMNS)
    _, err, code = run(task, "--data", data)

    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_rare_answer_is_refused() -> None:
    from posologist.core.errors import InputError

    rows = [{**row, "y": str(int(place < 4))} for place, row in enumerate(table(100))]

    with pytest.raises(InputError, match="only 4 rows have the rarer answer"):
        explored(YES_NO, rows)


def test_without_the_extra_it_says_what_to_install(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(learning, "_NEEDED", ("a_library_that_is_not_there",))
    _, err, code = run("made", "--data", tmp_path)

    assert code == 4
    assert "pip install 'posologist[train]'" in err
