"""A folder, the targets and whichever peers are there: what every benchmark of the live path stands on."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench.live import peers, programs
from tests.bench.live.outcome import Outcome, show
from tests.bench.live.project import Project, project
from tests.bench.live.upstreams import Upstreams, upstreams


class Lab:
    """What was started; all of it ends with the lab."""

    def __init__(self, folder: Path, targets: Upstreams, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.targets = targets
        self.absent: list[str] = []
        """What could not be had, as sentences."""
        self._stack = stack
        self._projects = 0

    def peer(self, name: str) -> peers.Peer | None:
        """A running peer; None where it cannot be had, which is noted."""
        try:
            return self._stack.enter_context(peers.peer(name, self.folder, self.targets))
        except (programs.AbsentError, programs.StartError) as error:
            self.absent.append(f"{name}: {error}")
            return None

    def project(
        self, *, secondary: bool = False, workers: int = 1, extra: Sequence[str] = ()
    ) -> contextlib.AbstractContextManager[Project]:
        """The project's proxy, for a `with` of its own; see `project`."""
        self._projects += 1
        name = f"project-{self._projects}"
        return project(self.folder, self.targets, name=name, secondary=secondary, workers=workers, extra=extra)


def shown(run: Callable[[Sequence[str]], Outcome], arguments: Sequence[str]) -> int:
    """Run a benchmark and print what it says. 1 when an aim was missed, or when it could not run at all."""
    try:
        return show(run(arguments))
    except (programs.AbsentError, programs.StartError) as error:
        print(f"not run: {error}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Start the targets in a temporary folder. Raises AbsentError where nginx is missing."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        # nginx's worker is another user where the benchmark is run by root.
        folder.chmod(0o755)
        yield Lab(folder, stack.enter_context(upstreams(folder)), stack)
