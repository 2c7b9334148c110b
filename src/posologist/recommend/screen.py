"""Screening: allergy, contraindication, interaction, gene, kidney, liver, pregnancy, age, duplicate class, QT.

The same functions serve the plans under review, the present medicines and an order of the `screen` verb.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

from posologist.core.drug import Drug
from posologist.core.recommendation import Finding, NotChecked, RuledOut
from posologist.core.statement import SEVERITY_ORDER, Statement
from posologist.core.values import DrugId, EvidenceKey, Quantity
from posologist.knowledge.expression import GENE_QUERIES, Scalar, expression
from posologist.knowledge.match import PatientSubject, severe_allergy
from posologist.knowledge.statements import NOT_READABLE
from posologist.recommend.candidates import treating
from posologist.recommend.case import Case, Hit, Proposal, Screened
from posologist.recommend.limits import NARROWING, limits_for

RESTRICTIVE = frozenset({"contraindicated", "avoid", "alternative", "reduce", "separate"}) | NARROWING
SEVERE = ("contraindicated", "serious")
NO_USE = "none"  # id of the indication of a question that states none
PLAN_FACTS = frozenset({"dose_per_day", "route", "form"})
_UNUSUAL = {  # facts whose name alone does not tell a reader what to supply
    "black": "whether the patient is Black",
    "score2_10y": "SCORE2 risk, which this program does not compute",
}
_SILENT = frozenset({"standard", "no recommendation", "prefer"})


def screen(case: Case, proposal: Proposal, amounts: Mapping[DrugId, float] | None = None) -> Screened:
    """Everything that speaks for caution about the started drugs of a plan, with their dose limits.

    A tapered drug is still taken for a while: what is started is checked against it too. `amounts` gives the amount
    per day of each started drug once its regimen is chosen, for rules on the dose.
    """
    hits: list[Hit] = []
    blocks: list[RuledOut] = []
    not_checked: list[NotChecked] = []
    limits = {}
    medicines = proposal.drugs
    pair_hits = _pair_hits(case, proposal)
    for drug_id in proposal.start:
        drug = case.knowledge.drugs[drug_id]
        subject = case.subject(drug_id, medicines, proposal.stop, _dose_facts(amounts, drug_id))
        own = (*drug_hits(case, drug, subject), *(h for h in pair_hits if drug_id in h.drugs))
        hits.extend(own)
        outcome = limits_for(case, drug, subject, own)
        not_checked.extend(outcome.not_checked)
        if outcome.limits is None:
            key = case.ledger.add("knowledge", outcome.problem, source=f"drug file {drug_id}")
            blocks.append(RuledOut(drug=drug_id, rule="dose", reason=outcome.problem, because=(key, *outcome.because)))
        else:
            limits[drug_id] = outcome.limits
        for what in outcome.unverified:
            blocks.append(_unverified(case, drug_id, what))
    kept = [d for d in proposal.keep if d in treating(case)]
    hits.extend(h for drug in kept for h in _kept_hits(case, drug, medicines))
    hits.extend(h for one, two in combinations(kept, 2) for h in interaction_hits(case, one, two, medicines))
    hits = _once(hits)
    blocks.extend(
        _block(case, hit, proposal.start)
        for hit in hits
        if hit.truth is True and hit.statement.action == "contraindicated"
    )
    return Screened(hits=tuple(hits), limits=limits, blocks=tuple(blocks), not_checked=tuple(not_checked))


def _once(hits: list[Hit]) -> list[Hit]:
    """Each hit once, in order: a pair that is started together finds its interaction twice."""
    found: dict[tuple[object, ...], Hit] = {}
    for hit in hits:
        found.setdefault((hit.statement.id, hit.drugs, hit.truth, hit.about, hit.because), hit)
    return list(found.values())


def _pair_hits(case: Case, proposal: Proposal) -> list[Hit]:
    """Interactions of each started drug with the others of the plan and with what is tapered meanwhile."""
    tapered = tuple(
        d for d in proposal.stop if (s := case.knowledge.drugs[d].stopping) is not None and not s.abrupt_allowed
    )
    return [
        hit
        for started in proposal.start
        for other in (*proposal.drugs, *tapered)
        if other != started and not (other in proposal.start and other < started)
        for hit in interaction_hits(case, started, other, (*proposal.drugs, *tapered), proposal.stop)
        if other not in tapered or hit.statement.kind != "duplicate"
    ]


def _kept_hits(case: Case, drug: DrugId, medicines: tuple[DrugId, ...]) -> tuple[Hit, ...]:
    """What speaks against keeping a present drug of this indication, under the plan's medicines."""
    name = f"kept {drug} {id(case.profile(medicines))}"
    return case.remember(name, lambda: drug_hits(case, case.knowledge.drugs[drug], case.subject(drug, medicines)))


def _dose_facts(amounts: Mapping[DrugId, float] | None, drug: DrugId) -> dict[str, float]:
    return {} if amounts is None or drug not in amounts else {"dose_per_day": amounts[drug]}


def drug_hits(case: Case, drug: Drug, subject: PatientSubject) -> tuple[Hit, ...]:
    """Statements about one drug alone that hold or could not be decided for this patient."""
    held = ("statements", case.indication.id, case.indication.name, drug.id)
    fixed, moving = case.knowledge.remember(held, lambda: _statements(case, drug))
    alone = case.remember(
        ("fixed hits", drug.id, id(subject.profile)),
        lambda: tuple(h for s in fixed if (h := _hit(case, s, (drug.id,), subject)) is not None),
    )
    hits = (_hit(case, statement, (drug.id,), subject) for statement in moving)
    return (*alone, *(h for h in hits if h is not None), *allergy_hits(case, drug))


def forbidden_here(case: Case, drug: DrugId) -> tuple[RuledOut, ...]:
    """What rules a drug out in every plan: contraindications that rest on the patient alone, and allergies."""
    hits = drug_hits(case, case.knowledge.drugs[drug], case.subject(drug, (drug,)))
    alone = [h for h in hits if h.statement.kind != "gene" and not _rests_on_plan(h.statement)]
    return tuple(_block(case, h, (drug,)) for h in alone if h.truth is True and h.statement.action == "contraindicated")


def _statements(case: Case, drug: Drug) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
    """Statements about a drug: those that rest on the patient alone, and those on the plan's medicines or dose."""
    found = [
        *(_named_use(case, s) for s in case.knowledge.own_statements(drug.id) if _concerns(case, s)),
        *case.knowledge.statements_about(drug.id, "gene"),
        *case.knowledge.statements_about(drug.id, "contraindication"),
        *(s for s in case.indication.preferences if set(s.about) & case.knowledge.groups_of(drug.id)),
    ]
    moving = [s for s in found if _rests_on_plan(s)]
    return tuple(s for s in found if s not in moving), tuple(moving)


def _concerns(case: Case, statement: Statement) -> bool:
    """Whether a statement is about the use in question; an order without a stated use is held against all."""
    return not statement.indication or case.indication.id in (statement.indication, NO_USE)


def _named_use(case: Case, statement: Statement) -> Statement:
    """The statement with its use in the text, where the question states none."""
    if case.indication.id != NO_USE or not statement.indication:
        return statement
    return statement.model_copy(update={"text": f"for {statement.indication.replace('-', ' ')}: {statement.text}"})


def _rests_on_plan(statement: Statement) -> bool:
    when = expression(statement.when)
    return bool(when.names & PLAN_FACTS) or any(function in ("on", "recent") for function, _ in when.queries)


def interaction_hits(
    case: Case,
    one: DrugId,
    two: DrugId,
    medicines: Iterable[DrugId],
    stopped: Iterable[DrugId] = (),
    facts: Mapping[DrugId, Mapping[str, Scalar]] | None = None,
) -> tuple[Hit, ...]:
    """Interactions between two drugs that hold for this patient, the most severe first.

    `facts` holds what is known of each drug's order: `dose_per_day`, `route`, `form`.
    """
    hits = []
    taken = tuple(medicines)
    for statement, swapped in case.knowledge.interactions_between(one, two):
        about = two if swapped else one
        softened = _softened(case, statement, one, two)
        if softened is None:
            continue
        told = (facts or {}).get(about) or _order_facts(case, about)
        hit = _hit(case, softened, (one, two), case.subject(about, taken, stopped, told), about)
        if hit is not None:
            hits.append(hit)
    duplicate = _duplicate(case, one, two)
    if duplicate is not None:
        hits.append(duplicate)
    return tuple(sorted(hits, key=lambda h: (SEVERITY_ORDER[h.statement.severity], h.statement.id)))


def _order_facts(case: Case, drug: DrugId) -> Mapping[str, Scalar]:
    """Dose, route and form of a present medicine, as far as the record states them."""
    for current in case.situation.current:
        if current.drug == drug:
            told = {"dose_per_day": current.amount_per_day, "route": current.route, "form": current.form}
            return {name: value for name, value in told.items() if value not in (None, "")}
    return {}


def _softened(case: Case, statement: Statement, one: DrugId, two: DrugId) -> Statement | None:
    """The interaction as it holds for a local form: lesser ones are left out, graver ones are to be monitored."""
    if not {one, two} & case.local:
        return statement
    if statement.severity in ("monitor", "information"):
        return None
    return statement.model_copy(
        update={
            "severity": "monitor",
            "action": "monitor",
            "text": f"{statement.text} (one is a local form: less likely)",
        }
    )


def _duplicate(case: Case, one: DrugId, two: DrugId) -> Hit | None:
    """Two drugs of one class, or two products of one ingredient; taken from `case.remember`, made once a pair."""
    return case.remember(("duplicate", *sorted((one, two))), lambda: _same_class(case, one, two))


def _same_class(case: Case, one: DrugId, two: DrugId) -> Hit | None:
    first, second = case.knowledge.drugs[one], case.knowledge.drugs[two]
    same = first.pharmacological_class == second.pharmacological_class and first.pharmacological_class
    shared = set(first.components or (first.id,)) & set(second.components or (second.id,))
    if not same and not shared:
        return None
    statement = Statement(
        id=f"duplicate.{min(one, two)}.{max(one, two)}",
        kind="duplicate",
        about=(one,),
        other=(two,),
        action="avoid",
        severity="serious",
        text=f"{first.name} and {second.name} are of the same class ({first.pharmacological_class})"
        if same
        else f"{first.name} and {second.name} hold the same ingredient",
        source="posologist-rules",  # type: ignore[arg-type]
        status="verified",
    )
    key = case.ledger.add(
        "knowledge",
        f"class of {first.name} and {second.name}: {first.pharmacological_class}",
        source=f"drug files {one}, {two}",
    )
    return Hit(statement, (one, two), True, (key,))


def allergy_hits(case: Case, drug: Drug) -> tuple[Hit, ...]:
    """Recorded allergies that reach this drug by name, by group or by cross-reaction; tolerance lowers them."""
    situation = case.situation
    hits = []
    for group, text, cross in case.knowledge.allergy_names(drug):
        key = situation.allergies.get(group)
        if key is None:
            continue
        tolerated = str(drug.id) in situation.tolerated
        severe = severe_allergy(situation, group)
        severity = "monitor" if tolerated else "serious" if cross and not severe else "contraindicated"
        statement = Statement(
            id=f"{drug.id}.allergy.{group}",
            kind="allergy",
            about=(drug.id,),
            action="contraindicated"
            if severity == "contraindicated"
            else "avoid"
            if severity == "serious"
            else "monitor",
            severity=severity,  # type: ignore[arg-type]
            text=f"{text}; later tolerated" if tolerated else text,
            source="posologist-rules",  # type: ignore[arg-type]
            status="verified",
        )
        because = (key, situation.tolerated[str(drug.id)]) if tolerated else (key,)
        rule = case.ledger.add("knowledge", text, source=f"allergy groups, {group}")
        hits.append(Hit(statement, (drug.id,), True, (*because, rule)))
    return tuple(hits)


def _hit(
    case: Case, statement: Statement, drugs: tuple[DrugId, ...], subject: PatientSubject, about: DrugId | None = None
) -> Hit | None:
    match = subject.match(statement.when)
    if match.truth is False or (match.truth is None and statement.action not in RESTRICTIVE):
        return None
    about = about or drugs[0]
    if match.truth is None:
        return Hit(statement, drugs, None, (), match.missing, about=about)
    leaf = leaf_of(case, statement)
    return Hit(statement, drugs, True, (*subject.because(match), leaf), read=match.read, about=about)


def _unverified(case: Case, drug: DrugId, what: str) -> RuledOut:
    key = case.ledger.add("knowledge", what, source=f"drug file {drug}", status="to verify")
    return RuledOut(drug=drug, rule="unverified", reason=f"{what} has not been verified in a source", because=(key,))


def _block(case: Case, hit: Hit, started: tuple[DrugId, ...]) -> RuledOut:
    return RuledOut(
        drug=" + ".join(sorted(hit.drugs, key=lambda d: d not in started)),
        rule=hit.statement.kind,
        reason=hit.statement.text,
        value=_value_read(case, hit),
        because=hit.because,
    )


def _value_read(case: Case, hit: Hit) -> Quantity | None:
    """The first measured value that the rule looked at."""
    for name in hit.read:
        known = case.situation.facts.get(name)
        if known is not None and isinstance(known.value, float):
            return Quantity(value=known.value, unit=known.unit or "1", because=(known.because,))
    return None


def findings_of(case: Case, hits: Iterable[Hit]) -> list[Finding]:
    """Hits as findings, the most severe first; what asks for nothing is left out."""
    found = []
    for hit in hits:
        statement = hit.statement
        if hit.truth is not True or statement.action in _SILENT:
            continue
        names = [case.knowledge.drugs[d].name for d in hit.drugs]
        found.append(
            Finding(
                severity=statement.severity,
                title=f"{' and '.join(names)}: {statement.text}",
                detail=statement.management or _advice(statement),
                drugs=tuple(hit.drugs),
                because=hit.because,
            )
        )
    return sorted(found, key=lambda f: (SEVERITY_ORDER[f.severity], f.title))


def _advice(statement: Statement) -> str:
    amount = f" {statement.value:g} {statement.unit}" if statement.value is not None else ""
    words = {
        "contraindicated": "do not use",
        "avoid": "avoid unless nothing else is possible",
        "alternative": "prefer another drug",
        "start": f"start at{amount}",
        "cap": f"do not exceed{amount}",
        "percent": f"give{amount} of the usual dose",
        "interval": f"interval of at least{amount}",
        "reduce": "lower the dose",
        "increase": f"a higher dose may be needed{amount}",
        "separate": f"separate the doses by{amount}" if amount else "separate the doses in time",
        "monitor": "monitor",
    }
    return words.get(statement.action, statement.action)


def not_checked_of(case: Case, hits: Iterable[Hit]) -> list[NotChecked]:
    """What stayed undecided: one entry for each missing fact, one for all conditions that a record cannot show."""
    by_missing: dict[tuple[str, ...], list[Hit]] = {}
    asked: dict[str, set[str]] = {}
    unstudied = [h for h in hits if h.truth is True and _is_unstudied(h.statement)]
    for hit in hits:
        if hit.truth is not None or _covered(case, hit):
            continue
        if NOT_READABLE in hit.missing or all(name.startswith("dx(") for name in hit.missing):
            asked.setdefault(hit.statement.text, set()).update(hit.drugs)
        else:
            by_missing.setdefault(hit.missing, []).append(hit)
    entries = [
        NotChecked(
            what="; ".join(sorted({h.statement.text.rstrip(".") for h in group})),
            why=f"not known: {lacking}",
            would_need=lacking,
            drugs=tuple(sorted({d for h in group for d in h.drugs})),
        )
        for missing, group in sorted(by_missing.items())
        for lacking in [", ".join(dict.fromkeys(spelled(case, name) for name in missing))]
    ]
    entries += [
        NotChecked(
            what=f"{case.knowledge.drugs[hit.drugs[0]].name}: {hit.statement.text}",
            why="not studied, or no rule on file, for a patient like this",
            would_need="a source on such patients",
            drugs=tuple(hit.drugs),
        )
        for hit in unstudied
    ]
    if asked:
        told = (f"{text} ({', '.join(sorted(drugs))})" for text, drugs in sorted(asked.items()))
        entries.append(
            NotChecked(
                what=f"contraindications to ask for: {'; '.join(told)}",
                why="no code of the record shows them",
                would_need="ask the patient",
                drugs=tuple(sorted({d for drugs in asked.values() for d in drugs})),
            )
        )
    return entries


def spelled(case: Case, name: str) -> str:
    """A missing fact in words: which medicine's day of stopping, which gene, which value."""
    function, _, rest = name.partition("(")
    argument = rest.rstrip(")").split(", ")[0]
    if function == "recent":
        group = [s.drug for s in case.situation.stopped if argument in case.knowledge.groups_of(s.drug)]
        return f"when {', '.join(group) or argument} was stopped"
    score = case.knowledge.scores.get(name)
    if score is not None:
        lacking = [i for i in score.inputs if i not in case.situation.facts]
        return f"{score.name} ({', '.join(i.replace('_', ' ') for i in lacking) or 'outside its range'})"
    if function in GENE_QUERIES:
        return f"{argument} genotype"
    if function == "taken":
        return f"since when {argument} is taken"
    if name in _UNUSUAL:
        return _UNUSUAL[name]
    return argument.replace("_", " ") if rest else name.replace("_", " ")


def _is_unstudied(statement: Statement) -> bool:
    """Whether an organ rule says that nothing is known: never to be read as "no adjustment"."""
    return statement.action == "no recommendation" and statement.kind in ("renal", "hepatic", "age")


def _covered(case: Case, hit: Hit) -> bool:
    """Whether a missing list, told once, is all that this statement lacks."""
    situation = case.situation
    return (not situation.allergy_list_given and all(n.startswith("allergy(") for n in hit.missing)) or (
        not situation.problem_list_given and all(n.startswith("dx(") for n in hit.missing)
    )


def present_hits(case: Case) -> tuple[Hit, ...]:
    """Screening of the medicines taken now, each and in pairs; what says how to start says nothing about them."""
    return case.remember("present hits", lambda: _present_hits(case))


def _present_hits(case: Case) -> tuple[Hit, ...]:
    medicines = case.present
    known = [d for d in medicines if d in case.knowledge.drugs]
    hits = [h for d in known for h in drug_hits(case, case.knowledge.drugs[d], case.subject(d, known))]
    hits = [h for h in hits if h.statement.action != "start"]
    hits += [h for one, two in combinations(known, 2) for h in interaction_hits(case, one, two, known)]
    return tuple(hits)


def troubled(case: Case) -> frozenset[DrugId]:
    """Present medicines for this indication that a serious finding speaks against."""

    def find() -> frozenset[DrugId]:
        severe = [h for h in present_hits(case) if h.truth is True and h.statement.severity in SEVERE]
        return frozenset(d for h in severe for d in h.drugs) & set(treating(case))

    return case.remember("troubled", find)


def forbidden_together(case: Case) -> frozenset[DrugId]:
    """Present medicines for this indication that must never stand in one plan (an ACE inhibitor and an ARB)."""
    pairs = (h for h in present_hits(case) if h.truth is True and len(h.drugs) > 1)
    return frozenset(d for h in pairs if h.statement.action == "contraindicated" for d in h.drugs) & set(treating(case))


def unidentified(case: Case) -> list[NotChecked]:
    """Medicines and allergies of the record that could not be identified, and lists that were not there."""
    situation = case.situation
    entries = [
        NotChecked(
            what=f"'{text}' could not be identified: its interactions, duplicates and allergies are unknown",
            why="no ingredient known to us was found in its name or codes",
            would_need="the ingredient, or the product's RxNorm code with an imported RxNorm table",
        )
        for text in situation.unresolved_medicines
    ]
    entries += [
        NotChecked(
            what=f"allergy to '{text}' could not be mapped to a drug or group",
            why="the substance is not known to us",
            would_need="the ingredient or allergy group",
        )
        for text in situation.unresolved_allergies
    ]
    for given, what in (
        (situation.problem_list_given, "problem list"),
        (situation.medication_list_given, "medication list"),
        (situation.allergy_list_given, "allergy list"),
    ):
        if not given:
            entries.append(
                NotChecked(
                    what=f"{what}: everything that rests on it", why=f"the record holds no {what}", would_need=what
                )
            )
    return entries


def leaf_of(case: Case, statement: Statement) -> EvidenceKey:
    """Evidence leaf of a statement: its claim and its management."""
    text = f"{statement.text.rstrip('.')}. {statement.management}" if statement.management else statement.text
    return case.knowledge_key(text, source=statement.source, status=statement.status)
