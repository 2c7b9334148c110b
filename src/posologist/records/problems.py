"""Problems whose codes are not mapped: counted, and pointed out when their words look like a condition of the rules."""

from __future__ import annotations

from posologist.core.patient import Code, Source
from posologist.records.reading import Reading


def note_unmapped(code: Code, source: Source, reading: Reading) -> None:
    """Finding about a problem that no rule sees."""
    label = f"{code.display} ({code.code})" if code.display and code.code else code.display or code.code
    alike = reading.codes.looks_like(code.display) if code.display else ()
    if alike:
        text = f"problem '{label}' looks like {' or '.join(alike)}, but its code is not mapped: no rule sees it"
        reading.findings.add("unmapped", text, source, severity="monitor")
    else:
        reading.findings.add("unmapped", f"problem that the rules do not use: {label}", source)
