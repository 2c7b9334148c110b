"""What changed between two recommendations, and which new fact of the patient caused it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from posologist.core.evidence import Evidence, Ledger
from posologist.core.followup import Change, ChangeKind
from posologist.core.recommendation import Finding, Option, Recommendation, RuledOut
from posologist.core.values import EvidenceKey
from posologist.recommend.followup_plan import plan_keys

_ORDER: tuple[ChangeKind, ...] = (
    "advice", "plan lost", "plan gained", "plan re-ranked", "dose changed", "ruled out", "no longer ruled out",
    "finding new", "finding gone",
)  # fmt: skip
_NO_CAUSE = re.compile(r"^born |^no |\bnot (?:on|in|known)\b")
Plan = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Compared:
    """Two recommendations for one patient, the older first; `ledger` receives the evidence of both."""

    old: Recommendation
    new: Recommendation
    ledger: Ledger

    def __post_init__(self) -> None:
        for document in (self.old, self.new):
            self.ledger.merge({EvidenceKey(key): entry for key, entry in document.evidence.items()})

    @cached_property
    def fresh(self) -> Mapping[str, Evidence]:
        """Facts of the patient that only the newer one rests on."""
        return {k: e for k, e in self.new.evidence.items() if k not in self.old.evidence and _is_fact(e)}

    @cached_property
    def lost(self) -> Mapping[str, Evidence]:
        """Facts of the patient that only the older one rests on."""
        return {k: e for k, e in self.old.evidence.items() if k not in self.new.evidence and _is_fact(e)}

    def causes(
        self, now: Iterable[EvidenceKey], was: Iterable[EvidenceKey] = (), drugs: Sequence[str] = ()
    ) -> tuple[EvidenceKey, ...]:
        """Facts that caused a change.

        New facts below `now`; else new ones in the place of a fact below `was`; else facts that name one of `drugs`,
        no longer true ones among them; else every new fact.
        """
        below = self._facts(self.new, now, self.fresh)
        if not below:
            names = {_name(self.lost[k]) for k in self._facts(self.old, was, self.lost)}
            below = [key for key, entry in self.fresh.items() if _name(entry) in names]
        if not below:
            held = {**self.lost, **self.fresh}
            below = [key for key, entry in held.items() if any(drug in entry.text.lower() for drug in drugs)]
        found = below or list(self.fresh)
        return tuple(EvidenceKey(key) for key in sorted(found, key=lambda k: (self.ledger[EvidenceKey(k)].text, k)))

    def _facts(self, document: Recommendation, keys: Iterable[EvidenceKey], among: Mapping[str, Evidence]) -> list[str]:
        held = [key for key in keys if key in document.evidence]
        return [key for key in self.ledger.reachable(held) if key in among]

    def because(self, causes: Sequence[EvidenceKey]) -> tuple[tuple[EvidenceKey, ...], str]:
        """The causes in words; without a new fact it is the day of the question, or the facts on file, that moved."""
        if causes:
            return tuple(causes), "; ".join(self._told(key) for key in causes)
        same = self.old.versions.knowledge == self.new.versions.knowledge
        if same and self.old.settings.model_copy(update={"as_of": None}) == self.new.settings.model_copy(
            update={"as_of": None}
        ):
            text = f"no new fact of the patient: asked on {self.new.as_of} instead of {self.old.as_of}"
        else:
            text = "no new fact of the patient: the facts on file or the settings have changed"
        source = f"knowledge {self.old.versions.knowledge}, then {self.new.versions.knowledge}"
        return (self.ledger.add("setting", text, source=source),), text

    def _told(self, key: EvidenceKey) -> str:
        text = self.ledger[key].text
        return f"no longer: {text}" if key in self.lost else text


def difference(old: Recommendation, new: Recommendation, *, ledger: Ledger) -> tuple[Change, ...]:
    """What changed from one recommendation to a later one: plans, their order and doses, what is ruled out, findings.

    Each change names the new facts of the patient on which it rests, found by comparing the evidence of the two. The
    result depends on the content of the documents alone.
    """
    both = Compared(old, new, ledger)
    found = [*_plans(both), *_ruled_out(both), *_findings(both)]
    return tuple(sorted(dict.fromkeys(found), key=lambda c: (_ORDER.index(c.kind), c.now, c.was)))


def finding_changes(old: Recommendation, new: Recommendation, *, ledger: Ledger) -> tuple[Change, ...]:
    """Only what changed among the findings."""
    found = _findings(Compared(old, new, ledger))
    return tuple(sorted(dict.fromkeys(found), key=lambda c: (_ORDER.index(c.kind), c.now, c.was)))


def _plans(both: Compared) -> list[Change]:
    old, new = ({_plan(o): o for o in document.options} for document in (both.old, both.new))
    found = [_lost(both, old[plan]) for plan in old if plan not in new]
    for plan in new:
        if plan not in old:
            where = f"plan {new[plan].rank}: {new[plan].plan.text}"
            found.append(_change(both, "plan gained", "", where, new[plan], _keys(new[plan])))
    kept_then, kept_now = ([plan for plan in held if plan in old and plan in new] for held in (old, new))
    for plan in kept_now:
        if kept_then.index(plan) != kept_now.index(plan):
            was, now = (f"plan {held[plan].rank}: {held[plan].plan.text}" for held in (old, new))
            found.append(_change(both, "plan re-ranked", was, now, new[plan], _keys(new[plan]), _keys(old[plan])))
        if _doses(old[plan]) != _doses(new[plan]):
            was, now = old[plan].plan.text, new[plan].plan.text
            found.append(_change(both, "dose changed", was, now, new[plan], _keys(new[plan]), _keys(old[plan])))
    return found


def _change(
    both: Compared, kind: ChangeKind, was: str, now: str, option: Option, keys: Sequence[EvidenceKey],
    before: Sequence[EvidenceKey] = (),
) -> Change:  # fmt: skip
    """A change of a plan, which rests on its new numbers and on what caused it."""
    causes, why = both.because(both.causes(keys, before))
    drugs = tuple(str(start.drug) for start in option.plan.start)
    return Change(kind=kind, was=was, now=now, why=why, drugs=drugs, because=tuple(dict.fromkeys((*causes, *keys))))


def _lost(both: Compared, option: Option) -> Change:
    """A plan that is no longer offered: ruled out now, or no longer among the best."""
    drugs = {str(start.drug) for start in option.plan.start}
    barred = [r for r in both.new.ruled_out if r.drug.split(" + ")[0] in drugs and not _was_barred(both, r)]
    keys = tuple(dict.fromkeys(k for entry in barred for k in entry.because))
    now = "; ".join(f"{r.drug}: {r.reason}" for r in barred) or "no longer among the plans that are offered"
    causes, why = both.because(both.causes(keys, _keys(option)))
    because = tuple(dict.fromkeys((*causes, *keys, *_keys(option))))
    was = f"plan {option.rank}: {option.plan.text}"
    return Change(kind="plan lost", was=was, now=now, why=why, drugs=tuple(sorted(drugs)), because=because)


def _was_barred(both: Compared, entry: RuledOut) -> bool:
    return any((r.drug, r.rule, r.reason) == (entry.drug, entry.rule, entry.reason) for r in both.old.ruled_out)


def _ruled_out(both: Compared) -> list[Change]:
    """Drugs that are ruled out now and were not, or the other way about, those of one reason together.

    Where no plan is offered now nothing was tried, and no drug counts as allowed again.
    """
    found = []
    for kind, document, other in (
        ("ruled out", both.new, both.old),
        ("no longer ruled out", both.old, both.new),
    ):
        known = {r.drug for r in other.ruled_out}
        groups: dict[tuple[str, str], list[RuledOut]] = {}
        tried = document is both.new or bool(both.new.options)
        for entry in document.ruled_out:
            if tried and entry.drug not in known:
                groups.setdefault((entry.rule, entry.reason), []).append(entry)
        for (_, reason), entries in sorted(groups.items()):
            keys = tuple(dict.fromkeys(k for entry in entries for k in entry.because))
            drugs = tuple(sorted(entry.drug for entry in entries))
            new = document is both.new
            causes, why = both.because(both.causes(keys if new else (), () if new else keys))
            found.append(
                Change.model_validate(
                    {
                        "kind": kind, "was": "" if new else reason, "now": reason if new else "", "why": why,
                        "drugs": drugs, "because": tuple(dict.fromkeys((*causes, *keys))),
                    }
                )
            )  # fmt: skip
    return found


def _findings(both: Compared) -> list[Change]:
    old, new = ({(f.title, f.drugs): f for f in document.findings} for document in (both.old, both.new))
    found = []
    for name, finding in new.items():
        if name not in old or old[name].severity != finding.severity:
            was = "" if name not in old else _told(old[name])
            causes, why = both.because(both.causes(finding.because, drugs=finding.drugs))
            found.append(_of_finding("finding new", was, _told(finding), why, finding, causes))
    for name, finding in old.items():
        if name not in new:
            causes, why = both.because(both.causes((), finding.because, finding.drugs))
            found.append(_of_finding("finding gone", _told(finding), "", why, finding, causes))
    return found


def _told(finding: Finding) -> str:
    return f"{finding.severity}: {finding.title}"


def _of_finding(
    kind: ChangeKind, was: str, now: str, why: str, finding: Finding, causes: Sequence[EvidenceKey]
) -> Change:
    because = tuple(dict.fromkeys((*causes, *finding.because)))
    return Change(kind=kind, was=was, now=now, why=why, drugs=finding.drugs, because=because)


def _plan(option: Option) -> Plan:
    return tuple(sorted(stop.drug for stop in option.plan.stop)), tuple(sorted(s.drug for s in option.plan.start))


def _doses(option: Option) -> tuple[str, ...]:
    return tuple(sorted(f"{start.drug} {start.regimen.text}" for start in option.plan.start))


def _keys(option: Option) -> tuple[EvidenceKey, ...]:
    """What a plan's doses, its stops and its place among the others rest on."""
    return tuple(dict.fromkeys((*plan_keys(option), *option.utility.because)))


def _is_fact(entry: Evidence) -> bool:
    """A fact of the patient that can cause a change: not the age on another day, nor what is not in the record."""
    return entry.kind == "patient" and _NO_CAUSE.search(entry.text) is None


def _name(entry: Evidence) -> str:
    """What a fact is about: "potassium: 5.8 mmol/L on ..." is about potassium."""
    return entry.text.split(":")[0]
