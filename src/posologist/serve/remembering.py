"""What a server remembers so that a record is not taken apart, nor a question answered, twice; never what is stored.

All of it follows from its key alone: what is forgotten comes out again the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.indication import Indication
from posologist.core.patient import Patient
from posologist.knowledge.load import Knowledge
from posologist.recommend.case import Case
from posologist.recommend.opened import case_of
from posologist.records.rxnorm import RxNormMap
from posologist.serve.asked import Person, Question, answered, read_person
from posologist.serve.output import json_bytes

T = TypeVar("T")
_RECORDS, _CASES, _DOCUMENTS = 256, 32, 256
"""How many are held: as read (tens of kB), with what was computed on them (1 to 2 MB), as answered (100 kB)."""


class Remembered(Generic[T]):
    """At most `size` frozen values by their key, the least used one forgotten first; safe among threads."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, Lock()
        self._held: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made if it is not held."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        made = make()
        with self._lock:
            self._held[key] = made
            while len(self._held) > self._size:
                self._held.popitem(last=False)
        return made


class Memory:
    """Records, genomes, opened cases and answers of one knowledge base.

    Parameters
    ----------
    rxnorm
        The site's map of drug codes, if it imported one.
    """

    def __init__(self, knowledge: Knowledge, rxnorm: RxNormMap | None = None) -> None:
        self._knowledge, self._rxnorm = knowledge, rxnorm
        self._patients: Remembered[Patient] = Remembered(_RECORDS)
        self._genomes: Remembered[GeneticProfile] = Remembered(_RECORDS)
        self._cases: Remembered[Case] = Remembered(_CASES)
        self._documents: Remembered[tuple[bytes, Versions]] = Remembered(_DOCUMENTS)

    def patient(self, person: Person, record: bytes) -> Patient:
        """The patient of a record."""
        return self._patients.get(
            person, lambda: read_person(person, record, knowledge=self._knowledge, rxnorm=self._rxnorm)
        )

    def genome(self, digest: str, profile: bytes) -> GeneticProfile:
        """The genes of a phenotype document."""
        return self._genomes.get(digest, lambda: GeneticProfile.model_validate_json(profile))

    def document(
        self, asked: bytes, question: Question, patient: Patient, genome: GeneticProfile | None
    ) -> tuple[bytes, Versions]:
        """The answer's bytes and versions; `asked` is the question as it is stored.

        Questions on the same patient, day and settings share what follows from these.
        """

        def opened(patient: Patient, indication: Indication, **given: Any) -> Case:
            key = (question.person, question.profile, indication.id, question.settings)
            return self._cases.get(key, lambda: case_of(patient, indication, **given))

        def made() -> tuple[bytes, Versions]:
            document = answered(question, patient, genome, knowledge=self._knowledge, opened=opened)
            return json_bytes(document), document.versions

        return self._documents.get(asked, made)
