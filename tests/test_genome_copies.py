"""Small variants alone give CYP2D6 a range over its copies, never a single normal phenotype."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posologist.core.errors import KnowledgeError
from posologist.genome.copies import CopyRange, copy_range
from posologist.knowledge.copies import load_copies
from posologist.knowledge.genes import GENES_FOLDER, load_gene

_GENE, _FACTS = load_gene("CYP2D6"), load_copies("CYP2D6")
_ALLELES = sorted(name for name in _GENE.functions if "x" not in name and name != "*5")


def _range(first: str, second: str, *, heterozygous: bool) -> CopyRange:
    return copy_range(_GENE, [(first, second, 1.0)], _FACTS, heterozygous=heterozygous)


@pytest.mark.parametrize(
    ("first", "second", "heterozygous", "phenotypes", "states"),
    [
        ("*1", "*1", False, {"Normal", "Intermediate", "Ultrarapid"}, {"*1/*1", "*1/*5", "*1/*1x2", "*1x2/*5"}),
        ("*1", "*2", True, {"Normal", "Ultrarapid"}, {"*1/*2", "*1x2/*2", "*1/*2x2"}),
        ("*1", "*4", True, {"Intermediate", "Normal", "Ultrarapid"}, {"*1/*4", "*1/*68+*4", "*1x2/*4"}),
        ("*4", "*4", False, {"Poor"}, {"*4/*4", "*4/*5", "*4/*68+*4", "*68+*4/*68+*4"}),
        (
            "*10",
            "*10",
            False,
            {"Intermediate", "Poor", "None"},
            {"*10/*10", "*36+*10/*36+*10", "*5/*10", "*10/*36+*10"},
        ),
    ],
)
def test_every_plausible_state_is_there(
    first: str, second: str, heterozygous: bool, phenotypes: set[str], states: set[str]
) -> None:
    found = _range(first, second, heterozygous=heterozygous)

    assert {str(phenotype).removesuffix(" Metabolizer") for phenotype, _ in found.phenotypes} == phenotypes
    assert states <= {option.diplotype for option in found.options}
    assert found.phenotype is None or found.phenotype == "Poor Metabolizer"


def test_the_range_of_scores_is_that_of_the_states() -> None:
    found = _range("*1", "*4", heterozygous=True)

    assert (found.low, found.high, found.at_least) == (1.0, 3.0, True)
    assert found.phenotypes[0][0] == "Intermediate Metabolizer"
    assert "copies was not read" in found.findings[0]


def test_a_deletion_is_as_probable_as_its_frequency_says() -> None:
    found = _range("*1", "*1", heterozygous=False)
    gone = sum(option.probability for option in found.options if option.diplotype.endswith(("/*5", "/*13")))
    absent = sum(c.frequency for c in _FACTS.chromosomes if not c.seen_as)
    shown = sum(c.frequency for c in _FACTS.chromosomes if c.seen_as == "*1")

    assert gone == pytest.approx(2 * absent / (2 * absent + shown))


def test_a_heterozygous_position_excludes_the_deletion() -> None:
    assert not [o for o in _range("*1", "*1", heterozygous=True).options if "*5" in o.diplotype.split("/")]


@given(st.sampled_from(_ALLELES), st.sampled_from(_ALLELES), st.booleans())
def test_probabilities_sum_to_one_and_nothing_is_only_normal(first: str, second: str, heterozygous: bool) -> None:
    found = _range(first, second, heterozygous=heterozygous or first != second)
    swapped = _range(second, first, heterozygous=heterozygous or first != second)

    assert sum(option.probability for option in found.options) == pytest.approx(1.0)
    assert found.phenotype != "Normal Metabolizer"
    assert {o.diplotype: pytest.approx(o.probability) for o in swapped.options} == {
        o.diplotype: o.probability for o in found.options
    }


def test_several_pairs_are_mixed_by_their_probability() -> None:
    found = copy_range(_GENE, [("*1", "*4", 0.75), ("*2", "*4", 0.25)], _FACTS, heterozygous=True)
    first = sum(o.probability for o in found.options if o.diplotype.startswith("*1"))

    assert first == pytest.approx(0.75)
    assert copy_range(_GENE, [], _FACTS, heterozygous=True).options == ()


def test_facts_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    text = (GENES_FOLDER / "CYP2D6" / "copies.toml").read_text(encoding="utf-8")
    wrong = {
        "is not defined": text.replace('source = "hebei-2025", status', 'source = "nobody", status'),
        "more than 100": text.replace("EAS = 39.1", "EAS = 391.0"),
        "is not listed": text.replace('deletion = "*5"', 'deletion = "*6"'),
        "plausible": text.replace("plausible = 0.0005", "plausible = 2.0"),
    }
    for number, (message, changed) in enumerate(wrong.items()):
        place = tmp_path / str(number) / "CYP2D6"
        place.mkdir(parents=True)
        (place / "copies.toml").write_text(changed, encoding="utf-8")
        with pytest.raises(KnowledgeError, match=message):
            load_copies("CYP2D6", place.parent)

    with pytest.raises(KnowledgeError, match="no facts on the copies"):
        load_copies("CYP2C19")
