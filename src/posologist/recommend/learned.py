"""What populations teach about a patient, beside guideline and kinetics: published scores and rules, learned models.

A model is asked only where the record holds the inputs without which it was not trained; it changes no plan and no dose
here (`learned_effect` moves published effects and risks). Without a model of the task the published scores stand alone,
and the opinion says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from posologist.core.errors import ModelError
from posologist.core.recommendation import Opinion, PublishedScore, Reason
from posologist.core.values import DrugId, Quantity
from posologist.knowledge.load import Knowledge
from posologist.learn import artefact
from posologist.learn.features import Row
from posologist.learn.predict import Served
from posologist.learn.tasks import cardiovascular, immunotherapy, pressure, warfarin
from posologist.learn.tasks.missing import Missing
from posologist.recommend.case import Case

Models = Mapping[str, Served]
"""Served models by their task."""


def models_of(knowledge: Knowledge) -> Models:
    """The saved models: of the knowledge folders (`learned/NAME`), and of the package for the tasks that these lack.

    Raises
    ------
    ModelError
        If one is damaged, of a task that this program does not ask, or was trained on other features.
    """
    return {task: served for task in _folders(knowledge) if (served := model_of(knowledge, task)) is not None}


def model_of(knowledge: Knowledge, task: str, models: Models | None = None) -> Served | None:
    """The model of a task: of `models` where these are given, else the saved one, read when it is first asked for.

    Raises
    ------
    ModelError
        As `models_of`.
    """
    if models is not None:
        return models.get(task)

    def read() -> Served | None:
        folder = _folders(knowledge).get(task)
        return None if folder is None else artefact.load(folder, schema=SCHEMAS[task])

    return knowledge.remember(("learned model", task), read)


def _folders(knowledge: Knowledge) -> Mapping[str, Path]:
    """Folder of each task's model; the last one counts, the package's own is the first."""

    def read() -> dict[str, Path]:
        own = sorted(place.parent for place in artefact.DEFAULTS.glob(f"*/{artefact.MANIFEST}"))
        return dict(_tasks((*own, *knowledge.learned_folders)))

    return knowledge.remember("learned folders", read)


def _tasks(folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        task = artefact.read_manifest(folder).task
        if task not in SCHEMAS:
            known = ", ".join(sorted(SCHEMAS))
            raise ModelError(f"no patient is asked about '{task}'", where=str(folder), hint=f"train one of {known}")
        yield task, folder


SCHEMAS = {task.TASK: task.SCHEMA for task in (cardiovascular, immunotherapy, pressure, warfarin)} | {
    pressure.SYMPTOMS_TASK: pressure.SYMPTOMS_SCHEMA
}
"""The features with which this program asks a model of each task."""
RISK_SHOWN = frozenset({"hypertension", "dyslipidaemia"})
"""Indications whose treatment follows from the risk of cardiovascular disease."""
_OUTCOMES = {
    cardiovascular.TASK: "a first cardiovascular event within ten years",
    immunotherapy.TASK: "objective response to an immune checkpoint inhibitor",
    warfarin.TASK: "maintenance dose of warfarin",
}
_SCORES = {
    cardiovascular.TASK: (
        "prevent_total_cvd_10y", "prevent_ascvd_10y", "framingham_cvd_lipids_10y", "framingham_cvd_bmi_10y",
    ),
    immunotherapy.TASK: ("loris_pan_cancer",),
    warfarin.TASK: (),
}  # fmt: skip
_WARFARIN = DrugId("warfarin")
_HIGH_BURDEN = 10.0  # mutations/Mb


def opinions_on_indication(case: Case, models: Models | None = None) -> tuple[Opinion, ...]:
    """Opinions that belong to the indication, and to a checkpoint inhibitor that is taken now.

    `models` None: those of the knowledge.
    """
    found = []
    if case.indication.id in RISK_SHOWN:
        found.append(_opinion(case, cardiovascular.TASK, _risk_row(case), models))
    return (*found, *_on_checkpoint(case, case.present, models))


def has_opinions(drugs: Sequence[DrugId]) -> bool:
    """Whether there is anything to say of these drugs."""
    return _WARFARIN in drugs or immunotherapy.drug_kind(drugs) is not None


def opinions_on_drugs(
    case: Case, drugs: Sequence[DrugId], models: Models | None = None, *, races: Sequence[str] = ()
) -> tuple[Opinion, ...]:
    """Opinions that belong to drugs which are ordered or to be dosed; `races` are those of the record."""
    found = []
    if _WARFARIN in drugs:
        row = warfarin.row_of_patient(case.situation, case.genome, ledger=case.ledger, races=races)
        found.append(_opinion(case, warfarin.TASK, row, models))
    return (*found, *_on_checkpoint(case, drugs, models))


def _on_checkpoint(case: Case, drugs: Iterable[DrugId], models: Models | None) -> tuple[Opinion, ...]:
    given = tuple(drugs)
    if immunotherapy.drug_kind(given) is None:
        return ()
    row = immunotherapy.row_of_patient(case.situation, given, ledger=case.ledger)
    opinion = _opinion(case, immunotherapy.TASK, row, models)
    return (opinion.model_copy(update={"rules": _burden(case)}),)


def _risk_row(case: Case) -> Row | Missing:
    return cardiovascular.row_of_patient(case.situation, case.knowledge, ledger=case.ledger)


def _opinion(case: Case, task: str, row: Row | Missing, models: Models | None) -> Opinion:
    model = model_of(case.knowledge, task, models)
    lacking = row.inputs if isinstance(row, Missing) else ()
    asked = None if model is None or isinstance(row, Missing) else model.predict([row], ledger=case.ledger)[0]
    return Opinion(
        task=task,
        outcome=_OUTCOMES[task],
        published=tuple(score for name in _SCORES[task] if (score := _score(case, name)) is not None),
        model=asked,
        unasked="no model of this outcome is held" if model is None else "the record lacks inputs" if lacking else "",
        lacking=lacking,
    )


def _score(case: Case, name: str) -> PublishedScore | None:
    fact = case.situation.facts.get(name)
    if fact is None or isinstance(fact.value, bool | str):
        return None
    score = case.knowledge.scores[name]
    quantity = Quantity(value=fact.value, unit=fact.unit or score.unit, because=(fact.because,))
    return PublishedScore(score=name, text=score.name, quantity=quantity, note=score.note)


def _burden(case: Case) -> tuple[Reason, ...]:
    """The rule of the label: a burden of at least 10 mutations/Mb counts as high, whatever the tumour."""
    fact = case.situation.facts.get("tumour_mutational_burden")
    if fact is None or isinstance(fact.value, bool | str):
        return ()
    rule = case.knowledge_key(
        f"a tumour mutational burden of {_HIGH_BURDEN:g} mutations/Mb or more counts as high",
        source="pembrolizumab-tmb-high", status="secondary",
    )  # fmt: skip
    high = "high" if fact.value >= _HIGH_BURDEN else "not high"
    return (Reason(text=f"tumour mutational burden {fact.value:g} mutations/Mb: {high}", because=(fact.because, rule)),)
