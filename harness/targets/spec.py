"""What a target is, as a value: a URL, or a command that the harness starts. Parsing only; nothing is started here."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from harness.core.errors import UsageError

COMMAND_PREFIX: Final = "cmd:"
UNIX_PREFIX: Final = "unix:"
READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0
HOOK_TIMEOUT_S: Final = 300.0

_FIX_FORMS: Final = "give http://HOST:PORT, https://HOST, unix:/PATH, or cmd:COMMAND with {port} filled in"
_FIX_PORT: Final = "write {port} where the build takes its port, in the command or in a value of env"


class TargetSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One target. Exactly one of `url` and `command` is set.

    Commands and hooks run without a shell, split by shell rules; for pipes and `&&` write `sh -c '...'`. A command
    stays in the foreground and ends on SIGTERM. In command, hooks and values of `env` the names `{port}`, `{host}`
    (127.0.0.1, or the address of the build's own network), `{role}`, `{start}` (how often this target was started
    before) and `{python}` (the harness's interpreter) are filled in; any other braces stay as they are.
    """

    url: str | None = None
    """Origin (scheme, host, port) of a build that somebody else runs, or `unix:/path/to.sock`."""
    command: str | None = None
    """Starts one instance on `{host}` (127.0.0.1, as a rule) and `{port}`."""
    env: dict[str, str] = {}
    """Added to the harness's own environment, for the command and the hooks."""
    cwd: str | None = None
    """Working folder of the command and the hooks; default: the harness's."""
    ready: str = "/"
    """Path asked until it answers. Any HTTP status below 500 counts: the build listens and is not failing."""
    ready_timeout_s: float = READY_TIMEOUT_S
    stop_timeout_s: float = STOP_TIMEOUT_S
    """From SIGTERM to SIGKILL."""
    prepare: str | None = None
    """Runs once, before the first start (load the data a capture was made with, say)."""
    reset: str | None = None
    """Runs before each further pass, while a command target is stopped. Restarting a command is a reset by itself."""
    hook_timeout_s: float = HOOK_TIMEOUT_S
    """How long `prepare` and `reset` may take."""

    @property
    def can_reset(self) -> bool:
        """Whether a restart gives fresh state: commands always, URLs with a `reset` command."""
        return self.command is not None or self.reset is not None

    def describe(self) -> str:
        """One line for people."""
        return self.url if self.url is not None else f"{COMMAND_PREFIX}{self.command}"


def parse_target(value: str | Mapping[str, Any], *, where: str = "target") -> TargetSpec:
    """The target that an option's text or a configuration's mapping stands for.

    `where` names the option or key in errors. Raises UsageError.
    """
    if isinstance(value, str):
        text = value.strip()
        command = text.removeprefix(COMMAND_PREFIX)
        spec = TargetSpec(url=text) if command == text else TargetSpec(command=command.strip())
    else:
        try:
            spec = msgspec.convert(dict(value), TargetSpec)
        except msgspec.ValidationError as error:
            raise UsageError(str(error), where=where, fix=f"keys are {', '.join(TargetSpec.__struct_fields__)}") from error
    return _checked(spec, where)


def secondary_of(stable: TargetSpec) -> TargetSpec | None:
    """The second instance that a stable given as a command gets by itself; None for a URL, of which there is only one."""
    return stable if stable.command is not None else None


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with `{name}` replaced for each name of `values`; other braces are left alone (JSON in a command, say)."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)


def split_command(command: str, *, where: str) -> list[str]:
    """The command as arguments, by shell rules. Raises UsageError on an open quote or an empty command."""
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the command cannot be split: {error}: {command}", where=where, fix="close the quotes") from error
    if not arguments:
        raise UsageError("the command is empty", where=where, fix=_FIX_FORMS)
    return arguments


def _checked(spec: TargetSpec, where: str) -> TargetSpec:
    if (spec.url is None) == (spec.command is None):
        raise UsageError("a target has either a url or a command", where=where, fix=_FIX_FORMS)
    if spec.url is not None:
        spec = msgspec.structs.replace(spec, url=_checked_url(spec.url, where))
    if spec.command is not None:
        split_command(spec.command, where=where)
        if not any("{port}" in text for text in (spec.command, *spec.env.values())):
            raise UsageError(f"the command has no place for its port: {spec.command}", where=where, fix=_FIX_PORT)
    for name, hook in (("prepare", spec.prepare), ("reset", spec.reset)):
        if hook is not None:
            split_command(hook, where=f"{where}.{name}")
    if not spec.ready.startswith("/") or any(char.isspace() for char in spec.ready):
        raise UsageError(
            f"the ready path must start with / and have no spaces: {spec.ready!r}", where=f"{where}.ready", fix="for example /health"
        )
    for name in ("ready_timeout_s", "stop_timeout_s", "hook_timeout_s"):
        seconds = getattr(spec, name)
        if not 0 < seconds < float("inf"):
            raise UsageError(f"must be a number of seconds above 0, not {seconds:g}", where=f"{where}.{name}", fix="for example 30")
    if spec.cwd is not None and not Path(spec.cwd).is_dir():
        raise UsageError(f"no such folder: {spec.cwd}", where=f"{where}.cwd", fix="give an existing folder")
    return spec


def _checked_url(url: str, where: str) -> str:
    """The URL without a trailing slash. A target is an origin: paths and queries come from the traffic."""
    if url.startswith(UNIX_PREFIX):
        path = url.removeprefix(UNIX_PREFIX)
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path.startswith("/"):
            raise UsageError(f"the socket path is not absolute: {url}", where=where, fix="write unix:/path/to.sock")
        return UNIX_PREFIX + path
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"not a URL: {url!r} ({error})", where=where, fix=_FIX_FORMS) from error
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname or port == 0:
        raise UsageError(f"not a target: {url!r}", where=where, fix=_FIX_FORMS)
    if parts.username is not None:
        raise UsageError("a target's URL holds no credentials", where=where, fix="send them with the traffic, as headers")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise UsageError(f"a target is an origin, without a path: {url!r}", where=where, fix=f"write {parts.scheme}://{parts.netloc}")
    return f"{parts.scheme.lower()}://{parts.netloc}"
