"""Restates CPIC, DPWG and FDA recommendations as Statements in our own words.

    python tools/restate_guidance.py PGX_FOLDER

Reads the per-guideline set of 2024-05 (ClinPGx annotations) and the rows of the release of 2025-11 that two worked
patients matched (FDA, and guidelines that are newer), classifies each recommendation by `guidance_rules.toml`, joins
rows that ask for the same, and writes `knowledge/data/guidance/<body>-<gene>.toml`. No sentence of a source is copied.
Stops at a recommendation that no rule understands, at a gene without a place and at a drug that is not held; every
row that is left out is counted with its reason.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import rtoml
from guidance_keys import Context, DpydTable, condition_for, found, key_of

from posologist.knowledge.load import Knowledge, load_knowledge

RULES = rtoml.load(Path(__file__).with_name("guidance_rules.toml"))
OUT = Path(__file__).resolve().parents[1] / "src/posologist/knowledge/data/guidance"
GENES = ("CYP2C19", "CYP2C9", "CYP2D6", "CYP3A5", "SLCO1B1", "TPMT", "VKORC1", "ABCG2", "CYP2B6", "CYP3A4", "HLA-A")
GENES += ("HLA-B", "NUDT15", "CFTR", "CYP4F2", "DPYD", "G6PD", "IFNL3", "MT-RNR1", "NAT2", "RYR1", "CACNA1S", "UGT1A1")
SEVERITY = {"contraindicated": "contraindicated", "avoid": "serious", "alternative": "serious"}
QUIET = {"standard": "information", "no recommendation": "information"}
RETRIEVED = "2026-11-20"
CODED, LATER = "2024-05", "2025-11"
FDA_LEVELS = {
    "Therapeutic Management": "association: management",
    "Safety or Response": "association: safety or response",
    "Pharmacokinetic Properties": "association: kinetics only",
}


class Outcome(NamedTuple):
    """What a recommendation asks for; `severity` is empty where the action's own holds."""

    action: str
    value: float | None
    unit: str
    text: str
    when: str
    severity: str = ""


@dataclass(frozen=True)
class Row:
    """One recommendation for one drug, with its look-up keys in the order of its genes."""

    body: str
    drug: str
    genes: tuple[str, ...]
    keys: tuple[str, ...]
    population: str
    level: str
    outcomes: tuple[Outcome, ...]
    citation: str
    since: str = CODED
    exact: bool = False


@dataclass
class Group:
    """Rows of one drug that ask for the same."""

    row: Row
    outcome: Outcome
    keys: list[tuple[str, ...]] = field(default_factory=list)


@dataclass
class Harvest:
    """Everything that was read: rows, guidelines without a row, citations, and what was left out and why."""

    knowledge: Knowledge
    rows: list[Row] = field(default_factory=list)
    empty: list[tuple[str, str, tuple[str, ...], str]] = field(default_factory=list)
    citations: dict[str, dict[str, str]] = field(default_factory=dict)
    pairs: set[tuple[str, str, tuple[str, ...]]] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)

    def drug(self, name: str) -> str:
        """Id of a drug by the source's name; stops the tool for one that is not held."""
        known = self.knowledge.names.get(name.lower())
        if known is None:
            raise SystemExit(f"drug '{name}' is not held: add it to knowledge/data/screening")
        return str(known)


def plain(markup: str) -> str:
    """Text of a recommendation, without its general remarks."""
    text = re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", " ", markup))).strip()
    return re.split(r" ?Other Considerations", text)[0].strip()


def outcomes(body: str, text: str) -> list[Outcome]:
    """What a recommendation asks for; stops the tool where no rule fits."""
    for rule in RULES[body.lower()]:
        match = re.search(rule["pattern"], text.lower())
        if match and "outcomes" in rule:
            return [filled(outcome, match) for outcome in rule["outcomes"]]
        if match:
            words = RULES["percent"][match[3]]
            return [Outcome(words["action"], float(match[1]), "percent", match[1] + words["text"], "")]
    raise SystemExit(f"no rule for {body}: {text}")


def filled(outcome: dict[str, Any], match: re.Match[str]) -> Outcome:
    """An outcome with the numbers of the sentence."""
    value = outcome.get("value")
    if isinstance(value, str):
        number = float(str(match[int(value[-1])]))
        value = 100.0 - number if value.startswith("-") else round(number * 100, 6) if value.startswith("x") else number
    words = re.sub(r"\$(\d)", lambda m: str(match[int(m[1])]), outcome["text"])
    when = outcome.get("when", "")
    named = spelled(f"${when}") if when in RULES["conditions"] else when
    return Outcome(outcome["action"], value, outcome.get("unit", ""), words, named, outcome.get("severity", ""))


def spelled(text: str) -> str:
    """A condition with `$name` and `$name(argument)` replaced by what [conditions] says."""

    def one(match: re.Match[str]) -> str:
        return spelled(RULES["conditions"][match[1]].replace("%", match[2] or ""))

    return re.sub(r"\$([a-z_]+)(?:\((\w+)\))?", one, text)


def ordered(lookup: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Genes and keys of a row, in our order; stops the tool at a gene without a place in it."""
    genes = tuple(sorted(lookup, key=GENES.index))
    return genes, tuple(key_of(lookup[gene]) for gene in genes)


def read_coded(pgx: Path, harvest: Harvest) -> None:
    """Take up the per-guideline set."""
    with gzip.open(pgx / "guidance/guidelines_2024-05.jsonl.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            document = json.loads(line)
            guideline = document["guideline"]
            body, citation = guideline["source"], add_citation(harvest.citations, document)
            genes = tuple(sorted((g["symbol"] for g in guideline["relatedGenes"]), key=GENES.index))
            names = [chemical["name"] for chemical in guideline["relatedChemicals"]]
            harvest.pairs |= {(body, name, genes) for name in names}
            if not document["recommendations"]:
                harvest.empty += [(body, harvest.drug(name), genes, citation) for name in names]
            for row in document["recommendations"]:
                harvest.rows += coded_rows(row, body, citation, harvest)


def extend(harvest: Harvest) -> None:
    """Rows of a class guideline for the drugs that it took up later."""
    for extension in RULES["extended"]:
        same = [r for r in harvest.rows if (r.body, r.drug) == (extension["body"], extension["like"])]
        for name in extension["drugs"]:
            harvest.rows += [replace(row, drug=harvest.drug(name), since=LATER) for row in same]


def coded_rows(row: dict[str, Any], body: str, citation: str, harvest: Harvest) -> Iterator[Row]:
    """One coded recommendation as a row for each of its drugs."""
    text = plain(row["text"]["html"])
    genes, keys = ordered(row["lookupKey"])
    if text.startswith("xN is not"):
        harvest.skipped["CYP2D6 copies not counted (xN): asks for the count, which the activity score holds"] += 1
        return
    if all(key == "No Result" for key in keys):
        harvest.skipped["no gene of the guideline has a result"] += 1
        return
    level = (row["classification"] or {}).get("term") or ""
    level = level if level in ("Strong", "Moderate", "Optional") else ""
    for chemical in row["relatedChemicals"]:
        drug = harvest.drug(chemical["name"])
        asked = tuple(outcomes(body, text))
        yield amended(Row(body, drug, genes, keys, str(row["population"]), level, asked, citation), harvest)


def amended(row: Row, harvest: Harvest) -> Row:
    """The row as its body changed it after the text that is held."""
    keys = dict(zip(row.genes, row.keys, strict=True))
    for change in RULES["amended"]:
        same = change["body"] == row.body and row.drug in change["drugs"] and set(change["keys"]) == set(keys)
        if same and all(keys[gene] in listed for gene, listed in change["keys"].items()):
            harvest.citations[change["source"]] = dict(change["citation"])
            new = tuple(Outcome(o["action"], o["value"], o["unit"], o["text"], "") for o in change["outcomes"])
            return replace(row, outcomes=new, citation=change["source"], since=change["since"])
    return row


def read_later(pgx: Path, harvest: Harvest) -> None:
    """Take up the rows of the later release: FDA, and guidelines that the coded set does not have."""
    by_hand = {(added["body"].upper(), *added["about"]) for added in RULES["added"]}
    with gzip.open(pgx / "guidance/guidance_v3.1_examples.jsonl.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            body = row["source"].split()[0]
            genes = tuple(sorted({gene for part in row["lookupKey"] for gene in part}, key=GENES.index))
            if (body, row["drug"]) in by_hand:
                harvest.skipped[f"{body} {row['drug']}, release of 2025: restated by hand"] += 1
            elif body != "FDA" and (body, row["drug"], genes) in harvest.pairs:
                harvest.skipped["release of 2025: the coded set has the pair"] += 1
            else:
                harvest.rows += later_rows(row, body, harvest)


def later_rows(row: dict[str, Any], body: str, harvest: Harvest) -> Iterator[Row]:
    """One row of the later release; it holds for the result it was read for, and no other."""
    citation = f"{body.lower()}-{row['guideline_id']}"
    harvest.citations[citation] = {
        "title": row["guideline"].replace("Annotation of ", ""),
        "where": row["url"],
        "kind": "guideline" if body != "FDA" else "label" if "Label" in row["source"] else "database",
        "version": LATER,
        "licence": "CC0-1.0 (CPIC content)" if body == "CPIC" else "facts restated; source ClinPGx, CC BY-SA 4.0",
        "retrieved": RETRIEVED,
    }
    level = row["classification"] if row["classification"] in ("Strong", "Moderate", "Optional") else ""
    if body == "FDA":
        level = next((words for name, words in FDA_LEVELS.items() if name in row["guideline"]), "label")
    asked = tuple(outcomes(body, plain(row["recommendation"])))
    drug = harvest.drug(row["drug"])
    for lookup in row["lookupKey"]:
        genes, keys = ordered(lookup)
        yield Row(body, drug, genes, keys, "None", level, asked, citation, LATER, exact=True)


def add_citation(citations: dict[str, dict[str, str]], document: dict[str, Any]) -> str:
    """Citation of a guideline; its key."""
    guideline = document["guideline"]
    latest = max(document["citations"], key=lambda c: c.get("year") or 0, default=None)
    if guideline["source"] == "CPIC" and latest and latest.get("pmid"):
        key = f"cpic-{latest['pmid']}"
        citations[key] = {
            "title": latest["title"].rstrip("."),
            "where": f"PMID {latest['pmid']}, {latest['journal']} {latest['year']}; coded rows in ClinPGx",
            "kind": "guideline",
            "version": CODED,
            "licence": "CC0-1.0 (CPIC content)",
            "retrieved": RETRIEVED,
        }
        return key
    key = f"{guideline['source'].lower()}-{guideline['id']}"
    own = "CC0-1.0 (CPIC content)" if guideline["source"] == "CPIC" else "facts restated; source ClinPGx, CC BY-SA 4.0"
    citations[key] = {
        "title": guideline["name"].replace("Annotation of ", ""),
        "where": guideline["url"],
        "kind": "guideline",
        "version": CODED,
        "licence": own,
        "retrieved": RETRIEVED,
    }
    return key


def contexts(rows: list[Row]) -> dict[tuple[str, str], Context]:
    """What each guideline lists for each drug."""
    known: dict[tuple[str, str], Context] = {}
    for row in rows:
        context = known.setdefault((row.citation, row.drug), Context(row.body, exact=row.exact))
        for gene, key in zip(row.genes, row.keys, strict=True):
            context.add(gene, key)
    return known


def grouped(rows: list[Row]) -> list[Group]:
    """Groups of rows that ask for the same."""
    groups: dict[tuple[Any, ...], Group] = {}
    for row in rows:
        for outcome in row.outcomes:
            identity = (row.body, row.drug, row.genes, outcome, row.level, row.population, row.citation)
            group = groups.setdefault(identity, Group(row, outcome))
            if row.keys not in group.keys:
                group.keys.append(row.keys)
    return sorted(
        groups.values(),
        key=lambda g: (g.row.body, g.row.genes, g.row.drug, g.row.population, min(g.keys), g.outcome.action),
    )


def profile(group: Group, context: Context, dpyd: DpydTable) -> str:
    """The `when` of a group: unions of rectangles of keys, then population and condition."""
    first, *rest = group.row.genes
    if not rest:
        text = condition_for(first, frozenset(k[0] for k in group.keys), context, dpyd)
    else:
        rows = sorted(rectangles(group).items(), key=lambda item: (sorted(item[0]), sorted(item[1])))
        parts = [
            f"{wrapped_or(condition_for(first, a, context, dpyd))} and "
            f"{wrapped_or(condition_for(rest[0], frozenset(b), context, dpyd))}"
            for a, b in rows
        ]
        text = parts[0] if len(parts) == 1 else " or ".join(f"({p})" for p in parts)
    for extra in (spelled(RULES["populations"][group.row.population]["when"]), group.outcome.when):
        if extra:
            text = f"({text}) and ({extra})"
    return text


def rectangles(group: Group) -> dict[frozenset[str], set[str]]:
    """Keys of the second gene by the keys of the first that go with them."""
    by_second: dict[str, set[str]] = {}
    for a, b in group.keys:
        by_second.setdefault(b, set()).add(a)
    rows: dict[frozenset[str], set[str]] = {}
    for b, a_keys in by_second.items():
        rows.setdefault(frozenset(a_keys), set()).add(b)
    return rows


def wrapped_or(text: str) -> str:
    """In parentheses where a bare `or` stands inside."""
    return f"({text})" if " or " in text and not text.startswith("(") else text


def label(group: Group, context: Context) -> str:
    """Genes and what was found, for people; a gene of which every key asks for the same is not named."""
    genes = group.row.genes
    if len(genes) > 1 and len(rectangles(group)) > 1:
        return f"{' and '.join(genes)} taken together"
    keys = {gene: {k[n] for k in group.keys} for n, gene in enumerate(genes)}
    telling = {g: k for g, k in keys.items() if k != context.keys[g] or "No Result" not in k} or keys
    return "; ".join(f"{gene} {found(gene, listed, context)}" for gene, listed in telling.items())


def statement(group: Group, number: int, context: Context, dpyd: DpydTable) -> dict[str, Any]:
    """One group as a Statement."""
    row, outcome = group.row, group.outcome
    genes = "-".join(row.genes)
    entry: dict[str, Any] = {
        "id": f"{row.body.lower()}.{row.drug}.{genes}.{number}",
        "kind": "gene",
        "about": [row.drug],
        "when": profile(group, context, dpyd),
        "action": outcome.action,
        "severity": outcome.severity or SEVERITY.get(outcome.action) or QUIET.get(outcome.action, "monitor"),
    }
    if outcome.value is not None:
        entry |= {"value": float(outcome.value), "unit": outcome.unit}
    told = row.body if row.body != "FDA" else "FDA label" if row.level == "label" else "FDA table"
    entry |= {"text": f"{label(group, context)}: {outcome.text} ({told})"}
    population = RULES["populations"][row.population]["words"]
    if population:
        entry["population"] = population
    if row.level:
        entry["level"] = row.level
    entry |= {"source": row.citation, "status": "secondary", "since": row.since}
    note = next((r["note"] for r in RULES["revised"] if r["body"] == row.body and row.drug in r["drugs"]), "")
    return entry | ({"note": note} if note else {})


def without_rows(body: str, drug: str, genes: tuple[str, ...], citation: str) -> dict[str, Any]:
    """A guideline that holds no coded row, as a Statement that holds for nobody."""
    named = "-".join(genes)
    asked = " and ".join(f'allele(tested, "{gene}")' for gene in genes)
    return {
        "id": f"{body.lower()}.{drug}.{named}.0",
        "kind": "gene",
        "about": [drug],
        "when": f"false and {asked}",
        "action": "no recommendation",
        "severity": "information",
        "text": f"{' and '.join(genes)}: the guideline has no coded recommendation ({body})",
        "source": citation,
        "status": "secondary",
        "since": CODED,
    }


def genes_by_hand(body: str, drug: str) -> set[str]:
    """Genes of a drug on which a statement is written by hand."""
    same = [a for a in RULES["added"] if a["body"].upper() == body and drug in a["about"]]
    return {gene for added in same for gene in added["genes"].split("-")}


def toml_value(value: Any) -> str:
    """A TOML value."""
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def write(name: str, entries: list[dict[str, Any]], citations: dict[str, dict[str, str]]) -> None:
    """One file of statements with the citations they name."""
    lines = [
        f"# Gene guidance, {name}. Written by tools/restate_guidance.py from coded recommendations, in our own words."
    ]
    for entry in entries:
        lines += ["", "[[statements]]"] + [f"{k} = {toml_value(v)}" for k, v in entry.items()]
    for key in sorted({entry["source"] for entry in entries}):
        lines += ["", "[[citations]]", f"key = {toml_value(key)}"]
        lines += [f"{k} = {toml_value(v)}" for k, v in citations[key].items()]
    (OUT / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def files_of(harvest: Harvest, dpyd: DpydTable) -> dict[str, list[dict[str, Any]]]:
    """Statements by file name."""
    files: dict[str, list[dict[str, Any]]] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    known = contexts(harvest.rows)
    for group in grouped(harvest.rows):
        row = group.row
        stem = (row.body, row.drug, *row.genes)
        entry = statement(group, counts[stem], known[row.citation, row.drug], dpyd)
        files.setdefault(f"{row.body.lower()}-{row.genes[0]}", []).append(entry)
        counts[stem] += 1
    for body, drug, listed, citation in harvest.empty:
        genes = tuple(gene for gene in listed if gene not in genes_by_hand(body, drug))
        if genes:
            files.setdefault(f"{body.lower()}-{genes[0]}", []).append(without_rows(body, drug, genes, citation))
    for added in RULES["added"]:
        stem = (added["body"], *added["about"], added["genes"])
        plain_fields = {k: v for k, v in added.items() if k not in ("file", "body", "genes", "citation")}
        entry = {"id": f"{stem[0]}.{stem[1]}.{stem[2]}.{counts[stem]}", "kind": "gene", **plain_fields}
        files[added["file"]].append(entry)
        counts[stem] += 1
        if "citation" in added:
            harvest.citations[entry["source"]] = dict(added["citation"])
    return files


def main() -> None:
    """Write every file of gene guidance, and say what was left out."""
    pgx = Path(sys.argv[1])
    harvest = Harvest(load_knowledge())
    read_coded(pgx, harvest)
    extend(harvest)
    read_later(pgx, harvest)
    files = files_of(harvest, DpydTable.read(pgx))
    OUT.mkdir(parents=True, exist_ok=True)
    for name, entries in sorted(files.items()):
        write(name, entries, harvest.citations)
    print(len(harvest.rows), "rows of", len({(r.body, r.drug, r.genes) for r in harvest.rows}), "drug-gene-body sets")
    for reason, count in sorted(harvest.skipped.items()):
        print(f"left out {count}: {reason}")
    for body, drug, genes, _ in harvest.empty:
        print(f"no coded row: {body} {drug} {'-'.join(genes)}")
    print(sum(len(entries) for entries in files.values()), "statements in", len(files), "files")


if __name__ == "__main__":
    main()
