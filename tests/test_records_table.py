"""CSV patients, levels and events: what stands there arrives; an error names file, line and column."""

import contextlib
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posologist.core.errors import InputError
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.records.fhir_in import read_patient
from posologist.records.rxnorm import import_rxnorm, load_rxnorm
from posologist.records.table import read_csv_patient, read_events, read_levels

FILES = {
    "patient.csv": "id,birth_date,sex,name\n7,1964-01-02,male,Made\n",
    "observations.csv": (
        "key,loinc,value,unit,time\nsbp,,152,mmHg,2026-11-01\ndbp,,96,mmHg,2026-11-01\n,2160-0,106,umol/L,2026-11-02T08:00:00Z\n"
    ),
    "conditions.csv": "code,system,onset,end\nhypertension,,2020-01-01,\nN18.32,ICD-10-CM,2021-05-01,\n",
    "medications.csv": (
        "text,dose,unit,per_day,start,status\nmetoprolol succinate 100 MG ER tablet,100,mg,1,2026-08-01,active\n"
    ),
    "allergies.csv": "text,reaction\nlisinopril,lip angioedema\n",
}


@cache
def knowledge() -> Knowledge:
    """The knowledge base that ships."""
    return load_knowledge()


def folder(path: Path, **changed: str | None) -> Path:
    """A patient's folder, with files replaced (or left out for None)."""
    for name, text in {**FILES, **{f"{key}.csv": value for key, value in changed.items()}}.items():
        if text is not None:
            (path / name).write_text(text)
    return path


def test_a_csv_patient_is_read_whole(tmp_path: Path) -> None:
    patient = read_csv_patient(folder(tmp_path), knowledge=knowledge(), as_of=date(2026, 11, 20))
    values = {o.key: o.value for o in patient.observations}

    assert (patient.id, patient.sex, patient.birth_date) == ("7", "male", date(1964, 1, 2))
    assert (values["sbp"], values["dbp"]) == (152, 96)
    assert values["creatinine"] == pytest.approx(1.199, abs=1e-3)
    assert {c for condition in patient.conditions for c in condition.codes} == {"hypertension", "ckd_stage_3b"}
    assert [(m.drugs, m.dose, m.dose_unit, m.per_day) for m in patient.medications] == [(("metoprolol",), 100, "mg", 1)]
    assert [(a.groups, a.reactions) for a in patient.allergies] == [(("lisinopril",), ("angioedema",))]


def test_the_general_reader_takes_a_csv_folder(tmp_path: Path) -> None:
    assert read_patient(folder(tmp_path), knowledge=knowledge()) == read_csv_patient(tmp_path, knowledge=knowledge())
    assert read_patient(tmp_path / "patient.csv", knowledge=knowledge()).id == "7"


def test_a_missing_file_is_a_list_that_was_not_given(tmp_path: Path) -> None:
    patient = read_csv_patient(folder(tmp_path, allergies=None), knowledge=knowledge())

    assert not patient.allergy_list_given
    assert patient.problem_list_given


@pytest.mark.parametrize("text", ["text\n", "text\nnone\n"])
def test_an_empty_allergy_file_says_that_there_is_none(tmp_path: Path, text: str) -> None:
    patient = read_csv_patient(folder(tmp_path, allergies=text), knowledge=knowledge())

    assert patient.allergy_list_given
    assert patient.allergies == ()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("patient", "id,sex\n1,male\n", "patient.csv:1.*birth_date"),
        ("patient", "id,birth_date,sex\n1,yesterday,male\n", "patient.csv:2.*birth_date"),
        ("patient", "id,birth_date,sex\n1,1960-01-01,male\n2,1961-01-01,male\n", "2 patients.*1, 2"),
        ("patient", "id,birth_date,sex,shoe\n1,1960-01-01,male,44\n", "shoe is not known"),
        ("observations", "key,value,unit,time\nsbp,high,mmHg,2026-01-01\n", "observations.csv:2.*value.*number"),
        ("observations", "key,value,unit,time\nsbp,120,mmHg,soon\n", "observations.csv:2.*time"),
        ("observations", "key,value,unit,time\nsbp,120,kg,2026-01-01\n", "observations.csv:2.*unit"),
        ("observations", "key,value,unit,time\nbloodpressure,120,mmHg,2026-01-01\n", "observations.csv:2.*key"),
        ("observations", "key,value,unit,time\nsbp,120,mmHg\n", "observations.csv:2.*3 cells, 4 columns"),
        ("conditions", "code\nhypertnsion\n", "conditions.csv:2.*code"),
        ("medications", "text,dose\naspirin,lots\n", "medications.csv:2.*dose"),
    ],
)
def test_an_error_names_file_line_and_column(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_csv_patient(folder(tmp_path, **{name: text}), knowledge=knowledge())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([key for key in FILES if key != "patient.csv"]),
    cells=st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=6), min_size=1, max_size=7), max_size=4),
)
def test_any_table_is_a_patient_or_a_clear_error(tmp_path: Path, name: str, cells: list[list[str]]) -> None:
    header = FILES[name].splitlines()[0]
    rows = "\n".join(",".join(row) for row in cells)
    folder(tmp_path)
    (tmp_path / name).write_text(f"{header}\n{rows}\n", encoding="utf-8")

    with contextlib.suppress(InputError):
        assert read_csv_patient(tmp_path, knowledge=knowledge()).id == "7"


def test_levels_are_read_in_time_order() -> None:
    data = b"time,value,unit,analyte\n2026-11-02T08:00:00Z,12.5,mg/L,vancomycin\n"
    data += b"2026-11-01T08:00:00+01:00,9000,ug/L,vancomycin\n"
    levels = read_levels(data)

    assert [level.value for level in levels] == [9000, 12.5]
    assert levels[0].at == datetime(2026, 11, 1, 7, tzinfo=UTC)
    assert levels[0].unit == "ug/L"


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("x,1,mg/L,v", "time"),
        ("2026-01-01,-1,mg/L,v", "value"),
        ("2026-01-01,1,spoons,v", "unit"),
        ("2026-01-01,1,mg/L,", "analyte"),
    ],
)
def test_a_wrong_level_names_its_column(line: str, column: str) -> None:
    with pytest.raises(InputError, match=f"levels.csv:2.*{column}"):
        read_levels(f"time,value,unit,analyte\n{line}\n".encode())


def test_events_are_read_with_infusion_time_and_drug() -> None:
    data = b"time,amount,unit,route,duration_h,drug\n"
    data += b"2026-11-01T08:00:00Z,1000,mg,IV,1,vancomycin\n2026-11-01T20:00:00Z,1000,mg,iv,,\n"
    events = read_events(data)

    assert [(e.amount, e.route, e.duration_h, e.drug) for e in events] == [
        (1000, "iv", 1, "vancomycin"),
        (1000, "iv", 0, ""),
    ]


@pytest.mark.parametrize("line", ["2026-01-01,0,mg,iv", "2026-01-01,5,tablet,oral", "2026-01-01,5,mg,"])
def test_a_wrong_event_is_refused(line: str) -> None:
    with pytest.raises(InputError, match=r"events\.csv:2"):
        read_events(f"time,amount,unit,route\n{line}\n".encode())


def _rrf(rxcui: str, kind: str, name: str) -> str:
    cells = [""] * 18
    cells[0], cells[11], cells[12], cells[14], cells[16] = rxcui, "RXNORM", kind, name, "N"
    return "|".join(cells)


def _relation(product: str, relation: str, target: str) -> str:
    cells = [""] * 16
    cells[0], cells[4], cells[7] = target, product, relation
    return "|".join(cells)


def _release(path: Path) -> Path:
    """A tiny release in NLM's layout: a tablet, its component, a brand, a two-ingredient product."""
    concepts = [
        _rrf("6918", "IN", "metoprolol"), _rrf("29046", "IN", "lisinopril"), _rrf("5487", "IN", "hydrochlorothiazide"),
        _rrf("866436", "SCD", "24 HR metoprolol succinate 50 MG Extended Release Oral Tablet"),
        _rrf("866435", "SCDC", "metoprolol succinate 50 MG"), _rrf("866438", "SBD", "Toprol 50"),
        _rrf("1", "IN", "newdrug"),
        _rrf("197885", "SCD", "hydrochlorothiazide 12.5 MG / lisinopril 10 MG Oral Tablet"),
        _rrf("2", "SCD", "newdrug 1 MG"),
    ]  # fmt: skip
    relations = [
        _relation("866436", "consists_of", "866435"), _relation("866435", "has_ingredient", "6918"),
        _relation("866438", "tradename_of", "866436"), _relation("197885", "has_ingredient", "29046"),
        _relation("197885", "has_ingredient", "5487"), _relation("2", "has_ingredient", "1"),
    ]  # fmt: skip
    (path / "RXNCONSO.RRF").write_text("\n".join(concepts) + "\n")
    (path / "RXNREL.RRF").write_text("\n".join(relations) + "\n")
    return path


def test_an_imported_rxnorm_release_maps_products_and_brands_to_ingredients(tmp_path: Path) -> None:
    written = import_rxnorm(_release(tmp_path), tmp_path / "site")
    known = load_rxnorm(tmp_path / "site")

    assert written == 9
    assert known is not None
    assert known.products["866438"] == ("6918",)
    assert known.products["197885"] == ("5487", "29046")


def test_with_the_site_map_a_code_alone_names_the_drugs(tmp_path: Path) -> None:
    import_rxnorm(_release(tmp_path), tmp_path / "site")
    people = folder(tmp_path, medications="rxcui\n866438\n197885\n2\n")
    patient = read_csv_patient(people, knowledge=knowledge(), rxnorm=load_rxnorm(tmp_path / "site"))

    assert [m.drugs for m in patient.medications] == [("metoprolol",), ("hydrochlorothiazide", "lisinopril"), ()]
    assert patient.medications[0].how_resolved.startswith("by the site's RxNorm map")
    assert patient.medications[2].unresolved == "newdrug"


def test_a_release_that_is_not_there_or_cut_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"RXNCONSO\.RRF is not there"):
        import_rxnorm(tmp_path, tmp_path / "site")
    (tmp_path / "RXNCONSO.RRF").write_text("a|b\n")
    with pytest.raises(InputError, match=r"RXNCONSO\.RRF:1"):
        import_rxnorm(tmp_path, tmp_path / "site")


def test_without_an_import_there_is_no_map(tmp_path: Path) -> None:
    assert load_rxnorm(tmp_path) is None
