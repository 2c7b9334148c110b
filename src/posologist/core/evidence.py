"""Evidence: why a number or a statement holds, down to its leaves.

Leaves are patient facts, cited knowledge, settings and model manifests. Everything else rests on further
evidence. Keys are derived from the content, so the same reason has the same key in every run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

from pydantic import Field

from posologist.core.values import CitationKey, EvidenceKey, Many, Status, Value

EvidenceKind = Literal["patient", "knowledge", "setting", "model", "derived", "assumption"]
LEAF_KINDS = frozenset({"patient", "knowledge", "setting", "model"})


class Citation(Value):
    """Where a fact was read."""

    key: CitationKey
    title: str
    where: str = ""
    kind: str = "paper"
    version: str = ""
    licence: str = ""
    retrieved: str = ""


class Evidence(Value):
    """One reason. A leaf has an empty `because` and a `source`; others rest on further evidence."""

    kind: EvidenceKind
    text: str = Field(min_length=1)
    source: str = ""
    version: str = ""
    status: Status | None = None
    because: Many[EvidenceKey] = ()


@lru_cache(maxsize=16384)
def _entry(
    kind: EvidenceKind, text: str, source: str, version: str, status: Status | None, because: tuple[EvidenceKey, ...]
) -> tuple[EvidenceKey, Evidence]:
    """The entry of this content and its key; what is cited for one patient is cited for the next."""
    digest = hashlib.sha256(repr((kind, text, source, version, status, because)).encode()).hexdigest()[:12]
    entry = Evidence(kind=kind, text=text, source=source, version=version, status=status, because=because)
    return EvidenceKey(f"{kind}:{digest}"), entry


class Ledger:
    """Collects the evidence of one run; `add` returns the key to put into `because`."""

    def __init__(self) -> None:
        self._entries: dict[EvidenceKey, Evidence] = {}

    def add(
        self,
        kind: EvidenceKind,
        text: str,
        *,
        source: str = "",
        version: str = "",
        status: Status | None = None,
        because: Iterable[EvidenceKey] = (),
    ) -> EvidenceKey:
        """Key of this evidence, the same for the same content."""
        key, entry = _entry(kind, text, source, version, status, tuple(dict.fromkeys(because)))
        self._entries.setdefault(key, entry)
        return key

    def merge(self, entries: Mapping[EvidenceKey, Evidence]) -> None:
        """Take over the evidence of another document."""
        self._entries.update(entries)

    def take(self, other: Ledger) -> None:
        """Take over the evidence of another ledger."""
        self._entries.update(other._entries)

    def __getitem__(self, key: EvidenceKey) -> Evidence:
        return self._entries[key]

    def entries(self) -> dict[str, Evidence]:
        """All evidence, by key, in the order of the keys."""
        return {str(key): self._entries[key] for key in sorted(self._entries)}

    def reachable(self, keys: Iterable[EvidenceKey]) -> dict[str, Evidence]:
        """The evidence that `keys` rest on, and no other."""
        found: dict[str, Evidence] = {}
        waiting = list(keys)
        while waiting:
            key = waiting.pop()
            if key not in found:
                found[key] = self._entries[key]
                waiting.extend(self._entries[key].because)
        return dict(sorted(found.items()))
