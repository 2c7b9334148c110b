"""Pair of alleles -> phenotype and activity score, by the gene's own rules."""

from __future__ import annotations

from collections.abc import Iterable

from posologist.core.values import Value
from posologist.knowledge.genes import AlleleFunction, Gene

INDETERMINATE = "Indeterminate"


class Translation(Value):
    """What two alleles make. `phenotype` None: the gene has no rule for it; `at_least`: the score may be higher."""

    phenotype: str | None
    activity_score: float | None = None
    at_least: bool = False


def translate(gene: Gene, first: str, second: str = "") -> Translation:
    """Phenotype of a pair of alleles, or of one where there is one copy.

    An allele without a known function gives "Indeterminate", never "Normal". A gene without rules has no
    phenotype.

    References
    ----------
    The gene's `phenotype.toml`.
    """
    if not gene.phenotypes:
        return Translation(phenotype=None)
    functions = [gene.functions.get(name) for name in (first, second) if name]
    known = [function for function in functions if function is not None]
    if len(known) < len(functions):
        return Translation(phenotype=INDETERMINATE)
    if gene.scored:
        return _scored(gene, known)
    wanted = tuple(sorted(function.function for function in known))
    for rule in gene.pair_rules:
        if tuple(sorted(rule.functions)) == wanted:
            return Translation(phenotype=rule.phenotype)
    return Translation(phenotype=INDETERMINATE)


def _scored(gene: Gene, functions: Iterable[AlleleFunction]) -> Translation:
    score, at_least = 0.0, False
    for function in functions:
        if function.activity is None:
            return Translation(phenotype=INDETERMINATE)
        score += function.activity
        at_least = at_least or function.at_least
    return from_score(gene, score, at_least=at_least)


def from_score(gene: Gene, score: float, *, at_least: bool = False) -> Translation:
    """Phenotype of an activity score.

    With `at_least` the score is a lower bound; the phenotype is then given only if no higher score changes it.
    """
    fitting = [n for n, rule in enumerate(gene.score_rules) if rule.holds(score)]
    if not fitting:
        return Translation(phenotype=INDETERMINATE, activity_score=score, at_least=at_least)
    last = len(gene.score_rules) - 1
    certain = not at_least or fitting[0] == last
    phenotype = gene.score_rules[fitting[0]].phenotype if certain else None
    return Translation(phenotype=phenotype, activity_score=score, at_least=at_least)
