"""Operation names by themselves; how they stand in an endpoint is tested there."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import limits
from harness.core.operations import operation_of
from harness.core.values import Request, body_of


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='{}()"#$@:\n querymutationfragment F', max_size=80))
def test_any_document_has_a_bounded_name(query: str) -> None:
    name = operation_of(Request("POST", "/graphql", body=body_of(json.dumps({"query": query}).encode())))
    assert len(name) <= limits.OPERATION_CHARS_MAX
    assert " " not in name


@pytest.mark.parametrize("piece", ["fragment F on A { b } ", "{ a ", "# query X\n", '"', '"""', "query ", "}"])
def test_long_documents_are_named_in_time(piece: str) -> None:
    query = "{ a } " + piece * (400_000 // len(piece))
    start = time.process_time()
    assert operation_of(Request("POST", "/graphql", body=body_of(json.dumps({"query": query}).encode()))).startswith("query-")
    assert time.process_time() - start < 5


def test_a_fragment_without_end() -> None:
    query = "fragment F on A { b } " * 6000
    assert operation_of(Request("POST", "/", body=body_of(json.dumps({"query": query}).encode()))).startswith("query-")
