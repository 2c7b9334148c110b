"""How a learned model moves a published figure of a drug, its effect or its risk: within bounds, and told.

The figure that counts is the published one plus a shift: a weight times what the model says of this patient, held
within a limit. How large both may be depends on whom the model was learned from and cannot be raised by any setting.
Nothing is moved where the model abstains or lacks an input, in a child, or in pregnancy. The gate comes after all this
and knows nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from statistics import NormalDist
from typing import NamedTuple

from posologist.core.patient import FamilyHistory, Patient
from posologist.core.prediction import Label
from posologist.core.values import DrugId, EvidenceKey, rounded
from posologist.learn.features import Known, Row, frame_of_rows
from posologist.learn.predict import Served
from posologist.learn.tasks import pressure
from posologist.learn.tasks.missing import Missing
from posologist.recommend.case import Case
from posologist.recommend.effects import Dosed, Shift, medicines_of_no_effect, standard_dose
from posologist.recommend.learned import Models, model_of
from posologist.recommend.learned_figures import EFFECT, FIGURES, INDICATION, Ceiling, Figure
from posologist.twin.kinetics import MissingKinetics

_DECIMALS = 3  # of an answer in the figure's unit: beyond them it may depend on which drugs were asked together


class Answer(NamedTuple):
    """What the model says of one drug: the change of the figure beyond the published one, in the figure's unit.

    `row` None: it was not asked, `why` says so; `change` None: it abstains.
    """

    row: Row | None
    change: float | None = None
    low: float = 0.0
    high: float = 0.0
    why: str = ""
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class Learned:
    """A learned model of one figure for one patient: asked about all drugs at once, its answers kept.

    `refused` says why nothing may be moved in this patient; empty where it may. `weight` is what its answers count.
    `model`, `weight_key` and `limit_key` are their evidence.
    """

    figure: Figure
    case: Case
    served: Served
    family: tuple[FamilyHistory, ...]
    ceiling: Ceiling
    weight: float
    refused: str
    model: EvidenceKey
    weight_key: EvidenceKey
    limit_key: EvidenceKey
    _answers: dict[tuple[Dosed, tuple[DrugId, ...]], Answer] = field(default_factory=dict)
    _shifts: dict[tuple[Dosed, int, float], Shift | None] = field(default_factory=dict)
    _beside: dict[tuple[DrugId, tuple[DrugId, ...]], tuple[DrugId, ...]] = field(default_factory=dict)

    @property
    def label(self) -> Label:
        """Whom the model was learned from."""
        return self.served.manifest.training.label

    @property
    def decides(self) -> bool:
        """Whether its answers may decide which plans are shown; those from simulated patients only order them."""
        return self.label == "real patients"

    @property
    def identity(self) -> tuple[str, ...]:
        """What its answers follow from beside the case: the model."""
        return (self.served.manifest.digest or self.served.manifest.graph_digest,)

    @property
    def version(self) -> dict[str, str]:
        """The model by its task, as a document names what took part."""
        held = self.served.manifest
        return {held.task: f"{held.name} {held.version} ({self.label})"}

    def beside(self, drug: DrugId, medicines: tuple[DrugId, ...]) -> tuple[DrugId, ...]:
        """Those of the plan's drugs, and of the medicines that no plan for pressure touches, that change exposure."""
        key = (drug, medicines)
        if key not in self._beside:
            self._beside[key] = self.case.beside(drug, (*medicines, *medicines_of_no_effect(self.case)))
        return self._beside[key]

    def ask(self, plans: Iterable[Sequence[Dosed]]) -> None:
        """Asks about the drugs of these plans in one batch; what was asked before is not asked again."""
        if self.refused:
            return
        waiting: dict[tuple[Dosed, tuple[DrugId, ...]], Row] = {}
        for drugs in plans:
            medicines = tuple(d.drug for d in drugs)
            for dosed in drugs:
                key = (dosed, self.beside(dosed.drug, medicines))
                if key in self._answers or key in waiting:
                    continue
                row = self._row(dosed, key[1])
                if isinstance(row, Row):
                    waiting[key] = row
                else:
                    self._answers[key] = row
        if waiting:
            self._put(waiting)

    def _put(self, waiting: Mapping[tuple[Dosed, tuple[DrugId, ...]], Row]) -> None:
        found = self.served.answers(frame_of_rows(self.figure.schema, list(waiting.values())))
        for i, (key, row) in enumerate(waiting.items()):
            if found.abstained[i]:
                self._answers[key] = Answer(row, why="the patient lies outside its training population")
                continue
            change, *edges = (
                0.0 + round(self.figure.scale * float(each[i]), _DECIMALS)
                for each in (found.value, found.low, found.high)
            )
            self._answers[key] = Answer(row, change, min(change, *edges), max(change, *edges))

    def answer(self, dosed: Dosed, medicines: tuple[DrugId, ...]) -> Answer:
        """What the model says of one drug beside these medicines."""
        if self.refused:
            return Answer(None, why=self.refused)
        key = (dosed, self.beside(dosed.drug, medicines))
        if key not in self._answers:
            row = self._row(dosed, key[1])
            if isinstance(row, Row):
                self._put({key: row})
            else:
                self._answers[key] = row
        return self._answers[key]

    def shift(self, dosed: Dosed, medicines: tuple[DrugId, ...], published: float) -> Shift | None:
        """The shift of a drug's published figure beside these medicines; None where it is not moved."""
        if self.refused:
            return None
        answer = self.answer(dosed, medicines)
        key = (dosed, id(answer), published)
        if key not in self._shifts:
            self._shifts[key] = self._shift(dosed, answer, published)
        return self._shifts[key]

    def _shift(self, dosed: Dosed, answer: Answer, published: float) -> Shift | None:
        if answer.row is None or answer.change is None:
            return None
        moved = rounded(max(-self.ceiling.shift, min(self.ceiling.shift, self.weight * answer.change)))
        least = -math.inf if self.figure.least is None else min(0.0, self.figure.least - published)
        limit = f", held to {self.ceiling.shift:g}" if abs(moved) == self.ceiling.shift else ""
        if moved < least:
            moved, limit = least, f", held so that the published figure is not moved below {self.figure.least:g}"
        width = NormalDist().inv_cdf((1.0 + self.served.manifest.interval.level) / 2.0)
        sd = self.weight * (answer.high - answer.low) / (2.0 * width)
        told = cache(partial(self._told, dosed, answer, moved, limit))
        return Shift(dosed.drug, self.figure.key, moved, sd, self.label, told)

    def _told(self, dosed: Dosed, answer: Answer, moved: float, limit: str) -> tuple[EvidenceKey, ...]:
        assert answer.row is not None  # only an answer is told
        ledger, held, figure = self.case.ledger, self.served.manifest, self.figure
        run = self.served.run(answer.row, self.model, ledger)
        what = figure.shift.format(drug=self.case.knowledge.drugs[dosed.drug].name)
        text = (
            f"{what}: {moved:{figure.style}} {figure.unit} = {self.weight:g} x "
            f"{answer.change:.3g}{limit} (model {held.name}, learned from {held.training.n} {self.label})"
        )
        return (ledger.add("derived", text, because=[run, self.weight_key, self.limit_key]),)

    def _row(self, dosed: Dosed, beside: tuple[DrugId, ...]) -> Row | Answer:
        """The row of one drug, or why the model is not asked."""
        case, drug = self.case, self.case.knowledge.drugs[dosed.drug]
        held = [name for name in pressure.PATHWAYS if name in case.knowledge.groups_of(drug.id)]
        if len(held) != 1:
            return Answer(None, why="the drug is of none of the pathways that it knows, or of several")
        ledger = case.ledger
        pathway = ledger.add("knowledge", f"{drug.name}: {held[0]}", source=f"drug file {drug.id}")
        row = pressure.row_of_patient(
            self._person(beside),
            drug=Known(str(drug.id) if drug.id in self._drugs else f"{drug.id}, by its pathway alone", pathway),
            pathway=Known(held[0], pathway),
            dose_ratio=self._dose_ratio(dosed),
            exposure_fold=self._exposure_fold(dosed.drug, beside),
        )
        if isinstance(row, Missing):
            return Answer(None, why="the record lacks inputs", lacking=row.inputs)
        return replace(row, schema=self.figure.schema)

    @property
    def _drugs(self) -> frozenset[str]:
        """Drugs that the model met often enough to know them by name."""
        fill = next(fill for fill in self.served.manifest.preparation.fills if fill.feature == "drug")
        return frozenset(pressure.DRUGS[level] for level in fill.levels)

    def _person(self, beside: tuple[DrugId, ...]) -> Row | Missing:
        """What is known of the patient, with the genes as expressed beside these medicines."""
        case, profile = self.case, self.case.profile(beside)

        def build() -> Row | Missing:
            known = pressure.about_person(case.situation, case.knowledge, family=self.family, ledger=case.ledger)
            return pressure.row_of_person(known, pressure.about_genes(profile, ledger=case.ledger))

        return case.remember(("learned person", id(profile)), build)

    def _dose_ratio(self, dosed: Dosed) -> Known | None:
        """Dose over the standard dose; None where the record does not state the one or no file the other."""
        standard, key = standard_dose(self.case, dosed.drug)
        if not standard or dosed.amount is None:
            return None
        ratio = dosed.amount / standard
        name = self.case.knowledge.drugs[dosed.drug].name
        text = f"{name} {dosed.amount:g} mg/day: {ratio:.3g} times the standard dose"
        return Known(ratio, self.case.ledger.add("derived", text, because=[key]))

    def _exposure_fold(self, drug: DrugId, beside: tuple[DrugId, ...]) -> Known | None:
        """AUC over that of a typical adult on the same dose, by the drug's file."""
        case = self.case
        prior = case.prior(drug, beside, route="oral", release="immediate")
        if isinstance(prior, MissingKinetics):
            return None
        fold = float(f"{prior.exposure_per_mg / (prior.typical['F'] / prior.typical['CL']):.3g}")
        text = f"exposure to {prior.name}: {fold:.3g} times that of a typical adult on the same dose"
        return Known(fold, case.ledger.add("derived", text, because=prior.because))


def learned_effect(
    case: Case, patient: Patient, models: Models | None, *, adult: bool, figure: Figure = EFFECT
) -> Learned | None:
    """The model that moves a figure of this question's drugs; None where none is held or none applies.

    Parameters
    ----------
    models
        Served models by their task; None: those of the knowledge and of the package.
    adult
        Whether the patient is known to be one.
    figure
        What is moved.
    """
    if not _applies(case, figure):
        return None
    served = model_of(case.knowledge, figure.task, models)
    if served is None:
        return None
    ceiling = figure.ceilings.get(served.manifest.training.label, Ceiling(0.0, 0.0))
    weight = min(case.settings.learned_weight, ceiling.weight)
    label, ledger = served.manifest.training.label, case.ledger
    weighed = f"weight of a model learned from {label}: {weight:g} (at most {ceiling.weight:g})"
    limited = f"a model learned from {label} moves {figure.moved} by at most {ceiling.shift:g} {figure.unit}"
    return Learned(
        figure, case, served, patient.family_history, ceiling, weight,
        refused=_refused(case, served, weight, figure, adult=adult),
        model=served.leaf(ledger),
        weight_key=ledger.add("setting", weighed, source="settings.learned_weight"),
        limit_key=ledger.add("setting", limited, source="recommend.learned_effect"),
    )  # fmt: skip


def _applies(case: Case, figure: Figure) -> bool:
    indication = case.indication
    if indication.id != INDICATION:
        return False
    if figure.kind == "harm":
        return any(weight.event == figure.key for weight in indication.weights)
    return any(measure.key == figure.key and measure.additive for measure in indication.measures)


def _refused(case: Case, served: Served, weight: float, figure: Figure, *, adult: bool) -> str:
    """Why nothing may be moved in this patient; empty where it may."""
    held, pregnant = served.manifest, case.situation.facts.get("pregnant")
    if held.training.label not in figure.ceilings:
        return f"it was learned from {held.training.label}, which says nothing of {figure.practice}"
    if held.kind != "regression" or held.unit != figure.answer_unit:
        return f"its answer is not in {figure.answer_unit}"
    if weight <= 0.0:
        return "it is turned off by the setting learned_weight"
    if not adult:
        return "the patient is a child, or of unknown age, and it was learned from adults"
    if pregnant is not None and pregnant.value is True:
        return "the patient is pregnant, and it was learned from patients who were not"
    return ""


@dataclass(frozen=True)
class LearnedFigures:
    """The learned models of one question, one for each figure that is moved; together they move a scale."""

    held: tuple[Learned, ...]

    @property
    def identity(self) -> tuple[str, ...]:
        """What their answers follow from beside the case: the models."""
        return tuple(name for each in self.held for name in each.identity)

    @property
    def decides(self) -> bool:
        """Whether what they say may decide which plans are shown: where all may that are asked."""
        return all(each.decides for each in self.held if not each.refused)

    @property
    def figures(self) -> tuple[str, ...]:
        """Measures and events of harms that they move."""
        return tuple(each.figure.key for each in self.held)

    @property
    def version(self) -> dict[str, str]:
        """The models by their tasks, as a document names what took part."""
        return {task: name for each in self.held for task, name in each.version.items()}

    def ask(self, plans: Iterable[Sequence[Dosed]]) -> None:
        """Asks each model about the drugs of these plans in one batch."""
        asked = list(plans)
        for each in self.held:
            each.ask(asked)

    def beside(self, drug: DrugId, medicines: tuple[DrugId, ...]) -> tuple[DrugId, ...]:
        """As `Learned.beside`, which is the same for all models of a question."""
        return self.held[0].beside(drug, medicines)

    def shift(self, dosed: Dosed, medicines: tuple[DrugId, ...], moves: str, published: float) -> Shift | None:
        """The shift of one published figure of a drug beside these medicines; None where it is not moved."""
        for each in self.held:
            if each.figure.key == moves:
                return each.shift(dosed, medicines, published)
        return None


def learned_figures(case: Case, patient: Patient, models: Models | None, *, adult: bool) -> LearnedFigures | None:
    """All models that move figures of this question's drugs, as `learned_effect`; None where there is none."""
    asked = (learned_effect(case, patient, models, adult=adult, figure=figure) for figure in FIGURES)
    held = tuple(each for each in asked if each is not None)
    return LearnedFigures(held) if held else None
