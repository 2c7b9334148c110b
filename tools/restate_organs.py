"""Renal, hepatic and age rows of the drug facts, read as expressions with an action."""

from __future__ import annotations

import re
from typing import Any

Row = dict[str, Any]

_ACTIONS = {
    "none": "standard",
    "start": "start",
    "max": "cap",
    "avoid": "avoid",
    "contraindicated": "contraindicated",
    "percent": "percent",
    "interval": "interval",
    "monitor": "monitor",
    "caution": "monitor",
    "reduce": "reduce",
    None: None,
}
_LIVER = "dx(liver_disease)"


def _child_pugh(*letters: str, cause: str = _LIVER) -> str:
    """The class is asked only of patients whose record shows the cause."""
    if len(letters) == 1:
        return f'{cause} and child_pugh == "{letters[0]}"'
    listed = ", ".join(f'"{letter}"' for letter in letters)
    return f"{cause} and child_pugh in ({listed})"


_HEPATIC: list[tuple[str, str]] = [  # first pattern that is found wins
    (r"Child-Pugh A-C|any Child-Pugh", _LIVER),
    (r"Child-Pugh A or B|mild or moderate|mild to moderate|mild-moderate", _child_pugh("A", "B")),
    (r"Child-Pugh B or C|moderate or severe|moderate, or severe|Child-Pugh >=7", _child_pugh("B", "C")),
    (r"Child-Pugh A", _child_pugh("A")),
    (r"Child-Pugh B", _child_pugh("B")),
    (r"Child-Pugh C|Child-Pugh >=10", _child_pugh("C")),
    (r"hepatic coma|precoma", "dx(hepatic_encephalopathy)"),
    (r"decompensated cirrhosis|acute liver failure", _child_pugh("B", "C", cause="dx(liver_cirrhosis)")),
    (r"^severe|severe hepatic|severe impairment|marked damage", _child_pugh("C")),
    (r"^moderate", _child_pugh("B")),
    (r"cirrhosis", "dx(liver_cirrhosis)"),
    (r">3 ?x ULN", "dx(raised_transaminases)"),
    (r"bilirubin >5", "bilirubin > 5"),
    (r"bilirubin >2", "bilirubin > 2"),
    (r"bilirubin 1-2", "bilirubin >= 1 and bilirubin <= 2"),
    (r"", _LIVER),
]


def _bounds(row: Row, measure: str) -> list[str]:
    words = row.get("when") or ""
    parts = []
    if row.get("low") not in (None, 0):
        lower = ">" if re.search(rf">{row['low']:g}\b", words) else ">="
        parts.append(f"{measure} {lower} {row['low']:g}")
    if row.get("high") is not None:
        parts.append(f"{measure} {'<=' if '<=' in words else '<'} {row['high']:g}")
    return parts


def _unbounded(words: str) -> str:
    text = words.lower()
    if "creatinine >2" in text:
        return "creatinine > 2"
    if re.search(r"severe|advanced|end-stage|esrd|uraemia|renal failure", text) and "mild" not in text:
        return "crcl < 30"
    if "not studied" in text or (text.startswith("any") and "impairment" not in text):
        return "true"
    return "egfr < 60 or dx(ckd)"


def renal(row: Row, indication_of: Any, per_day: dict[str, Any], groups: Any) -> tuple[Row | None, str]:
    """(rule, "") or (None, note) when the row cannot be tied to facts of a patient."""
    applies = dict(row.get("applies") or {})
    action = _ACTIONS[row.get("action")]
    words = row.get("when") or ""
    remark = "; ".join(
        str(row[k]) for k in ("text", "note", "notes") if row.get(k) and not str(row[k]).startswith("QA")
    )
    if unusable := {"region", "usual_dose", "treatment_history"} & set(applies):
        which = ", ".join(f"{k} {applies[k]}" for k in sorted(unusable))
        return (
            None,
            f"renal, {words} ({which}): {row.get('action')} {row.get('value') or ''} {row.get('value_unit') or ''}",
        )
    measure = "egfr" if row.get("measure") == "eGFR" else "crcl"
    parts = _bounds(row, measure)
    lowered = words.lower()
    if applies.get("dialysis") is True:
        parts = ["dialysis"]
        if "age <80 and weight >60" in words:
            parts.append("age < 80 and weight > 60")
        if "age >=80 or weight <=60" in words:
            parts.append("(age >= 80 or weight <= 60)")
    elif applies.get("condition_text", "").startswith("AF, creatinine >=1.5"):
        parts = ["creatinine >= 1.5 and (age >= 80 or weight <= 60)"]
    elif not parts:
        whole = _unbounded(words)
        parts = [f"({whole})" if " or " in whole and applies else whole]
    when = " and ".join(parts)
    if "or dialysis" in lowered or "or haemodialysis" in lowered:
        when = f"{when} or dialysis"
    extra = []
    if applies.get("dialysis") is False:
        extra.append("not dialysis")
    if "age_below" in applies:
        extra.append(f"age < {applies['age_below']}")
    if "route" in applies:
        extra.append(f'route == "{applies["route"]}"')
    if "with" in applies:
        named = " or ".join(f'on("{g}")' for target in applies["with"] for g in groups(target))
        extra.append(f"({named})")
    if extra:
        when = " and ".join([f"({when})" if " or " in when else when, *extra])
    form = f"{applies['form']} form" if "form" in applies else ""
    text = "; ".join(t for t in (words if words != when else "", form, remark) if t)
    rule = {"when": when, **_size(row, action, per_day), "text": text}
    if "indication" in applies:
        rule["indication"] = indication_of(applies["indication"])
    return rule, ""


def _size(row: Row, action: str | None, per_day: dict[str, Any]) -> Row:
    value, unit = row.get("value"), row.get("value_unit") or ""
    if action in ("start", "cap", "percent", "interval") and value is None:
        return {"action": "reduce"}
    if action == "percent":
        return {"action": "percent", "value": value, "unit": "percent"}
    if action == "interval":
        hours = value * 24 if unit.startswith("day") else value
        return {"action": "interval", "value": hours, "unit": "h"}
    if action in ("start", "cap"):
        entry = per_day.get(f"{row.get('action')}|{unit}", {})
        if entry.get("basis") == "read text":
            return {"action": "reduce"}
        size = value * entry.get("per_day", 1.0)
        base = unit.split("/")[0].split(" ")[0]
        if base == "g":
            size, base = size * 1000, "mg"
        kind = "mg/kg/day" if unit.startswith("mg/kg") else f"{base}/day"
        return {"action": action, "value": float(f"{size:.6g}"), "unit": kind}
    return {"action": action}


def hepatic(row: Row, per_day: dict[str, Any]) -> Row:
    """A hepatic row as a rule. Child-Pugh is asked only of patients with liver disease on their record."""
    words = row.get("when") or ""
    when = next(expr for pattern, expr in _HEPATIC if re.search(pattern, words))
    action = _ACTIONS[row.get("action")]
    remark = "; ".join(
        str(row[k]) for k in ("text", "note", "notes") if row.get(k) and not str(row[k]).startswith("QA")
    )
    return {"when": when, **_size(row, action, per_day), "text": "; ".join(t for t in (words, remark) if t)}


_USES = (
    ("GAD", "generalized-anxiety-disorder"),
    ("insomnia", "insomnia-sleep-maintenance"),
    ("STEMI", "stemi"),
    ("AF dose-reduction", "atrial-fibrillation-stroke-prevention"),
    ("routine primary prevention", "primary-prevention"),
)


def elderly(row: Row) -> list[Row]:
    """Age rules. "Elderly" without a number is read as 65 years and over, and the text says so."""
    remark = "; ".join(str(row[k]) for k in ("text", "notes", "note") if row.get(k))
    over = re.search(r"(?:over|above|>=?|at|age)\s*(\d\d)\b", remark)
    limit = int(over[1]) if over and 55 <= int(over[1]) <= 90 else 65
    strictly = bool(over) and ("over " in remark or "above " in remark or ("> " in remark))
    when = f"age {'>' if strictly else '>='} {limit}"
    stated = "" if over else "older adults (read as 65 years and over)"
    text = "; ".join(t for t in (stated, remark) if t)
    unit = row.get("value_unit") or row.get("unit") or "mg/day"
    found: list[Row] = []
    action = row.get("action")
    if (row.get("text") or "").startswith("start ") and isinstance(row.get("value"), int | float):
        action = "start"
    if remark.startswith(">70 years: avoid >"):
        action = "max"
    for name, act in (("start", "start"), ("start_mg_day", "start"), ("max", "cap")):
        if isinstance(row.get(name), int | float):
            found.append({"when": when, "action": act, "value": row[name], "unit": unit, "text": text})
    if action in ("start", "max", "percent") and isinstance(row.get("value"), int | float):
        found.append({"when": when, "action": _ACTIONS[action], "value": row["value"], "unit": unit, "text": text})
    elif action == "start":
        found.append({"when": when, "action": "reduce", "text": text or "start low"})
    elif action in ("avoid", "contraindicated", "monitor", "reduce", "none") or (not found and text):
        found.append({"when": when, "action": _ACTIONS.get(action, "monitor") if action else "monitor", "text": text})
    use = next((i for word, i in _USES if word in remark), "")
    return [{**r, "indication": use} for r in found]
