"""Documents as bytes, standard output, and the reader who leaves early."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def json_text(document: BaseModel) -> str:
    """A document as every door gives it: command line, REST and store."""
    try:
        return document.model_dump_json(by_alias=True, indent=1)
    except ValueError:  # half of a surrogate pair in a text of the record: only an escape can hold it
        return json.dumps(document.model_dump(mode="json", by_alias=True), indent=1)


def json_bytes(document: BaseModel) -> bytes:
    """A document as `--json` writes it on standard output, with the end of its line."""
    return (json_text(document) + "\n").encode()


class ReaderGoneError(Exception):
    """The reader of standard output closed it, as `| head` does: no error of ours and none of the user's."""


def emit(text: str) -> None:
    """Print text on standard output.

    Raises
    ------
    ReaderGoneError
        If the reader has closed it.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        raise ReaderGoneError from error
