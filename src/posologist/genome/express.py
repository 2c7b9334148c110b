"""Phenotypes as they show under the medicines taken: inhibitors and inducers change what the genes give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from posologist.core.drug import Drug
from posologist.core.evidence import Ledger
from posologist.core.genotype import ExpressedPhenotype, GeneCall, GeneticProfile, PhenotypeProfile
from posologist.core.values import EvidenceKey, GeneSymbol
from posologist.genome.translate import from_score
from posologist.knowledge.genes import Folders, Gene, callable_genes, load_gene, outside_genes
from posologist.knowledge.load import Knowledge

TESTED = GeneSymbol("tested")
"""Under this name `PhenotypeProfile.alleles` lists the genes that have a result: `allele(tested, NUDT15)`."""
_ORDER = ("strong", "moderate", "weak", "")


def express(
    genome: GeneticProfile | None,
    drugs: Iterable[Drug],
    *,
    ledger: Ledger,
    knowledge: Knowledge | None = None,
) -> PhenotypeProfile:
    """The phenotype of every gene, from the genes alone and as it shows under `drugs`.

    The activity score changes by the factor that is published for the gene (CYP2D6: 0 under a strong inhibitor,
    0.5 under a moderate one). Genes without such a rule keep the genetic phenotype, and the reason says so. A gene
    that was not called has no phenotype, never a normal one.

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
    """
    if genome is not None:
        ledger.merge({EvidenceKey(key): entry for key, entry in genome.evidence.items()})
    folder = knowledge.gene_folders if knowledge is not None else None
    called = genome.genes if genome is not None else {}
    symbols = dict.fromkeys([*callable_genes(folder), *outside_genes(folder), *called])
    taken = tuple(drugs)
    genes = {
        symbol: _expressed(symbol, called.get(symbol), _modifiers(symbol, taken), ledger, folder) for symbol in symbols
    }
    return PhenotypeProfile(genes=genes, alleles=_alleles(called, genes))


def _alleles(
    called: dict[GeneSymbol, GeneCall], genes: dict[GeneSymbol, ExpressedPhenotype]
) -> dict[GeneSymbol, tuple[str, ...]]:
    """What `allele(...)` answers from: each gene's alleles and its diplotype, and the genes that have a result."""
    found = {symbol: _named(call) for symbol, call in called.items() if call.called and call.diplotype}
    results = [str(symbol) for symbol, gene in genes.items() if gene.clinical is not None or _by_allele(gene)]
    return {**found, TESTED: tuple(results)}


def _named(call: GeneCall) -> tuple[str, ...]:
    """Alleles and diplotype of a call; of DPYD and RYR1 the two alleles that guidance goes by, and their pair."""
    pair = tuple(call.lowest_function or (part.strip() for part in str(call.diplotype).split("/")))
    return tuple(dict.fromkeys([*pair, str(call.diplotype), "/".join(pair)]))


def _by_allele(gene: ExpressedPhenotype) -> bool:
    """Genes whose guidance asks for single alleles and that have no phenotype."""
    return gene.gene.startswith("HLA-") and gene.diplotype is not None


def _modifiers(symbol: GeneSymbol, drugs: Sequence[Drug]) -> tuple[tuple[str, str, str], ...]:
    """(role, strength, drug) of every inhibitor and inducer of the enzyme, strongest first."""
    found = {
        (role.role, role.strength, str(drug.id))
        for drug in drugs
        for role in drug.roles
        if role.enzyme == symbol and role.role in ("inhibitor", "inducer")
    }
    return tuple(sorted(found, key=lambda m: (m[0] != "inhibitor", _strength(m[1]), m[2])))


def _strength(word: str) -> int:
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)


def _expressed(
    symbol: GeneSymbol,
    call: GeneCall | None,
    modifiers: tuple[tuple[str, str, str], ...],
    ledger: Ledger,
    folder: Folders,
) -> ExpressedPhenotype:
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
    base = ExpressedPhenotype(
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
    relevant = tuple(m for m in modifiers if m[1] in ("strong", "moderate"))
    if not relevant or call.phenotype is None:
        return base
    return _modified(base, load_gene(symbol, folder), relevant, ledger)


def _modified(
    base: ExpressedPhenotype, gene: Gene, modifiers: tuple[tuple[str, str, str], ...], ledger: Ledger
) -> ExpressedPhenotype:
    words = "; ".join(f"{drug} is a {strength} {base.gene} {role}" for role, strength, drug in modifiers)
    keys = tuple(
        ledger.add("knowledge", f"{drug} is a {strength} {base.gene} {role}", source=f"drug file of {drug}")
        for role, strength, drug in modifiers
    )
    role, strength, _ = modifiers[0]
    rule = gene.phenoconversion
    if rule is None or role != "inhibitor":
        reason = f"{words}; no published rule changes the {base.gene} phenotype for it, so the genetic one is kept"
        return base.model_copy(update={"reason": reason, "because": (*base.because, *keys)})
    rule_key = ledger.add("knowledge", rule.text, source=rule.source, status=rule.status)
    factor = rule.strong if strength == "strong" else rule.moderate
    score = base.genetic_score
    if score is None and factor > 0:
        reason = f"{words}; without an activity score its effect cannot be computed, so no phenotype is stated"
        clinical, new_score = None, None
        if base.genetic == gene.score_rules[0].phenotype:
            reason, clinical = f"{words}; {base.genetic} stays so", base.genetic
    else:
        new_score = (score or 0.0) * factor
        clinical = from_score(gene, new_score).phenotype
        before = "activity score" if score is None else f"activity score {score:g}"
        reason = f"{words}: {before} x {factor:g} = {new_score:g}"
    because = (ledger.add("derived", f"{base.gene}: {reason}", because=(*base.because, *keys, rule_key)),)
    return base.model_copy(
        update={"clinical": clinical, "clinical_score": new_score, "reason": reason, "because": because}
    )
