"""Code tables: they hang together, imply what they should, and cover what sample records hold."""

import csv
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.core.errors import KnowledgeError
from posologist.core.units import is_known
from posologist.knowledge.codes import Codes, load_codes, written_unit
from posologist.knowledge.load import load_knowledge
from shared import shared_data


@cache
def codes() -> Codes:
    """The tables that ship."""
    return load_knowledge().codes


SNOMED, ICD = "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10-cm"


@pytest.mark.parametrize(
    ("code", "implies"),
    [
        ("ckd_stage_3a", {"ckd_stage_3", "ckd"}),
        ("dialysis", {"ckd_stage_5", "severe_renal_impairment", "ckd"}),
        ("type2_diabetes", {"diabetes"}),
        ("diabetes_type1", {"diabetes"}),
        ("heart_failure_reduced_ef", {"heart_failure"}),
        ("liver_cirrhosis", {"liver_disease"}),
        ("myocardial_infarction", {"coronary_artery_disease", "ascvd", "cvd"}),
        ("pre_eclampsia", {"pregnancy", "hypertension"}),
        ("permanent_af", {"atrial_fibrillation"}),
    ],
)
def test_a_condition_carries_what_it_implies(code: str, implies: set[str]) -> None:
    assert implies <= codes().implied(code)


@given(st.sampled_from(sorted(load_knowledge().codes.conditions)))
def test_implication_is_transitive_and_never_circular(code: str) -> None:
    implied = codes().implied(code)

    assert code not in implied
    assert all(codes().implied(other) <= implied for other in implied)


@pytest.mark.parametrize(
    ("system", "code", "meaning"),
    [
        (SNOMED, "38341003", ("hypertension",)),
        (SNOMED, "44054006", ("type2_diabetes",)),
        (SNOMED, "399211009", ("old_myocardial_infarction",)),
        (SNOMED, "840544004", ()),
        (ICD, "I10", ("hypertension",)),
        (ICD, "E11.65", ("type2_diabetes",)),
        (ICD, "E1122", ("ckd", "type2_diabetes")),
        (ICD, "n18.32", ("ckd_stage_3b",)),
        (ICD, "I50.22", ("heart_failure_reduced_ef",)),
        (ICD, "E66.3", ()),
        ("urn:oid:2.16.840.1.113883.6.90", "J45.909", ("asthma",)),
        ("", "gout", ("gout",)),
        (SNOMED, "1", None),
        (ICD, "Z99.9", None),
        ("http://example.org/local", "38341003", None),
    ],
)
def test_source_codes_mean_our_codes(system: str, code: str, meaning: tuple[str, ...] | None) -> None:
    assert codes().meaning(system, code) == meaning


def test_every_mapped_code_of_the_sample_records_is_mapped_here() -> None:
    table = shared_data("drugs", "_condition_codes.tsv")
    lines = [line for line in table.read_text().splitlines() if not line.startswith("#")]
    rows = [r for r in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if r["our_code"]]
    systems = {"SNOMED": SNOMED, "ICD-10-CM": ICD}
    lost = [
        r["code"]
        for r in rows
        if not codes().meaning(systems[r["system"]], r["code"]) and not r["our_code"].startswith("suspected")
    ]

    assert len(rows) > 120
    assert set(lost) <= {"D35.00"}  # a benign adrenal tumour is not always a phaeochromocytoma


def test_laboratory_codes_have_valid_check_digits() -> None:
    wrong = [code for analyte in codes().analytes.values() for code in analyte.loinc if not _valid(code)]

    assert wrong == []


def _valid(code: str) -> bool:
    body, _, check = code.partition("-")
    total = sum(sum(map(int, str(int(d) * 2))) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(body)))
    return (10 - total % 10) % 10 == int(check)


def test_conversions_agree_with_the_laboratory_table() -> None:
    for key, unit, factor in (
        ("creatinine", "umol/L", 1 / 88.42), ("bun", "mmol/L", 2.801), ("glucose", "mmol/L", 18.016),
        ("ldl", "mmol/L", 38.67),
        ("triglycerides", "mmol/L", 88.57), ("haemoglobin", "g/L", 0.1), ("bilirubin", "umol/L", 1 / 17.1),
        ("calcium", "mmol/L", 4.008), ("magnesium", "mmol/L", 2.431), ("magnesium", "meq/L", 1.2155),
        ("nt_probnp", "pmol/L", 8.457), ("phosphate", "mmol/L", 3.097), ("uric_acid", "umol/L", 1 / 59.48),
        ("uacr", "mg/mmol", 8.84), ("free_t4", "pmol/L", 1 / 12.87), ("alt", "ukat/L", 60.0),
        ("level_digoxin", "nmol/L", 0.781), ("level_phenytoin", "umol/L", 0.2523),
        ("level_theophylline", "umol/L", 0.1802),
    ):  # fmt: skip
        assert codes().analytes[key].canonical(1.0, unit) == pytest.approx(factor, rel=2e-3), key


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("MG/DL", "mg/dL"), ("mg/g{creat}", "mg/g"), ("x10E3/uL", "10*3/uL"), ("{beats}/min", "/min"),
        ("IU/L", "[iU]/L"),
        ("mL/min/1.73_m2", "mL/min/{1.73_m2}"), ("uIU/mL", "u[iU]/mL"), ("mcmol/L", "umol/L"), ("spoons", "spoons"),
    ],
)  # fmt: skip
def test_units_are_read_as_laboratories_write_them(written: str, code: str) -> None:
    assert written_unit(written) == code


@given(st.text(max_size=12))
def test_any_unit_is_known_or_left_as_it_is(text: str) -> None:
    assert is_known(written_unit(text)) or written_unit(text) == text


def test_words_that_look_like_a_condition_are_noticed_in_both_spellings() -> None:
    assert codes().looks_like("Severe anemia, unspecified") == ("Anaemia",)
    assert "Gout" in codes().looks_like("Gout of left foot")
    assert codes().looks_like("Full-time employment (finding)") == ()


def test_a_table_that_implies_the_unknown_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "laboratory.toml").write_text('[analyte.sbp]\nname = "x"\nunit = "mm[Hg]"\n')
    (tmp_path / "conditions.toml").write_text('[condition]\na = { name = "A", implies = ["b"] }\n[codes]\n')

    with pytest.raises(KnowledgeError, match="implies 'b'"):
        load_codes(tmp_path)


def test_a_table_with_an_unknown_unit_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "laboratory.toml").write_text('[analyte.sbp]\nname = "x"\nunit = "spoons"\n')
    (tmp_path / "conditions.toml").write_text('[condition]\na = { name = "A", implies = [] }\n[codes]\n')

    with pytest.raises(KnowledgeError, match="spoons"):
        load_codes(tmp_path)
