"""Allele definitions and phenotype tables in PharmCAT's JSON layout -> our gene files.

The layout: `GENE_translation.json` (variants, named alleles) and `GENE.json` (functions, diplotypes), each plain or
gzipped. Our own gene folders are made with these functions, and `posologist knowledge import pharmcat` reads a newer
release into a folder of the user's with them.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from posologist.core.errors import InputError, KnowledgeError

Row = dict[str, Any]
Tables = list[tuple[str, Any]]
UNKNOWN_FUNCTION = "Unknown function"
INDETERMINATE = "Indeterminate"


class Spot(NamedTuple):
    """Where GRCh37 has a position, the base it has there, and whether that rests on the gene's constant offset."""

    position: int
    ref: str
    from_offset: bool


def read_json(path: Path) -> Row:
    """A JSON object, plain or gzipped.

    Raises
    ------
    InputError
        If the file cannot be read, is not JSON, or holds no object.
    """
    try:
        raw = path.read_bytes()
        data = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"cannot be read as JSON: {error}", where=str(path), hint="download it again") from error
    if not isinstance(data, dict):
        raise InputError("holds no JSON object", where=str(path), hint="give PharmCAT's own files")
    return data


def positions_of(data: Row, spot: Callable[[Row], Spot], *, ignored: frozenset[int] = frozenset()) -> list[Row]:
    """The defining positions of a gene, without the `ignored` (places among its variants)."""
    names = Counter(v["rsid"] for v in data["variants"])
    rows = []
    for n, variant in enumerate(data["variants"]):
        if n in ignored:
            continue
        rows.append(position_of(variant, spot(variant), unique=names[variant["rsid"]] == 1))
    return rows


def position_of(variant: Row, spot: Spot, *, unique: bool = True) -> Row:
    """One position in our schema."""
    name = variant["rsid"] if variant["rsid"] and unique else f"{variant['position']}{variant['ref']}"
    row = {"id": name, "rsid": variant["rsid"] or "", "grch38": variant["position"], "grch37": spot.position}
    row |= {"ref": variant["ref"], "ref37": spot.ref, "alts": variant["alts"]}
    shift = shift_of(variant)
    row |= {"shift": shift} if shift else {}
    return row | ({"grch37_from_offset": True} if spot.from_offset else {})


def shift_of(variant: Row) -> int:
    """How many bases right the variant can be written: HGVS is right-shifted, VCF left-aligned."""
    name, first = str(variant["chromosomeHgvsName"]), int(variant["position"]) + 1
    deletion = re.search(r"g\.(\d+)(?:_\d+)?del(?!ins)", name)
    duplication = re.search(r"g\.(?:\d+_)?(\d+)dup", name)
    repeats = re.findall(r"g\.(\d+)([ACGT]+)\[(\d+)\]", name)
    if repeats:  # of the listed alternatives one lacks a unit, so the reference has one more than the fewest
        units = min(int(count) for _, _, count in repeats) + 1
        return max(0, int(repeats[0][0]) + units * len(repeats[0][1]) - first)
    if duplication:
        return max(0, int(duplication[1]) + 1 - first)
    return max(0, int(deletion[1]) - first) if deletion else 0


def alleles_of(data: Row, rows: list[Row], *, without: frozenset[str] = frozenset()) -> list[Row]:
    """The named alleles: only what differs from the reference, or is stated although it does not."""
    places = {(v["position"], v["ref"]): n for n, v in enumerate(data["variants"])}
    kept = [places[row["grch38"], row["ref"]] for row in rows]
    result = []
    for allele in data["namedAlleles"]:
        if allele["name"] in without:
            continue
        pairs = [(row, allele["alleles"][n]) for row, n in zip(rows, kept, strict=True)]
        defines = {row["id"]: base for row, base in pairs if base and base != row["ref"]}
        stated = sum(base is not None for _, base in pairs)
        entry: Row = {"name": allele["name"]}
        if allele["reference"] or stated == len(rows):
            entry["everywhere"] = True
        elif not defines and stated == 0:
            continue  # all that defines it is left out
        else:
            defines |= {row["id"]: base for row, base in pairs if base == row["ref"]}
        if defines:
            entry["defines"] = defines
        core = (data.get("suballelesMap") or {}).get(allele["name"])
        result.append(entry | ({"reports_as": core} if core else {}))
    return result


def functions_of(data: Row) -> dict[str, Row]:
    """What each allele does, with its activity value where there is one."""
    listed = data.get("namedAlleles") or [
        {"name": name, "functionValue": value, "activityValue": (data.get("activityValues") or {}).get(name)}
        for name, value in data["haplotypes"].items()
    ]
    functions: dict[str, Row] = {}
    for row in listed:
        entry: Row = {"function": (row["functionValue"] or "").strip() or UNKNOWN_FUNCTION}
        value = row["activityValue"]
        if value not in (None, "", "n/a"):
            entry["activity"] = float(value.lstrip("≥"))
            if value.startswith("≥"):
                entry["at_least"] = True
        functions[row["name"]] = entry
    return functions


def rules_of(gene: str, data: Row, functions: Mapping[str, Row], scores: list[Row]) -> tuple[list[str], Tables]:
    """Phenotypes and the rules that give them, proven to give every diplotype of the source.

    Parameters
    ----------
    scores
        Cut-offs of the activity score; empty for genes whose phenotype rests on functions.

    Raises
    ------
    KnowledgeError
        If the rules do not give a diplotype of the source the phenotype that the source states.
    """
    rows = [{**row, "phenotype": row.get("phenotype") or row["lookupkey"]} for row in data["diplotypes"]]
    listed = [*dict.fromkeys([*(row["phenotype"] for row in rows), *([INDETERMINATE] if rows else [])])]
    if scores:
        _prove_scores(gene, rows, functions, scores)
        return listed, [("score_rules", scores), ("functions", dict(functions))]
    pairs: dict[tuple[str, ...], set[str]] = {}
    for row in rows:
        names = [name for name, count in row["diplotypekey"].items() for _ in range(count)]
        pairs.setdefault(tuple(sorted(functions[n]["function"] for n in names)), set()).add(row["phenotype"])
    ambiguous = {pair: found for pair, found in pairs.items() if len(found) != 1}
    if ambiguous:
        raise KnowledgeError(f"{gene}: functions do not decide the phenotype: {ambiguous}", where=gene)
    rules = [{"functions": list(pair), "phenotype": next(iter(found))} for pair, found in sorted(pairs.items())]
    return listed, [("pair_rules", rules), ("functions", dict(functions))]


def _fits(rule: Row, score: float) -> bool:
    return bool(score == rule["equals"] if "equals" in rule else score < rule.get("below", float("inf")))


def _prove_scores(gene: str, rows: list[Row], functions: Mapping[str, Row], scores: list[Row]) -> None:
    for row in rows:
        names = [name for name, count in row["diplotypekey"].items() for _ in range(count)]
        values = [float(v) for name in names if (v := functions[name].get("activity")) is not None]
        expected = INDETERMINATE
        if len(values) == len(names):
            score = sum(values)
            if abs(score - float(row["activityScore"].lstrip("≥"))) > 1e-9:
                raise KnowledgeError(f"{row['diplotype']}: score {score} is not {row['activityScore']}", where=gene)
            expected = next(r["phenotype"] for r in scores if _fits(r, score))
        if expected != row["phenotype"]:
            raise KnowledgeError(f"{row['diplotype']}: {expected} is not {row['phenotype']}", where=gene)


def toml_text(value: Any) -> str:
    """A TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {toml_text(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_text(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def write_toml(path: Path, comment: str, top: Row, about: Mapping[str, str], tables: Tables) -> None:
    """One file: comment, plain keys, arrays of tables one line an entry, `[about]`, then tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"# {line}" for line in comment.splitlines()] + [f"{_key(k)} = {toml_text(v)}" for k, v in top.items()]
    for name, table in tables:
        if isinstance(table, list) and table:
            lines += ["", f"{name} = ["] + [f"  {toml_text(row)}," for row in table] + ["]"]
    lines += ["", "[about]"] + [f"{k} = {toml_text(v)}" for k, v in about.items()]
    for name, table in tables:
        if isinstance(table, dict):
            lines += ["", f"[{name}]"] + [f"{_key(k)} = {toml_text(v)}" for k, v in table.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
