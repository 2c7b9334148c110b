"""From an answer and what the prescriber did with it to a decision and its follow-ups; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from posologist.core.errors import InputError
from posologist.serve.asked import sha256
from posologist.serve.audit import canonical
from posologist.serve.rows import Actor, AnswerRow, DecisionAction, DecisionRow, FollowUpRow, ReasonCode

_RANKED = {"recommendation": "options", "dose": "regimens"}


@dataclass(frozen=True)
class Planned:
    """What is to be looked at after a decision, when, and what is then expected."""

    what: str
    due: date
    kind: str = "monitoring"
    expected_low: float | None = None
    expected_high: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Decided:
    """A decision, and the follow-ups that it made."""

    decision: DecisionRow
    follow_ups: tuple[FollowUpRow, ...]


def decision_of(
    answer: AnswerRow,
    actor: Actor,
    at: datetime,
    *,
    action: DecisionAction,
    rank: int | None,
    reason: ReasonCode | None,
    will_monitor: bool,
    note: str,
    order_text: str,
    key: str,
) -> DecisionRow:
    """The decision; its id is of the key where there is one, else of the content.

    Raises
    ------
    InputError
        If the answer has no plan of this rank, or one must be named and is not.
    """
    ranks = _ranks(answer)
    if rank is not None and rank not in ranks:
        raise InputError(f"the answer has no plan of rank {rank}", where="rank", hint=f"it has {sorted(ranks)}")
    if rank is None and ranks and action != "override":
        raise InputError("no plan is named", where="rank", hint=f"one of {sorted(ranks)}")
    said = {
        "answer_id": answer.id, "rank": rank, "action": action, "reason": reason, "will_monitor": will_monitor,
        "note": note, "order_text": order_text, "by": actor.id,
    }  # fmt: skip
    named = {"by": actor.id, "key": key} if key else {**said, "at": at}
    return DecisionRow(
        id=sha256(canonical(named).encode("utf-8", "surrogatepass")), answer_id=answer.id,
        patient_id=answer.patient_id, rank=rank, action=action, reason=reason, will_monitor=will_monitor, note=note,
        order_text=order_text, by=actor.id, at=at,
    )  # fmt: skip


def monitoring_of(answer: AnswerRow, decision: DecisionRow) -> tuple[Planned, ...]:
    """What the chosen plan's monitoring asks for, each on its day from the decision on; none of a plan not taken."""
    if answer.kind != "recommendation" or decision.rank is None or decision.action == "override":
        return ()
    options = json.loads(answer.document)["options"]
    chosen = next(option for option in options if option["rank"] == decision.rank)
    day = decision.at.date()
    return tuple(
        Planned(rule["what"], day + timedelta(days=days)) for rule in chosen["monitoring"] for days in rule["days"]
    )


def follow_ups_of(decision: DecisionRow, planned: Sequence[Planned]) -> tuple[FollowUpRow, ...]:
    """Open follow-ups of a decision; the same plan again has the same ids."""
    return tuple(
        FollowUpRow(
            id=sha256(canonical({"decision": decision.id, **vars(one)}).encode("utf-8", "surrogatepass")),
            decision_id=decision.id, patient_id=decision.patient_id, what=one.what, due=one.due, kind=one.kind,
            status="open", expected_low=one.expected_low, expected_high=one.expected_high, unit=one.unit, result="",
            at=decision.at,
        )
        for one in dict.fromkeys(planned)
    )  # fmt: skip


def _ranks(answer: AnswerRow) -> frozenset[int]:
    place = _RANKED.get(answer.kind)
    if place is None:
        return frozenset()
    return frozenset(row["rank"] for row in json.loads(answer.document)[place] if row["rank"] is not None)
