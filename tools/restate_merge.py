"""Joins the restated rows with verified sections, and decides how far a drug may be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from restate_contraindications import groups_and_codes

from posologist.knowledge.expression import expression

Row = dict[str, Any]

_SOUND = ("verified", "secondary")
_BOUND = re.compile(r"^(crcl|egfr) (<|<=|>=|>) (\d+(?:\.\d+)?)(?: and \1 (<|<=) (\d+(?:\.\d+)?))?$")


_SPELLINGS = {  # how verified files write a condition: how ours is written
    "dx(mechanical_heart_valve)": "dx(mechanical_valve)",
    "dx(bilateral_renal_artery_stenosis)": "dx(renal_artery_stenosis)",
    "dx(acute_myocardial_infarction)": "dx(acs)",
    "dx(antiphospholipid_syndrome)": "dx(antiphospholipid_triple_positive)",
    "dx(intracranial_haemorrhage)": "dx(haemorrhagic_stroke)",
    "dx(hereditary_angioedema)": "dx(angioedema_history)",
    "dx(decompensated_cirrhosis)": 'dx(liver_cirrhosis) and child_pugh in ("B", "C")',
    "dx(acute_liver_failure)": "dx(severe_hepatic_impairment)",
    "dx(severe_bradycardia)": "heart_rate < 50",
    "dx(albuminuria)": "(dx(albuminuria) or uacr >= 30)",
}
_ANY_STROKE = "dx(stroke) or dx(haemorrhagic_stroke) or dx(tia)"  # what a label calls a stroke may also be a bleed
_DECOMPENSATED = 'dx(severe_hepatic_impairment) or (dx(liver_cirrhosis) and child_pugh in ("B", "C"))'
_ROUTES = {"subcutaneous": "sc", "intravenous": "iv", "intramuscular": "im"}
_CASE_CODES = {a[3:-1]: b[3:-1] for a, b in _SPELLINGS.items() if b.startswith("dx(") and b.endswith(")")}


@dataclass(frozen=True)
class Known:
    """What an expression may ask: condition codes, groups and facts."""

    codes: frozenset[str]
    groups: frozenset[str]
    facts: frozenset[str]

    def reads(self, when: str) -> bool:
        """Whether some patient's record can answer the expression."""
        asked = expression(when)
        return groups_and_codes(when)[1] <= self.codes and asked.names <= self.facts


def merge(fields: Row, verified: Row, known: Known) -> list[Row]:
    """Replace the sections that a verified file holds; its citations."""
    for name, value in verified.items():
        if name == "citations":
            continue
        if name == "lower_start":
            _lower(fields, value["start"], value["source"], value["status"])
            continue
        if name == "recite":
            _recite(fields, {row["from"]: row for row in value})
            continue
        if name == "kinetics":
            held = fields.get("kinetics") or {}
            fields["kinetics"] = held | value | {"parameters": held.get("parameters", {}) | value["parameters"]}
            continue
        if not (isinstance(value, list) and value and isinstance(value[0], dict) and "source" in value[0]):
            fields[name] = value
            continue
        kept = [readable_row(row, known) for row in value]
        if name == "products":
            kept = [{**row, "route": _ROUTES.get(row.get("route", "oral"), row.get("route", "oral"))} for row in kept]
        unread = [row for row in kept if row.pop("_unread", False) and name != "contraindications"]
        fields[name] = [row for row in kept if row not in unread]
        if name == "cases":
            cases = map(_same_codes, fields[name])
            fields[name] = [case for case in cases if set(case["given"].get("dx", [])) <= known.codes]
        fields["notes"] = [
            *fields["notes"],
            *(f"{name}, for patients that no record code shows: {_plain(r)}" for r in unread),
        ]
    return list(verified.get("citations", []))


def _recite(fields: Row, better: dict[str, Row]) -> None:
    """Cite a better source that was read for the same rows."""
    parameters = list((fields.get("kinetics") or {}).get("parameters", {}).values())
    for section in (*fields.values(), parameters):
        for row in section if isinstance(section, list) else [section]:
            if isinstance(row, dict) and row.get("source") in better:
                found = better[row["source"]]
                row |= {"source": found["to"], "status": found["status"]}


def _same_codes(case: Row) -> Row:
    given = dict(case["given"])
    if "dx" in given:
        given["dx"] = [_CASE_CODES.get(code, code) for code in given["dx"]]
        if "severe_bradycardia" in given["dx"]:
            given["dx"].remove("severe_bradycardia")
            given["heart_rate"] = 45
    if "crcl" in given or "egfr" in given:
        given.setdefault("dialysis", False)
    return {**case, "given": given}


def _plain(row: Row) -> str:
    parts = [str(row[k]) for k in ("indication", "text", "note") if row.get(k)]
    numbers = [f"{k} {row[k]:g}" for k in ("start", "value", "max") if isinstance(row.get(k), int | float)]
    return "; ".join([*parts, *numbers])


def readable_row(row: Row, known: Known) -> Row:
    """The row without alternatives that no record can answer; marked `_unread` if nothing is left."""
    when = row.get("when")
    if not when:
        return dict(row)
    if row.get("code") and "nyha_class" in when:
        text = f"{row['text']} (the class is not on record)"
        return {**row, "when": "dx(heart_failure)", "level": "relative", "text": text}
    for spelling, ours in _SPELLINGS.items():
        if ours not in when:
            when = when.replace(spelling, ours)
    parts = list(dict.fromkeys(re.split(r" or (?![^(]*\))", when)))
    if known.reads(when):
        return {**row, "when": when if any(p.count("(") != p.count(")") for p in parts) else " or ".join(parts)}
    kept = " or ".join(p for p in parts if p.count("(") == p.count(")") and known.reads(p))
    if not kept or any(p.count("(") != p.count(")") for p in parts):
        return {**{k: v for k, v in row.items() if k != "when"}, "_unread": True}
    return {**row, "when": kept}


def settle(fields: Row, kinds: dict[str, str], lower_start: tuple[float, str] | None) -> None:
    """Bring the merged sections in line: statuses by source, lower start doses, recalled rules that add nothing."""
    parameters = list((fields.get("kinetics") or {}).get("parameters", {}).values())
    for section in (*fields.values(), parameters):
        for row in section if isinstance(section, list) else [section]:
            if isinstance(row, dict) and "status" in row:
                row["status"] = _status(row["status"], kinds.get(row["source"], ""))
    fields["cases"] = [case for case in fields.get("cases", []) if case["status"] in _SOUND]
    for row in fields["contraindications"]:
        if row.get("when") and "haemorrhagic_stroke" not in row["when"]:
            row["when"] = row["when"].replace("dx(stroke) or dx(tia)", _ANY_STROKE)
    if lower_start:
        _lower(fields, *lower_start)
    for name in ("renal", "hepatic"):
        for row in fields[name]:
            if row["status"] == "to verify" and row.get("action") == "standard":
                row.pop("action")
                row["text"] = f"no change is recalled, no source was read; {row.get('text', '')}".rstrip("; ")
    if "statin" in fields["classes"]:
        for row in fields["hepatic"]:
            if row["when"] == "dx(liver_disease)" and row.get("action") == "contraindicated":
                row["when"] = _DECOMPENSATED
                row["text"] = f"{row.get('text', '')}; stable fatty liver disease is not meant".lstrip("; ")
    if "narrow therapeutic index" not in fields["classes"]:
        recalled = [row for row in fields["window"] if row["status"] == "to verify"]
        fields["window"] = [row for row in fields["window"] if row not in recalled]
        fields["notes"] = [*fields["notes"], *(f"recalled window, not used: {_window_text(row)}" for row in recalled)]
    fields["age"] = [row for row in fields["age"] if not _adds_nothing(row, fields)]
    for name, organ, when in (("renal", "kidney", "egfr < 60 or dx(ckd)"), ("hepatic", "liver", "dx(liver_disease)")):
        if not fields[name]:
            text = f"no rule for {organ} disease is on file"
            fields[name] = [{"when": when, "text": text, "source": "posologist-rules", "status": "to verify"}]


def _status(status: str, kind: str) -> str:
    if kind in ("machine", "memory"):
        return "to verify"
    return "secondary" if status == "verified" and kind in ("review", "handbook") else status


def _window_text(row: Row) -> str:
    numbers = " to ".join(f"{row[k]:g}" for k in ("low", "high") if row.get(k) is not None)
    toxic = f", toxic above {row['toxic_above']:g}" if row.get("toxic_above") is not None else ""
    return f"{numbers} {row.get('unit', '')}{toxic}, {row.get('matrix', '')}".strip(", ")


def _lower(fields: Row, start: float, citation: str, status: str = "secondary") -> None:
    """A guideline table's (or second label's) lower start in every rule that holds for all; worked cases follow."""
    for rule in fields["doses"]:
        old = rule.get("start")
        plain = rule["indication"] == "hypertension" and rule.get("unit", "mg/day") == "mg/day"
        if not (plain and rule.get("when", "true") == "true" and old and start < old):
            continue
        if not _can_be_made({**rule, "start": start}, fields["products"]):
            continue
        note = f"label start {old:g}, {citation} {start:g}: the lower is used. {rule.get('note', '')}"
        rule |= {"start": start, "usual_low": min(start, rule.get("usual_low") or start), "note": note.strip()}
        for case in fields.get("cases", []):
            if case.get("indication") == "hypertension" and case["expect"].get("start") == old:
                case["expect"] = {**case["expect"], "start": start}
                case |= {"source": citation, "status": status}


_INTERNAL = re.compile(r"earlier entr|project table|starting material|shared/|^QA\b|machine-written|models\.json")


def clean(value: Any, inn: str, keys: frozenset[str]) -> Any:
    """Texts with full citation keys, without remarks on how the facts were collected."""
    if isinstance(value, dict):
        kept = {k: clean(v, inn, keys) if k in ("note", "text", "reads", "notes") else v for k, v in value.items()}
        return {
            k: clean(v, inn, keys) if isinstance(v, list | dict) and k not in ("given", "expect") else v
            for k, v in kept.items()
        }
    if isinstance(value, list):
        return [v for v in (clean(v, inn, keys) for v in value) if v != ""]
    if not isinstance(value, str):
        return value
    clauses = [c for c in re.split(r"; ", value) if not _INTERNAL.search(c.strip())]
    return re.sub(r"\b[A-Z]+\d*\b", lambda m: f"{inn}-{m[0]}" if m[0] in keys else m[0], "; ".join(clauses)).strip()


def _adds_nothing(row: Row, fields: Row) -> bool:
    """Whether a recalled age rule asks no more than the dose rules that were read."""
    if row["status"] in _SOUND or row.get("value") is None or row.get("indication"):
        return False
    name = {"start": "start", "cap": "max"}.get(row["action"], "")
    stated = [r[name] for r in fields["doses"] if name and r.get(name) is not None and r["status"] in _SOUND]
    return bool(stated) and row["value"] >= min(stated)


def depth_of(fields: Row, served: tuple[str, ...]) -> str:
    """rankable, or known when something that decides is missing or still to verify."""
    return "rankable" if rankable_for(fields, served) else "known"


def rankable_for(fields: Row, served: tuple[str, ...]) -> list[str]:
    """The served indications for which the drug's facts are enough."""
    found = []
    for rule in fields["doses"]:
        complete = rule.get("start") is not None and rule.get("max") is not None and rule["status"] in _SOUND
        if rule["indication"] in served and complete and _can_be_made(rule, fields["products"]):
            found.append(rule["indication"])
    return list(dict.fromkeys(found))


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


def _is_sound(rule: Row) -> bool:
    return rule.get("start") is not None and rule["status"] in _SOUND


def cases_of(fields: Row, served: tuple[str, ...]) -> list[Row]:
    """Worked cases: those of the verified file, else the label's own statements that can be asked of the engine."""
    if fields.get("cases"):
        return list(fields["cases"])
    rule = next((r for r in fields["doses"] if r["indication"] in served and _is_sound(r)), None)
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
            given = {"age": 50, "crcl": number, "egfr": number, "dialysis": False}
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
