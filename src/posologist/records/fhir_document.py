"""FHIR R4 JSON from files or bytes to a flat list of resources with their addresses, checked for release and shape.

Bundles (of any type), lists of resources, NDJSON, folders of them and the prefetch of a CDS Hooks request are read.
What is not FHIR R4 is an `InputError` that says what was found and where.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posologist.core.errors import InputError
from posologist.core.patient import Source
from posologist.records.json_tools import Resource, child, children, string, strings

_DSTU2_TYPES = frozenset({"MedicationOrder", "DiagnosticOrder", "Conformance", "BodySite", "DeviceUseRequest"})
_R5_TYPES = frozenset({"MedicationUsage", "DeviceUsage", "Transport", "GenomicStudy", "NutritionProduct"})
_MEDICATION_TYPES = ("MedicationRequest", "MedicationStatement", "MedicationAdministration")
_PROFILE_SIGNS = (
    ("/fhir/DSTU2/", "DSTU2"), ("/us/daf/", "DSTU2"), ("argonaut", "DSTU2"), ("/fhir/STU3/", "STU3"),
    ("/fhir/3.0", "STU3"), ("|3.0.", "STU3"), ("/fhir/5.0", "R5"), ("/fhir/R5/", "R5"), ("|5.0.0", "R5"),
)  # fmt: skip
_DEEPEST = 60


@dataclass(frozen=True)
class Entry:
    """One resource: its content, full address in the bundle, document, and place ("Condition/7")."""

    resource: Resource
    full_url: str
    document: str

    @property
    def kind(self) -> str:
        """Resource type."""
        return str(self.resource["resourceType"])

    @property
    def place(self) -> str:
        """Type and id; for a resource without an id, a digest of its content, so that order does not matter."""
        given = string(self.resource, "id") or self.full_url.removeprefix("urn:uuid:")
        return f"{self.kind}/{given or digest(self.resource)[:12]}"

    @property
    def source(self) -> Source:
        """Where the resource stands."""
        return Source(document=self.document, place=self.place)


def digest(resource: Resource) -> str:
    """Digest of a resource's content."""
    return hashlib.sha256(json.dumps(resource, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()


def read_entries(source: Path | str | bytes | Sequence[Path], document: str = "") -> list[Entry]:
    """Resources of a file, a folder of .json and .ndjson files, several files, or bytes.

    Raises
    ------
    InputError
        If nothing is there, it is not JSON, or not FHIR.
    """
    if isinstance(source, bytes):
        return _entries_of(source, document or "record", False)
    if isinstance(source, str | Path):
        path = as_path(source)
        paths = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES) if path.is_dir() else [path]
        if not paths:
            raise InputError("no .json or .ndjson file in the folder", where=str(path), hint="give a FHIR file")
    else:
        paths = sorted(Path(p) for p in source)
    return [entry for path in paths for entry in _entries_of(_bytes_of(path), path.name, path.suffix in _LINES)]


def as_path(source: Path | str) -> Path:
    """The path that a text names.

    Raises
    ------
    InputError
        If the text cannot be a path, for instance because it is the document itself.
    """
    path = Path(source)
    try:
        path.is_dir()
    except (OSError, ValueError) as error:
        raise InputError("not a path to a file", where=str(source)[:60], hint="give a path, or the bytes") from error
    return path


_LINES = (".ndjson", ".jsonl")
_SUFFIXES = (".json", *_LINES)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("file is not there", where=str(path), hint="check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)[:120], hint="check the path") from error


def _entries_of(data: bytes, document: str, by_line: bool) -> list[Entry]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text at byte {error.start}", where=document, hint="give FHIR JSON") from error
    if not text.strip():
        raise InputError("file is empty", where=document, hint="give a FHIR R4 bundle, NDJSON or a CSV folder")
    if text.lstrip().startswith("<"):
        raise InputError("XML, not JSON", where=document, hint="export the record as FHIR JSON")
    lines = text.split("\n")
    if by_line or (len(lines) > 1 and _is_complete(lines[0])):
        parsed = [
            (_parse(line, f"{document}:{n}"), f"{document}:{n}") for n, line in enumerate(lines, 1) if line.strip()
        ]
    else:
        parsed = [(_parse(text, document), document)]
    return [entry for content, where in parsed for entry in _flatten(content, document, where, "", 0)]


def _is_complete(line: str) -> bool:
    """Whether the first line is a JSON object by itself, as in NDJSON."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where if error.lineno == 1 and ":" in where else f"{where}:{error.lineno}"
        raise InputError(
            f"broken JSON: {error.msg}", where=f"{place} column {error.colno}", hint="the file may be cut off"
        ) from error
    except RecursionError as error:
        raise InputError("nested too deeply to be a FHIR record", where=where, hint="check the file") from error
    except ValueError as error:
        raise InputError(f"a number cannot be read: {error}", where=where, hint="check the file") from error


def _flatten(content: Any, document: str, where: str, full_url: str, depth: int) -> Iterator[Entry]:
    """Resources of a parsed document, whatever wraps them."""
    if isinstance(content, list):
        for item in content:
            yield from _flatten(item, document, where, "", depth + 1)
        return
    if not isinstance(content, dict) or depth > _DEEPEST:
        raise InputError("not a FHIR resource", where=where, hint="a FHIR resource is a JSON object")
    if "resourceType" not in content and "hook" in content:
        fetched = child(content, "prefetch") or child(child(content, "context"), "prefetch")
        for item in fetched.values():
            resource = item.get("resource", item) if isinstance(item, dict) else item
            if resource is not None:
                yield from _flatten(resource, document, where, "", depth + 1)
        return
    kind = content.get("resourceType")
    if not isinstance(kind, str) or not kind:
        raise InputError("not FHIR: 'resourceType' is missing", where=where, hint="give a FHIR R4 bundle or NDJSON")
    if kind != "Bundle":
        yield Entry(resource=content, full_url=full_url, document=document)
        return
    entries = content.get("entry", [])
    if not isinstance(entries, list):
        raise InputError("Bundle.entry is not a list", where=where, hint="give a FHIR R4 bundle")
    for item in entries:
        bare = isinstance(item, dict) and "resourceType" in item  # seen in requests of the first CDS Hooks releases
        inner = item if bare else item.get("resource") if isinstance(item, dict) else None
        deleted = string(child(item, "request"), "method") == "DELETE"
        if isinstance(inner, dict) and isinstance(inner.get("resourceType"), str) and not deleted:
            yield from _flatten(inner, document, where, string(item, "fullUrl"), depth + 1)
        else:
            yield Entry(resource={"resourceType": "", "entry": str(item)[:80]}, full_url="", document=document)


def release_of(resource: Resource) -> tuple[str, str]:
    """Release other than R4 that a resource is written in, and the sign of it; ("", "") for R4."""
    kind = string(resource, "resourceType")
    if kind in _DSTU2_TYPES:
        return "DSTU2", kind
    if kind in _R5_TYPES:
        return "R5", kind
    for profile in strings(child(resource, "meta"), "profile"):
        for sign, release in _PROFILE_SIGNS:
            if sign in profile:
                return release, f"meta.profile {profile}"
    return _release_by_shape(kind, resource)


def _release_by_shape(kind: str, resource: Resource) -> tuple[str, str]:
    if kind in _MEDICATION_TYPES:
        if isinstance(resource.get("medication"), dict):
            return "R5", f"{kind}.medication"
        if "taken" in resource or isinstance(child(resource, "requester").get("agent"), dict):
            return "STU3", f"{kind}.{'taken' if 'taken' in resource else 'requester.agent'}"
    if kind == "AllergyIntolerance":
        if "substance" in resource:
            return "DSTU2", "AllergyIntolerance.substance"
        if isinstance(resource.get("type"), dict):
            return "R5", "AllergyIntolerance.type"
    if kind == "Condition" and "patient" in resource and "subject" not in resource:
        return "DSTU2", "Condition.patient"
    if kind in ("Condition", "AllergyIntolerance") and isinstance(resource.get("clinicalStatus"), str):
        return "STU3", f"{kind}.clinicalStatus"
    if kind == "Procedure" and "notDone" in resource:
        return "STU3", "Procedure.notDone"
    return "", ""


def refuse_other_releases(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Entries in STU3 shape, by sign: what is read of them coincides with R4.

    Raises
    ------
    InputError
        If any resource is DSTU2 or R5, whose members have other names.
    """
    older: dict[str, list[Entry]] = {}
    for entry in entries:
        release, sign = release_of(entry.resource)
        if release in ("DSTU2", "R5"):
            raise InputError(
                f"FHIR {release}, not R4 ({sign})",
                where=f"{entry.document} {entry.place}",
                hint="export the record as FHIR R4",
            )
        if release:
            older.setdefault(sign, []).append(entry)
    return older


class References:
    """Resources by every address under which another resource may name them."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._by_address: dict[str, Entry] = {}
        for entry in entries:
            for address in addresses(entry):
                self._by_address.setdefault(address, entry)

    def find(self, reference: Resource, parent: Resource) -> Resource | None:
        """The resource that a reference names, among the contained ones first; None when it is not there."""
        address = string(reference, "reference")
        if address.startswith("#"):
            return next((r for r in children(parent, "contained") if string(r, "id") == address[1:]), None)
        found = self._by_address.get(address) or self._by_address.get(relative(address))
        return found.resource if found else None


def addresses(entry: Entry) -> list[str]:
    """Full address, relative address and bare uuid of a resource."""
    given = string(entry.resource, "id")
    found = [entry.full_url, f"{entry.kind}/{given}" if given else "", f"urn:uuid:{given}" if given else ""]
    return [address for address in dict.fromkeys([*found, relative(entry.full_url)]) if address]


def relative(address: str) -> str:
    """`Type/id` of an absolute or versioned address."""
    parts = address.partition("/_history/")[0].split("/")
    return "/".join(parts[-2:]) if len(parts) >= 2 and parts[-2][:1].isupper() else address
