"""The cases whose answer hangs on CYP2C19: after PCI and in major depression, with variations.

Each case is a FHIR bundle and, where genes matter, a table of outside calls. The source of the expected answer stands
in the docstring of the case or of the test. Sources named more than once:

CPIC-CL CPIC 2022, CYP2C19 and clopidogrel, PMC9287492, table 2
CPIC-SR CPIC 2023, serotonin reuptake inhibitors, doi 10.1002/cpt.2903
label   the US prescribing information of the drug named
"""

from __future__ import annotations

from typing import Any

import pytest

from cases import (
    advice,
    an_order,
    best_rank,
    daily_mg,
    genome,
    members,
    offered,
    record,
    severities,
    started,
    told,
)
from posologist.core.recommendation import Recommendation

# --- CYP2C19 poor metaboliser after PCI -----------------------------------------------------------------------------


def stented(*, gene: str | None = "*2/*2", **changes: Any) -> Recommendation:
    """Infarction and stent, on aspirin and clopidogrel; poor metaboliser: prasugrel or ticagrelor (CPIC-CL)."""
    values: dict[str, Any] = {
        "age": 64, "problems": ["I21.4", "Z95.5"],
        "orders": [an_order("clopidogrel 75 mg tablet", 75, 1), an_order("aspirin 81 mg tablet", 81, 1)],
    } | changes  # fmt: skip
    return advice(record(**values), "acs-pci-antiplatelet", genes=None if gene is None else genome(CYP2C19=gene))


@pytest.mark.parametrize("gene", ["*2/*2", "*2/*3", "*1/*2"])
def test_carriers_of_loss_of_function_are_switched_from_clopidogrel(gene: str) -> None:
    """CPIC-CL: poor and intermediate metabolisers alike."""
    document = stented(gene=gene)

    assert set(started(document.options[0])) & {"prasugrel", "ticagrelor"}
    assert any(s.drug == "clopidogrel" for s in document.options[0].plan.stop)
    assert "clopidogrel" not in offered(document)
    assert severities(document, "clopidogrel") & {"serious", "contraindicated"}


def test_aspirin_is_kept_beside_the_new_drug() -> None:
    document = stented()

    assert all("aspirin" in (*o.plan.keep, *started(o)) for o in document.options)


@pytest.mark.parametrize("gene", ["*1/*1", "*17/*17", "*1/*17"])
def test_normal_metabolisers_are_not_warned_of_clopidogrel(gene: str) -> None:
    """CPIC-CL: standard dose."""
    document = stented(gene=gene)

    assert not any("CYP2C19" in f.title for f in document.findings if f.severity in ("serious", "contraindicated"))


def test_untested_clopidogrel_is_said_to_be_untested() -> None:
    document = stented(gene=None)

    assert any("CYP2C19" in n.what + n.why for n in document.not_checked)


@pytest.mark.parametrize("problem", ["I63.9", "G45.9", "Z86.73"])
def test_prasugrel_is_never_given_after_stroke_or_tia(problem: str) -> None:
    """Label of prasugrel: contraindicated with prior transient ischaemic attack or stroke."""
    document = stented(problems=["I21.4", "Z95.5", problem])

    assert "prasugrel" not in offered(document)
    assert any(r.drug == "prasugrel" for r in document.ruled_out)
    assert "ticagrelor" in offered(document)


def test_prasugrel_does_not_lead_at_seventy_five() -> None:
    """Label of prasugrel: generally not recommended from 75 years."""
    document = stented(age=78, problems=["I24.9", "Z95.5"])

    assert best_rank(document, ["ticagrelor"]) < best_rank(document, ["prasugrel"])


def test_prasugrel_is_halved_below_sixty_kilograms() -> None:
    """Label of prasugrel: consider 5 mg below 60 kg."""
    document = stented(weight=54.0)

    doses = [daily_mg(o, "prasugrel") for o in document.options if "prasugrel" in started(o)]
    assert all(dose == 5.0 for dose in doses)


def test_intracranial_bleeding_rules_ticagrelor_out() -> None:
    """Label of ticagrelor: contraindicated with a history of intracranial haemorrhage."""
    document = stented(problems=["I21.4", "Z95.5", "I61.9"])

    assert "ticagrelor" not in offered(document)
    assert "prasugrel" not in offered(document)


def test_omeprazole_with_clopidogrel_is_found_and_pantoprazole_is_not() -> None:
    """Label of clopidogrel: avoid omeprazole and esomeprazole, also 12 hours apart; pantoprazole has less effect."""
    taken = [an_order("clopidogrel 75 mg tablet", 75, 1), an_order("aspirin 81 mg tablet", 81, 1)]
    with_omeprazole = stented(gene="*1/*1", orders=[*taken, an_order("omeprazole 20 mg capsule", 20, 1)])
    with_pantoprazole = stented(gene="*1/*1", orders=[*taken, an_order("pantoprazole 40 mg tablet", 40, 1)])

    assert severities(with_omeprazole, "clopidogrel", "omeprazole") & {"serious", "contraindicated"}
    assert not severities(with_pantoprazole, "clopidogrel", "pantoprazole") & {"serious", "contraindicated"}


# --- major depression, CYP2C19 ultrarapid, on omeprazole ------------------------------------------------------------


def low(*, genes: dict[str, str] | None = None, **changes: Any) -> Recommendation:
    """Major depression, CYP2C19 ultrarapid, on omeprazole; no citalopram or escitalopram in the lead (CPIC-SR)."""
    values: dict[str, Any] = {
        "age": 41, "sex": "male", "problems": ["F33.1"], "sbp": 124.0, "dbp": 78.0,
        "orders": [an_order("omeprazole 20 mg capsule", 20, 1)],
    } | changes  # fmt: skip
    chosen = {"CYP2C19": "*17/*17"} if genes is None else genes
    return advice(record(**values), "depression", genes=genome(**chosen) if chosen else None)


def test_ultrarapid_metaboliser_is_led_away_from_citalopram_and_escitalopram() -> None:
    document = low()

    assert document.options
    assert not offered(document) & {"citalopram", "escitalopram"}


def test_omeprazole_shows_in_the_expressed_phenotype() -> None:
    """Label of omeprazole: it inhibits CYP2C19; what genes give and what is expressed are told apart."""
    document = low()

    assert document.profile["CYP2C19"].genetic == "Ultrarapid Metabolizer"
    assert "omeprazole" in told(document) + document.profile["CYP2C19"].reason.lower()


def test_poor_metaboliser_gets_at_most_half_of_citalopram() -> None:
    """Label of citalopram: at most 20 mg a day in CYP2C19 poor metabolisers or with an inhibitor, and over 60."""
    document = low(genes={"CYP2C19": "*2/*2"}, orders=[])

    assert all(daily_mg(o, "citalopram") <= 20 for o in document.options if "citalopram" in started(o))
    assert all(daily_mg(o, "escitalopram") <= 10 for o in document.options if "escitalopram" in started(o))


@pytest.mark.parametrize("drug", ["phenelzine 15 mg tablet", "linezolid 600 mg tablet", "selegiline 5 mg capsule"])
def test_no_antidepressant_is_started_on_a_monoamine_oxidase_inhibitor(drug: str) -> None:
    """Labels of the serotonin reuptake inhibitors: contraindicated with a monoamine oxidase inhibitor."""
    document = low(genes={}, orders=[an_order(drug, 15, 2)])

    serotonergic = members("SSRI", "SNRI", "TCA") | {"vortioxetine", "bupropion", "mirtazapine"}
    assert not offered(document) & serotonergic


@pytest.mark.parametrize("problem", ["G40.909", "F50.2"])
def test_bupropion_is_not_given_in_epilepsy_or_bulimia(problem: str) -> None:
    """Label of bupropion: contraindicated in seizure disorder, bulimia, anorexia."""
    assert "bupropion" not in offered(low(genes={}, orders=[], problems=["F33.1", problem]))


def test_long_qt_keeps_citalopram_away() -> None:
    """Label of citalopram: not recommended with QT prolongation."""
    document = low(genes={"CYP2C19": "*1/*1"}, orders=[], qtc=510.0)

    assert best_rank(document, ["citalopram", "escitalopram"]) > 1


def test_paroxetine_is_not_led_with_in_a_cyp2d6_ultrarapid_metaboliser() -> None:
    """CPIC-SR: paroxetine, ultrarapid: another drug not cleared by CYP2D6."""
    document = low(genes={"CYP2D6": "*1/*1x3", "CYP2C19": "*1/*1"}, orders=[])

    assert best_rank(document, ["paroxetine"]) > 1


def test_tamoxifen_keeps_strong_cyp2d6_inhibitors_away() -> None:
    """CPIC 2018 tamoxifen: avoid strong CYP2D6 inhibitors; labels of paroxetine and fluoxetine name it."""
    document = low(genes={}, sex="female", age=60, orders=[an_order("tamoxifen 20 mg tablet", 20, 1)])

    assert best_rank(document, ["paroxetine", "fluoxetine", "bupropion"]) > 1
