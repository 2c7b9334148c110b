"""A terminal for documents as text."""

from __future__ import annotations

from rich.console import Console

from posologist.serve.output import ReaderGoneError


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
