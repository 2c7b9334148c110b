"""Diplotypes of a gene whose copies are counted (CYP2D6): duplications, tandems with hybrids, deletions.

A chromosome is a row of gene copies: `*36x2+*10` has three. Its activity is the sum over its copies. Inside a row
the higher star number comes first, as the nomenclature writes hybrids (`*68+*4`, `*36+*10`, `*13+*2`), equal copies
are counted (`*1+*1` is `*1x2`), and of two chromosomes the lower star number comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from posologist.genome.notation import (
    MOST_OPTIONS,
    Named,
    Spelled,
    alternatives,
    clean,
    spelled,
    split_outside,
    star_order,
    unwrapped,
)
from posologist.genome.translate import INDETERMINATE, Translation, from_score
from posologist.knowledge.genes import Gene

DELETED = "*5"
"""The chromosome without the gene, in the nomenclature of CYP2D6."""
_UNIT = re.compile(
    r"\*\s*(?P<number>\d{1,4})(?P<suffix>(?:\.\d{1,4}X??)?(?:[A-WYZ]{1,2}?)?(?:\.ALDY\w*)?(?::\d+)?)"
    r"\s*(?:x\s*\(?\s*(?P<count>N|[≥>]\s*\d{1,2}|\d{1,2}\s*-\s*\d{1,2}|\d{1,2}\s*\+?)\s*\)?"
    r"|(?P<bare>[≥>]\s*\d{1,2})|\(?(?P<dup>DUP(?:LICATION|LICATED)?)\)?)?",
    re.IGNORECASE,
)
_VARIANT = re.compile(r"(?:rs\d+|\d+\.[ACGT]+>[ACGT]+|\d+\.(?:ins|del)[ACGT]*)$", re.IGNORECASE)
_COPIES_OF_PAIR = re.compile(
    r"^(?P<pair>.*?)(?:\s*,\s*|\s+|(?<=\)))\(?\s*(?:x\s*(?P<count>N|\d{1,2})|(?P<dup>\+?DUP(?:LICATION|LICATED)?))\s*\)?$",
    re.IGNORECASE,
)
_TOTAL = re.compile(
    r"^(?P<pair>.*?)[\s,]*[(\[]?\s*(?:(?:total\s+)?(?:CNV?|copy number|copies|gene copies)\s*[=:]?\s*(?P<after>\d{1,2})"
    r"|(?P<before>\d{1,2})\s*(?:total |gene )?copies)\s*[)\]]?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Count:
    """Copies of one allele in a row, from `low` to `high`; without `high` there may be more."""

    low: int = 1
    high: int | None = 1

    @property
    def label(self) -> str:
        if self.high is None:
            return "xN" if self.low == 2 else f"x≥{self.low}"
        return f"x{self.low}-{self.high}" if self.high > self.low else "" if self.low == 1 else f"x{self.low}"

    def numbers(self) -> tuple[_Count, ...]:
        """Each number that it may be; "xN" is two copies, or three and more."""
        if self.high is None:
            return (_Count(2, 2), _Count(3, None)) if self.low == 2 else (self,)
        return tuple(_Count(n, n) for n in range(self.low, self.high + 1))

    def and_(self, other: _Count) -> _Count:
        """Copies of both."""
        top = None if self.high is None or other.high is None else self.high + other.high
        return _Count(self.low + other.low, top)


_TWO_OR_MORE = _Count(2, None)


@dataclass(frozen=True, slots=True)
class _Chromosome:
    """Alleles with their numbers of copies, in the order of the name. `extra`: a variant that no allele has."""

    copies: tuple[tuple[str, _Count], ...]
    extra: bool = False

    @property
    def name(self) -> str:
        return "+".join(f"{allele}{count.label}" for allele, count in self.copies)

    def counted(self, gene: Gene) -> Iterator[_Chromosome]:
        """The rows that it may be, with a number for each open count; none where the number changes nothing."""
        choices = [
            [(allele, number) for number in (count.numbers() if _activity(gene, allele) else (count,))]
            for allele, count in self.copies
        ]
        for chosen in product(*choices):
            yield _Chromosome(tuple(chosen), self.extra)


def _activity(gene: Gene, allele: str) -> float | None:
    function = gene.functions.get(allele)
    return None if function is None else function.activity


def counts_copies(gene: Gene) -> bool:
    """Whether the gene's alleles come with numbers of copies."""
    return any(re.search(r"x≥?\d", name) for name in gene.functions)


def read_copies(text: str, gene: Gene) -> Spelled:
    """A diplotype with counted copies, in any caller's spelling."""
    notes: list[str] = []
    plain = clean(text, gene.symbol)
    while (inside := unwrapped(plain)) is not None:
        notes.append(f"'{text}' stands in brackets: its caller is not certain of it")
        plain = inside
    pairs: list[tuple[str, _Chromosome, _Chromosome]] = []
    for part in alternatives(plain):
        found = _pairs(part, gene, notes)
        if not found or len(pairs) + len(found) > MOST_OPTIONS:
            return spelled(text, (), ())
        pairs.extend(found)
    notes.extend(
        f"{allele} has no known activity"
        for _, first, second in pairs
        for allele in (*dict(first.copies), *dict(second.copies))
        if _activity(gene, allele) is None
    )
    return spelled(text, (_named(gene, *pair) for pair in pairs), notes)


def _named(gene: Gene, name: str, first: _Chromosome, second: _Chromosome) -> Named:
    results = [(_pair_name(a, b), _sum(gene, (a, b))) for a in first.counted(gene) for b in second.counted(gene)]
    return Named(name, tuple(results))


def _pair_name(first: _Chromosome, second: _Chromosome) -> str:
    return "/".join(sorted((first.name, second.name), key=star_order))


def _sum(gene: Gene, row: tuple[_Chromosome, ...]) -> Translation:
    """Score over all copies. A variant that no allele has leaves the effect open, unless nothing is active anyway."""
    total, at_least = 0.0, False
    for chromosome in row:
        for allele, count in chromosome.copies:
            activity = _activity(gene, allele)
            if activity is None or (chromosome.extra and activity):
                return Translation(phenotype=INDETERMINATE)
            total += activity * count.low
            at_least = at_least or (count.high is None and activity > 0)
    return from_score(gene, total, at_least=at_least)


def _pairs(part: str, gene: Gene, notes: list[str]) -> list[tuple[str, _Chromosome, _Chromosome]]:
    """Every pair of chromosomes that one listed reading stands for; empty where it is not understood."""
    total = _TOTAL.match(part)
    if total:
        return _with_total(total["pair"].strip(" ,"), int(total["after"] or total["before"]), gene, notes)
    of_pair = _COPIES_OF_PAIR.match(part)
    if of_pair and len(split_outside(_bare(of_pair["pair"]), "/")) == 2:
        count = None if of_pair["dup"] or of_pair["count"].upper() == "N" else int(of_pair["count"])
        return _one_duplicated(_bare(of_pair["pair"]), count, gene, notes)
    if "_" in part and "/" not in part:
        return _unassigned(part, gene)
    sides = split_outside(_bare(part), "/")
    if len(sides) != 2:
        return []
    first, second = (_chromosomes(side, gene, notes) for side in sides)
    return [(_pair_name(a, b), a, b) for a in first for b in second]


def _bare(text: str) -> str:
    inside = unwrapped(text.strip())
    return text.strip() if inside is None else inside


def _one_duplicated(
    text: str, count: int | None, gene: Gene, notes: list[str]
) -> list[tuple[str, _Chromosome, _Chromosome]]:
    """`(*1/*4)xN`: one of the two has more copies, and it is not known which."""
    found = _pairs(text, gene, notes)
    counts = (_TWO_OR_MORE,) if count is None else tuple(_Count(n, n) for n in sorted({max(2, count - 1), count}))
    name = f"({found[0][0]})x{'N' if count is None else count}" if found else ""
    several = [
        (name, *pair)
        for _, a, b in found
        for more in counts
        for pair in ((_times(a, more), b), (a, _times(b, more)))
        if pair[0] is not None and pair[1] is not None
    ]
    notes.append(f"which allele of '{text}' has more copies is not known")
    return [(label, a, b) for label, a, b in several if a is not None and b is not None]


def _times(chromosome: _Chromosome, count: _Count) -> _Chromosome | None:
    """The row with that many copies of its one allele; None for a deletion and for a tandem."""
    if len(chromosome.copies) != 1 or chromosome.copies[0][0] == DELETED or chromosome.copies[0][1] != _Count():
        return None
    return _Chromosome(((chromosome.copies[0][0], count),), chromosome.extra)


def _with_total(text: str, total: int, gene: Gene, notes: list[str]) -> list[tuple[str, _Chromosome, _Chromosome]]:
    """A pair with the number of gene copies of both chromosomes together."""
    found: list[tuple[str, _Chromosome, _Chromosome]] = []
    for name, a, b in _pairs(text, gene, notes):
        held = _held(a) + _held(b)
        if held == total:
            found.append((name, a, b))
        elif total == 1 and a == b and _held(a) == 1:
            gone = _Chromosome(((DELETED, _Count()),))
            found.append((_pair_name(a, gone), a, gone))
        elif total > held:
            more = total - held
            for extra in range(more + 1):
                pair = [_more(a, extra), _more(b, more - extra)]
                if pair[0] is not None and pair[1] is not None:
                    found.append((_pair_name(pair[0], pair[1]), pair[0], pair[1]))
    if not found:
        notes.append(f"'{text}' and {total} copies do not fit together")
    return found


def _held(chromosome: _Chromosome) -> int:
    return sum(count.low for allele, count in chromosome.copies if allele != DELETED)


def _more(chromosome: _Chromosome, extra: int) -> _Chromosome | None:
    if extra == 0:
        return chromosome
    return _times(chromosome, _Count(1 + extra, 1 + extra))


def _unassigned(part: str, gene: Gene) -> list[tuple[str, _Chromosome, _Chromosome]]:
    """`*1_*1_*13`: copies that were found and not assigned to chromosomes; every split into two is possible."""
    units = [_unit(text, gene) for text in part.split("_")]
    known = [unit for unit in units if unit is not None]
    if not 2 <= len(units) <= 6 or len(known) < len(units):
        return []
    found: dict[str, tuple[str, _Chromosome, _Chromosome]] = {}
    for pattern in range(1, 2 ** (len(known) - 1)):
        groups = [[u for n, u in enumerate(known) if (pattern >> n & 1) == side] for side in (0, 1)]
        first, second = (_row(group, extra=False) for group in groups)
        name = _pair_name(first, second)
        found.setdefault(name, (name, first, second))
    return list(found.values())


def _chromosomes(side: str, gene: Gene, notes: list[str]) -> list[_Chromosome]:
    """What one side may be: `*2 (*35)` is either of two, `(*68)+*4` may lack the part in brackets."""
    inside = unwrapped(side)
    if inside is not None:
        if side[0] == "(" and "+" not in inside and not re.search(r"x", inside, re.IGNORECASE):
            notes.append(f"'{side}' stands in brackets: its caller is not certain of it")
        return [c for text in split_outside(inside, r"\s*[;,]\s*|\s+or\s+") for c in _chromosomes(text, gene, notes)]
    either = re.fullmatch(r"([^()+]+?)\s*\((\*[^()]*)\)", side)
    if either:
        return [c for text in (either[1], either[2]) for c in _chromosomes(text, gene, notes)]
    parts = split_outside(side, r"\s*\+\s*|\s*-\s*(?=[*(])")
    rows: list[list[str]] = [[]]
    for part in parts:
        optional = unwrapped(part)
        with_it = [[*row, part if optional is None else optional] for row in rows]
        rows = with_it if optional is None or len(parts) == 1 else [*with_it, *rows]
    found = [_chromosome(row, gene, notes) for row in rows if row]
    return [] if None in found else [chromosome for chromosome in found if chromosome is not None]


def _chromosome(texts: list[str], gene: Gene, notes: list[str]) -> _Chromosome | None:
    variants = [text for text in texts if _VARIANT.match(text)]
    units = [_unit(text, gene) for text in texts if text not in variants]
    known = [unit for unit in units if unit is not None]
    if not known or len(known) < len(units):
        return None
    notes.extend(f"{variant} is none of the allele's own variants; its effect is not known" for variant in variants)
    return _row(known, extra=bool(variants))


def _row(units: Iterable[tuple[str, _Count]], *, extra: bool) -> _Chromosome:
    """Equal copies counted together, higher star number first."""
    counts: dict[str, _Count] = {}
    for allele, count in units:
        have = counts.get(allele)
        counts[allele] = count if have is None else have.and_(count)
    ordered = sorted(counts.items(), key=lambda item: (-star_order(item[0])[0], item[0]))
    return _Chromosome(tuple(ordered), extra)


def _unit(text: str, gene: Gene) -> tuple[str, _Count] | None:
    """Allele and number of copies; None if the text is no allele."""
    found = _UNIT.fullmatch(text.strip())
    if not found:
        return None
    full, main = f"*{int(found['number'])}{found['suffix'].upper()}", f"*{int(found['number'])}"
    allele = full if full in gene.functions else main
    written = (found["count"] or found["bare"] or "").replace(" ", "").upper()
    count = _TWO_OR_MORE if found["dup"] or written == "N" else _count(written)
    return None if count is None else (allele, count)


def _count(written: str) -> _Count | None:
    """The number of copies as written: `2`, `2-3`, `≥3`, `>2`, `3+`; None if it is no number of copies."""
    low, _, high = written.partition("-")
    number = int(low.strip("≥>+") or 1) + written.startswith(">")
    if written.startswith(("≥", ">")) or written.endswith("+"):
        return _Count(max(2, number), None)
    top = int(high or number)
    return _Count(number, top) if 1 <= number <= top else None
