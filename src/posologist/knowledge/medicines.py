"""What the patient takes at one moment, what was stopped, what could not be identified, what is ordered twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from posologist.core.evidence import Ledger
from posologist.core.patient import Medication
from posologist.core.settings import Settings
from posologist.core.situation import CurrentDrug, StoppedDrug
from posologist.core.values import DrugId, EvidenceKey

_WASHOUT_DAYS = 60  # the longest washout that a rule asks for is five weeks (fluoxetine before an MAOI)


@dataclass(frozen=True)
class Medicines:
    """Medicines at one moment; `doubled` holds ingredients with two present orders that differ."""

    current: tuple[CurrentDrug, ...]
    stopped: tuple[StoppedDrug, ...]
    unresolved: tuple[str, ...]
    doubled: dict[DrugId, EvidenceKey]


def medicines_at(medications: Iterable[Medication], *, as_of: date, settings: Settings, ledger: Ledger) -> Medicines:
    """Medicines taken at `as_of`; of several orders of one ingredient the newest stands for it."""
    current: dict[DrugId, CurrentDrug] = {}
    stopped: dict[DrugId, StoppedDrug] = {}
    doubled: dict[DrugId, EvidenceKey] = {}
    unresolved: set[str] = set()
    for medication in sorted(medications, key=lambda m: (m.start or date.min, str(m.source))):
        if medication.start is not None and medication.start > as_of:
            continue
        taken = medication.status != "stopped" and (medication.end is None or medication.end >= as_of)
        key = _leaf(medication, as_of, settings, ledger, taken=taken)
        for drug in map(DrugId, medication.drugs):
            if taken:
                new = _current(drug, medication, key)
                old = current.get(drug)
                if old is not None and (new.form, new.dose) != (old.form, old.dose):
                    doubled[drug] = ledger.add("derived", f"{drug} is ordered twice", because=[old.because, key])
                current[drug] = new
            else:
                _note_stop(stopped, drug, medication, as_of, key)
        if taken and medication.unresolved:
            unresolved.add(medication.unresolved)
    return Medicines(
        current=tuple(current[drug] for drug in sorted(current)),
        stopped=tuple(stopped[drug] for drug in sorted(stopped) if drug not in current),
        unresolved=tuple(sorted(unresolved)),
        doubled=dict(sorted(doubled.items())),
    )


def _leaf(medication: Medication, as_of: date, settings: Settings, ledger: Ledger, *, taken: bool) -> EvidenceKey:
    """What the record says of one medicine, with what is doubtful about it."""
    verb = "takes" if taken else "took"
    if taken and medication.status == "unknown":
        verb = "takes or holds (the status is not certain)"
    since = f" since {medication.start}" if medication.start else ""
    open_for = (as_of - medication.start).days if medication.start is not None and medication.end is None else 0
    old = taken and open_for > settings.medication_lookback_days
    doubt = "; an old order without an end: confirm that it is still taken" if old else ""
    return ledger.add("patient", f"{verb} {medication.text}{since}{doubt}", source=str(medication.source))


def _note_stop(
    stopped: dict[DrugId, StoppedDrug], drug: DrugId, medication: Medication, as_of: date, key: EvidenceKey
) -> None:
    """Keeps a stop that may still matter: within the longest washout, or on a day that is not known."""
    if medication.end is None:
        stopped.setdefault(drug, StoppedDrug(drug=drug, hours_ago=None, because=key))
    elif (as_of - medication.end).days <= _WASHOUT_DAYS:
        hours = 24.0 * (as_of - medication.end).days
        stopped[drug] = StoppedDrug(drug=drug, hours_ago=hours, because=key)


def _current(drug: DrugId, medication: Medication, key: EvidenceKey) -> CurrentDrug:
    return CurrentDrug(
        drug=drug,
        text=medication.text,
        since=medication.start,
        dose=medication.dose if len(medication.drugs) == 1 else None,
        unit=medication.dose_unit,
        per_day=medication.per_day,
        route=medication.route,
        form=medication.form,
        because=key,
    )
