"""Tolerant access to parsed JSON: what is absent or of the wrong type reads as empty, and dates as dates."""

from __future__ import annotations

import calendar
import math
import re
from datetime import UTC, date, datetime
from typing import Any

from posologist.core.patient import Code

Resource = dict[str, Any]

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?$")
_OLDEST_YEAR = 1850


def child(resource: Any, name: str) -> Resource:
    """An object member; {} when absent or no object."""
    value = resource.get(name) if isinstance(resource, dict) else None
    return value if isinstance(value, dict) else {}


def children(resource: Any, name: str) -> list[Resource]:
    """The objects of an array member (a lone object counts as one)."""
    value = resource.get(name) if isinstance(resource, dict) else None
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(resource: Any, name: str) -> str:
    """A text member, trimmed; "" when absent or no text."""
    value = resource.get(name) if isinstance(resource, dict) else None
    return value.strip() if isinstance(value, str) else ""


def strings(resource: Any, name: str) -> list[str]:
    """The texts of an array member."""
    value = resource.get(name) if isinstance(resource, dict) else None
    return [item.strip() for item in value if isinstance(item, str)] if isinstance(value, list) else []


def number(resource: Any, name: str) -> float | None:
    """A finite number member; None when absent, no number, or not finite."""
    value = resource.get(name) if isinstance(resource, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def boolean(resource: Any, name: str) -> bool:
    """True only when the member is true."""
    return isinstance(resource, dict) and resource.get(name) is True


def codings(concept: Any) -> list[Code]:
    """Codings of a CodeableConcept that hold a code or a display."""
    found = [
        Code(system=string(c, "system"), code=string(c, "code"), display=string(c, "display"))
        for c in children(concept, "coding")
    ]
    return [code for code in found if code.code or code.display]


def first_coding(concept: Any) -> Resource:
    """First coding of a CodeableConcept, or {}."""
    found = children(concept, "coding")
    return found[0] if found else {}


def concept_text(concept: Any) -> str:
    """Text of a CodeableConcept, else the display of its first coding."""
    return string(concept, "text") or string(first_coding(concept), "display")


def codes_of(concept: Any) -> set[str]:
    """Lower-case codes of a CodeableConcept, or the bare code of older releases."""
    if isinstance(concept, str):
        return {concept.lower()}
    return {code.code.lower() for code in codings(concept)}


def moment(text: str) -> datetime | None:
    """Time in UTC of a FHIR date or dateTime; a date is its midnight; None when it is neither."""
    match = _DATE.match(text)
    try:
        if match:
            found = datetime(int(match[1]), int(match[2] or 1), int(match[3] or 1), tzinfo=UTC)
        else:
            parsed = datetime.fromisoformat(text)
            found = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if found.year >= _OLDEST_YEAR else None


def day(text: str) -> date | None:
    """Day (UTC) of a FHIR date or dateTime; the first day of a year or month."""
    found = moment(text)
    return found.date() if found else None


def last_day(text: str) -> date | None:
    """Day (UTC) of a FHIR date or dateTime; the last day of a year or month."""
    match = _DATE.match(text)
    found = day(text)
    if match is None or found is None or match[3]:
        return found
    month = int(match[2] or 12)
    return date(found.year, month, calendar.monthrange(found.year, month)[1])
