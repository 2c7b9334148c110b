"""Simulated patients of the hypertension clinic go through the front door: record and genome in, advice out."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from fhir.resources.R4B.bundle import Bundle
from pysam import VariantFile

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile
from posologist.core.patient import Patient
from posologist.core.recommendation import Option, Recommendation
from posologist.core.settings import Settings
from posologist.core.values import DrugId, GeneSymbol
from posologist.genome.document import call_genome
from posologist.knowledge.genes import Gene, load_gene
from posologist.recommend.pipeline import recommend
from posologist.records.fhir_in import read_patient
from posologist.serve import cli, inputs
from posologist.study.clinic import Clinic
from posologist.study.clinic_draw import CAN_LACK, DIPLOTYPES, GENES, drawn
from posologist.study.simulator_codes import CONDITIONS, MEASURES
from posologist.study.simulator_fhir import PastTreatment, bundle_of, identity_of
from posologist.study.simulator_vcf import outside_calls_of, vcf_of
from reading import AS_OF, knowledge

PATIENTS = 200
ALLELES = {
    "CYP2D6": (*GENES["CYP2D6"], "*3", "*5", "*6", "*9", "*1x2", "*2x2", "*4x2", "*36+*10"),
    "CYP2C9": (*GENES["CYP2C9"], "*6"),
    "CYP3A5": GENES["CYP3A5"],
}
"""The clinic's alleles, and others that a laboratory meets: deletion, duplications, a tandem."""
NOISE = ((3.4, 1.2), (-4.1, 2.2), (1.3, -0.7))
PAST = (
    PastTreatment(DrugId("lisinopril"), 10.0, 1, date(2026, 6, 1), date(2026, 8, 1), 140.2, 88.1),
    PastTreatment(DrugId("amlodipine"), 5.0, 1, date(2026, 6, 1), date(2026, 8, 1), 140.2, 88.1),
    PastTreatment(DrugId("metoprolol"), 50.0, 2, date(2025, 6, 1), date(2025, 8, 1), 149.0, 91.0),
)
RAAS = ("ACE inhibitor", "ARB", "mineralocorticoid receptor antagonist")
FORBIDDEN = {
    "pregnant": RAAS,
    "angioedema": ("ACE inhibitor",),
    "asthma": ("beta-blocker",),
    "bradycardia": ("beta-blocker",),
    "high potassium": RAAS,
    "renal_artery_stenosis": ("ACE inhibitor", "ARB"),
}
"""What must not be started: the labels' contraindications and cautions; potassium above 5.0 mmol/L is high."""
THIAZIDE = "thiazide or thiazide-like diuretic"


def a_clinic(n: int, seed: int = 1) -> Clinic:
    """People of the clinic as drawn, with more contraindications than any real one has."""
    rng = np.random.default_rng(seed)
    clinic = drawn(n, rng)

    def some(share: float) -> np.ndarray:
        return rng.random(n) < share

    slow = some(0.1)
    return replace(
        clinic, bradycardia=slow, heart_rate=np.where(slow, rng.uniform(42.0, 58.0, n), clinic.heart_rate.clip(60.0)),
        potassium=clinic.potassium + 1.2 * some(0.12), pregnant=clinic.female & (clinic.age < 45.0) & some(0.7),
        diabetes=some(0.25), gout=some(0.1), asthma=some(0.12), angioedema=some(0.08), primary_aldosteronism=some(0.1),
        renal_artery_stenosis=some(0.08), paroxetine=some(0.08), clarithromycin=some(0.06),
    )  # fmt: skip


def a_bundle(clinic: Clinic, i: int, *, measured: Mapping[str, bool] | None = None) -> dict[str, object]:
    """The record of one of them; every third was treated before."""
    past = PAST if i % 3 == 0 else ()
    return bundle_of(clinic, i, measured=measured, treatments=past, as_of=AS_OF, knowledge=knowledge(), noise=NOISE)


def read(bundle: dict[str, object]) -> Patient:
    """The patient of a bundle, as the product reads it."""
    return read_patient(json.dumps(bundle).encode(), knowledge=knowledge(), as_of=AS_OF)


def planted(clinic: Clinic, i: int) -> dict[str, tuple[str, str]]:
    """The diplotypes of one of them."""
    return {gene: table[int(getattr(clinic, gene.lower())[i])] for gene, table in DIPLOTYPES.items()}


def called(folder: Path, diplotypes: Mapping[str, tuple[str, str]]) -> GeneticProfile:
    """The genes as the product calls them from the files."""
    vcf, table = folder / "sample.vcf", folder / "calls.tsv"
    vcf.write_text(vcf_of(diplotypes, "SAMPLE"), encoding="utf-8")
    table.write_text(outside_calls_of(diplotypes), encoding="utf-8")
    return call_genome(vcf, outside_calls=table)


def score_of(gene: Gene, pair: tuple[str, str]) -> float | None:
    """Sum of the activities of all copies; None for a gene that is not scored."""
    if not gene.scored:
        return None
    copies = [copy.partition("x") for name in pair for copy in name.split("+")]
    return sum((gene.functions[allele].activity or 0.0) * int(count or 1) for allele, _, count in copies)


@dataclass(frozen=True)
class Advised:
    """One patient's clinic row and what was answered."""

    clinic: Clinic
    i: int
    answer: Recommendation

    def has(self, state: str) -> bool:
        """Whether the patient is in a state that forbids drugs."""
        if state == "high potassium":
            return bool(round(float(self.clinic.potassium[self.i]), 1) > 5.0)
        return bool(getattr(self.clinic, state)[self.i])

    def starting(self, group: str) -> list[Option]:
        """The options that start a drug of the group."""
        members = knowledge().groups_of
        return [o for o in self.answer.options if any(group in members(start.drug) for start in o.plan.start)]


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Advised, ...]:
    """Advice for every patient, each through the files that the command line reads."""
    folder, clinic, found = tmp_path_factory.mktemp("door"), a_clinic(PATIENTS), []
    settings = Settings(as_of=AS_OF)
    for i in range(PATIENTS):
        record, vcf, table = (folder / name for name in ("bundle.json", "sample.vcf", "calls.tsv"))
        record.write_text(json.dumps(a_bundle(clinic, i)), encoding="utf-8")
        vcf.write_text(vcf_of(planted(clinic, i), identity_of(clinic, i)), encoding="utf-8")
        table.write_text(outside_calls_of(planted(clinic, i)), encoding="utf-8")
        who, settled = inputs.patient_of(record, None, knowledge=knowledge(), settings=settings)
        genome = inputs.genome_of(
            vcf, sample=None, absent="missing", outside_calls=table, patient=who, settings=settled
        )
        answer = recommend(who, "hypertension", genome=genome, knowledge=knowledge(), settings=settled)
        found.append(Advised(clinic, i, answer))
    return tuple(found)


def test_every_bundle_is_fhir_r4b() -> None:
    clinic = a_clinic(PATIENTS)

    for i in range(PATIENTS):
        Bundle.model_validate(a_bundle(clinic, i))


def test_the_same_patient_gives_the_same_bundle() -> None:
    clinic = a_clinic(6)

    assert json.dumps(a_bundle(clinic, 3)) == json.dumps(a_bundle(a_clinic(6), 3))
    assert len({identity_of(clinic, i) for i in range(6)} | {identity_of(a_clinic(6, 2), i) for i in range(6)}) == 12


def test_twins_are_two_patients() -> None:
    twins = a_clinic(1).take([0, 0])

    assert identity_of(twins, 0) != identity_of(twins, 1)


def test_every_diplotype_is_called_as_planted(tmp_path: Path) -> None:
    tables = {gene: tuple(itertools.combinations_with_replacement(names, 2)) for gene, names in ALLELES.items()}

    for n in range(max(map(len, tables.values()))):
        pairs = {symbol: table[n % len(table)] for symbol, table in tables.items()}
        genes = called(tmp_path, pairs).genes
        for symbol, pair in pairs.items():
            gene, call = load_gene(symbol), genes[GeneSymbol(symbol)]
            assert call.diplotype in ("/".join(pair), "/".join(reversed(pair)))
            assert call.activity_score == score_of(gene, pair)
            assert call.phenotype in gene.phenotypes
            assert not call.findings


def test_what_the_clinic_can_lack_can_be_left_out_of_the_record() -> None:
    clinic = a_clinic(1)

    assert a_bundle(clinic, 0, measured=dict.fromkeys(CAN_LACK, True)) == a_bundle(clinic, 0)
    assert (
        len(a_bundle(clinic, 0)["entry"]) - len(a_bundle(clinic, 0, measured=dict.fromkeys(CAN_LACK, False))["entry"])
        == 3
    )  # renin, sodium in urine, potassium; the genes stand in their own files


def test_a_chromosome_without_the_gene_shows_nothing_in_the_vcf(tmp_path: Path) -> None:
    vcf = tmp_path / "sample.vcf"
    lines = {}
    for pair in (("*4", "*5"), ("*4", "*4"), ("*5", "*5"), ("*1", "*4")):
        vcf.write_text(vcf_of({"CYP2D6": pair}, "S"), encoding="utf-8")
        with VariantFile(str(vcf)) as stream:
            lines[pair] = [tuple(record.samples["S"]["GT"]) for record in stream]

    assert lines["*4", "*5"] == lines["*4", "*4"] != lines["*1", "*4"]
    assert set(lines["*5", "*5"]) == {(None, None)}


def test_every_defining_position_is_written_in_order_with_the_reference_of_the_definition(tmp_path: Path) -> None:
    vcf = tmp_path / "sample.vcf"
    vcf.write_text(vcf_of({gene: pairs[1] for gene, pairs in DIPLOTYPES.items()}, "S"), encoding="utf-8")
    with VariantFile(str(vcf)) as stream:
        written = [(record.chrom, record.pos, record.ref) for record in stream]
    genes = sorted((load_gene(symbol) for symbol in DIPLOTYPES), key=lambda gene: int(gene.chromosome[3:]))

    assert sorted(written) == sorted((g.chromosome, p.grch38, p.ref) for g in genes for p in g.positions)
    assert [(int(name[3:]), pos) for name, pos, _ in written] == sorted((int(n[3:]), pos) for n, pos, _ in written)


def test_an_allele_without_a_definition_is_refused() -> None:
    with pytest.raises(InputError, match=r"CYP2C9 \*999 has no definition"):
        vcf_of({"CYP2C9": ("*1", "*999")}, "S")


def test_only_genes_with_counted_copies_have_an_outside_call() -> None:
    assert outside_calls_of({"CYP2C9": ("*1", "*3"), "CYP2D6": ("*5", "*1x2")}) == "CYP2D6\t*5/*1x2\n"
    assert outside_calls_of({"CYP3A5": ("*1", "*3")}) == ""


def test_every_measure_arrives_with_value_unit_and_date() -> None:
    clinic = a_clinic(60)

    for i in range(60):
        seen = {o.code.code: o for o in read(a_bundle(clinic, i)).observations}
        for measure in MEASURES:
            arrived, true = seen[measure.code.code], float(getattr(clinic, measure.field)[i])
            assert arrived.value == pytest.approx(true, abs=0.5 * 10.0**-measure.digits + 1e-9)
            assert arrived.value == round(arrived.value, measure.digits)
            assert (arrived.unit, arrived.at and arrived.at.date()) == (measure.unit, AS_OF - timedelta(days=7))


def test_measures_and_problems_are_read_as_the_fields_that_they_come_from() -> None:
    codes = knowledge().codes
    same = {"pregnant": "pregnancy", "diabetes": "type2_diabetes"}

    for measure in MEASURES:
        if measure.field in codes.analytes:
            analyte = codes.by_loinc[measure.code.code]
            assert (analyte.key, analyte.unit) == (measure.field, measure.unit)
    for field, code in CONDITIONS.items():
        assert codes.meaning(code.system, code.code) == (same.get(field, field),)


def test_each_visit_and_each_past_treatment_arrives_with_its_pressure() -> None:
    clinic = a_clinic(9)
    patient = read(a_bundle(clinic, 3))
    pressures = [(o.at.date(), o.value) for o in patient.observations if o.key == "sbp" and o.at]
    visits = [
        (AS_OF - timedelta(days=d), round(clinic.sbp[3] + more)) for d, (more, _) in zip((18, 9, 0), NOISE, strict=True)
    ]
    ends = [(date(2025, 8, 1), 149.0), (date(2026, 8, 1), 140.0)]

    assert pressures == [*ends, *visits]
    stopped = {m.drugs[0]: (m.status, m.dose, m.per_day, m.start, m.end) for m in patient.medications if m.end}
    assert stopped == {t.drug: ("stopped", t.dose_mg, t.per_day, t.start, t.end) for t in PAST}


def test_who_the_patient_is_and_has_arrives() -> None:
    clinic = a_clinic(60)

    for i in range(60):
        patient = read(a_bundle(clinic, i))
        assert patient.birth_date is not None
        assert (AS_OF - patient.birth_date).days / 365.25 == pytest.approx(clinic.age[i], abs=0.01)
        assert patient.sex == ("female" if clinic.female[i] else "male")
        assert patient.race == ("Black or African American" if clinic.black[i] else "White",)
        problems = {code for condition in patient.conditions for code in condition.codes}
        for field, code in CONDITIONS.items():
            (ours,) = knowledge().codes.meaning(code.system, code.code) or ()
            assert (ours in problems) == bool(getattr(clinic, field)[i])
        assert "hypertension" in problems
        family = {code for relative in patient.family_history for code in relative.codes}
        assert ("hypertension" in family) == bool(clinic.family_hypertension[i])
        smoking = next(o.text for o in patient.observations if o.key == "smoking_status")
        assert smoking == ("current" if clinic.smoker[i] else "never")
        allergies = [(allergy.groups, allergy.reactions) for allergy in patient.allergies]
        assert allergies == ([(("lisinopril",), ("angioedema",))] if clinic.angioedema[i] else [])
        taken = {m.drugs[0] for m in patient.medications if m.status == "active"}
        assert taken == {drug for drug in ("paroxetine", "clarithromycin") if getattr(clinic, drug)[i]}


def test_every_list_is_given() -> None:
    clinic = a_clinic(20)

    for i in range(20):
        patient = read(a_bundle(clinic, i))
        assert (patient.problem_list_given, patient.medication_list_given, patient.allergy_list_given) == (True,) * 3


def test_a_low_egfr_is_on_the_problem_list_as_kidney_disease() -> None:
    clinic = replace(
        a_clinic(2), age=np.array([70.0, 70.0]), creatinine=np.array([2.0, 0.8])
    )  # eGFR 26 to 35, above 78
    problems = [{code for c in read(a_bundle(clinic, i)).conditions for code in c.codes} for i in range(2)]

    assert ["ckd" in found for found in problems] == [True, False]


def test_age_is_that_of_the_clinic_on_a_leap_day() -> None:
    clinic = replace(a_clinic(1), age=np.array([41.0]))
    bundle = bundle_of(clinic, 0, as_of=date(2028, 2, 29), knowledge=knowledge())

    assert bundle["entry"][0]["resource"]["birthDate"] == "1987-02-28"


def test_what_was_not_measured_is_not_in_the_record() -> None:
    lacking = ("renin", "potassium", "smoker", "family_hypertension")
    clinic = a_clinic(3)
    whole, part = (read(a_bundle(clinic, 1, measured=m)) for m in (None, dict.fromkeys(lacking, False)))

    assert {o.code.code for o in whole.observations} - {o.code.code for o in part.observations} == {
        "2915-7", "2823-3", "72166-2",
    }  # fmt: skip
    assert whole.family_history
    assert not part.family_history


def test_a_record_cannot_lack_a_problem() -> None:
    with pytest.raises(InputError, match="cannot lack gout"):
        a_bundle(a_clinic(2), 0, measured={"gout": False})


def test_a_treatment_that_runs_into_the_untreated_visits_is_refused() -> None:
    late = replace(PAST[0], end=AS_OF - timedelta(days=30))

    with pytest.raises(InputError, match="runs into the untreated visits"):
        bundle_of(a_clinic(1), 0, treatments=(late,), as_of=AS_OF, knowledge=knowledge())


def test_a_treatment_with_an_unknown_drug_is_refused() -> None:
    with pytest.raises(InputError, match="no drug aqua"):
        bundle_of(
            a_clinic(1), 0, treatments=(replace(PAST[0], drug=DrugId("aqua")),), as_of=AS_OF, knowledge=knowledge()
        )


def test_everyone_is_answered(everyone: tuple[Advised, ...]) -> None:
    unanswered = [case.i for case in everyone if not case.answer.options and not case.answer.findings]

    assert len(everyone) == PATIENTS
    assert not unanswered
    assert sum(bool(case.answer.options) for case in everyone) > 0.95 * PATIENTS


def test_nothing_in_the_records_is_doubtful(everyone: tuple[Advised, ...]) -> None:
    assert not [(case.i, finding.text) for case in everyone for finding in case.answer.data_quality]


def test_the_genes_reach_the_advice(everyone: tuple[Advised, ...]) -> None:
    for case in everyone:
        for gene, pair in planted(case.clinic, case.i).items():
            assert case.answer.profile[gene].diplotype in ("/".join(pair), "/".join(reversed(pair)))


@pytest.mark.parametrize("state", FORBIDDEN)
def test_no_forbidden_drug_is_started(state: str, everyone: tuple[Advised, ...]) -> None:
    concerned = [case for case in everyone if case.has(state)]
    started = [(case.i, group) for case in concerned for group in FORBIDDEN[state] if case.starting(group)]

    assert len(concerned) >= 5
    assert not started


def test_a_thiazide_in_gout_is_told(everyone: tuple[Advised, ...]) -> None:
    concerned = [case for case in everyone if case.has("gout")]
    told = [
        {entry.drug for entry in case.answer.ruled_out} >= {"hydrochlorothiazide", "chlorthalidone"}
        or all("gout" in " ".join(c.text for c in option.cautions).lower() for option in case.starting(THIAZIDE))
        for case in concerned
    ]

    assert len(concerned) >= 5
    assert all(told)


def test_drugs_that_are_forbidden_to_some_are_started_in_others(everyone: tuple[Advised, ...]) -> None:
    free = [case for case in everyone if not any(case.has(state) for state in FORBIDDEN)]

    assert all(any(case.starting(group) for case in free) for group in (*RAAS, THIAZIDE))


def test_a_beta_blocker_is_started_in_pregnancy_where_nothing_speaks_against_it(everyone: tuple[Advised, ...]) -> None:
    pregnant = [case for case in everyone if case.has("pregnant")]

    assert {case.i for case in pregnant if case.starting("beta-blocker")} == {
        case.i for case in pregnant if case.answer.options and not case.has("asthma") and not case.has("bradycardia")
    }


def test_a_potassium_that_was_not_measured_is_told_wherever_a_drug_that_raises_it_is_offered() -> None:
    clinic, settings = a_clinic(15), Settings(as_of=AS_OF, guideline="ESC24")
    offered = 0
    for i in range(15):
        who = read(a_bundle(clinic, i, measured={"potassium": False}))
        case = Advised(clinic, i, recommend(who, "hypertension", knowledge=knowledge(), settings=settings))
        if any(case.starting(group) for group in RAAS):
            offered += 1
            assert any("potassium" in (open_point.would_need or "") for open_point in case.answer.not_checked)

    assert offered >= 5


def test_the_command_line_calls_and_advises_from_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clinic = a_clinic(4)
    diplotypes = {"CYP2D6": ("*4", "*5"), "CYP2C9": ("*1", "*3"), "CYP3A5": ("*3", "*3")}
    record, vcf, table = (tmp_path / name for name in ("bundle.json", "sample.vcf", "calls.tsv"))
    record.write_text(json.dumps(a_bundle(clinic, 0)), encoding="utf-8")
    vcf.write_text(vcf_of(diplotypes, identity_of(clinic, 0)), encoding="utf-8")
    table.write_text(outside_calls_of(diplotypes), encoding="utf-8")
    genes = [str(vcf), "--outside-calls", str(table), "--json"]

    def run(*words: str) -> dict[str, object]:
        monkeypatch.setattr(sys, "argv", ["posologist", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return json.loads(capsys.readouterr().out)

    phenotype = run("phenotype", *genes)
    advice = run("recommend", "--patient", str(record), "--for", "hypertension", "--genome", *genes)

    scores = {gene: phenotype["genes"][gene]["activity_score"] for gene in diplotypes}
    assert scores == {"CYP2D6": 0.0, "CYP2C9": 1.0, "CYP3A5": None}
    assert advice["profile"]["CYP2D6"]["diplotype"] == "*4/*5"
    assert advice["options"]
