"""A served model: what is saved is what was fitted, what is loaded is what was saved, and nothing heavy is needed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posologist.core.errors import InputError, ModelError
from posologist.core.evidence import Ledger
from posologist.core.manifest import FORMAT, Manifest
from posologist.core.prediction import Prediction
from posologist.learn.artefact import GRAPH, MANIFEST, load
from posologist.learn.features import Frame
from posologist.learn.fit.engine import blended, fit_engine, folds_of
from posologist.learn.fit.graph import Graph, single
from posologist.learn.fit.parts import FittedLinear, Task
from posologist.learn.fit.recipe import Interval, Kernel, Linear, Part, Recipe, Trees
from posologist.learn.fit.save import check_agreement, rows_to_try
from posologist.learn.predict import Served
from served_models import FACTS, PARTS, SCHEMA, SMALL_NET, a_dose_engine, a_risk_engine, a_row, five_rows, made_rows
from tracing import schema_faults


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    a_dose_engine().save(place, FACTS)
    return place


def a_copy(folder: Path, place: Path, **changes: object) -> Path:
    """A saved model whose manifest was changed by hand."""
    told = json.loads((folder / MANIFEST).read_text())
    told.update(changes)
    (place / MANIFEST).write_text(json.dumps(told))
    (place / GRAPH).write_bytes((folder / GRAPH).read_bytes())
    return place


def test_what_is_loaded_answers_what_was_fitted(folder: Path) -> None:
    frame, _, _ = made_rows(300, 5)

    loaded, fitted = load(folder, schema=SCHEMA).answers(frame), a_dose_engine().predict(frame)

    for name in ("value", "low", "high", "margin", "nearer", "abstained"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(fitted, name))


@pytest.mark.parametrize(
    "part", [*PARTS, Linear(loss="huber"), Linear(loss="absolute"), Trees(loss="absolute", trees=5)]
)
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_the_graph_of_each_part_agrees_with_it_with_values_missing(part: Part, kind: str) -> None:
    frame, dose, yes = made_rows(300, 2)
    recipe = Recipe(parts=(part,), link="sqrt" if kind == "regression" else "logit", folds=2)

    engine = fit_engine(
        frame, dose if kind == "regression" else yes, kind=kind, group=np.arange(300), recipe=recipe, seed=0,  # type: ignore[arg-type]
    )  # fmt: skip

    rows = rows_to_try(frame)
    assert np.isnan(rows).any(axis=1).sum() > 100
    np.testing.assert_allclose(engine.served.outputs(rows), engine.model.outputs(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["normalised", "quantile"])
@pytest.mark.parametrize("part", [Linear(), Trees(trees=15)])
def test_the_graph_of_the_spread_agrees_with_it(method: str, part: Linear | Trees) -> None:
    frame, dose, _ = made_rows(300, 2)
    recipe = Recipe(parts=(Linear(),), link="sqrt", folds=2, interval=Interval(method=method, part=part))  # type: ignore[arg-type]

    engine = fit_engine(frame, dose, kind="regression", group=np.arange(300), recipe=recipe, seed=0)

    rows = rows_to_try(frame)
    np.testing.assert_allclose(engine.served.outputs(rows), engine.model.outputs(rows), rtol=1e-5, atol=1e-5)


def test_saving_is_refused_where_the_graph_answers_otherwise(tmp_path: Path) -> None:
    class Lying(FittedLinear):
        def write(self, graph: Graph) -> str:
            return graph.dense(graph.source, self.weight.reshape(-1, 1) + 1e-4, [self.bias])

    engine = a_dose_engine()
    first = engine.model.parts[0]
    assert isinstance(first, FittedLinear)
    parts = (Lying(first.weight, first.bias), *engine.model.parts[1:])

    with pytest.raises(ModelError, match="the graph's linear-1 answers"):
        replace(engine, model=replace(engine.model, parts=parts)).save(tmp_path, FACTS)
    assert not list(tmp_path.iterdir())


def test_a_tree_threshold_asks_the_same_of_single_precision() -> None:
    rng = np.random.default_rng(0)
    thresholds = rng.normal(size=200)
    rows = np.concatenate([thresholds.astype(np.float32), np.nextafter(thresholds.astype(np.float32), np.float32(9))])

    for threshold in thresholds:
        np.testing.assert_array_equal(rows.astype(np.float64) <= threshold, rows <= np.float32(single(threshold)))


@pytest.mark.parametrize("name", [MANIFEST, GRAPH])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    a_copy(folder, tmp_path)
    (tmp_path / name).unlink()

    with pytest.raises(ModelError, match=f"{name}: the file cannot be read"):
        load(tmp_path)


def test_a_changed_graph_is_refused(folder: Path, tmp_path: Path) -> None:
    a_copy(folder, tmp_path)
    graph = bytearray((tmp_path / GRAPH).read_bytes())
    graph[len(graph) // 2] ^= 1
    (tmp_path / GRAPH).write_bytes(graph)

    with pytest.raises(ModelError, match="not the one that was saved"):
        load(tmp_path)


def test_a_newer_format_is_refused_even_where_it_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"format {FORMAT + 1}.*update posologist"):
        load(a_copy(folder, tmp_path, format=FORMAT + 1))
    with pytest.raises(ModelError, match=f"format {FORMAT + 1}"):
        load(a_copy(folder, tmp_path, format=FORMAT + 1, brand_new_field=1))


def test_another_schema_is_refused(folder: Path) -> None:
    other = SCHEMA.model_copy(update={"features": SCHEMA.features[:-1], "formulas": ()})

    with pytest.raises(ModelError, match="trained on schema 1 of made-dose"):
        load(folder, schema=other)


@pytest.mark.parametrize("key", ["intercept", "unit", "metrics"])
def test_a_manifest_changed_by_hand_is_refused(folder: Path, tmp_path: Path, key: str) -> None:
    changed = {"intercept": 0.25, "unit": "mg/day", "metrics": {"mae_mg_per_week": 0.1}}[key]

    with pytest.raises(ModelError, match="the manifest is not the one that was saved"):
        load(a_copy(folder, tmp_path, **{key: changed}))


@pytest.mark.parametrize(("key", "value"), [("weights", [1.0]), ("link", "cube"), ("coverage", {}), ("typical", [])])
def test_a_manifest_that_does_not_fit_together_is_refused(
    folder: Path, tmp_path: Path, key: str, value: object
) -> None:
    with pytest.raises(ModelError) as caught:
        load(a_copy(folder, tmp_path, **{key: value}))

    assert caught.value.code == 4
    assert caught.value.where.endswith(MANIFEST)


def test_a_manifest_that_is_no_json_is_refused(folder: Path, tmp_path: Path) -> None:
    a_copy(folder, tmp_path)
    (tmp_path / MANIFEST).write_text("{")

    with pytest.raises(ModelError):
        load(tmp_path)


def test_the_manifest_says_on_whom_and_how_it_was_trained(folder: Path) -> None:
    manifest = load(folder).manifest

    assert manifest.training.label == "simulated patients"
    assert (manifest.training.n, manifest.training.seed) == (500, 1)
    assert manifest.training.data == "made patients"
    assert manifest.metrics == {"mae_mg_per_week": 4.2}
    assert Recipe.model_validate_json(json.dumps(manifest.recipe)).parts == PARTS
    assert {"posologist", "lightgbm", "torch", "onnx"} <= set(manifest.versions)
    assert Manifest.model_validate_json(manifest.model_dump_json(by_alias=True)) == manifest


def test_serving_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys, pathlib; from posologist.learn.artefact import load; import posologist.learn.general;"
        "early = [m for m in sys.modules if m.startswith('onnxruntime')];"
        f"served = load(pathlib.Path({str(folder)!r}));"
        "heavy = ('sklearn', 'lightgbm', 'shap', 'torch', 'pandas', 'onnx', 'scipy');"
        "print(early, [m for m in heavy if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[] []"


def test_the_same_rows_give_the_same_model() -> None:
    frame, dose, _ = made_rows(200, 3)
    recipe = Recipe(parts=(Linear(), Trees(trees=5), SMALL_NET, Kernel(landmarks=20)), link="sqrt", folds=2)

    one, two = (fit_engine(frame, dose, kind="regression", group=np.arange(200), recipe=recipe, seed=4) for _ in "ab")

    assert one.served.manifest == two.served.manifest


def test_folds_never_part_a_patient_and_are_of_like_size_and_outcome() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 300, 1000)
    group = np.unique(group, return_inverse=True)[1].astype(np.int64)
    outcome = rng.normal(size=1000)

    fold = folds_of(group, outcome, 5, seed=0)

    assert all(len(set(fold[group == person])) == 1 for person in range(group.max() + 1))
    assert np.bincount(fold).min() > 130
    assert max(abs(outcome[fold == k].mean()) for k in range(5)) < 0.15


def test_crossed_margins_do_not_know_their_own_outcome() -> None:
    frame, _, _ = made_rows(300, 6)
    noise = np.random.default_rng(0).uniform(1, 9, 300)
    recipe = Recipe(parts=(Trees(trees=200, min_leaf=1, leaves=30),), link="identity")

    engine = fit_engine(frame, noise, kind="regression", group=np.arange(300), recipe=recipe, seed=0)

    assert abs(np.corrcoef(engine.crossed, noise)[0, 1]) < 0.2
    assert (
        np.corrcoef(engine.served.margin(frame.values), noise)[0, 1] > 0.6
    )  # the trees could have learned it by heart


def test_the_weights_behind_a_patient_s_crossed_margin_do_not_know_its_fold() -> None:
    rng = np.random.default_rng(0)
    crossed, outcome, fold = rng.normal(size=(60, 2)), rng.normal(size=60), np.arange(60) % 3
    recipe = Recipe(parts=(Linear(), Trees()), link="identity", folds=3)
    task = Task(outcome, np.arange(60), np.ones(60), (), {}, yes_no=False, seed=0)
    changed = replace(task, outcome=np.where(fold == 1, outcome * 100.0, outcome))

    _, before = blended(crossed, task, recipe, fold)
    _, after = blended(crossed, changed, recipe, fold)

    np.testing.assert_array_equal(before[fold == 1], after[fold == 1])
    assert np.abs(before[fold == 0] - after[fold == 0]).max() > 0.1


def test_intervals_hold_new_patients_of_every_group() -> None:
    frame, dose, _ = made_rows(6000, 7)

    answers = a_dose_engine().predict(frame)

    inside = (answers.low <= dose) & (dose <= answers.high)
    assert np.mean(inside) > 0.88
    for state in (0.0, 1.0, 2.0):  # over training samples of 500 a group's coverage has mean 0.91, SD 0.03
        assert np.mean(inside[frame.column("gene") == state]) > 0.82


def test_quantiles_learned_by_heart_do_not_make_an_interval_too_narrow() -> None:
    frame, dose, _ = made_rows(500, 12)
    later, outcome, _ = made_rows(4000, 13)
    heart = Trees(trees=150, min_leaf=2, leaves=20)
    recipe = Recipe(parts=(Linear(),), link="sqrt", interval=Interval(method="quantile", part=heart))

    answers = fit_engine(frame, dose, kind="regression", group=np.arange(500), recipe=recipe, seed=0).predict(later)

    assert np.mean((answers.low <= outcome) & (outcome <= answers.high)) > 0.87


def test_the_blend_is_better_than_the_mean_and_near_the_noise() -> None:
    frame, dose, _ = made_rows(3000, 8)

    error = np.mean(np.abs(a_dose_engine().predict(frame).value - dose))

    assert error < 0.65 * np.mean(np.abs(dose - np.median(dose)))


def test_a_risk_is_calibrated_with_an_interval_around_it() -> None:
    frame, _, yes = made_rows(6000, 9)

    answers = a_risk_engine().predict(frame)

    assert abs(np.mean(answers.value) - np.mean(yes)) < 0.05
    assert np.all((answers.low <= answers.value) & (answers.value <= answers.high))
    assert np.all((answers.low >= 0) & (answers.high <= 1))
    assert 0.08 < np.mean(answers.high - answers.value) < 0.3
    assert 0.08 < np.mean(answers.value - answers.low) < 0.3
    top = answers.value > np.quantile(answers.value, 0.8)
    assert np.mean(answers.low[top]) < np.mean(yes[top]) < np.mean(answers.high[top])


def test_a_patient_outside_the_training_population_gets_no_estimate() -> None:
    ledger = Ledger()
    rows = [a_row(ledger, age=0.5, weight=70.0, crp=2.0, smoker=False, gene="normal"), *five_rows(ledger)]

    strange, *others = a_dose_engine().served.predict(rows, ledger=ledger)

    assert strange.abstained
    assert strange.contributions is None
    assert strange.coverage.far[0].text == "age 0.5 years"
    assert not any(other.abstained for other in others)


def test_a_remark_on_the_input_reaches_the_prediction() -> None:
    ledger = Ledger()
    prediction = a_dose_engine().served.predict([a_row(ledger, age=61.0, weight=700.0)], ledger=ledger)[0]

    assert [remark.text for remark in prediction.remarks] == ["weight 700 kg is not plausible (20 to 250): not used"]


def test_what_is_not_known_is_said_even_where_no_mask_tells_the_model() -> None:
    ledger = Ledger()
    prediction = a_dose_engine().served.predict(
        [a_row(ledger, weight=70.0, gene="slow", smoker=True, crp=3.0)], ledger=ledger
    )[0]

    assert [remark.text.split(":")[0] for remark in prediction.assumed] == ["age not known"]
    assert {e.kind for e in ledger.reachable(prediction.assumed[0].because).values()} == {"assumption", "model"}


def test_a_prediction_rests_on_the_patient_and_on_the_model() -> None:
    ledger = Ledger()
    prediction = a_dose_engine().served.predict(five_rows(ledger)[:1], ledger=ledger)[0]

    kinds = {e.kind for e in ledger.reachable(prediction.because).values()}

    assert kinds == {"derived", "model", "patient"}


def test_rows_of_another_schema_are_refused() -> None:
    other = SCHEMA.model_copy(update={"version": "2"})
    frame, _, _ = made_rows(5, 0)

    row = replace(five_rows(Ledger())[0], schema=other)

    with pytest.raises(ModelError, match="another schema"):
        a_dose_engine().predict(Frame(other, frame.values))
    with pytest.raises(ModelError, match="another schema"):
        a_dose_engine().served.predict([row], ledger=Ledger())


@pytest.mark.parametrize(
    ("link", "kind", "target", "message"),
    [
        ("log", "regression", np.zeros(40), "no log"),
        ("sqrt", "regression", -np.ones(40), "no sqrt"),
        ("logit", "regression", np.ones(40), "not of regression"),
        ("logit", "classification", np.full(40, 2.0), "both 0 and 1"),
        ("identity", "regression", np.full(40, math.nan), "not known"),
    ],
)
def test_an_outcome_that_does_not_fit_is_refused(link: str, kind: str, target: np.ndarray, message: str) -> None:
    frame, _, _ = made_rows(40, 0)
    recipe = Recipe(parts=(Linear(),), link=link)  # type: ignore[arg-type]

    with pytest.raises(InputError, match=message):
        fit_engine(frame, target, kind=kind, group=np.arange(40), recipe=recipe, seed=0)  # type: ignore[arg-type]


def test_the_bounds_of_an_outcome_hold_for_the_value_its_interval_and_its_parts() -> None:
    engine = a_dose_engine()
    held = engine.served.manifest.model_copy(update={"bounds": (None, 20.0)})
    served, ledger = Served(held, engine.model.graph()), Ledger()

    for prediction in served.predict(five_rows(ledger), ledger=ledger):
        assert prediction.estimate is not None
        assert prediction.contributions is not None
        assert prediction.estimate.high <= 20.0
        assert prediction.contributions.output == pytest.approx(prediction.estimate.value, rel=1e-5)


def test_a_prediction_holds_no_bare_number() -> None:
    assert schema_faults(Prediction) == []


def test_a_yes_no_outcome_with_a_single_yes_is_refused() -> None:
    frame, _, _ = made_rows(60, 0)
    once = np.zeros(60)
    once[7] = 1.0

    with pytest.raises(InputError, match="too rare"):
        fit_engine(
            frame, once, kind="classification", group=np.arange(60), recipe=Recipe(parts=(Linear(),), link="logit"),
            seed=0,
        )  # fmt: skip


def test_an_answer_does_not_depend_on_who_is_asked_beside() -> None:
    ledger = Ledger()
    rows, served = five_rows(ledger), a_dose_engine().served

    together = served.predict(rows, ledger=ledger)

    for row, prediction in zip(rows, together, strict=True):
        alone = served.predict([row], ledger=ledger)[0]
        assert alone.estimate == prediction.estimate
        assert alone.coverage == prediction.coverage


@pytest.mark.parametrize("shape", ["nothing is known", "constant", "never known", "few"])
def test_a_model_is_fitted_to_poor_tables_too(shape: str) -> None:
    frame, dose, _ = made_rows(25 if shape == "few" else 80, 4)
    values = frame.values.copy()
    if shape == "nothing is known":
        values[:] = np.nan
    elif shape == "constant":
        values[:, 0] = 50.0
    elif shape == "never known":
        values[:, [2, 4]] = np.nan
    recipe = Recipe(parts=PARTS, link="sqrt", folds=2)

    engine = fit_engine(
        Frame(SCHEMA, values), dose, kind="regression", group=np.arange(len(dose)), recipe=recipe, seed=0
    )

    assert np.all(np.isfinite(engine.predict(Frame(SCHEMA, values)).high))
    check_agreement(engine.served, engine.model, frame, where="test")


def test_a_graph_with_other_outputs_than_the_manifest_names_is_refused() -> None:
    engine = a_dose_engine()
    manifest = engine.served.manifest.model_copy(update={"extra_outputs": ()})

    with pytest.raises(ModelError, match="the manifest names"):
        Served(manifest, engine.model.graph())
