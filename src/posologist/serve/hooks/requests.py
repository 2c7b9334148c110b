"""CDS Hooks 2.0 requests and how they are read: everything that clients were seen to send, or a clear problem.

The retired hook `medication-prescribe` is read as order-sign, with `context.medications` as the draft orders and
`context.prefetch` as the prefetch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from posologist.core.errors import InputError
from posologist.serve.hooks.bundles import with_own_references

Resource = dict[str, Any]
HookName = Literal["patient-view", "order-select", "order-sign"]
HOOKS: tuple[HookName, ...] = ("patient-view", "order-select", "order-sign")
RETIRED: Mapping[str, HookName] = {"medication-prescribe": "order-sign", "order-review": "order-sign"}
_PDDI = "pddi-configuration-items"
_DEEPEST = 64
MOST_DRAFTS = 100


@dataclass(frozen=True)
class HookRequest:
    """One request, checked. `prefetch` keeps what came under each key; a null was "not available" and is left out.

    `unread` names the keys under which something else than a resource came.
    """

    hook: HookName
    instance: str
    patient_id: str
    user_id: str = ""
    encounter_id: str = ""
    fhir_server: str = ""
    access_token: str = field(default="", repr=False)
    drafts: tuple[Resource, ...] = ()
    selections: tuple[str, ...] | None = None
    prefetch: Mapping[str, Resource | list[Any]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    show_repeats: bool = False
    retired: bool = False


def parse_request(body: bytes, *, hook: HookName) -> HookRequest:
    """The request that a client posted to the service of `hook`.

    Raises
    ------
    InputError
        If it is no JSON, not for this hook, or lacks or misshapes what the hook requires.
    """
    document = parse_json(body)
    named = _text(document, "hook", required=True)
    retired = named in RETIRED
    if (RETIRED.get(named) or named) != hook:
        known = ", ".join(HOOKS)
        _refuse(f"hook '{named[:40]}' is not served here", "hook", f"this service answers {hook}; there are {known}")
    context = _object(document, "context", required=True)
    fetched = _object(document, "prefetch")
    if retired:
        fetched = {**_items(context), **_object(context, "prefetch"), **fetched}
    patient_id = _text(context, "patientId", "context.", required=True).removeprefix("Patient/")
    if not patient_id:
        _refuse("is empty", "context.patientId", "give the id of the patient in context")
    authorization = _object(document, "fhirAuthorization")
    ordering = hook != "patient-view"
    return HookRequest(
        hook=hook,
        instance=_text(document, "hookInstance", required=True),
        patient_id=patient_id,
        user_id=_text(context, "userId", "context.") or _text(document, "user"),
        encounter_id=_text(context, "encounterId", "context.").removeprefix("Encounter/"),
        fhir_server=_text(document, "fhirServer"),
        access_token=_text(authorization, "access_token", "fhirAuthorization."),
        drafts=_drafts(context) if ordering else (),
        selections=_selections(context) if hook == "order-select" else None,
        prefetch=_prefetch(fetched),
        unread=tuple(key for key, value in fetched.items() if isinstance(_content(value), str | int | float)),
        show_repeats=_shows_repeats(document),
        retired=retired,
    )


def parse_json(body: bytes) -> Resource:
    """The JSON object of a body; texts that are no Unicode are repaired, so that they can be written again.

    Raises
    ------
    InputError
        If it is not UTF-8, not JSON, nested beyond reason, no object, or names a member twice.
    """
    try:
        text = body.decode("utf-8-sig")
        document = json.loads(text, parse_constant=_no_constant, parse_float=_number, object_pairs_hook=_members)
        if "\\u" in text:
            document = json.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where="body", hint="send JSON in UTF-8") from error
    except RecursionError as error:
        raise InputError("nested too deeply", where="body", hint="send a CDS Hooks request") from error
    except ValueError as error:
        raise InputError(f"not JSON: {error}"[:200], where="body", hint="send a CDS Hooks request") from error
    if not isinstance(document, dict):
        _refuse("is no JSON object", "body", "send a CDS Hooks request")
    if _too_deep(document, _DEEPEST):
        _refuse("is nested too deeply", "body", "send a CDS Hooks request")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _members(pairs: list[tuple[str, Any]]) -> Resource:
    """An object; a member that stands twice would silently take the place of the first."""
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(name for n, (name, _) in enumerate(pairs) if name in dict(pairs[:n]))
        raise ValueError(f"the member '{twice[:40]}' stands twice")
    return made


def _too_deep(document: Any, deepest: int) -> bool:
    level: list[Any] = [document]
    for _ in range(deepest):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _refuse(message: str, where: str, hint: str) -> NoReturn:
    raise InputError(message, where=where, hint=hint)


def _text(holder: Mapping[str, Any], name: str, path: str = "", *, required: bool = False) -> str:
    value = holder.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        found = "is missing" if value is None else "is not a text" if not isinstance(value, str) else "is empty"
        _refuse(found, f"{path}{name}", "see the CDS Hooks 2.0 specification")
    return value.strip()


def _object(holder: Mapping[str, Any], name: str, *, required: bool = False) -> Resource:
    value = holder.get(name)
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        found = "is missing" if value is None else "is not an object"
        _refuse(found, name, "see the CDS Hooks 2.0 specification")
    return value


def _items(context: Resource) -> Resource:
    """Prefetch results that stand beside `context.prefetch` instead of inside it, as in some PDDI-CDS files."""
    return {key: value for key, value in context.items() if isinstance(value, dict) and "response" in value}


def _drafts(context: Resource) -> tuple[Resource, ...]:
    bundle = context.get("draftOrders", context.get("medications", context.get("orders")))
    if bundle is None:
        _refuse("is missing", "context.draftOrders", "send a Bundle with the draft orders")
    entries = bundle if isinstance(bundle, list) else None
    if isinstance(bundle, dict):
        entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        _refuse("is not a Bundle with a list of entries", "context.draftOrders", "send a Bundle with the draft orders")
    if len(entries) > MOST_DRAFTS:
        _refuse(f"holds more than {MOST_DRAFTS} orders", "context.draftOrders", "send the orders of one task")
    return tuple(_draft(entry, place) for place, entry in enumerate(with_own_references(entries)))


def _draft(entry: Any, place: int) -> Resource:
    where = f"context.draftOrders.entry[{place}]"
    inner = entry.get("resource", entry) if isinstance(entry, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("resourceType"), str):
        _refuse("holds no FHIR resource", where, "each entry has a resource with its resourceType")
    return inner


def _selections(context: Resource) -> tuple[str, ...]:
    listed = context.get("selections")
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        _refuse("is not a list of texts", "context.selections", "name the newly selected orders")
    return tuple(listed)


def _content(value: Any) -> Any:
    """What came under a prefetch key, without the wrapping of the first CDS Hooks releases."""
    if not isinstance(value, dict) or "resourceType" in value or "resource" not in value:
        return value
    if value["resource"] == "Bundle":  # a slip in a PDDI-CDS file: {"resource": "Bundle", "entry": [...]}
        return {"resourceType": "Bundle", "entry": value.get("entry", [])}
    return value["resource"]


def _prefetch(fetched: Resource) -> dict[str, Resource | list[Any]]:
    found: dict[str, Resource | list[Any]] = {}
    for key, value in fetched.items():
        content = _content(value)
        if content is None or isinstance(content, str | int | float):
            continue  # the specification's own example answers one key with "123"; it is told as not read
        if isinstance(content, dict) and not isinstance(content.get("resourceType"), str):
            _refuse("holds no FHIR resource", f"prefetch.{key}"[:80], "send a resource, a Bundle, or null")
        found[key] = content
    return found


def _shows_repeats(document: Resource) -> bool:
    """Whether the client asked for cards again that it has already shown, as PDDI-CDS requests may."""
    extension = document.get("extension")
    options = extension.get(_PDDI) if isinstance(extension, dict) else None
    return isinstance(options, dict) and options.get("filter-out-repeated-alerts") is False
