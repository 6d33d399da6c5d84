"""The review API against its own document, by tools that the project did not write."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from servers import Seawall, ask, call, chat, seawall

AS_DOCUMENTED = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
# What a reviewer has to be able to let pass must be on record as it was written.
SETTINGS = '[review]\ncontent = "full"\n'


@pytest.fixture(scope="session")
def reviewed(aimock, tmp_path_factory):
    """A Seawall with flagged exchanges on record, and a token that opens all."""
    folder = tmp_path_factory.mktemp("reviewed")
    made = seawall("user", "token", "tests", "--role", "admin", cwd=folder)
    assert made.returncode == 0, made.stderr
    token = next(word for word in made.stdout.split() if word.startswith("sk-seawall-"))
    _, section, lines = made.stdout.partition("[[admin.tokens]]")
    with Seawall(folder, aimock.url, "detectors.toml", SETTINGS + section + lines) as proxy:
        proxy.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        secrets = ["sk-proj-" + f"{number}aB3dE5gH7jK9" * 4 for number in range(3)]
        answers = [chat(proxy.url, ask(f"Does this key work: {secret}?")) for secret in secrets]
        proxy.flagged = [answer.headers["seawall-request-id"] for answer in answers]
        yield proxy


@pytest.fixture(scope="session")
def document(reviewed):
    return json.loads(call(reviewed.admin, "GET", "/api/v1/openapi.json", **reviewed.headers).body)


@pytest.fixture(scope="session")
def schema(reviewed, document):
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=reviewed.admin)
    return schema


def test_the_document_is_openapi(document):
    assert document["openapi"] == "3.1.0"
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_call_does_what_is_documented(reviewed, schema):
    operations = {operation.label: operation for operation in (result.ok() for result in schema.get_all_operations())}
    first, second, third = reviewed.flagged
    a_case = {"path_parameters": {"id": first}}
    wish = {"case": first, "expires": str(datetime.now(UTC).date() + timedelta(days=1))}

    def done(label: str, **given):
        response = (case := operations.pop(label).Case(headers=reviewed.headers, **given)).call()
        assert response.status_code in (200, 201, 204), (label, response.text)
        case.validate_response(response, checks=AS_DOCUMENTED)
        return response

    done("POST /api/v1/cases/{id}/decision", **a_case, body={"verdict": "wrong", "note": "mine"})
    (made,) = done("POST /api/v1/exceptions", body=wish).json()["items"]
    for path in ("cases", "exceptions", "stats", "audit", "policy", "me", "openapi.json", "cases/export"):
        done(f"GET /api/v1/{path}")
    done("GET /api/v1/cases/{id}", **a_case)
    done("DELETE /api/v1/exceptions/{id}", path_parameters={"id": made["id"]})
    done("DELETE /api/v1/cases/{id}/decision", **a_case)
    done("POST /api/v1/cases/decisions", body={"ids": [first, second], "verdict": "right"})
    done("POST /api/v1/purge", body={"ids": [third]})
    done("POST /api/v1/policy/reload")
    assert not operations, "a call that this test does not know"


def test_no_call_breaks_it(reviewed, schema):
    """Calls that are made up, right and wrong: each answer is one that the document names, and none is a fault of the server."""
    promised = [not_a_server_error, *AS_DOCUMENTED]

    def holds(case):
        case.call_and_validate(headers=reviewed.headers, checks=promised)

    for operation in (result.ok() for result in schema.get_all_operations()):
        made_up = given(case=operation.as_strategy())
        settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))(made_up(holds))()
