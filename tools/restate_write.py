"""Writes values as short, readable TOML: one row per line, no empty fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_NESTED_LAST = ("kinetics",)


def scalar(value: Any) -> str:
    """A TOML value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key(k)} = {scalar(v)}" for k, v in value.items() if not empty(v))
        return "{ " + inside + " }" if inside else "{}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(scalar(v) for v in value) + "]"
    raise TypeError(f"{type(value).__name__} has no TOML form here")


def key(name: str) -> str:
    """A bare key where TOML allows one, else a quoted one."""
    bare = name.replace("_", "").replace("-", "")
    return name if bare.isalnum() and bare.isascii() else json.dumps(name, ensure_ascii=False)


def empty(value: Any) -> bool:
    """Whether a field is left out: None, or an empty text, list or table."""
    return value is None or (isinstance(value, str | list | tuple | dict) and not value)


def document(fields: Mapping[str, Any], *, header: str = "") -> str:
    """A TOML document: scalars first, then lists of rows, then nested tables."""
    lines = [f"# {line}" for line in header.splitlines()]
    plain = {k: v for k, v in fields.items() if not empty(v) and k not in _NESTED_LAST}
    for name, value in plain.items():
        if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            lines += ["", f"{name} = [", *(f"  {scalar(row)}," for row in value), "]"]
        elif isinstance(value, list | tuple) and sum(len(str(v)) for v in value) > 90:
            lines += [f"{name} = [", *(f"  {scalar(v)}," for v in value), "]"]
        else:
            lines.append(f"{name} = {scalar(value)}")
    for name in _NESTED_LAST:
        if not empty(fields.get(name)):
            lines += ["", *_table(name, fields[name])]
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(name: str, table: Mapping[str, Any]) -> list[str]:
    here = [f"[{name}]", *(f"{key(k)} = {scalar(v)}" for k, v in table.items() if not _is_table(v) and not empty(v))]
    below: list[str] = []
    for k, v in table.items():
        if _is_table(v) and v:
            below += ["", f"[{name}.{k}]", *(f"{key(a)} = {scalar(b)}" for a, b in v.items())]
    return ([] if len(here) == 1 else here) + (below[1:] if len(here) == 1 else below)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def rows(name: str, entries: Sequence[Mapping[str, Any]], *, header: str = "") -> str:
    """A TOML document made of `[[name]]` rows, each on its own lines."""
    lines = [f"# {line}" for line in header.splitlines()]
    for entry in entries:
        lines += ["", f"[[{name}]]", *(f"{key(k)} = {scalar(v)}" for k, v in entry.items() if not empty(v))]
    return "\n".join(lines).lstrip("\n") + "\n"
