"""A sample's genes in the layout of PharmCAT's calls-only TSV, for pipelines that read that table.

Same columns, same order, same tokens: `no call`, `yes` / `no`, " OR " between diplotypes that cannot be told apart,
" / " between what belongs to them, " AND " between variants of DPYD or RYR1 that are not phased. The first line
begins with "PharmCAT", by which readers know that the column names stand in the second. Unlike there, no gene is
left out: one that was not called has its row, with `no call`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from posologist.core.genotype import DiplotypeCandidate, GeneCall, GeneticProfile
from posologist.core.values import GeneSymbol
from posologist.knowledge.genes import Allele, Gene, callable_genes, load_gene, outside_genes

COLUMNS = (
    "Gene", "Source Diplotype", "Phenotype", "Activity Score",
    "Haplotype 1", "Haplotype 1 Function", "Haplotype 1 Activity Value",
    "Haplotype 2", "Haplotype 2 Function", "Haplotype 2 Activity Value",
    "Outside Call", "Match Score", "Missing positions",
    "Recommendation Lookup Diplotype", "Recommendation Lookup Phenotype", "Recommendation Lookup Activity Score",
)  # fmt: skip
NO_CALL = "no call"
_NOTHING = ("", "", "")


def profile_tsv(document: GeneticProfile) -> str:
    """One line a gene, in the columns of PharmCAT's calls-only TSV.

    `Source Diplotype` holds the document's diplotype with those that are as probable; every candidate, the most
    probable first, where they leave no phenotype to state. The `Recommendation Lookup` columns hold what guidance is
    looked up with: for DPYD and RYR1 the two alleles of lowest function; nothing where nothing is certain.
    `Missing positions` is `yes` also where positions without a record were taken as reference.
    """
    first = f"PharmCAT calls-only layout, written by posologist {document.versions.posologist}"
    rows = [_row(symbol, call) for symbol, call in document.genes.items()]
    return "\n".join([first, "\t".join(COLUMNS), *("\t".join(map(_cell, row)) for row in rows)])


def _row(symbol: GeneSymbol, call: GeneCall) -> tuple[str, ...]:
    missing = "yes" if call.missing_positions or not call.called or call.evidence_state != "called" else "no"
    outside = "yes" if call.source == "outside call" else "no"
    if not call.called:
        return (symbol, NO_CALL, "", "", *_NOTHING, *_NOTHING, outside, "", missing, *_NOTHING)
    gene = load_gene(symbol) if symbol in (*callable_genes(), *outside_genes()) else None
    certain = call.phenotype is not None or gene is None or not gene.phenotypes
    shown = _shown(call, certain)
    listing = _listing(call, gene)
    sides = _sides(shown[0].diplotype, gene) if len(shown) == 1 and call.diplotype and not listing else ()
    return (
        symbol,
        listing or (" OR ".join(candidate.diplotype for candidate in shown) if call.diplotype else ""),
        "" if listing else _phenotypes(call, shown),
        "" if listing else _scores(call, shown),
        *_haplotype(sides[:1], gene),
        *_haplotype(sides[1:], gene),
        outside,
        "" if listing else " / ".join(str(_match_score(call, candidate, gene)) for candidate in shown),
        missing,
        *(_lookup(call, shown) if certain else _NOTHING),
    )


def _shown(call: GeneCall, certain: bool) -> tuple[DiplotypeCandidate, ...]:
    """The candidates that stand in the row, best first."""
    if not certain:
        return call.candidates
    return tuple(c for c in call.candidates if c.probability == call.candidates[0].probability)


def _listing(call: GeneCall, gene: Gene | None) -> str:
    """The variants found, joined by " AND ", of a gene that is read by its lowest function and is not phased.

    Every candidate holds the same variants; one that both strands have is written twice, with a slash.
    """
    if not call.lowest_function or call.phased or gene is None:
        return ""
    found = Counter(part for side in _sides(call.candidates[0].diplotype, gene) for part in _parts(side))
    variants = {name: count for name, count in found.items() if name != gene.reference} or {gene.reference: 2}
    order = {allele.reported: place for place, allele in enumerate(gene.alleles)}
    names = sorted(variants, key=lambda name: order.get(name, len(order)))
    return " AND ".join(f"{name}/{name}" if variants[name] > 1 else name for name in names)


def _parts(side: str) -> tuple[str, ...]:
    """The alleles of one strand: `[a + b]` is two."""
    return tuple(side.removeprefix("[").removesuffix("]").split(" + ")) if side.startswith("[") else (side,)


def _phenotypes(call: GeneCall, shown: Sequence[DiplotypeCandidate]) -> str:
    """What each diplotype makes; empty for a single one whose phenotype the document does not state."""
    if len(shown) == 1:
        return call.phenotype or ""
    return " / ".join(c.phenotype or " " for c in shown) if any(c.phenotype for c in shown) else ""


def _scores(call: GeneCall, shown: Sequence[DiplotypeCandidate]) -> str:
    if len(shown) == 1:
        return _score(call.activity_score)
    known = any(c.activity_score is not None for c in shown)
    return " / ".join(_score(c.activity_score) or " " for c in shown) if known else ""


def _score(value: float | None) -> str:
    return "" if value is None else str(float(value))


def _sides(diplotype: str, gene: Gene | None) -> tuple[str, ...]:
    """The two alleles of a diplotype, the one of a haploid call; none where the text is not to be split in two."""
    parts = diplotype.split("/")
    ways = [("/".join(parts[:n]), "/".join(parts[n:])) for n in range(1, len(parts))]
    known = [way for way in ways if gene is not None and gene.allele_names.issuperset(way)]
    if known or len(ways) == 1:
        return (known or ways)[0]
    return () if ways else (diplotype,)


def _haplotype(allele: Sequence[str], gene: Gene | None) -> tuple[str, str, str]:
    if not allele:
        return _NOTHING
    function = gene.functions.get(allele[0]) if gene is not None else None
    return (allele[0], function.function, _score(function.activity)) if function else (allele[0], "", "")


def _match_score(call: GeneCall, candidate: DiplotypeCandidate, gene: Gene | None) -> int:
    """Positions read that define the two alleles; 0 for a call made elsewhere.

    A position at which the allele may also have the reference's base does not count: which of the two was read is
    not in the document.
    """
    if gene is None or call.source != "vcf":
        return 0
    names = [name for side in _sides(candidate.diplotype, gene) for name in _parts(side)]
    return sum(max((_defined(a, call, gene) for a in gene.alleles if a.reported == name), default=0) for name in names)


def _defined(allele: Allele, call: GeneCall, gene: Gene) -> int:
    decisive = [name for name, code in allele.defines.items() if len(code) > 1 or code in "ACGT"]
    return len(set(gene.by_id if allele.everywhere else decisive) - set(call.missing_positions))


def _lookup(call: GeneCall, shown: Sequence[DiplotypeCandidate]) -> tuple[str, str, str]:
    """Diplotype, phenotype and score that guidance is looked up with; a score only where all diplotypes share it."""
    pair = "/".join(call.lowest_function or ())
    alone = call.diplotype or "" if len(shown) == 1 else ""
    shared = len({candidate.activity_score for candidate in shown}) == 1
    return (pair or alone, call.phenotype or "", _score(call.activity_score) if shared or pair else "")


def _cell(text: str) -> str:
    """A cell cannot end its row or its column."""
    return text.replace("\t", " ").replace("\r", " ").replace("\n", " ")
