"""Work on patients: records, genomes, measured values, consent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import bindparam, exists, select, tuple_

from posologist.serve.refusals import NotFoundError, StoreError
from posologist.serve.rows import ConsentRow, GenomeRow, MeasuredKind, MeasuredRow, PatientBrief, PatientRow
from posologist.serve.tables import consents, contents, genomes, measured, patients
from posologist.serve.transaction import Deed, Transaction, covered, is_storable, page_size, plain, row_of

_LONGEST_ID = 128


_PATIENT = (
    select(patients, contents.c.body.label("bundle"))
    .join(contents)
    .where(patients.c.id == bindparam("patient"), covered(patients.c.id))
)
_GENOME = (
    select(genomes, contents.c.body.label("profile"))
    .join(contents)
    .where(genomes.c.patient_id == bindparam("patient"), covered(genomes.c.patient_id))
)
_PLACE = (measured.c.at, measured.c.what, measured.c.number)
_MEASURED = (
    select(measured)
    .where(measured.c.patient_id == bindparam("patient"), covered(measured.c.patient_id))
    .order_by(*_PLACE)
)


class Patients(Transaction):
    """What is held of patients. Every read leaves an access row and obeys the patient's consent."""

    def put_patient(
        self, patient_id: str, *, name: str, sex: str, birth_date: date | None, bundle: bytes, document: str
    ) -> PatientRow:
        """Hold a patient's record; a later record takes the place of the earlier one, which answers keep naming.

        Raises
        ------
        StoreError
            If the id is empty, too long, or holds a sign that cannot be shown.
        ConsentRefusedError
            If the patient is known and the consent does not cover the actor's purpose.
        """
        if not 0 < len(patient_id) <= _LONGEST_ID or not is_storable(patient_id) or not patient_id.isprintable():
            raise StoreError("the patient's id cannot be held", where="Patient.id", hint="give 1 to 128 plain signs")
        digest = hashlib.sha256(bundle).hexdigest()
        connection = self.connection
        known = connection.execute(select(patients.c.created_at).where(patients.c.id == patient_id)).scalar()
        if known is not None:
            self.check_writable(patient_id)
        self.keep_content(digest, bundle)
        row = PatientRow(
            id=patient_id, name=name, sex=sex, birth_date=birth_date, document=document, digest=digest,
            created_at=known or self.now, bundle=bundle,
        )  # fmt: skip
        values = {field: value for field, value in vars(row).items() if field != "bundle"}
        self._put(known is not None, patients, patients.c.id == patient_id, values)
        self.record(
            "C" if known is None else "U", "patient", patient_id, patient_id=patient_id, detail=f"record {digest}"
        )
        return row

    def knows(self, patient_id: str) -> bool:
        """Whether a patient of this id is held; nothing of the patient is read."""
        return bool(self.reader.execute(select(exists().where(patients.c.id == plain(patient_id)))).scalar())

    def patient(self, patient_id: str) -> PatientRow:
        """A patient with the record.

        Raises
        ------
        NotFoundError
            If there is no such patient.
        ConsentRefusedError
            If the consent does not cover the actor's purpose.
        """
        found = self.read(_PATIENT, patient=plain(patient_id)).one_or_none()
        if found is None:
            self.check_patient(patient_id)
            raise NotFoundError("no such patient", where="patient", hint="add the record first")
        self._allowed.add(patient_id)
        self.record("R", "patient", patient_id, patient_id=patient_id)
        return row_of(PatientRow, found)

    def patients(self, after: str | None = None, limit: int = 50) -> tuple[PatientBrief, ...]:
        """Patients by id, those after an id; one whose consent does not cover the purpose is not among them."""
        query = select(patients).where(covered(patients.c.id)).order_by(patients.c.id).limit(page_size(limit))
        if after is not None:
            query = query.where(patients.c.id > plain(after))
        found = tuple(row_of(PatientBrief, row) for row in self.read(query))
        for row in found:
            self.record("R", "patient", row.id, patient_id=row.id, detail="in a list")
        return found

    def put_genome(self, patient_id: str, *, profile: bytes, sample: str) -> GenomeRow:
        """Hold a patient's phenotype document; a later one takes the place of the earlier."""
        self.check_writable(patient_id)
        digest = hashlib.sha256(profile).hexdigest()
        self.keep_content(digest, profile)
        row = GenomeRow(patient_id=patient_id, profile=profile, sample=sample, digest=digest, created_at=self.now)
        known = self.connection.execute(select(exists().where(genomes.c.patient_id == patient_id))).scalar()
        values = {field: value for field, value in vars(row).items() if field != "profile"}
        self._put(bool(known), genomes, genomes.c.patient_id == patient_id, values)
        self.record("U" if known else "C", "genome", digest, patient_id=patient_id)
        return row

    def genome(self, patient_id: str) -> GenomeRow | None:
        """A patient's genes; None where none were given."""
        self.check_patient(patient_id)
        found = self.read(_GENOME, patient=patient_id).one_or_none()
        if found is None:
            return None
        self.record("R", "genome", found.digest, patient_id=patient_id)
        return row_of(GenomeRow, found)

    def put_measured(self, rows: Sequence[MeasuredRow]) -> int:
        """Hold measured values; one that is held already (same id) is left as it is. How many were new."""
        new = 0
        for patient_id in dict.fromkeys(row.patient_id for row in rows):
            self.check_writable(patient_id)
        for row in rows:
            if not self.connection.execute(select(exists().where(measured.c.id == row.id))).scalar():
                self.insert(measured, dict(vars(row)))
                self.record("C", row.kind, row.id, patient_id=row.patient_id)
                new += 1
        return new

    def measured(
        self, patient_id: str, kind: MeasuredKind | None = None, *, after: str | None = None, limit: int | None = None
    ) -> tuple[MeasuredRow, ...]:
        """What was measured and given, in the order of time, then of arrival.

        Parameters
        ----------
        after
            Id of the last one of the page before.
        limit
            Most rows; None: all.
        """
        self.check_patient(patient_id)
        query = _MEASURED
        if kind is not None:
            query = query.where(measured.c.kind == kind)
        if after is not None:
            last = (select(column).where(measured.c.id == after).scalar_subquery() for column in _PLACE)
            query = query.where(tuple_(*_PLACE) > tuple_(*last))
        if limit is not None:
            query = query.limit(page_size(limit))
        found = tuple(row_of(MeasuredRow, row) for row in self.read(query, patient=patient_id))
        self.record("R", "measured", kind or "all", patient_id=patient_id, detail=f"{len(found)} rows")
        return found

    def put_consent(self, patient_id: str, purpose: str, *, granted: bool) -> ConsentRow:
        """Consent as the patient gave or refused it now; it counts from the next work on."""
        if not self.connection.execute(select(exists().where(patients.c.id == plain(patient_id)))).scalar():
            raise self.refuse(
                NotFoundError("no such patient", where="patient", hint="add the record first"),
                Deed("U", "consent", purpose, patient_id, "not found"),
            )
        row = ConsentRow(patient_id=patient_id, purpose=purpose, granted=granted, at=self.now)
        self.insert(consents, dict(vars(row)))
        self._allowed.clear()
        said = "granted" if granted else "refused"
        self.record("C", "consent", purpose, patient_id=patient_id, detail=said)
        return row

    def consents(self, patient_id: str, *, skip: int = 0, limit: int | None = None) -> tuple[ConsentRow, ...]:
        """Consents of a patient, oldest first; they can be read whatever they say.

        Parameters
        ----------
        skip
            How many of the oldest are left out; none is ever deleted, so a page holds its place.
        limit
            Most rows; None: all.
        """
        query = select(consents).where(consents.c.patient_id == patient_id).order_by(consents.c.number)
        page = query.limit(None if limit is None else page_size(limit)).offset(skip or None)
        found = tuple(row_of(ConsentRow, row) for row in self.reader.execute(page))
        self.record("R", "consent", "all", patient_id=patient_id)
        return found

    def _put(self, known: bool, table: Any, this: Any, values: dict[str, Any]) -> None:
        if known:
            self.connection.execute(table.update().where(this).values(values))
        else:
            self.insert(table, values)
