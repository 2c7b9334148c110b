"""Leave one patient out: the population against exact answers and simulated truth; what is left out stays out."""

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from posologist.core.errors import InputError, KnowledgeError
from posologist.core.genotype import Versions
from posologist.knowledge.models import PkModel, load_model
from posologist.serve.cli import main
from posologist.study.datasets import event_tables
from posologist.study.kinetics import POSTERIOR, PRIOR, PRIOR_LATER, levels_predicted_by, predicted_levels
from posologist.study.leave_one_out import evaluate_left_out, population_of, populations_without
from posologist.study.predictive import covered
from posologist.twin.events import EventTable, Record
from posologist.twin.individual import individual
from posologist.twin.linear import predict
from posologist.twin.posterior import prior_draws
from shared import shared_data

_VERSIONS = Versions(posologist="test", knowledge="")
_ROOT = Path(__file__).parents[1]
_STRUCTURES = _ROOT / "examples" / "structures"
_DATA = {
    "indometacin_two_compartments": "indometacin_iv_6.csv",
    "cefamandole_two_compartments": "cefamandole_iv_6.csv",
    "warfarin_transit": "warfarin_pkpd_32.csv",
    "mavoglurant_two_compartments": "mavoglurant_oral_iv.csv",
    "nimotuzumab_one_compartment": "nimotuzumab_iv.csv",
}


def _structure(name):
    return load_model(_STRUCTURES / f"{name}.toml")


def _real(name):
    data, structure = _DATA[name], _structure(name)
    text = shared_data("pk", "datasets", data).read_text(encoding="utf-8-sig")
    return structure, event_tables(text, source=data, model=structure)[0]


def _changed(model, **changes):
    return PkModel.model_validate({name: getattr(model, name) for name in PkModel.model_fields} | changes)


def _bolus(subject, dose, times, levels):
    doses = (Record(0.0, evid=1, amt=dose, mdv=1),)
    return EventTable(subject, (*doses, *(Record(t, dv=float(y)) for t, y in zip(times, levels, strict=True))))


def _only_f(fixed=5.0):
    """One compartment; only F differs between patients, so ln(level) is linear in what is estimated."""
    begin = _structure("nimotuzumab_one_compartment")
    theta = begin.parameters[0]
    return _changed(
        begin,
        parameters=(
            theta.model_copy(update={"name": "cl_pop", "value": fixed}),
            theta.model_copy(update={"name": "v1_pop", "value": 10.0}),
            theta.model_copy(update={"name": "f_pop", "value": 0.5}),
        ),
        equations={"CL": "cl_pop", "V1": "v1_pop", "F": "f_pop"},
        random=(begin.random[0].model_copy(update={"on": "F"}),),
        omega=((0.25,),),
    )


def test_the_population_is_that_of_the_analysis_of_variance() -> None:
    # ln y = ln(dose f / V) - CL/V t + eta_i + eps is a one-way layout; with equal numbers of levels the restricted
    # maximum likelihood is in closed form: sigma^2 = MSW, omega = (MSB - MSW) / n
    rng = np.random.default_rng(1)
    m, times = 7, np.array([1.0, 2.0, 3.0, 5.0])
    logs = rng.normal(0.0, 0.4, (m, 1)) + rng.normal(0.0, 0.15, (m, 4))
    typical = 100.0 * 0.5 / 10.0 * np.exp(-0.5 * times)
    tables = [_bolus(str(i), 100.0, times, typical * np.exp(own)) for i, own in enumerate(logs)]
    within = ((logs - logs.mean(axis=1, keepdims=True)) ** 2).sum() / (m * 3)
    between = 4 * logs.mean(axis=1).var(ddof=1)
    found = population_of(_only_f(), tables)

    assert found.converged
    assert found.patients == m
    assert found.model.typical({})["F"] == pytest.approx(0.5 * np.exp(logs.mean()), rel=1e-4)
    assert found.model.residual[0].proportional ** 2 == pytest.approx(within, rel=1e-3)
    assert found.model.omega[0][0] == pytest.approx((between - within) / 4, rel=1e-3)
    assert found.for_another.omega[0][0] == pytest.approx(found.model.omega[0][0] * (1 + 1 / m))


def test_coverage_and_npde_are_those_of_the_exact_distribution() -> None:
    # one level in each patient: ln y is normal around ln f with the variance omega + sigma^2
    model = _changed(_only_f(), missing=(), omega=((0.16,),))
    rng = np.random.default_rng(5)
    levels = 100.0 * 0.5 / 10.0 * np.exp(-0.5 * 2.0) * np.exp(rng.normal(0.0, 0.6, 60))
    tables = [_bolus(str(n), 100.0, (2.0,), (level,)) for n, level in enumerate(levels)]
    found = predicted_levels(model, tables, seed=0, draws=20_000)
    z = np.log(levels / (5.0 * np.exp(-1.0))) / np.sqrt(0.16 + model.residual[0].proportional ** 2)
    near = np.abs(np.abs(z) - 1.645) < 0.03  # so near the edge that the draws decide
    inner = np.abs(z) < 2.5  # further out too few draws lie to count

    assert found.npde[inner] == pytest.approx(z[inner], abs=0.1)
    assert (np.sign(found.npde) == np.sign(z))[~inner].all()
    assert (covered(found.simulated, found.observed) == (np.abs(z) < 1.645))[~near].all()
    assert 0 < (np.abs(z) > 1.645).sum() < 60


@cache
def _truth():
    """Patients drawn from a known population, two compartments."""
    begin = _structure("indometacin_two_compartments")
    true = _changed(
        begin,
        missing=(),
        omega=tuple(tuple(v * (i == j) for j in range(4)) for i, v in enumerate((0.09, 0.04, 0.06, 0.1))),
    )
    rng = np.random.default_rng(3)
    times = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
    tables = []
    for n, eta in enumerate(prior_draws(true, 120, rng)):
        empty = EventTable(str(n), (Record(0.0, evid=1, amt=50.0, mdv=1), *(Record(t, mdv=1) for t in times)))
        own = individual(true, true.typical({}), eta)
        exact = predict(true, [own] * len(empty.records), empty)[0, 1:]
        tables.append(_bolus(str(n), 50.0, times, exact * np.exp(rng.normal(0.0, 0.1, len(times)))))
    return true, tuple(tables)


def test_the_population_that_patients_were_drawn_from_is_found() -> None:
    true, tables = _truth()
    found = population_of(_structure("indometacin_two_compartments"), tables)

    for name, value in true.typical({}).items():
        assert found.model.typical({})[name] == pytest.approx(value, rel=0.1)
    assert np.diag(found.model.omega) == pytest.approx(np.diag(true.omega), rel=0.35)
    assert found.model.residual[0].proportional == pytest.approx(0.1, rel=0.05)


def test_where_the_search_begins_does_not_matter() -> None:
    structure, tables = _real("indometacin_two_compartments")
    first = population_of(structure, tables)
    elsewhere = tuple(theta.model_copy(update={"value": 2.5 * theta.value}) for theta in structure.parameters)
    wider = tuple(tuple(3.0 * value for value in row) for row in structure.omega)
    again = population_of(_changed(structure, parameters=elsewhere, omega=wider), tables)

    assert first.converged
    assert again.converged
    assert list(again.model.typical({}).values()) == pytest.approx(list(first.model.typical({}).values()), rel=5e-3)
    assert np.sqrt(np.diag(again.model.omega)) == pytest.approx(np.sqrt(np.diag(first.model.omega)), abs=5e-3)


@cache
def _indometacin():
    """Structure, patients, and each patient as predicted by the others."""
    structure, tables = _real("indometacin_two_compartments")
    return structure, tables, _each_left_out(structure, tables)


def test_the_levels_of_a_patient_do_not_change_how_that_patient_is_predicted_before_them() -> None:
    structure, tables, before = _indometacin()
    changed = tuple(
        replace(r, dv=(5.0 + n) * r.dv) if r.dv is not None and r.evid == 0 else r
        for n, r in enumerate(tables[2].records)
    )
    others = (*tables[:2], EventTable(tables[2].subject, changed), *tables[3:])
    after = _each_left_out(structure, others)

    assert (after[2].prior == before[2].prior).all()  # to the last bit
    assert (after[2].simulated == before[2].simulated).all()
    assert (after[2].observed != before[2].observed).all()
    for n in (0, 1, 3, 4, 5):  # they did learn from the patient
        assert (np.abs(after[n].prior / before[n].prior - 1.0) > 0.01).any()


def _each_left_out(structure, tables):
    populations = populations_without(structure, tables)
    pairs = zip(populations, tables, strict=True)
    return [levels_predicted_by([(population.for_another, table)], seed=0, draws=20) for population, table in pairs]


def test_the_document_is_what_the_populations_of_the_others_predict() -> None:
    structure, tables, parts = _indometacin()
    document = evaluate_left_out(structure, tables, versions=_VERSIONS, draws=50, n_resamples=50)
    percent = np.concatenate([100.0 * (p.prior - p.observed) / p.observed for p in parts])
    (row,) = [row for row in document.rows if row.method == PRIOR]

    assert document.split == "leave one patient out"
    assert (document.train.n, document.test.n, document.test.levels) == (5, 6, 66)
    assert row.metrics["mpe_percent"].value == pytest.approx(percent.mean())
    assert row.metrics["mape_percent"].value == pytest.approx(np.abs(percent).mean())
    assert any("no external check" in finding for finding in document.findings)


def _first(name, patients):
    structure, tables = _real(name)
    return evaluate_left_out(structure, tables[:patients], versions=_VERSIONS, draws=100, n_resamples=100)


@pytest.mark.parametrize(
    ("name", "patients"),
    [
        ("indometacin_two_compartments", None),
        ("cefamandole_two_compartments", None),
        ("warfarin_transit", 4),
        ("mavoglurant_two_compartments", 10),
        ("nimotuzumab_one_compartment", None),
    ],
)
def test_on_real_patients_the_next_level_is_predicted_better_after_levels(name, patients) -> None:
    document = _first(name, patients)
    found = {row.method: {k: v.value for k, v in row.metrics.items()} for row in document.rows}

    assert found[POSTERIOR]["mape_percent"] < found[PRIOR_LATER]["mape_percent"]
    assert found[POSTERIOR]["rmse"] < found[PRIOR_LATER]["rmse"]
    assert not [finding for finding in document.findings if "no estimate" in finding or "not settled" in finding]


def test_several_patients_can_be_left_out_at_a_time() -> None:
    structure, tables = _real("indometacin_two_compartments")
    twos = populations_without(structure, tables, at_once=2)
    without_0_and_3 = population_of(structure, [tables[n] for n in (1, 2, 4, 5)])

    assert [population.patients for population in twos] == [4] * 6
    assert twos[0] == twos[3] == without_0_and_3
    assert twos[1] == twos[4] != twos[0]


def test_levels_of_nimotuzumab_are_read_as_logarithms() -> None:
    _, tables = _real("nimotuzumab_one_compartment")
    first = next(r for r in tables[0].records if r.dv is not None and r.evid == 0)

    assert first.dv == pytest.approx(62.1, abs=0.1)  # exp(4.1288) mg/L
    assert tables[0].records[0].rate == pytest.approx(39.06)
    assert min(r.dv for table in tables for r in table.records if r.evid == 0) > 0  # one is written as -0.23


def test_a_structure_is_no_model_to_dose_with() -> None:
    for path in sorted(_STRUCTURES.glob("*.toml")):
        assert not load_model(path).complete

    assert {path.stem for path in _STRUCTURES.glob("*.toml")} == set(_DATA)


def test_what_no_population_can_be_estimated_for_is_refused() -> None:
    structure = _structure("nimotuzumab_one_compartment")
    tables = [_bolus(str(i), 100.0, (1.0, 5.0), (40.0, 30.0)) for i in range(3)]

    with pytest.raises(InputError, match="2 patients are too few"):
        population_of(structure, tables[:2])
    normal = tuple(effect.model_copy(update={"kind": "normal"}) for effect in structure.random)
    with pytest.raises(InputError, match="not log-normal"):
        population_of(_changed(structure, random=normal), tables)
    both = (*structure.residual, structure.residual[0].model_copy(update={"output": "metabolite"}))
    with pytest.raises(InputError, match="several outputs"):
        population_of(_changed(structure, residual=both), tables)
    with pytest.raises(KnowledgeError, match="never used"):
        population_of(
            _changed(structure, equations={"CL": "cl_pop"}, random=structure.random[:1], omega=((0.2,),)), tables
        )


def test_levels_that_are_not_positive_are_not_learned_from() -> None:
    structure, tables = _real("indometacin_two_compartments")
    zero = Record(9.0, dv=0.0)
    with_zero = [EventTable(t.subject, (*t.records, zero)) for t in tables]

    assert population_of(structure, with_zero) == population_of(structure, tables)


def test_a_level_of_zero_is_counted_where_the_error_is_logarithmic() -> None:
    model = _changed(_only_f(), missing=())
    tables = [_bolus("a", 100.0, (1.0, 2.0, 3.0), (4.0, 2.5, 0.0))]
    found = predicted_levels(model, tables, seed=0, draws=50)

    assert list(found.time) == [1.0, 2.0]
    assert found.findings == ("1 not judged, the level is not positive: subject a at 3 h",)


def test_the_printed_table_is_what_is_computed() -> None:
    structure, tables, _ = _indometacin()
    document = evaluate_left_out(structure, tables, versions=_VERSIONS, draws=50)
    printed = (_ROOT / "docs" / "kinetics-validation.md").read_text(encoding="utf-8")
    at = printed.index("| indometacin_two_compartments, left out,")

    for row, line in zip(document.rows, printed[at:].splitlines(), strict=False):
        found = row.metrics["mape_percent"]
        assert f"| {row.method} | {row.n} | {row.levels} |" in line
        assert f"| {found.value:.1f} ({found.low:.1f} to {found.high:.1f}) |" in line


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `posologist` with these arguments and gives its output and exit code."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["posologist", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return capsys.readouterr().out, int(stopped.value.code or 0)

    return call


def test_the_verb_says_that_the_population_is_of_the_same_study(run, tmp_path: Path) -> None:
    rows = ["ID,TIME,AMT,DV"]
    for subject, levels in (("a", (41, 36, 21)), ("b", (52, 37, 30)), ("c", (60, 49, 29)), ("d", (47, 44, 22))):
        rows += [f"{subject},0,100,.", *(f"{subject},{t},.,{y}" for t, y in zip((2, 24, 72), levels, strict=True))]
    data = tmp_path / "levels.csv"
    data.write_text("\n".join(rows) + "\n")
    options = ("--model", str(_STRUCTURES / "nimotuzumab_one_compartment.toml"), "--data", str(data))
    printed, code = run("evaluate", "kinetics", *options, "--leave-one-out", "--json")
    document = json.loads(printed)
    text, _ = run("evaluate", "kinetics", *options, "--leave-one-out")
    refused, wrong = run("evaluate", "kinetics", *options, "--json")
    alone, _ = run("evaluate", "kinetics", *options, "--at-once", "2", "--json")

    assert code == 0
    assert (document["split"], document["train"]["n"], document["test"]["n"]) == ("leave one patient out", 3, 4)
    assert "each is predicted by a population of 3 others" in text
    assert wrong == 2
    assert "is not complete" in json.loads(refused)["error"]["message"]
    assert "nobody is left out" in json.loads(alone)["error"]["message"]
