"""Plans worth assessing: switch, add, raise, start; and the guideline's two-drug starts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from posologist.core.indication import CandidateRule, KeepRule, PairRule
from posologist.core.statement import Statement
from posologist.core.values import DrugId, EvidenceKey
from posologist.recommend.case import Case, Proposal


def guideline_of(case: Case) -> str:
    """The guideline whose rules apply: the chosen one where the indication has it, else the first held."""
    held = [g.key for g in case.indication.guidelines]
    return case.settings.guideline if case.settings.guideline in held else held[0]


def applies(case: Case, guideline: str) -> bool:
    """Whether a rule of this guideline is in force; guidelines are never merged."""
    return guideline in (guideline_of(case), "all", "any")


def candidate_rules(case: Case) -> Mapping[DrugId, CandidateRule]:
    """Every drug that the guideline names for the indication, with its best line."""
    return case.remember("candidate rules", lambda: _candidate_rules(case))


def _candidate_rules(case: Case) -> dict[DrugId, CandidateRule]:
    """Rules that hold come first; where none holds for a drug, one that could not be decided stands for it."""
    rules = sorted((r for r in case.indication.candidates if applies(case, r.guideline)), key=lambda r: r.line)
    truths = [case.patient.match(rule.when).truth for rule in rules]
    found: dict[DrugId, CandidateRule] = {}
    for wanted in (True, None):
        for rule, truth in zip(rules, truths, strict=True):
            if truth is wanted:
                for name in rule.about:
                    for drug in sorted(case.knowledge.members.get(name, frozenset())):
                        found.setdefault(drug, rule)
    return found


def treating(case: Case) -> tuple[DrugId, ...]:
    """Present medicines that act on this indication."""
    return case.remember("treating", lambda: _treating(case))


def _treating(case: Case) -> tuple[DrugId, ...]:
    candidates = candidate_rules(case)
    return tuple(
        d
        for d in case.present
        if d in candidates or any(r.indication == case.indication.id for r in case.knowledge.drugs[d].doses)
    )


def single_plans(
    case: Case, rankable: tuple[DrugId, ...], troubled: frozenset[DrugId], forbidden: frozenset[DrugId]
) -> list[Proposal]:
    """Start one drug: alone, beside the present treatment, or in place of one present drug that may be replaced.

    `troubled`: present drugs with a serious finding; these may also be replaced within their class. `forbidden`:
    present drugs that must not be taken together; stopping one of them is a plan of its own.
    """
    now, present = treating(case), case.present
    plans = [
        Proposal(stop=(drug,), keep=tuple(d for d in present if d != drug), start=())
        for drug in now
        if drug in forbidden and not _is_needed(case, drug)
    ]
    for drug in rankable:
        if drug in now:
            others = tuple(d for d in present if d != drug)
            plans.append(Proposal(stop=(), keep=others, start=(drug,), raises=(drug,)))
            continue
        plans.append(Proposal(stop=(), keep=present, start=(drug,)))
        for replaced in now:
            if not _is_needed(case, replaced) and not _same_effect(case, replaced, drug, troubled):
                plans.append(Proposal(stop=(replaced,), keep=tuple(d for d in present if d != replaced), start=(drug,)))
    return plans


def pair_plans(case: Case, best: Mapping[str, DrugId]) -> list[Proposal]:
    """The guideline's two-drug starts, each class by its best member that passed the gate.

    Parameters
    ----------
    best
        For each group or drug named in the pair rules, the member to start.
    """
    now, present = treating(case), case.present
    stop = tuple(d for d in now if not _is_needed(case, d))
    keep = tuple(d for d in present if d not in stop)
    pairs: dict[frozenset[DrugId], Proposal] = {}
    for rule in _pair_rules(case):
        for first, second in product(rule.first, rule.second):
            one, two = best.get(first), best.get(second)
            if one is None or two is None or one == two or _replaces_itself(case, stop, (first, second)):
                continue
            pairs.setdefault(frozenset((one, two)), Proposal(stop=stop, keep=keep, start=(one, two)))
    return list(pairs.values())


def _same_effect(case: Case, replaced: DrugId, drug: DrugId, troubled: frozenset[DrugId]) -> bool:
    """Whether both drugs take their effect from one rule of their class, so that a switch promises nothing."""
    if replaced in troubled:
        return False
    one, two = case.knowledge.groups_of(replaced), case.knowledge.groups_of(drug)
    main = case.indication.measures[0].key
    named = {name for rule in case.indication.effects if rule.measure == main for name in rule.about}
    if replaced in named or drug in named:
        return False
    return bool(one & two & named)


def _replaces_itself(case: Case, stopped: tuple[DrugId, ...], groups: tuple[str, ...]) -> bool:
    """Whether a pair would stop a drug only to start another of its class; adding to the present one covers that."""
    return any(group in case.knowledge.groups_of(drug) for drug in stopped for group in groups)


def pair_groups(case: Case) -> tuple[str, ...]:
    """Groups named by the two-drug starts that apply to this patient."""
    return tuple(dict.fromkeys(g for r in _pair_rules(case) for side in (r.first, r.second) for g in side))


def _pair_rules(case: Case) -> list[PairRule]:
    subject = case.patient
    return [
        rule
        for rule in case.indication.pairs
        if applies(case, rule.guideline) and subject.match(rule.when).truth is True
    ]


def _is_needed(case: Case, drug: DrugId) -> bool:
    """Whether a present drug is not to be replaced: a condition calls for it, or it serves another use as well."""
    return bool(needs(case, drug))


def needs(case: Case, drug: DrugId) -> tuple[EvidenceKey, ...]:
    """Why a present drug is not to be replaced; empty when it may be."""
    return case.remember(("needs", drug), lambda: _needs(case, drug))


def _needs(case: Case, drug: DrugId) -> tuple[EvidenceKey, ...]:
    subject, groups = case.subject(drug, case.present), case.knowledge.groups_of(drug)
    preferred = tuple(s for s in case.indication.preferences if s.action == "prefer")
    rules: tuple[KeepRule | Statement, ...] = (*case.indication.keeps, *preferred)
    for rule in rules:
        match = subject.match(rule.when)
        if groups & set(rule.about) and match.truth is True:
            leaf = case.knowledge_key(rule.text, source=rule.source, status=rule.status)
            return (*subject.because(match), leaf)
    own = set(case.indication.condition_codes)
    for use in sorted({r.indication.replace("-", "_") for r in case.knowledge.drugs[drug].doses} - own):
        for code, key in case.situation.conditions.items():
            if code not in own and (use == code or use.startswith(f"{code}_")):
                leaf = case.ledger.add(
                    "knowledge", f"{drug} is also used for {use.replace('_', ' ')}", source=f"drug file {drug}"
                )
                return (key, leaf)
    return ()
