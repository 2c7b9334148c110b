"""Secrets, which come from the environment or from a file that it names, never from the command line."""

from __future__ import annotations

import os
from pathlib import Path

from posologist.core.errors import InputError


def secret(name: str) -> str:
    """What the file holds that the variable NAME_FILE names, else the variable NAME, else nothing.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    place = os.environ.get(f"{name}_FILE")
    return secret_of(Path(place), f"{name}_FILE") if place else os.environ.get(name, "")


def secret_of(path: Path, where: str) -> str:
    """What a file holds, without the end of its line.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the file cannot be read", where=where, hint="check the path") from error
