"""Joins the restated rows with verified sections, and decides how far a drug may be used."""

from __future__ import annotations

import re
from typing import Any

from restate_contraindications import groups_and_codes

Row = dict[str, Any]

_SOUND = ("verified", "secondary")
_BOUND = re.compile(r"^(crcl|egfr) (<|<=|>=|>) (\d+(?:\.\d+)?)(?: and \1 (<|<=) (\d+(?:\.\d+)?))?$")


def merge(fields: Row, verified: Row, codes: set[str], groups: set[str]) -> list[Row]:
    """Replace the sections that a verified file holds; its citations."""
    for name, value in verified.items():
        if name == "citations":
            continue
        fields[name] = [_readable(row, codes) for row in value] if name == "contraindications" else value
    return list(verified.get("citations", []))


def _readable(row: Row, codes: set[str]) -> Row:
    """The row without alternatives that no record code reaches; without `when` if nothing is left."""
    when = row.get("when")
    if not when:
        return row
    parts = [p for p in re.split(r" or (?![^(]*\))", when) if groups_and_codes(p)[1] <= codes]
    kept = " or ".join(parts)
    if kept == when:
        return row
    if not kept or kept.count("(") != kept.count(")"):
        return {k: v for k, v in row.items() if k != "when"}
    return {**row, "when": kept}


def depth_of(fields: Row, served: tuple[str, ...]) -> str:
    """rankable, or known when something that decides is missing or still to verify."""
    return "rankable" if rankable_for(fields, served) else "known"


def rankable_for(fields: Row, served: tuple[str, ...]) -> list[str]:
    """The served indications for which the drug's facts are enough."""
    if any(_blocks(row) for row in (*fields["renal"], *fields["contraindications"])):
        return []
    found = []
    for rule in fields["doses"]:
        complete = rule.get("start") is not None and rule.get("max") is not None and rule["status"] in _SOUND
        if rule["indication"] in served and complete and _can_be_made(rule, fields["products"]):
            found.append(rule["indication"])
    return list(dict.fromkeys(found))


def _blocks(row: Row) -> bool:
    if row["status"] in _SOUND or row.get("code") == "hypersensitivity":
        return False
    if "level" in row:
        return row["level"] == "absolute"
    return row.get("action") in ("contraindicated", "avoid", "cap", "start", "percent", "interval", "reduce")


def _can_be_made(rule: Row, products: list[Row]) -> bool:
    unit = rule.get("unit", "mg/day").split("/")[0]
    times = rule.get("doses_per_day") or [1]
    for product in products:
        if product["status"] not in _SOUND or product.get("unit", "mg") != unit:
            continue
        release = rule.get("release")
        if release and product.get("release", "immediate") != release:
            continue
        shares = (1, 2, 3, 4, 0.5) if product.get("scored") else (1, 2, 3, 4)
        if any(abs(rule["start"] / n - s * k) < 1e-6 for n in times for s in product["strengths"] for k in shares):
            return True
    return False


def cases_of(fields: Row) -> list[Row]:
    """Worked cases: those of the verified file, else the label's own statements that can be asked of the engine."""
    if fields.get("cases"):
        return list(fields["cases"])
    rule = next((r for r in fields["doses"] if r.get("start") is not None and r["status"] in _SOUND), None)
    if rule is None:
        return []
    inside = {"indication": rule["indication"]}
    found = []
    if rule.get("when", "true") == "true":
        given = {"age": 50, "crcl": 90, "egfr": 90}
        found.append(_case("usual start", inside, given, {"start": rule["start"], "max": rule.get("max")}, rule))
    for row in fields["renal"]:
        if row.get("indication") not in (None, "", rule["indication"]) or row.get("unit") != rule.get("unit", "mg/day"):
            continue
        value = _inside(row["when"])
        if value is not None and row.get("action") in ("start", "cap") and row["status"] in _SOUND:
            name, number = value
            given = {"age": 50, "crcl": number, "egfr": number}
            expect = {"start" if row["action"] == "start" else "max": row["value"]}
            found.append(_case(f"{name} {number:g}", inside, given, expect, row))
    for row in fields["contraindications"]:
        if row.get("when") and row["level"] == "absolute" and row["status"] in _SOUND and len(found) < 5:
            given = _given(row["when"])
            if given:
                found.append(_case(row["text"][:60], inside, given, {"contraindicated": True}, row))
    return found[:5]


def _case(name: str, inside: Row, given: Row, expect: Row, row: Row) -> Row:
    wanted = {k: v for k, v in expect.items() if v is not None}
    return {"name": name, **inside, "given": given, "expect": wanted, "source": row["source"], "status": row["status"]}


def _inside(when: str) -> tuple[str, float] | None:
    found = _BOUND.match(when)
    if found is None:
        return None
    name, sign, first, _, second = found.groups()
    if sign in ("<", "<="):
        return name, round(float(first) * 0.8)
    low = float(first)
    return name, round((low + float(second)) / 2) if second else low + 10


def _given(when: str) -> Row | None:
    """Facts that make a simple expression true; None for the others."""
    if when == "pregnant":
        return {"age": 30, "sex": "female", "pregnant": True}
    first = when.split(" or ")[0]
    code = re.fullmatch(r"dx\((\w+)\)", first)
    if code:
        return {"age": 50, "dx": [code[1]]}
    return None
