"""Fairness tables against fairlearn, and what is said of small groups."""

from dataclasses import replace

import numpy as np
import pytest

from posologist.study.blocks import Scored
from posologist.study.fairness import SMALL, fairness_tables, higher_is_better, recommended
from synthetic_block import BLOCK, Line, cohort_of, rows


def _table(n=400, metric="mae_u"):
    whole = cohort_of(rows(n))
    scored = Line()(whole, whole, seed=0, quick=False)
    (table,) = fairness_tables(replace(BLOCK, main=metric), whole, {"engine": scored}, n_resamples=300, seed=0)
    return whole, scored, table


def test_every_figure_by_group_is_fairlearns() -> None:
    from fairlearn.metrics import MetricFrame

    whole, scored, table = _table()
    frame = MetricFrame(
        metrics={
            "mae_u": lambda y, p: np.abs(y - p).mean(),
            "within_20_percent": lambda y, p: 100 * (np.abs(y - p) <= 0.2 * y).mean(),
        },
        y_true=whole.target, y_pred=scored.value, sensitive_features=np.array(whole.groups["race"]),
    )  # fmt: skip

    for row in table.rows:
        for metric in ("mae_u", "within_20_percent"):
            assert row.metrics[metric].value == pytest.approx(frame.by_group[metric][row.group.partition("=")[2]])
    assert table.worst == f"race={frame.by_group['mae_u'].idxmax()}"
    assert table.difference.value == pytest.approx(frame.difference(method="between_groups")["mae_u"])


def test_the_recommendation_rate_is_fairlearns_selection_rate() -> None:
    from fairlearn.metrics import MetricFrame, selection_rate

    whole, scored, table = _table()
    answered = (~scored.abstained).astype(int)
    frame = MetricFrame(
        metrics=selection_rate, y_true=answered, y_pred=answered, sensitive_features=np.array(whole.groups["race"])
    )

    for row in table.rows:
        expected = 100 * frame.by_group[row.group.partition("=")[2]]
        assert row.metrics["recommendation_rate_percent"].value == pytest.approx(expected)


def test_coverage_and_its_interval_stand_for_each_group() -> None:
    whole, scored, table = _table()
    inside = (scored.low <= whole.target) & (whole.target <= scored.high)

    for row in table.rows:
        own = inside[np.array(whole.groups["race"]) == row.group.partition("=")[2]]
        found = row.metrics["coverage_90_percent"]
        assert found.value == pytest.approx(100 * own.mean())
        assert found.low <= found.value <= found.high


def test_the_worst_group_by_coverage_is_the_one_with_the_lowest() -> None:
    _, _, table = _table(metric="coverage_90_percent")
    values = {row.group: row.metrics["coverage_90_percent"].value for row in table.rows}

    assert table.worst == min(values, key=values.get)
    assert table.difference.value < 0


def test_a_small_group_is_marked_and_never_called_the_worst() -> None:
    _, _, table = _table(n=4 * SMALL - 8)  # B has a quarter of the patients

    assert {row.group: row.small for row in table.rows} == {"race=A": False, "race=B": True}
    assert table.worst == "race=A"


def test_who_gets_no_answer_is_not_recommended_to() -> None:
    scored = Scored(np.array([1.0, np.nan, 2.0]), abstained=np.array([False, False, True]))

    assert recommended(scored).tolist() == [100.0, 0.0, 0.0]


@pytest.mark.parametrize(("metric", "higher"), [("auc", True), ("mae_mg_per_week", False), ("brier", False)])
def test_which_way_a_metric_is_good(metric, higher) -> None:
    assert higher_is_better(metric) is higher
