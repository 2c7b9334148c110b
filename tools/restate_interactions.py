"""Restates single interactions of the reference drug files that no class or role statement covers yet.

The statements of `data/interactions/*.toml` are written by hand over classes and enzyme roles. The reference files
hold further pairs, each seen from one drug's side. This script reads both sides, keeps the stricter, leaves out what
a statement already says at the same or a stricter severity, and writes the rest to `data/interactions/pairs.toml`
with its own citations. Run it again after a change of either side: `python tools/restate_interactions.py FOLDER`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from posologist.core.statement import SEVERITY_ORDER, Severity
from posologist.core.values import DrugId
from posologist.knowledge.load import Knowledge, load_knowledge

OUTPUT = Path("src/posologist/knowledge/data/interactions/pairs.toml")
SEVERITY: dict[str, Severity] = {
    "contraindicated": "contraindicated",
    "avoid": "serious",
    "reduce": "monitor",
    "monitor": "monitor",
    "separate": "information",
}
STATUS = {"label": "verified", "regulator": "verified", "guideline": "verified", "paper": "verified"}
BROAD = {  # groups so wide that only a hand-written statement may speak of them
    "CNS depressant", "antihypertensive", "serotonergic drug", "antidiabetic", "diuretic", "QT-prolonging drug",
    "anticoagulant", "food", "antipsychotic", "antiepileptic", "immunosuppressant",
}  # fmt: skip
TEST_LIST = "ONC"  # a citation that names it is a list kept for tests and not shipped
NOT_TAKEN = {  # wanted effects, repeats of another row, effects without consequence
    ("pantoprazole", "clopidogrel"), ("hydralazine", "beta-blocker"), ("fosphenytoin", "phenytoin"),
    ("methotrexate", "folic-acid"), ("fluvoxamine", "tobacco smoking"), ("liraglutide", "digoxin"),
    ("liraglutide", "lisinopril"), ("liraglutide", "atorvastatin"), ("insulin-lispro", "insulin-isophane"),
    ("insulin-glargine", "insulin"), ("lansoprazole", "theophylline"), ("valsartan", "ritonavir"),
    ("levothyroxine", "biotin"), ("amitriptyline", "sympathomimetic"), ("heparin", "digoxin"),
    ("aspirin", "RAAS blocker"), ("nitrofurantoin", "antacid"), ("acebutolol", "NSAID"), ("atenolol", "NSAID"),
    ("phenytoin", "azole antifungal"), ("dexamethasone", "live vaccine"), ("prednisolone", "live vaccine"),
}  # fmt: skip


class Pair(NamedTuple):
    """One row of a reference file, resolved."""

    drug: DrugId
    target: str
    action: str
    effect: str
    detail: str
    citation: tuple[str, str, str, str]


def rows(folder: Path, knowledge: Knowledge) -> Iterator[Pair]:
    """Rows whose other side is a known drug or a plain class."""
    vocabulary = json.loads((folder / "_vocabulary.json").read_text(encoding="utf-8"))
    for path in sorted(folder.glob("[a-z]*.json")):
        file = json.loads(path.read_text(encoding="utf-8"))
        if file["inn"] not in knowledge.drugs:
            continue
        for row in file.get("interactions", ()):
            source = citation(file, row.get("src") or "memory")
            if TEST_LIST in source[1]:
                continue
            for target in targets(row["with"], vocabulary, knowledge):
                if target != file["inn"] and (file["inn"], target) not in NOT_TAKEN and row["action"] in SEVERITY:
                    yield Pair(
                        DrugId(file["inn"]), target, row["action"], row["effect"], row.get("detail") or "",
                        source,
                    )  # fmt: skip


def targets(text: str, vocabulary: dict[str, Any], knowledge: Knowledge) -> tuple[str, ...]:
    """Drug ids that a text names, or its one class; nothing where it is neither."""
    plain = text.lower()
    if plain in knowledge.names:
        return (str(knowledge.names[plain]),)
    mapped = vocabulary["interaction_targets"].get(text, {"drugs": [], "classes": []})
    if mapped["drugs"] and not mapped["classes"]:
        return tuple(d for d in mapped["drugs"] if d in knowledge.drugs)
    groups = [group for group in mapped["classes"] if group in knowledge.members]
    if len(groups) == 1 and "(" not in text and "CYP" not in text and groups[0] not in BROAD:
        return (groups[0],)
    return ()


def citation(file: dict[str, Any], key: str) -> tuple[str, str, str, str]:
    """Key, title, place and kind of a row's source; `memory` where none was read."""
    source = file.get("sources", {}).get(key)
    if source is None or source.get("kind") == "memory":
        return ("memory", "", "", "memory")
    return (f"pair-{file['inn']}-{key}", source["title"], source.get("where") or "", source.get("kind") or "review")


def covered(pair: Pair, knowledge: Knowledge) -> bool:
    """Whether statements already reach every member at the row's severity or a stricter one."""
    members = knowledge.members.get(pair.target, frozenset()) - {pair.drug}
    wanted = SEVERITY_ORDER[SEVERITY[pair.action]]
    return all(
        any(SEVERITY_ORDER[s.severity] <= wanted for s, _ in knowledge.interactions_between(pair.drug, member))
        for member in members
    )


def stricter(pairs: list[Pair]) -> list[Pair]:
    """One row per two sides, in either order: the stricter, and of equals the one that was read somewhere."""
    found: dict[frozenset[str], Pair] = {}
    for pair in sorted(pairs, key=lambda p: (SEVERITY_ORDER[SEVERITY[p.action]], p.citation[0] == "memory")):
        found.setdefault(frozenset((pair.drug, pair.target)), pair)
    return sorted(found.values(), key=lambda p: (p.drug, p.target))


def written(pairs: list[Pair]) -> str:
    """The TOML text."""
    lines = [
        "# Single interactions that no statement over classes or roles covers; written from the reference drug files."
    ]
    for key, title, where, kind in sorted({p.citation for p in pairs if p.citation[0] != "memory"}):
        lines += ["", "[[citations]]", f"key = {quoted(key)}", f"title = {quoted(title)}"]
        lines += [f"where = {quoted(where)}", f"kind = {quoted(kind)}"]
    for pair in pairs:
        action = "monitor" if pair.action == "separate" else pair.action
        lines += [
            "",
            "[[statements]]",
            f"id = {quoted(f'pairs.{pair.drug}-{slug(pair.target)}')}",
            'kind = "interaction"',
        ]
        lines += [f"about = [{quoted(pair.drug)}]", f"other = [{quoted(pair.target)}]", f"action = {quoted(action)}"]
        lines += [f"severity = {quoted(SEVERITY[pair.action])}", f"text = {quoted(sentence(pair))}"]
        if pair.detail:
            lines.append(f"management = {quoted(pair.detail[0].upper() + pair.detail[1:] + '.')}")
        status = "to verify" if pair.citation[0] == "memory" else STATUS.get(pair.citation[3], "secondary")
        lines += [f"source = {quoted(pair.citation[0])}", f"status = {quoted(status)}"]
    return "\n".join(lines) + "\n"


def sentence(pair: Pair) -> str:
    """What happens, naming both sides."""
    return f"{pair.drug} with {pair.target.replace('-', ' ')}: {pair.effect.rstrip('.')}."


def slug(text: str) -> str:
    """A name as part of an id."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def quoted(text: str) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False)


def main(folder: Path) -> None:
    """Write the pairs and print how many there are."""
    whole = load_knowledge()
    by_hand = tuple(s for s in whole.statements if not s.id.startswith("pairs."))
    knowledge = dataclasses.replace(whole, statements=by_hand, _pairs={})
    pairs = stricter([pair for pair in rows(folder, knowledge) if not covered(pair, knowledge)])
    OUTPUT.write_text(written(pairs), encoding="utf-8")
    print(f"{len(pairs)} pairs written to {OUTPUT}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/drugs"))
