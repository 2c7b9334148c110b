"""Where the reference data lie; tests that need them are skipped, with the reason, where they are absent."""

from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(*parts: str) -> Path:
    """Path below the reference data; skips the test when the folder is not there."""
    path = _ROOT.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference data are not at {path}")
    return path
