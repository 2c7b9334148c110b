"""The patient at one moment: latest and derived values, conditions with what they imply, present medicines.

Nothing is guessed here. A value that is not in the record is simply not a fact of the situation; a value that
is old is a fact marked stale; what an absent list means is left to the three-valued match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from statistics import median

from posologist.core.evidence import Ledger
from posologist.core.patient import Condition, Observation, Patient
from posologist.core.settings import Settings
from posologist.core.situation import KnownFact, Situation
from posologist.core.values import CitationKey, DrugId, EvidenceKey, rounded
from posologist.knowledge.expression import UNKNOWN, Scalar
from posologist.knowledge.load import Knowledge
from posologist.knowledge.medicines import medicines_at
from posologist.knowledge.scores import compute

_PRESSURE_KEYS = ("sbp", "dbp", "heart_rate")
_BODY_KEYS = ("weight", "height", "bmi")
_PRESSURE_WINDOW = timedelta(days=30)  # readings of the last month before the latest are taken together
_DERIVED = ("bmi", "bsa", "ckd_epi_2021_cr", "cockcroft_gault")
_FACT_OF_SCORE = {"ckd_epi_2021_cr": "egfr", "cockcroft_gault": "crcl"}
_SAME_RESULT = 0.1
_KIDNEY_GAP = 0.35  # two eGFR values that differ by so much: one of them is wrong
_DIALYSIS_DAYS = 30  # a dialysis procedure so recent means that the patient is on dialysis
_FERTILE_AGE = (12, 55)
_NOT_PREGNANT_DAYS = 28  # one cycle: an older "not pregnant" says nothing of today
_PREGNANT_DAYS = 294  # 42 weeks: no pregnancy lasts longer
_RAAS = frozenset({"ACE inhibitor", "ARB", "ARNI"})


def situate(patient: Patient, *, as_of: date, knowledge: Knowledge, settings: Settings, ledger: Ledger) -> Situation:
    """The patient at `as_of`, as rules and models see it.

    Parameters
    ----------
    patient
        As read from the record.
    as_of
        The day for which advice is asked; later entries are not used.
    ledger
        Receives one leaf of evidence for each fact taken over.
    """
    facts = _demographics(patient, as_of, ledger)
    facts |= _latest(patient.observations, as_of, knowledge, settings, ledger)
    conditions, past = _conditions(patient.conditions, as_of, knowledge, ledger)
    allergies = _allergies(patient, ledger, tolerated=False)
    for name in sorted(key for key in allergies if key.endswith(":angioedema")):
        culprit = name.removesuffix(":angioedema")
        if {culprit, *knowledge.groups_of(DrugId(culprit))} & _RAAS:
            conditions.setdefault("angioedema_history", allergies[name])
    facts |= _states(patient, facts, conditions, as_of, ledger)
    medicines = medicines_at(patient.medications, as_of=as_of, settings=settings, ledger=ledger)
    situation = Situation(
        patient_id=patient.id,
        name=patient.name,
        as_of=as_of,
        facts=facts,
        conditions=conditions,
        past_conditions=past,
        current=medicines.current,
        stopped=medicines.stopped,
        doubled=medicines.doubled,
        allergies=allergies,
        tolerated=_allergies(patient, ledger, tolerated=True),
        unresolved_medicines=medicines.unresolved,
        unresolved_allergies=tuple(
            a.original.display or a.original.code
            for a in patient.allergies
            if not a.groups and not a.tolerated and a.category not in ("food", "environment")
        ),
        preferences_avoid=_preferences(patient, "avoid", ledger),
        preferences_prefer=_preferences(patient, "prefer", ledger),
        problem_list_given=patient.problem_list_given,
        medication_list_given=patient.medication_list_given,
        allergy_list_given=patient.allergy_list_given,
    )
    return _lower_kidney(situation, _with_scores(situation, knowledge, ledger), knowledge, ledger)


def _demographics(patient: Patient, as_of: date, ledger: Ledger) -> dict[str, KnownFact]:
    facts = {}
    if patient.birth_date is not None:
        born = patient.birth_date
        age = as_of.year - born.year - ((as_of.month, as_of.day) < (born.month, born.day))
        key = ledger.add("patient", f"born {born.isoformat()}: age {age} on {as_of}", source=str(patient.source))
        facts["age"] = KnownFact(value=float(age), unit="a", text="age", because=key)
    if patient.sex is not None:
        key = ledger.add("patient", f"sex: {patient.sex}", source=str(patient.source))
        facts["sex"] = KnownFact(value=patient.sex, text="sex", because=key)
    if patient.race:
        key = ledger.add("patient", f"race recorded: {', '.join(patient.race)}", source=str(patient.source))
        black = any("black" in race.lower() or "african" in race.lower() for race in patient.race)
        facts["black"] = KnownFact(value=black, text="race recorded as Black", because=key)
        facts["race_group"] = KnownFact(value=_race_group(patient.race), text="race as recorded", because=key)
    return facts


def _race_group(races: Iterable[str]) -> str:
    """White, Black, Asian, mixed (several of them) or other, of the races that a record names."""
    words = {"white": "White", "black": "Black", "african": "Black", "asian": "Asian"}
    found = {group for race in races for word, group in words.items() if word in race.lower()}
    return found.pop() if len(found) == 1 else "mixed" if found else "other"


def _latest(
    observations: Iterable[Observation], as_of: date, knowledge: Knowledge, settings: Settings, ledger: Ledger
) -> dict[str, KnownFact]:
    by_key: dict[str, list[Observation]] = {}
    for observation in observations:
        if observation.key and observation.at is not None and observation.at.date() <= as_of:
            by_key.setdefault(observation.key, []).append(observation)
    facts = {}
    for key, found in sorted(by_key.items()):
        found.sort(key=lambda o: (o.at, str(o.source)))
        numeric = [o for o in found if o.value is not None]
        if numeric and found[-1].value is None:
            continue  # the newest result cannot be used: an older one is not today's
        if numeric and _contradicts_itself(key, numeric):
            continue  # two results of one moment that differ: neither is taken; the record's finding says so
        if numeric:
            facts[key] = _numeric_fact(key, numeric, as_of, settings, ledger)
        elif found[-1].text and not _is_numeric(key, knowledge):
            last = found[-1]
            evidence = ledger.add("patient", f"{key}: {last.text} on {last.at:%Y-%m-%d}", source=str(last.source))
            at = last.at.date() if last.at else None
            facts[key] = KnownFact(value=last.text, at=at, text=key, because=evidence)
    return facts


def _is_numeric(key: str, knowledge: Knowledge) -> bool:
    """Whether results of this key are numbers: a text in their place is no fact."""
    analyte = knowledge.codes.analytes.get(key)
    return analyte is not None and bool(analyte.unit)


def _contradicts_itself(key: str, found: list[Observation]) -> bool:
    """Whether the latest moment holds results that differ by more than a tenth (pressures vary and are averaged)."""
    latest = [o.value for o in found if o.at == found[-1].at and o.value is not None]
    return key not in _PRESSURE_KEYS and max(latest) - min(latest) > _SAME_RESULT * abs(max(latest, key=abs))


def _numeric_fact(key: str, found: list[Observation], as_of: date, settings: Settings, ledger: Ledger) -> KnownFact:
    last = found[-1]
    assert last.at is not None
    at = last.at.date()
    used = [o for o in found if key in _PRESSURE_KEYS and o.at and last.at - o.at <= _PRESSURE_WINDOW] or [last]
    leaves = [
        ledger.add("patient", f"{key}: {o.value:g} {o.unit} on {o.at:%Y-%m-%d}", source=str(o.source)) for o in used
    ]
    value = rounded(median(o.value for o in used if o.value is not None))
    evidence = leaves[0]
    if len(used) > 1:
        evidence = ledger.add(
            "derived", f"{key}: median {value:g} {last.unit} of {len(used)} readings up to {at}", because=leaves
        )
    allowed = (
        settings.stale_blood_pressure_days
        if key in _PRESSURE_KEYS
        else settings.stale_body_size_days
        if key in _BODY_KEYS
        else settings.stale_laboratory_days
    )
    return KnownFact(value=value, unit=last.unit, at=at, stale=(as_of - at).days > allowed, text=key, because=evidence)


def _conditions(
    conditions: Iterable[Condition], as_of: date, knowledge: Knowledge, ledger: Ledger
) -> tuple[dict[str, EvidenceKey], dict[str, EvidenceKey]]:
    active: dict[str, EvidenceKey] = {}
    past: dict[str, EvidenceKey] = {}
    for condition in sorted(conditions, key=lambda c: (c.onset or date.min, str(c.source))):
        if condition.status == "refuted" or (condition.onset is not None and condition.onset > as_of):
            continue
        ended = condition.status == "resolved" or (condition.end is not None and condition.end <= as_of)
        what = condition.original.display or condition.original.code or ", ".join(condition.codes)
        since = f" since {condition.onset}" if condition.onset else ""
        state = "past problem" if ended else "problem"
        key = ledger.add("patient", f"{state}: {what}{since}", source=str(condition.source))
        for code in condition.codes:
            _imply(past if ended else active, code, key, knowledge, ledger)
    for code, key in past.items():  # what is never over counts as present
        if code in knowledge.codes.lasting:
            active.setdefault(code, key)
    return dict(sorted(active.items())), dict(sorted(past.items()))


def _imply(into: dict[str, EvidenceKey], code: str, key: EvidenceKey, knowledge: Knowledge, ledger: Ledger) -> None:
    into.setdefault(code, key)
    for implied in sorted(knowledge.codes.implied(code)):
        if implied not in into:
            into[implied] = ledger.add("derived", f"{code} is a form of {implied}", because=[key])


def _states(
    patient: Patient,
    facts: Mapping[str, KnownFact],
    conditions: Mapping[str, EvidenceKey],
    as_of: date,
    ledger: Ledger,
) -> dict[str, KnownFact]:
    """Pregnancy, lactation and dialysis: true or false only where the record or biology says so."""
    found: dict[str, KnownFact] = {}
    never: EvidenceKey | None = None
    age = facts["age"].value if "age" in facts else None
    if patient.sex == "male" and "sex" in facts:
        never = facts["sex"].because
    elif isinstance(age, float) and not _FERTILE_AGE[0] <= age <= _FERTILE_AGE[1]:
        never = ledger.add(
            "assumption",
            f"not of child-bearing age ({_FERTILE_AGE[0]} to {_FERTILE_AGE[1]})",
            because=[facts["age"].because],
        )
    for name, code in (("pregnant", "pregnancy"), ("breastfeeding", "breastfeeding")):
        if code in conditions:
            found[name] = KnownFact(value=True, text=code, because=conditions[code])
        elif never is not None:
            found[name] = KnownFact(value=False, text=f"no {code}", because=never)
    stated = facts.get("pregnancy_status")
    if "pregnant" not in found and stated is not None and isinstance(stated.value, str) and stated.at is not None:
        value, age_days = stated.value.lower(), (as_of - stated.at).days
        denied = "not pregnant" in value
        affirmed = not denied and value in ("pregnant", "patient currently pregnant")
        if (denied and age_days <= _NOT_PREGNANT_DAYS) or (affirmed and age_days <= _PREGNANT_DAYS):
            found["pregnant"] = stated.model_copy(update={"value": affirmed})
    procedures = [p for p in patient.procedures if "dialysis" in p.codes and p.at is not None and p.at <= as_of]
    recent = max((p for p in procedures), key=lambda p: (p.at or date.min, str(p.source)), default=None)
    if recent is not None and recent.at is not None and (as_of - recent.at).days <= _DIALYSIS_DAYS:
        key = ledger.add("patient", f"dialysis on {recent.at}", source=str(recent.source))
        found["dialysis"] = KnownFact(value=True, at=recent.at, text="dialysis", because=key)
    elif "dialysis" in conditions:
        found["dialysis"] = KnownFact(value=True, text="dialysis", because=conditions["dialysis"])
    elif patient.problem_list_given:
        key = ledger.add("patient", "no dialysis on the problem list", source=str(patient.source))
        found["dialysis"] = KnownFact(value=False, text="no dialysis", because=key)
    return found


def _allergies(patient: Patient, ledger: Ledger, *, tolerated: bool) -> dict[str, EvidenceKey]:
    found: dict[str, EvidenceKey] = {}
    for allergy in patient.allergies:
        if allergy.tolerated is not tolerated:
            continue
        what = allergy.original.display or allergy.original.code
        reaction = f" ({', '.join(allergy.reactions)})" if allergy.reactions else ""
        word = "tolerated" if tolerated else "allergy or intolerance"
        key = ledger.add("patient", f"{word}: {what}{reaction}", source=str(allergy.source))
        for group in allergy.groups:
            found.setdefault(group, key)
        for reaction_word in allergy.reactions:
            for group in allergy.groups:
                found.setdefault(f"{group}:{reaction_word}", key)
    return dict(sorted(found.items()))


def _preferences(patient: Patient, wish: str, ledger: Ledger) -> dict[str, EvidenceKey]:
    return {
        p.about: ledger.add("patient", f"the patient wishes to {wish} {p.about}", source=str(p.source))
        for p in sorted(patient.preferences, key=lambda p: p.about)
        if p.wish == wish
    }


def cited_leaf(ledger: Ledger, knowledge: Knowledge, text: str, *, source: str, status: str) -> EvidenceKey:
    """Leaf for a cited fact: its citation with title and place, not the bare key."""
    named = knowledge.remember(("citation", source), lambda: _spelled_out(knowledge, source))
    return ledger.add("knowledge", text, source=named, status=status)  # type: ignore[arg-type]


def _spelled_out(knowledge: Knowledge, source: str) -> str:
    citation = knowledge.citations.get(CitationKey(source))
    if citation is None:
        return source
    return f"{source}: {citation.title}" + (f" ({citation.where})" if citation.where else "")


class FactSubject:
    """Subject of scores: facts, conditions and medicines of a situation, without genes or a plan."""

    def __init__(self, situation: Situation, knowledge: Knowledge) -> None:
        self._situation = situation
        self._groups = frozenset(g for c in situation.current for g in knowledge.groups_of(c.drug))

    def fact(self, name: str) -> Scalar:
        """The known value, or UNKNOWN."""
        known = self._situation.facts.get(name)
        return UNKNOWN if known is None else known.value

    def query(self, function: str, arguments: tuple[object, ...]) -> Scalar:
        """dx and on, over the situation's conditions and present medicines."""
        name = str(arguments[0])
        if function == "dx":
            return condition_state(self._situation, name)
        if function == "on":
            return name in self._groups if name in self._groups or self._situation.medication_list_given else UNKNOWN
        return UNKNOWN


def condition_state(situation: Situation, code: str) -> Scalar:
    """True when the condition is present; False when a problem list was given without it; else UNKNOWN."""
    if code in situation.conditions:
        return True
    return False if situation.problem_list_given else UNKNOWN


def _with_scores(situation: Situation, knowledge: Knowledge, ledger: Ledger) -> Situation:
    """Situation with the derived values: body size and kidney function first, then every computable score."""
    order = [
        *(s for s in _DERIVED if s in knowledge.scores),
        *(s for s in sorted(knowledge.scores) if s not in _DERIVED),
    ]
    for score_id in order:
        score = knowledge.scores[score_id]
        name = _FACT_OF_SCORE.get(score_id, score_id)
        result = compute(score, FactSubject(situation, knowledge))
        if result.value is None or result.valid is False:
            continue
        inputs = [situation.facts[i] for i in score.inputs if i in situation.facts]
        measured = situation.facts.get(name)
        dates = [i.at for i in inputs if i.at is not None]
        if measured is not None and measured.at is not None and dates and measured.at >= max(dates):
            continue  # a value reported by the laboratory itself, as new as our inputs, is kept
        value = rounded(float(result.value), 4)
        evidence = ledger.add(
            "derived",
            f"{score.name}: {value:g} {score.unit}",
            because=[
                *(i.because for i in inputs),
                cited_leaf(
                    ledger, knowledge, f"{score.name}: {score.formula}", source=score.source, status=score.status
                ),
            ],
        )
        fact = KnownFact(
            value=value,
            unit=score.unit,
            at=min(dates) if dates else None,
            stale=any(i.stale for i in inputs),
            text=score.name,
            because=evidence,
        )
        situation = situation.model_copy(update={"facts": {**situation.facts, name: fact}})
    return situation


def _lower_kidney(measured: Situation, derived: Situation, knowledge: Knowledge, ledger: Ledger) -> Situation:
    """Kidney function made consistent: the lower of two contradicting eGFR values; eGFR for a missing clearance.

    Where the reported eGFR and the one computed from creatinine differ by more than `_KIDNEY_GAP`, the lower stands for
    both measures of kidney function, and `kidney_values_contradict` becomes a fact.
    """
    reported, facts = measured.facts.get("egfr"), dict(derived.facts)
    if reported is None or not isinstance(reported.value, float):
        return derived
    clearance = facts.get("crcl")
    if clearance is None:
        key = ledger.add(
            "assumption",
            "creatinine clearance is not computable: the reported eGFR stands for it",
            because=[reported.because],
        )
        facts["crcl"] = reported.model_copy(update={"unit": "mL/min", "text": "eGFR for clearance", "because": key})
        return derived.model_copy(update={"facts": facts})
    score = knowledge.scores["ckd_epi_2021_cr"]
    result = compute(score, FactSubject(measured, knowledge))
    if result.value is None or not isinstance(clearance.value, float):
        return derived
    computed, told = float(result.value), reported.value
    if abs(computed - told) <= _KIDNEY_GAP * max(computed, told):
        return derived
    lower = rounded(min(computed, told), 4)
    key = ledger.add(
        "derived",
        f"reported eGFR {told:g} and the one computed from creatinine {rounded(computed, 4):g} contradict each other: "
        f"the lower, {lower:g}, is used",
        because=[reported.because, clearance.because],
    )
    facts["egfr"] = reported.model_copy(update={"value": lower, "because": key})
    facts["crcl"] = clearance.model_copy(update={"value": min(clearance.value, lower), "because": key})
    facts["kidney_values_contradict"] = KnownFact(value=True, text="kidney values contradict", because=key)
    return derived.model_copy(update={"facts": facts})
