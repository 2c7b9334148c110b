"""Observations of FHIR R4: values, components, coded answers."""

from __future__ import annotations

from datetime import datetime

from posologist.core.patient import Code, Observation
from posologist.records.fhir_document import Entry
from posologist.records.json_tools import Resource, child, children, codings, concept_text, moment, number, string
from posologist.records.observations import answered, measured
from posologist.records.reading import Reading

_LEFT_OUT = ("entered-in-error", "cancelled")
_UCUM = ("http://unitsofmeasure.org", "urn:oid:2.16.840.1.113883.6.8")


def observations(entry: Entry, reading: Reading) -> list[Observation]:
    """Values of an Observation and of its components; empty when it is not used, which a finding says."""
    resource, source = entry.resource, entry.source
    status = string(resource, "status")
    if status in _LEFT_OUT:
        reading.findings.add("left out", f"Observation: {status}", source)
        return []
    at = _taken(resource)
    if reading.is_future(at.date() if at else None, "Observation", source):
        return []
    given = codings(resource.get("code"))
    if not given and concept_text(resource.get("code")):
        given = [Code(display=concept_text(resource.get("code")))]
    parts = children(resource, "component")
    found = [value for part in parts if (value := _value(part, codings(part.get("code")), at, entry, reading))]
    own = _value(resource, given, at, entry, reading)
    if own is None and not parts and not _has_value(resource) and "hasMember" not in resource:
        reading.findings.add("missing", f"{_label(given)}: no value", source)
    if at is None and (own or found):
        reading.findings.add("missing", f"{_label(given)}: no date, not used", source, severity="monitor")
    return [*([own] if own else []), *found]


def _label(given: list[Code]) -> str:
    return next((code.display or code.code for code in given), "Observation without a code")


def _has_value(resource: Resource) -> bool:
    return any(name.startswith("value") for name in resource)


def _taken(resource: Resource) -> datetime | None:
    """When it was measured; a period counts by its end, and the time of issue stands in for none."""
    period = child(resource, "effectivePeriod")
    texts = (
        string(resource, "effectiveDateTime"),
        string(resource, "effectiveInstant"),
        string(period, "end"),
        string(period, "start"),
        string(resource, "issued"),
    )
    return next((found for text in texts if text and (found := moment(text))), None)


def _value(
    part: Resource, codes: list[Code], at: datetime | None, entry: Entry, reading: Reading
) -> Observation | None:
    source = entry.source
    quantity = child(part, "valueQuantity")
    value = number(quantity, "value")
    if value is not None:
        unit = _unit(quantity)
        sign = string(quantity, "comparator")
        if sign:
            return answered(codes, [], f"{sign}{value:g} {unit}".strip(), at, source, reading=reading)
        return measured(codes, value, unit, at, source, reading=reading)
    if "valueCodeableConcept" in part:
        concept = child(part, "valueCodeableConcept")
        return answered(codes, codings(concept), concept_text(concept), at, source, reading=reading)
    text = string(part, "valueString")
    if text:
        return answered(codes, [], text, at, source, reading=reading)
    whole = number(part, "valueInteger")
    if whole is not None:
        return measured(codes, whole, "", at, source, reading=reading)
    if isinstance(part.get("valueBoolean"), bool):
        return answered(codes, [], "yes" if part["valueBoolean"] else "no", at, source, reading=reading)
    if _has_value(part):
        kind = next(name for name in part if name.startswith("value"))
        reading.findings.add("left out", f"{_label(codes)}: {kind} is not read", source)
    return None


def _unit(quantity: Resource) -> str:
    """The UCUM code of a quantity, else the unit as written."""
    code = string(quantity, "code")
    return code if code and string(quantity, "system") in (*_UCUM, "") else string(quantity, "unit")
