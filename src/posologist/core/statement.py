"""Statement: one piece of evidence about drugs, with the profile of patients for whom it holds.

Guidance, labels, interactions, contraindications, organ limits and preferences are all Statements, so that
veto, ranking and explanation are written once. The profile is an expression of `knowledge/expression.py`; it
is true, false or unknown for a patient, and unknown is never read as false.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posologist.core.values import CitationKey, DrugId, Many, Status, Value

StatementKind = Literal[
    "contraindication",
    "interaction",
    "gene",
    "renal",
    "hepatic",
    "age",
    "pregnancy",
    "lactation",
    "allergy",
    "duplicate",
    "qt",
    "preference",
    "caution",
]
Action = Literal[
    "contraindicated",  # never
    "avoid",  # not unless nothing else; not ranked while another option exists
    "alternative",  # prefer another drug
    "start",  # start at `value` (unit in `unit`; percent = share of the usual start)
    "cap",  # never above `value`
    "percent",  # give `value` percent of the usual dose
    "interval",  # lengthen the interval to `value` h
    "reduce",  # lower dose, size not stated
    "increase",  # higher dose, size in `value` when stated (percent of the usual)
    "separate",  # separate in time by `value` h
    "monitor",
    "standard",  # explicitly: no change
    "prefer",  # favoured for this patient
    "no recommendation",
]
Severity = Literal["contraindicated", "serious", "monitor", "information"]
SEVERITY_ORDER: dict[str, int] = {"contraindicated": 0, "serious": 1, "monitor": 2, "information": 3}


class Statement(Value):
    """One claim.

    `about` names the drugs or groups that the claim acts on; `other` (interactions only) the second side.
    A group is a drug id, a class ("ACE inhibitor") or an enzyme role ("strong CYP3A4 inhibitor",
    "sensitive CYP3A4 substrate"): see `Drug.groups`.
    """

    id: str
    kind: StatementKind
    about: Many[str]
    other: Many[str] = ()
    when: str = "true"
    action: Action
    severity: Severity
    value: float | None = None
    unit: str = ""
    size: float | None = Field(default=None, description="change as a fold of exposure, where observed")
    text: str = Field(min_length=1)
    management: str = ""
    population: str = ""
    level: str = ""
    indication: str = ""
    source: CitationKey
    status: Status
    since: str = ""
    note: str = ""


def drug_statement_id(drug: DrugId, kind: str, number: int) -> str:
    """Stable id of the number-th statement of a kind in a drug's file."""
    return f"{drug}.{kind}.{number}"
