"""Restates the gene definitions, functions and rules of public releases in our schema.

    python tools/restate_genes.py PGX_FOLDER [--frequencies]

PGX_FOLDER holds `definition/`, `phenotype/`, `pypgx/` and `panel/`: the allele definitions and phenotype tables that
PharmCAT 3.1.1 distributes (CPIC content, CC0), PyPGx's variant table for GRCh37 coordinates, and a cut of the
1000 Genomes 30x panel. With `--frequencies` the package itself counts the alleles of the panel's haplotypes.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import rtoml

from posologist.knowledge.pharmcat import (
    Spot,
    alleles_of,
    functions_of,
    position_of,
    positions_of,
    read_json,
    rules_of,
    write_toml,
)

OUT = Path(__file__).resolve().parents[1] / "src/posologist/knowledge/data/genes"
NEWER = Path(__file__).resolve().parent / "functions"
CALLABLE = ("ABCG2", "CACNA1S", "CFTR", "CYP2B6", "CYP2C19", "CYP2C9", "CYP2D6", "CYP3A4", "CYP3A5", "CYP4F2", "DPYD")
CALLABLE += ("G6PD", "IFNL3", "NAT2", "NUDT15", "RYR1", "SLCO1B1", "TPMT", "UGT1A1", "VKORC1")
OUTSIDE = {"HLA-A": "chr6", "HLA-B": "chr6", "MT-RNR1": "chrM"}
OLDER = {"CYP2D6": "older/CYP2D6.cpic.v2.15.4", "G6PD": "older/G6PD.cpic.v2.6.0", "RYR1": "older/RYR1.cpic.v2.8.3"}
OLDER |= {"MT-RNR1": "MT_RNR1"}
READ_AS_REFERENCE = {"CACNA1S", "DPYD", "G6PD", "NUDT15", "RYR1", "TPMT"}
SOURCE = {"CYP2D6": "cpic-phenotypes-2d6", "G6PD": "cpic-phenotypes-g6pd", "RYR1": "cpic-phenotypes-ryr1"}
# Genes whose variants are called one by one; guidance takes the two with the worst function.
WORST_FIRST = {
    "DPYD": ["No function", "Decreased function", "Normal function"],
    "RYR1": ["Malignant Hyperthermia associated", "Uncertain function", "Unknown function", "Normal function"],
}
ALL_DECIDE = {"CFTR"}  # asked about in people with the disease: rare alleles are the rule, not the exception
# What the panel's missing records make of alleles: it has none at rs2279343, which tells CYP2B6*6 from *9. Of the 90
# chromosomes that GeT-RM typed at both positions 29 are *6 and none is *9.
CONFOUNDED = {
    "CYP2B6": ("*9", "*6", "rs2279343 is not in the panel: what looks like *9 is counted as *6, as in GeT-RM.")
}
PROXIES = {
    "DPYD": [
        {
            "position": "rs56038477",
            "stands_for": "rs75017182",
            "text": "HapB3 rests on the intronic rs75017182, which was not read; rs56038477 was, in its place",
        }
    ]
}
RETRIEVED = "2026-11-20"
# Cut-offs: Caudle et al. 2020 (CYP2D6), CPIC's CYP2C9 and DPYD tables; proven against every diplotype of the source.
_THREE = [
    {"below": 1.0, "phenotype": "Poor Metabolizer"},
    {"below": 2.0, "phenotype": "Intermediate Metabolizer"},
    {"phenotype": "Normal Metabolizer"},
]
SCORES: dict[str, list[dict[str, Any]]] = {
    "CYP2C9": _THREE,
    "DPYD": _THREE,
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
    "cpic-phenotypes-g6pd": {
        "title": "CPIC G6PD allele functionality and diplotype-phenotype tables",
        "where": "https://github.com/PharmGKB/PharmCAT/tree/v2.6.0, phenotype/cpic",
        "kind": "database",
        "version": "v1.30.0",
        "licence": "CC0-1.0 (CPIC)",
        "retrieved": RETRIEVED,
    },
    "cpic-phenotypes-ryr1": {
        "title": "CPIC RYR1 allele functionality and diplotype-phenotype tables",
        "where": "https://github.com/PharmGKB/PharmCAT/tree/v2.8.3, phenotype/cpic",
        "kind": "database",
        "version": "2023-10-05-00-25",
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
    "1kgp-30x": {
        "title": "1000 Genomes Project 30x panel, statistically phased (Byrska-Bishop et al., Cell 2022)",
        "where": "doi:10.1016/j.cell.2022.08.004; IGSR",
        "kind": "data set",
        "version": "GRCh38 30x, cut of 3,098 people",
        "licence": "open data, cite IGSR",
        "retrieved": RETRIEVED,
    },
}


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


class Lift:
    """Places a gene's variants in GRCh37: by PyPGx's table, else by the offset that nearly all its rows share."""

    def __init__(self, gene: str, pgx: Path) -> None:
        with gzip.open(pgx / "pypgx/variant-table.csv.gz", "rt") as stream:
            rows = [r for r in csv.DictReader(stream) if r["Gene"] == gene]
        placed = [r for r in rows if r["GRCh37Position"].isdigit() and r["GRCh38Position"].isdigit()]
        offsets = Counter(int(r["GRCh38Position"]) - int(r["GRCh37Position"]) for r in placed)
        self.offset, agreeing = offsets.most_common(1)[0]
        if agreeing < 0.98 * len(placed):
            raise SystemExit(f"{gene}: the offset between the builds is not one number: {offsets}")
        self.rows = {int(r["GRCh38Position"]): r for r in placed}

    def __call__(self, variant: dict[str, Any]) -> Spot:
        """The variant's place in GRCh37."""
        row = self.rows.get(variant["position"])
        swapped = row is not None and row["GRCh37Allele"] != row["GRCh38Allele"]
        ref = row["GRCh37Allele"] if swapped and row else variant["ref"]
        return Spot(variant["position"] - self.offset, ref, row is None)


def write_definition(gene: str, pgx: Path) -> str:
    """Definition file of a gene; returns its chromosome."""
    data = read_json(pgx / f"definition/{gene}_translation.json.gz")
    exempt = read_json(pgx / "definition/exemptions.json").get(gene, {})
    lift = Lift(gene, pgx)
    left_out = {(v["position"], v["ref"]) for v in exempt.get("ignoredPositions", [])}
    ignored = frozenset(n for n, v in enumerate(data["variants"]) if (v["position"], v["ref"]) in left_out)
    rows = positions_of(data, lift, ignored=ignored)
    named = alleles_of(data, rows, without=frozenset(exempt.get("ignoredAlleles", [])))
    by_place = {row["grch38"]: row["id"] for row in rows}
    top: dict[str, Any] = {"reference": next(a["name"] for a in data["namedAlleles"] if a["reference"])}
    top |= {"undocumented": "reference" if gene in READ_AS_REFERENCE else "not called"}
    top |= {"fallback": "rs4149056"} if gene == "SLCO1B1" else {}
    top |= {"copies_vary": True} if gene == "CYP2D6" else {"key_alleles": exempt.get("amp1Alleles", [])}
    top |= {"all_decide": True} if gene in ALL_DECIDE else {}
    top |= {"worst_first": WORST_FIRST[gene]} if gene in WORST_FIRST else {}
    if exempt.get("requiredPositions"):
        top["required"] = [by_place[position] for position in exempt["requiredPositions"]]
    preferences = [{"of": p["list"], "pick": p["pick"]} for p in exempt.get("unphasedDiplotypePriorities", [])]
    extra = [position_of(v, lift(v)) for v in exempt.get("extraPositions", [])]
    tables = [("positions", rows), ("alleles", named)]
    tables += [("proxies", PROXIES.get(gene, [])), ("preferences", preferences), ("extra_positions", extra)]
    tables.append(("citations", citations("pharmcat-definitions", "pypgx-variants")))
    note = "GRCh37 coordinates: pypgx-variants; grch37_from_offset marks those placed by the gene's constant offset."
    header = about(f"{gene}: positions and alleles", "pharmcat-definitions", note)
    write_toml(OUT / gene / "definition.toml", f"{gene}: which bases make which allele.", top, header, tables)
    return str(data["chromosome"])


def write_phenotype(gene: str, chromosome: str, pgx: Path) -> None:
    """Functions and rules of a gene."""
    source = SOURCE.get(gene, "cpic-phenotypes")
    path = pgx / f"phenotype/{OLDER.get(gene, gene)}.json.gz"
    top: dict[str, Any] = {"chromosome": chromosome} | ({} if gene in CALLABLE else {"reference": "Reference"})
    listed, tables, note, keys = list[str](), list[tuple[str, Any]](), "", [source]
    if path.is_file():
        data = read_json(path)
        functions = functions_of(data)
        listed, tables = rules_of(gene, data, functions, SCORES.get(gene, []))
        keys += newer(gene, functions)
        tables[-1] = ("functions", functions)
    else:
        note = "No table of functions: guidance asks for single alleles, or takes the diplotype."
        tables = [("functions", {})]
    tables.append(("citations", citations(*keys)))
    header = about(f"{gene}: functions and phenotypes", source, note)
    comment = f"{gene}: what alleles do, and what two of them make."
    write_toml(OUT / gene / "phenotype.toml", comment, {**top, "phenotypes": listed}, header, tables)


def newer(gene: str, functions: dict[str, dict[str, Any]]) -> list[str]:
    """Functions of alleles that a newer release holds than the table; returns the citations used."""
    path = NEWER / f"{gene}.toml"
    if not path.is_file():
        return []
    table = rtoml.load(path)
    CITATIONS[table["citation"]["key"]] = {k: v for k, v in table["citation"].items() if k != "key"}
    functions.update(table["functions"])
    return [table["citation"]["key"]]


def write_frequencies(gene: str, pgx: Path) -> None:
    """Counts of alleles among the panel's haplotypes, by the package's own matcher."""
    from panel_counts import count_alleles

    from posologist.knowledge.genes import load_gene

    path = pgx / "panel/positions.1kgp30x.vcf.gz"
    found = count_alleles(path, load_gene(gene))
    if found is None:
        return
    counts, total, unmatched = found
    note = (
        f"Counted on {total} phased haplotypes with absent positions read as reference; {unmatched} fitted no allele. "
        "The panel holds relatives, and polymorphic sites only: an allele without a count may exist unseen."
    )
    if gene in CONFOUNDED:
        seen, meant, why = CONFOUNDED[gene]
        counts[meant] = counts.pop(seen)
        note = f"{note} {why}"
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    top = {"haplotypes": total}
    tables: list[tuple[str, Any]] = [("counts", ordered), ("citations", citations("1kgp-30x"))]
    header = about(f"{gene}: allele counts", "1kgp-30x", note)
    write_toml(OUT / gene / "frequencies.toml", f"{gene}: how often each allele was seen.", top, header, tables)


def main() -> None:
    """Write every gene folder."""
    pgx = Path(sys.argv[1])
    for gene in CALLABLE:
        write_phenotype(gene, write_definition(gene, pgx), pgx)
    for gene, chromosome in OUTSIDE.items():
        write_phenotype(gene, chromosome, pgx)
    if "--frequencies" in sys.argv[2:]:
        for gene in CALLABLE:
            write_frequencies(gene, pgx)
    print(f"{len(CALLABLE)} genes with definitions and {len(OUTSIDE)} without written to {OUT}")


if __name__ == "__main__":
    main()
