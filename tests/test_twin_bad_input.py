"""What is wrong in a model file, an event table or a patient's levels ends in one clear line or a finding, in time."""

from __future__ import annotations

import copy
import json
import random
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from patients import as_bytes, bundle, fhir_condition, fhir_observation, fhir_patient
from posologist.serve.cli import main
from posologist.twin.events import MOST_DOSES

EXAMPLES = sorted((Path(__file__).parents[1] / "examples" / "models").glob("*.toml"))
ONE = next(path for path in EXAMPLES if path.stem == "one_compartment")
LONGEST_S = 10.0
Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a verb with --json: exit code, document and the messages."""

    def call(*arguments: str | Path) -> tuple[int, Any, str]:
        monkeypatch.setattr(sys, "argv", ["posologist", *map(str, arguments), "--json"])
        start = time.monotonic()
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        assert time.monotonic() - start < LONGEST_S, arguments
        code = int(stopped.value.code or 0)
        _told(code, shown.out, shown.err)
        return code, json.loads(shown.out), shown.err

    return call


def _told(code: int, out: str, err: str) -> None:
    """No defect, no traceback; an error is one line with what is wrong; no NaN in a document."""
    assert code in (0, 2, 3, 4, 5), err
    assert "Traceback" not in err
    assert "NaN" not in out
    assert "Infinity" not in out
    if code:
        assert len(err.strip().splitlines()) == 1
        assert json.loads(out)["error"]["message"]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_written(held)}" for key, held in value.items()) + "}"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inside:
        yield from _places(held, (*place, key))


_STRANGE = [
    0, -1, 1e308, 1e-308, float("nan"), float("inf"), 10**30, "", "x", "1/0", "exp(1000)", True, [], {}, [1], {"a": 1},
]  # fmt: skip


def _mutated(path: Path, chance: random.Random) -> str:
    """The model file with one key taken away, added, or given a strange value."""
    model = tomllib.loads(path.read_text(encoding="utf-8"))
    place = chance.choice(list(_places(model)))
    held: Any = model
    for key in place[:-1]:
        held = held[key]
    change = chance.randrange(4)
    if change == 0:
        del held[place[-1]]
    elif change == 1 and isinstance(held[place[-1]], dict):
        held[place[-1]]["strange"] = 1
    else:
        held[place[-1]] = chance.choice(_STRANGE)
    return "\n".join(f"{json.dumps(key)} = {_written(value)}" for key, value in model.items())


_HEADER = "ID,TIME,DV,AMT,RATE,EVID,MDV,CMT,II,ADDL,SS,WEIGHT"
_ROWS = (
    "1,0,.,100,50,1,1,1,12,2,0,70",
    "1,2,1.5,.,.,0,0,.,.,.,.,70",
    "1,12,1.1,.,.,0,0,.,.,.,.,70",
    "1,30,0.8,.,.,0,0,.,.,.,.,70",
)


def _table(folder: Path, *rows: str, header: str = _HEADER) -> Path:
    path = folder / "events.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_mutated_model_file_is_refused_or_answered(run: Run, tmp_path: Path, example: Path) -> None:
    chance = random.Random(example.stem)
    events = _table(tmp_path, *_ROWS)
    codes = set()
    for n in range(25):
        model = tmp_path / f"m{n}.toml"
        model.write_text(_mutated(example, chance), encoding="utf-8")
        codes.add(run("fit", "--model", model, "--data", events)[0])
        codes.add(run("simulate", "--model", model, "--events", events)[0])

    assert 3 in codes


@pytest.mark.parametrize("text", ["", "id = ", "\x00\x01", "[omega", "id = 'x'\nid = 'y'", "= 1", "a = {b = 1"])
def test_a_file_that_is_no_model_is_refused(run: Run, tmp_path: Path, text: str) -> None:
    model = tmp_path / "m.toml"
    model.write_text(text, encoding="utf-8")
    code, document, _ = run("fit", "--model", model, "--data", _table(tmp_path, *_ROWS))

    assert code == 3
    assert document["error"]["where"] == str(model)


_CELLS = [
    "-1", "-2", "0", "2", "3", "4", "9", "-5", "1e308", "-1e308", "1e-308", "nan", "inf", "text", "", "NA", ".", "1,5",
    "0x10", "1_0", "100000000", "0.5", "1;2", '"', '""', "a\nb",
]  # fmt: skip


def _spoiled(chance: random.Random) -> bytes:
    """An event table with some cells, columns, rows, separators, line ends or bytes of another kind."""
    names, rows = _HEADER.split(","), [row.split(",") for row in _ROWS]
    for _ in range(chance.choice([1, 1, 2, 3])):
        change = chance.randrange(9)
        if change < 5:
            row = chance.choice(rows)
            row[chance.randrange(len(row))] = chance.choice(_CELLS)
        elif change == 5 and len(names) > 1:
            gone = chance.randrange(len(names))
            names, rows = names[:gone] + names[gone + 1 :], [row[:gone] + row[gone + 1 :] for row in rows]
        elif change == 6:
            chance.shuffle(rows)
        elif change == 7:
            names, rows = [*names, chance.choice(["ID", "LLOQ", "CENS", "DVID", "D1", "R1"])], [[*r, "1"] for r in rows]
        else:
            rows = [*rows, *copy.deepcopy(rows)]
    mark, end = chance.choice([",", ",", ";", "\t"]), chance.choice(["\n", "\r\n", "\r"])
    text = end.join(mark.join(row) for row in [names, *rows]) + end
    spoiled = text.encode(chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))
    return spoiled[: chance.randrange(len(spoiled))] if chance.random() < 0.05 else spoiled


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_spoiled_event_table_is_refused_or_answered(run: Run, tmp_path: Path, example: Path) -> None:
    chance = random.Random(example.stem)
    codes = set()
    for n in range(20):
        events = tmp_path / f"e{n}.csv"
        events.write_bytes(_spoiled(chance))
        codes.add(run("fit", "--model", example, "--data", events)[0])
        codes.add(run("simulate", "--model", example, "--events", events)[0])

    assert 2 in codes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*_ROWS, "1,40,.,100,.,9,1,1,.,.,.,70"], "EVID 9 is unknown"),
        ([*_ROWS, "1,40,.,-100,.,1,1,1,.,.,.,70"], "is negative"),
        (["1,0,.,100,50,1,1,1,0,2,0,70", *_ROWS[1:]], "ADDL 2 without II"),
        ([_ROWS[0], *_ROWS[:0:-1]], "time goes back"),
        ([*_ROWS, "1,40,much,.,.,0,0,.,.,.,.,70"], "not a finite number"),
        (["1,0,.,100,50,1,1,1,12,100000000,0,70", *_ROWS[1:]], "further doses"),
        ([f"1,{k},.,100,50,1,1,1,.,.,0,70" for k in range(MOST_DOSES)] + [f"1,{MOST_DOSES},1.0,.,.,0,0,.,.,.,.,70"],
         "records and"),
        ([_ROWS[0], "2,0,.,100,50,1,1,1,12,2,0,70", *_ROWS[1:]], "in two places"),
        ([], "no rows"),
        ([_ROWS[0]], "no levels"),
    ],
)  # fmt: skip
def test_a_wrong_event_table_names_its_mistake(run: Run, tmp_path: Path, rows: list[str], message: str) -> None:
    code, document, _ = run("fit", "--model", ONE, "--data", _table(tmp_path, *rows))

    assert code == 2
    assert message in document["error"]["message"]


def test_marks_of_other_programs_change_nothing(run: Run, tmp_path: Path) -> None:
    plain = _table(tmp_path, *_ROWS).read_text(encoding="utf-8")
    answers = []
    for n, other in enumerate((plain, "\ufeff" + plain, plain.replace("\n", "\r\n"), plain.replace(",", ";"))):
        path = tmp_path / f"other{n}.csv"
        path.write_bytes(other.encode())
        answers.append(run("fit", "--model", ONE, "--data", path)[1]["subjects"])

    assert all(answer == answers[0] for answer in answers)


def test_ten_thousand_rows_of_many_subjects_are_answered(run: Run, tmp_path: Path) -> None:
    rows = [row for n in range(2500) for row in (f"{n},0,.,100,.,1,1,1,.,.,.,70",
            *(f"{n},{t},{y},.,.,0,0,.,.,.,.,70" for t, y in ((2, 2.4), (6, 1.3), (12, 0.6))))]  # fmt: skip
    code, document, _ = run("fit", "--model", ONE, "--data", _table(tmp_path, *rows))

    assert code == 0
    assert len(document["subjects"]) == 2500
    assert all(subject["converged"] for subject in document["subjects"].values())


@pytest.mark.parametrize(
    ("rows", "remark"),
    [
        (["1,1,1.5,.,.,0,0,.,.,.,.,70", "1,2,.,100,50,1,1,1,.,.,.,70"], "before the first"),
        (["1,1,1.5,.,.,0,0,.,.,.,.,70"], "no dose is given"),
        ([_ROWS[0], "1,2,-1.5,.,.,0,0,.,.,.,.,70"], "below zero"),
        ([_ROWS[0].removesuffix("70") + "900", _ROWS[1].removesuffix("70") + "900"], "outside the studied range"),
        ([_ROWS[0].removesuffix("70") + "-5", _ROWS[1].removesuffix("70") + "-5"], "weight"),
        ([_ROWS[0].removesuffix("70") + "0", _ROWS[1].removesuffix("70") + "0"], "weight"),
    ],
)  # fmt: skip
def test_what_a_model_cannot_explain_is_a_finding_of_the_fit(
    run: Run, tmp_path: Path, rows: list[str], remark: str
) -> None:
    code, document, _ = run("fit", "--model", ONE, "--data", _table(tmp_path, *rows))

    assert code == 0
    assert remark in " ".join(document["subjects"]["1"]["findings"])


def test_a_covariate_outside_of_the_study_is_a_finding_of_the_simulation(run: Run, tmp_path: Path) -> None:
    rows = [row.removesuffix("70") + "130" for row in _ROWS]
    code, document, _ = run("simulate", "--model", ONE, "--events", _table(tmp_path, *rows))

    assert code == 0
    assert "outside the studied range" in document["findings"][0]["detail"]
    assert document["findings"][0]["because"][0] in document["evidence"]


@pytest.mark.parametrize(
    "singular",
    ["values = { CL = 0.09, V1 = 0.0 }", 'values = { CL = 0.09, V1 = 0.04 }\ncovariances = [["CL", "V1", 0.06]]'],
)
def test_a_singular_omega_is_fitted_and_simulated(run: Run, tmp_path: Path, singular: str) -> None:
    text = ONE.read_text(encoding="utf-8")
    begin, end = text.index("values = { CL"), text.index("[about]")
    model = tmp_path / "one_compartment.toml"
    model.write_text(text[:begin] + singular + "\n\n" + text[end:], encoding="utf-8")
    code, fitted, _ = run("fit", "--model", model, "--data", _table(tmp_path, *_ROWS))
    again, simulated, _ = run("simulate", "--model", model, "--events", _table(tmp_path, *_ROWS))

    assert (code, again) == (0, 0)
    assert fitted["subjects"]["1"]["converged"]
    low, high = (simulated["outputs"]["concentration"][side] for side in ("low", "high"))
    assert all(below < above for below, above in zip(low, high, strict=True))


def _patient(folder: Path, weight: float) -> Path:
    record = bundle(
        fhir_patient(), fhir_observation("29463-7", weight, "kg"), fhir_observation("8302-2", 178, "cm"),
        fhir_observation("2160-0", 1.0, "mg/dL"), fhir_condition("59621000"),
    )  # fmt: skip
    path = folder / "bundle.json"
    path.write_bytes(as_bytes(record))
    return path


def _dose(run: Run, folder: Path, *, weight: float = 80.0, level: str | None = "2026-11-03T06:00,12,mg/L,vancomycin"):
    (folder / "events.csv").write_text(
        "time,amount,unit,route,duration_h,drug\n2026-11-02T08:00,1,g,iv,1,vancomycin\n2026-11-02T20:00,1,g,iv,1,vancomycin\n"
    )
    asked: list[str | Path] = ["--patient", _patient(folder, weight), "--events", folder / "events.csv"]
    if level is not None:
        (folder / "levels.csv").write_text(f"time,value,unit,analyte\n{level}\n")
        asked += ["--levels", folder / "levels.csv"]
    return run("dose", "vancomycin", *asked, "--model", "vancomycin_goti2018", "--as-of", "2026-11-20")


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("2026-11-03T06:00,12,bananas,vancomycin", "bananas"),
        ("2026-11-03T06:00,12,mg,vancomycin", "mg"),
        ("2026-11-02T06:00,12,mg/L,vancomycin", "not after the first dose"),
        ("2026-12-24T06:00,12,mg/L,vancomycin", "in the future"),
        ("2026-11-03T06:00,-12,mg/L,vancomycin", "-12"),
        ("2026-11-03T06:00,much,mg/L,vancomycin", "much"),
        ("-5,12,mg/L,vancomycin", "-5"),
        ("2026-11-03T06:00,12,mg/L,gentamicin", "the level is of gentamicin"),
        ("yesterday,12,mg/L,vancomycin", "yesterday"),
    ],
)
def test_a_wrong_level_stops_the_dose_and_is_named(run: Run, tmp_path: Path, level: str, message: str) -> None:
    code, _, err = _dose(run, tmp_path, level=level)

    assert code == 2
    assert message in err


@pytest.mark.parametrize("weight", [0.0, -5.0, 900.0])
def test_an_impossible_weight_gives_no_silent_dose(run: Run, tmp_path: Path, weight: float) -> None:
    code, document, err = _dose(run, tmp_path, weight=weight)

    assert "weight" in (err if code else json.dumps(document["findings"]))


def test_without_levels_the_answer_says_that_it_is_the_population(run: Run, tmp_path: Path) -> None:
    code, document, _ = _dose(run, tmp_path, level=None)

    assert code == 0
    assert "Population answer" in {finding["title"] for finding in document["findings"]}
