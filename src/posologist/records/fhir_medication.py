"""Orders, statements and administrations of medicines in FHIR R4."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from posologist.core.patient import Code, Medication
from posologist.records.fhir_document import Entry, References
from posologist.records.json_tools import (
    Resource,
    boolean,
    child,
    children,
    codings,
    concept_text,
    day,
    last_day,
    number,
    string,
)
from posologist.records.medication import Resolution
from posologist.records.reading import Reading
from posologist.records.sig import Dosage, read_dosage, read_product

_Kind = Literal["order", "statement", "administration"]
_Status = Literal["active", "stopped", "unknown"]
_KINDS: dict[str, _Kind] = {
    "MedicationRequest": "order",
    "MedicationStatement": "statement",
    "MedicationAdministration": "administration",
}
_STOPPED = frozenset({"stopped", "completed", "cancelled", "ended", "not-taken", "inactive"})
_NO_MEDICINE = frozenset(
    {"787481004", "182849000", "no-known-medications", "none", "no medications", "no current medications",
     "no known medications"}
)  # fmt: skip
_NOT_AN_ORDER = frozenset({"proposal", "plan", "option"})


def medication(entry: Entry, reading: Reading, references: References) -> Medication | None:
    """A medicine of the patient; None when it is no order, not given, or entered in error, which a finding says."""
    resource, source = entry.resource, entry.source
    reason = _why_not(resource)
    if reason:
        reading.findings.add("left out", f"{entry.kind}: {reason}", source)
        return None
    start, end = _period(resource)
    if reading.is_future(start, entry.kind, source):
        return None
    codes, text = _what(resource, references)
    if _says_none(codes, text):
        return None
    found = reading.resolver.resolve(codes, text)
    display = next((code.display for code in codes if code.display), "") or text
    product = read_product(display)
    dosage = read_dosage(_instructions(resource), product)
    ended_later = reading.as_of is not None and end is not None and end > reading.as_of
    _note(display or found.unresolved, found, dosage, entry, reading)
    _note_supply(resource, start, display or found.unresolved, entry, reading)
    single = len(found.drugs) == 1
    return Medication(
        drugs=tuple(str(drug) for drug in found.drugs),
        unresolved=found.unresolved,
        text=_words(display or ", ".join(found.drugs) or found.unresolved, dosage),
        original=codes[0] if codes else Code(display=text),
        how_resolved=found.how,
        kind=_KINDS[entry.kind],
        status="active" if ended_later and _status(resource) == "stopped" else _status(resource),
        start=start,
        end=end,
        dose=dosage.dose if single else None,
        dose_unit=dosage.unit if single else "",
        per_day=dosage.per_day,
        strength=product.strength,
        form=product.form,
        route=dosage.route,
        as_needed=dosage.as_needed,
        source=source,
    )


def _says_none(codes: list[Code], text: str) -> bool:
    """Whether the entry states that no medicine is taken: the list is given, and empty."""
    said = {text.lower(), *(code.display.lower() for code in codes)}
    return any(code.code in _NO_MEDICINE for code in codes) or bool(said & _NO_MEDICINE)


def _why_not(resource: Resource) -> str:
    status = string(resource, "status")
    if status in ("entered-in-error", "draft", "not-done"):
        return {"entered-in-error": "entered in error", "draft": "a draft, not an order", "not-done": "not given"}[
            status
        ]
    if boolean(resource, "doNotPerform"):
        return "an order not to give"
    if string(resource, "intent") in _NOT_AN_ORDER:
        return f"a {string(resource, 'intent')}, not an order"
    return ""


def _status(resource: Resource) -> _Status:
    status = string(resource, "status")
    if status in _STOPPED or string(resource, "taken") == "n":
        return "stopped"
    return "active" if status in ("active", "in-progress", "intended") else "unknown"


def _period(resource: Resource) -> tuple[date | None, date | None]:
    """First and last day, where stated: of taking, of the order's validity, or of its planned supply."""
    effective = child(resource, "effectivePeriod")
    start = day(string(effective, "start")) or day(string(resource, "effectiveDateTime"))
    end = last_day(string(effective, "end"))
    if string(resource, "resourceType") == "MedicationAdministration":
        return start, end or start
    instructions = children(resource, "dosageInstruction") or children(resource, "dosage")
    bounds = [child(child(child(i, "timing"), "repeat"), "boundsPeriod") for i in instructions]
    ordered = day(string(resource, "authoredOn")) or day(string(resource, "dateAsserted"))
    starts = [found for b in bounds if (found := day(string(b, "start")))]
    ends = [found for b in bounds if (found := last_day(string(b, "end")))]
    first = start or (min(starts) if starts else None) or ordered
    return first, end or (max(ends) if ends else None) or _duration_end(instructions, first)


def _duration_end(instructions: list[Resource], start: date | None) -> date | None:
    """Last day of a stated treatment duration (`boundsDuration`); a supply without a stop is not an end."""
    durations = [child(child(child(i, "timing"), "repeat"), "boundsDuration") for i in instructions]
    days = {"d": 1.0, "wk": 7.0, "mo": 30.4375, "a": 365.25}
    found = [
        value * days[unit]
        for d in durations
        if (value := number(d, "value")) is not None and 0 < value < 1e5 and (unit := string(d, "code")) in days
    ]
    if start is None or not found:
        return None
    try:
        return start + timedelta(days=max(found))
    except OverflowError:
        return None


def _note_supply(resource: Resource, start: date | None, display: str, entry: Entry, reading: Reading) -> None:
    """Says when the ordered supply has run out; that alone does not end a treatment."""
    supply = child(resource, "dispenseRequest")
    duration = child(supply, "expectedSupplyDuration")
    days, repeats = number(duration, "value"), number(supply, "numberOfRepeatsAllowed") or 0.0
    if start is None or days is None or string(duration, "code") not in ("d", "") or _status(resource) == "stopped":
        return
    covered = days * (1 + repeats)
    if reading.as_of is not None and 0 < covered < (reading.as_of - start).days:
        text = f"'{display}': ordered on {start} for {covered:g} days; confirm that it is still taken"
        reading.findings.add("stale", text, entry.source, severity="monitor")


def _instructions(resource: Resource) -> list[Resource]:
    if string(resource, "resourceType") == "MedicationAdministration":
        given = child(resource, "dosage")
        dose = child(given, "dose")
        return [{**given, "doseAndRate": [{"doseQuantity": dose}]}] if given else []
    return children(resource, "dosageInstruction") or children(resource, "dosage")


def _what(resource: Resource, references: References) -> tuple[list[Code], str]:
    """Codings and text of the medicine, of the order itself and of the Medication that it refers to."""
    concept = resource.get("medicationCodeableConcept")
    reference = child(resource, "medicationReference")
    codes, text = codings(concept), string(concept, "text")
    target = references.find(reference, resource) if reference else None
    if target is not None and string(target, "resourceType") in ("Medication", ""):
        codes += codings(target.get("code"))
        text = text or string(target.get("code"), "text")
        parts = [concept_text(i.get("itemCodeableConcept")) for i in children(target, "ingredient")]
        if not codes and not text:
            text = " / ".join(part for part in parts if part)
    return list(dict.fromkeys(codes)), text or string(reference, "display")


def _words(display: str, dosage: Dosage) -> str:
    return f"{display}, {dosage.text}" if display and dosage.text else display or dosage.text


def _note(display: str, found: Resolution, dosage: Dosage, entry: Entry, reading: Reading) -> None:
    source, findings = entry.source, reading.findings
    if found.conflict:
        text = f"'{display}': code and words name different drugs ('{found.conflict}'); both are kept in view"
        findings.add("conflict", text, source, severity="serious")
    if found.by_name:
        corrected = f" ({'; '.join(found.corrected)})" if found.corrected else ""
        text = f"'{display}' is {', '.join(found.drugs)}{corrected}"
        findings.add("resolved by name", text, source, severity="monitor" if found.corrected else "information")
    if found.unresolved and not found.conflict:
        text = f"'{display}': '{found.unresolved}' is no known drug and is not checked"
        findings.add("unmapped", text, source, severity="monitor")
    if dosage.assumed:
        findings.add("missing" if dosage.dose is None else "converted", f"'{display}': {dosage.assumed}", source)
