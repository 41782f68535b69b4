"""Nodes against types: what is accepted as what, and how a refusal reads. Through the real keys of the schema."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.settings.check import Checker, Invalid
from harness.settings.keys import all_keys
from harness.settings.problems import Problem
from harness.settings.tree import MappingNode, Scalar, read_yaml


def typed(key: str, yaml_text: str) -> tuple[object, list[str]]:
    """A key's value as YAML."""
    problems: list[Problem] = []
    node = read_yaml(f"k: {yaml_text}", "f", problems)
    assert isinstance(node, MappingNode)
    found = all_keys()[tuple(key.split("."))]
    value = Checker("f", problems).value(node.entries[0].node, found.type, key, found.facts)
    return value, [problem.text() for problem in problems]


def bare(key: str, text: str) -> tuple[object, list[str]]:
    """A key's value as the environment has it."""
    problems: list[Problem] = []
    found = all_keys()[tuple(key.split("."))]
    value = Checker("E", problems).value(Scalar(text, text, typed=False), found.type, key, found.facts)
    return value, [problem.text() for problem in problems]


ACCEPTED_YAML: list[tuple[str, str, object]] = [
    ("replay.passes", "auto", "auto"),
    ("replay.passes", "3", 3),
    ("replay.speed", "max", "max"),
    ("replay.speed", "2", 2.0),
    ("replay.speed", "2x", 2.0),
    ("replay.skip_broken", "true", True),
    ("replay.timeout_s", "5", 5.0),
    ("replay.timeout_s", "1m", 60.0),
    ("replay.seed", "null", None),
    ("replay.seed", "7", 7),
    ("proxy.admin", '""', None),
    ("proxy.duration_s", "~", None),
    ("store.keep", "all", "all"),
    ("build", "1.10", "1.10"),
    ("build", "20241105", "20241105"),
    ("build", "2024-11-05", "2024-11-05"),
    ("provenance", "{pr: 12, commit: 0x1f}", {"pr": "12", "commit": "0x1f"}),
    ("replay.hosts", "[A.example, b:80]", ["a.example", "b:80"]),
    ("rules", "[{action: ignore, path: $.a}]", [{"action": "ignore", "path": "$.a"}]),
]

ACCEPTED_BARE: list[tuple[str, str, object]] = [
    ("replay.passes", "3", 3),
    ("replay.passes", "auto", "auto"),
    ("replay.speed", " max ", "max"),
    ("replay.skip_broken", "YES", True),
    ("replay.skip_broken", "0", False),
    ("replay.timeout_s", "1.5", 1.5),
    ("replay.seed", "", None),
    ("proxy.breaker_errors", "1", 1.0),
    ("proxy.breaker_errors", " 0.25 ", 0.25),
    ("proxy.breaker_errors", "", None),
    ("proxy.admin", " ", None),
    ("replay.hosts", "a, b ,", ["a", "b"]),
    ("replay.hosts", "[a, b]", ["a", "b"]),
    ("replay.hosts", "", []),
    ("provenance", "commit=ab=c, pr=12", {"commit": "ab=c", "pr": "12"}),
    ("provenance", "{commit: abc}", {"commit": "abc"}),
    ("rules", "[{action: ignore}]", [{"action": "ignore"}]),
]

REFUSED_YAML: list[tuple[str, str, str]] = [
    ("replay.passes", "0", "f:1: replay.passes: 0 is not allowed; allowed: auto, or a whole number from 1 to 20"),
    (
        "replay.passes",
        "aut",
        'f:1: replay.passes: "aut" is not allowed; allowed: auto, or a whole number from 1 to 20; did you mean "auto"?',
    ),
    ("replay.concurrency", '"8"', 'f:1: replay.concurrency: "8" is not a whole number; allowed: a whole number from 1 to 256'),
    ("replay.concurrency", "true", "f:1: replay.concurrency: true is not a whole number; allowed: a whole number from 1 to 256"),
    ("replay.concurrency", "0", "f:1: replay.concurrency: 0 is too small; allowed: a whole number from 1 to 256"),
    ("replay.concurrency", "257", "f:1: replay.concurrency: 257 is too large; allowed: a whole number from 1 to 256"),
    (
        "replay.concurrency",
        "",
        "f:1: replay.concurrency: nothing is no value; leave the key out for its default; allowed: a whole number from 1 to 256",
    ),
    ("replay.concurrency", "[1]", "f:1: replay.concurrency: one value is expected, not a list; allowed: a whole number from 1 to 256"),
    (
        "replay.seed",
        "{a: 1}",
        "f:1: replay.seed: one value is expected, not keys and values; allowed: a whole number from 0 to 9223372036854775807",
    ),
    ("replay.seed", "-1", "f:1: replay.seed: -1 is too small; allowed: a whole number from 0 to 9223372036854775807"),
    ("replay.skip_broken", "maybe", 'f:1: replay.skip_broken: "maybe" is not true or false'),
    (
        "replay.timeout_s",
        ".nan",
        "f:1: replay.timeout_s: .nan is not a number; allowed: seconds, or text such as 90s, 10m or 1h30m, above 0 up to 3600",
    ),
    ("replay.timeout_s", "1" + "0" * 400, "is not a number"),
    ("replay.timeout_s", "10x", 'f:1: replay.timeout_s: "10x" is not a duration such as 90s, 10m or 1h30m'),
    ("replay.hosts", "a", "f:1: replay.hosts: a list is expected, not one value; allowed: a list, each a host"),
    ("replay.hosts", "", "f:1: replay.hosts: a list is expected, not nothing; allowed: a list, each a host"),
    ("replay.speed", "' max'", 'f:1: replay.speed: " max" is not allowed'),
    ("replay.timeout_s", "true", "f:1: replay.timeout_s: true is not a number"),
    ("replay.hosts", "{a: b}", "f:1: replay.hosts: a list is expected, not keys and values; allowed: a list, each a host"),
    ("replay.hosts", "[a, [b]]", "f:1: replay.hosts[1]: one value is expected, not a list; allowed: a host"),
    ("store.keep", "al", 'f:1: store.keep: "al" is not allowed; allowed: all or diverged or ledger; did you mean "all"?'),
    ("build", "yes", "f:1: build: yes is not text: put it in quotes if it is meant as text; allowed: text"),
    ("provenance", "[a]", "f:1: provenance: names and texts are expected, not a list"),
    ("provenance", "{a: }", "f:1: provenance.a: nothing is no value; leave the key out for its default; allowed: text"),
    (
        "redact.patterns",
        "['(']",
        'f:1: redact.patterns[0]: "(" is not a regular expression (missing ), unterminated subpattern at position 0)',
    ),
    ("rules", "[ignore]", "f:1: rules[0]: keys and values are expected here"),
    ("rules", "[{path: x}]", "f:1: rules[0].action: is missing; allowed: ignore or unordered"),
    ("rules", "[{action: ignor}]", 'did you mean "ignore"?'),
    ("rules", "[{action: ignore, pth: x}]", "f:1: rules[0].pth: unknown key"),
    ("rules", "[{action: tolerance, absolute: x}]", 'f:1: rules[0].absolute: "x" is not a number; allowed: a number'),
]

REFUSED_BARE: list[tuple[str, str, str]] = [
    (
        "replay.concurrency",
        "",
        'E: replay.concurrency: "" is no value; leave the key out for its default; allowed: a whole number from 1 to 256',
    ),
    ("replay.concurrency", "9" * 5000, "is too large"),
    ("replay.concurrency", "٣", "is not a whole number"),
    ("proxy.breaker_errors", "٣", "is not a number"),
    ("proxy.breaker_errors", "nan", "is not a number"),
    ("proxy.breaker_errors", "1e400", "is not a number"),
    ("proxy.breaker_errors", "-1", "is too small"),
    ("proxy.breaker_errors", "1.5", "is too large"),
    ("replay.skip_broken", "2", 'E: replay.skip_broken: "2" is not true or false'),
    ("replay.hosts", "[a", "E: replay.hosts: not YAML"),
    ("provenance", "a", "E: provenance: is not of the form name=text, name=text"),
    ("rules", "[{action: tolerance, absolute: x}]", 'E: rules[0].absolute: "x" is not a number'),
    ("rules", "ignore", "E: rules[0]: keys and values are expected here"),
]


@pytest.mark.parametrize(("key", "text", "value"), ACCEPTED_YAML)
def test_accepts_yaml(key: str, text: str, value: object) -> None:
    assert typed(key, text) == (value, [])


@pytest.mark.parametrize(("key", "text", "value"), ACCEPTED_BARE)
def test_accepts_bare_text(key: str, text: str, value: object) -> None:
    assert bare(key, text) == (value, [])


@pytest.mark.parametrize(("key", "text", "message"), REFUSED_YAML)
def test_refuses_yaml(key: str, text: str, message: str) -> None:
    value, problems = typed(key, text)
    assert isinstance(value, Invalid)
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(("key", "text", "message"), REFUSED_BARE)
def test_refuses_bare_text(key: str, text: str, message: str) -> None:
    value, problems = bare(key, text)
    assert isinstance(value, Invalid)
    assert len(problems) == 1
    assert message in problems[0]


def test_secret_values_are_not_in_the_message() -> None:
    value, problems = typed("targets.stable.env", "{TOKEN: yes, B: [s3cret]}")
    assert isinstance(value, Invalid)
    assert len(problems) == 2
    assert not any("yes" in problem or "s3cret" in problem for problem in problems)


@given(st.sampled_from(sorted(".".join(path) for path in all_keys())), st.text(max_size=30))
def test_bare_text_is_a_value_or_problems(key: str, text: str) -> None:
    value, problems = bare(key, text)
    assert isinstance(value, Invalid) == bool(problems)
