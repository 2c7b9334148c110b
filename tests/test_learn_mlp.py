"""The multitask network: what it learns, what it refuses, and that its frozen layers are the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from posologist.learn.fit.ensemble import Head
from posologist.learn.fit.folds import held_out
from posologist.learn.fit.mlp import MultitaskNetwork, NetworkClassifier, NetworkRegressor
from posologist.learn.fit.network import Dense, Network, encoding
from posologist.learn.fit.relevance import global_relevance, importance_plot, relevance

SMALL = {"hidden": (16, 16), "n_members": 4, "max_epochs": 40, "random_state": 0}
_WEIGHTED = "the batches and the inner split are drawn by row, so a row of weight two is not two rows"
_PLANNED = {
    "check_sample_weight_equivalence_on_dense_data": _WEIGHTED,
    "check_sample_weight_equivalence_on_sparse_data": _WEIGHTED,
}
_MISSING = {"check_supervised_y_no_nan": "an outcome that is not known for a row is nan in y, on purpose"}


def _expected(estimator: object) -> dict[str, str]:
    return _PLANNED | (_MISSING if isinstance(estimator, MultitaskNetwork) else {})


@parametrize_with_checks(
    [
        NetworkRegressor(hidden=(16,), n_members=4, learning_rate=1e-2, random_state=0),
        NetworkClassifier(hidden=(16,), n_members=4, learning_rate=1e-2, max_epochs=60, random_state=0),
        MultitaskNetwork(hidden=(16,), n_members=4, learning_rate=1e-2, max_epochs=40, random_state=0),
    ],
    expected_failed_checks=_expected,
)
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def _rows(rng, n=500, columns=6):
    return rng.normal(size=(n, columns))


def _curve(rows):
    return rows[:, 0] + np.sin(2.0 * rows[:, 1]) + (rows[:, 2] > 0.0) * rows[:, 3]


def test_learns_a_curved_function_with_an_interaction():
    rng = np.random.default_rng(1)
    rows, unseen = _rows(rng, 1500), _rows(rng)

    network = NetworkRegressor(hidden=(32, 32), random_state=0).fit(rows, 30.0 + 8.0 * _curve(rows))

    assert r2_score(30.0 + 8.0 * _curve(unseen), network.predict(unseen)) > 0.93


def test_probabilities_are_better_than_the_prevalence_and_near_the_truth():
    rng = np.random.default_rng(2)
    rows, unseen = _rows(rng, 1500), _rows(rng, 1500)
    truth = 1.0 / (1.0 + np.exp(-2.0 * _curve(unseen)))
    y = rng.random(1500) < 1.0 / (1.0 + np.exp(-2.0 * _curve(rows)))
    y_unseen = rng.random(1500) < truth

    found = NetworkClassifier(hidden=(32, 32), random_state=0).fit(rows, y).predict_proba(unseen)[:, 1]

    assert roc_auc_score(y_unseen, found) > roc_auc_score(y_unseen, truth) - 0.03
    best, prevalence = log_loss(y_unseen, truth), log_loss(y_unseen, np.full(1500, y.mean()))
    assert log_loss(y_unseen, found) < best + 0.25 * (prevalence - best)


def test_same_seed_same_network_whatever_the_number_of_threads():
    rng = np.random.default_rng(3)
    rows = _rows(rng, 200)
    first = NetworkRegressor(**SMALL).fit(rows, _curve(rows)).predict(rows)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        second = NetworkRegressor(**SMALL).fit(rows, _curve(rows)).predict(rows)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)

    np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_network():
    rows = _rows(np.random.default_rng(3), 200)
    first = NetworkRegressor(**SMALL).fit(rows, _curve(rows))

    assert not np.allclose(
        first.predict(rows), clone(first).set_params(random_state=1).fit(rows, _curve(rows)).predict(rows)
    )


def test_what_is_not_known_of_one_outcome_leaves_the_other_to_be_learned():
    rng = np.random.default_rng(4)
    rows = _rows(rng, 800)
    number, yes = _curve(rows), (rows[:, 0] > 0.0).astype(float)
    number[::2], yes[1::2] = np.nan, np.nan
    heads = (Head("number"), Head("classes"))

    network = MultitaskNetwork(heads, hidden=(32, 32), random_state=0).fit(rows, np.c_[number, yes])
    unseen = _rows(rng)

    assert r2_score(_curve(unseen), network.predict(unseen)[:, 0]) > 0.75
    assert roc_auc_score(unseen[:, 0] > 0.0, network.probability(unseen, head=1)[:, 1]) > 0.95


def test_three_classes_have_probabilities_that_sum_to_one():
    rng = np.random.default_rng(6)
    rows = _rows(rng, 600)
    y = np.array(["low", "mid", "high"])[np.searchsorted([-0.5, 0.5], rows[:, 0])]

    network = NetworkClassifier(hidden=(32,), random_state=0).fit(rows, y)
    probability = network.predict_proba(rows)

    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    assert network.score(rows, y) > 0.9


@pytest.mark.parametrize("quantile", [0.1, 0.9])
def test_the_pinball_loss_finds_the_quantile(quantile):
    rng = np.random.default_rng(7)
    rows = _rows(rng, 1500, 2)
    y = rows[:, 0] + (1.0 + (rows[:, 1] > 0.0)) * rng.normal(size=1500)

    found = NetworkRegressor("pinball", quantile=quantile, hidden=(16,), random_state=0).fit(rows, y).predict(rows)

    assert np.mean(y < found) == pytest.approx(quantile, abs=0.04)


@pytest.mark.parametrize("loss", ["absolute", "huber"])
def test_a_robust_loss_is_moved_less_by_wild_values(loss):
    rng = np.random.default_rng(8)
    rows = _rows(rng, 600, 3)
    truth = 2.0 * rows[:, 0]
    y = truth + rng.normal(size=600) + np.where(rng.random(600) < 0.08, 60.0, 0.0)

    def error(network):
        return np.abs(network.fit(rows, y).predict(rows) - truth).mean()

    assert error(NetworkRegressor(loss, **SMALL)) < 0.5 * error(NetworkRegressor("squared", **SMALL))


def test_rows_of_weight_zero_are_not_learned():
    rng = np.random.default_rng(9)
    rows = _rows(rng, 600, 3)
    wrong = np.arange(600) % 3 == 0
    y = np.where(wrong, -5.0, 1.0) * rows[:, 0]

    network = NetworkRegressor(**SMALL).fit(rows, y, sample_weight=np.where(wrong, 0.0, 1.0))

    assert r2_score(rows[:, 0], network.predict(rows)) > 0.9


def test_a_masked_value_is_never_seen():
    rng = np.random.default_rng(10)
    rows = np.c_[_rows(rng, 400, 2), np.zeros(400)]
    rows[:150, 2] = 1.0
    network = NetworkRegressor(masks={0: 2}, **SMALL).fit(rows, rows[:, 0] * (1.0 - rows[:, 2]) + rows[:, 1])

    moved = rows.copy()
    moved[:, 0] += 0.7

    change = np.abs(network.predict(moved) - network.predict(rows))
    assert change[:150].max() < 1e-9
    assert change[150:].mean() > 0.3


def test_the_frozen_layers_are_the_network_that_was_trained():
    rng = np.random.default_rng(11)
    rows = _rows(rng, 300, 4)
    network = NetworkRegressor(**SMALL).fit(rows, _curve(rows))
    frozen = network.layers()

    value = torch.from_numpy(frozen.encoding(rows))
    for layer in frozen.hidden:
        value = torch.nn.functional.silu(value @ torch.from_numpy(layer.weight) + torch.from_numpy(layer.bias))
    again = value @ torch.from_numpy(frozen.output.weight) + torch.from_numpy(frozen.output.bias)

    np.testing.assert_allclose(again.numpy()[:, 0], network.predict(rows), rtol=1e-9, atol=1e-12)


def test_the_members_side_by_side_are_the_mean_of_the_members():
    rng = np.random.default_rng(12)
    rows = _rows(rng, 300, 4)
    network = NetworkRegressor(**SMALL).fit(rows, _curve(rows))
    width, frozen = SMALL["hidden"][-1], network.layers()
    value = frozen.encoding(rows)
    parts = []

    for m in range(SMALL["n_members"]):
        own = slice(m * width, (m + 1) * width)
        first = value @ frozen.hidden[0].weight[:, own] + frozen.hidden[0].bias[own]
        first = first / (1.0 + np.exp(-first))
        second = first @ frozen.hidden[1].weight[own, own] + frozen.hidden[1].bias[own]
        second = second / (1.0 + np.exp(-second))
        parts.append(SMALL["n_members"] * second @ frozen.output.weight[own] + frozen.output.bias)

    np.testing.assert_allclose(np.mean(parts, axis=0)[:, 0], network.predict(rows), rtol=1e-6, atol=1e-9)
    assert np.std([part.mean() for part in parts]) > 0.0


def test_the_encoding_keeps_order_and_adds_up_to_the_place_in_the_range():
    rows = np.sort(np.random.default_rng(13).exponential(size=(200, 1)), axis=0)
    encoded = encoding(rows, n_bins=8, masks={})(np.concatenate([rows, [[-5.0]], [[500.0]]]))

    assert (np.diff(encoded[:200].sum(axis=1)) >= 0.0).all()
    np.testing.assert_allclose(encoded[0], 0.0)
    np.testing.assert_allclose(encoded[199], 1.0)
    np.testing.assert_array_equal(encoded[200], encoded[0])
    np.testing.assert_array_equal(encoded[201], encoded[199])


def test_a_column_that_never_varied_cannot_move_the_answer():
    rng = np.random.default_rng(14)
    rows = np.c_[_rows(rng, 200, 2), np.ones(200)]
    network = NetworkRegressor(**SMALL).fit(rows, rows[:, 0])
    moved = rows.copy()
    moved[:, 2] = 7.0

    np.testing.assert_array_equal(network.predict(moved), network.predict(rows))


def test_rows_of_a_group_are_held_out_together():
    rng = np.random.RandomState(0)
    groups = rng.randint(0, 60, size=300)

    out = held_out(groups, groups % 3, fraction=0.2, rng=rng)

    assert not set(groups[out]) & set(groups[~out])
    assert {int(g) % 3 for g in groups[out]} == {0, 1, 2}
    assert 0.1 < out.mean() < 0.3


def test_training_stops_early_on_noise():
    rng = np.random.default_rng(15)
    network = NetworkRegressor(hidden=(16,), max_epochs=300, random_state=0).fit(_rows(rng, 400), rng.normal(size=400))

    assert network.n_epochs_ < 150


def test_a_missing_input_is_refused_with_its_column():
    rows = _rows(np.random.default_rng(16), 50)
    rows[3, 2] = np.nan

    with pytest.raises(ValueError, match=r"column\(s\) \[2\]; impute and mask"):
        NetworkRegressor().fit(rows, rows[:, 0])


def test_leaving_inputs_out_makes_the_answer_hang_less_on_one_input():
    rng = np.random.default_rng(17)
    rows = _rows(rng, 800, 1)
    rows = np.c_[rows, rows + 0.5 * rng.normal(size=(800, 1))]
    y = rows[:, 0]

    def reach(rate):
        network = NetworkRegressor(**(SMALL | {"input_dropout": rate})).fit(rows, y)
        moved = rows.copy()
        moved[:, 0] = 0.0
        return np.abs(network.predict(moved) - network.predict(rows)).mean()

    assert reach(0.4) < 0.9 * reach(0.0)


def _fitted(rows, y, **settings):
    return NetworkRegressor(**(SMALL | settings)).fit(rows, y)


@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
def test_relevance_sums_to_the_answer(activation):
    rng = np.random.default_rng(20)
    rows = _rows(rng, 300, 5)
    network = _fitted(rows, _curve(rows), activation=activation)

    found = relevance(network.layers(), rows)

    np.testing.assert_allclose(found.margin, network.predict(rows), atol=1e-9)
    np.testing.assert_allclose(found.columns.sum(axis=1) + found.rest, found.margin, atol=1e-8)


def test_relevance_goes_to_the_columns_that_matter():
    rng = np.random.default_rng(21)
    rows = np.c_[_rows(rng, 600, 4), np.ones(600)]
    network = _fitted(rows, 3.0 * rows[:, 1] - 2.0 * rows[:, 3])

    found = global_relevance(network.layers(), rows)

    assert set(np.argsort(-found)[:2]) == {1, 3}
    assert found[[0, 2]].max() < 0.35 * found[3]
    assert found[4] == 0.0


def test_relevance_of_a_linear_network_is_weight_times_difference():
    encoded = encoding(np.array([[0.0, 0.0], [1.0, 4.0], [1.0, 2.0], [0.0, 2.0]]), n_bins=1, masks={})
    last = Dense(np.array([[3.0], [-8.0]]), np.array([0.5]))
    network = Network(encoded, (), last, "relu")
    rows = np.array([[1.0, 4.0], [0.0, 1.0]])

    found = relevance(network, rows)

    exact = (encoded(rows) - encoded.centre) * last.weight[:, 0]
    np.testing.assert_allclose(found.columns, exact, rtol=5e-3)


def test_a_masked_value_has_no_relevance():
    rng = np.random.default_rng(22)
    rows = np.c_[_rows(rng, 300, 2), np.zeros(300)]
    rows[:100, 2] = 1.0
    network = _fitted(rows, rows[:, 0] + rows[:, 1], masks={0: 2})

    found = relevance(network.layers(), rows).columns

    assert np.abs(found[:100, 0]).max() < 1e-9
    assert np.abs(found[100:, 0]).mean() > 0.1


def test_the_importance_plot_shows_the_names_and_is_the_same_each_time(tmp_path):
    names, importance = ("age", "VKORC1", "weight"), np.array([0.2, 0.9, 0.1])
    for name in ("one.svg", "two.svg"):
        importance_plot(
            names,
            importance,
            tmp_path / name,
            label="rise of the error",
            low=importance - 0.05,
            high=importance + 0.05,
            most=2,
        )

    drawn = (tmp_path / "one.svg").read_text()
    assert "VKORC1" in drawn
    assert "rise of the error" in drawn
    assert "weight" not in drawn
    assert drawn == (tmp_path / "two.svg").read_text()
