"""What lies in a prefetch value: its resources, what of it cannot be read, and whether there is more elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from posologist.records.json_tools import Resource, child, children, string

_REFERRED_TO = ("Medication", "Patient")
_NO_RESOURCE = frozenset({"fullUrl", "link", "request", "response", "search", "id", "extension", "modifierExtension"})


@dataclass(frozen=True)
class Unpacked:
    """Resources; words on what is there and is none; whether the sender holds more pages of it."""

    resources: tuple[Resource, ...]
    unreadable: tuple[str, ...]
    partial: bool


def unpack(content: Any) -> Unpacked:
    """A resource, a Bundle, or a list of either, laid out; references by `urn:` lead to the resources' own ids."""
    found, told = list[Resource](), list[str]()
    for one in _entries(content):
        if isinstance(one, dict) and isinstance(one.get("resourceType"), str):
            found.append(one)
        else:
            told.append(str(one) if isinstance(one, _Told) else "an entry that holds no FHIR resource")
    return Unpacked(tuple(found), tuple(dict.fromkeys(told)), _is_partial(content))


def is_empty_search(page: Any) -> bool:
    """Whether a search was made and found nothing."""
    return string(page, "resourceType") == "Bundle" and not page.get("entry") and not _is_partial(page)


def with_own_references(entries: Iterable[Any]) -> list[Any]:
    """Entries of a Bundle whose resources name each other by `urn:`: those references lead to type and id instead."""
    listed = list(entries)
    owners: dict[str, str] = {}
    named = [_named(entry, owners) for entry in listed]
    return [_redirected(entry, owners) for entry in named] if owners else listed


def told_apart(resources: Iterable[Resource]) -> tuple[list[Resource], list[str]]:
    """Resources of one id that say different things, and not which is newer, under ids of their own; and their names.

    What others refer to keeps its id.
    """
    listed = list(resources)
    held: dict[tuple[str, str], list[Resource]] = {}
    found, names = list[Resource](), list[str]()
    for one in listed:
        kind, own = string(one, "resourceType"), string(one, "id")
        before = held.setdefault((kind, own), [])
        dated = all(string(child(other, "meta"), "lastUpdated") for other in (one, *before))
        if own and kind not in _REFERRED_TO and before and one not in before and not dated:
            names.append(f"{kind}/{own}")
            one = {**one, "id": f"{own}.{len(before)}"}
        before.append(one)
        found.append(one)
    return found, list(dict.fromkeys(names))


class _Told(str):
    """Words about an entry, in its place."""


def _entries(content: Any) -> Iterator[Any]:
    if isinstance(content, list):
        for item in content:
            yield from _entries(item)
    elif isinstance(content, dict) and content.get("resourceType") == "Bundle":
        listed = content.get("entry")
        if listed is not None and not isinstance(listed, list):
            yield _Told("a Bundle whose entries are no list")
            return
        for entry in with_own_references(listed or ()):
            if isinstance(entry, dict) and "resource" not in entry and not entry.keys() - _NO_RESOURCE:
                continue
            yield from _entries(entry.get("resource", entry) if isinstance(entry, dict) else entry)
    else:
        yield content


def _is_partial(content: Any) -> bool:
    """Whether the last page leads to a further one, or the search found more than it holds."""
    if isinstance(content, list):
        return bool(content) and _leads_on(content[-1])
    if not isinstance(content, dict) or content.get("resourceType") != "Bundle":
        return False
    total = content.get("total")
    return _leads_on(content) or (type(total) is int and total > len(children(content, "entry")))


def _leads_on(page: Any) -> bool:
    links = children(page, "link") if isinstance(page, dict) else []
    return any(string(link, "relation") == "next" and string(link, "url") for link in links)


def _named(entry: Any, owners: dict[str, str]) -> Any:
    """The entry, its resource with an id; its address is noted."""
    resource = entry.get("resource") if isinstance(entry, dict) else None
    address = entry.get("fullUrl") if isinstance(entry, dict) else None
    if not isinstance(resource, dict) or not isinstance(address, str) or not address.startswith("urn:"):
        return entry
    own = resource.get("id") or address.rpartition(":")[2]
    owners[address] = f"{resource.get('resourceType')}/{own}"
    return {**entry, "resource": {**resource, "id": own}}


def _redirected(value: Any, owners: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_redirected(item, owners) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _redirected(item, owners) for key, item in value.items()}
    address = made.get("reference")
    return {**made, "reference": owners[address]} if isinstance(address, str) and address in owners else made
