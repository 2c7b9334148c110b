"""The values of one drug's file, with unit, citation and what is assumed in using them."""

from __future__ import annotations

import math
import re

from posologist.core.drug import Drug, KineticValue
from posologist.core.errors import KnowledgeError
from posologist.core.evidence import Ledger
from posologist.core.recommendation import NotChecked, Reason
from posologist.core.values import Because, DrugId, EvidenceKey, Value

REFERENCE_WEIGHT_KG = 70.0  # weight at which per-kilogram values are expressed before a patient's weight is known


class Parameter(Value):
    """A parameter's typical value (median) and its between-patient coefficient of variation, where one is printed."""

    name: str
    value: float
    unit: str
    cv: float | None = None
    per_kg: bool = False
    because: Because


class MissingKinetics(Value):
    """The question could not be answered from what is held: which, why, and what would answer it."""

    what: str
    why: str
    would_need: str
    drug: DrugId

    def not_checked(self) -> NotChecked:
        """The same, as the documents list it."""
        return NotChecked(what=self.what, why=self.why, would_need=self.would_need, drugs=(str(self.drug),))


class DrugFile:
    """A drug's kinetics with the evidence of each value that is used."""

    def __init__(self, drug: Drug, ledger: Ledger) -> None:
        self.drug = drug
        self.ledger = ledger
        self.assumptions: list[Reason] = []
        self.recalled: dict[str, EvidenceKey] = {}

    def raw(self, name: str) -> KineticValue | None:
        return self.drug.kinetics.parameters.get(name)

    def note(self, name: str) -> str:
        raw = self.raw(name)
        return raw.note.lower() if raw else ""

    def says(self, pattern: str) -> bool:
        """Whether a note on the kinetics, or on the drug, says so."""
        drug = self.drug
        notes = (*(raw.note for raw in drug.kinetics.parameters.values()), *drug.notes, *(w.note for w in drug.window))
        return any(re.search(pattern, note, re.IGNORECASE) for note in notes)

    def parameter(
        self, key: str, name: str, unit: str, *, printed: str = "", factor: float = 1.0, per_kg: bool = False
    ) -> Parameter | None:
        """The value, or the geometric middle of a printed range; None for a one-sided bound or a value of 0.

        Raises KnowledgeError where the file gives another unit than `printed` (default: `unit`).
        """
        raw = self.raw(key)
        if raw is None:
            return None
        if raw.unit not in ("", printed or unit):
            raise KnowledgeError(
                f"kinetics of {self.drug.name}: {key} is in '{raw.unit}'", hint=f"write it in {printed or unit}"
            )
        value = middle(raw)
        if value is None:
            return None
        because = self.cite(key, raw)
        return Parameter(name=name, value=value * factor, unit=unit, cv=raw.cv, per_kg=per_kg, because=(because,))

    def cite(self, key: str, raw: KineticValue) -> EvidenceKey:
        bounds = f"{_text(raw.low)} to {_text(raw.high)}" if raw.low is not None or raw.high is not None else ""
        value = " ".join(part for part in (_text(raw.value), f"({bounds})" if bounds else "") if part)
        text = f"{self.drug.name}: {key.replace('_', ' ')} {value}" + (f"; {raw.note}" if raw.note else "")
        cited = self.ledger.add("knowledge", text, source=str(raw.source), status=raw.status)
        if raw.status == "to verify":
            self.recalled[key.replace("_", " ")] = cited
        return cited

    def assume(self, text: str, *because: EvidenceKey) -> None:
        key = self.ledger.add("assumption", text, because=because)
        self.assumptions.append(Reason(text=text, because=(key,)))

    def missing(self, why: str, would_need: str) -> MissingKinetics:
        return MissingKinetics(what=f"exposure to {self.drug.name}", why=why, would_need=would_need, drug=self.drug.id)


def middle(raw: KineticValue) -> float | None:
    """The value, or the geometric middle of its printed range; None where neither is there or it is not positive."""
    if raw.value is not None:
        return raw.value if raw.value > 0 else None
    return math.sqrt(raw.low * raw.high) if raw.low and raw.high else None


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
