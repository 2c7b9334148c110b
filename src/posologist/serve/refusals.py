"""What the store refuses. All are errors of the input; none carries a patient's data, only what was asked for.

::

    InputError
    └── StoreError               the database cannot be used, or refused a change
        ├── NotFoundError        nothing is held by this id
        ├── ConsentRefusedError  the patient's consent does not cover the purpose
        └── ConflictError        the same key with another content, or a request that is still being answered
"""

from __future__ import annotations

from posologist.core.errors import InputError


class StoreError(InputError):
    """The database cannot be used, or refused a change."""


class NotFoundError(StoreError):
    """Nothing is held by this id."""


class ConsentRefusedError(StoreError):
    """The patient's consent does not cover the actor's purpose."""


class ConflictError(StoreError):
    """The same key was used for something else, or its first request is still being answered."""
