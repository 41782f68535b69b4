"""Trees of spans: completeness in any order of arrival, one report for one doing, and shapes that no honest sender makes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.effects.otlp.spans import CLIENT, INTERNAL, SERVER, Doing
from harness.effects.otlp.trees import NO_PARENT, Grove, Node, Tree, loops
from tests.effects.otlp.spanning import span_id

ROOT, OTHER_ROOT = span_id(0xAAAA), span_id(0xBBBB)


def http(place: str = "a.test/", method: str = "POST") -> Doing:
    return Doing("http", f"CLIENT http {method}", place, {"server.address": place}, True)


def node(
    span: int, parent: int | bytes, kind: int = INTERNAL, doing: Doing | None = None, *, remote: bool = False, started: int = -1
) -> Node:
    above = parent if isinstance(parent, bytes) else span_id(parent)
    return Node(span_id(span), above, kind, started_ns=span if started < 0 else started, remote=remote, doing=doing)


def ids(nodes: list[Node]) -> list[int]:
    return [int.from_bytes(one.span, "big") for one in nodes]


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(0, 2**32))
def test_whole_exactly_when_everything_is_there(parents: list[int], seed: int) -> None:
    """Any tree, in any order: span n hangs below one of those before it, the first one below the root."""
    made = [node(1, ROOT, SERVER)]
    for number, parent in enumerate(parents, start=2):
        made.append(node(number, 1 + parent % (number - 1)))
    random.Random(seed).shuffle(made)
    tree = Tree(ROOT)
    for count, one in enumerate(made):
        assert not (tree.whole and any(n.parent not in tree.nodes and n.parent != ROOT for n in tree.nodes.values()))
        tree.add(one, count)
    assert tree.whole
    assert tree.last_ns == len(made) - 1


def test_not_whole_without_the_server_span() -> None:
    tree = Tree(ROOT)
    found = []
    # An INTERNAL span; a SERVER span, but not of our request; the one of our request.
    for one in (node(1, ROOT, INTERNAL), node(2, NO_PARENT, SERVER), node(3, ROOT, SERVER)):
        tree.add(one, 1)
        found.append(tree.whole)
    assert found == [False, False, True]
    tree.cut = True
    assert not tree.whole


def test_a_parent_in_another_process_is_not_waited_for() -> None:
    tree = Tree(ROOT)
    tree.add(node(1, ROOT, SERVER, remote=True), 1)
    tree.add(node(2, 77, SERVER, remote=True), 1)
    before = tree.whole
    tree.add(node(3, 78, INTERNAL), 1)
    assert (before, tree.whole) == (True, False)


def test_a_span_twice_is_one() -> None:
    tree = Tree(ROOT)
    tree.add(node(1, ROOT, SERVER), 5)
    tree.add(node(1, ROOT, SERVER), 9)
    assert len(tree.nodes) == 1
    assert tree.last_ns == 5


ORDERS = st.permutations(range(4))


@given(ORDERS)
def test_nested_calls_that_are_one_doing_are_reported_once(order: list[int]) -> None:
    """requests on urllib3 on http.client, all instrumented."""
    made = [node(1, ROOT, SERVER), node(2, 1, CLIENT, http()), node(3, 2, CLIENT, http()), node(4, 3, CLIENT, http())]
    tree = Tree(ROOT)
    for index in order:
        tree.add(made[index], 1)
    assert ids(tree.report()) == [2]
    assert tree.report() == []


def test_retries_below_one_call_are_seen() -> None:
    tree = Tree(ROOT)
    for one in (node(1, ROOT, SERVER), node(2, 1, CLIENT, http()), *(node(n, 2, CLIENT, http()) for n in (3, 4, 5))):
        tree.add(one, 1)
    assert ids(tree.report()) == [2, 3, 4], "three attempts, three effects; the last attempt is the call's own"


def test_other_calls_below_a_call_are_effects_of_their_own() -> None:
    tree = Tree(ROOT)
    for one in (node(2, ROOT, CLIENT, http()), node(3, 2, CLIENT, http("b.test/")), node(4, 2, CLIENT, http(method="GET"))):
        tree.add(one, 1)
    assert ids(tree.report()) == [2, 3, 4]


def test_reported_once_however_late_the_outer_one_comes() -> None:
    tree = Tree(ROOT)
    tree.add(node(3, 2, CLIENT, http()), 1)
    assert ids(tree.report()) == [3]
    tree.add(node(2, ROOT, CLIENT, http()), 2)
    assert tree.report() == []


def test_reported_once_however_late_the_inner_one_comes() -> None:
    tree = Tree(ROOT)
    tree.add(node(2, ROOT, CLIENT, http()), 1)
    assert ids(tree.report()) == [2]
    tree.add(node(3, 2, CLIENT, http()), 2)
    assert tree.report() == []
    tree.add(node(4, 2, CLIENT, http()), 2)
    assert ids(tree.report()) == [4]


def test_the_outer_one_takes_what_only_the_inner_one_knows() -> None:
    orm = Doing("db", "CLIENT postgresql INSERT", "orders", {"db.system.name": "postgresql"}, True)
    driver = Doing("db", "CLIENT postgresql INSERT", "orders", {"db.system.name": "postgresql", "db.query.text": "INSERT"}, True)
    tree = Tree(ROOT)
    tree.add(node(3, 2, CLIENT, driver), 1)
    tree.add(node(2, ROOT, CLIENT, orm), 1)
    (found,) = tree.report()
    assert found.doing is not None
    assert found.doing.fields["db.query.text"] == "INSERT"


def test_effects_come_in_the_order_in_which_they_began() -> None:
    tree = Tree(ROOT)
    for span, started in ((2, 30), (3, 10), (4, 20)):
        tree.add(node(span, ROOT, CLIENT, http(f"{span}.test/"), started=started), 1)
    assert ids(tree.report()) == [3, 4, 2]


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ([(1, 1)], {1}),
        ([(1, 2), (2, 1)], {1, 2}),
        ([(1, 2), (2, 3), (3, 1), (4, 1), (5, 4)], {1, 2, 3}),
        ([(1, 9), (2, 1), (3, 2)], set()),
        ([], set()),
    ],
)
def test_loops(edges: list[tuple[int, int]], found: set[int]) -> None:
    nodes = {span_id(span): node(span, parent) for span, parent in edges}
    assert loops(nodes) == {span_id(span) for span in found}


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12), st.sampled_from([INTERNAL, SERVER, CLIENT])), max_size=40))
def test_any_graph_is_taken_and_each_span_reported_at_most_once(edges: list[tuple[int, int, int]]) -> None:
    tree = Tree(ROOT)
    reported: list[int] = []
    for index, (span, parent, kind) in enumerate(edges):
        tree.add(node(span, parent, kind, http() if kind == CLIENT else None), index)
        if index % 5 == 0:
            reported += ids(tree.report())
    reported += ids(tree.report())
    assert len(reported) == len(set(reported))
    clients = {one.span for one in tree.nodes.values() if one.doing is not None}
    assert bool(reported) == bool(clients), "something is always said of calls that were made"
    loops(tree.nodes)


def grove() -> Grove:
    return Grove({"stable": ROOT, "candidate": OTHER_ROOT})


@given(st.permutations(range(7)))
def test_arms_are_told_by_the_chain_of_parents_in_any_order(order: list[int]) -> None:
    made = [
        *(node(1, ROOT, SERVER), node(2, 1), node(3, 2, CLIENT, http())),
        *(node(11, OTHER_ROOT, SERVER), node(12, 11), node(13, 12), node(14, 13, CLIENT, http())),
    ]
    trees = grove()
    for index in order:
        trees.add(made[index], "", 1)
    assert trees.whole(["stable", "candidate"])
    assert set(trees.trees["stable"].nodes) == {span_id(n) for n in (1, 2, 3)}
    assert set(trees.trees["candidate"].nodes) == {span_id(n) for n in (11, 12, 13, 14)}


def test_spans_below_nobodys_request() -> None:
    trees = grove()
    assert trees.add(node(5, 6), "", 1) == ""
    assert trees.add(node(6, 5), "", 1) == ""
    assert trees.homeless == 2
    assert trees.knows(span_id(5), "")
    trees.add(node(1, ROOT, SERVER), "stable", 1)
    assert trees.trees["stable"].whole
    assert not trees.whole(["stable"]), "what waits may be stable's"


def test_another_services_spans_below_a_builds_own() -> None:
    """The build exports to its path, what it calls exports to none."""
    trees = grove()
    trees.add(node(3, 2, CLIENT, http()), "", 1)
    assert trees.add(node(2, 1, SERVER), "", 1) == ""
    assert trees.add(node(1, ROOT, SERVER), "stable", 1) == "stable"
    assert trees.homeless == 0
    assert ids(trees.trees["stable"].report()) == [3]
