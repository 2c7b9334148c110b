"""An uploaded file on disk for the time of one request, readable by this process only."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import UploadFile

_STRANGE = re.compile(r"[^A-Za-z0-9._-]+")


@contextmanager
def received(upload: UploadFile) -> Iterator[Path]:
    """The file under its own name, without what does not belong in one."""
    folder = Path(tempfile.mkdtemp(prefix="posologist-"))
    try:
        name = _STRANGE.sub("-", Path(upload.filename or "").name).lstrip(".-")[-100:] or "genome.vcf"
        path = folder / name
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        yield path
    finally:
        shutil.rmtree(folder)
