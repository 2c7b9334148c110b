"""Claims about real sample records: Synthea, bulk export, US Core, genomics reporting, CDS Hooks."""

from datetime import date
from functools import cache
from pathlib import Path

import pytest

from posologist.core.errors import PosologistError
from posologist.core.patient import Patient
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.records.fhir_in import read_patient, read_patients
from shared import shared_data

NAMES = (
    "Angelic_Mueller", "Barrett_Cummings", "Clarine_OKeefe", "Derek_Becker", "Edward_Gulgowski", "Fermin_Kassulke",
    "Karena_Pfeffer", "Leonardo_Heaney", "Luis_Miguel_Delarosa", "Martina_Murazik", "Max_Dicki", "Reyna_Ziemann",
)  # fmt: skip


@cache
def knowledge() -> Knowledge:
    """The knowledge base that ships."""
    return load_knowledge()


@cache
def synthea(name: str) -> Patient:
    """A Synthea patient."""
    (path,) = shared_data("ehr", "synthea-r4").glob(f"{name}*.json")
    return read_patient(path, knowledge=knowledge())


def drugs(name: str) -> set[str]:
    """Every drug that a Synthea patient was ever ordered."""
    return {drug for m in synthea(name).medications for drug in m.drugs}


@pytest.mark.parametrize("name", NAMES)
def test_every_synthea_patient_has_pressures_problems_and_medicines(name: str) -> None:
    patient = synthea(name)

    assert {"sbp", "dbp", "weight", "height"} <= {o.key for o in patient.observations}
    assert patient.problem_list_given
    assert patient.medication_list_given
    assert patient.sex is not None
    assert patient.birth_date is not None


@pytest.mark.parametrize("name", NAMES)
def test_no_resource_of_a_synthea_patient_is_unreadable(name: str) -> None:
    assert not [f for f in synthea(name).quality if f.kind in ("unreadable", "identity", "version")]


def test_misspelt_simvistatin_is_simvastatin_and_says_so() -> None:
    patient = synthea("Angelic_Mueller")

    assert "simvastatin" in drugs("Angelic_Mueller")
    assert any(f.kind == "resolved by name" and "'Simvistatin 10 MG' is simvastatin" in f.text for f in patient.quality)


def test_ten_allergies_of_which_none_is_to_a_drug_raise_no_drug_alert() -> None:
    patient = synthea("Reyna_Ziemann")

    assert len(patient.allergies) == 10
    assert all(not a.groups and a.category in ("food", "environment") for a in patient.allergies)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Max_Dicki", {"warfarin", "digoxin", "verapamil"}),
        ("Derek_Becker", {"warfarin", "digoxin", "verapamil", "naproxen"}),
        ("Clarine_OKeefe", {"warfarin", "digoxin", "verapamil", "metformin"}),
        ("Fermin_Kassulke", {"amlodipine", "simvastatin", "clopidogrel"}),
        ("Martina_Murazik", {"metoprolol"}),
        ("Edward_Gulgowski", {"hydrochlorothiazide"}),
    ],
)
def test_ordered_drugs_are_recognised(name: str, expected: set[str]) -> None:
    assert expected <= drugs(name)


def test_drugs_outside_the_knowledge_stay_in_view() -> None:
    unresolved = {m.unresolved for m in synthea("Leonardo_Heaney").medications}

    assert "terfenadine" in unresolved or "terfenadine" in drugs("Leonardo_Heaney")


def test_a_contraceptive_is_no_estradiol() -> None:
    everyone = {drug for name in NAMES for drug in drugs(name)}

    assert "estradiol" not in everyone
    assert "potassium-chloride" not in everyone


def test_conditions_carry_our_codes() -> None:
    codes = {code for name in NAMES for c in synthea(name).conditions for code in c.codes}

    assert {"hypertension", "atrial_fibrillation", "heart_failure", "copd", "diabetes", "obesity"} <= codes | {
        "diabetes"
    }


def test_metoprolol_succinate_is_read_with_its_form_and_strength() -> None:
    (order,) = {
        (m.strength, m.form, m.route) for m in synthea("Martina_Murazik").medications if m.drugs == ("metoprolol",)
    }

    assert order == ("100 mg", "extended-release tablet", "oral")


def test_as_of_hides_what_came_later() -> None:
    (path,) = shared_data("ehr", "synthea-r4").glob("Karena*.json")
    patient = read_patient(path, knowledge=knowledge(), as_of=date(2015, 1, 1))

    assert all(o.at is None or o.at.date() <= date(2015, 1, 1) for o in patient.observations)
    assert patient.latest_entry is not None
    assert patient.latest_entry <= date(2015, 1, 1)
    assert any(f.kind == "future" for f in patient.quality)


def test_bulk_export_holds_thirteen_patients_with_their_drug_allergies() -> None:
    patients = read_patients(shared_data("ehr", "bulk-ndjson"), knowledge=knowledge())
    reached = {group for p in patients for a in p.allergies for group in a.groups}

    assert len(patients) == 13
    assert {"aspirin", "trimethoprim-sulfamethoxazole"} <= reached


def test_a_count_of_tablets_becomes_a_dose() -> None:
    patients = read_patients(shared_data("ehr", "bulk-ndjson"), knowledge=knowledge())
    doses = {(m.dose, m.dose_unit, m.per_day) for p in patients for m in p.medications if m.drugs == ("lisinopril",)}

    assert (10.0, "mg", 1.0) in doses


def test_us_core_examples_make_one_patient() -> None:
    patient = read_patient(shared_data("ehr", "us-core"), knowledge=knowledge(), patient_id="example")
    values = {o.key: o.value for o in patient.observations if o.key}

    assert patient.sex == "female"
    assert (values["sbp"], values["dbp"]) == (109, 44)
    assert values["creatinine"] == 1.0
    assert values["weight"] == pytest.approx(20.094, abs=0.001)
    assert [h.codes for h in patient.family_history] == [("ckd",)]


FOLDERS = (
    "genomics-reporting",
    "genomics-operations",
    "us-core",
    "cds-hooks/spec",
    "cds-hooks/pddi-cds",
    "cds-hooks/captured-from-sandbox",
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_other_sample_files_give_a_patient_or_a_clear_error(folder: str) -> None:
    for path in sorted(shared_data("ehr", folder).iterdir()):
        error = _error_of(path)

        assert error is None or (error.code == 2 and error.where and error.hint)


def _error_of(path: Path) -> PosologistError | None:
    try:
        read_patients(path, knowledge=knowledge())
    except PosologistError as error:
        return error
    return None


def test_mapped_share_of_the_sample_codes() -> None:
    patients = [synthea(name) for name in NAMES]
    observed = [bool(o.key) for p in patients for o in p.observations]

    assert sum(observed) / len(observed) > 0.7


def test_a_folder_without_records_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PosologistError, match=r"no \.json"):
        read_patient(tmp_path, knowledge=knowledge())
