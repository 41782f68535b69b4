"""Every place of a message is visited once, and only what changed is written anew."""

from collections.abc import Callable

import pytest

from harness.core.coding import DECODERS
from harness.core.http import header
from harness.core.places import Place, is_token_header, visit_request, visit_response, visit_target
from harness.core.values import Headers, Request, Response, body_of


class Recorder:
    """Notes what it is shown; changes values by a function."""

    def __init__(self, change: Callable[[str], str] = lambda value: value) -> None:
        self.seen: list[tuple[str, Place]] = []
        self._change = change

    def visit(self, value: str, place: Place) -> str:
        self.seen.append((value, place))
        return self._change(value)

    def spots(self, text: str, /) -> list[int] | None:
        return None if text else []


def test_places_of_a_request() -> None:
    body = body_of(b'{"id": 1, "ref": "r", "n": 2, "items": [{"id": 3}], "u": "/a/b", "": ""}')
    headers: Headers = (
        ("Cookie", 'a=1; b="2"'),
        ("Authorization", "Bearer t"),
        ("Host", "h"),
        ("Referer", "http://h/x"),
        ("Content-Type", "application/json"),
    )
    recorder = Recorder()
    request = Request("POST", "/orders/7?id=8&q=a%20b&e=", headers, body)
    assert visit_request(request, recorder, DECODERS) is request
    seen = dict(recorder.seen)
    assert seen["7"].entity == ("order",)
    assert seen["8"].entity == ("order",)
    assert seen["a b"].entity is None
    assert {"1", "2", "t", "r", "3"} <= set(seen)
    assert seen["3"].entity == ("item",)
    assert seen["http://h/x"].running
    assert seen["/a/b"].running
    assert "h" not in seen
    assert "" not in seen


def test_changed_places_are_encoded_for_where_they_stand() -> None:
    change = Recorder(lambda value: value.replace("old", 'n/w "é'))
    request = Request("POST", "/x/old?a=old", (("Content-Type", "application/json"), ("Content-Length", "9")), body_of(b'["old", 1]'))
    new = visit_request(request, change, DECODERS)
    assert new.target == "/x/n%2Fw%20%22%C3%A9?a=n%2Fw+%22%C3%A9"
    assert new.body.data.decode() == '["n/w \\"é", 1]'
    assert header(new.headers, "content-length") == str(len(new.body.data))


def test_places_of_an_answer() -> None:
    recorder = Recorder(str.upper)
    headers: Headers = (
        ("Set-Cookie", "sid=abc; Path=/p"),
        ("Set-Cookie", "empty=; Path=/"),
        ("Location", "http://h:1/a?b=c#d"),
        ("Link", "</l>"),
        ("X-Csrf-Token", "tok"),
        ("ETag", '"e"'),
        ("Content-Type", "text/plain"),
    )
    new = visit_response(Response(200, headers, body_of(b"text")), (), recorder, DECODERS)
    assert [value for _, value in new.headers] == [
        "sid=ABC; Path=/p",
        "empty=; Path=/",
        "http://h:1/A?b=C#d",
        "</L>",
        "TOK",
        '"e"',
        "text/plain",
    ]
    assert new.body.data == b"TEXT"


def test_only_digits_replace_a_number() -> None:
    request = Request("POST", "/orders", (("Content-Type", "application/json"),), body_of(b'{"id": 12}'))
    assert visit_request(request, Recorder(lambda value: value.replace("12", "x")), DECODERS).body.data == b'{"id": 12}'
    assert visit_request(request, Recorder(lambda value: value.replace("12", "13")), DECODERS).body.data == b'{"id": 13}'


def test_spots_choose_spans() -> None:
    class Spotty(Recorder):
        def spots(self, text: str, /) -> list[int] | None:
            return [text.index("b2"), text.index("b2") + 1, len(text) - 1]

    recorder = Spotty()
    visit_request(Request("POST", "", (("Content-Type", "application/json"),), body_of(b'["a1", "b2", "c3"]')), recorder, DECODERS)
    assert [value for value, place in recorder.seen if value in {"a1", "b2", "c3"}] == ["b2"]


@pytest.mark.parametrize(
    ("name", "expected"), [("X-CSRF-Token", True), ("Authorization", True), ("x-api-key", True), ("ETag", False), ("Date", False)]
)
def test_token_headers(name: str, expected: bool) -> None:
    assert is_token_header(name) is expected


def test_targets_without_a_path() -> None:
    for target in ("", "*", "?a=1", "//h", "http://h", "/%zz?%zz=%zz&&"):
        assert visit_target(target, Recorder()) == target
