"""The documents of `dose` and `simulate`."""

import json

import pytest

from posologist.core.errors import InputError
from posologist.core.evidence import LEAF_KINDS, Ledger
from posologist.core.genotype import Versions
from posologist.core.recommendation import cited_keys
from posologist.core.regimen import DoseEvent, Limits, Target
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument, Level, SimulationDocument
from posologist.twin.documents import dose_document, simulate_document
from posologist.twin.orders import parse_regimen
from twin_drugs import patient, phenotypes, shipped_drug

SETTINGS = Settings()
VERSIONS = Versions(posologist="test", knowledge="test")
AUC = Target(measure="auc24", low=400, high=600, unit="mg*h/L", text="AUC24 400 to 600")


def vancomycin(target=AUC, settings=SETTINGS, limits=None, **kwargs):
    drug, ledger = shipped_drug("vancomycin"), Ledger()
    return dose_document(
        drug, patient(ledger, weight=80.0, crcl=90.0, age=50.0), None, settings=settings, ledger=ledger,
        versions=VERSIONS, route="iv", infusion_h=1.0, target=target,
        limits=limits or Limits(drug=drug.id, start=1000, max=4500, doses_per_day=(1, 2, 3)), **kwargs,
    )  # fmt: skip


def metoprolol(text="metoprolol 50 mg po q12h", **kwargs):
    drug, ledger = shipped_drug("metoprolol"), Ledger()
    person = patient(ledger, weight=80.0, crcl=70.0, age=62.0)
    profile = phenotypes(ledger, CYP2D6="Poor Metabolizer")
    regimen = parse_regimen(text, resolve=lambda _: drug.id)
    return simulate_document(
        drug, regimen, person, profile, settings=SETTINGS, ledger=ledger, versions=VERSIONS, **kwargs
    )


def without_toxic_threshold(drug):
    windows = tuple(w.model_copy(update={"toxic_above": None}) for w in drug.window)
    return drug.model_copy(update={"window": windows})


def test_regimens_for_a_target_are_ranked_by_the_share_that_reach_it():
    drug, ledger = without_toxic_threshold(shipped_drug("vancomycin")), Ledger()
    document = dose_document(
        drug, patient(ledger, weight=80.0, crcl=90.0), None, settings=SETTINGS, ledger=ledger, versions=VERSIONS,
        route="iv", infusion_h=1.0, target=AUC, limits=Limits(drug=drug.id, start=1000, max=4500, doses_per_day=(1, 2)),
    )  # fmt: skip
    shares = [regimen.target_attainment.value for regimen in document.regimens]

    assert shares == sorted(shares, reverse=True)
    assert [regimen.rank for regimen in document.regimens] == list(range(1, len(shares) + 1))
    assert all(400 <= regimen.exposure["auc24"].value <= 600 for regimen in document.regimens)
    assert document.binding_constraint is None


def test_vancomycin_is_dosed_by_vein_without_being_told():
    drug, ledger = shipped_drug("vancomycin"), Ledger()
    document = dose_document(
        drug, patient(ledger, weight=80.0, crcl=90.0), None, settings=SETTINGS, ledger=ledger, versions=VERSIONS,
        limits=Limits(drug=drug.id, start=2000, usual_high=2000, doses_per_day=(2, 4)),
    )  # fmt: skip

    assert document.start == "1000 mg iv over 1 h q12h"
    assert all(" iv over 1 h " in regimen.text for regimen in document.regimens)
    assert any("1 h" in reason.text for reason in document.assumptions)


def test_when_toxicity_forbids_every_regimen_that_is_said_with_the_nearest():
    document = vancomycin()

    assert document.regimens == ()
    assert "toxicity" in document.binding_constraint.what
    assert document.binding_constraint.nearest_regimen.startswith("2")


def test_when_the_maximum_binds_that_is_said_with_the_largest_regimen():
    document = vancomycin(limits=Limits(drug=shipped_drug("vancomycin").id, start=500, max=1000))

    assert "maximum dose binds" in document.binding_constraint.what
    assert document.binding_constraint.nearest_regimen == "1000 mg iv over 1 h q24h"


def test_without_a_target_regimens_are_listed_from_the_smallest_up():
    drug, ledger = shipped_drug("metoprolol"), Ledger()
    document = dose_document(
        drug, patient(ledger, weight=80.0, crcl=70.0), None, settings=SETTINGS, ledger=ledger, versions=VERSIONS,
        limits=Limits(drug=drug.id, start=100, max=400, doses_per_day=(2,)),
    )  # fmt: skip
    areas = [regimen.exposure["auc24"].value for regimen in document.regimens]

    assert document.start == "50 mg orally twice daily"
    assert areas == sorted(areas)


def test_a_drug_without_kinetics_still_lists_its_regimens_and_says_what_is_missing():
    drug, ledger = shipped_drug("ramipril"), Ledger()
    document = dose_document(
        drug, patient(ledger, weight=80.0, crcl=70.0), None, settings=SETTINGS, ledger=ledger, versions=VERSIONS,
        limits=Limits(drug=drug.id, start=5, max=20, doses_per_day=(1, 2)),
    )  # fmt: skip

    assert document.start == "5 mg orally once daily"
    assert document.regimens
    assert document.parameters == {}
    assert document.not_checked[0].what == "exposure to ramipril"


def test_levels_are_never_silently_ignored():
    document = vancomycin(levels=(Level(time_h=11.0, value=14.0, unit="mg/L"),))

    assert document.findings[0].severity == "serious"
    assert "not used" in document.findings[0].title
    assert document.levels[0].observed.value == 14.0
    assert document.individual is None


def test_simulation_holds_first_doses_and_steady_state():
    document = metoprolol()

    assert set(document.outputs) == {"concentration", "concentration_at_steady_state"}
    assert document.exposure["ratio_to_typical"].value == pytest.approx(4.9)


def test_simulation_of_an_extended_release_form_says_why_there_is_no_curve():
    document = metoprolol("metoprolol succinate ER 100 mg daily")

    assert document.outputs == {}
    assert document.exposure["auc24"].value > 0
    assert any("release profile not known" in row.why for row in document.not_checked)


def test_given_doses_are_simulated_at_the_times_asked_for():
    drug, ledger = shipped_drug("metoprolol"), Ledger()
    events = (DoseEvent(time_h=0.0, amount_mg=100.0), DoseEvent(time_h=30.0, amount_mg=50.0))
    document = simulate_document(
        drug, None, None, None, settings=SETTINGS, ledger=ledger, versions=VERSIONS, events=events,
        times=(0.0, 2.0, 24.0, 32.0),
    )  # fmt: skip

    assert document.outputs["concentration"].x == (0.0, 2.0, 24.0, 32.0)
    assert document.outputs["concentration"].y[1] > document.outputs["concentration"].y[2]


def test_a_simulation_needs_a_regimen_or_doses():
    with pytest.raises(InputError, match="needed"):
        simulate_document(
            shipped_drug("metoprolol"), None, None, None, settings=SETTINGS, ledger=Ledger(), versions=VERSIONS
        )


def test_an_unreachable_measure_is_an_input_error():
    with pytest.raises(InputError, match="no target"):
        vancomycin(target=Target(measure="INR", low=2, high=3, unit="{INR}", text="INR 2 to 3"))


@pytest.mark.parametrize("make", [vancomycin, metoprolol])
def test_every_number_reaches_evidence_and_every_reason_a_leaf(make):
    document = make()

    assert set(cited_keys(document)) <= set(document.evidence)
    for entry in document.evidence.values():
        assert entry.because or entry.kind in LEAF_KINDS
        assert set(entry.because) <= set(document.evidence)


@pytest.mark.parametrize(("make", "kind"), [(vancomycin, DoseDocument), (metoprolol, SimulationDocument)])
def test_documents_survive_json(make, kind):
    document = make()
    text = document.model_dump_json(by_alias=True)

    assert json.loads(text)["schema"].startswith("posologist/")
    assert kind.model_validate_json(text) == document


def test_same_input_same_bytes():
    assert vancomycin().model_dump_json() == vancomycin().model_dump_json()
