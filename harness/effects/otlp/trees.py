"""The spans of one trial as trees, one for each arm: what is still missing, whose a span is, and what is reported of it. Pure.

An arm's tree hangs below the parent span that the mirror made up for it (`harness.core.trace.span_of`). It is whole when the
SERVER span right below that parent has come and every span's parent is there.
"""

from collections.abc import Iterable
from typing import Final

from harness.effects.otlp.spans import SERVER, Doing, is_same, joined

NO_PARENT: Final = bytes(8)


class Node:
    """One span in a tree."""

    __slots__ = ("doing", "given", "kind", "parent", "remote", "span", "started_ns", "swallowed", "swallows")

    def __init__(
        self, span: bytes, parent: bytes, kind: int, *, started_ns: int = 0, remote: bool = False, doing: Doing | None = None
    ) -> None:
        self.span = span
        self.parent = parent
        self.kind = kind
        self.started_ns = started_ns
        self.remote = remote
        """The parent is of another process, whose spans may never come here."""
        self.doing = doing
        """None where it is no effect."""
        self.given = False
        """It was reported."""
        self.swallows = False
        """One of the spans right below it is the same doing."""
        self.swallowed = False
        """It is the same doing as the span above it, and that one is reported."""


class Tree:
    """The spans of one arm."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self.nodes: dict[bytes, Node] = {}
        self._missing: set[bytes] = set()
        self.served = False
        """The SERVER span below our parent is there."""
        self.last_ns = 0
        """When the last span came."""
        self.cut = False
        """Spans were left out for want of room: it can never be known whole."""
        self._changed = False

    @property
    def whole(self) -> bool:
        """Whether no span that is known of is missing."""
        return self.served and not self._missing and not self.cut

    @property
    def entered(self) -> bool:
        """As `whole`, but for the SERVER span's parent: a live client's own trace has another than ours."""
        return not self._missing and not self.cut and any(node.kind == SERVER for node in self.nodes.values())

    @property
    def grown(self) -> bool:
        """Whether spans came that were not asked about by `report` yet."""
        return self._changed

    def add(self, node: Node, now_ns: int) -> None:
        """Take a span. One with the same id as another takes no part."""
        if node.span in self.nodes:
            return
        self.nodes[node.span] = node
        self._missing.discard(node.span)
        self.last_ns = now_ns
        self._changed = True
        if node.parent == self._root:
            self.served = self.served or node.kind == SERVER
        elif node.parent != NO_PARENT and not node.remote and node.parent not in self.nodes:
            self._missing.add(node.parent)

    def report(self) -> list[Node]:
        """The effects that were not reported yet, in the order in which they began; each is given out once."""
        if not self._changed:
            return []
        self._changed = False
        doings = sorted((node for node in self.nodes.values() if node.doing is not None), key=_start)
        _fold(doings, self.nodes)
        fresh = [node for node in doings if not node.given and not node.swallowed]
        for node in fresh:
            node.given = True
        return fresh


def _start(node: Node) -> int:
    return node.started_ns


def _fold(doings: list[Node], nodes: dict[bytes, Node]) -> None:
    """Let every span swallow one of those right below it that are the same doing, the last; the others are repetitions.

    The last, for a repeated call ends as its last attempt did. From the latest to the earliest, so that a span has
    swallowed before it is swallowed itself.
    """
    for node in reversed(doings):
        above = nodes.get(node.parent)
        if node.swallowed or above is None or above is node or above.doing is None or above.swallows or above.swallowed:
            continue
        if node.doing is None or not is_same(above.doing, node.doing):
            continue
        above.swallows = True
        if node.given:
            # It was reported before the span above it came: that one has nothing to add.
            above.given = True
        else:
            node.swallowed = True
            if not above.given:
                above.doing = joined(above.doing, node.doing)


def loops(nodes: dict[bytes, Node]) -> set[bytes]:
    """Ids of the spans that are their own ancestors. Linear."""
    settled: set[bytes] = set()
    found: set[bytes] = set()
    for start in nodes:
        path: list[bytes] = []
        on_path: set[bytes] = set()
        span = start
        while span in nodes and span not in settled and span not in on_path:
            path.append(span)
            on_path.add(span)
            span = nodes[span].parent
        if span in on_path:
            found.update(path[path.index(span) :])
        settled.update(path)
    return found


class Grove:
    """All trees of one trial, and the spans of which it is not known yet at which arm they were made."""

    def __init__(self, roots: dict[str, bytes]) -> None:
        self.trees = {arm: Tree(root) for arm, root in roots.items()}
        self._arm_of: dict[bytes, str] = {root: arm for arm, root in roots.items()}
        self._homeless: dict[bytes, list[Node]] = {}
        self._waiting: set[bytes] = set()

    @property
    def homeless(self) -> int:
        """Spans that belong to no arm as far as is known."""
        return len(self._waiting)

    def add(self, node: Node, arm: str, now_ns: int) -> str:
        """Take a span of an arm, or (`arm` empty) of the one that its parent belongs to. Returns the arm that grew by it, or nothing."""
        home = arm or self._arm_of.get(node.parent, "")
        if not home:
            self._waiting.add(node.span)
            self._homeless.setdefault(node.parent, []).append(node)
            return ""
        found = [node]
        while found:
            one = found.pop()
            self.trees[home].add(one, now_ns)
            self._arm_of.setdefault(one.span, home)
            self._waiting.discard(one.span)
            found.extend(self._homeless.pop(one.span, ()))
        return home

    def knows(self, span: bytes, arm: str) -> bool:
        """Whether a span is here already, as when an export was sent twice."""
        return span in self.trees[arm].nodes if arm else span in self._waiting or span in self._arm_of

    def whole(self, arms: Iterable[str]) -> bool:
        """Whether the trees of these arms are whole, and nothing waits that may be theirs."""
        return not self._waiting and all(self.trees[arm].whole for arm in arms)
