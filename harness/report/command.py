"""The shell snippet that sends a finding's request to both builds and compares the answers.

Pure text. Everything that came from traffic is quoted or encoded, so that a hostile request stays data; secrets are
read from environment variables by name. POSIX sh, curl, base64 and diff are all it needs.
"""

import base64
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Final

from harness.core.http import connection_headers
from harness.core.limits import COMMAND_BODY_BYTES_MAX, COMMAND_CHARS_MAX, COMMAND_STEPS_MAX
from harness.core.placeholders import PLACEHOLDER, is_placeholder
from harness.core.values import Request
from harness.report.text import clean, without_credentials

INLINE_BODY_BYTES_MAX: Final = 4096
"""A plain text body up to this size is written as text, not in base64."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_SECRET_HEADER: Final = re.compile(
    r"authorization|cookie|password|passwd|secret|token|credential|session|api-?key|private-?key|access-?key|signature|csrf|xsrf",
    re.IGNORECASE,
)
_SET_BY_CURL: Final = frozenset({"content-length", "expect"})

Secret = Callable[[str, str], bool]
"""Whether a header (name, value) must come from the environment."""


def is_secret_header(name: str, value: str) -> bool:
    """The default: headers whose name speaks of a credential, or whose value was redacted."""
    return bool(_SECRET_HEADER.search(name) or PLACEHOLDER.search(value) or is_placeholder(value))


class _Secrets:
    """The environment variables that stand for what must not be written."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.values: dict[str, str] = {}

    def header(self, name: str) -> str:
        """The variable of a header; it must be set when the snippet runs."""
        variable = _header_variable(name)
        self.headers.setdefault(variable, re.sub(r"[^A-Za-z0-9-]", "_", name))
        return variable

    def value(self, placeholder: str) -> str:
        """The variable of a redacted value, the same for equal ones; without it the placeholder itself is sent."""
        return self.values.setdefault(placeholder, f"REPRO_VALUE_{len(self.values) + 1}")


def _header_variable(name: str) -> str:
    return "REPRO_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def reproducing_command(
    request: Request,
    *,
    stable: str,
    candidate: str,
    earlier: Sequence[Request] = (),
    mapped_ids: int = 0,
    is_secret: Secret = is_secret_header,
    title: str = "",
    replay: str = "",
    beside: bool = False,
) -> str:
    """A snippet for `sh` that ends with 0 where the answers are alike, 1 where they differ and 2 or more on trouble.

    `stable` and `candidate` are base URLs, overridden at run time by REPRO_STABLE and REPRO_CANDIDATE.
    `earlier` are the session's requests before this one, sent first, with cookies kept for each target.
    A header for which `is_secret` holds is taken from REPRO_<NAME>; its value is never written. Where a URL or a
    body holds a placeholder of a redacted value, REPRO_VALUE_<n> may give the real one.
    `replay` is a command line that sends the whole session again with its identifiers carried over; it is named in a note.
    `beside`: what differs is what the builds do beside answering, which the snippet causes and cannot compare; a note says so.
    """
    kept = min(len(earlier), COMMAND_STEPS_MAX)
    while True:
        left_out = len(earlier) - kept
        notes = _notes(title, left_out, mapped_ids, replay, beside=beside)
        command = _snippet([*earlier[left_out:], request], stable, candidate, notes, session=bool(earlier), is_secret=is_secret)
        if len(command) <= COMMAND_CHARS_MAX:
            return command
        if not kept:
            return f"# The request is too large for a snippet ({len(command)} characters).\nfalse\n"
        kept //= 2


def _snippet(steps: Sequence[Request], stable: str, candidate: str, notes: Sequence[str], *, session: bool, is_secret: Secret) -> str:
    """The snippet for all of `steps`; cookies are kept between them where it is a session."""
    secrets = _Secrets()
    sends = [_function(number, step, session, is_secret, secrets) for number, step in enumerate(steps, start=1)]
    lines = [f"# {note}" for note in notes]
    lines += [f"# {variable}, where set, is sent in the place of {value}." for value, variable in secrets.values.items()]
    lines += ["(", "set -eu", *_target("stable", stable), *_target("candidate", candidate)]
    lines += [f': "${{{variable}:?set it to the value of the header {name}}}"' for variable, name in secrets.headers.items()]
    lines += ["dir=$(mktemp -d)", "trap 'rm -rf \"$dir\"' EXIT", *sends, *_SENDING]
    lines += [f'  step_{number} "$base" "$dir/$target" "$path"' for number in range(1, len(steps) + 1)]
    return "\n".join([*lines, *_COMPARING]) + "\n"


def _notes(title: str, left_out: int, mapped_ids: int, replay: str, *, beside: bool) -> list[str]:
    notes = [clean(title)] if title else []
    notes.append("Builds that shadowdiff started have stopped: set REPRO_STABLE and REPRO_CANDIDATE to where yours run.")
    if beside:
        notes.append("What differs is a side effect: this makes both builds do it, for you to watch; their answers may be alike.")
    if left_out:
        notes.append(f"The first {left_out} steps of the session are left out.")
    if replay:
        notes += ["The whole session, with the identifiers that each build makes carried over:", f"  {clean(replay, COMMAND_CHARS_MAX)}"]
    if mapped_ids:
        notes.append(f"The run rewrote {mapped_ids} identifiers made by a target; below, put in the ones your builds answer with.")
    return notes


_SENDING: Final = (
    "for target in stable candidate; do",
    '  base=$stable; test "$target" = stable || base=$candidate',
    "  rest=${base#*://}; case $rest in */*) path=/${rest#*/} ;; *) path= ;; esac",
)
_COMPARING: Final = (
    "done",
    'if grep -q "^no answer" "$dir/stable.head"; then echo "stable gave no answer: start it, or set REPRO_STABLE" >&2; exit 2; fi',
    "for target in stable candidate; do",
    '  { grep -avi "^date:" "$dir/$target.head" || :; } > "$dir/$target"',
    '  tr "," "\\n" < "$dir/$target.body" >> "$dir/$target"; echo >> "$dir/$target"',
    "done",
    'diff -u "$dir/stable" "$dir/candidate" && echo "The answers are alike."',
    ")",
)


def _target(role: str, base: str) -> list[str]:
    """The base URL as a shell variable that the environment may override."""
    return [
        f"{role}={shlex.quote(_plain(without_credentials(base).rstrip('/')))}",
        f'test -z "${{REPRO_{role.upper()}:-}}" || {role}=$REPRO_{role.upper()}',
    ]


def _function(number: int, request: Request, session: bool, is_secret: Secret, secrets: _Secrets) -> str:
    """One step as a shell function of (base URL, prefix of the answer's files, path of the base URL)."""
    words = ["curl -sS -g --path-as-is --max-time 60"]
    method = "--head" if request.method == "HEAD" else f"-X {_word(request.method)}"
    words.append(f'{method} --request-target "$3"{_shell_text(request.target, secrets, _word)}')
    notes, headers = _headers(request, session, is_secret, secrets)
    words += headers
    source, body, body_notes = _body(request, secrets)
    if body:
        words.append(body)
    if session:
        words.append('-b "$2.jar" -c "$2.jar"')
    words.append('-D "$2.head" -o "$2.body" "$1/" || echo "no answer (curl $?)" >> "$2.head"')
    command = " \\\n    ".join(words)
    comments = "".join(f"  # {note}\n" for note in (*notes, *body_notes))
    return f'step_{number}() {{\n{comments}  : > "$2.head"; : > "$2.body"\n  {source}{command}\n}}'


def _headers(request: Request, session: bool, is_secret: Secret, secrets: _Secrets) -> tuple[list[str], list[str]]:
    """Notes and curl options. What curl would add by itself is switched off, so that only the request's own go out."""
    dropped = connection_headers(request.headers) | _SET_BY_CURL
    notes: list[str] = []
    words: list[str] = []
    names: set[str] = set()
    for name, value in request.headers:
        lower = name.lower()
        if lower in dropped:
            continue
        if not _TOKEN.match(name) or any(character in value for character in "\r\n\0"):
            notes.append("A header that is not valid HTTP is left out.")
            continue
        names.add(lower)
        if not is_secret(name, value):
            words.append(f"-H {_word(f'{name}: {value}' if value.strip() else f'{name};')}")
            continue
        if session and lower == "cookie":
            words.append(f'${{{_header_variable(name)}:+-H "{name}: ${_header_variable(name)}"}}')
        else:
            words.append(f'-H {shlex.quote(name + ": ")}"${secrets.header(name)}"')
    if request.host and "host" not in names:
        words.append(f"-H {_word(f'Host: {request.host}')}")
    own = [name for name in ("User-Agent", "Accept", "Content-Type", "Expect") if name.lower() not in names]
    words.append(" ".join(f"-H '{name}:'" for name in own))
    if "accept-encoding" in names:
        words.append("--compressed")
    return notes, words


def _body(request: Request, secrets: _Secrets) -> tuple[str, str, list[str]]:
    """What is piped into curl, curl's option, and notes."""
    data = request.body.data
    if data and request.method == "HEAD":
        return "", "", ["The body of this HEAD request is left out: curl cannot send it."]
    if request.body.truncated or len(data) > COMMAND_BODY_BYTES_MAX:
        note = f"The request's body ({request.body.size} bytes) is too large for this snippet: put it into a file."
        return "", '--data-binary "@${REPRO_BODY_FILE:?name a file with the body}"', [note]
    if not data:
        return "", "", []
    if len(data) <= INLINE_BODY_BYTES_MAX and (text := _plain_text(data)) is not None:
        return "", f"--data-raw {_shell_text(text, secrets, shlex.quote)}", []
    encoded = base64.b64encode(data).decode("ascii")
    return f"printf %s {encoded} | base64 -d | ", "--data-binary @-", []


def _plain_text(data: bytes) -> str | None:
    """The body where a reader sees all of it: printable UTF-8 and line feeds."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(character == "\n" or character.isprintable() for character in text) else None


def _shell_text(text: str, secrets: _Secrets, write: Callable[[str], str]) -> str:
    """One shell word made by `write`; what was redacted in it may be given by the environment."""
    parts: list[str] = []
    end = 0
    for match in PLACEHOLDER.finditer(text):
        parts.append(write(text[end : match.start()]))
        parts.append(f'"${{{secrets.value(match[0])}:-{match[0]}}}"')
        end = match.end()
    return "".join([*parts, write(text[end:])])


def _word(text: str) -> str:
    """One shell word that yields `text` as its Latin-1 bytes; anything but printable ASCII is written as octal escapes."""
    if text.isascii() and text.isprintable():
        return shlex.quote(text)
    data = text.encode("latin-1", "replace").replace(b"\0", b"")
    escaped = "".join(_octal(byte, first=index == 0) for index, byte in enumerate(data))
    return f'"$(printf {shlex.quote(escaped)})"'


def _octal(byte: int, *, first: bool) -> str:
    """One byte in a printf format; a leading minus would be read as an option."""
    character = chr(byte)
    if character == "%":
        return "%%"
    if character == "\\":
        return "\\\\"
    return character if 0x20 <= byte < 0x7F and not (first and character == "-") else f"\\{byte:03o}"


def _plain(base: str) -> str:
    """The base URL, or one that cannot be reached where it is not a plain http(s) URL."""
    plain = base.isascii() and base.isprintable() and base.startswith(("http://", "https://"))
    return base if plain else "http://invalid.invalid"
