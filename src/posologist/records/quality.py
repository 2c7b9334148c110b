"""Data-quality findings: collected while reading, merged, in a fixed order.

Findings of the same kind and text become one with their count, so that nothing is left out without a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from posologist.core.patient import QualityFinding, Source
from posologist.core.statement import SEVERITY_ORDER, Severity

Kind = Literal[
    "converted",
    "duplicate",
    "out of range",
    "conflict",
    "stale",
    "unmapped",
    "resolved by name",
    "left out",
    "missing",
    "identity",
    "version",
    "deceased",
    "future",
    "unreadable",
]


class Findings:
    """Collects findings of one document."""

    def __init__(self) -> None:
        self._found: dict[tuple[Kind, Severity, str], tuple[int, Source]] = {}

    def add(self, kind: Kind, text: str, source: Source, *, severity: Severity = "information", count: int = 1) -> None:
        """Note a finding; the same kind and text again adds to its count."""
        key = (kind, severity, text)
        before, first = self._found.get(key, (0, source))
        self._found[key] = (before + count, min(first, source, key=str))

    def merged(self, more: Iterable[QualityFinding] = ()) -> tuple[QualityFinding, ...]:
        """All findings, the gravest first, then by kind and text."""
        for finding in more:
            self.add(finding.kind, finding.text, finding.source, severity=finding.severity, count=finding.count)
        ordered = sorted(self._found.items(), key=lambda item: (SEVERITY_ORDER[item[0][1]], item[0][0], item[0][2]))
        return tuple(
            QualityFinding(kind=kind, severity=severity, text=text, count=count, source=source)
            for (kind, severity, text), (count, source) in ordered
        )
