"""Genes and drugs of one person in the order in which they are read: what matters first, what is not known last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from posologist.core.genotype import ExpressedPhenotype, GeneCall, GeneticProfile, NotExcluded
from posologist.core.guidance import GuidanceDocument, GuidanceItem, NoGuidance
from posologist.core.statement import SEVERITY_ORDER
from posologist.core.values import DrugId, GeneSymbol
from posologist.knowledge.genes import callable_genes, load_gene, outside_genes

_ORDER = ("matters", "differs", "uncertain", "normal", "not called", "not tested")


@dataclass(frozen=True, slots=True)
class GeneRow:
    """One gene. `state` says how well it was read, `result` what that makes of it.

    `positions` is how many positions define the gene's alleles; 0 where it is not read from a VCF. Of some genes
    no phenotype is defined (`has_phenotypes`): to have none says nothing about them.
    """

    symbol: GeneSymbol
    call: GeneCall | None
    expressed: ExpressedPhenotype | None
    state: str
    result: str
    positions: int
    has_phenotypes: bool

    @property
    def no_phenotype(self) -> str:
        """What stands where a phenotype is not stated."""
        if self.symbol.startswith("HLA-"):
            return "guidance goes by allele"
        return "not certain" if self.has_phenotypes else "no phenotype is defined"

    @property
    def changed(self) -> bool:
        """Whether the other medicines change what the genes give."""
        gene = self.expressed
        return gene is not None and (gene.genetic, gene.genetic_score) != (gene.clinical, gene.clinical_score)

    @property
    def missing(self) -> int:
        """Positions that were not read."""
        return len(self.call.missing_positions) if self.call else 0

    @property
    def not_excluded(self) -> tuple[NotExcluded, ...]:
        """Alleles that the file could not exclude, those that would change the guidance first."""
        found = self.call.not_excluded if self.call else ()
        return tuple(sorted(found, key=lambda n: (not n.changes_guidance, -(n.frequency or 0.0))))


@dataclass(frozen=True, slots=True)
class DrugRow:
    """All that is said of one drug, by every body; `severity` is that of the worst item that holds."""

    drug: DrugId
    severity: str
    applies: tuple[GuidanceItem, ...]
    undecided: tuple[GuidanceItem, ...]
    silent: tuple[NoGuidance, ...]
    conflict: str

    @property
    def place(self) -> str:
        """Where the drug stands: "attention", "open" (a fact is missing), "usual" or "silent" (nothing is said)."""
        if self.applies and self.severity != "information":
            return "attention"
        if self.open_points or (self.undecided and not self.applies):
            return "open"
        return "usual" if self.applies else "silent"

    @property
    def leading(self) -> tuple[GuidanceItem, ...]:
        """What holds and is no mere "no change", the worst first."""
        return tuple(item for item in self.applies if item.severity != "information")

    @property
    def open_points(self) -> tuple[GuidanceItem, ...]:
        """Undecided items that could ask for a change; every undecided one where nothing holds."""
        changing = tuple(item for item in self.undecided if item.severity != "information")
        return changing if changing or self.applies else self.undecided

    def of(self, body: str) -> tuple[GuidanceItem, ...]:
        """What one body says: first what holds, then what is undecided."""
        return tuple(item for item in (*self.applies, *self.undecided) if item.body == body)


def gene_rows(profile: GeneticProfile, guidance: GuidanceDocument | None) -> tuple[GeneRow, ...]:
    """Every gene of the profile and of the guidance, those that a recommendation rests on first."""
    items = guidance.guidance if guidance is not None else ()
    acting = {g for i in items if i.decision == "applies" and i.severity != "information" for g in i.genes}
    expressed = guidance.genes if guidance is not None else {}
    rows = [
        _gene_row(symbol, profile, expressed.get(symbol), symbol in acting) for symbol in {**profile.genes, **expressed}
    ]
    return tuple(sorted(rows, key=lambda row: (_ORDER.index(row.result), row.symbol)))


def _gene_row(
    symbol: GeneSymbol, profile: GeneticProfile, expressed: ExpressedPhenotype | None, acting: bool
) -> GeneRow:
    call = profile.genes.get(symbol)
    gene = load_gene(symbol) if symbol in (*callable_genes(), *outside_genes()) else None
    positions = len(gene.positions) if gene else 0
    has_phenotypes = bool(gene and gene.phenotypes)
    state = _state(call, positions, profile)
    shown = expressed.clinical if expressed is not None else call.phenotype if call is not None else None
    result = _result(state, shown, acting, has_phenotypes)
    return GeneRow(symbol, call, expressed, state, result, positions, has_phenotypes)


def _state(call: GeneCall | None, positions: int, profile: GeneticProfile) -> str:
    """How well the gene was read: "not tested" where nothing of it was, "not called" where what was read is unclear."""
    if call is None:
        return "not tested"
    if call.called:
        return call.evidence_state
    tried = any(profile.evidence[key].kind == "derived" for key in call.because if key in profile.evidence)
    return "not called" if tried and len(call.missing_positions) < max(positions, 1) else "not tested"


def _result(state: str, phenotype: str | None, acting: bool, has_phenotypes: bool) -> str:
    if state in ("not called", "not tested"):
        return state
    if acting:
        return "matters"
    if phenotype is None:
        return "uncertain" if has_phenotypes else "differs"
    return "normal" if phenotype.lower().startswith("normal") else "differs"


def drug_rows(document: GuidanceDocument) -> tuple[DrugRow, ...]:
    """Every drug of the document, the most severe first, then by name."""
    names = dict.fromkeys([*(i.drug for i in document.guidance), *(n.drug for n in document.no_guidance)])
    rows = [_drug_row(drug, document) for drug in names]
    return tuple(sorted(rows, key=lambda r: (SEVERITY_ORDER[r.severity], not r.applies, r.drug)))


def _drug_row(drug: DrugId, document: GuidanceDocument) -> DrugRow:
    items = sorted(
        (item for item in document.guidance if item.drug == drug), key=lambda i: (SEVERITY_ORDER[i.severity], i.body)
    )
    applies = tuple(item for item in items if item.decision == "applies")
    return DrugRow(
        drug=drug,
        severity=min((item.severity for item in applies), key=SEVERITY_ORDER.__getitem__, default="information"),
        applies=applies,
        undecided=tuple(item for item in items if item.decision != "applies"),
        silent=tuple(entry for entry in document.no_guidance if entry.drug == drug),
        conflict="; ".join(entry.text for entry in document.conflicts if entry.drug == drug),
    )


def bodies(document: GuidanceDocument) -> tuple[str, ...]:
    """The guideline bodies that say something, in alphabetical order."""
    return tuple(sorted({item.body for item in document.guidance}))


def reasons_for_silence(entries: Iterable[NoGuidance]) -> dict[str, tuple[DrugId, ...]]:
    """Drugs of which nothing can be said, by reason."""
    found: dict[str, list[DrugId]] = {}
    for entry in entries:
        found.setdefault(entry.why, []).append(entry.drug)
    return {why: tuple(drugs) for why, drugs in found.items()}
