"""Facts of follow-up: when an effect is full, bounds of laboratory values, and what words of monitoring rules mean."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

import rtoml
from pydantic import Field, ValidationError, model_validator

from posologist.core.drug import Fact
from posologist.core.errors import KnowledgeError
from posologist.core.evidence import Citation, Ledger
from posologist.core.values import EvidenceKey, Many, Value

FOLLOW_UP_FOLDER = Path(__file__).parent / "data" / "effects" / "follow-up"


class TimeCourse(Fact):
    """From which day after the start the whole effect on a measure is there, as published."""

    indication: str
    measure: str
    full_from_days: int = Field(gt=0)
    text: str


class LaboratoryBound(Fact):
    """Within what a laboratory value is expected while a drug of `on` is taken; see `core.followup.Bound`."""

    key: str
    on: Many[str]
    indications: Many[str] = ()
    unit: str = ""
    low: float | None = None
    high: float | None = None
    below: float | None = None
    rise_percent: float | None = Field(default=None, gt=0)
    fall_percent: float | None = Field(default=None, gt=0, le=100)
    text: str

    @property
    def sides(self) -> tuple[bool, ...]:
        """Which sides it bounds: from below, from above, a rise, a fall."""
        above = self.high is not None or self.below is not None
        return self.low is not None, above, self.rise_percent is not None, self.fall_percent is not None

    @model_validator(mode="after")
    def _bounds_something(self) -> LaboratoryBound:
        if not any(self.sides):
            raise ValueError(f"the bound of {self.key} names no value")
        if any(self.sides[:2]) and not self.unit:
            raise ValueError(f"the bound of {self.key} has no unit")
        return self


class FollowUpFacts(Value):
    """Time courses and bounds with their citations, and the keys of laboratory.toml that a word means."""

    courses: Many[TimeCourse] = ()
    bounds: Many[LaboratoryBound] = ()
    words: dict[str, Many[str]] = {}
    citations: Many[Citation] = ()

    def course(self, indication: str, measure: str) -> TimeCourse | None:
        """The time course of a measure; None where none is published on file."""
        return next((c for c in self.courses if (c.indication, c.measure) == (indication, measure)), None)

    def bounds_of(self, key: str, *, groups: Collection[str], indication: str) -> tuple[LaboratoryBound, ...]:
        """Bounds of a laboratory value that hold for a plan of these drugs and groups.

        Where a bound that was read names the same side, one that is still to verify is left out.
        """
        held = [
            bound for bound in self.bounds
            if bound.key == key and set(bound.on) & set(groups) and indication in (bound.indications or (indication,))
        ]  # fmt: skip
        read = {bound.sides for bound in held if bound.status != "to verify"}
        return tuple(bound for bound in held if bound.status != "to verify" or bound.sides not in read)

    def cited(self, ledger: Ledger, fact: TimeCourse | LaboratoryBound) -> EvidenceKey:
        """Leaf of evidence of a fact."""
        citation = next(c for c in self.citations if c.key == fact.source)
        where = f" ({citation.where})" if citation.where else ""
        return ledger.add("knowledge", fact.text, source=f"{fact.source}: {citation.title}{where}", status=fact.status)


@lru_cache(maxsize=4)
def follow_up_facts(folder: Path = FOLLOW_UP_FOLDER) -> FollowUpFacts:
    """The facts of every file of a folder together.

    Raises
    ------
    KnowledgeError
        If a file is not TOML or holds what is not known, or a citation is missing.
    """
    joined: dict[str, Any] = {"courses": [], "bounds": [], "words": {}, "citations": []}
    for path in sorted(folder.glob("*.toml")):
        try:
            document = FollowUpFacts.model_validate(rtoml.load(path))
        except (rtoml.TomlParsingError, ValidationError) as error:
            raise KnowledgeError(f"cannot be read: {error}", where=str(path), hint="see the other files") from error
        joined["courses"] += document.courses
        joined["bounds"] += document.bounds
        joined["words"] |= document.words
        joined["citations"] += document.citations
    facts = FollowUpFacts.model_validate(joined)
    missing = {fact.source for fact in (*facts.courses, *facts.bounds)} - {c.key for c in facts.citations}
    if missing:
        text = f"citation '{min(missing)}' is not defined"
        raise KnowledgeError(text, where=str(folder), hint="add it in [[citations]] of the file")
    return facts
