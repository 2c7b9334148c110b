"""Doses computed from genes: how they are computed (facts of `knowledge/data/dosing`) and what comes out.

A file holds published algorithms (formulas over patient and genotype), ranges of a label's genotype table, and shares
of the usual starting dose by guideline. Coefficients and percentages live in the file, never in Python.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posologist.core.drug import Fact
from posologist.core.indication import Score
from posologist.core.recommendation import Reason
from posologist.core.values import Because, DrugId, Estimate, GeneSymbol, Many, Quantity, Value

Decision = Literal["used", "applies", "undecided", "not computed"]
"""used: the dose rests on it. applies: told for comparison. undecided: a fact or gene is missing."""
ShareAction = Literal["start", "standard", "avoid", "alternative", "no recommendation"]


class AlleleCount(Value):
    """A fact made of a diplotype: how many of its two alleles are among `alleles`.

    Unknown where the gene has no single diplotype, or holds an allele outside `known` (empty: any). The fact named
    `looked_for` is true where each of `alleles` was found or excluded, and unknown where a laboratory does not say.
    """

    name: str
    gene: GeneSymbol
    alleles: Many[str]
    known: Many[str] = ()
    looked_for: str = ""


class Term(Value):
    """A named value. Where it is not known, `otherwise` stands for it if the algorithm states one; `text` says so."""

    name: str
    value: str
    otherwise: float | None = None
    text: str = ""


class Spread(Fact):
    """Published accuracy as an interval: `low` and `high` are expressions of `dose`, holding a share `level`."""

    low: str
    high: str
    level: float = Field(gt=0, lt=1)
    text: str


class DoseFormula(Score):
    """A published dosing algorithm. `use` says for whom the dose rests on it; others are told for comparison."""

    body: str
    use: str = "false"
    genetic: bool = False
    terms: Many[Term] = ()
    spread: Spread | None = None


class DoseStep(Fact):
    """What a guideline does to an algorithm's dose: `low` to `high` percent of it, when `when` holds."""

    formulas: Many[str]
    when: str
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    text: str
    level: str = ""


class GenotypeRange(Fact):
    """A row of a label's genotype table: the maintenance dose to expect."""

    body: str
    when: str
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    unit: str


class Share(Fact):
    """A guideline's row: `low` to `high` percent of the usual starting dose, or an amount in `unit`.

    `cap` bounds the result, in the unit of the usual starting dose. `schedule` tells days that differ from daily.
    """

    body: str
    when: str
    action: ShareAction = "start"
    low: float | None = Field(default=None, gt=0, le=300)
    high: float | None = Field(default=None, gt=0, le=300)
    unit: str = "percent"
    cap: float | None = None
    schedule: str = ""
    text: str
    level: str = ""


class UsualStart(Fact):
    """The guideline's own usual starting dose, for uses whose start the drug file does not state."""

    unit: str
    low: float = Field(gt=0)
    high: float = Field(gt=0)


class Caution(Fact):
    """What to say when `when` holds; it changes no number."""

    when: str
    text: str


class GenotypeDose(Value):
    """How the dose of one or several drugs is computed from genes."""

    id: str
    drugs: Many[DrugId]
    genes: Many[GeneSymbol]
    counts: Many[AlleleCount] = ()
    terms: Many[Term] = ()
    formulas: Many[DoseFormula] = ()
    steps: Many[DoseStep] = ()
    ranges: Many[GenotypeRange] = ()
    shares: Many[Share] = ()
    usual: Many[UsualStart] = ()
    cautions: Many[Caution] = ()


class ComputedRow(Value):
    """What one algorithm, label table or guideline comes to for this patient.

    `share_low` and `share_high` are percents of the usual start; `low` and `high` the amounts; `dose` the amount where
    it is one, with the published spread of the algorithm where there is one. `genetic` is False for an algorithm
    without genotype.
    """

    name: str
    body: str
    kind: Literal["algorithm", "label table", "share of the usual start"]
    decision: Decision
    action: ShareAction = "start"
    share_low: Quantity | None = None
    share_high: Quantity | None = None
    dose: Estimate | Quantity | None = None
    low: Quantity | None = None
    high: Quantity | None = None
    steps: Many[Reason] = ()
    text: str
    level: str = ""
    schedule: str = ""
    needs: Many[str] = ()
    genetic: bool = True
    verified: bool = True
    because: Because


class OpenBound(Value):
    """What an untested gene leaves open: between which shares of the usual start the guideline's answer would lie."""

    genes: Many[GeneSymbol]
    share_low: Quantity
    share_high: Quantity
    text: str
    because: Because


class ComputedDose(Value):
    """A starting dose computed from genes (part of document `posologist/dose/1`).

    `dose`, `low` and `high` are those of the row that is used; None where none can be computed: `needs` names what is
    missing. `ranked` is False where a fact behind it is not verified or the guideline prefers another drug. `regimen`
    is the one in tablets that comes nearest.
    """

    drug: DrugId
    genes: Many[GeneSymbol]
    usual_low: Quantity | None = None
    usual_high: Quantity | None = None
    dose: Estimate | Quantity | None = None
    low: Quantity | None = None
    high: Quantity | None = None
    by: str = ""
    genetic: bool = False
    ranked: bool = False
    regimen: Reason | None = None
    rows: Many[ComputedRow] = ()
    open: Many[OpenBound] = ()
    needs: Many[str] = ()
    cautions: Many[Reason] = ()
    assumptions: Many[Reason] = ()

    @property
    def told(self) -> bool:
        """Whether it says anything that can be acted on: an amount, a share, or that the drug is to be avoided."""
        return any(row.low is not None or row.share_low is not None or row.action != "start" for row in self.rows)

    @property
    def used(self) -> ComputedRow | None:
        """The row that the dose rests on."""
        return next((row for row in self.rows if row.decision == "used"), None)
