"""The hypertension study: yardsticks bound every method, no method sees a truth, and its engine is what is served."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from posologist.core.evaluation import EvaluationDocument
from posologist.core.genotype import GeneticProfile, Versions
from posologist.core.settings import Settings
from posologist.core.values import DrugId
from posologist.genome.document import call_genome
from posologist.learn.features import Frame
from posologist.learn.fit.recipe import Hierarchical, Trees
from posologist.learn.fit.save import Facts, with_facts
from posologist.learn.predict import Served
from posologist.learn.tasks import pressure
from posologist.recommend.effects import Dosed, Scale, scale_of
from posologist.recommend.learned_effect import Learned, LearnedFigures, learned_effect
from posologist.recommend.learned_figures import EFFECT
from posologist.recommend.opened import case_of
from posologist.records.fhir_in import read_patient
from posologist.study import hypertension, hypertension_engine
from posologist.study.clinic import Clinic
from posologist.study.clinic_draw import CAN_LACK, DIPLOTYPES, crcl_of, drawn, egfr_of
from posologist.study.experiment import Run, Used
from posologist.study.hypertension import MAIN, WORLDS, evaluate_hypertension
from posologist.study.hypertension_methods import Engine, Given, _with_dealt_genes
from posologist.study.hypertension_trial import (
    ABLATIONS,
    BAYES,
    ENGINE,
    MEASURES,
    METHODS,
    ORACLE,
    SINGLE,
    Tally,
    Trial,
    tried,
)
from posologist.study.simulator import Dials, World, world
from posologist.study.simulator_data import frame_of_periods, periods, published_fall
from posologist.study.simulator_effects import standard_dose
from posologist.study.simulator_fhir import bundle_of
from posologist.study.simulator_gate import AS_OF, gate, started
from posologist.study.simulator_kinetics import DRUGS, knowledge
from posologist.study.simulator_vcf import outside_calls_of, vcf_of
from posologist.twin.population import REDUCED_CRCL

SLOW = ("founding stack", "MLP")
NEW = 300
SMALL = (hypertension_engine.PARTS[0], Trees(trees=60, leaves=6))
QUICK = (SMALL[0], Hierarchical(left=hypertension_engine.PEOPLE, right=("pathway", "drug"), rounds=4), SMALL[1])
"""Fewer and smaller parts than the engine's, for tests of what surrounds them."""


def a_given(n: int = 250, n_new: int = 40, missing: float = 0.0, seed: int = 1) -> Given:
    """What a method is given in a small trial."""
    train, test = world(n, Dials(0.6, missing=missing), seed), world(n_new, Dials(0.6, missing=missing), seed + 100)
    return Given(train, periods(train, seed), test, seed)


def of(tally: Tally, method: str, measure: str) -> float:
    return float(tally[method]["all"][MEASURES.index(measure)])


# Yardsticks


@cache
def trials(name: str) -> tuple[Tally, ...]:
    """Two trials of a world; the slow methods only in the main one."""
    left_out = () if name == MAIN else SLOW
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hypertension_engine, "PARTS", QUICK)
        return tuple(tried(Trial(WORLDS[name], 250, NEW, 7, number, left_out=left_out)) for number in range(2))


@pytest.mark.parametrize("name", WORLDS)
def test_no_method_beats_the_bayes_rule_and_the_bayes_rule_not_the_oracle(name: str) -> None:
    found = {
        method: sum(of(tally, method, "net") for tally in trials(name)) / (2 * NEW) for method in trials(name)[0]
    }  # fmt: skip
    slack = 0.4  # mmHg: three standard errors of a difference in 600 patients whose SD is about 3

    assert set(found) == {*METHODS, BAYES, ORACLE} - (set() if name == MAIN else set(SLOW))
    for method, net in found.items():
        assert net <= found[ORACLE] + (slack if WORLDS[name].missing else 1e-9)  # a forbidden drug may do more
        assert net <= found[BAYES] + slack or method == ORACLE
    assert found[ORACLE] > found[BAYES] + (0.01 if WORLDS[name].explained > 0.9 else 0.5)


def test_with_more_explained_the_bayes_rule_gains_more() -> None:
    gains = []
    for name in ("the record explains nothing", "the record explains 0.3", MAIN, "the record explains 0.98"):
        gains.append(sum(of(t, BAYES, "net") - of(t, SINGLE, "net") for t in trials(name)) / (2 * NEW))

    assert gains[0] == pytest.approx(0.0, abs=1e-9)  # nothing is known but the drug that is best for all
    assert gains[0] + 0.5 < gains[1] < gains[2] < gains[3]


@pytest.mark.parametrize("name", WORLDS)
def test_the_engine_picks_nothing_that_is_forbidden(name: str) -> None:
    for tally in trials(name):
        assert of(tally, ENGINE, "unsafe") == 0
        assert of(tally, SINGLE, "unsafe") > 0  # a method without a gate does, in the same patients


def test_what_hangs_on_a_potassium_that_no_record_holds_is_not_chosen() -> None:
    made = world(3000, Dials(0.6, missing=0.5), 4)
    high = np.round(made.clinic.potassium, 1) > 5.0
    unknown = made.lacking["potassium"]
    lisinopril = gate(made.clinic, made.lacking)[:, DRUGS.index(DrugId("lisinopril"))]
    free = ~made.clinic.pregnant & ~made.clinic.angioedema & ~made.clinic.renal_artery_stenosis

    assert (high & unknown & free).any()
    assert not lisinopril[unknown].any()
    assert not lisinopril[high & ~unknown].any()
    assert lisinopril[~high & ~unknown & free].all()
    np.testing.assert_array_equal(gate(made.clinic)[~unknown], gate(made.clinic, made.lacking)[~unknown])


def test_groups_of_patients_add_up_to_all() -> None:
    for tally in trials(MAIN):
        for sums in tally.values():
            np.testing.assert_allclose(sums["age=<65"] + sums["age=>=65"], sums["all"])
            np.testing.assert_allclose(sums["disease=primary"] + sums["disease=secondary"], sums["all"])


# The product's gate


def test_the_gate_answers_as_the_product_asked_patient_by_patient() -> None:
    rng = np.random.default_rng(5)
    plain = drawn(600, rng)
    some = {
        name: getattr(plain, name) | (rng.random(600) < 0.15)
        for name in ("gout", "asthma", "angioedema", "primary_aldosteronism", "renal_artery_stenosis", "diabetes")
    }
    clinic = replace(plain, potassium=plain.potassium + 0.9 * (rng.random(600) < 0.2), **some)

    answered = gate(clinic)

    chosen = rng.choice(600, size=60, replace=False)
    for i in chosen.tolist():
        np.testing.assert_array_equal(answered[i], started(clinic, i))
    assert not answered[chosen].all(axis=1).all()
    assert answered[chosen].any(axis=1).all()


# Nothing but the record


def blinded(made: World) -> World:
    """The same patients without their truth."""
    unknown = np.full_like(made.net, np.nan)
    return replace(made, net=unknown, fall=unknown, symptoms=unknown)


@pytest.mark.parametrize("name", [*METHODS, "engine, genomes dealt out anew"])
def test_a_method_says_the_same_where_the_truth_is_taken_away(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypertension_engine, "PARTS", SMALL)
    given = a_given(150, 20, missing=0.3)
    method = {**METHODS, **ABLATIONS}[name]

    seen, blind = method(given), method(replace(given, train=blinded(given.train), test=blinded(given.test)))

    assert np.all(np.isfinite(seen))
    np.testing.assert_array_equal(seen, blind)


def test_what_a_record_lacks_is_in_no_row() -> None:
    made = world(200, Dials(0.6, missing=0.5), 4)
    changed = replace(
        made, clinic=replace(made.clinic, **{
            name: np.where(made.lacking[name], np.roll(getattr(made.clinic, name), 1), getattr(made.clinic, name))
            for name in ("renin", "urine_sodium", "potassium", "cyp2c9", "cyp3a5")
        }),
    )  # fmt: skip
    given = a_given(50)

    rows = [replace(given, test=each).test_frame().values for each in (made, changed)]

    np.testing.assert_array_equal(*rows)
    lacked = {"renin": "renin", "cyp2c9": "cyp2c9_score"}
    for name, feature in lacked.items():
        column = rows[0][:: len(DRUGS), pressure.SCHEMA.names.index(feature)]
        np.testing.assert_array_equal(np.isnan(column), made.lacking[name])


def test_genomes_that_are_dealt_out_anew_change_genes_only() -> None:
    given = a_given()
    dealt = _with_dealt_genes(given)

    for before, after in ((given.train, dealt.train), (given.test, dealt.test)):
        for field in fields(Clinic):
            one, two = getattr(before.clinic, field.name), getattr(after.clinic, field.name)
            if field.name in ("cyp2d6", "cyp2c9", "cyp3a5"):
                assert not np.array_equal(one, two)
                np.testing.assert_array_equal(np.sort(one), np.sort(two))
            else:
                np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(before.net, after.net)
    np.testing.assert_array_equal(dealt.periods.fall, given.periods.fall)


# The engine is what `recommend` serves


@dataclass(frozen=True)
class Asked:
    """One simulated patient as the product has opened the record and the genome."""

    i: int
    scale: Scale
    moved: Scale | None
    learned: Learned | None

    @property
    def others(self) -> tuple[DrugId, ...]:
        """Medicines that are taken beside."""
        return self.scale.case.present


def a_genome(folder: Path, clinic: Clinic, i: int) -> GeneticProfile:
    diplotypes = {gene: table[int(getattr(clinic, gene.lower())[i])] for gene, table in DIPLOTYPES.items()}
    vcf, table = folder / f"{i}.vcf", folder / f"{i}.tsv"
    vcf.write_text(vcf_of(diplotypes, "SAMPLE"), encoding="utf-8")
    table.write_text(outside_calls_of(diplotypes), encoding="utf-8")
    return call_genome(vcf, outside_calls=table)


def opened(folder: Path, clinic: Clinic, i: int, served: Served | None = None) -> Asked:
    """The patient through FHIR and VCF; effects as published, and as a served model moves them at full weight."""
    held, settings = knowledge(), Settings(as_of=AS_OF, learned_weight=1.0)
    bundle = bundle_of(clinic, i, as_of=AS_OF, knowledge=held)
    who = read_patient(json.dumps(bundle).encode(), knowledge=held, as_of=AS_OF)
    case = case_of(
        who, held.indication("hypertension"), genome=a_genome(folder, clinic, i), knowledge=held, settings=settings
    )
    scale = scale_of(case)
    assert scale is not None
    models: Mapping[str, Served] = {} if served is None else {pressure.TASK: served}
    learned = learned_effect(case, who, models, adult=True)
    return Asked(i, scale, None if learned is None else scale.moved_by(LearnedFigures((learned,))), learned)


@cache
def people() -> World:
    """Twenty patients whose record and files are written, some in each state that the published effect hangs on."""
    made = world(400, Dials(0.6), 21)
    clinic = made.clinic
    no_function = [k for k, pair in enumerate(DIPLOTYPES["CYP2D6"]) if pair == ("*4", "*4")]
    wanted = [
        *np.flatnonzero(np.isin(clinic.cyp2d6, no_function))[:3], *np.flatnonzero(clinic.black)[:4],
        *np.flatnonzero(clinic.primary_aldosteronism)[:2], *np.flatnonzero(egfr_of(clinic) < 60.0)[:2],
        *np.flatnonzero(clinic.paroxetine)[:3], *range(400),
    ]  # fmt: skip
    adults = [i for i in dict.fromkeys(map(int, wanted)) if not clinic.pregnant[i]]
    chosen = np.array(adults[:20])
    cut = {field.name: getattr(made, field.name)[chosen] for field in fields(World) if field.name in _ARRAYS}
    lacking = {name: np.zeros(20, dtype=np.bool_) for name in CAN_LACK}
    return replace(made, clinic=clinic.take(chosen), lacking=lacking, **cut)


_ARRAYS = ("net", "fall", "symptoms", "allowed")


@cache
def a_model() -> Served:
    """The engine's own model of the fall, small, as a hospital would serve it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hypertension_engine, "PARTS", SMALL)
        gain, _ = Engine().fitted(a_given(400))
    facts = Facts(
        name="engine", version="1", outcome="further fall", unit="mmHg", data="made", digest="none",
        licence="none needed", label="real patients",
    )  # fmt: skip
    return Served(with_facts(gain.served.manifest, facts), gain.model.graph())


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Asked, ...]:
    folder = tmp_path_factory.mktemp("served")
    return tuple(opened(folder, people().clinic, i, a_model()) for i in range(len(people())))


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_the_published_fall_is_what_recommend_computes(ratio: float, everyone: tuple[Asked, ...]) -> None:
    expected = published_fall(people().clinic, ratio)

    assert len(everyone) == 20
    for asked in everyone:
        for j, drug in enumerate(DRUGS):
            effect = asked.scale.effect(Dosed(drug, ratio * standard_dose(drug)), (drug, *asked.others))
            assert effect is not None
            assert -effect.expected("sbp") == pytest.approx(expected[asked.i, j], abs=1e-6)
    assert len(np.unique(expected[:, DRUGS.index(DrugId("metoprolol"))])) > 5


PRINTED = {
    "weight": 0.05, "bmi": 0.25, "sbp": 0.5, "dbp": 0.5, "heart_rate": 0.5, "egfr": 1.2, "potassium": 0.05,
    "renin": 0.005, "urine_sodium": 0.5,
}  # fmt: skip
"""How far a row may differ since records print whole mmHg, cm and beats, 0.1 kg, 0.1 mmol/L, 0.01 ng/mL/h."""
FOLDS = 0.02
"""Share by which the exposure may differ, since creatinine is printed to 0.01 mg/dL."""


def test_the_rows_of_the_study_are_those_that_recommend_builds_from_the_record(everyone: tuple[Asked, ...]) -> None:
    patient, drug = np.divmod(np.arange(len(everyone) * len(DRUGS)), len(DRUGS))
    crcl = crcl_of(people().clinic)
    rows = frame_of_periods(people(), patient, drug).values

    compared = 0
    for asked in everyone:
        for j, name in enumerate(DRUGS):
            assert asked.learned is not None
            served = asked.learned.answer(Dosed(name, standard_dose(name)), (name, *asked.others)).row
            assert served is not None
            for k, feature in enumerate(pressure.SCHEMA.names):
                mine, theirs = rows[asked.i * len(DRUGS) + j, k], served.values[k]
                if feature == "exposure_fold" and abs(crcl[asked.i] - REDUCED_CRCL) < 2.0:
                    continue  # creatinine as printed may lie on the other side
                assert np.isnan(mine) == np.isnan(theirs), (name, feature)
                if feature == "has_ckd" and abs(rows[asked.i * len(DRUGS), _EGFR] - 60.0) < 1.2:
                    continue
                compared += not np.isnan(mine)
                relative = FOLDS if feature == "exposure_fold" else 0.0
                near = pytest.approx(mine, abs=PRINTED.get(feature, 1e-9), rel=relative, nan_ok=True)
                assert theirs == near, (name, feature)
    assert compared > 20 * len(DRUGS) * 20


_EGFR = pressure.SCHEMA.names.index("egfr")


def test_what_recommend_shows_is_the_studys_score_within_its_bounds(everyone: tuple[Asked, ...]) -> None:
    published, limit = published_fall(people().clinic), EFFECT.ceilings["real patients"].shift
    moved = []
    for asked in everyone:
        assert asked.learned is not None
        assert asked.moved is not None
        for j, name in enumerate(DRUGS):
            dosed, medicines = Dosed(name, standard_dose(name)), (name, *asked.others)
            answer = asked.learned.answer(dosed, medicines)
            assert answer.row is not None
            frame = Frame(pressure.SCHEMA, np.array([answer.row.values], dtype=np.float64))
            said = a_model().answers(frame)
            beyond = 0.0 if said.abstained[0] else float(np.clip(said.value[0], -limit, limit))
            shown = asked.moved.effect(dosed, medicines)
            assert shown is not None
            assert -shown.expected("sbp") == pytest.approx(published[asked.i, j] + beyond, abs=1.1e-3)
            moved.append(beyond)
    assert np.std(moved) > 0.5


# The document


def a_run() -> Run:
    return Run(
        seed=3, quick=True, versions=Versions(posologist="1", knowledge=""), used=lambda: Used(0.0, 0.0, None),
        told=lambda what, done, of: None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def documents() -> Iterator[tuple[EvaluationDocument, EvaluationDocument]]:
    """The quick study, made small, twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hypertension_engine, "PARTS", SMALL)
        patch.setattr(hypertension, "_SLOW", SLOW)
        patch.setattr(hypertension, "_RESAMPLES", 50)
        yield evaluate_hypertension(a_run()), evaluate_hypertension(a_run())


def test_the_same_seed_gives_the_same_document(documents: tuple[EvaluationDocument, EvaluationDocument]) -> None:
    one, two = documents

    assert one.model_dump_json() == two.model_dump_json()


def test_the_metrics_are_those_of_the_contract(documents: tuple[EvaluationDocument, EvaluationDocument]) -> None:
    rows = {row.method: row.metrics for row in documents[0].rows}

    assert set(rows) == {*METHODS, BAYES, ORACLE} - set(SLOW)
    for metrics in rows.values():
        assert set(metrics) >= {"top1_percent", "value_percent", "regret_mmhg", "unsafe_picks"}
    assert rows[BAYES]["value_percent"].value == pytest.approx(100.0)
    assert rows[SINGLE]["value_percent"].value == pytest.approx(0.0)
    assert rows[ORACLE]["regret_mmhg"].value == pytest.approx(0.0)
    assert rows[ENGINE]["unsafe_picks"].value == 0.0


def test_where_nothing_is_explained_a_loss_is_told_and_no_share(
    documents: tuple[EvaluationDocument, EvaluationDocument],
) -> None:
    null = next(table for table in documents[0].controls if "nothing" in table.name)

    for row in null.rows:
        assert "value_percent" not in row.metrics
        assert np.isfinite(row.metrics["loss_mmhg"].value)


def test_the_document_says_that_its_patients_are_simulated_and_that_it_is_a_check(
    documents: tuple[EvaluationDocument, EvaluationDocument],
) -> None:
    assert documents[0].label == "simulated patients"
    assert documents[0].quick
    assert "not a result" in documents[0].findings[0]
