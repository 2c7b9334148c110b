"""Contextual rules: how urgent an interacting pair is for this patient, as readable rows in `data/contextual`.

A rule says which ordered drugs it is about, beside which medicine, and reads its rows from the top; the most urgent row
that holds is the level. Truth is three-valued: a row that cannot be decided is reported, and counts when it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import rtoml
from pydantic import Field, ValidationError

from posologist.core.errors import KnowledgeError
from posologist.core.patient import Patient
from posologist.core.situation import Situation
from posologist.core.values import CitationKey, DrugId, Many, Status, Value
from posologist.knowledge.expression import UNKNOWN, Scalar, Subject, expression
from posologist.knowledge.load import Knowledge

Level = Literal["info", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("info", "warning", "critical")
_OWN_NAMES = frozenset({"ordering", "local_form", "continuing"})


class Row(Value):
    """One question about the patient, the level if it is true, and the words for either answer."""

    when: str
    level: Level
    text: str = Field(min_length=1)
    otherwise: str = ""
    if_unknown: bool = Field(default=False, description="holds also when it cannot be decided")
    final: bool = Field(default=False, description="true: the rows below are not read")


class History(Value):
    """A condition of any time, by our condition codes or by the codes of record entries (SNOMED CT, ICD-10)."""

    name: str
    codes: Many[str] = ()
    entries: Many[str] = ()
    text: str


class SuggestedAction(Value):
    """What a card may offer with one click."""

    label: str
    action: Literal["delete order", "replace order", "order test"]
    code: str = ""
    display: str = ""


class MonitoringStep(Value):
    """What "will monitor" schedules, how many days after the order (None: no source says), and who says so."""

    what: str
    days: int | None = Field(default=None, ge=0)
    basis: str


class ContextualRule(Value):
    """One interacting pair with its rows."""

    id: str
    name: str
    ordered: Many[str]
    beside: Many[str]
    harm: str
    advice: str
    url: str
    source: CitationKey
    status: Status
    rows: Many[Row]
    histories: Many[History] = ()
    suggestions: Many[SuggestedAction] = ()
    monitoring: Many[MonitoringStep] = ()


@dataclass(frozen=True)
class Pair:
    """An ordered drug and the medicine beside it, as a rule looks at them."""

    ordered: DrugId
    beside: DrugId
    local_form: bool
    continuing: bool


@dataclass(frozen=True)
class Answer:
    """The level of a pair, the words of the rows that were read, and what could not be decided."""

    level: Level
    reasons: tuple[str, ...]
    open_points: tuple[tuple[str, str], ...]


def load_contextual(knowledge: Knowledge) -> tuple[ContextualRule, ...]:
    """The contextual rules of the package, checked against the knowledge; read once.

    Raises
    ------
    KnowledgeError
        If a row is not in the language, or names a group, fact or citation that does not exist.
    """
    return knowledge.remember("contextual rules", lambda: tuple(_load(knowledge)))


def _load(knowledge: Knowledge) -> list[ContextualRule]:
    found = []
    for path in sorted((knowledge.folder / "contextual").glob("*.toml")):
        rows: dict[str, Any] = rtoml.loads(path.read_text(encoding="utf-8"))
        rows.pop("citations", None)
        try:
            rule = ContextualRule.model_validate(rows)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise KnowledgeError(error.errors()[0]["msg"], where=f"{path} {where}", hint="correct the field") from error
        found.append(checked(rule, knowledge, str(path)))
    return found


def checked(rule: ContextualRule, knowledge: Knowledge, where: str) -> ContextualRule:
    """The rule, if everything that it names exists.

    Raises
    ------
    KnowledgeError
        If a row is not in the language, or names a group, fact, condition or citation that does not exist.
    """
    groups = asked_groups(rule)
    names = {name for row in rule.rows for name in expression(row.when).names}
    unknown = [f"group '{g}'" for g in sorted(groups) if not knowledge.members.get(g)]
    known = {*knowledge.codes.analytes, *(f"{key}_days" for key in knowledge.codes.analytes), "age", "sex", *_OWN_NAMES}
    known |= {f"history_{history.name}" for history in rule.histories}
    unknown += [f"fact '{n}'" for n in sorted(names - known)]
    unknown += [f"condition '{c}'" for h in rule.histories for c in h.codes if c not in knowledge.codes.conditions]
    unknown += [] if rule.source in knowledge.citations else [f"citation '{rule.source}'"]
    if unknown:
        raise KnowledgeError(f"{', '.join(unknown)} is not known", where=where, hint="correct the name")
    return rule


def asked_groups(rule: ContextualRule) -> frozenset[str]:
    """Drugs and groups that the rule asks about."""
    queries = [query for row in rule.rows for query in expression(row.when).queries]
    named = {str(arguments[0]) for function, arguments in queries if function == "on"}
    return frozenset({*rule.ordered, *rule.beside, *named})


def pairs_of(
    rule: ContextualRule, ordered: DrugId, others: tuple[DrugId, ...], knowledge: Knowledge
) -> tuple[DrugId, ...]:
    """The medicines among `others` beside which the rule speaks about the ordered drug."""
    if not knowledge.groups_of(ordered) & set(rule.ordered):
        return ()
    return tuple(o for o in others if o != ordered and knowledge.groups_of(o) & set(rule.beside))


def judge(rule: ContextualRule, pair: Pair, subject: Subject, patient: Patient, situation: Situation) -> Answer:
    """The level of a pair for this patient: the most urgent row that holds."""
    seen = _InContext(rule, pair, subject, patient, situation)
    level, reasons, open_points = 0, list[str](), list[tuple[str, str]]()
    for row in rule.rows:
        match = expression(row.when).match(seen)
        if match.truth is None:
            open_points.append((row.text, ", ".join(_in_words(name) for name in match.missing)))
        if match.truth is True or (match.truth is None and row.if_unknown):
            level = max(level, LEVELS.index(row.level))
            reasons.append(row.text)
            if row.final:
                break
        elif match.truth is False and row.otherwise:
            reasons.append(row.otherwise)
    return Answer(LEVELS[level], tuple(reasons), tuple(open_points))


def _in_words(name: str) -> str:
    return name.removesuffix("_days").removeprefix("history_").replace("level_", "level of ").replace("_", " ")


class _InContext:
    """The patient with what contextual rows may ask beyond the expression language's facts."""

    def __init__(
        self, rule: ContextualRule, pair: Pair, subject: Subject, patient: Patient, situation: Situation
    ) -> None:
        self._inner = subject
        self._situation = situation
        self._own: Mapping[str, Scalar] = {
            "ordering": str(pair.ordered),
            "local_form": pair.local_form,
            "continuing": pair.continuing,
            **{f"history_{history.name}": _history(history, patient, situation.as_of) for history in rule.histories},
        }

    def fact(self, name: str) -> Scalar:
        """An own name, the age of a result in days, or a fact of the patient."""
        if name in self._own:
            return self._own[name]
        if name.endswith("_days"):
            known = self._situation.facts.get(name.removesuffix("_days"))
            return UNKNOWN if known is None or known.at is None else (self._situation.as_of - known.at).days
        return self._inner.fact(name)

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """As for any statement."""
        return self._inner.query(function, arguments)


def _history(history: History, patient: Patient, as_of: date) -> Scalar:
    """True for a matching entry, ended or not; false where a problem list was given without one; else unknown."""
    for condition in patient.conditions:
        if condition.status == "refuted" or (condition.onset is not None and condition.onset > as_of):
            continue
        if set(condition.codes) & set(history.codes) or condition.original.code in history.entries:
            return True
    return False if patient.problem_list_given else UNKNOWN
