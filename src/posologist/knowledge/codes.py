"""Codes of records and what they mean here: laboratory analytes by LOINC, conditions by SNOMED CT or ICD-10-CM.

`knowledge/data/laboratory.toml` gives each analyte its canonical unit and what is plausible;
`knowledge/data/conditions.toml` gives each of our condition codes what it implies. Displays are never mapped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import rtoml
from pydantic import Field, ValidationError

from posologist.core.errors import KnowledgeError
from posologist.core.units import convert, dimension, is_known, ucum
from posologist.core.values import Many, Value

SYSTEMS: Mapping[str, str] = {
    "http://snomed.info/sct": "SNOMED",
    "urn:oid:2.16.840.1.113883.6.96": "SNOMED",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10-CM",
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm": "ICD-10-CM",
    "urn:oid:2.16.840.1.113883.6.90": "ICD-10-CM",
    "urn:oid:2.16.840.1.113883.6.3": "ICD-10-CM",
    "http://loinc.org": "LOINC",
    "urn:oid:2.16.840.1.113883.6.1": "LOINC",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "urn:oid:2.16.840.1.113883.6.88": "RxNorm",
    "http://www.whocc.no/atc": "ATC",
    "urn:oid:2.16.840.1.113883.6.73": "ATC",
}
"""Addresses of the code systems that are read, with the short name used here. WHO's ICD-10 and the German
edition share their categories with ICD-10-CM and are looked up in the same table."""

_SHORT = {
    "snomed": "SNOMED", "snomed ct": "SNOMED", "sct": "SNOMED", "icd-10": "ICD-10-CM", "icd10": "ICD-10-CM",
    "icd-10-cm": "ICD-10-CM", "icd10cm": "ICD-10-CM", "loinc": "LOINC", "rxnorm": "RxNorm", "rxcui": "RxNorm",
    "atc": "ATC",
}  # fmt: skip


def system_name(text: str) -> str:
    """Short name of a code system given by its address or in words; "" when it is not one that is read."""
    if text.startswith("http://snomed.info/sct/"):  # an edition of SNOMED CT
        return "SNOMED"
    return SYSTEMS.get(text.rstrip("/")) or _SHORT.get(text.strip().lower(), "")


_PIECES = {
    "kg": "kg", "g": "g", "gm": "g", "mg": "mg", "mcg": "ug", "ug": "ug", "ng": "ng", "pg": "pg", "mol": "mol",
    "mmol": "mmol", "umol": "umol", "mcmol": "umol", "micromol": "umol", "nmol": "nmol", "pmol": "pmol", "meq": "meq",
    "l": "L", "dl": "dL", "ml": "mL", "ul": "uL", "min": "min", "h": "h", "hr": "h", "u": "U", "iu": "[iU]",
    "[iu]": "[iU]", "miu": "m[iU]", "m[iu]": "m[iU]", "uiu": "u[iU]", "u[iu]": "u[iU]", "mu": "m[iU]",
    "1.73m2": "{1.73_m2}", "1.73_m2": "{1.73_m2}", "1.73m*2": "{1.73_m2}", "{1.73m2}": "{1.73_m2}",
    "{1.73_m2}": "{1.73_m2}", "cm": "cm", "mm[hg]": "mm[Hg]", "mmhg": "mm[Hg]", "m2": "m2", "m*2": "m2",
}  # fmt: skip
_THOUSANDS = re.compile(r"(?:x\s*)?10(?:e|\^|\*)\s*(3|6|9|12)\s*/\s*(ul|mcl|mm3|cumm|l)")
_CELLS = {("3", "l"): "", ("9", "l"): "10*9/L", ("12", "l"): "10*12/L", ("3", ""): "10*3/uL", ("6", ""): "10*6/uL"}


@lru_cache(maxsize=512)
def written_unit(text: str) -> str:
    """UCUM code of a unit as records write it, without annotations ("mg/g{creat}") and in any case; else the text."""
    if is_known(text):
        return ucum(text)
    bare = re.sub(r"\{(?!1\.73)[^}]*\}|\b(?:creat(?:inine)?|cr)\b", "", text).strip()
    if bare and is_known(bare):
        return ucum(bare)
    lowered = bare.lower().replace(" ", "").replace("µ", "u").replace("μ", "u")
    power = _THOUSANDS.fullmatch(lowered)
    if power:
        return _CELLS.get((power[1], "l" if power[2] == "l" else ""), "") or text
    joined = "/".join(_PIECES.get(piece, piece) for piece in lowered.split("/"))
    return ucum(joined) if is_known(joined) else text


class Analyte(Value):
    """Something measured. Values outside `low` to `high` (canonical unit) are not plausible.

    `spellings` are units that laboratories write for this analyte alone; `answers` maps coded results to words;
    `molar_mass` is in g/mol of what the mass unit states.
    """

    key: str
    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    molar_mass: float | None = Field(default=None, gt=0)
    valence: int = 1
    loinc: Many[str] = ()
    seen: Many[str] = Field(default=(), description="LOINC codes met in public sample records")
    spellings: dict[str, str] = {}
    answers: dict[str, str] = {}

    def canonical(self, value: float, unit: str) -> float:
        """The value in the canonical unit.

        Raises
        ------
        InputError
            If the unit is not known or measures something else.
        """
        written = self.spellings.get(unit) or written_unit(unit)
        if ucum(written) == self.unit:
            return value
        if dimension(written) == "equivalents/volume" and dimension(self.unit) == "mass/volume":
            value, written = convert(value, written, "mmol/L", valence=self.valence), "mmol/L"
        return convert(value, written, self.unit, molar_mass=self.molar_mass, valence=self.valence)

    def is_plausible(self, value: float) -> bool:
        """Whether the value, in the canonical unit, can be true at all."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


class ConditionCode(Value):
    """One of our condition codes; `lasting` ones hold for life; `readable` ones can be shown by a record's codes."""

    code: str
    name: str
    implies: Many[str] = ()
    lasting: bool = False
    readable: bool = False


class Codes(Value):
    """All analytes by key, all conditions by code, and the source codes that mean them."""

    analytes: dict[str, Analyte]
    conditions: dict[str, ConditionCode]
    sources: dict[str, dict[str, Many[str]]] = Field(description="system -> code or prefix* -> our condition codes")

    @cached_property
    def by_loinc(self) -> Mapping[str, Analyte]:
        """Analyte of a LOINC code."""
        return {code: analyte for analyte in self.analytes.values() for code in analyte.loinc}

    @cached_property
    def lasting(self) -> frozenset[str]:
        """Conditions that are never over: once recorded, they count as present."""
        return frozenset(code for code, condition in self.conditions.items() if condition.lasting)

    def implied(self, code: str) -> frozenset[str]:
        """All that a condition code implies, through every step, without itself."""
        found: set[str] = set()
        waiting = list(self.conditions[code].implies) if code in self.conditions else []
        while waiting:
            implied = waiting.pop()
            if implied not in found:
                found.add(implied)
                waiting.extend(self.conditions[implied].implies)
        return frozenset(found - {code})

    def looks_like(self, text: str) -> tuple[str, ...]:
        """Names of our conditions whose words all stand in a text. For a reader's attention, never for mapping."""
        words = _name_words(text)
        return tuple(name for name, wanted in self._words_of_names if wanted <= words)

    @cached_property
    def _words_of_names(self) -> tuple[tuple[str, frozenset[str]], ...]:
        named = [(c.name, _name_words(c.name)) for c in self.conditions.values() if c.readable]
        return tuple(sorted((name, words) for name, words in named if words))

    def is_read(self, system: str) -> bool:
        """Whether condition codes of this system can be read."""
        return system_name(system) in self.sources

    def meaning(self, system: str, code: str) -> tuple[str, ...] | None:
        """Our condition codes of a record's code: the exact code, else the longest prefix; None when not mapped.

        An empty answer means that the code is known and of no use to the rules. Our own codes (`system` "") are
        taken as they are.
        """
        if not system and code in self.conditions:
            return (code,)
        name = system_name(system)
        table = self.sources.get(name)
        if table is None:
            return None
        if name == "ICD-10-CM":
            code = code.upper()
            code = f"{code[:3]}.{code[3:]}" if len(code) > 3 and "." not in code else code
        if code in table:
            return table[code]
        if name == "ICD-10-CM":
            for end in range(len(code), 0, -1):
                if (prefix := f"{code[:end]}*") in table:
                    return table[prefix]
        return None


_COMMON_WORDS = frozenset(
    ("and", "or", "of", "in", "the", "a", "to", "with", "past", "present", "history", "disease", "disorder", "active")
)


def _name_words(text: str) -> frozenset[str]:
    """Words of a condition's name in one spelling, without those that say little."""
    lowered = text.lower().replace("ae", "e").replace("oe", "e")
    return frozenset(re.findall(r"[a-z0-9]+", lowered)) - _COMMON_WORDS


def load_codes(folder: Path) -> Codes:
    """Codes from `laboratory.toml` and `conditions.toml` in a folder.

    Raises
    ------
    KnowledgeError
        If a file is missing or wrong: an implied or meant condition that is not defined, a unit that is not
        known, a LOINC code given to two analytes.
    """
    laboratory, conditions = _table(folder / "laboratory.toml"), _table(folder / "conditions.toml")
    try:
        return _checked(_codes(laboratory, conditions), folder)
    except (ValidationError, TypeError, AttributeError, KeyError) as error:
        raise KnowledgeError(f"codes cannot be read: {error}", where=str(folder)) from error


def _table(path: Path) -> dict[str, Any]:
    try:
        return rtoml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise KnowledgeError("file is missing", where=str(path)) from error
    except rtoml.TomlParsingError as error:
        raise KnowledgeError(f"not TOML: {error}", where=str(path)) from error


def _codes(laboratory: dict[str, Any], conditions: dict[str, Any]) -> Codes:
    sources: dict[str, dict[str, Any]] = {}
    for system, by_status in conditions["codes"].items():
        for table in by_status.values():
            sources.setdefault(system, {}).update(table)
    shown = {ours for table in sources.values() for meant in table.values() for ours in meant}
    plain = {
        code: ConditionCode.model_validate({"code": code, **entry}) for code, entry in conditions["condition"].items()
    }
    codes = Codes(
        analytes={k: Analyte.model_validate({"key": k, **entry}) for k, entry in laboratory["analyte"].items()},
        conditions=plain,
        sources=sources,
    )
    readable = shown | {implied for code in shown & plain.keys() for implied in codes.implied(code)}
    marked = {c: v.model_copy(update={"readable": c in readable}) for c, v in plain.items()}
    return codes.model_copy(update={"conditions": marked})


def _checked(codes: Codes, folder: Path) -> Codes:
    where = str(folder / "conditions.toml")
    for code, condition in codes.conditions.items():
        for implied in condition.implies:
            if implied not in codes.conditions:
                raise KnowledgeError(f"{code} implies '{implied}', which is not defined", where=where)
    for system, table in codes.sources.items():
        for code, meant in table.items():
            for ours in meant:
                if ours not in codes.conditions:
                    raise KnowledgeError(f"{system} {code} means '{ours}', which is not defined", where=where)
    where, given = str(folder / "laboratory.toml"), dict[str, str]()
    for key, analyte in codes.analytes.items():
        for unit in (analyte.unit, *analyte.spellings.values()):
            if unit and not is_known(unit):
                raise KnowledgeError(f"{key}: unit '{unit}' is not in the table of units", where=where)
        for code in analyte.loinc:
            if given.setdefault(code, key) != key:
                raise KnowledgeError(f"LOINC {code} is given to {given[code]} and {key}", where=where)
    return codes


__all__ = ["SYSTEMS", "Analyte", "Codes", "ConditionCode", "load_codes", "system_name", "written_unit"]
