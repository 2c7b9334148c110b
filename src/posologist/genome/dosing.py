"""Starting doses computed from genes: warfarin algorithms, and shares of the usual start by one or two genes.

How they are computed is data (`knowledge/data/dosing`); this module joins it to one patient. What a body's guidance
already says as a Statement is taken from there and stands beside the computed rows, so that differences show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from posologist.core.dosing import (
    Caution,
    ComputedDose,
    ComputedRow,
    Decision,
    DoseFormula,
    DoseStep,
    GenotypeDose,
    GenotypeRange,
    OpenBound,
    Share,
    ShareAction,
)
from posologist.core.drug import DoseRule, Drug
from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneticProfile, PhenotypeProfile
from posologist.core.recommendation import Reason
from posologist.core.situation import Situation
from posologist.core.statement import Statement
from posologist.core.values import DrugId, Estimate, EvidenceKey, GeneSymbol, Quantity, rounded
from posologist.knowledge.derive import cited_leaf
from posologist.knowledge.dosing import DosingFacts, FormulaResult, formula_dose, formula_in_use
from posologist.knowledge.expression import Values, expression
from posologist.knowledge.load import Knowledge
from posologist.knowledge.match import PatientSubject

Number = TypeVar("Number", Estimate, Quantity, Estimate | Quantity | None, Quantity | None)
_BY_SIZE = {"kg": "weight", "m2": "bsa"}
_AGAINST = ("avoid", "alternative")
_DAYS_OF = {"mg/week": 7.0}
_STATEMENT_ACTIONS: dict[str, ShareAction] = {
    "start": "start", "percent": "start", "increase": "start", "standard": "standard", "avoid": "avoid",
    "contraindicated": "avoid", "alternative": "alternative",
}  # fmt: skip


class _Usual(NamedTuple):
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
class _Asked:
    """One drug, one patient, one table."""

    drug: Drug
    table: GenotypeDose
    situation: Situation
    profile: PhenotypeProfile
    knowledge: Knowledge
    ledger: Ledger
    genome: GeneticProfile | None
    patient: PatientSubject
    usual: _Usual | None

    def readings(self, gene: GeneSymbol) -> tuple[tuple[str, ...], ...]:
        """The diplotypes that explain the calls best, each as its alleles."""
        call = None if self.genome is None else self.genome.genes.get(gene)
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


def computed_dose(
    drug: Drug,
    situation: Situation,
    profile: PhenotypeProfile,
    knowledge: Knowledge,
    ledger: Ledger,
    *,
    usual: DoseRule | None = None,
    indication: str = "none",
    medicines: Iterable[DrugId] = (),
    patient: PatientSubject | None = None,
    genome: GeneticProfile | None = None,
) -> ComputedDose | None:
    """The starting dose that the patient's genes ask for, or None for a drug without such a table.

    Parameters
    ----------
    usual
        Dose rule whose start the shares are of; without one, the guideline's own usual start where it states it.
    medicines
        What is taken besides the drug; not needed with `patient`.
    patient
        The patient under the plan in question, where the caller has it.
    genome
        The calls themselves: tells ties, and which alleles a file could not exclude.

    Returns
    -------
    ComputedDose or None
        Amounts a day, or per dose and cycle as the usual start is stated. Without a needed fact `dose` is None and
        `needs` names it.
    """
    table = knowledge.dosing_of(drug.id)
    if table is None:
        return None
    started = drug.id not in {current.drug for current in situation.current}
    subject = patient or PatientSubject(
        situation, profile, knowledge, medicines=medicines, ledger=ledger,
        plan_facts={"indication": indication, "starting": started},
    )  # fmt: skip
    asked = _Asked(drug, table, situation, profile, knowledge, ledger, genome, subject, None)
    asked = replace(asked, usual=_usual_start(asked, usual))
    rows = [*_formula_rows(asked), *_share_rows(asked), *_range_rows(asked), *_statement_rows(asked)]
    return _document(asked, _with_used(rows))


def _usual_start(asked: _Asked, rule: DoseRule | None) -> _Usual | None:
    """Start of the drug file for the use in question, else the usual start that the guideline names."""
    if rule is not None and rule.start is not None:
        text = f"usual start of {asked.drug.name} for {rule.indication.replace('-', ' ')}: {rule.start:g} {rule.unit}"
        return _Usual(rule.start, rule.start, rule.unit, asked.leaf(text, rule), rule.status != "to verify")
    for stated in asked.table.usual:
        text = f"usual start of {asked.drug.name} by the guideline: {stated.low:g} to {stated.high:g} {stated.unit}"
        return _Usual(stated.low, stated.high, stated.unit, asked.leaf(text, stated), stated.status != "to verify")
    return None


# ------------------------------------------------------------------------------------------------- algorithms


def _formula_rows(asked: _Asked) -> list[ComputedRow]:
    """A row for each algorithm; the one that the dose rests on is marked as used."""
    table = asked.table
    results = {formula.id: formula_dose(table, formula, asked.patient, asked) for formula in table.formulas}
    values = {name: result.value for name, result in results.items()}
    used = formula_in_use(table, values, asked.patient, asked)
    return [_formula_row(asked, f, results[f.id], "used" if f.id == used else "applies") for f in table.formulas]


def _formula_row(asked: _Asked, formula: DoseFormula, result: FormulaResult, decision: Decision) -> ComputedRow:
    steps = "; ".join((*formula.steps, formula.formula))
    leaf = asked.leaf(f"{formula.name}: {steps}", formula)
    keys = (leaf, *asked.because(result.facts))
    if result.value is None:
        outside = result.valid is False or not result.facts.missing
        why = "outside the patients it was made for" if outside else "a fact that it needs is not known"
        needs = () if outside else _needs(result.facts.missing)
        return ComputedRow(
            name=formula.name, body=formula.body, kind="algorithm", decision="not computed", text=why, needs=needs,
            because=keys,
        )  # fmt: skip
    row = _with_steps(asked, formula, result, rounded(result.value, 4), keys)
    return row.model_copy(update={"decision": decision, "genetic": formula.genetic})


def _with_steps(
    asked: _Asked, formula: DoseFormula, result: FormulaResult, value: float, keys: tuple[EvidenceKey, ...]
) -> ComputedRow:
    """The algorithm's dose after the guideline's steps: its own spread without one, the steps' range with one."""
    text = f"{formula.name}: {value:g} {formula.unit}"
    base = asked.ledger.add("derived", text, because=keys)
    because: tuple[EvidenceKey, ...]
    applied, reasons = _steps(asked, formula)
    words = [term.text for term in result.facts.replaced]
    if applied:
        low = high = value
        for step in applied:
            low, high = low * step.low / 100, high * step.high / 100
        made = (key for reason in reasons for key in reason.because)
        because = (asked.ledger.add("derived", f"{text}, after {len(applied)} steps", because=(base, *made)),)
        dose: Estimate | Quantity = Quantity(value=rounded((low + high) / 2, 4), unit=formula.unit, because=because)
        words.append("the middle of the guideline's range; no accuracy is published after these steps")
    else:
        dose, low, high, because = _spread(asked, formula, value, base)
        words += [formula.spread.text] if formula.spread is not None else ["no accuracy is published"]
    return ComputedRow(
        name=formula.name, body=formula.body, kind="algorithm", decision="applies", dose=dose,
        low=Quantity(value=rounded(low, 4), unit=formula.unit, because=because),
        high=Quantity(value=rounded(high, 4), unit=formula.unit, because=because), steps=tuple(reasons),
        text="; ".join(words), because=because, verified=formula.status != "to verify",
    )  # fmt: skip


def _spread(
    asked: _Asked, formula: DoseFormula, value: float, base: EvidenceKey
) -> tuple[Estimate | Quantity, float, float, tuple[EvidenceKey, ...]]:
    spread = formula.spread
    if spread is None:
        return Quantity(value=value, unit=formula.unit, because=(base,)), value, value, (base,)
    dose = Values({"dose": value})
    low, high = (rounded(float(expression(text).value(dose)), 4) for text in (spread.low, spread.high))
    keys = (base, asked.leaf(spread.text, spread))
    estimate = Estimate(value=value, unit=formula.unit, low=low, high=high, level=spread.level, because=keys)
    return estimate, low, high, keys


def _steps(asked: _Asked, formula: DoseFormula) -> tuple[list[DoseStep], list[Reason]]:
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
            needs = ", ".join(_needs(facts.missing))
            reasons.append(Reason(text=f"not decided, needs {needs}: {step.text}", because=keys))
        else:
            applied.append(step)
            reasons.append(Reason(text=f"{step.text} ({step.level})" if step.level else step.text, because=keys))
    return applied, reasons


def _range_rows(asked: _Asked) -> list[ComputedRow]:
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
        found.append(_open_row(entry.body, "label table", _needs(missing), (key,)))
    return found


def _range_row(asked: _Asked, entry: GenotypeRange, facts: DosingFacts) -> ComputedRow:
    text = f"{entry.body}: {entry.low:g} to {entry.high:g} {entry.unit} for this genotype"
    keys = (asked.ledger.add("derived", text, because=(asked.leaf(text, entry), *asked.because(facts))),)
    return ComputedRow(
        name=f"{entry.body}, genotype table", body=entry.body, kind="label table", decision="applies",
        low=Quantity(value=entry.low, unit=entry.unit, because=keys),
        high=Quantity(value=entry.high, unit=entry.unit, because=keys),
        text="maintenance dose to expect for this genotype", because=keys, verified=entry.status != "to verify",
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- shares


def _share_rows(asked: _Asked) -> list[ComputedRow]:
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
            rows.append(_open_row(body, "share of the usual start", _needs(missing), (key,)))
        found += rows
    return found


def _share_row(asked: _Asked, share: Share, keys: tuple[EvidenceKey, ...], words: tuple[str, ...] = ()) -> ComputedRow:
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
    asked: _Asked, row: ComputedRow, low: float, high: float, unit: str, keys: tuple[EvidenceKey, ...]
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


def _statement_rows(asked: _Asked) -> list[ComputedRow]:
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


# --------------------------------------------------------------------------------------------------- document


def _open_row(body: str, kind: str, needs: tuple[str, ...], keys: tuple[EvidenceKey, ...]) -> ComputedRow:
    return ComputedRow(
        name=body, body=body, kind=kind, decision="undecided", text="cannot be decided", needs=needs, because=keys,  # type: ignore[arg-type]
    )  # fmt: skip


def _needs(missing: Iterable[str]) -> tuple[str, ...]:
    """Missing facts in words: a gene's genotype, or the name of the fact."""
    found = []
    for label in missing:
        function, _, rest = label.partition("(")
        gene = rest.rstrip(")").split(", ")[0]
        genetic = function in ("gene", "activity", "allele")
        other = f"a {gene} result among the alleles that are held" if function == "outside" else gene or label
        found.append(f"{gene} genotype" if genetic else other.replace("_", " "))
    return tuple(dict.fromkeys(found))


def _with_used(rows: Sequence[ComputedRow]) -> list[ComputedRow]:
    """Rows of which at most one is used: the first algorithm so marked, else the first row of another kind with a dose.

    Where the first guideline says to avoid the drug, none is.
    """
    shares = [row for row in rows if row.kind == "share of the usual start"]
    avoided = bool(shares) and any(row.action == "avoid" for row in shares if row.body == shares[0].body)
    algorithms = [n for n, row in enumerate(rows) if row.decision == "used"]
    others = [n for n, row in enumerate(rows) if row.kind != "algorithm" and row.low is not None]
    chosen = None if avoided else next(iter((*algorithms, *others)), None)
    return [
        row.model_copy(update={"decision": "used" if n == chosen else "applies"})
        if row.decision in ("used", "applies")
        else row
        for n, row in enumerate(rows)
    ]


def _document(asked: _Asked, rows: list[ComputedRow]) -> ComputedDose:
    used = next((row for row in rows if row.decision == "used"), None)
    usual = asked.usual
    wanting = [row for row in rows if row.decision in ("not computed", "undecided") or row is used]
    lacking = [need for row in wanting for need in row.needs]
    done = used is not None and not used.needs
    known = {gene for gene in asked.table.genes if asked.readings(gene) or _has_phenotype(asked, gene)}
    return ComputedDose(
        drug=asked.drug.id,
        genes=tuple(gene for gene in asked.table.genes if gene in known),
        usual_low=None if usual is None else Quantity(value=usual.low, unit=usual.unit, because=(usual.key,)),
        usual_high=None if usual is None else Quantity(value=usual.high, unit=usual.unit, because=(usual.key,)),
        dose=None if used is None else _a_day(used.dose),
        low=None if used is None else _a_day(used.low),
        high=None if used is None else _a_day(used.high),
        by="" if used is None else used.name,
        genetic=used is not None and used.genetic,
        ranked=done and used is not None and used.verified and not any(r.action in _AGAINST for r in rows),
        rows=tuple(rows),
        open=_open(asked),
        needs=() if done else tuple(dict.fromkeys(lacking)),
        cautions=_cautions(asked, asked.table.cautions),
        assumptions=_assumptions(asked),
    )  # fmt: skip


def _has_phenotype(asked: _Asked, gene: GeneSymbol) -> bool:
    known = asked.profile.genes.get(gene)
    return known is not None and (known.clinical is not None or known.diplotype is not None)


def _a_day(amount: Number) -> Number:
    """The amount per day of one per week; any other as it is."""
    if amount is None or amount.unit not in _DAYS_OF:
        return amount
    days = _DAYS_OF[amount.unit]
    changed: dict[str, object] = {"value": rounded(amount.value / days, 4), "unit": "mg/day"}
    if isinstance(amount, Estimate):
        changed |= {"low": rounded(amount.low / days, 4), "high": rounded(amount.high / days, 4)}
    return amount.model_copy(update=changed)


def _open(asked: _Asked) -> tuple[OpenBound, ...]:
    """What untested genes leave open: the widest shares among the rows that hold or could hold."""
    possible, genes, keys = list[Share](), list[GeneSymbol](), list[EvidenceKey]()
    undecided = False
    for share in asked.table.shares:
        facts = asked.facts()
        match = facts.match(share.when)
        if match.truth is False:
            continue
        lacking = [GeneSymbol(need.removesuffix(" genotype")) for need in _needs(match.missing) if "genotype" in need]
        undecided = undecided or (match.truth is None and bool(lacking))
        genes += lacking
        possible.append(share)
        keys.append(asked.leaf(f"{share.text} ({share.body})", share))
    sized = [(share.low, share.high) for share in possible if share.unit == "percent" and share.low and share.high]
    if not undecided or not sized or not genes:
        return ()
    avoids = any(share.action == "avoid" for share in possible)
    low, high = (0.0 if avoids else min(s[0] for s in sized)), max(s[1] for s in sized)
    named = tuple(dict.fromkeys(gene for gene in genes if gene in asked.table.genes))
    text = f"without {', '.join(named)} the share of the usual start lies between {low:g} and {high:g} percent"
    because = (asked.ledger.add("derived", text, because=keys),)
    bounds = (Quantity(value=bound, unit="percent", because=because) for bound in (low, high))
    return (OpenBound(genes=named, share_low=next(bounds), share_high=next(bounds), text=text, because=because),)


def _cautions(asked: _Asked, cautions: Iterable[Caution]) -> tuple[Reason, ...]:
    found = []
    for caution in cautions:
        facts = asked.facts()
        if facts.match(caution.when).truth is True:
            keys = (asked.leaf(caution.text, caution), *asked.because(facts))
            found.append(Reason(text=caution.text, because=keys))
    return tuple(found)


def _assumptions(asked: _Asked) -> tuple[Reason, ...]:
    """A missing medication list, where the algorithm asks for medicines."""
    asks = any(function == "on" for term in asked.table.terms for function, _ in expression(term.value).queries)
    if not asks or asked.situation.medication_list_given:
        return ()
    text = f"the record holds no medication list: {asked.drug.name} is computed as if nothing else were taken"
    source = asked.ledger.add("patient", "no medication list", source=f"record of patient {asked.situation.patient_id}")
    return (Reason(text=text, because=(asked.ledger.add("assumption", text, because=(source,)),)),)
