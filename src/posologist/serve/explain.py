"""Follows one number of a document to its leaves: patient facts, cited knowledge, settings, models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from posologist.core.errors import InputError
from posologist.core.evidence import LEAF_KINDS, Evidence
from posologist.serve.output import emit

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_NEAREST = 5
_JSON_HINT = "give a JSON document that a verb of posologist wrote with --json"


def explain_key(path: Path, key: str, *, as_json: bool) -> None:
    """Print the tree of reasons below an evidence key, or below each key of a place such as `options[0].benefit`.

    Raises
    ------
    InputError
        If the file is no document of ours, the key is unknown or the start of several, or a reason is missing.
    """
    document, evidence = read_evidence(path)
    keys = find_keys(document, evidence, key, str(path))
    for found in keys:
        check_reaches_leaves(evidence, found, str(path))
    if as_json:
        emit(json.dumps([as_tree(evidence, k) for k in keys], indent=1, ensure_ascii=False))
        return
    for found in keys:
        emit("\n".join(tree_lines(evidence, found)))


def read_evidence(path: Path) -> tuple[dict[str, Any], dict[str, Evidence]]:
    """A document and its evidence."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError("not a JSON document", where=str(path), hint=_JSON_HINT) from error
    if not isinstance(document, dict) or not isinstance(document.get("evidence"), dict):
        raise InputError("the document has no 'evidence'", where=str(path), hint=_JSON_HINT)
    try:
        evidence = {key: Evidence.model_validate(entry) for key, entry in document["evidence"].items()}
    except ValidationError as error:
        raise InputError(
            f"evidence that cannot be read: {error.errors()[0]['msg']}", where=str(path), hint=_JSON_HINT
        ) from error
    return document, evidence


def find_keys(document: Mapping[str, Any], evidence: Mapping[str, Evidence], key: str, where: str) -> tuple[str, ...]:
    """The evidence keys that `key` means: itself, the only key that starts so, or those of a place in the document."""
    if key in evidence:
        return (key,)
    if key:
        starting = sorted(k for k in evidence if k.startswith(key) or k.partition(":")[2].startswith(key))
        if len(starting) == 1:
            return (starting[0],)
        if len(starting) > 1:
            shown = ", ".join(starting[:_NEAREST])
            raise InputError(f"{len(starting)} keys start with '{key}': {shown}", where=where, hint="write more of it")
    placed = tuple(k for k in _keys_at(document, key) if ":" in k)
    if placed:
        missing = [k for k in placed if k not in evidence]
        if missing:
            raise InputError(f"'{missing[0]}' is named but not in the evidence", where=where, hint="write it anew")
        return placed
    import difflib

    near = difflib.get_close_matches(key, evidence, n=_NEAREST, cutoff=0.0) or ["none"]
    raise InputError(f"no evidence '{key}'; nearest: {', '.join(near)}", where=where, hint="or give options[0].benefit")


def _keys_at(document: Any, place: str) -> tuple[str, ...]:
    """`because` at a place of the document, or of the parts below it; empty where there is none."""
    current = document
    for name, index in _STEP.findall(place):
        if index:
            if not isinstance(current, list) or int(index) >= len(current):
                return ()
            current = current[int(index)]
        elif isinstance(current, dict) and name in current:
            current = current[name]
        else:
            return ()
    return tuple(dict.fromkeys(_cited(current)))


def _cited(value: Any) -> Iterator[str]:
    """Every key that a part of a document names; a list of keys itself counts."""
    if isinstance(value, dict):
        if "because" in value:
            yield from _cited(value["because"])
        else:
            for item in value.values():
                yield from _cited(item) if isinstance(item, dict | list) else ()
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield item
            else:
                yield from _cited(item)


def check_reaches_leaves(evidence: Mapping[str, Evidence], key: str, where: str) -> None:
    """Raise InputError if a reason below `key` is missing, rests on itself, or ends before a leaf."""
    fault = fault_below(evidence, key)
    if fault:
        raise InputError(fault, where=where, hint="the document is damaged; write it anew")


def fault_below(evidence: Mapping[str, Evidence], key: str) -> str:
    """What is wrong with the reasons below `key`; empty when all reach leaves."""
    return _fault(evidence, key, (), set())


def _fault(evidence: Mapping[str, Evidence], key: str, above: tuple[str, ...], sound: set[str]) -> str:
    if key in above:
        return f"'{key}' rests on itself"
    if key in sound:
        return ""
    if key not in evidence:
        return f"'{key}' is named but not in the evidence"
    entry = evidence[key]
    if not entry.because and entry.kind not in LEAF_KINDS:
        return f"'{key}' ({entry.kind}) rests on nothing"
    if not entry.because and not entry.source:
        return f"'{key}' has no source"
    fault = next((f for k in entry.because if (f := _fault(evidence, k, (*above, key), sound))), "")
    sound.add(key)
    return fault


def as_tree(evidence: Mapping[str, Evidence], key: str) -> dict[str, Any]:
    """A key and everything below it, nested."""
    entry = evidence[key]
    return {
        "key": key,
        **entry.model_dump(mode="json", exclude={"because"}),
        "because": [as_tree(evidence, k) for k in entry.because],
    }


def tree_lines(evidence: Mapping[str, Evidence], key: str) -> list[str]:
    """The tree as text; what was printed above is named again but not unfolded twice."""
    return list(_lines(evidence, key, "", "", set()))


def _lines(evidence: Mapping[str, Evidence], key: str, lead: str, branch: str, seen: set[str]) -> Iterator[str]:
    entry = evidence[key]
    status = f", {entry.status}" if entry.status else ""
    again = " (as above)" if key in seen and entry.because else ""
    yield f"{lead}{branch}{key} [{entry.kind}{status}] {entry.text}{again}"
    inner = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
    if entry.source:
        version = f", {entry.version}" if entry.version else ""
        yield f"{inner}   source: {entry.source}{version}"
    if again:
        return
    seen.add(key)
    for number, child in enumerate(entry.because):
        yield from _lines(evidence, child, inner, "└─ " if number == len(entry.because) - 1 else "├─ ", seen)
