"""Data-quality findings: collected while reading, merged, in a fixed order.

Findings of the same kind and text become one with their count, so that nothing is left out without a number.
"""

from __future__ import annotations

from collections.abc import Iterable

from posologist.core.patient import QualityFinding, QualityKind, Source
from posologist.core.statement import SEVERITY_ORDER, Severity


class Findings:
    """Collects findings of one document."""

    def __init__(self) -> None:
        self._found: dict[tuple[QualityKind, Severity, str], tuple[int, Source]] = {}

    def add(
        self, kind: QualityKind, text: str, source: Source, *, severity: Severity = "information", count: int = 1
    ) -> None:
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
