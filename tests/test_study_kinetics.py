"""`evaluate kinetics`: metrics by hand, patients simulated from the model itself, real data."""

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from posologist.core.errors import InputError
from posologist.core.genotype import Versions
from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.serve.cli import main
from posologist.study.bootstrap import errors, interval, means, resamples, spread
from posologist.study.datasets import DATASETS, event_tables
from posologist.study.kinetics import PRIOR, PRIOR_LATER, evaluate_kinetics, predicted_levels
from posologist.study.predictive import covered, npde, predictive_check
from posologist.twin.events import EventTable, Record, parse_events
from posologist.twin.individual import individual
from posologist.twin.linear import predict
from posologist.twin.posterior import prior_draws
from shared import shared_data

_VERSIONS = Versions(posologist="test", knowledge="")


def _model(name):
    return load_model(MODELS_FOLDER / f"{name}.toml")


def _tables(data, model):
    text = shared_data("pk", "datasets", data).read_text(encoding="utf-8-sig")
    return event_tables(text, source=data, model=model)[0]


@cache
def _evaluated(model, data, patients=None):
    held = _model(model)
    return evaluate_kinetics(held, _tables(data, held)[:patients], versions=_VERSIONS, draws=400, n_resamples=400)


def _metrics(document, method):
    (row,) = [row for row in document.rows if row.method == method]
    return {name: found.value for name, found in row.metrics.items()}


def test_metrics_are_those_computed_by_hand() -> None:
    # percent errors: +10, -25, +20 (patient 0), +100 (patient 1)
    parts = errors(np.array([11.0, 7.5, 24.0, 4.0]), np.array([10.0, 10.0, 20.0, 2.0]))
    found = means(parts, np.array([0, 0, 0, 1]), np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))

    assert found["mpe_percent"] == pytest.approx([105 / 4, 5 / 3, 100])
    assert found["mape_percent"] == pytest.approx([155 / 4, 55 / 3, 100])
    assert found["rmse"] == pytest.approx([np.sqrt(27.25 / 4), np.sqrt(23.25 / 3), 2.0])
    assert found["f20_percent"] == pytest.approx([50, 200 / 3, 0])
    assert found["f30_percent"] == pytest.approx([75, 100, 0])


def test_intervals_resample_patients_not_levels() -> None:
    counts = resamples(4, 3000, np.random.default_rng(1))
    patient = np.repeat(np.arange(4), 25)  # 25 equal values in each patient
    found = interval(means({"x": np.repeat([1.0, 2.0, 3.0, 4.0], 25)}, patient, counts)["x"])

    assert (counts.sum(axis=1) == 4).all()
    assert found.value == pytest.approx(2.5)
    # the mean of four drawn from 1..4 has the SD sqrt(1.25 / 4) = 0.56, whatever the number of levels
    assert 2.5 - found.low == pytest.approx(1.96 * 0.559, abs=0.2)
    assert found.high - 2.5 == pytest.approx(1.96 * 0.559, abs=0.2)


def test_spread_is_the_standard_deviation() -> None:
    found = spread(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]), np.array([[1.0, 1.0]]))

    assert found == pytest.approx([np.sqrt(8 / 3)])


def test_coverage_and_npde_of_known_distributions() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.multivariate_normal([10.0, 20.0], [[4.0, 3.0], [3.0, 9.0]], size=20_000)
    scores = npde(drawn, np.array([12.0, 20.0 + 0.75 * 2.0]))

    # the first is one SD up; given it, 21.5 is what the second is expected to be
    assert scores == pytest.approx([1.0, 0.0], abs=0.03)
    edge = NormalDist(10.0, 2.0).inv_cdf(0.95)
    assert list(covered(drawn, np.array([edge - 0.1, 20.0]))) == [True, True]
    assert list(covered(drawn, np.array([edge + 0.1, 31.0]))) == [False, False]


def test_the_predictive_check_corrects_for_the_prediction() -> None:
    # doses of 1 and 10: uncorrected levels would spread tenfold, corrected they are one value
    times, typical = np.array([1.0, 1.0, 1.0]), np.array([1.0, 10.0, 10.0])
    (only,) = predictive_check(times, 2.0 * typical, typical, np.tile(typical, (50, 1)))

    assert only.observed == pytest.approx((20.0, 20.0, 20.0))
    assert only.simulated == pytest.approx((10.0, 10.0, 10.0))
    assert (only.levels, only.start, only.end) == (3, 1.0, 1.0)


_SIMULATED = 250


@cache
def _simulated_patients():
    model, rng = _model("vancomycin_thomson2009"), np.random.default_rng(7)
    body = model.reference
    doses = [Record(12.0 * n, evid=1, amt=1500, rate=1000, mdv=1, covariates=body) for n in range(4)]
    asked = [Record(t, mdv=1, covariates=body) for t in (2.0, 11.5, 26.0, 35.5, 47.5)]
    records = tuple(sorted([*doses, *asked], key=lambda r: r.time))
    error = model.residual[0]
    tables = []
    for n, eta in enumerate(prior_draws(model, _SIMULATED, rng)):
        parameters = individual(model, model.typical(body), eta)
        exact = predict(model, [parameters] * len(records), EventTable(str(n), records))[0]
        sd = {
            "combined-sd": error.additive + error.proportional * exact,
            "combined-variance": np.hypot(error.additive, error.proportional * exact),
        }[error.form]
        levels = exact + sd * rng.standard_normal(exact.shape)
        filled = (r if r.evid else replace(r, dv=float(y), mdv=0) for r, y in zip(records, levels, strict=True))
        tables.append(EventTable(str(n), tuple(filled)))
    return model, tuple(tables)


@cache
def _on_simulated():
    model, tables = _simulated_patients()
    return evaluate_kinetics(model, tables, versions=_VERSIONS, label="simulated patients", n_resamples=500)


def test_on_patients_of_the_model_itself_levels_help_and_intervals_cover() -> None:
    document = _on_simulated()
    before, later, after = (_metrics(document, row.method) for row in document.rows)

    assert document.test.n == _SIMULATED
    assert after["mape_percent"] < later["mape_percent"]
    assert after["f20_percent"] > later["f20_percent"]
    assert 85 <= before["coverage_90_percent"] <= 95
    assert before["npde_mean"] == pytest.approx(0, abs=0.1)
    assert before["npde_sd"] == pytest.approx(1, abs=0.1)
    difference = next(p for p in document.paired if p.metric == "mape_percent").difference
    assert difference.high < 0
    assert difference.value == pytest.approx(after["mape_percent"] - later["mape_percent"])


def test_the_predictive_check_of_the_model_itself_holds() -> None:
    check = _on_simulated().check
    inside = [low <= seen <= high for b in check for low, seen, high in zip(b.low, b.observed, b.high, strict=True)]

    assert len(inside) == 15
    assert sum(inside) >= 12


def test_a_wrong_model_is_found_out() -> None:
    model, tables = _simulated_patients()
    doubled = tuple(
        EventTable(t.subject, tuple(r if r.evid or r.dv is None else replace(r, dv=2 * r.dv) for r in t.records))
        for t in tables
    )
    metrics = _metrics(evaluate_kinetics(model, doubled, versions=_VERSIONS, n_resamples=100), PRIOR)

    assert metrics["coverage_90_percent"] < 70
    assert metrics["npde_mean"] > 0.5
    assert metrics["mpe_percent"] < -25


def test_a_level_is_predicted_from_those_before_it_only() -> None:
    model, tables = _simulated_patients()
    table = tables[0]
    before = predicted_levels(model, [table], seed=0, draws=50).posterior
    last = table.records[-1]
    changed = EventTable(table.subject, (*table.records[:-1], replace(last, dv=10 * last.dv)))
    after = predicted_levels(model, [changed], seed=0, draws=50).posterior

    assert np.isnan(before[0])
    assert after[1:] == pytest.approx(before[1:], rel=1e-12)
    earlier = replace(table.records[1], dv=3 * table.records[1].dv)
    moved = EventTable(table.subject, (table.records[0], earlier, *table.records[2:]))
    assert abs(predicted_levels(model, [moved], seed=0, draws=50).posterior[1] / before[1] - 1) > 0.05


def test_the_same_seed_gives_the_same_document() -> None:
    model, tables = _simulated_patients()
    first, again, other = (
        evaluate_kinetics(model, tables[:20], versions=_VERSIONS, seed=seed, n_resamples=50) for seed in (3, 3, 4)
    )

    assert first == again
    assert first.rows != other.rows


@pytest.mark.parametrize(
    ("model", "data", "patients"),
    [
        ("theophylline_rovei1982", "theophylline_oral_12.csv", None),
        ("phenobarbital_grasela1985", "phenobarbital_neonates_59.csv", None),
        ("phenobarbital_voeller2017", "phenobarbital_neonates_59.csv", None),
        ("quinidine_fattinger1991", "quinidine_136.csv", 40),
    ],
)
def test_on_real_patients_the_next_level_is_predicted_better_after_levels(model, data, patients) -> None:
    document = _evaluated(model, data, patients)
    later, after = _metrics(document, PRIOR_LATER), _metrics(document, "a posteriori")

    assert after["mape_percent"] < later["mape_percent"]
    assert after["rmse"] < later["rmse"]
    assert not [finding for finding in document.findings if "no estimate" in finding]


def test_the_printed_table_is_what_is_computed() -> None:
    held = _model("theophylline_rovei1982")
    document = evaluate_kinetics(held, _tables("theophylline_oral_12.csv", held), versions=_VERSIONS)
    printed = (Path(__file__).parents[1] / "docs" / "kinetics-validation.md").read_text(encoding="utf-8")
    at = printed.index("| theophylline_rovei1982,")

    for row, line in zip(document.rows, printed[at:].splitlines(), strict=False):
        found = row.metrics["mape_percent"]
        assert f"| {row.method} | {row.n} | {row.levels} |" in line
        assert f"| {found.value:.1f} ({found.low:.1f} to {found.high:.1f}) |" in line


def test_what_cannot_be_judged_is_counted() -> None:
    document = _evaluated("theophylline_rovei1982", "theophylline_oral_12.csv")

    assert document.test.levels == 120  # 132 rows, 12 of them at 0 h
    assert any(finding.startswith("9 not judged, the level is not positive") for finding in document.findings)
    assert any(finding.startswith("3 not judged, the model predicts no drug") for finding in document.findings)


_EXPECTED = {  # subjects, doses, levels as counted in the files
    "theophylline_oral_12.csv": (12, 12, 132),
    "indometacin_iv_6.csv": (6, 6, 66),
    "cefamandole_iv_6.csv": (6, 6, 84),
    "phenobarbital_neonates_59.csv": (59, 589, 155),
    "quinidine_136.csv": (136, None, 361),
    "warfarin_pkpd_32.csv": (32, 32, 251),
    "mavoglurant_oral_iv.csv": (120, 198, 2480),
    "nimotuzumab_iv.csv": (12, 120, 321),
}


@pytest.mark.parametrize("data", _EXPECTED)
def test_every_data_set_becomes_event_tables(data) -> None:
    text = shared_data("pk", "datasets", data).read_text(encoding="utf-8-sig")
    header = tuple(name.strip('"') for name in text.splitlines()[0].split(","))
    (known,) = [d for d in DATASETS if d.header == header]
    model = _model("theophylline_rovei1982").model_copy(update={"drug": known.drug, "concentration_unit": known.unit})
    tables, notes = event_tables(text, source=data, model=model)
    subjects, doses, levels = _EXPECTED[data]

    assert len(tables) == subjects
    assert notes
    records = [record for table in tables for record in table.records]
    if doses is not None:
        assert sum(record.is_dose for record in records) == doses
    if levels is not None:
        assert sum(record.is_level for record in records) == levels


def test_units_and_steady_state_of_the_data_sets() -> None:
    model = _model("quinidine_fattinger1991")
    tables = {table.subject: table.records for table in _tables("quinidine_136.csv", model)}
    first = _tables("theophylline_oral_12.csv", _model("theophylline_rovei1982"))[0].records[0]

    assert (tables["6"][0].ss, tables["6"][0].ii, tables["6"][0].amt) == (1, 6.0, 166.0)
    assert tables["1"][0].ss == 0
    assert first.amt == pytest.approx(4.02 * 79.6)


def test_another_drug_or_a_missing_covariate_is_refused() -> None:
    with pytest.raises(InputError, match="the drug is theophylline"):
        _tables("theophylline_oral_12.csv", _model("vancomycin_goti2018"))
    bare = parse_events("ID,TIME,AMT,DV\na,0,100,.\na,4,.,3\n")
    with pytest.raises(InputError, match="needs weight"):
        evaluate_kinetics(_model("theophylline_rovei1982"), bare, versions=_VERSIONS)
    empty = parse_events("ID,TIME,AMT,DV,weight\na,0,100,.,70\na,4,.,0,70\n")
    with pytest.raises(InputError, match="no level can be judged"):
        evaluate_kinetics(_model("theophylline_rovei1982"), empty, versions=_VERSIONS)
    with pytest.raises(InputError, match="is not complete"):
        evaluate_kinetics(_model("warfarin_hamberg2010"), bare, versions=_VERSIONS)


def test_one_level_in_each_patient_gives_no_posterior_row() -> None:
    bare = parse_events("ID,TIME,AMT,DV,weight\na,0,320,.,70\na,4,.,6,70\nb,0,320,.,70\nb,4,.,7,70\n")
    document = evaluate_kinetics(_model("theophylline_rovei1982"), bare, versions=_VERSIONS, n_resamples=50)

    assert [row.method for row in document.rows] == [PRIOR]
    assert document.paired == ()


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `posologist` with these arguments and gives its output and exit code."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["posologist", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return capsys.readouterr().out, int(stopped.value.code or 0)

    return call


def test_the_verb_prints_the_document_and_the_plot(run, tmp_path: Path) -> None:
    data = tmp_path / "levels.csv"
    data.write_text("ID,TIME,AMT,DV,weight\na,0,320,.,70\na,1,.,7,70\na,8,.,5,70\nb,0,320,.,60\nb,2,.,9,60\n")
    options = ("--model", "theophylline_rovei1982", "--data", str(data))
    printed, code = run("evaluate", "kinetics", *options, "--svg", str(tmp_path / "check.svg"), "--json")
    document = json.loads(printed)

    assert code == 0
    assert (document["schema"], document["task"], document["test"]) == (
        "posologist/evaluation/1", "kinetics", {"n": 2, "levels": 3},
    )  # fmt: skip
    for row in document["rows"]:
        for metric in ("mape_percent", "f20_percent", "f30_percent"):
            found = row["metrics"][metric]
            assert found["low"] <= found["value"] <= found["high"]
    assert (tmp_path / "check.svg").read_text().startswith("<svg")
    text, code = run("evaluate", "kinetics", *options)
    assert code == 0
    assert "a posteriori (1 patients, 1 levels)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "no-such-task"), "not in this version"),
        (("evaluate", "warfarin"), "data are needed"),
        (("evaluate", "kinetics"), "a model and data are needed"),
        (
            ("evaluate", "kinetics", "--model", "theophylline_rovei1982", "--data", "nowhere.csv"),
            "cannot read the file",
        ),
    ],
)
def test_what_is_wrong_is_said(run, arguments, message) -> None:
    printed, code = run(*arguments, "--json")

    assert code == 2
    assert message in json.loads(printed)["error"]["message"]
