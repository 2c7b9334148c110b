"""Source keys of the drug facts as citations of the knowledge base, with the status that each kind earns."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

_STATUS = {"label": "verified", "paper": "verified", "regulator": "verified", "review": "secondary"}
_RANK = {"verified": 0, "secondary": 1, "to verify": 2}
MEMORY = ("memory", "to verify")


class Sources:
    """Collects citations while the files are restated.

    A fact of kind label, paper or regulator whose page was read is verified; a review or handbook that restates
    one is secondary; what was only recalled is to verify.
    """

    def __init__(self, data: Path) -> None:
        self.citations: dict[str, dict[str, Any]] = {
            "memory": {
                "key": "memory",
                "title": "General pharmacology, recalled; no page confirmed it. To be verified before use",
                "kind": "memory",
            }
        }
        self._safety = {row["key"]: row["source"] for row in _csv(data / "safety" / "sources.csv")}
        self._table = _safety_rows(data / "safety" / "antihypertensives.csv")
        self._enzymes = _enzyme_sources(data / "drugs" / "_enzymes.tsv")

    def of(self, inn: str, source: str | None, table: dict[str, Any], *, section: str = "") -> tuple[str, str]:
        """(citation key, status) of a source key in one drug's file."""
        if source == "SAF":
            return self._from_safety(inn, section)
        entry = table.get(source or "", {})
        kind = entry.get("kind")
        if source in (None, "memory") or kind in (None, "memory") or entry.get("read") == "none":
            return MEMORY
        if "pgx/guidance" in str(entry.get("where")) or str(entry.get("where")).startswith("shared/"):
            return self.add(f"{inn}-{source}", tidy(entry.get("title")), "", kind), _STATUS[kind]
        return self.add(f"{inn}-{source}", tidy(entry.get("title")), _place(entry.get("where")), kind), _STATUS[kind]

    def add(self, key: str, title: str, where: str, kind: str) -> str:
        """Key of a citation, entered once."""
        entry = {"key": key, "title": title, "where": where, "kind": kind}
        self.citations.setdefault(key, {**entry, "kind": kind_of(entry)})
        return key

    def start_dose(self, inn: str) -> tuple[float, str] | None:
        """(guideline-table start in mg/day, citation key) when a page was read for it."""
        row = self._table.get(inn)
        if row is None:
            return None
        if row["start_source"] in self._safety and row["start_source"] != "MEM":
            return float(row["start_mg_day"]), self._cite(row["start_source"])
        low = re.match(r"[\d.]+", row["usual_range_mg_day_source"])
        if row["range_status"] == "range verified in source" and low and float(row["start_mg_day"]) == float(low[0]):
            return float(low[0]), self._cite(row["source_keys"].split(";")[0])
        return None

    def enzymes(self, keys: str, kinds: str) -> tuple[str, str]:
        """(citation key, status) of an enzyme row, from its strongest source."""
        best = MEMORY
        for key, kind in zip(keys.split(";"), kinds.split("+") if "+" in kinds else [kinds] * 9, strict=False):
            kind = self._enzymes.get(key, (None, kind))[1]
            if key in ("memory", "FDA-m") or kind == "memory":
                continue
            status = "secondary" if "secondary" in kind else "verified"
            if _RANK[status] < _RANK[best[1]]:
                title = self._enzymes.get(key, ("Table of enzyme roles", ""))[0]
                best = (self.add(f"enzymes-{key}", title, "", kind.split("_")[0]), status)
        if best[1] == "verified" and ("memory" in kinds or "FDA-m" in keys):
            return best[0], "secondary"  # the fold was read; the strength word was recalled
        return best

    def _from_safety(self, inn: str, section: str) -> tuple[str, str]:
        row = self._table.get(inn)
        if row is None:
            return MEMORY
        text = {"renal": row["renal"], "contraindications": row["contraindications"].split("|")[0]}.get(section, "")
        keys = {
            "pregnancy": row["pregnancy_source"],
            "doses": row["source_keys"] if row["range_status"] == "range verified in source" else "",
            "contraindications": row["class_source_keys"] if "(MEM)" not in text else "",
            "monitoring": row["class_source_keys"],
            "renal": ";".join(re.findall(r"\((S\d+)\)", text)),
        }.get(section, "")
        first = next((k for k in keys.split(";") if k in self._safety and k != "MEM"), None)
        return (self._cite(first), "secondary") if first else MEMORY

    def _cite(self, key: str) -> str:
        return self.add(f"antihypertensives-{key}", self._safety[key], "", "review")


_INTERNAL = {
    "shared pk/models.json": "Published population model, values restated:",
    "shared pgx/guidance": "Gene guidance:",
    "shared safety/antihypertensives.csv": "Dose tables for antihypertensive drugs",
    "shared safety/onc_high_priority_ddi.csv": "ONC list of high-priority interactions",
    " (as restated in the shared facts from the label)": "",
    " and antihypertensives.csv": " and dose tables for antihypertensive drugs",
    "shared/data/": "",
}


def _place(where: str | None) -> str:
    return "" if where is None or "corpus" in where else where


def kind_of(citation: dict[str, Any]) -> str:
    """The citation's kind; "machine" for pages that a language model wrote, which verify nothing."""
    if citation.get("kind") == "label quote":
        return "label quote"
    words = f"{citation.get('title')} {citation.get('where')}".lower()
    return "machine" if "machine-written" in words or "droracle" in words else str(citation.get("kind", ""))


def tidy(title: str | None) -> str:
    """The title of a source without words on how the facts were collected."""
    text = title or "source page without a title"
    for words, instead in _INTERNAL.items():
        text = text.replace(words, instead)
    return re.sub(r"^droracle(\.ai)?[ ,]*", "Dr.Oracle, ", text).strip()


def _csv(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter=delimiter))


def _safety_rows(path: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in _csv(path):
        found.setdefault(re.sub(r" (SR|LA|ER|tartrate|succinate)$", "", row["drug"]), row)
    return found


def _enzyme_sources(path: Path) -> dict[str, tuple[str, str]]:
    """Key -> (title, kind) from the comment block at the head of the enzyme table."""
    found: dict[str, tuple[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.lstrip("# ").split("\t")
        if line.startswith("#") and len(fields) >= 4:
            found[fields[0]] = (fields[1] if len(fields[1]) > 12 else " ".join(fields[1:3]), fields[-1])
    return found


def enzyme_rows(path: Path) -> list[dict[str, str]]:
    """Rows of the enzyme table."""
    return _csv(path, "\t")
