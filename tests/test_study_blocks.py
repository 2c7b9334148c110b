"""The harness: nothing leaks from test to training, and the document says what was done."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posologist.core.errors import InputError, ModelError
from posologist.core.genotype import Versions
from posologist.study.blocks import (
    Plain,
    Scored,
    bins,
    combined,
    kept_together,
    outer_folds,
    patient_numbers,
    without_shared,
)
from posologist.study.cards import data_sheet
from posologist.study.measure import evaluate_nested, evaluate_split
from posologist.study.nested import Settings, folds_of, out_of_fold
from posologist.study.plots import write_plots
from posologist.study.report import markdown
from posologist.study.tables import find_table, header_of, read_rows
from synthetic_block import BLOCK, COLUMNS, Line, Mean, cohort_of, rows, write_table

_VERSIONS = Versions(posologist="test", knowledge="")
_FAST = Settings(n_resamples=200)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=5, max_size=80), st.integers(0, 5))
def test_no_patient_and_no_equal_row_is_on_both_sides_of_a_fold(table, seed) -> None:
    found = [{"id": str(one), "x": str(x), "y": "1"} for one, x in table]
    whole = cohort_of([dict(row, race="A", site="0") for row in found])
    fold = outer_folds(kept_together(whole, BLOCK), np.zeros(len(found), dtype=np.int64), seed=seed)

    for column in ("id", "x"):  # all other cells are equal
        for value in {row[column] for row in found}:
            assert len({int(f) for f, row in zip(fold, found, strict=True) if row[column] == value}) == 1


def test_folds_are_of_equal_size_and_spread_each_stratum() -> None:
    strata = np.repeat([0, 1], [80, 20])
    fold = outer_folds(np.arange(100), strata, seed=0)

    assert np.bincount(fold).tolist() == [20] * 5
    assert np.bincount(fold[strata == 1]).tolist() == [4] * 5


def test_folds_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    strata = np.zeros(60, dtype=np.int64)
    one, again, other = (outer_folds(np.arange(60), strata, seed=seed) for seed in (1, 1, 2))

    assert (one == again).all()
    assert (one != other).any()


def test_a_method_sees_neither_outcomes_nor_outcome_groups_of_the_test_part() -> None:
    seen = []

    def spy(train, test, *, seed, quick):
        seen.append((test.target, dict(test.groups), test.extra["time"], test.extra["age"]))
        return Scored(np.zeros(len(test)))

    whole = replace(cohort_of(rows()), extra={"time": np.ones(120), "age": np.full(120, 5.0)})
    out_of_fold(replace(BLOCK, methods=(Plain("spy", spy),), hidden=("time",)), whole, Settings())

    assert len(seen) == 5
    for target, groups, time, age in seen:
        assert np.isnan(target).all()
        assert groups == {}
        assert np.isnan(time).all()
        assert (age == 5.0).all()


def test_a_method_learns_only_from_the_other_folds() -> None:
    whole = cohort_of(rows())
    found = out_of_fold(BLOCK, whole, Settings())["mean"].value
    fold = folds_of(BLOCK, whole, 0)

    for k in range(5):
        assert found[fold == k] == pytest.approx(whole.target[fold != k].mean())


def test_two_processes_give_the_same_numbers_as_one() -> None:
    whole = cohort_of(rows(60))
    one, two = (out_of_fold(BLOCK, whole, Settings(processes=n)) for n in (1, 2))

    assert list(one) == list(two)
    for name in one:
        assert np.array_equal(one[name].value, two[name].value, equal_nan=True)


def test_a_method_that_does_not_answer_for_each_row_is_refused() -> None:
    short = Plain("short", lambda train, test, *, seed, quick: Scored(np.zeros(3)))

    with pytest.raises(ModelError, match="short"):
        out_of_fold(replace(BLOCK, methods=(short,)), cohort_of(rows()), Settings())


def test_the_document_holds_rows_pairs_groups_fairness_controls_and_what_must_be_said() -> None:
    found = evaluate_nested(BLOCK, cohort_of(rows(200)), _FAST, versions=_VERSIONS)
    by_name = {row.method: row for row in found.rows}

    assert by_name["engine"].metrics["mae_u"].value < by_name["mean"].metrics["mae_u"].value
    assert by_name["silent"].n < 200 == by_name["engine"].n
    pair = next(p for p in found.paired if p.against == "mean")
    assert pair.difference.high < 0
    assert {row.group for row in found.groups} == {"race=A", "race=B"}
    (table,) = found.fairness
    assert table.worst == "race=B"
    assert table.difference.low > 0
    assert {control.name for control in found.controls} == {"shuffled", "leave-site-out"}
    shuffled = next(c for c in found.controls if c.name == "shuffled")
    assert shuffled.paired[0].difference.high > 0  # nothing is gained from a shuffled column
    assert any("silent has no answer" in text for text in found.findings)
    assert any("engine abstains" in text for text in found.findings)


def test_a_pair_is_compared_on_the_rows_that_both_answer() -> None:
    whole = cohort_of(rows(200))
    found = evaluate_nested(BLOCK, whole, _FAST, versions=_VERSIONS)
    pair = next(p for p in found.paired if p.against == "silent")
    scored = out_of_fold(BLOCK, whole, _FAST)
    both = np.isfinite(scored["silent"].value)
    apart = [np.abs(scored[name].value - whole.target)[both].mean() for name in ("engine", "silent")]

    assert pair.difference.value == pytest.approx(apart[0] - apart[1])


def test_the_same_seed_gives_the_same_document() -> None:
    one, two = (evaluate_nested(BLOCK, cohort_of(rows()), _FAST, versions=_VERSIONS) for _ in range(2))

    assert one == two


def test_a_patient_of_both_tables_is_left_out_of_training_and_counted() -> None:
    train, test = rows(80), rows(40, seed=1, start=1000)
    train.append(dict(test[0], x="9"))  # the same id, other cells
    train.append(dict(test[1], id="another"))  # another id, the same cells
    kept, gone = without_shared(cohort_of(train), cohort_of(test), BLOCK)
    found = evaluate_split(BLOCK, cohort_of(train), cohort_of(test), _FAST, versions=_VERSIONS)

    assert gone == 2
    assert len(kept) == 80
    assert found.train.n == 80
    assert found.test.n == 40
    assert any(text.startswith("2 rows of the training table were left out") for text in found.findings)


def test_a_table_tested_on_itself_is_refused() -> None:
    whole = cohort_of(rows())

    with pytest.raises(InputError, match="left to learn from"):
        evaluate_split(BLOCK, whole, whole, _FAST, versions=_VERSIONS)


def test_trained_on_one_table_the_prediction_is_that_of_the_method_itself() -> None:
    train, test = cohort_of(rows(100)), cohort_of(rows(50, seed=2, start=500))
    found = evaluate_split(BLOCK, train, test, _FAST, versions=_VERSIONS)
    own = Line()(train, test.blinded(), seed=0, quick=False)
    engine = next(row for row in found.rows if row.method == "engine")

    assert engine.metrics["mae_u"].value == pytest.approx(np.abs(own.value - test.target).mean())


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        evaluate_nested(BLOCK, cohort_of(rows(9)), _FAST, versions=_VERSIONS)


def test_a_quick_run_takes_whole_patients_and_says_that_it_is_no_result() -> None:
    found = evaluate_nested(
        replace(BLOCK, quick_rows=60), cohort_of(rows(200)), replace(_FAST, quick=True), versions=_VERSIONS
    )

    assert 55 <= found.test.n <= 60
    assert any("quick run" in text for text in found.findings)
    assert {control.name for control in found.controls} == {"shuffled"}


def test_a_header_of_another_table_is_refused_with_the_columns_that_lack(tmp_path) -> None:
    path = write_table(tmp_path / "t.csv", rows(5), columns=("id", "x", "race"))

    with pytest.raises(InputError, match=r"lacks 2 of 5 columns: 'site', 'y'"):
        read_rows(path, COLUMNS)


def test_a_line_of_another_length_is_refused_with_its_number(tmp_path) -> None:
    path = write_table(tmp_path / "t.csv", rows(3))
    path.write_text(path.read_text() + "p9,1\n")

    with pytest.raises(InputError, match=r"t\.csv:5"):
        read_rows(path, COLUMNS)


def test_a_gzipped_table_is_read_as_the_plain_one(tmp_path) -> None:
    import gzip

    path = write_table(tmp_path / "t.csv", rows(4))
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))

    assert read_rows(packed, COLUMNS) == read_rows(path, COLUMNS)
    assert header_of(packed) == COLUMNS


def test_a_table_is_found_in_the_folder_of_the_data_or_given_itself(tmp_path) -> None:
    folder = tmp_path / "ml" / "synthetic"
    folder.mkdir(parents=True)
    path = write_table(folder / "synthetic.csv", rows(3))

    assert find_table(tmp_path, BLOCK) == path
    assert find_table(folder, BLOCK) == path
    assert find_table(path, BLOCK) == path
    assert find_table(tmp_path / "nowhere", BLOCK) is None


def test_the_report_names_licence_seed_label_and_every_method(tmp_path) -> None:
    document = evaluate_nested(BLOCK, cohort_of(rows(100)), _FAST, versions=_VERSIONS)
    plots = write_plots(document, tmp_path)
    text = markdown(document, plots)

    for wanted in ("licence: none", "seed 0", "simulated patients", "| mean | 100 |", "| engine | 100 |", "Worst by"):
        assert wanted in text
    assert {path.name for path in tmp_path.iterdir()} == set(plots)
    assert all("<svg" in (tmp_path / name).read_text(encoding="utf-8") for name in plots)


def test_plots_are_the_same_bytes_for_the_same_document(tmp_path) -> None:
    document = evaluate_nested(BLOCK, cohort_of(rows(60)), _FAST, versions=_VERSIONS)
    names = write_plots(document, tmp_path)
    first = {name: (tmp_path / name).read_bytes() for name in names}
    write_plots(document, tmp_path)

    assert {name: (tmp_path / name).read_bytes() for name in names} == first


def test_the_data_sheet_counts_groups_and_what_is_missing() -> None:
    table = rows(20)
    table[0]["race"] = ""
    text = data_sheet(BLOCK, cohort_of(table), "abc")

    assert "rows used: 20, of 20 patients at 3 sites" in text
    assert "race: 5.0 % empty" in text
    assert "race: A 15, B 4, not known 1" in text


def test_patients_are_numbered_by_id_and_each_row_is_one_without_ids() -> None:
    table = [{"id": "a"}, {"id": "b"}, {"id": "a"}]

    assert patient_numbers(table, id_column="id").tolist() == [0, 1, 0]
    assert patient_numbers(table).tolist() == [0, 1, 2]


def test_bins_and_combined_strata_keep_what_is_not_known_apart() -> None:
    found = bins(np.array([1.0, 2.0, 3.0, 4.0, np.nan]), 2)

    assert found.tolist() == [0, 0, 1, 1, 2]
    assert len(set(combined(["a", "a", "b"], [0, 1, 0]).tolist())) == 3


def test_the_mean_method_is_what_it_says() -> None:
    whole = cohort_of(rows(30))

    assert Mean()(whole, whole.blinded(), seed=0, quick=False).value[0] == pytest.approx(whole.target.mean())
