"""What the hooks accept, as JSON Schema for the OpenAPI document: as loose as `requests.py` reads, and no looser."""

from __future__ import annotations

from typing import Any

from posologist.serve.hooks.requests import MOST_DRAFTS, RETIRED, HookName

Schema = dict[str, Any]
_WORD: Schema = {"type": "string", "pattern": r"\S"}
_TEXT: Schema = {"type": ["string", "null"]}
_RESOURCE: Schema = {
    "type": "object",
    "required": ["resourceType"],
    "properties": {"resourceType": {"type": "string"}},
}
_DRAFT: Schema = {
    "anyOf": [
        {"type": "object", "required": ["resource"], "properties": {"resource": _RESOURCE}},
        {**_RESOURCE, "not": {"required": ["resource"]}},
    ]
}
_DRAFTS: Schema = {"type": "array", "maxItems": MOST_DRAFTS, "items": _DRAFT}
_ORDERS: Schema = {"anyOf": [{"type": "object", "properties": {"entry": _DRAFTS}}, _DRAFTS]}
_FETCHED: Schema = {"anyOf": [_RESOURCE, {"type": ["null", "string", "number", "boolean", "array"]}]}
_WRAPPED: Schema = {
    "type": "object",
    "required": ["resource"],
    "properties": {"resource": _FETCHED},
    "not": {"required": ["resourceType"]},
}
_PREFETCH: Schema = {"type": ["object", "null"], "additionalProperties": {"anyOf": [_FETCHED, _WRAPPED]}}


def request_schema(hook: HookName) -> Schema:
    """Schema of a request to the service of one hook."""
    context: Schema = {
        "type": "object",
        "required": ["patientId"],
        "properties": {
            "patientId": _WORD,
            "userId": _TEXT,
            "encounterId": _TEXT,
        },
    }
    if hook != "patient-view":
        context["required"].append("draftOrders")
        context["properties"]["draftOrders"] = _ORDERS
    if hook == "order-select":
        context["required"].append("selections")
        context["properties"]["selections"] = {"type": "array", "items": {"type": "string"}}
    named = [hook, *(old for old, new in RETIRED.items() if new == hook)]
    return {
        "type": "object",
        "required": ["hook", "hookInstance", "context"],
        "properties": {
            "hook": {"enum": named},
            "hookInstance": _WORD,
            "context": context,
            "prefetch": _PREFETCH,
            "fhirServer": _TEXT,
            "fhirAuthorization": {"type": ["object", "null"], "properties": {"access_token": _TEXT}},
            "extension": {},
        },
    }


_ID: Schema = {"type": "string", "format": "uuid"}
FEEDBACK_SCHEMA: Schema = {
    "type": "object",
    "required": ["feedback"],
    "properties": {
        "feedback": {
            "type": "array",
            "minItems": 1,
            "maxItems": 100,
            "items": {
                "type": "object",
                "required": ["card", "outcome", "outcomeTimestamp"],
                "properties": {
                    "card": _ID,
                    "outcome": {"enum": ["accepted", "overridden"]},
                    "outcomeTimestamp": {"type": "string", "format": "date-time"},
                    "acceptedSuggestions": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 100,
                        "items": {"type": "object", "required": ["id"], "properties": {"id": _ID}},
                    },
                    "overrideReason": {
                        "type": ["object", "null"],
                        "properties": {"reason": {"type": ["object", "null"]}, "userComment": _TEXT},
                    },
                },
                "if": {"properties": {"outcome": {"const": "accepted"}}},
                "then": {"required": ["acceptedSuggestions"]},
            },
        }
    },
}
CARDS_SCHEMA: Schema = {
    "type": "object",
    "required": ["cards"],
    "properties": {
        "cards": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["uuid", "summary", "indicator", "source"],
                "properties": {
                    "uuid": _ID,
                    "summary": {"type": "string", "maxLength": 139},
                    "indicator": {"enum": ["info", "warning", "critical"]},
                    "source": {"type": "object", "required": ["label"]},
                },
            },
        }
    },
}
