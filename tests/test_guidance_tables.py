"""Every result of every phenotype table joins to the rows that the source has for it, or to a stated silence.

What the source has is counted from its coded keys alone; how the tool reads its sentences plays no part.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from posologist.core.genotype import GeneCall, GeneticProfile, Versions
from posologist.core.guidance import GuidanceDocument, GuidanceItem
from posologist.core.values import DrugId
from posologist.genome.guidance import guidance_document
from posologist.knowledge.expression import expression
from posologist.knowledge.load import Knowledge, load_knowledge
from shared import shared_data

_NOT_TESTED = "No Result"
_HLA = ("HLA-A", "HLA-B")  # by allele: no table; every coded row of theirs is reproduced in test_guidance.py
_DPWG_ULTRARAPID = 2.5  # DPWG: activity score above it


class Result(NamedTuple):
    """One row of a phenotype table."""

    key: str
    diplotype: str
    phenotype: str | None
    score: float | None
    dpwg: bool


class Guideline(NamedTuple):
    """One body on one drug for a set of genes: its rows by their keys, in the order of the genes."""

    body: str
    drug: str
    genes: tuple[str, ...]
    rows: dict[tuple[str, ...], list[dict[str, Any]]]


@lru_cache(maxsize=1)
def _knowledge() -> Knowledge:
    return load_knowledge()


def _tables() -> Iterator[tuple[str, Path]]:
    for folder in (("phenotype",), ("phenotype", "older")):
        for path in sorted(shared_data("pgx", *folder).glob("*.json.gz")):
            yield path.name.split(".")[0].replace("MT_RNR1", "MT-RNR1"), path


@lru_cache(maxsize=1)
def _results() -> dict[str, list[Result]]:
    """Every row of every table, one for each key, phenotype and set of alleles that a statement names."""
    named: dict[str, set[str]] = defaultdict(set)
    for statement in _knowledge().statements:
        if statement.kind == "gene":
            for function, arguments in expression(statement.when).queries:
                if function == "allele":
                    named[str(arguments[0])].add(str(arguments[1]))
    found: dict[str, dict[Any, Result]] = defaultdict(dict)
    for gene, path in _tables():
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for row in json.load(stream)["diplotypes"]:
                result = _result(row, dpwg="dpwg" in path.name)
                held = frozenset(_alleles(result.diplotype) & named[gene])
                found[gene].setdefault((result.key, result.phenotype, held, result.dpwg), result)
    return {gene: list(rows.values()) for gene, rows in found.items()}


def _result(row: dict[str, Any], *, dpwg: bool) -> Result:
    given = row.get("activityScore")
    score = None if given in (None, "n/a") else float(given.replace("≥", ""))
    phenotype = row.get("phenotype") or row["generesult"]
    if row["lookupkey"] == phenotype and phenotype[:1].isdigit():  # DPWG on DPYD: "0.5 (Phenotyping)"
        score, phenotype = float(phenotype.split()[0]), None
    return Result(row["lookupkey"], row["diplotype"], phenotype, score, dpwg)


def _alleles(diplotype: str) -> set[str]:
    parts = diplotype.split("/")
    return {*parts, "/".join(parts), "/".join(reversed(parts))}


@lru_cache(maxsize=1)
def _guidelines() -> list[Guideline]:
    found: list[Guideline] = []
    with gzip.open(shared_data("pgx", "guidance", "guidelines_2024-05.jsonl.gz"), "rt", encoding="utf-8") as stream:
        for line in stream:
            document = json.loads(line)
            genes = tuple(sorted(g["symbol"] for g in document["guideline"]["relatedGenes"]))
            for chemical in document["guideline"]["relatedChemicals"]:
                rows: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
                for row in document["recommendations"]:
                    if chemical["name"] in {c["name"] for c in row["relatedChemicals"]}:
                        rows[tuple(_key(row["lookupKey"][gene]) for gene in genes)].append(row)
                found.append(Guideline(document["guideline"]["source"], chemical["name"], genes, dict(rows)))
    return found


def _key(value: Any) -> str:
    """A look-up key; a map of alleles as `*1/*28`."""
    if not isinstance(value, dict):
        return str(value)
    return "/".join(sorted(name for name, count in value.items() for _ in range(int(count))))


def _call(result: Result) -> GeneCall:
    return GeneCall(
        called=True,
        diplotype=result.diplotype,
        phenotype=result.phenotype,
        activity_score=result.score,
        evidence_state="called",
        source="vcf",
        because=("patient:x",),  # type: ignore[arg-type]
    )


def _document(calls: dict[str, Result], drugs: Iterable[str]) -> GuidanceDocument:
    profile = GeneticProfile(
        schema="posologist/phenotype/1",
        sample="x",
        build="GRCh38",
        genes={gene: _call(result) for gene, result in calls.items()},  # type: ignore[misc]
        evidence={},
        versions=Versions(posologist="0", knowledge="0"),
    )
    names = [_knowledge().drug(drug).id for drug in drugs]
    return guidance_document(profile, names, knowledge=_knowledge())


def _people(genes: tuple[str, ...]) -> Iterator[dict[str, Result]]:
    """Every combination of results; with several genes also those where one was not tested."""
    options: list[list[Result | None]] = []
    for gene in genes:
        known: list[Result | None] = list(_results()[gene]) if len(genes) == 1 else list(_distinct(gene))
        options.append([*known, None] if len(genes) > 1 else known)
    for chosen in product(*options):
        calls = {gene: result for gene, result in zip(genes, chosen, strict=True) if result is not None}
        if calls:
            yield calls


def _distinct(gene: str) -> Iterable[Result]:
    """One result for each key of a table."""
    return {result.key: result for result in reversed(_results()[gene])}.values()


def _expected(guideline: Guideline, calls: dict[str, Result]) -> list[dict[str, Any]]:
    """The rows that the source has for these results."""
    keys = [_lookup(guideline, gene, calls.get(gene)) for gene in guideline.genes]
    return guideline.rows.get(tuple(keys), [])


def _lookup(guideline: Guideline, gene: str, result: Result | None) -> str:
    """The key under which a guideline lists a result: its diplotype if that has a row, else its look-up key."""
    if result is None:
        return _NOT_TESTED
    listed = {key[guideline.genes.index(gene)] for key in guideline.rows}
    own = "/".join(sorted(result.diplotype.split("/")))
    if own in listed:
        return own
    if guideline.body == "DPWG" and gene == "DPYD" and not result.dpwg:
        return _dpwg_dpyd(result)
    if guideline.body == "DPWG" and gene == "CYP2C9":  # by phenotype, where CPIC goes by score
        return str(result.phenotype)
    if guideline.body == "DPWG" and gene == "CYP2D6" and result.key not in listed:
        return _nearest(listed, result)
    return result.key


def _nearest(listed: set[str], result: Result) -> str:
    """A score that DPWG does not list lies between two listed ones; the key of the one of the same phenotype."""
    if result.score is None:
        return result.key
    scores = {float(key.lstrip("≥")): key for key in listed if key[-1:].isdigit()}
    same = [s for s in scores if (s > _DPWG_ULTRARAPID) == (result.score > _DPWG_ULTRARAPID)]
    return scores[min(same, key=lambda s: abs(s - float(str(result.score))))]


@lru_cache(maxsize=1)
def _dpwg_dpyd_alleles() -> dict[str, str]:
    with gzip.open(shared_data("pgx", "phenotype", "older", "DPYD.dpwg.v3.0.1.json.gz"), "rt") as stream:
        return dict(json.load(stream)["haplotypes"])


def _dpwg_dpyd(result: Result) -> str:
    """DPWG's key for a diplotype of CPIC's table: alleles that work normally are its reference; others are unknown."""
    known, parts = _dpwg_dpyd_alleles(), result.diplotype.split("/")
    cpic = _cpic_dpyd()
    activity = [known.get(part, cpic[part] if cpic[part] == "1.0" else "unknown") for part in parts]
    for row in _results()["DPYD"]:
        if row.dpwg and sorted(known[part] for part in row.diplotype.split("/")) == sorted(activity):
            return row.key
    return "unknown to DPWG"


@lru_cache(maxsize=1)
def _cpic_dpyd() -> dict[str, str]:
    with gzip.open(shared_data("pgx", "phenotype", "DPYD.json.gz"), "rt") as stream:
        return dict(json.load(stream)["haplotypes"])


def _of(guideline: Guideline, document: GuidanceDocument) -> list[GuidanceItem]:
    """What a guideline says: for exactly its genes, without what waits for a gene."""
    drug = _knowledge().drug(guideline.drug).id
    return [
        item
        for item in document.guidance
        if item.drug == drug and item.body == guideline.body and set(item.genes) == set(guideline.genes)
        if not _waits(item)
    ]


def _waits(item: GuidanceItem) -> bool:
    """Whether an item is open for want of a gene."""
    return any(m.startswith(("gene(", "activity(", "indeterminate(", "allele(")) for m in item.missing)


def _waiting(guideline: Guideline, document: GuidanceDocument) -> bool:
    """Whether rows of a guideline are shown as open, for want of a gene that they name."""
    drug = _knowledge().drug(guideline.drug).id
    same = [i for i in document.guidance if i.drug == drug and i.body == guideline.body]
    return any(_waits(i) and i.decision == "undecided" for i in same if set(i.genes) == set(guideline.genes))


def _said_silent(guideline: Guideline, document: GuidanceDocument) -> bool:
    drug = _knowledge().drug(guideline.drug).id
    return any(n.drug == drug and n.body == guideline.body and n.why for n in document.no_guidance)


def _gene_sets() -> list[tuple[str, ...]]:
    return sorted({g.genes for g in _guidelines() if g.rows and not set(g.genes) & set(_HLA)})


def test_every_result_of_every_table_joins_to_its_rows_or_to_a_stated_silence() -> None:
    rows = silences = 0
    for genes in _gene_sets():
        asked = [g for g in _guidelines() if g.genes == genes]
        for calls in _people(genes):
            document = _document(calls, dict.fromkeys(g.drug for g in asked))
            for guideline in asked:
                if guideline.body == "CPIC" and any(result.dpwg for result in calls.values()):
                    continue
                expected = _expected(guideline, calls)
                found = _of(guideline, document)
                where = (guideline[:3], {gene: (r.key, r.diplotype) for gene, r in calls.items()})
                assert len({i.population for i in found}) == len({r["population"] for r in expected}), where
                levels = {(r["classification"] or {}).get("term") for r in expected}
                assert {i.level for i in found} - {""} == levels & {"Strong", "Moderate", "Optional"}, where
                if not expected:
                    assert _said_silent(guideline, document) or _waiting(guideline, document), where
                    silences += 1
                rows += len(expected)
    print(rows, "rows joined,", silences, "results without a row")

    assert rows > 3000
    assert silences > 100


def test_actions_agree_with_the_sources_own_flag_of_an_alternative_drug() -> None:
    """A severe action stands only where the source flags an alternative; where it does, something is asked for."""
    counted: Counter[tuple[bool, bool]] = Counter()
    for genes in [g for g in _gene_sets() if len(g) == 1]:
        for guideline in [g for g in _guidelines() if g.genes == genes]:
            for calls in _people(genes):
                expected = _expected(guideline, calls)
                if len(expected) == 1 and not (guideline.body == "CPIC" and any(r.dpwg for r in calls.values())):
                    found = _of(guideline, _document(calls, [guideline.drug]))
                    severe = any(i.severity in ("serious", "contraindicated") for i in found)
                    flagged = bool(expected[0]["alternateDrugAvailable"])
                    counted[flagged, severe] += 1
                    asked = {i.action for i in found} - {"standard", "no recommendation"}
                    assert asked or not flagged, (guideline[:3], calls)
    print(dict(counted))

    assert counted[False, True] == 0


@pytest.mark.parametrize("source", ["FDA Label Annotation", "FDA PGx Association"])
def test_fda_rows_hold_for_the_result_they_were_read_for_and_no_other(source: str) -> None:
    checked = 0
    with gzip.open(shared_data("pgx", "guidance", "guidance_v3.1_examples.jsonl.gz"), "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    for row in [r for r in rows if r["source"] == source]:
        lookup = row["lookupKey"][0]
        genes = tuple(sorted(lookup))
        if set(genes) & set(_HLA) or not set(genes) <= set(_results()):
            continue
        keys = tuple(_key(lookup[gene]) for gene in genes)
        for calls in _people(genes):
            own = tuple(_own_key(calls.get(gene), key) for gene, key in zip(genes, keys, strict=True))
            document = _document(calls, [row["drug"]])
            ids = {i.source.split("-")[1] for i in document.guidance if i.body == "FDA" and not _waits(i)}
            assert (row["guideline_id"] in ids) == (own == keys), (row["drug"], calls)
        checked += 1
    print(checked, "rows of", source)

    assert checked >= 15


def _own_key(result: Result | None, key: str) -> str:
    if result is None:
        return _NOT_TESTED
    own = "/".join(sorted(result.diplotype.split("/")))
    return own if own == key else result.key


def test_guidelines_without_a_coded_row_are_named() -> None:
    silent = [g for g in _guidelines() if not g.rows and g.drug != "warfarin"]
    document = _document({}, [g.drug for g in silent])

    assert {(g.body, DrugId(g.drug.replace(" ", "-"))) for g in silent} == {
        (n.body, n.drug) for n in document.no_guidance if "no coded recommendation" in n.why
    }
    assert len(silent) == 3
