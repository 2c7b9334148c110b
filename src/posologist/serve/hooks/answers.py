"""The answer to a hook: request + knowledge -> cards. No clock, no network, no store; they are given as arguments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from posologist.core.errors import InputError, PosologistError
from posologist.core.genotype import GeneticProfile
from posologist.core.recommendation import Finding, NotChecked, Recommendation
from posologist.core.settings import Settings
from posologist.core.statement import SEVERITY_ORDER
from posologist.knowledge.contextual import load_contextual
from posologist.knowledge.load import Knowledge
from posologist.recommend.case import Case
from posologist.recommend.opened import NO_INDICATION, case_of
from posologist.recommend.pipeline import recommend
from posologist.recommend.screen import unidentified
from posologist.recommend.summary import present_findings
from posologist.records.rxnorm import RxNormMap
from posologist.serve.hooks.cards import Dealt, Place, dealt, information_card, plain, unchecked_card
from posologist.serve.hooks.context import Asked, asked_of, medicine_orders
from posologist.serve.hooks.requests import HookRequest
from posologist.serve.hooks.rules import advice_on

_DANGEROUS = ("contraindicated", "serious")
_MOST_LINES = 12


@dataclass(frozen=True)
class Desk:
    """What every answer needs beside the request."""

    knowledge: Knowledge
    settings: Settings
    place: Place
    today: date
    rxnorm: RxNormMap | None = None


def answer(
    request: HookRequest,
    desk: Desk,
    *,
    genome: GeneticProfile | None = None,
    missing: Collection[NotChecked] = (),
    shown: Collection[str] = (),
) -> tuple[Dealt, ...]:
    """Cards of one request; never none unless everything was checked and nothing was found.

    Parameters
    ----------
    missing
        What of the record could not be fetched, and why.
    shown
        The uuids of the cards that this order's other hooks have shown; they are not dealt again, but counted.
    """
    try:
        rules = load_contextual(desk.knowledge)
        asked = asked_of(request, knowledge=desk.knowledge, rules=rules, today=desk.today, rxnorm=desk.rxnorm)
        if request.hook == "patient-view":
            return _patient_view(asked, desk, genome, tuple(missing))
        found = _orders(asked, request, desk, genome, tuple(missing))
    except InputError as error:
        return (_impossible(request, desk, str(error)),)
    except PosologistError as error:  # our facts or a model failed: the caller must see that nothing was checked
        return (_impossible(request, desk, error.kind),)
    return found if request.show_repeats else _without_repeats(found, frozenset(shown), request, asked, desk)


def _impossible(request: HookRequest, desk: Desk, why: str) -> Dealt:
    return unchecked_card(
        "this patient", plain(why)[:400], "a record that can be read, for a living patient",
        patient_id=request.patient_id, on=desk.today, place=desk.place,
    )  # fmt: skip


def _orders(
    asked: Asked, request: HookRequest, desk: Desk, genome: GeneticProfile | None, missing: tuple[NotChecked, ...]
) -> tuple[Dealt, ...]:
    if not any(draft.selected for draft in medicine_orders(asked.drafts)):
        kinds = ", ".join(sorted({d.display for d in asked.drafts if d.selected})) or "no order"
        return (
            unchecked_card(
                f"the request holds no medicine to give ({plain(kinds)[:60]})", "only orders of medicines are checked",
                "a draft MedicationRequest", patient_id=request.patient_id, on=desk.today, place=desk.place,
            ),
        )  # fmt: skip
    advice = advice_on(
        asked,
        rules=load_contextual(desk.knowledge),
        genome=genome,
        knowledge=desk.knowledge,
        settings=desk.settings,
    )
    return dealt(
        advice.notices,
        (*missing, *advice.open_points),
        unread=advice.unread,
        patient_id=request.patient_id,
        on=asked.as_of,
        place=desk.place,
    )


def _without_repeats(
    found: tuple[Dealt, ...], shown: frozenset[str], request: HookRequest, asked: Asked, desk: Desk
) -> tuple[Dealt, ...]:
    """The cards that are new; those shown before are told in one line, so that their absence is not read as safe.

    That an order could not be checked at all is told each time.
    """
    old = [d for d in found if d.card.uuid in shown and (d.drugs or d.card.indicator == "info")]
    if not old:
        return found
    new = tuple(d for d in found if d not in old)
    seen = [d.card.summary for d in old]
    told = information_card(
        f"{len(seen)} shown when this order was selected, unchanged", seen, level="info",
        patient_id=request.patient_id, on=asked.as_of, place=desk.place,
    )  # fmt: skip
    return (*new, told)


def _patient_view(
    asked: Asked, desk: Desk, genome: GeneticProfile | None, missing: tuple[NotChecked, ...]
) -> tuple[Dealt, ...]:
    """At most two cards: what is dangerous now, or could not be checked; and the leading plan for each indication."""
    dated = desk.settings.model_copy(update={"as_of": asked.as_of})
    case = case_of(asked.patient, NO_INDICATION, genome=genome, knowledge=desk.knowledge, settings=dated)
    documents = [
        recommend(asked.patient, indication, genome=genome, knowledge=desk.knowledge, settings=dated)
        for indication in _indications(case)
    ]
    points = (*asked.open_points, *missing, *unidentified(case))
    return tuple(
        card for card in (_dangers(case, asked, points, desk), _plans(documents, asked, desk)) if card is not None
    )


def _indications(case: Case) -> list[str]:
    return [
        name
        for name, indication in sorted(case.knowledge.indications.items())
        if set(indication.condition_codes) & set(case.situation.conditions)
    ]


def _dangers(case: Case, asked: Asked, points: tuple[NotChecked, ...], desk: Desk) -> Dealt | None:
    found: list[Finding] = [f for f in present_findings(case) if f.severity in _DANGEROUS]
    found.sort(key=lambda f: (SEVERITY_ORDER[f.severity], f.title))
    lines = [f"{f.title.rstrip('.')}: {f.detail}" for f in found][:_MOST_LINES]
    lines += [f"Could not check: {p.what}. {p.why}. Would clear it: {p.would_need}" for p in points][:_MOST_LINES]
    if not lines:
        return None
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        summary = f"{_cut(found[0].title, 110)}{more}"
    else:
        summary = _cut(f"Could not check: {points[0].what}", 139)
    grave = bool(found) and found[0].severity == "contraindicated"
    return information_card(
        summary, lines, level="warning" if grave or asked.doubtful or not asked.record_given else "info",
        patient_id=asked.patient.id, on=asked.as_of, place=desk.place,
    )  # fmt: skip


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 2] + " …"


def _plans(documents: list[Recommendation], asked: Asked, desk: Desk) -> Dealt | None:
    if not documents:
        return None
    lines = [_plan(document, desk.knowledge) for document in documents]
    return information_card(
        f"Leading plans: {'; '.join(lines)}", [*lines, f"As of {asked.as_of}; options and reasons on the page."],
        level="info", patient_id=asked.patient.id, on=asked.as_of, place=desk.place,
    )  # fmt: skip


def _plan(document: Recommendation, knowledge: Knowledge) -> str:
    name = knowledge.indications[document.indication].name
    if not document.options:
        return f"{name}: no plan is offered; the page says why"
    ties = len(document.options[0].ties_with)
    tied = f" (tied with {ties} more)" if ties else ""
    return f"{name}: {document.options[0].plan.text}{tied}{_learned(document)}"


def _learned(document: Recommendation) -> str:
    """From whom it was learned what moved the plans' effects and harms; empty where nothing did."""
    moves = [opinion.moves for opinion in document.opinions if opinion.moves is not None]
    moved, labels = (
        " and ".join(sorted(set(names))) for names in ((f"{m.kind}s" for m in moves), (m.label for m in moves))
    )
    return f"; {moved} moved by a model learned from {labels}" if moves else ""
