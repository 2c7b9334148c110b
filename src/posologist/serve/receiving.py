"""What comes in from outside: how large it may be, its digest, a hook's request without its token."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from posologist.core.errors import InputError
from posologist.serve.audit import canonical


@dataclass(frozen=True)
class Bounds:
    """The largest inputs that are read."""

    bundle_bytes: int = 64 * 2**20
    vcf_bytes: int = 4 * 2**30
    table_bytes: int = 2**20
    rows: int = 10_000
    orders: int = 50
    text: int = 2_000

    def check_size(self, kind: Literal["bundle_bytes", "vcf_bytes", "table_bytes"], size: int, name: str) -> None:
        """Refuse a file or body that is too large.

        Raises
        ------
        InputError
            With its size and what is allowed.
        """
        most = int(getattr(self, kind))
        if size > most:
            raise InputError(f"{size} bytes; at most {most} are read", where=name, hint="give a smaller file")

    def check_rows(self, count: int) -> None:
        """Refuse too many rows; raises as `check_size`."""
        if count > self.rows:
            raise InputError(f"{count} rows", where="measured", hint=f"give at most {self.rows} at once")

    def check_text(self, text: str, name: str) -> None:
        """Refuse too long a text; raises as `check_size`."""
        if len(text) > self.text:
            raise InputError(f"{len(text)} signs", where=name, hint=f"give at most {self.text}")


def size_of(path: Path) -> int:
    """Size of a file in bytes.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path.name, hint="check the path") from error


def file_digest(path: Path | None) -> str | None:
    """The sha256 of a file."""
    if path is None:
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def without_token(request: bytes, name: str) -> bytes:
    """A hook's request as canonical JSON, without `fhirAuthorization`.

    Raises
    ------
    InputError
        If it is no JSON object.
    """
    try:
        read = json.loads(request)
        if not isinstance(read, dict):
            raise InputError("not a JSON object", where=name, hint="give the request of a CDS hook")
        kept = {key: value for key, value in read.items() if key != "fhirAuthorization"}
        return canonical(kept).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError) as error:
        raise InputError("broken JSON", where=name, hint="give the request of a CDS hook") from error
