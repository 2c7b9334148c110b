"""Measured values: mapped, converted to the canonical unit, checked for plausibility, without duplicates."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from posologist.core.errors import InputError
from posologist.core.patient import Code, Observation, Source
from posologist.core.values import rounded
from posologist.knowledge.codes import Analyte, system_name, written_unit
from posologist.records.reading import Reading

_NUMBER_WITH_UNIT = re.compile(r"\s*([<>]=?)?\s*(-?\d+(?:\.\d+)?)\s*([A-Za-z%\[\]{}/0-9.*µ]*)\s*$")
_REPEATED = ("sbp", "dbp", "heart_rate", "respiratory_rate", "temperature", "spo2", "pain_score")
"""Readings that are rightly taken several times in one visit."""


def analyte_of(codes: Iterable[Code], reading: Reading) -> tuple[Code, Analyte | None]:
    """The coding that is mapped, with its analyte; else the first coding and None."""
    given = list(codes)
    for code in given:
        if system_name(code.system) == "LOINC" and code.code in reading.codes.by_loinc:
            return code, reading.codes.by_loinc[code.code]
        if not code.system and code.code in reading.codes.analytes:
            return code, reading.codes.analytes[code.code]
    return (given[0] if given else Code()), None


def measured(
    codes: Iterable[Code], value: float, unit: str, at: datetime | None, source: Source, *, reading: Reading
) -> Observation:
    """Observation of a number; one without a value where it cannot be used, which a finding says.

    Parameters
    ----------
    value, unit
        As written in the record. A mapped analyte without a unit is left out: its unit is never guessed.
    """
    code, analyte = analyte_of(codes, reading)
    if analyte is None:
        return Observation(key="", value=value, unit=written_unit(unit), at=at, code=code, source=source)
    what = analyte.name
    if not unit and analyte.unit not in ("{INR}", "{score}"):
        reading.findings.add("missing", f"{what}: value without a unit is not used", source, severity="monitor")
        return _unusable(analyte, code, value, unit, at, source)
    if not analyte.unit:
        return Observation(key=analyte.key, value=value, unit=written_unit(unit), at=at, code=code, source=source)
    try:
        converted = analyte.canonical(value, unit) if unit else value
    except InputError as error:
        text = f"{what}: {error.message}; canonical is {analyte.unit}, value not used"
        reading.findings.add("left out", text, source, severity="monitor")
        return _unusable(analyte, code, value, unit, at, source)
    if not analyte.is_plausible(converted):
        bounds = f"{analyte.low:g} to {analyte.high:g}" if None not in (analyte.low, analyte.high) else "its bounds"
        text = f"{what}: outside {bounds} {analyte.unit}, not used"
        reading.findings.add("out of range", text, source, severity="monitor")
        return _unusable(analyte, code, value, unit, at, source)
    if unit and written_unit(unit) != analyte.unit:
        reading.findings.add("converted", f"{what}: {unit} read as {analyte.unit}", source)
    return Observation(key=analyte.key, value=rounded(converted, 9), unit=analyte.unit, at=at, code=code, source=source)


def _unusable(
    analyte: Analyte, code: Code, value: float, unit: str, at: datetime | None, source: Source
) -> Observation:
    """A result that was there and cannot be used: it keeps its place in time, so that an older one is not today's."""
    return Observation(key=analyte.key, text=f"{value:g} {unit}: not usable".strip(), at=at, code=code, source=source)


def answered(
    codes: Iterable[Code], answers: Iterable[Code], text: str, at: datetime | None, source: Source, *, reading: Reading
) -> Observation | None:
    """Observation of a coded or textual result; a text that is a number with its unit is read as one."""
    given = list(codes)
    code, analyte = analyte_of(given, reading)
    found = _NUMBER_WITH_UNIT.match(text) if analyte is not None and analyte.unit else None
    if found and not found[1]:
        return measured(given, float(found[2]), found[3], at, source, reading=reading)
    words = [analyte.answers.get(answer.code, "") for answer in answers] if analyte else []
    word = next((word for word in words if word), text)
    key = analyte.key if analyte else ""
    if analyte is not None and analyte.unit:
        note = f"{analyte.name}: result in words or with a sign ('{text}') is no number and is not compared"
        reading.findings.add("left out", note, source, severity="monitor")
    return Observation(key=key, text=word, at=at, code=code, source=source)


def deduplicated(observations: Iterable[Observation], reading: Reading) -> tuple[Observation, ...]:
    """Observations in time order without doubles; equal times with different values are said.

    Order of entries does not matter for the result.
    """
    seen: dict[tuple[object, ...], Observation] = {}
    for observation in sorted(observations, key=_order):
        what = observation.key or f"{observation.code.system}|{observation.code.code}|{observation.code.display}"
        same = (what, observation.at, observation.value, observation.unit, observation.text)
        if same in seen:
            name = observation.key or observation.code.display or "result"
            reading.findings.add("duplicate", f"{name}: the same value at the same time, kept once", observation.source)
        else:
            seen[same] = observation
    kept = tuple(seen.values())
    _note_conflicts(kept, reading)
    return kept


def _order(observation: Observation) -> tuple[object, ...]:
    at = observation.at or datetime.min.replace(tzinfo=UTC)
    value = observation.value if observation.value is not None else float("-inf")
    return (at, observation.key, observation.code.code, value, observation.text, str(observation.source))


def _note_conflicts(observations: tuple[Observation, ...], reading: Reading) -> None:
    by_time: dict[tuple[str, datetime], list[Observation]] = defaultdict(list)
    for observation in observations:
        if observation.key and observation.key not in _REPEATED and observation.at and observation.value is not None:
            by_time[(observation.key, observation.at)].append(observation)
    for (key, at), found in by_time.items():
        if len(found) > 1:
            values = " and ".join(f"{o.value:g}" for o in found)
            text = f"{key}: {values} {found[0].unit} at the same time ({at:%Y-%m-%d})"
            reading.findings.add("conflict", text, found[0].source, severity="monitor")
