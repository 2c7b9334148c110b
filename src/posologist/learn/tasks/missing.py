"""What a task says when a patient's record lacks inputs without which its model is not asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Missing:
    """The inputs that the record lacks, in clinical words; none of them is invented."""

    task: str
    inputs: tuple[str, ...]
