"""The options of the span collector: defaults, and every mistake named at once."""

import pytest

from harness.core.errors import UsageError
from harness.core.labels import Role
from harness.effects.otlp.options import Options, grpc_address, listen_address, read_options


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


def test_grpc() -> None:
    options = read_options({"protocol": "grpc", "grpc_listen": {"stable": "[::1]:4317", "candidate": "0.0.0.0:0"}})
    assert options.protocol == "grpc"
    assert grpc_address(options, Role.STABLE) == ("::1", 4317)
    assert grpc_address(options, Role.CANDIDATE) == ("0.0.0.0", 0)
    assert grpc_address(options, Role.SECONDARY, "[fd00::1]") == ("fd00::1", 0)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"protocol": "http/json"}, "effects.otlp.protocol|Invalid enum value"),
        ({"grpc_listen": {"stable": "4317"}}, "stable: '4317' is not HOST:PORT"),
        ({"grpc_listen": {"nobody": "127.0.0.1:4317"}}, "nobody"),
        ({"grpc_listen": {"stable": "127.0.0.1:4317", "candidate": "127.0.0.1:4317"}}, "each role needs an address of its own"),
        ({"listen": "127.0.0.1:4317", "grpc_listen": {"candidate": "127.0.0.1:4317"}}, "another than listen"),
    ],
)
def test_mistakes_in_grpc(given: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        read_options(given)
