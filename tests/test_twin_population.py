"""Which model a file supports, and what moves a patient away from the typical one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from posologist.core.drug import GeneEffect, KineticValue, Product, Role
from posologist.core.errors import KnowledgeError
from posologist.core.evidence import LEAF_KINDS, Ledger
from posologist.core.regimen import DoseEvent
from posologist.core.settings import Settings
from posologist.core.values import DrugId, GeneSymbol
from posologist.twin.compartment import absorption, concentration, disposition
from posologist.twin.kinetics import KineticModel, MissingKinetics, kinetic_model
from posologist.twin.peak import ka_for_peak, peak_time, terms_of
from posologist.twin.population import Prior, prior_of
from twin_drugs import SOURCE, made_drug, patient, phenotypes, shipped_drug

SETTINGS = Settings()


def model_of(drug, **kwargs):
    model = kinetic_model(drug, ledger=Ledger(), **kwargs)
    assert isinstance(model, KineticModel), model
    return model


def twin_of(drug, ledger, situation=None, profile=None, **kwargs):
    prior = prior_of(drug, situation, profile, settings=SETTINGS, ledger=ledger, **kwargs)
    assert isinstance(prior, Prior), prior
    return prior


def said(prior):
    return " ".join(reason.text for reason in prior.assumptions)


def effect(phenotype, value, measure="auc_fold"):
    return GeneEffect(
        gene=GeneSymbol("CYP2D6"), phenotype=phenotype, measure=measure, value=value, source=SOURCE, status="verified"
    )


def noted(drug, key, note):
    values = dict(drug.kinetics.parameters)
    values[key] = values[key].model_copy(update={"note": note})
    return drug.model_copy(update={"kinetics": drug.kinetics.model_copy(update={"parameters": values})})


def test_clearance_and_volume_are_used_as_printed():
    model = model_of(made_drug(clearance=10.0, volume=50.0, bioavailability=0.5, tmax=1.0))

    assert (model.clearance.value, model.volume.value, model.bioavailability.value) == (10.0, 50.0, 0.5)


def test_clearance_comes_from_half_life_and_volume():
    model = model_of(made_drug(half_life=5.0, volume=50.0, bioavailability=0.5, tmax=1.0))

    assert model.clearance.value == pytest.approx(math.log(2) * 50 / 5)


def test_volume_comes_from_clearance_and_half_life():
    model = model_of(made_drug(half_life=5.0, clearance=10.0, bioavailability=0.5, tmax=1.0))

    assert model.volume.value == pytest.approx(10 * 5 / math.log(2))


def test_oral_clearance_is_apparent_and_bioavailability_is_not_applied_again():
    model = model_of(made_drug(oral_clearance=10.0, half_life=5.0, tmax=1.0))

    assert model.apparent
    assert model.bioavailability is None


def test_clearance_without_bioavailability_is_apparent_and_that_is_said():
    model = model_of(made_drug(clearance=10.0, half_life=5.0, tmax=1.0))

    assert model.apparent
    assert any("Bioavailability" in reason.text for reason in model.assumptions)


def test_a_clearance_noted_as_apparent_is_not_divided_by_f_again():
    drug = noted(made_drug(clearance=10.0, volume=50.0, bioavailability=0.4, tmax=1.0), "clearance", "CL/F")

    assert model_of(drug).apparent


def test_a_half_life_alone_gives_no_model():
    missing = kinetic_model(made_drug(half_life=5.0, bioavailability=0.5), ledger=Ledger())

    assert isinstance(missing, MissingKinetics)
    assert "half-life alone" in missing.why


@pytest.mark.parametrize("name", ["rosuvastatin", "eprosartan", "pravastatin", "carvedilol", "edoxaban", "telmisartan"])
def test_a_file_that_contradicts_itself_gives_no_model(name):
    missing = kinetic_model(shipped_drug(name), ledger=Ledger())

    assert isinstance(missing, MissingKinetics)
    assert "apart" in missing.why


@pytest.mark.parametrize("name", ["sacubitril-valsartan", "amoxicillin-clavulanate"])
def test_a_combination_gives_no_model(name):
    assert isinstance(kinetic_model(shipped_drug(name), ledger=Ledger()), MissingKinetics)


def test_a_drug_that_is_not_absorbed_gives_no_oral_model():
    vancomycin = shipped_drug("vancomycin")

    assert isinstance(kinetic_model(vancomycin, route="oral", ledger=Ledger()), MissingKinetics)
    assert isinstance(kinetic_model(vancomycin, route="iv", ledger=Ledger()), KineticModel)


def test_values_of_an_unnamed_route_are_not_used_for_another():
    products = tuple(
        Product(form="form", route=route, strengths=(1.0,), source=SOURCE, status="verified")
        for route in ("oral", "sc")
    )
    drug = made_drug(products=products, clearance=1.0, volume=10.0, bioavailability=0.9, tmax=2.0)

    assert isinstance(kinetic_model(drug, route="oral", ledger=Ledger()), MissingKinetics)


def test_saturable_kinetics_are_refused():
    drug = noted(made_drug(clearance=10.0, volume=50.0, bioavailability=0.4), "clearance", "non-linear above 20 mg")

    assert isinstance(kinetic_model(drug, ledger=Ledger()), MissingKinetics)


def test_extended_release_has_average_exposure_but_no_curve():
    model = model_of(made_drug(clearance=10.0, volume=50.0, bioavailability=0.5, tmax=1.0), release="extended")

    assert model.no_curve == "curve not shown: release profile not known"


def test_extended_release_over_a_held_duration_has_a_curve():
    drug = made_drug(clearance=10.0, volume=50.0, bioavailability=0.5, release_duration=12.0)
    model = model_of(drug, release="extended")

    assert model.no_curve == ""
    assert model.release_h.value == 12.0


def test_a_printed_absorption_rate_yields_to_the_peak_time_it_contradicts():
    model = model_of(shipped_drug("metoprolol"))

    terms = terms_of(model.clearance.value, model.volume.value)
    assert peak_time(model.ka.value, terms) == pytest.approx(math.sqrt(2), rel=1e-6)


def test_a_unit_that_is_not_expected_is_an_error_of_the_file():
    drug = made_drug(clearance=10.0)
    values = {"clearance": KineticValue(value=10.0, unit="mL/min", source=SOURCE, status="verified")}
    drug = drug.model_copy(update={"kinetics": drug.kinetics.model_copy(update={"parameters": values})})

    with pytest.raises(KnowledgeError, match="mL/min"):
        kinetic_model(drug, ledger=Ledger())


@given(
    cl=st.floats(0.5, 50.0), v=st.floats(5.0, 500.0), ratio=st.floats(0.15, 0.95),
    outer=st.sampled_from([(0.0, 0.0), (3.0, 50.0), (0.2, 300.0)]),
)  # fmt: skip
def test_absorption_rate_puts_the_peak_where_it_was_seen(cl, v, ratio, outer):
    terms = terms_of(cl, v, *outer)
    tmax = ratio * peak_time(min(rate for rate, _ in terms), terms)
    ka = ka_for_peak(tmax, terms)
    model = disposition(cl, v, peripheral=() if outer[0] == 0 else (outer,))
    times = tmax * np.array([0.9, 1.0, 1.1])
    around = concentration(model, [DoseEvent(time_h=0.0, amount_mg=1.0)], times, absorbed=absorption(ka))[0]

    assert peak_time(ka, terms) == pytest.approx(tmax, rel=1e-4)
    assert around[1] >= max(around[0], around[2]) * (1 - 1e-9)


def test_a_peak_later_than_elimination_allows_is_said():
    drug = made_drug(clearance=50.0, volume=50.0, bioavailability=0.5, tmax=8.0)

    assert any("slower than elimination" in reason.text for reason in model_of(drug).assumptions)


def test_a_second_compartment_is_used_where_the_file_holds_one():
    one = {"clearance": 8.5, "volume": 46.0, "bioavailability": 0.42, "tmax": 3.5}
    ledger = Ledger()
    prior = twin_of(made_drug(intercompartmental_clearance=2.8, peripheral_volume=51.0, **one), ledger)

    assert prior.model.compartments == "two"
    assert len(prior.draw(200).disposition().rates) == 2


def test_the_terminal_half_life_of_two_compartments_is_the_one_compared():
    values = {"clearance": 5.0, "volume": 10.0, "half_life": 30.0, "bioavailability": 1.0}

    assert isinstance(kinetic_model(made_drug(**values), ledger=Ledger()), MissingKinetics)
    assert isinstance(
        kinetic_model(made_drug(intercompartmental_clearance=2.0, peripheral_volume=60.0, **values), ledger=Ledger()),
        KineticModel,
    )


def test_metoprolol_exposure_is_five_fold_in_a_poor_metabolizer():
    ledger = Ledger()
    person = patient(ledger, weight=80.0, crcl=70.0, age=62.0)
    poor = twin_of(shipped_drug("metoprolol"), ledger, person, phenotypes(ledger, CYP2D6="Poor Metabolizer"))
    normal = twin_of(shipped_drug("metoprolol"), ledger, person, phenotypes(ledger, CYP2D6="Normal Metabolizer"))

    assert poor.exposure_per_mg / normal.exposure_per_mg == pytest.approx(4.9)
    assert poor.parameters["F"].value == pytest.approx(1.0)


def test_poor_metabolizer_half_life_stays_near_the_printed_one():
    ledger = Ledger()
    person = patient(ledger, weight=70.0, crcl=100.0)
    poor = twin_of(shipped_drug("metoprolol"), ledger, person, phenotypes(ledger, CYP2D6="Poor Metabolizer"))

    half_life = math.log(2) * poor.parameters["V"].value / poor.parameters["CL"].value
    assert 6.0 < half_life < 12.0


def test_a_comparison_with_ultrarapid_is_never_read_as_one_with_normal():
    drug = made_drug(gene_effects=(effect("poor v ultrarapid", 13.0),), clearance=10.0, volume=50.0)
    ledger = Ledger()
    prior = twin_of(drug, ledger, None, phenotypes(ledger, CYP2D6="Poor Metabolizer"))

    assert prior.fold == 1.0


def test_an_unknown_phenotype_is_said_and_listed():
    drug = made_drug(gene_effects=(effect("poor metabolizer", 4.0),), clearance=10.0, volume=50.0)
    for profile in (None, phenotypes(Ledger(), CYP2D6=None)):
        prior = twin_of(drug, Ledger(), None, profile)

        assert "CYP2D6 is not known" in said(prior)
        assert "CYP2D6" in prior.not_checked[0].what


def test_a_phenotype_without_an_observed_fold_is_said():
    drug = made_drug(gene_effects=(effect("poor metabolizer", 4.0),), clearance=10.0, volume=50.0)
    ledger = Ledger()

    assert "Intermediate" in said(twin_of(drug, ledger, None, phenotypes(ledger, CYP2D6="Intermediate Metabolizer")))


def test_a_medicine_taken_alongside_scales_exposure():
    role = Role(enzyme="CYP3A4", role="substrate", auc_fold=1.6, auc_with="diltiazem", source=SOURCE, status="verified")
    drug = made_drug(roles=(role,), clearance=10.0, volume=50.0, bioavailability=0.5, tmax=1.0)
    ledger = Ledger()

    assert twin_of(drug, ledger, patient(ledger, on=("diltiazem",), crcl=90.0)).fold == 1.6
    assert twin_of(drug, ledger, patient(ledger, on=("aspirin",), crcl=90.0)).fold == 1.0


def test_a_role_in_the_other_drugs_file_counts_as_well():
    role = Role(enzyme="CYP3A4", role="inhibitor", auc_fold=2.5, auc_with="madeupril", source=SOURCE, status="verified")
    ledger, inhibitor = Ledger(), made_drug("blocker", roles=(role,))

    assert twin_of(made_drug(clearance=10.0, volume=50.0), ledger, alongside=(inhibitor,)).fold == 2.5


def test_folds_are_never_multiplied_and_the_largest_rise_decides():
    roles = tuple(
        Role(enzyme=e, role="substrate", auc_fold=f, auc_with=w, source=SOURCE, status="verified")
        for e, f, w in (("CYP3A4", 2.0, "diltiazem"), ("CYP3A4", 0.2, "rifampin"))
    )
    drug = made_drug(roles=roles, gene_effects=(effect("poor metabolizer", 4.0),), clearance=10.0, volume=50.0)
    ledger = Ledger()
    person = patient(ledger, on=("diltiazem", "rifampin"), crcl=100.0)
    prior = twin_of(drug, ledger, person, phenotypes(ledger, CYP2D6="Poor Metabolizer"))

    assert prior.fold == 4.0
    assert "not multiplied" in said(prior)


def test_without_any_rise_the_deepest_fall_decides():
    roles = tuple(
        Role(enzyme="CYP3A4", role="substrate", auc_fold=f, auc_with=w, source=SOURCE, status="verified")
        for f, w in ((0.6, "efavirenz"), (0.1, "rifampin"), (0.3, "phenytoin"))
    )
    ledger = Ledger()
    person = patient(ledger, on=("efavirenz", "rifampin", "phenytoin"), crcl=100.0)

    assert twin_of(made_drug(roles=roles, clearance=10.0, volume=50.0), ledger, person).fold == 0.1


@pytest.mark.parametrize(("clinical", "fold"), [("Poor Metabolizer", 3.8), ("Intermediate Metabolizer", 1.0)])
def test_a_fold_of_a_diplotype_holds_only_while_no_medicine_changes_its_meaning(clinical, fold):
    drug = made_drug(gene_effects=(effect("*3/*3", 3.8),), clearance=10.0, volume=50.0)
    ledger = Ledger()
    profile = phenotypes(ledger, CYP2D6="Poor Metabolizer")
    gene = GeneSymbol("CYP2D6")
    changed = profile.genes[gene].model_copy(update={"diplotype": "*3/*3", "clinical": clinical})
    profile = profile.model_copy(update={"genes": {gene: changed}})

    assert twin_of(drug, ledger, None, profile).fold == fold


def test_renal_function_scales_only_what_leaves_unchanged():
    drug = made_drug(clearance=10.0, volume=50.0, bioavailability=1.0, renal_excretion=0.8)
    unchanged, unclear = noted(drug, "renal_excretion", "unchanged"), drug
    ledger = Ledger()
    weak, good = patient(ledger, crcl=25.0), patient(ledger, crcl=75.0)

    assert twin_of(unchanged, ledger, weak).parameters["CL"].value == pytest.approx(10 * (0.8 * 0.25 + 0.2))
    assert twin_of(unclear, ledger, good).parameters["CL"].value == 10.0


def test_good_renal_function_never_raises_clearance_above_the_files():
    drug = noted(made_drug(clearance=10.0, volume=50.0, renal_excretion=0.8), "renal_excretion", "unchanged")
    ledger = Ledger()

    assert twin_of(drug, ledger, patient(ledger, crcl=150.0)).parameters["CL"].value == 10.0


@pytest.mark.parametrize("note", ["unchanged", ""])
def test_unknown_renal_function_is_never_read_as_normal_where_it_matters(note):
    drug = noted(made_drug(clearance=10.0, volume=50.0, renal_excretion=0.8), "renal_excretion", note)
    ledger = Ledger()
    answer = prior_of(drug, patient(ledger, weight=70.0), None, settings=SETTINGS, ledger=ledger)

    assert isinstance(answer, MissingKinetics)
    assert "renal function is not known" in answer.why


def test_low_renal_function_refuses_a_share_of_unknown_meaning():
    drug = made_drug(clearance=10.0, volume=50.0, renal_excretion=0.8)
    ledger = Ledger()

    assert isinstance(
        prior_of(drug, patient(ledger, crcl=30.0), None, settings=SETTINGS, ledger=ledger), MissingKinetics
    )


@pytest.mark.parametrize("facts", [{"age": 12.0}, {"dialysis": True}])
def test_patients_outside_of_the_files_population_get_no_curve(facts):
    ledger = Ledger()
    answer = prior_of(
        made_drug(clearance=10.0, volume=50.0),
        patient(ledger, crcl=90.0, **facts),
        None,
        settings=SETTINGS,
        ledger=ledger,
    )

    assert isinstance(answer, MissingKinetics)


def test_volume_per_kilogram_grows_with_weight():
    ledger = Ledger()
    drug = made_drug(clearance=10.0, volume_per_kg=2.0, bioavailability=1.0)

    assert twin_of(drug, ledger, patient(ledger, weight=100.0)).parameters["V"].value == pytest.approx(200.0)
    assert "70 kg is assumed" in said(twin_of(drug, ledger, patient(ledger, age=50.0)))


def test_draws_have_the_stated_median_and_variation():
    draws = twin_of(made_drug(clearance=10.0, volume=50.0, bioavailability=1.0, tmax=1.0), Ledger()).draw(400)

    assert np.median(draws.cl) == pytest.approx(10.0, rel=1e-3)
    assert np.std(np.log(draws.cl)) == pytest.approx(math.sqrt(math.log(1.16)), rel=1e-6)
    assert abs(np.corrcoef(np.log(draws.cl), np.log(draws.v))[0, 1]) < 0.2


def test_unpublished_variability_is_said_and_comes_from_the_settings():
    ledger = Ledger()
    settings = SETTINGS.model_copy(update={"unpublished_variability_cv": 0.6})
    prior = prior_of(made_drug(clearance=10.0, volume=50.0), None, None, settings=settings, ledger=ledger)

    assert prior.parameters["CL"].cv == 0.6
    assert "60 % is assumed" in said(prior)


def test_the_same_twin_draws_the_same_patients():
    first, second = (twin_of(made_drug(clearance=10.0, volume=50.0), Ledger()).draw(300) for _ in range(2))

    np.testing.assert_array_equal(first.cl, second.cl)


@trials(max_examples=30, deadline=None)
@given(crcl=st.floats(5.0, 140.0), less=st.floats(0.1, 0.99), fe=st.floats(0.05, 1.0))
def test_exposure_never_falls_when_renal_function_does(crcl, less, fe):
    drug = noted(made_drug(clearance=10.0, volume=50.0, renal_excretion=fe), "renal_excretion", "unchanged")
    ledger = Ledger()
    well, ill = (twin_of(drug, ledger, patient(ledger, crcl=value)) for value in (crcl, crcl * less))

    assert ill.exposure_per_mg >= well.exposure_per_mg


def test_every_reason_of_a_twin_reaches_leaves():
    ledger = Ledger()
    person = patient(ledger, weight=80.0, crcl=70.0, age=62.0)
    prior = twin_of(shipped_drug("metoprolol"), ledger, person, phenotypes(ledger, CYP2D6="Poor Metabolizer"))
    reached = ledger.reachable(prior.because)

    assert all(entry.because or entry.kind in LEAF_KINDS for entry in reached.values())
    assert any("CYP2D6" in entry.text for entry in reached.values())
    assert DrugId("metoprolol") == prior.drug
