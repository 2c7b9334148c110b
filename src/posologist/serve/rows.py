"""What the store holds, as frozen values: patients, genomes, answers, decisions, follow-ups, consent, accounts.

Times are aware and in UTC. Names of the columns are the names of the fields (`tables.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, get_args

Role = Literal["prescriber", "pharmacist", "informaticist", "auditor", "system"]
MeasuredKind = Literal["level", "administration", "observation"]
AnswerKind = Literal["recommendation", "screening", "dose", "phenotype", "cards"]
DecisionAction = Literal["accept", "modify", "override"]
FollowUpStatus = Literal["open", "done", "missed", "cancelled"]
AuditAction = Literal["C", "R", "U", "E"]
"""Created, read, updated, executed, as in FHIR AuditEvent.action; nothing is deleted."""
Outcome = Literal["done", "refused", "not found"]
ReasonCode = Literal[
    "will-monitor",
    "benefit-outweighs",
    "patient-preference",
    "not-clinically-significant",
    "inaccurate-data",
    "alternative-not-available",
]
REASON_CODES: tuple[ReasonCode, ...] = get_args(ReasonCode)
UNASKED_PURPOSES = ("treatment", "emergency")
"""Purposes that need no consent on file, unless it was refused; every other one needs it granted."""


@dataclass(frozen=True)
class Actor:
    """Who asks, in which role and for which purpose. `request_id` ties the audit rows of one request together."""

    id: str
    role: Role
    purpose: str = "treatment"
    request_id: str = ""


@dataclass(frozen=True)
class PatientBrief:
    """A patient as a list shows it. `digest` (sha256) names the record as it is now."""

    id: str
    name: str
    sex: str
    birth_date: date | None
    document: str
    digest: str
    created_at: datetime


@dataclass(frozen=True)
class PatientRow(PatientBrief):
    """A patient with the record as it came; `document` is the name by which evidence cites it."""

    bundle: bytes


@dataclass(frozen=True)
class GenomeRow:
    """A patient's genes: the phenotype document (JSON) of the VCF or of a laboratory's calls."""

    patient_id: str
    profile: bytes
    sample: str
    digest: str
    created_at: datetime


@dataclass(frozen=True)
class MeasuredRow:
    """A level, an administration or an observation; `document` and `place` say where it stood.

    `what` is the analyte, the drug given (may be empty) or the key of what was observed.
    """

    id: str
    patient_id: str
    kind: MeasuredKind
    at: datetime
    what: str
    value: float
    unit: str
    route: str
    duration_h: float
    document: str
    place: str
    created_at: datetime


@dataclass(frozen=True)
class AnswerBrief:
    """An answer as a list shows it. `seq` orders answers by when they were given; `id` is the hash of the content."""

    id: str
    seq: int
    kind: AnswerKind
    patient_id: str
    as_of: date | None
    versions: str
    created_at: datetime


@dataclass(frozen=True)
class AnswerRow(AnswerBrief):
    """An answer that can be given again: what was asked (JSON) and the bytes that were answered."""

    request: bytes
    document: bytes


@dataclass(frozen=True)
class DecisionRow:
    """What the prescriber did with an answer, and why."""

    id: str
    answer_id: str
    patient_id: str
    rank: int | None
    action: DecisionAction
    reason: ReasonCode | None
    will_monitor: bool
    note: str
    order_text: str
    by: str
    at: datetime


@dataclass(frozen=True)
class FollowUpRow:
    """Something to be looked at on a day, with what is then expected."""

    id: str
    decision_id: str
    patient_id: str
    what: str
    due: date
    kind: str
    status: FollowUpStatus
    expected_low: float | None
    expected_high: float | None
    unit: str
    result: str
    at: datetime


@dataclass(frozen=True)
class ConsentRow:
    """Consent for one purpose as it was given or refused at a time; the newest counts."""

    patient_id: str
    purpose: str
    granted: bool
    at: datetime


@dataclass(frozen=True)
class AccountRow:
    """Someone who may sign in."""

    id: str
    name: str
    role: Role
    password_hash: str
    disabled: bool


@dataclass(frozen=True)
class TokenRow:
    """A bearer token; only its hash is held. `made_by` is the id of the token by which it was made, if by one."""

    id: str
    account: str
    hash: str
    expires: datetime
    revoked: bool
    made_by: str = ""


@dataclass(frozen=True)
class SessionRow:
    """A signed-in browser; `id` is the hash of the cookie."""

    id: str
    account: str
    csrf: str
    created_at: datetime
    expires: datetime
    revoked: bool


@dataclass(frozen=True)
class AuditRow:
    """Who did what, when, to what, for what purpose, and how it ended; chained to the row before by `previous`."""

    seq: int
    at: datetime
    actor: str
    role: str
    purpose: str
    action: AuditAction
    entity_type: str
    entity_id: str
    patient_id: str
    outcome: Outcome
    request_id: str
    detail: str
    previous: str
    hash: str


@dataclass(frozen=True)
class Head:
    """The end of the audit chain: how many rows, and the hash of the last."""

    seq: int
    hash: str
