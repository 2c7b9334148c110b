"""Facts of follow-up: when an effect is full, and which results of a record the words of monitoring rules mean."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import rtoml
from pydantic import Field, ValidationError

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


class FollowUpFacts(Value):
    """Time courses with their citations, and the keys of laboratory.toml that a word means."""

    courses: Many[TimeCourse] = ()
    words: dict[str, Many[str]] = {}
    citations: Many[Citation] = ()

    def course(self, indication: str, measure: str) -> TimeCourse | None:
        """The time course of a measure; None where none is published on file."""
        return next((c for c in self.courses if (c.indication, c.measure) == (indication, measure)), None)

    def cited(self, ledger: Ledger, course: TimeCourse) -> EvidenceKey:
        """Leaf of evidence of a time course."""
        citation = next(c for c in self.citations if c.key == course.source)
        named = f"{course.source}: {citation.title} ({citation.where})"
        return ledger.add("knowledge", course.text, source=named, status=course.status)


@lru_cache(maxsize=4)
def follow_up_facts(folder: Path = FOLLOW_UP_FOLDER) -> FollowUpFacts:
    """The facts of every file of a folder together.

    Raises
    ------
    KnowledgeError
        If a file is not TOML or holds what is not known, or a citation is missing.
    """
    joined: dict[str, Any] = {"courses": [], "words": {}, "citations": []}
    for path in sorted(folder.glob("*.toml")):
        try:
            document = FollowUpFacts.model_validate(rtoml.load(path))
        except (rtoml.TomlParsingError, ValidationError) as error:
            raise KnowledgeError(f"cannot be read: {error}", where=str(path), hint="see the other files") from error
        joined["courses"] += document.courses
        joined["words"] |= document.words
        joined["citations"] += document.citations
    facts = FollowUpFacts.model_validate(joined)
    missing = {c.source for c in facts.courses} - {c.key for c in facts.citations}
    if missing:
        text = f"citation '{min(missing)}' is not defined"
        raise KnowledgeError(text, where=str(folder), hint="add it in [[citations]] of the file")
    return facts
