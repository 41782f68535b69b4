"""One call's session."""

import io

from harness.cli.session import Session
from harness.cli.terminal import Terminal


def test_it_takes_a_terminal_or_makes_one() -> None:
    terminal = Terminal(io.StringIO(), io.StringIO(), environ={})
    assert Session(terminal).terminal is terminal
    assert Session().debug is False
