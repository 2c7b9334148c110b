"""What the README shows is what the program prints, and its Python runs as it stands."""

import contextlib
import io
import re
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from posologist.serve.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
DEMO = Path(str(files("posologist.serve.demo")))


def blocks(kind: str) -> list[str]:
    """Fenced blocks of one kind."""
    return re.findall(rf"```{kind}\n(.*?)```", README, flags=re.DOTALL)


def test_the_table_of_the_readme_is_what_the_demo_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["posologist", "demo"])
    with pytest.raises(SystemExit):
        main()
    printed = " ".join(capsys.readouterr().out.split())

    shown = " ".join(blocks("text")[0].split())
    assert len(shown) > 1000
    assert shown in printed


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(DEMO / "patient.json", tmp_path / "bundle.json")
    shutil.copy(DEMO / "genome.vcf", tmp_path / "sample.vcf.gz")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})

    assert printed.getvalue().startswith("1 ")
    assert len(code.strip().splitlines()) <= 20
