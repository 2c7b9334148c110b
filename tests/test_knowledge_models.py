"""Population models as data: what ships, how variability is converted, and which mistakes are refused."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from posologist.core.errors import InputError, KnowledgeError
from posologist.core.units import dimension
from posologist.knowledge.genes import callable_genes, outside_genes
from posologist.knowledge.load import load_knowledge
from posologist.knowledge.models import MODELS_FOLDER, PkModel, load_model, load_models, model_files, models_of
from posologist.knowledge.variability import is_covariance
from shared import shared_data

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "models"
MODELS = load_models()
COMPLETE = [model for model in MODELS if model.complete]


def _model(name: str) -> PkModel:
    return load_model(MODELS_FOLDER / f"{name}.toml")


def test_the_library_holds_28_complete_models_of_25_drugs():
    assert len(COMPLETE) >= 28
    assert len({model.drug for model in COMPLETE}) >= 25


def test_every_model_says_where_it_comes_from_and_what_it_lacks():
    for model in MODELS:
        assert model.title
        assert model.complete == (not model.missing)
        assert all(len(text) > 10 for text in model.missing)
        assert all(c.where or c.kind in ("memory", "guideline") for c in model.citations), model.id
    partial = {model.id for model in MODELS if not model.complete}
    assert {"nifedipine_kleinbloesem1984", "irinotecan_zhu2023", "phenytoin_yukawa1990"} <= partial


def test_what_was_only_recalled_is_never_called_read():
    for model in MODELS:
        for row in (*model.targets, *model.toxicity, *model.parameters):
            assert row.source != "recalled" or row.status == "to verify", model.id


@pytest.mark.parametrize("model", COMPLETE, ids=lambda m: m.id)
def test_complete_models_have_a_positive_reference_patient_and_a_real_covariance(model):
    typical = model.typical(model.reference)
    assert set(model.structural) <= typical.keys()
    assert all(value > 0 for value in typical.values())
    for matrix in (model.omega, model.occasion):
        if matrix:
            array = np.array(matrix)
            assert np.array_equal(array, array.T)
            assert np.linalg.eigvalsh(array).min() >= -1e-12
    assert model.residual


def test_facts_of_the_situation_are_named_as_they_are_and_measure_the_same():
    knowledge, genes = load_knowledge(), {*callable_genes(), *outside_genes()}
    analytes = knowledge.codes.analytes
    others = {"age": "a", "sex": "1", "dialysis": "1"}
    for model in MODELS:
        for covariate in model.covariates:
            if covariate.fact in others:
                assert covariate.unit == others[covariate.fact], model.id
                assert (covariate.fact == "sex") == bool(covariate.codes)
            elif ":" in covariate.fact:
                kind, _, name = covariate.fact.partition(":")
                held = knowledge.drugs if kind == "drug" else genes
                assert (kind in ("drug", "phenotype", "alleles"), name in held) == (True, True), (
                    model.id,
                    covariate.name,
                )
            elif covariate.fact:
                unit = analytes[covariate.fact].unit
                same = dimension(unit) == dimension(covariate.unit)
                assert same or covariate.fact == "creatinine", (model.id, covariate.name)


def test_drugs_are_named_as_in_their_files():
    assert {str(model.drug) for model in MODELS} <= set(load_knowledge().drugs)


# Omega, recomputed by hand from what the sources print


def test_goti_reads_its_cv_as_that_of_a_lognormal():
    omega = _model("vancomycin_goti2018").omega
    assert [omega[i][i] for i in range(3)] == pytest.approx([0.147, 0.510, 0.282], abs=6e-4)
    assert omega[0][0] == pytest.approx(math.log(1 + 0.398**2), rel=1e-14)
    assert omega[0][1] == 0


def test_tobramycin_turns_sd_and_correlation_into_covariances():
    omega = np.array(_model("tobramycin_hennig2013").omega)
    sd = np.array([0.259, 0.152, 0.418, 0.585])
    correlation = np.array(
        [[1, 0.658, 0.711, 0], [0.658, 1, 0.475, 0], [0.711, 0.475, 1, 0], [0, 0, 0, 1]],
    )
    assert omega == pytest.approx(correlation * np.outer(sd, sd), rel=1e-12)


def test_amikacin_takes_the_lower_triangle_as_it_stands():
    expected = [
        [0.1, 0.01, 0.01, -0.06],
        [0.01, 0.05, 0.02, 0.004],
        [0.01, 0.02, 0.2, 0.003],
        [-0.06, 0.004, 0.003, 0.08],
    ]
    assert np.array(_model("amikacin_burdet2015").omega) == pytest.approx(np.array(expected))


def test_ciclosporin_keeps_patients_and_occasions_apart():
    model = _model("ciclosporin_umpierrez2021")
    assert [effect.on for effect in model.random] == ["CL", "Q", "KA", "LAG"]
    assert np.diag(model.omega) == pytest.approx([0.14704, 0.24922, 0, 0])
    occasion = np.array(model.occasion)
    assert np.diag(occasion) == pytest.approx([0.13488, 0, 0.24426, 0.25672])
    assert occasion[0, 2] == occasion[2, 0] == -0.10001


def test_colin_ties_clearances_to_each_patients_own_volumes():
    own = np.diag([0.0750, 0.0719, 0.6721])  # eta of CL, V1, V2: ln(1 + CV^2) of 27.9, 27.3 and 97.9 %
    tie = np.array([[1, 0.75, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0.75]])  # in CL, V1, V2, Q
    assert np.array(_model("vancomycin_colin2019").omega) == pytest.approx(tie @ own @ tie.T)


def test_colin_gives_the_patient_of_its_abstract():
    typical = _model("vancomycin_colin2019").typical({"weight": 70, "pma_weeks": 35 * 52 + 40, "creatinine": 0.83})
    assert typical == pytest.approx({"CL": 4.10, "V1": 42.9, "Q": 3.22, "V2": 41.7}, rel=1e-3)


def test_colin_halves_clearance_where_its_abstract_says():
    def ripe(weeks: float) -> float:
        years = weeks / 52
        usual = math.exp(-1.22839 + math.log10(years) * 0.67190 + 6.27017 * math.exp(-3.10940 * years))
        return _model("vancomycin_colin2019").typical({"weight": 70, "pma_weeks": weeks, "creatinine": usual})["CL"]

    assert ripe(46.4) == pytest.approx(5.31 / 2, rel=1e-3)
    assert ripe(61.6 * 52) == pytest.approx(5.31 / 2, rel=1e-3)


def test_busulfan_squares_the_cv_between_occasions():
    assert np.diag(_model("busulfan_mccune2014").occasion) == pytest.approx([0.113**2, 0.224**2, 0, 0])


def test_variances_of_the_residual_error_become_sds():
    (residual,) = _model("meropenem_li2006").residual
    assert residual.additive == pytest.approx(math.sqrt(0.220))
    assert residual.proportional == pytest.approx(math.sqrt(0.0352))


def test_daptomycin_scatters_by_the_sd_whose_square_is_printed():
    (residual,) = _model("daptomycin_dvorchik2004").residual
    assert residual.additive == pytest.approx(4.73, abs=5e-3)


# Typical values of published worked cases (posologyr's test suite)


def _case(name: str) -> dict:
    text = shared_data("pk", "reference", "map_and_dose_posologyr.json").read_text(encoding="utf-8")
    (case,) = [case for case in json.loads(text)["cases"] if case["id"] == name]
    return case


def test_vancomycin_case_has_the_published_typical_values_and_dose():
    case = _case("vanco_patient04_dose_auc_single")
    given, eta = case["covariates"], case["given_eta"]
    typical = _model("vancomycin_goti2018").typical(
        {"crcl": given["CLCREAT"], "weight": given["WT"], "dialysis": given["DIAL"]}
    )
    assert typical == pytest.approx({"CL": 4.5 * (65 / 120) ** 0.8, "V1": 58.4, "Q": 6.5, "V2": 38.4})
    cl, v1 = typical["CL"] * math.exp(eta["Cl"]), typical["V1"] * math.exp(eta["Vc"])
    v2, q = typical["V2"] * math.exp(eta["Vp"]), typical["Q"]
    auc_of_1_mg = _auc_of_infusion(cl, v1, q, v2, duration=2.0, until=24.0)
    assert 400 / auc_of_1_mg == pytest.approx(case["expected"]["dose_mg"], rel=1e-3)


def _auc_of_infusion(cl: float, v1: float, q: float, v2: float, *, duration: float, until: float) -> float:
    """AUC from 0 to `until` of 1 mg over `duration`, by the two exponentials of a two-compartment model."""
    k, k12, k21 = cl / v1, q / v1, q / v2
    total = k + k12 + k21
    root = math.sqrt(total * total - 4 * k * k21)
    auc = 0.0
    for rate, other in (((total + root) / 2, (total - root) / 2), ((total - root) / 2, (total + root) / 2)):
        share = (k21 - rate) / (other - rate) / v1 / duration / rate  # height of this exponential at steady infusion
        during = duration - (1 - math.exp(-rate * duration)) / rate
        after = (1 - math.exp(-rate * duration)) * (1 - math.exp(-rate * (until - duration))) / rate
        auc += share * (during + after)
    return auc


def test_daptomycin_case_has_the_published_typical_values():
    given = _case("daptomycin_tdm_dose_conc")["covariates"]
    typical = _model("daptomycin_dvorchik2004").typical(
        {"crcl": given["ClCr"], "temperature": given["TEMP"], "female": given["SEX"], "weight": given["WT"]}
    )
    assert typical["CL"] == pytest.approx((0.807 + 0.00514 * (53 - 91.2)) * 0.8)
    assert typical["V1"] == 4.8
    assert typical["V2"] == pytest.approx((3.13 + 0.0458 * 24.9) * 1.93)
    assert typical["Q"] == pytest.approx(3.46 + 0.0593 * 24.9)


def test_tobramycin_case_by_micro_constants_has_the_published_typical_values():
    case = _case("tobramycin_map")
    model = load_model(EXAMPLES / "micro_constants.toml")
    typical = model.typical({"crcl": case["covariates"]["CLCREAT"], "weight": case["covariates"]["WT"]})
    assert typical["CL"] / typical["V1"] == pytest.approx(0.21 * (80 / 67.8) ** 0.89 * (65 / 66.4) ** -1.09)
    assert typical["V1"] == pytest.approx(19.8 * (65 / 66.4) ** 0.80)
    assert typical["Q"] / typical["V1"] == pytest.approx(0.041)
    assert typical["Q"] / typical["V2"] == pytest.approx(0.12)
    tie = np.array([[1, 1], [0, 1], [0, 1], [0, 1]])  # eta of ke and of V in CL, V1, Q, V2
    assert np.array(model.omega) == pytest.approx(tie @ np.diag([0.08075, 0.01203]) @ tie.T)


def test_a_model_can_set_lag_and_bioavailability_of_one_compartment(tmp_path):
    text = (EXAMPLES / "first_order_lag.toml").read_text(encoding="utf-8")
    text = text.replace("LAG = ", "LAG2 = ").replace('id = "first_order_lag"', 'id = "second"')
    (tmp_path / "second.toml").write_text(text, encoding="utf-8")
    model = load_model(tmp_path / "second.toml")
    assert model.typical({"weight": 70})["LAG2"] == 0.25


def test_tobramycin_of_a_worked_patient():
    man = {"female": 0, "weight": 60, "bmi": 20, "age": 30, "creatinine": 60}
    ffm = 9270 * 60 / (6680 + 216 * 20)
    typical = _model("tobramycin_hennig2013").typical(man)
    assert typical["CL"] == pytest.approx(9.4 * (ffm / 70) ** 0.952 * (1 - 0.010 * 12) * (84 / 60) ** 0.222)
    child = _model("tobramycin_hennig2013").typical({**man, "female": 1, "age": 10})
    ffm = 9270 * 60 / (8780 + 244 * 20)
    usual = -2.3733 - 12.91367 * math.log(10) + 23.93581 * math.sqrt(10)
    assert child["CL"] == pytest.approx(8.1 * (ffm / 70) ** 0.952 * (1 + 0.021 * 8) * (usual / 60) ** 0.222)


@pytest.mark.parametrize("female", [0, 1])
@pytest.mark.parametrize("age", [15, 18])
def test_usual_creatinine_of_tobramycin_has_no_step(age, female):
    someone = {"female": female, "weight": 60, "bmi": 20, "creatinine": 60}
    before, after = (_model("tobramycin_hennig2013").typical({**someone, "age": age + d})["CL"] for d in (-1e-6, 1e-6))
    assert before == pytest.approx(after, rel=1e-4)


def test_meropenem_follows_the_kind_of_dialysis():
    model = _model("meropenem_ojeanson2021")
    at = model.reference
    gfr = 186 * 1.5**-1.154 * 60**-0.203
    assert model.typical(at)["CL"] == pytest.approx(1.36 + 0.058 * gfr)
    assert model.typical({**at, "diuresis": 0})["CL"] == pytest.approx(1.36 + 0.058 * gfr - 0.60)
    assert model.typical({**at, "continuous_dialysis": 1, "diuresis": 0})["CL"] == pytest.approx(6.38 - 0.60)
    assert model.typical({**at, "intermittent_dialysis": 1, "diuresis": 0})["CL"] == pytest.approx(11.0)
    assert model.typical({**at, "creatinine": 0.5})["CL"] == pytest.approx(13.9)


def test_phenytoin_is_in_hours():
    typical = _model("phenytoin_yukawa1990").typical({"weight": 60, "other_antiepileptic": 0, "age": 40})
    assert typical == pytest.approx({"VMAX": 325 / 24, "KM": 2.41, "V1": 36, "KA": 1.5})


def test_a_missing_or_impossible_covariate_is_told():
    model = _model("vancomycin_goti2018")
    with pytest.raises(InputError, match="needs weight"):
        model.typical({"crcl": 80, "dialysis": 0})
    with pytest.raises(InputError, match="needs weight"):
        model.typical({"crcl": 80, "dialysis": 0, "weight": math.nan})
    with pytest.raises(InputError, match=r"CL .* no value"):
        model.typical({"crcl": -20, "dialysis": 0, "weight": 70})


def test_atorvastatin_gives_no_answer_for_a_genotype_that_was_not_measured():
    model = _model("atorvastatin_stillemans2022")
    assert model.typical({"gene_slco1b1_c_alleles": 1})["CL"] == pytest.approx(535 * 0.598)
    with pytest.raises(InputError):
        model.typical({"gene_slco1b1_c_alleles": 2})


def test_values_outside_the_studied_range_are_named():
    model = _model("methotrexate_mao2022")
    assert [c.name for c in model.outside({"crcl": 400, "albumin": 40, "age": 17})] == ["crcl", "age"]
    assert model.outside(model.reference) == ()


# Files of a stranger


def test_the_examples_hold_one_model_per_structure():
    models = load_models(EXAMPLES)
    assert all(model.complete for model in models)
    assert {model.compartments for model in models} == {1, 2, 3}
    assert {model.absorption for model in models} == {"none", "first-order", "zero-order", "transit"}
    assert {model.elimination for model in models} == {"linear", "michaelis-menten", "mixed"}
    assert {effect.kind for model in models for effect in model.random} == {"log-normal", "normal", "logit"}
    assert {residual.form for model in models for residual in model.residual} == {
        "additive", "proportional", "combined-sd", "combined-variance", "log",
    }  # fmt: skip
    assert any("LAG" in model.equations for model in models)
    assert any(model.occasion for model in models)


def test_every_key_of_a_model_file_is_explained():
    text = (EXAMPLES.parents[1] / "docs" / "model-file.md").read_text(encoding="utf-8")
    keys = {name for name in PkModel.model_fields if name != "variability"}
    assert {key for key in keys if f"`{key}`" not in text} == set()


MISTAKES = {
    "unknown name": ('CL = "cl_pop', 'CL = "cl_popp', "unknown names cl_popp"),
    "a question to the record": ('CL = "cl_pop', 'CL = "dx(ckd) * cl_pop', "covariates only"),
    "not an expression": ('CL = "cl_pop', 'CL = "import os; cl_pop', "cannot be read"),
    "negative variance": ("CL = 0.09", "CL = -0.09", "must not be negative"),
    "no covariance": ('["CL", "V1", 0.02]', '["CL", "V1", 0.2]', "positive semidefinite"),
    "effect on nothing": ('on = "V1"', 'on = "V9"', "no random effect acts on V1"),
    "effect on what the structure has not": (
        'on = "V1" }',
        'on = "V1" }, { eta = "ETA3", on = "KA" }',
        "no number for KA",
    ),
    "two effects of one name": ('eta = "ETA2"', 'eta = "ETA1"', "one name"),
    "no number": (", V1 = 0.04", "", "no number for V1"),
    "unknown convention": ('convention = "variance"', 'convention = "stdev"', "not one of"),
    "citation": ('source = "example"', 'source = "nobody"', "citation nobody"),
    "wrong structural name": ('V1 = "v_pop * weight', 'V = "v_pop * weight', "no parameter of this structure"),
    "parameter of another structure": ('V1 = "v_pop', 'KA = "1"\nV1 = "v_pop', "other structures have it"),
    "missing structural parameter": ("compartments = 1", "compartments = 2", "needs Q, V2"),
    "negative clearance": ('CL = "cl_pop', 'CL = "-cl_pop', "not above zero"),
    "outside its own limits": ("[omega]", "[limits]\nV1 = [40.0, 300.0]\n\n[omega]", "outside its limits"),
    "limit of nothing": ("[omega]", "[limits]\nKA = [4.0, 30.0]\n\n[omega]", "limits of KA"),
    "reference outside the study": ("reference = 70", "reference = 130", "outside the studied range"),
    "no unit": ('unit = "L/h"', 'unit = ""', "no unit"),
    "no unit of concentration": ('concentration_unit = "mg/L"', 'concentration_unit = ""', "units of dose"),
    "wrong scale": ("scale = 1", "scale = 1000", "scale 1000 does not turn"),
    "units that do not convert": ('concentration_unit = "mg/L"', 'concentration_unit = "umol/L"', "molar_mass"),
    "residual without number": ("proportional = 0.15", "additive = 0.15", "does not fit"),
    "residual missing": ('residual = [{ form = "proportional", proportional = 0.15 }]', "", "no residual error"),
    "stages without transit": ("transit = 0", "transit = 3", "stages of transit"),
    "capitals": ('name = "weight"', 'name = "WEIGHT"', "only structural"),
    "twice": ('name = "v_pop"', 'name = "cl_pop"', "defined twice"),
    "idle": ("(weight / 70) ** 0.75", "1", None),
    "idle everywhere": ("weight / 70", "1", "never used"),
    "unknown key": ('drug = "example"', 'drug = "example"\ndoses = 3', "doses"),
    "wrong type": ("compartments = 1", 'compartments = "one"', "compartments"),
    "not TOML": ("compartments = 1", "compartments = = 1", "not valid TOML"),
    "text for a row": ("random = [{", 'random = ["ETA0", {', "not shaped like a model"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_refused_with_the_file_and_the_reason(name, tmp_path):
    old, new, message = MISTAKES[name]
    text = (EXAMPLES / "one_compartment.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "one_compartment.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    if message is None:
        assert load_model(path).complete
        return
    with pytest.raises(KnowledgeError) as caught:
        load_model(path)
    assert message in str(caught.value)
    assert caught.value.where == str(path)


def test_an_effect_on_a_parameter_of_another_structure_is_refused(tmp_path):
    text = (EXAMPLES / "one_compartment.toml").read_text(encoding="utf-8")
    text = text.replace('on = "V1"', 'on = "KA"').replace("V1 = 0.04", "KA = 0.04").replace('"CL", "V1"', '"CL", "KA"')
    path = tmp_path / "one_compartment.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KnowledgeError, match="acts on KA"):
        load_model(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(KnowledgeError, match="cannot be read"):
        load_model(tmp_path / "nothing.toml")


def test_a_partial_model_loads_and_says_what_is_missing(tmp_path):
    text = (EXAMPLES / "one_compartment.toml").read_text(encoding="utf-8")
    text = text.replace(
        'residual = [{ form = "proportional", proportional = 0.15 }]', 'missing = ["the residual error"]'
    )
    path = tmp_path / "one_compartment.toml"
    path.write_text(text, encoding="utf-8")
    model = load_model(path)
    assert not model.complete
    assert model.missing == ("the residual error",)


def test_a_later_folder_takes_the_place_of_a_model(tmp_path):
    text = (MODELS_FOLDER / "digoxin_hirai2022.toml").read_text(encoding="utf-8")
    (tmp_path / "digoxin_hirai2022.toml").write_text(text.replace("value = 6.209", "value = 7.0"), encoding="utf-8")
    (model,) = models_of("digoxin", (MODELS_FOLDER, tmp_path))
    assert model.typical(model.reference)["CL"] == 7.0
    assert len(model_files((MODELS_FOLDER, tmp_path))) == len(MODELS)


def test_covariance_agrees_with_eigenvalues():
    rng = np.random.default_rng(7)
    seen = set()
    for _ in range(300):
        root = rng.normal(size=(4, int(rng.integers(1, 5))))
        matrix = root @ root.T
        if rng.random() < 0.5:
            matrix = matrix - np.eye(4) * rng.uniform(0.01, 1.0)
        expected = bool(np.linalg.eigvalsh(matrix).min() > -1e-12 * np.abs(matrix).max())
        seen.add(expected)
        assert is_covariance(matrix.tolist()) is expected
    assert seen == {True, False}
    assert not is_covariance([[1.0, 0.1], [0.2, 1.0]])
    assert not is_covariance([[1.0, 0.1]])
    assert not is_covariance([[0.0, 0.1], [0.1, 1.0]])
    assert is_covariance([[0.0, 0.0], [0.0, 1.0]])


def test_models_of_one_drug_are_found_without_reading_the_others():
    code = (
        "from posologist.knowledge import models as m\n"
        "found = m.models_of('tacrolimus')\n"
        "print([x.id for x in found], m._load.cache_info().currsize)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['tacrolimus_andrews2019', 'tacrolimus_storset2014', 'tacrolimus_woillard2011'] 3"
    assert models_of("a drug without a model") == ()


def test_reading_the_knowledge_does_not_read_models():
    code = (
        "from posologist.knowledge.load import load_knowledge; import sys; load_knowledge();"
        "print('posologist.knowledge.models' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
