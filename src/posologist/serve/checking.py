"""`posologist check`: what is held, and what is wrong with it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from posologist.core.drug import Fact
from posologist.core.errors import KnowledgeError, ModelError
from posologist.core.statement import Statement
from posologist.core.values import Many, Value
from posologist.knowledge.check import Problem, check_folders
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.knowledge.models import MODELS_FOLDER, PkModel, load_model, model_files
from posologist.knowledge.statements import body_of, has_no_row
from posologist.recommend.learned import models_of
from posologist.serve.output import emit
from posologist.study.cases import CaseResult, run_cases

_SHOWN_WARNINGS = 20
_GENE = re.compile(r"\b(?:gene|activity|indeterminate|allele)\(['\"]?([A-Z][A-Z0-9-]+)")
_TESTED_GENE = re.compile(r"\ballele\(tested, ['\"]?([A-Z][A-Z0-9-]+)")


class BodyCoverage(Value):
    """Gene guidance of one body: pairs of drug and gene with a row, its statements, and pairs without a row."""

    pairs: int
    statements: int
    without_row: Many[str] = ()


class Inventory(Value):
    """How much is held: drugs by depth, rankable drugs per indication, facts by status, guidance per gene and body.

    `models` counts the population models: complete, partial, and drugs with a complete one.
    """

    drugs: dict[str, int]
    rankable: dict[str, int]
    facts: dict[str, int]
    statements: int
    guidance: dict[str, int]
    bodies: dict[str, BodyCoverage]
    models: dict[str, int]
    cases_passed: int
    cases_failed: int


def check_all(path: Path | None, *, as_json: bool) -> list[Problem]:
    """Print what is held and what is wrong; the errors are returned.

    Warnings (things to look at) are printed and do not fail the check.
    """
    folders = () if path is None else (path,)
    found = list(check_folders(*folders))
    models, broken = _models(path)
    found.extend(broken)
    inventory = None
    if not any(problem.where == "file" for problem in found):
        knowledge = load_knowledge(*folders)
        results = tuple(run_cases(knowledge))
        found.extend(_failed(result) for result in results if not result.agrees)
        found.extend(_learned(knowledge))
        inventory = _inventory(knowledge, results, models)
    errors = [problem for problem in found if problem.severity == "error"]
    warnings = [problem for problem in found if problem.severity == "warning"]
    if as_json:
        document = {
            "schema": "posologist/check/1",
            "inventory": None if inventory is None else inventory.model_dump(mode="json"),
            "problems": [problem.model_dump(mode="json") for problem in (*errors, *warnings)],
        }
        emit(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        _print(inventory, errors, warnings)
    return errors


def _failed(result: CaseResult) -> Problem:
    return Problem(
        file=f"drugs/{result.drug}.toml",
        where=f"case '{result.name}', {result.measure}",
        what=f"expected {result.expected} ({result.source}, {result.status}), found {result.found}",
    )


def _learned(knowledge: Knowledge) -> Iterator[Problem]:
    """The first saved model of the folders that cannot be asked."""
    try:
        models_of(knowledge)
    except ModelError as error:
        yield Problem(file="learned", where=error.where, what=error.message)


def _inventory(knowledge: Knowledge, results: tuple[CaseResult, ...], models: list[PkModel]) -> Inventory:
    drugs = knowledge.drugs.values()
    rankable = Counter(
        indication
        for drug in drugs
        if drug.depth == "rankable"
        for indication in {rule.indication for rule in drug.doses}
        if indication in knowledge.indications
    )
    return Inventory(
        drugs=dict(sorted(Counter(drug.depth for drug in drugs).items())),
        rankable=dict(sorted(rankable.items())),
        facts=dict(sorted(Counter(fact.status for drug in drugs for fact in _facts(drug)).items())),
        statements=len(knowledge.statements),
        guidance=dict(sorted(_guidance(knowledge).items())),
        bodies=_bodies(knowledge),
        models={
            "complete": sum(model.complete for model in models),
            "partial": sum(not model.complete for model in models),
            "drugs": len({model.drug for model in models if model.complete}),
        },
        cases_passed=sum(result.agrees for result in results),
        cases_failed=sum(not result.agrees for result in results),
    )


def _models(path: Path | None) -> tuple[list[PkModel], list[Problem]]:
    """The population models that can be read, and a problem for each that cannot."""
    held, broken = [], []
    for file in model_files(MODELS_FOLDER if path is None else (MODELS_FOLDER, path / "models")):
        try:
            held.append(load_model(file))
        except KnowledgeError as error:
            broken.append(Problem(file=f"models/{file.name}", where="model", what=error.message))
    return held, broken


def _facts(value: Any) -> Iterator[Fact]:
    """Every cited fact inside a value."""
    if isinstance(value, Fact):
        yield value
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _facts(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _facts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _facts(item)


def _guidance(knowledge: Knowledge) -> Counter[str]:
    """Gene statements by each gene that their conditions name."""
    return Counter(
        gene
        for statement in knowledge.statements
        if statement.kind == "gene"
        for gene in sorted(set(_GENE.findall(statement.when)))
    )


def _bodies(knowledge: Knowledge) -> dict[str, BodyCoverage]:
    """What each body says, by the citations of the gene statements."""
    found: dict[str, list[Statement]] = {}
    for statement in knowledge.statements:
        if statement.kind == "gene":
            found.setdefault(body_of(statement), []).append(statement)
    return {body: _coverage(statements) for body, statements in sorted(found.items())}


def _coverage(statements: list[Statement]) -> BodyCoverage:
    held = {pair for s in statements if not has_no_row(s) for pair in _drug_genes(s)}
    empty = {pair for s in statements if has_no_row(s) for pair in _drug_genes(s)}
    return BodyCoverage(
        pairs=len(held),
        statements=sum(not has_no_row(s) for s in statements),
        without_row=tuple(f"{drug} {gene}" for drug, gene in sorted(empty - held)),
    )


def _drug_genes(statement: Statement) -> set[tuple[str, str]]:
    named = {*_GENE.findall(statement.when), *_TESTED_GENE.findall(statement.when)}
    return {(drug, gene) for drug in statement.about for gene in named}


def _body_words(coverage: BodyCoverage) -> str:
    empty = "; guideline without a coded row: " + ", ".join(coverage.without_row) if coverage.without_row else ""
    return f"{coverage.pairs} pairs of drug and gene, {coverage.statements} statements{empty}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _print(inventory: Inventory | None, errors: list[Problem], warnings: list[Problem]) -> None:
    if inventory is not None:
        emit(f"Drugs       {sum(inventory.drugs.values())}: {_counted(inventory.drugs)}")
        emit(f"Rankable    {_counted(inventory.rankable)}")
        emit(f"Facts       {_counted(inventory.facts)}")
        emit(f"Statements  {inventory.statements}")
        emit(f"Guidance    {_counted(inventory.guidance)}")
        for body, coverage in inventory.bodies.items():
            emit(f"{body:<12}{_body_words(coverage)}")
        models = inventory.models
        emit(f"Models      {models['complete']} complete (of {models['drugs']} drugs), {models['partial']} partial")
        emit(f"Cases       {inventory.cases_passed} passed, {inventory.cases_failed} failed")
    for problem in errors:
        emit(f"error: {problem}")
    for problem in warnings[:_SHOWN_WARNINGS]:
        emit(f"warning: {problem}")
    if len(warnings) > _SHOWN_WARNINGS:
        emit(f"warning: and {len(warnings) - _SHOWN_WARNINGS} more; all of them: posologist check --json")
    emit(f"{_counted_noun(len(errors), 'error')}, {_counted_noun(len(warnings), 'warning')}")


def _counted_noun(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
