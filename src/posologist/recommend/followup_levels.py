"""What a measured level changes in a drug's twin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.followup import ParameterChange, TwinChange
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.settings import Settings
from posologist.core.simulation import DoseDocument, RankedRegimen
from posologist.core.twin import TwinRecord
from posologist.core.values import DrugId, Estimate, EvidenceKey, Quantity
from posologist.knowledge.load import Knowledge
from posologist.knowledge.models import PkModel
from posologist.recommend.dose_by_model import Given, dose_by_models
from posologist.records.table import EventRow, LevelRow


def after_level(
    stored: TwinRecord,
    level: LevelRow,
    *,
    patient: Patient,
    now: datetime,
    genome: GeneticProfile | None = None,
    events: Sequence[EventRow] = (),
    knowledge: Knowledge,
    settings: Settings,
    ledger: Ledger,
) -> TwinChange:
    """The twin after one more level, and what the level changed.

    Parameters
    ----------
    stored
        The twin as it was stored; it is replayed on the same version of its model.
    events
        Administrations since it was stored.
    ledger
        Receives the evidence of both answers.

    Raises
    ------
    InputError
        If the model is no longer held or has changed, or the level cannot be read for it.
    NumericsError
        If no estimate was found from the levels.
    """
    model = next((m for m in knowledge.models(stored.drug) if m.id == stored.model), None)
    if model is None:
        raise InputError(
            f"the model {stored.model} of the stored twin is not held", where="--twin",
            hint="give that version of the knowledge",
        )  # fmt: skip

    def told(levels: tuple[LevelRow, ...]) -> DoseDocument:
        given = Given(now=now, events=tuple(events), levels=levels, stored=stored)
        document = dose_by_models(
            patient, str(stored.drug), (model,), given, genome=genome, knowledge=knowledge, settings=settings
        )
        ledger.merge({EvidenceKey(key): entry for key, entry in document.evidence.items()})
        return document

    return changed_twin(told(()), told((level,)), level, ledger=ledger)


def newest_level(
    drug: DrugId,
    levels: Sequence[LevelRow],
    events: Sequence[EventRow],
    *,
    patient: Patient,
    now: datetime,
    genome: GeneticProfile | None = None,
    knowledge: Knowledge,
    settings: Settings,
    ledger: Ledger,
) -> TwinChange:
    """What the newest of a drug's levels changed, by the model that fits all of them best.

    Parameters
    ----------
    levels, events
        Those of the drug, the levels in the order of time.

    Raises
    ------
    PosologistError
        Why no twin can be made of them.
    """
    models = knowledge.models(drug)
    if not models:
        raise InputError("no complete population model of the drug is held", hint="a model of the drug")

    def told(chosen: Sequence[PkModel], known: Sequence[LevelRow]) -> DoseDocument:
        given = Given(now=now, events=tuple(events), levels=tuple(known))
        return dose_by_models(patient, str(drug), chosen, given, genome=genome, knowledge=knowledge, settings=settings)

    best = told(models, levels).twin
    lead = [model for model in models if best is not None and model.id == best.model]
    before, after = told(lead, levels[:-1]), told(lead, levels)
    for document in (before, after):
        ledger.merge({EvidenceKey(key): entry for key, entry in document.evidence.items()})
    return changed_twin(before, after, levels[-1], ledger=ledger)


def changed_twin(before: DoseDocument, after: DoseDocument, level: LevelRow, *, ledger: Ledger) -> TwinChange:
    """What lies between two answers of `dose`, the second with one more level."""
    if after.twin is None:
        raise InputError("no twin was made of the level", where="--levels", hint="give doses and levels of the drug")
    text = f"level of {level.analyte}: {level.value:g} {level.unit} at {level.at:%Y-%m-%d %H:%M}"
    leaf = ledger.add("patient", text, source=str(level.source))
    both = (leaf, *(k for e in after.parameters.values() for k in e.because))
    key = ledger.add("derived", f"the twin of {after.drug} by {after.model} after {text}", because=dict.fromkeys(both))
    moved = tuple(
        ParameterChange(name=name, before=before.parameters[name], after=estimate)
        for name, estimate in after.parameters.items()
        if name in before.parameters
    )
    return TwinChange(
        drug=after.drug, model=after.model, level=Quantity(value=level.value, unit=level.unit, because=(leaf,)),
        parameters=moved, toxic_before=_toxic(before), toxic_after=_toxic(after), next_sample=after.next_sample,
        record=after.twin, findings=tuple(f for f in after.findings if f.title == "A level does not fit"),
        text=text, because=(key,),
    )  # fmt: skip


def _toxic(document: DoseDocument) -> Estimate | None:
    """Probability of toxic exposure under the regimen in use; None without one, or without a toxic bound on file."""
    present: RankedRegimen | None = document.present
    return None if present is None else present.toxic_probability
