"""The options of the span collector: defaults, and every mistake named at once."""

import pytest

from harness.core.errors import UsageError
from harness.effects.otlp.options import Options, listen_address, read_options


def test_defaults() -> None:
    assert read_options({}) == Options()
    assert listen_address(Options()) == ("127.0.0.1", 0)
    assert listen_address(Options(), "10.0.0.7") == ("10.0.0.7", 0)


def test_everything_said() -> None:
    options = read_options({"listen": "[::1]:4318", "wait_ms": 10, "quiet_ms": 1.5, "kinds": ["client"], "statements": False})
    assert options == Options(listen="[::1]:4318", wait_ms=10, quiet_ms=1.5, kinds=("client",), statements=False)
    assert listen_address(options) == ("::1", 4318)


@pytest.mark.parametrize("listen", ["4318", "127.0.0.1", "127.0.0.1:99999", "::1:4318", "127.0.0.1:x", ":80"])
def test_no_address(listen: str) -> None:
    with pytest.raises(UsageError, match=r"effects\.otlp\.listen: .* is not HOST:PORT"):
        read_options({"listen": listen})


def test_all_mistakes_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        read_options({"wait": 1, "wait_ms": -1, "quiet_ms": "soon", "kinds": ["internal"], "statements": 1, "listen": "x"})
    problems = caught.value.what.split("; ")
    assert sorted(problem.partition(":")[0] for problem in problems) == [
        "effects.otlp.kinds",
        "effects.otlp.listen",
        "effects.otlp.quiet_ms",
        "effects.otlp.statements",
        "effects.otlp.wait",
        "effects.otlp.wait_ms",
    ]
    with pytest.raises(UsageError, match="no kind is named"):
        read_options({"kinds": []})
