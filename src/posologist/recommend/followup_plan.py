"""The expected course of an accepted plan: what to measure, by when, and what a reading is expected to show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.followup import Asked, Bound, FollowUpItem, FollowUpPlan, ItemKind
from posologist.core.recommendation import Effect, Monitoring, NotChecked, Option, Reason, Recommendation, cited_keys
from posologist.core.values import Because, DrugId, Estimate, EvidenceKey
from posologist.knowledge.courses import FollowUpFacts, follow_up_facts
from posologist.knowledge.load import Knowledge
from posologist.recommend.case import NARROW
from posologist.recommend.followup_bounds import bounds_for

_NUMBERS = {
    name: n
    for n, name in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), start=1
    )
}
_DAYS = {"day": 1, "week": 7, "month": 30}
_COUNT = rf"(\d+|{'|'.join(_NUMBERS)})"
_RANGE = re.compile(rf"\b{_COUNT}\s*(?:-|–|to)\s*{_COUNT}\s+(day|week|month)s?\b", re.IGNORECASE)
_SPLIT = re.compile(r"\s*(?:,|;|\band\b)\s*", re.IGNORECASE)
_LEVEL = re.compile(r"\b(?:level|trough|serum lithium)\b", re.IGNORECASE)
_FILLING = re.compile(r"^(?:serum|plasma|fasting(?= glucose$))\s+|\s+on a mineralocorticoid receptor antagonist$")


@dataclass(frozen=True)
class _Window:
    """One date of a rule: a result counts from `opens` on, is due by `due`, and from `until` on counts for the next."""

    opens: date
    due: date
    until: date | None


@dataclass(frozen=True)
class _Course:
    """What the items of one plan are built from."""

    document: Recommendation
    option: Option
    started_on: date
    knowledge: Knowledge
    facts: FollowUpFacts
    ledger: Ledger


def option_of_rank(document: Recommendation, rank: int) -> Option:
    """The ranked plan that was accepted.

    Raises
    ------
    InputError
        If the document has no plan of this rank.
    """
    found = next((option for option in document.options if option.rank == rank), None)
    if found is None:
        ranks = ", ".join(str(option.rank) for option in document.options) or "none"
        raise InputError(f"there is no plan {rank}", where="--rank", hint=f"the decision ranks: {ranks}")
    return found


def plan_keys(option: Option) -> Because:
    """What the doses and the stops of a plan rest on."""
    starts = [key for start in option.plan.start for key in start.because]
    stops = [key for stop in option.plan.stop for key in stop.because]
    return tuple(dict.fromkeys((*starts, *stops))) or option.benefit.because


def expected_course(
    document: Recommendation, rank: int, *, started_on: date, knowledge: Knowledge, facts: FollowUpFacts | None = None
) -> FollowUpPlan:
    """What to measure after a plan was started, by when, and what one reading is expected to show.

    Dates are those of the monitoring rules, counted from the start; a rule without a date keeps none. A reading has
    an expectation only where the effect's time course is published, from the day on which the whole effect is there.

    Parameters
    ----------
    document
        The recommendation whose plan was accepted.
    started_on
        First day on the plan; not before the day of the recommendation.

    Raises
    ------
    InputError
        If there is no plan of this rank, or it was started before it was recommended.
    """
    option = option_of_rank(document, rank)
    if started_on < document.as_of:
        raise InputError(
            f"{started_on} is before the recommendation of {document.as_of}", where="--started",
            hint="give the first day on the plan",
        )  # fmt: skip
    ledger = Ledger()
    ledger.merge({EvidenceKey(key): entry for key, entry in document.evidence.items()})
    course = _Course(document, option, started_on, knowledge, facts or follow_up_facts(), ledger)
    items = [item for rule in option.monitoring for item in _items(course, rule)]
    items += [item for drug in _unwatched(course, items) for item in (_undated_level(course, drug),)]
    plan = FollowUpPlan(
        patient=document.patient.id, indication=document.indication, rank=rank,
        plan=Reason(text=option.plan.text, because=plan_keys(option)), started_on=started_on,
        items=tuple(sorted(items, key=lambda i: (i.due or date.max, i.what, i.id))),
        not_checked=_open(course, items), evidence={}, versions=document.versions,
    )  # fmt: skip
    return plan.model_copy(update={"evidence": ledger.reachable(cited_keys(plan))})


def _items(course: _Course, rule: Monitoring) -> list[FollowUpItem]:
    windows = _windows(course, rule)
    drug = _level_drug(course, rule)
    parts = (Asked(name=rule.what, keys=(f"level_{drug}",)),) if drug else _parts(course.facts, rule.what)
    if not windows:
        note = "no source on file names a date"
        return [_item(course, rule, parts, None, note=note)]
    return [_item(course, rule, parts, window) for window in windows]


def _item(
    course: _Course, rule: Monitoring, parts: tuple[Asked, ...], window: _Window | None, note: str = ""
) -> FollowUpItem:
    """One item; for a level or a pressure with what is expected, or why nothing is."""
    kind = _kind(parts)
    because: list[EvidenceKey] = list(rule.because)
    measure, name, expected, judged_from = "", "", None, None
    if kind == "level" and window is not None:
        measure, name = parts[0].keys[0], "the level before a dose"
        expected, note = _trough(course, measure)
    elif window is not None:
        effect, note, keys = _judged(course, parts)
        if effect is not None and (full := _full_from(course, effect.measure)) is not None:
            because += keys
            if window.until is None or full < window.until:
                measure, name, expected, judged_from = effect.measure, effect.name, effect.reading, full
            else:
                note = "the whole effect is not there yet: a reading is not judged"
    return FollowUpItem(
        id=f"{re.sub('[^a-z0-9]+', '-', rule.what.lower()).strip('-')}@{window.due if window else 'no-date'}",
        what=rule.what, kind=kind, parts=parts, opens=window.opens if window else None,
        due=window.due if window else None, until=window.until if window else None, measure=measure,
        measure_name=name, expected=expected, judged_from=judged_from, expected_note=note, why=rule.when,
        bounds=_bounds(course, parts) if kind in ("laboratory", "clinical") else (),
        because=tuple(dict.fromkeys((*because, *(expected.because if expected else ())))),
    )  # fmt: skip


def _bounds(course: _Course, parts: Sequence[Asked]) -> tuple[Bound, ...]:
    plan = course.option.plan
    drugs = (*(start.drug for start in plan.start), *plan.keep)
    groups = {group for drug in drugs for group in course.knowledge.groups_of(drug)}
    return bounds_for(
        parts, groups=groups, indication=course.document.indication, facts=course.facts, ledger=course.ledger
    )


def _windows(course: _Course, rule: Monitoring) -> list[_Window]:
    """Dates of a rule. A range that its words name ("two to four weeks") is one date with a window.

    Else a result belongs to the date that it is nearest to; the start counts as a date.
    """
    start, days = course.started_on, sorted(set(rule.days))
    ranges = _ranges(rule.when)
    spans: list[tuple[int, int]] = []
    before = 0
    for n, day in enumerate(days):
        if spans and spans[-1][1] >= day:
            continue
        following = days[n + 1] if n + 1 < len(days) else None
        if following is not None and (day, following) in ranges:
            spans.append((day, following))
        else:
            spans.append((before + (day - before + 1) // 2, day))
        before = spans[-1][1]
    found = []
    for n, (opens, due) in enumerate(spans):
        if due == 0:
            old = timedelta(days=course.document.settings.stale_laboratory_days)
            found.append(_Window(start - old, start, start + timedelta(days=1)))
            continue
        until = spans[n + 1][0] if n + 1 < len(spans) else None
        end = None if until is None else start + timedelta(days=until)
        found.append(_Window(start + timedelta(days=opens), start + timedelta(days=due), end))
    return found


def _ranges(text: str) -> set[tuple[int, int]]:
    """Ranges of days that the words of a rule name."""
    found = set()
    for low, high, unit in _RANGE.findall(text):
        first, last = (_NUMBERS.get(word.lower()) or int(word) for word in (low, high))
        found.add((first * _DAYS[unit.lower()], last * _DAYS[unit.lower()]))
    return found


def _parts(facts: FollowUpFacts, what: str) -> tuple[Asked, ...]:
    """The parts of "potassium, sodium and creatinine", each with the results of a record that answer it."""
    whole = _plain(what)
    if whole in facts.words:
        return (Asked(name=what, keys=facts.words[whole]),)
    names = [part for part in _SPLIT.split(what) if part]
    return tuple(Asked(name=name, keys=facts.words.get(_plain(name), ())) for name in names)


def _plain(name: str) -> str:
    return _FILLING.sub("", name.strip().lower())


def _kind(parts: Sequence[Asked]) -> ItemKind:
    keys = {key for part in parts for key in part.keys}
    if any(key.startswith("level_") for key in keys):
        return "level"
    if keys & {"sbp", "dbp"}:
        return "pressure"
    return "laboratory" if keys - {"heart_rate", "weight"} else "clinical"


def _level_drug(course: _Course, rule: Monitoring) -> DrugId | None:
    """The started drug whose level a rule asks for."""
    if not _LEVEL.search(rule.what):
        return None
    for start in course.option.plan.start:
        drug = course.knowledge.drugs.get(start.drug)
        if drug is not None and any(m.what == rule.what and m.when == rule.when for m in drug.monitoring):
            return start.drug
    return None


def _judged(course: _Course, parts: Iterable[Asked]) -> tuple[Effect | None, str, tuple[EvidenceKey, ...]]:
    """The effect by which a reading of these parts is judged; else why none is; what the judgement rests on."""
    asked = {key for part in parts for key in part.keys}
    effects = [effect for effect in course.option.effects if effect.measure in asked]
    if not effects:
        return None, "the plan's effect on it is not computed" if asked & {"sbp", "dbp"} else "", ()
    with_reading = [effect for effect in effects if effect.reading is not None]
    if not with_reading:
        return None, "the variation of one reading is not published on file", ()
    effect = with_reading[0]
    published = course.facts.course(course.document.indication, effect.measure)
    if published is None:
        return None, "not known when the effect is full: no source on file says it", ()
    keys = [course.facts.cited(course.ledger, published)]
    if course.option.plan.stop:
        text = (
            "the published time course is of drugs begun by untreated adults: "
            "it is taken to hold where the plan stops a drug as well"
        )
        keys.append(course.ledger.add("assumption", text, because=[keys[0]]))
    return effect, "", tuple(keys)


def _full_from(course: _Course, measure: str) -> date | None:
    """First day on which the whole effect is there."""
    published = course.facts.course(course.document.indication, measure)
    return None if published is None else course.started_on + timedelta(days=published.full_from_days)


def _trough(course: _Course, measure: str) -> tuple[Estimate | None, str]:
    """The twin's expected trough at steady state; where no population model answered, why nothing is expected."""
    drug = measure.removeprefix("level_")
    start = next((s for s in course.option.plan.start if s.drug == drug), None)
    trough = None if start is None else start.exposure_measures.get("trough")
    if trough is None:
        return None, "no trough is told for this regimen"
    kinds = {entry.kind for entry in course.ledger.reachable(trough.because).values()}
    return (trough, "") if "model" in kinds else (None, "no population model answers for this patient")


def _unwatched(course: _Course, items: Sequence[FollowUpItem]) -> list[DrugId]:
    """Started drugs with a narrow therapeutic index whose level no rule asks for, though models of it are held."""
    watched = {key for item in items for part in item.parts for key in part.keys}
    return [
        start.drug
        for start in course.option.plan.start
        if NARROW in course.knowledge.groups_of(start.drug)
        and f"level_{start.drug}" not in watched
        and course.knowledge.models(start.drug)
    ]


def _undated_level(course: _Course, drug: DrugId) -> FollowUpItem:
    """A level of a drug with a narrow index for which no rule names a date."""
    name = course.knowledge.drugs[drug].name
    key = course.ledger.add("knowledge", f"{name} has a narrow therapeutic index", source=f"drug file {drug}")
    measure = f"level_{drug}"
    expected, note = _trough(course, measure)
    return FollowUpItem(
        id=f"{measure}@no-date", what=f"level of {name}", kind="level",
        parts=(Asked(name=f"level of {name}", keys=(measure,)),), measure=measure if expected else "",
        measure_name="the level before a dose" if expected else "", expected=expected,
        expected_note=note or "no source on file names a date",
        why="narrow therapeutic index: no rule on file names a date",
        because=(key, *(expected.because if expected else ())),
    )  # fmt: skip


def _open(course: _Course, items: Sequence[FollowUpItem]) -> tuple[NotChecked, ...]:
    """What the course does not tell: measures without a date of judgement, items without a date, words to ask for."""
    found = []
    judged = {item.measure for item in items if item.expected is not None}
    for effect in course.option.effects:
        if effect.measure not in judged:
            lacking = "its reading's variation" if effect.reading is None else "a date on which it is judged"
            found.append(
                NotChecked(
                    what=f"whether {effect.name} comes out as expected",
                    why=f"{lacking} is not published on file: a reading of it raises no alarm",
                    would_need=f"a source for {lacking}",
                )
            )
    asked = sorted({part.name for item in items for part in item.parts if not part.keys})
    if asked:
        found.append(
            NotChecked(
                what=f"not answered by results of a record: {', '.join(asked)}",
                why="they are asked or examined",
                would_need="ask the patient and examine",
            )
        )
    undated = sorted({item.what for item in items if item.due is None})
    if undated:
        found.append(
            NotChecked(
                what=f"when to measure: {', '.join(undated)}",
                why="no source on file names a date",
                would_need="a date of your own",
            )
        )
    return tuple(found)
