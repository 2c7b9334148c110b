"""`evaluate` and `train` of the learned tasks, as another program calls them."""

import json
import sys

import pytest

from posologist.core.evaluation import EvaluationDocument, EvaluationsDocument
from posologist.serve import learning
from posologist.serve.cli import main
from synthetic_block import BLOCK, rows, write_table


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a verb on the synthetic task; gives standard output, standard error and the exit code."""
    monkeypatch.setattr("posologist.study.tasks.BLOCKS", (BLOCK,))
    monkeypatch.setattr("posologist.study.tasks.EXPERIMENTS", ())

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["posologist", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        told = capsys.readouterr()
        return told.out, told.err, int(stopped.value.code or 0)

    return call


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "ml" / "synthetic"
    folder.mkdir(parents=True)
    write_table(folder / "synthetic.csv", rows(80))
    return tmp_path / "data"


def test_a_task_prints_its_document_and_nothing_else_with_json(run, data) -> None:
    out, err, code = run("evaluate", "synthetic", "--data", data, "--quick", "--processes", 1, "--json")
    document = EvaluationDocument.model_validate_json(out)

    assert code == 0
    assert err == ""
    assert document.task == "synthetic"
    assert document.label == "simulated patients"
    assert json.loads(out)["schema"] == "posologist/evaluation/1"
    assert [row.method for row in document.rows] == ["mean", "silent", "engine"]


def test_a_task_writes_json_markdown_and_plots(run, data, tmp_path) -> None:
    out, _, code = run("evaluate", "synthetic", "--data", data, "--quick", "--processes", 1, "--out", tmp_path / "o")

    assert code == 0
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "synthetic.json", "synthetic.md", "synthetic-calibration.svg", "synthetic-error.svg",
    }  # fmt: skip
    EvaluationDocument.model_validate_json((tmp_path / "o" / "synthetic.json").read_text(encoding="utf-8"))
    assert "| engine | 80 |" in out


def test_all_writes_to_the_working_folder_and_says_what_is_not_there(run, data, tmp_path, monkeypatch) -> None:
    from dataclasses import replace

    other = replace(BLOCK, task="other", file="other/other.csv")
    monkeypatch.setattr("posologist.study.tasks.BLOCKS", (BLOCK, other))
    monkeypatch.chdir(tmp_path)
    out, _, code = run("evaluate", "all", "--data", data, "--quick", "--processes", 1, "--json")
    found = EvaluationsDocument.model_validate_json(out)

    assert code == 0
    assert [document.task for document in found.documents] == ["synthetic"]
    assert any("other was not computed: no table other/other.csv" in text for text in found.findings)
    assert (tmp_path / "evaluation" / "synthetic.md").exists()


def test_a_task_that_fails_does_not_lose_the_others_and_gives_its_exit_code(run, data, tmp_path, monkeypatch) -> None:
    from dataclasses import replace

    few = data / "ml" / "few"
    few.mkdir()
    write_table(few / "few.csv", rows(5))
    monkeypatch.setattr("posologist.study.tasks.BLOCKS", (replace(BLOCK, task="few", file="few/few.csv"), BLOCK))
    out, _, code = run(
        "evaluate", "all", "--data", data, "--quick", "--processes", 1, "--out", tmp_path / "o", "--json"
    )
    found = EvaluationsDocument.model_validate_json(out)

    assert code == 2
    assert [document.task for document in found.documents] == ["synthetic"]
    assert any("few was not computed" in text and "too few" in text for text in found.findings)


def test_train_and_test_tables_are_tested_on_the_second(run, tmp_path) -> None:
    train = write_table(tmp_path / "a.csv", rows(60))
    test = write_table(tmp_path / "b.csv", rows(30, seed=1, start=900))
    out, _, code = run("evaluate", "synthetic", "--train", train, "--test", test, "--processes", 1, "--json")
    document = json.loads(out)

    assert code == 0
    assert document["train"]["n"] == 60
    assert document["test"]["n"] == 30
    assert {row["n"] for row in document["rows"] if row["method"] != "silent"} == {30}


def test_a_wrong_header_is_an_error_that_names_the_columns(run, tmp_path) -> None:
    wrong = write_table(tmp_path / "w.csv", rows(20), columns=("id", "x"))
    _, err, code = run("evaluate", "synthetic", "--train", wrong, "--test", wrong)

    assert code == 2
    assert "lacks 3 of 5 columns: 'race', 'site', 'y'" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing", "--data", "."), "is not in this version"),
        (("synthetic",), "data are needed"),
        (("synthetic", "--train", "a.csv"), "one of two tables is missing"),
        (("all", "--train", "a.csv", "--test", "b.csv"), "two tables belong to one task"),
        (("synthetic", "--data", ".", "--leave-one-out"), "an option of kinetics"),
        (("kinetics", "--quick"), "an option of the learned tasks"),
        (("synthetic", "--data", "/nowhere"), "none of synthetic/synthetic.csv is there"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(run, arguments, said) -> None:
    _, err, code = run("evaluate", *arguments)

    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_without_the_extra_it_says_what_to_install(run, data, monkeypatch) -> None:
    monkeypatch.setattr(learning, "_NEEDED", ("a_library_that_is_not_there",))
    _, err, code = run("evaluate", "synthetic", "--data", data)

    assert code == 4
    assert "pip install 'posologist[train]'" in err


def test_a_task_without_a_model_to_serve_cannot_be_trained(run, data, tmp_path) -> None:
    _, err, code = run("train", "synthetic", "--data", data, "--out", tmp_path / "m")

    assert code == 2
    assert "has no model to save" in err
