"""Restates the drug facts of a folder of JSON files as `knowledge/data/drugs/<inn>.toml`.

Usage: `python tools/restate_drugs.py FACTS OUT`, where FACTS is the folder that holds `drugs/` and `safety/`.

Rules that it applies, so that they can be argued with in one place:

* Start dose: the label's start rules, unless a guideline table that was read starts lower; then the lower one,
  and the note names both.
* Renal bands: lower bound included, upper excluded, unless the row prints "<=". A dialysis row asks for dialysis.
* `none` is "standard"; an empty action means "not studied" and stays empty, never "no adjustment".
* Enzyme roles come from the enzyme table where it has the drug and enzyme, else from the drug's own rows.
* `tools/verified/<inn>.toml` and then `tools/amended/<inn>.toml` replace whole sections.
* A recalled "no change" in kidney or liver disease is not kept as "standard": its action stays empty.
* A drug is "rankable" when a served indication has a dose rule with start and maximum that was read in a source,
  and products that were read and can make it; else "known". Renal, hepatic and other limits that are still to
  verify are judged for each patient: where one holds, the drug is listed as unverified and not ranked.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import restate_contraindications as contraindications
import restate_names as names
import restate_organs as organs
import rtoml
from restate_facts import adverse, efficacy, gene_effects, kinetics, lactation, monitoring, roles, stopping, window
from restate_groups import subclasses_of, write_groups
from restate_merge import Known, cases_of, clean, depth_of, merge, settle
from restate_sources import Sources, enzyme_rows, kind_of, tidy
from restate_write import document, rows

from posologist.knowledge.check import DERIVED_FACTS, PLAN_FACTS

Row = dict[str, Any]


RULES = {
    "posologist-rules": {
        "key": "posologist-rules",
        "title": "Rules of this program: duplicates of a class, recorded allergies, how words are read",
        "kind": "rules",
    }
}


class Restating:
    """What every drug file needs: the vocabulary, the sources and the known names."""

    def __init__(self, data: Path, out: Path) -> None:
        self.data = data
        self.vocabulary = json.loads((data / "drugs" / "_vocabulary.json").read_text(encoding="utf-8"))
        self.sources = Sources(data)
        self.enzymes = enzyme_rows(data / "drugs" / "_enzymes.tsv")
        self.files = {
            p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted((data / "drugs").glob("[a-z]*.json"))
        }
        self.codes = _known_codes(out, self.vocabulary)
        self.groups = _known_groups(out, self.vocabulary, self.files)
        self.known = Known(frozenset(self.codes), frozenset(self.groups), _known_facts(out))
        self.quality = _quality(data / "drugs" / "_quality.tsv")

    def groups_of_target(self, target: str) -> list[str]:
        """Drug ids and groups that a free-text target names."""
        found = self.vocabulary["interaction_targets"].get(target, {})
        named = [*found.get("drugs", []), *found.get("classes", [])]
        return named or [next((c for c, v in self.vocabulary["classes"].items() if target in v["synonyms"]), target)]


def _known_codes(out: Path, vocabulary: Row) -> set[str]:
    path = out / "conditions.toml"
    if not path.exists():
        return set(vocabulary["condition_codes"])
    return set(rtoml.load(path)["condition"])


def _known_facts(out: Path) -> frozenset[str]:
    scores = {path.stem for path in (out / "scores").glob("*.toml")}
    laboratory = out / "laboratory.toml"
    analytes = set(rtoml.load(laboratory)["analyte"]) if laboratory.exists() else set()
    return frozenset(DERIVED_FACTS | PLAN_FACTS | scores | analytes)


def _known_groups(out: Path, vocabulary: Row, files: Iterable[str]) -> set[str]:
    known = set(files) | set(vocabulary["classes"]) | {"sacubitril", "moderate CYP3A4 inducer"}
    for path in sorted((out / "screening").glob("*.toml")):
        for row in rtoml.load(path).get("drugs", []):
            known |= {row["id"], *row.get("classes", [])}
    return known


def _quality(path: Path) -> dict[str, list[tuple[str, str]]]:
    """inn -> (field, issue) of the findings that the restated rows must carry."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) == 5 and fields[0].endswith(".json"):
            found.setdefault(fields[0][:-5], []).append((fields[1], fields[2]))
    return found


def _cited(row: Row, pair: tuple[str, str]) -> Row:
    return {**row, "source": pair[0], "status": pair[1]}


def _doses(drug: Row, base: Restating) -> list[Row]:
    inn = drug["inn"]
    found = []
    for row in drug["indications"]:
        dose = row.get("dose") or {}
        unit = dose.get("unit") or "mg/day"
        plain = unit.endswith(("/day", "/week"))
        counts = [max(1, round(n)) for n in dose.get("doses_per_day") or [1]]
        rule: Row = {
            "indication": names.indication(row["name"]),
            "unit": unit.replace(" amoxicillin", "").replace(" trimethoprim", ""),
            **{k: _number(dose.get(k)) for k in ("start", "usual_low", "usual_high", "max")},
            "doses_per_day": counts,
            "titrate_after_days": dose.get("titrate_after_days"),
            "release": names.release_of(row["name"]),
            "reads": "" if plain else f"amount per {dose.get('per') or 'dose'}",
            "note": "; ".join(n for n in (row.get("notes") or "",) if n and not n.startswith("QA")),
        }
        if names.slug(row["name"]) != rule["indication"]:
            rule["note"] = f"{row['name']}. {rule['note']}".rstrip(". ")
        if rule["unit"].endswith("/week"):
            rule["reads"] = "once a week"
        found.append(_cited(rule, base.sources.of(inn, row.get("src"), drug["sources"], section="doses")))
    return found


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _organ_rows(drug: Row, base: Restating) -> tuple[list[Row], list[Row], list[Row], list[str]]:
    inn, table = drug["inn"], drug["sources"]
    renal, notes = [], []
    for row in drug["renal"] or []:
        rule, note = organs.renal(row, names.indication, base.vocabulary["value_units"], base.groups_of_target)
        if rule is None:
            notes.append(note)
        else:
            renal.append(_cited(rule, base.sources.of(inn, row.get("src"), table, section="renal")))
    hepatic = []
    for row in drug["hepatic"] or []:
        rule = _cited(organs.hepatic(row, base.vocabulary["value_units"]), base.sources.of(inn, row.get("src"), table))
        if contraindications.readable(rule["when"], base.codes, base.groups):
            hepatic.append(rule)
        else:
            notes.append(f"hepatic, no record code shows it: {rule['text']}: {rule['action']}")
    old = drug.get("elderly") or {}
    age = [_cited(r, base.sources.of(inn, old.get("src"), table)) for r in organs.elderly(old)] if old else []
    return renal, hepatic, age, notes


def _contraindications(drug: Row, base: Restating) -> list[Row]:
    found = []
    for row in drug["contraindications"] or []:
        code = row["code"]
        if code == "none_in_label":
            continue
        entry = base.vocabulary["contraindication_codes"].get(code, {})
        when, level = contraindications.profile(
            code, entry, drug["inn"], row["text"], codes=base.codes, groups=base.groups
        )
        if when == "crcl < 30" and re.search(r"<= ?30", row["text"]):
            when = "crcl <= 30"
        rule = {
            "code": code,
            "when": when,
            "level": level or row["level"],
            "text": row["text"],
            "indication": contraindications.INDICATION_OF.get(code)
            or ("hypertension" if "hypertension use only" in row["text"] else ""),
            "note": row.get("notes") or "",
        }
        found.append(
            _cited(rule, base.sources.of(drug["inn"], row.get("src"), drug["sources"], section="contraindications"))
        )
    return found


def _pregnancy(drug: Row, base: Restating) -> Row | None:
    word = drug.get("pregnancy")
    actions = {"contraindicated": "contraindicated", "avoid": "avoid", "may be used": "monitor", "preferred": "prefer"}
    if word not in (*actions, "unknown"):
        return None
    pair = base.sources.of(drug["inn"], drug.get("src_pregnancy"), drug["sources"], section="pregnancy")
    text = f"pregnancy: {word}" + (f"; {drug['pregnancy_note']}" if drug.get("pregnancy_note") else "")
    return _cited({"when": "pregnant", "action": actions.get(word), "text": text}, pair)


def _identity(drug: Row, base: Restating) -> Row:
    inn = drug["inn"]
    classes = sorted(
        {name for name, entry in base.vocabulary["classes"].items() if inn in entry["members"]}
        | set(base.vocabulary["class_field"].get(drug["class"], {}).get("classes", []))
        | set(subclasses_of(inn))
        | ({"possible QT-prolonging drug"} if drug.get("qt") == "possible" else set())
    )
    allergy = sorted(name for name, entry in base.vocabulary["allergy_groups"].items() if inn in entry["members"])
    spellings = base.vocabulary["drug_synonyms"].items()
    other = [w for w, target in spellings if target == inn and ">" not in w and w not in base.groups]
    synonyms = list(dict.fromkeys([*(drug["synonyms"] or []), *sorted(other)]))
    wrong = set(names.MISSPELLINGS.get(inn, [])) | {s for s in synonyms if s == "simvistatin"}
    return {
        "id": inn,
        "name": inn.replace("-", " ") if inn not in ("sacubitril-valsartan",) else "sacubitril/valsartan",
        "synonyms": [s for s in synonyms if s not in wrong and s != inn],
        "brands": drug["brands"] or [],
        "misspellings": sorted(wrong),
        "rxcui": drug.get("rxcui") or "",
        "atc": drug.get("atc") or "",
        "pharmacological_class": drug["class"],
        "classes": [c for c in classes if not re.match(r"((strong|moderate|weak) )?CYP\w+ (inhib|induc|subst)", c)],
        "allergy_groups": allergy,
        "components": _components(inn),
    }


def _components(inn: str) -> list[str]:
    parts = {
        "sacubitril-valsartan": ["sacubitril", "valsartan"],
        "amoxicillin-clavulanate": ["amoxicillin"],
        "trimethoprim-sulfamethoxazole": ["trimethoprim", "sulfamethoxazole"],
        "piperacillin-tazobactam": ["piperacillin"],
    }
    return parts.get(inn, [])


def restate(inn: str, base: Restating) -> tuple[Row, list[Row]]:
    """Fields of one drug file, and the citations that its verified sections bring."""
    drug = base.files[inn]
    renal, hepatic, age, notes = _organ_rows(drug, base)
    forms, routes = base.vocabulary["forms"], base.vocabulary["routes"]
    fields: Row = {
        **_identity(drug, base),
        "depth": "known",
        "products": [
            _cited(
                {**names.product(p, forms, routes), "note": p.get("notes") or ""},
                base.sources.of(inn, p.get("src"), drug["sources"]),
            )
            for p in drug["products"]
            if p["strengths"]
        ],
        "doses": _doses(drug, base),
        "renal": renal,
        "hepatic": hepatic,
        "age": age,
        "contraindications": _contraindications(drug, base),
        "boxed_warnings": drug["boxed_warning"] or [],
        "pregnancy": _pregnancy(drug, base),
        "lactation": lactation(drug, base.sources),
        "roles": roles(drug, base),
        "gene_effects": gene_effects(drug, base.sources),
        "window": window(drug, base.sources),
        "adverse": adverse(drug, base.sources),
        "monitoring": monitoring(drug, base.sources),
        "efficacy": efficacy(drug, base.sources),
        "stopping": stopping(drug, base.sources),
        "qt": drug.get("qt") if drug.get("qt") in ("known", "possible", "conditional", "none stated") else "",
        "notes": [*_remarks(drug), *notes, *_quality_notes(base.quality.get(inn, []))],
        "kinetics": kinetics(drug, base.sources, base.quality.get(inn, [])),
    }
    citations: list[Row] = []
    for folder in ("verified", "amended"):
        path = Path(__file__).parent / folder / f"{inn}.toml"
        if path.exists():
            citations += merge(fields, rtoml.load(path), base.known)
    for row in fields["contraindications"]:
        if not row.get("when"):
            entry = base.vocabulary["contraindication_codes"].get(row["code"], {})
            when, level = contraindications.profile(
                row["code"], entry, inn, row["text"], codes=base.codes, groups=base.groups
            )
            row |= {"when": when, "level": level or row["level"]} if when else {}
    present = {row["code"] for row in fields["contraindications"]}
    fields["contraindications"] = [*fields["contraindications"], *contraindications.added(inn, present)]
    kinds = {c["key"]: kind_of(c) for c in (*citations, *base.sources.citations.values())}
    settle(fields, kinds, base.sources.start_dose(inn))
    fields["cases"] = cases_of(fields, names.SERVED)
    fields["depth"] = depth_of(fields, names.SERVED)
    keys = frozenset(k for k in drug["sources"] if re.search(r"\d", k))
    texts = ("notes", "doses", "renal", "hepatic", "age", "contraindications", "gene_effects", "window", "products")
    others = ("monitoring", "efficacy", "adverse", "roles", "pregnancy", "lactation", "stopping", "kinetics")
    fields |= {name: clean(fields[name], inn, keys) for name in (*texts, *others)}
    order = [k for k in fields if k != "cases"]
    order.insert(order.index("notes"), "cases")
    return {k: fields[k] for k in order}, citations


def _remarks(drug: Row) -> list[str]:
    raw = drug.get("notes") or []
    return [*([raw] if isinstance(raw, str) else raw), *(drug.get("source_conflicts") or [])]


def _quality_notes(findings: list[tuple[str, str]]) -> list[str]:
    return [f"kinetics: {issue}; do not combine" for field, issue in findings if field == "kinetics"]


def write_all(data: Path, out: Path) -> dict[str, int]:
    """Write every drug file and the citations; counts of files by depth."""
    base = Restating(data, out)
    counts: dict[str, int] = {}
    brought: list[Row] = []
    (out / "drugs").mkdir(parents=True, exist_ok=True)
    for inn in base.files:
        fields, citations = restate(inn, base)
        (out / "drugs" / f"{inn}.toml").write_text(document(fields), encoding="utf-8")
        counts[fields["depth"]] = counts.get(fields["depth"], 0) + 1
        brought += citations
    write_groups(base.vocabulary, out)
    brought = [{**c, "title": tidy(c["title"]), "kind": kind_of(c)} for c in brought]
    known = {**{c["key"]: c for c in brought}, **base.sources.citations, **RULES}
    head = (
        "Where each fact was read. kind: label | label quote | paper | regulator | guideline | review | handbook |\n"
        "rules | machine (a page that a language model wrote: verifies nothing) | memory."
    )
    (out / "citations.toml").write_text(
        rows("citations", [known[k] for k in sorted(known)], header=head), encoding="utf-8"
    )
    return counts


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: restate_drugs.py FACTS OUT")
    print(write_all(Path(sys.argv[1]), Path(sys.argv[2])))
