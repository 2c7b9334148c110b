"""Look-up keys of coded gene guidance, as expressions over a person's genes and as words."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OWN_SCORE = re.compile(r"([\d.]+) \((.+)\)")  # DPWG's DPYD keys: "0.5 (Phenotyping)"
NO_PHENOTYPE = ("n/a", "Indeterminate")
LIMITS = {
    "CYP2D6": {"Poor": (0, 0), "Intermediate": (0.25, 1), "Normal": (1.25, 2.25), "Ultrarapid": (2.5, 99)},
    "CYP2C9": {"Poor": (0, 0.5), "Intermediate": (1, 1.5), "Normal": (2, 2)},
    "DPYD": {"Poor": (0, 0.5), "Intermediate": (1, 1.5), "Normal": (2, 2)},
}
DPWG_CYP2D6 = {**LIMITS["CYP2D6"], "Normal": (1.25, 2.5), "Ultrarapid": (2.75, 99)}


@dataclass
class Context:
    """What a guideline lists for a drug: scores by gene, and diplotypes with a row of their own.

    `exact`: only single rows of the guideline are held, so that nothing may be read between its keys.
    """

    body: str
    exact: bool = False
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    scores: dict[str, set[float]] = field(default_factory=lambda: defaultdict(set))
    diplotypes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, gene: str, key: str) -> None:
        """Take up a key that has a row."""
        self.keys[gene].add(key)
        score = score_of(key)
        if key.startswith("diplotype"):
            self.diplotypes[gene].add(key)
        elif score is not None:
            self.scores[gene].add(score)


@dataclass(frozen=True)
class DpydTable:
    """The few DPYD alleles that DPWG knows, with their activity, and the diplotypes of each of its keys."""

    activity: dict[str, float]
    diplotypes: dict[str, tuple[str, ...]]

    @classmethod
    def read(cls, pgx: Path) -> DpydTable:
        """From DPWG's own phenotype table."""
        with gzip.open(pgx / "phenotype/older/DPYD.dpwg.v3.0.1.json.gz", "rt", encoding="utf-8") as stream:
            table = json.load(stream)
        found: dict[str, list[str]] = defaultdict(list)
        for row in table["diplotypes"]:
            found[row["lookupkey"]].append(row["diplotype"])
        activity = {name: float(value) for name, value in table["haplotypes"].items()}
        return cls(activity, {key: tuple(names) for key, names in found.items()})

    def condition(self, key: str) -> str:
        """Who has this key: the score, made of alleles that DPWG knows; whatever works normally is its reference."""
        score = f"activity(DPYD) == {float(key.split()[0]):g}"
        pairs = [tuple(name.split("/")) for name in self.diplotypes[key]]
        makers = {tuple(sorted(self.activity[name] for name in pair)) for pair in pairs}
        if len(makers) != 1:
            raise SystemExit(f"DPYD {key}: alleles of several activities make it")
        low, high = makers.pop()
        if low == high < 1:
            either = dict.fromkeys("/".join(pair) for names in pairs for pair in (names, names[::-1]))
            named = [allele("DPYD", name) for name in either]
            return f"{score} and ({' or '.join(named)})"
        parts = [self._any(value) for value in (low, high) if value < 1]
        return " and ".join([score, *parts])

    def _any(self, value: float) -> str:
        names = [allele("DPYD", name) for name, activity in self.activity.items() if activity == value]
        return f"({' or '.join(names)})"


def key_of(value: Any) -> str:
    """One look-up key as text: a phenotype, a score, `diplotype *1/*2`, `*57:01 positive`."""
    if isinstance(value, dict):
        names = [name for name, count in value.items() for _ in range(int(count))]
        return "diplotype " + "/".join(sorted(names, key=lambda n: int(re.sub(r"\D", "", n))))
    both = re.fullmatch(r"(\d\d)(\d\d) and (\d\d)(\d\d)", str(value))  # HLA: "1511 and 1502"
    if both:
        return f"*{both[1]}:{both[2]} and *{both[3]}:{both[4]} positive"
    return str(value).replace("≥", "")


def score_of(key: str) -> float | None:
    """The key as an activity score."""
    return float(key) if re.fullmatch(r"[\d.]+", key) else None


def condition_for(gene: str, keys: frozenset[str], context: Context, dpyd: DpydTable) -> str:
    """Expression that holds for any of the keys of one gene."""
    parts = []
    if "No Result" in keys:
        parts.append(f'not allele(tested, "{gene}")')
    if keys & set(NO_PHENOTYPE):
        parts.append(f"indeterminate({symbol(gene)})")
    scores = {s for k in keys if (s := score_of(k)) is not None}
    if context.exact:
        parts += [f"activity({symbol(gene)}) == {score:g}" for score in sorted(scores)]
    else:
        parts += scored(gene, scores, context)
    parts += [f"activity({gene}) == {score:g}" for score in _at_limit(gene, scores, context)]
    phenotypes = sorted({k for k in keys if is_phenotype(k)} | set(whole_phenotypes(gene, scores, context)))
    if phenotypes:
        parts.append(_phenotypes(gene, phenotypes, keys, context))
    parts += [allele(gene, k) for k in sorted(keys) if k.startswith("diplotype")]
    parts += [" and ".join(allele(gene, n) for n in k.split()[:-1:2]) for k in sorted(keys) if positive(k)]
    parts += [f"not {allele(gene, k.split()[0])}" for k in sorted(keys) if k.endswith(" negative")]
    parts += [dpyd.condition(k) for k in sorted(keys) if OWN_SCORE.fullmatch(k)]
    return parts[0] if len(parts) == 1 else "(" + " or ".join(_wrapped(p) for p in parts) + ")"


def _phenotypes(gene: str, phenotypes: list[str], keys: frozenset[str], context: Context) -> str:
    name = f"gene({symbol(gene)})"
    listed = ", ".join(json.dumps(p) for p in phenotypes)
    text = f"{name} in ({listed})" if len(phenotypes) > 1 else f"{name} == {listed}"
    if _dpwg_cyp2d6(gene, context) and "Ultrarapid Metabolizer" in phenotypes:
        text += f" and not activity({gene}) == 2.5"
    excluded = sorted(context.diplotypes[gene] - keys)
    if excluded:
        text += " and not (" + " or ".join(allele(gene, d) for d in excluded) + ")"
    return text


def _dpwg_cyp2d6(gene: str, context: Context) -> bool:
    """Score 2.5 of CYP2D6 is normal for DPWG and ultrarapid for CPIC."""
    return context.body == "DPWG" and gene == "CYP2D6"


def _at_limit(gene: str, scores: set[float], context: Context) -> list[float]:
    whole = _dpwg_cyp2d6(gene, context) and "Normal Metabolizer" in whole_phenotypes(gene, scores, context)
    return [2.5] if whole else []


def scored(gene: str, scores: set[float], context: Context) -> list[str]:
    """Intervals of those scores that do not make up a phenotype."""
    left = scores.difference(*whole_phenotypes(gene, scores, context).values())
    grid = sorted(context.scores[gene])
    return [_interval(gene, run) for run in intervals(sorted(left), grid)]


def whole_phenotypes(gene: str, scores: set[float], context: Context) -> dict[str, set[float]]:
    """Phenotypes all of whose listed scores are among these."""
    if context.exact:
        return {}
    limits = DPWG_CYP2D6 if _dpwg_cyp2d6(gene, context) else LIMITS.get(gene, {})
    members = {
        f"{name} Metabolizer": {s for s in context.scores[gene] if low <= s <= high}
        for name, (low, high) in limits.items()
    }
    return {name: found for name, found in members.items() if found and found <= scores}


def symbol(gene: str) -> str:
    """A gene as the argument of a query; quoted where it is no plain name."""
    return gene if gene.isidentifier() else json.dumps(gene)


def allele(gene: str, key: str) -> str:
    """The person has this allele or diplotype."""
    return f"allele({json.dumps(gene)}, {json.dumps(key.removeprefix('diplotype '))})"


def positive(key: str) -> bool:
    """Whether a key asks for an HLA allele."""
    return key.endswith(" positive")


def is_phenotype(key: str) -> bool:
    """Whether a key is a phenotype in words."""
    special = key in (*NO_PHENOTYPE, "No Result") or key.startswith("diplotype")
    return not special and score_of(key) is None and not positive(key) and not _negative_or_own(key)


def _negative_or_own(key: str) -> bool:
    return key.endswith(" negative") or OWN_SCORE.fullmatch(key) is not None


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


def _interval(gene: str, run: tuple[float, float | None]) -> str:
    low, after = run
    name = f"activity({gene})"
    if after is None:
        return f"{name} >= {low:g}"
    if low == 0:
        return f"{name} == 0" if after <= 0.5 else f"{name} < {after:g}"
    return f"{low:g} <= {name} < {after:g}"


def _wrapped(text: str) -> str:
    """In parentheses where `and` stands inside."""
    return f"({text})" if " and " in text else text


def found(gene: str, keys: set[str], context: Context) -> str:
    """Keys of one gene in words: "poor or likely poor metabolizer", "activity score 0.25 to 1", "*1/*2"."""
    listed = {s for k in keys if (s := score_of(k)) is not None}
    whole = whole_phenotypes(gene, listed, context)
    scores, parts = sorted(listed.difference(*whole.values())), list[str]()
    if scores:
        parts.append("activity score " + (f"{scores[0]:g}" if len(scores) == 1 else f"{scores[0]:g} to {scores[-1]:g}"))
    words = [k.removeprefix("diplotype ") for k in sorted(keys | set(whole)) if score_of(k) is None]
    words = [{"n/a": "indeterminate", "No Result": "not tested"}.get(k, k) for k in words]
    plain_words = [w for w in words if not w.lower().endswith((" metabolizer", " function"))]
    for ending in (" Metabolizer", " Function"):
        named = [w.removesuffix(ending).lower() for w in words if w.endswith(ending)]
        if named:
            listed_names = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}"
            parts.append(listed_names + ending.lower())
    return ", ".join([*parts, *(w if w.startswith(("*", "-", "rs")) else _lower(w) for w in plain_words)])


def _lower(words: str) -> str:
    """In small letters, but for abbreviations."""
    return " ".join(word if word.isupper() else word.lower() for word in words.split())
