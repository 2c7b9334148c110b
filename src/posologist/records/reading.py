"""What every reader of one patient's facts is given: vocabulary, findings, the day asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from posologist.core.patient import Source
from posologist.knowledge.codes import Codes
from posologist.records.medication import Resolver
from posologist.records.quality import Findings


@dataclass(frozen=True)
class Reading:
    """One patient being read. `as_of` None: every entry counts."""

    codes: Codes
    resolver: Resolver
    findings: Findings
    as_of: date | None

    def is_future(self, when: date | None, what: str, source: Source) -> bool:
        """Whether an entry lies after the day asked for; if so it is counted as ignored."""
        if self.as_of is None or when is None or when <= self.as_of:
            return False
        self.findings.add("future", f"{what}: entries after {self.as_of} are not used", source)
        return True
