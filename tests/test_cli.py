"""The command line: examples that work, errors in one line with their code, and nothing else ever."""

from __future__ import annotations

import gzip
import json
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posologist.knowledge.models import MODELS_FOLDER
from posologist.serve import cli
from posologist.serve.accounts import Accounts
from posologist.serve.rows import Actor, TokenRow
from posologist.serve.store import Store
from posologist.serve.tables import tokens
from synthetic_block import write_table
from warfarin_table import EMPTY, synthetic_table

DEMO = Path(str(files("posologist.serve.demo")))
PROGRAM = [sys.executable, "-c", "from posologist.serve.cli import main; main()"]
EXIT_CODES = {0, 2, 3, 4, 5}


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, through the real entry point."""

    def command(*words: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["posologist", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return command


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that the examples of the help texts name."""
    place = tmp_path_factory.mktemp("examples")
    shutil.copy(DEMO / "patient.json", place / "bundle.json")
    shutil.copy(DEMO / "genome.vcf", place / "sample.vcf")
    for name, words in (("phenotype", ["phenotype", "sample.vcf", "--json"]), ("demo", ["demo", "--json"])):
        ended = subprocess.run([*PROGRAM, *words], cwd=place, check=True, capture_output=True)
        (place / f"{name}.json").write_bytes(ended.stdout)
    _small_rxnorm(place / "RxNorm/rrf")
    for name in ("posologist.db", "held.db"):
        store = Store(f"sqlite:///{place / name}")
        store.migrate()
        store.close()
    _accounts(place / "posologist.db")
    (place / "password.txt").write_text("a long pass phrase\n")
    shutil.copy(MODELS_FOLDER / "theophylline_rovei1982.toml", place / "model.toml")
    plain = write_table(place / "iwpc.csv", synthetic_table(120), columns=tuple(EMPTY))
    (place / "iwpc_warfarin.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (place / "levels.csv").write_text("ID,TIME,AMT,DV,weight\na,0,320,.,70\na,2,.,8,70\na,8,.,5,70\n")
    return place


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with those files; the commands run in it."""
    place = tmp_path / "work"
    shutil.copytree(prepared, place)
    monkeypatch.chdir(place)
    return place


def _accounts(path: Path) -> None:
    """An account with a token of a known id."""
    store = Store(f"sqlite:///{path}")
    Accounts(store).add("anna", name="Anna", role="prescriber", password="a long pass phrase")
    with store.work(Actor("test", "system")) as work:
        held = TokenRow("0123456789abcdef", "anna", "0" * 64, work.now + timedelta(days=1), revoked=False)
        work.insert(tokens, dict(vars(held)))
    store.close()


def _small_rxnorm(place: Path) -> None:
    """An RRF folder with one ingredient and one product of it."""
    place.mkdir(parents=True)
    concepts = [("6918", "metoprolol", "IN"), ("866514", "metoprolol tartrate 50 MG Oral Tablet", "SCD")]
    rows = []
    for rxcui, name, kind in concepts:
        row = [""] * 18
        row[0], row[11], row[12], row[14], row[16] = rxcui, "RXNORM", kind, name, "N"
        rows.append("|".join(row) + "|")
    (place / "RXNCONSO.RRF").write_text("\n".join(rows) + "\n")
    row = [""] * 16
    row[0], row[4], row[7], row[10] = "6918", "866514", "has_ingredient", "RXNORM"
    (place / "RXNREL.RRF").write_text("|".join(row) + "|\n")


def _commands(group: object, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "commands", None):
            yield from _commands(command, (*above, name))
        else:
            yield (*above, name), command


VERBS = dict(_commands(typer.main.get_command(cli.app)))


ELSEWHERE = (
    ("serve",),  # runs until it is stopped: `test_the_process_starts_answers_and_stops_cleanly` does both
    ("explore",),  # needs a table of patients: `test_explore.py` does it on a made one
    ("train",),  # fits for minutes on a table of patients: `test_cli_evaluate.py` does it on a small one
)


def test_the_verbs_are_those_that_other_programs_rely_on() -> None:
    expected = {
        "demo", "recommend", "screen", "phenotype", "guidance", "dose", "simulate", "check", "explain", "serve",
    }  # fmt: skip

    assert {verb[0] for verb in VERBS if len(verb) == 1} >= expected
    assert {("knowledge", "import"), ("audit", "verify"), ("store", "backup"), ("store", "restore")} <= VERBS.keys()


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_the_help_of_a_verb_shows_an_example_that_works(verb: tuple[str, ...], folder: Path, run: Run) -> None:
    shown = run(*verb, "--help")
    example = str(getattr(VERBS[verb], "epilog", "")).removeprefix("Example: posologist ")

    assert shown.code == 0
    assert "Example: posologist" in shown.out
    if verb in ELSEWHERE:
        return
    ended = run(*shlex.split(example))
    allowed = {0, 3} if verb == ("check",) else {0}  # what the knowledge holds is judged by its own tests
    assert ended.code in allowed, ended.err


def test_no_words_at_all_print_the_help(run: Run) -> None:
    shown = run()

    assert shown.code == 0
    assert "recommend" in shown.out


ERRORS = {
    "no such verb": ("nosuch", 2),
    "no patient": ("recommend --for hypertension", 2),
    "missing file": ("recommend --patient nofile.json --for hypertension", 2),
    "folder without a record": ("recommend --patient empty --for hypertension", 2),
    "garbage as a record": ("recommend --patient garbage --for hypertension", 2),
    "garbage as a genome": ("phenotype garbage", 2),
    "folder as a genome": ("phenotype empty", 2),
    "missing genome": ("phenotype nofile.vcf", 2),
    "cut genome": ("phenotype cut.vcf.gz", 2),
    "garbage as a profile": ("recommend --patient bundle.json --for hypertension --profile garbage", 2),
    "garbage as outside calls": ("recommend --patient bundle.json --for hypertension --outside-calls garbage", 2),
    "garbage as levels": ("recommend --patient bundle.json --for hypertension --levels garbage", 2),
    "garbage as preferences": ("recommend --patient bundle.json --for hypertension --preferences garbage", 2),
    "profile and genome": (
        "recommend --patient bundle.json --for hypertension --profile phenotype.json --genome sample.vcf", 2,
    ),
    "unknown indication": ("recommend --patient bundle.json --for happiness", 2),
    "no date": ("recommend --patient bundle.json --for hypertension --as-of yesterday", 2),
    "unknown guideline": ("recommend --patient bundle.json --for hypertension --guideline XX", 2),
    "setting below its floor": ("recommend --patient bundle.json --for hypertension --harm-aversion 0", 2),
    "page into nowhere": ("recommend --patient bundle.json --for hypertension --html nowhere/page.html", 2),
    "page into a folder": ("recommend --patient bundle.json --for hypertension --html empty", 2),
    "unknown sample": ("phenotype sample.vcf --sample nobody", 2),
    "unknown build": ("phenotype sample.vcf --build hg99", 2),
    "unknown drug": ("dose frobnicate --patient bundle.json", 2),
    "no regimen": ("simulate amlodipine", 2),
    "regimen that is none": ("simulate amlodipine --regimen banana", 2),
    "times that are none": ('simulate amlodipine --regimen "5 mg once daily" --times 5', 2),
    "unknown importer": ("knowledge import pharmgkb RxNorm", 2),
    "no RxNorm there": ("knowledge import rxnorm empty", 2),
    "no document": ("explain garbage x", 2),
    "a record is no document": ("explain bundle.json x", 2),
    "unknown key": ("explain demo.json zzz", 2),
    "no phenotype document": ("guidance --profile demo.json", 2),
    "knowledge folder that is not there": ("recommend --patient bundle.json --for hypertension --knowledge nowhere", 3),
    "knowledge that cannot be read": ("check broken", 3),
}  # fmt: skip


@pytest.fixture
def with_bad_files(folder: Path) -> Path:
    Path("garbage").write_bytes(bytes(range(128, 256)) * 20)
    Path("empty").mkdir()
    Path("cut.vcf.gz").write_bytes(gzip.compress(Path("sample.vcf").read_bytes())[:-400])
    (Path("broken") / "drugs").mkdir(parents=True)
    (Path("broken") / "drugs" / "nodrug.toml").write_text("this is = not [toml")
    return folder


def test_every_error_is_one_line_with_its_code_and_json_on_request(with_bad_files: Path, run: Run) -> None:
    for name, (line, code) in ERRORS.items():
        ended = run(*shlex.split(line))
        where = f"{name}: {ended}"
        if line.startswith("check"):
            assert ended.code == code, where
            continue

        assert ended.code == code, where
        assert len(ended.err.strip().splitlines()) == 1, where
        assert "Traceback" not in ended.err + ended.out, where
        assert ended.out == "", where


@pytest.mark.parametrize("name", ["missing file", "no date", "unknown indication", "garbage as a record"])
def test_an_error_in_json_has_code_message_place_and_hint(name: str, with_bad_files: Path, run: Run) -> None:
    line, code = ERRORS[name]

    ended = run(*shlex.split(line), "--json")

    error = json.loads(ended.out)["error"]
    assert (ended.code, error["code"]) == (code, "input")
    assert error["message"]
    assert set(error) == {"code", "message", "where", "hint"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), verb=st.sampled_from(["record", "genome", "calls", "levels", "document"]))
def test_no_file_whatever_makes_a_traceback(data: bytes, verb: str, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "anything"
    path.write_bytes(data)
    record = ("recommend", "--patient", DEMO / "patient.json", "--for", "hypertension", "--as-of", "2026-11-20")
    words = {
        "record": ("recommend", "--patient", path, "--for", "hypertension"),
        "genome": ("phenotype", path),
        "calls": (*record, "--outside-calls", path),
        "levels": (*record, "--levels", path),
        "document": ("explain", path, "x"),
    }[verb]

    ended = run(*words)

    assert ended.code in EXIT_CODES, ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "[]", "{}", "null", '"text"', "1e999", ""])
def test_json_that_is_no_record_is_refused(text: str, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)

    ended = run("recommend", "--patient", path, "--for", "hypertension")
    explained = run("explain", path, "x")

    assert (ended.code, explained.code) == (2, 2), (ended.err, explained.err)


def test_a_reader_that_leaves_early_is_no_error() -> None:
    for words in (["demo", "--json", "--html", "/dev/null"], ["demo", "--html", "/dev/null"]):
        program = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.read(10)
        program.stdout.close()
        said = program.stderr.read().decode()
        program.stderr.close()

        assert program.wait() == 0, said
        assert "Traceback" not in said
        assert "Exception ignored" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_that_cannot_be_written_is_said_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*PROGRAM, "phenotype", DEMO / "genome.vcf", "--json"], stdout=full, stderr=subprocess.PIPE, text=True
        )

    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1


def test_the_demo_writes_its_page_and_prints_the_ranked_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)

    ended = run("demo")

    assert ended.code == 0
    assert Path("demo.html").read_text().startswith("<!doctype html>")
    assert "Plans for hypertension" in ended.out
    assert "Change nothing" in ended.out
    assert "130 to 135 mmHg" in ended.out


def test_the_same_input_gives_the_same_bytes(folder: Path, run: Run) -> None:
    words = ("recommend", "--patient", "bundle.json", "--for", "hypertension", "--as-of", "2026-11-20", "--json")

    assert run(*words).out == run(*words).out


def test_explain_follows_every_key_of_the_demo_to_a_leaf(folder: Path, run: Run) -> None:
    evidence = json.loads(Path("demo.json").read_text())["evidence"]
    for key in evidence:
        ended = run("explain", "demo.json", key, "--json")
        assert ended.code == 0, ended.err
        assert _leaves(json.loads(ended.out)) <= {"patient", "knowledge", "setting", "model"}


def _leaves(trees: list[dict[str, object]]) -> set[object]:
    found: set[object] = set()
    for tree in trees:
        below = tree["because"]
        assert isinstance(below, list)
        found |= _leaves(below) if below else {tree["kind"]}
    return found


def test_explain_takes_the_start_of_a_key_and_a_place(folder: Path, run: Run) -> None:
    document = json.loads(Path("demo.json").read_text())
    key = document["options"][0]["benefit"]["because"][0]

    by_start = run("explain", "demo.json", key.partition(":")[2][:10])
    by_place = run("explain", "demo.json", "options[0].benefit")

    assert by_start.out == by_place.out
    assert key in by_start.out
    assert "source:" in by_start.out


def test_explain_names_the_nearest_keys(folder: Path, run: Run) -> None:
    key = next(iter(json.loads(Path("demo.json").read_text())["evidence"]))

    ended = run("explain", "demo.json", f"{key[:-1]}z")

    assert ended.code == 2
    assert key in ended.err


def test_check_counts_what_is_held_and_fails_on_a_broken_folder(with_bad_files: Path, run: Run) -> None:
    whole = run("check")
    broken = run("check", "broken")

    assert "Cases" in whole.out
    assert "hypertension" in whole.out
    assert broken.code == 3
    assert "nodrug.toml" in broken.out


def test_the_ten_lines_of_python_say_what_the_demo_says(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    runpy.run_path(str(Path(__file__).parents[1] / "examples" / "ten_lines.py"))
    lines = capsys.readouterr().out.splitlines()

    plans = json.loads(run("demo", "--html", "/dev/null", "--json").out)["options"]
    assert len(lines) == len(plans)
    assert all(line.split(" ", 1)[1].startswith(p["plan"]["text"]) for line, p in zip(lines, plans, strict=True))
