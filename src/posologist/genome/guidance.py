"""Gene guidance for one person: which recommendations hold, which could not be decided, and where bodies differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from posologist.core.evidence import Ledger
from posologist.core.genotype import GeneticProfile, PhenotypeProfile, Versions
from posologist.core.guidance import GuidanceConflict, GuidanceDocument, GuidanceItem, NoGuidance
from posologist.core.situation import Situation
from posologist.core.statement import SEVERITY_ORDER, Statement
from posologist.core.values import DrugId, EvidenceKey, GeneSymbol, Quantity
from posologist.core.version import VERSION
from posologist.genome.express import TESTED, express
from posologist.knowledge.expression import GENE_QUERIES, UNKNOWN, Match, Scalar, expression
from posologist.knowledge.load import Knowledge
from posologist.knowledge.match import INDETERMINATE, PatientSubject
from posologist.knowledge.statements import NOT_READABLE, body_of, has_no_row

_BY_RESULT = ("gene(", "activity(", "indeterminate(")
_DIRECTION = {
    "contraindicated": "another drug",
    "avoid": "another drug",
    "alternative": "another drug",
    "start": "a lower dose",
    "cap": "a lower dose",
    "percent": "a lower dose",
    "reduce": "a lower dose",
    "interval": "a lower dose",
    "increase": "a higher dose",
    "standard": "the usual dose",
}


class GeneSubject:
    """A person of whom only the genes are known; every other fact is unknown."""

    def __init__(self, profile: PhenotypeProfile) -> None:
        self._profile = profile

    def fact(self, name: str) -> Scalar:
        """No fact is known."""
        return UNKNOWN

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """Answers gene, activity, indeterminate and allele; UNKNOWN for all else."""
        symbol = GeneSymbol(str(arguments[0]))
        if function == "allele":
            carried = self._profile.carries(symbol, str(arguments[1]))
            return UNKNOWN if carried is None else carried
        gene = self._profile.genes.get(symbol) if function in GENE_QUERIES else None
        if gene is None or gene.clinical is None:
            return UNKNOWN if gene is None or function != "activity" else _known(gene.clinical_score)
        if function == "indeterminate":
            return gene.clinical == INDETERMINATE
        return gene.clinical if function == "gene" else _known(gene.clinical_score)


def _known(value: float | None) -> Scalar:
    return UNKNOWN if value is None else value


def guidance_document(
    profile: GeneticProfile,
    drugs: Iterable[DrugId] = (),
    *,
    knowledge: Knowledge,
    situation: Situation | None = None,
) -> GuidanceDocument:
    """What guidelines say about `drugs` for these genes.

    Parameters
    ----------
    drugs
        The drugs asked about; all with gene guidance if none is named.
    situation
        The patient: chooses between populations, and brings the medicines that change a phenotype. Without it,
        rows that depend on the patient are undecided, and shown.
    """
    ledger = Ledger()
    wanted = tuple(drugs) or _drugs_with_guidance(knowledge)
    items: list[GuidanceItem] = []
    silent: list[NoGuidance] = []
    for drug in wanted:
        statements = knowledge.statements_about(drug, "gene")
        expressed = _expressed(profile, drug, situation, knowledge, ledger)
        if not statements:
            silent.append(NoGuidance(drug=drug, why="no gene guidance is on file"))
        for rows in _guidelines(statements):
            found, unknown = _items(drug, rows, expressed, situation, knowledge, ledger)
            items.extend(found)
            if not found:
                silent.append(_silence(drug, rows[0], unknown))
    genes = _expressed(profile, None, situation, knowledge, ledger).genes
    return GuidanceDocument(
        schema="posologist/guidance/1",
        sample=profile.sample,
        genes=genes,
        guidance=tuple(sorted(items, key=_order)),
        conflicts=_conflicts(items),
        no_guidance=tuple(silent),
        evidence=ledger.entries(),
        versions=Versions(
            posologist=VERSION, knowledge=knowledge.version, definitions=dict(profile.versions.definitions)
        ),
    )


def _order(item: GuidanceItem) -> tuple[str, bool, int, str]:
    return (str(item.drug), item.decision != "applies", SEVERITY_ORDER[item.severity], item.statement)


def _drugs_with_guidance(knowledge: Knowledge) -> tuple[DrugId, ...]:
    named = {name for statement in knowledge.statements if statement.kind == "gene" for name in statement.about}
    return tuple(sorted(drug for drug in knowledge.drugs if str(drug) in named))


def _expressed(
    profile: GeneticProfile, drug: DrugId | None, situation: Situation | None, knowledge: Knowledge, ledger: Ledger
) -> PhenotypeProfile:
    """Phenotypes under the medicines taken, without the drug in question: its guidance allows for its own effect."""
    taken = () if situation is None else tuple(current.drug for current in situation.current)
    drugs = [knowledge.drugs[d] for d in taken if d in knowledge.drugs and d != drug]
    return express(profile, drugs, ledger=ledger, knowledge=knowledge, situation=situation)


def _items(
    drug: DrugId,
    statements: Sequence[Statement],
    expressed: PhenotypeProfile,
    situation: Situation | None,
    knowledge: Knowledge,
    ledger: Ledger,
) -> tuple[list[GuidanceItem], tuple[GeneSymbol, ...]]:
    """Rows of one guideline that hold or could hold, and the genes that others cannot be decided without."""
    subject = GeneSubject(expressed)
    patient = None
    if situation is not None:
        patient = _patient(drug, expressed, situation, knowledge, ledger)
    found: list[GuidanceItem] = []
    missing_genes: dict[GeneSymbol, None] = {}
    for statement in statements:
        match = expression(statement.when).match(patient or subject)
        absent = [] if match.truth is not None else _absent(match)
        if match.truth is False or any(_has_no_phenotype(expressed, gene) for gene in absent):
            continue
        if absent and not any(_has_result(expressed, gene) for gene in _genes(statement)):
            missing_genes.update(dict.fromkeys(absent))
            continue
        because = patient.because(match) if patient is not None else ()
        found.append(_item(drug, statement, match, expressed, because, ledger))
    return found, tuple(missing_genes)


def _patient(
    drug: DrugId, expressed: PhenotypeProfile, situation: Situation, knowledge: Knowledge, ledger: Ledger
) -> PatientSubject:
    """The patient without the drug in question; whether it would be started, where the medicines are known."""
    present = tuple(current.drug for current in situation.current)
    others = tuple(d for d in present if d != drug and d in knowledge.drugs)
    facts = {"starting": drug not in present} if situation.medication_list_given else {}
    return PatientSubject(situation, expressed, knowledge, medicines=others, plan_facts=facts, ledger=ledger)


def _guidelines(statements: Sequence[Statement]) -> Iterable[list[Statement]]:
    """Statements by body and genes: what one body says about a drug for the same genes."""
    found: dict[tuple[str, frozenset[GeneSymbol]], list[Statement]] = {}
    for statement in statements:
        found.setdefault((body_of(statement), frozenset(_genes(statement))), []).append(statement)
    return found.values()


def _genes(statement: Statement) -> tuple[GeneSymbol, ...]:
    """The genes that a statement asks about."""
    asked = [q[1] for q in sorted(expression(statement.when).queries, key=str) if q[0] in GENE_QUERIES]
    return tuple(dict.fromkeys(GeneSymbol(str(a[1] if a[0] == TESTED else a[0])) for a in asked))


def _absent(match: Match) -> list[GeneSymbol]:
    """Genes whose phenotype or score a match lacked."""
    labels = [m for m in match.missing if m.startswith(_BY_RESULT)]
    return list(dict.fromkeys(GeneSymbol(label.split("(")[1].rstrip(")")) for label in labels))


def _has_no_phenotype(expressed: PhenotypeProfile, gene: GeneSymbol) -> bool:
    """Whether a gene's result is there and names no phenotype: no row but one for that can hold."""
    return gene in expressed.genes and expressed.genes[gene].clinical == INDETERMINATE


def _has_result(expressed: PhenotypeProfile, gene: GeneSymbol) -> bool:
    known = expressed.genes.get(gene)
    return known is not None and (known.clinical is not None or known.diplotype is not None)


def _silence(drug: DrugId, row: Statement, unknown: tuple[GeneSymbol, ...]) -> NoGuidance:
    """Why a guideline says nothing for this person."""
    body = body_of(row)
    if unknown:
        named = ", ".join(unknown)
        return NoGuidance(drug=drug, body=body, why=f"{body}: cannot be decided without {named}", genes=unknown)
    why = row.text if has_no_row(row) else f"{body}: no row on file for these results"
    return NoGuidance(drug=drug, body=body, why=why, genes=_genes(row))


def _item(
    drug: DrugId,
    statement: Statement,
    match: Match,
    expressed: PhenotypeProfile,
    because: tuple[EvidenceKey, ...],
    ledger: Ledger,
) -> GuidanceItem:
    genes = _genes(statement)
    read = [expressed.genes[gene] for gene in genes if gene in expressed.genes]
    source = ledger.add(
        "knowledge", statement.text, source=statement.source, version=statement.since, status=statement.status
    )
    keys = tuple(dict.fromkeys([source, *(key for gene in read for key in gene.because), *because]))
    return GuidanceItem(
        drug=drug,
        genes=genes,
        body=body_of(statement),
        decision="applies" if match.truth else "undecided",
        action=statement.action,
        severity=statement.severity,
        value=None
        if statement.value is None
        else Quantity(value=statement.value, unit=statement.unit, because=(source,)),
        text=statement.text,
        level=statement.level,
        population=statement.population,
        missing=_missing(statement, match) if match.truth is None else (),
        note=statement.note,
        source=statement.source,
        statement=statement.id,
        because=keys,
    )


def _missing(statement: Statement, match: Match) -> tuple[str, ...]:
    """Facts that would decide a row; what no record holds is named by the row's population."""
    return tuple(statement.population or "what no record holds" if m == NOT_READABLE else m for m in match.missing)


def _conflicts(items: Iterable[GuidanceItem]) -> tuple[GuidanceConflict, ...]:
    """Drugs for which bodies ask for different things; silence and monitoring contradict nothing."""
    by_drug: dict[DrugId, dict[str, dict[str, str]]] = {}
    for item in items:
        if item.decision == "applies" and item.action in _DIRECTION:
            by_drug.setdefault(item.drug, {}).setdefault(item.body, {})[item.statement] = _DIRECTION[item.action]
    found = []
    for drug, bodies in by_drug.items():
        wanted = {body: tuple(dict.fromkeys(asked.values())) for body, asked in bodies.items()}
        shared = set.intersection(*(set(asked) for asked in wanted.values()))
        if len(wanted) > 1 and not shared:
            text = "; ".join(f"{body} asks for {' or '.join(asked)}" for body, asked in sorted(wanted.items()))
            statements = tuple(name for asked in bodies.values() for name in asked)
            found.append(GuidanceConflict(drug=drug, text=text, statements=statements))
    return tuple(found)
