"""The main path: from a patient to a ranked, dosed, explained recommendation. Start reading here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from posologist.core.engine import Engine, LocalEngine
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.patient import Patient
from posologist.core.recommendation import (
    Finding,
    NotChecked,
    Opinion,
    Option,
    Reason,
    Recommendation,
    RuledOut,
    cited_keys,
)
from posologist.core.settings import Settings
from posologist.core.statement import SEVERITY_ORDER
from posologist.core.values import DrugId, EvidenceKey
from posologist.core.version import VERSION
from posologist.knowledge.load import Knowledge
from posologist.recommend.assess import DISCOURAGED, assess, dosed_plan, dosed_present, moved
from posologist.recommend.candidates import (
    candidate_rules,
    needs,
    pair_groups,
    pair_plans,
    single_plans,
    treating,
)
from posologist.recommend.case import Assessed, Case, Proposal
from posologist.recommend.computed import computed_findings
from posologist.recommend.effects import Scale, scale_of
from posologist.recommend.gate import gate
from posologist.recommend.goals import goals_of, shown_goal
from posologist.recommend.learned import Models, opinions_on_indication
from posologist.recommend.learned_effect import LearnedFigures, learned_figures
from posologist.recommend.learned_opinions import opinions_on_plans
from posologist.recommend.levels import answered_levels
from posologist.recommend.opened import Opener, case_of
from posologist.recommend.rank import Row, member_key, rank
from posologist.recommend.reasons import option_of, outcome_for, yardstick_of
from posologist.recommend.remarks import is_adult, not_adult, remarks_on, stale_facts, unread_calls
from posologist.recommend.screen import (
    forbidden_here,
    forbidden_together,
    not_checked_of,
    present_hits,
    troubled,
    unidentified,
)
from posologist.recommend.summary import current_of, indicated, present_findings, summary_of
from posologist.records.table import EventRow, LevelRow


def recommend(
    patient: Patient,
    indication: str,
    *,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings | None = None,
    levels: Sequence[LevelRow] = (),
    events: Sequence[EventRow] = (),
    models: Models | None = None,
    opened: Opener = case_of,
) -> Recommendation:
    """Ranked plans for one patient and one indication, with reasons and what was ruled out or not checked.

    Parameters
    ----------
    patient
        As read by `records`.
    indication
        Id, name or alias of an indication on file, e.g. "hypertension".
    genome
        As called by `genome`; None is "not tested", never normal.
    settings
        `settings.as_of` is the day of the question; it must be given.
    levels, events
        Drug levels and administrations: what they say of the medicines that they are of is among the findings.
    models
        Served models by their task, told beside published scores among the opinions; those of the pressure's response
        and of the symptoms under its drugs move published effects and harms, within bounds. None: those of the
        knowledge and of the package.
    opened
        Opens the case; a server gives one that remembers.

    Raises
    ------
    InputError
        If the indication is not on file, or `as_of` is missing or before the patient's birth.
    """
    settings = settings or Settings()
    case = opened(patient, knowledge.indication(indication), genome=genome, knowledge=knowledge, settings=settings)
    call, why = indicated(case, goals_of(case), bool(treating(case))) if is_adult(case) else ("no", not_adult(case))
    learned = learned_figures(case, patient, models, adult=is_adult(case))
    published = scale = scale_of(case) if is_adult(case) else None
    only_orders = learned is not None and not learned.decides
    plans: list[Assessed] = []
    ruled_out: list[RuledOut] = []
    if scale is not None and (call != "no" or troubled(case)):
        plans, ruled_out = _plans(case, scale, wanted=call != "no")
        scale = scale.moved_by(learned) if learned is not None else scale
    tied_by = published if only_orders else scale
    rows = rank(
        case, plans, lambda one, two: tied_by is not None and _tie(case, tied_by, one, two), needed=call == "yes",
        weigh=lambda leaders: _weigh(case, scale, leaders), chosen_first=only_orders,
    )  # fmt: skip
    ruled_out += _held_back(plans, rows)
    options, missing = _options(case, scale, rows)
    told, unused = answered_levels(case, patient, levels, events)
    missing += [*unused, *stale_facts(case), *unread_calls(case)]
    findings = [
        *present_findings(case),
        *told,
        *(computed_findings(case) if is_adult(case) else ()),
        *remarks_on(case, patient, call=call, why=why, scale=scale, plans=plans),
        *_empty(case, scale, options, call != "no", ruled_out),
    ]
    opinions = opinions_on_indication(case, models) if is_adult(case) else ()
    if learned is not None:
        shown = [(row.plan, outcome_for(case, scale, row.plan)) for row in rows] if scale is not None else []
        opinions = (*opinions, *(told for each in learned.held for told in opinions_on_plans(each, scale, shown)))
    return _document(case, patient, rows, options, missing, findings, ruled_out, scale, opinions, learned)


def recommend_many(
    patients: Iterable[Patient],
    indication: str,
    *,
    knowledge: Knowledge,
    settings: Settings,
    engine: Engine | None = None,
) -> Iterator[Recommendation]:
    """The same recommendation for many patients, in their order, on any engine."""

    def one(patient: Patient) -> Recommendation:
        return recommend(patient, indication, knowledge=knowledge, settings=settings)

    return (engine or LocalEngine()).map(one, patients)


def _plans(case: Case, scale: Scale, *, wanted: bool) -> tuple[list[Assessed], list[RuledOut]]:
    """Plans that passed the gate, and what was ruled out on the way.

    `wanted`: more treatment is called for; if not, only plans that take a troubled drug away are of interest.
    """
    passed: list[Assessed] = []
    ruled_out: list[RuledOut] = []
    rankable = _rankable(case, ruled_out)
    singles = single_plans(case, rankable, troubled(case), forbidden_together(case))
    if not wanted:
        singles = [p for p in singles if troubled(case) & set(p.stop)]
    barred = {d: forbidden_here(case, d) for d in sorted({d for p in singles for d in p.start})}
    ruled_out.extend(entry for entries in barred.values() for entry in entries)
    for proposal in singles:
        if any(barred[d] for d in proposal.start):
            continue
        _try(case, scale, proposal, passed, ruled_out)
    for proposal in pair_plans(case, _best_members(case, passed, rankable)) if wanted else ():
        _try(case, scale, proposal, passed, ruled_out)
    offered = {d for plan in passed for d in plan.proposal.start}
    return passed, _one_reason_each(ruled_out, offered)


def _one_reason_each(ruled_out: list[RuledOut], offered: set[DrugId]) -> list[RuledOut]:
    """One entry for each drug that no plan offers: what holds for the drug itself, else for it beside another."""
    found: dict[str, RuledOut] = {}
    for entry in sorted(ruled_out, key=lambda r: " + " in r.drug):
        drug = entry.drug.split(" + ")[0]
        if drug not in offered:
            found.setdefault(drug, entry)
    return sorted(found.values(), key=lambda r: (r.rule, r.drug))


def _held_back(plans: Sequence[Assessed], rows: Sequence[Row]) -> list[RuledOut]:
    """Drugs that only plans with something serious against them start, where none of these is shown."""
    shown = {d for row in rows for plan in (row.plan, *row.equivalents) for d in plan.proposal.start}
    free = {d for plan in plans if plan.tier < DISCOURAGED for d in plan.proposal.start}
    found: dict[DrugId, RuledOut] = {}
    for plan in plans:
        for hit in plan.screened.hits:
            if hit.truth is True and hit.statement.action == "avoid":
                for drug in set(hit.drugs) & set(plan.proposal.start) - shown - free:
                    entry = RuledOut(drug=drug, rule="discouraged", reason=hit.statement.text, because=hit.because)
                    found.setdefault(drug, entry)
    return [found[drug] for drug in sorted(found)]


def _try(case: Case, scale: Scale, proposal: Proposal, passed: list[Assessed], ruled_out: list[RuledOut]) -> None:
    assessed = assess(case, scale, proposal)
    gated = gate(case, assessed) if isinstance(assessed, Assessed) else assessed
    if isinstance(gated, Assessed):
        passed.append(gated)
    elif len(proposal.start) == 1:
        ruled_out.extend(gated)


def _weigh(case: Case, scale: Scale | None, plans: Sequence[Assessed]) -> Sequence[Assessed]:
    """The plans with their effects moved by what was learned, which is asked about all of them at once."""
    if scale is None or scale.mover is None:
        return plans
    drugs = (dosed_plan(case, scale, plan.proposal, plan.regimens) for plan in plans)
    scale.mover.ask([dosed_present(case, scale), *drugs])
    return [moved(case, scale, plan) for plan in plans]


def _rankable(case: Case, ruled_out: list[RuledOut]) -> tuple[DrugId, ...]:
    """Candidates whose facts are verified enough to be recommended; the others are listed with what is missing."""
    found = []
    for drug_id in candidate_rules(case):
        drug = case.knowledge.drugs[drug_id]
        if drug.depth == "rankable" and any(r.indication == case.indication.id for r in drug.doses):
            found.append(drug_id)
        elif drug.depth != "screening" and any(r.indication == case.indication.id for r in drug.doses):
            key = case.ledger.add(
                "knowledge",
                f"{drug.name}: dose, limits or products for {case.indication.name} are not verified",
                source=f"drug file {drug_id}",
                status="to verify",
            )
            ruled_out.append(
                RuledOut(
                    drug=drug_id,
                    rule="unverified",
                    because=(key,),
                    reason="its dose, limits or products are not verified in a source; confirm them in the label",
                )
            )
    return tuple(found)


def _best_members(case: Case, passed: list[Assessed], rankable: tuple[DrugId, ...]) -> dict[str, DrugId]:
    """For each group of the two-drug starts, the member that passed the gate; a drug that is named is its own."""
    ordered = sorted((p for p in passed if len(p.proposal.start) == 1), key=lambda p: member_key(case, p))
    best: dict[str, DrugId] = {}
    for group in pair_groups(case):
        if DrugId(group) in rankable:
            best[group] = DrugId(group)
            continue
        for plan in ordered:
            drug = plan.proposal.start[0]
            if group in case.knowledge.groups_of(drug) and not plan.proposal.raises:
                best[group] = drug
                break
    return best


def _options(case: Case, scale: Scale | None, rows: tuple[Row, ...]) -> tuple[tuple[Option, ...], list[NotChecked]]:
    if scale is None:
        return (), []
    built = [option_of(case, scale, row, number + 1) for number, row in enumerate(rows)]
    options = [option for option, _ in built]
    tied = tuple(
        option.model_copy(
            update={
                "ties_with": tuple(
                    other.rank
                    for other in options
                    if other.rank != option.rank
                    and other.utility.low <= option.utility.high
                    and option.utility.low <= other.utility.high
                )
            }
        )
        for option in options
    )
    return tied, [entry for _, missing in built for entry in missing]


def _tie(case: Case, scale: Scale, one: Assessed, two: Assessed) -> bool:
    """Whether the utility intervals of two plans overlap."""
    first, second = outcome_for(case, scale, one).utility, outcome_for(case, scale, two).utility
    return first.low <= second.high and second.low <= first.high


def _empty(
    case: Case,
    scale: Scale | None,
    options: tuple[Option, ...],
    wanted: bool,
    ruled_out: list[RuledOut],
) -> list[Finding]:
    """Why nothing is recommended, where nothing is; never silence."""
    if options:
        return []
    if not is_adult(case):
        return []
    if not wanted:
        return [_kept(case, drug) for drug in sorted(troubled(case))]
    if scale is None:
        title = f"No plan can be ranked: the risk without treatment of {case.indication.name} cannot be computed"
        key = case.ledger.add("knowledge", "no baseline risk applies", source=f"indication {case.indication.id}")
        return [Finding(severity="serious", title=title, detail="the record lacks its inputs", because=(key,))]
    keys = tuple(dict.fromkeys(k for r in ruled_out for k in r.because))
    if not keys:
        keys = (case.ledger.add("knowledge", "no candidate is on file", source=f"indication {case.indication.id}"),)
    return [
        Finding(
            severity="serious",
            title="No plan passed the checks",
            detail="every candidate was ruled out; see the list with rule, value and source",
            because=keys,
        )
    ]


def _kept(case: Case, drug: DrugId) -> Finding:
    """Why a present drug with a serious finding is not replaced although the target is met."""
    name = case.knowledge.drugs[drug].name
    reasons = needs(case, drug)
    if reasons:
        return Finding(
            severity="monitor",
            title=f"{name} is kept in spite of a serious finding: it serves another condition",
            detail="weigh the finding with whoever treats that condition",
            drugs=(drug,),
            because=reasons,
        )
    key = case.ledger.add("knowledge", f"no replacement of {name} passed the checks", source=f"drug file {drug}")
    return Finding(
        severity="serious",
        title=f"{name} has a serious finding and no replacement passed the checks",
        detail="see the list of what was ruled out",
        drugs=(drug,),
        because=(key,),
    )


def _document(
    case: Case,
    patient: Patient,
    rows: tuple[Row, ...],
    options: tuple[Option, ...],
    missing: list[NotChecked],
    findings: list[Finding],
    ruled_out: list[RuledOut],
    scale: Scale | None,
    opinions: tuple[Opinion, ...],
    learned: LearnedFigures | None,
) -> Recommendation:
    open_points = [*unidentified(case), *not_checked_of(case, present_hits(case)), *missing]
    for row in rows:
        open_points += [*row.plan.screened.not_checked, *not_checked_of(case, row.plan.screened.hits)]
    if scale is not None and scale.unweighted:
        harms = ", ".join(event.replace("_", " ") for event in sorted(scale.unweighted))
        open_points.append(
            NotChecked(
                what=f"harms without a weight in the ranking: {harms}",
                why="no source supports a weight; they count nothing and are named among the cautions",
                would_need="published weights",
            )
        )
    document = Recommendation(
        as_of=case.situation.as_of,
        indication=case.indication.id,
        patient=summary_of(case, patient),
        profile=dict(sorted(case.profile(case.present).genes.items())),
        current=current_of(case, rows[0].plan if rows else None),
        goal=shown_goal(goals_of(case)),
        yardstick=yardstick_of(case, scale) if scale is not None else None,
        options=options,
        ruled_out=tuple(dict.fromkeys(ruled_out)),
        findings=tuple(sorted(findings, key=lambda f: SEVERITY_ORDER[f.severity])),
        not_checked=tuple(dict.fromkeys(open_points)),
        assumptions=(),
        opinions=opinions,
        data_quality=patient.quality,
        evidence={},
        settings=case.settings,
        versions=Versions(
            posologist=VERSION,
            knowledge=case.knowledge.version,
            models={} if learned is None else learned.version,
            **_definitions(case),
        ),
    )
    reached = case.ledger.reachable(cited_keys(document))
    assumptions = tuple(
        Reason(text=e.text, because=(EvidenceKey(k),)) for k, e in reached.items() if e.kind == "assumption"
    )
    return document.model_copy(update={"evidence": reached, "assumptions": assumptions})


def _definitions(case: Case) -> dict[str, dict[str, str]]:
    return {} if case.genome is None else {"definitions": dict(case.genome.versions.definitions)}
