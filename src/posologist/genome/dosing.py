"""Starting doses computed from genes: warfarin algorithms, and shares of the usual start by one or two genes.

How they are computed is data (`knowledge/data/dosing`); this module joins it to one patient. What a body's guidance
already says as a Statement is taken from there and stands beside the computed rows, so that differences show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from posologist.core.dosing import Caution, ComputedDose, ComputedRow, OpenBound, Share
from posologist.core.drug import DoseRule, Drug
from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneticProfile, PhenotypeProfile
from posologist.core.recommendation import Reason
from posologist.core.situation import Situation
from posologist.core.values import DrugId, Estimate, EvidenceKey, GeneSymbol, Quantity, rounded
from posologist.genome.dose_rows import Asked, Usual, formula_rows, needs_words, range_rows, share_rows, statement_rows
from posologist.knowledge.expression import expression
from posologist.knowledge.load import Knowledge
from posologist.knowledge.match import PatientSubject

Number = TypeVar("Number", Estimate, Quantity, Estimate | Quantity | None, Quantity | None)
_AGAINST = ("avoid", "alternative")
_DAYS_OF = {"mg/week": 7.0}


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
    asked = Asked(drug, table, situation, profile, knowledge, ledger, genome, subject, None)
    asked = replace(asked, usual=_usual_start(asked, usual))
    rows = [*formula_rows(asked), *share_rows(asked), *range_rows(asked), *statement_rows(asked)]
    return _document(asked, _with_used(rows))


def _usual_start(asked: Asked, rule: DoseRule | None) -> Usual | None:
    """Start of the drug file for the use in question, else the usual start that the guideline names."""
    if rule is not None and rule.start is not None:
        text = f"usual start of {asked.drug.name} for {rule.indication.replace('-', ' ')}: {rule.start:g} {rule.unit}"
        return Usual(rule.start, rule.start, rule.unit, asked.leaf(text, rule), rule.status != "to verify")
    for stated in asked.table.usual:
        text = f"usual start of {asked.drug.name} by the guideline: {stated.low:g} to {stated.high:g} {stated.unit}"
        return Usual(stated.low, stated.high, stated.unit, asked.leaf(text, stated), stated.status != "to verify")
    return None


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


def _document(asked: Asked, rows: list[ComputedRow]) -> ComputedDose:
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
        dose=None if used is None else a_day(used.dose),
        low=None if used is None else a_day(used.low),
        high=None if used is None else a_day(used.high),
        by="" if used is None else used.name,
        genetic=used is not None and used.genetic,
        ranked=done and used is not None and used.verified and not any(r.action in _AGAINST for r in rows),
        rows=tuple(rows),
        open=_open(asked),
        needs=() if done else tuple(dict.fromkeys(lacking)),
        cautions=_cautions(asked, asked.table.cautions),
        assumptions=_assumptions(asked),
    )  # fmt: skip


def _has_phenotype(asked: Asked, gene: GeneSymbol) -> bool:
    known = asked.profile.genes.get(gene)
    return known is not None and (known.clinical is not None or known.diplotype is not None)


def a_day(amount: Number) -> Number:
    """The amount per day of one per week; any other as it is."""
    if amount is None or amount.unit not in _DAYS_OF:
        return amount
    days = _DAYS_OF[amount.unit]
    changed: dict[str, object] = {"value": rounded(amount.value / days, 4), "unit": "mg/day"}
    if isinstance(amount, Estimate):
        changed |= {"low": rounded(amount.low / days, 4), "high": rounded(amount.high / days, 4)}
    return amount.model_copy(update=changed)


def _open(asked: Asked) -> tuple[OpenBound, ...]:
    """What untested genes leave open: the widest shares among the rows that hold or could hold."""
    possible, genes, keys = list[Share](), list[GeneSymbol](), list[EvidenceKey]()
    undecided = False
    for share in asked.table.shares:
        facts = asked.facts()
        match = facts.match(share.when)
        if match.truth is False:
            continue
        lacking = [
            GeneSymbol(need.removesuffix(" genotype")) for need in needs_words(match.missing) if "genotype" in need
        ]
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


def _cautions(asked: Asked, cautions: Iterable[Caution]) -> tuple[Reason, ...]:
    found = []
    for caution in cautions:
        facts = asked.facts()
        if facts.match(caution.when).truth is True:
            keys = (asked.leaf(caution.text, caution), *asked.because(facts))
            found.append(Reason(text=caution.text, because=keys))
    return tuple(found)


def _assumptions(asked: Asked) -> tuple[Reason, ...]:
    """A missing medication list, where the algorithm asks for medicines."""
    asks = any(function == "on" for term in asked.table.terms for function, _ in expression(term.value).queries)
    if not asks or asked.situation.medication_list_given:
        return ()
    text = f"the record holds no medication list: {asked.drug.name} is computed as if nothing else were taken"
    source = asked.ledger.add("patient", "no medication list", source=f"record of patient {asked.situation.patient_id}")
    return (Reason(text=text, because=(asked.ledger.add("assumption", text, because=(source,)),)),)
