"""Kinetics, roles, effects, monitoring and stopping of the drug facts, restated row by row."""

from __future__ import annotations

import re
from typing import Any

from restate_sources import MEMORY, Sources

Row = dict[str, Any]

_KINETICS: dict[str, tuple[str, str, float]] = {  # key of the facts: (name, unit, factor)
    "bioavailability_percent": ("bioavailability", "fraction", 0.01),
    "bioavailability_oral_percent": ("bioavailability_oral", "fraction", 0.01),
    "protein_binding_percent": ("protein_binding", "fraction", 0.01),
    "renal_excretion_percent": ("renal_excretion", "fraction", 0.01),
    "half_life_h": ("half_life", "h", 1.0),
    "half_life_er_h": ("half_life_extended_release", "h", 1.0),
    "half_life_elderly_h": ("half_life_older", "h", 1.0),
    "half_life_cirrhosis_h": ("half_life_cirrhosis", "h", 1.0),
    "half_life_pm_h": ("half_life_poor_metabolizer", "h", 1.0),
    "tmax_h": ("tmax", "h", 1.0),
    "clearance_l_h": ("clearance", "L/h", 1.0),
    "clearance_ml_min": ("clearance", "L/h", 0.06),
    "clearance_l_h_kg": ("clearance_per_kg", "L/h/kg", 1.0),
    "clearance_ml_min_kg": ("clearance_per_kg", "L/h/kg", 0.06),
    "clearance_oral_l_h": ("oral_clearance", "L/h", 1.0),
    "renal_clearance_ml_min": ("renal_clearance", "L/h", 0.06),
    "volume_l": ("volume", "L", 1.0),
    "volume_l_kg": ("volume_per_kg", "L/kg", 1.0),
    "volume_l_per_kg": ("volume_per_kg", "L/kg", 1.0),
    "ka_1_h": ("absorption_rate", "1/h", 1.0),
    "tlag_h": ("lag_time", "h", 1.0),
}
_LACTATION = [  # first word found wins
    (r"contraindicated|do not use|do not nurse", "contraindicated"),
    (r"not recommended|avoid|discontinue nursing|stop drug or nursing|others preferred", "avoid"),
    (r"compatible|no reason to stop|may be used|acceptable|preferred", "standard"),
    (r"milk|caution|monitor|minimal|low infant|short-term|infant", "monitor"),
]
_STRENGTH = {"index": "sensitive", "index or sensitive": "sensitive", "clinical": "", "irreversible": "strong"}
_NOT_ENZYMES = re.compile(r"renal|multiple|unknown|unspecified|steroidogenesis|none", re.IGNORECASE)
_TAPER: list[tuple[str, str, str]] = [  # class, how, why
    ("beta-blocker", "lower over 1 to 2 weeks", "abrupt stop can bring angina, infarction or arrhythmia"),
    ("benzodiazepine", "lower slowly, by individual plan", "abrupt stop can bring withdrawal and seizures"),
]


def _remark(row: Row) -> str:
    texts = [str(row[k]) for k in ("note", "notes", "text") if row.get(k)]
    return "; ".join(t for t in texts if not t.startswith("QA"))


def _cited(row: Row, pair: tuple[str, str]) -> Row:
    return {**row, "source": pair[0], "status": pair[1]}


def _tidy(value: Any, factor: float) -> float | None:
    return float(f"{value * factor:.6g}") if isinstance(value, int | float) else None


def kinetics(drug: Row, sources: Sources, quality: list[tuple[str, str]]) -> Row:
    """Parameters in canonical units (L/h, L, h, fractions); what a value includes is said in its note."""
    issues = {field.partition(".")[2]: issue for field, issue in quality if field.startswith("kinetics.")}
    parameters: Row = {}
    for key, row in (drug.get("kinetics") or {}).items():
        if key == "active_metabolite" and isinstance(row, dict) and isinstance(row.get("half_life_h"), int | float):
            note = "; ".join(t for t in (f"of {row.get('name')}", _remark(row)) if t)
            value = {"value": float(row["half_life_h"]), "unit": "h", "note": note}
            parameters["metabolite_half_life"] = _cited(value, sources.of(drug["inn"], row.get("src"), drug["sources"]))
        if key not in _KINETICS or not isinstance(row, dict):
            continue
        name, unit, factor = _KINETICS[key]
        numbers = {k: _tidy(row.get(k), factor) for k in ("value", "low", "high")}
        if numbers["low"] == numbers["high"] == numbers["value"]:
            numbers["low"] = numbers["high"] = None
        if not any(v is not None for v in numbers.values()) or name in parameters:
            continue
        note = "; ".join(t for t in (_remark(row), issues.get(key, "")) if t)
        parameters[name] = _cited(
            {**numbers, "unit": unit, "note": note}, sources.of(drug["inn"], row.get("src"), drug["sources"])
        )
    moiety = f"{drug['prodrug_of']} is the active moiety" if drug.get("prodrug_of") else ""
    return {"moiety": moiety, "parameters": parameters} if parameters or moiety else {}


def roles(drug: Row, base: Any) -> list[Row]:
    """Enzyme roles: the enzyme table first, then the drug's own rows for what the table does not have."""
    inn, found, seen = drug["inn"], [], set()
    canonical = {s: name for name, spellings in base.vocabulary["enzymes"].items() for s in (*spellings, name)}
    for row in base.enzymes:
        if row["drug"] != inn or _NOT_ENZYMES.search(row["enzyme"]) or row["strength"] in ("none seen", "none"):
            continue
        enzyme, role = canonical.get(row["enzyme"], row["enzyme"]), row["role"].split(" ")[0]
        strength = _STRENGTH.get(row["strength"], row["strength"])
        fold = float(row["auc_fold"]) if row["auc_fold"] else None
        mark = (enzyme, role, strength, fold, row["auc_with"])
        if mark in seen or (fold is None and (enzyme, role, strength) in seen):
            continue
        seen |= {mark, (enzyme, role, strength), (enzyme, role)}
        entry = {"enzyme": enzyme, "role": role, "strength": strength, "auc_fold": fold, "auc_with": row["auc_with"]}
        found.append(_cited({**entry, "note": row["note"]}, base.sources.enzymes(row["source"], row["source_kind"])))
    for row in drug["metabolism"] or []:
        enzyme = canonical.get(row["enzyme"], row["enzyme"])
        if (enzyme, row["role"]) in seen or _NOT_ENZYMES.search(enzyme) or row["strength"] == "none":
            continue
        seen.add((enzyme, row["role"]))
        entry = {
            "enzyme": enzyme,
            "role": row["role"],
            "strength": _STRENGTH.get(row["strength"], row["strength"] or ""),
        }
        found.append(_cited({**entry, "note": _remark(row)}, base.sources.of(inn, row.get("src"), drug["sources"])))
    return sorted(found, key=lambda r: (r["enzyme"], r["role"], r["strength"], r.get("auc_with") or ""))


def _plain_folds(effect: str) -> str:
    words = re.sub(r"\b(\w+?)_fold ([\d.]+\d|\d)", r"\1 \2-fold", effect)
    return words.replace("half_life", "half-life").replace("oral_clearance", "oral clearance").replace("auc ", "AUC ")


def gene_effects(drug: Row, sources: Sources) -> list[Row]:
    """Observed effects of phenotypes; a fold is a number only where one is printed."""
    found = []
    for row in drug["pharmacogenetics"] or []:
        effect = row.get("effect") or ""
        action = "" if row.get("action") in (None, "see action row") else row["action"]
        text = "; ".join(t for t in (_plain_folds(effect), action, _remark(row)) if t)
        pair = sources.of(drug["inn"], row.get("src"), drug["sources"])
        entry: Row = {"gene": row["gene"], "phenotype": row["group"] or "any"}
        folds = re.findall(
            r"\b(auc|cmax|css|half_life|clearance|oral_clearance)_fold (\d+(?:\.\d+)?)", effect, re.IGNORECASE
        )
        for name, size in folds:
            found.append(_cited({**entry, "measure": f"{name.lower()}_fold", "value": float(size), "text": text}, pair))
        if not folds:
            found.append(_cited({**entry, "measure": "statement", "text": text}, pair))
    return found


def window(drug: Row, sources: Sources) -> list[Row]:
    """Therapeutic windows with at least one bound."""
    first = drug.get("therapeutic_range") or {}
    others = drug.get("therapeutic_range_other") or []
    found = []
    for row in [first, *(others if isinstance(others, list) else [others])]:
        bounds = {k: _tidy(row.get(k), 1.0) for k in ("low", "high", "toxic_above")}
        if any(v is not None for v in bounds.values()):
            entry = {**bounds, "unit": row.get("unit") or "", "matrix": row.get("matrix") or "", "note": _remark(row)}
            found.append(_cited(entry, sources.of(drug["inn"], row.get("src"), drug["sources"])))
    return found


def adverse(drug: Row, sources: Sources) -> list[Row]:
    """Adverse effects with their frequency; an active comparator is never the placebo."""
    found = []
    for row in drug["adverse"] or []:
        words = [row.get("population") or "", f"dose {row['dose']}" if row.get("dose") else ""]
        if row.get("comparator_percent") is not None:
            words.append(f"comparator {row.get('comparator') or ''} {row['comparator_percent']} %")
        words.append("class" if row.get("scope") == "class" else "")
        if row.get("relative_risk") is not None:
            words.append(f"relative risk {row['relative_risk']}")
        excess = row.get("excess_over_placebo_percent")
        entry = {
            "event": row["event"],
            "percent": _tidy(row.get("percent"), 1.0),
            "placebo_percent": _tidy(row.get("placebo_percent"), 1.0),
            "excess_percent": _tidy(row.get("risk_difference_percent") if excess is None else excess, 1.0),
            "low": _tidy(row.get("low"), 1.0),
            "high": _tidy(row.get("high"), 1.0),
            "population": "; ".join(w for w in words if w),
            "serious": bool(row.get("serious")) or None,
            "note": _remark(row),
        }
        found.append(_cited(entry, sources.of(drug["inn"], row.get("src"), drug["sources"])))
    return found


def _days(when: str) -> list[int]:
    days = [0] if re.search(r"\b(baseline|before)\b", when) else []
    for low, high, unit in re.findall(r"(\d+)(?:\s*(?:-|to|and)\s*(\d+))?\s*(week|day|month)", when):
        factor = {"week": 7, "day": 1, "month": 30}[unit]
        days += [int(n) * factor for n in (low, high) if n]
    return sorted(set(days)) if "every" not in when else days[:1]


def monitoring(drug: Row, sources: Sources) -> list[Row]:
    """What to measure and when; days after the start where the words give them."""
    return [
        _cited(
            {"what": row["what"], "when": row["when"] or "during treatment", "days": _days(row["when"] or "")},
            sources.of(drug["inn"], row.get("src"), drug["sources"], section="monitoring"),
        )
        for row in drug["monitoring"] or []
    ]


def efficacy(drug: Row, sources: Sources) -> list[Row]:
    """Effects of the drug itself; class averages stand in the indication files."""
    found = []
    for row in drug["efficacy"] or []:
        if row.get("scope") == "class" or "class" in row["measure"]:
            continue
        size = f"n {row['n']}" if row.get("n") else ""
        entry = {
            "measure": row["measure"],
            "value": _tidy(row.get("value"), 1.0),
            "unit": row.get("unit") or "",
            "dose": row.get("dose") or "",
            "text": "; ".join(t for t in (size, _remark(row)) if t),
        }
        found.append(_cited(entry, sources.of(drug["inn"], row.get("src"), drug["sources"])))
    return found


def lactation(drug: Row, sources: Sources) -> Row | None:
    """What is said of breast-feeding; "unknown" has no action."""
    text = drug.get("lactation")
    if not text:
        return None
    action = next((a for pattern, a in _LACTATION if re.search(pattern, text)), None)
    source = drug.get("src_lactation") or drug.get("src_pregnancy")
    pair = MEMORY if "memory" in text else sources.of(drug["inn"], source, drug["sources"], section="pregnancy")
    return _cited({"when": "breastfeeding", "action": action, "text": f"breast-feeding: {text}"}, pair)


def stopping(drug: Row, sources: Sources) -> Row | None:
    """How the drug is stopped, where a boxed warning or a monitoring row speaks of it."""
    boxed = [b for b in drug["boxed_warning"] or [] if re.search(r"abrupt|withdrawal|dependence|discontinuation", b)]
    rows = [r for r in drug["monitoring"] or [] if re.search(r"taper|abrupt", f"{r['what']} {r['when']}")]
    label = next(
        (k for k, s in drug["sources"].items() if s.get("kind") == "label" and "box" in str(s.get("title")).lower()),
        None,
    )
    inn, table = drug["inn"], drug["sources"]
    if rows:
        words = "; ".join(f"{r['what']}: {r['when']}" for r in rows)
        text = f"{words} (boxed warning: {', '.join(boxed)})" if boxed else words
        return _cited(
            {"abrupt_allowed": False, "text": text.replace("_", " ")}, sources.of(inn, rows[0].get("src"), table)
        )
    for boxed_word in boxed:
        if "thrombosis" in boxed_word or "neonatal" in boxed_word:
            continue
        how = next(
            (f"{how}; {why}" for group, how, why in _TAPER if group in str(drug["class"])), "do not stop abruptly"
        )
        pair = sources.of(inn, drug.get("src_boxed_warning") or label or "memory", table)
        return _cited({"abrupt_allowed": False, "text": f"{how} (boxed warning: {boxed_word.replace('_', ' ')})"}, pair)
    return None
