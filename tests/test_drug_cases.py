"""Every worked case that a drug's file brings agrees with what the program answers."""

from __future__ import annotations

import re

import pytest

from cases import knowledge
from posologist.study.cases import CaseResult, run_cases

RESULTS = tuple(run_cases(knowledge()))
RANKABLE = sorted(str(d.id) for d in knowledge().drugs.values() if d.depth == "rankable")


def _label(result: CaseResult) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{result.drug}-{result.name}-{result.measure}")


@pytest.mark.parametrize("result", RESULTS, ids=_label)
def test_worked_case_agrees_with_its_source(result: CaseResult) -> None:
    assert result.agrees, f"{result.drug}, {result.name}: {result.measure} {result.expected}, found {result.found}"


@pytest.mark.parametrize("drug", RANKABLE)
def test_every_rankable_drug_has_a_case_from_outside(drug: str) -> None:
    sources = {c.source for c in knowledge().drugs[drug].cases if c.status != "to verify"}  # type: ignore[index]

    outside = {s for s in sources if s in knowledge().citations and s not in ("memory", "posologist-rules")}
    assert outside


def test_fifty_antihypertensives_are_known_and_the_first_line_is_rankable() -> None:
    known = knowledge()
    first_line = {
        str(d)
        for group in ("ACE inhibitor", "ARB", "thiazide or thiazide-like diuretic", "dihydropyridine CCB")
        for d in known.members[group]
        if any(rule.indication == "hypertension" for rule in known.drugs[d].doses)
    }

    assert len(known.members["antihypertensive"]) >= 50
    assert len(first_line & set(RANKABLE)) >= 25


def test_a_wrong_expectation_is_told_as_a_disagreement() -> None:
    drug = next(d for d in knowledge().drugs.values() if any("start" in c.expect for c in d.cases))
    case = next(c for c in drug.cases if "start" in c.expect)
    planted = drug.model_copy(update={"cases": (case.model_copy(update={"expect": {"start": 123456.0}}),)})

    found = list(run_cases(knowledge(), [planted]))

    assert [r.agrees for r in found] == [False]
