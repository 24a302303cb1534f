"""The API's description is valid OpenAPI 3.1, and its pages need nothing from elsewhere."""

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_framework.test import APIClient

VERBS = {"collection": {"get", "post", "patch", "delete"}, "row": {"get", "put", "patch", "delete"}}


@pytest.fixture(scope="module")
def schema():
    return APIClient().get("/schema/", headers={"accept": "application/json"}).json()


def test_it_is_valid(schema):
    assert schema["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(schema).validate()


def test_it_is_made_without_a_warning(api, capsys):
    api.get("/schema/")
    assert "Warning" not in capsys.readouterr().err


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
def test_it_describes_every_method(schema, table):
    assert set(schema["paths"][f"/{table}/"]) == VERBS["collection"]
    assert set(schema["paths"][f"/{table}/{{key}}/"]) == VERBS["row"]


def test_every_operation_has_its_own_name(schema):
    ids = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
def test_every_answer_may_be_a_problem(schema, table):
    for path in (f"/{table}/", f"/{table}/{{key}}/"):
        for operation in schema["paths"][path].values():
            reference = operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"]["$ref"]
            assert reference == "#/components/schemas/Problem"


@pytest.mark.parametrize(("table", "names"), [("repo", {"id", "repo_name"}), ("event", {"id"}), ("job", {"id"}), ("log", {"id"})])
@pytest.mark.parametrize("method", ["patch", "delete"])
def test_writes_to_a_collection_name_their_row(schema, table, names, method):
    operation = schema["paths"][f"/{table}/"][method]
    assert {parameter["name"] for parameter in operation["parameters"]} == names
    assert set(operation["requestBody"]["content"]) == {
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    }


def test_wire_names_and_limits_are_described(schema):
    described = schema["components"]["schemas"]["Repository"]["properties"]
    assert described["repo_name"]["maxLength"] == 150
    assert described["git_token"]["writeOnly"] is True
    assert "20211125 151700" in described["Time"]["examples"]
    assert described["has_credentials"]["readOnly"] is True


def test_filters_are_described(schema):
    parameters = {parameter["name"] for parameter in schema["paths"]["/event/"]["get"]["parameters"]}
    assert {"page", "page_size", "ordering", "search", "status", "Image_tag", "ctime_utc_after", "managed"} <= parameters


def test_it_is_served_as_yaml_by_default(api):
    assert api.get("/schema/").content.startswith(b"openapi: 3.1.0\n")


def test_the_docs_load_nothing_from_elsewhere(api):
    page = api.get("/docs/").content.decode()
    assert re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(address.startswith("/") and not address.startswith("//") for address in re.findall(r'(?:src|href)="([^"]*)"', page))


def test_the_docs_have_no_inline_script(api):
    page = api.get("/docs/").content.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []


def test_the_assets_of_the_docs_are_there(api, client):
    page = api.get("/docs/").content.decode()
    for address in re.findall(r'(?:src|href)="(/static/[^"]*)"', page):
        assert client.get(address).status_code == 200, address


def test_inline_styles_are_allowed_in_the_docs_alone(api):
    assert "style-src 'self' 'unsafe-inline'" in api.get("/docs/")["Content-Security-Policy"]
    assert "unsafe-inline" not in api.get("/repo/")["Content-Security-Policy"]
    assert "script-src" not in api.get("/docs/")["Content-Security-Policy"]
