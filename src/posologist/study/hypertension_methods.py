"""Who chooses the drug: rules, plain learners and the engine, each from what a hospital would have recorded.

A method gets past treatment periods of training patients and the records of new ones, never a truth, and gives what it
expects each drug to be worth in each new patient, (n, drugs); what counts is the order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from posologist.learn.features import Encoder, Frame, prepared
from posologist.learn.fit.engine import FittedEngine
from posologist.learn.fit.factorise import Factorisation
from posologist.learn.fit.mlp import NetworkRegressor
from posologist.learn.fit.models import TunedClassifier, margin_of, plain_model
from posologist.learn.fit.stack import StackClassifier, founding_stack
from posologist.learn.predict import Answers
from posologist.learn.tasks.pressure import SYMPTOMS_SCHEMA
from posologist.recommend.learned_figures import EFFECT, RISK, Figure
from posologist.study.blocks import sub_seed
from posologist.study.clinic import Floats
from posologist.study.hypertension_engine import PEOPLE, benefit, symptoms
from posologist.study.simulator import World, reference
from posologist.study.simulator_data import (
    KINETICS,
    Periods,
    frame_of_periods,
    published_fall,
    published_net,
    published_symptoms,
)
from posologist.study.simulator_effects import ACE, ARB, CCB, MRA, PATHWAYS, THIAZIDE, net_of
from posologist.study.simulator_kinetics import DRUGS

_RESPONSE = 10.0  # mmHg net of symptoms from which a period counts as a response
_FEWEST = 8  # periods of either answer below which a drug's own classifier is not fitted


@dataclass(frozen=True)
class Given:
    """What a method is given: training patients with their periods, new patients, and a seed."""

    train: World
    periods: Periods
    test: World
    seed: int
    without: tuple[str, ...] = ()

    def train_frame(self) -> Frame:
        """Rows of the training periods."""
        return frame_of_periods(self.train, self.periods.patient, self.periods.drug, without=self.without)

    def test_frame(self) -> Frame:
        """Rows of every drug in every new patient, the drugs of a patient together."""
        patient, drug = np.divmod(np.arange(len(self.test) * len(DRUGS)), len(DRUGS))
        return frame_of_periods(self.test, patient, drug, without=self.without)


Method = Callable[[Given], Floats]


def best_single(given: Given) -> Floats:
    """The drug that is best on average, for everybody."""
    return np.broadcast_to(reference().mean, (len(given.test), len(DRUGS)))


def guideline(given: Given) -> Floats:
    """Step 1 of NICE NG136, by age, race and diabetes; an aldosterone antagonist in primary aldosteronism."""
    clinic = given.test.clinic
    renin_first = clinic.diabetes | ((clinic.age < 55.0) & ~clinic.black)
    order = {True: (ACE, ARB, CCB, THIAZIDE), False: (CCB, THIAZIDE, ARB, ACE)}
    usual = {"lisinopril", "losartan", "amlodipine", "chlorthalidone"}
    score = np.zeros((len(clinic), len(DRUGS)))
    for j, (drug, pathway) in enumerate(zip(DRUGS, PATHWAYS, strict=True)):
        for first, pathways in order.items():
            if pathway in pathways:
                score[renin_first == first, j] = 4.0 - pathways.index(pathway) + 0.5 * (drug in usual)
        if pathway == MRA:
            score[clinic.primary_aldosteronism, j] = 10.0
    return score


def published(given: Given) -> Floats:
    """The published effects, as `recommend` has them without a model."""
    return published_net(given.test.clinic)


def logistic(given: Given) -> Floats:
    """Logistic regression of the response, one for each drug."""
    return _by_drug(given, lambda seed: plain_model("linear", "classification", seed=seed, quick=True))


def founding(given: Given) -> Floats:
    """The founding stack (logistic regression, tree, SVM under logistic regression), one for each drug."""
    return _by_drug(given, lambda seed: founding_stack("classification", seed=seed, quick=True))


def lightgbm(given: Given) -> Floats:
    """LightGBM of the net effect, the drug among its features."""
    import lightgbm as library

    model = library.LGBMRegressor(
        n_estimators=250, learning_rate=0.05, num_leaves=15, min_child_samples=20, random_state=given.seed % 2**31,
        n_jobs=1, verbosity=-1, deterministic=True,
    )  # fmt: skip
    encoder, train = _encoded(given)
    model.fit(train, given.periods.net)
    return np.asarray(model.predict(encoder.matrix(given.test_frame().values))).reshape(-1, len(DRUGS))


def network(given: Given) -> Floats:
    """The multitask network of the net effect, the drug among its features."""
    model = NetworkRegressor(hidden=(64,), n_members=4, max_epochs=40, patience=6, random_state=given.seed % 2**31)
    encoder, train = _encoded(given)
    model.fit(train, given.periods.net, groups=given.periods.patient)
    return np.asarray(model.predict(encoder.matrix(given.test_frame().values))).reshape(-1, len(DRUGS))


def factorised(given: Given) -> Floats:
    """Patients x drugs factorised, new patients by their side information alone."""
    encoder, rows = _encoded(given)
    owner = [column.split("=")[0].removesuffix("?") for column in encoder.columns]
    people = [k for k, name in enumerate(owner) if name in PEOPLE and name not in KINETICS]
    side = np.zeros((len(given.train), len(people)))
    side[given.periods.patient] = rows[:, people]
    seen, place = np.unique(given.periods.patient, return_inverse=True)
    model = Factorisation(4, random_state=given.seed % 2**31).fit(
        np.column_stack([place, given.periods.drug]), given.periods.net, shape=(len(seen), len(DRUGS)),
        patient_side=side[seen],
    )  # fmt: skip
    fresh = encoder.matrix(given.test_frame().values)[:: len(DRUGS)][:, people]
    return np.asarray(model.predict_new_patients(fresh.astype(np.float64)))


@dataclass(frozen=True)
class Engine:
    """Published effects and risks, moved by served models within the bounds that `recommend` sets for real patients.

    Of spironolactone no share with symptoms is published; here it is moved from none, where `recommend` leaves it.

    `without`: features that are not known. `leave_out`: a kind of part of the benefit model. `best_alone`: the part
    that is best on cross-fitted rows, unblended. `shuffled`: genotypes are dealt out anew among the training and among
    the new patients.
    """

    without: tuple[str, ...] = ()
    leave_out: str = ""
    best_alone: bool = False
    shuffled: bool = False

    def __call__(self, given: Given) -> Floats:
        told = replace(given, without=self.without)
        if self.shuffled:
            told = _with_dealt_genes(told)
        gain, harm = self.fitted(told)
        rows = told.test_frame()
        shape = (len(told.test), len(DRUGS))
        fall = published_fall(told.test.clinic) + _held(gain.predict(rows), EFFECT).reshape(shape)
        more = _held(harm.predict(Frame(SYMPTOMS_SCHEMA, rows.values)), RISK).reshape(shape)
        return net_of(fall, np.maximum(published_symptoms() + more, 0.0))

    def fitted(self, given: Given) -> tuple[FittedEngine, FittedEngine]:
        """The two models, fitted to the training periods."""
        rows, periods = given.train_frame(), given.periods
        expected = published_fall(given.train.clinic)[periods.patient, periods.drug]
        return (
            benefit(rows, periods.fall - expected, periods.patient, seed=given.seed, leave_out=self.leave_out,
                    best_alone=self.best_alone),
            symptoms(rows, periods.symptoms - published_symptoms()[periods.drug], periods.patient, seed=given.seed),
        )  # fmt: skip


def _held(answers: Answers, figure: Figure) -> Floats:
    """The shift that `recommend` makes of a model's answers, at the weight and within the limit of real patients."""
    ceiling = figure.ceilings["real patients"]
    limit = ceiling.shift / abs(figure.scale)
    shift = np.clip(ceiling.weight * answers.value, -limit, limit)
    return np.asarray(np.where(answers.abstained, 0.0, shift))


def _with_dealt_genes(given: Given) -> Given:
    """The same patients with their genotypes dealt out anew: what a model gains from them now is chance."""

    def dealt(made: World, name: str) -> World:
        order = np.random.default_rng(sub_seed(given.seed, "dealt", name)).permutation(len(made))
        genes = {gene: getattr(made.clinic, gene)[order] for gene in ("cyp2d6", "cyp2c9", "cyp3a5")}
        return replace(made, clinic=replace(made.clinic, **genes))

    return replace(given, train=dealt(given.train, "train"), test=dealt(given.test, "test"))


def _encoded(given: Given) -> tuple[Encoder, Floats]:
    """The encoder fitted on the training rows, and these as a matrix."""
    frame = given.train_frame()
    encoder = Encoder(frame.schema, prepared(frame))
    return encoder, encoder.matrix(frame.values).astype(np.float64)


def _by_drug(given: Given, classifier: Callable[[int], TunedClassifier | StackClassifier]) -> Floats:
    """Log odds of a response to each drug by a classifier of its own; of a drug with too few periods the base rate."""
    encoder, rows = _encoded(given)
    response = given.periods.net >= _RESPONSE
    fresh = encoder.matrix(given.test_frame().values)[:: len(DRUGS)].astype(np.float64)
    kept = [k for k, column in enumerate(encoder.columns) if column.split("=")[0].removesuffix("?") in PEOPLE]
    found = np.empty((len(given.test), len(DRUGS)))
    for j in range(len(DRUGS)):
        mine = given.periods.drug == j
        share = (response[mine].sum() + 1.0) / (mine.sum() + 2.0)
        found[:, j] = np.log(share / (1.0 - share))
        if min(response[mine].sum(), (~response[mine]).sum()) >= _FEWEST:
            model = classifier(sub_seed(given.seed, "drug", j))
            model.fit(rows[mine][:, kept], response[mine])
            found[:, j] = margin_of(model, fresh[:, kept])
    return found
