"""The errors that posologist raises.

::

    PosologistError            1  a defect
    ├── InputError             2  the patient's data, the command or the file is wrong
    ├── KnowledgeError         3  our own facts are wrong
    ├── ModelError             4  a model cannot answer for this patient
    └── NumericsError          5  a computation did not converge or left its domain

Each carries three parts: what is wrong, where, and what to do.
"""

from __future__ import annotations


class PosologistError(Exception):
    """Base of everything that posologist raises; `code` is also the exit code."""

    code = 1
    kind = "defect"

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"; {self.hint}" if self.hint else ""
        return f"{place}{self.message}{advice}"


class InputError(PosologistError):
    """The input is wrong: a file, a field, a unit, an option."""

    code = 2
    kind = "input"


class KnowledgeError(PosologistError):
    """A fact that we ship, or that the user added, is wrong."""

    code = 3
    kind = "knowledge"


class ModelError(PosologistError):
    """A model cannot answer for this patient."""

    code = 4
    kind = "model"


class NumericsError(PosologistError):
    """A computation did not converge, or was asked outside its domain."""

    code = 5
    kind = "numerics"
