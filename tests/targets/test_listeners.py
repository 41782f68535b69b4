"""Who listens on a port."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.targets.listeners import listens_below
from harness.targets.process import free_port
from tests.targets.builds import pid_in, script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


LISTENING = """
import pathlib, socket, sys, time
with socket.create_server(("127.0.0.1", 0)) as server:
    pathlib.Path(sys.argv[1]).write_text(str(server.getsockname()[1]))
    time.sleep(600)
"""


def test_a_child_listens(tmp_path: Path) -> None:
    command = f"{script(tmp_path, 'listening.py', LISTENING)} {tmp_path / 'port'}; true"
    child = subprocess.Popen(["sh", "-c", command], start_new_session=True)
    try:
        port = pid_in(tmp_path / "port")
        assert listens_below(os.getpid(), port)
        assert not listens_below(child.pid, free_port())
    finally:
        os.killpg(child.pid, 9)
        child.wait()
    assert not listens_below(os.getpid(), port)


def test_a_stranger_listens() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert not listens_below(child.pid, server.getsockname()[1])
            # The listener is this process itself, which is not below itself.
            assert not listens_below(os.getpid(), server.getsockname()[1])
    finally:
        child.kill()
        child.wait()


def test_a_process_that_is_gone_or_closed_to_us() -> None:
    assert not listens_below(2**22 - 1, 1)
