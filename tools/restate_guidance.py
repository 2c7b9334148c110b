"""Restates CPIC and DPWG recommendations as Statements in our own words.

    python tools/restate_guidance.py PGX_FOLDER

Reads the per-guideline set of 2024-05 (ClinPGx annotations), keeps the pairs of a gene that we read and a drug that
we hold, classifies each recommendation by `guidance_rules.toml`, joins rows that ask for the same, and writes
`knowledge/data/guidance/<body>-<gene>.toml`. No sentence of a source is copied. Stops at a recommendation that no
rule understands.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rtoml

from posologist.knowledge.load import load_knowledge

Outcome = tuple[str, float | str | None, str, str, str]
ACUTE_DISEASE = "dx(acs) or dx(myocardial_infarction)"
ACUTE = f'{ACUTE_DISEASE} or indication == "acs-pci-antiplatelet"'
STABLE = "dx(peripheral_vascular_disease) or dx(stable_angina) or dx(coronary_artery_disease)"
CEREBRAL = "dx(stroke) or dx(tia)"
# Where the record shows none of these reasons for clopidogrel, the strictest row holds.
CONDITIONS = {
    "strict": f"{ACUTE} or {CEREBRAL} or not ({STABLE})",
    "lenient": f"({STABLE}) and not ({ACUTE_DISEASE} or {CEREBRAL})",
    "not_readable": "cannot_be_read_from_a_record",
}

RULES = rtoml.load(Path(__file__).with_name("guidance_rules.toml"))
OUT = Path(__file__).resolve().parents[1] / "src/posologist/knowledge/data/guidance"
GENES = ("CYP2C19", "CYP2C9", "CYP2D6", "CYP3A5", "SLCO1B1", "TPMT", "VKORC1")
GENES += ("ABCG2", "CYP2B6", "CYP3A4", "HLA-A", "HLA-B", "NUDT15")  # by outside call
SEVERITY = {"contraindicated": "contraindicated", "avoid": "serious", "alternative": "serious"}
QUIET = {"standard": "information", "no recommendation": "information"}
SKIPPED: set[str] = set()
RETRIEVED = "2026-11-20"
POPULATIONS = {
    "general": ("", ""),
    "None": ("", ""),
    "adults": ("adults", "age >= 18"),
    "pediatrics": ("children", "age < 18"),
    "CVI ACS PCI": (
        "acute coronary syndrome or PCI, or no other reason on record",
        f"{ACUTE} or not ({STABLE} or {CEREBRAL})",
    ),
    "CVI non-ACS non-PCI": (
        "cardiovascular, neither acute coronary syndrome nor PCI",
        f"({STABLE}) and not ({ACUTE_DISEASE})",
    ),
    "NVI": ("stroke or TIA", CEREBRAL),
    "PHT naive": ("not taking phenytoin for 3 months yet", ""),
    "PHT use >3mos": ("taking phenytoin for more than 3 months", ""),
    "CBZ naive": ("not taking carbamazepine for 3 months yet", ""),
    "CBZ use >3mos": ("taking carbamazepine for more than 3 months", ""),
    "CBZ-no alternatives": ("no other drug is possible", ""),
    "OXC naive": ("not taking oxcarbazepine for 3 months yet", ""),
    "OXC use >3 mos": ("taking oxcarbazepine for more than 3 months", ""),
}


@dataclass
class Context:
    """What a guideline lists for a drug: scores by gene, and diplotypes with a row of their own."""

    body: str
    scores: dict[str, set[float]] = field(default_factory=lambda: defaultdict(set))
    diplotypes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


@dataclass
class Group:
    """Rows of one drug that ask for the same."""

    body: str
    drug: str
    genes: tuple[str, ...]
    outcome: Outcome
    level: str
    population: str
    citation: str
    keys: list[tuple[str, ...]] = field(default_factory=list)


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
            return [(words["action"], float(match[1]), "percent", match[1] + words["text"], "")]
    raise SystemExit(f"no rule for {body}: {text}")


def filled(outcome: dict[str, Any], match: re.Match[str]) -> Outcome:
    """An outcome with the numbers of the sentence."""
    value = outcome.get("value")
    if isinstance(value, str):
        number = float(str(match[int(value[-1])]))
        value = 100.0 - number if value.startswith("-") else round(number * 100, 6) if value.startswith("x") else number
    words = re.sub(r"\$(\d)", lambda m: str(match[int(m[1])]), outcome["text"])
    condition = outcome.get("when", "")
    return (outcome["action"], value, outcome.get("unit", ""), words, CONDITIONS.get(condition, condition))


def key_of(gene: str, value: Any) -> str:
    """One look-up key as text."""
    if isinstance(value, dict):
        names = [name for name, count in value.items() for _ in range(int(count))]
        return "diplotype " + "/".join(sorted(names, key=lambda n: int(re.sub(r"\D", "", n))))
    return str(value).replace("≥", "")


def score_of(key: str) -> float | None:
    """The key as an activity score."""
    return float(key) if re.fullmatch(r"[\d.]+", key) else None


def condition_for(gene: str, keys: frozenset[str], context: Context) -> str:
    """Expression that holds for any of the keys of one gene."""
    parts = []
    scores = {s for k in keys if (s := score_of(k)) is not None}
    phenotypes = {k for k in keys if is_phenotype(k)} | ({"Indeterminate"} if "n/a" in keys else set())
    for phenotype, members in phenotype_scores(gene, context).items():
        if members and members <= scores:
            phenotypes.add(phenotype)
            scores -= members
    at_limit = context.body == "DPWG" and gene == "CYP2D6"  # score 2.5: normal for DPWG, ultrarapid for CPIC
    parts += [interval_text(gene, run) for run in intervals(sorted(scores), sorted(context.scores[gene]))]
    if at_limit and "Ultrarapid Metabolizer" in phenotypes:
        phenotypes.discard("Ultrarapid Metabolizer")
        parts.append(f'gene({gene}) == "Ultrarapid Metabolizer" and not activity({gene}) == 2.5')
    if at_limit and "Normal Metabolizer" in phenotypes:
        parts.append(f"activity({gene}) == 2.5")
    if phenotypes:
        listed = ", ".join(json.dumps(p) for p in sorted(phenotypes))
        text = f"gene({gene}) in ({listed})" if len(phenotypes) > 1 else f"gene({gene}) == {listed}"
        excluded = sorted(context.diplotypes[gene] - keys)
        if excluded:
            text += " and not (" + " or ".join(allele(gene, d) for d in excluded) + ")"
        parts.append(text)
    parts += [allele(gene, k) for k in sorted(keys) if k.startswith("diplotype")]
    parts += [f'allele("{gene}", "{k.split()[0]}")' for k in sorted(keys) if k.endswith(" positive")]
    parts += [f'not allele("{gene}", "{k.split()[0]}")' for k in sorted(keys) if k.endswith(" negative")]
    if "No Result" in keys:
        parts.append(f'not allele(tested, "{gene}")')
    return parts[0] if len(parts) == 1 else "(" + " or ".join(wrapped(p) for p in parts) + ")"


def phenotype_scores(gene: str, context: Context) -> dict[str, set[float]]:
    """The scores of each phenotype among those that the guideline lists."""
    listed = context.scores[gene]
    normal = 2.5 if context.body == "DPWG" else 2.25
    limits = {
        "CYP2D6": {
            "Poor": (0, 0),
            "Intermediate": (0.25, 1),
            "Normal": (1.25, normal),
            "Ultrarapid": (normal + 0.25, 99),
        },
        "CYP2C9": {"Poor": (0, 0.5), "Intermediate": (1, 1.5), "Normal": (2, 2)},
    }.get(gene, {})
    return {f"{name} Metabolizer": {s for s in listed if low <= s <= high} for name, (low, high) in limits.items()}


def wrapped(text: str) -> str:
    """In parentheses where `and` stands inside."""
    return f"({text})" if " and " in text else text


def allele(gene: str, key: str) -> str:
    """The person has this diplotype."""
    return f'allele("{gene}", "{key.removeprefix("diplotype ")}")'


def is_phenotype(key: str) -> bool:
    """Whether a key is a phenotype in words."""
    special = key in ("n/a", "No Result") or key.startswith("diplotype") or key.endswith(("positive", "negative"))
    return score_of(key) is None and not special


def intervals(scores: list[float], grid: list[float]) -> list[tuple[float, float | None]]:
    """Runs of scores that follow each other in the grid: first, and the next score after the last (None: no end)."""
    runs: list[tuple[float, float | None]] = []
    for score in scores:
        after = next((g for g in grid if g > score), None)
        if runs and runs[-1][1] == score:
            runs[-1] = (runs[-1][0], after)
        else:
            runs.append((score, after))
    return runs


def interval_text(gene: str, run: tuple[float, float | None]) -> str:
    """Expression of one run of scores."""
    low, after = run
    name = f"activity({gene})"
    if after is None:
        return f"{name} >= {low:g}"
    if low == 0:
        return f"{name} == 0" if after <= 0.5 else f"{name} < {after:g}"
    return f"{low:g} <= {name} < {after:g}"


def profile(group: Group, context: Context) -> str:
    """The `when` of a group: unions of rectangles of keys, then population and condition."""
    first, *rest = group.genes
    if not rest:
        text = condition_for(first, frozenset(k[0] for k in group.keys), context)
    else:
        second = rest[0]
        rows = rectangles(group)
        parts = [
            f"{wrapped_or(condition_for(first, a, context))} and "
            f"{wrapped_or(condition_for(second, frozenset(b), context))}"
            for a, b in sorted(rows.items(), key=lambda item: (sorted(item[0]), sorted(item[1])))
        ]
        text = parts[0] if len(parts) == 1 else " or ".join(f"({p})" for p in parts)
    for extra in (POPULATIONS[group.population][1], group.outcome[4]):
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
    """Genes and what was found, for people."""
    if len(group.genes) > 1 and len(rectangles(group)) > 1:
        return f"{' and '.join(group.genes)} taken together"
    return "; ".join(f"{g} {found(g, {k[n] for k in group.keys}, context)}" for n, g in enumerate(group.genes))


def found(gene: str, keys: set[str], context: Context) -> str:
    """Keys of one gene in words: "poor or likely poor metabolizer", "activity score 0.25 to 1", "*1/*2"."""
    listed = {s for k in keys if (s := score_of(k)) is not None}
    for phenotype, members in phenotype_scores(gene, context).items():
        if members and members <= listed:
            keys = keys | {phenotype}
            listed -= members
    scores, parts = sorted(listed), list[str]()
    if scores:
        parts.append("activity score " + (f"{scores[0]:g}" if len(scores) == 1 else f"{scores[0]:g} to {scores[-1]:g}"))
    words = [k.removeprefix("diplotype ") for k in sorted(keys) if score_of(k) is None]
    words = [{"n/a": "indeterminate", "No Result": "not tested"}.get(k, k) for k in words]
    plain_words = [w for w in words if not w.lower().endswith((" metabolizer", " function"))]
    for ending in (" Metabolizer", " Function"):
        named = [w.removesuffix(ending).lower() for w in words if w.endswith(ending)]
        if named:
            listed_names = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}"
            parts.append(listed_names + ending.lower())
    return ", ".join([*parts, *(w if w.startswith(("*", "-")) else w.lower() for w in plain_words)])


def collect(
    pgx: Path, drugs: set[str]
) -> tuple[list[Group], dict[str, dict[str, str]], dict[tuple[str, str], Context]]:
    """Groups of equal recommendations, citations, and what each guideline lists."""
    groups: dict[tuple[Any, ...], Group] = {}
    citations: dict[str, dict[str, str]] = {}
    named: dict[tuple[str, str], Context] = {}
    with gzip.open(pgx / "guidance/guidelines_2024-05.jsonl.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            document = json.loads(line)
            guideline = document["guideline"]
            if not {g["symbol"] for g in guideline["relatedGenes"]} & set(GENES):
                continue
            key = add_citation(citations, document)
            for row in document["recommendations"]:
                take(row, guideline["source"], key, drugs, groups, named)
    return list(groups.values()), citations, named


def take(
    row: dict[str, Any],
    body: str,
    citation: str,
    drugs: set[str],
    groups: dict[tuple[Any, ...], Group],
    named: dict[tuple[str, str], Context],
) -> None:
    """Put one recommendation into its groups."""
    text = plain(row["text"]["html"]) if row["text"] else ""
    genes = tuple(sorted(row["lookupKey"], key=GENES.index))
    keys = tuple(key_of(gene, row["lookupKey"][gene]) for gene in genes)
    unusual = any(" and " in key for key in keys)  # two HLA alleles at once: no recommendation is made for them
    if not text or unusual or text.startswith("xN is not") or all(k == "No Result" for k in keys):
        return
    level = (row["classification"] or {}).get("term") or ""
    level = level if level in ("Strong", "Moderate", "Optional") else ""
    for chemical in row["relatedChemicals"]:
        drug = chemical["name"]
        if drug not in drugs:
            SKIPPED.add(drug)
            continue
        context = named.setdefault((citation, drug), Context(body))
        for gene, key in zip(genes, keys, strict=True):
            if key.startswith("diplotype"):
                context.diplotypes[gene].add(key)
            elif (score := score_of(key)) is not None:
                context.scores[gene].add(score)
        for outcome in outcomes(body, text):
            population = str(row["population"])
            population = "adults" if population == "child >40kg_adult" else population
            identity = (body, drug, genes, outcome, level, population)
            group = groups.setdefault(identity, Group(body, drug, genes, outcome, level, population, citation))
            if keys not in group.keys:
                group.keys.append(keys)


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
            "version": "2024-05",
            "licence": "CC0-1.0 (CPIC content)",
            "retrieved": RETRIEVED,
        }
        return key
    key = f"{guideline['source'].lower()}-{guideline['id']}"
    citations[key] = {
        "title": guideline["name"].replace("Annotation of ", ""),
        "where": guideline["url"],
        "kind": "guideline",
        "version": "2024-05",
        "licence": "facts restated; source ClinPGx, CC BY-SA 4.0",
        "retrieved": RETRIEVED,
    }
    return key


def statement(group: Group, number: int, context: Context) -> dict[str, Any]:
    """One group as a Statement."""
    action, value, unit, words, _ = group.outcome
    genes = "-".join(group.genes)
    entry: dict[str, Any] = {
        "id": f"{group.body.lower()}.{group.drug}.{genes}.{number}",
        "kind": "gene",
        "about": [group.drug],
        "when": profile(group, context),
        "action": action,
        "severity": SEVERITY.get(action) or QUIET.get(action, "monitor"),
    }
    if value is not None:
        entry |= {"value": float(value), "unit": unit}
    entry |= {"text": f"{label(group, context)}: {words} ({group.body})"}
    population = POPULATIONS[group.population][0]
    if population:
        entry["population"] = population
    if group.level:
        entry["level"] = group.level
    return entry | {"source": group.citation, "status": "secondary", "since": "2024-05"}


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


def main() -> None:
    """Write every file of gene guidance."""
    pgx = Path(sys.argv[1])
    drugs = {str(drug) for drug in load_knowledge().drugs}
    groups, citations, named = collect(pgx, drugs)
    files: dict[str, list[dict[str, Any]]] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    ordered = sorted(groups, key=lambda g: (g.body, g.genes, g.drug, g.population, min(g.keys), g.outcome[0]))
    for group in ordered:
        stem = (group.body, group.drug, *group.genes)
        files.setdefault(f"{group.body.lower()}-{group.genes[0]}", []).append(
            statement(group, counts[stem], named[group.citation, group.drug])
        )
        counts[stem] += 1
    for added in RULES["added"]:
        stem = (added.pop("body"), *added["about"], added.pop("genes"))
        where, citation = added.pop("file"), added.pop("citation", None)
        entry = {"id": f"{stem[0]}.{stem[1]}.{stem[2]}.{counts[stem]}", "kind": "gene", **added}
        files[where].append(entry)
        counts[stem] += 1
        if citation:
            citations[entry["source"]] = citation
    OUT.mkdir(parents=True, exist_ok=True)
    for name, found in sorted(files.items()):
        write(name, found, citations)
    print("drugs that are not held:", ", ".join(sorted(SKIPPED)))
    print(sum(len(found) for found in files.values()), "statements in", len(files), "files")


if __name__ == "__main__":
    main()
