"""The public names, and that importing the package does nothing."""

import subprocess
import sys

import pytest

import posologist


def test_public_names_are_these() -> None:
    assert posologist.__all__ == sorted(
        [
            "GeneticProfile", "Knowledge", "LocalEngine", "Patient", "PosologistError", "Recommendation", "Screening",
            "Settings", "Twin", "call_genome", "check_knowledge", "dose", "dose_for", "guidance_document",
            "load_knowledge", "load_models", "read_patient", "read_patients", "recommend_many", "recommend_one",
            "render_html", "replayed", "screen_order", "simulate_for", "to_fhir",
        ]
    )  # fmt: skip


def test_each_public_name_can_be_had_and_is_documented() -> None:
    for name in posologist.__all__:
        assert getattr(posologist, name).__doc__, name


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        "import sys, posologist;"
        "print(sorted(m for m in sys.modules if m.startswith(('posologist.', 'numpy', 'pydantic'))))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_recommend_stays_clear_of_heavy_libraries() -> None:
    code = (
        "import sys, posologist; posologist.recommend_one; posologist.read_patient; posologist.call_genome;"
        "heavy = ('sklearn', 'lightgbm', 'shap', 'torch', 'pandas', 'fastapi', 'scipy.optimize');"
        "print([m for m in heavy if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_command_line_loads_no_server_and_no_database() -> None:
    code = (
        "import sys, posologist.serve.cli;"
        "heavy = ('fastapi', 'starlette', 'uvicorn', 'sqlalchemy', 'alembic');"
        "print([m for m in heavy if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(AttributeError, match="recommend_one"):
        posologist.nonsense  # noqa: B018
