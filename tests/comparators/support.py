"""What the comparator tests share: small exchanges, and JSON documents with mutations for Hypothesis."""

import copy
import json
from typing import Any

import msgspec
from hypothesis import strategies as st

from comparators.api import BodyComparator, BodyView, RuleUse
from comparators.binary import COMPARATOR as BINARY
from comparators.exchange import compare_exchanges
from comparators.form import COMPARATOR as FORM
from comparators.json_body import COMPARATOR as JSON
from comparators.ndjson import COMPARATOR as NDJSON
from comparators.plan import EndpointPlan, build_plan
from comparators.text import COMPARATOR as TEXT
from harness.core.canon import EndpointRules, Rule, RuleBook
from harness.core.labels import MIRRORED_KIND, Aspect, Kind
from harness.core.values import Difference, Exchange, Headers, Request, Response, body_of

COMPARATORS: tuple[BodyComparator, ...] = (FORM, JSON, NDJSON, TEXT, BINARY)

KEYS = st.sampled_from(["a", "b", "c", "name", "id", "x.y", "it's", "4711", "ü"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 1.5, -0.0, 2.25])
    | st.sampled_from(["", "a", "b", "1", "12", "2024-01-01", "text of some length that is long enough"])
)
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two documents, the second mostly a mutation of the first."""
    left = draw(DOCUMENTS)
    if draw(st.integers(0, 9)) == 0:
        return left, draw(DOCUMENTS)
    right = copy.deepcopy(left)
    for _ in range(draw(st.integers(0, 4))):
        right = _mutated(draw, right)
    return left, right


def _mutated(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        value[key] = _mutated(draw, value[key])
        return value
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(value) - 1))
        value[index] = _mutated(draw, value[index])
        return value
    if isinstance(value, dict):
        return _mutated_object(draw, value)
    if isinstance(value, list):
        return _mutated_array(draw, value)
    return draw(DOCUMENTS)


def _mutated_object(draw: st.DrawFn, value: dict[str, Any]) -> dict[str, Any]:
    action = draw(st.sampled_from(["add", "remove", "turn"]))
    if action == "add":
        value[draw(KEYS)] = draw(DOCUMENTS)
    elif action == "remove" and value:
        del value[draw(st.sampled_from(sorted(value)))]
    else:
        value = {key: value[key] for key in reversed(value)}
    return value


def _mutated_array(draw: st.DrawFn, value: list[Any]) -> list[Any]:
    action = draw(st.sampled_from(["insert", "remove", "shuffle"]))
    if action == "insert":
        value.insert(draw(st.integers(0, len(value))), draw(DOCUMENTS))
    elif action == "remove" and value:
        del value[draw(st.integers(0, len(value) - 1))]
    else:
        value = draw(st.permutations(value))
    return value


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def use_of(*rules: Rule, aspect: Aspect = Aspect.BODY) -> RuleUse:
    """The rules of any endpoint."""
    return RuleUse(RuleBook(rules).for_endpoint("GET /").aspect(aspect))


def plan_of(*rules: Rule) -> EndpointPlan:
    return build_plan(rules, COMPARATORS).for_endpoint("GET /")


def no_rules() -> EndpointRules:
    return RuleBook().for_endpoint("GET /")


def json_differences(left: Any, right: Any, *rules: Rule, use: RuleUse | None = None) -> tuple[Difference, ...]:
    """Of two values (bytes are taken as they are)."""
    one, other = (BodyView(value if isinstance(value, bytes) else encoded(value), "application/json") for value in (left, right))
    return tuple(JSON.compare(one, other, use or use_of(*rules)))


def kinds(differences: Any) -> set[tuple[str, Kind]]:
    return {(d.path, d.kind) for d in differences}


def mirrored(differences: Any) -> set[tuple[Any, ...]]:
    """As they must look when the sides are swapped."""
    return {(d.aspect, d.path, MIRRORED_KIND.get(d.kind, d.kind), repr(d.right), repr(d.left)) for d in differences}


def plain(differences: Any) -> set[tuple[Any, ...]]:
    return {(d.aspect, d.path, d.kind, repr(d.left), repr(d.right)) for d in differences}


def exchange(body: bytes = b"", *headers: tuple[str, str], status: int = 200, method: str = "GET", host: str = "") -> Exchange:
    return Exchange(request=Request(method, "/", host=host), response=Response(status, headers, body_of(body)))


def typed(media_type: str, body: bytes, *headers: tuple[str, str], status: int = 200) -> Exchange:
    return exchange(body, ("Content-Type", media_type), *headers, status=status)


def compared(left: Exchange, right: Exchange, *rules: Rule) -> tuple[Difference, ...]:
    return compare_exchanges(left, right, plan_of(*rules))


def header_differences(left: Headers, right: Headers, *rules: Rule) -> set[tuple[str, Kind]]:
    """Of two answers that have only headers."""
    found = compared(exchange(b"", *left), exchange(b"", *right), *rules)
    assert all(d.aspect is Aspect.HEADERS for d in found)
    swapped = compared(exchange(b"", *right), exchange(b"", *left), *rules)
    assert plain(swapped) == mirrored(found)
    return kinds(found)


def with_response(one: Exchange, **changes: Any) -> Exchange:
    assert one.response is not None
    return msgspec.structs.replace(one, response=msgspec.structs.replace(one.response, **changes))
