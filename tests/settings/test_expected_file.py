"""The file of accepted changes: written and read back the same, in small stable steps, and refused with every problem at once."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.core.labels import Aspect, Kind
from harness.core.limits import EXPECTED_ENTRIES_MAX
from harness.evidence.expected import ExpectedChange
from harness.evidence.findings import finding_id
from harness.evidence.seen import ANYTHING, Relation, Seen, SeenSlice
from harness.resources import config_path
from harness.settings.expected_file import date_of, expected_schema_text, read_expected, read_expected_file, written
from harness.settings.problems import ConfigError


def change(path: str = "$.x", seen: Seen = ANYTHING, **more: Any) -> ExpectedChange:
    place = ("GET /items/{id}", Aspect.BODY, path, Kind.VALUE)
    fields = {"reason": "cents now", "by": "Ann", "expires": "2031-12-31", **more}
    return ExpectedChange(id=finding_id(*place), endpoint=place[0], aspect=place[1], path=path, kind=place[3], seen=seen, **fields)


def read(text: str) -> tuple[ExpectedChange, ...]:
    return read_expected(text.encode(), "expected.yaml")


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", " ", "yes", "null", "1", "1e3", "0x1", "2024-01-31", "~", "- a", "a: b", "#", "\u2028", "'", '"', "{}", "é"])
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)
)
seens = st.builds(
    Seen,
    forms=st.lists(st.sampled_from(["integer -> text", "null -> uuid"]), unique=True).map(tuple),
    relation=st.just(Relation.VALUES),
    values=st.lists(st.tuples(scalars, scalars), min_size=1, max_size=8).map(tuple),
    requests=st.just(10),
    changed=st.integers(0, 10),
    slice=st.none() | st.just(SeenSlice(attribute="header.x-region", value="JP")),
)


@given(st.lists(seens, max_size=4), st.booleans())
def test_what_is_written_is_read_back_and_the_order_does_not_matter(found: list[Seen], must: bool) -> None:
    entries = [change(f"$.x{n}", seen, must_change=must) for n, seen in enumerate(found)]
    text = written(entries)
    assert text == written(reversed(entries))
    back = read(text)
    assert back == tuple(sorted(entries, key=lambda entry: entry.id))
    assert all(repr(a) == repr(b) for a, b in zip(back, sorted(entries, key=lambda entry: entry.id), strict=True))
    assert written(back) == text


def test_a_further_entry_changes_no_other_line() -> None:
    one = written([change("$.a", Seen(relation=Relation.VALUES, values=((4, 400),)))])
    two = written([change("$.a", Seen(relation=Relation.VALUES, values=((4, 400),))), change("$.b")])
    assert "      values:\n        - [4, 400]\n" in one
    assert set(one.splitlines()) <= set(two.splitlines())


@pytest.mark.parametrize("relation", [Relation.RATIO, Relation.DIFFERENCE])
def test_numbers_and_affixes_are_read_back(relation: Relation) -> None:
    for seen in (Seen(relation=relation, low=100.0, high=100.0), Seen(relation=Relation.PREFIX_ADDED, text="x-"), Seen(rate_high=0.25)):
        assert read(written([change(seen=seen)]))[0].seen == seen


def test_every_problem_is_told_at_once_with_its_line() -> None:
    good = written([change()])
    bad = (
        good.replace("expires: 2031-12-31", "expires: soon")
        .replace("by: Ann", "by: ''")
        .replace("relation: any", "relation: ratio\n      changed: 3\n      rate_low: 0.9\n      rate_high: 0.1")
        .replace("path: $.x", "path: $.y")
    )
    with pytest.raises(ConfigError) as caught:
        read(bad)
    keys = {problem.key for problem in caught.value.problems}
    prefix = "entries[0]."
    assert keys == {prefix + name for name in ("expires", "by", "id", "seen.low", "seen.changed", "seen.rate_low")}
    assert all(problem.where.startswith("expected.yaml:") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("- a", "keys and values"),
        ("version: 1\nentries: [{id: a", "not YAML"),
        ("version: 2\nentries: []\n", "version 2"),
        ("entries: []\n", "is missing"),
        ("version: 1\nentrys: []\n", "did you mean"),
        ("version: 1\nentries:\n  - reason: a\n", "problems"),
        (written([change()]).replace("kind: value", "kind: vlaue"), "did you mean"),
        (written([change()]).replace("seen:", "sene:"), "did you mean"),
        (written([change()]).replace("relation: any", "relation: values"), "pairs of values"),
        (written([change()]).replace("relation: any", "relation: values\n      values: [[1]]"), "no pair"),
        (written([change()]).replace("relation: any", "relation: values\n      values: 5"), "no list of pairs"),
        (written([change()]).replace("relation: any", "relation: prefix_added"), "needs a text"),
        (written([change()]) + written([change()]).split("entries:\n")[1], "given twice"),
    ],
)
def test_a_file_that_is_wrong_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert told in str(caught.value)


def test_too_many_entries_are_refused() -> None:
    with pytest.raises(UsageError, match="too many"):
        read(written(change(f"$.x{n}") for n in range(EXPECTED_ENTRIES_MAX + 1)))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_expected_file(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="UTF-8"):
        read_expected(b"version: 1\n# \xff\n", "expected.yaml")


@pytest.mark.parametrize(("text", "known"), [("2031-12-31", True), ("2031-02-30", False), ("20311231", False), ("soon", False)])
def test_days(text: str, known: bool) -> None:
    assert (date_of(text) is not None) is known


def test_the_schema_in_the_tree_is_the_one_that_is_made() -> None:
    assert config_path("schemas/expected-1.json").read_text() == expected_schema_text()
    assert json.loads(expected_schema_text())["properties"]["version"] == {"const": 1}


@pytest.mark.parametrize("part", ["{value: JP}", '{attribute: "", value: JP}', '{attribute: " ", value: JP}', '{attribute: " "}'])
def test_a_slice_of_no_attribute_is_refused_and_is_not_all_of_the_traffic(part: str) -> None:
    text = written([change("$.x", Seen(forms=("integer -> text",), requests=10, changed=2))])
    head, seen = text.split("seen:\n", 1)
    with pytest.raises(ConfigError) as caught:
        read(f"{head}seen:\n      slice: {part}\n{seen}")
    (problem,) = caught.value.problems
    assert problem.key == "entries[0].seen.slice.attribute"
    assert problem.where == "expected.yaml:5"


def of(aspect: Aspect, path: str, kind: Kind, seen: Seen = ANYTHING, **more: Any) -> ExpectedChange:
    place = ("GET /items/{id}", aspect, path, kind)
    fields = {"reason": "wanted", "by": "Ann", "expires": "2031-12-31", **more}
    return ExpectedChange(id=finding_id(*place), endpoint=place[0], aspect=aspect, path=path, kind=kind, seen=seen, **fields)


SHIFT = Seen(relation=Relation.DIFFERENCE, low=32399.5, high=32400.5, median=32400.0, unit="s")
RATE = Seen(requests=100, changed=20, rate_low=0.1, rate_high=0.3, still_high=0.2)
RATIO = Seen(relation=Relation.RATIO, low=1.2, high=1.4, median=1.3)


@pytest.mark.parametrize(
    "entry",
    [
        of(Aspect.BODY, "$.at", Kind.DISTANCE, SHIFT, must_change=True),
        of(Aspect.BODY, "$.at", Kind.BIAS, SHIFT),
        of(Aspect.BODY, "$.id", Kind.STYLE, RATE),
        of(Aspect.HEADERS, "etag", Kind.SEQUENCE, RATE),
        of(Aspect.BODY, "$.flag", Kind.MIX, RATE, must_change=True),
        of(Aspect.LATENCY, "p50", Kind.SLOWER, RATIO, must_change=True),
        of(Aspect.LATENCY, "tail2x", Kind.SLOWER, RATE),
        of(Aspect.DETERMINISM, "$.total", Kind.VALUE, RATE),
    ],
)
def test_entries_for_noise_latency_and_determinism_are_read_back(entry: ExpectedChange) -> None:
    assert read(written([entry])) == (entry,)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (of(Aspect.LATENCY, "p50", Kind.SLOWER), "how much slower it may be is not known"),
        (of(Aspect.LATENCY, "p50", Kind.SLOWER, msgspec.structs.replace(RATIO, low=0.5, high=0.9)), "how much slower"),
        (of(Aspect.LATENCY, "tail2x", Kind.SLOWER), "how often it shows is not known"),
        (of(Aspect.LATENCY, "budget p99 300ms", Kind.SLOWER, RATE), "a promise of the policy"),
        (of(Aspect.LATENCY, "p50", Kind.VALUE, RATIO), "a promise of the policy"),
        (of(Aspect.BODY, "$.at", Kind.DISTANCE), "by how much values are off is not known"),
        (of(Aspect.BODY, "$.id", Kind.STYLE), "how often it shows is not known"),
        (of(Aspect.DETERMINISM, "$.total", Kind.VALUE), "how often it shows is not known"),
        (of(Aspect.BODY, "$", Kind.UNCOMPARABLE), "could not be compared"),
        (of(Aspect.BODY, "$.at", Kind.BIAS, SHIFT, must_change=True), "without must_change"),
    ],
)
def test_an_entry_that_could_be_held_to_nothing_is_an_error_and_not_ignored(entry: ExpectedChange, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(written([entry]))
    assert told in str(caught.value)
