"""Restates the gene definitions, functions and rules of public releases in our schema.

    python tools/restate_genes.py PGX_FOLDER [--frequencies]

PGX_FOLDER holds `definition/`, `phenotype/`, `pypgx/` and `panel/`: the allele definitions and phenotype tables that
PharmCAT 3.1.1 distributes (CPIC content, CC0), PyPGx's variant table for GRCh37 coordinates, and a cut of the
1000 Genomes 30x panel. With `--frequencies` the package itself counts the alleles of the panel's phased haplotypes.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parents[1] / "src/posologist/knowledge/data/genes"
CALLABLE = ("ABCG2", "CYP2C19", "CYP2C9", "CYP3A4", "CYP3A5", "NUDT15", "SLCO1B1", "TPMT", "VKORC1")
READ_AS_REFERENCE = {"CACNA1S", "DPYD", "G6PD", "NUDT15", "RYR1", "TPMT"}
RETRIEVED = "2026-11-20"
# Cut-offs: Caudle et al. 2020 (CYP2D6), CPIC's CYP2C9 table; checked below against every diplotype of the source.
SCORES: dict[str, list[dict[str, Any]]] = {
    "CYP2C9": [
        {"below": 1.0, "phenotype": "Poor Metabolizer"},
        {"below": 2.0, "phenotype": "Intermediate Metabolizer"},
        {"phenotype": "Normal Metabolizer"},
    ],
    "CYP2D6": [
        {"equals": 0.0, "phenotype": "Poor Metabolizer"},
        {"below": 1.25, "phenotype": "Intermediate Metabolizer"},
        {"below": 2.5, "phenotype": "Normal Metabolizer"},
        {"phenotype": "Ultrarapid Metabolizer"},
    ],
}
CITATIONS = {
    "pharmcat-definitions": {
        "title": "PharmCAT 3.1.1 allele definitions (CPIC and ClinPGx content), data release 2025-11-05",
        "where": "https://github.com/PharmGKB/PharmCAT/tree/v3.1.1, definition/alleles",
        "kind": "database",
        "version": "2025-11-05-00-25",
        "licence": "CC0-1.0 (CPIC)",
        "retrieved": RETRIEVED,
    },
    "cpic-phenotypes": {
        "title": "CPIC allele functionality and diplotype-phenotype tables",
        "where": "https://github.com/PharmGKB/PharmCAT, phenotype/cpic",
        "kind": "database",
        "version": "2025-11-05-00-25",
        "licence": "CC0-1.0 (CPIC)",
        "retrieved": RETRIEVED,
    },
    "cpic-phenotypes-2d6": {
        "title": "CPIC CYP2D6 allele functionality and diplotype-phenotype tables",
        "where": "https://github.com/PharmGKB/PharmCAT/tree/v2.15.4, phenotype/cpic",
        "kind": "database",
        "version": "2024-08-27-21-12",
        "licence": "CC0-1.0 (CPIC)",
        "retrieved": RETRIEVED,
    },
    "pypgx-variants": {
        "title": "PyPGx 0.26.0 variant table: GRCh37 and GRCh38 coordinates of pharmacogene variants",
        "where": "https://github.com/sbslee/pypgx, pypgx/api/data/variant-table.csv",
        "kind": "database",
        "version": "0.26.0",
        "licence": "MIT",
        "retrieved": RETRIEVED,
    },
    "cicali-2020": {
        "title": "Cicali EJ et al. A scoping review of the evidence behind CYP2D6 inhibitor classifications",
        "where": "Clin Pharmacol Ther 2020;108:116-125; PMC7292748",
        "kind": "paper",
        "version": "2020",
        "licence": "cited",
        "retrieved": RETRIEVED,
    },
    "1kgp-30x": {
        "title": "1000 Genomes Project 30x panel, statistically phased (Byrska-Bishop et al., Cell 2022)",
        "where": "doi:10.1016/j.cell.2022.08.004; IGSR",
        "kind": "data set",
        "version": "GRCh38 30x, cut of 3,098 people",
        "licence": "open data, cite IGSR",
        "retrieved": RETRIEVED,
    },
}


def text(value: Any) -> str:
    """A TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key_text(k)} = {text(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(text(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def key_text(key: str) -> str:
    """A TOML key, quoted where needed."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def write(path: Path, comment: str, top: dict[str, Any], about: dict[str, str], tables: list[tuple[str, Any]]) -> None:
    """One TOML file: comment, plain keys, `[about]`, then tables and arrays of tables, one line per entry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"# {line}" for line in comment.splitlines()] + [f"{key_text(k)} = {text(v)}" for k, v in top.items()]
    for name, table in tables:
        if isinstance(table, list):
            lines += ["", f"{name} = ["] + [f"  {text(row)}," for row in table] + ["]"]
    lines += ["", "[about]"] + [f"{k} = {text(v)}" for k, v in about.items()]
    for name, table in tables:
        if isinstance(table, dict):
            lines += ["", f"[{name}]"] + [f"{key_text(k)} = {text(v)}" for k, v in table.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def about(title: str, source: str, note: str = "") -> dict[str, str]:
    """Header of a file."""
    citation = CITATIONS[source]
    return {
        "title": title,
        "source": source,
        "version": citation["version"],
        "licence": citation["licence"],
        "retrieved": RETRIEVED,
        "note": note,
    }


def citations(*keys: str) -> list[dict[str, str]]:
    """Citation entries of a file."""
    return [{"key": key, **CITATIONS[key]} for key in keys]


def load(path: Path) -> Any:
    """Gzipped JSON."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return json.load(stream)


def grch37(gene: str, pgx: Path) -> tuple[dict[int, dict[str, str]], int]:
    """PyPGx rows by GRCh38 position, and the offset GRCh38 - GRCh37, which is one number over each of these genes."""
    with gzip.open(pgx / "pypgx/variant-table.csv.gz", "rt") as stream:
        rows = [r for r in csv.DictReader(stream) if r["Gene"] == gene and r["GRCh37Position"].isdigit()]
    rows = [r for r in rows if r["GRCh38Position"].isdigit()]
    offsets = Counter(int(r["GRCh38Position"]) - int(r["GRCh37Position"]) for r in rows)
    if len(offsets) != 1:
        raise SystemExit(f"{gene}: offset between the builds is not constant: {offsets}")
    return {int(r["GRCh38Position"]): r for r in rows}, next(iter(offsets))


def shift_of(variant: dict[str, Any]) -> int:
    """How many bases right the variant can be written: HGVS is right-shifted, VCF left-aligned."""
    name, first = variant["chromosomeHgvsName"], variant["position"] + 1
    deletion = re.search(r"g\.(\d+)(?:_\d+)?del", name)
    duplication = re.search(r"g\.(?:\d+_)?(\d+)dup", name)
    repeats = re.findall(r"g\.(\d+)([ACGT]+)\[(\d+)\]", name)
    if repeats:  # of the listed alternatives one lacks a unit, so the reference has one more than the fewest
        units = min(int(count) for _, _, count in repeats) + 1
        return int(repeats[0][0]) + units * len(repeats[0][1]) - first
    if duplication:
        return int(duplication[1]) + 1 - first
    return max(0, int(deletion[1]) - first) if deletion else 0


def positions(gene: str, data: dict[str, Any], pgx: Path) -> list[dict[str, Any]]:
    """Positions in our schema."""
    known, offset = grch37(gene, pgx)
    names = Counter(v["rsid"] for v in data["variants"])
    rows = []
    for v in data["variants"]:
        other = known.get(v["position"])
        swapped = other is not None and other["GRCh37Allele"] != other["GRCh38Allele"]
        unique = v["rsid"] and names[v["rsid"]] == 1
        row = {"id": v["rsid"] if unique else f"{v['position']}{v['ref']}", "rsid": v["rsid"] or ""}
        row |= {"grch38": v["position"], "grch37": v["position"] - offset, "ref": v["ref"]}
        row |= {"ref37": other["GRCh37Allele"] if swapped and other else v["ref"], "alts": v["alts"]}
        row |= {"shift": shift_of(v)} if shift_of(v) else {}
        row |= {"grch37_from_offset": True} if other is None else {}
        rows.append(row)
    return rows


def alleles(data: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alleles in our schema: only what differs from the reference, or is stated to be variable."""
    result = []
    for allele in data["namedAlleles"]:
        pairs = zip(rows, allele["alleles"], strict=True)
        defines = {row["id"]: base for row, base in pairs if base and (base != row["ref"])}
        same = {row["id"]: b for row, b in zip(rows, allele["alleles"], strict=True) if b == row["ref"]}
        entry: dict[str, Any] = {"name": allele["name"]}
        if allele["reference"] or allele["score"] == len(rows):
            entry["everywhere"] = True
        elif same:
            defines |= same
        if defines:
            entry["defines"] = defines
        core = data.get("suballelesMap", {}).get(allele["name"])
        if core:
            entry["reports_as"] = core
        result.append(entry)
    return result


def function_of(value: str) -> str:
    """Function term with one spelling of "Unknown"."""
    return value.strip() or "Unknown function"


def phenotype_tables(gene: str, data: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Functions and rules, with proof that the rules give every diplotype of the source."""
    functions: dict[str, dict[str, Any]] = {}
    for row in data["namedAlleles"]:
        entry: dict[str, Any] = {"function": function_of(row["functionValue"] or "")}
        value = row["activityValue"]
        if value not in (None, "n/a"):
            entry["activity"] = float(value.lstrip("≥"))
            if value.startswith("≥"):
                entry["at_least"] = True
        functions[row["name"]] = entry
    listed = list(dict.fromkeys([*(d["phenotype"] for d in data["diplotypes"]), "Indeterminate"]))
    if gene in SCORES:
        check_scores(gene, data, functions)
        return {"phenotypes": listed}, [("score_rules", SCORES[gene]), ("functions", functions)]
    pairs: dict[tuple[str, ...], set[str]] = {}
    for row in data["diplotypes"]:
        names = [name for name, count in row["diplotypekey"].items() for _ in range(count)]
        pairs.setdefault(tuple(sorted(functions[n]["function"] for n in names)), set()).add(row["phenotype"])
    ambiguous = {pair: found for pair, found in pairs.items() if len(found) != 1}
    if ambiguous:
        raise SystemExit(f"{gene}: functions do not decide the phenotype: {ambiguous}")
    rules = [{"functions": list(pair), "phenotype": next(iter(found))} for pair, found in sorted(pairs.items())]
    return {"phenotypes": listed}, [("pair_rules", rules), ("functions", functions)]


def fits(rule: dict[str, Any], score: float) -> bool:
    """Whether a score falls under a rule."""
    return score == rule["equals"] if "equals" in rule else score < rule.get("below", float("inf"))


def check_scores(gene: str, data: dict[str, Any], functions: dict[str, dict[str, Any]]) -> None:
    """Every diplotype of the source has the score and the phenotype that our rules give."""
    for row in data["diplotypes"]:
        names = [name for name, count in row["diplotypekey"].items() for _ in range(count)]
        values = [functions[name].get("activity") for name in names]
        if any(v is None for v in values):
            expected = "Indeterminate"
        else:
            score = sum(values)
            if abs(score - float(row["activityScore"].lstrip("≥"))) > 1e-9:
                raise SystemExit(f"{gene} {row['diplotype']}: score {score} is not {row['activityScore']}")
            expected = next(r["phenotype"] for r in SCORES[gene] if fits(r, score))
        if expected != row["phenotype"]:
            raise SystemExit(f"{gene} {row['diplotype']}: {expected} is not {row['phenotype']}")


def write_gene(gene: str, pgx: Path) -> None:
    """Definition and phenotype files of one gene."""
    chromosome = "chr22"
    if gene in CALLABLE:
        data = load(pgx / f"definition/{gene}_translation.json.gz")
        chromosome = data["chromosome"]
        rows = positions(gene, data, pgx)
        note = (
            "GRCh37 coordinates: pypgx-variants; grch37_from_offset marks those placed by the gene's constant offset."
        )
        top = {"reference": next(a["name"] for a in data["namedAlleles"] if a["reference"])}
        top |= {"undocumented": "reference" if gene in READ_AS_REFERENCE else "not called"}
        top |= {"fallback": "rs4149056"} if gene == "SLCO1B1" else {}
        tables = [("positions", rows), ("alleles", alleles(data, rows))]
        tables.append(("citations", citations("pharmcat-definitions", "pypgx-variants")))
        header = about(f"{gene}: positions and alleles", "pharmcat-definitions", note)
        write(OUT / gene / "definition.toml", f"{gene}: which bases make which allele.", top, header, tables)
    name = "older/CYP2D6.cpic.v2.15.4" if gene == "CYP2D6" else gene
    top, tables = phenotype_tables(gene, load(pgx / f"phenotype/{name}.json.gz"))
    top = {"chromosome": chromosome, **({} if gene in CALLABLE else {"reference": "*1"}), **top}
    source = "cpic-phenotypes-2d6" if gene == "CYP2D6" else "cpic-phenotypes"
    header = about(f"{gene}: functions and phenotypes", source)
    tables.append(("citations", citations(source)))
    write(OUT / gene / "phenotype.toml", f"{gene}: what alleles do, and what two of them make.", top, header, tables)


def write_frequencies(gene: str, pgx: Path) -> None:
    """Counts of alleles among the panel's phased haplotypes, by the package's own matcher."""
    from posologist.genome.cohort import count_alleles
    from posologist.knowledge.genes import load_gene

    counts, total, unmatched = count_alleles(pgx / "panel/positions.1kgp30x.vcf.gz", load_gene(gene))
    note = (
        f"Counted on {total} phased haplotypes with absent positions read as reference; {unmatched} fitted no allele. "
        "The panel holds relatives, and polymorphic sites only: an allele without a count may exist unseen."
    )
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    top = {"haplotypes": total}
    tables: list[tuple[str, Any]] = [("counts", ordered), ("citations", citations("1kgp-30x"))]
    header = about(f"{gene}: allele counts", "1kgp-30x", note)
    write(OUT / gene / "frequencies.toml", f"{gene}: how often each allele was seen.", top, header, tables)


def main() -> None:
    """Write every gene folder."""
    pgx = Path(sys.argv[1])
    if "--frequencies" in sys.argv:
        for gene in CALLABLE:
            write_frequencies(gene, pgx)
        return
    for gene in (*CALLABLE, "CYP2D6"):
        write_gene(gene, pgx)


if __name__ == "__main__":
    main()
