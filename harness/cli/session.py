"""What one call of the command line carries from its start to its end."""

import os
import sys

from harness.cli.terminal import Terminal


class Session:
    """The terminal, and whether tracebacks are wanted."""

    def __init__(self, terminal: Terminal | None = None) -> None:
        self.terminal = terminal or Terminal(sys.stdout, sys.stderr, environ=os.environ)
        self.debug = False
