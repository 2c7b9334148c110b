"""Standard output, and the reader who leaves early."""

from __future__ import annotations


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
