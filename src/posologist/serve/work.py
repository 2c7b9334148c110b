"""Everything that can be done in one piece of work on the store."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, or_, select

from posologist.serve.refusals import ConflictError
from posologist.serve.rows import AuditRow
from posologist.serve.store_answers import Answers
from posologist.serve.store_patients import Patients
from posologist.serve.tables import audit, kept_responses, seen_tokens
from posologist.serve.transaction import page_size, row_of

KEPT_FOR = timedelta(days=1)
"""How long the response to an idempotency key is kept."""
ANSWERED_WITHIN = timedelta(minutes=1)
"""A request that claimed its key and has not answered by then is taken as lost; the key may be used again."""


class Work(Patients, Answers):
    """Patients, answers, and what guards requests against being made or replayed twice."""

    def once(self, key: str, digest: str) -> bytes | None:
        """The response kept under this actor's key; None where there is none, and the key is then claimed.

        Parameters
        ----------
        digest
            Hash of the request's method, path and body.

        Raises
        ------
        ConflictError
            If the key was used for another request, or its first request is still being answered.
        """
        self._forget_old()
        connection, name = self.connection, _hashed(key)
        this = (kept_responses.c.actor == self.actor.id, kept_responses.c.key == name)
        held = connection.execute(select(kept_responses).where(*this)).one_or_none()
        if held is None:
            values = {"actor": self.actor.id, "key": name, "digest": digest, "response": None, "created_at": self.now}
            self.insert(kept_responses, values)
            return None
        if held.digest != digest:
            raise ConflictError("the key was used for another request", where="Idempotency-Key", hint="use a new key")
        if held.response is None:
            raise ConflictError(
                "the first request with this key is still being answered", where="Idempotency-Key", hint="ask again"
            )
        return bytes(held.response)

    def keep(self, key: str, digest: str, response: bytes) -> None:
        """Keep the response to a request whose key was claimed by `once`.

        Raises
        ------
        ConflictError
            If the key was not claimed for this request.
        """
        this = and_(
            kept_responses.c.actor == self.actor.id, kept_responses.c.key == _hashed(key),
            kept_responses.c.digest == digest,
        )  # fmt: skip
        done = self.connection.execute(kept_responses.update().where(this).values(response=response))
        if done.rowcount != 1:
            raise ConflictError("the key was not claimed", where="Idempotency-Key", hint="use a new key")

    def release(self, key: str) -> None:
        """Give a claimed key back whose request failed, so that it may be tried again."""
        this = (kept_responses.c.actor == self.actor.id, kept_responses.c.key == _hashed(key))
        self.connection.execute(delete(kept_responses).where(*this, kept_responses.c.response.is_(None)))

    def seen(self, jti: str, expires: datetime) -> bool:
        """Whether a token was used before; a new one is remembered until it expires, an expired one counts as used.

        Parameters
        ----------
        jti
            The token's id, with its issuer: "https://issuer id".
        """
        connection, name = self.connection, _hashed(jti)
        connection.execute(delete(seen_tokens).where(seen_tokens.c.expires <= self.now))
        if (
            expires <= self.now
            or connection.execute(select(seen_tokens.c.jti).where(seen_tokens.c.jti == name)).first()
        ):
            return True
        self.insert(seen_tokens, {"jti": name, "expires": expires})
        return False

    def audit_rows(self, *, after: int = 0, limit: int = 50, patient_id: str | None = None) -> tuple[AuditRow, ...]:
        """Rows of the audit chain after a number; reading them leaves a row of its own."""
        query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(page_size(limit))
        if patient_id is not None:
            query = query.where(audit.c.patient_id == patient_id)
        found = tuple(row_of(AuditRow, row) for row in self.reader.execute(query))
        self.record("R", "audit", "all", patient_id=patient_id or "", detail=f"{len(found)} rows")
        return found

    def _forget_old(self) -> None:
        now = self.now
        lost = and_(kept_responses.c.response.is_(None), kept_responses.c.created_at < now - ANSWERED_WITHIN)
        old = kept_responses.c.created_at < now - KEPT_FOR
        self.connection.execute(delete(kept_responses).where(or_(lost, old)))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
