"""YAML to nodes with lines: what is read, and every way in which a file cannot be."""

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.core.limits import CONFIG_BYTES_MAX
from harness.settings.problems import Problem
from harness.settings.tree import Entry, MappingNode, Scalar, SequenceNode, read_yaml, read_yaml_file


def read(text: str) -> tuple[object, list[Problem]]:
    problems: list[Problem] = []
    return read_yaml(text, "f", problems), problems


def test_nodes_know_value_text_and_line() -> None:
    node, problems = read("a: 1.10\nb:\n  - x\n  - 2024-11-05\n")
    assert problems == []
    assert node == MappingNode(
        (
            Entry("a", 1, Scalar(1.1, "1.10", 1)),
            Entry("b", 2, SequenceNode((Scalar("x", "x", 3), Scalar(datetime.date(2024, 11, 5), "2024-11-05", 4)), 3)),
        ),
        1,
    )


def test_nothing_is_none() -> None:
    assert read("# only a comment\n")[0] is None


def test_duplicate_keys_are_problems_and_the_first_counts() -> None:
    node, problems = read("a: 1\nb: 2\na: 3\n")
    assert isinstance(node, MappingNode)
    assert [(e.key, e.node) for e in node.entries] == [("a", Scalar(1, "1", 1)), ("b", Scalar(2, "2", 2))]
    assert [p.text() for p in problems] == ["f:3: a: given twice; first on line 1"]


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    node, problems = read("base: &b {x: 1, y: 2}\nother: &o {z: 3}\nuse:\n  <<: [*b, *o]\n  x: 9\nbad: {<<: 4}\n")
    assert isinstance(node, MappingNode)
    used = node.entries[2].node
    assert isinstance(used, MappingNode)
    assert {e.key: e.node.value for e in used.entries if isinstance(e.node, Scalar)} == {"x": 9, "y": 2, "z": 3}
    assert [p.text() for p in problems] == ["f:6: <<: keys and values are expected here"]


@pytest.mark.parametrize(
    "text",
    ['a: 1\n"b\\ud800": 2\n', 'a: 1\nb: "x\\udfff"\n', 'a: 1\nb: ["\\ud83d\\ude00"]\n', 'a: 1\n? ["\\ud800"]\n: 2\nc: !x "\\ud800"\n'],
    ids=["name", "value", "pair", "beside other problems"],
)
def test_halves_of_characters_are_problems_with_file_and_line(text: str) -> None:
    node, problems = read(text)
    assert problems
    assert problems[0].text().startswith("f:2: ")
    assert "half of a character" in problems[-1].text()
    for found in (repr(node), *(problem.text() for problem in problems)):
        found.encode()


def test_tags_keys_and_broken_numbers_are_problems() -> None:
    _, problems = read("a: !!python/object:os.system x\n[1, 2]: b\nc: 2024-99-99\n")
    assert [p.text() for p in problems] == [
        'f:1: the tag "tag:yaml.org,2002:python/object:os.system" is not known here',
        "f:2: a key must be text",
        'f:3: "2024-99-99" looks like a date or a number and is none: put it in quotes',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", "f:2: not YAML"),
        ("a: 1\n---\nb: 2\n", "f:2: not YAML"),
        ("a: *nowhere\n", "f:1: not YAML"),
        ("a: \x01\n", "f: not YAML: it has characters"),
        ("[" * 5000, "f: nested deeper"),
        ("a: " + "[" * 40 + "]" * 40, "f:1: nested deeper"),
        ("a: &a [*a]\n", "f:1: nested deeper"),
        ("a: &a\n  <<: *a\n", "f:2: nested deeper"),
    ],
)
def test_what_is_not_yaml_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert str(caught.value).startswith(message)


def test_unfolding_aliases_is_bounded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(UsageError, match="more than 100000 values"):
        read("\n".join(lines))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"# nothing\n", "empty"),
        (b"- a\n- b\n", ":1: keys and values are expected at the top, not a list"),
        (b"\njust text\n", ':2: keys and values are expected at the top, not the text "just text"'),
        (b"a: 1\nb: \xff\xfe\n", ":2: not UTF-8 text"),
        ("a: 1".encode("utf-16"), ":1: not UTF-8 text"),
        (b"\x00\x01\x02", "not YAML"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_yaml_file(path, [])
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_missing_unreadable_and_huge_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        read_yaml_file(tmp_path / "none.yaml", [])
    with pytest.raises(UsageError, match="cannot be read"):
        read_yaml_file(tmp_path, [])
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (CONFIG_BYTES_MAX + 1))
    with pytest.raises(UsageError, match="larger than 4 MiB"):
        read_yaml_file(huge, [])


def test_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml_file(path, []).entries[0].key == "a"


@given(st.text(max_size=200) | st.text("[]{}:,-&*!<>|'\"a1 \n#?%@~", max_size=60))
def test_any_text_is_a_tree_or_a_usage_error(text: str) -> None:
    try:
        read(text)
    except UsageError:
        return
