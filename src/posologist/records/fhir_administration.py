"""Doses that were given, with their times, from FHIR MedicationAdministration: what a twin's event log needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from posologist.core.patient import QualityFinding
from posologist.knowledge.load import Knowledge
from posologist.records.fhir_document import Entry, References, read_entries
from posologist.records.fhir_medication import medication
from posologist.records.json_tools import child, moment, string
from posologist.records.medication import Resolver
from posologist.records.quality import Findings
from posologist.records.reading import Reading
from posologist.records.table import EventRow

_GIVEN = ("completed", "in-progress", "stopped", "unknown")


def read_administrations(
    source: Path | str | bytes | Sequence[Path], *, knowledge: Knowledge, patient_id: str, document: str = ""
) -> tuple[tuple[EventRow, ...], tuple[QualityFinding, ...]]:
    """Administrations of one patient in time order, and what could not be used.

    Parameters
    ----------
    patient_id
        Id of the Patient resource, as `Patient.id` gives it.

    Returns
    -------
    events
        `amount` in mg, mcg or units as recorded; `duration_h` from the period of giving; `drug` is our drug id.

    Raises
    ------
    InputError
        If the document is no FHIR JSON.
    """
    entries = read_entries(source, document)
    references = References([entry for entry in entries if entry.kind == "Medication"])
    reading = Reading(knowledge.codes, Resolver(knowledge), Findings(), None)
    given = [e for e in entries if e.kind == "MedicationAdministration" and _is_about(e, patient_id)]
    found = [event for entry in given if (event := _event(entry, reading, references)) is not None]
    return tuple(sorted(found, key=lambda event: (event.at, event.drug, str(event.source)))), reading.findings.merged()


def _is_about(entry: Entry, patient_id: str) -> bool:
    address = string(child(entry.resource, "subject"), "reference")
    return address.removeprefix("urn:uuid:").rpartition("/")[2] == patient_id


def _event(entry: Entry, reading: Reading, references: References) -> EventRow | None:
    resource = entry.resource
    start, end = _times(entry)
    known = medication(entry, reading, references) if string(resource, "status") in _GIVEN else None
    if known is None:
        return None
    what = known.text or "administration"
    if start is None or known.dose is None or len(known.drugs) != 1:
        missing = "time" if start is None else "known drug" if len(known.drugs) != 1 else "dose"
        text = f"'{what}': administration without a {missing}, not used"
        reading.findings.add("missing", text, entry.source, severity="monitor")
        return None
    duration = (end - start).total_seconds() / 3600 if end is not None and end > start else 0.0
    return EventRow(
        at=start, amount=known.dose, unit=known.dose_unit, route=known.route, duration_h=duration, drug=known.drugs[0],
        source=entry.source,
    )  # fmt: skip


def _times(entry: Entry) -> tuple[datetime | None, datetime | None]:
    period = child(entry.resource, "effectivePeriod")
    start = moment(string(entry.resource, "effectiveDateTime")) or moment(string(period, "start"))
    return start, moment(string(period, "end"))
