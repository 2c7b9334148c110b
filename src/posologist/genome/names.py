"""How alleles are written and ordered."""

from __future__ import annotations

import re

from posologist.knowledge.genes import Gene

Place = tuple[int, int, bool, str]


def place(name: str, gene: Gene) -> Place:
    """Order of alleles within a diplotype: the plain reference first, then by the first number in the name.

    Examples
    --------
    >>> from posologist.knowledge.genes import load_gene
    >>> gene = load_gene("CYP2C19")
    >>> sorted(["*38", "*2", "*1"], key=lambda name: place(name, gene))
    ['*1', '*2', '*38']
    """
    if name == gene.reference and not name.startswith("*"):
        return (0, 0, False, "")
    found = re.search(r"\d+", name)
    return (1, int(found[0]) if found else 0, name.startswith("["), name)


def joined(names: list[str], gene: Gene) -> str:
    """Variants of one strand as one name: the reference's, the only one, or "[c.61C>T + c.313G>A]"."""
    if not names:
        return gene.reference
    ordered = sorted(names, key=lambda name: place(name, gene))
    return ordered[0] if len(ordered) == 1 else f"[{' + '.join(ordered)}]"
