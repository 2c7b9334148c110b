"""Orders as prescribers type them, read into regimens: "warfarin 5 mg po q24h", "1000 mg iv over 1 h q12h"."""

from __future__ import annotations

import re
from collections.abc import Callable

from posologist.core.errors import InputError
from posologist.core.regimen import Regimen
from posologist.core.values import DrugId
from posologist.twin.search import regimen_text

_HINT = 'write it as "metoprolol 50 mg po q12h" or "1000 mg iv over 1 h q12h"'
_AMOUNT = re.compile(
    r"(?<![\w.,-])(?P<value>\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?|\.\d+)\s*"
    r"(?P<unit>mg|mcg|micrograms?|[µμ]g|ug|g|grams?|units?|iu)\b(?P<rest>\s*/\s*\w+)?",
    re.IGNORECASE,
)
_UNITS = {"microgram": "mcg", "µg": "mcg", "μg": "mcg", "ug": "mcg", "gram": "g", "unit": "units", "iu": "units"}
_ROUTES = (  # spelling, route
    (r"p\.?o\.?|oral(?:ly)?|by mouth", "oral"),
    (r"i\.?v\.?|intravenous(?:ly)?", "iv"),
    (r"s\.?c\.?|s\.?q\.?|subcut|subcutaneous(?:ly)?", "sc"),
    (r"i\.?m\.?|intramuscular(?:ly)?", "im"),
    (r"transdermal(?:ly)?", "transdermal"),
    (r"rectal(?:ly)?|p\.?r\.?", "rectal"),
    (r"nasal(?:ly)?|intranasal(?:ly)?", "nasal"),
    (r"sublingual(?:ly)?|s\.?l\.?", "sublingual"),
    (r"buccal(?:ly)?", "buccal"),
    (r"topical(?:ly)?", "topical"),
    (r"by inhalation|inhaled", "inhaled"),
)
_COUNT = r"(?:q\s*|every\s+)(\d+(?:\.\d+)?)\s*"
_FREQUENCIES = (  # spelling, interval in h, or of one unit where the text says how many
    (rf"{_COUNT}h(?:rs?|ours?)?", 1.0),
    (rf"{_COUNT}d(?:ays?)?", 24.0),
    (rf"{_COUNT}w(?:ks?|eeks?)?", 168.0),
    (r"(?:every other|each second|every second) day|q\.?o\.?d\.?|alternate days", 48.0),
    (r"(?:once|one time|1 time)\s*(?:daily|a day|per day|every day)|o\.?d\.?|q\.?d\.?|q(?:am|pm|hs)|at bedtime|every (?:day|morning|evening|night)|each day", 24.0),  # noqa: E501
    (r"(?:twice|two times|2 times)\s*(?:daily|a day|per day)|b\.?i\.?d\.?|b\.?d\.?", 12.0),
    (r"(?:thrice|three times|3 times)\s*(?:daily|a day|per day)|t\.?i\.?d\.?|t\.?d\.?s\.?", 8.0),
    (r"(?:four times|4 times)\s*(?:daily|a day|per day)|q\.?i\.?d\.?|q\.?d\.?s\.?", 6.0),
    (r"(?:five times|5 times)\s*(?:daily|a day|per day)", 4.8),
    (r"(?:six times|6 times)\s*(?:daily|a day|per day)", 4.0),
    (r"(?:twice|two times|2 times)\s*(?:weekly|a week|per week)", 84.0),
    (r"(?:once|one time|1 time)\s*(?:weekly|a week|per week|every week)|every week|q\s*wk", 168.0),
    (r"every (?:two|other) weeks?", 336.0),
    (r"every three weeks?", 504.0),
    (r"every four weeks?", 672.0),
)  # fmt: skip
_BARE = ((r"daily", 24.0), (r"weekly", 168.0))  # only where nothing more exact was said
_EXTENDED = r"e\.?r|x\.?r|xl|s\.?r|c\.?r|cc|la|(?:extended|sustained|modified|prolonged)[- ]release"
_FORMS = r"tablets?|tabs?|capsules?|caps?|injections?|infusions?|take|give|of"


def parse_regimen(
    text: str, *, drug: DrugId | None = None, resolve: Callable[[str], DrugId] = lambda name: DrugId(name.lower())
) -> Regimen:
    """The regimen that an order says.

    Parameters
    ----------
    text
        Drug (optional), dose, route (oral where none is said), infusion time, frequency.
    drug
        The drug, where the text does not name it; a text that begins with its name is of it ("metoprolol succinate").
    resolve
        Finds the drug of a name; the default takes the name itself, in lower case.

    Raises
    ------
    InputError
        If the dose, its unit or how often is missing or ambiguous, the dose is per kg, or no drug is named.
    """
    order = " ".join(text.split())
    _refuse_unclear_amount(order)
    match = _AMOUNT.search(order)
    if match is None:
        raise InputError(f"no dose with a unit (mg, mcg, g, units) in '{order}'", where="order", hint=_HINT)
    if match["rest"]:
        raise InputError(f"'{match[0]}' in '{order}' is not a dose", where="order", hint="give the dose of one intake")
    name, rest = order[: match.start()], order[match.end() :]
    _refuse_ambiguous(order, rest)
    said = f"{name} {rest}"
    route = _route(said)
    duration = _duration(rest)
    if duration and route != "iv":
        raise InputError(f"an infusion time in '{order}' without the iv route", where="order", hint=_HINT)
    interval = _interval(said, order)
    release = "extended" if re.search(rf"\b(?:{_EXTENDED})\b", said, re.IGNORECASE) else ""
    value = float(match["value"].replace(",", ""))
    if value <= 0:
        raise InputError(f"a dose of 0 in '{order}'", where="order", hint=_HINT)
    unit = _unit(match["unit"])
    return Regimen(
        drug=_drug(name, drug, resolve, order), dose=value, unit=unit, interval_h=interval, route=route,
        release="extended" if release else "", duration_h=duration,
        text=regimen_text(value, unit, interval, route=route, release=release, duration_h=duration),
    )  # fmt: skip


def _unit(spelling: str) -> str:
    lower = spelling.lower()
    return _UNITS.get(lower.removesuffix("s"), _UNITS.get(lower, lower))


def _refuse_unclear_amount(order: str) -> None:
    if re.search(r"\d\s*(?:mg|mcg|g|units?)?\s*(?:-|–|\bto\b)\s*\d", order):
        raise InputError(f"'{order}' gives a range", where="order", hint="order one dose at one interval")
    if re.search(r"\d,\d{1,2}(?!\d)", order):
        raise InputError(f"a decimal comma in '{order}'", where="order", hint="write 2.5 mg")


def _refuse_ambiguous(order: str, rest: str) -> None:
    if _AMOUNT.search(rest):
        raise InputError(f"two doses in '{order}'", where="order", hint="order one drug at one dose at a time")
    if re.search(r"\b(?:prn|as needed|when required)\b", order, re.IGNORECASE):
        raise InputError(f"'{order}' is as needed, not a regimen", where="order", hint="say how often it is taken")
    units = re.search(
        r"\b(\d+(?:\.\d+)?|half|two|three|four)\s*(?:tablets?|tabs?|capsules?|caps?)\b", order, re.IGNORECASE
    )
    if units and units[1] != "1":
        raise InputError(
            f"'{units[0]}' in '{order}': the dose is not clear", where="order", hint="write one intake in mg"
        )


def _route(said: str) -> str:
    found = [route for spelling, route in _ROUTES if re.search(rf"(?<!\w)(?:{spelling})(?!\w)", said, re.IGNORECASE)]
    if len(found) > 1:
        raise InputError(f"two routes ({', '.join(found)}) in one order", where="order", hint=_HINT)
    return found[0] if found else "oral"


def _duration(rest: str) -> float:
    match = re.search(r"\bover\s+(\d+(?:\.\d+)?)\s*(h|hrs?|hours?|min|minutes?)\b", rest, re.IGNORECASE)
    if match is None:
        return 0.0
    return float(match[1]) / (60.0 if match[2].lower().startswith("m") else 1.0)


def _interval(said: str, order: str) -> float:
    found: set[float] = set()
    for spelling, hours in _FREQUENCIES:
        for match in re.finditer(rf"(?<!\w)(?:{spelling})(?!\w)", said, re.IGNORECASE):
            number = next((group for group in match.groups() if group), None)
            found.add(hours * float(number) if number else hours)
    if not found:
        found = {hours for word, hours in _BARE if re.search(rf"\b{word}\b", said, re.IGNORECASE)}
    if len(found) != 1 or 0.0 in found:
        what = "no frequency" if not found else "more than one frequency"
        raise InputError(f"{what} in '{order}'", where="order", hint='say how often, e.g. "q12h" or "once daily"')
    return found.pop()


def _drug(name: str, drug: DrugId | None, resolve: Callable[[str], DrugId], order: str) -> DrugId:
    bare = re.sub(rf"(?<!\w)(?:{_EXTENDED}|{_FORMS}|1)(?!\w)", " ", name, flags=re.IGNORECASE)
    cleaned = " ".join(bare.split()).strip(" ,:;")
    if not cleaned:
        if drug is None:
            raise InputError(f"no drug is named in '{order}'", where="order", hint=_HINT)
        return drug
    if drug is not None and (cleaned.lower() + " ").startswith(f"{drug} "):
        return drug  # "metoprolol succinate" is metoprolol: the salt follows the name
    found = resolve(cleaned)
    if drug is not None and found != drug:
        raise InputError(f"the order '{order}' is of {found}, not of {drug}", where="order", hint="name one drug")
    return found
