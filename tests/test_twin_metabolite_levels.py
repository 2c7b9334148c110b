"""Metabolites in a model file: what is refused, and levels of parent and metabolite in fits and simulations."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from patients import a_patient
from posologist.core.errors import KnowledgeError
from posologist.core.genotype import Versions
from posologist.core.patient import Source
from posologist.core.settings import Settings
from posologist.knowledge.load import load_knowledge
from posologist.knowledge.models import MODELS_FOLDER, load_model
from posologist.recommend.dose_by_model import Given, dose_by_models
from posologist.records.table import EventRow, LevelRow
from posologist.twin.events import EventTable, Record
from posologist.twin.individual import individual, typical_values
from posologist.twin.levels import levels_at, predict_measured
from posologist.twin.map import map_estimates
from posologist.twin.modelled import fit_document, simulate_model
from posologist.twin.posterior import posterior

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "models"
VERSIONS = Versions(posologist="test", knowledge="test")


@pytest.fixture(scope="module")
def model():
    return load_model(EXAMPLES / "metabolite.toml")


DOSE = Record(0.0, 1, 200.0, ii=12.0, addl=5)
SAMPLED = tuple((t, number) for t in (0.5, 1.5, 3.0, 6.0, 11.5, 25.0, 40.0, 59.5, 66.0) for number in (1.0, 2.0))


def _table(values=None, sampled=SAMPLED):
    """Doses and levels, each with the DVID of what it measures."""
    values = [1.0] * len(sampled) if values is None else values
    rows = [Record(t, dv=v, covariates={"DVID": n}) for (t, n), v in zip(sampled, values, strict=True)]
    return EventTable("1", (DOSE, *rows))


def _true_levels(model, eta, sampled=SAMPLED):
    table = _table(sampled=sampled)
    typical = typical_values(model, table.records)
    mapping = individual(model, typical[0], np.atleast_2d(eta))
    return predict_measured(model, [mapping] * len(table.records), table)[0, list(levels_at(table))]


def _precise(model):
    return model.model_copy(
        update={
            "residual": tuple(
                row.model_copy(update={"form": "proportional", "additive": 0.0, "proportional": 1e-3})
                for row in model.residual
            )
        }
    )


ETA = np.array([0.31, -0.22, 0.27, 0.35])


def test_effects_are_found_again_from_precise_levels_of_parent_and_metabolite(model):
    table = _table(_true_levels(model, ETA))

    (result,) = map_estimates(_precise(model), [table])

    assert result.converged
    np.testing.assert_allclose(result.eta, ETA, atol=2e-3)


def test_without_metabolite_levels_its_own_effects_stay_at_the_population(model):
    sampled = tuple(row for row in SAMPLED if row[1] == 1.0)

    (result,) = map_estimates(_precise(model), [_table(_true_levels(model, ETA, sampled), sampled)])

    np.testing.assert_allclose(result.eta[:2], ETA[:2], atol=2e-3)
    np.testing.assert_allclose(result.eta[2:], 0.0, atol=1e-9)


def test_the_estimate_is_where_the_objective_is_least(model):
    """The objective of the two outputs, written out here, has no slope there."""
    rng = np.random.default_rng(3)
    true = _true_levels(model, ETA)
    observed = true * np.exp(0.1 * rng.standard_normal(true.size))
    numbers = np.array([n for _, n in SAMPLED])
    inverse = np.linalg.inv(np.array(model.omega))

    def objective(eta):
        f = _true_levels(model, eta)
        variance = np.where(numbers == 1, (0.12 * f) ** 2, 5.0**2 + (0.15 * f) ** 2)
        return float(np.sum((observed - f) ** 2 / variance + np.log(variance)) + eta @ inverse @ eta)

    (result,) = map_estimates(model, [_table(observed)])

    assert result.objective == pytest.approx(objective(result.eta), rel=1e-10)
    for step in np.eye(4) * 1e-4:
        slope = (objective(result.eta + step) - objective(result.eta - step)) / 2e-4
        assert abs(slope) < 1e-4


def test_levels_of_the_metabolite_narrow_the_posterior(model):
    sampled = tuple(row for row in SAMPLED if row[1] == 1.0)[:4]
    both = SAMPLED[:8]

    alone, more = (
        posterior(model, _table(_true_levels(model, ETA, s), s), n_draws=4000, rng=np.random.default_rng(1))
        for s in (sampled, both)
    )

    spread, narrowed = (np.sqrt(np.diag(found.covariance())) for found in (alone, more))
    assert spread[2] == pytest.approx(np.sqrt(model.omega[2][2]), rel=0.1)
    assert narrowed[2] < 0.8 * spread[2]


def test_a_level_that_does_not_say_its_output_is_refused(model):
    table = EventTable("1", (DOSE, Record(4.0, dv=1.0), Record(5.0, dv=1.0, covariates={"DVID": 1.5})))
    for records in (table.records[:2], (table.records[0], table.records[2])):
        (result,) = map_estimates(model, [EventTable("1", records)])
        assert "DVID, 1 to 2, for concentration, metabolite" in result.problem


@pytest.mark.parametrize("column", ["DVID", "dvid"])
def test_a_level_of_an_output_without_residual_error_is_not_taken_for_another(model, column):
    parent_only = model.model_copy(update={"residual": model.residual[:1]})
    rows = (DOSE, Record(4.0, dv=3.0, covariates={column: 1}), Record(5.0, dv=700.0, covariates={column: 2}))

    (both,), (own,) = (map_estimates(parent_only, [EventTable("1", part)]) for part in (rows, rows[:2]))

    assert "the level at 5 h has DVID 2" in both.problem
    assert own.converged


def test_fit_and_simulate_answer_both_outputs_in_their_units(model):
    table = _table(_true_levels(_precise(model), ETA))

    fitted = fit_document(_precise(model), [table], versions=VERSIONS).subjects["1"]
    shown = simulate_model(
        model, table, times=(6.0, 25.0), parameters=fitted.parameters, settings=Settings(), versions=VERSIONS
    )

    observed = {(r.time, r.covariates["DVID"]): r.dv for r in table.records[1:]}
    assert {name: series.unit for name, series in shown.outputs.items()} == {
        "concentration": "mg/L", "metabolite": "ug/L",
    }  # fmt: skip
    for number, series in enumerate(shown.outputs.values(), start=1):
        assert series.y == pytest.approx([observed[t, number] for t in (6.0, 25.0)], rel=2e-3)
    assert fitted.predictions == pytest.approx([r.dv for r in table.records[1:]], rel=2e-3)


def test_another_unit_of_the_metabolite_changes_only_the_numbers_shown(model, tmp_path):
    text = (EXAMPLES / "metabolite.toml").read_text(encoding="utf-8")
    molar = text.replace('metabolite_unit = "ug/L"', 'metabolite_unit = "umol/L"').replace("= 1050.0", f"= {1e3 / 300}")
    path = tmp_path / "metabolite.toml"
    path.write_text(molar, encoding="utf-8")

    mass, moles = (_true_levels(m, ETA) for m in (model, load_model(path)))

    own = np.array([n == 2 for _, n in SAMPLED])
    np.testing.assert_allclose(mass[~own], moles[~own], rtol=1e-12)
    np.testing.assert_allclose(mass[own] / 315.0, moles[own], rtol=1e-9)


MISTAKES = {
    "scale": ("metabolite_scale = 1050.0", "metabolite_scale = 1000.0", "it is 1050"),
    "no unit": ('metabolite_unit = "ug/L"\n', "", "must be stated"),
    "no molar mass of the parent": ("\nmolar_mass = 300.0", "", "molar_mass"),
    "no metabolite": ("metabolite_compartments = 1\n", "", "FM, CLM, VM is no parameter of this structure"),
    "a peripheral compartment without parameters": ("_compartments = 1", "_compartments = 2", "needs QM, VM2"),
    "a share above 1": ("value = 0.4", "value = 1.4", "share above 1"),
    "first pass by a vein": ('absorption = "first-order"', 'absorption = "none"', "no parameter of this structure"),
    "two errors": ('output = "metabolite"', 'output = "concentration"', "two residual errors"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_file_of_a_metabolite_is_told(name, tmp_path):
    old, new, message = MISTAKES[name]
    text = (EXAMPLES / "metabolite.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "metabolite.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(KnowledgeError) as caught:
        load_model(path)
    assert message in str(caught.value)


def test_a_first_pass_varies_between_0_and_1_only(tmp_path):
    path = tmp_path / "metabolite_prodrug.toml"
    text = (EXAMPLES / "metabolite_prodrug.toml").read_text(encoding="utf-8")
    path.write_text(text.replace('on = "FP", kind = "logit"', 'on = "FP"'), encoding="utf-8")

    with pytest.raises(KnowledgeError, match="kind logit"):
        load_model(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('{ form = "prop', '{ output = "metabolite", form = "prop', "does not form"),
        ("scale = 1\n", 'scale = 1\nmetabolite_unit = "mg/L"\n', "without `metabolite_compartments`"),
        ("scale = 1\n", "scale = 1\nmetabolite_molar_mass = 300.0\n", "without `metabolite_compartments`"),
    ],
)
def test_a_metabolite_that_is_not_formed_has_no_error_and_no_unit(old, new, message, tmp_path):
    path = tmp_path / "one_compartment.toml"
    text = (EXAMPLES / "one_compartment.toml").read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(KnowledgeError, match=message):
        load_model(path)


def test_levels_of_a_metabolite_of_saturable_elimination_are_fitted():
    model = load_model(EXAMPLES / "metabolite_saturable.toml")
    eta = np.array([0.25, -0.3])
    table = _table(_true_levels(model, eta, SAMPLED[:10]), SAMPLED[:10])

    (result,) = map_estimates(_precise(model), [table])

    np.testing.assert_allclose(result.eta, eta, atol=2e-3)


@pytest.fixture
def goti(tmp_path):
    """A shipped model as it is, and with a metabolite whose levels have an error."""
    text = (MODELS_FOLDER / "vancomycin_goti2018.toml").read_text(encoding="utf-8")
    with_metabolite = (
        text.replace("\n[equations]", '\n[equations]\nCLM = "2.0"\nVM = "10.0"')
        .replace("\ncompartments = 2", '\ncompartments = 2\nmetabolite_compartments = 1\nmetabolite_unit = "mg/L"')
        .replace("residual = [", 'residual = [{ output = "metabolite", form = "log", proportional = 0.3 }, ')
    )
    path = tmp_path / "vancomycin_goti2018.toml"
    path.write_text(with_metabolite, encoding="utf-8")
    return load_model(MODELS_FOLDER / "vancomycin_goti2018.toml"), load_model(path)


def _dose(model, *levels):
    who = a_patient(age=62, weight=80.0, height=178.0, creatinine=1.0)
    source, start = Source(document="made.csv", place="line 2"), datetime(2026, 11, 2, 8, tzinfo=UTC)
    given = EventRow(at=start, amount=1000.0, unit="mg", route="iv", duration_h=1.0, source=source)
    measured = tuple(
        LevelRow(at=start + timedelta(hours=hours), value=value, unit="mg/L", analyte="vancomycin", source=source)
        for hours, value in levels
    )
    told = Given(now=datetime(2026, 11, 30, tzinfo=UTC), events=(given,), levels=measured)
    return dose_by_models(
        who, "vancomycin", (model,), told, target="auc24 400-600 h.mg/L", knowledge=load_knowledge(),
        settings=Settings(as_of=date(2026, 11, 20)),
    )  # fmt: skip


def test_the_dose_for_a_parent_is_the_same_with_a_metabolite_in_the_model(goti):
    plain, more = (_dose(model) for model in goti)

    assert plain.binding_constraint.nearest_regimen
    assert more.binding_constraint == plain.binding_constraint
    assert more.parameters["CL"].value == plain.parameters["CL"].value
    assert more.parameters["CLM"].unit == "L/h"


def test_a_level_of_the_parent_in_a_dose_is_not_taken_for_one_of_the_metabolite(goti):
    plain, more = (_dose(model, (11.5, 9.0)) for model in goti)

    assert more.individual.converged
    assert more.parameters["CL"].value == pytest.approx(plain.parameters["CL"].value, rel=0.05)
