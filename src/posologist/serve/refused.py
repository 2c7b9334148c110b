"""What the door refuses before anything is asked of the service.

::

    InputError
    ├── UnauthorisedError  nobody who is known asks
    ├── ForbiddenError     this role, or this browser's form, may not
    └── TooMuchError       too large (413), too often (429), of a wrong kind (415)
"""

from __future__ import annotations

from typing import Literal

from posologist.core.errors import InputError


class UnauthorisedError(InputError):
    """Nobody who is known asks."""


class ForbiddenError(InputError):
    """Who asks may not do this."""


class TooMuchError(InputError):
    """A request beyond what is read; `status` is the answer's."""

    def __init__(self, message: str, *, status: Literal[413, 415, 429], where: str = "", hint: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
