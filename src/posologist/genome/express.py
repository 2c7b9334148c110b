"""Phenotypes as they show in the patient: other medicines and organ function change what the genes give.

The rules are data (`phenoconversion.toml` of each gene). Of several that lower the activity the deepest decides, they
are not multiplied; an inhibitor outweighs an inducer; all are named. What has a direction without a published size is
named and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from posologist.core.drug import Drug
from posologist.core.evidence import Ledger
from posologist.core.genotype import ExpressedPhenotype, GeneCall, GeneticProfile, PhenotypeProfile
from posologist.core.situation import Situation
from posologist.core.values import EvidenceKey, GeneSymbol, Status
from posologist.genome.tandem import counts_copies
from posologist.genome.translate import INDETERMINATE, from_score
from posologist.knowledge.derive import FactSubject
from posologist.knowledge.expression import expression
from posologist.knowledge.genes import (
    GENES_FOLDER,
    Change,
    Gene,
    Phenoconversion,
    callable_genes,
    load_gene,
    outside_genes,
)
from posologist.knowledge.load import Knowledge

TESTED = GeneSymbol("tested")
"""Under this name `PhenotypeProfile.alleles` lists the genes that have a result: `allele(tested, NUDT15)`."""
_ORDER = ("strong", "moderate")
_MOST = 20.0  # activity scores with any number of copies end here
_SURE, _EXCLUDED = 0.9, 0.1
"""An allele is taken as there, or as absent, from these shares of the candidates on; in between it is unknown."""


@dataclass(frozen=True, slots=True)
class Genetic:
    """Phenotypes from the genes alone, the alleles carried, and the genes that other things may change."""

    genes: Mapping[GeneSymbol, ExpressedPhenotype]
    carried: Mapping[GeneSymbol, tuple[str, ...]]
    changeable: tuple[GeneSymbol, ...]


def express(
    genome: GeneticProfile | None,
    drugs: Iterable[Drug],
    *,
    ledger: Ledger,
    knowledge: Knowledge | None = None,
    situation: Situation | None = None,
) -> PhenotypeProfile:
    """The phenotype of every gene, from the genes alone and as it shows under `drugs` in this patient.

    An activity score is multiplied by the factor that is published for the gene (CYP2D6: 0 under a strong inhibitor,
    0.5 under a moderate one), a phenotype is mapped. Genes without such a rule keep the genetic phenotype, and the
    reason says so. A gene that was not called has no phenotype, never a normal one.

    Parameters
    ----------
    genome
        None: nothing was tested.
    drugs
        Every medicine that is taken together, those of a plan included.
    ledger
        Takes up the genome's evidence and what is added here.
    knowledge
        Whose gene facts are used; the package's own by default.
    situation
        The patient, for rules on organ function; read together with `knowledge`.
    """
    folder = knowledge.gene_folders if knowledge is not None else None
    return expressed(
        genetic(genome, ledger=ledger, folder=folder), drugs, ledger=ledger, knowledge=knowledge, situation=situation
    )


def genetic(genome: GeneticProfile | None, *, ledger: Ledger, folder: tuple[Path, ...] | None = None) -> Genetic:
    """What the genes alone give, of every gene that can be called or reported."""
    if genome is not None:
        ledger.merge({EvidenceKey(key): entry for key, entry in genome.evidence.items()})
    called = genome.genes if genome is not None else {}
    held = dict.fromkeys([*callable_genes(folder), *outside_genes(folder)])
    genes = {symbol: _expressed(symbol, called.get(symbol), ledger) for symbol in dict.fromkeys([*held, *called])}
    carried = {symbol: _carried(call) for symbol, call in called.items() if call.called and call.diplotype}
    changeable = tuple(symbol for symbol in called if symbol in held and called[symbol].called)
    return Genetic(genes, carried, changeable)


def expressed(
    alone: Genetic,
    drugs: Iterable[Drug],
    *,
    ledger: Ledger,
    knowledge: Knowledge | None = None,
    situation: Situation | None = None,
) -> PhenotypeProfile:
    """As `express`, from what the genes alone give."""
    folder = knowledge.gene_folders if knowledge is not None else None
    subject = FactSubject(situation, knowledge) if situation is not None and knowledge is not None else None
    patient = None if subject is None or situation is None else _Patient(situation, subject)
    taken = tuple(drugs)
    genes = dict(alone.genes)
    for symbol in alone.changeable:
        if _can_change(symbol, taken, folder or (GENES_FOLDER,)):
            genes[symbol] = _in_patient(genes[symbol], load_gene(symbol, folder), taken, patient, ledger)
    return PhenotypeProfile(genes=genes, alleles=_alleles(alone.carried, genes))


def _can_change(symbol: GeneSymbol, drugs: Sequence[Drug], folders: tuple[Path, ...]) -> bool:
    return _has_rules(symbol, folders) or any(role.enzyme == symbol for drug in drugs for role in drug.roles)


@lru_cache(maxsize=256)
def _has_rules(symbol: GeneSymbol, folders: tuple[Path, ...]) -> bool:
    return any((folder / symbol / "phenoconversion.toml").is_file() for folder in folders)


@dataclass(frozen=True, slots=True)
class _Patient:
    situation: Situation
    subject: FactSubject


@dataclass(frozen=True, slots=True)
class _Modifier:
    """One thing that acts on an enzyme: what it is in words, its rule, and the evidence that it is there."""

    words: str
    change: Change | None
    because: tuple[EvidenceKey, ...]
    role: str = ""

    @property
    def changes(self) -> bool:
        return self.change is not None and (self.change.factor is not None or bool(self.change.becomes))


def _alleles(
    carried: Mapping[GeneSymbol, tuple[str, ...]], genes: Mapping[GeneSymbol, ExpressedPhenotype]
) -> dict[GeneSymbol, tuple[str, ...]]:
    """What `allele(...)` answers from: each gene's alleles and its diplotype, and the genes that have a result."""
    results = [str(symbol) for symbol, gene in genes.items() if gene.clinical is not None or _by_allele(gene)]
    return {**carried, TESTED: tuple(results)}


def _carried(call: GeneCall) -> tuple[str, ...]:
    """Alleles and diplotypes by the share of the candidates that have them; "maybe *2" where that is open.

    Of DPYD and RYR1 the two alleles that guidance goes by, and their pair; bases at other positions as "rs1 A".
    """
    variants = tuple(f"{name} {base}" for name, bases in call.other_variants.items() for base in bases.split("/"))
    if call.lowest_function:
        pair = call.lowest_function
        return tuple(dict.fromkeys([*pair, str(call.diplotype), "/".join(pair), *variants]))
    shares: dict[str, float] = {}
    listed = {candidate.diplotype: candidate.probability for candidate in call.candidates}
    for diplotype, share in (listed if call.diplotype in listed else {str(call.diplotype): 1.0}).items():
        for name in dict.fromkeys([*(part.strip() for part in diplotype.split("/")), diplotype]):
            shares[name] = shares.get(name, 0.0) + share
    names = (name if share >= _SURE else f"maybe {name}" for name, share in shares.items() if share > _EXCLUDED)
    return (*names, *dict.fromkeys(variants))


def _by_allele(gene: ExpressedPhenotype) -> bool:
    """Genes whose guidance asks for single alleles and that have no phenotype."""
    return gene.gene.startswith("HLA-") and gene.diplotype is not None


def _expressed(symbol: GeneSymbol, call: GeneCall | None, ledger: Ledger) -> ExpressedPhenotype:
    """What the genes alone give."""
    if call is None:
        key = ledger.add("patient", f"{symbol} was not tested", source="genome")
        return ExpressedPhenotype(
            gene=symbol,
            diplotype=None,
            evidence_state="not called",
            genetic=None,
            clinical=None,
            reason="not tested",
            because=(key,),
        )
    return ExpressedPhenotype(
        gene=symbol,
        diplotype=call.diplotype,
        evidence_state=call.evidence_state,
        genetic=call.phenotype,
        clinical=call.phenotype,
        genetic_score=call.activity_score,
        clinical_score=call.activity_score,
        reason="" if call.called else "; ".join(call.findings[-1:]) or "not called",
        because=call.because,
    )


def _in_patient(
    base: ExpressedPhenotype, gene: Gene, drugs: Sequence[Drug], patient: _Patient | None, ledger: Ledger
) -> ExpressedPhenotype:
    """What shows of it under the medicines and in this patient."""
    if base.diplotype is None and base.genetic is None:
        return base
    modifiers = (*_medicines(gene, drugs, ledger), *_conditions(gene, patient, ledger))
    return _modified(base, gene, modifiers, ledger) if modifiers else base


def _medicines(gene: Gene, drugs: Sequence[Drug], ledger: Ledger) -> tuple[_Modifier, ...]:
    """Strong and moderate inhibitors and inducers of the gene's enzyme, inhibitors and the strongest first."""
    rules = gene.phenoconversion
    enzymes = rules.enzymes if rules and rules.enzymes else (str(gene.symbol),)
    acting: dict[tuple[bool, int, str, str], tuple[str, Status]] = {}
    for drug in drugs:
        for role in drug.roles:
            if role.enzyme in enzymes and role.role in ("inhibitor", "inducer") and role.strength in _ORDER:
                place = (role.role != "inhibitor", _ORDER.index(role.strength), str(drug.id), role.enzyme)
                acting.setdefault(place, (role.source, role.status))
    found = []
    for (inducer, strength, drug_id, enzyme), (source, status) in sorted(acting.items()):
        kind = "inducer" if inducer else "inhibitor"
        words = f"{drug_id} is a {_ORDER[strength]} {enzyme} {kind}"
        key = ledger.add("knowledge", words, source=f"drug file of {drug_id}: {source}", status=status)
        found.append(_Modifier(words, _rule(rules, kind, _ORDER[strength]), (key,), kind))
    return tuple(found)


def _rule(rules: Phenoconversion | None, role: str, strength: str) -> Change | None:
    changes = () if rules is None else rules.changes
    return next((change for change in changes if (change.role, change.strength) == (role, strength)), None)


def _conditions(gene: Gene, patient: _Patient | None, ledger: Ledger) -> tuple[_Modifier, ...]:
    """States of the patient that act on the enzyme; one that is there in part and cannot be decided is said."""
    if patient is None or gene.phenoconversion is None:
        return ()
    found = []
    for change in gene.phenoconversion.changes:
        match = expression(change.when).match(patient.subject) if change.when else None
        if match is None or match.truth is False or (match.truth is None and not match.read):
            continue
        because = _read_from(patient.situation, match.read)
        if match.truth is None:
            words = f"{' and '.join(match.missing)} is not known, so it is open whether {gene.symbol} is changed by it"
            found.append(_Modifier(words, None, because))
        else:
            found.append(_Modifier(change.text, change, because))
    return tuple(found)


def _read_from(situation: Situation, labels: Iterable[str]) -> tuple[EvidenceKey, ...]:
    """Evidence of the facts and conditions that a rule read."""
    keys = []
    for label in labels:
        if label in situation.facts:
            keys.append(situation.facts[label].because)
        elif (code := label.removeprefix("dx(").rstrip(")")) in situation.conditions:
            keys.append(situation.conditions[code])
    return tuple(keys)


def _modified(
    base: ExpressedPhenotype, gene: Gene, modifiers: Sequence[_Modifier], ledger: Ledger
) -> ExpressedPhenotype:
    keys = [key for modifier in modifiers for key in modifier.because]
    keys += [_cited(gene, modifier.change, ledger) for modifier in modifiers if modifier.change is not None]
    lowering = [m for m in modifiers if m.changes and m.role != "inducer"]
    raising = [m for m in modifiers if m.changes and m.role == "inducer"]
    outcomes = [(m, *_after(gene, m.change, base)) for m in lowering or raising[:1] if m.change is not None]
    decisive = min(outcomes, key=lambda outcome: _depth(gene, *outcome[1:])) if outcomes else None
    reason, update = _said(base, modifiers, decisive)
    because = (ledger.add("derived", f"{base.gene}: {reason}", because=(*base.because, *keys)),)
    return base.model_copy(update={**update, "reason": reason, "because": because})


def _said(
    base: ExpressedPhenotype,
    modifiers: Sequence[_Modifier],
    decisive: tuple[_Modifier, str | None, float | None] | None,
) -> tuple[str, dict[str, str | float | None]]:
    """The reason in words, and the clinical phenotype and score where something changes them."""
    parts = []
    for modifier in modifiers:
        words = modifier.words
        if modifier.role and modifier.change is None:
            words += f"; no published rule changes the {base.gene} phenotype for it, so the genetic one is kept"
        elif modifier.role and not modifier.changes and modifier.change is not None:
            words += f"; {modifier.change.text}, so it changes nothing here"
        parts.append(words)
    reason = "; ".join(dict.fromkeys(parts))
    if decisive is None:
        return reason, {}
    modifier, clinical, score = decisive
    factor = modifier.change.factor if modifier.change else None
    if clinical is None:
        outcome = "without an exact activity score its effect cannot be computed, so no phenotype is stated"
        return f"{reason}; {outcome}", {"clinical": None, "clinical_score": None}
    if factor is not None and score is not None:
        before = "activity score" if base.genetic_score is None else f"activity score {base.genetic_score:g}"
        reason = f"{reason}: {before} x {factor:g} = {score:g}"
    if clinical == base.genetic:
        reason = f"{reason}; {clinical} stays so"
    else:
        reason = f"{reason}; {base.genetic or 'an open result'} shows as {clinical}"
    return reason, {"clinical": clinical, "clinical_score": score}


def _after(gene: Gene, change: Change | None, base: ExpressedPhenotype) -> tuple[str | None, float | None]:
    """Phenotype and score under one change; None where they cannot be said."""
    if change is None:
        return base.genetic, base.genetic_score
    if change.factor is None:
        return _mapped(gene, change, base.genetic), None
    if change.factor == 0:
        return from_score(gene, 0.0).phenotype, 0.0
    if base.genetic_score is None or base.genetic is None:
        return _scaled(gene, base.genetic, change.factor), None
    open_end = any(sign in (base.diplotype or "") for sign in ("≥", "xN"))
    score = base.genetic_score * change.factor
    return from_score(gene, score, at_least=open_end).phenotype, score


def _mapped(gene: Gene, change: Change, phenotype: str | None) -> str | None:
    """The phenotype that another becomes; for an open one only where every phenotype becomes the same."""
    ladder = gene.phenoconversion.ladder if gene.phenoconversion else ()
    if set(change.becomes) == set(ladder) and len(set(change.becomes.values())) == 1:
        return next(iter(change.becomes.values()))
    return None if phenotype is None else change.becomes.get(phenotype, phenotype)


def _scaled(gene: Gene, phenotype: str | None, factor: float) -> str | None:
    """What every score with this phenotype becomes, times the factor; None if they differ."""
    if phenotype == INDETERMINATE:
        return INDETERMINATE
    activities = [f.activity for f in gene.functions.values() if f.activity]
    top = _MOST if counts_copies(gene) else 2 * max(activities)
    scores = [n * min(activities) for n in range(int(top / min(activities)) + 1)]
    found = {from_score(gene, s * factor).phenotype for s in scores if from_score(gene, s).phenotype == phenotype}
    return found.pop() if len(found) == 1 else None


def _depth(gene: Gene, phenotype: str | None, score: float | None) -> tuple[int, float]:
    """Place on the ladder from least to most active; what cannot be said comes after what can."""
    ladder = gene.phenoconversion.ladder if gene.phenoconversion else ()
    order = ladder or tuple(rule.phenotype for rule in gene.score_rules)
    return (order.index(phenotype) if phenotype in order else len(order), score if score is not None else float("inf"))


def _cited(gene: Gene, change: Change, ledger: Ledger) -> EvidenceKey:
    citation = next(c for c in gene.citations if c.key == change.source)
    return ledger.add("knowledge", change.text, source=f"{change.source}: {citation.title}", status=change.status)
