"""The collector leaves what was there alone, and still frees new cycles."""

import subprocess
import sys

SCRIPT = """
import gc, weakref
from harness.app.memory import NEW_OBJECTS_MAX, collect_rarely

class Node:
    pass

old = [Node() for _ in range(1000)]
collect_rarely()
assert gc.get_threshold()[0] == NEW_OBJECTS_MAX
assert not any(one is old[0] for one in gc.get_objects()), "what was there is not looked at"
node = Node()
node.itself = node
gone = weakref.ref(node)
del node
kept = [Node() for _ in range(NEW_OBJECTS_MAX + 10)]
assert gone() is None, "a new cycle is found"
"""


def test_it_leaves_alone_what_is_there_and_frees_new_cycles() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
