"""The review API against its own document, by tools that the project did not write."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from servers import ask, call, chat, seawall

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    ignored_auth,
]


@pytest.fixture(scope="session")
def reviewed(aimock, tmp_path_factory):
    """A Seawall with flagged exchanges on record, and a token that opens all."""
    from servers import Seawall

    folder = tmp_path_factory.mktemp("reviewed")
    made = seawall("user", "token", "tests", "--role", "admin", cwd=folder)
    assert made.returncode == 0, made.stderr
    token = next(word for word in made.stdout.split() if word.startswith("sk-seawall-"))
    lines = made.stdout.partition("[[admin.tokens]]")
    with Seawall(folder, aimock.url, "detectors.toml", "".join(lines[1:])) as proxy:
        proxy.token = {"authorization": f"Bearer {token}"}
        proxy.flagged = []
        for number in range(3):
            secret = "sk-proj-" + f"{number}aB3dE5gH7jK9" * 4
            answer = chat(proxy.url, ask(f"Does this key work: {secret}?"))
            proxy.flagged.append(answer.headers["seawall-request-id"])
        yield proxy


@pytest.fixture
def document(reviewed):
    return json.loads(call(reviewed.admin, "GET", "/api/v1/openapi.json", **reviewed.token).body)


def test_the_document_is_openapi(document):
    assert document["openapi"] == "3.1.0"
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_what_is_documented_is_told(reviewed, document):
    """Each call of the document with what it is meant to take: what comes back is as the document says."""
    api = schemathesis.openapi.from_dict(document, config=None)
    api.config.update(base_url=reviewed.admin)
    (first, second, third) = reviewed.flagged
    taken = {
        ("GET", "/api/v1/cases/{id}"): {"path_parameters": {"id": first}},
        ("POST", "/api/v1/cases/{id}/decision"): {"path_parameters": {"id": first}, "body": {"verdict": "wrong", "note": "mine"}},
        ("DELETE", "/api/v1/cases/{id}/decision"): {"path_parameters": {"id": first}},
        ("POST", "/api/v1/cases/decisions"): {"body": {"ids": [first, second], "verdict": "right"}},
        ("POST", "/api/v1/exceptions"): None,
        ("DELETE", "/api/v1/exceptions/{id}"): None,
        ("POST", "/api/v1/purge"): {"body": {"ids": [third]}},
    }
    done = set()
    for operation in sorted((result.ok() for result in api.get_all_operations()), key=lambda own: order(own, taken)):
        given = taken.get((operation.method.upper(), operation.path), {})
        if given is None:
            continue
        case = operation.Case(headers=dict(reviewed.token), **given)
        response = case.call()
        assert response.status_code in (200, 201, 204), (operation.label, response.text)
        case.validate_response(response, checks=[status_code_conformance, content_type_conformance, response_schema_conformance])
        done.add(operation.label)
    assert len(done) + 2 == sum(len(path) for path in document["paths"].values())


def order(operation, taken):
    known = list(taken)
    own = (operation.method.upper(), operation.path)
    return known.index(own) if own in known else -1


api = schemathesis.pytest.from_fixture("schema")


@pytest.fixture
def schema(reviewed, document):
    loaded = schemathesis.openapi.from_dict(document)
    loaded.config.update(base_url=reviewed.admin)
    return loaded


@api.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_call_breaks_it(case, reviewed):
    """Calls that are made up, right and wrong: every answer is one that the document names, and none comes without a token."""
    case.call_and_validate(headers=reviewed.token, checks=CHECKS)
