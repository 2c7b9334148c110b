"""Names: indications, product forms and groups as the knowledge base spells them."""

from __future__ import annotations

import re
from typing import Any

SERVED = (
    "hypertension",
    "depression",
    "atrial-fibrillation-stroke-prevention",
    "acs-pci-antiplatelet",
    "dyslipidaemia",
    "type-2-diabetes",
)
_PATTERNS: list[tuple[str, str]] = [  # first match wins
    (r"hypertension.*(iv|not feasible|emergency)", ""),
    (r"^hypertension \(guideline low dose\)", ""),
    (r"^adjunct to kaliuretic diuretic in hypertension", "hypertension"),
    (r"^(severe resistant )?hypertension", "hypertension"),
    (r"^(major depressive disorder|depression).*inpatient", ""),
    (r"^(major depressive disorder|depression)", "depression"),
    (r"nonvalvular AF$|^thromboembolism prophylaxis in AF", "atrial-fibrillation-stroke-prevention"),
    (r"^atrial fibrillation$", "atrial-fibrillation-stroke-prevention"),
    (r"^ACS managed with PCI|^acute coronary syndrome|^secondary prevention after MI", "acs-pci-antiplatelet"),
    (r"^(primary |)hyperlipidaemia|^primary hypercholesterolaemia|^hyperlipidaemia", "dyslipidaemia"),
    (r"^type 2 diabetes with CV disease", ""),
    (r"^type 2 diabetes", "type-2-diabetes"),
]
_EXTENDED = re.compile(r"\b(er|sr|la|cr|cd|xl|xr|extended|long-acting|24 h|12 h|Gralise|weekly)\b", re.IGNORECASE)
_IMMEDIATE = re.compile(r"\((ir|tartrate|ir only)\)", re.IGNORECASE)
MISSPELLINGS = {
    "simvastatin": ["simvistatin", "simvastin", "symvastatin"],
    "atorvastatin": ["atorvistatin", "atorvastin"],
    "rosuvastatin": ["rosuvistatin"],
    "metoprolol": ["metropolol", "metoprolal"],
    "lisinopril": ["lisinipril", "lysinopril"],
    "amlodipine": ["amlodapine", "amlodopine"],
    "hydrochlorothiazide": ["hydrochlorthiazide", "hydrochlorothiazid"],
    "chlorthalidone": ["chlorthalidon"],
    "furosemide": ["furosamide"],
    "clopidogrel": ["clopidigrel"],
    "warfarin": ["warfrin"],
    "omeprazole": ["omeprazol"],
    "escitalopram": ["escitalapram"],
    "citalopram": ["citalapram"],
    "sertraline": ["sertralin"],
    "levothyroxine": ["levothyroxin"],
    "metformin": ["metformine"],
    "carvedilol": ["carvidilol"],
}


def slug(text: str) -> str:
    """Lower-case words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace(">=", "from ").replace("<=", "up to ")).strip("-")


def indication(name: str) -> str:
    """Id of an indication: one of the six that are served, or a slug of the name."""
    for pattern, served in _PATTERNS:
        if re.search(pattern, name):
            return served or slug(name)
    return slug(re.sub(r" \((IR|ER|SR|XL|LA|DR|CR|IR only|ER only)\)$", "", name))


def release_of(name: str) -> str:
    """Release that a dose name or a form implies; empty when it says nothing."""
    if _IMMEDIATE.search(name):
        return "immediate"
    return "extended" if _EXTENDED.search(name) else ""


def product(row: dict[str, Any], forms: dict[str, list[str]], routes: dict[str, list[str]]) -> dict[str, Any]:
    """Form, route, release, unit and salt of one product row."""
    raw = row["form"]
    form = next((canonical for canonical, spellings in forms.items() if raw in spellings), raw)
    remark = re.search(r"\(([^)]*)\)", raw)
    keep = bool(remark) and any(word in raw for word in ("geomatrix", "coat-core", "macro"))
    route = next((canonical for canonical, spellings in routes.items() if row["route"] in spellings), row["route"])
    unit, _, rest = row["unit"].partition(" (")
    salt = rest.rstrip(")") or (remark[1] if remark and not keep else "")
    if raw.startswith("tablet micronized"):
        salt = "micronized"
    extended = form.startswith("er ") or bool(_EXTENDED.search(raw))
    return {
        "form": raw if keep else form,
        "route": route,
        "release": "extended" if extended else "immediate",
        "strengths": sorted(row["strengths"]),
        "unit": unit,
        "salt": salt if salt not in ("ADHD",) else "",
    }
