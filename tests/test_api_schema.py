"""The OpenAPI document holds: schemathesis finds no request that it gets wrong, well formed or not."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from posologist.serve.access import RULES
from posologist.serve.hook_desk import hooks_in_development
from posologist.serve.security import Limits
from serving import DEMO, Served, a_server

_CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    negative_data_rejection,
]  # fmt: skip
_MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
_EXAMPLES = 8


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    hooks = hooks_in_development("http://127.0.0.1:8000")
    unlimited = Limits(refused_rate=1e6, refused_burst=10**6, rate=1e6, burst=10**6)
    return a_server(tmp_path_factory.mktemp("schema"), limits=unlimited, hooks=hooks)


@pytest.fixture(scope="module")
def known(served: Served) -> dict[str, str]:
    """What the addresses may name: a patient with genes, an answer."""
    patient = served.add_patient((DEMO / "patient.json").read_bytes())
    genes = served.ask(
        "POST", f"/patients/{patient}/genome", content=(DEMO / "genome.vcf").read_bytes(),
        headers={"Content-Type": "text/plain"},
    )  # fmt: skip
    assert genes.status_code == 201
    answer = served.ask("POST", f"/patients/{patient}/screen", json={"orders": ["warfarin 5 mg po q24h"]})
    number = answer.headers["answer-id"]
    monitored = {"action": "override", "reason": "will-monitor", "planned": [{"what": "INR", "due": "2026-11-28"}]}
    decided = served.ask("POST", f"/answers/{number}/decisions", json=monitored)
    return {"patient_id": patient, "answer_id": number, "follow_up_id": decided.json()["follow_ups"][0]["id"]}


_HOOKS = [
    ("POST", f"/cds-services/posologist-{hook}{rest}")
    for hook in ("patient-view", "order-select", "order-sign")
    for rest in ("", "/feedback")
]


@pytest.mark.parametrize("rule", [*sorted(RULES), *_HOOKS], ids=" ".join)
def test_every_operation_answers_as_its_document_says(
    served: Served, known: dict[str, str], rule: tuple[str, str]
) -> None:
    method, path = rule
    operation = schemathesis.openapi.from_asgi("/api/v1/openapi.json", served.app)[path][method]
    roles = RULES.get(rule, frozenset())
    role = "prescriber" if not roles or "prescriber" in roles else min(roles)
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in _MODES))

    @settings(
        max_examples=_EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases, names_known=st.booleans())
    def check(case: schemathesis.Case, names_known: bool) -> None:
        positive = case.meta is not None and case.meta.generation.mode.is_positive
        if names_known and positive:
            case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        case.call_and_validate(
            headers={"Authorization": f"Bearer {served.tokens[role]}"},
            checks=_CHECKS if not positive else _CHECKS[:-1],
        )

    check()
