"""Cards of CDS Hooks 2.0, with ready FHIR actions; the same content gives the same uuid."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from posologist.core.recommendation import NotChecked
from posologist.core.values import Many, Value
from posologist.knowledge.contextual import LEVELS, Level, MonitoringStep, SuggestedAction
from posologist.serve.hooks.context import Draft
from posologist.serve.hooks.requests import Resource
from posologist.serve.hooks.rules import INTERRUPTIVE, Notice

SUMMARY_LENGTH = 139
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://posologist.org/cds-hooks")
REASON_SYSTEM = "https://posologist.org/fhir/CodeSystem/override-reasons"
REASONS = {
    "will-monitor": "Will monitor",
    "benefit-outweighs": "Benefit outweighs the risk",
    "patient-preference": "The patient prefers it",
    "not-clinically-significant": "Not clinically significant here",
    "inaccurate-data": "The data are not right",
    "alternative-not-available": "No alternative is available",
}
_RXNORM, _LOINC = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://loinc.org"
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]+"
)


class _Json(Value):
    """A part of the answer; written in camelCase, without what is not there."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Coding(_Json):
    """A code with its words."""

    code: str
    system: str
    display: str


class Source(_Json):
    """Whose guidance a card is."""

    label: str
    url: str | None = None


class Action(_Json):
    """One change of the record that a suggestion makes."""

    type: Literal["create", "update", "delete"]
    description: str
    resource: Resource | None = None
    resource_id: str | None = None


class Suggestion(_Json):
    """A button of a card."""

    label: str
    uuid: str
    actions: Many[Action]


class Link(_Json):
    """Where to read on."""

    label: str
    url: str
    type: Literal["absolute"] = "absolute"


class Card(_Json):
    """One card."""

    uuid: str = ""
    summary: str = Field(max_length=SUMMARY_LENGTH)
    indicator: Level
    source: Source
    detail: str | None = None
    suggestions: Many[Suggestion] | None = None
    selection_behavior: Literal["at-most-one", "any"] | None = None
    override_reasons: Many[Coding] | None = None
    links: Many[Link] | None = None


class Dealt(Value):
    """A card with what feedback on it must know: whom it is about, and what "will monitor" schedules."""

    card: Card
    patient_id: str
    drugs: Many[str] = ()
    monitoring: Many[MonitoringStep] = ()
    order: str = ""
    on: date


class Place(Value):
    """Where our own pages are; `patient_page` may hold {patient}.

    `secret` goes into each card's uuid, so that who has not seen the card cannot name it.
    """

    label: str = "posologist"
    base_url: str = ""
    patient_page: str = ""
    secret: str = ""


def plain(text: str) -> str:
    """One line without control characters and angle brackets: a name in a record is never markup."""
    return " ".join(_UNSEEN.sub(" ", text).replace("<", "‹").replace(">", "›").split())


def markdown(text: str) -> str:
    """Plain text in which nothing is a link, an image, code or emphasis, also where bare addresses become links."""
    unlinked = plain(text).replace("[", "(").replace("]", ")").replace("://", ": //").replace("www.", "www .")
    return re.sub(r"([\\`*_{}!|#~&@])", r"\\\1", unlinked)


def short(text: str, length: int = SUMMARY_LENGTH) -> str:
    """The text, cut at a word where it is too long; without links, should somebody take it for markdown."""
    line = plain(text).replace("](", "] (")
    if len(line) <= length:
        return line
    return line[: length - 2].rsplit(" ", 1)[0].rstrip(" ,;:") + " …"


def dealt(
    notices: Iterable[Notice],
    open_points: Iterable[NotChecked],
    *,
    unread: bool,
    patient_id: str,
    on: date,
    place: Place,
) -> tuple[Dealt, ...]:
    """Cards of some orders: one for each contextual rule, and for each order one of what is critical and one of what
    is a warning; what remains is one card.

    What could not be checked is a card of its own, a warning where nothing of the order could be checked.
    """
    listed = list(notices)
    found: list[Dealt] = []
    for level in reversed(LEVELS):
        same = [n for n in listed if n.level == level]
        found += [_of_notice(n, patient_id, on, place) for n in same if n.url]
        rest = [n for n in same if not n.url]
        by_order: dict[str, list[Notice]] = {}
        for notice in rest:
            by_order.setdefault(_order_of(notice) if level in INTERRUPTIVE else "", []).append(notice)
        found += [_of_several(several, level, patient_id, on, place) for several in by_order.values()]
    points = list(open_points)
    if points:
        found.append(_of_unchecked(points, unread, patient_id, on, place))
    return tuple(found)


def _order_of(notice: Notice) -> str:
    return "" if notice.draft is None else f"{notice.draft.reference} {notice.draft.words}"


def _of_notice(notice: Notice, patient_id: str, on: date, place: Place) -> Dealt:
    lines = [markdown(line) for line in dict.fromkeys(notice.detail) if line]
    lines += [_steps(notice.monitoring)] if notice.monitoring else []
    card = _card(notice.title, notice.level, lines, patient_id, place, label=notice.source, url=notice.url)
    card = _with_suggestions(card, notice, on)
    return Dealt(
        card=card,
        patient_id=patient_id,
        drugs=notice.drugs,
        monitoring=notice.monitoring,
        order=notice.draft.words if notice.draft else "",
        on=on,
    )


def _steps(steps: Iterable[MonitoringStep]) -> str:
    told = [f"{s.what}{'' if s.days is None else f' after {s.days} d'} ({s.basis})" for s in steps]
    return markdown(f"To monitor: {'; '.join(dict.fromkeys(told))}.")


def _of_several(notices: list[Notice], level: Level, patient_id: str, on: date, place: Place) -> Dealt:
    first, more = notices[0], f" (and {len(notices) - 1} more)" if len(notices) > 1 else ""
    lines = [
        f"{markdown(n.title.rstrip('.'))}: {markdown('; '.join(n.detail))} ({markdown(n.source)})" for n in notices
    ]
    steps = tuple(dict.fromkeys(step for n in notices for step in n.monitoring))
    lines += [_steps(steps)] if steps else []
    head = short(first.title, SUMMARY_LENGTH - len(more)) + more
    card = _card(head, level, lines, patient_id, place, label=first.source if not more else "")
    return Dealt(
        card=_with_suggestions(card, replace(first, monitoring=steps), on),
        patient_id=patient_id,
        drugs=tuple(dict.fromkeys(d for n in notices for d in n.drugs)),
        monitoring=steps,
        order=first.draft.words if first.draft and level in INTERRUPTIVE else "",
        on=on,
    )


def _of_unchecked(points: list[NotChecked], unread: bool, patient_id: str, on: date, place: Place) -> Dealt:
    more = f" (and {len(points) - 1} more)" if len(points) > 1 else ""
    lines = [
        f"**{markdown(p.what.rstrip('.'))}**: {markdown(p.why)}. Would clear it: {markdown(p.would_need)}."
        for p in points
    ]
    head = short(f"Could not check: {points[0].what}", SUMMARY_LENGTH - len(more)) + more
    card = _card(head, "warning" if unread else "info", lines, patient_id, place)
    return Dealt(card=card, patient_id=patient_id, on=on)


def unchecked_card(what: str, why: str, would_need: str, *, patient_id: str, on: date, place: Place) -> Dealt:
    """The card of a request of which nothing could be checked."""
    point = NotChecked(what=what, why=why, would_need=would_need)
    return _of_unchecked([point], True, patient_id, on, place)


def information_card(
    summary: str, lines: Iterable[str], *, level: Level, patient_id: str, on: date, place: Place
) -> Dealt:
    """A card without an order behind it."""
    return Dealt(
        card=_card(summary, level, [markdown(x) for x in lines], patient_id, place), patient_id=patient_id, on=on
    )


def _card(
    summary: str, level: Level, lines: list[str], patient_id: str, place: Place, *, label: str = "", url: str = ""
) -> Card:
    page = place.patient_page.replace("{patient}", patient_id if patient_id.replace("-", "").isalnum() else "")
    card = Card(
        summary=short(summary),
        indicator=level,
        source=Source(label=short(label or place.label, 120), url=url or place.base_url or None),
        detail="\n".join(f"- {line}" for line in lines) or None,
        override_reasons=tuple(Coding(code=c, system=REASON_SYSTEM, display=d) for c, d in REASONS.items())
        if level in INTERRUPTIVE
        else None,
        links=(Link(label=f"Open in {place.label}", url=page),) if page else None,
    )
    return card.model_copy(update={"uuid": _identity(place.secret, patient_id, card.model_dump_json())})


def _identity(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))


def _with_suggestions(card: Card, notice: Notice, on: date) -> Card:
    if notice.draft is None or not notice.suggestions:
        return card
    made = [(s.label, actions) for s in notice.suggestions if (actions := _actions(s, notice.draft, on))]
    if notice.monitoring and notice.level != "critical":  # what is contraindicated is not kept with one click
        made.append(("Keep the order and monitor", (_kept(notice, notice.draft),)))
    buttons = tuple(
        Suggestion(label=short(label, 80), uuid=_identity(card.uuid, str(n), label), actions=actions)
        for n, (label, actions) in enumerate(made)
    )
    return card.model_copy(update={"suggestions": buttons, "selection_behavior": "at-most-one"}) if buttons else card


def _actions(suggested: SuggestedAction, draft: Draft, on: date) -> tuple[Action, ...]:
    remove = Action(type="delete", description=short(f"Remove the order: {draft.display}"), resource_id=draft.reference)
    removed = (remove,) if draft.reference else ()
    if suggested.action == "delete order":
        return removed
    common = {"subject": draft.resource.get("subject"), "authoredOn": on.isoformat(), "status": "draft"}
    concept = {"text": suggested.display}
    if suggested.action == "replace order":
        coding = [{"system": _RXNORM, "code": suggested.code, "display": suggested.display}]
        order = {
            "resourceType": "MedicationRequest", **common, "intent": "order",
            "medicationCodeableConcept": {**concept, "coding": coding},
        }  # fmt: skip
        return (*removed, _create(suggested.label, order)) if removed else ()  # beside the NSAID it is no replacement
    coding = [{"system": _LOINC, "code": suggested.code, "display": suggested.display}]
    test = {"resourceType": "ServiceRequest", **common, "intent": "order", "code": {**concept, "coding": coding}}
    return (_create(suggested.label, test),)


def _create(description: str, resource: Resource) -> Action:
    given: dict[str, Any] = {key: value for key, value in resource.items() if value is not None}
    identity = _identity("resource", json.dumps(given, sort_keys=True))
    return Action(type="create", description=description, resource={**given, "id": identity})


def _kept(notice: Notice, draft: Draft) -> Action:
    """The order with a note of what is to be measured."""
    given = draft.resource.get("note")
    notes = [*(given if isinstance(given, list) else []), {"text": plain(_steps(notice.monitoring))}]
    return Action(
        type="update", description="Note on the order what is monitored", resource={**draft.resource, "note": notes}
    )
