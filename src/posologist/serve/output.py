"""Standard output, and the reader who leaves early."""

from __future__ import annotations

from rich.console import Console


class ReaderGoneError(Exception):
    """The reader of standard output closed it, as `| head` does: no error of ours and none of the user's."""


class PlainConsole(Console):
    """A console without markup; 100 columns wide where the output is no terminal."""

    width_without_terminal = 100

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)
        if not self.is_terminal:
            self.width = self.width_without_terminal

    def on_broken_pipe(self) -> None:
        """Tell the command line that the reader has gone."""
        raise ReaderGoneError


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
