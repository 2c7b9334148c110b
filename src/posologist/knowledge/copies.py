"""Chromosomes whose number of gene copies small variants do not show, and how common they are.

`copies.toml` in the gene's folder; only CYP2D6 has one.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import rtoml
from pydantic import Field, ValidationError

from posologist.core.errors import KnowledgeError
from posologist.core.evidence import Citation
from posologist.core.values import CitationKey, Many, Status, Value
from posologist.knowledge.genes import GENES_FOLDER, FileHeader


class Chromosome(Value):
    """One arrangement of gene copies. `seen_as`: the allele that small variants show; empty for none.

    `percent`: share of chromosomes with it in each population where it was counted.
    """

    name: str
    seen_as: str
    percent: dict[str, float] = Field(min_length=1)
    source: CitationKey
    status: Status

    @property
    def frequency(self) -> float:
        """Share of chromosomes, averaged over the populations where it was counted."""
        return sum(self.percent.values()) / len(self.percent) / 100.0


class CopyFacts(Value):
    """All that is held on the copies of one gene.

    `unlisted_duplication`, `unlisted_multiplication`: probability that a chromosome has two, or three and more copies
    of an allele for which that is not listed. `plausible`: a phenotype that is less probable is not part of the range.
    """

    deletion: str
    unlisted_duplication: float = Field(gt=0, lt=0.5)
    unlisted_multiplication: float = Field(gt=0, lt=0.5)
    plausible: float = Field(gt=0, lt=1)
    chromosomes: Many[Chromosome]
    about: FileHeader
    citations: Many[Citation]


def load_copies(symbol: str, folder: Path | None = None) -> CopyFacts:
    """The facts on the copies of one gene, read once.

    Raises
    ------
    KnowledgeError
        If there are none, or the file contradicts itself.
    """
    return _load(folder or GENES_FOLDER, symbol)


@lru_cache(maxsize=16)
def _load(folder: Path, symbol: str) -> CopyFacts:
    path = folder / symbol / "copies.toml"
    try:
        facts = CopyFacts.model_validate(rtoml.load(path))
    except (OSError, rtoml.TomlParsingError) as error:
        raise KnowledgeError(f"no facts on the copies of {symbol}: {error}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise KnowledgeError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=str(path)) from error
    known = {citation.key for citation in facts.citations}
    for chromosome in facts.chromosomes:
        if chromosome.source not in known:
            raise KnowledgeError(f"citation {chromosome.source} is not defined", where=str(path))
        if not all(0 <= percent <= 100 for percent in chromosome.percent.values()):
            raise KnowledgeError(f"{chromosome.name} is in less than 0 or more than 100 %", where=str(path))
    if not any(chromosome.name == facts.deletion and not chromosome.seen_as for chromosome in facts.chromosomes):
        raise KnowledgeError(f"the deletion {facts.deletion} is not listed", where=str(path))
    return facts
