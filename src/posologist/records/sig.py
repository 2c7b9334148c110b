"""How much, how often and by which way: strengths and forms in a display, and dosage instructions.

An amount is only given where the record says it. A bare number beside a strength per unit is read as a
count of units when that is the only reading that can be swallowed; otherwise the dose stays unknown.
"""

from __future__ import annotations

import re
from typing import Any

from posologist.core.values import Value
from posologist.records.json_tools import boolean, child, children, concept_text, first_coding, number, string

_UNITS = {
    "mg": "mg", "milligram": "mg", "milligrams": "mg", "mcg": "mcg", "ug": "mcg", "µg": "mcg", "microgram": "mcg",
    "g": "g", "gm": "g", "gram": "g", "unt": "units", "unit": "units", "units": "units", "iu": "units",
    "[iu]": "units", "meq": "meq", "mmol": "mmol", "%": "%",
}  # fmt: skip
_STRENGTH = re.compile(
    r"(\d+(?:,\d{3})*(?:\.\d+)?)(?:\s*[-/]\s*(\d+(?:\.\d+)?))?\s*(mg|mcg|ug|µg|g|gm|unt|units?|iu|meq|mmol|%)"
    r"(?:\s*/\s*(\d+(?:\.\d+)?)?\s*(ml|mg|g|l|actuat|hr|h|day))?(?![a-z])",
    re.IGNORECASE,
)
_COUNTED = (
    "tbl",
    "tablet",
    "tab",
    "tabs",
    "tablets",
    "cap",
    "caps",
    "capsule",
    "capsules",
    "pill",
    "pills",
    "each",
    "dose",
    "1",
)
_FORMS = (
    ("tablet", ("tablet", "tab", "tabs", "caplet")), ("capsule", ("capsule", "cap", "caps")),
    ("inhaler", ("inhaler", "inhalation", "inhalant")), ("spray", ("spray",)), ("patch", ("patch", "transdermal")),
    ("injection", ("injection", "injectable", "injector", "auto-injector", "syringe", "vial")),
    ("solution", ("solution", "soln", "syrup", "elixir")), ("suspension", ("suspension", "susp")),
    ("cream", ("cream",)), ("ointment", ("ointment",)), ("suppository", ("suppository",)), ("gel", ("gel",)),
    ("intrauterine system", ("intrauterine",)), ("ring", ("vaginal",)), ("implant", ("implant",)),
    ("powder", ("powder",)), ("drops", ("drops", "drop")),
)  # fmt: skip
_SOLID = ("tablet", "capsule", "extended-release tablet", "extended-release capsule")
_SLOW = re.compile(
    r"extended[- ]release|\b(?:er|xl|xr|sr|cr|la)\b|\b(?:12|24) ?hr\b|sustained|prolonged|modified[- ]release"
)
_ROUTES = {
    "26643006": "oral", "47625008": "iv", "78421000": "im", "34206005": "sc", "6064005": "topical",
    "45890007": "transdermal", "46713006": "nasal", "37161004": "rectal", "16857009": "vaginal",
    "54485002": "ophthalmic", "37839007": "sublingual", "18679011000001101": "inhaled", "447694001": "inhaled",
    "po": "oral", "iv": "iv", "im": "im", "sc": "sc", "sq": "sc", "top": "topical", "sl": "sublingual",
    "pr": "rectal", "inh": "inhaled",
}  # fmt: skip
_ROUTE_WORDS = (
    ("intravenous", "iv"), ("subcutaneous", "sc"), ("intramuscular", "im"), ("oral", "oral"), ("by mouth", "oral"),
    ("transdermal", "transdermal"), ("topical", "topical"), ("nasal", "nasal"), ("inhal", "inhaled"),
    ("rectal", "rectal"), ("vaginal", "vaginal"), ("ophthalmic", "ophthalmic"), ("sublingual", "sublingual"),
)  # fmt: skip
_PERIOD_DAYS = {"s": 1 / 86400, "min": 1 / 1440, "h": 1 / 24, "d": 1.0, "wk": 7.0, "mo": 30.4375, "a": 365.25}
_CODES_PER_DAY = {
    "qd": 1.0, "daily": 1.0, "am": 1.0, "pm": 1.0, "hs": 1.0, "bed": 1.0, "bid": 2.0, "tid": 3.0, "qid": 4.0,
    "qod": 0.5, "wk": 1 / 7, "mo": 1 / 30.4375, "bidac": 2.0,
}  # fmt: skip
_WORDS_PER_DAY: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(pattern), times)
    for pattern, times in (
        (r"every other day|alternate days|\bqod\b", 0.5),
        (r"(?:four times|4 times|4x)[ a]*(?:daily|day|per day)|\bqid\b", 4.0),
        (r"(?:three times|3 times|3x)[ a]*(?:daily|day|per day)|\btid\b|\btds\b", 3.0),
        (r"(?:twice|two times|2 times|2x)[ a]*(?:daily|day|per day)|\bbid\b|\bbd\b", 2.0),
        (r"(?:once|one time|1 time)[ a]*week(?:ly)?|\bweekly\b", 1 / 7),
        (r"\bdaily\b|once a day|every day|\bqd\b|\bqday\b", 1.0),
        (r"at bedtime|\bqhs\b|\bqam\b|\bqpm\b|nightly|every morning", 1.0),
    )
)  # fmt: skip
_EVERY_HOURS = re.compile(r"\b(?:q\s*|every\s+)(\d{1,2})(?:\s*-\s*\d+)?\s*(?:h|hr|hrs|hour|hours)\b")
_COUNT_WORDS = re.compile(
    r"\b(?:take|takes?|use)?\s*(\d+(?:\.\d+)?|one|two|three|half|1/2)\s*(?:tab|cap|pill)", re.IGNORECASE
)
_NUMBERS = {"one": 1.0, "two": 2.0, "three": 3.0, "half": 0.5, "1/2": 0.5}


class Product(Value):
    """Strength and form as a display states them; `amount` only when there is one ingredient."""

    strength: str = ""
    amount: float | None = None
    unit: str = ""
    per: str = ""
    form: str = ""
    route: str = ""


class Dosage(Value):
    """Dose per administration, administrations per day, and how sure the reading is (`assumed` in words)."""

    dose: float | None = None
    unit: str = ""
    per_day: float | None = None
    route: str = ""
    as_needed: bool = False
    assumed: str = ""
    text: str = ""


def read_product(display: str) -> Product:
    """Strength, form and route that a display states."""
    lowered = display.lower()
    found = [m for m in _STRENGTH.finditer(lowered) if _UNITS.get(m[3], m[3])]
    parts: list[tuple[float, str, str]] = []
    for match in found:
        unit, per = _UNITS.get(match[3], match[3]), f"{match[4] or ''} {match[5]}".strip() if match[5] else ""
        parts += [(float(text.replace(",", "")), unit, per) for text in (match[1], match[2]) if text]
    form = next((name for name, words in _FORMS if any(re.search(rf"\b{w}\b", lowered) for w in words)), "")
    if form in ("tablet", "capsule") and _SLOW.search(lowered):
        form = f"extended-release {form}"
    route = next((route for word, route in _ROUTE_WORDS if word in lowered), "")
    single = parts[0] if len(parts) == 1 and parts[0][0] > 0 else None
    return Product(
        strength=" / ".join(f"{a:g} {u}{'/' + p if p else ''}" for a, u, p in parts),
        amount=single[0] if single else None,
        unit=single[1] if single else "",
        per=single[2] if single else "",
        form=form,
        route=route,
    )


def read_dosage(instructions: list[dict[str, Any]], product: Product) -> Dosage:
    """Dose and frequency of FHIR dosage instructions; the first one counts, and others are said in `assumed`."""
    if not instructions:
        return Dosage(route=product.route)
    first = instructions[0]
    text = string(first, "text") or string(first, "patientInstruction")
    dose, unit, assumed = _dose(first, text, product)
    per_day = _per_day(child(first, "timing"), text.lower())
    if len(instructions) > 1 or _changes(text):
        dose, unit, per_day, assumed = None, "", None, "several dosage steps: the dose is not read"
    needed = boolean(first, "asNeededBoolean") or isinstance(first.get("asNeededCodeableConcept"), dict)
    return Dosage(
        dose=dose,
        unit=unit,
        per_day=per_day,
        route=_route(child(first, "route"), text) or product.route,
        as_needed=needed or bool(re.search(r"\bprn\b|as needed", text.lower())),
        assumed=assumed,
        text=text,
    )


def _changes(text: str) -> bool:
    """Whether the dose differs from day to day or over time."""
    counts = {found[1].lower() for found in _COUNT_WORDS.finditer(text)}
    return len(counts) > 1 or bool(
        re.search(r"\bthen\b|\b(?:mon|tue|wed|thu|fri|sat|sun)(?:\b|[a-z]*day)", text.lower())
    )


def amount(value: float, unit: str, product: Product) -> tuple[float | None, str, str]:
    """Dose and its unit from a number as written, with what had to be assumed.

    Counts of units become amounts by the strength; a bare number is a count only if it cannot be an amount.
    """
    written = unit.strip().lower()
    if value <= 0:
        return None, "", "a dose of zero or less is not read"
    if written in _UNITS:
        return (value * 1000.0, "mg", "") if _UNITS[written] == "g" else (value, _UNITS[written], "")
    countable = product.amount is not None and product.form in ("", *_SOLID) and not product.per
    if product.amount is not None and written.strip("{}") in _COUNTED and countable:
        return value * product.amount, product.unit, ""
    if product.amount is not None and written == "ml" and product.per in ("ml", "1 ml"):
        return value * product.amount, product.unit, ""
    if written:
        return None, "", f"dose '{value:g} {unit.strip()}' is no amount of the drug: not read"
    if product.amount is None or not countable:
        return None, "", f"dose {value:g} without a unit: not read"
    if _is_quarter(value) and value <= 4 and not _is_quarter(value / product.amount):
        count = f"dose {value:g} without a unit read as {value:g} x {product.strength}"
        return value * product.amount, product.unit, count
    return None, "", f"dose {value:g} without a unit: not read"


def _is_quarter(value: float) -> bool:
    return value > 0 and abs(value * 4 - round(value * 4)) < 1e-9


def _dose(instruction: dict[str, Any], text: str, product: Product) -> tuple[float | None, str, str]:
    rates = children(instruction, "doseAndRate")
    quantity = child(rates[0], "doseQuantity") if rates else child(instruction, "doseQuantity")
    value = number(quantity, "value")
    if value is not None:
        return amount(value, string(quantity, "unit") or string(quantity, "code"), product)
    counted = _COUNT_WORDS.search(text)
    if counted:
        count = _NUMBERS.get(counted[1].lower()) or float(counted[1])
        return amount(count, "tablet", product)
    stated = read_product(text)
    if stated.amount is not None and not stated.per:
        return amount(stated.amount, stated.unit, product)
    return None, "", ""


def _per_day(timing: dict[str, Any], text: str) -> float | None:
    repeat = child(timing, "repeat")
    period, unit = number(repeat, "period"), string(repeat, "periodUnit")
    if period and period > 0 and unit in _PERIOD_DAYS:
        return (number(repeat, "frequency") or 1.0) / (period * _PERIOD_DAYS[unit])
    times = repeat.get("timeOfDay") or repeat.get("when")
    if isinstance(times, list) and times:
        return float(len(times))
    code = string(first_coding(child(timing, "code")), "code").lower() or concept_text(child(timing, "code")).lower()
    if code in _CODES_PER_DAY:
        return _CODES_PER_DAY[code]
    return per_day_in_words(code or text)


def per_day_in_words(text: str) -> float | None:
    """Administrations per day that words state: "bid", "q12h", "once daily"; None when they state none."""
    lowered = re.sub(r"\((?:one|two|three|four|once|twice)\)\s*", "", text.lower())
    every = _EVERY_HOURS.search(lowered)
    if every and int(every[1]) > 0:
        return 24.0 / int(every[1])
    return next((times for pattern, times in _WORDS_PER_DAY if pattern.search(lowered)), None)


def _route(concept: dict[str, Any], text: str) -> str:
    coding = first_coding(concept)
    found = _ROUTES.get(string(coding, "code").lower())
    words = f"{string(coding, 'display')} {concept_text(concept)} {text}".lower()
    return found or next((route for word, route in _ROUTE_WORDS if word in words), "")
