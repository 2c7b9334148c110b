"""Genotypes -> every pair of alleles that explains them, best first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from posologist.genome.calls import Calls, Varied
from posologist.genome.names import place
from posologist.genome.targets import DELETED, OTHER
from posologist.knowledge.genes import Gene, Pattern


@dataclass(frozen=True, slots=True)
class Pair:
    """Two alleles that explain the calls, with the probability among all pairs that do; `second` "" for one copy.

    `score` is the number of defined positions of both, the ranking of matchers that hold no frequencies.
    """

    first: str
    second: str
    probability: float
    score: int = 0

    @property
    def diplotype(self) -> str:
        """The pair as written: "*1/*2"; the one allele where there is one copy."""
        return f"{self.first}/{self.second}" if self.second else self.first


@dataclass(frozen=True, slots=True)
class Match:
    """Outcome for one gene. `reason` says why there is no pair; `lowest`: the two that guidance is looked up with."""

    pairs: tuple[Pair, ...]
    phased: bool
    untested: tuple[str, ...]
    reason: str = ""
    findings: tuple[str, ...] = ()
    lowest: tuple[str, ...] | None = None


def match_gene(gene: Gene, calls: Calls) -> Match:
    """Every pair of the gene's alleles that explains the calls.

    A pair explains them if, for every group of positions whose phase is known together, one orientation fits.
    The probability of a pair is the product of its alleles' frequencies (doubled when they differ), over all
    pairs that explain the calls; frequencies as `Gene.weight`. The most probable comes first, unless the gene's
    `preferences` name one of several. Alleles none of whose defining positions was
    read are not tried: they are `untested`. Where men have one copy and every call is of one, single alleles
    are matched.
    """
    calls, findings = documented(gene, calls)
    missing = untested(gene, calls)
    blocks = calls.blocks()
    phased = len(blocks) <= 1
    reason = obstacle(gene, calls)
    if reason:
        return Match((), phased and bool(calls.read), missing, reason, findings)
    pairs = _explaining(gene, calls, blocks)
    if not pairs:
        reason = "no pair of known alleles explains the calls"
        return Match((), phased, missing, reason, (*findings, *_contained(gene, calls)))
    ranked = _ranked(gene, pairs)
    return Match(ranked, phased, missing, findings=(*findings, *_preferred(gene, ranked)))


def obstacle(gene: Gene, calls: Calls) -> str:
    """Why nothing can be matched; empty if something can."""
    if not calls.read:
        return "none of its positions was read"
    strange = [gene.positions[v.place].id for v in calls.varied if {OTHER, DELETED} & {v.first, v.second}]
    if strange:
        return f"no allele has the base found at {', '.join(strange)}"
    lacking = [name for name in gene.required if not calls.complete >> gene.place[name] & 1]
    return f"nothing is called without {', '.join(lacking)}" if lacking else ""


def documented(gene: Gene, calls: Calls) -> tuple[Calls, tuple[str, ...]]:
    """For genes in which an unknown base is read as reference: the calls with it replaced, and that it was."""
    if gene.undocumented != "reference" or not any(OTHER in (v.first, v.second) for v in calls.varied):
        return calls, ()
    kept, findings, reference = list[Varied](), list[str](), calls.reference
    for varied in calls.varied:
        if OTHER not in (varied.first, varied.second):
            kept.append(varied)
            continue
        position = gene.positions[varied.place]
        first, second = (position.ref if s == OTHER else s for s in (varied.first, varied.second))
        findings.append(f"{position.id}: the base found is in no definition; it is read as the reference's")
        if first == second == position.ref or (calls.one_copy and first == position.ref):
            reference |= 1 << varied.place
        else:
            kept.append(varied._replace(first=first, second=second, block=varied.block if first != second else None))
    return replace(calls, reference=reference, varied=tuple(kept)), tuple(findings)


def untested(gene: Gene, calls: Calls) -> tuple[str, ...]:
    """Alleles none of whose defining positions was read."""
    if calls.read == gene.all_places:
        return ()
    tested = {p.allele.reported for p in gene.patterns if p.reference or calls.read & p.stated}
    return tuple(dict.fromkeys(p.allele.reported for p in gene.patterns if p.allele.reported not in tested))


def _explaining(gene: Gene, calls: Calls, blocks: Sequence[int]) -> list[tuple[Pattern, Pattern | None]]:
    plausible = list[tuple[Pattern, int, int]]()
    everything = calls.everything()
    for pattern in gene.patterns:
        if pattern.altered & calls.reference or not (pattern.reference or calls.read & pattern.stated):
            continue
        first, second = _strands(pattern, gene, calls.varied)
        if first | second == everything:
            plausible.append((pattern, first, second))
    if calls.one_copy:
        return [(pattern, None) for pattern, first, _ in plausible if first == everything]
    both = everything & ~sum(blocks)
    return [
        (a, b)
        for n, (a, a1, a2) in enumerate(plausible)
        for b, b1, b2 in plausible[n:]
        if a1 & b2 & both == both and _blocks_fit(a1 & b2, b1 & a2, blocks)
    ]


def _contained(gene: Gene, calls: Calls) -> tuple[str, ...]:
    """What a reader may make of calls that fit no pair: the alleles whose bases were all found."""
    found = {v.place: {v.first, v.second} for v in calls.varied}
    names = dict.fromkeys(
        p.allele.reported
        for p in gene.patterns
        if p.altered and all(n in found and found[n] & bases for n, bases in p.bases.items())
    )
    return (f"{gene.symbol}: the bases of {', '.join(names)} were found, but not as any known pair",) if names else ()


def _strands(pattern: Pattern, gene: Gene, varied: Iterable[Varied]) -> tuple[int, int]:
    """Bits at which the allele fits the first strand, and the second."""
    first = second = 0
    for place_, one, two, _ in varied:
        bases = pattern.bases.get(place_)
        if bases is None:
            bases = gene.reference_bases[place_]
        if one is None or one in bases:
            first |= 1 << place_
        if two is None or two in bases:
            second |= 1 << place_
    return first, second


def _blocks_fit(forward: int, backward: int, blocks: Iterable[int]) -> bool:
    return all(forward & block == block or backward & block == block for block in blocks)


def _ranked(gene: Gene, pairs: Sequence[tuple[Pattern, Pattern | None]]) -> tuple[Pair, ...]:
    weights: dict[tuple[str, str], float] = {}
    scores: dict[tuple[str, str], int] = {}
    for a, b in pairs:
        names = sorted((p.allele.reported for p in (a, b) if p is not None), key=lambda name: place(name, gene))
        key = (names[0], names[1] if len(names) > 1 else "")
        weights[key] = weight(gene, *key)
        scores[key] = max(scores.get(key, 0), sum(_score(gene, p) for p in (a, b) if p is not None))
    total = sum(weights.values())
    ranked = [Pair(*key, probability=round(value / total, 6), score=scores[key]) for key, value in weights.items()]
    picked = {p.pick for p in gene.preferences if set(p.of) <= {pair.diplotype for pair in ranked}}
    return tuple(
        sorted(
            ranked,
            key=lambda p: (
                p.diplotype not in picked,
                -p.probability,
                -p.score,
                place(p.first, gene),
                place(p.second, gene),
            ),
        )
    )


def _preferred(gene: Gene, ranked: Sequence[Pair]) -> tuple[str, ...]:
    """Where the published preference puts a diplotype first that the frequencies do not."""
    likeliest = max(ranked, key=lambda pair: pair.probability)
    if likeliest.probability == ranked[0].probability:
        return ()
    text = (
        f"{ranked[0].diplotype} is put first by the published preference; by frequency {likeliest.diplotype} would be"
    )
    return (f"{gene.symbol}: {text}",)


def weight(gene: Gene, first: str, second: str) -> float:
    """How common a pair is in the population: the product of its alleles' weights, doubled when they differ."""
    if not second:
        return gene.weight(first)
    return gene.weight(first) * gene.weight(second) * (1.0 if first == second else 2.0)


def _score(gene: Gene, pattern: Pattern) -> int:
    return len(gene.positions) if pattern.allele.everywhere else len(pattern.bases)
