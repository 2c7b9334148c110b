"""What a gene with counted copies can be when only its small variants were read.

Small variants show which alleles are there, not how often: `*1/*4` may be `*1x2/*4`, `*1/*68+*4`, and a sample that
is homozygous everywhere, `*1/*1`, may be `*1/*5`. Every such state is listed with its probability; the phenotype is a
range over the plausible ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from posologist.genome.notation import Option
from posologist.genome.tandem import read_copies
from posologist.knowledge.copies import CopyFacts
from posologist.knowledge.genes import Gene


@dataclass(frozen=True, slots=True)
class CopyRange:
    """Every state of the copies, best first, and what they make.

    `phenotypes` holds each plausible one with its probability, best first; `low` and `high` are the activity scores
    of plausible states, None where none has a score; with `at_least` the upper end is open.
    """

    options: tuple[Option, ...]
    phenotypes: tuple[tuple[str | None, float], ...]
    low: float | None
    high: float | None
    at_least: bool
    findings: tuple[str, ...]

    @property
    def phenotype(self) -> str | None:
        """The phenotype if every plausible state has it."""
        return self.phenotypes[0][0] if len(self.phenotypes) == 1 else None


def copy_range(
    gene: Gene, pairs: Sequence[tuple[str, str, float]], facts: CopyFacts, *, heterozygous: bool
) -> CopyRange:
    """The states that the copies may have, given the pairs of alleles that small variants allow.

    A chromosome that shows an allele is one of those that are listed as showing it, by their shares among these;
    more copies that are not listed have the probability that the facts hold for these. Where no
    position is heterozygous, one chromosome may lack the gene: 2 f(deletion) against f(allele), Hardy-Weinberg.

    Parameters
    ----------
    pairs
        Two allele names and the probability of the pair; the probabilities sum to one.
    heterozygous
        Whether any position of the gene was read as heterozygous: then both chromosomes have the gene.

    References
    ----------
    The gene's `copies.toml`.
    """
    shares: dict[str, float] = {}
    for first, second, probability in pairs:
        for name, share in _states(first, second, facts, heterozygous=heterozygous):
            shares[name] = shares.get(name, 0.0) + probability * share
    options: dict[str, Option] = {}
    for name, share in shares.items():
        for option in read_copies(name, gene).options:
            before = options[option.diplotype].probability if option.diplotype in options else 0.0
            options[option.diplotype] = option.model_copy(update={"probability": before + share * option.probability})
    return _summary(gene, tuple(sorted(options.values(), key=lambda o: (-o.probability, o.diplotype))), facts)


def _states(first: str, second: str, facts: CopyFacts, *, heterozygous: bool) -> Iterable[tuple[str, float]]:
    """Diplotypes with copies that show this pair, with probabilities that sum to one."""
    gone = 0.0
    if first == second and not heterozygous:
        missing = {c.name: c.frequency for c in facts.chromosomes if not c.seen_as}
        ratio = 2 * sum(missing.values()) / _seen(first, facts)
        gone = ratio / (1 + ratio)
        for absent, frequency in missing.items():
            for name, share in _chromosomes(first, facts):
                yield f"{name}/{absent}", gone * frequency / sum(missing.values()) * share
    for one, of_one in _chromosomes(first, facts):
        for other, of_other in _chromosomes(second, facts):
            yield f"{one}/{other}", (1 - gone) * of_one * of_other


def _chromosomes(allele: str, facts: CopyFacts) -> list[tuple[str, float]]:
    """Chromosomes that show an allele, by their shares among those that do."""
    listed = [(c.name, c.frequency) for c in facts.chromosomes if c.seen_as == allele]
    total = sum(frequency for _, frequency in listed)
    shares = [(name, frequency / total) for name, frequency in listed if frequency > 0] if total else [(allele, 1.0)]
    names = {name for name, _ in shares}
    more = {f"{allele}x2": facts.unlisted_duplication, f"{allele}x≥3": facts.unlisted_multiplication}
    added = {name: share for name, share in more.items() if name not in names}
    rest = 1.0 - sum(added.values())
    return [*added.items(), *((name, share * rest) for name, share in shares)]


def _seen(allele: str, facts: CopyFacts) -> float:
    """Share of chromosomes that show an allele; of one that is not listed, half the least that is."""
    found = sum(c.frequency for c in facts.chromosomes if c.seen_as == allele)
    return found or min(c.frequency for c in facts.chromosomes if c.frequency > 0) / 2


def _summary(gene: Gene, options: tuple[Option, ...], facts: CopyFacts) -> CopyRange:
    shares: dict[str | None, float] = {}
    for option in options:
        shares[option.phenotype] = shares.get(option.phenotype, 0.0) + option.probability
    plausible = {phenotype: share for phenotype, share in shares.items() if share >= facts.plausible}
    phenotypes = tuple(sorted(plausible.items(), key=lambda item: (-item[1], str(item[0]))))
    scored = [o for o in options if o.phenotype in plausible and o.activity_score is not None]
    scores = [o.activity_score for o in scored if o.activity_score is not None]
    listing = ", ".join(f"{phenotype or 'open'} {share:.3f}" for phenotype, share in phenotypes)
    finding = f"{gene.symbol}: the number of copies was not read; over what it can be the phenotypes are {listing}"
    return CopyRange(
        options=options,
        phenotypes=phenotypes,
        low=min(scores, default=None),
        high=max(scores, default=None),
        at_least=any(o.at_least for o in scored),
        findings=(finding,) if options else (f"{gene.symbol}: no pair of alleles was given",),
    )
