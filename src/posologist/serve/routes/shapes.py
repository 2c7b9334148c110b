"""What comes in and goes out as JSON, strictly: unknown fields, other types, NaN and control signs are refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from posologist.serve.closing import ClosedStatus
from posologist.serve.rows import (
    AnswerBrief,
    AnswerKind,
    AuditRow,
    ConsentRow,
    DecisionAction,
    DecisionRow,
    FollowUpRow,
    MeasuredKind,
    MeasuredRow,
    PatientBrief,
    ReasonCode,
    Role,
)

_PLAIN = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]*$"
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PLAIN)]
Free = Annotated[str, StringConstraints(max_length=2000, pattern=_PLAIN)]
Unit = Annotated[str, StringConstraints(max_length=40, pattern=_PLAIN)]
GivenUnit = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_PLAIN)]
AnswerId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
_MOST_ROWS = 1000


_DAY = (
    r"(?:(?:19|20)[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:19(?:0[48]|[2468][048]|[13579][26])|20(?:[02468][048]|[13579][26]))-02-29)"
)
_HOUR = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,6})?)?"
_OFFSET = r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
DAY, MOMENT = f"^{_DAY}$", f"^{_DAY}T{_HOUR}{_OFFSET}$"
"""A day and a time from 1900 to 2099, as the OpenAPI document states them."""


def _written(pattern: str, example: str) -> Callable[[object], object]:
    known = re.compile(pattern[1:-1])

    def check(given: object) -> object:
        if not isinstance(given, str) or not known.fullmatch(given):
            raise ValueError(f"write it as {example}")
        return given

    return check


def _whole(given: object) -> object:
    return int(given) if isinstance(given, float) and given.is_integer() else given


Day = Annotated[
    date, Field(strict=False), BeforeValidator(_written(DAY, "2026-11-20")),
    WithJsonSchema({"type": "string", "pattern": DAY, "description": "a day, YYYY-MM-DD", "examples": ["2026-11-20"]}),
]  # fmt: skip
Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_written(MOMENT, "2026-11-20T14:30:00Z")),
    WithJsonSchema({"type": "string", "pattern": MOMENT, "description": "a time with its offset",
                    "examples": ["2026-11-20T14:30:00Z"]}),
]  # fmt: skip


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class SignIn(_In):
    """Account and password."""

    account: Line
    password: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class SessionOut(_Out):
    """A session; `csrf` goes into the header X-CSRF-Token of each write."""

    account: str
    name: str
    role: Role
    csrf: str


class TokenIn(_In):
    """How long a new token is valid."""

    days: Annotated[int, BeforeValidator(_whole)] = Field(default=30, ge=1, le=365)


class TokenOut(_Out):
    """A new bearer token; it is told this once."""

    id: str
    token: str
    expires: datetime


class PatientOut(_Out):
    """A patient as a list shows it; `digest` (sha256) names the record as it is now."""

    id: str
    name: str
    sex: str
    birth_date: date | None
    document: str
    digest: str
    created_at: datetime

    @classmethod
    def of(cls, row: PatientBrief) -> PatientOut:
        """The row as it is told."""
        return cls.model_validate(row)


class PatientsOut(_Out):
    """A page of patients; `next` is the cursor of the page after it."""

    patients: tuple[PatientOut, ...]
    next: str | None


class ConsentIn(_In):
    """Consent as the patient gave or refused it."""

    granted: bool


class ConsentsOut(_Out):
    """A page of a patient's consents, oldest first."""

    consents: tuple[ConsentRow, ...]
    next: str | None


class RecommendIn(_In):
    """What is treated, as `posologist recommend` takes it."""

    indication: Line
    as_of: Day | None = None
    guideline: Literal["US25", "ESC24"] | None = None
    harm_aversion: float | None = Field(default=None, ge=0.5, le=10)


class ScreenIn(_In):
    """What is to be ordered, as `posologist screen` takes it."""

    orders: tuple[Line, ...] = Field(min_length=1, max_length=50)
    as_of: Day | None = None


class DoseIn(_In):
    """Which drug, as `posologist dose` takes it; `at` is the time of the question."""

    drug: Line
    indication: Line | None = None
    target: Line | None = None
    model: Line | None = None
    covariates: dict[str, float] = Field(default={}, max_length=20)
    mic: float | None = Field(default=None, ge=1e-6, le=1e6)
    at: Moment | None = None
    as_of: Day | None = None


class LevelIn(_In):
    """A measured concentration of a drug."""

    at: Moment
    analyte: Line
    value: float = Field(ge=0)
    unit: GivenUnit


class LevelsIn(_In):
    """Measured concentrations."""

    levels: tuple[LevelIn, ...] = Field(min_length=1, max_length=_MOST_ROWS)


class AdministrationIn(_In):
    """A dose that was given, over `duration_h` hours (0: at once)."""

    at: Moment
    drug: Line
    amount: float = Field(gt=0)
    unit: GivenUnit
    route: Unit = ""
    duration_h: float = Field(default=0.0, ge=0)


class AdministrationsIn(_In):
    """Doses that were given."""

    administrations: tuple[AdministrationIn, ...] = Field(min_length=1, max_length=_MOST_ROWS)


class ObservationIn(_In):
    """A measured value; `key` is one of the laboratory list, as sbp, creatinine, potassium."""

    at: Moment
    key: Line
    value: float
    unit: Unit


class ObservationsIn(_In):
    """Measured values."""

    observations: tuple[ObservationIn, ...] = Field(min_length=1, max_length=_MOST_ROWS)


class AddedOut(_Out):
    """How many of the values were new."""

    new: int


class MeasuredOut(_Out):
    """A level, an administration or an observation."""

    id: str
    patient_id: str
    kind: MeasuredKind
    at: datetime
    what: str
    value: float
    unit: str
    route: str
    duration_h: float
    created_at: datetime

    @classmethod
    def of(cls, row: MeasuredRow) -> MeasuredOut:
        """The row as it is told."""
        return cls.model_validate(row)


class MeasuredListOut(_Out):
    """A page of what was measured and given, in the order of time."""

    measured: tuple[MeasuredOut, ...]
    next: str | None


class AnswerOut(_Out):
    """An answer as a list shows it; its document is at /answers/{id}."""

    id: str
    kind: AnswerKind
    patient_id: str
    as_of: date | None
    created_at: datetime

    @classmethod
    def of(cls, row: AnswerBrief) -> AnswerOut:
        """The row as it is told."""
        return cls.model_validate(row)


class AnswersOut(_Out):
    """A page of answers, newest first."""

    answers: tuple[AnswerOut, ...]
    next: str | None


class ReplayOut(_Out):
    """Whether an answer comes out again; null where it was not computed, and `said` tells why."""

    answer_id: str
    same: bool | None
    said: str


class PlannedIn(_In):
    """What is to be looked at, when, and what is then expected."""

    what: Line
    due: Day
    kind: Annotated[str, StringConstraints(min_length=1, max_length=32, pattern="^[a-z-]+$")] = "monitoring"
    expected_low: float | None = None
    expected_high: float | None = None
    unit: Unit = ""


class DecisionIn(_In):
    """What is done with an answer; an override carries one of the six coded reasons."""

    action: DecisionAction
    rank: Annotated[int | None, BeforeValidator(_whole)] = Field(default=None, ge=1, le=1000)
    reason: ReasonCode | None = None
    will_monitor: bool = False
    note: Free = ""
    order_text: Free = ""
    planned: tuple[PlannedIn, ...] = Field(default=(), max_length=50)


class ClosingIn(_In):
    """What became of a follow-up: what was found, or why it is cancelled."""

    status: ClosedStatus
    result: Free = ""


class DecidedOut(_Out):
    """A decision, and the follow-ups that it scheduled."""

    decision: DecisionRow
    follow_ups: tuple[FollowUpRow, ...]


class DecisionsOut(_Out):
    """A page of a patient's decisions, newest first."""

    decisions: tuple[DecisionRow, ...]
    next: str | None


class FollowUpsOut(_Out):
    """A page of follow-ups, by day."""

    follow_ups: tuple[FollowUpRow, ...]
    next: str | None


class AuditPageOut(_Out):
    """A page of the audit chain, oldest first."""

    rows: tuple[AuditRow, ...]
    next: str | None


class BreakOut(_Out):
    """A place where the chain does not hold."""

    seq: int
    what: str


class VerificationOut(_Out):
    """Outcome of walking the chain."""

    whole: bool
    rows: int
    last_seq: int
    last_hash: str
    breaks: tuple[BreakOut, ...]


class HealthOut(_Out):
    """What is ready."""

    status: Literal["ok"] = "ok"
    version: str
    knowledge: str
    mode: Literal["development", "production"]


BODIES: Sequence[type[BaseModel]] = (
    SignIn, TokenIn, ConsentIn, RecommendIn, ScreenIn, DoseIn, LevelsIn, AdministrationsIn, ObservationsIn, DecisionIn,
    ClosingIn,
)  # fmt: skip
"""The bodies that `json_body` reads, for the OpenAPI document."""
