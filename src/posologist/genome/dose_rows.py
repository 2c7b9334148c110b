"""Rows of a computed dose: what each algorithm, label table and guideline comes to for one patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from posologist.core.dosing import (
    ComputedRow,
    Decision,
    DoseFormula,
    DoseStep,
    GenotypeDose,
    GenotypeRange,
    Share,
    ShareAction,
)
from posologist.core.drug import Drug
from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneticProfile, PhenotypeProfile
from posologist.core.recommendation import Reason
from posologist.core.situation import Situation
from posologist.core.statement import Statement
from posologist.core.values import Estimate, EvidenceKey, GeneSymbol, Quantity, rounded
from posologist.knowledge.derive import cited_leaf
from posologist.knowledge.dosing import GENE_QUERIES, DosingFacts, FormulaResult, formula_dose, formula_in_use
from posologist.knowledge.expression import Values, expression
from posologist.knowledge.load import Knowledge
from posologist.knowledge.match import PatientSubject

_BY_SIZE = {"kg": "weight", "m2": "bsa"}
_STATEMENT_ACTIONS: dict[str, ShareAction] = {
    "start": "start", "percent": "start", "increase": "start", "standard": "standard", "avoid": "avoid",
    "contraindicated": "avoid", "alternative": "alternative",
}  # fmt: skip


class Usual(NamedTuple):
    """The usual starting dose of a use, and where it stands."""

    low: float
    high: float
    unit: str
    key: EvidenceKey
    verified: bool


class _Amount(NamedTuple):
    """An amount for this patient: factor from the stated unit, the unit that results, and what is missing."""

    factor: float | None
    unit: str
    needs: tuple[str, ...]
    keys: tuple[EvidenceKey, ...]


@dataclass(frozen=True)
class Asked:
    """One drug, one patient, one table."""

    drug: Drug
    table: GenotypeDose
    situation: Situation
    profile: PhenotypeProfile
    knowledge: Knowledge
    ledger: Ledger
    genome: GeneticProfile | None
    patient: PatientSubject
    usual: Usual | None

    def readings(self, gene: GeneSymbol) -> tuple[tuple[str, ...], ...]:
        """The diplotypes that explain the calls best, each as its alleles; of a single position its bases."""
        call = None if self.genome is None else self.genome.genes.get(gene)
        if call is None and self.genome is not None:
            found = [one.other_variants[gene] for one in self.genome.genes.values() if gene in one.other_variants]
            if found:
                return (_alleles(found[0]),)
        if call is not None and call.called and call.candidates:
            best = call.candidates[0].probability
            return tuple(_alleles(c.diplotype) for c in call.candidates if abs(c.probability - best) <= 1e-9)
        expressed = self.profile.genes.get(gene)
        return () if expressed is None or not expressed.diplotype else (_alleles(expressed.diplotype),)

    def looked_for(self, gene: GeneSymbol, alleles: Iterable[str]) -> bool | None:
        """Whether a file excluded each allele, or both strands hold another variant allele.

        A laboratory's call with a reference allele does not say what was looked for.
        """
        readings = self.readings(gene)
        if readings and all("*1" not in alleles for alleles in readings):
            return True
        call = None if self.genome is None else self.genome.genes.get(gene)
        if call is None or not call.called or call.source != "vcf":
            return None
        return not {missed.allele for missed in call.not_excluded} & set(alleles)

    def facts(self) -> DosingFacts:
        """The table's subject for this patient, with the usual start as `usual` and `usual_unit`."""
        usual = self.usual
        added = {} if usual is None else {"usual": usual.low, "usual_unit": usual.unit}
        return DosingFacts(self.table, self.patient, self, added=added)

    def leaf(self, text: str, fact: object) -> EvidenceKey:
        """Leaf of a cited fact."""
        source, status = str(getattr(fact, "source", "")), str(getattr(fact, "status", ""))
        return cited_leaf(self.ledger, self.knowledge, text, source=source, status=status)

    def because(self, facts: DosingFacts) -> tuple[EvidenceKey, ...]:
        """Evidence of what an expression read: facts of the patient, genes."""
        known = self.profile.genes
        genes = [key for gene in facts.genes if gene in known for key in known[gene].because]
        read = facts.match("true")
        return tuple(dict.fromkeys([*self.patient.because(read), *genes]))

    def amount(self, unit: str) -> _Amount:
        """What turns an amount per kg or per m2 into one of this patient."""
        size = next((name for part, name in _BY_SIZE.items() if f"/{part}" in unit), None)
        if size is None:
            return _Amount(1.0, unit, (), ())
        plain = unit.replace("/kg", "").replace("/m2", "")
        known = self.situation.facts.get(size)
        if known is None or not isinstance(known.value, float):
            lacking = ("weight",) if size == "weight" else tuple(
                name for name in ("weight", "height") if name not in self.situation.facts
            )  # fmt: skip
            return _Amount(None, plain, lacking or ("body surface area",), ())
        return _Amount(known.value, plain, (), (known.because,))


def _alleles(diplotype: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in diplotype.split("/"))


# ------------------------------------------------------------------------------------------------- algorithms


def formula_rows(asked: Asked) -> list[ComputedRow]:
    """A row for each algorithm; the one that the dose rests on is marked as used."""
    table = asked.table
    results = {formula.id: formula_dose(table, formula, asked.patient, asked) for formula in table.formulas}
    values = {name: result.value for name, result in results.items()}
    used = formula_in_use(table, values, asked.patient, asked)
    return [_formula_row(asked, f, results[f.id], "used" if f.id == used else "applies") for f in table.formulas]


def _formula_row(asked: Asked, formula: DoseFormula, result: FormulaResult, decision: Decision) -> ComputedRow:
    steps = "; ".join((*formula.steps, formula.formula))
    leaf = asked.leaf(f"{formula.name}: {steps}", formula)
    keys = (leaf, *asked.because(result.facts))
    if result.value is None:
        outside = result.valid is False or not result.facts.missing
        why = "outside the patients it was made for" if outside else "a fact that it needs is not known"
        needs = () if outside else needs_words(result.facts.missing)
        return ComputedRow(
            name=formula.name, body=formula.body, kind="algorithm", decision="not computed", text=why, needs=needs,
            because=keys,
        )  # fmt: skip
    row = _with_steps(asked, formula, result, rounded(result.value, 4), keys)
    return row.model_copy(update={"decision": decision, "genetic": formula.genetic})


def _with_steps(
    asked: Asked, formula: DoseFormula, result: FormulaResult, value: float, keys: tuple[EvidenceKey, ...]
) -> ComputedRow:
    """The algorithm's dose with its published spread; after a guideline's steps both are moved by their range.

    The moved range is no longer an interval of a known probability, and is told as a range only.
    """
    base = asked.ledger.add("derived", f"{formula.name}: {value:g} {formula.unit}", because=keys)
    applied, reasons = _steps(asked, formula)
    words = [term.text for term in result.facts.replaced]
    dose, low, high, because = _spread(asked, formula, value, base)
    words += [formula.spread.text] if formula.spread is not None else ["no accuracy is published"]
    if applied:
        least = prod(step.low / 100 for step in applied)
        most = prod(step.high / 100 for step in applied)
        text = f"{formula.name}, times {rounded(least, 4):g} to {rounded(most, 4):g} by the guideline's steps"
        made = (key for reason in reasons for key in reason.because)
        because = (asked.ledger.add("derived", text, because=(*because, *made)),)
        dose = Quantity(value=rounded(value * (least + most) / 2, 4), unit=formula.unit, because=because)
        low, high = low * least, high * most
        words.append("moved by the guideline's steps, for which no accuracy is published: the middle of their range")
    return ComputedRow(
        name=formula.name, body=formula.body, kind="algorithm", decision="applies", dose=dose,
        low=Quantity(value=rounded(low, 4), unit=formula.unit, because=because),
        high=Quantity(value=rounded(high, 4), unit=formula.unit, because=because), steps=tuple(reasons),
        text="; ".join(words), because=because, verified=formula.status != "to verify",
    )  # fmt: skip


def _spread(
    asked: Asked, formula: DoseFormula, value: float, base: EvidenceKey
) -> tuple[Estimate | Quantity, float, float, tuple[EvidenceKey, ...]]:
    spread = formula.spread
    if spread is None:
        return Quantity(value=value, unit=formula.unit, because=(base,)), value, value, (base,)
    dose = Values({"dose": value})
    low, high = (rounded(float(expression(text).value(dose)), 4) for text in (spread.low, spread.high))
    keys = (base, asked.leaf(spread.text, spread))
    estimate = Estimate(value=value, unit=formula.unit, low=low, high=high, level=spread.level, because=keys)
    return estimate, low, high, keys


def _steps(asked: Asked, formula: DoseFormula) -> tuple[list[DoseStep], list[Reason]]:
    """The guideline's steps that hold, with their reasons; a step that cannot be decided is told and not made."""
    applied, reasons = [], []
    for step in asked.table.steps:
        if formula.id not in step.formulas:
            continue
        facts = asked.facts()
        truth = facts.match(step.when).truth
        if truth is False:
            continue
        keys = (asked.leaf(step.text, step), *asked.because(facts))
        if truth is None:
            needs = ", ".join(needs_words(facts.missing))
            reasons.append(Reason(text=f"not decided, needs {needs}: {step.text}", because=keys))
        else:
            applied.append(step)
            reasons.append(Reason(text=f"{step.text} ({step.level})" if step.level else step.text, because=keys))
    return applied, reasons


def range_rows(asked: Asked) -> list[ComputedRow]:
    found, missing = [], list[str]()
    for entry in asked.table.ranges:
        facts = asked.facts()
        truth = facts.match(entry.when).truth
        if truth is True:
            found.append(_range_row(asked, entry, facts))
        elif truth is None:
            missing += facts.missing
    if not found and missing:
        entry = asked.table.ranges[0]
        key = asked.leaf(f"{entry.body}: dose range by genotype", entry)
        found.append(_open_row(entry.body, "label table", needs_words(missing), (key,)))
    return found


def _range_row(asked: Asked, entry: GenotypeRange, facts: DosingFacts) -> ComputedRow:
    text = f"{entry.body}: {entry.low:g} to {entry.high:g} {entry.unit} for this genotype"
    keys = (asked.ledger.add("derived", text, because=(asked.leaf(text, entry), *asked.because(facts))),)
    return ComputedRow(
        name=f"{entry.body}, genotype table", body=entry.body, kind="label table", decision="applies",
        low=Quantity(value=entry.low, unit=entry.unit, because=keys),
        high=Quantity(value=entry.high, unit=entry.unit, because=keys),
        text="maintenance dose to expect for this genotype", because=keys, verified=entry.status != "to verify",
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- shares


def share_rows(asked: Asked) -> list[ComputedRow]:
    """Rows of guidelines that hold; where none of a body does and one could, one row that says what is missing."""
    found: list[ComputedRow] = []
    for body in dict.fromkeys(share.body for share in asked.table.shares):
        missing: list[str] = []
        rows = []
        for share in (s for s in asked.table.shares if s.body == body):
            facts = asked.facts()
            truth = facts.match(share.when).truth
            if truth is True:
                leaf = asked.leaf(f"{share.text} ({share.body})", share)
                replaced = tuple(term.text for term in facts.replaced)
                rows.append(_share_row(asked, share, (leaf, *asked.because(facts)), replaced))
            elif truth is None:
                missing += facts.missing
        if not rows and missing:
            key = asked.leaf(f"{body}: share of the usual start by genotype", asked.table.shares[0])
            rows.append(_open_row(body, "share of the usual start", needs_words(missing), (key,)))
        found += rows
    return found


def _share_row(asked: Asked, share: Share, keys: tuple[EvidenceKey, ...], words: tuple[str, ...] = ()) -> ComputedRow:
    """A guideline's share, or amount, in the units of this patient."""
    usual, percent = asked.usual, share.unit == "percent"
    row = ComputedRow(
        name=share.body, body=share.body, kind="share of the usual start", decision="applies", action=share.action,
        text="; ".join((share.text, *words)), level=share.level, schedule=share.schedule, because=keys,
        verified=share.status != "to verify" and (usual is None or usual.verified),
    )  # fmt: skip
    if share.low is None or share.high is None:
        return row
    if percent:
        shares = {
            "share_low": Quantity(value=share.low, unit="percent", because=keys),
            "share_high": Quantity(value=share.high, unit="percent", because=keys),
        }
        row = row.model_copy(update=shares)
    if percent and usual is None:
        return row.model_copy(update={"needs": ("usual starting dose of this use",)})
    unit = usual.unit if percent and usual is not None else share.unit
    low, high = share.low, share.high
    if percent and usual is not None:
        low, high, keys = usual.low * low / 100, usual.high * high / 100, (*keys, usual.key)
        low, high = (min(x, share.cap if share.cap is not None and unit == "mg/kg/day" else x) for x in (low, high))
    return _in_patient(asked, row, low, high, unit, keys)


def _in_patient(
    asked: Asked, row: ComputedRow, low: float, high: float, unit: str, keys: tuple[EvidenceKey, ...]
) -> ComputedRow:
    amount = asked.amount(unit)
    factor = 1.0 if amount.factor is None else amount.factor
    shown = unit if amount.factor is None else amount.unit
    low, high = rounded(low * factor, 4), rounded(high * factor, 4)
    text = f"{row.name}: {low:g} to {high:g} {shown}" if low != high else f"{row.name}: {low:g} {shown}"
    because = (asked.ledger.add("derived", text, because=(*keys, *amount.keys)),)
    changed: dict[str, object] = {
        "low": Quantity(value=low, unit=shown, because=because),
        "high": Quantity(value=high, unit=shown, because=because),
        "needs": amount.needs,
        "because": because,
    }
    if low == high:
        changed["dose"] = changed["low"]
    return row.model_copy(update=changed)


def statement_rows(asked: Asked) -> list[ComputedRow]:
    """Other bodies' guidance that gives a share of the usual dose, from its Statements."""
    own = {share.body for share in asked.table.shares}
    rows = []
    for statement in asked.knowledge.statements_about(asked.drug.id, "gene"):
        body = str(statement.source).split("-")[0].upper()
        action = _STATEMENT_ACTIONS.get(statement.action)
        if body in own or action is None:
            continue
        match = asked.patient.match(statement.when)
        if match.truth is True:
            leaf = asked.leaf(statement.text, statement)
            rows.append(_share_row(asked, _as_share(statement, body, action), (leaf, *asked.patient.because(match))))
    return rows


def _as_share(statement: Statement, body: str, action: ShareAction) -> Share:
    value = 100.0 if action == "standard" else statement.value
    sized = value is not None and value > 0 and (action == "standard" or statement.unit in ("percent", "%"))
    return Share(
        body=body, when=statement.when, action=action, low=value if sized else None, high=value if sized else None,
        text=statement.text, level=statement.level, source=statement.source, status=statement.status,
    )  # fmt: skip


def _open_row(body: str, kind: str, needs: tuple[str, ...], keys: tuple[EvidenceKey, ...]) -> ComputedRow:
    return ComputedRow(
        name=body, body=body, kind=kind, decision="undecided", text="cannot be decided", needs=needs, because=keys,  # type: ignore[arg-type]
    )  # fmt: skip


def needs_words(missing: Iterable[str]) -> tuple[str, ...]:
    """Missing facts in words: a gene's genotype, or the name of the fact."""
    found = []
    for label in missing:
        function, _, rest = label.partition("(")
        gene = rest.rstrip(")").split(", ")[0]
        genetic = function in GENE_QUERIES
        other = f"a {gene} result among the alleles that are held" if function == "outside" else gene or label
        found.append(f"{gene} genotype" if genetic else other.replace("_", " "))
    return tuple(dict.fromkeys(found))
