"""Varied requests: the same for a seed, like the original but for what was changed."""

import hashlib
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from harness.core.http import header
from harness.core.limits import VARIANTS_MAX
from harness.core.values import Body, Request, body_of
from scenarios.variation import PLACES_MAX, vary

JSON = ("Content-Type", "application/json")
ORDER = Request(
    "POST",
    "/orders?dry=1&note=a%20b&flag",
    (JSON, ("Content-Length", "999")),
    body_of(b'{"lines":[{"sku":40000,"quantity":2}],"currency":"EUR","gift":true,"note":null,"weight":1.5}'),
    "shop.example",
)


@pytest.mark.parametrize("seed", range(5))
def test_variants_are_different_requests_of_the_same_endpoint(seed: int) -> None:
    variants = vary(ORDER, seed, 40)
    assert len(variants) == len(set(variants)) == 40
    assert ORDER not in variants
    for variant in variants:
        assert (variant.method, variant.host) == (ORDER.method, ORDER.host)
        assert variant.target.partition("?")[0] == "/orders"
        assert variant.target.isascii()
        assert " " not in variant.target
        orjson.loads(variant.body.data)
        if variant.body != ORDER.body:
            assert header(variant.headers, "content-length") == str(variant.body.size)
        else:
            assert variant.headers == ORDER.headers


def test_a_seed_gives_the_same_requests() -> None:
    assert vary(ORDER, 1, 20) == vary(ORDER, 1, 20)
    assert vary(ORDER, 1, 20) != vary(ORDER, 2, 20)


def test_other_loaded_modules_change_nothing(tmp_path: Path) -> None:
    code = """
import hashlib, sys
{more}
from tests.scenarios.test_variation import ORDER
from scenarios.variation import vary
print(hashlib.sha256(repr(vary(ORDER, 7, 30)).encode()).hexdigest())
"""
    root = str(Path(__file__).parents[2])
    digests = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {root!r}); {code.format(more=more)}"],
            capture_output=True,
            check=True,
            cwd=tmp_path,
            text=True,
        ).stdout.strip()
        for more in ("", "import scenarios.demo.traffic, harness.core.shapes")
    }
    assert digests == {hashlib.sha256(repr(vary(ORDER, 7, 30)).encode()).hexdigest()}


def test_boundaries_are_reached_at_every_place() -> None:
    variants = vary(ORDER, 1, 400)
    bodies = [orjson.loads(variant.body.data) for variant in variants]
    quantities = [line.get("quantity", "gone") for body in bodies for line in (body.get("lines") or []) if isinstance(line, dict)]
    assert {0, -1, 2**31, None, "gone"} <= {q if isinstance(q, int | str | None) else "?" for q in quantities}
    assert {False, None} <= {body.get("gift") for body in bodies if not isinstance(body.get("gift"), list)}
    assert any("lines" not in body for body in bodies)
    assert any(body.get("lines") == [] for body in bodies)
    assert any("dry=" not in variant.target for variant in variants)
    assert any("dry=2" in variant.target for variant in variants)
    assert any("note=&" in variant.target for variant in variants)


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "/plain"),
        Request("POST", "/x", (JSON,), body_of(b"{broken")),
        Request("POST", "/x", (JSON,), body_of(b"7")),
        Request("POST", "/x", (JSON,), Body(b'{"a":1}', size=100)),
        Request("POST", "/x", (("Content-Type", "text/plain"),), body_of(b'{"a":1}')),
    ],
)
def test_nothing_to_vary(request_: Request) -> None:
    assert vary(request_, 1, 5) == ()


def test_few_places_give_few_variants() -> None:
    variants = vary(Request("GET", "/x?a=b"), 1, 200)
    assert 10 < len(variants) < 30
    assert Request("GET", "/x") in variants


def test_bounds() -> None:
    assert vary(ORDER, 1, 0) == ()
    with pytest.raises(ValueError, match="0 to"):
        vary(ORDER, 1, VARIANTS_MAX + 1)
    many = Request("GET", "/x?" + "&".join(f"p{n}=1" for n in range(3 * PLACES_MAX)))
    assert all(f"p{PLACES_MAX}=1" in variant.target for variant in vary(many, 1, 30))
    deep = orjson.loads(b'{"a":' * 60 + b"1" + b"}" * 60)
    wide = {"deep": deep, **{f"m{n}": [n] for n in range(100)}}
    variants = vary(Request("POST", "/x", (("Content-Type", "application/problem+json"),), body_of(orjson.dumps(wide))), 1, 30)
    assert len(variants) == 30
