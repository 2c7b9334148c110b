"""Genes whose variants are called one by one (DPYD, RYR1): what each strand carries, and the two worst for guidance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from posologist.genome.call import Match, Pair, documented, obstacle, untested
from posologist.genome.calls import Calls, Varied
from posologist.genome.names import joined, place
from posologist.knowledge.genes import Gene, Proxy

_MOST_BLOCKS = 6
"""So many groups of unknown relative phase are spelt out (2 ** 5 arrangements); of more, the worst alone is shown."""


class _Variant(NamedTuple):
    """A variant on one strand (or on both) of one phase group; `strand` 0 or 1, None where it is on both."""

    name: str
    strand: int | None
    group: object


def match_variants(gene: Gene, calls: Calls) -> Match:
    """What the two copies of a gene carry, where every variant is an allele of its own.

    `lowest` holds the variant with the worst function of each copy when the phase is known. When it is not, the
    two worst of all that were found are taken to lie on different copies: the cautious reading.
    """
    missing = untested(gene, calls)
    calls, findings = documented(gene, calls)
    reason = obstacle(gene, calls)
    if reason:
        return Match((), False, missing, reason, findings)
    found, notes = _variants(gene, calls)
    notes = (*findings, *notes)
    groups = list(dict.fromkeys(variant.group for variant in found if variant.strand is not None))
    if len(groups) > _MOST_BLOCKS:
        text = f"{len(groups)} variants of unknown phase: of their arrangements only the most cautious is shown"
        first, second = lowest = _two_worst(gene, found)
        return Match((Pair(first, second, 1.0),), False, missing, findings=(*notes, text), lowest=lowest)
    lowest = _two_worst(gene, found) if len(groups) > 1 else _worst_of_each(gene, found)
    pairs = _arrangements(gene, found, groups)
    return Match(pairs, len(groups) <= 1, missing, findings=notes, lowest=lowest)


def _variants(gene: Gene, calls: Calls) -> tuple[list[_Variant], tuple[str, ...]]:
    names = dict(gene.variant_names)
    by_place = {varied.place: varied for varied in calls.varied}
    notes = list[str]()
    pairs: dict[int, tuple[tuple[bool, bool], str]] = {}
    for proxy in gene.proxies:
        notes += _apply(gene, proxy, calls, by_place, pairs)
    found = list[_Variant]()
    for at, varied in sorted(by_place.items()):
        ref = gene.positions[at].ref
        carried, together = pairs.get(at, ((False, False), ""))
        strands = [(side, base) for side, base in enumerate((varied.first, varied.second)) if base not in (None, ref)]
        named = [(side, together if carried[side] else names[at, str(base)]) for side, base in strands]
        group = varied.block if varied.block is not None else at
        if len(named) == 2 and named[0][1] == named[1][1]:
            found.append(_Variant(named[0][1], None, None))
        else:
            both = varied.first == varied.second
            found += [_Variant(name, side, ("both", at) if both else group) for side, name in named]
    return found, tuple(notes)


def _apply(
    gene: Gene,
    proxy: Proxy,
    calls: Calls,
    by_place: dict[int, Varied],
    pairs: dict[int, tuple[tuple[bool, bool], str]],
) -> list[str]:
    """Lets the stand-in speak where its position was not read; where it was, says on which strands both are found.

    Returns what is odd: that the stand-in was used, or that the two do not agree.
    """
    own, other = gene.place[proxy.stands_for], gene.place[proxy.position]
    stand_in = by_place.pop(other, None)
    flags = _altered(gene, stand_in)
    together = next((p.allele.reported for p in gene.patterns if {own, other} == p.bases.keys()), "")
    if not calls.read >> own & 1:
        if stand_in is not None:
            altered = gene.positions[own].alts[0]
            strands = [altered if flag else gene.positions[own].ref for flag in flags]
            by_place[own] = Varied(own, strands[0], strands[1], stand_in.block)
            pairs[own] = (flags, together)
        return [f"{gene.symbol}: {proxy.text}"] if calls.read >> other & 1 else []
    wanted = _altered(gene, by_place.get(own))
    matched = _matched(wanted, flags, by_place.get(own), stand_in)
    pairs[own] = (matched, together)
    if sum(wanted) == sum(matched) == sum(flags) or not calls.read >> other & 1:
        return []
    text = f"{proxy.position} and {proxy.stands_for}, inherited together as a rule, do not agree; the latter is used"
    return [f"{gene.symbol}: {text}"]


def _altered(gene: Gene, varied: Varied | None) -> tuple[bool, bool]:
    """On which strands the position is not the reference's."""
    if varied is None:
        return (False, False)
    ref = gene.positions[varied.place].ref
    return (varied.first not in (None, ref), varied.second not in (None, ref))


def _matched(
    wanted: tuple[bool, bool], flags: tuple[bool, bool], own: Varied | None, stand_in: Varied | None
) -> tuple[bool, bool]:
    """On which strands of the position its stand-in is found too; unphased ones count as together."""
    if own is not None and stand_in is not None and own.block is not None and own.block == stand_in.block:
        return (wanted[0] and flags[0], wanted[1] and flags[1])
    left = sum(flags)
    first = wanted[0] and left > 0
    second = wanted[1] and left - first > 0
    return (first, second)


def _arrangements(gene: Gene, found: Sequence[_Variant], groups: Sequence[object]) -> tuple[Pair, ...]:
    """Every way in which the groups of unknown relative phase may lie, with its probability."""
    weights: dict[tuple[str, str], float] = {}
    for turns in product((0, 1), repeat=max(0, len(groups) - 1)):
        turned = dict(zip(groups[1:], turns, strict=True))
        sides: tuple[list[str], list[str]] = ([], [])
        for variant in found:
            if variant.strand is None:
                sides[0].append(variant.name)
                sides[1].append(variant.name)
            else:
                sides[(variant.strand + turned.get(variant.group, 0)) % 2].append(variant.name)
        names = sorted((joined(side, gene) for side in sides), key=lambda name: place(name, gene))
        weights[names[0], names[1]] = _chance(gene, sides[0]) * _chance(gene, sides[1])
    total = sum(weights.values())
    pairs = [Pair(*key, probability=round(value / total, 6)) for key, value in weights.items()]
    return tuple(sorted(pairs, key=lambda p: (-p.probability, place(p.first, gene), place(p.second, gene))))


def _chance(gene: Gene, names: Sequence[str]) -> float:
    """Odds of copies that carry just these variants against plain ones, if they were inherited independently."""
    chance = 1.0
    for name in names:
        weight = gene.weight(name)
        chance *= weight / (1.0 - weight)
    return chance


def _badness(gene: Gene, name: str) -> tuple[int, float]:
    """Sorts the worst first, by the gene's order of functions; one that is not listed stands just before normal."""
    function = gene.functions.get(name)
    if function is None or function.function not in gene.worst_first:
        return (len(gene.worst_first) - 2, 0.0)
    return (gene.worst_first.index(function.function), function.activity or 0.0)


def worst_of(gene: Gene, strand: str) -> str:
    """Of "[a + b]" the variant with the worst function; a single name is itself."""
    if not strand.startswith("["):
        return strand
    return min(strand[1:-1].split(" + "), key=lambda name: _badness(gene, name))


def _ordered(gene: Gene, first: str, second: str) -> tuple[str, str]:
    one, two = sorted((first, second), key=lambda name: place(name, gene))
    return one, two


def _two_worst(gene: Gene, found: Sequence[_Variant]) -> tuple[str, str]:
    names = [v.name for v in found for _ in range(2 if v.strand is None else 1)] + [gene.reference] * 2
    names.sort(key=lambda name: _badness(gene, name))
    return _ordered(gene, names[0], names[1])


def _worst_of_each(gene: Gene, found: Sequence[_Variant]) -> tuple[str, str]:
    sides = [[v.name for v in found if v.strand in (None, side)] or [gene.reference] for side in (0, 1)]
    first, second = (min(side, key=lambda name: _badness(gene, name)) for side in sides)
    return _ordered(gene, first, second)
