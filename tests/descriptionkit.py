"""Requests made from an OpenAPI description: no answer is a defect, or other than described."""

from collections.abc import Callable
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


def check(
    client: httpx.Client,
    path: str,
    mode: GenerationMode,
    take: Callable[[httpx.Client, schemathesis.Case[Any]], None],
) -> int:
    """Call every operation with bodies, parameters and headers derived from the description.

    :param path: of the description.
    :param take: puts names of what is there into a request's path.
    :returns: how many operations there are.
    """
    schema = schemathesis.openapi.from_url(f"{client.base_url}{path}")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    # What is deleted can't be read any more.
    for operation in sorted(operations, key=lambda found: found.method == "delete"):

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode), st.booleans())
        def conforms(case: schemathesis.Case[Any], there: bool) -> None:
            if there:
                take(client, case)
            answer = case.call(headers=dict(client.headers))
            assert answer.status_code != 500, answer.text
            case.validate_response(answer, checks=CHECKS)

        conforms()
    return len(operations)
