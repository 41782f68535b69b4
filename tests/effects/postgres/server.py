"""A PostgreSQL of the tests' own: a fresh cluster in a temporary folder, on loopback, gone afterwards.

`postgres_server()` raises AbsentError where the server's programs are not installed. Other tests may use it as well.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

USER: Final = "postgres"
_START_SECONDS: Final = 120
_PLUGINS: Final = ("pgoutput", "test_decoding", "wal2json")


class AbsentError(Exception):
    """PostgreSQL cannot be had on this machine; says why."""


class PostgresServer:
    """A running server. Everybody on loopback is let in as USER; other users need their passwords."""

    def __init__(self, binaries: Path, folder: Path, port: int) -> None:
        self.binaries = binaries
        self.folder = folder
        self.port = port

    def dsn(self, database: str = "postgres", user: str = USER, password: str = "") -> str:
        """A URL, braces of a placeholder in the name kept."""
        return f"postgresql://{user}{f':{password}' if password else ''}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """One statement as USER; its rows."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str, schema: str = "") -> None:
        """A new database; `schema` are statements for it."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        if schema:
            self.execute(schema, name)

    def drop_database(self, name: str, *, force: bool = False) -> None:
        """Raises psycopg.Error while a slot or a session is in it; `force` ends the sessions."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            how = sql.SQL(" with (force)" if force else "")
            connection.execute(sql.SQL("drop database if exists {}{}").format(sql.Identifier(name), how))

    def has_plugin(self, plugin: str) -> bool:
        """Whether an output plugin is installed."""
        library = subprocess.run([self.binaries / "pg_config", "--pkglibdir"], capture_output=True, text=True, check=True)
        return (Path(library.stdout.strip()) / f"{plugin}.so").exists()

    def stop(self, mode: str = "fast") -> None:
        """End it; `start` brings it back."""
        command: list[str | Path] = [self.binaries / "pg_ctl", "-D", self.folder / "data", "-m", mode, "-w", "stop"]
        _run(command)

    def start(self) -> None:
        """Start it and wait until it answers. Raises subprocess.CalledProcessError."""
        data, log = self.folder / "data", self.folder / "log"
        _run([self.binaries / "pg_ctl", "-D", data, "-l", str(log), "-t", str(_START_SECONDS), "-w", "start"])

    def reload(self) -> None:
        """Have it read its configuration again."""
        self.execute("select pg_reload_conf()")

    def configure(self, *lines: str) -> None:
        """Further lines of postgresql.conf."""
        with (self.folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


def binaries() -> Path:
    """The folder of the newest server's programs. Raises AbsentError."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parent.parent.name))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise AbsentError("no PostgreSQL server is installed (Debian: postgresql)")
    return Path(initdb).parent


@contextlib.contextmanager
def postgres_server(*, wal_level: str = "logical", settings: Sequence[str] = (), allow_plugins: bool = True) -> Iterator[PostgresServer]:
    """A running server with lines of configuration of one's own. Raises AbsentError."""
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="shadowdiff-postgres-"))
    try:
        if os.geteuid() == 0:
            try:
                owner = pwd.getpwnam(USER)
            except KeyError:
                raise AbsentError(f"initdb refuses root, and there is no user {USER}") from None
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        server = PostgresServer(programs, folder, _free_port())
        _run([programs / "initdb", "-D", folder / "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "--no-instructions"])
        (folder / "data" / "pg_hba.conf").write_text(
            f"local all all trust\nhost all {USER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8"
        )
        server.configure(
            f"wal_level = {wal_level}",
            "fsync = off",
            "full_page_writes = off",
            "listen_addresses = '127.0.0.1'",
            f"port = {server.port}",
            f"unix_socket_directories = '{folder}'",
            "max_replication_slots = 16",
            "max_wal_senders = 0" if wal_level == "minimal" else "max_wal_senders = 4",
            *settings,
        )
        server.start()
        try:
            if allow_plugins:
                _allow_plugins(server)
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _allow_plugins(server: PostgresServer) -> None:
    # Newer minor versions load only the output plugins that they are told of.
    if server.execute("select 1 from pg_settings where name = 'output_plugin_libraries'"):
        server.configure(f"output_plugin_libraries = '{', '.join(_PLUGINS)}'")
        server.reload()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(command: Sequence[str | Path]) -> None:
    """As the server's user where this is root, which the server's programs refuse to be. Raises CalledProcessError."""
    arguments = [str(part) for part in command]
    if os.geteuid() == 0:
        arguments = ["runuser", "-u", USER, "--", *arguments]
    log = subprocess.DEVNULL
    subprocess.run(arguments, check=True, cwd="/", stdin=log, stdout=log, stderr=log)
