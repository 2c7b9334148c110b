"""Who may call which route: one table. A route that is not in it cannot be served (`create_app` refuses to start)."""

from __future__ import annotations

import re

from posologist.serve.rows import Role

API = "/api/v1"
PUBLIC: frozenset[Role] = frozenset()
"""Answered without signing in."""

_EVERYONE: frozenset[Role] = frozenset({"prescriber", "pharmacist", "informaticist", "auditor"})
_CARE: frozenset[Role] = frozenset({"prescriber", "pharmacist"})
_DATA: frozenset[Role] = frozenset({"prescriber", "pharmacist", "informaticist"})
_PRESCRIBER: frozenset[Role] = frozenset({"prescriber"})
_AUDITOR: frozenset[Role] = frozenset({"auditor"})
_WATCHES: frozenset[Role] = frozenset({"informaticist", "system"})

RULES: dict[tuple[str, str], frozenset[Role]] = {
    ("POST", f"{API}/sessions"): PUBLIC,
    ("GET", f"{API}/sessions/current"): _EVERYONE,
    ("DELETE", f"{API}/sessions/current"): _EVERYONE,
    ("POST", f"{API}/tokens"): _EVERYONE,
    ("DELETE", f"{API}/tokens/{{token_id}}"): _EVERYONE,
    ("POST", f"{API}/patients"): _DATA,
    ("GET", f"{API}/patients"): _DATA,
    ("GET", f"{API}/patients/{{patient_id}}"): _DATA,
    ("GET", f"{API}/patients/{{patient_id}}/consents"): _CARE,
    ("PUT", f"{API}/patients/{{patient_id}}/consents/{{purpose}}"): _CARE,
    ("POST", f"{API}/patients/{{patient_id}}/genome"): _DATA,
    ("GET", f"{API}/patients/{{patient_id}}/phenotype"): _CARE,
    ("POST", f"{API}/patients/{{patient_id}}/levels"): _DATA,
    ("POST", f"{API}/patients/{{patient_id}}/administrations"): _DATA,
    ("POST", f"{API}/patients/{{patient_id}}/observations"): _DATA,
    ("GET", f"{API}/patients/{{patient_id}}/measured"): _CARE,
    ("POST", f"{API}/patients/{{patient_id}}/recommend"): _CARE,
    ("POST", f"{API}/patients/{{patient_id}}/screen"): _CARE,
    ("POST", f"{API}/patients/{{patient_id}}/dose"): _CARE,
    ("GET", f"{API}/patients/{{patient_id}}/answers"): _CARE,
    ("GET", f"{API}/answers/{{answer_id}}"): _CARE,
    ("POST", f"{API}/answers/{{answer_id}}/replay"): _CARE,
    ("POST", f"{API}/answers/{{answer_id}}/decisions"): _PRESCRIBER,
    ("GET", f"{API}/patients/{{patient_id}}/decisions"): _CARE,
    ("GET", f"{API}/patients/{{patient_id}}/follow-up"): _CARE,
    ("GET", f"{API}/patients/{{patient_id}}/follow-ups"): _CARE,
    ("GET", f"{API}/follow-ups"): _CARE,
    ("POST", f"{API}/follow-ups/{{follow_up_id}}/outcome"): _CARE,
    ("GET", f"{API}/audit"): _AUDITOR,
    ("GET", f"{API}/audit/verification"): _AUDITOR,
    ("GET", f"{API}/health/live"): PUBLIC,
    ("GET", f"{API}/health/ready"): PUBLIC,
    ("GET", f"{API}/metrics"): _WATCHES,
}

_PLACES = {path: re.compile(re.sub(r"{\w+}", "[^/]+", path)) for _, path in RULES}


def methods_at(path: str) -> tuple[str, ...]:
    """The methods that an address of the API takes; none where it is not the API's."""
    return tuple(sorted({method for method, template in RULES if _PLACES[template].fullmatch(path)}))
