"""What guidelines say about drugs for one person's genes (document `posologist/guidance/1`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posologist.core.evidence import Evidence
from posologist.core.genotype import ExpressedPhenotype, Versions
from posologist.core.statement import Action, Severity
from posologist.core.values import Because, DrugId, GeneSymbol, Many, Quantity, Value

Decision = Literal["applies", "undecided"]


class GuidanceItem(Value):
    """One recommendation that applies, or that could apply and could not be decided.

    `missing` names the facts that would decide it. `body` is who says it ("CPIC", "DPWG", "FDA"), `source` the
    citation of the guideline or label: one row of it may ask for several things. `note` tells what to know of it.
    """

    drug: DrugId
    genes: Many[GeneSymbol]
    body: str
    decision: Decision
    action: Action
    severity: Severity
    value: Quantity | None = None
    text: str
    level: str = ""
    population: str = ""
    missing: Many[str] = ()
    note: str = ""
    source: str
    statement: str
    because: Because


class GuidanceConflict(Value):
    """Bodies that ask for different things for the same drug."""

    drug: DrugId
    text: str
    statements: Many[str]


class NoGuidance(Value):
    """A drug on which a body says nothing, and why: no guideline, no row for the result, or a gene was not called."""

    drug: DrugId
    body: str = ""
    why: str
    genes: Many[GeneSymbol] = ()


class GuidanceDocument(Value):
    """Gene guidance for one person."""

    schema_: Literal["posologist/guidance/1"] = Field(default="posologist/guidance/1", alias="schema")
    sample: str
    genes: dict[GeneSymbol, ExpressedPhenotype]
    guidance: Many[GuidanceItem]
    conflicts: Many[GuidanceConflict] = ()
    no_guidance: Many[NoGuidance] = ()
    evidence: dict[str, Evidence]
    versions: Versions
